package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/auth"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// store is a KeyStore and TokenVerifier in memory.
type store struct {
	mu      sync.Mutex
	keys    map[string]auth.KeyRecord
	tokens  map[string]auth.Principal
	err     error
	lookups int
	now     time.Time
	used    []string
}

func (s *store) Lookup(_ context.Context, keyID string) (auth.KeyRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookups++
	if s.err != nil {
		return auth.KeyRecord{}, s.err
	}
	rec, ok := s.keys[keyID]
	if !ok {
		return auth.KeyRecord{}, auth.ErrKeyNotFound
	}
	return rec, nil
}

func (s *store) Verify(_ context.Context, token string) (auth.Principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return auth.Principal{}, s.err
	}
	p, ok := s.tokens[token]
	if !ok {
		return auth.Principal{}, fmt.Errorf("%w: unknown token", auth.ErrUnauthenticated)
	}
	return p, nil
}

func (s *store) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *store) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

func (s *store) addKey(change func(*auth.KeyRecord)) string {
	display, id, hash := auth.NewAPIKey()
	rec := auth.KeyRecord{KeyID: id, Hash: hash, TenantID: "t1", Subject: "sfu", Role: auth.Service, Queues: []string{"*"}}
	if change != nil {
		change(&rec)
	}
	s.keys[id] = rec
	return display
}

var ann = auth.Principal{TenantID: "t1", Subject: "ann", Role: auth.Agent}

func newAuthenticator(t *testing.T, change func(*auth.Config)) (*auth.Authenticator, *store, *bytes.Buffer) {
	t.Helper()
	s := &store{keys: map[string]auth.KeyRecord{}, tokens: map[string]auth.Principal{"good.user.token": ann}, now: start}
	cfg := auth.DefaultConfig()
	cfg.Now = s.clock
	cfg.OnKeyUsed = func(_ context.Context, keyID string, at time.Time) {
		s.used = append(s.used, keyID+at.Format(" 15:04:05"))
	}
	if change != nil {
		change(&cfg)
	}
	log := &bytes.Buffer{}
	a, err := auth.New(cfg, s, s, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return a, s, log
}

var home = netip.MustParseAddr("192.0.2.1")

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	a, s, _ := newAuthenticator(t, nil)
	good := s.addKey(nil)
	foreign, _, _ := auth.NewAPIKey()
	id := good[3:19]
	wantPrincipal := auth.Principal{TenantID: "t1", Subject: "sfu", Role: auth.Service, KeyID: id, Queues: []string{"*"}}
	for _, c := range []struct {
		name, credential string
		want             *auth.Principal
	}{
		{"API key", good, &wantPrincipal},
		{"user token", "good.user.token", &ann},
		{"key that ends later", s.addKey(func(r *auth.KeyRecord) { r.ExpiresAt = start.Add(time.Second) }), nil},
		{"nothing", "", nil},
		{"unknown key", foreign, nil},
		{"wrong secret", s.addKey(func(r *auth.KeyRecord) { r.Hash = make([]byte, 32) }), nil},
		{"no hash", s.addKey(func(r *auth.KeyRecord) { r.Hash = nil }), nil},
		{"record of another id", s.addKey(func(r *auth.KeyRecord) { r.KeyID = id }), nil},
		{"mistyped key", good[:59], nil},
		{"revoked", s.addKey(func(r *auth.KeyRecord) { r.Revoked = true }), nil},
		{"expired", s.addKey(func(r *auth.KeyRecord) { r.ExpiresAt = start }), nil},
		{"from another network", s.addKey(func(r *auth.KeyRecord) { r.Networks = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }), nil},
		{"unknown token", "x.y.z", nil},
		{"oversized", "good.user.token" + strings.Repeat(" ", auth.MaxCredential), nil},
	} {
		p, err := a.Authenticate(t.Context(), c.credential, home)
		if c.name == "key that ends later" {
			if err != nil || !p.ExpiresAt.Equal(start.Add(time.Second)) {
				t.Errorf("%s: %+v, %v", c.name, p, err)
			}
			continue
		}
		if c.want == nil {
			if !errors.Is(err, auth.ErrUnauthenticated) || p.Subject != "" {
				t.Errorf("%s: %+v, %v, want ErrUnauthenticated", c.name, p, err)
			}
			continue
		}
		if err != nil || fmt.Sprint(p) != fmt.Sprint(*c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, p, err, *c.want)
		}
	}
}

