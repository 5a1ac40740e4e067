package integration_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// The regions of SIDE_BY_SIDE in 1920x1080.
var (
	screenFit = mediacheck.Rect{X: 0, Y: 216, W: 1152, H: 648}
	webcamFit = mediacheck.Rect{X: 1152, Y: 324, W: 768, H: 432}
)

// attack sends what does not belong into the call beside every tenth packet, and counts it.
type attack struct {
	c         *call
	strangers []*player.Sender
	n         int
	bad       map[string]int // by track kind
}

func newAttack(c *call) *attack {
	a := &attack{c: c, bad: map[string]int{}}
	for _, t := range c.media.Tracks {
		a.strangers = append(a.strangers, c.sender(t.Kind()))
	}
	return a
}

func (a *attack) send(s player.Scheduled) {
	own, stranger := a.c.senders[s.Track], a.strangers[s.Track]
	own.Send(s.Packet)
	if a.n++; a.n%10 != 0 && !s.RTCP {
		return
	}
	forged := bytes.Clone(s.Data)
	for i := 20; i < len(forged); i++ {
		forged[i] ^= 0x5a
	}
	foreign := bytes.Clone(s.Data)
	at := 8
	if s.RTCP {
		at = 4
		binary.BigEndian.PutUint64(forged[8:], binary.BigEndian.Uint64(s.Data[8:])+10<<32) // a report that is ten seconds off
	}
	foreign[at] ^= 0xff
	otherType := bytes.Clone(s.Data)
	if !s.RTCP {
		otherType[1] ^= 0x07
	}
	bad := [][]byte{foreign, []byte("GET / HTTP/1.1\r\n\r\n"), {0x80}, bytes.Repeat([]byte{0xff}, 1400)}
	for _, b := range bad {
		own.Send(player.Packet{RTCP: s.RTCP, Data: b})
	}
	stranger.Send(player.Packet{RTCP: s.RTCP, Data: forged})
	stranger.Send(player.Packet{RTCP: s.RTCP, Data: s.Data})
	if !s.RTCP {
		own.Send(player.Packet{Data: otherType})
		a.bad[a.c.media.Tracks[s.Track].Kind()] += len(bad) + 3
	}
}

// TestHostilePackets: garbage, foreign SSRCs and payload types, and copies from elsewhere arrive on both ports all through
// a call. They are counted and dropped, and the recording is as good as without them.
func TestHostilePackets(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	s.set(t, "hostile", "--resolution", "FIT_1080P")
	c := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{Queue: "hostile"})
	a := newAttack(c)
	sent := map[string]float64{}
	c.playWith(8*time.Second, func(p player.Scheduled) {
		if !p.RTCP {
			sent[c.media.Tracks[p.Track].Kind()]++
		}
		a.send(p)
	})
	v, path := c.finish()
	for kind, n := range sent {
		got := v.track(kind).Stats
		if got.Packets != n || got.Lost != 0 || got.Duplicates != 0 {
			t.Errorf("%s: sent %.0f packets, counted %+v", kind, n, got)
		}
		if dropped := got.DroppedForeign + got.DroppedMalformed; dropped < float64(a.bad[kind]) || got.DroppedForeign < float64(a.bad[kind])/2 || got.DroppedMalformed == 0 {
			t.Errorf("%s: %d bad packets were sent on the RTP port alone, counted %+v", kind, a.bad[kind], got)
		}
	}
	checkDuration(t, v.DurationMs, 8*time.Second, c.late)
	if len(v.Gaps) != 0 {
		t.Errorf("gaps %+v", v.Gaps)
	}
	checkSkew(t, path, screenFit, webcamFit, 4)
	likeSource(t, path, c.media, "SCREEN", screenFit, 30, 1000, 5500)
	likeSource(t, path, c.media, "WEBCAM", webcamFit, 30, 1000, 5500)
}
