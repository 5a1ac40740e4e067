package recorder

import (
	"math"
	"slices"
	"time"
)

// Constants of the clock. Lookahead is longer than what it takes to tell a stall from pacing, so that a unit is placed
// only when the packets after it have said which it was.
const (
	clockLookahead = 2500 * time.Millisecond // a unit is placed so long after it was released
	stallConfirm   = 2200 * time.Millisecond // packets must be late for so long before they are a stall
	stallLag       = 500 * time.Millisecond  // … and by so much more than the quickest ones before
	leapBack       = 200 * time.Millisecond  // a packet so much earlier than the line begins a line of its own

	bucketSpan  = time.Second
	arrivalSpan = 30 * time.Second  // window of the quickest packets
	reportSpan  = 120 * time.Second // window of the sender reports
	maxReports  = 40
	minReports  = 2 // one report may be hundreds of ms off the line

	slopeSpan    = 60 * time.Second // reports must span so much before they may bend the line
	slopeReports = 10
	maxSlope     = 500e-6

	reportsEarlier = 250 * time.Millisecond // how far reports may move a leg ahead of its quickest packets …
	reportsLater   = 20 * time.Millisecond  // … and behind them: nothing is captured after it has arrived
)

// clock turns the RTP timestamps of all legs into instants of the recorder's wall clock. It has three sources, which
// correct each other:
//
//	arrival   A(rtp) = rtp/rate + min(arrival − rtp/rate)      the quickest packets of the last 30 s; from the first packet on
//	reports   H(rtp) = line through the sender reports         time of the SFU host (its uptime: only differences count)
//	domain    S(rtp) = H(rtp) + median over legs of min(arrival − H)   joins all legs of one SFU host
//
//	placed at S(rtp), held within [A−250 ms, A+20 ms]; A alone before the second report
//
// Both windows slide, so that a drift of ±500 ppm between sender, SFU and recorder never adds up.
//
// A leg's time is made of anchors, each with lines of its own from one timestamp on. A new one begins when a source
// restarts, when every packet of 2.2 s comes more than 500 ms later than the line says (a sender that stalled and went
// on with its old timestamps), or when a packet comes before it was captured. A paused source whose timestamps go on
// with real time needs none.
type clock struct {
	base time.Time // of all nanosecond values
	legs []*legClock
}

// legClock is the clock's view of one leg.
type legClock struct {
	clock   *clock
	domain  string
	rate    int64
	anchors []*clockAnchor
	newest  int64 // timestamp of the newest packet
	last    int64 // its arrival
	suspect *lateRun
	first   int64 // timestamp of the leg's first packet
}

// lateRun is a run of packets that are all later than the line, since one of them.
type lateRun struct {
	rtp     int64
	at      int64
	buckets []arrivalBucket
}

// arrivalBucket holds the quickest packet of one second.
type arrivalBucket struct {
	slot int64 // second
	rtp  int64
	late int64 // arrival − rtp/rate
}

type reportPoint struct {
	media int64 // rtp/rate
	off   int64 // NTP − rtp/rate
	drift int64 // NTP − arrival
}

type clockAnchor struct {
	from    int64 // first timestamp
	ref     int64 // timestamp that counts as 0 in sums
	at      int64 // arrival of its first packet
	buckets []arrivalBucket
	reports []reportPoint
	slope   float64
	centre  int64 // media time at which off holds
	off     int64
}

func newClock() *clock { return &clock{} }

func (c *clock) add(domain string, rate int) *legClock {
	l := &legClock{clock: c, domain: domain, rate: int64(rate)}
	c.legs = append(c.legs, l)
	return l
}

func (c *clock) nanos(t time.Time) int64 {
	if c.base.IsZero() {
		c.base = t
	}
	return int64(t.Sub(c.base))
}

func (c *clock) wall(ns int64) time.Time { return c.base.Add(time.Duration(ns)) }

