package simulation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/collector/verdict/oracle"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws/vbawstest"
)

// This file plays a world minute by minute: the simulated appliance follows the script,
// the exporter polls it, Prometheus scrapes the exporter and evaluates the rules.

const appliance = polltest.Appliance

// play is a world being played.
type play struct {
	t     *testing.T
	world *world
	now   int64
	clock *vbawstest.Clock
	a     *vbawstest.Appliance
	todo  map[int64][]func()

	storage     poller.Storage
	exporter    *polltest.Exporter // nil while there is none
	failures    int                // of polls in a row
	nextPoll    int64              // of the exporter
	unreachable bool

	// listed has the workloads whose policies the current poll lists.
	mu       sync.Mutex
	listed   map[string]bool
	seen     map[*policy][]int64 // when each era was seen; 0: never
	polls    []int64             // that succeeded
	polled   map[int64]int64     // the newest poll of the exporter, by minute
	listings map[string][]int64  // by workload
	scrapes  map[int64]bool      // that succeeded
	reports  map[string][]report // of each policy

	prometheus *prometheus
	// disturbed is the last minute without an exporter, with a restart or with a failed
	// poll. After another hour, alerts that are not on policies no longer change.
	disturbed int64
	thorough  bool // evaluate all rules each minute
}

// report is the verdict on a policy in the metrics, from a minute on, in the form of the
// oracle.
type report struct {
	at      int64
	verdict string
}

// newPlay prepares a world. rules is the path of a rules file.
func newPlay(t *testing.T, w *world, rules string) *play {
	zone, err := time.LoadLocation(w.zone)
	if err != nil {
		t.Fatal(err)
	}
	p := &play{
		t: t, world: w, clock: vbawstest.NewClock(time.Unix(w.from, 0).UTC()),
		todo: make(map[int64][]func()), seen: make(map[*policy][]int64), scrapes: make(map[int64]bool), polled: make(map[int64]int64), listings: make(map[string][]int64),
		reports: make(map[string][]report), storage: store.NewMemory(),
	}
	p.a = vbawstest.New(vbawstest.Config{Now: p.clock.Now, Zone: zone, Product: w.product, NamedVPC: true, Forgetful: true})
	if w.unzoned {
		p.a.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Route: "/api/v1/settings/dateTime", Status: http.StatusForbidden, Count: -1})
	}
	p.a.OnRequest(func(r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/v1/vpc/policy"):
			p.listed["vpc"] = true
		case strings.HasPrefix(r.URL.Path, "/api/v1/virtualMachines/policies"), r.URL.Path == "/api/v1/policies":
			p.listed["ec2"] = true
		}
	})
	for _, pol := range w.policies {
		p.plan(pol)
	}
	p.prometheus = newPrometheus(t, rules)
	return p
}

func (p *play) at(t int64, do func()) { p.todo[t] = append(p.todo[t], do) }

// plan schedules what happens to a policy.
func (p *play) plan(pol *policy) {
	p.seen[pol] = make([]int64, len(pol.Eras))
	for i, e := range pol.Eras {
		p.at(e.From, func() {
			c := pol.changes[i]
			if i > 0 && pol.changes[i-1].id != c.id {
				p.a.DeletePolicy(pol.changes[i-1].id)
			}
			p.a.PutPolicy(vbawstest.Policy{
				ID: c.id, Name: pol.name, Workload: pol.workload, Enabled: e.Enabled, Schedule: c.schedule, Every: c.every,
			})
		})
	}
	for _, s := range pol.Sessions {
		id := new(string)
		p.at(s.Start, func() {
			i := slices.IndexFunc(pol.Eras, func(e oracle.Era) bool { return e.From > s.Start })
			if i < 0 {
				i = len(pol.Eras)
			}
			*id = p.a.Start(vbawstest.Session{
				Type: "Policy", ExtendedType: s.Type, Name: pol.name, PolicyID: pol.changes[max(0, i-1)].id,
			}).ID
		})
		p.at(s.End, func() { p.a.Finish(*id, s.Status, time.Time{}) })
	}
}

