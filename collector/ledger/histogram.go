// Durations in classic and native buckets.

package ledger

import (
	"math"
	"slices"
	"sort"
	"time"
)

// nativeFractions are the upper bounds of the buckets of NativeSchema within
// [0.5, 1): 2^(-1+i/8), as client_golang rounds them.
var nativeFractions = []float64{
	0.5, 0.5452538663326288, 0.5946035575013605, 0.6484197773255048,
	0.7071067811865475, 0.7711054127039704, 0.8408964152537144, 0.9170040432046711,
}

// nativeIndex returns the index of the native bucket of v > 0.
func nativeIndex(v float64) int32 {
	frac, exp := math.Frexp(v)
	return int32(sort.SearchFloat64s(nativeFractions, frac) + (exp-1)*len(nativeFractions))
}

func newHistogram(born time.Time, base uint64, bounds []float64) *Histogram {
	return &Histogram{
		Born:      born,
		Base:      base,
		Buckets:   make([]uint64, len(bounds)+1),
		Exemplars: make([]*Exemplar, len(bounds)+1),
	}
}

// observe takes in one duration, and an exemplar of it, or nil; bounds are those that h
// was made with.
func (h *Histogram) observe(d time.Duration, e *Exemplar, bounds []float64) {
	h.Sum += d.Microseconds()
	v := d.Seconds()
	i := sort.SearchFloat64s(bounds, v)
	h.Buckets[i]++
	if e != nil {
		h.Exemplars[i] = e
	}
	if v <= NativeZeroThreshold {
		h.Zero++
		return
	}
	index := nativeIndex(v)
	at, found := slices.BinarySearchFunc(h.Native, index, func(b NativeBucket, index int32) int {
		return int(b.Index) - int(index)
	})
	if !found {
		h.Native = slices.Insert(h.Native, at, NativeBucket{Index: index})
	}
	h.Native[at].Count++
}

func (h *Histogram) clone() *Histogram {
	if h == nil {
		return nil
	}
	c := *h
	c.Buckets = slices.Clone(h.Buckets)
	c.Exemplars = slices.Clone(h.Exemplars)
	c.Native = slices.Clone(h.Native)
	return &c
}

// rebucket starts every histogram over, with the configured bounds.
func (tx *Tx) rebucket() {
	tx.editMeta().Bounds = slices.Clone(tx.l.opts.Bounds)
	for k, s := range tx.l.state.Series {
		for i, c := range s.Counters {
			if c.Histogram != nil {
				tx.touch(k).Counters[i].Histogram = newHistogram(tx.now, c.Count, tx.meta.Bounds)
			}
		}
	}
}
