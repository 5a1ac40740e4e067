package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// common are the settings that every command needs to find the installation.
type common struct {
	Data     string `help:"Folder of everything that is kept: database, spool, objects, keys." default:"data" type:"path" env:"DUALREC_DATA"`
	Database string `help:"Database: sqlite:PATH or postgres://… (default: sqlite in the data folder)." placeholder:"URL" env:"DUALREC_DATABASE"`
	Keys     string `help:"Folder of the keys, shared by the processes of an installation (default: keys in the data folder)." type:"path" placeholder:"FOLDER" env:"DUALREC_KEYS"`
	JSON     bool   `help:"Print one JSON object instead of text." name:"json"`
}

func (c common) database() string {
	if c.Database != "" {
		return c.Database
	}
	return "sqlite:" + filepath.Join(c.Data, "dualrec.db")
}

// makeFolders makes the data folder and the one of the keys, for the owner alone.
func (c common) makeFolders() error {
	for _, dir := range []string{c.Data, c.keys()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make data folder: %w", err)
		}
	}
	return nil
}

func (c common) keys() string {
	if c.Keys != "" {
		return c.Keys
	}
	return filepath.Join(c.Data, "keys")
}

func (c common) keyring() string   { return filepath.Join(c.keys(), "keyring.json") }
func (c common) urlKeys() string   { return filepath.Join(c.keys(), "media-url.keys") }
func (c common) tokenKeys() string { return filepath.Join(c.keys(), "user-token.keys") }

// serveConfig is everything about a running server. Flags win over the environment (DUALREC_…).
type serveConfig struct {
	common
	loadConfig
	whipFlags
	natsFlags
	natsListenFlags
	Role           role          `help:"What this process is: all; api, which serves people and SFUs and takes no media; or recorder, which takes media for it." enum:"all,api,recorder" default:"all" env:"DUALREC_ROLE"`
	Objects        string        `help:"Folder of finished recordings, shared by the processes of an installation (default: objects in the data folder)." type:"path" placeholder:"FOLDER" env:"DUALREC_OBJECTS"`
	Listen         string        `help:"Address of the API, or of a recorder's probes. Anything but loopback needs --trusted-proxy, which ends TLS in front." default:"127.0.0.1:8080" env:"DUALREC_LISTEN"`
	PublicURL      string        `help:"Where people reach this server, for links (default: http:// and --listen)." placeholder:"URL" env:"DUALREC_PUBLIC_URL"`
	TrustedProxy   []string      `help:"Networks (CIDR) of TLS-ending proxies whose X-Forwarded-For is believed." placeholder:"CIDR" env:"DUALREC_TRUSTED_PROXY"`
	MaxConnections int           `help:"Connections that the API holds open at once; further ones wait." default:"4096" env:"DUALREC_MAX_CONNECTIONS"`
	AllowedOrigin  []string      `help:"Origins of dashboards that may call the API and play media from a browser." placeholder:"ORIGIN" env:"DUALREC_ALLOWED_ORIGIN"`
	MetricsToken   string        `help:"Bearer token that may read /metrics (default: /metrics is closed)." placeholder:"TOKEN" env:"DUALREC_METRICS_TOKEN"`
	Introspection  bool          `help:"Let clients read the GraphQL schema over the API." default:"true" negatable:"" env:"DUALREC_INTROSPECTION"`
	MediaIP        string        `help:"Local address of the RTP sockets." default:"127.0.0.1" env:"DUALREC_MEDIA_IP"`
	MediaPeer      []string      `help:"Networks (CIDR) of the SFUs: RTP from elsewhere is dropped (default: any address, so name them outside a closed network)." placeholder:"CIDR" env:"DUALREC_MEDIA_PEER"`
	AnnouncedIP    string        `help:"Address under which the SFU reaches --media-ip." placeholder:"IP" env:"DUALREC_ANNOUNCED_IP"`
	PortMin        int           `help:"First media port." default:"20000" env:"DUALREC_PORT_MIN"`
	PortMax        int           `help:"Last media port: a dual recording takes six, three with rtcpMux." default:"21999" env:"DUALREC_PORT_MAX"`
	Node           string        `help:"Name of this recorder; recordings belong to the node that captures them (default: drawn once, kept in the data folder)." env:"DUALREC_NODE"`
	Workers        int           `help:"Segments composed at once (default: number of CPUs)." env:"DUALREC_WORKERS"`
	FFmpeg         string        `help:"FFmpeg program." default:"ffmpeg" env:"DUALREC_FFMPEG" name:"ffmpeg"`
	KeepSpool      bool          `help:"Keep the encrypted spool after the store has confirmed the recording." env:"DUALREC_KEEP_SPOOL"`
	IdleStop       time.Duration `help:"Stop a recording that received nothing for so long." default:"5m" env:"DUALREC_IDLE_STOP"`
	LogFormat      string        `help:"text or json." enum:"text,json" default:"text" env:"DUALREC_LOG_FORMAT"`
	LogLevel       string        `help:"debug, info, warn or error." enum:"debug,info,warn,error" default:"info" env:"DUALREC_LOG_LEVEL"`
}

