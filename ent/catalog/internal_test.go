package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"entgo.io/ent/dialect"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/ent/catalog/pgtest"
	"github.com/dualrec/dualrec/ent/schema"
	"github.com/dualrec/dualrec/ent/tenancy"
	"github.com/dualrec/dualrec/recorder"
)

func openBoth(t *testing.T, test func(t *testing.T, c *Catalog)) {
	t.Helper()
	t.Parallel()
	for name, address := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "a.db") },
		"postgres": func(t *testing.T) string { return pgtest.Database(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := Open(t.Context(), address(t), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			test(t, c)
		})
	}
}

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"sqlite:rec.db", "sqlite:/var/lib/dualrec/rec.db", "postgres://u:p@h/db", "postgresql:///db?host=/run"} {
		if _, err := parseAddress(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "sqlite:", "sqlite::memory:", "sqlite:a\x00b", "mysql://u:geheim@h/db", "rec.db", "postgres://u:geheim@h:port/db", "://"} {
		_, err := parseAddress(bad)
		if err == nil || !strings.Contains(err.Error(), "want sqlite:PATH") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v, want a hint without the password", bad, err)
		}
	}
}

func TestSQLiteFile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain.db", "100%?#1 &x=y.db", "new/folder/x.db"} {
		path := filepath.Join(t.TempDir(), name)
		c, err := Open(t.Context(), "sqlite:"+path, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := c.CreateTenant(t.Context(), Tenant{Name: "Acme"}, recorder.System()); err != nil {
			t.Error(err)
		}
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v, want 0600", name, info.Mode(), err)
		}
		for range 2 {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		again, err := Open(t.Context(), "sqlite:"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if empty, err := again.Empty(t.Context()); err != nil || empty {
			t.Errorf("%s: opened again: empty %v, %v", name, empty, err)
		}
		_ = again.Close()
	}
}

func TestOpenFailsPlainly(t *testing.T) {
	t.Parallel()
	_, err := Open(t.Context(), "postgres://user:geheim@127.0.0.1:1/db?connect_timeout=5", nil)
	if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "geheim") {
		t.Errorf("no server: %v, want ErrUnavailable without the password", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("this is no database, and long enough to be seen as none"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), "sqlite:"+file, nil); err == nil {
		t.Error("a text file was opened as a database")
	}
	if _, err := Open(t.Context(), "sqlite:"+file+"/x.db", nil); err == nil {
		t.Error("a file was taken for a folder")
	}
}

