package poller

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/vbaws"
)

// This file has the parts of a poller: its configuration, the appliance, the state.

// API is what a Poller requests from an appliance. *vbaws.Client is one.
type API interface {
	Sessions(context.Context, vbaws.SessionsQuery) (*vbaws.SessionsPage, error)
	Session(ctx context.Context, id string) (vbaws.Row, time.Time, error)
	SessionLog(ctx context.Context, id string) ([]vbaws.LogItem, error)
	Workloads() []vbaws.Workload
	Policies(ctx context.Context, w vbaws.Workload, offset, limit int) (*vbaws.PoliciesPage, error)
	Summary(context.Context) (*vbaws.Summary, error)
	License(context.Context) (*vbaws.License, error)
	Version(context.Context) (string, error)
	TimeZone(context.Context) (string, error)
	Repositories(ctx context.Context, offset, limit int) (*vbaws.RepositoriesPage, error)
	Instances(context.Context, vbaws.InstancesQuery) (*vbaws.InstancesPage, error)
	LicensedWorkloads(ctx context.Context, offset, limit int) (*vbaws.LicensedWorkloadsPage, error)
	NewestRestorePoint(ctx context.Context, instanceID string, limit int) (time.Time, error)
	RestorePointsRoute() string
	APIVersion() string
	CertificateExpiry() time.Time
}

// Storage keeps the state of one appliance. collector/store implements it.
type Storage interface {
	ledger.SeenIndex
	// Load returns what was saved last; an empty state if nothing was.
	Load() (*ledger.State, error)
	// Save writes all of the changes or nothing.
	Save(*ledger.Changes) error
}

// Watermark is what the list of sessions is read by.
type Watermark string

// The values of the configuration key watermark.
const (
	WatermarkAuto    Watermark = "auto"
	WatermarkUSN     Watermark = "usn"
	WatermarkFromUTC Watermark = "from_utc"
)

// Config configures a Poller.
type Config struct {
	// Appliance is the value of the label "appliance".
	Appliance string
	// TimeZone is that of the appliance's schedules if the appliance doesn't return
	// one; nil: not known.
	TimeZone *time.Location
	// InventoryInterval is how often all that isn't sessions is read; 0 is 5 minutes.
	InventoryInterval time.Duration
	// OverdueGrace is how long after a scheduled start the run is not overdue; 0 is an hour.
	OverdueGrace time.Duration
	// PolicyRetention is how long after its last session a policy goes that can't
	// be listed; 0: never.
	PolicyRetention time.Duration
	// MaxInstances is how many EC2 instances are shown; 0: they are not read.
	MaxInstances int
	// Interval is from the end of a poll to the start of the next, Timeout the longest wait
	// without an answer, Backfill how far before the initial sync sessions are
	// counted.
	Interval, Timeout, Backfill time.Duration
	Watermark                   Watermark
	// Ledger has the options of the ledger. Its Filter decides which sessions are looked at.
	Ledger ledger.Options
	// Secret returns the password; if it changes, refused logins are retried at once. Nil:
	// never.
	Secret func() (string, error)
	Logger log.Logger
	// Now is the exporter's clock; nil is time.Now.
	Now func() time.Time
	// Before is what the poller of a previous configuration of the appliance published
	// last, over the same state; nil for none. It stays published until the first poll has
	// ended, and what that poll doesn't replace stays after it.
	Before *Published
	// Polled is called after each poll, before its result is published; nil: nothing.
	Polled func(Result, time.Duration)
	// PartSize is how many sessions a transaction takes in; 0 is 25,000. A poll with more
	// of them is several. That keeps a part to some megabytes, and the series, which each
	// part writes, to a small share of the work.
	PartSize int
	// Step, if not nil, is called between the steps of a poll: the places in which a
	// process can die.
	Step func(name string)
}

// Poller polls one appliance. Poll and Run belong to one goroutine; Name and
// Published are safe to call from any.
type Poller struct {
	cfg     Config
	api     API
	storage Storage
	log     log.Logger
	// lines is what log writes to.
	lines *lineLimit

	ledger *ledger.Ledger
	known  *known
	// failures counts the failed polls in a row, and polled is set once there was a poll.
	failures int
	polled   bool
	// published has one writer after New: publish.
	published atomic.Pointer[Published]
}

// New returns a poller that has published the state in storage, or Config.Before.
func New(cfg Config, api API, storage Storage) (*Poller, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.InventoryInterval = cmp.Or(cfg.InventoryInterval, 5*time.Minute)
	cfg.OverdueGrace = cmp.Or(cfg.OverdueGrace, time.Hour)
	cfg.PartSize = cmp.Or(cfg.PartSize, 25_000)
	lines := &lineLimit{next: cfg.Logger, written: make(map[lineKind]int)}
	opened := cfg.Now()
	state, err := storage.Load()
	if err != nil {
		return nil, fmt.Errorf("appliance %q: load its state: %w", cfg.Appliance, err)
	}
	p := &Poller{
		cfg: cfg, api: api, storage: storage,
		log:    log.With(lines, "appliance", cfg.Appliance),
		lines:  lines,
		ledger: ledger.New(state, storage, cfg.Ledger, opened),
	}
	p.known = &known{
		opened:    opened,
		mode:      readMode{fromUTC: cfg.Watermark == WatermarkFromUTC},
		endpoints: endpoints{forbidden: make(map[string]bool), absent: make(map[string]time.Time), errs: make(map[string]string)},
		instances: instances{tried: make(map[string]time.Time)},
		verdicts:  verdicts{cfg: &p.cfg, api: api, log: p.log, zone: cfg.TimeZone, plans: make(map[planKey]*schedule.Plan)},
		// The last one that was worth a write; verdicts are judged by it until the first poll.
		clockOffset: p.ledger.View().Clock.Offset,
	}
	published := &Published{Status: Status{Mode: p.known.mode.name()}}
	if p.ledger.Synced() {
		published.View = p.ledger.View()
		judgedAt := cmp.Or(p.ledger.View().JudgedAt, p.known.applianceTime(opened))
		published.Policies = p.known.verdicts.judge(published.View, judgedAt, nil)
	}
	if before := cfg.Before; before != nil && before.Polls > 0 {
		published = before
		if cfg.MaxInstances == 0 && before.Instances != nil {
			off := *before
			off.Instances, published = nil, &off
		}
	}
	p.cfg.Before = nil // large
	p.published.Store(published)
	return p, nil
}

// Name returns the appliance's name.
func (p *Poller) Name() string { return p.cfg.Appliance }

// Published returns what is visible of the appliance. It is never nil and immutable.
func (p *Poller) Published() *Published { return p.published.Load() }
