// Package depacketize turns RTP packets into access units: VP8 (RFC 7741), VP9 (RFC 9628), H.264 (RFC 6184) and
// Opus (RFC 7587). It implements recorder.Depacketizers.
//
// A depacketizer is told which packets follow each other and where some are missing; it answers with whole frames and
// with damaged ones, never with a frame that only looks whole. It does not know sockets, jitter buffers, clocks or
// files, and it does not decide what a lost frame means for the frames that refer to it: that is its caller's.
//
// # Where a frame begins and ends
//
// A frame begins at its start bit (VP8: S with partition 0; VP9: B; H.264: the first NAL unit of a new timestamp) and
// ends at the marker bit or where the timestamp changes. Packets missing inside it, or between its last seen packet and
// the next frame when no marker was seen, make it Damaged. Packets missing before a packet that provably begins a frame
// do not damage that frame.
//
// Packets without payload (padding) belong to no frame; a loss reported with one is carried to the next packet.
//
// # One packet, two frames
//
// When a sender leaves out a marker, one packet can complete two frames: the one before it and its own. Push then
// returns the earlier one and the next Push or Flush the later one, so Flush has to be called until it returns nil.
//
// # Known limits
//
// The layer frames of a spatially scalable VP9 picture are concatenated in one Unit, of which most decoders show the
// lowest layer: consume one spatial layer. Interleaved H.264 (packetization-mode 2) and data that FU-B, STAP-B or MTAP
// packets carry is refused.
package depacketize
