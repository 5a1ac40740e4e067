package recorder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// DiskLevel says what a recorder gives up for want of room in its spool, mildest first. Each level includes those before it.
type DiskLevel int

// The levels.
const (
	DiskOK          DiskLevel = iota
	DiskRefuse                // new recordings are refused
	DiskShedWebcam            // webcams are dropped before the spool; only recordings that have ended are composed
	DiskShedScreen            // screens too: sound alone is written; nothing is composed while anything captures
	diskLevels      int       = iota
	diskRecoverPart           = 10               // a level ends a tenth of its watermark below it
	diskHold                  = 30 * time.Second // … and, after a write failed for want of room, no sooner than this
	diskEvery                 = time.Second
	roomEvery                 = 5 * time.Second
)

// String names the level as metrics and logs do.
func (l DiskLevel) String() string {
	return [...]string{"OK", "REFUSE", "SHED_WEBCAM", "SHED_SCREEN"}[l]
}

// sheds tells whether a track of this kind is dropped.
func (l DiskLevel) sheds(kind TrackKind) bool {
	return kind == Webcam && l >= DiskShedWebcam || kind == Screen && l >= DiskShedScreen
}

// DiskUsage says how full the spool is.
type DiskUsage struct {
	Used int64 // bytes of the spool's files
	Max  int64 // its quota; 0: none
	Free int64 // bytes free on the file system, less what the reserve lacks; may be negative
}

// DiskMeter measures the spool's disk and keeps a reserve on it, implemented by recorder/spool. Methods are safe for
// concurrent use.
type DiskMeter interface {
	Usage() (DiskUsage, error)
	// FreeReserve gives the reserve to whoever writes: a write has failed for want of room. KeepReserve takes it back,
	// once there is room. Both are idempotent.
	FreeReserve() error
	KeepReserve() error
}

// DiskPolicy sets the watermarks of the three levels above DiskOK, in their order: a level holds when either is reached.
type DiskPolicy struct {
	UsedPercent [3]int   // of the quota; default 90, 95, 98
	FreeBytes   [3]int64 // less than this left on the file system; default 2 GiB, 1 GiB, 512 MiB
}

// DefaultDiskPolicy is what a recorder has unless it says otherwise. A dual call writes about 2 GB an hour and its sound
// 60 MB, so half a gigabyte is more than ten minutes of sound for 40 calls.
func DefaultDiskPolicy() DiskPolicy {
	return DiskPolicy{UsedPercent: [3]int{90, 95, 98}, FreeBytes: [3]int64{2 << 30, 1 << 30, 512 << 20}}
}

// Validate returns every problem at once.
func (p DiskPolicy) Validate() error {
	var errs []error
	for i := range 3 {
		if u := p.UsedPercent[i]; u < 1 || u > 100 || i > 0 && u < p.UsedPercent[i-1] {
			errs = append(errs, fmt.Errorf("spool levels: %v percent must rise within 1…100", p.UsedPercent))
			break
		}
	}
	for i := range 3 {
		if f := p.FreeBytes[i]; f < 0 || i > 0 && f > p.FreeBytes[i-1] {
			errs = append(errs, fmt.Errorf("spool free: %v bytes must fall and not be negative", p.FreeBytes))
			break
		}
	}
	return errors.Join(errs...)
}

// Level is the next level after now, given the usage, and why it is no lower. To go down, a tenth more room is needed
// than to go up, so that the level does not swing with every file that is removed.
func (p DiskPolicy) Level(now DiskLevel, u DiskUsage) (DiskLevel, string) {
	for l := DiskShedScreen; l > DiskOK; l-- {
		percent, free := int64(p.UsedPercent[l-1]), p.FreeBytes[l-1]
		if l <= now { // it holds already
			percent -= percent / diskRecoverPart
			free += free / diskRecoverPart
		}
		if u.Max > 0 && u.Used >= u.Max/100*percent {
			return l, fmt.Sprintf("the spool uses %d of its %d bytes", u.Used, u.Max)
		}
		if u.Free < free {
			return l, fmt.Sprintf("%d bytes are free on its disk, the watermark is %d", u.Free, free)
		}
	}
	return DiskOK, ""
}

