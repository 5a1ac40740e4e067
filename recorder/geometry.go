package recorder

// Picture is one thing to place on the canvas.
type Picture struct {
	Kind     TrackKind
	Size     Size // of the source, before rotation; zero: a placeholder card, which fills its region
	Rotation int  // 0, 90, 180, 270 clockwise
}

// Placement is where everything goes. Rects are in the order of the pictures; a zero rect means that the layout does not
// show the picture.
type Placement struct {
	Rects    []Rect
	Waveform Rect // zero without a strip
}

// Canvas is the size of every frame of a recording, fixed when it starts: 3200x1080 for side by side in native
// resolution, 1920x1080 for everything else.
func (p Profile) Canvas() Size {
	if p.Layout == SideBySide && p.Resolution != Fit1080p {
		return Size{3200, 1080}
	}
	return Size{1920, 1080}
}

// Place lays pictures out on a canvas:
//
//	SIDE_BY_SIDE  3200x1080              PICTURE_IN_PICTURE        more than one screen, or a strip
//	+-----------------+----------+       +-----------------+       +--------+--------+
//	|                 |          |       |                 |       | screen | screen |
//	|     screen      |  webcam  |       |     screen      |       +--------+--------+
//	|   1920x1080     | 1280x720 |       |          +-----+|       | webcam |        |
//	|                 |          |       |          | cam ||       +--------+--------+
//	+-----------------+----------+       +----------+-----++       | ~~~~ strip ~~~~ |
//	      3/5             2/5               480x270, 24 px         +-----------------+
//
// On another canvas the same shares hold. A picture is scaled by the largest factor that fits its region, keeping its
// aspect, and centred in it; a screen is never enlarged, because text turns soft, but a webcam is. All numbers are even.
// strip reserves the waveform's place at the bottom; the pictures share the rest.
//
// Place knows no track and no time: it is a pure function of its arguments.
func Place(canvas Size, layout Layout, profile Profile, pictures []Picture, strip bool) Placement {
	out := Placement{Rects: make([]Rect, len(pictures))}
	area := Rect{W: even(canvas.W), H: even(canvas.H)}
	if strip {
		h := even(canvas.H / 9)
		out.Waveform = Rect{X: 0, Y: area.H - h, W: area.W, H: h}
		area.H -= h
	}
	shown := shownIn(layout, pictures)
	if crowded(pictures, shown) {
		cells := grid(area, len(shown))
		for i, n := range shown {
			out.Rects[n] = fit(pictures[n], cells[i])
		}
		return out
	}
	for _, n := range shown {
		out.Rects[n] = fit(pictures[n], regionOf(area, layout, profile, pictures[n].Kind))
	}
	return out
}

// shownIn returns the indices of the pictures that a layout shows, in drawing order: screens lie under webcams.
func shownIn(layout Layout, pictures []Picture) []int {
	var screens, webcams []int
	for i, p := range pictures {
		switch {
		case layout == AudioOnly:
		case p.Kind == Screen:
			screens = append(screens, i)
		case p.Kind == Webcam && layout != ScreenOnly:
			webcams = append(webcams, i)
		}
	}
	return append(screens, webcams...)
}

// crowded tells that two pictures would want the same region.
func crowded(pictures []Picture, shown []int) bool {
	n := map[TrackKind]int{}
	for _, i := range shown {
		n[pictures[i].Kind]++
	}
	return n[Screen] > 1 || n[Webcam] > 1
}

// regionOf is the part of the area that a kind has in a layout.
func regionOf(area Rect, layout Layout, profile Profile, kind TrackKind) Rect {
	switch layout {
	case SideBySide:
		left := even(area.W * 3 / 5)
		if kind == Screen {
			return Rect{X: area.X, Y: area.Y, W: left, H: area.H}
		}
		column := Rect{X: area.X + left, Y: area.Y, W: area.W - left, H: area.H}
		return centre(column, Size{column.W, min(column.H, even(column.W*9/16))})
	case PictureInPicture:
		if kind == Screen {
			return area
		}
		margin := even(min(profile.PipMargin, area.W/4, area.H/4))
		w := even(min(profile.PipWidth, area.W-2*margin, (area.H-2*margin)*16/9))
		h := even(w * 9 / 16)
		return Rect{X: area.X + area.W - margin - w, Y: area.Y + area.H - margin - h, W: w, H: h}
	}
	return area
}

// grid divides an area into n equal cells, row by row, as square as can be.
func grid(area Rect, n int) []Rect {
	cols := 1
	for cols*cols < n {
		cols++
	}
	rows := (n + cols - 1) / cols
	w, h := even(area.W/cols), even(area.H/rows)
	cells := make([]Rect, n)
	for i := range cells {
		cells[i] = Rect{X: area.X + i%cols*w, Y: area.Y + i/cols*h, W: w, H: h}
	}
	return cells
}

// fit scales a picture into a region.
func fit(p Picture, region Rect) Rect {
	if p.Size.Zero() {
		return region
	}
	w, h := p.Size.W, p.Size.H
	if p.Rotation == 90 || p.Rotation == 270 {
		w, h = h, w
	}
	num, den := region.W, w // the factor is num/den
	if h*region.W > region.H*w {
		num, den = region.H, h
	}
	if p.Kind == Screen && num > den {
		num, den = 1, 1
	}
	return centre(region, Size{scaled(w, num, den, region.W), scaled(h, num, den, region.H)})
}

// scaled is v·num/den rounded down to even, at least 2 and at most limit.
func scaled(v, num, den, limit int) int { return min(max(even(v*num/den), 2), limit) }

func centre(region Rect, s Size) Rect {
	return Rect{X: region.X + even((region.W-s.W)/2), Y: region.Y + even((region.H-s.H)/2), W: s.W, H: s.H}
}

func even(v int) int { return v &^ 1 }
