package player

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Play emits the timeline at its times, divided by speed, against one start, so that delays do not add up.
// late is the largest delay of a packet behind its time. It ends with the first error of emit or of ctx.
func Play(ctx context.Context, timeline iter.Seq[Scheduled], speed float64, emit func(Scheduled) error) (late time.Duration, err error) {
	if speed <= 0 {
		return 0, fmt.Errorf("speed %v is not above 0", speed)
	}
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for s := range timeline {
		due := start.Add(time.Duration(float64(s.At) / speed))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return late, context.Cause(ctx)
			case <-timer.C:
			}
		} else if ctx.Err() != nil {
			return late, context.Cause(ctx)
		}
		late = max(late, time.Since(due))
		if err := emit(s); err != nil {
			return late, err
		}
	}
	return late, nil
}
