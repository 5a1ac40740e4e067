package natsbus

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dualrec/dualrec/events"
	"github.com/dualrec/dualrec/events/eventstest"
)

const token = "a-token-of-the-test"

// freeAddress is one that nobody listens on now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// What a process publishes that has only the address and the token reaches the subscriptions of the one that has the log.
func TestAnotherProcessPublishes(t *testing.T) {
	t.Parallel()
	home := open(t, Config{Listen: "127.0.0.1:0", Token: token})
	address := home.Address()
	s, err := home.Subscribe(t.Context(), "ten_a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	away := open(t, Config{URL: "nats://" + address, Token: token, PublishOnly: true})
	if !away.Connected() {
		t.Error("not connected, and says nothing")
	}
	if err := away.Publish(events.Change{TenantID: "ten_a", RecordingID: "rec_1", Kind: "STATUS"}); err != nil {
		t.Fatal(err)
	}
	eventstest.Await(t, s, func(got events.Batch) bool { return len(got.Changes) == 1 && got.Changes[0].RecordingID == "rec_1" })
	if _, err := away.Subscribe(t.Context(), "ten_a", nil); !errors.Is(err, ErrPublishOnly) {
		t.Errorf("subscribe: %v", err)
	}
	if err := Check(t.Context(), Config{URL: "nats://" + address, Token: token}); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestWrongTokenIsRefused(t *testing.T) {
	t.Parallel()
	address := open(t, Config{Listen: "127.0.0.1:0", Token: token}).Address()
	for name, cfg := range map[string]Config{"wrong": {Token: "another"}, "none": {}, "wrong, publishing only": {Token: "another", PublishOnly: true}} {
		cfg.URL, cfg.Dir = "nats://"+address, t.TempDir()
		b, err := Open(t.Context(), cfg)
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = b.Close()
		}
	}
	if err := Check(t.Context(), Config{URL: "nats://" + address, Token: "another"}); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("check: %v", err)
	}
}

// A recorder that starts while the API is down must not fail: what it publishes waits.
func TestPublishesBeforeTheServerIsThere(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	away := open(t, Config{URL: "nats://" + address, Token: token, PublishOnly: true})
	if away.Connected() {
		t.Error("says that it is connected to nothing")
	}
	home := open(t, Config{Listen: address, Token: token})
	s, err := home.Subscribe(t.Context(), "ten_a", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := away.Publish(events.Change{TenantID: "ten_a", RecordingID: "rec_1", Kind: "STATUS"}); err != nil {
		t.Fatal(err)
	}
	eventstest.Await(t, s, func(got events.Batch) bool { return len(got.Changes) == 1 })
}

func TestListensWithTLS(t *testing.T) {
	t.Parallel()
	server, client := certificate(t)
	address := open(t, Config{Listen: "127.0.0.1:0", Token: token, ServerTLS: server}).Address()
	if err := Check(t.Context(), Config{URL: "tls://" + address, Token: token, ClientTLS: client}); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	if err := Check(t.Context(), Config{URL: "tls://" + address, Token: token}); err == nil {
		t.Error("a certificate of an unknown authority was believed")
	}
}

// certificate is of 127.0.0.1, signed by itself.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13},
		&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no token":           {Dir: "d", Listen: "127.0.0.1:4222"},
		"no port":            {Dir: "d", Listen: "127.0.0.1", Token: token},
		"no host":            {Dir: "d", Listen: ":4222", Token: token},
		"beside a cluster":   {Dir: "d", Listen: "127.0.0.1:4222", Token: token, URL: "nats://a"},
		"publishing to self": {Dir: "d", PublishOnly: true},
	} {
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
