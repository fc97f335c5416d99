package poller

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/vbaws"
)

// API is what a Poller asks of an appliance. *vbaws.Client is one.
type API interface {
	Sessions(context.Context, vbaws.SessionsQuery) (*vbaws.SessionsPage, error)
	Session(ctx context.Context, id string) (vbaws.Row, time.Time, error)
	SessionLog(ctx context.Context, id string) ([]vbaws.LogItem, error)
	Workloads() []vbaws.Workload
	Policies(ctx context.Context, w vbaws.Workload, offset, limit int) (*vbaws.PoliciesPage, error)
	Summary(context.Context) (*vbaws.Summary, error)
	License(context.Context) (*vbaws.License, error)
	Version(context.Context) (string, error)
	TimeZone(context.Context) (vbaws.TimeZone, error)
	Repositories(ctx context.Context, offset, limit int) (*vbaws.RepositoriesPage, error)
	APIVersion() string
}

// Book keeps the ledger of one appliance. collector/store has them.
type Book interface {
	ledger.SeenIndex
	// Load returns what was saved last; an empty state where nothing was.
	Load() (*ledger.State, error)
	// Save writes all of the changes or nothing.
	Save(*ledger.Changes) error
}

// Watermark says by what the list of sessions is read.
type Watermark string

// The values of the configuration key watermark.
const (
	WatermarkAuto    Watermark = "auto"
	WatermarkUSN     Watermark = "usn"
	WatermarkFromUTC Watermark = "from_utc"
)

// Wanted says what is of interest: a nil function means everything.
type Wanted struct {
	// Type is asked of a session's type, Policy of a policy's name; the empty name
	// is that of sessions of no policy.
	Type, Policy func(string) bool
}

func (w *Wanted) session(typ string) bool { return w.Type == nil || w.Type(typ) }

func (w *Wanted) policy(name string) bool { return w.Policy == nil || w.Policy(name) }

// Config is what a Poller is told.
type Config struct {
	// Appliance is the value of the label "appliance".
	Appliance string
	// TimeZone is that of the appliance's schedules where the appliance doesn't
	// tell; nil: not known.
	TimeZone *time.Location
	// InventoryInterval is how often all that isn't sessions is asked for; 0 is
	// DefaultInventoryInterval.
	InventoryInterval time.Duration
	// PolicyRetention is how long after its last session a policy goes that can't
	// be listed; 0: never.
	PolicyRetention time.Duration
	// Interval is from the end of a pass to the start of the next, Timeout the longest wait
	// without an answer, Backfill how far before first contact sessions are
	// counted.
	Interval, Timeout, Backfill time.Duration
	Watermark                   Watermark
	// Wanted decides which sessions are looked at.
	Wanted Wanted
	Ledger ledger.Options
	// Secret returns the password; where it changes, refused logins are tried
	// again at once. Nil: never.
	Secret func() (string, error)
	Logger log.Logger
	// Now is the exporter's clock; nil is time.Now.
	Now func() time.Time
	// Polled is called after each pass, before what came of it is published; may be
	// nil.
	Polled func(Result, time.Duration)
	// PartSize is how many sessions a transaction takes in, give or take a page; 0
	// is DefaultPartSize. A pass with more of them is several.
	PartSize int
	// Step, where not nil, is called between the steps of a pass: the places in
	// which a process may die.
	Step func(name string)
}

// DefaultInventoryInterval is how often policies and facts are asked for.
const DefaultInventoryInterval = 5 * time.Minute

// DefaultPartSize keeps a part to some megabytes, and the series, which each part
// writes, to a small share of the work.
const DefaultPartSize = 25_000

// The steps of a pass, and of each part of a long one, that Config.Step is told of.
const (
	StepRead      = "read"      // read and folded, nothing saved
	StepSaved     = "saved"     // saved, not published
	StepPublished = "published" // published, not logged
)

// Poller polls one appliance. Poll and Run belong to one goroutine; Name and
// Published may be called by any.
type Poller struct {
	cfg  Config
	api  API
	book Book
	now  func() time.Time
	log  log.Logger
	// lines is what log writes to.
	lines *lineLimit

	ledger    *ledger.Ledger
	published atomic.Pointer[Published]

	// What follows is learned of the appliance, and lives as long as the process.

	// opened is when the process began to poll the appliance, start when the current
	// pass began.
	opened, start time.Time
	// pageSize is what is known of the page sizes that it accepts.
	pageSize pageSize
	// fromUTC says that the list is not read by USN (any more).
	fromUTC bool
	// lateSweeps counts sweeps that found what the walk should have.
	lateSweeps int
	// ahead is the highest USN that a sweep saw above the top of the list.
	ahead *int64
	// newest is the session with the newest start that was met, and shortSighted
	// says that a list did not show it though it should have.
	newest       vbaws.Session
	shortSighted bool
	// reached is the newest start that was known at the end of the last complete sweep;
	// zero before the first one of the process.
	reached time.Time
	// looks has what is known of the questions for unfinished sessions that the last
	// sweep did not see, and toAsk the ids of those that are due, in the order in which
	// they are asked for.
	looks map[ledger.ID]sessionLookUp
	toAsk []string
	// inventoryAt is when the inventory was taken, and facts what came of it.
	inventoryAt time.Time
	listedAt    time.Time // the start of the pass that listed all policies last
	facts       *Facts
	version     string
	// lookUpFailures counts how often the look-up of a policy failed.
	lookUpFailures map[ledger.PolicyKey]int
	// troubles are what inventory endpoints failed with last.
	troubles map[string]error
	// revision is that of the last pass.
	revision string
	// skew is how far the appliance's clock is ahead of ours.
	skew   time.Duration
	duties duties
	// notPolicies are names of sessions that no policy has, maxNames of them at most.
	notPolicies map[string]bool
	// barren is how long policies are not listed for the name of a session, after
	// barrenAt: listings for other names found no policy.
	barren   time.Duration
	barrenAt time.Time
	// unsorted says that the appliance was seen to ignore Sort by start time.
	unsorted  bool
	forbidden map[string]bool
	// absent has the routes that the appliance doesn't offer.
	absent map[string]absence
	// unlisted counts the passes in a row that could not list policies they needed.
	unlisted int
	// failures counts the failed passes in a row.
	failures int
}

