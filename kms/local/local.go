package local

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dualrec/dualrec/kms"
)

// Provider is what WrappedKey.Provider says of keys wrapped here.
const Provider = "local"

// ErrDamaged: the keyring file cannot be used as it is. Restore it from its backup.
var ErrDamaged = errors.New("local: keyring file damaged")

// ErrMode: others may read or change the keyring file. errors.As finds a *ModeError.
var ErrMode = errors.New("local: keyring file is open to others")

// ModeError says which file has which mode. It matches ErrMode.
type ModeError struct {
	Path string
	Mode fs.FileMode
}

// Error says what to do.
func (e *ModeError) Error() string {
	return fmt.Sprintf("%v: %s has mode %04o: run chmod 600 %s, and rotate the keys if someone may have read it", ErrMode, e.Path, e.Mode, e.Path)
}

// Is makes errors.Is(err, ErrMode) true.
func (e *ModeError) Is(target error) bool { return target == ErrMode }

const (
	wrapVersion = 1
	nonceBytes  = 12
	tagBytes    = 16
	wrapBytes   = 1 + nonceBytes + kms.KeySize + tagBytes
	maxIDBytes  = 1024 // of a tenant or recording id
)

// Keyring implements kms.Wrapper with a file. Several processes may share the file.
type Keyring struct {
	path string
	now  func() time.Time
	mu   sync.Mutex // one change at a time within the process; flock does it between processes
	ring atomic.Pointer[ring]
}

var _ kms.Wrapper = (*Keyring)(nil)

// Open reads the keyring file. A file that is not there is made when the first key is needed; its folder must exist.
// A file that others may read (ErrMode) or that is damaged (ErrDamaged) is refused.
func Open(path string) (*Keyring, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("local: open keyring: %w", err)
	}
	k := &Keyring{path: abs, now: time.Now}
	r, err := load(abs)
	if errors.Is(err, fs.ErrNotExist) {
		r, err = newRing(), checkFolder(filepath.Dir(abs))
	}
	if err != nil {
		return nil, fmt.Errorf("local: open keyring %s: %w", abs, err)
	}
	k.ring.Store(r)
	return k, nil
}

func checkFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("its folder must exist: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	return nil
}

// Wrap seals a data key with the tenant's current KEK, which it makes if there is none.
//
// The ciphertext is 01 || nonce (12, random) || AES-256-GCM (48). The additional data name provider, KEK,
// tenant and recording, each with its length. Random nonces allow 2^32 wraps per KEK.
func (k *Keyring) Wrap(ctx context.Context, key kms.DataKey, wc kms.WrapContext) (kms.WrappedKey, error) {
	if err := checkContext(ctx, wc); err != nil {
		return kms.WrappedKey{}, err
	}
	kek := k.ring.Load().current(wc.TenantID)
	if kek == nil {
		var err error
		if kek, err = k.change(wc.TenantID, false); err != nil {
			return kms.WrappedKey{}, err
		}
	}
	out := make([]byte, 1+nonceBytes, wrapBytes)
	out[0] = wrapVersion
	if _, err := rand.Read(out[1:]); err != nil {
		return kms.WrappedKey{}, fmt.Errorf("local: draw nonce: %w", err)
	}
	plain := key.Bytes()
	defer clear(plain)
	out = kek.aead.Seal(out, out[1:1+nonceBytes], plain, additionalData(kek.id, wc))
	return kms.WrappedKey{Provider: Provider, KeyRef: kek.id, Ciphertext: out}, nil
}

// Unwrap opens what Wrap sealed, also with an earlier version of the tenant's KEK. A KEK that the keyring does not
// hold is kms.ErrKeyUnavailable, because restoring the keyring's backup may bring it back; all else is kms.ErrUnwrap.
func (k *Keyring) Unwrap(ctx context.Context, w kms.WrappedKey, wc kms.WrapContext) (kms.DataKey, error) {
	if err := checkContext(ctx, wc); err != nil {
		return kms.DataKey{}, err
	}
	if w.Provider != Provider {
		return kms.DataKey{}, fmt.Errorf("%w: it was wrapped by provider %q, not %q", kms.ErrUnwrap, w.Provider, Provider)
	}
	if len(w.Ciphertext) != wrapBytes || w.Ciphertext[0] != wrapVersion {
		return kms.DataKey{}, fmt.Errorf("%w: it is not a wrapped key of this keyring's format", kms.ErrUnwrap)
	}
	kek, err := k.find(w.KeyRef)
	if err != nil {
		return kms.DataKey{}, err
	}
	if kek.tenant != wc.TenantID {
		return kms.DataKey{}, fmt.Errorf("%w: its KEK is another tenant's", kms.ErrUnwrap)
	}
	plain, err := kek.aead.Open(nil, w.Ciphertext[1:1+nonceBytes], w.Ciphertext[1+nonceBytes:], additionalData(kek.id, wc))
	if err != nil {
		return kms.DataKey{}, fmt.Errorf("%w: it does not authenticate for this tenant and recording", kms.ErrUnwrap)
	}
	defer clear(plain)
	return kms.DataKeyFromBytes(plain)
}

