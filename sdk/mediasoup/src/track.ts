import type { Ingest, TrackKind, TrackView } from './api.js';
import type { Dualrec } from './client.js';
import { DualrecError, sfuError, throwIfAborted } from './errors.js';
import { Leg, type GoneReason } from './leg.js';
import type { Log } from './log.js';
import { Serial } from './serial.js';
import type { ListenInfo, Producer, Router, SrtpCryptoSuite } from './sfu.js';
import { withSignals } from './signals.js';

/** What a call has up to four of; several screens are told apart by their index. */
export type TrackName = 'screen' | 'webcam' | 'agentAudio' | 'customerAudio';

export const KINDS: Readonly<Record<TrackName, TrackKind>> = {
  screen: 'SCREEN',
  webcam: 'WEBCAM',
  agentAudio: 'AGENT_AUDIO',
  customerAudio: 'CUSTOMER_AUDIO',
};

export interface TrackStatus {
  track: TrackName;
  /** 0, but for a second or third screen. */
  index: number;
  /** The recorder's id of it. */
  trackId: string;
  /** Whether a producer is forwarded now. */
  forwarding: boolean;
  producerId?: string;
  /** Why the last attempt to forward a producer failed. */
  error?: DualrecError;
}

export type CallEvent =
  | { type: 'attached'; track: TrackName; index: number; producerId: string }
  | { type: 'detached'; track: TrackName; index: number; reason: 'removed' | GoneReason }
  /** A producer is not recorded, or the recorder could not be told that one has gone. */
  | { type: 'trackfailed'; track: TrackName; index: number; error: DualrecError }
  /** The recorder had lost this track, or listens elsewhere, and has it again. */
  | { type: 'reattached'; track: TrackName; index: number; moved: boolean }
  /** `pause()` does not get through to the recorder, so the SFU forwards nothing. */
  | { type: 'held' }
  | { type: 'released' }
  /** The recorder has ended the recording by itself; nothing is forwarded any more. */
  | { type: 'ended'; capture: string | undefined };

/** What a track knows of its call. */
export interface TrackContext {
  readonly dualrec: Dualrec;
  readonly router: Router;
  readonly recordingId: string;
  readonly listenInfo: ListenInfo;
  readonly srtpCryptoSuite: SrtpCryptoSuite | undefined;
  readonly sourceIp: string | null | undefined;
  readonly appData: Record<string, unknown>;
  /** Fires when the call is over. */
  readonly over: AbortSignal;
  readonly held: boolean;
  readonly log: Log;
  emit(event: CallEvent): void;
}

/** A track of the recording and the leg that feeds it now. Commands run one after another. */
export class Track {
  readonly name: TrackName;
  readonly index: number;
  readonly #id: string;
  readonly #call: TrackContext;
  readonly #serial = new Serial();
  #ingest: Ingest | null;
  #leg: Leg | undefined;
  #changes = 0; // how often something was attached or detached
  #doubtful = false; // the recorder may expect another leg than the one that runs
  #error: DualrecError | undefined;

  constructor(call: TrackContext, name: TrackName, index: number, view: TrackView) {
    this.name = name;
    this.index = index;
    this.#id = view.id;
    this.#call = call;
    this.#ingest = view.ingest;
  }

  get id(): string {
    return this.#id;
  }

  /** Grows with each attachment and detachment. */
  get changes(): number {
    return this.#changes;
  }

  get label(): string {
    return this.index === 0 ? this.name : `${this.name}[${this.index}]`;
  }

