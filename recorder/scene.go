package recorder

import (
	"math"
	"slices"
	"sort"
	"time"
)

// SegmentPlan says what the output frames [From, To) show: one finite run of the composer. It is complete in itself and
// read-only, so that workers may render plans in any order and at any time while the spool is there.
type SegmentPlan struct {
	Index    int          `json:"index"`
	From     int64        `json:"from"` // frame n is shown at n/FPS of recording time
	To       int64        `json:"to"`
	FPS      int          `json:"fps"`
	Canvas   Size         `json:"canvas"`
	Layout   Layout       `json:"layout"`
	Paused   bool         `json:"paused"` // a neutral card, no regions
	Regions  []RegionPlan `json:"regions"`
	Waveform Rect         `json:"waveform,omitzero"`
	// Settled is the instant of the journals at which the plan was settled: a unit that comes later is not in it.
	Settled time.Time `json:"settled"`

	sound []audioTimeline // for the waveform strip
}

// Frames is the number of output frames.
func (s SegmentPlan) Frames() int64 { return s.To - s.From }

// Start is the segment's first instant in recording time.
func (s SegmentPlan) Start() Micros { return frameTime(s.From, s.FPS) }

// End is the instant after its last frame.
func (s SegmentPlan) End() Micros { return frameTime(s.To, s.FPS) }

// RegionPlan is one picture of a segment.
type RegionPlan struct {
	Leg        string      `json:"leg,omitempty"` // empty: a placeholder card
	TrackID    string      `json:"track_id,omitempty"`
	Kind       TrackKind   `json:"kind"`
	Rect       Rect        `json:"rect"`
	Codec      Codec       `json:"codec,omitempty"`
	SourceSize Size        `json:"source_size,omitzero"`
	Rotation   int         `json:"rotation,omitempty"`
	Resume     ResumePoint `json:"resume"` // the last decodable keyframe at or before the cut
	// PrerollEnd is the timestamp of the last unit that is decoded but not shown; everything decodable from Resume to it
	// is pre-roll. HasPreroll is false when the segment begins with the keyframe itself.
	PrerollEnd int64      `json:"preroll_end,omitempty"`
	HasPreroll bool       `json:"has_preroll,omitempty"`
	Frames     []FramePut `json:"frames"`

	journal string
	params  RTPParameters
}

// FramePut puts one unit of a leg, named by its extended timestamp, on the segment's grid.
type FramePut struct {
	RTP  int64 `json:"rtp"`
	Slot int64 `json:"slot"`
}

func frameTime(n int64, fps int) Micros { return Micros(n * 1_000_000 / int64(fps)) }

