// Package nodeid makes and reads the ids of rows: a prefix that names the table, and a ULID, e.g.
// rec_01JD8V6M0Q4T6XKQ2Z3A5B7C9D. The prefix lets one GraphQL node(id) field find the table without a
// lookup. The package knows nothing of databases.
package nodeid

import (
	"strings"

	"github.com/oklog/ulid/v2"
)

// Kind is the prefix of one table's ids, without the underscore.
type Kind string

// The kinds of rows.
const (
	Tenant    Kind = "ten"
	Queue     Kind = "que"
	Agent     Kind = "agt"
	Session   Kind = "ses"
	Recording Kind = "rec"
	Track     Kind = "trk"
	Segment   Kind = "seg"
	Gap       Kind = "gap"
	Tag       Kind = "tag"
	Bookmark  Kind = "bmk"
	Comment   Kind = "cmt"
	QALink    Kind = "qal"
	Copy      Kind = "cpy"
	DataKey   Kind = "dky"
	APIKey    Kind = "apk"
	Grant     Kind = "grt"
	Audit     Kind = "aud"
)

// Table names, as in the migrations.
var tables = map[Kind]string{
	Tenant: "tenants", Queue: "queues", Agent: "agents", Session: "sessions", Recording: "recordings", Track: "tracks",
	Segment: "segments", Gap: "gaps", Tag: "tags", Bookmark: "bookmarks", Comment: "comments", QALink: "qa_links",
	Copy: "copies", DataKey: "data_keys", APIKey: "api_keys", Grant: "grants", Audit: "audit_events",
}

// New makes a fresh id. Ids made later by one process sort after earlier ones.
func New(k Kind) string { return string(k) + "_" + ulid.Make().String() }

// Of reads the kind of an id. ok is false unless the prefix is known and the rest is a ULID.
func Of(id string) (k Kind, ok bool) {
	prefix, rest, found := strings.Cut(id, "_")
	if !found {
		return "", false
	}
	if _, known := tables[Kind(prefix)]; !known {
		return "", false
	}
	if _, err := ulid.ParseStrict(rest); err != nil {
		return "", false
	}
	return Kind(prefix), true
}

// Table names the table of a kind. It is what ent.WithNodeType wants.
func Table(k Kind) string { return tables[k] }
