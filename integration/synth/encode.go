package synth

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
)

// run pipes input through FFmpeg.
func run(ctx context.Context, args []string, input func(io.Writer) error) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "nice", append([]string{"-n", "10", "ffmpeg", "-nostdin", "-v", "error"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	err = errors.Join(input(in), in.Close())
	if err := errors.Join(cmd.Wait(), err); err != nil || stderr.Len() > 0 {
		return nil, fmt.Errorf("encode: error %w, FFmpeg says %q", err, strings.TrimSpace(stderr.String()))
	}
	return out.Bytes(), nil
}

// encode has the pictures from first to before last encoded; the first is a keyframe. It returns one access unit each.
func (s Video) encode(ctx context.Context, first, last, w, h int) ([][]byte, error) {
	keyEvery := 1 << 14
	if s.KeyEvery > 0 {
		keyEvery = s.frames(s.KeyEvery)
	}
	args := []string{"-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", fmt.Sprintf("%dx%d", w, h), "-r", strconv.Itoa(s.FPS), "-i", "-",
		"-threads", "1", "-b:v", "400k", "-g", strconv.Itoa(keyEvery)}
	switch s.Codec {
	case VP8:
		args = append(args, "-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-auto-alt-ref", "0", "-lag-in-frames", "0",
			"-keyint_min", strconv.Itoa(keyEvery), "-f", "ivf", "-")
	case H264:
		args = append(args, "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline",
			"-x264-params", fmt.Sprintf("aud=1:repeat-headers=1:scenecut=0:keyint=%d:min-keyint=%d", keyEvery, keyEvery), "-f", "h264", "-")
	default:
		return nil, fmt.Errorf("encode: codec %q", s.Codec)
	}
	out, err := run(ctx, args, func(to io.Writer) error {
		buf := make([]byte, w*h*3/2)
		for i := w * h; i < len(buf); i++ {
			buf[i] = 128
		}
		for n := first; n < last; n++ {
			draw(buf[:w*h], w, h, n, s.Kind, marked(s.capturedAt(n)))
			if _, err := to.Write(buf); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	split := splitIVF
	if s.Codec == H264 {
		split = splitAnnexB
	}
	units, err := split(out)
	if err == nil && len(units) != last-first {
		err = fmt.Errorf("%d pictures of %d", len(units), last-first)
	}
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", s.Codec, err)
	}
	return units, nil
}

func splitIVF(b []byte) ([][]byte, error) {
	if len(b) < 32 {
		return nil, io.ErrUnexpectedEOF
	}
	var out [][]byte
	for b = b[32:]; len(b) > 0; {
		if len(b) < 12 {
			return nil, io.ErrUnexpectedEOF
		}
		n := int(binary.LittleEndian.Uint32(b))
		if n > len(b)-12 {
			return nil, io.ErrUnexpectedEOF
		}
		out = append(out, b[12:12+n])
		b = b[12+n:]
	}
	return out, nil
}

// splitAnnexB cuts at the access unit delimiters, which it was told to write.
func splitAnnexB(b []byte) ([][]byte, error) {
	delimiter := []byte{0, 0, 0, 1, 9}
	if !bytes.HasPrefix(b, delimiter) {
		return nil, errors.New("no access unit delimiter")
	}
	var out [][]byte
	for len(b) > 0 {
		n := bytes.Index(b[1:], delimiter)
		if n < 0 {
			n = len(b) - 1
		}
		out = append(out, b[:n+1])
		b = b[n+1:]
	}
	return out, nil
}

// splitOgg takes the packets out of an Ogg stream (RFC 3533 §6) of one Opus track, without its two headers (RFC 7845).
func splitOgg(b []byte) ([][]byte, error) {
	var out [][]byte
	var packet []byte
	for len(b) > 0 {
		if len(b) < 27 || string(b[:4]) != "OggS" || len(b) < 27+int(b[26]) {
			return nil, errors.New("not an Ogg page")
		}
		lacing := b[27 : 27+int(b[26])]
		b = b[27+int(b[26]):]
		for _, n := range lacing {
			if int(n) > len(b) {
				return nil, io.ErrUnexpectedEOF
			}
			packet = append(packet, b[:n]...)
			b = b[n:]
			if n < 255 {
				out, packet = append(out, packet), nil
			}
		}
	}
	if len(out) < 3 {
		return nil, io.ErrUnexpectedEOF
	}
	return out[2:], nil
}
