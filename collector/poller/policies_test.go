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

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// endOf adds a session of a type and a name that ended now.
func (w *world) endOf(typ, name, policyID string) vbawstest.Session {
	w.clock.Advance(time.Second)
	now := w.Now()
	return w.Put(vbawstest.Session{Type: typ, Name: name, PolicyID: policyID, Status: "Succeeded", Start: now.Add(-time.Minute), Stop: now})
}

// claims returns the policies whose sessions were requested since ResetRequests, in
// order.
func (w *world) claims() (ids []string) {
	for _, q := range w.queries() {
		if id := q.Get("PolicyId"); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func TestOwners(t *testing.T) {
	t.Run("sessions of policies", testOwnersSessionsOfPolicies)
	t.Run("any order", testOwnersAnyOrder)
	t.Run("cost", testOwnersCost)
	t.Run("failure", testOwnersFailure)
	t.Run("404 of a proxy", testOwners404OfAProxy)
	t.Run("names of sessions", testOwnersNamesOfSessions)
}

// Before 1.2 sessions have no names: each policy is asked for its own.
func testOwnersSessionsOfPolicies(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Revisions: []string{"1.0-rev0"}, AccessLifetime: 100 * time.Hour}, poller.Config{InventoryInterval: 1000 * time.Hour})
	id := func(name string) string { return w.PutPolicy(vbawstest.Policy{Name: name, Enabled: true}).ID }
	hourly, weekly := id("Hourly"), id("Weekly")
	w.poll()
	w.poll() // looks each policy up
	check := func(listings int, claims ...string) {
		t.Helper()
		w.ResetRequests()
		w.later(time.Minute)
		n := 0
		for _, r := range w.Requests() {
			if r.Route == "/api/v1/policies" && r.Query().Get("Offset") == "" {
				n++
			}
		}
		if n != listings {
			t.Errorf("%d listings of policies, want %d", n, listings)
		}
		if d := cmp.Diff(claims, w.claims()); d != "" {
			t.Errorf("policies asked for their sessions, -want +got:\n%s", d)
		}
	}
	check(0)
	want := map[string]int{"Weekly/Policy/Succeeded": 1}
	w.endOf("Policy", "", weekly)
	check(1, weekly)
	w.counted(want)

	// The one that changed last is asked first, until all are claimed.
	w.endOf("Policy", "", hourly)
	w.endOf("Job", "", vbawstest.ID(1))
	check(1, vbawstest.ID(1), hourly)
	want["Hourly/Policy/Succeeded"], want["Nightly/Job/Succeeded"] = 1, 1
	w.counted(want)

	// Once, when it is first seen.
	w.clock.Advance(time.Second)
	s := w.Start(vbawstest.Session{Type: "Policy", PolicyID: weekly})
	check(1, weekly)
	w.Finish(s.ID, "Failed", time.Time{})
	check(0)
	want["Weekly/Policy/Failed"] = 1
	w.counted(want)

	// One that is in the list of no policy is of none.
	w.endOf("RetentionActivity", "", "")
	check(1, weekly, vbawstest.ID(1), hourly)
	want["/RetentionActivity/Succeeded"] = 1
	w.counted(want)
	w.later(2 * time.Hour)
	w.counted(want)
}

// If Sort is ignored, an older session of the policy proves nothing about those that come
// after it.
func testOwnersAnyOrder(t *testing.T) {
	for _, order := range []vbawstest.Order{
		vbawstest.OrderStartDesc, vbawstest.OrderStartAsc, vbawstest.OrderUsnAsc, vbawstest.OrderID, vbawstest.OrderShuffled,
	} {
		for _, size := range []int{0, 2, 7, 20} {
			for _, old := range []int{1, 3, 9, 40} {
				t.Run(fmt.Sprintf("order %d, pages of %d, %d old sessions", order, size, old), func(t *testing.T) {
					w := newWorld(t, vbawstest.Config{Revisions: []string{"1.0-rev0"}, DefaultOrder: order, MaxPageSize: size},
						poller.Config{InventoryInterval: 1000 * time.Hour})
					w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(2), Name: "Hourly", Enabled: true})
					w.through(&changed{query: func(q *vbaws.SessionsQuery) error {
						if q.PolicyID != "" {
							q.Sort = ""
						}
						return nil
					}})
					for range old {
						w.endOf("Policy", "", vbawstest.ID(1))
						w.endOf("Policy", "", vbawstest.ID(2))
						w.clock.Advance(10 * time.Minute)
					}
					w.poll()
					want := map[string]int{"Nightly/Policy/Succeeded": old, "Hourly/Policy/Succeeded": old}
					for i := range 3 {
						w.clock.Advance(time.Hour)
						w.end("Failed")
						w.endOf("RetentionActivity", "", "")
						w.later(time.Minute)
						want["Nightly/Policy/Failed"], want["/RetentionActivity/Succeeded"] = i+1, i+1
						w.counted(want)
					}
				})
			}
		}
	}
}

