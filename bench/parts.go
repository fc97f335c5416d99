package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"

	"golang.org/x/perf/benchfmt"
)

// goBench runs benchmarks of one of the exporter's packages once, as go test
// -bench would, and returns their values in a unit by the benchmark's name.
func (b *bench) goBench(ctx context.Context, pkg, pattern, benchtime, unit string) (map[string]float64, error) {
	binary := filepath.Join(b.work, filepath.Base(pkg)+".test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, pkg) // from the cache, from the second time on
	build.Dir = b.source
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the benchmarks of %s: %w: %s", pkg, err, out)
	}
	args := []string{"-test.run=^$", "-test.bench=" + pattern, "-test.benchtime=" + benchtime}
	if b.profiles.cpu != "" {
		f, err := create(b.profiles.cpu, filepath.Base(pkg)+".cpu.pprof")
		if err != nil {
			return nil, err
		}
		f.Close()
		args = append(args, "-test.cpuprofile="+f.Name())
	}
	if b.profiles.mem != "" {
		f, err := create(b.profiles.mem, filepath.Base(pkg)+".mem.pprof")
		if err != nil {
			return nil, err
		}
		f.Close()
		args = append(args, "-test.memprofile="+f.Name())
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Dir = filepath.Join(b.source, pkg)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run the benchmarks of %s: %w: %s", pkg, err, out)
	}
	values := make(map[string]float64)
	r := benchfmt.NewReader(bytes.NewReader(out), pkg)
	for r.Scan() {
		if res, ok := r.Result().(*benchfmt.Result); ok {
			if v, ok := res.Value(unit); ok {
				values[string(res.Name.Base())+paths(res.Name)] = v
			}
		}
	}
	return values, r.Err()
}

// paths returns the parts of a benchmark's name below its base, without the number
// of CPUs.
func paths(n benchfmt.Name) string {
	_, parts := n.Parts()
	var all []byte
	for _, p := range parts {
		if !bytes.HasPrefix(p, []byte("-")) {
			all = append(all, p...)
		}
	}
	return string(all)
}

// scrape is row 5: a scrape, compared with the library's own instruments that
// show the same series.
func scrape(ctx context.Context, b *bench) ([]result, error) {
	formats := []struct {
		name  string
		limit float64
	}{{"text", 0.75}, {"protobuf", 0.9}}
	all := make([]ratio, len(formats))
	for range b.scale(9, 5) {
		values, err := b.goBench(ctx, "./collector", "^BenchmarkScrape$/^(text|protobuf)$", fmt.Sprintf("%dx", b.scale(4, 2)), "cpu-sec/op")
		if err != nil {
			return nil, err
		}
		for i, f := range formats {
			library, ours := values["Scrape/"+f.name+"/library"], values["Scrape/"+f.name+"/collector"]
			if library == 0 || ours == 0 {
				return nil, fmt.Errorf("BenchmarkScrape says nothing of %s: %v", f.name, values)
			}
			all[i].over, all[i].under = append(all[i].over, ours), append(all[i].under, library)
		}
	}
	var results []result
	for i, f := range formats {
		results = append(results, result{
			Row: "5", What: fmt.Sprintf("a scrape of 100,000 series, %s with gzip: CPU ÷ plain client_golang", f.name),
			Value: all[i].value(), Noise: all[i].noise(), Limit: f.limit,
			Detail: fmt.Sprintf("%.0f ms ÷ %.0f ms", median(all[i].over)*1000, median(all[i].under)*1000),
		})
	}
	return results, nil
}

// save is row 7: the pages that are written to save a pass.
func save(ctx context.Context, b *bench) ([]result, error) {
	const unit = "pages/record"
	values, err := b.goBench(ctx, "./collector/store", "^BenchmarkSave$", fmt.Sprintf("%dx", b.scale(200, 50)), unit)
	if err != nil {
		return nil, err
	}
	var results []result
	for _, day := range []struct{ name, what string }{
		{"today", "all of today"}, {"tomorrow", "all of the first pass of a day"}, {"any", "of any days"},
	} {
		v, ok := values["Save/"+day.name]
		if !ok {
			return nil, fmt.Errorf("BenchmarkSave says nothing of %s: %v", day.name, values)
		}
		results = append(results, result{
			Row: "7", What: "saving 100 records among 100,000, " + day.what + ": pages of 4 KiB written a record",
			Value: v, Limit: 3, Unit: "pages",
		})
	}
	whole, err := written(ctx, b)
	return append(results, whole...), err
}
