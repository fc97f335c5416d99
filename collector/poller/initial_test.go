package poller_test

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

// golden compares a scrape with a file of testdata.
func (w *world) golden(name string) {
	w.Helper()
	var got bytes.Buffer
	for _, f := range w.p.Families(w) {
		if _, err := expfmt.MetricFamilyToText(&got, f); err != nil {
			w.Fatal(err)
		}
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		w.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		w.Errorf("%s, -want +got:\n%s", path, d)
	}
}

func TestInitialSync(t *testing.T) {
	t.Run("vendor's sample", testInitialSyncVendorsSample)
	t.Run("no state directory", testInitialSyncNoStateDirectory)
	t.Run("sessions that end meanwhile", testInitialSyncSessionsThatEndMeanwhile)
	t.Run("session that started long before", testInitialSyncSessionThatStartedLongBefore)
	t.Run("long session that ends meanwhile", testInitialSyncLongSessionThatEndsMeanwhile)
	t.Run("interrupted", testInitialSyncInterrupted)
}

// The answer that the vendor's API description prints, to the letter: one session
// of 2020 without a zone, and a totalCount of 57.
func testInitialSyncVendorsSample(t *testing.T) {
	sample, err := os.ReadFile(filepath.Join("..", "..", "vbaws", "testdata", "sessions-sample.json"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, vbawstest.Config{Product: 2}, poller.Config{})
	w.DeletePolicy(vbawstest.ID(1))
	w.OnRequest(func(r *http.Request) {
		if r.URL.Query().Get("Offset") != "" {
			w.RawSessions([]byte(`{"totalCount":57,"results":[]}`))
		} else {
			w.RawSessions(sample)
		}
	})
	w.poll()
	series := `extended_type="" policy="" status="Succeeded" type="RetentionActivity"`
	w.is("vbaws_sessions_total", series, 1)
	w.is("vbaws_session_duration_seconds", series, 1)
	w.is("vbaws_session_last_duration_seconds", `extended_type="" policy="" type="RetentionActivity"`, 2.550602)
	w.golden("sample.prom")
	for range 4 { // resyncs among them
		w.later(30 * time.Minute)
	}
	w.is("vbaws_sessions_total", series, 1)
	w.skipped(map[string]uint64{})
	w.mode(poller.WatermarkUSN)
}

func TestCost(t *testing.T) {
	t.Run("idle poll", testCostIdlePoll)
	t.Run("order of changes", testCostOrderOfChanges)
	t.Run("scrape while the appliance hangs", testCostScrapeWhileTheApplianceHangs)
}

func testCostIdlePoll(t *testing.T) {
	for _, history := range []int{50, 20000} {
		for _, revision := range []string{"1.0-rev0", "1.8-rev0"} {
			t.Run(fmt.Sprintf("%d sessions, %s", history, revision), func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{Revisions: []string{revision}, AccessLifetime: 24 * time.Hour}, poller.Config{})
				// The newest ends now.
				w.clock.Advance(-time.Duration(history) * 6 * time.Minute)
				for range history {
					w.clock.Advance(6 * time.Minute)
					w.end("Succeeded")
				}
				w.begin()
				w.poll()
				w.poll()
				w.clock.Advance(6 * time.Minute)
				w.poll() // with the first resync
				view, saves := w.p.Published().View, w.storage.saves
				for range 3 {
					w.ResetRequests()
					w.later(time.Minute)
					all := w.Requests()
					if len(all) != 1 || all[0].Route != "/api/v1/sessions" || all[0].Bytes >= 2048 {
						t.Errorf("requests %+v, want one of sessions with less than 2 KiB", all)
					}
				}
				if w.storage.saves != saves || w.p.Published().View != view {
					t.Errorf("%d saves by idle polls, and the view is the same: %v", w.storage.saves-saves, w.p.Published().View == view)
				}
			})
		}
	}
}