// If Sort is observed, one page of each policy shows that it does not have a session.
func testOwnersCost(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Revisions: []string{"1.0-rev0"}, AccessLifetime: 100 * time.Hour}, poller.Config{InventoryInterval: 1000 * time.Hour})
	for i := range 9 {
		w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(2 + i), Name: fmt.Sprint("Policy ", i), Enabled: true})
	}
	for range 50 {
		for i := range 10 {
			w.endOf("Policy", "", vbawstest.ID(1+i))
		}
	}
	w.poll()
	w.poll()
	w.clock.Advance(time.Hour)
	w.poll()
	w.ResetRequests()
	w.endOf("RetentionActivity", "", "")
	w.later(time.Minute)
	n := 0
	for _, q := range w.queries() {
		if q.Get("PolicyId") != "" {
			n++
		}
	}
	if n != 10 {
		t.Errorf("%d pages of 10 policies", n)
	}
}

// If policies can't be listed, the poll fails: there is no other way to know the policy of
// a session, and a session is counted only once.
func testOwnersFailure(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Revisions: []string{"1.0-rev0"}}, poller.Config{})
	w.poll()
	w.poll()
	w.endOf("Policy", "", vbawstest.ID(1))
	f := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/policies", Status: 500, Count: -1})
	w.fails()
	w.counted(map[string]int{})
	f.Remove()
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 1})
}

// A proxy's 404 doesn't say that a policy has no sessions.
func testOwners404OfAProxy(t *testing.T) {
	for skip := 0; ; skip++ {
		w := newWorld(t, vbawstest.Config{Revisions: []string{"1.0-rev0"}}, poller.Config{InventoryInterval: 1000 * time.Hour})
		w.PutPolicy(vbawstest.Policy{Name: "Hourly", Enabled: true})
		w.poll()
		w.poll()
		w.endOf("Policy", "", vbawstest.ID(1))
		f := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/sessions", Skip: skip, Status: 404, HTML: true})
		err := w.p.Poll(t.Context())
		hits := f.Hits()
		f.Remove()
		if hits > 0 && err == nil {
			t.Errorf("request %d is answered with a 404, and the poll succeeds", skip+1)
		}
		w.poll()
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 1})
		if hits == 0 {
			if skip < 3 {
				t.Errorf("the poll asks for sessions %d times", skip)
			}
			return
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Run("404 of a listing", testPolicies404OfAListing)
	t.Run("route of other revisions", testPoliciesRouteOfOtherRevisions)
	t.Run("new since the last listing", testPoliciesNewSinceTheLastListing)
	t.Run("forbidden listing", testPoliciesForbiddenListing)
	t.Run("account without rights", testPoliciesAccountWithoutRights)
	t.Run("listing in pages", testPoliciesListingInPages)
	t.Run("listing that moves", testPoliciesListingThatMoves)
	t.Run("truncated listing", testPoliciesTruncatedListing)
	t.Run("undecodable policy", testPoliciesUndecodablePolicy)
}

// None of these answers shows that the appliance has no policies: by this API version it has.
func testPolicies404OfAListing(t *testing.T) {
	for _, f := range []vbawstest.Fault{{Status: 404, HTML: true}, {Status: 405}, {Status: 501}, {Status: 400, ErrorCode: "UnsupportedApiVersion"}} {
		w := newWorld(t, vbawstest.Config{Revisions: []string{"1.0-rev0"}}, poller.Config{})
		w.poll()
		w.poll()
		w.endOf("Policy", "", vbawstest.ID(1))
		f.Kind, f.Route, f.Count = vbawstest.FaultStatus, "/api/v1/policies", -1
		in := w.Inject(f)
		w.fails()
		w.counted(map[string]int{})
		in.Remove()
		w.later(time.Minute)
		w.counted(map[string]int{"Nightly/Policy/Succeeded": 1})
	}
}

