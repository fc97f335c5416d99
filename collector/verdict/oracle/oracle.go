// Package oracle says what is wrong with a policy, by the script of an incident alone.
// It is for tests.
//
// It lives through the script minute by minute and keeps what a person would note: the
// starts that are owed, the sessions that each of them waits for, the failures in a
// row. So it knows at each minute what happened until then, in order, and nothing of
// what comes; it looks nothing up in the past, and it shares no code with the packages
// that it is to check.
package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Script is what happens to a policy.
type Script struct {
	Zone Zone
	// Unzoned says that the exporter doesn't know the zone.
	Unzoned bool
	// Untyped says that sessions don't say their kind.
	Untyped  bool
	From, To int64
	Grace    int64
	// Eras are in order. The first begins at From.
	Eras     []Era
	Sessions []Session
}

// Era is a time through which a policy is enabled or disabled and has one schedule. To
// the exporter it begins at From.
type Era struct {
	From    int64
	Enabled bool
	// Plan is nil for a policy without a schedule. Interval is one without times.
	Plan     Plan
	Interval int64
}

// Session is a session of the policy.
type Session struct {
	Type string
	// Kind is snapshot, replica, backup, archive, any (unknown) or none (it
	// makes no restore point).
	Kind       string
	Start, End int64 // it can end after the script
	Status     string
}

func (s *Session) succeeded() bool { return s.Status == "Succeeded" || s.Status == "Warning" }

// shown is the kind under which it is reported.
func (s *Session) shown() string {
	if s.Kind == "any" || s.Kind == "none" {
		return ""
	}
	return s.Kind
}

func (s *Session) meets(kind string) bool {
	switch s.Kind {
	case "any":
		return true
	case "none":
		return false
	}
	return kind == s.Kind || kind == "snapshot" && s.Kind == "backup" || kind == "backup" && s.Kind == "archive"
}

func (s *Session) clears(kind string) bool {
	if kind == "" {
		return s.shown() == "" // scripts have one of any and none
	}
	return s.shown() == kind || s.meets(kind)
}

// obligation is a start that is owed.
type obligation struct {
	Start
	kind           string
	next, nextAny  int64 // ends of its run; 0: none
	deadline       int64
	own, blockedBy map[*Session]bool // under way
	waited         map[*Session]bool // and those that it waited for
}

// row is a row of failures.
type row struct {
	n, first int64
	failing  bool
	retry    int64 // until when one can begin
	retries  map[*Session]bool
	last     int64
}

// missed has the starts of a kind that are overdue, and the first of them.
type missed struct {
	first  int64
	starts []int64
}

// world is the state of the script at a minute.
type world struct {
	Script
	now      int64
	era      *Era
	since    int64
	starts   map[string][]Start // of the era, by kind
	gaps     map[string]int64
	owed     []*obligation
	overdue  map[string]missed
	rows     map[string]*row
	success  map[string]int64 // newest by the kind that it meets
	good     int64            // newest of any that makes restore points
	running  []*Session
	stuck    map[*Session]bool
	began    []*Session
	finished map[string][]*Session // by type, in order of their ends
	disabled int64
	limits   map[*Session]int64 // of running sessions, when they began
	lost     bool
}

// Moment is a minute at which the verdict changes.
type Moment struct {
	At      int64
	Verdict string
}

