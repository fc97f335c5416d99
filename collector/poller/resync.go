package poller

import (
	"context"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file implements the resync: it reads the list by start time, which shows changes
// that no order of USNs does, and running sessions, however long ago they started.

const (
	// settle is how long a session can take to show in the list, or to show with a USN
	// that is out of order.
	settle = time.Hour
	// zones is more than any mistake of time zone can make of FromUtc.
	zones = 26 * time.Hour
	// The daily resync finds even then all that came since the last.
	dailyEvery = 24 * time.Hour
	dailyReach = dailyEvery + zones
	// firstResync is how long after the initial sync the first resync comes; the
	// intervals double from there up to settle.
	firstResync = 5 * time.Minute
	// remember is how long ids are kept: longer than an appliance keeps sessions
	// by default, which is at most 365 days.
	remember = 400 * 24 * time.Hour
)

// resync reads the list by start time, from before the last complete resync on.
func (p *poll) resync(ctx context.Context) error {
	m := p.tx.Meta()
	if err := p.setLateCutoff(ctx); err != nil {
		return err
	}
	if p.clock.IsZero() {
		// The first request of a poll that doesn't read by USN: the clock may have been
		// set back since the last.
		if _, err := p.topRow(ctx); err != nil {
			return err
		}
	}
	mode, back := &p.known.mode, &p.known.lookback
	began := p.clock
	daily := began.Sub(m.LastDailyResync) >= dailyEvery || began.Before(m.LastDailyResync) || p.mustLookNow()
	from := p.lookFrom(earliest(m.LastResync, began).Add(-back.reach(daily)), began)
	newest, sawNewest := back.newest, false
	late := false // it found what the incremental read should have
	rows := p.reader(vbaws.SessionsQuery{FromUTC: p.noLaterThanNewest(from)}, listing.PageLimit)
	defer p.steppedOver(rows)
	for row, err := range rows.UntilWhole(ctx) {
		if err != nil {
			return err
		}
		if row.HasUSN && !mode.fromUTC {
			p.sharesUSN(row)
			if top := p.tx.Meta().Watermark; top != nil && row.USN > top.USN && (mode.ahead == nil || row.USN > *mode.ahead) {
				mode.ahead = &row.USN
			}
		}
		p.sawUnfinished(row)
		sawNewest = sawNewest || ledger.RowID(row) == ledger.ParseID(newest.ID)
		missed, err := p.missed(row)
		if err != nil {
			return err
		}
		late = late || missed
		if err := p.ingestListed(ctx, row, ledger.Incremental); err != nil {
			return err
		}
	}
	if err := p.readRunning(ctx, ledger.Incremental); err != nil {
		return err
	}
	if !newest.Start.Before(from) && !sawNewest && !p.seenUnfinished[ledger.ParseID(newest.ID)] && !back.extended && rows.Unreadable() == 0 {
		// The appliance takes FromUtc for a later time.
		back.extended = true
		p.note("a session that started after FromUtc was not listed: reading further back",
			"session_id", newest.ID, "start", newest.Start, "from_utc", from)
	}
	p.planSessionLookUps()
	if late && !mode.fromUTC && !p.tx.WasReset() && m.Unreadable == nil { // it may be one of these
		p.countLate()
	}
	if !rows.Whole() {
		p.note("the list kept changing during a resync: repeating it with the next poll")
		p.tx.OweResync()
		return nil
	}
	if daily {
		if err := p.tx.Forget(p.tx.Agreed(began).Add(-remember)); err != nil {
			return storageError(err)
		}
	}
	p.completeResync(began, daily, min(settle, max(firstResync, 2*m.ResyncInterval)))
	return nil
}

// completeResync records a complete resync that began at the given time of the
// appliance's clock.
func (p *poll) completeResync(began time.Time, daily bool, next time.Duration) {
	p.tx.Resynced(began, daily, next)
	if back := &p.known.lookback; back.newest.Start.After(back.known) {
		back.known = back.newest.Start
	}
}

// readRunning reads what runs, however long ago it started.
func (p *poll) readRunning(ctx context.Context, from ledger.Origin) error {
	running := p.reader(vbaws.SessionsQuery{Status: []string{vbaws.StatusRunning}}, listing.PageLimit)
	defer p.steppedOver(running)
	for row, err := range running.UntilWhole(ctx) {
		if err != nil {
			return err
		}
		p.sawUnfinished(row)
		if err := p.ingestListed(ctx, row, from); err != nil {
			return err
		}
	}
	return nil
}

// missed reports whether row is a change at or below the watermark as it stood
// before the poll, which the incremental read can't have seen.
func (p *poll) missed(row *vbaws.Row) (bool, error) {
	if row.Err != nil || p.before == nil || row.USN > p.before.USN {
		return false, nil
	}
	if t := p.tx.Times(&row.Session).Start; !t.IsZero() && t.Before(p.tx.Meta().Cutoff) {
		return false, nil
	}
	return p.changed(row)
}
