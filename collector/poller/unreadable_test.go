package poller_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

const routeSessions = "/api/v1/sessions"

// pollsAfterOneFailure polls an appliance that has begun to answer some requests with an
// error: one poll is allowed to fail, in case the error is temporary; the next is not.
func (w *world) pollsAfterOneFailure() {
	w.Helper()
	if w.p.Poll(context.Background()) != nil {
		w.later(time.Minute)
	}
}

func TestUnreadable(t *testing.T) {
	t.Run("one row", testUnreadableOneRow)
	t.Run("row that hangs", testUnreadableRowThatHangs)
	t.Run("row that hangs in a short page", testUnreadableRowThatHangsInAShortPage)
	t.Run("row that hangs in a policy", testUnreadableRowThatHangsInAPolicy)
	t.Run("policy that hangs", testUnreadablePolicyThatHangs)
	t.Run("watermark row", testUnreadableWatermarkRow)
	t.Run("initial sync", testUnreadableInitialSync)
	t.Run("rows", testUnreadableRows)
	t.Run("for long", testUnreadableForLong)
	t.Run("whole list", testUnreadableWholeList)
	t.Run("policy", testUnreadablePolicy)
	t.Run("listing of policies", testUnreadableListingOfPolicies)
}

// testUnreadableOneRow: a row that the appliance can't return takes each page with it. The
// others are counted, and it is counted once it can be read.
func testUnreadableOneRow(t *testing.T) {
	for _, mode := range bothModes {
		for name, after := range map[string]int{"newest": 0, "second": 1, "within_a_page": 7, "on_the_second_page": 25, "far_down": 700} {
			t.Run(fmt.Sprintf("%s/%s", name, mode), func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{AccessLifetime: 1000 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 1000 * time.Hour})
				w.ends(3, "Succeeded")
				w.poll()
				w.later(time.Hour)
				w.ends(30, "Failed")
				bad := w.end("Warning")
				w.ends(after, "Failed")
				w.Break(bad.ID)
				failed := 30 + after
				w.fails() // in case it passes
				w.later(time.Minute)
				w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": failed})
				for hour := range 23 {
					w.clock.Advance(time.Hour)
					w.ends(2, "Failed")
					failed += 2
					w.poll()
					w.later(time.Minute) // idle
					if hour == 11 {
						w.restart()
					}
				}
				w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": failed})
				w.is("vbaws_up", "", 1)
				w.skipped(map[string]uint64{"unreadable": 1})
				w.mode(mode)
				w.resets(0)
				if got := w.p.Published().EndpointErrors[routeSessions]; !strings.Contains(got, "1 session") || !strings.Contains(got, "500") {
					t.Errorf("endpoint error: %q", got)
				}
				if lines := w.log.with("can't be read"); len(lines) != 2 { // one a process
					t.Errorf("log lines: %q", lines)
				}
				w.Mend(bad.ID)
				w.later(61 * time.Minute)
				w.later(61 * time.Minute)
				w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": failed, "Nightly/Policy/Warning": 1})
				w.skipped(map[string]uint64{"unreadable": 1})
				w.mode(mode)
				w.resets(0)
				w.later(time.Minute)
				if got := w.p.Published().EndpointErrors; len(got) > 0 {
					t.Errorf("endpoint errors: %v", got)
				}
			})
		}
	}
}

// hangs is an API that gets no answer to a question for sessions that asks for bad. A
// test that measures waits uses it in a bubble, in which answers take no time.
type hangs struct {
	poller.API
	bad   func(vbaws.SessionsQuery, *vbaws.SessionsPage) bool
	row   time.Duration // that an answer takes for each row
	waits time.Duration // of a minute each, or less
}

func (h *hangs) Sessions(ctx context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	page, err := h.API.Sessions(ctx, q)
	if err != nil {
		return page, err
	}
	until, _ := ctx.Deadline()
	wait := time.Until(until)
	if h.bad(q, page) || wait < h.row*time.Duration(len(page.Rows)) {
		h.waits += wait
		return nil, failure(vbaws.KindTimeout, context.DeadlineExceeded)
	}
	return page, nil
}

