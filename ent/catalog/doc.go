// Package catalog is the database behind the ports of the domain packages: it opens SQLite or PostgreSQL,
// brings its tables up to date, and is the only code that writes through ent.
//
// Every method is one short transaction; nothing slow happens in one. Every method that changes something
// writes its audit event in the same transaction, numbered without gaps per tenant. Exceptions, because they
// would bury the log: statistics of tracks, progress of composing, and the time at which an API key was last used.
//
// Methods that take a tenant see that tenant's rows only; what belongs to another is recorder.ErrNotFound.
// Serialization failures, deadlocks and a busy database are retried. What then remains of a database's error
// is an *Error, whose text never shows SQL.
//
// The package does not know GraphQL, HTTP, media or object stores. Publishing a change after the commit is its
// callers' business.
package catalog
