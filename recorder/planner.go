package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"
)

// settleDelay is how long after its last instant a segment is settled: packets may be repaired for ReorderWait, a unit
// is placed clockLookahead after it is complete, and a sender's pacer may hold packets for up to a second.
const settleDelay = ReorderWait + clockLookahead + 1500*time.Millisecond

// epochDelay is how long after the first packet recording time 0 is decided.
const epochDelay = time.Second

// minFinalPiece is the shortest piece into which the rest of a recording is split when it ends.
const minFinalPiece = 2 * time.Second

// PlannerFolder is what the planner needs of a recording's folder. Read of a journal that does not exist (yet) fails
// with fs.ErrNotExist.
type PlannerFolder interface {
	Header() Header
	Read(name string, from Position) (JournalReader, error)
}

// Errors of the planner.
var (
	// ErrPlanFinished: Advance and Finish are refused after Finish or Close.
	ErrPlanFinished = errors.New("recorder: the plan is finished")
	// ErrPlanMismatch: the spool does not hold what a plan was made from.
	ErrPlanMismatch = errors.New("recorder: the spool does not hold the planned frames")
)

// Planner derives a recording's timeline from its journals: the clock, the scenes, the segments, the sound and the gap
// ledger. It depends on nothing but the journals: the same spool gives the same plans, however finely Advance is called
// and whether or not the process was restarted in between.
//
//	events ─┐
//	leg-000 ┼─ merged by arrival ─→ units ──(2.5 s: the clock learns)──→ placed on the grid ─→ scenes
//	leg-001 ┘                                                                                   │
//	                 arrival time has passed a cut by settleDelay  ─→  SegmentPlan  ←───────────┘
//
// To that end everything that happens by itself (a wait for a packet ends, a stall is confirmed, a unit is placed, a
// segment settles) happens at a defined instant of arrival time, and these instants and the records are worked through
// in one order. A unit that comes after its segment was settled is shown at the start of the next one.
//
// Memory: 16 bytes per frame from the planned frontier on, what waits behind a gap, and a few entries per change, run of
// sound, gap and attachment.
//
// All methods may be called from several goroutines. Advance, Plan and Finish belong to one of them; Job, OpenRegion and
// the readers of AudioSource only read the folder.
type Planner struct {
	folder  PlannerFolder
	makers  Depacketizers
	profile Profile
	expect  []TrackKind
	fps     int64

	mu     sync.Mutex
	wake   chan struct{} // closed and replaced whenever more is known
	events *mergeSource
	legs   []*planLeg // that still have something to read, hold or place
	byName map[string]*planLeg
	tracks []*planTrack
	clock  *clock
	now    time.Time // newest instant worked through
	// lastOfTheCall is the newest arrival of a packet or of an event that decides what is shown.
	lastOfTheCall time.Time
	first         time.Time // arrival of the first packet
	epoch         time.Time
	known         bool // epoch
	pauses        []pauseSpan
	layouts       []layoutFrom
	downs         [][2]time.Time
	sound         map[TrackKind]*audioTimeline
	ledger        *ledger
	stop          time.Time
	end           int64 // frame after the last; never while the recording runs

	frontier int64
	index    int
	sealed   []SegmentSealed // by From
	used     map[int]bool    // indices of sealed segments
	cut      int64           // next cut, if not dirty
	dirty    bool
	pieceLen int64 // > 0: Finish splits the rest into such pieces
	ready    []SegmentPlan
	finished bool
	closed   bool
	stats    PlannerStats
}

// PlannerStats counts what the planner had to skip.
type PlannerStats struct {
	UnknownEvents int   // events of types that are not known
	BadEvents     int   // events that are malformed
	Damaged       int   // places in journals that fail authentication; what stood there is lost
	LateUnits     int   // units that came after their segment was settled
	StrayPackets  int64 // packets that fitted neither sequence nor time
}

type pauseSpan struct {
	from, to time.Time // to is zero while it lasts
	reason   PauseReason
}

type layoutFrom struct {
	at     time.Time
	layout Layout
}

type planTrack struct {
	id    string
	kind  TrackKind
	since time.Time
	legs  []*planLeg // that may still be shown, in order of attachment
	tale  trackTale
}

