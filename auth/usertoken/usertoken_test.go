package usertoken_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/auth/usertoken"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func seed(first byte) []byte {
	s := make([]byte, 32)
	for i := range s {
		s[i] = first + byte(i)
	}
	return s
}

func key(t testing.TB, first byte) usertoken.Key {
	t.Helper()
	k, err := usertoken.NewKey(seed(first))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func codec(t testing.TB, now time.Time, current usertoken.Key, others ...usertoken.Key) *usertoken.Codec {
	t.Helper()
	ring, err := usertoken.NewRing(current, others...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := usertoken.New("dualrec", ring, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var ann = auth.Principal{TenantID: "t1", Subject: "ann", Role: auth.Reviewer, Queues: []string{"sales", "support"}}

func issue(t testing.TB, c *usertoken.Codec) string {
	t.Helper()
	token, _, err := c.Issue(ann, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestIssueThenVerify(t *testing.T) {
	t.Parallel()
	c := codec(t, start, key(t, 1))
	token, expires, err := c.Issue(ann, time.Hour+900*time.Millisecond)
	if err != nil || !expires.Equal(start.Add(time.Hour)) {
		t.Fatalf("expires %v, %v", expires, err)
	}
	p, err := c.Verify(t.Context(), token)
	want := ann
	want.ExpiresAt = expires
	if err != nil || fmt.Sprint(p) != fmt.Sprint(want) {
		t.Errorf("%+v, %v, want %+v", p, err, want)
	}
	if again := issue(t, c); again == token {
		t.Error("two tokens are the same")
	}
}

func TestIssueRefuses(t *testing.T) {
	t.Parallel()
	c := codec(t, start, key(t, 1))
	many := ann
	for i := range 900 {
		many.Queues = append(many.Queues, fmt.Sprintf("queue-%d", i))
	}
	for name, req := range map[string]struct {
		p   auth.Principal
		ttl time.Duration
	}{
		"nobody": {auth.Principal{}, time.Hour}, "too long": {ann, 24*time.Hour + 1}, "too short": {ann, time.Millisecond},
		"negative": {ann, -time.Hour}, "too many queues for a header": {many, time.Hour},
	} {
		if token, _, err := c.Issue(req.p, req.ttl); err == nil || token != "" {
			t.Errorf("%s: issued %q", name, token)
		}
	}
	public, err := usertoken.PublicKey(key(t, 1).Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := codec(t, start, public).Issue(ann, time.Hour); !errors.Is(err, usertoken.ErrKey) {
		t.Errorf("a verifying node issued: %v", err)
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	token := issue(t, codec(t, start, key(t, 1)))
	for _, c := range []struct {
		at   time.Duration
		good bool
	}{{0, true}, {time.Hour - time.Second, true}, {time.Hour + 29*time.Second, true}, {time.Hour + 31*time.Second, false}, {25 * time.Hour, false},
		{-29 * time.Second, true}, {-31 * time.Second, false}} {
		_, err := codec(t, start.Add(c.at), key(t, 1)).Verify(t.Context(), token)
		if (err == nil) != c.good || err != nil && !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%v after its issue: %v, want good %t", c.at, err, c.good)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	old, fresh := key(t, 1), key(t, 2)
	token := issue(t, codec(t, start, old))
	public, err := usertoken.PublicKey(old.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := codec(t, start, fresh, public)
	if _, err := c.Verify(t.Context(), token); err != nil {
		t.Errorf("the older key, public part only: %v", err)
	}
	next := issue(t, c)
	ring, err := usertoken.NewRing(fresh)
	if err != nil {
		t.Fatal(err)
	}
	c.Use(ring)
	if _, err := c.Verify(t.Context(), token); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("the removed key still verifies: %v", err)
	}
	if _, err := c.Verify(t.Context(), next); err != nil {
		t.Error(err)
	}
}

// forge signs any header and claims.
func forge(t *testing.T, method jwt.SigningMethod, signWith any, header, claims map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	maps.Copy(tok.Header, header)
	s, err := tok.SignedString(signWith)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestForgeries(t *testing.T) {
	t.Parallel()
	k := key(t, 1)
	private := ed25519.NewKeyFromSeed(seed(1))
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := func(change map[string]any) map[string]any {
		c := map[string]any{"iss": "dualrec", "aud": "dualrec", "sub": "ann", "tenant": "t1", "role": "ADMIN",
			"iat": start.Unix(), "exp": start.Add(time.Hour).Unix()}
		for name, v := range change {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		}
		return c
	}
	kid := map[string]any{"kid": k.ID()}
	with := func(name string, v any) map[string]any { return map[string]any{"kid": k.ID(), name: v} }
	c := codec(t, start, k)
	if _, err := c.Verify(t.Context(), forge(t, jwt.SigningMethodEdDSA, private, kid, good(nil))); err != nil {
		t.Fatalf("the well-made token: %v", err)
	}
	for name, token := range map[string]string{
		"alg none":               forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, kid, good(nil)),
		"HMAC of the public key": forge(t, jwt.SigningMethodHS256, []byte(k.Public()), kid, good(nil)),
		"ECDSA":                  forge(t, jwt.SigningMethodES256, ec, kid, good(nil)),
		"own key":                forge(t, jwt.SigningMethodEdDSA, ed25519.NewKeyFromSeed(seed(9)), kid, good(nil)),
		"no kid":                 forge(t, jwt.SigningMethodEdDSA, private, nil, good(nil)),
		"other kid":              forge(t, jwt.SigningMethodEdDSA, private, map[string]any{"kid": "0000000000000000"}, good(nil)),
		"kid is a number":        forge(t, jwt.SigningMethodEdDSA, private, map[string]any{"kid": 7}, good(nil)),
		"jwk":                    forge(t, jwt.SigningMethodEdDSA, private, with("jwk", map[string]any{}), good(nil)),
		"jku":                    forge(t, jwt.SigningMethodEdDSA, private, with("jku", "https://x"), good(nil)),
		"crit":                   forge(t, jwt.SigningMethodEdDSA, private, with("crit", []string{"b64"}), good(nil)),
		"other issuer":           forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"iss": "other"})),
		"no issuer":              forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"iss": nil})),
		"other audience":         forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"aud": "other"})),
		"no audience":            forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"aud": nil})),
		"two audiences":          forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"aud": []string{"dualrec", "other"}})),
		"no expiry":              forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"exp": nil})),
		"no issue":               forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"iat": nil})),
		"longer than a day":      forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"exp": start.Add(25 * time.Hour).Unix()})),
		"not yet":                forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"nbf": start.Add(time.Hour).Unix()})),
		"unknown role":           forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"role": "ROOT"})),
		"no role":                forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"role": nil})),
		"no tenant":              forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"tenant": nil})),
		"no subject":             forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"sub": nil})),
		"queues is a text":       forge(t, jwt.SigningMethodEdDSA, private, kid, good(map[string]any{"queues": "*"})),
		"empty":                  "",
		"dots":                   "..",
		"oversized":              strings.Repeat("a", auth.MaxCredential+1),
	} {
		if p, err := c.Verify(t.Context(), token); !errors.Is(err, auth.ErrUnauthenticated) || p.Subject != "" {
			t.Errorf("%s: %+v, %v, want ErrUnauthenticated", name, p, err)
		}
	}
}

