package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// simulatorEnv is set in the process that simulates appliances. It runs the same test
// binary, so that their CPU time and memory are not counted as the exporter's.
const simulatorEnv = "VBAWS_BENCH_SIMULATOR"

func TestMain(m *testing.M) {
	if os.Getenv(simulatorEnv) != "" {
		if err := simulate(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "simulated appliances:", err)
			os.Exit(1)
		}
		return
	}
	if err := os.Chdir(".."); err != nil { // apptest builds the module of the working directory
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	apptest.Main(m)
}

// spec describes simulated appliances, which are all alike.
type spec struct {
	Appliances, Policies int
	// Sessions is how many of each appliance have ended, in the 90 days before Now.
	Sessions int
	// Now is the time at which the clock stands; zero selects the real clock.
	Now time.Time
	// Hourly says that the policies have a schedule.
	Hourly bool
}

// span is the time in which the sessions of a spec began.
const span = 90 * 24 * time.Hour

// simulator is a process of simulated appliances.
type simulator struct {
	urls []string // of plain HTTP
	b    testing.TB
	in   *json.Encoder
	out  *json.Decoder
}

// start starts simulated appliances, which run until the end of the benchmark.
func start(b testing.TB, s spec) *simulator {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = append(os.Environ(), simulatorEnv+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	p := &simulator{b: b, in: json.NewEncoder(in), out: json.NewDecoder(out)}
	p.call(s, &p.urls)
	return p
}

func (p *simulator) call(request, answer any) {
	p.b.Helper()
	if err := errors.Join(p.in.Encode(request), p.out.Decode(answer)); err != nil {
		p.b.Fatal("simulated appliances: ", err)
	}
}

// change starts n/2 sessions of each appliance, and ends those that the previous change
// started. It returns how many ended on one appliance.
func (p *simulator) change(n int) (ended int) {
	p.b.Helper()
	p.call(n, &ended)
	return ended
}

// simulate reads a spec, writes the URLs, and then makes the changes that it reads.
func simulate(in io.Reader, out io.Writer) error {
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	var s spec
	if err := requests.Decode(&s); err != nil {
		return err
	}
	now := time.Now
	if !s.Now.IsZero() {
		now = vbawstest.NewClock(s.Now).Now
	}
	var all []*appliance
	var urls []string
	for i := range s.Appliances {
		a := newAppliance(s, i, now)
		all, urls = append(all, a), append(urls, vbawstest.NewHTTPServer(a.Appliance).URL)
	}
	if err := answers.Encode(urls); err != nil {
		return err
	}
	for {
		var n int
		if err := requests.Decode(&n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		ended := 0
		for _, a := range all {
			ended = len(a.running)
			if err := a.change(n); err != nil {
				return err
			}
		}
		if err := answers.Encode(ended); err != nil {
			return err
		}
	}
}

// appliance is a simulated one.
type appliance struct {
	*vbawstest.Appliance
	policies []vbawstest.Policy
	sessions int      // made so far
	running  []string // started by the last change
}

func newAppliance(s spec, i int, now func() time.Time) *appliance {
	var schedule *vbawstest.ScheduleSettings
	if s.Hourly {
		schedule = &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{
			Kind: "Everyday", RunsPerHour: 1, Snapshot: vbawstest.EveryHour(vbawstest.Retention{Count: 48}),
		}}
	}
	var policies []vbawstest.PolicySpec
	for n := range s.Policies {
		policies = append(policies, vbawstest.PolicySpec{
			Policy: vbawstest.Policy{Name: fmt.Sprintf("Production servers %04d", n), Enabled: true, Schedule: schedule},
		})
	}
	a := &appliance{Appliance: vbawstest.New(vbawstest.Config{Now: now, Seed: uint64(i + 1), Forgetful: true})}
	begin := now()
	vbawstest.NewFleet(a.Appliance, vbawstest.FleetConfig{Seed: uint64(i + 1), Policies: policies, Start: begin})
	a.policies = a.Policies()
	for n := range s.Sessions {
		session := a.next()
		session.Start = begin.Add(-span + (span-2*time.Hour)/time.Duration(s.Sessions)*time.Duration(n))
		session.Stop = session.Start.Add(time.Minute + time.Duration(n*7919%7_000_000)*time.Millisecond)
		a.Put(session)
	}
	return a
}

// next returns the next session, finished. Each policy in turn has a session of type Policy,
// then one of type Job and one of type Task. The first three runs have all statuses, so the
// number of series does not depend on that of sessions. Most later runs succeed.
func (a *appliance) next() vbawstest.Session {
	i := a.sessions
	a.sessions++
	p := &a.policies[i%len(a.policies)]
	round := i / len(a.policies)
	run := round / 3
	s := vbawstest.Session{
		Name: p.Name, PolicyID: p.ID, ExtendedType: "PolicySnapshot", Reason: "Schedule", Status: vbawstest.StatusSucceeded,
		Type: []string{"Policy", "Job", "Task"}[round%3],
	}
	if s.Type == "Task" { // which has the name of what it backs up
		s.Name = fmt.Sprintf("i-%017x", i%len(a.policies))
	}
	switch {
	case run == 0 || run > 2 && run%50 == 7:
		s.Status = vbawstest.StatusFailed
	case run == 1 || run > 2 && run%20 == 3:
		s.Status = vbawstest.StatusWarning
	}
	return s
}

func (a *appliance) change(n int) error {
	for _, id := range a.running {
		if _, found := a.Finish(id, vbawstest.StatusSucceeded, time.Time{}); !found {
			return fmt.Errorf("session %s is gone", id)
		}
	}
	a.running = a.running[:0]
	for range n / 2 {
		session := a.next()
		session.Status = ""
		a.running = append(a.running, a.Start(session).ID)
	}
	return nil
}