// A route that other revisions have is one that this one lacks.
func testPoliciesRouteOfOtherRevisions(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.Inject(vbawstest.Fault{
		Kind: vbawstest.FaultStatus, Route: "/api/v1/dynamoDb/policies", Status: 400, ErrorCode: "UnsupportedApiVersion", Count: -1,
	})
	w.poll()
	w.ResetRequests()
	w.later(6 * time.Minute)
	if p := w.p.Published(); len(p.EndpointErrors) > 0 || p.APIVersion == "" {
		t.Errorf("at %q endpoint errors are %v", p.APIVersion, p.EndpointErrors)
	}
	if n := w.requests("/api/v1/dynamoDb/policies"); n > 0 {
		t.Errorf("it is asked %d times more", n)
	}
}

func testOwnersNamesOfSessions(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Revisions: []string{"1.2-rev0"}}, poller.Config{})
	w.poll()
	w.poll()
	w.ResetRequests()
	want := map[string]int{
		// A Policy's name is a policy's, listed or not.
		"Nightly/Policy/Succeeded": 1, "Removed/Policy/Succeeded": 1,
		// Another type's name is one only if there is such a policy.
		"Nightly/Job/Succeeded": 1, "Nightly/Task/Succeeded": 1,
		"/Task/Succeeded": 2, "/RestoreTask/Succeeded": 1, "/RetentionActivity/Succeeded": 1,
	}
	w.endOf("Policy", "Nightly", "")
	w.endOf("Policy", "Removed", "")
	w.endOf("Job", "Nightly", "")
	w.endOf("Task", "Nightly", "")
	w.endOf("Task", "i-0abc", "")
	w.endOf("Task", "nightly", "") // case counts
	w.endOf("RestoreTask", "web-1", "")
	w.endOf("RetentionActivity", "", "")
	w.later(time.Minute)
	w.counted(want)
	if got := w.claims(); got != nil {
		t.Errorf("policies asked for their sessions: %v", got)
	}
	// Names of workloads are looked for once.
	w.ResetRequests()
	w.endOf("Task", "i-0abc", "")
	want["/Task/Succeeded"]++
	w.later(time.Minute)
	w.counted(want)
	if n := w.requests("/api/v1/virtualMachines/policies"); n != 0 {
		t.Errorf("%d listings for the name of a workload that was looked for before", n)
	}
	for _, name := range []string{"vbaws_sessions_total", "vbaws_sessions_running", "vbaws_policy_info"} {
		for _, m := range w.gather(name) {
			for _, l := range m.Label {
				if l.GetName() == "policy" && !slices.Contains([]string{"", "Nightly", "Removed"}, l.GetValue()) {
					t.Errorf("%s: policy=%q", name, l.GetValue())
				}
			}
		}
	}
}

// The first session of a policy can come before the next listing.
func testPoliciesNewSinceTheLastListing(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	w.poll()
	w.endOf("Job", "Fresh", "")
	w.PutPolicy(vbawstest.Policy{Name: "Fresh", Enabled: true, Workload: vbawstest.RDS})
	w.later(time.Second)
	w.counted(map[string]int{"Fresh/Job/Succeeded": 1})
}

const vmPolicies = "/api/v1/virtualMachines/policies"

func testPoliciesForbiddenListing(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	f := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: vmPolicies, Status: 403, ErrorCode: "AccessDenied", Count: -1})
	w.endOf("Policy", "Nightly", "")
	w.endOf("Job", "Nightly", "")
	w.poll()
	for range 3 {
		w.later(6 * time.Minute)
		w.endOf("Policy", "Nightly", "")
	}
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 4, "/Job/Succeeded": 1})
	w.is("vbaws_exporter_endpoint_forbidden", fmt.Sprintf("endpoint=%q", vmPolicies), 1)
	w.is("vbaws_exporter_endpoint_forbidden", `endpoint="/api/v1/rds/policies"`, 0)
	if !w.p.Published().Forbidden[vmPolicies] || !w.p.Published().Up {
		t.Errorf("published %+v", w.p.Published().Status)
	}
	if lines := w.log.with(vmPolicies); len(lines) != 1 {
		t.Errorf("log lines: %q", lines)
	}
	f.Remove()
	w.later(6 * time.Minute)
	w.is("vbaws_exporter_endpoint_forbidden", fmt.Sprintf("endpoint=%q", vmPolicies), 0)
	w.endOf("Job", "Nightly", "")
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 4, "/Job/Succeeded": 1, "Nightly/Job/Succeeded": 1})
}

