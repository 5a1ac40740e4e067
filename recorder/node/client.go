package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dualrec/dualrec/recorder"
)

// Catalog is what a Client asks the database. Tenants are explicit: what belongs to another is ErrNotFound.
type Catalog interface {
	// Recording reads one recording. recorder.ErrNotFound.
	Recording(ctx context.Context, tenantID, recordingID string) (recorder.RecordingRow, error)
	// Started finds the recording that a session has already, as recorder.Catalog.Begin would. recorder.ErrNotFound.
	Started(ctx context.Context, tenantID, externalSessionID string) (recorder.RecordingRow, error)
}

// ClientConfig is how a Client behaves. Zero values mean the defaults.
type ClientConfig struct {
	Timeout time.Duration // of one command; default 15 s, more than a recorder waits for its database
	Silence time.Duration // after which a node counts as lost; default 5 s, five times a Server's beat
	Log     *slog.Logger
}

func (c ClientConfig) withDefaults() ClientConfig {
	if c.Timeout <= 0 {
		c.Timeout = 15 * time.Second
	}
	if c.Silence <= 0 {
		c.Silence = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// maxAttempts is how many nodes are asked to take one recording.
const maxAttempts = 4

// lostTimeout is how long a node may take that was not heard of lately: it may be there all the same.
const lostTimeout = 2 * time.Second

// Client stands in for a *recorder.Service whose recorders are other processes. It is safe for concurrent use.
// Refusals are those of the service; a node that is not there or does not answer is CodeUnavailable.
type Client struct {
	nc      *nats.Conn
	cfg     ClientConfig
	catalog Catalog
	nodes   *registry
	sub     *nats.Subscription

	stop context.CancelFunc
	wg   sync.WaitGroup
	once sync.Once
	err  error
}

// NewClient listens to what nodes tell and asks all of them to do so. The caller closes the Client, and after it nc.
func NewClient(nc *nats.Conn, cfg ClientConfig, catalog Catalog) (*Client, error) {
	cfg = cfg.withDefaults()
	c := &Client{nc: nc, cfg: cfg, catalog: catalog, nodes: newRegistry(cfg.Silence)}
	var err error
	if c.sub, err = nc.Subscribe(anyStatus, c.told); err != nil {
		return nil, fmt.Errorf("node: listen to recorder nodes: %w", err)
	}
	if err := nc.Publish(helloSubject, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("node: greet recorder nodes: %w", err), c.sub.Unsubscribe())
	}
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.wg.Go(func() { c.expire(ctx) })
	return c, nil
}

// Close stops listening. Idempotent.
func (c *Client) Close() error {
	c.once.Do(func() {
		c.stop()
		c.wg.Wait()
		if err := c.sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			c.err = fmt.Errorf("node: stop listening: %w", err)
		}
	})
	return c.err
}

func (c *Client) told(m *nats.Msg) {
	s, err := decodeStatus(m.Subject, m.Data)
	if err != nil {
		c.cfg.Log.Warn("what a recorder node tells cannot be read", "subject", m.Subject, "err", err)
		return
	}
	switch e := c.nodes.apply(time.Now(), s); e {
	case eventNone:
	case eventFull:
		c.cfg.Log.Warn("recorder node is ignored: there are too many", "node", s.Node)
	default:
		c.cfg.Log.Info("recorder node", "change", string(e), "node", s.Node, "live", s.Capacity.Live, "ports_used", s.Capacity.PortsUsed,
			"ports_total", s.Capacity.PortsTotal, "refuses", s.Capacity.Refuses)
	}
}

// expire looks for nodes that fell silent.
func (c *Client) expire(ctx context.Context) {
	tick := time.NewTicker(c.cfg.Silence / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, name := range c.nodes.expire(time.Now()) {
				c.cfg.Log.Warn("recorder node lost: commands for its recordings are refused until it is back", "node", name, "silent_for", c.cfg.Silence)
			}
		}
	}
}

// Live is how a recording is, as its node has told: within a second, and after a command through this Client at once.
// It asks nobody.
func (c *Client) Live(tenantID, recordingID string) (recorder.LiveStatus, bool) {
	return c.nodes.status(tenantID, recordingID)
}

