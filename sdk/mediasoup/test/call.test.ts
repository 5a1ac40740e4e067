import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { DualrecError } from '../src/errors.js';
import { eventually } from './journal.js';
import { fourProducers, setup, start, type Setup } from './setup.js';

const code = (want: string) => (e: unknown) => {
  assert.ok(e instanceof DualrecError, inspect(e));
  assert.equal(e.code, want, e.message);
  return true;
};

async function running(t: Parameters<typeof setup>[0], o: Parameters<typeof start>[2] = {}) {
  const s = await setup(t);
  const producers = fourProducers(s.router);
  const call = await start(s, producers, o);
  s.recorder.only().capture = 'RECORDING';
  s.journal.clear();
  s.events.length = 0;
  return { s, call, producers };
}

const latch = () => {
  let open = () => {};
  const wait = new Promise<void>((resolve) => (open = resolve));
  return { wait, open };
};

test('replace: the new leg is known before the old one goes', async (t) => {
  const { s, call } = await running(t);
  await call.replace('screen', s.router.produce('p-screen-2', 'video'));
  assert.deepEqual(s.journal.lines.map((l) => l.replace(/\d+\/\d+$/, '')), [
    'createPlainTransport rtcpMux=false comedia=false',
    'connect 127.0.0.1:',
    'consume p-screen-2 paused=true enableRtx=true',
    'api attachTrack SCREEN',
    'close p-screen',
    'resume p-screen-2',
  ]);
  assert.equal(s.recorder.track('SCREEN').attached?.producerId, 'p-screen-2');
  assert.deepEqual(s.events, [{ type: 'attached', track: 'screen', index: 0, producerId: 'p-screen-2' }]);
});

test('replace by the same producer does nothing', async (t) => {
  const { s, call, producers } = await running(t);
  await call.replace('screen', producers.screen);
  assert.deepEqual(s.journal.lines, []);
});

test('replace that fails leaves the old leg as it was', async (t) => {
  const { s, call } = await running(t);
  s.recorder.fault('attachTrack', { userError: { code: 'INVALID_INPUT', field: ['input', 'rtpParameters'] } });
  await assert.rejects(call.replace('screen', s.router.produce('p-2', 'video')), code('INVALID_INPUT'));
  assert.equal(s.router.to('p-screen').consumer?.paused, false);
  assert.equal(s.router.open.length, 4);
  const status = call.tracks.find((x) => x.track === 'screen');
  assert.equal(status?.producerId, 'p-screen');
  assert.equal(status?.error?.code, 'INVALID_INPUT');
});

test('replace whose answers are lost: the recorder is told the old leg again at the next look', async (t) => {
  const { s, call } = await running(t);
  s.recorder.fault('attachTrack', 'lost', 'drop', 'drop', 'drop');
  await assert.rejects(call.replace('screen', s.router.produce('p-2', 'video')), code('NETWORK'));
  assert.equal(s.recorder.track('SCREEN').attached?.producerId, 'p-2');
  await call.reattach();
  assert.equal(s.recorder.track('SCREEN').attached?.producerId, 'p-screen');
  assert.equal(s.router.open.length, 4);
});

test('replacements that come quickly are done one after another', async (t) => {
  const { s, call } = await running(t);
  await Promise.all([2, 3, 4].map((n) => call.replace('screen', s.router.produce(`p-${n}`, 'video'))));
  assert.equal(s.recorder.track('SCREEN').attached?.producerId, 'p-4');
  assert.equal(s.router.open.length, 4);
  assert.equal(s.router.to('p-4').consumer?.paused, false);
});

test('a producer that closes is detached by itself, and its successor attached', async (t) => {
  const { s, call, producers } = await running(t);
  producers.webcam.close();
  await eventually(() => s.events.length === 1, 'detached');
  assert.deepEqual(s.events, [{ type: 'detached', track: 'webcam', index: 0, reason: 'producerclose' }]);
  assert.equal(s.recorder.track('WEBCAM').state, 'CLOSED');
  assert.equal(s.router.open.length, 3);
  assert.equal(call.tracks.find((x) => x.track === 'webcam')?.forwarding, false);
  await call.add('webcam', s.router.produce('p-webcam-2', 'video'));
  assert.equal(s.recorder.track('WEBCAM').attached?.producerId, 'p-webcam-2');
});

