package integration_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// successor rewrites the packets of a track as those of a new producer: another SSRC, other sequence numbers and times.
type successor struct {
	old, ssrc uint32
	seq       uint16
	time      uint32
}

func (s successor) rewrite(p player.Packet) player.Packet {
	d := bytes.Clone(p.Data)
	add := func(at int, n uint32) { binary.BigEndian.PutUint32(d[at:], binary.BigEndian.Uint32(d[at:])+n) }
	if p.RTCP {
		if d[1] == 200 {
			binary.BigEndian.PutUint32(d[4:], s.ssrc)
			add(16, s.time)
		}
		d = bytes.ReplaceAll(d, binary.BigEndian.AppendUint32(nil, s.old), binary.BigEndian.AppendUint32(nil, s.ssrc)) // SDES
	} else {
		binary.BigEndian.PutUint16(d[2:], binary.BigEndian.Uint16(d[2:])+s.seq)
		add(4, s.time)
		binary.BigEndian.PutUint32(d[8:], s.ssrc)
	}
	return player.Packet{At: p.At, RTCP: p.RTCP, Data: d}
}

// TestProducerReplaced: the agent takes another camera in the middle of the call. The webcam comes from a new producer, and
// it is one file all the same.
func TestProducerReplaced(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	s.set(t, "replaced", "--resolution", "FIT_1080P")
	c := s.startCall(t, capture(t, "chrome-vp8"), player.StartInput{Queue: "replaced"})
	webcam := 1
	track := c.media.Tracks[webcam]
	next := successor{old: track.SSRC, ssrc: 0x5eed5eed, seq: 40000, time: 3_000_000_000}
	params := strings.ReplaceAll(string(track.RTPParameters), fmt.Sprint(track.SSRC), fmt.Sprint(next.ssrc))
	second := c.sender("WEBCAM")
	var switched atomic.Bool
	c.playWith(9*time.Second, func(p player.Scheduled) {
		switch {
		case p.Track != webcam:
			c.senders[p.Track].Send(p.Packet)
		case p.At < 4500*time.Millisecond:
			c.senders[webcam].Send(p.Packet)
		case switched.Load() && p.At > 4900*time.Millisecond: // the new producer begins with the keyframe at 5 s
			second.Send(next.rewrite(p.Packet))
		}
	}, during{4500 * time.Millisecond, func() error {
		rtp, rtcp := second.Ports()
		err := c.api.Attach(t.Context(), c.started.ID, "WEBCAM", json.RawMessage(params), player.Source{IP: "127.0.0.1", RTPPort: rtp, RTCPPort: rtcp})
		switched.Store(err == nil)
		return err
	}})
	v, path := c.finish()
	checkDuration(t, v.DurationMs, 9*time.Second, c.late)
	if n := s.movies(t, c.started.ID); n != 1 {
		t.Errorf("%d videos in the store", n)
	}
	checkSkew(t, path, screenFit, webcamFit, 4)
	likeSource(t, path, c.media, "SCREEN", screenFit, 30, 1000, 4700, 8000)
	likeSource(t, path, c.media, "WEBCAM", webcamFit, 30, 1000, 4200, 5600, 8000)
	for _, g := range v.Gaps {
		if g.Track != "WEBCAM" || g.FromMs < 4000 || g.ToMs > 5600 {
			t.Errorf("a gap that has nothing to do with the change: %+v", g)
		}
	}
}
