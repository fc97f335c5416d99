package schedule

import (
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// part is when one part of a schedule, such as the weekly one, starts runs of a kind.
// Each of its sets has an element.
type part struct {
	weekdays, months set
	// day is the day of the month; nil if that doesn't matter.
	day *vbaws.DayInMonth
	// yearly is the month of the yearly part; 0 for another.
	yearly time.Month
	// starts are the starts of a day, in seconds of the wall clock since midnight,
	// ascending.
	starts []int32
}

// set is a set of hours, days of the week or months, as bits.
type set uint32

const (
	allDays   set = 1<<7 - 1
	allMonths set = 1<<13 - 2
)

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

// makes returns when the options of a part take effect, by kind. A backup is made
// together with a snapshot, if there are any, and a replica or copy with a snapshot or
// backup.
func makes(snapshot, replica, backup set, archive bool) map[Kind]set {
	if snapshot != 0 {
		backup &= snapshot
	}
	m := map[Kind]set{Whole: snapshot | backup, Snapshot: snapshot, Replica: replica & (snapshot | backup), Backup: backup}
	if archive {
		m[Archive] = backup
	}
	return m
}

// partsOf returns the parts of a schedule by kind, for the kinds that ever start.
func partsOf(s *vbaws.Schedule) map[Kind][]part {
	parts := make(map[Kind][]part)
	add := func(kind Kind, p part) {
		if p.weekdays != 0 && p.months != 0 && len(p.starts) > 0 {
			parts[kind] = append(parts[kind], p)
		}
	}
	if d := s.Daily; d != nil {
		runs := map[Kind]int{Snapshot: d.RunsPerHour, Replica: 1, Backup: 1}
		if d.RunsMakeBackups {
			runs[Snapshot], runs[Backup] = 1, d.RunsPerHour
		}
		hours := makes(setOf(d.Snapshot), setOf(d.Replica), setOf(d.Backup), false)
		var all []int32
		for kind, n := range runs {
			starts := inHours(hours[kind], n)
			add(kind, part{weekdays: setOf(&d.Days), months: allMonths, starts: starts})
			all = append(all, starts...)
		}
		add(Whole, part{weekdays: setOf(&d.Days), months: allMonths, starts: sorted(all)})
	}
	if w := s.Weekly; w != nil {
		for kind, days := range makes(setOf(w.Snapshot), setOf(w.Replica), setOf(w.Backup), false) {
			add(kind, part{weekdays: days, months: allMonths, starts: []int32{seconds(w.At)}})
		}
	}
	if o := s.Monthly; o != nil {
		for kind, months := range makes(setOf(o.Snapshot), setOf(o.Replica), setOf(o.Backup), o.Archive) {
			add(kind, part{weekdays: allDays, months: months, day: &o.Day, starts: []int32{seconds(o.At)}})
		}
	}
	if y := s.Yearly; y != nil {
		for kind, months := range makes(0, 0, 1<<y.Month, y.Archive) {
			add(kind, part{weekdays: allDays, months: months, day: &y.Day, yearly: y.Month, starts: []int32{seconds(y.At)}})
		}
	}
	return parts
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
	return slices.Compact(starts)
}

func seconds(d time.Duration) int32 { return int32(d / time.Second) }

func sorted(starts []int32) []int32 {
	slices.Sort(starts)
	return slices.Compact(starts)
}

// on returns the starts of a day.
func on(parts []part, d civilDay) (starts []int32) {
	day := d.midnight()
	for i := range parts {
		p := &parts[i]
		switch {
		case !p.includes(day):
		case starts == nil:
			starts = p.starts
		default:
			starts = sorted(slices.Concat(starts, p.starts))
		}
	}
	return starts
}

func (p *part) includes(t time.Time) bool {
	y, m, day := t.Date()
	switch weekday := t.Weekday(); {
	case !p.weekdays.has(int(weekday)) || !p.months.has(int(m)):
		return false
	case p.day == nil:
		return true
	case p.day.Week == 0:
		return day == p.day.Day
	case weekday != p.day.Weekday:
		return false
	case p.day.Week == vbaws.LastWeek:
		return day+7 > time.Date(y, m+1, 0, 0, 0, 0, 0, time.UTC).Day()
	}
	return (day-1)/7+1 == p.day.Week
}

// longestGap returns the longest time between two consecutive starts of the days
// from from up to to; 0 if there are fewer than two.
func longestGap(parts []part, zone *time.Location, from, to civilDay) time.Duration {
	c := newClock(zone, from.at(0))
	var longest, last int64
	for d := from; d < to; d++ {
		for _, s := range on(parts, d) {
			u := c.first(d.at(s))
			if last != 0 {
				longest = max(longest, u-last)
			}
			last = u
		}
	}
	return time.Duration(longest) * time.Second
}
