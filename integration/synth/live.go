package synth

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// Live is a call of which one video makes a keyframe when it is asked to, as a camera does. To that end the video was
// encoded several times, each time from a later picture on, and is cut from one stream into the next.
type Live struct {
	Call  *player.Call
	video Video
	every int // pictures between two streams
	rungs [][][]byte
}

// NewLive encodes. The video has one stretch; a keyframe can come every step. others are the tracks beside it.
func NewLive(ctx context.Context, v Video, step time.Duration, others ...player.Track) (*Live, error) {
	if len(v.Stretches) != 1 || v.frames(step) < 1 {
		return nil, fmt.Errorf("a live video needs one stretch and a step of at least one picture")
	}
	t, err := v.Track(ctx)
	if err != nil {
		return nil, err
	}
	l := &Live{Call: &player.Call{Tracks: append([]player.Track{t}, others...)}, video: v, every: v.frames(step)}
	st := v.Stretches[0]
	first, end := v.Numbers(st.From, st.To)
	for n := first; n < end; n += l.every {
		units, err := v.encode(ctx, n, end, st.Width, st.Height)
		if err != nil {
			return nil, err
		}
		l.rungs = append(l.rungs, units)
	}
	return l, nil
}

// Timeline is the call. asked is called before each picture and tells whether a keyframe was asked for since.
func (l *Live) Timeline(asked func() bool) iter.Seq[player.Scheduled] {
	return func(yield func(player.Scheduled) bool) {
		others := &player.Call{Tracks: l.Call.Tracks[1:]}
		next, stop := iter.Pull(l.pictures(asked))
		defer stop()
		p, more := next()
		if len(others.Tracks) > 0 {
			timeline, err := player.Timeline(others, 0, false)
			if err != nil {
				panic(err) // the tracks of this package have packets
			}
			for s := range timeline {
				for more && p.At <= s.At {
					if !yield(p) {
						return
					}
					p, more = next()
				}
				s.Track++
				if !yield(s) {
					return
				}
			}
		}
		for more {
			if !yield(p) {
				return
			}
			p, more = next()
		}
	}
}

func (l *Live) pictures(asked func() bool) iter.Seq[player.Scheduled] {
	return func(yield func(player.Scheduled) bool) {
		st := l.video.Stretches[0]
		first, end := l.video.Numbers(st.From, st.To)
		w := newWriter(l.video.SSRC, l.video.payloadType(), videoClock, l.video.PPM)
		w.begin(st, l.video.Codec)
		rung, wanted := 0, false
		for n := first; n < end; n++ {
			wanted = asked() || wanted
			if i := n - first; wanted && i%l.every == 0 && i > 0 {
				rung, wanted = i/l.every, false
			}
			w.picture(l.video.capturedAt(n), l.rungs[rung][n-first-rung*l.every])
			for _, p := range w.packets {
				p.At -= onTheWay
				if !yield(player.Scheduled{Packet: p}) {
					return
				}
			}
			w.packets = w.packets[:0]
		}
	}
}
