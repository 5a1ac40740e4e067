package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler"
	"github.com/99designs/gqlgen/graphql/handler/extension"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	"github.com/gorilla/websocket"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/events"
	"github.com/dualrec/dualrec/graph/exec"
	"github.com/dualrec/dualrec/recorder"
)

// Config is how the API behaves. Zero values mean the defaults.
type Config struct {
	// PublicURL is where people reach this server, e.g. "https://rec.example.com". View URLs begin with it.
	PublicURL string
	// Secret seals cursors and stream positions, 32 bytes or more, the same on every node. Empty: one is drawn, and
	// positions end with the process.
	Secret []byte
	// AllowedOrigins may open WebSockets beside the server's own origin, e.g. "https://desk.example.com".
	AllowedOrigins []string
	// Introspection lets any principal read the schema over the API.
	Introspection bool

	MaxBody       int64         // bytes of a request, default 256 KiB
	MaxMessage    int64         // bytes of a WebSocket message, default 64 KiB
	MaxTokens     int           // of an operation's text, default 2000
	MaxDepth      int           // default 12
	MaxFields     int           // of a document as written, and of an operation with its fragments expanded, default 500
	MaxAliases    int           // default 30
	MaxComplexity int           // fields times lengths of lists, default 20000
	Timeout       time.Duration // of a query or mutation, default 20 s
	MaxOperations int           // at the same time on one WebSocket, default 64
	InitTimeout   time.Duration // until connection_init, default 10 s
	WriteTimeout  time.Duration // of one WebSocket message, default 5 s
	Heartbeat     time.Duration // of subscriptions, and WebSocket pings, default 15 s
	Recheck       time.Duration // of a WebSocket's credential, beside that at each operation, default 15 s
	Tick          time.Duration // changes within it are sent together, default 100 ms
}

func (c Config) withDefaults() Config {
	number(&c.MaxBody, 256<<10)
	number(&c.MaxMessage, 64<<10)
	number(&c.MaxTokens, 2000)
	number(&c.MaxDepth, 12)
	number(&c.MaxFields, 500)
	number(&c.MaxAliases, 30)
	number(&c.MaxComplexity, 20000)
	number(&c.Timeout, 20*time.Second)
	number(&c.MaxOperations, 64)
	number(&c.InitTimeout, 10*time.Second)
	number(&c.WriteTimeout, 5*time.Second)
	number(&c.Heartbeat, 15*time.Second)
	number(&c.Recheck, 15*time.Second)
	number(&c.Tick, 100*time.Millisecond)
	return c
}

func number[T ~int | ~int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Validate returns every problem at once.
func (c Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		errs = append(errs, fmt.Errorf("graph: public URL %q is not an http or https address", c.PublicURL))
	}
	if n := len(c.Secret); n > 0 && n < minSecret {
		errs = append(errs, fmt.Errorf("graph: the secret has %d bytes, want at least %d", n, minSecret))
	}
	if min(c.MaxBody, c.MaxMessage, int64(c.MaxTokens), int64(c.MaxDepth), int64(c.MaxFields), int64(c.MaxAliases), int64(c.MaxComplexity),
		int64(c.Timeout), int64(c.MaxOperations), int64(c.InitTimeout), int64(c.WriteTimeout), int64(c.Heartbeat), int64(c.Recheck), int64(c.Tick)) < 0 {
		errs = append(errs, errors.New("graph: limits must not be negative"))
	}
	return errors.Join(errs...)
}

// Deps are what the API stands on. All are required but Log.
type Deps struct {
	Recorder Recorder
	Playback Playback
	Ingest   IngestTokens
	Reviews  Reviews
	// Reader is used for queries only, and confined to the viewer's tenant by the context of each.
	Reader *ent.Client
	Events events.Subscriber
	Auth   Authenticator
	Log    *slog.Logger
}

func (d Deps) validate() error {
	var errs []error
	for name, missing := range map[string]bool{"Recorder": d.Recorder == nil, "Playback": d.Playback == nil, "Ingest": d.Ingest == nil, "Reviews": d.Reviews == nil,
		"Reader": d.Reader == nil, "Events": d.Events == nil, "Auth": d.Auth == nil} {
		if missing {
			errs = append(errs, fmt.Errorf("graph: dependency %s is missing", name))
		}
	}
	return errors.Join(errs...)
}

