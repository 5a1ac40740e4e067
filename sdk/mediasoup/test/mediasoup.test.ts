import assert from 'node:assert/strict';
import { createDecipheriv, createHmac } from 'node:crypto';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { test, type TestContext } from 'node:test';
import { eventually } from './journal.js';
import { realSfu } from './media-sfu.js';
import { setup, start } from './setup.js';

const skip = process.env['MEDIASOUP_WORKER_BIN'] ? false : 'needs a real mediasoup: set MEDIASOUP_WORKER_BIN to the worker of mediasoup 3.14.16';

interface Heard {
  data: Buffer;
  from: RemoteInfo;
}

/** A port of a recorder that only listens. */
async function ear(t: TestContext): Promise<{ socket: Socket; port: number; heard: Heard[] }> {
  const socket = createSocket('udp4');
  const heard: Heard[] = [];
  socket.on('message', (data, from) => heard.push({ data, from }));
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.after(() => socket.close());
  return { socket, port: socket.address().port, heard };
}

type Ear = Awaited<ReturnType<typeof ear>>;

const ssrcOf = (rtpParameters: unknown) => (rtpParameters as { encodings: { ssrc: number }[] }).encodings[0]!.ssrc;

/** The RTP of that SSRC, without mediasoup's probes. */
const rtpOf = (e: Ear, ssrc: number) => e.heard.filter(({ data }) => data.length >= 12 && data.readUInt32BE(8) === ssrc);

async function listening(t: TestContext, kinds: number, rtcpMux: boolean) {
  const s = await setup(t, { retry: { attempts: 1 } });
  const ears = await Promise.all(Array.from({ length: kinds }, async () => ({ rtp: await ear(t), rtcp: await ear(t) })));
  let n = 0;
  s.recorder.ports = () => {
    const e = ears[n++]!;
    return { rtpPort: e.rtp.port, rtcpPort: rtcpMux ? null : e.rtcp.port };
  };
  const sfu = await realSfu();
  t.after(() => sfu.close());
  return { s: { ...s, router: sfu.router as never }, sfu, ears };
}

for (const rtcpMux of [false, true]) {
  test(`a real mediasoup sends to the recorder what was announced, rtcpMux=${rtcpMux}`, { skip }, async (t) => {
    const { s, sfu, ears } = await listening(t, 2, rtcpMux);
    const webcam = await sfu.produce('webcam-1');
    const mic = await sfu.produce('mic-1');
    webcam.play();
    mic.play();
    const call = await start(s, { webcam: webcam.producer, agentAudio: mic.producer }, { rtcpMux, listenInfo: { protocol: 'udp', ip: '127.0.0.1' } });
    for (const [n, kind] of (['WEBCAM', 'AGENT_AUDIO'] as const).entries()) {
      const attached = s.recorder.track(kind).attached!;
      const { rtp, rtcp } = ears[n]!;
      await eventually(() => rtpOf(rtp, ssrcOf(attached.rtpParameters)).length > 20, `${kind}: RTP of the announced SSRC`);
      assert.ok(rtpOf(rtp, ssrcOf(attached.rtpParameters)).every((h) => h.from.port === attached.source.rtpPort && h.from.address === attached.source.ip));
      const reports = () => (rtcpMux ? rtp : rtcp).heard.filter(({ data }) => data[1] === 200);
      await eventually(() => reports().length > 0, `${kind}: a sender report`);
      assert.equal(reports()[0]!.from.port, rtcpMux ? attached.source.rtpPort : attached.source.rtcpPort);
      const { codecs } = attached.rtpParameters as { codecs: { mimeType: string; rtcpFeedback: { type: string; parameter?: string }[] }[] };
      assert.ok(codecs[0]!.rtcpFeedback.some((f) => f.type === 'nack' && !f.parameter), `${kind} can be repaired`);
    }
    // A consumer begins with a keyframe, which in this capture comes within five seconds.
    const again = await sfu.produce('webcam-1');
    const before = ssrcOf(s.recorder.track('WEBCAM').attached!.rtpParameters);
    await call.replace('webcam', again.producer);
    again.play();
    const after = ssrcOf(s.recorder.track('WEBCAM').attached!.rtpParameters);
    assert.notEqual(after, before);
    await eventually(() => rtpOf(ears[0]!.rtp, after).length > 20, 'RTP of the new producer');
    mic.close();
    await eventually(() => s.recorder.track('AGENT_AUDIO').state === 'CLOSED', 'the closed producer is detached');
    await call.stop();
    assert.equal(s.logs.filter((l) => l.level === 'error').length, 0);
  });
}

test('a pause that cannot be told holds the media of a real mediasoup back', { skip }, async (t) => {
  const { s, sfu, ears } = await listening(t, 1, false);
  const mic = await sfu.produce('mic-1');
  mic.play();
  const call = await start(s, { agentAudio: mic.producer }, { listenInfo: { protocol: 'udp', ip: '127.0.0.1' } });
  const { heard } = ears[0]!.rtp;
  await eventually(() => heard.length > 10, 'sound');
  s.recorder.fault('pauseRecording', { userError: { code: 'UNAVAILABLE' } });
  await assert.rejects(call.pause({ reason: 'PAYMENT' }));
  await new Promise((resolve) => setTimeout(resolve, 300)); // the worker pauses, and what is in the sockets arrives
  const held = heard.length;
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(heard.length, held);
  await call.resume();
  await eventually(() => heard.length > held + 10, 'sound again');
  await call.stop();
});

test('the SRTP keys of a real mediasoup are those that the recorder gets', { skip }, async (t) => {
  for (const suite of ['AES_CM_128_HMAC_SHA1_80', 'AES_CM_128_HMAC_SHA1_32'] as const) {
    const { s, sfu, ears } = await listening(t, 1, false);
    const mic = await sfu.produce('mic-1');
    mic.play();
    const call = await start(s, { agentAudio: mic.producer }, { srtpCryptoSuite: suite, listenInfo: { protocol: 'udp', ip: '127.0.0.1' } });
    const { srtpParameters, rtpParameters } = s.recorder.track('AGENT_AUDIO').attached!;
    const { keyBase64, cryptoSuite } = srtpParameters as { keyBase64: string; cryptoSuite: string };
    assert.equal(cryptoSuite, suite);
    await eventually(() => rtpOf(ears[0]!.rtp, ssrcOf(rtpParameters)).length > 5, 'SRTP');
    const { data } = rtpOf(ears[0]!.rtp, ssrcOf(rtpParameters))[0]!;
    const tag = suite.endsWith('_80') ? 10 : 4;
    assert.deepEqual(tagOf(data.subarray(0, -tag), Buffer.from(keyBase64, 'base64')).subarray(0, tag), data.subarray(-tag));
    await call.stop();
  }
});

/** The authentication tag of an SRTP packet before the first roll-over (RFC 3711, 4.2 and 4.3). */
function tagOf(packet: Buffer, master: Buffer): Buffer {
  const iv = Buffer.alloc(16);
  master.copy(iv, 0, 16, 30);
  iv[7]! ^= 0x01; // label of the authentication key
  const key = createDecipheriv('aes-128-ctr', master.subarray(0, 16), iv).update(Buffer.alloc(20));
  return createHmac('sha1', key).update(packet).update(Buffer.alloc(4)).digest();
}
