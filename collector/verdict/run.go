package verdict

import (
	"slices"
	"time"

	"vbaws_exporter/collector/schedule"
)

const (
	// lead is how long before its start a run can begin.
	lead = 5 * time.Minute
	// settle is how long after the end of a session the next one of its run can begin:
	// failed instances are retried after 60 s.
	settle = 5 * time.Minute
)

// run is a session of the policy that ended or is under way.
type run struct {
	what
	start time.Time
	// until is when it ended or, if that is earlier, became stuck.
	until time.Time
}

// all returns the policy's sessions by start.
func (j *judgement) all() []run {
	if j.runs != nil || j.mutation.waiting {
		return j.runs
	}
	j.runs = []run{}
	for i := range j.tracks {
		t := &j.tracks[i]
		for _, s := range t.finished.Recent {
			until := s.End
			if s.End.Sub(s.Start) > shortestStuck {
				until = earliest(until, s.Start.Add(j.stuckAfter(t, s.Start)))
			}
			j.runs = append(j.runs, run{t.what, s.Start, until})
		}
		for _, start := range t.running {
			j.runs = append(j.runs, run{t.what, start, start.Add(j.stuckAfter(t, start))})
		}
	}
	for _, r := range j.runs {
		j.busy = latest(j.busy, r.until)
	}
	slices.SortStableFunc(j.runs, func(a, b run) int { return a.start.Compare(b.start) })
	return j.runs
}

// deadline returns when a start is overdue unless a success meets it: the grace after
// it, or 5 minutes after the last session of its run. A session that begins after the
// deadline is too late to move it.
func (j *judgement) deadline(s *start) time.Time {
	from, atLeast := s.Later, s.DayEnd // zero if it isn't skipped
	if j.mutation.daylightSaving {
		from, atLeast = s.At, time.Time{}
	}
	if bound := j.bound(s, latest(from.Add(j.Grace), atLeast)); !bound.After(j.Now) {
		return bound
	}
	begin, end, endOfAny := s.window()
	for _, r := range j.all() {
		// The appliance skips, queues or runs a start inside another run: which, is not
		// known.
		if r.start.Before(begin) && r.until.After(s.At) {
			from = latest(from, r.until)
		}
	}
	deadline := latest(from.Add(j.Grace), atLeast)
	for _, r := range j.all() {
		next := endOfAny
		if r.meets(s.kind) {
			next = end
		}
		if !r.start.Before(begin) && (next.IsZero() || r.start.Before(next)) && r.start.Before(deadline) {
			deadline = latest(deadline, r.until.Add(settle))
		}
	}
	return deadline
}

// bound returns a time that the deadline of a start isn't after, without its window,
// which takes the schedule longer than most starts are worth: those that are old.
func (j *judgement) bound(s *start, deadline time.Time) time.Time {
	runs, from := j.all(), s.At.Add(-lead)
	if !j.busy.After(from) {
		return deadline
	}
	for _, r := range runs {
		if !r.start.Before(deadline) {
			break
		}
		if r.until.After(from) {
			deadline = latest(deadline, r.until.Add(max(j.Grace, settle)))
		}
	}
	return deadline
}

// window returns between which times the sessions begin that are of the run of a
// start: until the next start of the kind for those that can bring it, and until that
// of any kind for others. The ends are zero if there is no other start.
func (s *start) window() (begin, end, endOfAny time.Time) {
	if s.of.estimated() {
		gap := s.of.gap(s.kind)
		return s.At.Add(-min(lead, gap/2)), s.At.Add(gap), s.At.Add(s.of.gap(schedule.Whole))
	}
	early := lead
	if last := s.of.Plan.LastDue(s.kind, s.At.Add(-1)); !last.IsZero() {
		early = min(early, s.At.Sub(last)/2)
	}
	// Until the later reading: at the earlier one it has perhaps not begun.
	return s.At.Add(-early), s.of.Plan.Next(s.kind, s.At).Later, s.of.Plan.Next(schedule.Whole, s.At).Later
}

// beganOn reports whether anything of the policy began on the local day of a skipped
// start, or whether that is no longer known.
func (j *judgement) beganOn(s *start) bool {
	if j.mutation.daylightSaving {
		return false
	}
	on := func(t time.Time) bool { return !t.Before(s.DayStart) && t.Before(s.DayEnd) }
	return slices.ContainsFunc(j.tracks, func(t track) bool {
		old := t.finished.Recent
		return slices.ContainsFunc(t.running, on) ||
			slices.ContainsFunc(old, func(f Session) bool { return on(f.Start) }) ||
			len(old) == Keep && old[0].End.After(s.DayStart)
	})
}
