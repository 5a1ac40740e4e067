package compose

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/at-wat/ebml-go/webm"

	"github.com/dualrec/dualrec/recorder"
)

// AudioPriming is the number of samples that FFmpeg's AAC-LC encoder puts before the sound; the muxer signals it by an edit list.
const AudioPriming = 1024

const (
	maxOpusBytes   = 1275*48 + 1500 // more than a packet of 120 ms can have (RFC 6716 3.2)
	maxAudioTracks = 16
	maxAudioTime   = recorder.Micros(1000 * 3600 * 1e6)
)

// gapless puts a track on recording time: silence before its first packet and in its gaps, gentle stretching against drift, a
// hard cut only beyond 40 ms.
const gapless = "aresample=48000:async=1000:min_hard_comp=0.04:first_pts=0"

// Audio encodes the sound of a recording; see recorder.Composer. Each source is read by a goroutine of its own into a pipe of
// its own, so one that lags holds up the mix and nothing else. It does not close the sources.
func (c *Composer) Audio(ctx context.Context, job recorder.AudioJob, adts, peaks io.Writer) error {
	if err := validateAudio(job); err != nil {
		return err
	}
	r := childRun{what: "audio", args: audioArgs(job, peaks != nil), outputs: []io.Writer{adts}}
	for _, track := range job.Tracks {
		r.inputs = append(r.inputs, feedOpus(track.Source))
	}
	if peaks != nil {
		r.outputs = append(r.outputs, peaks)
	}
	stderr, err := c.run(ctx, r)
	if err == nil && stderr != "" {
		c.log.Warn("FFmpeg complained about the audio and encoded it", "recording_id", job.RecordingID, "stderr", stderr)
	}
	return err
}

func validateAudio(job recorder.AudioJob) error {
	var errs []error
	if n := len(job.Tracks); n < 1 || n > maxAudioTracks {
		errs = append(errs, fmt.Errorf("%w: %d audio tracks are not within 1…%d", ErrJob, n, maxAudioTracks))
	}
	if job.Kbps < 8 || job.Kbps > 512 {
		errs = append(errs, fmt.Errorf("%w: an audio rate of %d kbps is not within 8…512", ErrJob, job.Kbps))
	}
	if job.Mode != recorder.MixMono && job.Mode != recorder.SplitStereo {
		errs = append(errs, fmt.Errorf("%w: audio mode %q is not one of %v", ErrJob, job.Mode, job.Mode.Values()))
	}
	for i, t := range job.Tracks {
		if t.Kind.IsVideo() || t.Source == nil {
			errs = append(errs, fmt.Errorf("%w: audio track %d has kind %s or no source", ErrJob, i, t.Kind))
		}
	}
	return errors.Join(errs...)
}

// audioArgs is FFmpeg's command line for the audio of a recording.
func audioArgs(job recorder.AudioJob, peaks bool) []string {
	args := append(commonArgs(), "-copyts")
	for i := range job.Tracks {
		args = append(args, inputArgs(i)...)
	}
	channels := "1"
	if job.Mode == recorder.SplitStereo {
		channels = "2"
	}
	args = append(args, "-filter_complex", audioGraph(job, peaks), "-map", "[mix]", "-threads", "1", "-c:a", "aac", "-b:a", fmt.Sprintf("%dk", job.Kbps),
		"-ar", "48000", "-ac", channels, "-flush_packets", "1", "-f", "adts", "pipe:1")
	if peaks {
		args = append(args, "-map", "[peaks]", "-c:a", "pcm_s16le", "-flush_packets", "1", "-f", "s16le", fmt.Sprintf("pipe:%d", firstExtraFD+len(job.Tracks)))
	}
	return args
}

func audioGraph(job recorder.AudioJob, peaks bool) string {
	var chains []string
	labels := ""
	for i, t := range job.Tracks {
		chain := fmt.Sprintf("[%d:a]%s,aformat=sample_fmts=fltp:sample_rates=48000:channel_layouts=mono", i, gapless)
		if job.Mode == recorder.SplitStereo {
			chain += "," + side(t.Kind)
		}
		label := fmt.Sprintf("[a%d]", i)
		chains, labels = append(chains, chain+label), labels+label
	}
	mix := labels
	if len(job.Tracks) > 1 {
		mix += fmt.Sprintf("amix=inputs=%d:duration=longest:dropout_transition=0:normalize=0,", len(job.Tracks))
	}
	// Two voices at once may exceed full scale; the limiter's look-ahead is taken back, so nothing shifts.
	// The layout is fixed before the split, or the mono branch of the peaks would make the other one mono as well.
	mix += "alimiter=limit=0.97:level=0:latency=1,aformat=sample_fmts=fltp:channel_layouts=" + layoutOf(job.Mode)
	if peaks {
		chains = append(chains, mix+",asplit[mix][p]", fmt.Sprintf("[p]aformat=channel_layouts=mono,aresample=%d,aformat=sample_fmts=s16[peaks]", recorder.PeakRate))
	} else {
		chains = append(chains, mix+"[mix]")
	}
	return strings.Join(chains, ";\n")
}

func layoutOf(mode recorder.AudioMode) string {
	if mode == recorder.SplitStereo {
		return "stereo"
	}
	return "mono"
}

// side puts the agent left and everybody else right.
func side(kind recorder.TrackKind) string {
	if kind == recorder.AgentAudio {
		return "pan=stereo|FL=c0"
	}
	return "pan=stereo|FR=c0"
}

// opusHead is the identification header (RFC 7845 5.1) of a live track: stereo, no pre-skip.
func opusHead() []byte {
	b := append([]byte("OpusHead"), 1, 2)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 48000)
	return append(b, 0, 0, 0)
}

// feedOpus sends one audio track to FFmpeg.
func feedOpus(source recorder.AudioSource) feed {
	return func(ctx context.Context, p *pump) error {
		w, err := newMatroskaWriter(p, audioTickNS, webm.TrackEntry{TrackType: matroskaAudio, CodecID: "A_OPUS", CodecPrivate: opusHead(),
			Audio: &webm.Audio{SamplingFrequency: 48000, Channels: 2}})
		if err != nil {
			return err
		}
		for {
			done := p.activity.waitOutside()
			packet, err := source.Next(ctx)
			done()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read audio: %w", err)
			}
			if len(packet.Data) == 0 || len(packet.Data) > maxOpusBytes || packet.At < 0 || packet.At > maxAudioTime {
				return fmt.Errorf("%w: an Opus packet of %d bytes at %s", ErrSource, len(packet.Data), packet.At)
			}
			if err := w.write((int64(packet.At)*1000+audioTickNS/2)/audioTickNS, true, packet.Data); err != nil {
				return err
			}
		}
	}
}
