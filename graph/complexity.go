package graph

import (
	"github.com/dualrec/dualrec/graph/exec"
	"github.com/dualrec/dualrec/graph/model"
)

// The lengths that lists are taken to have where the query does not say.
const (
	tracksCost   = 4
	rowsCost     = 20
	segmentsCost = 100
	tilesCost    = 50
)

// lists multiplies what a list costs by its length: the library counts every field as one.
func lists(c *exec.ComplexityRoot) {
	c.Query.Recordings = func(child int, first *int, _ *string, last *int, _ *string, _ *model.RecordingFilter, _ *model.RecordingOrder) int {
		return times(child, first, last)
	}
	c.Recording.Bookmarks = func(child int, first *int, _ *string) int { return times(child, first, nil) }
	c.Recording.Comments = func(child int, first *int, _ *string) int { return times(child, first, nil) }
	c.Recording.Tracks = func(child int) int { return 1 + tracksCost*child }
	c.Recording.Gaps = func(child int) int { return 1 + rowsCost*child }
	c.Recording.QaLinks = func(child int) int { return 1 + tracksCost*child }
	c.Recording.Segments = func(child int) int { return 1 + segmentsCost*child }
	c.Session.Recordings = func(child int) int { return 1 + tracksCost*child }
	c.FloorSnapshot.Tiles = func(child int) int { return 1 + tilesCost*child }
	c.FloorTile.Tracks = func(child int) int { return 1 + tracksCost*child }
}

// times is the cost of a page. A page without a bound is refused elsewhere; here it costs the most.
func times(child int, first, last *int) int {
	n := maxPage
	switch {
	case first != nil:
		n = *first
	case last != nil:
		n = *last
	}
	return 1 + min(max(n, 1), maxPage)*child
}
