package vbawstest

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/tidwall/btree"
)

// row is one committed state of a session. It never changes.
type row struct {
	Session
	raw []byte // served instead of Session if not nil
	seq uint64 // in order of commits
}

// entry has the history of one id.
type entry struct {
	id      string
	states  []state
	latest  *row // nil once deleted
	visible *row // what requests find; nil before that
	deleted time.Time
}

type state struct {
	row       *row
	committed time.Time
	visible   time.Time // zero before it is visible
}

// table holds the sessions. Requests find only visible rows, and only visible rows are in the
// indexes.
type table struct {
	entries   map[string]*entry
	order     []*entry // in order of first commit, forgotten ones included
	forgotten int
	byUSN     *btree.BTreeG[*row]
	byStart   *btree.BTreeG[*row]
	// Lists by USN of the sessions that one filter selects.
	byPolicy map[string]*btree.BTreeG[*row]
	byStatus map[string]*btree.BTreeG[*row]
	pending  *btree.BTreeG[pending]
	// version changes with every visible change.
	version uint64
	// last is the result of the last query that no index could answer, for further pages
	// of a list that doesn't change.
	last struct {
		key     string
		version uint64
		rows    []*row
	}
}

// pending is a committed row that is not visible yet.
type pending struct {
	at    time.Time
	row   *row
	entry *entry
	state int
}

func newTable() *table {
	return &table{
		entries:  make(map[string]*entry),
		byUSN:    newIndex(compareUSN),
		byStart:  newIndex(compareStart),
		byPolicy: make(map[string]*btree.BTreeG[*row]),
		byStatus: make(map[string]*btree.BTreeG[*row]),
		pending: btree.NewBTreeGOptions(func(a, b pending) bool {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.row.seq, b.row.seq)) < 0
		}, btree.Options{NoLocks: true}),
	}
}

func newIndex(compare func(a, b *row) int) *btree.BTreeG[*row] {
	return btree.NewBTreeGOptions(func(a, b *row) bool {
		return cmp.Or(compare(a, b), compareID(a, b)) < 0
	}, btree.Options{NoLocks: true})
}

func compareID(a, b *row) int       { return strings.Compare(a.ID, b.ID) }
func compareUSN(a, b *row) int      { return cmp.Compare(a.USN, b.USN) }
func compareStart(a, b *row) int    { return a.Start.Compare(b.Start) }
func compareStop(a, b *row) int     { return a.Stop.Compare(b.Stop) }
func compareDuration(a, b *row) int { return cmp.Compare(a.duration(), b.duration()) }
func compareType(a, b *row) int     { return strings.Compare(a.Type, b.Type) }
func compareReason(a, b *row) int   { return strings.Compare(a.Reason, b.Reason) }

// commit makes r the newest state of its session, which requests find from visible on.
func (t *table) commit(r *row, now, visible time.Time) {
	e := t.entries[r.ID]
	if e == nil {
		e = &entry{id: r.ID}
		t.entries[r.ID] = e
		t.order = append(t.order, e)
	}
	e.latest = r
	e.deleted = time.Time{}
	e.states = append(e.states, state{row: r, committed: now})
	p := pending{at: visible, row: r, entry: e, state: len(e.states) - 1}
	if visible.After(now) {
		t.pending.Set(p)
		return
	}
	t.show(p, now)
}

// show makes a committed row the one that requests find, unless a later one
// already is or the session was deleted meanwhile.
func (t *table) show(p pending, now time.Time) {
	e := p.entry
	if e.latest == nil || e.visible != nil && e.visible.seq > p.row.seq {
		return
	}
	t.hide(e)
	e.visible = p.row
	e.states[p.state].visible = now
	t.version++
	t.byUSN.Set(p.row)
	t.byStart.Set(p.row)
	narrow(t.byPolicy, p.row.PolicyID).Set(p.row)
	narrow(t.byStatus, p.row.Status).Set(p.row)
}

func narrow(m map[string]*btree.BTreeG[*row], key string) *btree.BTreeG[*row] {
	index := m[key]
	if index == nil {
		index = newIndex(compareUSN)
		m[key] = index
	}
	return index
}

// hide takes the visible row, if any, out of the indexes.
func (t *table) hide(e *entry) {
	r := e.visible
	if r == nil {
		return
	}
	e.visible = nil
	t.version++
	t.byUSN.Delete(r)
	t.byStart.Delete(r)
	t.byPolicy[r.PolicyID].Delete(r)
	t.byStatus[r.Status].Delete(r)
}

// settle shows the rows that have become visible by now.
func (t *table) settle(now time.Time) {
	for {
		p, ok := t.pending.Min()
		if !ok || p.at.After(now) {
			return
		}
		t.pending.Delete(p)
		t.show(p, now)
	}
}

func (t *table) delete(e *entry, now time.Time) {
	t.hide(e)
	e.latest = nil
	e.deleted = now
	// A hidden row must not appear after the deletion.
	var gone []pending
	t.pending.Scan(func(p pending) bool {
		if p.entry == e {
			gone = append(gone, p)
		}
		return true
	})
	for _, p := range gone {
		t.pending.Delete(p)
	}
}

