package poller_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// item returns the n-th EC2 instance of an appliance.
func item(n int) vbawstest.Item {
	return vbawstest.Item{ID: vbawstest.ID(1000 + n), Name: fmt.Sprintf("vm-%d", n), Region: "eu-central-1", Status: "Succeeded"}
}

// protect has the world's policy protect n instances.
func (w *world) protect(n int) {
	w.UpdatePolicy(vbawstest.ID(1), func(p *vbawstest.Policy) {
		p.Items = nil
		for i := range n {
			p.Items = append(p.Items, item(i))
		}
	})
}

// backUp adds a session that ended now and backed up some instances.
func (w *world) backUp(items ...vbawstest.Item) {
	w.SetItems(w.end("Succeeded").ID, items...)
}

// shownBackups are the newest backups that /metrics has, by instance_name.
func (w *world) shownBackups() map[string]time.Time {
	return w.byInstance("vbaws_instance_last_backup_timestamp_seconds")
}

func (w *world) byInstance(metric string) map[string]time.Time {
	w.Helper()
	shown := make(map[string]time.Time)
	for _, m := range w.gather(metric) {
		at := time.Time{}
		if v := m.Gauge.GetValue(); v != 0 {
			at = time.UnixMicro(int64(v * 1e6)).UTC()
		}
		for _, l := range m.Label {
			if l.GetName() == "instance_name" {
				shown[l.GetValue()] = at
			}
		}
	}
	return shown
}

// truth is what the appliance has of the newest backups of its protected instances, by
// name; zero for none.
func (w *world) truth() map[string]time.Time {
	backups, truth := w.Backups(), make(map[string]time.Time)
	for _, p := range w.Policies() {
		for _, i := range p.Items {
			truth[i.Name] = backups[i.ID]
		}
	}
	return truth
}

func (w *world) isTruth() {
	w.Helper()
	if d := cmp.Diff(w.truth(), w.shownBackups()); d != "" {
		w.Errorf("newest backups, -appliance +exporter:\n%s", d)
	}
}

func TestInstances(t *testing.T) {
	t.Run("truth", testInstancesTruth)
	t.Run("off", testInstancesOff)
	t.Run("in turn", testInstancesInTurn)
	t.Run("gone", testInstancesGone)
	t.Run("over the limit", testInstancesOverTheLimit)
	t.Run("one AWS id", testInstancesOneAWSId)
	t.Run("endpoints that fail", testInstancesEndpointsThatFail)
	t.Run("last values are kept", testInstancesLastValuesAreKept)
	t.Run("restore points that fail", testInstancesRestorePointsThatFail)
	t.Run("limit rejected", testInstancesLimitRejected)
	t.Run("lists that hang", testInstancesListsThatHang)
	t.Run("impossible times", testInstancesImpossibleTimes)
	t.Run("left out by its policy", testInstancesLeftOutByItsPolicy)
}

