package simulation

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"vbaws_exporter/collector/verdict/oracle"
	"vbaws_exporter/vbaws/vbawstest"
)

// This file draws the events of the appliance, of the exporter and of each policy. All
// times are whole minutes, in seconds of Unix time.

const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
)

// grace is the configuration's overdue_grace.
const grace = hour

// span is the time from one instant until before another.
type span struct{ from, to int64 }

func (s span) has(t int64) bool { return t >= s.from && t < s.to }

func inAny(spans []span, t int64) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.has(t) })
}

// scene is a time zone, a date and a kind of appliance.
type scene struct {
	name, zone string
	middle     string // of the world
	unzoned    bool   // the account has no right to read the zone
	product    int    // 0: the newest
	untyped    bool   // sessions have no extended type
}

var scenes = []scene{
	{name: "Berlin, autumn", zone: "Europe/Berlin", middle: "2026-10-25"},
	{name: "New York, spring", zone: "America/New_York", middle: "2026-03-08"},
	{name: "no time zone", zone: "Europe/Berlin", middle: "2026-10-25", unzoned: true},
	{name: "UTC, API 1.0", zone: "UTC", middle: "2026-06-17", product: 2, untyped: true},
	{name: "Lord Howe, autumn", zone: "Australia/Lord_Howe", middle: "2026-04-05"},
	{name: "Berlin, spring", zone: "Europe/Berlin", middle: "2026-03-29"},
}

// world has all events of one appliance and of the exporter that polls it.
type world struct {
	*rand.Rand
	seed uint64
	scene
	span
	policies []*policy
	// Polls fail while the appliance is unreachable or refuses the login. While gone, there
	// is no exporter.
	unreachable, refused, gone []span
	// While off, the appliance runs no policies either.
	off []span
	// restarts are the times at which the exporter restarts.
	restarts map[int64]bool
}

// away reports whether no poll succeeds.
func (w *world) away(t int64) bool {
	return inAny(w.unreachable, t) || inAny(w.refused, t) || inAny(w.gone, t)
}

// back returns the first time from t on at which a poll can succeed.
func (w *world) back(t int64) int64 {
	for t < w.to && w.away(t) {
		t += minute
	}
	return t
}

// policy is a script of the oracle, with the changes on the appliance that begin its eras.
type policy struct {
	oracle.Script
	name     string
	workload vbawstest.Workload
	changes  []change // one for each era
}

// change is the change of a policy that begins an era.
type change struct {
	id       string
	schedule *vbawstest.ScheduleSettings
	every    vbawstest.Interval
}

func (w *world) chance(percent int) bool { return w.IntN(100) < percent }

func pick[T any](w *world, from ...T) T { return from[w.IntN(len(from))] }

// between draws a minute before to.
func (w *world) between(from, to int64) int64 {
	return from + int64(w.IntN(int((to-from)/minute)))*minute
}

func drawWorld(seed uint64, policies, days int) *world {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	w := &world{Rand: rand.New(rand.NewChaCha8(key)), seed: seed, restarts: make(map[int64]bool)}
	w.scene = scenes[seed%uint64(len(scenes))]
	middle := unix(w.middle + " 00:00")
	w.from = middle - int64(days)*day/2 + int64(w.IntN(24*60))*minute
	w.to = w.from + int64(days)*day

	w.drawOutages(days)
	for i := range policies {
		w.policies = append(w.policies, w.drawPolicy(i))
	}
	return w
}

// drawOutages draws outages of each kind. They are at least two hours apart.
func (w *world) drawOutages(days int) {
	var all []span
	draw := func(lengths ...int64) (span, bool) {
		length := pick(w, lengths...) * minute
		if w.to-w.from < length+8*hour {
			return span{}, false
		}
		from := w.between(w.from+2*hour, w.to-length-2*hour)
		s := span{from, from + length}
		if slices.ContainsFunc(all, func(o span) bool { return s.from < o.to+2*hour && o.from < s.to+2*hour }) {
			return s, false
		}
		all = append(all, s)
		return s, true
	}
	for range (days + 4) / 5 {
		if s, ok := draw(3, 10, 30, 90, 20*60); ok {
			w.unreachable = append(w.unreachable, s)
			if w.chance(60) {
				w.off = append(w.off, s)
			}
		}
		if s, ok := draw(5, 40, 5*60); ok {
			w.refused = append(w.refused, s)
		}
		if s, ok := draw(1, 4, 12, 90, 26*60); ok {
			w.gone = append(w.gone, s)
		}
		if t := w.between(w.from+hour, w.to); !inAny(w.gone, t) {
			w.restarts[t] = true
		}
	}
	// An exporter that restarts while the appliance is unreachable has only its state.
	for _, s := range w.unreachable {
		if s.to-s.from > 20*minute && w.chance(50) {
			w.restarts[w.between(s.from+10*minute, s.to)] = true
		}
	}
}

func (w *world) drawPolicy(i int) *policy {
	p := &policy{name: fmt.Sprintf("Policy %d-%d", w.seed, i), workload: vbawstest.EC2}
	p.Script = oracle.Script{
		Zone: oracle.Zones[w.zone], Unzoned: w.unzoned, Untyped: w.untyped, From: w.from, To: w.to, Grace: grace,
	}
	if w.chance(10) {
		p.From = w.between(w.from+hour, w.from+(w.to-w.from)/2)
	}
	id := 1000 * i
	first := oracle.Era{From: p.From, Enabled: w.chance(97)}
	made := change{id: vbawstest.ID(id)}
	dense := w.chance(12)
	switch {
	case i == 0 && !w.untyped:
		p.name, p.workload = vbawstest.VPCSessionName, vbawstest.VPC
		n := pick(w, 1, 6, 24)
		first.Interval, made.every = int64(n)*hour, vbawstest.Interval{Type: "Hours", Count: n}
	case w.chance(5): // without a schedule
	default:
		w.drawPlan(&first, &made, dense)
	}
	p.Eras, p.changes = []oracle.Era{first}, []change{made}

	for t := p.From; w.chance(40); {
		t += int64(60+w.IntN(int((w.to-p.From)/minute/2))) * minute
		if t >= w.to-hour {
			break
		}
		e, c := p.Eras[len(p.Eras)-1], p.changes[len(p.changes)-1]
		e.From = t
		switch {
		case p.workload == vbawstest.VPC || w.chance(50):
			e.Enabled = !e.Enabled
		case w.chance(50):
			w.drawPlan(&e, &c, dense)
		default: // recreated
			e.Enabled = true
			id++
			c.id = vbawstest.ID(id)
		}
		p.Eras, p.changes = append(p.Eras, e), append(p.changes, c)
	}
	for i := range p.Eras {
		w.drawRuns(p, i)
	}
	if first.Plan == nil && first.Interval == 0 { // manual runs
		for t := p.From + w.between(hour, day); t < w.to && w.chance(80); t += w.between(10*hour, 4*day) {
			w.drawStages(p, t, []string{"backup"}, habits{typical: 10, fails: 10})
		}
	}
	if p.From > w.from { // the exporter sees it before it runs
		seen := w.back(p.From) + 7*minute
		p.Sessions = slices.DeleteFunc(p.Sessions, func(s oracle.Session) bool { return s.Start < seen })
	}
	slices.SortStableFunc(p.Sessions, func(a, b oracle.Session) int { return int(a.Start - b.Start) })
	for i := 1; i < len(p.Eras); i++ {
		w.moveEra(p, i)
	}
	for len(p.Eras) > 1 && p.Eras[len(p.Eras)-1].From >= w.to-hour {
		p.Eras, p.changes = p.Eras[:len(p.Eras)-1], p.changes[:len(p.changes)-1]
	}
	return p
}

var everyDay = [7]bool{true, true, true, true, true, true, true}

// drawPlan draws a schedule, and writes it for the oracle and for the appliance.
func (w *world) drawPlan(e *oracle.Era, c *change, dense bool) {
	e.Plan, c.schedule = oracle.Plan{}, &vbawstest.ScheduleSettings{}
	keep := vbawstest.Retention{Count: 7}
	kinds := pick(w, []string{"backup"}, []string{"snapshot", "backup"}, []string{"snapshot", "replica", "backup"}, []string{"snapshot"})
	first := w.IntN(24)
	if w.chance(40) {
		first = w.IntN(4) // clocks change at night
	}
	if w.chance(15) {
		times := oracle.Times{Minutes: []int{first*60 + 30}}
		var days []string
		for d, name := range []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"} {
			if times.Days[d] = w.chance(30) || d == 3; times.Days[d] {
				days = append(days, name)
			}
		}
		c.schedule.WeeklyEnabled, c.schedule.Weekly = true, &vbawstest.WeeklySchedule{TimeLocal: vbawstest.At(first, 30)}
		for _, kind := range kinds {
			option := &vbawstest.DaysOption{Retention: keep}
			option.Schedule.Days = days
			e.Plan[kind] = times
			*map[string]**vbawstest.DaysOption{
				"snapshot": &c.schedule.Weekly.Snapshot, "replica": &c.schedule.Weekly.Replica, "backup": &c.schedule.Weekly.Backup,
			}[kind] = option
		}
		return
	}
	daily := &vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 1}
	c.schedule.DailyEnabled, c.schedule.Daily = true, daily
	days := everyDay
	if w.chance(15) {
		daily.Kind, days = "WeekDays", [7]bool{false, true, true, true, true, true, false}
	}
	step := pick(w, 24, 24, 24, 24, 12, 6)
	if dense {
		step = 1
	}
	for _, kind := range kinds {
		times := oracle.Times{Days: days}
		var hours []int
		for h := first % step; h < 24; h += step {
			hours = append(hours, h)
			times.Minutes = append(times.Minutes, h*60)
		}
		if kind == "snapshot" && dense && len(kinds) > 1 {
			daily.RunsPerHour = pick(w, 1, 2, 4)
			times.Minutes = nil
			for _, h := range hours {
				for m := 0; m < 60; m += 60 / daily.RunsPerHour {
					times.Minutes = append(times.Minutes, h*60+m)
				}
			}
		}
		e.Plan[kind] = times
		*map[string]**vbawstest.HoursOption{
			"snapshot": &daily.Snapshot, "replica": &daily.Replica, "backup": &daily.Backup,
		}[kind] = vbawstest.Hours(keep, hours...)
		if w.chance(60) {
			step = 24 // the stages after it come once a day
		}
	}
}

// habits describes the runs of a policy.
type habits struct {
	typical int // minutes of a session
	fails   int // percent of the attempts
	retries int
}

// drawRuns draws the runs of an era. Most succeed. For some time all attempts fail, are
// missed, or are canceled.
func (w *world) drawRuns(p *policy, i int) {
	e, to := &p.Eras[i], w.to
	if i+1 < len(p.Eras) {
		to = p.Eras[i+1].From
	}
	if !e.Enabled {
		return
	}
	h := habits{typical: pick(w, 4, 8, 15, 40), fails: pick(w, 0, 1, 3, 8), retries: w.IntN(4)}
	kinds := make(map[int64][]string)
	for _, k := range slices.Sorted(maps.Keys(e.Plan)) {
		for _, s := range e.Plan.Starts(p.Zone, k, e.From, to-1) {
			at := s.At
			if w.chance(50) {
				at = s.Later
			}
			kinds[at] = append(kinds[at], k)
		}
	}
	if e.Interval > 0 {
		for t := e.From + w.between(minute, e.Interval); t < to; t += e.Interval {
			kinds[t] = []string{"backup"}
		}
	}
	bad := make(map[string]span)
	for _, b := range []struct {
		what  string
		often int
	}{{"failed", 25}, {"missed", 25}, {"canceled", 8}} {
		if w.chance(b.often) && to-e.From > hour {
			from := w.between(e.From, to)
			bad[b.what] = span{from, from + pick(w, int64(3), 20, 30, 50, 100)*hour}
		}
	}
	const inTurn = "snapshot replica backup"
	busy := int64(0)
	whileBusy := pick(w, "skip", "queue", "run")
	for _, t := range slices.Sorted(maps.Keys(kinds)) {
		stages := slices.Sorted(slices.Values(kinds[t]))
		slices.SortFunc(stages, func(a, b string) int { return strings.Index(inTurn, a) - strings.Index(inTurn, b) })
		now := h
		switch {
		case inAny(w.off, t), bad["missed"].has(t), w.IntN(200) == 0:
			continue
		case t < busy && whileBusy == "skip":
			continue
		case t < busy && whileBusy == "queue":
			t = busy
		}
		if bad["failed"].has(t) {
			now.fails = 100
		}
		if bad["canceled"].has(t) {
			now.fails = -1
		}
		t += pick(w, int64(-2), 0, 0, 0, 0, 0, 0, 0, 1, 3, 20) * minute
		if t >= p.From {
			busy = max(busy, w.drawStages(p, t, stages, now))
		}
	}
}

