package playback

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
)

// MinKeyBytes is the shortest signing key.
const MinKeyBytes = 32

// Key signs URLs. It never prints its bytes.
type Key struct {
	id     [keyIDBytes]byte
	secret []byte
}

const keyIDBytes = 4

// ErrKey marks a signing key or a ring that cannot be used.
var ErrKey = errors.New("playback: signing key refused")

// NewKey takes over MinKeyBytes or more random bytes.
func NewKey(secret []byte) (Key, error) {
	if len(secret) < MinKeyBytes {
		return Key{}, fmt.Errorf("%w: %d bytes, want at least %d random ones", ErrKey, len(secret), MinKeyBytes)
	}
	if bytes.Count(secret, secret[:1]) == len(secret) {
		return Key{}, fmt.Errorf("%w: all bytes are the same, want random ones", ErrKey)
	}
	sum := sha256.Sum256(append([]byte("dualrec/media-key-id/v1\x00"), secret...))
	return Key{id: [keyIDBytes]byte(sum[:]), secret: bytes.Clone(secret)}, nil
}

// ID names the key in tokens, as 8 hexadecimal digits.
func (k Key) ID() string { return fmt.Sprintf("%x", k.id) }

const redacted = "[secret]"

// String keeps the key out of %v and %s.
func (Key) String() string { return redacted }

// GoString keeps the key out of %#v.
func (Key) GoString() string { return redacted }

// LogValue keeps the key out of slog.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON keeps the key out of JSON.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Keyring holds the key that signs and the older ones that still verify. It does not change; see Signer.Use.
type Keyring struct {
	current Key
	byID    map[[keyIDBytes]byte]Key
	decoy   Key // for unknown ids, so that they cost the same
}

// NewKeyring makes a ring.
func NewKeyring(current Key, older ...Key) (*Keyring, error) {
	secret := make([]byte, MinKeyBytes)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	decoy, err := NewKey(secret)
	if err != nil {
		return nil, err
	}
	r := &Keyring{current: current, byID: map[[keyIDBytes]byte]Key{}, decoy: decoy}
	for _, k := range append([]Key{current}, older...) {
		if len(k.secret) < MinKeyBytes {
			return nil, fmt.Errorf("%w: a zero key: use NewKey", ErrKey)
		}
		if known, ok := r.byID[k.id]; ok && !bytes.Equal(known.secret, k.secret) {
			return nil, fmt.Errorf("%w: two keys have the id %s: draw another key", ErrKey, k.ID())
		}
		r.byID[k.id] = k
	}
	return r, nil
}

func (r *Keyring) find(id [keyIDBytes]byte) (Key, bool) {
	if k, ok := r.byID[id]; ok {
		return k, true
	}
	return r.decoy, false
}
