package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

// problems are the values of the label problem, the worst first, as on the exporter's status page.
// Tables sort them by rank, and show the words.
var problems = []struct{ name, rank, sign, color string }{
	{"stuck", "a", "…", purple},
	{"failing", "failing", "✗", vermilion},
	{"overdue", "overdue", "◷", vermilion},
	{"silent", "silent", "?", orange},
	{"disabled", "z", "■", grey},
}

// ranked adds the label rank to problems. A problem whose name sorts correctly is its own
// rank, which keeps the query short.
func ranked(expr string) string {
	expr = fmt.Sprintf(`label_replace(%s, "rank", "$1", "problem", "(.*)")`, expr)
	for _, p := range problems {
		if p.rank != p.name {
			expr = fmt.Sprintf(`label_replace(%s, "rank", %q, "problem", %q)`, expr, p.rank, p.name)
		}
	}
	return expr
}

// rankWords returns how the values of the label rank are shown: as the problem.
func rankWords() []word {
	var words []word
	for _, p := range problems {
		words = append(words, word{p.rank, p.sign + " " + p.name, p.color})
	}
	return words
}

// policiesWith returns a query for the number of policies that have a problem.
func policiesWith(problem string) string {
	return orZero(fmt.Sprintf("count(count by (appliance, policy, workload) (vbaws_policy_problem{problem=%q} == 1))", problem))
}

// timeline returns a panel with a row of states for each series.
func timeline() *statetimeline.PanelBuilder {
	return statetimeline.NewPanelBuilder().
		ColorScheme(colored(dashboard.FieldColorModeIdThresholds)).
		MergeValues(true).
		ShowValue(common.VisibilityModeAuto).
		AlignValue(common.TimelineValueAlignmentLeft).
		RowHeight(0.8).
		LineWidth(0).
		FillOpacity(85).
		Interval("1m").
		MaxDataPoints(96).
		Legend(common.NewVizLegendOptionsBuilder().
			DisplayMode(common.LegendDisplayModeList).
			Placement(common.LegendPlacementBottom).
			ShowLegend(false)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeSingle))
}

// problemTimeline returns a timeline of series whose names end with a problem. Their value is 1
// while the problem exists.
func problemTimeline() *statetimeline.PanelBuilder {
	p := timeline().Thresholds(steps(grey))
	for _, w := range problems {
		p = p.OverrideByRegexp("/ "+w.name+"$/", []dashboard.DynamicConfigValue{
			mapped(word{"0", "ok", green}, word{"1", w.sign + " " + w.name, w.color}),
		})
	}
	return p
}

// problemTable returns a table with a row for each problem, the worst first: the given
// columns, and since when.
func problemTable(of ...column) *table.PanelBuilder {
	columns := append([]column{col("rank", "Problem", width(120), textColored, left, mapped(rankWords()...))}, of...)
	columns = append(columns,
		col("kind", "Kind", width(110)),
		col("workload", "Workload", width(150), filterable),
		col("A", "For", ago...),
		col("B", "Since", unit("dateTimeAsIsoNoDateIfToday"), width(170)),
	)
	return sorted(grid(columns...), order{"Problem", false}, order{"For", true})
}

// problemRows returns the queries of problemTable: the age and the begin of each problem.
func (b *board) problemRows() []*prometheus.DataqueryBuilder {
	since := ranked("min by (" + byKind + ", problem) (vbaws_policy_problem_since_timestamp_seconds)")
	return []*prometheus.DataqueryBuilder{
		b.rows("time() - " + since),
		b.rows("1000 * " + since),
	}
}

// scheduleTable returns a table with a row for each policy and kind, overdue ones first. Its
// own columns follow the given ones.
func scheduleTable(of ...column) *table.PanelBuilder {
	return sorted(grid(append(of,
		col("kind", "Kind", width(100)),
		col("workload", "Workload", width(150), filterable),
		col("A", "Missed runs", width(115), decimals(0), textColored, limits(steps("text", step{1, vermilion}))),
		col("B", "Next due", unit("dateTimeFromNow")),
		col("C", "Last success", ago...),
		col("D", "Longest gap", ago...),
		col("E", "On time", width(90), unit("percentunit"), decimals(1), textColored,
			limits(steps(vermilion, step{0.95, orange}, step{0.99, "text"}))),
	)...), order{"Missed runs", true}, order{"Next due", false})
}

// scheduleRows returns the queries of scheduleTable.
func (b *board) scheduleRows() []*prometheus.DataqueryBuilder {
	by := func(aggregation, metric string) string {
		return fmt.Sprintf("%s by (%s) (%s)", aggregation, byKind, metric)
	}
	return []*prometheus.DataqueryBuilder{
		b.rows(by("max", "vbaws_policy_overdue_runs")),
		b.rows("1000 * " + by("min", "vbaws_policy_next_due_timestamp_seconds")),
		b.rows("time() - " + by("max", "vbaws_policy_last_success_timestamp_seconds")),
		b.rows(by("max", "vbaws_policy_expected_interval_seconds")),
		b.rows(onTime),
	}
}

// ago formats a column of ages.
var ago = []dashboard.DynamicConfigValue{unit("s"), decimals(1)}

// filterable lets users filter the rows of a table by a column.
var filterable = property("custom.filterable", true)
