package integration_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
)

// needle is a run of bytes that must not be found on the disk.
type needle struct {
	from string
	run  []byte
}

const runLength = 24

// needlesOf takes distinctive runs out of the middle of packets, from all over a call.
func needlesOf(call *player.Call, until time.Duration) (out []needle) {
	for _, t := range call.Tracks {
		var long []player.Packet
		for _, p := range t.Packets {
			if !p.RTCP && p.At < until && len(p.Data) >= 3*runLength {
				long = append(long, p)
			}
		}
		for i := range 8 {
			p := long[i*len(long)/8]
			at := len(p.Data) / 2
			if run := p.Data[at : at+runLength]; distinctive(run) {
				out = append(out, needle{t.Name, run})
			}
		}
	}
	return out
}

// distinctive: a run of few values might be anywhere.
func distinctive(run []byte) bool {
	seen := map[byte]bool{}
	for _, b := range run {
		seen[b] = true
	}
	return len(seen) > runLength/2
}

// search looks for the needles in every file below a folder. Files come and go meanwhile.
func search(root string, needles []needle) (hits []string, files int, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files++
		for _, n := range needles {
			if bytes.Contains(data, n.run) {
				hits = append(hits, n.from+" in "+path)
			}
		}
		return err
	})
	return hits, files, err
}

// TestNoPlaintextOnDisk: while a call runs and afterwards, no byte of what was said and shown lies unencrypted in the data
// folder, nor in the folder for temporary files.
func TestNoPlaintextOnDisk(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	tmp := filepath.Join(root, "tmp")
	if err := os.Mkdir(tmp, 0o700); err != nil {
		t.Fatal(err)
	}
	s := newSite(t, harness.Options{Data: filepath.Join(root, "data"), Env: []string{"TMPDIR=" + tmp}, Args: []string{"--keep-spool"}})
	s.set(t, "secret", "--resolution", "FIT_1080P")
	media := capture(t, "chrome-h264")
	needles := needlesOf(media, 8*time.Second)
	if len(needles) < 20 {
		t.Fatalf("only %d distinctive runs in the call", len(needles))
	}
	planted := filepath.Join(root, "planted")
	if err := os.WriteFile(planted, append(make([]byte, 5000), needles[len(needles)-1].run...), 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(when string) int {
		hits, files, err := search(root, needles)
		if err != nil {
			t.Error(err)
		}
		if len(hits) != 1 {
			t.Errorf("%s: found %v; only what was planted should be", when, hits)
		}
		return files
	}
	c := s.startCall(t, media, player.StartInput{Queue: "secret"})
	var looks []during
	for at := time.Second; at < 8*time.Second; at += 1500 * time.Millisecond {
		looks = append(looks, during{at, func() error { look("at " + at.String()); return nil }})
	}
	c.play(8*time.Second, looks...)
	c.stop()
	look("after the call")
	s.await(t, c.started.ID, "AVAILABLE")
	path := s.fetch(t, c.started.ID)
	movie, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(planted); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 40; i++ {
		if run := movie[i*len(movie)/40:][:runLength]; distinctive(run) {
			needles = append(needles, needle{"the video", run})
		}
	}
	if err := os.WriteFile(planted, movie, 0o600); err != nil {
		t.Fatal(err)
	}
	hits, _, err := search(root, needles)
	if err != nil || len(hits) < 20 {
		t.Fatalf("the search finds only %v in the video itself, error %v", hits, err)
	}
	if err := os.Remove(planted); err != nil {
		t.Fatal(err)
	}
	hits, files, err := search(root, needles)
	if err != nil || len(hits) != 0 || files < 8 {
		t.Errorf("in %d files found %v, error %v", files, hits, err)
	}
}
