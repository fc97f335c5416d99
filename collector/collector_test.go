package collector

import (
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
)

var update = flag.Bool("update", false, "rewrite the golden files of testdata")

// formats are the expositions that Prometheus can request.
var formats = map[string]string{
	"text":        "text/plain;version=0.0.4",
	"openmetrics": "application/openmetrics-text;version=1.0.0",
	"protobuf":    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
}

// scrape returns the response to a scrape that accepts accept.
func scrape(t testing.TB, g prometheus.Gatherer, name, accept string, options ...func(*promhttp.HandlerOpts)) *http.Response {
	t.Helper()
	opts := promhttp.HandlerOpts{EnableOpenMetrics: true}
	for _, o := range options {
		o(&opts)
	}
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(g, opts).ServeHTTP(rec, req)
	if rec.Code != http.StatusOK {
		t.Fatalf("scrape as %s: status %d: %s", name, rec.Code, rec.Body)
	}
	return rec.Result()
}

// decode parses a scrape's answer.
func decode(t testing.TB, resp *http.Response) map[string]*dto.MetricFamily {
	t.Helper()
	families := map[string]*dto.MetricFamily{}
	d := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header))
	for {
		var f dto.MetricFamily
		switch err := d.Decode(&f); err {
		case nil:
			families[f.GetName()] = &f
		case io.EOF:
			return families
		default:
			t.Fatalf("decode scrape: %v", err)
		}
	}
}

func newRegistry(sources func() []Source) *prometheus.Registry {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(New(sources))
	return reg
}

// lint reports what in g is against the conventions of Prometheus.
func lint(t *testing.T, g prometheus.Gatherer) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s, -want +got:\n%s", path, diff)
	}
}

func TestScrape(t *testing.T) {
	t.Run("exposition", testScrapeExposition)
	t.Run("fleet is complete", testScrapeFleetIsComplete)
	t.Run("absent values", testScrapeAbsentValues)
	t.Run("concurrent", testScrapeConcurrent)
	t.Run("order", testScrapeOrder)
	t.Run("same labels", testScrapeSameLabels)
}

func testScrapeExposition(t *testing.T) {
	reg := newRegistry(fixed(fleet()...))
	created := func(o *promhttp.HandlerOpts) { o.EnableOpenMetricsTextCreatedSamples = true }
	for _, test := range []struct {
		file, format string
		options      []func(*promhttp.HandlerOpts)
	}{
		{"fleet.prom", "text", nil},
		{"fleet.openmetrics.prom", "openmetrics", nil},
		{"fleet.openmetrics-created.prom", "openmetrics", []func(*promhttp.HandlerOpts){created}},
	} {
		t.Run(test.file, func(t *testing.T) {
			body, err := io.ReadAll(scrape(t, reg, test.format, formats[test.format], test.options...).Body)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, test.file, body)
		})
	}

	t.Run("protobuf", func(t *testing.T) {
		want, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := decode(t, scrape(t, reg, "protobuf", formats["protobuf"]))
		if len(got) != len(want) {
			t.Errorf("decoded %d families, want %d", len(got), len(want))
		}
		for _, f := range want {
			requireEqual(t, got[f.GetName()], f)
		}
	})

	t.Run("lint", func(t *testing.T) { lint(t, reg) })
}

// The fleet exposes every metric, so the golden files have all of them, and a metric
// is absent only for a reason.
func testScrapeFleetIsComplete(t *testing.T) {
	families, err := newRegistry(fixed(fleet()...)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, f := range families {
		got = append(got, f.GetName())
	}
	for _, f := range collected {
		want = append(want, f.Name)
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Errorf("-table +scrape:\n%s", diff)
	}
}

// names returns the families that a source with p shows.
func names(t *testing.T, p *poller.Published) []string {
	t.Helper()
	families, err := newRegistry(fixed(newSource("a", p))).Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
	}
	return names
}

