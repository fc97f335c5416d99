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
	p, _ := newParser(true)
	parser := p.Model()
	has := func(name, help string, all []*kingpin.FlagModel) {
		t.Helper()
		for _, f := range all {
			if !f.Hidden && !strings.Contains(help, f.Name+" ") && !strings.Contains(help, f.Name+"=") {
				t.Errorf("%s lacks --%s", name, f.Name)
			}
		}
	}
	has("--help", help, parser.Flags)
	for _, c := range parser.FlattenedCommands() {
		if !strings.Contains(help, "\n"+c.FullCommand) {
			t.Errorf("--help lacks %s", c.FullCommand)
		}
		// The help of a command has its flags, and those of no other command.
		status, help, stderr := apptest.Once(t, append(strings.Fields(c.FullCommand), "--help")...)
		if status != 0 || stderr != "" || !strings.HasPrefix(help, "usage: vbaws_exporter "+c.FullCommand+" ") {
			t.Errorf("%s --help: status %d, %q, %s", c.FullCommand, status, stderr, help)
		}
		has(c.FullCommand+" --help", help, append(c.Flags, parser.Flags...))
		for _, other := range []string{"--replace", "--verbose", "--web.telemetry-path"} {
			own := slices.ContainsFunc(c.Flags, func(f *kingpin.FlagModel) bool { return "--"+f.Name == other })
			if strings.Contains(help, strings.TrimPrefix(other, "--")) != own {
				t.Errorf("%s --help: has %s: %v, want %v", c.FullCommand, other, !own, own)
			}
		}
	}
	status, out, stderr := apptest.Once(t, "--version")
	if status != 0 || stderr != "" || !strings.HasPrefix(out, "vbaws_exporter, version ") {
		t.Errorf("--version: status %d, %q, %q", status, out, stderr)
	}
}

// TestInvalidValues: the error names the flag and the valid values.
func TestInvalidValues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ args, want string }{
		{"--log.level=loud", "--log.level: enum value must be one of debug,info,warn,error, got 'loud'"},
		{"--log.level loud", "--log.level: enum value must be one of debug,info,warn,error, got 'loud'"},
		{"serve --log.format=xml", "--log.format: enum value must be one of logfmt,json, got 'xml'"},
		{"check --log.level=debug --output=xml", "--output: enum value must be one of table,json, got 'xml'"},
		{"check --output=", "--output: enum value must be one of table,json, got ''"},
		{"state list --storage.path=x --output=xml", "--output: enum value must be one of table,json, got 'xml'"},
		{"check --offline=perhaps", "unexpected perhaps"},
		{"check --output=json --output=json", "flag 'output' cannot be repeated"},
		{"check --output", "expected argument for flag '--output'"},
		{"--config.file", "expected argument for flag '--config.file'"},
		{"--config.file --log.level=debug", "expected argument for flag '--config.file'"},
		{"--storage.path", "expected argument for flag '--storage.path'"},
		{"--config.file=x serv", "unexpected serv"},
		{"--unknown", "unknown long flag '--unknown'"},
		{"state list", "required flag(s) '--storage.path' not provided"},
	} {
		status, stdout, stderr := apptest.Once(t, strings.Fields(test.args)...)
		if want := "vbaws_exporter: " + test.want + "; try --help\n"; status != 2 || stdout != "" || stderr != want {
			t.Errorf("%s: status %d, %q, %q, want %q", test.args, status, stdout, stderr, want)
		}
	}
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ words, want string }{
		{"", "check"},
		{"che", "check"},
		{"state l", "list"},
		{"check --off", "--offline"},
		{"--web.listen-a", "--web.listen-address"}, // of serve, the default command
		{"serve --storage.p", "--storage.path"},
	} {
		args := append([]string{"--completion-bash"}, strings.Fields(test.words)...)
		if test.words == "" {
			args = append(args, "")
		}
		status, out, stderr := apptest.Once(t, args...)
		if status != 0 || stderr != "" || !slices.Contains(strings.Fields(out), test.want) {
			t.Errorf("%q: status %d, stderr %q, got %q, want %s among them", test.words, status, stderr, out, test.want)
		}
	}
}

// TestFlagsOfCommands: serve and demo must not share the variables of their flags.
func TestFlagsOfCommands(t *testing.T) {
	p, run := newParser(true)
	p.Terminate(nil)
	if got, err := p.Parse([]string{"demo", "--web.listen-address=:1", "--log.level=debug"}); got != "demo" || err != nil {
		t.Fatal(got, err)
	}
	var defaults, commands []string
	addresses := make(map[string]string)
	for _, c := range p.Model().FlattenedCommands() {
		if c.Name != "help" { // kingpin runs it
			commands = append(commands, c.FullCommand)
		}
		if c.Default {
			defaults = append(defaults, c.Name)
		}
		for _, f := range c.Flags {
			if f.Name == "web.listen-address" {
				addresses[c.Name] = f.Value.String()
			}
		}
	}
	if addresses["demo"] != ":1" || addresses["serve"] == ":1" || addresses["healthcheck"] == ":1" {
		t.Errorf("addresses %v", addresses)
	}
	if !slices.Equal(defaults, []string{"serve"}) {
		t.Errorf("the default commands are %v", defaults)
	}
	if has := slices.Sorted(maps.Keys(run)); !slices.Equal(has, slices.Sorted(slices.Values(commands))) {
		t.Errorf("of %q, these can be run: %q", commands, has)
	}
}

// TestDocsHaveEveryFlag compares the flags, their commands and their defaults.
func TestDocsHaveEveryFlag(t *testing.T) {
	p, _ := newParser(true)
	parser := p.Model()
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
