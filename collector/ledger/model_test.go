package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// model counts the simple way: it knows all that was ever committed.
type model struct {
	sessions map[int]*known
	last     map[string]*lastSeen // by series
	skipped  int                  // before the cutoff
	gone     int
}

// lastSeen is the session of a series with the newest end.
type lastSeen struct {
	n      int
	status string
	end    time.Time
}

// known is what was committed of one session.
type known struct {
	// eligible says that it is to be counted at its end, as its first sighting
	// decides.
	eligible bool
	counted  string // status; empty: not counted
	took     time.Duration
	ends     map[string]time.Time
	open     bool // the last that was heard is that it has not ended
	missing  int
}

// happening is something that a transaction takes in.
type happening struct {
	n       int
	session vbaws.Session
	from    ledger.Origin
	gone    bool      // the appliance says that there is no such session
	now     time.Time // the appliance's clock
}

// times are what is to be made of the dates of the session.
func (h happening) times() (begun, end time.Time, took time.Duration) {
	s := h.session
	switch {
	case s.Start.IsZero() && s.Stop.IsZero():
		return time.Time{}, h.now, s.Duration
	case s.Start.IsZero():
		return s.Stop, s.Stop, s.Duration
	case s.Stop.IsZero():
		return s.Start, s.Start.Add(s.Duration), s.Duration
	}
	return s.Start, s.Stop, s.Stop.Sub(s.Start)
}

// moved draws dates that a session of which others are known may come with.
func moved(t *rapid.T, s vbaws.Session) vbaws.Session {
	by := time.Duration(rapid.IntRange(-720, 720).Draw(t, "hours")) * time.Hour
	s.Duration = s.Stop.Sub(s.Start)
	s.Start, s.Stop = s.Start.Add(by), s.Stop.Add(by)
	switch rapid.IntRange(0, 5).Draw(t, "dates") {
	case 0:
		s.Start = time.Time{}
	case 1:
		s.Stop = time.Time{}
		if !slices.Contains(vbaws.FinalStatuses, s.Status) {
			s.Stop = s.Start // without a stop it would not have ended
			s.Start = time.Time{}
		}
	case 2:
		if slices.Contains(vbaws.FinalStatuses, s.Status) {
			s.Start, s.Stop = time.Time{}, time.Time{}
		}
	}
	return s
}

const (
	modelSessions = 12
	// The first sessions began before the cutoff.
	beforeCutoff = 3
)

func startOf(n int) time.Time    { return epoch.Add(time.Duration(n-beforeCutoff) * 7 * time.Hour) }
func tookOf(n int) time.Duration { return time.Duration(n*n) * 37 * time.Second }
func policyOf(n int) string      { return []string{"", "Nightly", "Hourly"}[n%3] }

func keyOf(n int) ledger.Key {
	return ledger.Key{Type: vbaws.TypePolicy, Policy: policyOf(n)}
}

func (m *model) take(h happening) {
	begun, end, took := h.times()
	k := m.sessions[h.n]
	if h.gone {
		if k == nil || !k.open {
			return
		}
		if k.missing++; k.missing < 2 {
			return
		}
		k.open = false
		if k.counted == "" && k.eligible {
			m.gone++
			k.missing = 0 // should it come back, it is counted
		}
		return
	}
	if k == nil {
		k = &known{ends: make(map[string]time.Time)}
		m.sessions[h.n] = k
		switch h.from {
		case ledger.Backfill:
			k.eligible = true
		case ledger.Preceding:
			k.eligible = !ledger.Finished(&h.session)
		default:
			k.eligible = begun.IsZero() || !begun.Before(startOf(beforeCutoff))
			if !k.eligible && h.from == ledger.Incremental {
				m.skipped++
			}
		}
	}
	k.missing = 0
	if k.open = !ledger.Finished(&h.session); k.open {
		return
	}
	if end.After(k.ends[h.session.Status]) {
		k.ends[h.session.Status] = end
	}
	last := m.last[fmt.Sprint(keyOf(h.n))]
	if last == nil {
		last = &lastSeen{n: h.n}
		m.last[fmt.Sprint(keyOf(h.n))] = last
	}
	// Of two that ended at the same time it is the one with the higher id.
	if last.n == h.n || end.After(last.end) || end.Equal(last.end) && h.n > last.n {
		*last = lastSeen{h.n, h.session.Status, end}
	}
	if k.eligible && k.counted == "" {
		k.counted, k.took = h.session.Status, took
	}
}

