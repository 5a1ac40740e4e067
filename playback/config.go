package playback

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config of playback. Start from DefaultConfig.
type Config struct {
	BaseURL         string        // scheme and host put before signed paths; empty: paths only
	AllowedOrigins  []string      // origins that may read responses from scripts (CORS), each like https://console.example.com
	ResourcePolicy  string        // Cross-Origin-Resource-Policy: same-origin, same-site or cross-origin
	DefaultTTL      time.Duration // of a grant that asks for none
	MaxTTL          time.Duration
	WriteTimeout    time.Duration // a viewer that takes nothing for so long is cut off
	RecheckEvery    time.Duration // how often a running response looks whether its grant still holds
	ReadAhead       int           // bytes decrypted at once when a viewer reads on; rounded up to 64 KiB
	MaxRanges       int           // ranges in one request
	StreamsPerGrant int           // responses of one grant at once
	MaxStreams      int           // responses in all; each takes up to ReadAhead + 64 KiB of memory
	// ClientIP tells a request's client behind trusted proxies. Nil: the peer's address.
	ClientIP func(*http.Request) netip.Addr `json:"-"`
	// Now is the clock. Nil: time.Now.
	Now func() time.Time `json:"-"`
}

// DefaultConfig serves same-origin viewers from URLs of 15 minutes.
func DefaultConfig() Config {
	return Config{ResourcePolicy: "same-origin", DefaultTTL: 15 * time.Minute, MaxTTL: 12 * time.Hour, WriteTimeout: 30 * time.Second,
		RecheckEvery: time.Second, ReadAhead: 1 << 20, MaxRanges: 8, StreamsPerGrant: 8, MaxStreams: 1024}
}

// Validate returns every problem at once.
func (c Config) Validate() error {
	var errs []error
	refuse := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("playback: "+format, args...))
		}
	}
	refuse(c.BaseURL != "" && !isOrigin(c.BaseURL), "base URL %q is not scheme://host[:port] without a path", c.BaseURL)
	for _, o := range c.AllowedOrigins {
		refuse(!isOrigin(o), "allowed origin %q is not scheme://host[:port] (a wildcard would make playback public)", o)
	}
	policies := []string{"same-origin", "same-site", "cross-origin"}
	refuse(!slices.Contains(policies, c.ResourcePolicy), "resource policy %q is not one of %v", c.ResourcePolicy, policies)
	refuse(c.MaxTTL < time.Second || c.MaxTTL > 7*24*time.Hour, "longest time to live %v is not within 1s…168h", c.MaxTTL)
	refuse(c.DefaultTTL < time.Second || c.DefaultTTL > c.MaxTTL, "default time to live %v is not within 1s…%v", c.DefaultTTL, c.MaxTTL)
	refuse(c.WriteTimeout <= 0, "write timeout %v is not positive", c.WriteTimeout)
	refuse(c.RecheckEvery <= 0 || c.RecheckEvery > time.Minute, "recheck interval %v is not within 1ns…1m", c.RecheckEvery)
	refuse(c.ReadAhead < 1 || c.ReadAhead > 64<<20, "read-ahead of %d bytes is not within 1…%d", c.ReadAhead, 64<<20)
	refuse(c.MaxRanges < 1, "limit of %d ranges is not positive", c.MaxRanges)
	refuse(c.StreamsPerGrant < 1, "limit of %d streams per grant is not positive", c.StreamsPerGrant)
	refuse(c.MaxStreams < c.StreamsPerGrant, "limit of %d streams is below that of one grant (%d)", c.MaxStreams, c.StreamsPerGrant)
	return errors.Join(errs...)
}

func isOrigin(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && !strings.Contains(u.Host, "*") &&
		s == u.Scheme+"://"+u.Host
}

func (c Config) withDefaults() Config {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.ClientIP == nil {
		c.ClientIP = peer
	}
	c.AllowedOrigins = slices.Clone(c.AllowedOrigins)
	return c
}

// peer is the address of the connection; invalid if there is none.
func peer(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
