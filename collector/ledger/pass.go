package ledger

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/vbaws"
)

// Pass collects what one pass over an appliance changes. Nothing of it shows in
// the ledger before Commit.
type Pass struct {
	l    *Ledger
	now  time.Time
	born time.Time
	// first says that this pass makes first contact.
	first bool

	meta       Meta
	metaDirty  bool
	series     map[Key]*Series
	unfinished map[ID]*Unfinished
	policies   map[PolicyKey]*Policy
	remembered map[ID]Remembered
	skipped    map[ID]time.Time
	forget     time.Time

	// parsed is what ID was asked last, id what it answered.
	parsed string
	id     ID
	// asked is what memory was asked last, found and known what it answered;
	// answered says that it was asked at all.
	asked    question
	found    Remembered
	known    bool
	answered bool

	events []Event
	// old counts the events of sessions that had ended before first contact.
	old int
	// names are those of the policies that the appliance has; nil until asked for.
	names map[string]bool
	// admitted are the policies that get their first series, turnedAway those that
	// don't.
	admitted, turnedAway map[string]bool
	reset                bool
	// counted are the series that counted in this pass.
	counted map[Key]bool
	// leaving is the Ledger's from this pass on; nil where it stays.
	leaving map[string]bool
}

// Event is something that a log should tell once the pass has been published.
type Event struct {
	// Skipped is the reason that a session was not counted for; empty for one that
	// was.
	Skipped string
	// Session and Policy are what is known of it.
	Session vbaws.Session
	Policy  string
	// Duration is that of a counted session.
	Duration time.Duration
	// Err says what could not be understood.
	Err error
	// Old says that the session had ended before first contact.
	Old bool
}

// maxOld is how many old sessions make an Event: those that are met first, since
// first contact reads the newest first.
const maxOld = 100

// Origin is where a session was met.
type Origin int

const (
	// Regular is a list of what changed.
	Regular Origin = iota
	// Window is the list that first contact counts.
	Window
	// History is what first contact only remembers.
	History
	// LookUp is a look-up of one policy's newest session.
	LookUp
	// Ran is what first contact met before it had ended: its end is news, however
	// long ago it started.
	Ran
)

// Begin starts a pass at now, the exporter's clock. Holds that have ended are
// lifted in it.
func (l *Ledger) Begin(now time.Time) *Pass {
	now = now.UTC().Round(0)
	p := &Pass{
		l: l, now: now, born: now,
		meta:       l.state.Meta,
		series:     make(map[Key]*Series),
		unfinished: make(map[ID]*Unfinished),
		policies:   make(map[PolicyKey]*Policy),
		remembered: make(map[ID]Remembered),
		skipped:    make(map[ID]time.Time),
		admitted:   make(map[string]bool),
		turnedAway: make(map[string]bool),
		counted:    make(map[Key]bool),
	}
	for h, until := range l.holds {
		if !now.Before(until) {
			c := p.counter(p.touch(h.key), h.status)
			c.Held = false
			if c.Count > 0 {
				p.counted[h.key] = true
			}
		}
	}
	if !slices.Equal(p.meta.Bounds, l.opts.Bounds) {
		p.rebucket()
	}
	return p
}

// rebucket starts every histogram over, with the bounds that are wanted now.
func (p *Pass) rebucket() {
	p.editMeta().Bounds = slices.Clone(p.l.opts.Bounds)
	for k, s := range p.l.state.Series {
		for i, c := range s.Counters {
			if c.Histogram != nil {
				p.touch(k).Counters[i].Histogram = newHistogram(p.now, c.Count, p.meta.Bounds)
			}
		}
	}
}

// Next returns what the pass goes on with after what it has so far was saved and
// committed: a long pass is several transactions.
func (p *Pass) Next() *Pass {
	n := p.l.Begin(p.now)
	n.first, n.born, n.reset, n.turnedAway, n.old = p.first, p.born, p.reset, p.turnedAway, p.old
	n.remembered = make(map[ID]Remembered, len(p.remembered)) // as many are likely to come
	return n
}

// Size returns how many sessions are to be remembered of those folded so far, to
// tell when it is time for Next.
func (p *Pass) Size() int { return len(p.remembered) }

// ID is ParseID. Of one session it is asked many times in a row.
func (p *Pass) ID(s string) ID {
	if s != p.parsed || s == "" {
		p.parsed, p.id = s, ParseID(s)
	}
	return p.id
}