test('a producer that closes while it is being replaced', async (t) => {
  const { s, call, producers } = await running(t);
  const gate = latch();
  s.recorder.fault('attachTrack', { wait: gate.wait });
  const replaced = call.replace('screen', s.router.produce('p-2', 'video'));
  await eventually(() => s.journal.count('api attachTrack') === 1, 'attachTrack');
  producers.screen.close();
  await eventually(() => s.journal.count('close p-screen') === 1, 'the old leg closes');
  gate.open();
  await replaced;
  await call.setLayout('SCREEN_ONLY'); // whatever was queued has been sent
  assert.equal(s.recorder.track('SCREEN').attached?.producerId, 'p-2');
  assert.equal(s.journal.count('api detachTrack'), 0);
});

test('a new producer that closes while it is being attached', async (t) => {
  const { s, call } = await running(t);
  const gate = latch();
  s.recorder.fault('attachTrack', { wait: gate.wait });
  const next = s.router.produce('p-2', 'video');
  const replaced = call.replace('screen', next);
  await eventually(() => s.journal.count('api attachTrack') === 1, 'attachTrack');
  next.close();
  await eventually(() => s.journal.count('close p-2') === 1, 'the new leg closes');
  gate.open();
  await replaced;
  await eventually(() => s.recorder.track('SCREEN').state === 'CLOSED', 'detached');
  assert.equal(s.router.open.length, 3);
});

test('a new producer that closes between consume and its answer', async (t) => {
  const { s, call } = await running(t);
  const next = s.router.produce('p-2', 'video');
  s.router.hooks.set('consume', () => {
    setImmediate(() => next.close());
    return new Promise((resolve) => setImmediate(resolve));
  });
  await assert.rejects(call.replace('screen', next), code('SFU'));
  assert.equal(s.recorder.track('SCREEN').attached?.producerId, 'p-screen');
  assert.equal(s.router.open.length, 4);
});

test('a transport that the application closes is detached', async (t) => {
  const { s } = await running(t);
  s.router.to('p-agent').close();
  await eventually(() => s.recorder.track('AGENT_AUDIO').state === 'CLOSED', 'detached');
  await eventually(() => s.events.length === 1, 'the event');
  assert.deepEqual(s.events, [{ type: 'detached', track: 'agentAudio', index: 0, reason: 'transportclose' }]);
});

test('a detach that does not get through is told', async (t) => {
  const { s, call, producers } = await running(t);
  s.recorder.fault('detachTrack', ...Array<'drop'>(4).fill('drop'));
  producers.webcam.close();
  await eventually(() => s.events.length === 1, 'the event');
  assert.equal(s.events[0]?.type, 'trackfailed');
  assert.equal(call.tracks.find((x) => x.track === 'webcam')?.forwarding, false);
});

test('a router that closes is not told to the recorder, so that another can go on', async (t) => {
  const { s, call } = await running(t);
  s.router.close();
  await eventually(() => s.events.length === 4, 'four events');
  assert.ok(s.events.every((e) => e.type === 'detached' && e.reason === 'routerclose'));
  assert.equal(s.journal.count('api'), 0);
  await call.stop();
  assert.equal(s.recorder.only().capture, 'FINALIZING');
});

test('add, remove, and what they refuse', async (t) => {
  const { s, call, producers } = await running(t);
  await assert.rejects(call.add('webcam', s.router.produce('w', 'video')), code('CONFLICT'));
  await call.remove('webcam');
  assert.equal(s.recorder.track('WEBCAM').state, 'CLOSED');
  assert.deepEqual(s.events, [{ type: 'detached', track: 'webcam', index: 0, reason: 'removed' }]);
  await call.remove('webcam');
  assert.equal(s.journal.count('api detachTrack'), 1);
  await call.add('webcam', producers.webcam);
  assert.equal(s.recorder.track('WEBCAM').attached?.producerId, 'p-webcam');
  await assert.rejects(call.replace('webcam', s.router.produce('a', 'audio')), code('INVALID_INPUT'));

  const audioOnly = await setup(t);
  const other = await start(audioOnly, { agentAudio: audioOnly.router.produce('a', 'audio') });
  await assert.rejects(other.add('webcam', audioOnly.router.produce('w', 'video')), (e) => code('NOT_FOUND')(e) && /expect/.test((e as Error).message));
});

