package verdict

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestHistory inserts sessions, most of them in order, and compares what is derived
// with all of them.
func TestHistory(t *testing.T) {
	begin := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 70).Draw(t, "sessions")
		success := rapid.SampledFrom([]int{0, 2, 20, 100}).Draw(t, "percent of success")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var all []Session
		var h History
		for i := range n {
			s := Session{Start: begin.Add(time.Duration(i) * time.Hour), Status: "Failed"}
			if i >= 3 && random.IntN(10) == 0 {
				s.Start = s.Start.Add(-150 * time.Minute) // seen late
			}
			s.End = s.Start.Add(time.Duration(1+random.IntN(50)) * time.Minute)
			switch {
			case random.IntN(100) < success:
				s.Status = "Succeeded"
			case random.IntN(10) == 0:
				s.Status = "Canceled"
			}
			all = append(all, s)
			h = h.Insert(s).Insert(s) // twice is once
		}
		for _, i := range random.Perm(n) {
			h = h.Update(all[i])
		}
		slices.SortFunc(all, Session.compare)
		if diff := cmp.Diff(all[max(0, len(all)-Keep):], append([]Session{}, h.Recent...)); n > 0 && diff != "" {
			t.Fatalf("kept (-want +got):\n%s", diff)
		}
		var last time.Time
		failures := 0
		for _, s := range all {
			switch s.Status {
			case "Succeeded":
				last, failures = s.End, 0
			case "Failed":
				failures++
			}
		}
		if got := h.LastSuccess(); !got.Equal(last) {
			t.Errorf("last success %v, want %v", got, last)
		}
		if got := h.ConsecutiveFailures(); got != failures {
			t.Errorf("%d consecutive failures, want %d", got, failures)
		}
		if failures > Keep {
			i := slices.IndexFunc(all, func(s Session) bool { return s.Status == "Failed" && s.End.After(last) })
			if !h.FirstFailure.Equal(all[i].End) {
				t.Errorf("first failure %v, want %v", h.FirstFailure, all[i].End)
			}
		}
	})
}

func TestHistoryIsImmutable(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	var h History
	for i := range Keep + 5 {
		h = h.Insert(Session{at.Add(time.Duration(2*i) * time.Hour), at.Add(time.Duration(2*i+1) * time.Hour), "Failed", 0})
	}
	before := slices.Clone(h.Recent)
	for i := range Keep + 10 {
		start := at.Add(time.Duration(2*i) * time.Hour)
		h.Insert(Session{start, start.Add(time.Hour), "Succeeded", 0})   // replaces
		h.Insert(Session{start, start.Add(time.Minute), "Succeeded", 0}) // inserts
	}
	if diff := cmp.Diff(before, h.Recent); diff != "" {
		t.Error(diff)
	}
}

// TestHistoryBefore: of many sessions that began later nothing is left.
func TestHistoryBefore(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, status := range []string{"Failed", "Succeeded", "Canceled"} {
		var h History
		for i := range Keep + 5 {
			start := at.Add(time.Duration(i) * time.Hour)
			h = h.Insert(Session{start, start.Add(time.Minute), status, 0})
		}
		if got := h.before(at); !got.Empty() {
			t.Errorf("%s: %+v", status, got)
		}
		if got := h.before(at.Add(1000 * time.Hour)); cmp.Diff(h, got) != "" {
			t.Errorf("%s: %+v, want %+v", status, got, h)
		}
	}
}

func TestHistoryTakesAChangedStatus(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	var h History
	h = h.Insert(Session{at, at.Add(time.Hour), "Failed", 0}).Insert(Session{at, at.Add(time.Hour), "Warning", 0})
	if n := h.ConsecutiveFailures(); n != 0 || len(h.Recent) != 1 {
		t.Errorf("%d failures in %v", n, h.Recent)
	}
}

func TestTypical(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	var h History
	add := func(minutes int, status string) {
		at = at.Add(24 * time.Hour)
		h = h.Insert(Session{at, at.Add(time.Duration(minutes) * time.Minute), status, 0})
	}
	want := func(minutes int) {
		t.Helper()
		got, ok := h.Typical()
		if ok != (minutes > 0) || got != time.Duration(minutes)*time.Minute {
			t.Errorf("typical is %s, %t; want %d minutes", got, ok, minutes)
		}
	}
	for _, minutes := range []int{50, 10, 30, 20} {
		add(minutes, "Succeeded")
	}
	add(1, "Failed")
	add(1, "Canceled")
	want(0) // of four
	add(40, "Warning")
	want(30)
	fifth := at
	add(60, "Succeeded")
	want(35)
	for range 15 {
		add(100, "Succeeded")
	}
	want(100) // of the last 15
	if got, ok := h.typicalAt(fifth.Add(time.Hour)); ok {
		t.Errorf("then it was %s, of fewer than 5 that are kept", got)
	}
	if got, ok := h.typicalAt(at.Add(-24 * time.Hour)); !ok || got != 100*time.Minute {
		t.Errorf("a day ago it was %s, %t", got, ok)
	}
}

func TestMerge(t *testing.T) {
	at := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		var all, a, b History
		var sessions []Session
		for i := range rapid.IntRange(0, 60).Draw(t, "sessions") {
			start := at.Add(time.Duration(i) * time.Hour)
			s := Session{start, start.Add(time.Minute), rapid.SampledFrom([]string{"Failed", "Failed", "Failed", "Failed", "Succeeded", "Canceled"}).Draw(t, "status"), 0}
			sessions = append(sessions, s)
		}
		renamed := rapid.IntRange(0, len(sessions)).Draw(t, "renamed at")
		for i, s := range sessions {
			all = all.Insert(s)
			if i < renamed {
				a = a.Insert(s)
			} else {
				b = b.Insert(s)
			}
		}
		for name, h := range map[string]History{"old and new": a.Merge(b), "new and old": b.Merge(a)} {
			if diff := cmp.Diff(all.Recent, h.Recent); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if got, want := h.LastSuccess(), all.LastSuccess(); !got.Equal(want) {
				t.Errorf("%s: last success %v, want %v", name, got, want)
			}
			if got, want := h.ConsecutiveFailures(), all.ConsecutiveFailures(); got != want {
				t.Errorf("%s: %d consecutive failures, want %d", name, got, want)
			}
		}
	})
}