// An account without any special right can do all that sessions need.
func testPoliciesAccountWithoutRights(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Users: []vbawstest.User{
		{Name: vbawstest.DefaultUsername, Password: vbawstest.DefaultPassword, Role: "Restore Operator"},
	}}, poller.Config{})
	w.endOf("Policy", "Nightly", "")
	w.poll()
	w.later(6 * time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 1})
	var got []string
	for endpoint, is := range w.p.Published().Forbidden {
		if is {
			got = append(got, endpoint)
		}
	}
	slices.Sort(got)
	want := []string{"/api/v1/licensing/license", "/api/v1/repositories", "/api/v1/settings/dateTime", "/api/v1/system/version"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("forbidden, -want +got:\n%s", d)
	}
	if lines := w.log.with("lacks a right"); len(lines) != len(want) {
		t.Errorf("log lines: %q", lines)
	}
}

func TestPolicyGone(t *testing.T) {
	t.Run("second listing without it", testPolicyGoneSecondListingWithoutIt)
	t.Run("renamed", testPolicyGoneRenamed)
	t.Run("renamed while it runs", testPolicyGoneRenamedWhileItRuns)
	t.Run("held counter", testPolicyGoneHeldCounter)
	t.Run("name used again", testPolicyGoneNameUsedAgain)
	t.Run("between processes", testPolicyGoneBetweenProcesses)
	t.Run("change afterwards", testPolicyGoneChangeAfterwards)
	t.Run("other workload fails", testPolicyGoneOtherWorkloadFails)
	t.Run("only one of a workload", testPolicyGoneOnlyOneOfAWorkload)
}

func testPolicyGoneSecondListingWithoutIt(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	other := w.PutPolicy(vbawstest.Policy{Name: "Hourly", Enabled: true})
	w.ends(2, "Failed")
	w.endOf("Policy", "Hourly", other.ID)
	w.poll()
	there := map[string]int{"Nightly/Policy/Failed": 2, "Hourly/Policy/Succeeded": 1}
	gone := map[string]int{"Hourly/Policy/Succeeded": 1}
	next := func(want map[string]int) {
		t.Helper()
		w.later(6 * time.Minute)
		w.counted(want)
	}
	nightly := w.Policies()[0]
	w.DeletePolicy(nightly.ID)
	next(there)
	// It was back in between: it takes two more.
	w.PutPolicy(nightly)
	next(there)
	w.DeletePolicy(nightly.ID)
	next(there)
	// What can't be listed, or not to its end, lacks nothing.
	for _, f := range []vbawstest.Fault{
		{Kind: vbawstest.FaultStatus, Status: 500}, {Kind: vbawstest.FaultStatus, Status: 403}, {Kind: vbawstest.FaultGarbage},
	} {
		f.Route, f.Count = vmPolicies, -1
		in := w.Inject(f)
		next(there)
		next(there)
		in.Remove()
	}
	next(gone)
	if _, ok := w.sample("vbaws_sessions_running", `extended_type="PolicyBackup" policy="Nightly" type="Policy"`); ok {
		t.Error("its gauges are still there")
	}
	next(gone)

	// It comes back: what was counted stays counted, what is new is.
	w.PutPolicy(nightly)
	next(gone)
	w.ends(1, "Warning")
	next(map[string]int{"Hourly/Policy/Succeeded": 1, "Nightly/Policy/Warning": 1})
}

