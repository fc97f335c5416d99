// What is known of one session.

package ledger

import (
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// Entry is all that the ledger has of one session, from one look-up. It is valid
// until its transaction takes in the session, by whatever Entry, or is committed.
type Entry struct {
	tx *Tx
	s  *vbaws.Session
	id ID
	// open is the session as an unfinished one; nil if it isn't.
	open *Unfinished
	// seen is what the seen index has of it, if indexed.
	seen    SeenSession
	indexed bool
}

// Entry looks up s, which must not change while the Entry is in use. An unfinished
// session without a usable start starts when it was seen first. An error is one of the
// seen index.
func (tx *Tx) Entry(s *vbaws.Session) (*Entry, error) {
	e := &Entry{tx: tx, s: s} // inlined, it stays on the stack of the caller
	err := e.lookUp()
	return e, err
}

func (e *Entry) lookUp() (err error) {
	tx, s := e.tx, e.s
	e.id = ParseID(s.ID)
	e.open = tx.unfinishedOf(e.id)
	if e.seen, e.indexed = tx.seen[e.id]; !e.indexed {
		// Whatever became of its dates since. The days beside them come first: the precision
		// of another API version, or its idea of a time zone, is what changes them most.
		if e.seen, e.indexed, err = tx.l.index.Lookup(e.id, tx.daysNear(s)); err != nil {
			return err
		}
	}
	if !Finished(s) && tx.Times(s).Start.IsZero() {
		began := *s
		began.Start = tx.clock()
		if e.open != nil && !e.open.Session.Start.IsZero() {
			began.Start = e.open.Session.Start
		}
		e.s = &began
	}
	return nil
}

// daysNear returns the days that a session is likely to be indexed by, in an array that
// the next call changes.
func (tx *Tx) daysNear(s *vbaws.Session) []int32 {
	days := tx.days[:0]
	for _, t := range [...]time.Time{s.Start, s.Stop} {
		if d := DayOf(t); d != DayUnknown && !slices.Contains(days, d) {
			days = append(days, d, d-1, d+1)
		}
	}
	return append(days, DayUnknown)
}

// ID returns the id of the session.
func (e *Entry) ID() ID { return e.id }

// Known reports whether the session was taken in before, in whatever state. One that was
// removed before it was seen to finish isn't known. An unfinished one whose policy is only
// now of interest isn't known either.
func (e *Entry) Known() bool {
	if e.open != nil {
		return !e.open.Unresolved || !e.tx.l.opts.Filter.MatchesType(e.s.Type)
	}
	return e.indexed && !e.seen.Uncounted
}

// Unchanged reports whether the session is known exactly like this.
func (e *Entry) Unchanged() bool {
	switch {
	case !e.Known():
		return false
	case e.open != nil:
		return sameSession(&e.open.Session, e.s)
	}
	return e.seen.USN == e.s.USN && e.seen.Fingerprint == fingerprint(e.s)
}

// Policy returns the name of the policy that an unfinished session was found to belong
// to when it was seen first; ok is false for all other sessions.
func (e *Entry) Policy() (name string, ok bool) {
	if e.open == nil || e.open.Unresolved {
		return "", false
	}
	return e.open.Policy, true
}

// disposition returns what is to become of the session, listed by from.
func (e *Entry) disposition(from Origin) Disposition {
	switch {
	case e.open != nil:
		return e.open.Disposition
	case e.indexed && !e.seen.Uncounted:
		return Disposition{Counted: true}
	case e.indexed, e.tx.isNew(e.s, from):
		return Disposition{Countable: true}
	}
	return Disposition{}
}

// index puts the session into the seen index. An id that is there keeps its day.
func (e *Entry) index(owed bool) {
	day := e.seen.Day
	if !e.indexed {
		day = DayOf(e.tx.Times(e.s).Start)
	}
	e.tx.seen[e.id] = SeenSession{
		ID: e.id, Day: day, USN: e.s.USN, Fingerprint: fingerprint(e.s), At: e.tx.now.Truncate(time.Second), Uncounted: owed,
	}
}

// fingerprint returns a checksum of all that moves a gauge in a finished session: FNV-1a,
// written out since that of hash/fnv allocates. It is stored: with another function every
// session would seem changed.
func fingerprint(s *vbaws.Session) uint32 {
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
