package compose

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/at-wat/ebml-go"
	"github.com/at-wat/ebml-go/webm"

	"github.com/dualrec/dualrec/recorder"
)

// vp8 is a frame of one byte header; bit 4 shows it.
func vp8(show bool) []byte {
	if show {
		return []byte{0x10}
	}
	return []byte{0x00}
}

func TestStamps(t *testing.T) {
	t.Parallel()
	type in struct {
		slot int64
		show bool
	}
	for _, tt := range []struct {
		name string
		in   []in
		want []int64 // slot whose even tick each frame gets, -1: hidden
	}{
		{"one each", []in{{0, true}, {1, true}, {2, true}}, []int64{0, 1, 2}},
		{"pre-roll", []in{{-5, true}, {-2, true}, {3, true}}, []int64{-1, 0, 3}},
		{"pre-roll replaced", []in{{-5, true}, {0, true}}, []int64{-1, 0}},
		{"several", []in{{4, true}, {4, true}, {4, true}, {5, true}}, []int64{-1, -1, 4, 5}},
		{"a hidden one does not replace", []in{{1, true}, {1, false}, {2, true}}, []int64{1, -1, 2}},
		{"a hidden one between two of a slot", []in{{1, true}, {1, false}, {1, true}}, []int64{-1, -1, 1}},
		{"hidden first", []in{{0, false}, {0, true}}, []int64{-1, 0}},
		{"hidden last", []in{{0, true}, {7, false}}, []int64{0, -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newStamper(recorder.VP8, 30, 100)
			var got []int64
			last := int64(-1)
			out := func(f stamped) error {
				if f.tick < last {
					t.Errorf("tick %d after %d", f.tick, last)
				}
				last = f.tick
				slot := int64(-1)
				if f.tick%2 == 0 {
					slot = (f.tick - originTick) * 30 / ticksPerSecond
					if f.tick != slotTick(slot, 30) {
						t.Errorf("tick %d is even and not of slot %d", f.tick, slot)
					}
				}
				got = append(got, slot)
				return nil
			}
			for _, f := range tt.in {
				if err := s.push(recorder.Frame{Slot: f.slot, Data: vp8(f.show)}, out); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.end(out); err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("slots are %v, want %v (%v)", got, tt.want, err)
			}
		})
	}
}

// However many frames share a slot, none gets into another one.
func TestStampsStayInTheirSlot(t *testing.T) {
	t.Parallel()
	for _, fps := range []int{5, 30, 120} {
		s := newStamper(recorder.VP8, fps, 1000)
		shown := map[int64]bool{}
		last := int64(-1)
		out := func(f stamped) error {
			if f.tick < last {
				t.Errorf("%d fps: tick %d after %d", fps, f.tick, last)
			}
			last = f.tick
			if f.tick%2 == 0 {
				shown[f.tick] = true
			}
			return nil
		}
		for slot := range int64(20) {
			for range 500 {
				if err := s.push(recorder.Frame{Slot: slot, Data: vp8(true)}, out); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := s.end(out); err != nil {
			t.Fatal(err)
		}
		for slot := range int64(20) {
			if !shown[slotTick(slot, fps)] {
				t.Errorf("%d fps: nothing is shown in slot %d", fps, slot)
			}
		}
		if len(shown) != 20 {
			t.Errorf("%d fps: %d frames are shown, want 20", fps, len(shown))
		}
	}
}

func TestGovernor(t *testing.T) {
	t.Parallel()
	const kbps, seconds = 1000, 10.0
	// A model of an encoder: six steps of the quantizer halve the rate.
	size := func(qp int, at28 float64) int64 {
		return int64(at28 * math.Exp2(float64(28-qp)/6) * 1000 / 8 * seconds)
	}
	for _, tt := range []struct {
		name  string
		loads []float64 // kbps at quantizer 28
		least int       // quantizer at the end
		most  int
	}{
		{"always quiet", []float64{50, 60, 50, 50, 50}, 28, 28},
		{"always too lively", slices.Repeat([]float64{4000}, 30), 38, 44},
		{"lively, then quiet for long", append(slices.Repeat([]float64{3000}, 5), slices.Repeat([]float64{100}, 40)...), 28, 28},
		{"quiet, then one burst", append(slices.Repeat([]float64{100}, 10), 2500), 28, 36},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := newGovernor(28)
			var total int64
			qp := 0
			for i, load := range tt.loads {
				for try := 0; ; try++ {
					var limit int64
					qp, limit = g.next("r", kbps, seconds)
					n := size(qp, load)
					if limit > 0 && n > limit {
						g.exceeded("r", kbps, float64(n)*8/1000/seconds)
						if try > 3 {
							t.Fatal("it takes too many tries")
						}
						continue
					}
					g.done("r", kbps, n, seconds, qp)
					total += n
					break
				}
				if average := float64(total) * 8 / 1000 / seconds / float64(i+1); average > kbps {
					t.Errorf("after %d segments the average is %.0f kbps", i+1, average)
				}
			}
			if qp < tt.least || qp > tt.most {
				t.Errorf("the quantizer is %d at the end, want %d…%d", qp, tt.least, tt.most)
			}
		})
	}
}