func (t *planTrack) shows(n int64, pauses []frameSpan) (*planLeg, pictureChange, bool) {
	for _, leg := range slices.Backward(t.legs) {
		if n >= leg.endFrame {
			continue
		}
		if c, ok := leg.video.at(n, pauses); ok {
			return leg, c, true
		}
	}
	return nil, pictureChange{}, false
}

// planLeg is one leg as the planner sees it.
type planLeg struct {
	name, journal string
	track         *planTrack
	params        RTPParameters
	source        *mergeSource
	dec           *legDecoder
	clock         *legClock
	held          []heldUnit
	ended         time.Time // of its detachment; zero while attached
	endFrame      int64
	video         videoTimeline
	lastTime      Micros
	placed        bool
	lost          int64 // packets missing since lostFrom that the ledger does not have yet
	lostFrom      Micros
}

type heldUnit struct {
	LegUnit
	dur     int64 // of a sound packet, in 2.5 ms
	placeAt time.Time
}

// mergeSource reads one journal and holds the record that is next.
type mergeSource struct {
	name   string
	reader JournalReader
	record Record
	pos    Position
	have   bool
	newest time.Time // arrival never runs backwards within a journal
	closed bool
}

// NewPlanner begins at the start of the recording. Segments that the events journal says are sealed keep their cuts and
// are not planned again; an epoch that is set there holds.
func NewPlanner(folder PlannerFolder, makers Depacketizers) (*Planner, error) {
	h := folder.Header()
	if err := h.Profile.Validate(); err != nil {
		return nil, fmt.Errorf("plan recording %s: profile: %w", h.RecordingID, err)
	}
	p := &Planner{folder: folder, makers: makers, profile: h.Profile, expect: h.Expect, fps: int64(h.Profile.FPS),
		wake: make(chan struct{}), events: &mergeSource{name: EventsJournal}, byName: map[string]*planLeg{}, clock: newClock(),
		sound: map[TrackKind]*audioTimeline{}, ledger: newLedger(), end: never, used: map[int]bool{}, dirty: true}
	for _, kind := range []TrackKind{AgentAudio, CustomerAudio} {
		p.sound[kind] = &audioTimeline{kind: kind}
	}
	if err := p.readSealed(); err != nil {
		return nil, err
	}
	return p, nil
}

// readSealed learns from the events what an earlier process has decided.
func (p *Planner) readSealed() error {
	src := &mergeSource{name: EventsJournal}
	defer src.close()
	for {
		ok, err := src.peek(p.folder)
		if err != nil {
			return fmt.Errorf("read %s: %w", EventsJournal, err)
		}
		if !ok {
			break
		}
		src.have = false
		e, err := ParseEvent(src.record.Data)
		switch {
		case err != nil:
		case e.Type == EventEpochSet:
			if !p.known {
				p.setEpoch(e.EpochSet.Epoch)
			}
		case e.Type == EventSegmentSealed && !e.SegmentSealed.Broken:
			p.sealed = append(p.sealed, *e.SegmentSealed)
		case e.Type == EventRenderAgain:
			p.sealed = nil
		}
	}
	slices.SortStableFunc(p.sealed, func(a, b SegmentSealed) int { return int(a.From - b.From) })
	p.sealed = slices.CompactFunc(p.sealed, func(b, a SegmentSealed) bool { return b.From < a.To }) // sealed twice: the first counts
	for _, s := range p.sealed {
		p.used[s.Index] = true
	}
	return nil
}

// peek makes sure that the next record is at hand; false: there is none for now.
func (m *mergeSource) peek(folder PlannerFolder) (bool, error) {
	if m.have || m.closed {
		return m.have, nil
	}
	if m.reader == nil {
		r, err := folder.Read(m.name, Position{})
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		m.reader = r
	}
	rec, pos, err := m.reader.Next()
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if rec.At.After(m.newest) {
		m.newest = rec.At
	}
	rec.At = m.newest
	m.record, m.pos, m.have = rec, pos, true
	return true, nil
}

func (m *mergeSource) close() {
	if m.reader != nil {
		m.reader.Close()
	}
	m.reader, m.closed, m.have = nil, true, false
}

// maxDamage bounds the damaged places of one journal that are stepped over at once.
const maxDamage = 1000

