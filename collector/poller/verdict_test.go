package poller_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

// These tests follow policies of a simulated appliance in Berlin, and look at what
// /metrics has of them.

const listsOfPolicies = "/api/v1/virtualMachines/policies"

// newJudged returns a world with a policy that makes a backup at 2:00 and snapshots at
// 2:00 and 14:00, by the clock of Berlin. It is 18:30, and the appliance was polled.
func newJudged(t *testing.T) (*world, vbawstest.Policy) {
	t.Helper()
	w := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{})
	pol := w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(1), Name: "Nightly", Enabled: true, Schedule: nightly(2)})
	w.poll()
	return w, pol
}

// problems returns those that exist, with when they began by the clock of Berlin.
func (w *world) problems() []string {
	w.Helper()
	zone, _ := time.LoadLocation("Europe/Berlin")
	var all []string
	for _, m := range w.gather("vbaws_policy_problem") {
		l := map[string]string{}
		for _, p := range m.Label {
			l[p.GetName()] = p.GetValue()
		}
		since, exists := w.sample("vbaws_policy_problem_since_timestamp_seconds", polltest.Labels(m))
		if exists != (m.Gauge.GetValue() == 1) {
			w.Errorf("%s is %v, and has since when: %v", polltest.Labels(m), m.Gauge.GetValue(), exists)
		}
		if exists {
			all = append(all, fmt.Sprintf("%s %s %s since %s", l["policy"], l["kind"], l["problem"], time.Unix(int64(since), 0).In(zone).Format("02 15:04")))
		}
	}
	slices.Sort(all)
	return all
}

func (w *world) haveProblems(when string, want ...string) {
	w.Helper()
	if diff := cmp.Diff(want, w.problems()); diff != "" {
		w.Errorf("%s: problems -want +got:\n%s", when, diff)
	}
}

// backups checks what a metric has of the backups of the policy.
func (w *world) backups(name string, want float64) {
	w.Helper()
	for _, m := range w.gather(name) {
		l := map[string]string{}
		for _, p := range m.Label {
			l[p.GetName()] = p.GetValue()
		}
		if l["policy"] == "Nightly" && (l["kind"] == "backup" || l["extended_type"] == "PolicyBackup") {
			if got := m.Gauge.GetValue(); got != want {
				w.Errorf("%s is %v, want %v", name, got, want)
			}
			return
		}
	}
	w.Errorf("%s is not there", name)
}

func TestVerdict(t *testing.T) {
	t.Run("overdue", testVerdictOverdue)
	t.Run("unsaved", testVerdictUnsaved)
	t.Run("cut off", testVerdictCutOff)
	t.Run("stale listing", testVerdictStaleListing)
	t.Run("failing", testVerdictFailing)
	t.Run("stuck", testVerdictStuck)
	t.Run("disabled", testVerdictDisabled)
	t.Run("restart while the appliance is down", testVerdictRestartWhileTheApplianceIsDown)
	t.Run("unreadable schedule", testVerdictUnreadableSchedule)
	t.Run("run under the former name", testVerdictRunUnderTheFormerName)
	t.Run("policies of one name", testVerdictPoliciesOfOneName)
	t.Run("clock that is set", testVerdictClockThatIsSet)
	t.Run("clock that is set before a restart", testVerdictClockThatIsSetBeforeARestart)
}

