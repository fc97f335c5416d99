package poller

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/vbaws"
)

// This file compares the schedules of policies with their sessions.

// duties is the last PolicySet and what it was made of.
type duties struct {
	cfg *Config
	api API
	log log.Logger

	set  *PolicySet
	view *ledger.View
	// from and until are between which times of the appliance's clock it holds.
	from, until time.Time
	// revision is the one whose kinds of sessions the set has.
	revision string
	// zone is that of zoneName.
	zone     *time.Location
	zoneName string
	// plans are kept since it takes time to find the longest gap of a schedule.
	plans map[planKey]*schedule.Plan
	// unreadable is what was logged of schedules that could not be understood, by
	// workload and policy id.
	unreadable map[string]map[string]string
}

type planKey struct {
	schedule *vbaws.Schedule
	zone     *time.Location
}

// policySet says what is due and what was done, as of now by the appliance's clock.
func (d *duties) policySet(view *ledger.View, now time.Time) *PolicySet {
	revision := d.api.APIVersion()
	if d.view == view && d.revision == revision && !now.Before(d.from) && now.Before(d.until) {
		return d.set
	}
	d.revision = revision
	zone := d.zoneOf(view.Zone)
	old := d.plans
	d.plans = make(map[planKey]*schedule.Plan)
	until := now.Add(24 * time.Hour)
	set := &PolicySet{}
	rows := make(map[[2]string]*PolicyRow)
	for _, pol := range view.Policies {
		if !d.cfg.Wanted.policy(pol.Name) || d.cfg.Ledger.MaxPolicies > 0 && len(set.All) >= d.cfg.Ledger.MaxPolicies {
			continue
		}
		set.All = append(set.All, PolicyInfo{Name: pol.Name, ID: pol.ID, Workload: pol.Workload})
		row := rows[[2]string{pol.Name, pol.Workload}]
		if row == nil {
			row = &PolicyRow{Name: pol.Name, Workload: pol.Workload}
			rows[[2]string{pol.Name, pol.Workload}] = row
		}
		row.Enabled = row.Enabled || pol.Enabled
		if pol.Schedule != nil && pol.Schedule.Unreadable != "" {
			set.Unreadable++
			row.Unreadable = cmp.Or(row.Unreadable, pol.Schedule.Unreadable)
		}
		plan := d.plan(pol.Schedule, zone, old)
		done := successesIn(view, pol.Name)
		for _, kind := range d.kindsOf(plan, done) {
			k := PolicyKind{Kind: kind, Success: done.newest(kind)}
			k.Interval, _ = plan.LongestGap(kind)
			if pol.Enabled && !pol.Since.IsZero() && zone != nil {
				if due, ok := plan.LastDue(kind, now); ok && !due.Before(pol.Since) {
					k.Due = due
				}
				if next, ok := plan.Next(kind, now); ok && next.Before(until) {
					until = next
				}
			}
			row.merge(k)
		}
	}
	for _, row := range rows {
		slices.SortFunc(row.Kinds, func(a, b PolicyKind) int { return cmp.Compare(a.Kind, b.Kind) })
		set.Rows = append(set.Rows, *row)
	}
	slices.SortFunc(set.Rows, func(a, b PolicyRow) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Workload, b.Workload))
	})
	d.set, d.view, d.from, d.until = set, view, now, until
	return set
}

// plan returns the plan of a schedule, one that was made before where there is
// one. Without a zone it is good for its gaps alone.
func (d *duties) plan(s *vbaws.Schedule, zone *time.Location, old map[planKey]*schedule.Plan) *schedule.Plan {
	key := planKey{s, zone}
	plan := d.plans[key]
	if plan == nil {
		plan = old[key]
	}
	if plan == nil {
		plan = schedule.New(s, cmp.Or(zone, time.UTC))
	}
	d.plans[key] = plan
	return plan
}

// merge takes in what is said of another policy of the same name and workload.
func (r *PolicyRow) merge(k PolicyKind) {
	i := slices.IndexFunc(r.Kinds, func(o PolicyKind) bool { return o.Kind == k.Kind })
	if i < 0 {
		r.Kinds = append(r.Kinds, k)
		return
	}
	o := &r.Kinds[i]
	if o.Interval == 0 || k.Interval != 0 && k.Interval < o.Interval {
		o.Interval = k.Interval
	}
	if k.Due.After(o.Due) {
		o.Due = k.Due
	}
	// Sessions only tell the name: the newest success is that of both.
}

