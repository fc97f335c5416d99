//go:build unix

package killtest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// TestMove adds an exporter to some others, while the fleets go on and Prometheus
// scrapes: half of the appliances of each move to it by the exporter's own commands, and
// one comes back. Exporters end in good order or are killed, and the operator makes
// mistakes.
func TestMove(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	m := newMoving(t, seed)
	sizes := []int{2, 2}
	if *kills >= manyKills {
		sizes = []int{3, 2, 2}
	}
	var units []*unit
	for _, n := range sizes {
		var sites []*site
		for range n {
			sites = append(sites, m.appliance())
		}
		units = append(units, m.exporter(sites...))
	}
	added := m.exporter()
	m.look()
	for _, x := range units {
		x.start()
	}
	for _, s := range m.sites {
		waitFor(t, s.syncedAndMore)
	}
	for i, x := range units {
		for _, s := range slices.Clone(x.polls[:(sizes[i]+1)/2]) {
			m.live()
			m.move(s, x, added)
		}
	}
	m.live()
	m.move(m.sites[0], added, units[0])
	m.live()
	for i, x := range units {
		want := sizes[i] / 2
		if i == 0 {
			want++
		}
		if len(x.polls) != want {
			t.Errorf("exporter %d polls %d appliances, want %d", i, len(x.polls), want)
		}
	}

	for _, s := range m.sites { // fewer sessions would show too little
		waitFor(t, func() bool { return s.sessions() >= 100 })
	}
	for _, s := range m.sites {
		s.rest()
	}
	for _, d := range untilAllIsFound {
		m.sites[0].advance(d)
		now := seconds(m.clock.Now())
		for _, s := range m.sites {
			awaitPoll(t, s.page, now)
		}
	}
	m.stopLooking()
	for _, x := range append(units, added) {
		x.stop(syscall.SIGTERM)
	}

	var sessions, lost, doubled, faults int
	for _, s := range m.sites {
		truth, got := s.truth(s.revision), s.page().sessions()
		if diff := cmp.Diff(truth, got); diff != "" {
			t.Errorf("%s: -truth +/metrics:\n%s", s.name, diff)
		}
		l, d := reckon(truth, got)
		lost, doubled, sessions, faults = lost+l, doubled+d, sessions+s.sessions(), faults+s.struck
		if v := s.a.Violations(); len(v) > 0 {
			t.Errorf("%s: an exporter did what a monitor must not: %v", s.name, v)
		}
	}
	t.Logf("%d appliances, %d moves, %d sessions, %d scrapes, %d requests failed, lost %d, doubled %d", len(m.sites), m.moves, sessions, m.scrapes, faults, lost, doubled)
}

// moving is a world of several exporters.
type moving struct {
	t     *testing.T
	rng   *rand.Rand
	clock *vbawstest.Clock
	files string // folder of what is exported
	sites []*site
	moves int

	// told is held while all clocks are set.
	told  sync.Mutex
	last  time.Time
	lives map[*life]bool

	client  *http.Client
	cancel  context.CancelFunc
	looking sync.WaitGroup
	// mu is held while one exporter is scraped.
	mu      sync.Mutex
	serving []*unit
	scrapes int
}

// site is an appliance, and what was scraped of it last, wherever.
type site struct {
	*fleet
	target
	name, revision string
	requests       atomic.Int64

	mu  sync.Mutex
	got *page
	by  *unit
}

// unit is an exporter with its folder.
type unit struct {
	m        *moving
	dir, url string
	listener *os.File
	polls    []*site
	life     *life // nil while none runs
}

func newMoving(t *testing.T, seed uint64) *moving {
	m := &moving{
		t: t, rng: rand.New(rand.NewPCG(seed, 2)), clock: vbawstest.NewClock(epoch), files: t.TempDir(), lives: make(map[*life]bool),
		client: &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: patience},
	}
	return m
}

