package graph

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/recorder"
)

// everything selects every field that a recording has.
const everything = `id capture captureSince captureReason tier disposition startedAt endedAt durationMs sizeBytes layout width height passthrough
 qaScore tags hasGaps composeLagMs expiresAt viewUrl customerId client sessionType failure{code message}
 agent{id externalId displayName} queue{id name} qaLinks{id externalSystem externalId url formName score scale syncedAt}
 session{id externalId metadata startedAt endedAt customerId client sessionType agent{id} queue{name} recordings{id}}
 tracks{id kind state codec stats{packets bytes lost jitterMs firstPacketAt}} segments{index fromMs toMs layout paused sizeBytes}
 gaps{kind track fromMs toMs packets detail}
 bookmarks(first:10){totalCount pageInfo{hasNextPage hasPreviousPage startCursor endCursor} edges{cursor node{id atMs toMs label color author createdAt}}}
 comments(first:10){totalCount edges{cursor node{id atMs body author createdAt resolvedAt bookmark{id}}}}`

func TestRecordingWithEverything(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	a := h.must("a-ADMIN", `query($id:ID!){recording(id:$id){tracks{ingest{ip rtpPort rtcpPort srtpParameters}} `+everything+`}}`, map[string]any{"id": h.a.recording})
	for _, tc := range []struct {
		want any
		path []any
	}{
		{"RECORDING", []any{"capture"}},
		{"HOT", []any{"tier"}},
		{"https://rec.example.com/recordings/" + h.a.recording, []any{"viewUrl"}},
		{nil, []any{"qaScore"}},
		{nil, []any{"durationMs"}},
		{nil, []any{"failure"}},
		{"acme-agent", []any{"agent", "externalId"}},
		{"acme-meta", []any{"session", "metadata", "k"}},
		{h.a.recording, []any{"session", "recordings", 0, "id"}},
		{"SCREEN", []any{"tracks", 0, "kind"}},
		{float64(7), []any{"tracks", 0, "stats", "packets"}},
		{float64(40001), []any{"tracks", 0, "ingest", "rtcpPort"}},
		{"PAUSED", []any{"gaps", 0, "kind"}},
		{nil, []any{"gaps", 0, "track"}},
		{"SCREEN", []any{"gaps", 1, "track"}},
		{float64(1500), []any{"gaps", 1, "fromMs"}},
		{float64(10000), []any{"segments", 0, "toMs"}},
		{"acme-tag", []any{"tags", 0}},
		{float64(1), []any{"bookmarks", "totalCount"}},
		{float64(1234), []any{"bookmarks", "edges", 0, "node", "atMs"}},
		{h.a.bookmark, []any{"comments", "edges", 0, "node", "bookmark", "id"}},
		{float64(80), []any{"qaLinks", 0, "score"}},
	} {
		if got := a.at(append([]any{"recording"}, tc.path...)...); got != tc.want {
			t.Errorf("%v is %v, want %v", tc.path, got, tc.want)
		}
	}
}

