// Command bench runs the benchmarks of the exporter's cost, and prints one table: what,
// measured, limit. Its status is 1 if a value is above its limit.
//
//	go run .              # a million sessions, some fifteen minutes
//	go run . -quick       # 50,000 sessions, two to three minutes
//	go run . -out new.txt # the output of the benchmarks too, for benchstat
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// group is a set of benchmarks that run in one process.
type group struct {
	dir, pattern string
	// rounds and quickRounds are how often they run without and with -quick.
	rounds, quickRounds int
	// full has further flags for runs without -quick.
	full []string
}

var groups = []group{
	{".", "^Benchmark(TakeIn)$", 3, 7, []string{"-sessions=1000000"}},
	{".", "^Benchmark(Idle|Busy)$", 15, 15, []string{"-sessions=1000000"}},
	{".", "^Benchmark(Memory|Hostile)$", 1, 1, []string{"-sessions=1000000"}},
	{".", "^Benchmark(Instances)$", 1, 1, nil},
	{".", "^Benchmark(Appliances)$", 12, 5, []string{"-appliances=500"}},
	{"../collector", "^BenchmarkScrape$/^(text|protobuf)$", 15, 9, nil},
	{"../collector/store", "^BenchmarkSave$", 200, 50, nil},
}

// row is a line of the table: a value of a benchmark.
type row struct {
	what, benchmark, unit string
	limit                 float64
	// shown is the unit in the table; a ratio has none.
	shown string
}

// rows have limits at least a quarter above what was measured on machines with much other
// work.
var rows = []row{
	{"take in a session, initial sync: CPU ÷ encoding/json", "TakeIn/initial", "ratio", 2.4, ""},
	{"take in a session after an absence: CPU ÷ encoding/json", "TakeIn/catchup", "ratio", 3.3, ""},
	{"idle poll: requests", "Idle", "requests/poll", 1, "requests"},
	{"idle poll: bytes on the wire, both ways", "Idle", "wire-bytes/poll", 2048, "B"},
	{"idle poll: CPU ÷ a script that reads 50 sessions", "Idle", "ratio", 0.6, ""},
	{"poll with 100 changes: CPU ÷ two such scripts", "Busy", "ratio", 16, ""},
	{"poll with 100 changes: bytes written a session", "Busy", "written-bytes/session", 4096, "B"},
	{"save 100 records of any days: pages of 4 KiB a record", "Save/any", "pages/record", 3, "pages"},
	{"scrape of 100,000 series, text: CPU ÷ client_golang", "Scrape/text", "ratio", 0.85, ""},
	{"scrape of 100,000 series, protobuf: CPU ÷ client_golang", "Scrape/protobuf", "ratio", 0.9, ""},
	{"memory, initial sync and after: peak RSS without files", "Memory/unscraped", "anonymous-MiB", 150, "MiB"},
	{"memory, the same with a scrape a second", "Memory/scraped", "anonymous-MiB", 160, "MiB"},
	{"500 appliances, quick 100: CPU of a poll ÷ that of 10", "Appliances", "ratio", 1.5, ""},
	{"500 appliances, quick 100: heap in use an appliance", "Appliances", "heap-MiB/appliance", 2.2, "MiB"},
	{"500 appliances, quick 100: peak RSS an appliance", "Appliances", "peak-MiB/appliance", 4.8, "MiB"},
	{"5,000 instances, licensed: requests a list", "Instances/licensed", "requests/list", 24, "requests"},
	{"5,000 instances, licensed: answers a list", "Instances/licensed", "list-KiB", 6144, "KiB"},
	{"5,000 instances, restore points: requests a poll", "Instances/restore_points", "requests/poll", 21, "requests"},
	{"5,000 instances, restore points: answers a poll", "Instances/restore_points", "poll-KiB", 32, "KiB"},
	{"5,000 instances: peak RSS beyond that without them", "Instances/licensed", "more-MiB", 64, "MiB"},
	{"5,000 instances: scrape beyond that without them", "Instances/licensed", "scrape-KiB", 3072, "KiB"},
	{"5,000 instances: the same as gzip", "Instances/licensed", "gzip-KiB", 512, "KiB"},
	{"hostile answer, rows without end: peak RSS", "Hostile/endless_page", "peak-MiB", 256, "MiB"},
	{"hostile answer, a text without end: peak RSS", "Hostile/endless_text", "peak-MiB", 256, "MiB"},
	{"hostile answer, names without end: peak RSS", "Hostile/endless_names", "peak-MiB", 256, "MiB"},
	{"hostile answer, names without end: scrape", "Hostile/endless_names", "scrape-KiB", 5120, "KiB"},
}

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	quick := f.Bool("quick", false, "measure with 50,000 sessions and fewer rounds")
	out := f.String("out", "", "file to write the output of the benchmarks to")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	var output bytes.Buffer
	for _, g := range groups {
		if err := g.run(*quick, &output, stderr); err != nil {
			return err
		}
	}
	if *out != "" {
		if err := os.WriteFile(*out, output.Bytes(), 0o666); err != nil {
			return err
		}
	}
	values, err := parse(&output)
	if err != nil {
		return err
	}
	return table(stdout, rows, values)
}