func TestGovernorForgets(t *testing.T) {
	t.Parallel()
	g := newGovernor(28)
	g.exceeded("kept", 100, 1000)
	for i := range 2 * maxGoverned {
		g.next(fmt.Sprint(i), 100, 1)
		g.next("kept", 100, 1)
	}
	if len(g.by) > maxGoverned {
		t.Errorf("%d recordings are remembered", len(g.by))
	}
	if qp, _ := g.next("kept", 100, 1); qp == 28 {
		t.Error("a recording in use was forgotten")
	}
}

func TestGovernorGivesUpAtTheCoarsest(t *testing.T) {
	t.Parallel()
	g := newGovernor(28)
	for range 20 {
		g.exceeded("r", 1, 1e6)
	}
	if qp, limit := g.next("r", 1, 10); qp != maxQP || limit != 0 {
		t.Errorf("quantizer %d, limit %d, want %d and none", qp, limit, maxQP)
	}
}

// What the writer writes is read back by the library's own reader, across clusters.
func TestMatroska(t *testing.T) {
	t.Parallel()
	var buf bytes.Buffer
	w, err := newMatroskaWriter(&buf, videoTickNS, webm.TrackEntry{TrackType: matroskaVideo, CodecID: "V_VP8", Video: &webm.Video{PixelWidth: 64, PixelHeight: 48}})
	if err != nil {
		t.Fatal(err)
	}
	ticks := []int64{0, 1, 32767, 32768, 40000, 7_200_000, 7_200_066}
	for i, tick := range ticks {
		if err := w.write(tick, i == 0, []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.write(5, false, nil); !errors.Is(err, ErrSource) {
		t.Errorf("error is %v, want ErrSource for time that goes back", err)
	}
	var file struct {
		Segment webm.SegmentStream `ebml:"Segment"`
	}
	if err := ebml.Unmarshal(bytes.NewReader(buf.Bytes()), &file, ebml.WithIgnoreUnknown(true)); err != nil {
		t.Fatal(err)
	}
	if info := file.Segment.Info; info.TimecodeScale != videoTickNS || file.Segment.Tracks.TrackEntry[0].CodecID != "V_VP8" {
		t.Errorf("head is %+v", file.Segment)
	}
	var got []int64
	for _, c := range file.Segment.Cluster {
		for _, b := range c.SimpleBlock {
			if b.Data[0][0] != byte(len(got)) || b.Keyframe != (len(got) == 0) {
				t.Errorf("block %d is %+v", len(got), b)
			}
			got = append(got, int64(c.Timecode)+int64(b.Timecode))
		}
	}
	if !slices.Equal(got, ticks) {
		t.Errorf("ticks are %v, want %v", got, ticks)
	}
}

func TestPictureCounterAtEveryBoundary(t *testing.T) {
	t.Parallel()
	// Two pictures, the first of two slices; a start code may be cut anywhere.
	stream := []byte("\x00\x00\x00\x01\x67\x64\x00\x32\x00\x00\x01\x68\xee\x00\x00\x00\x01\x65\x88ab\x00\x00\x01\x65\x00\x80\x00\x00\x03\x01\x00\x00\x01\x41\x9ax")
	for size := 1; size <= len(stream); size++ {
		c := &pictureCounter{}
		for part := range slices.Chunk(stream, size) {
			if _, err := c.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if c.pictures != 2 || !bytes.Equal(c.annexB, stream) {
			t.Errorf("in pieces of %d: %d pictures, want 2", size, c.pictures)
		}
	}
}

func TestVP9Headers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		data  []byte
		shown bool
		space uint
		ok    bool
	}{
		{"keyframe, BT.601", []byte{0x82, 0x49, 0x83, 0x42, 0x20, 0x10}, true, 1, true},
		{"keyframe, BT.709", []byte{0x82, 0x49, 0x83, 0x42, 0x40, 0x10}, true, 2, true},
		{"shown inter frame", []byte{0x86, 0, 0}, true, 0, false},
		{"hidden inter frame", []byte{0x84, 0, 0}, false, 0, false},
		{"an existing frame shown again", []byte{0x88}, true, 0, false},
		{"superframe", []byte{0x84, 0, 0xc0}, true, 0, false},
		{"no VP9", []byte{0x00, 0}, true, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			space, ok := vp9ColorSpace(tt.data)
			if shown := visible(recorder.VP9, tt.data); shown != tt.shown || space != tt.space || ok != tt.ok {
				t.Errorf("shown %t, colour space %d %t", shown, space, ok)
			}
		})
	}
}