// Handler serves /graphql over HTTP and WebSocket. It is safe for concurrent use. WebSockets end with the request's
// context: give http.Server a BaseContext that ends when the server drains.
type Handler struct {
	cfg    Config
	deps   Deps
	gql    *handler.Server
	socket gorilla
}

// NewHandler makes the API's handler.
func NewHandler(cfg Config, deps Deps) (*Handler, error) {
	if err := errors.Join(cfg.Validate(), deps.validate()); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{cfg: cfg.withDefaults(), deps: deps}
	root, err := newResolver(h.cfg, deps)
	if err != nil {
		return nil, err
	}
	h.socket = gorilla{writeTimeout: h.cfg.WriteTimeout, upgrader: websocket.Upgrader{CheckOrigin: h.originAllowed, HandshakeTimeout: h.cfg.InitTimeout}}
	h.gql = handler.New(exec.NewExecutableSchema(graphConfig(root)))
	h.transports()
	h.limits()
	return h, nil
}

func graphConfig(root *Resolver) (c exec.Config) {
	c.Resolvers = root
	c.Directives.Can = can
	lists(&c.Complexity)
	return c
}

func (h *Handler) transports() {
	h.gql.AddTransport(transport.Websocket{
		Implementation: h.socket, InitFunc: h.init, InitTimeout: h.cfg.InitTimeout,
		PingPongInterval: h.cfg.Heartbeat, PayloadReadLimit: &h.cfg.MaxMessage,
	})
	h.gql.AddTransport(transport.GET{})
	h.gql.AddTransport(transport.POST{})
}

func (h *Handler) limits() {
	h.gql.SetParserTokenLimit(h.cfg.MaxTokens)
	h.gql.SetErrorPresenter(present(h.deps.Log))
	h.gql.SetRecoverFunc(recovered(h.deps.Log))
	if h.cfg.Introspection {
		h.gql.Use(extension.Introspection{})
	}
	h.gql.Use(shape{maxTokens: h.cfg.MaxTokens, maxDepth: h.cfg.MaxDepth, maxFields: h.cfg.MaxFields, maxAliases: h.cfg.MaxAliases})
	h.gql.Use(extension.FixedComplexityLimit(h.cfg.MaxComplexity))
	h.gql.AroundOperations(h.operation)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = withRequestID(r)
	w.Header().Set("X-Request-Id", requestID(r.Context()))
	if websocket.IsWebSocketUpgrade(r) {
		h.serveSocket(w, r)
		return
	}
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET, POST")
		writeError(w, r, http.StatusMethodNotAllowed, recorder.CodeInvalidInput, "use POST, or GET for queries")
		return
	}
	v, err := h.authenticate(r)
	if err != nil {
		h.unauthenticated(w, r, err)
		return
	}
	if r.Method == http.MethodPost && !readBody(w, r, h.cfg.MaxBody) {
		return
	}
	h.gql.ServeHTTP(&specWriter{ResponseWriter: w}, r.WithContext(withViewer(r.Context(), v)))
}

// statuses are the answers to requests without a viewer.
var statuses = map[recorder.ErrorCode]int{codeUnauthenticated: http.StatusUnauthorized, codeThrottled: http.StatusTooManyRequests,
	recorder.CodeUnavailable: http.StatusServiceUnavailable, codeInternal: http.StatusInternalServerError}

