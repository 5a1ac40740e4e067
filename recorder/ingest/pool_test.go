package ingest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

func free(ports) error { return nil }

// TestPoolAccounts leases and releases at random and compares with a plain list of who has what.
func TestPoolAccounts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			min := 20000 + rnd.IntN(2)
			max := min + 2 + rnd.IntN(20)
			p := newPool(min, max)
			taken := rnd.IntN(max-min+1) + min // by another program
			owner := map[int]bool{}
			var held []ports
			for range 600 {
				if rnd.IntN(5) < 2 && len(held) > 0 {
					i := rnd.IntN(len(held))
					p.release(held[i])
					delete(owner, held[i].rtp)
					delete(owner, held[i].rtcp)
					held = append(held[:i], held[i+1:]...)
					continue
				}
				mux := rnd.IntN(2) == 0
				got, err := p.take(mux, func(x ports) error {
					if x.rtp == taken || x.rtcp == taken {
						return syscall.EADDRINUSE
					}
					return nil
				})
				if possible := canLease(min, max, taken, owner, mux); errors.Is(err, recorder.ErrNoPorts) == possible {
					t.Fatalf("error %v, but a lease is possible: %v", err, possible)
				}
				if err != nil {
					continue
				}
				checkPorts(t, got, mux, min, max, owner)
				owner[got.rtp], owner[got.rtcp] = true, true
				delete(owner, 0)
				held = append(held, got)
			}
			if p.leased() != len(owner) {
				t.Errorf("%d ports leased, want %d", p.leased(), len(owner))
			}
			for _, h := range held {
				p.release(h)
			}
			if p.leased() != 0 {
				t.Errorf("%d ports leaked", p.leased())
			}
		})
	}
}

func canLease(min, max, taken int, owner map[int]bool, mux bool) bool {
	for port := min; port <= max; port++ {
		ok := port != taken && !owner[port]
		if !mux {
			ok = ok && port%2 == 0 && port+1 <= max && port+1 != taken && !owner[port+1]
		}
		if ok {
			return true
		}
	}
	return false
}

func checkPorts(t *testing.T, got ports, mux bool, min, max int, owner map[int]bool) {
	t.Helper()
	if got.rtp < min || got.rtp > max || owner[got.rtp] {
		t.Fatalf("RTP port %d is not free in %d…%d", got.rtp, min, max)
	}
	if mux && got.rtcp != 0 {
		t.Fatalf("RTCP port %d with rtcpMux", got.rtcp)
	}
	if !mux && (got.rtp%2 != 0 || got.rtcp != got.rtp+1 || got.rtcp > max || owner[got.rtcp]) {
		t.Fatalf("ports %d and %d are no free pair", got.rtp, got.rtcp)
	}
}

func TestPoolRestsReleasedPorts(t *testing.T) {
	t.Parallel()
	p := newPool(20000, 20005)
	first, _ := p.take(false, free)
	p.release(first)
	second, _ := p.take(false, free)
	if first == second {
		t.Errorf("port %d was handed out again at once", first.rtp)
	}
}

func TestPoolKeepsPairsWhole(t *testing.T) {
	t.Parallel()
	p := newPool(20000, 20003)
	for range 2 {
		if _, err := p.take(true, free); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.take(false, free); err != nil {
		t.Errorf("two single ports broke both pairs: %v", err)
	}
}

func TestPoolReportsOtherFailures(t *testing.T) {
	t.Parallel()
	p := newPool(20000, 20001)
	if _, err := p.take(false, func(ports) error { return syscall.EACCES }); !errors.Is(err, syscall.EACCES) {
		t.Errorf("error %v, want EACCES", err)
	}
	if p.leased() != 0 {
		t.Error("the ports of a failed lease are still taken")
	}
}

func TestPoolRefusesDoubleRelease(t *testing.T) {
	t.Parallel()
	p := newPool(20000, 20001)
	got, _ := p.take(false, free)
	p.release(got)
	defer func() {
		if recover() == nil {
			t.Error("a second release went unnoticed")
		}
	}()
	p.release(got)
}

func TestTakeExactly(t *testing.T) {
	t.Parallel()
	p := newPool(100, 103)
	bound := func(ports) error { return nil }
	inUse := func(ports) error { return &net.OpError{Op: "listen", Err: syscall.EADDRINUSE} }
	if err := p.takeExactly(ports{102, 103}, bound); err != nil {
		t.Fatal(err)
	}
	for _, want := range []ports{{102, 103}, {101, 102}, {103, 0}} {
		if err := p.takeExactly(want, bound); !errors.Is(err, recorder.ErrNoPorts) || !strings.Contains(err.Error(), "another track") {
			t.Errorf("%v: error %v", want, err)
		}
	}
	if err := p.takeExactly(ports{100, 101}, inUse); !errors.Is(err, recorder.ErrNoPorts) || !strings.Contains(err.Error(), "another program holds media port 100 or 101") {
		t.Errorf("error %v", err)
	}
	if err := p.takeExactly(ports{100, 0}, func(ports) error { return syscall.EACCES }); !errors.Is(err, syscall.EACCES) || errors.Is(err, recorder.ErrNoPorts) {
		t.Errorf("error %v", err)
	}
	if err := p.takeExactly(ports{900, 901}, bound); err != nil { // the range was another before the restart
		t.Fatal(err)
	}
	if got, err := p.take(false, bound); err != nil || got != (ports{100, 101}) {
		t.Errorf("took %v, error %v", got, err)
	}
	if n := p.leased(); n != 6 {
		t.Errorf("%d ports in use", n)
	}
	p.release(ports{900, 901})
	p.release(ports{102, 103})
	if err := p.takeExactly(ports{102, 103}, bound); err != nil {
		t.Error(err)
	}
}

func TestWantedPorts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		req     recorder.LeaseRequest
		exactly bool
		refused bool
	}{
		{recorder.LeaseRequest{}, false, false},
		{recorder.LeaseRequest{RTCPMux: true}, false, false},
		{recorder.LeaseRequest{RTPPort: 20000, RTCPPort: 20001}, true, false},
		{recorder.LeaseRequest{RTPPort: 20000, RTCPMux: true}, true, false},
		{recorder.LeaseRequest{RTPPort: 20000}, false, true},
		{recorder.LeaseRequest{RTCPPort: 20000}, false, true},
		{recorder.LeaseRequest{RTPPort: 20000, RTCPPort: 20001, RTCPMux: true}, false, true},
		{recorder.LeaseRequest{RTPPort: 20000, RTCPPort: 20000}, false, true},
		{recorder.LeaseRequest{RTPPort: 70000, RTCPPort: 20001}, false, true},
		{recorder.LeaseRequest{RTPPort: 20000, RTCPPort: -1}, false, true},
	} {
		if _, exactly, err := wanted(tc.req); exactly != tc.exactly || (err != nil) != tc.refused {
			t.Errorf("%+v: exactly %v, error %v", tc.req, exactly, err)
		}
	}
}
