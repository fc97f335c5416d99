package verdict

import (
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/vbaws"
)

// Policy is what is known of the policies of one name and workload, which are judged
// as one because sessions carry only the name. All times are of the appliance's clock.
type Policy struct {
	// Members are the policies as they are listed, one for each id. It is empty if
	// policies can't be listed.
	Members []Member
	// Sessions are of type Policy. An extended type can occur twice: see
	// Sessions.Before.
	Sessions []Sessions
	// Decided is the Verdict.Decided of the last judgement.
	Decided Decided
}

// Decided has, by kind, the newest start that is overdue.
type Decided map[schedule.Kind]time.Time

// Member is a policy as it is listed.
type Member struct {
	Enabled bool
	// Since is when it was first seen enabled with this schedule and zone; zero while
	// it is disabled.
	Since time.Time
	// InitialSync is set if Since is of the initial sync of the appliance: the policy
	// existed before it.
	InitialSync bool
	// DisabledSince is when it was first seen disabled after it had been enabled;
	// otherwise zero.
	DisabledSince time.Time
	// Plan is the last schedule that could be read, in the appliance's zone, or an
	// interval without times (VPC). It is worth keeping from one judgement to the next.
	Plan *schedule.Plan
	// Unreadable is set if the schedule can't be read at present. Listed is what can be
	// read of it, and Plan if all can.
	Unreadable bool
	Listed     *schedule.Plan
}

// Sessions are those of one extended type.
type Sessions struct {
	ExtendedType string
	Finished     History
	// Running are the starts of the sessions that have not ended.
	Running []time.Time
	// Before is for sessions under the old name of a policy that was renamed: those
	// that began before it count, that is, until the first start after the renaming.
	// Zero: all count.
	Before time.Time
}

// Conditions are what the policies of an appliance are judged by.
type Conditions struct {
	// Now is the time of the appliance's clock.
	Now time.Time
	// Grace is the configuration's overdue_grace.
	Grace time.Duration
	// Stale is set if the policies were not listed since the last judgement: no start
	// is then newly decided to be overdue.
	Stale bool
	// Typed is set if sessions have an extended type: from API 1.1 on.
	Typed bool

	mutation mutation
}

// mutation switches a rule off, so that tests can show that they notice.
type mutation struct{ waiting, daylightSaving bool }

// State sums up problems in a word.
type State string

// The states, the worst first. A policy that is disabled is stuck or disabled.
const (
	Stuck    State = "stuck"
	Failing  State = "failing"
	Overdue  State = "overdue"
	Silent   State = "silent"
	Disabled State = "disabled"
	Warning  State = "warning" // the newest session did not simply succeed, or the schedule can't be read
	Pending  State = "pending" // no finished session is known
	OK       State = "ok"
)

// Problem is the verdict on one thing that can be wrong.
type Problem struct {
	// Judged is set if it can be judged. Otherwise it is not exposed.
	Judged bool
	// Since is when the problem began; zero if there is none.
	Since time.Time
}

// Exists reports whether there is a problem.
func (p Problem) Exists() bool { return !p.Since.IsZero() }

// Kind is the verdict on what a policy makes of one kind and, as far as schedules are
// listed, when they start it.
type Kind struct {
	Kind                    schedule.Kind
	State                   State
	Failing, Overdue, Stuck Problem
	// OverdueRuns is how many starts of the last 35 days are overdue, and at least
	// the newest one that is.
	OverdueRuns int
	// NextDue is the next scheduled start; zero if it is unknown.
	NextDue time.Time
	// Estimate is set if overdue is judged by the longest gap of the schedule, since
	// its times aren't known.
	Estimate bool
	// Recent are the last sessions of this kind, at most Keep, by End, oldest first.
	Recent []Session
	// Schedule has the schedules in words; empty without one. Interval is the longest gap
	// that they leave, by that which leaves the shortest; 0 without a schedule.
	Schedule string
	Interval time.Duration
	// Due is the newest scheduled start since a policy was first seen enabled with its
	// schedule; zero for none.
	Due time.Time
	// Success is the newest end of a session that succeeded and meets the starts of this
	// kind; zero for none.
	Success time.Time
}

