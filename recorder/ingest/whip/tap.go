package whip

import (
	"encoding/binary"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
)

// tap hands on every packet of a session as it was decrypted, with the moment at which it was read. It changes nothing.
// It is the interceptor and its own factory, because a session has one peer connection.
type tap struct {
	interceptor.NoOp
	rtp  func(ssrc uint32, data []byte, at time.Time)
	rtcp func(ssrc uint32, data []byte, at time.Time)
}

// NewInterceptor implements interceptor.Factory.
func (t *tap) NewInterceptor(string) (interceptor.Interceptor, error) { return t, nil }

// BindRemoteStream implements interceptor.Interceptor.
func (t *tap) BindRemoteStream(_ *interceptor.StreamInfo, next interceptor.RTPReader) interceptor.RTPReader {
	return interceptor.RTPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, a, err := next.Read(b, a)
		if err == nil && n >= 12 { // a header (RFC 3550 §5.1)
			t.rtp(binary.BigEndian.Uint32(b[8:]), b[:n], time.Now())
		}
		return n, a, err
	})
}

// BindRTCPReader implements interceptor.Interceptor. A datagram that speaks of several streams is read once for each.
func (t *tap) BindRTCPReader(next interceptor.RTCPReader) interceptor.RTCPReader {
	return interceptor.RTCPReaderFunc(func(b []byte, a interceptor.Attributes) (int, interceptor.Attributes, error) {
		n, a, err := next.Read(b, a)
		if err == nil {
			at := time.Now()
			for _, ssrc := range reporters(b[:n]) {
				t.rtcp(ssrc, b[:n], at)
			}
		}
		return n, a, err
	})
}

// reporters are the senders of the sender reports in one RTCP datagram.
func reporters(data []byte) []uint32 {
	packets, err := rtcp.Unmarshal(data)
	if err != nil {
		return nil
	}
	var out []uint32
	for _, p := range packets {
		if sr, ok := p.(*rtcp.SenderReport); ok {
			out = append(out, sr.SSRC)
		}
	}
	return out
}
