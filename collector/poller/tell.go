package poller

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"vbaws_exporter/vbaws"
)

const (
	// logsPerPass bounds how many logs of sessions a pass asks for, logMessages
	// how many messages of each are told, and logTimeout how long all of it may
	// take: the next pass waits for it.
	logsPerPass = 10
	logMessages = 3
	logTimeout  = 30 * time.Second
	// messageLength bounds a message, in bytes.
	messageLength = 500
	// recentOthers and recentFailures bound Status.Recent, and tellAtOnce what is
	// gathered for it.
	recentOthers, recentFailures = 25, 50
	tellAtOnce                   = 500
)

// tell logs what happened in a pass, or in the last part of it, that has been
// published, and publishes the sessions that it ended.
func (p *Poller) tell(ctx context.Context, w *pass) {
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	var ended []Ended
	for _, e := range w.books.Events() {
		s := &e.Session
		l := log.With(p.log, "policy", e.Policy, "type", s.Type, "extended_type", s.ExtendedType, "status", s.Status, "session_id", s.ID)
		switch {
		case e.Err != nil:
			level.Warn(p.log).Log("msg", "session not counted: it can't be understood", "session_id", s.ID, "err", e.Err)
		case e.Skipped != "":
			level.Warn(l).Log("msg", "session not counted", "reason", e.Skipped, "start", s.Start.Format(time.RFC3339))
		default:
			end := Ended{Session: *s, Policy: e.Policy, Duration: e.Duration}
			if failed(s) && w.logs < logsPerPass {
				w.logs++
				end.Errors = p.errorsOf(ctx, s.ID)
			}
			if len(ended) == tellAtOnce {
				ended = recent(ended, nil) // no more than that is ever shown
			}
			ended = append(ended, end)
			if !e.Old {
				fields := []any{"msg", "session finished", "duration", e.Duration}
				if end.Errors != nil {
					fields = append(fields, "error", strings.Join(end.Errors, " | "))
				}
				level.Info(l).Log(fields...)
			}
		}
	}
	if len(ended) > 0 {
		next := *p.published.Load()
		next.Recent = recent(ended, next.Recent)
		p.published.Store(&next)
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
		level.Debug(p.log).Log("msg", "no log of a session", "session_id", id, "err", err)
		return nil
	}
	for _, status := range []string{"Error", "Warning"} {
		var messages []string
		for _, item := range items {
			if item.Status == status && item.Message != "" && len(messages) < logMessages {
				messages = append(messages, shorten(item.Message))
			}
		}
		if len(messages) > 0 {
			return messages
		}
	}
	return nil
}

func shorten(s string) string {
	if len(s) <= messageLength {
		return s
	}
	cut := messageLength
	for cut > 0 && s[cut]&0xC0 == 0x80 { // within a rune
		cut--
	}
	return s[:cut] + "…"
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

// sayNotes logs what was noticed while reading and, once a name, which policies
// get no series.
func (p *pass) sayNotes() {
	for _, n := range p.notes {
		level.Warn(p.log).Log(append([]any{"msg", n.msg}, n.fields...)...)
	}
	p.notes = nil
	for _, name := range p.books.TurnedAway() {
		if !p.turnedAway[name] && len(p.turnedAway) < maxNames {
			p.turnedAway[name] = true
			level.Warn(p.log).Log("msg", "too many policies: the sessions of this one are counted as those of no policy",
				"policy", name, "max_policies", p.cfg.Ledger.MaxPolicies)
		}
	}
}
