package playback

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImports keeps the core free of adapters: what it needs from outside are ports, so that it can be tested and
// reasoned about without a database, a store or a key service.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		switch dep {
		case "github.com/dualrec/dualrec/playback", "github.com/dualrec/dualrec/kms":
		default:
			if !strings.HasPrefix(dep, "github.com/minio/sio") && !strings.HasPrefix(dep, "golang.org/x/") { // what kms stands on
				t.Errorf("playback depends on %s", dep)
			}
		}
	}
}
