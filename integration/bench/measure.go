package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/dualrec/dualrec/integration/callplayer/player"
	"github.com/dualrec/dualrec/integration/harness"
	"github.com/dualrec/dualrec/integration/mediacheck"
)

// bench is what the measurements share.
type bench struct {
	options
	dir      string
	say      func(string, ...any)
	captured *player.Call // a real browser's call; its webcam hardly moves
	head     *player.Call // the same with a head that moves, nil if headErr
	headFile string
	headErr  error
}

func (b *bench) prepare(ctx context.Context) error {
	var err error
	if b.captured, err = player.Load(b.media); err != nil {
		return err
	}
	b.say("drawing a talking head")
	b.headFile = filepath.Join(b.dir, "head.ivf")
	frames, err := synthesize(ctx, b.headFile, headPass, player.Period(b.captured))
	if err != nil { // an FFmpeg without libvpx: the rest can be measured
		b.headErr = err
		return ctx.Err()
	}
	b.head, err = withWebcam(b.captured, frames)
	return err
}

// installation is a running server with a tenant and its keys.
type installation struct {
	server          *harness.Server
	service, viewer string
}

const tenant = "bench"

// install starts a server with an empty data folder.
func (b *bench) install(ctx context.Context, name string, args []string) (*installation, error) {
	s, err := harness.New(harness.Options{Bin: b.bin, Data: filepath.Join(b.dir, name), Args: args})
	if err != nil {
		return nil, err
	}
	in := &installation{server: s}
	limit, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.Start(limit); err != nil {
		return nil, err
	}
	if err := s.Tenant(limit, tenant); err != nil {
		return in, err
	}
	if in.service, err = s.APIKey(limit, tenant, "SERVICE"); err != nil {
		return in, err
	}
	in.viewer, err = s.Token(limit, tenant, "bench", "ADMIN")
	return in, err
}

func (in *installation) stop() {
	if in == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_ = in.server.Stop(ctx) // everything of interest has been measured
}

func (in *installation) stat() (stat, error) { return statOf(in.server.Pid()) }

// manyPorts are for more calls than the harness has ports for; they lie below those that kernels hand out by themselves.
var manyPorts = []string{"--port-min", "30000", "--port-max", "31999"}

// with runs f on a new server; args are further flags of it.
func (b *bench) with(ctx context.Context, name string, f func(*installation) error, args ...string) error {
	in, err := b.install(ctx, name, args)
	if err == nil {
		err = f(in)
	}
	in.stop()
	if err != nil && in != nil && ctx.Err() == nil {
		log := in.server.Log.String()
		return fmt.Errorf("%s: %w\nthe end of the server's log:\n%s", name, err, log[max(0, len(log)-4000):])
	}
	return err
}

// play plays one call. atStop is called once, right after stopRecording.
func (b *bench) play(ctx context.Context, in *installation, c *player.Call, queue, id string, length time.Duration, atStop func()) (player.Result, error) {
	var once sync.Once
	r, err := player.Run(ctx, player.Config{Endpoint: in.server.URL + "/graphql", APIKey: in.service, PlaybackKey: in.viewer, Call: c,
		ExternalID: id, Queue: queue, Agent: id, Duration: length, Loop: true, Out: filepath.Join(b.dir, id+".mp4"),
		Poll: 100 * time.Millisecond, Timeout: length + 10*time.Minute,
		Progress: func(p player.Progress) {
			if p.Phase == "compose" {
				once.Do(atStop)
			}
		}})
	if err == nil && r.Capture != "AVAILABLE" {
		err = fmt.Errorf("recording %s is %s, not AVAILABLE", id, r.Capture)
	}
	return r, err
}

// layout is one kind of recording.
type layout struct {
	name    string
	set     []string // flags of queue set
	sources []string // tracks of the call
	head    bool     // with the head that moves
}

