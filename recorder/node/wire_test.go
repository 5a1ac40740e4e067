package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

// across sends an error over the wire.
func across(t *testing.T, err error) (known bool, got error) {
	t.Helper()
	w, known := errorToWire(err, "REFERENCE")
	data, eerr := encode(reply{Version: version, Error: w})
	if eerr != nil {
		t.Fatal(eerr)
	}
	r, derr := decodeReply(data)
	if derr != nil {
		t.Fatal(derr)
	}
	return known, errorFromWire(r.Error)
}

func TestErrorsSurviveTheWire(t *testing.T) {
	t.Parallel()
	if known, got := across(t, nil); got != nil || !known {
		t.Errorf("nothing became %v", got)
	}
	full := recorder.CommandError{Code: recorder.CodeCapacity, Field: []string{"input", "tracks"}, Msg: "no room"}
	fill(reflect.ValueOf(&full).Elem(), "Err") // whatever fields there are
	cases := map[string]error{
		"refusal":            &full,
		"refusal of nothing": &recorder.CommandError{Code: recorder.CodeForbidden, Msg: "no"},
		"state":              &recorder.StateError{RecordingID: "rec_1", Is: recorder.Available, Want: []recorder.CaptureState{recorder.Recording}},
		"wrapped state":      fmt.Errorf("catalog: move: %w", &recorder.StateError{RecordingID: "rec_1", Is: recorder.Failed}),
		"two sentinels":      fmt.Errorf("%w and %w", recorder.ErrNoPorts, recorder.ErrSpoolFull),
	}
	for _, s := range sentinels {
		cases["sentinel "+s.name] = s.err
		cases["wrapped "+s.name] = fmt.Errorf("some operation: %w: with more", s.err)
		cases["refusal for "+s.name] = &recorder.CommandError{Code: recorder.CodeUnavailable, Msg: "retry", Err: fmt.Errorf("inner: %w", s.err)}
	}
	for name, sent := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			known, got := across(t, sent)
			if !known {
				t.Fatalf("%v became internal", sent)
			}
			for _, s := range sentinels {
				if errors.Is(got, s.err) != errors.Is(sent, s.err) {
					t.Errorf("matches %s: %v, sent %v", s.name, errors.Is(got, s.err), errors.Is(sent, s.err))
				}
			}
			sentRefusal, is := errors.AsType[*recorder.CommandError](sent)
			gotRefusal, came := errors.AsType[*recorder.CommandError](got)
			if is != came {
				t.Fatalf("a refusal: %v, sent %v", came, is)
			}
			if is {
				a, b := *sentRefusal, *gotRefusal
				a.Err, b.Err = nil, nil
				if wire, back := text(t, a), text(t, b); wire != back {
					t.Errorf("%s, sent %s", back, wire)
				}
			}
			sentState, is := errors.AsType[*recorder.StateError](sent)
			gotState, came := errors.AsType[*recorder.StateError](got)
			if is != came || is && !reflect.DeepEqual(sentState, gotState) {
				t.Errorf("state %+v, sent %+v", gotState, sentState)
			}
		})
	}
}

// The words of errors whose text is meant for callers come across, without what wrapping put before them.
func TestWordsSurviveTheWire(t *testing.T) {
	t.Parallel()
	for _, sentinel := range []error{recorder.ErrRTPParameters, recorder.ErrSRTPParameters, recorder.ErrAttachment} {
		_, got := across(t, fmt.Errorf("secret path /var: %w: codec X is unknown", sentinel))
		if want := sentinel.Error() + ": codec X is unknown"; got.Error() != want {
			t.Errorf("%q, want %q", got.Error(), want)
		}
	}
	if _, got := across(t, fmt.Errorf("secret: %w: password", recorder.ErrUnavailable)); got.Error() != recorder.ErrUnavailable.Error() {
		t.Errorf("inner text came out: %v", got)
	}
}

func TestUnknownErrorsAreInternal(t *testing.T) {
	t.Parallel()
	for _, sent := range []error{errors.New("open /var/lib/secret: denied"), &recorder.FrameCountError{Want: 1, Got: 2}, context.Canceled} {
		known, got := across(t, sent)
		if known || strings.Contains(got.Error(), sent.Error()) || !strings.Contains(got.Error(), "REFERENCE") {
			t.Errorf("%v became %v, known %v", sent, got, known)
		}
	}
}

