// Package mediacheck measures finished recordings with media tools: ffprobe's word, decoded pictures and
// decoded sound. It is black box: it knows files, FFmpeg and nothing of the project.
package mediacheck

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// Probe is what ffprobe says of a file.
type Probe struct {
	DurationMs           int
	VideoCodec           string
	Profile              string
	PixFmt               string
	Width, Height        int
	FPS                  float64 // average frame rate
	NominalFPS           float64 // r_frame_rate
	VideoFrames          int
	VideoStart           float64 // seconds
	AudioCodec           string
	AudioProfile         string
	AudioRate            int
	AudioChannels        int
	AudioStart           float64
	SizeBytes            int64
	ColorSpace           string
	ColorRange           string
	VideoKbps, AudioKbps float64
}

func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// File asks ffprobe about a file; it counts the packets.
func File(ctx context.Context, path string) (Probe, error) {
	out, err := run(ctx, "ffprobe", "-v", "error", "-count_packets", "-show_streams", "-show_format", "-of", "json", path)
	if err != nil {
		return Probe{}, err
	}
	var in struct {
		Streams []struct {
			CodecType  string `json:"codec_type"`
			CodecName  string `json:"codec_name"`
			Profile    string `json:"profile"`
			PixFmt     string `json:"pix_fmt"`
			Width      int    `json:"width"`
			Height     int    `json:"height"`
			AvgRate    string `json:"avg_frame_rate"`
			RRate      string `json:"r_frame_rate"`
			Packets    string `json:"nb_read_packets"`
			StartTime  string `json:"start_time"`
			SampleRate string `json:"sample_rate"`
			Channels   int    `json:"channels"`
			ColorSpace string `json:"color_space"`
			ColorRange string `json:"color_range"`
			BitRate    string `json:"bit_rate"`
		} `json:"streams"`
		Format struct {
			Duration string `json:"duration"`
			Size     string `json:"size"`
		} `json:"format"`
	}
	if err := json.Unmarshal(out, &in); err != nil {
		return Probe{}, fmt.Errorf("ffprobe output: %w", err)
	}
	num := func(s string) float64 { v, _ := strconv.ParseFloat(s, 64); return v }
	p := Probe{DurationMs: int(math.Round(num(in.Format.Duration) * 1000)), SizeBytes: int64(num(in.Format.Size))}
	for _, s := range in.Streams {
		switch s.CodecType {
		case "video":
			p.VideoCodec, p.Profile, p.PixFmt, p.Width, p.Height = s.CodecName, s.Profile, s.PixFmt, s.Width, s.Height
			p.FPS, p.NominalFPS, p.VideoFrames, p.VideoStart = ratio(s.AvgRate), ratio(s.RRate), int(num(s.Packets)), num(s.StartTime)
			p.ColorSpace, p.ColorRange, p.VideoKbps = s.ColorSpace, s.ColorRange, num(s.BitRate)/1000
		case "audio":
			p.AudioCodec, p.AudioProfile, p.AudioRate, p.AudioChannels = s.CodecName, s.Profile, int(num(s.SampleRate)), s.Channels
			p.AudioStart, p.AudioKbps = num(s.StartTime), num(s.BitRate)/1000
		}
	}
	return p, nil
}

func ratio(s string) float64 {
	a, b, ok := strings.Cut(s, "/")
	n, _ := strconv.ParseFloat(a, 64)
	d, _ := strconv.ParseFloat(b, 64)
	if !ok || d == 0 {
		return n
	}
	return n / d
}

// Decodes returns an error unless every frame and sample of the file decodes without a complaint.
func Decodes(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-v", "error", "-i", path, "-f", "null", "-")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	if len(bytes.TrimSpace(out)) > 0 {
		return fmt.Errorf("ffmpeg complains: %s", out)
	}
	return nil
}

// Faststart tells whether moov stands before mdat, and that the top-level boxes fill the file exactly.
func Faststart(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return false, err
	}
	moovAt, mdatAt := int64(-1), int64(-1)
	for off := int64(0); off < st.Size(); {
		var h [16]byte
		if _, err := f.ReadAt(h[:], off); err != nil && !errors.Is(err, io.EOF) {
			return false, err
		}
		size := int64(binary.BigEndian.Uint32(h[:4]))
		if size == 1 {
			size = int64(binary.BigEndian.Uint64(h[8:]))
		}
		if size < 8 || off+size > st.Size() {
			return false, fmt.Errorf("box %q at %d has size %d in a file of %d bytes", h[4:8], off, size, st.Size())
		}
		switch string(h[4:8]) {
		case "moov":
			moovAt = off
		case "mdat":
			mdatAt = off
		}
		off += size
	}
	if moovAt < 0 || mdatAt < 0 {
		return false, errors.New("no moov or no mdat")
	}
	return moovAt < mdatAt, nil
}

