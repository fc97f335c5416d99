package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
)

func dashedLine() *common.GraphThresholdsStyleConfigBuilder {
	return common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)
}

// bar is the variable that says how long the bars of counts are.
func (b *board) bar() {
	b.custom("bar", "Bars of", "How much time each bar of a count is for", "1h", "1m", "10m", "1h", "6h", "1d")
}

// ofSchedule are the labels of what is said of a policy's schedule.
const ofSchedule = "appliance, policy, workload, kind"

// schedule asks of each enabled policy and kind whether it is overdue, for the ages of its last
// success and of the newest scheduled start, and for the longest gap.
func (b *board) schedule(a *alerts) []*prometheus.DataqueryBuilder {
	of := func(metric string) string { return fmt.Sprintf("max by (%s) (%s)", ofSchedule, metric) }
	return []*prometheus.DataqueryBuilder{
		b.rows(scheduleState(a)),
		b.rows(enabled("time() - " + of("vbaws_policy_last_success_timestamp_seconds"))),
		b.rows(enabled("time() - " + of("vbaws_policy_last_due_timestamp_seconds"))),
		b.rows(enabled(of("vbaws_policy_expected_interval_seconds"))),
	}
}

// enabled leaves out what is said of policies that are disabled.
func enabled(expr string) string {
	return "(" + expr + ") and on (appliance, policy, workload) max by (appliance, policy, workload) (vbaws_policy_enabled) == 1"
}

// scheduleState is, of each policy with a schedule, what scheduleWords show.
func scheduleState(a *alerts) string {
	scheduled := enabled("max by (" + ofSchedule + ") (vbaws_policy_expected_interval_seconds)")
	succeeded := "max by (" + ofSchedule + ") (vbaws_policy_last_success_timestamp_seconds)"
	return fmt.Sprintf("2 + 0 * (%s) or 0 * (%s and on (%s) %s) or 1 + 0 * (%[2]s)",
		late(a), scheduled, ofSchedule, succeeded)
}

// scheduleWords show whether a policy is overdue.
var scheduleWords = []word{{"0", "✓ on time", green}, {"1", "? none yet", grey}, {"2", "✗ overdue", vermilion}}

// schedules shows what schedule asks, after the given columns.
func schedules(of ...column) *table.PanelBuilder {
	return grid(append(of,
		column{"workload", "Workload", []dashboard.DynamicConfigValue{width(85)}},
		column{"kind", "Kind", []dashboard.DynamicConfigValue{width(80)}},
		column{"A", "State", []dashboard.DynamicConfigValue{width(90), textColored, left, mapped(scheduleWords...)}},
		column{"B", "Success", ago},
		column{"C", "Due", ago},
		column{"D", "Gap", ago},
	)...)
}

// ago is for columns of ages.
var ago = []dashboard.DynamicConfigValue{unit("s"), property("decimals", 1)}

// The states of a policy, from the best to the worst.
const (
	isRunning = iota
	hasSucceeded
	hasWarned
	isCanceled
	isOther
	hasFailed
)

var stateWords = []word{
	{fmt.Sprint(isRunning), "… running", sky},
	{fmt.Sprint(hasSucceeded), "✓ Succeeded", green},
	{fmt.Sprint(hasWarned), "▲ Warning", orange},
	{fmt.Sprint(isCanceled), "■ Canceled", purple},
	{fmt.Sprint(isOther), "? other", grey},
	{fmt.Sprint(hasFailed), "✗ Failed", vermilion},
}

const ofKind = "appliance, policy, extended_type"

// newest is the state of the newest session of each kind.
func newest() string {
	state := func(n int, matcher string) string {
		return fmt.Sprintf(`%d * (max by (%s) (vbaws_session_last_status{type="$type", %s}) == 1)`, n, ofKind, matcher)
	}
	return strings.Join([]string{
		state(hasFailed, `status="Failed"`),
		state(hasWarned, `status="Warning"`),
		state(hasSucceeded, `status="Succeeded"`),
		state(isCanceled, `status="Canceled"`),
		state(isOther, `status!~"Failed|Warning|Succeeded|Canceled"`),
	}, " or ")
}

// worstOfNewest is the worst state of the kinds that still come; of all, where none does.
func worstOfNewest() string {
	return fmt.Sprintf(`max((%s) and on (%s) vbaws_session_last_end_timestamp_seconds{type="$type"} > %s) or max(%[1]s)`, newest(), ofKind, lately)
}

