package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"time"

	"entgo.io/ent/dialect"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/recording"
	"github.com/dualrec/dualrec/ent/tenancy"
	"github.com/dualrec/dualrec/recorder"
)

const (
	maxTries  = 8
	firstWait = 5 * time.Millisecond
	maxWait   = 500 * time.Millisecond
)

// write runs fn in one transaction, confined to a tenant, and again if the database asks for it. fn must
// therefore set its results anew each time.
func (c *Catalog) write(ctx context.Context, op, tenantID string, fn func(ctx context.Context, tx *ent.Tx) error) error {
	if tenantID == "" {
		return outward(op, recorder.ErrNotFound)
	}
	return c.transact(tenancy.With(ctx, tenantID), op, c.writer, nil, fn)
}

// writeAcross is write for what is not confined to one tenant.
func (c *Catalog) writeAcross(ctx context.Context, op string, fn func(ctx context.Context, tx *ent.Tx) error) error {
	return c.transact(tenancy.AcrossTenants(ctx), op, c.writer, nil, fn)
}

// read runs fn on one consistent snapshot, confined to a tenant.
func (c *Catalog) read(ctx context.Context, op, tenantID string, fn func(ctx context.Context, tx *ent.Tx) error) error {
	if tenantID == "" {
		return outward(op, recorder.ErrNotFound)
	}
	return c.transact(tenancy.With(ctx, tenantID), op, c.reader, c.snapshot(), fn)
}

// readAcross is read for what is not confined to one tenant.
func (c *Catalog) readAcross(ctx context.Context, op string, fn func(ctx context.Context, tx *ent.Tx) error) error {
	return c.transact(tenancy.AcrossTenants(ctx), op, c.reader, c.snapshot(), fn)
}

func (c *Catalog) snapshot() *sql.TxOptions {
	if c.dialect == dialect.Postgres {
		return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return nil // a SQLite transaction is a snapshot
}

func (c *Catalog) transact(ctx context.Context, op string, client *ent.Client, opts *sql.TxOptions, fn func(context.Context, *ent.Tx) error) error {
	wait := firstWait
	for try := 1; ; try++ {
		err := once(ctx, client, opts, fn)
		if err == nil || !retryable(err) || try == maxTries {
			return ended(ctx, op, err)
		}
		if err := pause(ctx, wait/2+rand.N(wait/2)); err != nil {
			return outward(op, err)
		}
		wait = min(2*wait, maxWait)
	}
}

// ended is outward, but tells a statement that its context ended from one that failed: the drivers' own words differ.
func ended(ctx context.Context, op string, err error) error {
	out := outward(op, err)
	var fault *Error
	if cerr := ctx.Err(); cerr != nil && errors.As(out, &fault) {
		return outward(op, cerr)
	}
	return out
}

func once(ctx context.Context, client *ent.Client, opts *sql.TxOptions, fn func(context.Context, *ent.Tx) error) (err error) {
	tx, err := client.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done { // an error or a panic
			if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
				err = errors.Join(err, rerr)
			}
		}
	}()
	if err := fn(ctx, tx); err != nil {
		return err
	}
	done = true
	return tx.Commit()
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// event is what an audit row says.
type event struct {
	actor   recorder.Actor
	action  string
	object  string
	details any
}

// audit writes the transaction's audit event. It is called last: counting takes a lock on the tenant's row
// until the commit, so that numbers follow commit order.
func (c *Catalog) audit(ctx context.Context, tx *ent.Tx, tenantID string, e event) error {
	if e.actor.Kind == "" {
		e.actor = recorder.System()
	}
	var details json.RawMessage
	if e.details != nil {
		var err error
		if details, err = json.Marshal(e.details); err != nil {
			return err
		}
	}
	t, err := tx.Tenant.UpdateOneID(tenantID).AddAuditSeq(1).Save(ctx)
	if err != nil {
		return err
	}
	row := tx.AuditEvent.Create().SetTenantID(tenantID).SetSeq(t.AuditSeq).SetActorKind(e.actor.Kind).SetActorID(e.actor.ID).
		SetActorIP(e.actor.IP).SetAction(e.action).SetObject(e.object).SetAt(c.now())
	if details != nil {
		row.SetDetails(details)
	}
	return row.Exec(ctx)
}

// lock reads a recording and keeps others from changing it until the commit.
func (c *Catalog) lock(ctx context.Context, tx *ent.Tx, recordingID string) (*ent.Recording, error) {
	q := tx.Recording.Query().Where(recording.ID(recordingID))
	if c.dialect == dialect.Postgres { // SQLite's transaction holds the only write lock already
		q.ForUpdate()
	}
	return q.Only(ctx)
}
