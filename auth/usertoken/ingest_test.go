package usertoken_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/auth"
)

var intoOne = auth.IngestGrant{TenantID: "t1", RecordingID: "rec_1", Subject: "sfu", Kinds: []string{"SCREEN", "WEBCAM"}}

func TestIngestToken(t *testing.T) {
	t.Parallel()
	c := codec(t, start, key(t, 1))
	token, expires, err := c.IssueIngest(intoOne, 90*time.Second+time.Millisecond)
	if err != nil || !expires.Equal(start.Add(90*time.Second)) {
		t.Fatalf("expires %v, %v", expires, err)
	}
	want := intoOne
	want.ExpiresAt = expires
	if got, err := c.VerifyIngest(token); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, allowed := range []struct {
		recording, kind string
		want            bool
	}{{"rec_1", "SCREEN", true}, {"rec_1", "AGENT_AUDIO", false}, {"rec_2", "SCREEN", false}} {
		if want.Allows(allowed.recording, allowed.kind) != allowed.want {
			t.Errorf("%+v", allowed)
		}
	}
	late := codec(t, start.Add(3*time.Minute), key(t, 1))
	if _, err := late.VerifyIngest(token); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("expired: %v", err)
	}
	stranger := codec(t, start, key(t, 2))
	if _, err := stranger.VerifyIngest(token); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("of another key: %v", err)
	}
	for _, bad := range []string{"", token[:len(token)-2], strings.Repeat("x", auth.MaxCredential+1)} {
		if _, err := c.VerifyIngest(bad); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

// TestTokensAreNotInterchangeable: an ingest token opens nothing of the API, and a user's token publishes nothing by itself.
func TestTokensAreNotInterchangeable(t *testing.T) {
	t.Parallel()
	c := codec(t, start, key(t, 1))
	token, _, err := c.IssueIngest(intoOne, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Verify(t.Context(), token); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("an ingest token is the principal %+v, %v", p, err)
	}
	if g, err := c.VerifyIngest(issue(t, c)); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("a user token grants %+v, %v", g, err)
	}
}

func TestIssueIngestRefuses(t *testing.T) {
	t.Parallel()
	c := codec(t, start, key(t, 1))
	for name, edit := range map[string]func(*auth.IngestGrant){
		"tenant":    func(g *auth.IngestGrant) { g.TenantID = "" },
		"recording": func(g *auth.IngestGrant) { g.RecordingID = "" },
		"subject":   func(g *auth.IngestGrant) { g.Subject = "a\x00" },
		"kinds":     func(g *auth.IngestGrant) { g.Kinds = nil },
		"kind":      func(g *auth.IngestGrant) { g.Kinds = []string{""} },
	} {
		g := intoOne
		edit(&g)
		if _, _, err := c.IssueIngest(g, time.Minute); !errors.Is(err, auth.ErrIngestGrant) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, ttl := range []time.Duration{0, 25 * time.Hour} {
		if _, _, err := c.IssueIngest(intoOne, ttl); err == nil {
			t.Errorf("time to live %v was accepted", ttl)
		}
	}
}
