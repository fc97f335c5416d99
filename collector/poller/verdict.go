package poller

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// This file judges the policies: it gathers what the ledger has of each, keeps the
// verdicts, and says when they have to be looked at again.

// verdicts is the last PolicySet and what it was made of.
type verdicts struct {
	cfg *Config
	api API
	log log.Logger

	set  *PolicySet
	view *ledger.View
	// from and until are between which times of the appliance's clock it holds.
	from, until time.Time
	// apiVersion is the one whose kinds of sessions the set has.
	apiVersion string
	// policies are those of the set, by name and workload.
	policies map[policyName]*judged
	// undecided are the workloads whose policies must be listed before a start is overdue,
	// and listingFailed is when that failed last.
	undecided     map[string]bool
	listingFailed time.Time
	// zone is that of zoneName.
	zone     *time.Location
	zoneName string
	// plans are kept since it takes time to find the longest gap of a schedule.
	plans map[planKey]*schedule.Plan
	// unreadable is what was logged of schedules that could not be understood, by
	// workload and policy id.
	unreadable map[string]map[string]string
}

type policyName struct{ name, workload string }

// facts are what a policy is judged by, beside the time.
type facts struct {
	members  []*ledger.Policy
	sessions []ledger.SeriesView
	zone     *time.Location
	typed    bool
	// shared says that policies of another workload have the same name.
	shared bool
}

func (f *facts) equal(o *facts) bool {
	return slices.Equal(f.members, o.members) && f.zone == o.zone && f.typed == o.typed && f.shared == o.shared &&
		slices.EqualFunc(f.sessions, o.sessions, func(a, b ledger.SeriesView) bool {
			return a.Series == b.Series && slices.EqualFunc(a.Starts, b.Starts, time.Time.Equal)
		})
}

// judged is a policy and its last verdict.
type judged struct {
	facts
	row         PolicyRow
	from, until time.Time
	undecided   bool
}

type planKey struct {
	schedule *vbaws.Schedule
	zone     *time.Location
}

// judge judges the policies as of now by the appliance's clock; fresh has the workloads
// whose policies were listed since the last call. It looks at those alone whose facts
// have changed or whose verdict has run out.
func (d *verdicts) judge(view *ledger.View, now time.Time, fresh map[string]bool) *PolicySet {
	apiVersion := d.api.APIVersion()
	if d.view == view && d.apiVersion == apiVersion && !now.Before(d.from) && now.Before(d.until) && !d.decides(fresh) {
		return d.set
	}
	d.apiVersion = apiVersion
	zone := d.zoneOf(view.Zone)
	all, list := d.gather(view, zone)
	oldPlans, oldPolicies := d.plans, d.policies
	d.plans, d.policies = make(map[planKey]*schedule.Plan), all
	d.until, d.undecided = now.Add(24*time.Hour), make(map[string]bool)
	set := &PolicySet{All: list}
	for name, p := range all {
		old := oldPolicies[name]
		if old != nil && old.facts.equal(&p.facts) && !now.Before(old.from) && now.Before(old.until) && !(old.undecided && fresh[name.workload]) {
			*p = *old
			for _, m := range p.members {
				d.plan(m.Schedule, zone, oldPlans)
				d.plan(m.Readable(), zone, oldPlans)
			}
		} else {
			p.from, p.until = now, now.Add(24*time.Hour)
			d.judgePolicy(p, name, now, !fresh[name.workload], oldPlans)
		}
		if p.until.Before(d.until) {
			d.until = p.until
		}
		if p.undecided {
			d.undecided[name.workload] = true
		}
		for _, m := range p.members {
			if m.Schedule != nil && m.Schedule.Unreadable != "" {
				set.Unreadable++
			}
		}
		set.Rows = append(set.Rows, p.row)
	}
	slices.SortFunc(set.Rows, func(a, b PolicyRow) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Workload, b.Workload))
	})
	d.set, d.view, d.from = set, view, now
	return set
}

// decides reports whether a fresh listing lets something be decided.
func (d *verdicts) decides(fresh map[string]bool) bool {
	for workload := range d.undecided {
		if fresh[workload] {
			return true
		}
	}
	return false
}

