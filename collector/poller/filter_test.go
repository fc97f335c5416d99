package poller_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	kitlog "github.com/go-kit/log"
	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

// counted returns how many sessions each series has, by type and policy.
func counted(p *polltest.Exporter) map[string]int {
	n := make(map[string]int)
	for _, s := range p.Published().View.Series {
		k := s.Key.Type + " of " + s.Key.Policy
		n[k] += 0
		for _, c := range s.Counters {
			n[k] += int(c.Count)
		}
	}
	return n
}

func TestFilter(t *testing.T) {
	t.Run("counted sessions", testFilterCountedSessions)
	t.Run("too many policies", testFilterTooManyPolicies)
	t.Run("filter that changes", testFilterFilterThatChanges)
	t.Run("filtered types are not looked up", testFilterFilteredTypesAreNotLookedUp)
	t.Run("policies that can no longer be listed", testFilterPoliciesThatCanNoLongerBeListed)
	t.Run("policies that can't be listed", testFilterPoliciesThatCantBeListed)
}

// testFilterCountedSessions lets sessions of every sort end and run, by names
// and by PolicyId.
func testFilterCountedSessions(t *testing.T) {
	for _, revision := range []string{"1.0-rev0", "1.8-rev0"} {
		d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{Revisions: []string{revision}}, poller.Config{
			Ledger: ledger.Options{Filter: ledger.Filter{
				Type:   func(typ string) bool { return typ != "Task" },
				Policy: func(name string) bool { return name == "" || strings.HasPrefix(name, "prod-") },
			}},
		})
		var policies []vbawstest.Policy
		for _, name := range []string{"prod-1", "test"} {
			policies = append(policies, d.PutPolicy(vbawstest.Policy{Name: name, Enabled: true, Schedule: nightly(2)}))
		}
		put := func() {
			now := d.Now()
			for _, pol := range policies {
				for _, typ := range []string{"Policy", "Job", "Task"} {
					for _, status := range []string{"Succeeded", "Running"} {
						s := vbawstest.Session{
							Type: typ, Name: pol.Name, PolicyID: pol.ID, Status: status, Start: now.Add(-time.Second),
						}
						if status != "Running" {
							s.Stop = now
						}
						d.Put(s)
					}
				}
			}
			d.Put(vbawstest.Session{Type: "RetentionActivity", Status: "Succeeded", Start: now, Stop: now})
		}
		put()
		d.after(0, "")
		put()
		d.after(time.Minute, "")
		d.after(2*time.Hour, "") // with resyncs
		want := map[string]int{"Policy of prod-1": 2, "Job of prod-1": 2, "RetentionActivity of ": 2}
		if diff := cmp.Diff(want, counted(d.p)); diff != "" {
			t.Errorf("%s: %s", revision, diff)
		}
		if rows := d.p.Published().Policies.Rows; len(rows) != 1 || rows[0].Name != "prod-1" {
			t.Errorf("%s: policies %+v", revision, rows)
		}
		d.ResetRequests()
		d.after(time.Minute, "")
		if n := len(d.Requests()); n != 1 {
			t.Errorf("%s: %d requests of an idle poll: what is left out must not be asked for again", revision, n)
		}
	}
}

// testFilterTooManyPolicies: the first keep their series, the others are counted together,
// and it is logged once.
func testFilterTooManyPolicies(t *testing.T) {
	var log strings.Builder
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{
		Ledger: ledger.Options{MaxPolicies: 3}, Logger: kitlog.NewLogfmtLogger(&log),
	})
	total := 0
	for round := range 3 {
		for i := range 5 {
			pol := vbawstest.Policy{Name: fmt.Sprintf("policy-%d", i), ID: vbawstest.ID(i)}
			if round == 0 {
				d.PutPolicy(pol)
			}
			d.ran(pol, "PolicyBackup", "Failed")
			total++
		}
		d.after(time.Minute, "")
	}
	got := counted(d.p)
	sum := 0
	for _, n := range got {
		sum += n
	}
	if sum != total || len(got) != 4 || got["Policy of "] != 6 {
		t.Errorf("%d sessions counted as %v, want %d, and 6 of two policies together", sum, got, total)
	}
	if n := d.p.Published().View.OverLimit[ledger.LimitPolicies]; n != 2 {
		t.Errorf("%d policies are over the limit, want 2", n)
	}
	if n := len(d.p.Published().Policies.All); n != 3 {
		t.Errorf("%d policies are shown, want 3", n)
	}
	if n := strings.Count(log.String(), "too many policies"); n != 1 || !strings.Contains(log.String(), "count=2") {
		t.Errorf("%d log lines, want one for both policies:\n%s", n, log.String())
	}

	// One that goes makes room.
	for k := range maps.Keys(got) {
		if name, ok := strings.CutPrefix(k, "Policy of policy-"); ok {
			d.DeletePolicy(vbawstest.ID(int(name[0] - '0')))
			break
		}
	}
	d.after(6*time.Minute, "")
	d.after(6*time.Minute, "")
	for i := range 5 {
		if slices.ContainsFunc(d.Policies(), func(p vbawstest.Policy) bool { return p.ID == vbawstest.ID(i) }) {
			d.ran(vbawstest.Policy{Name: fmt.Sprintf("policy-%d", i), ID: vbawstest.ID(i)}, "PolicyBackup", "Failed")
		}
	}
	if err := d.p.Poll(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n := d.p.Published().View.OverLimit[ledger.LimitPolicies]; n != 1 {
		t.Errorf("%d policies are over the limit, want 1", n)
	}
}

