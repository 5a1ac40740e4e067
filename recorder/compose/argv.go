package compose

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dualrec/dualrec/recorder"
)

// Colours of what is no picture. They are quiet on purpose: a reviewer looks at the rest.
const (
	groundColor = "0x16181d"
	cardColor   = "0x22262e"
	markColor   = "0x55585d"
	waveColor   = "0x6aa9ff"
)

// videoPlan is all that the command line of a segment depends on.
type videoPlan struct {
	canvas recorder.Size
	fps    int
	frames int64 // to encode
	qp     int
	// keyframes are the numbers of the frames that must be keyframes; nil: by the interval alone.
	keyframes []int64
	regions   []regionPlan
	paused    bool
	strip     *stripPlan
}

// regionPlan is one picture: an input of FFmpeg or a card.
type regionPlan struct {
	rect      recorder.Rect
	input     int // -1: a card
	rotation  int
	matrix    matrix
	fullRange bool
	moving    bool // every picture is new: scale it the cheap way
}

// stripPlan is the waveform; its inputs follow those of the regions.
type stripPlan struct {
	rect   recorder.Rect
	inputs []int
}

// pictures is the number of pipes with pictures. They come first.
func (p videoPlan) pictures() int {
	n := 0
	for _, r := range p.regions {
		if r.input >= 0 {
			n++
		}
	}
	return n
}

// inputs is the number of pipes that the plan reads.
func (p videoPlan) inputs() int {
	n := p.pictures()
	if p.strip != nil {
		n += len(p.strip.inputs)
	}
	return n
}

// commonArgs precede everything: quiet, never asking, one thread for each filter. Many single-threaded runs beat one threaded run.
func commonArgs() []string {
	return []string{"-hide_banner", "-nostdin", "-nostats", "-v", "error", "-filter_threads", "1", "-filter_complex_threads", "1"}
}

// maxPixels bounds the pictures that FFmpeg decodes: 8192x4320, more than any screen has. Without it a keyframe of some
// hundred kilobytes that claims 16000x16000 pixels makes the decoder take more than a gigabyte of memory. A track that is
// larger fails its run with FFmpeg's word on it.
const maxPixels = 8192 * 4320

// videoInputArgs opens the pipe of one track of pictures.
func videoInputArgs(index int) []string {
	return append([]string{"-max_pixels", strconv.Itoa(maxPixels)}, inputArgs(index)...)
}

// inputArgs opens a Matroska pipe. Its header tells all there is to know, so nothing is read ahead to guess a frame rate.
func inputArgs(index int) []string {
	return []string{"-threads", "1", "-fpsprobesize", "0", "-f", "matroska", "-i", fmt.Sprintf("pipe:%d", firstExtraFD+index)}
}

// videoArgs is FFmpeg's command line for one segment.
func videoArgs(p videoPlan, cfg Config) []string {
	args := append(commonArgs(), "-copyts")
	for i := range p.pictures() {
		args = append(args, videoInputArgs(i)...)
	}
	for i := p.pictures(); i < p.inputs(); i++ {
		args = append(args, inputArgs(i)...)
	}
	args = append(args, "-filter_complex", p.graph(), "-map", "[out]", "-frames:v", strconv.FormatInt(p.frames, 10), "-fps_mode", "passthrough")
	args = append(args, encoderArgs(p, cfg)...)
	return append(args, "-f", "h264", "pipe:1")
}

// graph is the filter graph, one chain a line for whoever reads it in a log.
func (p videoPlan) graph() string {
	whole := recorder.Rect{W: p.canvas.W, H: p.canvas.H}
	var g graph
	switch {
	case p.paused:
		g.add(p.pausedCard(), whole)
	case len(p.regions) == 0:
		g.add(p.still(groundColor, whole, ""), whole)
	case len(p.regions) == 2 && p.strip == nil && sideBySide(p.regions[0].rect, p.regions[1].rect):
		return p.tiles()
	default:
		// The ground is laid around the lowest picture at that picture's own rate, which costs nothing while it is quiet.
		for i, r := range p.regions {
			if i > 0 {
				g.add(p.region(r, ""), r.rect)
				continue
			}
			g.add(p.region(r, onGround(r.rect, whole)), whole)
		}
	}
	if p.strip != nil && !p.paused {
		g.add(p.waveform(), p.strip.rect)
	}
	return g.stacked()
}