// testUnreadableRowThatHangs: a row that keeps the appliance from answering is stepped over like one
// that it answers with an error, if it answers otherwise.
func testUnreadableRowThatHangs(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newPipeWorld(t, vbawstest.Config{AccessLifetime: 1000 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 1000 * time.Hour})
				w.ends(3, "Succeeded")
				w.poll()
				w.later(time.Hour)
				w.ends(300, "Failed")
				bad := w.end("Warning").ID
				w.ends(200, "Failed")
				all := false
				api := &hangs{API: w.client(w.clock.Now), bad: func(_ vbaws.SessionsQuery, page *vbaws.SessionsPage) bool {
					return all || slices.ContainsFunc(page.Rows, func(r vbaws.Row) bool { return r.ID == bad })
				}}
				w.watch(api, w.clock.Now)
				w.fails() // in case it passes
				w.later(time.Minute)
				want := map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 500}
				w.counted(want)
				w.skipped(map[string]uint64{"unreadable": 1})
				if api.waits > 7*time.Minute { // of a resync as well
					t.Errorf("the polls wait for %s", api.waits)
				}
				// If nothing is answered, a poll waits once.
				all, api.waits = true, 0
				w.clock.Advance(time.Minute)
				w.fails()
				if api.waits != time.Minute {
					t.Errorf("the poll waits for %s", api.waits)
				}
				all, bad = false, ""
				w.later(61 * time.Minute)
				w.later(61 * time.Minute)
				want["Nightly/Policy/Warning"] = 1
				w.counted(want)
				w.skipped(map[string]uint64{"unreadable": 1})
				w.mode(mode)
			})
		})
	}
}

// testUnreadableRowThatHangsInAShortPage: a page of fewer rows has time in proportion, and the largest
// that the appliance returns has all of it.
func testUnreadableRowThatHangsInAShortPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, vbawstest.Config{
			AccessLifetime: 1000 * time.Hour, MaxPageSize: 100, RefuseLimit: true,
		}, poller.Config{InventoryInterval: 1000 * time.Hour})
		w.ends(3, "Succeeded")
		w.poll()
		w.later(time.Hour)
		w.ends(1000, "Failed")
		bad := w.end("Warning").ID
		w.ends(20, "Failed")
		w.watch(&hangs{API: w.client(w.clock.Now), row: time.Minute / 600, bad: func(_ vbaws.SessionsQuery, page *vbaws.SessionsPage) bool {
			return slices.ContainsFunc(page.Rows, func(r vbaws.Row) bool { return r.ID == bad })
		}}, w.clock.Now)
		w.fails() // in case it passes
		w.later(time.Minute)
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1020})
		w.skipped(map[string]uint64{"unreadable": 1})
	})
}

// testUnreadablePolicyThatHangs: a policy whose sessions can't be requested in time does not keep
// those of others from being counted.
func testUnreadablePolicyThatHangs(t *testing.T) {
	w := policyWorld(t, "1.0-rev0")
	w.poll()
	broken := vbawstest.ID(2)
	api := &hangs{API: w.client(w.clock.Now), bad: func(q vbaws.SessionsQuery, _ *vbaws.SessionsPage) bool { return q.PolicyID == broken && broken != "" }}
	w.watch(api, w.clock.Now)
	w.ends(2, "Failed")
	w.endOf("Policy", "Broken", broken)
	w.clock.Advance(time.Second)
	w.pollsAfterOneFailure()
	want := map[string]int{"Nightly/Policy/Failed": 2}
	w.counted(want)
	broken = ""
	w.later(61 * time.Minute)
	w.later(61 * time.Minute)
	want["Broken/Policy/Succeeded"] = 1
	w.counted(want)
}

// testUnreadableRowThatHangsInAPolicy: a session that the list has, and that the list of its policy
// has not in time once, is counted under that policy.
func testUnreadableRowThatHangsInAPolicy(t *testing.T) {
	w := policyWorld(t, "1.0-rev0")
	w.ends(3, "Succeeded")
	w.poll()
	w.clock.Advance(time.Minute)
	late, left := w.endOf("Job", "Nightly", vbawstest.ID(1)), 3 // the page that fails the poll, and in the next one it and the row
	w.watch(&hangs{API: w.client(w.clock.Now), bad: func(q vbaws.SessionsQuery, page *vbaws.SessionsPage) bool {
		if q.PolicyID == "" || left == 0 || !slices.ContainsFunc(page.Rows, func(r vbaws.Row) bool { return r.ID == late.ID }) {
			return false
		}
		left--
		return true
	}}, w.clock.Now)
	w.pollsAfterOneFailure()
	if left > 0 {
		t.Fatalf("the row can hang %d times more", left)
	}
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Job/Succeeded": 1})
}

// testUnreadableWatermarkRow: the row at the top, which was counted, can't be read any more.
// The row below it has a lower USN; the USN has not started over.
func testUnreadableWatermarkRow(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{InventoryInterval: 1000 * time.Hour})
	w.ends(3, "Succeeded")
	w.poll()
	top := w.end("Failed")
	w.later(time.Hour)
	w.Break(top.ID)
	w.clock.Advance(time.Minute)
	w.pollsAfterOneFailure()
	w.later(time.Hour)
	w.ends(1, "Warning")
	w.later(time.Minute)
	w.Mend(top.ID)
	w.later(61 * time.Minute)
	w.later(61 * time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1, "Nightly/Policy/Warning": 1})
	w.resets(0)
	w.mode(poller.WatermarkUSN)
}

