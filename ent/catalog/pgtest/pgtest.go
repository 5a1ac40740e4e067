// Package pgtest gives tests a real PostgreSQL: a private server from the machine's own binaries, one per
// test binary, with its data in a temporary folder and a Unix socket as its only door. Where
// DUALREC_TEST_POSTGRES_URL names a server, that one is used instead. It knows nothing of dualrec's tables.
//
// A test package calls Run in its TestMain and Database in its tests.
package pgtest

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// EnvURL names the environment variable with the URL of a server to use instead of a private one. Its user
// must be allowed to create databases.
const EnvURL = "DUALREC_TEST_POSTGRES_URL"

const (
	minVersion   = 15
	startTimeout = 60 * time.Second
)

// ErrNoBinaries: the machine has no PostgreSQL server.
var ErrNoBinaries = errors.New("pgtest: no PostgreSQL 15 or newer on this machine: run `apt-get install -y postgresql`, or set " + EnvURL)

// Server is a PostgreSQL server for tests.
type Server struct {
	base  url.URL // to the database "postgres"
	cmd   *exec.Cmd
	dir   string
	ended chan struct{}
	once  sync.Once
	n     atomic.Int64
}

// Start starts a private server, or takes the one of DUALREC_TEST_POSTGRES_URL. The caller closes it.
func Start(ctx context.Context) (*Server, error) {
	if raw := os.Getenv(EnvURL); raw != "" {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("pgtest: %s is no URL: want postgres://user@host/postgres", EnvURL)
		}
		return &Server{base: *u}, nil
	}
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &Server{ended: make(chan struct{})}
	if s.dir, err = os.MkdirTemp("", "dualrec-pg-"); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	if err := s.start(ctx, bin); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, bin string) error {
	attr, err := unprivileged(s.dir)
	if err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = attr, s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: initdb: %w: %s", err, out)
	}
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", s.dir, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "shared_buffers=32MB",
		"-c", "max_connections=200", "-c", "autovacuum=off", "-c", "logging_collector=off", "-c", "log_destination=stderr")
	s.cmd.SysProcAttr, s.cmd.Dir = attr, s.dir
	s.base = url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres",
		RawQuery: url.Values{"host": {s.dir}, "sslmode": {"disable"}}.Encode()}
	return s.launch(ctx)
}

// launch runs the server under a thread of its own: the kernel stops the child when that thread dies, so
// that a killed test run leaves no server behind.
func (s *Server) launch(ctx context.Context) error {
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	started := make(chan error, 1)
	go func() {
		defer close(s.ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("pgtest: start postgres: %w", err)
	}
	ready := make(chan error, 1)
	go watch(stderr, ready)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	select {
	case err = <-ready:
	case <-ctx.Done():
		err = fmt.Errorf("pgtest: postgres did not get ready: %w", ctx.Err())
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return nil
}

// watch reports readiness from the server's log, and drains it to its end.
func watch(log io.Reader, ready chan<- error) {
	var head []string
	up := false
	for sc := bufio.NewScanner(log); sc.Scan(); {
		if up {
			continue
		}
		head = append(head, sc.Text())
		if up = strings.Contains(sc.Text(), "database system is ready to accept connections"); up {
			ready <- nil
		}
	}
	if !up {
		ready <- fmt.Errorf("pgtest: postgres ended: %s", strings.Join(head, "\n"))
	}
}

// URL is the address of the server's own database "postgres".
func (s *Server) URL() string { return s.base.String() }

// Create makes a fresh, empty database and returns its URL.
func (s *Server) Create(ctx context.Context) (string, error) {
	name := fmt.Sprintf("t_%d_%d", os.Getpid(), s.n.Add(1))
	if err := s.exec(ctx, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", fmt.Errorf("pgtest: create database: %w", err)
	}
	u := s.base
	u.Path = "/" + name
	return u.String(), nil
}

// Drop removes a database that Create made, and throws out who is connected.
func (s *Server) Drop(ctx context.Context, dbURL string) error {
	u, err := url.Parse(dbURL)
	if err != nil {
		return fmt.Errorf("pgtest: drop database: %w", err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	if !strings.HasPrefix(name, "t_") || strings.ContainsFunc(name[2:], func(r rune) bool { return (r < '0' || r > '9') && r != '_' }) {
		return fmt.Errorf("pgtest: %q is no database of this package", name)
	}
	if err := s.exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("pgtest: drop database: %w", err)
	}
	return nil
}

func (s *Server) exec(ctx context.Context, stmt string) error {
	db, err := sql.Open("pgx", s.URL())
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, stmt)
	return errors.Join(err, db.Close())
}

// Close stops a private server at once and removes its data. It may be called again.
func (s *Server) Close() error {
	var err error
	s.once.Do(func() {
		if s.cmd == nil {
			return
		}
		// SIGQUIT is PostgreSQL's immediate shutdown; the data are thrown away anyway.
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-s.ended:
		case <-time.After(10 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.ended
		}
		err = os.RemoveAll(s.dir)
	})
	return err
}

// binaries finds the folder with the newest server that is new enough.
func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	type version struct {
		n   int
		dir string
	}
	var all []version
	for _, p := range found {
		dir := filepath.Dir(p)
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && n >= minVersion {
			all = append(all, version{n, dir})
		}
	}
	if len(all) == 0 {
		return "", ErrNoBinaries
	}
	return slices.MaxFunc(all, func(a, b version) int { return cmp.Compare(a.n, b.n) }).dir, nil
}

// unprivileged gives the attributes under which the server runs: it refuses to run as root, so root becomes
// the user postgres, who is given the folder.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("pgtest: as root the server must run as user postgres: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
		return nil, fmt.Errorf("pgtest: hand the data folder to user postgres: %w", err)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, nil
}

// shared is the server of this test binary, started by the first test that needs it.
var shared struct {
	sync.Mutex
	running bool // Run is on the stack
	server  *Server
	err     error
}

// Run runs a package's tests and stops the server that they started. TestMain exits with its result.
func Run(m *testing.M) int {
	shared.Lock()
	shared.running = true
	shared.Unlock()
	code := m.Run()
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		if err := shared.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return max(code, 1)
		}
	}
	return code
}

// Database gives a test an empty database of its own and drops it at the end. Without a server the test fails.
func Database(tb testing.TB) string {
	tb.Helper()
	s, err := sharedServer()
	if err != nil {
		tb.Fatal(err)
	}
	u, err := s.Create(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Drop(context.Background(), u); err != nil {
			tb.Error(err)
		}
	})
	return u
}

func sharedServer() (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if !shared.running {
		return nil, errors.New("pgtest: call pgtest.Run in TestMain, which stops the server")
	}
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = Start(context.Background())
	}
	return shared.server, shared.err
}
