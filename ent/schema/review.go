package schema

import (
	"context"
	"encoding/json"
	"errors"

	"entgo.io/contrib/entgql"
	"entgo.io/ent"
	"entgo.io/ent/dialect"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/dualrec/dualrec/ent/nodeid"
)

// Tag is one tag of a recording, a row each, with the recording's start so that tag with newest first is one index.
type Tag struct{ ent.Schema }

// Mixin of Tag.
func (Tag) Mixin() []ent.Mixin { return owned(nodeid.Tag) }

// Fields of Tag.
func (Tag) Fields() []ent.Field {
	return []ent.Field{
		field.String("recording_id").MaxLen(maxID).Immutable(),
		field.String("name").MaxLen(maxName).NotEmpty().Immutable(),
		field.Time("started_at"),
	}
}

// Edges of Tag.
func (Tag) Edges() []ent.Edge { return []ent.Edge{ofRecording("tag_rows")} }

// Indexes of Tag.
func (Tag) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("tenant_id", "recording_id", "name").Unique(),
		index.Fields("tenant_id", "name", "started_at", "recording_id"),
		index.Fields("recording_id"),
	}
}

// Annotations of Tag.
func (Tag) Annotations() []schema.Annotation { return []schema.Annotation{hidden()} }

// author fields say who wrote a row.
func author() []ent.Field {
	return []ent.Field{
		field.String("author_kind").MaxLen(32).Immutable(),
		field.String("author_id").MaxLen(maxName).Immutable(),
	}
}

// Bookmark marks an instant or a stretch of a recording, in recording time.
type Bookmark struct{ ent.Schema }

// Mixin of Bookmark.
func (Bookmark) Mixin() []ent.Mixin { return owned(nodeid.Bookmark) }

// Fields of Bookmark.
func (Bookmark) Fields() []ent.Field {
	return append(author(),
		field.String("recording_id").MaxLen(maxID).Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
		field.Int64("at_us").NonNegative().Annotations(ordered("AT")),
		field.Int64("to_us").NonNegative().Optional().Nillable().Comment("null: an instant"),
		name("label"),
		field.String("color").MaxLen(32).Default(""),
		created(),
	)
}

// Edges of Bookmark.
func (Bookmark) Edges() []ent.Edge {
	return []ent.Edge{
		ofRecording("bookmarks"),
		edge.To("comments", Comment.Type).Annotations(entgql.RelayConnection()),
	}
}

// Indexes of Bookmark.
func (Bookmark) Indexes() []ent.Index {
	return []ent.Index{index.Fields("tenant_id", "recording_id", "at_us", "id"), index.Fields("recording_id", "at_us")}
}

// Annotations of Bookmark.
func (Bookmark) Annotations() []schema.Annotation {
	return []schema.Annotation{entgql.RelayConnection()}
}

// Comment is a remark anchored in a recording, alone or on a bookmark.
type Comment struct{ ent.Schema }

// Mixin of Comment.
func (Comment) Mixin() []ent.Mixin { return owned(nodeid.Comment) }

// Fields of Comment.
func (Comment) Fields() []ent.Field {
	return append(author(),
		field.String("recording_id").MaxLen(maxID).Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
		field.String("bookmark_id").MaxLen(maxID).Optional().Nillable().Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
		field.Int64("at_us").NonNegative().Immutable().Annotations(ordered("AT")),
		field.Text("body").MaxLen(16<<10).NotEmpty(),
		created(),
		field.Time("resolved_at").Optional().Nillable(),
		name("resolved_by"),
	)
}

// Edges of Comment.
func (Comment) Edges() []ent.Edge {
	return []ent.Edge{
		ofRecording("comments"),
		edge.From("bookmark", Bookmark.Type).Ref("comments").Field("bookmark_id").Unique().Immutable(),
	}
}

// Indexes of Comment.
func (Comment) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("tenant_id", "recording_id", "at_us", "id"),
		index.Fields("tenant_id", "created_at", "id"),
		index.Fields("recording_id", "at_us"),
		index.Fields("bookmark_id"),
	}
}

// Annotations of Comment.
func (Comment) Annotations() []schema.Annotation {
	return []schema.Annotation{entgql.RelayConnection()}
}

// QALink ties a recording to an evaluation in a QA system.
type QALink struct{ ent.Schema }

// Mixin of QALink.
func (QALink) Mixin() []ent.Mixin { return owned(nodeid.QALink) }

