package ledger

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"
)

// reference is a histogram of client_golang with the same native buckets.
func reference(bounds []float64) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "reference", Buckets: bounds,
		NativeHistogramBucketFactor: 1.1, NativeHistogramZeroThreshold: NativeZeroThreshold,
	})
}

func write(t interface{ Fatal(...any) }, h prometheus.Metric) *dto.Histogram {
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Histogram
}

// native expands spans and deltas.
func native(h *dto.Histogram) []NativeBucket {
	var buckets []NativeBucket
	var index int32
	var count int64
	deltas := h.PositiveDelta
	for _, s := range h.PositiveSpan {
		index += s.GetOffset()
		for range s.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			if count > 0 {
				buckets = append(buckets, NativeBucket{Index: index, Count: uint64(count)})
			}
			index++
		}
	}
	return buckets
}

// aBoundary draws a number of seconds at, or one step off, the bound of a native
// bucket.
func aBoundary(t *rapid.T) float64 {
	v := math.Pow(2, float64(rapid.IntRange(-8*8, 26*8).Draw(t, "eighth"))/8)
	switch rapid.IntRange(0, 2).Draw(t, "side") {
	case 0:
		return math.Nextafter(v, 0)
	case 1:
		return math.Nextafter(v, math.Inf(1))
	}
	return v
}

func TestHistogram(t *testing.T) {
	t.Run("native index equals client_golang", testHistogramNativeIndexEqualsClientGolang)
	t.Run("buckets equal client_golang", testHistogramBucketsEqualClientGolang)
	t.Run("bounds are inclusive", testHistogramBoundsAreInclusive)
}

func testHistogramNativeIndexEqualsClientGolang(t *testing.T) {
	if got := write(t, reference(nil)).GetSchema(); got != NativeSchema {
		t.Fatalf("the reference has schema %d, want %d", got, NativeSchema)
	}
	check := func(t interface {
		Fatal(...any)
		Fatalf(string, ...any)
	}, v float64) {
		ref := reference(nil)
		ref.Observe(v)
		want := native(write(t, ref))
		if got := []NativeBucket{{nativeIndex(v), 1}}; !slices.Equal(got, want) {
			t.Fatalf("%v is in bucket %v, want %v", v, got, want)
		}
	}
	for exp := -9; exp <= 30; exp++ {
		v := math.Ldexp(1, exp)
		for _, v := range []float64{v, math.Nextafter(v, 0), math.Nextafter(v, math.Inf(1))} {
			check(t, v)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.OneOf(
			rapid.Custom(aBoundary),
			rapid.Float64Range(math.Nextafter(NativeZeroThreshold, 1), 1e9),
		).Draw(t, "seconds"))
	})
}

func testHistogramBucketsEqualClientGolang(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := rapid.SliceOfNDistinct(rapid.Float64Range(0.001, 1e6), 0, 6, rapid.ID[float64]).Draw(t, "bounds")
		slices.Sort(bounds)
		h := newHistogram(time.Time{}, 0, bounds)
		ref := reference(slices.Clone(bounds))
		duration := rapid.OneOf(
			rapid.Custom(func(t *rapid.T) time.Duration {
				return time.Duration(aBoundary(t)*1e6).Round(1) * time.Microsecond
			}),
			rapid.Map(rapid.Int64Range(0, 2000), func(µs int64) time.Duration { return time.Duration(µs) * time.Microsecond }),
			rapid.Map(rapid.Int64Range(0, 400*24*3600), func(s int64) time.Duration { return time.Duration(s) * time.Second }),
		)
		var sum time.Duration
		for _, d := range rapid.SliceOfN(duration, 1, 50).Draw(t, "durations") {
			h.observe(d, &Exemplar{Duration: d}, bounds)
			ref.Observe(d.Seconds())
			sum += d
		}
		want := write(t, ref)
		got := struct {
			Zero   uint64
			Native []NativeBucket
		}{h.Zero, h.Native}
		if d := cmp.Diff(native(want), got.Native); d != "" || got.Zero != want.GetZeroCount() {
			t.Fatalf("zero bucket %d, want %d; native -want +got:\n%s", got.Zero, want.GetZeroCount(), d)
		}
		var below uint64
		for i, b := range want.Bucket {
			below += h.Buckets[i]
			if below != b.GetCumulativeCount() {
				t.Fatalf("%d at most %v, want %d", below, b.GetUpperBound(), b.GetCumulativeCount())
			}
		}
		if all := below + h.Buckets[len(bounds)]; all != want.GetSampleCount() {
			t.Fatalf("%d in all, want %d", all, want.GetSampleCount())
		}
		if h.Sum != sum.Microseconds() {
			t.Fatalf("sum %d µs, want %d", h.Sum, sum.Microseconds())
		}
	})
}

// A classic bucket holds its upper bound, and each bucket its newest exemplar.
func testHistogramBoundsAreInclusive(t *testing.T) {
	bounds := []float64{60, 600}
	h := newHistogram(time.Time{}, 0, bounds)
	const µs = time.Microsecond
	for _, d := range []time.Duration{0, time.Minute, time.Minute + µs, 10 * time.Minute, 10*time.Minute + µs, time.Hour} {
		h.observe(d, &Exemplar{Duration: d}, bounds)
	}
	if want := []uint64{2, 2, 2}; !slices.Equal(h.Buckets, want) {
		t.Errorf("buckets %d, want %d", h.Buckets, want)
	}
	var newest []time.Duration
	for _, e := range h.Exemplars {
		newest = append(newest, e.Duration)
	}
	if want := []time.Duration{time.Minute, 10 * time.Minute, time.Hour}; !slices.Equal(newest, want) {
		t.Errorf("exemplars %v, want %v", newest, want)
	}
}
