package ingest

import "time"

// When a keyframe is asked for. Media servers coalesce requests: mediasoup answers one at once, retries once after a
// second and is silent then until a keyframe came; each keyframe frees the next request. So the pace is kept here.
const (
	startPatience     = 300 * time.Millisecond // packets without a first keyframe
	lossPatience      = 200 * time.Millisecond // for reordering, where nothing is repaired
	repairPatience    = 500 * time.Millisecond // for the first tries to repair
	maxRepairPatience = time.Second            // where the SFU is far away
	askPause          = time.Second            // at most one request in this time
	retryPause        = 2 * time.Second        // no keyframe came of the last request
	idleAfter         = 5 * time.Second        // a track that sent nothing for so long is not asked for the periodic keyframe
)

// keyframes decides when to ask. It has no clock: the caller tells what happens when.
type keyframes struct {
	interval time.Duration // 0: no periodic keyframe

	waitingSince time.Time // first packet since attaching or a restart, while no keyframe has come
	lastPacket   time.Time
	lastKey      time.Time
	lastAsk      time.Time
	requested    bool // by the user of the lease, not yet sent
	open         bool // a request was sent and no keyframe has come since
	healable     bool // it was sent for damage alone, which a late repair may heal
	heard        bool // a packet came since the last request
}

func (k *keyframes) packet(at time.Time) {
	if k.waitingSince.IsZero() && k.lastKey.IsZero() {
		k.waitingSince = at
	}
	k.lastPacket, k.heard = at, true
}

func (k *keyframes) keyframe(at time.Time) {
	k.lastKey, k.waitingSince = at, time.Time{}
	k.open, k.requested = false, false
}

// restart: the source began anew on the same SSRC; nothing can be decoded before its next keyframe.
func (k *keyframes) restart(at time.Time) {
	k.lastKey, k.waitingSince = time.Time{}, at
}

// again: a pause is over. What began before shows nothing of the time since, and a picture is wanted at once.
func (k *keyframes) again(at time.Time) {
	k.lastKey, k.waitingSince = time.Time{}, at
	k.open, k.requested = false, true
}

// request notes that somebody wants a keyframe. One that begins after the call satisfies it.
func (k *keyframes) request() { k.requested = true }

// due tells whether to ask now. damaged: the next pictures depend on a packet that will not come.
func (k *keyframes) due(now time.Time, damaged bool) bool {
	k.open = k.open && !(k.healable && !damaged)
	if !k.lastAsk.IsZero() && now.Sub(k.lastAsk) < askPause {
		return false
	}
	if k.requested {
		return true
	}
	if k.open {
		// While nothing arrives there is nobody to hear it (a paused consumer); the first packet brings it up again.
		return k.heard && now.Sub(k.lastAsk) >= retryPause
	}
	return damaged || k.startOverdue(now) || k.periodDue(now)
}

func (k *keyframes) startOverdue(now time.Time) bool {
	return !k.waitingSince.IsZero() && now.Sub(k.waitingSince) >= startPatience
}

func (k *keyframes) periodDue(now time.Time) bool {
	return k.interval > 0 && !k.lastKey.IsZero() && now.Sub(k.lastKey) >= k.interval && now.Sub(k.lastPacket) < idleAfter
}

// asked notes that a request went out.
func (k *keyframes) asked(now time.Time) {
	k.healable = !k.requested && !k.startOverdue(now) && !k.periodDue(now) && (k.healable || !k.open)
	k.lastAsk = now
	k.requested, k.open, k.heard = false, true, false
}