// graph collects chains and where their pictures go.
type graph struct {
	chains, labels, places []string
}

func (g *graph) add(chain string, rect recorder.Rect) {
	label := fmt.Sprintf("[v%d]", len(g.labels))
	g.chains, g.labels = append(g.chains, chain+label), append(g.labels, label)
	g.places = append(g.places, fmt.Sprintf("%d_%d", rect.X, rect.Y))
}

// stacked lays all pictures onto the first. xstack copies in the order of its inputs, so later ones lie over earlier ones.
func (g *graph) stacked() string {
	if len(g.labels) == 1 {
		return strings.TrimSuffix(g.chains[0], g.labels[0]) + "[out]"
	}
	stack := fmt.Sprintf("%sxstack=inputs=%d:layout=%s[out]", strings.Join(g.labels, ""), len(g.labels), strings.Join(g.places, "|"))
	return strings.Join(append(g.chains, stack), ";\n")
}

func sideBySide(a, b recorder.Rect) bool { return a.X+a.W <= b.X || b.X+b.W <= a.X }

// tiles puts two pictures that stand side by side onto tiles of the canvas' height, which copies every pixel once.
func (p videoPlan) tiles() string {
	left, right := p.regions[0], p.regions[1]
	if right.rect.X < left.rect.X {
		left, right = right, left
	}
	seam := right.rect.X
	return strings.Join([]string{
		p.region(left, onGround(left.rect, recorder.Rect{W: seam, H: p.canvas.H})) + "[v0]",
		p.region(right, onGround(right.rect, recorder.Rect{X: seam, W: p.canvas.W - seam, H: p.canvas.H})) + "[v1]",
		"[v0][v1]hstack=inputs=2[out]"}, ";\n")
}

// onGround lays the ground of a tile around a picture.
func onGround(picture, tile recorder.Rect) string {
	if picture == tile {
		return ""
	}
	return fmt.Sprintf(",pad=%d:%d:%d:%d:color=%s", tile.W, tile.H, picture.X-tile.X, picture.Y-tile.Y, groundColor)
}

// tagged marks frames as what they are by now, so that no later filter converts them again.
const tagged = "setsar=1,setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"

// hold repeats the last picture without end; the number of frames ends the run.
const hold = "tpad=stop=-1:stop_mode=clone"

// region is the chain of one picture: drop what is not shown, turn, scale, convert, lay on the ground, put on the grid.
func (p videoPlan) region(r regionPlan, ground string) string {
	if r.input < 0 {
		return p.still(cardColor, r.rect, cardMark(r.rect)+ground)
	}
	chain := []string{fmt.Sprintf("[%d:v]select='gte(t,%d)*not(mod(round(t*%d),2))'", r.input, originSeconds, ticksPerSecond)}
	switch r.rotation {
	case 90:
		chain = append(chain, "transpose=clock")
	case 180:
		chain = append(chain, "hflip", "vflip")
	case 270:
		chain = append(chain, "transpose=cclock")
	}
	flags := "bicubic" // text stays readable
	if r.moving {
		flags = "fast_bilinear"
	}
	scale := fmt.Sprintf("scale=%d:%d:flags=%s", r.rect.W, r.rect.H, flags)
	if r.fullRange {
		scale += ":in_range=pc:out_range=tv"
	}
	chain = append(chain, scale, "format=yuv420p")
	if r.matrix != bt709 {
		// The matrix alone changes: the colours of a screen are sRGB's in both worlds.
		chain = append(chain, fmt.Sprintf("colorspace=iall=%s:irange=tv:all=bt709:range=tv:format=yuv420p:fast=1", r.matrix))
	}
	chain = append(chain, tagged+ground,
		fmt.Sprintf("fps=fps=%d:round=down:eof_action=pass:start_time=%d", p.fps, originSeconds), fmt.Sprintf("setpts=PTS-%d/TB", originSeconds), hold)
	return strings.Join(chain, ",")
}

// still is a picture that never changes: drawn once, then repeated by reference.
func (p videoPlan) still(color string, rect recorder.Rect, draw string) string {
	return fmt.Sprintf("color=c=%s:s=%dx%d:r=%d,trim=end_frame=1,format=yuv420p%s,%s,%s", color, rect.W, rect.H, p.fps, draw, tagged, hold)
}

// cardMark draws a short bar in the middle of a placeholder.
func cardMark(r recorder.Rect) string {
	return box(r.W/2-r.W/16, r.H/2-r.H/80, r.W/8, r.H/40)
}

