import { documents, type Operation, type RecordingView } from './api.js';
import { DualrecError, aborted, throwIfAborted } from './errors.js';
import { safeLog, type Log } from './log.js';
import { DEFAULT_RETRY, systemClock, withRetry, type Clock, type RetryPolicy } from './retry.js';

export interface DualrecOptions {
  /** The GraphQL endpoint, such as `https://rec.example.com/graphql`. */
  url: string;
  /** An API key of role SERVICE, or a function that gives it, asked before each request, for keys that are rotated. */
  apiKey: string | (() => string | Promise<string>);
  /** Bounds one HTTP request, milliseconds. Default 10 000. */
  requestTimeoutMs?: number;
  /** Default: 6 tries within 30 s. */
  retry?: Partial<RetryPolicy>;
  /** Gets what happens. Never gets a secret. */
  log?: Log;
  /** Instead of the global one, for instance with a client certificate. */
  fetch?: (url: string, init: FetchInit) => Promise<FetchResponse>;
  /** For tests. */
  clock?: Clock;
}

/** What is used of `RequestInit`. */
export interface FetchInit {
  method: string;
  headers: Record<string, string>;
  body: string;
  signal: AbortSignal;
  redirect: 'manual';
}

/** What is used of `Response`. */
export interface FetchResponse {
  status: number;
  headers: { get(name: string): string | null };
  body: AsyncIterable<Uint8Array> | null;
}

export interface CallOptions {
  signal?: AbortSignal | undefined;
  retry?: Partial<RetryPolicy> | undefined;
  /** Ends the waiting between two tries, and lets the request that is under way end by itself. */
  patience?: AbortSignal | undefined;
  /** Decides beyond `error.retryable`; for what must not happen twice. */
  mayRepeat?: ((error: DualrecError) => boolean) | undefined;
  /** Called after each failure that is followed by another try. */
  onRetry?: ((error: DualrecError) => void) | undefined;
}

/** No answer of the API that is used here comes near it, bytes. */
const MAX_ANSWER = 1 << 20;

/** How long the recorder's capabilities are taken as known: it may be upgraded while the SFU runs. */
const CAPABILITIES_TTL_MS = 600_000;

/** One recorder, as an SFU sees it. Make one per process and share it: it remembers `ingestCapabilities`. */
export class Dualrec {
  readonly url: string;
  readonly #apiKey: DualrecOptions['apiKey'];
  readonly #timeoutMs: number;
  readonly #retry: RetryPolicy;
  readonly #log: Log;
  readonly #userLog: Log | undefined;
  readonly #fetch: NonNullable<DualrecOptions['fetch']>;
  readonly #clock: Clock;
  #capabilities: { value: object; at: number } | undefined;
  #asking: Promise<object> | undefined;

  constructor(o: DualrecOptions) {
    this.url = checkedUrl(o.url);
    if (typeof o.apiKey === 'string') checkedKey(o.apiKey);
    this.#apiKey = o.apiKey;
    this.#timeoutMs = o.requestTimeoutMs ?? 10_000;
    this.#retry = { ...DEFAULT_RETRY, ...o.retry };
    this.#userLog = o.log;
    this.#log = safeLog(o.log);
    this.#fetch = o.fetch ?? ((url, init) => fetch(url, init));
    this.#clock = o.clock ?? systemClock;
    if (inClear(this.url)) {
      this.#log({ level: 'warn', message: 'the API key travels unencrypted: use https outside of one machine' });
    }
  }

  /** @internal For the classes beside this one. */
  get log(): Log | undefined {
    return this.#userLog;
  }

  /** @internal For the classes beside this one. */
  get clock(): Clock {
    return this.#clock;
  }

  /** The recorder's RtpCapabilities, for `consume()`. Asked once and remembered for ten minutes. */
  async ingestCapabilities(o: CallOptions = {}): Promise<object> {
    const known = this.#capabilities;
    if (known && this.#clock.now() - known.at < CAPABILITIES_TTL_MS) return known.value;
    // Shared by all calls that start now, so it does not end when one of them is aborted.
    this.#asking ??= this.#askCapabilities(known?.value).finally(() => {
      this.#asking = undefined;
    });
    return untilAborted(this.#asking, o.signal, 'ingestCapabilities');
  }

