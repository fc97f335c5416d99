package vbaws

import (
	"reflect"
	"time"
)

// Schedule is when a policy runs: the enabled parts of its scheduleSettings, or the
// interval of the VPC policy. All times are by the wall clock of the appliance's time
// zone. The healthCheckSchedule is omitted: a health check makes no restore point.
//
// It is immutable.
type Schedule struct {
	// A part that is absent or disabled is nil.
	Daily   *DailySchedule
	Weekly  *WeeklySchedule
	Monthly *MonthlySchedule
	Yearly  *YearlySchedule
	// Every is the interval of backups without start times; 0 if there is none.
	Every time.Duration
	// Unreadable names the parts that could not be understood, each with the reason and
	// the offending value, in one line of at most 300 characters. Those parts are nil.
	// It is empty if all parts could be understood.
	Unreadable string
}

// Weekdays are days of the week, by time.Weekday.
type Weekdays [7]bool

// Months are months of the year, by time.Month. The first element is unused.
type Months [13]bool

// Hours are hours of the day, 0 to 23.
type Hours [24]bool

// DailySchedule starts on each of Days in the hours of its options. An absent option is
// nil.
type DailySchedule struct {
	Days Weekdays
	// RunsPerHour is at least 1. The runs make snapshots or, if RunsMakeBackups is
	// true, backups; all other kinds are made once an hour.
	RunsPerHour               int
	RunsMakeBackups           bool
	Snapshot, Replica, Backup *Hours
}

// WeeklySchedule starts on the days of its options. An absent option is nil.
type WeeklySchedule struct {
	// At is the time of the day, since midnight by the wall clock, to the second.
	At                        time.Duration
	Snapshot, Replica, Backup *Weekdays
}

// MonthlySchedule starts on one day of each of the months of its options. An absent option
// is nil.
type MonthlySchedule struct {
	// At is as in WeeklySchedule.
	At                        time.Duration
	Day                       DayInMonth
	Snapshot, Replica, Backup *Months
	// Archive means that backups are also sent to the archive.
	Archive bool
}

// YearlySchedule starts on one day of the year. It has no options: it makes a backup.
type YearlySchedule struct {
	// At is as in WeeklySchedule.
	At    time.Duration
	Month time.Month
	Day   DayInMonth
	// Archive is as in MonthlySchedule.
	Archive bool
}

// DayInMonth is a day of a month: if Week is 0 the one with the number Day, 1
// to 31, which not every month has; else the first (1) to fourth (4) or the last
// (LastWeek) Weekday.
type DayInMonth struct {
	Week    int
	Weekday time.Weekday
	Day     int
}

// LastWeek is the Week of a DayInMonth that is the last such weekday of the month.
const LastWeek = 5

// Equal reports whether s and o are the same schedule; nil is only equal to nil.
func (s *Schedule) Equal(o *Schedule) bool { return reflect.DeepEqual(s, o) }
