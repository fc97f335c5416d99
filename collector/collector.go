// Package collector exposes to Prometheus what the pollers have published.
//
// It has the table of metrics, and renders a poller.Published by it. It requests
// nothing from an appliance, keeps no state, reads no clock, starts no goroutine and
// waits for nothing. Collector exposes what is published at the moment of a scrape;
// Instruments counts what the exporter itself does.
package collector

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector/poller"
)

// Source is what the collector reads of one appliance. Its methods are safe for
// concurrent use, and none of them waits.
type Source interface {
	// Name is the value of the label "appliance": no two sources have the same.
	Name() string
	// Published returns what is published now; never nil.
	Published() *poller.Published
}

// Collector is a prometheus.Collector over appliances. It is safe for concurrent use.
type Collector struct {
	sources func() []Source
	// rendered has what the last scrape exposed, by appliance. The map and its
	// values are immutable. Of two concurrent scrapes, the one that ends last stores
	// what it exposed, and the next scrape renders again what is missing there.
	rendered atomic.Pointer[map[string]*rendering]
}

// New returns a collector over the appliances that sources returns at the time of
// a scrape. sources must be safe for concurrent use, and must not wait. What it
// returns is not changed.
func New(sources func() []Source) *Collector {
	c := &Collector{sources: sources}
	c.rendered.Store(&map[string]*rendering{})
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range collected {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector. It reads what each source has
// published once, so that all metrics of an appliance are of one moment. It
// renders what is new and keeps no more than it sends.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	old := *c.rendered.Load()
	now := make(map[string]*rendering, len(old))
	for _, s := range c.sources() {
		now[s.Name()] = render(s.Name(), s.Published(), old[s.Name()])
	}
	c.rendered.Store(&now)
	for _, name := range slices.Sorted(maps.Keys(now)) {
		for _, part := range now[name].parts {
			for _, m := range part.metrics {
				ch <- m
			}
		}
	}
}
