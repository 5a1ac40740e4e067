package player

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
)

func timeline(t *testing.T, c *Call, duration time.Duration, loop bool) []Scheduled {
	t.Helper()
	seq, err := Timeline(c, duration, loop)
	if err != nil {
		t.Fatal(err)
	}
	var out []Scheduled
	for s := range seq {
		s.Data = bytes.Clone(s.Data)
		out = append(out, s)
	}
	return out
}

func TestLoad(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]int{"chrome-vp8": {3770 + 24, 3095 + 24, 1504 + 6}, "chrome-h264": {1716 + 24, 1706 + 24, 1503 + 6}} {
		c := load(t, name)
		for i, kind := range []string{"SCREEN", "WEBCAM", "AGENT_AUDIO"} {
			if tr := c.Tracks[i]; tr.Kind() != kind || len(tr.Packets) != want[i] {
				t.Errorf("%s: track %s is %s with %d packets, want %s with %d", name, tr.Name, tr.Kind(), len(tr.Packets), kind, want[i])
			}
		}
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	c, err := load(t, "chrome-vp8").Select("mic", "screen")
	if err != nil || len(c.Tracks) != 2 || c.Tracks[0].Source != "screen" || c.Tracks[1].Source != "mic" {
		t.Errorf("%v, error %v", c, err)
	}
	if _, err := load(t, "chrome-vp8").Select("webcam", "slides"); err == nil || !strings.Contains(err.Error(), `"slides"`) {
		t.Errorf("error %v does not name the missing track", err)
	}
}

func TestLoadRefusals(t *testing.T) {
	t.Parallel()
	good, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "media", "chrome-vp8", "mic-1.rtpdump"))
	if err != nil {
		t.Fatal(err)
	}
	tracks := func(source, params string) string {
		return `{"tracks":[{"name":"x","source":"` + source + `","file":"x.rtpdump","rtpParameters":` + params + `}]}`
	}
	const params = `{"codecs":[{"clockRate":48000}],"encodings":[{"ssrc":1}]}`
	for _, tc := range []struct {
		name, tracks string
		dump         []byte
	}{
		{"no JSON", "{", good},
		{"no tracks", "{}", good},
		{"a source of another kind", tracks("slides", params), good},
		{"no codec", tracks("mic", `{"codecs":[],"encodings":[{"ssrc":1}]}`), good},
		{"no dump", tracks("mic", params), []byte("hello\n")},
		{"cut off", tracks("mic", params), good[:1000]},
		{"one packet", tracks("mic", params), good[:36+16+0x6a]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "tracks.json"), []byte(tc.tracks), 0o600),
				os.WriteFile(filepath.Join(dir, "x.rtpdump"), tc.dump, 0o600)); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(dir); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestOnePassIsTheCapture(t *testing.T) {
	t.Parallel()
	c := load(t, "chrome-vp8")
	next := make([]int, len(c.Tracks))
	var last time.Duration
	for i, s := range timeline(t, c, 0, false) {
		want := c.Tracks[s.Track].Packets[next[s.Track]]
		if !bytes.Equal(s.Data, want.Data) || s.RTCP != want.RTCP {
			t.Fatalf("packet %d is not the captured one", i)
		}
		if s.At < last || s.At != want.At-88*time.Millisecond { // the capture's first packet came at 88 ms
			t.Fatalf("packet %d at %v after %v, captured at %v", i, s.At, last, want.At)
		}
		last = s.At
		next[s.Track]++
	}
	for i, n := range next {
		if n != len(c.Tracks[i].Packets) {
			t.Errorf("track %d: %d packets of %d", i, n, len(c.Tracks[i].Packets))
		}
	}
}

func TestDurationCuts(t *testing.T) {
	t.Parallel()
	got := timeline(t, load(t, "chrome-vp8"), 2*time.Second, false)
	if last := got[len(got)-1].At; last >= 2*time.Second || last < 1900*time.Millisecond {
		t.Errorf("the last packet is at %v", last)
	}
}

