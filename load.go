package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dualrec/dualrec/recorder"
)

// loadConfig says when a recorder takes no more, and what it gives up when it must.
type loadConfig struct {
	MaxRecordings int           `help:"Refuse new recordings while so many capture; 0: no limit." default:"0" env:"DUALREC_MAX_RECORDINGS"`
	MaxLag        time.Duration `help:"Refuse new recordings while composing is further behind than this; 0: never." default:"2h" env:"DUALREC_MAX_LAG"`
	ShedLag       time.Duration `help:"Show about 10 pictures a second of a recording that is further behind than this, until it is not; its ledger says when; 0: never." default:"0" env:"DUALREC_SHED_LAG"`
	SpoolMaxBytes int64         `help:"Quota of the spool, of which --spool-levels are the parts; 0: none." env:"DUALREC_SPOOL_MAX_BYTES"`
	SpoolLevels   []int         `help:"Percent of --spool-max-bytes at which new recordings are refused, webcams are dropped, screens are dropped." default:"90,95,98" env:"DUALREC_SPOOL_LEVELS"`
	SpoolFree     []int64       `help:"Free bytes on the spool's disk below which the same happens." default:"2147483648,1073741824,536870912" env:"DUALREC_SPOOL_FREE"`
	SpoolReserve  int64         `help:"Bytes kept allocated, which sound and events get when the disk is full; 0: none." default:"268435456" env:"DUALREC_SPOOL_RESERVE"`
}

// disk is the policy of the levels. Lists that are not given mean the defaults.
func (c loadConfig) disk() (recorder.DiskPolicy, error) {
	p := recorder.DefaultDiskPolicy()
	if len(c.SpoolLevels) == 0 {
		c.SpoolLevels = p.UsedPercent[:]
	}
	if len(c.SpoolFree) == 0 {
		c.SpoolFree = p.FreeBytes[:]
	}
	if len(c.SpoolLevels) != len(p.UsedPercent) || len(c.SpoolFree) != len(p.FreeBytes) {
		return p, fmt.Errorf("--spool-levels and --spool-free: give three numbers each, like %v", p.UsedPercent)
	}
	copy(p.UsedPercent[:], c.SpoolLevels)
	copy(p.FreeBytes[:], c.SpoolFree)
	return p, p.Validate()
}

func (c loadConfig) validate() error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.MaxRecordings < 0 {
		refuse("--max-recordings: %d is negative: use 0 for no limit", c.MaxRecordings)
	}
	if c.MaxLag != 0 && c.MaxLag < time.Minute {
		refuse("--max-lag: use at least 1m, or 0 for never: a segment that is captured now is lag too")
	}
	if c.ShedLag != 0 && c.ShedLag < time.Minute {
		refuse("--shed-lag: use at least 1m, or 0 for never: a segment that is captured now is lag too")
	}
	if c.SpoolMaxBytes < 0 || c.SpoolReserve < 0 {
		refuse("--spool-max-bytes, --spool-reserve: a number of bytes is not negative")
	}
	if _, err := c.disk(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// limits sets the recorder's part of it.
func (c loadConfig) limits(to *recorder.Config) {
	to.MaxRecordings, to.MaxLag, to.ShedLag = c.MaxRecordings, c.MaxLag, c.ShedLag
	to.Disk, _ = c.disk() // validated before
}

// loadCollector tells Prometheus how busy the recorder is, with one look a scrape.
type loadCollector struct {
	load  func() recorder.Load
	descs map[string]*prometheus.Desc
}

func newLoadCollector(load func() recorder.Load) *loadCollector {
	c := &loadCollector{load: load, descs: map[string]*prometheus.Desc{}}
	for _, d := range []struct {
		name, help string
		labels     []string
	}{
		{"dualrec_node_state", "1 for the state that the node is in.", []string{"state"}},
		{"dualrec_waiting_segments", "Segments that wait to be composed.", nil},
		{"dualrec_segment_lag_seconds", "How long after their last instant segments were composed.", nil},
		{"dualrec_reduced_segments_total", "Segments that show fewer pictures, because the recording was behind.", nil},
		{"dualrec_refused_recordings_total", "Recordings that were refused, by what was used up.", []string{"reason"}},
		{"dualrec_disk_level", "What the spool's disk demands: 0 nothing, 1 new recordings are refused, 2 webcams are dropped, 3 screens too.", nil},
		{"dualrec_spool_used_bytes", "Bytes of the spool's files.", nil},
		{"dualrec_spool_free_bytes", "Bytes free on the spool's disk, less what the reserve lacks.", nil},
		{"dualrec_dropped_packets_total", "What this machine dropped although it came: packets for want of disk, datagrams because its sockets were not read in time.", []string{"cause"}},
	} {
		c.descs[d.name] = prometheus.NewDesc(d.name, d.help, d.labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *loadCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *loadCollector) Collect(out chan<- prometheus.Metric) {
	l := c.load()
	put := func(name string, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(c.descs[name], kind, v, labels...)
	}
	for _, s := range l.State.Values() {
		v := 0.0
		if s == string(l.State) {
			v = 1
		}
		put("dualrec_node_state", prometheus.GaugeValue, v, s)
	}
	put("dualrec_waiting_segments", prometheus.GaugeValue, float64(l.Waiting))
	out <- prometheus.MustNewConstHistogram(c.descs["dualrec_segment_lag_seconds"], l.Lag.Count, l.Lag.Sum, l.Lag.Buckets)
	put("dualrec_reduced_segments_total", prometheus.CounterValue, float64(l.Reduced))
	for _, r := range recorder.RefusalReason("").Values() {
		put("dualrec_refused_recordings_total", prometheus.CounterValue, float64(l.Refused[recorder.RefusalReason(r)]), r)
	}
	put("dualrec_disk_level", prometheus.GaugeValue, float64(l.DiskLevel))
	put("dualrec_spool_used_bytes", prometheus.GaugeValue, float64(l.Disk.Used))
	put("dualrec_spool_free_bytes", prometheus.GaugeValue, float64(l.Disk.Free))
	put("dualrec_dropped_packets_total", prometheus.CounterValue, float64(l.Dropped), recorder.CauseDiskFull)
	put("dualrec_dropped_packets_total", prometheus.CounterValue, float64(l.Overflowed), recorder.CauseReceiveBuffer)
}
