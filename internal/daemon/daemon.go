// Package daemon polls all appliances of a configuration, and goes over to
// another one while it runs.
//
// It knows what a poller needs (a client, storage, a clock, instruments) and
// brings it together, one set an appliance. It owns the goroutines in which
// they run. How an appliance is polled is the poller's business.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/config"
)

// logoutTimeout is how long an appliance may take to take its token back.
const logoutTimeout = 5 * time.Second

// Options are what a Daemon is made of.
type Options struct {
	Config *config.Config
	// Storage opens the state of an appliance. It is called once for each.
	Storage func(appliance string) (poller.Storage, error)
	// Forgetful says that the storage is of this process alone, so that what had
	// ended before it began is not counted.
	Forgetful bool
	// Once says that the process makes one pass and ends. A counter that is born
	// in it is held until the next run, since the process won't live to see the
	// end of the configured hold.
	Once        bool
	Instruments *collector.Instruments
	Logger      log.Logger
}

// Daemon polls appliances. Config, Sources and Reload may be called by any
// goroutine, Run and Poll by one, and once at most.
type Daemon struct {
	opts Options
	// storage has all that was ever opened: an appliance that comes back continues from
	// its own. It belongs to New, and then to Run.
	storage map[string]poller.Storage
	current atomic.Pointer[generation]
	// reloads has what Run is to do, with the function that starts a member.
	reloads chan func(start func(*member))
	ended   chan struct{} // closed when Run ends
}

// generation is a configuration and those that poll by it. It is immutable.
type generation struct {
	config *config.Config
	// members are in the order of the configuration, and so are sources, which are
	// the same.
	members []*member
	sources []collector.Source
}

// New loads the state of all appliances. It contacts no appliance.
func New(o Options) (*Daemon, error) {
	d := &Daemon{
		opts:    o,
		storage: make(map[string]poller.Storage),
		reloads: make(chan func(func(*member))),
		ended:   make(chan struct{}),
	}
	d.current.Store(&generation{})
	if err := d.goOver(o.Config, func(*member) {}); err != nil {
		return nil, err
	}
	return d, nil
}

// Config returns the configuration in use.
func (d *Daemon) Config() *config.Config { return d.current.Load().config }

// Sources are the appliances, in the order of the configuration. The slice must
// not be changed.
func (d *Daemon) Sources() []collector.Source { return d.current.Load().sources }

// Reload goes over to another configuration. Pollers of appliances about which
// nothing changed go on untouched. One that changed ends its poller, and what that
// has published stays until its successor has read the appliance; one that left
// is no longer shown, and its state is kept. Where it fails, all is as before. It
// returns when the change is visible; until Run is called it waits, and only one
// is done at a time.
func (d *Daemon) Reload(cfg *config.Config) error {
	done := make(chan error, 1)
	select {
	case d.reloads <- func(start func(*member)) { done <- d.goOver(cfg, start) }:
		return <-done
	case <-d.ended:
		return errors.New("the exporter is shutting down")
	}
}

// Run polls every appliance until ctx ends. It returns when no pass is under way
// any more and the tokens are given back.
func (d *Daemon) Run(ctx context.Context) {
	var running sync.WaitGroup
	start := func(m *member) { m.start(ctx, &running) }
	for _, m := range d.current.Load().members {
		start(m)
	}
	for {
		select {
		case <-ctx.Done():
			// Not deferred, so that a panic ends the process.
			running.Wait()
			close(d.ended)
			return
		case reload := <-d.reloads:
			reload(start)
		}
	}
}

// goOver goes over to a configuration, and starts the members that are new.
func (d *Daemon) goOver(cfg *config.Config, start func(*member)) error {
	old := make(map[string]*member) // what the new configuration ends
	for _, m := range d.current.Load().members {
		old[m.Name()] = m
	}
	// What the file can get wrong shows here, while all still runs.
	members, err := d.prepare(cfg, old)
	if err != nil {
		return err
	}
	for _, m := range members {
		if old[m.Name()] == m {
			delete(old, m.Name())
		}
	}
	for _, m := range old {
		m.stop()
	}
	for _, m := range old {
		<-m.stopped
	}
	// Nothing of old writes any more, so its state can be loaded again.
	var fresh []*member
	for _, m := range members {
		if m.poller != nil {
			continue
		}
		var before *poller.Published
		if o := old[m.Name()]; o != nil {
			before = o.Published()
		}
		if err := m.open(d.storage[m.Name()], before); err != nil {
			for _, m := range old {
				start(m)
			}
			return err
		}
		fresh = append(fresh, m)
	}
	d.publish(cfg, members)
	for _, m := range fresh {
		delete(old, m.Name())
		start(m)
	}
	for name := range old {
		d.opts.Instruments.Remove(name)
		level.Info(d.opts.Logger).Log("msg", "appliance removed from the configuration; its state is kept", "appliance", name)
	}
	return nil
}

// prepare returns the members of a configuration: those of old that may go on,
// and others that are yet to be opened.
func (d *Daemon) prepare(cfg *config.Config, old map[string]*member) ([]*member, error) {
	members := make([]*member, len(cfg.Appliances))
	for i := range cfg.Appliances {
		a := &cfg.Appliances[i]
		if m := old[a.Name]; m != nil && m.appliance.Equal(a) && slices.Equal(m.bounds, cfg.DurationBuckets) {
			members[i] = m
			continue
		}
		m, err := newMember(&d.opts, a, cfg.DurationBuckets)
		if err != nil {
			return nil, err
		}
		if d.storage[a.Name] == nil {
			storage, err := d.opts.Storage(a.Name)
			if err != nil {
				return nil, fmt.Errorf("appliance %q: open its state: %w", a.Name, err)
			}
			d.storage[a.Name] = storage
		}
		members[i] = m
	}
	return members, nil
}

// publish makes a configuration and its members visible.
func (d *Daemon) publish(cfg *config.Config, members []*member) {
	g := &generation{cfg, members, make([]collector.Source, len(members))}
	for i, m := range members {
		g.sources[i] = m
		d.opts.Instruments.Add(m.Name())
	}
	d.current.Store(g)
}

// Poll makes one pass over every appliance, all at once so that none waits for
// another, and gives the tokens back. Its error has those of all appliances that
// could not be read, or be saved.
func (d *Daemon) Poll(ctx context.Context) error {
	members := d.current.Load().members
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			if err := m.poller.Poll(ctx); err != nil {
				errs[i] = fmt.Errorf("appliance %q: %w", m.Name(), err)
			}
			m.logout()
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
