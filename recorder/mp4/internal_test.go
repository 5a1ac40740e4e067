package mp4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/dualrec/dualrec/recorder"
)

// Parameter sets of a 3200x1080 canvas at 30 fps (x264, High, level 5.0).
var (
	testSPS = []byte{0x67, 0x64, 0x00, 0x32, 0xac, 0xb4, 0x01, 0x90, 0x04, 0x4f, 0xcb, 0x80, 0x88, 0x00, 0x00, 0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x01, 0xe0, 0x78, 0xc1, 0x95}
	testPPS = []byte{0x68, 0xef, 0x0f, 0xcb}
)

// bigMovie is a recording of 9 hours and more than 6 GB, of which only the sizes exist.
func bigMovie() *movie {
	const hours = 9
	v := &videoIndex{sps: [][]byte{testSPS}, pps: [][]byte{testPPS}, width: 3200, height: 1080}
	for i := range hours * 3600 * 30 {
		size := uint32(5900)
		if i%150 == 0 {
			size = 60000
			v.keys = append(v.keys, uint32(i+1))
		}
		v.sizes, v.total = append(v.sizes, size), v.total+uint64(size)
	}
	a := &audioIndex{config: adtsConfig{SampleRate: 48000, Channels: 1, rateIndex: 3}}
	for range hours*3600*48000/1024 + 2 {
		a.sizes, a.total = append(a.sizes, 130), a.total+130
	}
	m := &movie{fps: 30, duration: hours * 3600 * 1e6, createdAt: time.Unix(1e9, 0), video: v, audio: a, priming: 1024}
	m.chunks = interleave(&movie{video: v, fps: 30, audio: a, priming: 1024})
	return m
}

func TestNineHoursAndSixGigabytes(t *testing.T) {
	t.Parallel()
	m := bigMovie()
	head, err := m.header()
	if err != nil {
		t.Fatal(err)
	}
	media := m.video.total + m.audio.total
	if media < 6e9 {
		t.Fatalf("only %d bytes of media: the test proves nothing", media)
	}
	if len(head) > 16<<20 {
		t.Errorf("the index has %d bytes", len(head))
	}
	// The last bytes of the header are a 64-bit mdat: 1, "mdat", size.
	tail := head[len(head)-16:]
	if binary.BigEndian.Uint32(tail) != 1 || string(tail[4:8]) != "mdat" || binary.BigEndian.Uint64(tail[8:]) != media+16 {
		t.Errorf("mdat begins with % x", tail)
	}
	moov := parseMoov(t, head)
	for i, trak := range moov.Traks {
		stbl := trak.Mdia.Minf.Stbl
		if stbl.Co64 == nil || stbl.Stco != nil {
			t.Fatalf("track %d has 32-bit offsets", i+1)
		}
		last := stbl.Co64.ChunkOffset[len(stbl.Co64.ChunkOffset)-1]
		if last < 6e9 || last >= uint64(len(head))+media {
			t.Errorf("the last chunk of track %d is at %d", i+1, last)
		}
	}
	if got := moov.Mvhd.Duration; got != 9*3600*movieTimescale {
		t.Errorf("mvhd lasts %d", got)
	}
	checkSparse(t, head, int64(media))
}

// checkSparse lets ffprobe judge a file of which only the index is written; the rest is a hole.
func checkSparse(t *testing.T, head []byte, media int64) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sparse.mp4")
	if err := os.WriteFile(path, head, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(len(head))+media); err != nil {
		t.Skipf("the file system of the temporary folder has no sparse files of this size: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "fatal", "-show_entries", "format=duration:packet=stream_index,pts_time,pos",
		"-select_streams", "v", "-read_intervals", "32399.9%+#2", "-of", "csv", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe: %v\n%s", err, out)
	}
	if s := string(out); !strings.Contains(s, "32395.000000") || !strings.Contains(s, "format,32400.000000") {
		t.Errorf("ffprobe does not find the last keyframe at 32395 s of 32400 s:\n%s", s)
	}
}

func parseMoov(t *testing.T, head []byte) *mp4.MoovBox {
	t.Helper()
	r := bytes.NewReader(head)
	if _, err := mp4.DecodeBox(0, r); err != nil {
		t.Fatal(err)
	}
	box, err := mp4.DecodeBox(uint64(len(head)-r.Len()), r)
	if err != nil {
		t.Fatal(err)
	}
	return box.(*mp4.MoovBox)
}

