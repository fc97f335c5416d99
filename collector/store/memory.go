package store

import (
	"maps"
	"slices"
	"sync"
	"time"

	"vbaws_exporter/collector/ledger"
)

// memory is a Book that ends with the process.
type memory struct {
	mu      sync.RWMutex
	state   ledger.State
	ids     map[ledger.ID]ledger.SeenSession
	skipped map[ledger.ID]time.Time
}

var _ Book = (*memory)(nil)

// NewMemory returns an empty Book that is kept in memory, and otherwise like one
// of a Store's. It doesn't fail.
func NewMemory() Book {
	return &memory{
		state: ledger.State{
			Series:     map[ledger.Key]*ledger.Series{},
			Unfinished: map[ledger.ID]*ledger.Unfinished{},
			Policies:   map[ledger.PolicyKey]*ledger.Policy{},
		},
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

func (m *memory) Load() (*ledger.State, error) {
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

func (m *memory) NewestDay() (day int32, found bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, r := range m.ids {
		if r.Day != ledger.DayUnknown && (!found || r.Day > day) {
			day, found = r.Day, true
		}
	}
	return day, found
}

func (m *memory) Lookup(id ledger.ID, _ []int32) (ledger.SeenSession, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, found := m.ids[id]
	return r, found, nil
}

func (m *memory) Skipped(id ledger.ID) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, found := m.skipped[id]
	return found, nil
}

func (m *memory) Forgettable(before time.Time) (day int32, found bool, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, r := range m.ids {
		if expired(r, before) && (!found || r.Day > day) {
			day, found = r.Day, true
		}
	}
	return day, found, nil
}

func (m *memory) Save(c *ledger.Changes) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.Apply(c)
	m.state.Meta = copyMeta(m.state.Meta)
	for id, r := range c.Seen {
		r.ID, r.At = id, decodeSeconds(encodeSeconds(r.At))
		m.ids[id] = r
	}
	for id, t := range c.Skipped {
		m.skipped[id] = decodeSeconds(encodeSeconds(t))
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
