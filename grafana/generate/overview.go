package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const (
	overviewUID = "vbaws-overview"
	policyUID   = "vbaws-policy"
	exporterUID = "vbaws-exporter"
)

// lately bounds the age of a newest session that is still spoken of, as VbawsPolicyFailed does:
// what comes no more, such as a kind that had another name before an upgrade, has
// no success any more.
const lately = "time() - 35 * 86400"

// failing are the policies whose newest session of a kind failed, with the time that it did.
// Disabled ones aren't: nobody waits for them.
var failing = ofWorkload(`
	max by (appliance, policy, extended_type) (
		vbaws_session_last_end_timestamp_seconds{type="Policy", status="Failed"}
		and vbaws_session_last_status{type="Policy", status="Failed"} == 1
	) > ` + lately + `
	unless on (appliance, policy)
	max by (appliance, policy) (vbaws_policy_enabled) == 0`)

// late is what is overdue, as the alerts say it, since when it was due.
func late(a *alerts) string {
	return fmt.Sprintf("(time() - (%s)) or (%s)", a.mustExpr("VbawsPolicyOverdue"), a.mustExpr("VbawsPolicyOverdueByInterval"))
}

// running is for how long the oldest session of each kind runs, at the last successful poll;
// usual what such sessions take on average, where five are known.
func running(a *alerts) string { return ofWorkload(a.record("vbaws:session_running_seconds:max")) }
func usual(a *alerts) string   { return a.record(average) }

// average is what the alerts know as usual.
const average = "vbaws:session_duration_seconds:avg30d"

// averageAtBothEnds is the same without reading all samples of 30 days.
var averageAtBothEnds = func() string {
	of := func(metric string) string {
		return "sum by (appliance, policy, extended_type) (" + longRise(metric+`{type="Policy", status=~"Succeeded|Warning"}`, "30d") + ")"
	}
	return of("vbaws_session_duration_seconds_sum") + " / (" + of("vbaws_session_duration_seconds_count") + " > 4.5)"
}()

// long is what runs far longer than it used to, as the alerts say it.
func long(a *alerts) string {
	return ofWorkload(fmt.Sprintf("(%s) or (%s)", a.mustExpr("VbawsSessionLong"), a.mustExpr("VbawsSessionStuck")))
}

// unread are the appliances that can't be polled, with the age of what is shown of them.
const unread = `
	(time() - max by (appliance) (vbaws_exporter_last_successful_poll_timestamp_seconds) or max by (appliance) (vbaws_up))
	and on (appliance) max by (appliance) (vbaws_up) == 0`

// success is the share of the sessions of a window that succeeded.
func success(window string) string {
	sum := func(matchers string) string {
		return "sum(" + ofWorkload(counted(`type="Policy"`+matchers, window)) + ")"
	}
	return sum(`, status=~"Succeeded|Warning"`) + " / (" + sum("") + " > 0)"
}

// windows are those of the success ratio.
var windows = []struct{ name, window string }{{"1 day", "1d"}, {"7 days", "7d"}, {"30 days", "30d"}}

// overWindows joins an expression over each window, with the window's name.
func overWindows(expr func(window string) string) string {
	joined := ""
	for i, w := range windows {
		if i > 0 {
			joined += " or "
		}
		joined += called("window", w.name, expr(w.window))
	}
	return joined
}

