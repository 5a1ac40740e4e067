package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
)

// flood finds how many packets a second the server takes: simulated screens send at a rate that doubles every few
// seconds, until the first packet is missing. The sender runs on the same processors, so this is what one machine does
// with both; per core is what the server's own processor time says.
func (b *bench) flood(ctx context.Context, r *report) error {
	b.say("packets per second until the first loss")
	return b.with(ctx, "flood", func(in *installation) error {
		if _, err := in.server.Command(ctx, "queue", "set", "flood", "--tenant", tenant, "--layout", "AUDIO_ONLY"); err != nil {
			return err
		}
		f, err := newFlood(ctx, player.API{Endpoint: in.server.URL + "/graphql", Key: in.service})
		if err != nil {
			return err
		}
		defer f.close()
		for rate := floodFirst; rate <= floodLast; rate *= 2 {
			before, err := in.stat()
			if err != nil {
				return err
			}
			sent, took, err := f.send(ctx, rate)
			if err != nil {
				return err
			}
			came, err := f.arrived(ctx)
			if err != nil {
				return err
			}
			after, err := in.stat()
			if err != nil {
				return err
			}
			step := floodStep{rate: float64(sent) / took.Seconds(), cores: (after.self - before.self).Seconds() / took.Seconds(), lost: int64(f.sent) - came}
			b.say("  %.0f packets/s: %.2f cores, %d missing", step.rate, step.cores, step.lost)
			r.flood = append(r.flood, step)
			if step.lost > 0 || step.rate < float64(rate)*0.8 { // or the sender can do no more
				return nil
			}
		}
		return nil
	}, manyPorts...)
}

// floodStep is what was seen at one rate.
type floodStep struct {
	rate  float64 // packets a second
	cores float64 // of the server
	lost  int64
}

const (
	floodFirst  = 4_000
	floodLast   = 512_000
	floodTracks = 20
	floodTime   = 4 * time.Second
	floodBytes  = 1100
	floodBeat   = 5 * time.Millisecond
)

// flood is the senders and the recordings that take what they send.
type flood struct {
	api     player.API
	ids     []string
	senders []*floodSender
	sent    uint64
}

type floodSender struct {
	conn *net.UDPConn
	seq  uint16
	rtp  uint32
	data []byte
}

func newFlood(ctx context.Context, api player.API) (f *flood, err error) {
	f = &flood{api: api}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	for i := range floodTracks {
		started, err := api.Start(ctx, player.StartInput{ExternalSessionID: fmt.Sprintf("flood-%d", i), Queue: "flood", Agent: "flood",
			Tracks: []string{"SCREEN", "AGENT_AUDIO"}})
		if err != nil {
			return f, err
		}
		f.ids = append(f.ids, started.ID)
		for _, t := range started.Tracks {
			if t.Kind != "SCREEN" {
				continue
			}
			conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.ParseIP(t.Ingest.IP), Port: t.Ingest.RTPPort})
			if err != nil {
				return f, err
			}
			s := &floodSender{conn: conn, data: make([]byte, 12+floodBytes)}
			f.senders = append(f.senders, s)
			ssrc := uint32(5000 + i)
			s.data[0], s.data[1], s.data[12] = 0x80, 0x80|101, 0x10
			binary.BigEndian.PutUint32(s.data[8:], ssrc)
			params := json.RawMessage(fmt.Sprintf(`{"codecs":[{"mimeType":"video/VP8","payloadType":101,"clockRate":90000}],"encodings":[{"ssrc":%d}],"rtcp":{"cname":"flood"}}`, ssrc))
			port := conn.LocalAddr().(*net.UDPAddr).Port
			if err := api.Attach(ctx, started.ID, "SCREEN", params, player.Source{IP: "127.0.0.1", RTPPort: port}); err != nil {
				return f, err
			}
		}
	}
	return f, nil
}

func (f *flood) close() {
	for _, s := range f.senders {
		_ = s.conn.Close()
	}
}

// send sends at a rate for a while, spread over all senders and over time.
func (f *flood) send(ctx context.Context, rate int) (sent uint64, took time.Duration, err error) {
	begun := time.Now()
	counts, errs := make([]uint64, len(f.senders)), make([]error, len(f.senders))
	var all sync.WaitGroup
	for i, s := range f.senders {
		all.Go(func() { counts[i], errs[i] = s.run(ctx, float64(rate)/floodTracks, begun) })
	}
	all.Wait()
	for _, n := range counts {
		sent += n
	}
	f.sent += sent
	return sent, time.Since(begun), errors.Join(errs...)
}

func (s *floodSender) run(ctx context.Context, rate float64, begun time.Time) (sent uint64, err error) {
	beat := time.NewTicker(floodBeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return sent, ctx.Err()
		case now := <-beat.C:
			if now.Sub(begun) > floodTime {
				return sent, nil
			}
			// What a busy machine delayed is not made up for: a burst would be another measurement.
			for range int(max(1, rate*floodBeat.Seconds()+0.5)) {
				s.seq++
				binary.BigEndian.PutUint16(s.data[2:], s.seq)
				binary.BigEndian.PutUint32(s.data[4:], s.rtp)
				if _, err := s.conn.Write(s.data); err != nil {
					return sent, err
				}
				sent++
			}
			s.rtp += uint32(floodBeat.Seconds() * 90000)
		}
	}
}

// arrived counts what the recordings say they have got, once that does not change any more.
func (f *flood) arrived(ctx context.Context) (int64, error) {
	last := int64(-1)
	for {
		sum := int64(0)
		for _, id := range f.ids {
			packets, err := f.api.Packets(ctx, id)
			if err != nil {
				return 0, err
			}
			sum += packets
		}
		if sum == last || sum >= int64(f.sent) {
			return sum, nil
		}
		last = sum
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}
