import { KINDS, Track, type CallEvent, type TrackContext, type TrackName, type TrackStatus } from './track.js';
import { isLive, type CaptureState, type Layout, type PauseReason, type RecordingView } from './api.js';
import type { Dualrec } from './client.js';
import { DualrecError, aborted } from './errors.js';
import { safeLog, type Log } from './log.js';
import { Serial } from './serial.js';
import type { ListenInfo, Producer, Router, SrtpCryptoSuite } from './sfu.js';

/** How long `pause()` waits for the recorder's answer before the SFU holds the media back itself. */
const HOLD_AFTER_MS = 1_000;

/** The first retries of a rollback or of a look at the recording, not those of a call that matters. */
const FEW_TRIES = { attempts: 2, budgetMs: 5_000 };

export interface CallSettings {
  dualrec: Dualrec;
  router: Router;
  externalSessionId: string;
  listenInfo: ListenInfo;
  srtpCryptoSuite: SrtpCryptoSuite | undefined;
  sourceIp: string | null | undefined;
  appData: Record<string, unknown>;
  log: Log | undefined;
  onEvent: ((event: CallEvent) => void) | undefined;
}

/** What is there to forward at the start. */
export interface Given {
  name: TrackName;
  index: number;
  producer: Producer;
}

export interface CommandOptions {
  /** Gives up waiting; the recorder may have done it all the same. */
  signal?: AbortSignal | undefined;
}

export interface PauseOptions extends CommandOptions {
  reason: PauseReason;
  /** 1 to 86 400. Default: what the queue says, which may be never. */
  autoResumeAfterSeconds?: number | undefined;
}

export interface Bookmark {
  /** Milliseconds of recording time. */
  atMs: number;
  /** Absent: an instant. */
  toMs?: number | undefined;
  label: string;
  color?: string | undefined;
}

/**
 * - `recording`: as started.
 * - `ended`: the recorder has ended it by itself.
 * - `closed`: `close()`, the recording goes on without this SFU.
 * - `stopping`, `stopped`: `stop()`.
 */
export type CallState = 'recording' | 'ended' | 'closed' | 'stopping' | 'stopped';

interface Intent {
  verb: 'pause' | 'resume';
  overtaken: AbortController;
}

/** A call that is recorded. `recordCall()` makes it; `stop()` ends it. */
export class RecordedCall {
  readonly recordingId: string;
  readonly externalSessionId: string;
  /** Deep link for dashboards. */
  readonly viewUrl: string;
  readonly #dualrec: Dualrec;
  readonly #log: Log;
  readonly #onEvent: ((event: CallEvent) => void) | undefined;
  readonly #tracks: Track[];
  readonly #over = new AbortController();
  readonly #control = new Serial(); // pause and resume, in the order in which they were called
  readonly #layouts = new Serial();
  readonly #pending = new Set<Intent>(); // the pause() and resume() that have not ended yet
  #held = false;
  #holdTimer: AbortController | undefined;
  #state: CallState = 'recording';
  #stopping: Promise<void> | undefined;