// Advance reads what arrived up to until. Everything that did must be readable by then: as appended records may take a
// second to become so, a follower stays more than a second behind the clock or calls Folder.Sync first.
func (p *Planner) Advance(until time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished || p.closed {
		return ErrPlanFinished
	}
	err := p.advance(until)
	p.signal()
	return err
}

func (p *Planner) signal() {
	close(p.wake)
	p.wake = make(chan struct{})
}

func (p *Planner) advance(until time.Time) error {
	for {
		src, leg, err := p.nextSource(until)
		if err != nil {
			return err
		}
		if src == nil {
			p.settle(until)
			return nil
		}
		src.have = false
		if leg == nil && !ofTheCall(src.record) {
			p.event(src.record) // says nothing of how far the call has come
			continue
		}
		p.settle(src.record.At)
		if src.record.At.After(p.lastOfTheCall) {
			p.lastOfTheCall = src.record.At
		}
		if leg == nil {
			p.event(src.record)
		} else {
			p.feed(leg)
		}
	}
}

// nextSource picks the journal whose next record arrived first; events go before packets of the same instant, and older
// legs before newer ones.
func (p *Planner) nextSource(until time.Time) (best *mergeSource, leg *planLeg, err error) {
	ok, err := p.events.peek(p.folder)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", EventsJournal, err)
	}
	if ok && !p.events.record.At.After(until) {
		best = p.events
	}
	for _, l := range p.legs {
		ok, err := l.source.peek(p.folder)
		for n := 0; errors.Is(err, ErrSpoolDamaged); n++ { // reading goes on behind the damage
			p.stats.Damaged++
			if n == maxDamage {
				p.flush(l)
				l.source.close()
			}
			ok, err = l.source.peek(p.folder)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", l.journal, err)
		}
		if ok && !l.source.record.At.After(until) && (best == nil || l.source.record.At.Before(best.record.At)) {
			best, leg = l.source, l
		}
	}
	return best, leg, nil
}

func (p *Planner) feed(leg *planLeg) {
	if leg.source.record.Kind == RecordOverflow {
		p.overflowed(leg.track, leg.source.record)
		return
	}
	leg.dec.feed(leg.source.record, leg.source.pos)
	p.drain(leg)
}

// drain takes over the units that are complete. Only what decides about them is kept; their data is read again when
// they are rendered.
func (p *Planner) drain(leg *planLeg) {
	for {
		u, ok := leg.dec.next()
		if !ok {
			return
		}
		p.hold(leg, u)
	}
}

func (p *Planner) hold(leg *planLeg, u LegUnit) {
	h := heldUnit{LegUnit: u, placeAt: u.ReleasedAt.Add(clockLookahead)}
	facts := *u.Unit
	facts.Data = nil
	h.Unit = &facts
	if leg.params.Codec == Opus {
		h.dur = opusDuration(u.Data)
	}
	leg.held = append(leg.held, h)
}

// settle works through everything that happens by itself before t, in order of time.
func (p *Planner) settle(t time.Time) {
	for _, leg := range p.legs {
		leg.dec.tick(t)
		p.drain(leg)
	}
	for {
		at, do := p.nextInternal()
		if do == nil || !at.Before(t) {
			break
		}
		if at.After(p.now) {
			p.now = at
		}
		do()
	}
	if t.After(p.now) {
		p.now = t
	}
	p.legs = slices.DeleteFunc(p.legs, p.retire)
}

// retire lets go of what a leg that is done was read with.
func (p *Planner) retire(leg *planLeg) bool {
	if !leg.source.closed || len(leg.held) > 0 {
		return false
	}
	p.tellLost(leg, leg.lastTime)
	p.stats.StrayPackets += leg.dec.unwrap.stray
	p.clock.legs = slices.DeleteFunc(p.clock.legs, func(l *legClock) bool { return l == leg.clock && p.known })
	leg.dec = nil
	return true
}

// nextInternal is the earliest of the instants at which something happens by itself.
func (p *Planner) nextInternal() (at time.Time, do func()) {
	consider := func(t time.Time, f func()) {
		if do == nil || t.Before(at) {
			at, do = t, f
		}
	}
	if !p.known && !p.first.IsZero() {
		consider(p.first.Add(epochDelay), p.decideEpoch)
	}
	for _, leg := range p.legs {
		if t, ok := leg.clock.stallAt(); ok {
			consider(t, leg.clock.stall)
		}
	}
	if !p.known {
		return at, do
	}
	for _, leg := range p.legs {
		if len(leg.held) > 0 {
			consider(leg.held[0].placeAt, func() { p.place(leg) })
		}
	}
	if cut, ok := p.nextCut(); ok {
		consider(p.wallOf(frameTime(cut, int(p.fps))).Add(settleDelay), func() { p.emit(cut) })
	}
	return at, do
}