  status(): TrackStatus {
    const leg = this.#live();
    return {
      track: this.name,
      index: this.index,
      trackId: this.#id,
      forwarding: leg !== undefined,
      ...(leg ? { producerId: leg.producer.id } : {}),
      ...(this.#error ? { error: this.#error } : {}),
    };
  }

  /** Forwards this producer from now on. If it fails, what was forwarded before goes on. */
  put(producer: Producer, o: { signal?: AbortSignal | undefined; mustBeFree?: boolean } = {}): Promise<void> {
    return this.#run(o.signal, async (signal) => {
      const old = this.#live();
      if (o.mustBeFree && old) {
        throw new DualrecError(`${this.label} is forwarded already: use replace()`, { code: 'CONFLICT', operation: 'add' });
      }
      if (old?.producer === producer) return;
      try {
        await this.#forward(producer, signal);
      } catch (error) {
        this.#failed(error);
        throw error;
      }
      this.#call.emit({ type: 'attached', track: this.name, index: this.index, producerId: producer.id });
    });
  }

  /** Stops forwarding and tells the recorder. Nothing forwarded: nothing. */
  remove(o: { signal?: AbortSignal | undefined } = {}): Promise<void> {
    return this.#run(o.signal, async (signal) => {
      const leg = this.#leg;
      if (!leg) return;
      leg.close();
      await this.#detach(leg, 'removed', signal);
    });
  }

  /**
   * Brings SFU and recorder together again after the recorder has been away: another address needs another leg, and a
   * recorder that does not know the leg is told again. With `force` it is told in any case, which changes nothing for
   * one that knows. `asOf` is `changes` of before the recorder was asked: an older answer says nothing of what is now.
   */
  reconcile(view: TrackView, asOf: number, force: boolean, signal?: AbortSignal): Promise<void> {
    return this.#run(signal, async (both) => {
      const leg = this.#live();
      const moved = view.ingest !== null && !sameIngest(view.ingest, this.#ingest);
      if (!leg) {
        if (moved) this.#ingest = view.ingest;
        return;
      }
      const forgotten = asOf === this.#changes && (view.state === 'EXPECTED' || view.state === 'CLOSED');
      if (!moved && !forgotten && !force && !this.#doubtful) return;
      const before = this.#ingest;
      try {
        if (moved) {
          this.#ingest = view.ingest;
          await this.#forward(leg.producer, both);
        } else {
          await this.#attach(leg, both);
          this.#doubtful = false;
          this.#error = undefined;
        }
      } catch (error) {
        this.#ingest = before; // so that the next look finds the change again
        this.#failed(error);
        throw error;
      }
      this.#call.log({ level: 'info', message: moved ? 'the recorder listens elsewhere: forwarded anew' : 'attached again', track: this.label });
      if (moved || forgotten) this.#call.emit({ type: 'reattached', track: this.name, index: this.index, moved });
    });
  }

  /** Holds or lets go what is forwarded, at once, whatever else is under way. */
  async hold(held: boolean): Promise<void> {
    try {
      await (held ? this.#leg?.pause() : this.#leg?.resume());
    } catch (error) {
      this.#failed(error);
    }
  }

  /** Ends forwarding without telling the recorder. */
  close(): void {
    this.#leg?.close();
    this.#leg = undefined;
  }

  #live(): Leg | undefined {
    return this.#leg?.over ? undefined : this.#leg;
  }

  #run<T>(signal: AbortSignal | undefined, job: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#serial.run(() => withSignals([signal, this.#call.over], job));
  }

  async #forward(producer: Producer, signal: AbortSignal): Promise<void> {
    const ingest = this.#ingest;
    if (!ingest) throw new DualrecError('the recorder gives no address for this track', { code: 'UNAVAILABLE', operation: 'connect' });
    const { dualrec, router, listenInfo, srtpCryptoSuite, sourceIp, appData } = this.#call;
    const rtpCapabilities = await dualrec.ingestCapabilities({ signal });
    const next = await Leg.open({
      router, producer, ingest, rtpCapabilities, listenInfo, srtpCryptoSuite, sourceIp, signal,
      appData: { ...appData, dualrec: { recordingId: this.#call.recordingId, track: this.label } },
      onGone: (leg, reason) => this.#gone(leg, reason),
    });
    try {
      await this.#attach(next, signal);
      throwIfAborted(signal, 'attachTrack');
    } catch (error) {
      next.close();
      this.#doubtful ||= error instanceof DualrecError && error.uncertain;
      throw error;
    }
    this.#changes++;
    this.#leg?.close();
    this.#leg = next;
    this.#doubtful = false;
    this.#error = undefined;
    if (this.#call.held) return;
    try {
      await next.resume();
    } catch (error) {
      next.close();
      throw error;
    }
  }

  #attach(leg: Leg, signal: AbortSignal): Promise<unknown> {
    const input = { recordingId: this.#call.recordingId, kind: KINDS[this.name], trackId: this.#id, ...leg.attachment };
    return this.#call.dualrec.call('attachTrack', { input }, { signal });
  }

  async #detach(leg: Leg, reason: 'removed' | GoneReason, signal: AbortSignal): Promise<void> {
    const input = { recordingId: this.#call.recordingId, kind: KINDS[this.name], trackId: this.#id };
    await this.#call.dualrec.call('detachTrack', { input }, { signal });
    this.#changes++;
    if (this.#leg === leg) this.#leg = undefined;
    this.#call.emit({ type: 'detached', track: this.name, index: this.index, reason });
  }

  #gone(leg: Leg, reason: GoneReason): void {
    this.#call.log({ level: 'info', message: `${reason}: ${this.label} is not forwarded any more`, track: this.label, producerId: leg.producer.id });
    this.#run(undefined, async (signal) => {
      if (this.#leg !== leg) return; // another has taken its place
      if (reason === 'routerclose') {
        // The worker has died, most likely, and the call may go on at once in another router with a recordCall() of its
        // own: a detachTrack from here would then take away the new leg. The recorder sees by itself that nothing comes.
        this.#leg = undefined;
        this.#call.emit({ type: 'detached', track: this.name, index: this.index, reason });
        return;
      }
      await this.#detach(leg, reason, signal);
    }).catch((error: unknown) => {
      if (!this.#call.over.aborted) this.#failed(error);
    });
  }

  #failed(error: unknown): void {
    const e = sfuError('forward', error);
    this.#error = e;
    if (e.code === 'ABORTED' || e.code === 'CLOSED') return;
    this.#call.log({ level: 'error', message: e.message, track: this.label, code: e.code });
    this.#call.emit({ type: 'trackfailed', track: this.name, index: this.index, error: e });
  }
}

function sameIngest(a: Ingest, b: Ingest | null): boolean {
  return b !== null && a.ip === b.ip && a.rtpPort === b.rtpPort && a.rtcpPort === b.rtcpPort && srtpKey(a) === srtpKey(b);
}

function srtpKey(i: Ingest): string {
  const p = i.srtpParameters as { cryptoSuite?: unknown; keyBase64?: unknown } | null | undefined;
  return p ? `${String(p.cryptoSuite)} ${String(p.keyBase64)}` : '';
}
