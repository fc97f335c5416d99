package vbaws

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decodeSchedule decodes scheduleSettings. It returns nil if they are null or
// missing. runsMakeBackups is as in DailySchedule: it depends on the workload.
func decodeSchedule(v jsontext.Value, runsMakeBackups bool) *Schedule {
	if isNull(v) {
		return nil
	}
	s := &Schedule{}
	var in map[string]jsontext.Value
	err := unmarshal(v, &in)
	known := false
	for _, part := range []struct {
		name   string
		decode func(jsontext.Value) error
	}{
		{"dailySchedule", func(v jsontext.Value) (err error) { s.Daily, err = decodeDaily(v, runsMakeBackups); return err }},
		{"weeklySchedule", func(v jsontext.Value) (err error) { s.Weekly, err = decodeWeekly(v); return err }},
		{"monthlySchedule", func(v jsontext.Value) (err error) { s.Monthly, err = decodeMonthly(v); return err }},
		{"yearlySchedule", func(v jsontext.Value) (err error) { s.Yearly, err = decodeYearly(v); return err }},
	} {
		enabled, settings := in[part.name+"Enabled"], in[part.name]
		known = known || !isNull(enabled) || !isNull(settings)
		switch {
		case enabled.Kind() == jsontext.KindFalse, isNull(enabled) && isNull(settings):
		case enabled.Kind() != jsontext.KindTrue:
			s.add(part.name, fmt.Errorf("%sEnabled: %s is not true or false", part.name, shown(enabled)))
		case isNull(settings):
			s.add(part.name, errors.New("enabled, but missing"))
		default:
			s.add(part.name, part.decode(settings))
		}
	}
	if err == nil && !known { // Another form of schedule, which is not the same as none.
		err = fmt.Errorf("%s has none of the known parts", clip(string(v), 80))
	}
	s.add("scheduleSettings", err)
	return s
}

// add takes in why a part could not be understood; nil if it could.
func (s *Schedule) add(part string, err error) {
	if err != nil {
		reasons := fmt.Sprintf("%s; %s: %v", s.Unreadable, part, err)
		s.Unreadable = clip(strings.TrimPrefix(reasons, "; "), 300)
	}
}

// options are what a daily, weekly or monthly schedule makes. The vendor's name of
// the replicas' varies.
type options[T any] struct {
	Snapshot    *T `json:"snapshotOptions"`
	Replica     *T `json:"replicaOptions"`
	Replication *T `json:"replicationOptions"`
	Backup      *T `json:"backupOptions"`
}

func decodeDaily(v jsontext.Value, runsMakeBackups bool) (*DailySchedule, error) {
	var in struct {
		options[hoursOption] `json:",inline"`
		Kind                 string         `json:"kind"`
		RunsPerHour          jsontext.Value `json:"runsPerHour"`
		Days                 jsontext.Value `json:"days"`
	}
	if err := unmarshal(v, &in); err != nil {
		return nil, err
	}
	out := &DailySchedule{
		RunsPerHour: 1, RunsMakeBackups: runsMakeBackups,
		Snapshot: (*Hours)(in.Snapshot), Replica: (*Hours)(cmp.Or(in.Replica, in.Replication)), Backup: (*Hours)(in.Backup),
	}
	var err error
	switch in.Kind {
	case "Everyday":
		out.Days = Weekdays{true, true, true, true, true, true, true}
	case "WeekDays": // Monday to Friday, says the user guide.
		out.Days = Weekdays{false, true, true, true, true, true, false}
	case "SelectedDays":
		err = names("days", in.Days, out.Days[:], time.Sunday, time.Saturday)
	default:
		err = fmt.Errorf("kind: %q is not known", clip(in.Kind, 40))
	}
	if err == nil && !isNull(in.RunsPerHour) {
		out.RunsPerHour, err = between("runsPerHour", in.RunsPerHour, 1, 60)
	}
	return orNil(out, err)
}

