package nodeid

import (
	"strings"
	"testing"
)

func TestNewAndOf(t *testing.T) {
	t.Parallel()
	for k, table := range tables {
		id := New(k)
		got, ok := Of(id)
		if !ok || got != k || Table(got) != table || !strings.HasPrefix(id, string(k)+"_") || len(id) != len(k)+27 {
			t.Errorf("Of(%s) = %q, %v", id, got, ok)
		}
	}
	if a, b := New(Recording), New(Recording); a >= b {
		t.Errorf("%s does not sort before %s", a, b)
	}
}

func TestOfRefuses(t *testing.T) {
	t.Parallel()
	const ulid = "01JD8V6M0Q4T6XKQ2Z3A5B7C9D"
	for _, bad := range []string{"", "rec", "rec_", "_" + ulid, "xxx_" + ulid, "rec_" + ulid + "0", "rec_" + ulid[1:], "rec_" + ulid[:25] + "!",
		"REC_" + ulid, "rec_8" + ulid[1:], "rec_" + ulid + "\n", "recordings_" + ulid} {
		if k, ok := Of(bad); ok {
			t.Errorf("Of(%q) = %s", bad, k)
		}
	}
}

func FuzzOf(f *testing.F) {
	for _, s := range []string{"", "rec_01JD8V6M0Q4T6XKQ2Z3A5B7C9D", "ten_", "a_b_c", "rec_01jd8v6m0q4t6xkq2z3a5b7c9d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, ok := Of(s)
		if ok && (Table(k) == "" || !strings.HasPrefix(s, string(k)+"_") || len(s) != len(k)+27) {
			t.Errorf("Of(%q) = %q", s, k)
		}
	})
}
