package reference

import (
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// TestSource: what comes out of the captures is what their README says.
func TestSource(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		call, track      string
		pictures, keys   int
		width, height    int
		firstMs, lastMs  int
		brightAt, darkAt int // pictures in a white flash and outside
	}{
		{call: "chrome-vp8", track: "webcam", pictures: 901, keys: 7, width: 1280, height: 720, firstMs: 126, lastMs: 30113, brightAt: 54, darkAt: 45},
		{call: "chrome-vp8", track: "screen", pictures: 856, keys: 6, width: 1920, height: 1080, firstMs: 139, lastMs: 30083},
		{call: "chrome-h264", track: "webcam", pictures: 901, keys: 26, firstMs: 156, lastMs: 30165, brightAt: 54, darkAt: 45},
		{call: "chrome-h264", track: "screen", pictures: 876, keys: 6, firstMs: 192, lastMs: 30155},
	} {
		t.Run(c.call+" "+c.track, func(t *testing.T) {
			t.Parallel()
			s := load(t, c.call, c.track)
			keys := 0
			for _, p := range s.Pictures {
				if p.Key {
					keys++
				}
			}
			first, last := s.Pictures[0], s.Pictures[len(s.Pictures)-1]
			if len(s.Pictures) != c.pictures || keys != c.keys || first.Width != c.width || first.Height != c.height {
				t.Errorf("%d pictures, %d keyframes of %dx%d, want %d, %d of %dx%d", len(s.Pictures), keys, first.Width, first.Height, c.pictures, c.keys, c.width, c.height)
			}
			near := func(at time.Duration, ms int) bool {
				return at.Milliseconds() > int64(ms)-250 && at.Milliseconds() <= int64(ms)
			}
			if !near(first.At, c.firstMs) || !near(last.At, c.lastMs) {
				t.Errorf("from %v to %v, the packets came from %d ms to %d ms", first.At, last.At, c.firstMs, c.lastMs)
			}
			if c.brightAt == 0 {
				return
			}
			dark, bright := mean(t, s, c.darkAt), mean(t, s, c.brightAt)
			if dark > 120 || bright < 150 {
				t.Errorf("mean grey outside the flash %.0f and in it %.0f", dark, bright)
			}
		})
	}
}

func mean(t *testing.T, s *Source, index int) float64 {
	t.Helper()
	got, err := s.Decode(t.Context(), index, index, 64, 36)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, v := range got[0] {
		sum += int(v)
	}
	return float64(sum) / float64(len(got[0]))
}

// TestDecodeAcrossSizes: the webcam of the H.264 call grows, and every picture comes out all the same.
func TestDecodeAcrossSizes(t *testing.T) {
	t.Parallel()
	got, err := load(t, "chrome-h264", "webcam").Decode(t.Context(), 0, 130, 320, 180)
	if err != nil || len(got) != 131 {
		t.Errorf("%d pictures, error %v", len(got), err)
	}
}

func TestCaptureWithALoss(t *testing.T) {
	t.Parallel()
	call, err := player.Load("../../testdata/media/chrome-vp8")
	if err != nil {
		t.Fatal(err)
	}
	track := call.Tracks[0]
	track.Packets = append(track.Packets[:100:100], track.Packets[102:]...)
	if _, err := Of(track); err == nil {
		t.Error("a capture with a gap is taken as a reference")
	}
}

func load(t *testing.T, call, source string) *Source {
	t.Helper()
	c, err := player.Load("../../testdata/media/" + call)
	if err == nil {
		c, err = c.Select(source)
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := Of(c.Tracks[0])
	if err != nil {
		t.Fatal(err)
	}
	return s
}
