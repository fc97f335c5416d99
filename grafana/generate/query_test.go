package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/tsdb"
)

// watched is what Prometheus stored, a sample a minute from time 0 on.
type watched struct {
	eval func(t *testing.T, expr string, at time.Duration) promql.Vector
}

func watch(t *testing.T, series ...string) watched {
	t.Helper()
	// A series that begins later than others may be loaded first.
	wide := func(o *tsdb.Options) {
		o.MinBlockDuration = (60 * 24 * time.Hour).Milliseconds()
		o.MaxBlockDuration = o.MinBlockDuration
	}
	storage := promqltest.LoadedStorage(t, "load 1m\n\t"+strings.Join(series, "\n\t")+"\n", wide)
	engine := promqltest.NewTestEngine(t, false, 5*time.Minute, 1_000_000)
	return watched{eval: func(t *testing.T, expr string, at time.Duration) promql.Vector {
		t.Helper()
		q, err := engine.NewInstantQuery(t.Context(), storage, nil, expr, time.Unix(0, 0).Add(at))
		if err != nil {
			t.Fatalf("%v: %s", err, expr)
		}
		defer q.Close()
		r := q.Exec(t.Context())
		v, err := r.Vector()
		if err != nil || len(r.Warnings) > 0 {
			t.Fatalf("%v, %v: %s", err, r.Warnings, expr)
		}
		return v
	}}
}

// sum adds up what a query has at a time.
func (w watched) sum(t *testing.T, expr string, at time.Duration) (sum float64) {
	t.Helper()
	for _, s := range w.eval(t, expr, at) {
		if s.H != nil {
			sum += s.H.Count
		} else {
			sum += s.F
		}
	}
	return sum
}

// bars adds up windows of ten minutes, one after another, up to a time.
func (w watched) bars(t *testing.T, expr func(window string) string, until time.Duration) (sum float64) {
	t.Helper()
	for at := 10 * time.Minute; at <= until; at += 10 * time.Minute {
		sum += w.sum(t, expr("10m"), at)
	}
	return sum
}

const labelSet = `{job="vbaws", instance="a", appliance="eu", type="Policy", extended_type="x", policy="p", status="Failed"}`

// TestCounted: what panels count is what happened, whatever happens to the exporter.
func TestCounted(t *testing.T) {
	count := func(window string) string { return counted(`type="Policy"`, window) }
	for _, c := range []struct {
		name    string
		samples string // up to minute 200
		window  string // up to minute 200
		want    float64
		bars    float64 // of ten minutes, from 0 to 200; -1 is want
	}{
		{"nothing happens", "5x200", "1h", 0, -1},
		{"now and then", "0x149 1x29 3x20", "1h", 3, -1},
		{"at the bars' edges", "0x19 1x9 2x9 3x9 4x160", "1d", 4, -1},
		{"its first session", "_x150 0 0 1x47", "1h", 1, -1},
		{"its first session, which two ended with", "_x150 0 0 2x47", "1d", 2, -1},
		{"seen at the initial sync", "_x50 7x150", "1d", 0, -1},
		{"seen at the initial sync, and then one", "_x50 7x100 8x49", "1d", 1, -1},
		{"the exporter restarts", "7x80 _x3 8x116", "2h", 1, -1},
		{"and is scraped as gone", "7x79 stale _x22 9x97", "2h", 2, -1},
		{"away for half an hour", "7x79 stale _x30 9x89", "1d", 2, -1},
		{"an older ledger is restored", "100x150 102x19 99 102x4 103x24", "1h", 3, -1},
		{"an older ledger is restored, and catches up", "100x150 102x19 99x4 101x27", "1h", 2, -1},
		{"an older ledger than the window is long", "100x160 96x39", "30m", 0, 0},
		{"the ledger is lost", "500x150 502x20 0x10 2x20", "1h", 4, -1},
		{"the ledger was lost before", "500x150 0x10 2x40", "30m", 0, 2},
		{"no ledger is kept", "0x150 3x19 0x10 2x20", "1h", 5, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t, "vbaws_sessions_total"+labelSet+" "+c.samples)
			if got := w.sum(t, count(c.window), 200*time.Minute); got != c.want {
				t.Errorf("in %s %g, want %g", c.window, got, c.want)
			}
			want := c.bars
			if want < 0 {
				want = c.want
			}
			if got := w.bars(t, count, 200*time.Minute); got != want {
				t.Errorf("in all bars %g, want %g", got, want)
			}
		})
	}
}

