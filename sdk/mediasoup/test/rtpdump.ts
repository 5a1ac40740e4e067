import { readFileSync } from 'node:fs';

const CAPTURE = new URL('../../../../testdata/media/chrome-vp8/', import.meta.url);

export interface Datagram {
  /** Milliseconds since the capture began. */
  at: number;
  rtcp: boolean;
  data: Buffer;
}

export type CapturedTrack = 'screen-1' | 'webcam-1' | 'mic-1';

/** A track of the captured call in testdata/media/chrome-vp8: classic rtptools rtpdump. */
export function captured(track: CapturedTrack): Datagram[] {
  const file = readFileSync(new URL(`${track}.rtpdump`, CAPTURE));
  const out: Datagram[] = [];
  for (let at = file.indexOf(0x0a) + 1 + 16; at + 8 <= file.length; ) {
    const length = file.readUInt16BE(at);
    out.push({ rtcp: file.readUInt16BE(at + 2) === 0, at: file.readUInt32BE(at + 4), data: file.subarray(at + 8, at + length) });
    at += length;
  }
  return out;
}

/** The RTP parameters under which it was captured. */
export function capturedParameters(track: CapturedTrack): { kind: 'audio' | 'video'; rtpParameters: Record<string, any> } {
  const { tracks } = JSON.parse(readFileSync(new URL('tracks.json', CAPTURE), 'utf8')) as { tracks: { name: string; kind: 'audio' | 'video'; rtpParameters: Record<string, any> }[] };
  const found = tracks.find((t) => t.name === track);
  if (!found) throw new Error(`${track} is not in tracks.json`);
  return found;
}

/** Sends in real time until it is stopped or over. Returns how to stop it. */
export function play(datagrams: readonly Datagram[], send: (d: Datagram) => void): () => void {
  const began = performance.now();
  let next = 0;
  const timer = setInterval(() => {
    for (const now = performance.now() - began; next < datagrams.length && datagrams[next]!.at <= now; next++) send(datagrams[next]!);
    if (next >= datagrams.length) clearInterval(timer);
  }, 5);
  return () => clearInterval(timer);
}

/** The same datagram as of another SSRC, in all that names it: RTP header, sender report, source description. */
export function withSsrc(d: Datagram, ssrc: number): Buffer {
  const data = Buffer.from(d.data);
  if (!d.rtcp) {
    data.writeUInt32BE(ssrc, 8);
    return data;
  }
  for (let at = 0; at + 8 <= data.length; at += 4 * (data.readUInt16BE(at + 2) + 1)) data.writeUInt32BE(ssrc, at + 4);
  return data;
}
