package recorder

import (
	"cmp"
	"slices"
	"time"
)

// Gap is one entry of the gap ledger: what a track does not show, from when to when, and why. The JSON form is part of
// the manifest.
type Gap struct {
	TrackID string    `json:"track_id,omitempty"` // empty: the whole recording, or an expected track that never was
	Track   TrackKind `json:"track,omitempty"`
	Kind    GapKind   `json:"kind"`
	From    Micros    `json:"from_us"`
	To      Micros    `json:"to_us"`
	Packets int       `json:"packets,omitempty"` // lost or repaired
	Detail  string    `json:"detail,omitempty"`  // reason of a pause
}

// Rules of the ledger.
const (
	// stalledVideo: a static shared screen sends one frame a second, so a longer silence is the sender's.
	stalledVideo = Micros(5_000_000)
	// stalledAudio: Opus with DTX sends at least every 400 ms.
	stalledAudio = Micros(2_000_000)
	// pictureDue: a picture that comes so soon after a pause is in time.
	pictureDue = Micros(100_000)
	// missingAfter: an expected track that comes within this time of the start is in time.
	missingAfter = Micros(1_000_000)
	// gapMerge joins neighbours of one kind: a burst of losses is one entry.
	gapMerge = Micros(1_000_000)
	// maxGaps bounds the entries of one track and kind; beyond it neighbours are joined at growing distances.
	maxGaps = 1000
)

type gapKey struct {
	track  string
	kind   GapKind
	detail string
}

// ledger collects gaps. Adding is cheap and bounded; entries of one track and kind come in order of time.
type ledger struct {
	gaps  map[gapKey][]Gap
	merge map[gapKey]Micros
}

func newLedger() *ledger { return &ledger{gaps: map[gapKey][]Gap{}, merge: map[gapKey]Micros{}} }

func (l *ledger) add(g Gap) {
	g.From = max(0, g.From)
	g.To = max(g.From, g.To)
	k := gapKey{g.TrackID, g.Kind, g.Detail}
	if l.merge[k] == 0 {
		l.merge[k] = gapMerge
	}
	list := l.gaps[k]
	if n := len(list); n > 0 && joins(list[n-1], g, l.merge[k]) {
		list[n-1] = joined(list[n-1], g)
		return
	}
	list = append(list, g)
	for len(list) > maxGaps {
		l.merge[k] *= 2
		list = mergeGaps(list, l.merge[k])
	}
	l.gaps[k] = list
}

// joins tells whether b, which comes after a, continues it.
func joins(a, b Gap, within Micros) bool {
	if a.Kind != GapLost && a.Kind != GapRepaired && a.Kind != GapDropped && within == gapMerge {
		within = 0
	}
	return b.From <= a.To+within
}

func joined(a, b Gap) Gap {
	a.From, a.To, a.Packets = min(a.From, b.From), max(a.To, b.To), a.Packets+b.Packets
	return a
}

func mergeGaps(list []Gap, within Micros) []Gap {
	out := list[:1]
	for _, g := range list[1:] {
		if n := len(out) - 1; joins(out[n], g, within) {
			out[n] = joined(out[n], g)
			continue
		}
		out = append(out, g)
	}
	return out
}

