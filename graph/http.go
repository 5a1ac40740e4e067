package graph

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/gorilla/websocket"

	"github.com/dualrec/dualrec/recorder"
)

type requestKey struct{}

// requestID is what an operator finds the log line of a failed request by.
func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}

// withRequestID takes over the proxy's id if it is harmless, and makes one otherwise.
func withRequestID(r *http.Request) *http.Request {
	id := r.Header.Get("X-Request-Id")
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		id = rand.Text()
	}
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
}

func stack() string { return string(debug.Stack()) }

// writeError answers a request that never became an operation.
func writeError(w http.ResponseWriter, r *http.Request, status int, code recorder.ErrorCode, msg string) {
	kind := "application/json; charset=utf-8"
	if strings.Contains(r.Header.Get("Accept"), "application/graphql-response+json") {
		kind = "application/graphql-response+json; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	// The client is gone if this fails: there is nobody to tell.
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]any{{
		"message": msg, "extensions": map[string]any{"code": string(code), "requestId": requestID(r.Context())}}}})
}

// readBody reads a POST body up to the limit and checks that it is a GraphQL request, because gqlgen would read
// without a limit and answer a malformed body with all of its text.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		writeError(w, r, http.StatusRequestEntityTooLarge, codeLimit, "the request body is larger than this server takes")
		return false
	}
	if err != nil {
		writeError(w, r, http.StatusBadRequest, recorder.CodeInvalidInput, "the request body could not be read")
		return false
	}
	var p graphql.RawParams
	if err := json.Unmarshal(body, &p); err != nil || len(bytes.TrimSpace(body)) == 0 || bytes.TrimSpace(body)[0] != '{' {
		writeError(w, r, http.StatusBadRequest, recorder.CodeInvalidInput, "the request body is not a GraphQL request: send a JSON object with query, and variables as an object")
		return false
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return true
}

// offers tells whether a WebSocket client offers our subprotocol.
func offers(r *http.Request) bool {
	for _, p := range websocket.Subprotocols(r) {
		if p == subprotocol {
			return true
		}
	}
	return false
}

// specWriter bends gqlgen's answers to what "GraphQL over HTTP" asks for: a request that is well-formed JSON but no
// valid operation is 200 under application/json, and an operation that did not begin has no data entry.
type specWriter struct {
	http.ResponseWriter
	refused bool
}

// WriteHeader implements http.ResponseWriter.
func (s *specWriter) WriteHeader(code int) {
	if code == http.StatusUnprocessableEntity || code == http.StatusBadRequest {
		s.refused = true
		if strings.HasPrefix(s.Header().Get("Content-Type"), "application/json") && code == http.StatusUnprocessableEntity {
			code = http.StatusOK
		}
	}
	s.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (s *specWriter) Write(b []byte) (int, error) {
	c, ok := bytes.CutSuffix(b, []byte(`,"data":null}`))
	if !s.refused || !ok {
		return s.ResponseWriter.Write(b)
	}
	if _, err := s.ResponseWriter.Write(append(bytes.Clone(c), '}')); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Unwrap serves http.ResponseController.
func (s *specWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
