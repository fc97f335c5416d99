package verdict

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/vbaws"
)

// TestGolden judges the timelines of testdata/timelines.txt, which says how they are
// written. Each is judged at its instants in turn, as an exporter does that polls
// then; every 23 minutes in between; and at each instant alone. The verdict must be
// the same, except if the timeline is about a decision that is stored.
func TestGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/timelines.txt")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	for _, part := range strings.Split(string(text), "\n== ")[1:] {
		name, script, _ := strings.Cut(part, "\n")
		n++
		t.Run(name, func(t *testing.T) {
			play(t, script, false, 0)
			play(t, script, false, 23*time.Minute)
			if !strings.Contains(script, "stored") {
				play(t, script, true, 0)
			}
		})
	}
	if n < 40 {
		t.Errorf("%d timelines, want at least 40", n)
	}
}

// timeline is what a script has said so far.
type timeline struct {
	zone     *time.Location
	unzoned  bool // plans are made without it
	members  []Member
	sessions []scripted
	c        Conditions
	decided  map[schedule.Kind]time.Time
}

// scripted is a session of a script.
type scripted struct {
	extendedType string
	start, end   time.Time // end zero: it never ends
	status       string
	seen         time.Time // when it is first listed
	before       time.Time // see Sessions.Before
}

// play runs a script. If alone is set, nothing is stored between two instants; if
// every is positive, it also judges that often in between.
func play(t *testing.T, script string, alone bool, every time.Duration) {
	t.Helper()
	w := &timeline{zone: zone("Europe/Berlin"), c: Conditions{Grace: time.Hour, Typed: true}}
	w.members = []Member{{Enabled: true}}
	var last time.Time
	for line := range strings.Lines(script) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line == "stored" {
			continue
		}
		f := strings.Fields(line)
		if f[0] != "at" {
			w.say(t, f)
			continue
		}
		at, want, _ := strings.Cut(strings.TrimPrefix(line, "at "), ": ")
		now := w.time(t, at)
		if every > 0 && !last.IsZero() {
			for last = last.Add(every); last.Before(now); last = last.Add(every) {
				w.judge(last, alone)
			}
		}
		last = now
		v := w.judge(now, alone)
		if got := w.write(&v, strings.Contains(want, "next ")); got != want {
			t.Errorf("alone %t, every %s: at %s\n got %s\nwant %s", alone, every, at, got, want)
		}
	}
}

func (w *timeline) say(t *testing.T, f []string) {
	t.Helper()
	m := &Member{}
	if len(w.members) > 0 {
		m = &w.members[len(w.members)-1]
	}
	switch f[0] {
	case "zone":
		w.zone = zone(f[1])
	case "plan":
		if m.Plan == nil && m.Since.IsZero() {
			m.Since = w.time(t, "06-01 00:00")
		}
		zone := w.zone
		if w.unzoned {
			zone = nil
		}
		m.Plan = schedule.New(parsePlan(t, f[1:]), zone)
	case "interval":
		m.Plan = schedule.New(&vbaws.Schedule{Every: duration(t, f[1])}, time.UTC)
		if m.Since.IsZero() {
			m.Since = w.time(t, "06-01 00:00")
		}
	case "since":
		m.Since = w.time(t, f[1]+" "+f[2])
	case "initial":
		m.InitialSync = true
	case "unlisted":
		w.members = nil
	case "namesake":
		w.members = append(w.members, Member{Enabled: true})
	case "unzoned":
		w.unzoned = true
	case "unreadable":
		m.Unreadable = true
	case "readable":
		m.Unreadable = false
	case "disabled":
		m.Enabled, m.Since = false, time.Time{}
		if len(f) > 1 {
			m.DisabledSince = w.time(t, f[1]+" "+f[2])
		}
	case "enabled":
		m.Enabled, m.Since, m.DisabledSince = true, w.time(t, f[1]+" "+f[2]), time.Time{}
	case "grace":
		w.c.Grace = duration(t, f[1])
	case "stale":
		w.c.Stale = true
	case "fresh":
		w.c.Stale = false
	case "untyped":
		w.c.Typed = false
	case "session": // type, date, start, end, status; then "seen" or "before", date and time
		s := scripted{extendedType: strings.Trim(f[1], "-"), start: w.time(t, f[2]+" "+f[3])}
		s.seen = s.start
		if f[4] != "..." {
			if s.end = w.time(t, f[2]+" "+f[4]); s.end.Before(s.start) {
				s.end = s.end.AddDate(0, 0, 1)
			}
			s.status = f[5]
			f = f[6:]
		} else {
			f = f[5:]
		}
		if len(f) == 3 {
			switch at := w.time(t, f[1]+" "+f[2]); f[0] {
			case "seen":
				s.seen = at
			case "before":
				s.before = at
			default:
				t.Fatalf("unknown word %q", f[0])
			}
		}
		w.sessions = append(w.sessions, s)
	case "nightly": // type, from, to (dates), start, end, status
		for d := w.time(t, f[2]+" 00:00"); !d.After(w.time(t, f[3]+" 00:00")); d = d.AddDate(0, 0, 1) {
			w.say(t, []string{"session", f[1], d.Format("01-02"), f[4], f[5], f[6]})
		}
	default:
		t.Fatalf("unknown line %q", f)
	}
}

func (w *timeline) judge(now time.Time, alone bool) Verdict {
	p := &Policy{Members: w.members, Sessions: sessionsAt(w.sessions, now)}
	if !alone {
		p.Decided = w.decided
	}
	w.c.Now = now
	v := Judge(p, w.c)
	w.decided = v.Decided
	return v
}