// forget removes the history of a deleted session.
func (t *table) forget(e *entry) {
	delete(t.entries, e.id)
	t.forgotten++
	// The order is cleaned up rarely, so that a deletion is cheap.
	if t.forgotten > 1000 && t.forgotten > len(t.order)/2 {
		t.order = slices.DeleteFunc(t.order, func(e *entry) bool { return t.entries[e.id] != e })
		t.forgotten = 0
	}
}

// list is rows in some order: a slice or a stretch of an index.
type list struct {
	len  int
	at   func(i int) *row
	same func(a, b *row) bool // whether two neighbours tie in the sort key
}

func (l list) reversed() list {
	at, n := l.at, l.len
	l.at = func(i int) *row { return at(n - 1 - i) }
	return l
}

func fromIndex(index *btree.BTreeG[*row], lo, hi int, same func(a, b *row) bool) list {
	return list{
		len: hi - lo,
		at: func(i int) *row {
			r, _ := index.GetAt(lo + i)
			return r
		},
		same: same,
	}
}

// query returns the rows that q selects, in q's order but with ties in order of
// ids, or in the reverse.
func (t *table) query(q *sessionsQuery) list {
	same := q.same()
	if l, ok := t.indexed(q, same); ok {
		return l
	}
	if t.last.key != q.key || t.last.version != t.version {
		rows := t.filter(q)
		slices.SortFunc(rows, q.compare)
		t.last.key, t.last.version, t.last.rows = q.key, t.version, rows
	}
	rows := t.last.rows
	return list{len: len(rows), at: func(i int) *row { return rows[i] }, same: same}
}

// indexed answers a query that selects a contiguous part of an index, in its order.
func (t *table) indexed(q *sessionsQuery, same func(a, b *row) bool) (list, bool) {
	if len(q.order) != 1 {
		return list{}, false
	}
	k := q.order[0]
	index := t.byUSN
	var only filterSet
	switch k.column {
	case "usn":
		only = filterStatus | filterPolicy
		switch q.filters {
		case filterStatus:
			if len(q.statuses) != 1 {
				return list{}, false
			}
			index = narrow(t.byStatus, q.statuses[0])
		case filterPolicy:
			index = narrow(t.byPolicy, q.policyID)
		}
	case "startTime":
		only = filterFrom
		index = t.byStart
		if q.filters == filterFrom && !q.byStart {
			return list{}, false
		}
	default:
		return list{}, false
	}
	if q.filters != 0 && (q.filters&^only != 0 || q.filters == filterStatus|filterPolicy) {
		return list{}, false
	}
	lo := 0
	if q.filters == filterFrom {
		lo = search(index, q.matchesFrom)
	}
	l := fromIndex(index, lo, index.Len(), same)
	if k.desc {
		l = l.reversed()
	}
	return l, true
}

// search returns the position of the first row that ok holds for, given that it
// holds for all after it.
func search(index *btree.BTreeG[*row], ok func(*row) bool) int {
	lo, hi := 0, index.Len()
	for lo < hi {
		mid := lo + (hi-lo)/2
		if r, _ := index.GetAt(mid); ok(r) {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// filter returns the rows that q selects, in no order.
func (t *table) filter(q *sessionsQuery) []*row {
	var rows []*row
	keep := func(r *row) bool {
		if q.matches(r) {
			rows = append(rows, r)
		}
		return true
	}
	switch {
	case q.filters&filterPolicy != 0:
		narrow(t.byPolicy, q.policyID).Scan(keep)
	case q.filters&filterStatus != 0:
		for _, status := range slices.Compact(slices.Sorted(slices.Values(q.statuses))) {
			narrow(t.byStatus, status).Scan(keep)
		}
	case q.filters&filterFrom != 0 && q.byStart:
		lo := search(t.byStart, q.matchesFrom)
		if first, ok := t.byStart.GetAt(lo); ok {
			t.byStart.Ascend(first, keep)
		}
	default:
		t.byStart.Scan(keep)
	}
	return rows
}

// page returns the rows [from, to) of l. If shuffle is not nil, it orders the rows that tie.
func (l list) page(from, to int, shuffle func(a, b *row) int) []*row {
	from, to = min(from, l.len), min(to, l.len)
	if from >= to {
		return nil
	}
	lo, hi := from, to
	if shuffle != nil {
		for lo > 0 && l.same(l.at(lo-1), l.at(lo)) {
			lo--
		}
		for hi < l.len && l.same(l.at(hi-1), l.at(hi)) {
			hi++
		}
	}
	rows := make([]*row, 0, hi-lo)
	for i := lo; i < hi; i++ {
		rows = append(rows, l.at(i))
	}
	if shuffle != nil {
		for i := 0; i < len(rows); {
			j := i + 1
			for j < len(rows) && l.same(rows[i], rows[j]) {
				j++
			}
			slices.SortFunc(rows[i:j], shuffle)
			i = j
		}
	}
	return rows[from-lo : to-lo]
}

// shuffler returns an order of rows that only seed determines.
func shuffler(seed uint64) func(a, b *row) int {
	hash := func(id string) uint64 {
		h := fnv.New64a()
		h.Write(binary.LittleEndian.AppendUint64(nil, seed))
		h.Write([]byte(id))
		return h.Sum64()
	}
	return func(a, b *row) int {
		return cmp.Or(cmp.Compare(hash(a.ID), hash(b.ID)), compareID(a, b))
	}
}
