// The policies that the appliance lists.

package ledger

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/vbaws"
)

// Listed takes in a listing of a workload's policies, made at the given time of the
// appliance's clock. If it is whole, a policy that it lacks is missing.
func (p *Pass) Listed(workload string, listing []vbaws.Policy, whole bool, at time.Time) {
	p.names = nil
	present := make(map[PolicyKey]bool, len(listing))
	for _, l := range listing {
		k := PolicyKey{Workload: workload, ID: l.ID}
		present[k] = true
		p.listedPolicy(k, l, at)
	}
	for k, old := range p.allPolicies() {
		if whole && k.Workload == workload && !present[k] && !old.Gone() {
			p.editPolicy(k).Missing++
		}
	}
}

func (p *Pass) listedPolicy(k PolicyKey, l vbaws.Policy, at time.Time) {
	day := p.now.Truncate(oneDay)
	pol := Policy{PolicyKey: k, Name: l.Name, Enabled: l.Enabled, Schedule: l.Schedule, Listed: day}
	old := p.policy(k)
	if old != nil {
		if old.Name != l.Name {
			// The old name goes as that of a policy that was removed.
			was := PolicyKey{Workload: k.Workload, ID: l.ID + " was " + old.Name}
			p.policies[was] = &Policy{PolicyKey: was, Name: old.Name, Missing: GoneAfter, Listed: day}
		}
		// Under another name, and after it was gone, it has no gauges yet.
		pol.LookedUp = old.LookedUp && old.Name == l.Name && !old.Gone()
		if old.Schedule.Equal(pol.Schedule) {
			pol.Schedule, pol.Since = old.Schedule, old.Since
		}
	}
	switch {
	// When the filter matches it again, it is new.
	case !pol.Enabled, !p.l.opts.Filter.matches(vbaws.TypePolicy, l.Name):
		pol.Since = time.Time{}
	case pol.Since.IsZero() || pol.Since.After(at):
		pol.Since = at.UTC().Truncate(time.Second)
	}
	if old == nil || pol != *old {
		p.policies[k] = &pol
	}
}

// editPolicy returns a copy of a known policy for this pass to change.
func (p *Pass) editPolicy(k PolicyKey) *Policy {
	pol := *p.policy(k)
	p.policies[k] = &pol
	return &pol
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

// ToLookUp returns the policies whose newest sessions were not asked for.
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

// LookedUp records that the newest sessions of a policy were asked for.
func (p *Pass) LookedUp(k PolicyKey) {
	if old := p.policy(k); old != nil && !old.LookedUp {
		p.editPolicy(k).LookedUp = true
	}
}

// SetZone takes in the name of the appliance's time zone, at the given time of its
// clock. If it was another, schedules start again: nothing was due by the new one before.
func (p *Pass) SetZone(name string, at time.Time) {
	if p.meta.Zone == name {
		return
	}
	if p.meta.Zone != "" {
		for k, old := range p.allPolicies() {
			if !old.Since.IsZero() {
				p.editPolicy(k).Since = at.UTC().Truncate(time.Second)
			}
		}
	}
	p.editMeta().Zone = name
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