// The old name of a policy ends with the next listing, and its sessions are counted
// under the new one from then on. A namesake keeps what is shown under the name.
func testPolicyGoneRenamed(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(2, "Failed")
	w.poll()
	twin := w.PutPolicy(vbawstest.Policy{Name: "Nightly", Enabled: true})
	w.later(6 * time.Minute)
	w.RenamePolicy(twin.ID, "Weekly")
	w.later(6 * time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Failed": 2})
	w.RenamePolicy(vbawstest.ID(1), "Daily")
	w.endOf("Policy", "Daily", vbawstest.ID(1))
	w.later(6 * time.Minute)
	w.counted(map[string]int{"Daily/Policy/Succeeded": 1})
	w.restart()
	w.RenamePolicy(vbawstest.ID(1), "Nightly")
	w.later(6 * time.Minute)
	w.counted(map[string]int{})
	w.ends(1, "Failed")
	w.later(6 * time.Minute)
	w.later(6 * time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Failed": 1})
	w.skipped(map[string]uint64{})
}

// What a session of the old name comes to is seen, though the name is gone.
func testPolicyGoneRenamedWhileItRuns(t *testing.T) {
	for _, test := range []struct {
		revision string
		partSize int
	}{{"1.0-rev0", 0}, {"1.0-rev0", 1}, {"1.8-rev0", 0}, {"1.8-rev0", 1}} {
		w := newWorld(t, vbawstest.Config{Revisions: []string{test.revision}}, poller.Config{PartSize: test.partSize})
		w.poll()
		s := w.begin()
		w.later(time.Minute)
		w.RenamePolicy(vbawstest.ID(1), "Daily")
		w.later(6 * time.Minute)
		w.later(6 * time.Minute)
		w.Finish(s.ID, "Failed", time.Time{})
		w.Start(vbawstest.Session{Type: "Policy", Name: "Daily", PolicyID: vbawstest.ID(1)}) // policies are listed, at 1.0
		w.OnRequest(func(*http.Request) { w.clock.Advance(10 * time.Millisecond) })
		w.later(6 * time.Minute)
		w.OnRequest(nil)
		failed := map[string]int{"Nightly/Policy/Failed": 1}
		w.counted(failed)
		w.later(4 * time.Minute)
		w.counted(failed)
		// A restart does not end it either.
		w.restart()
		w.counted(failed)
		w.later(time.Minute)
		w.counted(failed)
		w.later(6 * time.Minute)
		w.counted(map[string]int{})
	}
}

// A counter that is held goes once its value was seen.
func testPolicyGoneHeldCounter(t *testing.T) {
	for offset := time.Duration(0); offset < 5*time.Minute; offset += time.Minute {
		w := newWorld(t, vbawstest.Config{}, poller.Config{Ledger: ledger.Options{Hold: 10 * time.Minute}})
		w.poll()
		w.clock.Advance(offset)
		s := w.begin()
		w.later(30 * time.Second)
		w.Finish(s.ID, "Failed", time.Time{})
		w.DeletePolicy(vbawstest.ID(1))
		shown := 0
		for range 80 {
			w.later(30 * time.Second)
			if v, _ := w.sample("vbaws_sessions_total", failedSeries); v == 1 {
				shown++
			}
		}
		if shown < 8 || shown > 30 {
			t.Errorf("after %v it is shown by %d polls", offset, shown)
		}
		w.counted(map[string]int{})
	}
}

// A name that was of a policy that is gone is that of a new one, of a workload that can't
// be listed.
func testPolicyGoneNameUsedAgain(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.poll()
	w.DeletePolicy(vbawstest.ID(1))
	for range 3 {
		w.later(6 * time.Minute)
	}
	w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/rds/policies", Status: 500, Count: -1})
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(1), Name: "Nightly", Enabled: true, Workload: vbawstest.RDS})
	w.end("Failed")
	for range 4 {
		w.later(6 * time.Minute)
		w.counted(map[string]int{"Nightly/Policy/Failed": 1})
	}
}

// A policy that is gone is removed, too, if each poll is a process of its own.
func testPolicyGoneBetweenProcesses(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Ledger: ledger.Options{OneShot: true}})
	w.ends(1, "Failed")
	w.poll()
	w.DeletePolicy(vbawstest.ID(1))
	for _, want := range []map[string]int{{"Nightly/Policy/Failed": 1}, {}} {
		w.clock.Advance(time.Hour)
		w.restart()
		w.poll()
		w.counted(want)
	}
}

// A session that changes after its policy was removed is a change once.
func testPolicyGoneChangeAfterwards(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Revisions: []string{"1.0-rev0"}}, poller.Config{})
	w.poll()
	s := w.end("Failed")
	w.later(time.Minute)
	w.DeletePolicy(vbawstest.ID(1))
	w.later(time.Minute)
	s.Status = "Warning"
	w.Put(s)
	for range 8 {
		w.later(15 * time.Minute)
	}
	w.mode(poller.WatermarkUSN)
	w.ResetRequests()
	w.later(time.Minute)
	if n := len(w.Requests()); n != 1 {
		t.Errorf("%d requests of an idle poll", n)
	}
}

