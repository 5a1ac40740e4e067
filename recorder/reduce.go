package recorder

import "fmt"

// Load shedding: while a recording is too far behind, its new segments show fewer pictures. The output keeps its rate
// and its number of frames; only every k-th of them shows anything new, so that the encoder sees unchanged pictures in
// between, which cost next to nothing.

// reducedTo is about how many pictures a second remain.
const reducedTo = 10

// reducedFPS is the rate at which a reduced segment shows pictures: a whole part of fps.
func reducedFPS(fps int) int { return fps / reducedStep(fps) }

func reducedStep(fps int) int { return max(2, fps/reducedTo) }

// reduce moves the pictures of a plan to every k-th frame. They come later, never earlier, by less than a tenth of a
// second; those that would come after the segment are not shown in it, and the next one begins with them.
func reduce(plan SegmentPlan) SegmentPlan {
	step := int64(reducedStep(plan.FPS))
	regions := make([]RegionPlan, len(plan.Regions))
	for i, r := range plan.Regions {
		frames := make([]FramePut, len(r.Frames))
		for j, f := range r.Frames {
			frames[j] = FramePut{RTP: f.RTP, Slot: ceilDiv(f.Slot, step) * step}
		}
		r.Frames = frames
		regions[i] = r
	}
	plan.Regions = regions
	return plan
}

// reducedGaps lists the stretches of neighbouring segments, ordered by From, that show fewer pictures.
func reducedGaps(segments []SegmentSealed, fps int) []Gap {
	var out []Gap
	for _, s := range segments {
		if s.ReducedFPS == 0 {
			continue
		}
		g := Gap{Kind: GapReduced, From: frameTime(s.From, fps), To: frameTime(s.To, fps),
			Detail: fmt.Sprintf("shown at %d frames a second: the machine was overloaded", s.ReducedFPS)}
		if n := len(out); n > 0 && out[n-1].To == g.From && out[n-1].Detail == g.Detail {
			out[n-1].To = g.To
			continue
		}
		out = append(out, g)
	}
	return out
}
