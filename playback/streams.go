package playback

import (
	"errors"
	"sync"
	"time"
)

// streams counts the responses that run, per grant and in all, and can cut those of one grant.
type streams struct {
	perGrant, total int

	mu      sync.Mutex
	running int
	byGrant map[string]map[*writer]struct{}
}

var (
	errTooManyStreams = errors.New("playback: too many responses at once on this grant")
	errBusy           = errors.New("playback: too many responses at once on this server")
)

func newStreams(perGrant, total int) *streams {
	return &streams{perGrant: perGrant, total: total, byGrant: map[string]map[*writer]struct{}{}}
}

// add counts a response in; the caller must remove it.
func (s *streams) add(grantID string, w *writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running >= s.total {
		return errBusy
	}
	if len(s.byGrant[grantID]) >= s.perGrant {
		return errTooManyStreams
	}
	if s.byGrant[grantID] == nil {
		s.byGrant[grantID] = map[*writer]struct{}{}
	}
	s.byGrant[grantID][w] = struct{}{}
	s.running++
	return nil
}

func (s *streams) remove(grantID string, w *writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.byGrant[grantID][w]; !ok {
		return
	}
	delete(s.byGrant[grantID], w)
	s.running--
	if len(s.byGrant[grantID]) == 0 {
		delete(s.byGrant, grantID)
	}
}

// cut ends a grant's responses, also one that is blocked on a viewer that takes nothing.
func (s *streams) cut(grantID string, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.byGrant[grantID] {
		w.cut(reason, time.Now())
	}
}
