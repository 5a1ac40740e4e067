import type { TestContext } from 'node:test';
import { Dualrec, type DualrecOptions } from '../src/client.js';
import type { LogEntry } from '../src/log.js';
import { recordCall, type CallProducers, type RecordOptions } from '../src/record.js';
import type { CallEvent } from '../src/track.js';
import { TestClock } from './clock.js';
import { API_KEY, FakeRecorder } from './fake-recorder.js';
import { FakeRouter } from './fake-sfu.js';
import { Journal } from './journal.js';

export interface Setup {
  journal: Journal;
  recorder: FakeRecorder;
  router: FakeRouter;
  clock: TestClock;
  dualrec: Dualrec;
  logs: LogEntry[];
  events: CallEvent[];
}

/** A recorder and an SFU of their own for each test. */
export async function setup(t: TestContext, o: Partial<DualrecOptions> = {}): Promise<Setup> {
  const journal = new Journal();
  const recorder = new FakeRecorder(journal);
  await recorder.listen();
  t.after(() => recorder.close());
  const clock = new TestClock();
  const logs: LogEntry[] = [];
  const dualrec = new Dualrec({
    url: recorder.url,
    apiKey: API_KEY,
    log: (entry) => logs.push(entry),
    clock,
    retry: { attempts: 4, baseDelayMs: 20, maxDelayMs: 80, budgetMs: 10_000 },
    ...o,
  });
  return { journal, recorder, router: new FakeRouter(journal), clock, dualrec, logs, events: [] };
}

/** A call with all four media. */
export function fourProducers(router: FakeRouter) {
  return {
    screen: router.produce('p-screen', 'video'),
    webcam: router.produce('p-webcam', 'video'),
    agentAudio: router.produce('p-agent', 'audio'),
    customerAudio: router.produce('p-customer', 'audio'),
  };
}

export function start(s: Setup, producers: CallProducers, o: Partial<RecordOptions> = {}) {
  return recordCall(s.router, producers, {
    dualrec: s.dualrec,
    externalSessionId: 'call-1',
    queue: 'sales',
    agent: 'agent-17',
    listenInfo: { protocol: 'udp', ip: '10.0.0.5' },
    watchIntervalMs: 0,
    onEvent: (e) => s.events.push(e),
    ...o,
  });
}
