package ledger_test

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

func TestFold(t *testing.T) {
	t.Run("duration and end", testFoldDurationAndEnd)
	t.Run("finished", testFoldFinished)
	t.Run("backfill", testFoldBackfill)
	t.Run("first final status", testFoldFirstFinalStatus)
	t.Run("running", testFoldRunning)
	t.Run("skipped once", testFoldSkippedOnce)
	t.Run("before the cutoff", testFoldBeforeTheCutoff)
	t.Run("missing twice", testFoldMissingTwice)
	t.Run("lower USN", testFoldLowerUSN)
	t.Run("seen index fails", testFoldSeenIndexFails)
	t.Run("session of zeros", testFoldSessionOfZeros)
	t.Run("unfinished, no start", testFoldUnfinishedNoStart)
}

func testFoldDurationAndEnd(t *testing.T) {
	start := epoch.Add(time.Hour)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for name, test := range map[string]struct {
		start, stop time.Time
		own         time.Duration // executionDuration
		took        time.Duration
		end         time.Time // zero: the time of the transaction
	}{
		"stop less start, whatever the appliance says": {start, at(2550602 * time.Microsecond), 550 * time.Millisecond, 2550602 * time.Microsecond, at(2550602 * time.Microsecond)},
		"at once":                      {start, start, time.Second, 0, start},
		"a stop before the start":      {start, at(-time.Minute), time.Second, time.Second, at(time.Second)},
		"and nothing else":             {start, at(-time.Minute), 0, 0, start},
		"the appliance's without stop": {start, time.Time{}, 90 * time.Second, 90 * time.Second, at(90 * time.Second)},
		"and without start":            {time.Time{}, at(time.Hour), 90 * time.Second, 90 * time.Second, at(time.Hour)},
		"and without both":             {time.Time{}, time.Time{}, 90 * time.Second, 90 * time.Second, time.Time{}},
		"its negative one is 0":        {start, time.Time{}, -90 * time.Second, 0, start},
		"nothing is known":             {time.Time{}, time.Time{}, 0, 0, time.Time{}},
		"to the microsecond":           {start, at(1500 * time.Nanosecond), 0, 2 * time.Microsecond, at(1500 * time.Nanosecond)},
		"a stop that is no date":       {start, time.Unix(0, 0), time.Minute, time.Minute, at(time.Minute)},
		"or of another century":        {start, time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Minute, time.Minute, at(time.Minute)},
		"a stop long after now":        {start, at(4 * time.Hour), time.Minute, time.Minute, at(time.Minute)},
		"a stop a little after now":    {start, at(170 * time.Minute), time.Minute, 170 * time.Minute, at(170 * time.Minute)},
		"never after now":              {start, time.Time{}, 100 * time.Hour, 2 * time.Hour, at(2 * time.Hour)},
		"but not before the start":     {at(150 * time.Minute), time.Time{}, time.Minute, 0, at(150 * time.Minute)},
		"a start that is no date":      {time.Unix(0, 0), at(time.Hour), time.Minute, time.Minute, at(time.Hour)},
		"a start long after now":       {at(4 * time.Hour), at(time.Hour), time.Minute, time.Minute, at(time.Hour)},
		"centuries":                    {time.Unix(0, 0), time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC), 0, 0, time.Time{}},
		"of the API's":                 {time.Time{}, time.Time{}, math.MaxInt64, epoch.Add(3 * time.Hour).Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := vbaws.Session{ID: vbawstest.ID(1), Type: "Policy", Status: "Failed", Start: test.start, Stop: test.stop, Duration: test.own}
			b := synced(t, ledger.Options{}, time.Unix(0, 0))
			b.now, b.ahead = b.now.Add(3*time.Hour), 0
			if test.end.IsZero() {
				test.end = b.now
			}
			c := counter(b.fold("", ledger.Incremental, s), "", "Failed")
			if c.Count != 1 || !c.End.Equal(test.end) || !c.Exemplar.End.Equal(test.end) {
				t.Errorf("count %d, end %v, exemplar's %v, want 1 and %v", c.Count, c.End, c.Exemplar.End, test.end)
			}
			if got := c.Histogram.Sum; got != test.took.Microseconds() {
				t.Errorf("sum %d µs, want %d", got, test.took.Microseconds())
			}
		})
	}
}