func TestLiveStatusIsNewerThanTheRow(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.rec.live[h.a.tenant+"/"+h.a.recording] = recorder.LiveStatus{ComposeLag: 1500 * time.Millisecond,
		Tracks: []recorder.TrackRow{{ID: h.a.track, State: recorder.TrackStalled, Codec: recorder.VP9, Stats: recorder.NetStats{Packets: 99, FirstPacketAt: epoch}}}}
	a := h.must("a-ADMIN", `query($id:ID!){recording(id:$id){composeLagMs tracks{state codec stats{packets firstPacketAt lastPacketAt}}}}`, map[string]any{"id": h.a.recording})
	got := fmt.Sprint(a.at("recording"))
	if want := "map[composeLagMs:1500 tracks:[map[codec:VP9 state:STALLED stats:map[firstPacketAt:2026-03-01T10:00:00Z lastPacketAt:<nil> packets:99]]]]"; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// Whatever one tenant asks for with the other's ids, nothing of the other comes back: no id, no name, no count.
func TestTenantsNeverSeeEachOther(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{MaxComplexity: 200_000})
	const node = `query($id:ID!){node(id:$id){id __typename ... on Recording{capture viewUrl} ... on Session{call:externalId recordings{id}}
		... on Track{kind} ... on Agent{person:externalId} ... on Queue{name} ... on Bookmark{label} ... on Comment{body} ... on QALink{card:externalId}}}`
	reached := 0
	for _, role := range auth.Role("").Values() {
		for _, id := range h.b.ids() {
			vars := map[string]any{"id": id}
			for name, a := range map[string]answer{
				"node":      h.do("a-"+role, node, vars),
				"recording": h.do("a-"+role, `query($id:ID!){recording(id:$id){`+everything+`}}`, vars),
				"session":   h.do("a-"+role, `query($id:ID!){a:session(externalId:$id){id} b:session(externalId:"zeta-call"){id recordings{id}}}`, vars),
				"commands": h.do("a-"+role, `mutation($id:ID!){pauseRecording(input:{recordingId:$id,reason:OTHER}){recording{id capture} userErrors{code}}
					resumeRecording(input:{recordingId:$id}){recording{id} userErrors{code}} grantPlayback(input:{recordingId:$id}){grant{videoUrl} userErrors{code}}
					createBookmark(input:{recordingId:$id,atMs:0,label:"x"}){bookmark{id} userErrors{code}} addComment(input:{recordingId:$id,body:"x"}){comment{id} userErrors{code}}}`, vars),
			} {
				if text := strings.ReplaceAll(a.raw, id, ""); strings.Contains(text, "zeta") || strings.Contains(a.raw, `"id":"`+id) || strings.Contains(a.raw, "https://") {
					t.Errorf("%s with %s by %s: %s", name, id, role, a.raw)
				}
			}
			if a := h.do("b-"+role, node, vars); a.at("node", "id") == id {
				reached++
			}
		}
		list := h.do("a-"+role, `{recordings(first:100){totalCount edges{node{`+everything+`}}}}`, nil)
		if strings.Contains(list.raw, "zeta") || list.at("recordings", "totalCount") != float64(1) {
			t.Errorf("list by %s: %s", role, list.raw)
		}
	}
	if reached < 30 {
		t.Fatalf("the owner reached only %d things: the test looks at nothing", reached)
	}
	if n := len(h.rec.calls) + len(h.play.got); n != 0 {
		t.Fatalf("%d commands went through: %v %v", n, h.rec.calls, h.play.got)
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	second := h.a.call("acme-second", epoch.Add(time.Hour), recorder.Available)
	second.Update().SetQaScoreSort(75).SetDurationUs(5_000_000).ExecX(h.a.ctx)
	first := h.a.recording
	for _, tc := range []struct {
		filter string
		want   []string
		code   string
	}{
		{`{}`, []string{second.ID, first}, ""},
		{`{sessionId:"acme-second"}`, []string{second.ID}, ""},
		{`{sessionId:"zeta-call"}`, nil, ""},
		{`{agent:["acme-agent","other"]}`, []string{second.ID, first}, ""},
		{`{agent:["zeta-agent"]}`, nil, ""},
		{`{agent:[]}`, nil, ""},
		{`{queue:["acme-queue"]}`, []string{second.ID, first}, ""},
		{`{queue:["zeta-queue"]}`, nil, ""},
		{`{customerId:"acme-customer",client:"acme-client",sessionType:"acme-type"}`, []string{second.ID, first}, ""},
		{`{customerId:"nobody"}`, nil, ""},
		{`{tagsAny:["vip","other"]}`, []string{first}, ""},
		{`{tagsAll:["vip","acme-tag"]}`, []string{first}, ""},
		{`{tagsAll:["vip","other"]}`, nil, ""},
		{`{qaScoreMin:70}`, []string{second.ID}, ""},
		{`{qaScoreMin:75,qaScoreMax:75}`, []string{second.ID}, ""},
		{`{qaScoreMax:100}`, []string{second.ID}, ""},
		{`{qaScoreMax:70}`, nil, ""},
		{`{from:"2026-03-01T10:00:00Z",to:"2026-03-01T11:00:00Z"}`, []string{first}, ""},
		{`{from:"2026-03-01T12:00:00+01:00"}`, []string{second.ID}, ""},
		{`{capture:[AVAILABLE,PARTIAL]}`, []string{second.ID}, ""},
		{`{from:"2026-03-02T10:00:00Z",to:"2026-03-01T11:00:00Z"}`, nil, "INVALID_INPUT"},
		{`{client:"` + strings.Repeat("x", 201) + `"}`, nil, "INVALID_INPUT"},
		{`{tagsAny:[` + strings.Repeat(`"x",`, 51) + `]}`, nil, "INVALID_INPUT"},
	} {
		a := h.do("a-ADMIN", `{recordings(first:10,filter:`+tc.filter+`){totalCount edges{node{id}}}}`, nil)
		var got []string
		for i := 0; a.at("recordings", "edges", i) != nil; i++ {
			got = append(got, a.at("recordings", "edges", i, "node", "id").(string))
		}
		if a.code() != tc.code || !slices.Equal(got, tc.want) {
			t.Errorf("%.60s: code %q, got %v, want %v", tc.filter, a.code(), got, tc.want)
		}
		if n, _ := a.at("recordings", "totalCount").(float64); int(n) != len(tc.want) {
			t.Errorf("%.60s: totalCount %v", tc.filter, n)
		}
	}
}

// Every order is walked in both directions over rows of which many are equal: none is lost, none comes twice.
func TestWalkAllPages(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for i := range 12 {
		h.a.call(fmt.Sprint("walk-", i), epoch.Add(time.Duration(i/4)*time.Minute), recorder.Available).
			Update().SetDurationUs(int64(i/3) * 1000).SetQaScoreSort(float64(i/5) * 10).ExecX(h.a.ctx)
	}
	for _, field := range []string{"STARTED_AT", "DURATION", "QA_SCORE"} {
		for _, direction := range []string{"ASC", "DESC"} {
			t.Run(field+direction, func(t *testing.T) {
				order := fmt.Sprintf("orderBy:{field:%s,direction:%s}", field, direction)
				all := walk(h, order, "first", 100)
				if len(all) != 13 {
					t.Fatalf("%d rows", len(all))
				}
				if got := walk(h, order, "first", 5); !slices.Equal(got, all) {
					t.Errorf("forwards %v\nwant %v", got, all)
				}
				got := walk(h, order, "last", 5)
				if !slices.Equal(got, all) {
					t.Errorf("backwards %v\nwant %v", got, all)
				}
			})
		}
	}
}

// walk reads all pages and returns the ids in the list's order.
func walk(h *house, order, dir string, size int) (ids []string) {
	h.t.Helper()
	cursor, more := "", true
	for pages := 0; more && pages < 20; pages++ {
		args := fmt.Sprintf("%s:%d,%s", dir, size, order)
		if cursor != "" {
			args += fmt.Sprintf(",%s:%q", map[string]string{"first": "after", "last": "before"}[dir], cursor)
		}
		a := h.must("a-ADMIN", "{recordings("+args+"){edges{node{id}} pageInfo{hasNextPage hasPreviousPage startCursor endCursor}}}", nil)
		var page []string
		for i := 0; a.at("recordings", "edges", i) != nil; i++ {
			page = append(page, a.at("recordings", "edges", i, "node", "id").(string))
		}
		if dir == "first" {
			ids = append(ids, page...)
			more, _ = a.at("recordings", "pageInfo", "hasNextPage").(bool)
			cursor, _ = a.at("recordings", "pageInfo", "endCursor").(string)
			continue
		}
		ids = append(page, ids...)
		more, _ = a.at("recordings", "pageInfo", "hasPreviousPage").(bool)
		cursor, _ = a.at("recordings", "pageInfo", "startCursor").(string)
	}
	return ids
}

func TestCursorsBelongToTheirList(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	cursor, _ := h.must("a-ADMIN", "{recordings(first:1){edges{cursor}}}", nil).at("recordings", "edges", 0, "cursor").(string)
	for name, tc := range map[string]struct{ token, args string }{
		"other order":     {"a-ADMIN", "orderBy:{field:DURATION}"},
		"other direction": {"a-ADMIN", "orderBy:{field:STARTED_AT,direction:ASC}"},
		"other filter":    {"a-ADMIN", `filter:{client:"x"}`},
		"other tenant":    {"b-ADMIN", ""},
	} {
		a := h.do(tc.token, fmt.Sprintf("{recordings(first:1,after:%q,%s){edges{cursor}}}", cursor, tc.args), nil)
		if a.code() != "INVALID_INPUT" {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
	h.must("a-ADMIN", fmt.Sprintf("{recordings(first:1,after:%q){edges{cursor}}}", cursor), nil)
}

func TestReachWithinATenant(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	h.auth.people["other-agent"] = auth.Principal{TenantID: h.a.tenant, Subject: "someone-else", Role: auth.Agent}
	h.auth.people["other-queue"] = auth.Principal{TenantID: h.a.tenant, Subject: "r", Role: auth.Reviewer, Queues: []string{"another"}}
	h.auth.people["own-queue"] = auth.Principal{TenantID: h.a.tenant, Subject: "r", Role: auth.Reviewer, Queues: []string{"acme-queue"}}
	for token, sees := range map[string]bool{"other-agent": false, "other-queue": false, "own-queue": true, "a-AGENT": true, "a-AUDITOR": true} {
		vars := map[string]any{"rec": h.a.recording, "ses": h.a.session, "cmt": h.a.comment}
		a := h.must(token, `query($rec:ID!,$ses:ID!,$cmt:ID!){recordings(first:5){totalCount} recording(id:$rec){id} session(externalId:"acme-call"){id}
			r:node(id:$rec){id} s:node(id:$ses){id} c:node(id:$cmt){id}}`, vars)
		for _, path := range [][]any{{"recording", "id"}, {"session", "id"}, {"r", "id"}, {"s", "id"}, {"c", "id"}} {
			if (a.at(path...) != nil) != sees {
				t.Errorf("%s, %v: %s", token, path, a.raw)
			}
		}
		if n := a.at("recordings", "totalCount"); (n == float64(1)) != sees {
			t.Errorf("%s counts %v", token, n)
		}
	}
}

func TestIngestAddressesAreForServices(t *testing.T) {
	t.Parallel()
	h := newHouse(t, Config{})
	for role, may := range map[string]bool{"SERVICE": true, "ADMIN": true, "REVIEWER": false, "AGENT": false, "AUDITOR": false} {
		a := h.do("a-"+role, `query($id:ID!){recording(id:$id){tracks{ingest{ip}}}}`, map[string]any{"id": h.a.recording})
		if strings.Contains(a.raw, "192.0.2.7") != may || (a.code() == "FORBIDDEN") == may {
			t.Errorf("%s: %s", role, a.raw)
		}
	}
}

func FuzzTokens(f *testing.F) {
	s, err := newSealer(make([]byte, minSecret))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("purpose", "text", 3)
	f.Add("", "", 0)
	f.Fuzz(func(t *testing.T, purpose, text string, flip int) {
		token := s.seal(purpose, text)
		if len(token) <= maxToken {
			if got, err := s.open(purpose, token); err != nil || got != text {
				t.Fatalf("%q, %v", got, err)
			}
		}
		if _, err := s.open(purpose+"x", token); err == nil {
			t.Fatal("opened for another purpose")
		}
		b := []byte(token)
		b[uint(flip)%uint(len(b))] ^= 1
		if got, err := s.open(purpose, string(b)); err == nil && got != text {
			t.Fatal("a changed token opened as something else")
		}
	})
}
