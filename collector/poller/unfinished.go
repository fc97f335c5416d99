package poller

import (
	"context"
	"errors"
	"slices"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// This file looks up unfinished sessions by their ids, those that no list showed.

const (
	// maxSessionLookUps is how many unfinished sessions are asked for after one poll.
	maxSessionLookUps = 50
	// firstSessionLookUp is how long after a request for a session that has not changed
	// the next one comes; the time doubles up to settle.
	firstSessionLookUp = time.Minute
	// unanswered is for how long a session can't be asked for, and no list shows it,
	// before it counts as one that the appliance does not have.
	unanswered = 24 * time.Hour

	getSession = "GET " + vbaws.RouteSession
)

// unfinished is what is known of the look-ups of unfinished sessions.
type unfinished struct {
	// looks has those that the last resync did not see, and due the ids of those that
	// are to be looked up, in that order.
	looks map[ledger.ID]sessionLookUp
	due   []string
}

// sessionLookUp is what is known of the requests for one session.
type sessionLookUp struct {
	asked time.Time     // when it was asked for last
	wait  time.Duration // from then to the next request
	since time.Time     // since when it could not be answered; zero: it could
}

// planSessionLookUps decides which unfinished sessions are asked for by their ids: those
// that no list of the resync showed, the one that was not asked for the longest time
// first.
func (p *poll) planSessionLookUps() {
	looks := make(map[ledger.ID]sessionLookUp)
	known := &p.known.unfinished
	known.due = nil
	for _, u := range p.tx.Unfinished() {
		id := ledger.ParseID(u.Session.ID)
		if p.seenUnfinished[id] {
			continue
		}
		l := known.looks[id]
		looks[id] = l
		if p.waited(l.asked, l.wait) {
			known.due = append(known.due, u.Session.ID)
		}
	}
	known.looks = looks
	slices.SortStableFunc(known.due, func(a, b string) int {
		return looks[ledger.ParseID(a)].asked.Compare(looks[ledger.ParseID(b)].asked)
	})
}

// lookUpUnfinished asks for the sessions that are due, at most maxSessionLookUps of them;
// the others are left to the next poll. It comes after the poll was published, and no
// answer fails anything: a session that can't be asked for is asked for again later,
// and the others are counted meanwhile.
func (p *poll) lookUpUnfinished(ctx context.Context) {
	p.observeClock(p.applianceTime()) // no answer came that has a Date
	known := &p.known.unfinished
	asked := 0
	var forbidden, failed error
	// After an error that is not of one session, the others would fail, too.
	for len(known.due) > 0 && asked < maxSessionLookUps && ctx.Err() == nil && (failed == nil || ofOneSession(failed)) {
		sessionID := known.due[0]
		known.due = known.due[1:]
		id := ledger.ParseID(sessionID)
		if !p.tx.IsUnfinished(id) {
			delete(known.looks, id)
			continue // it has ended since
		}
		asked++
		row, err := p.session(ctx, sessionID)
		switch {
		case err == nil && ledger.ParseID(row.ID) != id:
			err = notUnderstood(getSession, errors.New("the answer is another session"))
		case err == nil && row.Err != nil:
			_ = p.ingest(&row, ledger.Incremental) // skips it; if that fails, the next list does
			err = notUnderstood(getSession, row.Err)
		}
		l := known.looks[id]
		l.asked, l.wait = p.start, min(settle, max(firstSessionLookUp, 2*l.wait))
		switch {
		case err == nil:
			l.since = time.Time{}
			if err := p.ingest(&row, ledger.Incremental); err != nil {
				p.note("session not updated", "session_id", sessionID, "err", err)
			}
		case vbaws.NotFound(err):
			l.wait = 0 // the next answer decides
			p.notFound(sessionID)
		case vbaws.HasStatus(err, 403):
			forbidden = err
		default:
			failed = err
			if l.since.IsZero() || l.since.After(p.start) {
				l.since = p.start
			}
			if p.start.Sub(l.since) >= unanswered {
				p.notFound(sessionID)
			}
		}
		known.looks[id] = l
	}
	if err := p.resolve(ctx); err != nil && failed == nil { // whose policy was not found when they began
		failed = err
	}
	switch {
	case failed != nil:
		p.endpointFailed(vbaws.RouteSession, failed)
	case anyUnanswered(known.looks): // the last error stays
	case asked > 0:
		p.endpointAnswered(vbaws.RouteSession, forbidden)
	case len(known.looks) == 0:
		delete(p.known.endpoints.errs, vbaws.RouteSession)
	}
}

// notFound takes in that the appliance does not have a session. If that fails, the
// next look-up does it.
func (p *poll) notFound(sessionID string) {
	if err := p.tx.MarkMissing(ledger.ParseID(sessionID)); err != nil {
		p.note("session not updated", "session_id", sessionID, "err", err)
	}
}

func anyUnanswered(looks map[ledger.ID]sessionLookUp) bool {
	for _, l := range looks {
		if !l.since.IsZero() {
			return true
		}
	}
	return false
}

// ofOneSession reports whether the error of a request for a session can concern that session
// alone: the appliance answered, and is not too busy to.
func ofOneSession(err error) bool {
	switch vbaws.KindOf(err) {
	case vbaws.KindHTTP, vbaws.KindDecode:
		return !slices.ContainsFunc([]int{429, 502, 503, 504}, func(code int) bool { return vbaws.HasStatus(err, code) })
	}
	return false
}
