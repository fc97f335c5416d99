package ledger

import "time"

type heldCounter struct {
	key    Key
	status string
}

// noteHolds gives each held counter that has no end of its hold yet one that is
// counted from now.
func (l *Ledger) noteHolds(s *Series, now time.Time) {
	for _, c := range s.Counters {
		h := heldCounter{s.Key, c.Status}
		if !c.Held {
			delete(l.holds, h)
		} else if _, ok := l.holds[h]; !ok {
			l.holds[h] = now.Add(l.opts.Hold)
		}
	}
}

// NextLift returns when the next hold ends; the zero time where none is held.
func (l *Ledger) NextLift() time.Time {
	var next time.Time
	for _, t := range l.holds {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}
