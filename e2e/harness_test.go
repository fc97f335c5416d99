package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"vbaws_exporter/vbaws/vbawstest"
)

// patience is how long a test waits for what must come. It only ends tests that
// fail.
const patience = 6 * time.Minute

// await waits until done reports true. What it says otherwise goes into the
// failure.
func await(t *testing.T, what string, done func() (ok bool, saw any)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		ok, saw := done()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s doesn't come; the last that was seen: %v", what, saw)
		}
	}
}

// process is a program that serves HTTP. It can be started again after it was
// killed, at the same address.
type process struct {
	t       *testing.T
	name    string
	args    []string
	ready   string // path that answers 200 once it serves
	address string
	log     string // path of a file
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd has ended
}

// hosts counts the addresses that newHost has given.
var hosts atomic.Uint32

// newHost returns an address of the loopback interface that no other server has, of this
// process or another: on a shared one, the port of a server that went away is soon
// another's.
func newHost() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+pid/256%254, pid%256, hosts.Add(1))
}

// freeAddress returns an address without a listener.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", newHost()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts a program, whose arguments name a free address to listen on, and waits
// until it is ready.
func start(t *testing.T, path, ready string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: path, args: args, ready: ready, address: freeAddress(t)}
	p.log = filepath.Join(t.TempDir(), filepath.Base(path)+".log")
	t.Cleanup(func() {
		if p.ended != nil {
			p.kill()
		}
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(path), tail(p.log))
		}
	})
	p.start()
	return p
}

func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	// Not bound to the test's context, which ends before the cleanup that
	// waits for the program.
	p.cmd = exec.Command(p.name, append(p.args, "--web.listen-address="+p.address)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.ended = make(chan struct{})
	go func() {
		p.cmd.Wait() // says no more than that it was killed
		close(p.ended)
	}()
	await(p.t, p.name+" being ready", func() (bool, any) {
		select {
		case <-p.ended:
			p.t.Fatalf("%s ended: %s", p.name, tail(p.log))
		default:
		}
		resp, err := http.Get(p.url() + p.ready)
		if err != nil {
			return false, err
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
}

// kill ends it at once, as by kill -9, and waits until it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

func (p *process) url() string { return "http://" + p.address }

// get returns the body of the answer to a request that wants accept.
func (p *process) get(path, accept string) (body []byte, contentType string) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodGet, p.url()+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		p.t.Fatalf("GET %s: %s, %v", path, resp.Status, err)
	}
	return body, resp.Header.Get("Content-Type")
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// site is a simulated appliance that is served over TLS.
type site struct {
	*vbawstest.Appliance
	name   string
	server *vbawstest.Server
	// settings are more lines of its entry in the configuration.
	settings string
}

func newSite(t *testing.T, name string, cfg vbawstest.Config) *site {
	t.Helper()
	s := &site{Appliance: vbawstest.New(cfg), name: name}
	s.serve(t, newHost()+":0")
	t.Cleanup(func() { s.server.Close() })
	return s
}

func (s *site) serve(t *testing.T, address string) {
	t.Helper()
	var err error
	if s.server, err = vbawstest.Listen(s.Appliance, address, true); err != nil {
		t.Fatal(err)
	}
}

// policy adds an enabled policy without a schedule.
func (s *site) policy(name string, w vbawstest.Workload) vbawstest.Policy {
	return s.PutPolicy(vbawstest.Policy{Name: name, Workload: w, Enabled: true})
}

// session begins a session of a policy, and returns its id.
func (s *site) session(p vbawstest.Policy, extendedType string) string {
	return s.Start(vbawstest.Session{Type: "Policy", ExtendedType: extendedType, Name: p.Name, PolicyID: p.ID}).ID
}

// fail adds a session that failed 6 minutes ago: no retry can begin any more, so the policy is
// failing.
func (s *site) fail(p vbawstest.Policy, extendedType string) {
	now := s.Now().Add(-6 * time.Minute)
	s.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: extendedType, Name: p.Name, PolicyID: p.ID,
		Start: now.Add(-time.Second), Stop: now, Status: vbawstest.StatusFailed,
	})
}

// exporterConfig writes a configuration for the sites, into a folder of its own,
// and returns its path. A poll comes every 5 seconds, which is as often as
// it may.
func exporterConfig(t *testing.T, hold time.Duration, sites ...*site) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("poll_interval: 5s\nnew_series_hold: %s\nappliances:\n", hold)
	for _, s := range sites {
		write(t, filepath.Join(dir, s.name+".pem"), string(s.server.CertPEM()))
		text += fmt.Sprintf("  - name: %s\n    url: %s\n    username: %s\n    password: %s\n    tls_config: {ca_file: %s.pem, server_name: example.com}\n%s",
			s.name, s.server.URL, vbawstest.DefaultUsername, vbawstest.DefaultPassword, s.name, s.settings)
	}
	path := filepath.Join(dir, "config.yml")
	write(t, path, text)
	return path
}

