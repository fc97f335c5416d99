package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"vbaws_exporter/bench/child"
	"vbaws_exporter/bench/world"
	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
)

// crowdPart is the name of the part of this program that crowd is.
const crowdPart = "crowd"

// crowd is an exporter of many appliances, in a process of its own and with a
// clock that is told to it. Calls come one at a time.
type crowd struct {
	nanos   atomic.Int64
	store   *store.Store
	pollers []*poller.Poller
	reg     *prometheus.Registry
}

// CrowdSpec says what a crowd polls.
type CrowdSpec struct {
	URLs []string
	// Dir is the folder of the state.
	Dir string
	Now time.Time
}

func (c *crowd) now() time.Time { return time.Unix(0, c.nanos.Load()).UTC() }

// Begin opens the state. No appliance is contacted.
func (c *crowd) Begin(spec CrowdSpec, _ *struct{}) (err error) {
	c.nanos.Store(spec.Now.UnixNano())
	if c.store, err = store.Open(spec.Dir, store.Options{Now: c.now}); err != nil {
		return err
	}
	for i, u := range spec.URLs {
		name := fmt.Sprintf("appliance-%03d", i)
		book, err := c.store.Book(name)
		if err != nil {
			return err
		}
		p, err := newPoller(name, u, c.now, &http.Transport{}, book, time.Hour)
		if err != nil {
			return err
		}
		c.pollers = append(c.pollers, p)
	}
	c.reg = prometheus.NewRegistry()
	c.reg.MustRegister(collector.New(func() []collector.Source {
		sources := make([]collector.Source, len(c.pollers))
		for i, p := range c.pollers {
			sources[i] = p
		}
		return sources
	}))
	return nil
}

// Round is a pass over every appliance.
type Round struct {
	Now time.Time
	// AtOnce is how many passes go on at the same time.
	AtOnce int
}

