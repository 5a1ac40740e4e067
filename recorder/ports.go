package recorder

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/dualrec/dualrec/kms"
)

// ---------------------------------------------------------------- the network

// Receiver is the network side of capture, implemented by recorder/ingest.
type Receiver interface {
	// Lease binds the sockets of one track. It fails with ErrNoPorts when the pool is
	// used up. The lease belongs to the caller, who must Close it.
	Lease(ctx context.Context, req LeaseRequest) (Lease, error)
}

// LeaseRequest asks for the sockets of one track.
type LeaseRequest struct {
	RecordingID string
	TrackID     string
	Kind        TrackKind
	RTCPMux     bool
	// RTPPort and RTCPPort are bound again where they are free, so that an SFU which knows nothing of a restart is
	// heard at once; 0: any of the pool. ErrNoPorts if another program has taken them.
	RTPPort, RTCPPort int
	// SRTP is what this side encrypts its RTCP with, and names the suite; zero: plain RTP.
	SRTP SRTPParameters
}

// Endpoint is what an SFU connects its PlainTransport to.
type Endpoint struct {
	IP       string `json:"ip"` // announced address
	RTPPort  int    `json:"rtp_port"`
	RTCPPort int    `json:"rtcp_port,omitempty"` // 0 with rtcpMux
}

// Source is the SFU's own side: packets from elsewhere are counted and dropped.
type Source struct {
	IP       string `json:"ip,omitempty"` // empty or 0.0.0.0: pinned at the first valid packet of an announced SSRC
	RTPPort  int    `json:"rtp_port"`
	RTCPPort int    `json:"rtcp_port,omitempty"` // 0: same as RTPPort with rtcpMux, else pinned at the first valid RTCP
}

// Attachment tells a lease what will arrive.
type Attachment struct {
	Params RTPParameters
	Source Source
	// KeyframeInterval asks for a keyframe when an undamaged video track has had none for so long; 0 = off.
	KeyframeInterval time.Duration
	// SRTP is what the SFU encrypts with: transport.srtpParameters after connect(). It must be of the lease's suite.
	SRTP SRTPParameters
	// Spooled is where a former process, or an earlier attachment of the same stream, left off: what is missing since
	// is asked for again as far as the SFU still has it. Nil: the stream begins here.
	Spooled *Spooled
	Sink    Sink
}

// Spooled is the newest packet of a stream that the spool holds.
type Spooled struct {
	Seq uint16
	RTP uint32
	At  time.Time // its arrival
}

// Sink takes what a lease receives. It is called from the lease's own goroutine,
// one call at a time, never after Detach or Close returned. It must not block on
// the network or on an encoder. data is only valid during the call.
type Sink interface {
	// Packet takes one packet: RTP of the announced SSRC (a retransmission is handed over as the packet that it
	// repeats, RFC 4588), or one RTCP datagram; both after SRTP.
	Packet(at time.Time, kind PacketKind, data []byte)
	// Overflow tells that this machine's kernel dropped datagrams of the track since the last call, because they were
	// not read in time: our loss, and not the network's.
	Overflow(at time.Time, datagrams uint64)
}

// Lease is one track's sockets. All methods are safe for concurrent use.
type Lease interface {
	Endpoint() Endpoint
	// Attach starts delivery; a second Attach replaces the first (producer replaced).
	Attach(a Attachment) error
	// Detach stops delivery and keeps the sockets.
	Detach()
	// Hold begins a pause: when it returns, nothing that came or comes is delivered or counted, and nothing is asked
	// for again, until Release. Detach and Attach do not end it.
	Hold()
	// Release ends a pause at an instant of the wall clock: packets captured before it are dropped however late they
	// come and by whichever SSRC, no sequence number from before is asked for, and pictures begin at a keyframe that
	// was captured after it. Without a pause it does nothing.
	Release(at time.Time)
	// RequestKeyframe sends a PLI, subject to the limiter (at most one a second).
	RequestKeyframe()
	Stats() NetStats
	Close() error
}

