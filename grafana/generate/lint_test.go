package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// rules are the rules for Prometheus of https://github.com/grafana/dashboard-linter, by their names there. Unlike the
// linter, they also check increase, and counters with matchers.
var rules = []struct {
	name string
	lint func(d dashboard.Dashboard) []finding
}{
	{"template-datasource-rule", func(d dashboard.Dashboard) []finding {
		v := templated(d, "datasource")
		return wrong(v == nil || v.Type != dashboard.VariableTypeDatasource || *v.Label != "Data source" || *v.Query.String != "prometheus", "", "")
	}},
	{"template-job-rule", func(d dashboard.Dashboard) []finding { return ofTarget(d, "job", "Job") }},
	{"template-instance-rule", func(d dashboard.Dashboard) []finding { return ofTarget(d, "instance", "Instance") }},
	{"template-label-promql-rule", func(d dashboard.Dashboard) []finding {
		var found []finding
		for _, v := range d.Templating.List {
			if v.Type != dashboard.VariableTypeQuery {
				continue
			}
			series, label, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(*v.Definition, "label_values("), ")"), ", ")
			_, err := promQL.ParseExpr(series)
			found = append(found, wrong(!ok || label != v.Name || err != nil, v.Name, *v.Definition)...)
		}
		return found
	}},
	{"template-on-time-change-reload-rule", func(d dashboard.Dashboard) []finding {
		var found []finding
		for _, v := range d.Templating.List {
			found = append(found, wrong(v.Type == dashboard.VariableTypeQuery && *v.Refresh != dashboard.VariableRefreshOnTimeRangeChanged, v.Name, "")...)
		}
		return found
	}},
	{"uneditable-dashboard-rule", func(d dashboard.Dashboard) []finding {
		return wrong(d.Editable == nil || *d.Editable, "", "")
	}},
	{"panel-datasource-rule", ofPanels(func(p *dashboard.Panel) bool {
		for _, target := range p.Targets {
			if q := target.(*prometheus.Dataquery); q.Datasource == nil || *q.Datasource.Uid != "${datasource}" {
				return false
			}
		}
		return p.Datasource != nil && *p.Datasource.Uid == "${datasource}"
	})},
	{"panel-no-targets-rule", ofPanels(func(p *dashboard.Panel) bool { return len(p.Targets) > 0 })},
	{"panel-title-description-rule", ofPanels(func(p *dashboard.Panel) bool {
		return p.Title != nil && *p.Title != "" && p.Description != nil && *p.Description != ""
	})},
	{"panel-units-rule", ofPanels(func(p *dashboard.Panel) bool {
		if !slices.Contains([]string{"stat", "table", "timeseries", "gauge"}, p.Type) {
			return true
		}
		var units []any
		if p.FieldConfig.Defaults.Unit != nil {
			units = append(units, *p.FieldConfig.Defaults.Unit)
		}
		for _, o := range p.FieldConfig.Overrides {
			for _, property := range o.Properties {
				if property.Id == "unit" {
					units = append(units, property.Value)
				}
			}
		}
		return len(units) > 0 && !slices.ContainsFunc(units, func(u any) bool { return !slices.Contains(grafanaUnits, u.(string)) })
	})},
	{"target-promql-rule", ofQueries(func(*prometheus.Dataquery, parser.Expr) bool { return true })}, // ofQueries parses it
	{"target-rate-interval-rule", ofQueries(func(q *prometheus.Dataquery, e parser.Expr) bool {
		return all(e, func(c *parser.Call, _ []parser.Node) bool {
			isRate := slices.Contains([]string{"rate", "irate", "increase"}, c.Func.Name)
			if !isRate || q.Instant != nil && *q.Instant && c.Func.Name == "increase" {
				return true
			}
			return strings.HasSuffix(placed.Replace(c.Args[0].String()), "[$__rate_interval]")
		})
	})},
	{"target-job-rule", ofQueries(func(_ *prometheus.Dataquery, e parser.Expr) bool { return matched(e, "job") })},
	{"target-instance-rule", ofQueries(func(_ *prometheus.Dataquery, e parser.Expr) bool { return matched(e, "instance") })},
	{"target-counter-agg-rule", ofQueries(func(_ *prometheus.Dataquery, e parser.Expr) bool {
		return all(e, func(v *parser.VectorSelector, path []parser.Node) bool {
			if !strings.HasSuffix(v.Name, "_total") {
				return true
			}
			call, ok := path[max(len(path)-2, 0)].(*parser.Call)
			return ok && slices.Contains([]string{"rate", "irate", "increase"}, call.Func.Name)
		})
	})},
}

