package player

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pion/rtp"
)

// Repair says how lost packets are sent again.
type Repair string

// The ways of mediasoup. RepairAsIs leaves the parameters as they are and answers nothing.
const (
	RepairAsIs Repair = ""
	RepairNone Repair = "none" // not negotiated: the recorder's wishes are ignored
	RepairNACK Repair = "nack" // the packet again, on its own SSRC
	RepairRTX  Repair = "rtx"  // wrapped (RFC 4588) on ssrc+1 with a payload type of its own
)

// With returns the track with rtpParameters that announce a way of repair, as consume() would have returned them.
func (t Track) With(r Repair) (Track, error) {
	if r == RepairAsIs {
		return t, nil
	}
	var params map[string]any
	if err := json.Unmarshal(t.RTPParameters, &params); err != nil {
		return t, fmt.Errorf("rtpParameters: %w", err)
	}
	codecs, _ := params["codecs"].([]any)
	encodings, _ := params["encodings"].([]any)
	if len(codecs) == 0 || len(encodings) == 0 {
		return t, fmt.Errorf("rtpParameters have no codec or no encoding")
	}
	codec, _ := codecs[0].(map[string]any)
	pt, _ := codec["payloadType"].(float64)
	codec["rtcpFeedback"] = withNACK(codec["rtcpFeedback"], r != RepairNone)
	encoding := map[string]any{"ssrc": t.SSRC}
	params["codecs"] = []any{codec}
	if r == RepairRTX {
		kind := "video"
		if t.Source == "mic" {
			kind = "audio"
		}
		encoding["rtx"] = map[string]any{"ssrc": t.SSRC + 1}
		params["codecs"] = []any{codec, map[string]any{"mimeType": kind + "/rtx", "payloadType": pt + 1, "clockRate": t.ClockRate,
			"parameters": map[string]any{"apt": pt}, "rtcpFeedback": []any{}}}
	}
	params["encodings"] = []any{encoding}
	raw, err := json.Marshal(params)
	t.RTPParameters, t.Repair = raw, r
	return t, err
}

func withNACK(feedback any, nack bool) []any {
	list, _ := feedback.([]any)
	out := []any{}
	if nack {
		out = append(out, map[string]any{"type": "nack", "parameter": ""})
	}
	for _, f := range list {
		if m, ok := f.(map[string]any); !ok || m["type"] != "nack" || m["parameter"] == "pli" {
			out = append(out, f)
		}
	}
	return out
}

// mediasoup's limits: how long a packet can be sent again, and how long not a second time.
const (
	keepVideo  = 2 * time.Second
	keepAudio  = time.Second
	resendRest = 100 * time.Millisecond
)

// store keeps what was sent for a while. Its times are those of the sender.
type store struct {
	repair  Repair
	keep    time.Duration
	ssrc    uint32
	rtxPT   uint8
	rtxSeq  uint16
	packets map[uint16]*kept
	order   []uint16
}

type kept struct {
	data     []byte
	at       time.Time // when it was sent
	resentAt time.Time
	attempts int
}

func newStore(t Track) *store {
	s := &store{repair: t.Repair, keep: keepVideo, ssrc: t.SSRC, rtxSeq: uint16(t.SSRC >> 8), packets: map[uint16]*kept{}}
	if t.Source == "mic" {
		s.keep = keepAudio
	}
	var params struct {
		Codecs []struct{ PayloadType uint8 }
	}
	if json.Unmarshal(t.RTPParameters, &params) == nil && len(params.Codecs) > 1 {
		s.rtxPT = params.Codecs[1].PayloadType
	}
	return s
}

func (s *store) add(seq uint16, p Packet, now time.Time) {
	for len(s.order) > 0 && now.Sub(s.packets[s.order[0]].at) > s.keep {
		delete(s.packets, s.order[0])
		s.order = s.order[1:]
	}
	if s.packets[seq] == nil {
		s.order = append(s.order, seq)
	}
	s.packets[seq] = &kept{data: slices.Clone(p.Data), at: now}
}

func (s *store) clear() { s.packets, s.order = map[uint16]*kept{}, nil }

// again answers the wish for one packet; nil if it is not to be had. attempt counts from 1.
func (s *store) again(seq uint16, now time.Time) (data []byte, attempt int) {
	k := s.packets[seq]
	if k == nil || s.repair != RepairNACK && s.repair != RepairRTX || now.Sub(k.at) > s.keep || !k.resentAt.IsZero() && now.Sub(k.resentAt) < resendRest {
		return nil, 0
	}
	k.resentAt = now
	k.attempts++
	if s.repair == RepairNACK {
		return k.data, k.attempts
	}
	data, err := s.wrap(k.data)
	if err != nil {
		return nil, 0
	}
	return data, k.attempts
}

// wrap makes the retransmission packet (RFC 4588 §4).
func (s *store) wrap(data []byte) ([]byte, error) {
	var p rtp.Packet
	if err := p.Unmarshal(data); err != nil {
		return nil, err
	}
	p.Payload = append(binary.BigEndian.AppendUint16(nil, p.SequenceNumber), p.Payload...)
	p.SSRC, p.PayloadType, p.SequenceNumber = s.ssrc+1, s.rtxPT, s.rtxSeq
	p.Padding, p.PaddingSize = false, 0
	s.rtxSeq++
	return p.Marshal()
}
