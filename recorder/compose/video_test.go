package compose_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

var ground = rgb{0x16, 0x18, 0x1d}

// numbered is a lavfi source whose brightness tells the frame: frame n is grey 20+n·step.
func numbered(size recorder.Size, step int) string {
	return fmt.Sprintf("nullsrc=s=%s:r=30,format=gray,geq=lum='20+N*%d'", size, step)
}

// Each frame must be seen exactly from its slot on, whatever the codec: pre-roll is not seen, of several frames in a
// slot the last is, empty slots repeat, and the last picture is held to the end.
func TestEveryFrameOnItsSlot(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 64, H: 48}
	const step = 18
	tests := []struct {
		name   string
		slots  []int64
		frames int64
		want   []int // index of the clip's frame in each slot
	}{
		{"one each", []int64{0, 1, 2, 3, 4}, 5, []int{0, 1, 2, 3, 4}},
		{"a static screen", []int64{0}, 40, repeat(0, 40)},
		{"sparse", []int64{0, 7, 20}, 30, append(append(repeat(0, 7), repeat(1, 13)...), repeat(2, 10)...)},
		{"pre-roll only", []int64{-9, -4, -1}, 6, repeat(2, 6)},
		{"pre-roll and a frame at once", []int64{-3, -2, -1, 0, 4}, 6, []int{3, 3, 3, 3, 4, 4}},
		{"pre-roll, then a pause", []int64{-3, -2, 5}, 7, []int{1, 1, 1, 1, 1, 2, 2}},
		{"several in a slot", []int64{0, 2, 2, 2, 3, 3, 5}, 7, []int{0, 0, 3, 5, 5, 6, 6}},
		{"all in the first slot", []int64{0, 0, 0, 0}, 3, []int{3, 3, 3}},
		{"a picture for the last slot", []int64{0, 9}, 10, append(repeat(0, 9), 1)},
		{"more than planned", []int64{0, 1, 2, 3, 4, 5}, 3, []int{0, 1, 2}},
		{"one frame", []int64{0, 1}, 1, []int{0}},
	}
	for _, codec := range []recorder.Codec{recorder.VP8, recorder.VP9, recorder.H264} {
		c := encode(t, codec, numbered(size, step), size, 8)
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s/%s", codec, tt.name), func(t *testing.T) {
				t.Parallel()
				out := render(t, recorder.VideoJob{Canvas: size, Frames: tt.frames, Regions: []recorder.Region{
					c.region(recorder.Rect{W: size.W, H: size.H}, c.at(tt.slots...))}})
				gray := ffmpeg(t, out, "-f", "h264", "-i", "pipe:0", "-fps_mode", "passthrough", "-vf", "scale=1:1:flags=area,format=gray", "-f", "rawvideo", "pipe:1")
				if len(gray) != len(tt.want) {
					t.Fatalf("%d frames, want %d", len(gray), len(tt.want))
				}
				for slot, want := range tt.want {
					got := (int(gray[slot]) - 20 + step/2) / step
					if got != want {
						t.Errorf("slot %d shows frame %d, want %d (%v)", slot, got, want, gray)
					}
				}
			})
		}
	}
}

func repeat(v, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// At other output rates the grid is another one; slots still count output frames.
func TestOtherRates(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 64, H: 48}
	c := encode(t, recorder.VP8, numbered(size, 18), size, 8)
	for _, fps := range []int{5, 10, 15, 24} {
		t.Run(fmt.Sprint(fps), func(t *testing.T) {
			t.Parallel()
			out := render(t, recorder.VideoJob{Canvas: size, FPS: fps, Frames: 100, Regions: []recorder.Region{
				c.region(recorder.Rect{W: size.W, H: size.H}, c.at(0, 33, 66, 99))}})
			gray := ffmpeg(t, out, "-f", "h264", "-i", "pipe:0", "-fps_mode", "passthrough", "-vf", "scale=1:1:flags=area,format=gray", "-f", "rawvideo", "pipe:1")
			if len(gray) != 100 {
				t.Fatalf("%d frames, want 100", len(gray))
			}
			for _, slot := range []int{32, 65, 98} {
				if gray[slot+1] < gray[slot]+9 {
					t.Errorf("the picture does not change at slot %d: %d, %d", slot+1, gray[slot], gray[slot+1])
				}
			}
		})
	}
}