  /** @internal Use recordCall(). */
  constructor(s: CallSettings, view: RecordingView) {
    this.recordingId = view.id;
    this.externalSessionId = s.externalSessionId;
    this.viewUrl = view.viewUrl;
    this.#dualrec = s.dualrec;
    this.#log = safeLog(s.log, { recordingId: view.id, externalSessionId: s.externalSessionId });
    this.#onEvent = s.onEvent;
    const call = this;
    const context: TrackContext = {
      dualrec: s.dualrec,
      router: s.router,
      recordingId: view.id,
      listenInfo: s.listenInfo,
      srtpCryptoSuite: s.srtpCryptoSuite,
      sourceIp: s.sourceIp,
      appData: s.appData,
      over: this.#over.signal,
      get held() {
        return call.#held;
      },
      log: this.#log,
      emit: (event) => this.#emit(event),
    };
    const seen = new Map<string, number>();
    this.#tracks = view.tracks.flatMap((t) => {
      const name = (Object.keys(KINDS) as TrackName[]).find((n) => KINDS[n] === t.kind);
      if (!name) return []; // a kind of a newer recorder, which nobody here has asked for
      const index = seen.get(name) ?? 0;
      seen.set(name, index + 1);
      return [new Track(context, name, index, t)];
    });
  }

  get state(): CallState {
    return this.#state;
  }

  /** The tracks that the recorder expects, with what is forwarded now. */
  get tracks(): TrackStatus[] {
    return this.#tracks.map((t) => t.status());
  }

  /** Whether the SFU holds all media back, because a `pause()` did not get through. */
  get held(): boolean {
    return this.#held;
  }

  /** A producer for a track that has none: a webcam switched on, a customer who joins. The track must have been expected. */
  async add(track: TrackName, producer: Producer, o: CommandOptions & { index?: number | undefined } = {}): Promise<void> {
    this.#mustBeOpen('add');
    await this.#track(track, o.index, 'add', producer).put(producer, { signal: o.signal, mustBeFree: true });
  }

  /**
   * Another producer for a track: the screen share restarted, another camera, or none was there. It gets a transport and
   * a consumer of its own; the old ones go when the recorder knows the new ones. If it fails, the old ones stay.
   */
  async replace(track: TrackName, producer: Producer, o: CommandOptions & { index?: number | undefined } = {}): Promise<void> {
    this.#mustBeOpen('replace');
    await this.#track(track, o.index, 'replace', producer).put(producer, { signal: o.signal });
  }

  /** Ends a track; the picture shows a placeholder, the sound is silent. A producer that closes does this by itself. */
  async remove(track: TrackName, o: CommandOptions & { index?: number | undefined } = {}): Promise<void> {
    this.#mustBeOpen('remove');
    await this.#track(track, o.index, 'remove').remove({ signal: o.signal });
  }

  /**
   * Masks what is said and shown from now on, until `resume()` or the time given. Resolves when the recorder drops every
   * packet before its disk: only then let the card number be read.
   *
   * If the recorder does not confirm within a second, or refuses, the SFU holds back all media until the recorder confirms,
   * `resume()` is called, or the time given is over. So if this rejects, nothing is recorded either: call `resume()` when
   * the secret is over.
   */
  async pause(o: PauseOptions): Promise<void> {
    this.#mustBeOpen('pause');
    const { intent, overtakes } = this.#begin('pause');
    this.#holdTimer?.abort(); // of an earlier pause that failed: this one has a time of its own
    const answered = new AbortController();
    if (overtakes) this.#holdFor(intent); // a resume() is under way and may take its time
    void this.#dualrec.clock.sleep(HOLD_AFTER_MS, answered.signal).then(() => {
      if (!answered.signal.aborted) this.#holdFor(intent);
    });
    try {
      await this.#control.run(() =>
        this.#dualrec.call(
          'pauseRecording',
          { input: { recordingId: this.recordingId, reason: o.reason, ...opt('autoResumeAfterSeconds', o.autoResumeAfterSeconds) } },
          { signal: o.signal, patience: intent.overtaken.signal, onRetry: () => this.#holdFor(intent) },
        ),
      );
      if (!intent.overtaken.signal.aborted) this.#release();
    } catch (error) {
      this.#holdFor(intent, o.autoResumeAfterSeconds);
      throw error;
    } finally {
      answered.abort();
      this.#pending.delete(intent);
    }
  }

  /** Ends `pause()`. */
  async resume(o: CommandOptions = {}): Promise<void> {
    this.#mustBeOpen('resume');
    const { intent } = this.#begin('resume');
    this.#release();
    try {
      await this.#control.run(() =>
        this.#dualrec.call('resumeRecording', { input: { recordingId: this.recordingId } }, { signal: o.signal, patience: intent.overtaken.signal }),
      );
    } finally {
      this.#pending.delete(intent);
    }
  }

  /** Another layout from now on. */
  async setLayout(layout: Layout, o: CommandOptions = {}): Promise<void> {
    this.#mustBeOpen('setLayout');
    await this.#layouts.run(() => this.#dualrec.call('setLayout', { recordingId: this.recordingId, layout }, { signal: o.signal }));
  }

  /** Returns the bookmark's id. Not repeated after a doubtful failure, because that could make two. */
  async bookmark(b: Bookmark, o: CommandOptions = {}): Promise<string> {
    const input = { recordingId: this.recordingId, atMs: b.atMs, label: b.label, ...opt('toMs', b.toMs), ...opt('color', b.color) };
    const made = await this.#dualrec.call<{ bookmark: { id: string } }>(
      'createBookmark', { input }, { signal: o.signal, mayRepeat: (error) => !error.uncertain });
    return made.bookmark.id;
  }

  /**
   * Tells the recorder all tracks again, and forwards anew those for which it listens elsewhere. For an SFU that is told
   * of a recorder's restart; the watch does it by itself within its interval. Harmless at any time.
   */
  async reattach(o: CommandOptions = {}): Promise<void> {
    this.#mustBeOpen('reattach');
    await this.#look(true, o.signal);
  }

  /** Ends the recording. Composing, upload and the state AVAILABLE follow by themselves. Again: the same result; after a failure: another try. */
  stop(o: CommandOptions = {}): Promise<void> {
    if (this.#state === 'ended' || this.#state === 'stopped') return Promise.resolve();
    this.#stopping ??= this.#stop(o.signal).catch((error: unknown) => {
      this.#stopping = undefined;
      throw error;
    });
    return this.#stopping;
  }

  async #stop(signal: AbortSignal | undefined, retry?: typeof FEW_TRIES): Promise<void> {
    this.#end('stopping', 'the call is being stopped');
    try {
      // Media flows until the recorder has answered, so that nothing of the end is missing, but not while it is asked again.
      await this.#dualrec.call('stopRecording', { input: { recordingId: this.recordingId } }, { signal, retry, onRetry: () => this.#closeTracks() });
      this.#state = 'stopped';
      this.#log({ level: 'info', message: 'recording stopped' });
    } finally {
      this.#closeTracks();
    }
  }

  /**
   * Lets go of the recording without ending it: closes what this SFU made for it. Another process, or another router,
   * goes on with a `recordCall()` of the same externalSessionId. If none does, the recorder ends it after its idle time.
   */
  close(): void {
    if (this.#state !== 'recording') return;
    this.#end('closed', 'the call is closed');
    this.#closeTracks();
  }

  /** @internal The start: forwards what there is. */
  async begin(given: readonly Given[], o: { signal: AbortSignal | undefined; allOrNothing: boolean }): Promise<void> {
    const results = await Promise.allSettled(given.map((g) => this.#put(g, o.signal)));
    const errors = results.flatMap((r) => (r.status === 'rejected' ? [r.reason as unknown] : []));
    const fatal = errors.find((e) => !concernsOneMedium(e)) ?? (o.allOrNothing || errors.length === given.length ? errors[0] : undefined);
    if (fatal !== undefined) throw fatal;
    if (o.signal?.aborted) throw aborted(o.signal, 'recordCall');
  }

  async #put({ name, index, producer }: Given, signal: AbortSignal | undefined): Promise<void> {
    const track = this.find(name, index);
    if (track) return track.put(producer, { signal });
    // The recording was running before this start, which another SFU has begun with fewer tracks.
    const error = new DualrecError(`the running recording does not expect ${name}`, { code: 'NOT_FOUND', operation: 'attachTrack', field: [name] });
    this.#log({ level: 'error', message: error.message, track: name });
    this.#emit({ type: 'trackfailed', track: name, index, error });
    throw error;
  }

  /** @internal The start has failed: closes everything, and ends the recording if it had not been running before. */
  async abandon(stopRecording: boolean): Promise<void> {
    if (!stopRecording) {
      this.close();
      return;
    }
    this.#closeTracks();
    try {
      await this.#stop(undefined, FEW_TRIES);
    } catch (error) {
      this.#log({ level: 'error', message: 'a start that failed could not be undone: the recorder ends the recording after its idle time', error: String(error) });
    }
  }

  /** @internal The n-th track of a name, if the recorder expects it. */
  find(name: TrackName, index: number): Track | undefined {
    return this.#tracks.find((t) => t.name === name && t.index === index);
  }

  /** @internal Looks after the recording until it ends. */
  async watch(intervalMs: number): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted) {
      // Some chance, so that a thousand calls do not look at the same moment.
      await this.#dualrec.clock.sleep(intervalMs * (0.75 + 0.5 * this.#dualrec.clock.random()), signal);
      if (signal.aborted) return;
      try {
        await this.#look(false, signal);
      } catch (error) {
        if (!signal.aborted) this.#log({ level: 'warn', message: 'the recorder could not be looked at; the next look follows', error: String(error) });
      }
    }
  }

  async #look(force: boolean, signal: AbortSignal | undefined): Promise<void> {
    const asOf = this.#tracks.map((t) => t.changes);
    const view = await this.#dualrec.recording(this.recordingId, { signal, ...(force ? {} : { retry: FEW_TRIES }) });
    if (this.#over.signal.aborted) return;
    if (!view || !isLive(view.capture)) {
      this.#endedByRecorder(view?.capture);
      return;
    }
    const results = await Promise.allSettled(
      this.#tracks.flatMap((t, n) => {
        const v = view.tracks.find((x) => x.id === t.id);
        return v ? [t.reconcile(v, asOf[n] ?? 0, force, signal)] : [];
      }),
    );
    const failed = results.find((r) => r.status === 'rejected');
    if (failed) throw failed.reason;
  }

  #endedByRecorder(capture: CaptureState | undefined): void {
    if (this.#state !== 'recording') return;
    this.#log({ level: 'warn', message: 'the recorder has ended this recording', capture });
    this.#end('ended', `the recorder has ended this recording (${capture ?? 'not found'})`);
    this.#closeTracks();
    this.#emit({ type: 'ended', capture });
  }

  #end(state: CallState, why: string): void {
    this.#state = state;
    this.#holdTimer?.abort();
    for (const { verb, overtaken } of this.#pending) overtaken.abort(new DualrecError(why, { code: 'CLOSED', operation: verb }));
    this.#over.abort(new DualrecError(why, { code: 'CLOSED', operation: state === 'closed' ? 'close' : 'stop' }));
  }

  #closeTracks(): void {
    for (const t of this.#tracks) t.close();
  }

  #mustBeOpen(operation: string): void {
    if (this.#state !== 'recording') throw new DualrecError(`this call is ${this.#state}`, { code: 'CLOSED', operation });
  }

  #track(name: TrackName, index = 0, operation: string, producer?: Producer): Track {
    if (producer) checkMedium(name, producer, operation);
    const track = this.find(name, index);
    if (track) return track;
    const what = index === 0 ? name : `${name} number ${index + 1}`;
    throw new DualrecError(`this recording does not expect ${what}: name it in recordCall's expect`, { code: 'NOT_FOUND', operation, field: [name] });
  }

  /** The last word counts: a resume() ends the retries of a pause(), and the other way round. */
  #begin(verb: Intent['verb']): { intent: Intent; overtakes: boolean } {
    let overtakes = false;
    for (const other of this.#pending) {
      if (other.verb === verb) continue;
      overtakes = true;
      other.overtaken.abort(new DualrecError(`${verb}() was called meanwhile`, { code: 'ABORTED', operation: other.verb }));
    }
    const intent = { verb, overtaken: new AbortController() };
    this.#pending.add(intent);
    return { intent, overtakes };
  }

  #holdFor(intent: Intent, seconds?: number): void {
    if (intent.overtaken.signal.aborted) return; // resume() has been called, or the call is over
    this.#hold();
    if (seconds === undefined) return;
    const timer = new AbortController();
    this.#holdTimer = timer;
    void this.#dualrec.clock.sleep(seconds * 1000, timer.signal).then(() => {
      if (!timer.signal.aborted) this.#release();
    });
  }

  #hold(): void {
    if (this.#held || this.#over.signal.aborted) return;
    this.#held = true;
    this.#log({ level: 'warn', message: 'the recorder has not confirmed the pause: the SFU holds all media back' });
    for (const t of this.#tracks) void t.hold(true);
    this.#emit({ type: 'held' });
  }

  #release(): void {
    this.#holdTimer?.abort();
    if (!this.#held || this.#over.signal.aborted) return;
    this.#held = false;
    for (const t of this.#tracks) void t.hold(false);
    this.#emit({ type: 'released' });
  }

  #emit(event: CallEvent): void {
    try {
      this.#onEvent?.(event);
    } catch (error) {
      this.#log({ level: 'error', message: 'onEvent has thrown', error: String(error) });
    }
  }
}

/** Whether an error of the start is about this producer and nothing else, so that the other media can be recorded. */
function concernsOneMedium(error: unknown): boolean {
  if (!(error instanceof DualrecError)) return false;
  switch (error.operation) {
    case 'consume':
      return error.code === 'SFU' || error.code === 'UNSUPPORTED';
    case 'attachTrack':
      return error.code === 'INVALID_INPUT' || error.code === 'UNSUPPORTED' || (error.code === 'NOT_FOUND' && error.field?.at(-1) !== 'recordingId');
    default:
      return false;
  }
}

export function checkMedium(name: TrackName, producer: Producer, operation: string): void {
  const want = name === 'screen' || name === 'webcam' ? 'video' : 'audio';
  if (producer.kind !== want) {
    throw new DualrecError(`${name} takes a producer of kind ${want}, this one is ${producer.kind}`, { code: 'INVALID_INPUT', operation, field: [name] });
  }
}

/** A property, or none where there is no value. */
export function opt<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]: V });
}
