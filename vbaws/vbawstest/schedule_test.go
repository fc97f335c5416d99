package vbawstest_test

import (
	"slices"
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

func TestSchedulesAreReadAsTheirWordsSay(t *testing.T) {
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

func TestASkippedHourMovesTheStart(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	s := &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
		Kind: "Everyday", Snapshot: vbawstest.Hours(vbawstest.Retention{}, 2)}}
	got := starts(s, time.Date(2026, time.March, 28, 12, 0, 0, 0, berlin), berlin, 2)
	if want := []string{"Sun 2026-03-29 03:00 snapshot", "Mon 2026-03-30 02:00 snapshot"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
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

// TestTheNextStartIsTheFirstAfterAnyInstant walks the schedule from one start to
// the next and checks that no instant in between knows another.
func TestTheNextStartIsTheFirstAfterAnyInstant(t *testing.T) {
	berlin := zone(t, "Europe/Berlin")
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchedule(t)
		from := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 31).Draw(t, "day"), 0, 0, 0, 0, berlin)
		for range 5 {
			next, ok := s.Next(from, berlin)
			if !ok {
				return
			}
			if !next.Time.After(from) || len(next.Kinds) == 0 {
				t.Fatalf("after %v comes %+v", from, next)
			}
			between := from.Add(time.Duration(rapid.Int64Range(0, int64(next.Time.Sub(from))-1).Draw(t, "between")))
			if again, _ := s.Next(between, berlin); !again.Time.Equal(next.Time) {
				t.Fatalf("after %v comes %v, after %v %v", from, next.Time, between, again.Time)
			}
			from = next.Time
		}
	})
}
