package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"vbaws_exporter/bench/world"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
)

// traffic counts what goes over the connections of a transport.
type traffic struct {
	*http.Transport
	requests, bytes, written atomic.Int64
}

func newTraffic() *traffic {
	t := &traffic{}
	t.Transport = &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return metered{c, t}, nil
	}}
	return t
}

func (t *traffic) RoundTrip(r *http.Request) (*http.Response, error) {
	t.requests.Add(1)
	return t.Transport.RoundTrip(r)
}

// metered counts the bytes of a connection, both ways.
type metered struct {
	net.Conn
	to *traffic
}

func (m metered) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.to.bytes.Add(int64(n))
	return n, err
}

func (m metered) Write(b []byte) (int, error) {
	n, err := m.Conn.Write(b)
	m.to.bytes.Add(int64(n))
	m.to.written.Add(int64(n))
	return n, err
}

// settled is an exporter of one appliance that has met it, with its state on the
// disk.
type settled struct {
	world   *world.World
	traffic *traffic
	store   *store.Store
	poller  *poller.Poller
}

// settle lets an exporter meet an appliance with n sessions. The clocks of both
// stand still from then on, so that nothing is due by time.
func (b *bench) settle(ctx context.Context, name string, n int) (s *settled, err error) {
	s = &settled{traffic: newTraffic()}
	defer func() {
		if err != nil {
			s, err = nil, errors.Join(err, s.close())
		}
	}()
	if s.world, err = world.Start(world.Spec{Policies: 1000, Now: epoch}); err != nil {
		return s, err
	}
	b.say("an exporter meets an appliance with %d sessions", n)
	if err := s.world.History(n); err != nil {
		return s, err
	}
	now := func() time.Time { return epoch }
	if s.store, err = store.Open(filepath.Join(b.work, name), store.Options{Now: now}); err != nil {
		return s, err
	}
	book, err := s.store.Book("bench")
	if err != nil {
		return s, err
	}
	if s.poller, err = newPoller("bench", s.world.URLs[0], now, s.traffic, book, world.HistorySpan); err != nil {
		return s, err
	}
	for range 3 { // first contact, and what it left to do
		if err := s.poller.Poll(ctx); err != nil {
			return s, err
		}
	}
	if got := counted(s.poller); got != n {
		return s, fmt.Errorf("%d sessions were counted of %d", got, n)
	}
	// So that sessions run which the next ones to change can end.
	return s, s.churn(ctx, 1, func(poll func() error) error { return poll() })
}

func (s *settled) close() error {
	var errs []error
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.world != nil {
		errs = append(errs, s.world.Close())
	}
	return errors.Join(errs...)
}

// few is the history that a long one is compared with.
const few = 10_000

// settlePair returns two exporters, of an appliance with a long history and of
// one with a short: the same ones each time.
func (b *bench) settlePair(ctx context.Context) (long, short *settled, err error) {
	if b.short == nil {
		if b.short, err = b.settle(ctx, "short", few); err != nil {
			return nil, nil, err
		}
	}
	if b.long == nil {
		if b.long, err = b.settle(ctx, "long", b.scale(1_000_000, 50_000)); err != nil {
			return nil, nil, err
		}
	}
	return b.long, b.short, nil
}

// closePair ends what settlePair has begun.
func (b *bench) closePair() error {
	var errs []error
	for _, s := range []**settled{&b.long, &b.short} {
		if *s != nil {
			errs = append(errs, (*s).close())
			*s = nil
		}
	}
	return errors.Join(errs...)
}