// testFilterFilterThatChanges: a policy that is left out later isn't shown from then on and
// takes no room of others. It is there again once the filter selects it again.
func testFilterFilterThatChanges(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Ledger: ledger.Options{MaxPolicies: 1}})
	w.ends(2, "Failed")
	w.endOf("Job", "Nightly", vbawstest.ID(1))
	w.poll()
	other := w.PutPolicy(vbawstest.Policy{Name: "prod", Enabled: true})
	w.endOf("Policy", "prod", other.ID)
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Failed": 2, "Nightly/Job/Succeeded": 1, "/Policy/Succeeded": 1})

	w.cfg.Ledger.Filter.Policy = func(name string) bool { return name != "Nightly" }
	w.restart()
	w.counted(map[string]int{"/Policy/Succeeded": 1})
	w.ends(1, "Failed")
	w.endOf("Policy", "prod", other.ID)
	w.later(time.Minute)
	w.counted(map[string]int{"/Policy/Succeeded": 1, "prod/Policy/Succeeded": 1})

	w.cfg.Ledger.Filter = ledger.Filter{Type: func(typ string) bool { return typ == "Policy" }}
	w.restart()
	w.ends(1, "Failed")
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Failed": 3, "/Policy/Succeeded": 1, "prod/Policy/Succeeded": 1})
	w.skipped(map[string]uint64{})
}

// testFilterFilteredTypesAreNotLookedUp: types that are left out are not looked up.
func testFilterFilteredTypesAreNotLookedUp(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{
		Backfill: time.Hour, Ledger: ledger.Options{Filter: ledger.Filter{Type: func(typ string) bool { return typ == "Job" }}},
	})
	old := w.Now().Add(-5 * 24 * time.Hour)
	w.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1), Status: "Failed", Start: old, Stop: old})
	w.poll()
	w.later(time.Minute)
	if got := w.p.Published().View.Series; len(got) > 0 {
		t.Errorf("there is %+v", got[0].Key)
	}
	// If its sessions are left out, nothing of the policy is due.
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(1), Name: "Nightly", Enabled: true, Schedule: nightly(2)})
	w.later(6 * time.Minute)
	w.later(24 * time.Hour)
	if got := w.p.Published().Policies.Rows; len(got) != 1 || len(got[0].Kinds) > 0 {
		t.Errorf("policies %+v", got)
	}
}

// testFilterPoliciesThatCanNoLongerBeListed: a policy that was listed before is removed a
// long time after its last session.
func testFilterPoliciesThatCanNoLongerBeListed(t *testing.T) {
	const day = 24 * time.Hour
	w := newWorld(t, vbawstest.Config{}, poller.Config{PolicyRetention: 35 * day})
	kept := w.PutPolicy(vbawstest.Policy{Name: "kept", Enabled: true})
	w.PutPolicy(vbawstest.Policy{Name: "never ran", Enabled: true})
	w.ends(2, "Failed")
	w.endOf("Policy", "kept", kept.ID)
	w.poll()
	w.later(6 * time.Minute)
	w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: vmPolicies, Status: 403, ErrorCode: "AccessDenied", Count: -1})
	names := func(want ...string) {
		t.Helper()
		var got []string
		for _, p := range w.p.Published().Policies.All {
			got = append(got, p.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("policies %q, want %q", got, want)
		}
	}
	for n := range 40 {
		w.later(day)
		w.endOf("Policy", "kept", kept.ID)
		if n == 33 {
			names("Nightly", "kept", "never ran")
		}
	}
	w.later(time.Minute)
	w.counted(map[string]int{"kept/Policy/Succeeded": 41})
	names("kept")
}

// testFilterPoliciesThatCantBeListed: without a listing, a policy is removed a long time
// after its last session.
func testFilterPoliciesThatCantBeListed(t *testing.T) {
	const day = 24 * time.Hour
	d := newBerlin(t, "2026-06-10 18:30", vbawstest.Config{}, poller.Config{PolicyRetention: 35 * day})
	d.Inject(vbawstest.Fault{Route: "/api/v1/virtualMachines/policies", Count: -1, Status: 403, ErrorCode: "AccessDenied"})
	old, young := vbawstest.Policy{Name: "old"}, vbawstest.Policy{Name: "young"}
	d.after(0, "")
	d.ran(old, "PolicyBackup", "Failed")
	d.ran(young, "PolicyBackup", "Failed")
	d.Put(vbawstest.Session{Type: "RetentionActivity", Status: "Failed", Start: d.Now(), Stop: d.Now()})
	d.after(time.Minute, "")
	d.clock.Advance(20 * day)
	d.ran(young, "PolicyBackup", "Failed")
	d.after(time.Minute, "")
	has := func(want ...string) {
		t.Helper()
		got := slices.Sorted(maps.Keys(counted(d.p)))
		if !slices.Equal(got, want) {
			t.Errorf("series %q, want %q", got, want)
		}
	}
	d.after(14*day, "")
	has("Policy of old", "Policy of young", "RetentionActivity of ")
	d.after(2*day, "")
	// That it was long ago, sessions of others show, and not the clock.
	has("Policy of old", "Policy of young", "RetentionActivity of ")
	d.ran(young, "PolicyBackup", "Failed")
	d.after(6*time.Minute, "")
	has("Policy of young", "RetentionActivity of ")
	// Should it run after all, it is counted, and once.
	d.ran(old, "PolicyBackup", "Failed")
	d.after(time.Minute, "")
	if got := counted(d.p)["Policy of old"]; got != 1 {
		t.Errorf("%d sessions of a policy that came back, want 1", got)
	}
	if got := d.p.Published().Forbidden["/api/v1/virtualMachines/policies"]; !got {
		t.Error("the listing isn't shown as forbidden")
	}
}
