// The recorder's API over HTTP, with the schema of graph/*.graphqls: an operation that does not fit it is refused as the
// real one would, so this package cannot drift from it.

import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buildSchema, execute, parse, validate, type GraphQLSchema } from 'graphql';
import type { Journal } from './journal.js';

const GRAPH = new URL('../../../../graph/', import.meta.url);

export function realSchema(): GraphQLSchema {
  const files = readdirSync(GRAPH).filter((f) => f.endsWith('.graphqls')).sort();
  return buildSchema(files.map((f) => readFileSync(new URL(f, GRAPH), 'utf8')).join('\n'));
}

const schema = realSchema();

export const API_KEY = 'dr_test-key-0123456789';

/** Opus and VP8 as recorder.Capabilities() of the real one has them. */
const CAPABILITIES = {
  codecs: [
    { kind: 'audio', mimeType: 'audio/opus', preferredPayloadType: 100, clockRate: 48000, channels: 2, parameters: {}, rtcpFeedback: [{ type: 'nack' }] },
    {
      kind: 'video', mimeType: 'video/VP8', preferredPayloadType: 101, clockRate: 90000, parameters: {},
      rtcpFeedback: [{ type: 'nack' }, { type: 'nack', parameter: 'pli' }, { type: 'ccm', parameter: 'fir' }],
    },
    { kind: 'video', mimeType: 'video/rtx', preferredPayloadType: 102, clockRate: 90000, parameters: { apt: 101 }, rtcpFeedback: [] },
  ],
  headerExtensions: ['audio', 'video'].map((kind) => ({ kind, uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', preferredId: 1, preferredEncrypt: false, direction: 'sendrecv' })),
};

interface Refusal {
  code: string;
  message?: string;
  field?: string[];
}

/**
 * What a request gets instead of an answer. `lost`: it is carried out, and the connection breaks before the answer.
 * `answerThenWait`: it is carried out at once and answered later.
 */
export type Fault =
  | { userError: Refusal }
  | { topLevel: Refusal; status?: number }
  | { http: number; body?: string; headers?: Record<string, string> }
  | 'drop'
  | 'lost'
  | { wait: Promise<void> }
  | { answerThenWait: Promise<void> };

export interface FakeTrack {
  id: string;
  kind: string;
  state: string;
  ingest: { ip: string; rtpPort: number; rtcpPort: number | null; srtpParameters: object | null } | null;
  attached?: { rtpParameters: unknown; source: { ip?: string; rtpPort: number; rtcpPort?: number }; srtpParameters?: unknown; producerId?: string } | undefined;
  legs: number;
}

export interface FakeRecording {
  id: string;
  externalSessionId: string;
  capture: string;
  layout: string;
  viewUrl: string;
  tracks: FakeTrack[];
}

type Input = Record<string, any>;

export class FakeRecorder {
  readonly recordings = new Map<string, FakeRecording>();
  readonly inputs: { operation: string; input: Input }[] = [];
  readonly #journal: Journal;
  readonly #faults = new Map<string, Fault[]>();
  readonly #server: Server;
  /** Where a track is listened for. */
  ports: (mux: boolean) => { rtpPort: number; rtcpPort: number | null } = (mux) => {
    const rtpPort = this.#nextPort;
    this.#nextPort += 2;
    return { rtpPort, rtcpPort: mux ? null : rtpPort + 1 };
  };
  #nextPort = 20_000;
  #serial = 0;
  url = '';

  constructor(journal: Journal) {
    this.#journal = journal;
    this.#server = createServer((req, res) => {
      this.#serve(req, res).catch((error: unknown) => {
        res.statusCode = 500;
        res.end(String(error));
      });
    });
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/graphql`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The next requests of this operation get these, one each. */
  fault(operation: string, ...faults: Fault[]): void {
    this.#faults.set(operation, [...(this.#faults.get(operation) ?? []), ...faults]);
  }

  only(): FakeRecording {
    const all = [...this.recordings.values()];
    if (all.length !== 1) throw new Error(`${all.length} recordings`);
    return all[0]!;
  }

  track(kind: string, index = 0): FakeTrack {
    const t = this.only().tracks.filter((x) => x.kind === kind)[index];
    if (!t) throw new Error(`no ${kind}`);
    return t;
  }

  /** What a restart on other ports looks like: other addresses, nothing attached. */
  move(track: FakeTrack): void {
    track.state = 'EXPECTED';
    track.attached = undefined;
    track.ingest = this.#ingest(track.ingest?.rtcpPort === null, track.ingest?.srtpParameters ? 'AES_CM_128_HMAC_SHA1_80' : undefined);
  }

  #ingest(mux: boolean, suite: string | undefined): FakeTrack['ingest'] {
    const ports = this.ports(mux);
    const keyLength = suite === 'AEAD_AES_256_GCM' ? 44 : suite === 'AEAD_AES_128_GCM' ? 28 : 30;
    const key = `srtp-secret of the recorder ${ports.rtpPort}`.padEnd(keyLength, '-').slice(0, keyLength);
    return { ip: '127.0.0.1', ...ports, srtpParameters: suite ? { cryptoSuite: suite, keyBase64: Buffer.from(key).toString('base64') } : null };
  }

  async #serve(req: IncomingMessage, res: ServerResponse): Promise<void> {
    let text = '';
    for await (const chunk of req) text += String(chunk);
    const { query, variables, operationName } = JSON.parse(text) as { query: string; variables: Input; operationName: string };
    this.#journal.add(`api ${operationName}${variables['input']?.kind ? ` ${variables['input'].kind}` : ''}`);
    this.inputs.push({ operation: operationName, input: (variables['input'] as Input | undefined) ?? variables });
    const fault = this.#faults.get(operationName)?.shift();
    if (fault === 'drop') {
      req.socket.destroy();
      return;
    }
    if (typeof fault === 'object' && 'wait' in fault) await fault.wait;
    if (typeof fault === 'object' && 'http' in fault) {
      res.writeHead(fault.http, { 'content-type': 'text/html', ...fault.headers });
      res.end(fault.body ?? '<h1>no</h1>');
      return;
    }
    if (typeof fault === 'object' && 'topLevel' in fault) {
      this.#json(res, fault.status ?? 200, { errors: [{ message: fault.topLevel.message ?? 'refused', extensions: { code: fault.topLevel.code, requestId: 'req-1' } }] });
      return;
    }
    if (req.headers.authorization !== `Bearer ${API_KEY}`) {
      this.#json(res, 401, { errors: [{ message: `who is ${req.headers.authorization}?`, extensions: { code: 'UNAUTHENTICATED', requestId: 'req-2' } }] });
      return;
    }
    const answer = await this.#execute(query, variables, typeof fault === 'object' && 'userError' in fault ? fault.userError : undefined);
    if (typeof fault === 'object' && 'answerThenWait' in fault) await fault.answerThenWait;
    if (fault === 'lost') {
      req.socket.destroy();
      return;
    }
    this.#json(res, 200, answer);
  }

  #json(res: ServerResponse, status: number, body: unknown): void {
    res.writeHead(status, { 'content-type': 'application/json' });
    res.end(JSON.stringify(body));
  }

  async #execute(query: string, variables: Input, refusal: Refusal | undefined): Promise<unknown> {
    const document = parse(query);
    const wrong = validate(schema, document);
    if (wrong.length > 0) return { errors: wrong.map((e) => ({ message: e.message, extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } })) };
    return execute({ schema, document, variableValues: variables, rootValue: refusal ? this.#refusing(refusal) : this.#root });
  }

  #refusing(r: Refusal): Input {
    const payload = { userErrors: [{ code: r.code, message: r.message ?? 'refused', field: r.field ?? null }] };
    return Object.fromEntries(Object.keys(this.#root).map((name) => [name, () => payload]));
  }

  readonly #root: Input = {
    ingestCapabilities: () => CAPABILITIES,
    recording: ({ id }: Input) => this.recordings.get(String(id)) ?? null,
    startRecording: ({ input }: Input) => {
      const known = [...this.recordings.values()].find((r) => r.externalSessionId === input['externalSessionId'] && r.capture !== 'FAILED' && r.capture !== 'ABORTED');
      if (known) return { recording: known, userErrors: [] };
      const id = `rec_${++this.#serial}`;
      const recording: FakeRecording = {
        id,
        externalSessionId: input['externalSessionId'],
        capture: 'PENDING',
        layout: input['layout'] ?? 'SIDE_BY_SIDE',
        viewUrl: `https://rec.example.com/r/${id}`,
        tracks: (input['tracks'] as string[]).map((kind) => ({
          id: `trk_${++this.#serial}`, kind, state: 'EXPECTED', ingest: this.#ingest(input['rtcpMux'], input['srtpCryptoSuite']), legs: 0,
        })),
      };
      this.recordings.set(id, recording);
      return { recording, userErrors: [] };
    },
    attachTrack: ({ input }: Input) =>
      this.#withTrack(input, (track) => {
        const { rtpParameters, source, srtpParameters, producerId } = input;
        if (JSON.stringify(track.attached?.rtpParameters) !== JSON.stringify(rtpParameters)) track.legs++;
        track.attached = { rtpParameters, source, srtpParameters, producerId };
        track.state = 'ATTACHED';
      }),
    detachTrack: ({ input }: Input) =>
      this.#withTrack(input, (track) => {
        track.attached = undefined;
        track.state = 'CLOSED';
      }),
    pauseRecording: ({ input }: Input) => this.#withLive(input, (r) => (r.capture = 'PAUSED')),
    resumeRecording: ({ input }: Input) => this.#withLive(input, (r) => (r.capture = 'RECORDING')),
    setLayout: ({ input }: Input) => this.#withLive(input, (r) => (r.layout = input['layout'])),
    stopRecording: ({ input }: Input) => {
      const r = this.recordings.get(input['recordingId']);
      if (!r) return this.#refuse('NOT_FOUND', 'recordingId');
      if (isLive(r)) r.capture = r.tracks.some((t) => t.legs > 0) ? 'FINALIZING' : 'FAILED';
      return { recording: r, userErrors: [] };
    },
    createBookmark: () => ({ bookmark: { id: `bkm_${++this.#serial}` }, userErrors: [] }),
  };

  #refuse(code: string, field: string): Input {
    return { userErrors: [{ code, message: `${field} is refused`, field: ['input', field] }] };
  }

  #withLive(input: Input, change: (r: FakeRecording) => void): Input {
    const r = this.recordings.get(input['recordingId']);
    if (!r) return this.#refuse('NOT_FOUND', 'recordingId');
    if (!isLive(r)) return this.#refuse('CONFLICT', 'recordingId');
    change(r);
    return { recording: r, userErrors: [] };
  }

  #withTrack(input: Input, change: (t: FakeTrack) => void): Input {
    const r = this.recordings.get(input['recordingId']);
    if (!r) return this.#refuse('NOT_FOUND', 'recordingId');
    if (!isLive(r)) return this.#refuse('CONFLICT', 'recordingId');
    const track = r.tracks.find((t) => t.id === input['trackId'] && t.kind === input['kind']);
    if (!track) return this.#refuse('NOT_FOUND', 'trackId');
    change(track);
    return { track, userErrors: [] };
  }
}

function isLive(r: FakeRecording): boolean {
  return r.capture === 'PENDING' || r.capture === 'RECORDING' || r.capture === 'PAUSED';
}
