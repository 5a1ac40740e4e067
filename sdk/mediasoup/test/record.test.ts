import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { DualrecError } from '../src/errors.js';
import { SECRET_MARK } from './fake-sfu.js';
import { eventually } from './journal.js';
import { fourProducers, setup, start } from './setup.js';

const code = (want: string) => (e: unknown) => {
  assert.ok(e instanceof DualrecError, inspect(e));
  assert.equal(e.code, want, e.message);
  return true;
};

test('one producer, step by step', async (t) => {
  const s = await setup(t);
  const call = await start(s, { screen: s.router.produce('p-screen', 'video') });
  assert.deepEqual(s.journal.lines, [
    'api ingestCapabilities',
    'api startRecording',
    'createPlainTransport rtcpMux=false comedia=false',
    'connect 127.0.0.1:20000/20001',
    'consume p-screen paused=true enableRtx=true',
    'api attachTrack SCREEN',
    'resume p-screen',
  ]);
  const transport = s.router.to('p-screen');
  const { attached } = s.recorder.track('SCREEN');
  assert.deepEqual(attached?.rtpParameters, transport.consumer?.rtpParameters);
  assert.deepEqual({ ...attached?.source }, { ip: '10.0.0.5', rtpPort: transport.tuple.localPort, rtcpPort: transport.rtcpTuple?.localPort });
  assert.equal(attached?.producerId, 'p-screen');
  assert.equal(attached?.srtpParameters, undefined);
  assert.deepEqual(transport.options.appData, { dualrec: { recordingId: call.recordingId, track: 'screen' } });
  assert.equal(call.viewUrl, `https://rec.example.com/r/${call.recordingId}`);
  assert.deepEqual(call.tracks, [{ track: 'screen', index: 0, trackId: s.recorder.track('SCREEN').id, forwarding: true, producerId: 'p-screen' }]);
});

test('what is known of the call is passed on', async (t) => {
  const s = await setup(t);
  await start(s, { agentAudio: s.router.produce('a', 'audio') }, {
    customerId: 'c-1', client: 'acme', sessionType: 'inbound', tags: ['vip'], startedAt: new Date('2026-01-02T03:04:05Z'), metadata: { crm: 7 }, layout: 'AUDIO_ONLY', expect: ['webcam'],
  });
  assert.deepEqual({ ...s.recorder.inputs.find((i) => i.operation === 'startRecording')?.input }, {
    externalSessionId: 'call-1', queue: 'sales', agent: 'agent-17', customerId: 'c-1', client: 'acme', sessionType: 'inbound', tags: ['vip'],
    startedAt: '2026-01-02T03:04:05.000Z', metadata: { crm: 7 }, layout: 'AUDIO_ONLY', rtcpMux: false, tracks: ['WEBCAM', 'AGENT_AUDIO'],
  });
});

test('all four media', async (t) => {
  const s = await setup(t);
  const call = await start(s, fourProducers(s.router));
  assert.deepEqual(call.tracks.map((x) => [x.track, x.forwarding]), [['screen', true], ['webcam', true], ['agentAudio', true], ['customerAudio', true]]);
  assert.equal(s.journal.count('resume'), 4);
  assert.equal(s.router.open.length, 4);
  assert.equal(s.journal.count('api startRecording'), 1);
  assert.deepEqual(s.events.map((e) => e.type), ['attached', 'attached', 'attached', 'attached']);
});

test('several screens are told apart', async (t) => {
  const s = await setup(t);
  const call = await start(s, { screen: [s.router.produce('left', 'video'), s.router.produce('right', 'video')] });
  assert.equal(s.recorder.track('SCREEN', 0).attached?.producerId, 'left');
  assert.equal(s.recorder.track('SCREEN', 1).attached?.producerId, 'right');
  await call.replace('screen', s.router.produce('right-2', 'video'), { index: 1 });
  assert.equal(s.recorder.track('SCREEN', 0).attached?.producerId, 'left');
  assert.equal(s.recorder.track('SCREEN', 1).attached?.producerId, 'right-2');
  await assert.rejects(call.replace('screen', s.router.produce('third', 'video'), { index: 2 }), code('NOT_FOUND'));
});

