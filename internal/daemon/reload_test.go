package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

// patience is how long a test waits for an event. It only ends tests that fail.
const patience = 5 * time.Minute

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

// world is a running daemon with its metrics.
type world struct {
	t *testing.T
	*Daemon
	registry *prometheus.Registry
	settings string
	stop     func()
	// before has, by current member, the number of polls of the previous ones.
	before map[*member]uint64
}

func parse(t *testing.T, settings string, sites ...site) *config.Config {
	t.Helper()
	text := settings + "\nappliances:\n"
	for _, s := range sites {
		if !strings.Contains(s.more, "password_file") {
			s.more += fmt.Sprintf(", password: %q", vbawstest.DefaultPassword)
		}
		text += fmt.Sprintf("- {name: %s, url: %q, username: %s%s}\n", s.name, s.url, vbawstest.DefaultUsername, s.more)
	}
	cfg, err := config.Parse("config.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// run starts a daemon that ends with the test.
func run(t *testing.T, storage func(string) (poller.Storage, error), settings string, sites ...site) *world {
	t.Helper()
	return runWith(t, log.NewLogfmtLogger(log.NewSyncWriter(t.Output())), storage, settings, sites...)
}

// runWith is run with a logger.
func runWith(t *testing.T, logger log.Logger, storage func(string) (poller.Storage, error), settings string, sites ...site) *world {
	t.Helper()
	w := &world{t: t, registry: prometheus.NewRegistry(), settings: settings, before: make(map[*member]uint64)}
	d, err := New(Options{
		Config: parse(t, settings, sites...), Storage: storage,
		Instruments: collector.NewInstruments(w.registry), Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Daemon = d
	w.registry.MustRegister(collector.New(d.Sources))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	w.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(w.stop)
	return w
}

func (w *world) reload(sites ...site) {
	w.t.Helper()
	old := w.current.Load().members
	if err := w.Reload(parse(w.t, w.settings, sites...)); err != nil {
		w.t.Fatal(err)
	}
	for _, m := range w.current.Load().members {
		for _, o := range old {
			if o.Name() == m.Name() && o != m {
				w.before[m] = o.Published().Polls
			}
		}
	}
}

func (w *world) source(name string) *member {
	for _, m := range w.current.Load().members {
		if m.Name() == name {
			return m
		}
	}
	w.t.Fatalf("no appliance %s", name)
	return nil
}

// awaitPoll waits for the first poll of the appliance's current poller.
func (w *world) awaitPoll(name string) {
	w.t.Helper()
	m := w.source(name)
	await(w.t, "a poll of "+name, func() bool { return m.Published().Polls > w.before[m] })
}

// awaitInventory waits until the inventory that follows the first poll has been published
// completely: the workloads of the policies, which are labels, come last.
func (w *world) awaitInventory(name string) {
	w.t.Helper()
	await(w.t, "the inventory of "+name, func() bool { return w.source(name).Published().Forbidden != nil })
}

// gather returns the values of all counters and gauges, and the counts of all histograms,
// by series. It is safe to call from any goroutine.
func (w *world) gather() map[string]float64 { return gather(w.t, w.registry) }

func gather(t *testing.T, from prometheus.Gatherer) map[string]float64 {
	families, err := from.Gather()
	if err != nil {
		t.Error(err)
	}
	values := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			name := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			values[name] = polltest.Value(m)
		}
	}
	return values
}

func (w *world) sum(prefix string) float64 {
	total := 0.0
	for name, v := range w.gather() {
		if strings.HasPrefix(name, prefix) {
			total += v
		}
	}
	return total
}

func diskStorage(t *testing.T) func(string) (poller.Storage, error) {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "data"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(name string) (poller.Storage, error) { return s.Appliance(name) }
}

func memoryStorage(string) (poller.Storage, error) { return store.NewMemory(), nil }

// finish puts a finished session into an appliance.
func finish(a *vbawstest.Server, policy, status string) {
	now := a.Now()
	a.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: "PolicyBackup", Name: policy, Status: status,
		Start: now.Add(-time.Minute), Stop: now,
	})
}

func counted(name string) string { return fmt.Sprintf(`vbaws_sessions_total{appliance=%q`, name) }

// grows reports whether a series must not fall.
func grows(name string) bool {
	metric, _, _ := strings.Cut(name, "{")
	return strings.HasSuffix(metric, "_total") || metric == "vbaws_session_duration_seconds" || metric == "vbaws_exporter_poll_duration_seconds"
}

