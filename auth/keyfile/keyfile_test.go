package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)

func TestLoadOrCreate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "url.keys")
	if _, err := Load(path, MediaURL); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	made, err := LoadOrCreate(path, MediaURL, start)
	if err != nil || len(made) != 1 || !made[0].Created.Equal(start.Truncate(time.Second)) || len(made[0].Bytes()) != 32 {
		t.Fatalf("made %v, %v", made, err)
	}
	again, err := LoadOrCreate(path, MediaURL, start.Add(time.Hour))
	if err != nil || len(again) != 1 || again[0] != made[0] {
		t.Errorf("the second start has other keys: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
	if _, err := Load(path, UserToken); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "media-url") {
		t.Errorf("keys of another purpose: %v", err)
	}
	if _, err := LoadOrCreate(filepath.Join(path, "below", "a-file"), MediaURL, start); err == nil {
		t.Error("a file was made below a file")
	}
}

func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "url.keys")
	var wg sync.WaitGroup
	var keys [8][]Key
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = LoadOrCreate(path, MediaURL, start); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if len(k) != 1 || k[0] != keys[0][0] {
			t.Fatal("two processes have different keys")
		}
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "url.keys")
	if _, err := Rotate(path, MediaURL, start, time.Hour); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v", err)
	}
	first, err := LoadOrCreate(path, MediaURL, start)
	if err != nil {
		t.Fatal(err)
	}
	rotate := func(after time.Duration) []Key {
		t.Helper()
		keys, err := Rotate(path, MediaURL, start.Add(after), 12*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := Load(path, MediaURL)
		if err != nil || fmt.Sprint(len(loaded), loaded[0].secret, loaded[len(loaded)-1].secret) != fmt.Sprint(len(keys), keys[0].secret, keys[len(keys)-1].secret) {
			t.Fatalf("the file holds %d keys, %v, want %d", len(loaded), err, len(keys))
		}
		return keys
	}
	second := rotate(100 * time.Hour)
	if len(second) != 2 || second[0] != first[0] {
		t.Fatalf("a key that signed until now was dropped: %d keys", len(second))
	}
	third := rotate(111 * time.Hour)
	if len(third) != 3 {
		t.Fatalf("%d keys, want 3: the first was replaced 11 h ago", len(third))
	}
	fourth := rotate(113 * time.Hour)
	if len(fourth) != 3 || fourth[0] != second[1] {
		t.Fatalf("%d keys, want 3: the first was replaced 13 h ago", len(fourth))
	}
	if back := rotate(0); back[len(back)-1].Created.Before(fourth[2].Created) {
		t.Error("a clock that was set back put the new key before an older one")
	}
}

func TestRefusesFiles(t *testing.T) {
	t.Parallel()
	line := "2026-01-02T03:04:05Z " + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)) + "\n"
	later := strings.Replace(line, "2026", "2027", 1)
	for name, text := range map[string]string{
		"empty":           "",
		"other file":      "hello\n" + line,
		"other version":   "dualrec-keys v2 media-url\n" + line,
		"no purpose":      "dualrec-keys v1 \n" + line,
		"no keys":         "dualrec-keys v1 media-url\n",
		"empty line":      "dualrec-keys v1 media-url\n" + line + "\n",
		"short key":       "dualrec-keys v1 media-url\n" + line[:60] + "\n",
		"long key":        "dualrec-keys v1 media-url\n" + strings.TrimSpace(line) + "A\n",
		"padding":         "dualrec-keys v1 media-url\n" + strings.TrimSpace(line) + "=\n",
		"unused bits":     "dualrec-keys v1 media-url\n" + line[:63] + "d\n",
		"no time":         "dualrec-keys v1 media-url\n" + line[21:],
		"backwards":       "dualrec-keys v1 media-url\n" + later + line,
		"too many":        "dualrec-keys v1 media-url\n" + strings.Repeat(line, 65),
		"too long":        "dualrec-keys v1 media-url\n" + strings.Repeat(line, 300),
		"too long a line": strings.Repeat("x", 70_000),
	} {
		if keys, err := parse(strings.NewReader(text), MediaURL); !errors.Is(err, ErrFile) || keys != nil {
			t.Errorf("%s: %d keys, %v, want ErrFile", name, len(keys), err)
		} else if strings.Contains(err.Error(), "BwcH") {
			t.Errorf("%s: %v shows a key", name, err)
		}
	}
	if keys, err := parse(strings.NewReader("dualrec-keys v1 media-url\n"+line+later), MediaURL); err != nil || len(keys) != 2 {
		t.Errorf("the well-made file: %d keys, %v", len(keys), err)
	}
}

func TestRefusesOpenModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("file modes say nothing there")
	}
	path := filepath.Join(t.TempDir(), "url.keys")
	if _, err := LoadOrCreate(path, MediaURL, start); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o666, 0o610} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreate(path, MediaURL, start); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := Load(t.TempDir(), MediaURL); err == nil {
		t.Error("a folder was read")
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	k := Key{Created: start, secret: [32]byte([]byte("abcdefghabcdefghabcdefghabcdefgh"))}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s", k, k, k, []Key{k})
	slog.New(slog.NewTextHandler(&out, nil)).Info("key", "key", k, "keys", []Key{k})
	if err := json.NewEncoder(&out).Encode(map[string]any{"k": k}); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"abcdefgh", "97", "YWJjZGVm", "0x61"} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the key shows as %q in %s", form, out.String())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("dualrec-keys v1 media-url\n2026-01-02T03:04:05Z BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\n"))
	f.Add([]byte("dualrec-keys v1 user-token\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parse(bytes.NewReader(text), MediaURL)
		if err == nil && (len(keys) == 0 || len(keys) > maxKeys) || err != nil && !errors.Is(err, ErrFile) {
			t.Errorf("%q: %d keys, %v", text, len(keys), err)
		}
	})
}
