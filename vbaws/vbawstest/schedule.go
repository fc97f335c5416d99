package vbawstest

import (
	"slices"
	"time"
)

// ScheduleSettings is a policy's schedule: the schema ScheduleSettings of the API
// description of 1.0, with the health check that EC2 policies have at 1.8. A part
// without its Enabled flag is served and has no effect.
type ScheduleSettings struct {
	DailyEnabled   bool
	Daily          *DailySchedule
	WeeklyEnabled  bool
	Weekly         *WeeklySchedule
	MonthlyEnabled bool
	Monthly        *MonthlySchedule
	YearlyEnabled  bool
	Yearly         *YearlySchedule
	// The health check is served from API version 1.8 on, for which
	// lcp-llp/terraform-provider-veeambackup has it. Whether earlier versions have it is
	// not documented.
	HealthCheckEnabled bool
	HealthCheck        *HealthCheckSchedule
}

// DailySchedule starts in chosen hours.
type DailySchedule struct {
	// Kind is Everyday, WeekDays (Monday to Friday) or SelectedDays, with Days: Sunday,
	// Monday, ….
	Kind string
	Days []string
	// RunsPerHour is at least 1; runs are spread evenly over the hour. They make
	// snapshots, or backups for a workload without snapshots. Other kinds are made once
	// in their hours: user guide of product 10, "Specifying Daily Schedule".
	RunsPerHour int
	Snapshot    *HoursOption
	Backup      *HoursOption
	Replica     *HoursOption
}

// HoursOption has the hours in which a kind of restore point is made.
type HoursOption struct {
	Retention Retention
	Schedule  struct {
		Hours []bool
	}
}

// WeeklySchedule runs on chosen days of the week.
type WeeklySchedule struct {
	TimeLocal TimeOfDay
	Snapshot  *DaysOption
	Backup    *DaysOption
	Replica   *DaysOption
}

// DaysOption has the days on which a kind of restore point is made.
type DaysOption struct {
	Retention Retention
	Schedule  struct {
		Days []string
	}
}

// MonthlySchedule runs on one day of chosen months.
type MonthlySchedule struct {
	TimeLocal TimeOfDay
	DayInMonth
	Snapshot *MonthsOption
	Backup   *MonthsOption
	Replica  *MonthsOption
	// ToArchive sends the backup to an archive repository. It is served as
	// sendBackupsToArchive from API version 1.8 on, for which
	// lcp-llp/terraform-provider-veeambackup has it.
	ToArchive bool
}

// MonthsOption has the months in which a kind of restore point is made.
type MonthsOption struct {
	Retention Retention
	Schedule  struct {
		Months []string
	}
}

// HealthCheckSchedule checks the backups on one day of chosen months.
type HealthCheckSchedule struct {
	Months []string
	DayInMonth
}

// YearlySchedule runs on one day of the year and makes archived backups.
type YearlySchedule struct {
	TimeLocal TimeOfDay
	DayInMonth
	// Month is January, February, ….
	Month     string
	Retention Retention
}

// DayInMonth is a day of a month: OnDay with DayOfMonth, or First to Fourth or
// Last with DayOfWeek. A month without that day is skipped.
type DayInMonth struct {
	Number     string
	DayOfWeek  string
	DayOfMonth int
}

// Retention is how long or how many restore points are kept.
type Retention struct {
	// Type is Days, Months or Years; empty if Count counts restore points.
	Type  string
	Count int
}

// TimeOfDay is a time of the day in the appliance's zone, since midnight.
type TimeOfDay time.Duration

