// Package daemon polls all appliances of a configuration, and changes to another
// configuration while it runs.
//
// It makes a client, storage and a poller for each appliance, and owns the goroutines in
// which they run. Package poller decides how an appliance is polled.
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

// logoutTimeout is the longest wait for the answer to a logout.
const logoutTimeout = 5 * time.Second

// Options configure a Daemon.
type Options struct {
	Config *config.Config
	// Storage opens the state of an appliance. It is called once for each appliance.
	Storage func(appliance string) (poller.Storage, error)
	// Forgetful says that the state is lost when the process ends. Sessions that had
	// finished before it started are then not counted.
	Forgetful bool
	// Once says that the process polls once and ends. A new counter is then held until
	// the next run, because the process ends before the configured hold does.
	Once        bool
	Instruments *collector.Instruments
	Logger      log.Logger
}

// Daemon polls appliances. Config, Sources and Reload are safe to call from any
// goroutine. Either Run or Poll is called, at most once.
type Daemon struct {
	opts Options
	// storage has every state that was opened, by appliance: an appliance that is
	// configured again continues from its own. It belongs to New, and then to Run.
	storage map[string]poller.Storage
	current atomic.Pointer[generation]
	// reloads has functions for Run to call. Their argument starts a member.
	reloads chan func(start func(*member))
	ended   chan struct{} // closed when Run ends
}

// generation is a configuration and its members. It is immutable.
type generation struct {
	config *config.Config
	// members and sources are the same, in the order of the configuration.
	members []*member
	sources []collector.Source
}

// New returns a Daemon that has loaded the state of all appliances. It contacts no
// appliance.
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

// Sources returns the appliances, in the order of the configuration. The caller must not
// change the slice.
func (d *Daemon) Sources() []collector.Source { return d.current.Load().sources }

// Reload changes to another configuration, and returns when the change is visible. It
// waits until Run is called and earlier reloads are done. If it returns an error, nothing
// has changed.
//
// An appliance whose configuration is the same keeps its poller. One whose configuration
// changed gets a new poller, and what the old one published stays until the first poll of
// the new one. An appliance that was removed is no longer shown; its state is kept.
func (d *Daemon) Reload(cfg *config.Config) error {
	done := make(chan error, 1)
	select {
	case d.reloads <- func(start func(*member)) { done <- d.goOver(cfg, start) }:
		return <-done
	case <-d.ended:
		return errors.New("the exporter is shutting down")
	}
}

// Run polls every appliance until ctx ends. It returns when the polls under way have
// ended and the exporter has logged out of all appliances.
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

// goOver changes to a configuration, and starts the new members.
func (d *Daemon) goOver(cfg *config.Config, start func(*member)) error {
	old := make(map[string]*member) // those that the new configuration ends
	for _, m := range d.current.Load().members {
		old[m.Name()] = m
	}
	// Most errors are found here, while all members still run.
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
	// The old members no longer write, so their state can be loaded again.
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

// prepare returns the members of a configuration: the unchanged ones of old, and new ones
// that are not opened yet.
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

// Poll polls every appliance once, all at the same time, and logs out. Its error joins
// the errors of all appliances that could not be read or saved.
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
