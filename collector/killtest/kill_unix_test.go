//go:build unix

package killtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/vbaws/vbawstest"
)

var kills = flag.Int("kills", 48, "how many processes TestKill kills; from 200 on, TestMove has seven appliances")

// manyKills is the number from which tests are at their full length.
const manyKills = 200

// killsAFleet is how many processes of one fleet are killed: many fleets mean many initial
// syncs.
const killsAFleet = 24

// points are the places in which a process kills itself.
var points = []string{
	poller.StepRead, store.CrashBegin, store.CrashFilled, store.CrashDone, poller.StepSaved, poller.StepPublished,
}

// patience is how long a test waits for what must come. It only ends tests that fail.
const patience = 2 * time.Minute

// tally is what was seen.
type tally struct {
	sessions, random, byPoint, ended, scrapes, refused, told, faults, lost, doubled int
}

func (t *tally) add(o tally) {
	t.sessions += o.sessions
	t.random += o.random
	t.byPoint += o.byPoint
	t.ended += o.ended
	t.scrapes += o.scrapes
	t.refused += o.refused
	t.told += o.told
	t.faults += o.faults
	t.lost += o.lost
	t.doubled += o.doubled
}

// TestKill kills exporters, at random instants and between the steps of a poll,
// while the fleet goes on and Prometheus scrapes. Half of the fleets have all
// the faults.
func TestKill(t *testing.T) {
	var mu sync.Mutex
	totals := map[bool]*tally{false: {}, true: {}}
	t.Run("fleets", func(t *testing.T) {
		for i, left := 0, *kills; left > 0; i, left = i+1, left-killsAFleet {
			faulty := i%2 == 1
			name := "plain"
			if faulty {
				name = "faulty"
			}
			t.Run(fmt.Sprintf("%s/%d", name, i/2), func(t *testing.T) {
				t.Parallel()
				seen := killFleet(t, i/2, faulty, min(left, killsAFleet))
				mu.Lock()
				defer mu.Unlock()
				totals[faulty].add(seen)
			})
		}
	})
	for faulty, s := range totals {
		t.Logf("faults %t: %d sessions, %d kills (%d at random, %d by point), %d ends in good order, %d scrapes (%d without an answer), %d log lines, %d requests failed, lost %d, doubled %d",
			faulty, s.sessions, s.random+s.byPoint, s.random, s.byPoint, s.ended, s.scrapes, s.refused, s.told, s.faults, s.lost, s.doubled)
	}
}

// appliances differ in what is unknown of them.
var appliances = []vbawstest.Config{
	{Revisions: []string{"1.8-rev0"}, MaxPageSize: 50},
	{Revisions: []string{"1.0-rev0"}, FromUtc: vbawstest.FromAfterStart, RunningStop: vbawstest.StopZero},
	{Revisions: []string{"1.4-rev0"}, MaxPageSize: 30, Offset: 3 * time.Hour, DefaultOrder: vbawstest.OrderShuffled, ShuffleTies: true},
}

