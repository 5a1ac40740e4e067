import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, validate, type GraphQLEnumType } from 'graphql';
import { documents, type CaptureState, type Layout, type PauseReason, type TrackKind, type TrackState } from '../src/api.js';
import type { ApiErrorCode } from '../src/errors.js';
import type { SrtpCryptoSuite } from '../src/sfu.js';
import { KINDS } from '../src/track.js';
import { realSchema } from './fake-recorder.js';

const schema = realSchema();

for (const [name, document] of Object.entries(documents)) {
  test(`${name} fits the recorder's schema`, () => {
    assert.deepEqual(validate(schema, parse(document)).map((e) => e.message), []);
  });
}

// Records, because the compiler then refuses a member too few or too many.
type Known<T extends string> = Record<string extends T ? never : T, true>;
type Closed<T> = T extends string ? (string extends T ? never : T) : never;

const enums = {
  Layout: { SIDE_BY_SIDE: true, PICTURE_IN_PICTURE: true, SCREEN_ONLY: true, AUDIO_ONLY: true } satisfies Known<Layout>,
  PauseReason: { PAYMENT: true, PRIVACY: true, HOLD: true, OTHER: true } satisfies Known<PauseReason>,
  TrackKind: { SCREEN: true, WEBCAM: true, AGENT_AUDIO: true, CUSTOMER_AUDIO: true } satisfies Known<TrackKind>,
  SrtpCryptoSuite: { AES_CM_128_HMAC_SHA1_80: true, AES_CM_128_HMAC_SHA1_32: true, AEAD_AES_128_GCM: true, AEAD_AES_256_GCM: true } satisfies Known<SrtpCryptoSuite>,
  TrackState: { EXPECTED: true, ATTACHED: true, ACTIVE: true, STALLED: true, CLOSED: true } satisfies Partial<Record<Closed<TrackState>, true>>,
  CaptureState: {
    PENDING: true, RECORDING: true, PAUSED: true, FINALIZING: true, UPLOADING: true, AVAILABLE: true, PARTIAL: true, FAILED: true, ABORTED: true,
  } satisfies Partial<Record<Closed<CaptureState>, true>>,
};

for (const [name, members] of Object.entries(enums)) {
  test(`${name} has the members of the recorder's schema`, () => {
    const real = (schema.getType(name) as GraphQLEnumType).getValues().map((v) => v.name);
    assert.deepEqual(Object.keys(members).sort(), real.sort());
  });
}

test('every kind of track has a name', () => {
  assert.deepEqual(Object.values(KINDS).sort(), Object.keys(enums.TrackKind).sort());
});

test('the error codes of userErrors are known', () => {
  const known: Record<ApiErrorCode, true> = {
    INVALID_INPUT: true, NOT_FOUND: true, CONFLICT: true, CAPACITY: true, UNSUPPORTED: true, FORBIDDEN: true, UNAVAILABLE: true,
    UNAUTHENTICATED: true, THROTTLED: true, LIMIT_EXCEEDED: true, COMPLEXITY_LIMIT_EXCEEDED: true, TIMEOUT: true,
    GRAPHQL_PARSE_FAILED: true, GRAPHQL_VALIDATION_FAILED: true, INTERNAL: true,
  };
  for (const { name } of (schema.getType('ErrorCode') as GraphQLEnumType).getValues()) assert.ok(name in known, name);
});