func layouts() []layout {
	all := []string{"screen", "webcam", "mic"}
	return []layout{
		{name: "side by side 3200x1080", sources: all},
		{name: "side by side 3200x1080, talking head", sources: all, head: true},
		{name: "FIT_1080P", set: []string{"--resolution", "FIT_1080P"}, sources: all},
		{name: "FIT_1080P, talking head", set: []string{"--resolution", "FIT_1080P"}, sources: all, head: true},
		{name: "picture in picture", set: []string{"--layout", "PICTURE_IN_PICTURE"}, sources: all},
		{name: "picture in picture, talking head", set: []string{"--layout", "PICTURE_IN_PICTURE"}, sources: all, head: true},
		{name: "screen only", set: []string{"--layout", "SCREEN_ONLY"}, sources: []string{"screen", "mic"}},
		{name: "audio only", set: []string{"--layout", "AUDIO_ONLY"}, sources: []string{"mic"}},
	}
}

// usage is what one recording took.
type usage struct {
	name           string
	seconds        float64 // recorded
	live           float64 // CPU s per recorded second: the server process until stop
	after          float64 // the same after stop: check, mux, encrypt, store
	compose        float64 // the same: FFmpeg children
	readyS         float64 // stop → AVAILABLE
	mbps           float64
	bytesPerSecond float64
}

func (u usage) total() float64 { return u.live + u.after + u.compose }

func (b *bench) layouts(ctx context.Context, r *report) error {
	return b.with(ctx, "layouts", func(in *installation) error {
		for i, l := range layouts() {
			if l.head && b.head == nil {
				continue
			}
			u, err := b.one(ctx, in, l, fmt.Sprintf("layout-%d", i), b.duration)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			r.layouts = append(r.layouts, u)
		}
		return nil
	})
}

func (b *bench) longRun(ctx context.Context, r *report) error {
	if !b.long {
		return nil
	}
	return b.with(ctx, "long", func(in *installation) error {
		for _, l := range layouts()[:2] {
			if l.head == (b.head != nil) {
				u, err := b.one(ctx, in, l, "long", longCall)
				r.long = append(r.long, u)
				return err
			}
		}
		return nil
	})
}

// one measures one recording on a server that does nothing else.
func (b *bench) one(ctx context.Context, in *installation, l layout, id string, length time.Duration) (usage, error) {
	u := usage{name: l.name}
	b.say("recording %v: %s", length, l.name)
	if len(l.set) > 0 {
		if _, err := in.server.Command(ctx, slices.Concat([]string{"queue", "set", id, "--tenant", tenant}, l.set)...); err != nil {
			return u, err
		}
	}
	source := b.captured
	if l.head {
		source = b.head
	}
	call, err := source.Select(l.sources...)
	if err != nil {
		return u, err
	}
	before, err := in.stat()
	if err != nil {
		return u, err
	}
	var stopped stat
	result, err := b.play(ctx, in, call, id, id, length, func() { stopped, err = in.stat() })
	if err != nil {
		return u, err
	}
	after, err := in.stat()
	if err != nil {
		return u, err
	}
	file, err := mediacheck.File(ctx, filepath.Join(b.dir, id+".mp4"))
	if err != nil {
		return u, err
	}
	u.seconds = float64(file.DurationMs) / 1000
	per := func(d time.Duration) float64 { return d.Seconds() / u.seconds }
	u.live, u.after, u.compose = per(stopped.self-before.self), per(after.self-stopped.self), per(after.reaped-before.reaped)
	u.readyS = float64(result.ReadyMs) / 1000
	u.bytesPerSecond = float64(file.SizeBytes) / u.seconds
	u.mbps = u.bytesPerSecond * 8 / 1e6
	return u, nil
}

// captureAlone holds every FFmpeg child still (SIGSTOP) while dual calls are recorded, so that the server's processor
// time is that of receiving, writing the spool and planning. The children go on after the calls, and the recordings must
// come out complete all the same. The calls are short enough that no child is taken for stalled.
func (b *bench) captureAlone(ctx context.Context, r *report) error {
	const length = 20 * time.Second
	b.say("recording %d calls at once for %v with FFmpeg held still", liveCalls, length)
	return b.with(ctx, "capture", func(in *installation) error {
		before, err := in.stat()
		if err != nil {
			return err
		}
		hold := holdChildren(in.server.Pid())
		defer hold.release()
		var first sync.Once
		var stopped stat
		var statErr error
		results, err := b.playAll(ctx, in, "capture", length, func() {
			first.Do(func() { stopped, statErr = in.stat() })
			hold.release()
		})
		if err = errors.Join(err, statErr); err != nil {
			return err
		}
		r.capture = (stopped.self - before.self).Seconds() / length.Seconds() / liveCalls
		r.captureHeld = hold.held
		for _, result := range results {
			err = errors.Join(err, checkComplete(result))
		}
		return err
	})
}

