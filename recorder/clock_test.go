package recorder

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// clockSource is a simulated sender for the clock alone.
type clockSource struct {
	leg    *legClock
	rate   float64
	ppm    float64 // sender against recorder
	rtp0   int64
	hostPM float64 // SFU against recorder
	up     time.Duration
}

func (s clockSource) rtp(capture time.Duration) int64 {
	return s.rtp0 + int64(capture.Seconds()*s.rate*(1+s.ppm*1e-6))
}

func (s clockSource) report(at, wander time.Duration) {
	ntp := s.up + time.Duration(float64(at)*(1+s.hostPM*1e-6))
	s.leg.report(SenderReport{NTP: ntp, RTP: uint32(s.rtp(at - wander))}, t0.Add(at+2*time.Millisecond))
}

// off is the distance of the mapped from the true capture instant.
func (s clockSource) off(capture time.Duration) time.Duration {
	return s.leg.at(s.rtp(capture)).Sub(t0) - capture
}

func (s clockSource) packet(capture, delay time.Duration) {
	now := t0.Add(capture + delay)
	if t, ok := s.leg.stallAt(); ok && t.Before(now) { // as the planner does
		s.leg.stall()
	}
	s.leg.packet(s.rtp(capture), now, false)
}

func newClockSources() (video, audio clockSource) {
	c := newClock()
	return clockSource{leg: c.add("sfu", 90000), rate: 90000, rtp0: 1 << 31, up: 500 * time.Second},
		clockSource{leg: c.add("sfu", 48000), rate: 48000, rtp0: 77, up: 500 * time.Second}
}

// TestClockSkew runs an hour of a call in which everybody's clock is wrong.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		videoPPM, audioPPM float64
		hostPPM            float64
		videoDelay         time.Duration // of the quickest picture
		silence            bool          // no sound from minute 10 to 50
		videoEvery, wander time.Duration
		outliers           int // one of so many reports is 420 ms off
		noReports          bool
		limit              time.Duration
		restartHost        bool
		from               time.Duration
	}{
		{name: "in step", limit: 15 * time.Millisecond},
		{name: "drift apart", videoPPM: 200, audioPPM: -200, limit: 25 * time.Millisecond},
		{name: "drift together", videoPPM: 200, audioPPM: 200, limit: 25 * time.Millisecond},
		{name: "the SFU drifts", hostPPM: 200, limit: 25 * time.Millisecond},
		{name: "all drift", videoPPM: 200, audioPPM: -200, hostPPM: -150, limit: 30 * time.Millisecond},
		{name: "far out", videoPPM: 480, audioPPM: -480, limit: 50 * time.Millisecond},
		{name: "drift without reports", videoPPM: 200, audioPPM: -200, noReports: true, limit: 30 * time.Millisecond},
		{name: "pictures are slow on the way", videoDelay: 90 * time.Millisecond, from: 8 * time.Second, limit: 30 * time.Millisecond},
		{name: "outliers among the reports", outliers: 6, limit: 30 * time.Millisecond},
		{name: "muted for 40 minutes under drift", silence: true, videoPPM: 200, audioPPM: -200, limit: 40 * time.Millisecond},
		{name: "one picture a second", videoEvery: time.Second, videoPPM: 200, audioPPM: -200, limit: 40 * time.Millisecond},
		{name: "the SFU is restarted", restartHost: true, limit: 30 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(5, 5))
			video, audio := newClockSources()
			video.ppm, audio.ppm, video.hostPM, audio.hostPM = c.videoPPM, c.audioPPM, c.hostPPM, c.hostPPM
			every := max(c.videoEvery, 100*time.Millisecond)
			jitter := func(n time.Duration) time.Duration { return time.Duration(rnd.ExpFloat64() * float64(n)) }
			worst, hour := time.Duration(0), time.Hour
			for at := time.Duration(0); at < hour; at += 50 * time.Millisecond {
				silent := c.silence && at > 10*time.Minute && at < 50*time.Minute
				if !silent {
					audio.packet(at, 5*time.Millisecond+jitter(3*time.Millisecond))
				}
				if at%every == 0 {
					video.packet(at, 5*time.Millisecond+c.videoDelay+jitter(15*time.Millisecond))
				}
				wander := time.Duration(rnd.NormFloat64() * float64(8*time.Millisecond))
				if c.outliers > 0 && rnd.IntN(c.outliers) == 0 {
					wander = 420 * time.Millisecond
				}
				if c.restartHost && at == 30*time.Minute {
					video.up, audio.up = -1000*time.Second, -1000*time.Second
				}
				if !c.noReports && at%(1300*time.Millisecond) == 0 {
					video.report(at, wander)
				}
				if !c.noReports && at%(5*time.Second) == 0 && !silent {
					audio.report(at, wander)
				}
				if at > max(c.from, 5*time.Second) && at%time.Second == 0 && !silent && (!c.silence || at < 10*time.Minute || at > 50*time.Minute+5*time.Second) {
					skew := video.off(at-clockLookahead) - audio.off(at-clockLookahead)
					if worst = max(worst, skew, -skew); worst > c.limit {
						t.Fatalf("skew %v at %v, want at most %v", skew, at, c.limit)
					}
				}
			}
			t.Logf("worst skew %v", worst)
		})
	}
}

