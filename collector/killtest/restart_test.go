package killtest

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

// tester is what testing.T and rapid.T share.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// process is an exporter within the test's own process, from its start to its
// end in good order.
type process struct {
	*polltest.Exporter
	t       tester
	store   *store.Store // nil without one
	handler http.Handler
	close   func()
}

// setup is what a process is made of; the zero value keeps its state in memory.
type setup struct {
	dir       string
	hold      time.Duration
	forgetful bool
	// wrap, if not nil, stands between the poller and its storage.
	wrap func(poller.Storage) poller.Storage
}

// start starts a process that polls what server serves.
func start(t tester, f *fleet, server *vbawstest.Server, s setup) *process {
	t.Helper()
	p := &process{t: t}
	var storage poller.Storage = store.NewMemory()
	if s.dir != "" {
		var err error
		if p.store, err = store.Open(s.dir, store.Options{Now: f.clock.Now}); err != nil {
			t.Fatal(err)
		}
		if storage, err = p.store.Appliance(polltest.Appliance); err != nil {
			t.Fatal(err)
		}
	}
	if s.wrap != nil {
		storage = s.wrap(storage)
	}
	transport := server.Transport()
	p.Exporter = polltest.Start(t, polltest.Options{
		URL: server.URL, Transport: transport, Storage: storage,
		Poller: poller.Config{
			Backfill: backfill, Ledger: ledger.Options{Hold: s.hold, Ephemeral: s.forgetful}, Now: f.clock.Now,
		},
	})
	p.handler = promhttp.HandlerFor(p.Registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, EnableOpenMetricsTextCreatedSamples: true,
	})
	p.close = func() {
		transport.CloseIdleConnections()
		if p.store != nil {
			if err := p.store.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return p
}

// poll makes a poll, which must succeed.
func (p *process) poll() {
	p.t.Helper()
	if err := p.Poll(context.Background()); err != nil {
		p.t.Fatal(err)
	}
}

// settle lets the fleet rest for as long as anything may take to be seen.
func (p *process) settle(f *fleet) {
	p.t.Helper()
	f.a.Reveal()
	for range 3 {
		f.advance(61 * time.Minute)
		p.poll()
	}
}

// body scrapes in one of the formats.
func (p *process) body(accept string) string {
	p.t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		p.t.Fatalf("scrape: status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// scrape is what a scrape would get, without the way through a format.
func (p *process) scrape() *page {
	p.t.Helper()
	return newPage(p.Families(p.t))
}

// mustEqualTheTruth compares what is scraped with what happened.
func (p *process) mustEqualTheTruth(f *fleet) {
	p.t.Helper()
	if d := cmp.Diff(f.truth("1.8-rev0"), p.scrape().sessions()); d != "" {
		p.t.Fatalf("-truth +/metrics:\n%s", d)
	}
}

// newPlainFleet returns a fleet and what serves it.
func newPlainFleet(t *testing.T, seed uint64) (*fleet, *vbawstest.Server) {
	t.Helper()
	f := newFleet(seed, false, vbawstest.Config{})
	server := vbawstest.NewServer(f.a)
	t.Cleanup(server.Close)
	return f, server
}

func (f *fleet) live(steps int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range steps {
		f.step()
	}
}

// ofTheFirstPoll are the families that a process knows by a poll alone.
var ofTheFirstPoll = []string{
	"vbaws_up", "vbaws_appliance_info", "vbaws_exporter_last_poll_timestamp_seconds",
	"vbaws_exporter_last_successful_poll_timestamp_seconds", "vbaws_exporter_endpoint_forbidden",
	"vbaws_exporter_endpoint_errors",
}

func TestRestart(t *testing.T) {
	t.Parallel()
	t.Run("stored state", testRestartStoredState)
	t.Run("a week later", testRestartAWeekLater)
	t.Run("rows raised a month later", testRestartRowsRaisedAMonthLater)
	t.Run("no state directory", testRestartNoStateDirectory)
	t.Run("other URL", testRestartOtherURL)
	t.Run("older state", testRestartOlderState)
}

// testRestartStoredState: what Prometheus gets between the start and the
// first poll is what it got before the end.
func testRestartStoredState(t *testing.T) {
	t.Parallel()
	f, server := newPlainFleet(t, 1)
	s := setup{dir: t.TempDir(), hold: 10 * time.Hour}
	formats := []string{"text/plain", "application/openmetrics-text;version=1.0.0", protobuf}
	p := start(t, f, server, s)
	for range 5 {
		f.live(30)
		p.poll()
	}
	f.a.Start(vbawstest.Session{Type: "FLRTask"}) // a series that is held
	p.poll()
	before := make(map[string]string)
	for _, accept := range formats {
		before[accept] = p.body(accept)
	}
	page := p.scrape()
	p.close()

	p = start(t, f, server, s)
	defer p.close()
	for _, accept := range formats[:2] {
		was, is := stored(before[accept]), stored(p.body(accept))
		if !strings.Contains(was, "vbaws_session_duration_seconds_bucket{") || !strings.Contains(was, `type="FLRTask"`) {
			t.Fatalf("the scrape shows too little to compare:\n%s", was)
		}
		if d := cmp.Diff(was, is); d != "" {
			t.Errorf("%s: -before +after the restart:\n%s", accept, d)
		}
	}
	if wrong := p.scrape().after(page); len(wrong) > 0 {
		t.Error(wrong)
	}
	if d := cmp.Diff(page.sessions(), p.scrape().sessions()); d != "" {
		t.Errorf("-before +after the restart:\n%s", d)
	}
	// And nothing happened, so nothing changes.
	p.poll()
	if d := cmp.Diff(stored(before["text/plain"]), stored(p.body("text/plain"))); d != "" {
		t.Errorf("-before +after a poll with no news:\n%s", d)
	}
}

// stored removes from a scrape what a process knows only after a poll.
func stored(body string) string {
	var b strings.Builder
	for line := range strings.Lines(body) {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), " ")
		name, _, _ = strings.Cut(strings.TrimPrefix(name, "# UNIT "), "{")
		if strings.HasPrefix(line, "#") || slices.Contains(ofTheFirstPoll, name) {
			continue
		}
		if strings.Contains(line, `what="repositories"`) { // inventory, which is not stored
			continue
		}
		if strings.HasPrefix(name, "vbaws_session") || strings.HasPrefix(name, "vbaws_exporter_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// testRestartAWeekLater: a session that finished while no exporter ran is counted once.
func testRestartAWeekLater(t *testing.T) {
	t.Parallel()
	f, server := newPlainFleet(t, 2)
	s := setup{dir: t.TempDir()}
	p := start(t, f, server, s)
	f.live(50)
	p.poll()
	before := p.scrape()
	p.close()

	for range 7 {
		f.live(60)
		f.advance(23 * time.Hour)
	}
	p = start(t, f, server, s)
	p.poll()
	p.mustEqualTheTruth(f) // the first poll sees it all
	if wrong := p.scrape().after(before); len(wrong) > 0 {
		t.Error(wrong)
	}
	p.settle(f)
	p.mustEqualTheTruth(f)
	p.close()
	p = start(t, f, server, s)
	defer p.close()
	p.settle(f)
	p.mustEqualTheTruth(f)
}

// testRestartRowsRaisedAMonthLater: a row that comes to the top long after its session was
// counted is not counted again, neither by the process that counted it nor by a
// later one.
func testRestartRowsRaisedAMonthLater(t *testing.T) {
	t.Parallel()
	f, server := newPlainFleet(t, 3)
	s := setup{dir: t.TempDir()}
	p := start(t, f, server, s)
	f.live(100)
	p.poll()
	p.mustEqualTheTruth(f)
	want := f.sessions()
	if len(f.ended) < 20 {
		t.Fatalf("%d sessions ended: too few", len(f.ended))
	}
	for range 30 {
		f.advance(24 * time.Hour)
		p.poll()
	}
	raise := func() {
		for _, id := range slices.Concat(f.ended[:10], f.dispensable) {
			f.a.Update(id, func(s *vbawstest.Session) { s.Reason += "." })
		}
	}
	raise()
	p.settle(f)
	p.mustEqualTheTruth(f)
	p.close()
	p = start(t, f, server, s)
	defer p.close()
	raise()
	p.settle(f)
	p.mustEqualTheTruth(f)
	if got := f.sessions(); got != want {
		t.Errorf("the truth itself went from %d sessions to %d", want, got)
	}
}

// testRestartNoStateDirectory: a restart that knows nothing of the past looks like no
// burst. What had ended before the start is not counted, what ends later is.
func testRestartNoStateDirectory(t *testing.T) {
	t.Parallel()
	f, server := newPlainFleet(t, 4)
	for life := range 2 {
		f.live(60)
		f.advance(time.Second) // the clock of the appliance has whole seconds
		p := start(t, f, server, setup{forgetful: true})
		total := func() (n int) {
			for k, v := range p.scrape().values {
				if strings.HasPrefix(k, "vbaws_sessions_total ") || strings.HasPrefix(k, "vbaws_session_duration_seconds_count ") {
					n += int(v)
				}
			}
			return n
		}
		p.poll()
		if got := total(); got != 0 {
			t.Errorf("life %d: initial sync counts %d sessions", life, got)
		}
		for k, v := range f.truth("1.8-rev0") {
			if strings.HasPrefix(k, "vbaws_session_last_end_timestamp_seconds ") && p.scrape().values[k] != v {
				t.Errorf("life %d: %s is %v, want %v", life, k, p.scrape().values[k], v)
			}
		}
		before := f.sessions()
		f.live(60)
		p.settle(f)
		// Once in the counter, once in the histogram.
		if got, want := total(), 2*(f.sessions()-before); got != want || want == 0 {
			t.Errorf("life %d: counted %d of %d", life, got, want)
		}
		p.close()
	}
}

// testRestartOtherURL: the state is the appliance's, by its name in the configuration,
// and not its address's.
func testRestartOtherURL(t *testing.T) {
	t.Parallel()
	f, server := newPlainFleet(t, 5)
	s := setup{dir: t.TempDir()}
	p := start(t, f, server, s)
	f.live(60)
	p.poll()
	before := p.scrape()
	p.close()

	moved := vbawstest.NewServer(f.a)
	defer moved.Close()
	if moved.URL == server.URL {
		t.Fatal("the address is the same")
	}
	f.live(60)
	p = start(t, f, moved, s)
	defer p.close()
	if wrong := p.scrape().after(before); len(wrong) > 0 {
		t.Error(wrong)
	}
	p.settle(f)
	if wrong := p.scrape().after(before); len(wrong) > 0 {
		t.Error(wrong)
	}
	p.mustEqualTheTruth(f)
}

// testRestartOlderState: an older copy of the file brings the counters back to
// where they stood, and then counts what is missing, each once.
func testRestartOlderState(t *testing.T) {
	t.Parallel()
	f, server := newPlainFleet(t, 6)
	s := setup{dir: t.TempDir()}
	file := filepath.Join(s.dir, store.FileName)
	p := start(t, f, server, s)
	f.live(60)
	p.poll()
	older := p.scrape()
	p.close()
	backup, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	p = start(t, f, server, s)
	for range 10 {
		f.live(40)
		f.advance(5 * time.Hour)
		p.poll()
	}
	p.close()
	newer, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(backup, newer) {
		t.Fatal("nothing was saved since the backup")
	}

	if err := os.WriteFile(file, backup, 0o600); err != nil {
		t.Fatal(err)
	}
	p = start(t, f, server, s)
	defer p.close()
	if d := cmp.Diff(older.sessions(), p.scrape().sessions()); d != "" {
		t.Errorf("-at the backup +after it was restored:\n%s", d)
	}
	p.poll()
	p.mustEqualTheTruth(f)
	p.settle(f)
	p.mustEqualTheTruth(f)
}
