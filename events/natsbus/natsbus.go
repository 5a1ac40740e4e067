// Package natsbus is the bus on NATS JetStream: a server embedded in the process with its log in the data folder,
// or a cluster by URL. One consumer per process reads the log of all tenants; the subscriptions of the process are
// fed from it over bounded queues. It does not know recordings, databases or GraphQL.
package natsbus

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dualrec/dualrec/events"
)

// Config says where the log is and how much it holds. Dir or URL is needed.
type Config struct {
	// Dir is the data folder of the embedded server. It is ignored with URL.
	Dir string
	// Listen lets other processes connect to the embedded server: "HOST:PORT", port 0 for any (see Address). Token is
	// needed then. Empty: no port.
	// ServerTLS is what the port speaks; nil: plain.
	Listen    string
	ServerTLS *tls.Config
	// URL names a cluster, e.g. "nats://a:4222,nats://b:4222". ClientTLS goes with it; nil: what the URL and the server
	// ask for, with the system's authorities.
	URL       string
	ClientTLS *tls.Config
	// Token and Credentials (path of a file in NATS's own format) are shown to the cluster; Token also guards Listen.
	Token       string
	Credentials string
	// PublishOnly neither makes nor reads the log, and does not need the cluster to be there: what is published waits.
	// Subscribe fails.
	PublishOnly bool
	// Stream is the name of the log, default "DUALREC_CHANGES". Replicas counts with a cluster only, default 1.
	Stream   string
	Replicas int
	// The log holds changes for MaxAge (default 1 h), at most MaxMessages (default 200,000) of them.
	MaxAge      time.Duration
	MaxMessages int64
	// MaxReplay is how many changes a resume may read, default 2,000: beyond it a snapshot is cheaper.
	MaxReplay int
	// MaxWaiting is how many recordings may wait for one slow viewer, default events.DefaultMaxWaiting.
	MaxWaiting int
	// MaxOutbox is how many changes wait while the log cannot be reached, default events.DefaultOutbox.
	MaxOutbox int
	Log       *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Stream == "" {
		c.Stream = "DUALREC_CHANGES"
	}
	if c.Replicas == 0 || c.URL == "" {
		c.Replicas = 1
	}
	if c.MaxAge == 0 {
		c.MaxAge = time.Hour
	}
	if c.MaxMessages == 0 {
		c.MaxMessages = 200_000
	}
	if c.MaxReplay == 0 {
		c.MaxReplay = 2000
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate returns every problem at once.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" && c.URL == "" {
		errs = append(errs, errors.New("natsbus: set Dir for the embedded server or URL for a cluster"))
	}
	if c.MaxAge < 0 || c.MaxMessages < 0 || c.MaxReplay < 0 || c.Replicas < 0 {
		errs = append(errs, errors.New("natsbus: limits must not be negative"))
	}
	if c.PublishOnly && c.URL == "" {
		errs = append(errs, errors.New("natsbus: PublishOnly needs URL: nobody would read what the embedded server holds"))
	}
	if c.Listen != "" {
		errs = append(errs, c.validateListen())
	}
	return errors.Join(errs...)
}

func (c Config) validateListen() error {
	var errs []error
	if c.URL != "" {
		errs = append(errs, errors.New("natsbus: Listen is the embedded server's, URL names another one: set one of them"))
	}
	if c.Token == "" {
		errs = append(errs, errors.New("natsbus: Listen needs Token: who can connect owns everything on this bus"))
	}
	if _, _, err := c.listen(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// listen is Listen in parts.
func (c Config) listen() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(c.Listen)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || host == "" || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("natsbus: listen address %.100q is not HOST:PORT", c.Listen)
	}
	return host, port, nil
}

const (
	subjectPrefix  = "dualrec.change."
	epochKey       = "dualrec_epoch"
	publishTimeout = 5 * time.Second
	closeTimeout   = 3 * time.Second
	retryMin       = 50 * time.Millisecond
	retryMax       = 5 * time.Second
)

// subject names a tenant's part of the log. Ids may hold any byte, subjects may not.
func subject(tenantID string) string {
	return subjectPrefix + base64.RawURLEncoding.EncodeToString([]byte(tenantID))
}

// Bus implements events.Bus.
type Bus struct {
	cfg    Config
	server *embedded // nil with a cluster
	nc     *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	fan    *events.Fanout // nil if it only publishes
	out    *events.Outbox
	feed   jetstream.ConsumeContext

	stop  context.CancelFunc
	wg    sync.WaitGroup
	close sync.Once
	err   error
}

var _ events.Bus = (*Bus)(nil)

// Open connects, makes the log if there is none and starts to read it at its end. The caller must Close the bus.
func Open(ctx context.Context, cfg Config) (*Bus, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Bus{cfg: cfg.withDefaults()}
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, b.disconnect(false))
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	b.stop = stop
	b.wg.Go(func() { b.publish(run) })
	return b, nil
}