func testFoldFinished(t *testing.T) {
	for _, test := range []struct {
		status string
		stop   time.Time
		want   bool
	}{
		{"Running", time.Time{}, false},
		{"Running", epoch, false},
		{"NeverExecuted", time.Time{}, false},
		{"NeverExecuted", epoch, false},
		{"Succeeded", time.Time{}, true},
		{"Warning", time.Time{}, true},
		{"Failed", time.Time{}, true},
		{"Canceled", time.Time{}, true},
		{"Expired", time.Time{}, false},
		{"Expired", epoch, true},
		{"", epoch, true},
		{"succeeded", time.Time{}, false},
		{"Expired", time.Unix(0, 0), false}, // a zero date
	} {
		if got := ledger.Finished(&vbaws.Session{Status: test.status, Stop: test.stop}); got != test.want {
			t.Errorf("%q, stop %v: %v, want %v", test.status, test.stop, got, test.want)
		}
	}
}

func testFoldBackfill(t *testing.T) {
	initialSync := func(opts ledger.Options) *testLedger {
		b := open(t, opts)
		b.transact(func(tx *ledger.Tx) {
			tx.BeginInitialSync(epoch.Add(-24 * time.Hour))
			tx.SetCutoff(epoch.Add(-48 * time.Hour))
			b.into(tx, ended(1, "Failed", epoch.Add(-time.Hour)), "Nightly", ledger.Backfill)
			b.into(tx, ended(2, "Failed", epoch.AddDate(-6, 0, 0)), "Nightly", ledger.Backfill)
			b.into(tx, ended(3, "Warning", epoch.Add(-30*time.Hour)), "Nightly", ledger.Preceding)
			b.into(tx, running(4, epoch.Add(-time.Hour)), "Nightly", ledger.Backfill)
			b.into(tx, running(5, epoch.Add(-30*time.Hour)), "Nightly", ledger.Preceding)
			b.into(tx, ended(6, "Canceled", epoch.Add(-time.Minute)), "Nightly", ledger.Incremental)
			tx.EndInitialSync()
		})
		return b
	}
	later := func(b *testLedger) map[string]uint64 {
		return counts(b.fold("Nightly", ledger.Incremental,
			ended(1, "Failed", epoch.Add(-time.Hour)), ended(2, "Succeeded", epoch.AddDate(-6, 0, 0)),
			ended(3, "Warning", epoch.Add(-30*time.Hour)), ended(4, "Succeeded", epoch.Add(-time.Hour)),
			ended(5, "Succeeded", epoch.Add(-30*time.Hour)), ended(6, "Canceled", epoch.Add(-time.Minute))))
	}

	b := initialSync(ledger.Options{Hold: 2 * time.Minute})
	if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 2, "Nightly/Policy/Canceled": 1}, counts(b.View())); d != "" {
		t.Errorf("initial sync, -want +got:\n%s", d)
	}
	for _, c := range series(b.View(), "Nightly").Counters {
		if c.Held || !c.Born.Equal(epoch.Add(-24*time.Hour)) {
			t.Errorf("%s: held %v, born %v", c.Status, c.Held, c.Born)
		}
		if c.Histogram != nil && !c.Histogram.Born.Equal(c.Born) {
			t.Errorf("%s: its histogram is born %v", c.Status, c.Histogram.Born)
		}
	}
	if got := counter(b.View(), "Nightly", "Warning"); got.End.IsZero() {
		t.Error("history moves no gauge")
	}
	want := map[string]uint64{"Nightly/Policy/Failed": 2, "Nightly/Policy/Canceled": 1, "Nightly/Policy/Succeeded": 2}
	if d := cmp.Diff(want, later(b)); d != "" {
		t.Errorf("later, -want +got:\n%s", d)
	}

	// Without state of earlier processes nothing that had finished is counted.
	b = initialSync(ledger.Options{Ephemeral: true})
	if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Canceled": 1}, counts(b.View())); d != "" {
		t.Errorf("ephemeral, -want +got:\n%s", d)
	}
	want = map[string]uint64{"Nightly/Policy/Canceled": 1, "Nightly/Policy/Succeeded": 2}
	if d := cmp.Diff(want, later(b)); d != "" {
		t.Errorf("ephemeral and later, -want +got:\n%s", d)
	}
}

