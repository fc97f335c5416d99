package app

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/apptest"
)

// TestState moves an appliance from one exporter to another and back, as in
// docs/operations.md, and makes the mistakes that are possible on the way.
func TestState(t *testing.T) {
	t.Parallel()
	site := apptest.NewSite(t)
	dir := t.TempDir()
	a, b, file := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "site.state")
	refused := func(status int, want string, args ...string) {
		t.Helper()
		got, stdout, stderr := apptest.Once(t, args...)
		if got != status || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d, %q, %q, want %d and %q", args, got, stdout, stderr, status, want)
		}
	}
	done := func(args ...string) (stdout string) {
		t.Helper()
		status, stdout, stderr := apptest.Once(t, args...)
		if status != 0 || stderr != "" {
			t.Fatalf("%v: status %d, %q", args, status, stderr)
		}
		return stdout
	}
	export := []string{"state", "export", "--storage.path=" + a, "--appliance=site", "--output=" + file}

	refused(2, "subcommand", "state")
	refused(2, "required flag(s) ", "state", "export", "--storage.path="+a)
	refused(2, "required argument 'file'", "state", "import", "--storage.path="+a)
	refused(1, "no state in "+a, export...)
	if _, err := os.Stat(a); !os.IsNotExist(err) {
		t.Errorf("the folder was created: %v", err)
	}

	serveA := []string{"serve", "--config.file=" + site.Config, "--storage.path=" + a}
	p := apptest.Start(t, serveA...)
	counted := p.Series("vbaws_session")
	refused(1, "is in use by another process: stop the exporter that uses it first", export...)
	p.Stop(syscall.SIGTERM)
	refused(1, `has no state of appliance "sight", only of ["site"]`, "state", "export", "--storage.path="+a, "--appliance=sight", "--output="+file)

	if table := done("state", "list", "--storage.path="+a); strings.Count(table, "\n") != 2 || !strings.Contains(table, "\nsite ") || !strings.HasSuffix(table, " here\n") {
		t.Errorf("the list is\n%s", table)
	}
	if report := done(export...); !strings.Contains(report, `exported appliance "site", with `) || !strings.Contains(report, "remove it from its configuration") {
		t.Errorf("export reports %s", report)
	}
	var list []struct {
		Appliance       string
		Sessions, Moves int
		Bytes           int
		Saved           time.Time
		Exported        *time.Time
	}
	if err := json.Unmarshal([]byte(done("state", "list", "--storage.path="+a, "--output=json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Appliance != "site" || list[0].Sessions == 0 || list[0].Bytes == 0 || list[0].Moves != 1 || list[0].Exported == nil ||
		time.Since(list[0].Saved) > time.Hour {
		t.Errorf("the list is %+v", list)
	}
	refused(1, file+": file already exists: not overwritten", export...)

	// The appliance is still in the configuration of A.
	for _, command := range []string{"serve", "collect"} {
		status, _, stderr := apptest.Once(t, command, "--config.file="+site.Config, "--storage.path="+a)
		if last := apptest.LastLine(stderr); status != 1 || !strings.Contains(last, `appliance "site": open its state: `) || !strings.Contains(last, "to another exporter: remove the appliance") {
			t.Errorf("%s: status %d, %s", command, status, stderr)
		}
	}

	// A reload can't add it.
	const other = "appliances:\n  - {name: other, url: http://127.0.0.1:1, username: u, password: p}\n"
	config := filepath.Join(dir, "config.yml")
	apptest.Write(t, config, other)
	p = apptest.Start(t, "--config.file="+config, "--storage.path="+a, "--web.enable-lifecycle")
	apptest.Write(t, config, other+"  - {name: site, url: http://127.0.0.1:1, username: u, password: p}\n")
	if code, body := p.Send(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError || !strings.Contains(body, "to another exporter") {
		t.Errorf("reload: %d %s", code, body)
	}
	p.Stop(syscall.SIGTERM)

	take := []string{"state", "import", "--storage.path=" + b, file}
	refused(1, "if it is correct, create it", take...)
	if err := os.Mkdir(b, 0o700); err != nil {
		t.Fatal(err)
	}
	refused(1, "no file given", "state", "import", "--storage.path="+b, "-")
	refused(1, "no such file", "state", "import", "--storage.path="+b, file+"x")
	refused(1, "import "+site.Config+": the file is not an exported state; nothing was imported", "state", "import", "--storage.path="+b, site.Config)
	if said := done(take...); !strings.Contains(said, `imported appliance "site", with `) || strings.Contains(said, "replaced") {
		t.Errorf("import reports %s", said)
	}
	refused(1, "use --replace to overwrite it", take...)
	if said := done(append(take, "--replace")...); !regexp.MustCompile(`replaced its state of 20\S+Z, with [1-9]\d* seen sessions`).MatchString(said) {
		t.Errorf("import --replace reports %s", said)
	}
	refused(1, "from which this file was exported", "state", "import", "--storage.path="+a, file)

	// B exposes the series of A without a successful poll.
	site.Close()
	p = apptest.Start(t, "serve", "--config.file="+site.Config, "--storage.path="+b)
	if got := p.Series("vbaws_session"); len(got) < 20 || !slices.Equal(got, counted) {
		t.Errorf("B shows\n%s\nand A showed\n%s", strings.Join(got, "\n"), strings.Join(counted, "\n"))
	}
	p.Stop(syscall.SIGTERM)

	// Back, through a pipe.
	status, state, said := apptest.Once(t, "state", "export", "--storage.path="+b, "--appliance=site", "--output=-")
	if status != 0 || !strings.HasPrefix(state, "vbaws_exporter state 1\n") || !strings.Contains(said, "and import what was written") {
		t.Fatalf("status %d, %s", status, said)
	}
	cmd := apptest.Command(t, "state", "import", "--storage.path="+a, "/dev/stdin")
	cmd.Stdin = strings.NewReader(state)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p = apptest.Start(t, serveA...)
	if got := p.Series("vbaws_session"); !slices.Equal(got, counted) {
		t.Errorf("A shows\n%s\nand it showed\n%s", strings.Join(got, "\n"), strings.Join(counted, "\n"))
	}
	p.Stop(syscall.SIGTERM)
}

// newState returns a new folder with the state of appliances.
func newState(t *testing.T, appliances ...string) (path string) {
	t.Helper()
	path = t.TempDir()
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range appliances {
		b, err := s.Appliance(name)
		if err == nil {
			err = b.Save(&ledger.Changes{Meta: &ledger.Meta{SyncedAt: time.Unix(1.7e9, 0)}})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return path
}

// TestStateExportTouchesNoOtherFile: next to the output there are the only copy of
// another appliance's state, and a link to a file.
func TestStateExportTouchesNoOtherFile(t *testing.T) {
	t.Parallel()
	path, dir := newState(t, "a", "b"), t.TempDir()
	export := func(appliance, output string) (int, string) {
		t.Helper()
		status, _, stderr := apptest.Once(t, "state", "export", "--storage.path="+path, "--appliance="+appliance, "--output="+filepath.Join(dir, output))
		return status, stderr
	}
	if status, stderr := export("b", "prod.new"); status != 0 {
		t.Fatalf("status %d, %s", status, stderr)
	}
	apptest.Write(t, filepath.Join(dir, "victim"), "precious")
	if err := os.Symlink("victim", filepath.Join(dir, "linked.new")); err != nil {
		t.Skip(err)
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
	before := read("prod.new")
	for _, test := range []struct {
		appliance, output string
		status            int
	}{{"typo", "prod", 1}, {"a", "prod", 0}, {"typo", "linked", 1}, {"a", "linked", 0}, {"a", "linked.new", 1}, {"a", "", 1}} {
		status, stderr := export(test.appliance, test.output)
		if status != test.status {
			t.Errorf("%+v: status %d, %s", test, status, stderr)
		}
		if read("prod.new") != before || read("victim") != "precious" {
			t.Fatalf("%+v: another file was changed", test)
		}
	}
	if status, stderr := export("a", "prod"); status != 1 || !strings.Contains(stderr, "could be the only copy") {
		t.Errorf("a second time: status %d, %s", status, stderr)
	}
	if read("prod") != read("linked") {
		t.Error("one appliance's state was exported to two files that differ")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 5 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	for _, name := range []string{"prod", "linked"} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// TestStateShowsHostileNames: a state can have names that no configuration has.
func TestStateShowsHostileNames(t *testing.T) {
	t.Parallel()
	path := newState(t, "plain", "two  columns", "\x1b]0;owned\a", "line\nbreak", "\u202eltr")
	status, table, stderr := apptest.Once(t, "state", "list", "--storage.path="+path)
	if status != 0 || strings.Count(table, "\n") != 6 {
		t.Errorf("status %d, %q, %s", status, table, stderr)
	}
	for _, name := range []string{"plain ", `"two  columns" `, `"\x1b]0;owned\a" `, `"line\nbreak" `, `"\u202eltr" `} {
		if !strings.Contains(table, "\n"+name) {
			t.Errorf("no line begins with %q:\n%q", name, table)
		}
	}
	_, _, stderr = apptest.Once(t, "state", "export", "--storage.path="+path, "--appliance=typo", "--output=x")
	for _, text := range []string{table, stderr} {
		if printable := OneLine(errors.New(text)); printable != strings.ReplaceAll(text, "\n", "; ") {
			t.Errorf("%q is not printable", text)
		}
	}
}
