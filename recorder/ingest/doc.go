// Package ingest is the network side of capture: it binds UDP sockets for the tracks of a recording, takes RTP and RTCP
// from an SFU's plain transports, and hands every valid packet to a recorder.Sink as it came. It implements
// recorder.Receiver.
//
// It does not depacketize, reorder, encrypt to disk or know the recording's clock: what it reads of a packet serves control
// alone (is it ours, is something missing, is it a keyframe, is it of a pause). It does not know recordings beyond the ids in its log lines.
//
// # Who owns what
//
// A poller is the one goroutine that reads the sockets of up to 24 leases, 10 times a second (25 times where the kernel
// grants small buffers); the kernel keeps the packets until then and notes when each came. A lease at which packets are
// missing is read in between, when it has something to ask for. A lease's mutex guards its track, which is a state machine
// without sockets and without a clock of its own, and makes the calls of the sink one at a time. The files:
//
//	config.go     settings, defaults, Validate
//	pool.go       the accounted pool of ports
//	socket.go     a bound socket: batches of datagrams, times of arrival, receive buffer
//	poller.go     the goroutines
//	receiver.go   Receiver: who leases what
//	lease.go      Lease: a track's sockets
//	feed.go       Feed: a track without sockets, for packets of another transport (WHIP)
//	seat.go       what both have in common: attaching and detaching
//	track.go      the state machine: validation, pinning, counting, delivery
//	networks.go   from where media may come: families, kinds of addresses, allowed networks
//	peer.go       who may send: the pinned addresses
//	sequence.go   sequence numbers: loss, duplicates, reordering, restarts, jitter (RFC 3550)
//	gaps.go       what is missing, and when to ask for it again (RFC 4585 NACK)
//	detect.go     keyframes on the wire
//	keyframes.go  when to ask for a keyframe (RFC 4585 PLI)
//	srtp.go       decrypting what comes, encrypting what is sent (RFC 3711, RFC 7714)
//	pause.go      what a pause drops, and with what delivery begins again
//	capture.go    when a packet was captured, by its timestamp
//
// # What is accepted
//
// RTP of the announced SSRC and payload type (and of the announced RTX stream) from the announced address; RTCP
// datagrams that hold a sender report about the announced SSRC, from the announced RTCP address. All else is counted
// and dropped, the SFU's bandwidth probes (SSRC 1234) among it.
//
// On a track that was leased with an SRTP suite, all of it must authenticate and be no replay; what does not is counted,
// and nothing else happens: it pins nobody. Both sides' keys must be of the same suite. A packet does not say how often
// its sequence numbers have wrapped, so at the first packets of a stream, up to 1024 wraps are tried, at most four times
// a second. After a restart the lease has the same key; another SSRC and another first index keep its RTCP from using a key
// stream twice.
//
// # What is checked of the other side
//
// Whoever may attach a track names the address that its packets come from and that control packets go to, and plain RTP
// proves nothing about its sender. So:
//
//   - A source IP must be a unicast address of the family of Config.BindIP, without a zone, and within Config.Peers if
//     networks are listed. Multicast, broadcast and IPv6 link-local addresses are refused, with ErrAttachment and a text
//     that says what to pass instead. IPv4 in IPv6 notation counts as IPv4.
//   - Without a source IP, or with the unspecified address of that family, the first valid packet pins its sender's
//     address. Only a sender whom the same rules allow can pin. Where strangers share a network with the SFUs, list the
//     SFUs in Config.Peers, or announce the IP.
//   - What was pinned holds for one attachment. Attach begins anew, with the same parameters too. (A caller that takes a
//     repeated command for no change has to detach before it attaches again.)
//   - RTP alone pins an IP. RTCP is taken from the RTP's IP, and pins no more than its own port.
//   - Nothing is sent to a peer before valid RTP came from it. Keyframe requests are held back until then, so that nobody
//     can have packets sent to a machine that has no part in the call. The kernel, too, is told to send to no broadcast
//     address.
//   - A packet that makes this package or a sink panic closes its own lease, with an error in the log. The other leases
//     go on.
//
// # What the kernel drops
//
// A socket that nobody reads in time overflows. The kernel counts what it drops and tells with the next datagram; that is
// our loss, not the network's, and it is told to the sink apart.
//
// # What a pause means
//
// Between Hold and Release nothing is delivered, counted (but as dropped) or asked for. What was captured before Release is
// dropped however late it comes. A packet is taken to have been captured 100 ms before the time at which the quickest
// packets of the last half minute would have come with its timestamp, or earlier if that mapping is old; so up to 100 ms of
// one-way delay are covered, and that much is lost after a pause. The mapping follows packets during the pause too. Where
// it is not known yet (an attachment or a source that began in the pause, or within ten seconds after it), nothing is
// delivered until it has been steady, for a second at least. Sound begins with the first packet that was captured after
// the pause, pictures with the first such keyframe. Behind it everything is delivered: what has overtaken its start is kept
// for it, and what is missing is asked for. No number before it is.
//
// # How lost packets are repaired
//
// Where rtpParameters have nack, a missing packet is asked for 20 ms after it was overtaken, and again every round trip,
// at least 110 ms (mediasoup does not answer sooner), up to 10 times, as long as the SFU still has it: 2 s of pictures,
// 1 s of sound. What is missing goes into few datagrams. A retransmission on the RTX stream (RFC 4588) reaches the sink as
// the packet that it repeats, with its own SSRC, payload type, sequence number and header extensions; one that repeats
// nothing missing is counted as a duplicate, and padding that probes for bandwidth is ignored. A retransmission on the
// stream itself is a late packet. At most 1024 packets are watched at once. More missing at once are an outage, or another
// source: nothing of it is asked for but a keyframe. Nobody can tell the number that a simulcast switch leaves out from a lost
// packet, so it costs up to ten requests; the keyframe behind it keeps it from costing a keyframe.
//
// No receiver reports are sent. They are of no use to a recorder: the SFU would derive the consumer's score from them, and
// mediasoup passes an Opus receiver's loss on to the publisher, who would then spend bandwidth on error correction for all.
//
// # When a keyframe is asked for
//
// A picture loss indication costs the sender bandwidth and, on a screen share, a second of quality. So it is sent only
// when packets have flowed for 300 ms without a keyframe, when a loss was not healed within 200 ms (within three round trips,
// 500 ms to 1 s, where packets are asked for again) and no keyframe has begun since, when more was lost than can be repaired,
// when the source restarted, when somebody asked, and when an undamaged track has had none for the configured interval. There
// is never more than one a second, and a repetition comes after two: mediasoup itself coalesces requests and retries once.
package ingest
