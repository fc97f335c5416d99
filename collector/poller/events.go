package poller

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-kit/log/level"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// This file logs the events of a poll, and publishes the sessions that finished.

const (
	// logsPerPoll bounds how many logs of sessions a poll requests, logMessages
	// how many messages of each are shown, and logTimeout how long all of it may
	// take: the next poll waits for it.
	logsPerPoll = 10
	logMessages = 3
	logTimeout  = 30 * time.Second
	// messageLength bounds a message, in bytes.
	messageLength = 500
	// nameLength is how many bytes of a name a log line has.
	nameLength = 100
	// recentOthers and recentFailures bound Status.Recent, and gatherAtOnce what is
	// gathered for it.
	recentOthers, recentFailures = 25, 50
	gatherAtOnce                 = 500
)

// logEvents logs what happened in a poll, or in the last part of it, that has been
// published, and publishes the sessions that finished.
func (p *Poller) logEvents(ctx context.Context, poll *poll) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	var ended []Ended
	for _, e := range poll.tx.Events() {
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
			if failed(s) && poll.logs < logsPerPoll {
				poll.logs++
				end.Errors = p.errorsOf(ctx, s.ID)
			}
			if len(ended) == gatherAtOnce {
				ended = recent(ended, nil) // no more than that is ever shown
			}
			ended = append(ended, end)
			if !e.Backfilled {
				of = append(of, "duration", e.Duration)
				if end.Errors != nil {
					of = append(of, "error", strings.Join(end.Errors, " | "))
				}
				level.Info(p.log).Log(append([]any{"msg", "session finished"}, of...)...)
			}
		}
	}
	if len(ended) > 0 {
		p.publish(func(next *Published) { next.Recent = recent(ended, next.Recent) })
	}
}

// failed reports whether a session's log has something to say.
func failed(s *vbaws.Session) bool {
	return s.Status == vbaws.StatusFailed || s.Status == vbaws.StatusWarning
}

// errorsOf returns the first errors of a session's log, or warnings where it has
// no errors; nil where the log can't be had.
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

// cutTo returns the first bytes of s, cut between two runes.
func cutTo(s string, length int) string {
	if len(s) <= length {
		return s
	}
	for length > 0 && !utf8.RuneStart(s[length]) {
		length--
	}
	return s[:length] + "…"
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

// recent merges newly ended sessions into those of before.
func recent(ended, before []Ended) []Ended {
	all := slices.Concat(ended, before)
	slices.SortStableFunc(all, func(a, b Ended) int { return b.Session.Stop.Compare(a.Session.Stop) })
	others, failures := 0, 0
	return slices.DeleteFunc(all, func(e Ended) bool {
		if failed(&e.Session) {
			failures++
			return failures > recentFailures
		}
		others++
		return others > recentOthers
	})
}

// logNotes logs what was noticed while reading, and what is beyond a limit.
func (p *Poller) logNotes(poll *poll) {
	for _, n := range poll.notes {
		level.Warn(p.log).Log(append([]any{"msg", n.msg}, n.fields...)...)
	}
	poll.notes = nil
	for _, e := range poll.tx.Exceeded() {
		level.Warn(p.log).Log("msg", beyond[e.Limit], "count", e.Count, "first", e.Example)
	}
}

// beyond is what a log line says of what is beyond each limit.
var beyond = map[string]string{
	ledger.LimitPolicies:      "too many policies: their sessions are counted as sessions of no policy",
	ledger.LimitTypes:         "too many session types: counted as other",
	ledger.LimitExtendedTypes: "too many extended session types: counted as other",
	ledger.LimitStatuses:      "too many session statuses: counted as other",
	ledger.LimitSeries:        "too many series: their sessions are counted as other",
	ledger.LimitUnfinished:    "too many unfinished sessions: counted when they finish",
}
