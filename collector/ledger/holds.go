// A new counter is published as 0 first.

package ledger

import (
	"maps"
	"time"
)

type heldCounter struct {
	key    Key
	status string
}

// noteHolds gives each held counter of a series that has no end of its hold yet one that
// is counted from now, and drops the holds of a series that is nil.
func (l *Ledger) noteHolds(k Key, s *Series, now time.Time) {
	if s == nil {
		maps.DeleteFunc(l.holds, func(h heldCounter, _ time.Time) bool { return h.key == k })
		return
	}
	for _, c := range s.Counters {
		h := heldCounter{k, c.Status}
		if !c.Held {
			delete(l.holds, h)
		} else if _, ok := l.holds[h]; !ok {
			l.holds[h] = now.Add(l.opts.Hold)
		}
	}
}

// NextLift returns when the next hold ends; the zero time if none is held.
func (l *Ledger) NextLift() time.Time {
	var next time.Time
	for _, t := range l.holds {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}

// lift ends the holds that are over.
func (tx *Tx) lift() {
	for h, until := range tx.l.holds {
		if tx.now.Before(until) {
			continue
		}
		c := tx.touch(h.key).counter(h.status)
		c.Held = false
		if c.Count > 0 {
			tx.counted[h.key] = true
		}
	}
}