func (c serveConfig) publicURL() string {
	if c.PublicURL != "" {
		return strings.TrimSuffix(c.PublicURL, "/")
	}
	return "http://" + c.Listen
}

func (c serveConfig) objects() string {
	if c.Objects != "" {
		return c.Objects
	}
	return filepath.Join(c.Data, "objects")
}

func (c serveConfig) workers() int {
	if c.Workers > 0 {
		return c.Workers
	}
	return runtime.NumCPU()
}

func (c serveConfig) proxies() ([]netip.Prefix, error) {
	out, err := parseNetworks(c.TrustedProxy)
	if err != nil {
		return nil, fmt.Errorf("--trusted-proxy: %w", err)
	}
	return out, nil
}

func (c serveConfig) mediaPeers() ([]netip.Prefix, error) {
	out, err := parseNetworks(c.MediaPeer)
	if err != nil {
		return nil, fmt.Errorf("--media-peer: %w", err)
	}
	return out, nil
}

// own takes the data folder for this process: two servers on one folder would fight over every recording. The lock
// goes with the process.
func (c common) own() (release func() error, err error) {
	f, err := os.OpenFile(filepath.Join(c.Data, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another dualrec serves %s: stop it, or choose another folder by --data", c.Data), f.Close())
	}
	return f.Close, nil
}

// node is the name of this recorder. Without --node it is drawn once: two recorders on one database must never take
// each other's calls for their own.
func (c serveConfig) node() (string, error) {
	if c.Node != "" {
		return c.Node, nil
	}
	path := filepath.Join(c.Data, "node")
	known, err := os.ReadFile(path)
	if err == nil && len(known) > 0 {
		return string(known), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read this recorder's name: %w", err)
	}
	name := "node-" + strings.ToLower(rand.Text()[:10])
	if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
		return "", fmt.Errorf("keep this recorder's name: %w", err)
	}
	return name, nil
}

// loopbackOnly tells whether only this machine can reach the API.
func (c serveConfig) loopbackOnly() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return false
	}
	return loopbackHost(host)
}

// Validate returns every problem at once.
func (c serveConfig) Validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := c.validate(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.proxies(); err != nil {
		errs = append(errs, err)
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		refuse("--listen: %q is not HOST:PORT", c.Listen)
	} else if !c.loopbackOnly() && len(c.TrustedProxy) == 0 {
		refuse("--listen: %s is not a loopback address: this server speaks plain HTTP, so put a proxy that ends TLS before it and name its network by --trusted-proxy", host)
	}
	if u, err := url.Parse(c.publicURL()); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.Path != "" {
		refuse("--public-url: %q is not like https://rec.example.com", c.PublicURL)
	}
	if c.MetricsToken != "" && len(c.MetricsToken) < minSecret {
		refuse("--metrics-token: use at least %d characters", minSecret)
	}
	if len(c.Node) > 100 {
		refuse("--node: use at most 100 characters")
	}
	if _, err := c.mediaPeers(); err != nil {
		errs = append(errs, err)
	}
	if c.MaxConnections < 1 || c.MaxConnections > 1_000_000 {
		refuse("--max-connections: %d is not within 1…1000000", c.MaxConnections)
	}
	if c.Workers < 0 || c.Workers > 1024 {
		refuse("--workers: %d is not within 1…1024", c.Workers)
	}
	if c.WhipPort != 0 {
		if _, err := c.whip(); err != nil {
			errs = append(errs, err)
		}
	}
	if u, err := url.Parse(c.whipURL()); c.WhipURL != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
		refuse("--whip-url: %q is not like https://rec.example.com", c.WhipURL)
	}
	if c.IdleStop < 10*time.Second {
		refuse("--idle-stop: use at least 10s")
	}
	return errors.Join(append(errs, c.validateRole()...)...)
}
