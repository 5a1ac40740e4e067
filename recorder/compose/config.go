package compose

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Config sets a Composer up. The zero value of a field means its default.
type Config struct {
	FFmpegPath       string        // program name or path; default "ffmpeg"
	Nice             int           // added niceness of children, 0…19; default 19: capture goes first; -1 for none
	StallTimeout     time.Duration // a child that moves no byte for so long, though nobody keeps it waiting and it gets time to run, is ended; default 30 s
	TermGrace        time.Duration // between SIGTERM and SIGKILL; default 2 s
	Preset           string        // of x264; default "ultrafast" (with CABAC and 8x8 transform)
	QP               int           // quantizer of x264 while the rate allows it, 10…45, lower is better; default 28
	KeyframeInterval time.Duration // between keyframes of the output; default 10 s
	RepeatFrames     Switch        // encode only the frames on which something changes; default On
}

// Switch turns a feature on or off. The zero value leaves it at its default.
type Switch uint8

// The positions of a Switch.
const (
	Default Switch = iota
	On
	Off
)

// presets are those that x264 has, fast to slow.
var presets = []string{"ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"}

func (c Config) withDefaults() Config {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if c.FFmpegPath == "" {
		c.FFmpegPath = "ffmpeg"
	}
	if c.Nice == 0 {
		c.Nice = 19
	}
	if c.Preset == "" {
		c.Preset = "ultrafast"
	}
	if c.QP == 0 {
		c.QP = 28
	}
	if c.RepeatFrames == Default {
		c.RepeatFrames = On
	}
	def(&c.StallTimeout, 30*time.Second)
	def(&c.TermGrace, 2*time.Second)
	def(&c.KeyframeInterval, 10*time.Second)
	return c
}

// Validate returns every problem at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf("compose: "+format, args...)) }
	if c.Nice < -1 || c.Nice > 19 {
		refuse("nice %d is not within -1…19", c.Nice)
	}
	if c.QP < 10 || c.QP > 45 {
		refuse("qp %d is not within 10…45", c.QP)
	}
	known := false
	for _, p := range presets {
		known = known || p == c.Preset
	}
	if !known {
		refuse("preset %q is not one of %v", c.Preset, presets)
	}
	for name, d := range map[string]time.Duration{"stall timeout": c.StallTimeout, "term grace": c.TermGrace} {
		if d < 0 || d > time.Hour {
			refuse("%s %s is not within 0…1h", name, d)
		}
	}
	if c.KeyframeInterval < 500*time.Millisecond || c.KeyframeInterval > time.Minute {
		refuse("keyframe interval %s is not within 500ms…1m", c.KeyframeInterval)
	}
	if c.RepeatFrames > Off {
		refuse("repeat frames is %d: want Default, On or Off", c.RepeatFrames)
	}
	return errors.Join(errs...)
}

// Composer implements recorder.Composer. It is safe for concurrent use; every call runs one child.
type Composer struct {
	cfg      Config
	log      *slog.Logger
	governor *governor
	// unrepeatable: the encoder's stream has turned out not to take repeated pictures.
	unrepeatable atomic.Bool
}

var _ recorder.Composer = (*Composer)(nil)

// New returns a Composer. It starts nothing: call Probe once before work begins.
func New(cfg Config, log *slog.Logger) (*Composer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Composer{cfg: cfg, log: log, governor: newGovernor(cfg.QP)}, nil
}