// Contacted reports whether first contact was made in an earlier pass.
func (p *Pass) Contacted() bool { return !p.l.state.Meta.FirstContact.IsZero() }

// BeginFirstContact makes this pass first contact, and returns the start of the
// window that is counted, by the appliance's clock: since, or where an earlier pass
// began first contact and didn't come to its end, what was since then. Counters are
// as old as that.
func (p *Pass) BeginFirstContact(since time.Time) time.Time {
	if p.meta.ContactFrom.IsZero() {
		p.editMeta().ContactFrom = since
	}
	p.first, p.born = true, p.meta.ContactFrom
	return p.born
}

// EndFirstContact completes first contact. Nothing is published before.
func (p *Pass) EndFirstContact() {
	m := p.editMeta()
	m.FirstContact, m.ContactFrom = p.now, time.Time{}
}

// Meta is what is remembered of the appliance as a whole, as this pass has it so
// far. Its maps, slices and pointers must not be changed.
func (p *Pass) Meta() Meta { return p.meta }

func (p *Pass) editMeta() *Meta {
	p.metaDirty = true
	return &p.meta
}

// SetWatermark moves the watermark.
func (p *Pass) SetWatermark(w Watermark) {
	if p.meta.Watermark == nil || *p.meta.Watermark != w {
		p.editMeta().Watermark = &w
	}
}

// DrawLine moves the line back to t if it is not there or further back already.
// Only first contact does.
func (p *Pass) DrawLine(t time.Time) {
	if !t.IsZero() && (p.meta.Line.IsZero() || t.Before(p.meta.Line)) {
		p.editMeta().Line = t
	}
}

// Swept records a complete sweep that began at the given time of the appliance's
// clock.
func (p *Pass) Swept(at time.Time, wide bool, next time.Duration) {
	m := p.editMeta()
	m.LastSweep, m.SweptAt, m.SweepInterval = at, p.now, next
	if wide {
		m.LastWideSweep = at
	}
}

// OweSweep makes the next pass sweep at once, unless Swept comes before the end of
// this one.
func (p *Pass) OweSweep() { p.editMeta().SweepInterval = 0 }

// Reset counts that the USN was seen to start over, once a pass.
func (p *Pass) Reset() {
	if !p.reset {
		p.reset = true
		p.editMeta().Resets++
	}
}

// WasReset reports whether the USN was seen to start over in this pass: by
// Reset, or since an unfinished session was met with a lower USN than before.
func (p *Pass) WasReset() bool { return p.reset }

// TurnedAway returns the policies that get no series since there are too many.
func (p *Pass) TurnedAway() []string { return slices.Sorted(maps.Keys(p.turnedAway)) }

// Events returns what happened in the pass so far.
func (p *Pass) Events() []Event { return p.events }

// Standing is what the books know of a session.
type Standing int

const (
	// Unknown sessions were never heard of.
	Unknown Standing = iota
	// Changed sessions are known, but not like this.
	Changed
	// Unchanged sessions have nothing to tell.
	Unchanged
)

// Standing returns what is known of s.
func (p *Pass) Standing(s *vbaws.Session) (Standing, error) {
	id := p.ID(s.ID)
	if u := p.unfinishedOf(id); u != nil {
		if sameSession(&u.Session, s) {
			return Unchanged, nil
		}
		return Changed, nil
	}
	r, known, err := p.find(id, s)
	switch {
	case err != nil || !known:
		return Unknown, err
	case r.USN == s.USN && r.Print == print(s):
		return Unchanged, nil
	}
	return Changed, nil
}

// Open reports whether the books have an unfinished session of that id.
func (p *Pass) Open(id ID) bool { return p.unfinishedOf(id) != nil }

// UnfinishedPolicy returns the policy that an unfinished session was found to
// belong to when it was first heard of, and whether there is such a session.
func (p *Pass) UnfinishedPolicy(s *vbaws.Session) (policy string, ok bool) {
	if u := p.unfinishedOf(p.ID(s.ID)); u != nil {
		return u.Policy, true
	}
	return "", false
}

// FirstSeen returns the start that an unfinished session was first taken in with, and
// now if there is no such session. It stands for a start that the appliance doesn't give.
func (p *Pass) FirstSeen(sessionID string, now time.Time) time.Time {
	if u := p.unfinishedOf(p.ID(sessionID)); u != nil && !u.Session.Start.IsZero() {
		return u.Session.Start
	}
	return now
}

