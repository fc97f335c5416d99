package poller_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws/vbawstest"
)

func TestFinishedLog(t *testing.T) {
	t.Run("levels", testFinishedLogLevels)
	t.Run("errors of failures", testFinishedLogErrorsOfFailures)
	t.Run("errors of the newest failure", testFinishedLogErrorsOfTheNewestFailure)
	t.Run("policies first", testFinishedLogPoliciesFirst)
	t.Run("failed since", testFinishedLogFailedSince)
}

// testFinishedLogLevels: a failed session is a warning, and the parts of a policy's session,
// which repeat its outcome, are for debugging.
func testFinishedLogLevels(t *testing.T) {
	var text strings.Builder
	w := newWorld(t, vbawstest.Config{}, poller.Config{Logger: log.NewLogfmtLogger(&text)})
	w.poll()
	want := make(map[string]string)
	for _, s := range []struct{ typ, status, level string }{
		{"Policy", "Succeeded", "info"},
		{"Policy", "Warning", "info"},
		{"Policy", "Canceled", "info"},
		{"Policy", "Failed", "warn"},
		{"Retention", "Succeeded", "info"},
		{"Retention", "Failed", "warn"},
		{"Job", "Succeeded", "debug"},
		{"Job", "Failed", "debug"},
		{"Task", "Succeeded", "debug"},
		{"Task", "Failed", "debug"},
	} {
		now := w.Now()
		id := w.Put(vbawstest.Session{Type: s.typ, Name: "Nightly", Status: s.status, Start: now.Add(-time.Minute), Stop: now}).ID
		want[id] = s.level
	}
	w.later(time.Minute)
	got := make(map[string]string)
	for line := range strings.Lines(text.String()) {
		if strings.Contains(line, `msg="session finished"`) {
			_, level, _ := strings.Cut(line, "level=")
			_, id, _ := strings.Cut(line, "session_id=")
			got[strings.Fields(id)[0]] = strings.Fields(level)[0]
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// failures returns the errors of the policies that fail, by policy.
func (w *world) failures() map[string]string {
	all := make(map[string]string)
	for k, f := range w.p.Published().Failures {
		all[k.Policy] = strings.Join(f.Errors, "|")
	}
	return all
}

// testFinishedLogErrorsOfFailures: the errors of the newest failure of each policy are known, after a
// restart as well, until the policy succeeds, and are requested once.
func testFinishedLogErrorsOfFailures(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	finish := func(policy, status string, messages ...string) {
		now := w.Now()
		s := w.Put(vbawstest.Session{
			Type: "Policy", ExtendedType: "PolicyBackup", Name: policy, Status: status, Start: now.Add(-time.Minute), Stop: now,
		})
		var items []vbawstest.LogItem
		for _, m := range messages {
			items = append(items, vbawstest.LogItem{Status: "Error", Message: m})
		}
		w.SetLog(s.ID, items...)
	}
	is := func(want map[string]string) {
		t.Helper()
		if d := cmp.Diff(want, w.failures()); d != "" {
			t.Error(d)
		}
	}
	idle := func() {
		t.Helper()
		w.ResetRequests()
		w.later(time.Second)
		if n := len(w.Requests()); n != 1 {
			t.Errorf("%d requests of an idle poll", n)
		}
	}
	finish("Nightly", "Failed", "access denied", "and more")
	finish("Weekly", "Failed", "quota")
	w.poll()
	is(map[string]string{"Nightly": "access denied|and more", "Weekly": "quota"})
	w.later(time.Second) // the policies that sessions name
	idle()

	w.restart()
	is(map[string]string{})
	w.poll()
	is(map[string]string{"Nightly": "access denied|and more", "Weekly": "quota"})
	idle()

	w.clock.Advance(time.Minute)
	finish("Nightly", "Failed", "no space")
	finish("Weekly", "Warning")
	w.poll()
	is(map[string]string{"Nightly": "no space"})

	// Another configuration of the same appliance goes on with it.
	w.cfg.Before = w.p.Published()
	w.restart()
	is(map[string]string{"Nightly": "no space"})
	w.poll()
	idle()

	finish("Nightly", "Canceled")
	w.later(time.Minute)
	is(map[string]string{"Nightly": "no space"})
	w.clock.Advance(time.Minute)
	finish("Nightly", "Succeeded")
	w.later(time.Minute)
	is(map[string]string{})
}

// testFinishedLogErrorsOfTheNewestFailure: of two failures of a policy in one poll, the errors of the
// newer one are shown.
func testFinishedLogErrorsOfTheNewestFailure(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	for i := range 2 {
		w.clock.Advance(time.Minute)
		w.SetLog(w.end("Failed").ID, vbawstest.LogItem{Status: "Error", Message: fmt.Sprint("error ", i)})
	}
	w.poll()
	if d := cmp.Diff(map[string]string{"Nightly": "error 1"}, w.failures()); d != "" {
		t.Error(d)
	}
}

// testFinishedLogPoliciesFirst: a bad night has more failures than a poll requests logs. Those
// of policies come first, and the rest with the next polls.
func testFinishedLogPoliciesFirst(t *testing.T) {
	const policies = 14
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	now := w.Now()
	for i := range policies {
		for j, typ := range []string{"Task", "Policy", "Job"} {
			s := w.Put(vbawstest.Session{
				Type: typ, ExtendedType: "PolicyBackup", Name: fmt.Sprint("policy ", i), Status: "Failed",
				Start: now.Add(-time.Minute), Stop: now.Add(time.Duration(-j) * time.Second),
			})
			w.SetLog(s.ID, vbawstest.LogItem{Status: "Error", Message: fmt.Sprint("error ", i)})
		}
	}
	w.ResetRequests()
	const route = "/api/v1/sessions/{id}/log"
	for i, want := range []int{10, policies, policies} {
		w.ResetRequests()
		w.later(time.Minute)
		if got := len(w.failures()); got != want {
			t.Errorf("poll %d: the errors of %d policies are known, want %d", i, got, want)
		}
		if n := w.requests(route); n > 10 {
			t.Errorf("poll %d: %d logs", i, n)
		}
	}
	for policy, text := range w.failures() {
		if want := "error " + strings.TrimPrefix(policy, "policy "); text != want {
			t.Errorf("%s: %q, want %q", policy, text, want)
		}
	}
	if n := w.requests(route); n != 0 {
		t.Errorf("%d logs though all are known", n)
	}
	recent := w.p.Published().Recent
	if len(recent) != policies+25 {
		t.Errorf("%d recent sessions", len(recent))
	}
	for i, e := range recent {
		if policy := e.Session.Type == "Policy"; policy != (i < policies) {
			t.Errorf("recent session %d is a %s", i, e.Session.Type)
		}
	}
	if k := (ledger.Key{Type: "Policy", ExtendedType: "PolicyBackup", Policy: "policy 1"}); w.p.Published().Failures[k].End.IsZero() {
		t.Error("the end of the failure is not known")
	}
}

// testFinishedLogFailedSince: polls fail since the first one that failed.
func testFinishedLogFailedSince(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	w.storage.err = fmt.Errorf("disk full")
	w.clock.Advance(time.Minute)
	w.end("Succeeded")
	_ = w.fails()
	since := w.clock.Now()
	w.clock.Advance(time.Minute)
	_ = w.fails()
	if got := w.p.Published().FailedSince; !got.Equal(since) {
		t.Errorf("failed since %v, want %v", got, since)
	}
	w.storage.err = nil
	w.later(time.Minute)
	if got := w.p.Published().FailedSince; !got.IsZero() {
		t.Errorf("failed since %v after a successful poll", got)
	}
}