// decideEpoch fixes recording time 0 at the capture instant of the earliest packet.
func (p *Planner) decideEpoch() {
	var epoch time.Time
	for _, l := range p.clock.legs {
		if t, ok := l.firstAt(); ok && (epoch.IsZero() || t.Before(epoch)) {
			epoch = t
		}
	}
	p.setEpoch(epoch)
}

func (p *Planner) setEpoch(t time.Time) {
	p.epoch, p.known, p.dirty = t.UTC().Truncate(time.Microsecond), true, true
}

// Epoch is recording time 0 on the recorder's wall clock; false until it is decided. The follower writes it as an
// EpochSet event once.
func (p *Planner) Epoch() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch, p.known
}

// Captured tells whether any packet was read.
func (p *Planner) Captured() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.first.IsZero()
}

// Stats returns the counts so far.
func (p *Planner) Stats() PlannerStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	for _, l := range p.legs {
		s.StrayPackets += l.dec.unwrap.stray
	}
	return s
}

// Planned is how far segments have been planned, in recording time.
func (p *Planner) Planned() Micros {
	p.mu.Lock()
	defer p.mu.Unlock()
	return frameTime(p.frontier, int(p.fps))
}

func (p *Planner) timeOf(t time.Time) Micros      { return MicrosOf(t.Sub(p.epoch)) }
func (p *Planner) wallOf(m Micros) time.Time      { return p.epoch.Add(m.Duration()) }
func (p *Planner) frameOf(t time.Time) int64      { return frameNearest(p.timeOf(t), p.fps) }
func (p *Planner) framesIn(d time.Duration) int64 { return int64(d) * p.fps / int64(time.Second) }

// pauseFrames are the pauses on the grid, widened to whole frames: nothing that arrived in a pause is ever shown.
func (p *Planner) pauseFrames() []frameSpan {
	out := make([]frameSpan, 0, len(p.pauses))
	for _, s := range p.pauses {
		f := frameSpan{frameFloor(p.timeOf(s.from), p.fps), never}
		if !s.to.IsZero() {
			f.to = max(f.from+1, frameCeil(p.timeOf(s.to), p.fps))
		}
		out = append(out, f)
	}
	return out
}

// event applies one record of the events journal.
func (p *Planner) event(rec Record) {
	e, err := ParseEvent(rec.Data)
	if errors.Is(err, ErrUnknownEvent) {
		p.stats.UnknownEvents++
		return
	}
	if err != nil {
		p.stats.BadEvents++
		return
	}
	p.dirty = true
	switch e.Type {
	case EventTrackLeased:
		p.track(e.TrackLeased.TrackID, e.TrackLeased.Kind, e.At)
	case EventLegAttached:
		p.attach(*e.LegAttached, e.At)
	case EventLegDetached:
		if leg := p.byName[e.LegDetached.Leg]; leg != nil {
			p.detach(leg, e.At)
		}
	case EventPaused:
		if n := len(p.pauses); n == 0 || !p.pauses[n-1].to.IsZero() {
			p.pauses = append(p.pauses, pauseSpan{from: e.At, reason: e.Paused.Reason})
		}
	case EventResumed:
		if n := len(p.pauses); n > 0 && p.pauses[n-1].to.IsZero() {
			p.pauses[n-1].to = e.At
		}
	case EventLayoutChanged:
		p.layouts = append(p.layouts, layoutFrom{e.At, e.LayoutChanged.Layout})
	case EventRecovered:
		p.tellDowntime(e.Recovered.DownFrom, e.At)
		p.endDrops(e.Recovered.DownFrom)
	case EventDropBegan:
		if t := p.trackByID(e.DropBegan.TrackID); t != nil {
			t.tale.drops.began(e.At, e.DropBegan.Cause)
		}
	case EventDropEnded:
		if t := p.trackByID(e.DropEnded.TrackID); t != nil {
			t.tale.drops.ended(e.At, e.DropEnded.Packets)
		}
	case EventStopped:
		if p.stop.IsZero() {
			p.stop = e.At
		}
	}
}