// run plays the world to its end.
func (p *play) run() {
	for p.now = p.world.from; p.now <= p.world.to; p.now += minute {
		p.clock.Set(time.Unix(p.now, 0).UTC())
		for _, do := range p.todo[p.now] {
			do()
		}
		p.operate()
		p.scrape()
		p.prometheus.evaluate(p.now, p.thorough || p.now%(5*minute) == 0 || p.now-p.disturbed <= hour)
	}
	p.prometheus.end(p.world.to)
}

// operate ends, starts or polls with the exporter.
func (p *play) operate() {
	w := p.world
	switch {
	case inAny(w.gone, p.now):
		p.exporter, p.disturbed = nil, p.now
		return
	case p.exporter == nil || w.restarts[p.now]:
		p.start()
	}
	if p.now < p.nextPoll {
		p.polled[p.now] = p.polled[p.now-minute]
		return
	}
	p.polled[p.now] = p.now
	p.unreachable = inAny(w.unreachable, p.now)
	var refused *vbawstest.Injection
	if inAny(w.refused, p.now) {
		// Also for requests other than the login, since the token is still valid.
		refused = p.a.Inject(vbawstest.Fault{Kind: vbawstest.FaultStatus, Status: http.StatusUnauthorized, Count: -1})
	}
	p.listed = make(map[string]bool)
	err := p.exporter.Poll(context.Background())
	if refused != nil {
		refused.Remove()
	}
	if failed := p.unreachable || refused != nil; failed != (err != nil) {
		p.t.Fatalf("seed %d: the poll at %s: %v", w.seed, stamp(p.now), err)
	}
	p.nextPoll = p.now + minute
	if err != nil {
		p.disturbed = p.now
		// The real delay is random.
		p.failures++
		p.nextPoll = p.now + int64(min(5, 1<<min(p.failures-1, 3)))*minute
		return
	}
	p.failures = 0
	p.polls = append(p.polls, p.now)
	for workload := range p.listed {
		p.listings[workload] = append(p.listings[workload], p.now)
	}
	for _, pol := range w.policies {
		if !p.listed[string(pol.workload)] {
			continue
		}
		for i, e := range pol.Eras {
			if e.From <= p.now && p.seen[pol][i] == 0 {
				p.seen[pol][i] = p.now
			}
		}
	}
}

// RoundTrip is the transport of the exporter's client. It needs no network.
func (p *play) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.unreachable {
		return nil, errors.New("connect: no route to host")
	}
	if r.Body == nil {
		r = r.Clone(r.Context())
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	p.a.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	resp.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{NotAfter: time.Unix(p.world.to, 0).AddDate(1, 0, 0)}}}
	return resp, r.Context().Err()
}

// start starts an exporter with the state of the previous one.
func (p *play) start() {
	registry := client.NewRegistry()
	instruments := collector.NewInstruments(registry)
	instruments.Add(appliance)
	instruments.Reloaded(true, p.clock.Now())
	started := client.NewGauge(client.GaugeOpts{Name: "process_start_time_seconds"})
	started.Set(float64(p.now))
	registry.MustRegister(started)
	p.exporter = polltest.Start(p.t, polltest.Options{
		URL: "http://appliance", Transport: p, Storage: p.storage, Registry: registry,
		Poller: poller.Config{
			Backfill: time.Hour, OverdueGrace: grace * time.Second, Now: p.clock.Now,
			Ledger: ledger.Options{Hold: 2 * time.Minute, MaxPolicies: 10_000},
			Polled: func(r poller.Result, took time.Duration) { instruments.Polled(appliance, r, took) },
		},
	})
	p.failures, p.nextPoll, p.disturbed = 0, 0, p.now
}

// scrape appends the metrics of the exporter to Prometheus's storage.
func (p *play) scrape() {
	if p.exporter == nil {
		p.prometheus.scrape(p.now, nil)
		return
	}
	families := p.exporter.Families(p.t)
	p.scrapes[p.now] = true
	p.prometheus.scrape(p.now, families)
	p.report(families)
}

