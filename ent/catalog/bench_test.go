package catalog_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/ent/catalog/pgtest"
	"github.com/dualrec/dualrec/recorder"
)

// BenchmarkCatalog measures what a call costs the database: its start, a change of state, statistics of a track, its end;
// and a floor of 200 calls.
func BenchmarkCatalog(b *testing.B) {
	for name, address := range map[string]func(b *testing.B) string{
		"sqlite":   func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "a.db") },
		"postgres": func(b *testing.B) string { return pgtest.Database(b) },
	} {
		b.Run(name, func(b *testing.B) { benchmark(b, address(b)) })
	}
}

func benchmark(b *testing.B, address string) {
	c, err := catalog.Open(b.Context(), address, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	t, err := c.CreateTenant(b.Context(), catalog.Tenant{Name: "Acme"}, alice)
	if err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	start := func() recorder.RecordingRow {
		row, _, err := c.Begin(b.Context(), beginRow(t.ID, fmt.Sprint("call-", n.Add(1))))
		if err != nil {
			b.Fatal(err)
		}
		return row
	}
	for range 200 {
		start()
	}
	one := start()
	b.Run("Floor200", func(b *testing.B) {
		for b.Loop() {
			if rows, err := c.Floor(b.Context(), t.ID); err != nil || len(rows) < 200 {
				b.Fatal(len(rows), err)
			}
		}
	})
	b.Run("Begin", func(b *testing.B) {
		for b.Loop() {
			start()
		}
	})
	b.Run("Transition", func(b *testing.B) {
		states := []recorder.CaptureState{recorder.Recording, recorder.Paused}
		for i := 0; b.Loop(); i++ {
			if err := c.Transition(b.Context(), move(one.ID, t.ID, states[i%2], recorder.Pending, states[(i+1)%2])); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("SaveTrack", func(b *testing.B) {
		track := one.Tracks[0]
		for b.Loop() {
			track.Stats.Packets++
			if err := c.SaveTrack(b.Context(), t.ID, one.ID, track); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Finish", func(b *testing.B) {
		for b.Loop() {
			if err := c.Finish(b.Context(), finishRow(start())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
