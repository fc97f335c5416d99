package vbawstest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/vbaws/vbawstest"
)

// doc and array are parts of a decoded document.
type (
	doc   = map[string]any
	array = []any
)

// doc gets a document.
func (s subject) doc(t *testing.T, path string) doc {
	t.Helper()
	w := s.get(path)
	if w.Code != 200 {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	var d doc
	decode(t, w.Body.Bytes(), &d)
	return d
}

// names returns the names in a page of a list.
func names(page doc) []string {
	out := []string{}
	for _, r := range page["results"].(array) {
		out = append(out, r.(doc)["name"].(string))
	}
	return out
}

func TestPolicies(t *testing.T) {
	t.Run("listed and sorted", testPoliciesListedAndSorted)
	t.Run("RDS at 1.1", testPoliciesRDSAt11)
	t.Run("snapshots", testPoliciesSnapshots)
	t.Run("schedule of 1.8", testPoliciesScheduleOf18)
	t.Run("hours", testPoliciesHours)
	t.Run("VPC policy", testPoliciesVPCPolicy)
	t.Run("SLA-based policy", testPoliciesSLABasedPolicy)
	t.Run("form of isEnabled", testPoliciesFormOfIsEnabled)
	t.Run("restore points", testPoliciesRestorePoints)
}

func testPoliciesListedAndSorted(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	alpha := a.PutPolicy(vbawstest.Policy{Name: "Alpha", Enabled: true, Priority: 2})
	beta := a.PutPolicy(vbawstest.Policy{Name: "Beta", Priority: 1, RetryTimes: 3, Items: []vbawstest.Item{{ID: vbawstest.ID(77)}}})
	a.PutPolicy(vbawstest.Policy{Name: "Database", Workload: vbawstest.RDS})
	s := loggedIn(t, a, "1.8-rev0")
	a.Start(vbawstest.Session{Type: "Policy", PolicyID: alpha.ID})
	list := func(query string) doc { return s.doc(t, "/api/v1/virtualMachines/policies?"+query) }
	for query, want := range map[string][]string{
		"Sort=nameAsc":          {"Alpha", "Beta"},
		"Sort=nameDesc":         {"Beta", "Alpha"},
		"Sort=priorityAsc":      {"Beta", "Alpha"},
		"Sort=usnDesc":          {"Alpha", "Beta"}, // its session changed last
		"Sort=nameAsc&Limit=1":  {"Alpha"},
		"Sort=nameAsc&Offset=1": {"Beta"},
		"Offset=9":              {},
	} {
		page := list(query)
		if got := names(page); !slices.Equal(got, want) || page["totalCount"] != 2.0 {
			t.Errorf("%s: %q of %v, want %q of 2", query, got, page["totalCount"], want)
		}
	}
	one := s.doc(t, "/api/v1/virtualMachines/policies/"+beta.ID)
	for field, want := range map[string]any{
		"id": beta.ID, "name": "Beta", "isEnabled": false, "priority": 1.0, "backupType": "SelectedItems",
		"lastPolicySessionStatus": "NeverExecuted", "retrySettings": doc{"retryTimes": 3.0}, "scheduleSettings": nil,
	} {
		if diff := cmp.Diff(want, one[field]); diff != "" {
			t.Errorf("%s: %s", field, diff)
		}
	}
	a.RenamePolicy(alpha.ID, "Gamma")
	if got := names(list("Sort=nameAsc")); !slices.Equal(got, []string{"Beta", "Gamma"}) {
		t.Errorf("renamed: %q", got)
	}
	a.DeletePolicy(alpha.ID)
	if got := names(list("")); !slices.Equal(got, []string{"Beta"}) {
		t.Errorf("after a deletion: %q", got)
	}
}

func testPoliciesRDSAt11(t *testing.T) {
	a, _ := setup(vbawstest.Config{Revisions: published})
	a.PutPolicy(vbawstest.Policy{Name: "Servers"})
	database := a.PutPolicy(vbawstest.Policy{Name: "Databases", Workload: vbawstest.RDS})
	a.PutPolicy(vbawstest.Policy{Name: "Files", Workload: vbawstest.EFS})
	for version, want := range map[string]struct {
		names []string
		types array
	}{
		"1.0-rev0": {[]string{"Servers"}, array{nil}},
		"1.1-rev0": {[]string{"Databases", "Servers"}, array{"RDS", "EC2"}},
		"1.1-rev1": {[]string{"Databases", "Servers"}, array{"RDS", "EC2"}},
	} {
		s := loggedIn(t, a, version)
		page := s.doc(t, "/api/v1/policies?Sort=nameAsc")
		var types array
		for _, r := range page["results"].(array) {
			types = append(types, r.(doc)["type"])
		}
		if got := names(page); !slices.Equal(got, want.names) || !cmp.Equal(types, want.types) {
			t.Errorf("%s: %q of types %v", version, got, types)
		}
		if got, there := s.get("/api/v1/policies/"+database.ID).Code, len(want.names) == 2; got == 200 != there {
			t.Errorf("%s, by id: %d", version, got)
		}
	}
}

// daily is the daily schedule of a policy as an API version writes it.
func daily(t *testing.T, cfg vbawstest.Config, version, path string, p vbawstest.Policy) doc {
	t.Helper()
	cfg.Revisions = []string{version}
	a, _ := setup(cfg)
	p = a.PutPolicy(p)
	return loggedIn(t, a, version).doc(t, path+"/"+p.ID)["scheduleSettings"].(doc)["dailySchedule"].(doc)
}

func booleans(on ...int) array {
	out := array{}
	for h := range 24 {
		out = append(out, slices.Contains(on, h))
	}
	return out
}

func testPoliciesHours(t *testing.T) {
	keep := vbawstest.Retention{Count: 7}
	p := vbawstest.Policy{Schedule: &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
		Kind: "Everyday", RunsPerHour: 1, Snapshot: vbawstest.Hours(keep, 0, 6, 23), Backup: vbawstest.Hours(vbawstest.Retention{Type: "Days", Count: 14}),
		Replica: &vbawstest.HoursOption{Retention: keep}}}}
	options := func(retention doc, hours any) doc {
		return doc{"retention": retention, "schedule": doc{"hours": hours}}
	}
	for _, version := range published {
		path, some, none, null := "/api/v1/virtualMachines/policies", array{0.0, 6.0, 23.0}, array{}, any(nil)
		if version < "1.2" {
			path, some, none, null = "/api/v1/policies", booleans(0, 6, 23), booleans(), booleans()
		}
		want := doc{
			"kind": "Everyday", "runsPerHour": 1.0,
			"snapshotOptions": options(doc{"count": 7.0}, some),
			"backupOptions":   options(doc{"type": "Days", "count": 14.0}, none),
			"replicaOptions":  options(doc{"count": 7.0}, null),
		}
		if diff := cmp.Diff(want, daily(t, vbawstest.Config{}, version, path, p)); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
	}
}

