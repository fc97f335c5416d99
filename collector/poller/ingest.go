package poller

import (
	"cmp"
	"context"
	"slices"
	"strings"

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
		return stored(p.books.SkipRow(row))
	}
	if !ledger.Finished(&row.Session) && p.books.Times(&row.Session).Start.IsZero() {
		row.Start = p.books.FirstSeen(row.ID, p.clock)
	}
	st, err := p.books.Standing(&row.Session)
	if err != nil {
		return &storageError{err}
	}
	id := p.books.ID(row.ID)
	if row.Type == vbaws.TypePolicy && len(p.policyNames) < maxNames {
		p.policyNames[row.Name] = true
	}
	if newest := &p.known.lookback.newest; row.Start.After(newest.Start) && p.books.Times(&row.Session).Start.Equal(row.Start) {
		*newest = row.Session
	}
	if st == ledger.Unchanged {
		p.books.Found(row.ID)
		delete(p.pending, id)
		return nil
	}
	if !p.cfg.Wanted.session(row.Type) {
		return stored(p.books.Ignore(&row.Session))
	}
	policy, ok := p.policyOf(&row.Session)
	if !ok {
		if put, aside := p.pending[id]; aside {
			from = put.from
			if from != ledger.Regular && !ledger.Finished(&put.session) {
				from = ledger.Ran // which its end, seen later, must not be taken for one before the initial sync
			}
		}
		p.pending[id] = pending{row.Session, from}
		return nil
	}
	return p.fold(row.Session, policy, from)
}

func (p *poll) fold(s vbaws.Session, policy string, from ledger.Origin) error {
	return stored(p.books.Fold(s, policy, from))
}

// stored returns an error of the state as one.
func stored(err error) error {
	if err != nil {
		return &storageError{err}
	}
	return nil
}

// sawUnfinished notes that a list showed a session that had not finished, so that it need
// not be looked up.
func (p *poll) sawUnfinished(row *vbaws.Row) {
	if id := p.rowID(row); p.books.Open(id) || row.Err == nil && !ledger.Finished(&row.Session) {
		p.unfinished[id] = true
	}
}

// sortedPending returns what waits for its policy, in the order of the changes.
func (p *poll) sortedPending() []pending {
	all := make([]pending, 0, len(p.pending))
	for _, w := range p.pending {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b pending) int {
		return cmp.Or(cmp.Compare(a.session.USN, b.session.USN), strings.Compare(a.session.ID, b.session.ID))
	})
	return all
}
