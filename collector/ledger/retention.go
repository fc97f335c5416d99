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
func (tx *Tx) Agreed(at time.Time) time.Time {
	day, found := tx.l.index.NewestDay()
	if !found {
		return time.Time{}
	}
	return slices.MinFunc([]time.Time{tx.now, at, StartOfDay(day).Add(oneDay)}, time.Time.Compare)
}

// Forget removes the seen sessions of before the given time. The cutoff moves behind the
// newest of them, so that none can look new.
func (tx *Tx) Forget(before time.Time) error {
	day, found, err := tx.l.index.Forgettable(before)
	if err != nil || !found {
		return err
	}
	tx.forget = before
	for k, pol := range tx.allPolicies() {
		if pol.Gone() && pol.Listed.Before(before) {
			tx.policies[k] = nil
		}
	}
	tx.RaiseCutoff(StartOfDay(day).Add(oneDay))
	return nil
}

// DropGone removes the series of policies that the appliance no longer has; whole says
// that all workloads' listings were taken in. Series of which a session still runs
// stay until it has finished, and what they counted then was exposed for a while.
func (tx *Tx) DropGone(whole bool) {
	gone := goneNames(tx.allPolicies(), func(pol *Policy) bool {
		// A name that was gone before may be that of a new policy, of a workload that could
		// not be listed.
		was := tx.l.state.Policies[pol.PolicyKey]
		return whole || was == nil || !was.Gone() || tx.l.leaving[pol.Name]
	})
	tx.leaving = make(map[string]bool)
	if len(gone) == 0 {
		return
	}
	runs := make(map[Key]bool)
	for _, u := range tx.Unfinished() {
		runs[standIn(u.key(), tx.hasSeries)] = true
	}
	for _, k := range tx.keys() {
		switch {
		case !gone[k.Policy] || k.Policy == "":
		case runs[k] || !tx.wasShown(k):
			tx.leaving[k.Policy] = true
		default:
			tx.keepFormer(tx.seriesOf(k))
			tx.series[k] = nil
		}
	}
}

// shownFor is how long a count is exposed at least: some scrapes.
const shownFor = 5 * time.Minute

func recent(at, now time.Time) bool { d := now.Sub(at); return 0 <= d && d < shownFor }

// wasShown reports whether every scraper has seen what a series counted. An earlier
// process may have counted just before it ended.
func (tx *Tx) wasShown(k Key) bool {
	if _, changed := tx.series[k]; changed {
		return false
	}
	// A poll that goes on with the next transaction changed it after its own begin.
	if at, ok := tx.l.changed[k]; ok && tx.now.Sub(at) < shownFor {
		return false
	}
	if !tx.l.opts.OneShot && recent(tx.l.opened, tx.now) {
		return false
	}
	return !slices.ContainsFunc(tx.seriesOf(k).Counters, func(c *Counter) bool { return c.Held && c.Count > 0 })
}

// Retire removes the policies, and their series, that no listing had and of which
// nothing was known to happen for that long before at, by the appliance's clock, and
// before Agreed: if policies can't be listed, that is how one shows that it is gone.
func (tx *Tx) Retire(at time.Time, retention time.Duration) {
	oldest := tx.Agreed(at).Add(-retention)
	active := tx.lastActivity(at)
	retired := func(policy string) bool { return policy != "" && active[policy].Before(oldest) }
	for _, k := range tx.keys() {
		if retired(k.Policy) {
			tx.series[k] = nil
		}
	}
	for k, pol := range tx.allPolicies() {
		if !pol.Gone() && retired(pol.Name) {
			tx.policies[k] = nil
			tx.names = nil
		}
	}
}

// lastActivity returns when each policy was listed last, or something of it happened:
// one with an unfinished session is active at the given time.
func (tx *Tx) lastActivity(at time.Time) map[string]time.Time {
	last := make(map[string]time.Time)
	note := func(policy string, t time.Time) {
		if t.After(last[policy]) {
			last[policy] = t
		}
	}
	for _, pol := range tx.allPolicies() {
		note(pol.Name, pol.Listed)
	}
	for _, k := range tx.keys() {
		for _, c := range tx.seriesOf(k).Counters {
			note(k.Policy, c.End)
			note(k.Policy, c.Born)
		}
	}
	for _, u := range tx.Unfinished() {
		note(u.Policy, at)
	}
	return last
}
