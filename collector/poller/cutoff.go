package poller

import (
	"context"
	"slices"
	"time"

	"vbaws_exporter/vbaws"
)

// This file keeps a clock that is wrong, the appliance's or the exporter's, from
// making a new session look old. Times of sessions are compared with times of
// sessions. A clock can only make a poll read more of the list.

// lookback is how far back a list must be read so that no wrong clock hides a session.
type lookback struct {
	// newest is the session with the newest start that was seen.
	newest vbaws.Session
	// extended is set if a list did not show it though it should have: the appliance
	// takes FromUtc for a later time.
	extended bool
	// known is the newest start that was known at the end of the last complete resync;
	// zero before the first one of the process.
	known time.Time
}

// reach returns how far before the last resync a resync reads.
func (l *lookback) reach(daily bool) time.Duration {
	switch {
	case daily:
		return dailyReach
	case l.extended:
		return settle + zones
	}
	return settle
}

// newestRow reads the session with the newest start, whatever clock it has; nil if no
// session has a start.
func (p *poll) newestRow(ctx context.Context) (*vbaws.Row, error) {
	row, err := p.first(ctx, vbaws.SessionsQuery{Sort: vbaws.SortStartTimeDesc})
	if err != nil || row == nil || row.Err != nil || row.Start.IsZero() {
		return nil, err
	}
	return row, nil
}

// precedingFrom returns how far back the initial sync of an appliance reads, by
// FromUtc; since is where the backfill window begins by the appliance's clock. A
// clock that is days ahead would place the window after all sessions that there are:
// then the newest of them, and the exporter's own clock, are earlier.
func (p *poll) precedingFrom(since time.Time, newest *vbaws.Row) time.Time {
	from := earliest(since, p.start)
	if newest != nil {
		from = earliest(from, newest.Start)
	}
	return from.Add(-dailyReach).UTC()
}

// newFrom returns from which end on a session ended during the initial sync, which
// began at the given time of the appliance's clock. Without a state directory what had
// ended before the process started must not be counted, however far that clock is
// behind.
func (p *poll) newFrom(began time.Time) time.Time {
	if p.cfg.Ledger.Ephemeral && p.known.opened.Sub(began) > settle {
		return p.known.opened.UTC()
	}
	return began
}

// setLateCutoff sets the cutoff of an appliance that had no session at its initial sync,
// once it has one: what started since the list was last seen empty is new, by the
// time that has passed, which no wrong clock changes. What is older, as after the
// configuration of another appliance was restored, is not.
func (p *poll) setLateCutoff(ctx context.Context) error {
	m := p.tx.Meta()
	if !m.Cutoff.IsZero() {
		return nil
	}
	newest, err := p.newestRow(ctx)
	if err != nil || newest == nil {
		return err
	}
	passed := max(0, p.start.Sub(m.ResyncedAt))
	p.known.lookback.known = newest.Start.Add(-passed - zones)
	p.tx.SetCutoff(p.known.lookback.known)
	return nil
}

// noLaterThanNewest returns from, or the newest start that was known at the end of
// the last complete resync, if that is earlier: from is by a clock that may be ahead of
// the sessions. There are no sessions in between to be read again.
func (p *poll) noLaterThanNewest(from time.Time) time.Time {
	back := &p.known.lookback
	if back.known.IsZero() {
		// The first resync of the process: the newest end that is stored.
		for _, s := range p.ledger.View().Series {
			if s.Last.End.After(back.known) {
				back.known = s.Last.End
			}
		}
	}
	if back.known.IsZero() {
		return from
	}
	known := back.known.Add(-time.Second)
	if back.extended {
		known = known.Add(-zones)
	}
	return earliest(from, known)
}

func earliest(times ...time.Time) time.Time { return slices.MinFunc(times, time.Time.Compare) }