test('with rtcpMux there is no RTCP port anywhere', async (t) => {
  const s = await setup(t);
  await start(s, { webcam: s.router.produce('w', 'video') }, { rtcpMux: true });
  assert.deepEqual(s.journal.of('create', 'connect'), ['createPlainTransport rtcpMux=true comedia=false', 'connect 127.0.0.1:20000']);
  assert.equal(s.recorder.track('WEBCAM').attached?.source.rtcpPort, undefined);
});

for (const suite of ['AES_CM_128_HMAC_SHA1_80', 'AEAD_AES_256_GCM'] as const) {
  test(`SRTP with ${suite}: the recorder gets the keys of after connect(), and no log or event has any`, async (t) => {
    const s = await setup(t);
    const call = await start(s, { screen: s.router.produce('p', 'video') }, { srtpCryptoSuite: suite });
    const transport = s.router.to('p');
    assert.equal(transport.options.enableSrtp, true);
    assert.equal(transport.options.srtpCryptoSuite, suite);
    assert.deepEqual({ ...(transport.remote?.srtpParameters as object) }, { ...s.recorder.track('SCREEN').ingest?.srtpParameters });
    assert.deepEqual({ ...(s.recorder.track('SCREEN').attached?.srtpParameters as object) }, { ...transport.srtpParameters });
    s.recorder.fault('attachTrack', 'drop', { userError: { code: 'INVALID_INPUT' } });
    await assert.rejects(call.replace('screen', s.router.produce('q', 'video')), code('INVALID_INPUT'));
    const told = inspect([s.logs, s.events, call, call.tracks], { depth: 20, showHidden: true });
    assert.ok(!told.includes(SECRET_MARK), told);
  });
}

test('SRTP that the recorder does not give is not replaced by plain RTP', async (t) => {
  const s = await setup(t);
  await start(s, { screen: s.router.produce('p', 'video') }); // a running recording without SRTP
  await assert.rejects(start(s, { screen: s.router.produce('q', 'video') }, { srtpCryptoSuite: 'AEAD_AES_128_GCM' }), code('UNSUPPORTED'));
  assert.equal(s.journal.count('consume q'), 0);
});

test('addresses: mediasoup 3.15 tuples, NAT, names', async (t) => {
  for (const [options, modern, want] of [
    [{}, true, '10.0.0.5'],
    [{ listenInfo: { protocol: 'udp' as const, ip: '0.0.0.0' } }, false, undefined],
    [{ listenInfo: { protocol: 'udp' as const, ip: '0.0.0.0', announcedAddress: '192.0.2.7' } }, true, '192.0.2.7'],
    [{ listenInfo: { protocol: 'udp' as const, ip: '0.0.0.0', announcedAddress: 'sfu.example.com' } }, true, undefined],
    [{ sourceIp: null }, false, undefined],
    [{ sourceIp: '198.51.100.1' }, false, '198.51.100.1'],
  ] as const) {
    const s = await setup(t);
    s.router.modern = modern;
    await start(s, { screen: s.router.produce('p', 'video') }, options);
    assert.equal(s.recorder.track('SCREEN').attached?.source.ip, want);
  }
});

test('starting again after a lost answer gives one recording', async (t) => {
  const s = await setup(t);
  s.recorder.fault('startRecording', 'lost', { http: 502 });
  await start(s, { screen: s.router.produce('p', 'video') });
  assert.equal(s.recorder.recordings.size, 1);
  assert.equal(s.journal.count('api startRecording'), 3);
});