func killFleet(t *testing.T, kind int, faulty bool, deaths int) tally {
	cfg := appliances[kind%len(appliances)]
	seed := rand.Uint64()
	t.Logf("seed %d, revision %s", seed, cfg.Revisions[0])
	f := newFleet(seed, faulty, cfg)
	server := vbawstest.NewServer(f.a)
	defer server.Close()
	var requests atomic.Int64
	f.a.OnRequest(func(*http.Request) {
		requests.Add(1)
		f.request()
	})
	defer f.a.OnRequest(nil)

	file, url := listen(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	order := exporter{Dir: t.TempDir(), Appliances: []target{{"test", server.URL, server.CertPEM()}}, Hold: 10 * time.Minute}
	s := startScraper(t, f, url)
	log := new(bytes.Buffer)
	var seen tally
	// Fewer sessions would show too little. How many end in a life is a matter of chance.
	for n := 0; n < deaths || f.sessions() < 5*deaths; n++ {
		f.begin(rng.IntN(4))
		if rng.IntN(8) == 0 {
			f.absence()
		}
		o := order
		// A part of a poll is a transaction: with small ones there are instants between.
		o.PartSize = []int{0, 1, 3}[rng.IntN(3)]
		if rng.IntN(5) < 2 {
			o.DieAt, o.Visit, o.Scraped = points[(n+kind)%len(points)], 1+rng.IntN(2), rng.IntN(2) == 0
			seen.byPoint++
			l := begin(t, f, o, file, log)
			l.mustDie(syscall.SIGKILL)
			continue
		}
		before := requests.Load()
		l := begin(t, f, o, file, log)
		if wanted := rng.Int64N(25); wanted > 0 {
			waitFor(t, func() bool { return requests.Load() >= before+wanted })
			time.Sleep(time.Duration(rng.Int64N(int64(3 * time.Millisecond))))
		} else {
			time.Sleep(time.Duration(rng.Int64N(int64(60 * time.Millisecond))))
		}
		if rng.IntN(20) == 0 {
			n-- // that is no kill
			seen.ended++
			l.awaitServing(s.url)
			l.signal(syscall.SIGTERM)
			l.mustDie(0)
			continue
		}
		seen.random++
		l.signal(syscall.SIGKILL)
		l.mustDie(syscall.SIGKILL)
	}

	f.rest()
	l := begin(t, f, order, file, log)
	for _, d := range untilAllIsFound {
		f.advance(d)
		s.awaitPoll(seconds(f.clock.Now()))
	}
	l.signal(syscall.SIGTERM)
	l.mustDie(0)
	s.stop()

	truth, got := f.truth(cfg.Revisions[0]), s.last.sessions()
	if d := cmp.Diff(truth, got); d != "" {
		t.Errorf("-truth +/metrics:\n%s", d)
	}
	seen.lost, seen.doubled = reckon(truth, got)
	seen.sessions = f.sessions()
	seen.scrapes, seen.refused, seen.faults = s.scrapes, s.refused, f.struck
	told := make(map[string]bool)
	for _, m := range finished.FindAllStringSubmatch(log.String(), -1) {
		if told[m[1]] {
			t.Errorf("the log reports session %s twice", m[1])
		}
		told[m[1]] = true
	}
	seen.told = len(told)
	if v := f.a.Violations(); len(v) > 0 {
		t.Errorf("the exporter did what a monitor must not: %v", v)
	}
	return seen
}

// untilAllIsFound is how far to go on before each of some polls: anything is found
// by a resync, and any resync by the next but one.
var untilAllIsFound = []time.Duration{61 * time.Minute, 61 * time.Minute, 61 * time.Minute, 25 * time.Hour}

// finished matches the log line of a session.
var finished = regexp.MustCompile(`msg="session finished" .*session_id=(\S+)`)

// listen returns a listener for children, and its address: it stays open between
// them, so that the address is the same for all.
func listen(t *testing.T) (listener *os.File, url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	listener, err = l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener, "http://" + l.Addr().String() + "/metrics"
}

// life is a process.
type life struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.Writer // reads the time
	end chan error
	log *bytes.Buffer // only to be read once it has ended
	// ended is called when it has.
	ended func()
}

// begin starts an exporter with the clock of the fleet.
func begin(t *testing.T, f *fleet, e exporter, listener *os.File, log *bytes.Buffer) *life {
	t.Helper()
	l := spawn(t, e, listener, log)
	l.ended = func() { f.watch(nil) }
	f.watch(l.setTime)
	return l
}

// spawn starts an exporter, which waits for its clock.
func spawn(t *testing.T, e exporter, listener *os.File, log *bytes.Buffer) *life {
	t.Helper()
	o, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), orders+"="+string(o))
	cmd.ExtraFiles = []*os.File{listener}
	cmd.Stderr = log
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := &life{t: t, cmd: cmd, in: in, end: make(chan error, 1), log: log}
	go func() { l.end <- cmd.Wait() }()
	return l
}

// setTime sets the clock of the process, which readClock reads. A process that is gone
// needs none.
func (l *life) setTime(now time.Time) {
	_, _ = l.in.Write(binary.BigEndian.AppendUint64(nil, uint64(now.UnixNano())))
}

// watch calls setTime with the time now, and whenever it changes; nil stops that.
func (f *fleet) watch(setTime func(time.Time)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setTime = setTime
	if setTime != nil {
		setTime(f.clock.Now())
	}
}

