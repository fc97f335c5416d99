package poller_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// fakeAPI is an appliance without a session. It needs no network, so that it works
// in a bubble.
type fakeAPI struct {
	// hold, if not nil, is received from before each answer about sessions.
	hold chan struct{}
	// asked is sent to before that.
	asked chan struct{}
	err   error
}

func (f *fakeAPI) Sessions(ctx context.Context, _ vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	if f.hold != nil {
		f.asked <- struct{}{}
		select {
		case <-f.hold:
		case <-ctx.Done():
			return nil, &vbaws.Error{Kind: vbaws.KindTimeout, Op: "GET", Err: ctx.Err()}
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	return &vbaws.SessionsPage{Date: time.Now()}, nil
}

func (f *fakeAPI) Session(context.Context, string) (vbaws.Row, time.Time, error) {
	return vbaws.Row{}, time.Time{}, notThere
}
func (f *fakeAPI) SessionLog(context.Context, string) ([]vbaws.LogItem, error) { return nil, notThere }
func (f *fakeAPI) Workloads() []vbaws.Workload                                 { return nil }
func (f *fakeAPI) Policies(context.Context, vbaws.Workload, int, int) (*vbaws.PoliciesPage, error) {
	return nil, notThere
}
func (f *fakeAPI) Summary(context.Context) (*vbaws.Summary, error) { return nil, notThere }
func (f *fakeAPI) License(context.Context) (*vbaws.License, error) { return nil, notThere }
func (f *fakeAPI) Version(context.Context) (string, error)         { return "", notThere }
func (f *fakeAPI) TimeZone(context.Context) (string, error) {
	return "", notThere
}
func (f *fakeAPI) Repositories(context.Context, int, int) (*vbaws.RepositoriesPage, error) {
	return nil, notThere
}
func (f *fakeAPI) Instances(context.Context, vbaws.InstancesQuery) (*vbaws.InstancesPage, error) {
	return nil, notThere
}
func (f *fakeAPI) LicensedWorkloads(context.Context, int, int) (*vbaws.LicensedWorkloadsPage, error) {
	return nil, notThere
}
func (f *fakeAPI) NewestRestorePoint(context.Context, string, int) (time.Time, error) {
	return time.Time{}, notThere
}
func (f *fakeAPI) RestorePointsRoute() string   { return vbaws.RouteRestorePoints }
func (f *fakeAPI) APIVersion() string           { return "1.8-rev0" }
func (f *fakeAPI) CertificateExpiry() time.Time { return time.Time{} }

var notThere = &vbaws.Error{Kind: vbaws.KindHTTP, Op: "GET /api/v1", Err: &vbaws.APIError{StatusCode: 404, Code: "NotFound"}}

func failure(kind vbaws.Kind, err error) error {
	return &vbaws.Error{Kind: kind, Op: "GET /api/v1/sessions", Err: err}
}

// loop is a poller that runs in a bubble.
type loop struct {
	*world
	api     *fakeAPI
	results []poller.Result
	ends    []time.Time
	// polled, if not nil, is called after each poll.
	polled func(n int)
	cancel context.CancelFunc
	done   chan struct{}
}

// run starts a poller, and stops it after that many polls.
func run(t *testing.T, polls int, l *loop, cfg poller.Config) {
	t.Helper()
	if l.api == nil {
		l.api = &fakeAPI{}
	}
	polled := l.polled
	l.polled = func(n int) {
		if polled != nil {
			polled(n)
		}
		if n == polls {
			l.cancel()
		}
	}
	l.start(t, cfg)
	<-l.done
	if len(l.ends) != polls {
		t.Fatalf("%d polls, want %d", len(l.ends), polls)
	}
}

func (l *loop) start(t *testing.T, cfg poller.Config) { l.startOn(t, l.api, cfg) }

func (l *loop) startOn(t *testing.T, api poller.API, cfg poller.Config) {
	cfg.Timeout = 2 * time.Minute
	cfg.Polled = func(r poller.Result, _ time.Duration) {
		l.results, l.ends = append(l.results, r), append(l.ends, time.Now())
		if l.polled != nil {
			l.polled(len(l.ends))
		}
	}
	l.world = newExporter(t, cfg)
	l.watch(api, nil)
	ctx, cancel := context.WithCancel(t.Context())
	l.cancel, l.done = cancel, make(chan struct{})
	go func() {
		defer close(l.done)
		l.p.Run(ctx)
	}()
}

// gaps are the times between polls; those of a fake API take none.
func (l *loop) gaps() []time.Duration {
	var gaps []time.Duration
	for i, t := range l.ends[1:] {
		gaps = append(gaps, t.Sub(l.ends[i]))
	}
	return gaps
}

// near checks gaps, apart from the jitter.
func near(t *testing.T, gaps []time.Duration, want ...time.Duration) {
	t.Helper()
	for i, g := range gaps {
		if w := want[min(i, len(want)-1)]; g < w*9/10 || g > w*11/10 {
			t.Errorf("gap %d is %v, want %v ± 10 %%", i, g, w)
		}
	}
}

func TestLoop(t *testing.T) {
	t.Run("jitter", testLoopJitter)
	t.Run("backoff", testLoopBackoff)
	t.Run("rejected login", testLoopRejectedLogin)
	t.Run("endpoint that hangs", testLoopEndpointThatHangs)
	t.Run("Retry-After", testLoopRetryAfter)
	t.Run("end", testLoopEnd)
	t.Run("appliance that hangs", testLoopApplianceThatHangs)
	t.Run("outage", testLoopOutage)
	t.Run("results", testLoopResults)
	t.Run("earlier poller", testLoopEarlierPoller)
}

func testLoopJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var l loop
		run(t, 500, &l, poller.Config{})
		gaps := l.gaps()
		near(t, gaps, time.Minute)
		if least, most := slices.Min(gaps), slices.Max(gaps); least > 56*time.Second || most < 64*time.Second {
			t.Errorf("gaps between %v and %v: want them spread over ± 10 %%", least, most)
		}
		if first := l.ends[0].Sub(start); first > time.Second {
			t.Errorf("the first poll comes after %v", first)
		}
	})
}

