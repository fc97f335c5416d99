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

// newParser returns the parser of the command line, and by command the function to call
// after it was parsed. defaultCommand says that serve is the default command.
func newParser(defaultCommand bool) (*kingpin.Application, map[string]func() error) {
	p := kingpin.New("vbaws_exporter", "Prometheus exporter for the backup sessions of Veeam Backup for AWS appliances.")
	p.HelpFlag.Short('h')
	p.Version(version.Print("vbaws_exporter"))
	var log app.Logging
	var levelGiven bool
	config := p.Flag("config.file", "Configuration file. The demo brings its own.").Default("config.yml").String()
	p.Flag("log.level", "Lowest level that is logged: debug, info, warn or error. collect logs errors only unless this is given.").
		Default("info").IsSetByUser(&levelGiven).EnumVar(&log.Level, "debug", "info", "warn", "error")
	p.Flag("log.format", "Format of the log: logfmt or json.").Default("logfmt").EnumVar(&log.Format, "logfmt", "json")
	run := make(map[string]func() error)

	serve := p.Command("serve", "Polls the appliances and serves the metrics, the status page and the API. This is the default command; serve --help lists its flags.")
	if defaultCommand {
		serve.Default()
	}
	serveWeb := addWeb(serve)
	serveStorage := serve.Flag("storage.path", "State directory. Counters continue from it after a restart. Empty: no state is kept, and counters start at 0.").
		Default("data/").String()
	run["serve"] = func() error { return app.Serve(*config, *serveStorage, serveWeb, &log) }

	check := p.Command("check", "Validates the configuration, tests each appliance, and prints problems first, each with its remedy. The exit status is 0 if all appliances can be monitored.")
	offline := check.Flag("offline", "Check only the configuration file and the files that it names. Use no network.").Bool()
	output := check.Flag("output", "Format of the findings: table or json.").Default("table").Enum("table", "json")
	verbose := check.Flag("verbose", "Also print what was found out about the API: USN, paging and times. JSON always has it.").Bool()
	run["check"] = func() error {
		return app.Check(*config, app.CheckOptions{Offline: *offline, JSON: *output == "json", Verbose: *verbose}, os.Stdout)
	}

	collect := p.Command("collect", "Polls every appliance once, prints the metrics to stdout and exits. The exit status is 1 if an appliance failed.")
	collectStorage := collect.Flag("storage.path", "State directory, not the one of serve. Empty: counters cover the backfill window.").
		Default("").String()
	run["collect"] = func() error {
		if !levelGiven {
			log.Level = "error" // cron mails each line
		}
		return app.Collect(*config, *collectStorage, &log, os.Stdout)
	}

	demoWeb := addWeb(p.Command("demo", "Runs a simulated appliance and the exporter that polls it. Needs no configuration."))
	run["demo"] = func() error { return app.Demo(demoWeb, &log, os.Stdout) }

	addresses := p.Command("healthcheck", "Requests /-/healthy of the exporter on this machine. The exit status is 0 if it is healthy. For containers.").
		Flag("web.listen-address", "Address on which the exporter listens. Repeatable: all must be healthy.").
		Default(defaultAddress).Strings()
	run["healthcheck"] = func() error { return app.Healthcheck(*addresses, os.Stdout) }

	addState(p.Command("state", "Moves the state of an appliance to another exporter. Stop both exporters first."), run)
	return p, run
}

// addState adds the commands that list and move states.
func addState(state *kingpin.CmdClause, run map[string]func() error) {
	add := func(name, help string) (c *kingpin.CmdClause, storage *string) {
		c = state.Command(name, help)
		return c, c.Flag("storage.path", "State directory of the exporter.").Required().String()
	}
	export, exportStorage := add("export", "Writes the state of an appliance to a file. From then on this exporter refuses to poll the appliance.")
	appliance := export.Flag("appliance", "Name of the appliance.").Required().String()
	output := export.Flag("output", "File to create, or - for stdout. The file must not exist.").Required().String()
	run["state export"] = func() error {
		return app.ExportState(*exportStorage, *appliance, *output, version.Version, os.Stdout, os.Stderr)
	}

	take, takeStorage := add("import", "Imports an exported state completely or not at all. This exporter then continues the counters.")
	replace := take.Flag("replace", "Replace the existing state of the appliance.").Bool()
	file := take.Arg("file", "File to import, or /dev/stdin.").Required().String()
	run["state import"] = func() error { return app.ImportState(*takeStorage, *file, *replace, os.Stdout) }

	list, listStorage := add("list", "Lists the appliances that have state in the directory.")
	format := list.Flag("output", "Format of the list: table or json.").Default("table").Enum("table", "json")
	run["state list"] = func() error { return app.ListStates(*listStorage, *format == "json", os.Stdout) }
}

// addWeb adds the flags of the web server to a command.
func addWeb(c *kingpin.CmdClause) *app.Web {
	w := &app.Web{Toolkit: kingpinflag.AddFlags(c, defaultAddress)}
	c.Flag("web.telemetry-path", "Path of the metrics.").Default("/metrics").StringVar(&w.TelemetryPath)
	c.Flag("web.enable-lifecycle", "Reload the configuration on POST or PUT to /-/reload. SIGHUP always does.").BoolVar(&w.Lifecycle)
	c.Flag("web.enable-pprof", "Serve Go profiles under /debug/pprof/.").BoolVar(&w.Pprof)
	c.Flag("web.openmetrics-created-samples", "Add _created samples to OpenMetrics text. Prometheus stores them as separate series.").BoolVar(&w.CreatedSamples)
	return w
}

// completesCommand reports whether args ask for the completion of a word that is not a
// flag. kingpin's default command would take that word for an argument of its own.
func completesCommand(args []string) bool {
	return len(args) > 0 && args[0] == "--completion-bash" &&
		slices.ContainsFunc(args[1:], func(word string) bool { return !strings.HasPrefix(word, "-") })
}

// withFlag returns err, of parsing args, with the name of the flag whose value is invalid:
// kingpin returns the error of the value alone.
func withFlag(err error, parser *kingpin.Application, args []string) error {
	parsed, parseErr := parser.ParseContext(args)
	if parseErr != nil {
		return err // the same error, which names the flag or the argument
	}
	for _, e := range parsed.Elements {
		f, is := e.Clause.(*kingpin.FlagClause)
		if !is {
			continue
		}
		if invalid := f.Model().Value.Set(*e.Value); invalid != nil && invalid.Error() == err.Error() {
			return fmt.Errorf("--%s: %w", f.Model().Name, err)
		}
	}
	return err
}

// parse returns the function that runs the command of args.
func parse(args []string) (func() error, error) {
	parser, run := newParser(!completesCommand(args))
	command, err := parser.UsageWriter(os.Stdout).Parse(args)
	strict, _ := newParser(false)
	if named, _ := strict.ParseContext(args); named.SelectedCommand == nil {
		// Before the default command, kingpin skips a flag that lacks its value.
		if _, err := strict.ParseContext(append([]string{"serve"}, args...)); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, withFlag(err, parser, args)
	}
	return run[command], nil
}

func main() {
	if version.Version == "" {
		// The linker didn't set it. The build information has it for go install and go run.
		if info, ok := debug.ReadBuildInfo(); ok {
			version.Version = info.Main.Version
		}
	}
	run, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "vbaws_exporter: %v; try --help\n", err)
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vbaws_exporter:", app.OneLine(err))
		os.Exit(1)
	}
}
