package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// hold is a setting for exporters in a chain: several scrapes fall into the series hold,
// also on a busy machine.
const hold = "new_series_hold: 8s\n"

func failed(policy string) map[string]string {
	return map[string]string{"alertname": "VbawsPolicyFailing", "policy": policy}
}

// TestFailures: failed sessions of policies, and a refused login, reach the right
// receivers, and nothing else does.
func TestFailures(t *testing.T) {
	t.Parallel()
	eu := newSite(t, "eu", vbawstest.Config{Seed: 1})
	us := newSite(t, "us", vbawstest.Config{Seed: 2})
	locked := newSite(t, "locked", vbawstest.Config{Seed: 3})
	first, abrupt, retried := eu.policy("first", vbawstest.EC2), eu.policy("abrupt", vbawstest.EC2), eu.policy("retried", vbawstest.EC2)
	well := eu.policy("well", vbawstest.EC2)
	// Names need not be unique: two policies of one workload, one of another workload, and
	// one of another appliance have the same.
	twins := [2]vbawstest.Policy{eu.policy("twin", vbawstest.EC2), eu.policy("twin", vbawstest.EC2)}
	database, elsewhere := eu.policy("twin", vbawstest.RDS), us.policy("twin", vbawstest.EC2)
	c := startChain(t, hold, eu, us, locked)
	// Prometheus must see the step to the first refused login. Otherwise the appliance is
	// unreachable to the rules.
	c.prometheus.awaitQuery("vbaws_up", 1, 1, 1)
	locked.Reconfigure(func(c *vbawstest.Config) { c.Users = []vbawstest.User{{Name: "someone", Password: "else"}} })
	locked.RevokeTokens()

	// The first session of each policy fails. The exporter sees only one of them running.
	id := eu.session(first, "PolicyBackup")
	c.prometheus.awaitQuery(`vbaws_sessions_running{policy="first"}`, 1)
	eu.Finish(id, vbawstest.StatusFailed, time.Time{})
	eu.fail(abrupt, "PolicySnapshot")
	// The retry succeeds later than the alert would have fired.
	eu.Finish(eu.session(retried, "PolicyBackup"), vbawstest.StatusFailed, time.Time{})
	retry := eu.session(retried, "PolicyBackup")
	eu.Finish(eu.session(well, "PolicyBackup"), vbawstest.StatusSucceeded, time.Time{})
	// The first twin and the database's fail, the second twin does not.
	eu.Finish(eu.session(twins[1], "PolicySnapshot"), vbawstest.StatusSucceeded, time.Time{})
	eu.fail(twins[0], "PolicyBackup")
	eu.fail(database, "PolicyRdsSnapshot")
	us.Finish(us.session(elsewhere, "PolicyBackup"), vbawstest.StatusSucceeded, time.Time{})

	for policy, kind := range map[string]string{"first": "backup", "abrupt": "snapshot"} {
		got := c.await(t, "firing", failed(policy))
		want := map[string]string{
			"alertname": "VbawsPolicyFailing", "severity": "warning",
			"appliance": "eu", "policy": policy, "workload": "ec2", "kind": kind,
		}
		if got.receiver != "ticket" || !maps.Equal(got.labels, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if d := got.annotations["description"]; !strings.Contains(d, "ec2 "+kind+" session of policy "+policy+" failed") {
			t.Errorf("the description is %s", d)
		}
		if !strings.HasSuffix(got.annotations["runbook_url"], "docs/runbook.md#vbawspolicyfailing") {
			t.Errorf("the runbook is at %s", got.annotations["runbook_url"])
		}
	}
	for workload, kind := range map[string]string{"ec2": "backup", "rds": "snapshot"} {
		c.await(t, "firing", map[string]string{
			"alertname": "VbawsPolicyFailing", "appliance": "eu", "policy": "twin", "workload": workload, "kind": kind,
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
		t.Errorf("the first policy has notifications %v, want two", got)
	}
	if got := c.events(failed("abrupt")); len(got) != 1 {
		t.Errorf("the abrupt policy has notifications %v, want one", got)
	}
	for _, innocent := range []map[string]string{
		{"policy": "retried"}, {"policy": "well"}, {"appliance": "us"}, {"policy": "twin", "workload": "ec2", "kind": "snapshot"},
	} {
		if got := c.events(innocent); len(got) > 0 {
			t.Errorf("%v has notifications %v, want none", innocent, got)
		}
	}
	if got := c.prometheus.query(`count_over_time(ALERTS{policy="retried", alertstate="firing"}[1h])`); len(got) > 0 {
		t.Errorf("the alert on the retried policy fired: %v", got)
	}
	// A refused login is one notification, and does not affect the other appliances.
	if got := c.await(t, "firing", map[string]string{"appliance": "locked"}); got.receiver != "pager" || got.labels["alertname"] != "VbawsApplianceLoginRefused" {
		t.Errorf("got %v", got)
	}
	if got := c.events(map[string]string{"appliance": "locked"}); len(got) != 1 {
		t.Errorf("the refused login has notifications %v, want one", got)
	}
	// The watchdog arrives.
	if got := c.await(t, "firing", map[string]string{"alertname": "VbawsWatchdog"}); got.receiver != "watchdog" {
		t.Errorf("got %v", got)
	}
	c.prometheus.checkRules()
}

// nightly adds a policy that makes a snapshot and a backup every day at a time. A manual
// run three hours before the last of these times succeeded.
func (s *site) nightly(name string, due time.Time) vbawstest.Policy {
	everyDay := vbawstest.Weekdays(vbawstest.Retention{Count: 7},
		time.Sunday, time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday)
	p := s.PutPolicy(vbawstest.Policy{
		Name: name, Workload: vbawstest.EC2, Enabled: true,
		Schedule: &vbawstest.ScheduleSettings{WeeklyEnabled: true, Weekly: &vbawstest.WeeklySchedule{
			TimeLocal: vbawstest.At(due.Hour(), due.Minute()), Snapshot: everyDay, Backup: everyDay,
		}},
	})
	s.ran(p, "PolicySnapshot", due.Add(-3*time.Hour), vbawstest.StatusSucceeded)
	s.ran(p, "PolicyBackup", due.Add(-3*time.Hour), vbawstest.StatusSucceeded)
	return p
}

// ran adds a session of ten minutes.
func (s *site) ran(p vbawstest.Policy, extendedType string, start time.Time, status string) {
	s.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: extendedType, Name: p.Name, PolicyID: p.ID,
		Start: start, Stop: start.Add(10 * time.Minute), Status: status,
	})
}

// TestNotifications: a failed night causes at most two notifications. An overdue policy
// causes one, and so does a stuck one, or an appliance whose policies are all overdue. The
// exporter finds these problems at its initial sync.
func TestNotifications(t *testing.T) {
	t.Parallel()
	due := time.Now().UTC().Truncate(time.Minute).Add(-80 * time.Minute)
	eu := newSite(t, "eu", vbawstest.Config{Seed: 1})
	outage := newSite(t, "outage", vbawstest.Config{Seed: 2})
	for i := range 12 {
		outage.nightly(fmt.Sprintf("policy-%d", i), due)
	}
	bad := eu.nightly("bad", due)
	eu.ran(bad, "PolicySnapshot", due.Add(time.Minute), vbawstest.StatusFailed)
	eu.nightly("missed", due)
	punctual := eu.nightly("punctual", due)
	eu.ran(punctual, "PolicySnapshot", due.Add(time.Minute), vbawstest.StatusSucceeded)
	eu.ran(punctual, "PolicyBackup", due.Add(time.Minute), vbawstest.StatusWarning)
	stuck := eu.nightly("stuck", due)
	eu.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: "PolicyBackup", Name: stuck.Name, PolicyID: stuck.ID,
		Start: due.Add(-24 * time.Hour), Status: vbawstest.StatusRunning,
	})
	later := eu.policy("later", vbawstest.EC2)
	c := startChain(t, hold, eu, outage)

	got := c.await(t, "firing", map[string]string{"policy": "bad"})
	want := map[string]string{
		"alertname": "VbawsPolicyFailing", "severity": "warning",
		"appliance": "eu", "policy": "bad", "workload": "ec2", "kind": "snapshot",
	}
	if got.receiver != "ticket" || !maps.Equal(got.labels, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	// The backup fails after the first notification.
	eu.fail(bad, "PolicyBackup")
	c.await(t, "firing", map[string]string{"alertname": "VbawsPolicyFailing", "policy": "bad", "kind": "backup"})

	got = c.await(t, "firing", map[string]string{"policy": "missed"})
	if got.receiver != "ticket" || got.labels["alertname"] != "VbawsPolicyOverdue" || got.labels["severity"] != "warning" {
		t.Errorf("got %v", got)
	}
	if d := got.annotations["description"]; !strings.Contains(d, "had to run 1h ") {
		t.Errorf("the description is %s", d)
	}
	got = c.await(t, "firing", map[string]string{"policy": "stuck"})
	if got.receiver != "pager" || got.labels["alertname"] != "VbawsPolicyStuck" || !strings.Contains(got.annotations["summary"], "running for 1d 1h") {
		t.Errorf("got %v: %v", got, got.annotations)
	}
	got = c.await(t, "firing", map[string]string{"appliance": "outage"})
	if got.receiver != "pager" || got.labels["alertname"] != "VbawsManyPoliciesOverdue" || !strings.HasPrefix(got.annotations["summary"], "12 policies") {
		t.Errorf("got %v: %v", got, got.annotations)
	}

	// All alerts fire.
	c.prometheus.awaitQuery(`count(ALERTS{alertname="VbawsPolicyOverdue", alertstate="firing", appliance="outage"})`, 24)
	c.prometheus.awaitQuery(`count(ALERTS{alertname="VbawsPolicyOverdue", alertstate="firing", policy="bad"})`, 2)
	// An alert that fires later has arrived, so these have had the time to.
	eu.fail(later, "PolicyBackup")
	c.await(t, "firing", failed("later"))
	for labels, most := range map[[2]string]int{
		{"policy", "bad"}: 2, {"policy", "missed"}: 1, {"policy", "stuck"}: 1, {"policy", "punctual"}: 0, {"appliance", "outage"}: 1,
	} {
		if got := c.notifications(map[string]string{labels[0]: labels[1]}); len(got) > most {
			t.Errorf("%d notifications of %v, want at most %d: %v", len(got), labels, most, c.events(map[string]string{labels[0]: labels[1]}))
		}
	}
	for _, inhibited := range []map[string]string{
		{"alertname": "VbawsPolicyOverdue", "policy": "bad"}, {"alertname": "VbawsPolicyOverdue", "appliance": "outage"},
	} {
		if got := c.events(inhibited); len(got) > 0 {
			t.Errorf("got %v", got)
		}
	}

	// A success resolves both problems, and causes no other notification.
	eu.Finish(eu.session(bad, "PolicySnapshot"), vbawstest.StatusSucceeded, time.Time{})
	eu.Finish(eu.session(bad, "PolicyBackup"), vbawstest.StatusSucceeded, time.Time{})
	c.await(t, "resolved", map[string]string{"alertname": "VbawsPolicyFailing", "policy": "bad"})
	c.prometheus.awaitQuery(`ALERTS{policy="bad"}`)
	for _, e := range c.events(map[string]string{"alertname": "VbawsPolicyOverdue", "policy": "bad"}) {
		if e.status != "resolved" {
			t.Errorf("got %v", e)
		}
	}

	// An appliance that can't be polled causes one notification, and its alerts are not
	// resolved.
	outage.Close()
	unreachable := map[string]string{"alertname": "VbawsApplianceUnreachable", "appliance": "outage"}
	if got := c.await(t, "firing", unreachable); got.receiver != "pager" || got.labels["instance"] != c.exporter.Address || got.labels["job"] != "vbaws" {
		t.Errorf("got %v", got)
	}
	for _, e := range c.events(map[string]string{"appliance": "outage"}) {
		if e.status == "resolved" || e.receiver != "pager" {
			t.Errorf("got %v", e)
		}
	}
	c.prometheus.checkRules()
}

