// Package model holds the types of the GraphQL schema that no other package has: payloads, connections, events and
// scalars. Most of it is generated; it knows nothing of how the fields are resolved.
package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/99designs/gqlgen/graphql"
)

// ErrScalar marks an input value that its scalar refuses. Its text is safe to show.
var ErrScalar = errors.New("invalid value")

// MarshalJSON writes a JSON value as it is.
func MarshalJSON(v json.RawMessage) graphql.Marshaler {
	if len(v) == 0 {
		return graphql.Null
	}
	return graphql.WriterFunc(func(w io.Writer) { _, _ = w.Write(v) })
}

// UnmarshalJSON takes any JSON value: an object from variables or from a literal in the query.
func UnmarshalJSON(v any) (json.RawMessage, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w: not JSON", ErrScalar)
	}
	return b, nil
}
