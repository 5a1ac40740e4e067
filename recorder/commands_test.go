package recorder

import (
	"errors"
	"strings"
	"testing"
)

func TestStartCommandValidate(t *testing.T) {
	t.Parallel()
	good := StartCommand{ExternalSessionID: "s", Queue: "q", Agent: "a", Tracks: []TrackKind{Screen, Webcam, AgentAudio}}
	for name, tc := range map[string]struct {
		change func(*StartCommand)
		field  string // empty: accepted
	}{
		"as it is":               {func(*StartCommand) {}, ""},
		"two monitors":           {func(c *StartCommand) { c.Tracks = []TrackKind{Screen, Screen, AgentAudio} }, ""},
		"five monitors":          {func(c *StartCommand) { c.Tracks = []TrackKind{Screen, Screen, Screen, Screen, Screen} }, "tracks"},
		"two webcams":            {func(c *StartCommand) { c.Tracks = []TrackKind{Webcam, Webcam} }, "tracks"},
		"no tracks":              {func(c *StartCommand) { c.Tracks = nil }, "tracks"},
		"screen only, no screen": {func(c *StartCommand) { c.Tracks, c.Layout = []TrackKind{Webcam}, ScreenOnly }, "tracks"},
		"audio only, no audio":   {func(c *StartCommand) { c.Tracks, c.Layout = []TrackKind{Screen}, AudioOnly }, "tracks"},
		"no session id":          {func(c *StartCommand) { c.ExternalSessionID = " " }, "externalSessionId"},
		"control character":      {func(c *StartCommand) { c.Queue = "a\nb" }, "queue"},
		"not UTF-8":              {func(c *StartCommand) { c.Agent = "\xff" }, "agent"},
		"long customer":          {func(c *StartCommand) { c.CustomerID = strings.Repeat("x", maxNameLen+1) }, "customerId"},
		"many tags":              {func(c *StartCommand) { c.Tags = make([]string, maxTags+1) }, "tags"},
		"empty tag":              {func(c *StartCommand) { c.Tags = []string{""} }, "tags"},
		"long tag":               {func(c *StartCommand) { c.Tags = []string{strings.Repeat("x", maxTagLen+1)} }, "tags"},
		"much metadata":          {func(c *StartCommand) { c.Metadata = make([]byte, maxMetadataLen+1) }, "metadata"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good
			tc.change(&c)
			err := c.Validate()
			if tc.field == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var ce *CommandError
			if !errors.As(err, &ce) || ce.Code != CodeInvalidInput || ce.Field[1] != tc.field {
				t.Errorf("error %v, want INVALID_INPUT of %s", err, tc.field)
			}
		})
	}
}

func TestFindNamesTracks(t *testing.T) {
	t.Parallel()
	r := &recording{tracks: []*track{{id: "t1", kind: Screen}, {id: "t2", kind: Screen}, {id: "t3", kind: Webcam}}}
	for _, tc := range []struct {
		kind TrackKind
		id   string
		want string
		code ErrorCode
	}{{Webcam, "", "t3", ""}, {Screen, "t2", "t2", ""}, {Screen, "", "", CodeInvalidInput}, {Screen, "t3", "", CodeNotFound}, {AgentAudio, "", "", CodeNotFound}} {
		got, err := r.find(tc.kind, tc.id)
		var ce *CommandError
		switch {
		case tc.code == "" && (err != nil || got.id != tc.want):
			t.Errorf("find(%s, %q) = %v, %v", tc.kind, tc.id, got, err)
		case tc.code != "" && (!errors.As(err, &ce) || ce.Code != tc.code):
			t.Errorf("find(%s, %q): %v, want %s", tc.kind, tc.id, err, tc.code)
		}
	}
}