func testFoldFirstFinalStatus(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	start := epoch.Add(time.Hour)
	b.fold("Nightly", ledger.Incremental, ended(1, "Failed", start))
	b.fold("Nightly", ledger.Incremental, session(1, "Succeeded", start, start.Add(time.Hour)))
	v := b.fold("Nightly", ledger.Incremental, running(1, start))
	if s := series(v, "Nightly"); s.Running != 1 || !s.OldestStart().Equal(start) || s.Last.Status != "Succeeded" {
		t.Errorf("running again: %+v", s)
	}
	b.restart()
	v = b.fold("Nightly", ledger.Incremental, session(1, "Warning", start, start.Add(2*time.Hour)))
	if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 1}, counts(v)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	s := series(v, "Nightly")
	if s.Running != 0 || s.Last.Status != "Warning" || s.Last.Duration != 2*time.Hour {
		t.Errorf("ended again: %+v", s)
	}
	for status, d := range map[string]time.Duration{"Failed": 10 * time.Minute, "Succeeded": time.Hour, "Warning": 2 * time.Hour} {
		if c := counter(v, "Nightly", status); !c.End.Equal(start.Add(d)) {
			t.Errorf("%s: newest end %v, want %v later", status, c.End, d)
		}
	}
}

func TestSeries(t *testing.T) {
	t.Run("every final status", testSeriesEveryFinalStatus)
	t.Run("hold", testSeriesHold)
	t.Run("other bounds", testSeriesOtherBounds)
	t.Run("newest end", testSeriesNewestEnd)
	t.Run("gone policies", testSeriesGonePolicies)
}

func testSeriesEveryFinalStatus(t *testing.T) {
	b := synced(t, ledger.Options{Hold: time.Minute}, epoch)
	v := b.fold("Nightly", ledger.Incremental, running(1, epoch))
	var got []string
	for _, c := range series(v, "Nightly").Counters {
		got = append(got, c.Status)
		if c.Count != 0 || c.Histogram != nil || !c.Born.Equal(b.now) {
			t.Errorf("%s: %+v", c.Status, c)
		}
	}
	if want := slices.Sorted(slices.Values(vbaws.FinalStatuses)); !slices.Equal(got, want) {
		t.Errorf("counters of %v, want %v", got, want)
	}
}

func testFoldRunning(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	v := b.fold("Nightly", ledger.Incremental,
		session(1, "NeverExecuted", epoch, time.Time{}),
		running(2, epoch.Add(2*time.Hour)), running(3, time.Time{}),
		session(4, "Stopping", epoch.Add(time.Hour), time.Time{}))
	if s := series(v, "Nightly"); s.Running != 3 || !s.OldestStart().Equal(epoch.Add(time.Hour)) {
		t.Errorf("%d run, the oldest since %v", s.Running, s.OldestStart())
	}
}

func testSeriesHold(t *testing.T) {
	const hold = 2 * time.Minute
	b := synced(t, ledger.Options{Hold: hold}, epoch)
	held := func() bool {
		t.Helper()
		c := counter(b.View(), "Nightly", "Failed")
		if c.Count != 1 || c.Histogram == nil {
			t.Fatalf("%+v", c)
		}
		return c.Held
	}
	nothing := func(*ledger.Tx) {}

	// It ends so long after it was published, not after it was read.
	tx := b.Begin(b.now)
	b.into(tx, ended(1, "Failed", epoch), "Nightly", ledger.Incremental)
	if err := b.storage.Save(tx.Changes()); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Minute)
	tx.Commit(b.now)
	if got, want := b.NextLift(), b.now.Add(hold); !got.Equal(want) || !held() {
		t.Fatalf("next lift %v, want %v", got, want)
	}
	b.now = b.now.Add(hold - time.Second)
	b.transact(nothing)
	if !held() {
		t.Fatal("lifted too early")
	}

	// A transaction that is abandoned lifts nothing.
	b.now = b.now.Add(time.Second)
	b.Begin(b.now)
	if !held() || b.NextLift().IsZero() {
		t.Fatal("lifted by an abandoned transaction")
	}

	// A stored hold starts over.
	b.restart()
	if got, want := b.NextLift(), b.now.Add(hold); !got.Equal(want) || !held() {
		t.Fatalf("next lift after a restart %v, want %v", got, want)
	}
	b.now = b.now.Add(hold)
	b.transact(nothing)
	if held() || !b.NextLift().IsZero() {
		t.Fatal("not lifted")
	}
	b.restart()
	if held() || !b.NextLift().IsZero() {
		t.Fatal("lifted, but not for good")
	}

	// A clock of the exporter that is set back does not make a hold longer than it is.
	b.fold("Daily", ledger.Incremental, ended(9, "Failed", epoch))
	b.now = b.now.Add(-24 * time.Hour)
	b.transact(nothing)
	b.now = b.now.Add(hold)
	b.transact(nothing)
	if !b.NextLift().IsZero() {
		t.Fatal("held for longer, since the clock was set back")
	}

	// What is seen from here on shows at once; a status never seen before is held.
	v := b.fold("Nightly", ledger.Incremental, ended(2, "Failed", epoch), ended(3, "Expired", epoch))
	if counter(v, "Nightly", "Failed").Held || !counter(v, "Nightly", "Expired").Held {
		t.Error("a hold, want none; or none, want one")
	}
}

