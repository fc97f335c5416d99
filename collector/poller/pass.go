package poller

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

const (
	// settle is how long a session may take to show in the list, or to show with
	// another USN than the order of things would have it.
	settle = time.Hour
	// zones is more than any mistake of time zone can make of FromUtc.
	zones = 26 * time.Hour
	// A wide sweep, once a day, finds even then whatever came since the last.
	wideEvery = 24 * time.Hour
	wideReach = wideEvery + zones
	// firstSweep is how long after first contact the first sweep comes; the
	// intervals double from there up to settle.
	firstSweep = 5 * time.Minute
	// rereads is how often a list is read that does not come out whole.
	rereads = 5
	// evidence is how many of the newest sessions are looked at if none that a poll saw
	// could be understood.
	evidence = 100
	// lookUps is how many policies a pass looks up at most, and lookUpRows how many
	// sessions of one it looks at.
	lookUps    = 20
	lookUpRows = 300
	// remember is how long ids are kept: longer than an appliance keeps sessions
	// by default, which is at most 365 days.
	remember = 400 * 24 * time.Hour
	// manyTies bounds the memory that the search for shared USNs takes.
	manyTies = 4000
	// lateLimit is how many sweeps must find what the walk should have.
	lateLimit = 2
)

// pass is the work of one pass. It is thrown away with it.
type pass struct {
	*Poller
	books *ledger.Pass
	// before is the watermark as it stood before the pass; nil for none.
	before *ledger.Watermark
	// clock is the appliance's, as its first answer had it; zero before.
	clock time.Time
	// pending are sessions whose policy is not known yet.
	pending map[ledger.ID]pending
	// met are the sessions met in walk and sweep that had not ended.
	met map[ledger.ID]bool
	// usns are the USNs met in this pass, to find sessions that share one.
	usns map[int64]ledger.ID
	// owed says that a sweep is under way which must come to its end, whenever the
	// next would be due.
	owed bool
	// late says that the sweep found what the walk should have.
	late bool
	// ran are the names of sessions of type Policy that were read.
	ran map[string]bool
	// listed says that policies were listed in this pass, of one workload or another.
	listed bool
	// understood says that a row was a session, and bad why the first that was not
	// isn't.
	understood bool
	bad        error
	// logs counts the logs of sessions that were asked for.
	logs  int
	notes []note
}

type pending struct {
	session vbaws.Session
	from    ledger.Origin
}

// note is something about the reading that a log should tell.
type note struct {
	msg    string
	fields []any
}

func (p *pass) note(msg string, fields ...any) { p.notes = append(p.notes, note{msg, fields}) }

// read reads what changed on the appliance and folds it into the books.
func (p *pass) read(ctx context.Context) error {
	p.before = p.books.Meta().Watermark
	read := p.catchUp
	if !p.books.Synced() {
		read = p.firstContact
	}
	if err := read(ctx); err != nil {
		return err
	}
	if err := p.checkForm(ctx); err != nil {
		return err
	}
	if err := p.resolve(ctx); err != nil {
		return err
	}
	if !p.books.Synced() {
		p.books.EndInitialSync()
	}
	if p.listed {
		p.books.DropGone(p.listedAt == p.start)
	}
	return ctx.Err()
}

// part ends a part of the pass where enough has come together: a transaction of its
// own, so that what a pass takes in memory doesn't grow with what it reads. The
// watermark moves with the last of them: whatever ends the pass before, the next one
// reads all of it again, and knows what was counted.
func (p *pass) part(ctx context.Context) error {
	if len(p.pending) >= p.cfg.PartSize && vbaws.NamesSessions(p.api.APIVersion()) {
		// Policies are listed, and then known. Without names each policy would be
		// asked for its sessions anew.
		if err := p.resolve(ctx); err != nil {
			return err
		}
	}
	if p.books.Size() < p.cfg.PartSize {
		return nil
	}
	if p.owed {
		p.books.OweResync() // the watermark is past what made it necessary
	}
	if err := p.keep(p.books); err != nil {
		return err
	}
	if p.books.Synced() {
		next := *p.published.Load()
		next.View = p.ledger.View()
		p.published.Store(&next)
	}
	p.step(StepPublished)
	p.tell(ctx, p)
	p.books = p.books.Next()
	return nil
}

