package verdict

import (
	"time"

	"vbaws_exporter/collector/schedule"
)

const (
	shortestStuck = 2 * time.Hour
	longestStuck  = 24 * time.Hour
)

// stuck judges the running sessions of a kind.
func (j *judgement) stuck(k schedule.Kind) Problem {
	p := Problem{Judged: true}
	for i := range j.tracks {
		t := &j.tracks[i]
		if t.kind != k {
			continue
		}
		for _, start := range t.running {
			limit := start.Add(j.stuckAfter(t, start))
			j.at(limit)
			if !limit.After(j.Now) && (!p.Exists() || start.Before(p.Since)) {
				p.Since = start
			}
		}
	}
	return p
}

// stuckAfter returns how long a session that began at start can run: the largest of
// 3 × typical, 2 h, and the smaller of 24 h and the longest gap; 24 h if nothing is
// known.
func (j *judgement) stuckAfter(t *track, start time.Time) time.Duration {
	typical, known := t.finished.typicalAt(start)
	gap := j.longestGap(t.kind)
	if gap == 0 && !known {
		return longestStuck
	}
	return max(shortestStuck, min(gap, longestStuck), 3*typical)
}