func (b *Bus) open(ctx context.Context) error {
	if err := b.connect(); err != nil {
		return err
	}
	var err error
	if b.js, err = jetstream.New(b.nc); err != nil {
		return fmt.Errorf("natsbus: jetstream: %w", err)
	}
	b.out = events.NewOutbox(b.cfg.MaxOutbox)
	if b.cfg.PublishOnly {
		return nil
	}
	epoch, last, err := b.openStream(ctx)
	if err != nil {
		return err
	}
	b.fan = events.NewFanout(epoch, last, b.cfg.MaxWaiting)
	return b.read(ctx, last)
}

// openStream makes the log or adopts the one that is there, and returns its epoch and last sequence.
func (b *Bus) openStream(ctx context.Context) (epoch string, last uint64, err error) {
	want := jetstream.StreamConfig{
		Name: b.cfg.Stream, Description: "what changed, for dashboards; no data", Subjects: []string{subjectPrefix + "*"},
		Storage: jetstream.FileStorage, Replicas: b.cfg.Replicas, Discard: jetstream.DiscardOld, AllowDirect: true,
		MaxAge: b.cfg.MaxAge, MaxMsgs: b.cfg.MaxMessages, MaxBytes: b.cfg.MaxMessages * 512, MaxMsgSize: 4096,
		Metadata: map[string]string{epochKey: nats.NewInbox()[len(nats.InboxPrefix):]},
	}
	b.stream, err = b.js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return b.adoptStream(ctx, want)
	}
	if err != nil {
		return "", 0, fmt.Errorf("natsbus: make stream %s: %w", b.cfg.Stream, err)
	}
	return want.Metadata[epochKey], b.stream.CachedInfo().State.LastSeq, nil
}

// adoptStream takes over an existing log. Its epoch stays, unless an embedded server ended without closing: then the
// log may have lost its newest entries, and their sequence numbers will be given again to others.
func (b *Bus) adoptStream(ctx context.Context, want jetstream.StreamConfig) (string, uint64, error) {
	stream, err := b.js.Stream(ctx, b.cfg.Stream)
	if err != nil {
		return "", 0, fmt.Errorf("natsbus: open stream %s: %w", b.cfg.Stream, err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return "", 0, fmt.Errorf("natsbus: stream info: %w", err)
	}
	last := info.State.LastSeq
	if old := info.Config.Metadata[epochKey]; old != "" && (b.server == nil || b.server.endedCleanlyAt(last)) {
		want.Metadata[epochKey] = old
	}
	if b.server != nil || info.Config.Metadata[epochKey] == "" {
		if stream, err = b.js.UpdateStream(ctx, want); err != nil {
			return "", 0, fmt.Errorf("natsbus: update stream %s: %w", b.cfg.Stream, err)
		}
	}
	b.stream = stream
	return want.Metadata[epochKey], last, nil
}

// read starts the one consumer of this process after sequence last.
func (b *Bus) read(ctx context.Context, last uint64) error {
	consumer, err := b.js.OrderedConsumer(ctx, b.cfg.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: last + 1,
	})
	if err != nil {
		return fmt.Errorf("natsbus: consume %s: %w", b.cfg.Stream, err)
	}
	b.feed, err = consumer.Consume(b.dispatch, jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		b.cfg.Log.Warn("event log reader", "error", err)
	}))
	if err != nil {
		return fmt.Errorf("natsbus: consume %s: %w", b.cfg.Stream, err)
	}
	return nil
}

func (b *Bus) dispatch(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		b.cfg.Log.Error("event without metadata", "error", err)
		return
	}
	c, err := decode(m.Subject(), m.Data())
	if err != nil {
		b.cfg.Log.Error("event cannot be read", "sequence", meta.Sequence.Stream, "error", err)
		b.fan.Skip(meta.Sequence.Stream)
		return
	}
	b.fan.Dispatch(meta.Sequence.Stream, c)
}

// decode reads one log entry. The subject decides whose it is: an entry under another tenant's subject is refused.
func decode(subj string, data []byte) (events.Change, error) {
	var c events.Change
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("natsbus: decode: %w", err)
	}
	if err := c.Validate(); err != nil {
		return c, err
	}
	if subject(c.TenantID) != subj {
		return c, fmt.Errorf("natsbus: entry of tenant %q under subject %q", c.TenantID, subj)
	}
	return c, nil
}

// Publish implements events.Publisher.
func (b *Bus) Publish(c events.Change) error { return b.out.Put(c) }

// publish sends what waits until ctx ends. A failure keeps the change and tries again later.
func (b *Bus) publish(ctx context.Context) {
	wait := retryMin
	for {
		err := b.flush(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			wait = retryMin
			select {
			case <-b.out.Ready():
			case <-ctx.Done():
			}
		default:
			b.cfg.Log.Warn("event log cannot be written, will retry", "waiting", b.out.Len(), "error", err)
			select {
			case <-time.After(wait):
				wait = min(2*wait, retryMax)
			case <-ctx.Done():
			}
		}
	}
}

