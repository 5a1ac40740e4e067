// Compiled, never run: the real types of mediasoup, the oldest and the newest tried, fit what this package asks for.

import type { types as v3_14 } from 'mediasoup';
import type { types as latest } from 'mediasoup-latest';
import type { Consumer, PlainTransport, Producer, Router } from '../src/sfu.js';

export function fit(r: v3_14.Router, t: v3_14.PlainTransport, c: v3_14.Consumer, p: v3_14.Producer): [Router, PlainTransport, Consumer, Producer] {
  return [r, t, c, p];
}

export function fitLatest(r: latest.Router, t: latest.PlainTransport, c: latest.Consumer, p: latest.Producer): [Router, PlainTransport, Consumer, Producer] {
  return [r, t, c, p];
}

// What this package passes is what mediasoup takes.
export function options(o: Parameters<Router['createPlainTransport']>[0], c: Parameters<PlainTransport['connect']>[0]): void {
  ((_: v3_14.PlainTransportOptions) => undefined)(o);
  ((_: latest.PlainTransportOptions) => undefined)(o);
  ((_: Parameters<v3_14.PlainTransport['connect']>[0]) => undefined)(c);
  ((_: Parameters<latest.PlainTransport['connect']>[0]) => undefined)(c);
}

type ConsumeOptions = Parameters<PlainTransport['consume']>[0] & { rtpCapabilities: v3_14.RtpCapabilities };
export function consuming(o: ConsumeOptions): void {
  ((_: v3_14.ConsumerOptions) => undefined)(o);
}
