package listing

import (
	"hash/maphash"
	"math"
)

// reading is what is known of one reading of a list.
type reading struct {
	// keep is how many rows' ids are kept.
	keep int
	// seen are the ids of all rows read; nil if they became too many.
	seen IDs
	// recent are the ids on the last page and the one before.
	recent [2]IDs
	// distinct is how many rows were read, each once. Of a list in order, those that came
	// since aren't counted: above top, the position of the first row. If seen is nil, rows
	// are distinguished by their order: one that stands lower than all before is new, and
	// of those that stand lowest the ids are known, that of the first and in ties the
	// others. A row out of order isn't counted.
	distinct int
	top      int64
	lowest   int64
	some     bool // top and lowest are set
	lowestID [16]byte
	ties     IDs
	// unordered says that a row stood below one with a lower position, above, on one page.
	unordered bool
	above     int64 // the largest there is at the top of a page
	// rows counts the rows that were likely new when they were read.
	rows int
	// began is the first totalCount that a page had; -1 for none.
	began int
	// pages counts the pages that had a row.
	pages int
	// unreadable counts the rows that were stepped over, and unreadableRun those since the
	// last row that was read.
	unreadable, unreadableRun int
}

// newReading returns a reading that keeps the ids of so many rows.
func newReading(keep int) *reading {
	return &reading{keep: keep, seen: make(IDs), recent: [2]IDs{make(IDs), make(IDs)}, ties: make(IDs), began: -1}
}

// whole reports whether nothing can be missing: there was no boundary between pages that
// a row could hide behind, or as many distinct rows were read as totalCount was when the
// reading began.
func (r *reading) whole() bool { return r.pages <= 1 && r.unreadable == 0 || r.complete() }

// complete reports whether as many distinct rows were read, or stepped over, as
// totalCount was when the reading began. Rows that came since are not missing from it.
func (r *reading) complete() bool { return r.began >= 0 && r.distinct+r.unreadable >= r.began }

// stepOver counts a row that can't be read, and reports whether the reading can go on.
func (r *reading) stepOver() bool {
	r.unreadable++
	r.unreadableRun++
	return r.unreadable <= maxUnreadable && r.unreadableRun <= maxUnreadableRun
}

// suspect is the end of the rows one of which can't be read; 0: none is known.
type suspect int

// narrow returns how many of the rows at offset to request after so many of them failed:
// first the least that bring another one, since it may be another row that can't be read
// now, and then half as many each time.
func (s *suspect) narrow(offset, limit, least int) int {
	first := int(*s) <= offset
	*s = suspect(offset + limit)
	if first {
		return least
	}
	return max(least, limit/2)
}

// clip returns how many of the rows at offset to request instead of limit.
func (s *suspect) clip(offset, limit, least int) int {
	if left := int(*s) - offset; left > 0 {
		return min(limit, max(least, left/2))
	}
	*s = 0
	return limit
}

// endless reports whether far more rows were read than the list can have.
func (r *reading) endless() bool {
	return r.rows > maxRows || r.began >= 0 && (r.rows-spareRows)/2 > r.began
}

// has reports whether the row of that id was read. Of a long list only the ids of the last
// pages are kept.
func (r *reading) has(id [16]byte) bool {
	if r.seen != nil {
		return r.seen.Has(id)
	}
	return r.some && id == r.lowestID || r.recent[0].Has(id) || r.recent[1].Has(id) || r.ties.Has(id)
}

// turn begins a page.
func (r *reading) turn() {
	r.recent[0], r.recent[1] = r.recent[1], r.recent[0]
	clear(r.recent[1])
	r.above = math.MaxInt64
}

// add records a row, and reports whether it is likely new. ok says that it has a
// position, at.
func (r *reading) add(id [16]byte, at int64, ok bool) (isNew bool) {
	if ok && !r.some {
		r.top = at
	}
	if ok {
		r.unordered = r.unordered || at > r.above
		r.above = at
	}
	lower := ok && (!r.some || at < r.lowest)
	isNew = lower || !r.has(id)
	distinct := lower
	switch {
	case lower:
		r.lowest, r.some, r.lowestID = at, true, id
		clear(r.ties)
	case ok && at == r.lowest && id != r.lowestID:
		distinct = !r.ties.Has(id)
		r.ties.Add(id)
	}
	if r.seen != nil {
		distinct = !r.seen.Has(id)
		r.seen.Add(id)
		if len(r.seen) > r.keep {
			r.seen = nil
		}
	}
	if distinct && (r.unordered || !ok || at <= r.top) {
		r.distinct++
	}
	r.recent[1].Add(id)
	return isNew
}

// IDs is a set of ids that keeps eight bytes of each. That two of a million are taken
// for one has odds of 1 in 37 million, and then a list seems a row short, and is read
// again.
type IDs map[uint64]struct{}

// Add adds an id.
func (s IDs) Add(id [16]byte) { s[hash(id)] = struct{}{} }

// Remove removes an id.
func (s IDs) Remove(id [16]byte) { delete(s, hash(id)) }

// Has reports whether the set has an id.
func (s IDs) Has(id [16]byte) bool {
	_, ok := s[hash(id)]
	return ok
}

var seed = maphash.MakeSeed()

func hash(id [16]byte) uint64 { return maphash.Bytes(seed, id[:]) }
