package compose_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

// claiming is a VP8 keyframe whose header claims another size (RFC 6386 9.1). The decoder believes it and makes room
// before it finds the rest missing.
func claiming(t *testing.T, size recorder.Size) clip {
	t.Helper()
	honest := encode(t, recorder.VP8, "color=red:s=320x180", recorder.Size{W: 320, H: 180}, 1)
	data := bytes.Clone(honest.frames[0].Data)
	binary.LittleEndian.PutUint16(data[6:], uint16(size.W))
	binary.LittleEndian.PutUint16(data[8:], uint16(size.H))
	return clip{codec: recorder.VP8, size: size, frames: []recorder.Frame{{Key: true, Data: data}}}
}

// TestOversizedPicture: FFmpeg decodes no picture that a small packet blows up to gigabytes, and the largest that it may
// decode is not refused for its size.
func TestOversizedPicture(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		size    recorder.Size
		refused bool
	}{
		{"a square of hundreds of megapixels", recorder.Size{W: 16000, H: 16000}, true},
		{"a line too much", recorder.Size{W: 8192, H: 4321}, true},
		{"the largest", recorder.Size{W: 8192, H: 4320}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := claiming(t, tc.size)
			job := recorder.VideoJob{RecordingID: "rec", Canvas: recorder.Size{W: 640, H: 360}, FPS: 30, Frames: 3, MaxKbps: 4000,
				Regions: []recorder.Region{c.region(recorder.Rect{W: 640, H: 360}, c.source())}}
			err := composer(t).Video(t.Context(), job, &bytes.Buffer{})
			var exit *compose.ExitError
			refused := errors.As(err, &exit) && strings.Contains(exit.Stderr, "max pixel count 35389440")
			if refused != tc.refused {
				t.Errorf("error %v; refused for its size: %v, want %v", err, refused, tc.refused)
			}
		})
	}
}