// layoutTest is a layout with real content; the reference is built by FFmpeg from the clips, independently of the graph under test.
type layoutTest struct {
	name    string
	canvas  recorder.Size
	regions []layoutRegion
	ground  [][2]int // points that must show the ground
}

type layoutRegion struct {
	codec    recorder.Codec
	source   string
	size     recorder.Size
	rect     recorder.Rect
	rotation int
	prepare  string // filter that makes the sent picture out of the upright one
}

func layouts() []layoutTest {
	screen := recorder.Size{W: 480, H: 270}
	cam := recorder.Size{W: 320, H: 180}
	return []layoutTest{
		{"side by side", recorder.Size{W: 800, H: 270}, []layoutRegion{
			{codec: recorder.VP8, source: "testsrc2", size: screen, rect: recorder.Rect{W: 480, H: 270}},
			{codec: recorder.H264, source: "mandelbrot", size: cam, rect: recorder.Rect{X: 480, Y: 44, W: 320, H: 180}},
		}, [][2]int{{600, 10}, {600, 260}}},
		{"picture in picture", screen, []layoutRegion{
			{codec: recorder.H264, source: "testsrc2", size: screen, rect: recorder.Rect{W: 480, H: 270}},
			{codec: recorder.VP9, source: "mandelbrot", size: cam, rect: recorder.Rect{X: 350, Y: 196, W: 120, H: 68}},
		}, nil},
		{"screen only, odd size", screen, []layoutRegion{
			{codec: recorder.VP8, source: "testsrc2", size: recorder.Size{W: 479, H: 255}, rect: recorder.Rect{X: 0, Y: 6, W: 480, H: 256}},
		}, [][2]int{{100, 2}, {100, 266}}},
		{"4:3", screen, []layoutRegion{
			{codec: recorder.VP8, source: "testsrc2", size: recorder.Size{W: 320, H: 240}, rect: recorder.Rect{X: 80, Y: 14, W: 320, H: 240}},
		}, [][2]int{{40, 100}, {440, 100}}},
		{"portrait", screen, []layoutRegion{
			{codec: recorder.H264, source: "testsrc2", size: recorder.Size{W: 180, H: 320}, rect: recorder.Rect{X: 164, Y: 0, W: 152, H: 270}},
		}, [][2]int{{80, 100}, {400, 100}}},
		{"scaled down", screen, []layoutRegion{
			{codec: recorder.VP8, source: "testsrc2", size: recorder.Size{W: 1920, H: 1080}, rect: recorder.Rect{W: 480, H: 270}},
		}, nil},
		{"three pictures", recorder.Size{W: 640, H: 360}, []layoutRegion{
			{codec: recorder.VP8, source: "testsrc2", size: recorder.Size{W: 320, H: 180}, rect: recorder.Rect{X: 0, Y: 0, W: 320, H: 180}},
			{codec: recorder.VP9, source: "smptehdbars", size: recorder.Size{W: 320, H: 180}, rect: recorder.Rect{X: 320, Y: 0, W: 320, H: 180}},
			{codec: recorder.H264, source: "mandelbrot", size: recorder.Size{W: 320, H: 180}, rect: recorder.Rect{X: 160, Y: 180, W: 320, H: 180}},
		}, [][2]int{{80, 270}, {560, 270}}},
		{"turned by 90", recorder.Size{W: 640, H: 360}, []layoutRegion{
			{codec: recorder.VP8, source: "testsrc2", size: recorder.Size{W: 360, H: 640}, rect: recorder.Rect{W: 640, H: 360}, rotation: 90, prepare: "transpose=cclock"},
		}, nil},
		{"turned by 180", recorder.Size{W: 640, H: 360}, []layoutRegion{
			{codec: recorder.VP8, source: "testsrc2", size: recorder.Size{W: 640, H: 360}, rect: recorder.Rect{W: 640, H: 360}, rotation: 180, prepare: "hflip,vflip"},
		}, nil},
		{"turned by 270", recorder.Size{W: 640, H: 360}, []layoutRegion{
			{codec: recorder.VP8, source: "testsrc2", size: recorder.Size{W: 360, H: 640}, rect: recorder.Rect{W: 640, H: 360}, rotation: 270, prepare: "transpose=clock"},
		}, nil},
	}
}

