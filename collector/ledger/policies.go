// The policies that the appliance lists.

package ledger

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// Listed takes in a listing of a workload's policies, made at the given time of the
// appliance's clock. If it is whole, a policy that it lacks is missing.
func (tx *Tx) Listed(workload string, listing []vbaws.Policy, whole bool, at time.Time) {
	tx.names = nil
	present := make(map[PolicyKey]bool, len(listing))
	for _, l := range listing {
		k := PolicyKey{Workload: workload, ID: l.ID}
		present[k] = true
		tx.listedPolicy(k, l, at)
	}
	for k, old := range tx.allPolicies() {
		if whole && k.Workload == workload && !present[k] && !old.Gone() {
			tx.editPolicy(k).Missing++
		}
	}
}

func (tx *Tx) listedPolicy(k PolicyKey, l vbaws.Policy, at time.Time) {
	day := tx.now.Truncate(oneDay)
	at, inDoubt := tx.seenAt(at)
	pol := Policy{PolicyKey: k, Name: l.Name, Enabled: l.Enabled, Schedule: l.Schedule, Listed: day}
	old := tx.policy(k)
	if old != nil {
		if old.Name != l.Name {
			// The old name goes as that of a policy that was removed.
			was := PolicyKey{Workload: k.Workload, ID: l.ID + " was " + old.Name}
			tx.policies[was] = &Policy{PolicyKey: was, Name: old.Name, Missing: GoneAfter, Listed: day}
		}
		// Under another name, and after it was gone, it has no gauges yet.
		pol.LookedUp = old.LookedUp && old.Name == l.Name && !old.Gone()
		pol.Decided, pol.DisabledSince = old.Decided, old.DisabledSince
		pol.Former = formerOf(old, l.Name, at)
		pol.keepSchedule(old)
	}
	switch {
	// When the filter matches it again, it is new.
	case !pol.Enabled, !tx.l.opts.Filter.matches(vbaws.TypePolicy, l.Name):
		pol.Since, pol.InitialSync = time.Time{}, false
	case pol.Since.IsZero() || pol.Since.After(at) && !inDoubt:
		pol.Since = at.UTC().Truncate(time.Second)
		// The first inventory follows the poll that completed the initial sync.
		pol.InitialSync = old == nil && (!tx.Synced() || tx.meta.SyncedAt.Equal(tx.now))
	}
	switch {
	case pol.Enabled:
		pol.DisabledSince = time.Time{}
	case old != nil && old.Enabled || pol.DisabledSince.After(at) && !inDoubt:
		pol.DisabledSince = at.UTC().Truncate(time.Second)
	}
	if old == nil || !reflect.DeepEqual(&pol, old) {
		tx.policies[k] = &pol
	}
}

// seenAt returns when something was seen, at the given time of the appliance's clock. If
// that clock is in doubt, it is no earlier than the last judgement: what was not there
// then has not been due before.
func (tx *Tx) seenAt(at time.Time) (seen time.Time, inDoubt bool) {
	if inDoubt = tx.meta.Clock.InDoubt(tx.now, at); inDoubt && at.Before(tx.meta.JudgedAt) {
		at = tx.meta.JudgedAt
	}
	return at, inDoubt
}

// keepSchedule keeps what is known of the schedule of old if it has not changed: a
// schedule that can't be read for a while is taken to be the same.
func (p *Policy) keepSchedule(old *Policy) {
	switch readable := old.Readable(); {
	case old.Schedule.Equal(p.Schedule):
		p.Schedule, p.LastReadable = old.Schedule, old.LastReadable
	case p.Schedule != nil && p.Schedule.Unreadable != "":
		if readable != nil && readable.Unreadable == "" {
			p.LastReadable = readable
		}
	case readable.Equal(p.Schedule):
		p.Schedule = readable
	default:
		return
	}
	p.Since, p.InitialSync = old.Since, old.InitialSync
}

// formerFor is how long the former name of a policy is of interest: longer than a policy
// that runs once a year waits for its next start.
const formerFor = 400 * oneDay

// formerOf returns the Former of a policy that is listed as name at the given time.
func formerOf(old *Policy, name string, at time.Time) *Former {
	switch {
	case old.Name != name:
		return &Former{Name: old.Name, Until: at.UTC().Truncate(time.Second)}
	case old.Former != nil && at.Sub(old.Former.Until) > formerFor:
		return nil
	}
	return old.Former
}

