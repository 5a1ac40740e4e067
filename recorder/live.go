package recorder

// LiveRecording is one recording that a node works on, from its start to the end of its upload.
type LiveRecording struct {
	TenantID, RecordingID string
	Status                LiveStatus
}

// LiveRecordings are all that this node works on, in no order. It takes locks briefly, one recording after the other.
func (s *Service) LiveRecordings() []LiveRecording {
	s.mu.Lock()
	all := make([]*recording, 0, len(s.live))
	for _, r := range s.live {
		all = append(all, r)
	}
	s.mu.Unlock()
	out := make([]LiveRecording, len(all))
	for i, r := range all {
		out[i] = LiveRecording{TenantID: r.header.TenantID, RecordingID: r.id, Status: r.status()}
	}
	return out
}

// Plus adds the totals of another node.
func (t Totals) Plus(o Totals) Totals {
	t.Live += o.Live
	t.Composing += o.Composing
	t.MaxLag = max(t.MaxLag, o.MaxLag)
	t.Net.Packets += o.Net.Packets
	t.Net.Bytes += o.Net.Bytes
	t.Net.RTCPPackets += o.Net.RTCPPackets
	t.Net.Lost += o.Net.Lost
	t.Net.Duplicates += o.Net.Duplicates
	t.Net.Reordered += o.Net.Reordered
	t.Net.DroppedForeign += o.Net.DroppedForeign
	t.Net.DroppedMalformed += o.Net.DroppedMalformed
	t.Net.DroppedUnauthentic += o.Net.DroppedUnauthentic
	t.Net.DroppedHeld += o.Net.DroppedHeld
	t.Net.DroppedByKernel += o.Net.DroppedByKernel
	t.Net.Nacked += o.Net.Nacked
	t.Net.Repaired += o.Net.Repaired
	t.Net.Keyframes += o.Net.Keyframes
	t.Net.KeyframesAsked += o.Net.KeyframesAsked
	return t
}