// Live returns the verdicts of a script, each from the minute on at which it holds, and
// the minute until which they do: what an exporter keeps, the last 20 sessions of a
// type, can be too little to go on from there. That takes many sessions side by side.
func Live(script Script) (moments []Moment, until int64) {
	w := &world{
		Script: script, rows: make(map[string]*row), success: make(map[string]int64),
		stuck: make(map[*Session]bool), limits: make(map[*Session]int64), finished: make(map[string][]*Session),
	}
	starting, ending := make(map[int64][]*Session), make(map[int64][]*Session)
	for i := range w.Sessions {
		s := &w.Sessions[i]
		starting[s.Start] = append(starting[s.Start], s)
		ending[s.End] = append(ending[s.End], s)
	}
	for _, list := range ending {
		// Failures first: a success of the same minute clears them.
		slices.SortStableFunc(list, func(a, b *Session) int {
			rank := map[bool]int{true: 1}
			return cmp.Compare(rank[a.succeeded()], rank[b.succeeded()])
		})
	}
	for w.now = w.From; w.now <= w.To; w.now += minute {
		for i := range w.Eras {
			if w.Eras[i].From == w.now {
				w.enter(&w.Eras[i])
			}
		}
		for _, s := range ending[w.now] {
			w.end(s)
		}
		for _, s := range w.running {
			w.lost = w.lost || w.limit(s) != w.limits[s]
			if !w.stuck[s] && w.now >= s.Start+w.limits[s] {
				w.stuck[s] = true
				w.release(s)
			}
		}
		w.owe()
		for _, s := range starting[w.now] {
			w.begin(s)
		}
		w.decide()
		if w.lost {
			return moments, w.now - minute
		}
		if v := w.String(); len(moments) == 0 || moments[len(moments)-1].Verdict != v {
			moments = append(moments, Moment{w.now, v})
		}
	}
	return moments, w.To
}

// kinds are those of the schedule.
func (w *world) kinds() []string {
	switch {
	case w.era.Interval > 0 && w.Untyped, w.era.Plan != nil && w.Untyped:
		return []string{""}
	case w.era.Interval > 0:
		return []string{"backup"}
	}
	return slices.Sorted(maps.Keys(w.era.Plan))
}

func (w *world) estimated() bool { return w.Unzoned || w.era.Interval > 0 }

func (w *world) enter(e *Era) {
	if w.era != nil && w.era.Enabled && !e.Enabled {
		w.disabled = w.now
	} else if e.Enabled {
		w.disabled = 0
	}
	w.era, w.since = e, w.now
	w.owed, w.overdue = nil, make(map[string]missed)
	w.starts, w.gaps = make(map[string][]Start), make(map[string]int64)
	for _, k := range append(w.kinds(), "") {
		switch {
		case e.Interval > 0:
			w.gaps[k] = e.Interval
		case e.Plan != nil && w.Unzoned:
			w.gaps[k] = e.Plan.longestGap(Zones["UTC"], k)
		case e.Plan != nil:
			w.gaps[k] = e.Plan.longestGap(w.Zone, k)
			reach := int64(9 * day)
			if w.gaps[k] == someMonth {
				reach = 70 * day // not every month has a day 31
			}
			w.starts[k] = e.Plan.Starts(w.Zone, k, w.From-9*day, w.To+reach)
		}
	}
	for _, s := range w.running { // by the new schedule
		w.limits[s] = w.limit(s)
		if w.now < s.Start+w.limits[s] {
			delete(w.stuck, s)
		}
	}
}

// gap is the longest of a kind, or of the policy.
func (w *world) gap(kind string) int64 {
	if gap, scheduled := w.gaps[kind]; scheduled {
		return gap
	}
	return w.gaps[""]
}

// limit is how long a session can run until it is stuck.
func (w *world) limit(s *Session) int64 {
	var d []int64
	list := w.finished[s.Type]
	for _, f := range list[max(0, len(list)-20):] {
		if f.succeeded() && f.End <= s.Start {
			d = append(d, f.End-f.Start)
		}
	}
	d = d[max(0, len(d)-15):]
	var typical int64
	if len(d) >= 5 {
		slices.Sort(d)
		typical = (d[(len(d)-1)/2] + d[len(d)/2]) / 2
	}
	gap := w.gap(s.shown())
	if gap == 0 && typical == 0 {
		return day
	}
	return max(2*hour, min(day, gap), 3*typical)
}

