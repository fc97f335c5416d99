// One pass is one transaction.

package ledger

import (
	"maps"
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// Pass collects what one pass over an appliance changes. Nothing of it shows in
// the ledger before Commit.
type Pass struct {
	l   *Ledger
	now time.Time

	// meta is the ledger's own until editMeta.
	meta       *Meta
	series     map[Key]*Series
	unfinished map[ID]*Unfinished
	policies   map[PolicyKey]*Policy
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
	// counters are new. overLimit has the names beyond each limit that the ledger doesn't have
	// yet, and exceeded what is reported of them.
	fresh     map[string]map[string]bool
	counters  int
	overLimit map[string]overLimit
	exceeded  map[string]*Exceeded
	// open is how many sessions are unfinished.
	open  int
	reset bool
	// counted are the series that counted in this pass.
	counted map[Key]bool
	// leaving is the Ledger's from this pass on; nil if it stays as it is.
	leaving map[string]bool
}

// Begin starts a pass at now, the exporter's clock. Holds that have ended are
// lifted in it.
func (l *Ledger) Begin(now time.Time) *Pass {
	now = now.UTC().Round(0)
	p := &Pass{
		l: l, now: now,
		meta:       &l.state.Meta,
		series:     make(map[Key]*Series),
		unfinished: make(map[ID]*Unfinished),
		policies:   make(map[PolicyKey]*Policy),
		seen:       make(map[ID]SeenSession),
		skipped:    make(map[ID]time.Time),
		fresh:      make(map[string]map[string]bool),
		overLimit:  make(map[string]overLimit),
		exceeded:   make(map[string]*Exceeded),
		counted:    make(map[Key]bool),
		open:       len(l.state.Unfinished),
	}
	p.lift()
	if !slices.Equal(p.meta.Bounds, l.opts.Bounds) {
		p.rebucket()
	}
	p.readmit()
	return p
}

// readmit makes series for the unfinished sessions of policies that are not filtered out
// any more.
func (p *Pass) readmit() {
	for id, u := range p.l.state.Unfinished {
		if u.Unresolved || !p.l.opts.Filter.matches(u.Session.Type, u.Policy) || p.l.hasSeries(standIn(u.key(), p.l.hasSeries)) {
			continue
		}
		k := p.place(&u.Session, u.Policy)
		if k.Policy != u.Policy {
			c := *u
			c.Policy = k.Policy
			p.unfinished[id] = &c
		}
		p.touch(k)
	}
}

// SetClock sets the appliance's clock, which is the exporter's until then, for this
// pass and all that follow.
func (p *Pass) SetClock(t time.Time) { p.l.ahead = t.Sub(p.now) }

// clock is the appliance's.
func (p *Pass) clock() time.Time { return p.now.Add(p.l.ahead) }

// Times are TimesOf by the appliance's clock.
func (p *Pass) Times(s *vbaws.Session) Times { return TimesOf(s, p.clock()) }

// Next returns the next part of a long pass, which is several transactions. The changes
// so far must have been saved and committed.
func (p *Pass) Next() *Pass {
	n := p.l.Begin(p.now)
	n.reset, n.exceeded, n.backfilled = p.reset, p.exceeded, p.backfilled
	n.seen = make(map[ID]SeenSession, len(p.seen)) // as many are likely to come
	return n
}

// Size returns how many sessions and rows the pass would save: from some size on it is
// time for Next.
func (p *Pass) Size() int { return len(p.seen) + len(p.unfinished) + len(p.skipped) }

// Meta returns what is known of the appliance as a whole, as this pass has it
// so far. Its maps, slices and pointers must not be changed.
func (p *Pass) Meta() Meta { return *p.meta }

func (p *Pass) editMeta() *Meta {
	if p.meta == &p.l.state.Meta {
		m := *p.meta
		p.meta = &m
	}
	return p.meta
}

// Changes returns what the pass has changed so far, to be saved.
func (p *Pass) Changes() *Changes {
	c := &Changes{
		Series: p.series, Unfinished: p.unfinished, Policies: p.policies,
		Seen: p.seen, Skipped: p.skipped, Forget: p.forget,
	}
	if p.meta != &p.l.state.Meta {
		c.Meta = p.meta
	}
	return c
}

// Commit makes the saved changes of the pass the ledger's, at now, and returns
// the new view. Holds count from here. The pass must not be used any more.
func (p *Pass) Commit(now time.Time) *View {
	c := p.Changes()
	if c.Empty() {
		return p.l.view
	}
	p.l.state.Apply(c)
	maps.DeleteFunc(p.l.counted, func(_ Key, at time.Time) bool { return !recent(at, now) })
	for k := range p.counted {
		p.l.counted[k] = now
	}
	if p.leaving != nil {
		p.l.leaving = p.leaving
	}
	p.l.keepOverLimit(p)
	for k, s := range p.series {
		p.l.noteHolds(k, s, now)
	}
	p.l.rebuildView()
	return p.l.view
}

// overlay returns m with changes, in which nil removes.
func overlay[K comparable, V any](m, changes map[K]*V) map[K]*V {
	all := maps.Clone(m)
	apply(all, changes)
	return all
}
