package e2e

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// recipeDays is how long the data of recipeData lasts.
const recipeDays = 31

// recipeData has a policy without problems (good), one with an old backup (old), one
// that never succeeded (never) and one that is disabled (off). A sample comes
// every 5 minutes: AGO(n) is the time n seconds before the last sample, and STEPS(a, b,
// n) is a, and b in the last n samples.
const recipeData = `
vbaws_policy_enabled{appliance="a", policy="good", workload="ec2"} STEPS(1, 1, 1)
vbaws_policy_enabled{appliance="a", policy="old", workload="ec2"} STEPS(1, 1, 1)
vbaws_policy_enabled{appliance="a", policy="never", workload="rds"} STEPS(1, 1, 1)
vbaws_policy_enabled{appliance="a", policy="off", workload="ec2"} STEPS(0, 0, 1)
vbaws_policy_last_success_timestamp_seconds{appliance="a", policy="good", workload="ec2", kind="backup"} AGO(3600)
vbaws_policy_last_success_timestamp_seconds{appliance="a", policy="old", workload="ec2", kind="backup"} AGO(90000)
vbaws_policy_last_success_timestamp_seconds{appliance="a", policy="old", workload="ec2", kind="snapshot"} AGO(1800)
vbaws_policy_problem{appliance="a", policy="good", workload="ec2", kind="backup", problem="overdue"} STEPS(0, 0, 1)
vbaws_policy_problem{appliance="a", policy="old", workload="ec2", kind="backup", problem="overdue"} STEPS(0, 1, 864)
vbaws_policy_problem_since_timestamp_seconds{appliance="a", policy="old", workload="ec2", kind="backup", problem="overdue"} AGO(86400)
vbaws_policy_next_due_timestamp_seconds{appliance="a", policy="good", workload="ec2", kind="backup"} AGO(-3600)
vbaws_policy_next_due_timestamp_seconds{appliance="a", policy="old", workload="ec2", kind="backup"} AGO(-36000)
vbaws_sessions_total{appliance="a", type="Policy", extended_type="PolicyBackup", policy="good", status="Succeeded"} STEPS(0, 5, 400)
vbaws_sessions_total{appliance="a", type="Policy", extended_type="PolicyBackup", policy="old", status="Succeeded"} STEPS(0, 3, 200)
vbaws_sessions_total{appliance="a", type="Policy", extended_type="PolicyBackup", policy="old", status="Failed"} STEPS(0, 1, 5)
vbaws_sessions_total{appliance="a", type="Policy", extended_type="PolicyRdsSnapshot", policy="never", status="Failed"} STEPS(0, 4, 200)
vbaws_sessions_total{appliance="a", type="Task", extended_type="PolicyBackup", policy="old", status="Failed"} STEPS(0, 9, 5)
vbaws_session_consecutive_failures{appliance="a", extended_type="PolicyBackup", policy="old"} STEPS(0, 1, 5)
vbaws_session_consecutive_failures{appliance="a", extended_type="PolicyRdsSnapshot", policy="never"} STEPS(0, 4, 5)
vbaws_session_duration_seconds_bucket{appliance="a", type="Policy", extended_type="PolicyBackup", policy="good", status="Succeeded", le="300"} STEPS(0, 0, 1)
vbaws_session_duration_seconds_bucket{appliance="a", type="Policy", extended_type="PolicyBackup", policy="good", status="Succeeded", le="900"} STEPS(0, 100, 400)
vbaws_session_duration_seconds_bucket{appliance="a", type="Policy", extended_type="PolicyBackup", policy="good", status="Succeeded", le="+Inf"} STEPS(0, 100, 400)
vbaws_session_last_duration_seconds{appliance="a", type="Policy", extended_type="PolicyBackup", policy="good"} STEPS(300, 300, 1)
vbaws_session_last_duration_seconds{appliance="a", type="Policy", extended_type="PolicyBackup", policy="old"} STEPS(300, 900, 5)
vbaws_session_typical_duration_seconds{appliance="a", extended_type="PolicyBackup", policy="good"} STEPS(300, 300, 1)
vbaws_session_typical_duration_seconds{appliance="a", extended_type="PolicyBackup", policy="old"} STEPS(300, 300, 1)
vbaws_sessions_running_oldest_start_timestamp_seconds{appliance="a", type="Policy", extended_type="PolicyBackup", policy="old"} AGO(36000)
vbaws_sessions_running_oldest_start_timestamp_seconds{appliance="a", type="Policy", extended_type="PolicyBackup", policy="good"} AGO(600)
vbaws_instances{appliance="a"} STEPS(7, 7, 1)
vbaws_instances_protected{appliance="a"} STEPS(4, 4, 1)
vbaws_instance_last_backup_timestamp_seconds{appliance="a", instance_name="fresh", instance_id="i-1"} AGO(3600)
vbaws_instance_last_backup_timestamp_seconds{appliance="a", instance_name="left out", instance_id="i-2"} AGO(259200)
vbaws_instance_protected{appliance="a", instance_name="fresh", instance_id="i-1"} STEPS(1, 1, 1)
vbaws_instance_protected{appliance="a", instance_name="left out", instance_id="i-2"} STEPS(1, 1, 1)
vbaws_instance_protected{appliance="a", instance_name="alone", instance_id="i-3"} STEPS(0, 0, 1)
vbaws_appliance_certificate_expiry_timestamp_seconds{appliance="a"} AGO(-864000)
vbaws_appliance_certificate_expiry_timestamp_seconds{appliance="b"} AGO(-8640000)
vbaws_exporter_last_successful_poll_timestamp_seconds{appliance="a"} AGO(60)
vbaws_exporter_last_successful_poll_timestamp_seconds{appliance="b"} AGO(1800)
`