// watch gathers until over is closed, and reports series that vanish or fall. Those of
// the appliance "guest" come and go, but its counters of sessions must not fall.
func (w *world) watch(over <-chan struct{}) (scrapes int) {
	seen := make(map[string]float64)
	guests := make(map[string]float64)
	for {
		select {
		case <-over:
			return scrapes
		default:
		}
		now := w.gather()
		scrapes++
		for name, v := range now {
			guest := strings.Contains(name, `appliance="guest"`)
			if guest && grows(name) && !strings.HasPrefix(name, "vbaws_exporter_") {
				if v < guests[name] {
					w.t.Errorf("fell from %v to %v: %s", guests[name], v, name)
				}
				guests[name] = v
			}
			if !guest && strings.HasPrefix(name, "vbaws_up{") && v != 1 {
				w.t.Errorf("down: %s", name)
			}
		}
		for name, was := range seen {
			v, there := now[name]
			switch {
			case strings.Contains(name, `appliance="guest"`):
			case strings.HasPrefix(name, "vbaws_policy_problem_since_"): // goes with the problem
			case !there:
				w.t.Errorf("a gap: %s", name)
			case v < was && grows(name):
				w.t.Errorf("fell from %v to %v: %s", was, v, name)
			}
		}
		seen = now
		if w.t.Failed() {
			return scrapes
		}
	}
}

func TestReload(t *testing.T) {
	t.Run("random", testReloadRandom)
	t.Run("earlier values stay", testReloadEarlierValuesStay)
	t.Run("failed", testReloadFailed)
	t.Run("failed while logging out", testReloadFailedWhileLoggingOut)
	t.Run("appliances come and go", testReloadAppliancesComeAndGo)
	t.Run("other buckets", testReloadOtherBuckets)
	t.Run("after the end", testReloadAfterTheEnd)
}

// testReloadRandom reloads a hundred times, while sessions finish and a scraper watches.
func testReloadRandom(t *testing.T) {
	t.Parallel()
	const reloads, regulars = 100, 4
	rng := rand.New(rand.NewPCG(1, 2))
	type place struct {
		*vbawstest.Server
		urls     [2]string
		finished int
	}
	places := make(map[string]*place)
	var sites []site
	for _, name := range []string{"r0", "r1", "r2", "r3", "untouched", "guest"} {
		a := vbawstest.New(vbawstest.Config{Seed: rng.Uint64()})
		for _, policy := range []string{"web", "db"} {
			a.PutPolicy(vbawstest.Policy{Name: policy, Enabled: true})
		}
		first, second := vbawstest.NewHTTPServer(a), vbawstest.NewHTTPServer(a)
		t.Cleanup(first.Close)
		t.Cleanup(second.Close)
		places[name] = &place{first, [2]string{first.URL, second.URL}, 1}
		finish(first, "web", "Succeeded")
		sites = append(sites, site{name, first.URL, ""})
	}
	names := slices.Sorted(maps.Keys(places))
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(vbawstest.DefaultPassword), 0o600); err != nil {
		t.Fatal(err)
	}

	w := run(t, diskStorage(t), "poll_interval: 5s\nnew_series_hold: 0s", sites...)
	for _, name := range names {
		w.awaitInventory(name)
		if got := w.sum(counted(name)); got != 1 {
			t.Fatalf("%s: counted %v", name, got)
		}
	}
	untouched := w.source("untouched").poller

	over := make(chan struct{})
	scrapes := make(chan int)
	go func() { scrapes <- w.watch(over) }()
	unwatch := sync.OnceValue(func() int { close(over); return <-scrapes })
	t.Cleanup(func() { unwatch() })

	settings := []string{"", ", poll_interval: 6s", ", poll_timeout: 30s", ", watermark: from_utc", ", watermark: usn", ", max_policies: 7"}
	for i := range reloads {
		s := &sites[rng.IntN(regulars)]
		p := places[s.name]
		s.url = p.urls[rng.IntN(2)]
		s.more = settings[rng.IntN(len(settings))]
		guest := i%7 < 4
		next := slices.Clone(sites)
		if !guest {
			next = next[:len(next)-1]
		}
		rng.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
		w.reload(next...)
		if got := len(w.Sources()); got != len(next) {
			t.Fatalf("%d appliances, want %d", got, len(next))
		}
		name := names[rng.IntN(len(names))]
		finish(places[name].Server, []string{"web", "db"}[rng.IntN(2)], []string{"Succeeded", "Failed", "Warning"}[rng.IntN(3)])
		places[name].finished++
		if i%12 == 0 {
			w.awaitPoll(s.name)
		}
		if t.Failed() {
			break
		}
	}
	w.reload(sites...)
	for _, name := range names {
		want := float64(places[name].finished)
		await(t, fmt.Sprintf("the count of %s, %v", name, want), func() bool { return w.sum(counted(name)) >= want })
	}
	// Another poll of each must find nothing new.
	for i := range sites {
		if sites[i].name != "untouched" {
			sites[i].more = ", poll_timeout: 31s"
		}
	}
	w.reload(sites...)
	for _, name := range names {
		w.awaitPoll(name)
		if got, want := w.sum(counted(name)), float64(places[name].finished); got != want {
			t.Errorf("%s: counted %v sessions of %v", name, got, want)
		}
	}
	t.Logf("%d scrapes", unwatch())

	if w.source("untouched").poller != untouched {
		t.Error("the poller of an appliance that never changed was replaced")
	}
	logins := 0
	for _, r := range places["untouched"].Requests() {
		if r.Method == http.MethodPost && r.Status == http.StatusOK {
			logins++
		}
	}
	if logins != 1 {
		t.Errorf("%d logins, although nothing changed", logins)
	}
}

