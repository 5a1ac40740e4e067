// Package player acts as the SFU side of a call towards a running recorder: it replays a captured call (see
// testdata/media) as RTP and RTCP over UDP and drives the recording over GraphQL, as an integrator would. It imports
// no package of the project, so that what it proves is the outside of the product.
//
// Run plays a whole call from startRecording to the downloaded video. Tests that need the pieces use Load, Timeline,
// Play, Sender and API.
package player
