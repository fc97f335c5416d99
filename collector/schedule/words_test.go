package schedule

import (
	"strings"
	"testing"
	"time"

	"vbaws_exporter/vbaws"
)

func TestWords(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	hours := func(in ...int) *vbaws.Hours {
		var h vbaws.Hours
		for _, i := range in {
			h[i] = true
		}
		return &h
	}
	days := func(in ...time.Weekday) *vbaws.Weekdays {
		var d vbaws.Weekdays
		for _, i := range in {
			d[i] = true
		}
		return &d
	}
	months := func(in ...time.Month) *vbaws.Months {
		var m vbaws.Months
		for _, i := range in {
			m[i] = true
		}
		return &m
	}
	all := vbaws.Weekdays{true, true, true, true, true, true, true}
	weekdays := *days(1, 2, 3, 4, 5)
	daily := func(d vbaws.Weekdays, runs int, snapshot, replica, backup *vbaws.Hours) *vbaws.Schedule {
		return &vbaws.Schedule{Daily: &vbaws.DailySchedule{Days: d, RunsPerHour: runs, Snapshot: snapshot, Replica: replica, Backup: backup}}
	}
	everyHour := new(vbaws.Hours)
	for i := range everyHour {
		everyHour[i] = true
	}
	full := daily(all, 1, hours(21), nil, hours(21))
	full.Weekly = &vbaws.WeeklySchedule{At: 23*time.Hour + 30*time.Minute, Snapshot: days(0, 1, 2, 3, 4, 5, 6), Backup: days(time.Sunday)}
	full.Monthly = &vbaws.MonthlySchedule{
		At: 23*time.Hour + 45*time.Minute, Day: vbaws.DayInMonth{Week: 1, Weekday: time.Sunday}, Backup: months(1, 2, 3, 6, 7, 12), Archive: true,
	}
	full.Yearly = &vbaws.YearlySchedule{At: 3 * time.Hour, Month: time.January, Day: vbaws.DayInMonth{Day: 1}}
	last := &vbaws.Schedule{Monthly: &vbaws.MonthlySchedule{
		At: time.Hour + time.Second, Day: vbaws.DayInMonth{Week: vbaws.LastWeek, Weekday: time.Friday}, Snapshot: months(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
	}}
	for _, test := range []struct {
		s    *vbaws.Schedule
		kind Kind
		zone *time.Location
		want string
	}{
		{nil, Backup, berlin, ""},
		{&vbaws.Schedule{}, Backup, berlin, ""},
		{&vbaws.Schedule{Every: 2 * time.Hour}, Backup, berlin, "every 2 h"},
		{&vbaws.Schedule{Every: 24 * time.Hour}, Whole, nil, "every day"},
		{&vbaws.Schedule{Every: 90 * time.Minute}, Backup, nil, "every 90 min"},
		{&vbaws.Schedule{Every: 2 * time.Hour}, Snapshot, berlin, ""},
		{daily(all, 1, hours(20), nil, nil), Snapshot, berlin, "daily at 20:00 Europe/Berlin"},
		{daily(all, 1, hours(20), nil, nil), Snapshot, nil, "daily at 20:00, time zone unknown"},
		{daily(all, 1, hours(20), nil, nil), Backup, berlin, ""},
		{daily(all, 1, hours(0, 6, 12, 18), nil, nil), Snapshot, time.UTC, "every 6 h from 00:00 UTC"},
		{daily(all, 1, hours(5, 17), nil, nil), Snapshot, time.UTC, "every 12 h from 05:00 UTC"},
		{daily(all, 1, hours(5, 18), nil, nil), Whole, time.UTC, "daily at 05:00, 18:00 UTC"},
		{daily(all, 1, everyHour, nil, hours(0)), Snapshot, time.UTC, "every hour"},
		{daily(all, 4, everyHour, nil, hours(0)), Snapshot, time.UTC, "every 15 min"},
		{daily(all, 4, everyHour, nil, hours(0)), Backup, time.UTC, "daily at 00:00 UTC"},
		{daily(all, 1, hours(1, 2, 3, 4, 5, 6, 7, 9), nil, nil), Snapshot, time.UTC, "daily at 01:00, 02:00, 03:00, 04:00, 05:00, 06:00 and 2 more UTC"},
		{daily(weekdays, 1, hours(19), nil, nil), Snapshot, berlin, "Mon–Fri at 19:00 Europe/Berlin"},
		{daily(weekdays, 1, everyHour, nil, nil), Snapshot, berlin, "every hour on Mon–Fri Europe/Berlin"},
		{daily(*days(0, 3, 6), 1, hours(1, 9), nil, nil), Snapshot, time.UTC, "Wed, Sat, Sun at 01:00, 09:00 UTC"},
		{full, Backup, time.UTC, "daily at 21:00; Sun at 23:30; first Sunday of Jan–Mar, Jun, Jul, Dec at 23:45; day 1 of January at 03:00 UTC"},
		{full, Archive, time.UTC, "first Sunday of Jan–Mar, Jun, Jul, Dec at 23:45 UTC"},
		{full, Snapshot, time.UTC, "daily at 21:00; daily at 23:30 UTC"},
		{last, Snapshot, time.UTC, "last Friday of every month at 01:00:01 UTC"},
	} {
		if got := New(test.s, test.zone).Words(test.kind); got != test.want {
			t.Errorf("%s: %q, want %q", test.kind, got, test.want)
		}
	}
}

// TestWordsSayWhatStarts: there are words for the kinds that have starts, and for no others.
func TestWordsSayWhatStarts(t *testing.T) {
	replica := &vbaws.Hours{}
	replica[3] = true // without a snapshot or backup it never starts
	for _, s := range []*vbaws.Schedule{
		{Daily: &vbaws.DailySchedule{Days: vbaws.Weekdays{true}, RunsPerHour: 1, Replica: replica}},
		{Daily: &vbaws.DailySchedule{RunsPerHour: 1, Snapshot: replica}},
		{Yearly: &vbaws.YearlySchedule{Month: time.May, Day: vbaws.DayInMonth{Day: 1}}},
		{Yearly: &vbaws.YearlySchedule{Month: time.May, Day: vbaws.DayInMonth{Day: 1}, Archive: true}},
	} {
		p := New(s, time.UTC)
		for _, kind := range allKinds {
			if starts := p.LongestGap(kind) > 0; starts != (p.Words(kind) != "") {
				t.Errorf("%+v, %s: starts %v, words %q", s, kind, starts, p.Words(kind))
			}
		}
	}
	if strings.Contains(New(nil, nil).Words(Whole), "unknown") {
		t.Error("a zone of no schedule")
	}
}