func overview(a *alerts) (dashboard.Dashboard, error) {
	b := newBoard(overviewUID, "Overview",
		"Is anything wrong now, what failed in the last day, what is overdue, what runs unusually long: on all appliances that vbaws_exporter watches.",
		scope{matchers: map[string]string{"appliance": "$appliance", "workload": "$workload", "policy": "$policy"}})
	b.Time("now-24h", "now")
	b.choice("appliance", "Appliance", "Which appliances", `vbaws_exporter_polls_total{appliance=~".*"}`)
	b.choice("workload", "Workload", "Policies for which kind of workload", `vbaws_policy_info{workload=~".*", policy=~".*"}`)
	b.choice("policy", "Policy", "Which policies", `vbaws_policy_info{policy=~".*"}`)
	b.WithVariable(b.choices("type", "Type", "Which types of sessions are in 'Sessions that ended'. Those of type Policy have others of type Job and Task below them, so that a sum of all counts work twice",
		`vbaws_sessions_total{policy=~".*"}`).Current(option("Policy", "Policy", true)))
	b.custom("target", "Target", "The share of sessions that should succeed", "95 % : 0.95",
		"90 % : 0.9", "95 % : 0.95", "98 % : 0.98", "99 % : 0.99", "99.9 % : 0.999")
	b.bar()

	const gone = "unknown: no exporter is scraped"
	b.row("Now")
	bad := steps(green, step{1, vermilion})
	add(b, about{"Policies failing",
		"Policies of which a newest finished session, of a snapshot or a backup or another kind, ended with Failed within 35 days. A retry that succeeds takes them out; disabled ones aren't counted.",
		gone, 4, 4}, number("none", bad), b.now(orZero("count(count by (appliance, policy) ("+failing+"))")))
	add(b, about{"Policies overdue",
		"Policies with a scheduled start more than an hour ago that no success has followed and that no run under way may bring: what VbawsPolicyOverdue and VbawsPolicyOverdueByInterval alert on. Of an appliance that can't be polled nothing becomes overdue.",
		gone, 4, 4}, number("none", bad), b.now(orZero("count(count by (appliance, policy, workload) ("+late(a)+"))")))
	add(b, about{"Unusually long",
		"For more than half an hour and one and a half times of what they take on average, or for more than a day: what VbawsSessionLong and VbawsSessionStuck alert on.",
		gone, 4, 4}, number("none", steps(green, step{1, orange})), b.now(orZero("count("+long(a)+")")))
	add(b, about{"Appliances not polled",
		"Those whose last poll failed. What is shown of them is as old as their last successful poll.",
		gone, 4, 4}, number("none", bad), b.now(orZero("count("+unread+")")))
	add(b, about{"Failed in 24 h",
		"Sessions of policies that ended with Failed, each counted once; retries too.",
		gone, 4, 4}, number("none", steps(green, step{1, orange})),
		b.now(orZero("sum("+ofWorkload(counted(`type="Policy", status="Failed"`, "1d"))+")")))
	add(b, about{"Running now",
		"Sessions of policies that have begun and not ended.",
		gone, 4, 4}, number("none", steps(blue)),
		b.now(orZero("sum("+ofWorkload(`max by (appliance, extended_type, policy) (vbaws_sessions_running{type="Policy"})`)+")")))

	const (
		isUnread = "not polled"
		isFailed = "failed"
		isLate   = "overdue"
		isLong   = "long"
	)
	failedFor := "time() - (" + failing + ")"
	// What is overdue has a kind in place of the sessions' type.
	lateFor := fmt.Sprintf(`label_replace(%s, "extended_type", "$1", "kind", "(.*)")`, late(a))
	attention := fmt.Sprintf("%s or %s or max by (what, appliance, policy, workload, extended_type) (%s) or %s",
		called("what", isUnread, unread), called("what", isFailed, failedFor),
		called("what", isLate, lateFor), called("what", isLong, long(a)))
	add(b, about{"What needs someone",
		"What is wrong now, the longest first: failed, since its newest session ended; overdue, since it was due; long, since it began; not polled, since the last successful poll. The policy's name leads to its board.",
		"nothing: all is well, or no exporter is scraped", 24, 8},
		sorted(grid(
			column{"what", "What", []dashboard.DynamicConfigValue{width(110), textColored, left, mapped(
				word{isUnread, "⊘ not polled", purple}, word{isFailed, "✗ failed", vermilion},
				word{isLate, "◷ overdue", orange}, word{isLong, "… runs long", sky})}},
			column{"policy", "Policy", []dashboard.DynamicConfigValue{toPolicy, width(300)}},
			column{"extended_type", "Kind", nil},
			column{"workload", "Workload", []dashboard.DynamicConfigValue{width(110)}},
			column{"appliance", "Appliance", nil},
			column{"A", "For", ago},
		), "For", true), b.rows(attention))

	b.row("The last day")
	last := func(metric, matchers string) string {
		return fmt.Sprintf(`time() - max by (appliance, policy, extended_type) (%s{type="Policy", %s})`, metric, matchers)
	}
	failedDay := `sum by (appliance, policy, extended_type) (` + ofWorkload(counted(`type="Policy", status="Failed"`, "1d")) + `) > 0`
	alsoFailed := func(expr string) string {
		return "(" + expr + ") and on (appliance, policy, extended_type) (" + failedDay + ")"
	}
	add(b, about{"What failed in the last 24 hours",
		"Policies with sessions that failed in the last 24 hours, how often, and what the newest session ended with since: a retry may have succeeded.",
		"nothing failed", 24, 8},
		sorted(grid(
			column{"policy", "Policy", []dashboard.DynamicConfigValue{toPolicy, width(300)}},
			column{"extended_type", "Kind", nil},
			column{"appliance", "Appliance", nil},
			column{"A", "Failed", []dashboard.DynamicConfigValue{width(110), property("decimals", 0)}},
			column{"B", "Last failed", ago},
			column{"C", "Since then", []dashboard.DynamicConfigValue{textColored, left,
				mapped(word{"1", "✗ no success", vermilion}, word{"0", "✓ succeeded", green})}},
		), "Failed", true),
		b.rows(failedDay),
		b.rows(alsoFailed(last("vbaws_session_last_end_timestamp_seconds", `status="Failed"`))),
		b.rows(alsoFailed(`max by (appliance, policy, extended_type) (vbaws_session_last_status{type="Policy", status="Failed"})`)))

	add(b, about{"Sessions that ended, by status",
		"How many sessions of the chosen types ended within each bar, each counted once. 'Bars of' says how long a bar is.",
		"no session ended, or no exporter is scraped", 15, 8},
		byStatus(bars()).Interval("$bar"),
		b.over("sum by (status) ("+ofWorkload(counted(`type=~"$type"`, "$__interval"))+")", "{{status}}").Interval("$bar"))
	add(b, about{"Success against the target",
		"The share of the sessions of policies that succeeded, with or without warnings, in the last 1, 7 and 30 days, and by how much that is above or below the target. Each try counts: a failure and a retry that succeeded is one of each.",
		"no session ended", 9, 8},
		sorted(grid(
			column{"window", "In the last", nil},
			column{"B", "Sessions", []dashboard.DynamicConfigValue{property("decimals", 0)}},
			column{"A", "Succeeded", []dashboard.DynamicConfigValue{unit("percentunit"), property("decimals", 2)}},
			column{"C", "Above target", []dashboard.DynamicConfigValue{unit("percentunit"), property("decimals", 2), textColored,
				limits(steps(vermilion, step{0, green}))}},
		), "Sessions", false).CellHeight("lg"),
		b.rows(overWindows(success)),
		b.rows(overWindows(func(w string) string { return "sum(" + ofWorkload(counted(`type="Policy"`, w)) + ") > 0" })),
		b.rows(overWindows(func(w string) string { return success(w) + " - $target" })))

	b.row("What runs, and what is due")
	add(b, about{"Running",
		"Sessions of policies that run, for how long the oldest of each kind has been running, what such sessions took on average in the last 30 days, and the one in terms of the other. There is no average before five succeeded.",
		"nothing runs", 24, 9},
		sorted(grid(
			column{"policy", "Policy", []dashboard.DynamicConfigValue{toPolicy, width(300)}},
			column{"extended_type", "Kind", nil},
			column{"appliance", "Appliance", nil},
			column{"A", "Runs for", []dashboard.DynamicConfigValue{unit("s"), property("decimals", 1), textColored,
				limits(steps("text", step{86400, vermilion}))}},
			column{"B", "Usually", ago},
			column{"C", "Times", []dashboard.DynamicConfigValue{property("decimals", 1), textColored,
				limits(steps("text", step{1.5, orange}, step{2, vermilion}))}},
		), "Runs for", true),
		b.rows(running(a)),
		b.rows("("+usual(a)+") and on (appliance, policy, extended_type) ("+running(a)+")"),
		b.rows("("+running(a)+") / on (appliance, policy, extended_type) ("+usual(a)+")"))
	add(b, about{"Schedules",
		"Of each enabled policy with a schedule, and each kind that it makes: how long ago it last succeeded, when it was due last, and the longest gap that the schedule leaves. 'Due' stays empty until a scheduled start has come since the exporter first saw the policy.",
		"no schedule is known", 24, 9},
		sorted(schedules(
			column{"policy", "Policy", []dashboard.DynamicConfigValue{toPolicy, width(300)}},
			column{"appliance", "Appliance", nil},
		), "State", true), b.schedule(a)...)

	b.row("Appliances")
	ofAppliance := func(metric string) string { return "max by (appliance) (" + metric + ")" }
	add(b, about{"Appliances",
		"Each appliance: whether the last poll could read it, how old what is shown is, and what it says of itself. What the account may not ask stays empty.",
		"no exporter is scraped", 24, 5},
		sorted(grid(
			column{"appliance", "Appliance", nil},
			column{"A", "Polled", []dashboard.DynamicConfigValue{width(95), textColored, left, mapped(word{"1", "✓ yes", green}, word{"0", "⊘ no", vermilion})}},
			column{"B", "Age", []dashboard.DynamicConfigValue{unit("s"), width(80), property("decimals", 1), textColored, limits(steps("text", step{300, orange}, step{1800, vermilion}))}},
			column{"version", "Version", nil},
			column{"api_version", "API", []dashboard.DynamicConfigValue{width(90)}},
			column{"D", "Policies", []dashboard.DynamicConfigValue{width(85)}},
			column{"E", "Instances", []dashboard.DynamicConfigValue{width(90)}},
			column{"F", "Unprotected", []dashboard.DynamicConfigValue{width(105), textColored, limits(steps("text", step{1, orange}))}},
			column{"G", "License used", []dashboard.DynamicConfigValue{unit("percentunit"), width(115), property("decimals", 0), textColored, limits(steps("text", step{0.9, orange}, step{1.0001, vermilion}))}},
			column{"H", "License ends in", []dashboard.DynamicConfigValue{unit("s"), width(125), property("decimals", 0), textColored, limits(steps(vermilion, step{3 * 86400, orange}, step{30 * 86400, "text"}))}},
			column{"I", "Alarms", []dashboard.DynamicConfigValue{width(80), textColored, limits(steps("text", step{1, orange}))}},
			column{"J", "Forbidden", []dashboard.DynamicConfigValue{width(95)}},
		), "Appliance", false),
		b.rows(ofAppliance("vbaws_up")),
		b.rows("time() - "+ofAppliance("vbaws_exporter_last_successful_poll_timestamp_seconds")),
		b.rows("max by (appliance, version, api_version) (vbaws_appliance_info)"),
		b.rows(ofAppliance("vbaws_policies")),
		b.rows(ofAppliance("vbaws_instances")),
		b.rows(ofAppliance("vbaws_instances")+" - "+ofAppliance("vbaws_instances_protected")),
		b.rows(ofAppliance("vbaws_license_instances_used")+" / "+ofAppliance("vbaws_license_instances")),
		b.rows("min by (appliance) (vbaws_license_expiry_timestamp_seconds) - time()"),
		b.rows(ofAppliance("vbaws_alarms")),
		b.rows("sum by (appliance) (max by (appliance, endpoint) (vbaws_exporter_endpoint_forbidden))"))
	add(b, about{"Instances without a backup",
		"Instances that an appliance knows and no policy protects. A rise means new ones that are in no policy, or a policy that covers less.",
		"the account may not ask for it", 12, 7},
		graph("none").Decimals(0).MaxDataPoints(300),
		b.over(ofAppliance("vbaws_instances")+" - "+ofAppliance("vbaws_instances_protected"), "{{appliance}}"))
	add(b, about{"Use of the license",
		"Instances that use the license, in terms of those that it covers. What is beyond 100 % may stop to be protected.",
		"the account may not ask for it, or there is no license", 12, 7},
		graph("percentunit").Max(1.1).MaxDataPoints(300).
			Thresholds(steps("transparent", step{1, vermilion})).
			ThresholdsStyle(dashedLine()),
		b.over(ofAppliance("vbaws_license_instances_used")+" / "+ofAppliance("vbaws_license_instances"), "{{appliance}}"))
	return b.Build()
}