// TestClockDomains: two browsers publish from one address, and their clocks differ by less than a second. Reports of one
// must not move the other; streams of one CNAME are joined by their reports although their ways differ.
func TestClockDomains(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen, Webcam, AgentAudio)
	from := func(n int, kind TrackKind, host, cname string, up time.Duration) *simLeg {
		params := bytes.Replace(simParams(kind, uint32(1000+n)), []byte(`"cname":"c"`), []byte(`"cname":"`+cname+`"`), 1)
		return attachFrom(t, f, n, kind, params, Source{IP: host, RTPPort: 1}, up)
	}
	screen := from(0, Screen, "10.0.0.1", "browser-a", 1000*time.Second)
	cam := from(1, Webcam, "10.0.0.1", "browser-b", 1000*time.Second+400*time.Millisecond)
	mic := from(2, AgentAudio, "10.0.0.1", "browser-b", 1000*time.Second+400*time.Millisecond)
	cam.delay = func(int) time.Duration { return simDelay + 90*time.Millisecond } // its pictures are slow on the way
	screen.video(secs(0), secs(30), 30, Size{1920, 1080}, keyEvery(100))
	cam.video(secs(0), secs(30), 30, Size{640, 360}, keyEvery(100))
	mic.audio(secs(0), secs(30))
	for _, l := range []*simLeg{screen, cam, mic} {
		l.reports(secs(0.5), secs(30), time.Second, steady)
	}
	stopAt(t, f, secs(30))
	f.sort()
	p, plans := planAll(t, f)
	shown := render(t, p, plans)
	checkShown(t, p, screen, shown[Screen], 0)
	checkShownIn(t, p, cam, shown[Webcam], 8*30, len(shown[Webcam]), 1)
	checkSound(t, p, mic, readSound(t, p.AudioSource(AgentAudio)), 20_000)
}

func TestClockDomainNames(t *testing.T) {
	t.Parallel()
	name := func(ip, cname string) string {
		return clockDomain(LegAttached{Leg: "leg-003", Source: Source{IP: ip}}, cname)
	}
	if again := name("10.0.0.1", "a"); again != name("10.0.0.1", "a") {
		t.Error("one sender has two clocks")
	}
	for _, other := range []string{name("10.0.0.1", "b"), name("10.0.0.2", "a"), name("", "a")} {
		if name("10.0.0.1", "a") == other {
			t.Errorf("shares its clock with %q", other)
		}
	}
	for _, ip := range []string{"", "0.0.0.0", "::"} {
		if got := name(ip, "a"); got != "leg-003" {
			t.Errorf("a leg from %q belongs to %q, want itself", ip, got)
		}
	}
}

// TestClockStall: timestamps that go on as if nothing had happened, 18 s late.
func TestClockStall(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Webcam, AgentAudio)
	cam, mic := attach(t, f, 0, Webcam, secs(0)), attach(t, f, 1, AgentAudio, secs(0))
	cam.video(secs(0), secs(20), 30, Size{640, 360}, keyEvery(50))
	cam.born = cam.born.Add(18 * time.Second)
	cam.video(secs(38), secs(60), 30, Size{640, 360}, keyEvery(50))
	cam.reports(secs(1), secs(20), time.Second, steady)
	cam.reports(secs(39), secs(60), time.Second, steady)
	mic.audio(secs(0), secs(60))
	mic.reports(secs(2), secs(60), 5*time.Second, steady)
	stopAt(t, f, secs(60))
	p, plans := planAll(t, f)
	shown := render(t, p, plans)
	checkShown(t, p, cam, shown[Webcam], 1)
	if shown[Webcam][600] != shown[Webcam][1138] {
		t.Errorf("the stall is not a still picture: %d … %d", shown[Webcam][600], shown[Webcam][1138])
	}
	checkSound(t, p, mic, readSound(t, p.AudioSource(AgentAudio)), 20_000)
	var stalled []Gap
	for _, g := range p.Gaps() {
		if g.Kind == GapStalled {
			stalled = append(stalled, g)
		}
	}
	if len(stalled) != 1 || stalled[0].From < 19_900_000 || stalled[0].To > 38_100_000 || stalled[0].To < 37_900_000 {
		t.Errorf("ledger %+v", p.Gaps())
	}
}