// report records the verdicts on the policies in the metrics, in the form of the oracle.
func (p *play) report(families []*dto.MetricFamily) {
	lines := make(map[string][]string)
	runs := make(map[string]float64)
	each := func(name string, do func(policy, kind, problem string, v float64)) {
		for _, f := range families {
			if f.GetName() != name {
				continue
			}
			for _, m := range f.Metric {
				var policy, kind, problem string
				for _, l := range m.Label {
					switch l.GetName() {
					case "policy":
						policy = l.GetValue()
					case "kind":
						kind = l.GetValue()
					case "problem":
						problem = l.GetValue()
					}
				}
				if kind == "" {
					kind = "-"
				}
				do(policy, kind, problem, m.GetGauge().GetValue())
			}
		}
	}
	each("vbaws_policy_overdue_runs", func(policy, kind, _ string, v float64) { runs[policy+kind] = v })
	each("vbaws_policy_next_due_timestamp_seconds", func(policy, kind, _ string, v float64) {
		lines[policy] = append(lines[policy], fmt.Sprintf("%s next %.0f", kind, v))
	})
	each("vbaws_policy_problem_since_timestamp_seconds", func(policy, kind, problem string, v float64) {
		line := fmt.Sprintf("%s %s %.0f", kind, problem, v)
		if problem == "overdue" {
			line += fmt.Sprintf(" %.0f", runs[policy+kind])
		}
		lines[policy] = append(lines[policy], line)
	})
	for _, pol := range p.world.policies {
		slices.Sort(lines[pol.name])
		verdict := strings.Join(lines[pol.name], "\n")
		all := p.reports[pol.name]
		if n := len(all); n == 0 || all[n-1].verdict != verdict {
			p.reports[pol.name] = append(all, report{p.now, verdict})
		}
	}
}

// prometheus is the storage and the rules of Prometheus.
type prometheus struct {
	t      *testing.T
	db     *tsdb.DB
	groups []*rules.Group
	wanted map[string]bool // metrics that the rules read
	series map[string]*series
	firing map[alert]int64 // since when
	fired  map[alert][]span
	group  map[string]string // of an alert
}

// policyGroup is the group of rules on policies.
const policyGroup = "vbaws-policy"

type series struct {
	labels labels.Labels
	ref    storage.SeriesRef
	last   int64
}

// alert is an alert on a kind of a policy, or on the appliance.
type alert struct{ name, policy, kind string }

func newPrometheus(t *testing.T, path string) *prometheus {
	quiet := slog.New(slog.DiscardHandler)
	opts := tsdb.DefaultOptions()
	opts.WALSegmentSize = -1                                      // none
	opts.MinBlockDuration = (100 * 24 * time.Hour).Milliseconds() // all stays in memory
	opts.MaxBlockDuration = opts.MinBlockDuration
	db, err := tsdb.Open(t.TempDir(), quiet, nil, opts, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &prometheus{
		t: t, db: db, wanted: map[string]bool{"up": true}, series: make(map[string]*series),
		firing: make(map[alert]int64), fired: make(map[alert][]span),
		group: make(map[string]string),
	}
	expressions := parser.NewParser(parser.Options{})
	engine := promql.NewEngine(promql.EngineOpts{
		Logger: quiet, MaxSamples: 50_000_000, Timeout: time.Minute, LookbackDelta: 5 * time.Minute,
		EnableAtModifier: true, EnableNegativeOffset: true, Parser: expressions,
	})
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc: rules.EngineQueryFunc(engine, db), NotifyFunc: func(context.Context, string, ...*rules.Alert) {},
		Context: context.Background(), AppendableV2: db, Queryable: db, Logger: quiet, RestoreNewRuleGroups: false, Parser: expressions,
	})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "http://prometheus", nil, false, path)
	if len(errs) > 0 {
		t.Fatalf("%s: %v", path, errs)
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		p.groups = append(p.groups, groups[name])
		for _, r := range groups[name].Rules() {
			if alerting, ok := r.(*rules.AlertingRule); ok {
				alerting.SetRestored(true)
				p.group[r.Name()] = groups[name].Name()
			}
			parser.Inspect(r.Query(), func(n parser.Node, _ []parser.Node) error {
				if s, ok := n.(*parser.VectorSelector); ok {
					p.wanted[s.Name] = true
				}
				return nil
			})
		}
	}
	return p
}

