// Command dualrec records contact-centre calls on the server: screen and face of every call from an SFU, one
// encrypted MP4. This file is the composition root: it reads the configuration, constructs the adapters, hands
// them to the domain packages, serves, and drains.
package main

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
	_ "time/tzdata" // tenants have time zones, and slim images have no tables of them

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/auth/keyfile"
	"github.com/dualrec/dualrec/auth/usertoken"
	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/events/natsbus"
	"github.com/dualrec/dualrec/graph"
	"github.com/dualrec/dualrec/kms/local"
	"github.com/dualrec/dualrec/playback"
	"github.com/dualrec/dualrec/playback/archive"
	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
	"github.com/dualrec/dualrec/recorder/depacketize"
	"github.com/dualrec/dualrec/recorder/ingest"
	"github.com/dualrec/dualrec/recorder/ingest/whip"
	"github.com/dualrec/dualrec/recorder/mp4"
	"github.com/dualrec/dualrec/recorder/node"
	"github.com/dualrec/dualrec/recorder/objectstore"
	"github.com/dualrec/dualrec/recorder/objectstore/fs"
	"github.com/dualrec/dualrec/recorder/spool"
	"github.com/dualrec/dualrec/web"
)

// version is set by the linker: -ldflags "-X main.version=…".
var version = "dev"

