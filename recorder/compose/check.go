package compose

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/dualrec/dualrec/recorder"
)

// maxIndexBytes bounds the moov box that CheckFile reads: about 100 hours.
const maxIndexBytes = 256 << 20

// CheckVideo decodes a segment; see recorder.Composer. A complaint of the decoder is a *DecodeError.
func (c *Composer) CheckVideo(ctx context.Context, annexB io.Reader) (int64, error) {
	var progress bytes.Buffer
	args := append(commonArgs(), "-progress", "pipe:1", "-threads", "1", "-f", "h264", "-i", "pipe:3", "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-")
	stderr, err := c.run(ctx, childRun{what: "check segment", args: args, inputs: []feed{feedReader(annexB)}, outputs: []io.Writer{&progress}})
	if err := complaint("check segment", stderr, err); err != nil {
		return 0, err
	}
	return frameCount(progress.Bytes()), nil
}

// CheckFile decodes an MP4; see recorder.Composer. The index must stand before the media. AudioSamples counts what a player
// would play, at 48 kHz.
func (c *Composer) CheckFile(ctx context.Context, mp4 io.Reader) (recorder.FileFacts, error) {
	head, video, audio, err := readIndex(mp4)
	if err != nil {
		return recorder.FileFacts{}, err
	}
	var progress bytes.Buffer
	var samples byteCounter
	args := append(commonArgs(), "-progress", "pipe:1", "-threads", "1", "-f", "mov", "-i", "pipe:3")
	run := childRun{what: "check file", inputs: []feed{feedReader(io.MultiReader(bytes.NewReader(head), mp4))}, outputs: []io.Writer{&progress}}
	if video {
		args = append(args, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "null", "-")
	}
	if audio {
		// One byte a sample is the least that can be counted.
		args = append(args, "-map", "0:a:0", "-ac", "1", "-ar", "48000", "-c:a", "pcm_u8", "-f", "u8", "pipe:4")
		run.outputs = append(run.outputs, &samples)
	}
	run.args = args
	stderr, err := c.run(ctx, run)
	if err := complaint(run.what, stderr, err); err != nil {
		return recorder.FileFacts{}, err
	}
	facts := recorder.FileFacts{AudioSamples: int64(samples)}
	if video {
		facts.VideoFrames = frameCount(progress.Bytes())
	}
	return facts, nil
}

// complaint turns what the decoder said into an error, also where FFmpeg thinks it did well.
func complaint(what, stderr string, err error) error {
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	if stderr != "" || err != nil {
		return &DecodeError{What: what, Stderr: stderr}
	}
	return nil
}

// frameCount reads the last "frame=" of FFmpeg's -progress.
func frameCount(progress []byte) int64 {
	const key = "frame="
	i := bytes.LastIndex(progress, []byte(key))
	if i < 0 {
		return 0
	}
	line, _, _ := bytes.Cut(progress[i+len(key):], []byte("\n"))
	n, _ := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	return n
}

// readIndex reads the boxes up to moov (ISO/IEC 14496-12 4.2) and tells which kinds of tracks there are.
func readIndex(r io.Reader) (head []byte, video, audio bool, err error) {
	fail := func(format string, args ...any) ([]byte, bool, bool, error) {
		return nil, false, false, &DecodeError{What: "check file", Stderr: fmt.Sprintf(format, args...)}
	}
	var buf bytes.Buffer
	for {
		var box [8]byte
		if _, err := io.ReadFull(r, box[:]); err != nil {
			return fail("the file ends before its index: %v", err)
		}
		name, size := string(box[4:]), int64(binary.BigEndian.Uint32(box[:4]))
		if name == "mdat" {
			return fail("the index does not stand before the media")
		}
		if size < int64(len(box)) || size+int64(buf.Len()) > min(maxIndexBytes, math.MaxInt32) {
			return fail("box %q has %d bytes", name, size)
		}
		buf.Write(box[:])
		if _, err := io.CopyN(&buf, r, size-int64(len(box))); err != nil {
			return fail("box %q is cut: %v", name, err)
		}
		if name == "moov" {
			moov := buf.Bytes()[int64(buf.Len())-size:]
			return buf.Bytes(), bytes.Contains(moov, []byte("vmhd")), bytes.Contains(moov, []byte("smhd")), nil
		}
	}
}

// byteCounter counts what is written to it.
type byteCounter int64

// Write never fails.
func (b *byteCounter) Write(p []byte) (int, error) { *b += byteCounter(len(p)); return len(p), nil }

// feedReader sends a whole stream.
func feedReader(r io.Reader) feed {
	return func(_ context.Context, p *pump) error {
		buf := make([]byte, copyBytes)
		for {
			done := p.activity.waitOutside()
			n, err := r.Read(buf)
			done()
			if n > 0 {
				if _, err := p.Write(buf[:n]); err != nil {
					return err
				}
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read: %w", err)
			}
		}
	}
}