// Luma decodes the mean luma (0…255) of a rectangle of every frame. crop is FFmpeg's W:H:X:Y.
func Luma(ctx context.Context, path, crop string) ([]float64, error) {
	out, err := run(ctx, "ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", "0:v:0",
		"-vf", "crop="+crop+",scale=1:1:flags=area,format=gray", "-f", "rawvideo", "-")
	if err != nil {
		return nil, err
	}
	luma := make([]float64, len(out))
	for i, b := range out {
		luma[i] = float64(b)
	}
	return luma, nil
}

// Sound decodes the sound as mono float samples at 48 kHz, beginning at presentation time 0.
func Sound(ctx context.Context, path string) ([]float64, error) {
	out, err := run(ctx, "ffmpeg", "-nostdin", "-v", "error", "-i", path, "-map", "0:a:0",
		"-af", "aresample=async=1:first_pts=0", "-ac", "1", "-ar", "48000", "-f", "s16le", "-")
	if err != nil {
		return nil, err
	}
	s := make([]float64, len(out)/2)
	for i := range s {
		s[i] = float64(int16(binary.LittleEndian.Uint16(out[2*i:]))) / 32768
	}
	return s, nil
}

// Flashes finds the instants (seconds) at which a luma series begins to be bright: it rises above the middle
// between its median and its maximum.
func Flashes(luma []float64, fps float64) []float64 {
	if len(luma) == 0 {
		return nil
	}
	lo, hi := median(luma), maxOf(luma)
	if hi-lo < 40 {
		return nil
	}
	mid := (lo + hi) / 2
	var at []float64
	for i := 1; i < len(luma); i++ {
		if luma[i-1] < mid && luma[i] >= mid {
			at = append(at, float64(i)/fps)
		}
	}
	return at
}

// Beeps finds the instants (seconds) at which a 1 kHz tone begins, to about a millisecond: the power of the
// tone in windows of 5 ms rises above a quarter of its maximum.
func Beeps(samples []float64) []float64 {
	const rate, win, hop = 48000, 240, 48
	if len(samples) < win {
		return nil
	}
	power := make([]float64, 0, len(samples)/hop)
	for i := 0; i+win <= len(samples); i += hop {
		power = append(power, goertzel(samples[i:i+win], 1000, rate))
	}
	limit := maxOf(power) / 4
	if limit < 1e-4 {
		return nil
	}
	var at []float64
	quiet := 1 << 20 // hops since the tone was last heard
	for i, p := range power {
		if p < limit {
			quiet++
			continue
		}
		if quiet > rate/hop/2 { // a tone that was silent for half a second begins anew
			at = append(at, (float64(i*hop)+win/2)/rate)
		}
		quiet = 0
	}
	return at
}

func goertzel(x []float64, freq, rate float64) float64 {
	c := 2 * math.Cos(2*math.Pi*freq/rate)
	var s1, s2 float64
	for _, v := range x {
		s1, s2 = v+c*s1-s2, s1
	}
	n := float64(len(x))
	return (s1*s1 + s2*s2 - c*s1*s2) / (n * n / 4)
}

// Skews pairs each beep with the nearest flash within half a second and returns flash minus beep in ms
// (positive: picture late). Beeps without a flash are counted in missing.
func Skews(flashes, beeps []float64) (ms []float64, missing int) {
	for _, b := range beeps {
		best := math.Inf(1)
		for _, f := range flashes {
			if math.Abs(f-b) < math.Abs(best) {
				best = f - b
			}
		}
		if math.Abs(best) > 0.5 {
			missing++
			continue
		}
		ms = append(ms, best*1000)
	}
	return ms, missing
}

// MaxAbs is the largest magnitude.
func MaxAbs(v []float64) float64 {
	m := 0.0
	for _, x := range v {
		m = math.Max(m, math.Abs(x))
	}
	return m
}

func maxOf(v []float64) float64 {
	m := v[0]
	for _, x := range v {
		m = math.Max(m, x)
	}
	return m
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
