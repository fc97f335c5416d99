package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	kitlog "github.com/go-kit/log"
	"github.com/oklog/run"
	toolkit "github.com/prometheus/exporter-toolkit/web"

	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

func TestServe(t *testing.T) {
	t.Parallel()
	site := apptest.NewSite(t)
	storage := filepath.Join(t.TempDir(), "data")
	args := []string{"--config.file=" + site.Config, "--storage.path=" + storage, "--log.level=debug"}

	p := apptest.Start(t, args...) // serve is the default
	counted := p.Series(`vbaws_sessions_total{`)
	if len(counted) == 0 || !slices.Contains(p.Series("vbaws_up"), `vbaws_up{appliance="site"} 1`) {
		t.Fatalf("nothing is counted; log:\n%s", p.Log())
	}
	if info, err := os.Stat(storage); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the state: %v, %v", info.Mode(), err)
	}
	if code, body := p.Get("/"); code != http.StatusOK || !strings.Contains(body, "Polling OK.") {
		t.Errorf("status page: %d %s", code, body)
	}
	if strings.Contains(p.Log(), vbawstest.DefaultPassword) {
		t.Error("the password is logged")
	}
	p.Stop(syscall.SIGTERM)
	// It need not be the last request: one that was cut off can arrive later.
	if !slices.ContainsFunc(site.Requests(), func(r vbawstest.Request) bool { return r.Method == http.MethodDelete }) {
		t.Error("it did not log out")
	}

	// After a restart the counters continue, although the appliance is gone.
	site.Close()
	p = apptest.Start(t, append([]string{"serve"}, args...)...)
	if got := p.Series(`vbaws_sessions_total{`); !slices.Equal(got, counted) {
		t.Errorf("after a restart:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(counted, "\n"))
	}
	if !slices.Contains(p.Series("vbaws_up"), `vbaws_up{appliance="site"} 0`) {
		t.Errorf("the appliance is gone, and vbaws_up is %v", p.Series("vbaws_up"))
	}
	if v := site.Violations(); len(v) > 0 {
		t.Errorf("requests that a monitor must not make: %v", v)
	}
	p.Stop(os.Interrupt)
}

// TestServeKeepingNothing: without a state directory, sessions that had finished before
// the start must not count.
func TestServeKeepingNothing(t *testing.T) {
	t.Parallel()
	site := apptest.NewSite(t)
	p := apptest.Start(t, "--config.file="+site.Config, "--storage.path=", "--log.format=json")
	for _, s := range p.Series("vbaws_sessions_total{") {
		if !strings.HasSuffix(s, " 0") {
			t.Errorf("counted: %s", s)
		}
	}
	if len(p.Series("vbaws_session_last_status{")) == 0 {
		t.Error("the gauges are empty")
	}
	if !strings.HasPrefix(p.Log(), "{") {
		t.Errorf("the log isn't JSON: %s", p.Log())
	}
	p.Stop(syscall.SIGTERM)
}

// TestCannotStart: the last line on stderr is the error, and the status is not 0.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	site := apptest.NewSite(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dir := t.TempDir()
	wrong, file := filepath.Join(dir, "wrong.yml"), filepath.Join(dir, "file")
	folder := filepath.Join(dir, "folder") // whose file is a folder
	if err := os.MkdirAll(filepath.Join(folder, store.FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	apptest.Write(t, wrong, "pol_interval: 1m\nappliances: []\n")
	apptest.Write(t, file, "")
	storage := "--storage.path=" + filepath.Join(dir, "data")
	good := []string{"--config.file=" + site.Config, "--web.listen-address=127.0.0.1:0", storage}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"nonsense"}, "unexpected nonsense"},
		{[]string{"--nonsense"}, "unknown long flag '--nonsense'"},
		{[]string{"--log.level=loud"}, "loud"},
		{nil, "config.yml: no such file or directory; name the file with --config.file"},
		{[]string{"collect"}, "config.yml: no such file or directory; name the file with --config.file"},
		{[]string{"--config.file=" + wrong}, wrong + `:1:1: unknown key "pol_interval": did you mean poll_interval?`},
		{append(good, "--storage.path="+file), "--storage.path: create the state directory: "},
		{append(good, "--storage.path="+folder), "--storage.path: "},
		{append(good, "--web.telemetry-path=metrics"), "telemetry path"},
		{append(good, "--web.config.file="+file+"x"), "--web.config.file: open " + file + "x"},
		{append(good, "--web.listen-address="+listener.Addr().String()), "--web.listen-address: listen tcp " + listener.Addr().String() + ": bind: address already in use"},
		{append(good, "--web.listen-address=10105"), "--web.listen-address: listen tcp: address 10105: missing port"},
	} {
		// The last of two flags is the one that counts.
		args := lastOfEach(test.args)
		status, stdout, stderr := apptest.Once(t, args...)
		last := apptest.LastLine(stderr)
		if status == 0 || stdout != "" || !strings.HasPrefix(last, "vbaws_exporter: ") || !strings.Contains(last, test.want) {
			t.Errorf("%v: status %d\n%s\n%s", args, status, stdout, stderr)
		}
	}
	if asked := site.Requests(); len(asked) > 0 {
		t.Errorf("requests to the appliance: %v", asked)
	}
}