// run runs the benchmarks and writes their output to output.
func (g group) run(quick bool, output, stderr io.Writer) error {
	rounds, flags := g.rounds, g.full
	if quick {
		rounds, flags = g.quickRounds, nil
	}
	args := append([]string{"test", "-run=^$", "-bench=" + g.pattern, fmt.Sprintf("-benchtime=%dx", rounds), "-timeout=30m", "."}, flags...)
	cmd := exec.Command("go", args...)
	cmd.Dir = g.dir
	// The runtime of Go is set up alike on all machines, in the exporter's process too.
	cmd.Env = append(os.Environ(), "GOMAXPROCS=2", "GOGC=100", "GOMEMLIMIT=off")
	cmd.Stdout, cmd.Stderr = io.MultiWriter(output, stderr), stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("benchmarks %s in %s: %w", g.pattern, g.dir, err)
	}
	return nil
}

// key names a value: a benchmark, without the number of CPUs, and a unit.
type key struct{ benchmark, unit string }

// parse returns the values in the output of benchmarks.
func parse(output io.Reader) (map[key]float64, error) {
	values := make(map[key]float64)
	r := benchfmt.NewReader(output, "benchmarks")
	for r.Scan() {
		switch rec := r.Result().(type) {
		case *benchfmt.SyntaxError:
			return nil, rec
		case *benchfmt.Result:
			base, parts := rec.Name.Parts()
			parts = slices.DeleteFunc(parts, func(p []byte) bool { return bytes.HasPrefix(p, []byte("-")) })
			name := string(base) + string(bytes.Join(parts, nil))
			for _, v := range rec.Values {
				values[key{name, v.Unit}] = v.Value
			}
		}
	}
	return values, r.Err()
}

// table writes the table as Markdown. The error names the rows above their limits and the
// rows without a value.
func table(w io.Writer, rows []row, values map[key]float64) error {
	var errs []error
	printf := func(format string, args ...any) {
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			errs = append(errs, err)
		}
	}
	printf("| %-58s | %-12s | %-12s |\n| %s | %s: | %s: |\n", "what", "measured", "limit", strings.Repeat("-", 58), strings.Repeat("-", 11), strings.Repeat("-", 11))
	for _, r := range rows {
		v, ok := values[key{r.benchmark, r.unit}]
		if !ok {
			errs = append(errs, fmt.Errorf("%s: Benchmark%s reports no %s", r.what, r.benchmark, r.unit))
			continue
		}
		printf("| %-58s | %12s | %12s |\n", r.what, r.format(v), r.format(r.limit))
		if !(v <= r.limit) { // NaN is no success
			errs = append(errs, fmt.Errorf("%s: %s is above the limit %s", r.what, r.format(v), r.format(r.limit)))
		}
	}
	return errors.Join(errs...)
}

func (r row) format(v float64) string {
	if r.shown == "" {
		return fmt.Sprintf("%.2f", v)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + r.shown
}