func (h *Handler) unauthenticated(w http.ResponseWriter, r *http.Request, err error) {
	v, known := judge(err)
	status, ok := statuses[v.code]
	if !known || !ok {
		h.deps.Log.ErrorContext(r.Context(), "graphql cannot authenticate", "request_id", requestID(r.Context()), "error", err)
		v, status = verdict{code: codeInternal, msg: internalText}, http.StatusInternalServerError
	}
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="dualrec"`)
	case http.StatusTooManyRequests:
		if t, is := errors.AsType[*auth.ThrottledError](err); is {
			w.Header().Set("Retry-After", strconv.Itoa(int(t.RetryAfter/time.Second)+1))
		}
	}
	writeError(w, r, status, v.code, v.msg)
}

func (h *Handler) serveSocket(w http.ResponseWriter, r *http.Request) {
	if !h.originAllowed(r) {
		writeError(w, r, http.StatusForbidden, recorder.CodeForbidden, "pages of this origin may not open a WebSocket here: add it to the allowed origins")
		return
	}
	if !offers(r) {
		h.socket.refuseSubprotocol(w, r)
		return
	}
	s := &socket{source: h.deps.Auth.Source(r)}
	s.verify = func(ctx context.Context) (auth.Principal, error) { return h.again(r.WithContext(ctx)) }
	defer s.done()
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), socketKey{}, s))
	defer cancel()
	h.gql.ServeHTTP(w, r.WithContext(ctx))
}

// again verifies the request that opened a WebSocket once more, as far as it can be: a principal may have come with it
// by other means than its header.
func (h *Handler) again(r *http.Request) (auth.Principal, error) {
	if p, known := auth.From(r.Context()); known && r.Header.Get("Authorization") == "" {
		return p, expired(p)
	}
	return h.deps.Auth.FromRequest(r)
}

// init lets a WebSocket client in: by {"Authorization": "Bearer …"} in connection_init, because browsers cannot set
// headers, or by the principal that the request came with.
func (h *Handler) init(ctx context.Context, payload transport.InitPayload) (context.Context, *transport.InitPayload, error) {
	s, ok := socketOf(ctx)
	if !ok {
		return ctx, nil, errors.New("graph: no socket")
	}
	p, known := auth.From(ctx)
	err := expired(p)
	if !known || payload.Authorization() != "" {
		s.verify = func(ctx context.Context) (auth.Principal, error) {
			return h.deps.Auth.ConnectionInit(ctx, payload, s.source)
		}
		p, err = s.verify(ctx)
	}
	if err != nil {
		h.deps.Log.InfoContext(ctx, "graphql socket not authenticated", "request_id", requestID(ctx), "error", err)
		return transport.AppendCloseReason(transport.WithWebsocketCloseCode(ctx, closeForbidden), "Forbidden"), nil, errors.New("forbidden")
	}
	if !p.ExpiresAt.IsZero() {
		s.closeAt(p.ExpiresAt)
	}
	s.principal = p
	s.keepChecking(ctx, h.cfg.Recheck, h.deps.Log)
	return withViewer(ctx, viewer{Principal: p, ip: addressText(s.source)}), nil, nil
}

// operation surrounds every operation: it needs a viewer, on a socket a place and a credential that is still good, and
// ends in time.
func (h *Handler) operation(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	if _, err := viewerOf(ctx); err != nil {
		return refused(ctx, err)
	}
	release := func() {}
	if s, ok := socketOf(ctx); ok {
		if release, ok = s.enter(h.cfg.MaxOperations); !ok {
			return refused(ctx, refuse(codeLimit, "more than %d operations on one connection: complete some, or open another", h.cfg.MaxOperations))
		}
		if err := s.recheck(ctx); err != nil {
			release()
			return refused(ctx, err)
		}
	}
	if graphql.GetOperationContext(ctx).Operation.Operation == ast.Subscription {
		context.AfterFunc(ctx, release)
		return next(ctx)
	}
	respond := next(ctx)
	return func(ctx context.Context) *graphql.Response {
		defer release()
		release = func() {}
		ctx, cancel := context.WithTimeout(ctx, h.cfg.Timeout)
		defer cancel()
		return respond(ctx)
	}
}

func refused(ctx context.Context, err error) graphql.ResponseHandler {
	v, _ := judge(err)
	g := gqlerror.Errorf("%s", v.msg)
	g.Extensions = map[string]any{"code": string(v.code)}
	return graphql.OneShot(&graphql.Response{Errors: gqlerror.List{g}})
}

// originAllowed keeps foreign pages from opening sockets. Programs send no Origin.
func (h *Handler) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(h.cfg.AllowedOrigins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && (strings.EqualFold(u.Host, r.Host) || strings.EqualFold(origin, strings.TrimSuffix(h.cfg.PublicURL, "/")))
}
