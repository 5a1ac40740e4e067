// Records one short call through a running dualrec, with what happens in calls: a webcam that goes off, a share that is
// restarted, a card number. Run by integration/sdk_test.go, which then looks at the recording.
//
//   DUALREC_URL=http://127.0.0.1:8080/graphql DUALREC_API_KEY=dr_… node build/test/live.js SESSION-ID [SRTP-SUITE]
//
// Prints what it saw as one line of JSON. With MEDIASOUP_WORKER_BIN the SFU is a real mediasoup, which SRTP needs.

import { setTimeout as wait } from 'node:timers/promises';
import { Dualrec, recordCall, type CallEvent, type LogEntry, type SrtpCryptoSuite } from '../src/index.js';
import { realSfu, udpSfu } from './media-sfu.js';

const url = process.env['DUALREC_URL'];
const apiKey = process.env['DUALREC_API_KEY'];
const [, , externalSessionId, suite] = process.argv;
if (!url || !apiKey || !externalSessionId) throw new Error('usage: DUALREC_URL=… DUALREC_API_KEY=… node live.js SESSION-ID [SRTP-SUITE]');
if (suite && !process.env['MEDIASOUP_WORKER_BIN']) throw new Error('the SFU of the tests sends no SRTP: set MEDIASOUP_WORKER_BIN');

const logs: LogEntry[] = [];
const events: CallEvent[] = [];
const sfu = process.env['MEDIASOUP_WORKER_BIN'] ? await realSfu() : udpSfu();
const [screen, webcam, mic] = await Promise.all([sfu.produce('screen-1'), sfu.produce('webcam-1'), sfu.produce('mic-1')]);

const recorded = await recordCall(sfu.router, { screen: screen.producer, webcam: webcam.producer, agentAudio: mic.producer }, {
  dualrec: new Dualrec({ url, apiKey, log: (entry) => logs.push(entry) }),
  externalSessionId,
  queue: 'sdk',
  agent: 'agent-17',
  expect: ['customerAudio'],
  listenInfo: { protocol: 'udp', ip: '127.0.0.1' },
  srtpCryptoSuite: suite as SrtpCryptoSuite | undefined,
  watchIntervalMs: 1_000,
  onEvent: (event) => events.push(event),
});
const began = performance.now();
for (const producer of [screen, webcam, mic]) producer.play();
await wait(2_000);
webcam.close();
await wait(1_000);
const share = await sfu.produce('screen-1');
await recorded.replace('screen', share.producer);
share.play();
screen.close();
const customer = await sfu.produce('mic-1');
await recorded.add('customerAudio', customer.producer);
customer.play();
await recorded.reattach();
await wait(1_500);
await recorded.pause({ reason: 'PAYMENT', autoResumeAfterSeconds: 60 });
await wait(700);
await recorded.resume();
await wait(1_500);
await recorded.setLayout('PICTURE_IN_PICTURE');
await wait(1_500);
await recorded.bookmark({ atMs: 1_000, label: 'complaint' });
const tracks = recorded.tracks;
const capture = (await new Dualrec({ url, apiKey }).recording(recorded.recordingId))?.capture;
await recorded.stop();
const playedMs = Math.round(performance.now() - began);
sfu.close();
console.log(JSON.stringify({ recordingId: recorded.recordingId, viewUrl: recorded.viewUrl, capture, playedMs, tracks, events, logs }));
