package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

func TestIdentity(t *testing.T) {
	t.Run("counted id", testIdentityCountedID)
	t.Run("session that comes back", testIdentitySessionThatComesBack)
	t.Run("running while filtered", testIdentityRunningWhileFiltered)
}

// A session that was counted isn't counted again, whatever becomes of its dates and of
// the spelling of its id, over restarts.
func testIdentityCountedID(t *testing.T) {
	start := epoch.Add(time.Hour)
	once := ended(1, "Failed", start)
	none := session(1, "Failed", time.Time{}, time.Time{})
	again := running(1, start.Add(49*time.Hour))
	for name, later := range map[string][]vbaws.Session{
		"without dates":       {none},
		"without a start":     {session(1, "Failed", time.Time{}, start.Add(time.Hour))},
		"three days later":    {ended(1, "Failed", start.Add(3*day))},
		"a year before":       {ended(1, "Failed", start.Add(-365*day))},
		"it runs again":       {again, ended(1, "Failed", again.Start)},
		"again without dates": {session(1, "Running", time.Time{}, time.Time{}), none},
		"and back":            {none, once},
	} {
		for _, spelled := range []func(string) string{
			func(id string) string { return id }, strings.ToUpper,
			func(id string) string { return "{" + id + "}" },
			func(id string) string { return strings.ReplaceAll(id, "-", "") },
			func(id string) string { return "urn:uuid:" + id },
		} {
			b := synced(t, ledger.Options{}, epoch.Add(-400*day))
			b.fold("Nightly", ledger.Incremental, once)
			for i, s := range later {
				s.ID, s.USN = spelled(s.ID), int64(2+i)
				b.now = b.now.Add(time.Hour)
				b.restart()
				b.fold("Nightly", ledger.Incremental, s)
			}
			if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 1}, counts(b.View())); d != "" {
				t.Errorf("%s, spelled %s: -want +got:\n%s", name, spelled(once.ID), d)
			}
			if s := series(b.View(), "Nightly"); s.Running != 0 {
				t.Errorf("%s: %d run", name, s.Running)
			}
		}
	}
}

// A session that the appliance no longer had counts when it comes back, also if it
// began before the cutoff.
func testIdentitySessionThatComesBack(t *testing.T) {
	for _, start := range []time.Time{epoch.Add(time.Hour), epoch.Add(-9 * day), {}} {
		b := open(t, ledger.Options{})
		b.transact(func(tx *ledger.Tx) {
			tx.BeginInitialSync(b.now)
			tx.SetCutoff(epoch)
			b.into(tx, running(1, start), "Nightly", ledger.Backfill)
			tx.EndInitialSync()
		})
		gone := func() {
			t.Helper()
			for range 2 {
				b.now = b.now.Add(time.Minute)
				b.transact(func(tx *ledger.Tx) { b.missing(tx, 1) })
				b.restart()
			}
		}
		gone()
		// As it was: it runs, and may go once more.
		s := running(1, start)
		if b.entry(b.Begin(b.now), &s).Unchanged() {
			t.Errorf("start %v: it came back unchanged, want it changed", start)
		}
		b.fold("Nightly", ledger.Incremental, s)
		if s := series(b.View(), "Nightly"); s == nil || s.Running != 1 {
			t.Errorf("start %v: it doesn't run: %+v", start, s)
		}
		gone()
		for range 2 {
			s = session(1, "Failed", start, epoch.Add(2*time.Hour))
			b.fold("Nightly", ledger.Incremental, s)
			b.restart()
			if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 1}, counts(b.View())); d != "" {
				t.Errorf("start %v: -want +got:\n%s", start, d)
			}
		}
	}
}

