package poller_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws/vbawstest"
)

// resynced returns the FromUtc of the pages asked for since ResetRequests, each once.
func (w *world) resynced() (from []time.Time) {
	w.Helper()
	for _, q := range w.queries() {
		if s := q.Get("FromUtc"); s != "" {
			at, err := time.Parse(time.RFC3339, s)
			if err != nil {
				w.Fatal(err)
			}
			if !slices.ContainsFunc(from, at.Equal) {
				from = append(from, at)
			}
		}
	}
	return from
}

func TestResync(t *testing.T) {
	t.Run("doubling intervals", testResyncDoublingIntervals)
	t.Run("late sessions", testResyncLateSessions)
	t.Run("owed", testResyncOwed)
	t.Run("clock years ahead", testResyncClockYearsAhead)
	t.Run("clock set back", testResyncClockSetBack)
	t.Run("session before the cutoff", testResyncSessionBeforeTheCutoff)
	t.Run("undecodable row", testResyncUndecodableRow)
	t.Run("unknown status", testResyncUnknownStatus)
}

func testResyncDoublingIntervals(t *testing.T) {
	w := newWorld(t, vbawstest.Config{AccessLifetime: 100 * time.Hour}, poller.Config{InventoryInterval: 1000 * time.Hour})
	w.ends(3, "Succeeded")
	// What never ends doesn't hold a resync back.
	w.Put(vbawstest.Session{Type: "Policy", Name: "Nightly", Status: "Running", Start: w.Now().Add(-10 * 24 * time.Hour)})
	w.clock.Set(epoch.Add(time.Minute).Truncate(time.Second))
	w.poll()
	synced := w.Now()
	last := synced
	var got []time.Duration
	wide := 0
	for range 26 * 12 {
		w.ResetRequests()
		w.ends(1, "Succeeded") // no resync begins after the newest session
		w.later(5*time.Minute - time.Second)
		from := w.resynced()
		if len(from) == 0 {
			continue
		}
		got = append(got, w.Now().Sub(synced))
		switch reach := last.Sub(from[0]); {
		case len(from) > 1:
			t.Fatalf("one poll resynced from %v", from)
		case reach >= 27*time.Hour:
			if w.Now().Sub(synced) < 24*time.Hour {
				t.Errorf("a daily resync after %v", w.Now().Sub(synced))
			}
			wide++
		case reach != time.Hour:
			t.Errorf("after %v: resynced from %v before the last resync", w.Now().Sub(synced), reach)
		}
		last = w.Now()
		if want := w.p.Published().View.LastResync; !want.Equal(last) {
			t.Errorf("the time watermark is %v, want %v", want, last)
		}
	}
	const m = time.Minute
	want := []time.Duration{5 * m, 15 * m, 35 * m, 75 * m}
	for at := 135 * m; at <= 26*time.Hour; at += time.Hour {
		want = append(want, at)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("resyncs after the initial sync, -want +got:\n%s", d)
	}
	if wide != 1 {
		t.Errorf("%d resyncs in 26 hours", wide)
	}
}

// apart gives the exporter a clock of its own, and returns it, with a function that makes a
// poll after a while by both, which must succeed.
func (w *world) apart() (ours *vbawstest.Clock, later func(time.Duration)) {
	ours = vbawstest.NewClock(epoch)
	w.watch(w.client(ours.Now), ours.Now)
	return ours, func(d time.Duration) {
		w.Helper()
		ours.Advance(d)
		w.later(d)
	}
}

