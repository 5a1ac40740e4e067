package recorder

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestPlace(t *testing.T) {
	t.Parallel()
	native, full := Size{3200, 1080}, Size{1920, 1080}
	screen := func(w, h int) Picture { return Picture{Kind: Screen, Size: Size{w, h}} }
	webcam := func(w, h int) Picture { return Picture{Kind: Webcam, Size: Size{w, h}} }
	turned := func(p Picture, by int) Picture { p.Rotation = by; return p }
	card := func(k TrackKind) Picture { return Picture{Kind: k} }
	for _, c := range []struct {
		name   string
		canvas Size
		layout Layout
		strip  bool
		in     []Picture
		want   []Rect
	}{
		{"side by side, native", native, SideBySide, false, []Picture{screen(1920, 1080), webcam(1280, 720)}, []Rect{{0, 0, 1920, 1080}, {1920, 180, 1280, 720}}},
		{"side by side, fit", full, SideBySide, false, []Picture{screen(1920, 1080), webcam(1280, 720)}, []Rect{{0, 216, 1152, 648}, {1152, 324, 768, 432}}},
		{"odd screen", native, SideBySide, false, []Picture{screen(1365, 767)}, []Rect{{278, 156, 1364, 766}}},
		{"shared tab", native, SideBySide, false, []Picture{screen(1918, 1022)}, []Rect{{0, 28, 1918, 1022}}},
		{"4K screen", native, SideBySide, false, []Picture{screen(3840, 2160)}, []Rect{{0, 0, 1920, 1080}}},
		{"ultra-wide screen", native, SideBySide, false, []Picture{screen(3440, 1440)}, []Rect{{0, 138, 1920, 802}}},
		{"4:3 screen", native, SideBySide, false, []Picture{screen(1600, 1200)}, []Rect{{240, 0, 1440, 1080}}},
		{"portrait screen", native, SideBySide, false, []Picture{screen(1080, 1920)}, []Rect{{656, 0, 606, 1080}}},
		{"small screen stays small", native, SideBySide, false, []Picture{screen(640, 360)}, []Rect{{640, 360, 640, 360}}},
		{"tiny screen", native, SideBySide, false, []Picture{screen(1, 1)}, []Rect{{958, 538, 2, 2}}},
		{"hair-thin screen", native, SideBySide, false, []Picture{screen(8000, 3)}, []Rect{{0, 538, 1920, 2}}},
		{"small webcam fills its region", native, SideBySide, false, []Picture{screen(1920, 1080), webcam(320, 180)}, []Rect{{0, 0, 1920, 1080}, {1920, 180, 1280, 720}}},
		{"portrait webcam", native, SideBySide, false, []Picture{webcam(720, 1280)}, []Rect{{2358, 180, 404, 720}}},
		{"webcam on its side", native, SideBySide, false, []Picture{turned(webcam(1280, 720), 90)}, []Rect{{2358, 180, 404, 720}}},
		{"webcam upside down", native, SideBySide, false, []Picture{turned(webcam(1280, 720), 180)}, []Rect{{1920, 180, 1280, 720}}},
		{"4:3 webcam", native, SideBySide, false, []Picture{webcam(640, 480)}, []Rect{{2080, 180, 960, 720}}},
		{"cards", native, SideBySide, false, []Picture{card(Screen), card(Webcam)}, []Rect{{0, 0, 1920, 1080}, {1920, 180, 1280, 720}}},
		{"picture in picture", full, PictureInPicture, false, []Picture{screen(1920, 1080), webcam(640, 360)}, []Rect{{0, 0, 1920, 1080}, {1416, 786, 480, 270}}},
		{"picture in picture, 4:3 webcam", full, PictureInPicture, false, []Picture{screen(1920, 1080), webcam(640, 480)}, []Rect{{0, 0, 1920, 1080}, {1476, 786, 360, 270}}},
		{"picture in picture on the wide canvas", native, PictureInPicture, false, []Picture{screen(1920, 1080), webcam(1280, 720)}, []Rect{{640, 0, 1920, 1080}, {2696, 786, 480, 270}}},
		{"screen only", full, ScreenOnly, false, []Picture{screen(1280, 720), webcam(1280, 720)}, []Rect{{320, 180, 1280, 720}, {}}},
		{"screen only on the wide canvas", native, ScreenOnly, false, []Picture{screen(1920, 1080)}, []Rect{{640, 0, 1920, 1080}}},
		{"audio only", full, AudioOnly, false, []Picture{screen(1920, 1080)}, []Rect{{}}},
		{"two screens", full, SideBySide, false, []Picture{screen(1920, 1080), screen(1920, 1080), webcam(1280, 720)}, []Rect{{0, 0, 960, 540}, {960, 0, 960, 540}, {0, 540, 960, 540}}},
		{"strip", full, PictureInPicture, true, []Picture{screen(1920, 1080), webcam(1280, 720)}, []Rect{{106, 0, 1706, 960}, {1416, 666, 480, 270}}},
		{"strip, side by side", native, SideBySide, true, []Picture{screen(1920, 1080), webcam(1280, 720)}, []Rect{{106, 0, 1706, 960}, {1920, 120, 1280, 720}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := Place(c.canvas, c.layout, DefaultProfile(), c.in, c.strip)
			if fmt.Sprint(got.Rects) != fmt.Sprint(c.want) {
				t.Errorf("got %v, want %v", got.Rects, c.want)
			}
			if c.strip != (got.Waveform.W > 0) {
				t.Errorf("strip %v", got.Waveform)
			}
		})
	}
}

