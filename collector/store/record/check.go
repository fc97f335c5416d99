package record

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// Limits on what an import accepts. A checksum shows that a file is what was
// written, not that an exporter wrote it. The limits are far beyond what an
// exporter counts, and leave room for it to go on from there.
const (
	// MaxCount is the largest integer up to which a float64, the value of a sample,
	// holds all.
	MaxCount = 1 << 53
	// maxSum is in microseconds, and leaves room for 500 sessions of 292 years.
	maxSum = 1 << 62
	// maxBounds and maxSkipReasons keep lists to a size that is handled.
	maxBounds      = 1000
	maxSkipReasons = 100
	// maxInterval is the longest time between two reads of the sessions.
	maxInterval = 400 * 24 * time.Hour
	// maxMissing is far beyond what the ledger compares with.
	maxMissing = math.MaxInt32
	// nativeIndexes is above the index of any duration that is not in the zero
	// bucket, either way: 2^(272/8) seconds are 544 years.
	nativeIndexes = 34 << ledger.NativeSchema
)

// Checker checks the records of one appliance, one by one in the order of Buckets. The
// zero value is ready for the first.
type Checker struct {
	// buckets is how many classic buckets each histogram must have.
	buckets int
}

// Check returns why a record can't be one that an exporter wrote.
func (k *Checker) Check(bucket string, key, payload []byte) error {
	v, err := decodeAny(bucket, key, payload, importOptions)
	if err != nil {
		return err
	}
	switch v := v.(type) {
	case *ledger.Meta:
		return k.meta(v)
	case time.Time:
		return CheckClock(v)
	case Move: // which is of the file it came from
		return errors.New("is unknown")
	case *ledger.Series:
		return k.series(v)
	case *ledger.Unfinished:
		return missing(v.Missing)
	case *ledger.Policy:
		return policy(v)
	}
	return nil
}

// CheckName returns why an appliance can't have that name.
func CheckName(appliance string) error {
	if appliance == "" || len(appliance) > MaxName {
		return fmt.Errorf("appliance name has %d bytes: must have from 1 to %d", len(appliance), MaxName)
	}
	return nil
}

func policy(p *ledger.Policy) error {
	if p.Former != nil {
		for _, h := range p.Former.Histories {
			if err := history(&h); err != nil {
				return err
			}
		}
	}
	return cmp.Or(missing(p.Missing), schedule(p.Schedule), schedule(p.LastReadable))
}

// schedule checks what starts are computed with.
func schedule(s *vbaws.Schedule) error {
	if s == nil {
		return nil
	}
	daily := cmp.Or(s.Daily, &vbaws.DailySchedule{RunsPerHour: 1})
	weekly := cmp.Or(s.Weekly, &vbaws.WeeklySchedule{})
	monthly := cmp.Or(s.Monthly, &vbaws.MonthlySchedule{})
	yearly := cmp.Or(s.Yearly, &vbaws.YearlySchedule{Month: time.January})
	for _, at := range []time.Duration{weekly.At, monthly.At, yearly.At} {
		if err := within("time of day %s is out of range", at, 0, 24*time.Hour-1); err != nil {
			return err
		}
	}
	return cmp.Or(
		within("interval of %s is out of range", cmp.Or(s.Every, time.Minute), time.Minute, math.MaxInt64),
		within("%d runs an hour are out of range", daily.RunsPerHour, 1, 60),
		within("week %d is out of range", monthly.Day.Week, 0, vbaws.LastWeek),
		within("week %d is out of range", yearly.Day.Week, 0, vbaws.LastWeek),
		within("month %d is out of range", int(yearly.Month), 1, 12),
	)
}

// within returns an error, whose format has a verb for n, if n is out of range.
func within[T cmp.Ordered](format string, n, least, most T) error {
	if n < least || n > most {
		return fmt.Errorf(format, n)
	}
	return nil
}