// A clock that is years ahead for a while makes nothing forgotten: what was counted
// would be counted again, or what is new taken for old.
func testResyncClockYearsAhead(t *testing.T) {
	const years = 2 * 365 * 24 * time.Hour
	for name, ahead := range map[string]func(w *world, ours *vbawstest.Clock, d time.Duration){
		"ours":      func(_ *world, ours *vbawstest.Clock, d time.Duration) { ours.Advance(d) },
		"appliance": func(w *world, _ *vbawstest.Clock, d time.Duration) { w.StepClock(d) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{AccessLifetime: 2 * years}, poller.Config{})
			ours, later := w.apart()
			w.end("Failed")
			w.poll()
			later(3 * time.Hour) // past midnight
			w.end("Failed")
			later(time.Minute)
			ahead(w, ours, years)
			later(21 * time.Hour) // with the daily resync of the day, before the next midnight
			ahead(w, ours, -years)
			later(time.Minute)
			w.ends(2, "Failed")
			later(time.Minute)
			later(time.Hour)
			later(26 * time.Hour)
			w.skipped(map[string]uint64{})
			w.counted(map[string]int{"Nightly/Policy/Failed": 4})
		})
	}
}

func testResyncClockSetBack(t *testing.T) {
	for _, mode := range []poller.Watermark{poller.WatermarkUSN, poller.WatermarkFromUTC} {
		for name, back := range map[string]func(*world, *vbawstest.Clock){
			"appliance": func(w *world, _ *vbawstest.Clock) { w.StepClock(-7 * time.Hour) },
			"ours":      func(_ *world, ours *vbawstest.Clock) { ours.Advance(-7 * time.Hour) },
			"both":      func(w *world, ours *vbawstest.Clock) { w.StepClock(-7 * time.Hour); ours.Advance(-5 * time.Hour) },
		} {
			t.Run(fmt.Sprintf("%s by %s", name, mode), func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{AccessLifetime: 100 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 1000 * time.Hour})
				ours, later := w.apart()
				w.ends(3, "Succeeded")
				later(time.Minute)
				later(2 * time.Hour)
				back(w, ours)
				failed := 0
				for range 8 {
					later(30 * time.Minute)
					w.end("Failed")
					w.end("Failed", vbawstest.VisibleAfter(20*time.Minute)) // below the watermark
					w.end("Failed")
					failed += 3
				}
				later(time.Hour)
				later(time.Hour)
				later(time.Hour)
				w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": failed})
				w.skipped(map[string]uint64{})
			})
		}
	}
}

func TestByID(t *testing.T) {
	t.Run("unfinished sessions", testByIDUnfinishedSessions)
	t.Run("removed session", testByIDRemovedSession)
	t.Run("404 of a proxy", testByID404OfAProxy)
	t.Run("forbidden", testByIDForbidden)
	t.Run("reopened session", testByIDReopenedSession)
	t.Run("session that fails", testByIDSessionThatFails)
	t.Run("session that hangs", testByIDSessionThatHangs)
	t.Run("session that hangs for long", testByIDSessionThatHangsForLong)
	t.Run("policy that fails", testByIDPolicyThatFails)
}

// A session that no list shows any more is asked for by its id.
func testByIDUnfinishedSessions(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: poller.WatermarkFromUTC})
	s := w.begin()
	waits := w.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", Status: "NeverExecuted", Start: w.Now()})
	w.poll()
	w.clock.Advance(3 * time.Hour)
	w.end("Canceled") // so that no resync looks back as far as to those two
	w.poll()
	running := `extended_type="PolicyBackup" policy="Nightly" type="Policy"`
	w.is("vbaws_sessions_running", running, 1)
	w.ResetRequests()
	w.later(3 * time.Hour)
	var asked []string
	for _, r := range w.Requests() {
		if r.Route == "/api/v1/sessions/{id}" {
			asked = append(asked, r.Path)
		}
	}
	if d := cmp.Diff([]string{"/api/v1/sessions/" + waits.ID}, asked); d != "" {
		t.Errorf("asked by id while the other is listed as running, -want +got:\n%s", d)
	}
	// It ended, and FromUtc selects by the start, which is long ago.
	w.Finish(s.ID, "Failed", time.Time{})
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Canceled": 1, "Nightly/Policy/Failed": 1})
	w.is("vbaws_sessions_running", running, 0)
	w.Finish(waits.ID, "Warning", time.Time{})
	w.later(time.Hour)
	w.counted(map[string]int{"Nightly/Policy/Canceled": 1, "Nightly/Policy/Failed": 1, "Nightly/Policy/Warning": 1})
	w.ResetRequests()
	w.later(time.Minute)
	if n := w.requests("/api/v1/sessions/{id}"); n != 0 {
		t.Errorf("%d requests by id though nothing is unfinished", n)
	}
}

