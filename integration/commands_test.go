package integration_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

type input = map[string]any

// with is a copy of an input with some fields changed; a nil value removes a field.
func with(in input, changes ...any) input {
	out := input{}
	for k, v := range in {
		out[k] = v
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(out, changes[i].(string))
			continue
		}
		out[changes[i].(string)] = changes[i+1]
	}
	return out
}

// TestWrongInput: every mutation answers wrong input with a code to switch on and, where one field is to blame, its name.
func TestWrongInput(t *testing.T) {
	t.Parallel()
	s, media := theSite(t), capture(t, "chrome-vp8")
	webcam := media.Tracks[1]
	start := input{"externalSessionId": nextCall(), "queue": "commands", "agent": "agent-17", "tracks": []string{"WEBCAM", "AGENT_AUDIO"}}
	id := s.must(t, s.service, "startRecording", start).Recording.ID
	foreign := s.must(t, s.rival, "startRecording", start).Recording.ID
	over := s.must(t, s.service, "startRecording", with(start, "externalSessionId", nextCall())).Recording.ID
	s.must(t, s.service, "stopRecording", input{"recordingId": over})
	defer func() {
		s.must(t, s.service, "stopRecording", input{"recordingId": id})
		s.must(t, s.rival, "stopRecording", input{"recordingId": foreign})
	}()
	params := func(old, new string) json.RawMessage {
		out := strings.Replace(string(webcam.RTPParameters), old, new, 1)
		if out == string(webcam.RTPParameters) {
			t.Fatalf("rtpParameters hold no %s", old)
		}
		return json.RawMessage(out)
	}
	source := input{"ip": "127.0.0.1", "rtpPort": 40000, "rtcpPort": 40001}
	attach := input{"recordingId": id, "kind": "WEBCAM", "rtpParameters": webcam.RTPParameters, "source": source}
	long := strings.Repeat("x", 201)
	for _, c := range []struct {
		name, mutation string
		in             input
		as             string // bearer; default the service's
		code, field    string
	}{
		{name: "no tracks", mutation: "startRecording", in: with(start, "externalSessionId", nextCall(), "tracks", []string{}), code: "INVALID_INPUT", field: "tracks"},
		{name: "a webcam twice", mutation: "startRecording", in: with(start, "externalSessionId", nextCall(), "tracks", []string{"WEBCAM", "WEBCAM"}), code: "INVALID_INPUT", field: "tracks"},
		{name: "audio only without sound", mutation: "startRecording", in: with(start, "externalSessionId", nextCall(), "tracks", []string{"SCREEN"}, "layout", "AUDIO_ONLY"), code: "INVALID_INPUT", field: "tracks"},
		{name: "no session", mutation: "startRecording", in: with(start, "externalSessionId", "  "), code: "INVALID_INPUT", field: "externalSessionId"},
		{name: "long session", mutation: "startRecording", in: with(start, "externalSessionId", long), code: "INVALID_INPUT", field: "externalSessionId"},
		{name: "long queue", mutation: "startRecording", in: with(start, "externalSessionId", nextCall(), "queue", long), code: "INVALID_INPUT", field: "queue"},
		{name: "control character", mutation: "startRecording", in: with(start, "externalSessionId", nextCall(), "agent", "a\x00b"), code: "INVALID_INPUT", field: "agent"},
		{name: "long tag", mutation: "startRecording", in: with(start, "externalSessionId", nextCall(), "tags", []string{long}), code: "INVALID_INPUT", field: "tags"},
		{name: "too many tags", mutation: "startRecording", in: with(start, "externalSessionId", nextCall(), "tags", slices.Repeat([]string{"x"}, 51)), code: "INVALID_INPUT", field: "tags"},
		{name: "large metadata", mutation: "startRecording", in: with(start, "externalSessionId", nextCall(), "metadata", input{"x": strings.Repeat("y", 17<<10)}), code: "INVALID_INPUT", field: "metadata"},

		{name: "unknown codec", mutation: "attachTrack", in: with(attach, "rtpParameters", params("video/VP8", "video/AV1")), code: "INVALID_INPUT", field: "rtpParameters"},
		{name: "no ssrc", mutation: "attachTrack", in: with(attach, "rtpParameters", params(`"ssrc"`, `"other"`)), code: "INVALID_INPUT", field: "rtpParameters"},
		{name: "sound as picture", mutation: "attachTrack", in: with(attach, "rtpParameters", media.Tracks[2].RTPParameters), code: "INVALID_INPUT", field: "rtpParameters"},
		{name: "parameters are a list", mutation: "attachTrack", in: with(attach, "rtpParameters", []int{1}), code: "INVALID_INPUT", field: "rtpParameters"},
		{name: "wrong clock", mutation: "attachTrack", in: with(attach, "rtpParameters", params("90000", "8000")), code: "INVALID_INPUT", field: "rtpParameters"},
		{name: "track not expected", mutation: "attachTrack", in: with(attach, "kind", "SCREEN"), code: "NOT_FOUND", field: "kind"},
		{name: "port 0", mutation: "attachTrack", in: with(attach, "source", with(source, "rtpPort", 0)), code: "INVALID_INPUT", field: "source"},
		{name: "port 65536", mutation: "attachTrack", in: with(attach, "source", with(source, "rtpPort", 65536)), code: "INVALID_INPUT", field: "source"},
		{name: "negative RTCP port", mutation: "attachTrack", in: with(attach, "source", with(source, "rtcpPort", -1)), code: "INVALID_INPUT", field: "source"},
		{name: "a name as address", mutation: "attachTrack", in: with(attach, "source", with(source, "ip", "sfu.example.com")), code: "INVALID_INPUT", field: "source"},
		{name: "SRTP of no suite", mutation: "attachTrack", in: with(attach, "srtpParameters", input{"keyBase64": "x"}), code: "INVALID_INPUT", field: "srtpParameters"},
		{name: "SRTP to plain RTP", mutation: "attachTrack", in: with(attach, "srtpParameters", input{"cryptoSuite": "AEAD_AES_128_GCM",
			"keyBase64": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nw=="}), code: "INVALID_INPUT", field: "srtpParameters"},
		{name: "unknown recording", mutation: "attachTrack", in: with(attach, "recordingId", "rec_00000000000000000000000000"), code: "NOT_FOUND"},
		{name: "no recording id", mutation: "attachTrack", in: with(attach, "recordingId", ""), code: "NOT_FOUND"},
		{name: "another tenant's", mutation: "attachTrack", in: with(attach, "recordingId", foreign), code: "NOT_FOUND"},
		{name: "after stop", mutation: "attachTrack", in: with(attach, "recordingId", over), code: "CONFLICT"},

		{name: "another tenant's", mutation: "detachTrack", in: input{"recordingId": foreign, "kind": "WEBCAM"}, code: "NOT_FOUND"},
		{name: "track not expected", mutation: "detachTrack", in: input{"recordingId": id, "kind": "SCREEN"}, code: "NOT_FOUND", field: "kind"},
		{name: "after stop", mutation: "detachTrack", in: input{"recordingId": over, "kind": "WEBCAM"}, code: "CONFLICT"},
		{name: "another tenant's", mutation: "pauseRecording", in: input{"recordingId": foreign, "reason": "PAYMENT"}, code: "NOT_FOUND"},
		{name: "resume in no time", mutation: "pauseRecording", in: input{"recordingId": id, "reason": "PAYMENT", "autoResumeAfterSeconds": 0}, code: "INVALID_INPUT", field: "autoResumeAfterSeconds"},
		{name: "resume in two days", mutation: "pauseRecording", in: input{"recordingId": id, "reason": "PAYMENT", "autoResumeAfterSeconds": 172800}, code: "INVALID_INPUT", field: "autoResumeAfterSeconds"},
		{name: "after stop", mutation: "pauseRecording", in: input{"recordingId": over, "reason": "PAYMENT"}, code: "CONFLICT"},
		{name: "another tenant's", mutation: "resumeRecording", in: input{"recordingId": foreign}, code: "NOT_FOUND"},
		{name: "another tenant's", mutation: "stopRecording", in: input{"recordingId": foreign}, code: "NOT_FOUND"},
		{name: "unknown recording", mutation: "stopRecording", in: input{"recordingId": "rec_x"}, code: "NOT_FOUND"},

		{name: "not finished", mutation: "grantPlayback", as: s.reviewer, in: input{"recordingId": id}, code: "CONFLICT"},
		{name: "for no time", mutation: "grantPlayback", as: s.reviewer, in: input{"recordingId": id, "ttlSeconds": 0}, code: "INVALID_INPUT", field: "ttlSeconds"},
		{name: "for a year", mutation: "grantPlayback", as: s.reviewer, in: input{"recordingId": id, "ttlSeconds": 31536000}, code: "INVALID_INPUT", field: "ttlSeconds"},
		{name: "long purpose", mutation: "grantPlayback", as: s.reviewer, in: input{"recordingId": id, "purpose": long}, code: "INVALID_INPUT", field: "purpose"},
		{name: "another tenant's", mutation: "createBookmark", as: s.reviewer, in: input{"recordingId": foreign, "atMs": 1, "label": "x"}, code: "NOT_FOUND"},
		{name: "before the beginning", mutation: "createBookmark", as: s.reviewer, in: input{"recordingId": id, "atMs": -1, "label": "x"}, code: "INVALID_INPUT", field: "atMs"},
		{name: "ends before it begins", mutation: "createBookmark", as: s.reviewer, in: input{"recordingId": id, "atMs": 5, "toMs": 4, "label": "x"}, code: "INVALID_INPUT", field: "toMs"},
		{name: "no label", mutation: "createBookmark", as: s.reviewer, in: input{"recordingId": id, "atMs": 1, "label": ""}, code: "INVALID_INPUT", field: "label"},
		{name: "no text", mutation: "addComment", as: s.reviewer, in: input{"recordingId": id, "body": ""}, code: "INVALID_INPUT", field: "body"},
		{name: "long text", mutation: "addComment", as: s.reviewer, in: input{"recordingId": id, "body": strings.Repeat("x", 17<<10)}, code: "INVALID_INPUT", field: "body"},
		{name: "unknown bookmark", mutation: "addComment", as: s.reviewer, in: input{"recordingId": id, "body": "x", "bookmarkId": "bmk_x"}, code: "NOT_FOUND", field: "bookmarkId"},
		{name: "another tenant's", mutation: "addComment", as: s.reviewer, in: input{"recordingId": foreign, "body": "x"}, code: "NOT_FOUND"},
	} {
		t.Run(c.mutation+" "+c.name, func(t *testing.T) {
			if c.as == "" {
				c.as = s.service
			}
			p, top, err := s.mutate(t.Context(), c.as, c.mutation, c.in)
			if err != nil || len(top) > 0 || len(p.UserErrors) != 1 {
				t.Fatalf("%+v, top-level errors %v, error %v", p, top, err)
			}
			e := p.UserErrors[0]
			if e.Code != c.code || (c.field != "" && !slices.Contains(e.Field, c.field)) || len(e.Message) < 8 || len(e.Message) > 300 {
				t.Errorf("%+v, want %s of %s", e, c.code, c.field)
			}
			if p.Recording != nil || p.Track != nil || p.Grant != nil || p.Bookmark != nil || p.Comment != nil {
				t.Errorf("refused, and yet answered with %+v", p)
			}
		})
	}
	if v, err := s.look(t.Context(), id); err != nil || v.Capture != "PENDING" || v.track("WEBCAM").State != "EXPECTED" {
		t.Errorf("what was refused left traces: %+v, error %v", v, err)
	}
}

// TestWhoMayDoWhat: no key, wrong key, and roles that may not.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	start := input{"externalSessionId": nextCall(), "queue": "commands", "agent": "agent-17", "tracks": []string{"AGENT_AUDIO"}}
	id := s.must(t, s.service, "startRecording", start).Recording.ID
	defer s.must(t, s.service, "stopRecording", input{"recordingId": id})
	for _, c := range []struct{ name, bearer, mutation, code string }{
		{"nobody starts", "", "startRecording", "UNAUTHENTICATED"},
		{"a wrong key starts", s.service[:len(s.service)-3] + "xyz", "startRecording", "UNAUTHENTICATED"},
		{"a reviewer starts", s.reviewer, "startRecording", "FORBIDDEN"},
		{"a reviewer stops", s.reviewer, "stopRecording", "FORBIDDEN"},
		{"a reviewer pauses", s.reviewer, "pauseRecording", "FORBIDDEN"},
		{"a service plays", s.service, "grantPlayback", "FORBIDDEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := map[string]input{"startRecording": with(start, "externalSessionId", nextCall()), "pauseRecording": {"recordingId": id, "reason": "HOLD"}}[c.mutation]
			if in == nil {
				in = input{"recordingId": id}
			}
			_, top, err := s.mutate(t.Context(), c.bearer, c.mutation, in)
			if err != nil || len(top) != 1 || top[0].Extensions["code"] != c.code {
				t.Errorf("errors %v, error %v, want %s", top, err, c.code)
			}
		})
	}
	if v, err := s.look(t.Context(), id); err != nil || v.Capture != "PENDING" {
		t.Errorf("the recording is %s, error %v", v.Capture, err)
	}
	t.Run("status codes", func(t *testing.T) {
		for url, want := range map[string]int{"/graphql?query={__typename}": 401, "/metrics": 401, "/healthz": 200, "/media/v1/x/video.mp4": 403} {
			if a := get(t, http.MethodGet, s.URL+url); a.status != want {
				t.Errorf("%s: status %d, want %d: %s", url, a.status, want, a.body)
			}
		}
		a := get(t, http.MethodGet, s.URL+"/metrics", "Authorization", "Bearer "+metricsToken)
		if a.status != 200 || !strings.Contains(string(a.body), "dualrec_live_recordings") {
			t.Errorf("metrics with the token: status %d", a.status)
		}
	})
}

// TestRepeatedCommands: what an SFU repeats after a timeout changes nothing.
func TestRepeatedCommands(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	in := player.StartInput{ExternalSessionID: nextCall(), Queue: "sales", Agent: "agent-17", Tracks: []string{"AGENT_AUDIO"}, Layout: "AUDIO_ONLY"}
	c := s.startCall(t, capture(t, "chrome-vp8", "mic"), in)
	c.play(2*time.Second, during{time.Second, func() error {
		rtp, rtcp := c.senders[0].Ports()
		tr := c.media.Tracks[0]
		return c.api.Attach(t.Context(), c.started.ID, tr.Kind(), tr.RTPParameters, player.Source{IP: "127.0.0.1", RTPPort: rtp, RTCPPort: rtcp})
	}})
	same, err := c.api.Start(t.Context(), in)
	if err != nil || same.ID != c.started.ID || len(same.Tracks) != 1 || *same.Tracks[0].Ingest != *c.started.Tracks[0].Ingest {
		t.Errorf("the same session again: %+v, error %v, want %+v", same, err, c.started)
	}
	c.stop()
	c.stop()
	v := s.await(t, c.started.ID, "AVAILABLE")
	sent := c.senders[0].Sent().RTP
	if got := v.track("AGENT_AUDIO").Stats; uint64(got.Packets) != sent || got.Lost != 0 || got.Duplicates != 0 {
		t.Errorf("sent %d packets, counted %+v", sent, got)
	}
	if len(v.Gaps) != 0 {
		t.Errorf("an attachment that was repeated left gaps: %+v", v.Gaps)
	}
}
