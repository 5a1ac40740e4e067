package model

import "context"

// The connections count lazily: a total is a query of its own, made only when it is asked for.

// RecordingConnection is one page of recordings.
type RecordingConnection struct {
	Edges    []*RecordingEdge
	PageInfo *PageInfo
	Count    func(context.Context) (int, error)
}

// TotalCount counts all recordings of the list.
func (c *RecordingConnection) TotalCount(ctx context.Context) (int, error) { return c.Count(ctx) }

// BookmarkConnection is one page of bookmarks.
type BookmarkConnection struct {
	Edges    []*BookmarkEdge
	PageInfo *PageInfo
	Count    func(context.Context) (int, error)
}

// TotalCount counts all bookmarks of the list.
func (c *BookmarkConnection) TotalCount(ctx context.Context) (int, error) { return c.Count(ctx) }

// CommentConnection is one page of comments.
type CommentConnection struct {
	Edges    []*CommentEdge
	PageInfo *PageInfo
	Count    func(context.Context) (int, error)
}

// TotalCount counts all comments of the list.
func (c *CommentConnection) TotalCount(ctx context.Context) (int, error) { return c.Count(ctx) }
