package player

import (
	"encoding/base64"
	"fmt"

	"github.com/pion/srtp/v3"
)

// SRTPParameters are mediasoup's transport.srtpParameters: key and salt of what their owner sends.
type SRTPParameters struct {
	CryptoSuite string `json:"cryptoSuite"`
	KeyBase64   string `json:"keyBase64"`
}

// Suites of mediasoup, with the lengths of their keys and salts.
var suites = map[string]struct {
	profile   srtp.ProtectionProfile
	key, salt int
}{
	"AES_CM_128_HMAC_SHA1_80": {srtp.ProtectionProfileAes128CmHmacSha1_80, 16, 14},
	"AES_CM_128_HMAC_SHA1_32": {srtp.ProtectionProfileAes128CmHmacSha1_32, 16, 14},
	"AEAD_AES_128_GCM":        {srtp.ProtectionProfileAeadAes128Gcm, 16, 12},
	"AEAD_AES_256_GCM":        {srtp.ProtectionProfileAeadAes256Gcm, 32, 12},
}

// NewSRTPParameters makes a key from bytes; there must be enough of them.
func NewSRTPParameters(suite string, random []byte) (SRTPParameters, error) {
	s, ok := suites[suite]
	if !ok || len(random) < s.key+s.salt {
		return SRTPParameters{}, fmt.Errorf("SRTP suite %q with %d bytes of key", suite, len(random))
	}
	return SRTPParameters{suite, base64.StdEncoding.EncodeToString(random[:s.key+s.salt])}, nil
}

func (p SRTPParameters) context() (*srtp.Context, error) {
	s, ok := suites[p.CryptoSuite]
	if !ok {
		return nil, fmt.Errorf("SRTP suite %q", p.CryptoSuite)
	}
	raw, err := base64.StdEncoding.DecodeString(p.KeyBase64)
	if err != nil || len(raw) != s.key+s.salt {
		return nil, fmt.Errorf("SRTP key of %s has %d bytes, want %d (%v)", p.CryptoSuite, len(raw), s.key+s.salt, err)
	}
	return srtp.CreateContext(raw[:s.key], raw[s.key:], s.profile)
}

// secrets are the two directions of one transport.
type secrets struct{ ours, theirs *srtp.Context }

// Secure has everything encrypted that is sent from now on, and takes feedback only if it is encrypted with the
// recorder's key.
func (s *Sender) Secure(ours, theirs SRTPParameters) error {
	out, err := ours.context()
	if err != nil {
		return err
	}
	in, err := theirs.context()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = &secrets{out, in}
	return nil
}

// sealed is a packet as it goes over the wire.
func (s *secrets) sealed(p []byte, rtcp bool) ([]byte, error) {
	if s == nil {
		return p, nil
	}
	if rtcp {
		return s.ours.EncryptRTCP(nil, p, nil)
	}
	return s.ours.EncryptRTP(nil, p, nil)
}

func (s *secrets) opened(p []byte) ([]byte, error) {
	if s == nil {
		return p, nil
	}
	return s.theirs.DecryptRTCP(nil, p, nil)
}
