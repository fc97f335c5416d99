package schedule

import (
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// timetable holds the starts of one kind. newTimetable makes them.
type timetable struct {
	daily, weekly   set // of days of the week
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

// set is a set of hours, days of the week or months, as bits.
type set uint32

func (s set) has(i int) bool { return s>>i&1 != 0 }

// setOf returns the set of an option, which is empty if there is no option.
func setOf[T vbaws.Hours | vbaws.Weekdays | vbaws.Months](option *T) (s set) {
	for i := 0; option != nil && i < len(*option); i++ {
		if (*option)[i] {
			s |= 1 << i
		}
	}
	return s
}

// made says when a part of a schedule makes each kind.
type made struct {
	snapshot, replica, backup, archive set
}

// newMade returns when the options of a part take effect. A backup is made together
// with a snapshot, if there are any, and a replica or copy with a snapshot or backup.
func newMade[T vbaws.Hours | vbaws.Weekdays | vbaws.Months](snapshot, replica, backup *T) made {
	m := made{snapshot: setOf(snapshot), backup: setOf(backup)}
	if m.snapshot != 0 {
		m.backup &= m.snapshot
	}
	m.replica = setOf(replica) & (m.snapshot | m.backup)
	return m
}

func (m *made) of(kind Kind) set {
	switch kind {
	case Whole:
		return m.snapshot | m.backup
	case Snapshot:
		return m.snapshot
	case Replica:
		return m.replica
	case Backup:
		return m.backup
	case Archive:
		return m.archive
	}
	return 0
}

// dates are one day in each of some months.
type dates struct {
	months set
	day    vbaws.DayInMonth
}

func (d *dates) include(t time.Time) bool {
	y, m, day := t.Date()
	switch {
	case !d.months.has(int(m)):
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
	if t.daily.has(int(day.Weekday())) {
		set |= dailyPart
	}
	if t.weekly.has(int(day.Weekday())) {
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

// newTimetable returns the starts of a kind. It is nil without any.
func newTimetable(s *vbaws.Schedule, kind Kind) *timetable {
	var t timetable
	var starts [parts][]int32
	if d := s.Daily; d != nil {
		t.daily = setOf(&d.Days)
		m := newMade(d.Snapshot, d.Replica, d.Backup)
		runs := map[Kind]int{Snapshot: d.RunsPerHour, Replica: 1, Backup: 1}
		if d.RunsMakeBackups {
			runs[Snapshot], runs[Backup] = 1, d.RunsPerHour
		}
		for k, n := range runs {
			if kind == Whole || kind == k {
				starts[0] = append(starts[0], inHours(m.of(k), n)...)
			}
		}
	}
	if w := s.Weekly; w != nil {
		m := newMade(w.Snapshot, w.Replica, w.Backup)
		t.weekly = m.of(kind)
		starts[1] = []int32{seconds(w.At)}
	}
	if o := s.Monthly; o != nil {
		m := newMade(o.Snapshot, o.Replica, o.Backup)
		if o.Archive {
			m.archive = m.backup
		}
		t.monthly = dates{m.of(kind), o.Day}
		starts[2] = []int32{seconds(o.At)}
	}
	if y := s.Yearly; y != nil {
		m := made{backup: 1 << y.Month}
		if y.Archive {
			m.archive = m.backup
		}
		t.yearly = dates{m.of(kind), y.Day}
		starts[3] = []int32{seconds(y.At)}
	}
	if len(starts[0]) == 0 {
		t.daily = 0
	}
	if t.daily|t.weekly|t.monthly.months|t.yearly.months == 0 {
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

// inHours returns starts that are spread evenly over each of the hours. Starts that
// don't fall on a minute are due at the minute's beginning.
func inHours(hours set, runs int) []int32 {
	var starts []int32
	for h := range 24 {
		for i := 0; hours.has(h) && i < runs; i++ {
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