// all returns the gaps that begin before end, cut there, ordered by time, track and kind. more is added to the copy.
func (l *ledger) all(end Micros, more ...Gap) []Gap {
	out := []Gap{}
	list := slices.Clone(more)
	for _, gaps := range l.gaps {
		list = append(list, gaps...)
	}
	for _, g := range list {
		if g.From >= end && end > 0 {
			continue
		}
		if end > 0 {
			g.To = min(g.To, end)
		}
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Track, b.Track), cmp.Compare(a.TrackID, b.TrackID), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

// trackTale is what the ledger remembers of a track between two units.
type trackTale struct {
	shown  bool      // a unit that can be shown or heard has come
	frozen *Micros   // since when the last good picture has been held
	muted  time.Time // when the track was detached; zero while it is attached or was never
	drops  dropTale
}

func (t *trackTale) detached(at time.Time) { t.muted = at }

// tell enters what one unit at recording time m says about the time since the one before.
func (p *Planner) tell(leg *planLeg, h heldUnit, m Micros) {
	from := m
	if leg.placed {
		from = leg.lastTime
	}
	t := leg.track
	gap := func(kind GapKind, from, to Micros, packets int64) {
		p.ledger.add(Gap{TrackID: t.id, Track: t.kind, Kind: kind, From: from, To: to, Packets: int(packets)})
	}
	p.tellLoss(leg, h, from, m)
	p.tellOverflows(t, h.LastAt.Add(-overflowKeep))
	if h.Repaired > 0 {
		gap(GapRepaired, from, m, h.Repaired)
	}
	broken := h.Frozen || h.Damaged || !h.Key && !leg.video.chain && t.kind.IsVideo()
	since, afterPause := p.pauseEnd(from, m)
	if !afterPause {
		since = m
	}
	if t.kind.IsVideo() && t.tale.shown && t.tale.frozen == nil && t.tale.muted.IsZero() && (broken || m-since > pictureDue) {
		t.tale.frozen = &since
	}
	if broken {
		return
	}
	if !t.tale.shown {
		t.tale.shown = true
		if m > missingAfter && p.firstOfKind(t) {
			gap(GapMissing, 0, m, 0)
		}
		t.tale.muted = time.Time{}
	}
	if t.tale.frozen != nil {
		gap(GapFrozen, *t.tale.frozen, m, 0)
		t.tale.frozen = nil
	}
	if !t.tale.muted.IsZero() && leg.ended.IsZero() {
		gap(GapMuted, p.timeOf(t.tale.muted), m, 0)
		t.tale.muted = time.Time{}
	}
}

// tellLoss enters what never came between two whole units. A damaged one between them says that packets are missing, and
// not where: what it waited for may be its own rest and all that followed.
func (p *Planner) tellLoss(leg *planLeg, h heldUnit, from, m Micros) {
	if h.Restarted {
		leg.lost = 0
	} else if h.Lost > 0 {
		if leg.lost == 0 {
			leg.lostFrom = from
		}
		leg.lost += h.Lost
	}
	if leg.lost > 0 {
		from = leg.lostFrom
	}
	switch {
	case p.pausedWithin(from, m), p.downWithin(from, m), leg.track.tale.drops.within(p, from, m): // that is what the ledger says of this time
		leg.lost = 0
	case leg.lost > 0 && h.Damaged:
	case leg.lost > 0:
		p.tellLost(leg, m)
	case leg.placed && m-from > stalledLimit(leg.track.kind):
		p.ledger.add(Gap{TrackID: leg.track.id, Track: leg.track.kind, Kind: GapStalled, From: from, To: m})
	}
}

// tellLost enters the packets that are known to be missing, up to an instant.
func (p *Planner) tellLost(leg *planLeg, to Micros) {
	if leg.lost > 0 {
		leg.lost -= p.accountOverflow(leg.track, leg.lost, leg.lostFrom, to)
	}
	if leg.lost > 0 {
		p.ledger.add(Gap{TrackID: leg.track.id, Track: leg.track.kind, Kind: GapLost, From: leg.lostFrom, To: to, Packets: int(leg.lost)})
	}
	leg.lost = 0
}

func stalledLimit(kind TrackKind) Micros {
	if kind.IsVideo() {
		return stalledVideo
	}
	return stalledAudio
}

// firstOfKind tells whether t alone answers for an expected kind so far.
func (p *Planner) firstOfKind(t *planTrack) bool {
	return slices.Contains(p.expect, t.kind) &&
		!slices.ContainsFunc(p.tracks, func(o *planTrack) bool { return o != t && o.kind == t.kind && o.tale.shown })
}

// pausedWithin tells whether a pause of the recording touches [from, to].
func (p *Planner) pausedWithin(from, to Micros) bool {
	return slices.ContainsFunc(p.pauses, func(s pauseSpan) bool {
		return p.timeOf(s.from) <= to && (s.to.IsZero() || p.timeOf(s.to) >= from)
	})
}

// pauseEnd is when the last pause within (from, to) ended. Pictures begin anew at the next keyframe: until then there is
// none.
func (p *Planner) pauseEnd(from, to Micros) (end Micros, ok bool) {
	for _, s := range p.pauses {
		if m := p.timeOf(s.to); !s.to.IsZero() && m > from && m < to {
			end, ok = m, true
		}
	}
	return end, ok
}

// downWithin tells whether the recorder was away within (from, to).
func (p *Planner) downWithin(from, to Micros) bool {
	return slices.ContainsFunc(p.downs, func(d [2]time.Time) bool { return p.timeOf(d[0]) <= to && p.timeOf(d[1]) >= from })
}

func (p *Planner) tellDowntime(from, to time.Time) { p.downs = append(p.downs, [2]time.Time{from, to}) }

// Gaps is the ledger so far, ordered by time; it is final after Finish. Pauses and downtime stand once for every track.
func (p *Planner) Gaps() []Gap {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.known {
		return []Gap{}
	}
	end := frameTime(p.end, int(p.fps))
	if !p.finished {
		end = max(0, p.soundHorizon())
	}
	open := p.missingGaps(end)
	for _, t := range p.tracks {
		open = append(append(open, p.openGaps(t, end)...), p.droppedGaps(t, end)...)
	}
	return p.ledger.all(end, append(open, p.commonGaps(end)...)...)
}

// missingGaps lists the expected kinds of which nothing has ever come.
func (p *Planner) missingGaps(end Micros) []Gap {
	var out []Gap
	for _, kind := range p.expect {
		g := Gap{Track: kind, Kind: GapMissing, To: end}
		come := false
		for _, t := range p.tracks {
			if t.kind == kind {
				g.TrackID, come = t.id, come || t.tale.shown
			}
		}
		if !come {
			out = append(out, g)
		}
	}
	return out
}

// openGaps lists what lasts until end.
func (p *Planner) openGaps(t *planTrack, end Micros) []Gap {
	gap := func(kind GapKind, from Micros) Gap {
		return Gap{TrackID: t.id, Track: t.kind, Kind: kind, From: max(0, from), To: end}
	}
	if !t.tale.shown {
		return nil
	}
	if !t.tale.muted.IsZero() {
		return []Gap{gap(GapMuted, p.timeOf(t.tale.muted))}
	}
	var out []Gap
	if t.tale.frozen != nil {
		out = append(out, gap(GapFrozen, *t.tale.frozen))
	}
	for _, leg := range p.legsOf(t) {
		if leg.placed && leg.ended.IsZero() && end-leg.lastTime > stalledLimit(t.kind) &&
			!p.pausedWithin(leg.lastTime, end) && !p.downWithin(leg.lastTime, end) && !t.tale.drops.within(p, leg.lastTime, end) {
			out = append(out, gap(GapStalled, leg.lastTime))
		}
	}
	return out
}

// legsOf lists the legs of a track that are attached.
func (p *Planner) legsOf(t *planTrack) []*planLeg {
	if n := len(t.legs); n > 0 {
		return t.legs[n-1:]
	}
	return nil
}

// commonGaps lists what concerns all tracks.
func (p *Planner) commonGaps(end Micros) []Gap {
	var spans []Gap
	for _, s := range p.pauses {
		g := Gap{Kind: GapPaused, From: max(0, p.timeOf(s.from)), To: end, Detail: string(s.reason)}
		if !s.to.IsZero() {
			g.To = max(0, p.timeOf(s.to))
		}
		spans = append(spans, g)
	}
	for _, d := range p.downs {
		spans = append(spans, Gap{Kind: GapDowntime, From: max(0, p.timeOf(d[0])), To: max(0, p.timeOf(d[1]))})
	}
	if len(p.tracks) == 0 {
		return spans
	}
	var out []Gap
	for _, g := range spans {
		for _, t := range p.tracks {
			g.TrackID, g.Track = t.id, t.kind
			out = append(out, g)
		}
	}
	return out
}
