package depacketize

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"github.com/Eyevinn/mp4ff/avc"
	"github.com/dualrec/dualrec/recorder"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

func TestNewRefusesOtherCodecs(t *testing.T) {
	t.Parallel()
	if _, err := (Set{}).New("AV1"); !errors.Is(err, recorder.ErrCodec) {
		t.Fatalf("error %v, want ErrCodec", err)
	}
}

// step is one packet of a synthetic stream; lost says that some are missing before it.
type step struct {
	rtp     int64
	marker  bool
	lost    bool
	payload []byte
}

// run pushes steps and describes what comes out, one word per unit: K or P and the payload bytes in
// hexadecimal, or "damaged", each with the frame's timestamp.
func run(t *testing.T, codec recorder.Codec, steps []step) (words []string, errs int) {
	t.Helper()
	d, err := Set{}.New(codec)
	if err != nil {
		t.Fatal(err)
	}
	say := func(u *recorder.Unit) bool {
		switch {
		case u == nil:
			return false
		case u.Damaged:
			words = append(words, fmt.Sprintf("%d damaged", u.RTP))
		case u.Key:
			words = append(words, fmt.Sprintf("%d K %x", u.RTP, u.Data))
		default:
			words = append(words, fmt.Sprintf("%d P %x", u.RTP, u.Data))
		}
		return true
	}
	seq := int64(100)
	for _, s := range steps {
		if s.lost {
			seq++
		}
		payload := bytes.Clone(s.payload)
		u, err := d.Push(recorder.RTPPacket{Seq: seq, RTP: s.rtp, Marker: s.marker, Payload: payload, Rotation: -1}, s.lost)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			errs++
		}
		clear(payload) // it is the caller's again
		say(u)
		seq++
	}
	for say(d.Flush()) {
	}
	return words, errs
}

// Small frames of VP8, VP9 and H.264, by hand.
var (
	vp8Key   = []byte{0x10, 0x00, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00} // descriptor + 320x180
	vp8Delta = []byte{0x10, 0x01, 0xaa, 0xbb}
	vp8Rest  = []byte{0x00, 0xcc}
	vp8Part  = []byte{0x11, 0xdd} // start of partition 1: not of a frame

	nalSPS  = []byte{0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xec, 0x04, 0x40} // 320x240
	nalPPS  = []byte{0x68, 0xce, 0x3c, 0x80}
	nalIDR  = []byte{0x65, 0x88, 0x01}
	nalP    = []byte{0x41, 0x9a, 0x02}
	nalP2   = []byte{0x41, 0x1a, 0x03} // first_mb_in_slice is not 0
	nalSEI  = []byte{0x06, 0x05, 0x00}
	fuStart = []byte{0x7c, 0x85, 0x88, 0x01}
	fuMid   = []byte{0x7c, 0x05, 0x02}
	fuEnd   = []byte{0x7c, 0x45, 0x03}
)

func stap(nals ...[]byte) []byte {
	out := []byte{0x78}
	for _, n := range nals {
		out = append(append(out, byte(len(n)>>8), byte(len(n))), n...)
	}
	return out
}