func testLoopBackoff(t *testing.T) {
	const m = time.Minute
	for _, test := range []struct {
		name     string
		interval time.Duration
		err      error
		want     []time.Duration
	}{
		{"unreachable", m, failure(vbaws.KindUnreachable, errors.New("refused")), []time.Duration{m, 2 * m, 4 * m, 5 * m}},
		{"timeout", 10 * time.Second, failure(vbaws.KindTimeout, errors.New("late")),
			[]time.Duration{m / 6, m / 3, 2 * m / 3, 4 * m / 3, 8 * m / 3, 5 * m}},
		{"with a long interval", 7 * m, failure(vbaws.KindHTTP, errors.New("status 500")), []time.Duration{7 * m}},
		{"refused login", m, failure(vbaws.KindAuth, errors.New("refused")), []time.Duration{m, 2 * m, 4 * m, 8 * m, 10 * m}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := loop{api: &fakeAPI{err: test.err}}
				run(t, 9, &l, poller.Config{Interval: test.interval})
				near(t, l.gaps(), test.want...)
			})
		})
	}
	t.Run("until a poll succeeds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			down := failure(vbaws.KindUnreachable, errors.New("refused"))
			l := loop{api: &fakeAPI{err: down}}
			l.polled = func(n int) {
				if l.api.err = down; n == 4 {
					l.api.err = nil
				}
			}
			run(t, 8, &l, poller.Config{})
			near(t, l.gaps(), m, 2*m, 4*m, 5*m, m, m, 2*m)
		})
	})
}

func testLoopRejectedLogin(t *testing.T) {
	// It is changed while it is refused, or later.
	for _, wait := range []time.Duration{0, 3*time.Minute + time.Second} {
		testAnotherSecret(t, wait)
	}
}