func testByIDRemovedSession(t *testing.T) {
	for _, mode := range []poller.Watermark{poller.WatermarkUSN, poller.WatermarkFromUTC} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode})
			w.ends(1, "Succeeded")
			s := w.begin()
			w.ends(1, "Succeeded")
			w.poll()
			running := `extended_type="PolicyBackup" policy="Nightly" type="Policy"`
			w.is("vbaws_sessions_running", running, 1)
			w.Delete(s.ID)
			w.later(time.Hour) // a resync in either mode
			w.is("vbaws_sessions_running", running, 1)
			w.skipped(map[string]uint64{})
			w.later(time.Hour)
			w.is("vbaws_sessions_running", running, 0)
			w.skipped(map[string]uint64{"gone": 1})
			w.is("vbaws_exporter_sessions_skipped_total", `reason="gone"`, 1)
			w.later(time.Hour)
			w.skipped(map[string]uint64{"gone": 1})
			if lines := w.log.with("reason=gone"); len(lines) != 1 {
				t.Errorf("log lines: %q", lines)
			}
		})
	}
}

// A 404 of a proxy shows nothing about a session, nor about the others.
func testByID404OfAProxy(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: poller.WatermarkFromUTC})
	s := w.begin()
	w.poll()
	w.clock.Advance(3 * time.Hour)
	w.ends(1, "Canceled")
	w.poll()
	w.later(3 * time.Hour)
	w.Finish(s.ID, "Failed", time.Time{})
	for _, f := range []vbawstest.Fault{
		{Status: 404, HTML: true}, {Status: 404, ErrorCode: "InvalidURI"}, {Status: 410, ErrorCode: "NotFound"},
	} {
		f.Kind, f.Route, f.Count = vbawstest.FaultStatus, "/api/v1/sessions/{id}", -1
		in := w.Inject(f)
		for range 3 {
			w.later(time.Hour)
		}
		if in.Hits() != 3 {
			t.Errorf("%+v: asked %d times", f, in.Hits())
		}
		in.Remove()
		w.skipped(map[string]uint64{})
		w.is("vbaws_sessions_running", `extended_type="PolicyBackup" policy="Nightly" type="Policy"`, 1)
	}
	w.later(time.Hour)
	w.counted(map[string]int{"Nightly/Policy/Canceled": 1, "Nightly/Policy/Failed": 1})
}

// If an account is not allowed to read single sessions, that shows, and polls succeed.
func testByIDForbidden(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: poller.WatermarkFromUTC})
	s := w.begin()
	w.poll()
	in := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/sessions/{id}", Count: -1, Status: 403, ErrorCode: "AccessDenied"})
	w.clock.Advance(3 * time.Hour)
	w.ends(1, "Warning")
	w.poll()
	w.Finish(s.ID, "Failed", time.Time{})
	w.later(6 * time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Warning": 1})
	w.is("vbaws_sessions_running", `extended_type="PolicyBackup" policy="Nightly" type="Policy"`, 1)
	w.is("vbaws_exporter_endpoint_forbidden", `endpoint="/api/v1/sessions/{id}"`, 1)
	in.Remove()
	w.later(6 * time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Warning": 1, "Nightly/Policy/Failed": 1})
	w.is("vbaws_exporter_endpoint_forbidden", `endpoint="/api/v1/sessions/{id}"`, 0)
}

func testByIDReopenedSession(t *testing.T) {
	for _, mode := range []poller.Watermark{poller.WatermarkUSN, poller.WatermarkFromUTC} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode})
			w.poll()
			w.clock.Advance(time.Minute)
			s := w.end("Failed")
			w.later(time.Minute)
			running := `extended_type="PolicyBackup" policy="Nightly" type="Policy"`
			last := `extended_type="PolicyBackup" policy="Nightly" status="Succeeded" type="Policy"`
			w.Reopen(s.ID)
			w.later(time.Minute)
			w.is("vbaws_sessions_running", running, 1)
			w.is("vbaws_session_last_status", last, 0)
			w.restart()
			w.clock.Advance(time.Minute)
			w.Finish(s.ID, "Succeeded", time.Time{})
			w.poll()
			w.is("vbaws_sessions_running", running, 0)
			w.is("vbaws_session_last_status", last, 1)
			w.is("vbaws_session_last_duration_seconds", running, (4 * time.Minute).Seconds())
			w.counted(map[string]int{"Nightly/Policy/Failed": 1})
		})
	}
}