func testPoliciesSnapshots(t *testing.T) {
	backup := vbawstest.Hours(vbawstest.Retention{Type: "Days", Count: 7}, 1, 2)
	written := doc{"retention": doc{"type": "Days", "count": 7.0}, "schedule": doc{"hours": array{1.0, 2.0}}}
	for workload, path := range map[vbawstest.Workload]string{
		vbawstest.EC2: "/api/v1/virtualMachines/policies", vbawstest.RDS: "/api/v1/rds/policies", vbawstest.EFS: "/api/v1/efs/policies",
		vbawstest.DynamoDB: "/api/v1/dynamoDb/policies", vbawstest.FSx: "/api/v1/fsx/policies",
		vbawstest.Redshift: "/api/v1/redshift/policies", vbawstest.RedshiftServerless: "/api/v1/redshiftServerless/policies",
	} {
		p := vbawstest.Policy{Workload: workload, Schedule: &vbawstest.ScheduleSettings{DailyEnabled: true,
			Daily: &vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 4, Backup: backup, Replica: backup}}}
		want := doc{"kind": "Everyday", "runsPerHour": 4.0, "backupOptions": written, "replicaOptions": written}
		if workload == vbawstest.EC2 || workload == vbawstest.RDS {
			want["snapshotOptions"] = doc{"retention": doc{"count": 0.0}, "schedule": doc{"hours": array{}}}
		}
		if diff := cmp.Diff(want, daily(t, vbawstest.Config{}, "1.9-rev0", path, p)); diff != "" {
			t.Errorf("%s: %s", workload, diff)
		}
		want["replicationOptions"] = written
		delete(want, "replicaOptions")
		if diff := cmp.Diff(want, daily(t, vbawstest.Config{ReplicationOptions: true}, "1.9-rev0", path, p)); diff != "" {
			t.Errorf("%s, by the other name: %s", workload, diff)
		}
	}
}

