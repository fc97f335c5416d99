package e2e

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// TestRestart kills the exporter while sessions run: counters stay right, and no
// notification is repeated.
func TestRestart(t *testing.T) {
	t.Parallel()
	eu := newSite(t, "eu", vbawstest.Config{Seed: 1})
	bad := eu.policy("bad", vbawstest.EC2)
	policies := []vbawstest.Policy{eu.policy("a", vbawstest.EC2), eu.policy("b", vbawstest.RDS), eu.policy("c", vbawstest.EC2)}
	c := startChain(t, hold, eu)
	eu.fail(bad, "PolicyBackup")
	c.await(t, "firing", failed("bad"))

	const kills = 4
	rng := rand.New(rand.NewPCG(1, 2))
	statuses := []string{vbawstest.StatusSucceeded, vbawstest.StatusSucceeded, vbawstest.StatusWarning, vbawstest.StatusFailed, vbawstest.StatusCanceled}
	var running []string
	for range kills {
		for range 15 {
			running = append(running, eu.session(policies[rng.IntN(len(policies))], []string{"PolicyBackup", "PolicySnapshot"}[rng.IntN(2)]))
			if i := rng.IntN(len(running)); rng.IntN(3) > 0 {
				eu.Finish(running[i], statuses[rng.IntN(len(statuses))], time.Time{})
				running = append(running[:i], running[i+1:]...)
			}
		}
		time.Sleep(time.Duration(rng.IntN(6000)) * time.Millisecond) // at any point of a poll
		c.exporter.Kill()
		c.exporter.Start()
	}
	for _, id := range running {
		eu.Finish(id, vbawstest.StatusSucceeded, time.Time{})
	}

	want := truth(eu)
	counts := func(expr string) map[string]float64 {
		got := map[string]float64{}
		for _, s := range c.prometheus.query(expr) {
			if s.Value != 0 {
				got[seriesKey(s.Metric)] += float64(s.Value)
			}
		}
		return got
	}
	apptest.Await(t, "counters of all sessions", func() (bool, any) {
		got := counts(`vbaws_sessions_total`)
		return maps.Equal(got, want), cmp.Diff(want, got)
	})
	if diff := cmp.Diff(want, counts(`increase(vbaws_sessions_total[1h] anchored)`)); diff != "" {
		t.Errorf("increase() differs from the truth: %s", diff)
	}
	// A histogram begins with its first session, so increase() can miss that one.
	apptest.Await(t, "histograms of all sessions", func() (bool, any) {
		got := counts(`vbaws_session_duration_seconds_count`)
		return maps.Equal(got, want), cmp.Diff(want, got)
	})

	// The alert still fires: it was neither resolved nor raised again.
	if got := c.events(failed("bad")); len(got) != 1 {
		t.Errorf("the bad policy has notifications %v, want one", got)
	}
	c.prometheus.awaitQuery(`ALERTS{alertname="VbawsPolicyFailing", policy="bad", alertstate="firing"}`, 1)

	// While the exporter is down, that is the notification, and the policy's alert is not
	// resolved.
	c.exporter.Kill()
	gone := map[string]string{"alertname": "VbawsExporterGone", "instance": c.exporter.Address}
	if got := c.await(t, "firing", gone); got.receiver != "pager" {
		t.Errorf("got %v", got)
	}
	c.prometheus.awaitQuery(`ALERTS{alertname="VbawsPolicyFailing", alertstate="firing"}`)
	c.exporter.Start()
	c.await(t, "resolved", gone)
	c.prometheus.awaitQuery(`ALERTS{alertname="VbawsPolicyFailing", policy="bad", alertstate="firing"}`, 1)
	if got := c.events(failed("bad")); len(got) != 1 {
		t.Errorf("after the exporter was gone, the bad policy has notifications %v, want one", got)
	}
	if got := c.events(map[string]string{"alertname": "VbawsApplianceNotPolled"}); len(got) > 0 {
		t.Errorf("got %v", got)
	}
	c.prometheus.checkRules()
}

// truth returns the number of sessions that have ended, for each series of the counter.
func truth(s *site) map[string]float64 {
	counts := map[string]float64{}
	for _, h := range s.History() {
		for _, st := range h.States {
			if st.Status != vbawstest.StatusRunning {
				counts[fmt.Sprintf("%s %s %s %s", st.Type, st.ExtendedType, st.Name, st.Status)]++
				break
			}
		}
	}
	return counts
}

func seriesKey(m model.Metric) string {
	return fmt.Sprintf("%s %s %s %s", m["type"], m["extended_type"], m["policy"], m["status"])
}

// TestBirth: the first session of a counter is a step of exactly one for every Prometheus
// that scrapes in time, with and without created times, even if the exporter is killed
// while it holds the counter at 0.
func TestBirth(t *testing.T) {
	t.Parallel()
	eu := newSite(t, "eu", vbawstest.Config{Seed: 1})
	calm, killed := eu.policy("calm", vbawstest.EC2), eu.policy("killed", vbawstest.EC2)
	exporter := startExporter(t, "new_series_hold: 10s\n", eu)
	var servers []*prometheus
	for _, features := range []string{"", "created-timestamp-zero-ingestion"} {
		for _, interval := range []string{"1s", "3s"} {
			servers = append(servers, startPrometheus(t, exporter.Address, prometheusOptions{interval: interval, features: features}))
		}
	}
	for _, p := range servers {
		p.awaitQuery(`vbaws_up`, 1)
	}

	eu.fail(calm, "PolicyBackup")
	for _, p := range servers {
		checkStep(t, p, "calm")
	}

	eu.fail(killed, "PolicyBackup")
	const series = `vbaws_sessions_total{appliance="eu",extended_type="PolicyBackup",policy="killed",status="Failed",type="Policy"}`
	apptest.Await(t, "the counter at 0", func() (bool, any) {
		got := exporter.Series(series)
		return len(got) == 1 && got[0] == series+" 0", got
	})
	exporter.Kill()
	exporter.Start()
	for _, p := range servers {
		checkStep(t, p, "killed")
	}
}

func checkStep(t *testing.T, p *prometheus, policy string) {
	t.Helper()
	selector := fmt.Sprintf(`{policy=%q, status="Failed"}`, policy)
	p.awaitQuery("vbaws_sessions_total"+selector, 1)
	for _, metric := range []string{"vbaws_sessions_total", "vbaws_session_duration_seconds_count"} {
		for _, r := range []string{"5m", "1h"} {
			expr := fmt.Sprintf("increase(%s%s[%s] anchored)", metric, selector, r)
			if got := p.query(expr); len(got) != 1 || got[0].Value != 1 {
				t.Errorf("%s is %v, want 1 (%v)", expr, got, p.options)
			}
		}
	}
	// Older servers do not support anchored. Their extrapolated increase is near 1.
	expr := "increase(vbaws_sessions_total" + selector + "[5m])"
	if got := p.query(expr); len(got) != 1 || got[0].Value < 0.9 || got[0].Value > 1.5 {
		t.Errorf("%s is %v (%v)", expr, got, p.options)
	}
}
