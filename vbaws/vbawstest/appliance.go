package vbawstest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Appliance is a simulated appliance and the http.Handler of its REST API. All
// its methods are safe to call from any goroutine.
type Appliance struct {
	mu       sync.Mutex
	cfg      Config
	rng      *rand.Rand
	table    *table
	seq      uint64
	nextUSN  int64
	log      map[string][]LogItem
	items    map[string][]Item
	raw      []byte
	policies []*Policy // in order of creation
	policy   map[string]*Policy
	polUSN   int64

	tokens  tokens
	faults  []*Injection
	broken  map[string]bool // ids that Break was called with
	summary struct{ now, before [5]int }

	requests   []Request
	served     uint64
	violations []string
	onRequest  func(*http.Request)
	afterPage  func(*http.Request)

	regionID, accountID, slaTemplateID string
}

// New returns an appliance without sessions and policies. It panics if the configuration is
// invalid: an unknown product, or a repository or an instance without a UUID.
func New(cfg Config) *Appliance {
	cfg.check()
	a := &Appliance{
		cfg:     cfg,
		rng:     rand.New(rand.NewPCG(cfg.Seed, 0x766261_7773)),
		table:   newTable(),
		nextUSN: orElse(cfg.FirstUSN, 1),
		log:     make(map[string][]LogItem),
		items:   make(map[string][]Item),
		policy:  make(map[string]*Policy),
		polUSN:  1,
	}
	a.tokens.init()
	a.regionID, a.accountID, a.slaTemplateID = a.uuid(), a.uuid(), a.uuid()
	a.summary.now = a.counts()
	a.summary.before = a.summary.now
	return a
}

func (c *Config) check() {
	if p := c.product(); p < oldestProduct || p > newestProduct {
		panic(fmt.Sprintf("vbawstest: product %d is not between %d and %d", p, oldestProduct, newestProduct))
	}
	for _, rev := range c.Revisions {
		if _, ok := minorOf(rev); !ok {
			panic(fmt.Sprintf("vbawstest: revision %q is not of the form 1.7-rev0", rev))
		}
	}
	for _, r := range c.Repositories {
		mustUUID(r.ID)
	}
	for _, i := range c.Instances {
		mustUUID(i.ID)
	}
}

func mustUUID(id string) {
	if !isUUID(id) || id != strings.ToLower(id) {
		panic(fmt.Sprintf("vbawstest: %q is not a lower-case UUID", id))
	}
}

func (a *Appliance) uuid() string { return newUUID(a.rng) }

// newUUID returns a random UUID.
func newUUID(rng *rand.Rand) string {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], rng.Uint64())
	binary.BigEndian.PutUint64(id[8:], rng.Uint64())
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

func (a *Appliance) worldNow() time.Time {
	if a.cfg.Now == nil {
		return time.Now()
	}
	return a.cfg.Now()
}

// ownNow is the time by the appliance's own clock.
func (a *Appliance) ownNow() time.Time { return a.worldNow().Add(a.cfg.Offset) }

// Now returns the time by the appliance's own clock.
func (a *Appliance) Now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ownNow()
}

// StepClock moves the appliance's own clock by d against the world's.
func (a *Appliance) StepClock(d time.Duration) {
	a.Reconfigure(func(c *Config) { c.Offset += d })
}

// Reconfigure changes the configuration: an update of the product, another
// reading of a parameter, a changed password. The function must not call the
// Appliance. A changed Seed or FirstUSN has no effect.
func (a *Appliance) Reconfigure(change func(*Config)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.cfg)
	a.cfg.check()
	a.table.version++
	a.count()
}

// A ChangeOption modifies how a change of a session is committed.
type ChangeOption func(*change)

type change struct {
	usn    int64
	hasUSN bool
	delay  time.Duration
	hidden bool
}

// WithUSN gives the change this USN instead of the next one. The sequence is unchanged.
func WithUSN(usn int64) ChangeOption {
	return func(c *change) { c.usn, c.hasUSN = usn, true }
}

// VisibleAfter commits the change and takes its USN now, but requests find it only when the
// world's clock has advanced by d: a transaction that commits late.
func VisibleAfter(d time.Duration) ChangeOption {
	return func(c *change) { c.delay = d }
}

// Hidden is VisibleAfter, until Reveal is called.
func Hidden() ChangeOption {
	return func(c *change) { c.hidden = true }
}

// never is later than any test's clock.
var never = time.Date(9999, time.January, 1, 0, 0, 0, 0, time.UTC)

// Reveal makes all hidden changes visible.
func (a *Appliance) Reveal() {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.worldNow()
	for {
		p, ok := a.table.pending.PopMin()
		if !ok {
			return
		}
		a.table.show(p, now)
	}
}

// Put adds a session or replaces the one of that id, and returns it as it was committed. An
// empty ID is replaced by a random UUID, any other must be a UUID. Start and Stop are
// unchanged.
func (a *Appliance) Put(s Session, opts ...ChangeOption) Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.ID == "" {
		s.ID = a.uuid()
	}
	mustUUID(s.ID)
	return a.commit(s, nil, opts)
}

