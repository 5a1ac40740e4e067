// mediasoup as far as the recorder's clients see it, with the rules that its worker enforces: connect() once, rtcpPort
// exactly without rtcpMux, SRTP parameters exactly with enableSrtp, new SRTP keys by connect(), consumers of open
// producers only, events in the order of mediasoup 3.14.

import { EventEmitter } from 'node:events';
import type { Consumer, ConsumeOptions, PlainTransport, PlainTransportOptions, Producer, Router, TransportTuple } from '../src/sfu.js';
import type { Journal } from './journal.js';

let serial = 0;
const nextPort = () => 40_000 + ((serial += 7) % 20_000);

export class FakeProducer implements Producer {
  readonly id: string;
  readonly kind: 'audio' | 'video';
  closed = false;
  readonly consumers = new Set<FakeConsumer>();

  constructor(id: string, kind: 'audio' | 'video') {
    this.id = id;
    this.kind = kind;
  }

  /** Consumers hear of it in a later turn: the news comes from the worker. */
  close(): void {
    this.closed = true;
    setImmediate(() => {
      for (const c of [...this.consumers]) c.producerClosed();
    });
  }
}

export class FakeConsumer extends EventEmitter implements Consumer {
  readonly id: string;
  closed = false;
  paused = true;
  readonly rtpParameters: Record<string, unknown>;
  readonly transport: FakeTransport;
  readonly producer: FakeProducer;

  constructor(transport: FakeTransport, producer: FakeProducer, o: ConsumeOptions) {
    super();
    this.id = `consumer-${++serial}`;
    this.transport = transport;
    this.producer = producer;
    this.paused = o.paused;
    const video = producer.kind === 'video';
    const ssrc = 100_000 + serial;
    this.rtpParameters = {
      codecs: video
        ? [{ mimeType: 'video/VP8', payloadType: 101, clockRate: 90000, parameters: {}, rtcpFeedback: [{ type: 'nack', parameter: '' }, { type: 'nack', parameter: 'pli' }] },
           { mimeType: 'video/rtx', payloadType: 102, clockRate: 90000, parameters: { apt: 101 }, rtcpFeedback: [] }]
        : [{ mimeType: 'audio/opus', payloadType: 100, clockRate: 48000, channels: 2, parameters: { useinbandfec: 1 }, rtcpFeedback: o.enableRtx ? [{ type: 'nack', parameter: '' }] : [] }],
      headerExtensions: [],
      encodings: [video ? { ssrc, rtx: { ssrc: ssrc + 1 } } : { ssrc }],
      rtcp: { cname: `cname-${producer.id}`, reducedSize: true },
      mid: '0',
    };
  }

  get ssrc(): number {
    return (this.rtpParameters['encodings'] as { ssrc: number }[])[0]!.ssrc;
  }

  async pause(): Promise<void> {
    this.#mustBeOpen();
    this.transport.router.journal.add(`pause ${this.producer.id}`);
    this.paused = true;
  }

  async resume(): Promise<void> {
    this.#mustBeOpen();
    this.transport.router.journal.add(`resume ${this.producer.id}`);
    await this.transport.router.step('resume');
    this.paused = false;
  }

  #mustBeOpen(): void {
    if (this.closed) throw new Error(`Consumer with id "${this.id}" not found`);
  }

  producerClosed(): void {
    if (this.closed) return;
    this.closed = true;
    this.producer.consumers.delete(this);
    this.emit('producerclose');
  }

  transportClosed(): void {
    if (this.closed) return;
    this.closed = true;
    this.producer.consumers.delete(this);
    this.emit('transportclose');
  }
}

export class FakeTransport extends EventEmitter implements PlainTransport {
  readonly options: PlainTransportOptions;
  readonly router: FakeRouter;
  readonly observer = new EventEmitter();
  readonly tuple: TransportTuple;
  readonly rtcpTuple: TransportTuple | undefined;
  closed = false;
  remote: { ip: string; port: number; rtcpPort?: number; srtpParameters?: object } | undefined;
  consumer: FakeConsumer | undefined;
  #srtp: { cryptoSuite: string; keyBase64: string } | undefined;

  constructor(router: FakeRouter, options: PlainTransportOptions) {
    super();
    this.router = router;
    this.options = options;
    const localIp = options.listenInfo.announcedAddress ?? options.listenInfo.ip;
    const local = router.modern ? { localAddress: localIp, localIp } : { localIp };
    this.tuple = { ...local, localPort: nextPort() };
    this.rtcpTuple = options.rtcpMux ? undefined : { ...local, localPort: nextPort() };
    if (options.enableSrtp) this.#srtp = { cryptoSuite: options.srtpCryptoSuite ?? 'AES_CM_128_HMAC_SHA1_80', keyBase64: secret('before-connect') };
  }

