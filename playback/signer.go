package playback

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// PathPrefix is where the handler of signed URLs is mounted.
const PathPrefix = "/media/v1/"

const (
	tokenVersion = 1
	signedBytes  = 1 + keyIDBytes + 6 + grantIDBytes + bindingBytes // 43
	tokenBytes   = signedBytes + sha256.Size                        // 75
	tokenChars   = tokenBytes / 3 * 4                               // 100
	maxName      = 64
	maxPath      = 256
)

var tokenText = base64.RawURLEncoding.Strict()

// Signer signs and verifies the paths of docs/formats/signed-url.md. It is safe for concurrent use.
type Signer struct{ ring atomic.Pointer[Keyring] }

// NewSigner returns a signer with this ring.
func NewSigner(ring *Keyring) *Signer {
	s := &Signer{}
	s.Use(ring)
	return s
}

// Use replaces the ring, for rotation while the server runs. URLs signed with a key that is in neither ring's list end now.
func (s *Signer) Use(ring *Keyring) { s.ring.Store(ring) }

// Sign returns the path of the grant's URL. The error wraps ErrRequest.
func (s *Signer) Sign(g Grant) (string, error) {
	if err := g.validate(); err != nil {
		return "", err
	}
	id, err := decodeGrantID(g.ID)
	if err != nil {
		return "", err
	}
	name, _ := g.Asset.file()
	key := s.ring.Load().current
	token := make([]byte, 0, tokenBytes)
	token = append(token, tokenVersion)
	token = append(token, key.id[:]...)
	token = append(token, make([]byte, 6)...)
	putUint48(token[1+keyIDBytes:], uint64(g.ExpiresAt.UnixMilli()))
	token = append(token, id[:]...)
	token = append(token, g.binding(id)...)
	token = append(token, mac(key, token, name)...)
	return PathPrefix + tokenText.EncodeToString(token) + "/" + name, nil
}

// Claim is what a verified URL says. The grant's row says the rest; Matches compares the two.
type Claim struct {
	GrantID   string
	ExpiresAt time.Time
	name      string
	binding   [bindingBytes]byte
}

// Verify checks an undecoded URL path (url.URL.EscapedPath) at a time. It fails with ErrForbidden, or with ErrExpired
// and the claim if the URL is genuine.
func (s *Signer) Verify(path string, now time.Time) (Claim, error) {
	token, name, ok := parsePath(path)
	if !ok {
		return Claim{}, ErrForbidden
	}
	key, known := s.ring.Load().find([keyIDBytes]byte(token[1:]))
	genuine := hmac.Equal(mac(key, token[:signedBytes], name), token[signedBytes:])
	if !genuine || !known {
		return Claim{}, ErrForbidden
	}
	at := 1 + keyIDBytes
	c := Claim{
		ExpiresAt: time.UnixMilli(int64(uint48(token[at:]))).UTC(),
		GrantID:   grantIDText.EncodeToString(token[at+6 : at+6+grantIDBytes]),
		binding:   [bindingBytes]byte(token[at+6+grantIDBytes:]),
		name:      name,
	}
	if !now.Before(c.ExpiresAt) {
		return c, fmt.Errorf("%w at %s", ErrExpired, c.ExpiresAt.Format(time.RFC3339))
	}
	return c, nil
}

// Matches reports whether g is the grant that was signed, unchanged.
func (c Claim) Matches(g Grant) bool {
	id, err := decodeGrantID(g.ID)
	if err != nil || g.ID != c.GrantID {
		return false
	}
	name, _ := g.Asset.file()
	return subtle.ConstantTimeCompare(g.binding(id), c.binding[:]) == 1 && name == c.name
}

// parsePath takes a path apart without any work that grows with it: everything has a fixed or small length.
func parsePath(path string) (token [tokenBytes]byte, name string, ok bool) {
	rest, found := strings.CutPrefix(path, PathPrefix)
	if !found || len(path) > maxPath || len(rest) < tokenChars+2 || rest[tokenChars] != '/' {
		return token, "", false
	}
	n, err := tokenText.Decode(token[:], []byte(rest[:tokenChars]))
	if err != nil || n != tokenBytes || token[0] != tokenVersion {
		return token, "", false
	}
	name = rest[tokenChars+1:]
	return token, name, validName(name)
}

func validName(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	for i, c := range []byte(name) {
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}

func mac(k Key, signed []byte, name string) []byte {
	h := hmac.New(sha256.New, k.secret)
	h.Write([]byte("dualrec/media-url/v1\x00"))
	h.Write(signed)
	h.Write([]byte(name))
	return h.Sum(nil)
}
