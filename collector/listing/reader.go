package listing

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"

	"vbaws_exporter/vbaws"
)

const (
	// PageLimit is the largest page that is requested.
	PageLimit = 500
	// ShortPage is the size of a first page if few rows are expected. Pages grow
	// tenfold, so that reading k rows costs in the order of k.
	ShortPage = 10
	// maxStepsBack bounds how often one reading goes a page back. A list that
	// loses rows faster than they are read can't be read.
	maxStepsBack = 50
	// maxTieSteps bounds the same if only the order of equal rows is in doubt.
	maxTieSteps = 3
	// maxBarren is how many pages in a row can bring no row that was not read
	// before. More of them mean that the appliance ignores Offset.
	maxBarren = 20
	// A reading ends with an error after twice as many rows as totalCount says, and
	// spareRows more, and in any case after maxRows: the list has no end.
	spareRows = 100_000
	maxRows   = 10_000_000
	// A reading steps over at most maxUnreadable rows, and over at most maxUnreadableRun
	// that stand one below the other: more of them mean that the list can't be read.
	maxUnreadable    = 50
	maxUnreadableRun = 5
	// Rereads is how often a list is read that does not become complete.
	Rereads = 5
)

// Reader reads one list that is sorted downwards. Its exported fields must not change
// after the first use. It belongs to one goroutine.
type Reader[T any] struct {
	// Op names the request in errors.
	Op string
	// Fetch returns the rows at an offset, at most limit of them, and totalCount, or -1
	// if the appliance didn't send one.
	Fetch func(ctx context.Context, offset, limit int) (rows []T, total int, err error)
	// ID identifies a row.
	ID func(*T) [16]byte
	// Position is the value that the list is sorted by; ok is false for a row without
	// one.
	Position func(*T) (at int64, ok bool)
	// FirstPage is the size of the first page.
	FirstPage int
	// StepOver reports whether a page may have failed with err for one of its rows. Then
	// smaller pages are requested until that row is found, and the reading goes on below
	// it. Nil: never.
	StepOver func(err error) bool
	// KeepIDs is how many ids one reading keeps. Rows beyond are counted by their
	// order.
	KeepIDs int

	last  *reading
	whole bool
}

// Whole reports whether the list became complete in the last UntilWhole.
func (l *Reader[T]) Whole() bool { return l.whole }

// Unreadable returns how many rows the last reading stepped over. Which they are is not
// known.
func (l *Reader[T]) Unreadable() int { return l.last.unreadable }

// Unordered reports whether a row stood below one with a lower position so far in the
// last reading. Only rows of one page are compared: the list moves between two.
func (l *Reader[T]) Unordered() bool { return l.last.unordered }

// Once reads the rows from the top down, until the caller stops or nothing more comes.
// It yields a row more than once if the row moved. An error is the last that it yields.
//
// The list moves while it is read. What is inserted or updated moves rows down, so
// that they are read again: harmless. What is removed above moves rows up, and Offset
// would skip them. So pages overlap by one row, and if the first row of a page was not
// read before, the reading goes back by a page.
func (l *Reader[T]) Once(ctx context.Context) iter.Seq2[*T, error] { return l.once(ctx, l.KeepIDs) }

