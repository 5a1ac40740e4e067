/**
 * Runs `job` with a signal that fires when any of the given ones does. (`AbortSignal.any` would do, but Node.js 18 has
 * none, and a call-long signal must not collect listeners of each short operation.)
 */
export async function withSignals<T>(signals: readonly (AbortSignal | undefined)[], job: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const any = new AbortController();
  const undo: (() => void)[] = [];
  for (const signal of signals) {
    if (!signal) continue;
    if (signal.aborted) {
      any.abort(signal.reason);
      break;
    }
    const onAbort = () => any.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    undo.push(() => signal.removeEventListener('abort', onAbort));
  }
  try {
    return await job(any.signal);
  } finally {
    for (const f of undo) f();
  }
}
