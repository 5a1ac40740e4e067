package kms

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/minio/sio"
)

// BlobRole is the role of a recording's finished files in DataKey.FileKey.
const BlobRole = "blob"

// BlobFileID is the file id of a recording's finished file in DataKey.FileKey. The spool seals
// a file with it, and whoever reads the uploaded copy opens it with the same id. Neither part may contain a slash.
func BlobFileID(recordingID, name string) string { return recordingID + "/" + name }

// Errors of an envelope. Each means that the file is refused; none says that its key is lost.
var (
	// ErrNotEnvelope: the file does not begin like an envelope.
	ErrNotEnvelope = errors.New("kms: not an encrypted dualrec file")
	// ErrUnsupported: a later dualrec wrote this file.
	ErrUnsupported = errors.New("kms: envelope version or algorithm is not supported: use the dualrec that wrote it, or a later one")
	// ErrWrongKey: the key does not belong to this file, or the file's header was changed.
	ErrWrongKey = errors.New("kms: this key does not open this file")
	// ErrTruncated: the end of the file is missing.
	ErrTruncated = errors.New("kms: encrypted file is truncated")
	// ErrTrailing: something follows the end of the file.
	ErrTrailing = errors.New("kms: encrypted file has bytes after its end")
	// ErrDamaged: a part of the file does not authenticate. errors.As finds a *DamageError.
	ErrDamaged = errors.New("kms: encrypted file is damaged")
	// ErrTooLong: the plaintext would exceed MaxPlaintext.
	ErrTooLong = errors.New("kms: plaintext exceeds the limit of an envelope (1 TiB)")
	// ErrClosed: the writer was closed already.
	ErrClosed = errors.New("kms: envelope writer is closed")
)

// DamageError says where a file stopped authenticating. It matches ErrDamaged.
type DamageError struct {
	Offset int64 // of the refused package in the encrypted file, in bytes
	Reason string
}

// Error names the place, so that it can be compared with a disk's error log.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%v: package at byte %d: %s", ErrDamaged, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrDamaged) true.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// MaxPlaintext is the longest plaintext of one envelope in bytes. It keeps the package counter
// far away from its 32 bits, which sio does not watch by itself.
const MaxPlaintext = int64(1)<<40 - 1

// EnvelopeOverhead is the size of the smallest envelope: that of an empty plaintext.
const EnvelopeOverhead = headerBytes + packageOverhead + 1

const (
	headerBytes     = 80
	prefixBytes     = 16 // the part of the header that is the same in every envelope
	saltBytes       = 32
	packageHeader   = 16
	packagePayload  = 1 << 16
	packageTag      = 16
	packageOverhead = packageHeader + packageTag
	packageBytes    = packagePayload + packageOverhead
	endMark         = 0x01
	finalFlag       = 0x80

	envelopeMagic     = "DUALRECE"
	envelopeVersion   = 1
	envelopeAlgorithm = 1
	envelopeInfo      = "dualrec/envelope/v1\x00"
)

// CiphertextSize is the exact size of the envelope of a plaintext of the given size.
func CiphertextSize(plaintext int64) (int64, error) {
	if plaintext < 0 || plaintext > MaxPlaintext {
		return 0, fmt.Errorf("%w: %d bytes", ErrTooLong, plaintext)
	}
	content := plaintext + 1
	return headerBytes + content + packageOverhead*((content+packagePayload-1)/packagePayload), nil
}

// PlaintextSize is the inverse of CiphertextSize. It is arithmetic, not a proof: NewReader authenticates it.
func PlaintextSize(ciphertext int64) (int64, error) {
	body := ciphertext - headerBytes
	if body <= packageOverhead {
		return 0, fmt.Errorf("%w: %d bytes are fewer than the %d of an empty one", ErrTruncated, ciphertext, EnvelopeOverhead)
	}
	content := body / packageBytes * packagePayload
	if rest := body % packageBytes; rest > packageOverhead {
		content += rest - packageOverhead
	} else if rest > 0 {
		return 0, fmt.Errorf("%w: it ends within a package (%d bytes)", ErrTruncated, ciphertext)
	}
	if content-1 > MaxPlaintext {
		return 0, fmt.Errorf("%w: %d bytes", ErrTooLong, ciphertext)
	}
	return content - 1, nil
}

// envelope is what the file key and the salt determine. It is kept by pointer only,
// because fmt prints the unexported fields of a struct without asking its String method.
type envelope struct {
	header [headerBytes]byte
	key    [KeySize]byte
	nonce  [12]byte
}

func newEnvelope(key FileKey) (*envelope, error) {
	var salt [saltBytes]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, fmt.Errorf("kms: draw salt: %w", err)
	}
	return deriveEnvelope(key, salt[:])
}

func deriveEnvelope(key FileKey, salt []byte) (*envelope, error) {
	e := new(envelope)
	copy(e.header[:], envelopeMagic)
	e.header[8], e.header[9] = envelopeVersion, envelopeAlgorithm
	copy(e.header[prefixBytes:], salt)
	okm, err := hkdf.Key(sha256.New, (*key.secret)[:], salt, envelopeInfo+string(e.header[:prefixBytes]), KeySize+len(e.nonce)+32)
	if err != nil {
		return nil, fmt.Errorf("kms: derive envelope keys: %w", err)
	}
	copy(e.key[:], okm)
	copy(e.nonce[:], okm[KeySize:])
	copy(e.header[prefixBytes+saltBytes:], okm[KeySize+len(e.nonce):])
	return e, nil
}

// parseEnvelope checks a header and derives what it stands for.
func parseEnvelope(h []byte, key FileKey) (*envelope, error) {
	if string(h[:8]) != envelopeMagic {
		return nil, fmt.Errorf("%w: it begins with % x", ErrNotEnvelope, h[:8])
	}
	if h[8] != envelopeVersion || h[9] != envelopeAlgorithm {
		return nil, fmt.Errorf("%w (version %d, algorithm %d)", ErrUnsupported, h[8], h[9])
	}
	if [6]byte(h[10:16]) != [6]byte{} {
		return nil, fmt.Errorf("%w (reserved bytes are set)", ErrUnsupported)
	}
	e, err := deriveEnvelope(key, h[prefixBytes:prefixBytes+saltBytes])
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(h, e.header[:]) != 1 {
		return nil, ErrWrongKey
	}
	return e, nil
}

// config is the one way in which envelopes use sio.
func (e *envelope) config(sequence uint32) sio.Config {
	nonce := e.nonce
	return sio.Config{
		MinVersion: sio.Version20, MaxVersion: sio.Version20, CipherSuites: []byte{sio.AES_256_GCM},
		Key: e.key[:], Nonce: &nonce, SequenceNumber: sequence,
	}
}

// packageHead is the only header that the package with a payload of the given length may have.
func (e *envelope) packageHead(payload int64, final bool) (h [packageHeader]byte) {
	h[0], h[1] = sio.Version20, sio.AES_256_GCM
	binary.LittleEndian.PutUint16(h[2:], uint16(payload-1))
	copy(h[4:], e.nonce[:])
	h[4] &^= finalFlag
	if final {
		h[4] |= finalFlag
	}
	return h
}
