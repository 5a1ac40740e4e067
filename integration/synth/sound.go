package synth

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// Sound describes the agent's microphone: quiet noise, and a tone at each marker.
type Sound struct {
	From, To time.Duration
	SSRC     uint32
	Repair   player.Repair
	PPM      float64
	// Quiet are stretches in which the speaker is silent and the sender does not send sound (DTX): one packet of one byte
	// in 400 ms. Markers do not sound there.
	Quiet []Span
}

// Span is a stretch of the call.
type Span struct{ From, To time.Duration }

// Has tells whether an instant lies in it.
func (s Span) Has(at time.Duration) bool { return s.From <= at && at < s.To }

const (
	packetTime  = 20 * time.Millisecond
	packetTicks = soundClock / 50
	dtxEvery    = 400 * time.Millisecond
)

func (s Sound) quiet(at time.Duration) bool {
	for _, q := range s.Quiet {
		if q.Has(at) {
			return true
		}
	}
	return false
}

// Track encodes and packetizes.
func (s Sound) Track(ctx context.Context) (player.Track, error) {
	t, err := newTrack("mic", map[string]any{"mimeType": "audio/opus", "payloadType": 100, "clockRate": soundClock, "channels": 2,
		"parameters": map[string]any{"useinbandfec": 1}, "rtcpFeedback": []any{}}, s.SSRC, soundClock, s.Repair)
	if err != nil {
		return t, err
	}
	n := int((s.To - s.From) / packetTime)
	out, err := run(ctx, []string{"-f", "s16le", "-ar", "48000", "-ac", "1", "-i", "-", "-c:a", "libopus", "-application", "voip", "-b:a", "32k", "-f", "ogg", "-"},
		func(to io.Writer) error { _, err := to.Write(s.samples(n)); return err })
	if err != nil {
		return t, err
	}
	packets, err := splitOgg(out)
	if err != nil {
		return t, err
	}
	w := newWriter(s.SSRC, 100, soundClock, s.PPM)
	w.reports = 5 * time.Second
	w.begin(Stretch{From: s.From}, VP8)
	w.nextReport = s.From + 700*time.Millisecond
	speaking := false
	for i, p := range packets[:min(n, len(packets))] {
		at := s.From + time.Duration(i)*packetTime
		if s.quiet(at) {
			speaking = false
			if at%dtxEvery == 0 {
				w.packet(at, at+onTheWay, false, p[:1])
			}
			continue
		}
		w.packet(at, at+onTheWay, !speaking, p)
		speaking = true
	}
	t.Packets = w.packets
	return t, nil
}

func (s Sound) samples(packets int) []byte {
	out := make([]byte, 0, packets*packetTicks*2)
	noise := uint32(1)
	for i := range packets * packetTicks {
		noise = noise*1664525 + 1013904223
		v := float64(int32(noise)) / (1 << 31) * 0.01
		if at := s.From + time.Duration(i)*time.Second/soundClock; marked(at) {
			v += 0.5 * math.Sin(2*math.Pi*1000*at.Seconds())
		}
		out = binary.LittleEndian.AppendUint16(out, uint16(int16(v*32767)))
	}
	return out
}
