import { isLive, type Layout, type RecordingView, type StartRecordingInput, type TrackKind } from './api.js';
import { RecordedCall, checkMedium, opt } from './call.js';
import type { Dualrec } from './client.js';
import { DualrecError } from './errors.js';
import { safeLog, type Log } from './log.js';
import type { ListenInfo, Producer, Router, SrtpCryptoSuite } from './sfu.js';
import { KINDS, type CallEvent, type TrackName } from './track.js';

/** What there is at the start. Absent, null and undefined mean the same: not there. */
export interface CallProducers {
  /** Several: one per monitor, up to four. */
  screen?: Producer | readonly Producer[] | null | undefined;
  webcam?: Producer | null | undefined;
  agentAudio?: Producer | null | undefined;
  customerAudio?: Producer | null | undefined;
}

export interface RecordOptions {
  dualrec: Dualrec;
  /** The call's id in your system. The same id gives the same recording again. */
  externalSessionId: string;
  queue: string;
  agent: string;
  customerId?: string | undefined;
  client?: string | undefined;
  sessionType?: string | undefined;
  tags?: string[] | undefined;
  /** Default: now, by the recorder's clock. */
  startedAt?: Date | undefined;
  /** Anything that JSON takes, up to 16 KiB. */
  metadata?: unknown | undefined;
  /** Default: the queue's. */
  layout?: Layout | undefined;
  /**
   * Tracks that have no producer yet and may get one by `add()`. Those with a producer are expected anyway. Name a screen
   * twice for two. A track that is expected and never comes makes the recording PARTIAL.
   */
  expect?: TrackName[] | undefined;
  /** Where the SFU sends from: an address that the recorder can see. */
  listenInfo: ListenInfo;
  /** The address that the recorder sees, if not that of `listenInfo`. Null: let it pin the first valid sender (NAT). */
  sourceIp?: string | null | undefined;
  /** One port per track instead of two. Default false. */
  rtcpMux?: boolean | undefined;
  /** Encrypts the media on the way to the recorder. Default: plain RTP. */
  srtpCryptoSuite?: SrtpCryptoSuite | undefined;
  /** True: one producer that cannot be recorded fails the start. False, the default: the others are recorded. */
  allOrNothing?: boolean | undefined;
  /** How often the recorder is asked whether it still has all tracks, milliseconds. Default 15 000; 0: never. */
  watchIntervalMs?: number | undefined;
  /** Is put on each transport and consumer, with `dualrec: { recordingId, track }` added. */
  appData?: Record<string, unknown> | undefined;
  /** Default: that of `dualrec`. */
  log?: Log | undefined;
  onEvent?: ((event: CallEvent) => void) | undefined;
  /** Ends the start; what was begun is undone. Does not end the call later. */
  signal?: AbortSignal | undefined;
}

interface Planned {
  name: TrackName;
  index: number;
  producer: Producer | undefined;
}

const OPERATION = 'recordCall';

/**
 * Records a call: starts the recording and forwards each producer to it. Resolves when the recorder knows all of them
 * and media flows. A medium that is missing, or cannot be recorded, does not keep the others from it.
 *
 * If it rejects, everything that it made is closed, and the recording is stopped unless it had been running before.
 */
export async function recordCall(router: Router, producers: CallProducers, o: RecordOptions): Promise<RecordedCall> {
  const planned = plan(producers, o);
  if (router.closed) throw new DualrecError('the router is closed', { code: 'SFU', operation: OPERATION });
  await o.dualrec.ingestCapabilities({ signal: o.signal }); // first, so that a wrong url or key costs no recording
  const view = await start(planned, o);
  const log = o.log ?? o.dualrec.log;
  const call = new RecordedCall(
    {
      dualrec: o.dualrec,
      router,
      externalSessionId: o.externalSessionId,
      listenInfo: o.listenInfo,
      srtpCryptoSuite: o.srtpCryptoSuite,
      sourceIp: o.sourceIp,
      appData: o.appData ?? {},
      log,
      onEvent: o.onEvent,
    },
    view,
  );
  try {
    const given = planned.flatMap(({ name, index, producer }) => (producer ? [{ name, index, producer }] : []));
    await call.begin(given, { signal: o.signal, allOrNothing: o.allOrNothing ?? false });
  } catch (error) {
    // Packets have come before: this SFU, or another, had been recording, and goes on or will come back.
    await call.abandon(view.capture === 'PENDING');
    throw error;
  }
  safeLog(log)({ level: 'info', message: 'recording', recordingId: view.id, externalSessionId: o.externalSessionId, tracks: planned.map((p) => p.name) });
  const interval = o.watchIntervalMs ?? 15_000;
  if (interval > 0) void call.watch(interval);
  return call;
}

function plan(producers: CallProducers, o: RecordOptions): Planned[] {
  const planned: Planned[] = [];
  for (const name of Object.keys(KINDS) as TrackName[]) {
    const value = producers[name];
    const given = (Array.isArray(value) ? value : value ? [value] : []) as Producer[];
    for (const producer of given) checkMedium(name, producer, OPERATION);
    const expected = Math.max(given.length, o.expect?.filter((n) => n === name).length ?? 0);
    for (let index = 0; index < expected; index++) planned.push({ name, index, producer: given[index] });
  }
  if (planned.length === 0) {
    throw new DualrecError('no producer is given and none is expected: there is nothing to record', { code: 'INVALID_INPUT', operation: OPERATION, field: ['producers'] });
  }
  return planned;
}

async function start(planned: readonly Planned[], o: RecordOptions): Promise<RecordingView> {
  const input: StartRecordingInput = {
    externalSessionId: o.externalSessionId,
    queue: o.queue,
    agent: o.agent,
    tracks: planned.map((p): TrackKind => KINDS[p.name]),
    rtcpMux: o.rtcpMux ?? false,
    ...opt('customerId', o.customerId),
    ...opt('client', o.client),
    ...opt('sessionType', o.sessionType),
    ...opt('tags', o.tags),
    ...opt('startedAt', o.startedAt?.toISOString()),
    ...opt('metadata', o.metadata),
    ...opt('layout', o.layout),
    ...opt('srtpCryptoSuite', o.srtpCryptoSuite),
  };
  const { recording } = await o.dualrec.call<{ recording: RecordingView }>('startRecording', { input }, { signal: o.signal }, (answer) => mustTakeMedia(answer.recording, o));
  return recording;
}

/** The recording may be an older one of the same call, which has ended or whose recorder is just coming back. */
function mustTakeMedia(recording: RecordingView | null, o: RecordOptions): void {
  if (!recording) throw new DualrecError('the answer holds no recording', { code: 'PROTOCOL', operation: 'startRecording' });
  if (!isLive(recording.capture)) {
    throw new DualrecError(`${o.externalSessionId} has been recorded already and is ${recording.capture}: start what follows under another externalSessionId`, {
      code: 'CONFLICT',
      operation: 'startRecording',
      field: ['input', 'externalSessionId'],
    });
  }
  if (recording.tracks.every((t) => t.ingest === null)) {
    throw new DualrecError('the recorder of this recording is not ready', { code: 'UNAVAILABLE', operation: 'startRecording' });
  }
}
