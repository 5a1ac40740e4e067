// Two SFUs that really send a captured call: one that is mediasoup, and a small one for where no worker of it is at hand.

import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import type { types } from 'mediasoup';
import type { PlainTransportOptions, Producer, Router } from '../src/sfu.js';
import { FakeProducer, FakeRouter, type FakeTransport } from './fake-sfu.js';
import { Journal } from './journal.js';
import { captured, capturedParameters, play, withSsrc, type CapturedTrack } from './rtpdump.js';

export interface MediaProducer {
  readonly producer: Producer;
  /** From the beginning of the capture, in real time. */
  play(): void;
  close(): void;
}

export interface MediaSfu {
  readonly router: Router;
  produce(track: CapturedTrack): Promise<MediaProducer>;
  close(): void;
}

async function udp(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

const portOf = (s: Socket) => (s.address() as AddressInfo).port;

/** Each transport has two sockets; a consumer that is not paused gets its producer's packets under an SSRC of its own. */
class UdpRouter extends FakeRouter {
  readonly sockets = new Map<FakeTransport, { rtp: Socket; rtcp: Socket }>();

  override async createPlainTransport(options: PlainTransportOptions): Promise<FakeTransport> {
    const t = await super.createPlainTransport(options);
    const pair = { rtp: await udp(), rtcp: await udp() };
    t.tuple.localPort = portOf(pair.rtp);
    if (t.rtcpTuple) t.rtcpTuple.localPort = portOf(pair.rtcp);
    this.sockets.set(t, pair);
    t.observer.on('close', () => {
      this.sockets.delete(t);
      pair.rtp.close();
      pair.rtcp.close();
    });
    return t;
  }
}

export function udpSfu(): MediaSfu {
  const router = new UdpRouter(new Journal());
  const playing = new Set<() => void>();
  let n = 0;
  return {
    router,
    async produce(track) {
      const { kind } = capturedParameters(track);
      const producer: FakeProducer = router.produce(`${track}/${++n}`, kind);
      let stop = () => {};
      return {
        producer,
        play() {
          stop = play(captured(track), (d) => {
            for (const c of producer.consumers) {
              const pair = router.sockets.get(c.transport);
              const { remote } = c.transport;
              if (c.paused || !pair || !remote) continue;
              if (d.rtcp && remote.rtcpPort !== undefined) pair.rtcp.send(withSsrc(d, c.ssrc), remote.rtcpPort, remote.ip);
              else pair.rtp.send(withSsrc(d, c.ssrc), remote.port, remote.ip);
            }
          });
          playing.add(stop);
        },
        close() {
          stop();
          producer.close();
        },
      };
    },
    close() {
      for (const stop of playing) stop();
      router.close();
    },
  };
}

/** mediasoup with the worker that MEDIASOUP_WORKER_BIN names; the package itself reads that. */
export async function realSfu(): Promise<MediaSfu> {
  const { createWorker } = await import('mediasoup');
  const worker = await createWorker({ logLevel: 'warn' });
  const router: types.Router = await worker.createRouter({
    mediaCodecs: [
      { kind: 'audio', mimeType: 'audio/opus', clockRate: 48000, channels: 2, preferredPayloadType: 100 },
      { kind: 'video', mimeType: 'video/VP8', clockRate: 90000, preferredPayloadType: 101 },
    ],
  });
  const ends: (() => void)[] = [];
  return {
    router,
    async produce(track) {
      const { kind, rtpParameters } = capturedParameters(track);
      const input = await router.createPlainTransport({ listenInfo: { protocol: 'udp', ip: '127.0.0.1' }, rtcpMux: false, comedia: true });
      const { mid: _, ...rest } = rtpParameters; // a name that is the transport's own
      const producer = await input.produce({ kind, rtpParameters: rest as types.RtpParameters });
      const rtp = await udp();
      const rtcp = await udp();
      let stop = () => {};
      const end = () => {
        stop();
        input.close();
      };
      input.observer.on('close', () => {
        rtp.close();
        rtcp.close();
      });
      ends.push(end);
      return {
        producer,
        play() {
          stop = play(captured(track), (d) => {
            if (input.closed) return;
            if (d.rtcp) rtcp.send(d.data, input.rtcpTuple!.localPort, '127.0.0.1');
            else rtp.send(d.data, input.tuple.localPort, '127.0.0.1');
          });
        },
        close: end,
      };
    },
    close() {
      for (const end of ends) end();
      worker.close();
    },
  };
}
