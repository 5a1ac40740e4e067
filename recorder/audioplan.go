package recorder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Opus time is counted in units of 2.5 ms, the shortest Opus frame: every packet lasts a whole number of them, and so
// does every silence between packets.
const (
	opusUnit      = 2500 // µs
	opusUnitTicks = 120  // of the 48 kHz RTP clock

	// soundSlack is how far the clock may wander from a run before the sound is cut and set anew.
	soundSlack = Micros(20_000)
	// spurtSlack is the same after a silence of spurtGap, where a correction is not heard.
	spurtSlack = Micros(5_000)
	spurtGap   = 200 * 48 // ticks

	soundMarkEvery = 10 * 48000 // ticks between places from which a run can be read
)

// opusDuration is a packet's duration in units of 2.5 ms by its TOC byte (RFC 6716 §3.1), 0 if it is malformed.
func opusDuration(data []byte) int64 {
	if len(data) == 0 {
		return 0
	}
	frame, frames := opusFrame(data[0]>>3), int64(1)
	switch data[0] & 3 {
	case 1, 2:
		frames = 2
	case 3:
		if len(data) < 2 {
			return 0
		}
		frames = int64(data[1] & 63)
	}
	if d := frame * frames; d <= 48 { // 120 ms
		return d
	}
	return 0
}

func opusFrame(config byte) int64 {
	switch {
	case config < 12:
		return [4]int64{4, 8, 16, 24}[config&3]
	case config < 16:
		return [2]int64{4, 8}[config&1]
	}
	return [4]int64{1, 2, 4, 8}[config&3]
}

// opusSilence is a packet of digital silence, at most n units long: CELT, full band, mono, silence flag set.
func opusSilence(n int64) (data []byte, units int64) {
	switch {
	case n >= 8:
		return []byte{0xf8, 0xff, 0xfe}, 8
	case n >= 4:
		return []byte{0xf0, 0xff, 0xfe}, 4
	case n >= 2:
		return []byte{0xe8, 0xff, 0xfe}, 2
	}
	return []byte{0xe0, 0xff, 0xfe}, 1
}

// audioTimeline is the sound of one kind as a list of runs, in order.
//
//	recording time  0        1        2        3
//	                |........|========|==......|=====
//	                 silence   run 0             run 1
//
// Within a run a packet's place follows from its timestamp alone, so that the clock's small corrections are not heard.
// A run ends where the clock has wandered by more than soundSlack, where the source stalls or restarts, at a pause and
// with its leg. All that is no run is silence, and so are gaps within one.
type audioTimeline struct {
	kind  TrackKind
	owner *planLeg // attached last
	runs  []soundRun
}

type soundRun struct {
	leg       string
	journal   string
	params    RTPParameters
	resume    ResumePoint
	firstRTP  int64
	lastRTP   int64
	start     int64 // place of firstRTP, in units
	end       int64
	open      bool
	marks     []ResumePoint // later places to read from, for the waveform strip
	markedRTP int64
}

func (r soundRun) place(rtp int64) int64 {
	return r.start + floorDiv(rtp-r.firstRTP+opusUnitTicks/2, opusUnitTicks)
}

func (t *audioTimeline) last() *soundRun {
	if n := len(t.runs); n > 0 && t.runs[n-1].open {
		return &t.runs[n-1]
	}
	return nil
}

func (t *audioTimeline) close() {
	if r := t.last(); r != nil {
		r.open = false
	}
}

// soundHorizon is the recording time before which no more sound will be placed.
func (p *Planner) soundHorizon() Micros {
	return p.timeOf(p.now) - MicrosOf(settleDelay)
}

// placeSound puts one packet at recording time m.
func (p *Planner) placeSound(leg *planLeg, h heldUnit, m Micros) {
	t := p.sound[leg.track.kind]
	mine := leg == t.owner || !leg.ended.IsZero()
	switch {
	case h.dur == 0 || !mine:
		return
	case !leg.ended.IsZero() && m >= p.timeOf(leg.ended), p.pausedAt(m):
		t.close()
		return
	}
	run := t.last()
	if run == nil || !continues(*run, leg, h, m) {
		t.close()
		t.runs = append(t.runs, soundRun{leg: leg.name, journal: leg.journal, params: leg.params, resume: h.Resume(),
			firstRTP: h.RTP, start: floorDiv(int64(m)+opusUnit/2, opusUnit), open: true, markedRTP: h.RTP})
		run = t.last()
	}
	at := run.place(h.RTP)
	if Micros(at*opusUnit) < p.soundHorizon() {
		p.stats.LateUnits++
		p.dropLate(t, run, h.RTP)
		return
	}
	run.lastRTP, run.end = h.RTP, max(run.end, at+h.dur)
	if p.profile.WaveformBurnIn && h.RTP-run.markedRTP >= soundMarkEvery {
		run.marks, run.markedRTP = append(run.marks, h.Resume()), h.RTP
	}
}

