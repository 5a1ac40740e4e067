import { DualrecError, aborted, throwIfAborted } from './errors.js';
import { withSignals } from './signals.js';

/** How often and how long a call of the API is repeated after NETWORK, UNAVAILABLE, CAPACITY and TIMEOUT. */
export interface RetryPolicy {
  /** Tries in all, the first one included. 1: never again. */
  attempts: number;
  /** The longest pause after the first failure, milliseconds. It doubles with each failure; the pause is a random part of it. */
  baseDelayMs: number;
  /** Bounds one pause, milliseconds. */
  maxDelayMs: number;
  /** No further try begins after this time, milliseconds. */
  budgetMs: number;
}

export const DEFAULT_RETRY: Readonly<RetryPolicy> = { attempts: 6, baseDelayMs: 300, maxDelayMs: 5_000, budgetMs: 30_000 };

/** Time and chance, so that tests need neither. */
export interface Clock {
  /** Milliseconds of any origin. */
  now(): number;
  /** 0 to 1. */
  random(): number;
  /** Resolves after that time, or at once when the signal fires: look at the signal afterwards. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  random: Math.random,
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) {
        resolve();
        return;
      }
      const end = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal?.addEventListener('abort', end, { once: true });
    }),
};

export interface RetryOptions {
  operation: string;
  policy: RetryPolicy;
  clock: Clock;
  /** Ends everything. */
  signal?: AbortSignal | undefined;
  /** Ends the waiting between two tries, and lets the try that is under way end by itself. */
  patience?: AbortSignal | undefined;
  /** Decides beyond `error.retryable`; for what must not happen twice. */
  mayRepeat?: ((error: DualrecError) => boolean) | undefined;
  onRetry?: ((error: DualrecError, attempt: number, delayMs: number) => void) | undefined;
}

/** Runs `attempt` until it succeeds, its error is final, or the policy is used up; then the last error is thrown. */
export async function withRetry<T>(attempt: () => Promise<T>, o: RetryOptions): Promise<T> {
  const began = o.clock.now();
  for (let n = 1; ; n++) {
    throwIfAborted(o.signal, o.operation);
    throwIfAborted(o.patience, o.operation);
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof DualrecError) || !error.retryable || n >= o.policy.attempts) throw error;
      if (o.mayRepeat && !o.mayRepeat(error)) throw error;
      if (o.patience?.aborted) throw aborted(o.patience, o.operation);
      // Half fixed, half chance: calls that failed together do not come back together, and none comes back at once.
      const ceiling = Math.min(o.policy.maxDelayMs, o.policy.baseDelayMs * 2 ** (n - 1));
      const delayMs = Math.max(error.retryAfterMs ?? 0, ceiling / 2 + (ceiling / 2) * o.clock.random());
      if (o.clock.now() - began + delayMs > o.policy.budgetMs) throw error;
      o.onRetry?.(error, n, delayMs);
      await withSignals([o.signal, o.patience], (signal) => o.clock.sleep(delayMs, signal));
    }
  }
}