func testAnotherSecret(t *testing.T, wait time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		l := loop{api: &fakeAPI{err: failure(vbaws.KindAuth, errors.New("refused"))}}
		var changed time.Time // when the secret is another
		l.polled = func(n int) {
			if n == 7 {
				changed = time.Now().Add(wait)
			}
		}
		run(t, 9, &l, poller.Config{Secret: func() (string, error) {
			if changed.IsZero() || time.Now().Before(changed) {
				return "wrong", nil
			}
			l.api.err = nil
			return "right", nil
		}})
		const m = time.Minute
		gaps := l.gaps()
		near(t, gaps[:6], m, 2*m, 4*m, 8*m, 10*m, 10*m)
		if after := l.ends[7].Sub(changed); after < 0 || after > m || l.results[7] != poller.ResultSuccess {
			t.Errorf("tried again %v after the secret was changed, with %s", after, l.results[7])
		}
		near(t, gaps[7:], m)
	})
}

// hanging is an API with a policy that was never looked up; the request that is named hangs.
type hanging struct {
	*fakeAPI
	what string
}

func (h *hanging) Workloads() []vbaws.Workload {
	return []vbaws.Workload{{Name: "ec2", Path: "/api/v1/virtualMachines/policies"}}
}

func (h *hanging) Policies(ctx context.Context, _ vbaws.Workload, offset, _ int) (*vbaws.PoliciesPage, error) {
	page := &vbaws.PoliciesPage{TotalCount: 1}
	if offset == 0 {
		page.Rows, page.Items = 1, []vbaws.Policy{{ID: "1", Name: "gold", Enabled: true}}
	}
	return page, ctx.Err()
}

func (h *hanging) Sessions(ctx context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	if h.what == "look-up" && q.PolicyID != "" {
		<-ctx.Done()
		return nil, failure(vbaws.KindTimeout, ctx.Err())
	}
	return h.fakeAPI.Sessions(ctx, q)
}

func (h *hanging) License(ctx context.Context) (*vbaws.License, error) {
	if h.what == "license" {
		<-ctx.Done()
		return nil, failure(vbaws.KindTimeout, ctx.Err())
	}
	return &vbaws.License{Type: "BYOL"}, nil
}

func (h *hanging) Version(ctx context.Context) (string, error) { return "8.0.0.1", ctx.Err() }

// What hangs takes the time of nothing else.
func testLoopEndpointThatHangs(t *testing.T) {
	for _, what := range []string{"license", "look-up"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := loop{}
				cfg := poller.Config{InventoryInterval: time.Minute}
				l.polled = func(n int) {
					if n == 4 {
						l.cancel()
					}
				}
				l.startOn(t, &hanging{&fakeAPI{}, what}, cfg)
				<-l.done
				p := l.p.Published()
				if len(p.Policies.All) != 1 || p.Version != "8.0.0.1" || (p.Facts.License != nil) == (what == "license") {
					t.Errorf("policies %v, version %q, facts %+v", p.Policies.All, p.Version, p.Facts)
				}
				if len(p.EndpointErrors) != 1 {
					t.Errorf("endpoint errors %v", p.EndpointErrors)
				}
			})
		})
	}
}

func testLoopRetryAfter(t *testing.T) {
	for asked, want := range map[time.Duration][2]time.Duration{
		7 * time.Minute:  {7 * time.Minute, 7*time.Minute + 42*time.Second},
		10 * time.Second: {54 * time.Second, 66 * time.Second}, // no reason to poll earlier
		48 * time.Hour:   {time.Hour, 66 * time.Minute},        // no appliance stops the polls for longer
	} {
		t.Run(asked.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				busy := &vbaws.APIError{StatusCode: 503, RetryAfter: asked}
				l := loop{api: &fakeAPI{}}
				l.polled = func(n int) {
					if l.api.err = nil; n%2 == 0 {
						l.api.err = failure(vbaws.KindHTTP, busy)
					}
				}
				run(t, 60, &l, poller.Config{})
				for i, g := range l.gaps() {
					if l.results[i] == poller.ResultSuccess {
						near(t, []time.Duration{g}, time.Minute)
					} else if g < want[0] || g > want[1] {
						t.Errorf("tried again after %v, want %v to %v", g, want[0], want[1])
					}
				}
			})
		})
	}
}

