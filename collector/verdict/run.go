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
		add := func(start, until time.Time) {
			j.runs = append(j.runs, run{t.what, start, until})
			j.busy = latest(j.busy, until)
		}
		for _, s := range t.finished.Recent {
			until := s.End
			if s.End.Sub(s.Start) > shortestStuck {
				until = earliest(until, s.Start.Add(j.stuckAfter(t, s.Start)))
			}
			add(s.Start, until)
		}
		for _, start := range t.running {
			add(start, start.Add(j.stuckAfter(t, start)))
		}
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
	begin := s.At.Add(-min(lead, s.At.Sub(s.previous)/2))
	deadline := latest(from.Add(j.Grace), atLeast)
	runs := j.all()
	if !j.busy.After(begin) {
		return deadline
	}
	for _, r := range runs {
		switch {
		case r.start.Before(begin) && r.until.After(s.At):
			// The appliance skips, queues or runs a start inside another run: which, is not
			// known.
			deadline = latest(deadline, r.until.Add(j.Grace))
		case r.start.Before(begin):
		case !r.start.Before(deadline):
			return deadline
		default:
			if end := s.endFor(r.what); end.IsZero() || r.start.Before(end) {
				deadline = latest(deadline, r.until.Add(settle))
			}
		}
	}
	return deadline
}

// endFor returns until when the sessions begin that are of the run of a start: until the
// next start of the kind for those that can bring it, and until that of any kind for
// others. It is zero if there is no other start.
func (s *start) endFor(w what) time.Time {
	switch {
	case w.meets(s.kind):
		return s.next
	case s.of.estimated():
		return s.At.Add(s.of.gap(schedule.Whole))
	}
	return s.of.Plan.Next(schedule.Whole, s.At).Later
}

// beganOn reports whether anything of the policy began on the local day of a skipped
// start, or whether that is no longer known.
func (j *judgement) beganOn(s schedule.Start) bool {
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
