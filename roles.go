package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/dualrec/dualrec/events/natsbus"
	"github.com/dualrec/dualrec/kms/local"
	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/ingest/whip"
	"github.com/dualrec/dualrec/recorder/node"
)

// What one process is: everything (the default), the API without media, or a recorder without an API. The two halves
// speak over NATS and share database, keys and objects.

type role string

const (
	roleAll      role = "all"
	roleAPI      role = "api"
	roleRecorder role = "recorder"
)

// natsFlags say where NATS is and what it is shown.
type natsFlags struct {
	NATS            string `help:"NATS servers (default: one embedded in the process). A recorder names the API's --nats-listen." placeholder:"URL" env:"DUALREC_NATS" name:"nats"`
	NATSToken       string `help:"Token of the NATS servers, and of --nats-listen: whoever has it owns the recorders. Put it into the environment." placeholder:"TOKEN" env:"DUALREC_NATS_TOKEN" name:"nats-token"`
	NATSCredentials string `help:"Credentials file of the NATS servers, in NATS's own format." placeholder:"FILE" env:"DUALREC_NATS_CREDENTIALS" name:"nats-credentials"`
	NATSCA          string `help:"Authorities (PEM) that vouch for the NATS servers (default: the system's)." placeholder:"FILE" env:"DUALREC_NATS_CA" name:"nats-ca"`
	NATSPlain       bool   `help:"Let commands and SRTP keys cross the network to NATS without TLS, because it is a tunnel already." env:"DUALREC_NATS_PLAIN" name:"nats-plain"`
}

// natsListenFlags are the embedded server's.
type natsListenFlags struct {
	NATSListen string `help:"With --role api: HOST:PORT of the embedded NATS server, for recorders. Beyond loopback it needs --nats-cert and --nats-key." placeholder:"HOST:PORT" env:"DUALREC_NATS_LISTEN" name:"nats-listen"`
	NATSCert   string `help:"Certificate (PEM) of --nats-listen." placeholder:"FILE" env:"DUALREC_NATS_CERT" name:"nats-cert"`
	NATSKey    string `help:"Key (PEM) of --nats-cert." placeholder:"FILE" env:"DUALREC_NATS_KEY" name:"nats-key"`
}

const minSecret = 16 // characters of a token

func loopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// plainHosts are the hosts of a NATS URL beyond this machine that are spoken to without being asked for TLS.
func (f natsFlags) plainHosts() (hosts []string, err error) {
	for one := range strings.SplitSeq(f.NATS, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" {
			return nil, errors.New("--nats: not like nats://host:4222 or tls://host:4222") // never print it: it may hold a password
		}
		if u.Scheme != "tls" && u.Scheme != "wss" && !loopbackHost(u.Hostname()) {
			hosts = append(hosts, u.Hostname())
		}
	}
	return hosts, nil
}

