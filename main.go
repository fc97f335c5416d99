// Command vbaws_exporter tells Prometheus how the backup sessions of Veeam
// Backup for AWS appliances end.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
	_ "time/tzdata" // schedules are in the appliances' time zones, and an image may have none
	"unicode"

	"github.com/alecthomas/kingpin/v2"
	"github.com/go-kit/log"
	"github.com/go-kit/log/level"
	"github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/version"
	toolkit "github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"
	sloggokit "github.com/tjhop/slog-gokit"
	"go.yaml.in/yaml/v4"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/check"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/internal/daemon"
	"vbaws_exporter/internal/demo"
	"vbaws_exporter/internal/healthcheck"
	"vbaws_exporter/internal/state"
	"vbaws_exporter/internal/web"
)

const (
	// defaultAddress is where the exporter listens.
	defaultAddress = ":10105"
	// shutdownTimeout is how long scrapes under way may take at the end.
	shutdownTimeout = 10 * time.Second
	// unusedAfter is how long the state of an appliance that left the
	// configuration is kept. Its sessions are forgotten by then.
	unusedAfter = 400 * 24 * time.Hour
)

// flags are all flags of all commands.
type flags struct {
	configFile, logLevel, logFormat string
	serve, demo                     webFlags
	serveStorage, collectStorage    string
	offline                         bool
	output                          string
	healthcheckAddresses            []string
	state                           stateFlags
}

// stateFlags are those of the commands that move states.
type stateFlags struct {
	storage, appliance, output string
	list                       string // format
	file                       string
	replace                    bool
}

// webFlags are those of a command that serves HTTP.
type webFlags struct {
	toolkit        *toolkit.FlagConfig
	telemetryPath  string
	createdSamples bool
	lifecycle      bool
	pprof          bool
}

// The commands.
const (
	cmdServe       = "serve"
	cmdCheck       = "check"
	cmdCollect     = "collect"
	cmdDemo        = "demo"
	cmdHealthcheck = "healthcheck"
	cmdState       = "state"
	cmdExport      = "export" // these of cmdState
	cmdImport      = "import"
	cmdList        = "list"
)

func newApp(f *flags) *kingpin.Application {
	app := kingpin.New("vbaws_exporter", "Tells Prometheus how the backup sessions of Veeam Backup for AWS appliances end.")
	app.HelpFlag.Short('h')
	app.UsageTemplate(kingpin.LongHelpTemplate)
	app.Version(version.Print("vbaws_exporter"))
	app.Flag("config.file", "Configuration file. The demo brings its own.").Default("config.yml").StringVar(&f.configFile)
	app.Flag("log.level", "Least level of what is logged: debug, info, warn or error.").Default("info").EnumVar(&f.logLevel, "debug", "info", "warn", "error")
	app.Flag("log.format", "Format of the log: logfmt or json.").Default("logfmt").EnumVar(&f.logFormat, "logfmt", "json")

	serve := app.Command(cmdServe, "Polls the appliances and serves what it finds. This is the default command.").Default()
	f.serve.add(serve)
	serve.Flag("storage.path", "Folder of the state that makes counters last. Empty: nothing is kept, and counters start with the process.").
		Default("data/").StringVar(&f.serveStorage)

	probe := app.Command(cmdCheck, "Validates the configuration and tries each appliance: a line a finding, and what to do about it; the status is 0 if all can be monitored.")
	probe.Flag("offline", "Looks at the configuration file and the files that it names, and touches no network.").BoolVar(&f.offline)
	probe.Flag("output", "How to write the findings: table or json.").Default("table").EnumVar(&f.output, "table", "json")

	collect := app.Command(cmdCollect, "Makes one pass over every appliance, writes the metrics to stdout and ends; the status is 1 if an appliance failed.")
	collect.Flag("storage.path", "Folder of the state, not that of serve. Empty: counters cover the time of backfill.").
		Default("").StringVar(&f.collectStorage)

	f.demo.add(app.Command(cmdDemo, "Serves a simulated appliance, polls it and serves what it finds. Needs no configuration."))

	health := app.Command(cmdHealthcheck, "Asks the exporter that serves on this machine whether it is healthy; the status is 0 if so. For containers.")
	health.Flag("web.listen-address", "Where the exporter listens. Several times: all must be healthy.").
		Default(defaultAddress).StringsVar(&f.healthcheckAddresses)
	f.state.add(app.Command(cmdState, "Moves what is known of an appliance to another exporter, which then counts on. The exporters concerned must be stopped meanwhile."))
	return app
}

