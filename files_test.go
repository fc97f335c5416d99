package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// TestServeWithoutLocalFiles: the exporter starts and serves although no appliance's
// files are there, check finds that, and what is there later is read.
func TestServeWithoutLocalFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := filepath.Dir(s.config)
	text, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.config, string(text)+fmt.Sprintf(`
  - {name: other, url: %q, username: %s, password_file: later, tls_config: {ca_file: ca.pem}}
`, s.URL, vbawstest.DefaultUsername))
	if status, stdout, stderr := once(t, "check", "--offline", "--config.file="+s.config); status != 1 || !strings.Contains(stdout, "later: no such file") || strings.Count(stdout, "fail") != 1 || !strings.Contains(stderr, "can't be monitored: other") {
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
		status, stdout, stderr := once(t, append(args, "--config.file="+s.config)...)
		if status != 1 || !strings.Contains(stdout, "site") || strings.Count(stdout, ca+": no such file") < 2 || !strings.Contains(stderr, "can't be monitored: site, other") {
			t.Errorf("%v: status %d\n%s%s", args, status, stdout, stderr)
		}
	}
	p := start(t, "--config.file="+s.config, "--storage.path="+filepath.Join(t.TempDir(), "data"))
	if up := slices.Sorted(slices.Values(p.series("vbaws_up{"))); !slices.Equal(up, []string{`vbaws_up{appliance="other"} 0`, `vbaws_up{appliance="site"} 0`}) {
		t.Errorf("up: %q", up)
	}
	if failed := p.series(`vbaws_exporter_polls_total{appliance="site",result="config"} `); len(failed) != 1 || strings.HasSuffix(failed[0], " 0") {
		t.Errorf("polls: %q", failed)
	}
	if _, page := p.get("/"); !strings.Contains(page, "a local file is missing or broken") || !strings.Contains(page, "ca.pem") {
		t.Errorf("status page:\n%s", page)
	}
	if log := p.log(); !strings.Contains(log, `result=config err="login as`) || !strings.Contains(log, "ca.pem: no such file") {
		t.Errorf("log:\n%s", log)
	}
	write(t, ca, string(cert))
	write(t, filepath.Join(dir, "later"), vbawstest.DefaultPassword)
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if up := p.series("vbaws_up{"); len(up) == 2 && strings.HasSuffix(up[0], " 1") && strings.HasSuffix(up[1], " 1") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("it isn't polled once the files are there; log:\n%s", p.log())
		}
	}
	p.stop(syscall.SIGTERM)
	if status, stdout, stderr := once(t, "check", "--offline", "--config.file="+s.config); status != 0 {
		t.Errorf("check --offline: status %d\n%s%s", status, stdout, stderr)
	}
}
