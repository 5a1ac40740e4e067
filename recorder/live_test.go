package recorder

import (
	"reflect"
	"testing"
	"time"
)

// Every counter is added up: one that is new must not be missing in the sums of several nodes.
func TestTotalsPlus(t *testing.T) {
	t.Parallel()
	one := Totals{Live: 1, Composing: 1, MaxLag: time.Second}
	n := reflect.ValueOf(&one.Net).Elem()
	for i := range n.NumField() {
		if f := n.Field(i); f.Kind() == reflect.Uint64 {
			f.SetUint(1)
		}
	}
	sum := one.Plus(one)
	if sum.Live != 2 || sum.Composing != 2 || sum.MaxLag != time.Second {
		t.Errorf("%+v", sum)
	}
	n = reflect.ValueOf(sum.Net)
	for i := range n.NumField() {
		if f := n.Field(i); f.Kind() == reflect.Uint64 && f.Uint() != 2 {
			t.Errorf("%s is %d, want 2", n.Type().Field(i).Name, f.Uint())
		}
	}
}