// From 1.2 on sessions have names, and reading k changes costs in the order of k.
func testCostOrderOfChanges(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Revisions: []string{"1.2-rev0"}, AccessLifetime: 24 * time.Hour}, poller.Config{})
	w.clock.Advance(-5000 * 6 * time.Minute)
	for range 5000 {
		w.clock.Advance(6 * time.Minute)
		w.end("Succeeded")
	}
	w.poll()
	w.poll()
	w.later(6 * time.Minute)
	const row = 1024 // bytes, at most
	all := 0
	for k, pages := range map[int]int{1: 2, 10: 3, 100: 4, 1000: 6} {
		for range k {
			w.clock.Advance(time.Microsecond)
			w.end("Canceled") // of others the log is asked for
		}
		w.ResetRequests()
		w.poll()
		all += k
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 240, "Nightly/Policy/Canceled": all})
		bytes := 0
		for _, r := range w.Requests() {
			if r.Route != "/api/v1/sessions" {
				t.Errorf("%d changes: a request to %s", k, r.Path)
			}
			bytes += r.Bytes
		}
		if n := len(w.Requests()); n > pages {
			t.Errorf("%d changes took %d requests, want at most %d", k, n, pages)
		}
		if rows := bytes / row; rows > 12*k+12 {
			t.Errorf("%d changes took %d KiB, some %d rows", k, bytes>>10, rows)
		}
	}
}

// A scrape waits for no appliance, and what was known stays.
func testCostScrapeWhileTheApplianceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorldOn(t, vbawstest.NewPipeServer, epoch, vbawstest.Config{}, poller.Config{Timeout: 2 * time.Minute})
		w.end("Failed")
		w.poll()
		before := scrape(w)

		hang := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultHang, Count: -1})
		defer hang.Remove()
		done := make(chan error)
		go func() { done <- w.p.Poll(t.Context()) }()
		<-hang.Entered()
		asked := time.Now()
		for range 3 {
			if d := cmp.Diff(before, scrape(w)); d != "" {
				t.Errorf("-before +while it hangs:\n%s", d)
			}
			w.is("vbaws_up", "", 1)
		}
		if waited := time.Since(asked); waited != 0 {
			t.Errorf("the scrapes waited %v", waited)
		}
		if err := <-done; vbaws.KindOf(err) != vbaws.KindTimeout {
			t.Errorf("the poll ended with %v", err)
		}
		if waited := time.Since(asked); waited != 2*time.Minute {
			t.Errorf("the poll ended after %v", waited)
		}
		w.is("vbaws_up", "", 0)
		if d := cmp.Diff(before, scrape(w)); d != "" {
			t.Errorf("-before +after it has failed:\n%s", d)
		}
	})
}

// Without storage that lasts, what had ended before the start is not counted, but
// seen.
func testInitialSyncNoStateDirectory(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Ledger: ledger.Options{Ephemeral: true}})
	w.ends(3, "Failed")
	s := w.begin()
	w.clock.Advance(time.Second)
	w.poll()
	w.counted(map[string]int{})
	w.is("vbaws_session_last_status", `extended_type="PolicyBackup" policy="Nightly" status="Failed" type="Policy"`, 1)
	w.Finish(s.ID, "Warning", time.Time{})
	w.ends(1, "Failed")
	w.later(time.Minute)
	w.later(2 * time.Hour)
	w.counted(map[string]int{"Nightly/Policy/Failed": 1, "Nightly/Policy/Warning": 1})
}

// A session that ends during the initial sync is new, whichever lists show it, and however
// long it takes to find its policy.
func testInitialSyncSessionsThatEndMeanwhile(t *testing.T) {
	for _, test := range []struct {
		name          string
		revision, typ string
		forgetful     bool
		age           time.Duration
	}{
		{"in the window", "1.8-rev0", "Policy", false, time.Minute},
		{"in the window, policies to be asked", "1.0-rev0", "Policy", false, time.Minute},
		{"forgetful", "1.8-rev0", "Policy", true, time.Hour},
		{"forgetful, policies to be asked", "1.0-rev0", "Policy", true, time.Hour},
		{"forgetful, policies to be listed", "1.8-rev0", "Job", true, time.Hour},
		{"in history", "1.8-rev0", "Policy", false, backfill + time.Hour},
		{"in history, policies to be asked", "1.0-rev0", "Policy", false, backfill + time.Hour},
		{"in history, policies to be listed", "1.8-rev0", "Job", false, backfill + time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			pages := 0
			for during := true; during; {
				pages++
				w := newWorld(t, vbawstest.Config{Revisions: []string{test.revision}, MaxPageSize: 3},
					poller.Config{Ledger: ledger.Options{Ephemeral: test.forgetful}})
				s := w.Start(vbawstest.Session{Type: test.typ, ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1)})
				w.ends(3, "Succeeded")
				w.clock.Advance(test.age)
				during = false
				w.afterPages(func(n int) bool {
					if n == pages {
						during = true
						w.clock.Advance(time.Second)
						w.Finish(s.ID, "Failed", time.Time{})
						w.end("Warning") // so that the list moves
					}
					return n == pages
				})
				w.poll()
				w.AfterPage(nil)
				if !during {
					w.Finish(s.ID, "Failed", time.Time{})
					w.end("Warning")
				}
				w.later(time.Minute)
				w.later(2 * time.Hour)
				want := map[string]int{"Nightly/" + test.typ + "/Failed": 1, "Nightly/Policy/Warning": 1}
				if !test.forgetful && test.age < backfill {
					want["Nightly/Policy/Succeeded"] = 3
				}
				w.counted(want)
				if t.Failed() {
					t.Fatalf("it ended after page %d", pages)
				}
			}
			if pages < 4 {
				t.Errorf("it was read in %d pages", pages)
			}
		})
	}
}

