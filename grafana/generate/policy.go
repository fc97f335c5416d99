package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

const policyUID = "vbaws-policy"

// named replaces an empty value of a label, as with API version 1.0, by "session".
func named(label, expr string) string {
	return fmt.Sprintf(`label_replace(%s, %q, "session", %q, "")`, expr, label, label)
}

func policy() (dashboard.Dashboard, error) {
	b := newBoard(policyUID, "Policy",
		"One policy: its problems, its sessions by status, how long they took, and its last success compared with its schedule.")
	b.Time("now-7d", "now")
	b.one("appliance", "Appliance", "The policy's appliance", "vbaws_up", "")
	b.one("policy", "Policy", "The policy. Policies of one name are shown together, by workload if it differs", "vbaws_policy_info", "")
	b.one("type", "Type", "The type of sessions. Those of type Policy have others of type Job and Task below them", "vbaws_sessions_total", "Policy")

	b.row("Now")
	add(b, about{"Problems now",
		"How many problems the policy has, of all its kinds. 'Problems' below lists them.",
		"unknown", 4, 4}, number("none", steps(green, step{1, vermilion})),
		b.now(orZero(`count(count by (workload, kind, problem) (vbaws_policy_problem == 1))`)))
	add(b, about{"Last success",
		"Of the kind that has gone longest without a success.",
		"no success is known", 4, 4}, number("s", steps("text")).Decimals(1),
		b.now("time() - min(max by ("+byKind+") (vbaws_policy_last_success_timestamp_seconds))"))
	add(b, about{"Next due",
		"The next scheduled start of any kind.",
		"no schedule is known, or it is disabled", 4, 4}, number("s", steps("text")).Decimals(1),
		b.now("min(vbaws_policy_next_due_timestamp_seconds) - time()"))
	add(b, about{"On time (SLA)",
		"The share of the time range in which the policy wasn't overdue. Of several kinds, the lowest share.",
		"no schedule is known", 4, 4},
		number("percentunit", steps(vermilion, step{0.95, orange}, step{0.99, green})).Decimals(2),
		b.now("min("+onTime+")"))
	add(b, about{"Failed in a row",
		"Sessions of type Policy that failed since the last success, of the kind with the most. Canceled ones don't count.",
		"no session finished", 4, 4}, number("none", steps(green, step{1, orange}, step{3, vermilion})),
		b.now("max(vbaws_session_consecutive_failures)"))
	add(b, about{"Running for",
		"The oldest running session of the chosen type.",
		"not running", 4, 4}, number("s", steps(sky)).Decimals(1),
		b.now("time() - min(vbaws_sessions_running_oldest_start_timestamp_seconds)"))

	add(b, about{"Problems",
		"The policy's problems now, the worst first, and since when.",
		"no problems, or no exporter is scraped", 24, 5}, problemTable(), b.problemRows()...)
	add(b, about{"Schedule",
		"Each kind that the policy makes: scheduled starts without a success in time, the next start, the last success, the longest gap that the schedule leaves, and the share of the time range without an overdue run (SLA).",
		"no schedule is known", 24, 5}, scheduleTable(), b.scheduleRows()...)
	add(b, about{"Problems over time",
		"Each problem that can be judged of the policy, and when there was one. A row that stays empty is a problem that it didn't have.",
		"no exporter is scraped", 24, 8}, problemTimeline(),
		b.over("max by (workload, kind, problem) (vbaws_policy_problem)", "{{workload}} {{kind}} {{problem}}"))

	b.row("Sessions")
	add(b, about{"Sessions finished, by status",
		"How many sessions finished within each bar, each counted once.",
		"no session finished", 12, 8},
		byStatus(bars()),
		b.over("sum by (status) ("+counted("", "$__rate_interval")+")", "{{status}}"))
	add(b, about{"Failed in a row, by session",
		"For each extended type of type Policy, the sessions that failed since the last success.",
		"no session finished", 12, 8},
		timeline().
			Thresholds(steps(green, step{1, orange}, step{3, vermilion})).
			Mappings([]dashboard.ValueMapping{valueMap([]word{{"0", "✓", green}})}),
		b.over(named("extended_type", "max by (extended_type) (vbaws_session_consecutive_failures)"), "{{extended_type}}"))
	// max does not apply to native histograms. Exporters of one appliance count the same, so avg is right.
	const native, classic = "vbaws_session_duration_seconds", "vbaws_session_duration_seconds_bucket"
	add(b, about{"How long they took",
		"How many of the sessions that finished in an interval took how long. From the native histogram if Prometheus has one, else from the classic one, whose buckets are wider. The first session of a status isn't in it. The marks are single sessions, with the session_id to look for in the appliance.",
		"no session finished", 12, 8},
		heatmap.NewPanelBuilder().
			Calculate(false).
			Color(heatmap.NewHeatmapColorOptionsBuilder().
				Mode(heatmap.HeatmapColorModeScheme).
				Scheme("Cividis").
				Fill(blue).
				Scale(heatmap.HeatmapColorScaleLinear).
				Exponent(0.5).
				Steps(32).
				Min(0)).
			CellGap(1).
			ShowValue(common.VisibilityModeNever).
			YAxis(heatmap.NewYAxisConfigBuilder().Unit("s").AxisPlacement(common.AxisPlacementLeft)).
			Tooltip(heatmap.NewHeatmapTooltipBuilder().Mode(common.TooltipDisplayModeSingle).YHistogram(false)).
			ExemplarsColor(vermilion).
			// Empty cells aren't drawn.
			FilterValues(heatmap.NewFilterValueRangeBuilder().Le(1e-9)).
			Interval("1m").
			MaxDataPoints(60).
			ShowLegend(),
		b.over("sum(avg by (extended_type, status) (increase("+native+"[$__rate_interval])))", "").
			Format(prometheus.PromQueryFormatHeatmap).Exemplar(true),
		b.over("sum by (le) (max by (extended_type, status, le) (increase("+classic+"[$__rate_interval]))) unless on () count("+native+")", "{{le}}").
			Format(prometheus.PromQueryFormatHeatmap).Exemplar(true))
	add(b, about{"How long the newest one took",
		"The newest finished session of each extended type, and what such sessions of type Policy typically take: the median of the last 15 successes, from 5 on.",
		"no session finished", 12, 8},
		graph("s").Interval("1m").
			LineInterpolation(common.LineInterpolationStepAfter).
			OverrideByRegexp("/^typically/", dashes),
		b.over(named("extended_type", "max by (extended_type) (vbaws_session_last_duration_seconds)"), "{{extended_type}}"),
		b.over(named("extended_type", "max by (extended_type) (vbaws_session_typical_duration_seconds)"), "typically: {{extended_type}}"))
	by := "extended_type, status"
	add(b, about{"By extended type and status",
		"How many sessions finished with each status in the time range, how long ago the newest one did, and whether it is the newest of its extended type.",
		"no session finished", 12, 8},
		sorted(grid(
			col("extended_type", "Session"),
			col("status", "Status", width(110), textColored, left, mapped(statusWords()...)),
			col("A", "Finished", width(85), decimals(0)),
			col("B", "Newest", unit("s"), width(110), decimals(1)),
			col("C", "Newest of all", width(115), left, mapped(word{"1", "← yes", "text"}, word{"0", " ", "text"})),
		), order{"Session", false}),
		b.rows("sum by ("+by+") ("+counted("", "$__range")+")"),
		b.rows("time() - max by ("+by+") (vbaws_session_last_end_timestamp_seconds)"),
		b.rows("max by ("+by+") (vbaws_session_last_status)"))
	add(b, about{"Since the last success, and the longest gap of its schedule",
		"A line above the dashed one of its kind means that a backup is missing. The dashed line is the longest time that the schedule leaves between two runs.",
		"no success is known", 12, 8},
		graph("s").Interval("1m").
			OverrideByRegexp("/^schedule/", dashes),
		b.over(named("kind", "time() - max by (workload, kind) (vbaws_policy_last_success_timestamp_seconds)"), "{{workload}} {{kind}}"),
		b.over(named("kind", "max by (workload, kind) (vbaws_policy_expected_interval_seconds)"), "schedule: {{workload}} {{kind}}"))
	return b.Build()
}

// dashes make a line dashed.
var dashes = []dashboard.DynamicConfigValue{
	property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{8, 6}}),
	property("custom.lineWidth", 1),
}