type cli struct {
	Serve   serveCmd   `cmd:"" default:"withargs" help:"Run the server (the default)."`
	Tenant  tenantCmd  `cmd:"" help:"Make, list, suspend and resume tenants."`
	Apikey  apikeyCmd  `cmd:"" help:"Make, list and revoke API keys."`
	Token   tokenCmd   `cmd:"" help:"Make short-lived user tokens."`
	Queue   queueCmd   `cmd:"" help:"Set and list the recording profiles of queues."`
	Doctor  doctorCmd  `cmd:"" help:"Check that this machine has what the recorder needs."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var c cli
	k := kong.Parse(&c, kong.Name("dualrec"), kong.UsageOnError(), kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(os.Stdout),
		kong.Description("The call recorder that contact centres run themselves.\n\n"+
			"First steps:\n  dualrec tenant create NAME\n  dualrec apikey create --tenant NAME --role SERVICE\n  dualrec serve"))
	if err := k.Run(); err != nil {
		fmt.Fprintf(os.Stderr, "dualrec: %v\n", err)
		os.Exit(1) //nolint:gocritic // the deferred stop only restores signal handling
	}
}

type versionCmd struct{}

func (versionCmd) Run(out *os.File) error {
	_, err := fmt.Fprintln(out, "dualrec", version)
	return err
}

type serveCmd struct{ serveConfig }

// Run serves until the context ends, then drains: sockets first, then what is being written.
func (s *serveCmd) Run(ctx context.Context) error {
	if err := s.Validate(); err != nil {
		return err
	}
	log, err := logger(os.Stderr, s.LogFormat, s.LogLevel)
	if err != nil {
		return err
	}
	m, err := open(ctx, s.serveConfig, log)
	if err != nil {
		return err
	}
	return errors.Join(m.run(ctx), m.close())
}

func logger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	o := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return slog.New(slog.NewTextHandler(w, o)), nil
}

// program is everything that a running server is made of.
type program struct {
	cfg      serveConfig
	log      *slog.Logger
	catalog  *catalog.Catalog
	bus      *natsbus.Bus
	receiver *ingest.Receiver
	recorder *recorder.Service // nil with --role api, as is composer
	composer *compose.Composer
	whip     *whip.Server // nil without WHIP
	node     *node.Server // with --role recorder
	nodes    *node.Client // with --role api
	totals   func() recorder.Totals
	breaker  *objectstore.Breaker
	handler  http.Handler
	closers  []func() error // in order of construction
}

// open constructs the program. What was opened before an error is closed.
func open(ctx context.Context, cfg serveConfig, log *slog.Logger) (_ *program, err error) {
	m := &program{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if err := cfg.makeFolders(); err != nil {
		return nil, err
	}
	release, err := cfg.own()
	if err != nil {
		return nil, err
	}
	m.onClose(release)
	if m.catalog, err = catalog.Open(ctx, cfg.database(), log); err != nil {
		return nil, err
	}
	m.onClose(m.catalog.Close)
	keys, err := local.Open(cfg.keyring())
	if err != nil {
		return nil, err
	}
	bus, err := cfg.bus(m)
	if err != nil {
		return nil, err
	}
	if m.bus, err = natsbus.Open(ctx, bus); err != nil {
		return nil, err
	}
	m.onClose(m.bus.Close)
	objects, err := fs.Open(cfg.objects())
	if err != nil {
		return nil, err
	}
	m.onClose(objects.Close)
	m.breaker = objectstore.NewBreaker(objects, objectstore.Settings{Name: "local", OnStateChange: func(name string, from, to objectstore.State) {
		log.Warn("object store breaker", "store", name, "from", from, "to", to)
	}})
	store := objectstore.Retry(m.breaker, objectstore.Policy{})
	return m, m.openRole(ctx, keys, store, notifier{bus: m.bus, log: log})
}

func (m *program) onClose(f func() error) { m.closers = append(m.closers, f) }

// close closes in reverse order; idempotent.
func (m *program) close() error {
	var errs []error
	for i := len(m.closers) - 1; i >= 0; i-- {
		errs = append(errs, m.closers[i]())
	}
	m.closers = nil
	return errors.Join(errs...)
}

func (m *program) openRecorder(ctx context.Context, keys *local.Keyring, store recorder.ObjectStore, tell notifier) error {
	levels, err := m.cfg.disk()
	if err != nil {
		return err
	}
	sp, err := spool.New(spool.Config{Root: filepath.Join(m.cfg.Data, "spool"), MaxBytes: m.cfg.SpoolMaxBytes,
		MinFreeBytes: max(1, levels.FreeBytes[0]), ReserveBytes: m.cfg.SpoolReserve}, m.log)
	if err != nil {
		return err
	}
	m.onClose(sp.Close)
	net := ingest.DefaultConfig()
	net.BindIP, net.AnnouncedIP, net.PortMin, net.PortMax = m.cfg.MediaIP, m.cfg.AnnouncedIP, m.cfg.PortMin, m.cfg.PortMax
	if net.Peers, err = m.cfg.mediaPeers(); err != nil {
		return err
	}
	if ip, perr := netip.ParseAddr(net.BindIP); perr == nil && !ip.IsLoopback() && len(net.Peers) == 0 {
		m.log.Warn("RTP is accepted from any address that an API key names: name the SFUs' networks by --media-peer")
	}
	receiver, err := ingest.New(net, m.log)
	if err != nil {
		return err
	}
	m.onClose(receiver.Close)
	m.receiver = receiver
	composer, err := compose.New(compose.Config{FFmpegPath: m.cfg.FFmpeg}, m.log)
	if err != nil {
		return err
	}
	m.composer = composer
	node, err := m.cfg.node()
	if err != nil {
		return err
	}
	rc := recorder.Config{Node: node, Workers: m.cfg.workers(), IdleStop: m.cfg.IdleStop, KeepSpool: m.cfg.KeepSpool}
	m.cfg.limits(&rc)
	m.recorder, err = recorder.New(rc,
		recorder.Deps{Catalog: m.catalog, Spool: sp, Disk: sp, Receiver: receiver, Depacketizers: depacketize.Set{}, Composer: composer,
			Muxer: mp4.New(), Store: store, Keys: keys, Notifier: tell, Logger: m.log,
			NewID:    func(prefix string) string { return nodeid.New(nodeid.Kind(prefix)) },
			NewPeaks: func() recorder.PeakWriter { return new(compose.Peaks) }, AudioPriming: compose.AudioPriming})
	if err != nil {
		return err
	}
	m.totals = m.recorder.Totals
	return nil
}

// identity finds out who a request is of.
type identity struct {
	who      *auth.Authenticator
	tokens   *usertoken.Codec
	clientIP auth.SourceFunc
}

func (m *program) openIdentity() (identity, error) {
	proxies, err := m.cfg.proxies()
	if err != nil {
		return identity{}, err
	}
	tokens, err := userTokens(m.cfg.common)
	if err != nil {
		return identity{}, err
	}
	ac := auth.DefaultConfig()
	ac.ClientIP = clientIP(proxies, m.log)
	uses := &keyUses{catalog: m.catalog, log: m.log}
	m.onClose(uses.close)
	ac.OnKeyUsed = uses.note
	who, err := auth.New(ac, apiKeys{m.catalog}, activeTenants{tokens, m.catalog}, m.log)
	return identity{who, tokens, ac.ClientIP}, err
}

func (m *program) openAPI(ctx context.Context, keys *local.Keyring, store recorder.ObjectStore, rec graph.Recorder, tell notifier) error {
	id, err := m.openIdentity()
	if err != nil {
		return err
	}
	media, err := m.openPlayback(keys, store, id.clientIP)
	if err != nil {
		return err
	}
	cursors, err := cursorSecret(m.cfg.common)
	if err != nil {
		return err
	}
	api, err := graph.NewHandler(
		graph.Config{PublicURL: m.cfg.publicURL(), AllowedOrigins: m.cfg.AllowedOrigin, Introspection: m.cfg.Introspection, Secret: cursors},
		graph.Deps{Recorder: rec, Playback: player{media, m.catalog},
			Ingest: ingestTokens{id.tokens, m.cfg.whipURL()}, Reviews: reviews{m.catalog, tell}, Reader: m.catalog.ReadClient(),
			Events: m.bus, Auth: id.who, Log: m.log})
	if err != nil {
		return err
	}
	publish, err := m.openWHIP(ctx, id.who, id.tokens)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/graphql", api)
	mux.Handle(whip.Prefix, publish)
	mux.Handle("/media/", media.Handler())
	mux.Handle("/", web.Handler())
	m.probes(mux)
	return m.serveTo(mux)
}

// probes are what the operator asks any process.
func (m *program) probes(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", m.ready)
	mux.Handle("GET /metrics", m.metrics())
}

// serveTo makes mux the process's handler, for those who may speak plain HTTP to it.
func (m *program) serveTo(mux *http.ServeMux) error {
	m.handler = mux
	if m.cfg.loopbackOnly() {
		return nil
	}
	proxies, err := m.cfg.proxies()
	if err != nil {
		return err
	}
	m.handler = proxiesOnly(proxies, mux)
	return nil
}

func (m *program) openPlayback(keys *local.Keyring, store recorder.ObjectStore, client auth.SourceFunc) (*playback.Service, error) {
	signer, err := urlSigner(m.cfg.common)
	if err != nil {
		return nil, err
	}
	pc := playback.DefaultConfig()
	pc.BaseURL, pc.AllowedOrigins, pc.ClientIP = m.cfg.publicURL(), m.cfg.AllowedOrigin, client
	if len(pc.AllowedOrigins) > 0 {
		pc.ResourcePolicy = "cross-origin"
	}
	g := grants{m.catalog}
	return playback.New(pc, playback.Ports{Signer: signer, Grants: g, Audit: g, Artifacts: archive.New(assets{m.catalog}, store, keys)}, m.log)
}

func urlSigner(c common) (*playback.Signer, error) {
	// A key file holds its keys oldest first; the newest signs.
	secrets, err := keyfile.LoadOrCreate(c.urlKeys(), keyfile.MediaURL, time.Now())
	if err != nil {
		return nil, err
	}
	keys := make([]playback.Key, 0, len(secrets))
	for _, s := range secrets {
		k, err := playback.NewKey(s.Bytes())
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	ring, err := playback.NewKeyring(keys[len(keys)-1], keys[:len(keys)-1]...)
	if err != nil {
		return nil, err
	}
	return playback.NewSigner(ring), nil
}

// cursorSecret seals cursors and stream positions of the API. It comes from the oldest key of media URLs, so that
// nodes that share these keys understand each other's positions.
func cursorSecret(c common) ([]byte, error) {
	secrets, err := keyfile.LoadOrCreate(c.urlKeys(), keyfile.MediaURL, time.Now())
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, secrets[0].Bytes(), nil, "dualrec/cursors/v1", sha256.Size)
}

func userTokens(c common) (*usertoken.Codec, error) {
	secrets, err := keyfile.LoadOrCreate(c.tokenKeys(), keyfile.UserToken, time.Now())
	if err != nil {
		return nil, err
	}
	keys := make([]usertoken.Key, 0, len(secrets))
	for _, s := range secrets {
		k, err := usertoken.NewKey(s.Bytes())
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	ring, err := usertoken.NewRing(keys[len(keys)-1], keys[:len(keys)-1]...)
	if err != nil {
		return nil, err
	}
	return usertoken.New("dualrec", ring, nil)
}

// run serves until ctx ends or something fails.
func (m *program) run(ctx context.Context) error {
	tcp, err := net.Listen("tcp", m.cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	l := newLimitListener(tcp, m.cfg.MaxConnections)
	g, ctx := errgroup.WithContext(ctx)
	srv := newHTTPServer(ctx, m.handler, m.log)
	// Recordings that a former process left capture again at once: nothing that can wait stands before it.
	m.work(ctx, g)
	g.Go(func() error {
		if err := m.findFFmpeg(ctx); err != nil {
			return errors.Join(err, l.Close())
		}
		m.sayHello(ctx)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		m.log.Info("draining: what was captured stays in the spool and is finished at the next start")
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := srv.Shutdown(end); err != nil {
			return errors.Join(err, srv.Close())
		}
		return nil
	})
	return g.Wait()
}

// findFFmpeg fails if there is no FFmpeg that can compose, where this process composes.
func (m *program) findFFmpeg(ctx context.Context) error {
	if m.composer == nil {
		return nil
	}
	found, err := m.composer.Probe(ctx)
	if ctx.Err() != nil {
		return nil // asked to end
	}
	if err != nil {
		return fmt.Errorf("%w\ninstall FFmpeg (Debian, Ubuntu: apt-get install ffmpeg) or name it by --ffmpeg", err)
	}
	m.log.Info("ffmpeg found", "version", found.Version)
	return nil
}

// sayHello tells the operator where the server is, and on an empty database exactly what to do next.
func (m *program) sayHello(ctx context.Context) {
	if m.node != nil {
		m.log.Info("dualrec records for another process's API", "version", version, "url", m.cfg.publicURL(), "data", m.cfg.Data, "workers", m.cfg.workers())
		return
	}
	m.log.Info("dualrec is listening", "version", version, "url", m.cfg.publicURL(), "graphql", m.cfg.publicURL()+"/graphql", "data", m.cfg.Data, "workers", m.cfg.workers())
	if at := m.bus.Address(); at != "" {
		m.log.Info("recorders may connect", "nats", at)
	}
	empty, err := m.catalog.Empty(ctx)
	if err != nil || !empty {
		return
	}
	fmt.Fprint(os.Stderr, m.cfg.firstSteps(os.Args[0]))
}

// firstSteps are the commands that an empty database waits for. It never shows the database's address, which may hold a
// password.
func (c common) firstSteps(self string) string {
	flags, where := "--data "+c.Data, ""
	if c.Database != "" {
		flags += ` --database "$DUALREC_DATABASE"`
		where = ", with this server's --database in $DUALREC_DATABASE"
	}
	return fmt.Sprintf("\nThe database is empty. In another terminal%s:\n\n  %s tenant create acme --plan ENTERPRISE %s\n"+
		"  %s apikey create --tenant acme --role SERVICE --name sfu %s      # for the SFU\n"+
		"  %s token create --tenant acme --subject you@example.com --role ADMIN %s   # for a person\n\n"+
		"Then record a call: docs/api.md.\n\n", where, self, flags, self, flags, self, flags)
}

// ready answers 200 once the database answers, and what brings commands to recorders can be reached.
func (m *program) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if err := m.catalog.Ping(ctx); err != nil {
		m.log.Warn("not ready", "err", err)
		http.Error(w, "database unavailable", http.StatusServiceUnavailable)
		return
	}
	if !m.bus.Connected() {
		http.Error(w, "NATS unavailable", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// metrics serves Prometheus metrics to whoever has the metrics token.
func (m *program) metrics() http.Handler {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	gauge := func(name, help string, f func(recorder.Totals) float64) {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return f(m.totals()) }))
	}
	gauge("dualrec_live_recordings", "Recordings that capture now.", func(t recorder.Totals) float64 { return float64(t.Live) })
	if m.whip != nil {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dualrec_whip_sessions", Help: "WHIP sessions, those included that are not connected yet."},
			func() float64 { return float64(m.whip.Sessions()) }))
	}
	gauge("dualrec_composing_segments", "Segments that are being composed.", func(t recorder.Totals) float64 { return float64(t.Composing) })
	gauge("dualrec_compose_lag_seconds", "How far the furthest recording is behind.", func(t recorder.Totals) float64 { return t.MaxLag.Seconds() })
	gauge("dualrec_live_rtp_packets", "RTP packets accepted by live recordings.", func(t recorder.Totals) float64 { return float64(t.Net.Packets) })
	gauge("dualrec_live_rtp_lost_packets", "RTP packets that never came, live recordings.", func(t recorder.Totals) float64 { return float64(t.Net.Lost) })
	gauge("dualrec_live_rtp_foreign_packets", "Packets dropped because they were not announced.", func(t recorder.Totals) float64 { return float64(t.Net.DroppedForeign) })
	gauge("dualrec_live_rtp_malformed_packets", "Packets dropped because they were not RTP.", func(t recorder.Totals) float64 { return float64(t.Net.DroppedMalformed) })
	gauge("dualrec_live_keyframes_asked", "Keyframes asked for by live recordings.", func(t recorder.Totals) float64 { return float64(t.Net.KeyframesAsked) })
	if m.recorder != nil {
		reg.MustRegister(newLoadCollector(m.recorder.Load))
	}
	if m.nodes != nil {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dualrec_recorder_nodes", Help: "Recorders that are there."},
			func() float64 { return float64(m.nodes.Nodes()) }))
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "dualrec_store_breaker_open", Help: "1 while the object store's breaker is open.",
		ConstLabels: prometheus.Labels{"store": "local"}}, func() float64 {
		if m.breaker.State() == objectstore.Open {
			return 1
		}
		return 0
	}))
	serve := promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	want := sha256.Sum256([]byte("Bearer " + m.cfg.MetricsToken))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := sha256.Sum256([]byte(r.Header.Get("Authorization")))
		if m.cfg.MetricsToken == "" || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "metrics need the bearer token of --metrics-token", http.StatusUnauthorized)
			return
		}
		serve.ServeHTTP(w, r)
	})
}