// Start adds a running session. The default of Status is Running, and that of Start the time
// of the appliance's own clock.
func (a *Appliance) Start(s Session, opts ...ChangeOption) Session {
	s.Status = orElse(s.Status, StatusRunning)
	if s.Start.IsZero() {
		s.Start = a.Now()
	}
	return a.Put(s, opts...)
}

// PutRaw adds a row that is served as the bytes of body, valid JSON or not, at the position
// of a session with that id, USN and start. Filters other than FromUtc, ToUtc and Usn don't
// find it.
func (a *Appliance) PutRaw(id string, usn int64, start time.Time, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if body == nil {
		body = []byte{}
	}
	a.commit(Session{ID: id, Start: start}, slices.Clone(body), []ChangeOption{WithUSN(usn)})
}

// Update changes a session, hidden changes included, and returns it as it was
// committed. It reports false if there is none of that id. The function must
// not call the Appliance; it can't change the ID.
func (a *Appliance) Update(id string, f func(*Session), opts ...ChangeOption) (Session, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.table.entries[id]
	if e == nil || e.latest == nil {
		return Session{}, false
	}
	s := e.latest.Session
	f(&s)
	s.ID = id
	return a.commit(s, e.latest.raw, opts), true
}

// Finish ends a session with a status at a time of the appliance's own clock;
// the zero time is now.
func (a *Appliance) Finish(id, status string, at time.Time, opts ...ChangeOption) (Session, bool) {
	if at.IsZero() {
		at = a.Now()
	}
	return a.Update(id, func(s *Session) { s.Status, s.Result, s.Stop = status, "", at }, opts...)
}

// Reopen makes a finished session run again.
func (a *Appliance) Reopen(id string, opts ...ChangeOption) (Session, bool) {
	return a.Update(id, func(s *Session) { s.Status, s.Result, s.Stop = StatusRunning, "", time.Time{} }, opts...)
}

// commit stores a new state of a session.
func (a *Appliance) commit(s Session, raw []byte, opts []ChangeOption) Session {
	var c change
	for _, o := range opts {
		o(&c)
	}
	now := a.worldNow()
	a.table.settle(now)
	switch {
	case c.hasUSN:
		s.USN = c.usn
	case a.cfg.USNPerSession:
		s.USN = 1
		if e := a.table.entries[s.ID]; e != nil && e.latest != nil {
			s.USN = e.latest.USN + 1
		}
	default:
		s.USN = a.nextUSN
		a.nextUSN++
	}
	s.Start, s.Stop = s.Start.UTC().Truncate(time.Microsecond), s.Stop.UTC().Truncate(time.Microsecond)
	visible := now.Add(c.delay)
	if c.hidden {
		visible = never
	}
	a.seq++
	a.table.commit(&row{Session: s, raw: raw, seq: a.seq}, now, visible)
	if p := a.policy[s.PolicyID]; p != nil {
		p.USN, a.polUSN = a.polUSN, a.polUSN+1
		if s.Type == "Policy" {
			p.LastStatus = s.Status
		}
	}
	return s
}

// SetLog sets a session's log.
func (a *Appliance) SetLog(id string, log ...LogItem) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.log[id] = slices.Clone(log)
}

// SetItems sets the workloads that a session processed.
func (a *Appliance) SetItems(id string, items ...Item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.items[id] = slices.Clone(items)
	a.table.version++
}

// Delete removes a session and reports whether there was one.
func (a *Appliance) Delete(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.worldNow()
	a.table.settle(now)
	e := a.table.entries[id]
	if e == nil || e.latest == nil {
		return false
	}
	a.remove(e, now)
	return true
}

// DeleteBefore removes all sessions that started before t and aren't running, like the
// appliance's retention, and returns their number.
func (a *Appliance) DeleteBefore(t time.Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.worldNow()
	a.table.settle(now)
	var old []*entry
	a.table.byStart.Scan(func(r *row) bool {
		if !r.Start.Before(t) {
			return false
		}
		if r.Status != StatusRunning {
			old = append(old, a.table.entries[r.ID])
		}
		return true
	})
	for _, e := range old {
		a.remove(e, now)
	}
	return len(old)
}

func (a *Appliance) remove(e *entry, now time.Time) {
	a.table.delete(e, now)
	if a.cfg.Forgetful {
		a.table.forget(e)
	}
	delete(a.log, e.id)
	delete(a.items, e.id)
}

// ResetUSN continues the appliance's sequence from next, as after a configuration restore.
// USNs of sessions are unchanged.
func (a *Appliance) ResetUSN(next int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nextUSN = next
}

// RenumberUSN gives all sessions new USNs from next on, in their order, as after a restore
// into a new appliance, and continues the sequence from there. It is a change of each
// session.
func (a *Appliance) RenumberUSN(next int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.table.settle(a.worldNow())
	a.nextUSN = next
	for _, r := range slices.Clone(a.table.byUSN.Items()) {
		if e := a.table.entries[r.ID]; e.latest != nil {
			usn := a.nextUSN
			a.nextUSN++
			a.commit(e.latest.Session, e.latest.raw, []ChangeOption{WithUSN(usn)})
		}
	}
}

