package demo

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

// newest is the newest API version that the demo's appliance accepts.
const newest = "1.9-rev0"

// fetch sends a request to the demo's appliance and decodes the answer.
func fetch(t *testing.T, d *Demo, token, path string, form url.Values, into any) {
	t.Helper()
	method := http.MethodGet
	if form != nil {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, d.URL+"/api/v1/"+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-api-version", newest)
	req.Header.Set("Authorization", "Bearer "+token)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := d.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// TestTheDemoServesTheNewestForms: every workload has policies, and the hours of daily
// schedules are numbers.
func TestTheDemoServesTheNewestForms(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d, err := Start(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	var login struct {
		Token string `json:"access_token"`
	}
	fetch(t, d, "", "token", url.Values{"grant_type": {"password"}, "username": {vbawstest.DefaultUsername}, "password": {vbawstest.DefaultPassword}}, &login)

	type option struct {
		Schedule struct {
			Hours []int `json:"hours"`
		} `json:"schedule"`
	}
	for _, workload := range []string{"virtualMachines", "rds", "efs", "dynamoDb", "fsx", "redshift", "redshiftServerless"} {
		var page struct {
			Results []struct {
				Name     string `json:"name"`
				Schedule struct {
					Daily struct {
						Snapshot *option `json:"snapshotOptions"`
						Backup   *option `json:"backupOptions"`
					} `json:"dailySchedule"`
				} `json:"scheduleSettings"`
			} `json:"results"`
		}
		fetch(t, d, login.Token, workload+"/policies", nil, &page)
		if len(page.Results) == 0 {
			t.Errorf("%s has no policies", workload)
		}
		for _, p := range page.Results {
			hours := 0
			for _, o := range []*option{p.Schedule.Daily.Snapshot, p.Schedule.Daily.Backup} {
				if o != nil {
					hours += len(o.Schedule.Hours)
				}
			}
			if hours == 0 {
				t.Errorf("%s: policy %q is scheduled in no hour", workload, p.Name)
			}
		}
	}
	var vpc struct {
		Options struct {
			Daily struct {
				Schedule vbawstest.Interval `json:"schedule"`
			} `json:"dailySchedule"`
		} `json:"scheduleOptions"`
	}
	fetch(t, d, login.Token, "vpc/policy", nil, &vpc)
	if got := vpc.Options.Daily.Schedule; got != (vbawstest.Interval{Type: "Hours", Count: 2}) {
		t.Errorf("the VPC policy runs every %+v", got)
	}
	var sla struct {
		Results []map[string]any `json:"results"`
	}
	fetch(t, d, login.Token, "policy/ec2SlaBasedPolicies", nil, &sla)
	if len(sla.Results) != 1 || sla.Results[0]["slaTemplateId"] == nil {
		t.Errorf("SLA-based policies: %v", sla.Results)
	}
}

// TestProblems: whatever the time of the day, a policy is failing, one is overdue and one is
// stuck within two minutes.
func TestProblems(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	const step = 97 * time.Minute // so that the minutes differ as well
	for since := time.Duration(0); since < 24*time.Hour; since += step {
		t.Run(since.String(), func(t *testing.T) { showsProblems(t, vbawstest.NewClock(midnight.Add(since))) })
	}
	t.Run("while the failing one runs", func(t *testing.T) { showsProblems(t, vbawstest.NewClock(midnight.Add(3*time.Hour+time.Minute))) })
}

func showsProblems(t *testing.T, clock *vbawstest.Clock) {
	d, err := start(uint64(clock.Now().Unix()), clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cfg, err := config.Load(d.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	a := &cfg.Appliances[0]
	p := polltest.Start(t, polltest.Options{
		URL: a.URL.String(), Transport: d.server.Transport(), Username: vbawstest.DefaultUsername, Password: vbawstest.DefaultPassword,
		Poller: poller.Config{
			Interval: a.PollInterval, Timeout: a.PollTimeout, Backfill: a.Backfill, OverdueGrace: a.OverdueGrace, Now: clock.Now,
		},
	})
	want := map[string]string{"Legacy ERP": "failing", "VPN gateways": "overdue", "Data lake importers": "stuck"}
	got := make(map[string]string)
	for end := clock.Now().Add(2 * time.Minute); clock.Now().Before(end); clock.Advance(a.PollInterval) {
		d.fleet.Advance(clock.Now())
		if err := p.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		clear(got)
		for _, r := range p.Published().Policies.Rows {
			for _, k := range r.Kinds {
				if state := string(k.State); state == want[r.Name] {
					got[r.Name] = state
				}
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d, err := Start(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	cfg, err := config.Load(d.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	a := &cfg.Appliances[0]
	if got, err := a.Password(); a.URL.String() != d.URL || a.Username != vbawstest.DefaultUsername || got != vbawstest.DefaultPassword || err != nil {
		t.Errorf("the configuration has %s, %s, %q, %v", a.URL, a.Username, got, err)
	}
	if err := a.CheckTLS(); err != nil {
		t.Errorf("certificate: %v", err)
	}
	if n := len(d.server.History()); n < 50 {
		t.Errorf("it has only %d sessions", n)
	}

	var out strings.Builder
	if err := d.Describe(&out, "http", []string{":1", "[::]:2", "0.0.0.0:3", "10.1.2.3:4"}, "/m"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"http://localhost:1/\n", "http://localhost:2/m\n", "http://localhost:3/m\n", "http://10.1.2.3:4/m\n",
		d.URL, vbawstest.DefaultUsername, vbawstest.DefaultPassword, d.CertFile,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}

	// The printed text has the configuration.
	_, pasted, _ := strings.Cut(out.String(), "):\n\n")
	pasted, _, _ = strings.Cut(pasted, "\n\n")
	file := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte(pasted), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := config.Load(file); err != nil || !got.Appliances[0].Equal(a) {
		t.Errorf("%v, pasted:\n%s", err, pasted)
	}

	out.Reset()
	if err := d.Describe(&out, "https", []string{":1"}, "/m"); err != nil || !strings.Contains(out.String(), "https://localhost:1/m\n") {
		t.Errorf("with TLS: %v\n%s", err, out.String())
	}

	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder after the end: %v", err)
	}
}