// appliance returns a new one. Every other has faults.
func (m *moving) appliance() *site {
	n := len(m.sites)
	cfg := appliances[n%len(appliances)]
	f := newFleetBy(m.clock, m.rng.Uint64(), n%2 == 1, cfg)
	server := vbawstest.NewServer(f.a)
	m.t.Cleanup(server.Close)
	name := fmt.Sprint("appliance ", n)
	s := &site{fleet: f, target: target{name, server.URL, server.CertPEM()}, name: name, revision: cfg.Revisions[0]}
	f.a.OnRequest(func(*http.Request) {
		s.requests.Add(1)
		f.request()
	})
	m.t.Cleanup(func() { f.a.OnRequest(nil) })
	f.watch(m.setTime)
	m.sites = append(m.sites, s)
	return s
}

func (m *moving) exporter(polls ...*site) *unit {
	listener, url := listen(m.t)
	return &unit{m: m, dir: filepath.Join(m.t.TempDir(), "data"), url: url, listener: listener, polls: polls}
}

// setTime sets the clocks of all exporters. They never go back, though the fleets call
// it concurrently.
func (m *moving) setTime(now time.Time) {
	m.told.Lock()
	defer m.told.Unlock()
	if now.Before(m.last) {
		return
	}
	m.last = now
	for l := range m.lives {
		l.setTime(now)
	}
}

// spawn starts an exporter as it is configured. It can refuse to run.
func (x *unit) spawn() *life {
	e := exporter{Dir: x.dir, Hold: 10 * time.Minute}
	for _, s := range x.polls {
		s.begin(x.m.rng.IntN(4))
		e.Appliances = append(e.Appliances, s.target)
	}
	l := spawn(x.m.t, e, x.listener, new(bytes.Buffer))
	x.m.told.Lock()
	defer x.m.told.Unlock()
	x.m.lives[l] = true
	l.setTime(x.m.last)
	l.ended = func() {
		x.m.told.Lock()
		defer x.m.told.Unlock()
		delete(x.m.lives, l)
	}
	return l
}

// start starts an exporter and has it scraped.
func (x *unit) start() {
	x.m.t.Helper()
	x.life = x.spawn()
	x.m.mu.Lock()
	x.m.serving = append(x.m.serving, x)
	x.m.mu.Unlock()
	x.life.awaitServing(x.url)
}

// stop ends an exporter by a signal; SIGTERM in good order.
func (x *unit) stop(sig syscall.Signal) {
	x.m.t.Helper()
	// No scrape is under way then.
	x.m.mu.Lock()
	x.m.serving = slices.DeleteFunc(x.m.serving, func(s *unit) bool { return s == x })
	x.m.mu.Unlock()
	x.life.signal(sig)
	if sig == syscall.SIGTERM {
		sig = 0
	}
	x.life.mustDie(sig)
	x.life = nil
}

// end stops an exporter in one way or the other.
func (x *unit) end() {
	x.m.t.Helper()
	if x.life != nil {
		x.stop([]syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[x.m.rng.IntN(2)])
	}
}

// look begins to scrape.
func (m *moving) look() {
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.looking.Go(func() {
		defer m.client.CloseIdleConnections()
		var took time.Duration
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(2*time.Millisecond + 2*took): // the rest is for the exporters
			}
			begun := time.Now()
			m.scrape(ctx, n)
			took = time.Since(begun)
		}
	})
	m.t.Cleanup(m.stopLooking)
}

func (m *moving) stopLooking() {
	m.cancel()
	m.looking.Wait()
}

// scrape scrapes the n-th of those that serve.
func (m *moving) scrape(ctx context.Context, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.serving) == 0 {
		return
	}
	x := m.serving[n%len(m.serving)]
	pages, err := getEach(ctx, m.client, x.url)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		m.t.Errorf("scrape of an exporter that serves: %v", err)
		return
	}
	m.scrapes++
	if len(pages) != len(x.polls) {
		m.t.Errorf("an exporter of %d appliances shows %d", len(x.polls), len(pages))
	}
	for _, s := range x.polls {
		s.take(m.t, pages[s.name], x)
	}
}