// TestLoopContinues plays three passes and holds every track to one continuous stream.
func TestLoopContinues(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"chrome-vp8", "chrome-h264"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := load(t, name)
			period := Period(c)
			if period < 30*time.Second || period > 31*time.Second {
				t.Fatalf("a pass takes %v", period)
			}
			got := timeline(t, c, 2*period+10*time.Second, true)
			last := time.Duration(0)
			for i, s := range got {
				if s.At < last {
					t.Fatalf("packet %d at %v after %v", i, s.At, last)
				}
				last = s.At
			}
			for i, tr := range c.Tracks {
				checkMedia(t, tr, got, i, period)
				checkReports(t, tr, got, i)
			}
		})
	}
}

// checkMedia: no sequence number is missing, and RTP time never departs from the packets' own times.
func checkMedia(t *testing.T, tr Track, got []Scheduled, track int, period time.Duration) {
	t.Helper()
	var previous rtp.Packet
	var elapsed int64
	var start, seam time.Duration
	n := 0
	for _, s := range got {
		if s.Track != track || s.RTCP {
			continue
		}
		var p rtp.Packet
		if err := p.Unmarshal(s.Data); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			start = s.At
		} else {
			if p.SequenceNumber != previous.SequenceNumber+1 || p.SSRC != tr.SSRC {
				t.Fatalf("%s: sequence %d after %d", tr.Name, p.SequenceNumber, previous.SequenceNumber)
			}
			elapsed += int64(int32(p.Timestamp - previous.Timestamp))
		}
		byClock := time.Duration(elapsed) * time.Second / time.Duration(tr.ClockRate)
		if d := s.At - start - byClock; d < -300*time.Millisecond || d > 300*time.Millisecond {
			t.Fatalf("%s: packet %d is %v off its RTP time", tr.Name, n, d)
		}
		if s.At-start >= period && seam == 0 {
			seam = ticks(p.Timestamp-previous.Timestamp, tr.ClockRate)
		}
		previous = p
		n++
	}
	if tr.Source == "mic" && seam > 100*time.Millisecond || seam > 200*time.Millisecond || seam <= 0 {
		t.Errorf("%s: the passes are %v apart", tr.Name, seam)
	}
}

// checkReports: NTP time, RTP time and counts of the sender reports go on as one clock.
func checkReports(t *testing.T, tr Track, got []Scheduled, track int) {
	t.Helper()
	var first rtcp.SenderReport
	var packets, octets, n, off uint32
	var basePackets, baseOctets uint32
	for _, s := range got {
		if s.Track != track {
			continue
		}
		if !s.RTCP {
			packets++
			octets += uint32(len(s.Data))
			continue
		}
		blocks, err := rtcp.Unmarshal(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		sr := blocks[0].(*rtcp.SenderReport)
		if n == 0 {
			first, basePackets, baseOctets = *sr, sr.PacketCount-packets, sr.OctetCount-octets
		}
		n++
		byNTP := time.Duration(float64(sr.NTPTime-first.NTPTime) / (1 << 32) * 1e9)
		byRTP := ticks32(sr.RTPTime-first.RTPTime, tr.ClockRate)
		if d := byNTP - byRTP; d < -150*time.Millisecond || d > 150*time.Millisecond {
			t.Fatalf("%s: report %d: NTP advanced %v, RTP %v", tr.Name, n, byNTP, byRTP)
		}
		if sr.PacketCount != packets+basePackets || sr.OctetCount != octets+baseOctets {
			off++ // a report and a packet of the same millisecond may be in either order
		}
	}
	if n < 12 || off > n/4 {
		t.Errorf("%s: %d reports, %d of them with other counts than were sent", tr.Name, n, off)
	}
}

func ticks32(n uint32, rate int) time.Duration {
	return time.Duration(int64(n) * int64(time.Second) / int64(rate))
}

func TestPlayKeepsTime(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		speed float64
		want  time.Duration
	}{{1, 30050 * time.Millisecond}, {4, 7512500 * time.Microsecond}} {
		synctest.Test(t, func(t *testing.T) {
			c := load(t, "chrome-vp8")
			seq, err := Timeline(c, 0, false)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			late, err := Play(t.Context(), seq, tc.speed, func(s Scheduled) error {
				if got, want := time.Since(start), time.Duration(float64(s.At)/tc.speed); got != want {
					t.Fatalf("packet at %v, want %v", got, want)
				}
				return nil
			})
			if err != nil || late != 0 || time.Since(start) != tc.want {
				t.Errorf("speed %v: %v, late %v, error %v, want %v", tc.speed, time.Since(start), late, err, tc.want)
			}
		})
	}
}