func testScrapeAbsentValues(t *testing.T) {
	series := func(s ledger.Series, running int, oldest time.Time) *poller.Published {
		return &poller.Published{View: newView(ledger.SeriesView{Series: &s, Running: running, Starts: []time.Time{oldest}})}
	}
	counter := &ledger.Counter{Status: "Failed", Born: epoch}
	ended := &ledger.Counter{Status: "Failed", Born: epoch, End: epoch}
	for _, test := range []struct {
		name   string
		family *family
		with   *poller.Published
		absent *poller.Published
	}{
		{"up before the first poll", up,
			&poller.Published{Status: poller.Status{Polls: 1}},
			&poller.Published{Status: poller.Status{Up: true}}},
		{"info before an API version is agreed on", applianceInfo,
			&poller.Published{Status: poller.Status{APIVersion: "1.0-rev0"}},
			&poller.Published{Status: poller.Status{Version: "9.0", Polls: 1}}},
		{"last poll", lastPoll,
			&poller.Published{Status: poller.Status{LastPoll: epoch}},
			&poller.Published{Status: poller.Status{Polls: 1}}},
		{"last successful poll", lastSuccessfulPoll,
			&poller.Published{Status: poller.Status{LastSuccess: epoch}},
			&poller.Published{Status: poller.Status{Polls: 1, LastPoll: epoch}}},
		{"endpoint that wasn't tried", endpointForbidden,
			&poller.Published{Status: poller.Status{Forbidden: map[string]bool{"/": false}}},
			&poller.Published{}},
		{"watermark", watermarkUSN,
			&poller.Published{View: &ledger.View{Meta: ledger.Meta{Watermark: &ledger.Watermark{}}}},
			&poller.Published{View: &ledger.View{}}},
		{"resync", watermarkTime,
			&poller.Published{View: &ledger.View{Meta: ledger.Meta{LastResync: epoch}}},
			&poller.Published{View: &ledger.View{}}},
		{"resets without a view", watermarkResets,
			&poller.Published{View: &ledger.View{}},
			&poller.Published{}},
		{"oldest start when none runs", runningOldestStart,
			series(ledger.Series{}, 1, epoch),
			series(ledger.Series{}, 0, time.Time{})},
		{"duration before it is needed", sessionDuration,
			series(ledger.Series{Counters: []*ledger.Counter{tally("Failed", epoch, testBounds, session{"a", 1, epoch})}}, 0, time.Time{}),
			series(ledger.Series{Counters: []*ledger.Counter{counter}}, 0, time.Time{})},
		{"last end of a status not seen", lastEnd,
			series(ledger.Series{Counters: []*ledger.Counter{ended}}, 0, time.Time{}),
			series(ledger.Series{Counters: []*ledger.Counter{counter}}, 0, time.Time{})},
		{"last status while none has finished", lastStatus,
			series(ledger.Series{Counters: []*ledger.Counter{counter}, Last: ledger.Last{Status: "Failed", End: epoch}}, 0, time.Time{}),
			series(ledger.Series{Counters: []*ledger.Counter{counter}}, 0, time.Time{})},
		{"last duration while none has finished", lastDuration,
			series(ledger.Series{Last: ledger.Last{Status: "Failed", End: epoch}}, 0, time.Time{}),
			series(ledger.Series{}, 0, time.Time{})},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !slices.Contains(names(t, test.with), test.family.Name) {
				t.Errorf("%s is missing", test.family.Name)
			}
			if slices.Contains(names(t, test.absent), test.family.Name) {
				t.Errorf("%s is there", test.family.Name)
			}
		})
	}
}

// Scrapes go on while views are replaced and appliances come and go. Each shows
// one moment of an appliance, and never one before that of an earlier scrape.
func testScrapeConcurrent(t *testing.T) {
	const scrapes = 50
	stays, comesAndGoes := newSource("stays", moment(1)), newSource("comes-and-goes", moment(1))
	both, one := []Source{stays, comesAndGoes}, []Source{stays}
	var list atomic.Pointer[[]Source]
	list.Store(&both)
	reg := newRegistry(func() []Source { return *list.Load() })

	scraped := make(chan struct{})
	var scrapers, publisher sync.WaitGroup
	publisher.Go(func() {
		for n := 2; ; n++ {
			select {
			case <-scraped:
				return
			default:
			}
			stays.published.Store(moment(n))
			comesAndGoes.published.Store(moment(n))
			if n%3 == 0 {
				list.Store(&one)
			} else {
				list.Store(&both)
			}
		}
	})
	for _, name := range []string{"text", "protobuf", "openmetrics", "protobuf"} {
		scrapers.Go(func() {
			last := 0.0
			for range scrapes {
				resp := scrape(t, reg, name, formats[name])
				if name == "openmetrics" {
					continue // the library has no parser for it
				}
				seen := seenOf("stays", decode(t, resp))
				for what, v := range seen {
					if v != seen[watermarkUSN.Name] {
						t.Errorf("%s is %v while the watermark is %v", what, v, seen[watermarkUSN.Name])
					}
				}
				if seen[watermarkUSN.Name] < last {
					t.Errorf("moment %v after %v", seen[watermarkUSN.Name], last)
				}
				last = seen[watermarkUSN.Name]
				if len(seen) != 8 {
					t.Errorf("seen only %v", seen)
				}
			}
		})
	}
	scrapers.Wait()
	close(scraped)
	publisher.Wait()
}

