package poller

import (
	"cmp"
	"time"

	"github.com/go-kit/log/level"
)

// What is here decides what is seen of an appliance. Only what was saved is.

// publish replaces what is published by an edited copy. Nothing else writes it once the
// poller is made.
func (p *Poller) publish(edit func(*Published)) {
	next := *p.published.Load()
	edit(&next)
	p.published.Store(&next)
}

// publishPoll publishes the state after a poll that ended with err.
func (p *Poller) publishPoll(err error) {
	old := p.published.Load()
	first := !p.polled
	p.polled = true
	if err == nil {
		p.failures = 0
	} else {
		p.failures++
	}
	end := p.now()
	delay := p.delay(err)
	result := resultOf(err)
	p.publish(func(next *Published) {
		next.Passes++
		next.LastPoll, next.Err, next.Result = end, err, result
		next.APIVersion, next.Mode = cmp.Or(p.api.APIVersion(), next.APIVersion), p.mode()
		next.Up = result == ResultSuccess || result == ResultStorage
		if err == nil {
			next.LastSuccess = end
		}
		next.Next = end.Add(delay)
		if p.ledger.Meta().FirstContact.IsZero() {
			return
		}
		next.View, next.Policies = p.ledger.View(), p.duties.set
		if next.Up {
			next.Policies = p.policySet(next.View)
		}
	})

	switch {
	case err != nil && (old.Up || first || old.Result != result):
		level.Error(p.log).Log("msg", "pass failed", "result", result, "err", err, "retry_in", delay.Round(time.Second))
	case err != nil:
		level.Debug(p.log).Log("msg", "pass failed again", "result", result, "err", err)
	case first || old.Err != nil:
		level.Info(p.log).Log("msg", "appliance is read", "api_version", p.api.APIVersion(), "by", p.mode())
	}
}
