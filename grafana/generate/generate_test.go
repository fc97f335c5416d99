package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/template"
	"go.yaml.in/yaml/v4"
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

// boards returns the committed boards, read as strictly as Grafana's schema has it.
func boards(t *testing.T) map[string]dashboard.Dashboard {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	paths, err := filepath.Glob("../*.json")
	if err != nil || len(paths) != 3 {
		t.Fatal(paths, err)
	}
	found := map[string]dashboard.Dashboard{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		strictly(t, path, data, &d)
		// It left the panels out.
		var raw struct{ Panels []json.RawMessage }
		if err := errors.Join(json.Unmarshal(data, &raw), json.Unmarshal(data, &d)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for i, p := range d.Panels {
			if p.Panel != nil {
				strictly(t, path, raw.Panels[i], new(dashboard.Panel))
			}
		}
		found[filepath.Base(path)] = d
	}
	return found
}

// strictly reads JSON as something of the SDK.
func strictly(t *testing.T, path string, data []byte, into interface {
	UnmarshalJSONStrict([]byte) error
	Validate() error
}) {
	t.Helper()
	// It returns an error that says nothing where there is none.
	if err := into.UnmarshalJSONStrict(data); err != nil && err.Error() != "" {
		t.Fatalf("%s: %v", path, err)
	}
	if err := into.Validate(); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

// signs are the colours that the boards may use, and those that say nothing.
var signs = []string{blue, sky, green, yellow, orange, vermilion, purple, grey, "text", "transparent"}

// TestBoards holds what Grafana's dashboard-linter asks for, where it is right for events that are few,
// and some more.
func TestBoards(t *testing.T) {
	colors := regexp.MustCompile(`"(?:color|fixedColor)": "([^"]+)"`)
	variable := regexp.MustCompile(`\$\{?(\w+)`)
	for name, d := range boards(t) {
		t.Run(name, func(t *testing.T) {
			if *d.Uid+".json" != name {
				t.Errorf("its uid is %s", *d.Uid)
			}
			variables := []string{"__interval", "__rate_interval", "1"}
			for i, v := range d.Templating.List {
				variables = append(variables, v.Name)
				if v.Label == nil || *v.Label == "" || v.Description == nil || *v.Description == "" {
					if v.Name != "datasource" {
						t.Errorf("variable %s has no label or description", v.Name)
					}
				}
				if i == 0 && (v.Name != "datasource" || v.Type != dashboard.VariableTypeDatasource) {
					t.Errorf("the first variable is %s", v.Name)
				}
				if v.Type == dashboard.VariableTypeQuery && (*v.Datasource.Uid != "${datasource}" || *v.Refresh != dashboard.VariableRefreshOnTimeRangeChanged) {
					t.Errorf("variable %s has another data source, or isn't refreshed", v.Name)
				}
			}
			if !slices.Contains(d.Tags, tag) || len(d.Links) != 1 || !d.Links[0].IncludeVars || !d.Links[0].KeepTime {
				t.Errorf("it isn't linked with the others: %v, %v", d.Tags, d.Links)
			}

			ids, titles := map[uint32]bool{}, map[string]bool{}
			used := map[string]bool{}
			var taken [200][24]bool
			for _, item := range d.Panels {
				p := item.Panel
				if p == nil || p.Type == "row" {
					continue
				}
				if ids[*p.Id] || titles[*p.Title] || *p.Title == "" || *p.Description == "" {
					t.Errorf("panel %d, %q: it has no title or description, or another has its id or title", *p.Id, *p.Title)
				}
				ids[*p.Id], titles[*p.Title] = true, true
				if p.FieldConfig.Defaults.NoValue == nil || *p.FieldConfig.Defaults.NoValue == "" {
					t.Errorf("panel %q doesn't say what no data means", *p.Title)
				}
				if p.Type != "table" && p.Type != "state-timeline" && p.Type != "heatmap" && p.FieldConfig.Defaults.Unit == nil {
					t.Errorf("panel %q has no unit", *p.Title)
				}
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
						if x >= 24 || taken[y][x] {
							t.Fatalf("panel %q is too wide, or covers another", *p.Title)
						}
						taken[y][x] = true
					}
				}
				if *p.Datasource.Uid != "${datasource}" || len(p.Targets) == 0 {
					t.Errorf("panel %q asks nothing, or another data source", *p.Title)
				}
				for _, target := range p.Targets {
					q := target.(*prometheus.Dataquery)
					if *q.Datasource.Uid != "${datasource}" || q.RefId == nil {
						t.Errorf("panel %q asks another data source", *p.Title)
					}
					for _, m := range variable.FindAllStringSubmatch(q.Expr, -1) {
						if !slices.Contains(variables, m[1]) {
							t.Errorf("panel %q asks for the unknown variable %s: %s", *p.Title, m[1], q.Expr)
						}
						used[m[1]] = true
					}
					checkQuery(t, *p.Title, q)
				}
			}
			for _, v := range variables[3:] {
				if !used[v] && v != "datasource" && v != "bar" {
					t.Errorf("no panel heeds %s", v)
				}
			}

			text, err := os.ReadFile(filepath.Join("..", name))
			if err != nil {
				t.Fatal(err)
			}
			// Only the first threshold has no value.
			if m := regexp.MustCompile(`.*: null`).FindString(strings.ReplaceAll(string(text), `"value": null`, "")); m != "" {
				t.Errorf("Grafana trips over %s", m)
			}
			for _, m := range colors.FindAllStringSubmatch(string(text), -1) {
				if !slices.Contains(signs, m[1]) {
					t.Errorf("%s is not in the palette", m[1])
				}
			}
		})
	}
}

// checkQuery: every metric of the exporter is narrowed to the appliances that are
// chosen, and none is asked by rate() whose events are few.
func checkQuery(t *testing.T, title string, q *prometheus.Dataquery) {
	t.Helper()
	e, err := promQL.ParseExpr(placeholders.Replace(q.Expr))
	if err != nil {
		t.Errorf("panel %q: %v: %s", title, err, q.Expr)
		return
	}
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			if slices.Contains(labelsOf[n.Name], "appliance") && !slices.ContainsFunc(n.LabelMatchers, func(m *labels.Matcher) bool {
				return m.Name == "appliance" && m.Value == "$appliance"
			}) {
				t.Errorf("panel %q asks for all appliances: %s", title, n)
			}
		case *parser.Call:
			rates := slices.Contains([]string{"rate", "irate", "delta", "idelta"}, n.Func.Name)
			if rates && strings.Contains(n.String(), "vbaws_session") {
				t.Errorf("panel %q asks for a rate of what happens once a day: %s", title, n)
			}
		}
		return nil
	})
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
				t.Errorf("%s asks %s, want %s", r.Title, expr, exprs[r.Title])
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

// TestAlertForms holds what the alerts promise of every Prometheus: no recorded series, no ALERTS, no
// window over a day, no query in an annotation, one line for a policy's alert.
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
					t.Errorf("%s asks for something in an annotation: %s", r.Alert, text)
				}
			}
			if strings.HasPrefix(r.Alert, "VbawsPolicy") && r.Alert != "VbawsPolicyOverdueCritical" && (strings.Contains(strings.TrimSpace(r.Expr), "\n") || len(r.Expr) > 160) {
				t.Errorf("%s is more than a readable line: %s", r.Alert, r.Expr)
			}
		}
	}
}

// expand does with a template what Grafana does: by Prometheus's package, with
// labels and values in a structure of its own, and nothing to be asked.
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

// TestRunbookBase: one base moves all, and back.
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
		t.Errorf("the file differs after a way there and back: %v", err)
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