func (l *Reader[T]) once(ctx context.Context, keepIDs int) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		l.last = newReading(keepIDs)
		if err := l.read(ctx, func(row *T) bool { return yield(row, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// UntilWhole reads the rows again and again until the list is complete, at most Rereads
// times.
func (l *Reader[T]) UntilWhole(ctx context.Context) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		l.whole = false
		var seen IDs                   // by all readings that kept them
		newest := int64(math.MinInt64) // position of the first row of the first reading
		still := 0
		keep := l.KeepIDs
		for i := range Rereads {
			news := false // a row that earlier readings lacked, and that isn't newer than the first of them
			for row, err := range l.once(ctx, keep) {
				if err == nil {
					switch at, ok := l.Position(row); {
					case i > 0:
						news = news || !seen.Has(l.ID(row)) && !(ok && at > newest)
					case ok:
						newest = max(newest, at)
					}
				}
				if !yield(row, err) || err != nil {
					return
				}
			}
			if l.whole = l.last.whole(); l.whole {
				return
			}
			if seen == nil {
				seen = l.last.seen
			} else {
				maps.Copy(seen, l.last.seen)
			}
			keep = math.MaxInt
			// Together the readings have as many (one that was removed between them counts, too).
			// If totalCount is that of more than was asked for, it is never reached: the
			// list is complete once two readings in a row brought nothing.
			if still++; i == 0 || news {
				still = 0
			}
			if l.whole = l.last.began >= 0 && len(seen)+l.last.unreadable >= l.last.began || still >= 2; l.whole {
				return
			}
		}
	}
}

// read makes one reading.
func (l *Reader[T]) read(ctx context.Context, take func(*T) bool) error {
	var (
		r                           = l.last
		offset, limit               = 0, l.FirstPage
		overlap                     bool // the page begins with a row that was read
		stepsBack, tieSteps, barren int
		largest                     int // rows in the largest page so far
		suspect                     suspect
	)
	for {
		least := 1 // rows that bring another one
		if overlap {
			least = 2
		}
		rows, total, err := l.Fetch(ctx, offset, limit)
		if err != nil {
			if l.StepOver == nil || ctx.Err() != nil || !l.StepOver(err) {
				return err
			}
			switch {
			case limit > least:
				limit = suspect.narrow(offset, limit, least)
				continue
			case overlap: // the first of the two was read
			case !r.stepOver():
				return err
			}
			offset, limit, overlap = offset+1, 1, false
			continue
		}
		r.unreadableRun = 0
		if r.began < 0 {
			r.began = total
		}
		n := len(rows)
		if n == 0 && !overlap {
			return nil
		}
		if overlap {
			gap, tie := n == 0, false
			if n > 0 && !r.has(l.ID(&rows[0])) {
				at, ok := l.Position(&rows[0])
				gap = ok && r.some && at < r.lowest
				tie = ok && r.some && at == r.lowest && tieSteps < maxTieSteps
			}
			if gap || tie {
				if stepsBack++; stepsBack > maxStepsBack {
					return l.invalid("rows are removed faster than they can be read")
				}
				if tie {
					tieSteps++
				}
				offset = max(0, offset-max(1, largest-1))
				overlap = offset > 0
				continue
			}
		}
		r.pages++
		r.turn()
		added := 0
		for i := range rows {
			row := &rows[i]
			at, ok := l.Position(row)
			if r.add(l.ID(row), at, ok) {
				added++
			}
			if !take(row) {
				return nil
			}
		}
		if r.rows += added; r.endless() {
			return l.invalid("received %d rows, totalCount was %d, and the list has no end", r.rows, r.began)
		}
		if barren++; added > 0 {
			barren = 0
		}
		if barren > 0 && r.unreadable == 0 && r.complete() || barren > 1 && n < min(limit, largest) {
			// The appliance ignores Offset, or the list gains rows as fast as its last
			// pages are read.
			return nil
		}
		if barren > maxBarren {
			return l.invalid("%d pages up to offset %d had nothing new: the appliance seems to ignore Offset", barren, offset)
		}
		if overlap && n == 1 && largest > 1 {
			return nil // only the row that was read before: nothing more comes
		}
		largest = max(largest, n)
		overlap = n > 1
		offset += max(1, n-1)
		limit = suspect.clip(offset, min(PageLimit, limit*10), min(2, n))
	}
}

func (l *Reader[T]) invalid(format string, args ...any) error {
	return &vbaws.Error{Kind: vbaws.KindDecode, Op: l.Op, Err: fmt.Errorf(format, args...)}
}