// upright is the region's picture before it was turned for sending.
func (r layoutRegion) upright() recorder.Size {
	if r.rotation%180 != 0 {
		return recorder.Size{W: r.size.H, H: r.size.W}
	}
	return r.size
}

// The colours are softened: at the edges of fully saturated ones the subsampled chroma of the source alone spoils the luma of
// any conversion between matrices.
func (r layoutRegion) lavfi() string {
	return fmt.Sprintf("%s=s=%s:r=30,format=gbrp,hue=s=0.4", r.source, r.upright())
}

func TestLayouts(t *testing.T) {
	t.Parallel()
	const count = 12
	for _, tt := range layouts() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			job := recorder.VideoJob{Canvas: tt.canvas, Frames: count, MaxKbps: 20000}
			for _, r := range tt.regions {
				var filter []string
				if r.prepare != "" {
					filter = []string{r.prepare}
				}
				c := encode(t, r.codec, r.lavfi(), r.size, count, filter...)
				region := c.region(r.rect, c.source())
				region.Rotation = r.rotation
				job.Regions = append(job.Regions, region)
			}
			out := render(t, job)
			if dir := os.Getenv("COMPOSE_PICTURES"); dir != "" {
				png := ffmpeg(t, out, "-f", "h264", "-i", "pipe:0", "-frames:v", "1", "-f", "image2pipe", "-c:v", "png", "pipe:1")
				if err := os.WriteFile(filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-")+".png"), png, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := ssim(t, out, tt, count); got < 0.9 {
				t.Errorf("SSIM with the reference is %.3f, want at least 0.9", got)
			}
			pic := picture(t, out, tt.canvas, count-1)
			for _, p := range tt.ground {
				if got := pixel(pic, tt.canvas, p[0], p[1]); !got.near(ground, 6) {
					t.Errorf("the ground at %v is %v, want %v", p, got, ground)
				}
			}
		})
	}
}

// ssim compares the luma of the rendered stream with the sources, laid out in RGB with overlay. Colours have a test of their own.
func ssim(t *testing.T, out []byte, tt layoutTest, count int) float64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.h264")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	graph := fmt.Sprintf("color=c=0x16181d:s=%s:r=30,format=gbrp[g0];", tt.canvas)
	for i, r := range tt.regions {
		graph += fmt.Sprintf("%s,format=gbrp,scale=%d:%d:flags=lanczos[s%d];[g%d][s%d]overlay=%d:%d:format=gbrp[g%d];",
			r.lavfi(), r.rect.W, r.rect.H, i, i, i, r.rect.X, r.rect.Y, i+1)
	}
	graph += fmt.Sprintf("[0:v]setpts=N/30/TB,format=yuv420p[o];[g%d]trim=end_frame=%d,setpts=N/30/TB,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p[r];[o][r]ssim=f=-:shortest=1", len(tt.regions), count)
	text := string(ffmpeg(t, nil, "-f", "h264", "-i", path, "-filter_complex", graph, "-f", "null", "-"))
	lowest := 1.0
	found := regexp.MustCompile(`Y:([0-9.]+)`).FindAllStringSubmatch(text, -1)
	for _, m := range found {
		v, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		lowest = min(lowest, v)
	}
	if len(found) < count {
		t.Fatalf("%d frames compared, want %d: %s", len(found), count, text)
	}
	return lowest
}