// Rotate gives the tenant a new KEK and returns its reference. Earlier ones stay, to unwrap. What they
// wrapped is re-wrapped by Unwrap and Wrap; media are not touched.
func (k *Keyring) Rotate(ctx context.Context, tenantID string) (keyRef string, err error) {
	if err := checkContext(ctx, kms.WrapContext{TenantID: tenantID, RecordingID: "-"}); err != nil {
		return "", err
	}
	kek, err := k.change(tenantID, true)
	if err != nil {
		return "", err
	}
	return kek.id, nil
}

// find looks a KEK up, and once more in the file, because another process may have made it.
func (k *Keyring) find(id string) (*kek, error) {
	if kek := k.ring.Load().byID[id]; kek != nil {
		return kek, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r, err := k.reload()
	if err != nil {
		return nil, err
	}
	k.ring.Store(r)
	if kek := r.byID[id]; kek != nil {
		return kek, nil
	}
	return nil, fmt.Errorf("%w: the keyring %s does not hold KEK %q: restore the keyring that does", kms.ErrKeyUnavailable, k.path, id)
}

// change gives the tenant a key: a first one, or with rotate a further one. Between processes it is
// serialised by the file lock, under which the file is read afresh. The key is on the disk before it is used.
func (k *Keyring) change(tenant string, rotate bool) (key *kek, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	unlock, err := lock(k.path)
	if err != nil {
		return nil, k.unavailable(err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	r, err := k.reload()
	if err != nil {
		return nil, err
	}
	if kek := r.current(tenant); kek != nil && !rotate {
		k.ring.Store(r)
		return kek, nil
	}
	next, kek, err := r.with(tenant, k.now())
	if err != nil {
		return nil, fmt.Errorf("local: make KEK: %w", err)
	}
	if err := save(k.path, next); err != nil {
		return nil, k.unavailable(err)
	}
	k.ring.Store(next)
	return kek, nil
}

// reload reads the file again. A file that vanished or lost keys while this process knows them is refused:
// going on would write a keyring without the keys of existing recordings.
func (k *Keyring) reload() (*ring, error) {
	known := k.ring.Load()
	r, err := load(k.path)
	if errors.Is(err, fs.ErrNotExist) && len(known.byID) == 0 {
		return known, nil
	}
	if err != nil {
		return nil, k.unavailable(err)
	}
	for id := range known.byID {
		if r.byID[id] == nil {
			return nil, k.unavailable(fmt.Errorf("%w: it lost KEK %q since it was opened: restore it", ErrDamaged, id))
		}
	}
	return r, nil
}

func (k *Keyring) unavailable(err error) error {
	return fmt.Errorf("%w: keyring %s: %w", kms.ErrKeyUnavailable, k.path, err)
}

func checkContext(ctx context.Context, wc kms.WrapContext) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if wc.TenantID == "" || wc.RecordingID == "" || len(wc.TenantID) > maxIDBytes || len(wc.RecordingID) > maxIDBytes {
		return fmt.Errorf("local: tenant and recording id must have 1 to %d bytes", maxIDBytes)
	}
	return nil
}

// additionalData is unambiguous: each part is preceded by its length (16 bits, little-endian).
func additionalData(keyRef string, wc kms.WrapContext) []byte {
	out := []byte("dualrec/wrap/v1\x00")
	for _, part := range []string{Provider, keyRef, wc.TenantID, wc.RecordingID} {
		out = binary.LittleEndian.AppendUint16(out, uint16(len(part)))
		out = append(out, part...)
	}
	return out
}

// String keeps keys out of %v and %s.
func (k *Keyring) String() string { return "local keyring " + k.path }

// GoString keeps keys out of %#v.
func (k *Keyring) GoString() string { return k.String() }

// LogValue keeps keys out of slog.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }
