package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kingpin/v2"
	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/internal/docstest"
)

// TestMain lets the tests run the exporter as a process.
func TestMain(m *testing.M) { apptest.Main(m) }

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	status, help, stderr := apptest.Once(t, "--help")
	if status != 0 || stderr != "" {
		t.Errorf("--help: status %d, stderr %q", status, stderr)
	}
	parser := newParser(new(flags)).Model()
	all := parser.Flags
	for _, c := range parser.FlattenedCommands() {
		if !strings.Contains(help, "\n"+c.FullCommand+" ") {
			t.Errorf("--help lacks %s", c.FullCommand)
		}
		all = append(all, c.Flags...)
	}
	for _, f := range all {
		if !f.Hidden && strings.Count(help, f.Name+" ")+strings.Count(help, f.Name+"=") == 0 {
			t.Errorf("--help lacks --%s", f.Name)
		}
	}
	status, out, stderr := apptest.Once(t, "--version")
	if status != 0 || stderr != "" || !strings.HasPrefix(out, "vbaws_exporter, version ") {
		t.Errorf("--version: status %d, %q, %q", status, out, stderr)
	}
}

// TestFlagsOfCommands: serve and demo must not share what a flag is read into.
func TestFlagsOfCommands(t *testing.T) {
	var f flags
	parser := newParser(&f).Terminate(nil)
	if got, err := parser.Parse([]string{"demo", "--web.listen-address=:1", "--log.level=debug"}); got != cmdDemo || err != nil {
		t.Fatal(got, err)
	}
	if got := *f.demo.Toolkit.WebListenAddresses; !slices.Equal(got, []string{":1"}) || f.log.Level != "debug" {
		t.Errorf("got %v, %s", got, f.log.Level)
	}
	var serve *kingpin.CmdModel
	for _, c := range parser.Model().Commands {
		if c.Default {
			serve = c
		}
	}
	if serve == nil || serve.Name != cmdServe {
		t.Errorf("the default command is %v", serve)
	}
}

// TestDocsHaveEveryFlag compares the flags, their commands and their defaults.
func TestDocsHaveEveryFlag(t *testing.T) {
	parser := newParser(new(flags)).Model()
	commands := map[string][]string{} // by flag and default
	for _, f := range parser.Flags {
		if f.Name != "help" && f.Name != "version" && !f.Hidden {
			commands[describe(f)] = []string{"all"}
		}
	}
	for _, c := range parser.FlattenedCommands() {
		for _, f := range c.Flags {
			if !f.Hidden {
				commands[describe(f)] = append(commands[describe(f)], c.FullCommand)
			}
		}
	}
	var want, got []string
	for _, flag := range slices.Sorted(maps.Keys(commands)) {
		slices.SortFunc(commands[flag], func(a, b string) int { return strings.Compare(b, a) }) // serve, demo
		want = append(want, flag+": "+strings.Join(commands[flag], ", "))
	}
	for _, r := range docstest.Rows(t, "commands.md", "flag", "commands", "default") {
		value := ""
		if r[2] != "" {
			value = docstest.Code(t, r[2])
		}
		got = append(got, fmt.Sprintf("%s=%s: %s", docstest.Code(t, r[0]), value, r[1]))
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func describe(f *kingpin.FlagModel) string { return "--" + f.Name + "=" + strings.Join(f.Default, " ") }
