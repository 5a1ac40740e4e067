package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// ingestToken asks for a token of createIngestToken.
type ingestToken struct {
	Token    string
	WhipUrls struct{ Screen, Webcam string }
}

func (s *site) ingestToken(t *testing.T, id string) ingestToken {
	t.Helper()
	var out struct {
		CreateIngestToken struct {
			ingestToken
			UserErrors []struct{ Message string }
		}
	}
	err := s.MustQuery(t.Context(), s.service, `mutation($id: ID!) { createIngestToken(input: {recordingId: $id, ttlSeconds: 600}) {
		token whipUrls { screen webcam } userErrors { message } } }`, map[string]any{"id": id}, &out)
	if err != nil || len(out.CreateIngestToken.UserErrors) > 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	return out.CreateIngestToken.ingestToken
}

// whipReport is what browser/publish.mjs prints.
type whipReport struct {
	Console []string
	Run     struct {
		Lasted         float64 // ms
		Stats          map[string]map[string]any
		Trickle, Ended int
	}
}

// publish lets a real browser publish screen, webcam and sound.
func (s *site) publish(t *testing.T, token ingestToken, markers int) whipReport {
	t.Helper()
	dir, err := browserScripts()
	if err != nil {
		t.Fatal(err)
	}
	html, err := os.ReadFile(filepath.Join(dir, "publish.html"))
	if err != nil {
		t.Fatal(err)
	}
	job, err := json.Marshal(map[string]any{"page": shared.page.put("/publish", string(html)), "profile": t.TempDir(), "browser": browserProgram(t),
		"run": map[string]any{"screenUrl": token.WhipUrls.Screen, "webcamUrl": token.WhipUrls.Webcam, "token": token.Token, "markers": markers}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "publish.mjs", string(job))
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var r whipReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return r
}

// Where publish.html's pictures come out. The screen is not enlarged, so its 640x360 stand in the middle of their region.
var (
	whipScreenFlash = mediacheck.Rect{X: 640 + 240, Y: 360 + 140, W: 160, H: 80}
	whipScreenDark  = mediacheck.Rect{X: 640 + 100, Y: 360 + 40, W: 100, H: 280}
	whipScreenLight = mediacheck.Rect{X: 640 + 480, Y: 360 + 40, W: 100, H: 280}
	whipCamera      = mediacheck.Rect{X: 1920, Y: 180, W: 1280, H: 340}
	whipBelow       = mediacheck.Rect{X: 1920, Y: 180 + 380, W: 1280, H: 320}
)

// TestBrowserPublishes: a real browser publishes a dual call by WHIP, without an SFU, from a page of an allowed origin. Its
// file keeps the same promises as that of any other call.
func TestBrowserPublishes(t *testing.T) {
	t.Parallel()
	const markers = 5
	s := theSite(t)
	api := player.API{Endpoint: s.URL + "/graphql", Key: s.service}
	call, err := api.Start(t.Context(), player.StartInput{ExternalSessionID: nextCall(), Queue: "sales", Agent: "agent-17",
		Tracks: []string{"SCREEN", "WEBCAM", "AGENT_AUDIO"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // leaves nothing open behind a failure
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = api.Stop(ctx, call.ID)
	})
	began := time.Now()
	r := s.publish(t, s.ingestToken(t, call.ID), markers)
	t.Logf("the browser: %+v", r.Run)
	if len(r.Console) > 0 || r.Run.Trickle != 204 || r.Run.Ended != 200 {
		t.Errorf("the page's console says %q, PATCH was answered with %d, DELETE with %d", r.Console, r.Run.Trickle, r.Run.Ended)
	}
	if v, err := s.look(t.Context(), call.ID); err != nil || v.Capture != "RECORDING" || v.track("SCREEN").State != "CLOSED" {
		t.Errorf("after DELETE: %+v, %v", v, err)
	}
	if err := api.Stop(t.Context(), call.ID); err != nil {
		t.Fatal(err)
	}
	most := time.Since(began)
	v := s.await(t, call.ID, "AVAILABLE")
	for _, tr := range v.Tracks {
		t.Logf("%s: %s %+v", tr.Kind, tr.Codec, tr.Stats)
		if tr.Stats.Packets < 50 || tr.Stats.DroppedForeign > 0 || tr.Stats.DroppedMalformed > 0 {
			t.Errorf("%s: %+v", tr.Kind, tr.Stats)
		}
	}
	t.Logf("gaps: %+v", v.Gaps)
	path := s.fetch(t, call.ID)
	p, err := mediacheck.File(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if p.VideoCodec != "h264" || p.Width != 3200 || p.Height != 1080 || p.FPS != 30 || p.AudioCodec != "aac" || p.AudioRate != 48000 ||
		p.VideoStart != 0 || p.AudioStart != 0 || math.Abs(float64(p.DurationMs-v.DurationMs)) > 40 {
		t.Errorf("file %+v, %d ms in the API", p, v.DurationMs)
	}
	if d := float64(p.DurationMs); d < r.Run.Lasted-500 || d > float64(most.Milliseconds()) {
		t.Errorf("the recording lasts %.0f ms; media flowed for %.0f ms, and all took %v", d, r.Run.Lasted, most)
	}
	if fast, err := mediacheck.Faststart(path); err != nil || !fast {
		t.Errorf("faststart %v, error %v", fast, err)
	}
	checkPublished(t, path, markers)
}

// checkPublished decodes all (a complaint of the decoder fails) and looks for pictures, flashes and beeps.
func checkPublished(t *testing.T, path string, markers int) {
	t.Helper()
	lumas, err := mediacheck.Lumas(t.Context(), path, whipScreenFlash, whipBelow, whipScreenDark, whipScreenLight, whipCamera)
	if err != nil {
		t.Fatal(err)
	}
	sound, err := mediacheck.Sound(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	beeps := mediacheck.Beeps(sound)
	if len(beeps) != markers {
		t.Fatalf("beeps at %v, want %d", beeps, markers)
	}
	for i, what := range []string{"screen", "webcam"} {
		flashes := mediacheck.Flashes(lumas[i], 30)
		skews, missing := mediacheck.Skews(flashes, beeps)
		t.Logf("%s: skews %.0f ms", what, skews)
		if missing > 0 || mediacheck.MaxAbs(skews) > 80 {
			t.Errorf("%s: flashes at %v, beeps at %v: skews %.0f ms", what, flashes, beeps, skews)
		}
	}
	frame := int((beeps[1] + 1) * 30) // half-way between two markers
	at := func(i int) float64 { return lumas[i][frame] }
	if at(0) > 80 || at(1) > 60 || at(2) > 60 || at(3) < 140 || at(4) < 40 || at(4) > 220 {
		t.Errorf("frame %d: screen %.0f dark, %.0f light, %.0f in the box; webcam %.0f above, %.0f below", frame, at(2), at(3), at(0), at(4), at(1))
	}
	still := filepath.Join(t.TempDir(), "whip.png")
	if err := mediacheck.Still(t.Context(), path, frame, 30, still); err != nil {
		t.Fatal(err)
	}
	keep(t, still, "whip.png")
}

// TestWhipCredentials: who may publish, and what an ingest token does not open. An offer that is none shows that the
// credential was let in.
func TestWhipCredentials(t *testing.T) {
	t.Parallel()
	s := theSite(t)
	api := player.API{Endpoint: s.URL + "/graphql", Key: s.service}
	var ids []string
	for range 2 {
		call, err := api.Start(t.Context(), player.StartInput{ExternalSessionID: nextCall(), Queue: "sales", Agent: "agent-17", Tracks: []string{"SCREEN"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = api.Stop(ctx, call.ID) // it may have ended
		})
		ids = append(ids, call.ID)
	}
	token := s.ingestToken(t, ids[0])
	if token.WhipUrls.Webcam != "" {
		t.Errorf("a call without webcam has the URL %s", token.WhipUrls.Webcam)
	}
	other := strings.Replace(token.WhipUrls.Screen, ids[0], ids[1], 1)
	for name, c := range map[string]struct {
		url, bearer string
		status      int
	}{
		"ingest token":                   {token.WhipUrls.Screen, token.Token, 400},
		"SERVICE key":                    {token.WhipUrls.Screen, s.service, 400},
		"ingest token, other recording":  {other, token.Token, 403},
		"REVIEWER key":                   {token.WhipUrls.Screen, s.reviewer, 403},
		"key of another tenant":          {token.WhipUrls.Screen, s.rival, 404},
		"ingest token that was changed":  {token.WhipUrls.Screen, token.Token[:len(token.Token)-3] + "abc", 401},
		"nothing":                        {token.WhipUrls.Screen, "", 401},
		"SERVICE key, unknown recording": {strings.Replace(token.WhipUrls.Screen, ids[0], "rec_none", 1), s.service, 404},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url, strings.NewReader("no offer"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/sdp")
		if c.bearer != "" {
			req.Header.Set("Authorization", "Bearer "+c.bearer)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		resp.Body.Close()
		if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s, want %d", name, resp.StatusCode, text, c.status)
		}
	}
	for _, query := range []string{`{ ingestCapabilities }`, `{ recordings(first: 1) { totalCount } }`} {
		if errs, err := s.Query(t.Context(), token.Token, query, nil, nil); err == nil && len(errs) == 0 {
			t.Errorf("an ingest token may ask %s", query)
		}
	}
}
