package graph

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent/agent"
	"github.com/dualrec/dualrec/ent/predicate"
	"github.com/dualrec/dualrec/ent/queue"
	"github.com/dualrec/dualrec/ent/recording"
	"github.com/dualrec/dualrec/ent/tenancy"
	"github.com/dualrec/dualrec/graph/model"
	"github.com/dualrec/dualrec/recorder"
)

// Authenticator tells who calls; *auth.Authenticator is one. Errors: auth.ErrUnauthenticated, *auth.ThrottledError,
// auth.ErrUnavailable.
type Authenticator interface {
	// FromRequest is asked for HTTP requests whose context has no principal yet (auth.From).
	FromRequest(r *http.Request) (auth.Principal, error)
	// ConnectionInit is asked with the payload of a WebSocket's connection_init.
	ConnectionInit(ctx context.Context, payload map[string]any, source netip.Addr) (auth.Principal, error)
	// Source is the address of a request's client.
	Source(r *http.Request) netip.Addr
}

// viewer is the principal of a request as the API needs it.
type viewer struct {
	auth.Principal
	ip string
}

// actor is the viewer in audit rows.
func (v viewer) actor() recorder.Actor {
	if v.KeyID != "" {
		return recorder.Actor{Kind: "api_key", ID: v.KeyID, IP: v.ip}
	}
	return recorder.Actor{Kind: "user", ID: v.Subject, IP: v.ip}
}

// reach narrows a query for recordings to those with which the viewer may do an operation, within the tenant.
func (v viewer) reach(op auth.Operation) []predicate.Recording {
	switch auth.ScopeOf(v.Role, op) {
	case auth.Tenant:
		return nil
	case auth.OwnQueues:
		if slices.Contains(v.Queues, auth.AllQueues) {
			return nil
		}
		return []predicate.Recording{recording.HasQueueWith(queue.NameIn(v.Queues...))}
	case auth.Own:
		return []predicate.Recording{recording.HasAgentWith(agent.ExternalID(v.Subject))}
	default:
		return []predicate.Recording{recording.IDIn()} // nothing
	}
}

type viewerKey struct{}

// withViewer lets everything below see one tenant, and nobody else's.
func withViewer(ctx context.Context, v viewer) context.Context {
	ctx = auth.With(context.WithValue(ctx, viewerKey{}, v), v.Principal)
	return tenancy.With(ctx, v.TenantID)
}

func viewerOf(ctx context.Context) (viewer, error) {
	v, ok := ctx.Value(viewerKey{}).(viewer)
	if !ok || v.TenantID == "" {
		return viewer{}, refuse(codeUnauthenticated, "sign in: send Authorization: Bearer with a valid credential")
	}
	return v, nil
}

// operations are the words of the schema for those of auth.
var operations = map[model.Operation]auth.Operation{
	model.OperationIngest: auth.Ingest, model.OperationPause: auth.Pause, model.OperationReadRecordings: auth.ReadRecordings,
	model.OperationPlay: auth.Play, model.OperationRevokeGrants: auth.RevokeGrants,
	model.OperationAnnotate: auth.Annotate, model.OperationWatchFloor: auth.WatchFloor,
}

// can implements the directive: whether the role may do the operation at all. How far it reaches is for reach to say.
func can(ctx context.Context, _ any, next graphql.Resolver, do model.Operation) (any, error) {
	v, err := viewerOf(ctx)
	if err != nil {
		return nil, err
	}
	if op, known := operations[do]; !known || !auth.Allowed(v.Role, op) {
		return nil, refuse(recorder.CodeForbidden, "the role %s may not do this", v.Role)
	}
	return next(ctx)
}

// authenticate finds the viewer of an HTTP request.
func (h *Handler) authenticate(r *http.Request) (viewer, error) {
	v := viewer{ip: addressText(h.deps.Auth.Source(r))}
	if p, ok := auth.From(r.Context()); ok {
		v.Principal = p
		return v, expired(p)
	}
	var err error
	v.Principal, err = h.deps.Auth.FromRequest(r)
	return v, err
}

// expired refuses a principal whose time is over; a long-lived connection may carry one.
func expired(p auth.Principal) error {
	if !p.ExpiresAt.IsZero() && !time.Now().Before(p.ExpiresAt) {
		return errors.Join(auth.ErrUnauthenticated, errors.New("graph: credential expired"))
	}
	return nil
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