// TestCountedLong: over a long window the same is what happened, but for the first hours
// after the initial sync.
func TestCountedLong(t *testing.T) {
	const minutes = 9 * 24 * 60
	passes := func(samples string) string {
		return `vbaws_exporter_polls_total{job="vbaws", instance="a", appliance="eu", result="success"} ` + samples
	}
	always := passes("1+1x12960")
	for _, c := range []struct {
		name, samples, passes string
		want                  float64
	}{
		{"nothing happens", "5x12960", always, 0},
		{"now and then", "1x2880 2x3000 3x3000 4x4077", always, 3},
		{"its first session", "_x6000 0 0 1x6958", always, 1},
		{"seen at the initial sync", "_x6000 7x6960", passes("_x6000 1+1x6960"), 0},
		{"seen at the initial sync, and then two", "_x6000 7x1000 8x1000 9x4959", passes("_x6000 1+1x6960"), 2},
		{"seen at the initial sync an hour ago, and then one", "_x12900 7x30 8x29", passes("_x12900 1+1x59"), 1},
		{"away for half an hour", "7x5000 stale _x30 9x7929", always, 2},
		{"an older ledger is restored", "100x5000 102x2000 99 102x2000 103x3958", always, 3},
		{"the ledger is lost", "500x5000 502x2000 0x1000 2x4959", always, 2},
		{"an older ledger is restored, from before the window", "100x5000 90 100x7959", always, 0},
	} {
		w := watch(t, c.passes, "vbaws_sessions_total"+labelSet+" "+c.samples)
		if got := w.sum(t, counted(`type="Policy"`, "7d"), minutes*time.Minute); got != c.want {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}

// TestCountedByTwo: two exporters that watch one appliance count what one does, each since
// its own initial sync.
func TestCountedByTwo(t *testing.T) {
	w := watch(t,
		"vbaws_sessions_total"+labelSet+" 70x100 71x100",
		"vbaws_sessions_total"+strings.Replace(labelSet, `instance="a"`, `instance="b"`, 1)+" _x30 3x70 4x100")
	if got := w.sum(t, counted(`type="Policy"`, "3h"), 200*time.Minute); got != 1 {
		t.Errorf("%g, want 1", got)
	}
}

func TestProcessRise(t *testing.T) {
	const counter = `c_total{job="vbaws", instance="a"}`
	up := `up{job="vbaws", instance="a"} 1x200`
	for _, c := range []struct {
		name, samples string
		rise          func(counter, window string) string
		want          float64
	}{
		{"it goes on", "0x150 2x50", processRise, 2},
		{"the process restarts", "5x150 7x20 1x10 4x20", processRise, 6},
		{"first", "_x150 2x20 3x30", processRise, 1},
		{"first, from nothing", "_x150 2x20 3x30", processRiseFromNothing, 3},
		{"known before, from nothing", "2x150 2x20 3x30", processRiseFromNothing, 1},
	} {
		w := watch(t, up, counter+" "+c.samples)
		if got := w.sum(t, c.rise("c_total", "1h"), 200*time.Minute); got != c.want {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
	// Where nobody was there to see it, it isn't news.
	w := watch(t, `up{job="vbaws", instance="a"} _x180 1x20`, counter+" _x180 2x20")
	if got := w.sum(t, processRiseFromNothing("c_total", "1h"), 200*time.Minute); got != 0 {
		t.Errorf("at first sight %g", got)
	}
}

// TestEventsOf: a heat map has each session once.
func TestEventsOf(t *testing.T) {
	native := func(counts ...string) string {
		return "vbaws_session_duration_seconds" + labelSet + " " + strings.Join(counts, " ")
	}
	h := func(n, times int) string {
		return fmt.Sprintf("{{schema:0 sum:%d count:%d buckets:[%d]}}x%d", n, n, n, times)
	}
	passes := `vbaws_exporter_polls_total{job="vbaws", instance="a", appliance="eu", result="success"} `
	events := func(window string) string { return eventsOf("vbaws_session_duration_seconds", window) }
	for _, c := range []struct {
		name   string
		series []string
		want   float64
	}{
		{"now and then", []string{passes + "1+1x200", native(h(3, 99), h(5, 100))}, 2},
		{"its first session", []string{passes + "1+1x200", native("_x149", h(1, 50))}, 1},
		{"seen at the initial sync", []string{passes + "_x49 1+1x150", native("_x49", h(9, 100), h(10, 50))}, 1},
		{"away for half an hour", []string{passes + "1+1x200", native(h(3, 79), "_x30", h(5, 90))}, 2},
	} {
		w := watch(t, c.series...)
		if got := w.bars(t, events, 200*time.Minute); got != c.want {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}

// TestOfWorkload: sessions have no workload; policies that are known to be of another are
// left out, and nothing else is.
func TestOfWorkload(t *testing.T) {
	w := watch(t,
		`vbaws_policy_info{appliance="eu", policy="web", workload="ec2"} 1`,
		`vbaws_policy_info{appliance="eu", policy="both", workload="ec2"} 1`,
		`vbaws_policy_info{appliance="eu", policy="both", workload="rds"} 1`,
		`vbaws_policy_info{appliance="eu", policy="db", workload="rds"} 1`,
		`s{appliance="eu", policy="web"} 1`, `s{appliance="eu", policy="both"} 10`, `s{appliance="eu", policy="db"} 100`,
		`s{appliance="eu", policy="unlisted"} 1000`, `s{appliance="eu", policy=""} 10000`, `s{appliance="us", policy="db"} 100000`)
	for workload, want := range map[string]float64{".*": 111111, "ec2": 111011, "rds": 111110, "ec2|rds": 111111} {
		s := scope{matchers: map[string]string{"workload": workload, "appliance": ".*"}}
		if got := w.sum(t, s.query("sum("+ofWorkload("s")+")"), 0); got != want {
			t.Errorf("of %s %g, want %g", workload, got, want)
		}
	}
}

// TestComesNoMore: a failure doesn't stay for ever where no session of its kind comes any more.
func TestComesNoMore(t *testing.T) {
	last := func(kind string, failed int, end time.Duration) []string {
		labels := fmt.Sprintf(`{job="vbaws", instance="a", appliance="eu", type="Policy", extended_type=%q, policy="p", `, kind)
		return []string{
			fmt.Sprintf(`vbaws_session_last_status%sstatus="Failed"} %dx90`, labels, failed),
			fmt.Sprintf(`vbaws_session_last_end_timestamp_seconds%sstatus="Failed"} %gx90`, labels, end.Seconds()),
			fmt.Sprintf(`vbaws_session_last_status%sstatus="Succeeded"} %dx90`, labels, 1-failed),
			fmt.Sprintf(`vbaws_session_last_end_timestamp_seconds%sstatus="Succeeded"} %gx90`, labels, end.Seconds()),
		}
	}
	const days, hour = 35 * 24 * time.Hour, time.Hour
	worst := strings.ReplaceAll(worstOfNewest(), "$type", "Policy")
	w := watch(t, slices.Concat(last("", 1, hour-days), last("PolicyBackup", 0, -hour))...)
	for at, want := range map[time.Duration]struct{ failing, state float64 }{
		hour - time.Minute: {1, hasFailed}, hour: {0, hasSucceeded},
	} {
		if got := w.sum(t, "count("+failing+")", at); got != want.failing {
			t.Errorf("after %v %g fail, want %g", at, got, want.failing)
		}
		if got := w.sum(t, worst, at); got != want.state {
			t.Errorf("after %v its state is %g, want %g", at, got, want.state)
		}
	}
	// One that runs once a year has a newest session all the same.
	if got := watch(t, last("PolicyBackup", 1, -2*days)...).sum(t, worst, 0); got != hasFailed {
		t.Errorf("of a policy that ran long ago the state is %g, want %d", got, hasFailed)
	}
}

// TestOrZero: that nothing is known doesn't look as if all were well.
func TestOrZero(t *testing.T) {
	w := watch(t, `vbaws_exporter_polls_total{appliance="eu"} 5x10`, `s 3x5`)
	for at, want := range map[time.Duration]string{
		0: "3", 10*time.Minute + 30*time.Second: "0", time.Hour: "",
	} {
		got := ""
		for _, s := range w.eval(t, orZero("s"), at) {
			got += fmt.Sprint(s.F)
		}
		if got != want {
			t.Errorf("at %s %q, want %q", at, got, want)
		}
	}
}
