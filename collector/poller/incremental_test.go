package poller_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

var pageSizes = []int{1, 2, 3, 7, 1000}

func TestIncremental(t *testing.T) {
	t.Run("deletion between pages", testIncrementalDeletionBetweenPages)
	t.Run("insertion between pages", testIncrementalInsertionBetweenPages)
	t.Run("watermark row removed", testIncrementalWatermarkRowRemoved)
	t.Run("empty list", testIncrementalEmptyList)
	t.Run("empty appliance", testIncrementalEmptyAppliance)
	t.Run("no sort by USN", testIncrementalNoSortByUSN)
	t.Run("no sort by USN, watermark usn", testIncrementalNoSortByUSNWatermarkUsn)
	t.Run("rows out of order", testIncrementalRowsOutOfOrder)
	t.Run("page sizes", testIncrementalPageSizes)
	t.Run("offset ignored", testIncrementalOffsetIgnored)
	t.Run("failed request anywhere", testIncrementalFailedRequestAnywhere)
	t.Run("crash at any step", testIncrementalCrashAtAnyStep)
}

// A page that is read after a row above it was removed begins further down.
func testIncrementalDeletionBetweenPages(t *testing.T) {
	for _, size := range pageSizes {
		for after := 2; after <= 6; after++ { // page 1 is a look at the top alone
			t.Run(fmt.Sprintf("%d rows a page, after page %d", size, after), func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{MaxPageSize: size}, poller.Config{Watermark: poller.WatermarkUSN})
				w.ends(3, "Succeeded")
				w.poll()
				ids := w.ends(30, "Failed")
				// The newest rows are on the pages that were read.
				w.afterPages(func(n int) bool {
					if n == after {
						w.Delete(ids[29])
					}
					if n == after+1 && size > 1 {
						w.Delete(ids[28])
					}
					return n > after
				})
				w.poll()
				if size == 1 { // pages can't overlap: left to the resync
					w.later(time.Hour)
				}
				w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 30})
				if size > 1 {
					w.resets(0)
				}
			})
		}
	}
}

func testIncrementalInsertionBetweenPages(t *testing.T) {
	for _, size := range pageSizes {
		t.Run(fmt.Sprintf("%d rows a page", size), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{MaxPageSize: size}, poller.Config{Watermark: poller.WatermarkUSN})
			ids := w.ends(3, "Succeeded")
			w.poll()
			w.ends(20, "Failed")
			w.afterPages(func(n int) bool {
				w.ends(1, "Warning")
				// A row that was read rises to the top, one that wasn't as well.
				w.Update(ids[n%3], func(s *vbawstest.Session) { s.Reason += "." })
				return n == 5
			})
			w.poll()
			w.AfterPage(nil)
			w.poll()
			inserted := len(w.History()) - 23
			if inserted == 0 {
				t.Fatal("nothing was inserted")
			}
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 20, "Nightly/Policy/Warning": inserted})
		})
	}
}

func testIncrementalWatermarkRowRemoved(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	ids := w.ends(3, "Succeeded")
	w.poll()
	w.ends(1, "Failed")
	w.Delete(ids[2])
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1})
	w.resets(0)
	// If it was the top, the top falls.
	all := w.ends(1, "Warning")
	w.poll()
	w.Delete(all[0])
	w.poll()
	w.ends(1, "Canceled")
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1, "Nightly/Policy/Warning": 1, "Nightly/Policy/Canceled": 1})
	w.mode(poller.WatermarkUSN)
}

func TestUSN(t *testing.T) {
	t.Run("starts over", testUSNStartsOver)
	t.Run("starts over and overtakes", testUSNStartsOverAndOvertakes)
	t.Run("negative", testUSNNegative)
	t.Run("shared by sessions", testUSNSharedBySessions)
	t.Run("one sequence per session", testUSNOneSequencePerSession)
}

func testUSNStartsOver(t *testing.T) {
	w := newWorld(t, vbawstest.Config{FirstUSN: 1000}, poller.Config{})
	w.ends(5, "Succeeded")
	running := w.begin()
	w.poll()
	w.RenumberUSN(1)
	w.ends(2, "Failed")
	w.poll()
	want := map[string]int{"Nightly/Policy/Succeeded": 5, "Nightly/Policy/Failed": 2}
	w.counted(want)
	w.resets(1)
	w.is("vbaws_exporter_watermark_resets_total", "", 1)
	if got := w.p.Published().View.Watermark.USN; got != 8 {
		t.Errorf("the watermark is %d, want the new top", got)
	}
	if got := w.log.with("started over"); len(got) != 1 {
		t.Errorf("log lines: %q", got)
	}
	w.Finish(running.ID, "Warning", time.Time{})
	w.poll()
	want["Nightly/Policy/Warning"] = 1
	w.counted(want)
	w.later(2 * time.Hour)
	w.counted(want)
	w.resets(1)
	w.mode(poller.WatermarkUSN)
}