// idle is row 3: a pass that finds nothing new.
func idle(ctx context.Context, b *bench) ([]result, error) {
	long, short, err := b.settlePair(ctx)
	if err != nil {
		return nil, err
	}
	passes, repeats := 100, b.scale(41, 21)
	var requests, bytes float64 // at most, of one side
	side := func(name string, s *settled) func() (float64, error) {
		return func() (float64, error) {
			asked, moved := s.traffic.requests.Load(), s.traffic.bytes.Load()
			var spent time.Duration
			err := b.profiles.of(name, func() (err error) {
				spent, err = cpuOf(func() error {
					for range passes {
						if err := s.poller.Poll(ctx); err != nil {
							return err
						}
					}
					return nil
				})
				return err
			})
			n := float64(passes)
			requests = max(requests, float64(s.traffic.requests.Load()-asked)/n)
			bytes = max(bytes, float64(s.traffic.bytes.Load()-moved)/n)
			return micros(spent) / n, err
		}
	}
	r, err := compare(repeats, side("row3-long", long), side("row3-short", short))
	if err != nil {
		return nil, err
	}
	return []result{
		{Row: "3", What: "a pass without news: requests", Value: requests, Limit: 1, Unit: "requests"},
		{Row: "3", What: "a pass without news: bytes, headers and both ways", Value: bytes, Limit: 2048, Unit: "bytes"},
		{
			Row: "3", What: fmt.Sprintf("a pass without news: CPU, %d sessions of history ÷ %d", b.scale(1_000_000, 50_000), few),
			Value: r.value(), Noise: r.noise(), Limit: 1.05,
			Detail: fmt.Sprintf("%.0f µs ÷ %.0f µs a pass", median(r.over), median(r.under)),
		},
	}, nil
}

// changed is how many sessions have changed when a pass has something to do.
const changed = 100

// churn makes some passes, before each of which sessions change. They are made by
// around.
func (s *settled) churn(ctx context.Context, passes int, around func(poll func() error) error) error {
	for range passes {
		before := counted(s.poller)
		ended, err := s.world.Change(changed)
		if err != nil {
			return err
		}
		if err := around(func() error { return s.poller.Poll(ctx) }); err != nil {
			return err
		}
		if got := counted(s.poller) - before; got != ended {
			return fmt.Errorf("%d sessions were counted of %d that ended", got, ended)
		}
	}
	return nil
}

// busy is row 4: a pass that finds 100 sessions changed.
func busy(ctx context.Context, b *bench) ([]result, error) {
	long, short, err := b.settlePair(ctx)
	if err != nil {
		return nil, err
	}
	const passes = 4
	side := func(name string, s *settled) func() (float64, error) {
		return func() (float64, error) {
			var spent time.Duration
			err := b.profiles.of(name, func() error {
				return s.churn(ctx, passes, func(poll func() error) error {
					before := cpuTime()
					err := poll()
					spent += cpuTime() - before
					return err
				})
			})
			return micros(spent) / passes, err
		}
	}
	r, err := compare(b.scale(31, 21), side("row4-long", long), side("row4-short", short))
	if err != nil {
		return nil, err
	}
	return []result{{
		Row: "4", What: fmt.Sprintf("a pass with %d sessions changed: CPU, %d sessions of history ÷ %d", changed, b.scale(1_000_000, 50_000), few),
		Value: r.value(), Noise: r.noise(), Limit: 1.1, Known: 1.3,
		Detail: fmt.Sprintf("%.2f ms ÷ %.2f ms a pass", median(r.over)/1000, median(r.under)/1000),
	}}, nil
}

// written is row 7 as a whole: what a pass writes to the disk.
func written(ctx context.Context, b *bench) (_ []result, err error) {
	const n, passes = 100_000, 20
	s, err := b.settle(ctx, "row7", n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var bytes int64
	err = s.churn(ctx, passes, func(poll func() error) error {
		before, err := writes()
		if err != nil {
			return err
		}
		sent := s.traffic.written.Load()
		if err := poll(); err != nil {
			return err
		}
		after, err := writes()
		bytes += after - before - (s.traffic.written.Load() - sent)
		return err
	})
	if err != nil {
		return nil, err
	}
	return []result{{
		Row: "7", What: fmt.Sprintf("a whole pass with %d sessions changed of %d: pages of 4 KiB written a session", changed, n),
		Value: float64(bytes) / 4096 / (passes * changed), Limit: 3, Unit: "pages",
		Detail: fmt.Sprintf("%.0f KiB a pass: records, series and what holds them", float64(bytes)/passes/1024),
	}}, nil
}
