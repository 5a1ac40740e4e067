package kms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"
	"testing"
)

const benchBytes = 8 << 20

// BenchmarkEncrypt compares the envelope (which also digests what it writes) with AES-256-GCM alone on chunks of the same size.
func BenchmarkEncrypt(b *testing.B) {
	key := testKey(b, "f")
	plain := pattern(benchBytes)
	b.Run("envelope", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			w, err := NewWriter(io.Discard, key)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := w.Write(plain); err != nil {
				b.Fatal(err)
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plain_gcm", func(b *testing.B) {
		aead := benchGCM(b, key)
		out := make([]byte, 0, packageBytes)
		var nonce [12]byte
		b.SetBytes(benchBytes)
		for b.Loop() {
			for off := 0; off < benchBytes; off += packagePayload {
				aead.Seal(out, nonce[:], plain[off:off+packagePayload], nil)
			}
		}
	})
}

// BenchmarkRangedDecrypt reads at an offset within a package, by ReadAt and as a range.
func BenchmarkRangedDecrypt(b *testing.B) {
	key := testKey(b, "f")
	sealed := seal(b, key, pattern(benchBytes))
	r, err := open(sealed, key)
	if err != nil {
		b.Fatal(err)
	}
	aead := benchGCM(b, key)
	var nonce [12]byte
	chunk := aead.Seal(nil, nonce[:], pattern(packagePayload), nil)
	for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
		p := make([]byte, size)
		b.Run(fmt.Sprintf("read_at_%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.ReadAt(p, 3*packagePayload); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("range_%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				rg, err := r.Range(3*packagePayload, int64(size))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(rg, p); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("plain_gcm_%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(size))
			out := make([]byte, 0, packagePayload)
			n := min(size, packagePayload)
			part := aead.Seal(nil, nonce[:], pattern(n), nil)
			if n == packagePayload {
				part = bytes.Clone(chunk)
			}
			for b.Loop() {
				for done := 0; done < size; done += n {
					if _, err := aead.Open(out, nonce[:], part, nil); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func benchGCM(b *testing.B, key FileKey) cipher.AEAD {
	b.Helper()
	block, err := aes.NewCipher(key.Bytes())
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	return aead
}