// grafanaUnits are the units that the boards use.
var grafanaUnits = []string{"none", "s", "bytes", "percentunit", "dateTimeFromNow", "dateTimeAsIsoNoDateIfToday"}

// exclusions are findings that are accepted, with the reason.
var exclusions = []struct {
	board, rule, panel string // panel is empty for all
	reason             string
}{
	{overviewUID, "template-instance-rule", "", "two exporters of one appliance show the same: they are merged, and it doesn't matter which one is scraped"},
	{overviewUID, "target-instance-rule", "", "there is no variable instance"},
	{policyUID, "template-instance-rule", "", "two exporters of one appliance show the same: they are merged, and it doesn't matter which one is scraped"},
	{policyUID, "target-instance-rule", "", "there is no variable instance"},
	{instancesUID, "template-instance-rule", "", "two exporters of one appliance show the same: they are merged, and it doesn't matter which one is scraped"},
	{instancesUID, "target-instance-rule", "", "there is no variable instance"},
	{exporterUID, "target-counter-agg-rule", "Failed requests", "the counter starts with the first failure, which increase() doesn't see: since the start is exact"},
}

// finding is what a rule finds: the panel's title and the query, or the variable; empty for the board.
type finding struct{ panel, query string }

func wrong(is bool, panel, query string) []finding {
	if is {
		return []finding{{panel, query}}
	}
	return nil
}

func templated(d dashboard.Dashboard, name string) *dashboard.VariableModel {
	for i, v := range d.Templating.List {
		if v.Name == name {
			return &d.Templating.List[i]
		}
	}
	return nil
}

// ofTarget checks a variable for a label that Prometheus adds.
func ofTarget(d dashboard.Dashboard, name, label string) []finding {
	v := templated(d, name)
	return wrong(v == nil || v.Type != dashboard.VariableTypeQuery || *v.Datasource.Uid != "${datasource}" ||
		*v.Label != label || !*v.Multi || *v.AllValue != ".+", name, "")
}

func ofPanels(ok func(*dashboard.Panel) bool) func(dashboard.Dashboard) []finding {
	return func(d dashboard.Dashboard) []finding {
		var found []finding
		for _, p := range panels(d) {
			found = append(found, wrong(!ok(p), *p.Title, "")...)
		}
		return found
	}
}

func ofQueries(ok func(*prometheus.Dataquery, parser.Expr) bool) func(dashboard.Dashboard) []finding {
	return func(d dashboard.Dashboard) []finding {
		var found []finding
		for _, p := range panels(d) {
			for _, target := range p.Targets {
				q := target.(*prometheus.Dataquery)
				e, err := promQL.ParseExpr(placeholders.Replace(q.Expr))
				found = append(found, wrong(err != nil || !ok(q, e), *p.Title, q.Expr)...)
			}
		}
		return found
	}
}

// all reports whether a condition holds for all nodes of one type.
func all[N parser.Node](e parser.Expr, ok func(n N, path []parser.Node) bool) bool {
	holds := true
	parser.Inspect(e, func(n parser.Node, path []parser.Node) error {
		if n, is := n.(N); is && !ok(n, path) {
			holds = false
		}
		return nil
	})
	return holds
}

