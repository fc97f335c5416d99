package oracle

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestImports keeps the oracle apart from what it is to check.
func TestImports(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "vbaws_exporter") || strings.Contains(i.Path.Value, ".") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}

// TestStarts checks the calendar of the oracle, by hand.
func TestStarts(t *testing.T) {
	every := [7]bool{true, true, true, true, true, true, true}
	plan := Plan{"backup": {Minutes: []int{150, 180}, Days: every}} // 02:30 and 03:00
	for _, test := range []struct {
		zone, from, to string
		want           []Start
	}{
		{"Europe/Berlin", "2026-06-01 00:00", "2026-06-01 23:00", []Start{
			{At: at("2026-06-01 00:30"), Later: at("2026-06-01 00:30")}, {At: at("2026-06-01 01:00"), Later: at("2026-06-01 01:00")},
		}},
		{"Europe/Berlin", "2026-10-25 00:00", "2026-10-25 22:00", []Start{
			{At: at("2026-10-25 00:30"), Later: at("2026-10-25 01:30")}, {At: at("2026-10-25 02:00"), Later: at("2026-10-25 02:00")},
		}},
		{"Europe/Berlin", "2026-03-28 23:00", "2026-03-29 21:00", []Start{ // 02:30 falls together with 03:00
			{At: at("2026-03-29 01:00"), Later: at("2026-03-29 01:00")},
		}},
		{"Australia/Lord_Howe", "2026-10-03 14:00", "2026-10-04 12:00", []Start{ // 02:00 to 02:30 is missing
			{At: at("2026-10-03 15:30"), Later: at("2026-10-03 15:30")}, {At: at("2026-10-03 16:00"), Later: at("2026-10-03 16:00")},
		}},
	} {
		got := plan.Starts(Zones[test.zone], "backup", at(test.from), at(test.to))
		if len(got) != len(test.want) {
			t.Errorf("%s from %s: %v, want %v", test.zone, test.from, got, test.want)
			continue
		}
		for i := range got {
			if got[i] != test.want[i] {
				t.Errorf("%s from %s: %v, want %v", test.zone, test.from, got[i], test.want[i])
			}
		}
	}
}

// TestDates checks the dates of a month, by hand.
func TestDates(t *testing.T) {
	every := [7]bool{true, true, true, true, true, true, true}
	for want, date := range map[string]Date{
		"2026-01-31 2026-03-31 2026-05-31":                       {Day: 31},
		"2026-01-05 2026-02-02 2026-03-02 2026-04-06 2026-05-04": {Week: 1, Weekday: 1},
		"2026-01-25 2026-02-22 2026-03-22 2026-04-26 2026-05-24": {Week: 4},
		"2026-01-31 2026-02-28 2026-03-28 2026-04-25 2026-05-30": {Week: 5, Weekday: 6},
	} {
		var got []string
		plan := Plan{"backup": {Minutes: []int{60}, Days: every, Date: date}}
		for _, s := range plan.Starts(Zones["UTC"], "backup", at("2026-01-01 00:00"), at("2026-06-01 00:00")) {
			got = append(got, time.Unix(s.At, 0).UTC().Format(time.DateOnly))
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%+v: %s, want %s", date, got, want)
		}
	}
}
