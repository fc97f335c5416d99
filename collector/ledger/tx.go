// A poll is one transaction, or several.

package ledger

import (
	"maps"
	"slices"
	"time"
)

// Tx is a transaction: it collects what one poll changes. Nothing of it shows in
// the ledger before Commit.
type Tx struct {
	l   *Ledger
	now time.Time

	// meta is the ledger's own until editMeta.
	meta       *Meta
	series     map[Key]*Series
	unfinished map[ID]*Unfinished
	policies   map[PolicyKey]*Policy
	instances  map[ID]*InstanceBackup
	seen       map[ID]SeenSession
	skipped    map[ID]time.Time
	forget     time.Time

	// days is the scratch space of daysNear.
	days [7]int32

	events []Event
	// backfilled counts the sessions of Backfill that were counted.
	backfilled int
	// names are those of the policies that the appliance has; nil until HasPolicy.
	names map[string]bool
	// fresh has the names, by limit, that get their first series, and counters how many
	// counters are new. exceeded is what is reported of names beyond each limit.
	fresh    map[string]map[string]bool
	counters int
	exceeded map[string]*Exceeded
	// open is how many sessions are unfinished.
	open  int
	reset bool
	// leaving is the Ledger's from this transaction on; nil if it stays as it is.
	leaving map[string]bool
}

// Begin starts a transaction at now, the exporter's clock. Holds that have ended are
// lifted in it.
func (l *Ledger) Begin(now time.Time) *Tx {
	now = now.UTC().Round(0)
	tx := &Tx{
		l: l, now: now,
		meta:       &l.state.Meta,
		series:     make(map[Key]*Series),
		unfinished: make(map[ID]*Unfinished),
		policies:   make(map[PolicyKey]*Policy),
		instances:  make(map[ID]*InstanceBackup),
		seen:       make(map[ID]SeenSession),
		skipped:    make(map[ID]time.Time),
		fresh:      make(map[string]map[string]bool),
		exceeded:   make(map[string]*Exceeded),
		open:       len(l.state.Unfinished),
	}
	tx.lift()
	if !slices.Equal(tx.meta.Bounds, l.opts.Bounds) {
		tx.rebucket()
	}
	tx.readmit()
	return tx
}

// readmit makes series for the unfinished sessions of policies that are not filtered out
// any more.
func (tx *Tx) readmit() {
	for id, u := range tx.l.state.Unfinished {
		if u.Unresolved || !tx.l.opts.Filter.matches(u.Session.Type, u.Policy) || tx.l.hasSeries(standIn(u.key(), tx.l.hasSeries)) {
			continue
		}
		k := tx.place(&u.Session, u.Policy)
		if k.Policy != u.Policy {
			c := *u
			c.Policy = k.Policy
			tx.unfinished[id] = &c
		}
		tx.touch(k)
	}
}

// SetClock sets the appliance's clock, which is the exporter's until then, for this
// transaction and all that follow.
func (tx *Tx) SetClock(t time.Time) { tx.l.ahead = t.Sub(tx.now) }

// clock is the appliance's.
func (tx *Tx) clock() time.Time { return tx.now.Add(tx.l.ahead) }

// CanBe reports whether a time that the appliance sent can be true.
func (tx *Tx) CanBe(t time.Time) bool { return usable(t, tx.clock()) }

// Next returns the next part of a long poll, which is several transactions. The changes
// so far must have been saved and committed.
func (tx *Tx) Next() *Tx {
	n := tx.l.Begin(tx.now)
	n.reset, n.exceeded, n.backfilled = tx.reset, tx.exceeded, tx.backfilled
	n.seen = make(map[ID]SeenSession, len(tx.seen)) // as many are likely to come
	return n
}

// Size returns how many sessions and rows the transaction would save: from some size on it is
// time for Next.
func (tx *Tx) Size() int { return len(tx.seen) + len(tx.unfinished) + len(tx.skipped) }

// Meta returns what is known of the appliance as a whole, as this transaction has it
// so far. Its maps, slices and pointers must not be changed.
func (tx *Tx) Meta() Meta { return *tx.meta }

func (tx *Tx) editMeta() *Meta {
	if tx.meta == &tx.l.state.Meta {
		m := *tx.meta
		tx.meta = &m
	}
	return tx.meta
}

// Changes returns what the transaction has changed so far, to be saved.
func (tx *Tx) Changes() *Changes {
	c := &Changes{
		Series: tx.series, Unfinished: tx.unfinished, Policies: tx.policies, Instances: tx.instances,
		Seen: tx.seen, Skipped: tx.skipped, Forget: tx.forget,
	}
	if tx.meta != &tx.l.state.Meta {
		c.Meta = tx.meta
	}
	return c
}

// Commit makes the saved changes of the transaction the ledger's, at now, and returns
// the new view. Holds count from here. The transaction must not be used any more.
func (tx *Tx) Commit(now time.Time) *View {
	c := tx.Changes()
	if c.Empty() {
		return tx.l.view
	}
	tx.l.state.Apply(c)
	maps.DeleteFunc(tx.l.changed, func(_ Key, at time.Time) bool { return !recent(at, now) })
	for k := range tx.series {
		tx.l.changed[k] = now
	}
	if tx.leaving != nil {
		tx.l.leaving = tx.leaving
	}
	tx.l.noteHolds(now)
	tx.l.rebuildView()
	return tx.l.view
}

// look returns what m has for a key with changes, in which nil removes.
func look[K comparable, V any](m, changes map[K]*V, k K) *V {
	if v, ok := changes[k]; ok {
		return v
	}
	return m[k]
}

// overlay returns m with changes, in which nil removes. It is only to be read.
func overlay[K comparable, V any](m, changes map[K]*V) map[K]*V {
	if len(changes) == 0 {
		return m
	}
	all := maps.Clone(m)
	apply(all, changes)
	return all
}
