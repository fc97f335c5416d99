package listing

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"vbaws_exporter/vbaws"
)

type row struct {
	id int
	at int64
}

// server has a list that is sorted downwards.
type server struct {
	rows []row
	next int
	// change is called after each page.
	change func()
	// total is what totalCount says; nil: the truth.
	total func() int
	// maxPage is the largest page; 0: any.
	maxPage  int
	noOffset bool
	// broken are the ids of rows that can't be returned.
	broken   map[int]bool
	requests int
	limits   []int
}

func (s *server) fetch(_ context.Context, offset, limit int) ([]row, int, error) {
	s.requests++
	s.limits = append(s.limits, limit)
	if s.maxPage > 0 {
		limit = min(limit, s.maxPage)
	}
	if s.noOffset {
		offset = 0
	}
	total := len(s.rows)
	if s.total != nil {
		total = s.total()
	}
	from := min(offset, len(s.rows))
	page := slices.Clone(s.rows[from:min(from+limit, len(s.rows))])
	if s.change != nil {
		s.change()
	}
	if slices.ContainsFunc(page, func(r row) bool { return s.broken[r.id] }) {
		return nil, 0, errRow
	}
	return page, total, nil
}

var errRow = errors.New("a row can't be returned")

// insert puts a new row in the order of positions, above or below its equals.
func (s *server) insert(at int64, above bool) {
	i := slices.IndexFunc(s.rows, func(r row) bool { return r.at < at || above && r.at == at })
	if i < 0 {
		i = len(s.rows)
	}
	s.rows = slices.Insert(s.rows, i, row{s.next, at})
	s.next++
}

// fill adds n rows with distinct positions, n-1 on top.
func (s *server) fill(n int) *server {
	for at := n - 1; at >= 0; at-- {
		s.insert(int64(at), false)
	}
	return s
}

func (s *server) reader(keep int) *Reader[row] {
	return &Reader[row]{
		Op: "read rows", Fetch: s.fetch, FirstPage: ShortPage, KeepIDs: keep,
		ID: func(r *row) (id [16]byte) {
			binary.BigEndian.PutUint64(id[:], uint64(r.id))
			return id
		},
		Position: func(r *row) (int64, bool) { return r.at, true },
	}
}

// checkStayed checks that each row that was there throughout was yielded.
func checkStayed(t *rapid.T, stayed []row, yielded map[int]bool) {
	t.Helper()
	for _, r := range stayed {
		if !yielded[r.id] {
			t.Fatalf("row %d at %d was there all the time and was not yielded", r.id, r.at)
		}
	}
}

func TestReader(t *testing.T) {
	t.Run("once", testReaderOnce)
	t.Run("until whole", testReaderUntilWhole)
	t.Run("pages grow", testReaderPagesGrow)
	t.Run("totalCount at the beginning", testReaderTotalCountAtTheBeginning)
	t.Run("totalCount of more", testReaderTotalCountOfMore)
	t.Run("broken lists", testReaderBrokenLists)
	t.Run("unordered", testReaderUnordered)
	t.Run("equal rows move", testReaderEqualRowsMove)
	t.Run("rows that came since", testReaderRowsThatCameSince)
	t.Run("step over", testReaderStepOver)
	t.Run("without ids", testReaderWithoutIDs)
}

