// What is removed, and when.

package ledger

import (
	"slices"
	"time"
)

// Agreed returns the earliest of the exporter's clock, at, and the end of the newest day
// on which a session is known to have started; zero if none is known. What is dropped
// for its age is dropped by that: no clock that is wrong makes anything old, since no
// sessions have come in the time that it makes up.
func (p *Pass) Agreed(at time.Time) time.Time {
	day, found := p.l.index.NewestDay()
	if !found {
		return time.Time{}
	}
	agreed := StartOfDay(day).Add(oneDay)
	for _, t := range []time.Time{p.now, at} {
		if t.Before(agreed) {
			agreed = t
		}
	}
	return agreed
}

// Forget removes the seen sessions of before the given time. The cutoff moves behind the
// newest of them, so that none can look new.
func (p *Pass) Forget(before time.Time) error {
	day, found, err := p.l.index.Forgettable(before)
	if err != nil || !found {
		return err
	}
	p.forget = before
	for k, pol := range p.allPolicies() {
		if pol.Gone() && pol.Listed.Before(before) {
			p.policies[k] = nil
		}
	}
	if cutoff := StartOfDay(day).Add(oneDay); cutoff.After(p.meta.Cutoff) {
		p.editMeta().Cutoff = cutoff
	}
	return nil
}

// DropGone removes the series of policies that the appliance no longer has; whole says
// that all workloads' listings were taken in. Series of which a session still runs
// stay until it has finished, and what they counted then was exposed for a while.
func (p *Pass) DropGone(whole bool) {
	gone := p.gonePolicies(whole)
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
			p.keepFormer(p.seriesOf(k))
			p.drop(k)
		}
	}
}

// gonePolicies returns the names of the policies that DropGone is about.
func (p *Pass) gonePolicies(whole bool) map[string]bool {
	gone := make(map[string]bool)
	all := p.allPolicies()
	for k, pol := range all {
		// A name that was gone before may be that of a new policy, of a workload that could
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
	return gone
}

// shownFor is how long a count is exposed at least: some scrapes.
const shownFor = 5 * time.Minute

func recent(at, now time.Time) bool { d := now.Sub(at); return 0 <= d && d < shownFor }

// wasShown reports whether every scraper has seen what a series counted. An earlier
// process may have counted just before it ended.
func (p *Pass) wasShown(k Key) bool {
	// A pass that goes on with the next transaction counted after its own begin.
	if at, ok := p.l.counted[k]; p.counted[k] || ok && p.now.Sub(at) < shownFor {
		return false
	}
	if !p.l.opts.OneShot && recent(p.l.opened, p.now) {
		return false
	}
	return !slices.ContainsFunc(p.seriesOf(k).Counters, func(c *Counter) bool { return c.Held && c.Count > 0 })
}

// Retire removes the policies, and their series, that no listing had and of which
// nothing was known to happen for that long before at, by the appliance's clock, and
// before Agreed: if policies can't be listed, that is how one shows that it is gone.
func (p *Pass) Retire(at time.Time, retention time.Duration) {
	oldest := p.Agreed(at).Add(-retention)
	active := p.lastActivity(at)
	retired := func(policy string) bool { return policy != "" && active[policy].Before(oldest) }
	for _, k := range p.keys() {
		if retired(k.Policy) {
			p.drop(k)
		}
	}
	for k, pol := range p.allPolicies() {
		if !pol.Gone() && retired(pol.Name) {
			p.policies[k] = nil
			p.names = nil
		}
	}
}

// lastActivity returns when each policy was listed last, or something of it happened:
// one with an unfinished session is active at the given time.
func (p *Pass) lastActivity(at time.Time) map[string]time.Time {
	last := make(map[string]time.Time)
	note := func(policy string, t time.Time) {
		if t.After(last[policy]) {
			last[policy] = t
		}
	}
	for _, pol := range p.allPolicies() {
		note(pol.Name, pol.Listed)
	}
	for _, k := range p.keys() {
		for _, c := range p.seriesOf(k).Counters {
			note(k.Policy, c.End)
			note(k.Policy, c.Born)
		}
	}
	for _, u := range p.Unfinished() {
		note(u.Policy, at)
	}
	return last
}