// TestNoPollWithoutAnAddress: if the address is in use, the supervisor restarts the
// exporter, which must not log in to the appliances each time.
func TestNoPollWithoutAnAddress(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// The others give a poll that doesn't wait the time to begin.
	addresses := append(slices.Repeat([]string{"127.0.0.1:0"}, 200), listener.Addr().String())
	file, systemd := "", false
	flags := &toolkit.FlagConfig{WebListenAddresses: &addresses, WebConfigFile: &file, WebSystemdSocket: &systemd}
	ended := false
	poll := func(ctx context.Context) {
		if ended = true; ctx.Err() == nil {
			t.Error("it polls although the address is in use")
		}
		<-ctx.Done()
	}
	err = runGroup(&run.Group{}, poll, &http.Server{}, flags, kitlog.NewNopLogger(), slog.New(slog.DiscardHandler))
	if !errors.Is(err, syscall.EADDRINUSE) || !ended {
		t.Errorf("%v, poll was called: %v", err, ended)
	}
}

// lastOfEach leaves out flags that are given again: kingpin rejects them, or takes both
// values.
func lastOfEach(args []string) []string {
	var kept []string
	for i, a := range args {
		name, _, _ := strings.Cut(a, "=")
		if !slices.ContainsFunc(args[i+1:], func(b string) bool { return strings.HasPrefix(b, name+"=") }) {
			kept = append(kept, a)
		}
	}
	return kept
}

// The account of the tests' own endpoint.
const (
	webUsername = "scraper"
	webPassword = "scrape me if you can"
	webHash     = "$2a$04$0iQ2hwmiO.M/7OExs6W78ek2sEaIFtuQ6D1/lrHTNRVSYqm9cdxHm"
)

func TestReload(t *testing.T) {
	t.Parallel()
	site := apptest.NewSite(t)
	good, err := os.ReadFile(site.Config)
	if err != nil {
		t.Fatal(err)
	}
	p := apptest.Start(t, "--config.file="+site.Config, "--storage.path=", "--web.enable-lifecycle")
	const successful = "vbaws_exporter_config_last_reload_successful "
	appliances := func() int { return len(p.Series("vbaws_exporter_polls_total{")) }
	if p.Value(successful) != 1 {
		t.Error("the start is not a successful reload")
	}
	one := appliances()

	apptest.Write(t, site.Config, string(good)+"  - {name: second, url: http://127.0.0.1:1, username: u, pasword: hunter2}\n")
	code, body := p.Send(http.MethodPost, "/-/reload")
	if code != http.StatusInternalServerError || !strings.Contains(body, `config.yml:10:5: appliances[1].password_file: is missing`) || strings.Contains(body, "hunter2") {
		t.Errorf("a bad file: %d %s", code, body)
	}
	if p.Value(successful) != 0 || appliances() != one {
		t.Error("a bad file: the metric is not 0, or the appliances changed")
	}
	if problems := problemsOf(t, p); len(problems) != 1 || problems[0].State != "config_rejected" || !slices.ContainsFunc(problems[0].Errors, func(e string) bool { return strings.Contains(e, "password_file: is missing") }) || problems[0].Since.IsZero() {
		t.Errorf("a bad file, as JSON: %+v", problems)
	}
	if _, page := p.Get("/"); !strings.Contains(page, "The configuration file was rejected.") || !strings.Contains(page, "appliances[1].password_file: is missing") || strings.Contains(page, "hunter2") {
		t.Errorf("a bad file, on the page:\n%s", page)
	}

	apptest.Write(t, site.Config, string(good)+"  - {name: second, url: http://127.0.0.1:1, username: u, password: hunter2}\n")
	if code, body := p.Send(http.MethodPut, "/-/reload"); code != http.StatusOK {
		t.Errorf("a good file: %d %s", code, body)
	}
	if p.Value(successful) != 1 || appliances() != 2*one {
		t.Errorf("a good file: %d series of polls", appliances())
	}
	if _, page := p.Get("/"); strings.Contains(page, "was rejected") {
		t.Errorf("a good file, on the page:\n%s", page)
	}
	if code, body := p.Get("/config"); code != http.StatusOK || !strings.Contains(body, "name: second") || strings.Contains(body, "hunter2") {
		t.Errorf("%d %s", code, body)
	}

	apptest.Write(t, site.Config, string(good))
	p.Signal(syscall.SIGHUP)
	p.Await("the reload by SIGHUP", func() bool { return appliances() == one })
	p.Stop(syscall.SIGTERM)

	// Without the flag, only the signal reloads.
	p = apptest.Start(t, "--config.file="+site.Config, "--storage.path=")
	if code, _ := p.Send(http.MethodPost, "/-/reload"); code != http.StatusForbidden {
		t.Errorf("without the flag: %d", code)
	}
	p.Stop(syscall.SIGTERM)
}

