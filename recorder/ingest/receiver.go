package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Receiver leases media ports. It implements recorder.Receiver and is safe for concurrent use.
type Receiver struct {
	cfg  Config
	log  *slog.Logger
	pool *pool
	beat time.Duration

	mu      sync.Mutex
	leases  map[*Lease]*poller
	pollers []*poller
	closed  bool
}

var _ recorder.Receiver = (*Receiver)(nil)

// New checks cfg, tries its address with one socket, and warns if the kernel grants less receive buffer than asked.
// The caller closes the receiver.
func New(cfg Config, log *slog.Logger) (*Receiver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	probe, err := openSocket(context.Background(), cfg.bindAddr(), 0, cfg.ReceiveBuffer, 1)
	if err != nil {
		return nil, fmt.Errorf("ingest: bind %s: %w", cfg.BindIP, err)
	}
	if probe.granted < cfg.ReceiveBuffer {
		log.Warn("the kernel grants less receive buffer than asked: packets may be lost when the machine is busy",
			"asked_bytes", cfg.ReceiveBuffer, "granted_bytes", probe.granted,
			"remedy", fmt.Sprintf("sysctl -w net.core.rmem_max=%d", cfg.ReceiveBuffer))
	}
	if err := probe.close(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return &Receiver{cfg: cfg, log: log, pool: newPool(cfg.PortMin, cfg.PortMax), leases: map[*Lease]*poller{},
		beat: beatFor(probe.granted)}, nil
}

func (c Config) bindAddr() netip.Addr {
	a, _ := netip.ParseAddr(c.BindIP) // Validate has read it
	return a
}

// Lease implements recorder.Receiver. It fails with recorder.ErrNoPorts or ErrClosed.
func (r *Receiver) Lease(ctx context.Context, req recorder.LeaseRequest) (recorder.Lease, error) {
	if err := checkKey(req.SRTP); err != nil {
		return nil, fmt.Errorf("ingest: lease SRTP: %w", err)
	}
	l := &Lease{mux: req.RTCPMux, networks: r.cfg.networks(), srtp: req.SRTP, forget: r.forget,
		log: r.log.With("recording_id", req.RecordingID, "track_id", req.TrackID, "kind", string(req.Kind))}
	if err := r.bind(ctx, l, req); err != nil {
		return nil, err
	}
	l.endpoint = recorder.Endpoint{IP: r.cfg.announced(), RTPPort: l.ports.rtp, RTCPPort: l.ports.rtcp}
	if err := r.admit(l); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// bind gives a lease the ports that it had, or any.
func (r *Receiver) bind(ctx context.Context, l *Lease, req recorder.LeaseRequest) error {
	bind := func(p ports) error { return l.bind(ctx, r.cfg, p) }
	want, exactly, err := wanted(req)
	if err != nil {
		return err
	}
	if exactly {
		l.ports = want
		return r.pool.takeExactly(want, bind)
	}
	l.ports, err = r.pool.take(req.RTCPMux, bind)
	return err
}

// admit gives a lease to a poller, unless the receiver has been closed meanwhile.
func (r *Receiver) admit(l *Lease) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	for _, p := range r.pollers {
		if p.add(l) {
			r.leases[l] = p
			return nil
		}
	}
	p := startPoller(r.beat)
	p.add(l)
	r.pollers, r.leases[l] = append(r.pollers, p), p
	return nil
}

// forget is called by a lease whose sockets are closed.
func (r *Receiver) forget(l *Lease) {
	r.mu.Lock()
	if p := r.leases[l]; p != nil {
		p.remove(l)
		delete(r.leases, l)
	}
	r.mu.Unlock()
	r.pool.release(l.ports)
}

// Ports says how many ports are leased, and of how many.
func (r *Receiver) Ports() (leased, total int) {
	return r.pool.leased(), r.cfg.PortMax - r.cfg.PortMin + 1
}

// Close closes every lease and waits for all goroutines. It is idempotent.
func (r *Receiver) Close() error {
	r.mu.Lock()
	r.closed = true
	pollers := r.pollers
	r.pollers = nil
	open := slices.Collect(maps.Keys(r.leases))
	r.mu.Unlock()
	for _, p := range pollers {
		p.close()
	}
	var errs []error
	for _, l := range open {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
