export { recordCall, type CallProducers, type RecordOptions } from './record.js';
export type { Bookmark, CallState, CommandOptions, PauseOptions, RecordedCall } from './call.js';
export { Dualrec, type CallOptions, type DualrecOptions, type FetchInit, type FetchResponse } from './client.js';
export { DualrecError, type ApiErrorCode, type ErrorCode, type LocalErrorCode } from './errors.js';
export type { CallEvent, TrackName, TrackStatus } from './track.js';
export type { CaptureState, Ingest, Layout, PauseReason, RecordingView, TrackKind, TrackState, TrackView } from './api.js';
export type { Clock, RetryPolicy } from './retry.js';
export type { Log, LogEntry } from './log.js';
export type { Consumer, ListenInfo, PlainTransport, Producer, Router, SrtpCryptoSuite } from './sfu.js';