// A workload that can't be listed keeps nothing of the others.
func testPolicyGoneOtherWorkloadFails(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.ends(1, "Failed")
	w.poll()
	w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/fsx/policies", Status: 500, Count: -1})
	w.DeletePolicy(vbawstest.ID(1))
	w.later(6 * time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Failed": 1})
	w.later(6 * time.Minute)
	w.counted(map[string]int{})
	w.is("vbaws_up", "", 1)

	// Also if its removal is put off because one of its sessions runs.
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(1), Name: "Nightly", Enabled: true})
	s := w.begin()
	w.later(6 * time.Minute)
	w.DeletePolicy(vbawstest.ID(1))
	for range 3 {
		w.later(6 * time.Minute)
	}
	w.Finish(s.ID, "Failed", time.Time{})
	w.later(6 * time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Failed": 1})
	w.later(6 * time.Minute)
	w.counted(map[string]int{})
}

// The one policy of a workload goes, and comes again, as those of others do.
func testPolicyGoneOnlyOneOfAWorkload(t *testing.T) {
	w := newWorld(t, vbawstest.Config{NamedVPC: true}, poller.Config{})
	there := func(want bool) {
		t.Helper()
		if _, ok := w.sample("vbaws_policy_enabled", `policy="VPC" workload="vpc"`); ok != want {
			t.Errorf("there: %v, want %v", ok, want)
		}
	}
	w.poll()
	there(false)
	vpc := w.PutPolicy(vbawstest.Policy{Name: "VPC", Workload: vbawstest.VPC, Enabled: true})
	w.later(6 * time.Minute)
	there(true)
	w.DeletePolicy(vpc.ID)
	w.later(6 * time.Minute)
	w.later(6 * time.Minute)
	there(false)
	w.PutPolicy(vpc)
	w.later(6 * time.Minute)
	there(true)
}

// A listing that comes in pages is complete when all have come.
func testPoliciesListingInPages(t *testing.T) {
	w := newWorld(t, vbawstest.Config{MaxPageSize: 2}, poller.Config{})
	for i := range 6 {
		w.PutPolicy(vbawstest.Policy{Name: fmt.Sprint("Policy ", i), Enabled: true})
		w.endOf("Policy", fmt.Sprint("Policy ", i), "")
	}
	for range 4 {
		w.later(6 * time.Minute)
	}
	want := make(map[string]int)
	for i := range 6 {
		want[fmt.Sprintf("Policy %d/Policy/Succeeded", i)] = 1
	}
	w.counted(want)
}

// If the list moves between two pages, it is read again: a session whose policy it lacked
// would be counted without it, for good.
func testPoliciesListingThatMoves(t *testing.T) {
	for _, test := range []struct{ revision, route, typ string }{
		{"1.0-rev0", "/api/v1/policies", "Policy"}, {"1.8-rev0", vmPolicies, "Job"},
	} {
		t.Run(test.revision, func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{MaxPageSize: 3, Revisions: []string{test.revision}}, poller.Config{})
			w.DeletePolicy(vbawstest.ID(1))
			w.poll()
			first := w.PutPolicy(vbawstest.Policy{Name: "First", Enabled: true})
			want := make(map[string]int)
			for i := range 8 {
				name := fmt.Sprint("Policy ", i)
				p := w.PutPolicy(vbawstest.Policy{Name: name, Enabled: true})
				w.endOf(test.typ, name, p.ID)
				want[fmt.Sprintf("%s/%s/Succeeded", name, test.typ)] = 1
			}
			moved := false
			w.OnRequest(func(r *http.Request) {
				if r.URL.Path == test.route && r.URL.Query().Get("Offset") == "3" && !moved {
					moved = true
					w.DeletePolicy(first.ID)
				}
			})
			w.later(time.Minute)
			if !moved {
				t.Fatal("it was read in one page")
			}
			w.counted(want)
			if endpointErrors := w.p.Published().EndpointErrors; len(endpointErrors) > 0 {
				t.Error(endpointErrors)
			}
		})
	}
}

