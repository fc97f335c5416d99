package schedule

import (
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vbaws_exporter/vbaws"
)

// The walk shares no code with Plan: it watches a wall clock for ten years,
// half-hour by half-hour, and asks of each whether the schedule starts in it.

var (
	walkFrom = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	walkTo   = time.Date(2036, time.January, 1, 0, 0, 0, 0, time.UTC)
)

// slot is half an hour that the wall clock shows for the first time.
type slot struct {
	at      int64 // Unix time of its beginning
	skipped bool  // the clock jumps over it, at that time
	month   time.Month
	day     int
	weekday time.Weekday
	// nth counts this weekday in the month so far, left says that no other comes.
	nth          int
	left         bool
	hour, minute int
}

// walk returns the slots of ten years in a zone whose clocks are put by half-hours.
func walk(zone *time.Location) []slot {
	// The calendar, by hand: no wall clock is looked at before its first day.
	type date struct {
		y int
		m time.Month
		d int
	}
	type place struct {
		nth  int
		left bool
	}
	calendar := make(map[date]place)
	newest := make(map[time.Weekday]date)
	for t := walkFrom.AddDate(0, -1, 0); t.Before(walkTo.AddDate(0, 2, 0)); t = t.Add(24 * time.Hour) {
		this := date{t.Year(), t.Month(), t.Day()}
		nth := 1
		if last, ok := newest[t.Weekday()]; ok {
			if last.m == this.m {
				nth = calendar[last].nth + 1
			} else {
				calendar[last] = place{calendar[last].nth, true}
			}
		}
		calendar[this] = place{nth: nth}
		newest[t.Weekday()] = this
	}

	const step = 30 * time.Minute
	var slots []slot
	var shown time.Time // the newest half-hour that the wall clock has shown, as UTC
	for t := walkFrom; t.Before(walkTo); t = t.Add(step) {
		local := t.In(zone)
		y, m, d := local.Date()
		wall := time.Date(y, m, d, local.Hour(), local.Minute(), 0, 0, time.UTC)
		if shown.IsZero() {
			shown = wall.Add(-step)
		}
		for next := shown.Add(step); !next.After(wall); next = next.Add(step) {
			y, m, d := next.Date()
			p := calendar[date{y, m, d}]
			slots = append(slots, slot{t.Unix(), next.Before(wall), m, d, next.Weekday(), p.nth, p.left, next.Hour(), next.Minute()})
			shown = next
		}
	}
	return slots
}

var walks = map[string]func() []slot{}

func init() {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "America/Santiago", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kolkata"} {
		walks[name] = sync.OnceValue(func() []slot { return walk(zone(name)) })
	}
}

func (s *slot) is(d vbaws.DayInMonth) bool {
	switch d.Week {
	case 0:
		return s.day == d.Day
	case vbaws.LastWeek:
		return s.weekday == d.Weekday && s.left
	default:
		return s.weekday == d.Weekday && s.nth == d.Week
	}
}

