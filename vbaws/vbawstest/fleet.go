package vbawstest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/btree"
)

// PolicySpec is a policy of a Fleet and the behavior of its runs.
type PolicySpec struct {
	// Policy is put into the appliance. An empty ID is made from the fleet's seed,
	// without Items the policy protects one workload of its own.
	Policy
	// Typical is the median duration of a session, 0 is 15 minutes. Durations are
	// log-normal around it.
	Typical time.Duration
	// FailureRate is the probability that a session fails, and RetryFailureRate
	// that of a retry, which comes 60 s later, at most Policy.RetryTimes times.
	FailureRate, RetryFailureRate float64
	// WarningRate is the probability that a session that doesn't fail ends with
	// Warning.
	WarningRate float64
	// LeftOut is the id of an item that no session processes from LeftOutFrom on:
	// sessions that would succeed end with Warning. The message in the log was observed
	// at 1.7.
	LeftOut     string
	LeftOutFrom time.Time
	// StuckAtRun is the run whose first session never ends; 1 is the first run, 0
	// none. The policy doesn't run again after it, unless runs are side by side:
	// FleetConfig.Overlap.
	StuckAtRun int
	// StopAfterRuns is the number of runs after which the policy stays silent
	// although it is enabled; 0 is never.
	StopAfterRuns int
}

// FleetConfig describes a Fleet.
type FleetConfig struct {
	// Seed determines all that happens.
	Seed     uint64
	Policies []PolicySpec
	// Start is when the fleet begins, and when Compress does. Zero is the
	// world's clock of the appliance.
	Start time.Time
	// Compress is how many times faster than real schedules and durations go
	// from Start on; 0 is 1. With 1440, what is scheduled daily runs every minute.
	// Stamped times remain those of the clock.
	Compress float64
	// Stretch makes sessions last longer, from Start on, by this factor; 0 is 1. With
	// Compress it keeps durations from vanishing, and makes runs overlap.
	Stretch float64
	// Overlap is the effect of a start during a run of its policy.
	Overlap Overlap
	// SideBySide runs the kinds of one run at the same time, each with its own retries.
	// The zero value runs one after another. Neither is documented.
	SideBySide bool
	// ClockChange is what policies do when the clocks change.
	ClockChange ClockChange
	// ExtendedType, if not nil, returns the word of extendedSessionType. The package's
	// own words are guesses for some workloads and kinds.
	ExtendedType func(w Workload, kind string) string
	// Retention is the age at which the nightly retention removes sessions; 0 is
	// never.
	Retention time.Duration
	// PoliciesOnly omits retention, configuration backups and restores.
	PoliciesOnly bool
}

// Overlap is the effect of a start during a run of the same policy. Not documented.
type Overlap int

const (
	// OverlapSkip skips the start.
	OverlapSkip Overlap = iota
	// OverlapQueue delays the start until the end of the run. Several are run one after
	// another.
	OverlapQueue
	// OverlapBeside begins another run at once.
	OverlapBeside
)

// Fleet makes policies run on an appliance as time advances. What happens, and
// when, depends on its configuration alone and not on the steps in which it is
// advanced. Its methods are safe to call from any goroutine.
type Fleet struct {
	a   *Appliance
	cfg FleetConfig

	mu     sync.Mutex
	begun  bool
	events *btree.BTreeG[event]
	seq    uint64
	rng    *rand.Rand // for what belongs to no policy
	units  []*unit
}

// unit is a policy and the state of its runs.
type unit struct {
	PolicySpec
	rng     *rand.Rand
	running int        // runs under way
	waiting [][]string // kinds of the delayed starts
	runs    int
}

// run is one run of a policy.
type run struct {
	stuck bool
	left  int // chains of sessions that have not ended
}

// event is a function to call at a time of the schedule. From Start on, this time advances
// Compress times as fast as the world's.
type event struct {
	at  time.Time
	seq uint64
	do  func(at time.Time)
}