// A listing that is cut off by the end of the process is no listing.
func testPoliciesTruncatedListing(t *testing.T) {
	w := newWorld(t, vbawstest.Config{MaxPageSize: 5}, poller.Config{PartSize: 5})
	w.DeletePolicy(vbawstest.ID(1))
	w.poll()
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(1), Name: "Nightly", Enabled: true})
	for range 30 {
		w.endOf("Job", "Nightly", vbawstest.ID(1))
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.OnRequest(func(r *http.Request) {
		if r.URL.Path == vmPolicies {
			cancel()
			<-r.Context().Done()
		}
	})
	w.clock.Advance(time.Second)
	if err := w.p.Poll(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.OnRequest(nil)
	w.restart()
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Job/Succeeded": 30})
}

// unread is an API whose first policy can't be understood while it is odd.
type unread struct {
	poller.API
	odd bool
}

func (u *unread) Policies(ctx context.Context, w vbaws.Workload, offset, limit int) (*vbaws.PoliciesPage, error) {
	page, err := u.API.Policies(ctx, w, offset, limit)
	if err == nil && u.odd && len(page.Items) > 0 {
		page.Items, page.Err = page.Items[1:], errors.New("it is odd")
	}
	return page, err
}

// A policy in a row that is not understood still exists.
func testPoliciesUndecodablePolicy(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	api := &unread{API: w.client(w.clock.Now)}
	w.watch(api, w.clock.Now)
	w.ends(2, "Failed")
	w.poll()
	api.odd = true
	for range 4 {
		w.later(6 * time.Minute)
	}
	w.counted(map[string]int{"Nightly/Policy/Failed": 2})
	if got := w.p.Published().EndpointErrors[vmPolicies]; got != "it is odd" {
		t.Errorf("endpoint error is %q", got)
	}
	if got := w.log.with("it is odd"); len(got) != 1 {
		t.Errorf("log lines: %q", got)
	}
	api.odd = false
	w.later(6 * time.Minute)
	if endpointErrors := w.p.Published().EndpointErrors; len(endpointErrors) > 0 {
		t.Error(endpointErrors)
	}
	w.DeletePolicy(vbawstest.ID(1))
	w.later(6 * time.Minute)
	w.later(6 * time.Minute)
	w.counted(map[string]int{})
}

func TestLookUp(t *testing.T) {
	t.Run("policies of sessions", testLookUpPoliciesOfSessions)
	t.Run("tried again", testLookUpTriedAgain)
	t.Run("fails always", testLookUpFailsAlways)
	t.Run("route that goes", testLookUpRouteThatGoes)
	t.Run("revision that goes", testLookUpRevisionThatGoes)
}

// Policies without a session in the window are asked for their newest one: a few a
// poll, after the first.
func testLookUpPoliciesOfSessions(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Backfill: time.Hour})
	w.DeletePolicy(vbawstest.ID(1))
	old := w.Now().Add(-5 * 24 * time.Hour)
	name := func(i int) string { return fmt.Sprintf("Policy %02d", i) }
	for i := range 50 {
		p := w.PutPolicy(vbawstest.Policy{Name: name(i), Enabled: true})
		for n := range 3 { // the last of them is the newest
			start := old.Add(time.Duration(n*50+i) * time.Minute)
			w.Put(vbawstest.Session{
				Type: "Policy", ExtendedType: "PolicyBackup", Name: p.Name, PolicyID: p.ID,
				Status: []string{"Succeeded", "Warning", "Failed"}[n], Start: start, Stop: start.Add(time.Minute),
			})
		}
		w.Start(vbawstest.Session{Type: "Job", Name: p.Name, PolicyID: p.ID, Status: "NeverExecuted"})
	}
	var got []int
	for range 5 {
		w.ResetRequests()
		w.later(time.Minute)
		got = append(got, len(w.claims()))
	}
	if d := cmp.Diff([]int{0, 20, 20, 10, 0}, got); d != "" {
		t.Errorf("look-ups a poll, -want +got:\n%s", d)
	}
	w.counted(map[string]int{})
	w.skipped(map[string]uint64{})
	for i := range 50 {
		failed := fmt.Sprintf(`extended_type="PolicyBackup" policy=%q status="Failed" type="Policy"`, name(i))
		w.is("vbaws_session_last_status", failed, 1)
		w.is("vbaws_session_last_end_timestamp_seconds", failed, seconds(old.Add(time.Duration(100+i)*time.Minute+time.Minute)))
	}
	// And not again, by the next process either.
	w.restart()
	w.ResetRequests()
	w.later(time.Minute)
	w.later(time.Minute)
	if got := w.claims(); got != nil {
		t.Errorf("looked up again: %v", got)
	}
}

