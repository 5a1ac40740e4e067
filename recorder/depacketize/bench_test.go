package depacketize

import "testing"

// BenchmarkFrames is the cost per packet of reading a track back: parsing and putting frames together.
func BenchmarkFrames(b *testing.B) {
	for _, call := range []string{"chrome-vp8", "chrome-h264"} {
		b.Run(call, func(b *testing.B) {
			c := readCapture(b, call, "screen-1")
			b.ReportAllocs()
			packets := 0
			for b.Loop() {
				d, err := Set{}.New(c.params.Codec)
				if err != nil {
					b.Fatal(err)
				}
				for _, r := range c.packets {
					if p, _, ok := (Set{}).ParseRTP(r.data, c.params); ok {
						if _, err := d.Push(p, false); err != nil {
							b.Fatal(err)
						}
						packets++
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(packets), "ns/packet")
		})
	}
}
