package graph

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/graph/exec"
)

func TestEveryRootFieldNamesAnOperation(t *testing.T) {
	t.Parallel()
	s := exec.NewExecutableSchema(exec.Config{}).Schema()
	n := 0
	for _, def := range []string{"Query", "Mutation", "Subscription"} {
		for _, f := range s.Types[def].Fields {
			if strings.HasPrefix(f.Name, "__") {
				continue
			}
			n++
			if f.Directives.ForName("can") == nil {
				t.Errorf("%s.%s has no @can", def, f.Name)
			}
		}
	}
	if n < 16 {
		t.Fatalf("looked at %d fields only", n)
	}
	for _, v := range s.Types["Operation"].EnumValues {
		found := false
		for m := range operations {
			found = found || string(m) == v.Name
		}
		if !found {
			t.Errorf("operation %s is not mapped", v.Name)
		}
	}
}

func TestRequestsThatAreNoOperation(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxBody: 2000})
	const graphqlType = "application/graphql-response+json"
	for _, tc := range []struct {
		name, method, token, body, accept string
		status                            int
		code                              string
	}{
		{"nobody", "POST", "", `{"query":"{__typename}"}`, "", 401, "UNAUTHENTICATED"},
		{"unknown token", "POST", "nope", `{"query":"{__typename}"}`, "", 401, "UNAUTHENTICATED"},
		{"not JSON", "POST", "a-ADMIN", `secret-body`, "", 400, "INVALID_INPUT"},
		{"empty", "POST", "a-ADMIN", ``, "", 400, "INVALID_INPUT"},
		{"a list", "POST", "a-ADMIN", `[{"query":"{__typename}"}]`, "", 400, "INVALID_INPUT"},
		{"wrong type", "POST", "a-ADMIN", `{"query":{"secret-body":1}}`, "", 400, "INVALID_INPUT"},
		{"too large", "POST", "a-ADMIN", `{"query":"` + strings.Repeat(" ", 3000) + `"}`, "", 413, "LIMIT_EXCEEDED"},
		{"other method", "PUT", "a-ADMIN", `{}`, "", 405, "INVALID_INPUT"},
		{"does not parse", "POST", "a-ADMIN", `{"query":"{"}`, "application/json", 200, "GRAPHQL_PARSE_FAILED"},
		{"does not validate", "POST", "a-ADMIN", `{"query":"{nope}"}`, "application/json", 200, "GRAPHQL_VALIDATION_FAILED"},
		{"does not parse, new type", "POST", "a-ADMIN", `{"query":"{"}`, graphqlType, 400, "GRAPHQL_PARSE_FAILED"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := h.send(tc.method, tc.token, []byte(tc.body), tc.accept)
			if a.status != tc.status || a.code() != tc.code {
				t.Errorf("status %d code %s: %s", a.status, a.code(), a.raw)
			}
			if strings.Contains(a.raw, "secret") || strings.Contains(a.raw, `"data"`) {
				t.Errorf("answer says too much: %s", a.raw)
			}
		})
	}
}

func TestAuthenticationTrouble(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"throttled", &auth.ThrottledError{RetryAfter: 3 * time.Second}, 429, "THROTTLED"},
		{"unavailable", auth.ErrUnavailable, 503, "UNAVAILABLE"},
		{"unknown", errSecret, 500, "INTERNAL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Config{})
			h.auth.err = tc.err
			a := h.do("a-ADMIN", "{__typename}", nil)
			if a.status != tc.status || a.code() != tc.code || strings.Contains(a.raw, "secret") {
				t.Fatalf("status %d: %s", a.status, a.raw)
			}
		})
	}
}

func TestMutationByGETIsRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for query, want := range map[string]string{
		"mutation{stopRecording(input:{recordingId:\"x\"}){userErrors{code}}}": "GET requests only allow query operations",
		"{ingestCapabilities}": "mimeType",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.URL.RawQuery = "query=" + strings.NewReplacer(" ", "+", "{", "%7B", "}", "%7D", `"`, "%22").Replace(query)
		req.Header.Set("Authorization", "Bearer a-ADMIN")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1<<16)
		n, _ := res.Body.Read(buf)
		_ = res.Body.Close()
		if !strings.Contains(string(buf[:n]), want) {
			t.Errorf("%s: %s", query, buf[:n])
		}
	}
	if len(h.rec.calls) != 0 {
		t.Fatalf("recorder was called: %v", h.rec.calls)
	}
}

func TestIntrospectionIsASetting(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		a := newHouse(t, Config{Introspection: on}).do("a-ADMIN", "{__schema{queryType{name}}}", nil)
		if got := strings.Contains(a.raw, `"name":"Query"`); got != on {
			t.Errorf("introspection %v: %s", on, a.raw)
		}
	}
}

