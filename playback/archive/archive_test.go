package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/playback"
	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/objectstore/fs"
)

// plainKeys wraps by carrying the key; it counts how often it is asked.
type plainKeys struct {
	asked int
	err   error
}

func (p *plainKeys) Wrap(context.Context, kms.DataKey, kms.WrapContext) (kms.WrappedKey, error) {
	return kms.WrappedKey{}, errors.New("not used")
}

func (p *plainKeys) Unwrap(_ context.Context, w kms.WrappedKey, _ kms.WrapContext) (kms.DataKey, error) {
	p.asked++
	if p.err != nil {
		return kms.DataKey{}, p.err
	}
	return kms.DataKeyFromBytes(w.Ciphertext)
}

type oneEntry struct{ e Entry }

func (o oneEntry) Find(_ context.Context, tenant, id string, _ recorder.CopyRole) (Entry, error) {
	if tenant != "ten_1" || id != "rec_1" {
		return Entry{}, fmt.Errorf("find: %w", recorder.ErrNotFound)
	}
	return o.e, nil
}

func setUp(t *testing.T, content []byte) (*Archive, *oneEntry, *plainKeys) {
	t.Helper()
	key, err := kms.NewDataKey()
	if err != nil {
		t.Fatal(err)
	}
	fileID := kms.BlobFileID("rec_1", "call.mp4")
	fk, err := key.FileKey(fileID, kms.BlobRole)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := kms.NewWriter(&sealed, fk)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := fs.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	sum := sha256.Sum256(sealed.Bytes())
	if _, err := store.Put(t.Context(), "k/call.mp4", bytes.NewReader(sealed.Bytes()), int64(sealed.Len()), sum[:]); err != nil {
		t.Fatal(err)
	}
	entry := &oneEntry{Entry{Playable: true, WrappedKey: kms.WrappedKey{Ciphertext: key.Bytes()}, Copy: recorder.CopyRow{Key: "k/call.mp4",
		FileID: fileID, Stored: true, CiphertextSize: int64(sealed.Len()), CiphertextSHA256: sum[:]}}}
	keys := &plainKeys{}
	return New(entry, store, keys), entry, keys
}

func TestOpenDecrypts(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789"), 20000)
	a, _, keys := setUp(t, content)
	ref := playback.Ref{TenantID: "ten_1", RecordingID: "rec_1", Asset: playback.Video}
	for range 3 {
		art, err := a.Open(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 100)
		if _, err := art.Content.ReadAt(got, 65530); err != nil || !bytes.Equal(got, content[65530:65630]) {
			t.Errorf("ReadAt = %q, %v", got, err)
		}
		if art.Content.Size() != int64(len(content)) {
			t.Errorf("Size = %d", art.Content.Size())
		}
		art.Closer.Close()
	}
	if keys.asked != 1 {
		t.Errorf("the key provider was asked %d times, want once", keys.asked)
	}
	a.now = func() time.Time { return time.Now().Add(2 * keyLife) }
	art, err := a.Open(t.Context(), ref)
	if err != nil || keys.asked != 2 {
		t.Fatalf("after the key's life: asked %d times, %v", keys.asked, err)
	}
	art.Closer.Close()
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	ref := playback.Ref{TenantID: "ten_1", RecordingID: "rec_1", Asset: playback.Video}
	for name, tc := range map[string]struct {
		change func(e *Entry, k *plainKeys, r *playback.Ref)
		want   error
	}{
		"other tenant":    {func(_ *Entry, _ *plainKeys, r *playback.Ref) { r.TenantID = "ten_2" }, playback.ErrNotFound},
		"unknown asset":   {func(_ *Entry, _ *plainKeys, r *playback.Ref) { r.Asset = "x" }, playback.ErrNotFound},
		"not stored yet":  {func(e *Entry, _ *plainKeys, _ *playback.Ref) { e.Copy.Stored = false }, playback.ErrNotReady},
		"not playable":    {func(e *Entry, _ *plainKeys, _ *playback.Ref) { e.Playable = false }, playback.ErrNotReady},
		"key unavailable": {func(_ *Entry, k *plainKeys, _ *playback.Ref) { k.err = kms.ErrKeyUnavailable }, playback.ErrKeyUnavailable},
		"object gone":     {func(e *Entry, _ *plainKeys, _ *playback.Ref) { e.Copy.Key = "k/other" }, recorder.ErrObjectNotFound},
		"other key":       {func(e *Entry, _ *plainKeys, _ *playback.Ref) { e.WrappedKey.Ciphertext = make([]byte, kms.KeySize) }, kms.ErrWrongKey},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, entry, keys := setUp(t, []byte("hello"))
			r := ref
			tc.change(&entry.e, keys, &r)
			if _, err := a.Open(t.Context(), r); !errors.Is(err, tc.want) {
				t.Errorf("Open: %v, want %v", err, tc.want)
			}
		})
	}
}