// New returns a poller that has published what book holds.
func New(cfg Config, api API, book Book) (*Poller, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.InventoryInterval == 0 {
		cfg.InventoryInterval = DefaultInventoryInterval
	}
	if cfg.PartSize == 0 {
		cfg.PartSize = DefaultPartSize
	}
	cfg.Ledger.Filter = ledger.Filter(cfg.Wanted)
	lines := &lineLimit{next: cfg.Logger, written: make(map[lineKind]int)}
	opened := cfg.Now()
	state, err := book.Load()
	if err != nil {
		return nil, fmt.Errorf("appliance %q: load its state: %w", cfg.Appliance, err)
	}
	p := &Poller{
		cfg: cfg, api: api, book: book, now: cfg.Now,
		log:         log.With(lines, "appliance", cfg.Appliance),
		lines:       lines,
		ledger:      ledger.New(state, book, cfg.Ledger, opened),
		opened:      opened,
		fromUTC:     cfg.Watermark == WatermarkFromUTC,
		notPolicies: make(map[string]bool),
		forbidden:   make(map[string]bool),
		absent:      make(map[string]absence),
		troubles:    make(map[string]error),
	}
	published := &Published{Status: Status{Mode: p.mode()}}
	if p.ledger.Synced() {
		published.View = p.ledger.View()
		published.Policies = p.policySet(published.View)
	}
	p.published.Store(published)
	return p, nil
}

// Name returns the appliance's name.
func (p *Poller) Name() string { return p.cfg.Appliance }

// Published returns what may be seen of the appliance. It is never nil and never
// changes.
func (p *Poller) Published() *Published { return p.published.Load() }

func (p *Poller) mode() string {
	if p.fromUTC {
		return string(WatermarkFromUTC)
	}
	return string(WatermarkUSN)
}

// Poll makes one pass: read, fold, save, publish. Where it fails, nothing of it
// remains but what is said of the polling itself, and of a long one the parts that
// were saved before.
func (p *Poller) Poll(ctx context.Context) error {
	p.start = p.now()
	defer func() { p.lines.end(p.log) }()
	if now := p.api.APIVersion(); now != p.revision {
		if p.revision != "" {
			// It may have other routes: of those that it lacks nothing more is heard.
			clear(p.forbidden)
			clear(p.troubles)
			p.pageSize.forget()
			p.unsorted = false
			p.inventoryAt = time.Time{}
		}
		p.revision = now
	}
	contacted := p.ledger.Synced()
	w, err := p.pass(ctx)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // a pass that was cut off says nothing of the appliance
	}
	if err != nil && !p.ledger.NextLift().IsZero() && !p.now().Before(p.ledger.NextLift()) {
		// Holds end though the appliance can't be read.
		if liftErr := p.save(p.ledger.Begin(p.now())); liftErr != nil {
			err = fmt.Errorf("%w (and %v)", err, liftErr) // what failed is the pass
		}
	}
	took := p.now().Sub(p.start)
	if p.cfg.Polled != nil {
		p.cfg.Polled(resultOf(err), took) // what is published was counted
	}
	p.publish(err)
	if w == nil {
		return err
	}
	p.step(StepPublished)
	level.Debug(p.log).Log("msg", "pass done", "took", took)
	p.tell(ctx, w)
	if ctx.Err() == nil {
		p.takeInventory(ctx, contacted)
	}
	return nil
}

func (p *Poller) step(name string) {
	if p.cfg.Step != nil {
		p.cfg.Step(name)
	}
}

func (p *Poller) newPass() *pass {
	return &pass{
		Poller: p, books: p.ledger.Begin(p.start),
		pending: make(map[ledger.ID]pending),
		met:     make(map[ledger.ID]bool),
		usns:    make(map[int64]ledger.ID),
		ran:     make(map[string]bool),
	}
}

