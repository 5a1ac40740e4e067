package graph

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// sealer makes opaque tokens of what the server hands out and wants back unchanged: cursors and stream offsets.
// Sealed, they can neither be used for another list or tenant than they were made for, nor tell how busy others are.
type sealer struct{ aead cipher.AEAD }

// minSecret is the shortest secret in bytes.
const minSecret = 32

// maxToken bounds what is decoded.
const maxToken = 1024

var errToken = errors.New("graph: token refused")

func newSealer(secret []byte) (*sealer, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "dualrec/graph/token/v1", 32)
	if err != nil {
		return nil, fmt.Errorf("graph: derive token key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("graph: token cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("graph: token cipher: %w", err)
	}
	return &sealer{aead: aead}, nil
}

// seal binds text to what it is for.
func (s *sealer) seal(purpose, text string) string {
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, []byte(text), []byte(purpose)))
}

// open returns errToken for anything that seal did not make for this purpose.
func (s *sealer) open(purpose, token string) (string, error) {
	if len(token) > maxToken {
		return "", errToken
	}
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", errToken
	}
	text, err := s.aead.Open(nil, nil, raw, []byte(purpose))
	if err != nil {
		return "", errToken
	}
	return string(text), nil
}

// randomSecret is for servers that are alone and may forget their tokens at a restart.
func randomSecret() ([]byte, error) {
	b := make([]byte, minSecret)
	if _, err := io.ReadFull(rand.Reader, b); err != nil {
		return nil, fmt.Errorf("graph: draw secret: %w", err)
	}
	return b, nil
}
