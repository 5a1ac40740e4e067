import type { Clock } from '../src/retry.js';
import { eventually } from './journal.js';

/**
 * Time for tests. A pause of up to `autoMs` is over in the next turn of the event loop, so that retries just happen; a
 * longer one ends when the test says so, or by its signal.
 */
export class TestClock implements Clock {
  readonly autoMs: number;
  /** Every pause that was asked for, milliseconds. */
  readonly slept: number[] = [];
  chance = 0.5;
  #now = 0;
  readonly #waiting = new Set<{ ms: number; end: () => void }>();

  constructor(autoMs = 100) {
    this.autoMs = autoMs;
  }

  now(): number {
    return this.#now;
  }

  random(): number {
    return this.chance;
  }

  pass(ms: number): void {
    this.#now += ms;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.slept.push(ms);
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        this.#waiting.delete(entry);
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const entry = { ms, end };
      this.#waiting.add(entry);
      signal?.addEventListener('abort', end, { once: true });
      if (ms <= this.autoMs) {
        setImmediate(() => {
          this.#now += ms;
          end();
        });
      }
    });
  }

  /** Ends one pause of exactly this length, when somebody takes one. */
  async over(ms: number): Promise<void> {
    const find = () => [...this.#waiting].find((w) => w.ms === ms);
    await eventually(() => find() !== undefined, `a pause of ${ms} ms`);
    this.#now += ms;
    find()?.end();
  }

  /** How many wait for a pause of this length. */
  waiting(ms: number): number {
    return [...this.#waiting].filter((w) => w.ms === ms).length;
  }
}
