package recorder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"
)

// past is what the spool says of a recording that an earlier process captured.
type past struct {
	begin   *BeginRow // nil: that process ended before it had written it
	tracks  []pastTrack
	legs    int          // the number of the next attachment
	pauses  int          // pauses so far
	pause   *PausedEvent // the one that lasts
	resumed time.Time    // end of the last pause
	layout  Layout       // empty: the profile's
	stopped bool
	newest  time.Time // newest arrival of anything
	media   time.Time // newest arrival of RTP; zero: none ever came
}

// pastTrack is one track and what was attached to it last.
type pastTrack struct {
	id     string
	kind   TrackKind
	codec  Codec
	leased TrackLeased
	leg    *LegAttached // nil: nothing is attached
	last   *Spooled     // of leg; nil: nothing came
}

// readPast reads the events, and the ends of the journals of what is attached.
func (r *recording) readPast() (past, error) {
	var p past
	if err := r.eachEvent(p.note); err != nil {
		return past{}, err
	}
	if r.hasBlob(blobBegin) {
		data, err := r.readBlob(blobBegin)
		if err != nil {
			return past{}, err
		}
		p.begin = new(BeginRow)
		if err := json.Unmarshal(data, p.begin); err != nil {
			return past{}, fmt.Errorf("read %s: %w", blobBegin, err)
		}
	}
	names, err := r.folder.Journals()
	if err != nil {
		return past{}, fmt.Errorf("list journals: %w", err)
	}
	for slices.Contains(names, LegName(p.legs)) { // a leg's journal is made before its event is written
		p.legs++
	}
	for i := range p.tracks {
		if t := &p.tracks[i]; t.leg != nil && !p.stopped {
			if err := r.readLast(&p, t); err != nil {
				return past{}, err
			}
		}
	}
	return p, nil
}

func (p *past) note(e Event) {
	switch e.Type {
	case EventTrackLeased:
		t := p.track(e.TrackLeased.TrackID, e.TrackLeased.Kind)
		again := t.leased.TrackID != ""
		t.leased = *e.TrackLeased
		if again { // by a process that came back, and may have ended before it captured: it was away until then
			return
		}
	case EventLegAttached:
		t := p.track(e.LegAttached.TrackID, e.LegAttached.Kind)
		t.leg, t.last = e.LegAttached, nil
		if params, err := ParseRTPParameters(e.LegAttached.RTPParameters, t.kind); err == nil {
			t.codec = params.Codec
		}
	case EventLegDetached:
		for i := range p.tracks {
			if leg := p.tracks[i].leg; leg != nil && leg.Leg == e.LegDetached.Leg {
				p.tracks[i].leg = nil
			}
		}
	case EventPaused:
		p.pause = e.Paused
		p.pauses++
	case EventResumed:
		p.pause, p.resumed = nil, e.At
	case EventLayoutChanged:
		p.layout = e.LayoutChanged.Layout
	case EventStopped:
		p.stopped = true
	case EventRecovered:
	default: // bookkeeping, which may be of any later day
		return
	}
	p.seen(e.At)
}

func (p *past) seen(at time.Time) {
	if at.After(p.newest) {
		p.newest = at
	}
}

func (p *past) track(id string, kind TrackKind) *pastTrack {
	for i := range p.tracks {
		if p.tracks[i].id == id {
			return &p.tracks[i]
		}
	}
	p.tracks = append(p.tracks, pastTrack{id: id, kind: kind})
	return &p.tracks[len(p.tracks)-1]
}

// lastBytes of a journal hold its newest packets: several chunks of it.
const lastBytes = 256 << 10

// readLast finds the newest packet of a track's leg.
func (r *recording) readLast(p *past, t *pastTrack) error {
	params, err := ParseRTPParameters(t.leg.RTPParameters, t.kind)
	if err != nil {
		return nil // attachAgain says so
	}
	rd, err := r.folder.ReadTail(t.leg.Journal, lastBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer rd.Close()
	var order unwrapper
	order.rate = int64(params.Codec.ClockRate())
	for damage := 0; ; {
		rec, _, err := rd.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, ErrSpoolDamaged) && damage < maxDamage {
			damage++
			continue
		}
		if err != nil {
			return fmt.Errorf("read the end of %s: %w", t.leg.Journal, err)
		}
		p.seen(rec.At)
		if rec.Kind != PacketRTP {
			continue
		}
		packet, ssrc, ok := r.s.deps.Depacketizers.ParseRTP(rec.Data, params)
		if !ok || ssrc != params.SSRC {
			continue
		}
		if rec.At.After(p.media) {
			p.media = rec.At
		}
		seq, rtp := uint16(packet.Seq), uint32(packet.RTP)
		packet.At = rec.At
		if v, _ := order.place(&packet); v != doubtful && (t.last == nil || packet.Seq == order.seq) {
			t.last = &Spooled{Seq: seq, RTP: rtp, At: rec.At}
		}
	}
}

// capturing tells whether the recording goes on: nobody stopped it, and the recorder was not away for longer than its
// queue waits.
func (p past) capturing(now time.Time, reconnect time.Duration) bool {
	return p.begin != nil && !p.stopped && now.Sub(p.newest) < reconnect
}

// restore names the tracks of a recording that is only to be finished; what the database knows of them, this process
// never saw.
func (r *recording) restore(p past, rows []TrackRow) {
	for _, t := range p.tracks {
		n := &track{id: t.id, kind: t.kind, codec: t.codec}
		for _, row := range rows {
			if row.ID == t.id {
				n.past, n.endpoint = row.Stats, row.Endpoint
			}
		}
		r.tracks = append(r.tracks, n)
	}
}

