package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/tsdb"
	"go.yaml.in/yaml/v4"
)

var (
	costRules = flag.String("cost-rules", alertsPath, "rules whose cost is measured")
	costDays  = flag.Int("cost-days", 2, "how much is stored, in days")
)

// storedForAlerts returns a storage with a sample a minute: days of an appliance, and policyDays of its
// policies. The returned time is that of the last sample of the policies.
func storedForAlerts(tb testing.TB, policies int, days, policyDays float64) (*promql.Engine, *tsdb.DB, time.Time) {
	tb.Helper()
	minutes, policyMinutes := int(days*1440), int(policyDays*1440)
	var load strings.Builder
	load.WriteString("load 1m\n")
	series := func(name, labels, value string) {
		fmt.Fprintf(&load, "\t%s{job=\"vbaws\", instance=\"a:10105\"%s} %sx%d\n", name, labels, value, minutes)
	}
	series("up", "", "1")
	series("process_start_time_seconds", "", "5")
	series("vbaws_exporter_config_last_reload_successful", "", "1")
	const eu = `, appliance="eu"`
	for _, name := range []string{"vbaws_up", "vbaws_exporter_schedules_unreadable", "vbaws_exporter_endpoint_errors"} {
		series(name, eu, "0")
	}
	series("vbaws_exporter_last_successful_poll_timestamp_seconds", eu, "0+60")
	series("vbaws_exporter_watermark_resets_total", eu, "0")
	for _, result := range []string{"success", "auth", "tls", "timeout", "unreachable", "http", "decode", "config", "storage"} {
		series("vbaws_exporter_polls_total", eu+`, result="`+result+`"`, "0+1")
	}
	for _, reason := range []string{"undecodable", "before_cutoff", "gone", "unreadable"} {
		series("vbaws_exporter_sessions_skipped_total", eu+`, reason="`+reason+`"`, "0")
	}
	for _, what := range []string{"policies", "types", "extended_types", "statuses", "series", "unfinished", "repositories", "instances"} {
		series("vbaws_exporter_over_limit", eu+`, what="`+what+`"`, "0")
	}
	for i := range 20 {
		series("vbaws_exporter_endpoint_forbidden", fmt.Sprintf(`%s, endpoint="/api/v1/e%d/policies"`, eu, i), "0")
	}
	for _, name := range []string{
		"vbaws_appliance_certificate_expiry_timestamp_seconds", "vbaws_license_expiry_timestamp_seconds", "vbaws_license_instances_used", "vbaws_license_instances",
		"vbaws_instances", "vbaws_instances_protected",
	} {
		series(name, eu, "100000000")
	}
	for _, typ := range []string{"ConfigurationBackupActivity", "RetentionActivity", "RestoreTask"} {
		for _, status := range []string{"Succeeded", "Failed"} {
			of := fmt.Sprintf(`%s, type=%q, extended_type="", policy="", status=%q`, eu, typ, status)
			series("vbaws_session_last_end_timestamp_seconds", of, "0")
			series("vbaws_session_last_status", of, "1")
		}
	}
	minutes = policyMinutes
	for i := range policies {
		policy := fmt.Sprintf(`%s, policy="p%d"`, eu, i)
		for _, ext := range []string{"PolicySnapshot", "PolicyBackup"} {
			for _, status := range []string{"Succeeded", "Warning", "Failed", "Canceled"} {
				of := fmt.Sprintf(`%s, type="Policy", extended_type=%q, status=%q`, policy, ext, status)
				for _, name := range []string{
					"vbaws_sessions_total", "vbaws_session_duration_seconds_sum", "vbaws_session_duration_seconds_count",
					"vbaws_session_last_end_timestamp_seconds", "vbaws_session_last_status",
				} {
					series(name, of, "1+0.001")
				}
			}
			series("vbaws_sessions_running", fmt.Sprintf(`%s, type="Policy", extended_type=%q`, policy, ext), "1")
			series("vbaws_sessions_running_oldest_start_timestamp_seconds", fmt.Sprintf(`%s, type="Policy", extended_type=%q`, policy, ext), "0")
		}
		policy += `, workload="ec2"`
		series("vbaws_policy_enabled", policy, "1")
		for _, kind := range []string{"snapshot", "backup"} {
			of := policy + `, kind="` + kind + `"`
			for _, name := range []string{
				"vbaws_policy_expected_interval_seconds", "vbaws_policy_last_due_timestamp_seconds", "vbaws_policy_last_success_timestamp_seconds",
				"vbaws_policy_overdue_runs", "vbaws_policy_next_due_timestamp_seconds",
			} {
				series(name, of, "86400")
			}
			for _, problem := range []string{"failing", "overdue", "stuck"} {
				series("vbaws_policy_problem", of+`, problem="`+problem+`"`, "1")
				series("vbaws_policy_problem_since_timestamp_seconds", of+`, problem="`+problem+`"`, "0")
			}
		}
		for _, problem := range []string{"silent", "disabled"} {
			series("vbaws_policy_problem", policy+`, kind="", problem="`+problem+`"`, "1")
			series("vbaws_policy_problem_since_timestamp_seconds", policy+`, kind="", problem="`+problem+`"`, "0")
		}
	}
	wide := func(o *tsdb.Options) {
		o.MinBlockDuration = (60 * 24 * time.Hour).Milliseconds()
		o.MaxBlockDuration = o.MinBlockDuration
	}
	storage := promqltest.LoadedStorage(tb, load.String(), wide)
	return promqltest.NewTestEngine(tb, false, 5*time.Minute, 100_000_000), storage.DB, time.Unix(0, 0).Add(time.Duration(policyMinutes) * time.Minute)
}

// evaluate evaluates every rule of a file once, and returns how many samples it read.
func evaluate(tb testing.TB, path string, engine *promql.Engine, db *tsdb.DB, at time.Time) (samples int64) {
	tb.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Record, Alert, Expr string }
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := yaml.Load(data, &file); err != nil {
		tb.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			q, err := engine.NewInstantQuery(tb.Context(), db, nil, r.Expr, at)
			if err != nil {
				tb.Fatal(err)
			}
			if result := q.Exec(tb.Context()); result.Err != nil {
				tb.Fatalf("%s: %v", r.Alert, result.Err)
			}
			n := q.Stats().Samples.TotalSamples
			if testing.Verbose() {
				tb.Logf("%7d samples: %s%s", n, r.Alert, r.Record)
			}
			samples += n
			q.Close()
		}
	}
	return samples
}

// TestAlertCost limits the samples that an evaluation of all alerts reads: for an appliance with one
// policy that has every problem, and for each further policy.
func TestAlertCost(t *testing.T) {
	engine, db, at := storedForAlerts(t, 1, float64(*costDays), float64(*costDays))
	one := evaluate(t, *costRules, engine, db, at)
	if one > 5000 {
		t.Errorf("%d samples for an appliance with one policy", one)
	}
	engine, db, at = storedForAlerts(t, 11, float64(*costDays), float64(*costDays))
	if each := (evaluate(t, *costRules, engine, db, at) - one) / 10; each > 100 {
		t.Errorf("%d samples for each further policy, %d for an appliance with one", each, one)
	}
	t.Logf("%d samples for an appliance with one policy", one)
}

// BenchmarkAlerts evaluates all alerts, for an appliance with a thousand policies that have every
// problem.
func BenchmarkAlerts(b *testing.B) {
	engine, db, at := storedForAlerts(b, 1000, 1.0/144, 1.0/144)
	b.ReportAllocs()
	for b.Loop() {
		b.ReportMetric(float64(evaluate(b, *costRules, engine, db, at)), "samples/op")
	}
}
