// The part of mediasoup's API that is used here, as structural types. mediasoup 3.13 and newer fit as they are
// (test/types.ts has the compiler check that); nothing of mediasoup is imported, so no version of it is forced on anybody.

/** mediasoup's `TransportListenInfo`, without `port`: each track needs a port of its own. */
export interface ListenInfo {
  protocol: 'udp';
  /** Local address from which the recorder can be reached and that it sees as the sender. */
  ip: string;
  /** What the recorder sees instead, behind NAT. */
  announcedAddress?: string;
  portRange?: { min: number; max: number };
  flags?: { ipv6Only?: boolean; udpReusePort?: boolean };
  sendBufferSize?: number;
  recvBufferSize?: number;
}

/** The suites that mediasoup and the recorder have in common. */
export type SrtpCryptoSuite = 'AES_CM_128_HMAC_SHA1_80' | 'AES_CM_128_HMAC_SHA1_32' | 'AEAD_AES_128_GCM' | 'AEAD_AES_256_GCM';

export interface SrtpParameters {
  cryptoSuite: SrtpCryptoSuite;
  keyBase64: string;
}

export interface PlainTransportOptions {
  listenInfo: ListenInfo;
  rtcpMux: boolean;
  comedia: boolean;
  enableSrtp?: boolean;
  srtpCryptoSuite?: SrtpCryptoSuite;
  appData?: Record<string, unknown>;
}

/** `localAddress` is there since mediasoup 3.15, `localIp` in all versions. */
export interface TransportTuple {
  localAddress?: string;
  localIp?: string;
  localPort: number;
}

export interface Router {
  readonly closed: boolean;
  canConsume(options: { producerId: string; rtpCapabilities: object }): boolean;
  createPlainTransport(options: PlainTransportOptions): Promise<PlainTransport>;
}

export interface PlainTransport {
  readonly closed: boolean;
  readonly tuple: TransportTuple;
  readonly rtcpTuple?: TransportTuple | undefined;
  readonly srtpParameters?: { cryptoSuite: string; keyBase64: string } | undefined;
  readonly observer: { on(event: 'close', listener: () => void): unknown };
  connect(remote: { ip: string; port: number; rtcpPort?: number; srtpParameters?: SrtpParameters }): Promise<void>;
  consume(options: ConsumeOptions): Promise<Consumer>;
  close(): void;
  on(event: 'routerclose', listener: () => void): unknown;
}

export interface ConsumeOptions {
  producerId: string;
  rtpCapabilities: object;
  paused: boolean;
  enableRtx: boolean;
  appData?: Record<string, unknown>;
}

export interface Consumer {
  readonly id: string;
  readonly closed: boolean;
  readonly rtpParameters: object;
  pause(): Promise<void>;
  resume(): Promise<void>;
  on(event: 'producerclose', listener: () => void): unknown;
}

export interface Producer {
  readonly id: string;
  readonly kind: 'audio' | 'video';
  readonly closed: boolean;
}