// testReloadEarlierValuesStay: while the new address of an appliance does not answer, the
// values of the old one stay.
func testReloadEarlierValuesStay(t *testing.T) {
	t.Parallel()
	a := appliance(t)
	finish(a, "web", "Succeeded")
	w := run(t, memoryStorage, "poll_interval: 1h\npoll_timeout: 1h", site{"a", a.URL, ""})
	w.awaitInventory("a")
	last := w.source("a")
	w.reload(site{"a", hanging(t), ""})
	// The poller of the old address has ended, so what it published last stays.
	before := last.Published()
	if w.source("a").Published() != before {
		t.Error("what is published changed before anything was read")
	}
	alone := prometheus.NewRegistry()
	alone.MustRegister(collector.New(func() []collector.Source { return []collector.Source{last} }))
	values, now := gather(t, alone), w.gather()
	for name, v := range values {
		if got, there := now[name]; !there || got != v {
			t.Errorf("%s: %v, was %v", name, got, v)
		}
	}

	// At the old address again, nothing was missed or counted twice.
	finish(a, "web", "Failed")
	w.reload(site{"a", a.URL, ", new_series_hold: 0s"})
	w.awaitPoll("a")
	if got := w.sum(counted("a")); got != 2 {
		t.Errorf("counted %v", got)
	}
	await(t, "the last sessions", func() bool { return len(w.source("a").Published().Recent) == 2 })
	if got := w.source("a").Published(); got.Polls != before.Polls+1 || got.Version == "" {
		t.Errorf("%+v", got.Status)
	}
}

