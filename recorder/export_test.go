package recorder

import (
	"encoding/json"
	"testing"
	"time"
)

// MemFolder is the folder in memory, for tests outside the package.
type MemFolder = memFolder

// NewMemFolder makes one.
func NewMemFolder(p Profile, expect ...TrackKind) *MemFolder { return newMemFolder(p, expect...) }

// Fill writes a dumped track into the folder as leg n.
func (m *memFolder) Fill(t testing.TB, n int, kind TrackKind, params json.RawMessage, dump string) {
	t.Helper()
	name := LegName(n)
	m.event(t, Event{Type: EventLegAttached, At: t0, LegAttached: &LegAttached{Leg: name, Journal: name, TrackID: string(kind), Kind: kind,
		RTPParameters: params, Source: Source{IP: "127.0.0.1"}}})
	for _, d := range readDump(t, dump) {
		r := Record{At: t0.Add(d.at), Kind: PacketRTP, Data: d.data}
		if d.rtcp {
			r.Kind = PacketRTCP
		}
		m.append(name, r)
	}
}

// Start is the wall clock at which simulated recordings begin.
func Start() time.Time { return t0 }

// LookAtDisk does what the service does once a second.
func (s *Service) LookAtDisk() { s.lookAtDisk() }