func (p *Planner) trackByID(id string) *planTrack {
	if i := slices.IndexFunc(p.tracks, func(t *planTrack) bool { return t.id == id }); i >= 0 {
		return p.tracks[i]
	}
	return nil
}

func (p *Planner) track(id string, kind TrackKind, at time.Time) *planTrack {
	for _, t := range p.tracks {
		if t.id == id {
			return t
		}
	}
	t := &planTrack{id: id, kind: kind, since: at}
	p.tracks = append(p.tracks, t)
	return t
}

func (p *Planner) attach(a LegAttached, at time.Time) {
	if p.byName[a.Leg] != nil {
		p.stats.BadEvents++
		return
	}
	t := p.track(a.TrackID, a.Kind, at)
	for _, old := range t.legs {
		p.detach(old, at)
	}
	params, err := ParseRTPParameters(a.RTPParameters, a.Kind) // checked when the event was parsed
	if err != nil {
		p.stats.BadEvents++
		return
	}
	dec, err := newLegDecoder(params, p.makers, nil)
	if err != nil {
		p.stats.BadEvents++
		return
	}
	leg := &planLeg{name: a.Leg, journal: a.Journal, track: t, params: params, source: &mergeSource{name: a.Journal}, dec: dec,
		clock: p.clock.add(clockDomain(a, params.CNAME), params.Codec.ClockRate()), endFrame: never}
	dec.packet = func(rtp int64, at time.Time, restarted bool) {
		if p.first.IsZero() {
			p.first = at
		}
		leg.clock.packet(rtp, at, restarted)
	}
	dec.report = leg.clock.report
	p.byName[a.Leg] = leg
	p.legs = append(p.legs, leg)
	t.legs = append(t.legs, leg)
	if sound := p.sound[a.Kind]; sound != nil {
		sound.owner = leg
	}
}

// clockDomain names the clock that a leg's sender reports count by. Hosts have clocks of their own, and so do the senders
// of one host that do not share a CNAME (RFC 7022): two browsers behind one address, or two producers of one SFU that passes
// their own reports on. What is not known to share a clock is joined by arrival alone.
func clockDomain(a LegAttached, cname string) string {
	if a.Source.IP == "" || a.Source.IP == "0.0.0.0" || a.Source.IP == "::" {
		return a.Leg // unknown host: it shares its clock with nobody
	}
	return a.Source.IP + "\x00" + cname
}

// detach ends a leg: nothing of it is shown from the instant on. What its journal holds up to then is still placed.
func (p *Planner) detach(leg *planLeg, at time.Time) {
	if !leg.ended.IsZero() {
		return
	}
	leg.ended = at
	leg.track.tale.detached(at)
	if p.known {
		p.endLegFrames(leg)
	}
	if leg.source.closed { // damaged before
		return
	}
	leg.dec.tick(at)
	p.flush(leg)
	leg.source.close()
}

func (p *Planner) flush(leg *planLeg) {
	for {
		u, ok := leg.dec.finish()
		if !ok {
			return
		}
		p.hold(leg, u)
	}
}

// endLegFrames puts the end of a leg on the grid, behind the frames of it that are placed already.
func (p *Planner) endLegFrames(leg *planLeg) {
	leg.endFrame = max(frameCeil(p.timeOf(leg.ended), p.fps), p.frontier)
}

// place puts the leg's oldest held unit on the timeline.
func (p *Planner) place(leg *planLeg) {
	h := leg.held[0]
	leg.held = leg.held[:copy(leg.held, leg.held[1:])]
	m := p.timeOf(leg.clock.at(h.RTP))
	if leg.placed {
		m = max(m, leg.lastTime)
	}
	m = max(m, 0)
	p.tell(leg, h, m)
	leg.placed, leg.lastTime = true, m
	if leg.params.Codec == Opus {
		p.placeSound(leg, h, m)
		return
	}
	p.placePicture(leg, h.LegUnit, m)
}

