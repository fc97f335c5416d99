package ledger

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

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

// Events returns what happened in the pass so far.
func (p *Pass) Events() []Event { return p.events }

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

// remember notes that s was dealt with. find must have succeeded for it.
func (p *Pass) remember(id ID, s *vbaws.Session, owed bool) {
	r, known, _ := p.find(id, s)
	if !known {
		r.Day = dayOf(p.Times(s).Start)
	}
	p.remembered[id] = Remembered{ID: id, Day: r.Day, USN: s.USN, Print: print(s), At: p.now.Truncate(time.Second), Owed: owed}
}