// The grid: frame n stands for the recording time nearest to n/FPS, so that pictures are on average neither early nor late.
func frameNearest(m Micros, fps int64) int64 {
	return max(0, floorDiv(2*int64(m)*fps+1_000_000, 2_000_000))
}
func frameFloor(m Micros, fps int64) int64 { return max(0, floorDiv(int64(m)*fps, 1_000_000)) }
func frameCeil(m Micros, fps int64) int64  { return max(0, ceilDiv(int64(m)*fps, 1_000_000)) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

func ceilDiv(a, b int64) int64 { return -floorDiv(-a, b) }

const never = int64(math.MaxInt64)

// pictureChange: from Slot on a leg shows a picture of this size and rotation.
type pictureChange struct {
	slot     int64
	size     Size
	rotation int
}

// keyframe is a place from which a leg can be decoded.
type keyframe struct {
	slot   int64
	rtp    int64
	resume ResumePoint
}

type framePlace struct {
	slot int64
	rtp  int64
}

// videoTimeline is what one leg shows when. It keeps what the segments that are still to be planned need: the frames
// from the planned frontier on, the changes and the keyframe that hold there.
type videoTimeline struct {
	changes []pictureChange
	keys    []keyframe
	frames  []framePlace
	before  int64 // timestamp of the last good frame before the frontier
	hasOld  bool
	chain   bool // a good keyframe has come and nothing after it is missing
	lastPut int64
	size    Size
	turn    int
}

// at returns what the leg shows in frame n. A pause ends every picture: after it the leg shows again from its first good
// frame on, never the picture from before.
func (v *videoTimeline) at(n int64, pauses []frameSpan) (pictureChange, bool) {
	i := sort.Search(len(v.changes), func(i int) bool { return v.changes[i].slot > n })
	if i == 0 {
		return pictureChange{}, false
	}
	c := v.changes[i-1]
	for _, p := range pauses {
		if p.from > c.slot && p.from <= n {
			return pictureChange{}, false
		}
	}
	return c, true
}

// put places a good frame. It reports whether the leg's picture changes there.
func (v *videoTimeline) put(slot int64, u LegUnit, pauses []frameSpan) bool {
	v.lastPut = slot
	v.frames = append(v.frames, framePlace{slot, u.RTP})
	if u.Key {
		v.keys = append(v.keys, keyframe{slot, u.RTP, u.Resume()})
		if !u.Size.Zero() {
			v.size = u.Size
		}
	}
	if u.Rotation >= 0 {
		v.turn = u.Rotation
	}
	if v.size.Zero() || inSpans(slot, pauses) {
		return false
	}
	now := pictureChange{slot, v.size, v.turn}
	if n := len(v.changes); n > 0 {
		was := v.changes[n-1]
		_, shown := v.at(slot, pauses)
		if shown && was.size == now.size && was.rotation == now.rotation {
			return false
		}
		if was.slot == slot {
			v.changes[n-1] = now
			return true
		}
	}
	v.changes = append(v.changes, now)
	return true
}

// frame span [from, to)
type frameSpan struct{ from, to int64 }

func inSpans(n int64, spans []frameSpan) bool {
	for _, s := range spans {
		if s.from <= n && n < s.to {
			return true
		}
	}
	return false
}

// plan fills in how to decode frames [from, to); the leg shows a picture in frame from.
func (v *videoTimeline) plan(r *RegionPlan, from, to int64) {
	for _, k := range v.keys {
		if k.slot <= from {
			r.Resume = k.resume
			r.HasPreroll = v.hasOld && k.rtp <= v.before
		}
	}
	if r.HasPreroll {
		r.PrerollEnd = v.before
	}
	r.Frames = []FramePut{}
	for _, f := range v.frames {
		if f.slot >= to {
			break
		}
		if f.rtp < r.Resume.RTP { // of the scene before, on the same slot as this one's keyframe
			continue
		}
		r.Frames = append(r.Frames, FramePut{f.rtp, f.slot - from})
	}
	if r.HasPreroll && (len(r.Frames) == 0 || r.Frames[0].Slot > 0) {
		// The picture that stands at the cut came before it: it is what frame 0 shows.
		r.Frames = slices.Insert(r.Frames, 0, FramePut{v.before, 0})
	}
}

// prune forgets what lies before the new frontier, except what holds there.
func (v *videoTimeline) prune(frontier int64) {
	n := 0
	for n < len(v.frames) && v.frames[n].slot < frontier {
		n++
	}
	if n > 0 {
		v.before, v.hasOld = v.frames[n-1].rtp, true
		v.frames = v.frames[:copy(v.frames, v.frames[n:])]
	}
	n = 0
	for n+1 < len(v.keys) && v.keys[n+1].slot <= frontier {
		n++
	}
	v.keys = v.keys[:copy(v.keys, v.keys[n:])]
	n = 0
	for n+1 < len(v.changes) && v.changes[n+1].slot <= frontier {
		n++
	}
	v.changes = v.changes[:copy(v.changes, v.changes[n:])]
}

// scene is what one output frame shows.
type scene struct {
	paused   bool
	layout   Layout
	pictures []scenePicture
}

type scenePicture struct {
	leg  *planLeg // nil: placeholder
	kind TrackKind
	pictureChange
}

// same tells whether no cut is needed between two frames.
func (s scene) same(o scene) bool {
	if s.paused || o.paused {
		return s.paused == o.paused
	}
	return s.layout == o.layout && slices.EqualFunc(s.pictures, o.pictures, func(a, b scenePicture) bool {
		return a.leg == b.leg && a.kind == b.kind && a.size == b.size && a.rotation == b.rotation
	})
}

// sceneAt builds the scene of frame n.
func (p *Planner) sceneAt(n int64) scene {
	pauses := p.pauseFrames()
	s := scene{layout: p.layoutAt(n), paused: inSpans(n, pauses)}
	if s.paused {
		return s
	}
	for _, kind := range []TrackKind{Screen, Webcam} {
		have := false
		for _, t := range p.tracks {
			if t.kind != kind {
				continue
			}
			if leg, c, ok := t.shows(n, pauses); ok {
				c.slot = 0
				s.pictures = append(s.pictures, scenePicture{leg, kind, c})
				have = true
			}
		}
		if !have && p.wantsPlaceholder(kind, n) {
			s.pictures = append(s.pictures, scenePicture{kind: kind})
		}
	}
	return s
}

// wantsPlaceholder: a screen always leaves a card behind; a webcam only where the recording has or expects one and the
// profile does not leave the screen alone.
func (p *Planner) wantsPlaceholder(kind TrackKind, n int64) bool {
	if kind == Screen {
		return true
	}
	if p.profile.AbsentWebcam == WebcamScreenAlone {
		return false
	}
	if slices.Contains(p.expect, Webcam) {
		return true
	}
	return slices.ContainsFunc(p.tracks, func(t *planTrack) bool { return t.kind == Webcam && p.frameOf(t.since) <= n })
}

// layoutAt is the layout of frame n.
func (p *Planner) layoutAt(n int64) Layout {
	layout := p.profile.Layout
	for _, l := range p.layouts {
		if p.frameOf(l.at) <= n {
			layout = l.layout
		}
	}
	return layout
}

// sceneCuts returns the frames in (from, to) at which anything might change, ordered.
func (p *Planner) sceneCuts(from, to int64) []int64 {
	var cuts []int64
	add := func(n int64) {
		if n > from && n < to {
			cuts = append(cuts, n)
		}
	}
	for _, s := range p.pauseFrames() {
		add(s.from)
		add(s.to)
	}
	for _, l := range p.layouts {
		add(p.frameOf(l.at))
	}
	for _, t := range p.tracks {
		if !t.kind.IsVideo() {
			continue
		}
		add(p.frameOf(t.since))
		for _, leg := range t.legs {
			add(leg.endFrame)
			for _, c := range leg.video.changes {
				add(c.slot)
			}
		}
	}
	slices.Sort(cuts)
	return slices.Compact(cuts)
}

// firstSceneCut is the first frame in (from, to) that shows another scene than from does, or to.
func (p *Planner) firstSceneCut(from, to int64) int64 {
	cuts := p.sceneCuts(from, to)
	if len(cuts) == 0 {
		return to
	}
	now := p.sceneAt(from)
	for _, c := range cuts {
		if !p.sceneAt(c).same(now) {
			return c
		}
	}
	return to
}