// pass reads, folds and saves. It returns the pass where it was saved.
func (p *Poller) pass(ctx context.Context) (*pass, error) {
	w := p.newPass()
	err := w.read(ctx)
	w.sayNotes()
	if err == nil {
		err = p.keep(w.books)
	}
	if err != nil {
		return nil, err
	}
	return w, nil
}

// keep saves what was read.
func (p *Poller) keep(books *ledger.Pass) error {
	p.step(StepRead)
	if err := p.save(books); err != nil {
		return err
	}
	p.step(StepSaved)
	return nil
}

// save makes what was folded durable, and only then the ledger's.
func (p *Poller) save(books *ledger.Pass) error {
	if changes := books.Changes(); !changes.Empty() {
		if err := p.book.Save(changes); err != nil {
			return &storageError{err}
		}
	}
	books.Commit(p.now())
	return nil
}

// publish shows the state after a pass that ended with err.
func (p *Poller) publish(err error) {
	old := p.published.Load()
	end := p.now()
	s := old.Status
	s.Passes++
	s.LastPoll, s.Err, s.Result = end, err, resultOf(err)
	s.APIVersion, s.Mode = p.api.APIVersion(), p.mode()
	was, first := old.Up, old.Passes == 0
	s.Up = s.Result == ResultSuccess || s.Result == ResultStorage
	if err == nil {
		s.LastSuccess = end
		p.failures = 0
	} else {
		p.failures++
	}
	next := &Published{View: old.View, Policies: old.Policies, Facts: p.facts, Status: s}
	if p.ledger.Synced() {
		next.View = p.ledger.View()
	}
	if s.Up && next.View != nil {
		next.Policies = p.policySet(next.View)
	}
	delay := p.delay(err)
	next.Next = end.Add(delay)
	p.published.Store(next)

	switch {
	case err != nil && (was || first || old.Result != s.Result):
		level.Error(p.log).Log("msg", "pass failed", "result", s.Result, "err", err, "retry_in", delay.Round(time.Second))
	case err != nil:
		level.Debug(p.log).Log("msg", "pass failed again", "result", s.Result, "err", err)
	case first || old.Err != nil:
		level.Info(p.log).Log("msg", "appliance is read", "api_version", s.APIVersion, "by", s.Mode)
	}
}

func resultOf(err error) Result {
	var storage *storageError
	switch {
	case err == nil:
		return ResultSuccess
	case errors.As(err, &storage):
		return ResultStorage
	}
	return Result(vbaws.KindOf(err))
}

const (
	// Failed passes are tried again after an interval, two, four, …, at most
	// maxBackoff; refused logins at most maxRefused, since accounts lock.
	maxBackoff = 5 * time.Minute
	maxRefused = 10 * time.Minute
	// maxRetryAfter bounds how long an appliance may ask to be left alone.
	maxRetryAfter = time.Hour
	// jitter is how far the time between two passes strays, to either side, so
	// that appliances don't fall into step.
	jitter = 0.1
)

// delay is how long to wait after a pass that ended with err.
func (p *Poller) delay(err error) time.Duration {
	d := p.cfg.Interval
	// A local file that is missing costs the appliance nothing.
	if err != nil && resultOf(err) != Result(vbaws.KindConfig) {
		limit := max(d, maxBackoff)
		if resultOf(err) == Result(vbaws.KindAuth) {
			limit = max(d, maxRefused)
		}
		for i := 1; i < p.failures && d < limit; i++ {
			d *= 2
		}
		d = min(d, limit)
	}
	d = time.Duration(float64(d) * (1 + jitter*(2*rand.Float64()-1)))
	var api *vbaws.APIError
	if errors.As(err, &api) {
		// Never earlier than asked.
		d = max(d, min(api.RetryAfter, maxRetryAfter))
	}
	return d
}

// Run polls until ctx ends, and returns once the pass under way has ended.
func (p *Poller) Run(ctx context.Context) {
	// Not all at once: a process may have hundreds of appliances.
	wait := time.Duration(rand.Float64() * float64(min(p.cfg.Interval, time.Second)))
	for {
		if !sleep(ctx, wait) {
			return
		}
		before := p.secret() // it may change while it is refused
		err := p.Poll(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && resultOf(err) == Result(vbaws.KindAuth) && p.cfg.Secret != nil {
			if !p.awaitSecret(ctx, before) {
				return
			}
			wait = 0
			continue
		}
		wait = p.Published().Next.Sub(p.now())
	}
}

// secret is what Config.Secret returned.
type secret struct {
	value  string
	failed bool
}

func (p *Poller) secret() secret {
	if p.cfg.Secret == nil {
		return secret{}
	}
	value, err := p.cfg.Secret()
	return secret{value, err != nil}
}

// awaitSecret waits until the secret that was refused has changed, or until the
// next pass is due.
func (p *Poller) awaitSecret(ctx context.Context, refused secret) bool {
	for p.secret() == refused {
		left := p.Published().Next.Sub(p.now())
		if left <= 0 {
			return true
		}
		if !sleep(ctx, min(left, p.cfg.Interval)) {
			return false
		}
	}
	return true
}

// sleep waits, and reports whether ctx still holds.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(max(0, d))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return ctx.Err() == nil
	}
}