func TestFrames(t *testing.T) {
	t.Parallel()
	const (
		sps = "00000001" + "6742c00dda0507ec0440"
		pps = "00000001" + "68ce3c80"
		idr = "00000001" + "658801"
		p   = "00000001" + "419a02"
	)
	for _, tc := range []struct {
		name  string
		codec recorder.Codec
		steps []step
		want  []string
		errs  int
	}{
		{"VP8: a frame of one packet", recorder.VP8, []step{{1, true, false, vp8Key}}, []string{"1 K 0000009d012a4001b400"}, 0},
		{"VP8: a frame of three packets", recorder.VP8,
			[]step{{1, false, false, vp8Delta}, {1, false, false, vp8Rest}, {1, true, false, vp8Part}}, []string{"1 P 01aabbccdd"}, 0},
		{"VP8: no marker, the timestamp ends it", recorder.VP8,
			[]step{{1, false, false, vp8Delta}, {2, false, false, vp8Delta}}, []string{"1 P 01aabb", "2 P 01aabb"}, 0},
		{"VP8: the end of the last frame is missing", recorder.VP8,
			[]step{{1, true, false, vp8Delta}, {2, false, false, vp8Delta}}, []string{"1 P 01aabb", "2 damaged"}, 0},
		{"VP8: one packet completes two frames", recorder.VP8,
			[]step{{1, false, false, vp8Delta}, {2, true, false, vp8Delta}, {3, true, false, vp8Delta}},
			[]string{"1 P 01aabb", "2 P 01aabb", "3 P 01aabb"}, 0},
		{"VP8: the middle is missing", recorder.VP8,
			[]step{{1, false, false, vp8Delta}, {1, true, true, vp8Rest}, {2, true, false, vp8Delta}}, []string{"1 damaged", "2 P 01aabb"}, 0},
		{"VP8: the beginning is missing", recorder.VP8,
			[]step{{1, true, false, vp8Delta}, {2, true, true, vp8Rest}, {3, true, false, vp8Delta}},
			[]string{"1 P 01aabb", "2 damaged", "3 P 01aabb"}, 0},
		{"VP8: the end is missing", recorder.VP8,
			[]step{{1, false, false, vp8Delta}, {2, true, true, vp8Delta}}, []string{"1 damaged", "2 P 01aabb"}, 0},
		{"VP8: a whole frame is missing", recorder.VP8,
			[]step{{1, true, false, vp8Delta}, {3, true, true, vp8Delta}}, []string{"1 P 01aabb", "3 P 01aabb"}, 0},
		{"VP8: the first packet ever is not a frame's first", recorder.VP8,
			[]step{{1, true, false, vp8Rest}, {2, true, false, vp8Key}}, []string{"1 damaged", "2 K 0000009d012a4001b400"}, 0},
		{"VP8: two frames with one timestamp", recorder.VP8,
			[]step{{1, false, false, vp8Delta}, {1, true, false, vp8Delta}}, []string{"1 P 01aabb", "1 P 01aabb"}, 0},
		{"VP8: padding changes nothing", recorder.VP8,
			[]step{{1, true, false, vp8Delta}, {1, false, false, nil}, {2, false, false, vp8Delta}, {2, false, false, nil}, {2, true, false, vp8Rest}},
			[]string{"1 P 01aabb", "2 P 01aabbcc"}, 0},
		{"VP8: a loss before padding counts", recorder.VP8,
			[]step{{1, false, false, vp8Delta}, {1, false, true, nil}, {1, true, false, vp8Rest}}, []string{"1 damaged"}, 0},
		{"VP8: a keyframe without its start code", recorder.VP8, []step{{1, true, false, []byte{0x10, 0, 1, 2, 3, 4}}}, []string{"1 damaged"}, 0},
		{"VP8: descriptor cut off", recorder.VP8, []step{{1, true, false, []byte{0x90}}, {2, true, false, vp8Delta}}, []string{"1 damaged", "2 P 01aabb"}, 1},
		{"VP9: layer frames of one picture stay together", recorder.VP9,
			[]step{{1, false, false, []byte{0x68, 0x00, 0x00, 0x86}}, {1, true, false, []byte{0x68, 0x03, 0x00, 0xbb}}}, []string{"1 P 86bb"}, 0},
		{"VP9: a picture without its lowest layer", recorder.VP9,
			[]step{{1, true, true, []byte{0x68, 0x03, 0x00, 0x86}}}, []string{"1 damaged"}, 0},
		{"H264: STAP-A with a small IDR", recorder.H264, []step{{1, true, false, stap(nalSPS, nalPPS, nalIDR)}}, []string{"1 K " + sps + pps + idr}, 0},
		{"H264: STAP-A, then FU-A", recorder.H264,
			[]step{{1, false, false, stap(nalSPS, nalPPS)}, {1, false, false, fuStart}, {1, false, false, fuMid}, {1, true, false, fuEnd}},
			[]string{"1 K " + sps + pps + "00000001" + "6588010203"}, 0},
		{"H264: parameter sets as single NAL units", recorder.H264,
			[]step{{1, false, false, nalSPS}, {1, false, false, nalPPS}, {1, true, false, nalIDR}, {2, true, false, nalP}},
			[]string{"1 K " + sps + pps + idr, "2 P " + p}, 0},
		{"H264: parameter sets with a timestamp of their own", recorder.H264,
			[]step{{1, true, false, stap(nalSPS, nalPPS)}, {2, true, false, nalIDR}}, []string{"2 K " + sps + pps + idr}, 0},
		{"H264: a later IDR gets the parameter sets in force", recorder.H264,
			[]step{{1, true, false, stap(nalSPS, nalPPS, nalIDR)}, {2, true, false, nalP}, {3, true, false, nalIDR}},
			[]string{"1 K " + sps + pps + idr, "2 P " + p, "3 K " + sps + pps + idr}, 0},
		{"H264: an IDR without parameter sets is no keyframe", recorder.H264, []step{{1, true, false, nalIDR}}, []string{"1 P " + idr}, 0},
		{"H264: an IDR whose parameter sets may be lost", recorder.H264,
			[]step{{1, true, false, stap(nalSPS, nalPPS, nalIDR)}, {2, true, true, nalIDR}}, []string{"1 K " + sps + pps + idr, "2 damaged"}, 0},
		{"H264: a slice with first_mb_in_slice 0 opens a frame after loss", recorder.H264, []step{{1, true, true, nalP}}, []string{"1 P " + p}, 0},
		{"H264: a later slice does not", recorder.H264, []step{{1, true, true, nalP2}}, []string{"1 damaged"}, 0},
		{"H264: SEI opens a frame after loss", recorder.H264,
			[]step{{1, false, true, nalSEI}, {1, true, false, nalP}}, []string{"1 P 00000001060500" + p}, 0},
		{"H264: two slices in a frame", recorder.H264,
			[]step{{1, false, false, nalP}, {1, true, false, nalP2}}, []string{"1 P " + p + "00000001411a03"}, 0},
		{"H264: FU-A without its beginning", recorder.H264, []step{{1, true, true, fuEnd}, {2, true, false, nalP}}, []string{"1 damaged", "2 P " + p}, 0},
		{"H264: FU-A without its end, next timestamp", recorder.H264,
			[]step{{1, false, false, fuStart}, {2, true, false, nalP}}, []string{"1 damaged", "2 P " + p}, 0},
		{"H264: FU-A interrupted", recorder.H264,
			[]step{{1, false, false, fuStart}, {1, true, false, nalP2}}, []string{"1 damaged"}, 1},
		{"H264: FU-A that changes its type", recorder.H264,
			[]step{{1, false, false, fuStart}, {1, true, false, []byte{0x7c, 0x41, 1}}}, []string{"1 damaged"}, 1},
		{"H264: FU-A with start and end", recorder.H264, []step{{1, true, false, []byte{0x7c, 0xc5, 1}}}, []string{"1 damaged"}, 1},
		{"H264: FU-A cut off", recorder.H264, []step{{1, true, false, []byte{0x7c, 0x85}}}, []string{"1 damaged"}, 1},
		{"H264: STAP-A cut off", recorder.H264, []step{{1, true, false, []byte{0x78, 0, 9, 0x41}}}, []string{"1 damaged"}, 1},
		{"H264: empty STAP-A", recorder.H264, []step{{1, true, false, []byte{0x78}}}, []string{"1 damaged"}, 1},
		{"H264: interleaved packet type", recorder.H264, []step{{1, true, false, []byte{0x79, 0, 0}}}, []string{"1 damaged"}, 1},
		{"H264: SPS that cannot be read", recorder.H264, []step{{1, true, false, stap([]byte{0x67, 1, 2, 3, 0}, nalPPS, nalIDR)}}, []string{"1 damaged"}, 0},
		{"Opus: one unit each, loss damages none", recorder.Opus,
			[]step{{960, true, false, []byte{0xf8, 0xff, 0xfe}}, {2880, false, true, []byte{0xf8}}, {2880, false, false, nil}},
			[]string{"960 K f8fffe", "2880 K f8"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, errs := run(t, tc.codec, tc.steps)
			if !slices.Equal(got, tc.want) || errs != tc.errs {
				t.Errorf("\n got %q, %d errors\nwant %q, %d errors", got, errs, tc.want, tc.errs)
			}
		})
	}
}

