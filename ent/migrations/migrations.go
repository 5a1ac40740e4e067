// Package migrations holds the versioned SQL of the database, one folder per dialect, as goose reads it.
// The files are written by the program in diff from ent's tables and are never changed once released.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// SQLite holds the migrations of SQLite.
func SQLite() (fs.FS, error) { return fs.Sub(files, "sqlite") }

// Postgres holds the migrations of PostgreSQL.
func Postgres() (fs.FS, error) { return fs.Sub(files, "postgres") }
