package node

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// version of the messages. Both sides refuse another one: a half understood command is worse than none.
const version = 1

// Limits on messages, well below the 1 MiB that NATS servers pass by default.
const (
	maxMessage = 256 << 10 // bytes
	maxItems   = 4096      // live recordings in one message
	maxName    = 100       // bytes of a node's name
	maxID      = 200
	maxTimeout = 10 * time.Minute
)

// ErrMessage marks a message that cannot be read; the text says why. It is never the fault of who called the API.
var ErrMessage = errors.New("node: bad message")

// ErrVersion: the other side speaks another version of these messages.
var ErrVersion = errors.New("node: message of another version: run one version of dualrec on all nodes")

const (
	subjectPrefix = "dualrec.node."
	anyStatus     = subjectPrefix + "*.status"
	helloSubject  = "dualrec.nodes.hello" // a process of the API asks all nodes to tell how they are
)

// Names may hold any byte, subjects may not.
func commandSubject(node string) string { return subjectPrefix + subjectToken(node) + ".command" }
func statusSubject(node string) string  { return subjectPrefix + subjectToken(node) + ".status" }
func subjectToken(node string) string   { return base64.RawURLEncoding.EncodeToString([]byte(node)) }

// The commands.
const (
	opHello  = "hello" // is somebody there? Nothing happens.
	opStart  = "start"
	opAttach = "attach"
	opDetach = "detach"
	opPause  = "pause"
	opResume = "resume"
	opLayout = "layout"
	opStop   = "stop"
)

// request is one command. It may hold keys of SRTP.
type request struct {
	Version   int             `json:"v"`
	Op        string          `json:"op"`
	TimeoutMS int64           `json:"timeout_ms"` // how long the caller waits; not an instant, because clocks of hosts differ
	Command   json.RawMessage `json:"command,omitempty"`
}

func (r request) timeout() time.Duration { return time.Duration(r.TimeoutMS) * time.Millisecond }

// reply answers one command.
type reply struct {
	Version  int        `json:"v"`
	Instance instance   `json:"instance"`
	ID       string     `json:"id,omitempty"` // of the recording that was started, or the track that was attached
	Error    *wireError `json:"error,omitempty"`
	Live     *item      `json:"live,omitempty"` // how the recording is after the command
}

// instance is one life of a node's process.
type instance struct {
	StartedAt time.Time `json:"started_at"`
	Nonce     string    `json:"nonce"`
}

// item is one live recording. Revision was counted up before the status was read: of two items of one instance, the
// one with the higher revision knows everything that had happened when the other was sent.
type item struct {
	Revision    uint64              `json:"rev"`
	TenantID    string              `json:"tenant_id"`
	RecordingID string              `json:"recording_id"`
	Ended       bool                `json:"ended,omitempty"` // the node does not work on it (any longer); Status is empty
	Status      recorder.LiveStatus `json:"status,omitzero"`
	// SRTP holds this side's keys by track id, in replies alone: what is told to everyone has no keys.
	SRTP map[string]recorder.SRTPParameters `json:"srtp,omitempty"`
}

// newItem takes the keys out of a status.
func newItem(revision uint64, tenantID, recordingID string, s recorder.LiveStatus) item {
	it := item{Revision: revision, TenantID: tenantID, RecordingID: recordingID, Status: s}
	for _, t := range s.Tracks {
		if t.SRTP.Plain() {
			continue
		}
		if it.SRTP == nil {
			it.SRTP = map[string]recorder.SRTPParameters{}
		}
		it.SRTP[t.ID] = t.SRTP
	}
	return it
}

// status tells that a node is there, and how it and its recordings are.
type status struct {
	Version  int             `json:"v"`
	Node     string          `json:"node"`
	Instance instance        `json:"instance"`
	Draining bool            `json:"draining,omitempty"` // it ends: nothing may be placed there, and it will not tell more
	Capacity Capacity        `json:"capacity"`
	Totals   recorder.Totals `json:"totals"`
	Items    []item          `json:"items,omitempty"`
	// Whole ends a round in which the node has told of everything that it works on: what it told with a lower revision
	// is not there any more. 0: no end of a round.
	Whole uint64 `json:"whole,omitempty"`
}

