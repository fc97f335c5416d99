package poller

import (
	"context"
	"errors"
	"iter"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file implements the initial sync: the first poll of an appliance counts the sessions
// of the backfill window, and marks older ones as seen.

// initialSync reads an appliance of which nothing is known, or not all that an initial
// sync reads.
func (p *poll) initialSync(ctx context.Context) error {
	if _, err := p.topRow(ctx); err != nil { // which has the appliance's clock
		return err
	}
	began := p.clock
	since := p.tx.BeginInitialSync(began.Add(-p.cfg.Backfill))
	// It may have begun in an earlier poll, of which parts were saved.
	newFrom := p.newFrom(earliest(began, since.Add(p.cfg.Backfill)))
	// A session that has run for longer than the lists below reach back is known before
	// anything can be new, since no other list has it.
	if err := p.readRunning(ctx, ledger.Backfill); err != nil {
		return err
	}
	if err := p.resolve(ctx); err != nil { // so that the first part that is saved has it
		return err
	}
	top, err := p.topRow(ctx)
	if err != nil {
		return err
	}
	if top != nil && top.HasUSN && !p.known.mode.fromUTC {
		p.tx.SetWatermark(*p.watermarkOf(top))
	}
	// If the list is empty, a clock that is set back makes nothing seem older than the
	// cutoff: it is set once there is a session.
	newest, err := p.newestRow(ctx)
	if err != nil {
		return err
	}
	from := p.precedingFrom(since, newest)
	if err := p.readBackfill(ctx, began, since, from, newFrom); err != nil {
		return err
	}
	if err := p.readRunning(ctx, ledger.Backfill); err != nil {
		return err
	}
	if newest != nil || !p.tx.Meta().Cutoff.IsZero() {
		// Whatever zone FromUtc is taken to be in, all that started since was read.
		p.tx.SetCutoff(from.Add(zones))
	}
	p.unreadable.from, p.unreadable.looked = from, true
	if p.unreadable.rows > 0 {
		// Those that can be read later count if they are of the window.
		counted := since
		if p.cfg.Ledger.Ephemeral {
			counted = newFrom
		}
		p.tx.RaiseCutoff(p.precedingFrom(counted, newest).Add(dailyReach))
	}
	p.completeResync(began, true, firstResync)
	return nil
}

// readBackfill reads the window that is counted, from since on, and what started before
// it, from from on, which is only marked as seen. That is as far back as any resync
// reads, so that none finds unknown sessions. began is the time of the appliance's clock,
// and what ended from newFrom on is new.
//
// The sessions before the window are those that were listed there before the window was
// read: a session that becomes visible in between is of the window. The newest of them
// is older than the window, whatever zone the appliance takes either for.
func (p *poll) readBackfill(ctx context.Context, began, since, from, newFrom time.Time) error {
	before := vbaws.SessionsQuery{FromUTC: from, ToUTC: since.Add(2 * zones)}
	if !before.ToUTC.Before(began) {
		before.ToUTC = time.Time{}
	}
	preceding := make(listing.IDs)
	for row, err := range p.initialRows(ctx, before) {
		if err != nil {
			return err
		}
		preceding.Add(ledger.RowID(row))
	}
	for row, err := range p.initialRows(ctx, vbaws.SessionsQuery{FromUTC: since}) {
		if err != nil {
			return err
		}
		preceding.Remove(ledger.RowID(row))
		if err := p.ingestListed(ctx, row, p.initialOrigin(row, ledger.Backfill, newFrom)); err != nil {
			return err
		}
	}
	if len(preceding) == 0 {
		return nil
	}
	for row, err := range p.initialRows(ctx, before) {
		if err != nil {
			return err
		}
		if !preceding.Has(ledger.RowID(row)) {
			continue
		}
		if err := p.ingestListed(ctx, row, p.initialOrigin(row, ledger.Preceding, newFrom)); err != nil {
			return err
		}
	}
	return nil
}

// initialRows reads a list of the initial sync, which moves the cutoff, and fails if it
// doesn't see all of it.
func (p *poll) initialRows(ctx context.Context, q vbaws.SessionsQuery) iter.Seq2[*vbaws.Row, error] {
	return func(yield func(*vbaws.Row, error) bool) {
		rows := p.reader(q, listing.PageLimit)
		defer p.steppedOver(rows)
		for row, err := range rows.UntilWhole(ctx) {
			if err == nil && row.Err == nil {
				p.tx.SetCutoff(p.tx.Times(&row.Session).Start)
			}
			if err == nil && row.HasUSN && !p.known.mode.fromUTC {
				p.sharesUSN(row)
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
		if !rows.Whole() {
			yield(nil, notUnderstood(readSessions, errors.New("it kept changing, and the initial sync must see all of it")))
		}
	}
}

// initialOrigin returns where row was listed for the ledger: a session that ended while
// the initial sync was under way is new, whichever list shows it.
func (p *poll) initialOrigin(row *vbaws.Row, list ledger.Origin, newFrom time.Time) ledger.Origin {
	if row.Err != nil || !ledger.Finished(&row.Session) {
		return list
	}
	if end := p.tx.Times(&row.Session).End; end.Equal(row.Stop) && !end.Before(newFrom) {
		return ledger.Incremental
	}
	return list
}
