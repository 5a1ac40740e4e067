package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

const startMutation = `mutation($input:StartRecordingInput!){startRecording(input:$input){recording{id capture session{externalId}} userErrors{field message code}}}`

func startInput(more map[string]any) map[string]any {
	in := map[string]any{"externalSessionId": "call-1", "queue": "q", "agent": "x", "tracks": []string{"SCREEN", "AGENT_AUDIO"}}
	for k, v := range more {
		in[k] = v
	}
	return map[string]any{"input": in}
}

func TestStartHandsEverythingOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.rec.startID = h.a.recording
	a := h.must("a-SERVICE", startMutation, startInput(map[string]any{"customerId": "c", "client": "cl", "sessionType": "st", "tags": []string{"t"},
		"startedAt": "2026-03-01T11:00:00+01:00", "metadata": map[string]any{"deep": []int{1}}, "layout": "SCREEN_ONLY", "rtcpMux": true}))
	if a.at("startRecording", "recording", "id") != h.a.recording || fmt.Sprint(a.at("startRecording", "userErrors")) != "[]" {
		t.Fatal(a.raw)
	}
	got := h.rec.started[0]
	want := recorder.StartCommand{TenantID: h.a.tenant, ExternalSessionID: "call-1", Queue: "q", Agent: "x", CustomerID: "c", Client: "cl", SessionType: "st",
		Tags: []string{"t"}, StartedAt: got.StartedAt, Metadata: json.RawMessage(`{"deep":[1]}`), Tracks: []recorder.TrackKind{recorder.Screen, recorder.AgentAudio},
		Layout: recorder.ScreenOnly, RTCPMux: true, Actor: recorder.Actor{Kind: "user", ID: "acme-agent", IP: "192.0.2.99"}}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || !got.StartedAt.Equal(epoch) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

// Every refusal becomes its code and a text for callers; the text of anything else stays inside.
func TestErrorTable(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		err  error
		code string // of the user error; empty: top level
		top  string
		text string
	}{
		{"refusal", &recorder.CommandError{Code: recorder.CodeInvalidInput, Field: []string{"input", "tags"}, Msg: "say less", Err: errSecret}, "INVALID_INPUT", "", "say less"},
		{"wrapped refusal", fmt.Errorf("deep: %w", &recorder.CommandError{Code: recorder.CodeCapacity, Msg: "full", Err: errSecret}), "CAPACITY", "", "full"},
		{"state", &recorder.StateError{RecordingID: "r", Is: recorder.Available, Want: []recorder.CaptureState{recorder.Recording}}, "CONFLICT", "", "AVAILABLE"},
		{"not found", fmt.Errorf("x: %w", recorder.ErrNotFound), "NOT_FOUND", "", "no such"},
		{"suspended", recorder.ErrTenantSuspended, "FORBIDDEN", "", "suspended"},
		{"ports", fmt.Errorf("lease: %w", recorder.ErrNoPorts), "CAPACITY", "", "ports"},
		{"spool", recorder.ErrSpoolFull, "CAPACITY", "", "disk"},
		{"codec", recorder.ErrCodec, "UNSUPPORTED", "", "codec"},
		{"parameters", fmt.Errorf("%w: no codec", recorder.ErrRTPParameters), "INVALID_INPUT", "", "no codec"},
		{"parameters, wrapped", fmt.Errorf("secret: package: %w: no codec", recorder.ErrRTPParameters), "INVALID_INPUT", "", "rtpParameters: no codec"},
		{"key", fmt.Errorf("%w: %w", kms.ErrKeyUnavailable, errSecret), "UNAVAILABLE", "", "key"},
		{"store", recorder.ErrStoreUnavailable, "UNAVAILABLE", "", "store"},
		{"deadline", fmt.Errorf("q: %w", context.DeadlineExceeded), "", "TIMEOUT", "too long"},
		{"unknown", errSecret, "", "INTERNAL", "internal error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t, Config{})
			h.rec.err = tc.err
			a := h.do("a-SERVICE", startMutation, startInput(nil))
			code, _ := a.at("startRecording", "userErrors", 0, "code").(string)
			if code != tc.code || a.code() != tc.top || !strings.Contains(a.raw, tc.text) || strings.Contains(a.raw, "secret") {
				t.Fatalf("%s", a.raw)
			}
			if tc.top == "INTERNAL" {
				id, _ := a.Errors[0].Extensions["requestId"].(string)
				if log := h.log.String(); id == "" || !strings.Contains(log, id) || !strings.Contains(log, errSecret.Error()) {
					t.Fatalf("request id %q, log %s", id, log)
				}
			}
		})
	}
}