// testReaderOnce: rows are inserted, updated (they move to the top) and removed
// between any two pages; with distinct positions one reading yields every row that was
// there from the beginning to the end, and did not move.
func testReaderOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := (&server{maxPage: rapid.IntRange(2, 30).Draw(t, "max page")}).fill(rapid.IntRange(0, 300).Draw(t, "rows"))
		top := int64(len(s.rows))
		stayed := slices.Clone(s.rows)
		lose := func(id int) {
			stayed = slices.DeleteFunc(stayed, func(r row) bool { return r.id == id })
		}
		changes := 0
		s.change = func() {
			for range rapid.IntRange(0, 4).Draw(t, "changes") {
				if changes++; changes > 15 {
					return // a list that moves faster than it is read is an error
				}
				switch kind := rapid.IntRange(0, 2).Draw(t, "kind"); {
				case kind == 0:
					s.insert(top, true)
					top++
				case len(s.rows) > 0:
					i := rapid.IntRange(0, len(s.rows)-1).Draw(t, "row")
					r := s.rows[i]
					s.rows = slices.Delete(s.rows, i, i+1)
					lose(r.id)
					if kind == 1 { // an update
						s.rows = slices.Insert(s.rows, 0, row{r.id, top})
						top++
					}
				}
			}
		}
		yielded := make(map[int]bool)
		for row, err := range s.reader(rapid.SampledFrom([]int{0, 20, 1000}).Draw(t, "keep")).Once(context.Background()) {
			if err != nil {
				t.Fatal(err)
			}
			yielded[row.id] = true
		}
		checkStayed(t, stayed, yielded)
	})
}

// testReaderUntilWhole: rows share positions, and the order of those that do
// changes from page to page; others are inserted on top. A list that is said to be whole
// is so.
func testReaderUntilWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &server{maxPage: rapid.IntRange(2, 30).Draw(t, "max page")}
		for range rapid.IntRange(0, 150).Draw(t, "rows") {
			s.insert(int64(rapid.IntRange(0, 100).Draw(t, "at")), true)
		}
		stayed := slices.Clone(s.rows)
		top := int64(101)
		changes := 0
		s.change = func() {
			if changes++; changes > 40 {
				return
			}
			for range rapid.SampledFrom([]int{0, 0, 0, 1, 5}).Draw(t, "inserts") {
				s.insert(top, true)
				top++
			}
			for i := range max(0, len(s.rows)-1) {
				if s.rows[i].at == s.rows[i+1].at && rapid.Bool().Draw(t, "swap") {
					s.rows[i], s.rows[i+1] = s.rows[i+1], s.rows[i]
				}
			}
		}
		l := s.reader(1000)
		yielded := make(map[int]bool)
		for row, err := range l.UntilWhole(context.Background()) {
			if err != nil {
				return // it moves faster than it is read
			}
			yielded[row.id] = true
		}
		if l.Whole() {
			checkStayed(t, stayed, yielded)
		}
	})
}

func drain(t *testing.T, l *Reader[row]) (ids []int, err error) {
	t.Helper()
	for row, err := range l.Once(t.Context()) {
		if err != nil {
			return ids, err
		}
		ids = append(ids, row.id)
	}
	return ids, nil
}

// testReaderPagesGrow: reading k rows takes few requests, and stopping early takes one.
func testReaderPagesGrow(t *testing.T) {
	s := (&server{}).fill(2000)
	l := s.reader(10_000)
	ids, err := drain(t, l)
	if err != nil || len(ids) < 2000 || !l.last.whole() || l.Unordered() {
		t.Fatalf("%d rows, %v, complete %t, unordered %t", len(ids), err, l.last.whole(), l.Unordered())
	}
	if want := []int{10, 100, 500, 500, 500, 500}; !slices.Equal(s.limits[:len(want)], want) || len(s.limits) > len(want)+1 {
		t.Errorf("page sizes %v, want %v", s.limits, want)
	}
	s.requests = 0
	for range l.Once(t.Context()) {
		break
	}
	if s.requests != 1 {
		t.Errorf("%d requests for the first row", s.requests)
	}
}

