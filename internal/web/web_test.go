package web

import (
	"errors"
	"flag"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
)

var update = flag.Bool("update", false, "rewrite testdata/*.html")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// source is an appliance with a published state.
type source struct {
	name string
	p    poller.Published
}

func (s *source) Name() string                 { return s.name }
func (s *source) Published() *poller.Published { return &s.p }

func sources(list ...*source) func() []collector.Source {
	return func() []collector.Source {
		var all []collector.Source
		for _, s := range list {
			all = append(all, s)
		}
		return all
	}
}

func handler(t *testing.T, o Options) http.Handler {
	t.Helper()
	if o.Gatherer == nil {
		o.Gatherer = prometheus.NewRegistry()
	}
	if o.Sources == nil {
		o.Sources = sources()
	}
	if o.TelemetryPath == "" {
		o.TelemetryPath = "/metrics"
	}
	if o.Rejected == nil {
		o.Rejected = func() *Rejection { return nil }
	}
	if o.ErrorLog == nil {
		o.ErrorLog = log.New(t.Output(), "", 0)
	}
	o.Now = func() time.Time { return noon }
	h, err := Handler(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// get returns the answer to a request; kv are headers.
func get(h http.Handler, path string, kv ...string) *http.Response {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(kv); i += 2 {
		r.Header.Set(kv[i], kv[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func testEndpointProbes(t *testing.T) {
	first := &source{name: "first", p: poller.Published{Status: poller.Status{Polls: 1}}}
	second := &source{name: `second "2"`}
	third := &source{name: "a third"}
	h := handler(t, Options{Sources: sources(first, second, third)})

	if r := get(h, "/-/healthy"); r.StatusCode != http.StatusOK {
		t.Errorf("healthy: %d", r.StatusCode)
	}
	r := get(h, "/-/ready")
	if got, want := body(t, r), "Waiting for the first poll of \"a third\", \"second \\\"2\\\"\".\n"; r.StatusCode != http.StatusServiceUnavailable || got != want {
		t.Errorf("ready: %d %s, want %s", r.StatusCode, got, want)
	}
	second.p.Polls, third.p.Polls = 1, 1
	third.p.Err = errors.New("a failed poll is a poll")
	if r := get(h, "/-/ready"); r.StatusCode != http.StatusOK {
		t.Errorf("ready after all were polled: %d %s", r.StatusCode, body(t, r))
	}
}

func testEndpointPaths(t *testing.T) {
	h := handler(t, Options{TelemetryPath: "/other/metrics"})
	for path, want := range map[string]int{
		"/":              http.StatusOK,
		"/other/metrics": http.StatusOK,
		"/metrics":       http.StatusNotFound,
		"/index.html":    http.StatusNotFound,
		"/-/reload":      http.StatusMethodNotAllowed,
	} {
		if got := get(h, path).StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func testEndpointTelemetryPath(t *testing.T) {
	for path, good := range map[string]bool{
		"/metrics": true, "/a/b": true, "/a/": true, "/-x": true,
		"": false, "metrics": false, "/": false, "/-": false, "/-/healthy": false, "/-/": false, "/-/x": false,
		"/a b": false, "/{x}": false, "//a": false, "/a//b": false, "/../a": false, "/a?b": false, "/a#b": false, "/a%20": false, "/ä": false, "/a\n": false, "//": false, "/a/.": false, "/a/..": false, "/\x7f": false,
	} {
		func() {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("%q: panic: %v", path, r)
				}
			}()
			_, err := Handler(Options{TelemetryPath: path, Gatherer: prometheus.NewRegistry(), Sources: sources()})
			if (err == nil) != good {
				t.Errorf("%q: %v", path, err)
			}
		}()
	}
}

// testEndpointFormats negotiates the formats of scrapers.
func testEndpointFormats(t *testing.T) {
	const openMetrics = "application/openmetrics-text;version=1.0.0"
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "n_total", Help: "N."})
	c.(prometheus.ExemplarAdder).AddWithExemplar(1, prometheus.Labels{"session_id": "x"})
	reg.MustRegister(c)
	for _, test := range []struct {
		accept          string
		created         bool
		contentType     string
		exemplar, stamp bool
	}{
		{"text/plain;version=0.0.4", true, "text/plain", false, false},
		{openMetrics, false, "application/openmetrics-text", true, false},
		{openMetrics, true, "application/openmetrics-text", true, true},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", false, "application/vnd.google.protobuf", true, false},
	} {
		r := get(handler(t, Options{Gatherer: reg, CreatedSamples: test.created}), "/metrics", "Accept", test.accept)
		text := body(t, r)
		if got := r.Header.Get("Content-Type"); !strings.HasPrefix(got, test.contentType) {
			t.Errorf("%s: content type %s", test.accept, got)
		}
		if got := strings.Contains(text, "session_id"); got != test.exemplar {
			t.Errorf("%s: exemplar %v in %q", test.accept, got, text)
		}
		if got := strings.Contains(text, "n_created"); got != test.stamp {
			t.Errorf("%s, created %v: %q", test.accept, test.created, text)
		}
	}
}

// broken is a collector with two errors.
type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}
func (broken) Collect(ch chan<- prometheus.Metric) {
	d := prometheus.NewDesc("broken", "Broken.", nil, nil)
	ch <- prometheus.NewInvalidMetric(d, errors.New("first"))
	ch <- prometheus.NewInvalidMetric(d, errors.New("second"))
}

func testEndpointScrapeError(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(broken{})
	var out strings.Builder
	h := handler(t, Options{Gatherer: reg, ErrorLog: log.New(&out, "", 0)})
	if r := get(h, "/metrics"); r.StatusCode != http.StatusInternalServerError {
		t.Errorf("status %d", r.StatusCode)
	}
	if s := out.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "first") || !strings.Contains(s, "second") {
		t.Errorf("logged %q", s)
	}
}

func testPageAppliances(t *testing.T) {
	view := &ledger.View{
		Series: []ledger.SeriesView{{
			Series: &ledger.Series{Counters: []*ledger.Counter{{Status: "Failed", Count: 2}, {Status: "Succeeded", Count: 40}}}, Running: 3,
		}, {
			Series: &ledger.Series{Counters: []*ledger.Counter{{Status: "Succeeded", Count: 1}}},
		}},
		Meta: ledger.Meta{
			Watermark:  &ledger.Watermark{USN: -7},
			LastResync: noon.Add(-30 * time.Minute),
			Resets:     1,
			Skipped:    map[string]uint64{"gone": 1, "before_cutoff": 2, "undecodable": 0},
		},
	}
	h := handler(t, Options{Version: "1.2.3 <dirty>", Sources: sources(
		&source{"good", poller.Published{View: view, Status: poller.Status{
			Polls: 9, Up: true, Result: poller.ResultSuccess, Mode: "usn",
			LastPoll: noon.Add(-20 * time.Second), LastSuccess: noon.Add(-20 * time.Second), Next: noon.Add(40 * time.Second),
			APIVersion: "1.7-rev0", Version: "9.0",
			Forbidden: map[string]bool{"/api/v1/b": true, "/api/v1/a": true, "/api/v1/fine": false},
		}}},
		&source{`<b>& "bad"`, poller.Published{View: view, Status: poller.Status{
			Polls: 3, Result: poller.Result(vbaws.KindAuth), Err: errors.New("login as <script>alert(1)</script>: refused"), Mode: "from_utc",
			LastPoll: noon.Add(-72 * time.Hour), Next: noon,
		}}},
		&source{name: "new"},
		&source{"full", poller.Published{Status: poller.Status{Polls: 1, Up: true, Result: poller.ResultStorage, Err: errors.New("no space left"), LastPoll: noon.Add(-3 * time.Hour)}}},
		&source{"odd", poller.Published{Status: poller.Status{Polls: 1, Result: "moon", LastPoll: noon.Add(-3 * time.Minute)}}},
	)})
	r := get(h, "/")
	got := body(t, r)
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %s", r.StatusCode, r.Header.Get("Content-Type"))
	}
	if strings.Contains(got, "<script") || strings.Contains(got, "<b>") || strings.Contains(got, "<dirty>") {
		t.Error("something isn't escaped")
	}
	const golden = "testdata/status.html"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// testPageStates checks that every result of the poller has a message.
func testPageStates(t *testing.T) {
	for _, result := range poller.Results {
		s, ok := results[result]
		if !ok || s.message == "" || (s.remedy == "") != (result == poller.ResultSuccess) {
			t.Errorf("%s: %+v", result, s)
		}
	}
}

func testPageSummary(t *testing.T) {
	for _, test := range []struct {
		ok, pending, all int
		want             string
	}{
		{0, 0, 0, "No appliance is configured."},
		{1, 0, 1, "Polling OK."},
		{3, 0, 3, "Polling OK for all 3 appliances."},
		{0, 1, 1, "First poll pending for 1 of 1 appliance."},
		{1, 1, 2, "First poll pending for 1 of 2 appliances."},
		{0, 0, 1, "Polling fails for 1 of 1 appliance."},
		{1, 1, 3, "Polling fails for 1 of 3 appliances."},
	} {
		if got := summary(test.ok, test.pending, test.all); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func testPageDistance(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       "now",
		-300 * time.Millisecond: "now",
		time.Second:             "1 s ago",
		-90 * time.Second:       "in 1 min",
		59 * time.Minute:        "59 min ago",
		time.Hour:               "1 h ago",
		119 * time.Minute:       "1 h 59 min ago",
		-2 * time.Hour:          "in 2 h",
		47*time.Hour + 1:        "47 h ago",
		48 * time.Hour:          "2 days ago",
		71 * time.Hour:          "2 days 23 h ago",
		10 * 25 * time.Hour:     "10 days ago",
	} {
		if got := distance(noon.Add(-d), noon); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func testEndpointTimeouts(t *testing.T) {
	s := NewServer(http.NotFoundHandler(), nil)
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout < time.Minute || s.IdleTimeout <= 0 {
		t.Errorf("%+v", s)
	}
}