// testUnreadableInitialSync: a row of the backfill window counts once it can be read,
// an older one doesn't.
func testUnreadableInitialSync(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode, InventoryInterval: 1000 * time.Hour})
			var ids []string
			for range 60 { // five days
				w.clock.Advance(2 * time.Hour)
				ids = append(ids, w.end("Failed").ID)
			}
			within, before, newest := ids[55], ids[45], ids[59]
			w.Break(within, before, newest)
			w.pollsAfterOneFailure()
			w.counted(map[string]int{"Nightly/Policy/Failed": 10})
			w.skipped(map[string]uint64{"unreadable": 3})
			running := w.begin()
			w.later(time.Minute)
			w.later(time.Hour)
			w.Finish(running.ID, "Failed", time.Time{})
			w.later(time.Minute)
			w.counted(map[string]int{"Nightly/Policy/Failed": 11})
			w.Mend(within, before, newest)
			w.restart()
			w.later(61 * time.Minute)
			w.later(61 * time.Minute)
			w.counted(map[string]int{"Nightly/Policy/Failed": 13})
			w.skipped(map[string]uint64{"unreadable": 3, "before_cutoff": 1})
		})
	}
}

// testUnreadableRows: many of them, as those of one policy would be.
func testUnreadableRows(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{InventoryInterval: 1000 * time.Hour})
	w.poll()
	w.later(time.Hour)
	bad := 0
	for i := range 400 {
		id := w.ends(1, "Failed")[0]
		if i%13 == 0 || i > 397 {
			w.Break(id)
			bad++
		}
	}
	w.pollsAfterOneFailure()
	w.counted(map[string]int{"Nightly/Policy/Failed": 400 - bad})
	w.skipped(map[string]uint64{"unreadable": uint64(bad)})
	w.ResetRequests()
	w.later(time.Minute)
	if n := w.requests(routeSessions); n > 12 {
		t.Errorf("%d requests in an idle poll", n)
	}
}

// testUnreadableForLong: it is looked for for a week.
func testUnreadableForLong(t *testing.T) {
	w := newWorld(t, vbawstest.Config{AccessLifetime: 10000 * time.Hour}, poller.Config{InventoryInterval: 1000 * time.Hour})
	w.poll()
	w.clock.Advance(time.Hour)
	bad := w.end("Warning")
	w.ends(2, "Failed")
	w.Break(bad.ID)
	w.pollsAfterOneFailure()
	for range 9 * 6 {
		w.clock.Advance(4 * time.Hour)
		w.end("Failed")
		w.poll()
	}
	w.skipped(map[string]uint64{"unreadable": 1})
	if got := w.p.Published().EndpointErrors; len(got) > 0 {
		t.Errorf("endpoint errors: %v", got)
	}
	w.ResetRequests()
	w.later(time.Hour)
	for _, q := range w.queries() {
		if from := q.Get("FromUtc"); from != "" && from < w.Now().Add(-60*time.Hour).UTC().Format(time.RFC3339) {
			t.Errorf("still read from %v", from)
		}
	}
}

// testUnreadableWholeList: if all of the list fails, so does the poll, at a bounded cost.
func testUnreadableWholeList(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode, InventoryInterval: 1000 * time.Hour})
			w.ends(3, "Succeeded")
			w.poll()
			w.ends(20, "Failed")
			fault := w.Inject(vbawstest.Fault{Route: routeSessions, Status: 500, Count: -1})
			for n := range 10 {
				w.clock.Advance(10 * time.Minute)
				w.ResetRequests()
				w.fails()
				if got, limit := w.requests(routeSessions), []int{3, 24}[min(n, 1)]; got > limit {
					t.Errorf("poll %d that fails makes %d requests", n, got)
				}
			}
			w.is("vbaws_up", "", 0)
			fault.Remove()
			w.later(time.Minute)
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 20})
			w.skipped(map[string]uint64{})
			w.resets(0)
		})
	}
}

// policyWorld is a world at an API version whose sessions have no names, with a second
// policy.
func policyWorld(t *testing.T, version string) *world {
	w := newWorld(t, vbawstest.Config{Revisions: []string{version}, AccessLifetime: 10000 * time.Hour}, poller.Config{InventoryInterval: 1000 * time.Hour})
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(2), Name: "Broken", Enabled: true})
	return w
}

