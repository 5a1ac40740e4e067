package compose_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"testing"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

// opus is an AudioSource of silence, or of the packets of tone.
type opus struct {
	tone    [][]byte
	packets int
	start   recorder.Micros
	end     error // instead of io.EOF
	given   int
	release chan struct{} // if set, packets from the fifth second on wait for it
}

var opusSilence = []byte{0xf8, 0xff, 0xfe}

func (o *opus) Next(ctx context.Context) (recorder.AudioPacket, error) {
	if err := ctx.Err(); err != nil {
		return recorder.AudioPacket{}, err
	}
	if o.release != nil && o.given == 250 {
		select {
		case <-o.release:
		case <-ctx.Done():
			return recorder.AudioPacket{}, ctx.Err()
		}
	}
	if o.given == o.packets {
		if o.end != nil {
			return recorder.AudioPacket{}, o.end
		}
		return recorder.AudioPacket{}, io.EOF
	}
	data := opusSilence
	if o.tone != nil {
		data = o.tone[o.given%len(o.tone)]
	}
	o.given++
	return recorder.AudioPacket{At: o.start + recorder.Micros(o.given-1)*20_000, Data: data}, nil
}

func (o *opus) Close() error { return nil }

var (
	tonesMu sync.Mutex
	tones   = map[int][][]byte{}
)

// tone is 10 s of a sine in Opus packets of 20 ms.
func tone(t *testing.T, hz int) [][]byte {
	t.Helper()
	tonesMu.Lock()
	defer tonesMu.Unlock()
	if tones[hz] == nil {
		ogg := ffmpeg(t, nil, "-f", "lavfi", "-i", fmt.Sprintf("sine=f=%d:r=48000:d=10", hz), "-ac", "2", "-c:a", "libopus", "-b:a", "64k", "-vbr", "off", "-frame_duration", "20", "-f", "ogg", "pipe:1")
		tones[hz] = oggPackets(t, ogg)
	}
	return tones[hz]
}

// oggPackets reads the pages of an Ogg stream (RFC 3533) and leaves out the two headers of Opus.
func oggPackets(t *testing.T, b []byte) (packets [][]byte) {
	t.Helper()
	var part []byte
	for len(b) >= 27 && string(b[:4]) == "OggS" {
		n := int(b[26])
		body := b[27+n:]
		for _, lace := range b[27 : 27+n] {
			part, body = append(part, body[:lace]...), body[lace:]
			if lace < 255 {
				packets, part = append(packets, part), nil
			}
		}
		b = body
	}
	if len(packets) < 400 {
		t.Fatalf("%d Opus packets", len(packets))
	}
	return packets[2:]
}

// decode turns ADTS into one PCM channel a slice, without the encoder's priming.
func decode(t *testing.T, adts []byte, channels int) [][]float64 {
	t.Helper()
	raw := ffmpeg(t, adts, "-f", "aac", "-i", "pipe:0", "-f", "s16le", "pipe:1")[compose.AudioPriming*2*channels:]
	out := make([][]float64, channels)
	for i := 0; i+2*channels <= len(raw); i += 2 * channels {
		for c := range channels {
			out[c] = append(out[c], float64(int16(binary.LittleEndian.Uint16(raw[i+2*c:])))/32768)
		}
	}
	return out
}

// power is the amplitude of one frequency (Goertzel) in a stretch of seconds.
func power(pcm []float64, rate, hz int, from, to float64) float64 {
	part := pcm[int(from*float64(rate)):int(to*float64(rate))]
	var re, im float64
	for i, v := range part {
		phase := 2 * math.Pi * float64(hz) * float64(i) / float64(rate)
		re, im = re+v*math.Cos(phase), im+v*math.Sin(phase)
	}
	return 2 * math.Hypot(re, im) / float64(len(part))
}

func runAudio(t *testing.T, mode recorder.AudioMode, tracks ...recorder.AudioTrack) (adts, peaks []byte) {
	t.Helper()
	var a, p bytes.Buffer
	err := composer(t).Audio(t.Context(), recorder.AudioJob{RecordingID: "rec", Mode: mode, Kbps: 64, Tracks: tracks}, &a, &p)
	if err != nil {
		t.Fatal(err)
	}
	return a.Bytes(), p.Bytes()
}

func track(kind recorder.TrackKind, source recorder.AudioSource) recorder.AudioTrack {
	return recorder.AudioTrack{Kind: kind, Source: source}
}

