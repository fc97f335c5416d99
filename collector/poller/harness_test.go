package poller_test

import (
	"net/url"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// fataler is what testing.T and rapid.T share.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// newClient returns a client of the simulated appliance, over TLS.
func newClient(t fataler, server *vbawstest.Server, now func() time.Time) *vbaws.Client {
	t.Helper()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := vbaws.New(vbaws.Config{
		URL: u, Username: vbawstest.DefaultUsername,
		Password:  func() (string, error) { return vbawstest.DefaultPassword, nil },
		Transport: server.Transport(), Now: now, RetryInitial: time.Microsecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newPoller returns a poller over a simulated appliance that keeps its state in
// memory; cfg needs only what matters to the test.
func newPoller(t fataler, server *vbawstest.Server, clock *vbawstest.Clock, cfg poller.Config) *poller.Poller {
	t.Helper()
	return newPollerOver(t, server, clock, cfg, store.NewMemory())
}

func newPollerOver(t fataler, server *vbawstest.Server, clock *vbawstest.Clock, cfg poller.Config, storage poller.Storage) *poller.Poller {
	t.Helper()
	return newPollerOn(t, newClient(t, server, clock.Now), clock, cfg, storage)
}

func newPollerOn(t fataler, api poller.API, clock *vbawstest.Clock, cfg poller.Config, storage poller.Storage) *poller.Poller {
	t.Helper()
	cfg.Appliance = "test"
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
	cfg.Now = clock.Now
	p, err := poller.New(cfg, api, storage)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newRegistry(sources ...collector.Source) *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collector.New(func() []collector.Source { return sources }))
	return reg
}
