package graph

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/dualrec/dualrec/recorder"
)

// Resolver is the root of all resolvers.
type Resolver struct {
	reads        reads
	cmd          commands
	watch        watcher
	viewURL      string
	capabilities json.RawMessage
}

func newResolver(cfg Config, deps Deps) (*Resolver, error) {
	secret := cfg.Secret
	if len(secret) == 0 {
		var err error
		if secret, err = randomSecret(); err != nil {
			return nil, err
		}
	}
	seal, err := newSealer(secret)
	if err != nil {
		return nil, err
	}
	caps, err := json.Marshal(recorder.Capabilities())
	if err != nil {
		return nil, fmt.Errorf("graph: capabilities: %w", err)
	}
	r := reads{db: deps.Reader, seal: seal, live: deps.Recorder.Live}
	return &Resolver{
		reads:        r,
		cmd:          commands{rec: deps.Recorder, play: deps.Playback, ingest: deps.Ingest, review: deps.Reviews, reads: r},
		watch:        watcher{bus: deps.Events, seal: seal, heartbeat: cfg.Heartbeat, tick: cfg.Tick, log: deps.Log},
		viewURL:      strings.TrimSuffix(cfg.PublicURL, "/") + "/recordings/",
		capabilities: caps,
	}, nil
}
