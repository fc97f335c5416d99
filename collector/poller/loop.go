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
	// maxRetryAfter bounds how long an appliance may ask to be left alone.
	maxRetryAfter = time.Hour
	// jitter is how far the time between two polls strays, to either side, so
	// that appliances don't fall into step.
	jitter = 0.1
)

// backoff is how often polls failed.
type backoff struct {
	// failures counts the failed polls in a row, and polled says that there was a poll.
	failures int
	polled   bool
}

// ended records a poll, and reports whether it was the first.
func (b *backoff) ended(err error) (first bool) {
	first, b.polled = !b.polled, true
	if b.failures++; err == nil {
		b.failures = 0
	}
	return first
}

// delay is how long to wait after a poll that ended with err.
func (p *Poller) delay(err error) time.Duration {
	d := p.cfg.Interval
	// A local file that is missing costs the appliance nothing.
	if err != nil && resultOf(err) != Result(vbaws.KindConfig) {
		limit := max(d, maxBackoff)
		if resultOf(err) == Result(vbaws.KindAuth) {
			limit = max(d, maxRefused)
		}
		for i := 1; i < p.backoff.failures && d < limit; i++ {
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
	wait := time.Duration(rand.Float64() * float64(min(p.cfg.Interval, time.Second)))
	for {
		if !sleep(ctx, wait) {
			return
		}
		before := p.secret() // it may change while it is refused
		err := p.Poll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && resultOf(err) == Result(vbaws.KindAuth) && p.cfg.Secret != nil {
			if !p.awaitSecret(ctx, before) {
				return
			}
			wait = 0
			continue
		}
		wait = p.Published().Next.Sub(p.cfg.Now())
	}
}

// secret is what Config.Secret returned.
type secret struct {
	value  string
	failed bool
}

func (p *Poller) secret() secret {
	if p.cfg.Secret == nil {
		return secret{}
	}
	value, err := p.cfg.Secret()
	return secret{value, err != nil}
}

// awaitSecret waits until the secret that was refused has changed, or until the
// next poll is due.
func (p *Poller) awaitSecret(ctx context.Context, refused secret) bool {
	for p.secret() == refused {
		left := p.Published().Next.Sub(p.cfg.Now())
		if left <= 0 {
			return true
		}
		if !sleep(ctx, min(left, p.cfg.Interval)) {
			return false
		}
	}
	return true
}

// sleep waits, and reports whether ctx still holds.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(max(0, d))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