// Frames come from outside: no header may do harm.
func FuzzDetect(f *testing.F) {
	f.Add([]byte{0x82, 0x49, 0x83, 0x42, 0x20, 0x10})
	f.Add([]byte("\x00\x00\x00\x01\x67\x42\xc0\x1f\x8c\x8d\x40\x50\x1e\xd0\x0f\x12\x26\xa0\x00\x00\x00\x01\x68\xce\x3c\x80\x00\x00\x00\x01\x65\x88"))
	f.Add([]byte("\x00\x00\x01\x67\x00\x00\x01\x68\x00\x00\x01\x65"))
	f.Fuzz(func(t *testing.T, data []byte) {
		original := bytes.Clone(data)
		for _, codec := range []recorder.Codec{recorder.VP8, recorder.VP9, recorder.H264} {
			format, err := detect(codec, recorder.Size{W: 64, H: 48}, recorder.Frame{Key: true, Data: data})
			if err != nil && !errors.Is(err, ErrSource) {
				t.Errorf("error is %v, want ErrSource", err)
			}
			if err == nil && codec == recorder.H264 && len(format.track.CodecPrivate) == 0 {
				t.Error("H.264 without a configuration")
			}
			visible(codec, data)
			payload(codec, data)
		}
		if !bytes.Equal(data, original) {
			t.Error("the frame was changed, though it may be rendered again")
		}
	})
}

func TestParseSPS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		sps  []byte
		want signal
		bad  bool
	}{
		{"baseline without VUI colours", []byte{0x67, 0x42, 0xc0, 0x0d, 0xd9, 0x01, 0x41, 0xfb, 0x01, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0xc0, 0xf1, 0x42, 0xa4, 0x80}, signal{matrix: unspecified}, false},
		{"high", []byte{0x67, 0x64, 0x00, 0x32, 0xac, 0xb4, 0x01, 0x90, 0x04, 0x4f, 0xcb, 0x80, 0x88, 0, 0, 3, 0, 8, 0, 0, 3, 1, 0xe0, 0x78, 0xc1, 0x95}, signal{matrix: unspecified}, false},
		{"a count of billions", append([]byte{0x67, 0x42, 0xc0, 0x1f, 0b11010_110, 0x80}, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff), signal{}, true},
		{"cut", []byte{0x67, 0x42, 0xc0, 0x1f, 0xd9}, signal{}, true},
		{"empty", nil, signal{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseSPS(tt.sps)
			if (err != nil) != tt.bad || (err == nil && got.signal != tt.want) {
				t.Errorf("%+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// TestProgress: a child that gets little time is no stalled one; one that hangs or turns in circles is.
func TestProgress(t *testing.T) {
	t.Parallel()
	begin := time.Unix(1000, 0)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	p := progress{limit: 30 * time.Second, since: begin}
	steps := []struct {
		second int
		bytes  uint64
		waits  bool
		used   time.Duration
		want   bool
	}{
		{10, 5, false, time.Second, false},
		{39, 5, false, time.Second, false},
		{100, 5, true, time.Second, false},                            // a quiet source
		{129, 5, false, 1010 * time.Millisecond, false},               // starved, but at work
		{158, 5, false, 1020 * time.Millisecond, false},               // still
		{187, 5, false, 1020 * time.Millisecond, false},               // nothing since 158
		{188, 5, false, 1020 * time.Millisecond, true},                // hangs
		{189, 6, false, 2 * time.Second, false},                       // moved after all
		{190, 6, false, 31*time.Second + 999*time.Millisecond, false}, // busy
		{191, 6, false, 32 * time.Second, true},                       // in circles
	}
	for _, s := range steps {
		if got := p.stalled(at(s.second), s.bytes, s.waits, s.used); got != s.want {
			t.Errorf("second %d: stalled is %v", s.second, got)
		}
	}
}
