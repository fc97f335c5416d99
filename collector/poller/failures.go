package poller

import (
	"context"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// This file keeps the errors of policies whose newest session failed: those are shown next
// to the failure. They are not stored: after a restart they are requested again.

// Failure is the failed session of type Policy that is the newest of its extended type.
type Failure struct {
	End time.Time
	// Errors are the first errors of its log, or warnings if it has no errors; none if
	// the log could not be read.
	Errors []string
}

// maxFailures bounds Status.Failures.
const maxFailures = 500

// sessionEnd is the end of a session of a series.
type sessionEnd struct {
	key ledger.Key
	end time.Time
}

// completeFailures publishes the errors of the failures that there are now: those that
// the poll has requested, those that were published before, and those whose logs it can
// still request. It does nothing with a view that was complete: known.failures.
func (p *Poller) completeFailures(ctx context.Context, poll *poll) {
	last := p.Published()
	view := last.View
	if view == nil || view == p.known.failures {
		return
	}
	p.known.failures = view
	failing := make(map[ledger.Key]Failure)
	for i := range view.Series {
		s := view.Series[i].Series
		c := lastFailure(s)
		if c == nil || len(failing) >= maxFailures {
			continue
		}
		known, is := last.Failures[s.Key]
		if is {
			failing[s.Key] = known
		}
		errors, requested := poll.errors[sessionEnd{s.Key, c.End}]
		switch {
		case is && !known.End.Before(c.End):
			continue
		case requested:
		case c.Exemplar == nil || !c.Exemplar.End.Equal(c.End):
			continue // which session it is isn't known
		case poll.logs >= logsPerPoll || ctx.Err() != nil:
			p.known.failures = nil // with the next poll
			continue
		default:
			poll.logs++
			errors = p.errorsOf(ctx, c.Exemplar.SessionID)
		}
		failing[s.Key] = Failure{c.End, errors}
	}
	if len(failing) > 0 || len(last.Failures) > 0 {
		p.publish(func(next *Published) { next.Failures = failing })
	}
}

// lastFailure returns the counter of failed sessions of a series of type Policy if the
// newest session, unknown and canceled ones aside, is one of them; otherwise nil.
func lastFailure(s *ledger.Series) *ledger.Counter {
	if s.Key.Type != vbaws.TypePolicy {
		return nil
	}
	success := s.History.LastSuccess()
	for _, c := range s.Counters {
		if c.Status == vbaws.StatusFailed && c.End.After(success) {
			return c
		}
	}
	return nil
}
