package main

import (
	"strings"
	"testing"
)

const output = `goos: linux
pkg: vbaws_exporter/bench
BenchmarkIdle-2   	7	 123 ns/op	 1.500 ratio	 1 requests/poll
BenchmarkTakeIn/initial-2   	7	 123 ns/op	 0.9 ratio
PASS
`

func TestTable(t *testing.T) {
	values, err := parse(strings.NewReader(output))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	err = table(&text, []row{
		{"requests", "Idle", "requests/poll", 1, "requests"},
		{"take in", "TakeIn/initial", "ratio", 0.9, ""},
		{"idle", "Idle", "ratio", 1.4, ""},
		{"gone", "Gone", "ratio", 1, ""},
	}, values)
	if err == nil {
		t.Fatal("no error for a value above its limit")
	}
	const want = "idle: 1.50 is above the limit 1.40\ngone: BenchmarkGone reports no ratio"
	if got := err.Error(); got != want {
		t.Errorf("error: got %q, want %q", got, want)
	}
	if got := strings.Count(text.String(), "\n"); got != 5 {
		t.Errorf("got %d lines, want 5:\n%s", got, &text)
	}
	if line := "| take in "; !strings.Contains(text.String(), line) || !strings.Contains(text.String(), "0.90 |") {
		t.Errorf("no line %q with 0.90:\n%s", line, &text)
	}
}

// TestRows: each group of benchmarks has rows, and each row has a limit.
func TestRows(t *testing.T) {
	for _, g := range groups {
		found := false
		for _, r := range rows {
			name, _, _ := strings.Cut(r.benchmark, "/")
			found = found || strings.Contains(g.pattern, name)
		}
		if !found {
			t.Errorf("no row for %s", g.pattern)
		}
	}
	for _, r := range rows {
		if r.limit <= 0 {
			t.Errorf("%s has no limit", r.what)
		}
	}
}

func TestArguments(t *testing.T) {
	var stderr strings.Builder
	if err := run([]string{"quick"}, &strings.Builder{}, &stderr); err == nil || !strings.Contains(err.Error(), `"quick"`) {
		t.Errorf("got %v, want an error that names the argument", err)
	}
}