func (p *Planner) placePicture(leg *planLeg, u LegUnit, m Micros) {
	v := &leg.video
	switch {
	case u.Frozen || u.Damaged:
		v.chain = false
		return
	case u.Key:
		v.chain = true
	case !v.chain:
		return
	}
	if p.profile.Layout == AudioOnly { // no segments will ever be planned
		return
	}
	if !leg.ended.IsZero() && leg.endFrame == never {
		p.endLegFrames(leg)
	}
	slot := max(frameNearest(m, p.fps), v.lastPut)
	if slot < p.frontier {
		p.stats.LateUnits++
		slot = p.frontier
	}
	if slot >= leg.endFrame {
		return
	}
	if v.put(slot, u, p.pauseFrames()) {
		p.dirty = true
	}
}

// nextCut is where the segment that begins at the frontier ends; false if there is nothing more to plan.
func (p *Planner) nextCut() (int64, bool) {
	if p.profile.Layout == AudioOnly || p.frontier >= p.lastFrame() {
		return 0, false
	}
	if p.dirty {
		p.cut, p.dirty = p.findCut(), false
	}
	return p.cut, true
}

// lastFrame is the recording's end on the grid as far as it is known.
func (p *Planner) lastFrame() int64 {
	if p.end == never && !p.stop.IsZero() && p.known {
		return frameCeil(p.timeOf(p.stop), p.fps)
	}
	return p.end
}

func (p *Planner) findCut() int64 {
	from := p.frontier
	limit := min(from+p.profile.SegmentFrames(), p.lastFrame())
	final := p.pieceLen > 0
	if final {
		limit = p.lastFrame()
	}
	for _, s := range p.sealed {
		if s.From == from {
			return s.To
		}
		if s.From > from {
			limit = min(limit, s.From)
			break
		}
	}
	for _, leg := range p.legs {
		if !leg.ended.IsZero() && leg.endFrame == never {
			p.endLegFrames(leg)
		}
	}
	cut := p.firstSceneCut(from, limit)
	if !final {
		return cut
	}
	length := cut - from
	n := min(ceilDiv(length, p.pieceLen), length/p.framesIn(minFinalPiece))
	n = max(1, n, ceilDiv(length, p.profile.SegmentFrames()))
	return from + ceilDiv(length, n)
}

// emit settles the segment from the frontier to cut.
func (p *Planner) emit(cut int64) {
	if i := slices.IndexFunc(p.sealed, func(s SegmentSealed) bool { return s.From == p.frontier }); i >= 0 {
		p.index = max(p.index, p.sealed[i].Index+1)
	} else {
		for p.used[p.index] {
			p.index++
		}
		p.ready = append(p.ready, p.segment(cut))
		p.index++
	}
	p.frontier, p.dirty = cut, true
	for _, t := range p.tracks {
		for _, leg := range t.legs {
			leg.video.prune(cut)
		}
		t.legs = slices.DeleteFunc(t.legs, func(l *planLeg) bool {
			return l.endFrame <= cut && l.source.closed && len(l.held) == 0
		})
	}
	p.pruneSound(frameTime(cut, int(p.fps)))
}

func (p *Planner) segment(to int64) SegmentPlan {
	from := p.frontier
	sc := p.sceneAt(from)
	canvas := p.profile.Canvas()
	s := SegmentPlan{Index: p.index, From: from, To: to, FPS: int(p.fps), Canvas: canvas, Layout: sc.layout, Paused: sc.paused,
		Regions: []RegionPlan{}, Settled: p.now}
	if sc.paused {
		return s
	}
	pictures := make([]Picture, len(sc.pictures))
	for i, pic := range sc.pictures {
		pictures[i] = Picture{pic.kind, pic.size, pic.rotation}
	}
	placed := Place(canvas, sc.layout, p.profile, pictures, p.profile.WaveformBurnIn)
	s.Waveform = placed.Waveform
	if p.profile.WaveformBurnIn {
		s.sound = p.soundOf(s.Start(), s.End())
	}
	for i, pic := range sc.pictures {
		if placed.Rects[i].W == 0 {
			continue
		}
		s.Regions = append(s.Regions, p.region(pic, placed.Rects[i], from, to))
	}
	return s
}

