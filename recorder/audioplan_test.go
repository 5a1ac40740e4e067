package recorder

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// readSound reads a source to its end and checks that it is gapless.
func readSound(t testing.TB, src AudioSource) []AudioPacket {
	t.Helper()
	defer src.Close()
	var out []AudioPacket
	var end Micros
	for {
		p, err := src.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.At != end {
			t.Fatalf("packet %d is at %v, the one before ends at %v", len(out), p.At, end)
		}
		d := opusDuration(p.Data)
		if d == 0 {
			t.Fatalf("packet %d is no Opus: %x", len(out), p.Data)
		}
		end += Micros(d * opusUnit)
		p.Data = append([]byte(nil), p.Data...)
		out = append(out, p)
	}
}

// checkSound compares where each numbered packet is with when it was captured.
func checkSound(t testing.TB, p *Planner, leg *simLeg, sound []AudioPacket, tolerance Micros) (heard int) {
	t.Helper()
	for _, pkt := range sound {
		if len(pkt.Data) != 5 {
			continue
		}
		heard++
		n := binary.BigEndian.Uint32(pkt.Data[1:])
		want := p.timeOf(leg.frames[n].Add(simDelay))
		if d := pkt.At - want; d > tolerance || d < -tolerance {
			t.Fatalf("packet %d captured at %v is at %v", n, want, pkt.At)
		}
	}
	return heard
}

func soundEnd(sound []AudioPacket) Micros {
	if len(sound) == 0 {
		return 0
	}
	last := sound[len(sound)-1]
	return last.At + Micros(opusDuration(last.Data)*opusUnit)
}

func TestSoundIsGapless(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen, AgentAudio, CustomerAudio)
	s := attach(t, f, 0, Screen, secs(0))
	s.video(secs(0), secs(30), 10, Size{1920, 1080}, keyEvery(50))
	a := attach(t, f, 1, AgentAudio, secs(3))
	a.audio(secs(3), secs(8))
	a.audio(secs(12.007), secs(14)) // DTX
	f.event(t, Event{Type: EventLegDetached, At: secs(14.2), LegDetached: &LegDetached{Leg: a.name}})
	b := attach(t, f, 2, AgentAudio, secs(20))
	first := b.seq
	b.lose = func(seq uint16) bool { n := seq - first; return n%50 == 17 }
	b.audio(secs(20), secs(30))
	stopAt(t, f, secs(30))
	p, _ := planAll(t, f)
	sound := readSound(t, p.AudioSource(AgentAudio))
	_, d := p.Duration()
	if end := soundEnd(sound); end < d || end >= d+opusUnit {
		t.Errorf("sound ends at %v, the recording at %v", end, d)
	}
	loud := 0
	for _, pkt := range sound {
		if len(pkt.Data) == 5 {
			loud++
		}
	}
	if want := 250 + 100 + 490; loud < want-1 || loud > want+1 {
		t.Errorf("%d packets are heard, want %d", loud, want)
	}
	for _, pkt := range sound {
		if pkt.At > 14_100_000 && pkt.At < 19_900_000 && len(pkt.Data) == 5 {
			t.Errorf("sound at %v, where nothing was attached", pkt.At)
		}
	}
	silent := readSound(t, p.AudioSource(CustomerAudio))
	if end := soundEnd(silent); end < d || end >= d+opusUnit {
		t.Errorf("sound of a track that never came ends at %v, the recording at %v", end, d)
	}
}

// TestSoundSpacing: jitter of the clock is not heard; packets of one run follow each other directly.
func TestSoundSpacing(t *testing.T) {
	t.Parallel()
	f, _, _, mic := call(t)
	p, _ := planAll(t, f)
	sound := readSound(t, p.AudioSource(AgentAudio))
	if heard := checkSound(t, p, mic, sound, 20_000); heard < 1740 {
		t.Errorf("%d packets are heard, want about 1745", heard)
	}
	for i := 1; i+1 < len(sound); i++ {
		if len(sound[i-1].Data) == 5 && len(sound[i].Data) != 5 && len(sound[i+1].Data) == 5 {
			t.Errorf("a hole within continuous sound at %v", sound[i].At)
		}
	}
}

// TestSoundDTX: one-byte packets are silence of their duration.
func TestSoundDTX(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), AgentAudio)
	mic := attach(t, f, 0, AgentAudio, secs(0))
	mic.audio(secs(0), secs(2))
	for i := range 10 {
		mic.write(mic.stamp(secs(2+0.4*float64(i))), false, []byte{0x78}, secs(2.005+0.4*float64(i)))
	}
	mic.audio(secs(6), secs(8))
	stopAt(t, f, secs(8))
	p, _ := planAll(t, f)
	sound := readSound(t, p.AudioSource(AgentAudio))
	for _, pkt := range sound {
		if len(pkt.Data) == 1 {
			t.Fatalf("a packet without data at %v", pkt.At)
		}
	}
	if heard := checkSound(t, p, mic, sound, 10_000); heard != 200 {
		t.Errorf("%d packets are heard, want 200", heard)
	}
	for _, g := range p.Gaps() {
		if g.Kind == GapStalled {
			t.Errorf("DTX is no stall: %+v", g)
		}
	}
}

// TestSoundFollows: a reader that follows the call waits for what is not settled and gets what a later one gets.
func TestSoundFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := chaos(t, 3)
		p := newPlanner(t, f)
		got := make(chan []AudioPacket)
		go func() { got <- readSound(t, p.AudioSource(AgentAudio)) }()
		for now := t0; now.Before(secs(41)); now = now.Add(300 * time.Millisecond) {
			if err := p.Advance(now); err != nil {
				t.Error(err)
			}
			synctest.Wait() // the reader has taken all that there is
		}
		if _, err := p.Finish(FinishOptions{}); err != nil {
			t.Error(err)
		}
		live, later := <-got, readSound(t, p.AudioSource(AgentAudio))
		if len(live) != len(later) {
			t.Fatalf("%d packets live, %d later", len(live), len(later))
		}
		for i := range live {
			if live[i].At != later[i].At || string(live[i].Data) != string(later[i].Data) {
				t.Fatalf("packet %d differs", i)
			}
		}
	})
}

func TestSoundCancel(t *testing.T) {
	t.Parallel()
	f, _, _, _ := call(t)
	p := newPlanner(t, f)
	src := p.AudioSource(AgentAudio)
	defer src.Close()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() {
		_, err := src.Next(ctx)
		done <- err
	}()
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("cancelled read: %v", err)
	}
}

func TestOpusDuration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		data []byte
		want int64
	}{
		{"empty", nil, 0},
		{"silk 10 ms", []byte{0 << 3, 1}, 4},
		{"silk 60 ms", []byte{3<<3 | 0, 1}, 24},
		{"hybrid 20 ms", []byte{15 << 3, 1}, 8},
		{"celt 2.5 ms", []byte{28 << 3, 1}, 1},
		{"celt 20 ms twice", []byte{31<<3 | 1, 1}, 16},
		{"celt 20 ms, three frames", []byte{31<<3 | 3, 3}, 24},
		{"code 3 without a count", []byte{31<<3 | 3}, 0},
		{"code 3 with no frame", []byte{31<<3 | 3, 0}, 0},
		{"longer than 120 ms", []byte{31<<3 | 3, 7}, 0},
	} {
		if got := opusDuration(c.data); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for n := int64(1); n < 50; n++ {
		if data, d := opusSilence(n); opusDuration(data) != d || d > n {
			t.Errorf("silence of %d is %x, %d units", n, data, d)
		}
	}
}
