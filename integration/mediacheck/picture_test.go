package mediacheck

import (
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
)

func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(r.Uint32())
	}
	return out
}

func TestSSIM(t *testing.T) {
	t.Parallel()
	const w, h = 64, 48
	a, b := noise(1, w*h), noise(2, w*h)
	brighter, blurred := make([]byte, w*h), make([]byte, w*h)
	for i, v := range a {
		brighter[i], blurred[i] = v/2+40, byte((int(v)+int(a[(i+1)%len(a)]))/2)
	}
	for _, c := range []struct {
		name     string
		a, b     []byte
		from, to float64
	}{
		{"equal", a, a, 1, 1},
		{"other noise", a, b, -0.1, 0.3},
		{"half the contrast", a, brighter, 0.5, 0.95},
		{"blurred", a, blurred, 0.2, 0.85},
	} {
		if got := SSIM(c.a, c.b, w); got < c.from-1e-9 || got > c.to+1e-9 {
			t.Errorf("%s: %.3f is not within %.2f…%.2f", c.name, got, c.from, c.to)
		}
	}
	if d := Distance(a, a, w); d != 0 {
		t.Errorf("distance to itself %.1f", d)
	}
	if d := Distance(a, b, w); d < 50 {
		t.Errorf("distance of noise %.1f", d)
	}
	if v := Variance([]float64{1, 3, 5}); math.Abs(v-8.0/3) > 1e-9 {
		t.Errorf("variance %.3f", v)
	}
}

// TestPicturesOfAKnownFile: the left half grows brighter with every frame, the right half is white.
func TestPicturesOfAKnownFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "p.mp4")
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=black:s=128x64:r=30:d=2,geq=lum='if(lt(X,64),20+3*N,235)':cb=128:cr=128",
		"-f", "lavfi", "-i", "sine=d=2", "-c:v", "libx264", "-qp", "10", "-c:a", "aac", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	left, right := Rect{0, 0, 64, 64}, Rect{64, 0, 64, 64}
	series, err := Lumas(t.Context(), path, left, right)
	if err != nil || len(series[0]) != 60 || len(series[1]) != 60 {
		t.Fatalf("%d series, error %v", len(series), err)
	}
	if series[0][59]-series[0][0] < 150 || series[1][30] < 250 {
		t.Errorf("left from %.0f to %.0f, right %.0f", series[0][0], series[0][59], series[1][30])
	}
	for _, frame := range []int{0, 1, 29, 59} {
		grey, err := Grey(t.Context(), path, frame, 30, left)
		if err != nil {
			t.Fatal(err)
		}
		if got := Mean(grey); math.Abs(got-series[0][frame]) > 1.5 {
			t.Errorf("frame %d: mean %.1f, want %.1f: another frame came out", frame, got, series[0][frame])
		}
	}
	if _, err := Grey(t.Context(), path, 60, 30, left); err == nil {
		t.Error("a frame after the end comes out")
	}
}
