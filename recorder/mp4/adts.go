package mp4

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// samplesPerAACFrame is the length of an AAC-LC frame (ISO/IEC 14496-3).
const samplesPerAACFrame = 1024

// adtsConfig is the part of an ADTS header that must not change within a stream.
type adtsConfig struct {
	SampleRate int
	Channels   int
	rateIndex  byte
}

// adtsRates maps sampling_frequency_index (ISO/IEC 14496-3 table 1.18).
var adtsRates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// adtsReader splits an ADTS stream (ISO/IEC 13818-7 6.2) into raw AAC frames.
type adtsReader struct {
	r      *bufio.Reader
	config adtsConfig
	frames int64
	buf    []byte
}

func newADTSReader(r io.Reader) *adtsReader { return &adtsReader{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next raw frame, valid until the next call; io.EOF ends the stream between two frames.
func (a *adtsReader) next() ([]byte, error) {
	var head [7]byte
	if _, err := io.ReadFull(a.r, head[:]); errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: it ends within the header of frame %d", ErrADTS, a.frames)
	} else if err != nil {
		return nil, err
	}
	config, length, err := parseADTSHeader(head)
	if err != nil {
		return nil, fmt.Errorf("%w: frame %d: %w", ErrADTS, a.frames, err)
	}
	if a.frames > 0 && config != a.config {
		return nil, fmt.Errorf("%w: frame %d changes from %d Hz, %d channels to %d Hz, %d channels", ErrADTS, a.frames,
			a.config.SampleRate, a.config.Channels, config.SampleRate, config.Channels)
	}
	a.config = config
	skip := 0
	if head[1]&1 == 0 { // protection_absent is 0: a CRC follows
		skip = 2
	}
	if length-len(head)-skip <= 0 {
		return nil, fmt.Errorf("%w: frame %d is empty", ErrADTS, a.frames)
	}
	if cap(a.buf) < length {
		a.buf = make([]byte, 1<<13) // frame_length has 13 bits
	}
	body := a.buf[:length-len(head)]
	if _, err := io.ReadFull(a.r, body); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: it ends within frame %d", ErrADTS, a.frames)
	} else if err != nil {
		return nil, err
	}
	a.frames++
	return body[skip:], nil
}

func parseADTSHeader(h [7]byte) (adtsConfig, int, error) {
	if h[0] != 0xff || h[1]&0xf6 != 0xf0 {
		return adtsConfig{}, 0, errors.New("no syncword")
	}
	if profile := h[2] >> 6; profile != 1 {
		return adtsConfig{}, 0, fmt.Errorf("profile %d is not AAC-LC (1)", profile)
	}
	rate := h[2] >> 2 & 15
	if int(rate) >= len(adtsRates) {
		return adtsConfig{}, 0, fmt.Errorf("sampling frequency index %d is reserved", rate)
	}
	channels := int(h[2]&1)<<2 | int(h[3]>>6)
	if channels != 1 && channels != 2 {
		return adtsConfig{}, 0, fmt.Errorf("channel configuration %d is neither mono (1) nor stereo (2)", channels)
	}
	if blocks := h[6] & 3; blocks != 0 {
		return adtsConfig{}, 0, fmt.Errorf("%d raw data blocks in one frame, want 1", int(blocks)+1)
	}
	length := int(h[3]&3)<<11 | int(h[4])<<3 | int(h[5])>>5
	return adtsConfig{SampleRate: adtsRates[rate], Channels: channels, rateIndex: rate}, length, nil
}