func TestMixMono(t *testing.T) {
	t.Parallel()
	adts, peaks := runAudio(t, recorder.MixMono,
		track(recorder.AgentAudio, &opus{tone: tone(t, 440), packets: 400}), track(recorder.CustomerAudio, &opus{tone: tone(t, 1000), packets: 200}))
	pcm := decode(t, adts, 1)[0]
	if d := float64(len(pcm)) / 48000; d < 8 || d > 8.05 {
		t.Errorf("%.3f s, want 8: the longer track decides", d)
	}
	// lavfi's sine has an amplitude of 1/8; a mix must not weaken it, also not when the other track has ended.
	for _, tt := range []struct {
		hz       int
		from, to float64
		want     float64
	}{{440, 1, 3, 0.125}, {1000, 1, 3, 0.125}, {440, 5, 7, 0.125}, {1000, 5, 7, 0}} {
		if got := power(pcm, 48000, tt.hz, tt.from, tt.to); math.Abs(got-tt.want) > 0.02 {
			t.Errorf("%d Hz from %g s on: amplitude %.3f, want %.3f", tt.hz, tt.from, got, tt.want)
		}
	}
	if n := len(peaks) / 2; n < 8*recorder.PeakRate-20 || n > 8*recorder.PeakRate+200 {
		t.Errorf("%d samples for the peaks, want %d", n, 8*recorder.PeakRate)
	}
}

func TestSplitStereo(t *testing.T) {
	t.Parallel()
	adts, _ := runAudio(t, recorder.SplitStereo,
		track(recorder.CustomerAudio, &opus{tone: tone(t, 1000), packets: 200}), track(recorder.AgentAudio, &opus{tone: tone(t, 440), packets: 200}))
	pcm := decode(t, adts, 2)
	for c, want := range []map[int]float64{{440: 0.125, 1000: 0}, {440: 0, 1000: 0.125}} {
		for hz, amplitude := range want {
			if got := power(pcm[c], 48000, hz, 1, 3); math.Abs(got-amplitude) > 0.02 {
				t.Errorf("channel %d, %d Hz: amplitude %.3f, want %.3f", c, hz, got, amplitude)
			}
		}
	}
}

// One side alone stays on its side.
func TestStereoWithOneTrack(t *testing.T) {
	t.Parallel()
	adts, _ := runAudio(t, recorder.SplitStereo, track(recorder.CustomerAudio, &opus{tone: tone(t, 1000), packets: 100}))
	pcm := decode(t, adts, 2)
	if l, r := power(pcm[0], 48000, 1000, 0.5, 1.5), power(pcm[1], 48000, 1000, 0.5, 1.5); l > 0.01 || r < 0.1 {
		t.Errorf("left %.3f, right %.3f, want the customer on the right alone", l, r)
	}
}

// Sound stands where its time says: a track that begins late is not shifted to the front.
func TestLateTrackIsNotShifted(t *testing.T) {
	t.Parallel()
	for name, tracks := range map[string][]recorder.AudioTrack{
		"alone": {track(recorder.AgentAudio, &opus{tone: tone(t, 440), packets: 100, start: 3_000_000})},
		"mixed": {track(recorder.AgentAudio, &opus{tone: tone(t, 440), packets: 100, start: 3_000_000}), track(recorder.CustomerAudio, &opus{packets: 250})},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			adts, _ := runAudio(t, recorder.MixMono, tracks...)
			pcm := decode(t, adts, 1)[0]
			if onset := float64(firstLoud(pcm)) / 48000; math.Abs(onset-3) > 0.02 {
				t.Errorf("the sound begins at %.3f s, want 3 s", onset)
			}
			if d := float64(len(pcm)) / 48000; math.Abs(d-5) > 0.05 {
				t.Errorf("%.3f s, want 5 s", d)
			}
		})
	}
}

func firstLoud(pcm []float64) int {
	for i, v := range pcm {
		if math.Abs(v) > 0.03 {
			return i
		}
	}
	return -1
}

// While one source waits, the sound up to there must already be out: the run follows the call. The other source is far ahead and must not block anything.
func TestFollowsTheCall(t *testing.T) {
	t.Parallel()
	lagging := &opus{packets: 500, release: make(chan struct{})}
	var once sync.Once
	var total, before int
	out := writer(func(p []byte) error {
		if total += len(p); adtsSeconds(total) > 3 {
			once.Do(func() { before = total; close(lagging.release) })
		}
		return nil
	})
	job := recorder.AudioJob{Mode: recorder.MixMono, Kbps: 64, Tracks: []recorder.AudioTrack{
		track(recorder.AgentAudio, &opus{tone: tone(t, 440), packets: 500}), track(recorder.CustomerAudio, lagging)}}
	if err := composer(t).Audio(t.Context(), job, out, nil); err != nil {
		t.Fatal(err)
	}
	if before == 0 || total <= before {
		t.Errorf("%d bytes came while a source waited, %d in all", before, total)
	}
}

// adtsSeconds estimates the length of a stream of about 64 kbps from below.
func adtsSeconds(bytes int) float64 { return float64(bytes) * 8 / 72_000 }

