package player

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pion/rtp"
)

// Call is a captured call.
type Call struct {
	Tracks []Track
}

// Track is one captured track.
type Track struct {
	Name          string // e.g. "screen-1"
	Source        string // "screen", "webcam" or "mic"
	RTPParameters json.RawMessage
	SSRC          uint32
	ClockRate     int // Hz
	Repair        Repair
	Packets       []Packet
}

// Kind is the API's TrackKind. The microphone is the agent's.
func (t Track) Kind() string {
	return map[string]string{"screen": "SCREEN", "webcam": "WEBCAM", "mic": "AGENT_AUDIO"}[t.Source]
}

// Packet is one datagram, as it went over the wire.
type Packet struct {
	At   time.Duration // since the capture's start
	RTCP bool
	Data []byte
}

// Load reads a folder with tracks.json and one rtpdump file per track.
func Load(dir string) (*Call, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "tracks.json"))
	if err != nil {
		return nil, fmt.Errorf("read call: %w", err)
	}
	var info struct {
		Tracks []struct {
			Name          string          `json:"name"`
			Source        string          `json:"source"`
			File          string          `json:"file"`
			RTPParameters json.RawMessage `json:"rtpParameters"`
		} `json:"tracks"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		return nil, fmt.Errorf("read call: %s: %w", filepath.Join(dir, "tracks.json"), err)
	}
	call := &Call{}
	for _, t := range info.Tracks {
		track, err := loadTrack(filepath.Join(dir, filepath.Base(t.File)), Track{Name: t.Name, Source: t.Source, RTPParameters: t.RTPParameters})
		if err != nil {
			return nil, fmt.Errorf("read call: track %s: %w", t.Name, err)
		}
		call.Tracks = append(call.Tracks, track)
	}
	if len(call.Tracks) == 0 {
		return nil, fmt.Errorf("read call: %s names no tracks", dir)
	}
	return call, nil
}

func loadTrack(path string, t Track) (Track, error) {
	if t.Kind() == "" {
		return t, fmt.Errorf("source %q is none of screen, webcam, mic", t.Source)
	}
	var params struct {
		Codecs    []struct{ ClockRate int }
		Encodings []struct{ SSRC uint32 }
	}
	if err := json.Unmarshal(t.RTPParameters, &params); err != nil {
		return t, fmt.Errorf("rtpParameters: %w", err)
	}
	if len(params.Codecs) == 0 || params.Codecs[0].ClockRate <= 0 || len(params.Encodings) == 0 {
		return t, errors.New("rtpParameters have no codec with a clock rate or no encoding")
	}
	t.ClockRate, t.SSRC = params.Codecs[0].ClockRate, params.Encodings[0].SSRC
	raw, err := os.ReadFile(path)
	if err != nil {
		return t, err
	}
	if t.Packets, err = ParseDump(raw); err != nil {
		return t, fmt.Errorf("%s: %w", path, err)
	}
	if _, _, err := t.media(); err != nil {
		return t, err
	}
	return t, nil
}

// Select keeps the tracks of the named sources, in the call's order.
func (c *Call) Select(sources ...string) (*Call, error) {
	out := &Call{}
	for _, s := range sources {
		if !slices.ContainsFunc(c.Tracks, func(t Track) bool { return t.Source == s }) {
			return nil, fmt.Errorf("the call has no track %q", s)
		}
	}
	for _, t := range c.Tracks {
		if slices.Contains(sources, t.Source) {
			out.Tracks = append(out.Tracks, t)
		}
	}
	return out, nil
}

// media describes the RTP packets of one pass.
func (t Track) media() (first, last rtp.Header, err error) {
	n := 0
	for _, p := range t.Packets {
		if p.RTCP {
			continue
		}
		var h rtp.Header
		if _, err := h.Unmarshal(p.Data); err != nil {
			return first, last, fmt.Errorf("packet at %v: %w", p.At, err)
		}
		if n == 0 {
			first = h
		}
		last = h
		n++
	}
	if n < 2 {
		return first, last, errors.New("fewer than two RTP packets")
	}
	return first, last, nil
}
