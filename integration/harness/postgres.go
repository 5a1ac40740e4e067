package harness

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Postgres is a private PostgreSQL server, from the binaries of this machine, with a Unix socket as its only door.
type Postgres struct {
	URL string // of an empty database

	cmd   *exec.Cmd
	dir   string
	ended chan struct{}
}

// StartPostgres starts a server. The caller closes it.
func StartPostgres(ctx context.Context) (*Postgres, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return nil, errors.New("no PostgreSQL server on this machine: run scripts/setup.sh test")
	}
	bin := filepath.Dir(found[len(found)-1])
	p := &Postgres{ended: make(chan struct{})}
	if p.dir, err = os.MkdirTemp("", "dualrec-pg-"); err != nil {
		return nil, err
	}
	if err := p.start(ctx, bin); err != nil {
		return nil, errors.Join(err, os.RemoveAll(p.dir))
	}
	return p, nil
}

func (p *Postgres) start(ctx context.Context, bin string) error {
	attr, err := asPostgres(p.dir)
	if err != nil {
		return err
	}
	data := filepath.Join(p.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = attr, p.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	p.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", p.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=32MB", "-c", "log_destination=stderr")
	p.cmd.SysProcAttr, p.cmd.Dir = attr, p.dir
	p.URL = (&url.URL{Scheme: "postgres", User: url.User("postgres"), Path: "/postgres", RawQuery: url.Values{"host": {p.dir}, "sslmode": {"disable"}}.Encode()}).String()
	return p.launch(ctx)
}

// launch waits until the server takes connections. It belongs to a thread of its own, with which it would end.
func (p *Postgres) launch(ctx context.Context) error {
	log, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() {
		defer close(p.ended)
		runtime.LockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // Close stops it
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	ready := make(chan bool, 1)
	go func() {
		for sc := bufio.NewScanner(log); sc.Scan(); {
			if strings.Contains(sc.Text(), "ready to accept connections") {
				ready <- true
			}
		}
		close(ready)
	}()
	select {
	case ok := <-ready:
		if ok {
			return nil
		}
		err = errors.New("postgres ended at once")
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, p.Close())
}

// Close stops the server and removes its data.
func (p *Postgres) Close() error {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // immediate shutdown; it may have ended already
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	return os.RemoveAll(p.dir)
}

// asPostgres: the server refuses to run as root, so root becomes the user postgres.
func asPostgres(dir string) (*syscall.SysProcAttr, error) {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT, Setpgid: true}
	if os.Geteuid() != 0 {
		return attr, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("as root the server must run as user postgres: %w", err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2, os.Chown(dir, uid, gid)); err != nil {
		return nil, err
	}
	attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return attr, nil
}
