package collector_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/docstest"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// seenBy returns the metrics that an account of a role gets by an API version, from an
// appliance that has one of everything.
func seenBy(t *testing.T, role, revision string) map[string]bool {
	t.Helper()
	clock := vbawstest.NewClock(time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC))
	a := vbawstest.New(vbawstest.Config{
		Now: clock.Now, Revisions: []string{revision},
		Users:        []vbawstest.User{{Name: "u", Password: "p", Role: role}},
		License:      &vbawstest.License{Type: "Subscription", Instances: 3, Used: 1, Expires: clock.Now().AddDate(1, 0, 0)},
		Repositories: []vbawstest.Repository{{ID: vbawstest.ID(1), Name: "main"}},
	})
	days := vbawstest.Retention{Type: "Days", Count: 7}
	vm := vbawstest.Item{ID: vbawstest.ID(2), Name: "vm", Status: "Succeeded"}
	pol := a.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true, Items: []vbawstest.Item{vm}, Schedule: &vbawstest.ScheduleSettings{
		DailyEnabled: true,
		Daily: &vbawstest.DailySchedule{
			Kind: "Everyday", RunsPerHour: 1, Snapshot: vbawstest.EveryHour(days), Backup: vbawstest.EveryHour(days),
		},
	}})
	server := vbawstest.NewServer(a)
	defer server.Close()
	p := polltest.Start(t, polltest.Options{
		URL: server.URL, Transport: server.Transport(), Username: "u", Password: "p",
		Poller: poller.Config{MaxInstances: 10, Now: clock.Now},
	})
	for range 5 { // as many successes as a typical duration takes
		now := a.Now()
		for _, s := range []vbawstest.Session{
			{Status: "Succeeded", Start: now.Add(-time.Minute), Stop: now},
			{Status: "Running", Start: now},
		} {
			s.Type, s.ExtendedType, s.Name, s.PolicyID = "Policy", "PolicyBackup", pol.Name, pol.ID
			a.SetItems(a.Put(s).ID, vm)
		}
		if err := p.Poll(context.Background()); err != nil {
			t.Fatal(err)
		}
		clock.Advance(time.Hour)
	}
	seen := make(map[string]bool)
	for _, f := range p.Families(t) {
		if !strings.HasPrefix(f.GetName(), "vbaws_exporter_") {
			seen[f.GetName()] = true
		}
		if f.GetName() == "vbaws_appliance_info" {
			for _, l := range f.Metric[0].Label {
				if l.GetName() == "version" && l.GetValue() != "" {
					seen["version of vbaws_appliance_info"] = true
				}
			}
		}
	}
	return seen
}

func TestRoles(t *testing.T) {
	t.Run("documentation", testRolesDocumentation)
	t.Run("API versions", testRolesAPIVersions)
}

// testRolesDocumentation compares the table of roles with what accounts of
// these roles see of a simulated appliance, by every API version.
func testRolesDocumentation(t *testing.T) {
	roles := []string{"any", vbawstest.RoleOperator, vbawstest.RoleAdministrator} // each sees what those before it see
	least := make(map[string]string)
	for _, role := range roles {
		for _, revision := range vbaws.KnownAPIVersions() {
			for name := range seenBy(t, role, revision) {
				if _, ok := least[name]; !ok {
					least[name] = role
				}
			}
		}
	}
	for _, m := range collector.Metrics() {
		if _, ok := least[m.Name]; !ok && !strings.HasPrefix(m.Name, "vbaws_exporter_") {
			t.Errorf("no account sees %s", m.Name)
		}
	}
	want := make(map[string]string)
	for _, row := range docstest.Rows(t, "metrics.md", "what", "role") {
		for name := range strings.SplitSeq(row[0], ", ") {
			want[strings.ReplaceAll(name, "`", "")] = row[1]
		}
	}
	for name := range maps.Clone(least) {
		if least[name] == "any" {
			delete(least, name)
		}
	}
	if diff := cmp.Diff(want, least); diff != "" {
		t.Errorf("-docs +seen:\n%s", diff)
	}
}

// testRolesAPIVersions: what an administrator sees doesn't depend on the
// API version, though the labels extended_type and kind do.
func testRolesAPIVersions(t *testing.T) {
	newest := vbaws.KnownAPIVersions()[0]
	want := seenBy(t, vbawstest.RoleAdministrator, newest)
	for _, revision := range vbaws.KnownAPIVersions() {
		if got := seenBy(t, vbawstest.RoleAdministrator, revision); !maps.Equal(got, want) {
			t.Errorf("%s: %s", revision, fmt.Sprint(slices.Sorted(maps.Keys(got))))
		}
	}
}
