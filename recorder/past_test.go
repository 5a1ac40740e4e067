package recorder

import (
	"testing"
	"time"
)

// TestKilledWhileComingBack: a process that binds the ports again and ends before it captures has not ended the time in
// which nobody listened.
func TestKilledWhileComingBack(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	lease := func(at time.Time) Event {
		return Event{Type: EventTrackLeased, At: at, TrackLeased: &TrackLeased{TrackID: "trk_1", Kind: AgentAudio, RTPPort: 40000}}
	}
	var p past
	p.note(lease(began))
	p.seen(began.Add(time.Minute)) // the newest packet
	p.note(lease(began.Add(2 * time.Minute)))
	if want := began.Add(time.Minute); !p.newest.Equal(want) {
		t.Errorf("away from %v on, want %v", p.newest, want)
	}
}

type oneJournal struct {
	Folder
	journal journalOf
}

func (f *oneJournal) Journal(string) (Journal, error) { return &f.journal, nil }

type oneLease struct {
	Lease
	sink Sink
}

func (l *oneLease) Attach(a Attachment) error { l.sink = a.Sink; return nil }
func (l *oneLease) RequestKeyframe()          {}

// TestAttachedAgainIsShed: what a full disk has no room for is dropped and counted for a leg of an earlier process too.
func TestAttachedAgainIsShed(t *testing.T) {
	t.Parallel()
	folder, lease := &oneJournal{}, &oneLease{}
	r, cam := &recording{folder: folder}, &track{kind: Webcam, lease: lease}
	err := r.attachAgain(cam, pastTrack{kind: Webcam, leg: &LegAttached{Leg: "leg-000", RTPParameters: simParams(Webcam, 1000)}}, time.Time{}, t0)
	if err != nil {
		t.Fatal(err)
	}
	lease.sink.Packet(t0, PacketRTP, []byte("there is room"))
	cam.drop.closed.Store(true)
	lease.sink.Packet(t0, PacketRTP, []byte("there is none"))
	if len(folder.journal) != 1 || cam.drop.packets.Load() != 1 {
		t.Errorf("%d packets written, %d counted as dropped, want 1 and 1", len(folder.journal), cam.drop.packets.Load())
	}
}
