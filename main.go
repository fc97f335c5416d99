// Command vbaws_exporter tells Prometheus how the backup sessions of Veeam
// Backup for AWS appliances end.
package main

import (
	"fmt"
	"os"
	"runtime/debug"
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
	offline                      bool
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

func newParser(f *flags) *kingpin.Application {
	p := kingpin.New("vbaws_exporter", "Prometheus exporter for the backup sessions of Veeam Backup for AWS appliances.")
	p.HelpFlag.Short('h')
	p.UsageTemplate(kingpin.LongHelpTemplate)
	p.Version(version.Print("vbaws_exporter"))
	p.Flag("config.file", "Configuration file. The demo brings its own.").Default("config.yml").StringVar(&f.configFile)
	p.Flag("log.level", "Least level of what is logged: debug, info, warn or error.").Default("info").EnumVar(&f.log.Level, "debug", "info", "warn", "error")
	p.Flag("log.format", "Format of the log: logfmt or json.").Default("logfmt").EnumVar(&f.log.Format, "logfmt", "json")

	serve := p.Command(cmdServe, "Polls the appliances and serves what it finds. This is the default command.").Default()
	addWeb(&f.serve, serve)
	serve.Flag("storage.path", "Folder of the state that makes counters last. Empty: nothing is kept, and counters start with the process.").
		Default("data/").StringVar(&f.serveStorage)

	probe := p.Command(cmdCheck, "Validates the configuration and tries each appliance: a line a finding, and what to do about it; the status is 0 if all can be monitored.")
	probe.Flag("offline", "Looks at the configuration file and the files that it names, and touches no network.").BoolVar(&f.offline)
	probe.Flag("output", "How to write the findings: table or json.").Default("table").EnumVar(&f.output, "table", "json")

	collect := p.Command(cmdCollect, "Polls every appliance once, prints the metrics to stdout and exits; the status is 1 if an appliance failed.")
	collect.Flag("storage.path", "Folder of the state, not that of serve. Empty: counters cover the time of backfill.").
		Default("").StringVar(&f.collectStorage)

	addWeb(&f.demo, p.Command(cmdDemo, "Serves a simulated appliance, polls it and serves what it finds. Needs no configuration."))

	health := p.Command(cmdHealthcheck, "Asks the exporter that serves on this machine whether it is healthy; the status is 0 if so. For containers.")
	health.Flag("web.listen-address", "Where the exporter listens. Several times: all must be healthy.").
		Default(defaultAddress).StringsVar(&f.healthcheckAddresses)
	f.state.add(p.Command(cmdState, "Moves what is known of an appliance to another exporter, which then counts on. The exporters concerned must be stopped meanwhile."))
	return p
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

func addWeb(w *app.Web, c *kingpin.CmdClause) {
	w.Toolkit = kingpinflag.AddFlags(c, defaultAddress)
	c.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&w.TelemetryPath)
	c.Flag("web.enable-lifecycle", "Reloads the configuration on POST and PUT to /-/reload. SIGHUP does so in any case.").BoolVar(&w.Lifecycle)
	c.Flag("web.enable-pprof", "Serves Go's profiles below /debug/pprof/.").BoolVar(&w.Pprof)
	c.Flag("web.openmetrics-created-samples", "Adds _created samples to OpenMetrics text. Prometheus stores them as series.").BoolVar(&w.CreatedSamples)
}

func main() {
	if version.Version == "" {
		// Not set by the linker: go install and go run know it all the same.
		if info, ok := debug.ReadBuildInfo(); ok {
			version.Version = info.Main.Version
		}
	}
	var f flags
	command, err := newParser(&f).UsageWriter(os.Stdout).Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "vbaws_exporter: %v; try --help\n", err)
		os.Exit(2)
	}
	switch command {
	case cmdServe:
		err = app.Serve(f.configFile, f.serveStorage, &f.serve, &f.log)
	case cmdCheck:
		err = app.Check(f.configFile, f.offline, f.output == "json", os.Stdout)
	case cmdCollect:
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