func TestEveryCharacterCounts(t *testing.T) {
	t.Parallel()
	c := codec(t, start, key(t, 1))
	token := issue(t, c)
	for i := range len(token) {
		for _, r := range []byte("A_z9.=") {
			other := token[:i] + string([]byte{r}) + token[i+1:]
			if other == token {
				continue
			}
			if _, err := c.Verify(t.Context(), other); !errors.Is(err, auth.ErrUnauthenticated) {
				t.Fatalf("character %d changed to %q: %v", i, r, err)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 31, 33} {
		if _, err := usertoken.NewKey(make([]byte, n)); !errors.Is(err, usertoken.ErrKey) {
			t.Errorf("seed of %d bytes: %v", n, err)
		}
		if _, err := usertoken.PublicKey(make([]byte, n)); !errors.Is(err, usertoken.ErrKey) {
			t.Errorf("public key of %d bytes: %v", n, err)
		}
	}
	if _, err := usertoken.NewRing(usertoken.Key{}); !errors.Is(err, usertoken.ErrKey) {
		t.Errorf("zero key: %v", err)
	}
	if _, err := usertoken.New("", nil, nil); err == nil {
		t.Error("a codec without audience and ring")
	}
	var out bytes.Buffer
	k := key(t, 'a')
	fmt.Fprintf(&out, "%v %+v %#v %s", k, k, k, k)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "key", k)
	j, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	for _, form := range []string{"abcdefgh", "97 98 99", "61626364", base64.StdEncoding.EncodeToString(seed('a')[:9])} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the key shows as %q in %s", form, out.String())
		}
	}
}

func FuzzVerify(f *testing.F) {
	k := key(f, 1)
	c := codec(f, start, k)
	token := issue(f, c)
	f.Add(token)
	f.Add(token[:len(token)-1])
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, other string) {
		p, err := c.Verify(t.Context(), other)
		if err != nil {
			if !errors.Is(err, auth.ErrUnauthenticated) {
				t.Errorf("%q: %v", other, err)
			}
			return
		}
		// Whatever is accepted was signed with this key, by the word of crypto/ed25519.
		dot := strings.LastIndexByte(other, '.')
		sig, err := base64.RawURLEncoding.Strict().DecodeString(other[dot+1:])
		if err != nil || !ed25519.Verify(k.Public(), []byte(other[:dot]), sig) {
			t.Errorf("accepted %q as %+v", other, p)
		}
	})
}
