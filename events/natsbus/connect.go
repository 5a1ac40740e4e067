package natsbus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	reconnectWait   = 250 * time.Millisecond // short: commands of live calls come this way
	reconnectJitter = 100 * time.Millisecond
)

// Conn is the connection of the bus, for what else goes over the same servers. It is the bus's: only Close closes it.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// Connected tells whether the servers can be reached now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Address is where the embedded server listens, empty if it does not.
func (b *Bus) Address() string {
	if b.server == nil || b.cfg.Listen == "" {
		return ""
	}
	return b.server.nats.Addr().String()
}

const checkTimeout = 10 * time.Second

// Check connects to a cluster, asks it for an answer and leaves.
func Check(ctx context.Context, cfg Config) error {
	nc, err := nats.Connect(cfg.URL, cfg.options()...)
	if err != nil {
		return fmt.Errorf("natsbus: connect: %w", err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("natsbus: no answer: %w", err)
	}
	return nil
}

func (c Config) options() []nats.Option {
	opts := []nats.Option{nats.Name("dualrec"), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectJitter, reconnectJitter), nats.IgnoreAuthErrorAbort()}
	if c.Token != "" {
		opts = append(opts, nats.Token(c.Token))
	}
	if c.Credentials != "" {
		opts = append(opts, nats.UserCredentials(c.Credentials))
	}
	if c.ClientTLS != nil {
		opts = append(opts, nats.Secure(c.ClientTLS))
	}
	return opts
}

// watched logs what happens to the connection. Without the handlers the library would print.
func (c Config) watched() []nats.Option {
	return append(c.options(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				c.Log.Warn("connection to NATS lost, will retry", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { c.Log.Info("connection to NATS is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			c.Log.Warn("NATS", "subject", subject, "error", err)
		}))
}

func (b *Bus) connect() error {
	opts := b.cfg.watched()
	if b.cfg.URL == "" {
		srv, err := startEmbedded(b.cfg)
		if err != nil {
			return err
		}
		b.server = srv
		opts = append(opts, nats.InProcessServer(srv.nats))
	}
	nc, err := nats.Connect(b.cfg.URL, opts...)
	if err != nil && b.cfg.PublishOnly && mayPass(err) {
		b.cfg.Log.Warn("NATS cannot be reached yet, will retry", "error", err)
		nc, err = nats.Connect(b.cfg.URL, append(opts, nats.RetryOnFailedConnect(true))...)
	}
	if err != nil {
		return fmt.Errorf("natsbus: connect: %w", err)
	}
	b.nc = nc
	return nil
}

// mayPass tells servers that are away from those that refuse.
func mayPass(err error) bool {
	var network net.Error
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &network)
}
