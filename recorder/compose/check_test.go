package compose_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

func TestCheckVideo(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 128, H: 96}
	c := encode(t, recorder.VP8, "testsrc2=s=128x96:r=30", size, 30)
	good := render(t, recorder.VideoJob{Canvas: size, Frames: 30, Regions: []recorder.Region{c.region(recorder.Rect{W: 128, H: 96}, c.source())}})
	if n, err := composer(t).CheckVideo(t.Context(), bytes.NewReader(good)); n != 30 || err != nil {
		t.Errorf("%d frames, %v, want 30", n, err)
	}
	damaged := bytes.Clone(good)
	for i := len(damaged) / 3; i < len(damaged); i += 41 { // arithmetic coding hides a single flip well
		damaged[i] ^= 0x5a
	}
	for name, b := range map[string][]byte{"damaged": damaged, "rubbish": bytes.Repeat([]byte("no video "), 500), "empty": nil} {
		var decode *compose.DecodeError
		if n, err := composer(t).CheckVideo(t.Context(), bytes.NewReader(b)); !errors.As(err, &decode) || decode.Stderr == "" {
			t.Errorf("%s: %d frames, error %v, want a *DecodeError with the decoder's words", name, n, err)
		}
	}
}

// mp4File lets FFmpeg write a file; extra are options of its muxer.
func mp4File(t *testing.T, extra ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.mp4")
	args := append([]string{"-f", "lavfi", "-i", "testsrc2=s=128x96:r=30:d=2", "-f", "lavfi", "-i", "sine=r=48000:d=2", "-c:v", "libx264", "-preset", "ultrafast",
		"-c:a", "aac", "-ac", "1"}, extra...)
	ffmpeg(t, nil, append(args, path)...)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCheckFile(t *testing.T) {
	t.Parallel()
	fast := mp4File(t, "-movflags", "faststart")
	facts, err := composer(t).CheckFile(t.Context(), bytes.NewReader(fast))
	if err != nil || facts.VideoFrames != 60 || facts.AudioSamples < 96000 || facts.AudioSamples > 96000+1024 {
		t.Errorf("%+v, %v, want 60 frames and 96000 samples", facts, err)
	}
	facts, err = composer(t).CheckFile(t.Context(), bytes.NewReader(mp4File(t, "-vn", "-movflags", "faststart")))
	if err != nil || facts.VideoFrames != 0 || facts.AudioSamples < 96000 {
		t.Errorf("audio only: %+v, %v", facts, err)
	}
	facts, err = composer(t).CheckFile(t.Context(), bytes.NewReader(mp4File(t, "-an", "-movflags", "faststart")))
	if err != nil || facts.VideoFrames != 60 || facts.AudioSamples != 0 {
		t.Errorf("video only: %+v, %v", facts, err)
	}
	damaged := bytes.Clone(fast)
	for i := len(damaged) / 3; i < len(damaged); i += 41 {
		damaged[i] ^= 0x5a
	}
	for name, b := range map[string][]byte{"index behind the media": mp4File(t), "damaged": damaged, "cut": fast[:len(fast)/2], "cut index": fast[:200], "rubbish": []byte("not a file at all"), "empty": nil} {
		var decode *compose.DecodeError
		if facts, err := composer(t).CheckFile(t.Context(), bytes.NewReader(b)); !errors.As(err, &decode) {
			t.Errorf("%s: %+v, error %v, want a *DecodeError", name, facts, err)
		}
	}
}
