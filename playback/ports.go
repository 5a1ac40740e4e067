package playback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// Grants keeps the rows of grants. Implementations are safe for concurrent use.
type Grants interface {
	// Create stores a new grant; it is durable when Create returns.
	Create(ctx context.Context, g Grant) error
	// Check reads a grant as it is now; it is asked on every request and about once a second while bytes flow.
	// ErrGrantNotFound if there is none. A grant whose recording may no longer be watched (deleted, restricted)
	// is to be returned as revoked.
	Check(ctx context.Context, grantID string) (GrantStatus, error)
	// Revoke ends a grant of this tenant, durably, with its audit event in the same transaction. Revoking twice is no
	// error and changes nothing. ErrGrantNotFound if the tenant has no such grant.
	Revoke(ctx context.Context, tenantID, grantID, by string) error
}

// GrantStatus is a grant's row.
type GrantStatus struct {
	Grant   Grant
	Revoked bool
	Viewed  bool // Audit.Viewed has been done for it
}

// Audit records views.
type Audit interface {
	// Viewed records the first use of a grant and marks the grant as viewed, both durably when it returns. It is called
	// again for the same grant when requests race; only the first call records anything, and the others are no error.
	Viewed(ctx context.Context, v View) error
}

// View is the first use of a grant.
type View struct {
	Grant     Grant
	At        time.Time
	Address   netip.Addr // of the client; invalid if unknown
	UserAgent string     // at most 256 bytes, valid UTF-8
}

// Artifacts finds stored files.
type Artifacts interface {
	// Open finds the asset of a tenant's recording and unwraps its key. It is called once per request: a player makes one
	// for every seek, so an implementation keeps unwrapped keys for a while. The context bounds the reads too.
	// Errors: ErrNotFound (also for another tenant's recording), ErrNotReady, ErrKeyUnavailable; any other is a fault.
	// The caller closes the artifact.
	Open(ctx context.Context, ref Ref) (Artifact, error)
}

// Ref names an asset.
type Ref struct {
	TenantID    string
	RecordingID string
	Asset       Asset
}

// Artifact is an opened asset.
type Artifact struct {
	Content Content
	Closer  io.Closer // of what Content reads from; nil if nothing is to be closed
	Digest  []byte    // SHA-256 of the stored file, which names these bytes for ever (it becomes the ETag)
	ModTime time.Time // when the file was finished; zero if unknown
}

// Content is plaintext at any offset; kms.Reader is one. ReadAt must be safe for concurrent use.
type Content interface {
	io.ReaderAt
	Size() int64
}

// Errors of the ports.
var (
	ErrGrantNotFound  = errors.New("playback: no such grant")
	ErrNotFound       = errors.New("playback: no such recording or asset")
	ErrNotReady       = errors.New("playback: the recording cannot be played yet")
	ErrKeyUnavailable = errors.New("playback: the recording's key cannot be used now")
)

// Errors of this package.
var (
	// ErrRequest marks a request for a grant that cannot be granted (RequestError).
	ErrRequest = errors.New("playback: grant refused")
	// ErrForbidden: the URL is not one that may be used. Why is deliberately not said.
	ErrForbidden = errors.New("playback: forbidden")
	// ErrExpired: the URL was signed here and is over.
	ErrExpired = errors.New("playback: expired")
)

// RequestError says what to change about a request for a grant, in words for whoever asked. It wraps ErrRequest.
type RequestError struct{ Reason string }

// Error implements error.
func (e *RequestError) Error() string { return ErrRequest.Error() + ": " + e.Reason }

// Unwrap gives ErrRequest.
func (e *RequestError) Unwrap() error { return ErrRequest }

func refuseRequest(format string, args ...any) error {
	return &RequestError{Reason: fmt.Sprintf(format, args...)}
}
