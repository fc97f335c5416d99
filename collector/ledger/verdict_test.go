package ledger_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
)

func TestJudged(t *testing.T) {
	t.Run("history", testJudgedHistory)
	t.Run("history of equal times", testJudgedHistoryOfEqualTimes)
	t.Run("history, listed again", testJudgedHistoryListedAgain)
	t.Run("unreadable schedule", testJudgedUnreadableSchedule)
	t.Run("disabled since", testJudgedDisabledSince)
	t.Run("initial sync", testJudgedInitialSync)
	t.Run("former name", testJudgedFormerName)
	t.Run("clocks", testJudgedClocks)
}

// testJudgedHistory: finished sessions of type Policy are kept by their end, a changed
// one in place of what it was, and survive a restart.
func testJudgedHistory(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch.Add(-48*time.Hour))
	at := func(h int) time.Time { return epoch.Add(time.Duration(h) * time.Hour) }
	one := func(start, end int, status string) verdict.Session {
		return verdict.Session{Start: at(start), End: at(end), Status: status}
	}
	b.fold("Nightly", ledger.Incremental,
		session(1, "Failed", at(3), at(4)),
		session(2, "Succeeded", at(1), at(2)), // seen late
		session(3, "Exploded", at(5), at(6)),
		running(4, at(7)),
	)
	changed := session(1, "Succeeded", at(3), at(8))
	changed.USN += 100
	b.fold("Nightly", ledger.Incremental, changed)
	b.restart()
	want := verdict.History{Recent: []verdict.Session{one(1, 2, "Succeeded"), one(5, 6, ledger.Other), one(3, 8, "Succeeded")}}
	if diff := cmp.Diff(want, series(b.View(), "Nightly").History, cmpopts.IgnoreFields(verdict.Session{}, "ID")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
	if got := series(b.View(), "Nightly").Starts; len(got) != 1 || !got[0].Equal(at(7)) {
		t.Errorf("running since %v", got)
	}
}

// testJudgedHistoryOfEqualTimes: two sessions of one series can begin and end in the same second.
func testJudgedHistoryOfEqualTimes(t *testing.T) {
	at := epoch.Add(time.Hour)
	failed, succeeded := session(1, "Failed", at, at.Add(time.Minute)), session(2, "Succeeded", at, at.Add(time.Minute))
	var first []verdict.Session
	for _, order := range [][]vbaws.Session{{failed, succeeded}, {succeeded, failed}} {
		b := synced(t, ledger.Options{}, epoch)
		for _, s := range order {
			b.fold("Nightly", ledger.Incremental, s)
			b.restart()
		}
		got := series(b.View(), "Nightly").History.Recent
		if len(got) != 2 || first != nil && cmp.Diff(first, got) != "" {
			t.Errorf("history %v, in the other order %v", got, first)
		}
		first = got
		// Only the one that is changed is replaced.
		failed.USN, failed.Stop = failed.USN+100, at.Add(2*time.Minute)
		b.fold("Nightly", ledger.Incremental, failed)
		got = series(b.View(), "Nightly").History.Recent
		if len(got) != 2 || got[0].Status != "Succeeded" || !got[1].End.Equal(failed.Stop) {
			t.Errorf("after a change: %v", got)
		}
		failed.Stop = at.Add(time.Minute)
	}
}

// list takes in a listing of one policy, an hour after the last.
func (b *testLedger) list(p vbaws.Policy) *ledger.Policy {
	b.Helper()
	b.now = b.now.Add(time.Hour)
	v := b.transact(func(tx *ledger.Tx) {
		tx.Listed("ec2", []vbaws.Policy{p}, true, b.now)
		tx.DropGone(true)
	})
	if len(v.Policies) != 1 {
		b.Fatalf("%d policies", len(v.Policies))
	}
	return v.Policies[0]
}

// testJudgedUnreadableSchedule: Since is reset by another schedule alone.
func testJudgedUnreadableSchedule(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	b.now = b.now.Add(time.Hour)
	every := func(d time.Duration) *vbaws.Schedule { return &vbaws.Schedule{Every: d} }
	odd := func(why string) *vbaws.Schedule { return &vbaws.Schedule{Unreadable: why} }
	pol := vbaws.Policy{ID: "1", Name: "Nightly", Enabled: true, Schedule: every(time.Hour)}
	since := b.list(pol).Since
	for _, s := range []*vbaws.Schedule{odd("a"), odd("b"), every(time.Hour), odd("a"), every(time.Hour)} {
		pol.Schedule = s
		got := b.list(pol)
		if !got.Since.Equal(since) || !got.Readable().Equal(every(time.Hour)) {
			t.Errorf("with schedule %+v: since %v, want %v; readable %+v", s, got.Since, since, got.Readable())
		}
		b.restart()
	}
	for _, s := range []*vbaws.Schedule{odd("a"), every(2 * time.Hour)} {
		pol.Schedule = s
		b.list(pol)
	}
	if got := b.View().Policies[0]; !got.Since.Equal(b.now) || got.LastReadable != nil {
		t.Errorf("another schedule: since %v, want %v; last readable %+v", got.Since, b.now, got.LastReadable)
	}
}