// flush sends until nothing waits or the log refuses.
func (b *Bus) flush(ctx context.Context) error {
	for ctx.Err() == nil {
		c, ok := b.out.Next()
		if !ok {
			return nil
		}
		if err := b.send(ctx, c); err != nil {
			b.out.Return(c)
			return err
		}
	}
	return nil
}

func (b *Bus) send(ctx context.Context, c events.Change) error {
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("natsbus: encode: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if _, err := b.js.Publish(ctx, subject(c.TenantID), data, jetstream.WithExpectStream(b.cfg.Stream)); err != nil {
		return fmt.Errorf("natsbus: publish: %w", err)
	}
	return nil
}

// ErrPublishOnly: the bus was opened to publish only.
var ErrPublishOnly = errors.New("natsbus: this bus only publishes")

// Subscribe implements events.Subscriber.
func (b *Bus) Subscribe(ctx context.Context, tenantID string, from *events.Position) (events.Subscription, error) {
	if b.fan == nil {
		return nil, ErrPublishOnly
	}
	// Live changes collect from here on, so that nothing falls between the replay and them.
	q, live, err := b.fan.Add(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	if from == nil {
		return q, nil
	}
	reason, err := b.resume(ctx, q, tenantID, *from, live)
	if err != nil {
		q.Close()
		return nil, err
	}
	if reason != "" {
		return b.fresh(ctx, q, tenantID, reason)
	}
	return q, nil
}

// fresh replaces a subscription that could not resume: what a broken-off replay left in it is not wanted.
func (b *Bus) fresh(ctx context.Context, old *events.Queue, tenantID, reason string) (events.Subscription, error) {
	old.Close()
	q, _, err := b.fan.Add(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	q.Refuse(reason)
	return q, nil
}

// resume replays what the log holds after from up to sequence live. It returns why that is not possible, if so.
func (b *Bus) resume(ctx context.Context, q *events.Queue, tenantID string, from events.Position, live uint64) (reason string, err error) {
	if from.Epoch != b.fan.Epoch() {
		return events.ReasonEpoch, nil
	}
	after, err := strconv.ParseUint(from.Offset, 10, 64)
	if err != nil {
		return events.ReasonInvalid, nil
	}
	if reason, err = b.proves(ctx, after); reason != "" || err != nil {
		return reason, err
	}
	q.Resume(after)
	if reason, err = b.replay(ctx, q, tenantID, after, live); reason != "" || err != nil {
		return reason, err
	}
	// Entries may have expired while we read: only if the first is still there, nothing was missed.
	return b.proves(ctx, after)
}

// proves says whether the log holds every entry after a sequence.
func (b *Bus) proves(ctx context.Context, after uint64) (reason string, err error) {
	info, err := b.stream.Info(ctx)
	if err != nil {
		return "", fmt.Errorf("natsbus: stream info: %w", err)
	}
	switch st := info.State; {
	case info.Config.Metadata[epochKey] != b.fan.Epoch():
		return events.ReasonEpoch, nil
	case after > st.LastSeq:
		return events.ReasonInvalid, nil
	case after+1 < st.FirstSeq:
		return events.ReasonExpired, nil
	}
	return "", nil
}

// replay reads the tenant's entries in (after, live]; the log finds the next of a subject by itself.
func (b *Bus) replay(ctx context.Context, q *events.Queue, tenantID string, after, live uint64) (reason string, err error) {
	subj := subject(tenantID)
	for n := 0; after < live; n++ {
		if n >= b.cfg.MaxReplay {
			return events.ReasonTooFar, nil
		}
		m, err := b.stream.GetMsg(ctx, after+1, jetstream.WithGetMsgSubject(subj))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("natsbus: replay: %w", err)
		}
		c, err := decode(m.Subject, m.Data)
		if err != nil {
			return events.ReasonLogGap, nil
		}
		after = m.Sequence
		q.Replay(after, c)
	}
	return "", nil
}

// Close implements events.Bus.
func (b *Bus) Close() error {
	b.close.Do(func() {
		b.out.Close()
		b.stop()
		b.wg.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err := b.flush(ctx)
		if n := b.out.Len(); n > 0 {
			err = errors.Join(fmt.Errorf("natsbus: %d changes were not sent", n), err)
		}
		b.err = errors.Join(err, b.disconnect(err == nil))
	})
	return b.err
}

// disconnect takes down whatever was opened, in reverse order.
func (b *Bus) disconnect(clean bool) error {
	if b.feed != nil {
		b.feed.Stop()
		<-b.feed.Closed()
	}
	if b.fan != nil {
		b.fan.Close()
	}
	var last uint64
	if clean && b.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		info, err := b.stream.Info(ctx)
		if clean = err == nil; clean {
			last = info.State.LastSeq
		}
	}
	if b.nc != nil {
		b.nc.Close()
	}
	if b.server == nil {
		return nil
	}
	return b.server.close(clean, last)
}