// dropLate ends the run before a packet that came after its time had been filled with silence.
func (p *Planner) dropLate(t *audioTimeline, run *soundRun, rtp int64) {
	run.open = false
	if run.firstRTP == rtp {
		t.runs = t.runs[:len(t.runs)-1]
	}
}

func continues(run soundRun, leg *planLeg, h heldUnit, m Micros) bool {
	if run.leg != leg.name || h.Restarted {
		return false
	}
	slack := soundSlack
	if h.RTP-run.lastRTP >= spurtGap {
		slack = spurtSlack
	}
	off := m - Micros(run.place(h.RTP)*opusUnit)
	return max(off, -off) <= slack
}

func (p *Planner) pausedAt(m Micros) bool {
	return slices.ContainsFunc(p.pauses, func(s pauseSpan) bool {
		return p.timeOf(s.from) <= m && (s.to.IsZero() || m < p.timeOf(s.to))
	})
}

// pruneSound forgets places to read from that lie before the frontier.
func (p *Planner) pruneSound(frontier Micros) {
	for _, t := range p.sound {
		for i := range t.runs {
			r := &t.runs[i]
			n := 0
			for n+1 < len(r.marks) && Micros(r.place(r.marks[n+1].RTP)*opusUnit) <= frontier {
				n++
			}
			r.marks = slices.Delete(r.marks, 0, n)
		}
	}
}

// soundOf copies the sound of a range that is settled.
func (p *Planner) soundOf(from, to Micros) []audioTimeline {
	var out []audioTimeline
	for _, kind := range []TrackKind{AgentAudio, CustomerAudio} {
		t := p.sound[kind]
		if len(t.runs) == 0 && !slices.Contains(p.expect, kind) {
			continue
		}
		part := audioTimeline{kind: kind}
		for _, r := range t.runs {
			if Micros(r.end*opusUnit) <= from || Micros(r.start*opusUnit) >= to {
				continue
			}
			for _, m := range r.marks {
				if Micros(r.place(m.RTP)*opusUnit) <= from {
					r.resume = m
				}
			}
			r.open, r.marks = false, nil
			part.runs = append(part.runs, r)
		}
		out = append(out, part)
	}
	return out
}

// AudioSource reads one kind of sound from recording time 0 on, following the recording: gapless Opus, silence wherever
// there is none. Next waits for Advance or Finish to tell more. It ends within 2.5 ms after the recording's end and never
// before it. A run that was interrupted begins anew with another AudioSource.
func (p *Planner) AudioSource(kind TrackKind) AudioSource {
	timeline, ok := p.sound[kind]
	if !ok {
		timeline = &audioTimeline{kind: kind} // silence throughout
	}
	return &soundSource{planner: p, reading: -1, view: func() soundView {
		v := soundView{wake: p.wake, now: p.now, runs: timeline.runs}
		switch {
		case p.closed && !p.finished:
			v.gone = true
		case p.finished:
			v.final = true
			v.limit = ceilDiv(int64(frameTime(p.end, int(p.fps))), opusUnit)
		case p.known:
			v.limit = floorDiv(int64(p.soundHorizon()), opusUnit)
		}
		return v
	}}
}

// openSound reads a settled range; packets count from its start.
func (p *Planner) openSound(t audioTimeline, from, to Micros) AudioSource {
	start := floorDiv(int64(from), opusUnit)
	v := soundView{runs: t.runs, limit: max(start, ceilDiv(int64(to), opusUnit)), final: true}
	return &soundSource{planner: p, reading: -1, zero: start, out: start, view: func() soundView {
		v.now = p.now
		return v
	}}
}

// OpenAudio reads one kind of sound of a segment's time range, for its waveform strip. The plan carries the sound only if
// the profile has the strip.
func (p *Planner) OpenAudio(plan SegmentPlan, kind TrackKind) (AudioSource, error) {
	for _, t := range plan.sound {
		if t.kind == kind {
			return p.openSound(t, plan.Start(), plan.End()), nil
		}
	}
	return nil, fmt.Errorf("segment %d: no sound of kind %s was planned for it", plan.Index, kind)
}

// soundView is what a source may know at one moment.
type soundView struct {
	runs  []soundRun
	limit int64 // units; nothing more will be placed before it
	final bool  // … nor after it
	gone  bool  // the planner was closed before it finished
	now   time.Time
	wake  chan struct{}
}

// soundSource walks the runs of a timeline, reads their packets again and fills what is between.
type soundSource struct {
	planner *Planner
	view    func() soundView // called with the planner locked
	zero    int64            // place that is time 0
	out     int64            // end of what was delivered
	run     int
	reading int // run that the reader stands in
	reader  *LegReader
	journal string
	reached int64 // timestamp read last
	unit    LegUnit
	have    bool
	ended   bool // the reader was told to finish
	pushed  time.Time
}

