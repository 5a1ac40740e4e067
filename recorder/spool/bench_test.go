package spool

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

const packetBytes = 1200

// BenchmarkAppend appends packets and ends with everything written (not synced): encryption and system calls are within.
// plain_gcm seals the same bytes in chunks of the same size, and does nothing else.
func BenchmarkAppend(b *testing.B) {
	rec := numbered(1, packetBytes)
	b.Run("journal", func(b *testing.B) {
		_, f := newFolder(b)
		j := mustJournal(b, f, "screen").(*journal)
		b.SetBytes(packetBytes)
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if err := j.Append(rec); err != nil {
				b.Fatal(err)
			}
		}
		if err := j.flush(true); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
	})
	b.Run("plain_gcm", func(b *testing.B) {
		block, err := aes.NewCipher(make([]byte, 32))
		if err != nil {
			b.Fatal(err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			b.Fatal(err)
		}
		const perChunk = chunkTarget / (packetBytes + recordHeader)
		chunk := make([]byte, perChunk*packetBytes, chunkTarget+tagSize)
		var nonce [12]byte
		b.SetBytes(packetBytes)
		for i := range b.N {
			if i%perChunk == 0 {
				aead.Seal(chunk[:0], nonce[:], chunk, nil)
			}
		}
	})
}

// BenchmarkSync makes one chunk per journal durable, as every half second does.
func BenchmarkSync(b *testing.B) {
	for _, journals := range []int{1, 3} {
		b.Run(fmt.Sprintf("journals_%d", journals), func(b *testing.B) {
			_, f := newFolder(b)
			var js []recorder.Journal
			for i := range journals {
				js = append(js, mustJournal(b, f, fmt.Sprint("track-", i)))
			}
			rec := numbered(1, packetBytes)
			for b.Loop() {
				for _, j := range js {
					if err := j.Append(rec); err != nil {
						b.Fatal(err)
					}
				}
				mustSync(b, f)
			}
		})
	}
}

// BenchmarkNext reads packets back.
func BenchmarkNext(b *testing.B) {
	_, f := newFolder(b)
	j := mustJournal(b, f, "screen")
	appendNumbered(b, j, 0, 10_000, packetBytes)
	mustSync(b, f)
	r, err := f.Read("screen", recorder.Position{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { r.Close() }()
	b.SetBytes(packetBytes)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := r.Next(); err != nil {
			if err := r.Close(); err != nil {
				b.Fatal(err)
			}
			if r, err = f.Read("screen", recorder.Position{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}
