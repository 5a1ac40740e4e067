package catalog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/ent/gap"
	"github.com/dualrec/dualrec/ent/nodeid"
	"github.com/dualrec/dualrec/ent/recording"
	"github.com/dualrec/dualrec/ent/segment"
	"github.com/dualrec/dualrec/ent/tag"
	"github.com/dualrec/dualrec/ent/tenancy"
	"github.com/dualrec/dualrec/recorder"
)

func TestBeginKeepsWhatItWasGiven(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		in := beginRow(tenant, "call-1")
		got, created, err := c.Begin(t.Context(), in)
		if err != nil || !created {
			t.Fatalf("Begin = created %v, %v", created, err)
		}
		read, err := c.Recording(t.Context(), tenant, in.RecordingID)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, read) {
			t.Errorf("Begin returned %+v, Recording reads %+v", got, read)
		}
		want := recorder.RecordingRow{TenantID: tenant, ID: in.RecordingID, SessionID: in.SessionID, ExternalSessionID: "call-1", Node: "rec-1",
			Capture: recorder.Pending, Profile: in.Profile, RTCPMux: true, Tracks: in.Tracks, WrappedKey: in.WrappedKey, CreatedAt: got.CreatedAt}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if got.CreatedAt.IsZero() || got.CreatedAt.Location() != time.UTC {
			t.Errorf("created at %v, want an instant in UTC", got.CreatedAt)
		}
		ctx := tenancy.With(t.Context(), tenant)
		row, err := c.ReadClient().Recording.Query().WithSession().WithAgent().WithQueue().WithTagRows().Only(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !row.StartedAt.Equal(epoch.Truncate(time.Microsecond)) || row.Width != 3200 || row.CustomerID != "cust-1" || row.QaScoreSort != catalog.NoScore {
			t.Errorf("recording = %v", row)
		}
		if row.Edges.Queue.Name != "support" || row.Edges.Agent.ExternalID != "agent-7" || row.Edges.Session.SessionType != "inbound" {
			t.Errorf("edges = %+v", row.Edges)
		}
		var meta map[string]map[string]int
		if err := json.Unmarshal(row.Edges.Session.Metadata, &meta); err != nil || meta["crm"]["case"] != 42 {
			t.Errorf("metadata = %s, %v", row.Edges.Session.Metadata, err)
		}
		if len(row.Edges.TagRows) != 2 {
			t.Errorf("%d tags, want 2: a repeated tag is one", len(row.Edges.TagRows))
		}
	})
}

func TestBeginIsIdempotentUnderARace(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		const callers = 20
		tenant := tenantOf(t, c, "Acme")
		rows := make([]recorder.RecordingRow, callers)
		created := make([]bool, callers)
		errs := make([]error, callers)
		var start, done sync.WaitGroup
		start.Add(1)
		for i := range callers {
			done.Go(func() {
				start.Wait()
				rows[i], created[i], errs[i] = c.Begin(t.Context(), beginRow(tenant, "call-1"))
			})
		}
		start.Done()
		done.Wait()
		makers := 0
		for i := range callers {
			if errs[i] != nil {
				t.Fatalf("caller %d: %v", i, errs[i])
			}
			if created[i] {
				makers++
			}
			if rows[i].ID != rows[0].ID || !reflect.DeepEqual(rows[i].Tracks, rows[0].Tracks) {
				t.Errorf("caller %d got %s, caller 0 got %s", i, rows[i].ID, rows[0].ID)
			}
		}
		if makers != 1 {
			t.Errorf("%d callers created, want 1", makers)
		}
		ctx := tenancy.With(t.Context(), tenant)
		for what, n := range map[string]int{
			"recordings": c.ReadClient().Recording.Query().CountX(ctx), "sessions": c.ReadClient().Session.Query().CountX(ctx),
			"queues": c.ReadClient().Queue.Query().CountX(ctx), "agents": c.ReadClient().Agent.Query().CountX(ctx),
		} {
			if n != 1 {
				t.Errorf("%d %s, want 1", n, what)
			}
		}
		starts := 0
		for _, e := range audit(t, c, tenant) {
			if e.Action == "recording.start" {
				starts++
			}
		}
		if starts != 1 {
			t.Errorf("%d audit events of a start, want 1", starts)
		}
	})
}