// aProblem is a problem in the status as JSON.
type aProblem struct {
	State, Appliance, Policy, Workload, Kind, Message, Schedule string
	Since                                                       time.Time
	Errors                                                      []string
}

// problemsOf returns the problems in the status as JSON.
func problemsOf(t *testing.T, p *apptest.Process) []aProblem {
	t.Helper()
	_, body := p.Get("/api/v1/status")
	var status struct{ Problems []aProblem }
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return status.Problems
}

// TestVerdictsAfterARestart: an exporter that starts shows the stored verdicts at once,
// though the appliance does not answer.
func TestVerdictsAfterARestart(t *testing.T) {
	t.Parallel()
	site := apptest.NewSite(t)
	now := site.Now()
	site.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(70), Name: "erp", Enabled: true})
	for i := range 3 {
		end := now.Add(time.Duration(i-4) * time.Hour)
		s := site.Put(vbawstest.Session{
			Type: "Policy", ExtendedType: "PolicyBackup", Name: "erp", PolicyID: vbawstest.ID(70), Status: "Failed", Start: end.Add(-time.Minute), Stop: end,
		})
		site.SetLog(s.ID, vbawstest.LogItem{Status: "Error", Message: "no capacity"})
	}
	args := []string{"--config.file=" + site.Config, "--storage.path=" + filepath.Join(t.TempDir(), "data")}
	p := apptest.Start(t, args...)
	erp := func() *aProblem {
		for _, is := range problemsOf(t, p) {
			if is.Policy == "erp" {
				return &is
			}
		}
		return nil
	}
	p.Await("the verdict", func() bool { return erp() != nil && erp().Errors != nil })
	before := erp()
	if before.State != "failing" || !slices.Equal(before.Errors, []string{"no capacity"}) {
		t.Errorf("got %+v", before)
	}
	p.Stop(os.Interrupt)

	site.Server.Close()
	p = apptest.Launch(t, apptest.Access{}, args...)
	after := erp()
	if after == nil || after.State != before.State || !after.Since.Equal(before.Since) {
		t.Errorf("after a restart: %+v, want %+v", after, before)
	}
	if _, page := p.Get("/"); !strings.Contains(page, ">erp</bdi>") || !strings.Contains(page, `class="result failing">failing`) {
		t.Errorf("after a restart, the page:\n%s", page)
	}
	p.Stop(os.Interrupt)
}

