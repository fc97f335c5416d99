package daemon

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log/level"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/vbaws"
)

// member is one appliance with its client and its poller. Name and Published are safe to
// call from any goroutine.
type member struct {
	opts      *Options
	appliance *config.Appliance
	bounds    []float64 // of the classic buckets
	client    *vbaws.Client
	// idle closes the idle connections.
	idle   func()
	poller *poller.Poller // nil before open

	// stop ends what start began. stopped is closed when the poll under way has ended,
	// and busy is unlocked after the logout.
	stop    context.CancelFunc
	stopped chan struct{}
	busy    sync.Mutex
	// quiet says that requests are no longer counted: only the logout is left, and the
	// series of the appliance can be removed already.
	quiet atomic.Bool
}

// newMember returns a member that is not opened yet.
func newMember(o *Options, a *config.Appliance, bounds []float64) (*member, error) {
	transport := a.Transport()
	m := &member{
		opts: o, appliance: a, bounds: bounds,
		idle: (&http.Client{Transport: transport}).CloseIdleConnections,
	}
	var err error
	m.client, err = a.Client(vbaws.Config{
		Transport: transport,
		Observe: func(r vbaws.Request) {
			if !m.quiet.Load() {
				o.Instruments.Requested(a.Name, r)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("appliance %q: %w", a.Name, err)
	}
	return m, nil
}

// open makes the poller, which loads the state. before is what the appliance's previous
// poller published last; nil without one.
func (m *member) open(storage poller.Storage, before *poller.Published) error {
	a, o := m.appliance, m.opts
	hold := a.NewSeriesHold
	if o.Once && hold > 0 {
		hold = time.Nanosecond
	}
	instances := 0
	if a.Instances {
		instances = a.MaxInstances
	}
	p, err := poller.New(poller.Config{
		Appliance:         a.Name,
		Interval:          a.PollInterval,
		Timeout:           a.PollTimeout,
		Backfill:          a.Backfill,
		Watermark:         poller.Watermark(a.Watermark),
		TimeZone:          a.TimeZone,
		InventoryInterval: a.InventoryInterval,
		PolicyRetention:   a.PolicyRetention,
		OverdueGrace:      a.OverdueGrace,
		MaxInstances:      instances,
		Ledger: ledger.Options{
			Bounds: m.bounds, Hold: hold, MaxPolicies: a.MaxPolicies, Ephemeral: o.Forgetful, OneShot: o.Once,
			Filter: ledger.Filter{
				Type:   a.Types.Wants,
				Policy: func(name string) bool { return name == "" || a.Policies.Wants(name) },
			},
		},
		Secret: a.Password,
		Logger: o.Logger,
		Before: before,
		Polled: func(r poller.Result, took time.Duration) { o.Instruments.Polled(a.Name, r, took) },
	}, m.client, storage)
	if err != nil {
		return err
	}
	m.poller = p
	return nil
}

// start polls until ctx ends or stop is called, in a goroutine that running waits for. If
// the member was stopped before, that goroutine first waits for its logout.
func (m *member) start(ctx context.Context, running *sync.WaitGroup) {
	ctx, m.stop = context.WithCancel(ctx)
	stopped := make(chan struct{})
	m.stopped = stopped
	running.Go(func() {
		m.busy.Lock()
		defer m.busy.Unlock()
		m.quiet.Store(false)
		m.poller.Run(ctx)
		m.quiet.Store(true)
		close(stopped)
		m.logout()
	})
}

// logout logs out. It needs a context of its own, because that of the polls has ended.
func (m *member) logout() {
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	defer m.idle()
	if err := m.client.Logout(ctx); err != nil {
		level.Debug(m.opts.Logger).Log("msg", "logout failed; the token expires by itself", "appliance", m.Name(), "err", err)
	}
}

// Name returns the appliance's name.
func (m *member) Name() string { return m.appliance.Name }

// Published returns what is visible of the appliance; never nil.
func (m *member) Published() *poller.Published { return m.poller.Published() }