func (f natsFlags) clientTLS() (*tls.Config, error) {
	if f.NATSCA == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(f.NATSCA)
	if err != nil {
		return nil, fmt.Errorf("--nats-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--nats-ca: %s holds no certificate in PEM", f.NATSCA)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

func (f natsListenFlags) serverTLS() (*tls.Config, error) {
	if f.NATSCert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(f.NATSCert, f.NATSKey)
	if err != nil {
		return nil, fmt.Errorf("--nats-cert, --nats-key: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// validateRole returns every problem at once.
func (c serveConfig) validateRole() (errs []error) {
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Role == roleRecorder {
		for _, need := range []struct{ flag, value, why string }{
			{"--nats", c.NATS, "the address of the API's --nats-listen, or of the cluster that both use"},
			{"--database", c.Database, "the API's database"},
			{"--keys", c.Keys, "the API's folder of keys: the API must open what the recorder encrypts"},
			{"--objects", c.Objects, "the API's folder of objects: the API plays what the recorder stores"},
		} {
			if need.value == "" {
				refuse("--role recorder: give %s: %s", need.flag, need.why)
			}
		}
	}
	if c.Role == roleAPI && c.NATS == "" && c.NATSListen == "" {
		refuse("--role api: let recorders connect by --nats-listen, or name the cluster that both use by --nats")
	}
	if c.Role != roleAPI && c.NATSListen != "" {
		refuse("--nats-listen: the port is for --role api; a recorder connects to it by --nats, and one process alone needs none")
	}
	if c.NATSToken != "" && len(c.NATSToken) < minSecret {
		refuse("--nats-token: use at least %d characters", minSecret)
	}
	if c.NATS != "" {
		if plain, err := c.plainHosts(); err != nil {
			errs = append(errs, err)
		} else if len(plain) > 0 && (c.Role == roleAPI || c.Role == roleRecorder) && !c.NATSPlain {
			refuse("--nats: commands to recorders, with SRTP keys in them, would go to %s without TLS: use tls://, or --nats-plain if the network is a tunnel", strings.Join(plain, ", "))
		}
	}
	return append(errs, c.validateNATSListen()...)
}

func (c serveConfig) validateNATSListen() (errs []error) {
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if (c.NATSCert == "") != (c.NATSKey == "") {
		refuse("--nats-cert and --nats-key go together")
	}
	if c.NATSListen == "" {
		return errs
	}
	host, _, err := net.SplitHostPort(c.NATSListen)
	switch {
	case err != nil || host == "":
		refuse("--nats-listen: %q is not HOST:PORT", c.NATSListen)
	case !loopbackHost(host) && c.NATSCert == "" && !c.NATSPlain:
		refuse("--nats-listen: %s is not a loopback address: give --nats-cert and --nats-key, or --nats-plain if the network is a tunnel", host)
	}
	if c.NATS != "" {
		refuse("--nats-listen: with --nats no server is embedded that could listen: give one of them")
	}
	if c.NATSToken == "" {
		refuse("--nats-listen: give --nats-token: whoever can connect owns the recorders")
	}
	return errs
}

func (c serveConfig) bus(m *program) (natsbus.Config, error) {
	client, err := c.clientTLS()
	if err != nil {
		return natsbus.Config{}, err
	}
	server, err := c.serverTLS()
	return natsbus.Config{Dir: filepath.Join(c.Data, "events"), Listen: c.NATSListen, ServerTLS: server, URL: c.NATS, ClientTLS: client,
		Token: c.NATSToken, Credentials: c.NATSCredentials, PublishOnly: c.Role == roleRecorder, Log: m.log}, err
}

// openRole constructs what this process is.
func (m *program) openRole(ctx context.Context, keys *local.Keyring, store recorder.ObjectStore, tell notifier) error {
	switch m.cfg.Role {
	case roleAPI:
		nodes, err := node.NewClient(m.bus.Conn(), node.ClientConfig{Log: m.log}, m.catalog)
		if err != nil {
			return err
		}
		m.onClose(nodes.Close)
		m.nodes, m.totals = nodes, nodes.Totals
		return m.openAPI(ctx, keys, store, nodes, tell)
	case roleRecorder:
		if err := m.openRecorder(ctx, keys, store, notifier{bus: m.bus, log: m.log, live: func(tenant, recording string) { m.node.Changed(tenant, recording) }}); err != nil {
			return err
		}
		return m.openNode(ctx)
	}
	if err := m.openRecorder(ctx, keys, store, tell); err != nil {
		return err
	}
	return m.openAPI(ctx, keys, store, m.recorder, tell)
}

// openNode puts the recorder on the bus. What is served over HTTP is for the operator, and what comes from browsers as
// media.
func (m *program) openNode(ctx context.Context) error {
	name, err := m.cfg.node()
	if err != nil {
		return err
	}
	if m.node, err = node.NewServer(m.bus.Conn(), node.ServerConfig{Name: name, Capacity: m.capacity, Log: m.log}, m.recorder); err != nil {
		return err
	}
	if err := m.node.Alone(ctx); err != nil {
		return err
	}
	id, err := m.openIdentity()
	if err != nil {
		return err
	}
	publish, err := m.openWHIP(ctx, id.who, id.tokens)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(whip.Prefix, publish)
	m.probes(mux)
	return m.serveTo(mux)
}

// capacity is what this recorder can still take.
func (m *program) capacity() node.Capacity {
	t := m.recorder.Totals()
	c := node.Capacity{Live: t.Live, MaxLive: m.cfg.MaxRecordings, ComposeLag: t.MaxLag}
	c.PortsUsed, c.PortsTotal = m.receiver.Ports()
	if state, why := m.recorder.State(); state != recorder.NodeOK {
		c.Refuses = string(state) + ": " + why
	}
	l := m.recorder.Load()
	levels, _ := m.cfg.disk() // validated before
	c.DiskUsed = diskUsed(l.Disk, levels)
	return c
}

// diskUsed is how near the spool is to the level at which new recordings are refused, 1 at it: by its quota or by what is
// free on the disk, whichever is nearer.
func diskUsed(u recorder.DiskUsage, p recorder.DiskPolicy) float64 {
	var used float64
	if limit := float64(u.Max) * float64(p.UsedPercent[0]) / 100; limit > 0 {
		used = float64(u.Used) / limit
	}
	if u != (recorder.DiskUsage{}) && p.FreeBytes[0] > 0 {
		used = max(used, float64(p.FreeBytes[0])/float64(max(1, u.Free)))
	}
	return used
}

// work runs what records. A recorder says good-bye to the API before it ends capture, so that nothing is placed on it
// that it would not take any more.
func (m *program) work(ctx context.Context, g *errgroup.Group) {
	switch {
	case m.node != nil:
		capture, end := context.WithCancel(context.WithoutCancel(ctx))
		g.Go(func() error {
			defer end()
			return m.node.Run(ctx)
		})
		g.Go(func() error { return m.recorder.Run(capture) })
	case m.recorder != nil:
		g.Go(func() error { return m.recorder.Run(ctx) })
	}
}
