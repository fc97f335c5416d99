package poller

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// This file logs the events of a poll, and publishes the sessions that finished.

const (
	// logsPerPoll bounds how many logs of sessions a poll requests, logMessages
	// how many messages of each are shown, and logTimeout how long all of it takes
	// at most: the next poll waits for it.
	logsPerPoll = 10
	logMessages = 3
	logTimeout  = 30 * time.Second
	// messageLength bounds a message, in bytes.
	messageLength = 500
	// nameLength is how many bytes of a name a log line has.
	nameLength = 100
)

// The types of the parts of a session of type Policy, which repeat its outcome.
const (
	typeJob  = "Job"
	typeTask = "Task"
)

// logEvents logs what happened in a poll, or in the last part of it, that has been
// published, and publishes the sessions that finished.
func (p *Poller) logEvents(ctx context.Context, poll *poll) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	events := poll.tx.Events()
	withLog := logsOf(events, logsPerPoll-poll.logs)
	var ended []Ended
	for i, e := range events {
		s := &e.Session
		of := []any{
			"policy", logged(e.Policy, nameLength), "type", logged(s.Type, nameLength),
			"extended_type", logged(s.ExtendedType, nameLength), "status", logged(s.Status, nameLength),
			"session_id", logged(s.ID, nameLength),
		}
		switch {
		case e.Err != nil:
			level.Warn(p.log).Log("msg", "session not counted: not understood", "session_id", logged(s.ID, nameLength), "err", e.Err)
		case e.Skipped != "":
			level.Warn(p.log).Log(append([]any{"msg", "session not counted"}, append(of, "reason", e.Skipped, "start", s.Start.Format(time.RFC3339))...)...)
		default:
			end := Ended{Session: *s, Policy: e.Policy, Duration: e.Duration}
			if withLog[i] {
				poll.logs++
				end.Errors = p.errorsOf(ctx, s.ID)
				poll.errors[sessionEnd{ledger.Key{Type: s.Type, ExtendedType: s.ExtendedType, Policy: e.Policy}, s.Stop}] = end.Errors
			}
			ended = append(ended, end)
			if !e.Backfilled {
				of = append(of, "duration", e.Duration)
				if end.Errors != nil {
					of = append(of, "error", strings.Join(end.Errors, " | "))
				}
				finished(p.log, s).Log(append([]any{"msg", "session finished"}, of...)...)
			}
		}
	}
	if len(ended) > 0 {
		p.publish(func(next *Published) { next.Recent = recent(ended, next.Recent) })
	}
	p.completeFailures(ctx, poll)
}

// finished returns the logger for the line of a session that finished. Lines of the parts
// of a session of type Policy are for debugging, since they repeat its outcome.
func finished(l log.Logger, s *vbaws.Session) log.Logger {
	switch {
	case s.Type == typeJob || s.Type == typeTask:
		return level.Debug(l)
	case s.Status == vbaws.StatusFailed:
		return level.Warn(l)
	}
	return level.Info(l)
}

// logsOf returns the events, by index, of which the log of the session is worth a request:
// at most n, failed sessions of type Policy first, then the newest.
func logsOf(events []ledger.Event, n int) map[int]bool {
	var worth []int
	for i := range events {
		if e := &events[i]; e.Err == nil && e.Skipped == "" && failed(&e.Session) {
			worth = append(worth, i)
		}
	}
	slices.SortStableFunc(worth, func(a, b int) int {
		s, o := &events[a].Session, &events[b].Session
		return cmp.Or(cmp.Compare(logRank(s), logRank(o)), o.Stop.Compare(s.Stop))
	})
	chosen := make(map[int]bool)
	for _, i := range worth[:max(0, min(n, len(worth)))] {
		chosen[i] = true
	}
	return chosen
}

func logRank(s *vbaws.Session) int {
	switch {
	case s.Type != vbaws.TypePolicy:
		return 2
	case s.Status != vbaws.StatusFailed:
		return 1
	}
	return 0
}

// failed reports whether a session's log is worth a request.
func failed(s *vbaws.Session) bool {
	return s.Status == vbaws.StatusFailed || s.Status == vbaws.StatusWarning
}

// errorsOf returns the first errors of a session's log, or warnings if it has no errors;
// nil if the log can't be read.
func (p *Poller) errorsOf(ctx context.Context, id string) []string {
	items, err := p.api.SessionLog(ctx, id)
	if err != nil {
		level.Debug(p.log).Log("msg", "cannot read the log of a session", "session_id", id, "err", err)
		return nil
	}
	for _, status := range []string{"Error", "Warning"} {
		var messages []string
		for _, item := range items {
			if item.Status == status && item.Message != "" && len(messages) < logMessages {
				messages = append(messages, cutTo(item.Message, messageLength))
			}
		}
		if len(messages) > 0 {
			return messages
		}
	}
	return nil
}

// cutTo returns the first bytes of s, without a part of a rune.
func cutTo(s string, length int) string {
	if len(s) <= length {
		return s
	}
	return strings.ToValidUTF8(s[:length], "") + "…"
}

// logged makes what an appliance sent fit for a log line.
func logged(s string, length int) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, cutTo(s, length))
}

// recentLimits is how many sessions Status.Recent has: of type Policy or not, failed or not.
var recentLimits = map[struct{ policy, failed bool }]int{
	{true, true}: 50, {true, false}: 25, {false, true}: 25, {false, false}: 10,
}

// recent merges newly ended sessions into those of before: those of type Policy first,
// each the newest first.
func recent(ended, before []Ended) []Ended {
	all := slices.Concat(ended, before)
	slices.SortStableFunc(all, func(a, b Ended) int {
		if p := a.Session.Type == vbaws.TypePolicy; p != (b.Session.Type == vbaws.TypePolicy) {
			return map[bool]int{true: -1, false: 1}[p]
		}
		return b.Session.Stop.Compare(a.Session.Stop)
	})
	n := make(map[struct{ policy, failed bool }]int)
	return slices.DeleteFunc(all, func(e Ended) bool {
		of := struct{ policy, failed bool }{e.Session.Type == vbaws.TypePolicy, failed(&e.Session)}
		n[of]++
		return n[of] > recentLimits[of]
	})
}

// note logs something about the reading.
func (p *poll) note(msg string, fields ...any) {
	level.Warn(p.log).Log(append([]any{"msg", msg}, fields...)...)
}

// logExceeded logs what is beyond a limit.
func (p *Poller) logExceeded(poll *poll) {
	for _, limit := range ledger.Limits {
		if e := poll.tx.Exceeded()[limit]; e != nil {
			level.Warn(p.log).Log("msg", beyond[limit], "count", e.Count, "first", e.Example)
		}
	}
}

// beyond has the message of the log line about each limit.
var beyond = map[string]string{
	ledger.LimitPolicies:      "too many policies: their sessions are counted as sessions of no policy",
	ledger.LimitTypes:         "too many session types: counted as other",
	ledger.LimitExtendedTypes: "too many extended session types: counted as other",
	ledger.LimitStatuses:      "too many session statuses: counted as other",
	ledger.LimitSeries:        "too many series: their sessions are counted as other",
	ledger.LimitUnfinished:    "too many unfinished sessions: counted when they finish",
}
