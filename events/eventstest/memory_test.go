package eventstest_test

import (
	"testing"

	"github.com/dualrec/dualrec/events"
	"github.com/dualrec/dualrec/events/eventstest"
)

func TestMemoryConforms(t *testing.T) {
	t.Parallel()
	eventstest.Run(t, func(*testing.T) events.Bus { return eventstest.NewMemory("e1", 0) })
}

func TestMemoryForgets(t *testing.T) {
	t.Parallel()
	bus := eventstest.NewMemory("e1", 0)
	for _, id := range []string{"rec_1", "rec_2"} {
		if err := bus.Publish(events.Change{TenantID: "ten_a", RecordingID: id}); err != nil {
			t.Fatal(err)
		}
	}
	bus.Forget()
	s, err := bus.Subscribe(t.Context(), "ten_a", &events.Position{Epoch: "e1", Offset: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if st := s.Start(); st.Resumed || st.Reason != events.ReasonExpired {
		t.Fatalf("start %+v", st)
	}
}
