package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// progress shows how far a run is: one line that is written over on a terminal, else a line now and then.
type progress struct {
	w        io.Writer
	terminal bool
	now      func() time.Time
	phase    string
	last     time.Time
	drawn    bool // the cursor stands behind a line
}

// plainEvery is how often a plain line is written within a phase.
const plainEvery = 5 * time.Second

func newProgress(w io.Writer, plain bool) *progress {
	return &progress{w: w, terminal: !plain && isTerminal(w), now: time.Now}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) tell(s player.Progress) {
	text := describe(s)
	if p.terminal {
		_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", text)
		p.drawn = true
		return
	}
	key := s.Phase + s.Capture
	if now := p.now(); key != p.phase || now.Sub(p.last) >= plainEvery {
		p.phase, p.last = key, now
		_, _ = fmt.Fprintln(p.w, text)
	}
}

// end leaves the line, so that what follows begins on a new one.
func (p *progress) end() {
	if p.drawn {
		_, _ = fmt.Fprintln(p.w)
		p.drawn = false
	}
}

func describe(s player.Progress) string {
	switch s.Phase {
	case "start":
		return "starting the recording"
	case "play":
		return fmt.Sprintf("playing %s of %s, %d packets sent, %d keyframes asked for",
			clock(s.At), clock(s.Total), s.Sent, s.PLI)
	case "compose":
		return fmt.Sprintf("waiting: %s, %.1f s behind", s.Capture, float64(s.LagMs)/1000)
	case "download":
		return "downloading the video"
	}
	return "done: " + s.Capture
}

func clock(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}
