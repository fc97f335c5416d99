package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

const resultConfig = poller.Result(vbaws.KindConfig)

// serveTLS returns a simulated appliance behind TLS, and its certificate.
func serveTLS(t *testing.T) (*vbawstest.Server, string) {
	t.Helper()
	s, err := vbawstest.Listen(vbawstest.New(vbawstest.Config{}), "127.0.0.1:0", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, string(s.CertPEM())
}

func TestFiles(t *testing.T) {
	t.Run("fail their appliance only", testFilesFailTheirApplianceOnly)
	t.Run("missing at a reload", testFilesMissingAtAReload)
	t.Run("missing at a poll", testFilesMissingAtAPoll)
}

// testFilesFailTheirApplianceOnly: a local file that is missing or broken fails the polls
// of the appliance that needs it, and of no other. A repaired file is read without a
// restart.
func testFilesFailTheirApplianceOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	type one struct {
		// more has keys of the configuration, in which %s is the folder.
		more string
		// before and after are the files, by name, at the start and after the repair.
		before, after map[string]string
		want          string
	}
	server, ca := serveTLS(t)
	certPEM, keyPEM := apptest.KeyPair(t)
	cert, key := string(certPEM), string(keyPEM)
	const password = vbawstest.DefaultPassword
	cases := map[string]one{
		"ca-missing":       {", tls_config: {ca_file: %s/ca1}", nil, map[string]string{"ca1": ca}, "ca1: no such file"},
		"ca-broken":        {", tls_config: {ca_file: %s/ca2}", map[string]string{"ca2": "no PEM"}, map[string]string{"ca2": ca}, "unable to use specified CA cert"},
		"ca-empty":         {", tls_config: {ca_file: %s/ca3}", map[string]string{"ca3": ""}, map[string]string{"ca3": ca}, "unable to use specified CA cert"},
		"ca-folder":        {", tls_config: {ca_file: %s}", nil, nil, "is a directory"},
		"ca-inline":        {", tls_config: {ca: garbage}", nil, nil, "unable to use specified CA cert inline"},
		"cert-inline":      {", tls_config: {insecure_skip_verify: true, cert: garbage, key: garbage}", nil, nil, "unable to use specified client cert"},
		"cert-missing":     {", tls_config: {insecure_skip_verify: true, cert_file: %s/cert1, key_file: %s/key1}", map[string]string{"key1": key}, map[string]string{"cert1": cert}, "cert1: no such file"},
		"key-missing":      {", tls_config: {insecure_skip_verify: true, cert_file: %s/cert2, key_file: %s/key2}", map[string]string{"cert2": cert}, map[string]string{"key2": key}, "key2: no such file"},
		"key-broken":       {", tls_config: {insecure_skip_verify: true, cert_file: %s/cert3, key_file: %s/key3}", map[string]string{"cert3": cert, "key3": "no PEM"}, map[string]string{"key3": key}, "unable to use specified client cert"},
		"password-missing": {", password_file: %s/pw1, tls_config: {insecure_skip_verify: true}", nil, map[string]string{"pw1": password}, "pw1: no such file"},
		"password-empty":   {", password_file: %s/pw2, tls_config: {insecure_skip_verify: true}", map[string]string{"pw2": "\n"}, map[string]string{"pw2": password}, "pw2 is empty"},
	}
	finish(server, "web", "Failed")
	good := appliance(t)
	finish(good, "web", "Failed")
	sites := []site{{"good", good.URL, ""}}
	for name, c := range cases {
		for file, text := range c.before {
			write(file, text)
		}
		sites = append(sites, site{name, server.URL, strings.ReplaceAll(c.more, "%s", dir)})
	}
	w := run(t, memoryStorage, "poll_interval: 5s", sites...)
	await(t, "the count of the good one", func() bool { return w.sum(counted("good")) == 1 })
	for name, c := range cases {
		w.awaitPoll(name)
		p := w.source(name).Published()
		if p.Up || p.Result != resultConfig || !strings.Contains(p.Err.Error(), c.want) {
			t.Errorf("%s: %+v", name, p.Status)
		}
		values := w.gather()
		if up, there := values[fmt.Sprintf("vbaws_up{appliance=%q}", name)]; !there || up != 0 {
			t.Errorf("%s: vbaws_up is %v, %v", name, up, there)
		}
		if n := values[fmt.Sprintf(`vbaws_exporter_polls_total{appliance=%q,result="config"}`, name)]; n < 1 {
			t.Errorf("%s: %v polls are counted as failed by the configuration", name, n)
		}
	}
	for _, c := range cases {
		for file, text := range c.after {
			write(file, text)
		}
	}
	for name, c := range cases {
		if c.after == nil {
			continue
		}
		await(t, "the count of "+name, func() bool { return w.sum(counted(name)) == 1 })
		if p := w.source(name).Published(); !p.Up || p.Result != poller.ResultSuccess {
			t.Errorf("%s: %+v", name, p.Status)
		}
	}
	await(t, "the next poll of the good one", func() bool {
		return w.sum(`vbaws_exporter_polls_total{appliance="good",result="success"`) >= 2
	})
}

// testFilesMissingAtAReload: a missing file doesn't fail the reload. The appliance keeps
// its counts, and the others keep their pollers.
func testFilesMissingAtAReload(t *testing.T) {
	t.Parallel()
	a, b := appliance(t), appliance(t)
	finish(a, "web", "Failed")
	w := run(t, memoryStorage, "poll_interval: 5s", site{"a", a.URL, ""}, site{"b", b.URL, ""})
	await(t, "the count", func() bool { return w.sum(counted("a")) == 1 })
	w.awaitPoll("b")
	untouched := w.source("b").poller
	missing := filepath.Join(t.TempDir(), "ca.pem")
	w.reload(site{"a", a.URL, fmt.Sprintf(", tls_config: {ca_file: %q}", missing)}, site{"b", b.URL, ""})
	w.awaitPoll("a")
	if p := w.source("a").Published(); p.Up || p.Result != resultConfig || !errors.Is(p.Err, os.ErrNotExist) {
		t.Errorf("%+v", p.Status)
	}
	if w.source("b").poller != untouched {
		t.Error("the poller of another appliance was replaced")
	}
	if n := w.sum(counted("a")); n != 1 {
		t.Errorf("shows %v sessions", n)
	}
	finish(a, "web", "Failed")
	_, cert := serveTLS(t) // any will do
	if err := os.WriteFile(missing, []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the next count", func() bool { return w.sum(counted("a")) == 2 })
}

// testFilesMissingAtAPoll is the same for Poll.
func testFilesMissingAtAPoll(t *testing.T) {
	d, err := newDaemon(t, site{"good", appliance(t).URL, ""}, site{"bad", "https://127.0.0.1:1", ", tls_config: {ca_file: missing.pem}"})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Poll(t.Context())
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), `"bad"`) || !strings.Contains(err.Error(), "missing.pem") || strings.Contains(err.Error(), `"good"`) {
		t.Errorf("got %v", err)
	}
	for i, up := range []bool{true, false} {
		if p := d.Sources()[i].Published(); p.Polls != 1 || p.Up != up {
			t.Errorf("%s: %+v", d.Sources()[i].Name(), p.Status)
		}
	}
}
