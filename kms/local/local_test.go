package local

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dualrec/dualrec/kms"
)

const childEnv = "DUALREC_TEST_KEYRING_CHILD"

// TestMain is also the second process of TestTwoProcesses: told so by the environment, it
// wraps for the tenants that both processes use and prints the key references.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := wrapMany(path, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const sharedTenants = 20

func wrapMany(path string, out *os.File) error {
	k, err := Open(path)
	if err != nil {
		return err
	}
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil { // the starting signal
		return err
	}
	for i := range sharedTenants {
		dek, err := kms.NewDataKey()
		if err != nil {
			return err
		}
		w, err := k.Wrap(context.Background(), dek, kms.WrapContext{TenantID: fmt.Sprint("tenant-", i), RecordingID: "r"})
		if err != nil {
			return err
		}
		fmt.Fprintln(out, w.KeyRef)
	}
	return nil
}

func newKeyring(t *testing.T) (*Keyring, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring.json")
	k, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return k, path
}

func newDEK(t *testing.T) kms.DataKey {
	t.Helper()
	dek, err := kms.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	return dek
}

func mustWrap(t *testing.T, k *Keyring, dek kms.DataKey, wc kms.WrapContext) kms.WrappedKey {
	t.Helper()
	w, err := k.Wrap(t.Context(), dek, wc)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var acme = kms.WrapContext{TenantID: "acme", RecordingID: "rec-1"}

func TestWrapUnwrap(t *testing.T) {
	t.Parallel()
	k, path := newKeyring(t)
	dek := newDEK(t)
	w := mustWrap(t, k, dek, acme)
	again := mustWrap(t, k, dek, acme)
	if bytes.Equal(w.Ciphertext, again.Ciphertext) {
		t.Error("two wraps of a key are equal: the nonce is not random")
	}
	reopened, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range []*Keyring{k, reopened} {
		got, err := ring.Unwrap(t.Context(), w, acme)
		if err != nil || !bytes.Equal(got.Bytes(), dek.Bytes()) {
			t.Errorf("Unwrap: %v", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestUnwrapRefuses(t *testing.T) {
	t.Parallel()
	k, _ := newKeyring(t)
	w := mustWrap(t, k, newDEK(t), acme)
	other := mustWrap(t, k, newDEK(t), kms.WrapContext{TenantID: "globex", RecordingID: "rec-1"})
	if w.KeyRef == other.KeyRef {
		t.Fatal("two tenants share a KEK")
	}
	with := func(f func(w *kms.WrappedKey)) kms.WrappedKey {
		c := w
		c.Ciphertext = bytes.Clone(w.Ciphertext)
		f(&c)
		return c
	}
	tests := []struct {
		name string
		w    kms.WrappedKey
		wc   kms.WrapContext
		want error
	}{
		{"another recording", w, kms.WrapContext{TenantID: "acme", RecordingID: "rec-2"}, kms.ErrUnwrap},
		{"another tenant", w, kms.WrapContext{TenantID: "globex", RecordingID: "rec-1"}, kms.ErrUnwrap},
		{"an unknown tenant", w, kms.WrapContext{TenantID: "x", RecordingID: "rec-1"}, kms.ErrUnwrap},
		{"swapped tenant and recording", w, kms.WrapContext{TenantID: "rec-1", RecordingID: "acme"}, kms.ErrUnwrap},
		{"shifted boundary of the ids", w, kms.WrapContext{TenantID: "acmer", RecordingID: "ec-1"}, kms.ErrUnwrap},
		{"another tenant's KEK", with(func(w *kms.WrappedKey) { w.KeyRef = other.KeyRef }), acme, kms.ErrUnwrap},
		{"another tenant's KEK and tenant", with(func(w *kms.WrappedKey) { w.KeyRef = other.KeyRef }),
			kms.WrapContext{TenantID: "globex", RecordingID: "rec-1"}, kms.ErrUnwrap},
		{"another provider", with(func(w *kms.WrappedKey) { w.Provider = "vault" }), acme, kms.ErrUnwrap},
		{"an unknown KEK", with(func(w *kms.WrappedKey) { w.KeyRef = "kek_0" }), acme, kms.ErrKeyUnavailable},
		{"nothing", with(func(w *kms.WrappedKey) { w.Ciphertext = nil }), acme, kms.ErrUnwrap},
		{"truncated", with(func(w *kms.WrappedKey) { w.Ciphertext = w.Ciphertext[:wrapBytes-1] }), acme, kms.ErrUnwrap},
		{"extended", with(func(w *kms.WrappedKey) { w.Ciphertext = append(w.Ciphertext, 0) }), acme, kms.ErrUnwrap},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := k.Unwrap(t.Context(), tt.w, tt.wc); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	for i := range w.Ciphertext {
		damaged := with(func(w *kms.WrappedKey) { w.Ciphertext[i] ^= 0x40 })
		if _, err := k.Unwrap(t.Context(), damaged, acme); !errors.Is(err, kms.ErrUnwrap) {
			t.Fatalf("flip in byte %d: %v", i, err)
		}
	}
}

func TestEmptyIDsAndCancelledContext(t *testing.T) {
	t.Parallel()
	k, path := newKeyring(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Wrap(cancelled, newDEK(t), acme); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, wc := range []kms.WrapContext{{}, {TenantID: "a"}, {RecordingID: "r"}, {TenantID: strings.Repeat("x", 1025), RecordingID: "r"}} {
		if _, err := k.Wrap(t.Context(), newDEK(t), wc); err == nil {
			t.Errorf("%+v was accepted", wc)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused wrap wrote the keyring: %v", err)
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	k, path := newKeyring(t)
	dek := newDEK(t)
	old := mustWrap(t, k, dek, acme)
	ref, err := k.Rotate(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	fresh := mustWrap(t, k, dek, acme)
	if fresh.KeyRef != ref || fresh.KeyRef == old.KeyRef {
		t.Errorf("wrapped with %s after rotation to %s", fresh.KeyRef, ref)
	}
	reopened, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []kms.WrappedKey{old, fresh} {
		if got, err := reopened.Unwrap(t.Context(), w, acme); err != nil || !bytes.Equal(got.Bytes(), dek.Bytes()) {
			t.Errorf("%s: %v", w.KeyRef, err)
		}
	}
	if got := mustWrap(t, reopened, dek, acme).KeyRef; got != ref {
		t.Errorf("after reopening it wraps with %s", got)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	k, path := newKeyring(t)
	mustWrap(t, k, newDEK(t), acme)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) []byte {
		if !bytes.Contains(good, []byte(old)) {
			t.Fatalf("the keyring has no %s", old)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	tests := []struct {
		name string
		raw  []byte
		mode os.FileMode
		want error
	}{
		{"group may read", good, 0o640, ErrMode},
		{"world may read", good, 0o604, ErrMode},
		{"group may write", good, 0o620, ErrMode},
		{"empty", nil, 0o600, ErrDamaged},
		{"truncated", good[:len(good)-10], 0o600, ErrDamaged},
		{"trailing", append(bytes.Clone(good), "{}"...), 0o600, ErrDamaged},
		{"other format", replace("dualrec-keyring", "other"), 0o600, ErrDamaged},
		{"later version", replace(`"version": 1,`, `"version": 2,`), 0o600, ErrDamaged},
		{"unknown field", replace(`"tenants"`, `"extra": 1, "tenants"`), 0o600, ErrDamaged},
		{"short secret", replace(`"secret": "`, `"secret": "AA==", "x": "`), 0o600, ErrDamaged},
		{"secret not base64", replace(`"secret": "`, `"secret": "*`), 0o600, ErrDamaged},
		{"key without id", replace(`"id": "kek_`, `"id": "", "x": "`), 0o600, ErrDamaged},
		{"gap in the versions", []byte(strings.Replace(string(good), "\"version\": 1,\n          \"cr", "\"version\": 3,\n          \"cr", 1)), 0o600, ErrDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "k.json")
			if err := os.WriteFile(path, tt.raw, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil {
				t.Fatal(err)
			}
			_, err := Open(path)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if mode := new(ModeError); errors.As(err, &mode) != (tt.want == ErrMode) {
				t.Errorf("no facts in %v", err)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing", "k.json")); err == nil {
		t.Error("a keyring in a missing folder was accepted")
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a folder as keyring: %v", err)
	}
}

// TestVanishedKeyring: a keyring that goes away or loses keys under a running process must not be replaced by one without its keys.
func TestVanishedKeyring(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		damage func(t *testing.T, path string)
	}{
		{"removed", func(t *testing.T, path string) {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}},
		{"replaced by an empty one", func(t *testing.T, path string) {
			if err := save(path, newRing()); err != nil {
				t.Fatal(err)
			}
		}},
		{"damaged", func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"opened to others", func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k, path := newKeyring(t)
			dek := newDEK(t)
			w := mustWrap(t, k, dek, acme)
			tt.damage(t, path)
			before, _ := os.ReadFile(path)
			if _, err := k.Wrap(t.Context(), dek, kms.WrapContext{TenantID: "new", RecordingID: "r"}); !errors.Is(err, kms.ErrKeyUnavailable) {
				t.Errorf("a new tenant: %v", err)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
			if got, err := k.Unwrap(t.Context(), w, acme); err != nil || !bytes.Equal(got.Bytes(), dek.Bytes()) {
				t.Errorf("keys in memory no longer serve: %v", err)
			}
		})
	}
}

func TestFailedSaveLeavesTheOldFile(t *testing.T) {
	t.Parallel()
	k, path := newKeyring(t)
	mustWrap(t, k, newDEK(t), acme)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	blocked := filepath.Join(t.TempDir(), "folder")
	if err := os.MkdirAll(filepath.Join(blocked, "not-empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := save(blocked, k.ring.Load()); err == nil {
		t.Fatal("a folder was replaced by the keyring")
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(blocked), ".*tmp*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the old file changed: %v", err)
	}
}

func TestConcurrentFirstUse(t *testing.T) {
	t.Parallel()
	k, path := newKeyring(t)
	second, err := Open(path) // as another process would
	if err != nil {
		t.Fatal(err)
	}
	refs := make([]string, 32)
	var wg sync.WaitGroup
	for i := range refs {
		ring := []*Keyring{k, second}[i%2]
		wg.Go(func() {
			w, err := ring.Wrap(context.Background(), kms.DataKey{}, acme)
			if err != nil {
				t.Error(err)
			}
			refs[i] = w.KeyRef
		})
	}
	wg.Wait()
	for _, ref := range refs {
		if ref != refs[0] {
			t.Fatalf("one tenant got two KEKs: %v", refs)
		}
	}
}

func TestTwoProcesses(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyring.json")
	const children = 3
	outputs := make([]bytes.Buffer, children)
	var cmds []*exec.Cmd
	var starts []func()
	for i := range children {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		cmd.Stdout, cmd.Stderr = &outputs[i], os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmds = append(cmds, cmd)
		starts = append(starts, func() {
			if _, err := in.Write([]byte{1}); err != nil {
				t.Error(err)
			}
		})
	}
	for _, start := range starts {
		start()
	}
	for _, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range outputs {
		if outputs[i].String() != outputs[0].String() || outputs[i].Len() == 0 {
			t.Fatalf("processes disagree:\n%s---\n%s", &outputs[0], &outputs[i])
		}
	}
	r, err := load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.byID) != sharedTenants {
		t.Errorf("%d keys for %d tenants", len(r.byID), sharedTenants)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	k, _ := newKeyring(t)
	mustWrap(t, k, newDEK(t), acme)
	secret := k.ring.Load().current("acme").secret
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "keyring", k)
	holder := struct{ k *Keyring }{k}
	for _, s := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprintf("%+v", holder), fmt.Sprintf("%+v", k.ring.Load()), log.String()} {
		for _, form := range []string{string(secret), hex.EncodeToString(secret), encodeSecret(secret), fmt.Sprint(secret)} {
			if strings.Contains(s, form) {
				t.Errorf("a secret is printed: %s", s)
			}
		}
	}
	_, err := parse([]byte(`{"format":"dualrec-keyring","version":1,"tenants":{"a":{"keys":[{"secret":"c2VjcmV0c2VjcmV0"}]}},"c2VjcmV0":1}`))
	if err == nil || strings.Contains(err.Error(), "c2VjcmV0") {
		t.Errorf("an error quotes the file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format":"dualrec-keyring","version":1,"tenants":{}}`))
	f.Add([]byte(`{"format":"dualrec-keyring","version":1,"tenants":{"a":{"keys":[{"id":"k","version":1,"created_at":"2026-01-02T03:04:05Z","secret":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}]}}}`))
	f.Add([]byte(`{"tenants":null}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parse(raw)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		for id, k := range r.byID {
			if id == "" || k.tenant == "" || len(k.secret) != kms.KeySize || r.current(k.tenant) == nil {
				t.Fatalf("accepted a key that cannot serve: %s", id)
			}
		}
	})
}
