package local

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fileFormat   = "dualrec-keyring"
	fileVersion  = 1
	maxFileBytes = 64 << 20 // about 300,000 keys
)

// file is the keyring as JSON. It exists only while the file is read or written.
type file struct {
	Format  string                `json:"format"`
	Version int                   `json:"version"`
	Tenants map[string]fileTenant `json:"tenants"`
}

// fileTenant lists a tenant's keys, oldest first; the last one wraps.
type fileTenant struct {
	Keys []fileKey `json:"keys"`
}

type fileKey struct {
	ID        string    `json:"id"`
	Version   int       `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	Secret    string    `json:"secret"` // base64 of 32 bytes
}

// load reads and checks the whole file. A missing file is fs.ErrNotExist.
func load(path string) (*ring, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := checkMode(f); err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxFileBytes {
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrDamaged, maxFileBytes)
	}
	return parse(raw)
}

// checkMode refuses a keyring that others may read or write. It asks the opened file, not the path.
func checkMode(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: it is not a regular file", ErrDamaged)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return &ModeError{Path: f.Name(), Mode: mode}
	}
	return nil
}

func parse(raw []byte) (*ring, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var in file
	if err := dec.Decode(&in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, withoutInput(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the JSON object", ErrDamaged)
	}
	if in.Format != fileFormat {
		return nil, fmt.Errorf("%w: \"format\" is not %q", ErrDamaged, fileFormat)
	}
	if in.Version != fileVersion {
		return nil, fmt.Errorf("%w: version %d is not supported: use the dualrec that wrote it, or a later one", ErrDamaged, in.Version)
	}
	r := newRing()
	for tenant, t := range in.Tenants {
		for i, fk := range t.Keys {
			if err := r.add(tenant, i+1, fk); err != nil {
				return nil, err
			}
		}
	}
	return r, nil
}

// withoutInput drops what a JSON error may quote of the file.
func withoutInput(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	}
	return errors.New("not the JSON object that a keyring is")
}

// save replaces the file: temp, write, fsync, close, rename, fsync directory. After any error the old file is still there.
func save(path string, r *ring) (err error) {
	raw, err := json.MarshalIndent(r.file(), "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(tmp.Name())))
		}
	}()
	_, err = tmp.Write(append(raw, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lock takes the lock that all processes of this keyring share. It lies beside the keyring, because
// the keyring itself is replaced by every change.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return f.Close, nil // closing releases it
}

func encodeSecret(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decodeSecret(s string) ([]byte, error) { return base64.StdEncoding.Strict().DecodeString(s) }