func (w *world) begin(s *Session) {
	w.running = append(w.running, s)
	w.began = append(w.began, s)
	w.limits[s] = w.limit(s)
	for _, o := range w.owed {
		end := o.nextAny
		if s.meets(o.kind) {
			end = o.next
		}
		waits := len(o.own)+len(o.blockedBy) > 0 || w.now < o.deadline
		if waits && (end == 0 || w.now < end) {
			o.own[s] = true
		}
	}
	w.owed = slices.DeleteFunc(w.owed, func(o *obligation) bool {
		return o.skipped && o.dayFrom <= w.now && w.now < o.dayTo
	})
	for kind, r := range w.rows {
		if r.n > 0 && !r.failing && w.now < r.retry && s.clears(kind) {
			r.retries[s] = true
		}
	}
	w.row(s).last = w.now
}

func (w *world) row(s *Session) *row {
	r := w.rows[s.shown()]
	if r == nil {
		r = &row{retries: make(map[*Session]bool)}
		w.rows[s.shown()] = r
	}
	return r
}

func (w *world) end(s *Session) {
	w.release(s)
	w.running = slices.DeleteFunc(w.running, func(o *Session) bool { return o == s })
	list := append(w.finished[s.Type], s)
	slices.SortStableFunc(list[max(0, len(list)-30):], func(a, b *Session) int { return cmp.Or(cmp.Compare(a.End, b.End), cmp.Compare(a.Start, b.Start)) })
	w.finished[s.Type] = list
	for _, o := range w.owed {
		for f := range o.waited {
			forgotten := len(w.finished[f.Type]) > 20 && w.finished[f.Type][len(w.finished[f.Type])-21] == f
			w.lost = w.lost || forgotten || w.limit(f) != w.limits[f]
		}
	}
	r := w.row(s)
	r.last = w.now
	switch {
	case s.Status == "Failed":
		if r.n++; r.n == 1 {
			r.first = w.now
		}
		if r.n == 3 {
			r.failing = true
		}
		r.retry = w.now + 5*minute
		if next := w.next(s.shown(), w.now); next > 0 {
			r.retry = min(r.retry, next)
		}
		clear(r.retries)
	case s.succeeded():
		for kind, r := range w.rows {
			if s.clears(kind) {
				*r = row{retries: make(map[*Session]bool), last: r.last}
			}
		}
		if s.Kind != "none" {
			w.good = w.now
		}
		for _, k := range []string{"", "snapshot", "replica", "backup", "archive"} {
			if s.meets(k) {
				w.success[k] = w.now
				delete(w.overdue, k)
			}
		}
		w.owed = slices.DeleteFunc(w.owed, func(o *obligation) bool { return s.meets(o.kind) && o.At < w.now })
	}
}

// release is when a session is waited for no more.
func (w *world) release(s *Session) {
	for _, o := range w.owed {
		if o.own[s] {
			o.deadline = max(o.deadline, w.now+5*minute)
		}
		if o.blockedBy[s] {
			o.deadline = max(o.deadline, w.now+w.Grace)
		}
		if o.own[s] || o.blockedBy[s] {
			o.waited[s] = true
		}
		delete(o.own, s)
		delete(o.blockedBy, s)
	}
	for _, r := range w.rows {
		delete(r.retries, s)
	}
}

// next is the next start of a kind, or of any if it isn't scheduled; 0 if there is
// none.
func (w *world) next(kind string, t int64) int64 {
	starts, scheduled := w.starts[kind]
	if !scheduled {
		starts = w.starts[""]
	}
	return following(starts, t).At
}

func following(starts []Start, t int64) Start {
	i, _ := slices.BinarySearchFunc(starts, t+1, func(s Start, t int64) int { return cmp.Compare(s.At, t) })
	if i == len(starts) {
		return Start{}
	}
	return starts[i]
}

