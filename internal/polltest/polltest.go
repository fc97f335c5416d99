// Package polltest sets up an exporter of one appliance within the test's own process:
// client, poller and metrics. It does not know commands, configuration files and HTTP
// handlers; package apptest runs the exporter as a process.
package polltest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// Appliance is the name of the appliance unless Options.Poller has another.
const Appliance = "test"

// T is the part of testing.TB that rapid.T has as well.
type T interface {
	Helper()
	Fatal(...any)
}

// Options say how the exporter differs from the default. The zero value of a field is
// the default.
type Options struct {
	// Client reads the appliance. Nil: a client that logs in to URL.
	Client poller.API
	// URL is the address of the appliance, and Transport how to reach it.
	URL       string
	Transport http.RoundTripper
	// Username and Password are those of the simulated appliance by default.
	Username, Password string
	// Observe is called after each request of the client.
	Observe func(vbaws.Request)
	// Poller is the configuration of the poller. The client has the same clock. Poller.Now
	// is nil for time.Now.
	Poller poller.Config
	// Storage has the state. Nil: a new one in memory.
	Storage poller.Storage
	// Registry gets the metrics. Nil: a new one.
	Registry *prometheus.Registry
}

// Exporter polls an appliance and has metrics of it.
type Exporter struct {
	*poller.Poller
	Registry *prometheus.Registry
}

// Start is New for a test, which fails if there is an error.
func Start(t T, o Options) *Exporter {
	t.Helper()
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// New returns an exporter that has not polled.
func New(o Options) (*Exporter, error) {
	if o.Client == nil {
		client, err := NewClient(o)
		if err != nil {
			return nil, err
		}
		o.Client = client
	}
	if o.Storage == nil {
		o.Storage = store.NewMemory()
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	p, err := poller.New(withDefaults(o.Poller), o.Client, o.Storage)
	if err != nil {
		return nil, err
	}
	err = o.Registry.Register(collector.New(func() []collector.Source { return []collector.Source{p} }))
	return &Exporter{Poller: p, Registry: o.Registry}, err
}

// NewClient returns the client that New makes.
func NewClient(o Options) (*vbaws.Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Username == "" {
		o.Username, o.Password = vbawstest.DefaultUsername, vbawstest.DefaultPassword
	}
	return vbaws.New(vbaws.Config{
		URL: u, Username: o.Username, Password: func() (string, error) { return o.Password, nil },
		Transport: o.Transport, Observe: o.Observe, Now: o.Poller.Now, RetryInitial: time.Microsecond,
	})
}

// withDefaults sets what the poller needs and cfg does not have.
func withDefaults(cfg poller.Config) poller.Config {
	if cfg.Appliance == "" {
		cfg.Appliance = Appliance
	}
	if cfg.Interval == 0 {
		cfg.Interval = time.Minute
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Watermark == "" {
		cfg.Watermark = poller.WatermarkAuto
	}
	if cfg.Ledger.Bounds == nil {
		cfg.Ledger.Bounds = []float64{60, 600, 3600}
	}
	if cfg.Logger == nil {
		cfg.Logger = log.NewNopLogger()
	}
	return cfg
}

// Families returns all metrics.
func (e *Exporter) Families(t T) []*dto.MetricFamily {
	t.Helper()
	families, err := e.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// Metrics returns the metrics of a name.
func (e *Exporter) Metrics(t T, name string) []*dto.Metric {
	t.Helper()
	for _, f := range e.Families(t) {
		if f.GetName() == name {
			return f.Metric
		}
	}
	return nil
}

// Labels returns the labels of a metric in the order of their names, without that of
// the appliance.
func Labels(m *dto.Metric) string {
	var labels []string
	for _, l := range m.Label {
		if l.GetName() != "appliance" {
			labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
		}
	}
	slices.Sort(labels)
	return strings.Join(labels, " ")
}

// Value returns the value of a counter or gauge, and the count of a histogram.
func Value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Histogram != nil:
		return float64(m.Histogram.GetSampleCount())
	}
	return m.Gauge.GetValue()
}