// CAPACITY says what is used up, and nothing else has a reason.
func TestRefusalReasons(t *testing.T) {
	t.Parallel()
	const mutation = `mutation ($input: StartRecordingInput!) { startRecording(input: $input) { userErrors { code reason } } }`
	for _, tc := range []struct {
		err  error
		want any
	}{
		{&recorder.CommandError{Code: recorder.CodeCapacity, Reason: recorder.RefusedEncoder, Msg: "late"}, "ENCODER"},
		{fmt.Errorf("lease: %w", recorder.ErrNoPorts), "PORTS"},
		{recorder.ErrSpoolFull, "DISK"},
		{recorder.ErrCodec, nil},
		{&recorder.CommandError{Code: recorder.CodeConflict, Msg: "no"}, nil},
	} {
		h := newHouse(t, Config{})
		h.rec.err = tc.err
		a := h.do("a-SERVICE", mutation, startInput(nil))
		if got := a.at("startRecording", "userErrors", 0, "reason"); got != tc.want || a.at("startRecording", "userErrors", 0, "code") == nil {
			t.Errorf("%v: %s", tc.err, a.raw)
		}
	}
}

func TestRefusedBeforeTheService(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for _, tc := range []struct{ name, mutation, code, field string }{
		{"SRTP of no suite", `attachTrack(input:{recordingId:"REC",kind:SCREEN,rtpParameters:{},source:{rtpPort:5},srtpParameters:{cryptoSuite:"NULL",keyBase64:"x"}})`, "INVALID_INPUT", "input.srtpParameters"},
		{"SRTP of a short key", `attachTrack(input:{recordingId:"REC",kind:SCREEN,rtpParameters:{},source:{rtpPort:5},srtpParameters:{cryptoSuite:"AEAD_AES_128_GCM",keyBase64:"eA=="}})`, "INVALID_INPUT", "input.srtpParameters"},
		{"port 0", `attachTrack(input:{recordingId:"REC",kind:SCREEN,rtpParameters:{},source:{rtpPort:0}})`, "INVALID_INPUT", "input.source"},
		{"port too high", `attachTrack(input:{recordingId:"REC",kind:SCREEN,rtpParameters:{},source:{rtpPort:5,rtcpPort:65536}})`, "INVALID_INPUT", "input.source"},
		{"auto resume", `pauseRecording(input:{recordingId:"REC",reason:PAYMENT,autoResumeAfterSeconds:0})`, "INVALID_INPUT", "input.autoResumeAfterSeconds"},
		{"bookmark before the start", `createBookmark(input:{recordingId:"REC",atMs:-1,label:"x"})`, "INVALID_INPUT", "input.atMs"},
		{"bookmark backwards", `createBookmark(input:{recordingId:"REC",atMs:5,toMs:5,label:"x"})`, "INVALID_INPUT", "input.toMs"},
		{"bookmark without label", `createBookmark(input:{recordingId:"REC",atMs:5,label:""})`, "INVALID_INPUT", "input.label"},
		{"empty comment", `addComment(input:{recordingId:"REC",body:""})`, "INVALID_INPUT", "input.body"},
		{"foreign bookmark", `addComment(input:{recordingId:"REC",body:"x",bookmarkId:"FOREIGN"})`, "NOT_FOUND", "input.bookmarkId"},
		{"lifetime", `grantPlayback(input:{recordingId:"REC",ttlSeconds:0})`, "INVALID_INPUT", "input.ttlSeconds"},
		{"grant for nothing", `grantPlayback(input:{recordingId:"rec_none"})`, "NOT_FOUND", ""},
		{"pause of nothing", `pauseRecording(input:{recordingId:"rec_none",reason:HOLD})`, "NOT_FOUND", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			m := strings.NewReplacer("REC", h.a.recording, "FOREIGN", h.b.bookmark).Replace(tc.mutation)
			a := h.must("a-ADMIN", "mutation{x:"+m+"{userErrors{code field message}}}", nil)
			field := ""
			if l, ok := a.at("x", "userErrors", 0, "field").([]any); ok {
				field = strings.Trim(strings.ReplaceAll(fmt.Sprint(l), " ", "."), "[]")
			}
			if a.at("x", "userErrors", 0, "code") != tc.code || field != tc.field {
				t.Fatalf("%s", a.raw)
			}
		})
	}
	t.Cleanup(func() {
		if len(h.rec.calls) != 0 {
			t.Errorf("the service was called: %v", h.rec.calls)
		}
	})
}

