package ledger

import (
	"maps"
	"slices"
	"strings"

	"vbaws_exporter/vbaws"
)

// keepOpen takes in a session that has not ended, and reports whether there was room.
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

// Unfinished returns the sessions that have not ended, as this pass has them so
// far, in the order of their ids.
func (p *Pass) Unfinished() []*Unfinished {
	all := overlay(p.l.state.Unfinished, p.unfinished)
	return slices.SortedFunc(maps.Values(all), func(a, b *Unfinished) int {
		return strings.Compare(a.Session.ID, b.Session.ID)
	})
}

// goneAfter is in how many passes in a row the appliance must say that it has no
// such session.
const goneAfter = 2

// NotFound takes in that the appliance says it has no session of that id. In the
// second pass in a row the session is dropped.
func (p *Pass) NotFound(sessionID string) error {
	id := p.ID(sessionID)
	u := p.unfinishedOf(id)
	if u == nil {
		return nil
	}
	c := *u
	c.Missing++
	if c.Missing < goneAfter {
		p.unfinished[id] = &c
		return nil
	}
	if _, _, err := p.find(id, &c.Session); err != nil {
		return err
	}
	p.close(id)
	switch {
	case c.Counted: // its id is remembered already
	case c.Countable:
		// Should it come back after all, it is counted: it never was.
		p.remember(id, &c.Session, true)
		if p.l.wanted(c.Session.Type, c.Policy) && !c.Unresolved {
			p.skip(SkipGone, Event{Session: c.Session, Policy: c.Policy})
		}
	default:
		p.remember(id, &c.Session, false)
	}
	return nil
}

// Found takes in that the appliance still has an unfinished session as it was.
func (p *Pass) Found(sessionID string) {
	id := p.ID(sessionID)
	if u := p.unfinishedOf(id); u != nil && u.Missing > 0 {
		c := *u
		c.Missing = 0
		p.unfinished[id] = &c
	}
}

func (p *Pass) unfinishedOf(id ID) *Unfinished {
	if u, ok := p.unfinished[id]; ok {
		return u
	}
	return p.l.state.Unfinished[id]
}

func (u *Unfinished) key() Key { return keyOf(&u.Session, u.Policy) }

// runs reports whether the session has begun: NeverExecuted ones wait.
func (u *Unfinished) runs() bool { return u.Session.Status != vbaws.StatusNeverExecuted }
