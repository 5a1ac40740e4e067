// Package compose renders pictures and sound with FFmpeg: it implements recorder.Composer.
//
// FFmpeg runs as a child process and never opens a file or a socket. Every input is Matroska written by this package
// into a pipe, every output is a pipe, so that no plaintext touches a disk.
//
// # How a picture lands on its slot
//
// A segment is a number of output frames on a fixed grid. Each video track is an input of its own, on a pipe of its own,
// so that FFmpeg takes from a track what it needs next and a track that is ahead waits in its pipe: no queue of
// decoded pictures grows while a screen is quiet. Timestamps in the pipe are half milliseconds. A frame that is to be
// seen has an even one, its slot; pre-roll, frames that a later one of the same slot replaces, and frames that show
// nothing have odd ones and are dropped right behind the decoder, before they cost scaling. The fps filter repeats
// the last picture over empty slots, tpad holds it to the end, and the number of output frames is counted here, in
// the H.264 that comes out, not believed.
//
// # Pictures that repeat
//
// x264 has a cost for every macroblock, also of a picture that is the one before. So only those output frames are encoded
// on which something may change: a frame of a source is seen from there on, or a keyframe is due. The sources are read to
// the segment's end before FFmpeg starts, which shows these slots; FFmpeg gets the frames on a grid without the other
// slots, and these are put between the encoded pictures as P pictures of skipped macroblocks, which decode to the
// picture before, bit by bit. All that changes in an encoded picture is its frame_num, a field of fixed length in the slice
// header. The parameter sets are the encoder's own, so segments of either way join.
//
// That takes streams of a certain form: CABAC, frames in output order, one reference, one slice (see parseParameters and
// parseSlice), which x264's ultrafast preset makes. If a stream is of another form, the segment is rendered again with
// every frame encoded, and so are all that follow. A picture with a waveform changes on every frame anyway. CPU seconds
// for each second of recording, of BenchmarkVideo on a 2-core machine:
//
//	                                        every frame   repeats
//	screen and webcam at 30 fps, 3200x1080         0.37      0.37
//	screen and webcam at 15 fps, 3200x1080         0.35      0.20
//	screen and placeholder, 3200x1080              0.21      0.02
//	screen at 5 fps, 1920x1080                     0.16      0.07
//	screen at 1 fps, 1920x1080                     0.13      0.02
//
// # Ends of a child
//
// A child runs in its own process group and dies with its parent. It ends by exit, by a signal, by not starting or by
// not ending; each is a type of error (ExitError, StartError, StallError). A child is stalled when it neither
// takes nor gives a byte although nobody outside keeps it waiting: a live call that is quiet is no stall, and neither is
// a child that works slowly because the machine gives it little time.
//
// The package knows FFmpeg, Matroska and a little of the codecs' headers. It does not know where frames come from,
// what a recording is, or how its results are stored.
package compose