// NewFleet puts the fleet's policies into the appliance. Nothing runs before
// Advance, Backfill or Run is called.
func NewFleet(a *Appliance, cfg FleetConfig) *Fleet {
	if cfg.Start.IsZero() {
		cfg.Start = a.world()
	}
	cfg.Compress, cfg.Stretch = orElse(cfg.Compress, 1), orElse(cfg.Stretch, 1)
	f := &Fleet{
		a:   a,
		cfg: cfg,
		rng: rand.New(rand.NewPCG(cfg.Seed, 0)),
		events: btree.NewBTreeGOptions(func(a, b event) bool {
			return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.seq, b.seq)) < 0
		}, btree.Options{NoLocks: true}),
	}
	for i, spec := range cfg.Policies {
		u := &unit{PolicySpec: spec, rng: rand.New(rand.NewPCG(cfg.Seed, uint64(i)+1))}
		if u.ID == "" {
			u.ID = newUUID(u.rng)
		}
		if len(u.Items) == 0 {
			u.Items = []Item{{ID: newUUID(u.rng), Name: fmt.Sprintf("workload-%02d", i+1), Region: "eu-central-1"}}
		}
		u.Policy = a.PutPolicy(u.Policy)
		f.units = append(f.units, u)
	}
	return f
}

// world returns the time of the world's clock.
func (a *Appliance) world() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.worldNow()
}

// clocks returns the part of the appliance's configuration that the fleet needs.
func (a *Appliance) clocks() (zone *time.Location, offset time.Duration, product int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg.zone(), a.cfg.Offset, a.cfg.product()
}

// Backfill plays everything between from and Start, uncompressed, as if the fleet
// had begun then. It panics once the fleet has begun.
func (f *Fleet) Backfill(from time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.begun {
		panic("vbawstest: Backfill of a fleet that has begun")
	}
	f.begin(from)
	f.advance(f.cfg.Start)
}

// Advance plays, in their order, all events up to a time of the world's clock,
// that instant included.
func (f *Fleet) Advance(to time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.begun {
		f.begin(f.cfg.Start)
	}
	f.advance(to)
}

func (f *Fleet) advance(to time.Time) {
	for {
		e, ok := f.events.Min()
		if !ok || f.real(e.at).After(to) {
			return
		}
		f.events.Delete(e)
		e.do(e.at)
	}
}

// Next returns the time, by the world's clock, of the next event, and false if there is
// none.
func (f *Fleet) Next() (time.Time, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.begun {
		f.begin(f.cfg.Start)
	}
	e, ok := f.events.Min()
	return f.real(e.at), ok
}

