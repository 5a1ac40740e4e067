package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stat is the part of /proc/PID/stat that is needed here (proc_pid_stat(5)).
type stat struct {
	pid, parent int
	self        time.Duration // user and system time of the process
	reaped      time.Duration // of the children that it has waited for, with theirs
	rssPages    int64
}

// tick is the unit of times in /proc: USER_HZ is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

var errStat = errors.New("not a line of /proc/PID/stat")

// parseStat reads a line of /proc/PID/stat. The program's name stands in parentheses and may hold anything, also
// parentheses, so fields are counted from the last one.
func parseStat(raw []byte) (stat, error) {
	open, end := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("%w: no name in parentheses", errStat)
	}
	fields := strings.Fields(string(raw[end+1:]))
	if len(fields) < 22 {
		return stat{}, fmt.Errorf("%w: %d fields after the name", errStat, len(fields))
	}
	var err error
	number := func(s string) int64 {
		n, e := strconv.ParseInt(s, 10, 64)
		err = errors.Join(err, e)
		return n
	}
	field := func(n int) int64 { return number(fields[n-3]) } // n as in the manual page; the state is number 3
	s := stat{pid: int(number(strings.TrimSpace(string(raw[:open])))), parent: int(field(4)),
		self:   time.Duration(field(14)+field(15)) * tick,
		reaped: time.Duration(field(16)+field(17)) * tick, rssPages: field(24)}
	if err != nil {
		return stat{}, fmt.Errorf("%w: %w", errStat, err)
	}
	return s, nil
}

func statOf(pid int) (stat, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(raw)
}

// children lists the processes whose parent is pid. Processes that end meanwhile are left out.
func children(pid int) ([]stat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []stat
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := statOf(id); err == nil && s.parent == pid {
			out = append(out, s)
		}
	}
	return out, nil
}

func (s stat) rssMB() float64 { return float64(s.rssPages) * float64(os.Getpagesize()) / 1e6 }

// median of at least one value.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}
