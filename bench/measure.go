package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuTime is what this process has used of the CPUs so far, in user mode and in
// the kernel.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("getrusage: %v", err)) // which can't be: the arguments are constant
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf returns the CPU time that do takes, that of collecting its garbage
// included, and of nobody else's.
func cpuOf(do func() error) (time.Duration, error) {
	runtime.GC()
	before := cpuTime()
	err := do()
	return cpuTime() - before, err
}

// ratio is what was measured of two sides that did the same work by turns.
type ratio struct {
	over, under []float64
}

// compare measures two sides by turns, n times each. The sides' functions return
// what they measured of themselves.
func compare(n int, over, under func() (float64, error)) (ratio, error) {
	var r ratio
	for i := range n {
		sides := []struct {
			measure func() (float64, error)
			to      *[]float64
		}{{over, &r.over}, {under, &r.under}}
		if i%2 == 1 {
			slices.Reverse(sides) // neither is always the first
		}
		for _, s := range sides {
			v, err := s.measure()
			if err != nil {
				return r, err
			}
			*s.to = append(*s.to, v)
		}
	}
	return r, nil
}

// pairs are the ratios of what was measured one after the other: a machine that
// gets slower between two pairs changes none of them.
func (r ratio) pairs() []float64 {
	all := make([]float64, len(r.over))
	for i := range all {
		all[i] = r.over[i] / r.under[i]
	}
	return all
}

func (r ratio) value() float64 { return median(r.pairs()) }

// noise is how far the value may be from what many more repeats would give, to
// either side, by how far these were from each other.
func (r ratio) noise() float64 {
	least, most := interval(r.pairs())
	return (most - least) / 2
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return math.NaN()
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// interval returns what holds the median of that which v are samples of, with a
// probability of 95 % or, where they are too few for that, as much as they allow.
// It assumes nothing of how they are distributed: each sample is above the median
// as likely as below it.
func interval(v []float64) (least, most float64) {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	// tail is the probability that at most k samples are below the median.
	outside, tail, term := 0, 0.0, math.Pow(0.5, float64(n))
	for k := range n / 2 {
		if tail += term; 2*tail > 0.05 {
			break
		}
		outside = k
		term *= float64(n-k) / float64(k+1)
	}
	return v[outside], v[n-1-outside]
}

// quantile returns the least of v that is not below a share q of it.
func quantile(v []time.Duration, q float64) time.Duration {
	v = slices.Sorted(slices.Values(v))
	return v[max(0, int(math.Ceil(q*float64(len(v))))-1)]
}

// memory reads a field of a process's status, such as VmHWM, in bytes.
func memory(pid int, field string) (int64, error) {
	kib, err := procField(fmt.Sprintf("/proc/%d/status", pid), field)
	return kib << 10, err
}

// writes is how many bytes this process has written so far, to whatever.
func writes() (int64, error) { return procField("/proc/self/io", "wchar") }

// procField reads a number from a file of lines that begin with a name.
func procField(path, name string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %s: %w", path, name, err)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

// profiles says where profiles go; nowhere where both are empty.
type profiles struct {
	cpu, mem string // folders
}

// of profiles what do does, in files that are named after it. Profiles of what
// is repeated are those of the last time.
func (p profiles) of(name string, do func() error) (err error) {
	if p.cpu != "" {
		f, err := create(p.cpu, name+".cpu.pprof")
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return errors.Join(fmt.Errorf("profile the CPU: %w", err), f.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, f.Close())
		}()
	}
	if err := do(); err != nil || p.mem == "" {
		return err
	}
	f, err := create(p.mem, name+".mem.pprof")
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

func create(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make the folder of profiles: %w", err)
	}
	return os.Create(filepath.Join(dir, name))
}

// machine describes what it was measured on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	OS     string `json:"os"`
}

func thisMachine() machine {
	m := machine{Cores: runtime.NumCPU(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, kernel %s, %s", cmp.Or(m.CPU, "unknown CPU"), m.Cores, m.OS, cmp.Or(m.Kernel, "unknown"), m.Go)
}
