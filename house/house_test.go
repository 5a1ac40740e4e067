package house

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestImports looks at every package of the tree.
func TestImports(t *testing.T) {
	t.Parallel()
	units := tree(t)
	for _, core := range []string{"recorder", "playback", "retention", "kms"} {
		if !slices.ContainsFunc(units, func(u unit) bool { return u.path == core && len(u.deps) > 0 }) {
			t.Errorf("go list does not know the core %s: this test would prove nothing of it", core)
		}
	}
	for _, v := range check(units) {
		t.Error(v)
	}
}

// tree asks go list for all packages. Packages that do not compile are listed as well (-e): finding that is the
// compiler's task.
func tree(t *testing.T) []unit {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir, cmd.Stderr = "..", os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var units []unit
	for dec := json.NewDecoder(out); ; {
		var p struct {
			ImportPath                               string
			Imports, TestImports, XTestImports, Deps []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		path := strings.TrimPrefix(p.ImportPath, project+"/")
		if p.ImportPath == project {
			path = "."
		}
		units = append(units, unit{path: path, imports: p.Imports, testImports: slices.Concat(p.TestImports, p.XTestImports), deps: p.Deps})
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("go list: %v", err)
	}
	return units
}

// TestCheckFindsViolations breaks every rule once: a rule that finds nothing in a clean tree may just be blind.
func TestCheckFindsViolations(t *testing.T) {
	t.Parallel()
	in := func(path string) string { return project + "/" + path }
	kms := unit{path: "kms", deps: []string{"crypto/aes", "github.com/minio/sio", "golang.org/x/crypto/chacha20poly1305"}}
	for _, tc := range []struct {
		name, path string
		imports    []string
		deps       []string // beyond imports
		tests      []string
		want       string // part of the reason; empty: allowed
	}{
		{name: "a core on the standard library and kms", path: "recorder", imports: []string{"context", in("kms")}, deps: []string{"github.com/minio/sio", "golang.org/x/crypto/chacha20poly1305"}},
		{name: "a core with a library", path: "retention", imports: []string{"github.com/oklog/ulid/v2"}, want: "standard library and kms"},
		{name: "a core with a library far away", path: "events", deps: []string{"golang.org/x/sync/errgroup"}, want: "standard library and kms"},
		{name: "a core with another core", path: "auth", imports: []string{in("recorder")}, want: "standard library and kms"},
		{name: "a core with its adapter", path: "playback", imports: []string{in("playback/archive")}, want: "standard library and kms"},
		{name: "kms with a core", path: "kms", imports: []string{in("audit")}, want: "leaf"},
		{name: "recorder with a child process", path: "recorder", imports: []string{"os/exec"}, want: "ports"},
		{name: "recorder with HTTP", path: "recorder", imports: []string{"net/http"}, want: "ports"},
		{name: "retention with SQL", path: "retention", imports: []string{"database/sql"}, want: "adapter"},
		{name: "playback with HTTP", path: "playback", imports: []string{"net/http"}},
		{name: "playback's adapter with recorder's ports", path: "playback/archive", imports: []string{in("playback"), in("recorder"), in("kms")}},
		{name: "playback's adapter with retention", path: "playback/archive", imports: []string{in("retention")}, want: "grant"},
		{name: "retention's worker with playback", path: "retention/sweeper", imports: []string{in("playback")}, want: "facts"},
		{name: "an adapter with its sibling", path: "recorder/compose", imports: []string{in("recorder/spool")}, want: "one dependency"},
		{name: "an adapter with another core's adapter", path: "recorder/spool", imports: []string{in("kms/local")}, want: "one dependency"},
		{name: "a subpackage of an adapter with its own", path: "recorder/objectstore/fs", imports: []string{in("recorder/objectstore"), in("recorder")}},
		{name: "two subpackages of one adapter", path: "recorder/objectstore/s3", imports: []string{in("recorder/objectstore/storetest")}},
		{name: "an adapter's test with its sibling", path: "playback/archive", tests: []string{in("recorder/objectstore/fs")}},
		{name: "an adapter with ent", path: "recorder/spool", imports: []string{in("ent")}, want: "callers"},
		{name: "graph with the catalog", path: "graph", imports: []string{in("ent/catalog")}, want: "resolvers read"},
		{name: "graph with SQL", path: "graph", imports: []string{"database/sql"}, want: "resolvers read"},
		{name: "graph with an adapter", path: "graph", imports: []string{in("recorder/objectstore/s3")}, want: "wired by server.go"},
		{name: "the catalog with an adapter", path: "ent/catalog", imports: []string{in("events/natsbus")}, want: "wired by server.go"},
		{name: "the catalog with ports", path: "ent/catalog", imports: []string{in("recorder"), in("auth"), in("ent")}},
		{name: "graph with ent", path: "graph", imports: []string{in("ent"), in("ent/recording"), in("recorder")}},
		{name: "ent with graph", path: "ent/schema", imports: []string{in("graph/model")}, want: "who shows them"},
		{name: "ent with state names of a core", path: "ent/schema", imports: []string{in("recorder")}},
		{name: "the root with ent", path: ".", imports: []string{in("ent")}, want: "only writer"},
		{name: "the root with everything else", path: ".", imports: []string{in("ent/catalog"), in("recorder/ingest"), in("graph"), "github.com/alecthomas/kong"}},
		{name: "a worker with ent", path: "retention/sweeper", imports: []string{in("ent")}, want: "only writer"},
		{name: "the console with a core", path: "web", imports: []string{in("recorder")}, want: "client like any other"},
		{name: "integration with a package of the project", path: "integration/demo", imports: []string{in("recorder")}, want: "missing in its interfaces"},
		{name: "integration's tests as well", path: "integration/demo", tests: []string{in("kms")}, want: "missing in its interfaces"},
		{name: "integration with itself", path: "integration/demo", imports: []string{in("integration/harness"), "os/exec"}},
		{name: "anything with the root", path: "graph", imports: []string{project}, want: "wires everything"},
		{name: "pion elsewhere", path: "recorder/spool", imports: []string{"github.com/pion/rtp"}, want: "packets come in"},
		{name: "minio-go elsewhere", path: "recorder/objectstore", imports: []string{"github.com/minio/minio-go/v7"}, want: "SDKs"},
		{name: "minio-go at home", path: "recorder/objectstore/s3", imports: []string{"github.com/minio/minio-go/v7"}},
		{name: "a child process elsewhere", path: "recorder/ingest", imports: []string{"os/exec"}, want: "supervised in one place"},
		{name: "NATS elsewhere", path: "recorder/spool", imports: []string{"github.com/nats-io/nats.go"}, want: "graph.Recorder"},
		{name: "NATS before a recorder", path: "recorder/node", imports: []string{"github.com/nats-io/nats.go", in("recorder"), in("kms")}},
		{name: "a database elsewhere", path: "events/natsbus", imports: []string{"modernc.org/sqlite"}, want: "databases"},
		{name: "flags elsewhere", path: "recorder/ingest", imports: []string{"github.com/alecthomas/kong"}, want: "composition root"},
		{name: "package log", path: "graph", imports: []string{"log"}, want: "log/slog"},
		{name: "testify", path: "web", imports: []string{"github.com/stretchr/testify/require"}, want: "hand-written"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := unit{path: tc.path, imports: tc.imports, testImports: tc.tests, deps: slices.Concat(tc.imports, tc.deps)}
			units := []unit{u}
			if tc.path != "kms" {
				units = append(units, kms)
			}
			found := check(units)
			if tc.want == "" {
				if len(found) > 0 {
					t.Errorf("refused: %v", found)
				}
				return
			}
			if !slices.ContainsFunc(found, func(v violation) bool { return v.path == tc.path && strings.Contains(v.reason, tc.want) }) {
				t.Errorf("found %v, want a reason with %q", found, tc.want)
			}
		})
	}
}

// TestOnlyTheCatalogWrites reads the code that has the ent client in hand but may only read by it.
func TestOnlyTheCatalogWrites(t *testing.T) {
	t.Parallel()
	entities := entitiesOf(t, filepath.Join("..", "ent", "client.go"))
	files, err := filepath.Glob(filepath.Join("..", "graph", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files of graph: %v", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, ".gen.go") {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range writes(t, file, src, entities) {
			t.Errorf("%s: resolvers only read by the ent client; a command goes to a service, which writes by ent/catalog", w)
		}
	}
}