// drawStages draws a run, and returns when it ends.
func (w *world) drawStages(p *policy, t int64, stages []string, h habits) (end int64) {
	end = t
	parallel := w.chance(10)
	for _, kind := range stages {
		begin := end
		if parallel {
			begin = t
		}
		ok := false
		for try := 0; try <= h.retries && !ok; try++ {
			s := oracle.Session{Kind: kind, Start: begin, Status: "Succeeded"}
			s.End = begin + int64(1+h.typical/2+w.IntN(h.typical))*minute
			switch n := w.IntN(1000); {
			case n < 20:
				s.End = begin + int64(100+w.IntN(100))*minute // slow
			case n < 28:
				s.End = begin + int64(20+w.IntN(40))*hour // stuck
			}
			switch {
			case h.fails < 0:
				s.Status = "Canceled"
			case w.chance(h.fails):
				s.Status = "Failed"
			case w.chance(5):
				s.Status = pick(w, "Warning", "Warning", "Warning", "Canceled")
			}
			ok = s.Status != "Failed"
			p.add(s)
			end = max(end, s.End)
			begin = s.End + pick(w, int64(1), 1, 1, 1, 4)*minute
		}
		end += pick(w, int64(0), 1, 2) * minute
	}
	if w.chance(1) {
		p.add(oracle.Session{Kind: "none", Start: t, End: t + int64(1+w.IntN(100))*minute, Status: pick(w, "Succeeded", "Succeeded", "Failed")})
	}
	return end
}

var extendedTypes = map[string]string{
	"snapshot": "PolicySnapshot", "replica": "PolicyRemoteSnapshot", "backup": "PolicyBackup", "none": "PolicyBackupHealthCheck",
}

func (p *policy) add(s oracle.Session) {
	s.Type = extendedTypes[s.Kind]
	switch {
	case p.Untyped:
		s.Type, s.Kind = "", "any"
	case p.workload == vbawstest.VPC && s.Kind != "none":
		s.Type = "VpcBackup"
	}
	// Of sessions with equal times, the id decides which is the newest. The oracle has no
	// ids.
	for slices.ContainsFunc(p.Sessions, func(o oracle.Session) bool {
		return o.Type == s.Type && o.Start == s.Start && o.End == s.End
	}) {
		s.End += minute
	}
	p.Sessions = append(p.Sessions, s)
}

// moveEra moves a change to a time when the exporter can see it and no session of the
// policy runs or has just ended, since the exporter judges sessions by the current
// schedule. If there is no such time, the change is not made.
func (w *world) moveEra(p *policy, i int) {
	e := &p.Eras[i]
	e.From = max(e.From, p.Eras[i-1].From+10*minute)
	quiet := func(t int64) bool {
		return !slices.ContainsFunc(p.Sessions, func(s oracle.Session) bool { return s.Start <= t+7*minute && s.End > t-11*minute })
	}
	for e.From < w.to {
		if quiet(e.From) && quiet(w.back(e.From)) {
			return
		}
		e.From += minute
	}
}