// kindsOf returns the kinds of runs that something is said of: those that are
// scheduled and those that were done; the empty kind alone where sessions don't
// say; none where sessions of policies are left out, so that nothing is ever known to
// be done.
func (d *duties) kindsOf(plan *schedule.Plan, done successes) []schedule.Kind {
	if !d.cfg.Wanted.session(vbaws.TypePolicy) {
		return nil
	}
	revision := d.api.APIVersion() // empty before the first pass
	if revision != "" && !vbaws.TypesSessions(revision) || revision == "" && done.untyped {
		return []schedule.Kind{schedule.Whole}
	}
	kinds := slices.Clone(plan.Kinds())
	for k := range done.ends {
		if k != schedule.Whole && !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	if _, mute := done.ends[schedule.Whole]; mute && len(kinds) == 0 {
		kinds = append(kinds, schedule.Whole)
	}
	slices.Sort(kinds)
	return kinds
}

// successes are the successes of a policy's sessions.
type successes struct {
	// known says that there is any session.
	known bool
	// untyped says that no session has an extended type, and there is one: so it is
	// before API version 1.1.
	untyped bool
	// ends are the newest ends by kind; zero for a kind that never succeeded.
	ends map[schedule.Kind]time.Time
}

func successesIn(view *ledger.View, policy string) successes {
	done := successes{ends: make(map[schedule.Kind]time.Time)}
	i, _ := slices.BinarySearchFunc(view.Series, ledger.Key{Policy: policy, Type: vbaws.TypePolicy}, func(s ledger.SeriesView, k ledger.Key) int {
		return s.Key.Compare(k)
	})
	typed := false
	for ; i < len(view.Series); i++ {
		s := view.Series[i]
		if s.Key.Policy != policy || s.Key.Type != vbaws.TypePolicy {
			break
		}
		done.known = done.known || !s.Last.End.IsZero()
		typed = typed || s.Key.ExtendedType != ""
		done.untyped = !typed
		kind := schedule.KindOf(s.Key.ExtendedType)
		if kind == schedule.None {
			continue
		}
		for _, c := range s.Counters {
			if succeeded(c.Status) && !c.End.Before(done.ends[kind]) {
				done.ends[kind] = c.End
			}
		}
	}
	return done
}

// newest returns the newest success that satisfies kind.
func (s successes) newest(kind schedule.Kind) time.Time {
	var newest time.Time
	for by, at := range s.ends {
		if schedule.Satisfies(kind, by) && at.After(newest) {
			newest = at
		}
	}
	return newest
}

func succeeded(status string) bool {
	return status == vbaws.StatusSucceeded || status == vbaws.StatusWarning
}

// noteUnreadable notes the schedules of a workload's policies that can't be
// understood, each once, until another reason is found.
func (p *poll) noteUnreadable(workload string, policies []vbaws.Policy) {
	logged := make(map[string]string)
	lines := 0
	for _, pol := range policies {
		if pol.Schedule == nil || pol.Schedule.Unreadable == "" || !p.cfg.Wanted.policy(pol.Name) {
			continue
		}
		reason := pol.Schedule.Unreadable
		if p.known.duties.unreadable[workload][pol.ID] != reason {
			if lines++; lines > unreadableLines {
				continue // with the next listing
			}
			p.note("a schedule can't be understood: no run is due by that part of it",
				"policy", pol.Name, "workload", workload, "err", reason)
		}
		logged[pol.ID] = reason
	}
	if p.known.duties.unreadable == nil {
		p.known.duties.unreadable = make(map[string]map[string]string)
	}
	p.known.duties.unreadable[workload] = logged
}

// unreadableLines bounds the lines of noteUnreadable for one listing.
const unreadableLines = 100

// zoneOf returns the zone that schedules are in; nil where nobody told. It is the
// same pointer for as long as the name is the same: plans are kept by it.
func (d *duties) zoneOf(name string) *time.Location {
	if name == "" {
		return d.cfg.TimeZone
	}
	if name != d.zoneName {
		d.zoneName = name
		loc, err := schedule.Location(name)
		if err != nil {
			level.Warn(d.log).Log("msg", "the appliance's time zone is not known here", "time_zone", name, "err", err)
			loc = d.cfg.TimeZone
		}
		d.zone = loc
	}
	return d.zone
}
