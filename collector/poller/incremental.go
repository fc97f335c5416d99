package poller

import (
	"context"
	"fmt"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file implements the incremental read: the list by USN, from the top down to the
// watermark. It also decides whether USNs are fit for that.

const (
	// manyTies bounds the memory that the search for shared USNs takes.
	manyTies = 4000
	// lateLimit is how many resyncs must find what the incremental read should have.
	lateLimit = 2
)

// readMode is how the list of sessions is read, and why.
type readMode struct {
	// fromUTC is set if the list is not read by USN (any more).
	fromUTC bool
	// lateResyncs counts resyncs that found what the incremental read should have.
	lateResyncs int
	// ahead is the highest USN that a resync saw above the top of the list.
	ahead *int64
}

func (m *readMode) name() string {
	if m.fromUTC {
		return string(WatermarkFromUTC)
	}
	return string(WatermarkUSN)
}

// incrementalRead reads the list by USN from the top down to the watermark. It reports
// whether a resync must follow at once.
func (p *poll) incrementalRead(ctx context.Context) (resync bool, err error) {
	row, err := p.topRow(ctx)
	if err != nil || p.known.mode.fromUTC {
		return true, err
	}
	if row == nil {
		return false, nil
	}
	top := p.watermarkOf(row)
	if top != nil {
		if enough, resync := p.compareTop(top); enough {
			return resync, nil
		}
	}

	rows := p.reader(vbaws.SessionsQuery{Sort: vbaws.SortUSNDesc}, listing.ShortPage)
	defer p.steppedOver(rows)
	for row, err := range rows.Once(ctx) {
		if err != nil {
			return false, err
		}
		if row.HasUSN {
			if top == nil {
				top = p.watermarkOf(row)
				if p.before == nil {
					resync = true // as in compareTop
					break
				}
			}
			if rows.Unordered() {
				resync = true
				p.fallBack("rows of a page are not in the order of their USN")
			}
			p.sawUnfinished(row)
			resync = p.sharesUSN(row) || resync
			if p.before != nil && row.USN <= p.before.USN {
				changed, err := p.changed(row)
				if err != nil {
					return false, err
				}
				resync = resync || changed && p.tx.Meta().Unreadable == nil // the row may be one of these
				break
			}
		}
		if err := p.ingestListed(ctx, row, ledger.Incremental); err != nil {
			return false, err
		}
	}
	if top != nil {
		p.tx.SetWatermark(*top)
	}
	return resync || p.known.mode.fromUTC || p.tx.WasReset(), nil
}

// compareTop compares the top of the list with the watermark. enough is set if the list
// need not be read down from there, and resync if a resync must follow.
func (p *poll) compareTop(top *ledger.Watermark) (enough, resync bool) {
	mark, mode := p.before, &p.known.mode
	if mark == nil {
		// The list was not read by USN so far, or it was empty: what is new since then
		// is found by time. Down from the top it would be every session that there is.
		p.tx.SetWatermark(*top)
		return true, true
	}
	below := p.unreadable.rows > 0 // the row is not the top
	if mode.ahead != nil && top.USN < *mode.ahead && !below {
		// A resync saw a row above the top: the list isn't sorted by USN.
		p.countLate()
	}
	mode.ahead = nil
	switch {
	case *top == *mark, top.USN < mark.USN && below:
		return true, false
	case top.USN > mark.USN:
		return false, false
	case top.USN < mark.USN:
		p.tx.Reset()
		p.note("the USN of the appliance's sessions started over", "from", mark.USN, "to", top.USN)
	}
	p.tx.SetWatermark(*top)
	return true, true
}

// watermarkOf returns row as a watermark; nil if it has no USN.
func (p *poll) watermarkOf(row *vbaws.Row) *ledger.Watermark {
	if !row.HasUSN {
		return nil
	}
	return &ledger.Watermark{USN: row.USN, ID: ledger.RowID(row)}
}

// topRow reads the first row of the list by USN, or by start if the list is not read by
// USN (any more); nil if there is none.
func (p *poll) topRow(ctx context.Context) (*vbaws.Row, error) {
	for {
		sort := vbaws.SortUSNDesc
		if p.known.mode.fromUTC {
			sort = vbaws.SortStartTimeDesc
		}
		row, err := p.first(ctx, vbaws.SessionsQuery{Sort: sort})
		switch {
		case !listing.Refused(err):
			return row, err
		case sort == vbaws.SortStartTimeDesc || !p.fallBack("the appliance refuses to sort by USN"):
			return nil, fmt.Errorf("the appliance refuses to sort by %s: %w", sort, err)
		}
	}
}

// changed reports whether the ledger doesn't know a session exactly like this.
func (p *poll) changed(row *vbaws.Row) (bool, error) {
	if row.Err != nil {
		return false, nil
	}
	e, err := p.tx.Entry(&row.Session)
	if err != nil {
		return false, storageError(err)
	}
	return !e.Unchanged(), nil
}

// sharesUSN reports whether another session was seen with the USN of row, in which case
// the USN can't be relied on. It is looked for among the thousands that were seen last.
func (p *poll) sharesUSN(row *vbaws.Row) bool {
	id := ledger.RowID(row)
	if other, ok := p.usns[row.USN]; ok && other != id {
		p.fallBack("sessions share a USN")
		return true
	}
	if len(p.usns) == manyTies {
		clear(p.usns)
	}
	p.usns[row.USN] = id
	return false
}

// fallBack gives up reading by USN, until the process restarts, if the configuration
// leaves the choice. It reports whether the list is read by FromUtc from here on.
func (p *poll) fallBack(why string) bool {
	m := &p.known.mode
	if p.cfg.Watermark == WatermarkAuto && !m.fromUTC {
		m.fromUTC = true
		p.note("falling back to watermark mode from_utc", "reason", why)
	}
	return m.fromUTC
}

// countLate counts a resync that found what the incremental read should have.
func (p *poll) countLate() {
	m := &p.known.mode
	if m.lateResyncs++; m.lateResyncs >= lateLimit {
		p.fallBack("changes below the watermark were found repeatedly")
	}
}
