// Package app has the commands: each is a function whose arguments are the command's
// flags and streams, and whose error is the reason for a status other than 0.
//
// It knows which packages a command needs, and brings them together. Flags, their
// defaults and their help are the business of package main.
package app

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	sloggokit "github.com/tjhop/slog-gokit"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/config"
)

// unusedAfter is how long the state of an appliance that left the
// configuration is kept. Its sessions are forgotten by then.
const unusedAfter = 400 * 24 * time.Hour

// OneLine returns the text of err as a line for a terminal. Joined errors are a line
// each, and an appliance's answer, or a file, can have escapes in it.
func OneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// Logging is how a command logs, to stderr.
type Logging struct {
	Level  string // debug, info, warn or error
	Format string // logfmt or json
}

// loggers returns a logger, and one for libraries that want slog's. Both write whole
// lines to w, and every line begins with the key ts: the time in UTC.
func (o *Logging) loggers(w io.Writer) (log.Logger, *slog.Logger) {
	w = log.NewSyncWriter(w)
	l := log.NewLogfmtLogger(w)
	if o.Format == "json" {
		l = log.NewJSONLogger(w)
	}
	// The filter is innermost: what goes around it can't hide the level from it.
	l = level.NewFilter(l, level.Allow(level.ParseDefault(o.Level, level.InfoValue())))
	stamped := log.LoggerFunc(func(keyvals ...any) error {
		return l.Log(append([]any{"ts", log.DefaultTimestampUTC()}, keyvals...)...)
	})
	return stamped, slog.New(sloggokit.NewGoKitHandler(withoutOrigin{stamped}, slog.LevelDebug))
}

// withoutOrigin leaves out the time and the caller that the slog handler puts before the
// message.
type withoutOrigin struct{ next log.Logger }

func (l withoutOrigin) Log(keyvals ...any) error {
	kept := make([]any, 0, len(keyvals))
	for i := 0; i+1 < len(keyvals); i += 2 {
		switch keyvals[i] {
		case slog.MessageKey:
			return l.next.Log(append(kept, keyvals[i:]...)...)
		case slog.TimeKey, "caller":
		default:
			kept = append(kept, keyvals[i], keyvals[i+1])
		}
	}
	return l.next.Log(kept...)
}

// openStorage opens the state in a folder, or one that is kept nowhere if
// path is empty.
func openStorage(path string, cfg *config.Config, logger log.Logger) (storage func(string) (poller.Storage, error), closeStorage func() error, err error) {
	if path == "" {
		return func(string) (poller.Storage, error) { return store.NewMemory(), nil }, func() error { return nil }, nil
	}
	s, err := store.Open(path, store.Options{})
	if err != nil {
		return nil, nil, err
	}
	keep := make([]string, len(cfg.Appliances))
	for i, a := range cfg.Appliances {
		keep[i] = a.Name
	}
	dropped, err := s.DropUnused(keep, time.Now().Add(-unusedAfter))
	if err != nil {
		return nil, nil, errors.Join(err, s.Close())
	}
	for _, name := range dropped {
		level.Info(logger).Log("msg", "dropped the state of an appliance that is no longer configured", "appliance", name)
	}
	return func(name string) (poller.Storage, error) { return s.Appliance(name) }, s.Close, nil
}
