package store

import (
	"maps"
	"time"

	"vbaws_exporter/collector/ledger"
)

// Memory is the state of an appliance that ends with the process. Its methods do not fail,
// and are not safe for concurrent use.
type Memory struct {
	state   *ledger.State
	ids     map[ledger.ID]ledger.SeenSession
	skipped map[ledger.ID]time.Time
}

// NewMemory returns an empty one.
func NewMemory() *Memory {
	return &Memory{
		state:   newState(),
		ids:     map[ledger.ID]ledger.SeenSession{},
		skipped: map[ledger.ID]time.Time{},
	}
}

// Load is Appliance.Load. The values in the maps, and what Meta refers to, are shared with
// the Changes of Save: they must not be modified.
func (m *Memory) Load() (*ledger.State, error) {
	return &ledger.State{
		Meta:       m.state.Meta,
		Series:     maps.Clone(m.state.Series),
		Unfinished: maps.Clone(m.state.Unfinished),
		Policies:   maps.Clone(m.state.Policies),
		Instances:  maps.Clone(m.state.Instances),
	}, nil
}

// NewestDay implements ledger.SeenIndex.
func (m *Memory) NewestDay() (day int32, found bool) {
	return m.newest(func(r ledger.SeenSession) bool { return r.Day != ledger.DayUnknown })
}

// newest returns the newest day of some ids, and whether there is any.
func (m *Memory) newest(of func(ledger.SeenSession) bool) (day int32, found bool) {
	for _, r := range m.ids {
		if of(r) && (!found || r.Day > day) {
			day, found = r.Day, true
		}
	}
	return day, found
}

// Lookup implements ledger.SeenIndex.
func (m *Memory) Lookup(id ledger.ID, _ []int32) (ledger.SeenSession, bool, error) {
	r, found := m.ids[id]
	return r, found, nil
}

// Skipped implements ledger.SeenIndex.
func (m *Memory) Skipped(id ledger.ID) (bool, error) {
	_, found := m.skipped[id]
	return found, nil
}

// Forgettable implements ledger.SeenIndex.
func (m *Memory) Forgettable(before time.Time) (day int32, found bool, err error) {
	day, found = m.newest(func(r ledger.SeenSession) bool { return expired(r, before) })
	return day, found, nil
}

// Save is Appliance.Save.
func (m *Memory) Save(c *ledger.Changes) error {
	m.state.Apply(c)
	for id, r := range c.Seen {
		r.ID, r.At = id, r.At.Truncate(time.Second)
		m.ids[id] = r
	}
	for id, t := range c.Skipped {
		m.skipped[id] = t.Truncate(time.Second)
	}
	if t := c.Forget; !t.IsZero() {
		maps.DeleteFunc(m.ids, func(_ ledger.ID, r ledger.SeenSession) bool { return expired(r, t) })
		maps.DeleteFunc(m.skipped, func(_ ledger.ID, at time.Time) bool { return at.Before(t) })
	}
	return nil
}

// expired reports whether an id is forgotten by Changes.Forget = t.
func expired(r ledger.SeenSession, t time.Time) bool {
	return r.At.Before(t) && r.Day != ledger.DayUnknown && r.Day <= ledger.DayOf(t)
}
