package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/harness"
)

// browserProgram finds a browser that starts.
func browserProgram(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil && exec.CommandContext(t.Context(), path, "--version").Run() == nil {
			return path
		}
	}
	t.Fatal("no browser: run scripts/setup.sh test")
	return ""
}

// browserScripts is the folder of the scripts, with the packages that they need.
var browserScripts = sync.OnceValues(func() (string, error) {
	root, err := harness.Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "integration", "browser")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "playwright-core")); err == nil {
		return dir, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci in %s: %w: %s", dir, err, out)
	}
	return dir, nil
})

// browserReport is what browser/check.mjs prints.
type browserReport struct {
	Console  []string
	Statuses []int
	Video    struct {
		Width, Height  int
		Duration       float64
		PlayedTo       float64
		Seeks          []struct{ To, Landed float64 }
		Screen, Webcam float64
		Tainted, Error string
	}
	Fetched struct {
		Status, Bytes int
		Range         string
	}
}

// TestBrowser: a page of an allowed origin plays a signed URL in a real browser, seeks, and reads ranges by script.
func TestBrowser(t *testing.T) {
	t.Parallel()
	s, w := theSite(t), wholeCall(t, "chrome-vp8")
	dir, err := browserScripts()
	if err != nil {
		t.Fatal(err)
	}
	url := s.grant(t, s.reviewer, w.RecordingID)
	page := shared.page.put("/player", `<!doctype html><title>call</title><link rel="icon" href="data:,"><style>body{margin:0;background:#333}video{width:1600px}</style>
		<video crossorigin="anonymous" preload="metadata" controls src="`+url+`"></video>`)
	shot := filepath.Join(t.TempDir(), "browser.png")
	job, err := json.Marshal(map[string]any{"page": page, "media": url, "screenshot": shot, "profile": t.TempDir(), "seeks": []int{20, 3}, "browser": browserProgram(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "check.mjs", string(job))
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var r browserReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	v := r.Video
	if v.Width != 3200 || v.Height != 1080 || math.Abs(v.Duration-float64(w.DurationMs)/1000) > 0.05 || v.PlayedTo <= 0.5 || v.Error != "" {
		t.Errorf("video %+v", v)
	}
	for _, seek := range v.Seeks {
		if math.Abs(seek.Landed-seek.To) > 0.3 {
			t.Errorf("a seek to %.1f s landed at %.2f s", seek.To, seek.Landed)
		}
	}
	// The captured webcam is blue-grey, the captured page mostly white: both regions must have come out.
	if len(v.Seeks) != 2 || v.Tainted != "" || v.Screen < 20 || v.Webcam < 20 {
		t.Errorf("seeks %v, mean of the screen %.0f, of the webcam %.0f, %s", v.Seeks, v.Screen, v.Webcam, v.Tainted)
	}
	if r.Fetched.Status != 206 || r.Fetched.Bytes != 100 || r.Fetched.Range != fmt.Sprintf("bytes 100-199/%d", w.Bytes) {
		t.Errorf("fetch with Range: %+v", r.Fetched)
	}
	if slices.ContainsFunc(r.Statuses, func(s int) bool { return s != 206 && s != 200 }) || len(r.Statuses) == 0 {
		t.Errorf("the player's requests were answered with %v", r.Statuses)
	}
	if problems := strings.Join(r.Console, "\n"); problems != "" {
		t.Errorf("the browser's console says: %s", problems)
	}
	keep(t, shot, "browser.png")
}

// keep copies a picture for people to look at, if DUALREC_STILLS names a folder.
func keep(t *testing.T, path, name string) {
	t.Helper()
	dir := os.Getenv("DUALREC_STILLS")
	if dir == "" {
		return
	}
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), data, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}