func testLoopEnd(t *testing.T) {
	for name, when := range map[string]func(*loop){
		"between polls": func(*loop) { time.Sleep(90 * time.Second) },
		"within a poll": func(l *loop) { <-l.api.asked },
		"before any":    func(*loop) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := loop{api: &fakeAPI{}}
				if name == "within a poll" {
					l.api.hold, l.api.asked = make(chan struct{}), make(chan struct{})
				}
				l.start(t, poller.Config{})
				when(&l)
				l.cancel()
				stopped := time.Now()
				<-l.done
				if took := time.Since(stopped); took != 0 {
					t.Errorf("it took %v to stop", took)
				}
				// A poll that was cut off neither succeeds nor fails.
				if polls := int(l.p.Published().Polls); polls != len(l.ends) || l.p.Published().Err != nil {
					t.Errorf("%d polls, %v", polls, l.p.Published().Err)
				}
				if lines := l.log.with("level=error"); len(lines) > 0 {
					t.Errorf("log lines: %q", lines)
				}
			})
		})
	}
}

func testLoopApplianceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := loop{api: &fakeAPI{hold: make(chan struct{}), asked: make(chan struct{}, 100)}}
		start := time.Now()
		l.polled = func(int) { l.cancel() }
		l.start(t, poller.Config{})
		<-l.done
		if took := l.ends[0].Sub(start); took < 2*time.Minute || took > 2*time.Minute+time.Second {
			t.Errorf("the poll took %v, want the timeout of 2m", took)
		}
		if l.results[0] != "timeout" || l.p.Published().Up {
			t.Errorf("result %s, up %v", l.results[0], l.p.Published().Up)
		}
	})
}

// One line when an appliance goes down, one when the failure becomes another, one
// when it comes back.
func testLoopOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := loop{api: &fakeAPI{}}
		l.polled = func(n int) {
			switch n {
			case 3:
				l.api.err = failure(vbaws.KindUnreachable, errors.New("refused"))
			case 6:
				l.api.err = failure(vbaws.KindTLS, errors.New("unknown authority"))
			case 9:
				l.api.err = nil
			}
		}
		run(t, 14, &l, poller.Config{})
		var got []string
		for _, line := range l.log.with(`msg="`) {
			for _, field := range []string{"level=", " result="} {
				if _, word, ok := strings.Cut(line, field); ok && !strings.Contains(line, "level=warn") {
					got = append(got, strings.Fields(word)[0])
				}
			}
		}
		want := []string{"info", "error", "unreachable", "error", "tls", "info"}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("log lines, -want +got:\n%s", d)
		}
	})
}