// testVerdictOverdue: a backup that does not run is overdue after the grace, from the
// listing of that poll on, until it succeeds; a restart and an outage change nothing.
func testVerdictOverdue(t *testing.T) {
	w, _ := newJudged(t)
	w.backups("vbaws_policy_next_due_timestamp_seconds", float64(time.Date(2026, 6, 11, 0, 0, 0, 0, time.UTC).Unix()))
	w.later(8*time.Hour + 25*time.Minute) // 2:55
	w.haveProblems("within the grace")
	w.backups("vbaws_policy_overdue_runs", 0)
	w.ResetRequests()
	w.later(6 * time.Minute)                      // 3:01
	if n := w.requests(listsOfPolicies); n != 2 { // the second to see that nothing comes after the first page
		t.Errorf("%d requests for policies, want it once, by two requests, before a run is overdue", n)
	}
	overdue := []string{"Nightly backup overdue since 11 02:00", "Nightly snapshot overdue since 11 02:00"}
	w.haveProblems("after the grace", overdue...)
	w.backups("vbaws_policy_overdue_runs", 1)

	// Until something can change, a poll judges and writes nothing.
	w.later(time.Minute)
	w.ResetRequests()
	saves, set := w.storage.saves, w.p.Published().Policies
	for range 3 {
		w.later(10 * time.Second)
	}
	if n := len(w.Requests()); n != 3 || w.storage.saves != saves || w.p.Published().Policies != set {
		t.Errorf("3 idle polls: %d requests, %d saves, the same policies: %v", n, w.storage.saves-saves, w.p.Published().Policies == set)
	}

	w.restart()
	w.haveProblems("after a restart, before the first poll", overdue...)
	down := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Status: 500, Count: -1})
	w.clock.Advance(24 * time.Hour)
	w.fails()
	w.haveProblems("while the appliance can't be polled", overdue...)
	w.backups("vbaws_policy_overdue_runs", 1)
	down.Remove()
	w.poll()
	w.haveProblems("the day after", overdue...)
	w.backups("vbaws_policy_overdue_runs", 2)

	w.end("Succeeded")
	w.later(time.Minute)
	w.haveProblems("after a success")
	w.backups("vbaws_policy_overdue_runs", 0)
}

// testVerdictUnsaved: a verdict is not shown before it is saved, since the next
// process would not know of it.
func testVerdictUnsaved(t *testing.T) {
	w, _ := newJudged(t)
	w.later(8*time.Hour + 25*time.Minute) // 2:55
	w.storage.err = errors.New("no space left on device")
	w.clock.Advance(6 * time.Minute) // 3:01
	w.fails()
	w.haveProblems("while nothing can be saved")
	w.restart()
	w.haveProblems("in the next process")
	w.fails()
	w.haveProblems("while it can save nothing")
	w.storage.err = nil
	w.poll()
	w.haveProblems("once it is saved", "Nightly backup overdue since 11 02:00", "Nightly snapshot overdue since 11 02:00")
}

// testVerdictCutOff: a poll whose context ends while policies are listed for a verdict keeps
// all of the earlier verdicts. The next poll judges.
func testVerdictCutOff(t *testing.T) {
	w, _ := newJudged(t)
	w.later(7*time.Hour + 40*time.Minute) // 2:10
	w.end("Failed")
	w.later(time.Minute)
	w.haveProblems("while a retry can begin")
	ctx, cancel := context.WithCancel(t.Context())
	w.OnRequest(func(r *http.Request) {
		if r.URL.Path == listsOfPolicies {
			cancel()
			<-r.Context().Done()
		}
	})
	w.clock.Advance(50 * time.Minute) // 3:01
	if err := w.p.Poll(ctx); err != nil || ctx.Err() == nil {
		t.Fatalf("the poll ended with %v, and its context with %v", err, ctx.Err())
	}
	w.OnRequest(nil)
	w.haveProblems("after the poll that was cut off")
	w.later(time.Second)
	w.haveProblems("after the next poll",
		"Nightly backup failing since 11 02:10", "Nightly backup overdue since 11 02:00", "Nightly snapshot overdue since 11 02:00")
}

// testVerdictStaleListing: a policy that was disabled or rescheduled is not
// overdue, and what can't be listed is not decided.
func testVerdictStaleListing(t *testing.T) {
	w, pol := newJudged(t)
	w.cfg.InventoryInterval = 24 * time.Hour
	w.restart()
	w.later(8*time.Hour + 25*time.Minute) // 2:55
	fault := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: listsOfPolicies, Status: 500, Count: -1})
	w.later(10 * time.Minute)
	w.haveProblems("while policies can't be listed")
	fault.Remove()
	w.EnablePolicy(pol.ID, false)
	w.later(25 * time.Hour)
	w.haveProblems("after it was disabled", "Nightly  disabled since 12 04:05")
}

// testVerdictFailing: a failure is a problem until the next success, and no retry is
// waited for longer than 5 minutes.
func testVerdictFailing(t *testing.T) {
	w, _ := newJudged(t)
	w.later(7*time.Hour + 40*time.Minute) // 2:10
	w.end("Failed")
	w.later(time.Minute)
	w.haveProblems("while a retry can begin")
	w.backups("vbaws_session_consecutive_failures", 1)
	w.later(5 * time.Minute)
	failing := "Nightly backup failing since 11 02:10"
	w.haveProblems("without a retry", failing)
	w.end("Canceled")
	w.clock.Advance(time.Second)
	w.end("Failed")
	w.later(time.Minute)
	w.backups("vbaws_session_consecutive_failures", 2)
	w.restart()
	w.haveProblems("after a restart", failing)
	for range 5 {
		w.end("Warning")
		w.later(10 * time.Minute)
	}
	w.haveProblems("after a success")
	w.backups("vbaws_session_consecutive_failures", 0)
	w.backups("vbaws_session_typical_duration_seconds", 60)
}

