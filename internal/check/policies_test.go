package check

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// TestUnreadableSchedules has policies whose daily schedule is of an unknown
// kind.
func TestUnreadableSchedules(t *testing.T) {
	b := newBench(t, 9, nil)
	url := b.serve()
	for i := range 7 {
		b.PutPolicy(vbawstest.Policy{Name: fmt.Sprint("Odd ", i), Workload: vbawstest.RDS, Enabled: true, Schedule: &vbawstest.ScheduleSettings{
			DailyEnabled: true, Daily: &vbawstest.DailySchedule{Kind: "Fortnightly", RunsPerHour: 1},
		}})
	}
	findings := b.check(url)
	expect(t, findings, Schedules, Warn, "7 of 8 policies have a schedule", `(rds): dailySchedule: kind: "Fortnightly" is not known`, "and 2 more", "report this")
}

// TestSharedNames has policies that share names.
func TestSharedNames(t *testing.T) {
	b := newBench(t, 9, nil)
	url := b.serve()
	for i := range 7 {
		for _, w := range []vbawstest.Workload{vbawstest.RDS, vbawstest.EFS} {
			b.PutPolicy(vbawstest.Policy{Name: fmt.Sprint("Twin ", i), Workload: w, Enabled: true})
		}
	}
	b.PutPolicy(vbawstest.Policy{Name: "Single", Workload: vbawstest.RDS, Enabled: true})
	findings := b.check(url)
	expect(t, findings, Schedules, Warn, "share a name", `"Twin 0" (efs, rds); "Twin 1" (efs, rds)`, "and 2 more", "rename")
	for _, f := range findings {
		if strings.Contains(f.Message, "Single") {
			t.Errorf("%+v", f)
		}
	}
}

// TestSlowPages has a list of policies whose pages take longer than poll_timeout together.
func TestSlowPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3, func(c *vbawstest.Config) { c.Product, c.MaxPageSize = 3, 100 })
		for i := range 150 {
			b.PutPolicy(vbawstest.Policy{Name: fmt.Sprint("Policy ", i), Enabled: true})
		}
		b.OnRequest(func(r *http.Request) {
			if r.URL.Path == "/api/v1/policies" {
				time.Sleep(40 * time.Second)
			}
		})
		s := vbawstest.NewPipeServer(b.Appliance)
		defer s.Close()
		b.more["poll_timeout"] = "1m"
		a := &parse(t, b.entry("prod", s.URL)).Appliances[0]
		p := &prober{a: a, now: func() time.Time { return epoch }, wire: &wire{next: s.Transport()}}
		var err error
		if p.client, err = a.Client(vbaws.Config{Transport: p.wire, Now: p.now}); err != nil {
			t.Fatal(err)
		}
		expect(t, p.rights(t.Context()), Schedules, OK, "151 policies")
		if err := p.client.Logout(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// listed returns the policies in documents, which are by route.
func listed(t *testing.T, documents map[string]string) (*policies, error) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch document, ok := documents[r.URL.Path]; {
		case r.URL.Path == "/api/v1/token":
			fmt.Fprint(w, `{"access_token":"a","refresh_token":"r","expires_in":3600}`)
		case ok:
			fmt.Fprint(w, document)
		default:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errorCode":"NotFound"}`)
		}
	}))
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := vbaws.New(vbaws.Config{URL: u, Username: "u", APIVersion: "1.8-rev0", Password: func() (string, error) { return "p", nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Sessions(t.Context(), vbaws.SessionsQuery{}); !vbaws.NotFound(err) && err != nil {
		t.Fatal(err)
	}
	l := policies{workloads: map[string][]string{}}
	for _, w := range []vbaws.Workload{{Name: "rds", Path: "/api/v1/rds/policies"}, {Name: "vpc", Path: "/api/v1/vpc/policy", Single: true}} {
		err = errors.Join(err, l.read(w, new(listing.PageSize), func(offset, limit int) (*vbaws.PoliciesPage, error) {
			return client.Policies(t.Context(), w, offset, limit)
		}))
	}
	return &l, err
}

// TestVPC: the VPC policy's own form is understood, and an empty document is no policy.
func TestVPC(t *testing.T) {
	const rds = `{"totalCount":1,"results":[{"id":"1","name":"n"}]}`
	for vpc, want := range map[string]int{
		`{"backupOptionsEnabled":true,"scheduleOptions":{"dailySchedule":{"schedule":{"type":"Hours","count":1}}}}`: 2,
		`{}`: 1, "": 1,
	} {
		documents := map[string]string{"/api/v1/rds/policies": rds}
		if vpc != "" {
			documents["/api/v1/vpc/policy"] = vpc
		}
		l, err := listed(t, documents)
		l.workloads = nil
		if diff := cmp.Diff(&policies{count: want}, l, cmp.AllowUnexported(policies{})); diff != "" || err != nil {
			t.Errorf("%s: %v %s", vpc, err, diff)
		}
	}
	l, err := listed(t, map[string]string{
		"/api/v1/rds/policies": `{"totalCount":2,"results":[{"id":"1"},{"id":"2","name":"n"}]}`,
		"/api/v1/vpc/policy":   `{"backupOptionsEnabled":7,"scheduleOptions":[]}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	found := l.findings()
	if !slices.ContainsFunc(found, func(f Finding) bool {
		return f.Check == Rights && f.Level == Warn && strings.Contains(f.Message, "rds/policies: a policy has no id or no name; /api/v1/vpc/policy: ")
	}) || !slices.ContainsFunc(found, func(f Finding) bool {
		return f.Check == Schedules && f.Level == Warn && strings.Contains(f.Message, "1 of 2 policies") && strings.Contains(f.Message, "(vpc): scheduleOptions: ")
	}) {
		t.Errorf("%+v", found)
	}
}
