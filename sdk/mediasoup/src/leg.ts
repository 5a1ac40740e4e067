import { isIP } from 'node:net';
import type { AttachTrackInput, Ingest } from './api.js';
import { DualrecError, sfuError, throwIfAborted } from './errors.js';
import type { Consumer, ListenInfo, PlainTransport, Producer, Router, SrtpCryptoSuite, SrtpParameters } from './sfu.js';

export interface LegOptions {
  router: Router;
  producer: Producer;
  /** Where the recorder listens for this track. */
  ingest: Ingest;
  rtpCapabilities: object;
  listenInfo: ListenInfo;
  /** Given: plain RTP is refused. */
  srtpCryptoSuite: SrtpCryptoSuite | undefined;
  /** Undefined: what the transport says. Null: none, the recorder pins the first sender. */
  sourceIp: string | null | undefined;
  appData: Record<string, unknown>;
  signal: AbortSignal;
  /** Called at most once, and not after close(): the SFU has ended this leg. */
  onGone: (leg: Leg, reason: GoneReason) => void;
}

export type GoneReason = 'producerclose' | 'transportclose' | 'routerclose';

/** What attachTrack is told about a leg. */
export type Attachment = Pick<AttachTrackInput, 'rtpParameters' | 'source' | 'srtpParameters' | 'producerId'>;

/**
 * One producer's way to the recorder: a PlainTransport, connected, and a consumer on it, paused at first. A leg is never
 * changed, because `connect()` works once: another producer or another address is another leg.
 */
export class Leg {
  readonly producer: Producer;
  readonly #transport: PlainTransport;
  readonly #onGone: LegOptions['onGone'];
  #consumer: Consumer | undefined;
  #attachment: Attachment | undefined;
  #over = false;

  private constructor(transport: PlainTransport, o: LegOptions) {
    this.producer = o.producer;
    this.#transport = transport;
    this.#onGone = o.onGone;
    transport.on('routerclose', () => this.#gone('routerclose'));
    transport.observer.on('close', () => this.#gone('transportclose'));
  }

  /** Closes what it has made if it fails. */
  static async open(o: LegOptions): Promise<Leg> {
    mustBeConsumable(o);
    const srtp = srtpOf(o);
    const rtcpMux = o.ingest.rtcpPort === null; // what the recorder listens for, even if another SFU started this recording
    throwIfAborted(o.signal, 'createPlainTransport');
    const transport = await step('createPlainTransport', () =>
      o.router.createPlainTransport({
        listenInfo: o.listenInfo,
        rtcpMux,
        comedia: false,
        ...(srtp ? { enableSrtp: true, srtpCryptoSuite: srtp.cryptoSuite } : {}),
        appData: o.appData,
      }),
    );
    const leg = new Leg(transport, o);
    try {
      throwIfAborted(o.signal, 'connect');
      await step('connect', () =>
        transport.connect({
          ip: o.ingest.ip,
          port: o.ingest.rtpPort,
          ...(o.ingest.rtcpPort === null ? {} : { rtcpPort: o.ingest.rtcpPort }),
          ...(srtp ? { srtpParameters: srtp } : {}),
        }),
      );
      throwIfAborted(o.signal, 'consume');
      await step('consume', () => leg.#consume(o, srtp !== undefined));
      throwIfAborted(o.signal, 'consume');
      return leg;
    } catch (error) {
      leg.close();
      throw error;
    }
  }

  async #consume(o: LegOptions, srtp: boolean): Promise<void> {
    const consumer = await this.#transport.consume({
      producerId: o.producer.id,
      rtpCapabilities: o.rtpCapabilities,
      paused: true, // until the recorder knows its SSRC
      enableRtx: true, // video has it anyway; without it the recorder could not ask for lost sound
      appData: o.appData,
    });
    consumer.on('producerclose', () => this.#gone('producerclose'));
    this.#consumer = consumer;
    if (this.#over || consumer.closed || o.producer.closed) throw new Error('the producer was closed meanwhile');
    this.#attachment = {
      // A copy: the recorder knows a repeated attachTrack by the same bytes.
      rtpParameters: structuredClone(consumer.rtpParameters),
      source: sourceOf(this.#transport, o),
      // Read now, after connect(), which may have made new keys.
      ...(srtp ? { srtpParameters: { ...this.#transport.srtpParameters } } : {}),
      producerId: o.producer.id,
    };
  }

  get attachment(): Attachment {
    if (!this.#attachment) throw new Error('an opened leg has an attachment');
    return this.#attachment;
  }

  /** Whether it was closed, by us or by the SFU. */
  get over(): boolean {
    return this.#over;
  }

  /** Lets media flow; the SFU then asks the sender for a keyframe by itself. */
  async resume(): Promise<void> {
    await this.#control('resume');
  }

  async pause(): Promise<void> {
    await this.#control('pause');
  }

  async #control(verb: 'pause' | 'resume'): Promise<void> {
    if (this.#over || !this.#consumer) return;
    try {
      await this.#consumer[verb]();
    } catch (error) {
      if (!this.#over) throw sfuError(`consumer.${verb}`, error); // else it went away meanwhile, which is told elsewhere
    }
  }

  /** Closes transport and consumer. Again: nothing. */
  close(): void {
    this.#over = true;
    if (!this.#transport.closed) this.#transport.close();
  }

  #gone(reason: GoneReason): void {
    if (this.#over) return;
    this.close();
    this.#onGone(this, reason);
  }
}

/** Runs a step of mediasoup and names it in what it throws. */
async function step<T>(operation: string, job: () => Promise<T>): Promise<T> {
  try {
    return await job();
  } catch (error) {
    throw sfuError(operation, error);
  }
}

function mustBeConsumable(o: LegOptions): void {
  if (o.router.closed) throw new DualrecError('the router is closed', { code: 'SFU', operation: 'createPlainTransport' });
  if (o.producer.closed) throw new DualrecError('the producer is closed', { code: 'SFU', operation: 'consume' });
  if (!o.router.canConsume({ producerId: o.producer.id, rtpCapabilities: o.rtpCapabilities })) {
    throw new DualrecError('the recorder does not take the codec of this producer, or the producer is of another router', { code: 'UNSUPPORTED', operation: 'consume' });
  }
}

function srtpOf(o: LegOptions): SrtpParameters | undefined {
  const given = o.ingest.srtpParameters as Partial<SrtpParameters> | null | undefined;
  if (!given) {
    if (o.srtpCryptoSuite === undefined) return undefined;
    throw new DualrecError('SRTP was asked for, and the recorder gave no SRTP parameters', { code: 'UNSUPPORTED', operation: 'connect' });
  }
  if (typeof given.cryptoSuite !== 'string' || typeof given.keyBase64 !== 'string') {
    throw new DualrecError('the SRTP parameters of the recorder are not those of mediasoup', { code: 'PROTOCOL', operation: 'connect' });
  }
  return { cryptoSuite: given.cryptoSuite, keyBase64: given.keyBase64 };
}

function sourceOf(transport: PlainTransport, o: LegOptions): Attachment['source'] {
  const { tuple, rtcpTuple } = transport;
  const ip = o.sourceIp === undefined ? (tuple.localAddress ?? tuple.localIp) : o.sourceIp;
  return {
    // A name or an unspecified address is no sender: the recorder then pins the first valid packet.
    ...(ip && isIP(ip) && ip !== '0.0.0.0' && ip !== '::' ? { ip } : {}),
    rtpPort: tuple.localPort,
    ...(rtcpTuple ? { rtcpPort: rtcpTuple.localPort } : {}),
  };
}