// Poll makes a round, and returns what CPU time the process took for it.
func (c *crowd) Poll(r Round, spent *time.Duration) error {
	c.nanos.Store(r.Now.UnixNano())
	before := cpuTime()
	defer func() { *spent = cpuTime() - before }()
	var (
		wg   sync.WaitGroup
		next atomic.Int64
		errs = make([]error, len(c.pollers))
	)
	for range min(r.AtOnce, len(c.pollers)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(c.pollers); i = int(next.Add(1)) - 1 {
				errs[i] = c.pollers[i].Poll(context.Background())
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Scrape shows all series once, and returns how many samples they have.
func (c *crowd) Scrape(_ struct{}, samples *int) error {
	families, err := c.reg.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		var text bytes.Buffer
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			return err
		}
		*samples += bytes.Count(text.Bytes(), []byte("\n")) - 2 // HELP and TYPE
	}
	return nil
}

// Heap returns a profile of the heap.
func (c *crowd) Heap(_ struct{}, profile *[]byte) error {
	var b bytes.Buffer
	runtime.GC()
	if err := pprof.Lookup("heap").WriteTo(&b, 0); err != nil {
		return err
	}
	*profile = b.Bytes()
	return nil
}

// End closes the state.
func (c *crowd) End(_ struct{}, _ *struct{}) error { return c.store.Close() }

// startCrowd starts an exporter of appliances.
func (b *bench) startCrowd(name string, urls []string) (*child.Process, error) {
	p, err := child.Start(crowdPart)
	if err != nil {
		return nil, err
	}
	if err := p.Call("Begin", CrowdSpec{urls, filepath.Join(b.work, name), epoch}, &struct{}{}); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func endCrowd(p *child.Process) error {
	return errors.Join(p.Call("End", struct{}{}, &struct{}{}), p.Close())
}

// crowded is row 8: many appliances in one exporter, compared with as many
// exporters of one. Ten of the appliances have such an exporter beside the one of
// all, and so both sides do the same work in the same minutes.
func crowded(ctx context.Context, b *bench) (_ []result, err error) {
	const policies, solos = 50, 10
	n, minutes, perBlock := b.scale(500, 60), b.scale(60, 20), b.scale(6, 2)
	w, err := world.Start(world.Spec{Appliances: n, Policies: policies, Now: epoch, Hourly: 1, Past: 2 * time.Hour})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	all, err := b.startCrowd("row8-all", w.URLs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, endCrowd(all)) }()
	var alone []*child.Process
	for i := range solos {
		p, err := b.startCrowd(fmt.Sprintf("row8-%d", i), w.URLs[i:i+1])
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, endCrowd(p)) }()
		alone = append(alone, p)
	}
	// poll makes a round and returns the microseconds that an appliance took.
	poll := func(now time.Time, atOnce int) (crowd, solo float64, err error) {
		var spent time.Duration
		if err := all.Call("Poll", Round{now, atOnce}, &spent); err != nil {
			return 0, 0, err
		}
		crowd = micros(spent) / float64(n)
		for _, p := range alone {
			if err := p.Call("Poll", Round{now, 1}, &spent); err != nil {
				return 0, 0, err
			}
			solo += micros(spent) / solos
		}
		return crowd, solo, nil
	}
	b.say("%d appliances are met, all at once", n)
	if _, _, err := poll(epoch, n); err != nil {
		return nil, err
	}
	met, err := memory(all.Pid(), "VmHWM")
	if err != nil {
		return nil, err
	}
	var r ratio
	for minute := 1; minute <= minutes; minute++ {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		now := epoch.Add(time.Duration(minute) * time.Minute)
		if err := w.Advance(now); err != nil {
			return nil, err
		}
		crowd, solo, err := poll(now, runtime.NumCPU())
		if err != nil {
			return nil, err
		}
		if (minute-1)%perBlock == 0 {
			r.over, r.under = append(r.over, 0), append(r.under, 0)
		}
		r.over[len(r.over)-1] += crowd / float64(perBlock)
		r.under[len(r.under)-1] += solo / float64(perBlock)
	}
	rss, err := memory(all.Pid(), "VmHWM")
	if err != nil {
		return nil, err
	}
	anonymous, err := memory(all.Pid(), "RssAnon")
	if err != nil {
		return nil, err
	}
	file, err := memory(all.Pid(), "RssFile")
	if err != nil {
		return nil, err
	}
	if b.profiles.mem != "" {
		if err := b.saveHeap(all, "row8.mem.pprof"); err != nil {
			return nil, err
		}
	}
	var samples int
	if err := all.Call("Scrape", struct{}{}, &samples); err != nil {
		return nil, err
	}
	scraped, err := memory(all.Pid(), "VmHWM")
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("%d appliances of %d policies, a pass a minute: ", n, policies)
	return []result{
		{
			Row: "8", What: what + fmt.Sprintf("CPU ÷ %d × one appliance", n), Value: r.value(), Noise: r.noise(), Limit: 1.1,
			Detail: fmt.Sprintf("%.0f µs ÷ %.0f µs an appliance and minute", median(r.over), median(r.under)),
		},
		{
			Row: "8", What: what + "peak of resident memory", Value: mebibytes(rss), Limit: 512, Unit: "MiB",
			Detail: fmt.Sprintf("%.0f when all were met at once; at the end %.0f of its own and %.0f of files", mebibytes(met), mebibytes(anonymous), mebibytes(file)),
		},
		{
			Row: "8", What: what + "the same, and one scrape", Value: mebibytes(scraped), Unit: "MiB",
			Detail: fmt.Sprintf("of %d samples", samples),
		},
	}, nil
}

func (b *bench) saveHeap(p *child.Process, name string) (err error) {
	var profile []byte
	if err := p.Call("Heap", struct{}{}, &profile); err != nil {
		return err
	}
	f, err := create(b.profiles.mem, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.Write(profile)
	return err
}
