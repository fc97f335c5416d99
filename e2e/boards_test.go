package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"

	"vbaws_exporter/vbaws/vbawstest"
)

// board is a dashboard of ../grafana, as far as it asks something.
type board struct {
	name   string
	Panels []struct {
		Title, Type string
		Targets     []boardQuery
	}
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

type boardQuery struct {
	RefID, Expr string
	Instant     bool
}

func loadBoard(t *testing.T, name string) board {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "grafana", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	b := board{name: name}
	if err := json.Unmarshal(data, &b); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

// asker asks what a board asks, with values for the board's variables.
type asker struct {
	board
	p         *prometheus
	variables map[string]string
	from, at  time.Time
	// edits hasten what the boards have of the alerts.
	edits []edit
}

// step is the distance of the points of graphs, and the length of bars.
const step = 15 * time.Second

var aVariable = regexp.MustCompile(`\$(\w+)`)

func (a *asker) interpolate(expr string) string {
	expr = aVariable.ReplaceAllStringFunc(expr, func(v string) string {
		value, ok := a.variables[v[1:]]
		if !ok && v != "$1" { // of label_replace
			a.p.t.Errorf("%s: there is no variable %s in %s", a.name, v, expr)
		}
		if !ok {
			return v
		}
		return value
	})
	for _, e := range a.edits {
		expr = regexp.MustCompile(e.pattern).ReplaceAllString(expr, e.replacement)
	}
	return expr
}

func (a *asker) query(title, ref string) string {
	a.p.t.Helper()
	for _, p := range a.Panels {
		if p.Title == title {
			for _, q := range p.Targets {
				if q.RefID == ref {
					return a.interpolate(q.Expr)
				}
			}
		}
	}
	a.p.t.Fatalf("%s has no panel %q with a query %s", a.name, title, ref)
	return ""
}

func (a *asker) ask(expr string) model.Vector {
	a.p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	v, warnings, _, err := a.p.api.Query(ctx, expr, a.at)
	if err != nil || len(warnings) > 0 {
		a.p.t.Fatalf("%s: %v, %v: %s", a.name, err, warnings, expr)
	}
	return v.(model.Vector)
}

// course asks as a graph does. Points are at multiples of the step, as Grafana aligns them.
func (a *asker) course(expr string) model.Matrix {
	a.p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	v, warnings, _, err := a.p.api.QueryRange(ctx, expr, promv1.Range{
		Start: a.from.Truncate(step), End: a.at.Add(step - 1).Truncate(step), Step: step,
	})
	if err != nil || len(warnings) > 0 {
		a.p.t.Fatalf("%s: %v, %v: %s", a.name, err, warnings, expr)
	}
	return v.(model.Matrix)
}

// number is the value of a panel that shows one, NaN where it shows another number of
// them.
func (a *asker) number(title string) float64 {
	a.p.t.Helper()
	v := a.ask(a.query(title, "A"))
	if len(v) != 1 {
		a.p.t.Logf("%s: %q has %d values", a.name, title, len(v))
		return math.NaN()
	}
	return float64(v[0].Value)
}

// rows are the values of a table's query, by some of its labels.
func (a *asker) rows(title, ref string, labels ...model.LabelName) map[string]float64 {
	a.p.t.Helper()
	got := map[string]float64{}
	for _, s := range a.ask(a.query(title, ref)) {
		key := joined(s.Metric, labels)
		if _, twice := got[key]; twice {
			a.p.t.Errorf("%s: %q has two rows of %s", a.name, title, key)
		}
		if s.Value != 0 {
			got[key] = float64(s.Value)
		}
	}
	return got
}

func joined(m model.Metric, labels []model.LabelName) string {
	values := make([]string, len(labels))
	for i, l := range labels {
		values[i] = string(m[l])
	}
	return strings.Join(values, " ")
}

// sums adds up a graph's bars, by a label.
func (a *asker) sums(title string, label model.LabelName) map[string]float64 {
	a.p.t.Helper()
	got := map[string]float64{}
	for _, s := range a.course(a.query(title, "A")) {
		for _, v := range s.Values {
			if f := float64(v.Value); f < 0 || f != math.Trunc(f) {
				a.p.t.Errorf("%s: %q has a bar of %g", a.name, title, f)
			} else if f > 0 {
				got[string(s.Metric[label])] += f
			}
		}
	}
	return got
}

// expect compares what a panel shows with the truth.
func expect[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs from the truth: %s", what, diff)
	}
}

// empty are the queries that have no data in TestBoards, with the reason.
var empty = map[string]string{
	"vbaws-policy Running for A":                 "this policy doesn't run when the fleet is stopped",
	"vbaws-policy The policy and its schedule C": "by the real clock this policy isn't due for hours",
}

// askAll runs every query of every panel and every variable.
func (a *asker) askAll() {
	a.p.t.Helper()
	for _, p := range a.Panels {
		for _, q := range p.Targets {
			n := 0
			if expr := a.interpolate(q.Expr); q.Instant {
				n = len(a.ask(expr))
			} else {
				n = len(a.course(expr))
			}
			reason := empty[a.name+" "+p.Title+" "+q.RefID]
			if (n == 0) != (reason != "") {
				a.p.t.Errorf("%s: %q, query %s, has %d series (%s)", a.name, p.Title, q.RefID, n, reason)
			}
		}
	}
	for _, v := range a.Templating.List {
		if v.Type != "query" {
			continue
		}
		m := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if m == nil {
			a.p.t.Errorf("%s: variable %s asks %s", a.name, v.Name, v.Definition)
			continue
		}
		values, _, _, err := a.p.api.LabelValues(context.Background(), m[2], []string{a.interpolate(m[1])}, a.from, a.at)
		if err != nil || len(values) == 0 {
			a.p.t.Errorf("%s: variable %s has no values: %v", a.name, v.Name, err)
		}
		chosen := a.variables[v.Name]
		if chosen != ".*" && !slices.Contains(values, model.LabelValue(chosen)) {
			a.p.t.Errorf("%s: variable %s has the values %v, not %s", a.name, v.Name, values, chosen)
		}
	}
}

func minus(a, b map[string]float64) map[string]float64 {
	diff := map[string]float64{}
	for k, v := range a {
		if v != b[k] {
			diff[k] = v - b[k]
		}
	}
	return diff
}

// grouped adds up what is counted by the fields of a session that f makes of it; what
// it makes "" of is left out.
func grouped(counts map[string]float64, f func(typ, ext, policy, status string) string) map[string]float64 {
	sums := map[string]float64{}
	for key, n := range counts {
		// The name may have blanks, the others have none.
		words := strings.Split(key, " ")
		last := len(words) - 1
		if k := f(words[0], words[1], strings.Join(words[2:last], " "), words[last]); k != "" {
			sums[k] += n
		}
	}
	return sums
}

func total(counts map[string]float64) (sum float64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// newestStatus returns the status of the session that ended last, of each policy and kind.
func newestStatus(s *site) map[string]string {
	ends, status := map[string]time.Time{}, map[string]string{}
	for _, h := range s.History() {
		last := h.States[len(h.States)-1]
		if key := last.Name + " " + last.ExtendedType; last.Type == "Policy" && last.Status != vbawstest.StatusRunning && last.Stop.After(ends[key]) {
			ends[key], status[key] = last.Stop, last.Status
		}
	}
	return status
}

// running returns how many sessions of policies run.
func (s *site) running() (n float64) {
	for _, h := range s.History() {
		if last := h.States[len(h.States)-1]; last.Type == "Policy" && last.Status == vbawstest.StatusRunning {
			n++
		}
	}
	return n
}

// companyFleet makes policies of several workloads run about every minute. By the real
// clock none is due while the test runs: what is due is for the test to say.
func companyFleet(now time.Time) vbawstest.FleetConfig {
	hour := now.UTC().Add(12 * time.Hour).Hour()
	nightly := &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 1,
		Snapshot: vbawstest.Hours(vbawstest.Retention{Count: 7}, hour),
		Backup:   vbawstest.Hours(vbawstest.Retention{Type: "Days", Count: 30}, hour)}}
	backups := &vbawstest.ScheduleSettings{DailyEnabled: true, Daily: &vbawstest.DailySchedule{Kind: "Everyday", RunsPerHour: 1,
		Backup: nightly.Daily.Backup}}
	spec := func(name string, w vbawstest.Workload, failures, warnings float64) vbawstest.PolicySpec {
		schedule := nightly
		if w == vbawstest.EFS { // which has no snapshots
			schedule = backups
		}
		return vbawstest.PolicySpec{
			Policy:      vbawstest.Policy{Name: name, Workload: w, Enabled: true, Schedule: schedule, RetryTimes: 1},
			FailureRate: failures, WarningRate: warnings, RetryFailureRate: failures, Typical: 10 * time.Minute,
		}
	}
	return vbawstest.FleetConfig{
		Seed: 5, Start: now, Compress: 24 * 60, Stretch: 10,
		Policies: []vbawstest.PolicySpec{
			spec("Web servers", vbawstest.EC2, 0.3, 0.3),
			spec("Hopeless", vbawstest.EC2, 1, 0),
			spec("Customer database", vbawstest.RDS, 0.1, 0),
			spec("Home directories", vbawstest.EFS, 0, 0.5),
		},
	}
}