// Fold takes in s, which belongs to policy (empty for none). It may be called
// any number of times with the same session: the last state of it counts.
func (p *Pass) Fold(s vbaws.Session, policy string, from Origin) error {
	id := p.ID(s.ID)
	u := p.unfinishedOf(id)
	r, known, err := p.find(id, &s)
	if err != nil {
		return err
	}
	policy = p.admit(policy)
	key := keyOf(&s, policy)

	var countable, counted bool
	switch {
	case u != nil:
		countable, counted = u.Countable, u.Counted
		if s.USN < u.Session.USN {
			p.Reset()
		}
	case known:
		counted = true
	default:
		countable = p.countable(&s, from)
		if !countable && from == Regular {
			p.skip(SkipBeforeLine, Event{Session: s, Policy: policy})
		}
	}

	if !Finished(&s) {
		if known {
			// It has come to life again: from here on the books of the unfinished
			// know that it was counted.
			counted, countable = true, false
		}
		p.unfinished[id] = &Unfinished{Session: s, Policy: policy, Counted: counted, Countable: countable}
		if p.series[key] == nil && p.l.state.Series[key] == nil {
			p.touch(key)
		}
		return nil
	}
	series := p.touch(key)
	if u != nil {
		p.unfinished[id] = nil
	}
	if countable && !counted {
		p.count(series, &s, policy, from)
	}
	p.see(series, id, &s)
	day := r.Day
	if !known {
		day = dayOf(Begun(&s))
	}
	p.remember(id, day, &s)
	return nil
}

// admit returns policy, or the empty name where it is new and there are too many.
func (p *Pass) admit(policy string) string {
	limit := p.l.opts.MaxPolicies
	if policy == "" || limit == 0 || p.l.policies[policy] || p.admitted[policy] {
		return policy
	}
	if len(p.l.policies)+len(p.admitted) >= limit {
		p.turnedAway[policy] = true
		return ""
	}
	p.admitted[policy] = true
	return policy
}

// Ignore takes in a session that nobody wants to know of.
func (p *Pass) Ignore(s *vbaws.Session) {
	id := p.ID(s.ID)
	if p.unfinishedOf(id) != nil {
		p.unfinished[id] = nil
	}
	p.remember(id, dayOf(Begun(s)), s)
}

// countable decides whether a session that was never heard of is new.
func (p *Pass) countable(s *vbaws.Session, from Origin) bool {
	if p.first && (from == Window || from == History) {
		return !Finished(s) || from == Window && !p.l.opts.Forgetful
	}
	if p.first && from == Ran {
		return true
	}
	b := Begun(s)
	return b.IsZero() || !b.Before(p.meta.Line)
}

// count counts s, in the one place where anything is.
func (p *Pass) count(series *Series, s *vbaws.Session, policy string, from Origin) {
	c := p.counter(series, s.Status)
	if c.Histogram == nil {
		born := p.now
		if p.first {
			born = p.born
		}
		c.Histogram = newHistogram(born, c.Count, p.meta.Bounds)
	}
	e := &Exemplar{SessionID: s.ID, Duration: Duration(s), End: end(s, p.now)}
	c.Count++
	p.counted[series.Key] = true
	c.Exemplar = e
	c.Histogram.observe(e, p.meta.Bounds)
	old := from == Window
	if old {
		p.old++
	}
	if !old || p.old <= maxOld {
		p.events = append(p.events, Event{Session: *s, Policy: policy, Duration: e.Duration, Old: old})
	}
}

// see moves the gauges of finished sessions.
func (p *Pass) see(series *Series, id ID, s *vbaws.Session) {
	last := Last{ID: id, Status: s.Status, End: end(s, p.now), Duration: Duration(s)}
	c := p.counter(series, s.Status)
	if last.End.After(c.End) {
		c.End = last.End
	}
	if id == series.Last.ID || newer(last, series.Last) {
		series.Last = last
	}
}

func newer(a, b Last) bool {
	return cmp.Or(a.End.Compare(b.End), slices.Compare(a.ID[:], b.ID[:])) > 0
}

// SkipRow takes in a row that could not be understood.
func (p *Pass) SkipRow(row *vbaws.Row) error {
	id := ID(row.Hash)
	if row.ID != "" {
		id = p.ID(row.ID)
	}
	if _, ok := p.skipped[id]; ok {
		return nil
	}
	if done, err := p.l.memory.Skipped(id); err != nil || done {
		return err
	}
	p.skipped[id] = p.now.Truncate(time.Second)
	p.skip(SkipUndecodable, Event{Session: row.Session, Err: row.Err})
	return nil
}