// Totals are sums over all nodes that are there.
func (c *Client) Totals() recorder.Totals {
	sum, _ := c.nodes.totals()
	return sum
}

// Nodes is how many recorder nodes are there.
func (c *Client) Nodes() int {
	_, n := c.nodes.totals()
	return n
}

// Start places a new recording on the least loaded node. A session that has a recording already gets that one, from the
// node that has it.
func (c *Client) Start(ctx context.Context, cmd recorder.StartCommand) (string, error) {
	if err := cmd.Validate(); err != nil {
		return "", err
	}
	row, err := c.catalog.Started(ctx, cmd.TenantID, cmd.ExternalSessionID)
	switch {
	case errors.Is(err, recorder.ErrNotFound):
		return c.place(ctx, cmd)
	case err != nil:
		return "", fmt.Errorf("node: look for the session's recording: %w", err)
	case !row.Capture.Live():
		return row.ID, nil // as the service answers; there is nothing to be told of it
	}
	return c.command(ctx, row.Node, opStart, cmd)
}

func (c *Client) place(ctx context.Context, cmd recorder.StartCommand) (string, error) {
	var refusal error
	names := c.nodes.candidates()
	for _, name := range names[:min(len(names), maxAttempts)] {
		c.nodes.place(name)
		id, err := c.command(ctx, name, opStart, cmd)
		if !elsewhere(err) {
			return id, err
		}
		if refusal == nil && !errors.Is(err, errNobody) {
			refusal = err
		}
	}
	if refusal != nil {
		return "", refusal
	}
	return "", &recorder.CommandError{Code: recorder.CodeUnavailable, Msg: "no recorder is there to take this call: retry; the operator must start one"}
}

// elsewhere tells refusals that another node may not give. Whatever may have begun a recording is none of them.
func elsewhere(err error) bool {
	c, is := errors.AsType[*recorder.CommandError](err)
	return is && (c.Code == recorder.CodeCapacity || errors.Is(err, errNobody) || errors.Is(err, recorder.ErrNotRunning))
}

// Attach implements graph.Recorder, as do the methods that follow.
func (c *Client) Attach(ctx context.Context, cmd recorder.AttachCommand) (string, error) {
	node, err := c.owner(ctx, cmd.TenantID, cmd.RecordingID)
	if err != nil {
		return "", err
	}
	return c.command(ctx, node, opAttach, cmd)
}

// Detach sends the command to the recording's node.
func (c *Client) Detach(ctx context.Context, cmd recorder.DetachCommand) error {
	return c.send(ctx, cmd.TenantID, cmd.RecordingID, opDetach, cmd)
}

// Pause sends the command to the recording's node.
func (c *Client) Pause(ctx context.Context, cmd recorder.PauseCommand) error {
	return c.send(ctx, cmd.TenantID, cmd.RecordingID, opPause, cmd)
}

// Resume sends the command to the recording's node.
func (c *Client) Resume(ctx context.Context, cmd recorder.ResumeCommand) error {
	return c.send(ctx, cmd.TenantID, cmd.RecordingID, opResume, cmd)
}

// SetLayout sends the command to the recording's node.
func (c *Client) SetLayout(ctx context.Context, cmd recorder.LayoutCommand) error {
	return c.send(ctx, cmd.TenantID, cmd.RecordingID, opLayout, cmd)
}

// Stop sends the command to the recording's node. Stopping what has ended is no error.
func (c *Client) Stop(ctx context.Context, cmd recorder.StopCommand) error {
	err := c.send(ctx, cmd.TenantID, cmd.RecordingID, opStop, cmd)
	if _, ended := errors.AsType[*recorder.StateError](err); ended {
		return nil
	}
	return err
}

func (c *Client) send(ctx context.Context, tenantID, recordingID, op string, cmd any) error {
	node, err := c.owner(ctx, tenantID, recordingID)
	if err != nil {
		return err
	}
	_, err = c.command(ctx, node, op, cmd)
	return err
}