// NetStats counts what one lease has seen since it was leased.
type NetStats struct {
	Packets, Bytes              uint64 // accepted RTP
	RTCPPackets                 uint64
	Lost                        uint64 // sequence numbers that never came (so far)
	Duplicates                  uint64
	Reordered                   uint64
	DroppedForeign              uint64 // wrong address, SSRC or payload type
	DroppedMalformed            uint64
	DroppedUnauthentic          uint64    // SRTP that does not authenticate, or was replayed
	DroppedHeld                 uint64    // came, or was captured, during a pause
	DroppedByKernel             uint64    // datagrams that this machine did not read in time
	Nacked                      uint64    // sequence numbers asked for again, each counted once
	Repaired                    uint64    // of them: came
	Keyframes                   uint64    // seen
	KeyframesAsked              uint64    // PLIs sent
	FirstPacketAt, LastPacketAt time.Time // zero before the first
	JitterMs                    float64   // RFC 3550 interarrival jitter
	SSRC                        uint32
}

// ErrAttachment marks an Attachment that cannot be used; the text says why.
var ErrAttachment = errors.New("recorder: attachment")

// ErrNoPorts: every port of the pool is leased.
var ErrNoPorts = errors.New("recorder: no free media ports: raise the port range or stop recordings")

// ------------------------------------------------------------------ the spool

// PacketKind says what a journal record holds.
type PacketKind uint8

// The kinds of journal records (numbers are part of the spool format).
const (
	PacketRTP   PacketKind = 1 // one RTP packet as received (after SRTP)
	PacketRTCP  PacketKind = 2 // one RTCP datagram as received (after SRTCP)
	RecordEvent PacketKind = 3 // one JSON event (journal "events")
	// RecordOverflow says how many datagrams this machine's kernel dropped right before: 8 bytes, big-endian.
	RecordOverflow PacketKind = 4
)

// Record is one entry of a journal.
type Record struct {
	At   time.Time // arrival, wall clock, ns; the reader returns it in UTC
	Kind PacketKind
	Data []byte // ≤ 65,535 bytes; from a reader valid until the next call of Next
}

// Position is a place in a journal from which reading can start again. The zero value is the beginning.
type Position struct {
	Offset int64 `json:"o"` // byte offset of the chunk in the file
	Index  int   `json:"i"` // record within the chunk
}

// Spool is the encrypted store of what was captured, implemented by recorder/spool.
type Spool interface {
	// Create makes a recording's folder; its header is on the disk (fsynced, folder too) when Create returns.
	// It fails with ErrSpoolExists if the folder is there already and with ErrSpoolFull above the watermark.
	Create(ctx context.Context, h Header, key kms.DataKey) (Folder, error)
	// Header reads a folder's header, which is authenticated only once Open has its key.
	Header(ctx context.Context, recordingID string) (Header, error)
	// Open opens an existing folder and cuts torn tails. ErrSpoolKey: the key is not this folder's.
	Open(ctx context.Context, recordingID string, key kms.DataKey) (Folder, error)
	// List names all recordings that have a folder, oldest first.
	List(ctx context.Context) ([]string, error)
	// Remove deletes a folder with all its content. Removing what is not there is no error.
	Remove(ctx context.Context, recordingID string) error
}

// Folder is one recording's part of the spool. All methods are safe for concurrent use.
type Folder interface {
	Header() Header
	// Journal opens a journal for appending, creating it if needed. One writer at a time.
	Journal(name string) (Journal, error)
	// Journals names the journals that exist, sorted.
	Journals() ([]string, error)
	// Read starts reading a journal at a position. Reading may follow a live writer.
	Read(name string, from Position) (JournalReader, error)
	// ReadTail starts reading a journal at a chunk that lies at least bytes before its end, or at its beginning.
	// fs.ErrNotExist if there is no such journal.
	ReadTail(name string, bytes int64) (JournalReader, error)
	// Create starts a blob; it appears under its name when Commit returns, replacing one of that name.
	Create(name string) (BlobWriter, error)
	// Blob opens a committed blob. fs.ErrNotExist if there is none.
	Blob(name string) (Blob, error)
	// RemoveBlob deletes a blob; absent is no error.
	RemoveBlob(name string) error
	// Sync makes everything appended so far durable (it also happens by itself at least once a second).
	Sync() error
	// Close syncs and closes; idempotent.
	Close() error
}

// Journal appends records. Append buffers; the record is readable within a second and
// durable within a second (or after Folder.Sync). After an error of the disk every later Append, and Close, fails with it: a
// *DiskError, which matches ErrSpoolFull where the disk or a quota is full.
type Journal interface {
	Append(Record) error
	Close() error
}

