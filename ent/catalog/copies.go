package catalog

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/datakey"
	"github.com/dualrec/dualrec/ent/recording"
	"github.com/dualrec/dualrec/ent/storedcopy"
	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/retention"
)

// RegisterCopy implements recorder.Catalog. Registering a key again without Stored is for another try and forgets that
// it was stored. ErrExists: the key is another recording's or role's. recorder.ErrNotFound.
func (c *Catalog) RegisterCopy(ctx context.Context, tenantID, recordingID string, row recorder.CopyRow) error {
	action := "copy.register"
	if row.Stored {
		action = "copy.stored"
	}
	return c.write(ctx, "register copy", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		r, err := c.lock(ctx, tx, recordingID)
		if err != nil {
			return err
		}
		if err := c.putCopy(ctx, tx, r, row); err != nil {
			return err
		}
		return c.audit(ctx, tx, tenantID, event{action: action, object: recordingID, details: copyDetails([]recorder.CopyRow{row})[0]})
	})
}

// putCopy makes or changes the row of one object.
func (c *Catalog) putCopy(ctx context.Context, tx *ent.Tx, r *ent.Recording, row recorder.CopyRow) error {
	was, err := tx.StoredCopy.Query().Where(storedcopy.Target(row.Target), storedcopy.ObjectKey(row.Key)).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return setCopy(tx.StoredCopy.Create().SetTenantID(r.TenantID).SetRecordingID(r.ID).SetRole(row.Role).SetTarget(row.Target).
			SetObjectKey(row.Key).SetCreatedAt(c.now()), row, c.storedAt(row)).Exec(ctx)
	case err != nil:
		return err
	case was.RecordingID != r.ID || was.Role != row.Role:
		return refuse(ErrExists, "object key %s belongs to another recording or role", shown(row.Key))
	}
	u := tx.StoredCopy.UpdateOne(was)
	if !row.Stored {
		u.ClearStoredAt()
	}
	return setCopy(u, row, c.storedAt(row)).Exec(ctx)
}

func (c *Catalog) storedAt(row recorder.CopyRow) *time.Time {
	if !row.Stored {
		return nil
	}
	t := c.now()
	return &t
}

// copySetter is what creating and changing a copy have in common.
type copySetter[B any] interface {
	SetVersionID(string) B
	SetFileID(string) B
	SetSize(int64) B
	SetCiphertextSize(int64) B
	SetCiphertextSha256([]byte) B
	SetState(storedcopy.State) B
	SetNillableStoredAt(*time.Time) B
}

func setCopy[B copySetter[B]](b B, row recorder.CopyRow, storedAt *time.Time) B {
	state := storedcopy.StateREGISTERED
	if row.Stored {
		state = storedcopy.StateSTORED
	}
	b = b.SetVersionID(row.VersionID).SetFileID(row.FileID).SetSize(row.Size).SetCiphertextSize(row.CiphertextSize).SetState(state).SetNillableStoredAt(storedAt)
	if len(row.CiphertextSHA256) > 0 {
		b = b.SetCiphertextSha256(row.CiphertextSHA256)
	}
	return b
}

func copyDetails(rows []recorder.CopyRow) []map[string]any {
	return mapped(rows, func(r recorder.CopyRow) map[string]any {
		return map[string]any{"role": r.Role, "target": r.Target, "key": r.Key, "version_id": r.VersionID, "size": r.Size,
			"ciphertext_size": r.CiphertextSize, "ciphertext_sha256": hex.EncodeToString(r.CiphertextSHA256), "stored": r.Stored}
	})
}

func copyRowOf(s *ent.StoredCopy) recorder.CopyRow {
	return recorder.CopyRow{Role: s.Role, Target: s.Target, Key: s.ObjectKey, VersionID: s.VersionID, FileID: s.FileID, Size: s.Size,
		CiphertextSize: s.CiphertextSize, CiphertextSHA256: s.CiphertextSha256, Stored: s.State == storedcopy.StateSTORED}
}

// Artifact is what playback needs to open one asset of a recording.
type Artifact struct {
	Copy     recorder.CopyRow // Stored false: not there (yet); Capture says which
	StoredAt time.Time
	Capture  recorder.CaptureState
	// Watchable is false once deletion has begun or the key was destroyed.
	Watchable  bool
	WrappedKey kms.WrappedKey
}

// Artifact finds the newest stored object of a role. recorder.ErrNotFound: the tenant has no such recording.
func (c *Catalog) Artifact(ctx context.Context, tenantID, recordingID string, role recorder.CopyRole) (got Artifact, err error) {
	err = c.read(ctx, "find artifact", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		r, err := tx.Recording.Query().Where(recording.ID(recordingID)).WithDataKey().Only(ctx)
		if err != nil {
			return err
		}
		got = Artifact{Capture: r.Capture, Watchable: watchable(r)}
		if k := r.Edges.DataKey; k != nil {
			got.WrappedKey = k.WrappedKey
		}
		row, err := tx.StoredCopy.Query().Where(storedcopy.RecordingID(r.ID), storedcopy.RoleEQ(role), storedcopy.StateEQ(storedcopy.StateSTORED)).
			Order(ent.Desc(storedcopy.FieldStoredAt, storedcopy.FieldID)).First(ctx)
		if ent.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		got.Copy, got.StoredAt = copyRowOf(row), moment(row.StoredAt)
		return nil
	})
	return got, err
}

// watchable: the recording (loaded with its key) is not on its way out.
func watchable(r *ent.Recording) bool {
	k := r.Edges.DataKey
	kept := r.Disposition == retention.Retained || r.Disposition == retention.Due
	return kept && k != nil && k.State == datakey.StateACTIVE
}

// Copies lists all objects of a recording, registered and stored, oldest first.
func (c *Catalog) Copies(ctx context.Context, tenantID, recordingID string) (got []recorder.CopyRow, err error) {
	err = c.read(ctx, "list copies", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		r, err := tx.Recording.Get(ctx, recordingID)
		if err != nil {
			return err
		}
		rows, err := tx.StoredCopy.Query().Where(storedcopy.RecordingID(r.ID)).Order(ent.Asc(storedcopy.FieldCreatedAt, storedcopy.FieldID)).All(ctx)
		got = mapped(rows, copyRowOf)
		return err
	})
	return got, err
}
