package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// values are the different values that the labels of a view have, and total is the sum
// of the counters.
func values(v *ledger.View) (types, extended, statuses, policies map[string]bool, counters int, total uint64) {
	types, extended, statuses, policies = map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, s := range v.Series {
		types[s.Key.Type], extended[s.Key.ExtendedType], policies[s.Key.Policy] = true, true, true
		for _, c := range s.Counters {
			statuses[c.Status] = true
			counters++
			total += c.Count
		}
	}
	return types, extended, statuses, policies, counters, total
}

func TestLimits(t *testing.T) {
	t.Run("each", testLimitsEach)
	t.Run("kept for the verdict", testLimitsKeptForTheVerdict)
	t.Run("unfinished sessions", testLimitsUnfinishedSessions)
	t.Run("long ids", testLimitsLongIDs)
	t.Run("model", testLimitsModel)
}

// A hostile appliance fills neither series nor memory, and what it says is counted all
// the same, each session once.
func testLimitsEach(t *testing.T) {
	const sessions = 3000
	word := func(what string, n int) string { return fmt.Sprintf("%s-%d", what, n) }
	for name, test := range map[string]struct {
		make func(n int, s *vbaws.Session) (policy string)
		over map[string]int // at least
	}{
		"statuses": {func(n int, s *vbaws.Session) string { s.Status = word("status", n); return "Nightly" },
			map[string]int{ledger.LimitStatuses: sessions - ledger.MaxWords}},
		"types": {func(n int, s *vbaws.Session) string { s.Type = word("type", n); return "Nightly" },
			map[string]int{ledger.LimitTypes: sessions - ledger.MaxWords}},
		"extended types": {func(n int, s *vbaws.Session) string { s.ExtendedType = word("extended", n); return "Nightly" },
			map[string]int{ledger.LimitExtendedTypes: sessions - ledger.MaxWords}},
		"policies": {func(n int, s *vbaws.Session) string { return word("policy", n) },
			map[string]int{ledger.LimitPolicies: sessions - 20}},
		"all together": {func(n int, s *vbaws.Session) string {
			s.Type, s.ExtendedType, s.Status = word("type", n), word("extended", n/2), word("status", n/3)
			return word("policy", n/4)
		}, map[string]int{ledger.LimitPolicies: 700, ledger.LimitTypes: 2900, ledger.LimitExtendedTypes: 1400, ledger.LimitStatuses: 900}},
		"every combination": {func(n int, s *vbaws.Session) string {
			s.Type, s.ExtendedType, s.Status = word("type", n%40), word("extended", n/40%40), word("status", n%39)
			return "Nightly"
		}, map[string]int{ledger.LimitSeries: 100}},
	} {
		t.Run(name, func(t *testing.T) {
			b := synced(t, ledger.Options{MaxPolicies: 20}, epoch)
			all := make([]vbaws.Session, sessions)
			policies := make([]string, sessions)
			for n := range all {
				all[n] = ended(n, "Failed", epoch)
				policies[n] = test.make(n, &all[n])
			}
			exceeded := map[string]int{}
			for round := range 3 {
				for part := 0; part < sessions; part += 500 {
					b.transact(func(tx *ledger.Tx) {
						for n := part; n < part+500; n++ {
							s := all[n]
							s.USN += int64(round * sessions)
							b.into(tx, s, policies[n], ledger.Incremental)
						}
						for limit, e := range tx.Exceeded() {
							exceeded[limit] += e.Count
							if e.Example == "" {
								t.Errorf("no example: %+v", e)
							}
						}
					})
				}
				types, extended, statuses, names, counters, total := values(b.View())
				if len(types) > ledger.MaxWords+1 || len(extended) > ledger.MaxWords+2 || len(statuses) > ledger.MaxWords+1 || len(names) > 21 {
					t.Fatalf("%d types, %d extended types, %d statuses, %d policies", len(types), len(extended), len(statuses), len(names))
				}
				if counters > 1000+40*len(names)+300 {
					t.Fatalf("%d counters", counters)
				}
				if total != sessions {
					t.Fatalf("round %d: %d counted, want %d", round, total, sessions)
				}
				for what, least := range test.over {
					if got := b.View().OverLimit[what]; got < least || round == 0 && exceeded[what] != got {
						t.Errorf("round %d: %d %s over the limit, want %d at least; %d reported", round, got, what, least, exceeded[what])
					}
				}
				if round == 0 {
					before := dump(t, b.View())
					view := *b.View()
					b.restart()
					view.OverLimit = b.View().OverLimit // which belongs to the process
					if now := dump(t, b.View()); now != dump(t, &view) {
						t.Fatalf("a restart changes what is shown:\n%s", cmp.Diff(before, now))
					}
				}
			}
		})
	}
}

