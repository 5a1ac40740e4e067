// Command callplayer plays a captured call to a running recorder as an SFU would, and fetches the video.
//
// It starts a recording over GraphQL, attaches the tracks, sends their RTP and RTCP at the recorded times, stops the
// recording, waits for it, and prints one line of JSON about what came out. Progress goes to standard error.
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
	"strings"
	"syscall"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
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

const usage = `callplayer plays a captured call to a running recorder as an SFU would, and fetches the video.

  callplayer -endpoint http://127.0.0.1:8080/graphql -api-key KEY -call testdata/media/chrome-vp8 -out call.mp4

It prints one line of JSON on standard output: recordingId, capture, viewUrl, videoUrl and what was sent and
received per track. Exit code 0: the video is there; 1: it is not; 2: the flags are wrong.

Flags:
`

// options are the flags.
type options struct {
	call, tracks string
	plain        bool
	config       player.Config
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	c := &o.config
	f := flag.NewFlagSet("callplayer", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		f.PrintDefaults()
	}
	f.StringVar(&c.Endpoint, "endpoint", "http://127.0.0.1:8080/graphql", "GraphQL `URL` of the recorder")
	f.StringVar(&c.APIKey, "api-key", os.Getenv("DUALREC_API_KEY"), "API `key` of role SERVICE or ADMIN; default $DUALREC_API_KEY")
	f.StringVar(&c.PlaybackKey, "playback-key", os.Getenv("DUALREC_PLAYBACK_KEY"), "`key` or token that may play recordings; default $DUALREC_PLAYBACK_KEY, then -api-key")
	f.StringVar(&o.call, "call", "testdata/media/chrome-vp8", "`folder` of the captured call: tracks.json and rtpdump files")
	f.StringVar(&o.tracks, "tracks", "screen,webcam,mic", "comma-separated `list` of the tracks to play")
	f.StringVar(&c.ExternalID, "external-id", "", "externalSessionId; default: a new one")
	f.StringVar(&c.Queue, "queue", "demo", "`queue` of the call")
	f.StringVar(&c.Agent, "agent", "callplayer", "`agent` of the call")
	f.StringVar(&c.Layout, "layout", "", "`layout`, e.g. SIDE_BY_SIDE; default: the queue's")
	f.Float64Var(&c.Speed, "speed", 1, "play `N` times as fast")
	f.DurationVar(&c.Duration, "duration", 0, "stop after this `time` of the call, e.g. 10m; default: the whole call")
	f.BoolVar(&c.Loop, "loop", false, "repeat the call until -duration, with sequence numbers, timestamps and sender reports going on")
	f.BoolVar(&c.RTCPMux, "rtcp-mux", false, "send RTCP on the RTP port")
	f.StringVar(&c.SourceIP, "source-ip", "127.0.0.1", "local `IP` to send from; it is announced as the SFU's")
	f.StringVar(&c.Out, "out", "", "`file` for the video; default: it is not downloaded")
	f.DurationVar(&c.Timeout, "timeout", 10*time.Minute, "how long to wait for the video after the call")
	f.BoolVar(&o.plain, "plain", false, "progress as lines, also on a terminal")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	return o, o.check(f.Args())
}

// check returns every problem at once.
func (o *options) check(rest []string) error {
	var errs []error
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if o.config.APIKey == "" {
		errs = append(errs, errors.New("-api-key is missing: make one with `dualrec apikey create`"))
	}
	if o.config.Speed <= 0 {
		errs = append(errs, fmt.Errorf("-speed %v is not above 0", o.config.Speed))
	}
	if o.config.Loop && o.config.Duration <= 0 {
		errs = append(errs, errors.New("-loop needs -duration"))
	}
	if o.config.ExternalID == "" {
		o.config.ExternalID = "callplayer-" + time.Now().UTC().Format("20060102T150405.000000")
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "callplayer: %v\nSee callplayer -help.\n", err)
		return exitUsage
	}
	call, err := player.Load(o.call)
	if err == nil {
		call, err = call.Select(strings.Split(o.tracks, ",")...)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "callplayer: %v\n", err)
		return exitUsage
	}
	o.config.Call = call
	show := newProgress(stderr, o.plain)
	o.config.Progress = show.tell
	result, err := player.Run(ctx, o.config)
	show.end()
	if result.RecordingID != "" {
		if encodeErr := json.NewEncoder(stdout).Encode(result); err == nil {
			err = encodeErr
		}
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "callplayer: %v\n", err)
		return exitFailed
	}
	return 0
}
