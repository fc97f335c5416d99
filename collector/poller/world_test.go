package poller_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-kit/log"
	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// tester is what testing.T and rapid.T share.
type tester interface {
	Helper()
	Cleanup(func())
	Error(...any)
	Errorf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

// world is an appliance and an exporter that watches it, over TLS.
type world struct {
	tester
	*vbawstest.Appliance
	clock   *vbawstest.Clock
	server  *vbawstest.Server
	cfg     poller.Config
	storage *countingStorage
	log     *logbook
	p       *polltest.Exporter
}

// newWorld returns a world without sessions, and with one policy. Nothing was
// polled.
func newWorld(t tester, acfg vbawstest.Config, cfg poller.Config) *world {
	t.Helper()
	w := newWorldOn(t, vbawstest.NewServer, epoch, acfg, cfg)
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(1), Name: "Nightly", Enabled: true})
	return w
}

// newPipeWorld is newWorld for a bubble.
func newPipeWorld(t tester, acfg vbawstest.Config, cfg poller.Config) *world {
	t.Helper()
	w := newWorldOn(t, vbawstest.NewPipeServer, epoch, acfg, cfg)
	w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(1), Name: "Nightly", Enabled: true})
	return w
}

// newWorldOn returns a world without sessions and policies at a time. cfg needs only
// what matters to the test.
func newWorldOn(t tester, serve func(*vbawstest.Appliance) *vbawstest.Server, at time.Time, acfg vbawstest.Config, cfg poller.Config) *world {
	t.Helper()
	clock := vbawstest.NewClock(at)
	acfg.Now = clock.Now
	a := vbawstest.New(acfg)
	server := serve(a)
	t.Cleanup(server.Close)
	w := newExporter(t, cfg)
	w.Appliance, w.clock, w.server = a, clock, server
	w.restart()
	return w
}

// newExporter returns a world without an appliance. The test watches something else.
func newExporter(t tester, cfg poller.Config) *world {
	w := &world{tester: t, cfg: cfg, storage: &countingStorage{Storage: store.NewMemory()}, log: &logbook{}}
	if w.cfg.Backfill == 0 {
		w.cfg.Backfill = backfill
	}
	if w.cfg.Logger == nil {
		w.cfg.Logger = w.log
	}
	return w
}

// restart replaces the exporter by another process over the same state.
func (w *world) restart() {
	w.Helper()
	w.watch(w.client(w.clock.Now), w.clock.Now)
}

// watch is restart with another client of the appliance, and another clock of the
// exporter. A clock that is nil is time.Now.
func (w *world) watch(api poller.API, now func() time.Time) {
	w.Helper()
	cfg := w.cfg
	cfg.Now = now
	w.p = polltest.Start(w, polltest.Options{Client: api, Storage: w.storage, Poller: cfg})
}

// client returns a client of the appliance.
func (w *world) client(now func() time.Time) *vbaws.Client {
	w.Helper()
	c, err := polltest.NewClient(polltest.Options{URL: w.server.URL, Transport: w.server.Transport(), Poller: poller.Config{Now: now}})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// poll makes a poll that must succeed.
func (w *world) poll() {
	w.Helper()
	if err := w.p.Poll(context.Background()); err != nil {
		w.Fatal(err)
	}
}

// later makes a poll that must succeed, after a while.
func (w *world) later(d time.Duration) {
	w.Helper()
	w.clock.Advance(d)
	w.poll()
}

// fails makes a poll that must fail.
func (w *world) fails() error {
	w.Helper()
	err := w.p.Poll(context.Background())
	if err == nil {
		w.Fatal("the poll succeeds")
	}
	return err
}

// begin adds a session of the policy that runs from now on.
func (w *world) begin(opts ...vbawstest.ChangeOption) vbawstest.Session {
	return w.Start(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1)}, opts...)
}

// end adds a session that ended now.
func (w *world) end(status string, opts ...vbawstest.ChangeOption) vbawstest.Session {
	now := w.Now()
	return w.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1),
		Status: status, Start: now.Add(-time.Minute), Stop: now,
	}, opts...)
}

