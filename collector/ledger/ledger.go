package ledger

import "time"

// Options of a Ledger.
type Options struct {
	// Bounds are the classic buckets of histograms, in seconds, ascending. If
	// they differ from the stored ones, the first transaction starts the histograms over.
	Bounds []float64
	// Hold is for how long a counter that is made after the initial sync is published
	// as 0. 0: not at all.
	Hold time.Duration
	// MaxPolicies is how many policies may have series; 0 is any number. Sessions of
	// further ones are counted as those of no policy.
	MaxPolicies int
	// Filter selects the series that are of interest. What others counted stays in the State,
	// and is in no View.
	Filter Filter
	// OneShot is set if the process makes one poll, and shows its result at once.
	OneShot bool
	// Ephemeral is set if no state outlives the process: sessions that had finished before
	// the initial sync are then not counted.
	Ephemeral bool
}

// Filter selects what is of interest. A nil function matches everything.
type Filter struct {
	// Type is asked of a session's type, Policy of a policy's name; the empty name is
	// that of sessions of no policy.
	Type, Policy func(string) bool
}

// MatchesType reports whether sessions of that type are of interest.
func (f *Filter) MatchesType(typ string) bool { return f.Type == nil || f.Type(typ) }

// MatchesPolicy reports whether sessions of that policy are of interest.
func (f *Filter) MatchesPolicy(name string) bool { return f.Policy == nil || f.Policy(name) }

func (f *Filter) matches(typ, policy string) bool {
	return f.MatchesType(typ) && f.MatchesPolicy(policy)
}

// Ledger counts the sessions of one appliance.
type Ledger struct {
	state *State
	index SeenIndex
	opts  Options
	// holds has, for each held counter, when its hold ends.
	holds map[heldCounter]time.Time
	// known has the labels' values that count for a limit, by limit: those of all
	// series, and policies of those in the view. counters is how many counters there
	// are, and overLimit has hashes of the names beyond each limit.
	known     map[string]map[string]bool
	counters  int
	overLimit map[string]map[uint64]bool
	view      *View
	// ahead is how far the appliance's clock is ahead of the exporter's.
	ahead time.Duration
	// changed has when each series changed last, if that was less than shownFor ago.
	changed map[Key]time.Time
	opened  time.Time
	// leaving are the policies that are gone and whose series stay for a while.
	leaving map[string]bool
}

// New returns a ledger that goes on from state, which it owns from here on. Holds begin
// again at now.
func New(state *State, index SeenIndex, opts Options, now time.Time) *Ledger {
	l := &Ledger{
		state: state, index: index, opts: opts,
		overLimit: make(map[string]map[uint64]bool), changed: make(map[Key]time.Time), opened: now,
	}
	for _, s := range state.Series {
		s.seedHistory()
	}
	l.noteHolds(now)
	l.rebuildView()
	return l
}

// View returns what may be seen after the last committed transaction.
func (l *Ledger) View() *View { return l.view }

// Synced reports whether the initial sync is complete.
func (l *Ledger) Synced() bool { return !l.state.Meta.SyncedAt.IsZero() }
