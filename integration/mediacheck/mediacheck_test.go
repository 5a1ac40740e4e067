package mediacheck

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMarkersOfAKnownFile renders a file whose flashes are 50 ms after its beeps and expects just that.
func TestMarkersOfAKnownFile(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "m.mp4")
	out, err := exec.CommandContext(ctx, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=black:s=64x64:r=60:d=6,geq=lum='if(between(mod(T,2),1.05,1.15),235,16)':cb=128:cr=128",
		"-f", "lavfi", "-i", "aevalsrc='if(between(mod(t,2),1,1.1),0.5*sin(2*PI*1000*t),0)':s=48000:d=6",
		"-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-movflags", "+faststart", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	luma, err := Luma(ctx, path, "64:64:0:0")
	if err != nil {
		t.Fatal(err)
	}
	sound, err := Sound(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	skews, missing := Skews(Flashes(luma, 60), Beeps(sound))
	if len(skews) != 3 || missing != 0 {
		t.Fatalf("found %d markers, %d missing, want 3 and 0", len(skews), missing)
	}
	for _, s := range skews {
		if s < 50-18 || s > 50+18 {
			t.Errorf("skew %.1f ms, want 50 ± one frame", s)
		}
	}
	if ok, err := Faststart(path); err != nil || !ok {
		t.Errorf("Faststart = %v, %v", ok, err)
	}
	if err := Decodes(ctx, path); err != nil {
		t.Error(err)
	}
	p, err := File(ctx, path)
	if err != nil || p.VideoFrames != 360 || p.AudioCodec != "aac" || p.Width != 64 {
		t.Errorf("File = %+v, %v", p, err)
	}
}
