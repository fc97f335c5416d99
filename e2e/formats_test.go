package e2e

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

const (
	acceptText        = "text/plain;version=0.0.4"
	acceptOpenMetrics = "application/openmetrics-text;version=1.0.0"
	acceptProtobuf    = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// startDemo starts the demo, which has series of every metric.
func startDemo(t *testing.T, args ...string) *apptest.Process {
	t.Helper()
	return apptest.Start(t, append([]string{"demo"}, args...)...)
}

// scrape returns the metrics in a format.
func scrape(t *testing.T, p *apptest.Process, accept string) (body, contentType string) {
	t.Helper()
	resp, body := p.Do(http.MethodGet, "/metrics", http.Header{"Accept": {accept}})
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s", resp.Status)
	}
	return body, resp.Header.Get("Content-Type")
}

// TestCheckMetrics: promtool finds nothing wrong with a whole scrape.
func TestCheckMetrics(t *testing.T) {
	t.Parallel()
	body, _ := scrape(t, startDemo(t), acceptText)
	if len(apptest.Lines(body, "vbaws_sessions_total{")) < 20 || len(apptest.Lines(body, "vbaws_policy_expected_interval_seconds{")) == 0 {
		t.Fatalf("the scrape of %d bytes lacks series", len(body))
	}
	cmd := exec.Command(tools.promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// parsed is the content of a scrape as Prometheus's own parser reads it.
type parsed struct {
	series, histograms, exemplars, created int
	types, units                           map[string]string
	// names are the names of the metrics.
	names map[string]bool
}

func parse(t *testing.T, body, contentType string) parsed {
	t.Helper()
	// The options of Prometheus with created-timestamp-zero-ingestion.
	p, err := textparse.New([]byte(body), contentType, labels.NewSymbolTable(), textparse.ParserOptions{
		KeepClassicOnClassicAndNativeHistograms: true,
		OpenMetricsSkipSTSeries:                 true,
	})
	if err != nil {
		t.Fatalf("%s: %v", contentType, err)
	}
	got := parsed{types: map[string]string{}, units: map[string]string{}, names: map[string]bool{}}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("%s: %v", contentType, err)
		}
		switch entry {
		case textparse.EntryType:
			name, typ := p.Type()
			got.types[string(name)] = string(typ)
		case textparse.EntryUnit:
			name, unit := p.Unit()
			got.units[string(name)] = string(unit)
		case textparse.EntrySeries, textparse.EntryHistogram:
			if entry == textparse.EntryHistogram {
				got.histograms++
			} else {
				got.series++
			}
			var l labels.Labels
			p.Labels(&l)
			got.names[l.Get(model.MetricNameLabel)] = true
			var e exemplar.Exemplar
			for p.Exemplar(&e) {
				if e.Labels.Has("session_id") {
					got.exemplars++
				}
			}
			if p.StartTimestamp() != 0 {
				got.created++
			}
		}
	}
}

// TestOpenMetrics: Prometheus's parser reads every format, and each has the exemplars,
// native histograms and created times that it can have.
func TestOpenMetrics(t *testing.T) {
	t.Parallel()
	for _, created := range []bool{false, true} {
		t.Run(fmt.Sprintf("created samples %v", created), func(t *testing.T) {
			t.Parallel()
			var args []string
			if created {
				args = []string{"--web.openmetrics-created-samples"}
			}
			demo := startDemo(t, args...)
			body, contentType := scrape(t, demo, acceptOpenMetrics)
			if !strings.HasPrefix(contentType, "application/openmetrics-text") || !strings.HasSuffix(body, "# EOF\n") {
				t.Fatalf("%s, ends with %q", contentType, body[max(0, len(body)-10):])
			}
			got := parse(t, body, contentType)
			if got.types["vbaws_sessions"] != "counter" || got.types["vbaws_session_duration_seconds"] != "histogram" {
				t.Errorf("types are %v", got.types)
			}
			if got.units["vbaws_session_duration_seconds"] != "seconds" {
				t.Errorf("units are %v", got.units)
			}
			if got.exemplars < 20 {
				t.Errorf("%d exemplars", got.exemplars)
			}
			if (got.created > 0) != created || strings.Contains(body, "vbaws_sessions_created{") != created {
				t.Errorf("%d created times", got.created)
			}

			body, contentType = scrape(t, demo, acceptProtobuf)
			if got := parse(t, body, contentType); got.histograms < 20 || got.exemplars < 20 || got.created < 20 {
				t.Errorf("protobuf has %d native histograms, %d exemplars, %d created times", got.histograms, got.exemplars, got.created)
			}
		})
	}
}

// TestNativeHistogram: a quantile that Prometheus computes is right within the width of
// a bucket.
func TestNativeHistogram(t *testing.T) {
	t.Parallel()
	eu := newSite(t, "eu", vbawstest.Config{Seed: 1})
	p := eu.policy("gold", vbawstest.EC2)
	rng := rand.New(rand.NewPCG(3, 4))
	now := time.Now()
	var took []float64
	for range 400 {
		d := time.Duration(600 * math.Exp(rng.NormFloat64()) * float64(time.Second)).Truncate(time.Millisecond)
		d = min(d, 5*time.Hour)
		stop := now.Add(-time.Duration(rng.IntN(12*3600)) * time.Second)
		eu.Put(vbawstest.Session{
			Type: "Policy", ExtendedType: "PolicyBackup", Name: p.Name, PolicyID: p.ID,
			Start: stop.Add(-d), Stop: stop, Status: vbawstest.StatusSucceeded,
		})
		took = append(took, d.Seconds())
	}
	slices.Sort(took)
	prom := startPrometheus(t, startExporter(t, hold, eu).Address, prometheusOptions{})
	const histogram = `vbaws_session_duration_seconds{policy="gold", status="Succeeded"}`
	var at time.Time // of a scrape, for all queries
	apptest.Await(t, "all sessions", func() (bool, any) {
		at = time.Now()
		got := prom.queryAt("histogram_count("+histogram+")", at)
		return len(got) == 1 && float64(got[0].Value) == float64(len(took)), got
	})
	growth := math.Pow(2, 1.0/8) // a bucket's upper bound divided by its lower one
	for _, q := range []float64{0.05, 0.25, 0.5, 0.75, 0.9, 0.99} {
		got := prom.queryAt(fmt.Sprintf("histogram_quantile(%g, %s)", q, histogram), at)
		if len(got) != 1 {
			t.Fatalf("quantile %g: %v", q, got)
		}
		rank := q * float64(len(took))
		low, high := took[int(math.Floor(rank))-1]/growth, took[int(math.Ceil(rank))]*growth
		if v := float64(got[0].Value); v < low || v > high {
			t.Errorf("quantile %g is %g, want between %g and %g", q, v, low, high)
		}
	}
	sum := 0.0
	for _, d := range took {
		sum += d
	}
	if got := prom.queryAt("histogram_sum("+histogram+")", at); len(got) != 1 || math.Abs(float64(got[0].Value)/sum-1) > 1e-9 {
		t.Errorf("the sum is %v, want %g", got, sum)
	}
	// The classic buckets are scraped as well.
	if got := prom.queryAt(`vbaws_session_duration_seconds_bucket{policy="gold", status="Succeeded", le="+Inf"}`, at); len(got) != 1 || float64(got[0].Value) != float64(len(took)) {
		t.Errorf("the last classic bucket is %v", got)
	}
}
