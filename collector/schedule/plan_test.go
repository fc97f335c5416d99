package schedule

import (
	"fmt"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/vbaws"
)

func zone(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return z
}

var (
	everyDay = vbaws.Weekdays{true, true, true, true, true, true, true}
	workDays = vbaws.Weekdays{1: true, 2: true, 3: true, 4: true, 5: true}
)

func hours(list ...int) *vbaws.Hours {
	var h vbaws.Hours
	for _, i := range list {
		h[i] = true
	}
	return &h
}

func everyHour() *vbaws.Hours {
	var h vbaws.Hours
	for i := range h {
		h[i] = true
	}
	return &h
}

func days(list ...time.Weekday) *vbaws.Weekdays {
	var d vbaws.Weekdays
	for _, i := range list {
		d[i] = true
	}
	return &d
}

func months(list ...time.Month) *vbaws.Months {
	var m vbaws.Months
	if len(list) == 0 {
		list = []time.Month{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	}
	for _, i := range list {
		m[i] = true
	}
	return &m
}

const layout = "Mon 2006-01-02 15:04:05 -0700"

// span says a duration in days and what is left of them.
func span(d time.Duration) string {
	return fmt.Sprintf("%dd%s", d/(24*time.Hour), d%(24*time.Hour))
}

func TestGolden(t *testing.T) {
	for _, test := range []struct {
		name     string
		schedule vbaws.Schedule
		kind     Kind
		zone     string
		at       string // RFC 3339
		last     string // "": none
		next     string
		gap      string
	}{
		{
			name:     "every night, in the night that is an hour longer",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Backup: hours(22)}},
			kind:     Backup, zone: "Europe/Berlin", at: "2026-10-25T12:00:00+01:00",
			last: "Sat 2026-10-24 22:00:00 +0200", next: "Sun 2026-10-25 22:00:00 +0100", gap: "1d1h0m0s",
		},
		{
			name:     "the snapshots of an hour go on while its one backup is made",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 4, Snapshot: hours(8, 9), Backup: hours(9)}},
			kind:     Snapshot, zone: "UTC", at: "2026-03-02T09:29:59Z",
			last: "Mon 2026-03-02 09:15:00 +0000", next: "Mon 2026-03-02 09:30:00 +0000", gap: "0d22h15m0s",
		},
		{
			name:     "one backup an hour, however many snapshots there are",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 4, Snapshot: hours(8, 9), Backup: hours(9)}},
			kind:     Backup, zone: "UTC", at: "2026-03-02T09:29:59Z",
			last: "Mon 2026-03-02 09:00:00 +0000", next: "Tue 2026-03-03 09:00:00 +0000", gap: "1d0s",
		},
		{
			name:     "working days: from Friday over the weekend, with a change of the clocks",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: workDays, RunsPerHour: 1, Snapshot: hours(6, 18)}},
			kind:     Whole, zone: "America/New_York", at: "2026-03-08T12:00:00-04:00",
			last: "Fri 2026-03-06 18:00:00 -0500", next: "Mon 2026-03-09 06:00:00 -0400", gap: "2d13h0m0s",
		},
		{
			name:     "a time that is skipped in spring is due at the change",
			schedule: vbaws.Schedule{Weekly: &vbaws.WeeklySchedule{At: 2*time.Hour + 30*time.Minute, Snapshot: days(time.Sunday)}},
			kind:     Snapshot, zone: "Europe/Berlin", at: "2026-03-29T03:00:00+02:00",
			last: "Sun 2026-03-29 03:00:00 +0200", next: "Sun 2026-04-05 02:30:00 +0200", gap: "7d1h0m0s",
		},
		{
			name:     "a time that comes twice in autumn is due the first time only",
			schedule: vbaws.Schedule{Weekly: &vbaws.WeeklySchedule{At: 2*time.Hour + 30*time.Minute, Snapshot: days(time.Sunday)}},
			kind:     Snapshot, zone: "Europe/Berlin", at: "2026-10-25T02:45:00+01:00",
			last: "Sun 2026-10-25 02:30:00 +0200", next: "Sun 2026-11-01 02:30:00 +0100", gap: "7d1h0m0s",
		},
		{
			name:     "clocks that change by half an hour",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: everyHour(), Replica: everyHour()}},
			kind:     Replica, zone: "Australia/Lord_Howe", at: "2026-10-04T02:29:59+11:00",
			last: "Sun 2026-10-04 01:00:00 +1030", next: "Sun 2026-10-04 02:30:00 +1100", gap: "0d1h30m0s",
		},
		{
			name: "the last Friday of a month",
			schedule: vbaws.Schedule{Monthly: &vbaws.MonthlySchedule{At: 7 * time.Hour,
				Day: vbaws.DayInMonth{Week: vbaws.LastWeek, Weekday: time.Friday}, Backup: months()}},
			kind: Backup, zone: "Asia/Kolkata", at: "2026-02-27T07:00:00+05:30",
			last: "Fri 2026-02-27 07:00:00 +0530", next: "Fri 2026-03-27 07:00:00 +0530", gap: "35d0s",
		},
		{
			name: "the third Tuesday of two months",
			schedule: vbaws.Schedule{Monthly: &vbaws.MonthlySchedule{
				Day: vbaws.DayInMonth{Week: 3, Weekday: time.Tuesday}, Backup: months(time.January, time.December)}},
			kind: Whole, zone: "UTC", at: "2026-11-30T00:00:00Z",
			last: "Tue 2026-01-20 00:00:00 +0000", next: "Tue 2026-12-15 00:00:00 +0000", gap: "336d0s",
		},
		{
			name: "a day that months lack is skipped",
			schedule: vbaws.Schedule{Monthly: &vbaws.MonthlySchedule{At: 23 * time.Hour,
				Day: vbaws.DayInMonth{Day: 31}, Snapshot: months()}},
			kind: Snapshot, zone: "UTC", at: "2026-07-01T00:00:00Z",
			last: "Sun 2026-05-31 23:00:00 +0000", next: "Fri 2026-07-31 23:00:00 +0000", gap: "61d0s",
		},
		{
			name: "the first Friday of a year makes a backup",
			schedule: vbaws.Schedule{Yearly: &vbaws.YearlySchedule{At: 18 * time.Hour, Month: time.January,
				Day: vbaws.DayInMonth{Week: 1, Weekday: time.Friday}}},
			kind: Backup, zone: "UTC", at: "2026-01-02T17:59:59.999Z",
			last: "Fri 2025-01-03 18:00:00 +0000", next: "Fri 2026-01-02 18:00:00 +0000", gap: "371d0s",
		},
		{
			name: "29 February, past a year that is no leap year",
			schedule: vbaws.Schedule{Yearly: &vbaws.YearlySchedule{Month: time.February,
				Day: vbaws.DayInMonth{Day: 29}}},
			kind: Backup, zone: "UTC", at: "2104-02-28T23:59:59Z",
			last: "Wed 2096-02-29 00:00:00 +0000", next: "Fri 2104-02-29 00:00:00 +0000", gap: "1461d0s",
		},
		{
			name: "all parts together: the nearest counts",
			schedule: vbaws.Schedule{
				Daily:  &vbaws.DailySchedule{Days: workDays, RunsPerHour: 1, Snapshot: hours(7)},
				Weekly: &vbaws.WeeklySchedule{At: 9 * time.Hour, Snapshot: days(time.Saturday), Backup: days(time.Saturday)},
				Monthly: &vbaws.MonthlySchedule{At: 11 * time.Hour,
					Day: vbaws.DayInMonth{Day: 1}, Snapshot: months(), Backup: months()},
				Yearly: &vbaws.YearlySchedule{At: 13 * time.Hour, Month: time.February, Day: vbaws.DayInMonth{Day: 1}},
			},
			kind: Whole, zone: "UTC", at: "2026-02-01T12:00:00Z",
			last: "Sun 2026-02-01 11:00:00 +0000", next: "Sun 2026-02-01 13:00:00 +0000", gap: "1d22h0m0s",
		},
		{
			name:     "a time that is skipped in spring is due at the change, west of Greenwich too",
			schedule: vbaws.Schedule{Weekly: &vbaws.WeeklySchedule{At: 2*time.Hour + 30*time.Minute, Snapshot: days(time.Sunday)}},
			kind:     Snapshot, zone: "America/New_York", at: "2026-03-08T03:00:00-04:00",
			last: "Sun 2026-03-08 03:00:00 -0400", next: "Sun 2026-03-15 02:30:00 -0400", gap: "7d1h0m0s",
		},
		{
			name:     "a skipped hour between two others",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Backup: hours(1, 2, 4)}},
			kind:     Backup, zone: "America/New_York", at: "2026-03-08T01:59:59-05:00",
			last: "Sun 2026-03-08 01:00:00 -0500", next: "Sun 2026-03-08 03:00:00 -0400", gap: "0d21h0m0s",
		},
		{
			name: "several backups an hour, of a workload without snapshots, and one copy",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 4, RunsMakeBackups: true,
				Backup: everyHour(), Replica: hours(3)}},
			kind: Backup, zone: "UTC", at: "2026-03-02T09:29:59Z",
			last: "Mon 2026-03-02 09:15:00 +0000", next: "Mon 2026-03-02 09:30:00 +0000", gap: "0d15m0s",
		},
		{
			name: "one copy an hour",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 4, RunsMakeBackups: true,
				Backup: everyHour(), Replica: hours(3)}},
			kind: Replica, zone: "UTC", at: "2026-03-02T03:29:59Z",
			last: "Mon 2026-03-02 03:00:00 +0000", next: "Tue 2026-03-03 03:00:00 +0000", gap: "1d0s",
		},
		{
			name:     "a backup in an hour without a snapshot is not made",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: hours(2, 8), Backup: hours(2, 3)}},
			kind:     Backup, zone: "UTC", at: "2026-03-02T09:00:00Z",
			last: "Mon 2026-03-02 02:00:00 +0000", next: "Tue 2026-03-03 02:00:00 +0000", gap: "1d0s",
		},
		{
			name: "an archive in the months of the backup",
			schedule: vbaws.Schedule{Monthly: &vbaws.MonthlySchedule{At: 21 * time.Hour, Archive: true,
				Day: vbaws.DayInMonth{Day: 1}, Snapshot: months(), Backup: months(time.January, time.July)}},
			kind: Archive, zone: "UTC", at: "2026-03-01T22:00:00Z",
			last: "Thu 2026-01-01 21:00:00 +0000", next: "Wed 2026-07-01 21:00:00 +0000", gap: "184d0s",
		},
		{
			name:     "an interval has no times",
			schedule: vbaws.Schedule{Every: 90 * time.Minute},
			kind:     Backup, zone: "UTC", at: "2026-03-01T22:00:00Z", gap: "0d1h30m0s",
		},
		{
			name: "one part is understood and another is not",
			schedule: vbaws.Schedule{Unreadable: "weeklySchedule: no",
				Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Backup: hours(7)}},
			kind: Backup, zone: "UTC", at: "2026-02-01T12:00:00Z",
			last: "Sun 2026-02-01 07:00:00 +0000", next: "Mon 2026-02-02 07:00:00 +0000", gap: "1d0s",
		},
		{
			name:     "a kind that is never due",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: hours(7), Backup: hours()}},
			kind:     Backup, zone: "UTC", at: "2026-02-01T12:00:00Z",
		},
		{
			name: "a day that never comes",
			schedule: vbaws.Schedule{Monthly: &vbaws.MonthlySchedule{
				Day: vbaws.DayInMonth{Day: 31}, Backup: months(time.February, time.April)}},
			kind: Backup, zone: "UTC", at: "2026-02-01T12:00:00Z",
		},
		{
			name:     "a day that was not: Apia went from Thursday to Saturday",
			schedule: vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: hours(12)}},
			kind:     Snapshot, zone: "Pacific/Apia", at: "2011-12-31T00:00:00+14:00",
			last: "Sat 2011-12-31 00:00:00 +1400", next: "Sat 2011-12-31 12:00:00 +1400", gap: "1d0s",
		},
		{
			name:     "clocks that went back over midnight: the new day had been seen",
			schedule: vbaws.Schedule{Weekly: &vbaws.WeeklySchedule{At: 30 * time.Second, Snapshot: days(time.Sunday)}},
			kind:     Snapshot, zone: "America/St_Johns", at: "2010-11-06T23:30:00-03:30",
			last: "Sun 2010-11-07 00:00:30 -0230", next: "Sun 2010-11-14 00:00:30 -0330", gap: "7d1h0m0s",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			at, err := time.Parse(time.RFC3339, test.at)
			if err != nil {
				t.Fatal(err)
			}
			p := New(&test.schedule, zone(test.zone))
			said := func(at time.Time) string {
				if at.IsZero() {
					return ""
				}
				return at.Format(layout)
			}
			gap := ""
			if d := p.LongestGap(test.kind); d > 0 {
				gap = span(d)
			}
			got := []string{said(p.LastDue(test.kind, at)), said(p.Next(test.kind, at).At), gap}
			if diff := cmp.Diff([]string{test.last, test.next, test.gap}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKindsOfPlan(t *testing.T) {
	all := &vbaws.Schedule{
		Daily:  &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: hours(1), Backup: hours()},
		Weekly: &vbaws.WeeklySchedule{Snapshot: days(time.Monday), Replica: days(time.Monday)},
		Yearly: &vbaws.YearlySchedule{Month: 1, Day: vbaws.DayInMonth{Day: 1}, Archive: true},
	}
	if diff := cmp.Diff([]Kind{Snapshot, Replica, Backup, Archive}, New(all, time.UTC).Kinds()); diff != "" {
		t.Error(diff)
	}
	yearly := &vbaws.Schedule{Yearly: &vbaws.YearlySchedule{Month: 1, Day: vbaws.DayInMonth{Day: 1}}}
	if diff := cmp.Diff([]Kind{Backup}, New(yearly, time.UTC).Kinds()); diff != "" {
		t.Error(diff)
	}
	for name, s := range map[string]*vbaws.Schedule{
		"none":            nil,
		"empty":           {},
		"not understood":  {Unreadable: "no"},
		"a replica alone": {Weekly: &vbaws.WeeklySchedule{Replica: days(time.Monday)}},
		"no day selected": {Daily: &vbaws.DailySchedule{RunsPerHour: 1, Snapshot: hours(1)}},
	} {
		p := New(s, time.UTC)
		if !p.LastDue(Whole, time.Now()).IsZero() || p.Next(Whole, time.Now()) != (Start{}) || p.LongestGap(Whole) > 0 || len(p.Kinds()) > 0 {
			t.Errorf("%s: something is due", name)
		}
	}
}

// TestManyRunsAnHour: two that fall on one minute are one start.
func TestManyRunsAnHour(t *testing.T) {
	p := New(&vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: everyDay, RunsPerHour: 100, Snapshot: hours(3)}}, time.UTC)
	for _, kind := range []Kind{Whole, Snapshot} {
		day := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
		if n := len(on(p.of(kind).parts, dayOf(day))); n != 60 {
			t.Errorf("%s: %d starts", kind, n)
		}
		if n := len(p.Starts(kind, day, day.Add(24*time.Hour))); n != 60 {
			t.Errorf("%s: %d starts", kind, n)
		}
	}
}