// starts returns when a schedule starts in a slot, in minutes of it.
func (s *slot) starts(sch *vbaws.Schedule, kind Kind) []int {
	var found []int
	at := func(since time.Duration) {
		minute := int(since/time.Minute) - s.hour*60 - s.minute
		if minute >= 0 && minute < 30 {
			found = append(found, minute)
		}
	}
	wants := func(k Kind) bool { return kind == k || kind == Whole }
	// What each option says of now, and what comes of it: a backup goes with a snapshot
	// if the part has any, a replica with either.
	type option struct{ now, ever bool }
	hour := func(o *vbaws.Hours) option { return option{o != nil && o[s.hour], o != nil && *o != vbaws.Hours{}} }
	weekday := func(o *vbaws.Weekdays) option {
		return option{o != nil && o[s.weekday], o != nil && *o != vbaws.Weekdays{}}
	}
	month := func(o *vbaws.Months) option { return option{o != nil && o[s.month], o != nil && *o != vbaws.Months{}} }
	makes := func(snapshot, replica, backup option) (bool, bool, bool) {
		b := backup.now && (snapshot.now || !snapshot.ever)
		return snapshot.now, replica.now && (snapshot.now || b), b
	}
	if d := sch.Daily; d != nil && d.Days[s.weekday] {
		snapshot, replica, backup := makes(hour(d.Snapshot), hour(d.Replica), hour(d.Backup))
		often := snapshot && wants(Snapshot)
		if d.RunsMakeBackups {
			often = backup && wants(Backup)
		}
		for i := 0; often && i < d.RunsPerHour; i++ {
			at(time.Duration(s.hour)*time.Hour + time.Duration(i)*time.Hour/time.Duration(d.RunsPerHour))
		}
		if snapshot && wants(Snapshot) || replica && wants(Replica) || backup && wants(Backup) {
			at(time.Duration(s.hour) * time.Hour)
		}
	}
	if w := sch.Weekly; w != nil {
		snapshot, replica, backup := makes(weekday(w.Snapshot), weekday(w.Replica), weekday(w.Backup))
		if snapshot && wants(Snapshot) || replica && wants(Replica) || backup && wants(Backup) {
			at(w.At)
		}
	}
	if m := sch.Monthly; m != nil && s.is(m.Day) {
		snapshot, replica, backup := makes(month(m.Snapshot), month(m.Replica), month(m.Backup))
		if snapshot && wants(Snapshot) || replica && wants(Replica) || backup && (wants(Backup) || m.Archive && wants(Archive)) {
			at(m.At)
		}
	}
	if y := sch.Yearly; y != nil && s.is(y.Day) && s.month == y.Month && (wants(Backup) || y.Archive && wants(Archive)) {
		at(y.At)
	}
	return found
}

