package retention_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dualrec/dualrec/retention"
)

func TestParsePeriod(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want retention.Period
		ok   bool
	}{
		{"7d", retention.Days(7), true},
		{"36500d", retention.Days(36500), true},
		{"5y", retention.Years(5), true},
		{"100y", retention.Years(100), true},
		{"1y30d", retention.Period{Years: 1, Days: 30}, true},
		{"FOREVER", retention.Forever, true},
		{"forever", retention.Period{}, false},
		{"", retention.Period{}, false},
		{"0", retention.Period{}, false},
		{"0d", retention.Period{}, false},
		{"0y", retention.Period{}, false},
		{"0y7d", retention.Period{}, false},
		{"-1d", retention.Period{}, false},
		{"+7d", retention.Period{}, false},
		{"07d", retention.Period{}, false},
		{"7", retention.Period{}, false},
		{"7D", retention.Period{}, false},
		{"7 d", retention.Period{}, false},
		{"7d1y", retention.Period{}, false},
		{"1y1y", retention.Period{}, false},
		{"6m", retention.Period{}, false},
		{"168h", retention.Period{}, false},
		{"36501d", retention.Period{}, false},
		{"101y", retention.Period{}, false},
		{"99999999999999999999d", retention.Period{}, false},
		{"٧d", retention.Period{}, false},
	} {
		t.Run(tc.in, func(t *testing.T) {
			t.Parallel()
			got, err := retention.ParsePeriod(tc.in)
			if (err == nil) != tc.ok || got != tc.want {
				t.Fatalf("got %+v, %v; want %+v, ok %v", got, err, tc.want, tc.ok)
			}
			if err != nil && !errors.Is(err, retention.ErrPeriod) {
				t.Errorf("the error is not ErrPeriod: %v", err)
			}
			if err == nil && got.String() != tc.in {
				t.Errorf("prints %q", got)
			}
		})
	}
}

// TestPeriodEnd has the corners of the calendar: leap days, month ends, changes of the clock, and zones whose clocks
// jump over midnight or over a day.
func TestPeriodEnd(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, zone, from, want string
		period                 retention.Period
	}{
		{"seven days end at midnight after the seventh", "UTC", "2026-03-01T10:00:00Z", "2026-03-09T00:00:00Z", retention.Days(7)},
		{"the first instant of a day counts as that day", "UTC", "2026-03-01T00:00:00Z", "2026-03-09T00:00:00Z", retention.Days(7)},
		{"the last instant of a day as well", "UTC", "2026-03-01T23:59:59.999999999Z", "2026-03-09T00:00:00Z", retention.Days(7)},
		{"the zone decides which day it is: Kolkata is a day ahead", "Asia/Kolkata", "2026-03-01T20:00:00Z", "2026-03-09T18:30:00Z", retention.Days(7)},
		{"and Los Angeles a day behind", "America/Los_Angeles", "2026-03-02T04:00:00Z", "2026-03-09T07:00:00Z", retention.Days(7)},
		{"days go over the leap day", "UTC", "2028-02-25T12:00:00Z", "2028-03-04T00:00:00Z", retention.Days(7)},
		{"and over its absence", "UTC", "2027-02-25T12:00:00Z", "2027-03-05T00:00:00Z", retention.Days(7)},
		{"a year from a leap day ends with February", "UTC", "2028-02-29T12:00:00Z", "2029-03-01T00:00:00Z", retention.Years(1)},
		{"four years from a leap day end with the next", "UTC", "2028-02-29T12:00:00Z", "2032-03-01T00:00:00Z", retention.Years(4)},
		{"a year to a leap year is not shifted", "UTC", "2027-03-01T12:00:00Z", "2028-03-02T00:00:00Z", retention.Years(1)},
		{"a year from 28 February ends before the leap day", "UTC", "2027-02-28T12:00:00Z", "2028-02-29T00:00:00Z", retention.Years(1)},
		{"2100 has no leap day", "UTC", "2096-02-29T12:00:00Z", "2100-03-01T00:00:00Z", retention.Years(4)},
		{"a year is not 365 days", "UTC", "2027-06-01T12:00:00Z", "2028-06-02T00:00:00Z", retention.Years(1)},
		{"365 days are not a year", "UTC", "2027-06-01T12:00:00Z", "2028-06-01T00:00:00Z", retention.Days(365)},
		{"years and days", "UTC", "2027-12-31T12:00:00Z", "2029-01-31T00:00:00Z", retention.Period{Years: 1, Days: 30}},
		{"over the change to summer time", "Europe/Berlin", "2026-03-25T12:00:00Z", "2026-04-01T22:00:00Z", retention.Days(7)},
		{"over the change to winter time", "Europe/Berlin", "2026-10-20T12:00:00Z", "2026-10-27T23:00:00Z", retention.Days(7)},
		{"clocks jump over midnight: the day begins at one", "America/Sao_Paulo", "2018-10-27T12:00:00Z", "2018-11-04T03:00:00Z", retention.Days(7)},
		{"clocks fall back over midnight: the day begins the second time", "America/Sao_Paulo", "2019-02-09T12:00:00Z", "2019-02-17T03:00:00Z", retention.Days(7)},
		{"a day that a zone left out", "Pacific/Apia", "2011-12-22T20:00:00Z", "2011-12-30T10:00:00Z", retention.Days(7)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			from, err := time.Parse(time.RFC3339Nano, tc.from)
			if err != nil {
				t.Fatal(err)
			}
			if got := tc.period.End(from, zone(t, tc.zone)).UTC().Format(time.RFC3339Nano); got != tc.want {
				t.Errorf("%s from %s in %s ends %s, want %s", tc.period, tc.from, tc.zone, got, tc.want)
			}
		})
	}
}