test('a missing medium does not block: absent, null, closed, of a foreign codec, refused', async (t) => {
  const s = await setup(t);
  const screen = s.router.produce('p-screen', 'video');
  const webcam = s.router.produce('p-webcam', 'video');
  const customerAudio = s.router.produce('p-customer', 'audio');
  screen.close();
  s.router.foreign.add('p-webcam');
  const call = await start(s, { screen, webcam, agentAudio: null, customerAudio });
  assert.deepEqual(call.tracks.map((x) => [x.track, x.forwarding, x.error?.code]), [
    ['screen', false, 'SFU'], ['webcam', false, 'UNSUPPORTED'], ['customerAudio', true, undefined]]);
  assert.deepEqual(s.events.map((e) => e.type).sort(), ['attached', 'trackfailed', 'trackfailed']);
  assert.equal(s.router.open.length, 1);
  assert.equal(call.state, 'recording');

  const refused = await setup(t);
  refused.recorder.fault('attachTrack', { userError: { code: 'UNSUPPORTED' } });
  const other = await start(refused, { screen: refused.router.produce('s', 'video'), agentAudio: refused.router.produce('a', 'audio') });
  assert.equal(other.tracks.filter((x) => x.forwarding).length, 1);
  assert.equal(refused.router.open.length, 1);
});

test('nothing but expected tracks: the recording waits for them', async (t) => {
  const s = await setup(t);
  const call = await start(s, {}, { expect: ['screen', 'agentAudio'] });
  assert.equal(s.router.transports.length, 0);
  await call.add('screen', s.router.produce('p', 'video'));
  assert.equal(s.recorder.track('SCREEN').attached?.producerId, 'p');
});

test('a start without anything, or with a producer of the wrong kind, is refused before anything is made', async (t) => {
  const s = await setup(t);
  await assert.rejects(start(s, {}), code('INVALID_INPUT'));
  await assert.rejects(start(s, { screen: s.router.produce('a', 'audio') }), code('INVALID_INPUT'));
  s.router.closed = true;
  await assert.rejects(start(s, { webcam: s.router.produce('v', 'video') }), code('SFU'));
  assert.equal(s.journal.lines.length, 0);
});

/** Nothing is left: all transports closed, the recording stopped. */
function undone(s: Awaited<ReturnType<typeof setup>>) {
  assert.equal(s.router.open.length, 0);
  assert.equal(s.journal.count('api stopRecording'), 1);
  assert.ok(['FINALIZING', 'FAILED'].includes(s.recorder.only().capture));
}

for (const step of ['createPlainTransport', 'connect', 'resume'] as const) {
  test(`a start whose ${step} fails is undone`, async (t) => {
    const s = await setup(t);
    const producers = fourProducers(s.router);
    let n = 0;
    s.router.hooks.set(step, () => {
      if (++n === 3) throw new Error('no more available ports');
    });
    await assert.rejects(start(s, producers), (e) => code('SFU')(e) && /no more available ports/.test((e as Error).message));
    undone(s);
  });
}

for (const [what, fault] of [
  ['is unavailable for good', Array(8).fill({ userError: { code: 'UNAVAILABLE' } })],
  ['may not be reached', Array(8).fill('drop')],
  ['forbids', [{ userError: { code: 'FORBIDDEN' } }]],
] as const) {
  test(`a start is undone when attachTrack ${what}`, async (t) => {
    const s = await setup(t);
    s.recorder.fault('attachTrack', ...fault);
    await assert.rejects(start(s, { screen: s.router.produce('p-screen', 'video'), webcam: s.router.produce('p-webcam', 'video') }), DualrecError);
    undone(s);
  });
}

test('allOrNothing: one medium that fails undoes the start', async (t) => {
  const s = await setup(t);
  const producers = fourProducers(s.router);
  s.router.foreign.add('p-webcam');
  await assert.rejects(start(s, producers, { allOrNothing: true }), code('UNSUPPORTED'));
  undone(s);
});

test('no medium at all that can be recorded undoes the start', async (t) => {
  const s = await setup(t);
  const screen = s.router.produce('p', 'video');
  s.router.foreign.add('p');
  await assert.rejects(start(s, { screen }), code('UNSUPPORTED'));
  undone(s);
});

