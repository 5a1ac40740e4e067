package synth

import "time"

// Marks of the calls.
const (
	MarkEvery = 2 * time.Second // the first is at one second
	markFirst = time.Second
	markLong  = 100 * time.Millisecond
)

// Marks are the instants of the markers that begin before the end of a call of length d.
func Marks(d time.Duration) []time.Duration {
	var out []time.Duration
	for at := markFirst; at < d; at += MarkEvery {
		out = append(out, at)
	}
	return out
}

func marked(at time.Duration) bool {
	return at >= markFirst && (at-markFirst)%MarkEvery < markLong
}

// The strip at the bottom of a picture is a row of cells, white for 1 and black for 0:
//
//	1 0 | 14 bits of the number, highest first | 4 bits of its check
const (
	numberBits = 14
	checkBits  = 4
	cells      = 2 + numberBits + checkBits

	// MaxNumber is the highest number that a picture can have.
	MaxNumber = 1<<numberBits - 1
	// NoNumber: the picture is none of this package's, or it is broken.
	NoNumber = -1

	white, black = 235, 16
)

func stripTop(h int) int { return h - h/7 }

func strip(n int) uint32 {
	return 1<<(cells-1) | uint32(n)<<checkBits | check(n)
}

// check is not 0 for 0, and differs between neighbours in more than one bit.
func check(n int) uint32 {
	u := uint32(n)
	return (u ^ u>>4 ^ u>>8 ^ u>>12 ^ 0x5) * 7 & 0xf
}

// draw fills luma (w×h) with picture n of a source. Screens and faces differ, and everything moves a little from one
// picture to the next, so that a picture that was decoded from a wrong one differs from every right one.
func draw(luma []byte, w, h, n int, kind string, mark bool) {
	top := stripTop(h)
	for y := range top {
		for x := range w {
			luma[y*w+x] = ground(x*patternW/w, y*patternH/h, n, kind)
		}
	}
	bar := (n*6 + 40) % (patternW - 24) * w / patternW
	fill(luma, w, bar, top/8, 24*w/patternW, top-top/4, 60)
	if mark {
		fill(luma, w, w*3/8, top*3/8, w/4, top/4, white)
	}
	bits := strip(n)
	for i := range cells {
		v := byte(black)
		if bits>>(cells-1-i)&1 == 1 {
			v = white
		}
		fill(luma, w, i*w/cells, top, (i+1)*w/cells-i*w/cells, h-top, v)
	}
}

// A picture looks the same in every size.
const patternW, patternH = 320, 180

func ground(x, y, n int, kind string) byte {
	if kind == "screen" {
		if (y/8)%2 == 0 && (x/4*7+y/8*13)%11 < 6 { // lines of something like text, scrolling
			return byte(90 + (x+2*n)%32)
		}
		return 150
	}
	return byte(70 + (x+y+3*n)/4%64)
}

func fill(luma []byte, w, x0, y0, dx, dy int, v byte) {
	for y := y0; y < y0+dy; y++ {
		row := luma[y*w+x0 : y*w+x0+dx]
		for i := range row {
			row[i] = v
		}
	}
}

// Read tells the number of a grey picture of w×h, or NoNumber.
func Read(luma []byte, w, h int) int {
	top := stripTop(h)
	margin := (h - top) / 4
	var bits uint32
	for i := range cells {
		x0, x1 := i*w/cells, (i+1)*w/cells
		quarter := (x1 - x0) / 4
		sum, count := 0, 0
		for y := top + margin; y < h-margin; y++ {
			for x := x0 + quarter; x < x1-quarter; x++ {
				sum += int(luma[y*w+x])
				count++
			}
		}
		if count == 0 {
			return NoNumber
		}
		switch mean := sum / count; {
		case mean > 165:
			bits |= 1 << (cells - 1 - i)
		case mean > 90:
			return NoNumber
		}
	}
	n := int(bits>>checkBits) & MaxNumber
	if bits != strip(n) {
		return NoNumber
	}
	return n
}

// Picture draws picture n of a source as it was before it was encoded.
func (s Video) Picture(n, w, h int) []byte {
	luma := make([]byte, w*h)
	draw(luma, w, h, n, s.Kind, marked(s.capturedAt(n)))
	return luma
}