// TestLogKeys: every line, also of a library, has the time as ts in UTC, a level and a
// message, and neither another time nor a caller.
func TestLogKeys(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"logfmt", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			site := apptest.NewSite(t)
			p := apptest.Start(t, "--config.file="+site.Config, "--storage.path=", "--log.format="+format, "--log.level=debug")
			now := site.Now()
			for _, typ := range []string{"Policy", "Task"} {
				for _, status := range []string{"Succeeded", "Failed"} {
					site.Put(vbawstest.Session{Type: typ, ExtendedType: "PolicyBackup", Name: "web", Status: status, Start: now.Add(-time.Minute), Stop: now})
				}
			}
			p.Await("the sessions", func() bool { return strings.Count(p.Log(), "session finished") == 4 })
			apptest.Write(t, site.Config, "nothing: good\n")
			p.Signal(syscall.SIGHUP)
			p.Await("the rejection", func() bool { return strings.Contains(p.Log(), "configuration not reloaded") })
			p.Stop(os.Interrupt)
			levels := make(map[string][]string) // by message
			for line := range strings.Lines(p.Log()) {
				keys := keysOf(t, format, line)
				at, err := time.Parse(time.RFC3339Nano, keys["ts"])
				if err != nil || !strings.HasSuffix(keys["ts"], "Z") || time.Since(at).Abs() > time.Hour || keys["level"] == "" || keys["msg"] == "" {
					t.Errorf("%v: %s", err, line)
				}
				for _, not := range []string{"time", "caller"} {
					if _, has := keys[not]; has {
						t.Errorf("it has %s: %s", not, line)
					}
				}
				what := keys["msg"] + " " + keys["type"] + " " + keys["status"]
				levels[strings.TrimSpace(what)] = append(levels[strings.TrimSpace(what)], keys["level"])
			}
			for what, want := range map[string]string{
				"session finished Policy Succeeded": "info", "session finished Policy Failed": "warn",
				"session finished Task Succeeded": "debug", "session finished Task Failed": "debug",
				"Listening on": "info", "TLS is disabled.": "info", "polling appliance": "info", "configuration not reloaded, the previous one stays in use": "error",
			} {
				if got := levels[what]; len(got) == 0 || got[0] != want {
					t.Errorf("%s: %v, want %s", what, got, want)
				}
			}
		})
	}
}

// keyval matches a key and its value in a line of logfmt.
var keyval = regexp.MustCompile(`(\S+?)=("(?:[^"\\]|\\.)*"|\S*)`)

// keysOf returns the keys and values of a log line. No key is allowed twice.
func keysOf(t *testing.T, format, line string) map[string]string {
	t.Helper()
	keys := make(map[string]string)
	if format == "json" {
		var all map[string]any
		if err := json.Unmarshal([]byte(line), &all); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		for k, v := range all {
			keys[k] = fmt.Sprint(v)
		}
		return keys
	}
	for _, m := range keyval.FindAllStringSubmatch(line, -1) {
		if _, twice := keys[m[1]]; twice {
			t.Errorf("key %s twice: %s", m[1], line)
		}
		keys[m[1]] = strings.Trim(m[2], `"`)
	}
	if !strings.HasPrefix(line, "ts=") {
		t.Errorf("it doesn't begin with the time: %s", line)
	}
	return keys
}