// Verdict is the verdict on a Policy.
type Verdict struct {
	// State is that of a policy without Kinds.
	State State
	// Kinds are those that are scheduled and those of sessions, in order.
	Kinds            []Kind
	Silent, Disabled Problem
	// Next is the next instant at which the verdict changes if nothing new is known;
	// zero if it never does. It can come early, and is never late.
	Next time.Time
	// Undecided is set if a start would be overdue if the listing weren't stale.
	Undecided bool
	// Decided is to be stored: what was decided stays until a success meets it or the
	// start is void.
	Decided Decided
}

// judgement is a Policy being judged.
type judgement struct {
	Conditions
	policy  *Policy
	tracks  []track
	runs    []run     // by start, once all was called
	busy    time.Time // when the last of them is over
	verdict Verdict
}

// track is Sessions, one for each extended type.
type track struct {
	what
	finished History
	running  []time.Time
}

// Judge returns the verdict on a policy. It does not change p, and can be called
// concurrently.
func Judge(p *Policy, c Conditions) Verdict {
	j := &judgement{Conditions: c, policy: p, tracks: tracks(p.Sessions, c.Typed)}
	v := &j.verdict
	disabled := j.disabled()
	if !disabled {
		v.Silent = j.silent()
	}
	kinds := j.kinds()
	for _, k := range kinds {
		row := Kind{Kind: k, Stuck: j.stuck(k), Recent: j.recent(k)}
		if !disabled {
			// Otherwise no session is going to clear a failure, and that is on purpose.
			row.Failing = j.failing(k)
			j.overdue(&row)
		}
		row.State = j.state(&row, disabled)
		j.describe(&row)
		if len(p.Members) > 0 && (k != schedule.Whole || len(kinds) == 1) { // an unknown kind meets the others
			row.Success = j.success(k)
		}
		v.Kinds = append(v.Kinds, row)
	}
	v.State = j.state(&Kind{}, disabled)
	return *v
}

// describe fills in what the schedules, as they are listed, have of a kind.
func (j *judgement) describe(row *Kind) {
	for i := range j.policy.Members {
		m := &j.policy.Members[i]
		if !slices.Contains(j.scheduled(m.Listed), row.Kind) {
			continue
		}
		if text := m.Listed.Words(row.Kind); !slices.Contains(strings.Split(row.Schedule, " or "), text) {
			row.Schedule = strings.TrimPrefix(row.Schedule+" or "+text, " or ")
		}
		if gap := m.Listed.LongestGap(row.Kind); row.Interval == 0 || 0 < gap && gap < row.Interval {
			row.Interval = gap
		}
		if !m.Enabled || m.Since.IsZero() {
			continue
		}
		if due := m.Listed.LastDue(row.Kind, j.Now); !due.Before(m.Since) {
			row.Due = latest(row.Due, due)
		}
		j.at(m.Listed.Next(row.Kind, j.Now).At)
	}
}

// Missing returns the kinds of which a policy is to have a success and has none. The
// unknown kind is one of them only if there is no other.
func Missing(p *Policy, typed bool) []schedule.Kind {
	j := &judgement{Conditions: Conditions{Typed: typed}, policy: p, tracks: tracks(p.Sessions, typed)}
	kinds := j.kinds()
	if !typed {
		kinds = []schedule.Kind{schedule.Whole}
	}
	return slices.DeleteFunc(kinds, func(k schedule.Kind) bool {
		return typed && k == schedule.Whole && len(kinds) > 1 || !j.success(k).IsZero()
	})
}

