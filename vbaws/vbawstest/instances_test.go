package vbawstest_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/vbaws/vbawstest"
)

func TestInstances(t *testing.T) {
	t.Run("by version", testInstancesByVersion)
	t.Run("left out", testInstancesLeftOut)
	t.Run("other ids", testInstancesOtherIDs)
}

// testInstancesByVersion checks the documented and observed forms of a row and the filter.
func testInstancesByVersion(t *testing.T) {
	a, _ := setup(vbawstest.Config{Revisions: published, Instances: []vbawstest.Instance{
		{ID: vbawstest.ID(3), Name: "alone", AWSID: "i-1", Region: "eu-west-1"},
		{ID: vbawstest.ID(4), Name: "gone", AWSID: "i-2", Deleted: true},
	}})
	a.PutPolicy(vbawstest.Policy{Name: "p", Items: []vbawstest.Item{{ID: vbawstest.ID(2), Name: "web", Region: "eu-central-1"}}})
	a.PutPolicy(vbawstest.Policy{Name: "db", Workload: vbawstest.RDS, Items: []vbawstest.Item{{ID: vbawstest.ID(5), Name: "no instance"}}})
	for version, want := range map[string]struct {
		members           []string
		filter, otherwise string
	}{
		"1.0-rev0": {[]string{"_links", "awsResourceId", "id", "isDeleted", "location", "name", "protectionStatus"}, "ProtectionStatus", "ProtectedByPolicy"},
		"1.2-rev0": {[]string{"_links", "awsResourceId", "backupState", "id", "instanceSizeGigabytes", "instanceType", "isDeleted", "location", "name", "region"}, "ProtectedByPolicy", "ProtectionStatus"},
		"1.8-rev0": {[]string{"_links", "awsResourceId", "backupState", "id", "instanceSizeGigabytes", "instanceType", "isDeleted", "location", "name", "policiesCount", "region"}, "ProtectedByPolicy", "ProtectionStatus"},
	} {
		s := loggedIn(t, a, version)
		names := func(query string) (names []string) {
			for _, r := range s.doc(t, "/api/v1/virtualMachines?"+query)["results"].(array) {
				names = append(names, r.(doc)["name"].(string))
			}
			return names
		}
		row := s.doc(t, "/api/v1/virtualMachines")["results"].(array)[0].(doc)
		if got := slices.Sorted(maps.Keys(row)); !slices.Equal(got, want.members) {
			t.Errorf("%s: a row has %q", version, got)
		}
		for query, want := range map[string][]string{
			"":                             {"web", "alone", "gone"},
			"Limit=1&Offset=1":             {"alone"},
			want.filter + "=Protected":     {"web"},
			want.filter + "=Unprotected":   {"alone", "gone"},
			want.otherwise + "=Protected":  {"web", "alone", "gone"}, // a parameter that it doesn't know
			want.filter + "=Protected&x=1": {"web"},
		} {
			if got := names(query); !slices.Equal(got, want) {
				t.Errorf("%s %s: %q, want %q", version, query, got, want)
			}
		}
		checkProblem(t, s.get("/api/v1/virtualMachines?"+want.filter+"=Yes"), 400, "UnexpectedContent", "validationError")
	}
}

// testInstancesLeftOut: the sessions of the policy end with Warning, and the last backup of
// the omitted instance doesn't change.
func testInstancesLeftOut(t *testing.T) {
	a, clock := setup(vbawstest.Config{Revisions: published})
	web, db := vbawstest.ID(1), vbawstest.ID(2)
	spec := vbawstest.PolicySpec{Policy: vbawstest.Policy{
		ID: vbawstest.ID(9), Name: "nightly", Enabled: true,
		Items: []vbawstest.Item{{ID: web, Name: "web"}, {ID: db, Name: "db"}},
		Schedule: &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
			Kind: "Everyday", RunsPerHour: 1, Backup: vbawstest.Hours(vbawstest.Retention{}, 1)}},
	}, LeftOut: db, LeftOutFrom: epoch.Add(36 * time.Hour)}
	fleet := vbawstest.NewFleet(a, vbawstest.FleetConfig{Policies: []vbawstest.PolicySpec{spec}, PoliciesOnly: true})
	clock.Advance(9 * 24 * time.Hour)
	fleet.Advance(clock.Now())

	at := func(day int) time.Time { return time.Date(2026, time.March, day, 1, 0, 0, 0, time.UTC) }
	if diff := cmp.Diff(map[string]time.Time{web: at(10), db: at(3)}, a.Backups()); diff != "" {
		t.Fatal(diff)
	}
	for _, version := range []string{"1.0-rev0", "1.8-rev0"} {
		s := loggedIn(t, a, version)
		for i, row := range s.doc(t, "/api/v1/licensing/licensedWorkloads")["results"].(array) {
			got := fmt.Sprintf("%s %s %.10s", row.(doc)["id"], row.(doc)["name"], row.(doc)["lastBackupTime"])
			if want := []string{web + " web 2026-03-10", db + " db 2026-03-03"}[i]; got != want {
				t.Errorf("%s: licensed %q, want %q", version, got, want)
			}
		}
	}
	statuses := make(map[string]int)
	for _, h := range a.History() {
		if s := h.States[len(h.States)-1].Session; s.Type == "Policy" {
			statuses[s.Status]++
		}
	}
	if statuses[vbawstest.StatusSucceeded] != 2 || statuses[vbawstest.StatusWarning] != 7 {
		t.Errorf("sessions by status: %v", statuses)
	}
}

func testInstancesOtherIDs(t *testing.T) {
	a, _ := setup(vbawstest.Config{LicenseIDs: vbawstest.LicenseIDsOther})
	a.Put(vbawstest.Session{ID: vbawstest.ID(1), Type: "Policy", ExtendedType: "PolicyBackup", Status: "Succeeded", Start: epoch})
	a.SetItems(vbawstest.ID(1), vbawstest.Item{ID: vbawstest.ID(2), Name: "web", Status: "Succeeded"})
	row := loggedIn(t, a, "1.8-rev0").doc(t, "/api/v1/licensing/licensedWorkloads")["results"].(array)[0].(doc)
	if row["name"] != "web" || row["id"] == vbawstest.ID(2) {
		t.Errorf("%v", row)
	}
}
