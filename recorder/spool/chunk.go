package spool

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

// The layout of a journal; docs/formats/spool.md explains it.
const (
	journalMagic    = "DUALRECJ"
	journalVersion  = 1
	journalRole     = "journal"
	journalHeader   = 32
	journalInfo     = "dualrec/journal-header/v1\x00"
	chunkMagic      = "\xd7DRJ1\r\n\x1a"
	chunkInfo       = "dualrec/journal-chunk/v1\x00"
	chunkHeaderSize = 72
	chunkTarget     = 64 << 10 // a chunk is written when the next record would exceed it
	tagSize         = 16
	recordHeader    = 11
	maxRecord       = 1<<16 - 1
	maxPayload      = recordHeader + maxRecord
	maxChunk        = chunkHeaderSize + maxPayload + tagSize
)

type generation [16]byte

// chunkHead is the header of a chunk.
type chunkHead struct {
	generation    generation
	index         uint64
	previous      [tagSize]byte
	first, last   int64
	count, length uint32
}

func (h *chunkHead) put(b []byte) {
	copy(b, chunkMagic)
	copy(b[8:], h.generation[:])
	binary.LittleEndian.PutUint64(b[24:], h.index)
	copy(b[32:], h.previous[:])
	binary.LittleEndian.PutUint64(b[48:], uint64(h.first))
	binary.LittleEndian.PutUint64(b[56:], uint64(h.last))
	binary.LittleEndian.PutUint32(b[64:], h.count)
	binary.LittleEndian.PutUint32(b[68:], h.length)
}

// parseChunkHead reads a header and checks what can be checked without its key.
func parseChunkHead(b []byte) (h chunkHead, ok bool) {
	if len(b) < chunkHeaderSize || string(b[:8]) != chunkMagic {
		return h, false
	}
	copy(h.generation[:], b[8:])
	h.index = binary.LittleEndian.Uint64(b[24:])
	copy(h.previous[:], b[32:])
	h.first = int64(binary.LittleEndian.Uint64(b[48:]))
	h.last = int64(binary.LittleEndian.Uint64(b[56:]))
	h.count = binary.LittleEndian.Uint32(b[64:])
	h.length = binary.LittleEndian.Uint32(b[68:])
	return h, h.length <= maxPayload && h.count >= 1 && uint64(h.count)*recordHeader <= uint64(h.length)
}

// size is the chunk's in the file.
func (h *chunkHead) size() int64 { return chunkHeaderSize + int64(h.length) + tagSize }

func putRecord(b []byte, r recorder.Record) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Data)))
	b = append(b, byte(r.Kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.At.UnixNano()))
	return append(b, r.Data...)
}

// cutRecord takes the first record off a chunk's plaintext. Data aliases b.
func cutRecord(b []byte) (r recorder.Record, rest []byte, ok bool) {
	if len(b) < recordHeader {
		return r, nil, false
	}
	n := recordHeader + int(binary.LittleEndian.Uint16(b))
	if len(b) < n {
		return r, nil, false
	}
	at := int64(binary.LittleEndian.Uint64(b[3:]))
	return recorder.Record{At: time.Unix(0, at).UTC(), Kind: recorder.PacketKind(b[2]), Data: b[recordHeader:n:n]}, b[n:], true
}

// wellFormed tells whether a plaintext is exactly count records.
func wellFormed(plain []byte, count uint32) bool {
	for ; count > 0; count-- {
		var ok bool
		if _, plain, ok = cutRecord(plain); !ok {
			return false
		}
	}
	return len(plain) == 0
}

// journalKeys derives what one journal needs. It is only held by pointer, so that printing its holder does not print the key.
type journalKeys struct {
	place string
	key   []byte
}

func newJournalKeys(dek kms.DataKey, recordingID, name string) (*journalKeys, error) {
	place := recordingID + "/" + name
	fk, err := dek.FileKey(place, journalRole)
	if err != nil {
		return nil, err
	}
	return &journalKeys{place: place, key: fk.Bytes()}, nil
}

// fileHeader is the only header that this journal's file may have.
func (k *journalKeys) fileHeader() []byte {
	h := make([]byte, 16, journalHeader)
	copy(h, journalMagic)
	h[8] = journalVersion
	m := hmac.New(sha256.New, k.key)
	m.Write([]byte(journalInfo))
	m.Write(h)
	return append(h, m.Sum(nil)[:16]...)
}

