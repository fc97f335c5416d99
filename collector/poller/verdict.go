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
// verdicts, and decides when to judge again.

// verdicts is the last PolicySet and what it was made of.
type verdicts struct {
	cfg *Config
	api API
	log log.Logger

	set  *PolicySet
	view *ledger.View
	// from and until are between which times of the appliance's clock the set holds; a zero
	// until is no end.
	from, until time.Time
	// undecided has the workloads whose policies must be listed before a start is overdue.
	undecided map[string]bool
	// typed is set if sessions have an extended type.
	typed bool
	// zone is that of the schedules, and zoneName its name on the appliance; nil if it is not
	// known. Before the appliance returns one it is Config.TimeZone.
	zone     *time.Location
	zoneName string
	// policies are those of the set, by name and workload.
	policies map[policyName]*judged
	// listingFailed is when policies could not be listed last to decide on a start.
	listingFailed time.Time
	// plans are kept since it takes time to find the longest gap of a schedule.
	plans map[planKey]*schedule.Plan
	// unreadable is what was logged of schedules that could not be understood, by
	// workload and policy id.
	unreadable map[string]map[string]string
}

type policyName struct{ name, workload string }

type planKey struct {
	schedule *vbaws.Schedule
	zone     *time.Location
}

// judged is a policy, what it was judged by, and the verdict.
type judged struct {
	policyName
	members []*ledger.Policy
	// sessions are its own, and those under former names of its members.
	sessions []ledger.SeriesView
	row      PolicyRow
	// from is since when the verdict holds, by the appliance's clock.
	from time.Time
}

func (p *judged) sameFacts(o *judged) bool {
	return slices.Equal(p.members, o.members) && slices.EqualFunc(p.sessions, o.sessions, func(a, b ledger.SeriesView) bool {
		return a.Series == b.Series && slices.EqualFunc(a.Starts, b.Starts, time.Time.Equal)
	})
}

// holds reports whether the verdict on p, whose facts are the same, is still that of now;
// fresh is set if policies of its workload were listed.
func (p *judged) holds(now time.Time, fresh bool) bool {
	v := &p.row.Verdict
	return !now.Before(p.from) && (v.Next.IsZero() || now.Before(v.Next)) && !(v.Undecided && fresh)
}

// judge judges the policies as of now by the appliance's clock; fresh has the workloads
// whose policies were listed since the last call. It looks at those alone whose facts
// have changed or whose verdict has run out.
func (d *verdicts) judge(view *ledger.View, now time.Time, fresh map[string]bool) *PolicySet {
	typed, zone := d.sessionsTyped(view), d.zoneOf(view.Zone)
	if typed != d.typed || zone != d.zone {
		d.view, d.policies = nil, nil
	}
	if d.view == view && d.hold(now, fresh) {
		return d.set
	}
	if len(d.plans) > 4*len(view.Policies) { // most are of schedules that are no more
		d.plans = make(map[planKey]*schedule.Plan)
	}
	d.view, d.typed, d.zone = view, typed, zone
	d.from, d.until, d.undecided = now, time.Time{}, make(map[string]bool)
	old := d.policies
	d.set = &PolicySet{}
	d.policies, d.set.All = d.gather(view)
	for name, p := range d.policies {
		if was := old[name]; was != nil && was.sameFacts(p) && was.holds(now, fresh[name.workload]) {
			p.row, p.from = was.row, was.from
		} else {
			d.judgePolicy(p, now, !fresh[name.workload])
		}
		d.set.Rows = append(d.set.Rows, p.row)
		v := &p.row.Verdict
		if d.until.IsZero() || !v.Next.IsZero() && v.Next.Before(d.until) {
			d.until = v.Next
		}
		if v.Undecided {
			d.undecided[name.workload] = true
		}
	}
	for _, m := range d.set.All {
		if m.Schedule != nil && m.Schedule.Unreadable != "" {
			d.set.Unreadable++
		}
	}
	slices.SortFunc(d.set.Rows, func(a, b PolicyRow) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Workload, b.Workload))
	})
	return d.set
}

// hold reports whether all verdicts are those of now.
func (d *verdicts) hold(now time.Time, fresh map[string]bool) bool {
	for workload := range d.undecided {
		if fresh[workload] {
			return false
		}
	}
	return !now.Before(d.from) && (d.until.IsZero() || now.Before(d.until))
}

// gather returns what there is of all policies, by name and workload, and the policies
// that are listed. A policy that is not listed but has sessions is one without workload.
func (d *verdicts) gather(view *ledger.View) (all map[policyName]*judged, list []*ledger.Policy) {
	all = make(map[policyName]*judged)
	byName := make(map[string][]*judged)
	get := func(name policyName) *judged {
		p := all[name]
		if p == nil {
			p = &judged{policyName: name}
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
		list = append(list, pol)
		p := get(policyName{pol.Name, pol.Workload})
		p.members = append(p.members, pol)
	}
	for _, s := range view.Series {
		name := s.Key.Policy
		if s.Key.Type != vbaws.TypePolicy || name == "" {
			continue
		}
		if byName[name] == nil && !over[name] && !view.Gone[name] {
			get(policyName{name, ""})
		}
		for _, p := range byName[name] {
			p.take(s, byName[name])
		}
	}
	for _, p := range all {
		// Sessions under a former name are of the row of that name, too, while it exists.
		for _, m := range p.members {
			if m.Former != nil && m.Former.Name != p.name {
				for _, s := range sessionsOf(view, m.Former.Name) {
					p.take(s, byName[m.Former.Name])
				}
			}
		}
	}
	return all, list
}

// take adds the sessions of a series to those of p, unless they are of another workload:
// sameName are the policies that have their name.
func (p *judged) take(s ledger.SeriesView, sameName []*judged) {
	shared := slices.ContainsFunc(sameName, func(o *judged) bool { return len(o.members) > 0 && o.workload != p.workload })
	if !shared || verdict.Concerns(p.workload, s.Key.ExtendedType) {
		p.sessions = append(p.sessions, s)
	}
}

// sessionsTyped reports whether sessions have an extended type: from API 1.1 on. Before the
// first poll the sessions that are known decide.
func (d *verdicts) sessionsTyped(view *ledger.View) bool {
	if v := d.api.APIVersion(); v != "" {
		return vbaws.TypesSessions(v)
	}
	ofPolicies := false
	for _, s := range view.Series {
		if s.Key.Type == vbaws.TypePolicy {
			if s.Key.ExtendedType != "" {
				return true
			}
			ofPolicies = true
		}
	}
	return !ofPolicies
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

// judgePolicy fills in the row of p.
func (d *verdicts) judgePolicy(p *judged, now time.Time, stale bool) {
	unlisted := len(p.members) == 0
	p.from, p.row = now, PolicyRow{Name: p.name, Workload: p.workload, Unlisted: unlisted, Enabled: unlisted}
	policy := verdict.Policy{Decided: make(verdict.Decided)}
	for _, s := range p.sessions {
		if s.Key.Policy == p.name {
			policy.Sessions = append(policy.Sessions, sessionsIn(s))
		}
	}
	for _, pol := range p.members {
		member := verdict.Member{
			Enabled: pol.Enabled, Since: pol.Since, InitialSync: pol.InitialSync, DisabledSince: pol.DisabledSince,
		}
		p.row.Enabled = p.row.Enabled || pol.Enabled
		if s := pol.Schedule; s != nil && s.Unreadable != "" {
			member.Unreadable, p.row.Unreadable = true, cmp.Or(p.row.Unreadable, s.Unreadable)
		}
		if d.cfg.Ledger.Filter.MatchesType(vbaws.TypePolicy) { // otherwise nothing is known to be done
			member.Plan, member.Listed = d.plan(pol.Readable()), d.plan(pol.Schedule)
			policy.Sessions = append(policy.Sessions, former(pol, member.Plan, p.sessions)...)
		}
		policy.Members = append(policy.Members, member)
		for kind, at := range pol.Decided {
			if at.After(policy.Decided[kind]) {
				policy.Decided[kind] = at
			}
		}
	}
	p.row.Verdict = verdict.Judge(&policy, verdict.Conditions{Now: now, Grace: d.cfg.OverdueGrace, Stale: stale, Typed: d.typed})
}

// sessionsIn returns the sessions of a series.
func sessionsIn(s ledger.SeriesView) verdict.Sessions {
	return verdict.Sessions{ExtendedType: s.Key.ExtendedType, Finished: s.History, Running: s.Starts}
}

// former returns the sessions under the former name of a policy. They count until the
// first start under the new one.
func former(pol *ledger.Policy, plan *schedule.Plan, all []ledger.SeriesView) []verdict.Sessions {
	f := pol.Former
	if f == nil {
		return nil
	}
	var sessions []verdict.Sessions
	for extendedType, h := range f.Histories {
		sessions = append(sessions, verdict.Sessions{ExtendedType: extendedType, Finished: h})
	}
	for _, s := range all {
		if s.Key.Policy == f.Name && s.Key.Policy != pol.Name {
			sessions = append(sessions, sessionsIn(s))
		}
	}
	before := f.Until
	if !plan.Timed() {
		before = before.Add(plan.LongestGap(schedule.Whole))
	} else if next := plan.Next(schedule.Whole, f.Until).At; !next.IsZero() {
		before = next
	}
	for i := range sessions {
		sessions[i].Before = before
	}
	return sessions
}

// plan returns the plan of a schedule, the one that was made before if there is one.
func (d *verdicts) plan(s *vbaws.Schedule) *schedule.Plan {
	key := planKey{s, d.zone}
	plan := d.plans[key]
	if plan == nil {
		plan = schedule.New(s, d.zone)
		d.plans[key] = plan
	}
	return plan
}

// judge judges the policies after a poll or an inventory was saved, and saves what was
// decided. If a start would be overdue, and the policies were not listed by done, it lists
// them first, if mayList; if that failed, it waits for the next inventory. A verdict is not
// published before it is saved.
func (p *Poller) judge(ctx context.Context, done *poll, mayList bool) (err error) {
	d := &p.known.verdicts
	now := p.known.applianceTime(p.cfg.Now())
	if !p.ledger.View().Clock.ClosedAt.IsZero() && d.set != nil {
		return nil // the appliance's clock was set: verdicts stay as they were
	}
	old := d.set
	defer func() {
		if err != nil {
			d.set, d.view = old, nil // and decide again
		}
	}()
	d.judge(p.ledger.View(), now, done.fresh)
	if mayList && done.due(d.listingFailed) && d.mustDecide(done.fresh) {
		poll := p.newPoll(done.start)
		within(ctx, poll.refreshPolicies)
		if ctx.Err() != nil {
			d.set, d.view = old, nil // a listing that was cut off decides nothing
			return nil
		}
		if err := p.save(poll.tx); err != nil {
			return err
		}
		done.allListed, done.fresh = done.allListed || poll.allListed, poll.fresh
		d.judge(p.ledger.View(), now, done.fresh)
		if d.mustDecide(nil) {
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
	if p.ledger.View().JudgedAt.Before(p.known.applianceTime(done.start)) {
		tx.JudgeAt(now) // time alone made them different
	}
	if err := p.save(tx); err != nil {
		return err
	}
	d.judge(p.ledger.View(), now, nil)
	return nil
}

// mustDecide reports whether a start would be overdue if the workload of its policy had
// been listed: one that is not in fresh.
func (d *verdicts) mustDecide(fresh map[string]bool) bool {
	for workload := range d.undecided {
		if !fresh[workload] {
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

// zoneOf returns the zone that schedules are in. It is the same pointer for as long as the
// name is the same: plans are kept by it.
func (d *verdicts) zoneOf(name string) *time.Location {
	if name == d.zoneName {
		return d.zone
	}
	d.zoneName = name
	zone, err := schedule.Location(name)
	if err != nil {
		level.Warn(d.log).Log("msg", "unknown time zone of the appliance", "time_zone", name, "err", err)
		zone = d.cfg.TimeZone
	}
	return zone
}
