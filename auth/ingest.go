package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxIngestKinds is how many track kinds a grant may list.
const MaxIngestKinds = 16

// IngestGrant lets its holder publish media into one recording, and do nothing else. It is no principal: no operation of
// the API is within its reach.
type IngestGrant struct {
	TenantID, RecordingID string
	Subject               string   // who asked for it, for logs
	Kinds                 []string // tracks that may be fed; none is not all
	ExpiresAt             time.Time
}

// ErrIngestGrant marks a grant that cannot be one.
var ErrIngestGrant = errors.New("auth: not an ingest grant")

// Validate returns every problem at once.
func (g IngestGrant) Validate() error {
	var errs []error
	name := func(field, v string) {
		if v == "" || len(v) > MaxName || !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			errs = append(errs, fmt.Errorf("%w: %s %.40q is not a text of 1…%d bytes", ErrIngestGrant, field, v, MaxName))
		}
	}
	name("tenant", g.TenantID)
	name("recording", g.RecordingID)
	name("subject", g.Subject)
	if len(g.Kinds) == 0 || len(g.Kinds) > MaxIngestKinds {
		errs = append(errs, fmt.Errorf("%w: %d kinds are not 1…%d", ErrIngestGrant, len(g.Kinds), MaxIngestKinds))
	}
	for _, k := range g.Kinds[:min(len(g.Kinds), MaxIngestKinds)] {
		name("kind", k)
	}
	return errors.Join(errs...)
}

// Allows reports whether the grant is for this recording and one of these kinds.
func (g IngestGrant) Allows(recordingID, kind string) bool {
	return g.RecordingID == recordingID && slices.Contains(g.Kinds, kind)
}
