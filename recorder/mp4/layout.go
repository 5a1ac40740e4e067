package mp4

import "math"

// chunk is a run of samples of one track that stand together in the file.
type chunk struct {
	audio        bool
	first, count int
	offset       uint64 // in the file
	size         uint64
}

// framesPerChunk gives chunks of half a second: short enough for a player to read both tracks of a second at once,
// long enough to keep the index small.
func framesPerChunk(fps int) int { return max(1, fps/2) }

func aacFramesPerChunk(sampleRate int) int { return max(1, sampleRate/2/samplesPerAACFrame) }

// interleave orders the chunks of both tracks by the instant at which they are first needed; video goes first when
// both are needed at once. Offsets count from the first byte of the media data.
func interleave(m *movie) []chunk {
	video, fps, audio, priming := m.video, m.fps, m.audio, m.priming
	var chunks []chunk
	var v, a int
	var at uint64
	var shown int64 // of frames with instants of their own
	for v < video.samples() || a < audio.samples() {
		audioNext := v >= video.samples()
		if !audioNext && a < audio.samples() {
			sound := int64(a*samplesPerAACFrame - priming)
			if m.deltas != nil {
				audioNext = sound*variableTimescale < shown*int64(audio.config.SampleRate)
			} else { // against v frames, without division
				audioNext = sound*int64(fps) < int64(v)*int64(audio.config.SampleRate)
			}
		}
		c := chunk{audio: audioNext, offset: at}
		if audioNext {
			c.first, c.count = a, min(aacFramesPerChunk(audio.config.SampleRate), audio.samples()-a)
			c.size = sum(audio.sizes[c.first : c.first+c.count])
			a += c.count
		} else {
			c.first, c.count = v, min(framesPerChunk(fps), video.samples()-v)
			c.size = sum(video.sizes[c.first : c.first+c.count])
			v += c.count
			if m.deltas != nil {
				shown += int64(sum(m.deltas[c.first : c.first+c.count]))
			}
		}
		at += c.size
		chunks = append(chunks, c)
	}
	return chunks
}

func (v *videoIndex) samples() int {
	if v == nil {
		return 0
	}
	return len(v.sizes)
}

func (v *videoIndex) allSizes() []uint32 {
	if v == nil {
		return nil
	}
	return v.sizes
}

func (a *audioIndex) samples() int {
	if a == nil {
		return 0
	}
	return len(a.sizes)
}

func sum(sizes []uint32) (total uint64) {
	for _, s := range sizes {
		total += uint64(s)
	}
	return total
}

// mdatHeaderSize is 16 with a 64-bit size (ISO/IEC 14496-12 4.2).
func mdatHeaderSize(media uint64) uint64 {
	if media+8 > math.MaxUint32 {
		return 16
	}
	return 8
}