// firstContact reads an appliance of which nothing is known, or not all that first
// contact wants.
func (p *pass) firstContact(ctx context.Context) error {
	if _, err := p.top(ctx); err != nil {
		return err
	}
	began := p.clock
	since := p.books.BeginInitialSync(began.Add(-p.cfg.Backfill))
	// It may have begun in an earlier pass, of which parts were saved.
	news := began
	if first := since.Add(p.cfg.Backfill); first.Before(news) {
		news = first
	}
	news = p.startOfNews(news)
	// What has run for longer than history reaches is known before anything can be
	// news, since no other list has it.
	if err := p.listRunning(ctx, ledger.Backfill); err != nil {
		return err
	}
	if err := p.resolve(ctx); err != nil { // so that the first part that is saved has it
		return err
	}
	top, err := p.top(ctx)
	if err != nil {
		return err
	}
	if top != nil {
		p.books.SetWatermark(*top)
	}

	// What ended while first contact was read is news, whichever list shows it.
	origin := func(row *vbaws.Row, otherwise ledger.Origin) ledger.Origin {
		if row.Err != nil || !ledger.Finished(&row.Session) {
			return otherwise
		}
		if end := p.books.Times(&row.Session).End; end.Equal(row.Stop) && !end.Before(news) {
			return ledger.Incremental
		}
		return otherwise
	}
	line := false
	list := func(q vbaws.SessionsQuery, take func(*vbaws.Row) error) error {
		whole, err := p.listWhole(ctx, q, func(row *vbaws.Row) error {
			if row.Err == nil {
				if t := p.books.Times(&row.Session).Start; !t.IsZero() {
					line = true
					p.books.SetCutoff(t)
				}
			}
			if row.HasUSN && !p.fromUTC {
				p.tie(row)
			}
			return take(row)
		})
		if err == nil && !whole {
			err = badList("it kept changing; first contact must see all of it")
		}
		return err
	}
	// History goes as far back as any sweep will reach, so that none meets
	// strangers. It is what was listed beside the window before the window was
	// read: what becomes visible in between is of the window. The newest of it is
	// older than the window, whatever zone the appliance takes either for.
	newest, err := p.newestRow(ctx)
	if err != nil {
		return err
	}
	before := p.historyFrom(since, newest)
	beside := vbaws.SessionsQuery{FromUTC: before, ToUTC: since.Add(2 * zones)}
	if !beside.ToUTC.Before(began) {
		beside.ToUTC = time.Time{}
	}
	history := make(idSet)
	err = list(beside, func(row *vbaws.Row) error {
		history.add(hashID(p.rowID(row)))
		return nil
	})
	if err != nil {
		return err
	}
	err = list(vbaws.SessionsQuery{FromUTC: since}, func(row *vbaws.Row) error {
		delete(history, hashID(p.rowID(row)))
		return p.take(row, origin(row, ledger.Backfill))
	})
	if err != nil {
		return err
	}
	if len(history) > 0 {
		err = list(beside, func(row *vbaws.Row) error {
			if !history.has(hashID(p.rowID(row))) {
				return nil
			}
			return p.take(row, origin(row, ledger.Preceding))
		})
		if err != nil {
			return err
		}
	}
	if err := p.listRunning(ctx, ledger.Backfill); err != nil {
		return err
	}
	if line || newest != nil {
		// Whatever zone FromUtc is taken to be in, all that started since was read.
		// If nothing is as old, a clock that is set back makes nothing seem to be.
		p.books.SetCutoff(before.Add(zones))
	}
	p.swept(began, true, firstSweep)
	return nil
}

