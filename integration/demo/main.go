// Command demo shows dualrec at work on one machine. It starts the compiled server with an empty data folder, makes a
// tenant and keys by the command line, plays captured calls to it as an SFU would, fetches the finished videos through
// signed URLs and measures them with media tools.
//
// Standard output has two lines: the playback URL, and one line of JSON with what was measured. Everything else goes to
// standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dualrec/dualrec/integration/harness"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const usage = `demo records captured calls through the compiled server and measures what comes out.

  go run ./integration/demo -bin bin/dualrec -out demo

It leaves call.mp4 (VP8) and call-h264.mp4 (H.264), the server's data folder and its log in the -out folder. Standard
output has two lines: the playback URL and one line of JSON about call.mp4:

  durationMs, videoCodec, audioCodec, width, height, fps, sizeBytes   as ffprobe says
  composeLagMs   the largest that the API reported from the call's start until the video was there. Composing goes by
                 segments of 10 s, so about 10 s of it are the segment that is still being captured
  avSkewMs       the largest distance of a flash from its beep over all markers of webcam and screen

Exit code 0: all went well; 1: something failed, with the end of the server's log; 2: the flags are wrong.

Flags:
`

// options are the flags.
type options struct {
	bin, out, media string
	keep            bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&o.bin, "bin", "bin/dualrec", "the compiled `server`")
	f.StringVar(&o.out, "out", "demo", "`folder` for the videos, the server's data (made anew each time) and its log")
	f.StringVar(&o.media, "media", "testdata/media", "`folder` with the captured calls chrome-vp8 and, if there is one, chrome-h264")
	f.BoolVar(&o.keep, "keep", false, "keep the server running afterwards, until Ctrl-C")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var errs []error
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", f.Arg(0)))
	}
	if o.out == "" || filepath.Clean(o.out) == "/" {
		errs = append(errs, fmt.Errorf("-out %q: name a folder of its own", o.out))
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
		_, _ = fmt.Fprintf(stderr, "demo: %v\nSee -help.\n", err)
		return exitUsage
	}
	d := &demo{options: o, screen: newScreen(stderr)}
	if err := d.all(ctx, stdout); err != nil {
		d.screen.say("")
		d.screen.say("demo: %v", err)
		if d.server != nil && ctx.Err() == nil {
			d.screen.say("\nThe end of the server's log (all of it: %s):\n%s", d.logPath(), tail(d.server.Log.String(), 30))
		}
		return exitFailed
	}
	return 0
}

// tail is the last n lines.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// demo is one run.
type demo struct {
	options
	screen *screen
	server *harness.Server
	log    *os.File
	ended  bool // stop was called
}

func (d *demo) dataPath() string { return filepath.Join(d.out, "data") }
func (d *demo) logPath() string  { return filepath.Join(d.out, "server.log") }

func (d *demo) all(ctx context.Context, stdout io.Writer) (err error) {
	calls, err := d.loadCalls()
	if err != nil {
		return err
	}
	if err := d.start(ctx); err != nil {
		return errors.Join(err, d.stop())
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	access, err := d.makeTenant(ctx)
	if err != nil {
		return err
	}
	if err := d.record(ctx, access, calls); err != nil {
		return err
	}
	for _, c := range calls {
		if err := d.measure(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.out, err)
		}
	}
	url, err := d.grant(ctx, access, calls[0].result.RecordingID)
	if err != nil {
		return err
	}
	if !d.keep {
		if err := d.stop(); err != nil {
			return err
		}
	}
	d.farewell(calls)
	line, err := json.Marshal(calls[0].facts)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(stdout, "%s\n%s\n", url, line); err != nil {
		return err
	}
	if d.keep {
		<-ctx.Done()
	}
	return nil
}

// farewell says what was made and how to see it again.
func (d *demo) farewell(calls []*call) {
	d.screen.say("")
	for _, c := range calls {
		d.screen.say("%s", c.facts.sentence(c.out))
	}
	listen := strings.TrimPrefix(d.server.URL, "http://")
	if d.keep {
		d.screen.say("\nThe server runs until Ctrl-C. This URL plays the first call for %.0f hours:\n", grantFor.Hours())
		return
	}
	d.screen.say("\nThe server is stopped. Start it again to play the first call by its signed URL, which is good for %.0f hours:\n", grantFor.Hours())
	d.screen.say("  %s serve --data %s --listen %s\n", d.bin, d.dataPath(), listen)
}