// TestPlayCatchesUp: a slow receiver of packets delays those that follow, but not all of the call.
func TestPlayCatchesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seq, err := Timeline(load(t, "chrome-vp8"), 5*time.Second, false)
		if err != nil {
			t.Fatal(err)
		}
		start, n := time.Now(), 0
		late, err := Play(t.Context(), seq, 1, func(Scheduled) error {
			if n++; n == 100 {
				time.Sleep(time.Second)
			}
			return nil
		})
		if took := time.Since(start); err != nil || took >= 5*time.Second || late < 900*time.Millisecond || late > time.Second {
			t.Errorf("took %v, late %v, error %v", took, late, err)
		}
	})
}

func TestPlayEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seq, err := Timeline(load(t, "chrome-vp8"), time.Hour, true)
		if err != nil {
			t.Fatal(err)
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(45*time.Second, func() { cancel(gone) })
		start := time.Now()
		if _, err := Play(ctx, seq, 1, func(Scheduled) error { return nil }); !errors.Is(err, gone) || time.Since(start) != 45*time.Second {
			t.Errorf("error %v after %v", err, time.Since(start))
		}
		failed := errors.New("failed")
		if _, err := Play(t.Context(), seq, 1, func(Scheduled) error { return failed }); !errors.Is(err, failed) {
			t.Errorf("error %v", err)
		}
	})
}

func TestNothingToPlay(t *testing.T) {
	t.Parallel()
	if _, err := Timeline(&Call{}, 0, false); !errors.Is(err, ErrNothingToPlay) {
		t.Errorf("no tracks: %v", err)
	}
	if _, err := Timeline(load(t, "chrome-vp8"), 0, true); !errors.Is(err, ErrNothingToPlay) {
		t.Errorf("an endless loop: %v", err)
	}
}

func FuzzParseDump(f *testing.F) {
	record := func(plen uint16, data []byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, uint16(8+len(data)))
		b = binary.BigEndian.AppendUint16(b, plen)
		return append(append(b, 0, 0, 0, 7), data...)
	}
	head := append([]byte("#!rtpplay1.0 127.0.0.1/5000\n"), make([]byte, 16)...)
	f.Add(bytes.Join([][]byte{head, record(3, []byte("rtp")), record(0, []byte("rtcp"))}, nil))
	f.Add(append(bytes.Clone(head), 0, 9, 0, 2))
	f.Fuzz(func(t *testing.T, raw []byte) {
		packets, err := ParseDump(raw)
		if err != nil {
			if !errors.Is(err, ErrDump) {
				t.Fatal(err)
			}
			return
		}
		size := 0
		for _, p := range packets {
			size += 8 + len(p.Data)
		}
		if _, rest, _ := bytes.Cut(raw, []byte("\n")); size+16 != len(rest) {
			t.Fatalf("%d bytes of %d were read", size+16, len(rest))
		}
	})
}

func TestParametersAreVerbatim(t *testing.T) {
	t.Parallel()
	for _, tr := range load(t, "chrome-h264").Tracks {
		var p map[string]any
		if err := json.Unmarshal(tr.RTPParameters, &p); err != nil || p["rtcp"] == nil || p["encodings"] == nil {
			t.Errorf("%s: %v, error %v", tr.Name, p, err)
		}
	}
}
