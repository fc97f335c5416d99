package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"vbaws_exporter/vbaws/vbawstest"
)

// asMain makes the test binary be the exporter itself.
const asMain = "VBAWS_EXPORTER_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for what must come. It only ends tests that
// fail.
const patience = 30 * time.Second

// process is a running exporter that serves HTTP.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	url string
	tmp string // its folder for temporary files
	access
	out  bytes.Buffer
	logs sync.WaitGroup

	mu  sync.Mutex
	err bytes.Buffer
}

// access is how to reach a process. The zero value is for one without TLS and
// accounts.
type access struct {
	client             *http.Client // nil: the default one, and no TLS
	username, password string
}

func command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	return cmd
}

// start starts the exporter on a port of its choice and waits until it is ready.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	return startWith(t, access{}, args...)
}

func startWith(t *testing.T, how access, args ...string) *process {
	t.Helper()
	p := launch(t, how, args...)
	p.await("the first poll", func() bool { code, _ := p.get("/-/ready"); return code == http.StatusOK })
	return p
}

// launch is startWith that waits only until the exporter listens.
func launch(t *testing.T, how access, args ...string) *process {
	t.Helper()
	p := &process{t: t, access: how, cmd: command(t, append(args, "--web.listen-address=127.0.0.1:0")...), tmp: t.TempDir()}
	p.cmd.Env = append(p.cmd.Env, "TMPDIR="+p.tmp)
	p.cmd.Stdout = &p.out
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); p.logs.Wait() })
	address := make(chan string, 1)
	p.logs.Go(func() { p.readLog(stderr, address) })
	select {
	case a, ok := <-address:
		if !ok {
			t.Fatalf("it ended: %s", p.log())
		}
		p.url = "http://" + a
		if how.client == nil {
			p.client = http.DefaultClient
		} else {
			p.url = "https://" + a
		}
	case <-time.After(patience):
		t.Fatalf("it doesn't listen: %s", p.log())
	}
	return p
}

// listening matches the line in either format.
var listening = regexp.MustCompile(`^{"address":"([^"]+)".*"msg":"Listening on"|msg="Listening on" address=(\S+)`)

// readLog keeps the log, and says where the process listens.
func (p *process) readLog(r io.Reader, address chan<- string) {
	defer close(address)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.err.WriteString(line)
		p.mu.Unlock()
		if m := listening.FindStringSubmatch(line); m != nil {
			address <- m[1] + m[2]
		}
		if err != nil {
			return
		}
	}
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

func (p *process) await(what string, done func() bool) {
	p.t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s doesn't come; log:\n%s", what, p.log())
		}
	}
}

func (p *process) get(path string) (code int, body string) {
	p.t.Helper()
	return p.send(http.MethodGet, path)
}