// gather returns the facts of all policies, by name and workload, and the policies that
// are listed. A policy that is not listed but has sessions is one without workload.
func (d *verdicts) gather(view *ledger.View, zone *time.Location) (all map[policyName]*judged, list []PolicyInfo) {
	all = make(map[policyName]*judged)
	byName := make(map[string][]*judged)
	get := func(name policyName) *judged {
		p := all[name]
		if p == nil {
			p = &judged{facts: facts{zone: zone}}
			all[name] = p
			byName[name.name] = append(byName[name.name], p)
		}
		return p
	}
	over := make(map[string]bool) // names beyond the limit
	for _, pol := range view.Policies {
		if !d.cfg.Ledger.Filter.MatchesPolicy(pol.Name) || d.cfg.Ledger.MaxPolicies > 0 && len(list) >= d.cfg.Ledger.MaxPolicies {
			over[pol.Name] = true
			continue
		}
		list = append(list, PolicyInfo{Name: pol.Name, ID: pol.ID, Workload: pol.Workload})
		p := get(policyName{pol.Name, pol.Workload})
		p.members = append(p.members, pol)
	}
	for _, s := range view.Series {
		if s.Key.Type != vbaws.TypePolicy || s.Key.Policy == "" {
			continue
		}
		if byName[s.Key.Policy] == nil && !over[s.Key.Policy] && !view.Gone[s.Key.Policy] {
			get(policyName{s.Key.Policy, ""})
		}
		for _, p := range byName[s.Key.Policy] {
			p.sessions = append(p.sessions, s)
		}
	}
	for _, same := range byName {
		for _, p := range same {
			p.shared = len(same) > 1
			p.typed = d.typed(p.sessions)
		}
	}
	for name, p := range all {
		// Those under a former name are of another row as well, while the series is there.
		for _, m := range p.members {
			if m.Former != nil && m.Former.Name != name.name {
				p.sessions = append(p.sessions, sessionsOf(view, m.Former.Name)...)
			}
		}
	}
	return all, list
}

// typed reports whether sessions say what they make: from API 1.1 on. Before the first
// poll those that are known decide.
func (d *verdicts) typed(sessions []ledger.SeriesView) bool {
	if d.apiVersion != "" {
		return vbaws.TypesSessions(d.apiVersion)
	}
	return len(sessions) == 0 || slices.ContainsFunc(sessions, func(s ledger.SeriesView) bool { return s.Key.ExtendedType != "" })
}

// sessionsOf returns the series of type Policy of a policy.
func sessionsOf(view *ledger.View, policy string) []ledger.SeriesView {
	key := ledger.Key{Policy: policy, Type: vbaws.TypePolicy}
	i, _ := slices.BinarySearchFunc(view.Series, key, func(s ledger.SeriesView, k ledger.Key) int { return s.Key.Compare(k) })
	end := i
	for end < len(view.Series) && view.Series[end].Key.Policy == policy && view.Series[end].Key.Type == vbaws.TypePolicy {
		end++
	}
	return view.Series[i:end:end]
}

// judgePolicy fills in what is said of p.
func (d *verdicts) judgePolicy(p *judged, name policyName, now time.Time, stale bool, oldPlans map[planKey]*schedule.Plan) {
	p.row = PolicyRow{Name: name.name, Workload: name.workload, Unlisted: len(p.members) == 0, Enabled: len(p.members) == 0}
	policy := verdict.Policy{Decided: make(verdict.Decided)}
	own := make([]ledger.SeriesView, 0, len(p.sessions))
	for _, s := range p.sessions {
		if s.Key.Policy == name.name && (!p.shared || verdict.Concerns(name.workload, s.Key.ExtendedType)) {
			own = append(own, s)
			policy.Sessions = append(policy.Sessions, verdict.Sessions{
				ExtendedType: s.Key.ExtendedType, Finished: s.History, Running: s.Starts,
			})
		}
	}
	done := successesIn(own)
	judges := d.cfg.Ledger.Filter.MatchesType(vbaws.TypePolicy)
	for _, pol := range p.members {
		p.row.Enabled = p.row.Enabled || pol.Enabled
		unreadable := pol.Schedule != nil && pol.Schedule.Unreadable != ""
		if unreadable {
			p.row.Unreadable = cmp.Or(p.row.Unreadable, pol.Schedule.Unreadable)
		}
		member := verdict.Member{
			Enabled: pol.Enabled, Since: pol.Since, InitialSync: pol.InitialSync, DisabledSince: pol.DisabledSince,
			Unreadable: unreadable, ZoneUnknown: p.zone == nil,
		}
		plan := d.plan(pol.Schedule, p.zone, oldPlans)
		if judges {
			member.Plan = d.plan(pol.Readable(), p.zone, oldPlans)
			policy.Sessions = append(policy.Sessions, former(pol, &member, p.sessions)...)
		}
		policy.Members = append(policy.Members, member)
		for kind, at := range pol.Decided {
			if at.After(policy.Decided[kind]) {
				policy.Decided[kind] = at
			}
		}
		d.mergeDue(p, pol, plan, done, now)
	}
	if !judges {
		policy.Sessions = nil
	}
	v := verdict.Judge(&policy, verdict.Conditions{Now: now, Grace: d.cfg.OverdueGrace, Stale: stale, Typed: p.typed})
	if !v.Next.IsZero() && v.Next.Before(p.until) {
		p.until = v.Next
	}
	p.undecided = v.Undecided
	p.row.Verdict = v
	for _, k := range v.Kinds {
		p.row.kind(k.Kind).Verdict = k
	}
	slices.SortFunc(p.row.Kinds, func(a, b PolicyKind) int { return cmp.Compare(a.Kind, b.Kind) })
}

