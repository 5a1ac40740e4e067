package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

const (
	apiKeyPrefix  = "dr_"
	keyIDBytes    = 10
	keyIDChars    = 16
	secretBytes   = 20 // 160 bit
	checksumBytes = 5
	secretChars   = 40
	apiKeyChars   = len(apiKeyPrefix) + keyIDChars + 1 + secretChars
)

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ErrAPIKey marks a text that is not an API key. The reason is for whoever typed it, not for an unknown caller.
var ErrAPIKey = errors.New("auth: not an API key")

// NewAPIKey draws a key. display is shown to its owner once and never stored; keyID and hash are (KeyRecord).
func NewAPIKey() (display, keyID string, hash []byte) {
	var id [keyIDBytes]byte
	var secret [secretBytes]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	_, _ = rand.Read(secret[:])
	return formatAPIKey(id, secret)
}

func formatAPIKey(id [keyIDBytes]byte, secret [secretBytes]byte) (display, keyID string, hash []byte) {
	keyID = base32Lower.EncodeToString(id[:])
	sealed := append(secret[:], apiKeyChecksum(keyID, secret[:])...)
	display = apiKeyPrefix + keyID + "_" + base32Lower.EncodeToString(sealed)
	sum := apiKeyHash(display)
	return display, keyID, sum[:]
}

// APIKey is a well-formed key as presented: its id, and the hash to compare. The secret itself is not kept.
type APIKey struct {
	ID   string
	hash [sha256.Size]byte
}

// ParseAPIKey reads a key. The error wraps ErrAPIKey, says what is wrong, and holds nothing of the text.
func ParseAPIKey(s string) (APIKey, error) {
	if !strings.HasPrefix(s, apiKeyPrefix) {
		return APIKey{}, fmt.Errorf("%w: it does not begin with %s", ErrAPIKey, apiKeyPrefix)
	}
	if len(s) != apiKeyChars {
		return APIKey{}, fmt.Errorf("%w: it has %d characters, want %d: was it copied whole?", ErrAPIKey, len(s), apiKeyChars)
	}
	keyID, text, ok := strings.Cut(s[len(apiKeyPrefix):], "_")
	if !ok || len(keyID) != keyIDChars || strings.ContainsAny(s, "\r\n") { // the decoder skips line ends
		return APIKey{}, fmt.Errorf("%w: want %s<%d characters>_<%d characters>", ErrAPIKey, apiKeyPrefix, keyIDChars, secretChars)
	}
	if _, err := base32Lower.DecodeString(keyID); err != nil {
		return APIKey{}, fmt.Errorf("%w: a character is not one of a-z and 2-7", ErrAPIKey)
	}
	sealed, err := base32Lower.DecodeString(text)
	if err != nil || len(sealed) != secretBytes+checksumBytes {
		return APIKey{}, fmt.Errorf("%w: a character is not one of a-z and 2-7", ErrAPIKey)
	}
	if subtle.ConstantTimeCompare(apiKeyChecksum(keyID, sealed[:secretBytes]), sealed[secretBytes:]) != 1 {
		return APIKey{}, fmt.Errorf("%w: its checksum is wrong: was it mistyped?", ErrAPIKey)
	}
	return APIKey{ID: keyID, hash: apiKeyHash(s)}, nil
}

// Matches compares with a stored hash in constant time.
func (k APIKey) Matches(stored []byte) bool {
	return subtle.ConstantTimeCompare(k.hash[:], stored) == 1
}

func apiKeyChecksum(keyID string, secret []byte) []byte {
	sum := sha256.Sum256(append([]byte("dualrec/api-key-checksum/v1\x00"+keyID), secret...))
	return sum[:checksumBytes]
}

// apiKeyHash is what is stored. A plain hash is enough: the secret has 160 random bits, so there is nothing to guess,
// and a slow hash would only let callers make the server work.
func apiKeyHash(display string) [sha256.Size]byte {
	return sha256.Sum256([]byte("dualrec/api-key/v1\x00" + display))
}