// packet notes an accepted packet, in the order of arrival.
func (l *legClock) packet(rtp int64, at time.Time, restarted bool) {
	now := l.clock.nanos(at)
	if len(l.anchors) == 0 || restarted {
		if len(l.anchors) == 0 {
			l.first = rtp
		}
		l.newest = rtp
		l.begin(rtp, now, nil)
	}
	l.newest, l.last = max(l.newest, rtp), now
	a := l.anchorOf(rtp)
	if a != l.current() {
		return // a straggler of an earlier line says nothing new
	}
	late := now - l.media(a, rtp)
	line, known := a.quickest()
	switch {
	case !known:
		a.note(rtp, now, late)
	case late > line+int64(stallLag):
		l.noteLate(rtp, now, late)
	case late < line-int64(leapBack) && now-a.at > int64(stallConfirm):
		l.begin(rtp, now, nil)
		a = l.current()
		a.note(rtp, now, now-l.media(a, rtp))
	default:
		l.suspect = nil
		a.note(rtp, now, late)
	}
}

func (l *legClock) current() *clockAnchor { return l.anchors[len(l.anchors)-1] }

func (l *legClock) begin(rtp, at int64, buckets []arrivalBucket) {
	const keep = 4 // older ones are behind every unit that is still to be placed
	if len(l.anchors) == keep {
		l.anchors = append(l.anchors[:0], l.anchors[1:]...)
	}
	l.anchors = append(l.anchors, &clockAnchor{from: rtp, ref: rtp, at: at, buckets: buckets})
	l.suspect = nil
}

func (l *legClock) anchorOf(rtp int64) *clockAnchor {
	for i := len(l.anchors) - 1; i > 0; i-- {
		if rtp >= l.anchors[i].from {
			return l.anchors[i]
		}
	}
	return l.anchors[0]
}

func (l *legClock) media(a *clockAnchor, rtp int64) int64 {
	return int64(ticksDuration(rtp-a.ref, l.rate))
}

func (l *legClock) noteLate(rtp, now, late int64) {
	if l.suspect == nil {
		l.suspect = &lateRun{rtp: rtp, at: now}
	}
	if rtp < l.suspect.rtp { // repaired or reordered: the run began with it
		return
	}
	l.suspect.buckets = noteBucket(l.suspect.buckets, rtp, now, late)
}

// stallAt is when the run of late packets becomes a stall unless a quick one comes first.
func (l *legClock) stallAt() (time.Time, bool) {
	if l.suspect == nil {
		return time.Time{}, false
	}
	return l.clock.wall(l.suspect.at).Add(stallConfirm), true
}

// stall begins a new line at the first packet of the late run.
func (l *legClock) stall() {
	s, old := l.suspect, l.current()
	for i := range s.buckets { // late is relative to the anchor's reference
		s.buckets[i].late += l.media(old, s.rtp)
	}
	l.begin(s.rtp, s.at, s.buckets)
}

func (a *clockAnchor) note(rtp, now, late int64) {
	a.buckets = noteBucket(a.buckets, rtp, now, late)
}

func noteBucket(b []arrivalBucket, rtp, now, late int64) []arrivalBucket {
	slot := now / int64(bucketSpan)
	if n := len(b); n > 0 && b[n-1].slot == slot {
		if late < b[n-1].late {
			b[n-1].rtp, b[n-1].late = rtp, late
		}
		return b
	}
	old := 0
	for old < len(b) && b[old].slot < slot-int64(arrivalSpan/bucketSpan) {
		old++
	}
	b = b[:copy(b, b[old:])]
	return append(b, arrivalBucket{slot, rtp, late})
}

// quickest is arrival − media time of the quickest packet in the window.
func (a *clockAnchor) quickest() (int64, bool) {
	if len(a.buckets) == 0 {
		return 0, false
	}
	q := a.buckets[0].late
	for _, b := range a.buckets[1:] {
		q = min(q, b.late)
	}
	return q, true
}

