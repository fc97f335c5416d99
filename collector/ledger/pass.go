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
	days     [7]int32

	events []Event
	// old counts the events of sessions that had ended before first contact.
	old int
	// names are those of the policies that the appliance has; nil until asked for.
	names map[string]bool
	// fresh has the names, by limit, that get their first series, and counters how many
	// counters are new. over has the names beyond each limit that the ledger doesn't have
	// yet, and exceeded what is reported of them.
	fresh    map[string]map[string]bool
	counters int
	over     map[string]over
	exceeded map[string]*Exceeded
	// open is how many sessions are unfinished.
	open  int
	reset bool
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
		fresh:      make(map[string]map[string]bool),
		over:       make(map[string]over),
		exceeded:   make(map[string]*Exceeded),
		counted:    make(map[Key]bool),
		open:       len(l.state.Unfinished),
	}
	for h, until := range l.holds {
		if !now.Before(until) {
			c := p.touch(h.key).counter(h.status)
			c.Held = false
			if c.Count > 0 {
				p.counted[h.key] = true
			}
		}
	}
	if !slices.Equal(p.meta.Bounds, l.opts.Bounds) {
		p.rebucket()
	}
	p.readmit()
	return p
}

// readmit makes series for the unfinished sessions of policies that are wanted again.
func (p *Pass) readmit() {
	for id, u := range p.l.state.Unfinished {
		if u.Unresolved || !p.l.wanted(u.Session.Type, u.Policy) || p.l.hasSeries(standIn(u.key(), p.l.hasSeries)) {
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
	n.first, n.born, n.reset, n.exceeded, n.old = p.first, p.born, p.reset, p.exceeded, p.old
	n.remembered = make(map[ID]Remembered, len(p.remembered)) // as many are likely to come
	return n
}

// Size returns how many sessions and rows are to be saved of those taken in so far, to
// tell when it is time for Next.
func (p *Pass) Size() int { return len(p.remembered) + len(p.unfinished) + len(p.skipped) }

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

// Events returns what happened in the pass so far.
func (p *Pass) Events() []Event { return p.events }

// Standing is what the books know of a session.
type Standing int

const (
	// Unknown sessions were never heard of, or nothing that counts.
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
		switch {
		case u.Unresolved && p.l.wantedType(s.Type):
			return Unknown, nil
		case sameSession(&u.Session, s):
			return Unchanged, nil
		}
		return Changed, nil
	}
	r, known, err := p.find(id, s)
	switch {
	case err != nil || !known || r.Owed:
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
	if u := p.unfinishedOf(p.ID(s.ID)); u != nil && !u.Unresolved {
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
// any number of times with the same session: the last state of it counts. Of sessions
// that are not wanted it takes in what Ignore does.
func (p *Pass) Fold(s vbaws.Session, policy string, from Origin) error {
	id := p.ID(s.ID)
	u := p.unfinishedOf(id)
	r, known, err := p.find(id, &s)
	if err != nil {
		return err
	}
	if !p.l.wanted(s.Type, policy) {
		p.ignore(id, &s, policy, true)
		return nil
	}
	key := p.place(&s, policy)
	policy = key.Policy

	countable, counted := known && r.Owed, known && !r.Owed
	switch {
	case u != nil:
		countable, counted = u.Countable, u.Counted
		if s.USN < u.Session.USN {
			p.Reset()
		}
	case !known:
		countable = p.countable(&s, from)
		if !countable && from == Regular {
			p.skip(SkipBeforeLine, Event{Session: s, Policy: policy})
		}
	}

	if !Finished(&s) {
		// Where it has come to life again, from here on the books of the unfinished
		// know that it was counted.
		if p.keepOpen(id, &Unfinished{Session: s, Policy: policy, Counted: counted, Countable: countable && !counted}) && !p.hasSeries(key) {
			p.touch(key)
		}
		return nil
	}
	series := p.touch(key)
	p.close(id)
	times := p.Times(&s)
	status := p.statusIn(series, s.Status)
	if countable && !counted {
		p.count(series, &s, status, times, policy, from)
	}
	p.see(series, id, status, times)
	p.remember(id, &s, false)
	return nil
}

// Ignore takes in a session that nobody wants to know of, and whose policy is not
// known. One that has not ended may be wanted before it does: it is kept as one that is
// unfinished, and shows nowhere.
func (p *Pass) Ignore(s *vbaws.Session) error {
	id := p.ID(s.ID)
	if _, _, err := p.find(id, s); err != nil {
		return err
	}
	policy, resolved := p.UnfinishedPolicy(s)
	p.ignore(id, s, policy, resolved)
	return nil
}

// ignore is Ignore once find has succeeded.
func (p *Pass) ignore(id ID, s *vbaws.Session, policy string, resolved bool) {
	u := p.unfinishedOf(id)
	r, known, _ := p.find(id, s)
	counted, countable := known && !r.Owed, known && r.Owed
	switch {
	case u != nil:
		counted, countable = u.Counted, u.Countable
	case !known:
		countable = p.first || p.countable(s, Regular)
	}
	if !Finished(s) && !counted {
		p.keepOpen(id, &Unfinished{Session: *s, Policy: policy, Unresolved: !resolved, Countable: countable})
		return
	}
	p.close(id)
	p.remember(id, s, false)
}

// keepOpen takes in a session that has not ended, and reports whether there was room.
func (p *Pass) keepOpen(id ID, u *Unfinished) bool {
	if p.unfinishedOf(id) == nil {
		if p.open >= maxUnfinished {
			p.beyond(LimitUnfinished, u.Session.ID)
			return false
		}
		p.open++
	}
	p.unfinished[id] = u
	return true
}

// close removes a session from the unfinished ones.
func (p *Pass) close(id ID) {
	if p.unfinishedOf(id) != nil {
		p.unfinished[id] = nil
		p.open--
	}
}

// countable decides whether a session that was never heard of is new.
func (p *Pass) countable(s *vbaws.Session, from Origin) bool {
	if p.first && (from == Window || from == History) {
		return !Finished(s) || from == Window && !p.l.opts.Forgetful
	}
	if p.first && from == Ran {
		return true
	}
	b := p.Times(s).Start
	return b.IsZero() || !b.Before(p.meta.Line)
}

// count counts s as status, in the one place where anything is.
func (p *Pass) count(series *Series, s *vbaws.Session, status string, times Times, policy string, from Origin) {
	c := p.counter(series, status)
	if c.Histogram == nil {
		born := p.now
		if p.first {
			born = p.born
		}
		c.Histogram = newHistogram(born, c.Count, p.meta.Bounds)
	}
	var e *Exemplar
	if len(s.ID) <= maxExemplarID {
		e = &Exemplar{SessionID: s.ID, Duration: times.Duration, End: times.End}
	}
	c.Count++
	p.counted[series.Key] = true
	c.Exemplar = e
	c.Histogram.observe(times.Duration, e, p.meta.Bounds)
	old := from == Window
	if old {
		p.old++
	}
	if !old || p.old <= maxOld {
		seen := *s
		seen.Start, seen.Stop = times.Start, times.End
		p.events = append(p.events, Event{Session: seen, Policy: policy, Duration: times.Duration, Old: old})
	}
}

// maxExemplarID is how long an id may be that goes into an exemplar, in bytes.
// OpenMetrics has room for 128 characters, of which the label's name takes some.
const maxExemplarID = 100

// see moves the gauges of finished sessions.
func (p *Pass) see(series *Series, id ID, status string, times Times) {
	last := Last{ID: id, Status: status, End: times.End, Duration: times.Duration}
	c := p.counter(series, status)
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
func (p *Pass) NotFound(sessionID string) error {
	id := p.ID(sessionID)
	u := p.unfinishedOf(id)
	if u == nil {
		return nil
	}
	c := *u
	c.Missing++
	if c.Missing < goneAfter {
		p.unfinished[id] = &c
		return nil
	}
	if _, _, err := p.find(id, &c.Session); err != nil {
		return err
	}
	p.close(id)
	switch {
	case c.Counted: // its id is remembered already
	case c.Countable:
		// Should it come back after all, it is counted: it never was.
		p.remember(id, &c.Session, true)
		if p.l.wanted(c.Session.Type, c.Policy) && !c.Unresolved {
			p.skip(SkipGone, Event{Session: c.Session, Policy: c.Policy})
		}
	default:
		p.remember(id, &c.Session, false)
	}
	return nil
}

// remember notes that s was dealt with. find must have succeeded for it.
func (p *Pass) remember(id ID, s *vbaws.Session, owed bool) {
	r, known, _ := p.find(id, s)
	if !known {
		r.Day = dayOf(p.Times(s).Start)
	}
	p.remembered[id] = Remembered{ID: id, Day: r.Day, USN: s.USN, Print: print(s), At: p.now.Truncate(time.Second), Owed: owed}
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

// Agreed returns the earliest of the exporter's clock, at, and the end of the newest day
// on which a session is known to have begun; zero where none is known. What is dropped
// for its age is dropped by that: no clock that is wrong makes anything old, since no
// sessions have come in the time that it makes up.
func (p *Pass) Agreed(at time.Time) time.Time {
	day, any := p.l.memory.NewestDay()
	if !any {
		return time.Time{}
	}
	agreed := endOf(day)
	for _, t := range []time.Time{p.now, at} {
		if t.Before(agreed) {
			agreed = t
		}
	}
	return agreed
}

// Forget removes the ids that were dealt with before the given time. The cutoff
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
	if line := endOf(day); line.After(p.meta.Line) {
		p.editMeta().Line = line
	}
	return nil
}

// endOf returns the end of a day.
func endOf(day int32) time.Time { return time.Unix((int64(day)+1)*secondsPerDay, 0).UTC() }

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

// counter returns nil where there is none.
func (s *Series) counter(status string) *Counter {
	if i, found := s.search(status); found {
		return s.Counters[i]
	}
	return nil
}

func (s *Series) search(status string) (int, bool) {
	return slices.BinarySearchFunc(s.Counters, status, func(c *Counter, status string) int {
		return strings.Compare(c.Status, status)
	})
}

// counter returns the counter of a series that touch returned, made if need be.
func (p *Pass) counter(s *Series, status string) *Counter {
	at, found := s.search(status)
	if !found {
		c := &Counter{Status: status, Born: p.born, Held: !p.first && p.l.opts.Hold > 0}
		s.Counters = slices.Insert(s.Counters, at, c)
		p.counters++
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

// find returns what is remembered of a session that was dealt with, whatever became of
// its dates since. It looks at the days beside them first: another revision's precision,
// or its idea of a time zone, is what changes them most.
func (p *Pass) find(id ID, s *vbaws.Session) (Remembered, bool, error) {
	if r, ok := p.remembered[id]; ok {
		return r, true, nil
	}
	if q := (question{id, s.Start, s.Stop}); !p.answered || p.asked != q {
		r, known, err := p.l.memory.Lookup(id, p.near(s))
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

// near returns the days that a session is likely to be remembered by, in an array that
// the next call changes.
func (p *Pass) near(s *vbaws.Session) []int32 {
	days := p.days[:0]
	for _, t := range [...]time.Time{s.Start, s.Stop} {
		if d := dayOf(t); d != DayUnknown && !slices.Contains(days, d) {
			days = append(days, d, d-1, d+1)
		}
	}
	return append(days, DayUnknown)
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
	p.l.keepOver(p)
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
