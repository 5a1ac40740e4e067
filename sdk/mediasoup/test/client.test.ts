import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { Dualrec } from '../src/client.js';
import { DualrecError } from '../src/errors.js';
import { API_KEY } from './fake-recorder.js';
import { eventually } from './journal.js';
import { setup } from './setup.js';

const code = (want: string) => (e: unknown) => {
  assert.ok(e instanceof DualrecError, String(e));
  assert.equal(e.code, want, e.message);
  return true;
};

test('a refusal is an error with code and field, and is not repeated', async (t) => {
  const s = await setup(t);
  s.recorder.fault('stopRecording', { userError: { code: 'INVALID_INPUT', message: 'no such thing', field: ['input', 'recordingId'] } });
  await assert.rejects(s.dualrec.call('stopRecording', { input: { recordingId: 'rec_1' } }), (e) => {
    assert.ok(e instanceof DualrecError);
    assert.equal(e.code, 'INVALID_INPUT');
    assert.deepEqual(e.field, ['input', 'recordingId']);
    assert.equal(e.operation, 'stopRecording');
    assert.equal(e.message, 'stopRecording: no such thing (INVALID_INPUT)');
    assert.equal(e.retryable, false);
    return true;
  });
  assert.equal(s.journal.count('api'), 1);
});

for (const c of ['NOT_FOUND', 'CONFLICT', 'UNSUPPORTED', 'FORBIDDEN', 'SOMETHING_NEW']) {
  test(`${c} is not repeated`, async (t) => {
    const s = await setup(t);
    s.recorder.fault('recording', { topLevel: { code: c } });
    await assert.rejects(s.dualrec.recording('rec_1'), code(c));
    assert.equal(s.journal.count('api'), 1);
  });
}

for (const c of ['UNAVAILABLE', 'CAPACITY', 'TIMEOUT']) {
  test(`${c} is repeated until it goes through`, async (t) => {
    const s = await setup(t);
    s.recorder.fault('recording', { topLevel: { code: c } }, { topLevel: { code: c } });
    assert.equal(await s.dualrec.recording('rec_1'), null);
    assert.equal(s.journal.count('api'), 3);
  });
}

test('a broken connection and a 503 of a proxy are repeated, as often as the policy says', async (t) => {
  const s = await setup(t);
  s.recorder.fault('recording', 'drop', { http: 503 }, 'drop', 'drop', 'drop');
  await assert.rejects(s.dualrec.recording('rec_1'), code('NETWORK'));
  assert.equal(s.journal.count('api'), 4);
  assert.deepEqual(s.clock.slept, [15, 30, 60]); // doubled; half of it fixed, half by chance
  assert.ok(s.logs.every((l) => l.level === 'warn'));
});

test('the pause has an upper bound and is a matter of chance', async (t) => {
  const s = await setup(t, { retry: { attempts: 6, baseDelayMs: 20, maxDelayMs: 40, budgetMs: 10_000 } });
  s.clock.chance = 1;
  s.recorder.fault('recording', 'drop', 'drop', 'drop', 'drop');
  await s.dualrec.recording('rec_1');
  assert.deepEqual(s.clock.slept, [20, 40, 40, 40]);
});

test('no further try begins when the time is used up', async (t) => {
  const s = await setup(t, { retry: { attempts: 100, baseDelayMs: 20, maxDelayMs: 20, budgetMs: 50 } });
  s.recorder.fault('recording', ...Array<'drop'>(20).fill('drop'));
  await assert.rejects(s.dualrec.recording('rec_1'), code('NETWORK'));
  assert.equal(s.journal.count('api'), 4); // pauses of 15 ms: the fourth would end after 60
});

test('Retry-After is waited for', async (t) => {
  const s = await setup(t);
  s.recorder.fault('recording', { http: 429, headers: { 'retry-after': '7' } });
  const answer = s.dualrec.recording('rec_1');
  await s.clock.over(7_000);
  assert.equal(await answer, null);
});

test('what is no API is told as that', async (t) => {
  const s = await setup(t);
  s.recorder.fault('recording', { http: 404 }, { http: 200, body: '<html>' }, { http: 200, body: '{"data":{}}' }, { http: 302, headers: { location: 'https://elsewhere.example/' } }, { http: 200, body: '[]' },
    { http: 200, body: '{"data":{"recording":null}}' + ' '.repeat(1 << 20) }, { http: 204, body: '' }, { http: 200, body: '{"errors":"no"}' }, { http: 200, body: '{"data":[]}' });
  for (let n = 0; n < 9; n++) await assert.rejects(s.dualrec.recording('rec_1'), code('PROTOCOL'));
  assert.equal(s.journal.count('api'), 9);
});

test('a recorder that is not there', async (t) => {
  const s = await setup(t);
  await s.recorder.close();
  await assert.rejects(s.dualrec.recording('rec_1'), (e) => code('NETWORK')(e) && /ECONNREFUSED/.test((e as Error).message));
});

test('no answer in time is a NETWORK error', async (t) => {
  const s = await setup(t, { requestTimeoutMs: 30, retry: { attempts: 1 } });
  let go = () => {};
  s.recorder.fault('recording', { wait: new Promise((resolve) => (go = resolve)) });
  await assert.rejects(s.dualrec.recording('rec_1'), (e) => code('NETWORK')(e) && (e as DualrecError).uncertain);
  go();
});

