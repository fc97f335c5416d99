//go:build unix

package killtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/internal/web"
	"vbaws_exporter/vbaws"
)

// orders is the environment variable that makes the test binary run as an exporter, with
// the configuration of that exporter.
const orders = "VBAWS_KILLTEST_EXPORTER"

// exporter is a process that can be killed. It serves /metrics on the listener
// that it inherits, and takes the time from its standard input: the seconds are
// the test's, so that a day can pass between two requests.
type exporter struct {
	Dir        string
	Appliances []target
	Hold       time.Duration
	PartSize   int
	// DieAt is a step of a poll or a crash point of the store, and the process
	// kills itself at its Visit-th visit. Empty: it lives on.
	DieAt string
	Visit int
	// Scraped is set if what is published there is to be scraped first.
	Scraped bool

	// scrapes counts those that were answered.
	scrapes *atomic.Int64
}

// target is an appliance to poll.
type target struct {
	Name, URL string
	CA        []byte // PEM
}

func TestMain(m *testing.M) {
	if o := os.Getenv(orders); o != "" {
		var e exporter
		err := json.Unmarshal([]byte(o), &e)
		if err == nil {
			err = e.run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "exporter:", err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	if os.Getenv("RAPID_CHECKS") == "" && !given("rapid.checks") {
		// Each check is a life of some polls.
		_ = flag.Set("rapid.checks", "5")
	}
	apptest.Main(m)
}

func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

func (e *exporter) run() error {
	e.scrapes = new(atomic.Int64)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	now, err := readClock(os.Stdin)
	if err != nil {
		return err
	}
	s, err := store.Open(e.Dir, store.Options{Now: now, Crash: e.die})
	if err != nil {
		return err
	}
	reg := prometheus.NewRegistry()
	instruments := collector.NewInstruments(reg)
	var pollers []*poller.Poller
	var all []collector.Source
	for _, a := range e.Appliances {
		p, err := e.poller(a, s, instruments, now)
		if err != nil {
			return err
		}
		pollers, all = append(pollers, p), append(all, p)
	}
	sources := func() []collector.Source { return all }
	reg.MustRegister(collector.New(sources))
	handler, err := web.Handler(web.Options{
		Gatherer: reg, Sources: sources, TelemetryPath: "/metrics", ErrorLog: stdlog.New(os.Stderr, "", 0),
	})
	if err != nil {
		return err
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
		e.scrapes.Add(1)
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	var polling sync.WaitGroup
	for _, p := range pollers {
		polling.Go(func() {
			// Not Poller.Run: it would wait for a minute of a real clock.
			for ctx.Err() == nil {
				_ = p.Poll(ctx) // what became of it is published
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	polling.Wait()
	err = server.Shutdown(context.Background())
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return errors.Join(err, s.Close())
}

func (e *exporter) poller(a target, s *store.Store, instruments *collector.Instruments, now func() time.Time) (*poller.Poller, error) {
	storage, err := s.Appliance(a.Name)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.CA) {
		return nil, errors.New("no certificate to trust")
	}
	instruments.Add(a.Name)
	one, err := polltest.New(polltest.Options{
		URL: a.URL, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}},
		Observe: func(r vbaws.Request) { instruments.Requested(a.Name, r) },
		Storage: storage,
		Poller: poller.Config{
			Appliance: a.Name, Backfill: backfill, PartSize: e.PartSize, Ledger: ledger.Options{Hold: e.Hold},
			Logger: log.NewLogfmtLogger(os.Stderr), // with the lines of tasks and jobs
			Now:    now,
			Polled: func(r poller.Result, took time.Duration) { instruments.Polled(a.Name, r, took) },
			Step:   e.die,
		},
	})
	if err != nil {
		return nil, err
	}
	return one.Poller, nil
}

// die ends the process at the point and the visit of its orders.
func (e *exporter) die(point string) {
	if point != e.DieAt {
		return
	}
	if e.Visit--; e.Visit > 0 {
		return
	}
	// The scrape after a whole one shows that the client has that one.
	for after := e.scrapes.Load() + 3; e.Scraped && e.scrapes.Load() < after; {
		time.Sleep(time.Millisecond)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// readClock returns a clock that shows what came last from r, nanoseconds in
// eight bytes. When r ends, so does the process: its parent is gone.
func readClock(r io.Reader) (func() time.Time, error) {
	var nanos atomic.Int64
	read := func() error {
		var b [8]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return fmt.Errorf("read the time: %w", err)
		}
		nanos.Store(int64(binary.BigEndian.Uint64(b[:])))
		return nil
	}
	if err := read(); err != nil {
		return nil, err
	}
	go func() {
		var err error
		for err == nil {
			err = read()
		}
		os.Exit(1)
	}()
	return func() time.Time { return time.Unix(0, nanos.Load()).UTC() }, nil
}
