package schema

import (
	"encoding/json"

	"entgo.io/contrib/entgql"
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/edge"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/retention"
)

// Session is one call as the contact centre knows it.
type Session struct{ ent.Schema }

// Mixin of Session.
func (Session) Mixin() []ent.Mixin { return owned(nodeid.Session) }

// Fields of Session.
func (Session) Fields() []ent.Field {
	return []ent.Field{
		field.String("external_id").MaxLen(maxName).NotEmpty().Immutable(),
		field.String("queue_id").MaxLen(maxID).Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
		field.String("agent_id").MaxLen(maxID).Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
		name("customer_id"),
		name("client"),
		name("session_type"),
		field.JSON("metadata", json.RawMessage{}).Optional(),
		field.Time("started_at").Annotations(ordered("STARTED_AT")),
		field.Time("ended_at").Optional().Nillable(),
		created(),
	}
}

// Edges of Session.
func (Session) Edges() []ent.Edge {
	return []ent.Edge{
		edge.To("queue", Queue.Type).Field("queue_id").Unique().Required().Immutable(),
		edge.To("agent", Agent.Type).Field("agent_id").Unique().Required().Immutable(),
		edge.To("recordings", Recording.Type),
	}
}

// Indexes of Session.
func (Session) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("tenant_id", "external_id").Unique(),
		index.Fields("tenant_id", "started_at", "id"),
		index.Fields("tenant_id", "customer_id", "started_at"),
	}
}

// Annotations of Session.
func (Session) Annotations() []schema.Annotation {
	return []schema.Annotation{entgql.RelayConnection()}
}

// Recording is what was recorded of a session: capture, tier and disposition are three orthogonal facts.
// Queue, agent, customer, client and session type are the session's, repeated so that every filter of the
// API with newest-first order has one index.
type Recording struct{ ent.Schema }

// Mixin of Recording.
func (Recording) Mixin() []ent.Mixin { return owned(nodeid.Recording) }

// Fields of Recording.
func (Recording) Fields() []ent.Field {
	skip := entgql.Skip(entgql.SkipAll)
	return []ent.Field{
		field.String("session_id").MaxLen(maxID).Immutable().Annotations(skip),
		field.String("queue_id").MaxLen(maxID).Immutable().Annotations(skip),
		field.String("agent_id").MaxLen(maxID).Immutable().Annotations(skip),
		name("customer_id"),
		name("client"),
		name("session_type"),
		field.String("node").MaxLen(maxName).Comment("which recorder captures it"),
		field.Enum("capture").GoType(recorder.CaptureState("")).Default(string(recorder.Pending)),
		field.Time("capture_since").Default(now).Comment("when the capture state last changed"),
		name("capture_reason"), // why, e.g. the reason of a pause
		field.Enum("tier").GoType(retention.Tier("")).Default(string(retention.Hot)),
		field.Enum("disposition").GoType(retention.Disposition("")).Default(string(retention.Retained)),
		field.Time("started_at").Annotations(ordered("STARTED_AT")),
		field.Time("ended_at").Optional().Nillable(),
		field.Int64("duration_us").Default(0).NonNegative().Annotations(ordered("DURATION")),
		field.Int64("size_bytes").Default(0).NonNegative().Annotations(ordered("SIZE")),
		field.Enum("layout").GoType(recorder.Layout("")),
		field.Enum("resolution").GoType(recorder.Resolution("")),
		field.Int("width").NonNegative().Default(0),
		field.Int("height").NonNegative().Default(0),
		field.String("video_codec").MaxLen(32).Default(""),
		field.String("audio_codec").MaxLen(32).Default(""),
		field.Bool("passthrough").Default(false),
		field.Bool("gappy").StorageKey("has_gaps").Default(false).Annotations(entgql.MapsTo("hasGaps")).
			Comment("hasGaps in the API; the name is taken by the predicate of the edge gaps"),
		field.Float("qa_score_sort").Default(-1).Annotations(ordered("QA_SCORE")).Comment("percent; -1: no score"),
		field.Int("compose_lag_ms").Default(0),
		field.String("failure_code").MaxLen(64).Default(""),
		field.String("failure_text").MaxLen(maxText).Default(""),
		field.Bool("rtcp_mux").Default(false).Immutable(),
		field.JSON("profile", recorder.Profile{}).Immutable().Annotations(skip),
		field.Time("expires_at").Optional().Nillable(),
		created(),
	}
}