func TestUnitFacts(t *testing.T) {
	t.Parallel()
	d, _ := Set{}.New(recorder.H264)
	push := func(seq, ts int64, marker bool, rotation int, payload []byte) *recorder.Unit {
		u, err := d.Push(recorder.RTPPacket{Seq: seq, RTP: ts, Marker: marker, Payload: payload, Rotation: rotation,
			At: epoch.Add(1000 * 1000 * 1000), Pos: recorder.Position{Offset: seq}}, false)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	if u := push(7, 1, true, -1, stap(nalSPS, nalPPS)); u != nil {
		t.Fatalf("parameter sets alone are no frame: %+v", u)
	}
	push(8, 2, false, -1, fuStart)
	u := push(9, 2, true, 90, fuEnd)
	if u == nil || !u.Key || u.Size != (recorder.Size{W: 320, H: 240}) || u.Rotation != 90 {
		t.Fatalf("keyframe: %+v", u)
	}
	if u.FirstSeq != 7 || u.Pos.Offset != 7 {
		t.Errorf("the keyframe begins at its parameter sets: seq %d, position %v, want 7", u.FirstSeq, u.Pos)
	}
	if u := push(10, 3, true, -1, nalP); u.Rotation != 90 || u.FirstSeq != 10 || u.Key || !u.Size.Zero() {
		t.Errorf("an orientation holds until the next one: %+v", u)
	}
	if u := push(11, 4, true, 0, nalP); u.Rotation != 0 {
		t.Errorf("an orientation of 0 takes the old one back: %+v", u)
	}
}

func TestDataIsTheCallersUntilTheNextPush(t *testing.T) {
	t.Parallel()
	d, _ := Set{}.New(recorder.VP8)
	push := func(ts int64, marker bool, payload []byte) *recorder.Unit {
		u, err := d.Push(recorder.RTPPacket{RTP: ts, Marker: marker, Payload: payload}, false)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	push(1, false, vp8Delta)
	first := push(2, true, vp8Key) // completes both; hands out the earlier
	before := bytes.Clone(first.Data)
	if !bytes.Equal(first.Data, vp8Delta[1:]) {
		t.Fatalf("first frame %x", first.Data)
	}
	second := push(3, false, vp8Rest) // begins a third frame
	if !bytes.Equal(second.Data, vp8Key[1:]) {
		t.Fatalf("second frame %x after a third has begun", second.Data)
	}
	if !bytes.Equal(before, vp8Delta[1:]) {
		t.Fatal("a clone changed")
	}
}

func TestFrameSizeIsBounded(t *testing.T) {
	t.Parallel()
	d, _ := Set{}.New(recorder.VP8)
	packet := append([]byte{0x00}, make([]byte, 60000)...)
	var tooLarge bool
	for i := range MaxFrameBytes/60000 + 2 {
		packet[0] = 0x00
		if i == 0 {
			packet[0] = 0x10
			packet[1] = 1
		}
		_, err := d.Push(recorder.RTPPacket{Seq: int64(i), RTP: 1, Payload: packet}, false)
		tooLarge = tooLarge || errors.Is(err, ErrFrameTooLarge)
	}
	u := d.Flush()
	if !tooLarge || u == nil || !u.Damaged || u.Data != nil {
		t.Fatalf("error seen: %v, unit %+v", tooLarge, u)
	}
}

// TestEncodedVP9 encodes with FFmpeg, packetizes with the RTP library and wants every frame back, byte for byte.
func TestEncodedVP9(t *testing.T) {
	t.Parallel()
	ivf := encode(t, "-s", "322x182", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-lag-in-frames", "0", "-g", "10", "-f", "ivf")
	var frames [][]byte
	for rest := ivf[32:]; len(rest) > 0; {
		n := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
		frames = append(frames, rest[12:12+n])
		rest = rest[12+n:]
	}
	for name, payloader := range map[string]*codecs.VP9Payloader{"flexible": {FlexibleMode: true}, "non-flexible": {}} {
		t.Run(name, func(t *testing.T) {
			d, _ := Set{}.New(recorder.VP9)
			var got []unit
			seq := int64(0)
			for i, f := range frames {
				parts := payloader.Payload(200, f)
				for j, part := range parts {
					u, err := d.Push(recorder.RTPPacket{Seq: seq, RTP: int64(i) * 3000, Marker: j == len(parts)-1, Payload: part, Rotation: -1}, false)
					if err != nil {
						t.Fatal(err)
					}
					if u != nil {
						got = append(got, unit{Unit: *u})
						got[len(got)-1].Data = bytes.Clone(u.Data)
					}
					seq++
				}
			}
			checkEncoded(t, got, frames)
			decode(t, recorder.VP9, got)
		})
	}
}

func checkEncoded(t *testing.T, got []unit, frames [][]byte) {
	t.Helper()
	if len(got) != len(frames) || len(frames) != 20 {
		t.Fatalf("%d frames of %d", len(got), len(frames))
	}
	for i, u := range got {
		if !bytes.Equal(u.Data, frames[i]) || u.Damaged {
			t.Fatalf("frame %d differs", i)
		}
		if key := i%10 == 0; u.Key != key || key && u.Size != (recorder.Size{W: 322, H: 182}) {
			t.Errorf("frame %d: key %v, size %v", i, u.Key, u.Size)
		}
	}
}

// encode makes 20 frames of a test picture.
func encode(t *testing.T, args ...string) []byte {
	t.Helper()
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
	args = slices.Concat([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=30", "-frames:v", "20", "-threads", "1"}, args, []string{"-"})
	cmd := exec.CommandContext(t.Context(), ffmpeg, args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, complaints.String())
	}
	return out
}

func TestSPS(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		want recorder.Size
	}{
		{"baseline, even crop", []string{"-s", "1918x1022", "-profile:v", "baseline"}, recorder.Size{W: 1918, H: 1022}},
		{"high, portrait", []string{"-s", "270x480", "-profile:v", "high"}, recorder.Size{W: 270, H: 480}},
		{"high 4:4:4, odd size", []string{"-s", "321x181", "-pix_fmt", "yuv444p", "-profile:v", "high444"}, recorder.Size{W: 321, H: 181}},
		{"high 4:2:2", []string{"-s", "322x181", "-pix_fmt", "yuv422p"}, recorder.Size{W: 322, H: 181}},
		{"monochrome", []string{"-s", "321x180", "-pix_fmt", "gray"}, recorder.Size{W: 321, H: 180}},
		{"interlaced", []string{"-s", "720x576", "-x264-params", "interlaced=1"}, recorder.Size{W: 720, H: 576}},
		{"custom matrices", []string{"-s", "640x360", "-x264-params", "cqm=jvt"}, recorder.Size{W: 640, H: 360}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			args := slices.Concat([]string{"-pix_fmt", "yuv420p"}, tc.args, []string{"-c:v", "libx264", "-preset", "ultrafast", "-frames:v", "1", "-f", "h264"})
			spss, _ := avc.GetParameterSetsFromByteStream(encode(t, args...))
			if len(spss) == 0 {
				t.Fatal("no SPS")
			}
			_, got, err := parseSPS(spss[0])
			if err != nil || got != tc.want {
				t.Fatalf("size %v, error %v, want %v", got, err, tc.want)
			}
			lib, err := avc.ParseSPSNALUnit(spss[0], false)
			if err != nil || int(lib.Width) != got.W || int(lib.Height) != got.H {
				t.Errorf("the library says %dx%d (%v), want %v", lib.Width, lib.Height, err, got)
			}
		})
	}
}

func TestSPSRefusals(t *testing.T) {
	t.Parallel()
	for name, nal := range map[string][]byte{
		"empty":     {},
		"cut off":   nalSPS[:5],
		"all zero":  make([]byte, 100),
		"oversized": append(bytes.Clone(nalSPS), make([]byte, maxParamSetBytes)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := parseSPS(nal); !errors.Is(err, ErrMalformed) {
				t.Errorf("error %v, want ErrMalformed", err)
			}
		})
	}
}

var testParams = recorder.RTPParameters{Codec: recorder.VP8, SSRC: 0x01020304, PayloadType: 101,
	Extensions: map[string]uint8{recorder.ExtVideoOrientation: 11}}

func TestParseRTP(t *testing.T) {
	t.Parallel()
	head := func(first byte, rest ...byte) []byte {
		return append([]byte{first, 0x80 | 101, 0x12, 0x34, 0, 0, 0x56, 0x78, 1, 2, 3, 4}, rest...)
	}
	for _, tc := range []struct {
		name     string
		raw      []byte
		ok       bool
		payload  string
		rotation int
		ssrc     uint32
	}{
		{"plain", head(0x80, 'a', 'b'), true, "ab", -1, 0x01020304},
		{"padding is cut off", head(0xa0, 'a', 'b', 0, 0, 3), true, "ab", -1, 0x01020304},
		{"nothing but padding", head(0xa0, 0, 2), true, "", -1, 0x01020304},
		{"CVO", head(0x90, 0xbe, 0xde, 0, 1, 0xb0, 1, 0, 0, 'x'), true, "x", 90, 0x01020304},
		{"CVO says upright", head(0x90, 0xbe, 0xde, 0, 1, 0xb0, 0, 0, 0, 'x'), true, "x", 0, 0x01020304},
		{"CVO with camera and flip bits", head(0x90, 0xbe, 0xde, 0, 1, 0xb0, 0x0f, 0, 0, 'x'), true, "x", 270, 0x01020304},
		{"zero padding between elements", head(0x90, 0xbe, 0xde, 0, 3, 0x10, '0', 0, 0, 0, 0, 0, 0, 0xb0, 2, 0, 0, 'x'), true, "x", 180, 0x01020304},
		{"two-byte extensions", head(0x90, 0x10, 0, 0, 1, 11, 1, 3, 0, 'x'), true, "x", 270, 0x01020304},
		{"extension of another kind", head(0x90, 0xab, 0xcd, 0, 1, 0xb0, 1, 0, 0, 'x'), true, "x", -1, 0x01020304},
		{"CSRC", head(0x81, 9, 9, 9, 9, 'x'), true, "x", -1, 0x01020304},
		{"another SSRC", []byte{0x80, 101, 0, 1, 0, 0, 0, 1, 0, 0, 0x04, 0xd2, 'x'}, false, "", 0, 1234},
		{"another payload type", []byte{0x80, 102, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 'x'}, false, "", 0, 0x01020304},
		{"version 1", head(0x40, 'x'), false, "", 0, 0},
		{"padding longer than the packet", head(0xa0, 'x', 200), false, "", 0, 0},
		{"padding of 0", head(0xa0, 'x', 0), false, "", 0, 0},
		{"extension longer than the packet", head(0x90, 0xbe, 0xde, 0, 9, 'x'), false, "", 0, 0},
		{"cut off", head(0x80)[:11], false, "", 0, 0},
		{"empty", nil, false, "", 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, ssrc, ok := Set{}.ParseRTP(tc.raw, testParams)
			if ok != tc.ok || ssrc != tc.ssrc {
				t.Fatalf("ok %v, SSRC %d, want %v, %d", ok, ssrc, tc.ok, tc.ssrc)
			}
			if ok && (string(p.Payload) != tc.payload || p.Rotation != tc.rotation || p.Seq != 0x1234 || p.RTP != 0x5678 || !p.Marker) {
				t.Errorf("%+v, want payload %q, rotation %d", p, tc.payload, tc.rotation)
			}
		})
	}
}

func TestRotationNeedsTheNegotiatedID(t *testing.T) {
	t.Parallel()
	h := rtp.Header{Version: 2, SSRC: testParams.SSRC, PayloadType: testParams.PayloadType}
	if err := h.SetExtension(11, []byte{1}); err != nil {
		t.Fatal(err)
	}
	raw, err := h.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	params := testParams
	if p, _, _ := (Set{}).ParseRTP(raw, params); p.Rotation != 90 {
		t.Errorf("negotiated: rotation %d, want 90", p.Rotation)
	}
	params.Extensions = nil
	if p, _, _ := (Set{}).ParseRTP(raw, params); p.Rotation != -1 {
		t.Errorf("not negotiated: rotation %d, want -1", p.Rotation)
	}
}
