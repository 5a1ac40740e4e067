package recorder

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func srtpKey(n int) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("k"), n))
}

func TestParseSRTPParameters(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, raw, wrong string }{
		{"nothing", ``, ""},
		{"null", `null`, ""},
		{"AES-CM 80", `{"cryptoSuite":"AES_CM_128_HMAC_SHA1_80","keyBase64":"` + srtpKey(30) + `"}`, ""},
		{"AES-CM 32", `{"cryptoSuite":"AES_CM_128_HMAC_SHA1_32","keyBase64":"` + srtpKey(30) + `"}`, ""},
		{"GCM 128", `{"cryptoSuite":"AEAD_AES_128_GCM","keyBase64":"` + srtpKey(28) + `"}`, ""},
		{"GCM 256", `{"cryptoSuite":"AEAD_AES_256_GCM","keyBase64":"` + srtpKey(44) + `"}`, ""},
		{"another suite", `{"cryptoSuite":"NULL","keyBase64":"` + srtpKey(30) + `"}`, "not one of"},
		{"short key", `{"cryptoSuite":"AEAD_AES_128_GCM","keyBase64":"` + srtpKey(27) + `"}`, "27 bytes"},
		{"no base64", `{"cryptoSuite":"AEAD_AES_128_GCM","keyBase64":"k%"}`, "not base64"},
		{"no object", `[]`, "not the JSON object"},
		{"huge", `{"cryptoSuite":"` + strings.Repeat("x", 5000) + `"}`, "limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := ParseSRTPParameters([]byte(tc.raw))
			if tc.wrong == "" {
				again, merr := json.Marshal(got)
				if err != nil || merr != nil {
					t.Fatal(err, merr)
				}
				if tc.raw != "" && string(again) != tc.raw {
					t.Errorf("written again: %s", again)
				}
				return
			}
			if !errors.Is(err, ErrSRTPParameters) || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("error %v, want one with %q", err, tc.wrong)
			}
		})
	}
}

// TestSRTPKeyIsNotPrinted tries every way of printing that a log line may take.
func TestSRTPKeyIsNotPrinted(t *testing.T) {
	t.Parallel()
	p := SRTPParameters{Suite: AEADAES128GCM, Key: []byte("very-secret-key-and-its-salt")}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "srtp", p, "row", TrackRow{SRTP: p})
	text := fmt.Sprint(p, &p, TrackRow{SRTP: p}) + fmt.Sprintf("%v %+v %#v %s %x %q", p, p, p, p, p, p) + log.String()
	for _, secret := range []string{"very-secret", base64.StdEncoding.EncodeToString(p.Key)[:12], fmt.Sprintf("%x", p.Key)[:12], fmt.Sprint(p.Key)[:12]} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is printed: %s", secret, text)
		}
	}
}

func FuzzParseSRTPParameters(f *testing.F) {
	f.Add([]byte(`{"cryptoSuite":"AEAD_AES_128_GCM","keyBase64":"` + srtpKey(28) + `"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ParseSRTPParameters(raw)
		if err == nil && !p.Plain() && len(p.Key) != p.Suite.KeyBytes() {
			t.Errorf("%d bytes of key for %s", len(p.Key), p.Suite)
		}
	})
}
