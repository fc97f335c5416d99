//go:build unix

package paired

import (
	"flag"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := Median(test.values); got != test.want {
			t.Errorf("%v: got %v, want %v", test.values, got, test.want)
		}
	}
}

func TestSpent(t *testing.T) {
	work := func() {
		end := CPU() + 20*time.Millisecond
		for CPU() < end { //nolint:revive // it burns time
		}
	}
	if got := Spent(work); got < 20*time.Millisecond {
		t.Errorf("got %v, want 20ms at least", got)
	}
}

// TestCompare: one slow round changes no ratio but its own.
func TestCompare(t *testing.T) {
	round, calls := 0, 0
	side := func(d time.Duration) func() time.Duration {
		return func() time.Duration {
			if calls++; calls%2 == 1 {
				round++
			}
			if round == 2 {
				return 100 * d
			}
			return d
		}
	}
	// With two rounds, the slow one would be half of the median of the times.
	benchtime := flag.Lookup("test.benchtime").Value
	before := benchtime.String()
	if err := benchtime.Set("5x"); err != nil {
		t.Fatal(err)
	}
	defer benchtime.Set(before)
	result := testing.Benchmark(func(b *testing.B) { Compare(b, side(30*time.Millisecond), side(20*time.Millisecond)) })
	for unit, want := range map[string]float64{"ratio": 1.5, "own-cpu-ns": 30e6, "base-cpu-ns": 20e6} {
		if got := result.Extra[unit]; got != want {
			t.Errorf("%s: got %v, want %v", unit, got, want)
		}
	}
}