// disabled judges whether all policies of the name are disabled, and reports it.
func (j *judgement) disabled() bool {
	if len(j.policy.Members) == 0 {
		return false
	}
	p := &j.verdict.Disabled
	p.Judged = true
	for _, m := range j.policy.Members {
		if m.Enabled {
			p.Since = time.Time{}
			return false
		}
		p.Since = latest(p.Since, m.DisabledSince)
	}
	return true
}

// tracks joins sessions of one extended type.
func tracks(all []Sessions, typed bool) []track {
	var tracks []track
	for _, s := range all {
		t := track{whatIs(s.ExtendedType, typed), s.Finished, s.Running}
		if !s.Before.IsZero() {
			t.finished = s.Finished.before(s.Before)
			t.running = slices.DeleteFunc(slices.Clone(s.Running), func(b time.Time) bool { return !b.Before(s.Before) })
			if t.finished.Empty() && len(t.running) == 0 {
				continue // all are of another policy
			}
		}
		i := slices.IndexFunc(tracks, func(o track) bool { return o.extendedType == s.ExtendedType })
		if i < 0 {
			tracks = append(tracks, t)
			continue
		}
		o := &tracks[i]
		o.finished = o.finished.Merge(t.finished)
		o.running = slices.Concat(o.running, t.running)
	}
	return tracks
}

// kinds returns the kinds that are scheduled and those that sessions make.
func (j *judgement) kinds() []schedule.Kind {
	var kinds []schedule.Kind
	for _, m := range j.policy.Members {
		kinds = append(kinds, append(j.scheduled(m.Plan), j.scheduled(m.Listed)...)...)
	}
	for _, t := range j.tracks {
		kinds = append(kinds, t.kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// scheduled returns the kinds that a schedule starts.
func (j *judgement) scheduled(p *schedule.Plan) []schedule.Kind {
	kinds := p.Kinds()
	if len(kinds) > 0 && !j.Typed {
		return []schedule.Kind{schedule.Whole}
	}
	return kinds
}

// recent returns the last finished sessions of a kind.
func (j *judgement) recent(k schedule.Kind) []Session {
	var all History
	for _, t := range j.tracks {
		switch {
		case t.kind != k:
		case len(all.Recent) == 0:
			all = t.finished
		default:
			all = all.Merge(t.finished)
		}
	}
	return all.Recent
}

// at notes an instant at which the verdict can change.
func (j *judgement) at(t time.Time) {
	if t.After(j.Now) && (j.verdict.Next.IsZero() || t.Before(j.verdict.Next)) {
		j.verdict.Next = t
	}
}

// lastSuccess returns the end of the newest success that counts; zero if none is
// known.
func (j *judgement) lastSuccess(counts func(what) bool) time.Time {
	var newest time.Time
	for _, t := range j.tracks {
		if end := t.finished.LastSuccess(); end.After(newest) && counts(t.what) {
			newest = end
		}
	}
	return newest
}

// success returns the end of the newest success that meets the starts of a kind.
func (j *judgement) success(k schedule.Kind) time.Time {
	return j.lastSuccess(func(w what) bool { return w.meets(k) })
}

// state sums up the verdict on a kind.
func (j *judgement) state(row *Kind, disabled bool) State {
	switch {
	case row.Stuck.Exists():
		return Stuck
	case disabled:
		return Disabled
	case row.Failing.Exists():
		return Failing
	case row.Overdue.Exists():
		return Overdue
	case j.verdict.Silent.Exists():
		return Silent
	case slices.ContainsFunc(j.policy.Members, func(m Member) bool { return m.Unreadable }):
		return Warning
	}
	var newest Session
	for _, t := range j.tracks {
		if n := len(t.finished.Recent); n > 0 && (t.kind == row.Kind || t.meets(row.Kind)) {
			if s := t.finished.Recent[n-1]; s.compare(newest) > 0 {
				newest = s
			}
		}
	}
	switch {
	case newest.Status != "" && newest.Status != vbaws.StatusSucceeded:
		return Warning
	case newest.Status == "" && j.success(row.Kind).IsZero():
		return Pending
	}
	return OK
}