// Edges of Recording.
func (Recording) Edges() []ent.Edge {
	skip := entgql.Skip(entgql.SkipAll)
	return []ent.Edge{
		edge.From("session", Session.Type).Ref("recordings").Field("session_id").Unique().Required().Immutable(),
		edge.To("queue", Queue.Type).Field("queue_id").Unique().Required().Immutable(),
		edge.To("agent", Agent.Type).Field("agent_id").Unique().Required().Immutable(),
		edge.To("tracks", Track.Type),
		edge.To("segments", Segment.Type).Annotations(skip),
		edge.To("gaps", Gap.Type),
		edge.To("tag_rows", Tag.Type).Annotations(skip),
		edge.To("bookmarks", Bookmark.Type).Annotations(entgql.RelayConnection()),
		edge.To("comments", Comment.Type).Annotations(entgql.RelayConnection()),
		edge.To("qa_links", QALink.Type),
		edge.To("copies", StoredCopy.Type).Annotations(skip),
		edge.To("data_key", DataKey.Type).Unique().Annotations(skip),
		edge.To("grants", Grant.Type).Annotations(skip),
	}
}

// Indexes of Recording: one per filter of the API with the order newest first, one per other order.
func (Recording) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("tenant_id", "started_at", "id"),
		index.Fields("tenant_id", "agent_id", "started_at", "id"),
		index.Fields("tenant_id", "queue_id", "started_at", "id"),
		index.Fields("tenant_id", "customer_id", "started_at", "id"),
		index.Fields("tenant_id", "client", "started_at", "id"),
		index.Fields("tenant_id", "session_type", "started_at", "id"),
		index.Fields("tenant_id", "capture", "started_at", "id"),
		index.Fields("tenant_id", "qa_score_sort", "id"),
		index.Fields("tenant_id", "duration_us", "id"),
		index.Fields("tenant_id", "size_bytes", "id"),
		index.Fields("tenant_id", "created_at", "id"),
		index.Fields("tenant_id", "session_id"),
		index.Fields("node", "capture"),
		index.Fields("disposition", "expires_at"),
	}
}

// Annotations of Recording.
func (Recording) Annotations() []schema.Annotation {
	return []schema.Annotation{entgql.RelayConnection()}
}

// Track is one expected or attached medium of a recording.
type Track struct{ ent.Schema }

// Mixin of Track.
func (Track) Mixin() []ent.Mixin { return owned(nodeid.Track) }

// Fields of Track.
func (Track) Fields() []ent.Field {
	count := func(n string) ent.Field { return field.Int64(n).NonNegative().Default(0) }
	return []ent.Field{
		field.String("recording_id").MaxLen(maxID).Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
		field.Enum("kind").GoType(recorder.TrackKind("")).Immutable(),
		field.Enum("state").GoType(recorder.TrackState("")).Default(string(recorder.TrackExpected)),
		field.String("codec").MaxLen(32).Default("").Comment("empty until attached"),
		field.String("endpoint_ip").MaxLen(64).Default(""),
		field.Int("endpoint_rtp_port").NonNegative().Max(65535).Default(0),
		field.Int("endpoint_rtcp_port").NonNegative().Max(65535).Default(0),
		field.Uint32("ssrc").Default(0),
		count("packets"), count("bytes"), count("rtcp_packets"), count("lost"), count("duplicates"), count("reordered"),
		count("dropped_foreign"), count("dropped_malformed"), count("keyframes"), count("keyframes_asked"),
		count("dropped_unauthentic"), count("dropped_held"), count("dropped_by_kernel"), count("nacked"), count("repaired"),
		field.Float("jitter_ms").Default(0),
		field.Time("first_packet_at").Optional().Nillable(),
		field.Time("last_packet_at").Optional().Nillable(),
	}
}

// Edges of Track.
func (Track) Edges() []ent.Edge {
	return []ent.Edge{ofRecording("tracks")}
}

// Indexes of Track.
func (Track) Indexes() []ent.Index {
	return []ent.Index{index.Fields("tenant_id", "recording_id", "kind"), index.Fields("recording_id")}
}

// Segment is one composed stretch.
type Segment struct{ ent.Schema }

// Mixin of Segment.
func (Segment) Mixin() []ent.Mixin { return owned(nodeid.Segment) }

// Fields of Segment.
func (Segment) Fields() []ent.Field {
	return []ent.Field{
		field.String("recording_id").MaxLen(maxID).Immutable(),
		field.Int("idx").NonNegative().Immutable(),
		field.Int64("from_frame").NonNegative(),
		field.Int64("to_frame").NonNegative(),
		field.Enum("layout").GoType(recorder.Layout("")),
		field.Bool("paused").Default(false),
		field.Int64("size_bytes").NonNegative().Default(0),
		field.String("spool_name").MaxLen(maxName).Default(""),
	}
}

// Edges of Segment.
func (Segment) Edges() []ent.Edge { return []ent.Edge{ofRecording("segments")} }

// Indexes of Segment.
func (Segment) Indexes() []ent.Index {
	return []ent.Index{index.Fields("tenant_id", "recording_id", "idx").Unique(), index.Fields("recording_id")}
}

