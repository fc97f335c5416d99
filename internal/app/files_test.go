package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// TestServeWithoutLocalFiles: the exporter starts and serves although no appliance's
// files are there, check finds that, and what is there later is read.
func TestServeWithoutLocalFiles(t *testing.T) {
	t.Parallel()
	s := apptest.NewSite(t)
	dir := filepath.Dir(s.Config)
	text, err := os.ReadFile(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, s.Config, string(text)+fmt.Sprintf(`
  - {name: other, url: %q, username: %s, password_file: later, tls_config: {ca_file: ca.pem, server_name: example.com}}
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
	if log := p.Log(); !strings.Contains(log, `result=config err="login as`) || !strings.Contains(log, "ca.pem: no such file") {
		t.Errorf("log:\n%s", log)
	}
	apptest.Write(t, ca, string(cert))
	apptest.Write(t, filepath.Join(dir, "later"), vbawstest.DefaultPassword)
	for end := time.Now().Add(apptest.Patience); ; time.Sleep(100 * time.Millisecond) {
		if up := p.Series("vbaws_up{"); len(up) == 2 && strings.HasSuffix(up[0], " 1") && strings.HasSuffix(up[1], " 1") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it isn't polled once the files are there; log:\n%s", p.Log())
		}
	}
	p.Stop(syscall.SIGTERM)
	if status, stdout, stderr := apptest.Once(t, "check", "--offline", "--config.file="+s.Config); status != 0 {
		t.Errorf("check --offline: status %d\n%s%s", status, stdout, stderr)
	}
}