// owe notes the starts of this minute.
func (w *world) owe() {
	if !w.era.Enabled {
		return
	}
	for _, k := range w.kinds() {
		if w.estimated() {
			base := max(w.since, w.success[k])
			if gap := w.gaps[k]; w.now > base && (w.now-base)%gap == 0 {
				o := &obligation{Start: Start{At: w.now, Later: w.now}, kind: k, next: w.now + gap, nextAny: w.now + w.gaps[""]}
				w.expect(o, gap)
			}
			continue
		}
		starts := w.starts[k]
		i, found := slices.BinarySearchFunc(starts, w.now, func(s Start, t int64) int { return cmp.Compare(s.At, t) })
		if !found {
			continue
		}
		o := &obligation{Start: starts[i], kind: k}
		o.next, o.nextAny = following(starts, w.now).Later, following(w.starts[""], w.now).Later
		gap := int64(day)
		if i > 0 {
			gap = w.now - starts[i-1].At
		}
		w.expect(o, gap)
	}
}

func (w *world) expect(o *obligation, gap int64) {
	o.own, o.blockedBy, o.waited = make(map[*Session]bool), make(map[*Session]bool), make(map[*Session]bool)
	o.deadline = o.Later + w.Grace
	if o.skipped {
		o.deadline = max(o.deadline, o.dayTo)
	}
	early := w.now - min(5*minute, gap/2)
	for _, s := range w.began {
		switch over := s.End <= w.now || w.stuck[s]; {
		case o.skipped && o.dayFrom <= s.Start && s.Start < o.dayTo:
			return
		case s.Start >= early && over:
			o.deadline = max(o.deadline, min(s.End, s.Start+w.limit(s))+5*minute)
			o.waited[s] = true
		case s.Start >= early:
			o.own[s] = true
		case !over:
			o.blockedBy[s] = true
		}
	}
	w.owed = append(w.owed, o)
}

// decide notes what is overdue or failing from this minute on.
func (w *world) decide() {
	w.owed = slices.DeleteFunc(w.owed, func(o *obligation) bool {
		if len(o.own)+len(o.blockedBy) > 0 || w.now < o.deadline {
			return false
		}
		m := w.overdue[o.kind]
		if len(m.starts) == 0 || o.At < m.first {
			m.first = o.At
		}
		m.starts = append(m.starts, o.At)
		w.overdue[o.kind] = m
		return true
	})
	for kind, r := range w.rows {
		// The failures of a kind that starts seldom end later, which the oracle does not have.
		w.lost = w.lost || r.failing && w.now >= r.last+35*day && w.gap(kind) >= 28*day
		if r.n > 0 && len(r.retries) == 0 && w.now >= r.retry {
			r.failing = true
		}
	}
}

// String writes the verdict: a line for each problem, and what is due next.
func (w *world) String() string {
	var lines []string
	say := func(kind, what string, a ...any) {
		lines = append(lines, strings.TrimSpace(fmt.Sprintln(append([]any{cmp.Or(kind, "-"), what}, a...)...)))
	}
	if !w.era.Enabled {
		if w.disabled > 0 {
			say("", "disabled", w.disabled)
		}
	} else {
		for kind, m := range w.overdue {
			n := 0
			for _, start := range m.starts {
				if w.now < start+35*day {
					n++
				}
			}
			say(kind, "overdue", m.first, max(1, n))
		}
		for kind, r := range w.rows {
			if r.failing && w.now < r.last+35*day {
				say(kind, "failing", r.first)
			}
		}
		if !w.estimated() {
			for _, k := range w.kinds() {
				if next := following(w.starts[k], w.now); next.At > 0 {
					say(k, "next", next.At)
				}
			}
		}
		if len(w.kinds()) == 0 && len(w.running) == 0 && w.good > 0 && w.now-w.good >= 7*day && w.now-w.good < 30*day {
			say("", "silent", w.good)
		}
	}
	oldest := make(map[string]int64)
	for _, s := range w.running {
		if first := oldest[s.shown()]; w.stuck[s] && (first == 0 || s.Start < first) {
			oldest[s.shown()] = s.Start
		}
	}
	for kind, start := range oldest {
		say(kind, "stuck", start)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