func TestKeyOfANetwork(t *testing.T) {
	t.Parallel()
	a, s, _ := newAuthenticator(t, nil)
	key := s.addKey(func(r *auth.KeyRecord) {
		r.Networks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8::/32")}
	})
	for from, good := range map[string]bool{"192.0.2.1": true, "::ffff:192.0.2.15": true, "2001:db8::1%eth0": true,
		"192.0.2.16": false, "2001:db9::1": false, "127.0.0.1": false} {
		p, err := a.Authenticate(t.Context(), key, netip.MustParseAddr(from))
		if good != (err == nil) || !good && !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%s: %v", from, err)
		}
		if good && (!p.Near(netip.MustParseAddr("192.0.2.2")) || p.Near(netip.MustParseAddr("10.0.0.1"))) {
			t.Errorf("%s: the principal does not know its networks: %v", from, p.Networks)
		}
	}
	if _, err := a.Authenticate(t.Context(), key, netip.Addr{}); !errors.Is(err, auth.ErrUnauthenticated) {
		t.Errorf("from nowhere: %v", err)
	}
	if !ann.Near(home) {
		t.Error("a principal without networks is confined")
	}
}

func TestFaultsAreNotTheCallers(t *testing.T) {
	t.Parallel()
	a, s, log := newAuthenticator(t, func(c *auth.Config) { c.FailureBurst = 1 })
	good := s.addKey(nil)
	bad := s.addKey(func(r *auth.KeyRecord) { r.Role = "ROOT" })
	if _, err := a.Authenticate(t.Context(), bad, home); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("a record with an unknown role: %v, want ErrUnavailable", err)
	}
	s.err = errors.New("secret-db.internal is down")
	for _, credential := range []string{good, "some.user.token"} {
		for range 5 { // and they are never throttled
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+credential)
			a.Middleware(http.NotFoundHandler()).ServeHTTP(w, r)
			if w.Code != 503 || w.Body.String() != `{"error":{"code":"UNAVAILABLE"}}`+"\n" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
		}
	}
	if !strings.Contains(log.String(), "secret-db.internal") || strings.Contains(log.String(), good[20:]) {
		t.Errorf("log %s: want the fault and no credential", log)
	}
}

func TestMalformedKeysCostNoLookup(t *testing.T) {
	t.Parallel()
	a, s, _ := newAuthenticator(t, nil)
	display, _, _ := auth.NewAPIKey()
	for _, key := range []string{"dr_", "dr_x_y", display[:59], display[:59] + "!"} {
		if _, err := a.Authenticate(t.Context(), key, home); !errors.Is(err, auth.ErrUnauthenticated) {
			t.Error(err)
		}
	}
	if s.lookups != 0 {
		t.Errorf("%d look-ups", s.lookups)
	}
}

func TestLastUsed(t *testing.T) {
	t.Parallel()
	a, s, _ := newAuthenticator(t, nil)
	first, second := s.addKey(nil), s.addKey(nil)
	use := func(credentials ...string) {
		for _, c := range credentials {
			if _, err := a.Authenticate(t.Context(), c, home); err != nil {
				t.Fatal(err)
			}
		}
	}
	use(first, first, second, "good.user.token")
	s.wait(59 * time.Second)
	use(first)
	s.wait(time.Second)
	use(first)
	want := []string{first[3:19] + " 03:04:05", second[3:19] + " 03:04:05", first[3:19] + " 03:05:05"}
	if !slices.Equal(s.used, want) {
		t.Errorf("told of %v, want %v", s.used, want)
	}
}