// TestRetry: a transaction that the database gave up is run again as a whole, others are not.
func TestRetry(t *testing.T) {
	openBoth(t, func(t *testing.T, c *Catalog) {
		tenant, err := c.CreateTenant(t.Context(), Tenant{Name: "Acme"}, recorder.System())
		if err != nil {
			t.Fatal(err)
		}
		for name, tc := range map[string]struct {
			cause error
			tries int
		}{
			"serialization failure": {&pgconn.PgError{Code: "40001", Message: "SELECT secret"}, 3},
			"deadlock":              {fmt.Errorf("save: %w", &pgconn.PgError{Code: "40P01"}), 3},
			"syntax":                {&pgconn.PgError{Code: "42601", Message: "SELECT secret"}, 1},
		} {
			tries := 0
			err := c.write(t.Context(), "test", tenant.ID, func(ctx context.Context, tx *ent.Tx) error {
				if err := tx.Queue.Create().SetTenantID(tenant.ID).SetName(name).Exec(ctx); err != nil {
					return err // the earlier tries must have been rolled back
				}
				if tries++; tries < 3 {
					return tc.cause
				}
				return nil
			})
			if tries != tc.tries || (tc.tries == 3) != (err == nil) {
				t.Errorf("%s: %d tries, %v, want %d", name, tries, err, tc.tries)
			}
			if err != nil && (strings.Contains(err.Error(), "SELECT") || !errors.Is(err, tc.cause)) {
				t.Errorf("%s: %v shows SQL or hides its cause", name, err)
			}
		}
		forever := 0
		err = c.write(t.Context(), "test", tenant.ID, func(context.Context, *ent.Tx) error {
			forever++
			return &pgconn.PgError{Code: "40001"}
		})
		if forever != maxTries || !errors.Is(err, ErrUnavailable) {
			t.Errorf("%d tries, %v, want %d and ErrUnavailable", forever, err, maxTries)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.write(ctx, "test", tenant.ID, func(context.Context, *ent.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
	})
}

func TestPanicRollsBack(t *testing.T) {
	openBoth(t, func(t *testing.T, c *Catalog) {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_ = c.writeAcross(t.Context(), "test", func(ctx context.Context, tx *ent.Tx) error {
				tx.Tenant.Create().SetName("x").SetSlug("x").SaveX(ctx)
				panic("bug")
			})
		}()
		if empty, err := c.Empty(t.Context()); err != nil || !empty { // also: the write lock is free again
			t.Errorf("after the panic: empty %v, %v", empty, err)
		}
		if _, err := c.CreateTenant(t.Context(), Tenant{Name: "x"}, recorder.System()); err != nil {
			t.Error(err)
		}
	})
}

// TestAppendOnly: no client, not even the writing one, changes or removes an audit event.
func TestAppendOnly(t *testing.T) {
	openBoth(t, func(t *testing.T, c *Catalog) {
		tenant, err := c.CreateTenant(t.Context(), Tenant{Name: "Acme"}, recorder.Actor{})
		if err != nil {
			t.Fatal(err)
		}
		ctx := tenancy.With(t.Context(), tenant.ID)
		_, err = c.writer.AuditEvent.Delete().Exec(ctx)
		if !errors.Is(err, schema.ErrAppendOnly) {
			t.Errorf("Delete = %v", err)
		}
		e := c.writer.AuditEvent.Query().OnlyX(ctx)
		if err := c.writer.AuditEvent.UpdateOne(e).Exec(ctx); !errors.Is(err, schema.ErrAppendOnly) {
			t.Errorf("UpdateOne = %v", err)
		}
		if err := c.writer.AuditEvent.DeleteOne(e).Exec(ctx); !errors.Is(err, schema.ErrAppendOnly) {
			t.Errorf("DeleteOne = %v", err)
		}
		if e.ActorKind != "system" || e.Seq != 1 {
			t.Errorf("event = %v", e)
		}
	})
}

// TestWritesAreConfined: the hooks refuse what the interceptors cannot see.
func TestWritesAreConfined(t *testing.T) {
	openBoth(t, func(t *testing.T, c *Catalog) {
		mine, err1 := c.CreateTenant(t.Context(), Tenant{Name: "Mine"}, recorder.System())
		theirs, err2 := c.CreateTenant(t.Context(), Tenant{Name: "Theirs"}, recorder.System())
		if err := errors.Join(err1, err2, c.SetQueue(t.Context(), theirs.ID, "q", recorder.DefaultProfile(), recorder.System())); err != nil {
			t.Fatal(err)
		}
		ctx := tenancy.With(t.Context(), mine.ID)
		if err := c.writer.Queue.Create().SetTenantID(theirs.ID).SetName("x").Exec(ctx); !errors.Is(err, tenancy.ErrForeign) {
			t.Errorf("creating for another tenant = %v", err)
		}
		if err := c.writer.Queue.Create().SetTenantID(mine.ID).SetName("x").Exec(t.Context()); !errors.Is(err, tenancy.ErrNoTenant) {
			t.Errorf("creating without a tenant = %v", err)
		}
		if n, err := c.writer.Queue.Update().SetFps(5).Save(ctx); err != nil || n != 0 {
			t.Errorf("updating all queues touched %d of another tenant, %v", n, err)
		}
		foreign := c.writer.Queue.Query().OnlyX(tenancy.With(t.Context(), theirs.ID))
		if err := c.writer.Queue.UpdateOne(foreign).SetFps(5).Exec(ctx); !ent.IsNotFound(err) {
			t.Errorf("updating another tenant's queue = %v", err)
		}
		if n, err := c.writer.Queue.Delete().Exec(ctx); err != nil || n != 0 {
			t.Errorf("deleting all queues removed %d of another tenant, %v", n, err)
		}
		if err := c.writer.Tenant.UpdateOneID(theirs.ID).SetPlan("ENTERPRISE").Exec(ctx); !ent.IsNotFound(err) {
			t.Errorf("changing another tenant = %v", err)
		}
	})
}

// TestAuditNumbersFollowCommits: under concurrent writers no reader ever sees a number whose predecessor is missing.
func TestAuditNumbersFollowCommits(t *testing.T) {
	openBoth(t, func(t *testing.T, c *Catalog) {
		tenant, err := c.CreateTenant(t.Context(), Tenant{Name: "Acme"}, recorder.System())
		if err != nil {
			t.Fatal(err)
		}
		const writers, each = 8, 5
		var done sync.WaitGroup
		for w := range writers {
			done.Go(func() {
				for i := range each {
					p := recorder.DefaultProfile()
					p.PipMargin = 1 + w*each + i
					if err := c.SetQueue(t.Context(), tenant.ID, fmt.Sprintf("q%d", w), p, recorder.System()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		ended := make(chan struct{})
		go func() { done.Wait(); close(ended) }()
		last, over := int64(0), false
		for {
			events, err := c.AuditSince(t.Context(), tenant.ID, last, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				if e.Seq != last+1 {
					t.Fatalf("event %d follows %d", e.Seq, last)
				}
				last = e.Seq
			}
			if over { // this read began after the last commit
				break
			}
			select {
			case <-ended:
				over = true
			default:
			}
		}
		if want := int64(1 + writers + writers*each); last != want { // tenant, queues made, queues changed
			t.Errorf("%d events, want %d", last, want)
		}
	})
}

// TestMigrateTogether: nodes that start at the same moment on one PostgreSQL all come up.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	address := pgtest.Database(t)
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			c, err := Open(t.Context(), address, nil)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		})
	}
	done.Wait()
}

// TestOutage: a server that goes away is ErrUnavailable, whichever way the driver says it, and no hang.
func TestOutage(t *testing.T) {
	t.Parallel()
	srv, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Close() }()
	address, err := srv.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(t.Context(), address, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	tenant, err := c.CreateTenant(t.Context(), Tenant{Name: "Acme"}, recorder.System())
	if err != nil {
		t.Fatal(err)
	}
	during := c.write(t.Context(), "test", tenant.ID, func(ctx context.Context, tx *ent.Tx) error {
		// The server throws this session out in the middle of the transaction.
		if _, err := tx.QueryContext(ctx, "SELECT pg_terminate_backend(pg_backend_pid())"); err != nil {
			return err
		}
		return tx.Queue.Create().SetTenantID(tenant.ID).SetName("x").Exec(ctx)
	})
	if !errors.Is(during, ErrUnavailable) {
		t.Errorf("a session that ends in a transaction: %v (%v)", during, errors.Unwrap(during))
	}
	if _, err := c.Tenant(t.Context(), tenant.ID); err != nil {
		t.Errorf("the next transaction takes a new session: %v (%v)", err, errors.Unwrap(err))
	}
	if os.Getenv(pgtest.EnvURL) != "" {
		return // not ours to stop
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 { // sessions of the pool, then new ones
		if _, err := c.Profile(t.Context(), tenant.ID, "x"); !errors.Is(err, ErrUnavailable) {
			t.Errorf("without a server: %v (%v)", err, errors.Unwrap(err))
		}
	}
}

// TestRebuildKeepsChildren: SQLite changes a table by building it anew and dropping the old one. With foreign keys on,
// the drop would delete or refuse the children; Migrate's connections keep them.
func TestRebuildKeepsChildren(t *testing.T) {
	t.Parallel()
	a := address{dialect: dialect.SQLite, path: filepath.Join(t.TempDir(), "a.db")}
	if err := a.prepare(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open(a.driver(), a.dsn(forMigrating))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	up := func(files fstest.MapFS) {
		t.Helper()
		p, err := newProvider(goose.DialectSQLite3, db, files, []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	files := fstest.MapFS{"1_init.sql": {Data: []byte(`-- +goose Up
CREATE TABLE parent (id text PRIMARY KEY);
CREATE TABLE child (id text PRIMARY KEY, parent_id text NOT NULL REFERENCES parent (id) ON DELETE CASCADE);
INSERT INTO parent VALUES ('p');
INSERT INTO child VALUES ('c', 'p');
`)}}
	up(files)
	files["2_rebuild.sql"] = &fstest.MapFile{Data: []byte(`-- +goose Up
PRAGMA foreign_keys = off;
CREATE TABLE new_parent (id text PRIMARY KEY, n integer NOT NULL DEFAULT 0);
INSERT INTO new_parent (id) SELECT id FROM parent;
DROP TABLE parent;
ALTER TABLE new_parent RENAME TO parent;
PRAGMA foreign_keys = on;
`)}
	up(files)
	var n int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM child JOIN parent ON parent.id = child.parent_id").Scan(&n); err != nil || n != 1 {
		t.Errorf("%d children after the rebuild, %v, want 1", n, err)
	}
	if err := a.checkForeignKeys(t.Context(), db); err != nil {
		t.Error(err)
	}
	if _, err := db.ExecContext(t.Context(), "PRAGMA foreign_keys = off; DELETE FROM parent"); err != nil {
		t.Fatal(err)
	}
	if err := a.checkForeignKeys(t.Context(), db); err == nil {
		t.Error("an orphan was not noticed")
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"aü", 2, "a"}, {"aü", 3, "aü"}, {"", 0, ""}, {"a\x00b", 9, "a\uFFFDb"}, {"\xff", 9, "\uFFFD"}, {"ü", 1, ""}} {
		if got := cut(tc.in, tc.n); got != tc.want {
			t.Errorf("cut(%q, %d) = %q, want %q", tc.in, tc.n, got, tc.want)
		}
	}
}

func TestErrorForLogs(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	log := slog.New(slog.NewTextHandler(&b, nil))
	err := outward("save track", &pgconn.PgError{Severity: "ERROR", Code: "42601", Message: "syntax error"})
	log.LogAttrs(t.Context(), slog.LevelError, "x", slog.Any("err", err))
	if !strings.Contains(b.String(), "syntax error") || strings.Contains(err.Error(), "syntax") {
		t.Errorf("logged %q, shown %q: the cause is for logs only", b.String(), err)
	}
	if errors.Is(err, ErrUnavailable) {
		t.Error("a syntax error is not worth another try")
	}
	if got := (APIKey{ExpiresAt: time.Unix(10, 0)}).Usable(time.Unix(10, 0)); got {
		t.Error("usable at its expiry")
	}
}
