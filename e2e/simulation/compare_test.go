package simulation

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sort"
	"strings"

	"vbaws_exporter/collector/verdict/oracle"
)

// This file compares the metrics and the alerts with the oracle, which has only the script
// and the times at which polls succeeded and listed the policies.

// tolerance is how much later than by the script an alert can fire: two polls.
const tolerance = 2 * minute

// fact is a problem that the oracle finds.
type fact struct {
	since int64
	runs  int // overdue
}

// state has the problems of a policy that the oracle finds, by kind and problem.
type state struct {
	verdict string
	facts   map[[2]string]fact
}

var nothing = &state{}

func parseState(verdict string) *state {
	s := &state{verdict: verdict, facts: make(map[[2]string]fact)}
	for line := range strings.Lines(verdict) {
		var kind, what string
		var f fact
		if n, err := fmt.Sscan(line, &kind, &what, &f.since, &f.runs); n < 3 {
			panic(fmt.Sprintf("the oracle returns %q: %v", line, err))
		}
		if kind == "-" {
			kind = ""
		}
		s.facts[[2]string{kind, what}] = f
	}
	return s
}

// truth has the states that the oracle finds for a policy, one for each minute between
// from and until.
type truth struct {
	*policy
	script      oracle.Script // as the exporter can see it
	from, until int64
	states      []*state
}

func (tr *truth) at(t int64) *state {
	if t < tr.from || t > tr.until {
		return nothing
	}
	return tr.states[(t-tr.from)/minute]
}

// visible returns the script with eras that begin when the exporter sees them.
func visible(pol *policy, seen []int64) (oracle.Script, bool) {
	script := pol.Script
	script.Eras = nil
	last := -1
	for i, e := range pol.Eras {
		next := int64(0)
		if i+1 < len(pol.Eras) {
			next = seen[i+1]
		}
		if seen[i] == 0 || seen[i] == next {
			continue // it was over before it could be seen
		}
		if last >= 0 && pol.changes[last].id == pol.changes[i].id && pol.Eras[last].Enabled == e.Enabled &&
			reflect.DeepEqual(pol.Eras[last].Plan, e.Plan) {
			continue // the change was undone
		}
		last = i
		e.From = seen[i]
		script.Eras = append(script.Eras, e)
	}
	if len(script.Eras) == 0 {
		return script, false
	}
	script.From = script.Eras[0].From
	return script, true
}

// doubling is a time with two policies of one name. The newer one began with an era.
type doubling struct {
	span
	era int
}

// doubled returns the times in which the exporter has two policies of that name: it drops
// the old one at the second listing that lacks it.
func (p *play) doubled(pol *policy) (times []doubling) {
	for i, c := range pol.changes {
		first := p.seen[pol][i]
		if i == 0 || first == 0 || pol.changes[i-1].id == c.id {
			continue
		}
		all := p.listings[string(pol.workload)]
		second := sort.Search(len(all), func(i int) bool { return all[i] > first })
		if second < len(all) {
			times = append(times, doubling{span{first, all[second]}, i})
		}
	}
	return times
}

// truths returns the oracle's states of all policies.
func truths(p *play) []*truth {
	var all []*truth
	for _, pol := range p.world.policies {
		script, ok := visible(pol, p.seen[pol])
		if !ok {
			continue
		}
		moments, until := oracle.Live(script)
		tr := &truth{policy: pol, script: script, from: script.From, until: until}
		var now *state
		for t := tr.from; t <= until; t += minute {
			if len(moments) > 0 && moments[0].At == t {
				now = parseState(moments[0].Verdict)
				moments = moments[1:]
			}
			tr.states = append(tr.states, now)
		}
		// Both policies can be overdue.
		for _, s := range p.doubled(pol) {
			if s.from <= tr.from {
				continue
			}
			old := tr.at(s.from - minute)
			for t := s.from; t < s.to && t <= until; t += minute {
				both := *tr.at(t)
				both.facts = maps.Clone(both.facts)
				e := pol.Eras[s.era]
				for k, f := range old.facts {
					if _, scheduled := e.Plan[k[0]]; k[1] == "overdue" && (scheduled || e.Interval > 0 || pol.Untyped && e.Plan != nil) {
						both.facts[k] = f
					}
				}
				tr.states[(t-tr.from)/minute] = &both
			}
		}
		all = append(all, tr)
	}
	return all
}

// condition returns the kinds of a policy for which an alert's condition holds, given the
// state at the last successful poll.
type condition func(now int64, s *state) []string

func kindsWith(problem string, also func(now int64, f fact) bool) condition {
	return func(now int64, s *state) (kinds []string) {
		for k, f := range s.facts {
			if k[1] == problem && (also == nil || also(now, f)) {
				kinds = append(kinds, k[0])
			}
		}
		return kinds
	}
}

