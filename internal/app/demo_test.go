package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	p := apptest.Start(t, "demo", "--web.telemetry-path=/m")
	_, body := p.Get("/m")
	if len(apptest.Lines(body, `vbaws_up{appliance="demo"} 1`)) != 1 || len(apptest.Lines(body, "vbaws_sessions_total{")) < 20 {
		t.Errorf("got %s", body)
	}
	if left, err := os.ReadDir(p.Tmp); err != nil || len(left) != 1 {
		t.Errorf("temporary files while it runs: %v, %v", left, err)
	}
	// A second signal must not keep it from cleaning up.
	p.Signal(os.Interrupt)
	p.Stop(os.Interrupt)
	for _, word := range []string{"/m\n", "https://127.0.0.1:", vbawstest.DefaultUsername, vbawstest.DefaultPassword, "appliance.pem"} {
		if !strings.Contains(p.Stdout.String(), word) {
			t.Errorf("stdout doesn't say %q:\n%s", word, p.Stdout.String())
		}
	}
	if left, err := os.ReadDir(p.Tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestSchemeOfWebConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.yml")
	for text, want := range map[string]string{
		"":                           "http",
		"basic_auth_users: {a: b}\n": "http",
		"tls_server_config: {cert_file: web.pem, key_file: web.key, min_version: TLS13}\n": "https",
		"tls_server_config: {cert: |-\n  PEM\n, key: PEM}\n":                               "http", // no YAML
		"tls_server_config:\n  cert: |-\n    PEM\n  key: |-\n    PEM\n":                    "https",
	} {
		apptest.Write(t, file, text)
		if got := scheme(file); got != want {
			t.Errorf("%s for\n%s", got, text)
		}
	}
	if got := scheme(""); got != "http" {
		t.Errorf("%s without a file", got)
	}
}
