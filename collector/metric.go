package collector

import (
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// metric is one series of a family, ready to be handed out: a scrape copies
// pointers. It is immutable, with all it points to, and so any number of scrapes
// can share it. Exactly one of counter, gauge and histogram is set.
//
// The library's own constant metrics do not suffice: those with exemplars must
// not be shared between scrapes, and none has both classic and native buckets.
type metric struct {
	family    *family
	labels    []*dto.LabelPair // sorted by name
	counter   *dto.Counter
	gauge     *dto.Gauge
	histogram *dto.Histogram
}

// Desc implements prometheus.Metric.
func (m *metric) Desc() *prometheus.Desc { return m.family.desc }

// Write implements prometheus.Metric.
func (m *metric) Write(out *dto.Metric) error {
	out.Label = m.labels
	out.Counter = m.counter
	out.Gauge = m.gauge
	out.Histogram = m.histogram
	return nil
}

// newSessionCounter returns what c is published as.
func newSessionCounter(c *ledger.Counter) *dto.Counter {
	out := &dto.Counter{Value: new(0.0), CreatedTimestamp: timestamp(c.Born)}
	if c.Held {
		return out
	}
	*out.Value = float64(c.Count)
	if c.Exemplar != nil {
		out.Exemplar = newExemplar(c.Exemplar, 1)
	}
	return out
}

// noLabels describes a histogram that the library builds, and that is not exposed itself.
var noLabels = prometheus.NewDesc("histogram", "", nil, nil)

// newSessionHistogram returns what the histogram of c, which must have one, is
// published as: the same as of a prometheus.Histogram with classic and native
// buckets. bounds are the upper bounds of the classic ones; they are kept.
func newSessionHistogram(c *ledger.Counter, bounds []float64) *dto.Histogram {
	h := c.Histogram
	if c.Held {
		h = &ledger.Histogram{Born: h.Born, Base: c.Count, Buckets: make([]uint64, len(bounds)+1)}
	}
	native := make(map[int]int64, len(h.Native))
	count := h.Zero
	for _, b := range h.Native {
		native[int(b.Index)] += int64(b.Count)
		count += b.Count
	}
	var spelled dto.Metric
	// It returns no error.
	_ = prometheus.MustNewConstNativeHistogram(noLabels, count, float64(h.Sum)/1e6, native, nil, h.Zero,
		ledger.NativeSchema, ledger.NativeZeroThreshold, h.Born).Write(&spelled)
	out := spelled.Histogram
	out.CreatedTimestamp = timestamp(h.Born)
	out.SampleCount = new(c.Count - h.Base)

	buckets := make([]dto.Bucket, len(bounds))
	cumulative := make([]uint64, len(bounds))
	out.Bucket = make([]*dto.Bucket, len(bounds), len(bounds)+1)
	var sum uint64
	for i := range bounds {
		sum += h.Buckets[i]
		cumulative[i] = sum
		buckets[i].CumulativeCount = &cumulative[i]
		buckets[i].UpperBound = &bounds[i]
		out.Bucket[i] = &buckets[i]
	}
	addExemplars(out, h, bounds)
	return out
}

// addExemplars adds those of h to the classic buckets, and in the order of time
// to the native histogram, which has them apart from its buckets and only with a
// time.
func addExemplars(out *dto.Histogram, h *ledger.Histogram, bounds []float64) {
	for i, e := range h.Exemplars {
		if e == nil {
			continue
		}
		exemplar := newExemplar(e, e.Duration.Seconds())
		if exemplar == nil {
			continue
		}
		if i == len(bounds) {
			// Formats add the bucket of +Inf themselves, but not its exemplar.
			out.Bucket = append(out.Bucket, &dto.Bucket{CumulativeCount: out.SampleCount, UpperBound: new(math.Inf(+1))})
		}
		out.Bucket[i].Exemplar = exemplar
		if exemplar.Timestamp != nil {
			out.Exemplars = append(out.Exemplars, exemplar)
		}
	}
	slices.SortStableFunc(out.Exemplars, func(a, b *dto.Exemplar) int {
		return a.Timestamp.AsTime().Compare(b.Timestamp.AsTime())
	})
}

// exemplarLabel is the label of every exemplar.
const exemplarLabel = "session_id"

// newExemplar returns nil if the session's id is too long for an exemplar.
func newExemplar(e *ledger.Exemplar, value float64) *dto.Exemplar {
	id := validUTF8(e.SessionID)
	if len(exemplarLabel)+utf8.RuneCountInString(id) > prometheus.ExemplarMaxRunes {
		return nil
	}
	return &dto.Exemplar{
		Label:     []*dto.LabelPair{{Name: new(exemplarLabel), Value: &id}},
		Value:     &value,
		Timestamp: timestamp(e.End),
	}
}

// timestamp returns nil for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// unixSeconds returns t, which must not be zero, as fine as the appliance's
// times: to the microsecond.
func unixSeconds(t time.Time) float64 {
	return float64(t.UnixMicro()) / 1e6
}

// maxLabelValue is how long the value of a label is at most, in bytes.
const maxLabelValue = 256

// labelValue returns s as the value of a label.
func labelValue(s string) string { return vbaws.Shorten(validUTF8(s), maxLabelValue) }

// validUTF8 makes s valid for a label: an invalid one fails the whole scrape.
func validUTF8(s string) string {
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}
