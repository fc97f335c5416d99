package poller_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

func TestLimits(t *testing.T) {
	t.Run("odd times", testLimitsOddTimes)
	t.Run("times after a restart", testLimitsTimesAfterARestart)
	t.Run("long names", testLimitsLongNames)
	t.Run("log lines", testLimitsLogLines)
	t.Run("running sessions of a filtered type", testLimitsRunningSessionsOfAFilteredType)
	t.Run("repositories", testLimitsRepositories)
	t.Run("long errors", testLimitsLongErrors)
}

// testLimitsOddTimes: the appliance's clock is set back while a session runs, or it
// serves a zero date of its own. The policy's last failure and last success show.
func testLimitsOddTimes(t *testing.T) {
	const labels = `extended_type="PolicyBackup" policy="Nightly" `
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	put := func(status string, start, stop time.Time) {
		w.Put(vbawstest.Session{
			Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1), Status: status, Start: start, Stop: stop,
		})
		w.later(time.Minute)
	}
	now := w.Now
	put("Succeeded", now().Add(-30*time.Minute), now().Add(-29*time.Minute))
	for i, stop := range []func() time.Time{
		func() time.Time { return now().Add(-61 * time.Minute) },
		func() time.Time { return time.Unix(0, 0) },
		func() time.Time { return time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC) },
		func() time.Time { return now().Add(100 * 24 * time.Hour) },
	} {
		failed := now().Add(-time.Second)
		put("Failed", failed, stop())
		if i == 3 {
			failed = now() // the duration is 100 days too: it ended now, at the latest
		}
		w.is("vbaws_session_last_status", labels+`status="Failed" type="Policy"`, 1)
		w.is("vbaws_session_last_status", labels+`status="Succeeded" type="Policy"`, 0)
		w.is("vbaws_session_last_end_timestamp_seconds", labels+`status="Failed" type="Policy"`, float64(failed.UnixMicro())/1e6)
		succeeded := now().Add(-time.Second)
		put("Succeeded", succeeded, stop())
		if i == 3 {
			succeeded = now()
		}
		w.is("vbaws_session_last_status", labels+`status="Succeeded" type="Policy"`, 1)
		w.is("vbaws_sessions_total", labels+`status="Failed" type="Policy"`, float64(i+1))
		if r := w.p.Published().Recent[0]; r.Session.Status != "Succeeded" || !r.Session.Stop.Equal(succeeded.Truncate(time.Microsecond)) {
			t.Errorf("the newest session is shown as %+v", r.Session)
		}
	}
}

// testLimitsTimesAfterARestart: a session that ends while a poll takes hours has the end
// that the appliance returned.
func testLimitsTimesAfterARestart(t *testing.T) {
	w := newWorld(t, vbawstest.Config{MaxPageSize: 5}, poller.Config{})
	w.ends(20, "Succeeded")
	var ended vbawstest.Session
	w.afterPages(func(n int) bool {
		if n < 3 {
			return false
		}
		w.clock.Advance(5 * time.Hour)
		ended = w.end("Failed")
		return true
	})
	w.poll()
	w.later(2 * time.Hour)
	w.is("vbaws_session_last_end_timestamp_seconds", `extended_type="PolicyBackup" policy="Nightly" status="Failed" type="Policy"`,
		float64(ended.Stop.UnixMicro())/1e6)
}

// testLimitsLongNames: of two that differ only at the end both have series, and filters see
// the end.
func testLimitsLongNames(t *testing.T) {
	long := strings.Repeat("x", 3000)
	w := newWorld(t, vbawstest.Config{}, poller.Config{
		Ledger: ledger.Options{Filter: ledger.Filter{Policy: func(name string) bool { return !strings.HasSuffix(name, "-out") }}},
	})
	put := func(name string) {
		w.PutPolicy(vbawstest.Policy{Name: name, Enabled: true})
		now := w.Now()
		w.Put(vbawstest.Session{Type: "Policy", ExtendedType: name, Name: name, Status: "Failed", Start: now, Stop: now})
	}
	w.poll()
	put(long + "-1")
	put(long + "-2")
	put(long + "-out")
	put(strings.Repeat("y", 1<<20))
	w.later(time.Minute)
	w.restart()
	w.later(6 * time.Minute)
	policies := map[string]bool{}
	for _, m := range w.gather("vbaws_sessions_total") {
		for _, l := range m.Label {
			if len(l.GetValue()) > 256 {
				t.Fatalf("a label's value has %d bytes", len(l.GetValue()))
			}
			if l.GetName() == "policy" {
				policies[l.GetValue()] = true
			}
		}
	}
	if len(policies) != 3 {
		t.Errorf("%d policies, want 3", len(policies))
	}
	for _, line := range w.log.with("") {
		if len(line) > 1024 {
			t.Errorf("a log line has %d bytes: %.200s…", len(line), line)
		}
	}
}

