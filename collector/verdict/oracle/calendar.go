package oracle

import (
	"slices"
	"time"
)

// All times are in seconds of Unix time, and whole minutes.
const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
)

// Zone is a time zone by its changes, oldest first. The first one holds from ever.
type Zone []Change

// Change is an offset from UTC that holds from an instant on.
type Change struct{ From, Offset int64 }

// at parses an instant of UTC.
func at(s string) int64 {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t.Unix()
}

// Zones are those of 2026, by hand.
var Zones = map[string]Zone{
	"UTC":              {{0, 0}},
	"Europe/Berlin":    {{0, 1 * hour}, {at("2026-03-29 01:00"), 2 * hour}, {at("2026-10-25 01:00"), 1 * hour}},
	"Africa/Cairo":     {{0, 2 * hour}, {at("2026-04-23 22:00"), 3 * hour}, {at("2026-10-29 21:00"), 2 * hour}},
	"America/New_York": {{0, -5 * hour}, {at("2026-03-08 07:00"), -4 * hour}, {at("2026-11-01 06:00"), -5 * hour}},
	"Australia/Lord_Howe": {
		{0, 11 * hour}, {at("2026-04-04 15:00"), 10*hour + 30*minute}, {at("2026-10-03 15:30"), 11 * hour},
	},
}

// wall is what a clock in the zone shows, as if that were UTC.
func (z Zone) wall(t int64) int64 {
	shown := t + z[0].Offset
	for _, c := range z[1:] {
		if t >= c.From {
			shown = t + c.Offset
		}
	}
	return shown
}

// Plan is, by kind, when it starts.
type Plan map[string]Times

// Times are the starts of a kind.
type Times struct {
	Minutes []int // since midnight, ascending
	Days    [7]bool
	Date    Date   // zero: every one
	Also    *Times // others; nil: none
}

// Date is a day of each month: that with the number Day or, if that is 0, the Week-th
// Weekday; the fifth Week is the last.
type Date struct{ Day, Week, Weekday int }

func (t Times) has(wall int64) bool {
	weekday := int((wall/day + 4) % 7) // 1 January 1970 was a Thursday
	_, found := slices.BinarySearch(t.Minutes, int(wall%day/minute))
	return found && t.Days[weekday] && (t.Date == Date{} || t.Date.is(wall, weekday)) || t.Also != nil && t.Also.has(wall)
}

func (d Date) is(wall int64, weekday int) bool {
	number := time.Unix(wall, 0).UTC().Day()
	switch {
	case d.Week == 0:
		return number == d.Day
	case d.Week == 5:
		return weekday == d.Weekday && time.Unix(wall+7*day, 0).UTC().Day() <= 7
	}
	return weekday == d.Weekday && number > 7*(d.Week-1) && number <= 7*d.Week
}

// has reports whether a kind starts when the wall clock shows that; the empty kind is
// any.
func (p Plan) has(kind string, wall int64) bool {
	if kind != "" {
		return p[kind].has(wall)
	}
	for _, t := range p {
		if t.has(wall) {
			return true
		}
	}
	return false
}

// Start is a scheduled start.
type Start struct {
	At, Later      int64
	skipped        bool
	dayFrom, dayTo int64 // the local day, if skipped
}

// Starts finds the starts of a kind by watching the clock, minute by minute.
func (p Plan) Starts(z Zone, kind string, from, to int64) []Start {
	var starts []Start
	add := func(s Start) {
		if n := len(starts); n > 0 && starts[n-1].At == s.At {
			if !s.skipped {
				starts[n-1] = s
			}
			return
		}
		starts = append(starts, s)
	}
	shown := z.wall(from - minute)
	newest := shown // the latest that the clock has shown
	for t := from; t <= to; t += minute {
		wall := z.wall(t)
		for missing := shown + minute; missing < wall; missing += minute {
			if p.has(kind, missing) {
				s := Start{At: t, Later: t, skipped: true}
				s.dayFrom, s.dayTo = t, t
				for z.wall(s.dayFrom-minute)/day == missing/day {
					s.dayFrom -= minute
				}
				for z.wall(s.dayTo)/day == missing/day {
					s.dayTo += minute
				}
				add(s)
			}
		}
		switch {
		case !p.has(kind, wall):
		case wall > newest:
			add(Start{At: t, Later: t})
		default: // for the second time
			for i := range starts {
				if z.wall(starts[i].At) == wall {
					starts[i].Later = t
				}
			}
		}
		shown, newest = wall, max(newest, wall)
	}
	return starts
}

// someMonth stands for the longest gap of a kind that starts by dates alone.
const someMonth = 28 * day

// longestGap looks at the weeks around each change of the clock. It leaves out dates, if
// there are other times: in some year they don't shorten the longest gap of those.
func (p Plan) longestGap(z Zone, kind string) int64 {
	weekly := make(Plan)
	for k, t := range p {
		if (t.Date == Date{}) { // what starts by dates comes last
			t.Also = nil
			weekly[k] = t
		}
	}
	if _, found := weekly[kind]; !found && (kind != "" || len(weekly) == 0) {
		return someMonth
	}
	var longest int64
	for _, c := range append(Zone{{From: at("2026-06-15 00:00")}}, z[1:]...) {
		starts := weekly.Starts(z, kind, c.From-9*day, c.From+9*day)
		for i := 1; i < len(starts); i++ {
			longest = max(longest, starts[i].At-starts[i-1].At)
		}
	}
	return longest
}
