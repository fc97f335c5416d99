package store

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record/recordtest"
)

// TB is what both testing and rapid offer.
type TB interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// state is what Appliance and Memory have in common.
type state interface {
	ledger.SeenIndex
	Load() (*ledger.State, error)
	Save(*ledger.Changes) error
}

func openAppliance(t TB, s *Store, appliance string) *Appliance {
	t.Helper()
	b, err := s.Appliance(appliance)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func save(t TB, b state, c *ledger.Changes) {
	t.Helper()
	if err := b.Save(c); err != nil {
		t.Fatal(err)
	}
}

// model says what a state has to answer, by plain words.
type model struct {
	state   ledger.State
	ids     map[ledger.ID]ledger.SeenSession
	skipped map[ledger.ID]time.Time
}

// someIDs are those of recordtest.ID, and known others.
func someIDs() []ledger.ID {
	var all []ledger.ID
	for n := range byte(31) {
		for first := range byte(4) {
			all = append(all, ledger.ID{0: first, 15: n})
		}
	}
	return all
}

func newModel() *model {
	return &model{
		state: ledger.State{
			Series:     map[ledger.Key]*ledger.Series{},
			Unfinished: map[ledger.ID]*ledger.Unfinished{},
			Policies:   map[ledger.PolicyKey]*ledger.Policy{},
			Instances:  map[ledger.ID]*ledger.InstanceBackup{},
		},
		ids:     map[ledger.ID]ledger.SeenSession{},
		skipped: map[ledger.ID]time.Time{},
	}
}

func (m *model) clone() *model {
	return &model{
		state: ledger.State{
			Meta:       m.state.Meta,
			Series:     maps.Clone(m.state.Series),
			Unfinished: maps.Clone(m.state.Unfinished),
			Policies:   maps.Clone(m.state.Policies),
			Instances:  maps.Clone(m.state.Instances),
		},
		ids:     maps.Clone(m.ids),
		skipped: maps.Clone(m.skipped),
	}
}

func replace[K comparable, V any](to, changes map[K]*V) {
	maps.Copy(to, changes)
	maps.DeleteFunc(to, func(_ K, v *V) bool { return v == nil })
}

// expires reports whether an id is forgotten at t.
func expires(r ledger.SeenSession, t time.Time) bool {
	return r.At.Before(t) && r.Day != ledger.DayUnknown && int64(r.Day)*86400*1e3 <= t.UnixMilli()
}

func (m *model) save(c *ledger.Changes) {
	if c.Meta != nil {
		m.state.Meta = *c.Meta
	}
	replace(m.state.Series, c.Series)
	replace(m.state.Unfinished, c.Unfinished)
	replace(m.state.Policies, c.Policies)
	replace(m.state.Instances, c.Instances)
	for id, r := range c.Seen {
		r.At = r.At.Truncate(time.Second)
		m.ids[id] = r
	}
	for id, at := range c.Skipped {
		m.skipped[id] = at.Truncate(time.Second)
	}
	if !c.Forget.IsZero() {
		maps.DeleteFunc(m.ids, func(_ ledger.ID, r ledger.SeenSession) bool { return expires(r, c.Forget) })
		maps.DeleteFunc(m.skipped, func(_ ledger.ID, at time.Time) bool { return at.Before(c.Forget) })
	}
}

// diff returns how a state differs from the model.
func (m *model) diff(t TB, b state) string {
	t.Helper()
	got, err := b.Load()
	if err != nil {
		t.Fatal(err)
	}
	if got.Series == nil || got.Unfinished == nil || got.Policies == nil || got.Instances == nil {
		t.Fatal("Load returned a nil map")
	}
	if diff := cmp.Diff(&m.state, got, cmpopts.EquateEmpty()); diff != "" {
		return diff
	}
	newest, some := int32(0), false
	for _, r := range m.ids {
		if r.Day != ledger.DayUnknown && (!some || r.Day > newest) {
			newest, some = r.Day, true
		}
	}
	if day, found := b.NewestDay(); day != newest || found != some {
		return fmt.Sprintf("NewestDay() = %d, %v, want %d, %v", day, found, newest, some)
	}
	ids := map[ledger.ID]ledger.SeenSession{}
	for i, id := range slices.AppendSeq(someIDs(), maps.Keys(m.ids)) {
		// Whatever days are looked at first.
		near := [][]int32{nil, recordtest.Days, {m.ids[id].Day}, {5, -5, ledger.DayUnknown}}[i%4]
		r, found, err := b.Lookup(id, near)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			ids[id] = r
		}
	}
	skipped := map[ledger.ID]bool{}
	for n := range byte(31) {
		id := ledger.ID{0: n % 3, 15: n}
		found, err := b.Skipped(id)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			skipped[id] = true
		}
	}
	wantSkipped := map[ledger.ID]bool{}
	for id := range m.skipped {
		wantSkipped[id] = true
	}
	if !maps.EqualFunc(m.ids, ids, equalRemembered) {
		return cmp.Diff(m.ids, ids)
	}
	return cmp.Diff(wantSkipped, skipped)
}

