package compose

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
)

// Capabilities is what an FFmpeg can and cannot do.
type Capabilities struct {
	Version string   // the first line of its -version, for instance "ffmpeg version 5.1.9-0+deb12u1 …"
	Missing []string // what a Composer needs and it has not, for instance "encoder libx264"
}

// requirement lists what a Composer needs, by the option with which FFmpeg lists what it has.
type requirement struct {
	option, kind string
	names        []string
}

var requirements = []requirement{
	{"-encoders", "encoder", []string{"libx264", "aac", "pcm_s16le", "pcm_u8"}},
	{"-decoders", "decoder", []string{"vp8", "vp9", "h264", "opus", "aac"}},
	{"-filters", "filter", []string{"aformat", "alimiter", "amix", "aresample", "asplit", "color", "colorspace", "drawbox", "format", "fps",
		"hflip", "pad", "pan", "scale", "select", "setparams", "setpts", "setsar", "showwaves", "tpad", "transpose", "trim", "vflip", "xstack"}},
	{"-muxers", "muxer", []string{"h264", "adts", "s16le", "u8", "null"}},
	{"-bsfs", "bitstream filter", []string{"filter_units"}},
	{"-demuxers", "demuxer", []string{"matroska,webm", "h264", "mov,mp4,m4a,3gp,3g2,mj2"}},
}

// MissingError: this FFmpeg cannot do the work.
type MissingError struct{ Capabilities }

// Error names what is missing.
func (e *MissingError) Error() string {
	return fmt.Sprintf("compose: %s lacks %s: install FFmpeg 5.1 or later built with libx264", e.Version, strings.Join(e.Missing, ", "))
}

// Probe asks FFmpeg what it is and has. Something missing is a *MissingError beside the facts; *StartError if it cannot be run at all.
func (c *Composer) Probe(ctx context.Context) (Capabilities, error) {
	version, err := c.ask(ctx, "-version")
	if err != nil {
		return Capabilities{}, err
	}
	first, _, _ := strings.Cut(version, "\n")
	found := Capabilities{Version: strings.TrimSpace(first)}
	for _, r := range requirements {
		text, err := c.ask(ctx, r.option)
		if err != nil {
			return found, err
		}
		found.Missing = append(found.Missing, r.missing(text)...)
	}
	options, err := c.ask(ctx, "-h", "long")
	if err != nil {
		return found, err
	}
	if !strings.Contains(options, "-fps_mode") {
		found.Missing = append(found.Missing, "option -fps_mode")
	}
	if len(found.Missing) > 0 {
		return found, &MissingError{found}
	}
	return found, nil
}

// missing reads a listing: flags first, then the name, or the name alone.
func (r requirement) missing(listing string) (missing []string) {
	have := map[string]bool{}
	for line := range strings.Lines(listing) {
		switch f := strings.Fields(line); len(f) {
		case 0:
		case 1:
			have[f[0]] = true
		default:
			have[f[1]] = true
		}
	}
	for _, name := range r.names {
		if !have[name] {
			missing = append(missing, r.kind+" "+name)
		}
	}
	return missing
}

func (c *Composer) ask(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	_, err := c.run(ctx, childRun{what: strings.Join(args, " "), args: append([]string{"-hide_banner"}, args...), outputs: []io.Writer{&out}, prompt: true})
	return out.String(), err
}
