package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v4"

	"vbaws_exporter/collector/schedule"
)

const alertsPath = "../../prometheus/alerts.yml"

// TestCommitted: the files in the repository are what this program makes.
func TestCommitted(t *testing.T) {
	files, err := generate(alertsPath)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s isn't what the code makes; 'go run .' makes it so:\n%s", name, diff)
		}
	}
	boards, err := filepath.Glob("../*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range boards {
		if files[filepath.Base(path)] == nil {
			t.Errorf("%s isn't made by the code", path)
		}
	}
}

// TestManagedAlerts: the file for Grafana has every alert of alerts.yml, and what is said in
// them can be said by Grafana.
func TestManagedAlerts(t *testing.T) {
	a, err := loadAlerts(alertsPath)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../provisioning/alerting/vbaws-alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file ruleFile
	if err := yaml.Load(data, &file, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	uids := map[string]bool{}
	n := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			n++
			if uids[r.UID] || len(r.UID) > 40 || len(r.Data) != 2 || a.exprs[r.Title] == "" {
				t.Errorf("%s: its uid is taken or too long, it has other queries than two, or alerts.yml doesn't have it", r.Title)
			}
			uids[r.UID] = true
			expr := r.Data[0].Model.(map[string]any)["expr"].(string)
			if strings.Contains(expr, "vbaws:") || strings.Contains(expr, "ALERTS") {
				t.Errorf("%s asks for what only Prometheus's rules make: %s", r.Title, expr)
			}
			if _, err := promQL.ParseExpr(expr); err != nil {
				t.Errorf("%s: %v", r.Title, err)
			}
			for name, text := range r.Annotations {
				said := expand(t, r.Title, text)
				if strings.Contains(said, "no value") || strings.Contains(said, "%!") || strings.Contains(text, "$") {
					t.Errorf("%s of %s says %q", name, r.Title, said)
				}
			}
		}
	}
	if n != len(a.exprs) || n < 20 {
		t.Errorf("%d alerts, alerts.yml has %d", n, len(a.exprs))
	}
}

// expand does with a template what Grafana does: by Prometheus's package, with
// labels and values in a structure of its own, and nothing to be asked.
func expand(t *testing.T, title, text string) string {
	t.Helper()
	type value struct{ Value float64 }
	data := struct {
		Labels map[string]string
		Values map[string]value
		Value  string
	}{
		Labels: map[string]string{
			"appliance": "eu", "policy": "gold", "workload": "ec2", "kind": "backup", "extended_type": "PolicyBackup",
			"instance": "localhost:10105", "job": "vbaws", "reason": "gone", "what": "policies", "type": "RetentionActivity", "result": "auth",
		},
		Values: map[string]value{"query": {7200}},
	}
	noQuery := func(context.Context, string, time.Time) (promql.Vector, error) {
		return nil, errors.New("Grafana asks nothing")
	}
	said, err := template.NewTemplateExpander(context.Background(), text, title, data, model.Now(), noQuery, nil, []string{"missingkey=error"}).Expand()
	if err != nil {
		t.Errorf("%s: %v", title, err)
	}
	return said
}

func TestManagedTemplate(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{{ $labels.a }} is {{ $value | humanize }}", "{{.Labels.a}} is {{.Values.query.Value | humanize}}"},
		{"It is. {{ with query \"up\" }}{{ . }}{{ else }}None is known.{{ end }} Look.", "It is. Look."},
		{"{{ if $value }}{{ with printf \"%q\" $labels.a | query }}x{{ end }}y{{ end }}", "{{if .Values.query.Value}}y{{end}}"},
		{"{{ with $labels.a }}{{ . }}{{ else }}no {{ $labels.b }}{{ end }}", "{{with .Labels.a}}{{.}}{{else}}no {{.Labels.b}}{{end}}"},
	} {
		if got, err := managedTemplate(c.text); err != nil || got != c.want {
			t.Errorf("%q becomes %q, want %q (%v)", c.text, got, c.want, err)
		}
	}
	for _, bad := range []string{"{{ query \"up\" | first }}", "{{ with $labels.a }}{{ $labels.b }}{{ end }}", "It is {{ with query \"up\" }}x{{ end }}.", "{{"} {
		if got, err := managedTemplate(bad); err == nil {
			t.Errorf("%q becomes %q", bad, got)
		}
	}
}

func TestStandalone(t *testing.T) {
	a := &alerts{
		records: map[string]string{"r:x": "sum(up) or r:y", "r:y": "vector(1)"},
		exprs: map[string]string{
			"Good":  `abs(r:x) > 1 unless (r:y unless on (a) ALERTS{alertname="Good"})`,
			"Label": `r:x{a="b"}`,
		},
	}
	got, err := a.expr("Good")
	if want := `abs((sum(up) or (vector(1)))) > 1 unless ((vector(1)))`; err != nil || strings.Join(strings.Fields(got), " ") != want {
		t.Errorf("got %s, want %s (%v)", got, want, err)
	}
	for _, bad := range []string{"Label", "Missing"} {
		if got, err := a.expr(bad); err == nil {
			t.Errorf("%s is %s", bad, got)
		}
	}
}

// TestRunning: the rules tell by its words what a session may bring, as the exporter does.
func TestRunning(t *testing.T) {
	a, err := loadAlerts(alertsPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{
		"PolicySnapshot", "PolicyRdsSnapshot", "PolicyRemoteSnapshot", "PolicyBackup", "PolicyEfsBackup", "VpcBackup", "PolicyEfsBackupCopy",
		"PolicyReplication", "policyremotesnapshot", "PolicyArchive", "PolicyRdsArchiveBackup",
	} {
		w := watch(t, `vbaws_sessions_running{appliance="eu", policy="p", type="Policy", extended_type="`+word+`"} 1`)
		got := map[schedule.Kind]bool{}
		for _, s := range w.eval(t, a.record("vbaws:policy_sessions_running:sum"), 0) {
			got[schedule.Kind(s.Metric.Get("kind"))] = true
		}
		want := map[schedule.Kind]bool{}
		for _, due := range []schedule.Kind{schedule.Whole, schedule.Snapshot, schedule.Replica, schedule.Backup} {
			if schedule.Satisfies(due, schedule.KindOf(word)) {
				want[due] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", word, diff)
		}
	}
}

// TestProvisioning: what is provisioned is where it is said to be, under one name.
func TestProvisioning(t *testing.T) {
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			UID, Type string
		}
	}
	load(t, "../provisioning/datasources/vbaws.yml", &sources)
	if sources.APIVersion != 1 || len(sources.Datasources) != 1 || sources.Datasources[0].UID != dataSourceUID || sources.Datasources[0].Type != "prometheus" {
		t.Errorf("data sources are %+v", sources)
	}
	var providers struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Folder, Type string
		}
	}
	load(t, "../provisioning/dashboards/vbaws.yml", &providers)
	if providers.APIVersion != 1 || len(providers.Providers) != 1 || providers.Providers[0].Folder != folder || providers.Providers[0].Type != "file" {
		t.Errorf("providers are %+v", providers)
	}
}

func load(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("%s is missing", path)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Load(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
