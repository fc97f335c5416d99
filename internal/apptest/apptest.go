// Package apptest runs the exporter as a process, for tests of what a user sees of
// it: flags, output, signals and HTTP. It also has a simulated appliance with a
// configuration for it.
//
// The exporter is package main, built once for a test binary, and with the race
// detector if the test has it.
package apptest

import (
	"bufio"
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
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vbaws_exporter/internal/docstest"
	"vbaws_exporter/vbaws/vbawstest"
)

// Patience is how long a test waits for what must come. It only ends tests that
// fail.
const Patience = 2 * time.Minute

// binary is the folder of the exporter, and the exporter.
var binary struct {
	once      sync.Once
	dir, path string
	err       error
}

// Main is what TestMain calls: it runs the tests, removes the exporter, and exits. Tests
// of processes wait most of the time, so more of them are in parallel than by default.
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
	binary.once.Do(build)
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

func build() {
	root, err := docstest.Root()
	if err == nil {
		// go test knows of files that a test reads, and of packages that it imports, but
		// not what go build reads: without this, a result of before a change would do.
		_, err = os.ReadFile(filepath.Join(root, "main.go"))
	}
	if err == nil {
		binary.dir, err = os.MkdirTemp("", "vbaws_exporter")
	}
	if err != nil {
		binary.err = err
		return
	}
	binary.path = filepath.Join(binary.dir, "vbaws_exporter")
	cmd := exec.Command("go", "build", fmt.Sprintf("-race=%t", raceDetector), "-o", binary.path, ".")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		binary.err = fmt.Errorf("build the exporter: %w\n%s", err, out)
	}
}

// Command returns the exporter with arguments, yet to be started.
func Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), Binary(t), args...)
}

// Once runs the exporter to its end.
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

// Process is a running exporter that serves HTTP.
type Process struct {
	URL    string
	Tmp    string       // its folder for temporary files
	Stdout bytes.Buffer // complete when it has ended
	Access

	t    testing.TB
	cmd  *exec.Cmd
	logs sync.WaitGroup

	mu  sync.Mutex
	err bytes.Buffer
}

// Access is how to reach a process. The zero value is for one without TLS and
// accounts.
type Access struct {
	Client             *http.Client // nil: the default one, and no TLS
	Username, Password string
}

// Start starts the exporter on a port of its choice and waits until it is ready.
func Start(t testing.TB, args ...string) *Process {
	t.Helper()
	return StartWith(t, Access{}, args...)
}

// StartWith is Start for an exporter with TLS or accounts.
func StartWith(t testing.TB, how Access, args ...string) *Process {
	t.Helper()
	p := Launch(t, how, args...)
	p.Await("the first poll", func() bool { code, _ := p.Get("/-/ready"); return code == http.StatusOK })
	return p
}

// Launch is StartWith that waits only until the exporter listens.
func Launch(t testing.TB, how Access, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, Access: how, cmd: Command(t, append(args, "--web.listen-address=127.0.0.1:0")...), Tmp: t.TempDir()}
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.Tmp)
	p.cmd.Stdout = &p.Stdout
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
			t.Fatalf("it ended: %s", p.Log())
		}
		p.URL = "http://" + a
		if how.Client == nil {
			p.Client = http.DefaultClient
		} else {
			p.URL = "https://" + a
		}
	case <-time.After(Patience):
		t.Fatalf("it doesn't listen: %s", p.Log())
	}
	return p
}

// listening matches the line in either format.
var listening = regexp.MustCompile(`^{"address":"([^"]+)".*"msg":"Listening on"|msg="Listening on" address=(\S+)`)

// readLog keeps the log, and says where the process listens.
func (p *Process) readLog(r io.Reader, address chan<- string) {
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

// Log returns what it has logged.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// Signal sends it a signal.
func (p *Process) Signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Kill ends it at once.
func (p *Process) Kill() { p.cmd.Process.Kill() }

// Pid returns the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Await waits until done reports true.
func (p *Process) Await(what string, done func() bool) {
	p.t.Helper()
	for end := time.Now().Add(Patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("%s doesn't come; log:\n%s", what, p.Log())
		}
	}
}

// Get returns the answer to a request.
func (p *Process) Get(path string) (code int, body string) {
	p.t.Helper()
	return p.Send(http.MethodGet, path)
}

// Send returns the answer to a request with another method.
func (p *Process) Send(method, path string) (code int, body string) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.URL+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.Username != "" {
		req.SetBasicAuth(p.Username, p.Password)
	}
	resp, err := p.Client.Do(req)
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

// Stop ends the exporter by a signal, which must be no failure.
func (p *Process) Stop(s os.Signal) {
	p.t.Helper()
	p.Signal(s)
	p.logs.Wait()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("after %v: %v; log:\n%s", s, err, p.Log())
	}
}

// Value returns the value of the only series that begins with prefix; -1 if
// there is none, or the scrape was refused.
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

// Site is a simulated appliance and the configuration for it.
type Site struct {
	*vbawstest.Server
	Config string // path of the file
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
	server, err := vbawstest.Listen(a, "127.0.0.1:0", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	dir := t.TempDir()
	s := &Site{server, filepath.Join(dir, "config.yml")}
	Write(t, filepath.Join(dir, "ca.pem"), string(server.CertPEM()))
	Write(t, filepath.Join(dir, "secret"), vbawstest.DefaultPassword+"\n")
	Write(t, s.Config, fmt.Sprintf(`
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

// Write writes a file.
func Write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// KeyPair makes a certificate for 127.0.0.1 and returns it, as PEM, with its key.
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
