package depacketize

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

// published is what a call's README says about a video track.
type published struct {
	frames    int
	keyframes []keyframe
}

type keyframe struct {
	ms, bytes int
	size      recorder.Size
}

var (
	tableRow = regexp.MustCompile(`(?m)^\| ([a-z]+-1) \| \w+, \d+ \| \d+ / \d+ \| (\d+) \|`)
	keyList  = regexp.MustCompile(`(?m)^- ([a-z]+-1) keyframes, ms: (.*)\.$`)
	keyEntry = regexp.MustCompile(`(\d+) \((\d+)x(\d+), (\d+) B\)`)
)

func readPublished(t *testing.T, call, track string) published {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join("..", "..", "testdata", "media", call, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var p published
	for _, row := range tableRow.FindAllStringSubmatch(string(readme), -1) {
		if row[1] == track {
			p.frames = number(t, row[2])
		}
	}
	for _, list := range keyList.FindAllStringSubmatch(string(readme), -1) {
		if list[1] != track {
			continue
		}
		for _, k := range keyEntry.FindAllStringSubmatch(list[2], -1) {
			p.keyframes = append(p.keyframes, keyframe{ms: number(t, k[1]), bytes: number(t, k[4]),
				size: recorder.Size{W: number(t, k[2]), H: number(t, k[3])}})
		}
	}
	if p.frames == 0 || len(p.keyframes) == 0 {
		t.Fatalf("the README of %s says nothing about %s", call, track)
	}
	return p
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRealVideo(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"chrome-vp8", "chrome-h264"} {
		for _, track := range []string{"screen-1", "webcam-1"} {
			t.Run(call+"/"+track, func(t *testing.T) {
				t.Parallel()
				want := readPublished(t, call, track)
				c := readCapture(t, call, track)
				units := depacketize(t, c)
				checkPublished(t, units, want)
				decode(t, c.params.Codec, units)
			})
		}
	}
}

func checkPublished(t *testing.T, units []unit, want published) {
	t.Helper()
	var keys []keyframe
	for i, u := range units {
		if u.Damaged || len(u.Data) == 0 {
			t.Fatalf("frame %d (seq %d) is damaged or empty", i, u.FirstSeq)
		}
		if u.Key {
			keys = append(keys, keyframe{ms: int(u.at.Milliseconds()), bytes: len(u.Data), size: u.Size})
		} else if !u.Size.Zero() {
			t.Fatalf("frame %d is no keyframe but has a size", i)
		}
	}
	if len(units) != want.frames {
		t.Errorf("%d frames, want %d", len(units), want.frames)
	}
	if fmt.Sprint(keys) != fmt.Sprint(want.keyframes) {
		t.Errorf("keyframes\n got %v\nwant %v", keys, want.keyframes)
	}
}

func TestRealAudio(t *testing.T) {
	t.Parallel()
	for call, want := range map[string]int{"chrome-vp8": 1504, "chrome-h264": 1503} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			units := depacketize(t, readCapture(t, call, "mic-1"))
			if len(units) != want {
				t.Fatalf("%d packets, want %d", len(units), want)
			}
			for i, u := range units {
				if !u.Key || u.Damaged || len(u.Data) == 0 {
					t.Fatalf("packet %d: key %v, damaged %v, %d bytes", i, u.Key, u.Damaged, len(u.Data))
				}
			}
		})
	}
}

// decode has FFmpeg decode the frames and requires their exact number and no complaint.
func decode(t *testing.T, codec recorder.Codec, units []unit) {
	t.Helper()
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
	var stream bytes.Buffer
	format := "ivf"
	if codec == recorder.H264 {
		format = "h264"
	}
	writeStream(&stream, codec, units)
	cmd := exec.CommandContext(t.Context(), ffmpeg, "-v", "error", "-threads", "1", "-f", format, "-i", "-",
		"-fps_mode", "passthrough", "-progress", "pipe:1", "-f", "null", "-")
	cmd.Stdin = &stream
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 {
		t.Fatalf("ffmpeg: %v\n%s", err, complaints.String())
	}
	frames := -1
	for line := range strings.Lines(string(out)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "frame="); ok {
			frames = number(t, strings.TrimSpace(n))
		}
	}
	if frames != len(units) {
		t.Errorf("ffmpeg decoded %d frames of %d", frames, len(units))
	}
}

