// What is exposed.

package ledger

import (
	"maps"
	"slices"
	"time"
)

// View is what may be seen of a ledger: immutable, so that any number of
// goroutines may read it while polls go on.
type View struct {
	// Series are sorted by Key.
	Series []SeriesView
	// Policies are those that the appliance has, sorted by workload and id.
	Policies []*Policy
	// Gone has the names of policies that the appliance had and no longer has.
	Gone map[string]bool
	// Meta is what is known of the appliance as a whole.
	Meta
	// OverLimit has, for each of Limits, how many names are beyond it: at most 10,000, of
	// those that were seen since the process started.
	OverLimit map[string]int
}

// SeriesView is a Series with the sessions of it that run.
type SeriesView struct {
	*Series
	// Running counts the sessions that have started and not finished.
	Running int
	// Starts are those among them that can be true, in order.
	Starts []time.Time
}

// OldestStart returns the first of Starts; zero if there is none.
func (s *SeriesView) OldestStart() time.Time {
	if len(s.Starts) == 0 {
		return time.Time{}
	}
	return s.Starts[0]
}

// rebuildView makes the view from the state.
func (l *Ledger) rebuildView() {
	keys := slices.SortedFunc(maps.Keys(l.state.Series), Key.Compare)
	l.indexNames(keys)
	keys = slices.DeleteFunc(keys, func(k Key) bool { return !l.opts.Filter.matches(k.Type, k.Policy) })
	v := &View{
		Series:    make([]SeriesView, len(keys)),
		Policies:  livePolicies(l.state.Policies, anyPolicy),
		Gone:      goneNames(l.state.Policies, anyPolicy),
		Meta:      l.state.Meta,
		OverLimit: l.countOverLimit(),
	}
	at := make(map[Key]*SeriesView, len(keys))
	for i, k := range keys {
		v.Series[i].Series = l.state.Series[k]
		at[k] = &v.Series[i]
	}
	for _, u := range l.state.Unfinished {
		if u.Unresolved || !u.runs() {
			continue
		}
		sv := at[standIn(u.key(), l.hasSeries)]
		if sv == nil {
			continue
		}
		sv.Running++
		// The appliance's clock isn't known before the first poll.
		if s := u.Session.Start; !s.Before(earliest) {
			sv.Starts = append(sv.Starts, s)
		}
	}
	for i := range v.Series {
		slices.SortFunc(v.Series[i].Starts, time.Time.Compare)
	}
	l.view = v
}
