package poller

import (
	"context"
	"time"

	"vbaws_exporter/vbaws"
)

// What is here keeps a clock that is wrong, the appliance's or the exporter's, from
// making a new session look old. Times of sessions are compared with times of
// sessions. A clock only ever has more of the list read.

// newestRow reads the session with the newest start, whatever clock it has; nil if
// there is none that says when it started.
func (p *pass) newestRow(ctx context.Context) (*vbaws.Row, error) {
	page, err := p.sessions(ctx, vbaws.SessionsQuery{Sort: vbaws.SortStartTimeDesc, Limit: 1})
	if err != nil {
		return nil, err
	}
	for i := range page.Rows {
		if row := &page.Rows[i]; row.Err == nil && !row.Start.IsZero() {
			return row, nil
		}
	}
	return nil, nil
}

// historyFrom returns how far back the initial sync of an appliance reads, by
// FromUtc; since is where the backfill window begins by the appliance's clock. A
// clock that is days ahead would place the window after all sessions that there are:
// then the newest of them, and the exporter's own clock, are earlier.
func (p *pass) historyFrom(since time.Time, newest *vbaws.Row) time.Time {
	from := earliest(since, p.start)
	if newest != nil {
		from = earliest(from, newest.Start)
	}
	return from.Add(-wideReach).UTC()
}

// startOfNews returns from which end on a session ended during the initial sync, which
// began at the given time of the appliance's clock. Without a state directory what had
// ended before the process started must not be counted, however far that clock is
// behind.
func (p *pass) startOfNews(began time.Time) time.Time {
	if p.cfg.Ledger.Ephemeral && p.opened.Sub(began) > settle {
		return p.opened.UTC()
	}
	return began
}

// drawLate sets the cutoff of an appliance that had no session at its initial sync,
// once it has one: what started since the list was last seen empty is new, by the
// time that has passed, which no wrong clock changes. What is older, as after the
// configuration of another appliance was restored, is not.
func (p *pass) drawLate(ctx context.Context) error {
	m := p.books.Meta()
	if !m.Cutoff.IsZero() {
		return nil
	}
	newest, err := p.newestRow(ctx)
	if err != nil || newest == nil {
		return err
	}
	passed := max(0, p.start.Sub(m.ResyncedAt))
	p.reached = newest.Start.Add(-passed - zones)
	p.books.SetCutoff(p.reached)
	return nil
}

// noLaterThanNewest returns from, or the newest start that was known at the end of
// the last complete sweep, if that is earlier: from is by a clock that may be ahead of
// the sessions. There are no sessions in between to be read again.
func (p *pass) noLaterThanNewest(from time.Time) time.Time {
	if p.reached.IsZero() {
		// The first sweep of the process: the newest end that is stored.
		for _, s := range p.ledger.View().Series {
			if s.Last.End.After(p.reached) {
				p.reached = s.Last.End
			}
		}
	}
	if p.reached.IsZero() {
		return from
	}
	reached := p.reached.Add(-time.Second)
	if p.shortSighted {
		reached = reached.Add(-zones)
	}
	return earliest(from, reached)
}

func earliest(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if o.Before(t) {
			t = o
		}
	}
	return t
}
