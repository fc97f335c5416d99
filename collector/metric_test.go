package collector

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
)

func TestMetric(t *testing.T) {
	t.Run("equals client_golang", testMetricEqualsClientGolang)
	t.Run("held", testMetricHeld)
	t.Run("exemplar", testMetricExemplar)
}

// A session's counter and histogram equal those of the library's own instruments that
// observed the same sessions at the same times.
func testMetricEqualsClientGolang(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		bounds := rapid.SampledFrom([][]float64{nil, {0}, {60}, {0.001, 1, 1.5, 2}, testBounds}).Draw(rt, "bounds")
		durations := rapid.SliceOfN(durationGen(), 1, 30).Draw(rt, "durations")
		pauses := rapid.SliceOfN(rapid.IntRange(1, 1e6), len(durations), len(durations)).Draw(rt, "pauses")

		var (
			sessions  []session
			born      time.Time
			histogram prometheus.Metric
			counter   prometheus.Metric
		)
		// The library takes the times of exemplars and of creation from the clock.
		synctest.Test(t, func(*testing.T) {
			born = time.Now()
			h, c := instrumentsOfSessions(bounds)
			for i, d := range durations {
				time.Sleep(time.Duration(pauses[i]) * time.Microsecond)
				s := session{fmt.Sprint("session ", i), d, time.Now()}
				sessions = append(sessions, s)
				label := prometheus.Labels{"session_id": s.id}
				h.(prometheus.ExemplarObserver).ObserveWithExemplar(d.Seconds(), label)
				c.(prometheus.ExemplarAdder).AddWithExemplar(1, label)
			}
			histogram, counter = h.(prometheus.Metric), c
		})
		series := &ledger.Series{
			Key:      ledger.Key{Type: "Policy", ExtendedType: "PolicyBackup", Policy: "gold"},
			Counters: []*ledger.Counter{tally("Failed", born, bounds, sessions...)},
		}

		compared := 0
		for _, m := range renderSeries(with(nil, "appliance", "prod-eu"), series, bounds).metrics {
			got := write(rt, m)
			switch m.family {
			case sessionsTotal:
				requireEqual(rt, got, write(rt, counter))
				compared++
			case sessionDuration:
				want := write(rt, histogram)
				// Whole microseconds add up exactly, floating point nearly.
				if g, w := got.Histogram.GetSampleSum(), want.Histogram.GetSampleSum(); math.Abs(g-w) > 1e-9*w {
					rt.Errorf("sum is %v, want %v", g, w)
				}
				want.Histogram.SampleSum = got.Histogram.SampleSum
				for _, b := range want.Histogram.Bucket {
					if b.Exemplar != nil {
						want.Histogram.Exemplars = append(want.Histogram.Exemplars, b.Exemplar)
					}
				}
				slices.SortFunc(want.Histogram.Exemplars, func(a, b *dto.Exemplar) int {
					return a.Timestamp.AsTime().Compare(b.Timestamp.AsTime())
				})
				requireEqual(rt, got, want)
				compared++
			}
		}
		if compared != 2 {
			rt.Errorf("compared %d metrics, want 2", compared)
		}
	})
}

// instrumentsOfSessions returns the library's instruments for one series of
// sessions.
func instrumentsOfSessions(bounds []float64) (prometheus.Observer, prometheus.Counter) {
	values := []string{"prod-eu", "Policy", "PolicyBackup", "gold", "Failed"}
	histograms := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                         sessionDuration.Name,
		Buckets:                      bounds,
		NativeHistogramBucketFactor:  1.1,
		NativeHistogramZeroThreshold: ledger.NativeZeroThreshold,
		NativeHistogramMaxExemplars:  -1, // it chooses and sorts them otherwise
	}, sessionDuration.Labels)
	counters := prometheus.NewCounterVec(prometheus.CounterOpts{Name: sessionsTotal.Name}, sessionsTotal.Labels)
	return histograms.WithLabelValues(values...), counters.WithLabelValues(values...)
}

// durationGen generates durations of whole microseconds, many of them on, or
// next to, the bounds of buckets.
func durationGen() *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		us := rapid.OneOf(
			rapid.Int64Range(0, 3000),
			rapid.Int64Range(0, 1e11),
			rapid.Map(rapid.IntRange(-4, 14), func(e int) int64 { return int64(math.Ldexp(1e6, e)) }),
			rapid.SampledFrom([]int64{1e3, 60e6, 300e6, 3600e6}),
		).Draw(t, "µs")
		us += rapid.SampledFrom([]int64{0, 0, 1, -1}).Draw(t, "beside")
		return time.Duration(max(us, 0)) * time.Microsecond
	})
}