func testSeriesOtherBounds(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	before := b.fold("Nightly", ledger.Incremental, ended(1, "Failed", epoch), ended(2, "Failed", epoch))
	was := dump(t, before)
	b.opts.Bounds = []float64{1, 2}
	b.restart()
	b.now = b.now.Add(time.Hour)
	c := counter(b.transact(func(*ledger.Tx) {}), "Nightly", "Failed")
	if c.Count != 2 || !c.Born.Equal(epoch) {
		t.Errorf("counter %d, born %v", c.Count, c.Born)
	}
	if h := c.Histogram; h.Base != 2 || h.Sum != 0 || len(h.Buckets) != 3 || !h.Born.Equal(b.now) || h.Zero != 0 || h.Native != nil {
		t.Errorf("histogram %+v", h)
	}
	c = counter(b.fold("Nightly", ledger.Incremental, session(3, "Failed", epoch, epoch.Add(2*time.Second))), "Nightly", "Failed")
	if h := c.Histogram; c.Count-h.Base != 1 || !slices.Equal(h.Buckets, []uint64{0, 1, 0}) {
		t.Errorf("histogram %+v of counter %d", h, c.Count)
	}
	if dump(t, before) != was {
		t.Error("the view of before was changed")
	}
	tx := b.Begin(b.now)
	if !tx.Changes().Empty() {
		t.Error("the bounds are started over with every poll")
	}
}

func testFoldSkippedOnce(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	named := vbaws.Row{Session: vbaws.Session{ID: vbawstest.ID(1)}, Err: errors.New("no status"), Hash: [16]byte{1}}
	nameless := vbaws.Row{Err: errors.New("no id"), Hash: [16]byte{2}}
	other := vbaws.Row{Err: errors.New("no id"), Hash: [16]byte{3}}
	skip := func(rows ...vbaws.Row) (*ledger.View, int) {
		var events int
		v := b.transact(func(tx *ledger.Tx) {
			for _, r := range rows {
				if err := tx.SkipRow(&r); err != nil {
					t.Fatal(err)
				}
			}
			for _, e := range tx.Events() {
				if e.Skipped != ledger.SkipUndecodable || e.Err == nil {
					t.Errorf("event %+v", e)
				}
				events++
			}
		})
		return v, events
	}
	if v, n := skip(named, nameless, named, nameless); v.Skipped["undecodable"] != 2 || n != 2 {
		t.Errorf("skipped %v in %d events", v.Skipped, n)
	}
	named.Hash = [16]byte{9} // an id that is there is what counts
	if v, n := skip(named, nameless); v.Skipped["undecodable"] != 2 || n != 0 {
		t.Errorf("skipped again: %v in %d events", v.Skipped, n)
	}
	b.restart()
	if v, n := skip(nameless, other); v.Skipped["undecodable"] != 3 || n != 1 {
		t.Errorf("skipped after a restart: %v in %d events", v.Skipped, n)
	}
}