func writeStream(w io.Writer, codec recorder.Codec, units []unit) {
	if codec != recorder.H264 {
		header := make([]byte, 32)
		copy(header, "DKIF\x00\x00\x20\x00VP80")
		if codec == recorder.VP9 {
			header[10] = '9'
		}
		binary.LittleEndian.PutUint16(header[12:], uint16(units[0].Size.W))
		binary.LittleEndian.PutUint16(header[14:], uint16(units[0].Size.H))
		binary.LittleEndian.PutUint32(header[16:], 90000)
		binary.LittleEndian.PutUint32(header[20:], 1)
		_, _ = w.Write(header)
	}
	for i, u := range units {
		if codec != recorder.H264 {
			header := make([]byte, 12)
			binary.LittleEndian.PutUint32(header, uint32(len(u.Data)))
			binary.LittleEndian.PutUint64(header[4:], uint64(i)*3000)
			_, _ = w.Write(header)
		}
		_, _ = w.Write(u.Data)
	}
}

// TestRealLoss takes packets out of the real calls at random and holds the depacketizer to both directions: a frame
// all of whose packets came is delivered byte for byte, and one of which some came is never passed off as whole.
func TestRealLoss(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"chrome-vp8", "chrome-h264"} {
		for _, track := range []string{"screen-1", "webcam-1"} {
			for _, rate := range []float64{0.01, 0.2, 0.7} {
				t.Run(fmt.Sprintf("%s/%s/%v", call, track, rate), func(t *testing.T) {
					t.Parallel()
					c := readCapture(t, call, track)
					whole := depacketize(t, c)
					kept, complete, touched := thin(c, whole, rand.New(rand.NewPCG(1, 2)), rate)
					checkLoss(t, depacketize(t, kept), complete, touched)
				})
			}
		}
	}
}

// thin drops packets. complete are the frames that lost none, touched counts those that lost some but not all.
func thin(c capture, frames []unit, rnd *rand.Rand, rate float64) (kept capture, complete map[int64]unit, touched int) {
	kept, complete = capture{params: c.params}, map[int64]unit{}
	frame, had, lost := -1, 0, 0
	settle := func() {
		switch {
		case frame < 0:
		case lost == 0:
			complete[frames[frame].RTP] = frames[frame]
		case had > 0:
			touched++
		}
		had, lost = 0, 0
	}
	for _, r := range c.packets {
		p, _, ok := Set{}.ParseRTP(r.data, c.params)
		if r.rtcp || !ok {
			continue
		}
		if frame+1 < len(frames) && uint32(frames[frame+1].RTP) == uint32(p.RTP) {
			settle()
			frame++
		}
		if rnd.Float64() < rate {
			lost++
			continue
		}
		had++
		kept.packets = append(kept.packets, r)
	}
	settle()
	return kept, complete, touched
}

func checkLoss(t *testing.T, got []unit, complete map[int64]unit, touched int) {
	t.Helper()
	whole, damaged := 0, 0
	for _, u := range got {
		if u.Damaged {
			damaged++
			continue
		}
		want, ok := complete[u.RTP]
		if !ok {
			t.Fatalf("frame at %d lost packets but is delivered as whole", u.RTP)
		}
		if !bytes.Equal(u.Data, want.Data) || u.Key != want.Key || u.Size != want.Size {
			t.Fatalf("frame at %d differs from what was sent", u.RTP)
		}
		whole++
	}
	if whole != len(complete) || damaged != touched {
		t.Errorf("%d whole and %d damaged frames, want %d and %d", whole, damaged, len(complete), touched)
	}
}
