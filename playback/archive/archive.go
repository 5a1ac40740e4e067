// Package archive finds the stored files of recordings for playback: the catalog says where they lie, the object
// store has their bytes, the key provider unwraps their keys. It knows no HTTP and no URLs.
package archive

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/playback"
	"github.com/dualrec/dualrec/recorder"
)

// Entry is what the catalog knows of an asset.
type Entry struct {
	Copy       recorder.CopyRow
	StoredAt   time.Time
	Playable   bool // the recording has ended and may be watched
	WrappedKey kms.WrappedKey
}

// Catalog finds assets. recorder.ErrNotFound: the tenant has no such recording.
type Catalog interface {
	Find(ctx context.Context, tenantID, recordingID string, role recorder.CopyRole) (Entry, error)
}

// Archive implements playback.Artifacts. It keeps unwrapped keys for a short while: a player makes a request for
// every seek, and a customer's KMS is asked once a minute at most for each recording that is watched.
type Archive struct {
	catalog Catalog
	store   recorder.ObjectStore
	keys    kms.Wrapper
	now     func() time.Time

	mu     sync.Mutex
	cached map[string]cachedKey // by recording id
}

type cachedKey struct {
	key   kms.DataKey
	ref   string // of the wrapped key, so that a rotated one is unwrapped anew
	until time.Time
}

const (
	keyLife   = time.Minute
	maxCached = 1024
)

// New returns an Archive.
func New(catalog Catalog, store recorder.ObjectStore, keys kms.Wrapper) *Archive {
	return &Archive{catalog: catalog, store: store, keys: keys, now: time.Now, cached: map[string]cachedKey{}}
}

var roles = map[playback.Asset]recorder.CopyRole{playback.Video: recorder.CopyVideo, playback.Audio: recorder.CopyVideo, playback.Waveform: recorder.CopyWaveform}

// Open implements playback.Artifacts.
func (a *Archive) Open(ctx context.Context, ref playback.Ref) (playback.Artifact, error) {
	role, ok := roles[ref.Asset]
	if !ok {
		return playback.Artifact{}, playback.ErrNotFound
	}
	e, err := a.catalog.Find(ctx, ref.TenantID, ref.RecordingID, role)
	switch {
	case errors.Is(err, recorder.ErrNotFound):
		return playback.Artifact{}, playback.ErrNotFound
	case err != nil:
		return playback.Artifact{}, fmt.Errorf("archive: find: %w", err)
	case !e.Playable || !e.Copy.Stored:
		return playback.Artifact{}, playback.ErrNotReady
	}
	key, err := a.key(ctx, ref, e)
	if err != nil {
		return playback.Artifact{}, err
	}
	fileKey, err := key.FileKey(e.Copy.FileID, kms.BlobRole)
	if err != nil {
		return playback.Artifact{}, fmt.Errorf("archive: file key: %w", err)
	}
	object, err := a.store.Open(ctx, e.Copy.Key)
	if err != nil {
		return playback.Artifact{}, fmt.Errorf("archive: open object: %w", err)
	}
	if object.Size() != e.Copy.CiphertextSize {
		return playback.Artifact{}, errors.Join(fmt.Errorf("archive: object %s has %d bytes, the catalog says %d", e.Copy.Key, object.Size(), e.Copy.CiphertextSize), object.Close())
	}
	plain, err := kms.NewReader(object, object.Size(), fileKey)
	if err != nil {
		return playback.Artifact{}, errors.Join(fmt.Errorf("archive: decrypt %s: %w", e.Copy.Key, err), object.Close())
	}
	return playback.Artifact{Content: plain, Closer: object, Digest: e.Copy.CiphertextSHA256, ModTime: e.StoredAt}, nil
}

func (a *Archive) key(ctx context.Context, ref playback.Ref, e Entry) (kms.DataKey, error) {
	now := a.now()
	keyRef := e.WrappedKey.Provider + "/" + e.WrappedKey.KeyRef
	a.mu.Lock()
	c, ok := a.cached[ref.RecordingID]
	a.mu.Unlock()
	if ok && c.ref == keyRef && now.Before(c.until) {
		return c.key, nil
	}
	key, err := a.keys.Unwrap(ctx, e.WrappedKey, kms.WrapContext{TenantID: ref.TenantID, RecordingID: ref.RecordingID})
	if errors.Is(err, kms.ErrKeyUnavailable) {
		return kms.DataKey{}, fmt.Errorf("%w: %w", playback.ErrKeyUnavailable, err)
	}
	if err != nil {
		return kms.DataKey{}, fmt.Errorf("archive: unwrap key: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.cached) >= maxCached {
		a.dropOld(now)
	}
	a.cached[ref.RecordingID] = cachedKey{key: key, ref: keyRef, until: now.Add(keyLife)}
	return key, nil
}

// dropOld makes room: what is over goes first, then anything.
func (a *Archive) dropOld(now time.Time) {
	for id, c := range a.cached {
		if now.After(c.until) {
			delete(a.cached, id)
		}
	}
	for id := range a.cached {
		if len(a.cached) < maxCached {
			return
		}
		delete(a.cached, id)
	}
}
