package ledger

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/vbaws"
)

// Listed takes in a listing of a workload's policies, made at the given time of the
// appliance's clock. Where it is whole, a policy that it lacks is missing.
func (p *Pass) Listed(workload string, listing []vbaws.Policy, whole bool, at time.Time) {
	p.names = nil
	day := p.now.Truncate(24 * time.Hour)
	present := make(map[PolicyKey]bool, len(listing))
	for _, l := range listing {
		k := PolicyKey{Workload: workload, ID: l.ID}
		present[k] = true
		pol := Policy{PolicyKey: k, Name: l.Name, Enabled: l.Enabled, Schedule: l.Schedule, Listed: day}
		old := p.policy(k)
		if old != nil {
			if old.Name != l.Name {
				// The old name goes as that of a policy that was removed.
				was := PolicyKey{Workload: workload, ID: l.ID + " was " + old.Name}
				p.policies[was] = &Policy{PolicyKey: was, Name: old.Name, Missing: GoneAfter, Listed: day}
			}
			// Under another name, and after it was gone, it has no gauges yet.
			pol.LookedUp = old.LookedUp && old.Name == l.Name && !old.Gone()
			if old.Schedule.Equal(pol.Schedule) {
				pol.Schedule, pol.Since = old.Schedule, old.Since
			}
		}
		switch {
		// It is new again when it is let in again.
		case !pol.Enabled, p.l.opts.Wanted != nil && !p.l.opts.Wanted(vbaws.TypePolicy, l.Name):
			pol.Since = time.Time{}
		case pol.Since.IsZero() || pol.Since.After(at):
			pol.Since = at.UTC().Truncate(time.Second)
		}
		if old == nil || pol != *old {
			p.policies[k] = &pol
		}
	}
	for k, old := range p.allPolicies() {
		if whole && k.Workload == workload && !present[k] && !old.Gone() {
			pol := *old
			pol.Missing++
			p.policies[k] = &pol
		}
	}
}

// DropGone removes the series of policies that the appliance no longer has; whole says
// that all workloads' listings were taken in. Series of which a session still runs
// stay until it has ended, and what they counted then was shown for a while.
func (p *Pass) DropGone(whole bool) {
	gone := make(map[string]bool)
	all := p.allPolicies()
	for k, pol := range all {
		// A name that was gone before may be a new policy's, of a workload that could
		// not be listed.
		was := p.l.state.Policies[k]
		if pol.Gone() && (whole || was == nil || !was.Gone() || p.l.leaving[pol.Name]) {
			gone[pol.Name] = true
		}
	}
	for _, pol := range all {
		if !pol.Gone() {
			delete(gone, pol.Name)
		}
	}
	p.leaving = make(map[string]bool)
	if len(gone) == 0 {
		return
	}
	runs := make(map[Key]bool)
	for _, u := range p.Unfinished() {
		runs[standIn(u.key(), p.hasSeries)] = true
	}
	for _, k := range p.keys() {
		switch {
		case !gone[k.Policy] || k.Policy == "":
		case runs[k] || !p.wasShown(k):
			p.leaving[k.Policy] = true
		default:
			p.drop(k)
		}
	}
}

// shownFor is how long what was counted is to be seen at least: some scrapes.
const shownFor = 5 * time.Minute

func recent(at, now time.Time) bool { d := now.Sub(at); return 0 <= d && d < shownFor }

// wasShown reports whether every scraper has seen what a series counted. What an
// earlier process counted, it may have counted just before it ended.
func (p *Pass) wasShown(k Key) bool {
	// A pass that goes on with the next transaction counted after its own begin.
	if at, ok := p.l.counted[k]; p.counted[k] || ok && p.now.Sub(at) < shownFor {
		return false
	}
	if !p.l.opts.Once && recent(p.l.opened, p.now) {
		return false
	}
	return !slices.ContainsFunc(p.seriesOf(k).Counters, func(c *Counter) bool { return c.Held && c.Count > 0 })
}

func (p *Pass) drop(k Key) {
	if _, stored := p.l.state.Series[k]; stored {
		p.series[k] = nil
	} else {
		delete(p.series, k)
	}
}

