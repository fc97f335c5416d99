package vbaws

import (
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestPolicies(t *testing.T) {
	t.Run("rows", testPoliciesRows)
	t.Run("VPC", testPoliciesVPC)
	t.Run("schedule by workload", testPoliciesScheduleByWorkload)
	t.Run("workloads by version", testPoliciesWorkloadsByVersion)
	t.Run("payloads", testPoliciesPayloads)
}

// A policy is omitted only if it can't be identified: a policy that is not listed counts as
// deleted.
func testPoliciesRows(t *testing.T) {
	for _, test := range []struct {
		row  string
		want *Policy
		odd  string
	}{
		{`{"id":"1","name":"gold","isEnabled":true,"usn":7,"scheduleSettings":null}`, &Policy{ID: "1", Name: "gold", Enabled: true, USN: 7}, ""},
		{`{"id":"1","name":"gold","isEnabled":false,"usn":null}`, &Policy{ID: "1", Name: "gold"}, ""},
		{`{"id":"1","name":"gold","isEnabled":null}`, &Policy{ID: "1", Name: "gold", Enabled: true}, ""},
		{`{"id":"1","name":"gold"}`, &Policy{ID: "1", Name: "gold", Enabled: true}, ""},
		{`{"isEnabled":"yes","id":"1","name":"gold","usn":7}`, &Policy{ID: "1", Name: "gold", Enabled: true, USN: 7}, `policy "gold": isEnabled: "yes" is not true or false`},
		{`{"id":"1","name":"gold","usn":"7","isEnabled":false}`, &Policy{ID: "1", Name: "gold"}, ""},
		{`{"id":"1"}`, nil, "a policy has no id or no name"},
		{`{"name":"gold"}`, nil, "a policy has no id or no name"},
		{`{"id":1,"name":"gold"}`, nil, "id: 1 is not a string"},
		{`7`, nil, "7 is not an object"},
	} {
		got, err := decodePolicies(textBody(`{"totalCount":2,"results":[`+test.row+`,{"id":"2","name":"silver"}]}`), Workload{Name: "ec2"})
		if err != nil {
			t.Fatal(test.row, err)
		}
		want := &PoliciesPage{TotalCount: 2, Rows: 2, Err: got.Err}
		if test.want != nil {
			want.Items = append(want.Items, *test.want)
		}
		want.Items = append(want.Items, Policy{ID: "2", Name: "silver", Enabled: true})
		if diff := cmp.Diff(want, got, cmpopts.EquateErrors()); diff != "" {
			t.Errorf("%s: %s", test.row, diff)
		}
		if got.Err == nil && test.odd != "" || got.Err != nil && got.Err.Error() != test.odd {
			t.Errorf("%s: %v", test.row, got.Err)
		}
	}
}

func testPoliciesVPC(t *testing.T) {
	vpc := Workload{Name: "vpc", Path: "/api/v1/vpc/policy", Single: true}
	hourly := &Schedule{Every: time.Hour}
	interval := func(of string) string { return `{"scheduleOptions":{"dailySchedule":{"schedule":` + of + `}}}` }
	for _, test := range []struct {
		document string
		want     *Policy
	}{
		{`{"backupOptionsEnabled":false,"scheduleOptions":null}`, &Policy{Name: VPCPolicyName}},
		{`{"backupOptionsEnabled":false,"isEnabled":true}`, &Policy{Name: VPCPolicyName, Enabled: true}},
		{`{"backupOptionsEnabled":null,"isEnabled":null,"id":null,"name":"","scheduleOptions":{"dailySchedule":{"schedule":{"type":"Hours","count":1}}}}`,
			&Policy{Name: VPCPolicyName, Enabled: true, Schedule: hourly}},
		{interval(`{"type":"Minutes","count":90}`), &Policy{Name: VPCPolicyName, Enabled: true, Schedule: &Schedule{Every: 90 * time.Minute}}},
		{interval(`{"type":"Days","count":366}`), &Policy{Name: VPCPolicyName, Enabled: true, Schedule: &Schedule{Every: 366 * 24 * time.Hour}}},
		// With the members of the policies of other workloads.
		{`{"id":"1","name":"vpc","isEnabled":false,"usn":4}`, &Policy{ID: "1", Name: "vpc", USN: 4}},
		{`{"id":"1","name":"vpc","scheduleSettings":{` + allOff + `}}`, &Policy{ID: "1", Name: "vpc", Enabled: true, Schedule: &Schedule{}}},
		// Nothing is configured.
		{`{}`, nil},
		{`{"_links":[]}`, nil},
	} {
		a := newAppliance()
		a.routes[vpc.Path] = answer(200, "", test.document)
		got, err := client(t, start(t, a)).Policies(t.Context(), vpc, 0, 5)
		if err != nil {
			t.Fatal(test.document, err)
		}
		want := &PoliciesPage{}
		if test.want != nil {
			want = &PoliciesPage{TotalCount: 1, Rows: 1, Items: []Policy{*test.want}}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", test.document, diff)
		}
	}
	for of, reason := range map[string]string{
		`{"type":"Weeks","count":1}`:               `type: "Weeks" is not known`,
		`{"type":"Hours"}`:                         "count: nothing is not a number from 1 to 8784",
		`{"type":"Hours","count":0}`:               "count: 0 is not",
		`{"type":"Minutes","count":9999999999999}`: "count: 9999999999999 is not",
		`null`: `type: "" is not known`,
		`[]`:   "/dailySchedule/schedule: not of the documented form",
	} {
		p, err := decodePolicy(vpc, []byte(interval(of)))
		if err != nil || p == nil {
			t.Errorf("%s: %+v, %v", of, p, err)
		} else if s := p.Schedule; s == nil || s.Every != 0 || !strings.Contains(s.Unreadable, "scheduleOptions: ") || !strings.Contains(s.Unreadable, reason) {
			t.Errorf("%s: %+v", of, s)
		}
	}
}

// The meaning of runsPerHour depends on the workload, and SLA-based policies have no
// schedule.
func testPoliciesScheduleByWorkload(t *testing.T) {
	row := `{"id":"1","name":"n","scheduleSettings":{"dailyScheduleEnabled":true,"dailySchedule":{"kind":"Everyday","runsPerHour":4}}}`
	for _, r := range routes {
		p, err := decodePolicy(r.Workload, []byte(row))
		if err != nil {
			t.Fatal(err)
		}
		s := p.Schedule
		if r.Name == "ec2_sla" {
			if s != nil {
				t.Errorf("an SLA-based policy has %+v", s)
			}
			continue
		}
		if want := !slices.Contains([]string{"ec2", "rds", "vpc"}, r.Name); s == nil || s.Daily == nil || s.Daily.RunsMakeBackups != want {
			t.Errorf("%s: the runs of %+v make backups: want %t", r.Name, s.Daily, want)
		}
	}
}

func testPoliciesWorkloadsByVersion(t *testing.T) {
	first := map[string]int{
		"vpc": 1, "rds": 2, "efs": 2, "dynamodb": 5, "fsx": 6, "redshift": 6, "redshift_serverless": 7, "ec2_sla": 8,
	}
	for minor, version := range []string{
		"1.0-rev0", "1.1-rev1", "1.2-rev0", "1.3-rev0", "1.4-rev0", "1.5-rev1", "1.6-rev0", "1.7-rev1", "1.8-rev0", "1.9-rev0", "1.10-rev0", "1.11-rev2",
	} {
		a := newAppliance()
		a.revisions = []string{version}
		cfg := start(t, a)
		cfg.APIVersion = version
		c := client(t, cfg)
		if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
			t.Fatal(err)
		}
		want := []string{"ec2"}
		for name, since := range first {
			if minor >= since {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		var got []string
		for _, w := range c.Workloads() {
			got = append(got, w.Name)
			if w.Name == "ec2" && (w.Path == "/api/v1/policies") != (minor < 2) {
				t.Errorf("%s: %s", version, w.Path)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", version, diff)
		}
	}
}

// The answers in testdata are served unchanged.
func testPoliciesPayloads(t *testing.T) {
	everyDay := Weekdays{true, true, true, true, true, true, true}
	var everyHour Hours
	for h := range everyHour {
		everyHour[h] = true
	}
	halfYearly := &Months{time.January: true, time.July: true}
	for name, want := range map[string]Policy{
		"virtualMachines/policies:policies-ec2-1.8-daily-int-hours.json": {
			ID: "00000000-0000-4000-8000-000000000001", Name: "policy-a", Enabled: true, USN: 41,
			Schedule: &Schedule{
				Daily: &DailySchedule{Days: everyDay, RunsPerHour: 1, Snapshot: &Hours{0: true, 6: true, 12: true, 18: true}, Backup: &Hours{0: true}},
				Monthly: &MonthlySchedule{At: 21 * time.Hour, Day: DayInMonth{Week: 1, Weekday: time.Sunday},
					Snapshot: halfYearly, Backup: halfYearly, Archive: true},
			},
		},
		"efs/policies:policies-efs-1.8.json": {
			ID: "00000000-0000-4000-8000-000000000002", Name: "efs-a", Enabled: true, USN: 3,
			Schedule: &Schedule{Daily: &DailySchedule{Days: everyDay, RunsPerHour: 4, RunsMakeBackups: true, Backup: &everyHour}},
		},
		"policy/ec2SlaBasedPolicies:policies-ec2sla-1.8.json": {ID: "00000000-0000-4000-8000-000000000003", Name: "sla-a", Enabled: true},
		"vpc/policy:vpc-policy-1.2.json":                      {Name: VPCPolicyName, Enabled: true, Schedule: &Schedule{Every: time.Hour}},
	} {
		route, file, _ := strings.Cut(name, ":")
		document, err := os.ReadFile(filepath.Join("testdata/payloads", file))
		if err != nil {
			t.Fatal(err)
		}
		a := newAppliance()
		a.revisions = []string{"1.8-rev0"}
		a.routes[path.Join("/api/v1", route)] = func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(document) }
		c := client(t, start(t, a))
		if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(c.Workloads(), func(w Workload) bool { return w.Path == "/api/v1/"+route })
		page, err := c.Policies(t.Context(), c.Workloads()[i], 0, 0)
		if err != nil {
			t.Fatal(name, err)
		}
		if diff := cmp.Diff(&PoliciesPage{TotalCount: 1, Rows: 1, Items: []Policy{want}}, page); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