test('remove that does not get through can be repeated, and media stops at once', async (t) => {
  const { s, call } = await running(t);
  s.recorder.fault('detachTrack', ...Array<'drop'>(4).fill('drop'));
  await assert.rejects(call.remove('webcam'), code('NETWORK'));
  assert.equal(s.router.open.length, 3);
  await call.remove('webcam');
  assert.equal(s.recorder.track('WEBCAM').state, 'CLOSED');
});

test('pause and resume', async (t) => {
  const { s, call } = await running(t);
  await call.pause({ reason: 'PAYMENT', autoResumeAfterSeconds: 120 });
  assert.equal(s.recorder.only().capture, 'PAUSED');
  assert.deepEqual({ ...s.recorder.inputs.at(-1)?.input }, { recordingId: call.recordingId, reason: 'PAYMENT', autoResumeAfterSeconds: 120 });
  await call.resume();
  assert.equal(s.recorder.only().capture, 'RECORDING');
  assert.deepEqual(s.journal.lines, ['api pauseRecording', 'api resumeRecording']); // the SFU goes on forwarding
  assert.deepEqual(s.events, []);
});

/** Whether the SFU forwards anything. */
const flowing = (s: Setup) => s.router.open.filter((x) => x.consumer?.paused === false).length;

test('a pause that has to be repeated is held by the SFU meanwhile', async (t) => {
  const { s, call } = await running(t);
  const gate = latch();
  s.recorder.fault('pauseRecording', { userError: { code: 'UNAVAILABLE' } }, { wait: gate.wait });
  const paused = call.pause({ reason: 'PAYMENT' });
  await eventually(() => s.journal.count('api pauseRecording') === 2, 'the second try');
  assert.equal(call.held, true);
  assert.equal(flowing(s), 0);
  gate.open();
  await paused;
  assert.equal(s.recorder.only().capture, 'PAUSED');
  assert.equal(call.held, false);
  await eventually(() => flowing(s) === 4, 'the SFU forwards again, and the recorder drops');
  assert.deepEqual(s.events.map((e) => e.type), ['held', 'released']);
});

test('a pause that is not answered within a second is held by the SFU', async (t) => {
  const { s, call } = await running(t);
  const gate = latch();
  s.recorder.fault('pauseRecording', { wait: gate.wait });
  const paused = call.pause({ reason: 'PRIVACY' });
  await s.clock.over(1_000);
  await eventually(() => flowing(s) === 0, 'held');
  gate.open();
  await paused;
  await eventually(() => flowing(s) === 4, 'released');
});

test('a pause that fails keeps the media back until resume', async (t) => {
  for (const faults of [Array(4).fill('drop'), [{ userError: { code: 'FORBIDDEN' } }]] as const) {
    const { s, call } = await running(t);
    s.recorder.fault('pauseRecording', ...faults);
    await assert.rejects(call.pause({ reason: 'PAYMENT' }), DualrecError);
    assert.equal(flowing(s), 0);
    await call.replace('screen', s.router.produce('p-2', 'video')); // whatever comes meanwhile is held too
    await call.setLayout('SCREEN_ONLY');
    assert.equal(flowing(s), 0);
    await call.resume();
    await eventually(() => flowing(s) === 4, 'released');
  }
});

test('a pause that fails ends by itself after the time given', async (t) => {
  const { s, call } = await running(t);
  s.recorder.fault('pauseRecording', ...Array<'drop'>(4).fill('drop'));
  await assert.rejects(call.pause({ reason: 'PAYMENT', autoResumeAfterSeconds: 90 }), code('NETWORK'));
  assert.equal(flowing(s), 0);
  await s.clock.over(90_000);
  await eventually(() => flowing(s) === 4, 'released');
  assert.equal(call.held, false);
});