// testInstancesTruth: for each role, form and API version, /metrics has what the
// appliance knows.
func testInstancesTruth(t *testing.T) {
	for _, product := range []int{2, 3, 4, 9, 10, 11} {
		for _, role := range []string{vbawstest.RoleAdministrator, vbawstest.RoleOperator} {
			for _, ids := range []vbawstest.LicenseIDs{vbawstest.LicenseIDsOfWorkloads, vbawstest.LicenseIDsOther} {
				t.Run(fmt.Sprintf("product %d %s %d", product, role, ids), func(t *testing.T) {
					w := newWorld(t, vbawstest.Config{
						Product: product, LicenseIDs: ids,
						Users: []vbawstest.User{{Name: vbawstest.DefaultUsername, Password: vbawstest.DefaultPassword, Role: role}},
						Instances: []vbawstest.Instance{
							{ID: vbawstest.ID(2000), Name: "alone", Region: "eu-west-1"},
							{ID: vbawstest.ID(2001), Name: "deleted", Deleted: true},
						},
					}, poller.Config{MaxInstances: 100})
					w.protect(3)
					w.backUp(item(0), item(1))
					w.poll()
					w.isTruth()
					want := map[string]time.Time{"vm-0": time.Unix(1, 0).UTC(), "vm-1": time.Unix(1, 0).UTC(), "vm-2": time.Unix(1, 0).UTC(), "alone": {}}
					if d := cmp.Diff(want, w.byInstance("vbaws_instance_protected")); d != "" {
						t.Errorf("protected, -want +got:\n%s", d)
					}
					if got := slices.Sorted(maps.Keys(w.byInstance("vbaws_instance_info"))); !slices.Equal(got, []string{"alone", "vm-0", "vm-1", "vm-2"}) {
						t.Errorf("instances %q", got)
					}
					w.is("vbaws_instance_info", fmt.Sprintf("instance_id=%q instance_name=%q region=%q", w.Instances()[3].AWSID, "alone", "eu-west-1"), 1)

					w.clock.Advance(24 * time.Hour)
					w.backUp(item(1), item(2))
					w.poll()
					w.isTruth()
					licensed := w.requests(vbaws.RouteLicensed)
					if role == vbawstest.RoleAdministrator && licensed == 0 {
						t.Error("the licensed workloads were not requested")
					}
					if v := w.Violations(); len(v) > 0 {
						t.Error(v)
					}
				})
			}
		}
	}
}

// testInstancesOff: without the option the requests are those of before.
func testInstancesOff(t *testing.T) {
	requests := func(most int) map[string]int {
		w := newWorld(t, vbawstest.Config{}, poller.Config{MaxInstances: most})
		w.protect(30)
		w.backUp(item(1))
		for range 12 {
			w.later(time.Minute)
		}
		n := make(map[string]int)
		for _, r := range w.Requests() {
			n[r.Route]++
		}
		if most == 0 && len(w.gather("vbaws_instance_info"))+len(w.gather("vbaws_instance_protected"))+len(w.gather("vbaws_instance_last_backup_timestamp_seconds")) > 0 {
			t.Error("there are metrics of instances")
		}
		return n
	}
	off, on := requests(0), requests(100)
	added := make(map[string]int)
	for route, n := range on {
		if n != off[route] {
			added[route] = n - off[route]
		}
	}
	// Listed at 0, 5 and 10 minutes, each list to the page on which nothing comes; 29 of the 30 that were never backed up are not licensed:
	// 20, then 9 of them, each five minutes.
	want := map[string]int{vbaws.RouteInstances: 6, vbaws.RouteLicensed: 6, vbaws.RouteRestorePoints: 29 + 29 + 29}
	if d := cmp.Diff(want, added); d != "" {
		t.Errorf("requests that the option adds, -want +got:\n%s", d)
	}
	for _, route := range []string{vbaws.RouteInstances, vbaws.RouteLicensed, vbaws.RouteRestorePoints} {
		if off[route] > 0 {
			t.Errorf("switched off, %s was requested %d times", route, off[route])
		}
	}
}

// testInstancesInTurn: at most 20 requests a poll, the one that was looked up
// longest ago first, and a restart goes on.
func testInstancesInTurn(t *testing.T) {
	w := newWorld(t, vbawstest.Config{LicenseIDs: vbawstest.LicenseIDsOther}, poller.Config{MaxInstances: 100})
	w.protect(50)
	w.backUp(item(0), item(49))
	known := func(want int) {
		t.Helper()
		if got := len(w.shownBackups()); got != want {
			t.Errorf("the newest backups of %d instances are known, want %d", got, want)
		}
		if n := w.requests(vbaws.RouteRestorePoints); n > 20 {
			t.Errorf("%d requests in one poll", n)
		}
		w.ResetRequests()
	}
	w.poll()
	known(20)
	w.later(time.Minute)
	known(40)
	w.restart()
	if got := w.p.Published().Instances; got != nil {
		t.Errorf("instances before they are listed: %+v", got)
	}
	w.later(time.Minute)
	known(50)
	w.isTruth()

	// The first 20 again, and only when they are due.
	w.later(time.Minute)
	if n := w.requests(vbaws.RouteRestorePoints); n != 0 {
		t.Errorf("%d look-ups before they are due", n)
	}
	w.backUp(item(3), item(30))
	w.later(2 * time.Minute)
	if got := w.shownBackups(); !got["vm-3"].Equal(w.truth()["vm-3"]) || got["vm-30"].Equal(w.truth()["vm-30"]) {
		t.Errorf("vm-3: %s, vm-30: %s", got["vm-3"], got["vm-30"])
	}
	known(50)
	w.later(time.Minute)
	known(50)
	w.isTruth()
}