func testFoldBeforeTheCutoff(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	v := b.fold("Nightly", ledger.Incremental,
		ended(1, "Failed", epoch), ended(2, "Failed", epoch.Add(-time.Microsecond)),
		session(3, "Failed", time.Time{}, epoch), session(4, "Failed", time.Time{}, epoch.Add(-time.Microsecond)),
		session(5, "Failed", time.Time{}, time.Time{}))
	if n := counts(v)["Nightly/Policy/Failed"]; n != 3 || v.Skipped["before_cutoff"] != 2 {
		t.Errorf("%d counted, %v skipped", n, v.Skipped)
	}
	v = b.fold("Nightly", ledger.Incremental, ended(2, "Failed", epoch.Add(-time.Microsecond)))
	if v.Skipped["before_cutoff"] != 2 {
		t.Errorf("skipped again: %v", v.Skipped)
	}
	// They move gauges, whatever list shows them.
	v = b.fold("Weekly", ledger.Lookup, ended(6, "Succeeded", epoch.AddDate(0, -1, 0)))
	if s := series(v, "Weekly"); s.Last.Status != "Succeeded" || v.Skipped["before_cutoff"] != 2 || len(counts(v)) != 1 {
		t.Errorf("%+v, skipped %v, counted %v", s, v.Skipped, counts(v))
	}
	// One that was first seen before its end is not counted at its end either.
	b.fold("Nightly", ledger.Incremental, running(7, epoch.Add(-time.Hour)))
	v = b.fold("Nightly", ledger.Incremental, ended(7, "Failed", epoch.Add(-time.Hour)))
	if n := counts(v)["Nightly/Policy/Failed"]; n != 3 || v.Skipped["before_cutoff"] != 3 {
		t.Errorf("%d counted, %v skipped", n, v.Skipped)
	}
}

func testFoldMissingTwice(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	b.fold("Nightly", ledger.Incremental, running(1, epoch))
	missing := func() *ledger.View { return b.transact(func(tx *ledger.Tx) { b.missing(tx, 1) }) }
	check := func(v *ledger.View, running, gone int) {
		t.Helper()
		if s := series(v, "Nightly"); s.Running != running || v.Skipped["gone"] != uint64(gone) {
			t.Fatalf("%d run and %d are gone, want %d and %d", s.Running, v.Skipped["gone"], running, gone)
		}
	}
	check(missing(), 1, 0)
	present := running(1, epoch)
	b.transact(func(tx *ledger.Tx) { b.entry(tx, &present).MarkPresent() })
	check(missing(), 1, 0)
	b.restart()
	check(missing(), 0, 1)
	check(missing(), 0, 1)
	// It never was counted: should it come back, it is.
	v := b.fold("Nightly", ledger.Incremental, ended(1, "Failed", epoch))
	if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 1}, counts(v)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	// One that was counted, ran again and is gone, was not skipped.
	b.fold("Nightly", ledger.Incremental, running(1, epoch))
	missing()
	check(missing(), 0, 1)
	v = b.fold("Nightly", ledger.Incremental, ended(1, "Succeeded", epoch))
	if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Failed": 1}, counts(v)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func testFoldLowerUSN(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	one, two := running(1, epoch), running(2, epoch)
	one.USN, two.USN = 100, 101
	b.fold("Nightly", ledger.Incremental, one, two)
	one.USN, two.USN = 5, 6
	if v := b.fold("Nightly", ledger.Incremental, one, two); v.Resets != 1 {
		t.Errorf("%d resets, want 1 a poll", v.Resets)
	}
	if v := b.fold("Nightly", ledger.Incremental, one, two); v.Resets != 1 {
		t.Errorf("%d resets though nothing fell since", v.Resets)
	}
}

func testSeriesNewestEnd(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	b.fold("Nightly", ledger.Incremental, ended(2, "Failed", epoch.Add(time.Hour)))
	v := b.fold("Nightly", ledger.Incremental, ended(1, "Succeeded", epoch))
	if s := series(v, "Nightly"); s.Last.Status != "Failed" {
		t.Errorf("an older end took its place: %+v", s.Last)
	}
	v = b.fold("Nightly", ledger.Incremental, ended(3, "Warning", epoch.Add(time.Hour)))
	if s := series(v, "Nightly"); s.Last.Status != "Warning" {
		t.Errorf("of two that ended together the higher id is last: %+v", s.Last)
	}
	// The last one's own end may be corrected to an earlier one.
	v = b.fold("Nightly", ledger.Incremental, session(3, "Warning", epoch.Add(time.Hour), epoch.Add(61*time.Minute)))
	if s := series(v, "Nightly"); s.Last.Duration != time.Minute {
		t.Errorf("a correction is not taken in: %+v", s.Last)
	}
}

