package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"entgo.io/ent/dialect"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/dualrec/dualrec/ent/migrations"
)

// migrate applies the missing migrations. On PostgreSQL an advisory lock lets one of several nodes that start
// together do it while the others wait; a SQLite file belongs to one process.
func (a address) migrate(ctx context.Context, log *slog.Logger) (err error) {
	if err := a.prepare(); err != nil {
		return err
	}
	db, err := sql.Open(a.driver(), a.dsn(forMigrating))
	if err != nil {
		return &Error{Op: "open " + a.shown(), Err: err}
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	p, err := a.provider(db)
	if err != nil {
		return err
	}
	done, err := p.Up(ctx)
	for _, r := range done {
		log.Info("database migrated", "file", r.Source.Path, "duration", r.Duration)
	}
	if err != nil {
		return &Error{Op: "migrate " + a.shown(), Err: err}
	}
	if len(done) == 0 {
		return nil // the check reads every row: not at every start
	}
	return a.checkForeignKeys(ctx, db)
}

func (a address) provider(db *sql.DB) (*goose.Provider, error) {
	d, source := goose.DialectSQLite3, migrations.SQLite
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	if a.dialect == dialect.Postgres {
		d, source = goose.DialectPostgres, migrations.Postgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, fmt.Errorf("catalog: prepare the migration lock: %w", err)
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	} else {
		db.SetMaxOpenConns(1)
	}
	files, err := source()
	if err != nil {
		return nil, fmt.Errorf("catalog: read the migrations: %w", err)
	}
	return newProvider(d, db, files, opts)
}

func newProvider(d goose.Dialect, db *sql.DB, files fs.FS, opts []goose.ProviderOption) (*goose.Provider, error) {
	p, err := goose.NewProvider(d, db, files, opts...)
	if err != nil {
		return nil, fmt.Errorf("catalog: prepare the migrations: %w", err)
	}
	return p, nil
}

// checkForeignKeys makes up for having migrated SQLite with foreign keys off.
func (a address) checkForeignKeys(ctx context.Context, db *sql.DB) (err error) {
	if a.dialect != dialect.SQLite {
		return nil
	}
	rows, err := db.QueryContext(ctx, "PRAGMA foreign_key_check")
	if err != nil {
		return &Error{Op: "check foreign keys", Err: err}
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if rows.Next() {
		return &Error{Op: "check foreign keys", Err: errors.New("rows refer to rows that are not there: restore the database from a backup")}
	}
	if err := rows.Err(); err != nil {
		return &Error{Op: "check foreign keys", Err: err}
	}
	return nil
}