// TestClockSourcePause: sequence + 1, timestamps jump by the real time.
func TestClockSourcePause(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Webcam)
	cam := attach(t, f, 0, Webcam, secs(0))
	cam.video(secs(0), secs(8), 30, Size{640, 360}, keyEvery(50))
	cam.video(secs(12), secs(20), 30, Size{320, 180}, keyEvery(50))
	stopAt(t, f, secs(20))
	p, plans := planAll(t, f)
	checkShown(t, p, cam, render(t, p, plans)[Webcam], 0)
}

// TestClockPacing: a burst of packets that are late by up to 830 ms moves nothing.
func TestClockPacing(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	s.delay = func(n int) time.Duration {
		if n >= 100 && n < 125 { // the pacer drains a keyframe
			return time.Duration(830-33*(n-100)) * time.Millisecond
		}
		return simDelay
	}
	s.video(secs(0), secs(20), 30, Size{1920, 1080}, keyEvery(100))
	stopAt(t, f, secs(20))
	p, plans := planAll(t, f)
	checkShown(t, p, s, render(t, p, plans)[Screen], 0)
}

// TestClockSlowStart: the first packets of a call are its slowest.
func TestClockSlowStart(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen, AgentAudio)
	s, mic := attach(t, f, 0, Screen, secs(0)), attach(t, f, 1, AgentAudio, secs(0))
	s.delay = func(n int) time.Duration { return simDelay + max(0, 700-time.Duration(n)*33)*time.Millisecond }
	s.video(secs(0), secs(20), 30, Size{1920, 1080}, keyEvery(100))
	mic.audio(secs(0), secs(20))
	stopAt(t, f, secs(20))
	p, plans := planAll(t, f)
	checkShown(t, p, s, render(t, p, plans)[Screen], 0)
	checkSound(t, p, mic, readSound(t, p.AudioSource(AgentAudio)), 20_000)
}

// TestClockRestart: another source on the same SSRC; sequence and timestamps begin anywhere.
func TestClockRestart(t *testing.T) {
	t.Parallel()
	f := newMemFolder(DefaultProfile(), Screen)
	s := attach(t, f, 0, Screen, secs(0))
	s.video(secs(0), secs(8), 30, Size{1920, 1080}, keyEvery(1000))
	s.seq, s.rtp0 = s.seq+20000, 12345
	s.video(secs(8), secs(9), 30, Size{1920, 1080}, func(int) bool { return false }) // in the middle of a GOP
	s.video(secs(9), secs(20), 30, Size{1280, 720}, keyEvery(1000))
	stopAt(t, f, secs(20))
	p, plans := planAll(t, f)
	shown := render(t, p, plans)[Screen]
	checkShown(t, p, s, shown, 0)
	if shown[269] != 239 || shown[271] < 269 {
		t.Errorf("frames 269 and 271 show %d and %d: undecodable pictures must not be shown", shown[269], shown[271])
	}
	var frozen Micros
	for _, g := range p.Gaps() {
		if g.Kind == GapFrozen {
			frozen += g.To - g.From
		}
	}
	if frozen < 900_000 || frozen > 1_100_000 {
		t.Errorf("frozen for %v, want 1 s: %+v", frozen, p.Gaps())
	}
}

// TestClockIsMonotone: whatever the reports say, a leg's time never runs backwards.
func TestClockIsMonotone(t *testing.T) {
	t.Parallel()
	f := chaos(t, 11)
	p := newPlanner(t, f)
	last := map[string]Micros{}
	for now := t0; now.Before(secs(45)); now = now.Add(50 * time.Millisecond) {
		if err := p.Advance(now); err != nil {
			t.Fatal(err)
		}
		for _, l := range p.legs {
			if l.lastTime < last[l.name] {
				t.Fatalf("%s runs back from %v to %v", l.name, last[l.name], l.lastTime)
			}
			last[l.name] = l.lastTime
		}
	}
}

// ------------------------------------------------------------------ real calls

type dumpRecord struct {
	at   time.Duration
	rtcp bool
	data []byte
}

