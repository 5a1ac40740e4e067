package recorder

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// orderRun pushes packets (sequence number, arrival in ms) through unwrapper and reorder and writes what comes out:
// "5" a packet, "5!2" after a loss of two, "5r" repaired, "5*" the first of a new source.
func orderRun(packets [][2]int, endMs int) (out []string, r *reorder, u *unwrapper) {
	u, r = &unwrapper{rate: 90000}, &reorder{}
	drain := func(now time.Time) {
		for {
			p, ok := r.pop(now)
			if !ok {
				return
			}
			s := fmt.Sprint(uint16(p.Seq))
			if p.Lost > 0 {
				s += fmt.Sprintf("!%d", p.Lost)
			}
			if p.Repaired {
				s += "r"
			}
			if p.Restarted {
				s += "*"
			}
			out = append(out, s)
		}
	}
	for _, in := range packets {
		now := t0.Add(time.Duration(in[1]) * time.Millisecond)
		p := RTPPacket{Seq: int64(uint16(in[0])), RTP: int64(uint32(in[1] * 90)), At: now}
		if back := int16(uint16(p.Seq) - uint16(u.seq)); u.started && back < 0 && back > -100 { // late, with the timestamp of its time
			p.RTP = int64(uint32(u.rtp - 900))
		}
		drain(now)
		end := u.seq + 1
		switch v, first := u.place(&p); v {
		case accepted:
			r.push(p)
		case restarted:
			r.restart(end, first.Seq)
			first.At = now
			r.push(*first)
			r.push(p)
		}
		drain(now)
	}
	drain(t0.Add(time.Duration(endMs) * time.Millisecond))
	return out, r, u
}

