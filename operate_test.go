package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// The account of the tests' own endpoint.
const (
	webUsername = "scraper"
	webPassword = "scrape me if you can"
	webHash     = "$2a$04$0iQ2hwmiO.M/7OExs6W78ek2sEaIFtuQ6D1/lrHTNRVSYqm9cdxHm"
)

// value returns the value of the only series that begins with prefix; -1 where
// there is none, or the scrape was refused.
func (p *process) value(prefix string) float64 {
	p.t.Helper()
	s := p.series(prefix)
	if len(s) != 1 {
		return -1
	}
	v, err := strconv.ParseFloat(s[0][strings.LastIndex(s[0], " ")+1:], 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func TestReload(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	good, err := os.ReadFile(site.config)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, "--config.file="+site.config, "--storage.path=", "--web.enable-lifecycle")
	const successful = "vbaws_exporter_config_last_reload_successful "
	appliances := func() int { return len(p.series("vbaws_exporter_polls_total{")) }
	if p.value(successful) != 1 {
		t.Error("the start isn't a success")
	}
	one := appliances()

	write(t, site.config, string(good)+"  - {name: second, url: http://127.0.0.1:1, username: u, pasword: hunter2}\n")
	code, body := p.send(http.MethodPost, "/-/reload")
	if code != http.StatusInternalServerError || !strings.Contains(body, `config.yml:10:5: appliances[1].password_file: is missing`) || strings.Contains(body, "hunter2") {
		t.Errorf("a bad file: %d %s", code, body)
	}
	if p.value(successful) != 0 || appliances() != one {
		t.Error("a bad file: it isn't told, or changed something")
	}

	write(t, site.config, string(good)+"  - {name: second, url: http://127.0.0.1:1, username: u, password: hunter2}\n")
	if code, body := p.send(http.MethodPut, "/-/reload"); code != http.StatusOK {
		t.Errorf("a good file: %d %s", code, body)
	}
	if p.value(successful) != 1 || appliances() != 2*one {
		t.Errorf("a good file: %d series of polls", appliances())
	}
	if code, body := p.get("/config"); code != http.StatusOK || !strings.Contains(body, "name: second") || strings.Contains(body, "hunter2") {
		t.Errorf("%d %s", code, body)
	}

	write(t, site.config, string(good))
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.await("the reload by SIGHUP", func() bool { return appliances() == one })
	p.stop(syscall.SIGTERM)

	// Without the flag, only the signal reloads.
	p = start(t, "--config.file="+site.config, "--storage.path=")
	if code, _ := p.send(http.MethodPost, "/-/reload"); code != http.StatusForbidden {
		t.Errorf("without the flag: %d", code)
	}
	p.stop(syscall.SIGTERM)
}

// keyPair makes a certificate for 127.0.0.1 and returns it, as PEM, with its key.
func keyPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// TestSecrets rotates a certificate and a password while the exporter runs with
// TLS and an account of its own, and searches all that it says, at the finest
// level of its log, for what must not be there.
func TestSecrets(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	dir := filepath.Dir(site.config)
	cert, key := keyPair(t)
	write(t, filepath.Join(dir, "web.pem"), string(cert))
	write(t, filepath.Join(dir, "web.key"), string(key))
	webConfig := filepath.Join(dir, "web.yml")
	write(t, webConfig, fmt.Sprintf("tls_server_config: {cert_file: web.pem, key_file: web.key}\nbasic_auth_users: {%s: %q}\n", webUsername, webHash))
	const rotated = "a password that is not the first"
	secrets := []string{vbawstest.DefaultPassword, rotated, webPassword, webHash, strings.Split(string(key), "\n")[1], "hunter2"}
	var mu sync.Mutex
	site.OnRequest(func(r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && !slices.Contains(secrets, token) {
			secrets = append(secrets, token)
		}
	})

	ca := filepath.Join(dir, "ca.pem")
	trusted, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	write(t, ca, string(cert)) // of somebody else
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	t.Cleanup(client.CloseIdleConnections)
	p := startWith(t, access{client, webUsername, webPassword},
		"--config.file="+site.config, "--storage.path="+filepath.Join(dir, "data"), "--log.level=debug",
		"--web.config.file="+webConfig, "--web.enable-lifecycle", "--web.enable-pprof")

	var said strings.Builder
	listen := func() {
		for _, path := range []string{"/", "/metrics", "/api/v1/status", "/config", "/-/ready", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/nothing"} {
			_, body := p.get(path)
			fmt.Fprintf(&said, "%s: %s\n", path, body)
		}
	}
	up := func(want float64) func() bool {
		return func() bool { return p.value(`vbaws_up{appliance="site"}`) == want }
	}
	failed := func(result string) float64 {
		return p.value(fmt.Sprintf(`vbaws_exporter_polls_total{appliance="site",result=%q}`, result))
	}
	p.await("distrust of the certificate", func() bool { return up(0)() && failed("tls") >= 1 })
	listen()
	write(t, ca, string(trusted))
	p.await("trust in the certificate", up(1))
	listen()

	site.Reconfigure(func(c *vbawstest.Config) {
		c.Users = []vbawstest.User{{Name: vbawstest.DefaultUsername, Password: rotated, Role: vbawstest.RoleAdministrator}}
	})
	site.RevokeTokens()
	p.await("the refusal of the old password", func() bool { return up(0)() && failed("auth") >= 1 })
	listen()
	write(t, filepath.Join(dir, "secret"), rotated+"\n")
	p.await("the login by the new password", up(1))
	listen()

	good, err := os.ReadFile(site.config)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  - {name: x, url: https://u:hunter2@host, username: u, password: hunter2}\n",
		"  - {name: x, url: http://127.0.0.1:1, username: u, password: hunter2, proxy_url: 'http://u:hunter2@127.0.0.1:1'}\n",
	} {
		write(t, site.config, string(good)+line)
		_, body := p.send(http.MethodPost, "/-/reload")
		said.WriteString(body)
		p.await("another pass", func() bool { code, _ := p.get("/-/ready"); return code == http.StatusOK })
		listen()
	}
	p.await("the proxy's failure", func() bool {
		return p.value(`vbaws_exporter_polls_total{appliance="x",result="unreachable"}`) >= 1
	})
	listen()

	// The account is asked for everywhere, and there is no way around TLS.
	for _, path := range []string{"/", "/metrics", "/config", "/-/healthy", "/-/reload"} {
		resp, err := client.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(&said, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without an account: %d", path, resp.StatusCode)
		}
	}
	if resp, err := http.Get("http" + strings.TrimPrefix(p.url, "https") + "/metrics"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("answers without TLS")
		}
	}
	p.stop(syscall.SIGTERM)

	fmt.Fprintf(&said, "log:\n%s%s", p.log(), p.out.String())
	mu.Lock()
	defer mu.Unlock()
	if len(secrets) < 8 {
		t.Errorf("only %d secrets: no token was seen", len(secrets))
	}
	for _, secret := range secrets {
		if at := strings.Index(said.String(), secret); at >= 0 {
			t.Errorf("%q is said: …%s", secret, said.String()[max(0, at-200):at+len(secret)])
		}
	}
}

