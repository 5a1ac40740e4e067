package main

import (
	"strings"
	"testing"
	"time"
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
