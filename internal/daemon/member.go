package daemon

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-kit/log/level"
	"github.com/prometheus/common/version"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/vbaws"
)

// member is one appliance and what polls it. Name and Published may be called by
// any goroutine.
type member struct {
	opts      *Options
	appliance *config.Appliance
	bounds    []float64 // of the classic buckets
	client    *vbaws.Client
	// idle closes the connections that are kept for the next request.
	idle   func()
	poller *poller.Poller // nil before open

	// stop ends what start began, and stopped is closed when no pass is under way
	// any more.
	stop    context.CancelFunc
	stopped chan struct{}
	// quiet says that requests are no longer counted: only the logout is left, and
	// the appliance's series may be gone.
	quiet atomic.Bool

	// before is what the predecessor published last; nil without one.
	before atomic.Pointer[poller.Published]
	shown  atomic.Pointer[shown]
}

// shown is what a publication of a poller is shown as.
type shown struct{ of, as *poller.Published }

// newMember returns a member that is yet to be opened.
func newMember(o *Options, a *config.Appliance, bounds []float64) (*member, error) {
	transport := a.Transport()
	m := &member{
		opts: o, appliance: a, bounds: bounds,
		idle: (&http.Client{Transport: transport}).CloseIdleConnections,
	}
	var err error
	m.client, err = vbaws.New(vbaws.Config{
		URL:        a.URL,
		Username:   a.Username,
		Password:   a.Password,
		APIVersion: a.APIVersion,
		Transport:  transport,
		Observe: func(r vbaws.Request) {
			if !m.quiet.Load() {
				o.Instruments.Requested(a.Name, r)
			}
		},
		UserAgent: "vbaws_exporter/" + version.Version,
	})
	if err != nil {
		return nil, fmt.Errorf("appliance %q: %w", a.Name, err)
	}
	return m, nil
}

// isFor reports whether m does what is configured.
func (m *member) isFor(a *config.Appliance, bounds []float64) bool {
	return m.appliance.Equal(a) && slices.Equal(m.bounds, bounds)
}

// open makes the poller, which loads the book.
func (m *member) open(book poller.Book) error {
	a, o := m.appliance, m.opts
	hold := a.NewSeriesHold
	if o.Once && hold > 0 {
		hold = time.Nanosecond
	}
	p, err := poller.New(poller.Config{
		Appliance: a.Name,
		Interval:  a.PollInterval,
		Timeout:   a.PollTimeout,
		Backfill:  a.Backfill,
		Watermark: poller.Watermark(a.Watermark),
		Wanted: poller.Wanted{
			Type:   a.Types.Wants,
			Policy: func(name string) bool { return name == "" || a.Policies.Wants(name) },
		},
		TimeZone:          a.TimeZone,
		InventoryInterval: a.InventoryInterval,
		PolicyRetention:   a.PolicyRetention,
		Ledger: ledger.Options{
			Bounds: m.bounds, Hold: hold, MaxPolicies: a.MaxPolicies, Ephemeral: o.Forgetful, OneShot: o.Once,
		},
		Secret: a.Password,
		Logger: o.Logger,
		Polled: func(r poller.Result, took time.Duration) { o.Instruments.Polled(a.Name, r, took) },
	}, m.client, book)
	if err != nil {
		return err
	}
	m.poller = p
	return nil
}

// start polls until ctx ends or stop is called, in a goroutine that running waits
// for.
func (m *member) start(ctx context.Context, running *sync.WaitGroup) {
	ctx, m.stop = context.WithCancel(ctx)
	stopped := make(chan struct{})
	m.stopped = stopped
	m.quiet.Store(false)
	running.Go(func() {
		m.poller.Run(ctx)
		m.quiet.Store(true)
		close(stopped)
		m.logout()
	})
}

// logout gives the token back. Its context is a new one: the one that work was
// done under has ended by now.
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

// inherit makes m show what its predecessor published until it knows better.
func (m *member) inherit(before *poller.Published) { m.before.Store(before) }

// Published returns what may be seen of the appliance; never nil.
func (m *member) Published() *poller.Published {
	p, before := m.poller.Published(), m.before.Load()
	switch {
	case before == nil:
		return p
	case p.Passes == 0 && before.Passes > 0:
		return before
	}
	// The collector knows by the pointer what it has rendered already.
	if s := m.shown.Load(); s != nil && s.of == p {
		return s.as
	}
	as := succeed(before, p)
	m.shown.Store(&shown{p, as})
	if before.View != nil {
		// No longer needed, and large.
		light := *before
		light.View, light.Policies = nil, nil
		m.before.Store(&light)
	}
	return as
}

// recentKept bounds the sessions that are shown of two pollers. One keeps fewer.
const recentKept = 100

// succeed returns what p, of a poller that took over where before ended, lacks
// since it is a new one: what is asked for but rarely, and what is remembered of
// a process.
func succeed(before, p *poller.Published) *poller.Published {
	s := *p
	s.Passes += before.Passes
	if s.LastSuccess.IsZero() {
		s.LastSuccess = before.LastSuccess
	}
	s.APIVersion = cmp.Or(s.APIVersion, before.APIVersion)
	s.Version = cmp.Or(s.Version, before.Version)
	s.Facts = succeedFacts(before.Facts, p.Facts)
	if s.Forbidden == nil {
		s.Forbidden = before.Forbidden
	}
	s.Recent = slices.Concat(p.Recent, before.Recent)
	slices.SortStableFunc(s.Recent, func(a, b poller.Ended) int { return b.Session.Stop.Compare(a.Session.Stop) })
	s.Recent = s.Recent[:min(len(s.Recent), recentKept)]
	return &s
}

func succeedFacts(before, f *poller.Facts) *poller.Facts {
	switch {
	case f == nil:
		return before
	case before == nil, f.Summary != nil && f.License != nil && f.Repositories != nil:
		return f
	}
	all := *f
	if all.Summary == nil {
		all.Summary = before.Summary
	}
	if all.License == nil {
		all.License = before.License
	}
	if all.Repositories == nil {
		all.Repositories = before.Repositories
	}
	return &all
}
