package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	stderrBytes  = 4 << 10
	copyBytes    = 64 << 10
	firstExtraFD = 3 // os/exec numbers ExtraFiles from here
)

// feed writes one input. It must return when a write fails or its context ends.
type feed func(ctx context.Context, p *pump) error

// childRun describes one run of FFmpeg. Inputs are pipe:3, pipe:4 …; the first output is pipe:1, further ones follow the inputs.
type childRun struct {
	what    string
	args    []string
	inputs  []feed
	outputs []io.Writer
	prompt  bool // somebody waits for it: it keeps the recorder's own niceness
}

// errChildEnded is the cause with which feeders are stopped when the child is gone.
var errChildEnded = errors.New("compose: the child has ended")

// activity tells whether a child that moves nothing is itself to blame.
type activity struct {
	bytes   atomic.Uint64
	outside atomic.Int64 // goroutines that wait for a source or a consumer
}

// waitOutside marks a wait for somebody other than the child.
func (a *activity) waitOutside() (done func()) {
	a.outside.Add(1)
	return func() {
		a.bytes.Add(1) // what follows is the child's time: the clock starts anew
		a.outside.Add(-1)
	}
}

// pump is the writing end of one input.
type pump struct {
	w        io.Writer
	activity *activity
}

// Write counts what the child takes.
func (p *pump) Write(b []byte) (int, error) {
	total := 0
	for len(b) > 0 { // in pieces, so that a slow child is seen to move
		n, err := p.w.Write(b[:min(len(b), copyBytes)])
		p.activity.bytes.Add(uint64(n))
		total += n
		if err != nil {
			return total, err
		}
		b = b[n:]
	}
	return total, nil
}

// run starts the child, feeds and drains it, and returns when it and all goroutines have ended. stderr is what it said.
func (c *Composer) run(ctx context.Context, r childRun) (stderr string, err error) {
	if ctx.Err() != nil {
		return "", fmt.Errorf("compose: %s: %w", r.what, context.Cause(ctx))
	}
	pipes, err := openPipes(len(r.inputs), len(r.outputs))
	if err != nil {
		return "", fmt.Errorf("compose: %s: %w", r.what, err)
	}
	defer pipes.close()
	child, err := c.start(r, pipes)
	pipes.closeTheirs()
	if err != nil {
		return "", err
	}
	return c.attend(ctx, r, child, pipes)
}

// attend runs the goroutines of one child to their end.
func (c *Composer) attend(ctx context.Context, r childRun, child *child, pipes *pipeSet) (string, error) {
	act := &activity{}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var feeders, drains sync.WaitGroup
	failures := make(chan error, len(r.inputs)+len(r.outputs))
	for i, feed := range r.inputs {
		feeders.Go(func() {
			err := feed(ctx, &pump{w: pipes.in[i], activity: act})
			err = errors.Join(err, pipes.in[i].Close())
			// Once the context is done, its cause is the story and not what a source makes of it.
			if err != nil && !childGone(err) && ctx.Err() == nil {
				failures <- err
				cancel(err)
			}
		})
	}
	for i, w := range r.outputs {
		drains.Go(func() {
			if err := drain(w, pipes.out[i], act); err != nil {
				failures <- err
				cancel(err)
			}
		})
	}
	tail := &tailBuffer{}
	drains.Go(func() { _, _ = io.Copy(tail, pipes.stderr) })

	stalled := c.watch(ctx, child, act)
	child.killGroup() // whatever it left behind would hold the pipes open
	// A parent that was cancelled stays the cause; feeders that wait for a source end now.
	outer := context.Cause(ctx)
	cancel(errChildEnded)
	pipes.closeInputs()
	drains.Wait()
	feeders.Wait()
	stderr := tail.String()
	switch {
	case len(failures) > 0:
		return stderr, fmt.Errorf("compose: %s: %w", r.what, <-failures)
	case outer != nil:
		return stderr, fmt.Errorf("compose: %s: %w", r.what, outer)
	case stalled:
		return stderr, &StallError{What: r.what, Timeout: c.cfg.StallTimeout, Stderr: stderr}
	}
	return stderr, child.verdict(r.what, stderr)
}

// watch waits for the child's end and brings it about when the context ends or the child stalls.
func (c *Composer) watch(ctx context.Context, child *child, act *activity) (stalled bool) {
	tick := time.NewTicker(max(c.cfg.StallTimeout/8, time.Millisecond))
	defer tick.Stop()
	p := progress{limit: c.cfg.StallTimeout, since: time.Now()}
	for {
		select {
		case <-child.done:
			return false
		case <-ctx.Done():
			child.stop(c.cfg.TermGrace)
			return false
		case now := <-tick.C:
			used, _ := processorTime(child.pid)
			if p.stalled(now, act.bytes.Load(), act.outside.Load() > 0, used) {
				child.stop(c.cfg.TermGrace)
				return true
			}
		}
	}
}

