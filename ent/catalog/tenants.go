package catalog

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/queue"
	"github.com/dualrec/dualrec/ent/tenant"
	"github.com/dualrec/dualrec/recorder"
)

// Tenant is a tenant's row.
type Tenant struct {
	ID        string
	Name      string
	Slug      string // names it in object keys: a-z, 0-9 and inner hyphens
	Plan      string // "STANDARD", "ENTERPRISE"
	Suspended bool
	CreatedAt time.Time
}

var validSlug = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

// CreateTenant makes a tenant. An empty ID is drawn, an empty Slug made from the name, an empty Plan is STANDARD.
// ErrExists (name or slug), ErrInvalid.
func (c *Catalog) CreateTenant(ctx context.Context, t Tenant, actor recorder.Actor) (Tenant, error) {
	const op = "create tenant"
	if t.ID == "" {
		t.ID = nodeid.New(nodeid.Tenant)
	}
	if t.Slug == "" {
		t.Slug = slugOf(t.Name)
	}
	if !validSlug.MatchString(t.Slug) {
		return Tenant{}, outward(op, refuse(ErrInvalid, "slug %.70q: use 1 to 63 of a-z, 0-9 and inner hyphens", t.Slug))
	}
	if strings.TrimSpace(t.Name) == "" {
		return Tenant{}, outward(op, refuse(ErrInvalid, "the name is empty"))
	}
	if t.Plan == "" {
		t.Plan = string(tenant.DefaultPlan)
	}
	var made Tenant
	err := c.writeAcross(ctx, op, func(ctx context.Context, tx *ent.Tx) error {
		row, err := tx.Tenant.Create().SetID(t.ID).SetName(t.Name).SetSlug(t.Slug).SetPlan(tenant.Plan(t.Plan)).SetCreatedAt(c.now()).Save(ctx)
		if err != nil {
			return err
		}
		made = tenantOf(row)
		return c.audit(ctx, tx, row.ID, event{actor: actor, action: "tenant.create", object: row.ID,
			details: map[string]any{"name": row.Name, "slug": row.Slug, "plan": row.Plan}})
	})
	return made, err
}

// slugOf keeps letters and digits and joins them by hyphens.
func slugOf(name string) string {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	s := strings.Join(words, "-")
	return strings.TrimRight(s[:min(len(s), 63)], "-")
}

func tenantOf(t *ent.Tenant) Tenant {
	return Tenant{ID: t.ID, Name: t.Name, Slug: t.Slug, Plan: string(t.Plan), Suspended: t.Status == tenant.StatusSUSPENDED, CreatedAt: t.CreatedAt.UTC()}
}

// Tenant reads one tenant. recorder.ErrNotFound.
func (c *Catalog) Tenant(ctx context.Context, id string) (Tenant, error) {
	var got Tenant
	err := c.read(ctx, "read tenant", id, func(ctx context.Context, tx *ent.Tx) error {
		row, err := tx.Tenant.Get(ctx, id)
		if err != nil {
			return err
		}
		got = tenantOf(row)
		return nil
	})
	return got, err
}

// TenantByName finds a tenant by its name. recorder.ErrNotFound. It is for operators, not for tenants.
func (c *Catalog) TenantByName(ctx context.Context, name string) (Tenant, error) {
	var got Tenant
	err := c.readAcross(ctx, "find tenant", func(ctx context.Context, tx *ent.Tx) error {
		row, err := tx.Tenant.Query().Where(tenant.Name(name)).Only(ctx)
		if err != nil {
			return err
		}
		got = tenantOf(row)
		return nil
	})
	return got, err
}

// Tenants lists all tenants by name. It is for operators, not for tenants.
func (c *Catalog) Tenants(ctx context.Context) ([]Tenant, error) {
	var got []Tenant
	err := c.readAcross(ctx, "list tenants", func(ctx context.Context, tx *ent.Tx) error {
		rows, err := tx.Tenant.Query().Order(ent.Asc(tenant.FieldName)).All(ctx)
		if err != nil {
			return err
		}
		got = mapped(rows, tenantOf)
		return nil
	})
	return got, err
}

