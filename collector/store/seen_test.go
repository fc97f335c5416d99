package store

import (
	"fmt"
	"testing"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record/recordtest"
)

func TestSeen(t *testing.T) {
	t.Run("sessions", testSeenSessions)
	t.Run("any day", testSeenAnyDay)
	t.Run("forget reads old days only", testSeenForgetReadsOldDaysOnly)
}

// The filter knows every id that was added, is wrong about few others, and stays small.
func testSeenSessions(t *testing.T) {
	const n = 50_000
	s := newSeen(0)
	for i := range n {
		s.add(int32(20000+i%10), recordtest.Session(i))
		if s.full() {
			again := newSeen(s.n)
			for j := range i + 1 {
				again.add(int32(20000+j%10), recordtest.Session(j))
			}
			s = again
		}
	}
	wrong := 0
	for i := range n {
		if !s.may(recordtest.Session(i)) {
			t.Fatalf("id %d is not known", i)
		}
		if s.may(recordtest.Session(n + i)) {
			wrong++
		}
	}
	t.Logf("wrong about %.2f %%", float64(wrong)*100/n)
	if wrong > n/50 {
		t.Errorf("wrong about %d of %d ids", wrong, n)
	}
	if per := float64(len(s.bits)*8) / n; per > 3 {
		t.Errorf("%.1f bytes an id", per)
	}
	if len(s.days) != 10 {
		t.Errorf("days %v", s.days)
	}
}

// An id is found whatever day it is looked for at, in an appliance that has outgrown its
// filter, after a restart, and until it is forgotten.
func testSeenAnyDay(t *testing.T) {
	const days, perDay = 400, 50
	path := t.TempDir()
	s := open(t, path)
	b := openAppliance(t, s, "a")
	noSync(t, s)
	at := func(day int) time.Time { return time.Unix(int64(20000+day)*86400, 0).UTC() }
	for day := range days {
		c := &ledger.Changes{Seen: map[ledger.ID]ledger.SeenSession{}}
		for n := range perDay {
			c.Seen[recordtest.Session(day*perDay+n)] = ledger.SeenSession{Day: int32(20000 + day), At: at(day)}
		}
		save(t, b, c)
	}
	check := func(from int) {
		t.Helper()
		for day := range days {
			for i, near := range [][]int32{nil, {20000, ledger.DayUnknown}, {int32(20000 + day)}} {
				n := (day*7 + i) % perDay
				r, found, err := b.Lookup(recordtest.Session(day*perDay+n), near)
				if err != nil || found != (day >= from) || found && r.Day != int32(20000+day) {
					t.Fatalf("session %d of day %d: %+v, %v, %v", n, day, r, found, err)
				}
			}
		}
		if day, ok := b.NewestDay(); !ok || day != 20000+days-1 {
			t.Fatalf("newest day %d, %v", day, ok)
		}
	}
	check(0)
	save(t, b, &ledger.Changes{Forget: at(100)})
	check(100)
	if got := len(b.seen.days); got != days-100 {
		t.Errorf("%d days are looked at, want %d", got, days-100)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	b = openAppliance(t, s, "a")
	check(100)
}

// What an id costs that was never seen, of which nearly every look-up is, and one whose
// dates moved.
func BenchmarkLookupElsewhere(b *testing.B) {
	const n = 100_000
	s := openBench(b, b.TempDir())
	defer func() { _ = s.Close() }()
	history(b, s, n, 100)
	a := openAppliance(b, s, "a")
	for _, of := range []struct {
		name  string
		first int
	}{{"unknown", n}, {"moved", 0}} {
		b.Run(fmt.Sprint("id=", of.name), func(b *testing.B) {
			i := 0
			for b.Loop() {
				if _, found, err := a.Lookup(recordtest.Session(of.first+i%n), []int32{5}); found != (of.first == 0) || err != nil {
					b.Fatal(found, err)
				}
				i++
			}
		})
	}
}