// testPoliciesScheduleOf18 has the schedule of an EC2 policy as
// lcp-llp/terraform-provider-veeambackup reads it at 1.8.
func testPoliciesScheduleOf18(t *testing.T) {
	points, keep := vbawstest.Retention{Count: 1}, vbawstest.Retention{Type: "Months", Count: 12}
	first := vbawstest.DayInMonth{Number: "First", DayOfWeek: "Sunday"}
	set := &vbawstest.ScheduleSettings{
		DailyEnabled:   true,
		Daily:          &vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 1, Snapshot: vbawstest.Hours(points, 0)},
		Weekly:         &vbawstest.WeeklySchedule{TimeLocal: vbawstest.At(22, 30), Backup: vbawstest.Weekdays(keep, time.Monday)},
		MonthlyEnabled: true,
		Monthly: &vbawstest.MonthlySchedule{TimeLocal: vbawstest.At(21, 0), DayInMonth: first, ToArchive: true,
			Snapshot: vbawstest.InMonths(points, time.January), Backup: vbawstest.InMonths(keep, time.January, time.July)},
		Yearly:             &vbawstest.YearlySchedule{TimeLocal: vbawstest.At(3, 0), DayInMonth: vbawstest.DayInMonth{Number: "OnDay", DayOfMonth: 1}, Month: "May", Retention: vbawstest.Retention{Type: "Years", Count: 7}},
		HealthCheckEnabled: true,
		HealthCheck:        &vbawstest.HealthCheckSchedule{Months: []string{"January"}, DayInMonth: vbawstest.DayInMonth{Number: "First", DayOfWeek: "Monday"}},
	}
	at := func(version string, cfg vbawstest.Config, set *vbawstest.ScheduleSettings) doc {
		cfg.Revisions = []string{version}
		a, _ := setup(cfg)
		p := a.PutPolicy(vbawstest.Policy{Schedule: set})
		return loggedIn(t, a, version).doc(t, "/api/v1/virtualMachines/policies/"+p.ID)["scheduleSettings"].(doc)
	}
	months := func(retention doc, months ...any) doc {
		return doc{"retention": retention, "schedule": doc{"months": months}}
	}
	want := doc{
		"dailyScheduleEnabled": true, "weeklyScheduleEnabled": false, "monthlyScheduleEnabled": true, "yearlyScheduleEnabled": false,
		"dailySchedule": doc{"kind": "Everyday", "runsPerHour": 1.0, "days": nil, "backupOptions": nil, "replicaOptions": nil,
			"snapshotOptions": doc{"retention": doc{"count": 1.0}, "schedule": doc{"hours": array{0.0}}}},
		"weeklySchedule": doc{"timeLocal": "2000-01-01T22:30:00", "replicaOptions": nil,
			"snapshotOptions": doc{"retention": doc{"count": 0.0}, "schedule": doc{"days": array{}}},
			"backupOptions":   doc{"retention": doc{"type": "Months", "count": 12.0}, "schedule": doc{"days": array{"Monday"}}}},
		"monthlySchedule": doc{"timeLocal": "2000-01-01T21:00:00", "dayNumberInMonth": "First", "dayOfWeek": "Sunday", "dayOfMonth": nil,
			"snapshotOptions": months(doc{"count": 1.0}, "January"), "replicaOptions": nil,
			"backupOptions": months(doc{"type": "Months", "count": 12.0}, "January", "July"), "sendBackupsToArchive": true},
		"yearlySchedule": doc{"timeLocal": "2000-01-01T03:00:00", "dayNumberInMonth": "OnDay", "dayOfWeek": nil, "dayOfMonth": 1.0,
			"month": "May", "retention": doc{"type": "Years", "count": 7.0}, "sendBackupsToArchive": true},
		"healthCheckScheduleEnabled": true,
		"healthCheckSchedule":        doc{"months": array{"January"}, "dayNumberInMonth": "First", "dayOfWeek": array{"Monday"}, "dayOfMonth": nil},
	}
	if diff := cmp.Diff(want, at("1.8-rev0", vbawstest.Config{WriteNulls: true}, set)); diff != "" {
		t.Error(diff)
	}

	// Without nulls nothing is null, and what 1.8 added is not there before.
	got := at("1.7-rev0", vbawstest.Config{}, set)
	if monthly := got["monthlySchedule"].(doc); monthly["sendBackupsToArchive"] != nil || monthly["backupOptions"] == nil {
		t.Errorf("monthly at 1.7: %v", monthly)
	}
	if _, there := got["healthCheckScheduleEnabled"]; there {
		t.Errorf("a health check at 1.7: %v", got)
	}
	if _, there := got["dailySchedule"].(doc)["days"]; there {
		t.Errorf("days at 1.7: %v", got)
	}
	empty := at("1.8-rev0", vbawstest.Config{WriteNulls: true}, &vbawstest.ScheduleSettings{})
	for _, part := range []string{"daily", "weekly", "monthly", "yearly", "healthCheck"} {
		if v, there := empty[part+"Schedule"]; !there || v != nil || empty[part+"ScheduleEnabled"] != false {
			t.Errorf("%sSchedule of a policy without it: %v, %v", part, v, there)
		}
	}
}

