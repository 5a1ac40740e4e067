package auth

import (
	"os/exec"
	"strings"
	"testing"
)

// TestImports keeps the core free of adapters: token libraries and databases come in through ports.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if got := strings.Fields(string(out)); len(got) != 1 {
		t.Errorf("auth depends on %v, want the standard library only", got[:len(got)-1])
	}
}
