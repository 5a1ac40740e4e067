package schema

import (
	"context"
	"fmt"
	"time"

	"entgo.io/contrib/entgql"
	"entgo.io/ent"
	"entgo.io/ent/dialect/sql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/mixin"

	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/tenancy"
)

const (
	maxID   = 64   // prefix, underscore and ULID, with room
	maxName = 200  // names from outside, bytes; recorder refuses longer ones first
	maxText = 4096 // free text from outside
)

// now is the time of a row: both databases keep microseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// idMixin gives a table its string ids.
type idMixin struct {
	mixin.Schema
	kind nodeid.Kind
}

// Fields of idMixin.
func (m idMixin) Fields() []ent.Field {
	kind := m.kind
	return []ent.Field{
		field.String("id").MaxLen(maxID).NotEmpty().Immutable().DefaultFunc(func() string { return nodeid.New(kind) }),
	}
}

// ownedMixin makes a table belong to tenants: queries and writes are confined to the context's tenant.
type ownedMixin struct{ mixin.Schema }

// owned is the mixin pair of a tenant-owned table.
func owned(kind nodeid.Kind) []ent.Mixin { return []ent.Mixin{idMixin{kind: kind}, ownedMixin{}} }

// Fields of ownedMixin.
func (ownedMixin) Fields() []ent.Field {
	return []ent.Field{
		field.String("tenant_id").MaxLen(maxID).NotEmpty().Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
	}
}

// Edges of ownedMixin.
func (ownedMixin) Edges() []ent.Edge {
	return []ent.Edge{
		edge.To("tenant", Tenant.Type).Field("tenant_id").Unique().Required().Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
	}
}

// Interceptors of ownedMixin.
func (ownedMixin) Interceptors() []ent.Interceptor {
	return []ent.Interceptor{confineQuery("tenant_id")}
}

// Hooks of ownedMixin.
func (ownedMixin) Hooks() []ent.Hook { return []ent.Hook{confineWrite("tenant_id")} }

// confineQuery adds the tenant to every query of a table: as a root, as an edge, in counts and aggregates.
func confineQuery(column string) ent.Interceptor {
	return ent.TraverseFunc(func(ctx context.Context, q ent.Query) error {
		tenant, all, err := tenancy.From(ctx)
		if err != nil || all {
			return err
		}
		w, ok := q.(interface{ WhereP(...func(*sql.Selector)) })
		if !ok {
			return fmt.Errorf("schema: %T cannot be confined to a tenant", q)
		}
		w.WhereP(sql.FieldEQ(column, tenant))
		return nil
	})
}

// confineWrite lets a write touch the context's tenant only.
func confineWrite(column string) ent.Hook {
	return func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			tenant, all, err := tenancy.From(ctx)
			if err != nil {
				return nil, err
			}
			if all {
				return next.Mutate(ctx, m)
			}
			if m.Op().Is(ent.OpCreate) {
				if v, ok := m.Field(column); ok && v != tenant {
					return nil, tenancy.ErrForeign
				}
				return next.Mutate(ctx, m)
			}
			w, ok := m.(interface{ WhereP(...func(*sql.Selector)) })
			if !ok {
				return nil, fmt.Errorf("schema: %T cannot be confined to a tenant", m)
			}
			w.WhereP(sql.FieldEQ(column, tenant))
			return next.Mutate(ctx, m)
		})
	}
}

// hidden keeps a table out of GraphQL.
func hidden() schema.Annotation { return entgql.Skip(entgql.SkipAll) }

// ordered lets GraphQL sort by a field.
func ordered(name string) schema.Annotation { return entgql.OrderField(name) }

// name is a short text from outside, possibly empty.
func name(n string) ent.Field { return field.String(n).MaxLen(maxName).Default("") }

// created is when the row was made.
func created() ent.Field {
	return field.Time("created_at").Default(now).Immutable().Annotations(ordered("CREATED_AT"))
}
