package node

import (
	"cmp"
	"slices"
	"time"
)

// candidate is a node that may take a new recording.
type candidate struct {
	name     string
	capacity Capacity
	placed   int // recordings that were sent there since it told its capacity
}

const (
	portsEach  = 6                // of a dual call with sound, without rtcpMux
	normalLag  = 30 * time.Second // the segment that is being captured and the one that is being composed
	tooMuchLag = 10 * time.Minute // at which composing counts as full
)

// rank puts nodes in the order in which they are asked to take a recording: the least loaded first, those that said
// they would refuse last: they are asked all the same, so that the refusal is the node's own.
func rank(all []candidate) []string {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(refusing(a), refusing(b)), cmp.Compare(load(a), load(b)),
			cmp.Compare(a.capacity.Live+a.placed, b.capacity.Live+b.placed), cmp.Compare(a.name, b.name))
	})
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.name
	}
	return names
}

func refusing(c candidate) int {
	if c.capacity.Refuses != "" {
		return 1
	}
	return 0
}

// load is how full the scarcest of a node's means is, 0…1 and above.
func load(c candidate) float64 {
	k := c.capacity
	out := k.DiskUsed
	if k.PortsTotal > 0 {
		out = max(out, float64(k.PortsUsed+c.placed*portsEach)/float64(k.PortsTotal))
	}
	if k.MaxLive > 0 {
		out = max(out, float64(k.Live+c.placed)/float64(k.MaxLive))
	}
	return max(out, float64(k.ComposeLag-normalLag)/float64(tooMuchLag))
}
