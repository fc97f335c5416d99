// Command vbaws_exporter exposes the backup sessions and policies of Veeam Backup for
// AWS appliances to Prometheus.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	_ "time/tzdata" // schedules are in the appliances' time zones, and an image can have none

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"vbaws_exporter/internal/app"
)

// defaultAddress is where the exporter listens.
const defaultAddress = ":10105"

// flags are all flags of all commands.
type flags struct {
	configFile                   string
	log                          app.Logging
	serve, demo                  app.Web
	serveStorage, collectStorage string
	offline, verbose             bool
	logLevelGiven                bool
	output                       string
	healthcheckAddresses         []string
	state                        stateFlags
}

// stateFlags are those of the commands that move states.
type stateFlags struct {
	storage, appliance, output string
	list                       string // format
	file                       string
	replace                    bool
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

// newParser returns the parser of the command line. defaultCommand is whether serve is
// run when no command is named.
func newParser(f *flags, defaultCommand bool) *kingpin.Application {
	p := kingpin.New("vbaws_exporter", "Prometheus exporter for the backup sessions of Veeam Backup for AWS appliances.")
	p.HelpFlag.Short('h')
	p.Version(version.Print("vbaws_exporter"))
	p.Flag("config.file", "Configuration file. The demo brings its own.").Default("config.yml").StringVar(&f.configFile)
	p.Flag("log.level", "Lowest level that is logged: debug, info, warn or error. collect logs errors only unless this is given.").
		Default("info").IsSetByUser(&f.logLevelGiven).EnumVar(&f.log.Level, "debug", "info", "warn", "error")
	p.Flag("log.format", "Format of the log: logfmt or json.").Default("logfmt").EnumVar(&f.log.Format, "logfmt", "json")

	serve := p.Command(cmdServe, "Polls the appliances and serves the metrics, the status page and the API. This is the default command; serve --help lists its flags.")
	if defaultCommand {
		serve.Default()
	}
	addWeb(&f.serve, serve)
	serve.Flag("storage.path", "State directory. Counters continue from it after a restart. Empty: no state is kept, and counters start at 0.").
		Default("data/").StringVar(&f.serveStorage)

	probe := p.Command(cmdCheck, "Validates the configuration, tests each appliance, and prints problems first, each with its remedy. The exit status is 0 if all appliances can be monitored.")
	probe.Flag("offline", "Check only the configuration file and the files that it names. Use no network.").BoolVar(&f.offline)
	probe.Flag("output", "Format of the findings: table or json.").Default("table").EnumVar(&f.output, "table", "json")
	probe.Flag("verbose", "Also print what was found out about the API: USN, paging and times. JSON always has it.").BoolVar(&f.verbose)

	collect := p.Command(cmdCollect, "Polls every appliance once, prints the metrics to stdout and exits. The exit status is 1 if an appliance failed.")
	collect.Flag("storage.path", "State directory, not the one of serve. Empty: counters cover the backfill window.").
		Default("").StringVar(&f.collectStorage)

	addWeb(&f.demo, p.Command(cmdDemo, "Runs a simulated appliance and the exporter that polls it. Needs no configuration."))

	health := p.Command(cmdHealthcheck, "Requests /-/healthy of the exporter on this machine. The exit status is 0 if it is healthy. For containers.")
	health.Flag("web.listen-address", "Address on which the exporter listens. Repeatable: all must be healthy.").
		Default(defaultAddress).StringsVar(&f.healthcheckAddresses)
	f.state.add(p.Command(cmdState, "Moves the state of an appliance to another exporter. Stop both exporters first."))
	return p
}

func (f *stateFlags) add(c *kingpin.CmdClause) {
	add := func(name, help string) *kingpin.CmdClause {
		c := c.Command(name, help)
		c.Flag("storage.path", "State directory of the exporter.").Required().StringVar(&f.storage)
		return c
	}
	export := add(cmdExport, "Writes the state of an appliance to a file. From then on this exporter refuses to poll the appliance.")
	export.Flag("appliance", "Name of the appliance.").Required().StringVar(&f.appliance)
	export.Flag("output", "File to create, or - for stdout. The file must not exist.").Required().StringVar(&f.output)
	take := add(cmdImport, "Imports an exported state completely or not at all. This exporter then continues the counters.")
	take.Flag("replace", "Replace the existing state of the appliance.").BoolVar(&f.replace)
	take.Arg("file", "File to import, or /dev/stdin.").Required().StringVar(&f.file)
	add(cmdList, "Lists the appliances that have state in the directory.").
		Flag("output", "Format of the list: table or json.").Default("table").EnumVar(&f.list, "table", "json")
}

func addWeb(w *app.Web, c *kingpin.CmdClause) {
	w.Toolkit = kingpinflag.AddFlags(c, defaultAddress)
	c.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&w.TelemetryPath)
	c.Flag("web.enable-lifecycle", "Reload the configuration on POST or PUT to /-/reload. SIGHUP always does.").BoolVar(&w.Lifecycle)
	c.Flag("web.enable-pprof", "Serve Go profiles under /debug/pprof/.").BoolVar(&w.Pprof)
	c.Flag("web.openmetrics-created-samples", "Add _created samples to OpenMetrics text. Prometheus stores them as separate series.").BoolVar(&w.CreatedSamples)
}

// completesCommand reports whether args ask for the completion of a word that is not a
// flag. kingpin's default command would take that word for an argument of its own.
func completesCommand(args []string) bool {
	return len(args) > 0 && args[0] == "--completion-bash" &&
		slices.ContainsFunc(args[1:], func(word string) bool { return !strings.HasPrefix(word, "-") })
}

func main() {
	if version.Version == "" {
		// The linker didn't set it. The build information has it for go install and go run.
		if info, ok := debug.ReadBuildInfo(); ok {
			version.Version = info.Main.Version
		}
	}
	var f flags
	command, err := newParser(&f, !completesCommand(os.Args[1:])).UsageWriter(os.Stdout).Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "vbaws_exporter: %v; try --help\n", err)
		os.Exit(2)
	}
	switch command {
	case cmdServe:
		err = app.Serve(f.configFile, f.serveStorage, &f.serve, &f.log)
	case cmdCheck:
		err = app.Check(f.configFile, app.CheckOptions{Offline: f.offline, JSON: f.output == "json", Verbose: f.verbose}, os.Stdout)
	case cmdCollect:
		if !f.logLevelGiven {
			f.log.Level = "error" // cron mails each line
		}
		err = app.Collect(f.configFile, f.collectStorage, &f.log, os.Stdout)
	case cmdDemo:
		err = app.Demo(&f.demo, &f.log, os.Stdout)
	case cmdHealthcheck:
		err = app.Healthcheck(f.healthcheckAddresses, os.Stdout)
	case cmdState + " " + cmdExport:
		err = app.ExportState(f.state.storage, f.state.appliance, f.state.output, version.Version, os.Stdout, os.Stderr)
	case cmdState + " " + cmdImport:
		err = app.ImportState(f.state.storage, f.state.file, f.state.replace, os.Stdout)
	case cmdState + " " + cmdList:
		err = app.ListStates(f.state.storage, f.state.list == "json", os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vbaws_exporter:", app.OneLine(err))
		os.Exit(1)
	}
}