// Every condition of the recorder either crosses the wire or is known not to leave it.
func TestEverySentinelHasAPlace(t *testing.T) {
	t.Parallel()
	inside := []string{"ErrSpoolExists", "ErrSpoolKey", "ErrSpoolDamaged", "ErrDigestMismatch", // between recorder and its adapters
		"ErrEvent", "ErrUnknownEvent", "ErrPlanFinished", "ErrPlanMismatch"} // of what composes
	var there []string
	for _, s := range sentinels {
		there = append(there, s.err.Error())
	}
	files, err := filepath.Glob("../*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok || len(v.Names) != 1 || len(v.Values) != 1 || !strings.HasPrefix(v.Names[0].Name, "Err") {
				return true
			}
			call, ok := v.Values[0].(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			text, ok := call.Args[0].(*ast.BasicLit)
			if ok && !slices.Contains(there, strings.Trim(text.Value, `"`)) && !slices.Contains(inside, v.Names[0].Name) {
				t.Errorf("recorder.%s: add it to sentinels, or to those that never leave the recorder", v.Names[0].Name)
			}
			return true
		})
	}
	if !slices.Contains(there, kms.ErrKeyUnavailable.Error()) {
		t.Error("kms.ErrKeyUnavailable does not cross")
	}
}

var srtp = recorder.SRTPParameters{Suite: recorder.AEADAES256GCM, Key: []byte("0123456789abcdef0123456789abcdef-and-a-salt-")[:44]}

// fill gives every field of a value something that is not zero, so that a field which is lost on the way is seen.
func fill(v reflect.Value, but ...string) {
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.UTC)))
		return
	case json.RawMessage:
		v.SetBytes([]byte(`{"a":[1,"\u003cb\u003e"]}`))
		return
	case recorder.SRTPParameters:
		v.Set(reflect.ValueOf(srtp))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("text of " + v.Type().Name())
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64, reflect.Uint32, reflect.Uint16:
		v.SetUint(9)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !slices.Contains(but, v.Type().Field(i).Name) {
				fill(v.Field(i))
			}
		}
	default:
		panic("fill knows no " + v.Type().String())
	}
}

func filled[T any]() (v T) {
	fill(reflect.ValueOf(&v).Elem())
	return v
}

// Commands cross whole: every field that there is, SRTP keys included.
func TestCommandsCrossWhole(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ClientConfig{})
	r := w.recorder("one", Capacity{})
	for op, cmd := range map[string]any{opStart: filled[recorder.StartCommand](), opAttach: filled[recorder.AttachCommand](), opDetach: filled[recorder.DetachCommand](),
		opPause: filled[recorder.PauseCommand](), opResume: filled[recorder.ResumeCommand](), opLayout: filled[recorder.LayoutCommand](), opStop: filled[recorder.StopCommand]()} {
		r.set(func(f *fake) { f.got = nil })
		if _, err := w.client.command(t.Context(), "one", op, cmd); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		if got := r.commands(); len(got) != 1 || !reflect.DeepEqual(got[0], cmd) {
			t.Errorf("%s came as %#v\nsent %#v", op, got, cmd)
		}
	}
	for op, cmd := range map[string]any{opStart: recorder.StartCommand{TenantID: "ten_a"}, opAttach: recorder.AttachCommand{TenantID: "ten_a"}} {
		r.set(func(f *fake) { f.got = nil })
		if _, err := w.client.command(t.Context(), "one", op, cmd); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		if got := r.commands(); len(got) != 1 || !reflect.DeepEqual(got[0], cmd) {
			t.Errorf("an empty %s came as %#v", op, got)
		}
	}
}

// A status crosses whole; keys go into replies alone.
func TestStatusCrossesWhole(t *testing.T) {
	t.Parallel()
	want := filled[recorder.LiveStatus]()
	for i := range want.Tracks {
		want.Tracks[i].ID = fmt.Sprint("trk_", i)
	}
	it := newItem(3, "ten_a", "rec_1", want)
	data, err := encode(reply{Version: version, Live: &it})
	if err != nil {
		t.Fatal(err)
	}
	r, err := decodeReply(data)
	if err != nil {
		t.Fatal(err)
	}
	reg := newRegistry(time.Minute)
	reg.replied("one", instance{}, r.Live)
	if got, ok := reg.status("ten_a", "rec_1"); !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("came as %+v\nsent %+v", got, want)
	}
	told := it
	told.SRTP = nil
	data, err = encode(status{Version: version, Node: "one", Items: []item{told}})
	if err != nil {
		t.Fatal(err)
	}
	if key, _ := json.Marshal(srtp); strings.Contains(string(data), string(key)) || strings.Contains(strings.ToLower(string(data)), "keybase64") {
		t.Error("what is told to everyone holds a key")
	}
	told.Revision = 4
	reg.apply(time.Now(), status{Version: version, Node: "one", Items: []item{told}})
	if got, _ := reg.status("ten_a", "rec_1"); !reflect.DeepEqual(got.Tracks[0].SRTP, srtp) {
		t.Error("the key that a reply told is forgotten with the next status")
	}
}

func TestBadMessagesAreRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxMessage)
	good := `{"v":1,"op":"stop","timeout_ms":1000,"command":{}}`
	if _, err := decodeRequest([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{
		"empty": "", "no JSON": "hello", "trailing": good + "{}", "unknown field": `{"v":1,"op":"stop","timeout_ms":1,"more":1}`,
		"no timeout": `{"v":1,"op":"stop"}`, "long timeout": `{"v":1,"op":"stop","timeout_ms":99999999999999999}`, "too long": `{"v":1,"op":"` + long + `"}`,
		"array": `[]`,
	} {
		if _, err := decodeRequest([]byte(raw)); !errors.Is(err, ErrMessage) {
			t.Errorf("request, %s: %v", name, err)
		}
	}
	if _, err := decodeRequest([]byte(`{"v":2,"op":"stop","timeout_ms":1}`)); !errors.Is(err, ErrVersion) {
		t.Errorf("another version: %v", err)
	}
	subject := statusSubject("one")
	for name, raw := range map[string]string{
		"another's name": `{"v":1,"node":"two"}`, "no name": `{"v":1}`, "no tenant": `{"v":1,"node":"one","items":[{"recording_id":"r"}]}`,
		"long id":  `{"v":1,"node":"one","items":[{"tenant_id":"t","recording_id":"` + strings.Repeat("r", maxID+1) + `"}]}`,
		"too many": `{"v":1,"node":"one","items":[` + strings.Repeat(`{},`, maxItems) + `{}]}`,
	} {
		if _, err := decodeStatus(subject, []byte(raw)); !errors.Is(err, ErrMessage) {
			t.Errorf("status, %s: %v", name, err)
		}
	}
	for name, raw := range map[string]string{
		"refusal without code": `{"v":1,"error":{"command":{}}}`, "long words": `{"v":1,"error":{"words":"` + strings.Repeat("w", maxWords+1) + `"}}`,
		"live without id": `{"v":1,"live":{}}`, "long id": `{"v":1,"id":"` + strings.Repeat("i", maxID+1) + `"}`,
		"bad key": `{"v":1,"live":{"tenant_id":"t","recording_id":"r","srtp":{"a":{"cryptoSuite":"X"}}}}`,
	} {
		if _, err := decodeReply([]byte(raw)); !errors.Is(err, ErrMessage) {
			t.Errorf("reply, %s: %v", name, err)
		}
	}
}

// Errors about messages are logged: they must not show what the messages hold.
func TestErrorsShowNoValues(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0LWtleQ"
	for _, raw := range []string{`{"v":1,"` + secret + `":1}`, `{"v":1,"op":["` + secret + `"]}`,
		`{"v":1,"op":"attach","timeout_ms":1,"command":{"SRTP":{"cryptoSuite":"AEAD_AES_128_GCM","keyBase64":"` + secret + `"}}}`} {
		req, err := decodeRequest([]byte(raw))
		if err == nil {
			err = run(req, func(recorder.AttachCommand) error { return nil })
		}
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{`{"v":1,"op":"stop","timeout_ms":1000,"command":{"TenantID":"t","RecordingID":"r"}}`, `{"v":1,"op":"hello","timeout_ms":5}`, `{"v":3}`,
		`{"v":1,"op":"attach","timeout_ms":9,"command":{"RTPParameters":null,"Source":{"rtp_port":1}}}`} {
		f.Add([]byte(seed))
	}
	s, err := NewServer(nil, ServerConfig{Name: "fuzz"}, &fake{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		out := s.answer(t.Context(), data)
		raw, err := encode(out)
		if err != nil {
			t.Fatalf("%q: the answer cannot be sent: %v", data, err)
		}
		if _, err := decodeReply(raw); err != nil {
			t.Fatalf("%q: the answer cannot be read: %v", data, err)
		}
	})
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{`{"v":1,"id":"rec_1"}`, `{"v":1,"error":{"is":["not_found"],"command":{"Code":"NOT_FOUND","Msg":"x"}}}`, `{"v":1,"error":{}}`,
		`{"v":1,"live":{"rev":1,"tenant_id":"t","recording_id":"r","status":{"Tracks":[{"ID":"a"}]}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeReply(data)
		if err != nil {
			return
		}
		if err := errorFromWire(r.Error); (err == nil) != (r.Error == nil) || err != nil && err.Error() == "" && r.Error.State == nil {
			t.Errorf("%q became %v", data, err)
		}
		newRegistry(time.Minute).replied("one", r.Instance, r.Live)
	})
}

func FuzzStatus(f *testing.F) {
	for _, seed := range []string{`{"v":1,"node":"one","capacity":{"ports_total":9}}`, `{"v":1,"node":"one","draining":true}`,
		`{"v":1,"node":"one","whole":2,"items":[{"rev":1,"tenant_id":"t","recording_id":"r"},{"rev":1,"tenant_id":"t","recording_id":"r","ended":true}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeStatus(statusSubject("one"), data)
		if err != nil {
			return
		}
		r := newRegistry(time.Minute)
		r.apply(time.Now(), s)
		r.candidates()
		r.expire(time.Now().Add(time.Hour))
		if len(r.live) > 0 || len(r.nodes) > 0 {
			t.Errorf("%q: %d recordings, %d nodes outlive their node", data, len(r.live), len(r.nodes))
		}
	})
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