// testReloadFailed: after a reload that failed, all members go on.
func testReloadFailed(t *testing.T) {
	t.Parallel()
	a, b := appliance(t), appliance(t)
	broken := errors.New("disk on fire")
	var mu sync.Mutex
	failing := ""
	storage := func(name string) (poller.Storage, error) {
		if name == "shut" {
			return (*store.Memory)(nil), broken
		}
		return &brokenStorage{store.NewMemory(), func() error {
			mu.Lock()
			defer mu.Unlock()
			if failing == name {
				return broken
			}
			return nil
		}}, nil
	}
	w := run(t, storage, "poll_interval: 5s", site{"a", a.URL, ""}, site{"b", b.URL, ""})
	w.awaitPoll("a")
	w.awaitPoll("b")
	members := w.current.Load().members
	polls := func(i int) uint64 { return members[i].poller.Published().Polls }
	before := []uint64{polls(0), polls(1)}

	for name, test := range map[string]struct {
		more    string
		failing string
		add     string
		want    error
	}{
		"storage that can't open":   {", poll_timeout: 1s", "", "shut", broken},
		"storage that can't load":   {", poll_timeout: 1s", "b", "c", broken},
		"a new one that can't load": {", poll_timeout: 1s", "c", "c", broken},
	} {
		mu.Lock()
		failing = test.failing
		mu.Unlock()
		for range 2 { // as people do
			err := w.Reload(parse(t, "poll_interval: 5s", site{"a", a.URL, test.more}, site{"b", b.URL, ", poll_timeout: 1s"}, site{test.add, "http://127.0.0.1:1", ""}))
			if !errors.Is(err, test.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !slices.Equal(w.current.Load().members, members) {
			t.Errorf("%s: the appliances changed", name)
		}
		if w.sum(`vbaws_exporter_polls_total{appliance="c"`)+w.sum(`vbaws_exporter_polls_total{appliance="shut"`) != 0 {
			t.Errorf("%s: an appliance of the rejected configuration is shown", name)
		}
	}
	await(t, "the next polls", func() bool { return polls(0) > before[0] && polls(1) > before[1] })
}

// testReloadFailedWhileLoggingOut: the logout takes the token in use, so a member that goes
// on after a reload that failed must have logged out before it logs in again.
func testReloadFailedWhileLoggingOut(t *testing.T) {
	t.Parallel()
	a := appliance(t)
	storage := func(name string) (poller.Storage, error) {
		return &brokenStorage{store.NewMemory(), func() error {
			if name == "new" {
				return errors.New("disk on fire")
			}
			return nil
		}}, nil
	}
	var deleted, loggedOut, early atomic.Bool
	logger := log.LoggerFunc(func(keyvals ...any) error {
		if slices.ContainsFunc(keyvals, func(v any) bool { return strings.HasPrefix(fmt.Sprint(v), "logout failed") }) {
			loggedOut.Store(true)
		}
		return nil
	})
	w := runWith(t, logger, storage, "poll_interval: 5s", site{"a", a.URL, ""})
	w.awaitPoll("a")
	polls := w.source("a").Published().Polls
	a.OnRequest(func(r *http.Request) {
		switch {
		case r.Method == http.MethodDelete && deleted.CompareAndSwap(false, true):
			<-r.Context().Done() // no answer: the logout fails
		case r.Method == http.MethodPost && deleted.Load() && !loggedOut.Load():
			early.Store(true)
		}
	})
	if err := w.Reload(parse(t, "", site{"a", a.URL, ", poll_timeout: 1m"}, site{"new", a.URL, ""})); err == nil {
		t.Error("no error")
	}
	await(t, "the next poll", func() bool { return w.source("a").Published().Polls > polls })
	if !deleted.Load() || early.Load() {
		t.Errorf("logged out: %v, logged in during the logout: %v", deleted.Load(), early.Load())
	}
}

// brokenStorage is a storage whose Load returns the error of fail, if that isn't nil.
type brokenStorage struct {
	poller.Storage
	fail func() error
}

func (b *brokenStorage) Load() (*ledger.State, error) {
	if err := b.fail(); err != nil {
		return nil, err
	}
	return b.Storage.Load()
}

// testReloadAppliancesComeAndGo: an appliance that is removed leaves the metrics for good,
// and continues from its own state if it is configured again.
func testReloadAppliancesComeAndGo(t *testing.T) {
	t.Parallel()
	for name, storage := range map[string]func(string) (poller.Storage, error){"store": diskStorage(t), "memory": memoryStorage} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := appliance(t), appliance(t)
			finish(b, "web", "Failed")
			sites := []site{{"a", a.URL, ""}, {"b", b.URL, ""}}
			w := run(t, storage, "", sites...)
			w.awaitPoll("b")
			await(t, "the count", func() bool { return w.sum(counted("b")) == 1 })
			w.reload(sites[0])
			gone := func() {
				t.Helper()
				for name := range w.gather() {
					if strings.Contains(name, `appliance="b"`) {
						t.Errorf("still there: %s", name)
					}
				}
			}
			gone()
			await(t, "the logout", func() bool {
				return slices.ContainsFunc(b.Requests(), func(r vbawstest.Request) bool { return r.Method == http.MethodDelete })
			})
			gone()

			finish(b, "web", "Failed")
			held := b.Inject(vbawstest.Fault{Kind: vbawstest.FaultHang, Route: "/api/v1/sessions"})
			w.reload(sites...)
			if got := w.sum(counted("b")); got != 1 {
				t.Errorf("before a poll: counted %v", got)
			}
			held.Remove()
			w.awaitPoll("b")
			if got := w.sum(counted("b")); got != 2 {
				t.Errorf("counted %v", got)
			}
		})
	}
}

// testReloadOtherBuckets: if only the buckets change, the histograms begin again and the
// counters go on.
func testReloadOtherBuckets(t *testing.T) {
	t.Parallel()
	a := appliance(t)
	finish(a, "web", "Failed")
	w := run(t, diskStorage(t), "duration_buckets: [60]", site{"a", a.URL, ""})
	w.awaitPoll("a")
	w.settings = "duration_buckets: [60, 120]"
	w.reload(site{"a", a.URL, ""})
	w.awaitPoll("a")
	if sessions, durations := w.sum(counted("a")), w.sum("vbaws_session_duration_seconds{"); sessions != 1 || durations != 0 {
		t.Errorf("%v sessions, %v durations", sessions, durations)
	}
	if got := w.Config().DurationBuckets; !slices.Equal(got, []float64{60, 120}) {
		t.Errorf("buckets %v", got)
	}
}

func testReloadAfterTheEnd(t *testing.T) {
	a := appliance(t)
	w := run(t, memoryStorage, "", site{"a", a.URL, ""})
	w.stop()
	if err := w.Reload(w.Config()); err == nil {
		t.Error("no error")
	}
}
