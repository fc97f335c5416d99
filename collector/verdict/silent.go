package verdict

import (
	"time"

	"vbaws_exporter/collector/schedule"
)

// A policy of which no schedule is known is silent from silentFrom after its last
// success. At silentTo it is taken to be given up.
const (
	silentFrom = 7 * 24 * time.Hour
	silentTo   = 30 * 24 * time.Hour
)

// silent judges a policy of which no schedule is known.
func (j *judgement) silent() Problem {
	for i := range j.policy.Members {
		if m := &j.policy.Members[i]; m.Enabled && !m.Unreadable && len(m.Plan.Kinds()) > 0 {
			return Problem{}
		}
	}
	p := Problem{Judged: true}
	last := j.success(schedule.Whole)
	for _, t := range j.tracks {
		if len(t.running) > 0 {
			return p
		}
	}
	if last.IsZero() {
		return p
	}
	from, to := last.Add(silentFrom), last.Add(silentTo)
	j.at(from)
	j.at(to)
	if !from.After(j.Now) && to.After(j.Now) {
		p.Since = last
	}
	return p
}
