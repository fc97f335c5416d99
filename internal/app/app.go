// Package app has the commands. Each is a function: its arguments are the command's flags
// and streams, and its error is the reason for an exit status other than 0.
//
// It sets up the packages that a command needs. Package main has the flags, their
// defaults and their help.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/prometheus/client_golang/prometheus"
	sloggokit "github.com/tjhop/slog-gokit"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/check"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/internal/daemon"
)

// unusedAfter is how long the state of an appliance is kept after it was removed from the
// configuration. By then its sessions have left the seen index.
const unusedAfter = 400 * 24 * time.Hour

// OneLine returns the text of err as a line for a terminal. Joined errors are a line
// each.
func OneLine(err error) string {
	return check.Printable(strings.ReplaceAll(err.Error(), "\n", "; "))
}

// Logging is how a command logs, to stderr.
type Logging struct {
	Level  string // debug, info, warn or error
	Format string // logfmt or json
}

// loggers returns a logger, and a slog.Logger for libraries that need one. Both write
// whole lines to w, and every line begins with the key ts: the time in UTC.
func (o *Logging) loggers(w io.Writer) (log.Logger, *slog.Logger) {
	w = log.NewSyncWriter(w)
	l := log.NewLogfmtLogger(w)
	if o.Format == "json" {
		l = log.NewJSONLogger(w)
	}
	// The filter is innermost: a logger around it can't hide the level from it.
	l = level.NewFilter(l, level.Allow(level.ParseDefault(o.Level, level.InfoValue())))
	stamped := log.LoggerFunc(func(keyvals ...any) error {
		return l.Log(append([]any{"ts", log.DefaultTimestampUTC()}, keyvals...)...)
	})
	return stamped, slog.New(withoutOrigin{sloggokit.NewGoKitHandler(stamped, slog.LevelDebug)})
}

// withoutOrigin is a handler that doesn't log the time and the caller.
type withoutOrigin struct{ slog.Handler }

func (h withoutOrigin) Handle(ctx context.Context, r slog.Record) error {
	r.Time, r.PC = time.Time{}, 0
	return h.Handler.Handle(ctx, r)
}

func (h withoutOrigin) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withoutOrigin{h.Handler.WithAttrs(attrs)}
}

func (h withoutOrigin) WithGroup(name string) slog.Handler {
	return withoutOrigin{h.Handler.WithGroup(name)}
}

// loadConfig reads the configuration file.
func loadConfig(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; name the file with --config.file", err)
	}
	return cfg, err
}

// exporter polls the appliances of a configuration and has their metrics. close closes
// its state.
type exporter struct {
	*daemon.Daemon
	registry    *prometheus.Registry
	instruments *collector.Instruments
	close       func() error
}

// newExporter returns an exporter that does not poll yet. once says that the process polls
// once and ends. With an empty storagePath no state is kept.
func newExporter(cfg *config.Config, storagePath string, once bool, logger log.Logger) (*exporter, error) {
	storage := func(string) (poller.Storage, error) { return store.NewMemory(), nil }
	x := &exporter{registry: prometheus.NewRegistry(), close: func() error { return nil }}
	if storagePath != "" {
		s, err := openStore(storagePath, cfg, logger)
		if err != nil {
			return nil, err
		}
		storage = func(name string) (poller.Storage, error) { return s.Appliance(name) }
		x.close = s.Close
	}
	x.instruments = collector.NewInstruments(x.registry)
	x.instruments.Reloaded(true, time.Now())
	var err error
	x.Daemon, err = daemon.New(daemon.Options{
		Config: cfg, Storage: storage, Once: once, Forgetful: !once && storagePath == "", Instruments: x.instruments, Logger: logger,
	})
	if err != nil {
		return nil, errors.Join(err, x.close())
	}
	x.registry.MustRegister(collector.New(x.Sources))
	return x, nil
}

// openStore opens the state in a folder, and drops the states of appliances that were
// removed from the configuration long ago.
func openStore(path string, cfg *config.Config, logger log.Logger) (*store.Store, error) {
	s, err := store.Open(path, store.Options{})
	if err != nil {
		return nil, fmt.Errorf("--storage.path: %w", err)
	}
	keep := make([]string, len(cfg.Appliances))
	for i, a := range cfg.Appliances {
		keep[i] = a.Name
	}
	dropped, err := s.DropUnused(keep, time.Now().Add(-unusedAfter))
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	for _, name := range dropped {
		level.Info(logger).Log("msg", "dropped the state of an appliance that is no longer configured", "appliance", name)
	}
	return s, nil
}
