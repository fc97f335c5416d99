package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"vbaws_exporter/collector"
)

var promQL = parser.NewParser(parser.Options{})

// labelsOf has the labels of each metric of the exporter, by each name that it has
// in Prometheus.
var labelsOf = func() map[string][]string {
	known := map[string][]string{}
	for _, m := range collector.Metrics() {
		known[m.Name] = m.Labels
		if m.Type == "histogram" {
			known[m.Name+"_bucket"] = append(slices.Clone(m.Labels), "le")
			known[m.Name+"_sum"], known[m.Name+"_count"] = m.Labels, m.Labels
		}
	}
	return known
}()

// targetLabels are those that Prometheus adds to every series of a target.
var targetLabels = []string{"cluster", "job", "instance"}

// narrowing is a variable of a board. It narrows each metric that has a label of its name.
type narrowing struct {
	name  string
	match labels.MatchType
}

// Grafana's variables for durations and numbers are not PromQL. While a query is parsed,
// values that no query contains otherwise replace them.
var (
	placeholders = strings.NewReplacer("$__interval", "7919s", "$__rate_interval", "7907s", "$__range_s", "0.7919", "$__range", "7901s")
	placed       = strings.NewReplacer("2h11m59s", "$__interval", "2h11m47s", "$__rate_interval", "0.7919", "$__range_s", "2h11m41s", "$__range")
)

// query returns an expression for a panel: each selector is narrowed by the board's
// variables. It panics if expr is not PromQL or names an unknown metric.
func (b *board) query(expr string) string {
	e := mustParse(placeholders.Replace(expr))
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			b.narrow(v)
		}
		return nil
	})
	return placed.Replace(e.String())
}

// narrow adds a matcher for each variable of the board, unless the label already has one.
func (b *board) narrow(v *parser.VectorSelector) {
	has, known := labelsOf[v.Name]
	if !known && strings.HasPrefix(v.Name, "vbaws_") {
		panic("there is no metric " + v.Name)
	}
	for _, s := range b.scope {
		matched := slices.ContainsFunc(v.LabelMatchers, func(m *labels.Matcher) bool { return m.Name == s.name })
		if !matched && (slices.Contains(has, s.name) || slices.Contains(targetLabels, s.name)) {
			v.LabelMatchers = append(v.LabelMatchers, labels.MustNewMatcher(s.match, s.name, "$"+s.name))
		}
	}
}

func mustParse(expr string) parser.Expr {
	e, err := promQL.ParseExpr(expr)
	if err != nil {
		panic(fmt.Sprintf("%v: %s", err, expr))
	}
	return e
}

// The labels by which two exporters of one appliance are merged, by max or min: of a policy's kind, and of a
// policy's sessions of one extended type.
const (
	byKind    = "appliance, policy, workload, kind"
	bySession = "appliance, policy, extended_type"
)

// orZero returns 0 if expr has no result and an exporter is scraped. If none is scraped, the
// value is unknown, and must not look like 0.
func orZero(expr string) string {
	return "(" + expr + ") or 0 * count(vbaws_up)"
}

// counted returns by how much a counter of sessions rose, by its own labels. In graphs, the window is
// $__rate_interval: the panel's interval and one scrape, so that adjacent bars neither share a
// session nor miss one. Sessions are few, so the fraction that increase() adds is rounded off.
func counted(matchers, window string) string {
	return fmt.Sprintf("max by (appliance, type, extended_type, policy, status) (round(increase(vbaws_sessions_total{%s}[%s])))", matchers, window)
}

// onTime is the share of the time range in which a kind of a policy wasn't overdue, by byKind.
const onTime = `1 - max by (` + byKind + `) (avg_over_time(vbaws_policy_problem{problem="overdue"}[$__range]))`
