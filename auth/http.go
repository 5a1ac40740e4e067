package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// SourceFunc tells the address of a request's client; the zero address if it cannot be told.
type SourceFunc func(*http.Request) netip.Addr

// ClientIP returns the address of the connection, or, where that is one of the trusted proxies, the last address of
// X-Forwarded-For that is not. Addresses before it were written by the client itself and are not believed.
func ClientIP(trusted []netip.Prefix) SourceFunc {
	isProxy := func(a netip.Addr) bool {
		for _, p := range trusted {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	return func(r *http.Request) netip.Addr {
		ap, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil {
			return netip.Addr{}
		}
		client := ap.Addr().Unmap().WithZone("")
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for i := len(hops) - 1; i >= 0 && isProxy(client); i-- {
			hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
			if err != nil {
				break // what stands before it cannot be believed either
			}
			client = hop.Unmap().WithZone("")
		}
		return client
	}
}

// Middleware lets requests with a good credential through, with their principal in the context (From).
func (a *Authenticator) Middleware(next http.Handler) http.Handler { return a.middleware(next, false) }

// Optional lets requests without any Authorization header through as well, without a principal: for a WebSocket, whose
// credential comes with connection_init (ConnectionInit). A bad credential is refused here too.
func (a *Authenticator) Optional(next http.Handler) http.Handler { return a.middleware(next, true) }

func (a *Authenticator) middleware(next http.Handler, optional bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if optional && len(r.Header.Values("Authorization")) == 0 {
			next.ServeHTTP(w, r)
			return
		}
		p, err := a.FromRequest(r)
		if err != nil {
			a.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(With(r.Context(), p)))
	})
}

// FromRequest authenticates the Authorization header of a request. Errors as of Authenticate.
func (a *Authenticator) FromRequest(r *http.Request) (Principal, error) {
	return a.Authenticate(r.Context(), Bearer(r), a.cfg.ClientIP(r))
}

// Bearer is the credential of a request's Authorization header; empty if there is none.
func Bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 { // two would let proxies and us disagree
		return ""
	}
	return bearer(values[0])
}

// Source is the address that failures of this request count for; keep it for ConnectionInit.
func (a *Authenticator) Source(r *http.Request) netip.Addr { return a.cfg.ClientIP(r) }

// ConnectionInit authenticates the payload of a graphql-transport-ws connection_init: {"Authorization": "Bearer …"}.
// Errors as of Authenticate. The connection is to be closed with 4403 when it fails, and at Principal.ExpiresAt.
func (a *Authenticator) ConnectionInit(ctx context.Context, payload map[string]any, source netip.Addr) (Principal, error) {
	credential, found := "", 0
	for k, v := range payload {
		if strings.EqualFold(k, "Authorization") {
			text, _ := v.(string)
			credential = bearer(text)
			found++
		}
	}
	if found > 1 {
		credential = ""
	}
	return a.Authenticate(ctx, credential, source)
}

// bearer takes the credential out of "Bearer …" (RFC 6750); empty if it is not of this form.
func bearer(header string) string {
	scheme, credential, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.Trim(credential, " ")
}

func (a *Authenticator) refuse(w http.ResponseWriter, r *http.Request, err error) {
	ctx := r.Context()
	h := w.Header()
	var throttled *ThrottledError
	switch {
	case errors.As(err, &throttled):
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(throttled.RetryAfter.Seconds()))))
		writeRefusal(w, http.StatusTooManyRequests, "THROTTLED")
	case errors.Is(err, ErrUnauthenticated):
		a.log.LogAttrs(ctx, slog.LevelInfo, "unauthenticated", slog.Any("error", err), slog.Any("source", a.cfg.ClientIP(r)))
		h.Set("WWW-Authenticate", `Bearer realm="dualrec"`)
		writeRefusal(w, http.StatusUnauthorized, "UNAUTHENTICATED")
	default:
		if ctx.Err() == nil {
			a.log.LogAttrs(ctx, slog.LevelError, "cannot authenticate", slog.Any("error", err))
		}
		h.Set("Retry-After", "5")
		writeRefusal(w, http.StatusServiceUnavailable, "UNAVAILABLE")
	}
}

func writeRefusal(w http.ResponseWriter, status int, code string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, fmt.Sprintf("{\"error\":{\"code\":%q}}\n", code)) // a client that is gone needs no refusal
}
