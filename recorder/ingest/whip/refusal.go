package whip

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/dualrec/dualrec/recorder"
)

// Refusal is an answer that a publisher can act on. Its text is safe to show.
type Refusal struct { //nolint:errname // it is read as what it is: whip.Refusal
	Status     int
	Code       string // what a program switches on
	Detail     string // what is wrong and what to do
	RetryAfter time.Duration
	Err        error // cause for logs, never shown
}

// Error implements error.
func (r *Refusal) Error() string {
	if r.Err != nil {
		return fmt.Sprintf("whip: %s: %s: %v", r.Code, r.Detail, r.Err)
	}
	return fmt.Sprintf("whip: %s: %s", r.Code, r.Detail)
}

// Unwrap gives the cause.
func (r *Refusal) Unwrap() error { return r.Err }

func refuse(status int, code, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Code: code, Detail: fmt.Sprintf(format, args...)}
}

// The codes that more than one place uses.
const (
	codeMalformed   = "MALFORMED"
	codeUnsupported = "UNSUPPORTED"
	codeNotFound    = "NOT_FOUND"
	codeUnavailable = "UNAVAILABLE"
)

func malformed(format string, args ...any) *Refusal {
	return refuse(http.StatusBadRequest, codeMalformed, format, args...)
}

func unsupported(format string, args ...any) *Refusal {
	return refuse(http.StatusUnprocessableEntity, codeUnsupported, format, args...)
}

var statuses = map[recorder.ErrorCode]int{
	recorder.CodeInvalidInput: http.StatusUnprocessableEntity,
	recorder.CodeNotFound:     http.StatusNotFound,
	recorder.CodeConflict:     http.StatusConflict,
	recorder.CodeCapacity:     http.StatusServiceUnavailable,
	recorder.CodeUnsupported:  http.StatusUnprocessableEntity,
	recorder.CodeForbidden:    http.StatusForbidden,
	recorder.CodeUnavailable:  http.StatusServiceUnavailable,
}

// judge is the one table from errors to the outside. What it does not know is internal, and ok is false.
func judge(err error) (r *Refusal, ok bool) {
	if r, is := errors.AsType[*Refusal](err); is {
		return r, true
	}
	if c, is := errors.AsType[*recorder.CommandError](err); is {
		r := &Refusal{Status: statuses[c.Code], Code: string(c.Code), Detail: c.Msg, Err: err}
		if r.Status == http.StatusServiceUnavailable {
			r.RetryAfter = 2 * time.Second
		}
		if r.Status != 0 {
			return r, true
		}
	}
	if s, is := errors.AsType[*recorder.StateError](err); is {
		return refuse(http.StatusConflict, string(recorder.CodeConflict), "the recording is %s and takes no media any more: start another one", s.Is), true
	}
	if errors.Is(err, recorder.ErrUnavailable) {
		r := refuse(http.StatusServiceUnavailable, codeUnavailable, "the database does not answer: retry")
		r.RetryAfter = 5 * time.Second
		return r, true
	}
	return refuse(http.StatusInternalServerError, "INTERNAL", "internal error"), false
}

// write answers with problem+json (RFC 9457).
func (r *Refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.RetryAfter.Seconds()))))
	}
	if r.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="dualrec"`)
	}
	w.WriteHeader(r.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // a client that is gone needs no refusal
		"type": "about:blank", "title": http.StatusText(r.Status), "status": r.Status, "code": r.Code, "detail": r.Detail})
}
