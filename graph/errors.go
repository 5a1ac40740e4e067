package graph

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/graph/model"
	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

// The codes of top-level errors beside those of recorder.ErrorCode and of the GraphQL library.
const (
	codeUnauthenticated recorder.ErrorCode = "UNAUTHENTICATED"
	codeLimit           recorder.ErrorCode = "LIMIT_EXCEEDED"
	codeTimeout         recorder.ErrorCode = "TIMEOUT"
	codeThrottled       recorder.ErrorCode = "THROTTLED"
	codeInternal        recorder.ErrorCode = "INTERNAL"
)

const internalText = "internal error"

// refuse makes an error that the table shows as it is.
func refuse(code recorder.ErrorCode, format string, args ...any) *recorder.CommandError {
	return &recorder.CommandError{Code: code, Msg: fmt.Sprintf(format, args...)}
}

// refuseField is refuse for one field of the input.
func refuseField(code recorder.ErrorCode, field, format string, args ...any) *recorder.CommandError {
	e := refuse(code, format, args...)
	e.Field = []string{"input", field}
	return e
}

// verdict is what the outside sees of an error.
type verdict struct {
	code  recorder.ErrorCode
	msg   string
	field []string
	// reason is set with recorder.CodeCapacity.
	reason recorder.RefusalReason
}

// conditions maps sentinels to the outside. The order matters only where errors wrap each other.
var conditions = []struct {
	err  error
	code recorder.ErrorCode
	msg  string // empty: the error's own text is meant for callers
}{
	{recorder.ErrRTPParameters, recorder.CodeInvalidInput, ""},
	{recorder.ErrNotFound, recorder.CodeNotFound, "there is no such recording or track"},
	{recorder.ErrTenantSuspended, recorder.CodeForbidden, "this tenant is suspended"},
	{recorder.ErrCodec, recorder.CodeUnsupported, "this codec cannot be recorded: use VP8, VP9, H264 or opus"},
	{recorder.ErrNoPorts, recorder.CodeCapacity, "all media ports of this recorder are in use: retry later or on another recorder"},
	{recorder.ErrSpoolFull, recorder.CodeCapacity, "the recorder's disk is above its watermark: retry later or on another recorder"},
	{recorder.ErrUnavailable, recorder.CodeUnavailable, "the database does not answer: retry later"},
	{recorder.ErrStoreUnavailable, recorder.CodeUnavailable, "the object store does not answer: retry later"},
	{recorder.ErrObjectNotFound, recorder.CodeNotFound, "there is no such file"},
	{kms.ErrKeyUnavailable, recorder.CodeUnavailable, "the tenant's key cannot be used now: retry later"},
	{auth.ErrUnauthenticated, codeUnauthenticated, "sign in: send Authorization: Bearer with a valid credential"},
	{auth.ErrUnavailable, recorder.CodeUnavailable, "who you are cannot be found out now: retry later"},
	{model.ErrScalar, recorder.CodeInvalidInput, ""},
	{context.DeadlineExceeded, codeTimeout, "the operation took too long: ask for less, or retry"},
}

// reasons are those of recorder.CodeCapacity.
var reasons = map[error]recorder.RefusalReason{recorder.ErrNoPorts: recorder.RefusedPorts, recorder.ErrSpoolFull: recorder.RefusedDisk}

// judge is the one table from errors to the outside. What it does not know is internal, and ok is false.
func judge(err error) (v verdict, ok bool) {
	if c, is := errors.AsType[*recorder.CommandError](err); is {
		return verdict{code: c.Code, msg: c.Msg, field: c.Field, reason: c.Reason}, true
	}
	if s, is := errors.AsType[*recorder.StateError](err); is {
		return verdict{code: recorder.CodeConflict, msg: fmt.Sprintf("the recording is %s, and this needs one of %v", s.Is, s.Want)}, true
	}
	if _, is := errors.AsType[*auth.ThrottledError](err); is {
		return verdict{code: codeThrottled, msg: "this credential is not valid, and too many were not from this address: retry later, or sign in with a valid one"}, true
	}
	if ent.IsNotFound(err) {
		return verdict{code: recorder.CodeNotFound, msg: "there is no such thing"}, true
	}
	for _, c := range conditions {
		if !errors.Is(err, c.err) {
			continue
		}
		if c.msg == "" {
			return verdict{code: c.code, msg: wordsOf(err, c.err), reason: reasons[c.err]}, true
		}
		return verdict{code: c.code, msg: c.msg, reason: reasons[c.err]}, true
	}
	return verdict{code: codeInternal, msg: internalText}, false
}

// wordsOf is the text of a condition that is meant for callers, without what wrapping has put before it: names of
// packages and operations, which are of no use to them.
func wordsOf(err, condition error) string {
	text := err.Error()
	return text[max(strings.Index(text, condition.Error()), 0):]
}

// userErrors turns a refusal into the payload's errors. Any other error is returned for the top level.
func userErrors(err error) ([]*model.UserError, error) {
	if err == nil {
		return []*model.UserError{}, nil
	}
	v, known := judge(err)
	if !known || v.code == codeTimeout {
		return nil, err
	}
	out := &model.UserError{Field: v.field, Message: v.msg, Code: v.code}
	if v.reason != "" {
		out.Reason = &v.reason
	}
	return []*model.UserError{out}, nil
}

// present is gqlgen's error presenter. Errors of the GraphQL library itself (parsing, validation, a null where none
// may be) carry no cause and speak of the query only.
func present(log *slog.Logger) graphql.ErrorPresenterFunc {
	return func(ctx context.Context, err error) *gqlerror.Error {
		out, cause := unwrapGraphQL(ctx, err)
		if cause == nil {
			return out
		}
		v, known := judge(cause)
		if !known && errors.Is(cause, context.Canceled) {
			v = verdict{code: codeTimeout, msg: "the operation was cancelled"}
		} else if !known {
			log.ErrorContext(ctx, "graphql field failed", "request_id", requestID(ctx), "path", out.Path.String(), "error", cause)
		}
		out.Err, out.Message = nil, v.msg
		out.Extensions = map[string]any{"code": string(v.code)}
		if len(v.field) > 0 {
			out.Extensions["field"] = v.field
		}
		if !known {
			out.Extensions["requestId"] = requestID(ctx)
		}
		return out
	}
}

// unwrapGraphQL splits an error into its GraphQL shell and its cause, nil if the library made it.
func unwrapGraphQL(ctx context.Context, err error) (*gqlerror.Error, error) {
	g, is := errors.AsType[*gqlerror.Error](err)
	if !is {
		return gqlerror.WrapPath(graphql.GetPath(ctx), err), err
	}
	if g.Path == nil {
		g.Path = graphql.GetPath(ctx)
	}
	return g, g.Err
}

// recovered logs a panic with its place and hides it.
func recovered(log *slog.Logger) graphql.RecoverFunc {
	return func(ctx context.Context, p any) error {
		log.ErrorContext(ctx, "graphql resolver panicked", "request_id", requestID(ctx), "panic", fmt.Sprint(p), "stack", stack())
		return errPanic
	}
}

var errPanic = errors.New("graph: resolver panicked")