test('a second pause that fails is not ended by the time of the first', async (t) => {
  const { s, call } = await running(t);
  s.recorder.fault('pauseRecording', ...Array<'drop'>(8).fill('drop'));
  await assert.rejects(call.pause({ reason: 'PAYMENT', autoResumeAfterSeconds: 90 }), code('NETWORK'));
  assert.equal(s.clock.waiting(90_000), 1);
  await assert.rejects(call.pause({ reason: 'PAYMENT' }), code('NETWORK'));
  assert.equal(s.clock.waiting(90_000), 0);
  assert.equal(flowing(s), 0);
  await call.resume();
  await eventually(() => flowing(s) === 4, 'released');
});

test('resume ends the tries of a pause, and pause those of a resume: the last word counts', async (t) => {
  const { s, call } = await running(t);
  const first = latch();
  s.recorder.fault('pauseRecording', { userError: { code: 'UNAVAILABLE' } }, { wait: first.wait });
  const paused = call.pause({ reason: 'PAYMENT' });
  await eventually(() => s.journal.count('api pauseRecording') === 2, 'the second try');
  const resumed = call.resume();
  assert.equal(call.held, false);
  first.open();
  await paused; // what was under way got through, and the resume behind it too
  await resumed;
  assert.equal(s.recorder.only().capture, 'RECORDING');

  const second = latch();
  s.recorder.fault('resumeRecording', { wait: second.wait });
  const slow = call.resume();
  await eventually(() => s.journal.count('api resumeRecording') === 2, 'the resume');
  const again = call.pause({ reason: 'PAYMENT' });
  assert.equal(call.held, true, 'held at once, because the resume may take its time');
  second.open();
  await slow;
  await again;
  assert.equal(s.recorder.only().capture, 'PAUSED');
});

test('a retried pause gives up when resume comes', async (t) => {
  const { s, call } = await running(t);
  s.recorder.fault('pauseRecording', { http: 503, headers: { 'retry-after': '8' } });
  const paused = call.pause({ reason: 'PAYMENT' });
  await eventually(() => s.clock.waiting(8_000) === 1, 'the pause before the next try');
  await Promise.all([assert.rejects(paused, (e) => code('ABORTED')(e)), call.resume()]);
  assert.equal(s.recorder.only().capture, 'RECORDING');
  assert.equal(s.journal.count('api pauseRecording'), 1);
  await eventually(() => flowing(s) === 4, 'released');
});

test('two pauses at once are both answered', async (t) => {
  const { s, call } = await running(t);
  await Promise.all([call.pause({ reason: 'PAYMENT' }), call.pause({ reason: 'PRIVACY' })]);
  assert.equal(s.recorder.only().capture, 'PAUSED');
  assert.deepEqual(s.events, []);
});

test('setLayout and bookmark', async (t) => {
  const { s, call } = await running(t);
  await call.setLayout('PICTURE_IN_PICTURE');
  assert.equal(s.recorder.only().layout, 'PICTURE_IN_PICTURE');
  assert.match(await call.bookmark({ atMs: 1500, label: 'complaint', color: '#ff0000' }), /^bkm_/);
  assert.deepEqual({ ...s.recorder.inputs.at(-1)?.input }, { recordingId: call.recordingId, atMs: 1500, label: 'complaint', color: '#ff0000' });
  s.recorder.fault('createBookmark', 'lost');
  await assert.rejects(call.bookmark({ atMs: 1, label: 'x' }), code('NETWORK'));
  assert.equal(s.journal.count('api createBookmark'), 2);
  s.recorder.fault('createBookmark', { userError: { code: 'UNAVAILABLE' } });
  await call.bookmark({ atMs: 1, label: 'x' });
  assert.equal(s.journal.count('api createBookmark'), 4);
});