func (p *process) send(method, path string) (code int, body string) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.username != "" {
		req.SetBasicAuth(p.username, p.password)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// series returns the samples whose line begins with prefix.
func (p *process) series(prefix string) []string {
	p.t.Helper()
	_, body := p.get("/metrics")
	return lines(body, prefix)
}

func lines(text, prefix string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// stop ends the exporter by a signal, which must be no failure.
func (p *process) stop(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
	p.logs.Wait()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("after %v: %v; log:\n%s", s, err, p.log())
	}
}

// site is a simulated appliance and the configuration for it.
type site struct {
	*vbawstest.Server
	config string
}

func newSite(t *testing.T) *site {
	t.Helper()
	now := time.Now()
	a := vbawstest.New(vbawstest.Config{Seed: 1})
	fleet := vbawstest.NewFleet(a, vbawstest.FleetConfig{Seed: 1, Start: now, Policies: []vbawstest.PolicySpec{{
		Policy: vbawstest.Policy{Name: "web", Enabled: true, Schedule: &vbawstest.ScheduleSettings{
			DailyEnabled: true,
			Daily:        &vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 1, Backup: vbawstest.EveryHour(vbawstest.Retention{Count: 7})},
		}},
		FailureRate: 0.3,
	}}})
	fleet.Backfill(now.Add(-48 * time.Hour))
	server, err := vbawstest.Listen(a, "127.0.0.1:0", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	dir := t.TempDir()
	s := &site{server, filepath.Join(dir, "config.yml")}
	write(t, filepath.Join(dir, "ca.pem"), string(server.CertPEM()))
	write(t, filepath.Join(dir, "secret"), vbawstest.DefaultPassword+"\n")
	write(t, s.config, fmt.Sprintf(`
poll_interval: 5s
appliances:
  - name: site
    url: %s
    username: %s
    password_file: secret
    tls_config:
      ca_file: ca.pem
`, server.URL, vbawstest.DefaultUsername))
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	storage := filepath.Join(t.TempDir(), "data")
	args := []string{"--config.file=" + site.config, "--storage.path=" + storage, "--log.level=debug"}

	p := start(t, args...) // serve is the default
	counted := p.series(`vbaws_sessions_total{`)
	if len(counted) == 0 || !slices.Contains(p.series("vbaws_up"), `vbaws_up{appliance="site"} 1`) {
		t.Fatalf("nothing is counted; log:\n%s", p.log())
	}
	if info, err := os.Stat(storage); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder of the state: %v, %v", info.Mode(), err)
	}
	if code, body := p.get("/"); code != http.StatusOK || !strings.Contains(body, "Polling OK.") {
		t.Errorf("status page: %d %s", code, body)
	}
	if strings.Contains(p.log(), vbawstest.DefaultPassword) {
		t.Error("the password is logged")
	}
	p.stop(syscall.SIGTERM)
	// A request that was broken off may arrive after it.
	if !slices.ContainsFunc(site.Requests(), func(r vbawstest.Request) bool { return r.Method == http.MethodDelete }) {
		t.Error("the token wasn't given back")
	}

	// The second life knows what the first counted, though nobody answers any
	// more.
	site.Close()
	p = start(t, append([]string{"serve"}, args...)...)
	if got := p.series(`vbaws_sessions_total{`); !slices.Equal(got, counted) {
		t.Errorf("after a restart:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(counted, "\n"))
	}
	if !slices.Contains(p.series("vbaws_up"), `vbaws_up{appliance="site"} 0`) {
		t.Errorf("nobody answers, and vbaws_up is %v", p.series("vbaws_up"))
	}
	if v := site.Violations(); len(v) > 0 {
		t.Errorf("the appliance was asked what it needn't be: %v", v)
	}
	p.stop(os.Interrupt)
}

// TestServeKeepingNothing: without storage nobody knows what was there before,
// so what had ended must not look new.
func TestServeKeepingNothing(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	p := start(t, "--config.file="+site.config, "--storage.path=", "--log.format=json")
	for _, s := range p.series("vbaws_sessions_total{") {
		if !strings.HasSuffix(s, " 0") {
			t.Errorf("counted: %s", s)
		}
	}
	if len(p.series("vbaws_session_last_status{")) == 0 {
		t.Error("the gauges are empty")
	}
	if !strings.HasPrefix(p.log(), "{") {
		t.Errorf("the log isn't JSON: %s", p.log())
	}
	p.stop(syscall.SIGTERM)
}

func TestDemo(t *testing.T) {
	t.Parallel()
	p := start(t, "demo", "--web.telemetry-path=/m")
	_, body := p.get("/m")
	if len(lines(body, `vbaws_up{appliance="demo"} 1`)) != 1 || len(lines(body, "vbaws_sessions_total{")) < 20 {
		t.Errorf("got %s", body)
	}
	if left, err := os.ReadDir(p.tmp); err != nil || len(left) != 1 {
		t.Errorf("temporary files while it runs: %v, %v", left, err)
	}
	// A second signal must not keep it from cleaning up.
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	p.stop(os.Interrupt)
	for _, word := range []string{"/m\n", "https://127.0.0.1:", vbawstest.DefaultUsername, vbawstest.DefaultPassword, "appliance.pem"} {
		if !strings.Contains(p.out.String(), word) {
			t.Errorf("stdout doesn't say %q:\n%s", word, p.out.String())
		}
	}
	if left, err := os.ReadDir(p.tmp); err != nil || len(left) != 0 {
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
		write(t, file, text)
		if got := scheme(file); got != want {
			t.Errorf("%s for\n%s", got, text)
		}
	}
	if got := scheme(""); got != "http" {
		t.Errorf("%s without a file", got)
	}
}

// once runs the exporter to its end.
func once(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := command(t, args...)
	cmd.Dir = t.TempDir()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestCollect(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	storage := t.TempDir()
	collect := func(args ...string) (int, string, string) {
		return once(t, append([]string{"collect", "--config.file=" + site.config}, args...)...)
	}
	status, stateless, stderr := collect()
	counted := lines(stateless, "vbaws_sessions_total{")
	if status != 0 || len(counted) == 0 || len(lines(stateless, "go_")) > 0 {
		t.Errorf("status %d\n%s\n%s", status, stateless, stderr)
	}
	if !slices.ContainsFunc(counted, func(s string) bool { return !strings.HasSuffix(s, " 0") }) {
		t.Errorf("counters don't cover the time of backfill: %v", counted)
	}

	// With a folder, runs count on. A status that is new shows 0 for one run.
	if status, _, stderr = collect("--storage.path=" + storage); status != 0 {
		t.Errorf("status %d\n%s", status, stderr)
	}
	now := time.Now()
	site.Start(vbawstest.Session{ID: vbawstest.ID(1), Type: "Policy", ExtendedType: "PolicyBackup", Name: "web", Start: now})
	site.Finish(vbawstest.ID(1), "Odd", now)
	for _, want := range []string{" 0", " 1", " 1"} {
		_, out, stderr := collect("--storage.path=" + storage)
		odd := lines(out, `vbaws_sessions_total{appliance="site",extended_type="PolicyBackup",policy="web",status="Odd"`)
		if len(odd) != 1 || !strings.HasSuffix(odd[0], want) {
			t.Errorf("got %v, want%s; log:\n%s", odd, want, stderr)
		}
	}

	site.Close()
	status, out, stderr := collect("--storage.path=" + storage)
	if status != 1 || len(lines(out, "vbaws_sessions_total{")) == 0 || len(lines(out, `vbaws_up{appliance="site"} 0`)) != 1 {
		t.Errorf("nobody answers: status %d\n%s\n%s", status, out, stderr)
	}
	if last := lastLine(stderr); !strings.HasPrefix(last, `vbaws_exporter: appliance "site": `) {
		t.Errorf("says %s", last)
	}
}

// TestCollectByCron runs the README's recipe: what Prometheus gets says that an
// appliance can't be read, and lacks no run of the others.
func TestCollectByCron(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	recipe := regexp.MustCompile(`(?m)^vbaws_exporter collect .+$`).Find(readme)
	if recipe == nil {
		t.Fatal("there is no recipe")
	}
	site := newSite(t)
	folder := filepath.Dir(site.config)
	script := `vbaws_exporter() { "$0" "$@"; }; ` + strings.Replace(string(recipe), "/var/lib/vbaws_collect", "state", 1)
	run := func() (text string, err error) {
		t.Helper()
		sh := exec.CommandContext(t.Context(), "sh", "-c", script, os.Args[0])
		sh.Dir, sh.Env = folder, append(os.Environ(), asMain+"=1")
		out, err := sh.CombinedOutput()
		t.Logf("%s", out)
		written, readErr := os.ReadFile(filepath.Join(folder, "vbaws.prom"))
		if readErr != nil || len(lines(string(written), "vbaws_sessions_total{")) == 0 {
			t.Fatalf("%v; there are no counters in\n%s", readErr, written)
		}
		return string(written), err
	}
	if text, err := run(); err != nil || len(lines(text, `vbaws_up{appliance="site"} 1`)) != 1 {
		t.Errorf("%v\n%s", err, text)
	}
	site.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Status: 503, Count: -1})
	text, err := run()
	if err != nil || len(lines(text, `vbaws_up{appliance="site"} 0`)) != 1 {
		t.Errorf("of an appliance that fails: %v\n%s", err, text)
	}
	// A run that writes nothing takes nothing away.
	write(t, site.config, "appliances: []\n")
	if after, err := run(); err == nil || after != text {
		t.Errorf("of an empty configuration: %v\n%s", err, after)
	}
}

func lastLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[strings.LastIndex(s, "\n")+1:]
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	status, help, stderr := once(t, "--help")
	if status != 0 || stderr != "" {
		t.Errorf("--help: status %d, stderr %q", status, stderr)
	}
	app := newApp(new(flags)).Model()
	all := app.Flags
	for _, c := range app.FlattenedCommands() {
		if !strings.Contains(help, "\n"+c.FullCommand+" ") {
			t.Errorf("--help lacks %s", c.FullCommand)
		}
		all = append(all, c.Flags...)
	}
	for _, f := range all {
		if !f.Hidden && strings.Count(help, f.Name+" ")+strings.Count(help, f.Name+"=") == 0 {
			t.Errorf("--help lacks --%s", f.Name)
		}
	}
	status, out, stderr := once(t, "--version")
	if status != 0 || stderr != "" || !strings.HasPrefix(out, "vbaws_exporter, version ") {
		t.Errorf("--version: status %d, %q, %q", status, out, stderr)
	}
}

// TestCannotStart: whatever is wrong, there is one line that says it, after
// what may have been logged, and a status other than 0.
func TestCannotStart(t *testing.T) {
	t.Parallel()
	site := newSite(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dir := t.TempDir()
	wrong, file := filepath.Join(dir, "wrong.yml"), filepath.Join(dir, "file")
	write(t, wrong, "pol_interval: 1m\nappliances: []\n")
	write(t, file, "")
	storage := "--storage.path=" + filepath.Join(dir, "data")
	good := []string{"--config.file=" + site.config, "--web.listen-address=127.0.0.1:0", storage}
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"nonsense"}, "unexpected nonsense"},
		{[]string{"--nonsense"}, "unknown long flag '--nonsense'"},
		{[]string{"--log.level=loud"}, "loud"},
		{nil, "config.yml"},
		{[]string{"collect"}, "config.yml"},
		{[]string{"--config.file=" + wrong}, wrong + `:1:1: unknown key "pol_interval": did you mean poll_interval?`},
		{append(good, "--storage.path="+file), "storage folder"},
		{append(good, "--web.telemetry-path=metrics"), "telemetry path"},
		{append(good, "--web.config.file="+file+"x"), file + "x"},
		{append(good, "--web.listen-address="+listener.Addr().String()), "address already in use"},
	} {
		// The last of two flags is the one that counts.
		args := lastOfEach(test.args)
		status, stdout, stderr := once(t, args...)
		last := lastLine(stderr)
		if status == 0 || stdout != "" || !strings.HasPrefix(last, "vbaws_exporter: ") || !strings.Contains(last, test.want) {
			t.Errorf("%v: status %d\n%s\n%s", args, status, stdout, stderr)
		}
	}
}

// lastOfEach leaves out flags that are given again: kingpin refuses them, or
// takes both.
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

// TestFlagsOfCommands: serve and demo must not share what a flag is read into.
func TestFlagsOfCommands(t *testing.T) {
	var f flags
	app := newApp(&f).Terminate(nil)
	if got, err := app.Parse([]string{"demo", "--web.listen-address=:1", "--log.level=debug"}); got != cmdDemo || err != nil {
		t.Fatal(got, err)
	}
	if got := *f.demo.toolkit.WebListenAddresses; !slices.Equal(got, []string{":1"}) || f.logLevel != "debug" {
		t.Errorf("got %v, %s", got, f.logLevel)
	}
	var serve *kingpin.CmdModel
	for _, c := range app.Model().Commands {
		if c.Default {
			serve = c
		}
	}
	if serve == nil || serve.Name != cmdServe {
		t.Errorf("the default command is %v", serve)
	}
}