func testLookUpTriedAgain(t *testing.T) {
	for _, f := range []vbawstest.Fault{{Status: 500}, {Status: 429}, {Status: 408}, {Status: 401}, {Status: 404, HTML: true}} {
		w := newWorld(t, vbawstest.Config{}, poller.Config{Backfill: time.Hour})
		w.endOf("RestoreTask", "", "") // so that the old one is not the newest
		old := w.Now().Add(-5 * 24 * time.Hour)
		w.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1), Status: "Failed", Start: old, Stop: old})
		w.poll()
		f.Kind, f.Route, f.Skip, f.Count = vbawstest.FaultStatus, "/api/v1/sessions", 1, -1
		in := w.Inject(f)
		w.later(time.Minute) // the incremental read succeeds
		if _, ok := w.sample("vbaws_session_last_status", failedSeries); ok || in.Hits() == 0 {
			t.Fatalf("%d: it was looked up", f.Status)
		}
		if len(w.p.Published().EndpointErrors) == 0 {
			t.Errorf("%d: its failure doesn't show", f.Status)
		}
		in.Remove()
		w.later(time.Minute)
		w.is("vbaws_session_last_status", failedSeries, 1)
		if got := w.p.Published().EndpointErrors; len(got) > 0 {
			t.Errorf("%d: its failure still shows: %v", f.Status, got)
		}
	}
}

// refusing is an API that returns an error if it is asked for the sessions of a policy.
type refusing struct {
	poller.API
	policyID string
}

func (r *refusing) Sessions(ctx context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	if q.PolicyID == r.policyID {
		return nil, &vbaws.Error{Kind: vbaws.KindHTTP, Op: "GET", Err: &vbaws.APIError{StatusCode: 500}}
	}
	return r.API.Sessions(ctx, q)
}

// A look-up that always fails keeps no other from being made, and is logged once.
func testLookUpFailsAlways(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Backfill: time.Hour})
	w.watch(&refusing{w.client(w.clock.Now), vbawstest.ID(1)}, w.clock.Now)
	old := w.Now().Add(-5 * 24 * time.Hour)
	for i := range 30 {
		p := w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(2 + i), Name: fmt.Sprint("Policy ", i), Enabled: true})
		w.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: p.Name, PolicyID: p.ID, Status: "Failed", Start: old, Stop: old})
	}
	for range 5 {
		w.later(time.Minute)
	}
	if n := len(w.gather("vbaws_session_last_end_timestamp_seconds")); n != 30 {
		t.Errorf("%d policies were looked up", n)
	}
	if len(w.p.Published().EndpointErrors) != 1 {
		t.Errorf("endpoint errors %v", w.p.Published().EndpointErrors)
	}
	if lines := w.log.with("endpoint failed"); len(lines) != 1 {
		t.Errorf("log lines: %q", lines)
	}
	w.DeletePolicy(vbawstest.ID(1))
	for range 3 {
		w.later(6 * time.Minute)
	}
	if got := w.p.Published().EndpointErrors; len(got) > 0 {
		t.Errorf("endpoint errors of a policy that is gone: %v", got)
	}
}

// An endpoint that was forbidden or failed is neither once the appliance does not offer it.
func testLookUpRouteThatGoes(t *testing.T) {
	for _, status := range []int{403, 500} {
		w := newWorld(t, vbawstest.Config{}, poller.Config{})
		in := w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/fsx/policies", Count: -1, Status: status})
		w.poll()
		if got := w.p.Published(); !got.Forbidden["/api/v1/fsx/policies"] && len(got.EndpointErrors) == 0 {
			t.Fatalf("%d does not show", status)
		}
		in.Remove()
		w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/fsx/policies", Count: -1, Status: 404, ErrorCode: "NotFound"})
		w.later(6 * time.Minute)
		if got := w.p.Published(); got.Forbidden["/api/v1/fsx/policies"] || len(got.EndpointErrors) > 0 {
			t.Errorf("after %d: forbidden %v, endpoint errors %v", status, got.Forbidden, got.EndpointErrors)
		}
	}
}

// What an older API version forbade does not matter for a newer one, which has other
// routes.
func testLookUpRevisionThatGoes(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Revisions: []string{"1.1-rev0"}}, poller.Config{})
	w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/policies", Count: -1, Status: 403, ErrorCode: "AccessDenied"})
	w.poll()
	if !w.p.Published().Forbidden["/api/v1/policies"] {
		t.Fatal("the listing isn't forbidden")
	}
	w.Reconfigure(func(c *vbawstest.Config) { c.Revisions = []string{"1.8-rev0"} })
	w.later(time.Minute)
	w.later(time.Minute)
	if got := w.p.Published(); got.APIVersion != "1.8-rev0" || got.Forbidden["/api/v1/policies"] || len(got.Forbidden) < 5 {
		t.Errorf("at %s forbidden are %v", got.APIVersion, got.Forbidden)
	}
}