func TestBeginRefuses(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		first := begin(t, c, tenant, "call-1")
		if err := c.SuspendTenant(t.Context(), tenant, true, alice); err != nil {
			t.Fatal(err)
		}
		_, _, err := c.Begin(t.Context(), beginRow(tenant, "call-2"))
		wantErr(t, "Begin of a suspended tenant", err, recorder.ErrTenantSuspended)
		_, err = c.Profile(t.Context(), tenant, "support")
		wantErr(t, "Profile of a suspended tenant", err, recorder.ErrTenantSuspended)
		again, created, err := c.Begin(t.Context(), beginRow(tenant, "call-1"))
		if err != nil || created || again.ID != first.ID {
			t.Errorf("Begin of a call that runs = %s, %v, %v, want %s", again.ID, created, err, first.ID)
		}
		for _, id := range []string{"", "ten_unknown"} {
			_, _, err = c.Begin(t.Context(), beginRow(id, "call-3"))
			wantErr(t, fmt.Sprintf("Begin of tenant %q", id), err, recorder.ErrNotFound)
			_, err = c.Profile(t.Context(), id, "support")
			wantErr(t, fmt.Sprintf("Profile of tenant %q", id), err, recorder.ErrNotFound)
		}
		if err := c.SuspendTenant(t.Context(), tenant, false, alice); err != nil {
			t.Fatal(err)
		}
		long := beginRow(tenant, strings.Repeat("x", 201))
		_, _, err = c.Begin(t.Context(), long)
		wantErr(t, "Begin with a long external id", err, catalog.ErrInvalid)
		if err != nil && !strings.Contains(err.Error(), "external_id") {
			t.Errorf("%v does not name the field", err)
		}
		_, err = c.Recording(t.Context(), tenant, long.RecordingID)
		wantErr(t, "the refused recording", err, recorder.ErrNotFound)
	})
}

func TestProfile(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		p, err := c.Profile(t.Context(), tenant, "sales")
		if err != nil || p != recorder.DefaultProfile() {
			t.Fatalf("Profile of a new queue = %+v, %v", p, err)
		}
		// Every field differs from the default, so that none can be forgotten.
		other := recorder.Profile{Layout: recorder.PictureInPicture, Resolution: recorder.Fit1080p, FPS: 15, WaveformBurnIn: true,
			AudioMode: recorder.SplitStereo, AbsentWebcam: recorder.WebcamScreenAlone, Passthrough: true, MaxVideoKbps: 900, PipWidth: 320,
			PipMargin: 0, SegmentSeconds: 20, AutoResumeSec: 90, KeyframeScreen: 0, KeyframeWebcam: 0, ReconnectSec: 77}
		a, b := reflect.ValueOf(other), reflect.ValueOf(recorder.DefaultProfile())
		for i := range a.NumField() {
			if a.Field(i).Equal(b.Field(i)) {
				t.Fatalf("the test does not change %s", a.Type().Field(i).Name)
			}
		}
		for _, name := range []string{"sales", "new"} {
			if err := c.SetQueue(t.Context(), tenant, name, other, alice); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Profile(t.Context(), tenant, name); err != nil || got != other {
				t.Errorf("Profile(%s) = %+v, %v", name, got, err)
			}
		}
		before := len(audit(t, c, tenant))
		if err := c.SetQueue(t.Context(), tenant, "sales", other, alice); err != nil || len(audit(t, c, tenant)) != before {
			t.Errorf("setting the same profile again = %v and wrote an audit event", err)
		}
		other.FPS = 7
		wantErr(t, "SetQueue with 7 fps", c.SetQueue(t.Context(), tenant, "sales", other, alice), catalog.ErrInvalid)
		queues, err := c.Queues(t.Context(), tenant)
		if err != nil || len(queues) != 2 || queues[0].Name != "new" || queues[1].Name != "sales" {
			t.Errorf("Queues = %+v, %v", queues, err)
		}
	})
}