// Capacity is what a node can still take. It counts for choosing a node only: the node itself decides when it is asked.
type Capacity struct {
	PortsUsed  int           `json:"ports_used"`
	PortsTotal int           `json:"ports_total"`
	Live       int           `json:"live"`              // recordings that capture now
	MaxLive    int           `json:"max_live"`          // 0: as many as ports and disk allow
	ComposeLag time.Duration `json:"compose_lag_ns"`    // of the furthest recording
	DiskUsed   float64       `json:"disk_used"`         // part of what the spool may take, 0…1; above 1 nothing new is begun
	Refuses    string        `json:"refuses,omitempty"` // why it would take no new recording now, for logs
}

func encode(v any) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("node: encode: %w", err)
	}
	if len(data) > maxMessage {
		return nil, fmt.Errorf("%w: %d bytes are more than the limit of %d", ErrMessage, len(data), maxMessage)
	}
	return data, nil
}

// decode reads one message. With strict, a field that this side does not know is an error.
func decode(data []byte, into any, strict bool) error {
	if len(data) > maxMessage {
		return fmt.Errorf("%w: %d bytes are more than the limit of %d", ErrMessage, len(data), maxMessage)
	}
	var head struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(data, &head); err != nil { // refuses trailing bytes too
		return fmt.Errorf("%w: not a JSON object with a version", ErrMessage)
	}
	if head.Version != version {
		return fmt.Errorf("%w: it is %d, this side speaks %d", ErrVersion, head.Version, version)
	}
	return decodeJSON(data, into, strict)
}

func decodeJSON(data []byte, into any, strict bool) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %v", ErrMessage, withoutValues(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows the JSON value", ErrMessage)
	}
	return nil
}

// withoutValues keeps values out of logs: a command may hold keys, and names of customers.
func withoutValues(err error) string {
	if t, is := errors.AsType[*json.UnmarshalTypeError](err); is {
		return fmt.Sprintf("field %q holds a JSON %.20s", t.Field, t.Value)
	}
	if errors.Is(err, recorder.ErrSRTPParameters) {
		return err.Error()
	}
	if s, is := errors.AsType[*json.SyntaxError](err); is {
		return fmt.Sprintf("no JSON at byte %d", s.Offset)
	}
	return "not of the expected form, or with an unknown field"
}

func decodeRequest(data []byte) (request, error) {
	var r request
	if err := decode(data, &r, true); err != nil {
		return request{}, err
	}
	if r.TimeoutMS < 1 || r.timeout() > maxTimeout || r.TimeoutMS > maxTimeout.Milliseconds() {
		return request{}, fmt.Errorf("%w: timeout_ms %d is not within 1…%d", ErrMessage, r.TimeoutMS, maxTimeout.Milliseconds())
	}
	return r, nil
}

func decodeReply(data []byte) (reply, error) {
	var r reply
	if err := decode(data, &r, false); err != nil {
		return reply{}, err
	}
	if len(r.ID) > maxID {
		return reply{}, fmt.Errorf("%w: an id of %d bytes", ErrMessage, len(r.ID))
	}
	if r.Error != nil {
		if err := r.Error.check(); err != nil {
			return reply{}, err
		}
	}
	if r.Live != nil {
		if err := r.Live.check(); err != nil {
			return reply{}, err
		}
	}
	return r, nil
}

// decodeStatus reads what came on a subject. The subject decides whose it is.
func decodeStatus(subject string, data []byte) (status, error) {
	var s status
	if err := decode(data, &s, false); err != nil {
		return status{}, err
	}
	if s.Node == "" || len(s.Node) > maxName || statusSubject(s.Node) != subject {
		return status{}, fmt.Errorf("%w: it names node %.100q and came on another's subject", ErrMessage, s.Node)
	}
	if len(s.Items) > maxItems {
		return status{}, fmt.Errorf("%w: %d live recordings are more than the limit of %d", ErrMessage, len(s.Items), maxItems)
	}
	for _, it := range s.Items {
		if err := it.check(); err != nil {
			return status{}, err
		}
	}
	return s, nil
}

func (it item) check() error {
	if it.TenantID == "" || it.RecordingID == "" || len(it.TenantID) > maxID || len(it.RecordingID) > maxID {
		return fmt.Errorf("%w: a live recording without tenant or id, or with ids of more than %d bytes", ErrMessage, maxID)
	}
	return nil
}