// states are what a policy did in each interval. That a session failed in it is
// shown, whatever came after.
func states() string {
	return named("extended_type", fmt.Sprintf(`%[1]d + 0 * (sum by (%[2]s) (%[3]s) > 0)
		or %[4]d + 0 * (sum by (%[2]s) (vbaws_sessions_running{type="$type"}) > 0)
		or %[5]s`, hasFailed, ofKind, counted(`type="$type", status="Failed"`, "$__interval"), isRunning, newest()))
}

// named gives an empty label, as the oldest API has them, a value to show.
func named(label, expr string) string {
	return fmt.Sprintf(`label_replace(%s, %q, "session", %q, "")`, expr, label, label)
}

func policy(a *alerts) (dashboard.Dashboard, error) {
	b := newBoard(policyUID, "Policy",
		"One policy: its sessions by status, how long they took, and its last success against its schedule.",
		scope{
			matchers: map[string]string{"workload": "$workload"},
			exactly:  map[string]string{"appliance": "$appliance", "policy": "$policy"},
		})
	b.Time("now-7d", "now")
	b.one("appliance", "Appliance", "The policy's appliance", `vbaws_exporter_polls_total{appliance=~".*"}`)
	b.choice("workload", "Workload", "Narrows the list of policies, and tells namesakes apart", `vbaws_policy_info{workload=~".*", policy=~".*"}`)
	b.one("policy", "Policy", "The policy", `vbaws_policy_info{policy=~".*"}`)
	b.WithVariable(b.chosen("type", "Type", "The type of sessions. Those of type Policy have others of type Job and Task below them", `vbaws_sessions_total`).
		Multi(false).IncludeAll(false).Current(option("Policy", "Policy", false)))
	b.bar()

	const gone = "unknown"
	b.row("Now")
	words := number("none", steps("text")).Mappings([]dashboard.ValueMapping{valueMap(stateWords)})
	add(b, about{"Newest session",
		"What the newest session of each kind ended with; of several kinds the worst, save those of which none has come for 35 days.",
		"no session is known", 4, 4}, words, b.now(worstOfNewest()))
	add(b, about{"Last success",
		"Of the kind that has gone longest without a session that succeeded.",
		"no success is known", 4, 4}, number("s", steps("text")).Decimals(1),
		b.now("time() - min(max by (kind) (vbaws_policy_last_success_timestamp_seconds))"))
	add(b, about{"By its schedule",
		"Overdue is what had a scheduled start more than an hour ago that no success has followed and that no run under way may bring. Of several kinds the worst. None yet: no success is known, and nothing was due since the exporter first saw the policy.",
		"no schedule is known, or it is disabled", 4, 4},
		number("none", steps("text")).Mappings([]dashboard.ValueMapping{valueMap(scheduleWords)}),
		b.now("max("+scheduleState(a)+")"))
	add(b, about{"Running for",
		"The oldest session of type Policy that runs.",
		"it doesn't run", 4, 4}, number("s", steps(sky, step{86400, vermilion})).Decimals(1),
		b.now("max("+a.record("vbaws:session_running_seconds:max")+")"))
	add(b, about{"Failed in 30 days",
		"Sessions that ended with Failed, each counted once; retries too.",
		gone, 4, 4}, number("none", steps(green, step{1, orange})),
		b.now(`sum(`+counted(`type="$type", status="Failed"`, "30d")+`)`))
	add(b, about{"Succeeded in 30 d",
		"The share of its sessions that succeeded, with or without warnings. Each try counts.",
		"no session ended", 4, 4}, number("percentunit", steps("text")).Decimals(1),
		b.now(success("30d")))

	b.row("Sessions")
	add(b, about{"Sessions by status",
		"What each kind of session did, from left to right: running, or what the newest one ended with. That one failed is shown for a moment even if a retry succeeded at once.",
		"no session is known", 24, 7},
		statetimeline.NewPanelBuilder().
			Mappings([]dashboard.ValueMapping{valueMap(stateWords)}).
			ColorScheme(colored(dashboard.FieldColorModeIdThresholds)).
			Thresholds(steps(grey)).
			MergeValues(true).
			ShowValue(common.VisibilityModeAuto).
			AlignValue(common.TimelineValueAlignmentLeft).
			RowHeight(0.8).
			LineWidth(0).
			FillOpacity(85).
			Interval("1m").
			MaxDataPoints(500).
			Legend(common.NewVizLegendOptionsBuilder().
				DisplayMode(common.LegendDisplayModeList).
				Placement(common.LegendPlacementBottom).
				ShowLegend(true)).
			Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeSingle)),
		b.over(states(), "{{extended_type}}"))
	add(b, about{"Sessions that ended, by status",
		"How many sessions ended within each bar, each counted once. 'Bars of' says how long a bar is.",
		"no session ended", 12, 8},
		byStatus(bars()).Interval("$bar"),
		b.over("sum by (status) ("+counted(`type="$type"`, "$__interval")+")", "{{status}}").Interval("$bar"))
	const histogram = `vbaws_session_duration_seconds{type="$type"}`
	const classic = `vbaws_session_duration_seconds_bucket{type="$type"}`
	add(b, about{"How long they took",
		"How many of the sessions that ended in an interval took how long. From the native histogram where Prometheus has one, else from the classic one, whose buckets are wider. The marks are single sessions, with the session_id to look for in the appliance.",
		"no session ended", 12, 8},
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
		b.over("sum("+eventsOf(histogram, "$__interval")+") or (sum by (le) ("+eventsOf(classic, "$__interval")+") unless on () count("+histogram+"))", "{{le}}").
			Format(prometheus.PromQueryFormatHeatmap).Exemplar(true))
	usually := func(h, by string) string {
		return fmt.Sprintf("histogram_quantile(0.9, sum by (extended_type%s) (increase(%s[7d])))", by, h)
	}
	add(b, about{"How long the newest one took",
		"The session of each kind that ended last, and what nine of ten in the last 7 days stayed below.",
		"no session ended", 12, 8},
		graph("s").Interval("1m").
			LineInterpolation(common.LineInterpolationStepAfter).
			OverrideByRegexp("/^9 of 10/", []dashboard.DynamicConfigValue{
				property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{8, 6}}),
				property("custom.lineWidth", 1),
			}),
		b.over(named("extended_type", `max by (extended_type) (vbaws_session_last_duration_seconds{type="$type"})`), "{{extended_type}}"),
		b.over(named("extended_type", usually(histogram, "")+" or "+usually(classic, ", le")), "9 of 10: {{extended_type}}").Exemplar(true))
	add(b, about{"Since the last success, and the longest gap of its schedule",
		"A line that climbs above the dashed one of its kind is a backup that is missing. The dashed one is the longest time that the schedule leaves between two runs.",
		"no success is known", 12, 8},
		graph("s").Interval("1m").
			OverrideByRegexp("/^schedule/", []dashboard.DynamicConfigValue{
				property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{8, 6}}),
				property("custom.lineWidth", 1),
			}),
		b.over(named("kind", "time() - max by (kind) (vbaws_policy_last_success_timestamp_seconds)"), "{{kind}}"),
		b.over(named("kind", "max by (kind) (vbaws_policy_expected_interval_seconds)"), "schedule: {{kind}}"))

	b.row("In figures")
	by := "extended_type, status"
	add(b, about{"By kind and status",
		"Of each kind and status: how many sessions ended so in the last 24 hours, 7 and 30 days, how long ago the newest did, and whether it is the newest of all of that kind.",
		"no session ended", 14, 8},
		sorted(grid(
			column{"extended_type", "Kind", nil},
			column{"status", "Status", []dashboard.DynamicConfigValue{width(110), textColored, left, mapped(statusWords()...)}},
			column{"A", "24 hours", []dashboard.DynamicConfigValue{width(80), property("decimals", 0)}},
			column{"B", "7 days", []dashboard.DynamicConfigValue{width(70), property("decimals", 0)}},
			column{"C", "30 days", []dashboard.DynamicConfigValue{width(75), property("decimals", 0)}},
			column{"D", "Newest ended", []dashboard.DynamicConfigValue{unit("s"), width(110), property("decimals", 1)}},
			column{"E", "Newest of all", []dashboard.DynamicConfigValue{width(110), left, mapped(word{"1", "← yes", "text"}, word{"0", "", "text"})}},
		), "Kind", false),
		b.rows("sum by ("+by+") ("+counted(`type="$type"`, "1d")+")"),
		b.rows("sum by ("+by+") ("+counted(`type="$type"`, "7d")+")"),
		b.rows("sum by ("+by+") ("+counted(`type="$type"`, "30d")+")"),
		b.rows("time() - max by ("+by+`) (vbaws_session_last_end_timestamp_seconds{type="$type"})`),
		b.rows("max by ("+by+`) (vbaws_session_last_status{type="$type"})`))
	add(b, about{"The policy and its schedule",
		"Each policy of this name, whether it is overdue, how long ago it last succeeded and was last due, and the longest gap that its schedule leaves.",
		"no schedule is known", 10, 8},
		schedules(), b.schedule(a)...)
	return b.Build()
}