func equalRemembered(a, b ledger.SeenSession) bool {
	sameTime := a.At.Equal(b.At)
	a.At, b.At = time.Time{}, time.Time{}
	return sameTime && a == b
}

func (m *model) forgettable(before time.Time) (day int32, found bool) {
	for _, r := range m.ids {
		if expires(r, before) && (!found || r.Day > day) {
			day, found = r.Day, true
		}
	}
	return day, found
}

// conform saves random changes to a state and to the model. reopen returns the
// state as a new process would find it.
func conform(t *rapid.T, b state, reopen func() state) {
	m := newModel()
	for range rapid.IntRange(1, 8).Draw(t, "steps") {
		switch rapid.IntRange(0, 3).Draw(t, "step") {
		case 0, 1:
			c := recordtest.Changes.Draw(t, "changes")
			save(t, b, c)
			m.save(c)
			continue
		case 2:
			b = reopen()
		case 3:
			before := recordtest.At.Draw(t, "before")
			wantDay, want := m.forgettable(before)
			day, found, err := b.Forgettable(before)
			if err != nil || day != wantDay || found != want {
				t.Fatalf("Forgettable(%v) = %d, %v, %v, want %d, %v", before, day, found, err, wantDay, want)
			}
		}
		if diff := m.diff(t, b); diff != "" {
			t.Fatalf("state (-want +got):\n%s", diff)
		}
	}
	if diff := m.diff(t, b); diff != "" {
		t.Fatalf("state in the end (-want +got):\n%s", diff)
	}
}

func TestAppliance(t *testing.T) {
	t.Run("file", testApplianceFile)
	t.Run("memory", testApplianceMemory)
	t.Run("load is a copy", testApplianceLoadIsACopy)
	t.Run("written by the first save", testApplianceWrittenByTheFirstSave)
	t.Run("independent", testApplianceIndependent)
	t.Run("what can't be encoded", testApplianceWhatCantBeEncoded)
	t.Run("unused dropped", testApplianceUnusedDropped)
	t.Run("closed", testApplianceClosed)
	t.Run("unusable file", testApplianceUnusableFile)
}

func testApplianceMemory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := NewMemory()
		conform(t, b, func() state { return b })
	})
}

func testApplianceFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		conform(t, openAppliance(t, s, "a"), func() state {
			// A neighbour in the same file must not be seen.
			save(t, openAppliance(t, s, "b"), recordtest.Changes.Draw(t, "neighbour"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if s, err = Open(path, Options{}); err != nil {
				t.Fatal(err)
			}
			return openAppliance(t, s, "a")
		})
	})
}

// What Load returns may be worked on without the state taking notice.
func testApplianceLoadIsACopy(t *testing.T) {
	disk := openAppliance(t, open(t, t.TempDir()), "a")
	for name, b := range map[string]state{"memory": NewMemory(), "store": disk} {
		meta := &ledger.Meta{Skipped: map[string]uint64{"gone": 1}, Bounds: []float64{1, 2}, Watermark: &ledger.Watermark{USN: 3}}
		save(t, b, &ledger.Changes{Meta: meta})
		first, err := b.Load()
		if err != nil {
			t.Fatal(err)
		}
		first.Meta.Skipped["gone"]++
		first.Meta.Bounds[0]++
		first.Meta.Watermark.USN++
		first.Series[ledger.Key{}] = &ledger.Series{}
		second, err := b.Load()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(*meta, second.Meta); diff != "" || len(second.Series) != 0 {
			t.Errorf("%s: changed with what it returned: %s", name, diff)
		}
	}
}
