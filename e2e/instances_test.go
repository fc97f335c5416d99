package e2e

import (
	"maps"
	"strings"
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// TestInstanceLeftOut: a policy leaves one machine out for a week, and its sessions end
// with Warning. The policy has no problem. The alert counts the machine, and the board
// and the page show its name.
func TestInstanceLeftOut(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	now := time.Now().UTC()
	eu := newSite(t, "eu", vbawstest.Config{
		Seed:         4,
		Instances:    []vbawstest.Instance{{ID: vbawstest.ID(9), Name: "build-agent", Region: "eu-west-1"}},
		Repositories: []vbawstest.Repository{{ID: vbawstest.ID(20), Name: "plain", Bucket: "b"}, {ID: vbawstest.ID(21), Name: "sealed", Encrypted: true}},
	})
	eu.Settings = "    instances: true\n"
	item := func(n int, name string) vbawstest.Item {
		return vbawstest.Item{ID: vbawstest.ID(n), Name: name, Region: "eu-central-1"}
	}
	daily := &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
		Kind: "Everyday", RunsPerHour: 1, Backup: vbawstest.Hours(vbawstest.Retention{Count: 30}, now.Add(-6*time.Hour).Hour())}}
	vbawstest.NewFleet(eu.Appliance, vbawstest.FleetConfig{
		PoliciesOnly: true, Start: now,
		Policies: []vbawstest.PolicySpec{{
			Policy:  vbawstest.Policy{Name: "web", Enabled: true, Schedule: daily, Items: []vbawstest.Item{item(1, "web-01"), item(2, "web-02"), item(3, "web-03")}},
			LeftOut: vbawstest.ID(2), LeftOutFrom: now.Add(-7 * day),
		}},
	}).Backfill(now.Add(-10 * day))
	left := eu.Backups()[vbawstest.ID(2)]
	if age := now.Sub(left); age < 7*day {
		t.Fatalf("the newest backup of the machine that is left out is %s old, want 7 days", age)
	}
	c := startChain(t, hold, eu)

	got := c.await(t, "firing", map[string]string{"alertname": "VbawsInstancesWithoutBackup"})
	want := map[string]string{"alertname": "VbawsInstancesWithoutBackup", "severity": "warning", "appliance": "eu"}
	if got.receiver != "ticket" || !maps.Equal(got.labels, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if s := got.annotations["summary"]; s != "Protected instances without a recent backup on appliance eu: 1" {
		t.Errorf("the summary is %s", s)
	}
	if got := c.events(map[string]string{"policy": "web"}); len(got) > 0 {
		t.Errorf("the policy has notifications %v, want none", got)
	}
	c.prometheus.awaitQuery(`vbaws_session_last_status{policy="web", type="Policy", status="Warning"}`, 1)

	// The runbook's query, the board and the page have the name.
	names := c.prometheus.query(`sort_desc(time() - max by (instance_name, instance_id) (vbaws_instance_last_backup_timestamp_seconds{appliance="eu"}) > 48 * 3600)`)
	if len(names) != 1 || names[0].Metric["instance_name"] != "web-02" {
		t.Errorf("the runbook's query has %v", names)
	}
	a := &asker{board: loadBoard(t, "vbaws-instances"), p: c.prometheus, from: now.Add(-time.Hour), at: time.Now(),
		variables: map[string]string{"cluster": ".*", "job": ".+", "appliance": ".+"}}
	rows := a.rows("Newest backups, the oldest first", "A", "instance_name")
	if len(rows) != 3 || rows["web-02"] < (7*day).Seconds() || rows["web-01"] > day.Seconds() || rows["web-03"] > day.Seconds() {
		t.Errorf("the board has %v", rows)
	}
	expect(t, "unprotected instances", a.rows("Not protected by a policy", "A", "instance_name", "region"), map[string]float64{"build-agent eu-west-1": 1})
	expect(t, "repositories", a.rows("Encryption of repositories", "A", "repository", "encryption"), map[string]float64{"plain false": 1, "sealed true": 1})
	expect(t, "protected ones", a.number("Protected"), 3)
	expect(t, "unprotected ones", a.number("Not protected"), 1)
	expect(t, "ones without any backup", a.number("Without any backup"), 0)

	_, page := c.exporter.Get("/")
	first, second := strings.Index(page, ">web-02<"), strings.Index(page, ">web-01<")
	if first < 0 || second < first || !strings.Contains(page, ">build-agent<") {
		t.Errorf("the page has web-02 at %d and web-01 at %d", first, second)
	}
	c.prometheus.checkRules()
}
