package retention

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Limits of a period. A century is more than any rule asks; who wants more wants FOREVER.
const (
	maxYears = 100
	maxDays  = 36500
)

// forever is the one word for no end. It must be written out: neither 0 nor nothing means it.
const forever = "FOREVER"

// ErrPeriod: a text is no period.
var ErrPeriod = errors.New("retention: want a period like 90d, 7y or 1y30d, or " + forever)

// Period is a length of time on the calendar: whole years and days, or for ever. The zero value is no period.
// A year is a year of the calendar and not 365 days, so that "7y" means what a regulation means by it.
type Period struct {
	Years   int
	Days    int
	Forever bool
}

// Forever has no end.
var Forever = Period{Forever: true}

// Days makes a period of n days.
func Days(n int) Period { return Period{Days: n} }

// Years makes a period of n calendar years.
func Years(n int) Period { return Period{Years: n} }

// IsZero tells that there is no period.
func (p Period) IsZero() bool { return p == Period{} }

// ParsePeriod reads "90d", "7y", "1y30d" or "FOREVER". Nothing else, so that a slip is refused and not read as
// something: no zero, no sign, no space, no other unit. All its errors are ErrPeriod.
func ParsePeriod(s string) (Period, error) {
	if s == forever {
		return Forever, nil
	}
	if s == "0" || s == "0d" || s == "0y" {
		return Period{}, fmt.Errorf("%w; %q says nothing: leave the period out, or write %s", ErrPeriod, s, forever)
	}
	var p Period
	rest := s
	if years, after, ok := strings.Cut(rest, "y"); ok {
		n, err := count(years, maxYears)
		if err != nil {
			return Period{}, fmt.Errorf("%w: %q: years %w", ErrPeriod, clip(s), err)
		}
		p.Years, rest = n, after
		if rest == "" {
			return p, nil
		}
	}
	days, ok := strings.CutSuffix(rest, "d")
	if !ok {
		return Period{}, fmt.Errorf("%w, not %q", ErrPeriod, clip(s))
	}
	n, err := count(days, maxDays)
	if err != nil {
		return Period{}, fmt.Errorf("%w: %q: days %w", ErrPeriod, clip(s), err)
	}
	p.Days = n
	return p, nil
}

func count(digits string, limit int) (int, error) {
	if digits == "" || digits[0] < '1' || digits[0] > '9' || len(digits) > 5 {
		return 0, fmt.Errorf("must be a number from 1 to %d without leading zeros", limit)
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n > limit {
		return 0, fmt.Errorf("must be a number from 1 to %d", limit)
	}
	return n, nil
}

// clip shortens what came from outside for an error text.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// String prints what ParsePeriod reads; "" for no period.
func (p Period) String() string {
	var b strings.Builder
	if p.Forever {
		return forever
	}
	if p.Years != 0 {
		fmt.Fprintf(&b, "%dy", p.Years)
	}
	if p.Days != 0 {
		fmt.Fprintf(&b, "%dd", p.Days)
	}
	return b.String()
}

// MarshalText writes the period as String does.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what ParsePeriod reads; empty text is no period.
func (p *Period) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = Period{}
		return nil
	}
	parsed, err := ParsePeriod(string(text))
	if err != nil {
		return err
	}
	*p = parsed
	return nil
}

// End is the instant at which the period, begun at from, is over in a time zone: midnight after the last day.
//
// The day of from does not count, and a period in years ends with the day of the same date, or the last day of the
// month where there is none (29 February): Regulation (EEC, Euratom) 1182/71, article 3. So whoever promises seven
// days keeps at least seven times 24 hours, and all calls of one local day end together. It panics for Forever,
// which has no end.
func (p Period) End(from time.Time, zone *time.Location) time.Time {
	if p.Forever {
		panic("retention: a period without end was asked for its end")
	}
	y, m, d := from.In(zone).Date()
	if last := daysIn(y+p.Years, m); d > last {
		d = last
	}
	return startOfDay(y+p.Years, m, d+p.Days+1, zone)
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// startOfDay is the first instant of a day. Where clocks jump over midnight, or a zone left out the whole day,
// time.Date may answer with an instant of the day before; the day then starts at the next quarter that is not.
func startOfDay(year int, month time.Month, day int, zone *time.Location) time.Time {
	want := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	at := time.Date(year, month, day, 0, 0, 0, 0, zone)
	for civil(at).Before(want) {
		at = at.Add(15 * time.Minute)
	}
	return at
}

// civil is the local date of an instant, as midnight UTC, for comparing dates.
func civil(at time.Time) time.Time {
	y, m, d := at.Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

// dayBounds are the fewest and most days the period can have, whenever it begins. Forever is longer than all.
func (p Period) dayBounds() (fewest, most int) {
	if p.Forever {
		return 1 << 30, 1 << 30
	}
	// Every fourth year is a leap year, but one a century may not be.
	fewest = 365*p.Years + p.Years/4 + p.Days
	if p.Years >= 4 {
		fewest -= 1 + p.Years/100
	}
	most = 365*p.Years + (p.Years+3)/4 + p.Days
	return fewest, most
}

// alwaysLonger tells that p ends after q whenever both begin.
func (p Period) alwaysLonger(q Period) bool {
	if !p.Forever && !q.Forever && p.Years >= q.Years && p.Days >= q.Days {
		return p != q
	}
	fewest, _ := p.dayBounds()
	_, most := q.dayBounds()
	return fewest > most
}

// everLonger tells that there is a beginning for which p ends after q.
func (p Period) everLonger(q Period) bool {
	if !p.Forever && !q.Forever && p.Years <= q.Years && p.Days <= q.Days {
		return false
	}
	_, most := p.dayBounds()
	fewest, _ := q.dayBounds()
	return most > fewest
}