// Empty tells whether there is no tenant yet: a fresh installation.
func (c *Catalog) Empty(ctx context.Context) (bool, error) {
	var some bool
	err := c.readAcross(ctx, "look for tenants", func(ctx context.Context, tx *ent.Tx) (err error) {
		some, err = tx.Tenant.Query().Exist(ctx)
		return err
	})
	return !some && err == nil, err
}

// SuspendTenant shuts a tenant out, or lets it in again: it starts no recordings, its API keys are shown as suspended
// (APIKey.TenantSuspended), its grants as revoked. Running recordings go on. recorder.ErrNotFound.
func (c *Catalog) SuspendTenant(ctx context.Context, id string, suspended bool, actor recorder.Actor) error {
	status, action := tenant.StatusACTIVE, "tenant.activate"
	if suspended {
		status, action = tenant.StatusSUSPENDED, "tenant.suspend"
	}
	return c.write(ctx, "suspend tenant", id, func(ctx context.Context, tx *ent.Tx) error {
		if err := tx.Tenant.UpdateOneID(id).SetStatus(status).Exec(ctx); err != nil {
			return err
		}
		return c.audit(ctx, tx, id, event{actor: actor, action: action, object: id})
	})
}

// active fails unless the tenant exists and may start recordings.
func active(ctx context.Context, tx *ent.Tx, tenantID string) error {
	t, err := tx.Tenant.Get(ctx, tenantID)
	if err != nil {
		return err
	}
	if t.Status != tenant.StatusACTIVE {
		return recorder.ErrTenantSuspended
	}
	return nil
}

// Profile implements recorder.Catalog.
func (c *Catalog) Profile(ctx context.Context, tenantID, queueName string) (recorder.Profile, error) {
	const op = "read queue profile"
	var got *recorder.Profile
	err := c.read(ctx, op, tenantID, func(ctx context.Context, tx *ent.Tx) error {
		if err := active(ctx, tx, tenantID); err != nil {
			return err
		}
		row, err := tx.Queue.Query().Where(queue.Name(queueName)).Only(ctx)
		if ent.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		p := profileOf(row)
		got = &p
		return nil
	})
	if err != nil {
		return recorder.Profile{}, err
	}
	if got != nil {
		return *got, nil
	}
	var made recorder.Profile
	err = c.write(ctx, op, tenantID, func(ctx context.Context, tx *ent.Tx) error {
		row, err := c.queue(ctx, tx, tenantID, queueName)
		if err != nil {
			return err
		}
		made = profileOf(row)
		return nil
	})
	return made, err
}

// queue reads a queue, making it with the default profile if the tenant has none of that name.
func (c *Catalog) queue(ctx context.Context, tx *ent.Tx, tenantID, name string) (*ent.Queue, error) {
	row, err := tx.Queue.Query().Where(queue.Name(name)).Only(ctx)
	if err == nil || !ent.IsNotFound(err) {
		return row, err
	}
	id := nodeid.New(nodeid.Queue)
	create := setProfile(tx.Queue.Create().SetID(id).SetTenantID(tenantID).SetName(name).SetCreatedAt(c.now()), recorder.DefaultProfile())
	if err := nothingIsFine(create.OnConflictColumns(queue.FieldTenantID, queue.FieldName).DoNothing().Exec(ctx)); err != nil {
		return nil, err
	}
	row, err = tx.Queue.Query().Where(queue.Name(name)).Only(ctx)
	if err != nil || row.ID != id { // another transaction was first
		return row, err
	}
	return row, c.audit(ctx, tx, tenantID, event{action: "queue.create", object: id, details: map[string]any{"name": name, "profile": profileOf(row)}})
}

