// Package whip lets browsers and encoders publish straight into a recording, without an SFU: WHIP (RFC 9725) on
// github.com/pion/webrtc. Each session is one peer connection that feeds one or two tracks of one recording, by an
// ingest.Feed each, so that repair, keyframe requests, pauses and statistics are the same as behind an SFU.
//
// It does not know who may publish (Gate), what a recording is doing (Recordings), or what packets hold. It never
// connects to anybody: it is an ICE-lite agent on one UDP port, which answers whoever knows a session's credentials.
//
// # The way of a session
//
//	POST offer ──→ read, choose, clean ──→ peer connection ──→ 201 and answer
//	                                           │
//	                         ICE and DTLS are up: Recordings.Publish for each track, older sessions of this side end
//	                                           │
//	        RTP, RTX, RTCP ──(tap)──→ Feed ──→ the leg's journal          Feed ──→ NACK, PLI ──→ RTCP
//	                                           │
//	DELETE, a closed browser, silence, the end of the recording ──→ Recordings.Unpublish
//
// One goroutine owns a session (session.go). The files:
//
//	config.go    settings, defaults, Validate
//	offer.go     an offer: what it sends, what of it is taken, what the library gets to see
//	params.go    the rtpParameters that describe a taken stream
//	fragment.go  trickle-ice-sdpfrag (RFC 8840)
//	engine.go    the peer connection: codecs, ICE, DTLS, logging
//	tap.go       the interceptor that hands on every packet as it was decrypted
//	stream.go    one media stream and its feed
//	session.go   a session from offer to end
//	server.go    all sessions, limits
//	handler.go   HTTP
//	refusal.go   errors as problem+json (RFC 9457)
//
// # What the library decides, and what not
//
// The library gets an offer that is made anew from the parts of the original that were understood: one codec and its RTX
// per stream, known header extensions, no candidates. So what is negotiated is known before the first packet, and what a
// hostile offer may hold beside it never reaches the library. Its jitter buffer and NACK generator are not used. It
// writes receiver reports and transport-wide congestion feedback, without which a browser stays at its first bit rate.
//
// Retransmissions (RTX, RFC 4588) are handed on as they came, on their own SSRC: the library would unwrap them too, but
// delivers them only when the next packet of the stream itself comes, which on a still screen is a second later.
package whip
