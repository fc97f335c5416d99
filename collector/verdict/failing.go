package verdict

import (
	"slices"
	"time"

	"vbaws_exporter/collector/schedule"
)

const (
	// patience is how many failures in a row end the wait for a retry.
	patience = 3
	// A failure ends failingFor after the last session of its kind, or failingGap after
	// the longest gap if that is later: it may be of a kind that is made no more.
	failingFor = 35 * 24 * time.Hour
	failingGap = 7 * 24 * time.Hour
)

type failure struct {
	Session
	what
}

// failing judges the finished sessions of a kind: the row of failures that no success
// has ended. It is failing from the end of the first one of them for which no retry is
// under way, and stays so.
func (j *judgement) failing(k schedule.Kind) Problem {
	p := Problem{Judged: true}
	var row []failure
	var first, last time.Time // end of the first failure, and of the last session
	for _, t := range j.tracks {
		if t.kind != k {
			continue
		}
		for _, start := range t.running {
			last = latest(last, start)
		}
		if n := len(t.finished.Recent); n > 0 {
			last = latest(last, t.finished.Recent[n-1].End)
		}
		cleared := j.lastSuccess(func(w what) bool { return w.clears(t.what) })
		for _, s := range t.finished.Recent {
			if s.failed() && s.End.After(cleared) {
				row = append(row, failure{s, t.what})
			}
		}
		if f := t.finished.FirstFailure; f.After(cleared) {
			first = earliest(first, f) // of a row that is longer than what is kept
		}
	}
	slices.SortFunc(row, func(a, b failure) int { return a.compare(b.Session) })
	if first.IsZero() {
		if len(row) == 0 {
			return p
		}
		first = row[0].End
		if from := j.failingFrom(row); from.After(j.Now) {
			j.at(from)
			return p
		}
	}
	end := last.Add(max(failingFor, j.longestGap(k)+failingGap))
	j.at(end)
	if end.After(j.Now) {
		p.Since = first
	}
	return p
}

// failingFrom returns when the first failure of a row is one for which no retry is
// under way. A retry begins within 5 minutes and before the next start; until then,
// one can begin.
func (j *judgement) failingFrom(row []failure) time.Time {
	for i, s := range row {
		if i+1 == patience {
			return s.End
		}
		begins := earliest(s.End.Add(settle), j.nextStart(s.kind, s.End))
		until := begins
		for _, r := range j.all() {
			if !r.start.Before(s.End) && r.start.Before(begins) && r.clears(s.what) {
				until = latest(until, r.until)
			}
		}
		if i+1 == len(row) || row[i+1].End.After(until) {
			return until
		}
	}
	return time.Time{}
}