// TestBoards runs what the dashboards ask against a Prometheus that watched a fleet for some
// minutes, the exporter being killed meanwhile: there is data, and what is counted is
// the truth.
func TestBoards(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	cfg := vbawstest.DemoConfig(1, begin)
	cfg.Forgetful = false // the test asks for the truth
	eu := newSite(t, "eu", cfg)
	gone := newSite(t, "gone", vbawstest.Config{Seed: 2, Users: []vbawstest.User{
		{Name: vbawstest.DefaultUsername, Password: vbawstest.DefaultPassword, Role: "Restore Operator"},
	}})
	fleet := vbawstest.NewFleet(eu.Appliance, companyFleet(begin))
	fleet.Backfill(begin.Add(-24 * time.Hour))
	due := begin.UTC().Truncate(time.Minute).Add(3 * time.Minute)
	eu.PutPolicy(vbawstest.Policy{Name: "Late", Workload: vbawstest.EC2, Enabled: true, Schedule: &vbawstest.ScheduleSettings{
		WeeklyEnabled: true, Weekly: &vbawstest.WeeklySchedule{
			TimeLocal: vbawstest.At(due.Hour(), due.Minute()),
			Backup: vbawstest.Weekdays(vbawstest.Retention{Count: 7}, time.Sunday, time.Monday, time.Tuesday,
				time.Wednesday, time.Thursday, time.Friday, time.Saturday),
		},
	}})
	slow, first := eu.policy("Slow", vbawstest.EC2), eu.policy("First", vbawstest.EC2)
	gone.fail(gone.policy("Far away", vbawstest.EC2), "PolicyBackup")

	exporter := startExporter(t, hold, eu, gone)
	prom := startPrometheus(t, exporter.address, prometheusOptions{features: "exemplar-storage"})
	old := startPrometheus(t, exporter.address, prometheusOptions{classic: true})
	before := truth(eu)
	for _, p := range []*prometheus{prom, old} {
		p.awaitQuery(`sum(vbaws_sessions_total{appliance="eu"})`, total(before))
		p.awaitQuery(`count(vbaws_policy_enabled{policy="Late"})`, 1)
	}
	watching := time.Now()
	if !watching.Before(due) {
		t.Fatal("it took too long to start: the policy is due already")
	}

	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		fleet.Run(ctx)
	}()
	eu.fail(first, "PolicyBackup")
	put := func(start, stop time.Time, status string) {
		eu.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: slow.Name, PolicyID: slow.ID,
			Start: start, Stop: stop, Status: status})
	}
	// The first makes the counter, which the others let step.
	for i := range 7 {
		now := eu.Now()
		put(now.Add(-time.Minute), now, vbawstest.StatusSucceeded)
		prom.awaitQuery(`sum(vbaws_sessions_total{policy="Slow"})`, float64(i+1))
	}
	put(eu.Now().Add(-2*time.Hour), time.Time{}, vbawstest.StatusRunning)
	exporter.kill()
	// It will go while it is asked for more than sessions. Policies come last.
	asked := gone.Inject(vbawstest.Fault{Kind: vbawstest.FaultHang, Route: "/api/v1/virtualMachines/policies"})
	exporter.start()
	prom.awaitQuery(`vbaws_up`, 1, 1)
	await(t, "that the appliance is asked for its policies", func() (bool, any) { return asked.Hits() > 0, asked.Hits() })
	gone.server.Close()
	// It is stopped between two runs, when nothing but the slow session goes on: what runs
	// then would never end, and in time be unusually long.
	await(t, "that the fleet has run", func() (bool, any) {
		done, running := total(minus(truth(eu), before)), eu.running()
		return done > 60 && running == 1 && time.Now().After(due), []float64{done, running}
	})
	cancel()
	<-stopped

	after := truth(eu)
	ended := minus(after, before)
	for _, p := range []*prometheus{prom, old} {
		p.awaitQuery(`sum(vbaws_sessions_total{appliance="eu"})`, total(after))
		p.awaitQuery(`count(vbaws_up == 0)`, 1)
		p.awaitQuery(`sum(vbaws_sessions_running{type="Policy"})`, eu.running())
	}
	settled := time.Now()
	hasten := []edit{{`offset 1h\b`, "offset 1m"}, {`\b3600\b`, "60"}}
	everything := map[string]string{
		"appliance": ".*", "workload": ".*", "policy": ".*", "type": "Policy", "target": "0.95",
		"job": "vbaws", "instance": ".*", "__interval": step.String(), "__rate_interval": step.String(),
	}
	overview := &asker{board: loadBoard(t, "vbaws-overview"), p: prom, variables: everything, from: begin, edits: hasten}
	await(t, "the overdue policy", func() (bool, any) {
		overview.at = time.Now()
		n := overview.number("Policies overdue")
		return n == 1, n
	})
	prom.awaitQuery(`count(ALERTS{alertname="VbawsPolicyOverdue"})`, 1)
	// A time since all was counted, at which no scrape is lost. It is also the last of the
	// points of graphs.
	scraped := func() time.Time {
		var at time.Time
		await(t, "a time with scrapes", func() (bool, any) {
			if at = time.Now().Truncate(step); at.Before(settled) {
				return false, at
			}
			for _, p := range []*prometheus{prom, old} {
				if up := p.queryAt("up == 1", at); len(up) != 1 {
					return false, up
				}
			}
			return true, nil
		})
		return at
	}
	await(t, "the rules' newest evaluations", func() (bool, any) {
		overview.at = scraped()
		v := overview.ask(`count(ALERTS{alertname="VbawsPolicyOverdue"})`)
		return len(v) == 1, v
	})

	ofPolicies := func(status string, by func(ext, policy string) string) map[string]float64 {
		return grouped(ended, func(typ, ext, policy, s string) string {
			if typ != "Policy" || status != "" && s != status {
				return ""
			}
			return by(ext, policy)
		})
	}
	failed := ofPolicies("Failed", func(ext, policy string) string { return policy + " " + ext })
	newest := newestStatus(eu)
	failing := map[string]float64{"not polled   gone": 1, "overdue Late backup eu": 1, "long Slow PolicyBackup eu": 1, "failed Far away PolicyBackup gone": 1}
	names := map[string]bool{"Far away": true}
	for key, status := range newest {
		if status == vbawstest.StatusFailed {
			failing["failed "+key+" eu"] = 1
			names[key[:strings.LastIndex(key, " ")]] = true
		}
	}

	overview.askAll()
	expect(t, "policies that failed last", overview.number("Policies failing"), float64(len(names)))
	expect(t, "what runs long", overview.number("Unusually long"), 1.0)
	expect(t, "appliances that can't be polled", overview.number("Appliances not polled"), 1.0)
	expect(t, "failed in a day", overview.number("Failed in 24 h"), total(failed))
	expect(t, "running", overview.number("Running now"), eu.running())
	attention := overview.rows("What needs someone", "A", "what", "policy", "extended_type", "appliance")
	for k, age := range attention {
		if age < 0 || age > 3*3600 {
			t.Errorf("%s for %g seconds", k, age)
		}
		attention[k] = 1
	}
	expect(t, "what needs someone", attention, failing)
	expect(t, "what failed", overview.rows("What failed in the last 24 hours", "A", "policy", "extended_type"), failed)
	open := map[string]float64{}
	for key := range failed {
		if newest[key] == vbawstest.StatusFailed {
			open[key] = 1
		}
	}
	expect(t, "what has not succeeded since", overview.rows("What failed in the last 24 hours", "C", "policy", "extended_type"), open)
	byStatus := grouped(ended, func(typ, _, _, status string) string {
		if typ != "Policy" {
			return ""
		}
		return status
	})
	expect(t, "bars", overview.sums("Sessions that ended, by status", "status"), byStatus)
	expect(t, "sessions of the windows", overview.rows("Success against the target", "B", "window"),
		map[string]float64{"1 day": total(byStatus), "7 days": total(byStatus), "30 days": total(byStatus)})
	ratio := (byStatus["Succeeded"] + byStatus["Warning"]) / total(byStatus)
	for w, got := range overview.rows("Success against the target", "A", "window") {
		if math.Abs(got-ratio) > 0.03 {
			t.Errorf("in %s %g went well, want %g", w, got, ratio)
		}
	}
	for w, got := range overview.rows("Success against the target", "C", "window") {
		if math.Abs(got-(ratio-0.95)) > 0.03 {
			t.Errorf("in %s it is %g against the target, want %g", w, got, ratio-0.95)
		}
	}
	expect(t, "the overdue policy's state", overview.rows("Schedules", "A", "policy", "kind")["Late backup"], 2.0)
	expect(t, "unprotected instances", overview.rows("Appliances", "F", "appliance"), map[string]float64{"eu": 16})
	if n := overview.rows("Appliances", "J", "appliance")["gone"]; n < 2 {
		t.Errorf("%g endpoints are forbidden", n)
	}
	overview.checkManaged()
	// What a workload leaves out.
	narrowed := *overview
	narrowed.variables = maps.Clone(everything)
	narrowed.variables["workload"] = "rds"
	expect(t, "failed of databases", narrowed.number("Failed in 24 h"),
		total(ofPolicies("Failed", func(_, policy string) string {
			if policy == "Customer database" {
				return "it"
			}
			return ""
		})))
	expect(t, "overdue databases", narrowed.number("Policies overdue"), 0.0)

	const name = "Web servers"
	for _, p := range []*prometheus{prom, old} {
		vars := maps.Clone(everything)
		vars["appliance"], vars["policy"] = "eu", name
		policy := &asker{board: loadBoard(t, "vbaws-policy"), p: p, variables: vars, from: begin, at: overview.at, edits: hasten}
		of := grouped(ended, func(typ, ext, policy, status string) string {
			if typ != "Policy" || policy != name {
				return ""
			}
			return ext + " " + status
		})
		for _, window := range []string{"A", "B", "C"} {
			expect(t, "the policy's sessions", policy.rows("By kind and status", window, "extended_type", "status"), of)
		}
		statuses := grouped(ended, func(typ, _, policy, status string) string {
			if typ != "Policy" || policy != name {
				return ""
			}
			return status
		})
		expect(t, "the policy's bars", policy.sums("Sessions that ended, by status", "status"), statuses)
		expect(t, "its failures", policy.number("Failed in 30 days"), statuses["Failed"])
		expect(t, "the heat map", policy.cells("How long they took"), total(statuses))
		if p != prom {
			continue
		}
		policy.askAll()
		worst := slices.Max([]float64{code(newest[name+" PolicyBackup"]), code(newest[name+" PolicySnapshot"])})
		expect(t, "its worst newest session", policy.number("Newest session"), worst)
		// That each failure is seen is what the time line is for.
		if statuses["Failed"] > 0 && !policy.ever("Sessions by status", code(vbawstest.StatusFailed)) {
			t.Error("the time line shows no failure")
		}
		if !policy.ever("Sessions by status", code(vbawstest.StatusSucceeded)) {
			t.Error("the time line shows no success")
		}
		if rows := len(policy.course(policy.query("Sessions by status", "A"))); rows != 2 {
			t.Errorf("the time line has %d rows, not one for snapshots and one for backups", rows)
		}
		policy.checkExemplars(eu)
	}

	vars := maps.Clone(everything)
	exp := &asker{board: loadBoard(t, "vbaws-exporter"), p: prom, variables: vars, from: begin, at: scraped()}
	exp.askAll()
	expect(t, "appliances that can't be polled", exp.number("Appliances not polled"), 1.0)
	expect(t, "exporters that are gone", exp.number("Exporters gone"), 0.0)
	expect(t, "the configuration", exp.number("Configuration"), 1.0)
	expect(t, "what isn't counted", exp.number("Not counted, 24 h"), 0.0)
	wrong := float64(exp.ask(`sum(vbaws_exporter_polls_total{result!="success"})`)[0].Value)
	expect(t, "failed polls", exp.number("Failed polls, 24 h"), wrong)
	if bars := exp.sums("Polls by result", "result"); bars["unreachable"] != wrong || bars["success"] == 0 {
		t.Errorf("bars of polls are %v, %g failed", bars, wrong)
	}
	if n := exp.rows("What the account may not ask", "A", "appliance", "endpoint"); len(n) < 2 {
		t.Errorf("forbidden are %v", n)
	}
	// The window begins when the exporter was there already, as a day ago it would
	// have been in real life.
	exp.edits = []edit{{`1d\b`, fmt.Sprintf("%ds", int(exp.at.Sub(watching).Seconds()))}}
	unanswered := map[string]float64{}
	for _, s := range exp.ask(`sum by (appliance, endpoint) (vbaws_exporter_api_requests_total{code="error"})`) {
		unanswered[joined(s.Metric, []model.LabelName{"appliance", "endpoint"})+" error"] = float64(s.Value)
	}
	if unanswered["gone /api/v1/sessions error"] == 0 || unanswered["gone /api/v1/virtualMachines/policies error"] == 0 {
		t.Errorf("calls without an answer are %v", unanswered)
	}
	calls := exp.rows("Calls without a good answer, in 24 hours", "A", "appliance", "endpoint", "code")
	maps.DeleteFunc(calls, func(key string, _ float64) bool { return !strings.HasSuffix(key, " error") })
	expect(t, "calls without an answer", calls, unanswered)
}