for (const step of ['createPlainTransport', 'connect', 'consume', 'resume'] as const) {
  test(`a signal during ${step} undoes the start`, async (t) => {
    const s = await setup(t);
    const stop = new AbortController();
    s.router.hooks.set(step, () => stop.abort(new Error('the customer hung up')));
    await assert.rejects(start(s, { screen: s.router.produce('p', 'video'), agentAudio: s.router.produce('a', 'audio') }, { signal: stop.signal }), code('ABORTED'));
    undone(s);
  });
}

test('a start that fails and cannot be undone says so in the log', async (t) => {
  const s = await setup(t);
  s.recorder.fault('attachTrack', { userError: { code: 'FORBIDDEN' } });
  s.recorder.fault('stopRecording', 'drop', 'drop', 'drop');
  await assert.rejects(start(s, { screen: s.router.produce('p', 'video') }), code('FORBIDDEN'));
  assert.equal(s.router.open.length, 0);
  assert.ok(s.logs.some((l) => l.level === 'error' && /could not be undone/.test(l.message)));
});

test('a start that joins a running recording and fails leaves that running', async (t) => {
  const s = await setup(t);
  await start(s, { screen: s.router.produce('p', 'video') });
  s.recorder.only().capture = 'RECORDING';
  s.recorder.fault('attachTrack', { userError: { code: 'FORBIDDEN' } });
  await assert.rejects(start(s, { screen: s.router.produce('q', 'video') }), code('FORBIDDEN'));
  assert.equal(s.journal.count('api stopRecording'), 0);
  assert.deepEqual(s.router.open.map((x) => x.consumer?.producer.id), ['p']);
});

test('a start that joins a running recording forwards what that expects', async (t) => {
  const s = await setup(t);
  await start(s, { screen: s.router.produce('p', 'video') });
  s.recorder.only().capture = 'RECORDING';
  const call = await start(s, { screen: s.router.produce('q', 'video'), agentAudio: s.router.produce('a', 'audio') });
  assert.equal(s.recorder.track('SCREEN').attached?.producerId, 'q');
  assert.deepEqual(call.tracks.map((x) => x.track), ['screen']);
  assert.ok(s.events.some((e) => e.type === 'trackfailed' && e.track === 'agentAudio' && e.error.code === 'NOT_FOUND'));
});

test('a call that has been recorded already is not started again', async (t) => {
  const s = await setup(t);
  const call = await start(s, { screen: s.router.produce('p', 'video') });
  await call.stop();
  await assert.rejects(start(s, { screen: s.router.produce('q', 'video') }), (e) => code('CONFLICT')(e) && /FINALIZING/.test((e as Error).message));
});

test('a recorder that is just coming back is waited for', async (t) => {
  const s = await setup(t);
  await start(s, { screen: s.router.produce('p', 'video') });
  const track = s.recorder.track('SCREEN');
  const { ingest } = track;
  track.ingest = null;
  const again = start(s, { screen: s.router.produce('q', 'video') });
  await eventually(() => s.journal.count('api startRecording') === 3, 'a second try');
  track.ingest = ingest;
  await again;
  assert.equal(track.attached?.producerId, 'q');
});

test('nothing of Node.js warns of leaked listeners, with the most tracks there can be', async (t) => {
  const warnings: Error[] = [];
  const note = (w: Error) => warnings.push(w);
  process.on('warning', note);
  t.after(() => process.off('warning', note));
  const s = await setup(t);
  const stop = new AbortController();
  const screens = [1, 2, 3, 4].map((n) => s.router.produce(`s-${n}`, 'video'));
  const call = await start(s, { ...fourProducers(s.router), screen: screens }, { signal: stop.signal });
  await Promise.all([call.reattach(), call.reattach(), call.pause({ reason: 'HOLD' }), call.setLayout('SCREEN_ONLY')]);
  await call.stop();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});
