package kms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
)

var update = flag.Bool("update", false, "rewrite the known answers")

func testKey(t testing.TB, fileID string) FileKey {
	t.Helper()
	raw := make([]byte, KeySize)
	for i := range raw {
		raw[i] = byte(i)
	}
	dek, err := DataKeyFromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := dek.FileKey(fileID, BlobRole)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i % 251)
	}
	return p
}

// seal encrypts in writes of odd sizes.
func seal(t testing.TB, key FileKey, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, key)
	if err != nil {
		t.Fatal(err)
	}
	for rest := plain; len(rest) > 0; {
		n := min(len(rest), 40_001)
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// sealFixed seals under the salt of the known answers, 80 81 82 … 9f.
func sealFixed(t testing.TB, key FileKey, plain []byte) []byte {
	t.Helper()
	salt := make([]byte, saltBytes)
	for i := range salt {
		salt[i] = byte(0x80 + i)
	}
	env, err := deriveEnvelope(key, salt)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := newWriter(&out, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(ciphertext []byte, key FileKey) (*Reader, error) {
	return NewReader(bytes.NewReader(ciphertext), int64(len(ciphertext)), key)
}

// sizes are all boundaries around the packages of 64 KiB; the end mark takes one byte.
var sizes = []int{0, 1, 2, 15, 16, 17, 31, 32, 33, 65_533, 65_534, 65_535, 65_536, 65_537, 131_070, 131_071, 131_072, 131_073, 200_000}

func TestEnvelopeSizes(t *testing.T) {
	t.Parallel()
	key := testKey(t, BlobFileID("rec-1", "video.mp4"))
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			plain := pattern(size)
			sealed := seal(t, key, plain)
			if want, err := CiphertextSize(int64(size)); err != nil || want != int64(len(sealed)) {
				t.Errorf("CiphertextSize: %d, %v; the file has %d", want, err, len(sealed))
			}
			if got, err := PlaintextSize(int64(len(sealed))); err != nil || got != int64(size) {
				t.Errorf("PlaintextSize: %d, %v", got, err)
			}
			r, err := open(sealed, key)
			if err != nil {
				t.Fatal(err)
			}
			if r.Size() != int64(size) {
				t.Errorf("Size: %d", r.Size())
			}
			whole, err := r.Range(0, r.Size())
			if err != nil {
				t.Fatal(err)
			}
			if err := iotest.TestReader(whole, plain); err != nil {
				t.Error(err)
			}
			if got, err := independentOpen(sealed, key); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("a decoder written from the spec alone: %v", err)
			}
		})
	}
}