// manyCalls of three streams each are what the project's aim for one machine speaks of, twice over.
const manyCalls = 34

// streams records about a hundred streams at once, with FFmpeg held still: what they cost the server, and what memory it
// needs. The queue is an audio-only one, so that receiving, writing and reading all streams is measured and composing them
// afterwards does not take an hour.
func (b *bench) streams(ctx context.Context, r *report) error {
	const length = 20 * time.Second
	b.say("recording %d calls of 3 streams at once for %v with FFmpeg held still", manyCalls, length)
	return b.with(ctx, "streams", func(in *installation) error {
		if _, err := in.server.Command(ctx, "queue", "set", "streams", "--tenant", tenant, "--layout", "AUDIO_ONLY"); err != nil {
			return err
		}
		before, err := in.stat()
		if err != nil {
			return err
		}
		hold := holdChildren(in.server.Pid())
		defer hold.release()
		var first sync.Once
		var stopped stat
		var statErr error
		results, err := b.playSome(ctx, in, manyCalls, "streams", length, func() {
			first.Do(func() { stopped, statErr = in.stat() })
			hold.release()
		})
		if err = errors.Join(err, statErr); err != nil {
			return err
		}
		r.streamsCPU = (stopped.self - before.self).Seconds() / length.Seconds() / (3 * manyCalls)
		r.streamsMB = stopped.rssMB()
		for _, result := range results {
			err = errors.Join(err, checkComplete(result))
		}
		return err
	}, manyPorts...)
}

// playAll plays several calls at once. atStop is called after each stopRecording.
func (b *bench) playAll(ctx context.Context, in *installation, name string, length time.Duration, atStop func()) ([]player.Result, error) {
	return b.playSome(ctx, in, liveCalls, name, length, atStop)
}

func (b *bench) playSome(ctx context.Context, in *installation, n int, name string, length time.Duration, atStop func()) ([]player.Result, error) {
	var playing sync.WaitGroup
	results, errs := make([]player.Result, n), make([]error, n)
	for i := range n {
		playing.Go(func() {
			results[i], errs[i] = b.play(ctx, in, b.captured, name, fmt.Sprintf("%s-%d", name, i), length, atStop)
		})
	}
	playing.Wait()
	return results, errors.Join(errs...)
}

// checkComplete refuses a recording that is shorter than what was played.
func checkComplete(r player.Result) error {
	if int64(r.DurationMs) < r.PlayedMs-500 {
		return fmt.Errorf("recording %s lasts %d ms of the %d ms played", r.RecordingID, r.DurationMs, r.PlayedMs)
	}
	return nil
}

// holder stops the children of a process as they appear.
type holder struct {
	pid  int
	quit chan struct{}
	done chan struct{}
	once sync.Once
	held int // after release: how many were stopped
	pids map[int]bool
}

func holdChildren(pid int) *holder {
	h := &holder{pid: pid, quit: make(chan struct{}), done: make(chan struct{}), pids: map[int]bool{}}
	go h.run()
	return h
}

func (h *holder) run() {
	defer close(h.done)
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-h.quit:
			return
		case <-every.C:
		}
		kids, err := children(h.pid)
		if err != nil {
			continue // read again in a moment
		}
		for _, k := range kids {
			if !h.pids[k.pid] && syscall.Kill(k.pid, syscall.SIGSTOP) == nil {
				h.pids[k.pid] = true
			}
		}
	}
}

// release lets the children go on; idempotent.
func (h *holder) release() {
	h.once.Do(func() {
		close(h.quit)
		<-h.done
		h.held = len(h.pids)
		for pid := range h.pids {
			_ = syscall.Kill(pid, syscall.SIGCONT) // it may have ended
		}
	})
}

