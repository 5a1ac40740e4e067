package graph

import (
	"context"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/dualrec/dualrec/recorder"
)

// shape refuses operations by their form, before anything is resolved: too deep, too many fields or aliases, lists
// without a bound, and root fields that nobody has been allowed to use.
type shape struct{ maxTokens, maxDepth, maxFields, maxAliases int }

var _ interface {
	graphql.HandlerExtension
	graphql.OperationParameterMutator
	graphql.OperationContextMutator
} = shape{}

// ExtensionName implements graphql.HandlerExtension.
func (shape) ExtensionName() string { return "Shape" }

// Validate implements graphql.HandlerExtension.
func (shape) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters implements graphql.OperationParameterMutator. It changes nothing. It counts the fields as
// they are written before the validator compares each with each of the same name, which takes seconds for thousands.
func (s shape) MutateOperationParameters(_ context.Context, p *graphql.RawParams) *gqlerror.Error {
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: p.Query}, s.maxTokens)
	if err != nil {
		return nil //nolint:nilerr // it is parsed again right after this, and refused in the form that clients know
	}
	n := 0
	for _, o := range doc.Operations {
		n += written(o.SelectionSet)
	}
	for _, f := range doc.Fragments {
		n += written(f.SelectionSet)
	}
	if n <= s.maxFields {
		return nil
	}
	out := gqlerror.Errorf("the document has more than %d fields", s.maxFields)
	errcode.Set(out, string(codeLimit))
	return out
}

// written counts the fields of a selection set without following fragments by name.
func written(set ast.SelectionSet) (n int) {
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			n += 1 + written(s.SelectionSet)
		case *ast.InlineFragment:
			n += written(s.SelectionSet)
		}
	}
	return n
}

// MutateOperationContext implements graphql.OperationContextMutator. It changes nothing.
func (s shape) MutateOperationContext(_ context.Context, op *graphql.OperationContext) *gqlerror.Error {
	w := shapeWalk{limits: s, vars: op.Variables}
	w.root(op.Operation.SelectionSet)
	if w.err == nil {
		w.set(op.Operation.SelectionSet, 1)
	}
	return w.err
}

type shapeWalk struct {
	limits          shape
	vars            map[string]any
	fields, aliases int
	err             *gqlerror.Error
}

func (w *shapeWalk) fail(at *ast.Field, code recorder.ErrorCode, format string, args ...any) {
	if w.err == nil {
		w.err = gqlerror.ErrorPosf(at.Position, format, args...)
		errcode.Set(w.err, string(code))
	}
}

// root refuses root fields without @can; the fields of the GraphQL language itself have an own switch. It stops at the
// limit of fields, as field does.
func (w *shapeWalk) root(set ast.SelectionSet) {
	n := 0
	for f := range fieldsOf(set) {
		if n++; n > w.limits.maxFields {
			w.fail(f, codeLimit, "the operation has more than %d fields", w.limits.maxFields)
		}
		if w.err != nil {
			return
		}
		if !strings.HasPrefix(f.Name, "__") && f.Definition.Directives.ForName("can") == nil {
			w.fail(f, recorder.CodeForbidden, "nobody may use %s", f.Name)
		}
	}
}

func (w *shapeWalk) set(set ast.SelectionSet, depth int) {
	for f := range fieldsOf(set) {
		if w.err != nil {
			return
		}
		w.field(f, depth)
	}
}

// field counts a field as often as fragments repeat it, and stops at the limit, so that fragments that multiply each
// other cost no more than the limit.
func (w *shapeWalk) field(f *ast.Field, depth int) {
	w.fields++
	if f.Alias != f.Name {
		w.aliases++
	}
	switch {
	case depth > w.limits.maxDepth:
		w.fail(f, codeLimit, "the operation is more than %d levels deep", w.limits.maxDepth)
	case w.fields > w.limits.maxFields:
		w.fail(f, codeLimit, "the operation has more than %d fields", w.limits.maxFields)
	case w.aliases > w.limits.maxAliases:
		w.fail(f, codeLimit, "the operation has more than %d aliases", w.limits.maxAliases)
	case strings.HasSuffix(f.Definition.Type.Name(), "Connection"):
		w.connection(f)
	}
	w.set(f.SelectionSet, depth+1)
}

func (w *shapeWalk) connection(f *ast.Field) {
	args := f.ArgumentMap(w.vars)
	if err := checkPage(asInt(args["first"]), asInt(args["last"])); err != nil {
		v, _ := judge(err)
		w.fail(f, v.code, "%s: %s", f.Name, v.msg)
	}
}

// asInt reads an Int argument, which is int64 from a literal and a JSON number from variables.
func asInt(v any) *int {
	if v == nil {
		return nil
	}
	n, err := graphql.UnmarshalInt(v)
	if err != nil {
		n = -1 // the resolver would refuse it too
	}
	return &n
}

// fieldsOf yields the fields of a selection set through all fragments. The validator has refused cycles before.
func fieldsOf(set ast.SelectionSet) func(func(*ast.Field) bool) {
	return func(yield func(*ast.Field) bool) {
		for _, s := range set {
			switch s := s.(type) {
			case *ast.Field:
				if !yield(s) {
					return
				}
			case *ast.InlineFragment:
				for f := range fieldsOf(s.SelectionSet) {
					if !yield(f) {
						return
					}
				}
			case *ast.FragmentSpread:
				for f := range fieldsOf(s.Definition.SelectionSet) {
					if !yield(f) {
						return
					}
				}
			}
		}
	}
}