// conditions are the conditions of the alerts on policies, written independently of the
// rules.
var conditions = map[string]condition{
	"VbawsPolicyFailing": kindsWith("failing", nil),
	"VbawsPolicyStuck":   kindsWith("stuck", nil),
	"VbawsPolicySilent":  kindsWith("silent", nil),
	"VbawsPolicyDisabled": kindsWith("disabled", func(now int64, f fact) bool {
		return now-f.since >= 12*hour && now-f.since < 7*day
	}),
	"VbawsPolicyOverdue": kindsWith("overdue", nil),
	"VbawsPolicyOverdueCritical": kindsWith("overdue", func(now int64, f fact) bool {
		return f.runs >= 2 && now-f.since >= 3*hour || now-f.since >= 48*hour
	}),
}

// machine is the state of an alert whose rule is evaluated each minute.
type machine struct {
	holds, keeps   int64 // for and keep_firing_for
	active, firing int64 // since when; 0 if it is not
	ends           int64 // since when the condition doesn't hold
	spans          []span
}

func (m *machine) step(now int64, holds bool) {
	switch {
	case holds:
		m.ends = 0
		if m.active == 0 {
			m.active = now
		}
		if m.firing == 0 && now-m.active >= m.holds {
			m.firing = now
		}
	case m.firing == 0:
		m.active = 0
	default:
		if m.ends == 0 {
			m.ends = now
		}
		if now-m.ends >= m.keeps {
			m.spans = append(m.spans, span{m.firing, now})
			m.active, m.firing, m.ends = 0, 0, 0
		}
	}
}

// waits has for and keep_firing_for of the alerts, in minutes.
var waits = map[string][2]int64{
	"VbawsPolicyFailing":         {10, 15},
	"VbawsPolicyOverdue":         {10, 15},
	"VbawsPolicyOverdueCritical": {5, 15},
	"VbawsPolicyStuck":           {5, 15},
	"VbawsPolicySilent":          {10, 15},
	"VbawsPolicyDisabled":        {5, 15},
	"VbawsManyPoliciesOverdue":   {5, 15},
	"VbawsWatchdog":              {1, 0},
	"VbawsExporterGone":          {5, 4},
	"VbawsApplianceNotPolled":    {5, 2},
	"VbawsApplianceUnreachable":  {15, 5},
	"VbawsApplianceLoginRefused": {5, 5},
}

func newMachine(name string) *machine {
	return &machine{holds: waits[name][0] * minute, keeps: waits[name][1] * minute}
}

func (m *machine) end(to int64) []span {
	if m.firing > 0 && m.firing < to {
		m.spans = append(m.spans, span{m.firing, to})
		m.firing = 0
	}
	return m.spans
}

// result is the comparison of a world with the oracle.
type result struct {
	policyDays float64
	lost       float64 // policy-days that the oracle can't judge
	minutes    int
	// incidents counts the incidents of each alert that lasted for long enough to fire, and
	// short the others.
	incidents, short map[string]int
	// delayed counts incidents that no poll could find in time.
	delayed map[string]int
	// again counts incidents that fired again after the exporter was gone.
	again map[string]int
	// mismatches have a description and a timeline each.
	mismatches []string
}

func newResult() *result {
	return &result{incidents: make(map[string]int), short: make(map[string]int), delayed: make(map[string]int), again: make(map[string]int)}
}

func (res *result) add(o *result) {
	res.policyDays += o.policyDays
	res.lost += o.lost
	res.minutes += o.minutes
	for _, counts := range [][2]map[string]int{{res.incidents, o.incidents}, {res.short, o.short}, {res.delayed, o.delayed}, {res.again, o.again}} {
		for name, n := range counts[1] {
			counts[0][name] += n
		}
	}
	res.mismatches = append(res.mismatches, o.mismatches...)
}

func (res *result) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f policy-days, %.1f of which can't be judged, %d minutes, %d mismatches", res.policyDays+res.lost, res.lost, res.minutes, len(res.mismatches))
	for _, name := range slices.Sorted(maps.Keys(conditions)) {
		fmt.Fprintf(&b, "\n  %-26s %4d incidents, %3d of them alerted after an outage and %3d again after one; %3d were over before the alert",
			name, res.incidents[name], res.delayed[name], res.again[name], res.short[name])
	}
	return b.String()
}

// compare compares a world that was played.
func compare(p *play) *result {
	res := newResult()
	res.minutes = int((p.world.to - p.world.from) / minute)
	all := truths(p)
	for _, tr := range all {
		res.policyDays += float64(tr.until-tr.from) / day
		res.lost += float64(p.world.to-tr.until) / day
		res.compareReports(p, tr)
		for name, condition := range conditions {
			res.compareAlert(p, tr, name, condition)
		}
	}
	res.compareOthers(p, all)
	return res
}

