// Package collector shows Prometheus what is known of the appliances.
//
// It knows the table of metrics, and how what a poller has published is spelled
// in it. It doesn't know how that came about: it asks no appliance, keeps no
// state, reads no clock, starts no goroutine and waits for nothing. Collector
// shows what is published at the moment of a scrape; Instruments counts the
// exporter's own doing while it happens.
package collector

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector/poller"
)

// Source is one appliance, as the collector reads it. Any number of goroutines
// may call its methods, and none of them waits.
type Source interface {
	// Name is the value of the label "appliance": no two sources have the same.
	Name() string
	// Published returns what may be seen now; never nil.
	Published() *poller.Published
}

// Collector is a prometheus.Collector over appliances. Any number of scrapes may
// go on at once.
type Collector struct {
	sources func() []Source
	// rendered has what the last scrape showed, by appliance. Neither the map nor
	// what is in it is ever changed. Where two scrapes part over what is newest,
	// the one that ends last wins, and the next scrape renders again what it
	// lost.
	rendered atomic.Pointer[map[string]*rendering]
}

// New returns a collector over the appliances that sources lists at the time of
// a scrape. Several goroutines may call sources at once; it must not wait, and
// what it returns is not changed.
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