// TestSRTP: the suite reaches the service, the SFU's key does, and the recorder's own is shown to whoever may wire an SFU.
func TestSRTP(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	own := recorder.SRTPParameters{Suite: recorder.AEADAES128GCM, Key: []byte("0123456789012345678901234567")}
	h.rec.mu.Lock()
	h.rec.startID = h.a.recording
	h.rec.live = map[string]recorder.LiveStatus{h.a.tenant + "/" + h.a.recording: {Capture: recorder.Recording,
		Tracks: []recorder.TrackRow{{ID: h.a.track, Kind: recorder.Screen, SRTP: own, Endpoint: recorder.Endpoint{IP: "192.0.2.9", RTPPort: 40000}}}}}
	h.rec.mu.Unlock()
	a := h.must("a-SERVICE", `mutation{startRecording(input:{externalSessionId:"e",queue:"q",agent:"a",tracks:[SCREEN],srtpCryptoSuite:AEAD_AES_128_GCM}){
		recording{tracks{ingest{rtpPort srtpParameters}}} userErrors{message}}}`, nil)
	if got := a.at("startRecording", "recording", "tracks", 0, "ingest", "srtpParameters", "keyBase64"); got != "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nw==" {
		t.Errorf("connect() would get %v: %s", got, a.raw)
	}
	h.must("a-SERVICE", `mutation($id:ID!){attachTrack(input:{recordingId:$id,kind:SCREEN,rtpParameters:{},source:{rtpPort:5},
		srtpParameters:{cryptoSuite:"AEAD_AES_128_GCM",keyBase64:"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nw=="}}){userErrors{message}}}`, map[string]any{"id": h.a.recording})
	h.rec.mu.Lock()
	defer h.rec.mu.Unlock()
	if len(h.rec.started) != 1 || h.rec.started[0].SRTPSuite != recorder.AEADAES128GCM || len(h.rec.attach) != 1 || !h.rec.attach[0].SRTP.Equal(own) {
		t.Errorf("started %+v, attached %+v", h.rec.started, h.rec.attach)
	}
}

