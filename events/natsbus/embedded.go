package natsbus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// embedded is a NATS server inside the process. It listens on no port unless it is told to.
type embedded struct {
	nats   *server.Server
	marker string
	clean  string // content of the marker when the server was started, "" if there was none
}

const (
	startTimeout = 10 * time.Second
	maxStore     = 1 << 30
	maxMemory    = 64 << 20
)

// startEmbedded starts a server with its files in cfg.Dir. The marker that says how the last one ended is taken away
// first, so that a crash from here on is seen as one.
func startEmbedded(cfg Config) (*embedded, error) {
	dir := cfg.Dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("natsbus: data folder: %w", err)
	}
	e := &embedded{marker: filepath.Join(dir, "closed-at")}
	if err := e.takeMarker(); err != nil {
		return nil, err
	}
	opts := &server.Options{
		ServerName: "dualrec", DontListen: true, NoSigs: true, NoLog: true, Authorization: cfg.Token,
		JetStream: true, StoreDir: dir, JetStreamMaxStore: maxStore, JetStreamMaxMemory: maxMemory,
	}
	if cfg.Listen != "" {
		var err error
		if opts.Host, opts.Port, err = cfg.listen(); err != nil {
			return nil, err
		}
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
		opts.DontListen, opts.TLS, opts.TLSConfig = false, cfg.ServerTLS != nil, cfg.ServerTLS
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("natsbus: embedded server: %w", err)
	}
	e.nats = srv
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		srv.Shutdown()
		srv.WaitForShutdown()
		return nil, fmt.Errorf("natsbus: embedded server was not ready within %s: is %s%s in use by another process?", startTimeout, dir, orPort(cfg.Listen))
	}
	return e, nil
}

func orPort(listen string) string {
	if listen == "" {
		return ""
	}
	return " or the port of " + listen
}

func (e *embedded) takeMarker() error {
	b, err := os.ReadFile(e.marker)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("natsbus: read marker: %w", err)
	}
	e.clean = strings.TrimSpace(string(b))
	if err := os.Remove(e.marker); err != nil {
		return fmt.Errorf("natsbus: remove marker: %w", err)
	}
	return syncDir(filepath.Dir(e.marker))
}

// endedCleanlyAt says whether the last server on this folder was closed in order and with this last sequence.
func (e *embedded) endedCleanlyAt(last uint64) bool {
	return e.clean == strconv.FormatUint(last, 10)
}

func (e *embedded) close(clean bool, last uint64) error {
	e.nats.Shutdown()
	e.nats.WaitForShutdown()
	if !clean {
		return nil
	}
	return writeDurably(e.marker, []byte(strconv.FormatUint(last, 10)+"\n"))
}

// writeDurably is temp, write, fsync, close, rename, fsync folder.
func writeDurably(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return fmt.Errorf("natsbus: marker: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("natsbus: marker: %w", err)
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("natsbus: marker: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("natsbus: sync folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("natsbus: sync folder: %w", err)
	}
	return nil
}
