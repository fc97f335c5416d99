package e2e

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"vbaws_exporter/vbaws/vbawstest"
)

// rulesDir has the rules and example configurations that are shipped.
const rulesDir = "../prometheus"

func promtool(t *testing.T, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Dir = rulesDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	promtool(t, tools.promtool, "check", "rules", "alerts.yml", "rules.yml")
	promtool(t, tools.promtool, "check", "config", "prometheus.yml")
	tests, err := filepath.Glob(filepath.Join(rulesDir, "*_test.yml"))
	if err != nil || len(tests) == 0 {
		t.Fatal("no unit tests", err)
	}
	for _, path := range tests {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			promtool(t, tools.promtool, "test", "rules", filepath.Base(path))
		})
	}
}

// TestRulesOfDistribution checks the rules with the promtool that is installed, such as
// Debian's 2.42.
func TestRulesOfDistribution(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool is installed")
	}
	promtool(t, path, "check", "rules", "alerts.yml", "rules.yml")
	promtool(t, path, "check", "config", "prometheus.yml")
}

// TestDistributionEvaluates: the Prometheus that is installed evaluates every rule.
func TestDistributionEvaluates(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("no Prometheus is installed")
	}
	s := newSite(t, "eu", vbawstest.Config{Seed: 1})
	s.fail(s.policy("bad", vbawstest.EC2), "PolicyBackup")
	p := startPrometheus(t, startExporter(t, hold, s).Address, prometheusOptions{binary: path, classic: true})
	p.awaitQuery(`count(ALERTS{alertname="VbawsPolicyFailing", policy="bad", alertstate="firing"})`, 1)
	p.checkRules()
}

// alerts returns the alerts of alerts.yml.
func alerts(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.ParseFile(filepath.Join(rulesDir, "alerts.yml"), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	var found []rulefmt.Rule
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				found = append(found, r)
			}
		}
	}
	return found
}

// TestAlerts: each alert has a summary, a description, a severity, a section of the
// runbook and a unit test.
func TestAlerts(t *testing.T) {
	t.Parallel()
	runbook, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for _, m := range regexp.MustCompile(`(?m)^### (.+)\n\n((?:.+\n|\n[^#])*)`).FindAllStringSubmatch(string(runbook), -1) {
		sections = append(sections, m[1])
		for _, part := range []string{"**Means:**", "**Look:**", "**Do:**", "**Harmless:**"} {
			if !strings.Contains(m[2], part) {
				t.Errorf("the runbook's section %s has no %s", m[1], part)
			}
		}
	}
	tests := shipped(t, "alerts_test.yml") + shipped(t, "alerts_days_test.yml")
	var names []string
	for _, a := range alerts(t) {
		names = append(names, a.Alert)
		if !strings.HasPrefix(a.Alert, "Vbaws") || a.For == 0 || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s has no Vbaws prefix, for, summary or description", a.Alert)
		}
		if !slices.Contains([]string{"critical", "warning", "info", "none"}, a.Labels["severity"]) {
			t.Errorf("%s has the severity %q", a.Alert, a.Labels["severity"])
		}
		if got, want := a.Annotations["runbook_url"], "docs/runbook.md#"+strings.ToLower(a.Alert); !strings.HasSuffix(got, want) {
			t.Errorf("%s has its runbook at %s, want %s", a.Alert, got, want)
		}
		if len(a.Annotations["summary"]) > 240 {
			t.Errorf("%s has a summary of %d bytes", a.Alert, len(a.Annotations["summary"]))
		}
		if !strings.Contains(tests, "alertname: "+a.Alert+"\n") || !strings.Contains(tests, "runbook_url: "+a.Annotations["runbook_url"]+"\n") {
			t.Errorf("%s fires in no unit test", a.Alert)
		}
	}
	slices.Sort(names)
	slices.Sort(sections)
	if diff := cmp.Diff(names, sections); diff != "" {
		t.Errorf("alerts and sections of the runbook differ: %s", diff)
	}
}

// TestInhibitorsFireFirst: an alert waits for less time than the alerts that it inhibits,
// so that problems that begin together are one notification.
func TestInhibitorsFireFirst(t *testing.T) {
	t.Parallel()
	wait := map[string]model.Duration{}
	for _, a := range alerts(t) {
		wait[a.Alert] = a.For
	}
	for _, pair := range [][2]string{
		{"VbawsManyPoliciesOverdue", "VbawsPolicyOverdue"},
		{"VbawsPolicyStuck", "VbawsPolicyFailing"},
		{"VbawsPolicyStuck", "VbawsPolicyOverdue"},
		{"VbawsPolicyOverdueCritical", "VbawsPolicyFailing"},
	} {
		if wait[pair[0]] >= wait[pair[1]] {
			t.Errorf("%s waits for %v, and %s for %v", pair[0], wait[pair[0]], pair[1], wait[pair[1]])
		}
	}
	// A policy becomes overdue 5 minutes after the failed session, at the earliest.
	if wait["VbawsPolicyFailing"] > wait["VbawsPolicyOverdue"] {
		t.Errorf("failing waits for %v, overdue for %v", wait["VbawsPolicyFailing"], wait["VbawsPolicyOverdue"])
	}
}

// TestKeptFiring: after the exporter is gone, an alert on a policy fires for longer than
// the alerts that inhibit it wait, so that it is inhibited before it seems resolved.
func TestKeptFiring(t *testing.T) {
	t.Parallel()
	var missed, kept []model.Duration
	keeps := make(map[string]model.Duration)
	for _, a := range alerts(t) {
		keeps[a.Alert] = a.KeepFiringFor
		switch {
		case a.Alert == "VbawsExporterGone" || a.Alert == "VbawsApplianceNotPolled":
			missed = append(missed, a.For)
		case strings.HasPrefix(a.Alert, "VbawsPolicy") || a.Alert == "VbawsManyPoliciesOverdue":
			kept = append(kept, a.KeepFiringFor)
		}
	}
	// VbawsExporterGone inhibits VbawsApplianceNotPolled until that is resolved, though the
	// two are evaluated up to a minute apart.
	if keeps["VbawsExporterGone"]-keeps["VbawsApplianceNotPolled"] < model.Duration(time.Minute) {
		t.Errorf("kept firing: %v", keeps)
	}
	if len(missed) != 2 || len(kept) == 0 || slices.Min(kept) < 2*slices.Max(missed) {
		t.Errorf("kept firing for %v; the inhibiting alerts wait for %v", kept, missed)
	}
}
