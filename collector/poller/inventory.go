package poller

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/go-kit/log/level"
	"golang.org/x/sync/errgroup"

	"vbaws_exporter/collector/listing"
	"vbaws_exporter/vbaws"
)

// This file reads the inventory, which no poll depends on, after the poll was published.

const (
	// inventoryTimeout bounds what each part of the inventory can cost the next poll if its
	// endpoints are slow.
	inventoryTimeout = 20 * time.Second
	// inventoryParallel is how many requests are under way at once.
	inventoryParallel = 4
	// maxRepositories is how many are shown, each of which is a series.
	maxRepositories = 1000
)

// refreshInventory reads what no poll depends on: unfinished sessions that no list
// showed, policies, their newest sessions, the appliance's facts, and instances. It comes
// after the publication of a poll, as a transaction of its own. What fails keeps its last
// values.
func (p *Poller) refreshInventory(ctx context.Context, done *poll, lookUp bool) {
	poll := p.newPoll(done.start)
	poll.logs = done.logs
	within(ctx, poll.lookUpUnfinished)
	if lookUp {
		within(ctx, poll.lookUpPolicies)
	}
	due := poll.due(p.known.inventoryAt)
	if due {
		p.known.inventoryAt = poll.start
		within(ctx, poll.fetchFacts)
		if !done.allListed {
			within(ctx, poll.refreshPolicies)
		}
		if p.cfg.PolicyRetention > 0 {
			poll.tx.Retire(poll.applianceTime(), p.cfg.PolicyRetention)
		}
	}
	if p.cfg.MaxInstances > 0 {
		if due {
			within(ctx, poll.refreshInstances)
		}
		within(ctx, poll.lookUpBackups)
	}
	if ctx.Err() != nil {
		return // an inventory that was cut off shows nothing
	}
	p.logExceeded(poll)
	err := p.save(poll.tx)
	if err == nil {
		err = p.judge(ctx, poll, false)
	}
	if err != nil {
		level.Warn(p.log).Log("msg", "inventory not saved", "err", err)
	}
	p.publish(func(next *Published) {
		next.View = p.ledger.View()
		next.Policies = p.known.verdicts.set
		if k := &p.known.instances; k.changed {
			next.Instances, k.changed = k.publish(p.ledger.InstanceBackups()), false
		}
		next.Forbidden, next.EndpointErrors = maps.Clone(p.known.endpoints.forbidden), maps.Clone(p.known.endpoints.errs)
	})
	if err == nil {
		p.logEvents(ctx, poll)
	}
}

// within gives do a time of its own: what hangs must not take that of others.
func within(ctx context.Context, do func(context.Context)) {
	ctx, cancel := context.WithTimeout(ctx, inventoryTimeout)
	defer cancel()
	do(ctx)
}

// fetchFacts reads the appliance's facts, and publishes them.
func (p *poll) fetchFacts(ctx context.Context) {
	last := p.Published()
	next, version := Facts{}, last.Version
	if last.Facts != nil {
		next = *last.Facts
	}
	var zone string
	facts := []fact{
		factOf(ctx, vbaws.RouteSummary, p.api.Summary, &next.Summary),
		factOf(ctx, vbaws.RouteLicense, p.license, &next.License),
		factOf(ctx, vbaws.RouteRepositories, p.listRepositories, &next.Repositories),
		factOf(ctx, vbaws.RouteVersion, p.api.Version, &version),
		factOf(ctx, vbaws.RouteDateTime, p.api.TimeZone, &zone),
	}
	facts = slices.DeleteFunc(facts, func(f fact) bool { return p.isAbsent(f.path) })
	errs := make([]error, len(facts))
	atOnce(len(facts), func(i int) { errs[i] = facts[i].read() })
	for i, f := range facts {
		p.endpointAnswered(f.path, errs[i])
	}
	if zone != "" {
		p.tx.SetZone(zone, p.applianceTime())
	}
	p.publish(func(s *Published) { s.Facts, s.Version = &next, version })
}

// fact is one of the appliance's facts, and the endpoint that has it.
type fact struct {
	path string
	read func() error
}

// factOf returns a fact that is read into to, unless that fails.
func factOf[T any](ctx context.Context, path string, get func(context.Context) (T, error), to *T) fact {
	return fact{path, func() error {
		v, err := get(ctx)
		if err == nil {
			*to = v
		}
		return err
	}}
}

// license returns nil if the appliance has no license, as between two.
func (p *poll) license(ctx context.Context) (*vbaws.License, error) {
	l, err := p.api.License(ctx)
	if vbaws.NotFound(err) {
		return nil, nil
	}
	return l, err
}

// repositorySize is what a listed repository takes beside its texts.
const repositorySize = 100

// listRepositories reads all backup repositories.
func (p *poll) listRepositories(ctx context.Context) (*Repositories, error) {
	all, err := listing.All(&p.known.pageSize, vbaws.RouteRepositories, func(offset, limit int) (*vbaws.RepositoriesPage, error) {
		return p.api.Repositories(ctx, offset, limit)
	}, func(r *vbaws.Repository) (string, int) {
		return r.ID, repositorySize + len(r.ID) + len(r.Name) + len(r.Bucket) + len(r.Region)
	})
	if err != nil {
		return nil, err
	}
	shown := min(len(all), maxRepositories)
	return &Repositories{Shown: all[:shown:shown], Over: len(all) - shown}, nil
}

// atOnce calls f for 0 to n-1, a few at a time, and returns when all have
// returned.
func atOnce(n int, f func(i int)) {
	var g errgroup.Group
	g.SetLimit(inventoryParallel)
	for i := range n {
		g.Go(func() error {
			f(i)
			return nil
		})
	}
	_ = g.Wait()
}