// catchUp reads what changed since the last pass.
func (p *pass) catchUp(ctx context.Context) error {
	sweep := false
	if !p.fromUTC {
		var err error
		if sweep, err = p.walk(ctx); err != nil {
			return err
		}
	}
	m := p.books.Meta()
	p.owed = sweep
	if sweep || p.fromUTC || m.ResyncDue(p.start) {
		err := p.sweep(ctx)
		p.owed = false
		return err
	}
	return nil
}

// top reads the newest row by USN, and the appliance's clock; nil where the list
// is empty, or is not read by USN.
func (p *pass) top(ctx context.Context) (*ledger.Watermark, error) {
	for {
		q := vbaws.SessionsQuery{Sort: vbaws.SortUSNDesc, Limit: 1}
		if p.fromUTC {
			q.Sort = vbaws.SortStartTimeDesc
		}
		page, err := p.sessions(ctx, q)
		if refused(err) && !p.fromUTC && p.distrust("the appliance refuses to sort by USN") {
			continue
		}
		if err != nil {
			return nil, unsorted(err, q)
		}
		if p.fromUTC || len(page.Rows) == 0 {
			return nil, nil
		}
		row := &page.Rows[0]
		if !row.HasUSN {
			return nil, nil
		}
		return &ledger.Watermark{USN: row.USN, ID: p.rowID(row)}, nil
	}
}

// refused reports whether the appliance takes a question for a wrong one. A login
// may be refused by the same status.
func refused(err error) bool {
	return vbaws.HasStatus(err, 400) && vbaws.KindOf(err) == vbaws.KindHTTP
}

// unsorted says of a refused question for the top what was likely refused of it.
func unsorted(err error, q vbaws.SessionsQuery) error {
	if refused(err) {
		return fmt.Errorf("the appliance refuses to sort by %s: %w", q.Sort, err)
	}
	return err
}

// walk reads the list by USN from the top down to the watermark. It says whether
// a sweep must follow at once.
func (p *pass) walk(ctx context.Context) (sweep bool, err error) {
	q := vbaws.SessionsQuery{Sort: vbaws.SortUSNDesc, Limit: 1}
	page, err := p.sessions(ctx, q)
	if refused(err) && p.distrust("the appliance refuses to sort by USN") {
		return true, nil
	}
	if err != nil {
		return false, unsorted(err, q)
	}
	if len(page.Rows) == 0 {
		return false, nil
	}
	mark := p.before
	var top *ledger.Watermark
	switch row := &page.Rows[0]; {
	case row.HasUSN:
		top = &ledger.Watermark{USN: row.USN, ID: p.rowID(row)}
	case p.fromUTC:
		return true, nil
	}
	if top != nil && mark == nil {
		// The list was not read by USN so far, or it was empty: what is new since then
		// is found by time. Down from the top it would be every session that there is.
		p.books.SetWatermark(*top)
		return true, nil
	}
	if top != nil {
		if p.ahead != nil && top.USN < *p.ahead {
			// A sweep saw a row above the top: the list isn't sorted by USN.
			p.countLate()
		}
		p.ahead = nil
		switch {
		case top.USN == mark.USN && top.ID == mark.ID:
			return false, nil
		case top.USN < mark.USN:
			p.books.Reset()
			p.note("the USN of the appliance's sessions started over", "from", mark.USN, "to", top.USN)
			p.books.SetWatermark(*top)
			return true, nil
		case top.USN == mark.USN:
			p.books.SetWatermark(*top)
			return true, nil
		}
	}

	var last *vbaws.Row // the row above, within one page
	var lastPage *vbaws.SessionsPage
	_, err = p.list(ctx, vbaws.SessionsQuery{Sort: vbaws.SortUSNDesc}, byUSN, walkLimit,
		func(page *vbaws.SessionsPage, row *vbaws.Row) (bool, error) {
			if row.HasUSN {
				if top == nil {
					top = &ledger.Watermark{USN: row.USN, ID: p.rowID(row)}
					if mark == nil {
						sweep = true
						return true, nil // as above
					}
				}
				if last != nil && lastPage == page && row.USN > last.USN {
					sweep = true
					p.distrust("rows of one page are not in the order of their USN")
				}
				last, lastPage = row, page
				p.meet(row)
				if p.tie(row) {
					sweep = true
				}
				if mark != nil && row.USN <= mark.USN {
					if row.Err == nil {
						e, err := p.entry(&row.Session)
						if err != nil {
							return true, err
						}
						sweep = sweep || !e.Unchanged()
					}
					return true, nil
				}
			}
			return false, p.take(row, ledger.Incremental)
		})
	if err != nil {
		return false, err
	}
	if top != nil {
		p.books.SetWatermark(*top)
	}
	return sweep || p.fromUTC || p.books.WasReset(), nil
}

