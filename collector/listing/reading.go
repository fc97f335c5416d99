package listing

import "hash/maphash"

// reading is what is known of one reading of a list.
type reading struct {
	// keep is how many rows' ids are kept.
	keep int
	// seen are the ids of all rows read; nil if they became too many.
	seen IDs
	// recent are the ids on the last page and the one before.
	recent [2]IDs
	// distinct is how many rows were read, each once. If seen is nil they are
	// distinguished by their order: a row that stands lower than all before is new, and
	// of those that stand lowest the ids are known, that of the first and in ties the
	// others. A row out of order isn't counted.
	distinct int
	lowest   int64
	some     bool // lowest is set
	lowestID uint64
	ties     IDs
	// rows counts the rows that were likely new when they were read.
	rows int
	// began is the first totalCount that a page had; -1 for none.
	began int
	// pages counts the pages that had a row.
	pages int
}

// newReading returns a reading that keeps the ids of so many rows.
func newReading(keep int) *reading {
	return &reading{keep: keep, seen: make(IDs), recent: [2]IDs{make(IDs), make(IDs)}, ties: make(IDs), began: -1}
}

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
	if r.seen != nil {
		return r.seen.has(id)
	}
	return r.some && id == r.lowestID || r.recent[0].has(id) || r.recent[1].has(id) || r.ties.has(id)
}

// turn begins a page.
func (r *reading) turn() {
	r.recent[0], r.recent[1] = r.recent[1], r.recent[0]
	clear(r.recent[1])
}

// add records a row, and reports whether it is likely new. ok says that it has a
// position, at.
func (r *reading) add(id uint64, at int64, ok bool) (isNew bool) {
	lower := ok && (!r.some || at < r.lowest)
	isNew = lower || !r.has(id)
	distinct := lower
	switch {
	case lower:
		r.lowest, r.some, r.lowestID = at, true, id
		clear(r.ties)
	case ok && at == r.lowest && id != r.lowestID:
		distinct = !r.ties.has(id)
		r.ties.add(id)
	}
	if r.seen != nil {
		distinct = !r.seen.has(id)
		r.seen.add(id)
		if len(r.seen) > r.keep {
			r.seen = nil
		}
	}
	if distinct {
		r.distinct++
	}
	r.recent[1].add(id)
	return isNew
}

// IDs is a set of ids that keeps eight bytes of each. That two of a million are taken
// for one has odds of 1 in 37 million, and then a list seems a row short, and is read
// again.
type IDs map[uint64]struct{}

// Add adds an id.
func (s IDs) Add(id [16]byte) { s.add(hash(id)) }

// Remove removes an id.
func (s IDs) Remove(id [16]byte) { delete(s, hash(id)) }

// Has reports whether the set has an id.
func (s IDs) Has(id [16]byte) bool { return s.has(hash(id)) }

func (s IDs) has(id uint64) bool {
	_, ok := s[id]
	return ok
}

func (s IDs) add(id uint64) { s[id] = struct{}{} }

var seed = maphash.MakeSeed()

func hash(id [16]byte) uint64 { return maphash.Bytes(seed, id[:]) }
