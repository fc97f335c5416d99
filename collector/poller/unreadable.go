package poller

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file keeps sessions that can't be taken in from holding up the others: rows of the
// list that the appliance can't return, and, before API version 1.2, sessions that may
// belong to a policy that can't be asked for its sessions.
//
// The first poll that gets such an answer, or none in time, fails, since the error can be
// temporary. The next goes on without those sessions. The watermark moves past them, and the
// start from which resyncs must look for them is stored. They are reported as skipped and as
// an endpoint error. None of them is in the seen index, so whatever list shows one later
// counts it, once, and under its policy. This ends when a resync finds all of them, or when
// they are too old.

const (
	// lookFor is how old sessions are that resyncs look for, at most, and lookEvery how
	// often they do.
	lookFor   = 7 * 24 * time.Hour
	lookEvery = 15 * time.Minute
	// maxHung is for how many answers that do not come a poll waits. The wait for small
	// pages is at least this share of the timeout, after the first.
	maxHung   = 30
	hungShare = 8
)

// unreadable is what a poll could not take in.
type unreadable struct {
	// rows is the largest number of rows that the reading of a list stepped over.
	rows int
	// waiting is how many sessions wait for their policy, and oldest the earliest of their
	// starts.
	waiting int
	oldest  time.Time
	// from is the start from which a list was read, if it was, and looked is set if all
	// that is looked for started after it.
	from   time.Time
	looked bool
	// failed is set if a request failed in a way that can concern one row or policy alone,
	// and hung counts those that got no answer in time.
	failed bool
	hung   int
	cause  error
}

// knownUnreadable is what outlives the poll.
type knownUnreadable struct {
	failed   bool // the last poll failed, with unreadable.failed
	cause    error
	lookedAt time.Time
}

// goesOn reports whether the poll goes on without what can't be read.
func (p *poll) goesOn() bool {
	return p.cfg.Ledger.OneShot || p.known.unreadable.failed || p.tx.Meta().Unreadable != nil
}

// isOfOneRow reports whether a page may have failed for one of its rows, which can be
// stepped over.
func (p *poll) isOfOneRow(err error) bool {
	if vbaws.KindOf(err) == vbaws.KindTimeout {
		p.unreadable.hung++
		return p.mayHang(err) && p.goesOnAfter(err)
	}
	return (vbaws.HasStatus(err, 500) || vbaws.KindOf(err) == vbaws.KindDecode) && p.goesOnAfter(err)
}

// mayHang reports whether a request may have got no answer in time for one row or policy:
// the poll had other answers, and waited for few that did not come.
func (p *poll) mayHang(err error) bool {
	return vbaws.KindOf(err) == vbaws.KindTimeout && !p.clock.IsZero() && p.unreadable.hung <= maxHung
}

// pageTimeout returns how long to wait for a page. Once one of a poll did not come in time,
// smaller ones are requested to find the row, which should take as much less.
func (p *poll) pageTimeout(limit int) time.Duration {
	if p.unreadable.hung == 0 {
		return p.cfg.Timeout
	}
	return p.cfg.Timeout * time.Duration(max(limit, listing.PageLimit/hungShare)) / listing.PageLimit
}

// goesOnAfter records an error of one row or policy, and returns goesOn.
func (p *poll) goesOnAfter(err error) bool {
	p.unreadable.failed, p.unreadable.cause = true, err
	return p.goesOn()
}

// steppedOver takes in how many rows a reading stepped over.
func (p *poll) steppedOver(list *listing.Reader[vbaws.Row]) {
	p.unreadable.rows = max(p.unreadable.rows, list.Unreadable())
}

// mustLookNow reports whether a resync must follow at once, since rows were stepped over
// and no resync looks for them yet.
func (p *poll) mustLookNow() bool {
	return p.unreadable.rows > 0 && p.tx.Meta().Unreadable == nil
}

// defers leaves a session whose policy can't be found to later polls.
func (p *poll) defers(e *ledger.Entry, w pending) {
	e.Defer(w.from)
	u := &p.unreadable
	u.waiting++
	start := p.tx.Times(&w.session).Start
	if start.IsZero() || !ledger.Finished(&w.session) {
		start = p.clock
	}
	if u.oldest.IsZero() || start.Before(u.oldest) {
		u.oldest = start
	}
}

// lookFrom returns the start from which a resync that began at the given time of the
// appliance's clock must read, if it looks for sessions that could not be taken in.
func (p *poll) lookFrom(from, began time.Time) time.Time {
	u, known := p.tx.Meta().Unreadable, &p.known.unreadable
	if u == nil {
		p.unreadable.from, p.unreadable.looked = from, true
		return from
	}
	if !p.waited(known.lookedAt, lookEvery) {
		return from
	}
	known.lookedAt = p.start
	from = earliest(from, slices.MaxFunc([]time.Time{u.From, began.Add(-lookFor)}, time.Time.Compare))
	p.unreadable.from, p.unreadable.looked = from, true
	return from
}

// recordUnreadable stores what the poll could not take in, and reports it.
func (p *poll) recordUnreadable() {
	u, old, known := &p.unreadable, p.tx.Meta().Unreadable, &p.known.unreadable
	n := u.rows + u.waiting
	switch {
	case n > 0:
		from := p.clock
		if u.waiting > 0 {
			from = u.oldest.Add(-settle)
		}
		if u.rows > 0 && u.looked {
			from = earliest(from, u.from)
		}
		if old != nil && !u.looked {
			from, n = earliest(from, old.From), max(n, old.Sessions)
		}
		p.tx.SetUnreadable(&ledger.Unreadable{From: from.UTC().Truncate(time.Second), Sessions: n})
	case u.looked:
		p.tx.SetUnreadable(nil)
	}
	now := p.tx.Meta().Unreadable
	if now == nil {
		if known.cause != nil {
			delete(p.known.endpoints.errs, vbaws.RouteSessions)
		}
		*known = knownUnreadable{}
		return
	}
	first := known.cause == nil
	known.cause = cmp.Or(u.cause, known.cause, errors.New("found by an earlier process"))
	sessions := "1 session is"
	if now.Sessions != 1 {
		sessions = fmt.Sprintf("%d sessions are", now.Sessions)
	}
	if first {
		p.note("sessions can't be read: they are counted once they can be", "sessions", now.Sessions, "err", known.cause)
	}
	p.known.endpoints.errs[vbaws.RouteSessions] = fmt.Sprintf("%s not counted yet, since the appliance can't return what it takes: %v", sessions, known.cause)
}
