package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"entgo.io/ent/dialect/sql"

	"github.com/dualrec/dualrec/graph/model"
	"github.com/dualrec/dualrec/recorder"
)

// maxPage is the largest page.
const maxPage = 100

// checkPage says what is wrong with first and last, if anything.
func checkPage(first, last *int) error {
	switch {
	case first == nil && last == nil:
		return refuse(recorder.CodeInvalidInput, "give first or last, 1 to %d", maxPage)
	case first != nil && last != nil:
		return refuse(recorder.CodeInvalidInput, "give first or last, not both")
	case first != nil && (*first < 1 || *first > maxPage):
		return refuse(recorder.CodeInvalidInput, "first is %d, want 1 to %d", *first, maxPage)
	case last != nil && (*last < 1 || *last > maxPage):
		return refuse(recorder.CodeInvalidInput, "last is %d, want 1 to %d", *last, maxPage)
	}
	return nil
}

// pageArgs are the arguments of a Relay connection.
type pageArgs struct {
	first, last   *int
	after, before *string
}

// keyset is how one list is ordered: by a column that is never null, then by id.
type keyset[N any] struct {
	column string
	desc   bool
	value  func(N) any // of the column
	decode func(json.RawMessage) (any, error)
	id     func(N) string
	// binding ties cursors to this list: tenant, order and filter.
	binding string
}

// mark is a place in a list.
type mark struct {
	Value json.RawMessage `json:"v"`
	ID    string          `json:"i"`
}

// lister is the part of a generated query that a page needs.
type lister[N any] struct {
	where func(...func(*sql.Selector))
	order func(func(*sql.Selector))
	limit func(int)
	all   func(context.Context) ([]N, error)
}

// paged is one page in the list's order.
type paged[N any] struct {
	nodes   []N
	cursors []string
	info    *model.PageInfo
}

// page reads one page. One row more than asked for tells whether there is another page behind it.
func page[N any](ctx context.Context, s *sealer, q lister[N], k keyset[N], a pageArgs) (paged[N], error) {
	if err := checkPage(a.first, a.last); err != nil {
		return paged[N]{}, err
	}
	after, err := place(s, k, "after", a.after)
	if err != nil {
		return paged[N]{}, err
	}
	before, err := place(s, k, "before", a.before)
	if err != nil {
		return paged[N]{}, err
	}
	if after != nil {
		q.where(k.beyond(*after, k.desc))
	}
	if before != nil {
		q.where(k.beyond(*before, !k.desc))
	}
	backwards := a.last != nil
	size := a.first
	if backwards {
		size = a.last
	}
	q.order(k.sort(k.desc != backwards))
	q.limit(*size + 1)
	nodes, err := q.all(ctx)
	if err != nil {
		return paged[N]{}, fmt.Errorf("graph: list: %w", err)
	}
	more := len(nodes) > *size
	nodes = nodes[:min(*size, len(nodes))]
	if backwards {
		slices.Reverse(nodes)
	}
	return assemble(s, k, nodes, &model.PageInfo{
		HasNextPage: !backwards && more || backwards && before != nil, HasPreviousPage: backwards && more || !backwards && after != nil,
	})
}

func assemble[N any](s *sealer, k keyset[N], nodes []N, info *model.PageInfo) (paged[N], error) {
	p := paged[N]{nodes: nodes, info: info}
	for _, n := range nodes {
		v, err := json.Marshal(k.value(n))
		if err != nil {
			return p, fmt.Errorf("graph: cursor: %w", err)
		}
		text, err := json.Marshal(mark{Value: v, ID: k.id(n)})
		if err != nil {
			return p, fmt.Errorf("graph: cursor: %w", err)
		}
		p.cursors = append(p.cursors, s.seal(k.purpose(), string(text)))
	}
	if len(nodes) > 0 {
		info.StartCursor, info.EndCursor = &p.cursors[0], &p.cursors[len(nodes)-1]
	}
	return p, nil
}

func (k keyset[N]) purpose() string {
	return fmt.Sprintf("cursor\x00%s\x00%t\x00%s", k.column, k.desc, k.binding)
}

// spot is an opened cursor.
type spot struct {
	value any
	id    string
}

func place[N any](s *sealer, k keyset[N], name string, cursor *string) (*spot, error) {
	if cursor == nil {
		return nil, nil
	}
	refused := refuse(recorder.CodeInvalidInput, "%s is not a cursor of this list: order and filter must be those it was got with; start again without it", name)
	text, err := s.open(k.purpose(), *cursor)
	if err != nil {
		return nil, refused
	}
	var m mark
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, refused
	}
	v, err := k.decode(m.Value)
	if err != nil {
		return nil, refused
	}
	return &spot{value: v, id: m.ID}, nil
}

// beyond selects what comes after a place. The plain bound in front lets the index of the column be used.
func (k keyset[N]) beyond(at spot, desc bool) func(*sql.Selector) {
	return func(s *sql.Selector) {
		c, id := s.C(k.column), s.C("id")
		if desc {
			s.Where(sql.And(sql.LTE(c, at.value), sql.Or(sql.LT(c, at.value), sql.And(sql.EQ(c, at.value), sql.LT(id, at.id)))))
			return
		}
		s.Where(sql.And(sql.GTE(c, at.value), sql.Or(sql.GT(c, at.value), sql.And(sql.EQ(c, at.value), sql.GT(id, at.id)))))
	}
}

func (k keyset[N]) sort(desc bool) func(*sql.Selector) {
	return func(s *sql.Selector) {
		if desc {
			s.OrderBy(sql.Desc(s.C(k.column)), sql.Desc(s.C("id")))
			return
		}
		s.OrderBy(sql.Asc(s.C(k.column)), sql.Asc(s.C("id")))
	}
}

// decodeAs reads a cursor's value as the column's type.
func decodeAs[T any](raw json.RawMessage) (any, error) {
	var v T
	err := json.Unmarshal(raw, &v)
	return v, err
}
