package poller

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

const (
	// pageLimit is the page size asked for where many rows are expected.
	pageLimit = 500
	// walkLimit is the size of a walk's first page. It grows tenfold from page to
	// page, so that reading k rows costs in the order of k.
	walkLimit = 10
	// maxStepsBack bounds how often one reading goes a page back. A list that
	// loses rows faster than they are read can't be read.
	maxStepsBack = 50
	// maxTieSteps bounds the same where only the order of equal rows is in doubt.
	maxTieSteps = 3
	// maxBarren is how many pages in a row may bring no row that was not read
	// before. More of them mean that the appliance ignores Offset.
	maxBarren = 20
	// A reading ends with an error after twice as many rows as totalCount says, and
	// spareRows more, and in any case after maxRows: the list has no end.
	spareRows = 100_000
	maxRows   = 10_000_000
)

// position is where a row stands in a list that is sorted downwards; ok is false
// for a row that doesn't say.
type position func(*vbaws.Row) (at int64, ok bool)

func byUSN(r *vbaws.Row) (int64, bool) { return r.USN, r.HasUSN }

func byStart(r *vbaws.Row) (int64, bool) {
	return r.Start.UnixMicro(), r.Err == nil && !r.Start.IsZero()
}

// reading is what came of reading one list.
type reading struct {
	// keep is how many rows' ids are kept.
	keep int
	// met are the ids of all rows read; nil where they became too many.
	met idSet
	// recent are the ids on the last page and the one before.
	recent [2]idSet
	// distinct is how many rows were read, each once. Where met is nil they are told
	// apart by their order: what stands lower than all before is new, and of those
	// that stand lowest the ids are known, that of the first and in ties the others.
	// What stands out of order isn't counted.
	distinct int
	lowest   int64
	some     bool // lowest is set
	lowestID uint64
	ties     idSet
	// rows counts the rows that were likely news when they were read.
	rows int
	// began is the first totalCount that a page had; -1 for none.
	began int
	// pages counts the pages that had a row.
	pages int
	// date is the appliance's clock at the first page.
	date time.Time
}

// newReading returns a reading that keeps the ids of so many rows.
func newReading(keep int) *reading {
	return &reading{
		keep: keep, met: make(idSet), recent: [2]idSet{make(idSet), make(idSet)}, ties: make(idSet), began: -1,
	}
}

// whole reports whether nothing can be missing: either there was no boundary
// between pages that a row could hide behind, or the reading is complete.
func (r *reading) whole() bool { return r.pages <= 1 || r.complete() }

// complete reports whether as many distinct rows were read as totalCount said when
// the reading began. Rows that came since are not missing from it.
func (r *reading) complete() bool { return r.began >= 0 && r.distinct >= r.began }

// endless reports whether far more rows were read than the list can have.
func (r *reading) endless() bool {
	return r.rows > maxRows || r.began >= 0 && (r.rows-spareRows)/2 > r.began
}

// has reports whether the row of that id was read. Of a long list it knows the last
// pages alone.
func (r *reading) has(id uint64) bool {
	if r.met != nil {
		return r.met.has(id)
	}
	return r.some && id == r.lowestID || r.recent[0].has(id) || r.recent[1].has(id) || r.ties.has(id)
}

// turn begins a page.
func (r *reading) turn() {
	r.recent[0], r.recent[1] = r.recent[1], r.recent[0]
	clear(r.recent[1])
}

// add takes in a row, and reports whether it is likely news. ok says that it has a
// place in the order, here.
func (r *reading) add(id uint64, here int64, ok bool) (news bool) {
	lower := ok && (!r.some || here < r.lowest)
	news = lower || !r.has(id)
	distinct := lower
	switch {
	case lower:
		r.lowest, r.some, r.lowestID = here, true, id
		clear(r.ties)
	case ok && here == r.lowest && id != r.lowestID:
		distinct = !r.ties.has(id)
		r.ties.add(id)
	}
	if r.met != nil {
		distinct = !r.met.has(id)
		r.met.add(id)
		if len(r.met) > r.keep {
			r.met = nil
		}
	}
	if distinct {
		r.distinct++
	}
	r.recent[1].add(id)
	return news
}

// list reads the rows that q selects from the top down, and hands each to take,
// until take says stop or nothing more comes. Rows may be handed over more than
// once. q must be sorted downwards by at.
//
// The list moves while it is read. What is inserted or updated moves rows down,
// so that they are read again: harmless. What is removed above moves rows up, and
// Offset would skip them. So pages overlap by one row, and where the first row of
// a page is none that was read, the reading goes back by a page.
func (p *pass) list(ctx context.Context, q vbaws.SessionsQuery, at position, limit int,
	take func(page *vbaws.SessionsPage, row *vbaws.Row) (stop bool, err error),
) (*reading, error) {
	r := newReading(p.cfg.PartSize)
	return r, p.listInto(ctx, r, q, at, limit, take)
}

