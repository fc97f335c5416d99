package main

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const exporterUID = "vbaws-exporter"

// quantile returns a query for a quantile of a classic histogram.
func quantile(q float64, by, histogram string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (%s, le) (rate(%s_bucket[$__rate_interval])))", q, by, histogram)
}

func exporter() (dashboard.Dashboard, error) {
	b := newBoard(exporterUID, "Exporter",
		"How vbaws_exporter polls the appliances: polls, the watermark, requests to the API, and the resources of the process.")
	b.Time("now-6h", "now")
	b.choice("instance", "Instance", "Which exporters", "vbaws_exporter_build_info", ".+")
	b.choice("appliance", "Appliance", "Which appliances", "vbaws_up", ".*")

	const gone = "unknown: no exporter is scraped"
	bad := steps(green, step{1, vermilion})
	b.row("Health")
	add(b, about{"Exporters down",
		"Targets of the chosen jobs that didn't answer the last scrape.",
		"unknown: there is no such job", 4, 4}, number("none", bad), b.now("count(up == 0) or 0 * count(up)"))
	add(b, about{"Not polled",
		"Appliances whose last poll failed.",
		gone, 4, 4}, number("none", bad), b.now(orZero("count(max by (appliance) (vbaws_up) == 0)")))
	add(b, about{"Oldest data",
		"The time since the last successful poll, of the appliance with the longest.",
		"no poll succeeded since the start", 4, 4},
		number("s", steps(green, step{300, orange}, step{1800, vermilion})).Decimals(0),
		b.now("time() - min(vbaws_exporter_last_successful_poll_timestamp_seconds)"))
	add(b, about{"Failed polls, 24 h",
		"Of any reason. 'Polls by result' below shows when and why.",
		gone, 4, 4}, number("none", steps(green, step{1, orange})),
		b.now(orZero(`sum(round(increase(vbaws_exporter_polls_total{result!="success"}[1d])))`)))
	add(b, about{"Not counted, 24 h",
		"Sessions that could not be understood, that the appliance can't return, that started before the cutoff, or that were removed before they were seen to end. The log has the id of each.",
		gone, 4, 4}, number("none", steps(green, step{1, orange})),
		b.now(orZero("sum(max by (appliance, reason) (round(increase(vbaws_exporter_sessions_skipped_total[1d]))))")))
	add(b, about{"Configuration",
		"Whether the last reload succeeded. If not, the one before is in use.",
		gone, 4, 4},
		number("none", steps("text")).Mappings([]dashboard.ValueMapping{valueMap([]word{{"1", "✓ in use", green}, {"0", "✗ rejected", vermilion}})}),
		b.now("min(vbaws_exporter_config_last_reload_successful)"))

	b.row("Polls of the appliances")
	p := bars().MaxDataPoints(120)
	for _, r := range []struct{ result, color string }{
		{"success", green}, {"auth", vermilion}, {"tls", purple}, {"timeout", yellow},
		{"unreachable", orange}, {"http", sky}, {"decode", blue}, {"config", "text"}, {"storage", grey},
	} {
		p = p.OverrideByName(r.result, []dashboard.DynamicConfigValue{fixed(r.color)})
	}
	add(b, about{"Polls by result",
		"How many polls ended within each bar, by their result: success, or the kind of failure.",
		"no poll ended", 12, 8}, p,
		b.over("sum by (result) (round(increase(vbaws_exporter_polls_total[$__rate_interval])))", "{{result}}"))
	const poll = "vbaws_exporter_poll_duration_seconds"
	add(b, about{"How long polls take",
		"The average and the 99th percentile. A catch-up after a long absence takes longer.",
		"no poll ended", 12, 8}, graph("s").Interval("1m").
		OverrideByRegexp("/^p99/", dashes),
		b.over(fmt.Sprintf("sum by (appliance) (rate(%[1]s_sum[$__rate_interval])) / sum by (appliance) (rate(%[1]s_count[$__rate_interval]))", poll), "{{appliance}}"),
		b.over(quantile(0.99, "appliance", poll), "p99: {{appliance}}"))
	add(b, about{"Age of the data",
		"The time since the last successful poll. It rises while an appliance can't be polled.",
		"no poll succeeded", 8, 7}, graph("s").
		Thresholds(steps("transparent", step{300, orange})).ThresholdsStyle(dashedLine()),
		b.over("time() - max by (appliance) (vbaws_exporter_last_successful_poll_timestamp_seconds)", "{{appliance}}"))
	add(b, about{"Watermark (USN)",
		"The update sequence number up to which the list of sessions was read. It rises with every change on the appliance, and falls if the appliance was restored.",
		"the watermark mode is from_utc", 8, 7}, graph("none").
		AxisGridShow(true),
		b.over("max by (appliance) (vbaws_exporter_watermark_usn)", "{{appliance}}"))
	add(b, about{"Since the last complete resync",
		"A resync re-reads sessions by their start. It comes at intervals of up to an hour, or with every poll if the watermark mode is from_utc.",
		"no complete resync yet: the first comes five minutes after the initial sync", 8, 7}, graph("s"),
		b.over("time() - max by (appliance) (vbaws_exporter_watermark_timestamp_seconds)", "{{appliance}}"))

	b.row("The appliances' API")
	legend := common.NewVizLegendOptionsBuilder().
		DisplayMode(common.LegendDisplayModeTable).
		Placement(common.LegendPlacementRight).
		Calcs([]string{"lastNotNull", "max"}).
		SortBy("Max").SortDesc(true).
		ShowLegend(true)
	add(b, about{"Requests a minute, by endpoint and code",
		"By the route's template and the HTTP status. An idle poll requests the sessions once, and policies and the rest every inventory_interval.",
		"no requests", 24, 8}, graph("none").Decimals(1).Legend(legend).Interval("1m"),
		b.over("60 * sum by (endpoint, code) (rate(vbaws_exporter_api_requests_total[$__rate_interval]))", "{{endpoint}} {{code}}"))
	add(b, about{"How long requests take, by endpoint",
		"The 99th percentile.",
		"no requests", 24, 8}, graph("s").Legend(legend).Interval("1m").
		// Most endpoints are requested seldom.
		ShowPoints(common.VisibilityModeAuto),
		b.over(quantile(0.99, "endpoint", "vbaws_exporter_api_request_duration_seconds")+" >= 0", "{{endpoint}}"))
	const failed = `vbaws_exporter_api_requests_total{code!~"2.."}`
	add(b, about{"Failed requests",
		"By endpoint and HTTP status; error stands for no answer. How many in 24 hours, of which the first one of its kind isn't seen, and since the exporter was started.",
		"no request failed", 12, 6},
		sorted(grid(
			col("appliance", "Appliance", width(110)),
			col("endpoint", "Endpoint"),
			col("code", "Code", width(70)),
			col("A", "24 h", width(70), decimals(0)),
			col("B", "Since start", width(100), decimals(0)),
		).Unit("none"), order{"24 h", true}),
		b.rows("sum by (appliance, endpoint, code) (round(increase("+failed+"[1d])))"),
		b.rows("sum by (appliance, endpoint, code) ("+failed+")"))
	add(b, about{"Missing rights",
		"Endpoints that the account has no right to read. What comes from there is missing. The documentation lists which right each endpoint needs.",
		"the account has all rights", 12, 6},
		sorted(grid(
			col("appliance", "Appliance", width(110)),
			col("endpoint", "Endpoint"),
		).Unit("none"), order{"Endpoint", false}),
		b.rows("max by (appliance, endpoint) (vbaws_exporter_endpoint_forbidden) == 1"))

	b.row("The process")
	add(b, about{"CPU",
		"Cores in use.",
		gone, 6, 7}, graph("none").Decimals(3),
		b.over("rate(process_cpu_seconds_total[$__rate_interval])", "{{instance}}"))
	add(b, about{"Memory",
		"Resident memory, and the part of it that is Go's heap.",
		gone, 6, 7}, graph("bytes"),
		b.over("process_resident_memory_bytes", "{{instance}}"),
		b.over("go_memstats_heap_inuse_bytes", "heap: {{instance}}"))
	add(b, about{"Goroutines and open files",
		"Neither should keep rising.",
		gone, 6, 7}, graph("none").Decimals(0),
		b.over("go_goroutines", "goroutines: {{instance}}"),
		b.over("process_open_fds", "files: {{instance}}"))
	add(b, about{"How long a scrape takes",
		"A scrape doesn't wait for an appliance.",
		gone, 6, 7}, graph("s"),
		b.over("scrape_duration_seconds", "{{instance}}"))
	add(b, about{"Exporters",
		"Each exporter: its version, for how long it has been up, how many samples a scrape has, and when its configuration was read.",
		gone, 24, 5},
		grid(
			col("instance", "Instance"),
			col("version", "Version"),
			col("revision", "Revision"),
			col("goversion", "Go"),
			col("B", "Up for", unit("s"), decimals(1)),
			col("C", "Samples a scrape", unit("none")),
			col("D", "Configuration read", unit("s"), decimals(1)),
		),
		b.rows("max by (instance, version, revision, goversion) (vbaws_exporter_build_info)"),
		b.rows("time() - max by (instance) (process_start_time_seconds)"),
		b.rows("max by (instance) (scrape_samples_scraped)"),
		b.rows("time() - max by (instance) (vbaws_exporter_config_last_reload_success_timestamp_seconds)"))
	return b.Build()
}
