// The operations of the recorder's API that are used here. test/schema.test.ts checks each document, and the types of
// its variables, against graph/*.graphqls.

export type TrackKind = 'SCREEN' | 'WEBCAM' | 'AGENT_AUDIO' | 'CUSTOMER_AUDIO';
export type Layout = 'SIDE_BY_SIDE' | 'PICTURE_IN_PICTURE' | 'SCREEN_ONLY' | 'AUDIO_ONLY';
export type PauseReason = 'PAYMENT' | 'PRIVACY' | 'HOLD' | 'OTHER';
export type TrackState = 'EXPECTED' | 'ATTACHED' | 'ACTIVE' | 'STALLED' | 'CLOSED' | (string & {});
export type CaptureState =
  | 'PENDING' | 'RECORDING' | 'PAUSED' | 'FINALIZING' | 'UPLOADING' | 'AVAILABLE' | 'PARTIAL' | 'FAILED' | 'ABORTED' | (string & {});

/** Whether a recording in this state still takes media. */
export function isLive(capture: CaptureState): boolean {
  return capture === 'PENDING' || capture === 'RECORDING' || capture === 'PAUSED';
}

export interface Ingest {
  ip: string;
  rtpPort: number;
  rtcpPort: number | null;
  srtpParameters?: unknown;
}

export interface TrackView {
  id: string;
  kind: TrackKind;
  state: TrackState;
  ingest: Ingest | null;
}

export interface RecordingView {
  id: string;
  capture: CaptureState;
  viewUrl: string;
  tracks: TrackView[];
}

const recordingFields = `id capture viewUrl tracks { id kind state ingest { ip rtpPort rtcpPort srtpParameters } }`;
const refusals = `userErrors { field message code }`;

export const documents = {
  ingestCapabilities: `query ingestCapabilities { ingestCapabilities }`,
  recording: `query recording($id: ID!) { recording(id: $id) { ${recordingFields} } }`,
  startRecording: `mutation startRecording($input: StartRecordingInput!) {
    startRecording(input: $input) { recording { ${recordingFields} } ${refusals} } }`,
  attachTrack: `mutation attachTrack($input: AttachTrackInput!) { attachTrack(input: $input) { track { id state } ${refusals} } }`,
  detachTrack: `mutation detachTrack($input: DetachTrackInput!) { detachTrack(input: $input) { track { id state } ${refusals} } }`,
  pauseRecording: `mutation pauseRecording($input: PauseRecordingInput!) { pauseRecording(input: $input) { recording { id capture } ${refusals} } }`,
  resumeRecording: `mutation resumeRecording($input: ResumeRecordingInput!) { resumeRecording(input: $input) { recording { id capture } ${refusals} } }`,
  setLayout: `mutation setLayout($recordingId: ID!, $layout: Layout!) {
    setLayout(input: { recordingId: $recordingId, layout: $layout }) { recording { id layout } ${refusals} } }`,
  stopRecording: `mutation stopRecording($input: StopRecordingInput!) { stopRecording(input: $input) { recording { id capture } ${refusals} } }`,
  createBookmark: `mutation createBookmark($input: CreateBookmarkInput!) { createBookmark(input: $input) { bookmark { id } ${refusals} } }`,
} as const;

export type Operation = keyof typeof documents;

export interface StartRecordingInput {
  externalSessionId: string;
  queue: string;
  agent: string;
  customerId?: string;
  client?: string;
  sessionType?: string;
  tags?: string[];
  /** RFC 3339. */
  startedAt?: string;
  metadata?: unknown;
  tracks: TrackKind[];
  layout?: Layout;
  rtcpMux?: boolean;
  srtpCryptoSuite?: string;
}

export interface AttachTrackInput {
  recordingId: string;
  kind: TrackKind;
  trackId: string;
  rtpParameters: object;
  source: { ip?: string; rtpPort: number; rtcpPort?: number };
  srtpParameters?: object;
  producerId: string;
}