// Next implements AudioSource.
func (s *soundSource) Next(ctx context.Context) (AudioPacket, error) {
	for {
		if ctx.Err() != nil {
			return AudioPacket{}, context.Cause(ctx)
		}
		v, run, more := s.look()
		if v.gone {
			return AudioPacket{}, ErrPlanFinished
		}
		if v.final && s.out >= v.limit {
			return AudioPacket{}, io.EOF
		}
		if more && !s.have {
			state, err := s.load(run, v)
			if err != nil {
				return AudioPacket{}, err
			}
			if state == runOver {
				s.run++
				continue
			}
		}
		if p, ok := s.deliver(run, v); ok {
			return p, nil
		}
		if s.have || v.final { // a packet was passed over, or silence goes on
			continue
		}
		select {
		case <-ctx.Done():
		case <-v.wake:
		}
	}
}

func (s *soundSource) look() (v soundView, run soundRun, more bool) {
	s.planner.mu.Lock()
	defer s.planner.mu.Unlock()
	v = s.view()
	if s.run < len(v.runs) {
		run, more = v.runs[s.run], true
	}
	v.runs = nil
	return v, run, more
}

type loadState uint8

const (
	unitLoaded loadState = iota
	runDry               // nothing more for now
	runOver
)

// load reads the run's next packet.
func (s *soundSource) load(run soundRun, v soundView) (loadState, error) {
	if err := s.open(run); err != nil {
		return 0, err
	}
	for s.reached < run.lastRTP {
		u, err := s.reader.Next()
		if errors.Is(err, io.EOF) {
			if s.pushOn(run, v) {
				continue
			}
			return runDry, nil
		}
		if err != nil {
			return 0, fmt.Errorf("sound of %s: %w", run.leg, err)
		}
		s.reached = u.RTP
		if u.RTP < run.firstRTP || u.RTP > run.lastRTP || len(u.Data) < 2 || opusDuration(u.Data) == 0 {
			continue // one byte is DTX: nothing but a duration
		}
		s.unit, s.have = u, true
		return unitLoaded, nil
	}
	if run.open && !v.final {
		return runDry, nil
	}
	return runOver, nil
}

// pushOn ends waits at the end of the journal as the planner did; false: there will be more, later.
func (s *soundSource) pushOn(run soundRun, v soundView) bool {
	switch {
	case s.ended: // the spool holds less than was planned: silence stands for it
		s.reached = run.lastRTP
	case !run.open || v.final:
		s.reader.Finish()
		s.ended = true
	case v.now.After(s.pushed):
		s.reader.Advance(v.now)
		s.pushed = v.now
	default:
		return false
	}
	return true
}

// open makes sure that the reader stands in the run: a further run of the same leg goes on with the same reader unless a
// packet that belongs to it has been passed already.
func (s *soundSource) open(run soundRun) error {
	if s.reader != nil && s.reading == s.run {
		return nil
	}
	s.reading = s.run
	if s.reader != nil && s.journal == run.journal && s.reached < run.firstRTP && !s.ended {
		return nil
	}
	if err := s.closeReader(); err != nil {
		return err
	}
	r, err := s.planner.openLeg(run.journal, run.params, run.resume)
	if err != nil {
		return fmt.Errorf("sound of %s: %w", run.leg, err)
	}
	s.reader, s.journal, s.reached, s.ended = r, run.journal, run.resume.RTP-1, false
	return nil
}

// deliver returns the next packet of the output, or false if it has to wait or passed a packet over.
func (s *soundSource) deliver(run soundRun, v soundView) (AudioPacket, bool) {
	until, small := v.limit, v.final
	if s.have {
		at, dur := run.place(s.unit.RTP), opusDuration(s.unit.Data)
		switch {
		case at < s.out, v.final && at+dur > v.limit:
			s.have = false
			return AudioPacket{}, false
		case at == s.out:
			s.have = false
			s.out += dur
			return AudioPacket{At: Micros((at - s.zero) * opusUnit), Data: s.unit.Data}, true
		}
		until, small = at, true
	}
	left := until - s.out
	if left <= 0 || left < 8 && !small {
		return AudioPacket{}, false
	}
	data, n := opusSilence(left)
	p := AudioPacket{At: Micros((s.out - s.zero) * opusUnit), Data: data}
	s.out += n
	return p, true
}

func (s *soundSource) closeReader() error {
	if s.reader == nil {
		return nil
	}
	err := s.reader.Close()
	s.reader, s.have = nil, false
	return err
}

// Close implements AudioSource.
func (s *soundSource) Close() error {
	return s.closeReader()
}
