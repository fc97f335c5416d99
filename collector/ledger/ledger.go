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
	// policies are the names that series in the view have, and turnedAway those that
	// MaxPolicies left without.
	policies   map[string]bool
	turnedAway map[string]bool
	view       *View
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
		holds: make(map[heldCounter]time.Time), turnedAway: make(map[string]bool),
		counted: make(map[Key]time.Time), opened: now,
	}
	for _, s := range state.Series {
		l.noteHolds(s, now)
	}
	l.rebuildView()
	return l
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

// rebuildView makes the view anew from the state.
func (l *Ledger) rebuildView() {
	keys := slices.SortedFunc(maps.Keys(l.state.Series), Key.Compare)
	if wanted := l.opts.Wanted; wanted != nil {
		keys = slices.DeleteFunc(keys, func(k Key) bool { return !wanted(k.Type, k.Policy) })
	}
	v := &View{
		Series:    make([]SeriesView, len(keys)),
		Policies:  l.livePolicies(),
		Zone:      l.state.Meta.Zone,
		Bounds:    l.state.Meta.Bounds,
		Watermark: l.state.Meta.Watermark,
		LastSweep: l.state.Meta.LastSweep,
		Resets:    l.state.Meta.Resets,
		Skipped:   make(map[string]uint64, len(SkipReasons)),
	}
	for _, reason := range SkipReasons {
		v.Skipped[reason] = l.state.Meta.Skipped[reason]
	}
	at := make(map[Key]*SeriesView, len(keys))
	l.policies = make(map[string]bool)
	for i, k := range keys {
		v.Series[i].Series = l.state.Series[k]
		at[k] = &v.Series[i]
		if k.Policy != "" {
			l.policies[k.Policy] = true
		}
	}
	for name := range l.turnedAway {
		if l.policies[name] || len(l.policies) < l.opts.MaxPolicies {
			delete(l.turnedAway, name)
		}
	}
	v.TurnedAway = len(l.turnedAway)
	for _, u := range l.state.Unfinished {
		if sv := at[u.key()]; sv != nil && u.runs() {
			sv.Running++
			if s := u.Session.Start; !s.IsZero() && (sv.OldestStart.IsZero() || s.Before(sv.OldestStart)) {
				sv.OldestStart = s
			}
		}
	}
	l.view = v
}

func (u *Unfinished) key() Key { return keyOf(&u.Session, u.Policy) }

// runs reports whether the session has begun: NeverExecuted ones wait.
func (u *Unfinished) runs() bool { return u.Session.Status != vbaws.StatusNeverExecuted }

func keyOf(s *vbaws.Session, policy string) Key {
	return Key{Type: s.Type, ExtendedType: s.ExtendedType, Policy: policy}
}

// Finished reports whether s has ended. A status that nobody has seen before
// counts as an end once there is a stop time.
func Finished(s *vbaws.Session) bool {
	switch s.Status {
	case vbaws.StatusRunning, vbaws.StatusNeverExecuted:
		return false
	}
	return slices.Contains(vbaws.FinalStatuses, s.Status) || !s.Stop.IsZero()
}

// Duration is how long s took: stop less start. The appliance's own figure
// serves only where one of them is missing, since the one published sample of it
// is wrong. It is never below zero, and to the microsecond.
func Duration(s *vbaws.Session) time.Duration {
	d := s.Duration
	if !s.Start.IsZero() && !s.Stop.IsZero() {
		d = s.Stop.Sub(s.Start)
	}
	return max(0, d).Round(time.Microsecond)
}

// end is when s ended, as well as that can be known.
func end(s *vbaws.Session, now time.Time) time.Time {
	switch {
	case !s.Stop.IsZero():
		return s.Stop
	case !s.Start.IsZero():
		return s.Start.Add(Duration(s))
	}
	return now
}

// Begun is when s began: its start, or where it has none its stop; zero where it
// has neither.
func Begun(s *vbaws.Session) time.Time {
	if s.Start.IsZero() {
		return s.Stop
	}
	return s.Start
}
