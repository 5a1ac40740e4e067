package mediacheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Rect is a part of the picture, in pixels.
type Rect struct{ X, Y, W, H int }

func (r Rect) crop() string { return fmt.Sprintf("%d:%d:%d:%d", r.W, r.H, r.X, r.Y) }

// Lumas decodes the whole file once, sound included, and returns the mean grey (0…255) of several rectangles of every
// frame: one series per rectangle. Any complaint of the decoder is an error.
func Lumas(ctx context.Context, path string, rects ...Rect) ([][]float64, error) {
	var graph strings.Builder
	fmt.Fprintf(&graph, "[0:v]split=%d", len(rects))
	for i := range rects {
		fmt.Fprintf(&graph, "[s%d]", i)
	}
	for i, r := range rects {
		fmt.Fprintf(&graph, ";[s%d]crop=%s,scale=1:1:flags=area,format=gray[g%d]", i, r.crop(), i)
	}
	args := []string{"-n", "10", "ffmpeg", "-nostdin", "-v", "error", "-i", path}
	if len(rects) > 1 {
		graph.WriteByte(';')
		for i := range rects {
			fmt.Fprintf(&graph, "[g%d]", i)
		}
		fmt.Fprintf(&graph, "vstack=inputs=%d[out]", len(rects))
	} else {
		graph.WriteString(";[g0]null[out]")
	}
	args = append(args, "-filter_complex", graph.String(), "-map", "[out]", "-fps_mode", "passthrough", "-f", "rawvideo", "-", "-map", "0:a?", "-f", "null", "-")
	cmd := exec.CommandContext(ctx, "nice", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if complaint := strings.TrimSpace(stderr.String()); err != nil || complaint != "" {
		return nil, fmt.Errorf("decode %s: error %v, ffmpeg says %q", path, err, complaint)
	}
	series := make([][]float64, len(rects))
	for i, b := range out {
		series[i%len(rects)] = append(series[i%len(rects)], float64(b))
	}
	return series, nil
}

// Grey decodes one rectangle of one frame, one byte per pixel. fps is the file's constant frame rate.
func Grey(ctx context.Context, path string, frame int, fps float64, r Rect) ([]byte, error) {
	out, err := run(ctx, "nice", "-n", "10", "ffmpeg", "-nostdin", "-v", "error", "-ss", fmt.Sprintf("%.6f", max(0, float64(frame)-0.5)/fps), "-i", path,
		"-frames:v", "1", "-vf", "crop="+r.crop()+",format=gray", "-f", "rawvideo", "-")
	if err != nil {
		return nil, err
	}
	if len(out) != r.W*r.H {
		return nil, fmt.Errorf("frame %d of %s: %d pixels, want %d", frame, path, len(out), r.W*r.H)
	}
	return out, nil
}

// Still writes one frame as a PNG, for people to look at.
func Still(ctx context.Context, path string, frame int, fps float64, png string) error {
	_, err := run(ctx, "nice", "-n", "10", "ffmpeg", "-nostdin", "-v", "error", "-y", "-ss", fmt.Sprintf("%.6f", max(0, float64(frame)-0.5)/fps), "-i", path, "-frames:v", "1", png)
	return err
}

// Distance is the mean absolute difference of two grey images, over every fourth pixel of every fourth row: cheap, to
// find which of several pictures is meant.
func Distance(a, b []byte, w int) float64 {
	sum, n := 0, 0
	for y := 0; y+w <= len(a); y += 4 * w {
		for x := y; x < y+w; x += 4 {
			d := int(a[x]) - int(b[x])
			sum += max(d, -d)
			n++
		}
	}
	return float64(sum) / float64(n)
}

// SSIM is the mean structural similarity of two grey images (Wang, Bovik, Sheikh, Simoncelli 2004) over windows of 8×8
// pixels side by side: 1 for equal images.
func SSIM(a, b []byte, w int) float64 {
	const win, n = 8, 64
	const c1, c2 = (0.01 * 255) * (0.01 * 255), (0.03 * 255) * (0.03 * 255)
	h := len(a) / w
	total, windows := 0.0, 0
	for y := 0; y+win <= h; y += win {
		for x := 0; x+win <= w; x += win {
			var sa, sb, saa, sbb, sab int
			for r := range win {
				ra, rb := a[(y+r)*w+x:], b[(y+r)*w+x:]
				for i := range win {
					p, q := int(ra[i]), int(rb[i])
					sa, sb, saa, sbb, sab = sa+p, sb+q, saa+p*p, sbb+q*q, sab+p*q
				}
			}
			ma, mb := float64(sa)/n, float64(sb)/n
			va, vb, cov := float64(saa)/n-ma*ma, float64(sbb)/n-mb*mb, float64(sab)/n-ma*mb
			total += (2*ma*mb + c1) * (2*cov + c2) / ((ma*ma + mb*mb + c1) * (va + vb + c2))
			windows++
		}
	}
	return total / float64(max(windows, 1))
}

// Variance of a grey image or a series: how much there is to see.
func Variance[T byte | float64](v []T) float64 {
	var sum, squares float64
	for _, x := range v {
		sum += float64(x)
		squares += float64(x) * float64(x)
	}
	n := float64(max(len(v), 1))
	return squares/n - sum/n*sum/n
}

// Mean is the mean of an image or a series.
func Mean[T byte | float64](v []T) float64 {
	sum := 0.0
	for _, x := range v {
		sum += float64(x)
	}
	return sum / float64(max(len(v), 1))
}

// Frames decodes the whole file once, sound included, and hands out several rectangles of every frame, each scaled to w×h
// grey pixels, in order. The pictures are valid during the call. Any complaint of the decoder is an error.
func Frames(ctx context.Context, path string, w, h int, rects []Rect, each func(frame int, pictures [][]byte) error) error {
	var graph strings.Builder
	fmt.Fprintf(&graph, "[0:v]split=%d", len(rects))
	for i := range rects {
		fmt.Fprintf(&graph, "[s%d]", i)
	}
	for i, r := range rects {
		fmt.Fprintf(&graph, ";[s%d]crop=%s,scale=%d:%d:flags=area,format=gray[g%d]", i, r.crop(), w, h, i)
	}
	if len(rects) > 1 {
		graph.WriteByte(';')
		for i := range rects {
			fmt.Fprintf(&graph, "[g%d]", i)
		}
		fmt.Fprintf(&graph, "vstack=inputs=%d[out]", len(rects))
	} else {
		graph.WriteString(";[g0]null[out]")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nice", "-n", "10", "ffmpeg", "-nostdin", "-v", "error", "-i", path, "-filter_complex", graph.String(),
		"-map", "[out]", "-fps_mode", "passthrough", "-f", "rawvideo", "-", "-map", "0:a?", "-f", "null", "-")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	err = eachFrame(out, w*h, len(rects), each)
	if err != nil {
		cancel()
	}
	waited := cmd.Wait()
	if err == nil {
		err = waited
	}
	if complaint := strings.TrimSpace(stderr.String()); err != nil || complaint != "" {
		return fmt.Errorf("decode %s: error %w, ffmpeg says %q", path, err, complaint)
	}
	return nil
}

func eachFrame(r io.Reader, size, n int, each func(int, [][]byte) error) error {
	buf := make([]byte, size*n)
	pictures := make([][]byte, n)
	for i := range pictures {
		pictures[i] = buf[i*size : (i+1)*size]
	}
	for frame := 0; ; frame++ {
		_, err := io.ReadFull(r, buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = each(frame, pictures)
		}
		if err != nil {
			return err
		}
	}
}
