package poller

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/go-kit/log/level"
	"golang.org/x/sync/semaphore"

	"vbaws_exporter/vbaws"
)

const (
	// inventoryTimeout bounds what slow endpoints can cost the next pass: those of
	// look-ups, of facts, and of policies.
	inventoryTimeout = 20 * time.Second
	// inventoryParallel is how many requests are under way at once.
	inventoryParallel = 4
	// maxRepositories is how many are shown, each of which is a series.
	maxRepositories = 1000
)

// takeInventory asks for what no pass depends on: unfinished sessions that no list
// showed, policies, their newest sessions, and the appliance's facts. It comes after the publication of a pass,
// as a transaction of its own. What fails keeps its last values.
func (p *Poller) takeInventory(ctx context.Context, lookUp bool) {
	// Each has its own time: what hangs must not take that of the others.
	within := func(do func(context.Context)) {
		ctx, cancel := context.WithTimeout(ctx, inventoryTimeout)
		defer cancel()
		do(ctx)
	}
	w := p.newPass()
	within(w.askUnfinished)
	if lookUp {
		within(w.lookUp)
	}
	if since := p.start.Sub(p.inventoryAt); since >= p.cfg.InventoryInterval || since < 0 {
		p.inventoryAt = p.start
		within(w.askFacts)
		if p.listedAt != p.start {
			within(func(ctx context.Context) {
				_, _ = w.listPolicies(ctx) // what failed is a trouble
				w.books.DropGone(p.listedAt == p.start)
			})
		}
		if p.cfg.PolicyRetention > 0 {
			w.books.Retire(p.applianceNow(), p.cfg.PolicyRetention)
		}
	}
	if ctx.Err() != nil {
		return // what was cut off says nothing
	}
	w.sayNotes()
	err := p.save(w.books)
	if err != nil {
		level.Warn(p.log).Log("msg", "inventory not saved", "err", err)
	}
	next := *p.published.Load()
	next.View = p.ledger.View()
	next.Policies = p.policySet(next.View)
	next.Facts, next.Version = p.facts, p.version
	next.Forbidden = maps.Clone(p.forbidden)
	next.Troubles = nil
	for endpoint, err := range p.troubles {
		if next.Troubles == nil {
			next.Troubles = make(map[string]string)
		}
		next.Troubles[endpoint] = err.Error()
	}
	p.published.Store(&next)
	if err == nil {
		p.tell(ctx, w)
	}
}

// askFacts asks for the appliance's facts.
func (p *pass) askFacts(ctx context.Context) {
	next := Facts{}
	if p.facts != nil {
		next = *p.facts
	}
	version := p.version
	zone := ""
	questions := []struct {
		path string
		ask  func() error
	}{
		{"/api/v1/statistics/summary", func() (err error) {
			s, err := p.api.Summary(ctx)
			if err == nil {
				next.Summary = s
			}
			return err
		}},
		{"/api/v1/licensing/license", func() (err error) {
			l, err := p.api.License(ctx)
			if err == nil || vbaws.NotFound(err) { // there is none, as between two
				next.License, err = l, nil
			}
			return err
		}},
		{"/api/v1/repositories", func() (err error) {
			all, err := p.listRepositories(ctx)
			if err == nil {
				shown := min(len(all), maxRepositories)
				next.Repositories, next.RepositoriesOver = all[:shown:shown], len(all)-shown
			}
			return err
		}},
		{"/api/v1/system/version", func() (err error) {
			v, err := p.api.Version(ctx)
			if err == nil {
				version = v
			}
			return err
		}},
		{"/api/v1/settings/dateTime", func() (err error) {
			z, err := p.api.TimeZone(ctx)
			zone = z.Name
			return err
		}},
	}
	errs := make([]error, len(questions))
	atOnce(len(questions), func(i int) {
		if !p.isAbsent(questions[i].path) {
			errs[i] = questions[i].ask()
		}
	})
	for i, q := range questions {
		if !p.isAbsent(q.path) {
			p.answered(q.path, errs[i])
		}
	}
	if zone != "" {
		p.books.SetZone(zone, p.applianceNow())
	}
	p.facts, p.version = &next, version
}

// listRepositories reads all backup repositories. It never returns nil without an
// error.
func (p *pass) listRepositories(ctx context.Context) ([]vbaws.Repository, error) {
	all, err := listAll("/api/v1/repositories", func(offset int) ([]vbaws.Repository, int, int, error) {
		var page *vbaws.RepositoriesPage
		err := p.pageSize.ask(pageLimit, func(limit int) (err error) {
			page, err = p.api.Repositories(ctx, offset, limit)
			return err
		})
		if err != nil {
			return nil, 0, 0, err
		}
		return page.Repositories, page.Rows, page.TotalCount, nil
	}, func(r *vbaws.Repository) string { return r.ID })
	if err != nil {
		return nil, err
	}
	return append([]vbaws.Repository{}, all...), nil
}

// atOnce calls f for 0 to n-1, a few at a time, and returns when all have
// returned.
func atOnce(n int, f func(i int)) {
	var wg sync.WaitGroup
	places := semaphore.NewWeighted(inventoryParallel)
	for i := range n {
		_ = places.Acquire(context.Background(), 1)
		wg.Go(func() {
			defer places.Release(1)
			f(i)
		})
	}
	wg.Wait()
}

// answered takes in how an endpoint answered that no pass depends on, and reports
// whether it did well. A change is noted.
func (p *pass) answered(endpoint string, err error) bool {
	switch {
	case err == nil:
		p.forbidden[endpoint] = false
		delete(p.troubles, endpoint)
		return true
	case vbaws.HasStatus(err, 403):
		if !p.forbidden[endpoint] {
			p.note("the account lacks a right", "endpoint", endpoint)
		}
		p.forbidden[endpoint] = true
		delete(p.troubles, endpoint)
	case vbaws.NotOffered(err):
		p.absent[endpoint] = absence{p.api.APIVersion(), p.start}
		delete(p.forbidden, endpoint)
		delete(p.troubles, endpoint)
	case errors.Is(err, context.Canceled):
	default:
		p.trouble(endpoint, err)
	}
	return false
}

func (p *pass) trouble(endpoint string, err error) {
	if p.troubles[endpoint] == nil {
		p.note("endpoint failed, keeping last value", "endpoint", endpoint, "err", err)
	}
	p.troubles[endpoint] = err
}

// absence is that the appliance said it has no such route.
type absence struct {
	version string // the revision that it was asked by
	at      time.Time
}

// askAgain is when a route is asked for again that was said to be absent: it may
// have been a proxy that said so.
const askAgain = 24 * time.Hour

// isAbsent reports whether the appliance is known not to offer a route.
func (p *Poller) isAbsent(path string) bool {
	a, ok := p.absent[path]
	return ok && a.version == p.api.APIVersion() && p.start.Sub(a.at) < askAgain
}

func (p *Poller) applianceNow() time.Time { return p.now().Add(p.skew).UTC() }
