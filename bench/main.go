// Command bench measures vbaws_exporter against limits and against the
// alternatives, and prints the table of README.md. Its status is 1 where a limit
// is missed by more than the noise that was measured beside it.
//
//	go run .                 # all of it
//	go run . -quick          # less of everything
//	go run . -row 1,2        # some rows
//	go run . -row 1 -cpuprofile profiles -memprofile profiles
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"vbaws_exporter/bench/child"
	"vbaws_exporter/bench/world"
)

// bench is what all rows are measured with.
type bench struct {
	quick    bool
	profiles profiles
	// source is the folder of the exporter's module, work one for what is made on
	// the way.
	source, work string
	progress     io.Writer

	// long and short are the exporters of rows 3 and 4, once they are there.
	long, short *settled
	// alternatives are what the row of that name found.
	alternatives []alternative
}

// scale returns the size of some work: full, or as much less as there is time for.
func (b *bench) scale(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

// rows are those of the table, in its order.
var rows = []struct {
	name    string
	measure func(context.Context, *bench) ([]result, error)
}{
	{"1", takeIn},
	{"2", resident},
	{"3", idle},
	{"4", busy},
	{"5", scrape},
	{"6", latency},
	{"7", save},
	{"8", crowded},
	{"alternatives", compareReaders},
}

func main() {
	child.Main(child.Parts{world.Part: world.Service(), crowdPart: &crowd{}})
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) (err error) {
	b := &bench{progress: stderr}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.BoolVar(&b.quick, "quick", false, "measures less of everything")
	only := f.String("row", "", "rows to measure, separated by commas; empty: all of "+strings.Join(names(), ", "))
	markdown := f.Bool("markdown", false, "prints the table as Markdown")
	jsonFile := f.String("json", "", "file to write the table to as JSON too")
	f.StringVar(&b.profiles.cpu, "cpuprofile", "", "folder for a profile of the CPU by each row that has one")
	f.StringVar(&b.profiles.mem, "memprofile", "", "folder for a profile of the memory by each row that has one")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is no flag: try -help", f.Arg(0))
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if err := stockJSON(); err != nil {
		return err
	}
	if b.source, err = moduleRoot(); err != nil {
		return err
	}
	if b.work, err = os.MkdirTemp("", "vbaws-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.closePair(), os.RemoveAll(b.work)) }()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	rep := report{Machine: thisMachine(), Quick: b.quick}
	var failed error
	for _, r := range rows {
		if !slices.Contains(chosen, r.name) {
			continue
		}
		b.say("row %s", r.name)
		results, err := r.measure(ctx, b)
		rep.Results = append(rep.Results, results...)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("row %s: %w", r.name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	rep.Alternatives = b.alternatives
	if err := rep.write(stdout, *markdown); err != nil {
		return err
	}
	if *jsonFile != "" {
		if err := writeJSONFile(*jsonFile, rep); err != nil {
			return err
		}
	}
	return errors.Join(failed, missed(rep.Results))
}

func writeJSONFile(path string, r report) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return writeJSON(f, r)
}

// missed is an error that names the limits that were missed, if any.
func missed(results []result) error {
	var lines []string
	for _, r := range results {
		if r.missed() {
			lines = append(lines, fmt.Sprintf("row %s, %s: %s ±%s, at most %s", r.Row, r.What, number(r.Value), number(r.Noise), number(r.Limit)))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return fmt.Errorf("limits missed:\n  %s", strings.Join(lines, "\n  "))
}

func names() []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.name)
	}
	return all
}

// choose returns the rows that a list names.
func choose(list string) ([]string, error) {
	if list == "" {
		return names(), nil
	}
	chosen := strings.Split(list, ",")
	for _, c := range chosen {
		if !slices.Contains(names(), c) {
			return nil, fmt.Errorf("-row: there is no row %q, only %s", c, strings.Join(names(), ", "))
		}
	}
	return chosen, nil
}

// stockJSON refuses a build in which encoding/json is not the one that row 1
// compares with.
func stockJSON() error {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return errors.New("this program doesn't know how it was built")
	}
	for _, s := range info.Settings {
		if s.Key == "GOEXPERIMENT" && s.Value != "" {
			return fmt.Errorf("built with GOEXPERIMENT=%s: unset it, since row 1 compares with encoding/json as it is", s.Value)
		}
	}
	return nil
}

// moduleRoot finds the exporter's module: above the working directory, where
// go run leaves it.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module vbaws_exporter\n") {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("this is no checkout of vbaws_exporter: run it in its folder bench")
		}
		dir = up
	}
}
