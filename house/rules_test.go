package house

import (
	"fmt"
	"slices"
	"strings"
)

const project = "github.com/dualrec/dualrec"

// unit is one package as go list describes it. Paths within the project are shortened: "recorder/spool", "." for the root.
type unit struct {
	path        string
	imports     []string // of the package itself, without tests
	testImports []string // of its tests, inside and outside
	deps        []string // all that it leads to
}

// violation is one broken rule.
type violation struct{ path, imported, reason string }

func (v violation) String() string {
	return fmt.Sprintf("%s imports %s: %s", v.path, v.imported, v.reason)
}

// cores are the domains. Their root packages stand on the standard library and kms alone.
var cores = []string{"recorder", "playback", "retention", "audit", "auth", "events", "kms"}

// generic are the reasons that do not name a dependency.
const (
	whyCore     = "a core stands on the standard library and kms, so that its rules can be read and tested without a database, a socket or a store; declare a port and implement it in a subfolder"
	whySibling  = "an adapter wraps one dependency; what two adapters share belongs to their core, and server.go brings them together"
	whyWired    = "adapters are chosen and wired by server.go; everything else knows the port only"
	whyBlackBox = "integration tests know the program as its users do; what they need from inside is missing in its interfaces"
	whyLeaf     = "kms is the leaf: whatever it imported could never import it"
	whyRoot     = "the root package wires everything; nothing can import it"
)

// bans say who never imports what, with the reason. A pattern ends with / to mean everything below it.
var bans = []struct {
	of, never []string
	reason    string
}{
	{[]string{"recorder"}, []string{"net", "net/http", "database/sql", "os/exec"},
		"the life of a recording is decided without sockets, SQL and child processes: they are ports"},
	{[]string{"retention", "audit", "events", "kms"}, []string{"net", "net/http", "database/sql", "os/exec"},
		"this core decides and computes; acting is an adapter's"},
	{[]string{"playback", "playback/"}, []string{"ent", "ent/", "graph", "graph/", "retention", "retention/"},
		"playback serves bytes by grant; what may be played is decided before a grant is given"},
	{[]string{"retention", "retention/"}, []string{"ent", "ent/", "graph", "graph/", "playback", "playback/"},
		"retention decides on facts it is given, whoever keeps them"},
	{[]string{"audit", "audit/", "auth", "auth/", "events", "events/", "recorder", "recorder/", "kms", "kms/"},
		[]string{"ent", "ent/", "graph", "graph/"},
		"commands go from graph to a service to a port; the domain does not know its callers nor its tables"},
	{[]string{"graph", "graph/"}, []string{"ent/catalog", "ent/migrate", "database/sql", "github.com/jackc/", "modernc.org/", "github.com/pressly/goose/"},
		"resolvers read through the ent client and command through services; a write here would bypass both"},
	{[]string{"ent", "ent/"}, []string{"graph", "graph/"},
		"tables do not know who shows them"},
	{[]string{"web", "web/"}, []string{"ent", "ent/", "graph", "graph/", "recorder", "recorder/", "playback", "playback/", "retention", "audit", "auth", "events", "kms"},
		"the console is a client like any other; it speaks GraphQL"},
}

// adapters lists folders whose subpackages wrap a dependency each. The packages below a subpackage belong to it.
var adapters = cores

// confined says where a library or a power of the standard library may be imported at all (tests apart), so that
// replacing it means looking in one place.
var confined = []struct {
	what, where []string
	reason      string
}{
	{[]string{"github.com/pion/"}, []string{"recorder/ingest", "recorder/ingest/", "recorder/depacketize", "integration/"},
		"RTP libraries stay where packets come in"},
	{[]string{"github.com/at-wat/ebml-go", "github.com/at-wat/ebml-go/"}, []string{"recorder/compose", "recorder/compose/"},
		"Matroska is how frames reach FFmpeg and nothing else"},
	{[]string{"github.com/minio/minio-go/", "github.com/Azure/", "cloud.google.com/go/storage"}, []string{"recorder/objectstore/", "integration/"},
		"object-store SDKs stay behind recorder.ObjectStore"},
	{[]string{"github.com/minio/sio"}, []string{"kms", "kms/"},
		"file encryption has one implementation"},
	{[]string{"gocloud.dev/"}, []string{"kms/"},
		"customers' key services stay behind kms.Wrapper"},
	{[]string{"github.com/nats-io/"}, []string{"events/", "recorder/node", "integration/"},
		"the bus stays behind its port; commands to recorders of other processes go over its connection, behind graph.Recorder"},
	{[]string{"github.com/sony/gobreaker/"}, []string{"recorder/objectstore", "recorder/objectstore/"},
		"one circuit breaker, around the store"},
	{[]string{"github.com/99designs/gqlgen/"}, []string{"graph", "graph/", "ent", "ent/"},
		"GraphQL stays at the edge"},
	{[]string{"github.com/gorilla/websocket"}, []string{"graph", "graph/", "integration/"},
		"WebSockets carry GraphQL subscriptions only"},
	{[]string{"github.com/alecthomas/kong"}, []string{".", "integration/"},
		"flags and environment are read by the composition root; every package has its own Config"},
	{[]string{"github.com/pressly/goose/", "github.com/jackc/", "modernc.org/sqlite"}, []string{"ent/", "audit/", ".", "integration/"},
		"databases are reached through ent/catalog and the audit log's adapter"},
	{[]string{"os/exec"}, []string{"recorder/compose", "ent/catalog/pgtest", "integration/", "."},
		"child processes are supervised in one place; FFmpeg is the only one the product has"},
	{[]string{project + "/ent"}, []string{"ent", "ent/", "graph", "graph/"},
		"ent/catalog is the only writer and graph the only reader of the tables"},
	{[]string{"github.com/stretchr/testify/", "github.com/golang/mock/", "go.uber.org/mock/", "github.com/sirupsen/logrus", "go.uber.org/zap", "github.com/pkg/errors", "log"}, []string{"ent"}, // generated code of ent has a log option
		"the standard library has it: testing, hand-written fakes, log/slog, errors"},
}