func TestTransition(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		id := begin(t, c, tenant, "call-1").ID
		ctx := tenancy.With(t.Context(), tenant)
		start := epoch.Add(3 * time.Second)
		tr := move(id, tenant, recorder.Recording, recorder.Pending)
		tr.Patch = recorder.RecordingPatch{StartedAt: &start, Layout: ptr(recorder.ScreenOnly)}
		if err := c.Transition(t.Context(), tr); err != nil {
			t.Fatal(err)
		}
		row := c.ReadClient().Recording.GetX(ctx, id)
		if row.Capture != recorder.Recording || !row.StartedAt.Equal(start.Truncate(time.Microsecond)) || row.Layout != recorder.ScreenOnly ||
			row.CaptureReason != "because" || !row.CaptureSince.Equal(tr.At.Truncate(time.Microsecond)) {
			t.Errorf("after the transition: %v", row)
		}
		if n := c.ReadClient().Tag.Query().Where(tag.StartedAtEQ(row.StartedAt)).CountX(ctx); n != 2 {
			t.Errorf("%d tags follow the recording's start, want 2", n)
		}

		err := c.Transition(t.Context(), move(id, tenant, recorder.Available, recorder.Uploading))
		var se *recorder.StateError
		if !errors.As(err, &se) || se.Is != recorder.Recording || !slices.Equal(se.Want, []recorder.CaptureState{recorder.Uploading}) || se.RecordingID != id {
			t.Errorf("Transition from the wrong state = %v", err)
		}

		// Progress: the same state, a patch, no action. It is written and not audited.
		events := len(audit(t, c, tenant))
		progress := recorder.Transition{TenantID: tenant, RecordingID: id, To: recorder.Recording,
			Patch: recorder.RecordingPatch{ComposeLagMs: ptr(1500), DurationUs: ptr(int64(7_000_000))}}
		if err := c.Transition(t.Context(), progress); err != nil {
			t.Fatal(err)
		}
		row = c.ReadClient().Recording.GetX(ctx, id)
		if row.ComposeLagMs != 1500 || row.DurationUs != 7_000_000 || !row.CaptureSince.Equal(tr.At.Truncate(time.Microsecond)) {
			t.Errorf("after progress: %v", row)
		}
		if n := len(audit(t, c, tenant)); n != events {
			t.Errorf("progress wrote %d audit events", n-events)
		}

		end := epoch.Add(time.Hour)
		fail := move(id, tenant, recorder.Failed, recorder.Recording)
		fail.Patch = recorder.RecordingPatch{EndedAt: &end, FailureCode: ptr("CAPACITY"), FailureText: ptr("bad \xff" + strings.Repeat("ü", 5000))}
		if err := c.Transition(t.Context(), fail); err != nil {
			t.Fatal(err)
		}
		row = c.ReadClient().Recording.Query().Where(recording.ID(id)).WithSession().OnlyX(ctx)
		if row.EndedAt == nil || !row.EndedAt.Equal(end.Truncate(time.Microsecond)) || row.Edges.Session.EndedAt == nil || row.FailureCode != "CAPACITY" {
			t.Errorf("after the failure: %v", row)
		}
		if len(row.FailureText) > 4096 || !strings.HasPrefix(row.FailureText, "bad \uFFFD") || !strings.HasSuffix(row.FailureText, "ü") {
			t.Errorf("failure text has %d bytes and ends %q", len(row.FailureText), row.FailureText[len(row.FailureText)-4:])
		}
		last := audit(t, c, tenant)
		if e := last[len(last)-1]; e.Action != "recording.test" || e.Object != id || e.Actor != alice || !strings.Contains(string(e.Details), `"to":"FAILED"`) {
			t.Errorf("audit event = %+v", e)
		}
	})
}

func TestConcurrentTransitionsHaveOneWinner(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		id := begin(t, c, tenant, "call-1").ID
		targets := []recorder.CaptureState{recorder.Recording, recorder.Aborted, recorder.Failed, recorder.Paused}
		errs := make([]error, len(targets))
		var done sync.WaitGroup
		for i, to := range targets {
			done.Go(func() { errs[i] = c.Transition(t.Context(), move(id, tenant, to, recorder.Pending)) })
		}
		done.Wait()
		row, err := c.Recording(t.Context(), tenant, id)
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range errs {
			var se *recorder.StateError
			if won := row.Capture == targets[i]; won != (err == nil) || (!won && !errors.As(err, &se)) {
				t.Errorf("state is %s, transition to %s = %v", row.Capture, targets[i], err)
			}
		}
	})
}