// readDump reads an rtptools file; see the READMEs in testdata/media.
func readDump(t testing.TB, path string) []dumpRecord {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := bufio.NewReader(f)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Discard(16); err != nil {
		t.Fatal(err)
	}
	var out []dumpRecord
	for {
		var h [8]byte
		if _, err := io.ReadFull(r, h[:]); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, binary.BigEndian.Uint16(h[:])-8)
		if _, err := io.ReadFull(r, data); err != nil {
			t.Fatal(err)
		}
		out = append(out, dumpRecord{time.Duration(binary.BigEndian.Uint32(h[4:])) * time.Millisecond, binary.BigEndian.Uint16(h[2:]) == 0, data})
	}
}

const mediaDir = "../testdata/media"

// TestClockRealCalls places two calls of a real browser. Where the picture flashes and the tone begins is known by each
// track's quickest packets (sync.json); the clock, which also listens to sender reports, must agree at every marker.
func TestClockRealCalls(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"chrome-vp8", "chrome-h264"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			tracks := map[string]*realTrack{}
			c := newClock()
			for name, rate := range map[string]int64{"screen": 90000, "webcam": 90000, "mic": 48000} {
				tracks[name] = &realTrack{clock: c.add("sfu", int(rate)), rate: rate,
					records: readDump(t, filepath.Join(mediaDir, call, name+"-1.rtpdump"))}
			}
			var markers struct {
				Events []struct{ BeepMs, ScreenMs, WebcamMs float64 }
			}
			raw, err := os.ReadFile(filepath.Join(mediaDir, call, "sync.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(raw, &markers); err != nil || len(markers.Events) != 15 {
				t.Fatalf("sync.json: %v, %d markers", err, len(markers.Events))
			}
			for _, tr := range tracks {
				tr.anchor()
			}
			ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
			var worst time.Duration
			next := 0
			measure := func(now time.Duration) {
				for ; next < 15 && now > ms(markers.Events[next].BeepMs)+clockLookahead; next++ {
					m := markers.Events[next]
					beep := tracks["mic"].off(ms(m.BeepMs))
					for name, flash := range map[string]float64{"screen": m.ScreenMs, "webcam": m.WebcamMs} {
						skew := tracks[name].off(ms(m.BeepMs+flash)) - beep
						worst = max(worst, skew, -skew)
						if skew.Abs() > 40*time.Millisecond {
							t.Errorf("%s: marker %d: the clock is %v off", name, next, skew)
						}
					}
				}
			}
			replay(tracks, measure)
			measure(time.Hour) // what was still held when the call ended
			t.Logf("worst difference to the quickest packets over %d markers: %v", next, worst)
		})
	}
}

// realTrack is a dumped track with its clock by the quickest packet of the whole call.
type realTrack struct {
	clock   *legClock
	rate    int64
	records []dumpRecord
	unwrap  unwrapper
	first   int64
	quick   time.Duration // arrival of timestamp first, by the quickest packet
}

func (r *realTrack) anchor() {
	started := false
	u := unwrapper{rate: r.rate}
	for _, d := range r.records {
		if d.rtcp {
			continue
		}
		p := bareRTP(d)
		u.place(&p)
		if !started {
			started, r.first, r.quick = true, p.RTP, d.at
		}
		r.quick = min(r.quick, d.at-ticksDuration(p.RTP-r.first, r.rate))
	}
	r.unwrap = unwrapper{rate: r.rate}
}

func bareRTP(d dumpRecord) RTPPacket {
	return RTPPacket{Seq: int64(binary.BigEndian.Uint16(d.data[2:])), RTP: int64(binary.BigEndian.Uint32(d.data[4:])), At: t0.Add(d.at)}
}

// off is how far the clock puts the instant from where the quickest packets put it.
func (r *realTrack) off(at time.Duration) time.Duration {
	rtp := r.first + ticksOf(at-r.quick, r.rate)
	return r.clock.at(rtp).Sub(t0) - at
}

func (r *realTrack) feed(d dumpRecord) {
	if d.rtcp {
		ssrc := binary.BigEndian.Uint32(d.data[4:])
		for _, sr := range (simDepacketizers{}).ParseReports(d.data[:28], ssrc) {
			r.clock.report(sr, t0.Add(d.at))
		}
		return
	}
	p := bareRTP(d)
	r.unwrap.place(&p)
	r.clock.packet(p.RTP, p.At, false)
}

func replay(tracks map[string]*realTrack, each func(now time.Duration)) {
	type item struct {
		d dumpRecord
		r *realTrack
	}
	var all []item
	for _, r := range tracks {
		for _, d := range r.records {
			all = append(all, item{d, r})
		}
	}
	slices.SortStableFunc(all, func(a, b item) int { return int(a.d.at - b.d.at) })
	for _, it := range all {
		each(it.d.at)
		it.r.feed(it.d)
	}
}