func decodeWeekly(v jsontext.Value) (*WeeklySchedule, error) {
	var in struct {
		options[weekdaysOption] `json:",inline"`
		Time                    string `json:"timeLocal"`
	}
	if err := unmarshal(v, &in); err != nil {
		return nil, err
	}
	at, err := parseTimeOfDay(in.Time)
	return orNil(&WeeklySchedule{
		At: at, Snapshot: (*Weekdays)(in.Snapshot), Replica: (*Weekdays)(cmp.Or(in.Replica, in.Replication)), Backup: (*Weekdays)(in.Backup),
	}, err)
}

// dated is what monthly and yearly schedules have in common.
type dated struct {
	Time   string `json:"timeLocal"`
	Number string `json:"dayNumberInMonth"`
	// Which of these counts depends on Number; the other is empty, 0 or null.
	DayOfWeek  jsontext.Value `json:"dayOfWeek"`
	DayOfMonth jsontext.Value `json:"dayOfMonth"`
	Archive    bool           `json:"sendBackupsToArchive"`
}

func (in *dated) decode() (at time.Duration, day DayInMonth, err error) {
	if at, err = parseTimeOfDay(in.Time); err != nil {
		return at, day, err
	}
	switch day.Week = slices.Index([]string{"OnDay", "First", "Second", "Third", "Fourth", "Last"}, in.Number); day.Week {
	case -1:
		err = fmt.Errorf("dayNumberInMonth: %q is not known", clip(in.Number, 40))
	case 0:
		day.Day, err = between("dayOfMonth", in.DayOfMonth, 1, 31)
	default:
		day.Weekday, err = named("dayOfWeek", in.DayOfWeek, time.Sunday, time.Saturday)
	}
	return at, day, err
}

func decodeMonthly(v jsontext.Value) (*MonthlySchedule, error) {
	var in struct {
		options[monthsOption] `json:",inline"`
		dated                 `json:",inline"`
	}
	if err := unmarshal(v, &in); err != nil {
		return nil, err
	}
	at, day, err := in.decode()
	return orNil(&MonthlySchedule{
		At: at, Day: day, Archive: in.Archive,
		Snapshot: (*Months)(in.Snapshot), Replica: (*Months)(cmp.Or(in.Replica, in.Replication)), Backup: (*Months)(in.Backup),
	}, err)
}

func decodeYearly(v jsontext.Value) (*YearlySchedule, error) {
	var in struct {
		dated `json:",inline"`
		Month jsontext.Value `json:"month"`
	}
	if err := unmarshal(v, &in); err != nil {
		return nil, err
	}
	at, day, err := in.decode()
	if err != nil {
		return nil, err
	}
	m, err := named("month", in.Month, time.January, time.December)
	return orNil(&YearlySchedule{At: at, Month: m, Day: day, Archive: in.Archive}, err)
}

// orNil returns nil with an error: a part is understood as a whole or not at all.
func orNil[T any](part *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return part, nil
}

// decodeInterval decodes the scheduleOptions of the VPC policy, in the form that
// the vendor's reference of 1.2 has: an interval. It returns nil if they are null or
// missing.
func decodeInterval(v jsontext.Value) *Schedule {
	if isNull(v) {
		return nil
	}
	var in struct {
		Daily struct {
			Schedule struct {
				Type  string         `json:"type"`
				Count jsontext.Value `json:"count"`
			} `json:"schedule"`
		} `json:"dailySchedule"`
	}
	s := &Schedule{}
	err := unmarshal(v, &in)
	if err == nil {
		of := in.Daily.Schedule
		unit := map[string]time.Duration{"Minutes": time.Minute, "Hours": time.Hour, "Days": 24 * time.Hour}[of.Type]
		count := 0
		if unit == 0 {
			err = fmt.Errorf("type: %q is not known", clip(of.Type, 40))
		} else {
			count, err = between("count", of.Count, 1, int(366*24*time.Hour/unit))
		}
		s.Every = time.Duration(count) * unit
	}
	s.add("scheduleOptions", err)
	return s
}

