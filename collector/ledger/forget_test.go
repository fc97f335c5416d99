package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

const day = 24 * time.Hour

// aStart draws a time, often at the border of a day, now and then before 1970 or
// unknown.
func aStart(t *rapid.T) time.Time {
	if rapid.IntRange(0, 19).Draw(t, "unknown") == 0 {
		return time.Time{}
	}
	first := rapid.SampledFrom([]time.Time{
		time.Date(1969, time.December, 28, 0, 0, 0, 0, time.UTC),
		time.Date(2026, time.February, 27, 0, 0, 0, 0, time.UTC),
	}).Draw(t, "era").AddDate(0, 0, rapid.IntRange(0, 8).Draw(t, "day"))
	return first.Add(rapid.SampledFrom([]time.Duration{
		0, time.Microsecond, -time.Microsecond, 12 * time.Hour, day - time.Second,
	}).Draw(t, "of the day"))
}

func TestForget(t *testing.T) {
	t.Run("nothing is counted again", testForgetNothingIsCountedAgain)
	t.Run("cutoff", testForgetCutoff)
	t.Run("policies long gone", testForgetPoliciesLongGone)
	t.Run("times written otherwise", testForgetTimesWrittenOtherwise)
}

// What was counted is not counted again after it was forgotten, and what is not
// forgotten yet is still known.
func testForgetNothingIsCountedAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := synced(t, ledger.Options{}, time.Date(1969, time.January, 1, 0, 0, 0, 0, time.UTC))
		var all []vbaws.Session
		for n := range rapid.IntRange(1, 12).Draw(t, "sessions") {
			start := rapid.Custom(aStart).Draw(t, "start")
			stop := start.Add(10 * time.Minute)
			if start.IsZero() {
				stop = rapid.Custom(aStart).Filter(func(t time.Time) bool { return !t.IsZero() }).Draw(t, "stop")
			}
			s := session(n, "Failed", start, stop)
			all = append(all, s)
			b.now = b.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "hours later")) * time.Hour)
			b.fold("", ledger.Incremental, s)
		}
		want := counts(b.View())
		if want["/Policy/Failed"] != uint64(len(all)) {
			t.Fatalf("%v counted of %d", want, len(all))
		}
		for range 3 {
			cutoff := b.View().Meta.Cutoff
			b.now = b.now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "hours later")) * time.Hour)
			before := epoch.Add(time.Duration(rapid.IntRange(-10, 500).Draw(t, "hours")) * time.Hour)
			b.transact(func(tx *ledger.Tx) {
				if err := tx.Forget(before); err != nil {
					t.Fatal(err)
				}
			})
			if b.View().Meta.Cutoff.Before(cutoff) {
				t.Fatalf("the cutoff moved back from %v to %v", cutoff, b.View().Meta.Cutoff)
			}
			if rapid.Bool().Draw(t, "restart") {
				b.restart()
			}
			for _, s := range rapid.Permutation(all).Draw(t, "order") {
				s.USN++
				b.fold("", ledger.Incremental, s)
			}
			if d := cmp.Diff(want, counts(b.View())); d != "" {
				t.Fatalf("after forgetting what was before %v, with the cutoff at %v: -before +after:\n%s", before, b.View().Meta.Cutoff, d)
			}
		}
	})
}