// At returns the TimeOfDay of an hour and a minute.
func At(hour, minute int) TimeOfDay {
	return TimeOfDay(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
}

// Hours returns an option of the daily schedule for those hours, 0 to 23.
func Hours(retention Retention, hours ...int) *HoursOption {
	o := &HoursOption{Retention: retention}
	o.Schedule.Hours = make([]bool, 24)
	for _, h := range hours {
		o.Schedule.Hours[h] = true
	}
	return o
}

// EveryHour returns an option of the daily schedule for all hours.
func EveryHour(retention Retention) *HoursOption {
	o := Hours(retention)
	for h := range o.Schedule.Hours {
		o.Schedule.Hours[h] = true
	}
	return o
}

// Weekdays returns an option of the weekly schedule for those days.
func Weekdays(retention Retention, days ...time.Weekday) *DaysOption {
	o := &DaysOption{Retention: retention}
	o.Schedule.Days = []string{}
	for _, d := range days {
		o.Schedule.Days = append(o.Schedule.Days, d.String())
	}
	return o
}

// InMonths returns an option of the monthly schedule for those months, or for all if none is
// given.
func InMonths(retention Retention, months ...time.Month) *MonthsOption {
	o := &MonthsOption{Retention: retention}
	if len(months) == 0 {
		for m := time.January; m <= time.December; m++ {
			months = append(months, m)
		}
	}
	for _, m := range months {
		o.Schedule.Months = append(o.Schedule.Months, m.String())
	}
	return o
}

// Kinds of restore points, in the order in which one run makes them.
const (
	KindSnapshot = "snapshot"
	KindReplica  = "replica"
	KindBackup   = "backup"
	KindArchive  = "archive"
	// KindHealthCheck makes none.
	KindHealthCheck = "health check"
)

// healthCheckTime is when health checks begin. The schedule has no time of day, and
// none is documented.
const healthCheckTime = 12 * time.Hour

// Occurrence is a scheduled start.
type Occurrence struct {
	Time time.Time
	// Kinds are the kinds of restore points to make.
	Kinds []string
}

// DoubledHour is what a policy does if its start is in the hour that occurs twice at the end
// of summer time. Not documented.
type DoubledHour int

const (
	// DoubledFirst starts it the first time.
	DoubledFirst DoubledHour = iota
	// DoubledSecond starts it the second time.
	DoubledSecond
	// DoubledBoth starts it both times.
	DoubledBoth
)

// MissingHour is what a policy does if its start is in the hour that is missing at the
// beginning of summer time. Not documented.
type MissingHour int

const (
	// MissingLater starts it as long after midnight as on other days: an hour later
	// by the clocks.
	MissingLater MissingHour = iota
	// MissingSkipped doesn't start it on that day.
	MissingSkipped
)

// ClockChange is what policies do when the clocks change.
type ClockChange struct {
	Doubled DoubledHour
	Missing MissingHour
}

// Next returns the first scheduled start after t in the zone, and false if there is
// none within five years. At a change of the clocks it goes by the zero value of
// ClockChange.
func (s *ScheduleSettings) Next(t time.Time, zone *time.Location) (Occurrence, bool) {
	return s.NextBy(t, zone, ClockChange{})
}

// NextBy is Next with a given ClockChange.
func (s *ScheduleSettings) NextBy(t time.Time, zone *time.Location, change ClockChange) (Occurrence, bool) {
	local := t.In(zone)
	var found Occurrence
	// Days are counted in UTC, in which each has a midnight. A change of the clocks can
	// move a start over midnight: begin a day early, and check one day more.
	first := time.Date(local.Year(), local.Month(), local.Day()-1, 0, 0, 0, 0, time.UTC)
	for day, last := first, first.AddDate(5, 0, 2); day.Before(last); day = day.AddDate(0, 0, 1) {
		enough := !found.Time.IsZero()
		for _, o := range s.on(day, zone, change) {
			switch {
			case !o.Time.After(t):
			case found.Time.IsZero() || o.Time.Before(found.Time):
				found = o
			case o.Time.Equal(found.Time):
				found.Kinds = append(slices.Clone(found.Kinds), o.Kinds...)
			}
		}
		if enough {
			break
		}
	}
	found.Kinds = ordered(found.Kinds)
	return found, !found.Time.IsZero()
}

// instants returns when the clocks of a zone show a time of a day, which is given by its
// midnight in UTC. It doesn't use time.Date, whose choice of the offset in doubled and
// missing hours depends on the zone.
func instants(day time.Time, of time.Duration, zone *time.Location, change ClockChange) []time.Time {
	wall := day.Add(of)
	offset := func(t time.Time) time.Duration {
		_, seconds := t.In(zone).Zone()
		return time.Duration(seconds) * time.Second
	}
	before, after := offset(wall.Add(-24*time.Hour)), offset(wall.Add(24*time.Hour))
	first, second := wall.Add(-before), wall.Add(-after)
	switch early, late := offset(first) == before, offset(second) == after; {
	case early && late && !first.Equal(second):
		return map[DoubledHour][]time.Time{
			DoubledFirst: {first}, DoubledSecond: {second}, DoubledBoth: {first, second},
		}[change.Doubled]
	case early:
		return []time.Time{first}
	case late:
		return []time.Time{second}
	case change.Missing == MissingSkipped:
		return nil
	default: // as long after midnight as if the clocks had not changed
		return []time.Time{first}
	}
}

func ordered(kinds []string) []string {
	var out []string
	for _, k := range []string{KindSnapshot, KindReplica, KindBackup, KindArchive, KindHealthCheck} {
		if slices.Contains(kinds, k) {
			out = append(out, k)
		}
	}
	return out
}

// on returns the starts of one day, given by its midnight in UTC, in no order.
func (s *ScheduleSettings) on(day time.Time, zone *time.Location, change ClockChange) []Occurrence {
	var runs []Occurrence
	at := func(of time.Duration, kinds ...string) {
		if len(kinds) == 0 {
			return
		}
		for _, t := range instants(day, of, zone, change) {
			runs = append(runs, Occurrence{Time: t.In(zone), Kinds: kinds})
		}
	}
	if d := s.Daily; s.DailyEnabled && d != nil && d.runsOn(day.Weekday()) {
		per := time.Duration(max(d.RunsPerHour, 1))
		repeated := KindSnapshot
		if d.Snapshot == nil {
			repeated = KindBackup
		}
		for h := range 24 {
			hour := time.Duration(h) * time.Hour
			kinds := kindsOf(func(o *HoursOption) bool { return h < len(o.Schedule.Hours) && o.Schedule.Hours[h] },
				d.Snapshot, d.Replica, d.Backup)
			at(hour, kinds...)
			for i := time.Duration(1); i < per && slices.Contains(kinds, repeated); i++ {
				at(hour+i*time.Hour/per, repeated)
			}
		}
	}
	if w := s.Weekly; s.WeeklyEnabled && w != nil {
		at(time.Duration(w.TimeLocal), kindsOf(func(o *DaysOption) bool {
			return slices.Contains(o.Schedule.Days, day.Weekday().String())
		}, w.Snapshot, w.Replica, w.Backup)...)
	}
	if m := s.Monthly; s.MonthlyEnabled && m != nil && m.is(day) {
		kinds := kindsOf(func(o *MonthsOption) bool {
			return slices.Contains(o.Schedule.Months, day.Month().String())
		}, m.Snapshot, m.Replica, m.Backup)
		if i := slices.Index(kinds, KindBackup); i >= 0 && m.ToArchive {
			kinds[i] = KindArchive
		}
		at(time.Duration(m.TimeLocal), kinds...)
	}
	if y := s.Yearly; s.YearlyEnabled && y != nil && y.Month == day.Month().String() && y.is(day) {
		at(time.Duration(y.TimeLocal), KindArchive)
	}
	if h := s.HealthCheck; s.HealthCheckEnabled && h != nil && h.is(day) && slices.Contains(h.Months, day.Month().String()) {
		at(healthCheckTime, KindHealthCheck)
	}
	return runs
}

// kindsOf returns the kinds whose options are there and satisfy due.
func kindsOf[O any](due func(*O) bool, snapshot, replica, backup *O) []string {
	var kinds []string
	for _, k := range []struct {
		name   string
		option *O
	}{{KindSnapshot, snapshot}, {KindReplica, replica}, {KindBackup, backup}} {
		if k.option != nil && due(k.option) {
			kinds = append(kinds, k.name)
		}
	}
	return kinds
}

func (d *DailySchedule) runsOn(w time.Weekday) bool {
	switch d.Kind {
	case "WeekDays":
		return w != time.Saturday && w != time.Sunday
	case "SelectedDays":
		return slices.Contains(d.Days, w.String())
	default:
		return true
	}
}

func (d DayInMonth) is(day time.Time) bool {
	if d.Number == "OnDay" {
		return day.Day() == d.DayOfMonth
	}
	if day.Weekday().String() != d.DayOfWeek {
		return false
	}
	if d.Number == "Last" {
		return day.AddDate(0, 0, 7).Month() != day.Month()
	}
	week := slices.Index([]string{"First", "Second", "Third", "Fourth"}, d.Number)
	return (day.Day()-1)/7 == week
}