// take compares what was scraped with what was before, wherever that was.
func (s *site) take(t *testing.T, p *page, by *unit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p == nil {
		t.Errorf("%s isn't shown by the exporter that polls it", s.name)
		return
	}
	if s.got != nil {
		for _, wrong := range p.after(s.got) {
			t.Errorf("%s, by another exporter: %t: %s", s.name, by != s.by, wrong)
		}
	}
	s.got, s.by = p, by
	if _, known := p.values["vbaws_exporter_watermark_timestamp_seconds "]; known {
		s.fleet.markSynced()
	}
}

// page is what was scraped last.
func (s *site) page() *page {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

// counted is how many sessions were counted according to that.
func (s *site) counted() (n float64) {
	if p := s.page(); p != nil {
		for k, v := range p.values {
			if strings.HasPrefix(k, "vbaws_sessions_total ") {
				n += v
			}
		}
	}
	return n
}

func (s *site) syncedAndMore() bool { return s.counted() > 0 }

// live lets the fleets go on for some requests.
func (m *moving) live() {
	m.t.Helper()
	for _, s := range m.sites {
		until := s.requests.Load() + 20 + m.rng.Int64N(20)
		waitFor(m.t, func() bool { return s.requests.Load() >= until })
	}
}

// state runs vbaws_exporter state.
func (m *moving) state(args ...string) (status int, said string) {
	m.t.Helper()
	status, stdout, stderr := apptest.Once(m.t, append([]string{"state"}, args...)...)
	return status, stdout + stderr
}

func (m *moving) mustState(args ...string) {
	m.t.Helper()
	if status, said := m.state(args...); status != 0 {
		m.t.Fatalf("state %v: status %d: %s", args, status, said)
	}
}

// mustRefuse is for what is a mistake.
func (m *moving) mustRefuse(want string, args ...string) {
	m.t.Helper()
	if status, said := m.state(args...); status != 1 || !strings.Contains(said, want) || strings.Count(said, "\n") != 1 {
		m.t.Errorf("state %v: status %d: %s\nand it should say %q", args, status, said, want)
	}
}

// move moves an appliance by the steps of docs/operations.md, with some mistakes.
func (m *moving) move(s *site, from, to *unit) {
	t := m.t
	t.Helper()
	m.moves++
	file := filepath.Join(m.files, fmt.Sprint(m.moves))
	export := []string{"export", "--storage.path=" + from.dir, "--appliance=" + s.name, "--output=" + file}
	if m.moves == 1 {
		m.mustRefuse("is in use by another process: stop the exporter", export...) // after a second
	}
	from.end()
	m.mustRefuse(fmt.Sprintf("has no state of appliance %q", s.name+"x"), "export", "--storage.path="+from.dir, "--appliance="+s.name+"x", "--output="+file)
	m.mustState(export...)
	m.mustRefuse("file already exists", export...)

	// It is still in the list.
	refuses := from.spawn()
	refuses.await("itself")
	if code := refuses.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(refuses.log.String(), "to another exporter") {
		t.Errorf("an exporter of which an appliance was exported: status %d: %s", code, refuses.log)
	}
	m.mu.Lock()
	from.polls = slices.DeleteFunc(slices.Clone(from.polls), func(o *site) bool { return o == s })
	m.mu.Unlock()
	from.start()

	take := []string{"import", "--storage.path=" + to.dir, file}
	switch {
	case m.moves == 2:
		m.mustRefuse("is in use by another process: stop the exporter", take...)
	case to.life == nil:
		m.mustRefuse("no such file or directory; if it is correct, create it", take...)
		if err := os.Mkdir(to.dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	to.end()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".cut", whole[:m.rng.IntN(len(whole))], 0o600); err != nil {
		t.Fatal(err)
	}
	m.mustRefuse("nothing was imported", "import", "--storage.path="+to.dir, file+".cut")
	m.mustState(take...)
	m.mustRefuse(fmt.Sprintf("already has state of appliance %q, last saved", s.name), take...)
	m.mu.Lock()
	to.polls = append(slices.Clone(to.polls), s)
	m.mu.Unlock()
	before := s.counted()
	to.start()
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.by == to })
	t.Logf("%s moved with %.0f sessions", s.name, before)
}