// tie reports whether another session was met with the USN of row, in which case
// the USN can't be relied on. It is looked for among the thousands that were met
// last.
func (p *pass) tie(row *vbaws.Row) bool {
	id := p.rowID(row)
	if other, ok := p.usns[row.USN]; ok && other != id {
		p.distrust("sessions share a USN")
		return true
	}
	if len(p.usns) == manyTies {
		clear(p.usns)
	}
	p.usns[row.USN] = id
	return false
}

// distrust gives up reading by USN, until the process restarts, where the
// configuration leaves the choice. It reports whether the list is read by
// FromUtc from here on.
func (p *pass) distrust(why string) bool {
	if p.cfg.Watermark != WatermarkAuto {
		return p.fromUTC
	}
	if !p.fromUTC {
		p.fromUTC = true
		p.note("reading by FromUtc from here on", "reason", why)
	}
	return true
}

// countLate counts a sweep that found what the walk should have.
func (p *pass) countLate() {
	if p.lateSweeps++; p.lateSweeps >= lateLimit {
		p.distrust("changes keep turning up below the watermark")
	}
}

// sweep reads the list by time, beyond what any order of USNs could hide.
func (p *pass) sweep(ctx context.Context) error {
	m := p.books.Meta()
	if err := p.drawLate(ctx); err != nil {
		return err
	}
	if p.clock.IsZero() {
		// The first question of a pass that doesn't walk: the clock may have been
		// set back since the last.
		if _, err := p.top(ctx); err != nil {
			return err
		}
	}
	began := p.clock
	wide := began.Sub(m.LastDailyResync) >= wideEvery || began.Before(m.LastDailyResync)
	reach := settle
	switch {
	case wide:
		reach = wideReach
	case p.shortSighted:
		reach = settle + zones
	}
	from := m.LastResync
	if began.Before(from) {
		from = began
	}
	newest, newestMet := p.newest, false
	take := func(row *vbaws.Row) error {
		if row.HasUSN && !p.fromUTC {
			p.tie(row)
			if top := p.books.Meta().Watermark; top != nil && row.USN > top.USN && (p.ahead == nil || row.USN > *p.ahead) {
				p.ahead = &row.USN
			}
		}
		p.meet(row)
		newestMet = newestMet || p.rowID(row) == ledger.ParseID(newest.ID)
		late, err := p.missed(row)
		if err != nil {
			return err
		}
		p.late = p.late || late
		return p.take(row, ledger.Incremental)
	}
	from = from.Add(-reach)
	whole, err := p.listWhole(ctx, vbaws.SessionsQuery{FromUTC: p.noLaterThanNewest(from)}, take)
	if err != nil {
		return err
	}
	if err := p.listRunning(ctx, ledger.Incremental); err != nil {
		return err
	}
	if !newest.Start.Before(from) && !newestMet && !p.met[ledger.ParseID(newest.ID)] && !p.shortSighted {
		// It reads FromUtc as a later time than it is.
		p.shortSighted = true
		p.note("a session was not listed that started after FromUtc: reading further back from here on",
			"session_id", newest.ID, "start", newest.Start, "from_utc", from)
	}
	p.planLookUps()
	if p.late && !p.fromUTC && !p.books.WasReset() {
		p.countLate()
	}
	if !whole {
		p.note("the list kept changing while it was swept: sweeping again with the next pass")
		p.books.OweResync()
		return nil
	}
	if wide {
		if err := p.books.Forget(p.books.Agreed(began).Add(-remember)); err != nil {
			return &storageError{err}
		}
	}
	p.swept(began, wide, min(settle, max(firstSweep, 2*m.ResyncInterval)))
	return nil
}

