package integration_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/integration/harness"
)

var (
	program string // the program under test
	workDir string // gone when the tests have run
	long    = os.Getenv("DUALREC_LONG") == "1"
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(runTests(m))
}

func runTests(m *testing.M) (code int) {
	// Calls play in real time, so most tests mostly wait: more of them run at once than there are processors.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "8") // the flag exists and 8 is a number
	}
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "dualrec-integration-")
	if err != nil {
		return fail(err)
	}
	workDir = dir
	defer func() {
		if err := os.RemoveAll(workDir); err != nil {
			code = fail(err)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	if program = os.Getenv("DUALREC_BINARY"); program == "" {
		if program, err = harness.Build(ctx, workDir); err != nil {
			return fail(err)
		}
	}
	code = m.Run()
	if err := shared.close(); err != nil {
		return fail(err)
	}
	return code
}

// shared is the server that most tests use at once, each with calls of its own. It is started by the first of them.
var shared sharedSite

type sharedSite struct {
	once sync.Once
	site *site
	err  error
	page pageServer
}

// theSite is the shared server.
func theSite(t *testing.T) *site {
	t.Helper()
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		shared.err = shared.start(ctx)
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	failed(t, shared.site)
	return shared.site
}

func (s *sharedSite) start(ctx context.Context) error {
	if err := s.page.start(); err != nil {
		return err
	}
	var err error
	s.site, err = openSite(ctx, harness.Options{Bin: program, Data: filepath.Join(workDir, "shared"), WHIP: true,
		Args: []string{"--allowed-origin", s.page.origin, "--metrics-token", metricsToken}})
	return err
}

const metricsToken = "integration-metrics-token"

func (s *sharedSite) close() error {
	var errs []error
	if s.page.server != nil {
		errs = append(errs, s.page.server.Close())
	}
	if s.site != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		errs = append(errs, s.site.Stop(ctx))
	}
	return errors.Join(errs...)
}

// pageServer serves the pages of the browser tests from an origin of its own.
type pageServer struct {
	origin string
	server *http.Server
	mu     sync.Mutex
	pages  map[string]string
}

func (p *pageServer) start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.origin, p.pages = "http://"+l.Addr().String(), map[string]string{}
	p.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		page, ok := p.pages[r.URL.Path]
		p.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, page)
	})}
	go func() { _ = p.server.Serve(l) }() // ends with Close
	return nil
}

// put publishes a page and returns its URL.
func (p *pageServer) put(path, html string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pages[path] = html
	return p.origin + path
}