func testResyncUnknownStatus(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	s := w.begin()
	w.Update(s.ID, func(s *vbawstest.Session) { s.Status = "Draining" })
	w.later(time.Minute)
	w.counted(map[string]int{})
	w.is("vbaws_sessions_running", `extended_type="PolicyBackup" policy="Nightly" type="Policy"`, 1)
	w.Finish(s.ID, "Drained", time.Time{})
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Drained": 1})
	w.is("vbaws_session_last_status", `extended_type="PolicyBackup" policy="Nightly" status="Drained" type="Policy"`, 1)
	w.is("vbaws_sessions_running", `extended_type="PolicyBackup" policy="Nightly" type="Policy"`, 0)
}

func testResyncUndecodableRow(t *testing.T) {
	for _, mode := range []poller.Watermark{poller.WatermarkUSN, poller.WatermarkFromUTC} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode})
			w.ends(2, "Succeeded")
			w.poll()
			w.ends(2, "Failed")
			w.PutRaw(vbawstest.ID(7), 90, w.Now(), fmt.Appendf(nil, `{"id":%q,"usn":90}`, vbawstest.ID(7)))
			w.PutRaw(vbawstest.ID(8), 91, w.Now(), []byte(`{"usn":91,"status":{"a":[1]},"executionStartTime":7}`))
			w.PutRaw(vbawstest.ID(9), 92, w.Now(), []byte(`"?"`))
			w.ResetUSN(100)
			w.ends(2, "Failed")
			want := map[string]int{"Nightly/Policy/Succeeded": 2, "Nightly/Policy/Failed": 4}
			for range 4 {
				w.later(20 * time.Minute)
				w.counted(want)
				w.skipped(map[string]uint64{"undecodable": 3})
			}
			w.restart()
			w.later(time.Hour)
			w.skipped(map[string]uint64{"undecodable": 3})
			if lines := w.log.with("not understood"); len(lines) != 3 {
				t.Errorf("log lines: %q", lines)
			}
			// Once a row is understood, its first final status counts.
			w.Put(vbawstest.Session{ID: vbawstest.ID(7), Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", Status: "Failed", Start: w.Now(), Stop: w.Now()})
			w.later(time.Minute)
			want["Nightly/Policy/Failed"]++
			w.counted(want)
		})
	}
}

// An unknown session from before the cutoff does not count, and is logged once.
func testResyncSessionBeforeTheCutoff(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(2, "Succeeded")
	w.poll()
	old := w.Now().AddDate(0, 0, -20)
	w.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", Status: "Failed", Start: old, Stop: old})
	for range 3 {
		w.later(time.Hour)
	}
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 2})
	w.skipped(map[string]uint64{"before_cutoff": 1})
	if lines := w.log.with("reason=before_cutoff"); len(lines) != 1 {
		t.Errorf("log lines: %q", lines)
	}
	w.is("vbaws_session_last_end_timestamp_seconds", `extended_type="PolicyBackup" policy="Nightly" status="Failed" type="Policy"`, seconds(old))
}