// swept records a complete sweep that began at the given time of the appliance's
// clock.
func (p *pass) swept(began time.Time, wide bool, next time.Duration) {
	p.books.Resynced(began, wide, next)
	if p.newest.Start.After(p.reached) {
		p.reached = p.newest.Start
	}
}

// missed reports whether row is a change at or below the watermark as it stood
// before the pass, which the walk can't have seen.
func (p *pass) missed(row *vbaws.Row) (bool, error) {
	if row.Err != nil || p.before == nil || row.USN > p.before.USN {
		return false, nil
	}
	if t := p.books.Times(&row.Session).Start; !t.IsZero() && t.Before(p.books.Meta().Cutoff) {
		return false, nil
	}
	e, err := p.entry(&row.Session)
	return err == nil && !e.Unchanged(), err
}

// listWhole reads a list by start time, again and again until it is whole. It
// reports whether it became so.
func (p *pass) listWhole(ctx context.Context, q vbaws.SessionsQuery, take func(*vbaws.Row) error) (bool, error) {
	q.Sort = vbaws.SortStartTimeDesc
	var met idSet                  // by all readings that kept them
	newest := int64(math.MinInt64) // start of the newest row of the first reading
	still := 0
	keep := p.cfg.PartSize
	for i := range rereads {
		r := newReading(keep)
		keep = math.MaxInt
		brought := false // a row that the readings before lacked, and that is no newer than the first of them
		err := p.listInto(ctx, r, q, byStart, pageLimit, func(_ *vbaws.SessionsPage, row *vbaws.Row) (bool, error) {
			switch start, ok := byStart(row); {
			case i > 0:
				brought = brought || !met.has(hashID(p.rowID(row))) && !(ok && start > newest)
			case ok:
				newest = max(newest, start)
			}
			return false, take(row)
		})
		if err != nil {
			return false, err
		}
		if r.whole() {
			return true, nil
		}
		if met == nil {
			met = r.met
		} else {
			maps.Copy(met, r.met)
		}
		if r.began >= 0 && len(met) >= r.began {
			return true, nil
		}
		// If totalCount is that of more than the query selects, it is never reached:
		// the list is whole once two readings in a row brought nothing.
		if still++; i == 0 || brought {
			still = 0
		}
		if still >= 2 {
			return true, nil
		}
	}
	return false, nil
}

// listRunning reads what runs, however long ago it started.
func (p *pass) listRunning(ctx context.Context, from ledger.Origin) error {
	_, err := p.listWhole(ctx, vbaws.SessionsQuery{Status: []string{vbaws.StatusRunning}}, func(row *vbaws.Row) error {
		p.meet(row)
		return p.take(row, from)
	})
	return err
}

// meet notes that a list showed a session that had not ended, so that it need not be
// asked for.
func (p *pass) meet(row *vbaws.Row) {
	if id := p.rowID(row); p.books.IsUnfinished(id) || row.Err == nil && !ledger.Finished(&row.Session) {
		p.met[id] = true
	}
}