func (l *life) signal(s syscall.Signal) {
	l.t.Helper()
	if err := l.cmd.Process.Signal(s); err != nil {
		l.t.Fatalf("signal the exporter: %v\n%s", err, l.log)
	}
}

// awaitServing waits until the process answers: before it handles SIGTERM, the signal would
// kill it.
func (l *life) awaitServing(url string) {
	l.t.Helper()
	// On its own connection: no other process can have answered.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	if _, err := get(l.t.Context(), client, url); err != nil {
		l.t.Fatalf("wait for the exporter: %v", err)
	}
}

// mustDie waits until the process has ended by sig, or if that is 0 in good
// order.
func (l *life) mustDie(sig syscall.Signal) {
	l.t.Helper()
	l.await(sig.String())
	status := l.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if died := status.Signaled() && status.Signal() == sig; sig != 0 && !died || sig == 0 && !l.cmd.ProcessState.Success() {
		l.t.Fatalf("the exporter ended by %v, not by %v:\n%s", l.cmd.ProcessState, sig, l.log)
	}
}

// await waits until the process has ended.
func (l *life) await(why string) {
	l.t.Helper()
	select {
	case <-l.end:
	case <-time.After(patience):
		_ = l.cmd.Process.Kill()
		<-l.end
		l.t.Fatalf("the exporter did not end by %v:\n%s", why, l.log)
	}
	l.ended()
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited too long")
		}
	}
}

// scraper scrapes a third of the time, across all lives.
type scraper struct {
	t      *testing.T
	f      *fleet
	url    string
	client *http.Client
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	last    *page // nil before the first
	scrapes int
	refused int
}

func startScraper(t *testing.T, f *fleet, url string) *scraper {
	ctx, cancel := context.WithCancel(context.Background())
	s := &scraper{
		t: t, f: f, url: url,
		client: &http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: patience},
		cancel: cancel, ended: make(chan struct{}),
	}
	go s.run(ctx)
	t.Cleanup(s.stop)
	return s
}

func (s *scraper) run(ctx context.Context) {
	defer close(s.ended)
	defer s.client.CloseIdleConnections()
	var took time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2*time.Millisecond + 2*took): // the rest is for the exporter
		}
		begun := time.Now()
		p, err := get(ctx, s.client, s.url)
		took = time.Since(begun)
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		if err != nil {
			s.refused++
		} else {
			s.scrapes++
			s.take(p)
		}
		s.mu.Unlock()
	}
}

func (s *scraper) take(p *page) {
	if s.last != nil {
		for _, wrong := range p.after(s.last) {
			s.t.Errorf("scrape %d: %s", s.scrapes, wrong)
		}
	}
	s.last = p
	if _, known := p.values["vbaws_exporter_watermark_timestamp_seconds "]; known {
		s.f.markSynced()
	}
}

// markSynced records that the exporter has counted what was there at the beginning.
func (f *fleet) markSynced() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.synced = true
}

// stop ends the scraping, and a scrape that waits for a process that will never come. It
// can be called twice.
func (s *scraper) stop() {
	s.cancel()
	<-s.ended
}

// awaitPoll waits until a poll that began at the given time or later was scraped.
func (s *scraper) awaitPoll(at float64) {
	s.t.Helper()
	awaitPoll(s.t, func() *page {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.last
	}, at)
}

// awaitPoll waits until last, what was scraped last, shows a poll that began at
// the given time or later.
func awaitPoll(t *testing.T, last func() *page, at float64) {
	t.Helper()
	good := func() (end, n float64) {
		p := last()
		if p == nil {
			return 0, 0
		}
		return p.values["vbaws_exporter_last_successful_poll_timestamp_seconds "],
			p.values[`vbaws_exporter_polls_total result="success"`]
	}
	var n float64
	waitFor(t, func() (ok bool) {
		var end float64
		end, n = good()
		return end >= at
	})
	// The poll that ended then may have begun earlier, and is perhaps not counted in n,
	// which is collected beside the other.
	waitFor(t, func() bool { _, now := good(); return now > n+1 })
}