func TestReadAtEqualsPlaintext(t *testing.T) {
	t.Parallel()
	key := testKey(t, "f")
	plain := pattern(3*packagePayload + 777)
	r, err := open(seal(t, key, plain), key)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	type span struct{ off, n int }
	var spans []span
	for _, edge := range []int{0, packagePayload, 2 * packagePayload, 3 * packagePayload, len(plain)} {
		for _, d := range []int{-2, -1, 0, 1, 2} {
			for _, n := range []int{0, 1, 2, 3, packagePayload - 1, packagePayload, packagePayload + 1, len(plain)} {
				spans = append(spans, span{max(edge+d, 0), n})
			}
		}
	}
	for range 200 {
		spans = append(spans, span{rnd.IntN(len(plain) + 10), rnd.IntN(2 * packagePayload)})
	}
	for _, s := range spans {
		want := plain[min(s.off, len(plain)):min(s.off+s.n, len(plain))]
		got := make([]byte, s.n)
		n, err := r.ReadAt(got, int64(s.off))
		if !bytes.Equal(got[:n], want) {
			t.Fatalf("ReadAt(%d bytes at %d): wrong bytes (%d)", s.n, s.off, n)
		}
		if wantEOF := len(want) < s.n; (err == io.EOF) != wantEOF || (err != nil && err != io.EOF) {
			t.Fatalf("ReadAt(%d bytes at %d): %v", s.n, s.off, err)
		}
		rg, err := r.Range(int64(s.off), int64(s.n))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(iotest.OneByteReader(io.LimitReader(rg, 100))); err != nil || !bytes.Equal(got, want[:min(100, len(want))]) {
			t.Fatalf("Range(%d, %d): %v", s.off, s.n, err)
		}
		if got, err := io.ReadAll(rg); err != nil || !bytes.Equal(got, want[min(100, len(want)):]) {
			t.Fatalf("Range(%d, %d), rest: %v", s.off, s.n, err)
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset was accepted")
	}
	if _, err := r.Range(-1, 1); err == nil {
		t.Error("a negative range was accepted")
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	key := testKey(t, "f")
	plain := pattern(2*packagePayload + 5000) // packages 0, 1 and a final one of 5001
	sealed := seal(t, key, plain)
	other := seal(t, key, plain) // another version under the same file key
	pkg := func(i int) int { return headerBytes + i*packageBytes }
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(sealed)) }
	flip := func(at int) []byte { return edit(func(b []byte) []byte { b[at] ^= 1; return b }) }
	tests := []struct {
		name string
		file []byte
		key  FileKey
		want error
	}{
		{"nothing", nil, key, ErrTruncated},
		{"some other file", []byte("GIF89a"), key, ErrNotEnvelope},
		{"some other long file", pattern(1000), key, ErrNotEnvelope},
		{"half a header", sealed[:40], key, ErrTruncated},
		{"header only", sealed[:pkg(0)], key, ErrTruncated},
		{"header and an empty package", sealed[:pkg(0)+32], key, ErrTruncated},
		{"within the first package", sealed[:pkg(0)+500], key, ErrTruncated},
		{"first package only", sealed[:pkg(1)], key, ErrTruncated},
		{"without the final package", sealed[:pkg(2)], key, ErrTruncated},
		{"five bytes into the final package", sealed[:pkg(2)+5], key, ErrTruncated},
		{"twenty bytes into the final package", sealed[:pkg(2)+20], key, ErrTruncated},
		{"one byte short", sealed[:len(sealed)-1], key, ErrTruncated},
		{"one byte more", append(bytes.Clone(sealed), 0), key, ErrTrailing},
		{"forty bytes more", append(bytes.Clone(sealed), make([]byte, 40)...), key, ErrTrailing},
		{"many packages more", append(bytes.Clone(sealed), make([]byte, 5*packageBytes)...), key, ErrTrailing},
		{"a second envelope behind it", append(bytes.Clone(sealed), sealed...), key, ErrTrailing},
		{"the final package twice", append(bytes.Clone(sealed), sealed[pkg(2):]...), key, ErrTrailing},
		{"wrong key", sealed, testKey(t, "g"), ErrWrongKey},
		{"flip in the magic", flip(0), key, ErrNotEnvelope},
		{"flip in the version", flip(8), key, ErrUnsupported},
		{"flip in the algorithm", flip(9), key, ErrUnsupported},
		{"flip in the reserved bytes", flip(15), key, ErrUnsupported},
		{"flip in the salt", flip(16), key, ErrWrongKey},
		{"flip in the commitment", flip(79), key, ErrWrongKey},
		{"flip in the final package", flip(pkg(2) + 100), key, ErrDamaged},
		{"flip in the final tag", flip(len(sealed) - 1), key, ErrDamaged},
		// The header cannot be authenticated apart from its package: this looks like a longer package that was cut.
		{"flip in the final length", flip(pkg(2) + 2), key, ErrTruncated},
		{"flip in the final nonce", flip(pkg(2) + 9), key, ErrDamaged},
		{"flip in the cipher suite", flip(pkg(2) + 1), key, ErrDamaged},
		{"header of another version", append(bytes.Clone(other[:pkg(0)]), sealed[pkg(0):]...), key, ErrDamaged},
		{"final package of another version", append(bytes.Clone(sealed[:pkg(2)]), other[pkg(2):]...), key, ErrDamaged},
		{"a middle package marked final", edit(func(b []byte) []byte { b[pkg(1)+4] |= finalFlag; return b[:pkg(2)] }), key, ErrDamaged},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := open(tt.file, tt.key); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	announced := func(size int) error {
		_, err := NewReader(bytes.NewReader(sealed), int64(size), key)
		return err
	}
	if err := announced(len(sealed) + packageBytes); !errors.Is(err, ErrTrailing) && !errors.Is(err, ErrTruncated) {
		t.Errorf("announced longer than it is: %v", err)
	}
	if err := announced(-1); !errors.Is(err, ErrTruncated) {
		t.Errorf("announced with a negative size: %v", err)
	}
}

// TestRefusalsWithin alters packages that opening does not touch: reading them must fail, reading the others must not.
func TestRefusalsWithin(t *testing.T) {
	t.Parallel()
	key := testKey(t, "f")
	plain := pattern(6*packagePayload + 10)
	sealed := seal(t, key, plain)
	other := seal(t, key, plain)
	pkg := func(b []byte, i int) []byte { return b[headerBytes+i*packageBytes : headerBytes+(i+1)*packageBytes] }
	tests := []struct {
		name string
		at   int // the altered package
		edit func(b []byte)
	}{
		{"flip in the payload", 2, func(b []byte) { pkg(b, 2)[1000] ^= 0x10 }},
		{"flip in the tag", 2, func(b []byte) { pkg(b, 2)[packageBytes-1] ^= 1 }},
		{"flip in the nonce", 2, func(b []byte) { pkg(b, 2)[6] ^= 1 }},
		{"marked final", 2, func(b []byte) { pkg(b, 2)[4] |= finalFlag }},
		{"shorter length", 2, func(b []byte) { pkg(b, 2)[2] = 7 }},
		{"the package before it", 2, func(b []byte) { copy(pkg(b, 2), pkg(sealed, 1)) }},
		{"the same package of another version", 2, func(b []byte) { copy(pkg(b, 2), pkg(other, 2)) }},
		// sio's own ReadAt accepts this one: see packages.
		{"another package with its nonce adjusted", 5, func(b []byte) {
			copy(pkg(b, 5), pkg(sealed, 3))
			n := pkg(b, 5)[12:16]
			binary.LittleEndian.PutUint32(n, binary.LittleEndian.Uint32(n)^3^5)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := bytes.Clone(sealed)
			tt.edit(file)
			r, err := open(file, key)
			if err != nil {
				t.Fatal(err)
			}
			var damage *DamageError
			for _, off := range []int{tt.at*packagePayload + 1, tt.at*packagePayload + packagePayload/2} {
				n, err := r.ReadAt(make([]byte, 10), int64(off))
				if n != 0 || !errors.Is(err, ErrDamaged) || !errors.As(err, &damage) {
					t.Fatalf("ReadAt at %d: %d bytes, %v", off, n, err)
				}
			}
			if want := int64(headerBytes + tt.at*packageBytes); damage.Offset != want {
				t.Errorf("damage is at %d, the error says %d", want, damage.Offset)
			}
			rg, err := r.Range(0, r.Size())
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(rg)
			if !errors.Is(err, ErrDamaged) || !bytes.Equal(got, plain[:len(got)]) || len(got) > tt.at*packagePayload {
				t.Errorf("stream gave %d bytes and %v", len(got), err)
			}
			if n, err := rg.Read(make([]byte, 10)); n != 0 || !errors.Is(err, ErrDamaged) {
				t.Errorf("after the damage the stream went on: %d, %v", n, err)
			}
			before := make([]byte, 100)
			if _, err := r.ReadAt(before, 500); err != nil || !bytes.Equal(before, plain[500:600]) {
				t.Errorf("an intact package was refused: %v", err)
			}
		})
	}
}

func TestEveryFlipIsRefused(t *testing.T) {
	t.Parallel()
	key := testKey(t, "f")
	sealed := seal(t, key, []byte("a short secret"))
	for bit := range len(sealed) * 8 {
		file := bytes.Clone(sealed)
		file[bit/8] ^= 1 << (bit % 8)
		if _, err := open(file, key); err == nil {
			t.Fatalf("flip of bit %d was accepted", bit)
		}
	}
	for n := range sealed {
		if _, err := open(sealed[:n], key); !errors.Is(err, ErrTruncated) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestVersionsOfAFileShareNothing(t *testing.T) {
	t.Parallel()
	key := testKey(t, "f")
	a, b := seal(t, key, pattern(100)), seal(t, key, pattern(100))
	if bytes.Equal(a[16:48], b[16:48]) || bytes.Equal(a[headerBytes+4:headerBytes+16], b[headerBytes+4:headerBytes+16]) ||
		bytes.Equal(a[headerBytes+16:], b[headerBytes+16:]) {
		t.Error("two envelopes under one file key share salt, nonce or ciphertext")
	}
}

func TestStorageErrorsPassThrough(t *testing.T) {
	t.Parallel()
	key := testKey(t, "f")
	sealed := seal(t, key, pattern(200_000))
	broken := errors.New("the store is away")
	src := &flakyReaderAt{b: sealed}
	src.err = broken
	if _, err := NewReader(src, int64(len(sealed)), key); !errors.Is(err, broken) {
		t.Errorf("opening: %v", err)
	}
	src.err = nil
	r, err := NewReader(src, int64(len(sealed)), key)
	if err != nil {
		t.Fatal(err)
	}
	src.err = broken
	if _, err := r.ReadAt(make([]byte, 10), 5); !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
		t.Errorf("reading: %v", err)
	}
	src.err = nil
	src.b = sealed[:1000]
	if _, err := r.ReadAt(make([]byte, 10), 5); !errors.Is(err, ErrTruncated) {
		t.Errorf("after the file was cut: %v", err)
	}
}

type flakyReaderAt struct {
	b   []byte
	err error
}

func (f *flakyReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return bytes.NewReader(f.b).ReadAt(p, off)
}

func TestWriterErrorsAreFinal(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	out := &limitedWriter{left: 70_000, err: full}
	w, err := NewWriter(out, testKey(t, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(pattern(300_000)); !errors.Is(err, full) {
		t.Fatalf("Write: %v", err)
	}
	out.left = 1 << 30
	if _, err := w.Write([]byte("x")); !errors.Is(err, full) {
		t.Errorf("Write after an error: %v", err)
	}
	for range 2 {
		if err := w.Close(); !errors.Is(err, full) {
			t.Errorf("Close after an error: %v", err)
		}
	}
	if _, err := w.Write(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Close: %v", err)
	}
	if _, err := NewWriter(&limitedWriter{err: full}, testKey(t, "f")); !errors.Is(err, full) {
		t.Errorf("NewWriter: %v", err)
	}
}

type limitedWriter struct {
	left int
	err  error
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if n < len(p) {
		return n, l.err
	}
	return n, nil
}

func TestWriterSum(t *testing.T) {
	t.Parallel()
	var out closeBuffer
	w, err := NewWriter(&out, testKey(t, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(pattern(100_000)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	want := Sum{Plaintext: 100_000, Ciphertext: int64(out.Len()), SHA256: sha256.Sum256(out.Bytes())}
	if got := w.Sum(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if out.closed {
		t.Error("the writer closed what it does not own")
	}
}

type closeBuffer struct {
	bytes.Buffer
	closed bool
}

func (c *closeBuffer) Close() error { c.closed = true; return nil }

func TestSizesOutOfRange(t *testing.T) {
	t.Parallel()
	for _, size := range []int64{-1, MaxPlaintext + 1} {
		if _, err := CiphertextSize(size); !errors.Is(err, ErrTooLong) {
			t.Errorf("CiphertextSize(%d): %v", size, err)
		}
	}
	longest, err := CiphertextSize(MaxPlaintext)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := PlaintextSize(longest); err != nil || got != MaxPlaintext {
		t.Errorf("PlaintextSize of the longest: %d, %v", got, err)
	}
	if _, err := PlaintextSize(longest + 100); !errors.Is(err, ErrTooLong) {
		t.Errorf("PlaintextSize of a longer one: %v", err)
	}
	for _, size := range []int64{-5, 0, 79, 80, 112} {
		if _, err := PlaintextSize(size); !errors.Is(err, ErrTruncated) {
			t.Errorf("PlaintextSize(%d): %v", size, err)
		}
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte{0xAB}, KeySize)
	dek, err := DataKeyFromBytes(raw)
	if err != nil {
		t.Fatal(err)
	}
	fk, err := dek.FileKey("f", BlobRole)
	if err != nil {
		t.Fatal(err)
	}
	r, err := open(seal(t, fk, pattern(10)), fk)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{dek, fk, &dek, &fk, r} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		for _, s := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), log.String()} {
			for _, secret := range [][]byte{dek.Bytes(), fk.Bytes(), r.env.key[:]} {
				for _, form := range []string{string(secret), hex.EncodeToString(secret), fmt.Sprint(secret)[1:60], fmt.Sprintf("%#v", secret)[10:60]} {
					if bytes.Contains([]byte(s), []byte(form)) {
						t.Errorf("%T prints its key", v)
					}
				}
			}
		}
	}
}

// knownAnswer is one line of testdata/envelope.json. Long files are given by their digest.
type knownAnswer struct {
	Plaintext  int    `json:"plaintext_bytes"`
	Ciphertext int    `json:"ciphertext_bytes"`
	SHA256     string `json:"ciphertext_sha256"`
	Hex        string `json:"ciphertext_hex,omitempty"`
}

func TestKnownAnswers(t *testing.T) {
	t.Parallel()
	const path = "testdata/envelope.json"
	key := testKey(t, BlobFileID("rec-1", "video.mp4"))
	var got []knownAnswer
	for _, size := range []int{0, 1, 16, 65_534, 65_535, 65_536, 131_071, 200_000} {
		file := sealFixed(t, key, pattern(size))
		sum := sha256.Sum256(file)
		ka := knownAnswer{Plaintext: size, Ciphertext: len(file), SHA256: hex.EncodeToString(sum[:])}
		if size <= 16 {
			ka.Hex = hex.EncodeToString(file)
		}
		got = append(got, ka)
	}
	text, err := json.MarshalIndent(got, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(want), text) {
		t.Errorf("the format changed: files that exist could not be read any more\n%s", text)
	}
}

// independentOpen is written from docs/formats/envelope.md with crypto/cipher alone, so that
// the spec and the code cannot drift apart together.
func independentOpen(file []byte, key FileKey) ([]byte, error) {
	okm, err := hkdf.Key(sha256.New, key.Bytes(), file[16:48], "dualrec/envelope/v1\x00"+string(file[:16]), 76)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(okm[44:], file[48:80]) {
		return nil, errors.New("commitment")
	}
	block, err := aes.NewCipher(okm[:32])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	var content []byte
	rest := file[80:]
	for i := uint32(0); len(rest) > 0; i++ {
		n := min(len(rest), 65_568)
		nonce := bytes.Clone(okm[32:44])
		nonce[0] &= 0x7F
		if n == len(rest) {
			nonce[0] |= 0x80
		}
		if !bytes.Equal(nonce, rest[4:16]) {
			return nil, errors.New("nonce of the header")
		}
		binary.LittleEndian.PutUint32(nonce[8:], binary.LittleEndian.Uint32(nonce[8:])^i)
		content, err = aead.Open(content, nonce, rest[16:n], rest[:4])
		if err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if content[len(content)-1] != 1 {
		return nil, errors.New("end mark")
	}
	return content[:len(content)-1], nil
}

// FuzzReader feeds files that may be authentic, altered or noise. Whatever is accepted must be the plaintext that was sealed.
func FuzzReader(f *testing.F) {
	key := testKey(f, "f")
	plain := pattern(70_000)
	// A fixed salt: the fuzzing engine's processes must agree on what is authentic.
	sealed := sealFixed(f, key, plain)
	small := sealFixed(f, key, plain[:100])
	f.Add(small, uint32(0), byte(0), uint16(0))
	f.Add(small[:90], uint32(3), byte(1), uint16(7))
	f.Add([]byte("DUALRECE"), uint32(0), byte(0), uint16(0))
	f.Add([]byte{}, uint32(70_000), byte(0x80), uint16(65_535))
	f.Fuzz(func(t *testing.T, noise []byte, at uint32, mask byte, off uint16) {
		if r, err := open(noise, key); err == nil {
			got := make([]byte, r.Size())
			if _, err := r.ReadAt(got, 0); err == nil && !bytes.Equal(noise, small) && !bytes.Equal(noise, sealed) {
				t.Fatal("noise was accepted")
			}
		}
		file := bytes.Clone(sealed)
		file[int(at)%len(file)] ^= mask
		r, err := open(file, key)
		if err != nil {
			if mask == 0 {
				t.Fatal(err)
			}
			return
		}
		got := make([]byte, 300)
		n, err := r.ReadAt(got, int64(off))
		if err == nil && !bytes.Equal(got[:n], plain[off:int(off)+n]) {
			t.Fatal("altered plaintext was given out")
		}
	})
}