func (p *Pass) skip(reason string, e Event) {
	m := p.editMeta()
	m.Skipped = maps.Clone(m.Skipped)
	if m.Skipped == nil {
		m.Skipped = make(map[string]uint64)
	}
	m.Skipped[reason]++
	e.Skipped = reason
	p.events = append(p.events, e)
}

// Unfinished returns the sessions that have not ended, as this pass has them so
// far, in the order of their ids.
func (p *Pass) Unfinished() []*Unfinished {
	all := overlay(p.l.state.Unfinished, p.unfinished)
	return slices.SortedFunc(maps.Values(all), func(a, b *Unfinished) int {
		return strings.Compare(a.Session.ID, b.Session.ID)
	})
}

// goneAfter is in how many passes in a row the appliance must say that it has no
// such session.
const goneAfter = 2

// NotFound takes in that the appliance says it has no session of that id. In the
// second pass in a row the session is dropped.
func (p *Pass) NotFound(sessionID string) {
	id := p.ID(sessionID)
	u := p.unfinishedOf(id)
	if u == nil {
		return
	}
	c := *u
	c.Missing++
	if c.Missing < goneAfter {
		p.unfinished[id] = &c
		return
	}
	p.unfinished[id] = nil
	switch {
	case c.Counted: // its id is remembered already
	case c.Countable:
		// Should it come back after all, it is counted: it never was.
		p.skip(SkipGone, Event{Session: c.Session, Policy: c.Policy})
	default:
		p.remember(id, dayOf(Begun(&c.Session)), &c.Session)
	}
}

func (p *Pass) remember(id ID, day int32, s *vbaws.Session) {
	p.remembered[id] = Remembered{ID: id, Day: day, USN: s.USN, Print: print(s), At: p.now.Truncate(time.Second)}
}

// Found takes in that the appliance still has an unfinished session as it was.
func (p *Pass) Found(sessionID string) {
	id := p.ID(sessionID)
	if u := p.unfinishedOf(id); u != nil && u.Missing > 0 {
		c := *u
		c.Missing = 0
		p.unfinished[id] = &c
	}
}

// Forget lets go of the ids that were dealt with before the given time. The line
// moves behind the newest of them, so that none can look new.
func (p *Pass) Forget(before time.Time) error {
	day, any, err := p.l.memory.Forgettable(before)
	if err != nil || !any {
		return err
	}
	p.forget = before
	for k, pol := range p.allPolicies() {
		if pol.Gone() && pol.Listed.Before(before) {
			p.policies[k] = nil
		}
	}
	if day == DayUnknown {
		return nil
	}
	if line := time.Unix((int64(day)+1)*secondsPerDay, 0).UTC(); line.After(p.meta.Line) {
		p.editMeta().Line = line
	}
	return nil
}

// touch returns the series of k for this pass to change, made if need be.
func (p *Pass) touch(k Key) *Series {
	if s := p.series[k]; s != nil {
		return s
	}
	s := p.l.state.Series[k].clone()
	if s == nil {
		s = &Series{Key: k}
		for _, status := range vbaws.FinalStatuses {
			p.counter(s, status)
		}
	}
	p.series[k] = s
	return s
}

// counter returns the counter of a series that touch returned.
func (p *Pass) counter(s *Series, status string) *Counter {
	at, found := slices.BinarySearchFunc(s.Counters, status, func(c *Counter, status string) int {
		return strings.Compare(c.Status, status)
	})
	if !found {
		c := &Counter{Status: status, Born: p.born, Held: !p.first && p.l.opts.Hold > 0}
		s.Counters = slices.Insert(s.Counters, at, c)
	}
	return s.Counters[at]
}

func (s *Series) clone() *Series {
	if s == nil {
		return nil
	}
	c := *s
	c.Counters = make([]*Counter, len(s.Counters))
	for i, counter := range s.Counters {
		cc := *counter
		cc.Histogram = counter.Histogram.clone()
		c.Counters[i] = &cc
	}
	return &c
}

func (p *Pass) unfinishedOf(id ID) *Unfinished {
	if u, ok := p.unfinished[id]; ok {
		return u
	}
	return p.l.state.Unfinished[id]
}

const secondsPerDay = 24 * 60 * 60