// Sessions of what is left out for a while count if they end after that, whether they
// began before or meanwhile, and not if they end meanwhile.
func testIdentityRunningWhileFiltered(t *testing.T) {
	old := epoch.Add(-9 * day) // before the cutoff
	for _, left := range []string{"policy", "type"} {
		b := open(t, ledger.Options{})
		out := func(is bool) {
			b.opts.Filter = ledger.Filter{}
			switch {
			case is && left == "type":
				b.opts.Filter.Type = func(typ string) bool { return typ != "Policy" }
			case is:
				b.opts.Filter.Policy = func(policy string) bool { return policy != "Nightly" }
			}
			b.restart()
		}
		// meet does what a poll does.
		meet := func(tx *ledger.Tx, s vbaws.Session, from ledger.Origin) {
			t.Helper()
			switch e := b.entry(tx, &s); {
			case e.Unchanged():
			case b.opts.Filter.Type != nil && !b.opts.Filter.Type(s.Type):
				e.Ignore()
			default:
				e.Fold("Nightly", from)
			}
		}
		out(true)
		b.transact(func(tx *ledger.Tx) {
			tx.BeginInitialSync(b.now)
			tx.SetCutoff(epoch)
			meet(tx, running(1, old), ledger.Backfill)
			meet(tx, running(2, old), ledger.Backfill)
			tx.EndInitialSync()
		})
		out(false)
		b.transact(func(tx *ledger.Tx) {
			meet(tx, running(1, old), ledger.Incremental)
			meet(tx, running(2, old), ledger.Incremental)
			meet(tx, running(3, epoch), ledger.Incremental)
		})
		if s := series(b.View(), "Nightly"); s == nil || s.Running != 3 {
			t.Errorf("%s: what runs doesn't show: %+v", left, s)
		}
		out(true)
		b.transact(func(tx *ledger.Tx) {
			meet(tx, running(4, epoch), ledger.Incremental)
			two := running(2, old)
			two.USN = 100
			meet(tx, two, ledger.Incremental)
			meet(tx, ended(3, "Failed", epoch), ledger.Incremental)
		})
		if n := len(b.View().Series); n != 0 {
			t.Errorf("%s: %d series of what is left out", left, n)
		}
		tx := b.Begin(b.now)
		four := running(4, epoch)
		meet(tx, four, ledger.Incremental)
		if !tx.Changes().Empty() {
			t.Errorf("%s: what is left out is saved with every poll: %+v", left, tx.Changes())
		}
		out(false)
		b.transact(func(tx *ledger.Tx) { meet(tx, four, ledger.Incremental) })
		if s := series(b.View(), "Nightly"); s.Running != 3 {
			t.Errorf("%s: %d run, want 3", left, s.Running)
		}
		b.transact(func(tx *ledger.Tx) {
			for n := range 5 {
				if n > 0 {
					s := ended(n, "Failed", epoch)
					if n < 3 {
						s = session(n, "Failed", old, epoch.Add(time.Hour))
					}
					s.USN = int64(200 + n)
					meet(tx, s, ledger.Incremental)
				}
			}
		})
		want := map[string]uint64{"Nightly/Policy/Failed": 3} // not the third
		if d := cmp.Diff(want, counts(b.View())); d != "" || b.View().Skipped[ledger.SkipBeforeCutoff] != 0 {
			t.Errorf("%s: skipped %v, -want +got:\n%s", left, b.View().Skipped, d)
		}
	}
}

func TestOddTimes(t *testing.T) {
	t.Run("clock far ahead", testOddTimesClockFarAhead)
	t.Run("no dates", testOddTimesNoDates)
	t.Run("nothing is hidden", testOddTimesNothingIsHidden)
	t.Run("starts of running sessions", testOddTimesStartsOfRunningSessions)
}

// The exporter's clock is far ahead for a while: nothing that it dealt with is
// forgotten, and no series retires.
func testOddTimesClockFarAhead(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch.Add(-day))
	b.ahead = 0
	list := func(tx *ledger.Tx) {
		tx.Listed("ec2", []vbaws.Policy{{ID: "1", Name: "idle", Enabled: true}}, true, tx.Times(&vbaws.Session{}).End)
	}
	for n := range 5 {
		b.now = b.now.Add(day)
		b.fold("Nightly", ledger.Incremental, ended(n, "Failed", b.now.Add(-time.Hour)))
		b.transact(list)
	}
	forget := func() {
		t.Helper()
		b.transact(func(tx *ledger.Tx) {
			// No answer has a Date: the appliance's clock is the exporter's.
			if err := tx.Forget(tx.Agreed(b.now).Add(-400 * day)); err != nil {
				t.Fatal(err)
			}
			tx.Retire(b.now, 35*day)
		})
	}
	want := b.View()
	cutoff := b.View().Meta.Cutoff
	b.now = b.now.Add(500 * day)
	forget()
	b.restart()
	forget()
	b.now = b.now.Add(-500 * day)
	forget()
	if d := cmp.Diff(dump(t, want), dump(t, b.View())); d != "" {
		t.Errorf("-before +after:\n%s", d)
	}
	if got := b.View().Meta.Cutoff; !got.Equal(cutoff) {
		t.Errorf("the cutoff moved from %v to %v", cutoff, got)
	}
	for n := range 5 {
		s := ended(n, "Failed", epoch.Add(time.Duration(n+1)*day-time.Hour))
		s.USN += 100
		b.fold("Nightly", ledger.Incremental, s)
	}
	if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 5}, counts(b.View())); d != "" {
		t.Errorf("counted again: -want +got:\n%s", d)
	}
	// As sessions go on, what is old goes.
	for n := range 500 {
		b.now = b.now.Add(day)
		b.fold("Hourly", ledger.Incremental, ended(100+n, "Failed", b.now.Add(-time.Hour)))
	}
	forget()
	for _, s := range b.View().Series {
		if s.Key.Policy != "Hourly" {
			t.Errorf("%v didn't retire", s.Key)
		}
	}
	if !b.View().Meta.Cutoff.After(cutoff) {
		t.Error("nothing was forgotten")
	}
}