// The sequence has overtaken the watermark before the next poll, which sees no fall.
func testUSNStartsOverAndOvertakes(t *testing.T) {
	for _, size := range pageSizes {
		t.Run(fmt.Sprintf("%d rows a page", size), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{FirstUSN: 30, MaxPageSize: size}, poller.Config{})
			w.ends(5, "Succeeded")
			running := w.begin() // at 35
			w.poll()
			w.RenumberUSN(1)
			w.ends(50, "Failed") // from 7 on
			w.poll()
			want := map[string]int{"Nightly/Policy/Succeeded": 5, "Nightly/Policy/Failed": 50}
			w.counted(want)
			w.resets(1)
			w.Finish(running.ID, "Warning", time.Time{})
			w.later(time.Minute)
			w.later(2 * time.Hour)
			want["Nightly/Policy/Warning"] = 1
			w.counted(want)
			w.mode(poller.WatermarkUSN)
		})
	}
}

func testIncrementalEmptyList(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(3, "Succeeded")
	w.begin()
	w.poll()
	w.poll()
	before, saves := w.p.Published().View, w.storage.saves
	w.RawSessions([]byte(`{"totalCount":0,"results":[]}`))
	w.later(time.Minute)
	if w.p.Published().View != before || w.storage.saves != saves {
		t.Error("something was changed")
	}
	w.RawSessions(nil)
	w.ends(1, "Failed")
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1})
	w.resets(0)
}

func testIncrementalEmptyAppliance(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	if v := w.p.Published().View; v == nil || v.Watermark != nil {
		t.Fatalf("view %+v", v)
	}
	w.clock.Advance(time.Minute)
	w.end("Failed")
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Failed": 1})
}

func testUSNNegative(t *testing.T) {
	w := newWorld(t, vbawstest.Config{FirstUSN: -8}, poller.Config{})
	w.ends(3, "Succeeded")
	w.poll()
	for i := range 7 { // over 0
		w.ends(2, "Failed")
		w.poll()
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 2 * (i + 1)})
	}
	w.resets(0)
	w.mode(poller.WatermarkUSN)
}

func testUSNSharedBySessions(t *testing.T) {
	for mode, then := range map[poller.Watermark]poller.Watermark{
		poller.WatermarkAuto: poller.WatermarkFromUTC, poller.WatermarkUSN: poller.WatermarkUSN,
	} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode})
			w.ends(3, "Succeeded")
			w.poll()
			w.mode(poller.WatermarkUSN)
			s := w.end("Failed")
			w.end("Warning", vbawstest.WithUSN(s.USN))
			w.later(time.Minute)
			want := map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1, "Nightly/Policy/Warning": 1}
			w.counted(want)
			w.mode(then)
			// A tie with the watermark itself, which may hide below it until the next
			// resync.
			w.end("Canceled", vbawstest.WithUSN(s.USN))
			w.later(11 * time.Minute)
			want["Nightly/Policy/Canceled"] = 1
			w.counted(want)
			if got := w.log.with("falling back to watermark mode"); mode == poller.WatermarkAuto && len(got) != 1 || mode != poller.WatermarkAuto && len(got) != 0 {
				t.Errorf("log lines: %q", got)
			}
		})
	}
}

func testUSNOneSequencePerSession(t *testing.T) {
	w := newWorld(t, vbawstest.Config{USNPerSession: true}, poller.Config{})
	w.ends(3, "Succeeded")
	w.poll()
	s := w.begin()
	w.later(time.Minute)
	w.ends(2, "Failed")
	w.later(time.Minute)
	w.Finish(s.ID, "Warning", time.Time{})
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 2, "Nightly/Policy/Warning": 1})
	w.mode(poller.WatermarkFromUTC)
}