func dayOf(t time.Time) int32 {
	if t.IsZero() {
		return DayUnknown
	}
	s := t.Unix()
	d := s / secondsPerDay
	if s%secondsPerDay < 0 {
		d--
	}
	return int32(d)
}

// find returns what is remembered of a session that was dealt with. It looks a
// day to both sides, so that neither another revision's precision nor its idea
// of a time zone makes a session new.
func (p *Pass) find(id ID, s *vbaws.Session) (Remembered, bool, error) {
	if r, ok := p.remembered[id]; ok {
		return r, true, nil
	}
	if q := (question{id, s.Start, s.Stop}); !p.answered || p.asked != q {
		r, known, err := p.look(id, s)
		if err != nil {
			return r, known, err
		}
		p.asked, p.found, p.known, p.answered = q, r, known, true
	}
	return p.found, p.known, nil
}

// question is what memory is asked about a session. Standing asks, and Fold again.
type question struct {
	id          ID
	start, stop time.Time
}

// look asks memory.
func (p *Pass) look(id ID, s *vbaws.Session) (Remembered, bool, error) {
	days := make([]int32, 0, 7)
	add := func(d int32) {
		if !slices.Contains(days, d) {
			days = append(days, d)
		}
	}
	for _, t := range []time.Time{s.Start, s.Stop} {
		if !t.IsZero() {
			d := dayOf(t)
			add(d)
			add(d - 1)
			add(d + 1)
		}
	}
	add(DayUnknown)
	for _, d := range days {
		if !p.l.memory.HasDay(d) {
			continue
		}
		if r, ok, err := p.l.memory.Lookup(d, id); err != nil || ok {
			return r, ok, err
		}
	}
	return Remembered{}, false, nil
}

// print is a fingerprint of all that moves a gauge in a finished session: FNV-1a,
// written out since that of hash/fnv allocates.
func print(s *vbaws.Session) uint32 {
	const prime = 16777619
	h := uint32(2166136261)
	for _, n := range [...]int64{s.Start.UnixMicro(), s.Stop.UnixMicro(), int64(s.Duration)} {
		for shift := 56; shift >= 0; shift -= 8 {
			h = (h ^ uint32(byte(n>>shift))) * prime
		}
	}
	for i := range len(s.Status) {
		h = (h ^ uint32(s.Status[i])) * prime
	}
	return h
}

func sameSession(a, b *vbaws.Session) bool {
	x, y := *a, *b
	x.Start, x.Stop, y.Start, y.Stop = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return x == y && a.Start.Equal(b.Start) && a.Stop.Equal(b.Stop)
}

// Changes returns what the pass has changed so far, to be saved.
func (p *Pass) Changes() *Changes {
	c := &Changes{
		Series: p.series, Unfinished: p.unfinished, Policies: p.policies,
		Remembered: p.remembered, Skipped: p.skipped, Forget: p.forget,
	}
	if p.metaDirty {
		c.Meta = &p.meta
	}
	return c
}

// Commit makes the saved changes of the pass the ledger's, at now, and returns
// the new view. Holds count from here. The pass must not be used any more.
func (p *Pass) Commit(now time.Time) *View {
	if p.Changes().Empty() {
		return p.l.view
	}
	st := p.l.state
	st.Meta = p.meta
	maps.DeleteFunc(p.l.counted, func(_ Key, at time.Time) bool { return !recent(at, now) })
	for k := range p.counted {
		p.l.counted[k] = now
	}
	if p.leaving != nil {
		p.l.leaving = p.leaving
	}
	maps.Copy(p.l.turnedAway, p.turnedAway)
	for k, s := range p.series {
		if s == nil {
			delete(st.Series, k)
			maps.DeleteFunc(p.l.holds, func(h heldCounter, _ time.Time) bool { return h.key == k })
			continue
		}
		st.Series[k] = s
		p.l.noteHolds(s, now)
	}
	apply(st.Unfinished, p.unfinished)
	apply(st.Policies, p.policies)
	p.l.rebuildView()
	return p.l.view
}

// overlay returns what apply would make of a copy.
func overlay[K comparable, V any](m, changes map[K]*V) map[K]*V {
	all := maps.Clone(m)
	apply(all, changes)
	return all
}

func apply[K comparable, V any](to, changes map[K]*V) {
	for k, v := range changes {
		if v == nil {
			delete(to, k)
		} else {
			to[k] = v
		}
	}
}