// ends adds n sessions, a second apart.
func (w *world) ends(n int, status string) (ids []string) {
	for range n {
		w.clock.Advance(time.Second)
		ids = append(ids, w.end(status).ID)
	}
	return ids
}

// sample returns the value of a series, by its labels in order of their names,
// and whether it is there.
func (w *world) sample(name, labels string) (v float64, ok bool) {
	w.Helper()
	for _, m := range w.gather(name) {
		if polltest.Labels(m) == labels {
			return polltest.Value(m), true
		}
	}
	return 0, false
}

func (w *world) gather(name string) []*dto.Metric {
	w.Helper()
	return w.p.Metrics(w, name)
}

// is checks one series.
func (w *world) is(name, labels string, want float64) {
	w.Helper()
	if got, ok := w.sample(name, labels); !ok || got != want {
		w.Errorf("%s{%s} is %v (there: %v), want %v", name, labels, got, ok, want)
	}
}

// counted checks the counters of sessions that are not 0, by policy, type and
// status.
func (w *world) counted(want map[string]int) {
	w.Helper()
	got := make(map[string]int)
	for _, m := range w.gather("vbaws_sessions_total") {
		l := make(map[string]string)
		for _, p := range m.Label {
			l[p.GetName()] = p.GetValue()
		}
		if v := int(m.Counter.GetValue()); v != 0 {
			got[fmt.Sprintf("%s/%s/%s", l["policy"], l["type"], l["status"])] += v
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		w.Errorf("sessions counted, -want +got:\n%s", d)
	}
}

func (w *world) mode(want poller.Watermark) {
	w.Helper()
	if got := w.p.Published().Mode; got != string(want) {
		w.Errorf("read by %s, want %s", got, want)
	}
}

func (w *world) resets(want uint64) {
	w.Helper()
	if got := w.p.Published().View.Resets; got != want {
		w.Errorf("%d resets of the watermark, want %d", got, want)
	}
}

func (w *world) skipped(want map[string]uint64) {
	w.Helper()
	got := make(map[string]uint64)
	for reason, n := range w.p.Published().View.Skipped {
		if n > 0 {
			got[reason] = n
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		w.Errorf("sessions skipped, -want +got:\n%s", d)
	}
}

// queries returns the queries of GET /api/v1/sessions since ResetRequests.
func (w *world) queries() (all []url.Values) {
	for _, r := range w.Requests() {
		if r.Route == "/api/v1/sessions" {
			all = append(all, r.Query())
		}
	}
	return all
}

// requests counts the requests to a route since ResetRequests.
func (w *world) requests(route string) (n int) {
	for _, r := range w.Requests() {
		if r.Route == route {
			n++
		}
	}
	return n
}

// afterPages calls f after each page of sessions, with the page's number from 1,
// until f reports that it is done.
func (w *world) afterPages(f func(n int) (done bool)) {
	var mu sync.Mutex
	n, done := 0, false
	w.AfterPage(func(*http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if n++; !done {
			done = f(n)
		}
	})
}

// countingStorage counts what is saved, and fails with err, if set.
type countingStorage struct {
	poller.Storage
	saves int
	err   error
}

func (b *countingStorage) Save(c *ledger.Changes) error {
	if b.err != nil {
		return b.err
	}
	b.saves++
	return b.Storage.Save(c)
}

// logbook keeps log lines, those of debugging aside. Any goroutine may log.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logbook) Log(keyvals ...any) error {
	var line strings.Builder
	if err := log.NewLogfmtLogger(&line).Log(keyvals...); err != nil {
		return err
	}
	if strings.Contains(line.String(), "level=debug") {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.TrimSuffix(line.String(), "\n"))
	return nil
}

// with returns the lines that contain s.
func (l *logbook) with(s string) (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, s) {
			lines = append(lines, line)
		}
	}
	return lines
}