func TestReorder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		in   [][2]int
		end  int
		want []string
	}{
		{"in order", [][2]int{{1, 0}, {2, 100}, {3, 110}}, 200, []string{"1", "2", "3"}},
		{"around the wrap", [][2]int{{65534, 0}, {65535, 100}, {0, 110}, {1, 120}}, 200, []string{"65534", "65535", "0", "1"}},
		{"the first to arrive is not the first", [][2]int{{11, 0}, {10, 5}, {12, 60}}, 200, []string{"10", "11", "12"}},
		{"overtaken", [][2]int{{1, 0}, {3, 100}, {2, 110}, {4, 120}}, 200, []string{"1", "2", "3", "4"}},
		{"repaired", [][2]int{{1, 0}, {3, 100}, {4, 200}, {2, 1900}, {5, 1910}}, 2000, []string{"1", "2r", "3", "4", "5"}},
		{"repaired at the last moment", [][2]int{{1, 0}, {3, 100}, {2, 2600}}, 2700, []string{"1", "2r", "3"}},
		{"lost", [][2]int{{1, 0}, {4, 100}, {5, 200}, {6, 2601}}, 2700, []string{"1", "4!2", "5", "6"}},
		{"too late", [][2]int{{1, 0}, {3, 100}, {4, 2601}, {2, 2602}}, 2700, []string{"1", "3!1", "4"}},
		{"still waiting", [][2]int{{1, 0}, {3, 100}}, 2600, []string{"1"}},
		{"the wait ends without a packet", [][2]int{{1, 0}, {3, 100}}, 2601, []string{"1", "3!1"}},
		{"two gaps wait each for itself", [][2]int{{1, 0}, {3, 100}, {5, 1000}, {6, 2700}, {4, 3000}}, 3100, []string{"1", "3!1", "4r", "5", "6"}},
		{"duplicates", [][2]int{{1, 0}, {1, 1}, {2, 100}, {2, 101}, {4, 102}, {4, 103}, {3, 104}}, 200, []string{"1", "2", "3", "4"}},
		{"a long loss in step with time", [][2]int{{1, 0}, {2, 100}, {9002, 30100}, {9003, 30110}}, 40000, []string{"1", "2", "9002!8999", "9003"}},
		{"more than half the range", [][2]int{{1, 0}, {2, 100}, {40002, 130100}, {40003, 130110}}, 140000, []string{"1", "2", "40002!39999", "40003"}},
		{"a stray packet", [][2]int{{1, 0}, {2, 100}, {30000, 110}, {3, 120}}, 200, []string{"1", "2", "3"}},
		{"restarted source", [][2]int{{1, 0}, {2, 100}, {30000, 110}, {30001, 120}, {30002, 130}}, 200, []string{"1", "2", "30000*", "30001", "30002"}},
		{"restarted behind a gap", [][2]int{{1, 0}, {3, 100}, {30000, 110}, {30001, 120}}, 3000, []string{"1", "3!1", "30000*", "30001"}},
		{"restarted behind an open end", [][2]int{{1, 0}, {2, 100}, {30000, 110}, {30001, 120}, {30003, 130}}, 3000, []string{"1", "2", "30000*", "30001", "30003!1"}},
		{"restarted twice", [][2]int{{1, 0}, {3, 100}, {30000, 110}, {30001, 120}, {50000, 130}, {50001, 140}}, 3000, []string{"1", "50000*", "50001"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got, _, _ := orderRun(c.in, c.end); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestReorderProperty: a stream of which nothing is lost for good comes out whole and in order, whatever its way.
func TestReorderProperty(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		type arrival struct{ seq, ms int }
		var in []arrival
		start := rnd.IntN(1 << 16)
		for i := range 3000 {
			ms := i*10 + rnd.IntN(40)
			if i < 5 {
				ms = i * 10
			} else if rnd.IntN(20) == 0 {
				ms += rnd.IntN(2400)
			}
			in = append(in, arrival{(start + i) & 0xffff, ms})
			if rnd.IntN(30) == 0 {
				in = append(in, arrival{(start + i) & 0xffff, ms + rnd.IntN(500)})
			}
		}
		slices.SortStableFunc(in, func(a, b arrival) int { return a.ms - b.ms })
		u, r := unwrapper{rate: 90000}, reorder{}
		var got []int64
		for _, a := range in {
			// The timestamp is the sender's, 10 ms a packet.
			n := int64((a.seq - start) & 0xffff)
			p := RTPPacket{Seq: int64(a.seq), RTP: int64(uint32(n * 900)), At: t0.Add(time.Duration(a.ms) * time.Millisecond)}
			if v, _ := u.place(&p); v == accepted {
				r.push(p)
			}
			for {
				p, ok := r.pop(t0.Add(time.Duration(a.ms) * time.Millisecond))
				if !ok {
					break
				}
				if p.Lost > 0 {
					t.Fatalf("seed %d: %d lost before %d", seed, p.Lost, p.Seq)
				}
				got = append(got, p.Seq)
			}
		}
		for {
			p, ok := r.pop(t0.Add(time.Hour))
			if !ok {
				break
			}
			got = append(got, p.Seq)
		}
		if len(got) != 3000 {
			t.Fatalf("seed %d: %d of 3000 came out", seed, len(got))
		}
		for i := range got {
			if got[i] != got[0]+int64(i) {
				t.Fatalf("seed %d: %d at place %d after %d", seed, got[i], i, got[0])
			}
		}
	}
}

// TestReorderIsBounded: a gap that is never filled does not hold back more than the limit, whatever the rate.
func TestReorderIsBounded(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"many packets": 10, "large packets": 1400} {
		r := reorder{started: true, next: 0}
		payload := make([]byte, size)
		for seq := int64(1); seq < 20000; seq++ { // within one millisecond
			r.push(RTPPacket{Seq: seq, At: t0, Payload: payload})
			for {
				if _, ok := r.pop(t0); !ok {
					break
				}
			}
			if len(r.buffer) > maxReorderPackets+1 || r.bytes > maxReorderBytes+size {
				t.Fatalf("%s: %d packets, %d bytes are held", name, len(r.buffer), r.bytes)
			}
		}
		if r.next < 1000 {
			t.Errorf("%s: nothing was released", name)
		}
	}
}

func TestUnwrapTimestamps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		rtp   []uint32
		ms    []int
		moved int64
	}{
		{"around the wrap", []uint32{0xfffffff0, 0x10}, []int{0, 1}, 0x20},
		{"back by a frame", []uint32{6000, 3000}, []int{0, 1}, -3000},
		{"a pause of ten hours", []uint32{0, 3240000000}, []int{0, 36000000}, 3240000000},
		{"a day", []uint32{5, uint32(7776000000 & 0xffffffff)}, []int{0, 86400000}, 7776000000 - 5},
	} {
		u := unwrapper{rate: 90000}
		var first, last int64
		for i := range c.rtp {
			p := RTPPacket{Seq: int64(i), RTP: int64(c.rtp[i]), At: t0.Add(time.Duration(c.ms[i]) * time.Millisecond)}
			if v, _ := u.place(&p); v != accepted {
				t.Errorf("%s: packet %d was not accepted", c.name, i)
			}
			if i == 0 {
				first = p.RTP
			}
			last = p.RTP
		}
		if last-first != c.moved {
			t.Errorf("%s: moved by %d, want %d", c.name, last-first, c.moved)
		}
	}
}