test('a signal ends a request, and a pause before the next try', async (t) => {
  const s = await setup(t);
  let go = () => {};
  s.recorder.fault('recording', { wait: new Promise((resolve) => (go = resolve)) });
  const first = new AbortController();
  const request = s.dualrec.recording('rec_1', { signal: first.signal });
  await eventually(() => s.journal.count('api') === 1, 'the request');
  first.abort();
  await assert.rejects(request, code('ABORTED'));
  go();

  s.recorder.fault('recording', { http: 503, headers: { 'retry-after': '9' } });
  const second = new AbortController();
  const waiting = s.dualrec.recording('rec_1', { signal: second.signal });
  await eventually(() => s.clock.waiting(9_000) === 1, 'the pause');
  second.abort();
  await assert.rejects(waiting, code('ABORTED'));
  assert.equal(s.journal.count('api'), 2);
  await assert.rejects(s.dualrec.recording('rec_1', { signal: second.signal }), code('ABORTED'));
  assert.equal(s.journal.count('api'), 2);
});

test('capabilities are asked once by all, remembered, and refreshed after ten minutes', async (t) => {
  const s = await setup(t);
  const [a, b] = await Promise.all([s.dualrec.ingestCapabilities(), s.dualrec.ingestCapabilities()]);
  assert.equal(a, b);
  await s.dualrec.ingestCapabilities();
  assert.equal(s.journal.count('api ingestCapabilities'), 1);
  s.clock.pass(600_000);
  await s.dualrec.ingestCapabilities();
  assert.equal(s.journal.count('api ingestCapabilities'), 2);
});

test('capabilities that cannot be refreshed are used as they were; a first failure is not remembered', async (t) => {
  const s = await setup(t, { retry: { attempts: 1 } });
  s.recorder.fault('ingestCapabilities', 'drop');
  await assert.rejects(s.dualrec.ingestCapabilities(), code('NETWORK'));
  const known = await s.dualrec.ingestCapabilities();
  s.clock.pass(600_000);
  s.recorder.fault('ingestCapabilities', 'drop');
  assert.equal(await s.dualrec.ingestCapabilities(), known);
});

test('one caller who gives up does not take the capabilities from the others', async (t) => {
  const s = await setup(t);
  let go = () => {};
  s.recorder.fault('ingestCapabilities', { wait: new Promise((resolve) => (go = resolve)) });
  const impatient = new AbortController();
  const a = s.dualrec.ingestCapabilities({ signal: impatient.signal });
  const b = s.dualrec.ingestCapabilities();
  await eventually(() => s.journal.count('api') === 1, 'the request');
  impatient.abort();
  await assert.rejects(a, code('ABORTED'));
  go();
  assert.ok(await b);
});

test('the API key is in no error, no log entry and no inspection', async (t) => {
  const s = await setup(t, { apiKey: 'dr_wrong-key-98765', retry: { attempts: 2 } });
  const errors: unknown[] = [];
  for (const fault of [undefined, { userError: { code: 'UNAVAILABLE', message: 'dr_wrong-key-98765 is odd' } }, 'drop' as const]) {
    if (fault) s.recorder.fault('recording', fault, fault);
    await s.dualrec.recording('rec_1').catch((e: unknown) => errors.push(e));
  }
  assert.equal(errors.length, 3);
  assert.equal((errors[0] as DualrecError).code, 'UNAUTHENTICATED');
  assert.equal((errors[0] as DualrecError).requestId, 'req-2');
  assert.match((errors[0] as DualrecError).message, /Bearer \[API key\]/);
  const everything = inspect([errors, s.logs, s.dualrec], { depth: 20, showHidden: true }) + JSON.stringify([s.dualrec, s.logs]);
  assert.ok(!everything.includes('wrong-key'), everything);
});

test('settings that cannot work are refused at once, and without telling the key', () => {
  const wrong: [string, string][] = [['ftp://x', 'k'], ['not a url', 'k'], ['https://me:secret@x/', 'k'], ['https://x', ''], ['https://x', 'dr_abc\nX: y']];
  for (const [url, apiKey] of wrong) {
    assert.throws(() => new Dualrec({ url, apiKey }), (e) => code('INVALID_INPUT')(e) && !/dr_abc|secret@/.test(inspect(e)));
  }
});

test('an unencrypted way to another machine is warned of', () => {
  const warned: string[] = [];
  const log = (e: { message: string }) => warned.push(e.message);
  new Dualrec({ url: 'http://127.0.0.1:1/graphql', apiKey: 'k', log });
  new Dualrec({ url: 'https://rec.example.com/graphql', apiKey: 'k', log });
  assert.equal(warned.length, 0);
  new Dualrec({ url: 'http://10.0.0.7/graphql', apiKey: 'k', log });
  assert.equal(warned.length, 1);
});

test('a key that is rotated is asked for each time', async (t) => {
  const keys = ['dr_old', API_KEY];
  const s = await setup(t, { apiKey: () => keys.shift() ?? '' });
  await assert.rejects(s.dualrec.recording('rec_1'), code('UNAUTHENTICATED'));
  assert.equal(await s.dualrec.recording('rec_1'), null);
  await assert.rejects(s.dualrec.recording('rec_1'), code('INVALID_INPUT'));
});

test('a logger that throws harms nothing', async (t) => {
  const s = await setup(t, { log: () => { throw new Error('disk full'); } });
  s.recorder.fault('recording', 'drop');
  assert.equal(await s.dualrec.recording('rec_1'), null);
});