// Annotations of Segment.
func (Segment) Annotations() []schema.Annotation { return []schema.Annotation{hidden()} }

// Gap is one entry of the gap ledger.
type Gap struct{ ent.Schema }

// Mixin of Gap.
func (Gap) Mixin() []ent.Mixin { return owned(nodeid.Gap) }

// Fields of Gap.
func (Gap) Fields() []ent.Field {
	skip := entgql.Skip(entgql.SkipAll)
	return []ent.Field{
		field.String("recording_id").MaxLen(maxID).Immutable().Annotations(skip),
		field.String("track_id").MaxLen(maxID).Optional().Nillable().Immutable().Annotations(skip).Comment("null: the whole recording"),
		field.Enum("kind").GoType(recorder.GapKind("")).Immutable(),
		field.Int64("from_us").Immutable().Annotations(ordered("FROM")),
		field.Int64("to_us").Immutable(),
		field.Int("packets").Default(0).Immutable(),
		field.String("detail").MaxLen(maxText).Default("").Immutable(),
	}
}

// Edges of Gap.
func (Gap) Edges() []ent.Edge {
	return []ent.Edge{
		ofRecording("gaps"),
		edge.To("track", Track.Type).Field("track_id").Unique().Immutable(),
	}
}

// Indexes of Gap.
func (Gap) Indexes() []ent.Index {
	return []ent.Index{index.Fields("tenant_id", "recording_id", "from_us"), index.Fields("recording_id")}
}

// StoredCopy is one object in a store. It is registered before its first byte is uploaded, so that nothing
// stored can be orphaned. (The table is called copies; Go's copy is taken.)
type StoredCopy struct{ ent.Schema }

// Mixin of StoredCopy.
func (StoredCopy) Mixin() []ent.Mixin { return owned(nodeid.Copy) }

// Fields of StoredCopy.
func (StoredCopy) Fields() []ent.Field {
	return []ent.Field{
		field.String("recording_id").MaxLen(maxID).Immutable(),
		field.Enum("role").GoType(recorder.CopyRole("")).Immutable(),
		field.String("target").MaxLen(maxName).NotEmpty().Immutable(),
		field.String("object_key").MaxLen(1024).NotEmpty().Immutable(),
		field.String("version_id").MaxLen(1024).Default(""),
		field.String("file_id").MaxLen(maxName).Default(""),
		field.Int64("size").NonNegative().Default(0),
		field.Int64("ciphertext_size").NonNegative().Default(0),
		field.Bytes("ciphertext_sha256").MaxLen(32).Optional(),
		field.Enum("state").Values("REGISTERED", "STORED").Default("REGISTERED"),
		created(),
		field.Time("stored_at").Optional().Nillable(),
	}
}

// Edges of StoredCopy.
func (StoredCopy) Edges() []ent.Edge { return []ent.Edge{ofRecording("copies")} }

// Indexes of StoredCopy.
func (StoredCopy) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("tenant_id", "target", "object_key").Unique(),
		index.Fields("tenant_id", "recording_id", "role"),
		index.Fields("recording_id"),
	}
}

// Annotations of StoredCopy.
func (StoredCopy) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Annotation{Table: "copies"}, hidden()}
}

// DataKey is a recording's wrapped key. Destroying it destroys every file of the recording.
type DataKey struct{ ent.Schema }

// Mixin of DataKey.
func (DataKey) Mixin() []ent.Mixin { return owned(nodeid.DataKey) }

// Fields of DataKey.
func (DataKey) Fields() []ent.Field {
	return []ent.Field{
		field.String("recording_id").MaxLen(maxID).Immutable(),
		field.JSON("wrapped_key", kms.WrappedKey{}).Optional().Comment("null once destroyed"),
		field.String("provider").MaxLen(32).Default(""),
		field.String("key_ref").MaxLen(1024).Default(""),
		field.Enum("state").Values("ACTIVE", "DESTROYED").Default("ACTIVE"),
		created(),
		field.Time("destroyed_at").Optional().Nillable(),
	}
}

// Edges of DataKey.
func (DataKey) Edges() []ent.Edge {
	return []ent.Edge{ofRecording("data_key")}
}

// Indexes of DataKey.
func (DataKey) Indexes() []ent.Index {
	return []ent.Index{index.Fields("tenant_id", "recording_id").Unique()}
}

// Annotations of DataKey.
func (DataKey) Annotations() []schema.Annotation { return []schema.Annotation{hidden()} }

// ofRecording is the edge to the recording that owns a row.
func ofRecording(ref string) ent.Edge {
	return edge.From("recording", Recording.Type).Ref(ref).Field("recording_id").Unique().Required().Immutable()
}
