package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestState moves an appliance from one exporter to another, as README says, and
// does wrong what can be done wrong.
func TestState(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	dir := t.TempDir()
	a, b, file := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "site.state")
	refused := func(status int, want string, args ...string) {
		t.Helper()
		got, stdout, stderr := once(t, args...)
		if got != status || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: status %d, %q, %q, want %d and %q", args, got, stdout, stderr, status, want)
		}
	}
	done := func(args ...string) (stdout string) {
		t.Helper()
		status, stdout, stderr := once(t, args...)
		if status != 0 || stderr != "" {
			t.Fatalf("%v: status %d, %q", args, status, stderr)
		}
		return stdout
	}
	export := []string{"state", "export", "--storage.path=" + a, "--appliance=site", "--output=" + file}

	refused(2, "subcommand", "state")
	refused(2, "required flag(s) ", "state", "export", "--storage.path="+a)
	refused(2, "required argument 'file'", "state", "import", "--storage.path="+a)
	refused(1, "there is no exporter's state in the folder "+a, export...)
	if _, err := os.Stat(a); !os.IsNotExist(err) {
		t.Errorf("the folder was made: %v", err)
	}

	serveA := []string{"serve", "--config.file=" + site.config, "--storage.path=" + a}
	p := start(t, serveA...)
	counted := p.series("vbaws_session")
	refused(1, "is in use by another process: stop the exporter that runs with it first", export...)
	p.stop(syscall.SIGTERM)
	refused(1, `has no state of an appliance "sight"; it has that of ["site"]`, "state", "export", "--storage.path="+a, "--appliance=sight", "--output="+file)

	if table := done("state", "list", "--storage.path="+a); strings.Count(table, "\n") != 2 || !strings.Contains(table, "\nsite ") || !strings.HasSuffix(table, " here\n") {
		t.Errorf("the list is\n%s", table)
	}
	if said := done(export...); !strings.Contains(said, `exported appliance "site", with `) || !strings.Contains(said, "take it out") {
		t.Errorf("export says %s", said)
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
	refused(1, file+": file already exists: it is not overwritten", export...)

	// It is still in A's file.
	for _, command := range []string{"serve", "collect"} {
		status, _, stderr := once(t, command, "--config.file="+site.config, "--storage.path="+a)
		if last := lastLine(stderr); status != 1 || !strings.Contains(last, `appliance "site": open its state: `) || !strings.Contains(last, "another exporter goes on with it: take the appliance out") {
			t.Errorf("%s: status %d, %s", command, status, stderr)
		}
	}

	// Nor can it come back to one that runs.
	const other = "appliances:\n  - {name: other, url: http://127.0.0.1:1, username: u, password: p}\n"
	config := filepath.Join(dir, "config.yml")
	write(t, config, other)
	p = start(t, "--config.file="+config, "--storage.path="+a, "--web.enable-lifecycle")
	write(t, config, other+"  - {name: site, url: http://127.0.0.1:1, username: u, password: p}\n")
	if code, body := p.send(http.MethodPost, "/-/reload"); code != http.StatusInternalServerError || !strings.Contains(body, "another exporter goes on with it") {
		t.Errorf("reload: %d %s", code, body)
	}
	p.stop(syscall.SIGTERM)

	take := []string{"state", "import", "--storage.path=" + b, file}
	refused(1, "if it is the right one, make it", take...)
	if err := os.Mkdir(b, 0o700); err != nil {
		t.Fatal(err)
	}
	refused(1, "a file has to be named", "state", "import", "--storage.path="+b, "-")
	refused(1, "no such file", "state", "import", "--storage.path="+b, file+"x")
	refused(1, "import "+site.config+": it is no exported state of an appliance; nothing was imported", "state", "import", "--storage.path="+b, site.config)
	if said := done(take...); !strings.Contains(said, `imported appliance "site", with `) {
		t.Errorf("import says %s", said)
	}
	refused(1, "what is there stays, unless --replace is given", take...)
	refused(1, "this very file", "state", "import", "--storage.path="+a, file)

	// B shows what A had shown, though nobody answers it.
	site.Close()
	p = start(t, "serve", "--config.file="+site.config, "--storage.path="+b)
	if got := p.series("vbaws_session"); len(got) < 20 || !slices.Equal(got, counted) {
		t.Errorf("B shows\n%s\nand A had shown\n%s", strings.Join(got, "\n"), strings.Join(counted, "\n"))
	}
	p.stop(syscall.SIGTERM)

	// Back, through a pipe.
	status, state, said := once(t, "state", "export", "--storage.path="+b, "--appliance=site", "--output=-")
	if status != 0 || !strings.HasPrefix(state, "vbaws_exporter state 1\n") || !strings.Contains(said, "and import what was written") {
		t.Fatalf("status %d, %s", status, said)
	}
	cmd := command(t, "state", "import", "--storage.path="+a, "/dev/stdin")
	cmd.Stdin = strings.NewReader(state)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p = start(t, serveA...)
	if got := p.series("vbaws_session"); !slices.Equal(got, counted) {
		t.Errorf("A shows\n%s\nand it had shown\n%s", strings.Join(got, "\n"), strings.Join(counted, "\n"))
	}
	p.stop(syscall.SIGTERM)
}