// JournalReader reads records in the order they were appended.
type JournalReader interface {
	// Next returns the next record and its position. io.EOF means nothing more for now: a later call may
	// return more. ErrSpoolDamaged: a record inside the file fails authentication (not a torn tail).
	Next() (Record, Position, error)
	Close() error
}

// BlobWriter writes one encrypted file: temp, write, fsync, rename, fsync folder.
type BlobWriter interface {
	io.Writer
	// Commit makes the blob durable and visible and returns what was written.
	Commit() (BlobInfo, error)
	// Abort drops it. After Commit it does nothing.
	Abort()
}

// Blob is a committed encrypted file, opened for reading plaintext at any offset.
type Blob interface {
	io.ReaderAt
	io.Closer
	Size() int64 // plaintext bytes
	// Ciphertext opens the file as it lies on the disk (for upload). The caller closes it.
	Ciphertext() (io.ReadSeekCloser, int64, error)
}

// BlobInfo describes a committed blob.
type BlobInfo struct {
	Name             string `json:"name"`
	Size             int64  `json:"size"`              // plaintext bytes
	CiphertextSize   int64  `json:"ciphertext_size"`   // bytes on disk and in the store
	CiphertextSHA256 []byte `json:"ciphertext_sha256"` // of all ciphertext bytes
}

// Errors of the spool.
var (
	ErrSpoolExists  = errors.New("recorder: this recording has a spool folder already")
	ErrSpoolFull    = errors.New("recorder: the spool is above its watermark: free disk space or raise the quota")
	ErrSpoolKey     = errors.New("recorder: this key does not open this spool folder")
	ErrSpoolDamaged = errors.New("recorder: spool file damaged")
)

// DiskError: a journal could not be written. What was appended from Since on may be lost.
type DiskError struct {
	Since time.Time // arrival of the first record that may be lost; zero: none is
	Err   error
}

// Error implements error.
func (e *DiskError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *DiskError) Unwrap() error { return e.Err }

// Header makes a recording's folder self-describing (docs/formats/spool.md).
type Header struct {
	Version           int            `json:"version"` // 1
	RecordingID       string         `json:"recording_id"`
	TenantID          string         `json:"tenant_id"`
	SessionID         string         `json:"session_id"`
	ExternalSessionID string         `json:"external_session_id"`
	CreatedAt         time.Time      `json:"created_at"`
	Profile           Profile        `json:"profile"`
	Expect            []TrackKind    `json:"expect"`
	WrappedKey        kms.WrappedKey `json:"wrapped_key"`
}

// --------------------------------------------------------------- depacketizing

// Depacketizers makes depacketizers, implemented by recorder/depacketize.
type Depacketizers interface {
	// ParseRTP reads one packet as received. Seq and RTP are the bare 16- and 32-bit values; Rotation is the
	// CVO extension's, or -1 where the packet has none. Padding is cut off. ok is false for anything that is not
	// a packet of params.SSRC and params.PayloadType. Payload aliases raw.
	ParseRTP(raw []byte, params RTPParameters) (p RTPPacket, ssrc uint32, ok bool)
	// ParseReports reads the sender reports about ssrc in one RTCP datagram.
	ParseReports(raw []byte, ssrc uint32) []SenderReport
	// New returns one for a codec of RTPParameters, or ErrCodec.
	New(codec Codec) (Depacketizer, error)
}

// Depacketizer turns the RTP payloads of one SSRC, in sequence order, into frames.
// It is not safe for concurrent use. It must not keep payload after Push returned.
type Depacketizer interface {
	// Push takes one packet's payload; lost says that packets are missing right before this one.
	// It returns the frame that became complete, or nil; an error concerns this one packet and may come beside a frame. Data of a returned frame is the callee's until the next Push.
	Push(p RTPPacket, lost bool) (*Unit, error)
	// Flush returns a frame that was complete but for the next packet's proof, or nil. It is called until it returns nil.
	Flush() *Unit
}

