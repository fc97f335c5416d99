//go:build unix

package collector

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/paired"
	"vbaws_exporter/vbaws"
)

// BenchmarkScrape compares scrapes of 100,000 series with those of the library's
// own instruments that show the same. The module bench has limits for it.
func BenchmarkScrape(b *testing.B) {
	const appliances, policies = 10, 165
	bounds := []float64{60, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400}

	counters := prometheus.NewCounterVec(prometheus.CounterOpts{Name: sessionsTotal.Name, Help: sessionsTotal.Help}, sessionsTotal.Labels)
	histograms := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: sessionDuration.Name, Help: sessionDuration.Help, Buckets: bounds,
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: ledger.NativeZeroThreshold,
	}, sessionDuration.Labels)
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: sessionsRunning.Name, Help: sessionsRunning.Help}, sessionsRunning.Labels)

	random := rand.New(rand.NewPCG(1, 2))
	var sources []*source
	for i := range appliances {
		appliance := fmt.Sprintf("appliance-%d", i)
		var views []ledger.SeriesView
		for j := range policies {
			key := ledger.Key{Type: vbaws.TypePolicy, ExtendedType: "PolicyBackup", Policy: fmt.Sprintf("policy-%d", j)}
			s := &ledger.Series{Key: key}
			for _, status := range []string{vbaws.StatusCanceled, vbaws.StatusFailed, vbaws.StatusSucceeded, vbaws.StatusWarning} {
				labels := []string{appliance, key.Type, key.ExtendedType, key.Policy, status}
				var sessions []session
				for n := range 10 {
					d := time.Duration(random.Int64N(1e11)) * time.Microsecond
					id := fmt.Sprintf("%08x-0000-4000-8000-%012x", random.Uint32(), n)
					sessions = append(sessions, session{id, d, epoch.Add(time.Duration(random.Int64N(1e15)))})
					counters.WithLabelValues(labels...).(prometheus.ExemplarAdder).AddWithExemplar(1, prometheus.Labels{exemplarLabel: id})
					histograms.WithLabelValues(labels...).(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), prometheus.Labels{exemplarLabel: id})
				}
				c := tally(status, epoch, bounds, sessions...)
				c.End = time.Time{} // no series but those that the library is fed with
				s.Counters = append(s.Counters, c)
			}
			running.WithLabelValues(appliance, key.Type, key.ExtendedType, key.Policy)
			views = append(views, ledger.SeriesView{Series: s})
		}
		v := newView(views...)
		v.Bounds = bounds
		sources = append(sources, newSource(appliance, &poller.Published{View: v}))
	}

	plain := prometheus.NewRegistry()
	plain.MustRegister(counters, histograms, running)
	own := prometheus.NewRegistry()
	own.MustRegister(New(fixed(sources...)))

	for _, format := range []string{"text", "openmetrics", "protobuf"} {
		b.Run(format, func(b *testing.B) {
			// Not the time: garbage is collected, and metrics are gathered, in other threads.
			side := func(reg *prometheus.Registry) (scrape func() time.Duration, bytes *int) {
				h := promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true})
				req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
				req.Header.Set("Accept", formats[format])
				req.Header.Set("Accept-Encoding", "gzip")
				w := &discard{header: http.Header{}}
				scrape = func() time.Duration {
					return paired.Spent(func() {
						w.n = 0
						h.ServeHTTP(w, req)
					})
				}
				scrape() // once, to fill caches
				return scrape, &w.n
			}
			base, baseBytes := side(plain)
			collected, bytes := side(own)
			paired.Compare(b, collected, base)
			b.ReportMetric(float64(*bytes), "own-bytes")
			b.ReportMetric(float64(*baseBytes), "base-bytes")
		})
	}
}

// discard is a http.ResponseWriter that keeps the number of bytes.
type discard struct {
	header http.Header
	n      int
}

func (d *discard) Header() http.Header { return d.header }
func (d *discard) WriteHeader(int)     {}
func (d *discard) Write(p []byte) (int, error) {
	d.n += len(p)
	return len(p), nil
}

// BenchmarkRender measures what the first scrape after a poll does for one
// appliance of 1,000 series.
func BenchmarkRender(b *testing.B) {
	var views []ledger.SeriesView
	for n := range 1000 {
		key := ledger.Key{Type: vbaws.TypePolicy, ExtendedType: "PolicyBackup", Policy: fmt.Sprintf("policy-%d", n)}
		views = append(views, ledger.SeriesView{Series: &ledger.Series{
			Key:      key,
			Counters: finals(epoch, tally(vbaws.StatusFailed, epoch, testBounds, session{"a", time.Minute, epoch})),
			Last:     ledger.Last{Status: vbaws.StatusFailed, End: epoch, Duration: time.Minute},
		}})
	}
	before := newView(views...)
	changed := slices.Clone(before.Series)
	again := *changed[500].Series
	changed[500].Series = &again
	after := newView(changed...)
	old := render("prod-eu", &poller.Published{View: before}, nil)

	for _, bench := range []struct {
		name string
		old  *rendering
	}{{"from scratch", nil}, {"one series changed", old}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				render("prod-eu", &poller.Published{View: after}, bench.old)
			}
		})
	}
}
