// Command diff writes the migration that leads from the committed SQL files to the tables of the ent schema,
// for SQLite and for PostgreSQL:
//
//	go run ./ent/migrations/diff add_something
//
// It replays the files on throw-away databases: SQLite in memory, and a private PostgreSQL server (or an empty
// database named by DUALREC_DEV_POSTGRES_URL). Without a difference it writes nothing. It must run in the
// module's root folder. Read what it wrote: a rebuilt SQLite table loses its triggers.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"ariga.io/atlas/sql/migrate"
	"ariga.io/atlas/sql/sqltool"
	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/dualrec/dualrec/ent/catalog/pgtest"
	tables "github.com/dualrec/dualrec/ent/migrate"
)

// EnvURL names an empty PostgreSQL database to replay the files in.
const EnvURL = "DUALREC_DEV_POSTGRES_URL"

var validName = regexp.MustCompile(`^[a-z][a-z0-9_]{2,50}$`)

func main() {
	if len(os.Args) != 2 || !validName.MatchString(os.Args[1]) {
		fmt.Fprintln(os.Stderr, "usage: go run ./ent/migrations/diff NAME   (3 to 51 of a-z, 0-9 and _, e.g. add_holds)")
		os.Exit(2)
	}
	if err := run(context.Background(), "ent/migrations", os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "diff:", err)
		os.Exit(1)
	}
}

// run writes both dialects' files under one version.
func run(ctx context.Context, root, name string) (err error) {
	version := time.Now().UTC().Format("20060102150405")
	pg := os.Getenv(EnvURL)
	if pg == "" {
		srv, err := pgtest.Start(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, srv.Close()) }()
		if pg, err = srv.Create(ctx); err != nil {
			return err
		}
	}
	if err := write(ctx, dialect.SQLite, "file:diff?mode=memory&cache=shared&_pragma=foreign_keys(1)", filepath.Join(root, "sqlite"), version, name); err != nil {
		return err
	}
	return write(ctx, dialect.Postgres, pg, filepath.Join(root, "postgres"), version, name)
}

// write puts the difference for one dialect into dir. The database at dsn must be empty.
func write(ctx context.Context, d, dsn, dir, version, name string) (err error) {
	driver := map[string]string{dialect.SQLite: "sqlite", dialect.Postgres: "pgx"}[d]
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return fmt.Errorf("open the development database for %s: %w", d, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	goose, err := sqltool.NewGooseDir(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	m, err := schema.NewMigrate(entsql.OpenDB(d, db), schema.WithDir(goose), schema.WithMigrationMode(schema.ModeReplay),
		schema.WithDropColumn(false), schema.WithDropIndex(false), schema.WithDialect(d), schema.WithFormatter(versioned(version)))
	if err != nil {
		return fmt.Errorf("prepare the difference for %s: %w", d, err)
	}
	own, err := schema.CopyTables(tables.Tables) // NamedDiff writes to what it is given
	if err != nil {
		return fmt.Errorf("copy the schema's tables: %w", err)
	}
	if err := m.NamedDiff(ctx, name, own...); err != nil {
		return fmt.Errorf("write the difference for %s: %w", d, err)
	}
	return nil
}

// versioned names goose files by a given version, so that both dialects' files have the same name.
type versioned string

// Format implements migrate.Formatter.
func (v versioned) Format(p *migrate.Plan) ([]migrate.File, error) {
	files, err := sqltool.GooseFormatter.Format(p)
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = migrate.NewLocalFile(string(v)+"_"+p.Name+".sql", f.Bytes())
	}
	return files, nil
}