// TestSecrets rotates a certificate and a password while the exporter runs with TLS and an
// account of its own, and searches its answers and its log, at level debug, for secrets.
func TestSecrets(t *testing.T) {
	t.Parallel()
	site := apptest.NewSite(t)
	dir := filepath.Dir(site.Config)
	cert, key := apptest.KeyPair(t)
	apptest.Write(t, filepath.Join(dir, "web.pem"), string(cert))
	apptest.Write(t, filepath.Join(dir, "web.key"), string(key))
	webConfig := filepath.Join(dir, "web.yml")
	apptest.Write(t, webConfig, fmt.Sprintf("tls_server_config: {cert_file: web.pem, key_file: web.key}\nbasic_auth_users: {%s: %q}\n", webUsername, webHash))
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
	apptest.Write(t, ca, string(cert)) // not that of the appliance
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	t.Cleanup(client.CloseIdleConnections)
	p := apptest.StartWith(t, apptest.Access{Client: client, Username: webUsername, Password: webPassword},
		"--config.file="+site.Config, "--storage.path="+filepath.Join(dir, "data"), "--log.level=debug",
		"--web.config.file="+webConfig, "--web.enable-lifecycle", "--web.enable-pprof")

	var said strings.Builder
	listen := func() {
		for _, path := range []string{"/", "/metrics", "/api/v1/status", "/config", "/-/ready", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/nothing"} {
			_, body := p.Get(path)
			fmt.Fprintf(&said, "%s: %s\n", path, body)
		}
	}
	up := func(want float64) func() bool {
		return func() bool { return p.Value(`vbaws_up{appliance="site"}`) == want }
	}
	failed := func(result string) float64 {
		return p.Value(fmt.Sprintf(`vbaws_exporter_polls_total{appliance="site",result=%q}`, result))
	}
	p.Await("the rejection of the certificate", func() bool { return up(0)() && failed("tls") >= 1 })
	listen()
	apptest.Write(t, ca, string(trusted))
	p.Await("a poll with the right certificate", up(1))
	listen()

	site.Reconfigure(func(c *vbawstest.Config) {
		c.Users = []vbawstest.User{{Name: vbawstest.DefaultUsername, Password: rotated, Role: vbawstest.RoleAdministrator}}
	})
	site.RevokeTokens()
	p.Await("the refusal of the old password", func() bool { return up(0)() && failed("auth") >= 1 })
	listen()
	apptest.Write(t, filepath.Join(dir, "secret"), rotated+"\n")
	p.Await("the login with the new password", up(1))
	listen()

	good, err := os.ReadFile(site.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  - {name: x, url: https://u:hunter2@host, username: u, password: hunter2}\n",
		"  - {name: x, url: http://127.0.0.1:1, username: u, password: hunter2, proxy_url: 'http://u:hunter2@127.0.0.1:1'}\n",
	} {
		apptest.Write(t, site.Config, string(good)+line)
		_, body := p.Send(http.MethodPost, "/-/reload")
		said.WriteString(body)
		listen()
	}
	p.Await("the proxy's failure", func() bool {
		return p.Value(`vbaws_exporter_polls_total{appliance="x",result="unreachable"}`) >= 1
	})
	listen()

	// Every path requires the account, and TLS.
	for _, path := range []string{"/", "/metrics", "/config", "/-/healthy", "/-/reload"} {
		resp, err := client.Get(p.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(&said, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without an account: %d", path, resp.StatusCode)
		}
	}
	if resp, err := http.Get("http" + strings.TrimPrefix(p.URL, "https") + "/metrics"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			t.Error("answers without TLS")
		}
	}
	p.Stop(syscall.SIGTERM)

	fmt.Fprintf(&said, "log:\n%s%s", p.Log(), p.Stdout.String())
	mu.Lock()
	defer mu.Unlock()
	if len(secrets) < 8 {
		t.Errorf("only %d secrets: no token was seen", len(secrets))
	}
	for _, secret := range secrets {
		if at := strings.Index(said.String(), secret); at >= 0 {
			t.Errorf("%q is shown: …%s", secret, said.String()[max(0, at-200):at+len(secret)])
		}
	}
}

// TestFlood scrapes as fast as it can, while other clients send requests without reading
// the answers, or connect without sending a whole request.
func TestFlood(t *testing.T) {
	t.Parallel()
	const scrapers, halfOpen, deaf = 60, 300, 30
	site := apptest.NewSite(t)
	p := apptest.Start(t, "--config.file="+site.Config, "--storage.path=")
	// The memory that the runtime has from the system. It returns memory late, so this is
	// about the most that was in use, without the race detector's own.
	memory := func() float64 { return p.Value("go_memstats_sys_bytes ") }
	passes := func() float64 {
		return p.Value(`vbaws_exporter_polls_total{appliance="site",result="success"}`)
	}
	before := memory()
	dial := func(text string) net.Conn {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
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
	stop := sync.OnceFunc(func() { close(end); wg.Wait() })
	defer stop()
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
				resp, err := client.Get(p.URL + "/metrics")
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
	// A scrape can be refused, so the requests of the appliance are counted.
	asked := len(site.Requests())
	p.Await("two polls in the flood", func() bool { return len(site.Requests()) >= asked+2 })
	stop()
	p.Await("a scrape", func() bool { return passes() >= 2 })
	// As many scrapes run at once as there are processors.
	most := float64((128 + 4*runtime.GOMAXPROCS(0)) << 20)
	if grown := memory() - before; grown > most || before < 0 {
		t.Errorf("memory grew by %.0f MiB, from %.0f", grown/(1<<20), before/(1<<20))
	} else {
		t.Logf("memory grew by %.0f MiB, from %.0f", grown/(1<<20), before/(1<<20))
	}
	for _, c := range open {
		if err := c.SetReadDeadline(time.Now().Add(apptest.Patience)); err != nil {
			t.Fatal(err)
		}
		var timeout net.Error
		if _, err := io.Copy(io.Discard, c); errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatal("a connection without a whole request is not closed")
		}
	}
	p.Stop(syscall.SIGTERM)
}
