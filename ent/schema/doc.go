// Package schema describes the tables of dualrec; ent generates the rest of ent/ from it. State names come
// from the domain packages. It knows nothing of GraphQL resolvers, services or how a database is opened.
//
// Rules that every table keeps: ids are strings with a prefix (ent/nodeid); every row but the tenant's own
// has a tenant_id that never changes, which every unique index includes; no column that the API sorts by is
// nullable (a NULL breaks keyset cursors); times are UTC, cut to microseconds, which both databases keep.
package schema
