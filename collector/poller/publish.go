package poller

import (
	"cmp"
	"time"

	"github.com/go-kit/log/level"

	"vbaws_exporter/vbaws"
)

// This file decides what is visible of an appliance: only what was saved.

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
	if p.failures++; err == nil {
		p.failures = 0
	}
	end := p.cfg.Now()
	delay := p.delay(err)
	result := resultOf(err)
	p.publish(func(next *Published) {
		next.Polls++
		next.LastPoll, next.Err, next.Result = end, err, result
		next.APIVersion, next.Mode = cmp.Or(p.api.APIVersion(), next.APIVersion), p.known.mode.name()
		next.Up = result == ResultSuccess || result == ResultStorage
		if err == nil {
			next.LastSuccess = end
			next.ClockOffset, next.ClockKnown = p.known.clockOffset.Round(time.Second), true
			next.FailedSince = time.Time{}
		} else {
			next.FailedSince = cmp.Or(next.FailedSince, end)
		}
		next.CertificateExpiry = p.api.CertificateExpiry()
		next.Next = end.Add(delay)
		if !p.ledger.Synced() {
			return
		}
		next.View, next.Policies = p.ledger.View(), p.known.verdicts.set
	})

	switch {
	case err != nil && (old.Up || first || old.Result != result):
		level.Error(p.log).Log("msg", "poll failed", "result", result, "err", err, "retry_in", delay.Round(time.Second))
	case err != nil:
		level.Debug(p.log).Log("msg", "poll failed again", "result", result, "err", err)
	case first || old.Err != nil:
		level.Info(p.log).Log("msg", "polling appliance", "api_version", p.api.APIVersion(), "watermark_mode", p.known.mode.name())
	}
}

func resultOf(err error) Result {
	if err == nil {
		return ResultSuccess
	}
	return Result(vbaws.KindOf(err))
}
