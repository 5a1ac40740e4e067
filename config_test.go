package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

func validConfig(t *testing.T) serveConfig {
	return serveConfig{common: common{Data: t.TempDir()}, Listen: "127.0.0.1:8080", IdleStop: time.Minute, MaxConnections: 1000}
}

func TestServeConfigValidate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*serveConfig)
		want   string // part of the error; empty: accepted
	}{
		"as it is":           {func(*serveConfig) {}, ""},
		"not loopback":       {func(c *serveConfig) { c.Listen = "0.0.0.0:80" }, "--trusted-proxy"},
		"behind a proxy":     {func(c *serveConfig) { c.Listen, c.TrustedProxy = "0.0.0.0:80", []string{"10.0.0.0/8"} }, ""},
		"bad proxy":          {func(c *serveConfig) { c.TrustedProxy = []string{"ten"} }, "--trusted-proxy"},
		"bad media peer":     {func(c *serveConfig) { c.MediaPeer = []string{"ten"} }, "--media-peer"},
		"no port":            {func(c *serveConfig) { c.Listen = "127.0.0.1" }, "--listen"},
		"public URL a path":  {func(c *serveConfig) { c.PublicURL = "https://a/b" }, "--public-url"},
		"short metric token": {func(c *serveConfig) { c.MetricsToken = "x" }, "--metrics-token"},
		"long node":          {func(c *serveConfig) { c.Node = strings.Repeat("n", 101) }, "--node"},
		"hasty stop":         {func(c *serveConfig) { c.IdleStop = time.Second }, "--idle-stop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := validConfig(t)
			tc.change(&c)
			err := c.Validate()
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Validate: %v, want %q", err, tc.want)
			}
		})
	}
}

// A role's needs are told all at once.
func TestRoleValidate(t *testing.T) {
	t.Parallel()
	const token = "a-token-of-the-test"
	recorderOf := func(c *serveConfig) {
		c.Role, c.NATS, c.NATSToken, c.Database, c.Keys, c.Objects = roleRecorder, "nats://127.0.0.1:4222", token, "postgres://db/dualrec", "/keys", "/objects"
	}
	apiOf := func(c *serveConfig) { c.Role, c.NATSListen, c.NATSToken = roleAPI, "127.0.0.1:4222", token }
	for name, tc := range map[string]struct {
		change func(*serveConfig)
		want   []string // parts of the error; none: accepted
	}{
		"recorder":                {recorderOf, nil},
		"recorder of nobody":      {func(c *serveConfig) { c.Role = roleRecorder }, []string{"--nats:", "--database", "--keys", "--objects"}},
		"API":                     {apiOf, nil},
		"API of a cluster":        {func(c *serveConfig) { c.Role, c.NATS = roleAPI, "tls://nats.example.com:4222" }, nil},
		"API of nobody":           {func(c *serveConfig) { c.Role = roleAPI }, []string{"--nats-listen", "by --nats"}},
		"API on both":             {func(c *serveConfig) { apiOf(c); c.NATS = "tls://a:4222" }, []string{"one of them"}},
		"no token":                {func(c *serveConfig) { apiOf(c); c.NATSToken = "" }, []string{"--nats-token"}},
		"short token":             {func(c *serveConfig) { apiOf(c); c.NATSToken = "x" }, []string{"--nats-token"}},
		"open to the network":     {func(c *serveConfig) { apiOf(c); c.NATSListen = "10.0.0.1:4222" }, []string{"--nats-cert"}},
		"through a tunnel":        {func(c *serveConfig) { apiOf(c); c.NATSListen, c.NATSPlain = "10.0.0.1:4222", true }, nil},
		"with TLS":                {func(c *serveConfig) { apiOf(c); c.NATSListen, c.NATSCert, c.NATSKey = "10.0.0.1:4222", "c", "k" }, nil},
		"certificate without key": {func(c *serveConfig) { apiOf(c); c.NATSCert = "c" }, []string{"go together"}},
		"any address":             {func(c *serveConfig) { apiOf(c); c.NATSListen = ":4222" }, []string{"HOST:PORT"}},
		"one process listens":     {func(c *serveConfig) { apiOf(c); c.Role = roleAll }, []string{"--role api"}},
		"keys cross the network":  {func(c *serveConfig) { recorderOf(c); c.NATS = "nats://10.0.0.1:4222" }, []string{"tls://", "10.0.0.1"}},
		"one of several does":     {func(c *serveConfig) { recorderOf(c); c.NATS = "tls://a:4222,nats://b:4222" }, []string{"to b without"}},
		"they cross it by tunnel": {func(c *serveConfig) { recorderOf(c); c.NATS, c.NATSPlain = "nats://10.0.0.1:4222", true }, nil},
		"no URL, and not shown":   {func(c *serveConfig) { recorderOf(c); c.NATS = "user:secret@host" }, []string{"--nats:"}},
		"one process as ever":     {func(c *serveConfig) { c.NATS = "nats://10.0.0.1:4222" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := validConfig(t)
			tc.change(&c)
			err := c.Validate()
			if (err == nil) != (len(tc.want) == 0) {
				t.Fatalf("Validate: %v", err)
			}
			for _, part := range append(tc.want, "") {
				if err != nil && (!strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "secret")) {
					t.Errorf("Validate: %v, want %q", err, part)
				}
			}
		})
	}
}

