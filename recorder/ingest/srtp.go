package ingest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// SRTP counts how often the sequence numbers have wrapped (RFC 3711 §3.3.1), and no packet says it. Whoever joins late, as
// a recorder does that was restarted in a long call, has to try.
const (
	maxRollovers  = 1024                   // tried at a stream's first packets: 67 million packets, 62 h at 300 a second
	aheadRollover = 8                      // tried when a known stream no longer authenticates: an outage has skipped some
	searchPause   = 250 * time.Millisecond // between two searches: somebody may be sending rubbish
	lostAfter     = 16                     // packets in a row that do not authenticate: the count may be wrong
	replayWindow  = window                 // packets; a repair may be late
)

// crypto is the SRTP of one attachment (RFC 3711, RFC 7714): the SFU's packets come in, our RTCP goes out.
type crypto struct {
	in, out *srtp.Context
	plain   []byte
	sealed  []byte
	streams map[uint32]*rollover // media and RTX
}

// rollover is what is known of one SSRC's rollover counter.
type rollover struct {
	known    bool
	failed   int       // packets in a row
	searched time.Time // in vain, the last time
}

// checkKey tells whether a key can be used, as ParseSRTPParameters does. The text shows no key.
func checkKey(p recorder.SRTPParameters) error {
	switch want := p.Suite.KeyBytes(); {
	case p.Plain() && len(p.Key) == 0:
		return nil
	case want == 0:
		return fmt.Errorf("crypto suite %.60q is not one of %v", string(p.Suite), p.Suite.Values())
	case len(p.Key) != want:
		return fmt.Errorf("%d bytes of key and salt, %s wants %d", len(p.Key), p.Suite, want)
	}
	return nil
}

// newCrypto makes the contexts of an attachment, or none for plain RTP. ours is the key that the track was leased with,
// theirs the SFU's, sender our SSRC.
func newCrypto(ours, theirs recorder.SRTPParameters, params recorder.RTPParameters, sender uint32) (*crypto, error) {
	switch {
	case ours.Plain() && theirs.Plain():
		return nil, nil
	case ours.Plain():
		return nil, errors.New("srtpParameters were passed, but this recording takes plain RTP: start it with the srtpCryptoSuite of the transport, or make the transport without enableSrtp")
	case theirs.Plain():
		return nil, fmt.Errorf("this track takes SRTP (%s) and no srtpParameters were passed: pass transport.srtpParameters as they are after connect()", ours.Suite)
	case ours.Suite != theirs.Suite:
		return nil, fmt.Errorf("srtpParameters are of %.40s, this track's are of %s: give connect() the recorder's srtpParameters, and pass transport.srtpParameters as read after connect(), which makes a new key for another suite", theirs.Suite, ours.Suite)
	}
	if err := checkKey(theirs); err != nil {
		return nil, fmt.Errorf("srtpParameters: %w: pass transport.srtpParameters as they are after connect()", err)
	}
	c := &crypto{plain: make([]byte, 0, maxDatagram), streams: map[uint32]*rollover{params.SSRC: {}}}
	if params.RTXSSRC != 0 {
		c.streams[params.RTXSSRC] = &rollover{}
	}
	var err error
	if c.in, err = srtpContext(theirs); err != nil {
		return nil, err
	}
	if c.out, err = srtpContext(ours); err != nil {
		return nil, err
	}
	// After a restart the same key is used again. Another SSRC, and another index, keep it from making the same key stream.
	c.out.SetIndex(sender, rand.Uint32N(1<<30))
	return c, nil
}

func srtpContext(p recorder.SRTPParameters) (*srtp.Context, error) {
	profile, key := srtp.ProtectionProfileAes128CmHmacSha1_80, 16
	switch p.Suite {
	case recorder.AES128CMHMACSHA1x32:
		profile = srtp.ProtectionProfileAes128CmHmacSha1_32
	case recorder.AEADAES128GCM:
		profile = srtp.ProtectionProfileAeadAes128Gcm
	case recorder.AEADAES256GCM:
		profile, key = srtp.ProtectionProfileAeadAes256Gcm, 32
	}
	c, err := srtp.CreateContext(p.Key[:key], p.Key[key:], profile, srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(64))
	if err != nil {
		return nil, fmt.Errorf("srtp of %s: %w", p.Suite, err)
	}
	return c, nil
}

// openRTP decrypts a packet of a known SSRC. ok is false for what does not authenticate or was there before. The result is
// valid until the next call.
func (c *crypto) openRTP(data []byte, h *rtp.Header, at time.Time) (plain []byte, ok bool) {
	s := c.streams[h.SSRC]
	if s == nil {
		return nil, false
	}
	if plain, ok = c.try(data, h); ok {
		s.known, s.failed = true, 0
		return plain, true
	}
	if s.failed++; s.known && s.failed < lostAfter || at.Sub(s.searched).Abs() < searchPause {
		return nil, false
	}
	if plain, ok = c.find(s, data, h); !ok {
		s.searched = at
	}
	return plain, ok
}

// find looks for the rollover counter with which a packet authenticates.
func (c *crypto) find(s *rollover, data []byte, h *rtp.Header) (plain []byte, ok bool) {
	from, n := uint32(0), uint32(maxRollovers)
	if s.known {
		from, _ = c.in.ROC(h.SSRC)
		n = aheadRollover
	}
	for roc := from; roc < from+n; roc++ {
		c.in.SetROC(h.SSRC, roc)
		if plain, ok = c.try(data, h); ok {
			s.known, s.failed = true, 0
			return plain, true
		}
	}
	c.in.SetROC(h.SSRC, from)
	return nil, false
}

func (c *crypto) try(data []byte, h *rtp.Header) ([]byte, bool) {
	plain, err := c.in.DecryptRTP(c.plain[:0], data, h)
	return plain, err == nil
}

// openRTCP decrypts a datagram. The result is valid until the next call.
func (c *crypto) openRTCP(data []byte) ([]byte, bool) {
	const header = 8
	if len(data) < header {
		return nil, false
	}
	plain, err := c.in.DecryptRTCP(c.plain[:0], data, nil)
	return plain, err == nil
}

// seal encrypts our RTCP. The result is valid until the next call.
func (c *crypto) seal(data []byte) (sealed []byte, err error) {
	c.sealed, err = c.out.EncryptRTCP(c.sealed[:0], data, nil)
	return c.sealed, err
}