func testForgetCutoff(t *testing.T) {
	cutoff := epoch.Add(-100 * day)
	b := synced(t, ledger.Options{}, cutoff)
	b.fold("", ledger.Incremental, ended(1, "Failed", epoch.Add(-50*day)), ended(2, "Failed", epoch.Add(-60*day)))
	b.now = b.now.Add(day)
	b.fold("", ledger.Incremental, ended(3, "Failed", epoch))
	forget := func(before time.Time) {
		t.Helper()
		b.transact(func(tx *ledger.Tx) {
			if err := tx.Forget(before); err != nil {
				t.Fatal(err)
			}
		})
	}

	forget(epoch) // nothing is that old
	if got := b.View().Meta.Cutoff; !got.Equal(cutoff) {
		t.Fatalf("the cutoff moved to %v though nothing was forgotten", got)
	}
	forget(b.now)
	if got, newest := b.View().Meta.Cutoff, epoch.Add(-50*day); !got.After(newest) || got.Sub(newest) > day {
		t.Fatalf("the cutoff is at %v, the newest that was forgotten at %v", got, newest)
	}
	// An unknown session after it is new, one before it is not.
	v := b.fold("", ledger.Incremental,
		ended(1, "Failed", epoch.Add(-50*day)), ended(4, "Failed", epoch.Add(-49*day)), ended(5, "Failed", epoch.Add(-51*day)))
	if n := counts(v)["/Policy/Failed"]; n != 4 || v.Skipped["before_cutoff"] != 2 {
		t.Errorf("%d counted, %v skipped", n, v.Skipped)
	}
}

func testForgetPoliciesLongGone(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	b.transact(func(tx *ledger.Tx) {
		tx.Listed("ec2", []vbaws.Policy{{ID: "a", Name: "A"}, {ID: "b", Name: "B"}}, true, b.now)
	})
	b.fold("", ledger.Incremental, ended(1, "Failed", epoch))
	for range 2 {
		b.now = b.now.Add(day)
		b.transact(func(tx *ledger.Tx) { tx.Listed("ec2", []vbaws.Policy{{ID: "b", Name: "B"}}, true, b.now) })
	}
	b.transact(func(tx *ledger.Tx) {
		if err := tx.Forget(b.now); err != nil {
			t.Fatal(err)
		}
	})
	state, err := b.storage.Load()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for k := range state.Policies {
		got = append(got, k.ID)
	}
	if d := cmp.Diff([]string{"b"}, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// Neither another precision nor a mistaken zone makes a session new.
func testForgetTimesWrittenOtherwise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := synced(t, ledger.Options{}, time.Date(1960, time.January, 1, 0, 0, 0, 0, time.UTC))
		start := rapid.Custom(aStart).Filter(func(t time.Time) bool { return !t.IsZero() }).Draw(t, "start").Add(123456 * time.Microsecond)
		s := session(1, "Failed", start, start.Add(rapid.SampledFrom([]time.Duration{0, time.Minute, 3 * day}).Draw(t, "took")))
		want := counts(b.fold("", ledger.Incremental, s))
		for range 5 {
			shift := rapid.Custom(func(t *rapid.T) time.Duration {
				return time.Duration(rapid.Int64Range(-int64(day), int64(day)).Draw(t, "shift"))
			}).Draw(t, "zone")
			unit := rapid.SampledFrom([]time.Duration{1, time.Microsecond, time.Millisecond, time.Second}).Draw(t, "precision")
			other := s
			other.Start, other.Stop = s.Start.Add(shift).Truncate(unit), s.Stop.Add(shift).Truncate(unit)
			if rapid.Bool().Draw(t, "other case") {
				other.ID = "00000000-7E57-4000-8000-000000000001"
			}
			b.fold("", ledger.Incremental, other)
		}
		if d := cmp.Diff(want, counts(b.View())); d != "" {
			t.Fatalf("-once +again:\n%s", d)
		}
	})
}

func TestParseID(t *testing.T) {
	id := vbawstest.ID(1)
	bare := strings.ReplaceAll(id, "-", "")
	for _, s := range []string{
		strings.ToUpper(id), "{" + id + "}", "{" + strings.ToUpper(id) + "}", bare, strings.ToUpper(bare), "urn:uuid:" + id, "URN:UUID:" + id,
	} {
		if ledger.ParseID(s) != ledger.ParseID(id) {
			t.Errorf("%q is another than %q", s, id)
		}
	}
	seen := map[ledger.ID]string{}
	for _, s := range []string{id, vbawstest.ID(2), "", "1", "(" + id + ")", "{" + id + " ", "{" + bare + "}", id + " ", id + "0", bare[1:]} {
		got := ledger.ParseID(s)
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are one", s, other)
		}
		seen[got] = s
	}
}