func (k *journalKeys) aead(g generation) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.key, g[:], chunkInfo, kms.KeySize)
	if err != nil {
		return nil, fmt.Errorf("spool: derive chunk key: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("spool: chunk cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

func putNonce(nonce *[12]byte, index uint64) { binary.LittleEndian.PutUint64(nonce[4:], index) }

// chunks reads the chunks of one journal file. It is not safe for concurrent use.
type chunks struct {
	file io.ReaderAt
	keys *journalKeys
	gen  generation // of aead
	aead cipher.AEAD
	aad  []byte
	raw  []byte // the chunk that was loaded last, as in the file; plain aliases it
	scan []byte
}

type chunkState int

const (
	chunkBad        chunkState = iota // not a chunk, or not authentic
	chunkIncomplete                   // begins like a chunk that goes beyond the end of the file
	chunkWhole
)

// load reads and authenticates the chunk at off in a file of the given size. plain is valid until the next load.
func (c *chunks) load(off, size int64) (h chunkHead, plain []byte, state chunkState, err error) {
	if size-off < chunkHeaderSize {
		return h, nil, chunkIncomplete, nil
	}
	h, ok, err := c.head(off, size)
	if err != nil || !ok {
		return h, nil, chunkBad, err
	}
	if h.size() > size-off {
		return h, nil, chunkIncomplete, nil
	}
	c.raw = slices.Grow(c.raw, int(h.size())-len(c.raw))[:h.size()]
	n, err := readBest(c.file, c.raw[chunkHeaderSize:], off+chunkHeaderSize)
	if err != nil {
		return h, nil, chunkBad, err
	}
	if n < len(c.raw)-chunkHeaderSize { // the file has become shorter
		return h, nil, chunkIncomplete, nil
	}
	plain, ok, err = c.open(h)
	if err != nil || !ok {
		return h, nil, chunkBad, err
	}
	return h, plain, chunkWhole, nil
}

// head reads the header at off into c.raw.
func (c *chunks) head(off, size int64) (h chunkHead, ok bool, err error) {
	if size-off < chunkHeaderSize {
		return h, false, nil
	}
	c.raw = slices.Grow(c.raw[:0], chunkHeaderSize)[:chunkHeaderSize]
	n, err := readBest(c.file, c.raw, off)
	if err != nil || n < chunkHeaderSize {
		return h, false, err
	}
	h, ok = parseChunkHead(c.raw)
	return h, ok, nil
}

// open authenticates c.raw and decrypts it in place.
func (c *chunks) open(h chunkHead) (plain []byte, ok bool, err error) {
	if c.aead == nil || c.gen != h.generation {
		if c.aead, err = c.keys.aead(h.generation); err != nil {
			return nil, false, err
		}
		c.gen = h.generation
	}
	var nonce [12]byte
	putNonce(&nonce, h.index)
	c.aad = append(append(c.aad[:0], c.raw[:chunkHeaderSize]...), c.keys.place...)
	sealed := c.raw[chunkHeaderSize:]
	plain, err = c.aead.Open(sealed[:0], nonce[:], sealed, c.aad)
	if err != nil {
		return nil, false, nil
	}
	return plain, wellFormed(plain, h.count), nil
}

// tag is that of the chunk which load found whole: decrypting in place leaves it where it was.
func (c *chunks) tag() [tagSize]byte { return [tagSize]byte(c.raw[len(c.raw)-tagSize:]) }

// checkFileHeader compares the file's header. later says that it claims another version.
func (c *chunks) checkFileHeader(size int64) (ok, later bool, err error) {
	if size < journalHeader {
		return false, false, nil
	}
	var h [journalHeader]byte
	if _, err := readBest(c.file, h[:], 0); err != nil {
		return false, false, err
	}
	// Version 0 is what a power failure leaves of a header, not a later version.
	later = string(h[:8]) == journalMagic && h[8] > journalVersion
	return string(h[:]) == string(c.keys.fileHeader()), later, nil
}

const scanWindow = 256 << 10

// search finds the first chunk from off on that authenticates and is wanted. If there is none, resume
// is where a search must begin once the file has grown.
func (c *chunks) search(off, size int64, wanted func(chunkHead) bool) (found int64, h chunkHead, ok bool, resume int64, err error) {
	incomplete := int64(-1)
	for off <= size-chunkHeaderSize {
		at, next, err := c.findMagic(off, size)
		if err != nil {
			return 0, h, false, 0, err
		}
		off = next
		if at < 0 {
			continue
		}
		h, _, state, err := c.load(at, size)
		if err != nil {
			return 0, h, false, 0, err
		}
		if state == chunkWhole && wanted(h) {
			return at, h, true, at, nil
		}
		if state == chunkIncomplete && incomplete < 0 {
			incomplete = at
		}
	}
	if incomplete >= 0 {
		off = min(off, incomplete)
	}
	return 0, h, false, min(off, max(size-chunkHeaderSize+1, 0)), nil
}

// findMagic looks through one window for the magic. at is -1 if there is none; next is where to go on.
func (c *chunks) findMagic(off, size int64) (at, next int64, err error) {
	window := int(min(scanWindow, size-off))
	c.scan = slices.Grow(c.scan[:0], window)[:window]
	n, err := readBest(c.file, c.scan, off)
	if err != nil {
		return -1, 0, err
	}
	if i := indexMagic(c.scan[:n]); i >= 0 {
		return off + int64(i), off + int64(i) + 1, nil
	}
	if int64(n) < int64(len(c.scan)) || off+int64(n) >= size {
		return -1, size, nil // the end, or what has become the end
	}
	return -1, off + int64(n) - int64(len(chunkMagic)) + 1, nil
}

const sector = 4 << 10

// readBest reads like ReadAt, but where the disk cannot give a sector it leaves zeros, which then do not authenticate:
// a bad sector must cost a chunk, not the file. It returns fewer bytes only at the end of the file.
func readBest(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p), errors.Is(err, io.EOF):
		return n, nil
	case !errors.Is(err, unix.EIO):
		return n, err
	}
	for done := 0; done < len(p); {
		step := min(len(p)-done, int(sector-(off+int64(done))%sector))
		part := p[done : done+step]
		n, err := r.ReadAt(part, off+int64(done))
		switch {
		case n == step:
		case errors.Is(err, io.EOF):
			return done + n, nil
		case errors.Is(err, unix.EIO):
			clear(part)
		default:
			return done, err
		}
		done += step
	}
	return len(p), nil
}

func indexMagic(b []byte) int { return bytes.Index(b, []byte(chunkMagic)) }