// TestOverdueByTheHour: a policy with a daily schedule, whose hours are numbers since API
// version 1.2, did not run. By the appliance's clock it was due two hours ago.
func TestOverdueByTheHour(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	due := now.Truncate(time.Hour) // by the appliance's clock
	s := newSite(t, "daily", vbawstest.Config{Seed: 1, Revisions: []string{"1.8-rev0"}, Offset: due.Add(2 * time.Hour).Sub(now)})
	p := s.PutPolicy(vbawstest.Policy{
		Name: "nightly", Workload: vbawstest.EC2, Enabled: true,
		Schedule: &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
			Kind: "Everyday", RunsPerHour: 1, Snapshot: vbawstest.Hours(vbawstest.Retention{Count: 7}, due.Hour()),
		}},
	})
	s.ran(p, "PolicySnapshot", due.Add(-3*time.Hour), vbawstest.StatusSucceeded)
	c := startChain(t, hold, s)
	c.prometheus.awaitQuery(`vbaws_policy_expected_interval_seconds{policy="nightly", kind="snapshot"}`, 86400)
	late := map[string]string{
		"alertname": "VbawsPolicyOverdue", "severity": "warning",
		"appliance": "daily", "policy": "nightly", "workload": "ec2", "kind": "snapshot",
	}
	got := c.await(t, "firing", late)
	if got.receiver != "ticket" || !maps.Equal(got.labels, late) {
		t.Errorf("got %v, want %v", got, late)
	}
	c.prometheus.awaitQuery(`vbaws_policy_problem_since_timestamp_seconds{policy="nightly", kind="snapshot", problem="overdue"}`, float64(due.Unix()))
	c.prometheus.awaitQuery(`vbaws_policy_overdue_runs{policy="nightly", kind="snapshot"}`, 1)
}