func (f *stateFlags) add(c *kingpin.CmdClause) {
	add := func(name, help string) *kingpin.CmdClause {
		c := c.Command(name, help)
		c.Flag("storage.path", "Folder of the exporter's state.").Required().StringVar(&f.storage)
		return c
	}
	export := add(cmdExport, "Writes the state of an appliance to a file. The exporter refuses to poll the appliance from then on.")
	export.Flag("appliance", "Name of the appliance.").Required().StringVar(&f.appliance)
	export.Flag("output", "File to write, which must not exist, or - for stdout.").Required().StringVar(&f.output)
	take := add(cmdImport, "Takes in such a file, as a whole or not at all. The exporter then counts on from there.")
	take.Flag("replace", "Overwrites the state that there is of the appliance.").BoolVar(&f.replace)
	take.Arg("file", "The file, or /dev/stdin.").Required().StringVar(&f.file)
	add(cmdList, "Lists the appliances that there is state of.").
		Flag("output", "How to write the list: table or json.").Default("table").EnumVar(&f.list, "table", "json")
}

func (f *webFlags) add(c *kingpin.CmdClause) {
	f.toolkit = kingpinflag.AddFlags(c, defaultAddress)
	c.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&f.telemetryPath)
	c.Flag("web.enable-lifecycle", "Reloads the configuration on POST and PUT to /-/reload. SIGHUP does so in any case.").BoolVar(&f.lifecycle)
	c.Flag("web.enable-pprof", "Serves Go's profiles below /debug/pprof/.").BoolVar(&f.pprof)
	c.Flag("web.openmetrics-created-samples", "Adds _created samples to OpenMetrics text. Prometheus stores them as series.").BoolVar(&f.createdSamples)
}

func main() {
	if version.Version == "" {
		// Not set by the linker: go install and go run know it all the same.
		if info, ok := debug.ReadBuildInfo(); ok {
			version.Version = info.Main.Version
		}
	}
	var f flags
	app := newApp(&f).UsageWriter(os.Stdout)
	command, err := app.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "vbaws_exporter: %v; try --help\n", err)
		os.Exit(2)
	}
	switch command {
	case cmdServe:
		err = serve(&f)
	case cmdCheck:
		err = runCheck(&f, os.Stdout)
	case cmdCollect:
		err = collect(&f, os.Stdout)
	case cmdDemo:
		err = runDemo(&f, os.Stdout)
	case cmdHealthcheck:
		err = runHealthcheck(&f, os.Stdout)
	case cmdState + " " + cmdExport:
		err = state.Export(f.state.storage, f.state.appliance, f.state.output, version.Version, os.Stdout, os.Stderr)
	case cmdState + " " + cmdImport:
		err = state.Import(f.state.storage, f.state.file, f.state.replace, os.Stdout)
	case cmdState + " " + cmdList:
		err = state.List(f.state.storage, f.state.list == "json", os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vbaws_exporter:", oneLine(err))
		os.Exit(1)
	}
}

// oneLine returns the text of err as a line for a terminal. Joined errors are a line
// each, and an appliance's answer, or a file, may have escapes in it.
func oneLine(err error) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ReplaceAll(err.Error(), "\n", "; "))
}

// newLogger returns a logger, and one for libraries that want slog's. Both
// write whole lines to w.
func newLogger(w io.Writer, f *flags) (log.Logger, *slog.Logger) {
	w = log.NewSyncWriter(w)
	l := log.NewLogfmtLogger(w)
	if f.logFormat == "json" {
		l = log.NewJSONLogger(w)
	}
	// The filter is innermost: what goes around it can't hide the level from it.
	l = level.NewFilter(l, level.Allow(level.ParseDefault(f.logLevel, level.InfoValue())))
	return log.With(l, "ts", log.DefaultTimestampUTC, "caller", log.DefaultCaller),
		slog.New(sloggokit.NewGoKitHandler(l, slog.LevelDebug)) // adds a time and a caller of its own
}

