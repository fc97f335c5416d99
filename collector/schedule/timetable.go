package schedule

import (
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// timetable holds the starts of one kind. newTimetable makes them.
type timetable struct {
	daily, weekly   vbaws.Weekdays
	monthly, yearly dates
	// starts are the starts of a day, in seconds of the wall clock since midnight,
	// ascending, by the set of parts that start on it. It is no longer than the
	// parts that there are take: most schedules have the first alone, and a process
	// may have tens of thousands.
	starts [][]int32
}

// The parts of a schedule, as bits.
const (
	dailyPart = 1 << iota
	weeklyPart
	monthlyPart
	yearlyPart
	parts = iota
)

// dates are one day in each of some months.
type dates struct {
	months vbaws.Months
	day    vbaws.DayInMonth
}

func (d *dates) include(t time.Time) bool {
	y, m, day := t.Date()
	switch {
	case !d.months[m]:
		return false
	case d.day.Week == 0:
		return day == d.day.Day
	case t.Weekday() != d.day.Weekday:
		return false
	case d.day.Week == vbaws.LastWeek:
		return day+7 > time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
	}
	return (day-1)/7+1 == d.day.Week
}

// on returns the starts of a day.
func (t *timetable) on(d civilDay) []int32 {
	day := d.midnight()
	set := 0
	if t.daily[day.Weekday()] {
		set |= dailyPart
	}
	if t.weekly[day.Weekday()] {
		set |= weeklyPart
	}
	if t.monthly.include(day) {
		set |= monthlyPart
	}
	if t.yearly.include(day) {
		set |= yearlyPart
	}
	return t.starts[set]
}

// newTimetable returns the starts of a kind. It is nil where there is none.
func newTimetable(s *vbaws.Schedule, kind Kind) *timetable {
	var t timetable
	var starts [parts][]int32
	if d := s.Daily; d != nil {
		t.daily = d.Days
		for _, o := range []struct {
			kind  Kind
			hours *vbaws.Hours
			runs  int
		}{{Snapshot, d.Snapshot, d.RunsPerHour}, {Replica, d.Replica, 1}, {Backup, d.Backup, 1}} {
			if o.hours != nil && (kind == Whole || kind == o.kind) {
				starts[0] = append(starts[0], inHours(o.hours, o.runs)...)
			}
		}
	}
	if w := s.Weekly; w != nil {
		for _, days := range options(kind, w.Snapshot, w.Replica, w.Backup) {
			for d, on := range days {
				t.weekly[d] = t.weekly[d] || on
			}
		}
		starts[1] = []int32{seconds(w.At)}
	}
	if m := s.Monthly; m != nil {
		t.monthly.day = m.Day
		for _, months := range options(kind, m.Snapshot, m.Replica, m.Backup) {
			for i, on := range months {
				t.monthly.months[i] = t.monthly.months[i] || on
			}
		}
		starts[2] = []int32{seconds(m.At)}
	}
	if y := s.Yearly; y != nil && (kind == Whole || kind == Backup) {
		t.yearly.day = y.Day
		t.yearly.months[y.Month] = true
		starts[3] = []int32{seconds(y.At)}
	}
	if len(starts[0]) == 0 {
		t.daily = vbaws.Weekdays{}
	}
	if t.daily == (vbaws.Weekdays{}) && t.weekly == (vbaws.Weekdays{}) &&
		t.monthly.months == (vbaws.Months{}) && t.yearly.months == (vbaws.Months{}) {
		return nil
	}
	there := 0 // the parts that have starts
	for part, list := range starts {
		if len(list) > 0 {
			there |= 1 << part
		}
	}
	t.starts = make([][]int32, there+1)
	for set := range t.starts {
		if set&there != set {
			continue // no day has it
		}
		var all []int32
		for part, list := range starts {
			if set&(1<<part) != 0 {
				all = append(all, list...)
			}
		}
		slices.Sort(all)
		t.starts[set] = slices.Compact(all)
	}
	return &t
}

// options returns the options that concern a kind and are there.
func options[T any](kind Kind, snapshot, replica, backup *T) []T {
	var found []T
	for _, o := range []struct {
		kind Kind
		set  *T
	}{{Snapshot, snapshot}, {Replica, replica}, {Backup, backup}} {
		if o.set != nil && (kind == Whole || kind == o.kind) {
			found = append(found, *o.set)
		}
	}
	return found
}

// inHours returns starts that are spread evenly over each of the hours. Starts that
// don't fall on a minute are due at the minute's beginning.
func inHours(hours *vbaws.Hours, runs int) []int32 {
	var starts []int32
	for h, on := range hours {
		for i := 0; on && i < runs; i++ {
			starts = append(starts, int32(h*60*60+i*60/runs*60))
		}
	}
	return starts
}

func seconds(d time.Duration) int32 { return int32(d / time.Second) }

// longestGap returns the longest time between two consecutive starts of the days
// from from up to to, and false where there are fewer than two.
func (t *timetable) longestGap(zone *time.Location, from, to civilDay) (time.Duration, bool) {
	c := newClock(zone, from.at(0))
	var longest, last int64
	n := 0
	for d := from; d < to; d++ {
		for _, s := range t.on(d) {
			u := c.first(d.at(s))
			if n > 0 {
				longest = max(longest, u-last)
			}
			last = u
			n++
		}
	}
	return time.Duration(longest) * time.Second, n > 1
}
