package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/tsdb"
)

// watched is a storage with a sample a minute from time 0 on.
type watched struct {
	eval func(t *testing.T, expr string, at time.Duration) promql.Vector
}

func watch(t *testing.T, series ...string) watched {
	t.Helper()
	// A series that begins later than others can be loaded first.
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

// sum returns the sum of the values of a query at a time.
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

// bars returns the sum of adjacent windows of ten minutes and one scrape, up to a time.
func (w watched) bars(t *testing.T, expr func(window string) string, until time.Duration) (sum float64) {
	t.Helper()
	for at := 10 * time.Minute; at <= until; at += 10 * time.Minute {
		sum += w.sum(t, expr("11m"), at)
	}
	return sum
}

const labelSet = `{job="vbaws", instance="a", appliance="eu", type="Policy", extended_type="x", policy="p", status="Failed"}`

// TestCounted: panels count each session once, in one window and in adjacent bars, also across a restart.
func TestCounted(t *testing.T) {
	count := func(window string) string { return counted(`type="Policy"`, window) }
	for _, c := range []struct {
		name    string
		samples string // up to minute 200
		window  string // up to minute 200
		want    float64
	}{
		{"nothing happens", "5x200", "1h", 0},
		{"now and then", "0x149 1x29 3x20", "1h", 3},
		{"at the bars' edges", "0x19 1x9 2x9 3x9 4x160", "1d", 4},
		{"on each side of an edge", "0x20 1x0 2x178", "1d", 2},
		{"its first session", "_x150 0 0 1x47", "1h", 1},
		{"its first two sessions at once", "_x150 0 0 2x47", "1d", 2},
		{"seen at the initial sync", "_x50 7x150", "1d", 0},
		{"seen at the initial sync, and then one", "_x50 7x100 8x49", "1d", 1},
		{"the exporter restarts", "7x80 _x3 8x116", "3h", 1},
		{"twenty in one bar", "0x104 20x95", "1d", 20},
		{"the state is lost", "500x150 502x20 0x10 2x17", "1h", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch(t, "vbaws_sessions_total"+labelSet+" "+c.samples)
			if got := w.sum(t, count(c.window), 200*time.Minute); got != c.want {
				t.Errorf("in %s %g, want %g", c.window, got, c.want)
			}
			if got := w.bars(t, count, 200*time.Minute); got != c.want {
				t.Errorf("in all bars %g, want %g", got, c.want)
			}
		})
	}
}

// TestOrZero: orZero returns nothing if no exporter is scraped.
func TestOrZero(t *testing.T) {
	w := watch(t, `vbaws_up{appliance="eu"} 1x10`, `s 3x5`)
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