func testIncrementalNoSortByUSN(t *testing.T) {
	w := newWorld(t, vbawstest.Config{RefuseUsnDesc: true}, poller.Config{})
	w.ends(3, "Succeeded")
	w.poll()
	w.ends(2, "Failed")
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 2})
	w.mode(poller.WatermarkFromUTC)

	// An appliance that sorted by USN can refuse it later.
	w = newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(3, "Succeeded")
	w.poll()
	w.Reconfigure(func(c *vbawstest.Config) { c.RefuseUsnDesc = true })
	w.ends(2, "Failed")
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 2})
	w.mode(poller.WatermarkFromUTC)
}

func testIncrementalNoSortByUSNWatermarkUsn(t *testing.T) {
	for _, synced := range []bool{false, true} {
		t.Run(fmt.Sprint("synced: ", synced), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: poller.WatermarkUSN})
			w.ends(3, "Succeeded")
			if synced {
				w.poll()
			}
			w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/sessions", Status: 400, Count: -1})
			err := w.fails()
			if !strings.Contains(err.Error(), vbaws.SortUSNDesc) {
				t.Errorf("the error doesn't say what was refused: %v", err)
			}
			w.mode(poller.WatermarkUSN)
			if p := w.p.Published(); p.Up || p.Result != "http" {
				t.Errorf("up %v, result %s", p.Up, p.Result)
			}
		})
	}
}

func testIncrementalRowsOutOfOrder(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(3, "Succeeded")
	w.poll()
	w.ends(1, "Failed")
	// Sorted as if its USN were another than the one that is served.
	w.PutRaw(vbawstest.ID(7), 50, w.Now(), fmt.Appendf(nil,
		`{"id":%q,"type":"Policy","status":"Failed","name":"Nightly","extendedSessionType":"PolicyBackup","usn":3,"executionStartTime":%q,"executionStopTime":%[2]q}`,
		vbawstest.ID(7), w.Now().Format(time.RFC3339)))
	w.PutRaw(vbawstest.ID(8), 60, w.Now(), fmt.Appendf(nil,
		`{"id":%q,"type":"Policy","status":"Failed","name":"Nightly","extendedSessionType":"PolicyBackup","usn":10,"executionStartTime":%q,"executionStopTime":%[2]q}`,
		vbawstest.ID(8), w.Now().Format(time.RFC3339)))
	w.PutRaw(vbawstest.ID(9), 55, w.Now(), fmt.Appendf(nil,
		`{"id":%q,"type":"Policy","status":"Failed","name":"Nightly","extendedSessionType":"PolicyBackup","usn":11,"executionStartTime":%q,"executionStopTime":%[2]q}`,
		vbawstest.ID(9), w.Now().Format(time.RFC3339)))
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 4})
	w.mode(poller.WatermarkFromUTC)
	if got := w.log.with("order of their USN"); len(got) != 1 {
		t.Errorf("log lines: %q", got)
	}
}

// A transaction that commits late becomes visible below the watermark.
func testResyncLateSessions(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(3, "Succeeded")
	w.poll()
	want := map[string]int{"Nightly/Policy/Succeeded": 3}
	for i, interval := range []time.Duration{5 * time.Minute, 10 * time.Minute} {
		w.mode(poller.WatermarkUSN)
		w.clock.Advance(time.Second)
		w.end("Failed", vbawstest.Hidden())
		w.ends(1, "Warning")
		w.later(time.Minute)
		want["Nightly/Policy/Warning"]++
		w.counted(want)
		w.Reveal()
		w.later(time.Minute) // the incremental read can't see it
		w.counted(want)
		w.later(interval)
		want["Nightly/Policy/Failed"] = i + 1
		w.counted(want)
	}
	w.mode(poller.WatermarkFromUTC)
	w.resets(0)
}

func testIncrementalPageSizes(t *testing.T) {
	for _, size := range pageSizes {
		for _, mode := range []poller.Watermark{poller.WatermarkUSN, poller.WatermarkFromUTC} {
			t.Run(fmt.Sprintf("%d rows a page by %s", size, mode), func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{MaxPageSize: size}, poller.Config{Watermark: mode})
				w.ends(12, "Succeeded")
				w.begin()
				w.begin()
				w.poll()
				w.ends(25, "Failed")
				w.later(time.Minute)
				want := map[string]int{"Nightly/Policy/Succeeded": 12, "Nightly/Policy/Failed": 25}
				w.counted(want)
				// Everything by the resync alone.
				for range 9 {
					w.clock.Advance(time.Second)
					w.end("Warning", vbawstest.Hidden())
				}
				w.ends(1, "Canceled")
				w.later(time.Minute)
				w.Reveal()
				w.later(time.Hour)
				want["Nightly/Policy/Warning"], want["Nightly/Policy/Canceled"] = 9, 1
				w.counted(want)
				w.is("vbaws_sessions_running", `extended_type="PolicyBackup" policy="Nightly" type="Policy"`, 2)
			})
		}
	}
}

