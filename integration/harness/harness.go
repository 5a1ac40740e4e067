// Package harness runs the compiled dualrec binary as an operator would: it starts the server on free ports
// with a data folder of its own, makes tenants and keys by the command line, and speaks to it over HTTP only.
// It imports no package of the project.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server is one running dualrec process.
type Server struct {
	Bin      string // path of the binary
	Data     string // its data folder
	URL      string // http://127.0.0.1:PORT
	Database string // --database, empty for the default
	Log      *Tail  // what it printed

	extra []string
	env   []string
	cmd   *exec.Cmd
	done  chan struct{}
	err   error
}

// Options of a server.
type Options struct {
	Bin      string
	Data     string
	Database string
	Args     []string  // further flags of serve
	WHIP     bool      // serve WHIP on a UDP port of its own, unless Args name media ports
	Env      []string  // further environment
	Mirror   io.Writer // also gets the log, may be nil
}

// New describes a server; Start runs it. Unless Args name media ports it gets a range that no other server of this
// process has.
func New(o Options) (*Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	if !slices.Contains(o.Args, "--port-min") {
		first := mediaPorts()
		last := first + mediaPortsEach - 1
		if o.WHIP {
			o.Args = append(slices.Clone(o.Args), "--whip-port", strconv.Itoa(last))
			last--
		}
		o.Args = append(slices.Clone(o.Args), "--port-min", strconv.Itoa(first), "--port-max", strconv.Itoa(last))
	}
	return &Server{Bin: o.Bin, Data: o.Data, Database: o.Database, URL: fmt.Sprintf("http://127.0.0.1:%d", port),
		extra: o.Args, env: o.Env, Log: &Tail{mirror: o.Mirror}}, nil
}

// FreePort asks the kernel for a TCP port on loopback that nobody uses now.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

const (
	firstMediaPort = 10000
	lastMediaPort  = 29999 // below what kernels hand out by themselves
	mediaPortsEach = 100
)

var mediaPortsGiven atomic.Int32

// mediaPorts begins at a place that depends on the process, because several may test at once, and passes over ranges
// of which the first port is taken.
func mediaPorts() int {
	const ranges = (lastMediaPort + 1 - firstMediaPort) / mediaPortsEach
	for range ranges {
		n := (os.Getpid()*7 + int(mediaPortsGiven.Add(1))) % ranges
		first := firstMediaPort + n*mediaPortsEach
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: first})
		if err == nil {
			_ = c.Close()
			return first
		}
	}
	return firstMediaPort // the server says what is wrong with it
}

func (s *Server) common() []string {
	args := []string{"--data", s.Data}
	if s.Database != "" {
		args = append(args, "--database", s.Database)
	}
	return args
}

// Start runs the process and returns when /readyz answers 200.
func (s *Server) Start(ctx context.Context) error {
	args := append([]string{"serve", "--listen", strings.TrimPrefix(s.URL, "http://")}, s.common()...)
	s.cmd = exec.Command(s.Bin, append(args, s.extra...)...)
	s.cmd.Env = append(os.Environ(), s.env...)
	s.cmd.Stdout, s.cmd.Stderr = s.Log, s.Log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.Bin, err)
	}
	s.done = make(chan struct{})
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	return s.ready(ctx)
}

func (s *Server) ready(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		resp, err := http.Get(s.URL + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.done:
			return fmt.Errorf("server ended before it was ready: %w\n%s", s.err, s.Log)
		case <-ctx.Done():
			return fmt.Errorf("server not ready: %w\n%s", ctx.Err(), s.Log)
		case <-tick.C:
		}
	}
}

// Pid is the process id.
func (s *Server) Pid() int { return s.cmd.Process.Pid }

// Stop asks the process to end (SIGTERM) and waits.
func (s *Server) Stop(ctx context.Context) error {
	if s.cmd == nil || s.cmd.Process == nil {
		return nil
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		s.Kill()
		return fmt.Errorf("server did not end: %w", ctx.Err())
	}
}

// Kill is kill -9; it returns when the process is gone.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended already
	<-s.done
}

// Command runs a subcommand with --json and returns its answer.
func (s *Server) Command(ctx context.Context, args ...string) (map[string]any, error) {
	args = append(append(args, s.common()...), "--json")
	cmd := exec.CommandContext(ctx, s.Bin, args...)
	cmd.Env = append(os.Environ(), s.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("dualrec %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	var m map[string]any
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, fmt.Errorf("dualrec %s printed %q: %w", strings.Join(args, " "), out, err)
	}
	return m, nil
}

// Tenant makes a tenant.
func (s *Server) Tenant(ctx context.Context, name string) error {
	_, err := s.Command(ctx, "tenant", "create", name, "--plan", "ENTERPRISE")
	return err
}

// APIKey makes an API key and returns its secret.
func (s *Server) APIKey(ctx context.Context, tenant, role string) (string, error) {
	m, err := s.Command(ctx, "apikey", "create", "--tenant", tenant, "--role", role, "--name", "integration")
	if err != nil {
		return "", err
	}
	key, _ := m["apiKey"].(string)
	if key == "" {
		return "", errors.New("apikey create printed no apiKey")
	}
	return key, nil
}

// Token makes a user token.
func (s *Server) Token(ctx context.Context, tenant, subject, role string) (string, error) {
	m, err := s.Command(ctx, "token", "create", "--tenant", tenant, "--subject", subject, "--role", role)
	if err != nil {
		return "", err
	}
	token, _ := m["token"].(string)
	if token == "" {
		return "", errors.New("token create printed no token")
	}
	return token, nil
}

// GraphQLError is a top-level error of a GraphQL answer.
type GraphQLError struct {
	Message    string         `json:"message"`
	Extensions map[string]any `json:"extensions"`
}

// Query runs a GraphQL operation. out may be nil.
func (s *Server) Query(ctx context.Context, bearer, query string, variables map[string]any, out any) ([]GraphQLError, error) {
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/graphql", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors []GraphQLError  `json:"errors"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, fmt.Errorf("status %d: %s", resp.StatusCode, raw)
	}
	if out != nil && len(answer.Data) > 0 && len(answer.Errors) == 0 {
		if err := json.Unmarshal(answer.Data, out); err != nil {
			return nil, err
		}
	}
	return answer.Errors, nil
}

// MustQuery is Query for operations that must not have errors.
func (s *Server) MustQuery(ctx context.Context, bearer, query string, variables map[string]any, out any) error {
	errs, err := s.Query(ctx, bearer, query, variables, out)
	if err == nil && len(errs) > 0 {
		err = fmt.Errorf("GraphQL: %s (%v)", errs[0].Message, errs[0].Extensions)
	}
	return err
}

// Tail keeps the last part of a log; it is safe for concurrent use.
type Tail struct {
	mu     sync.Mutex
	buf    []byte
	mirror io.Writer
}

const tailBytes = 256 << 10

// Write implements io.Writer.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailBytes; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	if t.mirror != nil {
		return t.mirror.Write(p)
	}
	return len(p), nil
}

// String returns what was kept.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// Root finds the module's root folder from the working directory upwards.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory")
		}
	}
}

// Build compiles the server into dir and returns the binary's path.
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "dualrec")
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", bin}, flags...), ".")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}
