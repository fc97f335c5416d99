package record

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/vbaws"
)

// Schedules that 0.1.0 stored are read, and are stored in the same bytes.
func TestStoredSchedule(t *testing.T) {
	const none24 = `[false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false]`
	for stored, want := range map[string]*vbaws.Schedule{
		`{"daily":{"Days":[false,true,true,true,true,true,false],"RunsPerHour":4,` +
			`"Snapshot":[true,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,false,true],"Replica":null,"Backup":` + none24 + `},` +
			`"weekly":{"At":27015000000000,"Snapshot":[true,false,false,false,false,false,false],"Replica":null,"Backup":null},` +
			`"monthly":{"At":0,"Day":{"Week":5,"Weekday":5,"Day":0},"Snapshot":null,"Replica":null,"Backup":[false,true,false,false,false,false,false,false,false,false,false,false,true]},` +
			`"yearly":{"At":64800000000000,"Month":1,"Day":{"Week":0,"Weekday":0,"Day":31}}}`: {
			Daily:   &vbaws.DailySchedule{Days: vbaws.Weekdays{1: true, 2: true, 3: true, 4: true, 5: true}, RunsPerHour: 4, Snapshot: &vbaws.Hours{0: true, 23: true}, Backup: &vbaws.Hours{}},
			Weekly:  &vbaws.WeeklySchedule{At: 7*time.Hour + 30*time.Minute + 15*time.Second, Snapshot: &vbaws.Weekdays{0: true}},
			Monthly: &vbaws.MonthlySchedule{Day: vbaws.DayInMonth{Week: vbaws.LastWeek, Weekday: time.Friday}, Backup: &vbaws.Months{time.January: true, time.December: true}},
			Yearly:  &vbaws.YearlySchedule{At: 18 * time.Hour, Month: time.January, Day: vbaws.DayInMonth{Day: 31}},
		},
		`{"err":"scheduleSettings: no"}`: {Unreadable: "scheduleSettings: no"},
		`{}`:                             {},
		`{"every":3600000000000}`:        {Every: time.Hour},
	} {
		got, err := decode[vbaws.Schedule]([]byte(stored), decodeOptions)
		if err != nil {
			t.Fatal(stored, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("schedule of %s (-want +got):\n%s", stored, diff)
		}
		again, err := encode(got)
		if err != nil || string(again) != stored {
			t.Errorf("%s is stored as %s, %v", stored, again, err)
		}
	}
}

// What is stored of a schedule is read as the same schedule.
func TestScheduleRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.Make[*vbaws.Schedule]().Filter(func(s *vbaws.Schedule) bool { return s != nil }).Draw(t, "schedule")
		stored, err := encode(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode[vbaws.Schedule](stored, decodeOptions)
		if err != nil {
			t.Fatalf("decode %s: %v", stored, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("schedule of %s (-want +got):\n%s", stored, diff)
		}
	})
}