func testSeriesGonePolicies(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	b.fold("Nightly", ledger.Incremental, ended(1, "Failed", epoch))
	b.fold("Hourly", ledger.Incremental, ended(2, "Failed", epoch), running(3, epoch))
	b.fold("Unlisted", ledger.Incremental, ended(4, "Failed", epoch))
	b.fold("", ledger.Incremental, ended(5, "Failed", epoch))
	list := func(workload string, policies ...vbaws.Policy) *ledger.View {
		b.now = b.now.Add(6 * time.Minute)
		return b.transact(func(tx *ledger.Tx) {
			tx.Listed(workload, policies, true, b.now)
			tx.DropGone(true)
		})
	}
	has := func(v *ledger.View, want ...string) {
		t.Helper()
		var got []string
		for _, s := range v.Series {
			got = append(got, s.Key.Policy)
		}
		if !slices.Equal(got, want) {
			t.Errorf("series of %q, want %q", got, want)
		}
	}
	nightly, hourly := vbaws.Policy{ID: "n", Name: "Nightly"}, vbaws.Policy{ID: "h", Name: "Hourly"}
	has(list("ec2", nightly, hourly), "", "Hourly", "Nightly", "Unlisted")
	has(list("ec2"), "", "Hourly", "Nightly", "Unlisted")
	has(list("rds"), "", "Hourly", "Nightly", "Unlisted") // says nothing of ec2
	b.restart()
	// What still runs keeps its series until it ends.
	has(list("ec2"), "", "Hourly", "Unlisted")
	b.fold("Hourly", ledger.Incremental, ended(3, "Failed", epoch))
	has(list("ec2"), "", "Unlisted")

	// It comes back: its old sessions are remembered, its new ones counted.
	list("ec2", nightly)
	v := b.fold("Nightly", ledger.Incremental, ended(1, "Failed", epoch), ended(6, "Warning", epoch))
	if d := cmp.Diff(map[string]uint64{"Nightly/Policy/Warning": 1, "/Policy/Failed": 1, "Unlisted/Policy/Failed": 1}, counts(v)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	// Another policy of the same name keeps the series.
	list("rds", vbaws.Policy{ID: "other", Name: "Nightly"})
	list("ec2")
	has(list("ec2"), "", "Nightly", "Unlisted")
}

func testFoldSeenIndexFails(t *testing.T) {
	broken := errors.New("disk on fire")
	b := synced(t, ledger.Options{}, epoch)
	state, err := b.storage.Load()
	if err != nil {
		t.Fatal(err)
	}
	tx := ledger.New(state, failing{broken}, b.opts, b.now).Begin(b.now)
	s := ended(1, "Failed", epoch)
	if _, err := tx.Entry(&s); !errors.Is(err, broken) {
		t.Errorf("Entry: %v", err)
	}
	if err := tx.SkipRow(&vbaws.Row{Err: errors.New("no id")}); !errors.Is(err, broken) {
		t.Errorf("SkipRow: %v", err)
	}
	if err := tx.Forget(epoch); !errors.Is(err, broken) {
		t.Errorf("Forget: %v", err)
	}
	if c := tx.Changes(); !c.Empty() {
		t.Errorf("changes though nothing could be known: %+v", c)
	}
}

type failing struct{ err error }

func (f failing) NewestDay() (int32, bool) { return 0, false }
func (f failing) Lookup(ledger.ID, []int32) (ledger.SeenSession, bool, error) {
	return ledger.SeenSession{}, false, f.err
}
func (f failing) Skipped(ledger.ID) (bool, error)            { return false, f.err }
func (f failing) Forgettable(time.Time) (int32, bool, error) { return 0, false, f.err }

// An id can be all zeros, and a session can have no times: the seen index finds it
// anyway.
func testFoldSessionOfZeros(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	s := vbaws.Session{ID: "00000000-0000-0000-0000-000000000000", Type: "Policy", Status: "Failed"}
	for range 3 {
		v := b.fold("Nightly", ledger.Incremental, s)
		if got := counts(v)["Nightly/Policy/Failed"]; got != 1 {
			t.Fatalf("counted %d times", got)
		}
	}
}

// An unfinished session without a start keeps the time at which it was seen first, and is
// no change when it is listed again.
func testFoldUnfinishedNoStart(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	b.ahead = 0
	s := running(1, time.Time{})
	v := b.fold("Nightly", ledger.Incremental, s)
	if got := series(v, "Nightly").OldestStart(); !got.Equal(epoch) {
		t.Errorf("oldest start %v, want %v", got, epoch)
	}
	b.now = b.now.Add(time.Hour)
	b.restart()
	if !b.entry(b.Begin(b.now), &s).Unchanged() {
		t.Error("it has changed, want it unchanged")
	}
	v = b.fold("Nightly", ledger.Incremental, s)
	if got := series(v, "Nightly").OldestStart(); !got.Equal(epoch) {
		t.Errorf("oldest start %v an hour later, want %v", got, epoch)
	}
}