// mergeDue puts what a policy's schedule says of its runs into the row.
func (d *verdicts) mergeDue(p *judged, pol *ledger.Policy, plan *schedule.Plan, done successes, now time.Time) {
	for _, kind := range d.kindsOf(plan, done, p.typed) {
		k := p.row.kind(kind)
		k.Success = done.newest(kind) // sessions have only the name: it is that of all
		if text := schedule.Words(pol.Schedule, kind, p.zone); !slices.Contains(strings.Split(k.Schedule, " or "), text) {
			k.Schedule = strings.TrimPrefix(k.Schedule+" or "+text, " or ")
		}
		if gap, ok := plan.LongestGap(kind); ok && (k.Interval == 0 || gap < k.Interval) {
			k.Interval = gap
		}
		if !pol.Enabled || pol.Since.IsZero() || p.zone == nil {
			continue
		}
		if due, ok := plan.LastDue(kind, now); ok && !due.Before(pol.Since) && due.After(k.Due) {
			k.Due = due
		}
		if next, ok := plan.Next(kind, now); ok && next.Before(p.until) {
			p.until = next
		}
	}
}

// kind returns what is said of a kind, to be filled in.
func (r *PolicyRow) kind(kind schedule.Kind) *PolicyKind {
	i := slices.IndexFunc(r.Kinds, func(o PolicyKind) bool { return o.Kind == kind })
	if i < 0 {
		i = len(r.Kinds)
		r.Kinds = append(r.Kinds, PolicyKind{Kind: kind})
	}
	return &r.Kinds[i]
}

// former returns the sessions under the former name of a policy. They count until the
// first start under the new one.
func former(pol *ledger.Policy, m *verdict.Member, all []ledger.SeriesView) []verdict.Sessions {
	f := pol.Former
	if f == nil {
		return nil
	}
	before := f.Until
	if m.Plan.Timed() && !m.ZoneUnknown {
		if next, ok := m.Plan.Next(schedule.Whole, f.Until); ok {
			before = next
		}
	} else if gap, ok := m.Plan.LongestGap(schedule.Whole); ok {
		before = before.Add(gap)
	}
	var sessions []verdict.Sessions
	for extendedType, h := range f.Histories {
		sessions = append(sessions, verdict.Sessions{ExtendedType: extendedType, Finished: h, Before: before})
	}
	for _, s := range all {
		if s.Key.Policy == f.Name && s.Key.Policy != pol.Name {
			sessions = append(sessions, verdict.Sessions{
				ExtendedType: s.Key.ExtendedType, Finished: s.History, Running: s.Starts, Before: before,
			})
		}
	}
	slices.SortFunc(sessions, func(a, b verdict.Sessions) int { return strings.Compare(a.ExtendedType, b.ExtendedType) })
	return sessions
}

