package ingest

import (
	"encoding/binary"
	"slices"
	"time"
)

// How missing packets are asked for again (RFC 4585 §6.2.1). mediasoup sends the same one again after 100 ms at the
// earliest and keeps 2 s of pictures and 1 s of sound.
const (
	reorderWait   = 20 * time.Millisecond // a packet that others have overtaken comes within it
	minRetry      = 100 * time.Millisecond
	maxRetry      = 500 * time.Millisecond
	retryMargin   = 10 * time.Millisecond // what is repeated at the very limit would be ignored
	evenTries     = 3                     // then the time between two tries grows by 3/10 each
	maxTries      = 10                    // they reach over about 1.8 s
	videoHorizon  = 2 * time.Second
	audioHorizon  = time.Second
	maxMissing    = 1024 // watched at once; a longer gap is an outage, and what is older is given up
	maxPerRequest = 128  // asked for at once: the answer is a burst of as many packets
)

// absentee is one packet that is missing.
type absentee struct {
	ext     int64
	sent    time.Time // about
	noticed time.Time
	first   time.Time // when it was asked for first
	asked   time.Time // and the last time
	tries   int
}

// gaps watches the missing packets of one stream. It decides which to ask for again and when, and since when pictures
// are damaged. It has no clock: the caller tells what happens when.
type gaps struct {
	nack    bool // they can be asked for
	horizon time.Duration

	missing []absentee // by number, which is also the order of noticing
	settled int64      // a keyframe began here: what is missing before it damages no picture after it
	lost    int64      // the newest packet that was given up
	rtt     time.Duration
	sure    bool // rtt is of answers to first tries
}

// open notes that from … to are missing. The packet before them came at before, the one behind them at at.
func (g *gaps) open(from, to int64, before, at time.Time) {
	n := to - from + 1
	if n > maxMissing {
		g.lost = to
		return
	}
	if over := len(g.missing) + int(n) - maxMissing; over > 0 {
		g.lost = max(g.lost, g.missing[over-1].ext)
		g.missing = slices.Delete(g.missing, 0, over)
	}
	step := at.Sub(before) / time.Duration(n+1)
	for i := range n {
		g.missing = append(g.missing, absentee{ext: from + i, sent: before.Add(step * time.Duration(i+1)), noticed: at})
	}
}

// close notes that a packet came. It tells whether it had been asked for.
func (g *gaps) close(ext int64, at time.Time) (repaired bool) {
	i, found := slices.BinarySearchFunc(g.missing, ext, func(a absentee, ext int64) int { return int(a.ext - ext) })
	if !found {
		return false
	}
	a := g.missing[i]
	g.missing = slices.Delete(g.missing, i, i+1)
	if a.tries > 0 {
		g.answered(a, at)
	}
	return a.tries > 0
}

// answered learns the time that a repair takes. Of several tries one cannot know which was answered (Karn): they count
// from the first while nothing is known, and when the last was too short ago to be it.
func (g *gaps) answered(a absentee, at time.Time) {
	took := max(at.Sub(a.first), 0)
	switch once := a.tries == 1; {
	case once && !g.sure, !once && g.rtt == 0:
		g.rtt, g.sure = took, once
	case once, at.Sub(a.asked) < g.rtt/2:
		g.rtt += (took - g.rtt) / 8
	}
}

// settle notes that a keyframe begins at ext. What is missing before it is still asked for: those pictures count too.
func (g *gaps) settle(ext int64) { g.settled = max(g.settled, ext) }

// forget gives up everything: the numbers begin anew.
func (g *gaps) forget() {
	g.missing = g.missing[:0]
	g.settled, g.lost = 0, 0
}

// damaged tells whether the next pictures depend on a packet that will not come.
func (g *gaps) damaged(now time.Time) bool {
	if g.lost > 0 && g.lost >= g.settled {
		return true
	}
	for _, a := range g.missing {
		if a.ext >= g.settled {
			return now.Sub(a.noticed) >= g.patience()
		}
	}
	return false
}

// patience is how long a missing packet is waited for before a keyframe is asked for: long enough for reordering, or for
// a few tries.
func (g *gaps) patience() time.Duration {
	if !g.nack {
		return lossPatience
	}
	return min(max(repairPatience, 3*g.rtt), maxRepairPatience)
}

// due picks the packets to ask for now, at most maxPerRequest, in order, and appends their numbers to out. fresh is how
// many of them are asked for the first time, next when to come again; zero: nothing is missing that could be asked for.
func (g *gaps) due(now time.Time, out []int64) (seqs []int64, fresh uint64, next time.Time) {
	g.expire(now)
	if !g.nack {
		return out, 0, time.Time{}
	}
	for i := range g.missing {
		a := &g.missing[i]
		if a.tries >= maxTries {
			continue
		}
		at := g.dueAt(a)
		if !at.After(now) && len(out) < maxPerRequest {
			if a.tries == 0 {
				fresh++
				a.first = now
			}
			a.asked = now
			a.tries++
			out = append(out, a.ext)
			at = g.dueAt(a)
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return out, fresh, next
}

func (g *gaps) dueAt(a *absentee) time.Time {
	if a.tries == 0 {
		return a.noticed.Add(reorderWait)
	}
	wait := min(max(minRetry, g.rtt*5/4), maxRetry) + retryMargin
	for range a.tries - evenTries {
		wait = wait * 13 / 10
	}
	return a.asked.Add(wait)
}

// expire gives up what the sender no longer has.
func (g *gaps) expire(now time.Time) {
	n := 0
	for n < len(g.missing) && now.Sub(g.missing[n].sent) > g.horizon {
		n++
	}
	if n > 0 {
		g.lost = max(g.lost, g.missing[n-1].ext)
		g.missing = slices.Delete(g.missing, 0, n)
	}
}

// appendNACK appends a generic negative acknowledgement (RFC 4585 §6.2.1): each entry names one number and which of the
// sixteen behind it are missing too.
func appendNACK(out []byte, sender, media uint32, seqs []int64) []byte {
	const version, genericNACK, transportFeedback = 2 << 6, 1, 205
	start := len(out)
	out = append(out, version|genericNACK, transportFeedback, 0, 0)
	out = binary.BigEndian.AppendUint32(out, sender)
	out = binary.BigEndian.AppendUint32(out, media)
	for i := 0; i < len(seqs); {
		pid, mask := seqs[i], uint16(0)
		for i++; i < len(seqs) && seqs[i]-pid <= 16; i++ {
			mask |= 1 << (seqs[i] - pid - 1)
		}
		out = binary.BigEndian.AppendUint16(out, uint16(pid))
		out = binary.BigEndian.AppendUint16(out, mask)
	}
	binary.BigEndian.PutUint16(out[start+2:], uint16((len(out)-start)/4-1))
	return out
}