// testJudgedDisabledSince: it is known of a policy that was seen enabled before.
func testJudgedDisabledSince(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	pol := vbaws.Policy{ID: "1", Name: "Nightly"}
	if got := b.list(pol).DisabledSince; !got.IsZero() {
		t.Errorf("never seen enabled: disabled since %v", got)
	}
	pol.Enabled = true
	b.list(pol)
	pol.Enabled = false
	want := b.list(pol).DisabledSince
	b.restart()
	if got := b.list(pol).DisabledSince; want.IsZero() || !got.Equal(want) {
		t.Errorf("disabled since %v, want %v", got, want)
	}
	pol.Enabled = true
	if got := b.list(pol).DisabledSince; !got.IsZero() {
		t.Errorf("enabled: disabled since %v", got)
	}
}

// testJudgedHistoryListedAgain: a failed session that is older than those that are kept
// counts once, however often it changes.
func testJudgedHistoryListedAgain(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	all := make([]vbaws.Session, verdict.Keep+5)
	for n := range all {
		all[n] = ended(n, vbaws.StatusFailed, epoch.Add(time.Duration(n)*time.Hour))
	}
	for range 3 { // after each the USN starts over
		for n := range all {
			all[n].USN += 1000
		}
		b.fold("Nightly", ledger.Incremental, all...)
		if n := series(b.View(), "Nightly").History.ConsecutiveFailures(); n != len(all) {
			t.Fatalf("%d consecutive failures, want %d", n, len(all))
		}
	}
}

// testJudgedInitialSync: those that the first inventory lists existed before it.
func testJudgedInitialSync(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	old, added := vbaws.Policy{ID: "1", Name: "Old", Enabled: true}, vbaws.Policy{ID: "2", Name: "New", Enabled: true}
	b.transact(func(tx *ledger.Tx) { tx.Listed("ec2", []vbaws.Policy{old}, true, b.now) })
	b.now = b.now.Add(time.Hour)
	v := b.transact(func(tx *ledger.Tx) { tx.Listed("ec2", []vbaws.Policy{old, added}, true, b.now) })
	if !v.Policies[0].InitialSync || v.Policies[1].InitialSync {
		t.Errorf("of the initial sync: %v and %v", v.Policies[0].InitialSync, v.Policies[1].InitialSync)
	}
}

// testJudgedFormerName: what is known of the sessions under the former name of a policy
// outlives their series.
func testJudgedFormerName(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch.Add(-48*time.Hour))
	pol := vbaws.Policy{ID: "1", Name: "Nightly", Enabled: true}
	b.list(pol)
	b.fold("Nightly", ledger.Incremental, session(1, "Failed", epoch, epoch.Add(time.Minute)))
	b.now = b.now.Add(time.Hour)
	pol.Name = "Daily"
	renamed := b.now.Add(time.Hour)
	b.list(pol)
	b.restart()
	f := b.View().Policies[0].Former
	if f == nil || f.Name != "Nightly" || !f.Until.Equal(renamed) || f.Histories[""].ConsecutiveFailures() != 1 {
		t.Fatalf("former: %+v", f)
	}
	if series(b.View(), "Nightly") != nil {
		t.Error("the series of the former name is still there")
	}
	b.now = b.now.Add(380 * 24 * time.Hour)
	if b.list(pol).Former == nil {
		t.Error("after 380 days a yearly policy's former name is forgotten")
	}
	b.now = b.now.Add(21 * 24 * time.Hour)
	if f := b.list(pol).Former; f != nil {
		t.Errorf("after 401 days: %+v", f)
	}
}

// testJudgedClocks: the offset is stored when it moves by more than a minute, and a jump keeps
// the clock from being judged by, over a restart as well.
func testJudgedClocks(t *testing.T) {
	b := synced(t, ledger.Options{}, epoch)
	observe := func(offset time.Duration) (open, written bool) {
		b.now = b.now.Add(10 * time.Minute)
		tx := b.Ledger.Begin(b.now)
		tx.ObserveClocks(b.now, b.now.Add(offset))
		open = tx.Meta().Clock.ClosedAt.IsZero()
		c := tx.Changes()
		written = !c.Empty()
		if err := b.storage.Save(c); err != nil {
			t.Fatal(err)
		}
		tx.Commit(b.now)
		b.restart()
		return open, written
	}
	for i, test := range []struct {
		offset        time.Duration
		open, written bool
	}{
		{0, true, true},
		{time.Second, true, false},
		{time.Minute, true, false},
		{2 * time.Minute, true, true},
		{time.Hour, false, true},
		{time.Hour, false, true},
		{time.Hour, false, true},
		{time.Hour, true, true},
		{time.Hour, true, false},
	} {
		if open, written := observe(test.offset); open != test.open || written != test.written {
			t.Errorf("%d: open %v, written %v; want %v, %v", i, open, written, test.open, test.written)
		}
	}
}