// Colours must come out as they were sent: sources are BT.601, the output is BT.709.
func TestColors(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 64, H: 64}
	patches := map[string]rgb{"red": {230, 30, 30}, "green": {30, 200, 40}, "blue": {30, 60, 220}, "skin": {224, 172, 145}, "white": {255, 255, 255}, "grey": {128, 128, 128}}
	for _, codec := range []recorder.Codec{recorder.VP8, recorder.VP9, recorder.H264} {
		for name, want := range patches {
			t.Run(fmt.Sprintf("%s/%s", codec, name), func(t *testing.T) {
				t.Parallel()
				source := fmt.Sprintf("color=c=0x%02x%02x%02x:s=%s:r=30,format=gbrp", want.r, want.g, want.b, size)
				c := encode(t, codec, source, size, 2)
				out := render(t, recorder.VideoJob{Canvas: size, Frames: 2, Regions: []recorder.Region{c.region(recorder.Rect{W: 64, H: 64}, c.source())}})
				if got := pixel(picture(t, out, size, 1), size, 32, 32); !got.near(want, 6) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		}
	}
}

// An H.264 source that says BT.709 is taken at its word.
func TestTaggedSource(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 64, H: 64}
	want := rgb{30, 200, 40}
	raw := ffmpeg(t, nil, "-f", "lavfi", "-i", fmt.Sprintf("color=c=0x1ec828:s=%s:r=30,format=gbrp", size), "-frames:v", "1",
		"-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
		"-c:v", "libx264", "-preset", "ultrafast", "-f", "h264", "pipe:1")
	c := clip{codec: recorder.H264, size: size, frames: []recorder.Frame{{Key: true, Data: raw}}}
	out := render(t, recorder.VideoJob{Canvas: size, Frames: 1, Regions: []recorder.Region{c.region(recorder.Rect{W: 64, H: 64}, c.source())}})
	if got := pixel(picture(t, out, size, 0), size, 32, 32); !got.near(want, 6) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCards(t *testing.T) {
	t.Parallel()
	canvas := recorder.Size{W: 640, H: 360}
	screen := encode(t, recorder.VP8, "color=c=white:s=320x180:r=30", recorder.Size{W: 320, H: 180}, 3)
	left, right := recorder.Rect{X: 0, Y: 90, W: 320, H: 180}, recorder.Rect{X: 320, Y: 90, W: 320, H: 180}
	empty := screen.region(right, screen.at())
	white, card, mark := rgb{255, 255, 255}, rgb{0x22, 0x26, 0x2e}, rgb{0x55, 0x58, 0x5d}
	tests := []struct {
		name string
		job  recorder.VideoJob
		want map[[2]int]rgb
	}{
		{"webcam absent", recorder.VideoJob{Regions: []recorder.Region{screen.region(left, screen.at(0)), {Rect: right, Kind: recorder.Webcam}}},
			map[[2]int]rgb{{100, 180}: white, {340, 100}: card, {480, 180}: mark, {480, 20}: ground}},
		{"webcam without a frame", recorder.VideoJob{Regions: []recorder.Region{screen.region(left, screen.at(0)), empty}},
			map[[2]int]rgb{{100, 180}: white, {340, 100}: card}},
		{"screen absent", recorder.VideoJob{Regions: []recorder.Region{{Rect: left}, screen.region(right, screen.at(0))}},
			map[[2]int]rgb{{20, 100}: card, {160, 180}: mark, {480, 180}: white, {160, 20}: ground}},
		{"nothing", recorder.VideoJob{}, map[[2]int]rgb{{320, 180}: ground, {5, 5}: ground}},
		{"paused", recorder.VideoJob{PausedCard: true, Regions: []recorder.Region{screen.region(left, screen.at(0))}},
			map[[2]int]rgb{{100, 180}: ground, {304, 180}: mark, {336, 180}: mark, {320, 180}: ground}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.job.Canvas, tt.job.Frames = canvas, 35
			out := render(t, tt.job)
			if n, err := composer(t).CheckVideo(t.Context(), bytes.NewReader(out)); n != 35 || err != nil {
				t.Errorf("%d frames, %v", n, err)
			}
			pic := picture(t, out, canvas, 34)
			for at, want := range tt.want {
				if got := pixel(pic, canvas, at[0], at[1]); !got.near(want, 6) {
					t.Errorf("at %v is %v, want %v", at, got, want)
				}
			}
		})
	}
}

