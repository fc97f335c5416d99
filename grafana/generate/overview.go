package main

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const overviewUID = "vbaws-overview"

// shownProblems limits the rows of the timeline of problems.
const shownProblems = "50"

// worst is whether policies had each problem, for the problems that lasted longest.
const worst = `max by (appliance, policy, problem) (vbaws_policy_problem)
	and topk(` + shownProblems + `, max by (appliance, policy, problem) (
		count_over_time(vbaws_policy_problem_since_timestamp_seconds{problem!="disabled"}[$__range:$__interval] @ end())))`

func overview() (dashboard.Dashboard, error) {
	b := newBoard(overviewUID, "Overview",
		"Which policies have problems, since when, how often they are on time, and what is due next: on all appliances that vbaws_exporter polls.")
	b.Time("now-24h", "now")
	b.choice("appliance", "Appliance", "Which appliances", "vbaws_up", ".*")
	b.choice("policy", "Policy", "Which policies", "vbaws_policy_info", ".*")

	const gone = "unknown: no exporter is scraped"
	bad := steps(green, step{1, vermilion})
	b.row("Now")
	add(b, about{"Stuck", "Policies with a session that has been running far longer than such sessions usually take.",
		gone, 4, 4}, number("none", bad), b.now(policiesWith("stuck")))
	add(b, about{"Failing", "Policies whose newest finished session, of a snapshot or a backup or another kind, failed, with no retry under way.",
		gone, 4, 4}, number("none", bad), b.now(policiesWith("failing")))
	add(b, about{"Overdue", "Policies with a scheduled start that no success followed in time. How much time a run has is overdue_grace in the configuration.",
		gone, 4, 4}, number("none", bad), b.now(policiesWith("overdue")))
	add(b, about{"Silent", "Policies without a known schedule that have had no success for 7 to 30 days.",
		gone, 4, 4}, number("none", steps(green, step{1, orange})), b.now(policiesWith("silent")))
	add(b, about{"Not polled", "Appliances whose last poll failed. Their problems stay as they were at the last successful poll.",
		gone, 4, 4}, number("none", bad), b.now(orZero("count(max by (appliance) (vbaws_up) == 0)")))
	add(b, about{"On time (SLA)", "The share of the time range in which policies weren't overdue: the average of all policies and kinds with a schedule.",
		"no schedule is known", 4, 4},
		number("percentunit", steps(vermilion, step{0.95, orange}, step{0.99, green})).Decimals(2), b.now("avg("+onTime+")"))

	add(b, about{"Problems",
		"What is wrong now, the worst first, and since when: the start of the stuck session, the end of the first failure, the oldest scheduled start without a success, the last success. The policy's name links to its board.",
		"no problems, or no exporter is scraped", 24, 8},
		problemTable(
			col("policy", "Policy", toPolicy, width(300)),
			col("appliance", "Appliance"),
		), b.problemRows()...)
	add(b, about{"Problems over time",
		"The policies that had a problem in the time range, a row for each problem: the " + shownProblems + " that had theirs for longest. Disabled policies aren't shown.",
		"no problems in this time range, or no exporter is scraped", 24, 9},
		problemTimeline(),
		b.over(worst, "{{appliance}}: {{policy}} {{problem}}"))

	b.row("Policies")
	add(b, about{"Schedules",
		"Each policy and kind: how many scheduled starts have had no success in time, the next start, the last success, the longest gap that the schedule leaves, and the share of the time range without an overdue run (SLA).",
		"no schedule is known", 24, 11},
		scheduleTable(
			col("policy", "Policy", toPolicy, width(300)),
			col("appliance", "Appliance"),
		), b.scheduleRows()...)

	b.row("Sessions")
	add(b, about{"Sessions finished, by status",
		"How many sessions of policies finished within each bar, each counted once.",
		"no session finished, or no exporter is scraped", 9, 8},
		byStatus(bars()),
		b.over(`sum by (status) (`+counted(`type="Policy"`, "$__rate_interval")+`)`, "{{status}}"))
	add(b, about{"Failed sessions",
		"Policies with failed sessions: how many in the time range, when the newest one ended, and how many in a row without a success since. Empty: a success followed.",
		"no session failed", 15, 8},
		sorted(grid(
			col("policy", "Policy", toPolicy),
			col("extended_type", "Session", width(175)),
			col("appliance", "Appliance", width(90)),
			col("A", "Failed", width(65), decimals(0)),
			col("B", "Newest", unit("s"), width(90), decimals(1)),
			col("C", "In a row", width(75), decimals(0), textColored, limits(steps("text", step{1, vermilion}))),
		), order{"In a row", true}),
		b.rows(`max by (`+bySession+`) (round(increase(vbaws_sessions_total{type="Policy", status="Failed"}[$__range]))) > 0`),
		b.rows(`time() - max by (`+bySession+`) (vbaws_session_last_end_timestamp_seconds{type="Policy", status="Failed"}) < $__range_s`),
		b.rows(`max by (`+bySession+`) (vbaws_session_consecutive_failures) > 0`))
	const started = `min by (` + bySession + `) (vbaws_sessions_running_oldest_start_timestamp_seconds{type="Policy"})`
	add(b, about{"Running sessions",
		"Sessions of policies that are running: for how long the oldest of each kind has been, how long such sessions typically take (the median of the last 15 successes, from 5 on), and the ratio of the two.",
		"nothing is running", 24, 7},
		sorted(grid(
			col("policy", "Policy", toPolicy, width(300)),
			col("extended_type", "Session"),
			col("appliance", "Appliance"),
			col("A", "Running for", ago...),
			col("B", "Typically", ago...),
			col("C", "Times typical", decimals(1), textColored, limits(steps("text", step{2, orange}, step{3, vermilion}))),
		), order{"Running for", true}),
		b.rows("time() - "+started),
		b.rows(`max by (`+bySession+`) (vbaws_session_typical_duration_seconds) and on (`+bySession+`) vbaws_sessions_running_oldest_start_timestamp_seconds{type="Policy"}`),
		b.rows("(time() - "+started+`) / max by (`+bySession+`) (vbaws_session_typical_duration_seconds)`))

	b.row("Appliances")
	ofAppliance := func(metric string) string { return "max by (appliance) (" + metric + ")" }
	unprotected := ofAppliance("vbaws_instances") + " - " + ofAppliance("vbaws_instances_protected")
	licenseUsed := ofAppliance("vbaws_license_instances_used") + " / " + ofAppliance("vbaws_license_instances")
	expiry := limits(steps(vermilion, step{3 * 86400, orange}, step{30 * 86400, "text"}))
	add(b, about{"Appliances",
		"Each appliance: whether the last poll succeeded, the age of the data, and what the appliance reports. What the account has no right to read stays empty.",
		"no exporter is scraped", 24, 5},
		sorted(grid(
			col("appliance", "Appliance"),
			col("A", "Polled", width(75), textColored, left, mapped(word{"1", "✓ yes", green}, word{"0", "⊘ no", vermilion})),
			col("B", "Age", unit("s"), width(80), decimals(1), textColored, limits(steps("text", step{300, orange}, step{1800, vermilion}))),
			col("version", "Version"),
			col("api_version", "API", width(80)),
			col("D", "Policies", width(75)),
			col("E", "Instances", width(85)),
			col("F", "Unprotected", width(100), textColored, limits(steps("text", step{1, orange}))),
			col("G", "License used", unit("percentunit"), width(105), decimals(0), textColored, limits(steps("text", step{0.9, orange}, step{1.0001, vermilion}))),
			col("H", "License ends in", unit("s"), width(120), decimals(0), textColored, expiry),
			col("I", "Certificate ends in", unit("s"), width(145), decimals(0), textColored, expiry),
			col("J", "Clock offset", unit("s"), width(105), decimals(0)),
			col("K", "Alarms", width(70), textColored, limits(steps("text", step{1, orange}))),
		), order{"Appliance", false}),
		b.rows(ofAppliance("vbaws_up")),
		b.rows("time() - "+ofAppliance("vbaws_exporter_last_successful_poll_timestamp_seconds")),
		b.rows("max by (appliance, version, api_version) (vbaws_appliance_info)"),
		b.rows(ofAppliance("vbaws_policies")),
		b.rows(ofAppliance("vbaws_instances")),
		b.rows(unprotected),
		b.rows(licenseUsed),
		b.rows("min by (appliance) (vbaws_license_expiry_timestamp_seconds) - time()"),
		b.rows("min by (appliance) (vbaws_appliance_certificate_expiry_timestamp_seconds) - time()"),
		b.rows(ofAppliance("vbaws_appliance_clock_offset_seconds")),
		b.rows(ofAppliance("vbaws_alarms")))
	add(b, about{"Unprotected instances",
		"Instances that an appliance knows and no policy protects. A rise means new ones that are in no policy, or a policy that covers less.",
		"the account has no right to read it", 12, 7},
		graph("none").Decimals(0).MaxDataPoints(100),
		b.over(unprotected, "{{appliance}}"))
	add(b, about{"License use",
		"Instances that use the license, as a share of those that it covers. Instances beyond 100 % may no longer be protected.",
		"the account has no right to read it, or there is no license", 12, 7},
		graph("percentunit").Max(1.1).MaxDataPoints(100).
			Thresholds(steps("transparent", step{1, vermilion})).
			ThresholdsStyle(dashedLine()),
		b.over(licenseUsed, "{{appliance}}"))
	return b.Build()
}

func dashedLine() *common.GraphThresholdsStyleConfigBuilder {
	return common.NewGraphThresholdsStyleConfigBuilder().Mode(common.GraphThresholdsStyleModeDashed)
}
