/** One line for the log. Never holds the API key, SRTP keys or RTP parameters. */
export interface LogEntry {
  level: 'debug' | 'info' | 'warn' | 'error';
  message: string;
  recordingId?: string;
  externalSessionId?: string;
  track?: string;
  [field: string]: unknown;
}

/** Gets every entry. What it throws is swallowed: a broken logger must not end a recording. */
export type Log = (entry: LogEntry) => void;

/** Makes a logger that adds fields to each entry and cannot throw. */
export function safeLog(log: Log | undefined, fields: Record<string, unknown> = {}): Log {
  return (entry) => {
    if (!log) return;
    try {
      log({ ...fields, ...entry });
    } catch {
      // There is nobody left to tell.
    }
  };
}
