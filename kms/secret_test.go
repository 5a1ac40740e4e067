package kms

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// TestKeysDoNotPrintInsideOthers tries every verb and encoder, also on structs that hold a key in an unexported field.
func TestKeysDoNotPrintInsideOthers(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte{0xab}, KeySize)
	key, err := DataKeyFromBytes(secret)
	if err != nil {
		t.Fatal(err)
	}
	file, err := key.FileKey("f", "r")
	if err != nil {
		t.Fatal(err)
	}
	type holder struct {
		d DataKey
		f FileKey
		E DataKey
	}
	h := holder{key, file, key}
	var out strings.Builder
	for _, v := range []any{key, file, &key, &file, h, &h, []DataKey{key}, map[string]FileKey{"x": file}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Fatal(err)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", v)
	}
	for _, bad := range []string{"171 171", "abab", "ABAB", "0xab", hex.EncodeToString(file.Bytes())[:8], fmt.Sprint(file.Bytes()[:3])[1:10]} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("a key was printed: %q in\n%s", bad, out.String())
		}
	}
}

func TestFileKeysDifferByFileAndRole(t *testing.T) {
	t.Parallel()
	a, err := NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, in := range [][2]string{{"f1", "blob"}, {"f2", "blob"}, {"f1", "journal"}, {"", "blob"}} {
		k, err := a.FileKey(in[0], in[1])
		if err != nil {
			t.Fatal(err)
		}
		if prev, ok := seen[string(k.Bytes())]; ok {
			t.Errorf("%v has the key of %s", in, prev)
		}
		seen[string(k.Bytes())] = fmt.Sprint(in)
	}
	if _, err := (DataKey{}).FileKey("f", "r"); err == nil {
		t.Error("the zero data key derived a file key")
	}
}
