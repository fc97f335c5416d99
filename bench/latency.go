package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"vbaws_exporter/bench/world"
	"vbaws_exporter/vbaws/vbawstest"
)

// latency is row 6: how long scrapes take while the exporter meets an appliance
// with a long history, compared with how long they take while it has nothing to
// do. The appliance lets requests through for some time, and holds them back for
// some time, by turns, so that both are measured in the same minute. What is
// scraped are the series of another one.
func latency(ctx context.Context, b *bench) (_ []result, err error) {
	n := b.scale(1_000_000, 200_000)
	now := time.Now().Truncate(time.Second)
	known, err := world.Start(world.Spec{Policies: 100, Now: now})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, known.Close()) }()
	if err := known.History(3000); err != nil {
		return nil, err
	}
	fresh, err := world.Start(world.Spec{Policies: 10, Now: now})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, fresh.Close()) }()
	b.say("the simulated appliance makes %d sessions", n)
	if err := fresh.History(n); err != nil {
		return nil, err
	}
	var quiet, loaded turns
	var size int64
	for i := 0; loaded.len() < b.scale(500, 150); i++ {
		if i == 20 {
			return nil, fmt.Errorf("the appliance was met %d times, and only %d scrapes were made meanwhile", i, loaded.len())
		}
		if err := fresh.Gate(false); err != nil {
			return nil, err
		}
		size, err = b.scrapeWhile(ctx, fmt.Sprintf("row6-%d", i), known, fresh, &quiet, &loaded)
		if err = errors.Join(err, fresh.Gate(true)); err != nil {
			return nil, err
		}
	}
	// How far it may be off, by drawing turns anew, as if other ones had come.
	random := rand.New(rand.NewPCG(6, 6))
	draw := func(from turns) turns {
		drawn := make(turns, len(from))
		for i := range drawn {
			drawn[i] = from[random.IntN(len(from))]
		}
		return drawn
	}
	drawn := make([]float64, 400)
	for i := range drawn {
		drawn[i] = float64(draw(loaded).slowest()) / float64(draw(quiet).slowest())
	}
	slices.Sort(drawn)
	return []result{{
		Row: "6", What: fmt.Sprintf("a scrape during first contact with %d sessions: 99th percentile of latency ÷ that without", n),
		Value: float64(loaded.slowest()) / float64(quiet.slowest()), Noise: (drawn[389] - drawn[10]) / 2, Limit: 2, Known: 8,
		Detail: fmt.Sprintf("%s ÷ %s (medians %s and %s) of %d and %d scrapes of %.0f KiB",
			millis(loaded.slowest()), millis(quiet.slowest()), millis(loaded.typical()), millis(quiet.typical()),
			loaded.len(), quiet.len(), float64(size)/1024),
	}}, nil
}

const (
	turn  = 500 * time.Millisecond
	pause = 10 * time.Millisecond // between scrapes: nobody scrapes without one
)

// turns are latencies of scrapes, those of a turn together.
type turns [][]time.Duration

func (t turns) len() int               { return len(slices.Concat(t...)) }
func (t turns) slowest() time.Duration { return quantile(slices.Concat(t...), 0.99) }
func (t turns) typical() time.Duration { return quantile(slices.Concat(t...), 0.5) }

func millis(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// scrapeWhile lets an exporter meet a fresh appliance, the gate of which is
// closed, and adds what scrapes took meanwhile, and what they took while the gate
// was closed. It returns the bytes of one.
func (b *bench) scrapeWhile(ctx context.Context, name string, known, fresh *world.World, quiet, loaded *turns) (size int64, err error) {
	const account = "username: " + vbawstest.DefaultUsername + ", password: " + vbawstest.DefaultPassword
	d, err := b.serve(ctx, name, fmt.Sprintf(`
poll_interval: 1h
backfill: 91d
appliances:
- {name: known, url: %q, %s}
- {name: fresh, url: %q, %s}
`, known.URLs[0], account, fresh.URLs[0], account))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, fresh.Gate(true), d.stop()) }()
	if err := d.listening(ctx); err != nil {
		return 0, err
	}
	for range 100 { // until the known one is known, and a few more
		if size, err = d.get(ctx, "/metrics", accept); err != nil {
			return 0, err
		}
		time.Sleep(pause)
	}
	var done atomic.Bool // the fresh one is known too
	waited := make(chan error, 1)
	go func() {
		err := d.ready(ctx, func() error { return nil })
		done.Store(true)
		waited <- err
	}()
	for !done.Load() {
		for _, open := range []bool{false, true} {
			if err := fresh.Gate(open); err != nil {
				return 0, err
			}
			var times []time.Duration
			for end := time.Now().Add(turn); time.Now().Before(end) && !done.Load(); time.Sleep(pause) {
				began := time.Now()
				if _, err := d.get(ctx, "/metrics", accept); err != nil {
					return 0, err
				}
				times = append(times, time.Since(began))
			}
			switch {
			case open && len(times) > 0:
				*loaded = append(*loaded, times)
			case !open && len(times) > 2:
				// What went on when the gate closed may have touched the first.
				*quiet = append(*quiet, times[2:])
			}
		}
	}
	return size, <-waited
}
