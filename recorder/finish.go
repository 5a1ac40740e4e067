package recorder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/dualrec/dualrec/kms"
)

// Names of the blobs of a recording's folder. Those that are uploaded keep their names in the store.
const (
	BlobMovie    = "call.mp4"
	BlobWaveform = "waveform.json"
	BlobManifest = "manifest.json"
	blobAudio    = "audio.adts"
	blobBegin    = "begin.json" // the rows this recording began with, for a database that lost them
)

func segmentBlob(index int) string { return fmt.Sprintf("segment-%06d.h264", index) }

// VerifyError: a finished file is not what was planned; the recording stays in the spool.
type VerifyError struct{ What string }

// Error implements error.
func (e *VerifyError) Error() string { return "recorder: verification failed: " + e.What }

// outcome is everything that composing produced.
type outcome struct {
	segments []SegmentSealed
	audio    *AudioSealed
	frames   int64
	duration Micros
	gaps     []Gap
	broken   int  // segments that could not be rendered and show a card instead
	damaged  bool // parts of the spool could not be read
	missing  []TrackKind
	movie    *ArtifactSealed
	copied   *copied
}

// canvas is the size of the file's pictures.
func (o *outcome) canvas(p Profile) Size {
	if o.copied != nil {
		return o.copied.size
	}
	return p.Canvas()
}

// mux writes the final file from sealed segments and sound, and checks it.
func (r *recording) mux(ctx context.Context, o *outcome) error {
	if err := r.s.roomToCompose(ctx, r); err != nil {
		return err
	}
	in := MuxInput{FPS: r.header.Profile.FPS, Canvas: o.canvas(r.header.Profile), Duration: o.duration, CreatedAt: r.header.CreatedAt, Title: r.id}
	for _, s := range o.segments {
		in.Segments = append(in.Segments, SegmentSource{Frames: s.To - s.From, Open: func() (io.ReadCloser, error) { return r.openBlob(s.Blob.Name) }})
	}
	if o.copied != nil {
		in.Times = o.copied.times
		in.Segments = []SegmentSource{{Frames: o.frames, Open: func() (io.ReadCloser, error) { return r.openBlob(o.copied.blob.Name) }}}
	}
	if o.audio != nil {
		in.Audio = AudioStream{Priming: o.audio.Priming, Open: func() (io.ReadCloser, error) { return r.openBlob(o.audio.Blob.Name) }}
	}
	w, err := r.folder.Create(BlobMovie)
	if err != nil {
		return fmt.Errorf("create %s: %w", BlobMovie, err)
	}
	defer w.Abort()
	if _, err = r.s.deps.Muxer.Mux(ctx, in, w); err != nil {
		if o.copied != nil && ctx.Err() == nil { // not a stream that can stand in an MP4: it must be encoded after all
			return &VerifyError{What: fmt.Sprintf("pass through: %v", err)}
		}
		return fmt.Errorf("mux: %w", err)
	}
	info, err := w.Commit()
	if err != nil {
		return fmt.Errorf("commit %s: %w", BlobMovie, err)
	}
	if err := r.verify(ctx, o); err != nil {
		return err
	}
	o.movie = &ArtifactSealed{Blob: info, Duration: o.duration}
	return r.event(Event{Type: EventArtifactSealed, ArtifactSealed: o.movie})
}

// blobReader reads a blob front to back.
type blobReader struct {
	*io.SectionReader
	blob Blob
}

// Close implements io.Closer.
func (b *blobReader) Close() error { return b.blob.Close() }

func (r *recording) openBlob(name string) (io.ReadCloser, error) {
	b, err := r.folder.Blob(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &blobReader{io.NewSectionReader(b, 0, b.Size()), b}, nil
}

const (
	durationTolerance = Micros(100_000)
	endFrames         = 60 // frames decoded at each end of a file
)

// verify reads the file back through its encryption: structure, durations, and a decode of both ends.
// (Every segment was checked when it was sealed.)
func (r *recording) verify(ctx context.Context, o *outcome) error {
	b, err := r.folder.Blob(BlobMovie)
	if err != nil {
		return fmt.Errorf("open %s: %w", BlobMovie, err)
	}
	defer b.Close()
	m, err := r.s.deps.Muxer.Inspect(b, b.Size())
	if err != nil {
		return fmt.Errorf("inspect %s: %w", BlobMovie, err)
	}
	f := m.Facts()
	wrong := func(format string, args ...any) error { return &VerifyError{What: fmt.Sprintf(format, args...)} }
	switch {
	case !f.Faststart:
		return wrong("moov does not stand before mdat")
	case f.VideoFrames != o.frames:
		return wrong("%d frames, planned %d", f.VideoFrames, o.frames)
	case o.frames > 0 && abs(f.VideoDuration-o.duration) > durationTolerance:
		return wrong("video lasts %v, the recording %v", f.VideoDuration, o.duration)
	case o.audio != nil && abs(f.AudioDuration-o.duration) > durationTolerance:
		return wrong("sound lasts %v, the recording %v", f.AudioDuration, o.duration)
	}
	if o.frames == 0 {
		return nil
	}
	for _, from := range []int64{0, m.LastKeyframe()} {
		n := min(endFrames, o.frames-from)
		rd, err := m.Frames(from, n)
		if err != nil {
			return fmt.Errorf("read frames from %d: %w", from, err)
		}
		got, err := r.s.deps.Composer.CheckVideo(ctx, rd)
		if err != nil && ctx.Err() == nil {
			return wrong("frames from %d do not decode: %v", from, err)
		}
		if err != nil {
			return fmt.Errorf("decode frames from %d: %w", from, err)
		}
		if got != n {
			return wrong("%d of %d frames from frame %d decode", got, n, from)
		}
	}
	return nil
}

func abs(m Micros) Micros { return max(m, -m) }

// Manifest is the JSON that stands next to the file in the store: what the file shows and what it does not.
type Manifest struct {
	Version     int         `json:"version"`
	RecordingID string      `json:"recording_id"`
	Software    string      `json:"software"`
	Epoch       time.Time   `json:"epoch"`
	DurationUs  Micros      `json:"duration_us"`
	FPS         int         `json:"fps"`
	Canvas      Size        `json:"canvas"`
	Layout      Layout      `json:"layout"`
	Passthrough bool        `json:"passthrough"`
	Tracks      []TrackKind `json:"tracks"`
	Missing     []TrackKind `json:"missing,omitempty"`
	Broken      int         `json:"broken_segments,omitempty"`
	Gaps        []Gap       `json:"gaps"`
}

func (r *recording) writeManifest(o *outcome, epoch time.Time) (BlobInfo, error) {
	m := Manifest{Version: 1, RecordingID: r.id, Software: "dualrec", Epoch: epoch.UTC(), DurationUs: o.duration,
		FPS: r.header.Profile.FPS, Canvas: o.canvas(r.header.Profile), Layout: r.header.Profile.Layout, Passthrough: o.copied != nil, Tracks: r.header.Expect,
		Missing: o.missing, Broken: o.broken, Gaps: o.gaps}
	data, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return BlobInfo{}, fmt.Errorf("encode manifest: %w", err)
	}
	return r.writeBlob(BlobManifest, bytes.NewReader(data))
}