// testInstancesGone: what is stored of an instance goes with it.
func testInstancesGone(t *testing.T) {
	w := newWorld(t, vbawstest.Config{LicenseIDs: vbawstest.LicenseIDsOther}, poller.Config{MaxInstances: 100})
	w.protect(5)
	w.poll()
	stored := func() int {
		s, err := w.storage.Load()
		if err != nil {
			t.Fatal(err)
		}
		return len(s.Instances)
	}
	if n := stored(); n != 5 {
		t.Fatalf("%d stored", n)
	}
	w.protect(2)
	w.later(5 * time.Minute)
	if n := stored(); n != 2 {
		t.Errorf("%d stored, want 2", n)
	}
	if got := slices.Sorted(maps.Keys(w.shownBackups())); !slices.Equal(got, []string{"vm-0", "vm-1"}) {
		t.Errorf("%q", got)
	}
}

// testInstancesOverTheLimit: protected ones come first, and the rest is counted.
func testInstancesOverTheLimit(t *testing.T) {
	acfg := vbawstest.Config{}
	for i := range 4 {
		acfg.Instances = append(acfg.Instances, vbawstest.Instance{ID: vbawstest.ID(i), Name: fmt.Sprintf("alone-%d", i)})
	}
	w := newWorld(t, acfg, poller.Config{MaxInstances: 5})
	w.protect(3)
	w.poll()
	if got := slices.Sorted(maps.Keys(w.byInstance("vbaws_instance_info"))); !slices.Equal(got, []string{"alone-0", "alone-1", "vm-0", "vm-1", "vm-2"}) {
		t.Errorf("%q", got)
	}
	w.is("vbaws_exporter_over_limit", `what="instances"`, 2)
	w.protect(9)
	w.later(5 * time.Minute)
	w.is("vbaws_exporter_over_limit", `what="instances"`, 8)
	if n := len(w.gather("vbaws_instance_info")); n != 5 {
		t.Errorf("%d instances are shown", n)
	}
}

// testInstancesOneAWSId: rows that share AWS's id don't make the same series.
func testInstancesOneAWSId(t *testing.T) {
	acfg := vbawstest.Config{}
	for i := range 3 {
		acfg.Instances = append(acfg.Instances, vbawstest.Instance{ID: vbawstest.ID(i), Name: "same", AWSID: "i-1"})
	}
	acfg.Instances[2].AWSID = vbawstest.ID(1)
	w := newWorld(t, acfg, poller.Config{MaxInstances: 5})
	w.poll()
	for _, id := range []string{"i-1", vbawstest.ID(1), vbawstest.ID(2)} {
		w.is("vbaws_instance_protected", fmt.Sprintf("instance_id=%q instance_name=%q", id, "same"), 0)
	}
}

