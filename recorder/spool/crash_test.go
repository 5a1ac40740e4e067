package spool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dualrec/dualrec/recorder"
)

const (
	crashEnv = "DUALREC_TEST_SPOOL_CRASH"
	holdEnv  = "DUALREC_TEST_SPOOL_HOLD"
)

var crashJournals = []string{"screen", "audio"}

// crashChild appends numbered records to two journals until it is killed. Now and then it calls Sync and says what was synced.
func crashChild(root string) int {
	if err := crashAppend(root); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 1
}

func crashAppend(root string) error {
	s, err := New(Config{Root: root, MinFreeBytes: 1}, testLogger(io.Discard))
	if err != nil {
		return err
	}
	f, err := s.Open(context.Background(), "rec-1", testKey())
	if err != nil {
		return err
	}
	first, err := strconv.Atoi(os.Getenv("DUALREC_TEST_SPOOL_FIRST"))
	if err != nil {
		return err
	}
	var js []recorder.Journal
	for _, name := range crashJournals {
		j, err := f.Journal(name)
		if err != nil {
			return err
		}
		js = append(js, j)
	}
	for n := first; ; n++ {
		for i, j := range js {
			if err := j.Append(numbered(n, 100+1100*(1-i))); err != nil {
				return err
			}
		}
		if n%97 == 0 {
			if err := f.Sync(); err != nil {
				return err
			}
			fmt.Println(n)
		}
	}
}

// TestKilledWriter kills a real process with SIGKILL, again and again, on the same journals. After each kill, every record up to
// the last Sync that the child saw return is there, in order and unaltered, and appending goes on behind.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	for _, name := range crashJournals {
		mustJournal(t, f, name)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	next := 0
	for round := range 6 {
		synced := runAndKill(t, s.cfg.Root, next, 1+rand.IntN(6))
		if round%2 == 1 { // a power failure tears more than a kill does
			tearTail(t, filepath.Join(s.cfg.Root, "rec-1", crashJournals[round/2%2]+journalSuffix))
		}
		f := openFolder(t, s, "rec-1")
		for _, name := range crashJournals {
			numbers, damage := readAll(t, f, name)
			if len(damage) > 0 {
				t.Fatalf("round %d, %s: %v", round, name, damage)
			}
			if len(numbers) <= synced {
				t.Fatalf("round %d, %s: %d records, but %d had been synced", round, name, len(numbers), synced)
			}
			wantRange(t, numbers, 0, len(numbers))
		}
		// Both journals are brought to the same number, so that the next child can go on in both.
		for _, name := range crashJournals {
			numbers, _ := readAll(t, f, name)
			next = max(next, len(numbers))
		}
		for _, name := range crashJournals {
			numbers, _ := readAll(t, f, name)
			appendNumbered(t, mustJournal(t, f, name), len(numbers), next, 100)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// runAndKill runs the child from a record on, kills it after it has reported so many syncs, and returns the last.
func runAndKill(t *testing.T, root string, first, reports int) (synced int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashEnv+"="+root, "DUALREC_TEST_SPOOL_FIRST="+strconv.Itoa(first))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			t.Fatal(err)
		}
		synced = n
		if i == reports {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Fatalf("the child was not killed: %v", err)
	}
	return synced
}

func tearTail(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	torn := append([]byte(chunkMagic), make([]byte, rand.IntN(5000))...)
	if _, err := f.Write(torn); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// holdChild owns the folder until its standard input ends.
func holdChild(root string) int {
	s, err := New(Config{Root: root, MinFreeBytes: 1}, testLogger(io.Discard))
	if err == nil {
		_, err = s.Open(context.Background(), "rec-1", testKey())
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("held")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	return 0
}

func TestTwoProcessesOneOwner(t *testing.T) {
	t.Parallel()
	s, f := newFolder(t)
	appendNumbered(t, mustJournal(t, f, "screen"), 0, 10, 100)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+s.cfg.Root)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "held" {
		t.Fatalf("child: %q, %v", line, err)
	}
	if _, err := s.Open(t.Context(), "rec-1", testKey()); !errors.Is(err, ErrLocked) {
		t.Errorf("Open: %v", err)
	}
	if err := s.Remove(t.Context(), "rec-1"); !errors.Is(err, ErrLocked) {
		t.Errorf("Remove: %v", err)
	}
	view, err := s.View(t.Context(), "rec-1", testKey())
	if err != nil {
		t.Fatal(err)
	}
	numbers, _ := readAll(t, view, "screen")
	wantRange(t, numbers, 0, 10)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.Close(), cmd.Wait()); err == nil {
		t.Error("the child was not killed")
	}
	openFolder(t, s, "rec-1") // a dead owner owns nothing
}
