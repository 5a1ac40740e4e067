// Package keyfile keeps signing keys in a small text file of mode 0600 (docs/formats/credentials.md): makes it at the first
// start, reads it, and rotates it. It does not know what the keys sign; a purpose in the file keeps them apart.
package keyfile

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Purpose says what a file's keys are for.
type Purpose string

// The purposes.
const (
	MediaURL  Purpose = "media-url"
	UserToken Purpose = "user-token"
)

const (
	magic    = "dualrec-keys v1 "
	keyBytes = 32
	maxKeys  = 64
	maxBytes = 16 << 10
)

// ErrFile marks a key file that cannot be used; the text says why and what to do, and shows no key.
var ErrFile = errors.New("auth/keyfile: key file refused")

// Key is one key of a file. It never prints its bytes.
type Key struct {
	Created time.Time
	secret  [keyBytes]byte
}

// Bytes hands the key to what signs with it.
func (k Key) Bytes() []byte { return bytes.Clone(k.secret[:]) }

const redacted = "[secret]"

// String keeps the key out of %v and %s.
func (Key) String() string { return redacted }

// GoString keeps the key out of %#v.
func (Key) GoString() string { return redacted }

// LogValue keeps the key out of slog.
func (Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON keeps the key out of JSON.
func (Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

func newKey(now time.Time) Key {
	k := Key{Created: now.UTC().Truncate(time.Second)}
	_, _ = rand.Read(k.secret[:]) // never fails (crypto/rand)
	return k
}

// Load reads a file. The keys are oldest first; the last one signs. fs.ErrNotExist if there is no file.
func Load(path string, purpose Purpose) ([]Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("auth/keyfile: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("auth/keyfile: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is no regular file", ErrFile, path)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o, so others may read it: chmod 600, and rotate it if somebody may have", ErrFile, path, info.Mode().Perm())
	}
	keys, err := parse(f, purpose)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// LoadOrCreate reads a file, making it with one key if there is none. Of several processes that do this at once, one makes it.
func LoadOrCreate(path string, purpose Purpose, now time.Time) ([]Key, error) {
	keys, err := Load(path, purpose)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	err = write(path, purpose, []Key{newKey(now)}, os.Link)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return Load(path, purpose)
}

// Rotate adds a fresh key, which signs from now on, and drops keys that were replaced longer than keep ago: by then
// nothing that they signed is still good. It must not run twice at once on one file.
func Rotate(path string, purpose Purpose, now time.Time, keep time.Duration) ([]Key, error) {
	old, err := Load(path, purpose)
	if err != nil {
		return nil, err
	}
	if last := old[len(old)-1].Created; now.Before(last) {
		now = last // a clock that was set back must not put the new key before an older one
	}
	all := append(old, newKey(now))
	var kept []Key
	for i, k := range all {
		if i == len(all)-1 || now.Sub(all[i+1].Created) <= keep {
			kept = append(kept, k)
		}
	}
	if len(kept) > maxKeys {
		return nil, fmt.Errorf("%w: %s would hold %d keys, more than the limit of %d: rotate less often", ErrFile, path, len(kept), maxKeys)
	}
	if err := write(path, purpose, kept, os.Rename); err != nil {
		return nil, err
	}
	return kept, nil
}

// parse reads a file's text. Errors wrap ErrFile.
func parse(r io.Reader, purpose Purpose) ([]Key, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("auth/keyfile: read: %w", err)
	}
	if len(text) > maxBytes {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrFile, maxBytes)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), magic) {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrFile, magic)
	}
	if got := strings.TrimPrefix(lines.Text(), magic); got != string(purpose) {
		return nil, fmt.Errorf("%w: its keys are for %.40q, want %q", ErrFile, got, purpose)
	}
	var keys []Key
	for n := 2; lines.Scan(); n++ {
		k, ok := parseLine(lines.Text())
		if !ok {
			return nil, fmt.Errorf("%w: line %d is not <time> <43 characters of base64url>", ErrFile, n)
		}
		if len(keys) > 0 && k.Created.Before(keys[len(keys)-1].Created) {
			return nil, fmt.Errorf("%w: line %d is older than the line before: the oldest key comes first", ErrFile, n)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 || len(keys) > maxKeys || lines.Err() != nil {
		return nil, fmt.Errorf("%w: it holds %d keys, want 1…%d", ErrFile, len(keys), maxKeys)
	}
	return keys, nil
}

func parseLine(line string) (k Key, ok bool) {
	created, text, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339, created)
	if err != nil {
		return k, false
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(secret) != keyBytes {
		return k, false
	}
	return Key{Created: at.UTC(), secret: [keyBytes]byte(secret)}, true
}

// write makes the file durable: temporary file, fsync, place (link or rename), fsync of the folder.
func write(path string, purpose Purpose, keys []Key, place func(from, to string) error) (err error) {
	var text bytes.Buffer
	text.WriteString(magic + string(purpose) + "\n")
	for _, k := range keys {
		text.WriteString(k.Created.Format(time.RFC3339) + " " + base64.RawURLEncoding.EncodeToString(k.secret[:]) + "\n")
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".keys-*") // mode 0600
	if err != nil {
		return fmt.Errorf("auth/keyfile: %w", err)
	}
	defer func() {
		if rerr := os.Remove(f.Name()); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) && err == nil {
			err = fmt.Errorf("auth/keyfile: %w", rerr)
		}
	}()
	_, err = f.Write(text.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("auth/keyfile: write: %w", err)
	}
	if err := place(f.Name(), path); err != nil {
		return fmt.Errorf("auth/keyfile: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("auth/keyfile: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("auth/keyfile: sync the folder: %w", err)
	}
	return nil
}