// compareReports compares the metrics of a policy with the oracle at each successful
// poll.
func (res *result) compareReports(p *play, tr *truth) {
	reports := p.reports[tr.name]
	i := -1
	doubled := p.doubled(tr.policy)
	for _, t := range p.polls {
		if t < tr.from || t > tr.until || slices.ContainsFunc(doubled, func(d doubling) bool { return d.has(t) }) {
			continue
		}
		for i+1 < len(reports) && reports[i+1].at <= t {
			i++
		}
		if got := reports[i].verdict; got != tr.at(t).verdict {
			res.mismatch(p, tr, fmt.Sprintf("at %s the metrics have\n%s\nand not\n%s", stamp(t), readable(got), readable(tr.at(t).verdict)))
			return
		}
	}
}

// lastPoll returns the newest successful poll at t or before; 0 for none.
func (p *play) lastPoll(t int64) int64 {
	i := sort.Search(len(p.polls), func(i int) bool { return p.polls[i] > t })
	if i == 0 {
		return 0
	}
	return p.polls[i-1]
}

// compareAlert compares the times at which an alert fired on a policy with those of the
// oracle.
func (res *result) compareAlert(p *play, tr *truth, name string, holds condition) {
	kinds := make(map[string]bool)
	for _, s := range slices.Compact(slices.Clone(tr.states)) {
		for k := range s.facts {
			kinds[k[0]] = true
		}
	}
	fired := make(map[string][]span)
	for a, spans := range p.prometheus.fired {
		if a.name == name && a.policy == tr.name {
			kinds[a.kind] = true
			for _, s := range spans {
				if s.from < tr.until {
					fired[a.kind] = append(fired[a.kind], span{s.from, min(s.to, tr.until)})
				}
			}
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		m := newMachine(name)
		var incidents []span
		begin := int64(0)
		for t := tr.from; t <= tr.until; t += minute {
			known := p.scrapes[t] && slices.Contains(holds(t, tr.at(p.lastPoll(t))), kind)
			m.step(t, known)
			switch is := slices.Contains(holds(t, tr.at(t)), kind); {
			case is && begin == 0:
				begin = t
			case !is && begin > 0:
				incidents = append(incidents, span{begin, t})
				begin = 0
			}
		}
		if begin > 0 {
			incidents = append(incidents, span{begin, tr.until})
		}
		want, got := m.end(tr.until), fired[kind]
		if !alike(want, got) {
			res.mismatch(p, tr, fmt.Sprintf("%s, kind %q, fired at\n%v\nand not at\n%v", name, kind, got, want))
		}
		for _, in := range incidents {
			if what := res.incident(p, name, m, in, got, tr.until); what != "" {
				res.mismatch(p, tr, fmt.Sprintf("%s, kind %q: the incident at %v %s: it fired at %v", name, kind, in, what, got))
			}
		}
	}
}

// incident checks that an incident by the script alone is alerted once and in time. It
// returns what is wrong, or "".
func (res *result) incident(p *play, name string, m *machine, in span, fired []span, until int64) string {
	deadline := in.from + m.holds + tolerance
	// While polls and scrapes fail, the deadline moves.
	for t := in.from; t <= deadline && t <= until; t += minute {
		if !p.scrapes[t] || p.lastPoll(t) != t {
			deadline = max(deadline, t+minute+m.holds+tolerance)
		}
	}
	if in.to <= deadline {
		res.short[name]++
		return ""
	}
	res.incidents[name]++
	if deadline > in.from+m.holds+tolerance {
		res.delayed[name]++
	}
	n := 0
	for _, f := range fired {
		if f.from <= deadline && f.to > in.from {
			n++
		}
		if f.from > deadline && f.from < in.to {
			again := false
			for t := in.from; t < f.from; t += minute {
				again = again || !p.scrapes[t]
			}
			if !again {
				return "fires again"
			}
			res.again[name]++
		}
	}
	if n != 1 {
		return fmt.Sprintf("is alerted %d times by %s", n, stamp(deadline))
	}
	return ""
}

func alike(a, b []span) bool {
	return slices.EqualFunc(a, b, func(a, b span) bool {
		return abs(a.from-b.from) <= tolerance && abs(a.to-b.to) <= tolerance
	})
}

func abs(n int64) int64 { return max(n, -n) }

// compareOthers compares the alerts that are not on one policy. Alerts without a condition
// here never fire.
func (res *result) compareOthers(p *play, all []*truth) {
	w := p.world
	failed := func(t int64, outages []span) bool {
		return p.scrapes[t] && p.lastPoll(t) < p.polled[t] && inAny(outages, p.polled[t])
	}
	holds := map[string]func(t int64) bool{
		"VbawsWatchdog":              func(int64) bool { return true },
		"VbawsExporterGone":          func(t int64) bool { return !p.scrapes[t] },
		"VbawsApplianceUnreachable":  func(t int64) bool { return failed(t, w.unreachable) },
		"VbawsApplianceLoginRefused": func(t int64) bool { return failed(t, w.refused) },
		"VbawsApplianceNotPolled": func(t int64) bool {
			for s := t; s > t-day; s -= minute {
				if p.scrapes[s] {
					return s < t
				}
			}
			return false
		},
		"VbawsManyPoliciesOverdue": func(t int64) bool {
			overdue, judged := 0, 0
			for _, tr := range all {
				last := p.lastPoll(t)
				i := slices.IndexFunc(tr.script.Eras, func(e oracle.Era) bool { return e.From > last })
				if i < 0 {
					i = len(tr.script.Eras)
				}
				if i == 0 || !tr.script.Eras[i-1].Enabled || tr.script.Eras[i-1].Plan == nil && tr.script.Eras[i-1].Interval == 0 {
					continue
				}
				judged++
				if len(conditions["VbawsPolicyOverdue"](t, tr.at(last))) > 0 {
					overdue++
				}
			}
			return p.scrapes[t] && overdue >= 10 && 4*overdue >= judged
		},
	}
	names := make(map[string]bool)
	for name := range holds {
		names[name] = true
	}
	for a := range p.prometheus.fired {
		names[a.name] = true
	}
	for name := range names {
		if conditions[name] != nil {
			continue
		}
		// The number of overdue policies is known while the oracle can judge all of them.
		until := w.to
		for _, tr := range all {
			if name == "VbawsManyPoliciesOverdue" {
				until = min(until, tr.until)
			}
		}
		m := newMachine(name)
		for t := w.from; t <= until && holds[name] != nil; t += minute {
			m.step(t, holds[name](t))
		}
		want := m.end(until)
		var got []span
		for _, s := range p.prometheus.fired[alert{name: name}] {
			if s.from < until {
				got = append(got, span{s.from, min(s.to, until)})
			}
		}
		if !alike(want, got) {
			res.mismatches = append(res.mismatches, fmt.Sprintf("seed %d, %s: %s fired at\n%v\nand not at\n%v%s", w.seed, w.scene.name, name, got, want, w.outages()))
		}
	}
}

// outages describes the outages of the world.
func (w *world) outages() string {
	text := fmt.Sprintf("\nthe world: %v; unreachable %v, refused %v, off %v, no exporter %v, restarts", w.span, w.unreachable, w.refused, w.off, w.gone)
	for _, t := range slices.Sorted(maps.Keys(w.restarts)) {
		text += " " + stamp(t)
	}
	return text
}

// mismatch records a mismatch with its timeline.
func (res *result) mismatch(p *play, tr *truth, what string) {
	w := p.world
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, %s, policy %q: %s%s", w.seed, w.scene.name, tr.name, what, w.outages())
	type line struct {
		at   int64
		text string
	}
	var lines []line
	for i, e := range tr.Eras {
		lines = append(lines, line{e.From, fmt.Sprintf("policy changed: id %s, enabled %v, plan %v, interval %d; seen %s",
			tr.changes[i].id, e.Enabled, e.Plan, e.Interval, stamp(p.seen[tr.policy][i]))})
	}
	for _, s := range tr.Sessions {
		lines = append(lines, line{s.Start, fmt.Sprintf("session %s %s until %s: %s", s.Kind, s.Type, stamp(s.End), s.Status)})
	}
	for i, s := range tr.states {
		if i == 0 || tr.states[i-1] != s {
			lines = append(lines, line{tr.from + int64(i)*minute, "oracle:  " + oneLine(s.verdict)})
		}
	}
	for _, r := range p.reports[tr.name] {
		lines = append(lines, line{r.at, "metrics: " + oneLine(r.verdict)})
	}
	for a, spans := range p.prometheus.fired {
		if a.policy == tr.name {
			for _, s := range spans {
				lines = append(lines, line{s.from, fmt.Sprintf("%s %s fires", a.name, a.kind)}, line{s.to, fmt.Sprintf("%s %s is resolved", a.name, a.kind)})
			}
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return int(a.at - b.at) })
	for _, l := range lines {
		fmt.Fprintf(&b, "\n  %s  %s", stamp(l.at), l.text)
	}
	res.mismatches = append(res.mismatches, b.String())
}

func oneLine(verdict string) string { return strings.ReplaceAll(readable(verdict), "\n", "; ") }

// readable returns a verdict with its times in words.
func readable(verdict string) string {
	var lines []string
	for line := range strings.Lines(verdict) {
		words := strings.Fields(line)
		var t int64
		if n, _ := fmt.Sscan(words[2], &t); n == 1 {
			words[2] = stamp(t)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n")
}

func (s span) String() string { return stamp(s.from) + " to " + stamp(s.to) }