// matched reports whether all selectors have the matcher for a variable of a label.
func matched(e parser.Expr, label string) bool {
	return all(e, func(v *parser.VectorSelector, _ []parser.Node) bool {
		return slices.ContainsFunc(v.LabelMatchers, func(m *labels.Matcher) bool {
			return m.Name == label && m.Type == labels.MatchRegexp && m.Value == "$"+label
		})
	})
}

// TestLint: the boards comply with dashboard-linter's rules, except for the exclusions, each of which is needed.
func TestLint(t *testing.T) {
	needed := map[int]bool{}
	for name, d := range committed(t) {
		for _, r := range rules {
			for _, f := range r.lint(d) {
				i := slices.IndexFunc(exclusions, func(e struct{ board, rule, panel, reason string }) bool {
					return e.board == *d.Uid && e.rule == r.name && (e.panel == "" || e.panel == f.panel)
				})
				if i < 0 {
					t.Errorf("%s: %s: %q %s", name, r.name, f.panel, f.query)
				}
				needed[i] = true
			}
		}
	}
	for i, e := range exclusions {
		if !needed[i] || e.reason == "" {
			t.Errorf("the exclusion %s of %s isn't needed, or has no reason", e.rule, e.board)
		}
	}
}

// TestRules: each rule finds a violation of it.
func TestRules(t *testing.T) {
	breaks := map[string]func(d *dashboard.Dashboard){
		"template-datasource-rule": func(d *dashboard.Dashboard) { templated(*d, "datasource").Label = new("Source") },
		"template-job-rule":        func(d *dashboard.Dashboard) { templated(*d, "job").AllValue = new(".*") },
		"template-instance-rule":   func(d *dashboard.Dashboard) { templated(*d, "instance").Multi = new(false) },
		"template-label-promql-rule": func(d *dashboard.Dashboard) {
			templated(*d, "appliance").Definition = new("label_values(x{, appliance)")
		},
		"template-on-time-change-reload-rule": func(d *dashboard.Dashboard) { templated(*d, "job").Refresh = new(dashboard.VariableRefreshNever) },
		"uneditable-dashboard-rule":           func(d *dashboard.Dashboard) { d.Editable = new(true) },
		"panel-datasource-rule":               func(d *dashboard.Dashboard) { panels(*d)[0].Datasource.Uid = new("vbaws-prometheus") },
		"panel-no-targets-rule":               func(d *dashboard.Dashboard) { panels(*d)[0].Targets = nil },
		"panel-title-description-rule":        func(d *dashboard.Dashboard) { panels(*d)[0].Description = new("") },
		"panel-units-rule":                    func(d *dashboard.Dashboard) { panels(*d)[0].FieldConfig.Defaults.Unit = new("widgets") },
		"target-promql-rule":                  firstAsks("sum("),
		"target-rate-interval-rule":           firstAsks(`sum(rate(x_total{job=~"$job",instance=~"$instance"}[5m]))`),
		"target-job-rule":                     firstAsks(`up{job="$job",instance=~"$instance"}`),
		"target-instance-rule":                firstAsks(`up{job=~"$job"}`),
		"target-counter-agg-rule":             firstAsks(`sum(x_total{job=~"$job",instance=~"$instance"})`),
	}
	for _, r := range rules {
		d := committed(t)[exporterUID+".json"]
		before := fmt.Sprint(r.lint(d))
		breaks[r.name](&d)
		if after := fmt.Sprint(r.lint(d)); before == after {
			t.Errorf("%s finds nothing wrong", r.name)
		}
	}
}

// firstAsks returns a function that replaces the query of a board's first panel.
func firstAsks(expr string) func(*dashboard.Dashboard) {
	return func(d *dashboard.Dashboard) { panels(*d)[0].Targets[0].(*prometheus.Dataquery).Expr = expr }
}
