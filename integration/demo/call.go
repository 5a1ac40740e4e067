package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// call is one captured call and what became of it.
type call struct {
	folder, out string // below -media and -out
	captured    *player.Call
	result      player.Result
	lagMs       int
	facts       facts
}

var (
	callVP8  = call{folder: "chrome-vp8", out: "call.mp4"}
	callH264 = call{folder: "chrome-h264", out: "call-h264.mp4"}
)

// loadCalls reads the captures. The VP8 call must be there; the H.264 call may be missing.
func (d *demo) loadCalls() ([]*call, error) {
	var calls []*call
	for _, c := range []call{callVP8, callH264} {
		dir := filepath.Join(d.media, c.folder)
		if _, err := os.Stat(dir); c.folder == callH264.folder && errors.Is(err, os.ErrNotExist) {
			d.screen.say("There is no %s: only the VP8 call is recorded.", dir)
			continue
		}
		var err error
		if c.captured, err = player.Load(dir); err != nil {
			return nil, err
		}
		calls = append(calls, &c)
	}
	return calls, nil
}

const queue = "demo"

// record plays all calls at once, each as an SFU forwards it: RTP and RTCP over UDP, commands over GraphQL.
func (d *demo) record(ctx context.Context, a access, calls []*call) error {
	d.screen.say("\nRecording %d call(s) of a real browser, in real time:", len(calls))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var players, watch sync.WaitGroup
	errs := make([]error, len(calls))
	for i, c := range calls {
		players.Go(func() { errs[i] = d.play(ctx, a, c) })
	}
	watched, stopWatching := context.WithCancel(ctx)
	watch.Go(func() { d.watchLag(watched, a, calls) })
	players.Wait()
	stopWatching()
	watch.Wait()
	d.screen.end()
	return errors.Join(errs...)
}

func (d *demo) play(ctx context.Context, a access, c *call) error {
	var err error
	c.result, err = player.Run(ctx, player.Config{
		Endpoint: d.server.URL + "/graphql", APIKey: a.service, PlaybackKey: a.viewer,
		Call: c.captured, ExternalID: c.folder, Queue: queue, Agent: "agent-17",
		Out: filepath.Join(d.out, c.out), Timeout: 5 * time.Minute,
		Progress: func(p player.Progress) { d.screen.progress(c.folder, p) }})
	if err != nil {
		return fmt.Errorf("record %s: %w", c.folder, err)
	}
	if c.result.Capture != "AVAILABLE" {
		return fmt.Errorf("record %s: the recording is %s, not AVAILABLE", c.folder, c.result.Capture)
	}
	return nil
}

// watchLag asks the API twice a second how far composing is behind, and keeps the largest answer of each call.
func (d *demo) watchLag(ctx context.Context, a access, calls []*call) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		lags, err := d.lags(ctx, a)
		if err != nil {
			continue // the players report a server that does not answer
		}
		for _, c := range calls {
			c.lagMs = max(c.lagMs, lags[c.folder])
		}
	}
}

// lags maps the calls' ids to composeLagMs.
func (d *demo) lags(ctx context.Context, a access) (map[string]int, error) {
	var out struct {
		Recordings struct {
			Edges []struct {
				Node struct {
					Session      struct{ ExternalID string }
					ComposeLagMs int
				}
			}
		}
	}
	err := d.server.MustQuery(ctx, a.service, `query($queue: String!) { recordings(first: 10, filter: { queue: [$queue] }) {
		edges { node { session { externalId } composeLagMs } } } }`, map[string]any{"queue": queue}, &out)
	lags := map[string]int{}
	for _, e := range out.Recordings.Edges {
		lags[e.Node.Session.ExternalID] = e.Node.ComposeLagMs
	}
	return lags, err
}

// grantFor is how long the URL that the demo ends with is good: the longest that the server gives.
const grantFor = 12 * time.Hour

// grant asks for a signed URL that outlives the demo.
func (d *demo) grant(ctx context.Context, a access, recordingID string) (string, error) {
	var out struct {
		GrantPlayback struct {
			Grant      struct{ VideoURL string }
			UserErrors player.UserErrors
		}
	}
	err := d.server.MustQuery(ctx, a.viewer, `mutation($input: GrantPlaybackInput!) { grantPlayback(input: $input) {
		grant { videoUrl } userErrors { field message code } } }`,
		map[string]any{"input": map[string]any{"recordingId": recordingID, "ttlSeconds": int(grantFor.Seconds()), "purpose": "demo"}}, &out)
	switch {
	case err != nil:
		return "", fmt.Errorf("grantPlayback: %w", err)
	case len(out.GrantPlayback.UserErrors) > 0:
		return "", fmt.Errorf("grantPlayback: %w", out.GrantPlayback.UserErrors)
	}
	return out.GrantPlayback.Grant.VideoURL, nil
}
