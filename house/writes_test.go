package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// builders are the methods of an entity's client that begin a write.
var builders = []string{"Create", "CreateBulk", "MapCreateBulk", "Update", "UpdateOne", "UpdateOneID", "Delete", "DeleteOne", "DeleteOneID"}

// transactions are methods of ent's client that nothing else in the tree shares the names of.
var transactions = []string{"BeginTx", "Tx"}

// entitiesOf reads the entities' names from ent's client: type RecordingClient gives Recording.
func entitiesOf(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for name := range typesOf(f) {
		if entity, ok := strings.CutSuffix(name, "Client"); ok && entity != "" {
			out = append(out, entity)
		}
	}
	if !slices.Contains(out, "Recording") {
		t.Fatalf("%s has no RecordingClient, only %v: has ent changed its shape?", file, out)
	}
	return out
}

func typesOf(f *ast.File) map[string]bool {
	out := map[string]bool{}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
			for _, s := range g.Specs {
				out[s.(*ast.TypeSpec).Name.Name] = true
			}
		}
	}
	return out
}

// writes finds calls like client.Recording.Create(…), recording.Update() and client.Tx(…) by their shape.
func writes(t *testing.T, name string, src []byte, entities []string) []string {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		of, chained := method.X.(*ast.SelectorExpr)
		onEntity := chained && slices.Contains(entities, of.Sel.Name) && slices.Contains(builders, method.Sel.Name)
		onRow := method.Sel.Name == "Update" && len(call.Args) == 0
		if onEntity || onRow || slices.Contains(transactions, method.Sel.Name) {
			out = append(out, fmt.Sprintf("%s: %s", files.Position(call.Pos()), method.Sel.Name))
		}
		return true
	})
	return out
}

func TestWritesAreFound(t *testing.T) {
	t.Parallel()
	const src = `package graph
func f() {
	r.db.Recording.Query().All(ctx)
	r.db.Recording.Create().SetID("x").Save(ctx)
	db.Tag.Delete().Exec(ctx)
	row.Update().Save(ctx)
	db.Tx(ctx)
	r.recordings.Create(ctx, in)
	h.digest.Update(b)
}`
	got := writes(t, "f.go", []byte(src), []string{"Recording", "Tag"})
	want := []string{"f.go:4:2: Create", "f.go:5:2: Delete", "f.go:6:2: Update", "f.go:7:2: Tx"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}