// checkManaged: the alerts for Grafana's own alerting find what Prometheus's find, but for
// the time between two evaluations. Grafana doesn't know which fire, and so keeps no
// alert up while a policy runs; there Prometheus may have more.
func (a asker) checkManaged() {
	a.p.t.Helper()
	data, err := os.ReadFile("../grafana/provisioning/alerting/vbaws-alerts.yml")
	if err != nil {
		a.p.t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Title string
				Data  []struct{ Model struct{ Expr string } }
			}
		}
	}
	if err := yaml.Load(data, &file); err != nil {
		a.p.t.Fatal(err)
	}
	await(a.p.t, "the same alerts", func() (bool, any) {
		a.at = time.Now()
		var differ []string
		found := map[string]int{}
		for _, g := range file.Groups {
			for _, r := range g.Rules {
				known := map[string]bool{}
				for _, s := range a.ask(fmt.Sprintf("ALERTS{alertname=%q}", r.Title)) {
					for _, l := range []model.LabelName{model.MetricNameLabel, "alertname", "alertstate", "severity"} {
						delete(s.Metric, l)
					}
					known[s.Metric.String()] = true
				}
				for _, s := range a.ask(a.interpolate(r.Data[0].Model.Expr)) {
					delete(s.Metric, model.MetricNameLabel)
					if !known[s.Metric.String()] {
						differ = append(differ, fmt.Sprintf("Grafana alerts by %s on %s, Prometheus on %v", r.Title, s.Metric, slices.Collect(maps.Keys(known))))
					}
					found[r.Title]++
				}
				if found[r.Title] == 0 && len(known) > 0 && !strings.HasPrefix(r.Title, "VbawsPolicy") {
					differ = append(differ, fmt.Sprintf("Prometheus alerts by %s on %v, Grafana doesn't", r.Title, slices.Collect(maps.Keys(known))))
				}
			}
		}
		for _, name := range []string{"VbawsWatchdog", "VbawsApplianceUnreachable", "VbawsPolicyFailed", "VbawsPolicyOverdue", "VbawsSessionVeryLong", "VbawsAccountLacksRight"} {
			if found[name] == 0 {
				differ = append(differ, "Grafana has no "+name)
			}
		}
		return len(differ) == 0, differ
	})
}

