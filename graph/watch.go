package graph

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/99designs/gqlgen/graphql/handler/transport"

	"github.com/dualrec/dualrec/events"
	"github.com/dualrec/dualrec/graph/model"
	"github.com/dualrec/dualrec/recorder"
)

// source turns changes into the events of one kind of subscription. It is used by one goroutine.
type source[E any] interface {
	// snapshot reads everything.
	snapshot(ctx context.Context, at *model.StreamPosition) (E, error)
	// delta reads what changed; send is false if none of it concerns this viewer.
	delta(ctx context.Context, at *model.StreamPosition, changes []events.Merged) (e E, send bool, err error)
	// resumed is the first event after a proven resume.
	resumed(ctx context.Context, at *model.StreamPosition) (E, error)
	gap(at *model.StreamPosition, reason string) E
	heartbeat(at *model.StreamPosition) E
}

// watcher starts subscriptions.
type watcher struct {
	bus       events.Subscriber
	seal      *sealer
	heartbeat time.Duration
	tick      time.Duration // changes within it are sent together
	log       *slog.Logger
}

// watch runs a source until ctx ends. The first event is a snapshot or a resumed one; it is made before watch
// returns, so that a refusal is an answer. A viewer that does not take events holds back nobody: what comes in the
// meantime is merged in its own queue.
func watch[E any](ctx context.Context, w watcher, resume *model.StreamPositionInput, src source[E]) (<-chan E, error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return nil, err
	}
	sub, err := w.bus.Subscribe(ctx, v.TenantID, w.open(v.TenantID, resume))
	if err != nil {
		return nil, fmt.Errorf("graph: subscribe: %w", err)
	}
	run := &watching[E]{watcher: w, tenant: v.TenantID, sub: sub, src: src, out: make(chan E)}
	first, err := run.first(ctx)
	if err != nil {
		sub.Close()
		return nil, err
	}
	go run.run(ctx, first)
	return run.out, nil
}

// open reads a position of a client. What it cannot read becomes a position that no log has.
func (w watcher) open(tenant string, p *model.StreamPositionInput) *events.Position {
	if p == nil {
		return nil
	}
	offset, err := w.seal.open("offset\x00"+tenant+"\x00"+p.Epoch, p.Offset)
	if err != nil {
		offset = "not a position"
	}
	return &events.Position{Epoch: p.Epoch, Offset: offset}
}

type watching[E any] struct {
	watcher
	tenant string
	sub    events.Subscription
	src    source[E]
	out    chan E
}

func (w *watching[E]) position(p events.Position) *model.StreamPosition {
	return &model.StreamPosition{Epoch: p.Epoch, Offset: w.seal.seal("offset\x00"+w.tenant+"\x00"+p.Epoch, p.Offset)}
}

// first makes the first events: after a resume that could not be proven the viewer is told why.
func (w *watching[E]) first(ctx context.Context) ([]E, error) {
	start := w.sub.Start()
	at := w.position(start.Position)
	if start.Resumed {
		e, err := w.src.resumed(ctx, at)
		return []E{e}, err
	}
	e, err := w.src.snapshot(ctx, at)
	if start.Reason != "" {
		return []E{w.src.gap(at, start.Reason), e}, err
	}
	return []E{e}, err
}

func (w *watching[E]) run(ctx context.Context, first []E) {
	defer close(w.out)
	defer w.sub.Close()
	for _, e := range first {
		if !w.send(ctx, e) {
			return
		}
	}
	if err := w.follow(ctx); err != nil && ctx.Err() == nil {
		w.fail(ctx, err)
	}
}

// fail ends the subscription with an error message.
func (w *watching[E]) fail(ctx context.Context, err error) {
	transport.AddSubscriptionError(ctx, present(w.log)(ctx, err))
}

func (w *watching[E]) follow(ctx context.Context) error {
	beat := time.NewTimer(w.heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
			if !w.send(ctx, w.src.heartbeat(w.position(w.sub.Position()))) {
				return nil
			}
		case _, open := <-w.sub.Ready():
			if !open {
				return refuse(recorder.CodeUnavailable, "the server ends this subscription: subscribe again with the last position")
			}
			if err := w.deliver(ctx); err != nil {
				return err
			}
		}
		beat.Reset(w.heartbeat)
	}
}

// deliver waits a moment for more of the same, and sends what there is.
func (w *watching[E]) deliver(ctx context.Context) error {
	select {
	case <-time.After(w.tick):
	case <-ctx.Done():
		return nil
	}
	b, ok := w.sub.Take()
	if !ok {
		return nil
	}
	at := w.position(b.Position)
	if b.Gap != "" {
		return w.catchUp(ctx, at, b.Gap)
	}
	e, send, err := w.src.delta(ctx, at, b.Changes)
	if err != nil || !send {
		return err
	}
	w.send(ctx, e)
	return nil
}

func (w *watching[E]) catchUp(ctx context.Context, at *model.StreamPosition, reason string) error {
	if !w.send(ctx, w.src.gap(at, reason)) {
		return nil
	}
	e, err := w.src.snapshot(ctx, at)
	if err != nil {
		return err
	}
	w.send(ctx, e)
	return nil
}

func (w *watching[E]) send(ctx context.Context, e E) bool {
	select {
	case w.out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