func testMetricHeld(t *testing.T) {
	c := tally("Failed", epoch, testBounds, session{"a", time.Minute, epoch}, session{"b", 2 * time.Hour, epoch})
	c.Histogram.Base = 1
	c.Held = true

	requireEqual(t, newSessionCounter(c), newSessionCounter(&ledger.Counter{Born: epoch}))
	empty := &ledger.Counter{Histogram: &ledger.Histogram{Born: epoch, Buckets: make([]uint64, 4)}}
	requireEqual(t, newSessionHistogram(c, testBounds), newSessionHistogram(empty, testBounds))
	for _, b := range newSessionHistogram(c, testBounds).Bucket {
		if b.GetCumulativeCount() != 0 {
			t.Errorf("bucket %v of a held histogram has %d", b.GetUpperBound(), b.GetCumulativeCount())
		}
	}

	c.Held = false
	if got := newSessionCounter(c); got.GetValue() != 2 || got.Exemplar == nil {
		t.Errorf("after the hold: %v", got)
	}
	if got := newSessionHistogram(c, testBounds); got.GetSampleCount() != 1 || len(got.Exemplars) != 2 {
		t.Errorf("after the hold: %v", got)
	}
}

func testMetricExemplar(t *testing.T) {
	longest := strings.Repeat("ü", prometheus.ExemplarMaxRunes-len("session_id"))
	for _, test := range []struct {
		name, id string
		end      time.Time
		want     *dto.Exemplar
	}{
		{"ordinary", "a", epoch, &dto.Exemplar{
			Label: []*dto.LabelPair{{Name: new("session_id"), Value: new("a")}}, Value: new(2.0), Timestamp: timestamp(epoch)}},
		{"without an end", "a", time.Time{}, &dto.Exemplar{
			Label: []*dto.LabelPair{{Name: new("session_id"), Value: new("a")}}, Value: new(2.0)}},
		{"not UTF-8", "a\xff", epoch, &dto.Exemplar{
			Label: []*dto.LabelPair{{Name: new("session_id"), Value: new("a�")}}, Value: new(2.0), Timestamp: timestamp(epoch)}},
		{"as long as allowed", longest, epoch, &dto.Exemplar{
			Label: []*dto.LabelPair{{Name: new("session_id"), Value: &longest}}, Value: new(2.0), Timestamp: timestamp(epoch)}},
		{"too long", longest + "x", epoch, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			requireEqual(t, newExemplar(&ledger.Exemplar{SessionID: test.id, End: test.end}, 2), test.want)
		})
	}

	t.Run("too long for a histogram", func(t *testing.T) {
		c := tally("Failed", epoch, testBounds, session{longest + "x", 2 * time.Hour, epoch})
		if got := newSessionHistogram(c, testBounds); len(got.Bucket) != len(testBounds) || len(got.Exemplars) != 0 {
			t.Errorf("got %v, want no exemplar and no bucket for one", got)
		}
	})
	t.Run("without an end for a histogram", func(t *testing.T) {
		c := tally("Failed", epoch, testBounds, session{"a", time.Second, time.Time{}})
		if got := newSessionHistogram(c, testBounds); got.Bucket[0].Exemplar == nil || len(got.Exemplars) != 0 {
			t.Errorf("got %v, want the exemplar in its classic bucket alone", got)
		}
	})
}

// FuzzWords checks that no word of an appliance fails a scrape, and that valid ones are
// exposed as they are.
func FuzzWords(f *testing.F) {
	f.Add("gold", "a")
	f.Add("\xff\xfe", "b\xc0\xaf")
	f.Add("a\x00b", "\u2028")
	f.Add(`"\`+"\n\r", "}")
	f.Fuzz(func(t *testing.T, policy, id string) {
		c := tally("Failed", epoch, testBounds, session{id, time.Second, epoch})
		s := newSource("a", &poller.Published{View: newView(ledger.SeriesView{Series: &ledger.Series{
			Key: ledger.Key{Policy: policy}, Counters: []*ledger.Counter{c}}})})
		reg := newRegistry(fixed(s))
		for name, accept := range formats {
			resp := scrape(t, reg, name, accept)
			if name == "openmetrics" {
				continue // the library has no parser for it
			}
			counter := decode(t, resp)[sessionsTotal.Name].GetMetric()[0]
			want := strings.ToValidUTF8(policy, "\ufffd")
			if got := labelsOf(counter)["policy"]; got != want && len(want) <= maxLabelValue || len(got) > maxLabelValue {
				t.Errorf("as %s: policy %q, want %q", name, got, want)
			}
		}
	})
}

func write(t tb, m prometheus.Metric) *dto.Metric {
	t.Helper()
	var out dto.Metric
	if err := m.Write(&out); err != nil {
		t.Fatal(err)
	}
	return &out
}

type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// requireEqual compares messages byte for byte, and names the fields that
// differ.
func requireEqual(t tb, got, want proto.Message) {
	t.Helper()
	marshal := proto.MarshalOptions{Deterministic: true}
	g, gerr := marshal.Marshal(got)
	w, werr := marshal.Marshal(want)
	if gerr != nil || werr != nil {
		t.Fatalf("encode: %v, %v", gerr, werr)
	}
	if !bytes.Equal(g, w) || got.ProtoReflect().IsValid() != want.ProtoReflect().IsValid() {
		t.Fatalf("-want +got:\n%s\ngot  %x\nwant %x", cmp.Diff(want, got, protocmp.Transform()), g, w)
	}
}
