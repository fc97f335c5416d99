package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// TestServeWithoutLocalFiles: the exporter starts and serves although the files of all
// appliances are missing, check reports them, and files that are created later are read.
func TestServeWithoutLocalFiles(t *testing.T) {
	t.Parallel()
	s := apptest.NewSite(t)
	dir := filepath.Dir(s.Config)
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, s.Config, string(text)+fmt.Sprintf(`
  - {name: other, url: %q, username: %s, password_file: later, tls_config: {ca_file: ca.pem}}
`, s.URL, vbawstest.DefaultUsername))
	if status, stdout, stderr := apptest.Once(t, "check", "--offline", "--config.file="+s.Config); status != 1 || !strings.Contains(stdout, "later: no such file") || strings.Count(stdout, "fail") != 1 || !strings.Contains(stderr, "cannot be monitored: other") {
		t.Errorf("check --offline: status %d\n%s%s", status, stdout, stderr)
	}
	ca := filepath.Join(dir, "ca.pem")
	cert, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}

	for _, args := range [][]string{{"check", "--offline"}, {"check"}} {
		status, stdout, stderr := apptest.Once(t, append(args, "--config.file="+s.Config)...)
		if status != 1 || !strings.Contains(stdout, "site") || strings.Count(stdout, ca+": no such file") < 2 || !strings.Contains(stderr, "cannot be monitored: site, other") {
			t.Errorf("%v: status %d\n%s%s", args, status, stdout, stderr)
		}
	}
	p := apptest.Start(t, "--config.file="+s.Config, "--storage.path="+filepath.Join(t.TempDir(), "data"))
	if up := slices.Sorted(slices.Values(p.Series("vbaws_up{"))); !slices.Equal(up, []string{`vbaws_up{appliance="other"} 0`, `vbaws_up{appliance="site"} 0`}) {
		t.Errorf("up: %q", up)
	}
	if failed := p.Series(`vbaws_exporter_polls_total{appliance="site",result="config"} `); len(failed) != 1 || strings.HasSuffix(failed[0], " 0") {
		t.Errorf("polls: %q", failed)
	}
	if _, page := p.Get("/"); !strings.Contains(page, "a local file is missing or broken") || !strings.Contains(page, "ca.pem") {
		t.Errorf("status page:\n%s", page)
	}
	p.Await("the log lines", func() bool { // they are written after the publication
		log := p.Log()
		return strings.Contains(log, `result=config err="login as`) && strings.Contains(log, "ca.pem: no such file")
	})
	apptest.Write(t, ca, string(cert))
	apptest.Write(t, filepath.Join(dir, "later"), vbawstest.DefaultPassword)
	p.Await("a successful poll of both", func() bool {
		up := p.Series("vbaws_up{")
		return len(up) == 2 && strings.HasSuffix(up[0], " 1") && strings.HasSuffix(up[1], " 1")
	})
	p.Stop(syscall.SIGTERM)
	if status, stdout, stderr := apptest.Once(t, "check", "--offline", "--config.file="+s.Config); status != 0 {
		t.Errorf("check --offline: status %d\n%s%s", status, stdout, stderr)
	}
}