// sessionsAt returns what is known of the sessions at an instant.
func sessionsAt(all []scripted, now time.Time) []Sessions {
	var found []Sessions
	for _, s := range all {
		if s.seen.After(now) || s.start.After(now) {
			continue
		}
		i := slices.IndexFunc(found, func(o Sessions) bool {
			return o.ExtendedType == s.extendedType && o.Before.Equal(s.before)
		})
		if i < 0 {
			i = len(found)
			found = append(found, Sessions{ExtendedType: s.extendedType, Before: s.before})
		}
		if s.end.IsZero() || s.end.After(now) {
			found[i].Running = append(found[i].Running, s.start)
		} else {
			found[i].Finished = found[i].Finished.Insert(Session{s.start, s.end, s.status, 0})
		}
	}
	return found
}

// states are all, the worst first.
var states = []State{Stuck, Failing, Overdue, Silent, Disabled, Warning, Pending, OK}

// write writes a verdict as the timelines do.
func (w *timeline) write(v *Verdict, next bool) string {
	worst := slices.Index(states, v.State)
	for i, k := range v.Kinds {
		if state := slices.Index(states, k.State); i == 0 || state < worst {
			worst = state
		}
	}
	parts := []string{string(states[worst])}
	say := func(format string, a ...any) { parts = append(parts, fmt.Sprintf(format, a...)) }
	at := func(t time.Time) string { return t.In(w.zone).Format("01-02 15:04") }
	for _, k := range v.Kinds {
		name := string(k.Kind)
		if name == "" {
			name = "-"
		}
		if k.Failing.Exists() {
			say("%s failing %s", name, at(k.Failing.Since))
		}
		if k.Overdue.Exists() {
			estimate := ""
			if k.Estimate {
				estimate = "~"
			}
			say("%s overdue%s %s x%d", name, estimate, at(k.Overdue.Since), k.OverdueRuns)
		}
		if k.Stuck.Exists() {
			say("%s stuck %s", name, at(k.Stuck.Since))
		}
		switch {
		case !next:
		case k.NextDue.IsZero():
			say("%s next none", name)
		default:
			say("%s next %s", name, at(k.NextDue))
		}
	}
	if v.Silent.Exists() {
		say("silent %s", at(v.Silent.Since))
	}
	if v.Disabled.Exists() {
		say("disabled %s", at(v.Disabled.Since))
	}
	return strings.Join(parts, "; ")
}

// time reads a date and time of 2026 or, with a year, of another; by the zone, or by
// UTC with a Z.
func (w *timeline) time(t *testing.T, s string) time.Time {
	t.Helper()
	if !regexp.MustCompile(`^\d{4}-`).MatchString(s) {
		s = "2026-" + s
	}
	zone := w.zone
	if utc, ok := strings.CutSuffix(s, "Z"); ok {
		s, zone = utc, time.UTC
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", s, zone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func zone(name string) *time.Location {
	z, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	return z
}

func duration(t testing.TB, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var weekdays = map[string]time.Weekday{"Sun": 0, "Mon": 1, "Tue": 2, "Wed": 3, "Thu": 4, "Fri": 5, "Sat": 6}

// parsePlan reads terms such as "backup daily 01 13", "snapshot hourly", "snapshot
// hourly 4", "backup weekly 01:00 Mon Fri", "backup monthly 01:00 31" and "backup
// yearly 01:00 06-01", with a comma between them.
func parsePlan(t testing.TB, f []string) *vbaws.Schedule {
	t.Helper()
	var s vbaws.Schedule
	for term := range strings.SplitSeq(strings.Join(f, " "), ", ") {
		f := strings.Fields(term)
		every := vbaws.Weekdays{true, true, true, true, true, true, true}
		if s.Daily == nil && (f[1] == "daily" || f[1] == "hourly") {
			s.Daily = &vbaws.DailySchedule{Days: every, RunsPerHour: 1}
		}
		time := func() time.Duration {
			h, m, _ := strings.Cut(f[2], ":")
			return duration(t, h+"h"+m+"m")
		}
		switch f[1] {
		case "daily", "hourly":
			var hours vbaws.Hours
			for h := range hours {
				hours[h] = f[1] == "hourly" || slices.Contains(f[2:], fmt.Sprintf("%02d", h))
			}
			if f[1] == "hourly" && len(f) == 3 {
				s.Daily.RunsPerHour = number(t, f[2])
			}
			*map[string]**vbaws.Hours{"snapshot": &s.Daily.Snapshot, "replica": &s.Daily.Replica, "backup": &s.Daily.Backup}[f[0]] = &hours
		case "weekly":
			var days vbaws.Weekdays
			for _, d := range f[3:] {
				days[weekdays[d]] = true
			}
			s.Weekly = &vbaws.WeeklySchedule{At: time()}
			*map[string]**vbaws.Weekdays{"snapshot": &s.Weekly.Snapshot, "backup": &s.Weekly.Backup}[f[0]] = &days
		case "monthly":
			months := vbaws.Months{}
			for m := 1; m <= 12; m++ {
				months[m] = true
			}
			s.Monthly = &vbaws.MonthlySchedule{At: time(), Day: vbaws.DayInMonth{Day: number(t, f[3])}, Backup: &months}
		case "yearly":
			m, d, _ := strings.Cut(f[3], "-")
			s.Yearly = &vbaws.YearlySchedule{At: time(), Month: monthOf(number(t, m)), Day: vbaws.DayInMonth{Day: number(t, d)}}
		default:
			t.Fatalf("unknown plan %q", term)
		}
	}
	return &s
}

func monthOf(n int) time.Month { return time.Month(n) }

func number(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
