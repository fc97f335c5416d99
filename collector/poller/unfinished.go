package poller

import (
	"context"
	"errors"
	"slices"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

const (
	sessionEndpoint = "/api/v1/sessions/{id}"
	// maxSessionLookUps is how many unfinished sessions are asked for after one poll.
	maxSessionLookUps = 50
	// firstSessionLookUp is how long after a question for a session that has not changed
	// the next one comes; the time doubles up to settle.
	firstSessionLookUp = time.Minute
	// unanswered is for how long a session can't be asked for, and no list shows it,
	// before it counts as one that the appliance does not have.
	unanswered = 24 * time.Hour
)

// sessionLookUp is what is known of the questions for one session.
type sessionLookUp struct {
	asked time.Time     // when it was asked for last
	wait  time.Duration // from then to the next question
	since time.Time     // since when it could not be answered; zero: it could
}

// planLookUps decides which unfinished sessions are asked for by their ids: those
// that no list of the sweep showed, the one that was not asked for the longest time
// first.
func (p *pass) planLookUps() {
	looks := make(map[ledger.ID]sessionLookUp)
	p.toAsk = nil
	for _, u := range p.books.Unfinished() {
		id := ledger.ParseID(u.Session.ID)
		if p.met[id] {
			continue
		}
		l := p.looks[id]
		looks[id] = l
		if passed := p.start.Sub(l.asked); passed >= l.wait || passed < 0 {
			p.toAsk = append(p.toAsk, u.Session.ID)
		}
	}
	p.looks = looks
	slices.SortStableFunc(p.toAsk, func(a, b string) int {
		return looks[ledger.ParseID(a)].asked.Compare(looks[ledger.ParseID(b)].asked)
	})
}

// askUnfinished asks for the sessions that are due, at most maxSessionLookUps of them;
// the others are left to the next poll. It comes after the poll was published, and no
// answer fails anything: a session that can't be asked for is asked for again later,
// and the others are counted meanwhile.
func (p *pass) askUnfinished(ctx context.Context) {
	p.heard(p.applianceNow()) // this pass begins with no answer that has a Date
	asked := 0
	var forbidden, failed error
	for len(p.toAsk) > 0 && asked < maxSessionLookUps && ctx.Err() == nil {
		sessionID := p.toAsk[0]
		p.toAsk = p.toAsk[1:]
		id := ledger.ParseID(sessionID)
		if !p.books.IsUnfinished(id) {
			delete(p.looks, id)
			continue // it has ended since
		}
		asked++
		row, err := p.session(ctx, sessionID)
		switch {
		case err == nil && ledger.ParseID(row.ID) != id:
			err = badAnswer(errors.New("it is another session"))
		case err == nil && row.Err != nil:
			_ = p.take(&row, ledger.Incremental) // skips it; if that fails, the next list does
			err = badAnswer(row.Err)
		}
		l := p.looks[id]
		l.asked, l.wait = p.start, min(settle, max(firstSessionLookUp, 2*l.wait))
		switch {
		case err == nil:
			l.since = time.Time{}
			if err := p.take(&row, ledger.Incremental); err != nil {
				p.note("a session was not taken in", "session_id", sessionID, "err", err)
			}
		case vbaws.NotFound(err):
			l.wait = 0 // the next answer decides
			p.notFound(sessionID)
		case vbaws.HasStatus(err, 403):
			forbidden = err
		case !ofOneSession(err):
			p.looks[id] = l
			p.trouble(sessionEndpoint, err)
			return // so would be the others
		default:
			failed = err
			if l.since.IsZero() || l.since.After(p.start) {
				l.since = p.start
			}
			if p.start.Sub(l.since) >= unanswered {
				p.notFound(sessionID)
			}
		}
		p.looks[id] = l
	}
	switch {
	case failed != nil:
		p.trouble(sessionEndpoint, failed)
	case anyUnanswered(p.looks): // what was said of that stays
	case asked > 0:
		p.answered(sessionEndpoint, forbidden)
	case len(p.looks) == 0:
		delete(p.troubles, sessionEndpoint)
	}
}

// notFound takes in that the appliance does not have a session. If that fails, the
// next look-up does it.
func (p *pass) notFound(sessionID string) {
	if err := p.books.MarkMissing(ledger.ParseID(sessionID)); err != nil {
		p.note("a session was not taken in", "session_id", sessionID, "err", err)
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

// ofOneSession reports whether a failed question for one session says nothing of the
// others: the appliance answered, and is not too busy to.
func ofOneSession(err error) bool {
	switch vbaws.KindOf(err) {
	case vbaws.KindHTTP, vbaws.KindDecode:
		return !slices.ContainsFunc([]int{429, 502, 503, 504}, func(code int) bool { return vbaws.HasStatus(err, code) })
	}
	return false
}

func badAnswer(err error) error {
	return &vbaws.Error{Kind: vbaws.KindDecode, Op: "GET " + sessionEndpoint, Err: err}
}
