package compose

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestCommandLines(t *testing.T) {
	t.Parallel()
	native, full := recorder.Size{W: 3200, H: 1080}, recorder.Size{W: 1920, H: 1080}
	screen := regionPlan{rect: recorder.Rect{W: 1920, H: 1080}, input: 0, matrix: bt601}
	webcam := regionPlan{rect: recorder.Rect{X: 1920, Y: 180, W: 1280, H: 720}, input: 1, matrix: bt601, moving: true}
	card := webcam
	card.input = -1
	pip := regionPlan{rect: recorder.Rect{X: 1416, Y: 786, W: 480, H: 270}, input: 1, matrix: bt709, moving: true}
	turned := regionPlan{rect: recorder.Rect{X: 656, W: 608, H: 1080}, input: 0, matrix: bt601, rotation: 90, fullRange: true}
	plans := map[string]videoPlan{
		"side-by-side":        {canvas: native, regions: []regionPlan{screen, webcam}},
		"side-by-side-absent": {canvas: native, regions: []regionPlan{screen, card}},
		"fit-1080p": {canvas: full, regions: []regionPlan{
			{rect: recorder.Rect{X: 0, Y: 216, W: 1152, H: 648}, input: 0, matrix: bt601}, {rect: recorder.Rect{X: 1152, Y: 324, W: 768, H: 432}, input: 1, matrix: bt601}}},
		"picture-in-picture": {canvas: full, regions: []regionPlan{screen, pip}},
		"screen-only":        {canvas: full, regions: []regionPlan{screen}},
		"screen-seldom":      {canvas: full, regions: []regionPlan{screen}},
		"screen-turned":      {canvas: full, regions: []regionPlan{turned}},
		"paused":             {canvas: native, paused: true},
		"nothing":            {canvas: full},
		"two-monitors": {canvas: native, regions: []regionPlan{screen, webcam,
			{rect: recorder.Rect{X: 1920, Y: 900, W: 320, H: 180}, input: 2, matrix: bt601}}},
		"waveform": {canvas: full, regions: []regionPlan{screen}, strip: &stripPlan{rect: recorder.Rect{Y: 1000, W: 1920, H: 80}, inputs: []int{1, 2}}},
	}
	cfg := Config{}.withDefaults()
	for name, plan := range plans {
		plan.fps, plan.frames, plan.qp = 30, 300, 28
		if name == "screen-seldom" {
			plan.frames, plan.keyframes = 17, []int64{0, 8, 16}
		}
		golden(t, "video-"+name, videoArgs(plan, cfg))
	}
	agent, customer := recorder.AudioTrack{Kind: recorder.AgentAudio}, recorder.AudioTrack{Kind: recorder.CustomerAudio}
	golden(t, "audio-mono", audioArgs(recorder.AudioJob{Mode: recorder.MixMono, Kbps: 48, Tracks: []recorder.AudioTrack{agent, customer}}, true))
	golden(t, "audio-stereo", audioArgs(recorder.AudioJob{Mode: recorder.SplitStereo, Kbps: 64, Tracks: []recorder.AudioTrack{agent, customer}}, true))
	golden(t, "audio-one", audioArgs(recorder.AudioJob{Mode: recorder.MixMono, Kbps: 48, Tracks: []recorder.AudioTrack{agent}}, false))
}

// golden compares with one argument a line.
func golden(t *testing.T, name string, args []string) {
	t.Helper()
	got := strings.Join(args, "\n") + "\n"
	path := filepath.Join("testdata", "argv", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run the test with -update", err)
	}
	if string(want) != got {
		t.Errorf("%s is not as its golden file says (run with -update if that is meant):\n%s", name, got)
	}
}

func TestLevels(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		canvas recorder.Size
		fps    int
		want   string
	}{
		{recorder.Size{W: 1280, H: 720}, 30, "3.1"}, {recorder.Size{W: 1920, H: 1080}, 30, "4.0"}, {recorder.Size{W: 1920, H: 1080}, 60, "4.2"},
		{recorder.Size{W: 3200, H: 1080}, 30, "5.0"}, {recorder.Size{W: 3840, H: 2160}, 30, "5.1"}, {recorder.Size{W: 8192, H: 8192}, 30, "6.0"},
	} {
		if got := level(tt.canvas, tt.fps); got != tt.want {
			t.Errorf("level of %s at %d is %s, want %s", tt.canvas, tt.fps, got, tt.want)
		}
	}
}
