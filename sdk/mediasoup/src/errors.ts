/** What the recorder's API answers; `docs/api.md` of dualrec tells what each means. */
export type ApiErrorCode =
  | 'INVALID_INPUT' | 'NOT_FOUND' | 'CONFLICT' | 'CAPACITY' | 'UNSUPPORTED' | 'FORBIDDEN' | 'UNAVAILABLE'
  | 'UNAUTHENTICATED' | 'THROTTLED' | 'LIMIT_EXCEEDED' | 'COMPLEXITY_LIMIT_EXCEEDED' | 'TIMEOUT'
  | 'GRAPHQL_PARSE_FAILED' | 'GRAPHQL_VALIDATION_FAILED' | 'INTERNAL';

/**
 * What goes wrong on this side of the API.
 *
 * - `NETWORK`: the recorder could not be reached, did not answer in time, or something before it answered 5xx or 429.
 * - `PROTOCOL`: what answered is not a dualrec API; look at the url.
 * - `SFU`: mediasoup refused: no port, a closed router, a producer that is gone.
 * - `ABORTED`: the caller's `AbortSignal` fired, or a later command took this one's place.
 * - `CLOSED`: this `RecordedCall` has been stopped or closed, or the recorder has ended the recording.
 */
export type LocalErrorCode = 'NETWORK' | 'PROTOCOL' | 'SFU' | 'ABORTED' | 'CLOSED';

/** Switch on this; texts may change. A newer recorder may send codes that this release does not list. */
export type ErrorCode = ApiErrorCode | LocalErrorCode | (string & {});

export interface DualrecErrorInit {
  code: ErrorCode;
  operation: string;
  field?: string[] | undefined;
  requestId?: string | undefined;
  status?: number | undefined;
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

/** The one error type of this package. Neither its text nor its causes hold the API key or SRTP keys. */
export class DualrecError extends Error {
  override readonly name = 'DualrecError';
  readonly code: ErrorCode;
  /** What was being done: a mutation's or query's name, or a step of mediasoup such as `consume`. */
  readonly operation: string;
  /** The path of the input field that was refused, such as `['input', 'queue']`. */
  readonly field: readonly string[] | undefined;
  /** Finds the failed request in the recorder's log. */
  readonly requestId: string | undefined;
  /** HTTP status, where an answer came. */
  readonly status: number | undefined;
  /** How long the server asked to wait before the next try, milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, init: DualrecErrorInit) {
    super(`${init.operation}: ${message} (${init.code})`, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = init.code;
    this.operation = init.operation;
    this.field = init.field;
    this.requestId = init.requestId;
    this.status = init.status;
    this.retryAfterMs = init.retryAfterMs;
  }

  /** Whether the same call may go through later. */
  get retryable(): boolean {
    return this.code === 'NETWORK' || this.code === 'UNAVAILABLE' || this.code === 'CAPACITY' || this.code === 'TIMEOUT';
  }

  /** Whether the recorder may have done what was asked although the answer says otherwise or never came. */
  get uncertain(): boolean {
    return this.code === 'NETWORK' || this.code === 'TIMEOUT' || this.code === 'ABORTED' || this.code === 'INTERNAL';
  }
}

/** Throws ABORTED if the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, operation: string): void {
  if (signal?.aborted) throw aborted(signal, operation);
}

/** The reason is passed on if it is one of ours, so that a stopped call says CLOSED rather than ABORTED. */
export function aborted(signal: AbortSignal, operation: string): DualrecError {
  if (signal.reason instanceof DualrecError) return signal.reason;
  return new DualrecError('aborted', { code: 'ABORTED', operation, cause: signal.reason });
}

/** Wraps what mediasoup threw. */
export function sfuError(operation: string, cause: unknown): DualrecError {
  if (cause instanceof DualrecError) return cause;
  return new DualrecError(cause instanceof Error ? cause.message : String(cause), { code: 'SFU', operation, cause });
}
