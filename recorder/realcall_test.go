package recorder_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/depacketize"
)

const media = "../testdata/media"

// realCall puts a call of a real browser into a folder.
func realCall(t testing.TB, name string) *recorder.MemFolder {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(media, name, "tracks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var in struct {
		Tracks []struct {
			Name          string
			File          string
			RTPParameters json.RawMessage
		}
	}
	if err := json.Unmarshal(raw, &in); err != nil || len(in.Tracks) != 3 {
		t.Fatalf("tracks.json: %v, %d tracks", err, len(in.Tracks))
	}
	f := recorder.NewMemFolder(recorder.DefaultProfile(), recorder.Screen, recorder.Webcam, recorder.AgentAudio)
	kinds := map[string]recorder.TrackKind{"screen": recorder.Screen, "webcam": recorder.Webcam, "mic": recorder.AgentAudio}
	for i, tr := range in.Tracks {
		short, _, _ := strings.Cut(tr.Name, "-")
		f.Fill(t, i, kinds[short], tr.RTPParameters, filepath.Join(media, name, short+"-1.rtpdump"))
	}
	return f
}

// TestRealCalls plans two calls of a real browser with the real depacketizers. The webcam of chrome-h264 climbs through
// five sizes in 14 s; README.md says when each keyframe arrived.
func TestRealCalls(t *testing.T) {
	t.Parallel()
	type change struct {
		ms   int
		size recorder.Size
	}
	for name, webcam := range map[string][]change{
		"chrome-vp8": {{126, recorder.Size{W: 1280, H: 720}}},
		"chrome-h264": {{156, recorder.Size{W: 320, H: 180}}, {1959, recorder.Size{W: 480, H: 270}}, {3998, recorder.Size{W: 640, H: 360}},
			{8042, recorder.Size{W: 960, H: 540}}, {14065, recorder.Size{W: 1280, H: 720}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := recorder.NewPlanner(realCall(t, name), depacketize.Set{})
			if err != nil {
				t.Fatal(err)
			}
			plans, err := p.Finish(recorder.FinishOptions{})
			if err != nil {
				t.Fatal(err)
			}
			epoch, ok := p.Epoch()
			if late := epoch.Sub(recorder.Start()); !ok || late < 50*time.Millisecond || late > 160*time.Millisecond {
				t.Errorf("epoch %v after the dump's start", late)
			}
			var got []change
			var next int64
			for _, s := range plans {
				if s.From != next {
					t.Fatalf("segment %d begins at %d, want %d", s.Index, s.From, next)
				}
				next = s.To
				for i, r := range s.Regions {
					if r.Leg == "" {
						continue
					}
					checkRegion(t, p, s, i)
					if n := len(got); r.Kind == recorder.Webcam && (n == 0 || got[n-1].size != r.SourceSize) {
						got = append(got, change{int(s.Start().Ms()) + int(epoch.Sub(recorder.Start()).Milliseconds()), r.SourceSize})
					}
				}
			}
			if !slices.EqualFunc(got, webcam, func(a, b change) bool { return a.size == b.size && abs(a.ms-b.ms) < 60 }) {
				t.Errorf("the webcam changes at %v, want %v", got, webcam)
			}
			if frames, _ := p.Duration(); frames != next || frames < 895 || frames > 905 {
				t.Errorf("%d frames planned, %d in all, want about 900", next, frames)
			}
			if g := p.Gaps(); len(g) != 0 {
				t.Errorf("gaps of a call without any: %+v", g)
			}
			checkOpus(t, p)
		})
	}
}

func abs(v int) int { return max(v, -v) }

// checkRegion reads a region and checks that the composer could decode it.
func checkRegion(t *testing.T, p *recorder.Planner, s recorder.SegmentPlan, i int) {
	t.Helper()
	src, err := p.OpenRegion(s, i)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	slot, n, shown := int64(-1), 0, 0
	for {
		f, err := src.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 && !f.Key {
			t.Errorf("segment %d region %d begins with no keyframe", s.Index, i)
		}
		if f.Slot < slot || f.Slot >= s.Frames() || len(f.Data) == 0 {
			t.Fatalf("segment %d region %d: frame %d of %d bytes on slot %d after %d", s.Index, i, n, len(f.Data), f.Slot, slot)
		}
		if shown == 0 && f.Slot > 0 {
			t.Errorf("segment %d region %d shows nothing before slot %d", s.Index, i, f.Slot)
		}
		if f.Slot >= 0 {
			shown++
		}
		slot, n = f.Slot, n+1
	}
	if shown == 0 {
		t.Errorf("segment %d region %d shows nothing", s.Index, i)
	}
}

// checkOpus reads the sound: packets back to back, as long as the recording.
func checkOpus(t *testing.T, p *recorder.Planner) {
	t.Helper()
	src := p.AudioSource(recorder.AgentAudio)
	defer src.Close()
	var last recorder.Micros
	packets, silence := 0, 0
	for {
		pkt, err := src.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if pkt.At < last {
			t.Fatalf("packet at %v after %v", pkt.At, last)
		}
		last = pkt.At
		if len(pkt.Data) == 3 && pkt.Data[1] == 0xff && pkt.Data[2] == 0xfe {
			silence++
		}
		packets++
	}
	if _, d := p.Duration(); last < d-20_000 || last >= d {
		t.Errorf("the last packet is at %v of %v", last, d)
	}
	if packets < 1480 || silence > 20 {
		t.Errorf("%d packets, %d of them silence", packets, silence)
	}
}

// BenchmarkPlan plans the real calls: the cost of following a live recording.
func BenchmarkPlan(b *testing.B) {
	for _, name := range []string{"chrome-vp8", "chrome-h264"} {
		b.Run(name, func(b *testing.B) {
			f := realCall(b, name)
			b.ReportAllocs()
			for b.Loop() {
				p, err := recorder.NewPlanner(f, depacketize.Set{})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Finish(recorder.FinishOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