// captureAgain binds the ports again, writes down how long the recorder was away, and attaches what was attached. What
// the SFU still holds of the time between is asked for again.
func (r *recording) captureAgain(ctx context.Context, p past) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nextLeg, r.pauses, r.returned = p.legs, p.pauses, true
	if p.layout != "" {
		r.layout = p.layout
	}
	r.capture = Pending
	if !p.media.IsZero() {
		r.capture = Recording
		r.lastSeen.Store(p.media.UnixNano())
	}
	if p.pause != nil {
		r.capture = Paused
		r.gate.close()
		r.resumeBy(p.pause.AutoResumeAt)
	}
	for _, row := range p.begin.Tracks {
		if err := r.leaseAgain(ctx, p.begin, p.track(row.ID, row.Kind)); err != nil {
			return err
		}
	}
	back := r.s.deps.Now()
	if back.Before(p.newest) { // the clock was set back
		back = p.newest
	}
	err := r.event(Event{Type: EventRecovered, At: back, Recovered: &RecoveredEvent{DownFrom: p.newest}})
	if err != nil {
		return err
	}
	r.aliveSince.Store(back.UnixNano())
	for i, row := range p.begin.Tracks {
		was := p.track(row.ID, row.Kind)
		if was.leg == nil {
			continue
		}
		if was.leg.Published { // its session ended with the process
			err = r.event(Event{Type: EventLegDetached, At: back, LegDetached: &LegDetached{Leg: was.leg.Leg}})
		} else {
			err = r.attachAgain(r.tracks[i], *was, p.resumed, back)
		}
		if err != nil {
			return err
		}
	}
	r.s.log.Info("recording goes on after the recorder was away", "recording_id", r.id, "tenant_id", r.header.TenantID,
		"away_for", back.Sub(p.newest), "state", r.capture)
	return nil
}

// leaseAgain binds a track's ports: those that the SFU knows if they can be had.
func (r *recording) leaseAgain(ctx context.Context, begin *BeginRow, was *pastTrack) error {
	t := &track{id: was.id, kind: was.kind, codec: was.codec}
	r.tracks = append(r.tracks, t)
	req := LeaseRequest{RTCPMux: begin.RTCPMux, RTPPort: was.leased.RTPPort, RTCPPort: was.leased.RTCPPort, SRTP: was.leased.SRTP}
	if was.leased.TrackID == "" { // the earlier process did not come so far
		var err error
		if req.SRTP, err = NewSRTPParameters(begin.SRTPSuite); err != nil {
			return err
		}
	}
	err := r.leaseTrack(ctx, t, req)
	if errors.Is(err, ErrNoPorts) && req.RTPPort != 0 {
		r.s.log.Error("another program has taken the media ports of a recording that goes on: its SFU must attach anew, to new ports",
			"recording_id", r.id, "track_id", t.id, "rtp_port", req.RTPPort, "rtcp_port", req.RTCPPort)
		req.RTPPort, req.RTCPPort = 0, 0
		err = r.leaseTrack(ctx, t, req)
	}
	return err
}

// attachAgain goes on with the leg that was attached. Nothing of a pause may come back by repair: where one lasts, or
// ended after the newest packet in the spool, only what is captured from now on is taken. A leg that this process cannot
// attach, because its settings or its release are others, ends: the rest of the recording goes on.
func (r *recording) attachAgain(t *track, was pastTrack, resumed, back time.Time) error {
	params, err := ParseRTPParameters(was.leg.RTPParameters, was.kind)
	if err != nil {
		return r.giveUp(was, back, err)
	}
	journal, err := r.folder.Journal(was.leg.Journal)
	if err != nil {
		return fmt.Errorf("open journal %s: %w", was.leg.Journal, err)
	}
	sink := &legSink{r: r, journal: journal, drop: &t.drop}
	a := Attachment{Params: params, Source: was.leg.Source, SRTP: was.leg.SRTP, KeyframeInterval: r.keyframeInterval(t.kind), Sink: sink, Spooled: was.last}
	afterPause := r.capture == Paused || was.last != nil && was.last.At.Before(resumed) || was.last == nil && !resumed.IsZero()
	if afterPause {
		a.Spooled = nil
	}
	if afterPause {
		t.lease.Hold() // before attaching: what has gathered on the sockets since they were bound may be of the pause
	}
	if err := t.lease.Attach(a); errors.Is(err, ErrAttachment) {
		return errors.Join(r.giveUp(was, back, err), journal.Close())
	} else if err != nil {
		return errors.Join(fmt.Errorf("attach %s: %w", t.kind, err), journal.Close())
	}
	if afterPause && r.capture != Paused {
		t.lease.Release(back)
	}
	t.leg = &leg{feed: feed{lease: t.lease, params: was.leg.RTPParameters, source: was.leg.Source, srtp: was.leg.SRTP}, name: was.leg.Leg, journal: journal, sink: sink}
	if t.kind.IsVideo() && r.capture != Paused {
		t.lease.RequestKeyframe()
	}
	return nil
}

// giveUp ends a leg of the earlier process that cannot be attached any more.
func (r *recording) giveUp(was pastTrack, back time.Time, cause error) error {
	r.s.log.Error("a track of a recording that goes on cannot be attached again: its SFU must attach it anew",
		"recording_id", r.id, "track_id", was.id, "kind", was.kind, "err", cause)
	return r.event(Event{Type: EventLegDetached, At: back, LegDetached: &LegDetached{Leg: was.leg.Leg}})
}
