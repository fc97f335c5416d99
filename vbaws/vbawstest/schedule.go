package vbawstest

import (
	"encoding/json"
	"slices"
	"time"
)

// ScheduleSettings is a policy's schedule, as the vendor's API description
// defines it. A part without its Enabled flag is served and has no effect.
type ScheduleSettings struct {
	DailyEnabled   bool             `json:"dailyScheduleEnabled"`
	Daily          *DailySchedule   `json:"dailySchedule,omitempty"`
	WeeklyEnabled  bool             `json:"weeklyScheduleEnabled"`
	Weekly         *WeeklySchedule  `json:"weeklySchedule,omitempty"`
	MonthlyEnabled bool             `json:"monthlyScheduleEnabled"`
	Monthly        *MonthlySchedule `json:"monthlySchedule,omitempty"`
	YearlyEnabled  bool             `json:"yearlyScheduleEnabled"`
	Yearly         *YearlySchedule  `json:"yearlySchedule,omitempty"`
}

// DailySchedule runs in chosen hours.
type DailySchedule struct {
	// Kind is Everyday, WeekDays (Monday to Friday) or SelectedDays, which are
	// then Days: Sunday, Monday, ….
	Kind string   `json:"kind"`
	Days []string `json:"days,omitempty"`
	// RunsPerHour is at least 1; runs are spread evenly over the hour.
	RunsPerHour int          `json:"runsPerHour"`
	Snapshot    *HoursOption `json:"snapshotOptions,omitempty"`
	Backup      *HoursOption `json:"backupOptions,omitempty"`
	Replica     *HoursOption `json:"replicaOptions,omitempty"`
}

// HoursOption says in which hours a kind of restore point is made.
type HoursOption struct {
	Retention Retention `json:"retention"`
	Schedule  struct {
		Hours []bool `json:"hours"`
	} `json:"schedule"`
}

// WeeklySchedule runs on chosen days of the week.
type WeeklySchedule struct {
	TimeLocal TimeOfDay   `json:"timeLocal"`
	Snapshot  *DaysOption `json:"snapshotOptions,omitempty"`
	Backup    *DaysOption `json:"backupOptions,omitempty"`
	Replica   *DaysOption `json:"replicaOptions,omitempty"`
}

// DaysOption says on which days a kind of restore point is made.
type DaysOption struct {
	Retention Retention `json:"retention"`
	Schedule  struct {
		Days []string `json:"days"`
	} `json:"schedule"`
}

// MonthlySchedule runs on one day of chosen months.
type MonthlySchedule struct {
	TimeLocal TimeOfDay `json:"timeLocal"`
	DayInMonth
	Snapshot *MonthsOption `json:"snapshotOptions,omitempty"`
	Backup   *MonthsOption `json:"backupOptions,omitempty"`
	Replica  *MonthsOption `json:"replicaOptions,omitempty"`
}

// MonthsOption says in which months a kind of restore point is made.
type MonthsOption struct {
	Retention Retention `json:"retention"`
	Schedule  struct {
		Months []string `json:"months"`
	} `json:"schedule"`
}

// YearlySchedule runs on one day of the year and makes archived backups.
type YearlySchedule struct {
	TimeLocal TimeOfDay `json:"timeLocal"`
	DayInMonth
	// Month is January, February, ….
	Month     string    `json:"month"`
	Retention Retention `json:"retention"`
}

// DayInMonth is a day of a month: OnDay with DayOfMonth, or First to Fourth or
// Last with DayOfWeek. A month without that day is skipped.
type DayInMonth struct {
	Number     string `json:"dayNumberInMonth"`
	DayOfWeek  string `json:"dayOfWeek,omitempty"`
	DayOfMonth int    `json:"dayOfMonth,omitempty"`
}

// Retention is how long or how many restore points are kept.
type Retention struct {
	// Type is Days, Months or Years; empty where Count counts points.
	Type  string `json:"type,omitempty"`
	Count int    `json:"count"`
}

// TimeOfDay is a time of the day in the appliance's zone, since midnight. On the
// wire it is a date-time without a zone on an arbitrary day.
type TimeOfDay time.Duration

const timeOfDayLayout = "2006-01-02T15:04:05"