// unmarshal decodes v; members that are not asked for are ignored.
func unmarshal(v jsontext.Value, into any) error {
	err := json.Unmarshal(v, into, tolerant...)
	if bad, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("%s: %w", bad.JSONPointer, cmp.Or(bad.Err, fmt.Errorf("not of the documented form: %s", clip(string(v), 80))))
	}
	return err
}

// isNull reports whether v is null or missing.
func isNull(v jsontext.Value) bool { return len(v) == 0 || v.Kind() == jsontext.KindNull }

// shown returns a value as a message shows it.
func shown(v jsontext.Value) string { return cmp.Or(clip(string(v), 40), "nothing") }

// between returns the integer in v, which is the member what, from first to last.
func between(what string, v jsontext.Value, first, last int) (int, error) {
	n, err := strconv.Atoi(string(v))
	if err != nil || n < first || n > last {
		return 0, fmt.Errorf("%s: %s is not a number from %d to %d", what, shown(v), first, last)
	}
	return n, nil
}

type name interface {
	~int
	fmt.Stringer
}

// named returns which of those from first to last has the name in v.
func named[T name](what string, v jsontext.Value, first, last T) (T, error) {
	for n := first; n <= last; n++ {
		if v.Kind() == jsontext.KindString && strings.EqualFold(string(unquote(v)), n.String()) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s: %s is not one of %s to %s", what, shown(v), first, last)
}

// names adds the numbers of the names in the array v to a set.
func names[T name](what string, v jsontext.Value, set []bool, first, last T) error {
	list, err := array(what, v)
	for _, v := range list {
		n, err := named(what, v, first, last)
		if err != nil {
			return err
		}
		set[n] = true
	}
	return err
}

// array reads an array; null and nothing are empty ones.
func array(what string, v jsontext.Value) (list []jsontext.Value, err error) {
	if !isNull(v) && v.Kind() != jsontext.KindBeginArray {
		return nil, fmt.Errorf("%s: %s is not an array", what, shown(v))
	}
	if !isNull(v) {
		err = json.Unmarshal(v, &list, tolerant...)
	}
	return list, err
}

// The types below are options of a schedule, as sets of when something is made.
// No schedule at all, null and an empty array are the same: never.
type (
	hoursOption    Hours
	weekdaysOption Weekdays
	monthsOption   Months
)

// member returns a member of the schedule that an option has.
func member(option []byte, name string) (jsontext.Value, error) {
	var in struct {
		Schedule map[string]jsontext.Value `json:"schedule"`
	}
	err := unmarshal(option, &in)
	return in.Schedule[name], err
}

// UnmarshalJSON reads 24 booleans, as documented for 1.0 and 1.1, or the hours
// themselves, as documented from 1.2 on.
func (h *hoursOption) UnmarshalJSON(b []byte) error {
	v, err := member(b, "hours")
	if err != nil {
		return err
	}
	*h = hoursOption{}
	list, err := array("hours", v)
	booleans := 0
	for i, v := range list {
		k := v.Kind()
		if len(list) == len(h) && (k == jsontext.KindTrue || k == jsontext.KindFalse) {
			booleans++
			h[i] = k == jsontext.KindTrue
			continue
		}
		n, err := between("hours", v, 0, len(h)-1)
		if err != nil {
			return fmt.Errorf("%w, nor %d booleans", err, len(h))
		}
		h[n] = true
	}
	if booleans > 0 && booleans < len(h) {
		return fmt.Errorf("hours: booleans and numbers are mixed: %s", shown(v))
	}
	return err
}

// UnmarshalJSON reads names of days.
func (d *weekdaysOption) UnmarshalJSON(b []byte) error {
	v, err := member(b, "days")
	if err != nil {
		return err
	}
	*d = weekdaysOption{}
	return names("days", v, d[:], time.Sunday, time.Saturday)
}

// UnmarshalJSON reads names of months.
func (m *monthsOption) UnmarshalJSON(b []byte) error {
	v, err := member(b, "months")
	if err != nil {
		return err
	}
	*m = monthsOption{}
	return names("months", v, m[:], time.January, time.December)
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