// report notes a sender report.
func (l *legClock) report(sr SenderReport, at time.Time) {
	if len(l.anchors) == 0 {
		return
	}
	now, a := l.clock.nanos(at), l.current()
	rtp := l.newest + int64(int32(sr.RTP-uint32(l.newest)))
	media := l.media(a, rtp)
	quickest, known := a.quickest()
	if !known || absNanos(now-media-quickest) > int64(stallLag) {
		return // it speaks of another line, or of none
	}
	p := reportPoint{media: media, off: int64(sr.NTP) - media, drift: int64(sr.NTP) - now}
	if n := len(a.reports); n > 0 && absNanos(p.drift-a.reports[n-1].drift) > int64(2*time.Second) {
		a.reports = a.reports[:0] // the host's clock began anew
	}
	a.reports = append(a.reports, p)
	old := max(0, len(a.reports)-maxReports)
	for media-a.reports[old].media > int64(reportSpan) {
		old++
	}
	a.reports = a.reports[:copy(a.reports, a.reports[old:])]
	a.fit()
}

func absNanos(v int64) int64 { return max(v, -v) }

// fit lays a robust line through the reports: the median of all slopes between two of them (Theil–Sen), at the height of
// the lower third of what remains. A report errs to one side: its RTP time is extrapolated from a packet's arrival at the
// SFU, and a packet may be late but never early. So the lower ones are right, and most of the others may be anywhere.
func (a *clockAnchor) fit() {
	r := a.reports
	a.centre, a.slope = r[len(r)-1].media, 0
	if len(r) >= slopeReports && r[len(r)-1].media-r[0].media >= int64(slopeSpan) {
		slopes := make([]float64, 0, len(r)*(len(r)-1)/2)
		for i := range r {
			for j := range i {
				if d := r[i].media - r[j].media; d >= int64(slopeSpan)/3 {
					slopes = append(slopes, float64(r[i].off-r[j].off)/float64(d))
				}
			}
		}
		if len(slopes) > 0 {
			slices.Sort(slopes)
			a.slope = min(max(slopes[len(slopes)/2], -maxSlope), maxSlope)
		}
	}
	rest := make([]int64, len(r))
	for i, p := range r {
		rest[i] = p.off - int64(a.slope*float64(p.media-a.centre))
	}
	slices.Sort(rest)
	a.off = rest[(len(rest)-1)*3/10]
}

// host is H(rtp) for media time m.
func (a *clockAnchor) host(m int64) int64 { return m + a.off + int64(a.slope*float64(m-a.centre)) }

// behindHost is min(arrival − H) over the window of the quickest packets.
func (l *legClock) behindHost(a *clockAnchor) (int64, bool) {
	if len(a.reports) < minReports || len(a.buckets) == 0 {
		return 0, false
	}
	d := int64(math.MaxInt64)
	for _, b := range a.buckets {
		m := l.media(a, b.rtp)
		d = min(d, b.late+m-a.host(m))
	}
	return d, true
}

// domainOffset is arrival − host time of leg l's SFU host, as its legs that run now agree on it. Legs whose reports count
// from another start of the host are left out: they differ by more than any network delay.
func (l *legClock) domainOffset(own int64) int64 {
	offs := []int64{own}
	for _, o := range l.clock.legs {
		if o == l || o.domain != l.domain || len(o.anchors) == 0 || absNanos(o.last-l.last) > int64(10*time.Second) {
			continue
		}
		if d, ok := o.behindHost(o.current()); ok && absNanos(d-own) < int64(time.Second) {
			offs = append(offs, d)
		}
	}
	slices.Sort(offs)
	return offs[(len(offs)-1)/2]
}

// at is the instant of the recorder's wall clock at which timestamp rtp was captured, as far as it is known now. The leg
// must have had a packet.
func (l *legClock) at(rtp int64) time.Time {
	a := l.anchorOf(rtp)
	m := l.media(a, rtp)
	quickest, _ := a.quickest()
	arrival := m + quickest
	own, ok := l.behindHost(a)
	if !ok {
		return l.clock.wall(arrival)
	}
	s := a.host(m) + l.domainOffset(own)
	return l.clock.wall(min(max(s, arrival-int64(reportsEarlier)), arrival+int64(reportsLater)))
}

// firstAt is the capture instant of the leg's first packet.
func (l *legClock) firstAt() (time.Time, bool) {
	if len(l.anchors) == 0 {
		return time.Time{}, false
	}
	return l.at(l.first), true
}
