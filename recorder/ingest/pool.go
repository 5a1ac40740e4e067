package ingest

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/dualrec/dualrec/recorder"
)

// pool accounts for the ports of the configured range. Which port is whose is decided here, under one mutex; binding
// happens outside it.
type pool struct {
	min, max int

	mu   sync.Mutex
	used map[int]bool
	next int // where the search goes on: a port just released rests until the others were used
}

func newPool(min, max int) *pool { return &pool{min: min, max: max, used: map[int]bool{}, next: min} }

// ports are one lease's: RTP, and RTCP unless it is multiplexed (then 0).
type ports struct{ rtp, rtcp int }

// take reserves ports and binds them. A port that another program holds is passed over. It fails with
// recorder.ErrNoPorts when no port is left, and with bind's error when that is not about the port.
func (p *pool) take(mux bool, bind func(ports) error) (ports, error) {
	foreign := map[int]bool{}
	for {
		got, ok := p.reserve(mux, foreign)
		if !ok {
			return ports{}, recorder.ErrNoPorts
		}
		err := bind(got)
		if err == nil {
			return got, nil
		}
		p.release(got)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return ports{}, fmt.Errorf("ingest: bind media port: %w", err)
		}
		foreign[got.rtp] = true
	}
}

// takeExactly reserves and binds these ports, which a lease had before a restart, within the range or not: the SFU still
// sends there. It fails with recorder.ErrNoPorts and the reason when they are taken, and with bind's error when that is
// not about the port.
func (p *pool) takeExactly(want ports, bind func(ports) error) error {
	if err := p.reserveExactly(want); err != nil {
		return err
	}
	err := bind(want)
	if err == nil {
		return nil
	}
	p.release(want)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: another program holds %s", recorder.ErrNoPorts, want)
	}
	return fmt.Errorf("ingest: bind %s: %w", want, err)
}

func (p *pool) reserveExactly(want ports) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used[want.rtp] || want.rtcp != 0 && p.used[want.rtcp] {
		return fmt.Errorf("%w: another track has leased %s", recorder.ErrNoPorts, want)
	}
	p.used[want.rtp] = true
	if want.rtcp != 0 {
		p.used[want.rtcp] = true
	}
	return nil
}

func (p ports) String() string {
	if p.rtcp == 0 {
		return fmt.Sprintf("media port %d", p.rtp)
	}
	return fmt.Sprintf("media port %d or %d", p.rtp, p.rtcp)
}

// wanted are the ports of a request; ok is false when it leaves them open.
func wanted(req recorder.LeaseRequest) (want ports, ok bool, err error) {
	want = ports{rtp: req.RTPPort, rtcp: req.RTCPPort}
	switch {
	case want == ports{}:
		return want, false, nil
	case want.rtp < 1 || want.rtp > 65535 || want.rtcp < 0 || want.rtcp > 65535 || want.rtp == want.rtcp || req.RTCPMux != (want.rtcp == 0):
		return want, false, fmt.Errorf("ingest: ports %d and %d cannot be leased again with rtcpMux %v", want.rtp, want.rtcp, req.RTCPMux)
	}
	return want, true, nil
}

func (p *pool) reserve(mux bool, foreign map[int]bool) (ports, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mux {
		return p.reserveOne(foreign)
	}
	return p.reservePair(foreign)
}

func (p *pool) reservePair(foreign map[int]bool) (ports, bool) {
	for i := range p.max - p.min + 1 {
		even := p.at(i)
		if even%2 != 0 || even+1 > p.max || p.used[even] || p.used[even+1] || foreign[even] {
			continue
		}
		p.used[even], p.used[even+1] = true, true
		p.next = even + 2
		return ports{rtp: even, rtcp: even + 1}, true
	}
	return ports{}, false
}

// reserveOne takes the free half of a broken pair if there is one, so that pairs stay whole.
func (p *pool) reserveOne(foreign map[int]bool) (ports, bool) {
	found := 0
	for i := range p.max - p.min + 1 {
		port := p.at(i)
		if p.used[port] || foreign[port] {
			continue
		}
		if p.unpaired(port) {
			found = port
			break
		}
		if found == 0 {
			found = port
		}
	}
	if found == 0 {
		return ports{}, false
	}
	p.used[found] = true
	p.next = found + 1
	return ports{rtp: found}, true
}

// unpaired tells a free port that no pair can be made of.
func (p *pool) unpaired(port int) bool {
	sibling := port ^ 1
	return sibling < p.min || sibling > p.max || p.used[sibling]
}

// at is the i-th port from where the search goes on, around the range.
func (p *pool) at(i int) int {
	n := p.max - p.min + 1
	return p.min + (p.next-p.min+i)%n
}

// release gives ports back. Releasing what is not taken is a fault of the caller.
func (p *pool) release(got ports) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, port := range []int{got.rtp, got.rtcp} {
		if port == 0 {
			continue
		}
		if !p.used[port] {
			panic(fmt.Sprintf("ingest: port %d released twice", port))
		}
		delete(p.used, port)
	}
}

// leased counts the ports in use.
func (p *pool) leased() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.used)
}
