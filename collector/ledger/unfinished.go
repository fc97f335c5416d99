// Sessions that have not finished.

package ledger

import (
	"maps"
	"slices"
	"strings"

	"vbaws_exporter/vbaws"
)

// keepOpen takes in a session that has not finished, and reports whether there was room.
func (p *Pass) keepOpen(id ID, u *Unfinished) bool {
	if p.unfinishedOf(id) == nil {
		if p.open >= maxUnfinished {
			p.beyond(LimitUnfinished, u.Session.ID)
			return false
		}
		p.open++
	}
	p.unfinished[id] = u
	return true
}

// close removes a session from the unfinished ones.
func (p *Pass) close(id ID) {
	if p.unfinishedOf(id) != nil {
		p.unfinished[id] = nil
		p.open--
	}
}

// Unfinished returns the sessions that have not finished, as this pass has them so
// far, in the order of their ids.
func (p *Pass) Unfinished() []*Unfinished {
	all := overlay(p.l.state.Unfinished, p.unfinished)
	return slices.SortedFunc(maps.Values(all), func(a, b *Unfinished) int {
		return strings.Compare(a.Session.ID, b.Session.ID)
	})
}

// goneAfter is in how many passes in a row a session must be missing.
const goneAfter = 2

// MarkMissing takes in that the appliance does not have the session of that id. In the
// second pass in a row the session is dropped. An error is one of the seen index.
func (p *Pass) MarkMissing(id ID) error {
	u := p.unfinishedOf(id)
	switch {
	case u == nil:
		return nil
	case u.Missing+1 < goneAfter:
		p.setMissing(id, u.Missing+1)
		return nil
	}
	e, err := p.Entry(&u.Session)
	if err != nil {
		return err
	}
	p.close(id)
	if u.Disposition == Counted {
		return nil // it is in the seen index already
	}
	// Should it come back after all, it is counted: it never was.
	owed := u.Disposition == Countable
	e.index(owed)
	if owed && p.l.opts.Filter.matches(u.Session.Type, u.Policy) && !u.Unresolved {
		p.skip(SkipGone, Event{Session: u.Session, Policy: u.Policy})
	}
	return nil
}

// MarkPresent takes in that the appliance still has an unfinished session as it was.
func (e *Entry) MarkPresent() {
	if e.open != nil && e.open.Missing > 0 {
		e.p.setMissing(e.id, 0)
	}
}

func (p *Pass) setMissing(id ID, n int) {
	u := *p.unfinishedOf(id)
	u.Missing = n
	p.unfinished[id] = &u
}

// IsUnfinished reports whether the ledger has a session of that id that has not
// finished.
func (p *Pass) IsUnfinished(id ID) bool { return p.unfinishedOf(id) != nil }

func (p *Pass) unfinishedOf(id ID) *Unfinished {
	if u, ok := p.unfinished[id]; ok {
		return u
	}
	return p.l.state.Unfinished[id]
}

func (u *Unfinished) key() Key { return keyOf(&u.Session, u.Policy) }

// runs reports whether the session has started: NeverExecuted ones wait.
func (u *Unfinished) runs() bool { return u.Session.Status != vbaws.StatusNeverExecuted }