// history checks that sessions are in order, since they are searched, and that what is
// counted beside them is.
func history(h *verdict.History) error {
	switch {
	case len(h.Recent) > verdict.Keep:
		return fmt.Errorf("%d finished sessions are too many", len(h.Recent))
	case !slices.IsSortedFunc(h.Recent, func(a, b verdict.Session) int { return a.End.Compare(b.End) }):
		return errors.New("finished sessions are not in order")
	}
	return within("%d failures are out of range", h.Failures, 0, maxMissing)
}

func (k *Checker) meta(m *ledger.Meta) error {
	k.buckets = len(m.Bounds) + 1
	switch {
	case len(m.Bounds) > maxBounds:
		return fmt.Errorf("%d bounds of buckets are too many", len(m.Bounds))
	case len(m.Skipped) > maxSkipReasons:
		return fmt.Errorf("%d reasons for skipping sessions are too many", len(m.Skipped))
	}
	unreadable := cmp.Or(m.Unreadable, &ledger.Unreadable{})
	for i, b := range m.Bounds {
		if i > 0 && b <= m.Bounds[i-1] {
			return errors.New("bounds of buckets are not in order")
		}
	}
	for _, n := range m.Skipped {
		if err := CheckCount(n); err != nil {
			return err
		}
	}
	return cmp.Or(
		CheckCount(m.Resets),
		within("interval of %s is out of range", m.ResyncInterval, 0, maxInterval),
		within("%d unreadable sessions are out of range", unreadable.Sessions, 0, maxMissing),
	)
}

func (k *Checker) series(s *ledger.Series) error {
	if err := history(&s.History); err != nil {
		return err
	}
	for i, c := range s.Counters {
		if c == nil {
			return errors.New("counter is null")
		}
		if i > 0 && c.Status <= s.Counters[i-1].Status {
			return errors.New("statuses are not in order")
		}
		err := CheckCount(c.Count)
		if err == nil && c.Histogram != nil {
			err = k.histogram(c)
		}
		if err != nil {
			return fmt.Errorf("status %.60q: %w", c.Status, err)
		}
	}
	return nil
}

func (k *Checker) histogram(c *ledger.Counter) error {
	h := c.Histogram
	switch {
	case h.Base > c.Count:
		return fmt.Errorf("histogram begins at %d sessions of %d", h.Base, c.Count)
	case h.Sum < 0 || h.Sum > maxSum:
		return fmt.Errorf("sum of %d microseconds is out of range", h.Sum)
	case len(h.Buckets) != k.buckets || len(h.Exemplars) != k.buckets:
		return fmt.Errorf("histogram has %d buckets and %d exemplars, not %d", len(h.Buckets), len(h.Exemplars), k.buckets)
	}
	classic, native := uint64(0), h.Zero
	for _, n := range h.Buckets {
		if err := CheckCount(n); err != nil {
			return err
		}
		classic += n
	}
	if err := CheckCount(h.Zero); err != nil {
		return err
	}
	for i, b := range h.Native {
		if err := CheckCount(b.Count); err != nil {
			return err
		}
		if b.Index < -nativeIndexes || b.Index > nativeIndexes || i > 0 && b.Index <= h.Native[i-1].Index {
			return fmt.Errorf("native bucket %d is out of range or out of order", b.Index)
		}
		native += b.Count // at most 545 of them: no overflow
	}
	if want := c.Count - h.Base; classic != want || native != want {
		return fmt.Errorf("buckets have %d and %d sessions, not %d", classic, native, want)
	}
	return nil
}

// CheckClock checks a time that the exporter's clock showed, and that is written as
// JSON.
func CheckClock(t time.Time) error {
	return within("year %d is out of range", t.UTC().Year(), 1970, 9999)
}

// CheckCount checks an integer that becomes the value of a sample.
func CheckCount(n uint64) error {
	if n > MaxCount {
		return fmt.Errorf("count of %d is out of range: must be at most %d", n, uint64(MaxCount))
	}
	return nil
}

func missing(n int) error { return within("%d is not a valid number of polls", n, 0, maxMissing) }