func TestCommandsOfARecording(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	params := `{"codecs":[{"mimeType":"video/VP8","payloadType":101,"clockRate":90000}],"encodings":[{"ssrc":7}],"rtcp":{"cname":"c"}}`
	var p any
	if err := json.Unmarshal([]byte(params), &p); err != nil {
		t.Fatal(err)
	}
	a := h.must("a-ADMIN", `mutation($id:ID!,$p:JSON!){
		attachTrack(input:{recordingId:$id,kind:SCREEN,rtpParameters:$p,source:{ip:"192.0.2.1",rtpPort:5000,rtcpPort:5001},producerId:"pr"}){track{id kind} userErrors{message}}
		pauseRecording(input:{recordingId:$id,reason:PAYMENT,autoResumeAfterSeconds:60}){recording{id} userErrors{message}}
		resumeRecording(input:{recordingId:$id}){recording{id} userErrors{message}}
		detachTrack(input:{recordingId:$id,kind:SCREEN}){track{id} userErrors{message}}
		setLayout(input:{recordingId:$id,layout:PICTURE_IN_PICTURE}){recording{id} userErrors{message}}
		stopRecording(input:{recordingId:$id}){recording{id} userErrors{message}}
		grantPlayback(input:{recordingId:$id,ttlSeconds:30,purpose:"case 7"}){grant{videoUrl waveformUrl expiresAt refreshAfter} userErrors{message}}
		createBookmark(input:{recordingId:$id,atMs:2000,toMs:3000,label:"here",color:"red"}){bookmark{id atMs toMs label color author} userErrors{message}}
	}`, map[string]any{"id": h.a.recording, "p": p})
	if strings.Contains(a.raw, "message") || a.at("attachTrack", "track", "id") != h.a.track || a.at("detachTrack", "track", "id") != h.a.track {
		t.Fatal(a.raw)
	}
	if got := strings.Join(h.rec.calls, ","); strings.Count(got, h.a.tenant+" "+h.a.recording) != 6 || !strings.HasPrefix(got, "attach ") || !strings.Contains(got, "layout PICTURE_IN_PICTURE "+h.a.tenant) {
		t.Errorf("calls %s", got)
	}
	if c := h.rec.attach[0]; c.Source != (recorder.Source{IP: "192.0.2.1", RTPPort: 5000, RTCPPort: 5001}) || c.ProducerID != "pr" {
		t.Errorf("attach %+v", c)
	}
	if c := h.rec.paused[0]; c.AutoResume != time.Minute || c.Reason != recorder.PausePayment {
		t.Errorf("pause %+v", c)
	}
	if c := h.play.got[0]; !c.Video || c.TTL != 30*time.Second || c.Purpose != "case 7" || c.RecordingID != h.a.recording {
		t.Errorf("grant %+v", c)
	}
	if a.at("createBookmark", "bookmark", "toMs") != float64(3000) {
		t.Error(a.raw)
	}
	b, _ := a.at("createBookmark", "bookmark", "id").(string)
	c := h.must("a-REVIEWER", `mutation($id:ID!,$b:ID!){addComment(input:{recordingId:$id,bookmarkId:$b,body:"look"}){comment{atMs body bookmark{id}} userErrors{message}}}`,
		map[string]any{"id": h.a.recording, "b": b})
	if c.at("addComment", "comment", "atMs") != float64(2000) || c.at("addComment", "comment", "bookmark", "id") != b {
		t.Error(c.raw)
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for _, tc := range []struct{ op, allowed string }{
		{`query{ingestCapabilities}`, "SERVICE ADMIN"},
		{`mutation{stopRecording(input:{recordingId:"REC"}){userErrors{code}}}`, "SERVICE ADMIN"},
		{`mutation{pauseRecording(input:{recordingId:"REC",reason:HOLD}){userErrors{code}}}`, "SERVICE AGENT SUPERVISOR ADMIN"},
		{`mutation{grantPlayback(input:{recordingId:"REC"}){userErrors{code}}}`, "AGENT REVIEWER SUPERVISOR ADMIN"},
		{`mutation{revokePlayback(input:{grantId:"x"}){userErrors{code}}}`, "SUPERVISOR ADMIN"},
		{`mutation{createBookmark(input:{recordingId:"REC",atMs:1,label:"l"}){userErrors{code}}}`, "SERVICE AGENT REVIEWER SUPERVISOR ADMIN"},
		{`query{recording(id:"REC"){id}}`, "SERVICE AGENT REVIEWER SUPERVISOR ADMIN AUDITOR"},
	} {
		for _, role := range []string{"SERVICE", "AGENT", "REVIEWER", "SUPERVISOR", "ADMIN", "AUDITOR"} {
			a := h.do("a-"+role, strings.ReplaceAll(tc.op, "REC", h.a.recording), nil)
			if allowed := strings.Contains(tc.allowed, role); (a.code() == "FORBIDDEN") == allowed {
				t.Errorf("%s %s: %s", role, tc.op, a.raw)
			}
		}
	}
}

func TestRevokePlayback(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	grantFor := func(e *estate, id string) {
		e.db.Grant.Create().SetID(id).SetTenantID(e.tenant).SetRecordingID(e.recording).SetAsset("video").SetViewer("v").SetPurpose("").SetIP("").
			SetDisposition("inline").SetIssuedAt(epoch).SetExpiresAt(epoch.Add(time.Hour)).SaveX(e.ctx)
	}
	grantFor(h.a, "video-grant")
	grantFor(h.a, "waveform-grant")
	grantFor(h.b, "foreign-grant")
	h.auth.people["other-queue"] = auth.Principal{TenantID: h.a.tenant, Subject: "s", Role: auth.Supervisor, Queues: []string{"another"}}
	const mutation = `mutation($g:ID!){revokePlayback(input:{grantId:$g}){grantId userErrors{field code message}}}`
	for _, tc := range []struct{ name, token, id string }{
		{"unknown", "a-ADMIN", "nobody"}, {"empty", "a-ADMIN", ""}, {"of another tenant", "a-ADMIN", "foreign-grant"},
		{"one of two of another tenant", "a-ADMIN", "video-grant.foreign-grant"}, {"twice the same", "a-ADMIN", "video-grant.video-grant"},
		{"too many", "a-ADMIN", strings.Repeat("video-grant.", 100)}, {"of a queue out of reach", "other-queue", "video-grant"},
	} {
		a := h.must(tc.token, mutation, map[string]any{"g": tc.id})
		if a.at("revokePlayback", "userErrors", 0, "code") != "NOT_FOUND" || a.at("revokePlayback", "grantId") != nil || strings.Contains(a.raw, "zeta") {
			t.Errorf("%s: %s", tc.name, a.raw)
		}
	}
	if len(h.play.revoked) != 0 {
		t.Fatalf("revoked %+v", h.play.revoked)
	}
	g := h.must("a-REVIEWER", `mutation($id:ID!){grantPlayback(input:{recordingId:$id}){grant{grantId} userErrors{code}}}`, map[string]any{"id": h.a.recording})
	id := g.at("grantPlayback", "grant", "grantId")
	if a := h.must("a-SUPERVISOR", mutation, map[string]any{"g": id}); a.at("revokePlayback", "grantId") != id || strings.Contains(a.raw, "code") {
		t.Fatal(a.raw)
	}
	actor := recorder.Actor{Kind: "user", ID: "acme-agent", IP: "192.0.2.99"}
	want := []RevokeCommand{{h.a.tenant, "video-grant", actor}, {h.a.tenant, "waveform-grant", actor}}
	if !slices.Equal(h.play.revoked, want) {
		t.Errorf("revoked %+v, want %+v", h.play.revoked, want)
	}
}

func TestMediaOfAConfinedKey(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.auth.people["confined"] = auth.Principal{TenantID: h.a.tenant, Subject: "sfu", KeyID: "k", Role: auth.Service,
		Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	const mutation = `mutation($id:ID!,$ip:String,$p:JSON!){attachTrack(input:{recordingId:$id,kind:SCREEN,rtpParameters:$p,source:{ip:$ip,rtpPort:5000}}){userErrors{field code}}}`
	for _, tc := range []struct {
		token   string
		ip      any
		refused bool
	}{
		{"confined", "192.0.2.9", false}, {"confined", "2001:db8::9", false}, {"confined", "198.51.100.1", true}, {"confined", "0.0.0.0", true},
		{"confined", nil, true}, {"confined", "", true}, {"confined", "sfu.example.com", true}, {"a-SERVICE", "198.51.100.1", false}, {"a-SERVICE", nil, false},
	} {
		before := len(h.rec.attach)
		a := h.must(tc.token, mutation, map[string]any{"id": h.a.recording, "ip": tc.ip, "p": map[string]any{}})
		if refused := strings.Contains(a.raw, "FORBIDDEN"); refused != tc.refused || refused == (len(h.rec.attach) > before) {
			t.Errorf("%s %v: %s", tc.token, tc.ip, a.raw)
		}
	}
}