// testReaderTotalCountAtTheBeginning: rows that come while a list is read are not missing.
func testReaderTotalCountAtTheBeginning(t *testing.T) {
	s := (&server{maxPage: 10}).fill(50)
	at := int64(50)
	s.change = func() { s.insert(at, true); at++ }
	l := s.reader(1000)
	for _, err := range l.UntilWhole(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !l.Whole() || s.requests > 12 {
		t.Errorf("whole %t after %d requests", l.Whole(), s.requests)
	}
}

// testReaderTotalCountOfMore: a totalCount that is never reached doesn't keep a list from
// being whole, once two more readings in a row brought nothing.
func testReaderTotalCountOfMore(t *testing.T) {
	s := (&server{total: func() int { return 100 }, maxPage: 10}).fill(30)
	l := s.reader(1000)
	for _, err := range l.UntilWhole(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if !l.Whole() {
		t.Error("the list isn't whole")
	}
}

// testReaderBrokenLists: an appliance that can't page ends a reading with an error of kind
// decode, after a bounded number of requests, or with what it has.
func testReaderBrokenLists(t *testing.T) {
	endless := &server{total: func() int { return 10 }}
	endless.change = func() { // rows below the page, again and again
		low := int64(0)
		if len(endless.rows) > 0 {
			low = endless.rows[len(endless.rows)-1].at
		}
		for range PageLimit {
			low--
			endless.rows = append(endless.rows, row{endless.next, low})
			endless.next++
		}
	}
	endless.fill(20)
	losing := (&server{maxPage: 10}).fill(5000)
	losing.change = func() { losing.rows = losing.rows[min(20, len(losing.rows)):] }
	for name, s := range map[string]*server{
		"without an end":         endless,
		"loses rows":             losing,
		"Offset is ignored":      (&server{noOffset: true, maxPage: 10, total: func() int { return -1 }}).fill(100),
		"Offset is ignored, too": (&server{noOffset: true, maxPage: 10}).fill(100),
	} {
		_, err := drain(t, s.reader(1000))
		if e := (*vbaws.Error)(nil); !errors.As(err, &e) || e.Kind != vbaws.KindDecode || e.Op != "read rows" {
			t.Errorf("%s: %v, want an error of kind decode", name, err)
		}
		if s.requests > 1000 {
			t.Errorf("%s: %d requests", name, s.requests)
		}
	}
	// One page that is all there is, although Offset is ignored.
	s := (&server{noOffset: true}).fill(8)
	if ids, err := drain(t, s.reader(1000)); err != nil || len(ids) < 8 || s.requests > 3 {
		t.Errorf("%d rows, %v, %d requests", len(ids), err, s.requests)
	}
}

// testReaderUnordered: only rows of one page are compared.
func testReaderUnordered(t *testing.T) {
	s := &server{rows: []row{{1, 5}, {2, 7}, {3, 1}}}
	l := s.reader(10)
	if _, err := drain(t, l); err != nil || !l.Unordered() || !l.last.whole() {
		t.Errorf("%v, unordered %t, complete %t", err, l.Unordered(), l.last.whole())
	}
	s = (&server{}).fill(50)
	slices.Reverse(s.rows)
	l = s.reader(1000)
	if _, err := drain(t, l); err != nil || !l.Unordered() || !l.last.whole() {
		t.Errorf("upside down: %v, unordered %t, complete %t", err, l.Unordered(), l.last.whole())
	}
}

func itself(s *string) (id string, bytes int) { return *s, len(*s) }

func TestAll(t *testing.T) {
	t.Run("endless", testAllEndless)
	t.Run("reads again", testAllReadsAgain)
}

// testAllEndless: a list that brings new items for ever is an error before it fills
// the memory.
func testAllEndless(t *testing.T) {
	held := 0
	_, err := All(new(PageSize), "/x", func(offset, _ int) (*vbaws.Page[string], error) {
		item := strings.Repeat("x", 1<<20) + strconv.Itoa(offset)
		held += len(item)
		return &vbaws.Page[string]{TotalCount: 5, Items: []string{item}, Rows: 1}, nil
	}, itself)
	if vbaws.KindOf(err) != vbaws.KindDecode || !strings.Contains(err.Error(), "more than 32 MiB") || held > maxBytes+2<<20 {
		t.Errorf("%d bytes, %v", held, err)
	}
}

// testAllReadsAgain: a list that loses an item while it is read is read again.
func testAllReadsAgain(t *testing.T) {
	items := []string{"a", "b", "c", "d", "e"}
	pages := 0
	got, err := All(new(PageSize), "/x", func(offset, _ int) (*vbaws.Page[string], error) {
		if pages++; pages == 2 {
			items = items[1:]
		}
		page := items[min(offset, len(items)):min(offset+2, len(items))]
		return &vbaws.Page[string]{TotalCount: len(items), Items: page, Rows: len(page)}, nil
	}, itself)
	if err != nil || !slices.Equal(got, []string{"b", "c", "d", "e"}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := All(new(PageSize), "/x", func(int, int) (*vbaws.Page[string], error) { return &vbaws.Page[string]{TotalCount: 3}, nil }, itself); vbaws.KindOf(err) != vbaws.KindDecode {
		t.Errorf("fewer than totalCount: %v", err)
	}
}

// testReaderEqualRowsMove: the reading also steps back if only rows that are equal in order
// could have moved past the boundary between two pages.
func testReaderEqualRowsMove(t *testing.T) {
	s := &server{}
	for range 30 {
		s.insert(7, false)
	}
	s.change = func() {
		if s.requests == 1 {
			s.rows = s.rows[2:]
		}
	}
	ids, err := drain(t, s.reader(1000))
	if err != nil {
		t.Fatal(err)
	}
	for id := range 30 {
		if !slices.Contains(ids, id) {
			t.Errorf("row %d was not yielded", id)
		}
	}
}

// testReaderRowsThatCameSince: rows that came on top and were read don't stand for
// older ones that were not read yet.
func testReaderRowsThatCameSince(t *testing.T) {
	s := (&server{maxPage: 2}).fill(3)
	s.change = func() {
		if s.requests == 1 {
			s.insert(3, true)
			s.insert(4, true)
		}
	}
	ids, err := drain(t, s.reader(1000))
	if err != nil || !slices.Contains(ids, 2) {
		t.Errorf("rows %v, %v; want the last one, 2, among them", ids, err)
	}
}

// testReaderStepOver: rows that can't be returned are stepped over, and all others are read,
// while rows are inserted on top. Without StepOver, and if too many of them stand one
// below the other, the reading fails.
func testReaderStepOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := (&server{broken: make(map[int]bool), maxPage: rapid.SampledFrom([]int{0, 7}).Draw(t, "max page")}).fill(rapid.IntRange(1, 1500).Draw(t, "rows"))
		for range rapid.IntRange(0, 30).Draw(t, "broken rows") {
			s.broken[rapid.IntRange(0, len(s.rows)-1).Draw(t, "broken")] = true
		}
		run, longest := 0, 0
		var stayed []row
		for _, r := range s.rows {
			if run++; !s.broken[r.id] {
				run = 0
				stayed = append(stayed, r)
			}
			longest = max(longest, run)
		}
		l := s.reader(1000)
		if len(s.broken) > 0 {
			if _, err := readOnce(l); !errors.Is(err, errRow) {
				t.Fatalf("without StepOver: %v", err)
			}
		}
		l.StepOver = func(err error) bool { return errors.Is(err, errRow) }
		top := int64(len(s.rows))
		inserts := rapid.Bool().Draw(t, "inserts")
		if inserts {
			s.change = func() {
				if s.requests%5 == 0 && top < 2000 {
					s.insert(top, true)
					top++
				}
			}
		}
		s.requests = 0
		yielded, err := readOnce(l)
		if errors.Is(err, errRow) && (longest > maxUnreadableRun || inserts && longest > maxUnreadableRun/2) {
			return
		}
		if err != nil {
			t.Fatalf("%d in a row: %v", longest, err)
		}
		checkStayed(t, stayed, yielded)
		if got := l.Unreadable(); got < len(s.broken) || !inserts && got > len(s.broken) {
			t.Fatalf("%d rows stepped over, want %d", got, len(s.broken))
		}
		if !inserts && !l.last.whole() {
			t.Fatal("the reading is not complete")
		}
		if limit := 20 + len(stayed)/3 + 25*len(s.broken); s.requests > limit {
			t.Fatalf("%d requests for %d rows of which %d are broken", s.requests, len(stayed), len(s.broken))
		}
	})
}

func readOnce(l *Reader[row]) (yielded map[int]bool, err error) {
	yielded = make(map[int]bool)
	for row, err := range l.Once(context.Background()) {
		if err != nil {
			return yielded, err
		}
		yielded[row.id] = true
	}
	return yielded, nil
}