// What runs at the initial sync is counted when it ends, however long ago it started, and
// whether lists showed it once or more often.
func testInitialSyncSessionThatStartedLongBefore(t *testing.T) {
	for _, revision := range []string{"1.0-rev0", "1.8-rev0"} {
		for _, typ := range []string{"Policy", "Job"} {
			w := newWorld(t, vbawstest.Config{Revisions: []string{revision}}, poller.Config{})
			s := w.Start(vbawstest.Session{Type: typ, ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1)})
			w.clock.Advance(backfill + 60*time.Hour)
			w.begin()
			w.clock.Advance(time.Minute)
			w.poll()
			w.clock.Advance(time.Minute)
			w.Finish(s.ID, "Failed", time.Time{})
			w.later(time.Minute)
			w.later(2 * time.Hour)
			w.skipped(map[string]uint64{})
			w.counted(map[string]int{"Nightly/" + typ + "/Failed": 1})
		}
	}
}

// A session that started long before is counted, too, if it ends while the rest is read.
func testInitialSyncLongSessionThatEndsMeanwhile(t *testing.T) {
	pages := 0
	for during := true; during; {
		pages++
		w := newWorld(t, vbawstest.Config{MaxPageSize: 3}, poller.Config{})
		s := w.begin()
		w.clock.Advance(backfill + 60*time.Hour)
		w.ends(3, "Succeeded")
		during = false
		w.afterPages(func(n int) bool {
			if n == pages && pages > 1 { // before, it isn't initial sync yet
				during = true
				w.clock.Advance(time.Second)
				w.Finish(s.ID, "Failed", time.Time{})
			}
			return n == pages
		})
		w.poll()
		w.AfterPage(nil)
		if pages == 1 || !during {
			during = during || pages == 1
			w.Finish(s.ID, "Failed", time.Time{})
		}
		w.later(time.Minute)
		w.later(2 * time.Hour)
		w.skipped(map[string]uint64{})
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 3, "Nightly/Policy/Failed": 1})
	}
	if pages < 5 {
		t.Errorf("it was read in %d pages", pages)
	}
}

// An initial sync that is cut off after a part of it was saved is continued by the next
// poll: what ended since it began is new.
func testInitialSyncInterrupted(t *testing.T) {
	for _, test := range []struct {
		typ string
		age time.Duration
	}{{"Policy", backfill + time.Hour}, {"Policy", backfill + 60*time.Hour}, {"Job", backfill + 60*time.Hour}} {
		testContactThatIsCutOff(t, test.typ, test.age)
	}
}

func testContactThatIsCutOff(t *testing.T, typ string, age time.Duration) {
	t.Helper()
	parts := 0
	for page := 1; page < 18; page++ {
		w := newWorld(t, vbawstest.Config{MaxPageSize: 4}, poller.Config{PartSize: 4})
		s := w.Start(vbawstest.Session{Type: typ, ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1)})
		w.clock.Advance(age)
		w.ends(10, "Succeeded")
		var in *vbawstest.Injection
		w.afterPages(func(n int) bool {
			if n == page {
				in = w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/sessions", Status: 500, Count: -1})
			}
			return n == page
		})
		err := w.p.Poll(t.Context())
		w.AfterPage(nil)
		if in == nil || err == nil { // it has no more pages
			break
		}
		in.Remove()
		saved := w.storage.saves > 0
		w.clock.Advance(time.Minute)
		w.Finish(s.ID, "Failed", time.Time{})
		w.later(time.Minute)
		w.later(time.Minute)
		w.later(2 * time.Hour)
		want := map[string]int{"Nightly/Policy/Succeeded": 10}
		if saved { // else it began only with the second poll
			parts++
			want["Nightly/"+typ+"/Failed"] = 1
		}
		w.counted(want)
	}
	if parts == 0 {
		t.Error("no part was ever saved")
	}
}
