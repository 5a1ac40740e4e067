package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/auth/usertoken"
	"github.com/dualrec/dualrec/graph"
	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/ingest/whip"
)

// whipFlags are the settings of WHIP.
type whipFlags struct {
	WhipPort        int      `help:"UDP port to which browsers and encoders publish without an SFU (WHIP); 0: no WHIP." env:"DUALREC_WHIP_PORT"`
	WhipAnnouncedIP []string `help:"Addresses under which publishers reach --whip-port (default: --announced-ip, or --media-ip)." placeholder:"IP" env:"DUALREC_WHIP_ANNOUNCED_IP"`
	WhipURL         string   `help:"Where publishers reach /whip/ (default: --public-url)." placeholder:"URL" env:"DUALREC_WHIP_URL"`
	WhipSessions    int      `help:"WHIP sessions at once; a dual call takes two." default:"200" env:"DUALREC_WHIP_SESSIONS"`
}

// whipURL is where publishers reach WHIP; empty without WHIP.
func (c serveConfig) whipURL() string {
	switch {
	case c.WhipURL != "":
		return strings.TrimSuffix(c.WhipURL, "/")
	case c.WhipPort != 0:
		return c.publicURL()
	}
	return ""
}

func (c serveConfig) whip() (whip.Config, error) {
	w := whip.DefaultConfig()
	bind, err := netip.ParseAddr(c.MediaIP)
	if err != nil {
		return w, fmt.Errorf("--media-ip: %q is not an IP address", c.MediaIP)
	}
	if c.WhipPort < 1 || c.WhipPort > 65535 {
		return w, fmt.Errorf("--whip-port: %d is not within 1…65535", c.WhipPort)
	}
	if c.WhipPort >= c.PortMin && c.WhipPort <= c.PortMax {
		return w, fmt.Errorf("--whip-port: %d is one of the media ports %d…%d: choose another", c.WhipPort, c.PortMin, c.PortMax)
	}
	announced := c.WhipAnnouncedIP
	if len(announced) == 0 && c.AnnouncedIP != "" {
		announced = []string{c.AnnouncedIP}
	}
	for _, text := range announced {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return w, fmt.Errorf("--whip-announced-ip: %q is not an IP address", text)
		}
		w.Announced = append(w.Announced, ip)
	}
	w.Bind, w.AllowedOrigins, w.MaxSessions = netip.AddrPortFrom(bind, uint16(c.WhipPort)), c.AllowedOrigin, c.WhipSessions
	w.MaxPerRecording = min(w.MaxPerRecording, c.WhipSessions+1)
	return w, w.Validate()
}

// openWHIP serves /whip/, or says at it how to switch it on.
func (m *program) openWHIP(ctx context.Context, who *auth.Authenticator, tokens *usertoken.Codec) (http.Handler, error) {
	if m.cfg.WhipPort == 0 || m.recorder == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "this process takes no WHIP: start it with --whip-port", http.StatusNotFound)
		}), nil
	}
	cfg, err := m.cfg.whip()
	if err != nil {
		return nil, err
	}
	m.whip, err = whip.New(ctx, cfg, m.recorder, whipGate{who, activeTenants{tokens, m.catalog}}, m.log)
	if err != nil {
		return nil, err
	}
	m.onClose(m.whip.Close)
	m.log.Info("whip is on", "udp", cfg.Bind.String(), "url", m.cfg.whipURL()+whip.Prefix)
	return m.whip.Handler(), nil
}

// whipGate lets in who holds an ingest token of the recording, or may ingest into any of its tenant.
type whipGate struct {
	who     *auth.Authenticator
	tenants activeTenants
}

// Admit implements whip.Gate.
func (g whipGate) Admit(r *http.Request, recordingID string) (whip.Publisher, error) {
	grant, err := g.tenants.grant(r)
	if err == nil {
		if grant.RecordingID != recordingID {
			return whip.Publisher{}, &whip.Refusal{Status: http.StatusForbidden, Code: string(recorder.CodeForbidden), Detail: "this token is for another recording"}
		}
		p := whip.Publisher{TenantID: grant.TenantID, Kinds: []recorder.TrackKind{}, Actor: recorder.Actor{Kind: "ingest_token", ID: grant.Subject}}
		for _, k := range grant.Kinds {
			p.Kinds = append(p.Kinds, recorder.TrackKind(k))
		}
		return p, nil
	}
	if !errors.Is(err, auth.ErrUnauthenticated) {
		return whip.Publisher{}, refusalOf(err)
	}
	p, err := g.who.FromRequest(r) // which also counts failures
	if err != nil {
		return whip.Publisher{}, refusalOf(err)
	}
	if !auth.Allowed(p.Role, auth.Ingest) {
		return whip.Publisher{}, &whip.Refusal{Status: http.StatusForbidden, Code: string(recorder.CodeForbidden),
			Detail: "the role " + string(p.Role) + " may not publish: use a SERVICE key, or a token of createIngestToken"}
	}
	return whip.Publisher{TenantID: p.TenantID, Near: p.Near, Actor: actorOf(p)}, nil
}

func refusalOf(err error) error {
	r := &whip.Refusal{Status: http.StatusServiceUnavailable, Code: string(recorder.CodeUnavailable), Detail: "who you are cannot be found out now: retry",
		RetryAfter: 5 * time.Second, Err: err}
	if t, is := errors.AsType[*auth.ThrottledError](err); is {
		r.Status, r.Code, r.RetryAfter = http.StatusTooManyRequests, "THROTTLED", t.RetryAfter
		r.Detail = "this credential is not valid, and too many were not from this address: retry later, or with a valid one"
	} else if errors.Is(err, auth.ErrUnauthenticated) {
		r.Status, r.Code, r.RetryAfter = http.StatusUnauthorized, "UNAUTHENTICATED", 0
		r.Detail = "send Authorization: Bearer with a token of createIngestToken, or with a SERVICE API key"
	}
	return r
}

// grant verifies the ingest token of a request. A token that is none is auth.ErrUnauthenticated.
func (a activeTenants) grant(r *http.Request) (auth.IngestGrant, error) {
	g, err := a.tokens.VerifyIngest(auth.Bearer(r))
	if err != nil {
		return auth.IngestGrant{}, err
	}
	return g, a.active(r.Context(), g.TenantID)
}

// ingestTokens issues tokens for WHIP.
type ingestTokens struct {
	tokens *usertoken.Codec
	url    string // empty: WHIP is off
}

// IssueIngestToken implements graph.IngestTokens.
func (i ingestTokens) IssueIngestToken(_ context.Context, c graph.IngestTokenCommand) (graph.IngestToken, error) {
	if i.url == "" {
		return graph.IngestToken{}, &recorder.CommandError{Code: recorder.CodeUnsupported, Msg: "WHIP is off on this server: its operator switches it on by --whip-port"}
	}
	g := auth.IngestGrant{TenantID: c.TenantID, RecordingID: c.RecordingID, Subject: c.Actor.String()}
	for _, k := range c.Kinds {
		g.Kinds = append(g.Kinds, string(k))
	}
	slices.Sort(g.Kinds)
	token, expires, err := i.tokens.IssueIngest(g, c.TTL)
	if err != nil {
		return graph.IngestToken{}, err
	}
	at := i.url + whip.Prefix + c.RecordingID
	return graph.IngestToken{Token: token, ScreenURL: at + "/" + string(whip.ScreenSide), WebcamURL: at + "/" + string(whip.WebcamSide), ExpiresAt: expires}, nil
}

var (
	_ graph.IngestTokens = ingestTokens{}
	_ whip.Gate          = whipGate{}
)