func TestSaveTrack(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		row := begin(t, c, tenant, "call-1")
		events := len(audit(t, c, tenant))
		tr := row.Tracks[0]
		tr.State, tr.Codec = recorder.TrackActive, recorder.VP8
		tr.Endpoint = recorder.Endpoint{IP: "203.0.113.9", RTPPort: 40000, RTCPPort: 40001}
		at := time.Date(2026, 11, 20, 4, 0, 0, 1000, time.UTC)
		tr.Stats = recorder.NetStats{Packets: 1, Bytes: 2, RTCPPackets: 3, Lost: 4, Duplicates: 5, Reordered: 6, DroppedForeign: 7, DroppedMalformed: 8,
			Keyframes: 9, KeyframesAsked: 10, FirstPacketAt: at, LastPacketAt: at.Add(time.Second), JitterMs: 1.5, SSRC: 0xfffffffe,
			DroppedUnauthentic: 11, DroppedHeld: 12, DroppedByKernel: 13, Nacked: 14, Repaired: 15}
		if err := c.SaveTrack(t.Context(), tenant, row.ID, tr); err != nil {
			t.Fatal(err)
		}
		got, err := c.Recording(t.Context(), tenant, row.ID)
		if err != nil || !reflect.DeepEqual(got.Tracks[0], tr) {
			t.Errorf("track = %+v, %v\nwant    %+v", got.Tracks[0], err, tr)
		}
		if n := len(audit(t, c, tenant)); n != events+1 {
			t.Errorf("attaching wrote %d audit events, want 1", n-events)
		}
		tr.Stats.Packets, tr.Stats.Bytes = 100, 1<<63+5
		if err := c.SaveTrack(t.Context(), tenant, row.ID, tr); err != nil {
			t.Fatal(err)
		}
		if n := len(audit(t, c, tenant)); n != events+1 {
			t.Errorf("statistics wrote an audit event")
		}
		tr.ID = nodeid.New(nodeid.Track)
		wantErr(t, "SaveTrack of an unknown track", c.SaveTrack(t.Context(), tenant, row.ID, tr), recorder.ErrNotFound)
	})
}

func finishRow(row recorder.RecordingRow) recorder.FinishRow {
	f := recorder.FinishRow{Transition: recorder.Transition{TenantID: row.TenantID, RecordingID: row.ID, From: []recorder.CaptureState{recorder.Pending, recorder.Uploading},
		To: recorder.Available, At: epoch.Add(time.Hour), Actor: alice, Action: "recording.finish", Patch: recorder.RecordingPatch{EndedAt: ptr(epoch.Add(time.Hour))}},
		DurationUs: 3_600_000_000, SizeBytes: 1 << 30, Width: 3200, Height: 1080, VideoCodec: "h264", AudioCodec: "aac", HasGaps: true,
		Tracks: slices.Clone(row.Tracks),
		Copies: []recorder.CopyRow{{Role: recorder.CopyVideo, Target: "local", Key: "t/" + row.ID + "/video.mp4", VersionID: "v1", FileID: "file-1", Size: 1 << 30,
			CiphertextSize: 1<<30 + 999, CiphertextSHA256: []byte(strings.Repeat("h", 32)), Stored: true}}}
	for i := range 620 { // more than one batch
		f.Gaps = append(f.Gaps, recorder.GapRow{TrackID: row.Tracks[i%2].ID, Kind: recorder.GapLost, From: recorder.Micros(i * 1000), To: recorder.Micros(i*1000 + 500), Packets: i, Detail: "d"})
		f.Segments = append(f.Segments, recorder.SegmentRow{Index: i, FromFrame: int64(i) * 300, ToFrame: int64(i+1) * 300, Layout: recorder.SideBySide, Paused: i%7 == 0, SizeBytes: 5, SpoolName: fmt.Sprintf("seg-%05d", i)})
	}
	f.Gaps = append(f.Gaps, recorder.GapRow{Kind: recorder.GapPaused, From: 5, To: 6})
	f.Tracks[0].State = recorder.TrackClosed
	return f
}

