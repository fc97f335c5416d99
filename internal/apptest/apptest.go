// Package apptest runs the exporter as a process, to test its flags, output, signals and
// HTTP. It runs other programs that serve HTTP in the same way, such as Prometheus, and
// it serves simulated appliances and writes a configuration for them.
//
// A test binary builds the exporter once, with the race detector if the test has it.
package apptest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

// Patience is how long a test waits for an event. It only ends tests that fail.
const Patience = 10 * time.Minute

// Await waits until done reports true. If that takes too long, the test fails and shows
// the last value of saw.
func Await(t testing.TB, what string, done func() (ok bool, saw any)) {
	t.Helper()
	end := time.Now().Add(Patience)
	if t, ok := t.(*testing.T); ok {
		// At its deadline, go test fails without this message.
		if deadline, ok := t.Deadline(); ok && deadline.Before(end) {
			end = deadline.Add(-10 * time.Second)
		}
	}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		ok, saw := done()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("timed out waiting for %s; last seen: %v", what, saw)
		}
		time.Sleep(pause)
	}
}

// binary is the exporter that Build has built.
var binary struct {
	once      sync.Once
	dir, path string
	err       error
}

// Main runs the tests of a package for its TestMain, removes the exporter, and exits.
// Tests of processes mostly wait, so it runs more of them in parallel than the default.
func Main(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(4*runtime.GOMAXPROCS(0)))
	}
	code := m.Run()
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// Binary returns the path of the exporter.
func Binary(t testing.TB) string {
	t.Helper()
	if err := Build(); err != nil {
		t.Fatal(err)
	}
	return binary.path
}

// Build builds the exporter, the first time that it is called. Tests call it when they
// need the exporter.
func Build() error {
	binary.once.Do(func() { binary.err = build() })
	return binary.err
}

// build builds the exporter. The test can be in another module of the repository.
func build() error {
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "vbaws_exporter").Output()
	if err != nil {
		return fmt.Errorf("find the exporter's module: %w", err)
	}
	root := strings.TrimSpace(string(module))
	// go test caches a result until a package that the test imports changes, or a file
	// that it reads. No test imports main.go.
	if _, err := os.ReadFile(filepath.Join(root, "main.go")); err != nil {
		return err
	}
	if binary.dir, err = os.MkdirTemp("", "vbaws_exporter"); err != nil {
		return err
	}
	binary.path = filepath.Join(binary.dir, "vbaws_exporter")
	cmd := exec.Command("go", "build", fmt.Sprintf("-race=%t", raceDetector), "-o", binary.path, ".")
	cmd.Dir = root
	cmd.Env = append(cmd.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the exporter: %w\n%s", err, out)
	}
	return nil
}

// Command returns a command that runs the exporter with arguments.
func Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), Binary(t), args...)
}

// Once runs the exporter until it ends.
func Once(t testing.TB, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	cmd := Command(t, args...)
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

// LastLine returns the last line of a text.
func LastLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[strings.LastIndex(s, "\n")+1:]
}

// hosts counts the addresses that newHost has returned.
var hosts atomic.Uint32

// newHost returns an address of the loopback interface that no other server uses, in this
// process or another. On a shared one, the port of a server that has ended is soon
// another's.
func newHost() string {
	if runtime.GOOS == "darwin" { // has only one
		return "127.0.0.1"
	}
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+pid/256%254, pid%256, 1+hosts.Add(1)%254)
}

// Process is a program that serves HTTP. After it has ended, Start starts it again at
// the same address.
type Process struct {
	Address string // host and port
	URL     string
	Tmp     string       // its folder for temporary files
	Stdout  bytes.Buffer // complete when it has ended
	Access

	t     testing.TB
	path  string
	args  []string
	log   log
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
	err   error         // of cmd, when it has ended
}

// Access has what requests to a process need. The zero value is for a process without
// TLS and accounts.
type Access struct {
	// Client is nil without TLS. Each process has an address of its own, so a client
	// that verifies the certificate of KeyPair sets ServerName.
	Client             *http.Client
	Username, Password string
}

// Start starts the exporter and waits until it is ready.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	return StartWith(t, Access{}, args...)
}

// StartWith is like Start, for an exporter with TLS or accounts.
func StartWith(t testing.TB, how Access, args ...string) *Process {
	t.Helper()
	return prepare(t, Binary(t), how, args).start(http.StatusOK)
}

// Launch is like StartWith, but waits only until the exporter answers requests.
func Launch(t testing.TB, how Access, args ...string) *Process {
	t.Helper()
	return prepare(t, Binary(t), how, args).start(0)
}

// StartProgram is like Start, for another program with the flag --web.listen-address and
// the path /-/ready.
func StartProgram(t testing.TB, path string, args ...string) *Process {
	t.Helper()
	return prepare(t, path, Access{}, args).start(http.StatusOK)
}