// progress judges a child by what it moves and uses.
type progress struct {
	limit time.Duration
	since time.Time // when it last did something
	bytes uint64
	moved time.Duration // processor time when it last moved a byte
	used  time.Duration // … and when looked at last
}

// stalled tells a child that hangs (it moves nothing and uses no time for the limit) or turns in circles (it uses as much
// time as the limit for one byte) from one that gets hardly any time on a busy machine. waits: somebody outside keeps it
// waiting.
func (p *progress) stalled(now time.Time, bytes uint64, waits bool, used time.Duration) bool {
	switch {
	case bytes != p.bytes || waits:
		p.since, p.bytes, p.moved, p.used = now, bytes, used, used
	case used > p.used && used-p.moved < p.limit:
		p.since, p.used = now, used
	}
	return now.Sub(p.since) >= p.limit || used-p.moved >= p.limit
}

// drain copies an output to its consumer.
func drain(w io.Writer, r io.Reader, act *activity) error {
	buf := make([]byte, copyBytes)
	for {
		n, err := r.Read(buf)
		act.bytes.Add(uint64(n))
		if n > 0 {
			done := act.waitOutside()
			_, failed := w.Write(buf[:n])
			done()
			if failed != nil {
				return failed
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return err
		}
	}
}

// childGone tells errors of a feeder that only say that the child no longer reads.
func childGone(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) || errors.Is(err, errChildEnded)
}

// child is a started process.
type child struct {
	pid  int
	done chan struct{} // closed when it was waited for
	end  *os.ProcessState
	err  error
}

// start starts FFmpeg. One goroutine, locked to its thread, starts and awaits the child: the kernel ties the
// parent-death signal to the thread, which must therefore live as long as the child (prctl(2), PR_SET_PDEATHSIG).
func (c *Composer) start(r childRun, pipes *pipeSet) (*child, error) {
	cmd := exec.Command(c.cfg.FFmpegPath, r.args...)
	cmd.Stderr, cmd.ExtraFiles = pipes.theirStderr, pipes.theirExtra
	if len(pipes.theirOut) > 0 {
		cmd.Stdout = pipes.theirOut[0]
	}
	cmd.Env = childEnv()
	cmd.SysProcAttr = childAttributes()
	ch := &child{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(ch.done)
		err := cmd.Start()
		if err == nil {
			ch.pid = cmd.Process.Pid
			if !r.prompt {
				c.renice(ch.pid)
			}
		}
		started <- err
		if err == nil {
			ch.err = cmd.Wait()
			ch.end = cmd.ProcessState
		}
	}()
	if err := <-started; err != nil {
		<-ch.done
		return nil, &StartError{Path: c.cfg.FFmpegPath, Err: err}
	}
	return ch, nil
}

// childEnv gives the child what it needs to find libraries and speak English, and nothing of ours: an environment may hold secrets.
func childEnv() []string {
	env := []string{"LC_ALL=C", "AV_LOG_FORCE_NOCOLOR=1"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

func (c *Composer) renice(pid int) {
	if c.cfg.Nice <= 0 {
		return
	}
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, pid, c.cfg.Nice); err != nil {
		c.log.Debug("niceness not set", "pid", pid, "nice", c.cfg.Nice, "error", err)
	}
}

// stop asks the whole group to end, insists after the grace, and waits.
func (ch *child) stop(grace time.Duration) {
	_ = syscall.Kill(-ch.pid, syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ch.done:
	case <-timer.C:
		ch.killGroup()
		<-ch.done
	}
}

func (ch *child) killGroup() { _ = syscall.Kill(-ch.pid, syscall.SIGKILL) }

func (ch *child) verdict(what, stderr string) error {
	if ch.err == nil {
		return nil
	}
	e := &ExitError{What: what, Code: -1, Stderr: stderr}
	if ch.end != nil {
		e.Code = ch.end.ExitCode()
		if status, ok := ch.end.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			e.Signal = status.Signal()
		}
	}
	return e
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct{ b []byte }

// Write never fails.
func (t *tailBuffer) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*stderrBytes {
		t.b = append(t.b[:0], t.b[len(t.b)-stderrBytes:]...)
	}
	return len(p), nil
}

// String returns at most stderrBytes of valid text.
func (t *tailBuffer) String() string {
	b := t.b[max(0, len(t.b)-stderrBytes):]
	return strings.ToValidUTF8(string(bytes.TrimSpace(b)), "?")
}
