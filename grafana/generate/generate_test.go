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
