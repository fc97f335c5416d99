package ledger

import (
	"maps"
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// Options of a Ledger.
type Options struct {
	// Bounds are the classic buckets of histograms, in seconds, ascending. Where
	// they differ from the stored ones, the first pass starts the histograms over.
	Bounds []float64
	// Hold is for how long a counter that is born after first contact is published
	// as 0. 0: not at all.
	Hold time.Duration
	// MaxPolicies is how many policies may have series; 0 is any number. Sessions of
	// further ones are counted as those of no policy.
	MaxPolicies int
	// Wanted says which series are of interest, by their type and policy; nil: all. What
	// others were counted for stays in the books, and is not in a View.
	Wanted func(typ, policy string) bool
	// WantedType says which types of sessions are of interest, whatever their policy;
	// nil: all.
	WantedType func(typ string) bool
	// Once says that the process makes one pass, and shows what came of it at once.
	Once bool
	// Forgetful says that nothing can be known of an earlier life of the process:
	// what had ended before first contact is then not counted.
	Forgetful bool
}

// Ledger holds the books of one appliance.
type Ledger struct {
	state  *State
	memory Memory
	opts   Options
	// holds has, for each held counter, when its hold ends.
	holds map[heldCounter]time.Time
	// known has the labels' values that count for a limit, by limit: those of all
	// series, and policies of those in the view. counters is how many counters there
	// are, and over has what is beyond each limit.
	known    map[string]map[string]bool
	counters int
	over     map[string]over
	view     *View
	// ahead is how far the appliance's clock is ahead of the exporter's.
	ahead time.Duration
	// counted has when each series counted last, of those that just have.
	counted map[Key]time.Time
	opened  time.Time
	// leaving are the policies that are gone, and series of which stay for a while.
	leaving map[string]bool
}

type heldCounter struct {
	key    Key
	status string
}

// New opens the books as they were stored. Holds begin anew at now. The ledger
// owns state from here on.
func New(state *State, memory Memory, opts Options, now time.Time) *Ledger {
	l := &Ledger{
		state: state, memory: memory, opts: opts,
		holds: make(map[heldCounter]time.Time), over: make(map[string]over),
		counted: make(map[Key]time.Time), opened: now,
	}
	for _, s := range state.Series {
		l.noteHolds(s, now)
	}
	l.rebuildView()
	return l
}

// wanted reports whether the sessions of that type and policy are of interest.
func (l *Ledger) wanted(typ, policy string) bool {
	return l.opts.Wanted == nil || l.opts.Wanted(typ, policy)
}

func (l *Ledger) wantedType(typ string) bool {
	return l.opts.WantedType == nil || l.opts.WantedType(typ)
}

// noteHolds gives each held counter that has no end of its hold yet one that is
// counted from now.
func (l *Ledger) noteHolds(s *Series, now time.Time) {
	for _, c := range s.Counters {
		h := heldCounter{s.Key, c.Status}
		if !c.Held {
			delete(l.holds, h)
		} else if _, ok := l.holds[h]; !ok {
			l.holds[h] = now.Add(l.opts.Hold)
		}
	}
}

// View returns what may be seen after the last committed pass.
func (l *Ledger) View() *View { return l.view }

// Meta returns what is remembered of the appliance as a whole, after the last
// committed pass. Its maps, slices and pointers must not be changed.
func (l *Ledger) Meta() Meta { return l.state.Meta }

// NextLift returns when the next hold ends; the zero time where none is held.
func (l *Ledger) NextLift() time.Time {
	var next time.Time
	for _, t := range l.holds {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}

// rebuildView makes the view from the state.
func (l *Ledger) rebuildView() {
	keys := slices.SortedFunc(maps.Keys(l.state.Series), Key.Compare)
	l.know(keys)
	keys = slices.DeleteFunc(keys, func(k Key) bool { return !l.wanted(k.Type, k.Policy) })
	v := &View{
		Series:    make([]SeriesView, len(keys)),
		Policies:  l.livePolicies(),
		Zone:      l.state.Meta.Zone,
		Bounds:    l.state.Meta.Bounds,
		Watermark: l.state.Meta.Watermark,
		LastSweep: l.state.Meta.LastSweep,
		Resets:    l.state.Meta.Resets,
		Skipped:   make(map[string]uint64, len(SkipReasons)),
		Over:      l.countOver(),
	}
	for _, reason := range SkipReasons {
		v.Skipped[reason] = l.state.Meta.Skipped[reason]
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
		if s := u.Session.Start; !s.Before(earliest) && (sv.OldestStart.IsZero() || s.Before(sv.OldestStart)) {
			sv.OldestStart = s
		}
	}
	l.view = v
}

// know notes what the series have that counts for a limit.
func (l *Ledger) know(keys []Key) {
	l.known = map[string]map[string]bool{
		LimitPolicies: {}, LimitTypes: {vbaws.TypePolicy: true}, LimitExtendedTypes: {}, LimitStatuses: {},
	}
	for _, status := range vbaws.FinalStatuses {
		l.known[LimitStatuses][status] = true
	}
	l.counters = 0
	note := func(limit, name string) {
		if name != "" && name != Other {
			l.known[limit][name] = true
		}
	}
	for _, k := range keys {
		note(LimitTypes, k.Type)
		note(LimitExtendedTypes, k.ExtendedType)
		if l.wanted(k.Type, k.Policy) {
			note(LimitPolicies, k.Policy)
		}
		for _, c := range l.state.Series[k].Counters {
			note(LimitStatuses, c.Status)
		}
		l.counters += len(l.state.Series[k].Counters)
	}
}

func (l *Ledger) hasSeries(k Key) bool { return l.state.Series[k] != nil }

func (u *Unfinished) key() Key { return keyOf(&u.Session, u.Policy) }

// runs reports whether the session has begun: NeverExecuted ones wait.
func (u *Unfinished) runs() bool { return u.Session.Status != vbaws.StatusNeverExecuted }

func keyOf(s *vbaws.Session, policy string) Key {
	return Key{Type: s.Type, ExtendedType: s.ExtendedType, Policy: policy}
}
