package vbawstest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vbaws_exporter/vbaws/vbawstest"
)

func zone(t TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return z
}

// starts returns the first n scheduled starts after a time.
func starts(s *vbawstest.ScheduleSettings, after time.Time, z *time.Location, n int) (out []string) {
	for range n {
		next, ok := s.Next(after, z)
		if !ok {
			break
		}
		line := next.Time.In(z).Format("Mon 2006-01-02 15:04")
		for _, k := range next.Kinds {
			line += " " + k
		}
		out = append(out, line)
		after = next.Time
	}
	return out
}

func TestSchedule(t *testing.T) {
	t.Run("words", testScheduleWords)
	t.Run("clock change", testScheduleClockChange)
	t.Run("missing midnight", testScheduleMissingMidnight)
	t.Run("next start", testScheduleNextStart)
}

func testScheduleWords(t *testing.T) {
	keep := vbawstest.Retention{Count: 1}
	daily := func(d vbawstest.DailySchedule) *vbawstest.ScheduleSettings {
		return &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &d}
	}
	monthly := func(d vbawstest.DayInMonth) *vbawstest.ScheduleSettings {
		return &vbawstest.ScheduleSettings{MonthlyEnabled: true, Monthly: &vbawstest.MonthlySchedule{
			TimeLocal: vbawstest.At(3, 15), DayInMonth: d, Backup: vbawstest.InMonths(keep)}}
	}
	after := time.Date(2026, time.March, 6, 12, 0, 0, 0, time.UTC) // a Friday
	for _, tt := range []struct {
		name string
		s    *vbawstest.ScheduleSettings
		want []string
	}{
		{"every day, two kinds", daily(vbawstest.DailySchedule{Kind: "Everyday", Snapshot: vbawstest.Hours(keep, 6, 22), Backup: vbawstest.Hours(keep, 22)}),
			[]string{"Fri 2026-03-06 22:00 snapshot backup", "Sat 2026-03-07 06:00 snapshot", "Sat 2026-03-07 22:00 snapshot backup"}},
		{"on work days", daily(vbawstest.DailySchedule{Kind: "WeekDays", Snapshot: vbawstest.Hours(keep, 22)}),
			[]string{"Fri 2026-03-06 22:00 snapshot", "Mon 2026-03-09 22:00 snapshot"}},
		{"on chosen days", daily(vbawstest.DailySchedule{Kind: "SelectedDays", Days: []string{"Sunday", "Tuesday"}, Replica: vbawstest.Hours(keep, 1)}),
			[]string{"Sun 2026-03-08 01:00 replica", "Tue 2026-03-10 01:00 replica", "Sun 2026-03-15 01:00 replica"}},
		{"three times an hour", daily(vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 3, Snapshot: vbawstest.Hours(keep, 12)}),
			[]string{"Fri 2026-03-06 12:20 snapshot", "Fri 2026-03-06 12:40 snapshot", "Sat 2026-03-07 12:00 snapshot"}},
		{"more than once an hour only snapshots", daily(vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 2,
			Snapshot: vbawstest.Hours(keep, 12, 13), Backup: vbawstest.Hours(keep, 13), Replica: vbawstest.Hours(keep, 13)}),
			[]string{"Fri 2026-03-06 12:30 snapshot", "Fri 2026-03-06 13:00 snapshot replica backup", "Fri 2026-03-06 13:30 snapshot"}},
		{"or backups where there are none", daily(vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 2,
			Backup: vbawstest.Hours(keep, 12, 13), Replica: vbawstest.Hours(keep, 13)}),
			[]string{"Fri 2026-03-06 12:30 backup", "Fri 2026-03-06 13:00 replica backup", "Fri 2026-03-06 13:30 backup"}},
		{"to the archive", &vbawstest.ScheduleSettings{MonthlyEnabled: true, Monthly: &vbawstest.MonthlySchedule{ToArchive: true,
			DayInMonth: vbawstest.DayInMonth{Number: "OnDay", DayOfMonth: 7}, Snapshot: vbawstest.InMonths(keep), Backup: vbawstest.InMonths(keep)}},
			[]string{"Sat 2026-03-07 00:00 snapshot archive"}},
		{"with a health check", &vbawstest.ScheduleSettings{HealthCheckEnabled: true, HealthCheck: &vbawstest.HealthCheckSchedule{
			Months: []string{"April", "May"}, DayInMonth: vbawstest.DayInMonth{Number: "First", DayOfWeek: "Monday"}}},
			[]string{"Mon 2026-04-06 12:00 health check", "Mon 2026-05-04 12:00 health check"}},
		{"weekly", &vbawstest.ScheduleSettings{WeeklyEnabled: true, Weekly: &vbawstest.WeeklySchedule{TimeLocal: vbawstest.At(23, 30),
			Snapshot: vbawstest.Weekdays(keep, time.Friday, time.Sunday), Backup: vbawstest.Weekdays(keep, time.Sunday)}},
			[]string{"Fri 2026-03-06 23:30 snapshot", "Sun 2026-03-08 23:30 snapshot backup", "Fri 2026-03-13 23:30 snapshot"}},
		{"on the 31st, where there is one", monthly(vbawstest.DayInMonth{Number: "OnDay", DayOfMonth: 31}),
			[]string{"Tue 2026-03-31 03:15 backup", "Sun 2026-05-31 03:15 backup", "Fri 2026-07-31 03:15 backup"}},
		{"on the last Friday", monthly(vbawstest.DayInMonth{Number: "Last", DayOfWeek: "Friday"}),
			[]string{"Fri 2026-03-27 03:15 backup", "Fri 2026-04-24 03:15 backup", "Fri 2026-05-29 03:15 backup"}},
		{"on the second Tuesday", monthly(vbawstest.DayInMonth{Number: "Second", DayOfWeek: "Tuesday"}),
			[]string{"Tue 2026-03-10 03:15 backup", "Tue 2026-04-14 03:15 backup"}},
		{"in one month of the year", &vbawstest.ScheduleSettings{MonthlyEnabled: true, Monthly: &vbawstest.MonthlySchedule{
			DayInMonth: vbawstest.DayInMonth{Number: "OnDay", DayOfMonth: 1}, Snapshot: vbawstest.InMonths(keep, time.March)}},
			[]string{"Mon 2027-03-01 00:00 snapshot", "Wed 2028-03-01 00:00 snapshot"}},
		{"on a leap day", &vbawstest.ScheduleSettings{YearlyEnabled: true, Yearly: &vbawstest.YearlySchedule{TimeLocal: vbawstest.At(1, 0),
			DayInMonth: vbawstest.DayInMonth{Number: "OnDay", DayOfMonth: 29}, Month: "February"}},
			[]string{"Tue 2028-02-29 01:00 archive", "Sun 2032-02-29 01:00 archive"}},
		{"two schedules that meet", &vbawstest.ScheduleSettings{
			DailyEnabled: true, Daily: &vbawstest.DailySchedule{Kind: "Everyday", Snapshot: vbawstest.Hours(keep, 22)},
			WeeklyEnabled: true, Weekly: &vbawstest.WeeklySchedule{TimeLocal: vbawstest.At(22, 0), Backup: vbawstest.Weekdays(keep, time.Saturday)}},
			[]string{"Fri 2026-03-06 22:00 snapshot", "Sat 2026-03-07 22:00 snapshot backup"}},
		{"switched off", &vbawstest.ScheduleSettings{Daily: &vbawstest.DailySchedule{Kind: "Everyday", Snapshot: vbawstest.EveryHour(keep)}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := starts(tt.s, after, time.UTC, max(len(tt.want), 1)); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// testScheduleClockChange has a start at half past the hour that is missing in spring and
// doubled in autumn, in zones on both sides of Greenwich and with other changes than
// of one hour from 02:00 or 03:00.
func testScheduleClockChange(t *testing.T) {
	const first, second, both = vbawstest.DoubledFirst, vbawstest.DoubledSecond, vbawstest.DoubledBoth
	const later, skipped = vbawstest.MissingLater, vbawstest.MissingSkipped
	for _, tt := range []struct {
		zone   string
		day    string // before the change
		at     vbawstest.TimeOfDay
		change vbawstest.ClockChange
		want   string // the next three starts, by UTC
	}{
		{"Europe/Berlin", "2026-03-28", vbawstest.At(2, 30), vbawstest.ClockChange{Missing: later}, "28T01:30 29T01:30 30T00:30"},
		{"Europe/Berlin", "2026-03-28", vbawstest.At(2, 30), vbawstest.ClockChange{Missing: skipped}, "28T01:30 30T00:30 31T00:30"},
		{"America/New_York", "2026-03-07", vbawstest.At(2, 30), vbawstest.ClockChange{Missing: later}, "07T07:30 08T07:30 09T06:30"},
		{"America/New_York", "2026-03-07", vbawstest.At(2, 30), vbawstest.ClockChange{Missing: skipped}, "07T07:30 09T06:30 10T06:30"},
		{"America/Santiago", "2026-09-05", vbawstest.At(0, 30), vbawstest.ClockChange{Missing: later}, "05T04:30 06T04:30 07T03:30"},
		{"Australia/Lord_Howe", "2026-10-03", vbawstest.At(2, 15), vbawstest.ClockChange{Missing: later}, "02T15:45 03T15:45 04T15:15"},
		{"Europe/Berlin", "2026-10-24", vbawstest.At(2, 30), vbawstest.ClockChange{Doubled: first}, "24T00:30 25T00:30 26T01:30"},
		{"Europe/Berlin", "2026-10-24", vbawstest.At(2, 30), vbawstest.ClockChange{Doubled: second}, "24T00:30 25T01:30 26T01:30"},
		{"Europe/Berlin", "2026-10-24", vbawstest.At(2, 30), vbawstest.ClockChange{Doubled: both}, "24T00:30 25T00:30 25T01:30"},
		{"America/New_York", "2026-10-31", vbawstest.At(1, 30), vbawstest.ClockChange{Doubled: first}, "31T05:30 01T05:30 02T06:30"},
		{"America/New_York", "2026-10-31", vbawstest.At(1, 30), vbawstest.ClockChange{Doubled: second}, "31T05:30 01T06:30 02T06:30"},
		{"America/New_York", "2026-10-31", vbawstest.At(1, 30), vbawstest.ClockChange{Doubled: both}, "31T05:30 01T05:30 01T06:30"},
		{"America/Santiago", "2026-04-04", vbawstest.At(23, 30), vbawstest.ClockChange{Doubled: both}, "05T02:30 05T03:30 06T03:30"},
		{"America/New_York", "2026-03-07", vbawstest.At(3, 0), vbawstest.ClockChange{}, "07T08:00 08T07:00 09T07:00"},
		{"America/New_York", "2026-03-07", vbawstest.At(1, 0), vbawstest.ClockChange{}, "07T06:00 08T06:00 09T05:00"},
	} {
		z := zone(t, tt.zone)
		after, err := time.ParseInLocation(time.DateOnly, tt.day, z)
		if err != nil {
			t.Fatal(err)
		}
		s := &vbawstest.ScheduleSettings{WeeklyEnabled: true, Weekly: &vbawstest.WeeklySchedule{TimeLocal: tt.at,
			Snapshot: vbawstest.Weekdays(vbawstest.Retention{}, 0, 1, 2, 3, 4, 5, 6)}}
		var got []string
		for range 3 {
			next, _ := s.NextBy(after, z, tt.change)
			got = append(got, next.Time.UTC().Format("02T15:04"))
			after = next.Time
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s, %v: %s, want %s", tt.zone, tt.change, got, tt.want)
		}
	}
}

// testScheduleMissingMidnight has days without a midnight in the zone.
func testScheduleMissingMidnight(t *testing.T) {
	santiago := zone(t, "America/Santiago")
	s := &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{Kind: "Everyday",
		Snapshot: vbawstest.EveryHour(vbawstest.Retention{})}}
	at := time.Date(2026, time.September, 5, 21, 30, 0, 0, santiago)
	for i := range 5 {
		next, _ := s.Next(at, santiago)
		if want := time.Date(2026, time.September, 6, 2+i, 0, 0, 0, time.UTC); !next.Time.Equal(want) {
			t.Errorf("after %v comes %v, want %v", at, next.Time.UTC(), want)
		}
		at = next.Time
	}
}

// drawSchedule draws any daily and weekly schedule.
func drawSchedule(t *rapid.T) *vbawstest.ScheduleSettings {
	keep := vbawstest.Retention{Count: 1}
	hours := rapid.SliceOfDistinct(rapid.IntRange(0, 23), rapid.ID[int])
	days := rapid.SliceOfDistinct(rapid.Map(rapid.IntRange(0, 6), func(d int) time.Weekday { return time.Weekday(d) }), rapid.ID[time.Weekday])
	return &vbawstest.ScheduleSettings{
		DailyEnabled: rapid.Bool().Draw(t, "daily"),
		Daily: &vbawstest.DailySchedule{
			Kind:        rapid.SampledFrom([]string{"Everyday", "WeekDays"}).Draw(t, "kind"),
			RunsPerHour: rapid.SampledFrom([]int{1, 2, 3, 4, 6}).Draw(t, "runs per hour"),
			Snapshot:    vbawstest.Hours(keep, hours.Draw(t, "snapshot hours")...),
			Backup:      vbawstest.Hours(keep, hours.Draw(t, "backup hours")...),
		},
		WeeklyEnabled: rapid.Bool().Draw(t, "weekly"),
		Weekly: &vbawstest.WeeklySchedule{
			TimeLocal: vbawstest.At(rapid.IntRange(0, 23).Draw(t, "hour"), 30),
			Snapshot:  vbawstest.Weekdays(keep, days.Draw(t, "days")...),
		},
	}
}

// testScheduleNextStart walks the schedule from one start to
// the next and checks that no instant in between knows another.
func testScheduleNextStart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t)
		z := zone(t, rapid.SampledFrom([]string{"Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe"}).Draw(t, "zone"))
		change := vbawstest.ClockChange{Doubled: vbawstest.DoubledHour(rapid.IntRange(0, 2).Draw(t, "doubled")),
			Missing: vbawstest.MissingHour(rapid.IntRange(0, 1).Draw(t, "missing"))}
		from := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 31).Draw(t, "day"), 0, 0, 0, 0, z)
		for range 5 {
			next, ok := s.NextBy(from, z, change)
			if !ok {
				return
			}
			if !next.Time.After(from) || len(next.Kinds) == 0 {
				t.Fatalf("after %v comes %+v", from, next)
			}
			between := from.Add(time.Duration(rapid.Int64Range(0, int64(next.Time.Sub(from))-1).Draw(t, "between")))
			if again, _ := s.NextBy(between, z, change); !again.Time.Equal(next.Time) {
				t.Fatalf("after %v comes %v, after %v %v", from, next.Time, between, again.Time)
			}
			from = next.Time
		}
	})
}