// keepFormer keeps the history of a series that is dropped for the policies that had its
// name.
func (tx *Tx) keepFormer(s *Series) {
	if s == nil || s.Key.Type != vbaws.TypePolicy || s.History.Empty() {
		return
	}
	for k, pol := range tx.allPolicies() {
		if pol.Former == nil || pol.Former.Name != s.Key.Policy || pol.Gone() {
			continue
		}
		f := *pol.Former
		f.Histories = maps.Clone(f.Histories)
		if f.Histories == nil {
			f.Histories = make(map[string]verdict.History)
		}
		f.Histories[s.Key.ExtendedType] = f.Histories[s.Key.ExtendedType].Merge(s.History)
		tx.editPolicy(k).Former = &f
	}
}

// Decide takes in the Verdict.Decided of a policy.
func (tx *Tx) Decide(k PolicyKey, d verdict.Decided) {
	if old := tx.policy(k); old != nil && !maps.EqualFunc(old.Decided, d, time.Time.Equal) {
		tx.editPolicy(k).Decided = d
	}
}

// JudgeAt notes that policies are judged by these changes at t of the appliance's clock,
// unless that can't be judged by.
func (tx *Tx) JudgeAt(t time.Time) {
	if tx.meta.Clock.ClosedAt.IsZero() {
		tx.editMeta().JudgedAt = t
	}
}

// ObserveClocks takes in what our clock and the appliance's show at a poll. What moves by
// less than driftKept is not worth a write.
func (tx *Tx) ObserveClocks(ours, appliance time.Time) {
	old := tx.meta.Clock
	g := old
	g.Poll(ours.UTC().Round(0), appliance)
	drift := (g.Offset - old.Offset).Abs()
	if old.Offset = g.Offset; old != g || drift > driftKept {
		tx.editMeta().Clock = g
	}
}

const driftKept = time.Minute

// editPolicy returns a copy of a known policy for this transaction to change.
func (tx *Tx) editPolicy(k PolicyKey) *Policy {
	pol := *tx.policy(k)
	tx.policies[k] = &pol
	return &pol
}

// HasPolicy reports whether the appliance lists a policy of that name.
func (tx *Tx) HasPolicy(name string) bool {
	if tx.names == nil {
		tx.names = make(map[string]bool)
		for _, pol := range livePolicies(tx.allPolicies(), anyPolicy) {
			tx.names[pol.Name] = true
		}
	}
	return tx.names[name]
}

// ToLookUp returns the policies whose newest sessions were not asked for.
func (tx *Tx) ToLookUp() []*Policy {
	return livePolicies(tx.allPolicies(), func(pol *Policy) bool { return !pol.LookedUp })
}

func (k PolicyKey) compare(o PolicyKey) int {
	return cmp.Or(strings.Compare(k.Workload, o.Workload), strings.Compare(k.ID, o.ID))
}

// LookedUp records that the newest sessions of a policy were asked for.
func (tx *Tx) LookedUp(k PolicyKey) {
	if old := tx.policy(k); old != nil && !old.LookedUp {
		tx.editPolicy(k).LookedUp = true
	}
}

// SetZone takes in the name of the appliance's time zone, at the given time of its
// clock. If it was another, schedules start again: nothing was due by the new one before.
func (tx *Tx) SetZone(name string, at time.Time) {
	if tx.meta.Zone == name {
		return
	}
	at, _ = tx.seenAt(at)
	if tx.meta.Zone != "" {
		for k, old := range tx.allPolicies() {
			if !old.Since.IsZero() {
				pol := tx.editPolicy(k)
				pol.Since, pol.InitialSync = at.UTC().Truncate(time.Second), false
			}
		}
	}
	tx.editMeta().Zone = name
}

func (tx *Tx) policy(k PolicyKey) *Policy { return look(tx.l.state.Policies, tx.policies, k) }

func (tx *Tx) allPolicies() map[PolicyKey]*Policy {
	return overlay(tx.l.state.Policies, tx.policies)
}

// goneNames returns the names of policies that are gone and match, and that no other
// policy has.
func goneNames(policies map[PolicyKey]*Policy, match func(*Policy) bool) map[string]bool {
	gone := make(map[string]bool)
	for _, pol := range policies {
		if pol.Gone() && match(pol) {
			gone[pol.Name] = true
		}
	}
	for _, pol := range policies {
		if !pol.Gone() {
			delete(gone, pol.Name)
		}
	}
	return gone
}

func anyPolicy(*Policy) bool { return true }

// livePolicies returns those that are not gone and match, in order.
func livePolicies(policies map[PolicyKey]*Policy, match func(*Policy) bool) []*Policy {
	var live []*Policy
	for _, pol := range policies {
		if !pol.Gone() && match(pol) {
			live = append(live, pol)
		}
	}
	slices.SortFunc(live, func(a, b *Policy) int { return a.compare(b.PolicyKey) })
	return live
}
