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

// decodeSchedule decodes scheduleSettings. It returns nil if they are null or missing.
func decodeSchedule(v jsontext.Value) *Schedule {
	if isNull(v) {
		return nil
	}
	s := &Schedule{}
	var in map[string]jsontext.Value
	err := unmarshal(v, &in, strictly)
	parts := []bool{
		addPart(s, in, "dailySchedule", &s.Daily, (*daily).decode),
		addPart(s, in, "weeklySchedule", &s.Weekly, (*weekly).decode),
		addPart(s, in, "monthlySchedule", &s.Monthly, (*monthly).decode),
		addPart(s, in, "yearlySchedule", &s.Yearly, (*yearly).decode),
	}
	switch {
	case err != nil:
		s.add("scheduleSettings", err)
	case !slices.Contains(parts, true): // An unknown form of schedule is not the same as no schedule.
		s.add("scheduleSettings", fmt.Errorf("%s has none of the known parts", clip(string(v), 80)))
	}
	return s
}

// addPart decodes one part of a schedule, and reports whether the settings have it. A part
// with a mistake is omitted as a whole.
func addPart[D, T any](s *Schedule, in map[string]jsontext.Value, name string, to **T, decode func(*D, *T) error) bool {
	enabled, settings := in[name+"Enabled"], in[name]
	switch {
	case isNull(enabled) && isNull(settings):
		return false
	case enabled.Kind() == jsontext.KindFalse:
	case enabled.Kind() != jsontext.KindTrue:
		s.add(name, fmt.Errorf("%sEnabled: %s is not true or false", name, shown(enabled)))
	case isNull(settings):
		s.add(name, errors.New("enabled, but missing"))
	default:
		*to = understand(s, name, settings, decode)
	}
	return true
}

// understand returns the part that decode makes of a document, nil if there is an error.
func understand[D, T any](s *Schedule, name string, v jsontext.Value, decode func(*D, *T) error) *T {
	document, part := new(D), new(T)
	err := unmarshal(v, document, strictly)
	if err == nil {
		err = decode(document, part)
	}
	if err != nil {
		s.add(name, err)
		return nil
	}
	return part
}

// add adds the reason why a part could not be understood.
func (s *Schedule) add(part string, err error) {
	reasons := fmt.Sprintf("%s; %s: %v", s.Unreadable, part, err)
	s.Unreadable = clip(strings.TrimPrefix(reasons, "; "), 300)
}

// options are the kinds of restore points that a daily, weekly or monthly schedule makes.
// The name of the option of replicas varies.
type options[T any] struct {
	Snapshot    *T `json:"snapshotOptions"`
	Replica     *T `json:"replicaOptions"`
	Replication *T `json:"replicationOptions"`
	Backup      *T `json:"backupOptions"`
}

// kinds returns the options of snapshots, replicas and backups.
func (o *options[T]) kinds() (snapshot, replica, backup *T) {
	return o.Snapshot, cmp.Or(o.Replica, o.Replication), o.Backup
}

type daily struct {
	options[Hours] `json:",inline"`
	Kind           string         `json:"kind"`
	RunsPerHour    jsontext.Value `json:"runsPerHour"`
	Days           jsontext.Value `json:"days"`
}

func (in *daily) decode(out *DailySchedule) (err error) {
	out.Snapshot, out.Replica, out.Backup = in.kinds()
	switch in.Kind {
	case "Everyday":
		out.Days = Weekdays{true, true, true, true, true, true, true}
	case "WeekDays": // Monday to Friday, by the user guide.
		out.Days = Weekdays{false, true, true, true, true, true, false}
	case "SelectedDays":
		err = names("days", in.Days, out.Days[:], time.Sunday, time.Saturday)
	default:
		err = fmt.Errorf("kind: %q is not known", clip(in.Kind, 40))
	}
	if out.RunsPerHour = 1; err == nil && !isNull(in.RunsPerHour) {
		out.RunsPerHour, err = between("runsPerHour", in.RunsPerHour, 1, 60)
	}
	return err
}

type weekly struct {
	options[Weekdays] `json:",inline"`
	Time              string `json:"timeLocal"`
}

func (in *weekly) decode(out *WeeklySchedule) (err error) {
	out.Snapshot, out.Replica, out.Backup = in.kinds()
	out.At, err = parseTimeOfDay(in.Time)
	return err
}

// dated is what monthly and yearly schedules have in common.
type dated struct {
	Time   string `json:"timeLocal"`
	Number string `json:"dayNumberInMonth"`
	// Number determines which of these is used; the other is empty, 0 or null.
	DayOfWeek  jsontext.Value `json:"dayOfWeek"`
	DayOfMonth jsontext.Value `json:"dayOfMonth"`
	Archive    bool           `json:"sendBackupsToArchive"`
}

func (in *dated) start() (at time.Duration, day DayInMonth, err error) {
	if at, err = parseTimeOfDay(in.Time); err != nil {
		return at, day, err
	}
	switch day.Week = slices.Index([]string{"OnDay", "First", "Second", "Third", "Fourth", "Last"}, in.Number); day.Week {
	case -1:
		err = fmt.Errorf("dayNumberInMonth: %q is not known", clip(in.Number, 40))
	case 0:
		day.Day, err = between("dayOfMonth", in.DayOfMonth, 1, 31)
	default:
		day.Weekday, err = nameOf("dayOfWeek", in.DayOfWeek, time.Sunday, time.Saturday)
	}
	return at, day, err
}

