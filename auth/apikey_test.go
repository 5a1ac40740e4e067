package auth

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestAPIKeyKnownAnswer pins the format; the same words stand in docs/formats/credentials.md.
func TestAPIKeyKnownAnswer(t *testing.T) {
	t.Parallel()
	const wantKey = "dr_aaaqeayeaudaocaj_bifqydiob4ibceqtcqkrmfyydenbwha5lelu4q6o"
	const wantHash = "ad533e7b972d54ffd2afd04b7f6dee9910fa5ecded76533403edf79cdc0a6bee"
	var id [keyIDBytes]byte
	var secret [secretBytes]byte
	for i := range id {
		id[i] = byte(i)
	}
	for i := range secret {
		secret[i] = byte(10 + i)
	}
	display, keyID, hash := formatAPIKey(id, secret)
	if display != wantKey || hex.EncodeToString(hash) != wantHash || keyID != wantKey[3:19] {
		t.Errorf("key %s, id %s, hash %x", display, keyID, hash)
	}
	spec, err := os.ReadFile("../docs/formats/credentials.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, fact := range []string{wantKey, wantHash} {
		if !bytes.Contains(spec, []byte(fact)) {
			t.Errorf("docs/formats/credentials.md does not say %s", fact)
		}
	}
}

func TestNewAPIKey(t *testing.T) {
	t.Parallel()
	scanner := regexp.MustCompile(`\bdr_[a-z2-7]{16}_[a-z2-7]{40}\b`)
	seen := map[string]bool{}
	for range 200 {
		display, keyID, hash := NewAPIKey()
		k, err := ParseAPIKey(display)
		if err != nil || k.ID != keyID || !k.Matches(hash) || seen[keyID] || seen[display] {
			t.Fatalf("key %s: %+v, %v", display, k, err)
		}
		if got := scanner.FindString("token=" + display + ";"); got != display {
			t.Errorf("a secret scanner finds %q in %s", got, display)
		}
		seen[keyID], seen[display] = true, true
		_, _, other := NewAPIKey()
		if k.Matches(other) || k.Matches(nil) || k.Matches(hash[:31]) {
			t.Fatal("matches another hash")
		}
	}
}

func TestEveryCharacterOfAnAPIKeyCounts(t *testing.T) {
	t.Parallel()
	display, _, hash := NewAPIKey()
	for i := range len(display) {
		for c := range 256 {
			other := display[:i] + string([]byte{byte(c)}) + display[i+1:]
			if other == display {
				continue
			}
			if k, err := ParseAPIKey(other); err == nil || k.Matches(hash) {
				t.Fatalf("character %d changed to %q: %+v, %v", i, rune(c), k, err)
			}
		}
	}
}

func TestParseAPIKeySaysWhy(t *testing.T) {
	t.Parallel()
	display, _, _ := NewAPIKey()
	flipped := byte('a')
	if display[25] == flipped {
		flipped = 'b'
	}
	for name, c := range map[string]struct{ key, why string }{
		"empty":     {"", "begin with dr_"},
		"other":     {"sk_" + display[3:], "begin with dr_"},
		"cut":       {display[:59], "copied whole"},
		"longer":    {display + "a", "copied whole"},
		"space":     {display + " ", "copied whole"},
		"capitals":  {"dr_" + strings.ToUpper(display[3:]), "not one of a-z"},
		"shifted":   {display[:18] + "_" + display[18:19] + display[20:], "want dr_"},
		"mistyped":  {display[:25] + string([]byte{flipped}) + display[26:], "mistyped"},
		"line ends": {display[:3] + "\n\n" + display[5:], "want dr_"},
	} {
		_, err := ParseAPIKey(c.key)
		if !errors.Is(err, ErrAPIKey) || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), display[30:40]) {
			t.Errorf("%s: %v, want it to say %q and nothing of the key", name, err, c.why)
		}
	}
}

func FuzzParseAPIKey(f *testing.F) {
	f.Add("dr_aaaqeayeaudaocaj_bifqydiob4ibceqtcqkrmfyydenbwha5lelu4q6o")
	f.Add("dr_aaaqeayeaudaocaj_bifqydiob4ibceqtcqkrmfyydenbwha5lelu4q6")
	f.Add("dr__")
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseAPIKey(s)
		if err != nil {
			if !errors.Is(err, ErrAPIKey) {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if len(s) != apiKeyChars || s[3:19] != k.ID || strings.Trim(s[3:], "abcdefghijklmnopqrstuvwxyz234567_") != "" {
			t.Errorf("accepted %q as %s", s, k.ID)
		}
	})
}
