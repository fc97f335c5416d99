package collector

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
)

// codeNone is the label "code" of a request that got no answer.
const codeNone = "error"

// Instruments are the metrics of what the exporter itself does. None is stored. They
// are safe for concurrent use.
type Instruments struct {
	polls              *prometheus.CounterVec
	pollDuration       *prometheus.HistogramVec
	apiRequests        *prometheus.CounterVec
	apiRequestDuration *prometheus.HistogramVec
	reloadSuccessful   prometheus.Gauge
	reloadSuccessTime  prometheus.Gauge
}

// NewInstruments registers the instruments, and the build's information, with
// reg. It panics if one is registered already.
func NewInstruments(reg prometheus.Registerer) *Instruments {
	reg.MustRegister(version.NewCollector("vbaws_exporter"))
	auto := promauto.With(reg)
	return &Instruments{
		polls: auto.NewCounterVec(prometheus.CounterOpts(polls.opts()), polls.Labels),
		// A poll with nothing new takes a request or two; a catch-up minutes.
		pollDuration: auto.NewHistogramVec(pollDuration.histogramOpts(
			0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600), pollDuration.Labels),
		apiRequests: auto.NewCounterVec(prometheus.CounterOpts(apiRequests.opts()), apiRequests.Labels),
		apiRequestDuration: auto.NewHistogramVec(apiRequestDuration.histogramOpts(
			0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60), apiRequestDuration.Labels),
		reloadSuccessful:  auto.NewGauge(prometheus.GaugeOpts(reloadSuccessful.opts())),
		reloadSuccessTime: auto.NewGauge(prometheus.GaugeOpts(reloadSuccessTime.opts())),
	}
}

// Add adds an appliance's series, every result at 0, so that increase() shows the
// first failure. Series that exist keep their values.
func (i *Instruments) Add(appliance string) {
	appliance = labelValue(appliance)
	for _, result := range poller.Results {
		i.polls.WithLabelValues(appliance, string(result))
	}
	i.pollDuration.WithLabelValues(appliance)
}

// Remove removes an appliance's series. Its poller must have ended: what it
// reports later adds them again.
func (i *Instruments) Remove(appliance string) {
	of := prometheus.Labels{"appliance": labelValue(appliance)}
	i.polls.DeletePartialMatch(of)
	i.pollDuration.DeletePartialMatch(of)
	i.apiRequests.DeletePartialMatch(of)
}

// Polled counts a poll that took d.
func (i *Instruments) Polled(appliance string, result poller.Result, d time.Duration) {
	appliance = labelValue(appliance)
	i.polls.WithLabelValues(appliance, string(result)).Inc()
	i.pollDuration.WithLabelValues(appliance).Observe(d.Seconds())
}

// Requested counts a request. Its label "code" is the HTTP status in decimal,
// or "error" if no answer arrived.
func (i *Instruments) Requested(appliance string, r vbaws.Request) {
	code := codeNone
	if r.Code != 0 {
		code = strconv.Itoa(r.Code)
	}
	i.apiRequests.WithLabelValues(labelValue(appliance), r.Endpoint, code).Inc()
	i.apiRequestDuration.WithLabelValues(r.Endpoint).Observe(r.Duration.Seconds())
}

// Reloaded records whether the configuration was loaded at the given time, at the
// start of the process or by a reload.
func (i *Instruments) Reloaded(ok bool, at time.Time) {
	i.reloadSuccessful.Set(boolean(ok))
	if ok {
		i.reloadSuccessTime.Set(unixSeconds(at))
	}
}

// opts are those of a counter or gauge.
func (f *family) opts() prometheus.Opts {
	return prometheus.Opts{Name: f.Name, Help: f.Help, Unit: f.unit()}
}

// histogramOpts are of a histogram with these classic buckets, and with native
// ones as wide as those of sessions and not more than 160.
func (f *family) histogramOpts(buckets ...float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name:                            f.Name,
		Help:                            f.Help,
		Unit:                            f.unit(),
		Buckets:                         buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	}
}