// RTPPacket is a parsed packet with unwrapped sequence number and timestamp.
type RTPPacket struct {
	Seq      int64 // extended sequence number (RFC 3550 A.1)
	RTP      int64 // extended timestamp, in clock-rate ticks
	Marker   bool
	Payload  []byte
	Rotation int       // degrees clockwise the picture must be turned for display: 0, 90, 180, 270 (CVO, 3GPP TS 26.114)
	At       time.Time // arrival
	Pos      Position  // where it stands in the journal
}

// SenderReport is the time part of an RTCP sender report (RFC 3550 §6.4.1).
type SenderReport struct {
	NTP     time.Duration // since the NTP era's start; only differences of one host mean anything
	RTP     uint32
	Packets uint32
}

// Unit is one complete access unit (video frame) or audio packet.
type Unit struct {
	RTP      int64 // extended timestamp
	Key      bool  // decodable without earlier frames
	Damaged  bool  // packets of it are missing
	Size     Size  // known on keyframes, else zero
	Rotation int
	Data     []byte // VP8/VP9 frame; H.264 as Annex B (with SPS/PPS in-band on keyframes); Opus packet
	FirstSeq int64
	LastAt   time.Time // arrival of its last packet
	Pos      Position  // of its earliest packet in the journal
}

// ErrCodec: the recorder cannot record this codec.
var ErrCodec = errors.New("recorder: unsupported codec")

// ------------------------------------------------------------------- composing

// Composer renders, implemented by recorder/compose with FFmpeg on pipes.
type Composer interface {
	// Video renders exactly job.Frames frames and writes them as Annex B H.264 to out:
	// closed GOPs, no B-frames, identical SPS/PPS for the same Canvas, FPS and rate.
	// A result with another number of frames is an error (*FrameCountError). It returns when the child has ended.
	Video(ctx context.Context, job VideoJob, out io.Writer) error
	// Audio runs along with the call: it reads Opus until every source has ended and writes AAC-LC as ADTS.
	// peaks gets one 16-bit little-endian mono PCM stream at PeakRate (or is nil).
	Audio(ctx context.Context, job AudioJob, adts, peaks io.Writer) error
	// CheckVideo decodes Annex B H.264 and returns the number of frames that decoded; an error of the decoder is an error.
	CheckVideo(ctx context.Context, annexB io.Reader) (frames int64, err error)
	// CheckFile decodes a whole MP4 from a reader (front to back) and returns what it found.
	CheckFile(ctx context.Context, mp4 io.Reader) (FileFacts, error)
}

// PeakRate is the sample rate of the peaks stream in Hz.
const PeakRate = 8000

// FileFacts is what a decoder said of an MP4.
type FileFacts struct {
	VideoFrames  int64
	AudioSamples int64 // at 48 kHz
}

// FrameSource yields the frames of one video track for one segment, in decoding order: first the pre-roll
// (Slot < 0: decode, do not show), then the frames to show. io.EOF ends it. Data is valid until the next call.
type FrameSource interface {
	Next(ctx context.Context) (Frame, error)
	Close() error
}

// Frame is one encoded picture on a segment's output grid: it is shown from output frame Slot on.
// Several frames may share a slot: all are decoded, the last is shown. A slot without a frame shows the one before.
type Frame struct {
	Slot int64
	Key  bool
	Data []byte
}

// Region is one picture on the canvas.
type Region struct {
	Rect       Rect // where the picture itself goes (already fitted, even)
	Kind       TrackKind
	Source     FrameSource // nil: a placeholder card fills Rect
	Codec      Codec
	SourceSize Size // before rotation
	Rotation   int  // 0, 90, 180, 270 clockwise
}

// VideoJob is one segment to render.
type VideoJob struct {
	RecordingID string
	Segment     int
	Canvas      Size
	FPS         int
	Frames      int64
	MaxKbps     int      // the recording's average stays below it
	QP          int      // constant quantiser (x264 scale, 1…51); 0: the composer keeps the recording's average below MaxKbps by itself
	Regions     []Region // later ones lie over earlier ones
	PausedCard  bool     // show the neutral pause card instead of any region
	Waveform    *WaveformStrip
}

// WaveformStrip burns the sound into the picture.
type WaveformStrip struct {
	Rect   Rect
	Tracks []AudioTrack // the segment's own sound, on recording time from the segment's start
}

// AudioSource yields one audio track as gapless Opus: Packet.At is recording time from the job's start,
// non-decreasing, gaps already filled with silence packets. io.EOF ends it.
type AudioSource interface {
	Next(ctx context.Context) (AudioPacket, error)
	Close() error
}