// Fields of QALink.
func (QALink) Fields() []ent.Field {
	return []ent.Field{
		field.String("recording_id").MaxLen(maxID).Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
		field.String("external_system").MaxLen(maxName).NotEmpty().Immutable(),
		field.String("external_id").MaxLen(maxName).NotEmpty().Immutable(),
		field.String("url").MaxLen(2048).Default(""),
		name("form_name"),
		field.Float("score").Optional().Nillable(),
		field.Float("scale").Positive().Default(100).Comment("the best possible score"),
		field.Time("synced_at").Default(now),
		created(),
	}
}

// Edges of QALink.
func (QALink) Edges() []ent.Edge { return []ent.Edge{ofRecording("qa_links")} }

// Indexes of QALink.
func (QALink) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("tenant_id", "external_system", "external_id").Unique(),
		index.Fields("recording_id"),
	}
}

// Annotations of QALink.
func (QALink) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Annotation{Table: "qa_links"}}
}

// Grant is one permission to play one asset of a recording; every signed URL is a row.
type Grant struct{ ent.Schema }

// Mixin of Grant.
func (Grant) Mixin() []ent.Mixin { return owned(nodeid.Grant) }

// Fields of Grant.
func (Grant) Fields() []ent.Field {
	const maxField = 256 // of the playback package
	return []ent.Field{
		field.String("recording_id").MaxLen(maxID).Immutable(),
		field.String("asset").MaxLen(32).NotEmpty().Immutable(),
		field.String("viewer").MaxLen(maxField).NotEmpty().Immutable(),
		field.String("purpose").MaxLen(maxField).Default("").Immutable(),
		field.String("ip").MaxLen(64).Default("").Immutable().Comment("the only address that may use it; empty: any"),
		field.String("disposition").MaxLen(32).Default("").Immutable(),
		field.Time("issued_at").Immutable(),
		field.Time("expires_at").Immutable(),
		field.Time("revoked_at").Optional().Nillable(),
		field.Time("first_used_at").Optional().Nillable(),
	}
}

// Edges of Grant.
func (Grant) Edges() []ent.Edge { return []ent.Edge{ofRecording("grants")} }

// Indexes of Grant.
func (Grant) Indexes() []ent.Index {
	return []ent.Index{index.Fields("tenant_id", "recording_id", "issued_at"), index.Fields("recording_id"), index.Fields("expires_at")}
}

// Annotations of Grant.
func (Grant) Annotations() []schema.Annotation { return []schema.Annotation{hidden()} }

// ErrAppendOnly: an audit event can be neither changed nor removed.
var ErrAppendOnly = errors.New("schema: audit events are append-only")

// AuditEvent says who did what to which object when. Rows are only ever added.
type AuditEvent struct{ ent.Schema }

// Mixin of AuditEvent.
func (AuditEvent) Mixin() []ent.Mixin { return owned(nodeid.Audit) }

// Fields of AuditEvent.
func (AuditEvent) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("seq").Positive().Immutable().Annotations(ordered("SEQ")).Comment("1, 2, 3 … per tenant, without gaps"),
		field.String("actor_kind").MaxLen(32).NotEmpty().Immutable(),
		field.String("actor_id").MaxLen(maxName).Immutable(),
		field.String("actor_ip").MaxLen(64).Default("").Immutable(),
		field.String("action").MaxLen(64).NotEmpty().Immutable(),
		field.String("object").MaxLen(maxName).Immutable().Comment("id of what it was done to"),
		field.Time("at").Immutable().Annotations(ordered("AT")),
		field.JSON("details", json.RawMessage{}).Optional().Immutable().
			SchemaType(map[string]string{dialect.Postgres: "json"}).Comment("kept to the byte, as it is hashed into the audit log"),
	}
}

// Hooks of AuditEvent refuse everything but adding.
func (AuditEvent) Hooks() []ent.Hook {
	return []ent.Hook{func(next ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(ctx context.Context, m ent.Mutation) (ent.Value, error) {
			if !m.Op().Is(ent.OpCreate) {
				return nil, ErrAppendOnly
			}
			return next.Mutate(ctx, m)
		})
	}}
}

// Indexes of AuditEvent.
func (AuditEvent) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("tenant_id", "seq").Unique(),
		index.Fields("tenant_id", "at", "id"),
		index.Fields("tenant_id", "object", "seq"),
		index.Fields("tenant_id", "action", "seq"),
	}
}

// Annotations of AuditEvent.
func (AuditEvent) Annotations() []schema.Annotation {
	return []schema.Annotation{entgql.RelayConnection()}
}
