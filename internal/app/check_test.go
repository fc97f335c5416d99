package app

import (
	"encoding/json"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/internal/check"
	"vbaws_exporter/vbaws/vbawstest"
)

// TestCheckCommand has one appliance that can be monitored, and one whose password
// is wrong.
func TestCheckCommand(t *testing.T) {
	s := vbawstest.NewServer(vbawstest.New(vbawstest.Config{}))
	t.Cleanup(s.Close)
	file := filepath.Join(t.TempDir(), "config.yml")
	entry := func(name, password string) string {
		return "- {name: " + name + ", url: " + strconv.Quote(s.URL) + ", username: " + vbawstest.DefaultUsername +
			", password: " + strconv.Quote(password) + ", tls_config: {ca: " + strconv.Quote(string(s.CertPEM())) + "}}\n"
	}
	apptest.Write(t, file, "appliances:\n"+entry("good", vbawstest.DefaultPassword))
	if status, out, errs := apptest.Once(t, "check", "--config.file="+file); status != 0 || errs != "" || !strings.Contains(out, "logged in as") {
		t.Errorf("status %d, %s\n%s", status, errs, out)
	}
	apptest.Write(t, file, "appliances:\n"+entry("good", vbawstest.DefaultPassword)+entry("bad", "hunter2-and-more"))
	status, out, errs := apptest.Once(t, "check", "--config.file="+file, "--output=json", "--log.level=debug")
	if status != 1 || errs != "vbaws_exporter: cannot be monitored: bad\n" {
		t.Errorf("status %d, %s", status, errs)
	}
	var findings []check.Finding
	if err := json.Unmarshal([]byte(out), &findings); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if got := check.Failed(findings); len(got) != 1 || got[0] != "bad" {
		t.Errorf("failed: %q", got)
	}
	for _, secret := range []string{vbawstest.DefaultPassword, "hunter2-and-more"} {
		if strings.Contains(out+errs, secret) {
			t.Errorf("%q is shown", secret)
		}
	}
}

func TestCheckOffline(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	touched := make(chan bool)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		touched <- err == nil
	}()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.yml")
	apptest.Write(t, filepath.Join(dir, "password"), "p")
	u := url.URL{Scheme: "https", Host: l.Addr().String()}
	apptest.Write(t, file, "appliances: [{name: a, url: "+strconv.Quote(u.String())+", username: u, password_file: password}]\n")
	if status, out, errs := apptest.Once(t, "check", "--offline", "--config.file="+file); status != 0 || errs != "" || !strings.Contains(out, "is valid") {
		t.Errorf("status %d, %s\n%s", status, errs, out)
	}
	apptest.Write(t, file, "appliances: []\n")
	if status, out, errs := apptest.Once(t, "check", "--offline", "--config.file="+file); status != 1 || !strings.Contains(out, "appliances: is empty") || errs != "vbaws_exporter: invalid configuration\n" {
		t.Errorf("status %d, %s\n%s", status, errs, out)
	}
	l.Close()
	if <-touched {
		t.Error("check --offline connected to the appliance")
	}
}
