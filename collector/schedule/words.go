package schedule

import (
	"fmt"
	"strings"
	"time"

	"vbaws_exporter/vbaws"
)

// This file puts a schedule into words.

// Words returns when a schedule starts runs of a kind, in words and by the wall clock of
// zone, which is nil if it is not known: "daily at 20:00 Europe/Berlin". It is empty if
// there are none.
func Words(s *vbaws.Schedule, kind Kind, zone *time.Location) string {
	if s == nil {
		return ""
	}
	if s.Every > 0 {
		if kind != Whole && kind != Backup {
			return ""
		}
		return "every " + spanText(s.Every)
	}
	var parts []string
	if text := dailyText(s.Daily, kind); text != "" {
		parts = append(parts, text)
	}
	if w := s.Weekly; w != nil {
		m := newMade(w.Snapshot, w.Replica, w.Backup)
		if days := m.of(kind); days != 0 {
			parts = append(parts, daysText(days)+" at "+timeText(seconds(w.At)))
		}
	}
	if o := s.Monthly; o != nil {
		m := newMade(o.Snapshot, o.Replica, o.Backup)
		if o.Archive {
			m.archive = m.backup
		}
		if months := m.of(kind); months != 0 {
			parts = append(parts, dayInMonthText(o.Day)+" of "+monthsText(months)+" at "+timeText(seconds(o.At)))
		}
	}
	if y := s.Yearly; y != nil && (kind == Whole || kind == Backup || kind == Archive && y.Archive) {
		parts = append(parts, dayInMonthText(y.Day)+" of "+y.Month.String()+" at "+timeText(seconds(y.At)))
	}
	if len(parts) == 0 {
		return ""
	}
	text := strings.Join(parts, "; ")
	switch {
	case !strings.Contains(text, ":") && !strings.Contains(text, " on "):
		return text // every hour, in any zone
	case zone == nil:
		return text + ", time zone unknown"
	}
	return text + " " + strings.TrimPrefix(zone.String(), "Etc/")
}

// dailyText returns the words for the daily part of a schedule; empty if it starts
// nothing of the kind.
func dailyText(d *vbaws.DailySchedule, kind Kind) string {
	if d == nil {
		return ""
	}
	m := newMade(d.Snapshot, d.Replica, d.Backup)
	hours := m.of(kind)
	days := setOf(&d.Days)
	if hours == 0 || days == 0 {
		return ""
	}
	runs := 1
	many := Snapshot
	if d.RunsMakeBackups {
		many = Backup
	}
	if kind == many || kind == Whole && m.of(many) == hours {
		runs = d.RunsPerHour
	}
	return hoursText(inHours(hours, runs), days)
}

// hoursText returns the words for the starts of a day, in seconds since midnight, on days
// of the week.
func hoursText(starts []int32, days set) string {
	on := ""
	if days != allDays {
		on = " on " + daysText(days)
	}
	if len(starts) == 1 {
		if on == "" {
			return "daily at " + timeText(starts[0])
		}
		return daysText(days) + " at " + timeText(starts[0])
	}
	const day = 24 * 60 * 60
	gap := starts[1] - starts[0]
	even := int(gap)*len(starts) == day
	for i, s := range starts[1:] {
		even = even && s-starts[i] == gap
	}
	if even {
		text := "every " + spanText(time.Duration(gap)*time.Second)
		if starts[0] != 0 || gap > 60*60 {
			text += " from " + timeText(starts[0])
		}
		return text + on
	}
	const shown = 6
	times := make([]string, 0, shown)
	for _, s := range starts[:min(shown, len(starts))] {
		times = append(times, timeText(s))
	}
	text := strings.Join(times, ", ")
	if n := len(starts) - shown; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	if on == "" {
		return "daily at " + text
	}
	return daysText(days) + " at " + text
}

const allDays set = 1<<7 - 1

// daysText returns days of the week, in the order from Monday to Sunday; three or more in
// a row as a range.
func daysText(days set) string {
	if days == allDays {
		return "daily"
	}
	var in []int // 0 is Monday
	for i := range 7 {
		if days.has((i + 1) % 7) {
			in = append(in, i)
		}
	}
	name := func(i int) string { return time.Weekday((i + 1) % 7).String()[:3] }
	return ranges(in, name)
}

func monthsText(months set) string {
	if months == 1<<13-2 {
		return "every month"
	}
	var in []int
	for i := 1; i <= 12; i++ {
		if months.has(i) {
			in = append(in, i)
		}
	}
	return ranges(in, func(i int) string { return time.Month(i).String()[:3] })
}

// ranges returns the names of ascending numbers: three or more in a row as a range.
func ranges(in []int, name func(int) string) string {
	var parts []string
	for i := 0; i < len(in); {
		j := i
		for j+1 < len(in) && in[j+1] == in[j]+1 {
			j++
		}
		if j-i < 2 {
			parts, i = append(parts, name(in[i])), i+1
			continue
		}
		parts, i = append(parts, name(in[i])+"–"+name(in[j])), j+1
	}
	return strings.Join(parts, ", ")
}

func dayInMonthText(d vbaws.DayInMonth) string {
	switch {
	case d.Week == 0:
		return fmt.Sprintf("day %d", d.Day)
	case d.Week == vbaws.LastWeek:
		return "last " + d.Weekday.String()
	}
	return [...]string{"", "first ", "second ", "third ", "fourth "}[d.Week] + d.Weekday.String()
}

// timeText returns a time of the day; seconds only if there are any.
func timeText(second int32) string {
	if s := second % 60; s != 0 {
		return fmt.Sprintf("%02d:%02d:%02d", second/3600, second/60%60, s)
	}
	return fmt.Sprintf("%02d:%02d", second/3600, second/60%60)
}

// spanText returns a duration in whole units: 15 min, 6 h, 2 days.
func spanText(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d == day:
		return "day"
	case d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	case d == time.Hour:
		return "hour"
	case d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return d.String()
}