// Lookup returns a session as requests find it now.
func (a *Appliance) Lookup(id string) (Session, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.table.settle(a.worldNow())
	if e := a.table.entries[id]; e != nil && e.visible != nil {
		return e.visible.Session, true
	}
	return Session{}, false
}

// Len returns the number of sessions that requests find now.
func (a *Appliance) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.table.settle(a.worldNow())
	return a.table.byUSN.Len()
}

// RawSessions makes body the answer to every accepted GET /api/v1/sessions, until it is
// called with nil.
func (a *Appliance) RawSessions(body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.raw = slices.Clone(body)
}

// PutPolicy adds a policy or replaces the one of that id, and returns it as it was committed.
// An empty ID is replaced by a random UUID, any other must be a UUID. A VPC policy without
// an interval runs every hour.
func (a *Appliance) PutPolicy(p Policy) Policy {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.ID == "" {
		p.ID = a.uuid()
	}
	mustUUID(p.ID)
	p.Workload = orElse(p.Workload, EC2)
	if p.Workload == VPC {
		p.Every = orElse(p.Every, Interval{"Hours", 1})
	}
	p.check()
	p.USN, a.polUSN = a.polUSN, a.polUSN+1
	if old := a.policy[p.ID]; old != nil {
		*old = p
	} else {
		a.policy[p.ID] = &p
		a.policies = append(a.policies, &p)
	}
	a.count()
	return p
}

// UpdatePolicy changes a policy and returns it as it was committed. It reports
// false if there is none of that id. The function must not call the Appliance;
// it can't change the ID.
func (a *Appliance) UpdatePolicy(id string, f func(*Policy)) (Policy, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.policy[id]
	if p == nil {
		return Policy{}, false
	}
	f(p)
	p.ID = id
	p.check()
	p.USN, a.polUSN = a.polUSN, a.polUSN+1
	return *p, true
}

// RenamePolicy changes a policy's name. Its sessions keep theirs.
func (a *Appliance) RenamePolicy(id, name string) bool {
	_, ok := a.UpdatePolicy(id, func(p *Policy) { p.Name = name })
	return ok
}

// EnablePolicy enables or disables a policy.
func (a *Appliance) EnablePolicy(id string, enabled bool) bool {
	_, ok := a.UpdatePolicy(id, func(p *Policy) { p.Enabled = enabled })
	return ok
}

// DeletePolicy removes a policy. Its sessions stay.
func (a *Appliance) DeletePolicy(id string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.policy[id] == nil {
		return false
	}
	delete(a.policy, id)
	a.policies = slices.DeleteFunc(a.policies, func(p *Policy) bool { return p.ID == id })
	a.count()
	return true
}

// Policies returns the policies in order of their creation.
func (a *Appliance) Policies() []Policy {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Policy, len(a.policies))
	for i, p := range a.policies {
		out[i] = *p
	}
	return out
}

// History has all states that one session ever had.
type History struct {
	ID string
	// States are in the order of their commits.
	States []State
	// Deleted is when the session was deleted, by the world's clock; zero if it was not.
	Deleted time.Time
}

// State is one committed state of a session.
type State struct {
	Session
	// Raw is what PutRaw was given; nil for a session.
	Raw []byte
	// Committed and Visible are by the world's clock. Visible is the time of the first
	// call at which requests would have found the state; zero if there was none so far.
	Committed, Visible time.Time
}

// Visible reports whether requests could find any state of the session.
func (h *History) Visible() bool {
	return slices.ContainsFunc(h.States, func(s State) bool { return !s.Visible.IsZero() })
}

// History returns the history of all sessions, deleted ones included, in the order of their
// first commits.
func (a *Appliance) History() []History {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.table.settle(a.worldNow())
	out := make([]History, 0, len(a.table.entries))
	for _, e := range a.table.order {
		if a.table.entries[e.id] == e {
			out = append(out, e.history())
		}
	}
	return out
}

// HistoryOf returns the history of one session, and false if there never was one of that id.
func (a *Appliance) HistoryOf(id string) (History, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.table.settle(a.worldNow())
	e := a.table.entries[id]
	if e == nil {
		return History{}, false
	}
	return e.history(), true
}

func (e *entry) history() History {
	h := History{ID: e.id, Deleted: e.deleted, States: make([]State, len(e.states))}
	for i, s := range e.states {
		h.States[i] = State{Session: s.row.Session, Raw: s.row.raw, Committed: s.committed, Visible: s.visible}
	}
	return h
}

// counts are the numbers of /statistics/summary, in the order of summaryNames.
func (a *Appliance) counts() [5]int {
	s := a.cfg.Summary
	return [5]int{s.Alarms, s.Instances, s.ProtectedInstances, len(a.policies), len(a.cfg.Repositories)}
}

// count records a change of the counts, for their trends.
func (a *Appliance) count() {
	if now := a.counts(); now != a.summary.now {
		a.summary.before, a.summary.now = a.summary.now, now
	}
}
