package ingest

import (
	"slices"
	"testing"
	"time"
)

// TestKeyframes plays scripts in steps of 10 ms: at which moments (ms) is a keyframe asked for?
func TestKeyframes(t *testing.T) {
	t.Parallel()
	every := func(k *keyframes, now, from, to, period int) {
		if now >= from && now < to && (now-from)%period == 0 {
			k.packet(ms(now))
		}
	}
	for _, tc := range []struct {
		name     string
		interval time.Duration
		until    int
		missing  func(now int) int // since when, -1 for nothing
		script   func(k *keyframes, now int)
		want     []int
	}{
		{"nothing arrives", 0, 5000, nil, func(*keyframes, int) {}, nil},
		{"it starts with a keyframe", 0, 5000, nil, func(k *keyframes, now int) {
			every(k, now, 100, 5000, 30)
			if now == 100 {
				k.keyframe(ms(now))
			}
		}, nil},
		{"it starts in mid-picture; none comes", 0, 6000, nil, func(k *keyframes, now int) { every(k, now, 100, 6000, 30) },
			[]int{400, 2400, 4400}},
		{"it starts in mid-picture; one comes", 0, 6000, nil, func(k *keyframes, now int) {
			every(k, now, 100, 6000, 30)
			if now == 600 {
				k.keyframe(ms(now))
			}
		}, []int{400}},
		{"nobody is asked while nothing arrives", 0, 9000, nil, func(k *keyframes, now int) {
			every(k, now, 100, 500, 30)
			every(k, now, 6000, 9000, 30)
		}, []int{400, 2400, 6000, 8000}},
		{"a loss that reordering heals", 0, 3000, func(now int) int {
			if now >= 1000 && now < 1190 {
				return 1000
			}
			return -1
		}, started, nil},
		{"a loss that stays", 0, 3000, func(now int) int {
			if now >= 1000 && now < 1500 {
				return 1000
			}
			return -1
		}, func(k *keyframes, now int) {
			started(k, now)
			if now == 1500 {
				k.keyframe(ms(now))
			}
		}, []int{1200}},
		{"losses again and again: at most one a second", 0, 4000, func(now int) int {
			if now >= 1000 {
				return 1000
			}
			return -1
		}, func(k *keyframes, now int) {
			started(k, now)
			if now > 1000 && now%100 == 0 {
				k.keyframe(ms(now))
			}
		}, []int{1200, 2200, 3200}},
		{"a wish is granted at once", 0, 1000, nil, func(k *keyframes, now int) {
			started(k, now)
			if now == 500 {
				k.request()
			}
		}, []int{500}},
		{"a wish before any packet", 0, 2500, nil, func(k *keyframes, now int) {
			if now == 500 {
				k.request()
			}
		}, []int{500}},
		{"wishes wait for the limiter", 0, 2400, nil, func(k *keyframes, now int) {
			started(k, now)
			if now == 500 || now == 700 || now == 900 {
				k.request()
			}
		}, []int{500, 1500}},
		{"a keyframe meanwhile fulfils the wish", 0, 3000, nil, func(k *keyframes, now int) {
			started(k, now)
			if now == 500 || now == 700 {
				k.request()
			}
			if now == 900 {
				k.keyframe(ms(now))
			}
		}, []int{500}},
		{"periodic", 2 * time.Second, 7000, nil, func(k *keyframes, now int) {
			started(k, now)
			if now == 2100 || now == 4300 {
				k.keyframe(ms(now))
			}
		}, []int{2000, 4100, 6300}},
		{"periodic is off", 0, 7000, nil, started, nil},
		{"periodic leaves a silent track alone", 10 * time.Second, 30000, nil, func(k *keyframes, now int) {
			if now < 1000 {
				started(k, now)
			}
		}, nil},
		{"the source restarts", 0, 3000, nil, func(k *keyframes, now int) {
			started(k, now)
			if now == 1000 {
				k.restart(ms(now))
			}
			if now == 1500 {
				k.keyframe(ms(now))
			}
		}, []int{1300}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			k := &keyframes{interval: tc.interval}
			var got []int
			for now := 0; now < tc.until; now += 10 {
				tc.script(k, now)
				damaged := false
				if tc.missing != nil && tc.missing(now) >= 0 {
					damaged = now-tc.missing(now) >= int(lossPatience/time.Millisecond)
				}
				if k.due(ms(now), damaged) {
					k.asked(ms(now))
					got = append(got, now)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("asked at %v, want %v", got, tc.want)
			}
		})
	}
}

// started is a track that sends a keyframe at once and then 33 packets a second.
func started(k *keyframes, now int) {
	if now%30 == 0 {
		k.packet(ms(now))
	}
	if now == 0 {
		k.keyframe(ms(now))
	}
}
