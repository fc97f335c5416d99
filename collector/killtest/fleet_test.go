package killtest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

const (
	// backfill is long before what fleets find when they begin, and oldest long
	// before it: when initial sync is made doesn't change what it counts.
	backfill = 72 * time.Hour
	oldest   = 100 * time.Hour
	// delay is the longest that a change takes to become visible.
	delay = 40 * time.Minute
)

var epoch = time.Date(2026, time.March, 28, 22, 13, 7, 0, time.UTC)

// fleet is an appliance whose sessions progress only with calls, so that a slow machine
// sees the same number of changes from one request to the next. It is safe for
// concurrent use.
type fleet struct {
	a     *vbawstest.Appliance
	clock *vbawstest.Clock

	mu      sync.Mutex
	rng     *rand.Rand
	faulty  bool
	faults  []*vbawstest.Injection // those at work
	struck  int                    // requests that earlier ones failed
	policy  []vbawstest.Policy
	owners  map[string]string // policies by session
	running []string
	ended   []string
	// dispensable are sessions that ended before the fleet began.
	dispensable []string
	// storm is how many more requests find the world moving fast, and in a faulty
	// fleet the network failing. Then it calms down, so that long readings end.
	storm int
	// resting is set if nothing happens, synced if the exporter has counted what
	// was there at the beginning.
	resting, synced bool
	// setTime is called with the time when it changes; it can be nil.
	setTime func(time.Time)
}

// newFleet returns a fleet that has lived for some days. A faulty one's appliance
// and network do all that they are known to do wrong.
func newFleet(seed uint64, faulty bool, cfg vbawstest.Config) *fleet {
	return newFleetBy(vbawstest.NewClock(epoch), seed, faulty, cfg)
}

// newFleetBy is newFleet with a clock that fleets can share.
func newFleetBy(clock *vbawstest.Clock, seed uint64, faulty bool, cfg vbawstest.Config) *fleet {
	cfg.Now, cfg.Seed = clock.Now, seed
	f := &fleet{
		a: vbawstest.New(cfg), clock: clock, rng: rand.New(rand.NewPCG(seed, 0)), faulty: faulty,
		owners: make(map[string]string),
	}
	for _, name := range []string{"Nightly EC2", "Hourly \"prod\"", "Größe\nñ", "finance"} {
		f.policy = append(f.policy, f.a.PutPolicy(vbawstest.Policy{Name: name, Enabled: true, Workload: vbawstest.EC2}))
	}
	for i := range 90 {
		age := f.upTo(12 * time.Hour)
		if i < 30 {
			age += oldest
		}
		start := f.a.Now().Add(-age)
		id := f.start(start)
		if i >= 30 && i%15 == 14 {
			continue // still runs
		}
		f.a.Finish(id, f.final(), start.Add(f.upTo(age)))
		f.running = slices.DeleteFunc(f.running, func(r string) bool { return r == id })
		f.dispensable = append(f.dispensable, id)
	}
	return f
}

// upTo draws a duration.
func (f *fleet) upTo(d time.Duration) time.Duration { return time.Duration(f.rng.Int64N(int64(d))) }

func (f *fleet) final() string {
	return pick(f.rng, []string{"Succeeded", "Succeeded", "Warning", "Failed", "Canceled", "Expired"})
}

func pick[T any](rng *rand.Rand, of []T) T { return of[rng.IntN(len(of))] }

func (f *fleet) start(at time.Time, opts ...vbawstest.ChangeOption) string {
	s := vbawstest.Session{Start: at, Status: vbawstest.StatusRunning}
	switch kind := f.rng.IntN(10); {
	case kind < 8:
		p := pick(f.rng, f.policy)
		s.Type = pick(f.rng, []string{"Policy", "Policy", "Job"})
		s.ExtendedType = pick(f.rng, []string{"PolicyBackup", "PolicySnapshot"})
		s.Name, s.PolicyID = p.Name, p.ID
	case kind == 8:
		s.Type, s.ExtendedType, s.Name = "RestoreTask", "VmRestore", pick(f.rng, []string{"web-1", "db-2"})
	default:
		s.Type = "RetentionActivity"
	}
	s = f.a.Put(s, opts...)
	if s.PolicyID != "" {
		f.owners[s.ID] = s.Name
	}
	f.running = append(f.running, s.ID)
	return s.ID
}

// advance lets time pass, and nothing happen.
func (f *fleet) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.poll(d)
}

func (f *fleet) poll(d time.Duration) {
	now := f.clock.Advance(d)
	if f.setTime != nil {
		f.setTime(now)
	}
}

// request is called before each request.
func (f *fleet) request() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.storm > 0 {
		if f.storm--; f.storm == 0 {
			f.removeFaults()
		}
	}
	if f.storm > 0 && f.rng.IntN(2) == 0 || f.rng.IntN(8) == 0 {
		f.step()
	}
}

// begin is called before a process begins, after a number of steps that it doesn't
// see.
func (f *fleet) begin(steps int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range steps {
		f.step()
	}
	f.removeFaults()
	if f.resting {
		return
	}
	f.storm = 40
	if f.faulty {
		f.inject()
	}
}

