package recorder

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// everyEvent has one valid event of each type.
func everyEvent() []Event {
	at := time.Date(2026, 3, 1, 9, 0, 0, 123456789, time.UTC)
	blob := BlobInfo{Name: "segment-000001.h264", Size: 10, CiphertextSize: 20, CiphertextSHA256: []byte{1, 2}}
	return []Event{
		{Type: EventTrackLeased, At: at, TrackLeased: &TrackLeased{TrackID: "t", Kind: Screen, RTPPort: 40000, RTCPPort: 40001}},
		{Type: EventLegAttached, At: at, LegAttached: &LegAttached{Leg: "leg-000", Journal: "leg-000", TrackID: "t", Kind: AgentAudio,
			RTPParameters: simParams(AgentAudio, 7), Source: Source{IP: "10.0.0.1", RTPPort: 2}}},
		{Type: EventLegAttached, At: at, LegAttached: &LegAttached{Leg: "leg-001", Journal: "leg-001", TrackID: "t", Kind: AgentAudio,
			RTPParameters: simParams(AgentAudio, 8), Source: Source{IP: "10.0.0.2", RTPPort: 3}, Published: true}},
		{Type: EventLegDetached, At: at, LegDetached: &LegDetached{Leg: "leg-000"}},
		{Type: EventPaused, At: at, Paused: &PausedEvent{Reason: PausePayment, Actor: "user:1", AutoResumeAt: at.Add(time.Minute)}},
		{Type: EventResumed, At: at, Resumed: &ResumedEvent{Actor: "system:dualrec"}},
		{Type: EventLayoutChanged, At: at, LayoutChanged: &LayoutChanged{Layout: PictureInPicture, Actor: "user:1"}},
		{Type: EventStopped, At: at, Stopped: &StoppedEvent{Reason: "hangup"}},
		{Type: EventRecovered, At: at, Recovered: &RecoveredEvent{DownFrom: at.Add(-time.Minute)}},
		{Type: EventDropBegan, At: at, DropBegan: &DropBegan{TrackID: "t", Cause: CauseDiskFull}},
		{Type: EventDropEnded, At: at, DropEnded: &DropEnded{TrackID: "t", Packets: 12}},
		{Type: EventEpochSet, At: at, EpochSet: &EpochSet{Epoch: at}},
		{Type: EventSegmentSealed, At: at, SegmentSealed: &SegmentSealed{Index: 1, From: 300, To: 600, Layout: SideBySide, Paused: true, ReducedFPS: 10, Blob: blob}},
		{Type: EventAudioSealed, At: at, AudioSealed: &AudioSealed{Blob: blob, Peaks: &blob, Priming: 1024, Samples: 48000}},
		{Type: EventArtifactSealed, At: at, ArtifactSealed: &ArtifactSealed{Blob: blob, Duration: 5}},
		{Type: EventRenderAgain, At: at, RenderAgain: &RenderAgain{Reason: "decode"}},
		{Type: EventUploaded, At: at, Uploaded: &UploadedEvent{Store: "primary", Blob: "call.mp4", Key: "a/b", VersionID: "v", Size: 9}},
	}
}

func TestEventsRoundTrip(t *testing.T) {
	t.Parallel()
	seen := map[EventType]bool{}
	for _, e := range everyEvent() {
		data, err := e.Marshal()
		if err != nil {
			t.Fatalf("%s: %v", e.Type, err)
		}
		got, err := ParseEvent(data)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s: got %+v, %v", e.Type, got, err)
		}
		seen[e.Type] = true
	}
	if n := len((Event{}).payloads()); len(seen) != n {
		t.Errorf("%d types tried, %d exist", len(seen), n)
	}
}

// TestEventsGolden pins the spool's form: events written by any earlier version must stay readable.
func TestEventsGolden(t *testing.T) {
	t.Parallel()
	path := filepath.Join("testdata", "events.golden.jsonl")
	var out strings.Builder
	for _, e := range everyEvent() {
		data, err := e.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
		out.WriteByte('\n')
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != out.String() {
		t.Errorf("the form of events has changed; if that is meant, run with -update:\n%s", out.String())
	}
}

func TestEventsRefused(t *testing.T) {
	t.Parallel()
	const head = `{"type":"PAUSED","at":"2026-03-01T09:00:00Z",`
	for _, c := range []struct {
		name, data string
		want       error
	}{
		{"empty", "", ErrEvent},
		{"no object", `7`, ErrEvent},
		{"cut short", head, ErrEvent},
		{"no payload", head[:len(head)-1] + `}`, ErrEvent},
		{"another's payload", head + `"resumed":{"actor":"x"}}`, ErrEvent},
		{"two payloads", head + `"paused":{"reason":"HOLD","actor":""},"resumed":{"actor":"x"}}`, ErrEvent},
		{"unknown field", head + `"paused":{"reason":"HOLD","actor":"","x":1}}`, ErrEvent},
		{"bytes after it", head + `"paused":{"reason":"HOLD","actor":""}} {}`, ErrEvent},
		{"reason", head + `"paused":{"reason":"LUNCH","actor":""}}`, ErrEvent},
		{"long actor", head + `"paused":{"reason":"HOLD","actor":"` + strings.Repeat("x", 2000) + `"}}`, ErrEvent},
		{"too long", head + `"paused":{"reason":"HOLD","actor":"` + strings.Repeat("x", MaxEventBytes) + `"}}`, ErrEvent},
		{"year 1", `{"type":"STOPPED","at":"0001-01-01T00:00:00Z","stopped":{"reason":""}}`, ErrEvent},
		{"no time", `{"type":"STOPPED","stopped":{"reason":""}}`, ErrEvent},
		{"leg name", `{"type":"LEG_DETACHED","at":"2026-03-01T09:00:00Z","leg_detached":{"leg":"../x"}}`, ErrEvent},
		{"backward segment", `{"type":"SEGMENT_SEALED","at":"2026-03-01T09:00:00Z","segment_sealed":{"index":0,"from":9,"to":9,"blob":{"name":"x"}}}`, ErrEvent},
		{"unknown type", `{"type":"HOLIDAY","at":"2026-03-01T09:00:00Z","beach":true}`, ErrUnknownEvent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := ParseEvent([]byte(c.data)); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	long := Event{Type: EventLegAttached, At: t0, LegAttached: &LegAttached{Leg: "leg-000", Journal: "leg-000", TrackID: "t", Kind: Screen,
		RTPParameters: json.RawMessage(`{"x":"` + strings.Repeat("x", 60000) + `",` + string(simParams(Screen, 1)[1:]))}}
	if _, err := long.Marshal(); err != nil {
		t.Errorf("parameters of 60 kB: %v", err)
	}
	if _, err := (Event{Type: EventStopped, At: t0}).Marshal(); !errors.Is(err, ErrEvent) {
		t.Errorf("an event without its payload was written: %v", err)
	}
}

// FuzzParseEvent: whatever is accepted can be written and read again unchanged.
func FuzzParseEvent(f *testing.F) {
	for _, e := range everyEvent() {
		data, err := e.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add([]byte(`{"type":"HOLIDAY"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEvent(data)
		if err != nil {
			if !errors.Is(err, ErrEvent) && !errors.Is(err, ErrUnknownEvent) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := e.Marshal()
		if err != nil {
			if len(data) > MaxEventBytes/6 { // escaping may lengthen it beyond the limit
				return
			}
			t.Fatalf("accepted, yet not writable: %v", err)
		}
		if _, err := ParseEvent(again); err != nil {
			t.Fatalf("accepted and written, yet not readable: %v\n%s", err, again)
		}
	})
}
