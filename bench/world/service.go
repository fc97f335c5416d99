package world

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// Service returns the part of the program that is a world.
func Service() any { return &service{gate: gate{open: true}} }

// service is what the process of a world does. Calls come one at a time.
type service struct {
	spec       Spec
	clock      *vbawstest.Clock
	appliances []*appliance
	gate       gate
}

type appliance struct {
	*vbawstest.Appliance
	policies []vbawstest.Policy
	fleet    *vbawstest.Fleet
	sessions int      // made by history and change
	running  []string // started by the last change
	stuck    []string // stragglers that run
}

// Begin makes the appliances and returns their URLs.
func (s *service) Begin(spec Spec, urls *[]string) error {
	spec.Appliances = max(spec.Appliances, 1)
	s.spec, s.clock = spec, vbawstest.NewClock(spec.Now)
	for i := range spec.Appliances {
		a := &appliance{Appliance: vbawstest.New(vbawstest.Config{Now: s.clock.Now, Seed: uint64(i + 1), Forgetful: !spec.Remembers})}
		var specs []vbawstest.PolicySpec
		for n := range spec.Policies {
			specs = append(specs, vbawstest.PolicySpec{
				Policy:  vbawstest.Policy{Name: fmt.Sprintf("Production servers %04d", n), Enabled: true, Schedule: schedule(spec.Hourly)},
				Typical: 10 * time.Minute, FailureRate: 0.02, WarningRate: 0.05,
			})
		}
		a.fleet = vbawstest.NewFleet(a.Appliance, vbawstest.FleetConfig{
			Seed: uint64(i + 1), Policies: specs, Start: spec.Now, Retention: spec.Retention,
		})
		a.policies = a.Policies()
		if spec.Past > 0 {
			a.fleet.Backfill(spec.Now.Add(-spec.Past))
		}
		for n := range spec.Stragglers {
			p := a.policies[n%len(a.policies)]
			a.stuck = append(a.stuck, a.Start(vbawstest.Session{
				Type: "Policy", ExtendedType: "PolicySnapshot", Name: p.Name, PolicyID: p.ID, Start: spec.Now.Add(-30 * time.Hour),
			}).ID)
		}
		a.OnRequest(func(*http.Request) { s.gate.pass() })
		s.appliances = append(s.appliances, a)
		*urls = append(*urls, vbawstest.NewHTTPServer(a.Appliance).URL)
	}
	return nil
}

func schedule(hourly int) *vbawstest.ScheduleSettings {
	if hourly == 0 {
		return nil
	}
	return &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
		Kind: "Everyday", RunsPerHour: hourly, Snapshot: vbawstest.EveryHour(vbawstest.Retention{Count: 48}),
	}}
}

func (s *service) History(n int, _ *struct{}) error {
	for _, a := range s.appliances {
		for i := range n {
			session := a.session()
			session.Start = s.spec.Now.Add(-HistorySpan + time.Duration(int64(HistorySpan-2*time.Hour)/int64(n)*int64(i)))
			session.Stop = session.Start.Add(length(i))
			a.Put(session)
		}
	}
	return nil
}

// session returns the next session, as if it had just ended. Each policy in turn
// has one of its own, then two of its parts. Its first three runs end in each of
// the ways that there are, so that the series are the same however many sessions
// there are; later ones succeed mostly.
func (a *appliance) session() vbawstest.Session {
	i := a.sessions
	a.sessions++
	p := &a.policies[i%len(a.policies)]
	round := i / len(a.policies)
	run := round / 3
	s := vbawstest.Session{
		Name: p.Name, PolicyID: p.ID, ExtendedType: "PolicySnapshot", Reason: "Schedule", Status: vbawstest.StatusSucceeded,
	}
	switch round % 3 {
	case 0:
		s.Type = "Policy"
	case 1:
		s.Type = "Job"
	case 2:
		// The parts of a job have the names of what they back up.
		s.Type, s.Name = "Task", fmt.Sprintf("i-%017x", i%len(a.policies))
	}
	switch {
	case run == 0 || run > 2 && run%50 == 7:
		s.Status = vbawstest.StatusFailed
	case run == 1 || run > 2 && run%20 == 3:
		s.Status = vbawstest.StatusWarning
	}
	return s
}

// length returns how long a session took: from a minute to some two hours.
func length(i int) time.Duration {
	return time.Minute + time.Duration(i*7919%7_000_000)*time.Millisecond
}

func (s *service) Change(n int, ended *int) error {
	for _, a := range s.appliances {
		*ended = len(a.running)
		for _, id := range a.running {
			if _, found := a.Finish(id, vbawstest.StatusSucceeded, time.Time{}); !found {
				return fmt.Errorf("session %s isn't there any more", id)
			}
		}
		a.running = a.running[:0]
		for range n / 2 {
			session := a.session()
			session.Status = ""
			a.running = append(a.running, a.Start(session).ID)
		}
	}
	return nil
}

func (s *service) Advance(to time.Time, _ *struct{}) error {
	s.clock.Set(to)
	for _, a := range s.appliances {
		a.fleet.Advance(to)
		if to.Before(s.spec.Now.Add(30 * time.Minute)) {
			continue
		}
		for _, id := range a.stuck {
			if _, found := a.Finish(id, vbawstest.StatusFailed, to); !found {
				return fmt.Errorf("session %s isn't there any more", id)
			}
		}
		a.stuck = nil
	}
	return nil
}

func (s *service) Truth(span Span, truth *map[Key]int) error {
	for _, h := range s.appliances[0].History() {
		for _, state := range h.States {
			if state.Status == vbawstest.StatusRunning {
				continue
			}
			if state.Committed.After(span.After) && !state.Committed.After(span.Until) {
				(*truth)[KeyOf(state.Type, state.Name, state.Status)]++
			}
			break // the first status that it ended with counts
		}
	}
	return nil
}

func (s *service) Traffic(_ struct{}, t *Traffic) error {
	requests := s.appliances[0].Requests()
	t.Requests = len(requests)
	for _, r := range requests {
		t.Bytes += r.Bytes
	}
	return nil
}

// gate is what requests must pass.
type gate struct {
	mu     sync.Mutex
	open   bool
	opened chan struct{} // closed when it opens
}

func (g *gate) pass() {
	g.mu.Lock()
	open, opened := g.open, g.opened
	g.mu.Unlock()
	if !open {
		<-opened
	}
}

func (s *service) Gate(open bool, _ *struct{}) error {
	g := &s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case open && !g.open:
		close(g.opened)
	case !open && g.open:
		g.opened = make(chan struct{})
	}
	g.open = open
	return nil
}