func throttled(err error) time.Duration {
	var te *auth.ThrottledError
	if errors.As(err, &te) {
		return te.RetryAfter
	}
	return 0
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	a, s, _ := newAuthenticator(t, func(c *auth.Config) { c.FailureBurst, c.FailurePay = 3, 10*time.Second })
	try := func(credential string, from string) error {
		_, err := a.Authenticate(t.Context(), credential, netip.MustParseAddr(from))
		return err
	}
	fails := func(what, from string) {
		t.Helper()
		if err := try("bad", from); !errors.Is(err, auth.ErrUnauthenticated) || throttled(err) != 0 {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := range 3 {
		fails(fmt.Sprintf("failure %d", i+1), "192.0.2.1")
	}
	for range 5 { // trying does not make it longer
		if err := try("bad", "192.0.2.1"); throttled(err) != 10*time.Second || !errors.Is(err, auth.ErrUnauthenticated) {
			t.Fatalf("the fourth: %v, want to wait 10s", err)
		}
	}
	if throttled(try("bad", "::ffff:192.0.2.1")) == 0 {
		t.Error("the same address in another notation is not throttled")
	}
	fails("another address", "192.0.2.2")
	s.wait(10 * time.Second)
	fails("after one was paid", "192.0.2.1")
	if throttled(try("bad", "192.0.2.1")) == 0 {
		t.Error("one was paid and two passed")
	}
	s.wait(time.Hour)
	for range 3 {
		fails("after all was paid", "192.0.2.1")
	}
}

// Whoever fails behind the address of a proxy must not lock out the others behind it, known or not.
func TestGoodCredentialsAreNeverThrottled(t *testing.T) {
	t.Parallel()
	a, s, _ := newAuthenticator(t, func(c *auth.Config) { c.FailureBurst = 1 })
	for range 25 {
		_, _ = a.Authenticate(t.Context(), "bad", home) // refused: see TestThrottle
	}
	for _, credential := range []string{s.addKey(nil), "good.user.token"} {
		if p, err := a.Authenticate(t.Context(), credential, home); err != nil || p.TenantID != "t1" {
			t.Errorf("%+v, %v", p, err)
		}
	}
	if _, err := a.Authenticate(t.Context(), "bad", home); throttled(err) == 0 {
		t.Errorf("a good credential has cleared the address: %v", err)
	}
}

func TestRevokedKeyIsThrottled(t *testing.T) {
	t.Parallel()
	a, s, _ := newAuthenticator(t, func(c *auth.Config) { c.FailureBurst, c.FailurePay = 1, time.Minute })
	key := s.addKey(nil)
	if _, err := a.Authenticate(t.Context(), key, home); err != nil {
		t.Fatal(err)
	}
	rec := s.keys[key[3:19]]
	rec.Revoked = true
	s.keys[key[3:19]] = rec
	if _, err := a.Authenticate(t.Context(), key, home); !errors.Is(err, auth.ErrUnauthenticated) || throttled(err) != 0 {
		t.Fatal(err)
	}
	if _, err := a.Authenticate(t.Context(), key, home); throttled(err) == 0 {
		t.Errorf("a revoked key is not throttled: %v", err)
	}
}

func TestThrottleTakesIPv6CustomersAsOne(t *testing.T) {
	t.Parallel()
	a, _, _ := newAuthenticator(t, func(c *auth.Config) { c.FailureBurst = 1 })
	try := func(from string) error {
		_, err := a.Authenticate(t.Context(), "bad", netip.MustParseAddr(from))
		return err
	}
	if err := try("2001:db8:1:2::1"); throttled(err) != 0 {
		t.Fatal(err)
	}
	if err := try("2001:db8:1:2:ffff::2"); throttled(err) == 0 {
		t.Error("the same /64 was not throttled")
	}
	if err := try("2001:db8:1:3::1"); throttled(err) != 0 {
		t.Error("another /64 was throttled")
	}
}

func TestThrottleMemoryIsBounded(t *testing.T) {
	t.Parallel()
	a, _, _ := newAuthenticator(t, func(c *auth.Config) { c.FailureBurst, c.MaxSources = 1, 10 })
	try := func(i int) error {
		_, err := a.Authenticate(t.Context(), "bad", netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		return err
	}
	for i := range 1000 {
		if err := try(i); throttled(err) != 0 {
			t.Fatalf("address %d: %v", i, err)
		}
	}
	if throttled(try(995)) == 0 {
		t.Error("a recent address was forgotten")
	}
	if throttled(try(1)) != 0 {
		t.Error("1000 addresses are remembered, the limit is 10")
	}
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		header   []string
		optional bool
		status   int
		subject  string
	}{
		{"token", []string{"Bearer good.user.token"}, false, 200, "ann"},
		{"scheme in small letters", []string{"bearer good.user.token"}, false, 200, "ann"},
		{"more spaces", []string{"Bearer   good.user.token "}, false, 200, "ann"},
		{"none", nil, false, 401, ""},
		{"none where optional", nil, true, 200, ""},
		{"bad where optional", []string{"Bearer bad"}, true, 401, ""},
		{"empty where optional", []string{""}, true, 401, ""},
		{"good where optional", []string{"Bearer good.user.token"}, true, 200, "ann"},
		{"two headers", []string{"Bearer good.user.token", "Bearer good.user.token"}, false, 401, ""},
		{"no scheme", []string{"good.user.token"}, false, 401, ""},
		{"basic", []string{"Basic good.user.token"}, false, 401, ""},
		{"unknown", []string{"Bearer bad"}, false, 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, _, _ := newAuthenticator(t, nil)
			var subject string
			next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				p, ok := auth.From(r.Context())
				if ok != (p.Subject != "") {
					t.Errorf("From says %t of %+v", ok, p)
				}
				subject = p.Subject
			})
			h := a.Middleware(next)
			if c.optional {
				h = a.Optional(next)
			}
			r := httptest.NewRequest("POST", "/graphql?access_token=good.user.token", nil)
			for _, v := range c.header {
				r.Header.Add("Authorization", v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status || subject != c.subject {
				t.Errorf("status %d, subject %q, want %d and %q", w.Code, subject, c.status, c.subject)
			}
			if c.status == 401 && (w.Body.String() != `{"error":{"code":"UNAUTHENTICATED"}}`+"\n" || w.Header().Get("WWW-Authenticate") != `Bearer realm="dualrec"` ||
				w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store") {
				t.Errorf("refusal %s %v", w.Body, w.Header())
			}
		})
	}
}

func TestMiddlewareThrottles(t *testing.T) {
	t.Parallel()
	a, _, _ := newAuthenticator(t, func(c *auth.Config) { c.FailureBurst, c.FailurePay = 1, 1500*time.Millisecond })
	h := a.Middleware(http.NotFoundHandler())
	var w *httptest.ResponseRecorder
	for range 2 {
		w = httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	}
	if w.Code != 429 || w.Header().Get("Retry-After") != "2" || w.Body.String() != `{"error":{"code":"THROTTLED"}}`+"\n" {
		t.Errorf("%d, Retry-After %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
}

func TestConnectionInit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		payload map[string]any
		good    bool
	}{
		{"good", map[string]any{"Authorization": "Bearer good.user.token"}, true},
		{"small letters", map[string]any{"authorization": "bearer good.user.token", "other": 1}, true},
		{"none", nil, false},
		{"empty", map[string]any{}, false},
		{"bare token", map[string]any{"Authorization": "good.user.token"}, false},
		{"number", map[string]any{"Authorization": 7}, false},
		{"list", map[string]any{"Authorization": []any{"Bearer good.user.token"}}, false},
		{"twice", map[string]any{"Authorization": "Bearer good.user.token", "authorization": "Bearer bad"}, false},
		{"headers inside", map[string]any{"headers": map[string]any{"Authorization": "Bearer good.user.token"}}, false},
	} {
		a, _, _ := newAuthenticator(t, nil)
		p, err := a.ConnectionInit(t.Context(), c.payload, home)
		if c.good && (err != nil || p.Subject != "ann") || !c.good && !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
}

func TestClientIP(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"direct", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"direct, lying", "192.0.2.1:1234", []string{"203.0.113.9"}, "192.0.2.1"},
		{"one proxy", "10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		{"two proxies", "10.0.0.1:1", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		{"lying behind a proxy", "10.0.0.1:1", []string{"203.0.113.9, 192.0.2.1"}, "192.0.2.1"},
		{"several headers", "10.0.0.1:1", []string{"203.0.113.9", "192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		{"IPv6 proxy", "[fd00::1]:1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"mapped", "[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"proxies only", "10.0.0.1:1", []string{"10.0.0.3"}, "10.0.0.3"},
		{"garbage", "10.0.0.1:1", []string{"192.0.2.1, unknown"}, "10.0.0.1"},
		{"no header", "10.0.0.1:1", nil, "10.0.0.1"},
		{"no peer", "@", []string{"192.0.2.1"}, "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		for _, v := range c.forwarded {
			r.Header.Add("X-Forwarded-For", v)
		}
		if got := auth.ClientIP(proxies)(r); got.String() != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

func TestVerifiers(t *testing.T) {
	t.Parallel()
	none := &store{}
	has := &store{tokens: map[string]auth.Principal{"x": ann}}
	down := &store{err: errors.New("down")}
	for _, c := range []struct {
		name string
		vs   auth.Verifiers
		want error
	}{
		{"first", auth.Verifiers{has, down}, nil}, {"second", auth.Verifiers{none, has}, nil},
		{"none", auth.Verifiers{none, none}, auth.ErrUnauthenticated}, {"no verifier", nil, auth.ErrUnauthenticated}, {"fault", auth.Verifiers{none, down, has}, down.err},
	} {
		p, err := c.vs.Verify(t.Context(), "x")
		if !errors.Is(err, c.want) || (err == nil) != (p.Subject == "ann") {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
}

func TestPrincipalValidate(t *testing.T) {
	t.Parallel()
	if err := ann.Validate(); err != nil {
		t.Error(err)
	}
	bad := auth.Principal{Subject: strings.Repeat("x", 257), Role: "ROOT", Queues: []string{"ok", "a\x00"}}
	err := bad.Validate()
	for _, field := range []string{"tenant", "subject", "role", "queue"} {
		if !errors.Is(err, auth.ErrPrincipal) || !strings.Contains(err.Error(), field) {
			t.Errorf("%v does not name %s", err, field)
		}
	}
	if err := (auth.Principal{TenantID: "t", Subject: "s", Role: auth.Admin, Queues: make([]string, 1001)}).Validate(); err == nil {
		t.Error("1001 queues were accepted")
	}
	if _, ok := auth.From(t.Context()); ok {
		t.Error("a bare context has a principal")
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := auth.New(auth.Config{UsedEvery: -1}, nil, nil, nil)
	for _, problem := range []string{"burst", "weight", "sources", "uses", "required"} {
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%v does not name %s", err, problem)
		}
	}
}

func FuzzCredential(f *testing.F) {
	display, id, hash := auth.NewAPIKey()
	s := &store{keys: map[string]auth.KeyRecord{id: {KeyID: id, Hash: hash, TenantID: "t", Subject: "s", Role: auth.Service}}, now: start}
	cfg := auth.DefaultConfig()
	cfg.Now = func() time.Time { s.wait(time.Hour); return s.clock() }
	a, err := auth.New(cfg, s, s, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer " + display)
	f.Add("Bearer " + display + " x")
	f.Add("Bearer")
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = []string{header}
		if p, err := a.FromRequest(r); err == nil && !strings.Contains(header, display) {
			t.Errorf("%q is %+v", header, p)
		} else if err != nil && !errors.Is(err, auth.ErrUnauthenticated) {
			t.Errorf("%q: %v", header, err)
		}
	})
}
