package main

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dualrec/dualrec/recorder"
)

func TestLoadConfigNamesEveryProblem(t *testing.T) {
	t.Parallel()
	good := loadConfig{MaxLag: 2 * time.Hour, SpoolLevels: []int{90, 95, 98}, SpoolFree: []int64{3, 2, 1}}
	if err := good.validate(); err != nil {
		t.Error(err)
	}
	bad := loadConfig{MaxRecordings: -1, MaxLag: time.Second, ShedLag: time.Second, SpoolReserve: -1, SpoolLevels: []int{90}, SpoolFree: []int64{3, 2, 1}}
	err := bad.validate()
	for _, want := range []string{"--max-recordings", "--max-lag", "--shed-lag", "--spool-reserve", "--spool-levels"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not name %s", err, want)
		}
	}
}

// TestLoadCollector gathers once, which checks names, labels and the histogram.
func TestLoadCollector(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(newLoadCollector(func() recorder.Load {
		return recorder.Load{State: recorder.NodeRefusing, Waiting: 3, Refused: map[recorder.RefusalReason]uint64{recorder.RefusedDisk: 2}, Dropped: 5,
			Lag: recorder.LagHistogram{Buckets: map[float64]uint64{5: 1, 15: 2}, Count: 4, Sum: 99}}
	}))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + m.GetHistogram().GetSampleSum()
		}
	}
	for name, want := range map[string]float64{"dualrec_node_state REFUSING": 1, "dualrec_node_state OK": 0, "dualrec_waiting_segments": 3, "dualrec_segment_lag_seconds": 99,
		"dualrec_refused_recordings_total DISK": 2, "dualrec_refused_recordings_total PORTS": 0, "dualrec_dropped_packets_total disk full": 5} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
		}
	}
}
