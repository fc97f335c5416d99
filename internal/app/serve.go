package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"vbaws_exporter/internal/config"
	"vbaws_exporter/internal/web"
)

// shutdownTimeout is how long the shutdown waits for scrapes under way.
const shutdownTimeout = 10 * time.Second

// Web has the flags of a command that serves HTTP.
type Web struct {
	Toolkit     *toolkit.FlagConfig
	Lifecycle   bool // reload by HTTP
	web.Options      // of which flags set TelemetryPath, CreatedSamples and Pprof
}

// Serve polls the appliances of a configuration and serves HTTP until a signal ends it.
// With an empty storagePath no state is kept.
func Serve(configFile, storagePath string, w *Web, l *Logging) error {
	logger, slogger := l.loggers(os.Stderr)
	return watch(configFile, storagePath, w, logger, slogger, &run.Group{})
}

// watch is Serve beside the actors that g has already. A signal or a failure ends all of
// them.
func watch(configFile, storagePath string, w *Web, logger log.Logger, slogger *slog.Logger, g *run.Group) (err error) {
	// Before anything else: an unhandled SIGHUP would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	cfg, err := loadConfig(configFile)
	if err != nil {
		return err
	}
	if err := toolkit.Validate(*w.Toolkit.WebConfigFile); err != nil {
		return fmt.Errorf("--web.config.file: %w", err)
	}
	level.Info(logger).Log("msg", "starting", "version", version.Version, "revision", version.GetRevision(), "config", configFile, "storage", storagePath)
	x, err := newExporter(cfg, storagePath, false, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.close()) }()
	x.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	var rejected atomic.Pointer[web.Rejection]
	reload := x.reloader(configFile, &rejected, logger)
	o := w.Options
	o.Gatherer, o.Sources, o.Version, o.Rejected = x.registry, x.Sources, version.Version, rejected.Load
	o.Config = func() ([]byte, error) { return x.Config().YAML() }
	o.ErrorLog = slog.NewLogLogger(slogger.Handler(), slog.LevelWarn)
	if w.Lifecycle {
		o.Reload = reload
	}
	handler, err := web.Handler(o)
	if err != nil {
		return err
	}
	addUntil(g, func(ctx context.Context) {
		for {
			select {
			case <-hangup:
				_ = reload() // it logs the error
			case <-ctx.Done():
				return
			}
		}
	})
	return runGroup(g, x.Run, web.NewServer(handler, o.ErrorLog), w.Toolkit, logger, slogger)
}

// reloader returns a function that reads the file again and changes to the configuration
// in it. It is safe to call from any goroutine. It stores its error in rejected; nil if
// there is none.
func (x *exporter) reloader(configFile string, rejected *atomic.Pointer[web.Rejection], logger log.Logger) func() error {
	var mu sync.Mutex // an older configuration must not replace a newer one
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		cfg, err := config.Load(configFile)
		if err == nil {
			err = x.Reload(cfg)
		}
		now := time.Now()
		x.instruments.Reloaded(err == nil, now)
		if err != nil {
			since := now
			if before := rejected.Load(); before != nil {
				since = before.Since
			}
			rejected.Store(&web.Rejection{Since: since, Err: err})
			level.Error(logger).Log("msg", "configuration not reloaded, the previous one stays in use", "config", configFile, "err", err)
			return err
		}
		rejected.Store(nil)
		level.Info(logger).Log("msg", "configuration reloaded", "config", configFile)
		return nil
	}
}

// addUntil adds to g a function that runs until its context ends.
func addUntil(g *run.Group, do func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	g.Add(func() error { do(ctx); return nil }, func(error) { cancel() })
}

// runGroup runs the server and poll, beside the actors that g has already, until a signal
// comes or one of them fails. If the server cannot listen, the context of poll has ended
// when poll is called.
func runGroup(g *run.Group, poll func(context.Context), server *http.Server, f *toolkit.FlagConfig, logger log.Logger, slogger *slog.Logger) error {
	// An exporter that cannot listen is restarted again and again, and must not log in
	// each time.
	listening, listens := context.WithCancel(context.Background())
	server.BaseContext = func(net.Listener) context.Context { listens(); return context.Background() }
	addUntil(g, func(ctx context.Context) {
		select {
		case <-listening.Done():
		case <-ctx.Done():
		}
		poll(ctx)
	})

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// Not run.SignalHandler: it handles the first signal only, and the second signal of
	// some supervisors would interrupt the shutdown.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	g.Add(func() error {
		select {
		case s := <-signals:
			return &run.SignalError{Signal: s}
		case <-ctx.Done():
			return nil
		}
	}, func(error) { cancel() })

	g.Add(func() error {
		err := toolkit.ListenAndServe(server, f, slogger)
		if op, is := errors.AsType[*net.OpError](err); is && op.Op == "listen" {
			err = fmt.Errorf("--web.listen-address: %w", err)
		}
		return err
	}, func(error) {
		// A context of its own: the others have ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			level.Warn(logger).Log("msg", "scrapes were interrupted", "err", err)
			server.Close()
		}
	})

	err := g.Run()
	if errors.Is(err, run.ErrSignal) {
		level.Info(logger).Log("msg", "stopped", "reason", err)
		return nil
	}
	return err
}
