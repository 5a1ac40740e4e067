package playback

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

func testKey(t testing.TB, first byte) Key {
	t.Helper()
	secret := make([]byte, 32)
	for i := range secret {
		secret[i] = first + byte(i)
	}
	k, err := NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testSigner(t testing.TB, current Key, older ...Key) *Signer {
	t.Helper()
	ring, err := NewKeyring(current, older...)
	if err != nil {
		t.Fatal(err)
	}
	return NewSigner(ring)
}

var issued = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testGrant() Grant {
	id := grantIDText.EncodeToString([]byte("\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f"))
	return Grant{ID: id, TenantID: "t1", RecordingID: "rec-1", Asset: Video, Viewer: "alice", Purpose: "review",
		IssuedAt: issued, ExpiresAt: issued.Add(15 * time.Minute), Disposition: Inline}
}

func mustSign(t testing.TB, s *Signer, g Grant) string {
	t.Helper()
	path, err := s.Sign(g)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestKnownAnswer pins the format; the same words stand in docs/formats/signed-url.md.
func TestKnownAnswer(t *testing.T) {
	t.Parallel()
	const want = "/media/v1/ATmMxpkBm3y3SCiAgYKDhIWGh4iJiouMjY6PjwUhwi98ezMppIiIPnyIxKNJFtj_iCWlIOWR6n9YUmR0gZNAX_7DkdCy8JchZWwu/video.mp4"
	g := testGrant()
	got := mustSign(t, testSigner(t, testKey(t, 0)), g)
	if got != want {
		t.Errorf("signed path %s, want %s", got, want)
	}
	spec, err := os.ReadFile("../docs/formats/signed-url.md")
	if err != nil {
		t.Fatal(err)
	}
	id, err := decodeGrantID(g.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, fact := range []string{want, g.ID, testKey(t, 0).ID(), hex.EncodeToString(g.binding(id))} {
		if !bytes.Contains(spec, []byte(fact)) {
			t.Errorf("docs/formats/signed-url.md does not say %s", fact)
		}
	}
}

func TestSignThenVerify(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testKey(t, 0))
	for name, change := range map[string]func(*Grant){
		"plain":      func(*Grant) {},
		"audio":      func(g *Grant) { g.Asset = Audio },
		"waveform":   func(g *Grant) { g.Asset = Waveform },
		"address":    func(g *Grant) { g.IP = netip.MustParseAddr("2001:db8::1") },
		"attachment": func(g *Grant) { g.Disposition = Attachment },
		"no purpose": func(g *Grant) { g.Purpose = "" },
		"long names": func(g *Grant) { g.TenantID, g.Viewer = strings.Repeat("t", maxField), strings.Repeat("é", maxField/2) },
		"far future": func(g *Grant) { g.ExpiresAt = time.UnixMilli(1<<48 - 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := testGrant()
			change(&g)
			path := mustSign(t, s, g)
			if len(path) > 130 {
				t.Errorf("path of %d characters", len(path))
			}
			c, err := s.Verify(path, issued)
			if err != nil || c.GrantID != g.ID || !c.ExpiresAt.Equal(g.ExpiresAt) || !c.Matches(g) {
				t.Errorf("verified as %+v, %v", c, err)
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testKey(t, 0))
	for name, change := range map[string]func(*Grant){
		"no id":              func(g *Grant) { g.ID = "" },
		"id in capitals":     func(g *Grant) { g.ID = strings.ToUpper(g.ID) },
		"id with other bits": func(g *Grant) { g.ID = g.ID[:25] + "v" },
		"no tenant":          func(g *Grant) { g.TenantID = "" },
		"no recording":       func(g *Grant) { g.RecordingID = "" },
		"no viewer":          func(g *Grant) { g.Viewer = "" },
		"long tenant":        func(g *Grant) { g.TenantID = strings.Repeat("t", maxField+1) },
		"not UTF-8":          func(g *Grant) { g.Purpose = "\xff" },
		"zero byte":          func(g *Grant) { g.Viewer = "a\x00b" },
		"unknown asset":      func(g *Grant) { g.Asset = "spool" },
		"unknown shape":      func(g *Grant) { g.Disposition = "form-data" },
		"no time":            func(g *Grant) { g.ExpiresAt = g.IssuedAt },
		"before 1970":        func(g *Grant) { g.IssuedAt = time.Time{} },
		"after 10889":        func(g *Grant) { g.ExpiresAt = time.UnixMilli(1 << 48) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := testGrant()
			change(&g)
			if path, err := s.Sign(g); !errors.Is(err, ErrRequest) && !errors.Is(err, ErrForbidden) || path != "" {
				t.Errorf("signed as %q, %v", path, err)
			}
		})
	}
}

func TestEveryCharacterCounts(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testKey(t, 0))
	path := mustSign(t, s, testGrant())
	for i := range len(path) {
		for c := range rune(256) {
			tampered := path[:i] + string([]byte{byte(c)}) + path[i+1:]
			if tampered == path {
				continue
			}
			if _, err := s.Verify(tampered, issued); !errors.Is(err, ErrForbidden) {
				t.Fatalf("character %d changed from %q to %q: %v", i, path[i], c, err)
			}
		}
		for what, tampered := range map[string]string{"cut": path[:i], "dropped": path[:i] + path[i+1:], "doubled": path[:i+1] + path[i:]} {
			if _, err := s.Verify(tampered, issued); !errors.Is(err, ErrForbidden) {
				t.Fatalf("character %d %s: %v", i, what, err)
			}
		}
	}
}

func TestVerifyRefusesOtherForms(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testKey(t, 0))
	path := mustSign(t, s, testGrant())
	token := strings.TrimSuffix(strings.TrimPrefix(path, PathPrefix), "/video.mp4")
	for name, other := range map[string]string{
		"empty":           "",
		"no prefix":       token + "/video.mp4",
		"no name":         PathPrefix + token,
		"empty name":      PathPrefix + token + "/",
		"other name":      PathPrefix + token + "/audio.m4a",
		"deeper":          path + "/x",
		"slash at end":    path + "/",
		"query":           path + "?x=1",
		"padded":          PathPrefix + token + "==/video.mp4",
		"newline":         PathPrefix + token[:50] + "\n" + token[50:] + "/video.mp4",
		"newline instead": PathPrefix + token[:50] + "\n" + token[51:] + "/video.mp4",
		"percent":         strings.Replace(path, "video", "vide%6f", 1),
		"oversized":       path + strings.Repeat("x", 1<<20),
		"zero token":      PathPrefix + strings.Repeat("A", tokenChars) + "/video.mp4",
	} {
		if c, err := s.Verify(other, issued); !errors.Is(err, ErrForbidden) || c.GrantID != "" {
			t.Errorf("%s: verified as %+v, %v", name, c, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testKey(t, 0))
	g := testGrant()
	path := mustSign(t, s, g)
	for _, c := range []struct {
		at   time.Duration
		want error
	}{{0, nil}, {15*time.Minute - time.Millisecond, nil}, {15 * time.Minute, ErrExpired}, {time.Hour, ErrExpired}} {
		claim, err := s.Verify(path, issued.Add(c.at))
		if !errors.Is(err, c.want) || claim.GrantID != g.ID {
			t.Errorf("after %v: %+v, %v, want %v", c.at, claim, err, c.want)
		}
	}
	forged := testSigner(t, testKey(t, 1))
	if _, err := forged.Verify(path, issued.Add(time.Hour)); errors.Is(err, ErrExpired) {
		t.Error("EXPIRED was said about a URL that this ring did not sign")
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	first, second, third := testKey(t, 1), testKey(t, 2), testKey(t, 3)
	s := testSigner(t, first)
	old := mustSign(t, s, testGrant())
	use := func(current Key, older ...Key) {
		t.Helper()
		ring, err := NewKeyring(current, older...)
		if err != nil {
			t.Fatal(err)
		}
		s.Use(ring)
	}
	use(second, first)
	fresh := mustSign(t, s, testGrant())
	if fresh == old {
		t.Error("the new key does not sign")
	}
	for _, path := range []string{old, fresh} {
		if _, err := s.Verify(path, issued); err != nil {
			t.Errorf("with both keys: %v", err)
		}
	}
	use(third, second)
	if _, err := s.Verify(old, issued); !errors.Is(err, ErrForbidden) {
		t.Errorf("the removed key still verifies: %v", err)
	}
	if _, err := s.Verify(fresh, issued); err != nil {
		t.Errorf("the older key: %v", err)
	}
}

func TestClaimMatchesOnlyItsGrant(t *testing.T) {
	t.Parallel()
	s := testSigner(t, testKey(t, 0))
	c, err := s.Verify(mustSign(t, s, testGrant()), issued)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range grantChanges() {
		g := testGrant()
		change(&g)
		if c.Matches(g) {
			t.Errorf("matches a row with another %s", name)
		}
	}
	if !c.Matches(testGrant()) {
		t.Error("does not match its own grant")
	}
}

// grantChanges change one field each.
func grantChanges() map[string]func(*Grant) {
	return map[string]func(*Grant){
		"id":          func(g *Grant) { g.ID = NewGrantID(issued) },
		"tenant":      func(g *Grant) { g.TenantID = "t2" },
		"recording":   func(g *Grant) { g.RecordingID = "rec-2" },
		"asset":       func(g *Grant) { g.Asset = Waveform },
		"viewer":      func(g *Grant) { g.Viewer = "bob" },
		"purpose":     func(g *Grant) { g.Purpose = "" },
		"issue":       func(g *Grant) { g.IssuedAt = g.IssuedAt.Add(time.Millisecond) },
		"expiry":      func(g *Grant) { g.ExpiresAt = g.ExpiresAt.Add(time.Hour) },
		"address":     func(g *Grant) { g.IP = netip.MustParseAddr("192.0.2.1") },
		"disposition": func(g *Grant) { g.Disposition = Attachment },
		"border":      func(g *Grant) { g.TenantID, g.RecordingID = "t1r", "ec-1" },
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string][]byte{"none": nil, "short": bytes.Repeat([]byte{1, 2}, 15), "constant": make([]byte, 32)} {
		if _, err := NewKey(secret); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v, want ErrKey", name, err)
		}
	}
	if _, err := NewKeyring(Key{}); !errors.Is(err, ErrKey) {
		t.Errorf("zero key: %v, want ErrKey", err)
	}
	twin := testKey(t, 9)
	twin.id = testKey(t, 1).id
	if _, err := NewKeyring(testKey(t, 1), twin); !errors.Is(err, ErrKey) {
		t.Errorf("two keys of one id: %v, want ErrKey", err)
	}
	if _, err := NewKeyring(testKey(t, 1), testKey(t, 1)); err != nil {
		t.Errorf("the same key twice: %v", err)
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	secret := []byte("a secret of thirty-two characters")
	k, err := NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s %q %x", k, k, k, k, k, k)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("key", "key", k)
	j, err := json.Marshal(struct{ K Key }{k})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	for _, form := range []string{string(secret[:8]), hex.EncodeToString(secret[:8]), fmt.Sprint(secret[:4])} {
		if strings.Contains(out.String(), strings.Trim(form, "[]")) {
			t.Errorf("the key shows as %q in %s", form, out.String())
		}
	}
}

func TestGrantIDsSortByTime(t *testing.T) {
	t.Parallel()
	last := ""
	seen := map[string]bool{}
	for i := range 1000 {
		id := NewGrantID(issued.Add(time.Duration(i) * time.Millisecond))
		if id <= last || seen[id] || len(id) != 26 {
			t.Fatalf("id %s after %s", id, last)
		}
		last, seen[id] = id, true
	}
}

func FuzzVerify(f *testing.F) {
	s := testSigner(f, testKey(f, 0))
	path := mustSign(f, s, testGrant())
	f.Add(path)
	f.Add(path + "/")
	f.Add(PathPrefix)
	f.Add(PathPrefix + strings.Repeat("A", tokenChars) + "/video.mp4")
	f.Add(strings.Replace(path, "/v1/", "/v2/", 1))
	f.Fuzz(func(t *testing.T, other string) {
		c, err := s.Verify(other, issued)
		if err == nil && other != path {
			t.Errorf("accepted %q as %+v", other, c)
		}
		if err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%q: %v", other, err)
		}
	})
}