// Beyond 24 hours the durations need 64 bits too.
func TestLongDurations(t *testing.T) {
	t.Parallel()
	v := &videoIndex{sps: [][]byte{testSPS}, pps: [][]byte{testPPS}, width: 3200, height: 1080, keys: []uint32{1}}
	v.sizes = make([]uint32, 25*3600*30)
	for i := range v.sizes {
		v.sizes[i] = 10
	}
	m := &movie{fps: 30, duration: 25 * 3600 * 1e6, video: v}
	m.chunks = interleave(&movie{video: v, fps: 30, audio: nil, priming: 0})
	head, err := m.header()
	if err != nil {
		t.Fatal(err)
	}
	moov := parseMoov(t, head)
	trak := moov.Traks[0]
	if moov.Mvhd.Duration != 25*3600*movieTimescale || trak.Tkhd.Duration != moov.Mvhd.Duration || trak.Mdia.Mdhd.Duration != 25*3600*90000 {
		t.Errorf("durations are %d, %d, %d", moov.Mvhd.Duration, trak.Tkhd.Duration, trak.Mdia.Mdhd.Duration)
	}
	if moov.Mvhd.Duration <= math.MaxUint32 {
		t.Error("the duration fits into 32 bits: the test proves nothing")
	}
}

// The index must be right on both sides of the switch to 64-bit offsets.
func TestOffsetWidths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		last  uint32
		chunk string
	}{
		{"just below", 200 << 20, "stco"},
		{"just above", 800 << 20, "co64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := &videoIndex{sps: [][]byte{testSPS}, pps: [][]byte{testPPS}, width: 3200, height: 1080, keys: []uint32{1}}
			for range 35 {
				v.sizes = append(v.sizes, 100<<20)
			}
			v.sizes = append(v.sizes, tt.last)
			m := &movie{fps: 2, duration: 18e6, video: v}
			m.chunks = interleave(&movie{video: v, fps: 2, audio: nil, priming: 0})
			head, err := m.header()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(head, []byte(tt.chunk)) {
				t.Errorf("there is no %s", tt.chunk)
			}
		})
	}
}

func TestNALReaderAtEveryBoundary(t *testing.T) {
	t.Parallel()
	stream := []byte("\x00\x00\x00\x01\x67abc\x00\x00\x01\x68d\x00\x00\x00\x00\x01\x65\x00\x00\x03\x01ef\x00\x00\x01\x00\x00\x01\x41g\x00\x00")
	want := []string{"\x67abc", "\x68d", "\x65\x00\x00\x03\x01ef", "\x41g"}
	for name, r := range map[string]io.Reader{
		"at once": bytes.NewReader(stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(stream)),
		"data with EOF": iotest.DataErrReader(bytes.NewReader(stream)), "halves": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNALReader(r)
			for _, w := range want {
				if got, err := n.next(); err != nil || string(got) != w {
					t.Fatalf("got %q, %v, want %q", got, err, w)
				}
			}
			if _, err := n.next(); !errors.Is(err, io.EOF) {
				t.Errorf("error is %v, want io.EOF", err)
			}
		})
	}
}

