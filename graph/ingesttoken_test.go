package graph

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

const tokenMutation = `mutation($input: CreateIngestTokenInput!) { createIngestToken(input: $input) {
	token whipUrls { screen webcam } expiresAt userErrors { field code message } } }`

func tokenInput(id string, more map[string]any) map[string]any {
	in := map[string]any{"recordingId": id}
	for k, v := range more {
		in[k] = v
	}
	return map[string]any{"input": in}
}

func TestCreateIngestToken(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	a := h.must("a-SERVICE", tokenMutation, tokenInput(h.a.recording, nil))
	if a.at("createIngestToken", "token") != "token" || a.at("createIngestToken", "whipUrls", "screen") != "https://rec/whip/"+h.a.recording+"/screen" ||
		a.at("createIngestToken", "whipUrls", "webcam") != nil || fmt.Sprint(a.at("createIngestToken", "userErrors")) != "[]" {
		t.Error(a.raw)
	}
	got := h.ingest.asked[0]
	if got.TenantID != h.a.tenant || got.RecordingID != h.a.recording || got.TTL != time.Hour || fmt.Sprint(got.Kinds) != "[SCREEN]" || got.Actor.ID == "" {
		t.Errorf("asked for %+v", got)
	}
	h.must("a-ADMIN", tokenMutation, tokenInput(h.a.recording, map[string]any{"kinds": []string{"SCREEN", "SCREEN"}, "ttlSeconds": 60}))
	if got := h.ingest.asked[1]; got.TTL != time.Minute || fmt.Sprint(got.Kinds) != "[SCREEN]" {
		t.Errorf("asked for %+v", got)
	}
}

func TestCreateIngestTokenRefuses(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	over := h.a.call("over", epoch, recorder.Available).ID
	for name, c := range map[string]struct {
		id   string
		more map[string]any
		code string
		says string
	}{
		"another tenant's": {h.b.recording, nil, "NOT_FOUND", "no such recording"},
		"unknown":          {"rec_none", nil, "NOT_FOUND", "no such recording"},
		"ended":            {over, nil, "CONFLICT", "AVAILABLE"},
		"too short":        {h.a.recording, map[string]any{"ttlSeconds": 59}, "INVALID_INPUT", "60"},
		"too long":         {h.a.recording, map[string]any{"ttlSeconds": 86401}, "INVALID_INPUT", "86400"},
		"unexpected":       {h.a.recording, map[string]any{"kinds": []string{"WEBCAM"}}, "INVALID_INPUT", "expects [SCREEN]"},
	} {
		a := h.must("a-SERVICE", tokenMutation, tokenInput(c.id, c.more))
		text, _ := a.at("createIngestToken", "userErrors", 0, "message").(string)
		if a.at("createIngestToken", "userErrors", 0, "code") != c.code || !strings.Contains(text, c.says) || a.at("createIngestToken", "token") != nil {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
	for _, role := range []string{"AGENT", "REVIEWER", "SUPERVISOR", "AUDITOR"} {
		if a := h.do("a-"+role, tokenMutation, tokenInput(h.a.recording, nil)); a.code() != "FORBIDDEN" {
			t.Errorf("%s: %s", role, a.raw)
		}
	}
	if len(h.ingest.asked) != 0 {
		t.Errorf("issued %+v", h.ingest.asked)
	}
}