// startsOf returns all starts of the walk, in Unix time, each once.
func startsOf(slots []slot, sch *vbaws.Schedule, kind Kind) []int64 {
	var all []int64
	for i := range slots {
		s := &slots[i]
		for _, minute := range s.starts(sch, kind) {
			if s.skipped {
				minute = 0
			}
			all = append(all, s.at+int64(minute)*60)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func drawSchedule(t *rapid.T) *vbaws.Schedule {
	seldom := rapid.Custom(func(t *rapid.T) bool { return rapid.IntRange(0, 5).Draw(t, "of six") == 0 })
	flag := rapid.Bool()
	at := rapid.Custom(func(t *rapid.T) time.Duration {
		hour := rapid.SampledFrom([]int{0, 1, 2, 2, 2, 3, 7, 12, 23}).Draw(t, "hour")
		return time.Duration(hour*60+rapid.IntRange(0, 59).Draw(t, "minute")) * time.Minute
	})
	day := rapid.Custom(func(t *rapid.T) vbaws.DayInMonth {
		if flag.Draw(t, "by number") {
			return vbaws.DayInMonth{Day: rapid.IntRange(1, 31).Draw(t, "day")}
		}
		return vbaws.DayInMonth{Week: rapid.IntRange(1, 5).Draw(t, "week"), Weekday: time.Weekday(rapid.IntRange(0, 6).Draw(t, "weekday"))}
	})
	var s vbaws.Schedule
	if flag.Draw(t, "daily") {
		s.Daily = &vbaws.DailySchedule{RunsPerHour: rapid.SampledFrom([]int{1, 1, 2, 4, 7}).Draw(t, "runs"), RunsMakeBackups: flag.Draw(t, "of backups")}
		for i := range s.Daily.Days {
			s.Daily.Days[i] = flag.Draw(t, "day")
		}
		for _, o := range []**vbaws.Hours{&s.Daily.Snapshot, &s.Daily.Replica, &s.Daily.Backup} {
			if flag.Draw(t, "option") {
				*o = new(vbaws.Hours)
				for i := range *o {
					(*o)[i] = seldom.Draw(t, "hour")
				}
			}
		}
	}
	if flag.Draw(t, "weekly") {
		s.Weekly = &vbaws.WeeklySchedule{At: at.Draw(t, "weekly at")}
		for _, o := range []**vbaws.Weekdays{&s.Weekly.Snapshot, &s.Weekly.Replica, &s.Weekly.Backup} {
			if flag.Draw(t, "option") {
				*o = new(vbaws.Weekdays)
				for i := range *o {
					(*o)[i] = seldom.Draw(t, "day")
				}
			}
		}
	}
	if flag.Draw(t, "monthly") {
		s.Monthly = &vbaws.MonthlySchedule{At: at.Draw(t, "monthly at"), Day: day.Draw(t, "monthly on"), Archive: flag.Draw(t, "archive")}
		for _, o := range []**vbaws.Months{&s.Monthly.Snapshot, &s.Monthly.Replica, &s.Monthly.Backup} {
			if flag.Draw(t, "option") {
				*o = new(vbaws.Months)
				for m := time.January; m <= time.December; m++ {
					(*o)[m] = flag.Draw(t, "month")
				}
			}
		}
	}
	if flag.Draw(t, "yearly") {
		s.Yearly = &vbaws.YearlySchedule{At: at.Draw(t, "yearly at"), Day: day.Draw(t, "yearly on"), Archive: flag.Draw(t, "archive"),
			Month: time.Month(rapid.IntRange(1, 12).Draw(t, "month"))}
	}
	return &s
}

func TestPlanAgainstWalk(t *testing.T) {
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range walks {
			if !yield(name) {
				return
			}
		}
	})
	due := 0
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "zone")
		kind := rapid.SampledFrom([]Kind{Whole, Snapshot, Replica, Backup, Archive}).Draw(t, "kind")
		sch := drawSchedule(t)
		where := zone(name)
		p := New(sch, where)
		all := startsOf(walks[name](), sch, kind)

		if p.of(kind).gap == nil {
			if len(all) > 0 {
				t.Fatalf("no start, and the walk met %d", len(all))
			}
			return
		}
		for range 20 {
			if len(all) < 2 {
				break
			}
			due++
			// Just around a start, or anywhere.
			i := rapid.IntRange(0, len(all)-2).Draw(t, "start")
			at := time.Unix(all[i]+rapid.Int64Range(-2, 2).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
			if rapid.Bool().Draw(t, "anywhere") {
				at = time.Unix(rapid.Int64Range(all[0], all[len(all)-1]-1).Draw(t, "at"), 0)
			}
			n, _ := slices.BinarySearchFunc(all, at, func(s int64, at time.Time) int {
				if time.Unix(s, 0).After(at) {
					return 1
				}
				return -1
			})
			if n > 0 {
				if got := p.LastDue(kind, at); got.Unix() != all[n-1] {
					t.Errorf("at %s: last due %s, want %s", at.In(where), got, time.Unix(all[n-1], 0).In(where))
				}
			}
			if got := p.Next(kind, at).At; got.Unix() != all[n] {
				t.Errorf("at %s: next %s, want %s", at.In(where), got, time.Unix(all[n], 0).In(where))
			}
		}

		// The first and the last day of the walk are not whole in every zone.
		from, to := dayOf(walkFrom)+1, dayOf(walkTo)-1
		begin := time.Date(2026, time.January, 2, 0, 0, 0, 0, where).Unix()
		end := time.Date(2035, time.December, 31, 0, 0, 0, 0, where).Unix()
		var longest time.Duration
		last := int64(0)
		for _, s := range all {
			if s < begin || s >= end {
				continue
			}
			if last != 0 {
				longest = max(longest, time.Duration(s-last)*time.Second)
			}
			last = s
		}
		if got := longestGap(p.of(kind).parts, where, from, to); got != longest {
			t.Errorf("longest gap of ten years: %s, want %s", got, longest)
		}
		if got := p.LongestGap(kind); got < longest {
			t.Errorf("longest gap %s is less than the %s of ten years", got, longest)
		}
	})
	if due == 0 {
		t.Error("no schedule was ever due")
	}
}

