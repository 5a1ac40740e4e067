package player

import (
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loadOnce reads each capture once for all tests; nothing writes to it.
var loadOnce sync.Map

func load(t testing.TB, name string) *Call {
	t.Helper()
	f, _ := loadOnce.LoadOrStore(name, sync.OnceValues(func() (*Call, error) {
		return Load(filepath.Join("..", "..", "..", "testdata", "media", name))
	}))
	c, err := f.(func() (*Call, error))()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
