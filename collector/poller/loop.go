package poller

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"vbaws_exporter/vbaws"
)

// This file decides when to poll: the loop, its backoff, and a password that changes.

const (
	// Failed polls are tried again after an interval, two, four, …, at most
	// maxBackoff; refused logins at most maxRefused, since accounts lock.
	maxBackoff = 5 * time.Minute
	maxRefused = 10 * time.Minute
	// maxRetryAfter is the longest Retry-After of an appliance that is observed.
	maxRetryAfter = time.Hour
	// jitter is how far the time between two polls strays, to either side, so
	// that appliances don't fall into step.
	jitter = 0.1
)

// delay is how long to wait after a poll that ended with err.
func (p *Poller) delay(err error) time.Duration {
	d := p.cfg.Interval
	// A local file that is missing costs the appliance nothing.
	if err != nil && resultOf(err) != Result(vbaws.KindConfig) {
		limit := max(d, maxBackoff)
		if resultOf(err) == Result(vbaws.KindAuth) {
			limit = max(d, maxRefused)
		}
		for i := 1; i < p.failures && d < limit; i++ {
			d *= 2
		}
		d = min(d, limit)
	}
	d = time.Duration(float64(d) * (1 + jitter*(2*rand.Float64()-1)))
	if api, ok := errors.AsType[*vbaws.APIError](err); ok {
		// Never earlier than asked.
		d = max(d, min(api.RetryAfter, maxRetryAfter))
	}
	return d
}

// Run polls until ctx ends, and returns once the poll under way has ended.
func (p *Poller) Run(ctx context.Context) {
	// Not all at once: a process may have hundreds of appliances.
	sleep(ctx, time.Duration(rand.Float64()*float64(min(p.cfg.Interval, time.Second))))
	for ctx.Err() == nil {
		before := p.secret() // it may change while it is refused
		err := p.Poll(ctx)
		refused := err != nil && resultOf(err) == Result(vbaws.KindAuth)
		for ctx.Err() == nil && !(refused && p.secret() != before) {
			left := p.Published().Next.Sub(p.cfg.Now())
			if left <= 0 {
				break
			}
			sleep(ctx, min(left, p.cfg.Interval))
		}
	}
}

// secret returns the password; empty if it can't be read.
func (p *Poller) secret() string {
	if p.cfg.Secret == nil {
		return ""
	}
	value, _ := p.cfg.Secret()
	return value
}

// sleep waits, but no longer than ctx.
func sleep(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
