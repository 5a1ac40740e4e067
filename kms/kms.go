// Package kms owns keys: the data key (DEK) of each recording, its wrapping by
// a tenant's key-encryption key (KEK), the file keys derived from it, and the
// seekable encrypted file format (see docs/formats/envelope.md).
//
// It is the leaf of the house: it knows nothing of recordings, stores, HTTP or
// databases, and everything else may import it.
package kms

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
)

// KeySize is the length in bytes of data keys and file keys (AES-256).
const KeySize = 32

// Errors of this package. Callers match them with errors.Is.
var (
	// ErrKeyUnavailable: the KEK cannot be reached or is disabled. Retry later; nothing is lost.
	ErrKeyUnavailable = errors.New("kms: key unavailable")
	// ErrUnwrap: the wrapped key is damaged, or belongs to another tenant, recording or KEK.
	ErrUnwrap = errors.New("kms: wrapped key refused")
)

// DataKey is the key of one recording (DEK). It never prints its bytes, also not as an unexported field of something
// that is printed, where fmt cannot call String. The zero value is not a key.
type DataKey struct{ secret secret }

// FileKey encrypts exactly one file; it is derived from a DataKey. It never prints its bytes, as a DataKey.
type FileKey struct{ secret secret }

// secret is a pointer to a pointer: of a pointer to an array fmt may print the array (for a verb that does not fit),
// of this never more than an address.
type secret **[KeySize]byte

func newSecret() secret {
	p := new([KeySize]byte)
	return &p
}

// NewDataKey draws a fresh data key from the operating system's random source.
func NewDataKey() (DataKey, error) {
	k := DataKey{newSecret()}
	if _, err := rand.Read((*k.secret)[:]); err != nil {
		return DataKey{}, fmt.Errorf("kms: draw data key: %w", err)
	}
	return k, nil
}

// DataKeyFromBytes takes over the KeySize bytes that a provider unwrapped.
func DataKeyFromBytes(b []byte) (DataKey, error) {
	if len(b) != KeySize {
		return DataKey{}, fmt.Errorf("%w: data key has %d bytes, want %d", ErrUnwrap, len(b), KeySize)
	}
	k := DataKey{newSecret()}
	copy((*k.secret)[:], b)
	return k, nil
}

// Bytes hands the key to a KEK provider for wrapping. Nothing else may call it.
func (k DataKey) Bytes() []byte { return clone(k.secret) }

// FileKey derives the key of one file: HKDF-SHA-256 (RFC 5869) with the DEK as
// input keying material, no salt, and "dualrec/file/v1\x00role\x00fileID" as info.
// Destroying the DEK therefore destroys every file of the recording.
// role must not contain a zero byte.
func (k DataKey) FileKey(fileID, role string) (FileKey, error) {
	if k.secret == nil {
		return FileKey{}, errors.New("kms: derive file key: no data key")
	}
	out, err := hkdf.Key(sha256.New, (*k.secret)[:], nil, "dualrec/file/v1\x00"+role+"\x00"+fileID, KeySize)
	if err != nil {
		return FileKey{}, fmt.Errorf("kms: derive file key: %w", err)
	}
	fk := FileKey{newSecret()}
	copy((*fk.secret)[:], out)
	return fk, nil
}

// Bytes hands the key to a cipher. Only encrypting code calls it.
func (k FileKey) Bytes() []byte { return clone(k.secret) }

func clone(s secret) []byte {
	if s == nil {
		return nil // ciphers refuse a key of no bytes
	}
	return append([]byte(nil), (*s)[:]...)
}

const redacted = "[secret]"

// String keeps the key out of %v and %s.
func (DataKey) String() string { return redacted }

// GoString keeps the key out of %#v.
func (DataKey) GoString() string { return redacted }

// LogValue keeps the key out of slog.
func (DataKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON keeps the key out of JSON.
func (DataKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// String keeps the key out of %v and %s.
func (FileKey) String() string { return redacted }

// GoString keeps the key out of %#v.
func (FileKey) GoString() string { return redacted }

// LogValue keeps the key out of slog.
func (FileKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON keeps the key out of JSON.
func (FileKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// WrapContext is bound into every wrapped key, so that a wrapped key copied to
// another tenant or recording is refused.
type WrapContext struct {
	TenantID    string `json:"tenant_id"`
	RecordingID string `json:"recording_id"`
}

// WrappedKey is a DEK encrypted under a KEK; it is safe to store anywhere.
type WrappedKey struct {
	Provider   string `json:"provider"`   // "local", later "vault", "aws", …
	KeyRef     string `json:"key_ref"`    // which KEK, in the provider's own words
	Ciphertext []byte `json:"ciphertext"` // opaque to everyone but the provider
}

// Wrapper wraps and unwraps data keys with a tenant's KEK. Implementations are
// safe for concurrent use. Wrap and Unwrap return ErrKeyUnavailable when the
// KEK cannot be used now, Unwrap returns ErrUnwrap when it never will.
type Wrapper interface {
	Wrap(ctx context.Context, key DataKey, wc WrapContext) (WrappedKey, error)
	Unwrap(ctx context.Context, wrapped WrappedKey, wc WrapContext) (DataKey, error)
}