// disk watches the spool's disk.
type disk struct {
	meter  DiskMeter // nil: there is no watching, and the level is always OK
	policy DiskPolicy
	wake   chan struct{} // a write has failed for want of room
	failed atomic.Bool   // … since it was last looked at

	mu      sync.Mutex
	level   DiskLevel
	why     string
	holds   time.Time // no lower level before
	usage   DiskUsage
	changed chan struct{} // closed and replaced at every change of level
}

func newDisk(meter DiskMeter, policy DiskPolicy) *disk {
	return &disk{meter: meter, policy: policy, wake: make(chan struct{}, 1), changed: make(chan struct{})}
}

// now returns the level, why it holds, and a channel that is closed when it changes.
func (d *disk) now() (DiskLevel, string, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.level, d.why, d.changed
}

// full notes that a write has failed for want of room; it never blocks.
func (d *disk) full() {
	d.failed.Store(true)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// diskLook is what one look at the disk said.
type diskLook struct {
	was, is DiskLevel
	why     string
	failed  bool // a write has failed for want of room since the last look
}

// look measures once.
func (d *disk) look(at time.Time) (diskLook, error) {
	u, err := d.meter.Usage()
	d.mu.Lock()
	defer d.mu.Unlock()
	l := diskLook{was: d.level, is: d.level, why: d.why, failed: d.failed.Swap(false)}
	if err == nil {
		d.usage = u
		l.is, l.why = d.policy.Level(l.was, u)
	}
	if l.failed {
		d.holds = at.Add(diskHold)
		l.is, l.why = DiskShedScreen, "a write has failed: the disk or its quota is full"
	} else if l.is < l.was && at.Before(d.holds) {
		l.is, l.why = l.was, d.why
	}
	if l.is != l.was {
		close(d.changed)
		d.changed = make(chan struct{})
	}
	d.level, d.why = l.is, l.why
	return l, err
}

// watchDisk looks at the disk about once a second, and at once when a write has failed for want of room.
func (s *Service) watchDisk(ctx context.Context) {
	if s.disk.meter == nil {
		return
	}
	tick := time.NewTicker(diskEvery)
	defer tick.Stop()
	for {
		s.lookAtDisk()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.disk.wake:
		}
	}
}

func (s *Service) lookAtDisk() {
	l, err := s.disk.look(s.deps.Now())
	if err != nil {
		s.log.Error("the spool's disk cannot be measured", "err", err)
	}
	if l.is != l.was {
		log := s.log.Warn
		if l.is > l.was && l.is >= DiskShedWebcam {
			log = s.log.Error
		}
		log("the spool's disk: level changed", "from", l.was, "to", l.is, "because", l.why)
	}
	for _, r := range s.all() { // gates first: what the reserve gives is for sound and events
		r.shed(l.is, l.is != l.was)
	}
	switch {
	case l.failed:
		err = s.disk.meter.FreeReserve()
		for _, r := range s.all() {
			r.reopenJournals()
		}
	case l.is == DiskOK:
		err = s.disk.meter.KeepReserve()
	}
	if err != nil {
		s.log.Error("the spool's reserve", "err", err)
	}
}

// all lists the recordings of this node.
func (s *Service) all() []*recording {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*recording, 0, len(s.live))
	for _, r := range s.live {
		all = append(all, r)
	}
	return all
}

// captures tells whether any recording of this node captures now.
func (s *Service) captures() bool {
	for _, r := range s.all() {
		if r.captures() {
			return true
		}
	}
	return false
}

// roomToCompose waits until the disk has room for what composing writes. What is captured goes first; a recording that
// has ended gives its room back once it is composed and stored, so it is the last to wait.
func (s *Service) roomToCompose(ctx context.Context, r *recording) error {
	told := false
	for {
		level, why, changed := s.disk.now()
		if level < DiskShedWebcam || level < DiskShedScreen && !r.captures() || !s.captures() {
			return nil
		}
		if !told {
			told = true
			s.log.Warn("composing waits: the disk has no room for it", "recording_id", r.id, "because", why)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-time.After(roomEvery): // a recording may have ended
		}
	}
}
