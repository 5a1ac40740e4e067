package recorder

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
)

// SRTPSuite names one of mediasoup's crypto suites (RFC 4568 §6.2, RFC 7714 §14.2).
type SRTPSuite string

// The crypto suites of API.graphql.
const (
	AES128CMHMACSHA1x80 SRTPSuite = "AES_CM_128_HMAC_SHA1_80"
	AES128CMHMACSHA1x32 SRTPSuite = "AES_CM_128_HMAC_SHA1_32"
	AEADAES128GCM       SRTPSuite = "AEAD_AES_128_GCM"
	AEADAES256GCM       SRTPSuite = "AEAD_AES_256_GCM"
)

// Values lists all suites.
func (SRTPSuite) Values() []string {
	return []string{string(AES128CMHMACSHA1x80), string(AES128CMHMACSHA1x32), string(AEADAES128GCM), string(AEADAES256GCM)}
}

// KeyBytes is the length of the suite's master key and salt together, in bytes; 0 for an unknown suite.
func (s SRTPSuite) KeyBytes() int {
	switch s {
	case AES128CMHMACSHA1x80, AES128CMHMACSHA1x32:
		return 16 + 14
	case AEADAES128GCM:
		return 16 + 12
	case AEADAES256GCM:
		return 32 + 12
	}
	return 0
}

// SRTPParameters are mediasoup's srtpParameters: what one side encrypts with. The zero value is plain RTP. It is a
// secret: no way of printing or logging shows the key, only MarshalJSON does, for the encrypted spool and the SFU.
type SRTPParameters struct {
	Suite SRTPSuite
	Key   []byte // master key and salt
}

// Plain tells that there is no encryption.
func (s SRTPParameters) Plain() bool { return s.Suite == "" }

// IsZero is Plain, for encoding/json.
func (s SRTPParameters) IsZero() bool { return s.Plain() }

// Equal compares in constant time.
func (s SRTPParameters) Equal(o SRTPParameters) bool {
	return s.Suite == o.Suite && subtle.ConstantTimeCompare(s.Key, o.Key) == 1
}

// NewSRTPParameters draws a key. The zero suite gives plain RTP.
func NewSRTPParameters(suite SRTPSuite) (SRTPParameters, error) {
	if suite == "" {
		return SRTPParameters{}, nil
	}
	key := make([]byte, suite.KeyBytes())
	if len(key) == 0 {
		return SRTPParameters{}, fmt.Errorf("%w: unknown suite %.60q", ErrSRTPParameters, suite)
	}
	if _, err := rand.Read(key); err != nil {
		return SRTPParameters{}, fmt.Errorf("draw SRTP key: %w", err)
	}
	return SRTPParameters{Suite: suite, Key: key}, nil
}

// String names the suite alone.
func (s SRTPParameters) String() string {
	if s.Plain() {
		return "plain RTP"
	}
	return string(s.Suite) + " (key not shown)"
}

// GoString is String, so that %#v shows no key either.
func (s SRTPParameters) GoString() string { return s.String() }

// Format prints String for every verb.
func (s SRTPParameters) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.String()) }

// LogValue keeps the key out of logs.
func (s SRTPParameters) LogValue() slog.Value { return slog.StringValue(s.String()) }

type srtpJSON struct {
	CryptoSuite SRTPSuite `json:"cryptoSuite"`
	KeyBase64   string    `json:"keyBase64"`
}

// MarshalJSON is mediasoup's form; null for plain RTP.
func (s SRTPParameters) MarshalJSON() ([]byte, error) {
	if s.Plain() {
		return []byte("null"), nil
	}
	return json.Marshal(srtpJSON{s.Suite, base64.StdEncoding.EncodeToString(s.Key)})
}

// UnmarshalJSON is ParseSRTPParameters; null is plain RTP.
func (s *SRTPParameters) UnmarshalJSON(raw []byte) (err error) {
	*s, err = ParseSRTPParameters(raw)
	return err
}

// ErrSRTPParameters marks srtpParameters that cannot be used; the text says why and what to do.
var ErrSRTPParameters = errors.New("srtpParameters")

const maxSRTPParametersBytes = 4 << 10

// ParseSRTPParameters reads mediasoup's transport.srtpParameters. Nothing and null are plain RTP. Errors wrap
// ErrSRTPParameters and never show the key.
func ParseSRTPParameters(raw []byte) (SRTPParameters, error) {
	fail := func(format string, args ...any) (SRTPParameters, error) {
		return SRTPParameters{}, fmt.Errorf("%w: "+format, append([]any{ErrSRTPParameters}, args...)...)
	}
	if len(raw) == 0 || string(raw) == "null" {
		return SRTPParameters{}, nil
	}
	if len(raw) > maxSRTPParametersBytes {
		return fail("%d bytes are more than the limit of %d", len(raw), maxSRTPParametersBytes)
	}
	var in srtpJSON
	if err := json.Unmarshal(raw, &in); err != nil {
		return fail("not the JSON object {cryptoSuite, keyBase64} that transport.srtpParameters is")
	}
	if !slices.Contains(in.CryptoSuite.Values(), string(in.CryptoSuite)) {
		return fail("cryptoSuite %.60q is not one of %v", in.CryptoSuite, in.CryptoSuite.Values())
	}
	key, err := base64.StdEncoding.DecodeString(in.KeyBase64)
	if err != nil {
		return fail("keyBase64 is not base64")
	}
	if want := in.CryptoSuite.KeyBytes(); len(key) != want {
		return fail("keyBase64 holds %d bytes, %s wants %d (master key and salt)", len(key), in.CryptoSuite, want)
	}
	return SRTPParameters{Suite: in.CryptoSuite, Key: key}, nil
}
