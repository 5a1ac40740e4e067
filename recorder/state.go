package recorder

import "slices"

// captureTransitions is the one table of capture states; doc.go draws it and a golden test pins it.
// PARTIAL and AVAILABLE are ends: nothing leads out of them but deletion, which is another fact.
var captureTransitions = map[CaptureState][]CaptureState{
	Pending:    {Recording, Paused, Finalizing, Failed, Aborted},
	Recording:  {Paused, Finalizing, Failed},
	Paused:     {Recording, Finalizing, Failed},
	Finalizing: {Uploading, Failed},
	Uploading:  {Available, Partial, Failed},
	Available:  nil,
	Partial:    nil,
	Failed:     nil,
	Aborted:    nil,
}

// CanBecome tells whether the capture state may change so. A state may always become itself.
func (s CaptureState) CanBecome(to CaptureState) bool {
	return s == to || slices.Contains(captureTransitions[s], to)
}

// Live tells the states in which tracks can be attached.
func (s CaptureState) Live() bool { return s == Pending || s == Recording || s == Paused }

// Ended tells the states that never change again.
func (s CaptureState) Ended() bool { return len(captureTransitions[s]) == 0 }

// Playable tells the states in which there is a file to play.
func (s CaptureState) Playable() bool { return s == Available || s == Partial }

// Before lists the states from which a state may be reached, for conditional updates.
func (s CaptureState) Before() []CaptureState {
	var from []CaptureState
	for _, name := range s.Values() {
		if f := CaptureState(name); f != s && f.CanBecome(s) {
			from = append(from, f)
		}
	}
	return from
}
