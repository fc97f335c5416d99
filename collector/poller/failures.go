package poller

import (
	"context"
	"maps"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/verdict"
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

// failures are the failures that are known, by series. They belong to the goroutine that
// polls, which publishes copies.
type failures struct {
	known map[ledger.Key]Failure
	// changed says that known is not yet published.
	changed bool
	// view is the last one that was looked at; nil if it has failures that are yet to be
	// requested.
	view *ledger.View
}

// add takes in a session whose log was requested.
func (f *failures) add(e *Ended) {
	if e.Session.Type != vbaws.TypePolicy || e.Session.Status != vbaws.StatusFailed {
		return
	}
	end := e.Session.Stop
	if start := e.Session.Start; !start.IsZero() {
		end = start.Add(e.Duration) // a stop can be wrong
	}
	f.set(ledger.Key{Type: e.Session.Type, ExtendedType: e.Session.ExtendedType, Policy: e.Policy}, Failure{end, e.Errors})
}

func (f *failures) set(k ledger.Key, failure Failure) {
	old, known := f.known[k]
	if failure.End.Before(old.End) || !known && len(f.known) >= maxFailures {
		return
	}
	f.known[k], f.changed = failure, true
}

// completeFailures requests the logs of failures that are not known, as far as the poll
// can request logs, drops those that are over, and publishes the rest.
func (p *Poller) completeFailures(ctx context.Context, poll *poll) {
	f := &p.known.failures
	view := p.published.Load().View
	if view == nil || view == f.view && !f.changed {
		return
	}
	f.view = view
	failing := make(map[ledger.Key]bool)
	for i := range view.Series {
		s := view.Series[i].Series
		c := lastFailure(s)
		if c == nil {
			continue
		}
		failing[s.Key] = true
		known, is := f.known[s.Key]
		switch {
		case is && !known.End.Before(c.End) || c.Exemplar == nil || !c.Exemplar.End.Equal(c.End):
		case !is && len(f.known) >= maxFailures:
		case poll.logs >= logsPerPoll || ctx.Err() != nil:
			f.view = nil // with the next poll
		default:
			poll.logs++
			f.set(s.Key, Failure{c.End, p.errorsOf(ctx, c.Exemplar.SessionID)})
		}
	}
	for k := range f.known {
		if !failing[k] {
			delete(f.known, k)
			f.changed = true
		}
	}
	if f.changed {
		f.changed = false
		p.publish(func(next *Published) { next.Failures = maps.Clone(f.known) })
	}
}

// lastFailure returns the counter of failed sessions of a series of type Policy if the
// newest session, unknown and canceled ones aside, is one of them; otherwise nil.
func lastFailure(s *ledger.Series) *ledger.Counter {
	if s.Key.Type != vbaws.TypePolicy {
		return nil
	}
	var failed *ledger.Counter
	var success time.Time
	for _, c := range s.Counters {
		switch {
		case c.Status == vbaws.StatusFailed:
			failed = c
		case verdict.Succeeded(c.Status) && c.End.After(success):
			success = c.End
		}
	}
	if failed == nil || !failed.End.After(success) {
		return nil
	}
	return failed
}
