package playback

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Asset is what of a recording is served.
type Asset string

// The assets.
const (
	Video    Asset = "video"    // the composed MP4
	Audio    Asset = "audio"    // an audio-only recording's MP4
	Waveform Asset = "waveform" // the peaks, as JSON
)

// Values lists all assets.
func (Asset) Values() []string { return []string{string(Video), string(Audio), string(Waveform)} }

// name and media type of an asset; empty for an unknown one.
func (a Asset) file() (name, mediaType string) {
	switch a {
	case Video:
		return "video.mp4", "video/mp4"
	case Audio:
		return "audio.m4a", "audio/mp4"
	case Waveform:
		return "waveform.json", "application/json"
	}
	return "", ""
}

// Disposition says whether a browser shows the asset or saves it.
type Disposition string

// The dispositions of RFC 6266.
const (
	Inline     Disposition = "inline"
	Attachment Disposition = "attachment"
)

// Values lists all dispositions.
func (Disposition) Values() []string { return []string{string(Inline), string(Attachment)} }

// Grant is the permission of one viewer to get one asset for a while.
type Grant struct {
	ID          string // 26 characters, see NewGrantID
	TenantID    string
	RecordingID string
	Asset       Asset
	Viewer      string // the principal's subject
	Purpose     string // why, in the viewer's words or the console's: "review", "export"
	IssuedAt    time.Time
	ExpiresAt   time.Time
	IP          netip.Addr // the only address that may use it; invalid: any
	Disposition Disposition
}

// maxField bounds every text of a grant, in bytes.
const maxField = 256

// validate returns an error wrapping ErrRequest that says what to change.
func (g Grant) validate() error {
	if _, err := decodeGrantID(g.ID); err != nil {
		return refuseRequest("the id is not one of NewGrantID")
	}
	for _, f := range []struct {
		name, value string
		required    bool
	}{{"tenant", g.TenantID, true}, {"recording", g.RecordingID, true}, {"viewer", g.Viewer, true}, {"purpose", g.Purpose, false}} {
		switch {
		case f.required && f.value == "":
			return refuseRequest("%s is missing", f.name)
		case len(f.value) > maxField:
			return refuseRequest("%s has %d bytes, more than the limit of %d", f.name, len(f.value), maxField)
		case !utf8.ValidString(f.value) || strings.ContainsRune(f.value, 0):
			return refuseRequest("%s is not UTF-8 text without zero bytes", f.name)
		}
	}
	if !slices.Contains(g.Asset.Values(), string(g.Asset)) {
		return refuseRequest("asset %.40q is not one of %v", g.Asset, g.Asset.Values())
	}
	if !slices.Contains(g.Disposition.Values(), string(g.Disposition)) {
		return refuseRequest("disposition %.40q is not one of %v", g.Disposition, g.Disposition.Values())
	}
	if !inRange(g.IssuedAt) || !inRange(g.ExpiresAt) || !g.ExpiresAt.After(g.IssuedAt) {
		return refuseRequest("it must expire after it is issued")
	}
	return nil
}

// inRange: a time fits the 48 bits of milliseconds that a token has.
func inRange(t time.Time) bool {
	ms := t.UnixMilli()
	return ms >= 0 && ms < 1<<48
}

const grantIDBytes = 16

var grantIDText = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// NewGrantID draws an id: 26 characters that sort by time. Its secrecy protects nothing; the MAC does.
func NewGrantID(now time.Time) string {
	var raw [grantIDBytes]byte
	putUint48(raw[:], uint64(now.UnixMilli()))
	_, _ = rand.Read(raw[6:]) // never fails (crypto/rand)
	return grantIDText.EncodeToString(raw[:])
}

func decodeGrantID(id string) (raw [grantIDBytes]byte, err error) {
	b, err := grantIDText.DecodeString(id)
	if err != nil || len(b) != grantIDBytes || grantIDText.EncodeToString(b) != id {
		return raw, ErrForbidden
	}
	return [grantIDBytes]byte(b), nil
}

const bindingBytes = 16

// binding is the short digest that ties a grant's row to its URL.
func (g Grant) binding(id [grantIDBytes]byte) []byte {
	b := append([]byte("dualrec/grant/v1\x00"), id[:]...)
	address := ""
	if g.IP.IsValid() {
		address = g.IP.Unmap().WithZone("").String()
	}
	for _, s := range []string{g.TenantID, g.RecordingID, string(g.Asset), g.Viewer, g.Purpose, address, string(g.Disposition)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(g.IssuedAt.UnixMilli()))
	b = binary.BigEndian.AppendUint64(b, uint64(g.ExpiresAt.UnixMilli()))
	sum := sha256.Sum256(b)
	return sum[:bindingBytes]
}

func putUint48(b []byte, v uint64) {
	b[0], b[1], b[2], b[3], b[4], b[5] = byte(v>>40), byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
}

func uint48(b []byte) uint64 {
	return uint64(b[0])<<40 | uint64(b[1])<<32 | uint64(b[2])<<24 | uint64(b[3])<<16 | uint64(b[4])<<8 | uint64(b[5])
}