// testInstancesEndpointsThatFail: what fails costs one log line, shows as an endpoint
// error or a missing right, and keeps sessions and last values as they are.
func testInstancesEndpointsThatFail(t *testing.T) {
	routes := []string{vbaws.RouteInstances, vbaws.RouteLicensed, vbaws.RouteRestorePoints}
	for name, fault := range map[string]vbawstest.Fault{
		"403":    {Status: 403, ErrorCode: "AccessDenied"},
		"404":    {Status: 404, ErrorCode: "NotFound"},
		"405":    {Status: 405, ErrorCode: "MethodNotAllowed"},
		"500":    {Status: 500},
		"broken": {Kind: vbawstest.FaultGarbage},
	} {
		for _, route := range routes {
			t.Run(name+" "+route, func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{LicenseIDs: vbawstest.LicenseIDsOther}, poller.Config{MaxInstances: 100})
				w.protect(30)
				w.backUp(item(0))
				fault := fault
				fault.Route, fault.Count = route, -1
				w.Inject(fault)
				for range 12 {
					w.end("Failed")
					w.later(time.Minute)
				}
				w.counted(map[string]int{"Nightly/Policy/Failed": 12, "Nightly/Policy/Succeeded": 1})
				s := w.p.Published().Status
				if name == "403" {
					if !s.Forbidden[route] {
						t.Errorf("forbidden: %v", s.Forbidden)
					}
				} else if s.EndpointErrors[route] == "" {
					t.Errorf("endpoint errors: %v", s.EndpointErrors)
				}
				if lines := w.log.with("endpoint=" + route); len(lines) != 1 {
					t.Errorf("log lines %q", lines)
				}
				if route == vbaws.RouteLicensed {
					w.isTruth()
				}
				if route == vbaws.RouteRestorePoints {
					if n := w.requests(route); n > 3*4*3 {
						t.Errorf("%d requests to an endpoint that fails", n)
					}
				}
			})
		}
	}
}

// testInstancesLastValuesAreKept: a list that fails for a while changes nothing.
func testInstancesLastValuesAreKept(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{MaxInstances: 100})
	w.protect(2)
	w.backUp(item(0), item(1))
	w.poll()
	before := w.shownBackups()
	var faults []*vbawstest.Injection
	for _, route := range []string{vbaws.RouteInstances, vbaws.RouteLicensed} {
		faults = append(faults, w.Inject(vbawstest.Fault{Route: route, Status: 500, Count: -1}))
	}
	w.later(6 * time.Minute)
	if d := cmp.Diff(before, w.shownBackups()); d != "" || len(before) != 2 {
		t.Error(d)
	}
	// While the licensed workloads can't be read, restore points can.
	w.clock.Advance(time.Hour)
	w.backUp(item(1))
	w.poll()
	w.isTruth()
	for _, f := range faults {
		f.Remove()
	}
	w.backUp(item(0))
	w.later(6 * time.Minute)
	w.isTruth()
}

// testInstancesRestorePointsThatFail: one that the appliance refuses doesn't keep others
// from being looked up.
func testInstancesRestorePointsThatFail(t *testing.T) {
	w := newWorld(t, vbawstest.Config{LicenseIDs: vbawstest.LicenseIDsOther}, poller.Config{MaxInstances: 100})
	w.protect(45)
	w.OnRequest(func(r *http.Request) {
		if r.URL.Query().Get("VirtualMachineId") == item(0).ID {
			q := r.URL.Query()
			q.Set("VirtualMachineId", "7")
			r.URL.RawQuery = q.Encode()
		}
	})
	for range 4 {
		w.later(6 * time.Minute)
	}
	got := w.shownBackups()
	if _, ok := got["vm-0"]; ok || len(got) != 44 {
		t.Errorf("%d are known, vm-0 among them: %v", len(got), ok)
	}
	if err := w.p.Published().EndpointErrors[vbaws.RouteRestorePoints]; !strings.Contains(err, "400") {
		t.Errorf("endpoint error %q", err)
	}
}

// testInstancesLimitRejected: restore points are requested in pages that the appliance accepts.
func testInstancesLimitRejected(t *testing.T) {
	for _, most := range []int{50, 5} { // at 5 only no Limit will do
		w := newWorld(t, vbawstest.Config{LicenseIDs: vbawstest.LicenseIDsOther, MaxPageSize: most, RefuseLimit: true}, poller.Config{MaxInstances: 100})
		w.protect(10)
		w.backUp(item(0), item(9))
		w.poll()
		w.isTruth()
		if got := w.p.Published().EndpointErrors; len(got) > 0 {
			t.Errorf("at most %d: endpoint errors %v", most, got)
		}
	}
}