func testIncrementalOffsetIgnored(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(3, "Succeeded")
	w.poll()
	var rows []string
	for i := range 5 {
		rows = append(rows, fmt.Sprintf(`{"id":%q,"type":"Policy","status":"Failed","usn":%d}`, vbawstest.ID(100+i), 1000-i))
	}
	w.RawSessions([]byte(`{"totalCount":100,"results":[` + strings.Join(rows, ",") + `]}`))
	w.ResetRequests()
	err := w.fails()
	if vbaws.KindOf(err) != vbaws.KindDecode || !strings.Contains(err.Error(), "Offset") {
		t.Errorf("error: %v", err)
	}
	if n := len(w.queries()); n > 50 {
		t.Errorf("%d pages were asked for before it gave up", n)
	}
	// Nothing of it remains.
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3})
	w.RawSessions(nil)
	w.ends(1, "Failed")
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1})
}

// A poll that is cut off after any number of requests leaves nothing behind, and
// the next one counts all.
func testIncrementalFailedRequestAnywhere(t *testing.T) {
	for skip := 0; ; skip++ {
		w := newWorld(t, vbawstest.Config{MaxPageSize: 4}, poller.Config{})
		w.ends(6, "Succeeded")
		w.poll()
		w.poll()
		w.ends(30, "Failed")
		f := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/sessions", Status: 418, Skip: skip, Count: -1})
		before, saves := w.p.Published().View, w.storage.saves
		err := w.p.Poll(t.Context())
		if f.Hits() == 0 {
			if skip < 8 {
				t.Errorf("the poll needs no more than %d requests", skip)
			}
			return
		}
		if err == nil || w.p.Published().View != before || w.storage.saves != saves {
			t.Errorf("after %d requests: %v, and something remains", skip, err)
		}
		f.Remove()
		w.poll()
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 6, "Nightly/Policy/Failed": 30})
	}
}

// A process that dies anywhere counts each session once.
func testIncrementalCrashAtAnyStep(t *testing.T) {
	type crash struct{}
	for _, step := range []string{poller.StepRead, poller.StepSaved, poller.StepPublished} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, initial sync %v", step, first), func(t *testing.T) {
				armed := false
				w := newWorld(t, vbawstest.Config{}, poller.Config{Step: func(name string) {
					if armed && name == step {
						panic(crash{})
					}
				}})
				w.ends(3, "Succeeded")
				if !first {
					w.poll()
				}
				w.ends(3, "Failed")
				func() {
					defer func() {
						if r := recover(); r != (crash{}) {
							panic(r)
						}
					}()
					armed = true
					w.poll()
					t.Fatal("no crash")
				}()
				armed = false
				w.restart()
				w.poll()
				w.later(2 * time.Hour)
				w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 3})
				var ids []string
				for _, line := range w.log.with("session finished") {
					_, id, _ := strings.Cut(line, "session_id=")
					ids = append(ids, strings.Fields(id)[0])
				}
				seen := map[string]bool{}
				for _, id := range ids {
					if seen[id] {
						t.Errorf("session %s is logged twice", id)
					}
					seen[id] = true
				}
			})
		}
	}
}

// A long poll that fails in the resync that must follow at once, after a part of it
// was saved, owes that resync to the next one: the watermark has moved already.
func testResyncOwed(t *testing.T) {
	for skip := 0; ; skip++ {
		w := newWorld(t, vbawstest.Config{MaxPageSize: 4, FirstUSN: 1000}, poller.Config{PartSize: 3})
		w.ends(5, "Succeeded")
		w.poll()
		w.later(time.Hour) // the first resync is behind
		w.RenumberUSN(1)
		w.ends(12, "Failed")
		f := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/sessions", Status: 418, Skip: skip, Count: -1})
		err := w.p.Poll(t.Context())
		f.Remove()
		if err == nil {
			if skip < 6 {
				t.Errorf("the poll needs no more than %d requests", skip)
			}
			return
		}
		w.poll()
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 5, "Nightly/Policy/Failed": 12})
		w.resets(1)
	}
}