// serve is the daemon.
func serve(f *flags) error {
	logger, slogger := newLogger(os.Stderr, f)
	return watch(f.configFile, f.serveStorage, &f.serve, logger, slogger, &run.Group{})
}

// runDemo is the daemon before an appliance that it simulates.
func runDemo(f *flags, stdout io.Writer) (err error) {
	logger, slogger := newLogger(os.Stderr, f)
	d, err := demo.Start(uint64(time.Now().UnixNano()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Describe(stdout, scheme(*f.demo.toolkit.WebConfigFile), *f.demo.toolkit.WebListenAddresses, f.demo.telemetryPath); err != nil {
		return err
	}
	var g run.Group
	ctx, cancel := context.WithCancel(context.Background())
	g.Add(func() error { d.Run(ctx); return nil }, func(error) { cancel() })
	return watch(d.ConfigFile, d.StoragePath(), &f.demo, logger, slogger, &g)
}

// scheme returns the scheme that is served by a configuration of the web server. What
// is wrong with it shows when it is put to use.
func scheme(webConfigFile string) string {
	var c struct {
		TLS struct {
			Cert     string `yaml:"cert"`
			CertFile string `yaml:"cert_file"`
		} `yaml:"tls_server_config"`
	}
	text, err := os.ReadFile(webConfigFile)
	if err == nil {
		err = yaml.Unmarshal(text, &c)
	}
	if err != nil || c.TLS.Cert == "" && c.TLS.CertFile == "" {
		return "http"
	}
	return "https"
}

// watch polls and serves, beside what is in g already, until a signal or a
// failure ends all of it.
func watch(configFile, storagePath string, f *webFlags, logger log.Logger, slogger *slog.Logger, g *run.Group) (err error) {
	// From the beginning: one that comes too early would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	cfg, err := config.Load(configFile)
	if err != nil {
		return err
	}
	level.Info(logger).Log("msg", "starting", "version", version.Version, "revision", version.GetRevision(), "config", configFile, "storage", storagePath)
	books, closeBooks, err := openBooks(storagePath, cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBooks()) }()

	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	instruments := collector.NewInstruments(reg)
	instruments.Reloaded(true, time.Now())
	d, err := daemon.New(daemon.Options{
		Config: cfg, Book: books, Forgetful: storagePath == "", Instruments: instruments, Logger: logger,
	})
	if err != nil {
		return err
	}
	reg.MustRegister(collector.New(d.Sources))

	reload := reloader(configFile, d, instruments, logger)
	o := web.Options{
		Gatherer: reg, Sources: d.Sources, TelemetryPath: f.telemetryPath, CreatedSamples: f.createdSamples,
		Version:  version.Version,
		Config:   func() ([]byte, error) { return d.Config().YAML() },
		Pprof:    f.pprof,
		ErrorLog: slog.NewLogLogger(slogger.Handler(), slog.LevelWarn),
	}
	if f.lifecycle {
		o.Reload = reload
	}
	handler, err := web.Handler(o)
	if err != nil {
		return err
	}
	addHangup(g, hangup, reload)
	return runGroup(g, d, web.NewServer(handler, o.ErrorLog), f.toolkit, logger, slogger)
}

// reloader returns what goes over to the configuration that is in the file at that
// time. Any goroutine may call it.
func reloader(configFile string, d *daemon.Daemon, instruments *collector.Instruments, logger log.Logger) func() error {
	var mu sync.Mutex // what was read first must not come into force last
	return func() error {
		mu.Lock()
		defer mu.Unlock()
		cfg, err := config.Load(configFile)
		if err == nil {
			err = d.Reload(cfg)
		}
		instruments.Reloaded(err == nil, time.Now())
		if err != nil {
			level.Error(logger).Log("msg", "configuration not reloaded, the old one stays", "config", configFile, "err", err)
			return err
		}
		level.Info(logger).Log("msg", "configuration reloaded", "config", configFile)
		return nil
	}
}

// addHangup makes a hangup reload. What is wrong is logged already.
func addHangup(g *run.Group, hangup <-chan os.Signal, reload func() error) {
	done := make(chan struct{})
	g.Add(func() error {
		for {
			select {
			case <-hangup:
				_ = reload()
			case <-done:
				return nil
			}
		}
	}, func(error) { close(done) })
}

// runGroup runs the daemon and the server until a signal comes or one fails.
func runGroup(g *run.Group, d *daemon.Daemon, server *http.Server, f *toolkit.FlagConfig, logger log.Logger, slogger *slog.Logger) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// Not run.SignalHandler: it stops to listen with the first signal, and a second
	// one, as some supervisors send, would cut short what the first began.
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

	g.Add(func() error { d.Run(ctx); return nil }, func(error) { cancel() })

	g.Add(func() error { return toolkit.ListenAndServe(server, f, slogger) }, func(error) {
		// All other contexts have ended by now, and this one must not have.
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			level.Warn(logger).Log("msg", "scrapes were cut off", "err", err)
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

// openBooks opens the state in a folder, or books that are kept nowhere where
// path is empty.
func openBooks(path string, cfg *config.Config, logger log.Logger) (books func(string) (poller.Book, error), closeBooks func() error, err error) {
	if path == "" {
		return func(string) (poller.Book, error) { return store.NewMemory(), nil }, func() error { return nil }, nil
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
		level.Info(logger).Log("msg", "dropped the state of an appliance that isn't configured any more", "appliance", name)
	}
	return func(name string) (poller.Book, error) { return s.Book(name) }, s.Close, nil
}

// runCheck writes what it finds out about the configuration and its appliances.
func runCheck(f *flags, stdout io.Writer) error {
	cfg, findings := check.File(f.configFile)
	switch {
	case cfg == nil:
	case f.offline:
		findings = append(findings, check.LocalFiles(cfg)...)
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		more, err := check.Appliances(ctx, cfg, check.Options{UserAgent: "vbaws_exporter/" + version.Version})
		if err != nil {
			return err
		}
		findings = append(findings, more...)
	}
	write := check.Table
	if f.output == "json" {
		write = check.JSON
	}
	if err := write(stdout, findings); err != nil {
		return fmt.Errorf("write the findings: %w", err)
	}
	if cfg == nil {
		return errors.New("the configuration can't be used")
	}
	if failed := check.Failed(findings); len(failed) > 0 {
		return fmt.Errorf("can't be monitored: %s", strings.Join(failed, ", "))
	}
	return nil
}

// runHealthcheck asks each address, and writes what all of them tell in one line.
func runHealthcheck(f *flags, stdout io.Writer) error {
	answers := make([]string, len(f.healthcheckAddresses))
	for i, address := range f.healthcheckAddresses {
		answer, err := healthcheck.Ask(context.Background(), address)
		if err != nil {
			return err
		}
		answers[i] = answer
	}
	_, err := fmt.Fprintln(stdout, strings.Join(answers, "; "))
	return err
}

// collect makes one pass over every appliance and writes the metrics.
func collect(f *flags, stdout io.Writer) (err error) {
	logger, _ := newLogger(os.Stderr, f)
	cfg, err := config.Load(f.configFile)
	if err != nil {
		return err
	}
	books, closeBooks, err := openBooks(f.collectStorage, cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeBooks()) }()

	// Without Go's own metrics: beside those of others, in one file, they would be
	// there twice.
	reg := prometheus.NewRegistry()
	instruments := collector.NewInstruments(reg)
	instruments.Reloaded(true, time.Now())
	d, err := daemon.New(daemon.Options{
		Config: cfg, Book: books, Once: true, Instruments: instruments, Logger: logger,
	})
	if err != nil {
		return err
	}
	reg.MustRegister(collector.New(d.Sources))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	pollErr := d.Poll(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted, so nothing is written")
	}
	return errors.Join(pollErr, writeText(stdout, reg))
}

// writeText writes what g gathers in the text format, or nothing.
func writeText(w io.Writer, g prometheus.Gatherer) error {
	families, err := g.Gather()
	if err != nil {
		return fmt.Errorf("gather the metrics: %w", err)
	}
	var text bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			return fmt.Errorf("write the metrics: %w", err)
		}
	}
	if _, err := w.Write(text.Bytes()); err != nil {
		return fmt.Errorf("write the metrics: %w", err)
	}
	return nil
}