// AudioPacket is one Opus packet. Data is valid until the next call.
type AudioPacket struct {
	At   Micros
	Data []byte
}

// AudioJob is the one audio run of a recording.
type AudioJob struct {
	RecordingID string
	Mode        AudioMode
	Tracks      []AudioTrack // one per expected audio kind; at least one
	Kbps        int          // of the AAC
}

// AudioTrack is one input of the audio run.
type AudioTrack struct {
	Kind   TrackKind
	Source AudioSource
}

// FrameCountError: FFmpeg delivered another number of frames than planned.
type FrameCountError struct{ Want, Got int64 }

// ---------------------------------------------------------------------- muxing

// Muxer writes the final MP4, implemented by recorder/mp4.
type Muxer interface {
	// Mux writes one faststart MP4 front to back. Nothing is written but through w.
	Mux(ctx context.Context, in MuxInput, w io.Writer) (MuxResult, error)
	// Inspect reads the structure of a written file, for the checks before AVAILABLE.
	Inspect(r io.ReaderAt, size int64) (Movie, error)
}

// Movie is a written MP4, read back.
type Movie interface {
	Facts() MovieFacts
	// Frames returns n frames from the given frame on as Annex B with the parameter sets in front.
	// from must be a keyframe; n is cut at the end of the track.
	Frames(from, n int64) (io.Reader, error)
	// LastKeyframe is the number of the last keyframe.
	LastKeyframe() int64
}

// MovieFacts is what the structure of a file says.
type MovieFacts struct {
	VideoFrames   int64
	VideoDuration Micros // as presented (edit lists applied)
	AudioDuration Micros
	Width, Height int
	Faststart     bool
}

// MuxInput is everything that becomes one MP4.
type MuxInput struct {
	FPS      int
	Canvas   Size            // what the pictures must be; zero: whatever they are
	Segments []SegmentSource // in order; empty for an audio-only recording
	Audio    AudioStream     // zero Open: no audio
	// Times are the instants of all video frames when they are not at n/FPS (a source's own pictures passed through):
	// the first is 0, each is later than the one before, all before Duration. Empty: n/FPS.
	Times []Micros
	// Duration is the length of the file; audio is cut to it by an edit list.
	Duration  Micros
	CreatedAt time.Time
	Title     string // shown by players; never a customer's name
}

// SegmentSource opens one segment's Annex B H.264. It is opened twice (index, then copy).
type SegmentSource struct {
	Frames int64
	Open   func() (io.ReadCloser, error)
}

// AudioStream opens the ADTS stream. It is opened twice.
type AudioStream struct {
	Open    func() (io.ReadCloser, error)
	Priming int // samples of encoder delay, signalled by an edit list
}

// MuxResult describes the written file.
type MuxResult struct {
	Size         int64
	VideoFrames  int64
	AudioSamples int64
	Width        int
	Height       int
}

// -------------------------------------------------------------- object store

// ObjectStore keeps finished artifacts, implemented by recorder/objectstore. Keys are slash-separated.
type ObjectStore interface {
	// Put stores size bytes read from r, which can be read again from its start on a retry, and verifies that the
	// store holds bytes with the given SHA-256 before it returns. Putting the same key again replaces it.
	Put(ctx context.Context, key string, r io.ReadSeeker, size int64, sha256 []byte) (ObjectInfo, error)
	// Open opens for ranged reading. ErrObjectNotFound.
	Open(ctx context.Context, key string) (Object, error)
	Stat(ctx context.Context, key string) (ObjectInfo, error)
	// Delete removes it; absent is no error.
	Delete(ctx context.Context, key string) error
}

// Object is an opened object.
type Object interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// ObjectInfo describes a stored object.
type ObjectInfo struct {
	Key       string
	Size      int64
	VersionID string
}

// Errors of object stores.
var (
	ErrObjectNotFound = errors.New("recorder: no such object")
	// ErrStoreUnavailable: the store does not answer or the breaker is open; retry later.
	ErrStoreUnavailable = errors.New("recorder: object store unavailable")
	// ErrDigestMismatch: what the store holds is not what was sent.
	ErrDigestMismatch = errors.New("recorder: object digest mismatch")
)