// seen is what a view must say of one series.
type seen struct {
	Counts, Sums map[string]int64
	Ends         map[string]time.Time
	Last         string
	LastEnd      time.Time
	Running      int
	Oldest       time.Time
}

func (m *model) view() map[string]*seen {
	v := make(map[string]*seen)
	for n := range modelSessions {
		k := m.sessions[n]
		if k == nil {
			continue
		}
		name := fmt.Sprint(keyOf(n))
		s := v[name]
		if s == nil {
			s = &seen{Counts: map[string]int64{}, Sums: map[string]int64{}, Ends: map[string]time.Time{}}
			v[name] = s
		}
		if k.counted != "" {
			s.Counts[k.counted]++
			s.Sums[k.counted] += k.took.Microseconds()
		}
		for status, end := range k.ends {
			if end.After(s.Ends[status]) {
				s.Ends[status] = end
			}
		}
		if last := m.last[name]; last != nil {
			s.Last, s.LastEnd = last.status, last.end
		}
		if k.open {
			s.Running++
			if s.Oldest.IsZero() || startOf(n).Before(s.Oldest) {
				s.Oldest = startOf(n)
			}
		}
	}
	return v
}

// shown is what a view says, in the words of the model.
func shown(t tb, view *ledger.View) map[string]*seen {
	v := make(map[string]*seen)
	for _, sv := range view.Series {
		s := &seen{Counts: map[string]int64{}, Sums: map[string]int64{}, Ends: map[string]time.Time{},
			Last: sv.Last.Status, LastEnd: sv.Last.End, Running: sv.Running, Oldest: sv.OldestStart()}
		v[fmt.Sprint(sv.Key)] = s
		for _, c := range sv.Counters {
			if !c.End.IsZero() {
				s.Ends[c.Status] = c.End
			}
			if c.Count == 0 {
				if c.Histogram != nil || c.Exemplar != nil {
					t.Fatalf("%v %s counted nothing and has a histogram or an exemplar", sv.Key, c.Status)
				}
				continue
			}
			s.Counts[c.Status] = int64(c.Count)
			s.Sums[c.Status] = c.Histogram.Sum
			var classic, native uint64
			for _, n := range c.Histogram.Buckets {
				classic += n
			}
			for _, b := range c.Histogram.Native {
				native += b.Count
			}
			if all := c.Count - c.Histogram.Base; classic != all || native+c.Histogram.Zero != all {
				t.Fatalf("%v %s: %d counted, %d in classic and %d in native buckets", sv.Key, c.Status, all, classic, native)
			}
		}
	}
	return v
}

func TestLedger(t *testing.T) {
	t.Run("model", testLedgerModel)
	t.Run("order and repetition", testLedgerOrderAndRepetition)
}

