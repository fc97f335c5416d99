package vbaws

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Schedule is a policy's scheduleSettings: its parts that are switched on. All
// times are by the wall clock of the appliance's time zone.
//
// It is immutable.
type Schedule struct {
	// A part that is absent or switched off is nil.
	Daily   *DailySchedule
	Weekly  *WeeklySchedule
	Monthly *MonthlySchedule
	Yearly  *YearlySchedule
	// Err says why the schedule could not be understood. The parts are then nil: a
	// part of a schedule must not pass for the whole.
	Err error
}

// Weekdays are days of the week, by time.Weekday.
type Weekdays [7]bool

// Months are months of the year, by time.Month. The first element is unused.
type Months [13]bool

// Hours are hours of the day, 0 to 23.
type Hours [24]bool

// DailySchedule starts on each of Days in the hours of its options. An option
// that is absent is nil.
type DailySchedule struct {
	Days Weekdays
	// RunsPerHour is at least 1.
	RunsPerHour               int
	Snapshot, Replica, Backup *Hours
}

// WeeklySchedule starts on the days of its options. An option that is absent is
// nil.
type WeeklySchedule struct {
	// At is the time of the day, since midnight by the wall clock, to the second.
	At                        time.Duration
	Snapshot, Replica, Backup *Weekdays
}

// MonthlySchedule starts on one day of each of the months of its options. An
// option that is absent is nil.
type MonthlySchedule struct {
	// At is as in WeeklySchedule.
	At                        time.Duration
	Day                       DayInMonth
	Snapshot, Replica, Backup *Months
}

// YearlySchedule starts on one day of the year. It has no options: what it makes
// is a backup.
type YearlySchedule struct {
	// At is as in WeeklySchedule.
	At    time.Duration
	Month time.Month
	Day   DayInMonth
}

// DayInMonth is a day of a month: where Week is 0 the one with the number Day, 1
// to 31, which not every month has; else the first (1) to fourth (4) or the last
// (LastWeek) Weekday.
type DayInMonth struct {
	Week    int
	Weekday time.Weekday
	Day     int
}

// LastWeek is the Week of a DayInMonth that is the last such weekday of the month.
const LastWeek = 5

// decodeSchedule decodes scheduleSettings. It returns nil where they are null.
func decodeSchedule(v jsontext.Value) *Schedule {
	if v.Kind() == jsontext.KindNull {
		return nil
	}
	var s Schedule
	if err := s.decode(v); err != nil {
		return &Schedule{Err: fmt.Errorf("scheduleSettings: %w", err)}
	}
	return &s
}

// unmarshal decodes v; members that are not asked for are ignored.
func unmarshal(v jsontext.Value, into any) error {
	return json.Unmarshal(v, into, tolerant...)
}

