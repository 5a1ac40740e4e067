package schema

import (
	"entgo.io/contrib/entgql"
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/dualrec/dualrec/ent/nodeid"
)

// Tenant is a customer of the installation. It owns everything else and never sees another.
type Tenant struct{ ent.Schema }

// Mixin of Tenant.
func (Tenant) Mixin() []ent.Mixin { return []ent.Mixin{idMixin{kind: nodeid.Tenant}} }

// Fields of Tenant.
func (Tenant) Fields() []ent.Field {
	return []ent.Field{
		field.String("name").MaxLen(maxName).NotEmpty().Unique(),
		field.String("slug").MaxLen(63).NotEmpty().Unique().Comment("names the tenant in object keys and URLs"),
		field.Enum("plan").Values("STANDARD", "ENTERPRISE").Default("STANDARD"),
		field.Enum("status").Values("ACTIVE", "SUSPENDED").Default("ACTIVE"),
		field.Int64("audit_seq").Default(0).NonNegative().Annotations(entgql.Skip(entgql.SkipAll)).
			Comment("number of the tenant's last audit event; counted here so that the numbers have no gaps and follow commit order"),
		created(),
	}
}

// Interceptors of Tenant: a tenant sees itself.
func (Tenant) Interceptors() []ent.Interceptor { return []ent.Interceptor{confineQuery("id")} }

// Hooks of Tenant: creating one needs a context across tenants, or one that names it.
func (Tenant) Hooks() []ent.Hook { return []ent.Hook{confineWrite("id")} }

// Queue is a contact-centre queue with its recording profile.
type Queue struct{ ent.Schema }

// Mixin of Queue.
func (Queue) Mixin() []ent.Mixin { return owned(nodeid.Queue) }

// Fields of Queue.
func (Queue) Fields() []ent.Field {
	return append([]ent.Field{
		field.String("name").MaxLen(maxName).NotEmpty().Immutable().Annotations(ordered("NAME")).Comment("the contact centre's own name of it"),
		created(),
	}, profileFields()...)
}

// Indexes of Queue.
func (Queue) Indexes() []ent.Index { return []ent.Index{index.Fields("tenant_id", "name").Unique()} }

// Annotations of Queue.
func (Queue) Annotations() []schema.Annotation {
	return []schema.Annotation{entgql.RelayConnection()}
}

// Agent is a person who takes calls.
type Agent struct{ ent.Schema }

// Mixin of Agent.
func (Agent) Mixin() []ent.Mixin { return owned(nodeid.Agent) }

// Fields of Agent.
func (Agent) Fields() []ent.Field {
	return []ent.Field{
		field.String("external_id").MaxLen(maxName).NotEmpty().Immutable().Annotations(ordered("EXTERNAL_ID")),
		field.String("display_name").MaxLen(maxName).Default("").Annotations(ordered("DISPLAY_NAME")),
		created(),
	}
}

// Indexes of Agent.
func (Agent) Indexes() []ent.Index {
	return []ent.Index{index.Fields("tenant_id", "external_id").Unique()}
}

// Annotations of Agent.
func (Agent) Annotations() []schema.Annotation { return []schema.Annotation{entgql.RelayConnection()} }

// APIKey is what a machine signs in with. The secret is never stored, only its hash.
type APIKey struct{ ent.Schema }

// Mixin of APIKey.
func (APIKey) Mixin() []ent.Mixin { return owned(nodeid.APIKey) }

// Annotations of APIKey.
func (APIKey) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Annotation{Table: "api_keys"}, entgql.RelayConnection()}
}

// Fields of APIKey.
func (APIKey) Fields() []ent.Field {
	return []ent.Field{
		field.Bytes("hash").MaxLen(128).NotEmpty().Sensitive().Immutable().Annotations(entgql.Skip(entgql.SkipAll)),
		field.String("role").MaxLen(32).NotEmpty().Immutable(),
		field.String("name").MaxLen(256).NotEmpty().Comment("what the key is for"),
		field.JSON("queues", []string{}).Optional().Immutable().Comment("whose recordings are in reach; * for all; empty: none"),
		field.JSON("allowed_networks", []string{}).Optional().Annotations(entgql.Skip(entgql.SkipOrderField)).
			Comment("CIDRs that media of this key's recordings may come from; empty: any"),
		created(),
		field.Time("last_used_at").Optional().Nillable().Comment("to the minute"),
		field.Time("expires_at").Optional().Nillable().Immutable(),
		field.Time("revoked_at").Optional().Nillable(),
	}
}

// Indexes of APIKey.
func (APIKey) Indexes() []ent.Index { return []ent.Index{index.Fields("tenant_id", "created_at")} }