func testPoliciesVPCPolicy(t *testing.T) {
	for _, version := range []string{"1.1-rev0", "1.2-rev0", "1.9-rev0"} {
		a, _ := setup(vbawstest.Config{Revisions: published})
		p := a.PutPolicy(vbawstest.Policy{Name: "x", Workload: vbawstest.VPC, Enabled: true, Every: vbawstest.Interval{Type: "Minutes", Count: 90}})
		s := loggedIn(t, a, version)
		got := s.doc(t, "/api/v1/vpc/policy")
		regions := got["sourceOptions"].(doc)["selectedLocations"].(array)[0].(doc)["regions"].(array)
		want := doc{
			"backupOptionsEnabled": true,
			"sourceOptions": doc{"selectedLocations": array{doc{"regions": array{
				doc{"id": regions[0].(doc)["id"], "displayName": "EU (Frankfurt)"}}}}},
			"scheduleOptions": doc{"dailySchedule": doc{
				"retention": doc{"type": "Days", "count": 30.0}, "schedule": doc{"type": "Minutes", "count": 90.0}}},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
		a.Reconfigure(func(c *vbawstest.Config) { c.NamedVPC = true })
		want["id"], want["name"], want["isEnabled"] = p.ID, "x", true
		if diff := cmp.Diff(want, s.doc(t, "/api/v1/vpc/policy")); diff != "" {
			t.Errorf("%s, named: %s", version, diff)
		}
	}
}

func testPoliciesSLABasedPolicy(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	p := a.PutPolicy(vbawstest.Policy{Name: "Gold", Workload: vbawstest.EC2SLA, Enabled: true, Priority: 1, Schedule: hourly()})
	s := loggedIn(t, a, "1.8-rev0")
	got := s.doc(t, "/api/v1/policy/ec2SlaBasedPolicies?Limit=-1")
	template := got["results"].(array)[0].(doc)["slaTemplateId"]
	row := doc{"id": p.ID, "name": "Gold", "priority": 1.0, "slaTemplateId": template}
	if diff := cmp.Diff(doc{"offset": 0.0, "limit": -1.0, "totalCount": 1.0, "results": array{row}}, got); diff != "" || template == "" {
		t.Errorf("template %v: %s", template, diff)
	}
	if diff := cmp.Diff(row, s.doc(t, "/api/v1/policy/ec2SlaBasedPolicies/"+p.ID)); diff != "" {
		t.Error(diff)
	}
}

func testPoliciesFormOfIsEnabled(t *testing.T) {
	for form, want := range map[vbawstest.IsEnabled]string{
		vbawstest.IsEnabledTrue: `"isEnabled":true`, vbawstest.IsEnabledNull: `"isEnabled":null`, vbawstest.IsEnabledAbsent: "",
	} {
		a, _ := setup(vbawstest.Config{IsEnabled: form})
		on := a.PutPolicy(vbawstest.Policy{Enabled: true})
		off := a.PutPolicy(vbawstest.Policy{})
		s := loggedIn(t, a, "1.8-rev0")
		body := s.get("/api/v1/virtualMachines/policies/" + on.ID).Body.String()
		if !strings.Contains(body, want) || strings.Contains(body, "isEnabled") != (want != "") {
			t.Errorf("form %d, enabled: %s", form, body)
		}
		if body := s.get("/api/v1/virtualMachines/policies/" + off.ID).Body.String(); !strings.Contains(body, `"isEnabled":false`) {
			t.Errorf("form %d, disabled: %s", form, body)
		}
	}
}

func testPoliciesRestorePoints(t *testing.T) {
	a, _ := setup(vbawstest.Config{Revisions: published})
	web, db := vbawstest.Item{ID: vbawstest.ID(70), Status: "Succeeded"}, vbawstest.Item{ID: vbawstest.ID(71), Status: "Warning"}
	failed := vbawstest.Item{ID: vbawstest.ID(70), Status: "Failed"}
	for i, made := range []struct {
		word  string
		items []vbawstest.Item
	}{
		{"PolicyBackup", []vbawstest.Item{web, db}},
		{"PolicySnapshot", []vbawstest.Item{failed, db}},
		{"PolicyRemoteSnapshot", []vbawstest.Item{web}},
		{"PolicyRdsSnapshot", []vbawstest.Item{web}},
	} {
		a.Put(vbawstest.Session{ID: vbawstest.ID(i), Type: "Policy", ExtendedType: made.word, Status: "Succeeded",
			PolicyID: vbawstest.ID(90), Start: epoch.Add(time.Duration(i) * time.Hour)})
		a.SetItems(vbawstest.ID(i), made.items...)
	}
	list := func(version, path, query string) (out []string) {
		page := loggedIn(t, a, version).doc(t, path+"?"+query)
		for _, r := range page["results"].(array) {
			out = append(out, r.(doc)["jobType"].(string)+" "+r.(doc)["pointInTime"].(string)[11:16])
		}
		return out
	}
	for _, v := range [][2]string{{"1.0-rev0", "/api/v1/vmRestorePoints"}, {"1.9-rev0", "/api/v1/virtualMachines/restorePoints"}} {
		for query, want := range map[string][]string{
			"":                                     {"Backup 22:00", "Backup 22:00", "Snapshot 23:00", "Replica 00:00"},
			"Offset=2&Limit=1":                     {"Snapshot 23:00"},
			"VirtualMachineId=" + vbawstest.ID(70): {"Backup 22:00", "Replica 00:00"},
			"VirtualMachineId=" + vbawstest.ID(72): nil,
		} {
			if got := list(v[0], v[1], query); !slices.Equal(got, want) {
				t.Errorf("%s %s: %q, want %q", v[0], query, got, want)
			}
		}
	}
	if got := list("1.2-rev0", "/api/v1/virtualMachines/restorePoints", "OnlyLatest=true"); !slices.Equal(got, []string{"Snapshot 23:00", "Replica 00:00"}) {
		t.Errorf("the latest: %q", got)
	}
	if got := list("1.1-rev0", "/api/v1/vmRestorePoints", "Sort=pointInTimeDesc&Limit=2"); !slices.Equal(got, []string{"Replica 00:00", "Snapshot 23:00"}) {
		t.Errorf("sorted: %q", got)
	}
	a.Delete(vbawstest.ID(0))
	if got := list("1.2-rev0", "/api/v1/virtualMachines/restorePoints", "Limit=1"); !slices.Equal(got, []string{"Snapshot 23:00"}) {
		t.Errorf("after a deletion: %q", got)
	}
}
