package node

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

// wireError carries what callers act on: the typed refusals whole, the sentinels by name. Everything else is internal:
// its text stays in the log of the node, under a reference.
type wireError struct {
	Command  *recorder.CommandError `json:"command,omitempty"` // without its cause
	State    *recorder.StateError   `json:"state,omitempty"`
	Is       []string               `json:"is,omitempty"`       // names of sentinels that it matches
	Words    string                 `json:"words,omitempty"`    // of a sentinel whose text is meant for callers
	Internal string                 `json:"internal,omitempty"` // reference into the node's log
}

// sentinels are the conditions that cross the wire. The order is that in which they are looked at.
var sentinels = []struct {
	name  string
	err   error
	words bool // what follows the sentinel's own text is meant for callers
}{
	{"not_found", recorder.ErrNotFound, false},
	{"tenant_suspended", recorder.ErrTenantSuspended, false},
	{"unavailable", recorder.ErrUnavailable, false},
	{"not_running", recorder.ErrNotRunning, false},
	{"no_ports", recorder.ErrNoPorts, false},
	{"spool_full", recorder.ErrSpoolFull, false},
	{"codec", recorder.ErrCodec, false},
	{"rtp_parameters", recorder.ErrRTPParameters, true},
	{"srtp_parameters", recorder.ErrSRTPParameters, true},
	{"attachment", recorder.ErrAttachment, true},
	{"store_unavailable", recorder.ErrStoreUnavailable, false},
	{"object_not_found", recorder.ErrObjectNotFound, false},
	{"key_unavailable", kms.ErrKeyUnavailable, false},
	{"deadline", context.DeadlineExceeded, false},
}

const (
	maxWords  = 4 << 10
	maxFields = 32
)

// internalError is an error of a node that its callers cannot act on.
type internalError struct{ reference string }

// Error implements error.
func (e *internalError) Error() string {
	return "node: the recorder node failed; its log has the cause under reference " + e.reference
}

// remoteError matches several sentinels.
type remoteError struct {
	words string
	is    []error
}

// Error implements error.
func (e *remoteError) Error() string {
	if e.words != "" {
		return e.words
	}
	return e.is[0].Error()
}

// Unwrap gives all of them.
func (e *remoteError) Unwrap() []error { return e.is }

// errorToWire is nil for nil. known is false if the error is internal: then it must be logged under the reference.
func errorToWire(err error, reference string) (w *wireError, known bool) {
	if err == nil {
		return nil, true
	}
	w = &wireError{}
	for _, s := range sentinels {
		if !errors.Is(err, s.err) {
			continue
		}
		w.Is = append(w.Is, s.name)
		if s.words && w.Words == "" {
			text := err.Error()
			w.Words = cut(text[max(strings.Index(text, s.err.Error()), 0):], maxWords)
		}
	}
	if c, is := errors.AsType[*recorder.CommandError](err); is {
		plain := *c
		plain.Err = nil // for the node's log; what of it callers may match is in Is
		w.Command, w.Words = &plain, ""
	}
	if s, is := errors.AsType[*recorder.StateError](err); is {
		w.State = s
	}
	if w.Command == nil && w.State == nil && len(w.Is) == 0 {
		return &wireError{Internal: reference}, false
	}
	return w, true
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// errorFromWire is what errorToWire was given, as far as callers can tell.
func errorFromWire(w *wireError) error {
	if w == nil {
		return nil
	}
	var is []error
	for _, s := range sentinels {
		for _, name := range w.Is {
			if name == s.name {
				is = append(is, s.err)
			}
		}
	}
	var cause error
	if w.State != nil {
		is = append(is, w.State)
	}
	switch {
	case len(is) == 1 && w.Words == "":
		cause = is[0]
	case len(is) > 0:
		cause = &remoteError{words: w.Words, is: is}
	}
	switch {
	case w.Command != nil:
		c := *w.Command
		c.Err = cause
		return &c
	case cause != nil:
		return cause
	}
	return &internalError{w.Internal}
}

func (w *wireError) check() error {
	if len(w.Is) > maxFields || len(w.Words) > maxWords || len(w.Internal) > maxID {
		return fmt.Errorf("%w: an error that is too long", ErrMessage)
	}
	if c := w.Command; c != nil && (c.Code == "" || len(c.Code) > maxID || len(c.Field) > maxFields || len(c.Msg) > maxWords) {
		return fmt.Errorf("%w: a refusal without a code, or too long", ErrMessage)
	}
	return nil
}
