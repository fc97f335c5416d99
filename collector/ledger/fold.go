// How a session moves counters and gauges.

package ledger

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

// Event is something to be logged once the transaction is published.
type Event struct {
	// Skipped is the reason why a session was not counted; empty for one that was.
	Skipped string
	// Session and Policy are what is known of it.
	Session vbaws.Session
	Policy  string
	// Duration is that of a counted session.
	Duration time.Duration
	// Err is why a row is not a session.
	Err error
	// Backfilled is set if the session had finished before the initial sync.
	Backfilled bool
}

// maxBackfilled is how many backfilled sessions make an Event: the newest, since they are
// read first.
const maxBackfilled = 100

// Origin is the reading that showed a session.
type Origin int

const (
	// Incremental is a list of what changed: an incremental read or a resync.
	Incremental Origin = iota
	// Backfill is the window that the initial sync counts.
	Backfill
	// Preceding is what started before it, and is only put into the seen index.
	Preceding
	// Lookup is a request for the newest sessions of one policy.
	Lookup
	// RunningAtStart is a session that the initial sync saw before it had finished: it is
	// counted, however long ago it started.
	RunningAtStart
)

// Events returns the events of the transaction so far.
func (tx *Tx) Events() []Event { return tx.events }

// Fold takes in the session, which belongs to policy (empty for none). A session may be
// folded any number of times, each time from a new Entry: its last state counts. Of
// sessions that are filtered out it takes in what Ignore does.
func (e *Entry) Fold(policy string, from Origin) {
	tx, s := e.tx, e.s
	if !tx.l.opts.Filter.matches(s.Type, policy) {
		e.ignore(policy, true)
		return
	}
	key := tx.place(s, policy)
	policy = key.Policy
	if e.open != nil && s.USN < e.open.Session.USN {
		tx.Reset()
	}
	disposition := e.disposition(from)
	if disposition == (Disposition{}) && e.open == nil && from == Incremental {
		tx.skip(SkipBeforeCutoff, Event{Session: *s, Policy: policy})
	}
	if !Finished(s) {
		u := &Unfinished{Session: *s, Policy: policy, Disposition: disposition}
		if tx.keepOpen(e.id, u) && !tx.hasSeries(key) {
			tx.touch(key)
		}
		return
	}
	series := tx.touch(key)
	tx.close(e.id)
	times := tx.Times(s)
	status := tx.statusIn(series, s.Status)
	if disposition.Countable {
		tx.count(series, s, status, times, policy, from)
	}
	tx.see(series, e.id, status, times)
	if s.Type == vbaws.TypePolicy {
		e.record(series, status, times)
	}
	e.index(false)
}

// Ignore takes in a session that is filtered out by its type, and whose policy was not
// looked for. An unfinished one may be of interest before it finishes: it is kept, and
// is in no View.
func (e *Entry) Ignore() {
	policy, resolved := e.Policy()
	e.ignore(policy, resolved)
}

func (e *Entry) ignore(policy string, resolved bool) {
	from := Incremental
	if e.tx.inInitialSync() {
		from = Preceding
	}
	if d := e.disposition(from); !Finished(e.s) && !d.Counted {
		e.tx.keepOpen(e.id, &Unfinished{Session: *e.s, Policy: policy, Unresolved: !resolved, Disposition: d})
		return
	}
	e.tx.close(e.id)
	e.index(false)
}

// Defer takes in a session whose policy can't be found now. An unfinished one is kept, and
// is in no View; a finished one is left as it is.
func (e *Entry) Defer(from Origin) {
	if !Finished(e.s) {
		e.tx.keepOpen(e.id, &Unfinished{Session: *e.s, Unresolved: true, Disposition: e.disposition(from)})
	}
}

// isNew decides whether a session that the ledger does not have is to be counted when
// it has finished.
func (tx *Tx) isNew(s *vbaws.Session, from Origin) bool {
	switch from {
	case RunningAtStart:
		return true
	case Preceding:
		return !Finished(s)
	case Backfill:
		return !Finished(s) || !tx.l.opts.Ephemeral
	}
	start := tx.Times(s).Start
	return start.IsZero() || !start.Before(tx.meta.Cutoff)
}

// count counts s as status. Nothing else counts.
func (tx *Tx) count(series *Series, s *vbaws.Session, status string, times Times, policy string, from Origin) {
	c := tx.counter(series, status)
	if c.Histogram == nil {
		c.Histogram = newHistogram(tx.born(), c.Count, tx.meta.Bounds)
	}
	var e *Exemplar
	if len(s.ID) <= maxExemplarID {
		e = &Exemplar{SessionID: s.ID, Duration: times.Duration, End: times.End}
	}
	c.Count++
	c.Exemplar = e
	c.Histogram.observe(times.Duration, e, tx.meta.Bounds)
	backfilled := from == Backfill
	if backfilled {
		tx.backfilled++
	}
	if !backfilled || tx.backfilled <= maxBackfilled {
		seen := *s
		seen.Start, seen.Stop = times.Start, times.End
		tx.events = append(tx.events, Event{Session: seen, Policy: policy, Duration: times.Duration, Backfilled: backfilled})
	}
}

// maxExemplarID is how long an id may be that goes into an exemplar, in bytes.
// OpenMetrics has room for 128 characters, of which the label's name takes some.
const maxExemplarID = 100

// see moves the gauges of finished sessions.
func (tx *Tx) see(series *Series, id ID, status string, times Times) {
	last := Last{ID: id, Status: status, End: times.End, Duration: times.Duration}
	c := tx.counter(series, status)
	if last.End.After(c.End) {
		c.End = last.End
	}
	if id == series.Last.ID || newer(last, series.Last) {
		series.Last = last
	}
}

// record puts a finished session of type Policy into the history of its series.
func (e *Entry) record(series *Series, status string, times Times) {
	if !slices.Contains(vbaws.FinalStatuses, status) {
		status = Other // neither a success nor a failure, and of any length
	}
	s := verdict.Session{Start: times.Start, End: times.End, Status: status, ID: e.id.short()}
	if s.Start.IsZero() {
		s.Start = s.End.Add(-times.Duration)
	}
	if e.indexed && !e.seen.Uncounted {
		series.History = series.History.Update(s)
	} else {
		series.History = series.History.Insert(s)
	}
}

func newer(a, b Last) bool {
	return cmp.Or(a.End.Compare(b.End), slices.Compare(a.ID[:], b.ID[:])) > 0
}

// SkipRow takes in a row that could not be understood.
func (tx *Tx) SkipRow(row *vbaws.Row) error {
	id := RowID(row)
	if _, ok := tx.skipped[id]; ok {
		return nil
	}
	if done, err := tx.l.index.Skipped(id); err != nil || done {
		return err
	}
	tx.skipped[id] = tx.now.Truncate(time.Second)
	tx.skip(SkipUndecodable, Event{Session: row.Session, Err: row.Err})
	return nil
}

func (tx *Tx) skip(reason string, e Event) {
	tx.countSkipped(reason, 1)
	e.Skipped = reason
	tx.events = append(tx.events, e)
}

func (tx *Tx) countSkipped(reason string, n int) {
	m := tx.editMeta()
	m.Skipped = maps.Clone(m.Skipped)
	if m.Skipped == nil {
		m.Skipped = make(map[string]uint64)
	}
	m.Skipped[reason] += uint64(n)
}
