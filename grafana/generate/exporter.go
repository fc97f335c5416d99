package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/prometheus/prometheus/model/labels"
)

// quantile is one of a classic histogram, over the time since the last points.
func quantile(q float64, by, histogram string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (%s, le) (rate(%s_bucket[$__rate_interval])))", q, by, histogram)
}

func exporter() (dashboard.Dashboard, error) {
	b := newBoard(exporterUID, "Exporter",
		"How vbaws_exporter polls the appliances: polls, the watermark, calls of the API, and what the process needs.",
		scope{
			matchers: map[string]string{"appliance": "$appliance"},
			scraped: []*labels.Matcher{
				labels.MustNewMatcher(labels.MatchEqual, "job", "$job"),
				labels.MustNewMatcher(labels.MatchRegexp, "instance", "$instance"),
			},
		})
	b.Time("now-6h", "now")
	b.one("job", "Job", "The scrape's job", `vbaws_exporter_build_info{job=~".+", instance=~".*"}`)
	b.choice("instance", "Instance", "Which exporters", `vbaws_exporter_build_info{instance=~".*"}`)
	b.choice("appliance", "Appliance", "Which appliances", `vbaws_exporter_polls_total{appliance=~".*"}`)

	const gone = "unknown: no exporter is scraped"
	bad := steps(green, step{1, vermilion})
	b.row("Is it well")
	add(b, about{"Exporters gone",
		"Targets of the job that didn't answer the last scrape.",
		"unknown: there is no such job", 4, 4}, number("none", bad), b.now("count(up == 0) or 0 * count(up)"))
	add(b, about{"Appliances not polled",
		"Those whose last poll failed.",
		gone, 4, 4}, number("none", bad), b.now("count(vbaws_up == 0) or 0 * sum(vbaws_exporter_polls_total)"))
	add(b, about{"Oldest data",
		"Since the last successful poll of the appliance that has waited longest for one.",
		"no poll succeeded since the start", 4, 4},
		number("s", steps(green, step{300, orange}, step{1800, vermilion})).Decimals(0),
		b.now("time() - min(vbaws_exporter_last_successful_poll_timestamp_seconds)"))
	add(b, about{"Failed polls, 24 h",
		"Whatever the reason was. Polls by result, below, says when, and why.",
		gone, 4, 4}, number("none", steps(green, step{1, orange})),
		b.now(orZero("sum("+processRise(`vbaws_exporter_polls_total{result!="success"}`, "1d")+")")))
	add(b, about{"Not counted, 24 h",
		"Those that could not be understood, that started before the cutoff, or that were removed before they were seen to end. The log names each.",
		gone, 4, 4}, number("none", steps(green, step{1, orange})),
		b.now(orZero("sum("+rise("vbaws_exporter_sessions_skipped_total", "1d")+")")))
	add(b, about{"Configuration",
		"Whether it was understood when it was read last. Else the one before is in use.",
		gone, 4, 4},
		number("none", steps("text")).Mappings([]dashboard.ValueMapping{valueMap([]word{{"1", "✓ in use", green}, {"0", "✗ rejected", vermilion}})}),
		b.now("min(vbaws_exporter_config_last_reload_successful)"))

	b.row("Polls of the appliances")
	p := bars().MaxDataPoints(120).Interval("1m")
	for _, r := range []struct{ result, color string }{
		{"success", green}, {"auth", vermilion}, {"tls", purple}, {"timeout", yellow},
		{"unreachable", orange}, {"http", sky}, {"decode", blue}, {"config", "text"}, {"storage", grey},
	} {
		p = p.OverrideByName(r.result, []dashboard.DynamicConfigValue{fixed(r.color)})
	}
	add(b, about{"Polls by result",
		"How many polls ended within each bar: success, or the kind of failure.",
		"no poll ended", 12, 8}, p,
		b.over("sum by (result) ("+processRise("vbaws_exporter_polls_total", "$__interval")+")", "{{result}}"))
	const poll = "vbaws_exporter_poll_duration_seconds"
	add(b, about{"How long polls take",
		"On average, and what 99 of 100 stay below. A catch-up after a long absence may take as long as it needs.",
		"no poll ended", 12, 8}, graph("s").Interval("1m").
		OverrideByRegexp("/^99/", []dashboard.DynamicConfigValue{
			property("custom.lineStyle", map[string]any{"fill": "dash", "dash": []int{8, 6}}),
		}),
		b.over(fmt.Sprintf("sum by (appliance) (rate(%[1]s_sum[$__rate_interval])) / sum by (appliance) (rate(%[1]s_count[$__rate_interval]))", poll), "{{appliance}}"),
		b.over(quantile(0.99, "appliance", poll), "99 of 100: {{appliance}}"))
	add(b, about{"Age of what is shown",
		"Since the last successful poll. It climbs if an appliance can't be polled.",
		"no poll succeeded", 8, 7}, graph("s").
		Thresholds(steps("transparent", step{300, orange})).ThresholdsStyle(dashedLine()),
		b.over("time() - max by (appliance) (vbaws_exporter_last_successful_poll_timestamp_seconds)", "{{appliance}}"))
	add(b, about{"Change number read up to",
		"The list of sessions was read up to this change number (USN). It rises with every change on the appliance, stands still where nothing changes, and falls where the appliance was restored.",
		"the watermark mode is from_utc", 8, 7}, graph("none").
		AxisGridShow(true),
		b.over("max by (appliance) (vbaws_exporter_watermark_usn)", "{{appliance}}"))
	add(b, about{"Behind by start of sessions",
		"How far back the last complete resync, by the start of sessions, lies. It comes at intervals of up to an hour, or with every poll if the watermark mode is from_utc.",
		"no complete resync yet: the first comes five minutes after the initial sync", 8, 7}, graph("s"),
		b.over("time() - max by (appliance) (vbaws_exporter_watermark_timestamp_seconds)", "{{appliance}}"))

	b.row("The appliances' API")
	legend := common.NewVizLegendOptionsBuilder().
		DisplayMode(common.LegendDisplayModeTable).
		Placement(common.LegendPlacementRight).
		Calcs([]string{"lastNotNull", "max"}).
		SortBy("Max").SortDesc(true).
		ShowLegend(true)
	add(b, about{"Calls a minute, by endpoint and answer",
		"By the route's template and the HTTP status. An idle poll asks for sessions once; policies and the rest every inventory_interval.",
		"nothing was asked", 24, 8}, graph("none").Decimals(1).Legend(legend).Interval("1m"),
		b.over("60 * sum by (endpoint, code) (rate(vbaws_exporter_api_requests_total[$__rate_interval]))", "{{endpoint}} {{code}}"))
	add(b, about{"How long calls take, by endpoint",
		"What 99 of 100 calls stay below.",
		"nothing was asked", 24, 8}, graph("s").Legend(legend).Interval("1m").
		// Most endpoints are asked seldom.
		ShowPoints(common.VisibilityModeAuto),
		b.over(quantile(0.99, "endpoint", "vbaws_exporter_api_request_duration_seconds")+" >= 0", "{{endpoint}}"))
	add(b, about{"Calls without a good answer, in 24 hours",
		"By endpoint and HTTP status; error is for no answer.",
		"every call had a good answer", 12, 5},
		sorted(grid(
			column{"appliance", "Appliance", []dashboard.DynamicConfigValue{width(110)}},
			column{"endpoint", "Endpoint", nil},
			column{"code", "Answer", []dashboard.DynamicConfigValue{width(80)}},
			column{"A", "Calls", []dashboard.DynamicConfigValue{width(80), property("decimals", 0)}},
		), "Calls", true),
		b.rows("sum by (appliance, endpoint, code) ("+processRiseFromNothing(`vbaws_exporter_api_requests_total{code!~"2.."}`, "1d")+") > 0"))
	add(b, about{"What the account may not ask",
		"Endpoints that the account lacks the right to. What comes from there is missing; see 'What an account sees' in the README.",
		"it may ask everything", 12, 5},
		sorted(grid(
			column{"appliance", "Appliance", []dashboard.DynamicConfigValue{width(110)}},
			column{"endpoint", "Endpoint", nil},
		), "Endpoint", false),
		b.rows("max by (appliance, endpoint) (vbaws_exporter_endpoint_forbidden) == 1"))

	b.row("The process")
	add(b, about{"CPU",
		"Cores in use.",
		gone, 6, 7}, graph("none").Decimals(3),
		b.over("rate(process_cpu_seconds_total[$__rate_interval])", "{{instance}}"))
	add(b, about{"Memory",
		"Resident, and of that what Go's heap uses. The history of sessions is on disk, and not in it.",
		gone, 6, 7}, graph("bytes"),
		b.over("process_resident_memory_bytes", "{{instance}}"),
		b.over("go_memstats_heap_inuse_bytes", "heap: {{instance}}"))
	add(b, about{"Goroutines and open files",
		"Neither may climb for ever.",
		gone, 6, 7}, graph("none").Decimals(0),
		b.over("go_goroutines", "goroutines: {{instance}}"),
		b.over("process_open_fds", "files: {{instance}}"))
	add(b, about{"How long a scrape takes",
		"A scrape never waits for an appliance.",
		gone, 6, 7}, graph("s"),
		b.over("scrape_duration_seconds", "{{instance}}"))
	add(b, about{"Exporters",
		"Each exporter, its version, when it was started, and how many series it has.",
		gone, 24, 5},
		grid(
			column{"instance", "Instance", nil},
			column{"version", "Version", nil},
			column{"revision", "Revision", nil},
			column{"goversion", "Go", nil},
			column{"B", "Up for", []dashboard.DynamicConfigValue{unit("s"), property("decimals", 1)}},
			column{"C", "Samples a scrape", []dashboard.DynamicConfigValue{unit("none")}},
			column{"D", "Configuration read", []dashboard.DynamicConfigValue{unit("s"), property("decimals", 1)}},
		),
		b.rows("max by (instance, version, revision, goversion) (vbaws_exporter_build_info)"),
		b.rows("time() - max by (instance) (process_start_time_seconds)"),
		b.rows("max by (instance) (scrape_samples_scraped)"),
		b.rows("time() - max by (instance) (vbaws_exporter_config_last_reload_success_timestamp_seconds)"))
	return b.Build()
}