// TestPlaceProperties: whatever comes, it is even, on the canvas, within one step of its aspect, and never an enlarged screen.
func TestPlaceProperties(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		profile := DefaultProfile()
		profile.PipWidth, profile.PipMargin = 160+rnd.IntN(800), rnd.IntN(201)
		canvas := []Size{{3200, 1080}, {1920, 1080}}[rnd.IntN(2)]
		layout := Layout(Layout("").Values()[rnd.IntN(4)])
		var in []Picture
		for range 1 + rnd.IntN(5) {
			in = append(in, Picture{Kind: []TrackKind{Screen, Webcam}[rnd.IntN(2)], Size: Size{1 + rnd.IntN(4100), 1 + rnd.IntN(2400)}, Rotation: 90 * rnd.IntN(4)})
		}
		got := Place(canvas, layout, profile, in, rnd.IntN(2) == 0)
		for i, r := range got.Rects {
			if r == (Rect{}) {
				continue
			}
			if r.X%2+r.Y%2+r.W%2+r.H%2 != 0 || r.X < 0 || r.Y < 0 || r.W < 2 || r.H < 2 || r.X+r.W > canvas.W || r.Y+r.H > canvas.H-got.Waveform.H {
				t.Fatalf("%v %v: picture %d of %+v at %v", canvas, layout, i, in, r)
			}
			w, h := in[i].Size.W, in[i].Size.H
			if in[i].Rotation%180 != 0 {
				w, h = h, w
			}
			if in[i].Kind == Screen && (r.W > max(w, 2) || r.H > max(h, 2)) {
				t.Fatalf("a screen of %dx%d was enlarged to %v", w, h, r)
			}
			if r.W > 2 && r.H > 2 && (float64(r.W)/float64(w) > float64(r.H+2)/float64(h)+1e-9 || float64(r.H)/float64(h) > float64(r.W+2)/float64(w)+1e-9) {
				t.Fatalf("%dx%d became %v", w, h, r)
			}
		}
	}
}

func TestCanvas(t *testing.T) {
	t.Parallel()
	for _, layout := range []Layout{SideBySide, PictureInPicture, ScreenOnly, AudioOnly} {
		for _, res := range []Resolution{Native, Fit1080p} {
			want := Size{1920, 1080}
			if layout == SideBySide && res == Native {
				want = Size{3200, 1080}
			}
			if got := (Profile{Layout: layout, Resolution: res}).Canvas(); got != want {
				t.Errorf("%s %s: %v, want %v", layout, res, got, want)
			}
		}
	}
}