test('stop: media flows until the answer, then everything is closed; again is the same', async (t) => {
  const { s, call } = await running(t);
  const gate = latch();
  s.recorder.fault('stopRecording', { wait: gate.wait });
  const stopped = call.stop();
  await eventually(() => s.journal.count('api stopRecording') === 1, 'stopRecording');
  assert.equal(flowing(s), 4);
  assert.equal(call.state, 'stopping');
  const again = call.stop();
  gate.open();
  await Promise.all([stopped, again]);
  await call.stop();
  assert.equal(s.journal.count('api stopRecording'), 1);
  assert.equal(s.router.open.length, 0);
  assert.equal(call.state, 'stopped');
  assert.equal(s.recorder.only().capture, 'FINALIZING');
  assert.equal(s.journal.count('api detachTrack'), 0);
  for (const refused of [
    () => call.replace('screen', s.router.produce('x', 'video')), () => call.remove('screen'), () => call.pause({ reason: 'HOLD' }),
    () => call.resume(), () => call.setLayout('SCREEN_ONLY'), () => call.reattach(),
  ]) {
    await assert.rejects(refused, code('CLOSED'));
  }
});

test('stop that fails has closed the media, and can be repeated', async (t) => {
  const { s, call } = await running(t);
  s.recorder.fault('stopRecording', ...Array<'drop'>(4).fill('drop'));
  await assert.rejects(call.stop(), code('NETWORK'));
  assert.equal(s.router.open.length, 0);
  await call.stop();
  assert.equal(s.recorder.only().capture, 'FINALIZING');
});

test('stop ends what is under way', async (t) => {
  const { s, call } = await running(t);
  const gate = latch();
  s.recorder.fault('attachTrack', { wait: gate.wait });
  const replaced = assert.rejects(call.replace('screen', s.router.produce('p-2', 'video')), code('CLOSED'));
  await eventually(() => s.journal.count('api attachTrack') === 1, 'attachTrack');
  s.recorder.fault('pauseRecording', { http: 503, headers: { 'retry-after': '8' } });
  const paused = assert.rejects(call.pause({ reason: 'HOLD' }), code('CLOSED'));
  await eventually(() => s.clock.waiting(8_000) === 1, 'a pause before the next try');
  await call.stop();
  await Promise.all([replaced, paused]);
  assert.equal(s.router.open.length, 0);
  gate.open();
});

test('close lets go without ending the recording, and another start goes on with it', async (t) => {
  const { s, call } = await running(t);
  call.close();
  call.close();
  assert.equal(call.state, 'closed');
  assert.equal(s.router.open.length, 0);
  assert.equal(s.journal.count('api'), 0);
  const next = await start(s, { screen: s.router.produce('p-2', 'video') });
  assert.equal(next.recordingId, call.recordingId);
  await call.stop(); // still possible
  assert.equal(s.recorder.only().capture, 'FINALIZING');
});

test('reattach tells all tracks again, with the same words', async (t) => {
  const { s, call } = await running(t);
  const legs = s.recorder.only().tracks.map((x) => x.legs);
  await call.reattach();
  assert.deepEqual(s.journal.of('api').sort(), ['api attachTrack AGENT_AUDIO', 'api attachTrack CUSTOMER_AUDIO', 'api attachTrack SCREEN', 'api attachTrack WEBCAM', 'api recording']);
  assert.deepEqual(s.recorder.only().tracks.map((x) => x.legs), legs);
  assert.equal(s.journal.count('createPlainTransport'), 0);
});

const interval = 15_000; // 0.75 + 0.5 * chance of 0.5: exactly the interval

test('the watch leaves alone what is as it should be', async (t) => {
  const { s, call } = await running(t, { watchIntervalMs: interval });
  await s.clock.over(interval);
  await eventually(() => s.clock.waiting(interval) === 1, 'the next look');
  assert.deepEqual(s.journal.lines, ['api recording']);
  await call.stop();
  await eventually(() => s.clock.waiting(interval) === 0, 'the watch ends');
});