func (p *Planner) region(pic scenePicture, rect Rect, from, to int64) RegionPlan {
	r := RegionPlan{Kind: pic.kind, Rect: rect}
	if pic.leg == nil {
		return r
	}
	r.Leg, r.TrackID, r.Codec, r.SourceSize, r.Rotation = pic.leg.name, pic.leg.track.id, pic.leg.params.Codec, pic.size, pic.rotation
	r.journal, r.params = pic.leg.journal, pic.leg.params
	pic.leg.video.plan(&r, from, to)
	return r
}

// Plan returns the segments that have been settled since the last call, in order, without those that were sealed before.
func (p *Planner) Plan() []SegmentPlan {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.ready
	p.ready = nil
	return out
}

// FinishOptions say how a recording ends.
type FinishOptions struct {
	// End cuts the recording; zero: at the Stopped event, else at the last arrival.
	End Micros
	// Pieces > 1 splits what is left, so that so many workers can render it at once; no piece is made shorter than 2 s.
	// Without it the cuts are those that a longer wait would have given.
	Pieces int
}

// Finish reads all journals to their ends, settles everything and returns the segments that Plan has not returned yet.
// Afterwards Duration and Gaps are final and every AudioSource ends.
func (p *Planner) Finish(o FinishOptions) ([]SegmentPlan, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finished || p.closed {
		return nil, ErrPlanFinished
	}
	defer p.signal()
	last, err := p.readToEnd()
	if err != nil {
		return nil, err
	}
	p.finished = true
	p.events.close()
	if !p.known && !p.first.IsZero() {
		p.decideEpoch()
	}
	if !p.known {
		p.end = 0
		return nil, nil
	}
	p.end = p.decideEnd(o.End, p.lastOfTheCall)
	p.dirty = true
	if o.Pieces > 1 {
		left, pieces := p.end-p.frontier, int64(o.Pieces)
		p.pieceLen = max(p.framesIn(minFinalPiece), (left+pieces-1)/pieces)
	}
	for _, leg := range p.legs {
		p.flush(leg)
		leg.source.close()
	}
	p.settle(last.Add(100 * 365 * 24 * time.Hour))
	p.now = last
	out := p.ready
	p.ready = nil
	return out, nil
}

// Close gives up before Finish and lets go of the journals; it is idempotent, and after Finish it does nothing. Plans and
// their sources stay good; an AudioSource that follows the recording fails with ErrPlanFinished.
func (p *Planner) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.events.close()
	for _, leg := range p.legs {
		leg.source.close()
	}
	p.signal()
	return nil
}

// readToEnd works through all journals as if they were followed, and returns the last arrival.
func (p *Planner) readToEnd() (time.Time, error) {
	last := p.now
	for {
		src, leg, err := p.nextSource(time.Unix(1<<40, 0))
		if err != nil {
			return last, err
		}
		if src == nil {
			return last, nil
		}
		if leg == nil && !ofTheCall(src.record) { // it may be of any later day
			src.have = false
			p.event(src.record)
			continue
		}
		if src.record.At.After(last) {
			last = src.record.At
		}
		if err := p.advance(last); err != nil {
			return last, err
		}
	}
}

// ofTheCall tells the events that decide what the recording shows from bookkeeping, which may be of any later day.
func ofTheCall(rec Record) bool {
	e, err := ParseEvent(rec.Data)
	if err != nil {
		return false
	}
	switch e.Type {
	case EventEpochSet, EventSegmentSealed, EventAudioSealed, EventArtifactSealed, EventUploaded, EventRenderAgain:
		return false
	}
	return true
}

func (p *Planner) decideEnd(end Micros, last time.Time) int64 {
	switch {
	case end > 0:
	case !p.stop.IsZero():
		end = p.timeOf(p.stop)
	default:
		end = p.timeOf(last)
	}
	n := frameCeil(end, p.fps)
	for _, s := range p.sealed {
		n = max(n, s.To)
	}
	return max(n, p.frontier)
}

// Duration is the recording's length in frames and in recording time: final after Finish.
func (p *Planner) Duration() (frames int64, d Micros) {
	p.mu.Lock()
	defer p.mu.Unlock()
	frames = p.frontier
	if p.finished {
		frames = p.end
	}
	return frames, frameTime(frames, int(p.fps))
}

// ---------------------------------------------------------------- rendering