func TestFoldersCanBeShared(t *testing.T) {
	t.Parallel()
	c := validConfig(t)
	if c.keyring() != filepath.Join(c.Data, "keys", "keyring.json") || c.objects() != filepath.Join(c.Data, "objects") {
		t.Errorf("by default %s and %s", c.keyring(), c.objects())
	}
	c.Keys, c.Objects = filepath.Join(t.TempDir(), "shared", "keys"), "/objects"
	if c.keyring() != filepath.Join(c.Keys, "keyring.json") || c.urlKeys() != filepath.Join(c.Keys, "media-url.keys") || c.objects() != "/objects" {
		t.Errorf("shared %s, %s and %s", c.keyring(), c.urlKeys(), c.objects())
	}
	if err := c.makeFolders(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Keys); err != nil {
		t.Error(err)
	}
}

func TestDiskUsed(t *testing.T) {
	t.Parallel()
	p := recorder.DiskPolicy{UsedPercent: recorder.DefaultDiskPolicy().UsedPercent, FreeBytes: recorder.DefaultDiskPolicy().FreeBytes}
	p.UsedPercent[0], p.FreeBytes[0] = 50, 20
	for name, tc := range map[string]struct {
		u    recorder.DiskUsage
		want float64
	}{
		"not measured yet": {recorder.DiskUsage{}, 0},
		"much room":        {recorder.DiskUsage{Free: 200}, 0.1},
		"at the mark":      {recorder.DiskUsage{Free: 20}, 1},
		"its own quota":    {recorder.DiskUsage{Free: 200, Used: 4, Max: 10}, 0.8},
		"nothing left":     {recorder.DiskUsage{Free: -5}, 20},
	} {
		if got := diskUsed(tc.u, p); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestNodeNameIsDrawnOnce(t *testing.T) {
	t.Parallel()
	a, b := validConfig(t), validConfig(t)
	first, err := a.node()
	if err != nil || first == "" {
		t.Fatalf("node = %q, %v", first, err)
	}
	if again, _ := a.node(); again != first {
		t.Errorf("the name changed from %q to %q", first, again)
	}
	if other, _ := b.node(); other == first {
		t.Errorf("two folders have one name %q", first)
	}
	a.Node = "mine"
	if got, _ := a.node(); got != "mine" {
		t.Errorf("--node is not obeyed: %q", got)
	}
}

func TestOneServerPerDataFolder(t *testing.T) {
	t.Parallel()
	c := validConfig(t)
	release, err := c.own()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.own(); err == nil || !strings.Contains(err.Error(), "another dualrec serves") {
		t.Errorf("a second owner: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	release, err = c.own()
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}