test('the watch tells a recorder that has forgotten', async (t) => {
  const { s, call } = await running(t, { watchIntervalMs: interval });
  const track = s.recorder.track('SCREEN');
  track.state = 'EXPECTED';
  track.attached = undefined;
  await s.clock.over(interval);
  await eventually(() => track.attached !== undefined, 'attached');
  await eventually(() => s.events.length === 1, 'the event');
  assert.deepEqual(s.events, [{ type: 'reattached', track: 'screen', index: 0, moved: false }]);
  assert.equal(s.journal.count('createPlainTransport'), 0);
  await call.stop();
});

test('an answer of before a track was attached is no news', async (t) => {
  const { s, call } = await running(t, { watchIntervalMs: interval });
  await call.remove('webcam');
  s.events.length = 0;
  const gate = latch();
  s.recorder.fault('recording', { answerThenWait: gate.wait });
  await s.clock.over(interval);
  await eventually(() => s.journal.count('api recording') === 1, 'the look');
  await call.add('webcam', s.router.produce('p-2', 'video'));
  gate.open();
  await eventually(() => s.clock.waiting(interval) === 1, 'the next look');
  assert.deepEqual(s.events.map((e) => e.type), ['attached']);
  assert.equal(s.journal.count('api attachTrack WEBCAM'), 1);
  await call.stop();
});

test('the watch forwards anew what the recorder expects at another address', async (t) => {
  const { s, call } = await running(t, { watchIntervalMs: interval });
  const track = s.recorder.track('SCREEN');
  s.recorder.move(track);
  s.recorder.fault('attachTrack', { userError: { code: 'CONFLICT' } }); // the first try fails for good; the next look finds it again
  await s.clock.over(interval);
  await eventually(() => s.clock.waiting(interval) === 1, 'the next look');
  assert.equal(track.attached, undefined);
  assert.equal(s.router.to('p-screen').consumer?.paused, false, 'the old leg stays');
  await s.clock.over(interval);
  await eventually(() => s.router.open.length === 4 && s.router.to('p-screen').remote?.port === track.ingest?.rtpPort && flowing(s) === 4, 'the new leg');
  assert.equal(s.router.to('p-screen').remote?.port, track.ingest?.rtpPort);
  assert.equal(track.attached!.source.rtpPort, s.router.to('p-screen').tuple.localPort);
  await eventually(() => s.events.some((e) => e.type === 'reattached' && e.moved), 'the event');
  await call.stop();
});

test('a track that has no producer learns the new address too', async (t) => {
  const { s, call } = await running(t);
  await call.remove('webcam');
  const track = s.recorder.track('WEBCAM');
  s.recorder.move(track);
  await call.reattach();
  await call.add('webcam', s.router.produce('p-2', 'video'));
  assert.equal(s.router.to('p-2').remote?.port, track.ingest?.rtpPort);
});

test('the watch survives a recorder that is away', async (t) => {
  const { s, call } = await running(t, { watchIntervalMs: interval });
  s.recorder.fault('recording', 'drop', 'drop', { http: 503 }, 'drop');
  await s.clock.over(interval);
  await s.clock.over(interval);
  await s.clock.over(interval);
  await eventually(() => s.journal.count('api recording') === 5, 'a look that gets through');
  assert.equal(call.state, 'recording');
  assert.equal(s.router.open.length, 4);
  await call.stop();
});

test('a recording that the recorder has ended ends here too', async (t) => {
  const { s, call } = await running(t, { watchIntervalMs: interval });
  s.recorder.only().capture = 'FINALIZING';
  await s.clock.over(interval);
  await eventually(() => call.state === 'ended', 'ended');
  assert.equal(s.router.open.length, 0);
  assert.deepEqual(s.events, [{ type: 'ended', capture: 'FINALIZING' }]);
  await assert.rejects(call.replace('screen', s.router.produce('x', 'video')), code('CLOSED'));
  await call.stop();
  assert.equal(s.journal.count('api stopRecording'), 0);
});

test('a listener that throws harms nothing', async (t) => {
  const s = await setup(t);
  const call = await start(s, fourProducers(s.router), { onEvent: () => { throw new Error('bug of the application'); } });
  assert.equal(call.tracks.filter((x) => x.forwarding).length, 4);
  assert.ok(s.logs.some((l) => l.level === 'error' && /onEvent/.test(l.message)));
});
