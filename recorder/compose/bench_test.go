package compose_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

// Content as calls have it: a page on which little changes, and a head that moves before a still and slightly noisy wall.
const (
	benchPage = "color=c=0xf0f0f0:s=1920x1080:r=30,noise=alls=90:allf=a:all_seed=3,boxblur=2:1,loop=loop=-1:size=1[page];" +
		"color=c=0x3060c0:s=260x40:r=30[box];[page][box]overlay=x='200+mod(n*37,900)':y='300+mod(n*11,400)'"
	benchFace = "color=c=0x707880:s=1280x720:r=30,noise=alls=100:allf=a:all_seed=7,gblur=sigma=12,loop=loop=-1:size=1[wall];" +
		"color=c=0xc09070:s=360x460:r=30,noise=alls=70:allf=a:all_seed=5,gblur=sigma=4,loop=loop=-1:size=1[head];" +
		"[wall][head]overlay=x='450+50*sin(n/17)+15*sin(n/5)':y='130+18*sin(n/11)',noise=alls=5:allf=t"
)

// BenchmarkVideo renders 10 s a time, with and without repeated frames. CPU seconds for each second of the recording are
// of FFmpeg (ffmpeg-s/s) and of this process (go-s/s).
func BenchmarkVideo(b *testing.B) {
	const seconds, fps = 10, 30
	native, full := recorder.Size{W: 3200, H: 1080}, recorder.Size{W: 1920, H: 1080}
	page := encode(b, recorder.VP8, benchPage, full, 5*seconds)
	face := encode(b, recorder.VP8, benchFace, recorder.Size{W: 1280, H: 720}, fps*seconds)
	screen := recorder.Rect{W: 1920, H: 1080}
	side, corner := recorder.Rect{X: 1920, Y: 180, W: 1280, H: 720}, recorder.Rect{X: 1416, Y: 786, W: 480, H: 270}
	webcam := func(rect recorder.Rect, rate int) recorder.Region {
		r := face.region(rect, face.at(grid(rate, fps, seconds)...))
		r.Kind = recorder.Webcam
		return r
	}
	share := func(rate int) recorder.Region { return page.region(screen, page.at(grid(rate, fps, seconds)...)) }
	for _, bb := range []struct {
		name string
		job  func() recorder.VideoJob
	}{
		{"dual/webcam-30", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: native, Regions: []recorder.Region{share(1), webcam(side, 30)}}
		}},
		{"dual/webcam-15", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: native, Regions: []recorder.Region{share(1), webcam(side, 15)}}
		}},
		{"dual/webcam-absent", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: native, Regions: []recorder.Region{share(1), {Rect: side, Kind: recorder.Webcam}}}
		}},
		{"pip/webcam-15", func() recorder.VideoJob {
			return recorder.VideoJob{Canvas: full, Regions: []recorder.Region{share(1), webcam(corner, 15)}}
		}},
		{"screen-only/1", func() recorder.VideoJob { return recorder.VideoJob{Canvas: full, Regions: []recorder.Region{share(1)}} }},
		{"screen-only/5", func() recorder.VideoJob { return recorder.VideoJob{Canvas: full, Regions: []recorder.Region{share(5)}} }},
		{"paused", func() recorder.VideoJob { return recorder.VideoJob{Canvas: native, PausedCard: true} }},
	} {
		for _, way := range []struct {
			name   string
			repeat compose.Switch
		}{{"every-frame", compose.Off}, {"repeats", compose.On}} {
			b.Run(bb.name+"/"+way.name, func(b *testing.B) {
				c := composer(b, func(c *compose.Config) { c.RepeatFrames = way.repeat })
				own, children := cpu(b, syscall.RUSAGE_SELF), cpu(b, syscall.RUSAGE_CHILDREN)
				var size byteCount
				for b.Loop() {
					job := bb.job()
					job.RecordingID, job.FPS, job.Frames, job.MaxKbps, job.QP = "rec", fps, fps*seconds, 4000, 28
					if err := c.Video(b.Context(), job, &size); err != nil {
						b.Fatal(err)
					}
				}
				recorded := float64(b.N * seconds)
				b.ReportMetric((cpu(b, syscall.RUSAGE_CHILDREN)-children).Seconds()/recorded, "ffmpeg-s/s")
				b.ReportMetric((cpu(b, syscall.RUSAGE_SELF)-own).Seconds()/recorded, "go-s/s")
				b.ReportMetric(float64(size)*8/1000/recorded, "kbps")
			})
		}
	}
}

// grid is the slots of a track of so many frames a second.
func grid(rate, fps, seconds int) (slots []int64) {
	for i := range rate * seconds {
		slots = append(slots, int64(i*fps/rate))
	}
	return slots
}

func cpu(b *testing.B, who int) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(who, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

type byteCount int64

func (n *byteCount) Write(p []byte) (int, error) { *n += byteCount(len(p)); return len(p), nil }