// TestPeriodEndKeepsAtLeastThePeriod: whoever is promised n days of keeping gets at least n times 24 hours, less the
// hour that a change of the clock may take, whatever the zone.
func TestPeriodEndKeepsAtLeastThePeriod(t *testing.T) {
	t.Parallel()
	zones := []string{"UTC", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Beirut", "America/Sao_Paulo"}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		z := zone(t, zones[rnd.IntN(len(zones))])
		from := time.Unix(rnd.Int64N(40*365*86400), 0).Add(time.Duration(rnd.Int64N(1e9)) + 20*365*24*time.Hour)
		p := retention.Days(1 + rnd.IntN(3000))
		end := p.End(from, z)
		kept := end.Sub(from)
		if least := time.Duration(p.Days)*24*time.Hour - 2*time.Hour; kept < least {
			t.Fatalf("%s from %s in %s: only %s", p, from, z, kept)
		}
		if most := time.Duration(p.Days+1)*24*time.Hour + 2*time.Hour; kept > most {
			t.Fatalf("%s from %s in %s: %s, more than a day too long", p, from, z, kept)
		}
		if next := p.End(from.Add(time.Minute), z); next.Before(end) {
			t.Fatalf("%s in %s: a later call ends earlier: %s before %s", p, z, next, end)
		}
	}
}

func TestPeriodEndOfForeverPanics(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	retention.Forever.End(time.Now(), time.UTC)
}

func TestPeriodJSON(t *testing.T) {
	t.Parallel()
	type holder struct {
		P retention.Period `json:"p,omitzero"`
	}
	for _, text := range []string{`{}`, `{"p":"30d"}`, `{"p":"7y"}`, `{"p":"FOREVER"}`} {
		var h holder
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		back, err := json.Marshal(h)
		if err != nil || string(back) != text {
			t.Errorf("%s became %s, %v", text, back, err)
		}
	}
	var h holder
	if err := json.Unmarshal([]byte(`{"p":"soon"}`), &h); !errors.Is(err, retention.ErrPeriod) {
		t.Errorf("got %v", err)
	}
	if err := json.Unmarshal([]byte(`{"p":30}`), &h); err == nil {
		t.Error("a bare number was taken as a period")
	}
}

// FuzzParsePeriod: what is accepted prints as it was read, and has an end.
func FuzzParsePeriod(f *testing.F) {
	for _, s := range []string{"7d", "1y30d", "FOREVER", "0", "", "y", "d", "100y36500d", "1y0d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := retention.ParsePeriod(s)
		if err != nil {
			if !errors.Is(err, retention.ErrPeriod) || len(err.Error()) > 300 {
				t.Fatalf("bad error: %v", err)
			}
			return
		}
		if p.String() != s || p.IsZero() {
			t.Fatalf("%q reads as %+v, which prints %q", s, p, p)
		}
		from := time.Date(2028, 2, 29, 23, 0, 0, 0, time.UTC)
		if !p.Forever && !p.End(from, time.UTC).After(from) {
			t.Fatalf("%q does not end after it begins", s)
		}
	})
}