// testVerdictStuck: a session that runs for longer than a day is stuck, and the run
// that waited for it is overdue.
func testVerdictStuck(t *testing.T) {
	w, _ := newJudged(t)
	w.later(7*time.Hour + 30*time.Minute) // 2:00
	s := w.begin()
	w.later(23 * time.Hour)
	w.haveProblems("for 23 hours")
	w.later(65 * time.Minute)
	got := w.problems()
	if !slices.Contains(got, "Nightly backup stuck since 11 02:00") {
		t.Errorf("after 24 hours: %q", got)
	}
	w.restart()
	if diff := cmp.Diff(got, w.problems()); diff != "" {
		t.Errorf("after a restart: %s", diff)
	}
	w.Finish(s.ID, "Succeeded", w.Now())
	w.later(time.Minute)
	w.haveProblems("after it ended")
}

// testVerdictRestartWhileTheApplianceIsDown: verdicts are those of the last poll. The
// session that was running then may have ended, and nothing newer is known.
func testVerdictRestartWhileTheApplianceIsDown(t *testing.T) {
	w, _ := newJudged(t)
	w.later(7*time.Hour + 30*time.Minute) // 2:00
	s := w.begin()
	w.later(10 * time.Minute)
	down := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Status: 500, Count: -1})
	w.clock.Advance(30 * time.Hour)
	w.restart()
	w.haveProblems("after a restart 30 hours later, before the first poll")
	w.fails()
	w.haveProblems("after a restart 30 hours later")
	down.Remove()
	w.poll()
	late := []string{
		"Nightly backup overdue since 11 02:00", "Nightly backup stuck since 11 02:00", "Nightly snapshot overdue since 11 02:00",
	}
	w.haveProblems("once it can be polled", late...)

	// A verdict that time alone has changed is kept, too.
	w.Finish(s.ID, "Succeeded", w.Now())
	w.later(time.Minute)
	w.haveProblems("after it ended")
	w.later(time.Minute)
	w.begin()
	w.later(time.Minute)
	w.later(24*time.Hour + time.Minute)
	stuck := w.problems()
	if !slices.Contains(stuck, "Nightly backup stuck since 12 08:12") {
		t.Errorf("after a day: %q", stuck)
	}
	w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Status: 500, Count: -1})
	w.clock.Advance(30 * time.Hour)
	w.restart()
	w.fails()
	w.haveProblems("after another restart", stuck...)
}

// testVerdictDisabled: a policy that was seen enabled before is a problem.
func testVerdictDisabled(t *testing.T) {
	w, pol := newJudged(t)
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(2), Name: "Never enabled", Schedule: nightly(2)})
	w.EnablePolicy(pol.ID, false)
	w.later(6 * time.Minute)
	w.haveProblems("disabled", "Nightly  disabled since 10 18:36")
	w.later(48 * time.Hour)
	w.restart()
	w.haveProblems("for two days", "Nightly  disabled since 10 18:36")
	w.EnablePolicy(pol.ID, true)
	w.later(6 * time.Minute)
	w.haveProblems("enabled")
}

// testVerdictUnreadableSchedule: while a schedule can't be read, nothing new is
// overdue, and what was stays so.
func testVerdictUnreadableSchedule(t *testing.T) {
	w, pol := newJudged(t)
	w.later(8*time.Hour + 31*time.Minute) // 3:01
	overdue := []string{"Nightly backup overdue since 11 02:00", "Nightly snapshot overdue since 11 02:00"}
	w.haveProblems("before", overdue...)
	w.UpdatePolicy(pol.ID, func(p *vbawstest.Policy) { p.Schedule = nightly(2); p.Schedule.Daily.Kind = "Moonday" })
	w.later(24 * time.Hour)
	w.later(time.Minute)
	if w.p.Published().Policies.Unreadable != 1 {
		t.Fatal("the schedule can be read")
	}
	w.haveProblems("while it can't be read", overdue...)
	w.backups("vbaws_policy_overdue_runs", 1)
	w.UpdatePolicy(pol.ID, func(p *vbawstest.Policy) { p.Schedule = nightly(2) })
	w.later(6 * time.Minute)
	w.haveProblems("once it can be read", overdue...)
	w.backups("vbaws_policy_overdue_runs", 2)
}