// writeBegin keeps the rows in the folder, encrypted, so that the database can be reconciled from it.
func (r *recording) writeBegin(b BeginRow) error {
	data, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("encode %s: %w", blobBegin, err)
	}
	_, err = r.writeBlob(blobBegin, bytes.NewReader(data))
	return err
}

func (r *recording) hasBlob(name string) bool {
	b, err := r.folder.Blob(name)
	return err == nil && b.Close() == nil
}

func (r *recording) readBlob(name string) ([]byte, error) {
	b, err := r.openBlob(name)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

func (r *recording) writeBlob(name string, data io.WriterTo) (BlobInfo, error) {
	w, err := r.folder.Create(name)
	if err != nil {
		return BlobInfo{}, fmt.Errorf("create %s: %w", name, err)
	}
	defer w.Abort()
	if _, err := data.WriteTo(w); err != nil {
		return BlobInfo{}, fmt.Errorf("write %s: %w", name, err)
	}
	return w.Commit()
}

// objectKey is where a blob lies in the store: tenant, day, recording, name.
func (r *recording) objectKey(name string) string {
	return r.header.TenantID + "/" + r.header.CreatedAt.UTC().Format("2006/01/02") + "/" + r.id + "/" + name + ".drenc"
}

// upload stores the blobs, each registered before its first byte is sent. It returns when the store has
// confirmed all of them, or when ctx ends: the spool keeps everything until then.
func (r *recording) upload(ctx context.Context, infos map[CopyRole]BlobInfo, done map[string]*UploadedEvent) ([]CopyRow, error) {
	var rows []CopyRow
	for _, role := range []CopyRole{CopyVideo, CopyWaveform, CopyManifest} {
		info, ok := infos[role]
		if !ok {
			continue
		}
		row := CopyRow{Role: role, Target: r.s.cfg.Target, Key: r.objectKey(info.Name), FileID: kms.BlobFileID(r.id, info.Name),
			Size: info.Size, CiphertextSize: info.CiphertextSize, CiphertextSHA256: info.CiphertextSHA256}
		if up := done[info.Name]; up != nil && up.Key == row.Key && info.Name != BlobManifest { // a manifest is written anew
			row.VersionID, row.Stored = up.VersionID, true
			rows = append(rows, row)
			continue
		}
		err := r.persist(ctx, "register copy", func() error {
			return r.s.deps.Catalog.RegisterCopy(ctx, r.header.TenantID, r.id, row)
		})
		if err != nil {
			return nil, err
		}
		err = r.persist(ctx, "upload "+info.Name, func() error { return r.put(ctx, info, &row) })
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func (r *recording) put(ctx context.Context, info BlobInfo, row *CopyRow) error {
	b, err := r.folder.Blob(info.Name)
	if err != nil {
		return err
	}
	defer b.Close()
	file, size, err := b.Ciphertext()
	if err != nil {
		return err
	}
	defer file.Close()
	got, err := r.s.deps.Store.Put(ctx, row.Key, file, size, info.CiphertextSHA256)
	if err != nil {
		return err
	}
	row.VersionID, row.Stored = got.VersionID, true
	return r.event(Event{Type: EventUploaded, Uploaded: &UploadedEvent{Store: row.Target, Blob: info.Name, Key: row.Key,
		VersionID: row.VersionID, Size: size}})
}

// persist repeats f until it succeeds or ctx ends: an outage of the store or the database delays and never loses.
func (r *recording) persist(ctx context.Context, what string, f func() error) error {
	for attempt := 1; ; attempt++ {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var se *StateError
		if errors.As(err, &se) || errors.Is(err, ErrNotFound) {
			return fmt.Errorf("%s: %w", what, err)
		}
		level, pause := slog.LevelWarn, r.s.cfg.UploadRetry
		if attempt > 4 { // an operator should look; what comes back by itself comes back slowly now
			level, pause = slog.LevelError, min(pause<<min(attempt-4, 6), 20*r.s.cfg.UploadRetry)
		}
		r.s.log.Log(ctx, level, "will try again; the recording is safe in the spool", "what", what, "recording_id", r.id,
			"attempt", attempt, "retry_in", pause, "err", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