func startExporter(t *testing.T, hold time.Duration, sites ...*site) *process {
	t.Helper()
	return start(t, tools.exporter, "/-/ready",
		"--config.file="+exporterConfig(t, hold, sites...), "--storage.path="+filepath.Join(t.TempDir(), "data"))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shipped returns a file of ../prometheus.
func shipped(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "prometheus", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// edit is a regular expression, which must occur in what is edited, and what
// comes in its place.
type edit struct{ pattern, replacement string }

func edited(t *testing.T, text string, edits ...edit) string {
	t.Helper()
	for _, e := range edits {
		re := regexp.MustCompile(e.pattern)
		if !re.MatchString(text) {
			t.Fatalf("there is no %s", e.pattern)
		}
		text = re.ReplaceAllString(text, e.replacement)
	}
	return text
}

// hurried are edits of alerts.yml that make a minute a second, and an hour a minute, in
// what alerts wait for. Windows stay as long as they are.
var hurried = []edit{
	{`(for: \d+)m\b`, "${1}s"},
	{`(for: \d+)h\b`, "${1}m"},
}

// prometheus is a running Prometheus.
type prometheus struct {
	*process
	api promv1.API
}

// prometheusOptions are how a Prometheus differs from the example.
type prometheusOptions struct {
	interval     string // of scrapes; empty is 1s
	alertmanager string // address; empty is none
	rules        []edit // of alerts.yml
	features     string
	classic      bool   // scrapes no native histograms, as older ones
	binary       string // path; empty is the one that the tests build
}

// startPrometheus starts one with the example's configuration, the shipped alerts,
// hurried, and a target.
func startPrometheus(t *testing.T, target string, o prometheusOptions) *prometheus {
	t.Helper()
	dir := t.TempDir()
	if o.interval == "" {
		o.interval = "1s"
	}
	if o.alertmanager == "" {
		o.alertmanager = "127.0.0.1:1"
	}
	write(t, filepath.Join(dir, "alerts.yml"), edited(t, shipped(t, "alerts.yml"), slices.Concat(hurried, o.rules)...))
	native := []edit{{`# (scrape_native_histograms|always_scrape_classic_histograms): true`, "$1: true"}}
	if o.classic {
		native = nil
	}
	write(t, filepath.Join(dir, "prometheus.yml"), edited(t, shipped(t, "prometheus.yml"), append(native,
		edit{`evaluation_interval: 1m`, "evaluation_interval: 1s"},
		edit{`scrape_interval: 1m`, "scrape_interval: " + o.interval + "\n    scrape_timeout: " + o.interval},
		edit{`localhost:9093`, o.alertmanager},
		edit{`localhost:10105`, target},
	)...))
	args := []string{
		"--config.file=" + filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path=" + filepath.Join(dir, "data"),
		"--log.level=warn",
	}
	if o.features != "" {
		args = append(args, "--enable-feature="+o.features)
	}
	if o.binary == "" {
		o.binary = tools.prometheus
	}
	p := start(t, o.binary, "/-/ready", args...)
	client, err := api.NewClient(api.Config{Address: p.url()})
	if err != nil {
		t.Fatal(err)
	}
	return &prometheus{p, promv1.NewAPI(client)}
}

// query evaluates an expression now.
func (p *prometheus) query(expr string) model.Vector {
	p.t.Helper()
	return p.queryAt(expr, time.Now())
}

// queryAt evaluates an expression. Series are in order of their labels.
func (p *prometheus) queryAt(expr string, at time.Time) model.Vector {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	v, _, _, err := p.api.Query(ctx, expr, at)
	if err != nil {
		p.t.Fatalf("%s: %v", expr, err)
	}
	vector := v.(model.Vector)
	slices.SortFunc(vector, func(a, b *model.Sample) int { return strings.Compare(a.Metric.String(), b.Metric.String()) })
	return vector
}

// awaitQuery waits until an expression has the given values, in order of their labels.
func (p *prometheus) awaitQuery(expr string, want ...float64) {
	p.t.Helper()
	await(p.t, expr, func() (bool, any) {
		v := p.query(expr)
		got := make([]float64, len(v))
		for i, s := range v {
			got[i] = float64(s.Value)
		}
		return slices.Equal(got, want), v
	})
}

// checkRules fails where a rule can't be evaluated, as where a join isn't unique.
func (p *prometheus) checkRules() {
	p.t.Helper()
	rules, err := p.api.Rules(context.Background(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			switch r := r.(type) {
			case promv1.AlertingRule:
				if r.LastError != "" {
					p.t.Errorf("alert %s: %s", r.Name, r.LastError)
				}
			case promv1.RecordingRule:
				if r.LastError != "" {
					p.t.Errorf("rule %s: %s", r.Name, r.LastError)
				}
			}
		}
	}
	if n == 0 {
		p.t.Error("there are no rules")
	}
}

// notification is what Alertmanager sends to a webhook.
type notification struct {
	Receiver    string
	Status      string
	GroupLabels map[string]string
	Alerts      []struct {
		Status              string
		Labels, Annotations map[string]string
	}
}

// receiver takes Alertmanager's notifications.
type receiver struct {
	mu  sync.Mutex
	got []notification
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var n notification
	if err := json.NewDecoder(req.Body).Decode(&n); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n.Receiver = strings.TrimPrefix(req.URL.Path, "/")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, n)
}

// event is one alert in one notification.
type event struct {
	receiver, status    string
	labels, annotations map[string]string
}

func (e event) String() string {
	keys := slices.Sorted(maps.Keys(e.labels))
	var b strings.Builder
	fmt.Fprintf(&b, "%s to %s:", e.status, e.receiver)
	for _, k := range keys {
		fmt.Fprintf(&b, " %s=%q", k, e.labels[k])
	}
	return b.String()
}

// events returns what was received so far of alerts with these labels, in order.
func (r *receiver) events(labels map[string]string) []event {
	r.mu.Lock()
	defer r.mu.Unlock()
	var events []event
	for _, n := range r.got {
		for _, a := range n.Alerts {
			if has(a.Labels, labels) {
				events = append(events, event{n.Receiver, a.Status, a.Labels, a.Annotations})
			}
		}
	}
	return events
}

// notifications returns those with an alert that has these labels.
func (r *receiver) notifications(labels map[string]string) []notification {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []notification
	for _, n := range r.got {
		if slices.ContainsFunc(n.Alerts, func(a struct {
			Status              string
			Labels, Annotations map[string]string
		}) bool {
			return has(a.Labels, labels)
		}) {
			found = append(found, n)
		}
	}
	return found
}

func has(labels, want map[string]string) bool {
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// await waits for an alert with these labels and status, and returns it.
func (r *receiver) await(t *testing.T, status string, labels map[string]string) event {
	t.Helper()
	var found event
	await(t, fmt.Sprintf("%s alert %v", status, labels), func() (bool, any) {
		for _, e := range r.events(labels) {
			if e.status == status {
				found = e
				return true, nil
			}
		}
		return false, r.events(nil)
	})
	return found
}

// chain is all that there is between an appliance and who is notified.
type chain struct {
	exporter   *process
	prometheus *prometheus
	*receiver
}

// startChain starts it, with the example's routing and inhibition. Groups wait
// some seconds in place of half a minute.
func startChain(t *testing.T, hold time.Duration, sites ...*site) *chain {
	t.Helper()
	return startChainOver(t, startExporter(t, hold, sites...))
}

// startChainOver starts what comes after an exporter, with some edits of the rules.
func startChainOver(t *testing.T, exporter *process, rules ...edit) *chain {
	t.Helper()
	c := &chain{exporter: exporter, receiver: &receiver{}}
	server := httptest.NewServer(c.receiver)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	text := edited(t, shipped(t, "alertmanager.yml"),
		edit{`group_wait: 1m`, "group_wait: 3s"}, // some evaluations
		edit{`group_interval: \d+m`, "group_interval: 1s"},
		edit{`(?m)^  - name: (pager|ticket|watchdog)$`, "  - name: $1\n    webhook_configs:\n      - url: " + server.URL + "/$1"},
	)
	write(t, filepath.Join(dir, "alertmanager.yml"), text)
	am := start(t, tools.alertmanager, "/-/ready",
		"--config.file="+filepath.Join(dir, "alertmanager.yml"), "--storage.path="+filepath.Join(dir, "data"),
		"--cluster.listen-address=")
	c.prometheus = startPrometheus(t, c.exporter.address, prometheusOptions{alertmanager: am.address, rules: rules})
	return c
}

// lines returns the lines of text that begin with prefix.
func lines(text []byte, prefix string) []string {
	var found []string
	for line := range bytes.Lines(text) {
		if s := strings.TrimSuffix(string(line), "\n"); strings.HasPrefix(s, prefix) {
			found = append(found, s)
		}
	}
	return found
}