  get srtpParameters(): { cryptoSuite: string; keyBase64: string } | undefined {
    return this.#srtp;
  }

  async connect(remote: { ip: string; port: number; rtcpPort?: number; srtpParameters?: { cryptoSuite: string; keyBase64: string } }): Promise<void> {
    this.router.journal.add(`connect ${remote.ip}:${remote.port}${remote.rtcpPort === undefined ? '' : `/${remote.rtcpPort}`}`);
    await this.router.step('connect');
    this.#mustBeOpen();
    if (this.remote) throw new Error('connect() already called');
    if (this.options.rtcpMux !== (remote.rtcpPort === undefined)) throw new Error('rtcpPort is wanted exactly without rtcpMux');
    if (Boolean(this.options.enableSrtp) !== (remote.srtpParameters !== undefined)) throw new TypeError('srtpParameters are wanted exactly with enableSrtp');
    this.remote = remote;
    if (this.#srtp) this.#srtp = { cryptoSuite: remote.srtpParameters!.cryptoSuite, keyBase64: secret(`after-connect-${++serial}`) };
  }

  async consume(o: ConsumeOptions): Promise<FakeConsumer> {
    this.router.journal.add(`consume ${o.producerId} paused=${o.paused} enableRtx=${o.enableRtx}`);
    await this.router.step('consume');
    this.#mustBeOpen();
    const producer = this.router.producers.get(o.producerId);
    if (!producer || producer.closed) throw new Error(`Producer with id "${o.producerId}" not found`);
    this.consumer = new FakeConsumer(this, producer, o);
    producer.consumers.add(this.consumer);
    return this.consumer;
  }

  #mustBeOpen(): void {
    if (this.closed) throw new Error('Transport is closed');
  }

  close(): void {
    if (this.closed) return;
    this.#close();
    this.observer.emit('close');
  }

  routerClosed(): void {
    if (this.closed) return;
    this.#close();
    this.emit('routerclose');
    this.observer.emit('close');
  }

  #close(): void {
    this.closed = true;
    this.router.journal.add(`close ${this.consumer?.producer.id ?? 'transport'}`);
    this.consumer?.transportClosed();
  }
}

type Step = 'createPlainTransport' | 'connect' | 'consume' | 'resume';

export class FakeRouter implements Router {
  readonly journal: Journal;
  readonly producers = new Map<string, FakeProducer>();
  readonly transports: FakeTransport[] = [];
  /** Whether tuples have localAddress, as since mediasoup 3.15. */
  modern = false;
  closed = false;
  /** Producers whose codec the recorder does not take. */
  readonly foreign = new Set<string>();
  /** Runs within a step, before it has its effect; may throw. */
  readonly hooks = new Map<Step, () => void | Promise<void>>();

  constructor(journal: Journal) {
    this.journal = journal;
  }

  async step(name: Step): Promise<void> {
    await Promise.resolve();
    await this.hooks.get(name)?.();
  }

  produce(id: string, kind: 'audio' | 'video'): FakeProducer {
    const producer = new FakeProducer(id, kind);
    this.producers.set(id, producer);
    return producer;
  }

  canConsume({ producerId }: { producerId: string; rtpCapabilities: object }): boolean {
    const p = this.producers.get(producerId);
    return p !== undefined && !p.closed && !this.foreign.has(producerId);
  }

  async createPlainTransport(options: PlainTransportOptions): Promise<FakeTransport> {
    this.journal.add(`createPlainTransport rtcpMux=${options.rtcpMux} comedia=${options.comedia}`);
    await this.step('createPlainTransport');
    if (this.closed) throw new Error('Router is closed');
    const t = new FakeTransport(this, options);
    this.transports.push(t);
    return t;
  }

  close(): void {
    this.closed = true;
    for (const t of this.transports) t.routerClosed();
  }

  /** The transports that are open now. */
  get open(): FakeTransport[] {
    return this.transports.filter((t) => !t.closed);
  }

  /** The open transport that forwards this producer. */
  to(producerId: string): FakeTransport {
    const t = this.open.find((x) => x.consumer?.producer.id === producerId);
    if (!t) throw new Error(`${producerId} is not forwarded`);
    return t;
  }
}

/** Recognisable, so that a test can look for it where it must not be. */
export const SECRET_MARK = Buffer.from('srtp-secret').toString('base64').slice(0, 12);
const secret = (s: string) => Buffer.from(`srtp-secret ${s}`).toString('base64');
