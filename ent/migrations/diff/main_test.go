package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"entgo.io/ent/dialect"

	"github.com/dualrec/dualrec/ent/catalog/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(m)) }

// TestFresh: the committed files lead to exactly the tables of the schema. If this fails, run the program.
func TestFresh(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		dialect string
		dsn     func(*testing.T) string
	}{
		"sqlite":   {dialect.SQLite, func(*testing.T) string { return "file:fresh?mode=memory&cache=shared&_pragma=foreign_keys(1)" }},
		"postgres": {dialect.Postgres, func(t *testing.T) string { return pgtest.Database(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", name))); err != nil {
				t.Fatal(err)
			}
			before := names(t, dir)
			if err := write(t.Context(), tc.dialect, tc.dsn(t), dir, "99990101000000", "forgotten"); err != nil {
				t.Fatal(err)
			}
			for _, f := range names(t, dir) {
				if !slices.Contains(before, f) {
					text, _ := os.ReadFile(filepath.Join(dir, f))
					t.Errorf("the schema has changed without a migration: run `go run ./ent/migrations/diff NAME`; it would write\n%s", text)
				}
			}
		})
	}
}

// TestDialectsHaveTheSameFiles: one change of the schema is one version, whatever the database.
func TestDialectsHaveTheSameFiles(t *testing.T) {
	t.Parallel()
	lite, pg := names(t, filepath.Join("..", "sqlite")), names(t, filepath.Join("..", "postgres"))
	if !slices.Equal(lite, pg) {
		t.Errorf("sqlite has %v, postgres has %v", lite, pg)
	}
}

// TestWriteNoticesAChange: the freshness test can fail.
func TestWriteNoticesAChange(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := write(t.Context(), dialect.SQLite, "file:empty?mode=memory&cache=shared&_pragma=foreign_keys(1)", dir, "20260101000000", "init"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "20260101000000_init.sql"))
	if err != nil || !strings.Contains(string(text), "-- +goose Up") || !strings.Contains(string(text), "CREATE TABLE `recordings`") {
		t.Errorf("wrote %.200q, %v", text, err)
	}
}

// TestTampered: a file that was changed after the fact is refused.
func TestTampered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "sqlite"))); err != nil {
		t.Fatal(err)
	}
	for _, f := range names(t, dir) {
		if strings.HasSuffix(f, ".sql") {
			if err := os.WriteFile(filepath.Join(dir, f), []byte("-- +goose Up\nSELECT 1;\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := write(t.Context(), dialect.SQLite, "file:tampered?mode=memory&cache=shared&_pragma=foreign_keys(1)", dir, "99990101000000", "x")
	if err == nil || !strings.Contains(err.Error(), "checksum mismatch") {
		t.Errorf("changed files = %v, want a checksum mismatch", err)
	}
}

func TestValidName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"init": true, "add_holds_2": true, "": false, "ab": false, "../x": false, "Add": false, "2add": false} {
		if got := validName.MatchString(name); got != want {
			t.Errorf("validName(%q) = %v", name, got)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}
