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
	ids     map[int32]map[ledger.ID]ledger.Remembered
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
		ids:     map[int32]map[ledger.ID]ledger.Remembered{},
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
	}, nil
}

func (m *memory) HasDay(day int32) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.ids[day]) > 0
}

func (m *memory) Lookup(day int32, id ledger.ID) (ledger.Remembered, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	r, found := m.ids[day][id]
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
	for d, ids := range m.ids {
		if beginsAfter(d, before) || found && d <= day {
			continue
		}
		for _, r := range ids {
			if r.At.Before(before) {
				day, found = d, true
				break
			}
		}
	}
	return day, found, nil
}

func (m *memory) Save(c *ledger.Changes) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Meta != nil {
		m.state.Meta = copyMeta(*c.Meta)
	}
	apply(m.state.Series, c.Series)
	apply(m.state.Unfinished, c.Unfinished)
	apply(m.state.Policies, c.Policies)
	for id, r := range c.Remembered {
		r.ID, r.At = id, decodeSeconds(encodeSeconds(r.At))
		if m.ids[r.Day] == nil {
			m.ids[r.Day] = map[ledger.ID]ledger.Remembered{}
		}
		m.ids[r.Day][id] = r
	}
	for id, t := range c.Skipped {
		m.skipped[id] = decodeSeconds(encodeSeconds(t))
	}
	if t := c.Forget; !t.IsZero() {
		for day, ids := range m.ids {
			if beginsAfter(day, t) {
				continue
			}
			maps.DeleteFunc(ids, func(_ ledger.ID, r ledger.Remembered) bool { return r.At.Before(t) })
			if len(ids) == 0 {
				delete(m.ids, day)
			}
		}
		maps.DeleteFunc(m.skipped, func(_ ledger.ID, at time.Time) bool { return at.Before(t) })
	}
	return nil
}

// apply makes changes, nil values of which remove.
func apply[K comparable, V any](to, changes map[K]*V) {
	for k, v := range changes {
		if v == nil {
			delete(to, k)
		} else {
			to[k] = v
		}
	}
}