// Run advances the fleet with the appliance's world clock, which must advance with real time,
// until the context ends.
func (f *Fleet) Run(ctx context.Context) {
	for {
		now := f.a.world()
		f.Advance(now)
		next, ok := f.Next()
		if !ok {
			<-ctx.Done()
			return
		}
		t := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// real returns the world's time of a time of the schedule.
func (f *Fleet) real(at time.Time) time.Time {
	since := float64(at.Sub(f.cfg.Start))
	if since >= math.MaxInt64 { // a Duration is at most 292 years
		since = float64(at.UnixMicro()-f.cfg.Start.UnixMicro()) * 1e3
	}
	if since > 0 && f.cfg.Compress != 1 {
		return f.cfg.Start.Add(time.Duration(since / f.cfg.Compress))
	}
	return at
}

// stamp returns the time that the appliance's own clock shows at a time of the
// schedule.
func (f *Fleet) stamp(at time.Time) time.Time {
	_, offset, _ := f.a.clocks()
	return f.real(at).Add(offset)
}

func (f *Fleet) plan(at time.Time, do func(time.Time)) {
	f.seq++
	f.events.Set(event{at, f.seq, do})
}

func (f *Fleet) begin(from time.Time) {
	f.begun = true
	for _, u := range f.units {
		f.planRun(u, from)
	}
	if f.cfg.PoliciesOnly {
		return
	}
	f.daily(from, At(4, 0), f.retention)
	f.daily(from, At(1, 30), f.configurationBackup)
	f.planRestore(from)
}

// planRun plans the unit's first run after a time.
func (f *Fleet) planRun(u *unit, after time.Time) {
	next := Occurrence{Time: after.Add(u.Every.length()), Kinds: []string{KindBackup}}
	if u.Workload != VPC {
		if u.Schedule == nil {
			return
		}
		zone, _, _ := f.a.clocks()
		var ok bool
		if next, ok = u.Schedule.NextBy(after, zone, f.cfg.ClockChange); !ok {
			return
		}
	}
	f.plan(next.Time, func(at time.Time) {
		f.planRun(u, at)
		f.start(u, at, next.Kinds)
	})
}

// start is a scheduled start of a policy.
func (f *Fleet) start(u *unit, at time.Time, kinds []string) {
	switch {
	case u.running == 0 || f.cfg.Overlap == OverlapBeside:
		f.run(u, at, kinds)
	case f.cfg.Overlap == OverlapQueue:
		u.waiting = append(u.waiting, kinds)
	}
}

func (f *Fleet) run(u *unit, at time.Time, kinds []string) {
	now, found := f.a.policyByID(u.ID)
	if !found || !now.Enabled || u.StopAfterRuns > 0 && u.runs >= u.StopAfterRuns {
		return
	}
	u.runs++
	u.running++
	r := &run{stuck: u.runs == u.StuckAtRun, left: 1}
	if !f.cfg.SideBySide {
		f.session(u, r, at, kinds, 0)
		return
	}
	r.left = len(kinds)
	for _, k := range kinds {
		f.session(u, r, at, []string{k}, 0)
	}
}

// ended records that a chain of sessions has ended, and with the last one the run.
func (f *Fleet) ended(u *unit, r *run, at time.Time) {
	if r.left--; r.left > 0 {
		return
	}
	u.running--
	for len(u.waiting) > 0 && u.running == 0 {
		kinds := u.waiting[0]
		u.waiting = u.waiting[1:]
		f.run(u, at, kinds)
	}
}

const (
	retryDelay = 60 * time.Second
	kindDelay  = 5 * time.Second // between the kinds of one run
)

// session runs the first of kinds and plans what follows.
func (f *Fleet) session(u *unit, r *run, at time.Time, kinds []string, attempt int) {
	now, found := f.a.policyByID(u.ID)
	if !found { // deleted between two parts of a run
		f.ended(u, r, at)
		return
	}
	ext := f.extendedType(u.Workload, kinds[0])
	s := Session{
		Type: "Policy", ExtendedType: ext, Name: now.sessionName(), PolicyID: u.ID, Start: f.stamp(at),
		ID: newUUID(u.rng), Reason: "Schedule",
	}
	if attempt > 0 {
		s.Reason = fmt.Sprintf("Retry %d", attempt)
	}
	job := Session{Type: "Job", ExtendedType: ext, Name: s.Name, Reason: s.Name, PolicyID: u.ID, ParentID: s.ID, ID: newUUID(u.rng)}
	tasks := make([]Session, len(u.Items))
	for i, item := range u.Items {
		tasks[i] = Session{Type: "Task", ExtendedType: ext, Name: item.Name, PolicyID: u.ID, ParentID: job.ID, ID: newUUID(u.rng)}
	}

	status, rate := StatusSucceeded, u.FailureRate
	if attempt > 0 {
		rate = u.RetryFailureRate
	}
	// Every value is drawn, whatever the others are, so that a changed rate changes no
	// duration.
	failed, warned := u.rng.Float64() < rate, u.rng.Float64() < u.WarningRate
	if failed {
		status = StatusFailed
	} else if warned {
		status = StatusWarning
	}
	out := slices.IndexFunc(u.Items, func(i Item) bool { return i.ID == u.LeftOut && !at.Before(u.LeftOutFrom) })
	if out >= 0 && status == StatusSucceeded {
		status = StatusWarning
	}
	culprit := u.rng.IntN(len(tasks))
	length := logNormal(u.rng, orElse(u.Typical, 15*time.Minute))
	if !at.Before(f.cfg.Start) {
		length = time.Duration(float64(length) * f.cfg.Stretch)
	}

	f.a.Start(s)
	f.a.SetLog(s.ID, LogItem{Time: s.Start, Status: "Running", Message: fmt.Sprintf("Processing policy %q", s.Name)})
	part := func(percent int64) time.Time { return at.Add(length * time.Duration(percent) / 100) }
	f.plan(part(5), func(at time.Time) {
		job.Start = f.stamp(at)
		f.a.Start(job)
	})
	for i := range tasks {
		f.plan(part(10), func(at time.Time) {
			tasks[i].Start = f.stamp(at)
			f.a.Start(tasks[i])
		})
	}
	if r.stuck {
		return
	}
	outcome := func(i int) string {
		if i == culprit {
			return status
		}
		return StatusSucceeded
	}
	for i := range tasks {
		done := part(50 + int64(u.rng.IntN(45)))
		f.plan(done, func(at time.Time) { f.a.Finish(tasks[i].ID, outcome(i), f.stamp(at)) })
	}
	f.plan(part(98), func(at time.Time) { f.a.Finish(job.ID, status, f.stamp(at)) })
	f.plan(part(100), func(at time.Time) {
		items := make([]Item, 0, len(u.Items))
		for i, item := range u.Items {
			if i == out {
				continue
			}
			item.Status = outcome(i)
			items = append(items, item)
		}
		log := f.sessionLog(s, f.stamp(at), items)
		if out >= 0 {
			log = append(log, LogItem{Time: f.stamp(at), Status: "Warning",
				Message: "The resource is already protected by another policy: " + u.Items[out].Name})
		}
		f.a.SetItems(s.ID, items...)
		f.a.SetLog(s.ID, log...)
		f.a.Finish(s.ID, status, f.stamp(at))
		switch {
		case status == StatusFailed && attempt < u.RetryTimes:
			f.plan(at.Add(retryDelay), func(at time.Time) { f.session(u, r, at, kinds, attempt+1) })
		case len(kinds) > 1:
			f.plan(at.Add(kindDelay), func(at time.Time) { f.session(u, r, at, kinds[1:], 0) })
		default:
			f.ended(u, r, at)
		}
	})
}

func (f *Fleet) sessionLog(s Session, end time.Time, items []Item) []LogItem {
	log := []LogItem{{Time: s.Start, Status: "Success", Message: fmt.Sprintf("Processing policy %q", s.Name)}}
	for _, i := range items {
		line := LogItem{Time: end, Status: "Success", Message: "Processing " + i.Name, Start: s.Start, Duration: end.Sub(s.Start)}
		switch i.Status {
		case StatusFailed:
			line.Status, line.Message = "Error", fmt.Sprintf("Failed to process %s: the worker instance in %s can't be deployed: insufficient capacity", i.Name, i.Region)
		case StatusWarning:
			line.Status, line.Message = "Warning", fmt.Sprintf("%s was processed without application consistency", i.Name)
		}
		log = append(log, line)
	}
	return log
}

// daily plans something for every day at a time of the appliance's zone.
func (f *Fleet) daily(after time.Time, of TimeOfDay, do func(at time.Time)) {
	zone, _, _ := f.a.clocks()
	days := ScheduleSettings{WeeklyEnabled: true, Weekly: &WeeklySchedule{
		TimeLocal: of, Snapshot: Weekdays(Retention{}, 0, 1, 2, 3, 4, 5, 6)}}
	next, ok := days.Next(after, zone)
	if !ok {
		return
	}
	f.plan(next.Time, func(at time.Time) {
		f.daily(at, of, do)
		do(at)
	})
}

// activity is a session of no policy that ends after length.
func (f *Fleet) activity(at time.Time, s Session, status string, length time.Duration) {
	s.ID, s.Start = newUUID(f.rng), f.stamp(at)
	f.a.Start(s)
	f.plan(at.Add(length), func(at time.Time) { f.a.Finish(s.ID, status, f.stamp(at)) })
}

func (f *Fleet) retention(at time.Time) {
	f.activity(at, Session{Type: "RetentionActivity"}, StatusSucceeded, logNormal(f.rng, 3*time.Second))
	if f.cfg.Retention > 0 {
		f.a.DeleteBefore(f.stamp(at).Add(-f.cfg.Retention))
	}
}

func (f *Fleet) configurationBackup(at time.Time) {
	kind := "ConfigurationBackupActivity"
	if _, _, product := f.a.clocks(); product < 9 {
		kind = "SelfBackupActivity"
	}
	f.activity(at, Session{Type: kind}, StatusSucceeded, logNormal(f.rng, 2*time.Minute))
}

// meanBetweenRestores is the mean time between two restores.
const meanBetweenRestores = 9 * time.Hour

func (f *Fleet) planRestore(after time.Time) {
	if len(f.units) == 0 {
		return
	}
	wait := time.Duration(f.rng.ExpFloat64() * float64(meanBetweenRestores))
	f.plan(after.Add(wait+time.Second), func(at time.Time) {
		f.planRestore(at)
		u := f.units[f.rng.IntN(len(f.units))]
		item := u.Items[f.rng.IntN(len(u.Items))]
		status := StatusSucceeded
		if f.rng.Float64() < 0.1 {
			status = StatusFailed
		}
		f.activity(at, Session{Type: "RestoreTask", Name: item.Name, Reason: "Restore test"}, status, logNormal(f.rng, 10*time.Minute))
	})
}

func (a *Appliance) policyByID(id string) (Policy, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.policy[id]; p != nil {
		return *p, true
	}
	return Policy{}, false
}

// logNormal draws a duration of that median, between a tenth of it and ten times
// it.
func logNormal(rng *rand.Rand, median time.Duration) time.Duration {
	factor := math.Exp(0.35 * rng.NormFloat64())
	return time.Duration(float64(median) * min(max(factor, 0.1), 10))
}

// extendedTypes are the words of extendedSessionType by workload and kind. The
// vendor documents none. Observed by public clients are PolicySnapshot,
// PolicyRemoteSnapshot, PolicyBackup, PolicyRdsSnapshot, PolicyEfsBackup,
// PolicyEfsBackupCopy and VpcBackup; the others are guesses in their manner.
var extendedTypes = map[Workload]map[string]string{
	EC2: {KindSnapshot: "PolicySnapshot", KindReplica: "PolicyRemoteSnapshot", KindBackup: "PolicyBackup",
		KindArchive: "PolicyArchive", KindHealthCheck: "PolicyBackupHealthCheck"},
	EC2SLA:             {KindSnapshot: "PolicySnapshot", KindReplica: "PolicyRemoteSnapshot", KindBackup: "PolicyBackup", KindArchive: "PolicyArchive"},
	RDS:                {KindSnapshot: "PolicyRdsSnapshot", KindReplica: "PolicyRdsRemoteSnapshot", KindBackup: "PolicyRdsBackup", KindArchive: "PolicyRdsArchive"},
	EFS:                {KindReplica: "PolicyEfsBackupCopy", KindBackup: "PolicyEfsBackup"},
	VPC:                {KindBackup: "VpcBackup"},
	DynamoDB:           {KindReplica: "PolicyDynamoDbBackupCopy", KindBackup: "PolicyDynamoDbBackup"},
	Redshift:           {KindReplica: "PolicyRedshiftBackupCopy", KindBackup: "PolicyRedshiftBackup"},
	RedshiftServerless: {KindReplica: "PolicyRedshiftServerlessBackupCopy", KindBackup: "PolicyRedshiftServerlessBackup"},
	FSx:                {KindReplica: "PolicyFsxBackupCopy", KindBackup: "PolicyFsxBackup"},
}

// extendedType returns the word for a kind. If a workload has no archive, its yearly schedule
// makes backups.
func (f *Fleet) extendedType(w Workload, kind string) string {
	if f.cfg.ExtendedType != nil {
		return f.cfg.ExtendedType(w, kind)
	}
	words := extendedTypes[w]
	if kind == KindArchive && words[kind] == "" {
		kind = KindBackup
	}
	return words[kind]
}
