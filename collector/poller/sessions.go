package poller

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file requests sessions, in lists and one by one.

const (
	// evidence is how many of the newest sessions are looked at if none that a poll saw
	// could be understood.
	evidence = 100
)

func byUSN(r *vbaws.Row) (int64, bool) { return r.USN, r.HasUSN }

func byStart(r *vbaws.Row) (int64, bool) {
	return r.Start.UnixMicro(), r.Err == nil && !r.Start.IsZero()
}

// reader returns a reader of the sessions that q selects, the first page of which has
// the given size. A query that isn't sorted by USN is sorted by start.
func (p *poll) reader(q vbaws.SessionsQuery, firstPage int) *listing.Reader[vbaws.Row] {
	position := byUSN
	if q.Sort != vbaws.SortUSNDesc {
		q.Sort, position = vbaws.SortStartTimeDesc, byStart
	}
	return &listing.Reader[vbaws.Row]{
		Op: readSessions, ID: func(r *vbaws.Row) [16]byte { return ledger.RowID(r) },
		Position: position, FirstPage: firstPage, KeepIDs: p.cfg.PartSize, StepOver: p.isOfOneRow,
		Fetch: func(ctx context.Context, offset, limit int) ([]vbaws.Row, int, error) {
			q.Offset, q.Limit = offset, limit
			page, err := p.sessions(ctx, q)
			if err != nil {
				return nil, 0, err
			}
			return page.Rows, page.TotalCount, nil
		},
	}
}

// first returns the first row that can be read of the sessions that q selects; nil for
// none.
func (p *poll) first(ctx context.Context, q vbaws.SessionsQuery) (*vbaws.Row, error) {
	list := p.reader(q, 1)
	defer p.steppedOver(list)
	for row, err := range list.Once(ctx) {
		return row, err
	}
	return nil, nil
}

// sessions requests one page, a smaller one if the appliance refuses the size.
func (p *poll) sessions(ctx context.Context, q vbaws.SessionsQuery) (page *vbaws.SessionsPage, err error) {
	timeout := p.pageTimeout(q.Limit) // also if the appliance returns no page of that size
	err = p.known.pageSize.Ask(q.Limit, func(limit int) error {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		q.Limit = limit
		page, err = p.api.Sessions(ctx, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.observeClock(page.Date)
	for i := range page.Rows {
		p.inspect(&page.Rows[i])
	}
	return page, nil
}

func (p *poll) session(ctx context.Context, id string) (vbaws.Row, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	row, date, err := p.api.Session(ctx, id)
	if err == nil {
		p.observeClock(date)
		p.inspect(&row)
	}
	return row, err
}

// inspect takes in whether a row is a session, and whether it has a USN to read by.
func (p *poll) inspect(row *vbaws.Row) {
	if row.Err != nil {
		p.bad = cmp.Or(p.bad, row.Err)
		return
	}
	p.understood = true
	if !row.HasUSN && !p.known.mode.fromUTC {
		p.fallBack("a session has no USN")
	}
}

// checkForm fails the poll if the appliance's sessions have another form than the
// client knows: none of the newest can be understood. A few such rows among others
// fail nothing, although a poll may see no other.
func (p *poll) checkForm(ctx context.Context) error {
	if p.understood || p.bad == nil {
		return nil
	}
	rows := make(map[ledger.ID]bool)
	for row, err := range p.reader(vbaws.SessionsQuery{}, evidence).Once(ctx) {
		if err != nil {
			return err
		}
		if rows[ledger.RowID(row)] = true; p.understood || len(rows) == evidence {
			break
		}
	}
	if p.understood || len(rows) == 0 {
		return nil
	}
	return notUnderstood(readSessions, fmt.Errorf("none of the %d newest sessions is understood: %w", len(rows), p.bad))
}

// observeClock takes the appliance's clock from the first answer of the poll. The times
// of sessions are judged by that of the last, since a poll may take long.
func (p *poll) observeClock(date time.Time) {
	if date.IsZero() {
		date = p.cfg.Now()
	}
	p.tx.SetClock(date)
	if !p.clock.IsZero() {
		return
	}
	p.clock = date.UTC()
	p.known.clockOffset = p.clock.Sub(p.cfg.Now())
}

func (p *poll) applianceTime() time.Time { return p.known.applianceTime(p.cfg.Now()) }

const readSessions = "read the list of sessions"

// notUnderstood returns an error of an answer that came, and is not what was requested.
func notUnderstood(op string, err error) error {
	return &vbaws.Error{Kind: vbaws.KindDecode, Op: op, Err: err}
}
