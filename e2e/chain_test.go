package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// hold is what the chain's exporter holds new counters for: several scrapes, also of a
// machine that is busy.
const hold = 8 * time.Second

func failed(policy string) map[string]string {
	return map[string]string{"alertname": "VbawsPolicyFailed", "policy": policy}
}

// TestFailures: what a policy's sessions come to reaches who is to know.
func TestFailures(t *testing.T) {
	t.Parallel()
	eu := newSite(t, "eu", vbawstest.Config{Seed: 1})
	us := newSite(t, "us", vbawstest.Config{Seed: 2})
	locked := newSite(t, "locked", vbawstest.Config{Seed: 3})
	first, abrupt, retried := eu.policy("first", vbawstest.EC2), eu.policy("abrupt", vbawstest.EC2), eu.policy("retried", vbawstest.EC2)
	well := eu.policy("well", vbawstest.EC2)
	// Names need not be unique: two of one workload, one of another, one elsewhere.
	twins := [2]vbawstest.Policy{eu.policy("twin", vbawstest.EC2), eu.policy("twin", vbawstest.EC2)}
	database, elsewhere := eu.policy("twin", vbawstest.RDS), us.policy("twin", vbawstest.EC2)
	c := startChain(t, hold, eu, us, locked)
	// The first login that is refused is a step that Prometheus sees: before, it would
	// say that the appliance is unreachable.
	c.prometheus.awaitQuery("vbaws_up", 1, 1, 1)
	locked.Reconfigure(func(c *vbawstest.Config) { c.Users = []vbawstest.User{{Name: "someone", Password: "else"}} })
	locked.RevokeTokens()

	// The first session that the policy ever has fails: one is seen running before,
	// the other isn't.
	id := eu.session(first, "PolicyBackup")
	c.prometheus.awaitQuery(`vbaws_sessions_running{policy="first"}`, 1)
	eu.Finish(id, vbawstest.StatusFailed, time.Time{})
	eu.fail(abrupt, "PolicySnapshot")
	// Tried again, with success after the time in which it would have been raised.
	eu.fail(retried, "PolicyBackup")
	retry := eu.session(retried, "PolicyBackup")
	eu.Finish(eu.session(well, "PolicyBackup"), vbawstest.StatusSucceeded, time.Time{})
	// Of the twins, the first alone fails; so does the database's.
	eu.Finish(eu.session(twins[1], "PolicySnapshot"), vbawstest.StatusSucceeded, time.Time{})
	eu.fail(twins[0], "PolicyBackup")
	eu.fail(database, "PolicyRdsSnapshot")
	us.Finish(us.session(elsewhere, "PolicyBackup"), vbawstest.StatusSucceeded, time.Time{})

	for policy, extendedType := range map[string]string{"first": "PolicyBackup", "abrupt": "PolicySnapshot"} {
		got := c.await(t, "firing", failed(policy))
		want := map[string]string{
			"alertname": "VbawsPolicyFailed", "severity": "warning",
			"appliance": "eu", "policy": policy, "extended_type": extendedType,
		}
		if got.receiver != "ticket" || !maps.Equal(got.labels, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if d := got.annotations["description"]; !strings.Contains(d, "No successful session is known.") || strings.Contains(d, "error") && strings.Contains(d, "template") {
			t.Errorf("the description is %s", d)
		}
		if got.annotations["runbook_url"] != "docs/runbook.md#vbawspolicyfailed" {
			t.Errorf("the runbook is at %s", got.annotations["runbook_url"])
		}
	}
	for _, extendedType := range []string{"PolicyBackup", "PolicyRdsSnapshot"} {
		c.await(t, "firing", map[string]string{
			"alertname": "VbawsPolicyFailed", "appliance": "eu", "policy": "twin", "extended_type": extendedType,
		})
	}
	eu.Finish(retry, vbawstest.StatusSucceeded, time.Time{})
	c.prometheus.awaitQuery(`vbaws_session_last_status{policy="retried", status="Failed"}`, 0)

	// A success after the failure resolves the alert.
	eu.Finish(eu.session(first, "PolicyBackup"), vbawstest.StatusSucceeded, time.Time{})
	if got := c.await(t, "resolved", failed("first")); got.receiver != "ticket" {
		t.Errorf("got %v", got)
	}
	if got := c.events(failed("first")); len(got) != 2 {
		t.Errorf("of the first policy came %v", got)
	}
	if got := c.events(failed("abrupt")); len(got) != 1 {
		t.Errorf("of the abrupt policy came %v", got)
	}
	for _, innocent := range []map[string]string{
		{"policy": "retried"}, {"policy": "well"}, {"appliance": "us"}, {"policy": "twin", "extended_type": "PolicySnapshot"},
	} {
		if got := c.events(innocent); len(got) > 0 {
			t.Errorf("of %v came %v", innocent, got)
		}
	}
	if got := c.prometheus.query(`count_over_time(ALERTS{policy="retried", alertstate="firing"}[1h])`); len(got) > 0 {
		t.Errorf("was raised: %v", got)
	}
	// A login that is refused is one thing to be told of, and has nothing to do with
	// the other appliances.
	if got := c.await(t, "firing", map[string]string{"appliance": "locked"}); got.receiver != "pager" || got.labels["alertname"] != "VbawsApplianceLoginRefused" {
		t.Errorf("got %v", got)
	}
	if got := c.events(map[string]string{"appliance": "locked"}); len(got) != 1 {
		t.Errorf("of the refused login came %v", got)
	}
	// Alerting itself is watched.
	if got := c.await(t, "firing", map[string]string{"alertname": "VbawsWatchdog"}); got.receiver != "watchdog" {
		t.Errorf("got %v", got)
	}
	c.prometheus.checkRules()
}

// TestOverdue: policies that should have run and didn't, of an appliance that can
// be asked and of one that can't.
func TestOverdue(t *testing.T) {
	t.Parallel()
	const many = 20
	eu := newSite(t, "eu", vbawstest.Config{Seed: 1})
	gone := newSite(t, "gone", vbawstest.Config{Seed: 2})
	// Schedules are of whole minutes. There is time enough for the exporter to meet
	// the policies before they are due: what was due earlier doesn't count.
	due := time.Now().UTC().Truncate(time.Minute).Add(3 * time.Minute)
	everyDay := vbawstest.Weekdays(vbawstest.Retention{Count: 7},
		time.Sunday, time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday)
	scheduled := func(s *site, name string, w vbawstest.Workload, enabled bool) vbawstest.Policy {
		weekly := &vbawstest.WeeklySchedule{TimeLocal: vbawstest.At(due.Hour(), due.Minute())}
		if w == vbawstest.RDS {
			weekly.Snapshot = everyDay
		} else {
			weekly.Backup = everyDay
		}
		return s.PutPolicy(vbawstest.Policy{
			Name: name, Workload: w, Enabled: enabled,
			Schedule: &vbawstest.ScheduleSettings{WeeklyEnabled: true, Weekly: weekly},
		})
	}
	scheduled(eu, "late", vbawstest.EC2, true)
	// On schedule are another and a namesake of another workload. Sessions tell a policy
	// by its name alone, so that namesakes are told apart by the kinds that they make.
	punctual, database := scheduled(eu, "punctual", vbawstest.EC2, true), scheduled(eu, "late", vbawstest.RDS, true)
	scheduled(eu, "disabled", vbawstest.EC2, false)
	for i := range many {
		scheduled(gone, fmt.Sprintf("policy-%d", i), vbawstest.EC2, true)
	}
	scheduled(gone, "late", vbawstest.EC2, true)
	c := startChain(t, hold, eu, gone)
	c.prometheus.awaitQuery(`count(vbaws_policy_enabled{appliance="gone"} == 1)`, many+1)
	if !time.Now().Before(due) {
		t.Fatal("it took too long to start: the policies are due already")
	}

	// One notification says it all.
	gone.server.Close()
	unreachable := map[string]string{"alertname": "VbawsApplianceUnreachable", "appliance": "gone"}
	if got := c.await(t, "firing", unreachable); got.receiver != "pager" || !strings.Contains(got.annotations["description"], "unreachable") {
		t.Errorf("got %v, %v", got, got.annotations)
	}

	await(t, "the time at which they are due", func() (bool, any) { return !time.Now().Before(due), time.Now() })
	for _, p := range []vbawstest.Policy{punctual, database} {
		extendedType := map[vbawstest.Workload]string{vbawstest.EC2: "PolicyBackup", vbawstest.RDS: "PolicyRdsSnapshot"}[p.Workload]
		eu.Finish(eu.session(p, extendedType), vbawstest.StatusSucceeded, time.Time{})
	}
	late := map[string]string{
		"alertname": "VbawsPolicyOverdue", "severity": "critical",
		"appliance": "eu", "policy": "late", "workload": "ec2", "kind": "backup",
	}
	got := c.await(t, "firing", late)
	if got.receiver != "pager" || !maps.Equal(got.labels, late) {
		t.Errorf("got %v, want %v", got, late)
	}
	if want := due.Format("2006-01-02 15:04:00"); !strings.Contains(got.annotations["description"], want) {
		t.Errorf("doesn't say %s: %s", want, got.annotations["description"])
	}
	for _, innocent := range []map[string]string{{"policy": "punctual"}, {"policy": "disabled"}, {"workload": "rds"}} {
		if got := c.events(innocent); len(got) > 0 {
			t.Errorf("of %v came %v", innocent, got)
		}
	}
	if got := c.notifications(map[string]string{"appliance": "gone"}); len(got) != 1 {
		t.Errorf("of the appliance that is gone came %v", c.events(map[string]string{"appliance": "gone"}))
	}

	// It comes back, and its policies are overdue indeed, but for one that caught up.
	gone.serve(t, strings.TrimPrefix(gone.server.URL, "https://"))
	for _, p := range gone.Policies() {
		if p.Name != "policy-7" {
			gone.Finish(gone.session(p, "PolicyBackup"), vbawstest.StatusWarning, time.Time{})
		}
	}
	c.await(t, "resolved", unreachable)
	c.await(t, "firing", map[string]string{"alertname": "VbawsPolicyOverdue", "appliance": "gone", "policy": "policy-7"})
	if got := c.events(map[string]string{"alertname": "VbawsPolicyOverdue", "appliance": "gone"}); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	c.prometheus.checkRules()
}

// TestOverdueByTheHour: a daily schedule, whose hours are numbers since API version 1.2,
// of a policy that doesn't run. The appliance's clock is three minutes before the hour
// that was full last.
func TestOverdueByTheHour(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	due := now.Truncate(time.Hour) // by the appliance's clock
	offset := due.Add(-3 * time.Minute).Sub(now)
	s := newSite(t, "daily", vbawstest.Config{Seed: 1, Revisions: []string{"1.8-rev0"}, Offset: offset})
	s.PutPolicy(vbawstest.Policy{
		Name: "nightly", Workload: vbawstest.EC2, Enabled: true,
		Schedule: &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
			Kind: "Everyday", RunsPerHour: 1, Snapshot: vbawstest.Hours(vbawstest.Retention{Count: 7}, due.Hour()),
		}},
	})
	c := startChain(t, hold, s)
	c.prometheus.awaitQuery(`vbaws_policy_expected_interval_seconds{policy="nightly", kind="snapshot"}`, 86400)
	late := map[string]string{
		"alertname": "VbawsPolicyOverdue", "severity": "critical",
		"appliance": "daily", "policy": "nightly", "workload": "ec2", "kind": "snapshot",
	}
	got := c.await(t, "firing", late)
	if got.receiver != "pager" || !maps.Equal(got.labels, late) {
		t.Errorf("got %v, want %v", got, late)
	}
	if want := due.Format("2006-01-02 15:04:00"); !strings.Contains(got.annotations["description"], want) {
		t.Errorf("doesn't say %s: %s", want, got.annotations["description"])
	}
	c.prometheus.awaitQuery(`vbaws_policy_last_due_timestamp_seconds{policy="nightly", kind="snapshot"}`, float64(due.Unix()))
}