// TestRecipes evaluates the queries of docs/metrics.md.
func TestRecipes(t *testing.T) {
	t.Parallel()
	want := map[string]map[string]float64{
		"Which policies have a problem?":                                {"old overdue": 1},
		"For how long?":                                                 {"old overdue": 86400},
		"How old is the last success?":                                  {"good backup": 3600, "old backup": 90000, "old snapshot": 1800},
		"Which enabled policies never succeeded?":                       {"never": 1},
		"Which enabled policies have no backup of the last 24 hours?":   {"never": 1, "old": 1},
		"How often was a policy on time (SLA)?":                         {"good overdue": 1, "old overdue": 0.9},
		"What failed in the last hour?":                                 {"old PolicyBackup": 1},
		"What share of a policy's sessions failed in the last day?":     {"old": 0.25, "never": 1},
		"Which policies failed three times in a row?":                   {"never PolicyRdsSnapshot": 4},
		"Fewer successes than yesterday?":                               {"a": 3 - 5},
		"How long do 95 % of a policy's sessions take?":                 {"good": 300 + 0.95*600},
		"Which policies took twice as long as usual?":                   {"old PolicyBackup": 3},
		"What has been running for more than 8 hours?":                  {"old PolicyBackup": 36000},
		"What starts in the next two hours?":                            {"good backup": 3600},
		"How many sessions of each workload failed in the last day?":    {"a ec2": 1, "a rds": 4},
		"How many instances are unprotected?":                           {"a": 3},
		"Which protected instances have no backup within 48 hours?":     {"a left out": 259200},
		"Which instances does no policy protect?":                       {"a alone": 0},
		"Which certificates expire within 14 days?":                     {"a": 864000},
		"Which appliances were not polled successfully for 15 minutes?": {"b": 1800},
	}
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	recipes := make(map[string]string)
	for section := range strings.SplitSeq(string(text), "\n### ") {
		name, rest, _ := strings.Cut(section, "\n")
		if _, query, ok := strings.Cut(rest, "```promql\n"); ok {
			recipes[name], _, _ = strings.Cut(query, "```")
		}
	}
	if n := strings.Count(string(text), "```promql"); n != len(recipes) {
		t.Errorf("found %d recipes, want %d: one below each heading", len(recipes), n)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(recipes))); diff != "" {
		t.Errorf("recipes, -test +page: %s", diff)
	}

	const samples = recipeDays*24*12 + 1
	now := time.Unix(recipeDays*24*60*60, 0)
	data := regexp.MustCompile(`AGO\((-?\d+)\)|STEPS\((\d+), (\d+), (\d+)\)`).ReplaceAllStringFunc(recipeData, func(s string) string {
		var a, b, n int64
		if strings.HasPrefix(s, "AGO") {
			fmt.Sscanf(s, "AGO(%d)", &a)
			return fmt.Sprintf("%dx%d", now.Unix()-a, samples-1)
		}
		fmt.Sscanf(s, "STEPS(%d, %d, %d)", &a, &b, &n)
		return fmt.Sprintf("%dx%d %dx%d", a, samples-n-1, b, n-1)
	})
	storage := promqltest.LoadedStorage(t, "load 5m\n"+strings.TrimSpace(data)+"\n")
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 1e6, Timeout: time.Minute, LookbackDelta: 5 * time.Minute})
	t.Cleanup(func() { engine.Close() })
	for name, query := range recipes {
		q, err := engine.NewInstantQuery(context.Background(), storage, nil, query, now)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		vector, err := q.Exec(t.Context()).Vector()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := make(map[string]float64)
		for _, s := range vector {
			var key []string
			for _, label := range []string{"policy", "kind", "problem", "extended_type", "workload", "instance_name"} {
				// The other labels identify the series.
				beside := label == "kind" && s.Metric.Has("problem") || label == "workload" && s.Metric.Has("policy")
				if v := s.Metric.Get(label); v != "" && !beside {
					key = append(key, v)
				}
			}
			if !s.Metric.Has("policy") {
				key = append([]string{s.Metric.Get("appliance")}, key...)
			}
			if !math.IsNaN(s.F) {
				got[strings.Join(key, " ")] = s.F
			}
		}
		if diff := cmp.Diff(want[name], got, cmpopts.EquateApprox(0.01, 0)); diff != "" {
			t.Errorf("%s\n%s", name, diff)
		}
		q.Close()
	}
}