// testLimitsLogLines: many sessions that end, that can't be understood and that are
// of too many policies make a hundred lines of each kind, and one that says how many are
// missing.
func testLimitsLogLines(t *testing.T) {
	const n = 250
	w := newWorld(t, vbawstest.Config{}, poller.Config{Ledger: ledger.Options{MaxPolicies: 3}, PartSize: 40})
	w.poll()
	for i := range n {
		now := w.Now()
		w.Put(vbawstest.Session{Type: "Policy", Name: fmt.Sprint("policy-", i), Status: fmt.Sprint("status-", i), Start: now, Stop: now})
		w.PutRaw(vbawstest.ID(1000+i), int64(1000+i), now, fmt.Appendf(nil, `{"id":"%s","usn":%d}`, vbawstest.ID(1000+i), 1000+i))
	}
	w.later(time.Minute)
	for msg, want := range map[string]int{
		`msg="session finished"`:         100,
		`msg="session not counted: not`:  100,
		`msg="too many policies`:         1,
		`msg="too many session statuses`: 1,
		`msg="log lines omitted`:         2,
		`of="session finished"`:          1,
		fmt.Sprint("count=", n-3):        1,
		fmt.Sprint("lines=", n-100):      2,
	} {
		if got := len(w.log.with(msg)); got != want {
			t.Errorf("%d lines with %s, want %d", got, msg, want)
		}
	}
	if v := w.p.Published().View; v.OverLimit[ledger.LimitPolicies] != n-3 || v.OverLimit[ledger.LimitStatuses] != n-ledger.MaxWords+4 {
		t.Errorf("over the limits: %v", v.OverLimit)
	}
	// The next poll that has news logs again.
	w.end("Failed")
	w.later(2 * time.Hour) // a resync: the rows above have higher USNs
	if got := len(w.log.with(`msg="session finished"`)); got != 101 {
		t.Errorf("%d lines, want 101", got)
	}
}

// testLimitsRunningSessionsOfAFilteredType: it counts if it ends after it is wanted again, at the
// API version whose sessions have no policies as well.
func testLimitsRunningSessionsOfAFilteredType(t *testing.T) {
	for _, revision := range []string{"1.0-rev0", "1.8-rev0"} {
		for left, filter := range map[string]ledger.Filter{
			"policy": {Policy: func(name string) bool { return name != "Nightly" }},
			"type":   {Type: func(typ string) bool { return typ != "Policy" }},
		} {
			w := newWorld(t, vbawstest.Config{Revisions: []string{revision}}, poller.Config{})
			w.poll()
			s := w.begin()
			w.later(time.Minute)
			w.cfg.Ledger.Filter = filter
			w.restart()
			w.later(time.Minute)
			other := w.begin()
			meanwhile := w.begin()
			w.later(time.Minute)
			w.Finish(meanwhile.ID, "Failed", time.Time{})
			w.later(2 * time.Hour)
			w.ResetRequests()
			w.later(time.Minute)
			if n := len(w.Requests()); n != 1 {
				t.Errorf("%s, %s left out: %d requests of an idle poll", revision, left, n)
			}
			w.cfg.Ledger.Filter = ledger.Filter{}
			w.restart()
			w.later(2 * time.Hour)
			w.is("vbaws_sessions_running", running1(revision), 2)
			w.Finish(s.ID, "Failed", time.Time{})
			w.Finish(other.ID, "Failed", time.Time{})
			w.later(time.Minute)
			w.counted(map[string]int{"Nightly/Policy/Failed": 2})
			w.skipped(map[string]uint64{})
			w.is("vbaws_sessions_running", running1(revision), 0)
		}
	}
}

// running1 are the labels of the sessions of world.begin.
func running1(revision string) string {
	ext := "PolicyBackup"
	if revision == "1.0-rev0" {
		ext = ""
	}
	return fmt.Sprintf("extended_type=%q policy=\"Nightly\" type=\"Policy\"", ext)
}

// testLimitsRepositories: each of them is a series.
func testLimitsRepositories(t *testing.T) {
	var all []vbawstest.Repository
	for n := range 1003 {
		all = append(all, vbawstest.Repository{ID: vbawstest.ID(100 + n), Name: fmt.Sprint("repository ", n)})
	}
	w := newWorld(t, vbawstest.Config{Repositories: all}, poller.Config{})
	w.poll()
	if r := w.p.Published().Facts.Repositories; len(r.Shown) != 1000 || r.Over != 3 {
		t.Errorf("%d repositories are shown, and %d are over the limit", len(r.Shown), r.Over)
	}
	w.is("vbaws_exporter_over_limit", `what="repositories"`, 3)
}

// testLimitsLongErrors: a line stays below 1 KiB, whatever an error quotes.
func testLimitsLongErrors(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.through(&changed{query: func(*vbaws.SessionsQuery) error { return errors.New(strings.Repeat("x", 1<<20)) }})
	w.fails()
	lines := w.log.with("poll failed")
	if len(lines) != 1 || len(lines[0]) > 1024 {
		t.Errorf("%d lines, %.200q", len(lines), lines)
	}
}