func TestShapeLimits(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxDepth: 4, MaxFields: 60, MaxAliases: 3, MaxTokens: 400, MaxComplexity: 600})
	page := "INVALID_INPUT"
	for _, tc := range []struct{ name, query, code string }{
		{"fits", "{recordings(first:5){edges{node{id}}}}", ""},
		{"too deep", "{recordings(first:1){edges{node{session{id}}}}}", "LIMIT_EXCEEDED"},
		{"aliases", "{a:ingestCapabilities b:ingestCapabilities c:ingestCapabilities}", ""},
		{"too many aliases", "{a:ingestCapabilities b:ingestCapabilities c:ingestCapabilities d:ingestCapabilities}", "LIMIT_EXCEEDED"},
		{"fragments that multiply", `{...a ...a} fragment a on Query{...b ...b} fragment b on Query{...c ...c} fragment c on Query{...d ...d}
			fragment d on Query{...e ...e} fragment e on Query{...f ...f} fragment f on Query{...g ...g} fragment g on Query{ingestCapabilities}`, "LIMIT_EXCEEDED"},
		{"too many tokens", "{" + strings.Repeat("ingestCapabilities ", 500) + "}", "GRAPHQL_PARSE_FAILED"},
		{"too complex", "{recordings(first:100){edges{node{id capture tier layout hasGaps startedAt}}}}", "COMPLEXITY_LIMIT_EXCEEDED"},
		{"no page", "{recordings{edges{cursor}}}", page},
		{"both pages", "{recordings(first:1,last:1){edges{cursor}}}", page},
		{"page of none", "{recordings(first:0){edges{cursor}}}", page},
		{"negative page", "{recordings(last:-1){edges{cursor}}}", page},
		{"page too large", "{recordings(first:101){edges{cursor}}}", page},
		{"nested without page", `{recording(id:"x"){bookmarks{totalCount}}}`, page},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if a := h.do("a-ADMIN", tc.query, nil); a.code() != tc.code {
				t.Fatalf("code %q, want %q: %s", a.code(), tc.code, a.raw)
			}
		})
	}
	t.Run("page from variables", func(t *testing.T) {
		t.Parallel()
		q := "query($n:Int){recordings(first:$n){edges{cursor}}}"
		if a := h.do("a-ADMIN", q, map[string]any{"n": 500}); a.code() != page || !strings.Contains(a.raw, "500") {
			t.Errorf("500: %s", a.raw)
		}
		if a := h.do("a-ADMIN", q, map[string]any{"n": 5}); a.code() != "" {
			t.Errorf("5: %s", a.raw)
		}
		if a := h.do("a-ADMIN", q, nil); a.code() != page {
			t.Errorf("none: %s", a.raw)
		}
	})
}

// Documents that are small on the wire and huge when they are looked at naively must be refused at once.
func TestBombsAreRefusedQuickly(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	var doubling strings.Builder
	doubling.WriteString("{...f0}")
	const levels = 40 // 2^40 fields
	for i := range levels {
		fmt.Fprintf(&doubling, " fragment f%d on Query{...f%d ...f%d}", i, i+1, i+1)
	}
	fmt.Fprintf(&doubling, " fragment f%d on Query{ingestCapabilities}", levels)
	for name, query := range map[string]string{
		"fragments that double at the root": doubling.String(),
		"equal fields":                      "{" + strings.Repeat("ingestCapabilities ", 1900) + "}",
		"equal fields in a fragment":        "{...f} fragment f on Query{" + strings.Repeat("ingestCapabilities ", 1900) + "}",
		"equal fields below a field":        "{node(id:\"x\"){" + strings.Repeat("id ", 1900) + "}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			a := h.do("a-ADMIN", query, nil)
			if code := a.code(); code != "LIMIT_EXCEEDED" {
				t.Errorf("code %q: %.300s", code, a.raw)
			}
			if took := time.Since(begin); took > patience {
				t.Errorf("took %v", took)
			}
		})
	}
}

// The validator compares equal fields with each other, so they are counted before it runs.
func TestFieldsAreCountedBeforeValidation(t *testing.T) {
	t.Parallel()
	s := shape{maxTokens: 1000, maxFields: 10}
	for _, tc := range []struct {
		name, query string
		refused     bool
	}{
		{"at the limit", "{" + strings.Repeat("a ", 10) + "}", false},
		{"one more", "{" + strings.Repeat("a ", 11) + "}", true},
		{"nested", "{a{" + strings.Repeat("b{c}", 5) + "}}", true},
		{"inline fragments", "{" + strings.Repeat("...on Query{a}", 11) + "}", true},
		{"fragments by name count once", "{...f ...f ...f} fragment f on Query{a b c d e}", false},
		{"several operations", "query a{" + strings.Repeat("a ", 6) + "} query b{" + strings.Repeat("a ", 6) + "}", true},
		{"in a fragment", "{...f} fragment f on Query{" + strings.Repeat("a ", 11) + "}", true},
		{"no GraphQL", "{" + strings.Repeat("a ", 11), false}, // the parser's to refuse
	} {
		if err := s.MutateOperationParameters(t.Context(), &graphql.RawParams{Query: tc.query}); (err != nil) != tc.refused {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	t.Parallel()
	_, err := NewHandler(Config{PublicURL: "nowhere", Secret: []byte("short"), MaxDepth: -1}, Deps{})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"public URL", "secret has 5 bytes", "negative", "Recorder is missing", "Reader is missing", "Auth is missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