// plan returns the plan of a schedule, the one that was made before if there is one.
// Without a zone it is good for its gaps alone.
func (d *verdicts) plan(s *vbaws.Schedule, zone *time.Location, old map[planKey]*schedule.Plan) *schedule.Plan {
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

// kindsOf returns the kinds that last_due and last_success are exposed of: those that are
// scheduled and those that were done; the empty kind alone if sessions don't say; none if
// sessions of policies are left out, so that nothing is ever known to be done.
func (d *verdicts) kindsOf(plan *schedule.Plan, done successes, typed bool) []schedule.Kind {
	if !d.cfg.Ledger.Filter.MatchesType(vbaws.TypePolicy) {
		return nil
	}
	if !typed {
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
	// ends are the newest ends by kind; zero for a kind that never succeeded.
	ends map[schedule.Kind]time.Time
}

func successesIn(sessions []ledger.SeriesView) successes {
	done := successes{ends: make(map[schedule.Kind]time.Time)}
	for _, s := range sessions {
		done.known = done.known || !s.Last.End.IsZero()
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

// judge judges the policies after a poll or an inventory was saved, and saves what was
// decided. If a start would be overdue, and the policies were not listed by done, it lists
// them first, if mayList. A verdict is not published before it is saved.
func (p *Poller) judge(ctx context.Context, done *poll, mayList bool) error {
	d := &p.known.verdicts
	now := p.known.applianceTime(p.cfg.Now())
	if clock := p.ledger.Meta().Clock; !clock.ClosedAt.IsZero() && d.set != nil {
		return nil // the appliance's clock was set: verdicts stay as they were
	}
	old := d.set
	d.judge(p.ledger.View(), now, done.fresh)
	if mayList && p.mustList(done) {
		poll := p.newPoll(done.start)
		within(ctx, func(ctx context.Context) {
			_, _ = poll.listPolicies(ctx) // what failed is an endpoint error
			poll.dropGone()
		})
		if ctx.Err() != nil {
			return nil // what was cut off says nothing
		}
		if err := p.save(poll.tx); err != nil {
			return err
		}
		done.allListed, done.fresh = done.allListed || poll.allListed, poll.fresh
		d.judge(p.ledger.View(), now, done.fresh)
		if len(d.undecided) > 0 {
			d.listingFailed = done.start
		}
	}
	if d.set == old {
		return nil
	}
	tx := p.ledger.Begin(done.start)
	for _, j := range d.policies {
		for _, m := range j.members {
			tx.Decide(m.PolicyKey, j.row.Verdict.Decided)
		}
	}
	if p.ledger.Meta().JudgedAt.Before(p.known.applianceTime(done.start)) {
		tx.JudgeAt(now) // time alone made them different
	}
	if tx.Changes().Empty() {
		return nil
	}
	if err := p.save(tx); err != nil {
		d.until = time.Time{} // decide again
		return err
	}
	d.judge(p.ledger.View(), now, nil)
	return nil
}

// mustList reports whether policies must be listed to decide on a start. If that failed,
// it waits for the next inventory.
func (p *Poller) mustList(done *poll) bool {
	d := &p.known.verdicts
	if since := done.start.Sub(d.listingFailed); 0 <= since && since < p.cfg.InventoryInterval {
		return false
	}
	for workload := range d.undecided {
		if !done.fresh[workload] {
			return true
		}
	}
	return false
}

// noteUnreadable notes the schedules of a workload's policies that can't be
// understood, each once, until another reason is found.
func (p *poll) noteUnreadable(workload string, policies []vbaws.Policy) {
	logged := make(map[string]string)
	lines := 0
	for _, pol := range policies {
		if pol.Schedule == nil || pol.Schedule.Unreadable == "" || !p.cfg.Ledger.Filter.MatchesPolicy(pol.Name) {
			continue
		}
		reason := pol.Schedule.Unreadable
		if p.known.verdicts.unreadable[workload][pol.ID] != reason {
			if lines++; lines > unreadableLines {
				continue // with the next listing
			}
			p.note("part of a schedule is not understood and not monitored",
				"policy", pol.Name, "workload", workload, "err", reason)
		}
		logged[pol.ID] = reason
	}
	if p.known.verdicts.unreadable == nil {
		p.known.verdicts.unreadable = make(map[string]map[string]string)
	}
	p.known.verdicts.unreadable[workload] = logged
}

// unreadableLines bounds the lines of noteUnreadable for one listing.
const unreadableLines = 100

// zoneOf returns the zone that schedules are in; nil if it is not known. It is the
// same pointer for as long as the name is the same: plans are kept by it.
func (d *verdicts) zoneOf(name string) *time.Location {
	if name == "" {
		return d.cfg.TimeZone
	}
	if name != d.zoneName {
		d.zoneName = name
		loc, err := schedule.Location(name)
		if err != nil {
			level.Warn(d.log).Log("msg", "unknown time zone of the appliance", "time_zone", name, "err", err)
			loc = d.cfg.TimeZone
		}
		d.zone = loc
	}
	return d.zone
}