func TestUnusableAudio(t *testing.T) {
	t.Parallel()
	good := recorder.AudioJob{Mode: recorder.MixMono, Kbps: 64, Tracks: []recorder.AudioTrack{track(recorder.AgentAudio, &opus{})}}
	for name, change := range map[string]func(*recorder.AudioJob){
		"no track":   func(j *recorder.AudioJob) { j.Tracks = nil },
		"no source":  func(j *recorder.AudioJob) { j.Tracks = []recorder.AudioTrack{{Kind: recorder.AgentAudio}} },
		"a video":    func(j *recorder.AudioJob) { j.Tracks = []recorder.AudioTrack{track(recorder.Screen, &opus{})} },
		"no rate":    func(j *recorder.AudioJob) { j.Kbps = 0 },
		"other mode": func(j *recorder.AudioJob) { j.Mode = "SURROUND" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			job := good
			change(&job)
			if err := composer(t).Audio(t.Context(), job, io.Discard, nil); !errors.Is(err, compose.ErrJob) {
				t.Errorf("error is %v, want ErrJob", err)
			}
		})
	}
}

func TestPeaks(t *testing.T) {
	t.Parallel()
	var pcm []byte
	for i := range 1000 { // two full pieces and a half: rising, silent, one click
		v := int16(0)
		switch {
		case i < 400:
			v = int16(i * 80)
		case i == 900:
			v = -32768
		}
		pcm = binary.LittleEndian.AppendUint16(pcm, uint16(v))
	}
	for _, size := range []int{1, 3, 800, 2000} {
		var p compose.Peaks
		for rest := pcm; len(rest) > 0; {
			n := min(size, len(rest))
			if _, err := p.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		var out bytes.Buffer
		n, err := p.WriteTo(&out)
		if err != nil || n != int64(out.Len()) {
			t.Fatalf("%d bytes, %v", n, err)
		}
		var got struct {
			Version, Channels, Bits, Length int
			SampleRate                      int `json:"sample_rate"`
			SamplesPerPixel                 int `json:"samples_per_pixel"`
			Data                            []int
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Version != 2 || got.Channels != 1 || got.Bits != 8 || got.Length != 3 || got.SampleRate != 8000 || got.SamplesPerPixel != 400 {
			t.Errorf("head is %+v", got)
		}
		if want := "[0 124 0 0 -128 0]"; fmt.Sprint(got.Data) != want {
			t.Errorf("in pieces of %d: %v, want %s", size, got.Data, want)
		}
	}
}

// The strip shows the sound of its segment: a flat line in silence, a tall one in sound, and the picture beside it stays.
func TestWaveformStrip(t *testing.T) {
	t.Parallel()
	canvas := recorder.Size{W: 320, H: 240}
	c := encode(t, recorder.VP8, "color=c=white:s=320x180:r=30", recorder.Size{W: 320, H: 180}, 3)
	lit := map[string]int{}
	for name, sources := range map[string][]recorder.AudioTrack{
		"silence": {track(recorder.AgentAudio, &opus{packets: 50})},
		"sound":   {track(recorder.AgentAudio, &opus{tone: tone(t, 440), packets: 50}), track(recorder.CustomerAudio, &opus{packets: 50})},
	} {
		out := render(t, recorder.VideoJob{Canvas: canvas, Frames: 30, Regions: []recorder.Region{c.region(recorder.Rect{W: 320, H: 180}, c.at(0))},
			Waveform: &recorder.WaveformStrip{Rect: recorder.Rect{Y: 180, W: 320, H: 60}, Tracks: sources}})
		if n, err := composer(t).CheckVideo(t.Context(), bytes.NewReader(out)); n != 30 || err != nil {
			t.Errorf("%s: %d frames, %v", name, n, err)
		}
		pic := picture(t, out, canvas, 20)
		if got := pixel(pic, canvas, 100, 100); !got.near(rgb{255, 255, 255}, 6) {
			t.Errorf("%s: the picture is %v", name, got)
		}
		for y := 182; y < 240; y++ {
			for x := range 320 {
				if p := pixel(pic, canvas, x, y); p.b > 100 {
					lit[name]++
				}
			}
		}
	}
	if lit["sound"] < 3*max(1, lit["silence"]) {
		t.Errorf("lit pixels: %v, want many more with sound", lit)
	}
}

// A segment may be shorter than the sound that fills the strip once.
func TestWaveformStripOfAShortSegment(t *testing.T) {
	t.Parallel()
	canvas := recorder.Size{W: 1920, H: 240}
	c := encode(t, recorder.VP8, "color=c=white:s=320x180:r=30", recorder.Size{W: 320, H: 180}, 3)
	for _, frames := range []int64{1, 2, 5} {
		for packets := 1; packets <= 3; packets++ {
			out := render(t, recorder.VideoJob{Canvas: canvas, Frames: frames, Regions: []recorder.Region{c.region(recorder.Rect{W: 320, H: 180}, c.at(0))},
				Waveform: &recorder.WaveformStrip{Rect: recorder.Rect{Y: 180, W: 1920, H: 60},
					Tracks: []recorder.AudioTrack{track(recorder.AgentAudio, &opus{packets: packets})}}})
			if n, err := composer(t).CheckVideo(t.Context(), bytes.NewReader(out)); n != frames || err != nil {
				t.Errorf("%d packets of sound: %d frames of %d, %v", packets, n, frames, err)
			}
		}
	}
}
