// A new counter is published as 0 first.

package ledger

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

type heldCounter struct {
	key    Key
	status string
}

// noteHolds gives each held counter that has no end of its hold yet one that is counted
// from now.
func (l *Ledger) noteHolds(now time.Time) {
	holds := make(map[heldCounter]time.Time)
	for k, s := range l.state.Series {
		for _, c := range s.Counters {
			if h := (heldCounter{k, c.Status}); c.Held {
				holds[h] = cmp.Or(l.holds[h], now.Add(l.opts.Hold))
			}
		}
	}
	l.holds = holds
}

// NextLift returns when the next hold ends; the zero time if none is held.
func (l *Ledger) NextLift() time.Time {
	if len(l.holds) == 0 {
		return time.Time{}
	}
	return slices.MinFunc(slices.Collect(maps.Values(l.holds)), time.Time.Compare)
}

// lift ends the holds that are over.
func (tx *Tx) lift() {
	for h, until := range tx.l.holds {
		// The clock was set back: no poll takes an hour from its begin to its end.
		if end := tx.now.Add(tx.l.opts.Hold); until.After(end.Add(time.Hour)) {
			until, tx.l.holds[h] = end, end
		}
		if tx.now.Before(until) {
			continue
		}
		tx.touch(h.key).counter(h.status).Held = false
	}
}