// take folds one row into the books, or puts it aside until its policy is known.
func (p *pass) take(row *vbaws.Row, from ledger.Origin) error {
	if row.Err != nil {
		if err := p.books.SkipRow(row); err != nil {
			return &storageError{err}
		}
		return nil
	}
	e, err := p.entry(&row.Session)
	if err != nil {
		return err
	}
	id := e.ID()
	if row.Type == vbaws.TypePolicy && len(p.ran) < maxNames {
		p.ran[row.Name] = true
	}
	if row.Start.After(p.newest.Start) && p.books.Times(&row.Session).Start.Equal(row.Start) {
		p.newest = row.Session
	}
	if e.Unchanged() {
		e.MarkPresent()
		delete(p.pending, id)
		return nil
	}
	if !p.cfg.Wanted.session(row.Type) {
		e.Ignore()
		return nil
	}
	policy, ok := p.policyOf(e, &row.Session)
	if !ok {
		if put, aside := p.pending[id]; aside {
			from = put.from
			if from != ledger.Incremental && !ledger.Finished(&put.session) {
				from = ledger.RunningAtStart // which its end, met later, must not be taken for history
			}
		}
		p.pending[id] = pending{row.Session, from}
		return nil
	}
	e.Fold(policy, from)
	return nil
}

// entry returns what the ledger knows of a session.
func (p *pass) entry(s *vbaws.Session) (*ledger.Entry, error) {
	e, err := p.books.Entry(s)
	if err != nil {
		return nil, &storageError{err}
	}
	return e, nil
}

// sessions asks for one page, a smaller one if the appliance refuses the size.
func (p *pass) sessions(ctx context.Context, q vbaws.SessionsQuery) (page *vbaws.SessionsPage, err error) {
	err = p.pageSize.ask(q.Limit, func(limit int) error {
		q.Limit = limit
		page, err = p.onePage(ctx, q)
		return err
	})
	if err != nil {
		return nil, err
	}
	p.heard(page.Date)
	for i := range page.Rows {
		p.judge(&page.Rows[i])
	}
	return page, nil
}

// judge takes in whether a row is a session, and whether it has a USN to read by.
func (p *pass) judge(row *vbaws.Row) {
	if row.Err != nil {
		p.bad = cmp.Or(p.bad, row.Err)
		return
	}
	p.understood = true
	if !row.HasUSN && !p.fromUTC {
		p.distrust("a session has no USN")
	}
}

// checkForm fails the poll if the appliance's sessions have another form than the
// client knows: none of the newest can be understood. A few such rows among others
// fail nothing, although a poll may see no other.
func (p *pass) checkForm(ctx context.Context) error {
	if p.understood || p.bad == nil {
		return nil
	}
	page, err := p.sessions(ctx, vbaws.SessionsQuery{Sort: vbaws.SortStartTimeDesc, Limit: evidence})
	if err != nil || p.understood || len(page.Rows) == 0 {
		return err
	}
	return badList(fmt.Sprintf("none of the %d newest sessions can be understood, such as: %v", len(page.Rows), p.bad))
}

func (p *pass) onePage(ctx context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	return p.api.Sessions(ctx, q)
}

func (p *pass) session(ctx context.Context, id string) (vbaws.Row, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	row, date, err := p.api.Session(ctx, id)
	if err == nil {
		p.heard(date)
		p.judge(&row)
	}
	return row, err
}

// heard takes the appliance's clock from the first answer of the pass. The times of
// sessions are judged by that of the last, since a pass may take long.
func (p *pass) heard(date time.Time) {
	if date.IsZero() {
		date = p.now()
	}
	p.books.SetClock(date)
	if !p.clock.IsZero() {
		return
	}
	p.clock = date.UTC()
	p.skew = p.clock.Sub(p.now())
}

// sortedPending returns what waits for its policy, in the order of the changes.
func (p *pass) sortedPending() []pending {
	all := make([]pending, 0, len(p.pending))
	for _, w := range p.pending {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b pending) int {
		return cmp.Or(cmp.Compare(a.session.USN, b.session.USN), strings.Compare(a.session.ID, b.session.ID))
	})
	return all
}

// storageError is a failure of what is remembered, not of the appliance.
type storageError struct{ err error }

func (e *storageError) Error() string { return fmt.Sprintf("state: %v", e.err) }
func (e *storageError) Unwrap() error { return e.err }