func (s *Schedule) decode(v jsontext.Value) error {
	// The parts are only looked at where they are switched on.
	var in struct {
		DailyEnabled   *bool          `json:"dailyScheduleEnabled"`
		Daily          jsontext.Value `json:"dailySchedule"`
		WeeklyEnabled  *bool          `json:"weeklyScheduleEnabled"`
		Weekly         jsontext.Value `json:"weeklySchedule"`
		MonthlyEnabled *bool          `json:"monthlyScheduleEnabled"`
		Monthly        jsontext.Value `json:"monthlySchedule"`
		YearlyEnabled  *bool          `json:"yearlyScheduleEnabled"`
		Yearly         jsontext.Value `json:"yearlySchedule"`
	}
	if err := unmarshal(v, &in); err != nil {
		return err
	}
	known := false
	for _, part := range []struct {
		name     string
		enabled  *bool
		settings jsontext.Value
		decode   func(jsontext.Value) error
	}{
		{"dailySchedule", in.DailyEnabled, in.Daily, s.daily},
		{"weeklySchedule", in.WeeklyEnabled, in.Weekly, s.weekly},
		{"monthlySchedule", in.MonthlyEnabled, in.Monthly, s.monthly},
		{"yearlySchedule", in.YearlyEnabled, in.Yearly, s.yearly},
	} {
		present := part.settings != nil && part.settings.Kind() != jsontext.KindNull
		switch {
		case part.enabled == nil && present:
			return fmt.Errorf("%sEnabled is missing", part.name)
		case part.enabled == nil:
			continue
		case *part.enabled && !present:
			return fmt.Errorf("%s is enabled and missing", part.name)
		case *part.enabled:
			if err := part.decode(part.settings); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
		known = true
	}
	if !known { // Some other form of schedule, which is not the same as none.
		return errors.New("none of the known parts is there")
	}
	return nil
}

func (s *Schedule) daily(v jsontext.Value) error {
	type option struct {
		Schedule struct {
			Hours []bool `json:"hours"`
		} `json:"schedule"`
	}
	var in struct {
		Kind        string   `json:"kind"`
		RunsPerHour *int     `json:"runsPerHour"`
		Days        []string `json:"days"`
		Snapshot    *option  `json:"snapshotOptions"`
		Replica     *option  `json:"replicaOptions"`
		Backup      *option  `json:"backupOptions"`
	}
	if err := unmarshal(v, &in); err != nil {
		return err
	}
	out := DailySchedule{RunsPerHour: 1}
	switch in.Kind {
	case "Everyday":
		out.Days = Weekdays{true, true, true, true, true, true, true}
	case "WeekDays": // Monday to Friday, says the user guide.
		out.Days = Weekdays{false, true, true, true, true, true, false}
	case "SelectedDays":
		for _, word := range in.Days {
			day, err := weekday(word)
			if err != nil {
				return fmt.Errorf("days: %w", err)
			}
			out.Days[day] = true
		}
	default:
		return fmt.Errorf("kind: %q is not known", clip(in.Kind, 40))
	}
	if in.RunsPerHour != nil {
		out.RunsPerHour = *in.RunsPerHour
	}
	if out.RunsPerHour < 1 || out.RunsPerHour > 60 {
		return fmt.Errorf("runsPerHour: %d is not 1 to 60", out.RunsPerHour)
	}
	for _, o := range []struct {
		name string
		in   *option
		out  **Hours
	}{
		{"snapshotOptions", in.Snapshot, &out.Snapshot},
		{"replicaOptions", in.Replica, &out.Replica},
		{"backupOptions", in.Backup, &out.Backup},
	} {
		if o.in == nil {
			continue
		}
		var hours Hours
		if n := len(o.in.Schedule.Hours); n != len(hours) {
			return fmt.Errorf("%s: %d hours instead of %d", o.name, n, len(hours))
		}
		copy(hours[:], o.in.Schedule.Hours)
		*o.out = &hours
	}
	s.Daily = &out
	return nil
}

func (s *Schedule) weekly(v jsontext.Value) error {
	type option struct {
		Schedule struct {
			Days *[]string `json:"days"`
		} `json:"schedule"`
	}
	var in struct {
		Time     string  `json:"timeLocal"`
		Snapshot *option `json:"snapshotOptions"`
		Replica  *option `json:"replicaOptions"`
		Backup   *option `json:"backupOptions"`
	}
	if err := unmarshal(v, &in); err != nil {
		return err
	}
	at, err := parseTimeOfDay(in.Time)
	if err != nil {
		return err
	}
	out := WeeklySchedule{At: at}
	for _, o := range []struct {
		name string
		in   *option
		out  **Weekdays
	}{
		{"snapshotOptions", in.Snapshot, &out.Snapshot},
		{"replicaOptions", in.Replica, &out.Replica},
		{"backupOptions", in.Backup, &out.Backup},
	} {
		if o.in == nil {
			continue
		}
		if o.in.Schedule.Days == nil {
			return fmt.Errorf("%s: days are missing", o.name)
		}
		var days Weekdays
		for _, word := range *o.in.Schedule.Days {
			day, err := weekday(word)
			if err != nil {
				return fmt.Errorf("%s: days: %w", o.name, err)
			}
			days[day] = true
		}
		*o.out = &days
	}
	s.Weekly = &out
	return nil
}

// dayInMonth is what monthly and yearly schedules have in common.
type dayInMonth struct {
	Time      string  `json:"timeLocal"`
	Number    string  `json:"dayNumberInMonth"`
	DayOfWeek *string `json:"dayOfWeek"`
	Day       *int    `json:"dayOfMonth"`
}

func (in dayInMonth) decode() (at time.Duration, day DayInMonth, err error) {
	if at, err = parseTimeOfDay(in.Time); err != nil {
		return at, day, err
	}
	switch in.Number {
	case "OnDay":
		switch {
		case in.Day == nil:
			return at, day, errors.New("dayOfMonth is missing")
		case *in.Day < 1 || *in.Day > 31:
			return at, day, fmt.Errorf("dayOfMonth: %d is not 1 to 31", *in.Day)
		}
		day.Day = *in.Day
		return at, day, nil
	case "First":
		day.Week = 1
	case "Second":
		day.Week = 2
	case "Third":
		day.Week = 3
	case "Fourth":
		day.Week = 4
	case "Last":
		day.Week = LastWeek
	default:
		return at, day, fmt.Errorf("dayNumberInMonth: %q is not known", clip(in.Number, 40))
	}
	if in.DayOfWeek == nil {
		return at, day, errors.New("dayOfWeek is missing")
	}
	if day.Weekday, err = weekday(*in.DayOfWeek); err != nil {
		return at, day, fmt.Errorf("dayOfWeek: %w", err)
	}
	return at, day, nil
}

func (s *Schedule) monthly(v jsontext.Value) error {
	type option struct {
		Schedule struct {
			Months *[]string `json:"months"`
		} `json:"schedule"`
	}
	var in struct {
		dayInMonth `json:",inline"`
		Snapshot   *option `json:"snapshotOptions"`
		Replica    *option `json:"replicaOptions"`
		Backup     *option `json:"backupOptions"`
	}
	if err := unmarshal(v, &in); err != nil {
		return err
	}
	at, day, err := in.decode()
	if err != nil {
		return err
	}
	out := MonthlySchedule{At: at, Day: day}
	for _, o := range []struct {
		name string
		in   *option
		out  **Months
	}{
		{"snapshotOptions", in.Snapshot, &out.Snapshot},
		{"replicaOptions", in.Replica, &out.Replica},
		{"backupOptions", in.Backup, &out.Backup},
	} {
		if o.in == nil {
			continue
		}
		if o.in.Schedule.Months == nil {
			return fmt.Errorf("%s: months are missing", o.name)
		}
		var months Months
		for _, word := range *o.in.Schedule.Months {
			m, err := month(word)
			if err != nil {
				return fmt.Errorf("%s: months: %w", o.name, err)
			}
			months[m] = true
		}
		*o.out = &months
	}
	s.Monthly = &out
	return nil
}

func (s *Schedule) yearly(v jsontext.Value) error {
	var in struct {
		dayInMonth `json:",inline"`
		Month      string `json:"month"`
	}
	if err := unmarshal(v, &in); err != nil {
		return err
	}
	at, day, err := in.decode()
	if err != nil {
		return err
	}
	m, err := month(in.Month)
	if err != nil {
		return fmt.Errorf("month: %w", err)
	}
	s.Yearly = &YearlySchedule{At: at, Month: m, Day: day}
	return nil
}

func weekday(word string) (time.Weekday, error) {
	for d := time.Sunday; d <= time.Saturday; d++ {
		if word == d.String() {
			return d, nil
		}
	}
	return 0, fmt.Errorf("%q is not a day of the week", clip(word, 40))
}

func month(word string) (time.Month, error) {
	for m := time.January; m <= time.December; m++ {
		if word == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%q is not a month", clip(word, 40))
}

// parseTimeOfDay reads a timeLocal. It is a date-time of which only the time
// counts: neither the day nor a zone that may be written there means anything,
// for the time is said to be local. A time alone is read too.
func parseTimeOfDay(s string) (time.Duration, error) {
	clock := s
	if _, after, ok := strings.Cut(s, "T"); ok {
		clock = after
	}
	if i := strings.IndexAny(clock, "Z+-"); i >= 0 {
		clock = clock[:i]
	}
	t, err := time.Parse(time.TimeOnly, clock)
	if err != nil {
		t, err = time.Parse("15:04", clock)
	}
	if err != nil {
		return 0, fmt.Errorf("timeLocal: %q is not a time", clip(s, 40))
	}
	h, m, sec := t.Clock()
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second, nil
}