func TestFinish(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant := tenantOf(t, c, "Acme")
		row := begin(t, c, tenant, "call-1")
		ctx := tenancy.With(t.Context(), tenant)
		f := finishRow(row)
		f.Tracks = append(f.Tracks, recorder.TrackRow{ID: nodeid.New(nodeid.Track), Kind: recorder.Webcam, State: recorder.TrackClosed})
		for range 2 { // again after a crash: nothing doubles
			if err := c.Finish(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		r := c.ReadClient().Recording.GetX(ctx, row.ID)
		if r.Capture != recorder.Available || r.DurationUs != f.DurationUs || r.SizeBytes != f.SizeBytes || !r.Gappy || r.VideoCodec != "h264" || r.EndedAt == nil {
			t.Errorf("recording = %v", r)
		}
		if n := c.ReadClient().Gap.Query().CountX(ctx); n != len(f.Gaps) {
			t.Errorf("%d gaps, want %d", n, len(f.Gaps))
		}
		if n := c.ReadClient().Gap.Query().Where(gap.TrackIDIsNil()).CountX(ctx); n != 1 {
			t.Errorf("%d gaps of the whole recording, want 1", n)
		}
		s := c.ReadClient().Segment.Query().Where(segment.Idx(619)).OnlyX(ctx)
		if s.ToFrame != 186_000 || s.SpoolName != "seg-00619" {
			t.Errorf("last segment = %v", s)
		}
		got, err := c.Recording(t.Context(), tenant, row.ID)
		if err != nil || len(got.Tracks) != 3 || got.Tracks[0].State != recorder.TrackClosed {
			t.Errorf("tracks = %+v, %v", got.Tracks, err)
		}
		a, err := c.Artifact(t.Context(), tenant, row.ID, recorder.CopyVideo)
		if err != nil || !reflect.DeepEqual(a.Copy, f.Copies[0]) || !a.Watchable || a.Capture != recorder.Available || !reflect.DeepEqual(a.WrappedKey, row.WrappedKey) || a.StoredAt.IsZero() {
			t.Errorf("Artifact = %+v, %v", a, err)
		}
		f.From, f.To = []recorder.CaptureState{recorder.Uploading}, recorder.Partial
		f.Gaps = nil
		var se *recorder.StateError
		if err := c.Finish(t.Context(), f); !errors.As(err, &se) {
			t.Errorf("Finish from the wrong state = %v", err)
		}
		if n := c.ReadClient().Gap.Query().CountX(ctx); n == 0 {
			t.Error("a refused Finish changed the gaps")
		}
	})
}

func TestFinishRefusesForeignTracks(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		tenant, other := tenantOf(t, c, "Acme"), tenantOf(t, c, "Other")
		mine, theirs := begin(t, c, tenant, "call-1"), begin(t, c, other, "call-1")
		f := finishRow(mine)
		f.Gaps = []recorder.GapRow{{TrackID: theirs.Tracks[0].ID, Kind: recorder.GapLost, To: 1}}
		wantErr(t, "a gap of another tenant's track", c.Finish(t.Context(), f), catalog.ErrInvalid)
		f = finishRow(mine)
		f.Tracks[0].ID = theirs.Tracks[0].ID
		wantErr(t, "another tenant's track", c.Finish(t.Context(), f), catalog.ErrExists)
	})
}

func TestUnfinished(t *testing.T) {
	each(t, func(t *testing.T, c *catalog.Catalog) {
		a, b := tenantOf(t, c, "Acme"), tenantOf(t, c, "Other")
		var want []string
		for i, st := range recorder.CaptureState("").Values() {
			to := recorder.CaptureState(st)
			row := begin(t, c, []string{a, b}[i%2], "call-"+st)
			if err := c.Transition(t.Context(), move(row.ID, row.TenantID, to, recorder.Pending)); err != nil {
				t.Fatal(err)
			}
			switch to {
			case recorder.Available, recorder.Partial, recorder.Failed, recorder.Aborted:
			default:
				want = append(want, row.ID)
			}
		}
		elsewhere := beginRow(a, "call-elsewhere")
		elsewhere.Node = "rec-2"
		if _, _, err := c.Begin(t.Context(), elsewhere); err != nil {
			t.Fatal(err)
		}
		rows, err := c.Unfinished(t.Context(), "rec-1")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range rows {
			got = append(got, r.ID)
			if len(r.Tracks) != 2 || r.ExternalSessionID == "" || len(r.WrappedKey.Ciphertext) == 0 {
				t.Errorf("row is not complete: %+v", r)
			}
		}
		if slices.Sort(want); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("Unfinished = %v, want %v", got, want)
		}
	})
}
