package verdict

import (
	"cmp"
	"slices"
	"time"

	"vbaws_exporter/collector/schedule"
)

// horizon is how old the starts are that are counted. The newest one that is overdue
// counts however old it is: a yearly policy stays overdue.
const horizon = 35 * 24 * time.Hour

// start is a start of a kind that no success has met.
type start struct {
	schedule.Start
	kind schedule.Kind
	of   *Member
	// previous is the start of the kind before it, and next, by its later reading, the one
	// after it: at the earlier reading it has perhaps not begun. They are zero if there is
	// none.
	previous, next time.Time
}

// overdue judges the starts of a kind.
func (j *judgement) overdue(row *Kind) {
	decided := j.policy.Decided[row.Kind]
	if decided.Add(j.Grace).After(j.Now) {
		decided = time.Time{} // the clock was put back, or the grace is longer now
	}
	owed, first := j.allOwed(row, decided)
	var newest time.Time
	for i := range owed {
		s := &owed[i]
		if !j.isOverdue(s, decided) {
			continue
		}
		if newest.IsZero() {
			row.Overdue.Since = s.At
			if i == 0 {
				row.Overdue.Since = earliest(s.At, first)
			}
		}
		newest = s.At
		if until := s.At.Add(horizon); until.After(j.Now) {
			row.OverdueRuns++
			j.at(until)
		}
	}
	if !newest.IsZero() {
		row.OverdueRuns = max(1, row.OverdueRuns)
		if j.verdict.Decided == nil {
			j.verdict.Decided = make(Decided)
		}
		j.verdict.Decided[row.Kind] = newest
	}
}

// allOwed returns the owed starts of all members, in order: that of decided, and all from
// the newest one before the horizon on. first is the first one there is. It fills in what
// else row has of the schedule.
func (j *judgement) allOwed(row *Kind, decided time.Time) (owed []start, first time.Time) {
	success := j.success(row.Kind)
	spans := [][2]time.Time{{j.Now.Add(-horizon), j.Now}}
	if !decided.IsZero() {
		spans = append(spans, [2]time.Time{decided, decided})
	}
	for i := range j.policy.Members {
		m := &j.policy.Members[i]
		if !m.Enabled || m.Since.IsZero() || !slices.Contains(j.scheduled(m.Plan), row.Kind) {
			continue
		}
		row.Overdue.Judged = true
		of := j.owed
		if m.estimated() {
			row.Estimate = true
			of = j.estimate
		} else if !m.Unreadable {
			row.NextDue = earliest(row.NextDue, m.Plan.Next(row.Kind, j.Now).At)
		}
		for _, span := range spans {
			oldest, starts := of(m, row.Kind, success, span[0], span[1])
			owed = slices.Grow(owed, len(starts))
			for i := 1; i < len(starts)-1; i++ {
				if s := starts[i]; !s.Skipped || !j.beganOn(s) {
					owed = append(owed, start{s, row.Kind, m, starts[i-1].At, starts[i+1].Later})
					first = earliest(first, oldest)
				}
			}
		}
	}
	j.at(row.NextDue)
	slices.SortStableFunc(owed, func(a, b start) int { return a.At.Compare(b.At) })
	return slices.CompactFunc(owed, func(a, b start) bool { return a.At.Equal(b.At) }), first
}

// isOverdue reports whether a start that no success has met is overdue. What was
// decided stays so.
func (j *judgement) isOverdue(s *start, decided time.Time) bool {
	if !s.Skipped && !s.At.After(decided) {
		return true
	}
	if deadline := j.deadline(s); deadline.After(j.Now) {
		j.at(deadline)
		return false
	}
	if s.At.After(decided) && (j.Stale || s.of.Unreadable) {
		j.verdict.Undecided = j.verdict.Undecided || !s.of.Unreadable
		return false
	}
	return true
}

// owed returns the first start of a kind that no success has met, and the starts from the
// newest one until from to the newest one until to, between the one before and the one after
// them.
func (j *judgement) owed(m *Member, k schedule.Kind, success, from, to time.Time) (first time.Time, starts []schedule.Start) {
	since := m.Since
	if m.InitialSync && !success.IsZero() {
		if s := m.Plan.LastDue(k, since.Add(-1)); !s.IsZero() {
			since = s
		}
	}
	since = latest(since, success)
	if m.Plan.LastDue(k, to).Before(since) {
		return since, nil
	}
	next := m.Plan.Next(k, since.Add(-1))
	if next.Skipped && j.beganOn(next) {
		next = m.Plan.Next(k, next.At)
	}
	first = next.At
	oldest := latest(first, m.Plan.LastDue(k, from))
	starts = m.Plan.Starts(k, oldest, to)
	starts = slices.Concat([]schedule.Start{{At: m.Plan.LastDue(k, oldest.Add(-1))}}, starts, []schedule.Start{m.Plan.Next(k, to)})
	return first, starts
}

// estimate is owed for a schedule whose times aren't known: one start for each longest gap
// since the last success, or since the policy was enabled.
func (j *judgement) estimate(m *Member, k schedule.Kind, success, from, to time.Time) (first time.Time, starts []schedule.Start) {
	base := latest(m.Since, success)
	gap := m.gap(k)
	if gap == 0 {
		return base, nil
	}
	n := max(0, to.Sub(base)/gap) // starts until to
	j.at(base.Add((n + 1) * gap))
	old := from.Sub(base) / gap // the newest one until from
	for i := max(1, min(n, old)) - 1; i <= n+1; i++ {
		at := base.Add(i * gap)
		starts = append(starts, schedule.Start{At: at, Later: at})
	}
	return base.Add(gap), starts
}

// estimated reports whether the times of the schedule are unknown.
func (m *Member) estimated() bool { return !m.Plan.Timed() }

// gap returns the longest gap of a kind, or of any if the kind isn't scheduled; 0 if no
// gap is known.
func (m *Member) gap(k schedule.Kind) time.Duration {
	if gap := m.Plan.LongestGap(k); gap > 0 {
		return gap
	}
	return m.Plan.LongestGap(schedule.Whole)
}

// longestGap returns the longest of the members; 0 if none is known.
func (j *judgement) longestGap(k schedule.Kind) (longest time.Duration) {
	for i := range j.policy.Members {
		longest = max(longest, j.policy.Members[i].gap(k))
	}
	return longest
}

// nextStart returns the next start of a kind after t, or of any if that one isn't
// scheduled; zero if it is unknown.
func (j *judgement) nextStart(k schedule.Kind, t time.Time) (first time.Time) {
	for i := range j.policy.Members {
		m := &j.policy.Members[i]
		if m.Enabled && !m.Unreadable {
			next := cmp.Or(m.Plan.Next(k, t), m.Plan.Next(schedule.Whole, t))
			first = earliest(first, next.At)
		}
	}
	return first
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// earliest leaves zero times aside.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