// TestFlood scrapes as fast as it can, from clients that don't read among
// others, beside connections that never send a request.
func TestFlood(t *testing.T) {
	t.Parallel()
	const scrapers, halfOpen, deaf = 60, 300, 30
	site := newSite(t)
	p := start(t, "--config.file="+site.config, "--storage.path=")
	// What the runtime has taken from the system, which it gives back late: a high
	// water mark. The race detector's own memory isn't in it.
	memory := func() float64 { return p.value("go_memstats_sys_bytes ") }
	passes := func() float64 {
		return p.value(`vbaws_exporter_polls_total{appliance="site",result="success"}`)
	}
	before := memory()
	dial := func(text string) net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var open []net.Conn
	for range halfOpen {
		open = append(open, dial("GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: "))
	}
	for range deaf {
		dial(strings.Repeat("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 50))
	}
	end := make(chan struct{})
	var wg sync.WaitGroup
	transport := &http.Transport{MaxIdleConnsPerHost: scrapers}
	defer transport.CloseIdleConnections()
	for range scrapers {
		wg.Go(func() {
			client := &http.Client{Transport: transport}
			for {
				select {
				case <-end:
					return
				default:
				}
				resp, err := client.Get(p.url + "/metrics")
				if err != nil {
					t.Errorf("scrape: %v", err)
					return
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("scrape: %s", resp.Status)
				}
			}
		})
	}
	// A scrape may be turned away, so the appliance is asked what it was asked.
	asked := len(site.Requests())
	p.await("two passes in the flood", func() bool { return len(site.Requests()) >= asked+2 })
	close(end)
	wg.Wait()
	p.await("a scrape", func() bool { return passes() >= 2 })
	// So many scrapes as there are processors are worked on at once.
	most := float64(int(128+4*runtime.GOMAXPROCS(0)) << 20)
	if grown := memory() - before; grown > most || before < 0 {
		t.Errorf("memory grew by %.0f MiB, from %.0f", grown/(1<<20), before/(1<<20))
	} else {
		t.Logf("memory grew by %.0f MiB, from %.0f", grown/(1<<20), before/(1<<20))
	}
	for _, c := range open {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := io.Copy(io.Discard, c); errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("a connection without a request isn't ended")
		}
	}
	p.stop(syscall.SIGTERM)
}
