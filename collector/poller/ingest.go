package poller

import (
	"context"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// This file hands rows to the ledger. A session whose policy is not known yet waits.

// pending is a session that waits for its policy.
type pending struct {
	session vbaws.Session
	from    ledger.Origin
}

// ingestListed is ingest within a list that can be long.
func (p *poll) ingestListed(ctx context.Context, row *vbaws.Row, from ledger.Origin) error {
	if err := p.ingest(row, from); err != nil {
		return err
	}
	return p.checkpoint(ctx)
}

// ingest folds one row, or puts it aside until its policy is known.
func (p *poll) ingest(row *vbaws.Row, from ledger.Origin) error {
	if row.Err != nil {
		if err := p.tx.SkipRow(row); err != nil {
			return storageError(err)
		}
		return nil
	}
	e, err := p.tx.Entry(&row.Session)
	if err != nil {
		return storageError(err)
	}
	if row.Type == vbaws.TypePolicy && len(p.policyNames) < maxNames {
		p.policyNames[row.Name] = true
	}
	if newest := &p.known.lookback.newest; row.Start.After(newest.Start) && p.tx.Times(&row.Session).Start.Equal(row.Start) {
		*newest = row.Session
	}
	if e.Unchanged() {
		e.MarkPresent()
		delete(p.pending, e.ID())
		return nil
	}
	if !p.cfg.Ledger.Filter.MatchesType(row.Type) {
		e.Ignore()
		return nil
	}
	policy, ok := p.policyOf(e, &row.Session)
	if !ok {
		if put, aside := p.pending[e.ID()]; aside {
			from = put.from
			if from != ledger.Incremental && !ledger.Finished(&put.session) {
				from = ledger.RunningAtStart // so that its end, seen later, is not taken for one before the initial sync
			}
		}
		p.pending[e.ID()] = pending{row.Session, from}
		return nil
	}
	e.Fold(policy, from)
	return nil
}

// sawUnfinished notes that a list showed a session that had not finished, so that it need
// not be looked up.
func (p *poll) sawUnfinished(row *vbaws.Row) {
	if id := ledger.RowID(row); p.tx.IsUnfinished(id) || row.Err == nil && !ledger.Finished(&row.Session) {
		p.seenUnfinished[id] = true
	}
}