// code is the number of a status on the policy's board.
func code(status string) float64 {
	return map[string]float64{
		vbawstest.StatusSucceeded: 1, vbawstest.StatusWarning: 2, vbawstest.StatusCanceled: 3, vbawstest.StatusFailed: 5,
	}[status]
}

// ever reports whether a state occurs in a time line.
func (a *asker) ever(title string, state float64) bool {
	a.p.t.Helper()
	return slices.ContainsFunc(a.course(a.query(title, "A")), func(s *model.SampleStream) bool {
		return slices.ContainsFunc(s.Values, func(v model.SamplePair) bool { return float64(v.Value) == state })
	})
}

// cells adds up a heat map, of native or of classic buckets.
func (a *asker) cells(title string) (sum float64) {
	a.p.t.Helper()
	for _, s := range a.course(a.query(title, "A")) {
		for _, h := range s.Histograms {
			sum += float64(h.Histogram.Count)
		}
		if s.Metric["le"] == "+Inf" {
			for _, v := range s.Values {
				sum += float64(v.Value)
			}
		}
	}
	return sum
}

// checkExemplars: the marks of the heat map carry ids of sessions that there are, and
// lie where the sessions' durations are.
func (a *asker) checkExemplars(s *site) {
	a.p.t.Helper()
	resp, err := http.PostForm(a.p.url()+"/api/v1/query_exemplars", url.Values{
		"query": {a.query("How long they took", "A")},
		"start": {fmt.Sprint(a.from.Add(-25 * time.Hour).Unix())}, "end": {fmt.Sprint(a.at.Unix() + 1)},
	})
	if err != nil {
		a.p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var found struct {
		Data []struct {
			Exemplars []struct {
				Labels map[string]string
				Value  float64 `json:",string"`
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		a.p.t.Fatal(err)
	}
	n := 0
	for _, series := range found.Data {
		for _, e := range series.Exemplars {
			n++
			session, ok := s.Lookup(e.Labels["session_id"])
			if took := session.Stop.Sub(session.Start).Seconds(); !ok || math.Abs(took-e.Value) > 0.01 {
				a.p.t.Errorf("exemplar %v of %g seconds; the session took %g", e.Labels, e.Value, took)
			}
		}
	}
	if n == 0 {
		a.p.t.Error("the heat map has no exemplars")
	}
}

// TestComposePrometheus: the Prometheus of compose.yml would accept its configuration.
func TestComposePrometheus(t *testing.T) {
	t.Parallel()
	promtool(t, tools.promtool, "check", "config", "--syntax-only", "../deploy/compose/prometheus.yml")
}
