package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vbaws_exporter/internal/check"
	"vbaws_exporter/vbaws/vbawstest"
)

// runCommand returns what the exporter writes, and its status.
func runCommand(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs strings.Builder
	cmd := command(t, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), e.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

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
	write(t, file, "appliances:\n"+entry("good", vbawstest.DefaultPassword))
	if out, errs, status := runCommand(t, "check", "--config.file="+file); status != 0 || errs != "" || !strings.Contains(out, "logged in as") {
		t.Errorf("status %d, %s\n%s", status, errs, out)
	}
	write(t, file, "appliances:\n"+entry("good", vbawstest.DefaultPassword)+entry("bad", "hunter2-and-more"))
	out, errs, status := runCommand(t, "check", "--config.file="+file, "--output=json", "--log.level=debug")
	if status != 1 || errs != "vbaws_exporter: can't be monitored: bad\n" {
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
	write(t, filepath.Join(dir, "password"), "p")
	u := url.URL{Scheme: "https", Host: l.Addr().String()}
	write(t, file, "appliances: [{name: a, url: "+strconv.Quote(u.String())+", username: u, password_file: password}]\n")
	if out, errs, status := runCommand(t, "check", "--offline", "--config.file="+file); status != 0 || errs != "" || !strings.Contains(out, "is valid") {
		t.Errorf("status %d, %s\n%s", status, errs, out)
	}
	write(t, file, "appliances: []\n")
	if out, errs, status := runCommand(t, "check", "--offline", "--config.file="+file); status != 1 || !strings.Contains(out, "appliances: is empty") || errs != "vbaws_exporter: the configuration can't be used\n" {
		t.Errorf("status %d, %s\n%s", status, errs, out)
	}
	l.Close()
	if <-touched {
		t.Error("it connected")
	}
}
