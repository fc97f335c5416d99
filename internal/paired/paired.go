//go:build unix

// Package paired compares the CPU time of two ways to do the same work in one run of a
// benchmark. They take turns, so that a machine that gets slower, or has other work,
// changes both.
package paired

import (
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"
)

// CPU returns the CPU time that this process has used so far, user and system.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // the arguments are constant and right
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Spent returns the CPU time that f takes, its garbage collection included.
func Spent(f func()) time.Duration {
	runtime.GC()
	before := CPU()
	f()
	return CPU() - before
}

// Compare calls own and base alternately, once in each iteration of b. They return the CPU
// time that they took. It reports the median of both as own-cpu-ns and base-cpu-ns, and
// the median of the quotients of neighbors as ratio.
func Compare(b *testing.B, own, base func() time.Duration) {
	b.Helper()
	var owns, bases, ratios []float64
	for n := 0; b.Loop(); n++ {
		var o, t time.Duration
		if n%2 == 0 { // neither is always the first
			o, t = own(), base()
		} else {
			t, o = base(), own()
		}
		owns, bases, ratios = append(owns, float64(o)), append(bases, float64(t)), append(ratios, float64(o)/float64(t))
	}
	b.ReportMetric(Median(owns), "own-cpu-ns")
	b.ReportMetric(Median(bases), "base-cpu-ns")
	b.ReportMetric(Median(ratios), "ratio")
}

// Median returns the median of values, of which there must be one at least. It sorts
// them.
func Median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