// Sessions without dates are counted once however long they are listed: no cutoff
// distinguishes them from new ones.
func testOddTimesNoDates(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	b.fold("Nightly", ledger.Incremental, session(1, "Failed", time.Time{}, time.Time{}))
	for n := range 3 {
		b.now = b.now.Add(300 * day)
		b.fold("Nightly", ledger.Incremental, ended(10+n, "Failed", b.now.Add(-time.Hour)))
		b.transact(func(tx *ledger.Tx) {
			if err := tx.Forget(b.now.Add(-400 * day)); err != nil {
				t.Fatal(err)
			}
		})
		s := session(1, "Failed", time.Time{}, time.Time{})
		s.USN = int64(100 + n)
		b.fold("Nightly", ledger.Incremental, s)
	}
	if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 4}, counts(b.View())); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// Whatever is wrong with the times of a session, counters, histograms and gauges agree,
// and neither a failure nor a success is hidden.
func testOddTimesNothingIsHidden(t *testing.T) {
	odd := []time.Time{{}, time.Unix(0, 0), time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1, 1, 1, 12, 0, 0, 0, time.UTC), epoch.Add(100 * day)}
	type dates struct{ start, stop time.Time }
	var all []dates
	for _, o := range odd {
		all = append(all, dates{epoch.Add(-time.Minute), o}, dates{o, epoch.Add(-time.Second)})
		for _, p := range odd {
			all = append(all, dates{o, p})
		}
	}
	all = append(all, dates{epoch.Add(-time.Minute), epoch.Add(-time.Hour)}) // set back while it ran
	for _, test := range all {
		for _, status := range []string{"Failed", "Succeeded"} {
			b := synced(t, ledger.Options{}, epoch.Add(-10*day))
			b.ahead = 0
			before := map[string]string{"Failed": "Succeeded", "Succeeded": "Failed"}[status]
			b.fold("Nightly", ledger.Incremental, ended(1, before, epoch.Add(-30*time.Minute)))
			s := session(2, status, test.start, test.stop)
			s.Duration = 20 * time.Second
			v := b.fold("Nightly", ledger.Incremental, s)
			name := fmt.Sprintf("%s from %v to %v", status, test.start, test.stop)
			last, c := series(v, "Nightly").Last, counter(v, "Nightly", status)
			switch {
			case c.Count != 1:
				t.Errorf("%s: counted %d times, skipped %v", name, c.Count, v.Skipped)
				continue
			case last.Status != status:
				t.Errorf("%s: hidden behind one that ended before: %+v", name, last)
			case !last.End.Equal(c.End) || !c.Exemplar.End.Equal(c.End):
				t.Errorf("%s: ends %v, %v and %v", name, last.End, c.End, c.Exemplar.End)
			case c.End.After(b.now) || c.End.Before(epoch.Add(-time.Minute)):
				t.Errorf("%s: end %v", name, c.End)
			case last.Duration != c.Exemplar.Duration || c.Histogram.Sum != last.Duration.Microseconds():
				t.Errorf("%s: durations %v, %v and %d µs", name, last.Duration, c.Exemplar.Duration, c.Histogram.Sum)
			case last.Duration > time.Minute:
				t.Errorf("%s: took %v", name, last.Duration)
			}
			b.restart()
			if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 1, "Nightly/Policy/Succeeded": 1},
				counts(b.fold("Nightly", ledger.Incremental, s))); d != "" {
				t.Errorf("%s, seen again: -want +got:\n%s", name, d)
			}
		}
	}
}

// What runs shows no start that can't be one.
func testOddTimesStartsOfRunningSessions(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	v := b.fold("Nightly", ledger.Incremental, running(1, time.Unix(0, 0)), running(2, epoch.Add(-time.Hour)))
	if s := series(v, "Nightly"); s.Running != 2 || !s.OldestStart().Equal(epoch.Add(-time.Hour)) {
		t.Errorf("%d run, the oldest since %v", s.Running, s.OldestStart())
	}
}