  async #askCapabilities(stale: object | undefined): Promise<object> {
    try {
      const value = await this.call<object>('ingestCapabilities', {});
      if (typeof value !== 'object' || value === null) {
        throw new DualrecError('the answer is no object', { code: 'PROTOCOL', operation: 'ingestCapabilities' });
      }
      this.#capabilities = { value, at: this.#clock.now() };
      return value;
    } catch (error) {
      if (!stale) throw error;
      this.#log({ level: 'warn', message: 'capabilities could not be refreshed, the known ones go on', error: String(error) });
      return stale;
    }
  }

  /** A recording as it is now, or null if there is none of this id. */
  recording(id: string, o: CallOptions = {}): Promise<RecordingView | null> {
    return this.call<RecordingView | null>('recording', { id }, o);
  }

  /**
   * @internal
   * Runs one operation with retries and returns its field of `data`. Refusals in `userErrors` are thrown. `check` may
   * throw a retryable error about an answer that is no use yet.
   */
  call<T>(operation: Operation, variables: object, o: CallOptions = {}, check?: (value: T) => void): Promise<T> {
    const attempt = async () => {
      const value = await this.#attempt<T>(operation, variables, o.signal);
      check?.(value);
      return value;
    };
    return withRetry(attempt, {
      operation,
      policy: { ...this.#retry, ...o.retry },
      clock: this.#clock,
      signal: o.signal,
      patience: o.patience,
      mayRepeat: o.mayRepeat,
      onRetry: (error, attempt, delayMs) => {
        this.#log({ level: 'warn', message: `${operation} failed, it is tried again`, code: error.code, attempt, delayMs: Math.round(delayMs) });
        o.onRetry?.(error);
      },
    });
  }

  async #attempt<T>(operation: Operation, variables: object, signal: AbortSignal | undefined): Promise<T> {
    const key = typeof this.#apiKey === 'string' ? this.#apiKey : checkedKey(await this.#apiKey());
    const answer = await this.#post(operation, JSON.stringify({ query: documents[operation], operationName: operation, variables }), key, signal);
    return readAnswer<T>(operation, answer, (text) => text.split(key).join('[API key]'));
  }

  async #post(operation: string, body: string, key: string, signal: AbortSignal | undefined): Promise<Answer> {
    throwIfAborted(signal, operation);
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), this.#timeoutMs);
    const onAbort = () => limit.abort();
    signal?.addEventListener('abort', onAbort, { once: true });
    try {
      const response = await this.#fetch(this.url, {
        method: 'POST',
        headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', accept: 'application/json' },
        body,
        signal: limit.signal,
        redirect: 'manual',
      });
      return { status: response.status, retryAfter: response.headers.get('retry-after'), text: await readText(response.body, operation) };
    } catch (cause) {
      if (cause instanceof DualrecError) throw cause;
      if (signal?.aborted) throw aborted(signal, operation);
      if (limit.signal.aborted) throw new DualrecError(`no answer within ${this.#timeoutMs} ms`, { code: 'NETWORK', operation });
      throw new DualrecError(`the recorder cannot be reached: ${reasonOf(cause)}`, { code: 'NETWORK', operation, cause: networkCause(cause) });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }
}