// liveCalls is how many recordings run at once while memory and capture are measured.
const liveCalls = 4

// memory compares the resident memory of a new server with and without live recordings. Samples are taken in the
// second half of the calls.
func (b *bench) memory(ctx context.Context, r *report) error {
	b.say("memory of %d calls at once for %v", liveCalls, b.duration)
	return b.with(ctx, "memory", func(in *installation) error {
		idle, err := b.idle(ctx, in, r)
		if err != nil {
			return err
		}
		over := make(chan struct{})
		var first sync.Once
		end := func() { first.Do(func() { close(over) }) }
		var server, kids []float64
		var sampling sync.WaitGroup
		begun := time.Now()
		sampling.Go(func() { server, kids = sampleMemory(in.server.Pid(), begun.Add(b.duration/2), over) })
		_, err = b.playAll(ctx, in, "memory", b.duration, end)
		end()
		sampling.Wait()
		if err != nil {
			return err
		}
		if len(server) == 0 {
			return fmt.Errorf("the calls of %v were too short to take a sample", b.duration)
		}
		r.idleMB, r.liveMB = idle, median(server)
		r.peakMB, r.childrenMB = slices.Max(server), median(kids)
		return nil
	})
}

// idle measures a server that does nothing: processor time over some seconds, and memory.
func (b *bench) idle(ctx context.Context, in *installation, r *report) (float64, error) {
	const length = 4 * time.Second
	before, err := in.stat()
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(length):
	}
	after, err := in.stat()
	r.idle = (after.self - before.self).Seconds() / length.Seconds()
	return after.rssMB(), err
}

func sampleMemory(pid int, from time.Time, over <-chan struct{}) (server, kids []float64) {
	every := time.NewTicker(250 * time.Millisecond)
	defer every.Stop()
	for {
		select {
		case <-over:
			return server, kids
		case now := <-every.C:
			s, err := statOf(pid)
			if err != nil || now.Before(from) {
				continue
			}
			all, _ := children(pid) // none is as good as unknown
			sum := 0.0
			for _, k := range all {
				sum += k.rssMB()
			}
			server, kids = append(server, s.rssMB()), append(kids, sum)
		}
	}
}

// naive is what one would type: both pictures side by side at a constant 30 frames a second. Sound, receiving,
// encrypting and storing are left out, to its advantage.
func (b *bench) naive(ctx context.Context, name, screen, webcam string) (usage, error) {
	b.say("plain FFmpeg over the same pictures: %s", name)
	length := min(b.duration, player.Period(b.captured))
	out := filepath.Join(b.dir, "naive.mp4")
	t := seconds(length)
	cpu, err := ffmpeg(ctx, "-threads", "1", "-i", screen, "-threads", "1", "-i", webcam, "-filter_threads", "1", "-filter_complex_threads", "1",
		"-filter_complex", "[0:v]fps=30,scale=1920:1080[s];[1:v]fps=30,scale=1280:720,pad=1280:1080:0:180[w];[s][w]hstack,format=yuv420p",
		"-t", t, "-threads", "1", "-c:v", "libx264", "-preset", "superfast", "-crf", "26", out)
	if err != nil {
		return usage{}, err
	}
	info, err := os.Stat(out)
	if err != nil {
		return usage{}, err
	}
	s := length.Seconds()
	return usage{name: name, seconds: s, compose: cpu.Seconds() / s, mbps: float64(info.Size()) * 8 / 1e6 / s}, nil
}

func (b *bench) baselines(ctx context.Context, r *report) error {
	screen, err := writeTrack(b.dir, b.captured, "screen", 1920, 1080)
	if err != nil {
		return err
	}
	webcam, err := writeTrack(b.dir, b.captured, "webcam", 1280, 720)
	if err != nil {
		return err
	}
	for _, run := range []struct{ name, webcam string }{{"hstack, superfast, crf 26", webcam}, {"the same, talking head", b.headFile}} {
		if run.webcam == b.headFile && b.headErr != nil {
			continue
		}
		u, err := b.naive(ctx, run.name, screen, run.webcam)
		if err != nil {
			return err
		}
		r.naive = append(r.naive, u)
	}
	return nil
}
