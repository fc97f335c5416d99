package store

import (
	"hash/maphash"
	"slices"

	"vbaws_exporter/collector/ledger"
)

// seen is what an Appliance keeps in memory of the ids that it has stored: the days that
// they are stored under, and a Bloom filter. Nearly every id that is looked up is that
// of a new session; the filter answers for those without reading the disk, and so
// without reading every day. It takes 1.3 to 3 bytes an id and is wrong about one
// new id in a hundred, which then costs a look at every day.
//
// A seen is not safe for concurrent use.
type seen struct {
	days []int32 // sorted
	bits []uint64
	n    int // ids that were added
}

const (
	// seenHashes is how many bits of the filter an id sets, seenBits how many bits
	// there are at least for each id: the optimum for one error in a hundred.
	seenHashes = 7
	seenBits   = 10
	// seenBlock is how many words the bits of one id are in: those that a processor
	// reads together.
	seenBlock = 8
	// seenLeast is the size of an empty filter in words, a power of two as all: 8 KiB.
	seenLeast = 1 << 10
)

// seenSeed keeps an appliance from choosing ids that the filter is wrong about.
var seenSeed = maphash.MakeSeed()

// newSeen returns an empty index with room for n ids and a fifth more.
func newSeen(n int) seen {
	words := seenLeast
	for words*64 < n*seenBits*6/5 {
		words *= 2
	}
	return seen{bits: make([]uint64, words)}
}

// full reports whether the filter has as many ids as it is made for.
func (s *seen) full() bool { return s.n*seenBits > len(s.bits)*64 }

// add takes in an id that is stored under day.
func (s *seen) add(day int32, id ledger.ID) {
	if i, found := slices.BinarySearch(s.days, day); !found {
		s.days = slices.Insert(s.days, i, day)
	}
	if !s.has(id, true) { // else it is stored again, or the filter is wrong about it
		s.n++
	}
}

// may reports whether the id may be stored; false is certain.
func (s *seen) may(id ledger.ID) bool { return s.has(id, false) }

// has reports whether all bits of an id are set in the filter; with set they are from then on.
func (s *seen) has(id ledger.ID, set bool) bool {
	h := maphash.Bytes(seenSeed, id[:])
	first := h & uint64(len(s.bits)/seenBlock-1) * seenBlock
	block, at, step := s.bits[first:first+seenBlock], h>>32, h>>48|1
	all := true
	for range seenHashes {
		word, bit := &block[at/64%seenBlock], uint64(1)<<(at%64)
		all = all && *word&bit != 0
		if set {
			*word |= bit
		}
		at += step
	}
	return all
}

// newest returns the newest day that ids are stored under; ok is false for none.
// ledger.DayUnknown isn't one.
func (s *seen) newest() (day int32, ok bool) {
	if len(s.days) == 0 || s.days[len(s.days)-1] == ledger.DayUnknown {
		return 0, false
	}
	return s.days[len(s.days)-1], true
}
