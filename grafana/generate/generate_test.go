package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v4"
)

const alertsPath = "../../prometheus/alerts.yml"

// TestCommitted: the files in the repository are those that this program generates.
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
			t.Errorf("%s is not up to date; 'go run .' writes it:\n%s", name, diff)
		}
	}
	boards, err := filepath.Glob("../*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range boards {
		if files[filepath.Base(path)] == nil {
			t.Errorf("%s is not generated", path)
		}
	}
}

// TestManagedAlerts: the file for Grafana has every alert of alerts.yml with the same expression,
// and Grafana can expand its texts.
func TestManagedAlerts(t *testing.T) {
	a, err := loadAlerts(alertsPath)
	if err != nil {
		t.Fatal(err)
	}
	exprs := map[string]string{}
	for _, g := range a.Groups {
		for _, r := range g.Rules {
			exprs[r.Alert] = strings.TrimSpace(r.Expr)
		}
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
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if uids[r.UID] || len(r.UID) > 40 || len(r.Data) != 2 {
				t.Errorf("%s: its uid %s is used twice or too long, or it has other queries than two", r.Title, r.UID)
			}
			uids[r.UID] = true
			if expr := r.Data[0].Model.(map[string]any)["expr"].(string); expr != exprs[r.Title] {
				t.Errorf("%s has the expression %s, want %s", r.Title, expr, exprs[r.Title])
			}
			for name, text := range r.Annotations {
				for _, labels := range []map[string]string{{
					"appliance": "eu", "policy": "gold", "workload": "ec2", "kind": "backup", "instance": "localhost:10105",
					"job": "vbaws", "what": "endpoint errors", "type": "RetentionActivity",
				}, {"appliance": "eu", "policy": "gold", "job": "vbaws", "instance": "localhost:10105", "workload": "", "kind": "", "what": "sessions skipped", "type": "FLRTask"}} {
					said := expand(t, r.Title, text, labels)
					if strings.Contains(said, "no value") || strings.Contains(said, "%!") || strings.Contains(text, "$") ||
						strings.Contains(said, "  ") || regexp.MustCompile(`[( ][.,;)]`).MatchString(said) {
						t.Errorf("%s of %s is %q", name, r.Title, said)
					}
				}
			}
		}
	}
	if len(uids) != len(exprs) || len(uids) < 20 {
		t.Errorf("%d alerts, alerts.yml has %d", len(uids), len(exprs))
	}
}

// TestAlertForms: the alerts work in every Prometheus. They use no recorded series, no ALERTS, no
// window over a day and no query in an annotation, and an alert on a policy is one line.
func TestAlertForms(t *testing.T) {
	a, err := loadAlerts(alertsPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range a.Groups {
		for _, r := range g.Rules {
			e, err := promQL.ParseExpr(r.Expr)
			if err != nil {
				t.Errorf("%s: %v", r.Alert, err)
				continue
			}
			parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
				switch n := n.(type) {
				case *parser.VectorSelector:
					if strings.Contains(n.Name, ":") || n.Name == "ALERTS" || n.OriginalOffset > 24*time.Hour {
						t.Errorf("%s asks for %s", r.Alert, n)
					}
				case *parser.MatrixSelector:
					if n.Range > 24*time.Hour {
						t.Errorf("%s asks for %s", r.Alert, n)
					}
				case *parser.SubqueryExpr:
					t.Errorf("%s asks for %s", r.Alert, n)
				}
				return nil
			})
			for _, text := range r.Annotations {
				if asks.MatchString(text) {
					t.Errorf("%s has a query in an annotation: %s", r.Alert, text)
				}
			}
			if strings.HasPrefix(r.Alert, "VbawsPolicy") && r.Alert != "VbawsPolicyOverdueCritical" && (strings.Contains(strings.TrimSpace(r.Expr), "\n") || len(r.Expr) > 160) {
				t.Errorf("%s is longer than a readable line: %s", r.Alert, r.Expr)
			}
		}
	}
}

// expand expands a template as Grafana does: by Prometheus's package, with labels and values in
// a structure of Grafana's, and without queries.
func expand(t *testing.T, title, text string, labels map[string]string) string {
	t.Helper()
	type value struct{ Value float64 }
	data := struct {
		Labels map[string]string
		Values map[string]value
		Value  string
	}{
		Labels: labels,
		Values: map[string]value{"query": {7200}},
	}
	noQuery := func(context.Context, string, time.Time) (promql.Vector, error) {
		return nil, errors.New("Grafana supports no queries in annotations")
	}
	said, err := template.NewTemplateExpander(context.Background(), text, title, data, model.Now(), noQuery, nil, []string{"missingkey=error"}).Expand()
	if err != nil {
		t.Errorf("%s: %v", title, err)
	}
	return said
}

func TestManagedTemplate(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"{{ $labels.a }} is\n  {{ $value | humanize }}", "{{ .Labels.a }} is {{ .Values.query.Value | humanize }}"},
		{"{{ with $labels.a }}{{ . }}{{ else }}no {{ $labels.b }}{{ end }}", "{{ with .Labels.a }}{{ . }}{{ else }}no {{ .Labels.b }}{{ end }}"},
	} {
		if got, err := managedTemplate(c.text); err != nil || got != c.want {
			t.Errorf("%q becomes %q, want %q (%v)", c.text, got, c.want, err)
		}
	}
	for _, bad := range []string{"{{ query \"up\" | first }}", "{{ with $labels.a }}{{ $labels.b }}{{ end }}", "It is {{ with query \"up\" }}x{{ end }}.", "costs $5"} {
		if got, err := managedTemplate(bad); err == nil {
			t.Errorf("%q becomes %q", bad, got)
		}
	}
}

// TestRunbookBase: a base changes all addresses, and an empty one restores the file.
func TestRunbookBase(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(alertsPath)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "alerts.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, base := range []string{"https://git.example.com/a$1/", "https://other.example.com/", ""} {
		if err := setRunbookBase(dir, base); err != nil {
			t.Fatal(err)
		}
		a, err := loadAlerts(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range a.Groups {
			for _, r := range g.Rules {
				if got, want := r.Annotations["runbook_url"], base+"docs/runbook.md#"+strings.ToLower(r.Alert); got != want {
					t.Fatalf("the runbook is at %s, want %s", got, want)
				}
			}
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != string(text) {
		t.Errorf("the empty base does not restore the file: %v", err)
	}
}

// TestProvisioning: the provisioning files name the data source and the folder that the alerts use.
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