// testScrapeSameLabels: a name can be what another one is cut to. That must not fail the
// scrape, which is that of all appliances.
func testScrapeSameLabels(t *testing.T) {
	long := strings.Repeat("n", maxLabelValue+1)
	cut := labelValue(long)
	series := func(policy string) ledger.SeriesView {
		return ledger.SeriesView{Series: &ledger.Series{Key: ledger.Key{Policy: policy}, Counters: finals(epoch)}}
	}
	p := &poller.Published{
		View: newView(series(long), series(cut), series("other")),
		Policies: &poller.PolicySet{
			All:  []*ledger.Policy{{PolicyKey: ledger.PolicyKey{ID: "1"}, Name: long}, {PolicyKey: ledger.PolicyKey{ID: "1"}, Name: cut}},
			Rows: []poller.PolicyRow{{Name: long, Enabled: true}, {Name: cut, Enabled: true}},
		},
	}
	families, err := newRegistry(fixed(newSource("a", p), newSource("b", &poller.Published{Status: poller.Status{Polls: 1}}))).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if want := map[string]int{sessionsRunning.Name: 2, policyEnabled.Name: 1, policyInfo.Name: 1, up.Name: 1}[f.GetName()]; want != 0 && len(f.Metric) != want {
			t.Errorf("%s has %d metrics, want %d", f.GetName(), len(f.Metric), want)
		}
	}
}

// moment returns something published in which all that changes has the value n.
func moment(n int) *poller.Published {
	count := uint64(n)
	changing := &ledger.Series{
		Key: ledger.Key{Policy: "changing"},
		Counters: []*ledger.Counter{{
			Status: "Failed", Born: epoch, Count: count,
			Exemplar: &ledger.Exemplar{SessionID: "a", Duration: time.Second, End: epoch},
			Histogram: &ledger.Histogram{
				Born: epoch, Sum: int64(n) * 1e6, Buckets: []uint64{count, 0, 0, 0},
				Native: []ledger.NativeBucket{{Count: count}},
			},
		}},
		Last: ledger.Last{Status: "Failed", End: epoch, Duration: time.Duration(n) * time.Second},
	}
	v := newView(ledger.SeriesView{Series: changing, Running: n}, ledger.SeriesView{Series: unchanging})
	v.Resets = count
	v.Watermark = &ledger.Watermark{USN: int64(n)}
	return &poller.Published{View: v, Status: poller.Status{LastPoll: time.Unix(int64(n), 0)}}
}

// unchanging is a series that is the same in every moment.
var unchanging = &ledger.Series{
	Key:      ledger.Key{Policy: "unchanging"},
	Counters: finals(epoch, tally("Failed", epoch, testBounds, session{"a", time.Minute, epoch})),
}

// seenOf returns the values that moment gave to an appliance.
func seenOf(appliance string, families map[string]*dto.MetricFamily) map[string]float64 {
	seen := map[string]float64{}
	for _, f := range []*family{sessionsTotal, sessionDuration, sessionsRunning, lastDuration, watermarkUSN, watermarkResets, lastPoll} {
		for _, m := range families[f.Name].GetMetric() {
			if labels := labelsOf(m); labels["appliance"] != appliance || labels["policy"] == unchanging.Key.Policy {
				continue
			}
			switch {
			case m.Histogram != nil:
				seen[f.Name+"_count"] = float64(m.Histogram.GetSampleCount())
				seen[f.Name+"_sum"] = m.Histogram.GetSampleSum()
			case m.Counter != nil:
				seen[f.Name] = m.Counter.GetValue()
			default:
				seen[f.Name] = m.Gauge.GetValue()
			}
		}
	}
	return seen
}

func labelsOf(m *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, l := range m.Label {
		labels[l.GetName()] = l.GetValue()
	}
	return labels
}

func TestReuse(t *testing.T) {
	t.Run("allocations", testReuseAllocations)
	t.Run("same values", testReuseSameValues)
}

