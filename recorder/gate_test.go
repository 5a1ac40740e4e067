package recorder

import (
	"testing"
	"time"
)

type journalOf []Record

func (j *journalOf) Append(r Record) error { *j = append(*j, r); return nil }
func (*journalOf) Close() error            { return nil }

// TestGate: what came during a pause is not written after it either, although a lease hands it on late.
func TestGate(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }
	var got journalOf
	sink := &legSink{r: &recording{}, journal: &got}
	sink.Packet(at(0), PacketRTP, []byte("before"))
	sink.r.gate.close()
	sink.Packet(at(100), PacketRTP, []byte("while paused"))
	sink.Packet(at(-10), PacketRTP, []byte("before, handed on late"))
	sink.r.gate.open(at(200))
	sink.Packet(at(199), PacketRTP, []byte("while paused, handed on late"))
	sink.Packet(at(199), PacketRTCP, []byte("a report of the pause"))
	sink.Packet(at(200), PacketRTP, []byte("after"))
	if len(got) != 2 || string(got[0].Data) != "before" || string(got[1].Data) != "after" {
		t.Errorf("written: %q", got)
	}
}