// TestLongestGapOfAWeek: of a schedule by days of the week alone, a few years have the
// longest gap of all.
func TestLongestGapOfAWeek(t *testing.T) {
	names := []string{"Europe/Berlin", "America/Havana", "Asia/Beirut", "Asia/Gaza", "Africa/Cairo", "Africa/Casablanca", "America/Santiago", "Antarctica/Troll"}
	rapid.Check(t, func(t *rapid.T) {
		where := zone(rapid.SampledFrom(names).Draw(t, "zone"))
		s := drawSchedule(t)
		s.Monthly, s.Yearly = nil, nil
		p := New(s, where)
		for kind, k := range p.kinds {
			if got, want := p.LongestGap(kind), longestGap(k.parts, where, gapsFrom, gapsTo); got != want {
				t.Errorf("%s: %s, want %s", kind, got, want)
			}
		}
	})
}

// Whatever the zone, and past the end of its table: the next start is after t, what
// is last due at it is itself, and between the two nothing is due.
func TestLastDueAndNextAgree(t *testing.T) {
	names := []string{"UTC", "Europe/London", "America/Havana", "Asia/Beirut", "Africa/Casablanca", "Pacific/Apia",
		"Pacific/Chatham", "America/Scoresbysund", "Antarctica/Troll", "America/Santiago", "Europe/Dublin"}
	due := 0
	rapid.Check(t, func(t *rapid.T) {
		where := zone(rapid.SampledFrom(names).Draw(t, "zone"))
		p := New(drawSchedule(t), where)
		from := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		to := time.Date(2120, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		at := time.Unix(rapid.Int64Range(from, to).Draw(t, "at"), 0)
		for _, kind := range allKinds {
			next := p.Next(kind, at).At
			if next.IsZero() {
				continue
			}
			due++
			if !next.After(at) {
				t.Fatalf("%s: after %s comes %s", kind, at.In(where), next)
			}
			if last := p.LastDue(kind, next); !last.Equal(next) {
				t.Fatalf("%s: at %s, %s was last due", kind, next, last)
			}
			before, last := p.LastDue(kind, next.Add(-time.Second)), p.LastDue(kind, at)
			if !before.Equal(last) {
				t.Fatalf("%s: between %s and %s, %s was due", kind, at.In(where), next, before)
			}
			if !last.IsZero() {
				if again := p.Next(kind, last).At; !again.Equal(next) {
					t.Fatalf("%s: after %s comes %s, not %s", kind, last, again, next)
				}
			}
		}
	})
	if due == 0 {
		t.Error("no schedule was ever due")
	}
}

// ZoneBounds answers with a time that has passed on 31 December of leap years after
// the end of a zone's table.
func TestClockPassesTheEndOfLeapYears(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "Australia/Sydney"} {
		p := New(&vbaws.Schedule{Weekly: &vbaws.WeeklySchedule{At: 12 * time.Hour, Backup: &everyDay}}, zone(name))
		at := time.Date(2040, time.December, 29, 13, 0, 0, 0, p.zone)
		for day := 30; day < 35; day++ {
			want := time.Date(2040, time.December, day, 12, 0, 0, 0, p.zone)
			got := p.Next(Backup, at).At
			if !got.Equal(want) {
				t.Fatalf("%s: %s, want %s", name, got, want)
			}
			at = got
		}
	}
}

func BenchmarkLongestGap(b *testing.B) {
	s := &vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: everyHour()}}
	where := zone("Europe/Berlin")
	for b.Loop() {
		New(s, where).LongestGap(Snapshot)
	}
}

func BenchmarkLastDue(b *testing.B) {
	s := &vbaws.Schedule{Yearly: &vbaws.YearlySchedule{Month: time.March, Day: vbaws.DayInMonth{Day: 1}}}
	p := New(s, zone("Europe/Berlin"))
	for b.Loop() {
		p.LastDue(Backup, walkFrom)
	}
}