// HasPolicy reports whether the appliance lists a policy of that name.
func (p *Pass) HasPolicy(name string) bool {
	if p.names == nil {
		p.names = make(map[string]bool)
		for _, pol := range p.allPolicies() {
			if !pol.Gone() {
				p.names[pol.Name] = true
			}
		}
	}
	return p.names[name]
}

// ToLookUp returns the policies that were not asked for their newest sessions.
func (p *Pass) ToLookUp() []Policy {
	var due []Policy
	for _, pol := range p.allPolicies() {
		if !pol.LookedUp && !pol.Gone() {
			due = append(due, *pol)
		}
	}
	slices.SortFunc(due, func(a, b Policy) int { return a.compare(b.PolicyKey) })
	return due
}

func (k PolicyKey) compare(o PolicyKey) int {
	return cmp.Or(strings.Compare(k.Workload, o.Workload), strings.Compare(k.ID, o.ID))
}

// LookedUp takes in that a policy was asked for its newest session.
func (p *Pass) LookedUp(k PolicyKey) {
	if old := p.policy(k); old != nil && !old.LookedUp {
		pol := *old
		pol.LookedUp = true
		p.policies[k] = &pol
	}
}

// SetZone takes in the name of the appliance's time zone, at the given time of its
// clock. Where it was another, schedules begin anew: nothing was due by the new one
// before.
func (p *Pass) SetZone(name string, at time.Time) {
	if p.meta.Zone == name {
		return
	}
	if p.meta.Zone != "" {
		for k, old := range p.allPolicies() {
			if !old.Since.IsZero() {
				pol := *old
				pol.Since = at.UTC().Truncate(time.Second)
				p.policies[k] = &pol
			}
		}
	}
	p.editMeta().Zone = name
}

// Retire removes the policies, and their series, that no listing had and of which
// nothing was known to happen for that long before at, by the appliance's clock, and
// before Agreed: if policies can't be listed, that is how one shows that it is gone.
func (p *Pass) Retire(at time.Time, retention time.Duration) {
	oldest := p.Agreed(at).Add(-retention)
	all := p.allPolicies()
	listed := make(map[string]bool)
	for _, pol := range all {
		if !pol.Listed.Before(oldest) {
			listed[pol.Name] = true
		}
	}
	newest := make(map[string]time.Time)
	note := func(policy string, t time.Time) {
		if t.After(newest[policy]) {
			newest[policy] = t
		}
	}
	keys := p.keys()
	for _, k := range keys {
		for _, c := range p.seriesOf(k).Counters {
			note(k.Policy, c.End)
			note(k.Policy, c.Born)
		}
	}
	for _, u := range p.Unfinished() {
		note(u.Policy, at)
	}
	retired := func(policy string) bool {
		return policy != "" && !listed[policy] && newest[policy].Before(oldest)
	}
	for _, k := range keys {
		if retired(k.Policy) {
			p.drop(k)
		}
	}
	for k, pol := range all {
		if !pol.Gone() && retired(pol.Name) {
			p.policies[k] = nil
			p.names = nil
		}
	}
}

// keys are those of all series, as this pass has them so far.
func (p *Pass) keys() []Key {
	return slices.Collect(maps.Keys(overlay(p.l.state.Series, p.series)))
}

func (p *Pass) seriesOf(k Key) *Series {
	if s, ok := p.series[k]; ok {
		return s
	}
	return p.l.state.Series[k]
}

func (p *Pass) policy(k PolicyKey) *Policy {
	if pol, ok := p.policies[k]; ok {
		return pol
	}
	return p.l.state.Policies[k]
}

func (p *Pass) allPolicies() map[PolicyKey]*Policy {
	return overlay(p.l.state.Policies, p.policies)
}

// livePolicies returns those that the appliance has.
func (l *Ledger) livePolicies() []*Policy {
	var has []*Policy
	for _, pol := range l.state.Policies {
		if !pol.Gone() {
			has = append(has, pol)
		}
	}
	slices.SortFunc(has, func(a, b *Policy) int { return a.compare(b.PolicyKey) })
	return has
}