// SetQueue makes a queue or changes its profile; recordings that run keep theirs. ErrInvalid, recorder.ErrNotFound
// (no such tenant).
func (c *Catalog) SetQueue(ctx context.Context, tenantID, name string, p recorder.Profile, actor recorder.Actor) error {
	const op = "set queue"
	if err := p.Validate(); err != nil {
		return outward(op, refuse(ErrInvalid, "%v", err))
	}
	if strings.TrimSpace(name) == "" {
		return outward(op, refuse(ErrInvalid, "the queue's name is empty"))
	}
	return c.write(ctx, op, tenantID, func(ctx context.Context, tx *ent.Tx) error {
		row, err := c.queue(ctx, tx, tenantID, name)
		if err != nil {
			return err
		}
		before := profileOf(row)
		if before == p {
			return nil
		}
		if err := setProfile(tx.Queue.UpdateOne(row), p).Exec(ctx); err != nil {
			return err
		}
		return c.audit(ctx, tx, tenantID, event{actor: actor, action: "queue.update", object: row.ID,
			details: map[string]any{"name": name, "before": before, "after": p}})
	})
}

// Queue is a queue's name and profile.
type Queue struct {
	ID      string
	Name    string
	Profile recorder.Profile
}

// Queues lists a tenant's queues by name.
func (c *Catalog) Queues(ctx context.Context, tenantID string) ([]Queue, error) {
	var got []Queue
	err := c.read(ctx, "list queues", tenantID, func(ctx context.Context, tx *ent.Tx) error {
		rows, err := tx.Queue.Query().Order(ent.Asc(queue.FieldName)).All(ctx)
		if err != nil {
			return err
		}
		got = mapped(rows, func(q *ent.Queue) Queue { return Queue{ID: q.ID, Name: q.Name, Profile: profileOf(q)} })
		return nil
	})
	return got, err
}

func profileOf(q *ent.Queue) recorder.Profile {
	return recorder.Profile{Layout: q.Layout, Resolution: q.Resolution, FPS: q.Fps, WaveformBurnIn: q.WaveformBurnIn,
		AudioMode: q.AudioMode, AbsentWebcam: q.AbsentWebcam, Passthrough: q.Passthrough, MaxVideoKbps: q.MaxVideoKbps,
		PipWidth: q.PipWidth, PipMargin: q.PipMargin, SegmentSeconds: q.SegmentSeconds, AutoResumeSec: q.AutoResumeSeconds,
		KeyframeScreen: q.KeyframeScreenSeconds, KeyframeWebcam: q.KeyframeWebcamSeconds, ReconnectSec: q.ReconnectSeconds}
}

// profileSetter is what creating and changing a queue have in common.
type profileSetter[B any] interface {
	SetLayout(recorder.Layout) B
	SetResolution(recorder.Resolution) B
	SetFps(int) B
	SetWaveformBurnIn(bool) B
	SetAudioMode(recorder.AudioMode) B
	SetAbsentWebcam(recorder.AbsentWebcam) B
	SetPassthrough(bool) B
	SetMaxVideoKbps(int) B
	SetPipWidth(int) B
	SetPipMargin(int) B
	SetSegmentSeconds(int) B
	SetAutoResumeSeconds(int) B
	SetKeyframeScreenSeconds(int) B
	SetKeyframeWebcamSeconds(int) B
	SetReconnectSeconds(int) B
}

func setProfile[B profileSetter[B]](b B, p recorder.Profile) B {
	return b.SetLayout(p.Layout).SetResolution(p.Resolution).SetFps(p.FPS).SetWaveformBurnIn(p.WaveformBurnIn).
		SetAudioMode(p.AudioMode).SetAbsentWebcam(p.AbsentWebcam).SetPassthrough(p.Passthrough).SetMaxVideoKbps(p.MaxVideoKbps).
		SetPipWidth(p.PipWidth).SetPipMargin(p.PipMargin).SetSegmentSeconds(p.SegmentSeconds).SetAutoResumeSeconds(p.AutoResumeSec).
		SetKeyframeScreenSeconds(p.KeyframeScreen).SetKeyframeWebcamSeconds(p.KeyframeWebcam).SetReconnectSeconds(int(p.Reconnect() / time.Second))
}

func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

// shown formats an optional name for an error's text.
func shown(s string) string { return fmt.Sprintf("%.80q", s) }
