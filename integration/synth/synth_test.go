package synth_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/reference"
	"github.com/dualrec/dualrec/integration/synth"
)

const w, h = 320, 180

func webcam(codec synth.Codec, stretches ...synth.Stretch) synth.Video {
	return synth.Video{Kind: "webcam", Codec: codec, FPS: 15, KeyEvery: time.Second, SSRC: 7001, Stretches: stretches}
}

func TestNumbersAreRead(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"screen", "webcam"} {
		v := synth.Video{Kind: kind, FPS: 15}
		for _, n := range []int{0, 1, 2, 15, 16, 17, 255, 4711, synth.MaxNumber - 1} {
			if got := synth.Read(v.Picture(n, w, h), w, h); got != n {
				t.Errorf("%s %d is read as %d", kind, n, got)
			}
		}
	}
	for _, grey := range []byte{0, 60, 128, 255} {
		if got := synth.Read(slices.Repeat([]byte{grey}, w*h), w, h); got != synth.NoNumber {
			t.Errorf("an empty picture of grey %d is read as %d", grey, got)
		}
	}
}

// TestTracks: the packets of both codecs decode to the pictures that were drawn.
func TestTracks(t *testing.T) {
	t.Parallel()
	for _, codec := range []synth.Codec{synth.VP8, synth.H264} {
		t.Run(string(codec), func(t *testing.T) {
			t.Parallel()
			v := webcam(codec, synth.Steady(2*time.Second, 4*time.Second)...)
			track, err := v.Track(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			source, err := reference.Of(track)
			if err != nil {
				t.Fatal(err)
			}
			if len(source.Pictures) != 30 || !source.Pictures[15].Key || source.Pictures[16].Key {
				t.Fatalf("%d pictures, keys %v and %v", len(source.Pictures), source.Pictures[15].Key, source.Pictures[16].Key)
			}
			pictures, err := source.Decode(t.Context(), 0, 29, w, h)
			if err != nil {
				t.Fatal(err)
			}
			for i, p := range pictures {
				n := 30 + i
				if got := synth.Read(p, w, h); got != n {
					t.Errorf("picture %d is read as %d", n, got)
				}
				if at := source.Pictures[i].At - time.Duration(n)*time.Second/15; at < 4*time.Millisecond || at > 6*time.Millisecond {
					t.Errorf("picture %d is %v off its time", n, at)
				}
			}
		})
	}
}

func headers(t *testing.T, track player.Track) (out []rtp.Header) {
	t.Helper()
	for _, p := range track.Packets {
		if !p.RTCP {
			var h rtp.Header
			if _, err := h.Unmarshal(p.Data); err != nil {
				t.Fatal(err)
			}
			out = append(out, h)
		}
	}
	return out
}

// TestStretches: what an SFU does when layers are switched, when a producer is paused, and when a source begins anew.
func TestStretches(t *testing.T) {
	t.Parallel()
	const s = time.Second
	v := webcam(synth.VP8, synth.Stretch{To: s, Width: w, Height: h}, synth.Stretch{From: s, To: 2 * s, Width: 640, Height: 360, Skip: 1},
		synth.Stretch{From: 4 * s, To: 5 * s, Width: 640, Height: 360}, synth.Stretch{From: 5 * s, To: 6 * s, Width: w, Height: h, Anew: true})
	track, err := v.Track(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var phantom, paused, anew int
	all := headers(t, track)
	for i := 1; i < len(all); i++ {
		seqs, ticks := all[i].SequenceNumber-all[i-1].SequenceNumber, all[i].Timestamp-all[i-1].Timestamp
		switch {
		case seqs == 1 && ticks <= 6000:
		case seqs == 2 && ticks == 6000:
			phantom++
		case seqs == 1 && ticks == 2*90000+6000:
			paused++
		case seqs > 10000 && ticks > 1<<28:
			anew++
		default:
			t.Errorf("packet %d comes %d numbers and %d ticks after its predecessor", i, seqs, ticks)
		}
	}
	if phantom != 1 || paused != 1 || anew != 1 {
		t.Errorf("%d phantoms, %d pauses, %d new beginnings, want one each", phantom, paused, anew)
	}
}

func TestSound(t *testing.T) {
	t.Parallel()
	s := synth.Sound{To: 5 * time.Second, SSRC: 9001, Quiet: []synth.Span{{From: 1900 * time.Millisecond, To: 4100 * time.Millisecond}}}
	track, err := s.Track(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := headers(t, track)
	if len(all) != 95+6+45 || !all[0].Marker || all[1].Marker {
		t.Errorf("%d packets, want 95 of speech, 6 of silence and 45 of speech", len(all))
	}
	for i, h := range all {
		if speech := i < 95 || i >= 101; h.Marker != (i == 0 || i == 101) || !speech && track.Packets[i].RTCP {
			t.Errorf("packet %d: marker %v", i, h.Marker)
		}
	}
}

// TestLive: a keyframe comes soon after it was asked for, and the stream stays one that decodes.
func TestLive(t *testing.T) {
	t.Parallel()
	v := webcam(synth.H264, synth.Steady(0, 3*time.Second)...)
	v.KeyEvery = 0
	live, err := synth.NewLive(t.Context(), v, time.Second/5)
	if err != nil {
		t.Fatal(err)
	}
	pictures := 0
	track := live.Call.Tracks[0]
	track.Packets = nil
	for s := range live.Timeline(func() bool { pictures++; return pictures == 21 }) {
		s.Data = slices.Clone(s.Data)
		track.Packets = append(track.Packets, s.Packet)
	}
	source, err := reference.Of(track)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range source.Pictures {
		if want := i == 0 || i == 21; p.Key != want {
			t.Errorf("picture %d: keyframe %v", i, p.Key)
		}
	}
	decoded, err := source.Decode(t.Context(), 21, 44, w, h)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range decoded {
		if got := synth.Read(d, w, h); got != 21+i {
			t.Errorf("picture %d is read as %d", 21+i, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	bad := []synth.Video{{Kind: "webcam", Codec: "AV1", FPS: 15, SSRC: 1, Stretches: synth.Steady(0, time.Second)},
		{Kind: "slides", Codec: synth.VP8, FPS: 15, SSRC: 1, Stretches: synth.Steady(0, time.Second)},
		{Kind: "webcam", Codec: synth.VP8, FPS: 7, SSRC: 1, Stretches: synth.Steady(0, time.Second)},
		{Kind: "webcam", Codec: synth.VP8, FPS: 15, SSRC: 1}, {Kind: "webcam", Codec: synth.VP8, FPS: 15, SSRC: 1, Stretches: synth.Steady(time.Second, time.Second)}}
	for _, v := range bad {
		if _, err := v.Track(t.Context()); err == nil {
			t.Errorf("%+v was made", v)
		}
	}
	if _, err := synth.NewLive(t.Context(), webcam(synth.VP8), time.Second); err == nil {
		t.Error("a live video without a stretch was made")
	}
}

func TestPacketsAreWhatTheySay(t *testing.T) {
	t.Parallel()
	track, err := webcam(synth.VP8, synth.Steady(0, 2*time.Second)...).Track(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reports, sent := 0, uint32(0)
	for _, p := range track.Packets {
		if !p.RTCP {
			sent++
			continue
		}
		reports++
		if got := binary.BigEndian.Uint32(p.Data[20:]); got != sent {
			t.Errorf("report %d says %d packets, %d were sent", reports, got, sent)
		}
	}
	if reports != 2 {
		t.Errorf("%d reports in two seconds", reports)
	}
	if _, err := player.Timeline(&player.Call{Tracks: []player.Track{track}}, 0, false); errors.Is(err, player.ErrNothingToPlay) {
		t.Error(err)
	}
}