// Sessions of type Policy stay such, and the documented statuses what they are, however
// many others there are before.
func testLimitsKeptForTheVerdict(t *testing.T) {
	b := synced(t, ledger.Options{MaxPolicies: 20}, epoch)
	b.transact(func(tx *ledger.Tx) {
		for n := range 5000 {
			s := ended(n, fmt.Sprint("status-", n), epoch)
			s.Type, s.ExtendedType = fmt.Sprint("type-", n), fmt.Sprint("extended-", n%45)
			b.into(tx, s, "Nightly", ledger.Incremental)
		}
	})
	s := ended(6000, "Failed", epoch)
	s.ExtendedType = "PolicyBackup"
	v := b.fold("Daily", ledger.Incremental, s)
	if got := counts(v)["Daily/Policy/Failed"]; got != 1 {
		t.Errorf("counted as %v", counts(v))
	}
	run := running(6001, epoch)
	run.Type = "type-4999"
	v = b.fold("Daily", ledger.Incremental, run)
	n := 0
	for _, s := range v.Series {
		n += s.Running
	}
	if n != 1 {
		t.Errorf("%d run of a type beyond the limit, want 1", n)
	}
	v = b.fold("Daily", ledger.Incremental, func() vbaws.Session { s := ended(6001, "Failed", epoch); s.Type = run.Type; return s }())
	for _, s := range v.Series {
		if s.Running != 0 {
			t.Errorf("%v: it still runs", s.Key)
		}
	}
	if got := counts(v)["Daily/other/Failed"]; got != 1 {
		t.Errorf("counted as %v", counts(v))
	}
}

// What an appliance says runs doesn't grow memory without a limit; what ends is counted.
func testLimitsUnfinishedSessions(t *testing.T) {
	const sessions, most = 11_000, 10_000
	b := synced(t, ledger.Options{}, epoch)
	b.transact(func(tx *ledger.Tx) {
		for n := range sessions {
			b.into(tx, running(n, epoch), "Nightly", ledger.Incremental)
		}
	})
	if s := series(b.View(), "Nightly"); s.Running != most || b.View().OverLimit[ledger.LimitUnfinished] != sessions-most {
		t.Errorf("%d run, %v over the limit", s.Running, b.View().OverLimit)
	}
	v := b.transact(func(tx *ledger.Tx) {
		for n := range sessions {
			b.into(tx, ended(n, "Failed", epoch), "Nightly", ledger.Incremental)
		}
	})
	if got := counts(v)["Nightly/Policy/Failed"]; got != sessions || v.OverLimit[ledger.LimitUnfinished] != 0 {
		t.Errorf("%d counted, %v over the limit", got, v.OverLimit)
	}
}

// An id that is too long for an exemplar, or for a log line, isn't kept with every
// bucket.
func testLimitsLongIDs(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	s := ended(1, "Failed", epoch)
	s.ID = strings.Repeat("x", 4000)
	c := counter(b.fold("Nightly", ledger.Incremental, s, s), "Nightly", "Failed")
	if c.Count != 1 || c.Exemplar != nil {
		t.Errorf("%+v", c)
	}
}

// Random sessions of many policies, types and statuses, in random transactions and
// restarts that reach the limits: each counts once, the labels never exceed the limits,
// and a session never moves to other labels.
func testLimitsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := synced(t, ledger.Options{MaxPolicies: 3}, epoch)
		known := map[int]bool{}
		last := map[string]uint64{}
		var usn int64
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			b.now = b.now.Add(time.Minute)
			tx := b.Begin(b.now)
			var folded []int
			for range rapid.IntRange(0, 60).Draw(t, "sessions") {
				n := rapid.IntRange(0, 400).Draw(t, "n")
				usn++
				s := ended(n, fmt.Sprint("status-", n%70), epoch)
				s.ID, s.USN = spell(t, n), usn
				s.Type, s.ExtendedType = fmt.Sprint("type-", n%60), fmt.Sprint("extended-", n%65)
				if n%3 == 0 {
					s.Type, s.ExtendedType = vbaws.TypePolicy, ""
				}
				b.into(tx, s, fmt.Sprint("policy-", n%7), ledger.Incremental)
				folded = append(folded, n)
			}
			if rapid.IntRange(0, 3).Draw(t, "abandoned") == 0 {
				continue
			}
			if c := tx.Changes(); !c.Empty() {
				if err := b.storage.Save(c); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.Bool().Draw(t, "restart") {
				b.restart()
			} else {
				tx.Commit(b.now)
			}
			for _, n := range folded {
				known[n] = true
			}
			types, extended, statuses, policies, _, total := values(b.View())
			if len(types) > ledger.MaxWords+1 || len(extended) > ledger.MaxWords+2 || len(statuses) > ledger.MaxWords+1 || len(policies) > 4 {
				t.Fatalf("%d types, %d extended types, %d statuses, %d policies", len(types), len(extended), len(statuses), len(policies))
			}
			if total != uint64(len(known)) {
				t.Fatalf("%d counted of %d sessions", total, len(known))
			}
			for _, s := range b.View().Series {
				for _, c := range s.Counters {
					k := fmt.Sprintf("%+v %s", s.Key, c.Status)
					if c.Count < last[k] {
						t.Fatalf("%s fell from %d to %d", k, last[k], c.Count)
					}
					last[k] = c.Count
				}
			}
		}
	})
}

// spell draws a spelling of the n-th id.
func spell(t *rapid.T, n int) string {
	id := vbawstest.ID(n)
	switch rapid.IntRange(0, 5).Draw(t, "spelling") {
	case 0:
		return strings.ToUpper(id)
	case 1:
		return "{" + id + "}"
	case 2:
		return strings.ReplaceAll(id, "-", "")
	case 3:
		return "urn:uuid:" + id
	}
	return id
}
