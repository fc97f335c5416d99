package web

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
)

// watched returns an appliance with these instances.
func watched(over int, shown ...poller.Instance) poller.Published {
	return poller.Published{
		View: &ledger.View{}, Policies: &poller.PolicySet{}, Instances: &poller.Instances{Shown: shown, Over: over},
		Status: poller.Status{Polls: 1, Up: true, Result: poller.ResultSuccess},
	}
}

func TestInstances(t *testing.T) {
	t.Run("table", testInstancesTable)
	t.Run("many", testInstancesMany)
	t.Run("over limit", testInstancesOverLimit)
}

// testInstancesTable: the oldest backup comes first, and unprotected instances have their own
// list.
func testInstancesTable(t *testing.T) {
	backup := func(name string, age time.Duration) poller.Instance {
		return poller.Instance{ID: "i-" + name, Name: name, Region: "eu-central-1", Protected: true, BackupKnown: true, LastBackup: noon.Add(-age)}
	}
	h := handler(t, Options{Sources: sources(&source{"a", watched(2,
		backup("fresh", time.Hour), backup("old", 8*24*time.Hour), backup("older <b>", 9*24*time.Hour),
		poller.Instance{ID: "i-never", Name: "never", Protected: true, BackupKnown: true},
		poller.Instance{ID: "i-unknown", Name: "unknown", Protected: true},
		poller.Instance{ID: "i-z", Name: "z"}, poller.Instance{ID: "i-y", Name: "y", Region: "eu-west-1"},
	)})})
	var back status
	text := body(t, get(h, "/api/v1/status"))
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	want := &instancesStatus{
		Count: 9, Protected: 5,
		OldestBackups: []instanceStatus{
			{Name: "never", ID: "i-never", NoBackup: true},
			{Name: "older <b>", ID: "i-older <b>", Region: "eu-central-1", LastBackup: noon.Add(-9 * 24 * time.Hour)},
			{Name: "old", ID: "i-old", Region: "eu-central-1", LastBackup: noon.Add(-8 * 24 * time.Hour)},
			{Name: "fresh", ID: "i-fresh", Region: "eu-central-1", LastBackup: noon.Add(-time.Hour)},
			{Name: "unknown", ID: "i-unknown"},
		},
		Unprotected: []instanceStatus{{Name: "y", ID: "i-y", Region: "eu-west-1"}, {Name: "z", ID: "i-z"}},
	}
	if diff := cmp.Diff(want, back.Appliances[0].Instances); diff != "" {
		t.Errorf("JSON, -want +got:\n%s", diff)
	}
	if n := back.Appliances[0].OverLimit["instances"]; n != 2 {
		t.Errorf("%d over the limit", n)
	}
	page := body(t, get(h, "/"))
	for _, want := range []string{
		"<summary>9 EC2 instances, 5 protected</summary>", "Protected, the oldest backup first", "Not protected by a policy",
		`<span class="result warning">no backup</span>`, `<span class="result pending">not known yet</span>`,
		`<bdi class="name">older &lt;b&gt;</bdi>`, ">9 days ago</time>",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	var order []string
	for _, m := range regexp.MustCompile(`<bdi class="name">(never|older|old|fresh|unknown|y|z)\b`).FindAllStringSubmatch(page, -1) {
		order = append(order, m[1])
	}
	if want := []string{"never", "older", "old", "fresh", "unknown", "y", "z"}; !slices.Equal(order, want) {
		t.Errorf("the page has %q, want %q", order, want)
	}
	if strings.Contains(body(t, get(handler(t, Options{Sources: sources(&source{"a", published()})}), "/")), "EC2 instance") {
		t.Error("instances of an appliance that isn't to show them")
	}
}

// testInstancesOverLimit: the status has each limit of the metric vbaws_exporter_over_limit.
func testInstancesOverLimit(t *testing.T) {
	p := watched(3)
	p.View.OverLimit = map[string]int{ledger.LimitPolicies: 2, ledger.LimitSeries: 0}
	p.Facts = &poller.Facts{Repositories: &poller.Repositories{Over: 5}}
	h := handler(t, Options{Sources: sources(&source{"a", p})})
	var back status
	if err := json.Unmarshal([]byte(body(t, get(h, "/api/v1/status"))), &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"policies": 2, "instances": 3, "repositories": 5}, back.Appliances[0].OverLimit); diff != "" {
		t.Errorf("JSON, -want +got:\n%s", diff)
	}
	if page := body(t, get(h, "/")); !strings.Contains(page, "3 instances, 2 policies, 5 repositories") {
		t.Errorf("the page lacks them:\n%s", page)
	}
}

// testInstancesMany: the lists are limited.
func testInstancesMany(t *testing.T) {
	var all []poller.Instance
	for i := range 5000 {
		all = append(all, poller.Instance{
			ID: fmt.Sprintf("i-%04d", i), Name: strings.Repeat("n", 240) + fmt.Sprint(i), Protected: i%2 == 0, BackupKnown: true, LastBackup: noon.Add(-time.Duration(i) * time.Hour),
		})
	}
	h := handler(t, Options{Sources: sources(&source{"a", watched(0, all...)})})
	page, text := body(t, get(h, "/")), body(t, get(h, "/api/v1/status"))
	if len(page) > 200_000 || len(text) > 200_000 {
		t.Errorf("the page has %d bytes, the JSON %d", len(page), len(text))
	}
	for _, want := range []string{"2400 more have newer backups", "2400 more are not shown", "<bdi>i-4998</bdi>", "5000 EC2 instances, 2500 protected"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}
