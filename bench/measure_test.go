package main

import (
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"
)

func TestIntervalHoldsTheMedian(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const trials = 4000
	for _, n := range []int{6, 9, 21, 41} {
		held := 0
		for range trials {
			v := make([]float64, n)
			for i := range v {
				v[i] = random.ExpFloat64() // skewed, as CPU times are
			}
			if least, most := interval(v); least <= math.Ln2 && math.Ln2 <= most {
				held++
			}
		}
		// The interval is made of whole samples, so it may hold it more often.
		if share := float64(held) / trials; share < 0.94 {
			t.Errorf("of %d samples: the median was held in %.3f of all trials, want 0.95", n, share)
		}
	}
	if least, most := interval([]float64{3, 1, 2}); least != 1 || most != 3 {
		t.Errorf("of 3 samples: %v to %v, want all of them", least, most)
	}
	if least, most := interval([]float64{6, 5, 4, 3, 2, 1, 7, 8, 9}); least != 2 || most != 8 {
		t.Errorf("of 9 samples: %v to %v, want all but the outermost", least, most)
	}
}

func TestCompareTakesTurns(t *testing.T) {
	var order string
	side := func(name string, v float64) func() (float64, error) {
		return func() (float64, error) { order += name; return v * float64(len(order)), nil }
	}
	r, err := compare(3, side("a", 1), side("b", 2))
	if err != nil {
		t.Fatal(err)
	}
	if order != "abbaab" {
		t.Errorf("measured in the order %s", order)
	}
	// 1/4, 4/6, 5/12
	if got := r.value(); math.Abs(got-5./12) > 1e-9 {
		t.Errorf("the value is %v", got)
	}
	if got, want := r.noise(), (4./6-1./4)/2; math.Abs(got-want) > 1e-9 {
		t.Errorf("the noise is %v, want %v", got, want)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		r    result
		want string
	}{
		{result{Value: 1, Limit: 1}, "ok"},
		{result{Value: 1.2, Noise: 0.3, Limit: 1}, "within noise"},
		{result{Value: 1.4, Noise: 0.3, Limit: 1}, "MISSED"},
		{result{Value: math.NaN(), Limit: 1}, "MISSED"},
		{result{Value: math.NaN(), Limit: 1, Known: 2}, "MISSED"},
		{result{Value: 1.4, Noise: 0.3, Limit: 1, Known: 2}, "missed, known"},
		{result{Value: 2.4, Noise: 0.3, Limit: 1, Known: 2}, "MISSED"},
		{result{Value: 7}, ""},
	} {
		if got := c.r.verdict(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.r, got, c.want)
		}
	}
	if err := missed([]result{{Value: 2, Limit: 1}}); err == nil {
		t.Error("a missed limit is no error")
	}
	if err := missed([]result{{Value: 2, Limit: 2}, {Value: 2}}); err != nil {
		t.Error(err)
	}
}

func TestQuantile(t *testing.T) {
	var v []time.Duration
	for i := range 200 {
		v = append(v, time.Duration(200-i))
	}
	if got := quantile(v, 0.99); got != 198 {
		t.Errorf("of 1 to 200 the 99th percentile is %d, want 198", got)
	}
	if got := quantile(v[:1], 0.99); got != 200 {
		t.Errorf("of one value it is %d", got)
	}
}

func TestMeters(t *testing.T) {
	before := cpuTime()
	for cpuTime() == before { // ends as soon as this loop is counted
		runtime.Gosched()
	}
	if n, err := memory(os.Getpid(), "VmHWM"); err != nil || n < 1<<20 {
		t.Errorf("this process takes %d bytes: %v", n, err)
	}
	if _, err := memory(os.Getpid(), "VmNone"); err == nil {
		t.Error("a field that isn't there was read")
	}
}