// testUnreadablePolicy: before API version 1.2 policies are asked for their
// sessions. One that always fails keeps no session of another from being counted. What
// may be its own waits, and is never counted under no policy.
func testUnreadablePolicy(t *testing.T) {
	broken := vbawstest.ID(2)
	for _, version := range []string{"1.0-rev0", "1.1-rev0"} {
		t.Run("mended/"+version, func(t *testing.T) {
			w := policyWorld(t, version)
			w.endOf("Policy", "Broken", broken)
			w.ends(2, "Succeeded")
			w.poll()
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 2, "Broken/Policy/Succeeded": 1})
			w.Break(broken)
			want := map[string]int{"Nightly/Policy/Succeeded": 2, "Broken/Policy/Succeeded": 1}
			var restores, own int
			running := w.Start(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "Broken", PolicyID: broken})
			for hour := range 12 {
				w.clock.Advance(time.Hour)
				w.ends(1, "Failed")
				want["Nightly/Policy/Failed"]++
				w.endOf("Policy", "Broken", broken)
				own++
				if hour == 3 {
					w.endOf("RestoreTask", "", "")
					restores++
				}
				if hour == 5 {
					w.Finish(running.ID, "Warning", time.Time{})
				}
				w.clock.Advance(time.Second)
				w.pollsAfterOneFailure()
				w.counted(want)
				if hour == 7 {
					w.restart()
				}
			}
			w.is("vbaws_up", "", 1)
			if got := w.p.Published().EndpointErrors[routeSessions]; !strings.Contains(got, `"Broken"`) {
				t.Errorf("endpoint error: %q", got)
			}
			w.mode(poller.WatermarkUSN)
			w.Mend(broken)
			w.later(61 * time.Minute)
			w.later(61 * time.Minute)
			want["Broken/Policy/Succeeded"] += own
			want["Broken/Policy/Warning"] = 1
			want["/RestoreTask/Succeeded"] = restores
			w.counted(want)
			w.mode(poller.WatermarkUSN)
			w.later(time.Minute)
			if got := w.p.Published().EndpointErrors; len(got) > 0 {
				t.Errorf("endpoint errors: %v", got)
			}
		})
		t.Run("for_long/"+version, func(t *testing.T) {
			w := policyWorld(t, version)
			w.ends(2, "Succeeded")
			w.poll()
			w.Break(broken)
			w.endOf("Policy", "Broken", broken)
			w.clock.Advance(time.Second)
			w.pollsAfterOneFailure()
			failed := 0
			for range 9 * 6 {
				w.clock.Advance(4 * time.Hour)
				w.ends(1, "Failed")
				failed++
				w.poll()
			}
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 2, "Nightly/Policy/Failed": failed})
			w.skipped(map[string]uint64{"unreadable": 1})
		})
		t.Run("initial_sync/"+version, func(t *testing.T) {
			w := policyWorld(t, version)
			w.endOf("Policy", "Broken", broken)
			running := w.Start(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "Broken", PolicyID: broken, Start: w.Now().Add(-9 * 24 * time.Hour)})
			w.ends(2, "Succeeded")
			w.Break(broken)
			w.pollsAfterOneFailure()
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 2})
			w.restart()
			w.Finish(running.ID, "Warning", time.Time{})
			w.later(time.Hour)
			w.Mend(broken)
			w.later(61 * time.Minute)
			w.later(61 * time.Minute)
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 2, "Broken/Policy/Succeeded": 1, "Broken/Policy/Warning": 1})
		})
	}
}

// testUnreadableListingOfPolicies: a workload whose policies can't be listed does not keep
// the sessions of another's from being counted. If no policy can be listed, the poll fails.
func testUnreadableListingOfPolicies(t *testing.T) {
	for _, c := range []struct {
		route   string
		succeed bool
	}{{"/api/v1/vpc/policy", true}, {"/api/v1/policies", false}} {
		t.Run(strings.ReplaceAll(c.route[len("/api/v1/"):], "/", "_"), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{Revisions: []string{"1.1-rev0"}, AccessLifetime: 10000 * time.Hour}, poller.Config{InventoryInterval: 1000 * time.Hour})
			w.poll()
			fault := w.Inject(vbawstest.Fault{Route: c.route, Status: 500, Count: -1})
			w.ends(2, "Failed")
			w.endOf("RestoreTask", "", "")
			_ = w.p.Poll(context.Background())
			for range 5 {
				w.clock.Advance(30 * time.Minute)
				w.ends(1, "Failed")
				if err := w.p.Poll(context.Background()); (err == nil) != c.succeed {
					t.Fatalf("poll: %v", err)
				}
			}
			if want := map[string]int{"Nightly/Policy/Failed": 7}; c.succeed {
				w.counted(want)
			} else {
				w.counted(map[string]int{})
			}
			fault.Remove()
			w.later(61 * time.Minute)
			w.later(61 * time.Minute)
			w.counted(map[string]int{"Nightly/Policy/Failed": 7, "/RestoreTask/Succeeded": 1})
		})
	}
}
