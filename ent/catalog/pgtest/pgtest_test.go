package pgtest

import (
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// TestServer runs a server of its own through its life.
func TestServer(t *testing.T) {
	if os.Getenv(EnvURL) != "" {
		t.Setenv(EnvURL, "")
	}
	s, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the data are left behind: %v", err)
		}
	}()
	first, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := s.Create(t.Context())
	if err != nil || second == first {
		t.Fatalf("Create = %s twice, %v", second, err)
	}
	db, err := sql.Open("pgx", first)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var version int
	if err := db.QueryRowContext(t.Context(), "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil || version < minVersion*10000 {
		t.Errorf("version %d, %v", version, err)
	}
	if err := s.Drop(t.Context(), first); err != nil { // although a connection is open
		t.Error(err)
	}
	if err := s.Drop(t.Context(), s.URL()); err == nil || !strings.Contains(err.Error(), "no database of this package") {
		t.Errorf("dropping the server's own database = %v", err)
	}
}

func TestStartRefusesABadURL(t *testing.T) {
	t.Setenv(EnvURL, "postgres://u:geheim@h:port/x")
	if _, err := Start(t.Context()); err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("Start = %v, want an error without the password", err)
	}
}