// Segments of one recording join by copy: whatever they show, their parameter sets are the same byte by byte.
func TestParameterSetsAreTheSame(t *testing.T) {
	t.Parallel()
	canvas := recorder.Size{W: 320, H: 180}
	whole := recorder.Rect{W: 320, H: 180}
	noise := encode(t, recorder.VP8, "testsrc2=s=320x180:r=30,noise=alls=60:allf=t", canvas, 30)
	still := encode(t, recorder.H264, "color=c=white:s=320x180:r=30", canvas, 1)
	var first []byte
	for name, job := range map[string]recorder.VideoJob{
		"paused": {PausedCard: true, Frames: 1},
		"noise":  {Frames: 200, Regions: []recorder.Region{noise.region(whole, noise.source())}},
		"still":  {Frames: 33, Regions: []recorder.Region{still.region(whole, still.source())}},
	} {
		job.Canvas, job.MaxKbps = canvas, 300 // the noise is rendered with a coarser quantizer than the rest
		sets := parameterSets(render(t, job))
		if first == nil {
			first = sets
		}
		if !bytes.Equal(first, sets) || len(sets) < 20 {
			t.Errorf("%s: parameter sets are % x, others % x", name, sets, first)
		}
	}
}

// parameterSets is everything from the start up to the first SEI or slice.
func parameterSets(annexB []byte) []byte {
	end := len(annexB)
	for _, kind := range []byte{0x06, 0x65} {
		if i := bytes.Index(annexB, []byte{0, 0, 1, kind}); i >= 0 {
			end = min(end, i)
		}
	}
	return annexB[:end]
}

func TestEncodedAsPromised(t *testing.T) {
	t.Parallel()
	canvas := recorder.Size{W: 320, H: 180}
	c := encode(t, recorder.VP8, "testsrc2=s=320x180:r=30,noise=alls=90:allf=t", canvas, 60)
	slots := make([]int64, 60)
	for i := range slots {
		slots[i] = int64(i * 5)
	}
	var buf bytes.Buffer
	err := composer(t, func(c *compose.Config) { c.KeyframeInterval = 5 * time.Second }).Video(t.Context(), recorder.VideoJob{Canvas: canvas, FPS: 30,
		Frames: 300, MaxKbps: 2000, Regions: []recorder.Region{c.region(recorder.Rect{W: 320, H: 180}, c.at(slots...))}}, &buf)
	if err != nil {
		t.Fatal(err)
	}
	out := buf.Bytes()
	path := filepath.Join(t.TempDir(), "out.h264")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	probe := ffprobe(t, "-show_entries", "stream=profile,pix_fmt,color_range,color_space,color_transfer,color_primaries,has_b_frames,r_frame_rate,width,height", path)
	for _, want := range []string{"profile=High", "pix_fmt=yuv420p", "color_range=tv", "color_space=bt709", "color_transfer=bt709", "color_primaries=bt709", "has_b_frames=0", "r_frame_rate=30/1", "width=320", "height=180"} {
		if !strings.Contains(probe, want+"\n") {
			t.Errorf("%s is missing in\n%s", want, probe)
		}
	}
	types := ffprobe(t, "-show_entries", "frame=pict_type", path)
	var keys []int
	for i, m := range regexp.MustCompile(`pict_type=(.)`).FindAllStringSubmatch(types, -1) {
		switch m[1] {
		case "I":
			keys = append(keys, i)
		case "B":
			t.Fatalf("frame %d is a B-frame", i)
		}
	}
	if fmt.Sprint(keys) != "[0 150]" {
		t.Errorf("keyframes are %v, want one every 5 s", keys)
	}
}

