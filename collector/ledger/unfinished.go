// Sessions that have not finished.

package ledger

import (
	"maps"
	"slices"
	"strings"

	"vbaws_exporter/vbaws"
)

// keepOpen takes in a session that has not finished, and reports whether there was room.
func (tx *Tx) keepOpen(id ID, u *Unfinished) bool {
	if tx.unfinishedOf(id) == nil {
		if tx.open >= maxUnfinished {
			tx.beyond(LimitUnfinished, u.Session.ID)
			return false
		}
		tx.open++
	}
	tx.unfinished[id] = u
	return true
}

// close removes a session from the unfinished ones.
func (tx *Tx) close(id ID) {
	if tx.unfinishedOf(id) != nil {
		tx.unfinished[id] = nil
		tx.open--
	}
}

// Unfinished returns the sessions that have not finished, as this transaction has them so
// far, in the order of their ids.
func (tx *Tx) Unfinished() []*Unfinished {
	all := overlay(tx.l.state.Unfinished, tx.unfinished)
	return slices.SortedFunc(maps.Values(all), func(a, b *Unfinished) int {
		return strings.Compare(a.Session.ID, b.Session.ID)
	})
}

// goneAfter is in how many polls in a row a session must be missing.
const goneAfter = 2

// MarkMissing takes in that the appliance does not have the session of that id. In the
// second poll in a row the session is dropped. An error is one of the seen index.
func (tx *Tx) MarkMissing(id ID) error {
	u := tx.unfinishedOf(id)
	switch {
	case u == nil:
		return nil
	case u.Missing+1 < goneAfter:
		tx.setMissing(id, u.Missing+1)
		return nil
	}
	e, err := tx.Entry(&u.Session)
	if err != nil {
		return err
	}
	tx.close(id)
	if u.Disposition == Counted {
		return nil // it is in the seen index already
	}
	// Should it come back after all, it is counted: it never was.
	owed := u.Disposition == Countable
	e.index(owed)
	if owed && tx.l.opts.Filter.matches(u.Session.Type, u.Policy) && !u.Unresolved {
		tx.skip(SkipGone, Event{Session: u.Session, Policy: u.Policy})
	}
	return nil
}

// MarkPresent takes in that the appliance still has an unfinished session as it was.
func (e *Entry) MarkPresent() {
	if e.open != nil && e.open.Missing > 0 {
		e.tx.setMissing(e.id, 0)
	}
}

func (tx *Tx) setMissing(id ID, n int) {
	u := *tx.unfinishedOf(id)
	u.Missing = n
	tx.unfinished[id] = &u
}

// IsUnfinished reports whether the ledger has a session of that id that has not
// finished.
func (tx *Tx) IsUnfinished(id ID) bool { return tx.unfinishedOf(id) != nil }

func (tx *Tx) unfinishedOf(id ID) *Unfinished { return look(tx.l.state.Unfinished, tx.unfinished, id) }

func (u *Unfinished) key() Key { return keyOf(&u.Session, u.Policy) }

// runs reports whether the session has started: NeverExecuted ones wait.
func (u *Unfinished) runs() bool { return u.Session.Status != vbaws.StatusNeverExecuted }
