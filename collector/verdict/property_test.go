package verdict

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/collector/verdict/oracle"
	"vbaws_exporter/vbaws"
)

// TestProperty plays scripts of incidents. An exporter polls now and then, and at each
// poll its verdict must be that of the oracle, which lives through the script minute
// by minute: so it doesn't depend on when polls happened.
func TestProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		if diff := playScript(seed, mutation{}, false); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	})
}

// TestMutations switches rules off and expects that a script notices.
func TestMutations(t *testing.T) {
	for name, m := range map[string]mutation{
		"grace": {}, "waiting": {waiting: true}, "daylight saving": {daylightSaving: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				if diff := playScript(seed, m, name == "grace"); diff != "" {
					t.Logf("seed %d: %s", seed, diff)
					return
				}
			}
			t.Error("no script notices that the rule is off")
		})
	}
}

// TestScripts shows that scripts have problems of all kinds, and that nearly nothing of
// them is beyond what an exporter keeps.
func TestScripts(t *testing.T) {
	found := make(map[string]int)
	var all, lost int64
	for seed := range uint64(110) {
		r := drawScript(seed)
		moments, until := oracle.Live(r.Script)
		all += r.To - r.From
		lost += r.To - until
		words := make(map[string]bool)
		for _, m := range moments {
			for line := range strings.Lines(m.Verdict) {
				words[strings.Fields(line)[1]] = true
			}
		}
		for word := range words {
			found[word]++
		}
	}
	t.Logf("scripts with %v; lost %d of %d s", found, lost, all)
	for _, word := range []string{"overdue", "failing", "stuck", "disabled", "silent", "next"} {
		if found[word] == 0 {
			t.Errorf("no script has %s", word)
		}
	}
	if lost > all/20 {
		t.Errorf("%d of %d s are lost", lost, all)
	}
}

const (
	minutes = 60 // seconds
	hours   = 60 * minutes
	days    = 24 * hours
)

// draw is a script in the making.
type draw struct {
	*rand.Rand
	oracle.Script
	renamed int64 // 0: never
	dated   bool  // plans have dates
	skipped [2]int64
	decoys  []oracle.Session // of another policy that has the old name now
}

func (r *draw) chance(percent int) bool { return r.IntN(100) < percent }

func pick[T any](r *draw, from ...T) T { return from[r.IntN(len(from))] }

func unix(s string) int64 {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t.Unix()
}