// However lively the pictures, the recording's average stays below its cap, and quiet segments keep their quality.
func TestRateCap(t *testing.T) {
	t.Parallel()
	canvas := recorder.Size{W: 320, H: 180}
	whole := recorder.Rect{W: 320, H: 180}
	lively := encode(t, recorder.H264, "testsrc2=s=320x180:r=30,noise=alls=50:allf=t", canvas, 60)
	quiet := encode(t, recorder.VP8, "testsrc2=s=320x180:r=30", canvas, 1)
	const kbps, seconds = 400, 5
	slots := make([]int64, 60)
	for i := range slots {
		slots[i] = int64(i * 2)
	}
	c := composer(t)
	total := 0
	var sizes []int
	for i := range 6 {
		var source recorder.FrameSource = lively.at(slots...)
		region := lively.region(whole, source)
		if i >= 4 {
			region = quiet.region(whole, quiet.at(0))
		}
		var out bytes.Buffer
		job := recorder.VideoJob{RecordingID: "rec", Segment: i, Canvas: canvas, FPS: 30, Frames: 30 * seconds, MaxKbps: kbps, Regions: []recorder.Region{region}}
		if err := c.Video(t.Context(), job, &out); err != nil {
			t.Fatal(err)
		}
		total, sizes = total+out.Len(), append(sizes, out.Len())
		if got := float64(total) * 8 / 1000 / float64((i+1)*seconds); got > kbps {
			t.Errorf("after segment %d the average is %.0f kbps, the cap is %d", i, got, kbps)
		}
	}
	if got := float64(sizes[3]) * 8 / 1000 / seconds; got < kbps/4 {
		t.Errorf("a lively segment got only %.0f kbps of %d: %v", got, kbps, sizes)
	}
}

// A segment follows the live call: one track is ahead and waits, the other comes when it comes, and nothing is lost.
func TestOneTrackLags(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 64, H: 48}
	ahead := encode(t, recorder.VP8, numbered(size, 18), size, 8)
	lag := encode(t, recorder.H264, numbered(size, 18), size, 8)
	const count = 600
	list := make([]recorder.Frame, count)
	for i := range list {
		// The clip is short; repeating its keyframe makes it long.
		list[i] = recorder.Frame{Slot: int64(i), Key: true, Data: ahead.frames[0].Data}
	}
	reached := make(chan struct{})
	fast := &signalling{frames: frames{list: list}, at: 100, reached: reached}
	slow := &waiting{frames: frames{list: lag.frames[:2]}, wait: reached}
	slow.list[1].Slot = 300
	out := render(t, recorder.VideoJob{Canvas: recorder.Size{W: 128, H: 48}, Frames: count, Regions: []recorder.Region{
		ahead.region(recorder.Rect{W: 64, H: 48}, fast), lag.region(recorder.Rect{X: 64, W: 64, H: 48}, slow)}})
	gray := ffmpeg(t, out, "-f", "h264", "-i", "pipe:0", "-fps_mode", "passthrough", "-vf", "crop=64:48:64:0,scale=1:1:flags=area,format=gray", "-f", "rawvideo", "pipe:1")
	if len(gray) != count || gray[300] < gray[299]+9 {
		t.Errorf("%d frames, the late picture changes from %d to %d", len(gray), gray[299], gray[300])
	}
}

// signalling tells when so many frames were taken from it.
type signalling struct {
	frames
	at      int
	reached chan struct{}
}

func (s *signalling) Next(ctx context.Context) (recorder.Frame, error) {
	if s.at--; s.at == 0 {
		close(s.reached)
	}
	return s.frames.Next(ctx)
}

// waiting gives its second frame only when it is told to.
type waiting struct {
	frames
	wait  chan struct{}
	waits func() // told that it waits; may be nil
	given int
}

func (w *waiting) Next(ctx context.Context) (recorder.Frame, error) {
	if w.given++; w.given == 2 {
		if w.waits != nil {
			w.waits()
		}
		select {
		case <-w.wait:
		case <-ctx.Done():
			return recorder.Frame{}, ctx.Err()
		}
	}
	return w.frames.Next(ctx)
}