// pausedCard fills the canvas with two upright bars, which everybody reads as a pause.
func (p videoPlan) pausedCard() string {
	w, h := p.canvas.W, p.canvas.H
	bar := h / 20
	return p.still(groundColor, recorder.Rect{W: w, H: h}, box(w/2-bar*3/2, h/2-h/10, bar, h/5)+box(w/2+bar/2, h/2-h/10, bar, h/5))
}

func box(x, y, w, h int) string {
	return fmt.Sprintf(",drawbox=x=%d:y=%d:w=%d:h=%d:color=%s:t=fill", even(x), even(y), max(2, even(w)), max(2, even(h)), markColor)
}

func even(v int) int { return v &^ 1 }

// waveform draws the sound of all tracks as one strip. The sound is followed by silence, because showwaves gives no
// picture before it has a sample for every column, and hold waits for ever for a first one.
func (p videoPlan) waveform() string {
	s := p.strip
	var chains []string
	mix := ""
	for i, input := range s.inputs {
		chain := fmt.Sprintf("[%d:a]%s,aformat=sample_fmts=fltp:channel_layouts=mono", input, gapless)
		if len(s.inputs) > 1 {
			chain += fmt.Sprintf("[w%d]", i)
			mix += fmt.Sprintf("[w%d]", i)
		}
		chains = append(chains, chain)
	}
	joined := strings.Join(chains, ";\n")
	if len(s.inputs) > 1 {
		joined += fmt.Sprintf(";\n%samix=inputs=%d:duration=longest:dropout_transition=0:normalize=0", mix, len(s.inputs))
	}
	return fmt.Sprintf("%s,apad,showwaves=s=%dx%d:mode=cline:rate=%d:colors=%s,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,%s,fps=fps=%d:start_time=0,%s",
		joined, s.rect.W, s.rect.H, p.fps, waveColor, tagged, p.fps, hold)
}

// encoderArgs depend on the canvas, the rate and the configuration alone as far as the parameter sets go, whatever the
// quantizer: segments must join.
//
// The quantizer is constant: any kind of rate control keeps x264's look-ahead at work even where nothing changes, which
// costs a quarter more (0.40 against 0.29 CPU seconds a second of 3200x1080). The cap on the rate is kept from
// segment to segment instead; see governor.
func encoderArgs(p videoPlan, cfg Config) []string {
	x264 := "cabac=1:8x8dct=1:scenecut=0:keyint=100000:bframes=0:open-gop=0:stitchable=1"
	if cfg.Preset == "ultrafast" {
		x264 += ":ref=1:subme=0:no-deblock=1"
	}
	return []string{
		"-threads", "1", "-c:v", "libx264", "-preset", cfg.Preset, "-profile:v", "high", "-level:v", level(p.canvas, p.fps),
		"-qp", strconv.Itoa(p.qp), "-force_key_frames", p.forcedKeyframes(cfg),
		"-pix_fmt", "yuv420p", "-color_range", "tv", "-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709",
		"-x264-params", x264, "-bsf:v", "filter_units=remove_types=6",
	}
}

// forcedKeyframes says when keyframes come. FFmpeg rounds a listed time to the nearest frame.
func (p videoPlan) forcedKeyframes(cfg Config) string {
	if p.keyframes == nil {
		return "expr:gte(t,n_forced*" + strconv.FormatFloat(cfg.KeyframeInterval.Seconds(), 'f', -1, 64) + ")"
	}
	times := make([]string, len(p.keyframes))
	for i, n := range p.keyframes {
		times[i] = strconv.FormatFloat(float64(n)/float64(p.fps), 'f', 6, 64)
	}
	return strings.Join(times, ",")
}

// level is the lowest of H.264 (table A-1) that holds the canvas, so that the parameter sets do not depend on the rate.
func level(canvas recorder.Size, fps int) string {
	frame := ((canvas.W + 15) / 16) * ((canvas.H + 15) / 16)
	for _, l := range []struct {
		name        string
		frame, rate int
	}{{"3.1", 3600, 108000}, {"4.0", 8192, 245760}, {"4.2", 8704, 522240}, {"5.0", 22080, 589824}, {"5.1", 36864, 983040}, {"5.2", 36864, 2073600}} {
		if frame <= l.frame && frame*fps <= l.rate {
			return l.name
		}
	}
	return "6.0"
}