func prepare(t testing.TB, path string, how Access, args []string) *Process {
	t.Helper()
	l, err := net.Listen("tcp", newHost()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := &Process{Address: l.Addr().String(), Tmp: t.TempDir(), Access: how, t: t, path: path}
	p.args = append(slices.Clip(args), "--web.listen-address="+p.Address)
	p.URL = "https://" + p.Address
	if how.Client == nil {
		p.Client, p.URL = http.DefaultClient, "http://"+p.Address
	}
	t.Cleanup(func() {
		if p.ended != nil {
			p.Kill()
		}
		if t.Failed() {
			log := p.Log()
			t.Logf("%s: %s", filepath.Base(path), log[max(0, len(log)-8000):])
		}
	})
	return p
}

// Start starts the process again, after it has ended, and waits until it is ready.
func (p *Process) Start() {
	p.t.Helper()
	p.start(http.StatusOK)
}

// start starts the process and waits until /-/ready answers with a status; 0 is any
// status.
func (p *Process) start(ready int) *Process {
	p.t.Helper()
	// The test's context ends before the cleanup that waits for the process.
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.Tmp)
	p.cmd.Stdout, p.cmd.Stderr = &p.Stdout, &p.log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	Await(p.t, filepath.Base(p.path)+" being ready", func() (bool, any) {
		select {
		case <-p.ended:
			p.t.Fatalf("%s ended: %v", p.path, p.err)
		default:
		}
		resp, _, err := p.try(http.MethodGet, "/-/ready", nil)
		if err != nil {
			return false, err
		}
		return ready == 0 || resp.StatusCode == ready, resp.Status
	})
	return p
}

// log collects what a process logs.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// Log returns what the process has logged.
func (p *Process) Log() string {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return p.log.text.String()
}

// Signal sends the process a signal, unless it has ended.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// Kill ends the process as kill -9 does.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// Stop ends the process with a signal. It must exit with status 0.
func (p *Process) Stop(s os.Signal) {
	p.t.Helper()
	p.Signal(s)
	p.Await("the end of the process", func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	if p.err != nil {
		p.t.Errorf("after %v: %v", s, p.err)
	}
}

// Pid returns the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Await waits until done reports true.
func (p *Process) Await(what string, done func() bool) {
	p.t.Helper()
	Await(p.t, what, func() (bool, any) { return done(), "see the log" })
}

// Get returns the answer to a request.
func (p *Process) Get(path string) (code int, body string) {
	p.t.Helper()
	return p.Send(http.MethodGet, path)
}

// Send returns the answer to a request with another method.
func (p *Process) Send(method, path string) (code int, body string) {
	p.t.Helper()
	resp, body := p.Do(method, path, nil)
	return resp.StatusCode, body
}

// Do returns the answer to a request with more headers, and its body.
func (p *Process) Do(method, path string, header http.Header) (resp *http.Response, body string) {
	p.t.Helper()
	resp, body, err := p.try(method, path, header)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp, body
}

func (p *Process) try(method, path string, header http.Header) (*http.Response, string, error) {
	req, err := http.NewRequest(method, p.URL+path, nil)
	if err != nil {
		return nil, "", err
	}
	if header != nil {
		req.Header = header
	}
	if p.Username != "" {
		req.SetBasicAuth(p.Username, p.Password)
	}
	resp, err := p.Client.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

// Series returns the samples whose line begins with prefix.
func (p *Process) Series(prefix string) []string {
	p.t.Helper()
	_, body := p.Get("/metrics")
	return Lines(body, prefix)
}

// Lines returns the lines of a text that begin with prefix.
func Lines(text, prefix string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

// Value returns the value of the only series that begins with prefix, or -1 if there is
// none or the scrape is refused.
func (p *Process) Value(prefix string) float64 {
	p.t.Helper()
	s := p.Series(prefix)
	if len(s) != 1 {
		return -1
	}
	v, err := strconv.ParseFloat(s[0][strings.LastIndex(s[0], " ")+1:], 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// Site is a simulated appliance that is served over TLS.
type Site struct {
	*vbawstest.Server
	Name     string
	Settings string // more lines of its entry in a configuration
	Config   string // of NewSite: path of a configuration for this appliance alone
}

// NewSite returns an appliance with one policy and two days of sessions.
func NewSite(t testing.TB) *Site {
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
	s := Serve(t, "site", a)
	s.Config = Config(t, "", s)
	return s
}

// Serve serves an appliance at an address of its own, until the test ends.
func Serve(t testing.TB, name string, a *vbawstest.Appliance) *Site {
	t.Helper()
	server, err := vbawstest.Listen(a, newHost()+":0", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return &Site{Server: server, Name: name}
}

// Config writes a configuration for sites into a folder of its own, with their
// common certificate as ca.pem and the password as secret, and returns its path. Each is
// polled every 5 seconds, the shortest interval. settings are more lines of it.
func Config(t testing.TB, settings string, sites ...*Site) string {
	t.Helper()
	dir := t.TempDir()
	var text strings.Builder
	text.WriteString("poll_interval: 5s\n" + settings + "appliances:\n")
	for _, s := range sites {
		fmt.Fprintf(&text, `  - name: %s
    url: %s
    username: %s
    password_file: secret
    tls_config:
      ca_file: ca.pem
      server_name: example.com
%s`, s.Name, s.URL, vbawstest.DefaultUsername, s.Settings)
	}
	path := filepath.Join(dir, "config.yml")
	Write(t, path, text.String())
	Write(t, filepath.Join(dir, "ca.pem"), string(sites[0].CertPEM()))
	Write(t, filepath.Join(dir, "secret"), vbawstest.DefaultPassword+"\n")
	return path
}

// Write writes a file.
func Write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// KeyPair makes a certificate for 127.0.0.1 and returns it and its key as PEM.
func KeyPair(t testing.TB) (cert, key []byte) {
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