func drawScript(seed uint64) *draw {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	r := &draw{Rand: rand.New(rand.NewChaCha8(key))} // neighbouring seeds have nothing in common
	name := pick(r, "UTC", "Europe/Berlin", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe")
	r.Zone = oracle.Zones[name]
	r.Unzoned, r.Untyped = r.chance(15), r.chance(15)
	middle := unix("2026-06-17 00:00")
	if len(r.Zone) > 1 && r.chance(70) {
		middle = r.Zone[1+r.IntN(2)].From
	}
	length := pick(r, int64(2), 3, 6, 10) * days
	if r.dated = r.chance(3); r.dated {
		length, r.Unzoned = 70*days, false
	}
	r.From = middle - length/2 - middle%days + int64(r.IntN(24*60))*minutes
	r.To = r.From + length
	r.Grace = pick(r, int64(10), 30, 60, 60) * minutes
	dense := length <= 3*days && r.chance(70)

	r.Eras = []oracle.Era{{From: r.From, Enabled: r.chance(95)}}
	r.drawPlan(&r.Eras[0], dense)
	for t := r.From; r.chance(40); {
		if t += int64(60+r.IntN(int(length/minutes/2))) * minutes; t >= r.To {
			break
		}
		e := r.Eras[len(r.Eras)-1]
		e.From = t
		switch r.IntN(4) {
		case 0, 1:
			e.Enabled = !e.Enabled
		case 2:
			r.drawPlan(&e, dense)
		default: // recreated
			e.Enabled = true
		}
		r.Eras = append(r.Eras, e)
	}
	silent := length == 10*days && r.chance(25)
	if silent { // after a week it is silent
		r.Eras = []oracle.Era{{From: r.From, Enabled: true}}
		r.drawRun(r.From+hours, []string{"backup"})
	}
	for i := range r.Eras {
		r.drawRuns(i)
	}
	for range r.IntN(3) { // by hand
		if silent {
			break
		}
		r.drawRun(r.From+int64(r.IntN(int(length/minutes)))*minutes, []string{pick(r, "snapshot", "backup", "archive")})
	}
	if r.chance(25) { // the appliance's clock is put forward
		r.skipped[0] = r.From + length/4 + int64(r.IntN(int(length/minutes/2)))*minutes
		r.skipped[1] = r.skipped[0] + pick(r, int64(10), 60, 180)*minutes
		in := func(t int64) bool { return t >= r.skipped[0] && t < r.skipped[1] }
		r.Sessions = slices.DeleteFunc(r.Sessions, func(s oracle.Session) bool { return in(s.Start) })
		old := r.Sessions
		r.Sessions = nil
		for _, s := range old {
			if in(s.End) {
				s.End = r.skipped[1]
			}
			r.add(s)
		}
	}
	slices.SortStableFunc(r.Sessions, func(a, b oracle.Session) int { return int(a.Start - b.Start) })
	// What is derived from sessions goes by the schedule of now: see moveEra.
	for i := 1; i < len(r.Eras); i++ {
		r.moveEra(i)
	}
	r.Eras = slices.DeleteFunc(r.Eras, func(e oracle.Era) bool { return e.From >= r.To })
	if r.chance(25) {
		r.drawRename()
	}
	return r
}

func (r *draw) drawPlan(e *oracle.Era, dense bool) {
	e.Plan, e.Interval = nil, 0
	switch {
	case r.chance(6):
		return
	case r.chance(4):
		e.Interval = pick(r, int64(1), 6, 24) * hours
		return
	}
	e.Plan = oracle.Plan{}
	every := [7]bool{true, true, true, true, true, true, true}
	first := r.IntN(24)
	if r.chance(50) {
		first = r.IntN(4) // clocks are put at night
	}
	hoursOf := func(step int) (list []int) {
		for h := first % step; h < 24; h += step {
			list = append(list, h*60)
		}
		return list
	}
	step := pick(r, 24, 24, 24, 12, 6, 1)
	// A replica or backup is made together with the stage before it.
	for _, kind := range pick(r, []string{"backup"}, []string{"snapshot", "backup"}, []string{"backup", "replica"}, []string{"snapshot", "replica", "backup"}) {
		times := oracle.Times{Days: every, Minutes: hoursOf(step)}
		if kind == "snapshot" && dense {
			times.Minutes = nil
			for m, runs := 0, pick(r, 2, 4, 12); m < 24*60; m += 60 / runs {
				times.Minutes = append(times.Minutes, m)
			}
		} else if r.chance(30) {
			step = 24
		}
		e.Plan[kind] = times
	}
	if !dense && r.chance(20) { // weekly, at one time
		for _, times := range e.Plan {
			times.Days = [7]bool{r.chance(80), r.chance(30), r.chance(30), r.chance(30), true, r.chance(30), r.chance(30)}
			times.Minutes = []int{first*60 + 30}
			for kind := range e.Plan {
				e.Plan[kind] = times
			}
			break
		}
	}
	if r.dated {
		if r.chance(50) {
			e.Plan = oracle.Plan{}
		}
		monthly := oracle.Times{Days: every, Minutes: []int{r.IntN(4)*60 + pick(r, 0, 15, 45)}}
		if monthly.Date.Day = 1 + r.IntN(31); r.chance(50) {
			monthly.Date = oracle.Date{Week: 1 + r.IntN(5), Weekday: r.IntN(7)}
		}
		for _, kind := range pick(r, []string{"backup"}, []string{"snapshot", "backup"}, []string{"backup", "archive"}, []string{"snapshot", "replica", "backup", "archive"}) {
			times, both := e.Plan[kind]
			if times.Also = &monthly; !both {
				times = monthly
			}
			e.Plan[kind] = times
		}
	}
}

// drawRuns draws what the appliance does at the starts of an era.
func (r *draw) drawRuns(i int) {
	e, to := &r.Eras[i], r.To
	if i+1 < len(r.Eras) {
		to = r.Eras[i+1].From
	}
	if !e.Enabled {
		return
	}
	if e.Interval > 0 {
		for t := e.From + e.Interval/2; t < to; t += e.Interval {
			if r.chance(80) {
				r.drawRun(t, []string{"backup"})
			}
		}
		return
	}
	outage := [2]int64{e.From + int64(r.IntN(int((to-e.From)/minutes)+1))*minutes, 0}
	outage[1] = outage[0] + int64(r.IntN(30*60))*minutes
	off := r.chance(30)
	kinds := make(map[int64][]string)
	later := make(map[int64]int64)
	for _, k := range slices.Sorted(maps.Keys(e.Plan)) {
		for _, s := range e.Plan.Starts(r.Zone, k, e.From, to-1) {
			kinds[s.At] = append(kinds[s.At], k)
			later[s.At] = s.Later
		}
	}
	const inTurn = "snapshot replica backup archive"
	busy := int64(0)
	whileBusy := pick(r, "skip", "queue", "run")
	fails := pick(r, 0, 10, 10, 60)
	for _, t := range slices.Sorted(maps.Keys(kinds)) {
		stages := kinds[t]
		slices.SortFunc(stages, func(a, b string) int { return strings.Index(inTurn, a) - strings.Index(inTurn, b) })
		if r.chance(50) {
			t = later[t]
		}
		switch {
		case off && t >= outage[0] && t < outage[1], r.chance(10):
			continue
		case t < busy && whileBusy == "skip":
			continue
		case t < busy && whileBusy == "queue":
			t = busy
		}
		t += pick(r, int64(-2), 0, 0, 0, 1, 3, 20) * minutes
		if t < r.From {
			continue
		}
		busy = max(busy, r.drawStages(t, stages, fails))
	}
}

// drawRun draws sessions that nothing is known of.
func (r *draw) drawRun(t int64, stages []string) { r.drawStages(t, stages, 20) }

func (r *draw) drawStages(t int64, stages []string, fails int) (end int64) {
	end = t
	parallel := r.chance(20)
	retries := r.IntN(4)
	for _, kind := range stages {
		begin := end
		if parallel {
			begin = t
		}
		ok := false
		for try := 0; try <= retries && !ok; try++ {
			s := oracle.Session{Kind: kind, Start: begin, Status: "Succeeded"}
			s.End = begin + int64(1+r.IntN(20))*minutes
			switch {
			case r.chance(8):
				s.End = begin + int64(40+r.IntN(180))*minutes
			case r.chance(1):
				s.End = begin + int64(1+r.IntN(30))*hours
			}
			switch {
			case r.chance(fails):
				s.Status = "Failed"
			case r.chance(10):
				s.Status = pick(r, "Warning", "Canceled", "Postponed")
			}
			ok = s.Status != "Failed"
			r.add(s)
			end = max(end, s.End)
			begin = s.End + pick(r, int64(1), 1, 1, 4, 5, 8)*minutes
		}
		end += pick(r, int64(0), 1, 2, 5, 7) * minutes
		if r.chance(3) {
			r.add(oracle.Session{Kind: "none", Start: t, End: t + int64(1+r.IntN(100))*minutes, Status: pick(r, "Succeeded", "Failed")})
		}
	}
	return end
}

var types = map[string]string{
	"snapshot": "PolicySnapshot", "replica": "PolicyRemoteSnapshot", "backup": "PolicyBackup",
	"archive": "PolicyArchive", "any": "PolicySomething", "none": "PolicyBackupHealthCheck",
}

func (r *draw) add(s oracle.Session) {
	if s.Type = types[s.Kind]; r.Untyped {
		s.Type, s.Kind = "", "any"
	}
	// History takes sessions of one type, start and end for one.
	for slices.ContainsFunc(r.Sessions, func(o oracle.Session) bool {
		return o.Type == s.Type && o.Start == s.Start && o.End == s.End
	}) {
		s.End += minutes
	}
	r.Sessions = append(r.Sessions, s)
}

// moveEra moves the beginning of an era to a time at which the schedule before it makes no
// difference to failures: no session has just ended, runs for long already, or may be a
// retry.
func (r *draw) moveEra(i int) {
	e := &r.Eras[i]
	e.From = max(e.From, r.Eras[i-1].From+minutes)
	for slices.ContainsFunc(r.Sessions, func(s oracle.Session) bool {
		if s.End <= e.From {
			return e.From <= s.End+10*minutes
		}
		return s.Start <= e.From-110*minutes || s.Start <= e.From && slices.ContainsFunc(r.Sessions, func(f oracle.Session) bool {
			return f.Status == "Failed" && f.End <= s.Start && s.Start <= f.End+5*minutes
		})
	}) {
		e.From += minutes
	}
}

// drawRename renames the policy: sessions that began before have the old name, and
// some until the next start.
func (r *draw) drawRename() {
	t := r.From + (r.To-r.From)/4 + int64(r.IntN(int((r.To-r.From)/2/minutes)))*minutes
	r.renamed = t
}

// next is the first start of any kind after the renaming.
func (r *draw) nextAfterRename() int64 {
	var era oracle.Era
	for _, e := range r.Eras {
		if e.From <= r.renamed {
			era = e
		}
	}
	for _, s := range era.Plan.Starts(r.Zone, "", r.renamed, r.renamed+9*days) {
		if s.At > r.renamed {
			return s.At
		}
	}
	return r.renamed + minutes
}

// exporter is what polls.
type exporter struct {
	*draw
	zone     *time.Location
	plans    map[*oracle.Era]*schedule.Plan
	history  map[[2]string]History // by name and extended type
	taken    int64                 // sessions that ended until then are in the history
	decided  map[schedule.Kind]time.Time
	boundary int64 // of the old name
	oldName  map[int]bool
}

// playScript returns when the verdict differs from the oracle's; empty if it never does.
// noGrace is another rule that is off.
func playScript(seed uint64, m mutation, noGrace bool) string {
	r := drawScript(seed)
	moments, until := oracle.Live(r.Script)
	if noGrace {
		r.Grace = 0
	}
	if until < r.From {
		return ""
	}
	var name string
	for n, z := range oracle.Zones {
		if len(z) == len(r.Zone) && z[0] == r.Zone[0] {
			name = n
		}
	}
	x := &exporter{draw: r, zone: zone(name), plans: make(map[*oracle.Era]*schedule.Plan), history: make(map[[2]string]History), oldName: make(map[int]bool)}
	if r.renamed > 0 {
		x.boundary = r.nextAfterRename()
		for i, s := range r.Sessions {
			x.oldName[i] = s.Start < r.renamed || s.Start < x.boundary && r.chance(50)
		}
		for range r.IntN(4) { // another policy has the old name now
			start := x.boundary + int64(r.IntN(2000))*minutes
			s := oracle.Session{Type: types["backup"], Start: start, End: start + 10*minutes, Status: pick(r, "Succeeded", "Failed")}
			if r.Untyped {
				s.Type = ""
			}
			r.decoys = append(r.decoys, s)
		}
	}

	// When it polls: every so often, not at all for a while, and around the moments at
	// which the verdict changes.
	polls := make(map[int64]bool)
	every := int64(pick(r, 7, 60, 300)) * minutes
	if r.dated {
		every = 5 * hours
	}
	for t := r.From; t <= r.To; t += every {
		polls[t] = true
	}
	away := [2]int64{r.From + int64(r.IntN(int((r.To-r.From)/minutes)))*minutes, 0}
	away[1] = away[0] + int64(r.IntN(48*60))*minutes
	for _, moment := range moments {
		if r.chance(60) {
			polls[moment.At] = true
		}
		if r.chance(40) {
			polls[moment.At-minutes] = true
		}
	}
	var gate ClockGate
	spike := r.From + int64(r.IntN(int((r.To-r.From)/minutes)))*minutes
	spiked := r.chance(30)
	var last Verdict
	var lastSaid string
	var lastAt int64
	next := 0
	for _, now := range slices.Sorted(maps.Keys(polls)) {
		if now < r.From || now > until || now >= away[0] && now < away[1] || now >= r.skipped[0] && now < r.skipped[1] {
			continue
		}
		for next+1 < len(moments) && moments[next+1].At <= now {
			next++
		}
		ours, theirs := now, now
		if r.skipped[0] > 0 && now >= r.skipped[1] {
			ours -= r.skipped[1] - r.skipped[0]
		}
		if spiked && now >= spike && now < spike+12*minutes {
			theirs += 7200
		}
		if !gate.Poll(time.Unix(ours, 0), time.Unix(theirs, 0)) {
			continue
		}
		if theirs != now {
			return fmt.Sprintf("at %s: the gate is open, although the clock is wrong", stamp(now))
		}
		v := x.judge(now, m)
		said := say(&v)
		if want := moments[next].Verdict; said != want {
			return fmt.Sprintf("at %s:\n got\n%s\nwant\n%s", stamp(now), readable(said), readable(want))
		}
		if lastAt > 0 && said != lastSaid && (last.Next.IsZero() || now < last.Next.Unix()) && x.quiet(lastAt, now) {
			return fmt.Sprintf("at %s: the verdict of %s changed before %s", stamp(now), stamp(lastAt), last.Next.UTC())
		}
		last, lastSaid, lastAt = v, said, now
	}
	return ""
}

// quiet reports whether nothing new could be known between two polls.
func (x *exporter) quiet(from, to int64) bool {
	in := func(t int64) bool { return t > from && t <= to }
	return !slices.ContainsFunc(x.Sessions, func(s oracle.Session) bool { return in(s.Start) || in(s.End) }) &&
		!slices.ContainsFunc(x.decoys, func(s oracle.Session) bool { return in(s.Start) || in(s.End) }) &&
		!slices.ContainsFunc(x.Eras, func(e oracle.Era) bool { return in(e.From) }) && !in(x.renamed)
}

// judge gathers what an exporter knows, and judges.
func (x *exporter) judge(now int64, m mutation) Verdict {
	x.take(now)
	if x.chance(5) { // restarted
		b, err := json.Marshal(x.decided)
		if err != nil {
			panic(err)
		}
		x.decided = nil
		if err := json.Unmarshal(b, &x.decided); err != nil {
			panic(err)
		}
		for k, h := range x.history {
			b, err := json.Marshal(h)
			if err != nil {
				panic(err)
			}
			var back History
			if err := json.Unmarshal(b, &back); err != nil {
				panic(err)
			}
			x.history[k] = back
		}
	}
	p := &Policy{Members: []Member{x.member(now)}, Decided: x.decided}
	entries := make(map[[2]string]*Sessions)
	entry := func(key [2]string) *Sessions {
		if entries[key] == nil {
			e := &Sessions{ExtendedType: key[1], Finished: x.history[key]}
			if key[0] == "old" {
				e.Before = time.Unix(x.boundary, 0)
			}
			entries[key] = e
		}
		return entries[key]
	}
	for key := range x.history {
		entry(key)
	}
	x.each(func(key [2]string, s *oracle.Session) {
		if s.Start <= now && s.End > now {
			e := entry(key)
			e.Running = append(e.Running, time.Unix(s.Start, 0))
		}
	})
	for _, e := range entries {
		p.Sessions = append(p.Sessions, *e)
	}
	v := Judge(p, Conditions{
		Now: time.Unix(now, 0), Grace: time.Duration(x.Grace) * time.Second, Typed: !x.Untyped, mutation: m,
	})
	x.decided = v.Decided
	return v
}

func (x *exporter) each(f func(key [2]string, s *oracle.Session)) {
	for i := range x.Sessions {
		key := [2]string{"", x.Sessions[i].Type}
		if x.oldName[i] {
			key[0] = "old"
		}
		f(key, &x.Sessions[i])
	}
	for i := range x.decoys {
		f([2]string{"old", x.decoys[i].Type}, &x.decoys[i])
	}
}

// take inserts what ended since the last poll, in any order.
func (x *exporter) take(now int64) {
	type seen struct {
		key [2]string
		s   *oracle.Session
	}
	var list []seen
	x.each(func(key [2]string, s *oracle.Session) {
		if s.End <= now && s.End > x.taken {
			list = append(list, seen{key, s})
		}
	})
	x.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, l := range list {
		x.history[l.key] = x.history[l.key].Insert(Session{time.Unix(l.s.Start, 0), time.Unix(l.s.End, 0), l.s.Status, 0})
	}
	x.taken = now
}

func (x *exporter) member(now int64) Member {
	var m Member
	wasEnabled := false
	for i := range x.Eras {
		e := &x.Eras[i]
		if e.From > now {
			break
		}
		m = Member{Enabled: e.Enabled, DisabledSince: m.DisabledSince}
		switch {
		case e.Enabled:
			m.Since, m.DisabledSince = time.Unix(e.From, 0), time.Time{}
		case wasEnabled:
			m.DisabledSince = time.Unix(e.From, 0)
		}
		wasEnabled = e.Enabled
		m.Plan = x.plan(e)
	}
	return m
}

func (x *exporter) plan(e *oracle.Era) *schedule.Plan {
	switch {
	case e.Interval > 0:
		return schedule.New(&vbaws.Schedule{Every: time.Duration(e.Interval) * time.Second}, time.UTC)
	case e.Plan == nil:
		return nil
	}
	if x.plans[e] == nil {
		zone := x.zone
		if x.Unzoned {
			zone = nil
		}
		x.plans[e] = schedule.New(settings(e.Plan), zone)
	}
	return x.plans[e]
}

// settings writes a plan as the appliance does.
func settings(plan oracle.Plan) *vbaws.Schedule {
	var s vbaws.Schedule
	for kind, times := range plan {
		addTimes(&s, kind, times)
		if times.Also != nil {
			addTimes(&s, kind, *times.Also)
		}
	}
	return &s
}

func addTimes(s *vbaws.Schedule, kind string, times oracle.Times) {
	at := time.Duration(times.Minutes[0]) * time.Minute
	switch date := times.Date; {
	case date != oracle.Date{}:
		if s.Monthly == nil {
			s.Monthly = &vbaws.MonthlySchedule{At: at, Day: vbaws.DayInMonth{Day: date.Day, Week: date.Week, Weekday: time.Weekday(date.Weekday)}}
		}
		if kind == "archive" {
			s.Monthly.Archive = true
			return
		}
		var months vbaws.Months
		for m := time.January; m <= time.December; m++ {
			months[m] = true
		}
		*map[string]**vbaws.Months{"snapshot": &s.Monthly.Snapshot, "replica": &s.Monthly.Replica, "backup": &s.Monthly.Backup}[kind] = &months
	case times.Minutes[0]%60 == 30 && len(times.Minutes) == 1:
		if s.Weekly == nil {
			s.Weekly = &vbaws.WeeklySchedule{At: at}
		}
		days := vbaws.Weekdays(times.Days)
		*map[string]**vbaws.Weekdays{"snapshot": &s.Weekly.Snapshot, "replica": &s.Weekly.Replica, "backup": &s.Weekly.Backup}[kind] = &days
	default:
		if s.Daily == nil {
			s.Daily = &vbaws.DailySchedule{Days: vbaws.Weekdays(times.Days), RunsPerHour: 1}
		}
		var hours vbaws.Hours
		for _, m := range times.Minutes {
			hours[m/60] = true
		}
		if kind == "snapshot" && len(times.Minutes) > 24 {
			s.Daily.RunsPerHour = len(times.Minutes) / 24
		}
		*map[string]**vbaws.Hours{"snapshot": &s.Daily.Snapshot, "replica": &s.Daily.Replica, "backup": &s.Daily.Backup}[kind] = &hours
	}
}

// say writes a verdict as the oracle does.
func say(v *Verdict) string {
	var lines []string
	say := func(kind schedule.Kind, what string, a ...any) {
		name := string(kind)
		if name == "" {
			name = "-"
		}
		lines = append(lines, strings.TrimSpace(fmt.Sprintln(append([]any{name, what}, a...)...)))
	}
	for _, k := range v.Kinds {
		if k.Failing.Exists() {
			say(k.Kind, "failing", k.Failing.Since.Unix())
		}
		if k.Overdue.Exists() {
			say(k.Kind, "overdue", k.Overdue.Since.Unix(), k.OverdueRuns)
		}
		if k.Stuck.Exists() {
			say(k.Kind, "stuck", k.Stuck.Since.Unix())
		}
		if !k.NextDue.IsZero() {
			say(k.Kind, "next", k.NextDue.Unix())
		}
	}
	if v.Silent.Exists() {
		say("", "silent", v.Silent.Since.Unix())
	}
	if v.Disabled.Exists() {
		say("", "disabled", v.Disabled.Since.Unix())
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func stamp(t int64) string { return time.Unix(t, 0).UTC().Format("01-02 15:04Z") }

// readable writes the times of what say and the oracle say.
func readable(said string) string {
	fields := strings.Split(said, " ")
	for i, f := range fields {
		var t int64
		if n, _ := fmt.Sscanf(f, "%d", &t); n == 1 && t > 1e6 {
			_, rest, cut := strings.Cut(f, "\n")
			fields[i] = stamp(t)
			if cut {
				fields[i] += "\n" + rest
			}
		}
	}
	return strings.Join(fields, " ")
}