// At returns the TimeOfDay of an hour and a minute.
func At(hour, minute int) TimeOfDay {
	return TimeOfDay(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
}

// MarshalJSON writes the time on the first day of 2000.
func (t TimeOfDay) MarshalJSON() ([]byte, error) {
	day := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	return json.Marshal(day.Add(time.Duration(t)).Format(timeOfDayLayout))
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

// InMonths returns an option of the monthly schedule for those months, or for
// all where none is given.
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

// served returns the settings as they are sent: snapshotOptions is required, so
// that a schedule without snapshots has options that choose nothing.
func (s *ScheduleSettings) served() *ScheduleSettings {
	if s == nil {
		return nil
	}
	out := *s
	if d := s.Daily; d != nil && d.Snapshot == nil {
		full := *d
		full.Snapshot = Hours(Retention{})
		out.Daily = &full
	}
	if w := s.Weekly; w != nil && w.Snapshot == nil {
		full := *w
		full.Snapshot = Weekdays(Retention{})
		out.Weekly = &full
	}
	if m := s.Monthly; m != nil && m.Snapshot == nil {
		full := *m
		full.Snapshot = &MonthsOption{}
		full.Snapshot.Schedule.Months = []string{}
		out.Monthly = &full
	}
	return &out
}

// Kinds of restore points, in the order in which one run makes them.
const (
	KindSnapshot = "snapshot"
	KindReplica  = "replica"
	KindBackup   = "backup"
	KindArchive  = "archive"
)

// Occurrence is a scheduled start.
type Occurrence struct {
	Time time.Time
	// Kinds says what is to be made then.
	Kinds []string
}

// Next returns the first scheduled start after t in the zone, and false where
// there is none within five years. Starts that fall into the hour which a change
// to summer time leaves out happen an hour later.
func (s *ScheduleSettings) Next(t time.Time, zone *time.Location) (Occurrence, bool) {
	local := t.In(zone)
	// A start may be shifted over midnight by a change of the clocks: begin a
	// day early.
	day := time.Date(local.Year(), local.Month(), local.Day()-1, 0, 0, 0, 0, zone)
	last := day.AddDate(5, 0, 2)
	for ; day.Before(last); day = time.Date(day.Year(), day.Month(), day.Day()+1, 0, 0, 0, 0, zone) {
		var found Occurrence
		for _, o := range s.on(day) {
			if !o.Time.After(t) || !found.Time.IsZero() && o.Time.After(found.Time) {
				continue
			}
			if !o.Time.Equal(found.Time) {
				found = o
				continue
			}
			found.Kinds = append(slices.Clone(found.Kinds), o.Kinds...)
		}
		if !found.Time.IsZero() {
			found.Kinds = ordered(found.Kinds)
			return found, true
		}
	}
	return Occurrence{}, false
}

func ordered(kinds []string) []string {
	var out []string
	for _, k := range []string{KindSnapshot, KindReplica, KindBackup, KindArchive} {
		if slices.Contains(kinds, k) {
			out = append(out, k)
		}
	}
	return out
}

// on returns the starts of one day, given by its midnight, in no order.
func (s *ScheduleSettings) on(day time.Time) []Occurrence {
	var runs []Occurrence
	at := func(since time.Duration, kinds ...string) {
		if len(kinds) == 0 {
			return
		}
		// By the wall clock, not by elapsed time.
		h, m := int(since/time.Hour), int(since%time.Hour/time.Minute)
		t := time.Date(day.Year(), day.Month(), day.Day(), h, m, 0, 0, day.Location())
		runs = append(runs, Occurrence{Time: t, Kinds: kinds})
	}
	if d := s.Daily; s.DailyEnabled && d != nil && d.runsOn(day.Weekday()) {
		per := max(d.RunsPerHour, 1)
		for h := range 24 {
			kinds := kindsOf(func(o *HoursOption) bool { return h < len(o.Schedule.Hours) && o.Schedule.Hours[h] },
				d.Snapshot, d.Replica, d.Backup)
			for i := range per {
				at(time.Duration(h)*time.Hour+time.Duration(i)*time.Hour/time.Duration(per), kinds...)
			}
		}
	}
	if w := s.Weekly; s.WeeklyEnabled && w != nil {
		at(time.Duration(w.TimeLocal), kindsOf(func(o *DaysOption) bool {
			return slices.Contains(o.Schedule.Days, day.Weekday().String())
		}, w.Snapshot, w.Replica, w.Backup)...)
	}
	if m := s.Monthly; s.MonthlyEnabled && m != nil && m.is(day) {
		at(time.Duration(m.TimeLocal), kindsOf(func(o *MonthsOption) bool {
			return slices.Contains(o.Schedule.Months, day.Month().String())
		}, m.Snapshot, m.Replica, m.Backup)...)
	}
	if y := s.Yearly; s.YearlyEnabled && y != nil && y.Month == day.Month().String() && y.is(day) {
		at(time.Duration(y.TimeLocal), KindArchive)
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
