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

// scope narrows the series of a query to those that a board's variables choose.
type scope struct {
	// matchers, regular expressions, are applied to the exporter's metrics that have
	// their label. So is exactly, of variables that have one value: Grafana escapes
	// these for no regular expression.
	matchers, exactly map[string]string
	// scraped are applied to every metric. They are of labels that Prometheus adds.
	scraped []*labels.Matcher
}

// Variables of Grafana in place of durations and numbers aren't PromQL, so while a query is
// parsed something that no query has otherwise stands in for them.
var (
	placeholders = strings.NewReplacer("$__interval", "7919s", "$__rate_interval", "7907s", "$target", "0.7919")
	placed       = strings.NewReplacer("2h11m59s", "$__interval", "2h11m47s", "$__rate_interval", "0.7919", "$target")
)

// query returns an expression, narrowed to the scope, as a panel has it. What is
// not PromQL, or names a metric that there isn't, is a mistake in this program.
func (s scope) query(expr string) string {
	return placed.Replace(parser.Prettify(s.narrow(mustParse(placeholders.Replace(expr)))))
}

func (s scope) narrow(e parser.Expr) parser.Expr {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		has, known := labelsOf[v.Name]
		if !known && strings.HasPrefix(v.Name, "vbaws_") {
			panic("there is no metric " + v.Name)
		}
		add := func(m *labels.Matcher) {
			if !slices.ContainsFunc(v.LabelMatchers, func(o *labels.Matcher) bool { return o.Name == m.Name }) {
				v.LabelMatchers = append(v.LabelMatchers, m)
			}
		}
		for _, name := range has {
			if value, ok := s.matchers[name]; ok {
				add(labels.MustNewMatcher(labels.MatchRegexp, name, value))
			}
			if value, ok := s.exactly[name]; ok {
				add(labels.MustNewMatcher(labels.MatchEqual, name, value))
			}
		}
		for _, m := range s.scraped {
			add(m)
		}
		return nil
	})
	return e
}

func mustParse(expr string) parser.Expr {
	e, err := promQL.ParseExpr(expr)
	if err != nil {
		panic(fmt.Sprintf("%v: %s", err, expr))
	}
	return e
}

// sessionLabels tell the counters of sessions apart. The scrape's own labels don't:
// two exporters may watch one appliance.
const sessionLabels = "appliance, type, extended_type, policy, status"

// counted returns how many sessions ended within a window, by sessionLabels.
func counted(matchers, window string) string {
	of := rise
	if window == "7d" || window == "30d" {
		of = longRise
	}
	return fmt.Sprintf("max by (%s) (%s)", sessionLabels, of("vbaws_sessions_total{"+matchers+"}", window))
}

// before is the value that a counter had at a window's begin: the last one before, be it
// that the exporter was down just then. Where there was none, it is the first one in the
// window: a counter that is born with a session shows 0 before, and one that was met at
// the initial sync shows what had been before.
func before(counter, window string) string {
	return fmt.Sprintf("(last_over_time(%[1]s[1h] offset %[2]s) or min_over_time(%[1]s[%[2]s]))", counter, window)
}

// rise returns by how much a counter of the exporter's ledger rose within a window. Events
// are few, so that increase(), which extrapolates, would be wrong by a fraction of
// one. The counter is on disk and rises only, but for two cases. Where an older ledger
// was restored it falls a little, and counts again what it had counted: what is
// beyond the highest value is new. Where there is no ledger any more, or none is kept, it
// falls far and starts over, and increase() is the best that can be had.
func rise(counter, window string) string {
	return fmt.Sprintf(`
		clamp_min(max_over_time(%[1]s[%[2]s]) - %[3]s, 0)
		unless (
			min_over_time(%[1]s[%[2]s]) < 0.5 * %[3]s
			or %[3]s == 0 and resets(%[1]s[%[2]s]) > 0
		)
		or round(increase(%[1]s[%[2]s]))`, counter, window, before(counter, window))
}

// longRise is rise for windows that are so long that not all samples in them can be read
// whenever a board is. It looks at both ends. What wasn't there at the begin is new in all, if
// the exporter watched the appliance already. Else the first value counts as there before:
// to the sample within the first two hours of it, to the hour later. A counter that is
// lower than it was started over, and has counted what it shows.
func longRise(counter, window string) string {
	return fmt.Sprintf(`
		last_over_time(%[1]s[1h]) - (
			last_over_time(%[1]s[1h] offset %[2]s)
			or 0 * last_over_time(%[1]s[1h]) and on (job, instance, appliance) %[3]s
			or (min_over_time(%[1]s[2h]) unless last_over_time(%[1]s[1h] offset 2h))
			or min_over_time(%[1]s[%[2]s:1h])
		) >= 0
		or last_over_time(%[1]s[1h])`, counter, window, watchedAt(window))
}

// watchedAt is of the appliances that the exporter watched at a window's begin.
func watchedAt(window string) string {
	return fmt.Sprintf(`last_over_time(vbaws_exporter_polls_total{result="success"}[1h] offset %s) > 0`, window)
}

// processRise is rise for a counter that starts over with the process.
func processRise(counter, window string) string {
	return riseFrom(counter, window, before(counter, window))
}

// processRiseFromNothing is processRise for a counter that is born when it first counts. Its
// first value is news where the exporter was there at the window's begin.
func processRiseFromNothing(counter, window string) string {
	return riseFrom(counter, window, fmt.Sprintf(`(
		last_over_time(%[1]s[1h] offset %[2]s)
		or 0 * min_over_time(%[1]s[%[2]s]) and on (job, instance) last_over_time(up[1h] offset %[2]s)
		or min_over_time(%[1]s[%[2]s]))`, counter, window))
}

func riseFrom(counter, window, begin string) string {
	return fmt.Sprintf(`
		max_over_time(%[1]s[%[2]s]) - %[3]s >= 0
		unless resets(%[1]s[%[2]s]) > 0
		or round(increase(%[1]s[%[2]s]))`, counter, window, begin)
}

// eventsOf is rise for a histogram, which has neither a highest nor a lowest value. One
// that is new since the window's begin is new in all, if the exporter watched the
// appliance already: else it is one that was seen at the initial sync.
func eventsOf(histogram, window string) string {
	return fmt.Sprintf(`(
			last_over_time(%[1]s[%[2]s]) - last_over_time(%[1]s[1h] offset %[2]s)
			or
			(last_over_time(%[1]s[%[2]s]) unless last_over_time(%[1]s[1h] offset %[2]s))
			and on (job, instance, appliance) %[3]s
		) unless resets(%[1]s[%[2]s]) > 0`, histogram, window, watchedAt(window))
}

// ofWorkload leaves out what belongs to policies of workloads that aren't chosen. Sessions
// have no label that says the workload. Those of no policy, and of one that isn't listed,
// stay.
func ofWorkload(expr string) string {
	return "(" + expr + `) unless on (appliance, policy) (
		vbaws_policy_info{workload=~".*"} unless on (appliance, policy) vbaws_policy_info)`
}

// orZero makes 0 of nothing, as long as the exporter is there to ask: where it is
// gone, nothing is known, and that must not look as if all were well.
func orZero(expr string) string {
	return "(" + expr + ") or 0 * sum(vbaws_exporter_polls_total)"
}

// called puts a label on all series of an expression.
func called(label, value, expr string) string {
	return fmt.Sprintf(`label_replace(%s, %q, %q, "", "")`, expr, label, value)
}
