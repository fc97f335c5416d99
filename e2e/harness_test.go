package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// site is a simulated appliance that is served over TLS.
type site struct{ *apptest.Site }

func newSite(t *testing.T, name string, cfg vbawstest.Config) *site {
	t.Helper()
	return &site{apptest.Serve(t, name, vbawstest.New(cfg))}
}

// policy adds an enabled policy without a schedule.
func (s *site) policy(name string, w vbawstest.Workload) vbawstest.Policy {
	return s.PutPolicy(vbawstest.Policy{Name: name, Workload: w, Enabled: true})
}

// session starts a session of a policy, and returns its id.
func (s *site) session(p vbawstest.Policy, extendedType string) string {
	return s.Start(vbawstest.Session{Type: "Policy", ExtendedType: extendedType, Name: p.Name, PolicyID: p.ID}).ID
}

// fail adds a session that failed 6 minutes ago. A retry would have started by now, so the
// policy is failing.
func (s *site) fail(p vbawstest.Policy, extendedType string) {
	now := s.Now().Add(-6 * time.Minute)
	s.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: extendedType, Name: p.Name, PolicyID: p.ID,
		Start: now.Add(-time.Second), Stop: now, Status: vbawstest.StatusFailed,
	})
}

// exporterConfig writes a configuration for the sites, with more settings, and returns
// its path.
func exporterConfig(t *testing.T, settings string, sites ...*site) string {
	t.Helper()
	all := make([]*apptest.Site, len(sites))
	for i, s := range sites {
		all[i] = s.Site
	}
	return apptest.Config(t, settings, all...)
}

func startExporter(t *testing.T, settings string, sites ...*site) *apptest.Process {
	t.Helper()
	return apptest.Start(t, "--config.file="+exporterConfig(t, settings, sites...), "--storage.path="+filepath.Join(t.TempDir(), "data"))
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

// edit is a regular expression, which must match the edited text, and its replacement.
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
// for and keep_firing_for, but not in the ranges of expressions.
var hurried = []edit{
	{`(for: \d+)m\b`, "${1}s"},
	{`(for: \d+)h\b`, "${1}m"},
}

// prometheus is a running Prometheus.
type prometheus struct {
	*apptest.Process
	t       *testing.T
	api     promv1.API
	options prometheusOptions
}

// prometheusOptions are how a Prometheus differs from the example.
type prometheusOptions struct {
	interval     string // of scrapes; empty is 1s
	alertmanager string // address; empty is none
	rules        []edit // of alerts.yml
	features     string
	classic      bool   // scrapes no native histograms, like older versions
	binary       string // path; empty is the one that the tests build
}

// startPrometheus starts a Prometheus that scrapes target, with the example's
// configuration and the hurried alerts.
func startPrometheus(t *testing.T, target string, o prometheusOptions) *prometheus {
	t.Helper()
	dir := t.TempDir()
	if o.interval == "" {
		o.interval = "1s"
	}
	if o.alertmanager == "" {
		o.alertmanager = "127.0.0.1:1"
	}
	apptest.Write(t, filepath.Join(dir, "alerts.yml"), edited(t, shipped(t, "alerts.yml"), slices.Concat(hurried, o.rules)...))
	native := []edit{{`# (scrape_native_histograms|always_scrape_classic_histograms): true`, "$1: true"}}
	if o.classic {
		native = nil
	}
	apptest.Write(t, filepath.Join(dir, "prometheus.yml"), edited(t, shipped(t, "prometheus.yml"), append(native,
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
	p := apptest.StartProgram(t, o.binary, args...)
	client, err := api.NewClient(api.Config{Address: p.URL})
	if err != nil {
		t.Fatal(err)
	}
	return &prometheus{p, t, promv1.NewAPI(client), o}
}

// query evaluates an expression now.
func (p *prometheus) query(expr string) model.Vector {
	p.t.Helper()
	return p.queryAt(expr, time.Now())
}

// queryAt evaluates an expression. It sorts the series by their labels.
func (p *prometheus) queryAt(expr string, at time.Time) model.Vector {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), apptest.Patience)
	defer cancel()
	v, _, _, err := p.api.Query(ctx, expr, at)
	if err != nil {
		p.t.Fatalf("%s: %v", expr, err)
	}
	vector := v.(model.Vector)
	slices.SortFunc(vector, func(a, b *model.Sample) int { return strings.Compare(a.Metric.String(), b.Metric.String()) })
	return vector
}

// awaitQuery waits until an expression has the given values, sorted by their labels.
func (p *prometheus) awaitQuery(expr string, want ...float64) {
	p.t.Helper()
	apptest.Await(p.t, expr, func() (bool, any) {
		v := p.query(expr)
		got := make([]float64, len(v))
		for i, s := range v {
			got[i] = float64(s.Value)
		}
		return slices.Equal(got, want), v
	})
}

// checkRules fails the test if a rule can't be evaluated, for example if a join is not
// unique.
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

// notification is a notification as Alertmanager sends it to a webhook.
type notification struct {
	Receiver    string
	Status      string
	GroupLabels map[string]string
	Alerts      []struct {
		Status              string
		Labels, Annotations map[string]string
	}
}

// receiver collects Alertmanager's notifications.
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

// events returns the events so far of alerts with these labels, in order.
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

// notifications returns the notifications with an alert that has these labels.
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
	apptest.Await(t, fmt.Sprintf("%s alert %v", status, labels), func() (bool, any) {
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

// chain has the programs between an appliance and the receiver of notifications.
type chain struct {
	exporter   *apptest.Process
	prometheus *prometheus
	*receiver
}

// startChain starts a chain, with the example's routing and inhibition. Groups of alerts
// wait for seconds instead of minutes.
func startChain(t *testing.T, settings string, sites ...*site) *chain {
	t.Helper()
	return startChainOver(t, startExporter(t, settings, sites...))
}

// startChainOver starts a chain with a running exporter, and edits the rules.
func startChainOver(t *testing.T, exporter *apptest.Process, rules ...edit) *chain {
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
	apptest.Write(t, filepath.Join(dir, "alertmanager.yml"), text)
	am := apptest.StartProgram(t, tools.alertmanager,
		"--config.file="+filepath.Join(dir, "alertmanager.yml"), "--storage.path="+filepath.Join(dir, "data"),
		"--cluster.listen-address=")
	c.prometheus = startPrometheus(t, c.exporter.Address, prometheusOptions{alertmanager: am.Address, rules: rules})
	return c
}