// owner finds the node of a live recording: by what nodes say, else by the database. Refusals are the service's.
func (c *Client) owner(ctx context.Context, tenantID, recordingID string) (string, error) {
	if node, ok := c.nodes.owner(tenantID, recordingID); ok {
		return node, nil
	}
	row, err := c.catalog.Recording(ctx, tenantID, recordingID)
	switch {
	case errors.Is(err, recorder.ErrNotFound):
		return "", &recorder.CommandError{Code: recorder.CodeNotFound, Field: []string{"input", "recordingId"}, Msg: "no such recording", Err: err}
	case err != nil:
		return "", fmt.Errorf("node: look up recording: %w", err)
	case !row.Capture.Live():
		return "", &recorder.StateError{RecordingID: recordingID, Is: row.Capture, Want: []recorder.CaptureState{recorder.Pending, recorder.Recording, recorder.Paused}}
	}
	return row.Node, nil
}

var (
	errNobody = errors.New("node: nobody answers under this node's name")
	errLost   = errors.New("node: the node fell silent")
	errSlow   = errors.New("node: no answer in time")
)

// command sends one command to a node and waits for its answer.
func (c *Client) command(caller context.Context, node, op string, cmd any) (id string, err error) {
	ctx, cancel := context.WithCancelCause(caller)
	defer cancel(nil)
	stop, lost := c.nodes.onLost(node, func() { cancel(errLost) })
	defer stop()
	timeout := min(c.cfg.Timeout, maxTimeout)
	if lost {
		timeout = min(timeout, lostTimeout)
	}
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	data, err := encodeRequest(op, timeout, cmd)
	if err != nil {
		return "", err
	}
	ctx, end := context.WithTimeoutCause(ctx, timeout, errSlow)
	defer end()
	r, err := c.ask(ctx, node, data)
	if err != nil {
		return "", c.silent(node, op, err)
	}
	c.nodes.replied(node, r.Instance, r.Live)
	err = errorFromWire(r.Error)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && caller.Err() == nil: // our limit, not the caller's
		return "", c.silent(node, op, errSlow)
	case err != nil:
		return "", fmt.Errorf("node: %s on %s: %w", op, node, err)
	}
	return r.ID, nil
}

func encodeRequest(op string, timeout time.Duration, cmd any) ([]byte, error) {
	raw, err := encode(cmd)
	var data []byte
	if err == nil {
		data, err = encode(request{Version: version, Op: op, TimeoutMS: max(1, timeout.Milliseconds()), Command: raw})
	}
	if err != nil { // nothing that a recorder would accept
		return nil, &recorder.CommandError{Code: recorder.CodeInvalidInput, Field: []string{"input"}, Msg: "holds JSON that cannot be read, or is longer than any valid input", Err: err}
	}
	return data, nil
}

func (c *Client) ask(ctx context.Context, node string, data []byte) (reply, error) {
	if !c.nc.IsConnected() {
		return reply{}, fmt.Errorf("%w: no connection to NATS", errNobody)
	}
	m, err := c.nc.RequestWithContext(ctx, commandSubject(node), data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return reply{}, errNobody
	case err != nil && ctx.Err() != nil:
		return reply{}, context.Cause(ctx)
	case err != nil:
		return reply{}, fmt.Errorf("node: ask %s: %w", node, err)
	}
	return decodeReply(m.Data)
}

// silent turns an answer that did not come into something that the caller can act on.
func (c *Client) silent(node, op string, err error) error {
	refuse := func(text string) error {
		c.cfg.Log.Warn("recorder node does not answer", "node", node, "op", op, "err", err)
		return &recorder.CommandError{Code: recorder.CodeUnavailable, Msg: text, Err: err}
	}
	switch {
	case errors.Is(err, errNobody), errors.Is(err, errLost):
		return refuse("the recorder of this call is not there: retry; it goes on with the recording when it is back")
	case errors.Is(err, errSlow):
		return refuse("the recorder of this call does not answer in time: send the same again; what is done already is not done twice")
	}
	return err // the caller went away, or what answered is no recorder of this version
}