func testLoopResults(t *testing.T) {
	poll := func(t *testing.T, api poller.API, damage func(*countingStorage)) (*poller.Poller, poller.Result, error) {
		var result poller.Result
		w := newExporter(t, poller.Config{Polled: func(r poller.Result, _ time.Duration) { result = r }})
		w.watch(api, nil)
		if damage != nil {
			damage(w.storage)
		}
		err := w.p.Poll(t.Context())
		return w.p.Poller, result, err
	}
	for _, kind := range []vbaws.Kind{
		vbaws.KindAuth, vbaws.KindTLS, vbaws.KindTimeout, vbaws.KindUnreachable, vbaws.KindHTTP, vbaws.KindDecode,
	} {
		t.Run(string(kind), func(t *testing.T) {
			cause := fmt.Errorf("wrapped: %w", failure(kind, errors.New("broken")))
			p, result, err := poll(t, &fakeAPI{err: cause}, nil)
			s := p.Published()
			if !errors.Is(err, cause) || result != poller.Result(kind) || s.Result != result || s.Up || s.View != nil || !errors.Is(s.Err, cause) {
				t.Errorf("%v, result %s, published %+v", err, result, s.Status)
			}
			if !slices.Contains(poller.Results, result) {
				t.Errorf("%s is not among the results", result)
			}
		})
	}
	t.Run("storage", func(t *testing.T) {
		full := errors.New("disk is full")
		p, result, err := poll(t, &fakeAPI{}, func(s *countingStorage) { s.err = full })
		if s := p.Published(); !errors.Is(err, full) || result != poller.ResultStorage || !s.Up || s.View != nil || !s.LastSuccess.IsZero() {
			t.Errorf("%v, result %s, published %+v", err, result, s.Status)
		}
	})
	t.Run("unreadable storage", func(t *testing.T) {
		torn := errors.New("bad sector")
		api := &rowAPI{row: vbaws.Row{HasUSN: true, Session: vbaws.Session{
			ID: "x", Type: "Policy", Name: "Nightly", Status: "Failed", Start: epoch, Stop: epoch, USN: 1,
		}}}
		p, result, err := poll(t, api, func(s *countingStorage) { s.Storage = brokenIndex{s.Storage, torn} })
		if s := p.Published(); !errors.Is(err, torn) || result != poller.ResultStorage || s.Result != result || !s.Up {
			t.Errorf("%v, published %+v", err, s.Status)
		}
	})
	t.Run("success", func(t *testing.T) {
		p, result, err := poll(t, &fakeAPI{}, nil)
		if s := p.Published(); err != nil || result != poller.ResultSuccess || !s.Up || s.View == nil || s.LastSuccess.IsZero() {
			t.Errorf("%v, result %s, published %+v", err, result, s.Status)
		}
	})
}

// rowAPI always lists one session.
type rowAPI struct {
	fakeAPI
	row vbaws.Row
}

func (f *rowAPI) Sessions(_ context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	page := &vbaws.SessionsPage{TotalCount: 1, Date: epoch}
	if q.Offset == 0 {
		page.Rows = []vbaws.Row{f.row}
	}
	return page, nil
}

// brokenIndex can't be read.
type brokenIndex struct {
	poller.Storage
	err error
}

func (b brokenIndex) Lookup(ledger.ID, []int32) (ledger.SeenSession, bool, error) {
	return ledger.SeenSession{}, false, b.err
}

// testLoopEarlierPoller: what the poller of a previous configuration published stays, the same
// value, until the successor has polled, and what a poll doesn't replace stays after it.
func testLoopEarlierPoller(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{})
	w.end("Failed")
	w.poll()
	w.clock.Advance(time.Minute)
	w.end("Failed")
	w.poll()
	before := w.p.Published()
	if before.Facts == nil || before.Version == "" || len(before.Recent) == 0 {
		t.Fatalf("nothing to hand over: %+v", before)
	}
	w.cfg.Before = before
	w.cfg.Ledger.Filter.Policy = func(name string) bool { return name != "Nightly" }
	w.restart()
	if w.p.Published() != before {
		t.Error("what is published changed before anything was read")
	}
	w.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/sessions", Status: 500, Count: -1})
	w.fails()
	switch p := w.p.Published(); {
	case p.Polls != before.Polls+1 || p.Err == nil || p.Up || !p.LastSuccess.Equal(before.LastSuccess):
		t.Errorf("after a failed poll: %+v", p.Status)
	case p.Facts != before.Facts || p.Version != before.Version || p.APIVersion != before.APIVersion || len(p.Recent) != len(before.Recent):
		t.Errorf("a failed poll removed what was known: %+v", p)
	case len(p.View.Series) != 0 || len(p.Policies.Rows) != 0:
		t.Errorf("shows the series of a policy that is filtered out: %+v, %+v", p.View.Series, p.Policies.Rows)
	}
}
