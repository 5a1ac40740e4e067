package ingest

import (
	"encoding/binary"
	"syscall"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

type discard struct{}

func (discard) Packet(time.Time, recorder.PacketKind, []byte) {}
func (discard) Overflow(time.Time, uint64)                    {}

// BenchmarkTrack is the cost of one packet behind the socket.
func BenchmarkTrack(b *testing.B) {
	for _, call := range []string{"chrome-vp8", "chrome-h264"} {
		b.Run(call, func(b *testing.B) {
			c := readCapture(b, call, "webcam-1")
			tr, err := newTrack(recorder.Attachment{Params: c.params, Source: recorder.Source{}, Sink: discard{}}, false, anyIPv4, plainRTP, &counters{})
			if err != nil {
				b.Fatal(err)
			}
			var media []recorded
			for _, p := range c.packets {
				if !p.rtcp {
					media = append(media, p)
				}
			}
			b.ReportAllocs()
			// The capture again and again, as one stream that goes on.
			seq, round := binary.BigEndian.Uint16(media[0].data[2:]), 0
			for n := 0; b.Loop(); n++ {
				if n == len(media) {
					n, round = 0, round+1
				}
				p := media[n]
				now := ms(p.ms + round*30_000)
				binary.BigEndian.PutUint16(p.data[2:], seq)
				seq++
				if round > 0 {
					binary.BigEndian.PutUint32(p.data[4:], binary.BigEndian.Uint32(p.data[4:])+uint32(30*c.params.Codec.ClockRate()))
				}
				tr.onRTP(c.rtp, p.data, now)
				tr.tick(now)
			}
		})
	}
}

// burst is what BenchmarkSocket sends at once: many full batches.
const burst = 512

type signal struct {
	have int
	full chan struct{}
}

func (s *signal) Overflow(time.Time, uint64) {}

func (s *signal) Packet(time.Time, recorder.PacketKind, []byte) {
	if s.have++; s.have == burst {
		s.have = 0
		s.full <- struct{}{}
	}
}

// BenchmarkSocket sends bursts of 1,100-byte packets over the loopback device and waits until they were delivered. The
// processor time is that of both sides; the time of an operation is mostly rest between beats.
func BenchmarkSocket(b *testing.B) {
	l := lease(b, testReceiver(b, 8), false)
	from := sender(b)
	sink := &signal{full: make(chan struct{}, 1)}
	if err := l.Attach(recorder.Attachment{Params: vp8Params(), Sink: sink, Source: recorder.Source{RTPPort: portOf(from)}}); err != nil {
		b.Fatal(err)
	}
	payload := append(vp8Delta[:2:2], make([]byte, 1100)...)
	data := packet(b, testSSRC, 101, 0, 1, payload)
	seq := uint16(0)
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		for range burst {
			seq++
			data[2], data[3] = byte(seq>>8), byte(seq)
			send(b, from, l.Endpoint().RTPPort, data)
		}
		<-sink.full
	}
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N*burst), "cpu-ns/packet")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
