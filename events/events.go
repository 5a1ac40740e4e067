// Package events carries the news that something about a recording changed from whoever
// committed the change to everyone who watches: it names the bus port, keeps the fan-out to the
// watchers of one process, and knows what it takes to resume after a break.
//
// A change carries no data. Receivers re-read the truth, so a change may be delivered twice or
// merged with a later one, and none of that can show anybody a wrong state. The package does not
// know recordings, databases, GraphQL or NATS; it imports the standard library only.
package events

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Change says that something about a recording of a tenant changed.
type Change struct {
	TenantID string `json:"tenant_id"`
	// RecordingID is empty when anything of the tenant may have changed (changes had to be dropped before
	// they reached the log); receivers then see a gap.
	RecordingID string `json:"recording_id"`
	Kind        string `json:"kind"` // the words of recorder.ChangeKind
}

// Limits on what is published.
const (
	maxIDLen   = 200
	maxKindLen = 40
)

// ErrChange marks a change that cannot be published; the text says why.
var ErrChange = errors.New("events: bad change")

// Validate checks the lengths and that there is a tenant.
func (c Change) Validate() error {
	switch {
	case c.TenantID == "":
		return fmt.Errorf("%w: no tenant id", ErrChange)
	case len(c.TenantID) > maxIDLen || len(c.RecordingID) > maxIDLen:
		return fmt.Errorf("%w: an id has more than %d bytes", ErrChange, maxIDLen)
	case len(c.Kind) > maxKindLen:
		return fmt.Errorf("%w: kind has %d bytes, the limit is %d", ErrChange, len(c.Kind), maxKindLen)
	case strings.ContainsRune(c.TenantID, 0):
		return fmt.Errorf("%w: the tenant id contains a zero byte", ErrChange)
	}
	return nil
}

// Position is a place in the log of changes. Epoch is stable while the log lives and new when it was made
// anew or may have lost its tail; Offset is the sequence number of the last change seen, in decimal.
type Position struct {
	Epoch  string
	Offset string
}

// Publisher takes changes. It is the half of Bus that a recorder needs.
type Publisher interface {
	// Publish hands over a change after its commit. It never blocks and keeps no reference. Changes of the same
	// recording and kind that wait to be sent are one. ErrChange: the change is malformed; ErrClosed: after Close.
	// When the log cannot be reached changes wait; when too many wait, they become one gap per tenant.
	Publish(c Change) error
}

// Subscriber hands out subscriptions. It is the half of Bus that a viewer needs.
type Subscriber interface {
	// Subscribe begins to collect the changes of one tenant. With from nil it starts now. With a position it starts
	// after it if the log still proves that nothing in between is lost: Start().Resumed tells. Otherwise it starts
	// now, and the caller must take a snapshot, reading it after Subscribe returned.
	// The subscription ends with Close or when ctx ends. ErrClosed: after Close of the bus.
	Subscribe(ctx context.Context, tenantID string, from *Position) (Subscription, error)
}

// Bus is both halves. Implementations are safe for concurrent use.
type Bus interface {
	Publisher
	Subscriber
	// Close sends what waits (for a bounded time), ends all subscriptions and waits for its goroutines. Idempotent.
	Close() error
}

// Subscription collects changes for one viewer. A slow viewer never slows anyone else: changes are merged per
// recording while they wait, and when too many recordings wait, they become one gap.
type Subscription interface {
	// Start says how the subscription began.
	Start() Start
	// Ready receives a value after something has come in since the last Take, and is closed when the subscription has ended.
	Ready() <-chan struct{}
	// Take returns what waits, with ok false if there is nothing.
	Take() (b Batch, ok bool)
	// Position is the place up to which Take has returned everything.
	Position() Position
	// Err says why the subscription ended: nil while it lives, ErrClosed, or the cause of its context.
	Err() error
	// Close ends it; idempotent.
	Close()
}

// Start says how a subscription began.
type Start struct {
	Position Position
	Resumed  bool
	Reason   string // why not resumed, empty if resumed or not asked for
}

// Batch is everything that changed since the last Take.
type Batch struct {
	Position Position
	Changes  []Merged
	// Gap is not empty if changes were lost on the way: anything may have changed, and Changes is empty.
	Gap string
}

// Merged is one recording with the kinds of its changes, sorted.
type Merged struct {
	RecordingID string
	Kinds       []string
}

// ErrClosed: the bus was closed.
var ErrClosed = errors.New("events: bus closed")

// The reasons for which a subscription did not resume or has a gap.
const (
	ReasonEpoch    = "EPOCH_CHANGED"    // the log was made anew
	ReasonExpired  = "POSITION_EXPIRED" // the log no longer holds everything after the position
	ReasonInvalid  = "POSITION_INVALID" // not a position of this log
	ReasonTooFar   = "TOO_FAR_BEHIND"   // more changes than are worth replaying
	ReasonSlow     = "SLOW_VIEWER"      // more recordings changed than may wait for one viewer
	ReasonOverflow = "PUBLISHER_OVERFLOW"
	ReasonLogGap   = "LOG_GAP" // the log dropped changes before this process read them
)