// testVerdictRunUnderTheFormerName: a session that began before its policy was renamed meets
// the start.
func testVerdictRunUnderTheFormerName(t *testing.T) {
	w, pol := newJudged(t)
	w.later(7*time.Hour + 30*time.Minute) // 2:00
	s := w.begin()
	w.later(time.Minute)
	w.RenamePolicy(pol.ID, "Daily")
	w.later(6 * time.Minute)
	w.later(20 * time.Minute)
	w.Finish(s.ID, "Succeeded", w.Now())
	for range 12 {
		w.later(6 * time.Minute)
	}
	w.haveProblems("after the grace")
	w.restart()
	w.haveProblems("after a restart")
	w.later(24 * time.Hour)
	w.haveProblems("the day after", "Daily backup overdue since 12 02:00", "Daily snapshot overdue since 11 14:00")
}

// testVerdictPoliciesOfOneName: sessions of another workload's policy of the same name
// meet no start, under the former name of a policy neither.
func testVerdictPoliciesOfOneName(t *testing.T) {
	w, pol := newJudged(t)
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(2), Name: "Nightly", Enabled: true, Workload: vbawstest.RDS})
	w.later(7*time.Hour + 40*time.Minute) // 2:10
	w.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: "PolicyRdsSnapshot", Name: "Nightly", PolicyID: vbawstest.ID(2),
		Status: "Succeeded", Start: w.Now().Add(-time.Minute), Stop: w.Now(),
	})
	w.later(55 * time.Minute) // 3:05
	w.haveProblems("after the grace", "Nightly backup overdue since 11 02:00", "Nightly snapshot overdue since 11 02:00")
	w.RenamePolicy(pol.ID, "Daily")
	w.later(6 * time.Minute)
	w.haveProblems("after it was renamed", "Daily backup overdue since 11 02:00", "Daily snapshot overdue since 11 02:00")
}

// testVerdictClockThatIsSet: nothing is judged by a clock that was just set.
func testVerdictClockThatIsSet(t *testing.T) {
	w, _ := newJudged(t)
	w.later(time.Hour)
	w.StepClock(12 * time.Hour)
	w.later(time.Minute)
	w.haveProblems("after the jump")
	w.is("vbaws_appliance_clock_offset_seconds", "", (12 * time.Hour).Seconds())
	w.restart()
	w.later(time.Minute)
	w.StepClock(-12 * time.Hour)
	for range 5 {
		w.later(6 * time.Minute)
	}
	w.haveProblems("after it was set right")
	if v, ok := w.sample("vbaws_appliance_certificate_expiry_timestamp_seconds", ""); !ok || v < float64(w.clock.Now().Unix()) {
		t.Errorf("the certificate expires at %v, %v", v, ok)
	}
}

// testVerdictClockThatIsSetBeforeARestart: the process that comes next judges no more by the
// appliance's new clock than the one before.
func testVerdictClockThatIsSetBeforeARestart(t *testing.T) {
	for _, step := range []time.Duration{72 * time.Hour, -72 * time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			w, pol := newJudged(t)
			w.Start(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: pol.Name, PolicyID: pol.ID})
			w.later(10 * time.Minute)
			w.EnablePolicy(pol.ID, true)
			if step < 0 { // something that would go
				for range 20 {
					w.later(time.Hour + 30*time.Minute)
				}
			}
			before := w.problems()
			if (len(before) > 0) != (step < 0) {
				t.Fatalf("problems before: %q", before)
			}
			w.StepClock(step)
			w.later(time.Minute)
			for range 3 {
				w.restart()
				if diff := cmp.Diff(before, w.problems()); diff != "" {
					t.Errorf("after a restart, -want +got:\n%s", diff)
				}
				w.later(time.Minute)
				if diff := cmp.Diff(before, w.problems()); diff != "" {
					t.Errorf("after a poll, -want +got:\n%s", diff)
				}
			}
			w.StepClock(-step)
			for range 5 {
				w.later(6 * time.Minute)
			}
			if diff := cmp.Diff(before, w.problems()); diff != "" {
				t.Errorf("after it was set right, -want +got:\n%s", diff)
			}
		})
	}
}
