package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// screen is what the user sees: lines, and one line of progress that is written over on a terminal and repeated now
// and then elsewhere. It is safe for concurrent use.
type screen struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	names    []string // of the calls, in the order they began
	state    map[string]string
	last     time.Time
	drawn    bool // the cursor stands behind a line of progress
}

func newScreen(w io.Writer) *screen {
	s := &screen{w: w, state: map[string]string{}}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return s
}

func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked()
	_, _ = fmt.Fprintf(s.w, format+"\n", args...)
}

// command shows what is about to be run, as one would type it.
func (s *screen) command(format string, args ...any) { s.say("$ "+format, args...) }

// plainEvery is how often progress is repeated where it cannot be written over.
const plainEvery = 5 * time.Second

func (s *screen) progress(name string, p player.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
	s.state[name] = describe(p)
	var parts []string
	for _, n := range s.names {
		parts = append(parts, n+": "+s.state[n])
	}
	line := strings.Join(parts, " | ")
	switch now := time.Now(); {
	case s.terminal:
		_, _ = fmt.Fprintf(s.w, "\r\x1b[K  %s", line)
		s.drawn = true
	case now.Sub(s.last) >= plainEvery || p.Phase == "done":
		s.last = now
		_, _ = fmt.Fprintf(s.w, "  %s\n", line)
	}
}

func describe(p player.Progress) string {
	switch p.Phase {
	case "start":
		return "starting"
	case "play":
		return fmt.Sprintf("%d of %d s", int(p.At.Seconds()), int(p.Total.Seconds()))
	case "compose":
		return fmt.Sprintf("%s, %.1f s to compose", p.Capture, float64(p.LagMs)/1000)
	case "download":
		return "fetching the video"
	}
	return p.Capture
}

// end leaves the line of progress.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked()
}

func (s *screen) endLocked() {
	if s.drawn {
		_, _ = fmt.Fprintln(s.w)
		s.drawn = false
	}
}