// step lets some time pass and something happen.
func (f *fleet) step() {
	if f.resting {
		return
	}
	f.poll(f.upTo(2 * time.Minute))
	var late []vbawstest.ChangeOption
	if f.faulty && f.rng.IntN(5) == 0 {
		late = append(late, vbawstest.VisibleAfter(f.upTo(delay)))
	}
	switch n := f.rng.IntN(100); {
	case n < 35 && len(f.running) < 40:
		for range 1 + f.rng.IntN(3) {
			f.start(f.a.Now(), late...)
		}
	case n < 75:
		for range min(len(f.running), 1+f.rng.IntN(3)) {
			i := f.rng.IntN(len(f.running))
			id := f.running[i]
			f.running = slices.Delete(f.running, i, i+1)
			f.a.Finish(id, f.final(), time.Time{}, late...)
			f.ended = append(f.ended, id)
		}
	case n < 82 && len(f.ended) > 0: // an old row is touched and rises to the top
		f.a.Update(pick(f.rng, f.ended), func(s *vbawstest.Session) { s.Reason += "." })
	case !f.faulty:
	case n < 90 && !f.synced: // what follows would change what the initial sync counts
	case n < 84:
		f.a.RevokeTokens()
	case n < 90 && len(f.dispensable) > 0: // rows below it move up
		i := f.rng.IntN(len(f.dispensable))
		f.a.Delete(f.dispensable[i])
		f.dispensable = slices.Delete(f.dispensable, i, i+1)
	case n < 91:
		f.a.ResetUSN(f.rng.Int64N(400) - 50)
	case n < 92:
		f.a.RenumberUSN(f.rng.Int64N(400) - 50)
	}
}

// absence lets hours pass, once the exporter knows what was there at the
// beginning.
func (f *fleet) absence() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.synced {
		f.poll(f.upTo(12 * time.Hour))
	}
}

// inject turns the faults of the network on. Before the initial sync they spare the lists
// of policies: if these can't be read, sessions other than those of type Policy are counted
// of no policy, and for good.
func (f *fleet) inject() {
	routes := []string{""}
	if !f.synced {
		routes = []string{"/api/v1/sessions", "/api/v1/sessions/{id}"}
	}
	faults := []vbawstest.Fault{
		{Kind: vbawstest.FaultReset},
		{Kind: vbawstest.FaultTruncate},
		{Kind: vbawstest.FaultStatus, Status: 503},
		{Kind: vbawstest.FaultStartPage},
		{Kind: vbawstest.FaultGarbage},
	}
	for _, route := range routes {
		for _, fault := range faults {
			fault.Route, fault.Count, fault.Probability, fault.Seed = route, -1, 0.02, f.rng.Uint64()
			f.faults = append(f.faults, f.a.Inject(fault))
		}
	}
}

func (f *fleet) removeFaults() {
	for _, fault := range f.faults {
		f.struck += fault.Hits()
		fault.Remove()
	}
	f.faults = nil
}

// rest ends all faults, and lets nothing happen any more.
func (f *fleet) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.resting = true
	f.removeFaults()
	f.a.Reveal()
}

// sessions counts those that are to be counted.
func (f *fleet) sessions() (n int) {
	for k, v := range f.truth("1.8-rev0") {
		if strings.HasPrefix(k, "vbaws_sessions_total ") {
			n += int(v)
		}
	}
	return n
}

// truth returns what /metrics must have of sessions, by family and labels.
func (f *fleet) truth(revision string) map[string]float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	type newest struct {
		end    time.Time
		id     string
		status string
		took   time.Duration
	}
	m := make(map[string]float64)
	last := make(map[string]newest)
	sums := make(map[string]time.Duration)
	for _, h := range f.a.History() {
		s := h.States[0].Session
		ext := s.ExtendedType
		if revision == "1.0-rev0" {
			ext = ""
		}
		key := func(status string) string {
			l := fmt.Sprintf("extended_type=%q policy=%q", ext, f.owners[s.ID])
			if status != "" {
				l += fmt.Sprintf(" status=%q", status)
			}
			return l + fmt.Sprintf(" type=%q", s.Type)
		}
		now := h.States[len(h.States)-1].Session
		if now.Status == vbawstest.StatusRunning {
			m["vbaws_sessions_running "+key("")]++
			k := "vbaws_sessions_running_oldest_start_timestamp_seconds " + key("")
			if at := seconds(now.Start); m[k] == 0 || at < m[k] {
				m[k] = at
			}
			continue
		}
		ks := key(now.Status)
		took := max(0, now.Stop.Sub(now.Start))
		if now.Start.After(epoch.Add(-backfill)) {
			m["vbaws_sessions_total "+ks]++
			m["vbaws_session_duration_seconds_count "+ks]++
			sums[ks] += took
		}
		k := "vbaws_session_last_end_timestamp_seconds " + ks
		m[k] = max(m[k], seconds(now.Stop))
		o := last[key("")]
		if now.Stop.After(o.end) || now.Stop.Equal(o.end) && h.ID > o.id {
			last[key("")] = newest{now.Stop, h.ID, ks, took}
		}
	}
	for ks, sum := range sums {
		m["vbaws_session_duration_seconds_sum "+ks] = float64(sum.Microseconds()) / 1e6
	}
	for k, o := range last {
		m["vbaws_session_last_status "+o.status] = 1
		m["vbaws_session_last_duration_seconds "+k] = o.took.Seconds()
	}
	return nonzero(m)
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// nonzero leaves the zeros out: a counter that stands at 0 is the same as one that is not
// there.
func nonzero(m map[string]float64) map[string]float64 {
	maps.DeleteFunc(m, func(_ string, v float64) bool { return v == 0 })
	return m
}
