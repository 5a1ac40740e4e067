// Command bench measures the compiled server with real calls: processor time, memory, delay and rate of each layout,
// beside a plain FFmpeg command over the same pictures, and compares with what the project aims at.
//
// Processor time is what the kernel accounts to the server process and to the FFmpeg children that it has reaped
// (/proc/PID/stat), so anything else that runs on the machine disturbs the delays but not the processor time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Exit codes. A missed aim is a result and not a failure.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const helpText = `bench plays captured calls to the compiled server and measures what they cost.

  go run ./integration/bench -bin bin/dualrec

The tables go to standard output, progress to standard error. Exit code 0: everything was measured; 1: something failed;
2: the flags are wrong.

Flags:
`

// options are the flags.
type options struct {
	bin, media string
	duration   time.Duration
	long       bool
	only       []string // names of steps; empty: all
}

// longCall is the length of the call that the aim for the delay speaks of.
const longCall = 10 * time.Minute

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		_, _ = io.WriteString(stderr, helpText)
		f.PrintDefaults()
	}
	f.StringVar(&o.bin, "bin", "bin/dualrec", "the compiled `server`")
	f.StringVar(&o.media, "media", filepath.Join("testdata", "media", "chrome-vp8"), "`folder` of a captured VP8 call; longer runs repeat it")
	f.DurationVar(&o.duration, "duration", 20*time.Second, "`length` of each call")
	f.BoolVar(&o.long, "long", false, fmt.Sprintf("also a call of %v", longCall))
	var names []string
	for _, s := range (&bench{}).steps() {
		names = append(names, s.name)
	}
	f.Func("only", "measure only these `steps`, of "+strings.Join(names, ", "), func(v string) error {
		o.only = strings.Split(v, ",")
		for _, name := range o.only {
			if !slices.Contains(names, name) {
				return fmt.Errorf("there is no step %q", name)
			}
		}
		return nil
	})
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var errs []error
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", f.Arg(0)))
	}
	if o.duration < 5*time.Second || o.duration > time.Hour {
		errs = append(errs, fmt.Errorf("-duration %v is not within 5s…1h", o.duration))
	}
	if info, err := os.Stat(o.bin); err != nil || info.IsDir() {
		errs = append(errs, fmt.Errorf("-bin %q is no program: run `make build` first", o.bin))
	}
	return o, errors.Join(errs...)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "bench: %v\nSee -help.\n", err)
		return exitUsage
	}
	r, err := measureAll(ctx, o, func(format string, a ...any) { _, _ = fmt.Fprintf(stderr, format+"\n", a...) })
	r.print(stdout) // what was measured before a failure is worth having
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "bench: %v\n", err)
		return exitFailed
	}
	return 0
}

// step is one measurement.
type step struct {
	name string
	run  func(context.Context, *report) error
}

func (b *bench) steps() []step {
	return []step{{"memory", b.memory}, {"capture", b.captureAlone}, {"streams", b.streams}, {"flood", b.flood}, {"layouts", b.layouts},
		{"long", b.longRun}, {"baselines", b.baselines}}
}

// measureAll makes all measurements, one after the other: two at once would measure each other.
func measureAll(ctx context.Context, o options, say func(string, ...any)) (report, error) {
	r := report{seconds: o.duration.Seconds()}
	dir, err := os.MkdirTemp("", "dualrec-bench-")
	if err != nil {
		return r, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{options: o, dir: dir, say: say}
	if err := b.prepare(ctx); err != nil {
		return r, err
	}
	r.headMissing = b.headErr
	for _, step := range b.steps() {
		if len(o.only) > 0 && !slices.Contains(o.only, step.name) {
			continue
		}
		if err := step.run(ctx, &r); err != nil {
			return r, err
		}
	}
	return r, nil
}
