package vbawstest

import "slices"

// This file has rows that the appliance can't render. They are not documented: the schema of
// an error has a status 500 without causes. A page with such a row fails as a whole.

// Break makes the appliance answer 500 to each request whose answer contains one of these
// ids: a page of sessions, or a session, with that id; a list by that PolicyId.
func (a *Appliance) Break(ids ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken == nil {
		a.broken = make(map[string]bool)
	}
	for _, id := range ids {
		a.broken[id] = true
	}
}

// Mend ends what Break began.
func (a *Appliance) Mend(ids ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		delete(a.broken, id)
	}
}

// breaks reports whether a page of the list that q asks for can't be rendered.
func (a *Appliance) breaks(q *sessionsQuery, page []*row) bool {
	return len(a.broken) > 0 &&
		(a.broken[q.policyID] || slices.ContainsFunc(page, func(r *row) bool { return a.broken[r.ID] }))
}
