package ingest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtcp"
)

// feed makes one whose control packets come by a channel.
func feed(t testing.TB) (*Feed, chan []byte) {
	t.Helper()
	asked := make(chan []byte, 100)
	f := NewFeed(slog.New(slog.DiscardHandler), func(p []byte) error { asked <- bytes.Clone(p); return nil })
	t.Cleanup(func() { _ = f.Close() })
	return f, asked
}

func TestFeed(t *testing.T) {
	t.Parallel()
	f, asked := feed(t)
	sink := &memory{}
	key, sr := packet(t, testSSRC, 101, 1, 1, vp8Key), report(t, testSSRC)
	f.RTP(key, ms(0)) // nothing is attached
	if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink}); err != nil {
		t.Fatal(err)
	}
	f.RTP(key, ms(1))
	f.RTP(packet(t, 77, 101, 1, 1, vp8Key), ms(2))
	f.RTP(make([]byte, maxDatagram), ms(3))
	f.RTCP(sr, ms(4))
	if len(sink.got) != 2 || !bytes.Equal(sink.got[0].data, key) || !bytes.Equal(sink.got[1].data, sr) ||
		!sink.got[0].at.Equal(ms(1)) || sink.got[1].kind != recorder.PacketRTCP {
		t.Errorf("the sink was given %+v", sink.got)
	}
	if s := f.Stats(); s.Packets != 1 || s.RTCPPackets != 1 || s.DroppedForeign != 2 || s.DroppedMalformed != 1 || s.Keyframes != 1 {
		t.Errorf("%+v", s)
	}
	f.RequestKeyframe()
	var pli rtcp.PictureLossIndication
	if err := pli.Unmarshal(<-asked); err != nil || pli.MediaSSRC != testSSRC {
		t.Errorf("%+v, error %v", pli, err)
	}
	f.Detach()
	f.RTP(key, ms(5))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f.RTP(key, ms(6))
	if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink}); !errors.Is(err, ErrClosed) || len(sink.got) != 2 {
		t.Errorf("error %v, want ErrClosed; %d calls of the sink", err, len(sink.got))
	}
	if f.Endpoint() != (recorder.Endpoint{}) {
		t.Errorf("endpoint %+v", f.Endpoint())
	}
}

// TestFeedRuns: packets without a keyframe; Run asks for one, and ends with its context or with the feed.
func TestFeedRuns(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"context", "close"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, asked := feed(t)
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- f.Run(ctx) }()
				if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{}}); err != nil {
					t.Fatal(err)
				}
				f.RTP(packet(t, testSSRC, 101, 1, 1, vp8Delta), time.Now())
				start := time.Now()
				<-asked
				if d := time.Since(start); d < startPatience || d > startPatience+2*feedBeat {
					t.Errorf("asked after %v", d)
				}
				if name == "close" {
					_ = f.Close()
				}
				defer stop()
				if name == "context" {
					stop()
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestFeedRepairs: Run asks for what is missing after the time that reordering may take, and not a beat later.
func TestFeedRepairs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, asked := feed(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		sink := &memory{}
		if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink}); err != nil {
			t.Fatal(err)
		}
		f.RTP(packet(t, testSSRC, 101, 10, 1, vp8Key), time.Now())
		time.Sleep(7 * time.Millisecond) // of the bubble's clock
		f.RTP(packet(t, testSSRC, 101, 12, 1, vp8Delta), time.Now())
		start := time.Now()
		var nack rtcp.TransportLayerNack
		if err := nack.Unmarshal(<-asked); err != nil || len(nack.Nacks) != 1 || nack.Nacks[0].PacketID != 11 {
			t.Fatalf("%+v, error %v", nack, err)
		}
		if d := time.Since(start); d < reorderWait || d > reorderWait+5*time.Millisecond {
			t.Errorf("asked after %v", d)
		}
		lost := packet(t, testSSRC, 101, 11, 1, vp8Delta)
		f.RTP(asRTX(t, lost, 1, 0), time.Now())
		if len(sink.got) != 3 || !bytes.Equal(sink.got[2].data, lost) || f.Stats().Repaired != 1 {
			t.Errorf("%d packets, %+v", len(sink.got), f.Stats())
		}
		stop()
		<-done
	})
}

// TestFeedFailures: a panic closes the feed, and control packets that cannot be sent are one warning.
func TestFeedFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text logBuffer
		f := NewFeed(slog.New(slog.NewTextHandler(&text, nil)), func([]byte) error { return errors.New("no way out") })
		if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: &memory{}}); err != nil {
			t.Fatal(err)
		}
		f.RTP(packet(t, testSSRC, 101, 1, 1, vp8Key), time.Now())
		for range 3 {
			f.RequestKeyframe()
			time.Sleep(2 * askPause) // of the bubble's clock
		}
		if n := strings.Count(text.String(), "no way out"); n != 1 || f.Stats().KeyframesAsked != 3 {
			t.Errorf("%d warnings, %d asked: %s", n, f.Stats().KeyframesAsked, text.String())
		}
		if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: panicking{}}); err != nil {
			t.Fatal(err)
		}
		f.RTP(packet(t, testSSRC, 101, 1, 1, vp8Key), time.Now())
		if err := f.Attach(recorder.Attachment{Params: vp8Params(), Sink: panicking{}}); !errors.Is(err, ErrClosed) {
			t.Errorf("error %v, want ErrClosed", err)
		}
		if !strings.Contains(text.String(), "unthought of") {
			t.Errorf("the log says %q", text.String())
		}
	})
}