async function readText(body: AsyncIterable<Uint8Array> | null, operation: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.byteLength;
    if (size > MAX_ANSWER) throw new DualrecError(`an answer of more than ${MAX_ANSWER} bytes: is the url that of a dualrec?`, { code: 'PROTOCOL', operation });
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

interface Answer {
  status: number;
  retryAfter: string | null;
  text: string;
}

interface Refusal {
  field?: string[] | null;
  message: string;
  code: string;
}

interface GraphQLAnswer {
  data?: Record<string, unknown> | null;
  errors?: { message?: string; extensions?: { code?: string; requestId?: string } }[];
}

function readAnswer<T>(operation: string, answer: Answer, redact: (text: string) => string): T {
  const body = parse(answer.text);
  const first = body?.errors?.[0];
  if (first) {
    throw new DualrecError(redact(String(first.message ?? 'refused without a reason')), {
      code: first.extensions?.code ?? codeOfStatus(answer.status),
      operation,
      requestId: first.extensions?.requestId,
      status: answer.status,
      retryAfterMs: retryAfterMs(answer.retryAfter),
    });
  }
  const value = body?.data?.[operation];
  if (value === undefined || answer.status !== 200) {
    throw new DualrecError(`HTTP ${answer.status} without an answer of the API: is the url that of a dualrec?`, {
      code: codeOfStatus(answer.status),
      operation,
      status: answer.status,
      retryAfterMs: retryAfterMs(answer.retryAfter),
    });
  }
  const refusal = (value as { userErrors?: Refusal[] } | null)?.userErrors?.[0];
  if (refusal) {
    throw new DualrecError(redact(String(refusal.message)), { code: refusal.code, operation, field: refusal.field ?? undefined, status: answer.status });
  }
  return value as T;
}

function parse(text: string): GraphQLAnswer | undefined {
  try {
    const body: unknown = JSON.parse(text);
    return typeof body === 'object' && body !== null ? (body as GraphQLAnswer) : undefined;
  } catch {
    return undefined;
  }
}

/** For what does not come from the API itself but from a proxy before it. */
function codeOfStatus(status: number): string {
  if (status >= 500 || status === 429 || status === 408) return 'NETWORK';
  if (status === 401) return 'UNAUTHENTICATED';
  if (status === 403) return 'FORBIDDEN';
  return 'PROTOCOL';
}

/** Seconds or a date (RFC 9110, 10.2.3); at most a minute is believed. */
function retryAfterMs(header: string | null): number | undefined {
  if (header === null) return undefined;
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, 60_000) : undefined;
}

/** What a failed fetch was about: ECONNREFUSED rather than "fetch failed". */
function reasonOf(cause: unknown): string {
  const inner = (cause as { cause?: { code?: unknown } } | undefined)?.cause;
  return typeof inner?.code === 'string' ? inner.code : 'network error';
}

/** The system's own error alone. What wraps it may quote the request's headers. */
function networkCause(cause: unknown): unknown {
  const inner = (cause as { cause?: unknown } | undefined)?.cause;
  return inner instanceof Error && 'syscall' in inner ? inner : undefined;
}

function checkedUrl(url: string): string {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new DualrecError('url is not a URL: give the GraphQL endpoint, such as https://rec.example.com/graphql', { code: 'INVALID_INPUT', operation: 'new Dualrec', field: ['url'] });
  }
  if (parsed.protocol !== 'https:' && parsed.protocol !== 'http:') {
    throw new DualrecError('url must begin with https:// or http://', { code: 'INVALID_INPUT', operation: 'new Dualrec', field: ['url'] });
  }
  if (parsed.username || parsed.password) {
    throw new DualrecError('url must not hold a password: the credential is apiKey', { code: 'INVALID_INPUT', operation: 'new Dualrec', field: ['url'] });
  }
  return parsed.href;
}

/** Checked here, because fetch quotes a header that it does not like in its error. */
function checkedKey(key: unknown): string {
  if (typeof key !== 'string' || !/^[\x21-\x7e]+$/.test(key)) {
    throw new DualrecError('apiKey is empty or holds spaces or line breaks', { code: 'INVALID_INPUT', operation: 'new Dualrec', field: ['apiKey'] });
  }
  return key;
}

function inClear(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === 'http:' && hostname !== 'localhost' && hostname !== '[::1]' && !hostname.startsWith('127.');
}

function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined, operation: string): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(aborted(signal, operation));
    if (signal.aborted) {
      onAbort();
      promise.catch(() => undefined);
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
