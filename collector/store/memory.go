package store

import (
	"maps"
	"slices"
	"sync"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record"
)

// Memory is the state of an appliance that ends with the process. Its methods may be
// called by any goroutine, and do not fail.
type Memory struct {
	mu      sync.RWMutex
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

// copyMeta returns a Meta that shares nothing with m.
func copyMeta(m ledger.Meta) ledger.Meta {
	m.Skipped = maps.Clone(m.Skipped)
	m.Bounds = slices.Clone(m.Bounds)
	if m.Watermark != nil {
		w := *m.Watermark
		m.Watermark = &w
	}
	return m
}

// Load is Appliance.Load.
func (m *Memory) Load() (*ledger.State, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return &ledger.State{
		Meta:       copyMeta(m.state.Meta),
		Series:     maps.Clone(m.state.Series),
		Unfinished: maps.Clone(m.state.Unfinished),
		Policies:   maps.Clone(m.state.Policies),
		Instances:  maps.Clone(m.state.Instances),
	}, nil
}

// NewestDay implements ledger.SeenIndex.
func (m *Memory) NewestDay() (day int32, found bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, r := range m.ids {
		if r.Day != ledger.DayUnknown && (!found || r.Day > day) {
			day, found = r.Day, true
		}
	}
	return day, found
}

// Lookup implements ledger.SeenIndex.
func (m *Memory) Lookup(id ledger.ID, _ []int32) (ledger.SeenSession, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, found := m.ids[id]
	return r, found, nil
}

// Skipped implements ledger.SeenIndex.
func (m *Memory) Skipped(id ledger.ID) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, found := m.skipped[id]
	return found, nil
}

// Forgettable implements ledger.SeenIndex.
func (m *Memory) Forgettable(before time.Time) (day int32, found bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, r := range m.ids {
		if expired(r, before) && (!found || r.Day > day) {
			day, found = r.Day, true
		}
	}
	return day, found, nil
}

// Save is Appliance.Save.
func (m *Memory) Save(c *ledger.Changes) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Apply(c)
	m.state.Meta = copyMeta(m.state.Meta)
	for id, r := range c.Seen {
		r.ID, r.At = id, record.Seconds(r.At)
		m.ids[id] = r
	}
	for id, t := range c.Skipped {
		m.skipped[id] = record.Seconds(t)
	}
	if t := c.Forget; !t.IsZero() {
		maps.DeleteFunc(m.ids, func(_ ledger.ID, r ledger.SeenSession) bool { return expired(r, t) })
		maps.DeleteFunc(m.skipped, func(_ ledger.ID, at time.Time) bool { return at.Before(t) })
	}
	return nil
}

// expired reports whether an id is forgotten by Changes.Forget = t.
func expired(r ledger.SeenSession, t time.Time) bool {
	return r.At.Before(t) && r.Day != ledger.DayUnknown && !beginsAfter(r.Day, t)
}