// The caller may steer the quantizer itself; then nothing is rendered twice.
func TestOwnQuantizer(t *testing.T) {
	t.Parallel()
	canvas := recorder.Size{W: 320, H: 180}
	c := encode(t, recorder.VP8, "testsrc2=s=320x180:r=30", canvas, 20)
	var sizes []int
	for _, qp := range []int{20, 40} {
		job := recorder.VideoJob{Canvas: canvas, Frames: 20, QP: qp, MaxKbps: 1, Regions: []recorder.Region{c.region(recorder.Rect{W: 320, H: 180}, c.source())}}
		sizes = append(sizes, len(render(t, job)))
	}
	if sizes[1]*2 > sizes[0] {
		t.Errorf("%d bytes at 20, %d at 40: the quantizer does not arrive", sizes[0], sizes[1])
	}
}

func TestUnusableJobs(t *testing.T) {
	t.Parallel()
	size := recorder.Size{W: 64, H: 48}
	whole := recorder.Rect{W: 64, H: 48}
	c := encode(t, recorder.VP8, numbered(size, 18), size, 8)
	h := encode(t, recorder.H264, numbered(size, 18), size, 8)
	bare := h.frames[1]
	bare.Key, bare.Slot = true, 0
	good := func() recorder.VideoJob {
		return recorder.VideoJob{Canvas: size, FPS: 30, Frames: 3, MaxKbps: 500, Regions: []recorder.Region{c.region(whole, c.source())}}
	}
	var count *compose.FrameCountError
	tests := []struct {
		name   string
		change func(*recorder.VideoJob)
		want   error
		says   string
	}{
		{"odd canvas", func(j *recorder.VideoJob) { j.Canvas.W = 63 }, compose.ErrJob, "63x48"},
		{"no frames", func(j *recorder.VideoJob) { j.Frames = 0 }, compose.ErrJob, "0 frames"},
		{"no rate", func(j *recorder.VideoJob) { j.FPS = 0 }, compose.ErrJob, "frames a second"},
		{"region off the canvas", func(j *recorder.VideoJob) { j.Regions[0].Rect.X = 2 }, compose.ErrJob, "region 0"},
		{"turned a little", func(j *recorder.VideoJob) { j.Regions[0].Rotation = 45 }, compose.ErrJob, "45°"},
		{"no video codec", func(j *recorder.VideoJob) { j.Regions[0].Codec = recorder.Opus }, compose.ErrJob, "OPUS"},
		{"no keyframe first", func(j *recorder.VideoJob) { j.Regions[0].Source = &frames{list: c.frames[1:]} }, compose.ErrSource, "no keyframe"},
		{"H.264 without parameter sets", func(j *recorder.VideoJob) { j.Regions[0] = h.region(whole, &frames{list: []recorder.Frame{bare}}) }, compose.ErrSource, "SPS and PPS"},
		{"time goes back", func(j *recorder.VideoJob) { j.Regions[0].Source = c.at(2, 1) }, compose.ErrSource, "slot 1 after slot 2"},
		{"an empty frame", func(j *recorder.VideoJob) {
			j.Regions[0].Source = &frames{list: []recorder.Frame{c.frames[0], {Slot: 1}}}
		}, compose.ErrSource, "0 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			job := good()
			tt.change(&job)
			err := composer(t).Video(t.Context(), job, &bytes.Buffer{})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
	t.Run("not a picture", func(t *testing.T) {
		t.Parallel()
		job := good()
		job.Regions[0].Source = &frames{list: []recorder.Frame{{Key: true, Data: bytes.Repeat([]byte{0x90}, 300)}}}
		err := composer(t).Video(t.Context(), job, &bytes.Buffer{})
		var exit *compose.ExitError
		if !errors.As(err, &count) && !errors.As(err, &exit) {
			t.Errorf("error is %v, want a *FrameCountError or *ExitError", err)
		}
	})
}
