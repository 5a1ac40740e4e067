package depacketize

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// capture is one track of testdata/media: what a recorder received.
type capture struct {
	params  recorder.RTPParameters
	packets []recorded
}

type recorded struct {
	at   time.Duration
	rtcp bool
	data []byte
}

// readCapture loads one track of a call and its parameters.
func readCapture(t testing.TB, call, track string) capture {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", "media", call)
	raw, err := os.ReadFile(filepath.Join(dir, "tracks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Tracks []struct {
			Name          string          `json:"name"`
			Source        string          `json:"source"`
			RTPParameters json.RawMessage `json:"rtpParameters"`
		} `json:"tracks"`
	}
	if err := json.Unmarshal(raw, &info); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]recorder.TrackKind{"screen": recorder.Screen, "webcam": recorder.Webcam, "mic": recorder.AgentAudio}
	for _, tr := range info.Tracks {
		if tr.Name != track {
			continue
		}
		params, err := recorder.ParseRTPParameters(tr.RTPParameters, kinds[tr.Source])
		if err != nil {
			t.Fatal(err)
		}
		packets, err := readDump(filepath.Join(dir, track+".rtpdump"))
		if err != nil {
			t.Fatal(err)
		}
		return capture{params: params, packets: packets}
	}
	t.Fatalf("no track %s in %s", track, call)
	return capture{}
}

// readDump reads rtptools' rtpdump format, which the README beside the files describes.
func readDump(path string) ([]recorded, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	_, rest, ok := bytes.Cut(raw, []byte("\n"))
	if !ok || len(rest) < 16 {
		return nil, fmt.Errorf("%s: no rtpdump header", path)
	}
	rest = rest[16:]
	var out []recorded
	for len(rest) > 0 {
		n := int(binary.BigEndian.Uint16(rest))
		out = append(out, recorded{
			at:   time.Duration(binary.BigEndian.Uint32(rest[4:])) * time.Millisecond,
			rtcp: binary.BigEndian.Uint16(rest[2:]) == 0,
			data: rest[8:n],
		})
		rest = rest[n:]
	}
	return out, nil
}

// unit is a copy of a recorder.Unit that outlives the next Push.
type unit struct {
	recorder.Unit
	at time.Duration // arrival of its first packet
}

// epoch stands in for the start of the captures.
var epoch = time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC)

// depacketize runs a track's packets, in arrival order and without any jitter buffer, through a depacketizer.
func depacketize(t testing.TB, c capture) []unit {
	t.Helper()
	d, err := Set{}.New(c.params.Codec)
	if err != nil {
		t.Fatal(err)
	}
	var out []unit
	began := map[int64]time.Duration{}
	take := func(u *recorder.Unit) bool {
		if u == nil {
			return false
		}
		v := unit{Unit: *u, at: began[u.FirstSeq]}
		v.Data = bytes.Clone(u.Data)
		out = append(out, v)
		return true
	}
	last := int64(-1)
	for _, r := range c.packets {
		if r.rtcp {
			continue
		}
		p, _, ok := Set{}.ParseRTP(r.data, c.params)
		if !ok {
			t.Fatalf("packet at %v refused", r.at)
		}
		if last >= 0 { // unwrap: these captures are in order
			p.Seq = last + int64(uint16(p.Seq)-uint16(last))
		}
		lost := last >= 0 && p.Seq != last+1
		last = p.Seq
		p.At = epoch.Add(r.at)
		began[p.Seq] = r.at
		u, err := d.Push(p, lost)
		if err != nil {
			t.Fatalf("packet at %v: %v", r.at, err)
		}
		take(u)
	}
	for take(d.Flush()) {
	}
	return out
}