// check finds every violation in a set of packages.
func check(units []unit) []violation {
	var out []violation
	leaf := depsOf(units, "kms")
	for _, u := range units {
		out = append(out, checkCore(u, leaf)...)
		out = append(out, checkAdapter(u)...)
		out = append(out, checkIntegration(u)...)
		out = append(out, checkBans(u)...)
		out = append(out, checkConfined(u)...)
	}
	return out
}

// depsOf is what a package leads to, itself included, as full import paths.
func depsOf(units []unit, path string) []string {
	for _, u := range units {
		if u.path == path {
			return append(slices.Clone(u.deps), project+"/"+path)
		}
	}
	return nil
}

// checkCore looks at everything a core leads to. What kms stands on is allowed with it.
func checkCore(u unit, leaf []string) []violation {
	if !slices.Contains(cores, u.path) {
		return nil
	}
	var out []violation
	for _, dep := range u.deps {
		switch {
		case standard(dep):
		case u.path == "kms" && strings.HasPrefix(dep, project):
			out = append(out, violation{u.path, dep, whyLeaf})
		case u.path == "kms", slices.Contains(leaf, dep):
		default:
			out = append(out, violation{u.path, dep, whyCore})
		}
	}
	return out
}

// checkAdapter: adapters are imported by the root package and within their own folder, by nothing else. Tests may, for
// instance to run an adapter against the one that fills its port.
func checkAdapter(u unit) []violation {
	if u.path == "." {
		return nil
	}
	home, isAdapter := adapterHome(u.path)
	var out []violation
	for _, imported := range u.imports {
		other, ok := adapterHome(strings.TrimPrefix(imported, project+"/"))
		switch {
		case !ok || isAdapter && other == home:
		case isAdapter:
			out = append(out, violation{u.path, imported, whySibling})
		default:
			out = append(out, violation{u.path, imported, whyWired})
		}
	}
	return out
}

// adapterHome is the adapter's folder, "recorder/objectstore" for "recorder/objectstore/fs".
func adapterHome(path string) (string, bool) {
	parts := strings.Split(path, "/")
	if len(parts) < 2 || !slices.Contains(adapters, parts[0]) {
		return "", false
	}
	return parts[0] + "/" + parts[1], true
}

func checkIntegration(u unit) []violation {
	if !under(u.path, "integration/") {
		return nil
	}
	var out []violation
	for _, imported := range slices.Concat(u.imports, u.testImports) {
		if inside(imported) && !strings.HasPrefix(imported, project+"/integration/") {
			out = append(out, violation{u.path, imported, whyBlackBox})
		}
	}
	return out
}

func checkBans(u unit) []violation {
	var out []violation
	for _, imported := range u.imports {
		if imported == project {
			out = append(out, violation{u.path, imported, whyRoot})
		}
	}
	for _, ban := range bans {
		if !matchesAny(u.path, ban.of) {
			continue
		}
		for _, imported := range u.imports {
			if matchesAny(strings.TrimPrefix(imported, project+"/"), ban.never) {
				out = append(out, violation{u.path, imported, ban.reason})
			}
		}
	}
	return out
}

func checkConfined(u unit) []violation {
	var out []violation
	for _, c := range confined {
		if matchesAny(u.path, c.where) {
			continue
		}
		for _, imported := range u.imports {
			if matchesAny(imported, c.what) {
				out = append(out, violation{u.path, imported, c.reason})
			}
		}
	}
	return out
}

func matchesAny(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return under(path, p) })
}

// under tells that path is the pattern, or below it if the pattern ends with /.
func under(path, pattern string) bool {
	if strings.HasSuffix(pattern, "/") {
		return strings.HasPrefix(path, pattern)
	}
	return path == pattern
}

func inside(path string) bool { return path == project || strings.HasPrefix(path, project+"/") }

// standard tells packages of the standard library: only they have no dot in the first element of their path.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
