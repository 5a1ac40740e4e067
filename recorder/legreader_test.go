package recorder

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func openLegReader(t testing.TB, f *memFolder, name string, kind TrackKind, from *ResumePoint) *LegReader {
	t.Helper()
	pos := Position{}
	if from != nil {
		pos = from.Pos
	}
	j, err := f.Read(name, pos)
	if err != nil {
		t.Fatal(err)
	}
	var e Event
	for _, r := range f.journals[EventsJournal] {
		if e, err = ParseEvent(r.Data); err == nil && e.LegAttached != nil && e.LegAttached.Leg == name {
			break
		}
	}
	params, err := ParseRTPParameters(e.LegAttached.RTPParameters, kind)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLegReader(j, params, simDepacketizers{}, from)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type unitFacts struct {
	text   string
	key    bool
	resume ResumePoint
}

func readUnits(t testing.TB, l *LegReader) []unitFacts {
	t.Helper()
	defer l.Close()
	l.Finish()
	var out []unitFacts
	for {
		u, err := l.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%d %d key=%t frozen=%t damaged=%t %v %x %s", u.RTP, u.FirstSeq, u.Key, u.Frozen, u.Damaged, u.Size, u.Data, u.LastAt.Format(time.RFC3339Nano))
		out = append(out, unitFacts{text, u.Key && !u.Frozen, u.Resume()})
	}
}

// TestLegReaderResumes: from every keyframe on, a second reading gives the units of the first, over loss, repair,
// overtaking and wraps.
func TestLegReaderResumes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 4))
			f := newMemFolder(DefaultProfile(), Screen)
			s := attach(t, f, 0, Screen, secs(0))
			s.delay = func(int) time.Duration {
				d := 5*time.Millisecond + time.Duration(rnd.IntN(12))*time.Millisecond
				if rnd.IntN(50) == 0 {
					d += time.Duration(rnd.IntN(2000)) * time.Millisecond
				}
				return d
			}
			s.lose = func(uint16) bool { return rnd.IntN(200) == 0 }
			s.video(secs(0), secs(40), 20, Size{1280, 720}, keyEvery(31))
			f.sort()
			all := readUnits(t, openLegReader(t, f, s.name, Screen, nil))
			if len(all) < 700 {
				t.Fatalf("%d units", len(all))
			}
			keys := 0
			for i, u := range all {
				if !u.key {
					continue
				}
				keys++
				again := readUnits(t, openLegReader(t, f, s.name, Screen, &u.resume))
				want := all[i:]
				if len(again) != len(want) {
					t.Fatalf("from unit %d: %d units, want %d", i, len(again), len(want))
				}
				for k := range again {
					if again[k].text != want[k].text {
						t.Fatalf("from unit %d: unit %d is\n%s, want\n%s", i, k, again[k].text, want[k].text)
					}
				}
			}
			if keys < 10 {
				t.Fatalf("%d keyframes", keys)
			}
		})
	}
}

// TestLegReaderFollows: a reader of a growing journal gives the units of a complete one.
func TestLegReaderFollows(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	s.video(secs(0), secs(10), 20, Size{1280, 720}, keyEvery(31))
	f.sort()
	whole := readUnits(t, openLegReader(t, f, s.name, Screen, nil))
	records := f.journals[s.name]
	f.journals[s.name] = nil
	l := openLegReader(t, f, s.name, Screen, nil)
	defer l.Close()
	n := 0
	for _, r := range records {
		f.append(s.name, r)
		for {
			u, err := l.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if u.RTP != whole[n].resume.RTP {
				t.Fatalf("unit %d is %d, want %d", n, u.RTP, whole[n].resume.RTP)
			}
			n++
		}
	}
	if n != len(whole) {
		t.Errorf("%d units, want %d", n, len(whole))
	}
}

func TestLegReaderReports(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	s.video(secs(0), secs(5), 20, Size{1280, 720}, keyEvery(31))
	s.reports(secs(1), secs(5), time.Second, steady)
	f.sort()
	l := openLegReader(t, f, s.name, Screen, nil)
	var got []time.Duration
	l.OnReport(func(sr SenderReport, _ time.Time) { got = append(got, sr.NTP.Round(time.Millisecond)) })
	readUnits(t, l)
	want := []time.Duration{1001 * time.Second, 1002 * time.Second, 1003 * time.Second, 1004 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("reports %v, want %v", got, want)
	}
}

func TestLegReaderErrors(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	s.video(secs(0), secs(5), 20, Size{1280, 720}, keyEvery(31))
	f.damaged = map[string]int{s.name: 20}
	l := openLegReader(t, f, s.name, Screen, nil)
	defer l.Close()
	var err error
	frozen := 0
	for err == nil {
		var u LegUnit
		if u, err = l.Next(); err == nil && u.Frozen {
			frozen++
		}
	}
	if !errors.Is(err, io.EOF) || frozen == 0 {
		t.Errorf("behind a damaged place: %d frozen units, %v; want some and io.EOF", frozen, err)
	}
	if _, err := NewLegReader(nil, RTPParameters{Codec: "AV1"}, simDepacketizers{}, nil); !errors.Is(err, ErrCodec) {
		t.Errorf("unknown codec: %v", err)
	}
}
