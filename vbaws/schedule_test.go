package vbaws

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/vbaws/vbawstest"
)

// hoursJSON returns a JSON array of 24 booleans, true for those hours.
func hoursJSON(hours ...int) string {
	var set Hours
	for _, h := range hours {
		set[h] = true
	}
	return strings.ReplaceAll(fmt.Sprint(set), " ", ",")
}

const (
	allOff    = `"dailyScheduleEnabled":false,"weeklyScheduleEnabled":false,"monthlyScheduleEnabled":false,"yearlyScheduleEnabled":false`
	retention = `"retention":{"count":7,"type":"Days"}`
)

func TestSchedule(t *testing.T) {
	t.Run("settings", testScheduleSettings)
	t.Run("unreadable", testScheduleUnreadable)
	t.Run("unreadable part", testScheduleUnreadablePart)
	t.Run("policy with an odd schedule", testSchedulePolicyWithAnOddSchedule)
	t.Run("of the simulated appliance", testScheduleOfTheSimulatedAppliance)
	t.Run("hours either way", testScheduleHoursEitherWay)
}

func testScheduleSettings(t *testing.T) {
	everyDay := Weekdays{true, true, true, true, true, true, true}
	for name, test := range map[string]struct {
		settings string
		want     *Schedule
	}{
		"null":    {`null`, nil},
		"all off": {`{` + allOff + `}`, &Schedule{}},
		"off, whatever is in it": {`{` + allOff + `,"dailySchedule":7,"weeklySchedule":{"timeLocal":[]},"monthlySchedule":null,"yearlySchedule":{}}`,
			&Schedule{}},
		"daily": {`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"Everyday","runsPerHour":4,
			"snapshotOptions":{` + retention + `,"schedule":{"hours":` + hoursJSON(0, 23) + `}},
			"replicaOptions":null,
			"backupOptions":{"schedule":{"hours":` + hoursJSON() + `,"unknown":1},"unknown":[{}]}}}`,
			&Schedule{Daily: &DailySchedule{Days: everyDay, RunsPerHour: 4, Snapshot: &Hours{0: true, 23: true}, Backup: &Hours{}}}},
		"working days, runs per hour not said": {`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"WeekDays","days":["Sunday"],
			"replicaOptions":{"schedule":{"hours":` + hoursJSON(12) + `}}}}`,
			&Schedule{Daily: &DailySchedule{Days: Weekdays{1: true, 2: true, 3: true, 4: true, 5: true}, RunsPerHour: 1, Replica: &Hours{12: true}}}},
		"hours as numbers": {`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"Everyday",
			"snapshotOptions":{"schedule":{"hours":[23,0,5,0]}},"replicationOptions":{"schedule":{"hours":[5]}},
			"backupOptions":{"schedule":{"hours":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,22]}}}}`,
			&Schedule{Daily: &DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: &Hours{0: true, 5: true, 23: true}, Replica: &Hours{5: true},
				Backup: &Hours{true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, true, false}}}},
		"no hours": {`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"Everyday","runsPerHour":null,"days":null,
			"snapshotOptions":{"schedule":{"hours":[]}},"replicaOptions":{"schedule":null},"backupOptions":{}}}`,
			&Schedule{Daily: &DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: &Hours{}, Replica: &Hours{}, Backup: &Hours{}}}},
		"null hours": {`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"SelectedDays","snapshotOptions":{"schedule":{"hours":null}},"backupOptions":{"schedule":{}}}}`,
			&Schedule{Daily: &DailySchedule{RunsPerHour: 1, Snapshot: &Hours{}, Backup: &Hours{}}}},
		"no days, no months": {`{"weeklyScheduleEnabled":true,"weeklySchedule":{"timeLocal":"07:00","snapshotOptions":{},"backupOptions":{"schedule":{"days":null}}},
			"monthlyScheduleEnabled":true,"monthlySchedule":{"timeLocal":"07:00","dayNumberInMonth":"OnDay","dayOfMonth":1,"dayOfWeek":[],"backupOptions":{"schedule":null}}}`,
			&Schedule{Weekly: &WeeklySchedule{At: 7 * time.Hour, Snapshot: &Weekdays{}, Backup: &Weekdays{}},
				Monthly: &MonthlySchedule{At: 7 * time.Hour, Day: DayInMonth{Day: 1}, Backup: &Months{}}}},
		"archive, and a health check, which is no part": {`{"monthlyScheduleEnabled":true,"monthlySchedule":{"timeLocal":"07:00","dayNumberInMonth":"First","dayOfWeek":"friday",
			"sendBackupsToArchive":true,"backupOptions":{"schedule":{"months":["may"]}}},
			"yearlyScheduleEnabled":true,"yearlySchedule":{"timeLocal":"08:00","dayNumberInMonth":"OnDay","dayOfMonth":2,"month":"June","sendBackupsToArchive":true},
			"healthCheckScheduleEnabled":true,"healthCheckSchedule":{"months":["January"],"dayNumberInMonth":"First","dayOfWeek":["Monday"],"dayOfMonth":null}}`,
			&Schedule{Monthly: &MonthlySchedule{At: 7 * time.Hour, Day: DayInMonth{Week: 1, Weekday: time.Friday}, Backup: &Months{time.May: true}, Archive: true},
				Yearly: &YearlySchedule{At: 8 * time.Hour, Month: time.June, Day: DayInMonth{Day: 2}, Archive: true}}},
		"selected days": {`{"dailySchedule":{"days":["Sunday","Saturday","Sunday"],"runsPerHour":1,"kind":"SelectedDays"},"dailyScheduleEnabled":true}`,
			&Schedule{Daily: &DailySchedule{Days: Weekdays{0: true, 6: true}, RunsPerHour: 1}}},
		"weekly": {`{"weeklyScheduleEnabled":true,"weeklySchedule":{"timeLocal":"2020-06-19T07:30:15.123",
			"snapshotOptions":{"schedule":{"days":[]}},"backupOptions":{"schedule":{"days":["Monday"]}}}}`,
			&Schedule{Weekly: &WeeklySchedule{At: 7*time.Hour + 30*time.Minute + 15*time.Second,
				Snapshot: &Weekdays{}, Backup: &Weekdays{time.Monday: true}}}},
		"monthly": {`{"monthlyScheduleEnabled":true,"monthlySchedule":{"timeLocal":"0001-01-01T00:00:00","dayNumberInMonth":"Last",
			"dayOfWeek":"Friday","dayOfMonth":0,"snapshotOptions":{"schedule":{"months":["January","December"]}}}}`,
			&Schedule{Monthly: &MonthlySchedule{Day: DayInMonth{Week: LastWeek, Weekday: time.Friday},
				Snapshot: &Months{time.January: true, time.December: true}}}},
		"monthly on a day": {`{"monthlyScheduleEnabled":true,"monthlySchedule":{"timeLocal":"2020-06-19T23:00:00Z","dayNumberInMonth":"OnDay",
			"dayOfWeek":"","dayOfMonth":31}}`,
			&Schedule{Monthly: &MonthlySchedule{At: 23 * time.Hour, Day: DayInMonth{Day: 31}}}},
		"yearly": {`{"yearlyScheduleEnabled":true,"yearlySchedule":{"timeLocal":"2020-06-19T18:00:00+02:00","dayNumberInMonth":"First",
			"dayOfWeek":"Friday","month":"January","retention":{"count":3,"type":"Years"}}}`,
			&Schedule{Yearly: &YearlySchedule{At: 18 * time.Hour, Month: time.January, Day: DayInMonth{Week: 1, Weekday: time.Friday}}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, decodeSchedule(jsontext.Value(test.settings))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func testScheduleUnreadable(t *testing.T) {
	part := func(name, settings string) string {
		return `{"` + name + `ScheduleEnabled":true,"` + name + `Schedule":` + settings + `}`
	}
	option := func(of string) string { return `{"schedule":` + of + `}` }
	for _, test := range []struct{ settings, text string }{
		{`7`, "scheduleSettings"},
		{`[]`, "scheduleSettings"},
		{`{}`, "none of the known parts"},
		{`{"hourlySchedule":{}}`, "none of the known parts"},
		{`{"dailyScheduleEnabled":"yes"}`, "dailyScheduleEnabled"},
		{`{"dailyScheduleEnabled":true}`, "dailySchedule: enabled, but missing"},
		{`{"yearlyScheduleEnabled":true,"yearlySchedule":null}`, "yearlySchedule: enabled, but missing"},
		{`{` + allOff[strings.Index(allOff, ",")+1:] + `,"dailySchedule":{}}`, "dailyScheduleEnabled: nothing is not true"},
		{part("daily", `7`), "dailySchedule"},
		{part("daily", `{}`), `kind: ""`},
		{part("daily", `{"kind":"Hourly"}`), `kind: "Hourly"`},
		{part("daily", `{"kind":7}`), "kind"},
		{part("daily", `{"kind":"SelectedDays","days":["Someday"]}`), `days: "Someday"`},
		{part("daily", `{"kind":"Everyday","runsPerHour":0}`), "runsPerHour: 0 is not"},
		{part("daily", `{"kind":"Everyday","runsPerHour":61}`), "runsPerHour: 61"},
		{part("daily", `{"kind":"Everyday","runsPerHour":"2"}`), "runsPerHour"},
		{part("daily", `{"kind":"Everyday","snapshotOptions":[]}`), "/snapshotOptions: "},
		{part("daily", `{"kind":"Everyday","backupOptions":`+option(`{"hours":[true]}`)+`}`), "/backupOptions: hours: true is not a number from 0 to 23, nor 24 booleans"},
		{part("daily", `{"kind":"Everyday","backupOptions":`+option(`{"hours":{"from":1}}`)+`}`), `hours: {"from":1} is not an array`},
		{part("daily", `{"kind":"Everyday","backupOptions":`+option(`{"hours":[1,null]}`)+`}`), "hours: null is not"},
		{part("daily", `{"kind":"Everyday","backupOptions":`+option(`{"hours":"every"}`)+`}`), `hours: "every" is not an array`},
		{part("daily", `{"kind":"Everyday","replicaOptions":`+option(`{"hours":[24]}`)+`}`), "/replicaOptions: hours: 24 is not"},
		{part("daily", `{"kind":"Everyday","replicaOptions":`+option(`{"hours":[-1]}`)+`}`), "hours: -1 is not"},
		{part("daily", `{"kind":"Everyday","replicaOptions":`+option(`{"hours":["12:00"]}`)+`}`), `hours: "12:00" is not`},
		{part("daily", `{"kind":"Everyday","replicaOptions":`+option(`{"hours":`+strings.Replace(hoursJSON(1), "true", "1", 1)+`}`)+`}`), "booleans and numbers are mixed: [false,1,"},
		{part("weekly", `[]`), "weeklySchedule"},
		{part("weekly", `{}`), `timeLocal: ""`},
		{part("weekly", `{"timeLocal":"2020-06-19"}`), `timeLocal: "2020-06-19"`},
		{part("weekly", `{"timeLocal":"2020-06-19T24:00:00"}`), "timeLocal"},
		{part("weekly", `{"timeLocal":{},"snapshotOptions":{}}`), `/timeLocal: not of the documented form: {"timeLocal":{}`},
		{part("weekly", `{"timeLocal":"07:00","replicaOptions":`+option(`{"days":["Mon"]}`)+`}`), `days: "Mon"`},
		{part("monthly", `{"timeLocal":7,"dayNumberInMonth":"First","dayOfWeek":"Monday"}`), "timeLocal"},
		{part("monthly", `{"dayNumberInMonth":"First","dayOfWeek":"Monday"}`), `timeLocal: ""`},
		{part("monthly", `{"timeLocal":"07:00"}`), `dayNumberInMonth: ""`},
		{part("monthly", `{"timeLocal":"07:00","dayNumberInMonth":"Fifth","dayOfWeek":"Monday"}`), `dayNumberInMonth: "Fifth"`},
		{part("monthly", `{"timeLocal":"07:00","dayNumberInMonth":"First"}`), "dayOfWeek: nothing is not"},
		{part("monthly", `{"timeLocal":"07:00","dayNumberInMonth":"First","dayOfWeek":"Mon"}`), `dayOfWeek: "Mon"`},
		{part("monthly", `{"timeLocal":"07:00","dayNumberInMonth":"OnDay"}`), "dayOfMonth: nothing is not"},
		{part("monthly", `{"timeLocal":"07:00","dayNumberInMonth":"OnDay","dayOfMonth":32}`), "dayOfMonth: 32"},
		{part("monthly", `{"timeLocal":"07:00","dayNumberInMonth":"OnDay","dayOfMonth":1,"backupOptions":7}`), "/backupOptions"},
		{part("monthly", `{"timeLocal":"07:00","dayNumberInMonth":"OnDay","dayOfMonth":1,"backupOptions":`+option(`{"months":["Juin"]}`)+`}`), `months: "Juin"`},
		{part("yearly", `{"timeLocal":"07:00","dayNumberInMonth":"OnDay","dayOfMonth":1,"month":1}`), "month: 1 is not"},
		{part("yearly", `{"timeLocal":"07:00","month":"May"}`), `dayNumberInMonth: ""`},
		{part("yearly", `{"timeLocal":"07:00","dayNumberInMonth":"OnDay","dayOfMonth":1}`), `month: nothing`},
	} {
		got := decodeSchedule(jsontext.Value(test.settings))
		if got == nil || !strings.Contains(got.Unreadable, test.text) {
			t.Errorf("%s: %+v, want a reason with %q", test.settings, got, test.text)
			continue
		}
		if want := (&Schedule{Unreadable: got.Unreadable}); *got != *want {
			t.Errorf("%s: part of it passes: %+v", test.settings, got)
		}
	}
}

// A part that can't be understood doesn't affect the others. The reason has its value,
// shortened.
func testScheduleUnreadablePart(t *testing.T) {
	got := decodeSchedule(jsontext.Value(`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"WeekDays","backupOptions":{"schedule":{"hours":[3]}}},
		"weeklyScheduleEnabled":true,"weeklySchedule":{"timeLocal":"noon"},
		"monthlyScheduleEnabled":"` + strings.Repeat("maybe", 1000) + `","monthlySchedule":{},
		"yearlyScheduleEnabled":true,"yearlySchedule":{"timeLocal":"06:00","dayNumberInMonth":"Last","dayOfWeek":"Friday","month":"May"}}`))
	want := &Schedule{
		Daily:  &DailySchedule{Days: Weekdays{1: true, 2: true, 3: true, 4: true, 5: true}, RunsPerHour: 1, Backup: &Hours{3: true}},
		Yearly: &YearlySchedule{At: 6 * time.Hour, Month: time.May, Day: DayInMonth{Week: LastWeek, Weekday: time.Friday}},
		Unreadable: `weeklySchedule: timeLocal: "noon" is not a time; monthlySchedule: monthlyScheduleEnabled: ` +
			`"maybemaybemaybemaybemaybemaybemaybemayb… is not true or false`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var long []string
	for _, part := range []string{"daily", "weekly", "monthly", "yearly"} {
		long = append(long, `"`+part+`ScheduleEnabled":"`+strings.Repeat(`ü\n`, 1000)+`"`)
	}
	got = decodeSchedule(jsontext.Value("{" + strings.Join(long, ",") + "}"))
	if n := utf8.RuneCountInString(got.Unreadable); n < 200 || n > 301 || strings.ContainsAny(got.Unreadable, "\n\r") {
		t.Errorf("%d characters: %q", n, got.Unreadable)
	}
}

// A policy is listed whatever its schedule is.
func testSchedulePolicyWithAnOddSchedule(t *testing.T) {
	got, err := decodePolicies(textBody(`{"results":[
		{"scheduleSettings":[7],"id":"1","name":"a","isEnabled":true,"usn":4},
		{"id":"2","scheduleSettings":{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"Never"}},"name":"b"},
		{"id":"3","name":"c","scheduleSettings":{`+allOff+`}},
		{"id":"4","name":"d","scheduleSettings":null}]}`), Workload{Name: "ec2"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range got.Items {
		if s := got.Items[i].Schedule; i < 2 {
			if s == nil || s.Unreadable == "" {
				t.Errorf("policy %d: schedule %+v without a reason", i, s)
			}
			got.Items[i].Schedule = nil
		}
	}
	want := []Policy{
		{ID: "1", Name: "a", Enabled: true, USN: 4}, {ID: "2", Name: "b", Enabled: true},
		{ID: "3", Name: "c", Enabled: true, Schedule: &Schedule{}}, {ID: "4", Name: "d", Enabled: true},
	}
	if diff := cmp.Diff(want, got.Items); diff != "" {
		t.Error(diff)
	}
}

// The schedule of a policy is the one that was put into the simulated appliance.
func testScheduleOfTheSimulatedAppliance(t *testing.T) {
	a := vbawstest.New(vbawstest.Config{Seed: 1})
	c := applianceClient(t, a, vbawstest.DefaultUsername, nil)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		set, want := drawSchedule(t)
		n++
		p := a.PutPolicy(vbawstest.Policy{Name: fmt.Sprint("policy ", n), Schedule: set})
		defer a.DeletePolicy(p.ID)
		page, err := c.Policies(t.Context(), Workload{Path: "/api/v1/virtualMachines/policies"}, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) != 1 {
			t.Fatalf("%d policies", len(page.Items))
		}
		// Whether backups are sent to the archive is written from 1.8 on, and not drawn.
		got := page.Items[0].Schedule
		if got.Monthly != nil {
			got.Monthly.Archive = false
		}
		if got.Yearly != nil {
			got.Yearly.Archive = false
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

// drawSchedule draws a schedule of the appliance, and returns how it must be read.
func drawSchedule(t *rapid.T) (*vbawstest.ScheduleSettings, *Schedule) {
	flag := rapid.Bool()
	at := rapid.IntRange(0, 24*60-1).Draw(t, "at")
	when := vbawstest.At(at/60, at%60)
	set := &vbawstest.ScheduleSettings{}
	want := &Schedule{}

	set.DailyEnabled = flag.Draw(t, "daily")
	set.Daily = &vbawstest.DailySchedule{
		Kind:        rapid.SampledFrom([]string{"Everyday", "WeekDays", "SelectedDays"}).Draw(t, "kind"),
		RunsPerHour: rapid.IntRange(1, 60).Draw(t, "runs"),
	}
	daily := &DailySchedule{RunsPerHour: set.Daily.RunsPerHour}
	selected := rapid.SliceOfDistinct(rapid.Custom(func(t *rapid.T) time.Weekday {
		return time.Weekday(rapid.IntRange(0, 6).Draw(t, "day"))
	}), rapid.ID).Draw(t, "days")
	for _, d := range selected {
		set.Daily.Days = append(set.Daily.Days, d.String())
	}
	for d := range daily.Days {
		switch set.Daily.Kind {
		case "Everyday":
			daily.Days[d] = true
		case "WeekDays":
			daily.Days[d] = d >= 1 && d <= 5
		}
	}
	if set.Daily.Kind == "SelectedDays" {
		for _, d := range selected {
			daily.Days[d] = true
		}
	}
	hours := func(label string) (*vbawstest.HoursOption, *Hours) {
		if !flag.Draw(t, label) {
			return nil, nil
		}
		var list []int
		var out Hours
		for h := range out {
			if out[h] = flag.Draw(t, "hour"); out[h] {
				list = append(list, h)
			}
		}
		return vbawstest.Hours(vbawstest.Retention{}, list...), &out
	}
	set.Daily.Snapshot, daily.Snapshot = hours("snapshot hours")
	set.Daily.Replica, daily.Replica = hours("replica hours")
	set.Daily.Backup, daily.Backup = hours("backup hours")
	if daily.Snapshot == nil { // It is required, so the appliance writes it.
		daily.Snapshot = &Hours{}
	}

	set.WeeklyEnabled = flag.Draw(t, "weekly")
	var days Weekdays
	for _, d := range selected {
		days[d] = true
	}
	set.Weekly = &vbawstest.WeeklySchedule{TimeLocal: when, Backup: vbawstest.Weekdays(vbawstest.Retention{}, selected...)}
	weekly := &WeeklySchedule{At: time.Duration(when), Snapshot: &Weekdays{}, Backup: &days}

	num := rapid.SampledFrom([]string{"OnDay", "First", "Second", "Third", "Fourth", "Last"})
	draw := func() (vbawstest.DayInMonth, DayInMonth) {
		word := num.Draw(t, "number")
		if word == "OnDay" {
			d := rapid.IntRange(1, 31).Draw(t, "day of month")
			return vbawstest.DayInMonth{Number: word, DayOfMonth: d}, DayInMonth{Day: d}
		}
		d := time.Weekday(rapid.IntRange(0, 6).Draw(t, "day of week"))
		week := map[string]int{"First": 1, "Second": 2, "Third": 3, "Fourth": 4, "Last": LastWeek}[word]
		return vbawstest.DayInMonth{Number: word, DayOfWeek: d.String()}, DayInMonth{Week: week, Weekday: d}
	}
	m := time.Month(rapid.IntRange(1, 12).Draw(t, "month"))
	set.MonthlyEnabled = flag.Draw(t, "monthly")
	set.Monthly = &vbawstest.MonthlySchedule{TimeLocal: when, Replica: vbawstest.InMonths(vbawstest.Retention{}, m)}
	monthly := &MonthlySchedule{At: time.Duration(when), Snapshot: &Months{}, Replica: &Months{}}
	monthly.Replica[m] = true
	set.Monthly.DayInMonth, monthly.Day = draw()

	set.YearlyEnabled = flag.Draw(t, "yearly")
	set.Yearly = &vbawstest.YearlySchedule{TimeLocal: when, Month: m.String()}
	yearly := &YearlySchedule{At: time.Duration(when), Month: m}
	set.Yearly.DayInMonth, yearly.Day = draw()

	if set.DailyEnabled {
		want.Daily = daily
	}
	if set.WeeklyEnabled {
		want.Weekly = weekly
	}
	if set.MonthlyEnabled {
		want.Monthly = monthly
	}
	if set.YearlyEnabled {
		want.Yearly = yearly
	}
	return set, want
}

// inBooleans returns settings with booleans instead of numbers in each array of hours; nil
// if there is none.
func inBooleans(settings []byte) jsontext.Value {
	found := false
	var change func(v any) any
	change = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for name, member := range v {
				list, ok := member.([]any)
				if !ok || name != "hours" {
					v[name] = change(member)
					continue
				}
				flags := make([]bool, 24)
				hours := len(list) > 0
				for _, n := range list {
					h, isNumber := n.(json.Number)
					i, err := strconv.Atoi(h.String())
					if hours = hours && isNumber && err == nil && i >= 0 && i < 24; hours {
						flags[i] = true
					}
				}
				if hours {
					v[name], found = flags, true
				}
			}
		}
		return v
	}
	d := json.NewDecoder(bytes.NewReader(settings))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	out, err := json.Marshal(change(v))
	if err != nil || !found {
		return nil
	}
	return out
}

// A set of hours is the same in both forms.
func testScheduleHoursEitherWay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.IntRange(0, 23), 1, 30).Draw(t, "hours")
		numbers, _ := json.Marshal(list)
		settings := func(hours string) jsontext.Value {
			return jsontext.Value(`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"Everyday","backupOptions":{"schedule":{"hours":` + hours + `}}}}`)
		}
		want := decodeSchedule(settings(hoursJSON(list...)))
		got := decodeSchedule(settings(string(numbers)))
		if diff := cmp.Diff(want, got); diff != "" || got.Unreadable != "" || *got.Daily.Backup == (Hours{}) {
			t.Error(got, diff)
		}
	})
}

// FuzzSchedule checks that a schedule is within its ranges or has a reason why not, that both
// forms of hours are the same, and that the policy is always listed.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{
		`null`, `{}`, `7`, `{` + allOff + `}`,
		`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"SelectedDays","days":["Monday"],"runsPerHour":2,"snapshotOptions":{"schedule":{"hours":` + hoursJSON(3) + `}}}}`,
		`{"weeklyScheduleEnabled":true,"weeklySchedule":{"timeLocal":"2000-01-01T23:59:59.9+14:00","backupOptions":{"schedule":{"days":["Friday"]}}}}`,
		`{"monthlyScheduleEnabled":true,"monthlySchedule":{"timeLocal":"07:00","dayNumberInMonth":"OnDay","dayOfMonth":31,"replicaOptions":{"schedule":{"months":["May"]}}}}`,
		`{"yearlyScheduleEnabled":true,"yearlySchedule":{"timeLocal":"07:00","dayNumberInMonth":"Last","dayOfWeek":"Sunday","month":"December"}}`,
		`{"dailyScheduleEnabled":false,"dailyScheduleEnabled":true}`,
		`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"WeekDays","snapshotOptions":{"schedule":{"hours":[0,6,12,18]}},"replicaOptions":{"schedule":{"hours":[]}},"backupOptions":{"schedule":{"hours":[23,23]}}}}`,
		`{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"Everyday","snapshotOptions":{"schedule":{"hours":[1,24]}},"backupOptions":{"schedule":{"hours":null}}},"weeklyScheduleEnabled":true}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, settings []byte) {
		if !jsontext.Value(settings).IsValid(tolerant...) {
			return
		}
		p, _ := decodePolicy(Workload{Name: "ec2"}, jsontext.Value(`{"id":"1","name":"n","scheduleSettings":`+string(settings)+`}`))
		if p == nil {
			t.Fatal("the policy is not listed")
		}
		s := p.Schedule
		if s == nil {
			if k := jsontext.Value(settings).Kind(); k != jsontext.KindNull {
				t.Errorf("no schedule for %s", k)
			}
			return
		}
		if utf8.RuneCountInString(s.Unreadable) > 301 {
			t.Errorf("a reason of %d characters", utf8.RuneCountInString(s.Unreadable))
		}
		if !utf8.ValidString(s.Unreadable) {
			t.Errorf("the reason is not valid UTF-8, and can't be stored: %q", s.Unreadable)
		}
		// The same hours, written as booleans.
		if other := inBooleans(settings); other != nil {
			if diff := cmp.Diff(s, decodeSchedule(other)); diff != "" && s.Unreadable == "" {
				t.Errorf("%s\nand with booleans\n%s:\n%s", settings, other, diff)
			}
		}
		inMonth := func(d DayInMonth) bool {
			return d.Week == 0 && d.Day >= 1 && d.Day <= 31 || d.Week >= 1 && d.Week <= LastWeek && d.Day == 0
		}
		inDay := func(at time.Duration) bool { return at >= 0 && at < 24*time.Hour && at%time.Second == 0 }
		if d := s.Daily; d != nil && (d.RunsPerHour < 1 || d.RunsPerHour > 60) {
			t.Errorf("%+v", d)
		}
		if w := s.Weekly; w != nil && !inDay(w.At) {
			t.Errorf("%+v", w)
		}
		if m := s.Monthly; m != nil && (!inDay(m.At) || !inMonth(m.Day)) {
			t.Errorf("%+v", m)
		}
		if y := s.Yearly; y != nil && (!inDay(y.At) || !inMonth(y.Day) || y.Month < 1 || y.Month > 12) {
			t.Errorf("%+v", y)
		}
	})
}