// scrape appends samples, and marks series that are gone as stale. families is nil if the
// scrape failed.
func (p *prometheus) scrape(now int64, families []*dto.MetricFamily) {
	app := p.db.AppenderV2(context.Background())
	add := func(key string, newLabels func() labels.Labels, v float64) {
		s := p.series[key]
		if s == nil {
			s = &series{labels: newLabels()}
			p.series[key] = s
		}
		s.last = now
		ref, err := app.Append(s.ref, s.labels, 0, now*1000, v, nil, nil, storage.AppendV2Options{})
		if err != nil {
			p.t.Fatalf("%s: %v", s.labels, err)
		}
		s.ref = ref
	}
	up := 0.0
	if families != nil {
		up = 1
	}
	add("up", func() labels.Labels {
		return labels.FromStrings("__name__", "up", "instance", "exporter", "job", "vbaws")
	}, up)
	var key strings.Builder
	for _, f := range families {
		name := f.GetName()
		if !p.wanted[name] {
			continue
		}
		for _, m := range f.Metric {
			key.Reset()
			key.WriteString(name)
			for _, l := range m.Label {
				key.WriteByte(0)
				key.WriteString(l.GetValue())
			}
			var v float64
			switch {
			case m.Gauge != nil:
				v = m.Gauge.GetValue()
			case m.Counter != nil:
				v = m.Counter.GetValue()
			default:
				p.t.Fatalf("%s is neither a counter nor a gauge", name)
			}
			add(key.String(), func() labels.Labels {
				b := labels.NewBuilder(labels.FromStrings("__name__", name, "instance", "exporter", "job", "vbaws"))
				for _, l := range m.Label {
					b.Set(l.GetName(), l.GetValue())
				}
				return b.Labels()
			}, v)
		}
	}
	for key, s := range p.series {
		if s.last != now {
			if _, err := app.Append(s.ref, s.labels, 0, now*1000, math.Float64frombits(value.StaleNaN), nil, nil, storage.AppendV2Options{}); err != nil {
				p.t.Fatalf("%s: %v", s.labels, err)
			}
			delete(p.series, key)
		}
	}
	if err := app.Commit(); err != nil {
		p.t.Fatal(err)
	}
}

// evaluate evaluates all rules, or only those on policies, and records the alerts that
// fire.
func (p *prometheus) evaluate(now int64, all bool) {
	firing := make(map[alert]bool)
	for _, g := range p.groups {
		if !all && g.Name() != policyGroup {
			continue
		}
		g.Eval(context.Background(), time.Unix(now, 0).UTC())
		for _, r := range g.Rules() {
			if err := r.LastError(); err != nil {
				p.t.Fatalf("rule %s at %s: %v", r.Name(), stamp(now), err)
			}
		}
		for _, r := range g.AlertingRules() {
			r.ForEachActiveAlert(func(a *rules.Alert) {
				if a.State != rules.StateFiring {
					return
				}
				key := alert{r.Name(), a.Labels.Get("policy"), a.Labels.Get("kind")}
				if firing[key] {
					p.t.Fatalf("%v fires twice at %s", key, stamp(now))
				}
				firing[key] = true
				if _, ok := p.firing[key]; ok {
					return
				}
				p.firing[key] = now
				a.Annotations.Range(func(l labels.Label) {
					if strings.Contains(l.Value, "<error") || strings.Contains(l.Value, "<no value>") || strings.Contains(l.Value, "NaN") {
						p.t.Errorf("%v: annotation %s: %s", key, l.Name, l.Value)
					}
				})
			})
		}
	}
	for key, since := range p.firing {
		if !firing[key] && (all || p.group[key.name] == policyGroup) {
			p.fired[key] = append(p.fired[key], span{since, now})
			delete(p.firing, key)
		}
	}
}

// end ends the alerts that still fire.
func (p *prometheus) end(now int64) {
	for key, since := range p.firing {
		p.fired[key] = append(p.fired[key], span{since, now})
		delete(p.firing, key)
	}
}