// listInto is list with a reading that has begun.
func (p *pass) listInto(ctx context.Context, r *reading, q vbaws.SessionsQuery, at position, limit int,
	take func(page *vbaws.SessionsPage, row *vbaws.Row) (stop bool, err error),
) error {
	var (
		overlap                    bool // the page begins with a row that was read
		stepsBack, tieSteps, empty int
		largest                    int // rows in the largest page so far
	)
	for first := true; ; first = false {
		q.Limit = limit
		page, err := p.sessions(ctx, q)
		if err != nil {
			return err
		}
		if first {
			r.date = page.Date
		}
		n := len(page.Rows)
		if n == 0 && !overlap {
			return nil
		}
		if overlap {
			gap, tie := n == 0, false
			if n > 0 && !r.has(hashID(p.rowID(&page.Rows[0]))) {
				here, ok := at(&page.Rows[0])
				gap = ok && r.some && here < r.lowest
				tie = ok && r.some && here == r.lowest && tieSteps < maxTieSteps
			}
			if gap || tie {
				if stepsBack++; stepsBack > maxStepsBack {
					return badList("it loses rows faster than they can be read")
				}
				if tie {
					tieSteps++
				}
				q.Offset = max(0, q.Offset-max(1, largest-1))
				overlap = q.Offset > 0
				continue
			}
		}
		r.pages++
		if r.began < 0 {
			r.began = page.TotalCount
		}
		r.turn()
		news := 0
		for i := range page.Rows {
			row := &page.Rows[i]
			here, ok := at(row)
			if r.add(hashID(p.rowID(row)), here, ok) {
				news++
			}
			if stop, err := take(page, row); stop || err != nil {
				return err
			}
		}
		if err := p.part(ctx); err != nil {
			return err
		}
		if r.rows += news; r.endless() {
			return badList(fmt.Sprintf("%d rows came though totalCount was %d, and still no end", r.rows, r.began))
		}
		if empty++; news > 0 {
			empty = 0
		}
		if empty > 0 && r.complete() || empty > 1 && n < largest {
			// The appliance ignores Offset, or the list gains rows as fast as its last
			// pages are read.
			return nil
		}
		if empty > maxBarren {
			return badList(fmt.Sprintf("%d pages up to offset %d brought nothing new: is Offset honoured?", empty, q.Offset))
		}
		if overlap && n == 1 && largest > 1 {
			return nil // only the row that was read before: nothing more comes
		}
		largest = max(largest, n)
		overlap = n > 1
		q.Offset += max(1, n-1)
		limit = min(pageLimit, limit*10)
	}
}

// idSet is a set of ids, by eight bytes of each. That two of a million are taken for
// one has odds of 1 in 37 million, and then a list seems a row short, and is read
// again.
type idSet map[uint64]struct{}

var idSeed = maphash.MakeSeed()

func hashID(id ledger.ID) uint64 { return maphash.Bytes(idSeed, id[:]) }

func (s idSet) has(id uint64) bool { return hasKey(s, id) }

func (s idSet) add(id uint64) { s[id] = struct{}{} }

// rowID identifies a row, one that could not be understood included.
func (p *pass) rowID(r *vbaws.Row) ledger.ID {
	return ledger.RowID(r)
}

func badList(why string) error {
	return &vbaws.Error{Kind: vbaws.KindDecode, Op: "read the list of sessions", Err: errors.New(why)}
}

// listAll reads a list of what has an id, in pages, and again where it moved
// meanwhile, until as many have come as the appliance says there are. page returns
// what could be understood of the rows at an offset, how many rows there were, and
// totalCount or -1.
func listAll[T any](path string, page func(offset int) (items []T, rows, total int, err error), id func(*T) string) ([]T, error) {
	var came, total int
	for range rereads {
		var all []T
		met := make(map[string]bool)
		offset, lost, moved := 0, 0, false
		for news := true; news; {
			items, rows, n, err := page(offset)
			if err != nil {
				return nil, err
			}
			// What was removed from the pages before has moved others there.
			moved = moved || offset > 0 && n != total
			total, offset, lost = n, offset+rows, lost+rows-len(items)
			news = false
			for i := range items {
				if k := id(&items[i]); !met[k] {
					met[k], news = true, true
					all = append(all, items[i])
				}
			}
		}
		if came = len(all) + lost; came >= total && !moved {
			return all, nil
		}
	}
	return nil, &vbaws.Error{
		Kind: vbaws.KindDecode, Op: "GET " + path,
		Err: fmt.Errorf("%d came of %d, or the list kept moving", came, total),
	}
}
