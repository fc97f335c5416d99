package schedule

import (
	"fmt"
	"strings"
	"time"

	"vbaws_exporter/vbaws"
)

// This file puts a schedule into words.

// Words returns when the schedule starts runs of a kind, in words and by the wall clock of
// its zone: "daily at 20:00 Europe/Berlin". It is empty if there are none.
func (p *Plan) Words(kind Kind) string {
	k := p.of(kind)
	switch {
	case k.gap == nil:
		return ""
	case k.parts == nil:
		return "every " + spanText(k.gap())
	}
	var parts []string
	for i := range k.parts {
		parts = append(parts, k.parts[i].text())
	}
	text := strings.Join(parts, "; ")
	switch {
	case !strings.Contains(text, ":") && !strings.Contains(text, " on "):
		return text // every hour, in any zone
	case p.zone == nil:
		return text + ", time zone unknown"
	}
	return text + " " + strings.TrimPrefix(p.zone.String(), "Etc/")
}

func (p *part) text() string {
	switch {
	case p.day == nil:
		return hoursText(p.starts, p.weekdays)
	case p.yearly != 0:
		return dayInMonthText(p.day) + " of " + p.yearly.String() + " at " + timeText(p.starts[0])
	}
	return dayInMonthText(p.day) + " of " + monthsText(p.months) + " at " + timeText(p.starts[0])
}

// hoursText returns the words for the starts of a day, in seconds since midnight, on days
// of the week.
func hoursText(starts []int32, days set) string {
	if n := len(starts); n > 1 {
		gap := starts[1] - starts[0]
		even := int(gap)*n == daySeconds
		for i, s := range starts[1:] {
			even = even && s-starts[i] == gap
		}
		if even {
			text := "every " + spanText(time.Duration(gap)*time.Second)
			if starts[0] != 0 || gap > 60*60 {
				text += " from " + timeText(starts[0])
			}
			if days != allDays {
				text += " on " + daysText(days)
			}
			return text
		}
	}
	const shown = 6
	times := make([]string, 0, shown)
	for _, s := range starts[:min(shown, len(starts))] {
		times = append(times, timeText(s))
	}
	text := daysText(days) + " at " + strings.Join(times, ", ")
	if n := len(starts) - shown; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// daysText returns days of the week, in the order from Monday to Sunday; three or more in
// a row as a range.
func daysText(days set) string {
	if days == allDays {
		return "daily"
	}
	fromMonday := (days>>1 | days<<6) & allDays
	return ranges(fromMonday, func(i int) string { return time.Weekday((i + 1) % 7).String()[:3] })
}

func monthsText(months set) string {
	if months == allMonths {
		return "every month"
	}
	return ranges(months, func(i int) string { return time.Month(i).String()[:3] })
}

// ranges returns the names of the elements of a set: three or more in a row as a range.
func ranges(in set, name func(int) string) string {
	var parts []string
	for i := 0; in>>i != 0; i++ {
		if !in.has(i) {
			continue
		}
		last := i
		for in.has(last + 1) {
			last++
		}
		if last-i < 2 {
			parts = append(parts, name(i))
			continue
		}
		parts = append(parts, name(i)+"–"+name(last))
		i = last
	}
	return strings.Join(parts, ", ")
}

func dayInMonthText(d *vbaws.DayInMonth) string {
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
