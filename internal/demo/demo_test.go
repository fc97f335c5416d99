package demo

import (
	"errors"
	"os"
	"strings"
	"testing"

	"vbaws_exporter/internal/config"
)

func TestDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	d, err := Start(7)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	cfg, err := config.Load(d.ConfigFile)
	if err != nil {
		t.Fatal(err)
	}
	a := &cfg.Appliances[0]
	if got, err := a.Password(); a.URL.String() != d.URL || a.Username != d.Username || got != d.Password || err != nil {
		t.Errorf("the configuration has %s, %s, %q, %v", a.URL, a.Username, got, err)
	}
	if err := a.CheckTLS(); err != nil {
		t.Errorf("certificate: %v", err)
	}
	if n := len(d.server.History()); n < 50 {
		t.Errorf("%d sessions lie behind it", n)
	}

	var out strings.Builder
	if err := d.Describe(&out, "http", []string{":1", "[::]:2", "0.0.0.0:3", "10.1.2.3:4"}, "/m"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"http://localhost:1/\n", "http://localhost:2/m\n", "http://localhost:3/m\n", "http://10.1.2.3:4/m\n",
		d.URL, d.Username, d.Password, d.CertFile,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}

	out.Reset()
	if err := d.Describe(&out, "https", []string{":1"}, "/m"); err != nil || !strings.Contains(out.String(), "https://localhost:1/m\n") {
		t.Errorf("with TLS: %v\n%s", err, out.String())
	}

	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder after the end: %v", err)
	}
}