// A scrape uses again the metrics that have not changed, and no others.
func testReuseAllocations(t *testing.T) {
	s := newSource("a", moment(1))
	other := newSource("b", moment(1))
	list := []Source{s, other}
	c := New(func() []Source { return list })
	collect := func() map[*metric]bool {
		ch := make(chan prometheus.Metric, 100)
		c.Collect(ch)
		close(ch)
		metrics := map[*metric]bool{}
		for m := range ch {
			metrics[m.(*metric)] = true
		}
		return metrics
	}
	// same counts the metrics of b that were in a.
	same := func(a, b map[*metric]bool) (n int) {
		for m := range b {
			if a[m] {
				n++
			}
		}
		return n
	}

	first := collect()
	if again := collect(); same(first, again) != len(first) || len(again) != len(first) {
		t.Errorf("nothing changed: %d of %d metrics are the same", same(first, again), len(first))
	}

	p := *s.Published()
	p.LastPoll = p.LastPoll.Add(time.Minute)
	s.published.Store(&p)
	polled := collect()
	if want := len(first) - 1; same(first, polled) != want {
		t.Errorf("the status changed: %d metrics are the same, want %d", same(first, polled), want)
	}

	s.published.Store(moment(2))
	passed := collect()
	kept := len(renderSeries(with(nil, "appliance", "a"), unchanging, testBounds).metrics)
	if want := len(first)/2 + kept; same(polled, passed) != want {
		t.Errorf("a series changed: %d metrics are the same, want %d", same(polled, passed), want)
	}

	rebounded := moment(3)
	rebounded.View.Bounds = []float64{1, 2, 3}
	s.published.Store(rebounded)
	if got, want := same(passed, collect()), len(first)/2; got != want {
		t.Errorf("bounds changed: %d metrics are the same, want %d", got, want)
	}

	list = list[:1]
	collect()
	kept = len(*c.rendered.Load())
	if kept != 1 {
		t.Errorf("%d appliances are kept, want 1", kept)
	}
}

// A cached rendering equals a fresh one, whatever changes between two scrapes.
func testReuseSameValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSource("a", &poller.Published{})
		kept := newRegistry(fixed(s))
		series := map[ledger.Key]*ledger.Series{}
		for range rapid.IntRange(1, 8).Draw(t, "polls") {
			for range rapid.IntRange(0, 4).Draw(t, "changes") {
				key := ledger.Key{
					Type:         rapid.SampledFrom([]string{"Job", "Policy"}).Draw(t, "type"),
					ExtendedType: rapid.SampledFrom([]string{"", "b"}).Draw(t, "extended type"),
					Policy:       rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "policy"),
				}
				if rapid.Bool().Draw(t, "gone") {
					delete(series, key)
					continue
				}
				n := rapid.IntRange(0, 3).Draw(t, "sessions")
				c := tally("Failed", epoch, testBounds, slices.Repeat([]session{{"a", time.Second, epoch}}, n)...)
				c.Held = rapid.Bool().Draw(t, "held")
				series[key] = &ledger.Series{Key: key, Counters: finals(epoch, c)}
			}
			var views []ledger.SeriesView
			for _, s := range series {
				views = append(views, ledger.SeriesView{Series: s, Running: rapid.IntRange(0, 2).Draw(t, "running")})
			}
			s.published.Store(&poller.Published{View: newView(views...)})

			got, err := kept.Gather()
			if err != nil {
				t.Fatal(err)
			}
			want, err := newRegistry(fixed(s)).Gather()
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) {
				t.Fatalf("%d families, want %d", len(got), len(want))
			}
			for i := range want {
				requireEqual(t, got[i], want[i])
			}
		}
	})
}

// Families come sorted by labels, whatever the order of series and appliances:
// the registry sorts at every scrape, which costs little if nothing is to do.
func testScrapeOrder(t *testing.T) {
	ch := make(chan prometheus.Metric, 1000)
	New(fixed(fleet()...)).Collect(ch)
	close(ch)
	byFamily := map[*family][]*metric{}
	for m := range ch {
		m := m.(*metric)
		byFamily[m.family] = append(byFamily[m.family], m)
	}
	for f, metrics := range byFamily {
		// What is over a limit comes from two renderings, and is a few metrics.
		if f != overLimit && !slices.IsSortedFunc(metrics, compareLabels) {
			t.Errorf("%s isn't sorted", f.Name)
		}
		for _, m := range metrics {
			if !slices.IsSortedFunc(m.labels, func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) }) {
				t.Errorf("labels of %s aren't sorted: %v", f.Name, m.labels)
			}
		}
	}
}
