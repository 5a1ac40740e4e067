//go:build !linux

package compose

import "time"

// processorTime is told by Linux only.
func processorTime(int) (time.Duration, bool) { return 0, false }