// slowLists is an API whose lists of instances hang while they are slow.
type slowLists struct {
	poller.API
	slow bool
}

func (s *slowLists) Instances(ctx context.Context, q vbaws.InstancesQuery) (*vbaws.InstancesPage, error) {
	if s.slow {
		<-ctx.Done()
		return nil, failure(vbaws.KindTimeout, ctx.Err())
	}
	return s.API.Instances(ctx, q)
}

func (s *slowLists) LicensedWorkloads(ctx context.Context, offset, limit int) (*vbaws.LicensedWorkloadsPage, error) {
	if s.slow {
		<-ctx.Done()
		return nil, failure(vbaws.KindTimeout, ctx.Err())
	}
	return s.API.LicensedWorkloads(ctx, offset, limit)
}

// testInstancesListsThatHang: they don't take the time of the look-ups.
func testInstancesListsThatHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, vbawstest.Config{}, poller.Config{MaxInstances: 100})
		w.protect(3)
		api := &slowLists{API: w.client(w.clock.Now)}
		w.watch(api, w.clock.Now)
		w.poll()
		w.isTruth()
		api.slow = true
		for range 3 {
			w.clock.Advance(6 * time.Minute)
			w.backUp(item(0), item(1))
			w.poll()
			w.isTruth()
		}
	})
}

// testInstancesImpossibleTimes: times before 2000, or ahead of the appliance's clock, are none.
func testInstancesImpossibleTimes(t *testing.T) {
	for _, ids := range []vbawstest.LicenseIDs{vbawstest.LicenseIDsOfWorkloads, vbawstest.LicenseIDsOther} {
		w := newWorld(t, vbawstest.Config{LicenseIDs: ids}, poller.Config{MaxInstances: 100})
		w.protect(2)
		for i, at := range []time.Time{time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), w.Now().Add(3 * time.Hour)} {
			s := w.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Status: "Succeeded", PolicyID: vbawstest.ID(1), Start: at})
			w.SetItems(s.ID, item(i))
		}
		w.poll()
		w.later(6 * time.Minute)
		if got := w.shownBackups(); len(got) != 0 {
			t.Errorf("%v", got)
		}
	}
}

// testInstancesLeftOutByItsPolicy: a policy that ends with Warning every night has no problem, and the
// machine that it leaves out has no backup.
func testInstancesLeftOutByItsPolicy(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{MaxInstances: 100})
	items := []vbawstest.Item{item(0), item(1), item(2)}
	fleet := vbawstest.NewFleet(w.Appliance, vbawstest.FleetConfig{PoliciesOnly: true, Policies: []vbawstest.PolicySpec{{
		Policy: vbawstest.Policy{ID: vbawstest.ID(2), Name: "Web", Enabled: true, Items: items,
			Schedule: &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
				Kind: "Everyday", RunsPerHour: 1, Backup: vbawstest.Hours(vbawstest.Retention{}, 1)}}},
		LeftOut: item(1).ID, LeftOutFrom: epoch.Add(2 * 24 * time.Hour),
	}}})
	for range 9 * 4 {
		w.clock.Advance(6 * time.Hour)
		fleet.Advance(w.clock.Now())
		w.poll()
		w.isTruth()
	}
	for _, m := range w.gather("vbaws_policy_problem") {
		if m.Gauge.GetValue() != 0 {
			t.Errorf("a problem of the policy: %s", polltest.Labels(m))
		}
	}
	w.is("vbaws_session_last_status", `extended_type="PolicyBackup" policy="Web" status="Warning" type="Policy"`, 1)
	for name, at := range w.shownBackups() {
		if age := w.Now().Sub(at); (age > 7*24*time.Hour) != (name == "vm-1") {
			t.Errorf("the newest backup of %s is %s old", name, age)
		}
	}
}