// testLedgerModel makes random transactions that are committed, abandoned, or saved
// by a process that dies before it publishes, and compares the view after each
// with the model.
func testLedgerModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := open(t, ledger.Options{})
		m := &model{sessions: make(map[int]*known), last: make(map[string]*lastSeen)}
		synced := false
		var usn int64
		var old []*ledger.View
		var oldPrints []string
		last := make(map[string]int64)

		for range rapid.IntRange(1, 30).Draw(t, "transactions") {
			b.now = b.now.Add(time.Minute)
			tx := b.Begin(b.now)
			if !synced {
				tx.BeginInitialSync(epoch.Add(-48 * time.Hour))
				tx.SetCutoff(startOf(beforeCutoff))
			}
			var happened []happening
			for range rapid.IntRange(0, 8).Draw(t, "happenings") {
				h := happening{n: rapid.IntRange(0, modelSessions-1).Draw(t, "session"), now: b.now.Add(b.ahead)}
				usn++
				switch rapid.IntRange(0, 9).Draw(t, "happening") {
				case 0:
					h.gone = true
					b.missing(tx, h.n)
				case 1, 2, 3:
					h.session = running(h.n, startOf(h.n))
				case 4:
					h.session = session(h.n, "Unheard", startOf(h.n), time.Time{})
				default:
					h.session = session(h.n, rapid.SampledFrom(append(vbaws.FinalStatuses, "Unheard")).Draw(t, "status"),
						startOf(h.n), startOf(h.n).Add(tookOf(h.n)))
				}
				if !h.gone {
					h.session.USN = usn
					h.session.ID = spell(t, h.n)
					if ledger.Finished(&h.session) && rapid.IntRange(0, 3).Draw(t, "dates move") == 0 {
						h.session = moved(t, h.session)
					}
					h.from = ledger.Incremental
					if !synced {
						h.from = rapid.SampledFrom([]ledger.Origin{ledger.Backfill, ledger.Preceding, ledger.Incremental}).Draw(t, "origin")
					}
					// A list may show it again at once.
					for range rapid.IntRange(1, 2).Draw(t, "times") {
						b.into(tx, h.session, policyOf(h.n), h.from)
					}
					if !b.entry(tx, &h.session).Unchanged() {
						t.Fatal("a session that was just taken in has changed")
					}
				}
				happened = append(happened, h)
			}
			tx.EndInitialSync()
			switch rapid.IntRange(0, 5).Draw(t, "end of the transaction") {
			case 0: // the transaction is abandoned
				continue
			case 1: // the process dies before it saves
				b.restart()
				continue
			case 2: // and after
				if err := b.storage.Save(tx.Changes()); err != nil {
					t.Fatal(err)
				}
				b.restart()
			default:
				if c := tx.Changes(); !c.Empty() {
					if err := b.storage.Save(c); err != nil {
						t.Fatal(err)
					}
				}
				tx.Commit(b.now)
			}
			synced = true
			for _, h := range happened {
				m.take(h)
			}

			view := b.View()
			got := shown(t, view)
			for k, s := range m.view() {
				if d := cmp.Diff(s, got[k]); d != "" {
					t.Fatalf("%s: -model +view:\n%s", k, d)
				}
			}
			// A series stays though its only session was dropped.
			for k, s := range got {
				if m.view()[k] == nil && (len(s.Counts) > 0 || s.Running > 0) {
					t.Fatalf("%s: the model has none, the view %+v", k, s)
				}
				for status, n := range s.Counts {
					ks := k + status
					if n < last[ks] {
						t.Fatalf("%s fell from %d to %d", ks, last[ks], n)
					}
					last[ks] = n
				}
			}
			if got := view.Skipped[ledger.SkipBeforeCutoff]; got != uint64(m.skipped) {
				t.Fatalf("%d skipped before the cutoff, want %d", got, m.skipped)
			}
			if got := view.Skipped[ledger.SkipGone]; got != uint64(m.gone) {
				t.Fatalf("%d gone, want %d", got, m.gone)
			}
			old, oldPrints = append(old, view), append(oldPrints, dump(t, view))
		}
		for i, v := range old {
			if now := dump(t, v); now != oldPrints[i] {
				t.Fatalf("a later transaction changed view %d:\n%s", i, cmp.Diff(oldPrints[i], now))
			}
		}
	})
}

// Whatever the order in which lists show the final states, and however often, a
// session is counted once, and the newest end is the same.
func testLedgerOrderAndRepetition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []vbaws.Session
		for n := range rapid.IntRange(1, 10).Draw(t, "sessions") {
			all = append(all, session(n, vbaws.FinalStatuses[n%4], startOf(n+beforeCutoff), startOf(n+beforeCutoff).Add(tookOf(n))))
		}
		want := synced(t, ledger.Options{}, epoch).fold("Nightly", ledger.Incremental, all...)
		b := synced(t, ledger.Options{}, epoch)
		shuffled := rapid.Permutation(append(all, all...)).Draw(t, "order")
		for len(shuffled) > 0 {
			n := rapid.IntRange(1, len(shuffled)).Draw(t, "page")
			b.fold("Nightly", ledger.Incremental, shuffled[:n]...)
			shuffled = shuffled[n:]
		}
		if d := cmp.Diff(shown(t, want), shown(t, b.View())); d != "" {
			t.Fatalf("-in order +shuffled:\n%s", d)
		}
		if got, want := series(b.View(), "Nightly").Last, series(want, "Nightly").Last; got != want {
			t.Fatalf("last %+v, want %+v", got, want)
		}
	})
}
