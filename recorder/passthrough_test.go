package recorder

import "testing"

func TestPassthroughRules(t *testing.T) {
	t.Parallel()
	screen := func(change func(*SegmentPlan)) SegmentPlan {
		p := SegmentPlan{From: 300, To: 600, FPS: 30, Regions: []RegionPlan{{Leg: "leg-000", Kind: Screen, Codec: H264, SourceSize: Size{1920, 1080}}}}
		if change != nil {
			change(&p)
		}
		return p
	}
	card := func(from, to int64) SegmentPlan {
		return SegmentPlan{From: from, To: to, FPS: 30, Regions: []RegionPlan{{Kind: Screen}}}
	}
	for name, tc := range map[string]struct {
		plans []SegmentPlan
		good  bool
	}{
		"one stream":             {[]SegmentPlan{screen(nil), screen(nil)}, true},
		"first picture late":     {[]SegmentPlan{card(0, 15), screen(nil)}, true},
		"first picture too late": {[]SegmentPlan{card(0, 16), screen(nil)}, false},
		"placeholder later":      {[]SegmentPlan{screen(nil), card(600, 610)}, false},
		"paused":                 {[]SegmentPlan{screen(func(p *SegmentPlan) { p.Paused = true })}, false},
		"two pictures":           {[]SegmentPlan{screen(func(p *SegmentPlan) { p.Regions = append(p.Regions, p.Regions[0]) })}, false},
		"VP8":                    {[]SegmentPlan{screen(func(p *SegmentPlan) { p.Regions[0].Codec = VP8 })}, false},
		"rotated":                {[]SegmentPlan{screen(func(p *SegmentPlan) { p.Regions[0].Rotation = 90 })}, false},
		"another producer":       {[]SegmentPlan{screen(nil), screen(func(p *SegmentPlan) { p.Regions[0].Leg = "leg-001" })}, false},
		"another size":           {[]SegmentPlan{screen(nil), screen(func(p *SegmentPlan) { p.Regions[0].SourceSize.W = 1918 })}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pass := &passthrough{fps: 30}
			var err error
			for _, p := range tc.plans {
				if err == nil {
					err = pass.add(p)
				}
			}
			if (err == nil) != tc.good {
				t.Errorf("add: %v, want allowed = %v", err, tc.good)
			}
		})
	}
}

func TestPassthroughIsOnlyForScreens(t *testing.T) {
	t.Parallel()
	p := DefaultProfile()
	p.Passthrough, p.Layout = true, ScreenOnly
	if newPassthrough(p, &history{}) == nil {
		t.Error("a screen-only queue with the option set is not passed through")
	}
	if newPassthrough(p, &history{sealed: []SegmentSealed{{}}}) != nil {
		t.Error("passed through although an earlier process has begun to render")
	}
	for name, change := range map[string]func(*Profile){
		"off by default": func(p *Profile) { p.Passthrough = false },
		"other layout":   func(p *Profile) { p.Layout = SideBySide },
		"burn-in":        func(p *Profile) { p.WaveformBurnIn = true },
	} {
		q := p
		change(&q)
		if newPassthrough(q, &history{}) != nil {
			t.Errorf("%s: passed through", name)
		}
	}
}
