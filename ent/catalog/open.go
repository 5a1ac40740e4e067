package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	_ "modernc.org/sqlite"             // the driver "sqlite"

	"github.com/dualrec/dualrec/ent"
	_ "github.com/dualrec/dualrec/ent/runtime" // the schema's defaults, hooks and interceptors
	"github.com/dualrec/dualrec/recorder"
)

var _ recorder.Catalog = (*Catalog)(nil)

// Catalog is an open database. It is safe for concurrent use.
type Catalog struct {
	dialect string
	log     *slog.Logger
	now     func() time.Time
	pools   []*sql.DB
	writer  *ent.Client // transactions take the write lock at once (SQLite)
	reader  *ent.Client // refuses mutations
}

const (
	sqliteReaders  = 8
	postgresConns  = 32
	connLifetime   = 30 * time.Minute
	sqliteFileMode = 0o600
	sqliteDirMode  = 0o700
)

// Open opens the database at address, which is sqlite:PATH or postgres://…, and applies the migrations that it
// lacks. The caller closes the Catalog.
func Open(ctx context.Context, address string, log *slog.Logger) (*Catalog, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	if err := a.migrate(ctx, log); err != nil {
		return nil, err
	}
	c := &Catalog{dialect: a.dialect, log: log, now: now}
	if err := c.connect(ctx, a); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Migrate brings the database at address up to date without opening it for use.
func Migrate(ctx context.Context, address string, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	a, err := parseAddress(address)
	if err != nil {
		return err
	}
	return a.migrate(ctx, log)
}

// now cuts to microseconds, which both databases keep.
func now() time.Time { return stamp(time.Now()) }

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func (c *Catalog) connect(ctx context.Context, a address) error {
	write, err := c.pool(ctx, a, a.dsn(forWriting), a.writers())
	if err != nil {
		return err
	}
	read := write
	if a.dialect == dialect.SQLite {
		// SQLite has one writer; readers of a write-ahead log never wait for it.
		if read, err = c.pool(ctx, a, a.dsn(forReading), sqliteReaders); err != nil {
			return err
		}
	}
	c.writer = ent.NewClient(ent.Driver(entsql.OpenDB(a.dialect, write)))
	c.reader = ent.NewClient(ent.Driver(entsql.OpenDB(a.dialect, read)))
	c.reader.Use(func(ent.Mutator) ent.Mutator {
		return ent.MutateFunc(func(context.Context, ent.Mutation) (ent.Value, error) { return nil, ErrReadOnly })
	})
	return nil
}

func (c *Catalog) pool(ctx context.Context, a address, dsn string, conns int) (*sql.DB, error) {
	db, err := sql.Open(a.driver(), dsn)
	if err != nil {
		return nil, &Error{Op: "open " + a.shown(), Err: err}
	}
	c.pools = append(c.pools, db)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	if a.dialect == dialect.Postgres {
		db.SetConnMaxLifetime(connLifetime)
	}
	if err := db.PingContext(ctx); err != nil {
		return nil, &Error{Op: "connect to " + a.shown(), Err: err}
	}
	return db, nil
}

// Close closes all connections. It may be called again.
func (c *Catalog) Close() error {
	var errs []error
	for _, db := range c.pools {
		errs = append(errs, db.Close())
	}
	c.pools = nil
	return errors.Join(errs...)
}

// Ping asks the database for an answer.
func (c *Catalog) Ping(ctx context.Context) error {
	for _, db := range c.pools {
		if err := db.PingContext(ctx); err != nil {
			return outward("ping", err)
		}
	}
	return nil
}

// ReadClient is the client to which GraphQL is bound. It refuses every write, and every query whose context
// names no tenant (tenancy.With); it sees the rows of that tenant only.
func (c *Catalog) ReadClient() *ent.Client { return c.reader }

// address is a parsed database address.
type address struct {
	dialect string
	path    string // SQLite
	url     *url.URL
}

func parseAddress(s string) (address, error) {
	const want = "want sqlite:PATH or postgres://user@host/database"
	if path, ok := strings.CutPrefix(s, "sqlite:"); ok {
		if path == "" || strings.ContainsRune(path, 0) || strings.HasPrefix(path, ":memory:") {
			return address{}, fmt.Errorf("catalog: the SQLite address needs the path of a file: %s", want)
		}
		return address{dialect: dialect.SQLite, path: path}, nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return address{}, fmt.Errorf("catalog: unknown database address: %s", want) // never print it: it may hold a password
	}
	return address{dialect: dialect.Postgres, url: u}, nil
}

func (a address) driver() string {
	if a.dialect == dialect.SQLite {
		return "sqlite"
	}
	return "pgx"
}

func (a address) writers() int {
	if a.dialect == dialect.SQLite {
		return 1
	}
	return postgresConns
}

// shown is the address without its secrets.
func (a address) shown() string {
	if a.dialect == dialect.SQLite {
		return "sqlite:" + a.path
	}
	return "postgres://" + a.url.Host + a.url.Path
}

type purpose int

const (
	forWriting purpose = iota
	forReading
	forMigrating
)

// dsn is the driver's own address. Foreign keys are off while migrating: SQLite changes a table by building it
// anew and dropping the old one, which would otherwise take its children along.
func (a address) dsn(p purpose) string {
	if a.dialect == dialect.Postgres {
		return a.url.String()
	}
	q := "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_time_format=sqlite&_timezone=UTC"
	switch p {
	case forWriting:
		q += "&_pragma=foreign_keys(1)&_txlock=immediate"
	case forReading:
		q += "&_pragma=foreign_keys(1)&_pragma=query_only(1)"
	case forMigrating:
		q += "&_pragma=foreign_keys(0)&_txlock=immediate"
	}
	return "file:" + strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(a.path) + q
}

// prepare makes SQLite's file, readable by its owner alone: it holds customers' names and hashes of API keys.
func (a address) prepare() error {
	if a.dialect != dialect.SQLite {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(a.path), sqliteDirMode); err != nil {
		return fmt.Errorf("catalog: make the database's folder: %w", err)
	}
	f, err := os.OpenFile(a.path, os.O_CREATE|os.O_RDWR, sqliteFileMode)
	if err != nil {
		return fmt.Errorf("catalog: make the database's file: %w", err)
	}
	return f.Close()
}