// Job turns a plan into a job for the composer. The returned function closes all sources; it must be called once the
// job is done, whether it succeeded or not. A job that failed is made anew.
func (p *Planner) Job(plan SegmentPlan) (VideoJob, func(), error) {
	job := VideoJob{RecordingID: p.folder.Header().RecordingID, Segment: plan.Index, Canvas: plan.Canvas, FPS: plan.FPS,
		Frames: plan.Frames(), MaxKbps: p.profile.MaxVideoKbps, PausedCard: plan.Paused}
	var closers []io.Closer
	closeAll := func() {
		for _, c := range closers {
			c.Close()
		}
		closers = nil
	}
	for i, r := range plan.Regions {
		region := Region{Rect: r.Rect, Kind: r.Kind, Codec: r.Codec, SourceSize: r.SourceSize, Rotation: r.Rotation}
		if r.Leg != "" {
			src, err := p.OpenRegion(plan, i)
			if err != nil {
				closeAll()
				return VideoJob{}, nil, err
			}
			closers = append(closers, src)
			region.Source = src
		}
		job.Regions = append(job.Regions, region)
	}
	if plan.Waveform.W > 0 {
		job.Waveform = &WaveformStrip{Rect: plan.Waveform}
		for _, t := range plan.sound {
			src := p.openSound(t, plan.Start(), plan.End())
			closers = append(closers, src)
			job.Waveform.Tracks = append(job.Waveform.Tracks, AudioTrack{t.kind, src})
		}
	}
	return job, closeAll, nil
}

// OpenRegion reads the frames of one region from the spool again.
func (p *Planner) OpenRegion(plan SegmentPlan, i int) (FrameSource, error) {
	r := plan.Regions[i]
	reader, err := p.openLeg(r.journal, r.params, r.Resume)
	if err != nil {
		return nil, fmt.Errorf("open region %d of segment %d: %w", i, plan.Index, err)
	}
	return &regionSource{plan: r, segment: plan.Index, settled: plan.Settled, reader: reader}, nil
}

func (p *Planner) openLeg(journal string, params RTPParameters, from ResumePoint) (*LegReader, error) {
	j, err := p.folder.Read(journal, from.Pos)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", journal, err)
	}
	r, err := NewLegReader(j, params, p.makers, &from)
	if err != nil {
		j.Close()
		return nil, err
	}
	return r, nil
}

// regionSource is a FrameSource over one leg.
type regionSource struct {
	plan    RegionPlan
	segment int
	settled time.Time
	reader  *LegReader
	next    int // of plan.Frames
	atEnd   int // times that the journal had nothing more
}

// Next implements FrameSource.
func (s *regionSource) Next(ctx context.Context) (Frame, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Frame{}, context.Cause(ctx)
		}
		if s.next == len(s.plan.Frames) {
			return Frame{}, io.EOF
		}
		u, err := s.reader.Next()
		if errors.Is(err, io.EOF) {
			if err := s.pushOn(); err != nil {
				return Frame{}, err
			}
			continue
		}
		if err != nil {
			return Frame{}, fmt.Errorf("segment %d: %w", s.segment, err)
		}
		if u.Frozen || u.Damaged {
			continue
		}
		want := s.plan.Frames[s.next]
		switch {
		case u.RTP == want.RTP:
			s.next++
			return Frame{Slot: want.Slot, Key: u.Key, Data: u.Data}, nil
		case s.plan.HasPreroll && u.RTP < s.plan.PrerollEnd && u.RTP < want.RTP || s.plan.HasPreroll && u.RTP == s.plan.PrerollEnd:
			return Frame{Slot: -1, Key: u.Key, Data: u.Data}, nil
		case u.RTP > want.RTP:
			return Frame{}, fmt.Errorf("segment %d: %w: %s has no frame %d", s.segment, ErrPlanMismatch, s.plan.Leg, want.RTP)
		}
	}
}

// pushOn ends waits at the end of the journal as the planner did: first those that had ended when the plan was settled,
// then all.
func (s *regionSource) pushOn() error {
	s.atEnd++
	switch s.atEnd {
	case 1:
		s.reader.Advance(s.settled)
	case 2:
		s.reader.Finish()
	default:
		return fmt.Errorf("segment %d: %w: %s ends before frame %d", s.segment, ErrPlanMismatch, s.plan.Leg, s.plan.Frames[s.next].RTP)
	}
	return nil
}

// Close implements FrameSource.
func (s *regionSource) Close() error { return s.reader.Close() }