type monthly struct {
	options[Months] `json:",inline"`
	dated           `json:",inline"`
}

func (in *monthly) decode(out *MonthlySchedule) (err error) {
	out.Snapshot, out.Replica, out.Backup = in.kinds()
	out.Archive = in.Archive
	out.At, out.Day, err = in.start()
	return err
}

type yearly struct {
	dated `json:",inline"`
	Month jsontext.Value `json:"month"`
}

func (in *yearly) decode(out *YearlySchedule) (err error) {
	out.Archive = in.Archive
	if out.At, out.Day, err = in.start(); err != nil {
		return err
	}
	out.Month, err = nameOf("month", in.Month, time.January, time.December)
	return err
}

// decodeInterval decodes the scheduleOptions of the VPC policy. It returns nil if they are
// null or missing.
func decodeInterval(v jsontext.Value) *Schedule {
	if isNull(v) {
		return nil
	}
	s := &Schedule{}
	if every := understand(s, "scheduleOptions", v, (*interval).decode); every != nil {
		s.Every = *every
	}
	return s
}

// interval is the form in the vendor's reference of 1.2.
type interval struct {
	Daily struct {
		Schedule struct {
			Type  string         `json:"type"`
			Count jsontext.Value `json:"count"`
		} `json:"schedule"`
	} `json:"dailySchedule"`
}

func (in *interval) decode(every *time.Duration) error {
	of := in.Daily.Schedule
	unit := map[string]time.Duration{"Minutes": time.Minute, "Hours": time.Hour, "Days": 24 * time.Hour}[of.Type]
	if unit == 0 {
		return fmt.Errorf("type: %q is not known", clip(of.Type, 40))
	}
	count, err := between("count", of.Count, 1, int(366*24*time.Hour/unit))
	*every = time.Duration(count) * unit
	return err
}

// strictly are the options for schedules: any form that is not documented is an error. An
// option of a schedule is decoded as a set of hours, days or months; a missing schedule,
// null and an empty array are the empty set.
var strictly = append(slices.Clip(tolerant), json.WithUnmarshalers(json.JoinUnmarshalers(
	option("hours", hours),
	option("days", func(v jsontext.Value, d *Weekdays) error {
		return names("days", v, d[:], time.Sunday, time.Saturday)
	}),
	option("months", func(v jsontext.Value, m *Months) error {
		return names("months", v, m[:], time.January, time.December)
	}),
)))

// option returns the decoder of an option; member is the name of the set in its schedule.
func option[T any](member string, set func(jsontext.Value, *T) error) *json.Unmarshalers {
	return json.UnmarshalFunc(func(v []byte, to *T) error {
		var in struct {
			Schedule map[string]jsontext.Value `json:"schedule"`
		}
		if err := unmarshal(v, &in, tolerant); err != nil {
			return err
		}
		*to = *new(T)
		return set(in.Schedule[member], to)
	})
}

// unmarshal decodes v, and ignores unknown members.
func unmarshal(v jsontext.Value, into any, options []jsontext.Options) error {
	err := json.Unmarshal(v, into, options...)
	if bad, ok := errors.AsType[*json.SemanticError](err); ok {
		return fmt.Errorf("%s: %w", bad.JSONPointer, cmp.Or(bad.Err, fmt.Errorf("not of the documented form: %s", clip(string(v), 80))))
	}
	return err
}

// isNull reports whether v is null or missing.
func isNull(v jsontext.Value) bool { return len(v) == 0 || v.Kind() == jsontext.KindNull }

// shown returns a value for a message.
func shown(v jsontext.Value) string { return cmp.Or(clip(string(v), 40), "nothing") }

// between returns the integer in v, which must be from first to last. what is the name of
// the member.
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

// nameOf returns the value from first to last that has the name in v.
func nameOf[T name](what string, v jsontext.Value, first, last T) (T, error) {
	for n := first; n <= last; n++ {
		if strings.EqualFold(string(unquote(v)), n.String()) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s: %s is not one of %s to %s", what, shown(v), first, last)
}

// names adds the values of the names in the array v to a set.
func names[T name](what string, v jsontext.Value, set []bool, first, last T) error {
	list, err := array(what, v)
	for _, v := range list {
		n, err := nameOf(what, v, first, last)
		if err != nil {
			return err
		}
		set[n] = true
	}
	return err
}

// array reads an array. It is empty if v is null or missing.
func array(what string, v jsontext.Value) (list []jsontext.Value, err error) {
	if !isNull(v) && json.Unmarshal(v, &list, tolerant...) != nil {
		return nil, fmt.Errorf("%s: %s is not an array", what, shown(v))
	}
	return list, nil
}

// hours reads 24 booleans, as documented for 1.0 and 1.1, or the hours themselves, as
// documented from 1.2 on.
func hours(v jsontext.Value, h *Hours) error {
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

// parseTimeOfDay reads a timeLocal, a date-time or a time alone. It ignores the day and the
// zone, since the time is local.
func parseTimeOfDay(s string) (time.Duration, error) {
	clock := s[strings.IndexByte(s, 'T')+1:]
	if i := strings.IndexAny(clock, "Z+-"); i >= 0 {
		clock = clock[:i]
	}
	if strings.Count(clock, ":") == 1 {
		clock += ":00"
	}
	t, err := time.Parse(time.TimeOnly, clock)
	if err != nil {
		return 0, fmt.Errorf("timeLocal: %q is not a time", clip(s, 40))
	}
	return t.Sub(midnight).Truncate(time.Second), nil
}