func TestNALReaderGrowsAndLimits(t *testing.T) {
	t.Parallel()
	big := append([]byte{0, 0, 1, 0x65}, bytes.Repeat([]byte{7}, 300<<10)...)
	n := newNALReader(io.MultiReader(bytes.NewReader(big), bytes.NewReader(big)))
	for range 2 {
		if got, err := n.next(); err != nil || len(got) != 300<<10+1 {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	endless := newNALReader(io.MultiReader(bytes.NewReader([]byte{0, 0, 1}), repeat(7)))
	if _, err := endless.next(); !errors.Is(err, ErrAnnexB) {
		t.Errorf("error is %v, want ErrAnnexB", err)
	}
}

type repeat byte

func (b repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// A picture of several slices is one sample; parameter sets, delimiters and the encoder's name are not in it.
func TestUnitReader(t *testing.T) {
	t.Parallel()
	const sc = "\x00\x00\x01"
	stream := sc + "\x09\x10" + sc + "\x67\x42\x00\x1e\x80" + sc + "\x68\xc0\x00\x80" + sc + "\x06\x05\x02xx\x80" + sc + "\x06\x06\x01\x80" +
		sc + "\x65\x80one" + sc + "\x65\x40two" + sc + "\x41\x80three" + sc + "\x0c\xff\x80" + sc + "\x09\x30" + sc + "\x41\x80four"
	var sets []byte
	u := newUnitReader(strings.NewReader(stream), func(kind byte, _ []byte) error { sets = append(sets, kind); return nil })
	want := []struct {
		data string
		key  bool
	}{
		{"\x00\x00\x00\x04\x06\x06\x01\x80\x00\x00\x00\x05\x65\x80one\x00\x00\x00\x05\x65\x40two", true},
		{"\x00\x00\x00\x07\x41\x80three", false},
		{"\x00\x00\x00\x06\x41\x80four", false},
	}
	for i, w := range want {
		if got, err := u.next(); err != nil || string(got.data) != w.data || got.key != w.key {
			t.Fatalf("picture %d is %q, key %t, %v", i, got.data, got.key, err)
		}
	}
	if _, err := u.next(); !errors.Is(err, io.EOF) || !bytes.Equal(sets, []byte{7, 8}) {
		t.Errorf("%v, sets %v", err, sets)
	}
}

func TestRescale(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ v, mul, div, want int64 }{
		{1, 48000, 30, 1600}, {1_000_000, 48000, 1e6, 48000}, {33_333, 48000, 1e6, 1600}, {48 * 3600 * 1e6, 48000, 1e6, 48 * 3600 * 48000},
	} {
		if got := rescale(tt.v, tt.mul, tt.div); got != tt.want {
			t.Errorf("rescale(%d, %d, %d) is %d, want %d", tt.v, tt.mul, tt.div, got, tt.want)
		}
	}
}

func FuzzAnnexB(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01\x67\x64\x00\x32\xac\xb4\x00\x00\x01\x68\xee\x3c\xb0\x00\x00\x01\x65\x88one\x00\x00\x01\x41\x9atwo"))
	f.Add([]byte("\x00\x00\x01\x00\x00\x01\x00\x00\x01"))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sets := newParameterSets()
		in := recorder.SegmentSource{Frames: 1, Open: func() (io.ReadCloser, error) { return io.NopCloser(iotest.HalfReader(bytes.NewReader(b))), nil }}
		if index, err := indexVideo(t.Context(), []recorder.SegmentSource{in}, recorder.Size{}); err == nil && len(index.sizes) != 1 {
			t.Errorf("%d frames accepted as 1", len(index.sizes))
		}
		u := newUnitReader(bytes.NewReader(b), sets.add)
		total := 0
		for {
			unit, err := u.next()
			if err != nil {
				break
			}
			total += len(unit.data)
			checkLengths(t, unit.data)
		}
		if total > 2*len(b)+4 {
			t.Errorf("%d bytes became %d", len(b), total)
		}
	})
}

// checkLengths walks the length prefixes of a sample: they must add up, and no unit may hold a start code.
func checkLengths(t *testing.T, data []byte) {
	t.Helper()
	for len(data) > 0 {
		if len(data) < 4 {
			t.Fatal("a length is cut")
		}
		n := int(binary.BigEndian.Uint32(data))
		if n == 0 || n > len(data)-4 {
			t.Fatalf("a unit of %d bytes in %d", n, len(data)-4)
		}
		if bytes.Contains(data[4:4+n], startCode) {
			t.Fatal("a start code is left in a unit")
		}
		data = data[4+n:]
	}
}

func FuzzADTS(f *testing.F) {
	f.Add([]byte{0xff, 0xf1, 0x4c, 0x40, 0x01, 0x3f, 0xfc, 1, 2})
	f.Add([]byte{0xff, 0xf0, 0x4c, 0x80, 0x01, 0x7f, 0xfc, 0, 0, 1, 2})
	f.Add([]byte{0xff, 0xf1, 0x4c, 0x40, 0x00, 0x1f, 0xfc})
	f.Fuzz(func(t *testing.T, b []byte) {
		a := newADTSReader(bytes.NewReader(b))
		total := 0
		for {
			frame, err := a.next()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, ErrADTS) {
					t.Errorf("error is %v, want ErrADTS", err)
				}
				return
			}
			if total += len(frame) + 7; total > len(b) || len(frame) == 0 {
				t.Fatalf("%d bytes out of %d", total, len(b))
			}
		}
	})
}
