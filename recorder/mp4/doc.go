// Package mp4 writes the one MP4 that a recording becomes: finished H.264 segments and one AAC stream go in, a
// progressive file with the index in front (ftyp, moov, mdat) comes out, front to back, through an io.Writer.
//
// Nothing is buffered on a disk: a first pass over the inputs collects the sizes of the samples, from which every
// offset follows, and a second pass copies the samples. Memory grows with the number of samples (4 bytes each), never
// with their content.
//
// The package knows H.264 Annex B (ITU-T H.264), ADTS (ISO/IEC 13818-7) and the file format (ISO/IEC 14496-12, -14
// and -15). It does not know where the inputs lie, how they are encrypted, or how they were encoded.
//
// # Shape of the file
//
//   - video: avc1, constant frame rate, timescale 90,000 where the rate divides it; parameter sets only in avcC
//   - audio: mp4a (AAC-LC); an edit list skips the encoder's priming and cuts the end to the recording's duration
//   - chunks of half a second, video and audio in turns by start time
//   - 32-bit offsets and durations while they suffice, 64-bit ones (co64, version 1 boxes, large mdat) beyond
//   - colr and pasp say BT.709, limited range, square pixels
package mp4
