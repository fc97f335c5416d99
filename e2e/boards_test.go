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
	"github.com/google/go-cmp/cmp/cmpopts"
	promv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/vbaws/vbawstest"
)

// board has the queries of a dashboard of ../grafana.
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

// asker runs the queries of a board, with values for the board's variables.
type asker struct {
	board
	p         *prometheus
	variables map[string]string
	from, at  time.Time
}

// step is the distance between the points of graphs, and the length of bars.
const step = time.Minute

var aVariable = regexp.MustCompile(`\$([a-z_]\w*)`) // $1 is a group of label_replace

func (a *asker) interpolate(expr string) string {
	expr = aVariable.ReplaceAllStringFunc(expr, func(v string) string {
		value, ok := a.variables[v[1:]]
		if !ok {
			a.p.t.Errorf("%s: there is no variable %s in %s", a.name, v, expr)
		}
		return value
	})
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
	ctx, cancel := context.WithTimeout(context.Background(), apptest.Patience)
	defer cancel()
	v, warnings, _, err := a.p.api.Query(ctx, expr, a.at)
	if err != nil || len(warnings) > 0 {
		a.p.t.Fatalf("%s: %v, %v: %s", a.name, err, warnings, expr)
	}
	return v.(model.Vector)
}

// course runs a query as a graph does. Like Grafana, it aligns points with the step.
func (a *asker) course(expr string) model.Matrix {
	a.p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), apptest.Patience)
	defer cancel()
	v, warnings, _, err := a.p.api.QueryRange(ctx, expr, promv1.Range{
		Start: a.from.Truncate(step), End: a.at.Add(step - 1).Truncate(step), Step: step,
	})
	if err != nil || len(warnings) > 0 {
		a.p.t.Fatalf("%s: %v, %v: %s", a.name, err, warnings, expr)
	}
	return v.(model.Matrix)
}

// number returns the value of a panel that shows one, and NaN if it shows none or several.
func (a *asker) number(title string) float64 {
	a.p.t.Helper()
	v := a.ask(a.query(title, "A"))
	if len(v) != 1 {
		a.p.t.Logf("%s: %q has %d values", a.name, title, len(v))
		return math.NaN()
	}
	return float64(v[0].Value)
}

// rows returns the values of a table's query other than 0, by some of its labels.
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

// empty are the queries without data in TestBoards, with the reason.
var empty = map[string]string{
	"vbaws-policy Problems A":           "this policy has none",
	"vbaws-policy Problems B":           "this policy has none",
	"vbaws-policy Running for A":        "this policy isn't running when the fleet is stopped",
	"vbaws-policy How long they took B": "there are native histograms",
}

// askAll runs every query of every panel and every variable.
func (a *asker) askAll() {
	a.p.t.Helper()
	for _, p := range a.Panels {
		for _, q := range p.Targets {
			var n int
			if expr := a.interpolate(q.Expr); q.Instant {
				n = len(a.ask(expr))
			} else {
				n = len(a.course(expr))
			}
			reason := empty[a.name+" "+p.Title+" "+q.RefID]
			if p.Title == "How long the newest one took" && q.RefID == "B" {
				continue // it has data after five successes, which is chance; the overview's is compared with the truth
			}
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
		chosen := a.variables[v.Name]
		if err != nil || (len(values) == 0) != (v.Name == "cluster") {
			a.p.t.Errorf("%s: variable %s has the values %v: %v", a.name, v.Name, values, err)
		}
		if !strings.HasPrefix(chosen, ".") && !slices.Contains(values, model.LabelValue(chosen)) {
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

// grouped adds up counts by the key that f returns, and leaves out those with the key "".
func grouped(counts map[string]float64, f func(typ, ext, policy, status string) string) map[string]float64 {
	sums := map[string]float64{}
	for key, n := range counts {
		// Only the name can have blanks.
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

// newestStatus returns the status of the session that ended last, for each policy and
// extended type.
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

// failingSince returns the end of the first failed session since the last success, for each
// policy and kind. A backup is made from a snapshot, so its success counts for both.
func failingSince(s *site) map[string]time.Time {
	type session struct{ policy, ext string }
	success, since := map[session]time.Time{}, map[string]time.Time{}
	each := func(f func(of session, status string, stop time.Time)) {
		for _, h := range s.History() {
			if last := h.States[len(h.States)-1]; last.Type == "Policy" && last.Status != vbawstest.StatusRunning {
				f(session{last.Name, last.ExtendedType}, last.Status, last.Stop)
			}
		}
	}
	each(func(of session, status string, stop time.Time) {
		if (status == vbawstest.StatusSucceeded || status == vbawstest.StatusWarning) && stop.After(success[of]) {
			success[of] = stop
		}
	})
	each(func(of session, status string, stop time.Time) {
		cleared := success[of]
		if b := success[session{of.policy, strings.Replace(of.ext, "Snapshot", "Backup", 1)}]; b.After(cleared) {
			cleared = b
		}
		if status == vbawstest.StatusFailed && stop.After(cleared) {
			key := of.policy + " " + map[bool]string{true: "snapshot", false: "backup"}[strings.Contains(of.ext, "Snapshot")]
			if first, ok := since[key]; !ok || stop.Before(first) {
				since[key] = stop
			}
		}
	})
	return since
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
// clock none of their schedules is due while the test runs.
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

// TestBoards runs the queries of the dashboards against a Prometheus that watched a fleet
// for some minutes, while the exporter was killed. They have data, and the numbers are
// right.
func TestBoards(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	cfg := vbawstest.DemoConfig(1, begin)
	cfg.Forgetful = false // the test reads the whole history
	eu := newSite(t, "eu", cfg)
	gone := newSite(t, "gone", vbawstest.Config{Seed: 2, Users: []vbawstest.User{
		{Name: vbawstest.DefaultUsername, Password: vbawstest.DefaultPassword, Role: "Restore Operator"},
	}})
	fleet := vbawstest.NewFleet(eu.Appliance, companyFleet(begin))
	fleet.Backfill(begin.Add(-24 * time.Hour))
	// put adds a session of a policy at another time.
	put := func(s *site, p vbawstest.Policy, start, stop time.Time, status string) {
		s.Put(vbawstest.Session{Type: "Policy", ExtendedType: "PolicyBackup", Name: p.Name, PolicyID: p.ID, Start: start, Stop: stop, Status: status})
	}
	// It was due two hours ago, and its last success is older.
	due := begin.UTC().Truncate(time.Minute).Add(-2 * time.Hour)
	late := eu.PutPolicy(vbawstest.Policy{Name: "Late", Workload: vbawstest.EC2, Enabled: true, Schedule: &vbawstest.ScheduleSettings{
		WeeklyEnabled: true, Weekly: &vbawstest.WeeklySchedule{
			TimeLocal: vbawstest.At(due.Hour(), due.Minute()),
			Backup: vbawstest.Weekdays(vbawstest.Retention{Count: 7}, time.Sunday, time.Monday, time.Tuesday,
				time.Wednesday, time.Thursday, time.Friday, time.Saturday),
		},
	}})
	put(eu, late, begin.Add(-20*time.Hour), begin.Add(-19*time.Hour), vbawstest.StatusSucceeded)
	slow, first := eu.policy("Slow", vbawstest.EC2), eu.policy("First", vbawstest.EC2)
	stuck := begin.Add(-25 * time.Hour)
	put(eu, slow, stuck, time.Time{}, vbawstest.StatusRunning)
	// A retry runs, so the policy is not failing.
	away := gone.policy("Far away", vbawstest.EC2)
	put(gone, away, begin.Add(-time.Minute), begin, vbawstest.StatusFailed)
	put(gone, away, begin, time.Time{}, vbawstest.StatusRunning)

	exporter := startExporter(t, hold, eu, gone)
	prom := startPrometheus(t, exporter.Address, prometheusOptions{features: "exemplar-storage"})
	old := startPrometheus(t, exporter.Address, prometheusOptions{classic: true})
	before := truth(eu)
	for _, p := range []*prometheus{prom, old} {
		p.awaitQuery(`sum(vbaws_sessions_total{appliance="eu"})`, total(before))
		p.awaitQuery(`count(vbaws_policy_enabled{policy="Late"})`, 1)
	}
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			fleet.Run(ctx)
		}()
		return func() {
			cancel()
			<-stopped
		}
	}
	stop := run()
	// A retry would have started by now.
	put(eu, first, begin.Add(-10*time.Minute), begin.Add(-9*time.Minute), vbawstest.StatusFailed)
	// The first session makes the counter, and the others increase it.
	for i := range 7 {
		now := eu.Now()
		put(eu, slow, now.Add(-time.Minute), now, vbawstest.StatusSucceeded)
		prom.awaitQuery(`sum(vbaws_sessions_total{policy="Slow"})`, float64(i+1))
	}
	// No session ends while there is no exporter. If a bar ended at that time too, the session
	// would be in neither bar.
	stop()
	for _, p := range []*prometheus{prom, old} {
		p.awaitQuery(`sum(vbaws_sessions_total{appliance="eu"})`, total(truth(eu)))
	}
	exporter.Kill()
	// The appliance is gone during the requests that follow those for sessions. The request
	// for policies is the last.
	asked := gone.Inject(vbawstest.Fault{Kind: vbawstest.FaultHang, Route: "/api/v1/virtualMachines/policies"})
	exporter.Start()
	prom.awaitQuery(`vbaws_up`, 1, 1)
	apptest.Await(t, "the request for policies", func() (bool, any) { return asked.Hits() > 0, asked.Hits() })
	gone.Close()
	for _, p := range []*prometheus{prom, old} {
		p.awaitQuery(`count(vbaws_up == 0)`, 1) // a scrape after the restart
	}
	stop = run()
	// Stop the fleet when only the stuck session runs. Others would never end.
	apptest.Await(t, "the sessions of the fleet", func() (bool, any) {
		done, running := total(minus(truth(eu), before)), eu.running()
		return done > 60 && running == 1, []float64{done, running}
	})
	for stop(); eu.running() != 1; stop() { // another session has started meanwhile
		stop = run()
		apptest.Await(t, "the end of that session", func() (bool, any) { return eu.running() == 1, eu.running() })
	}
	// A policy whose last session failed just now is not failing before the time for a retry
	// is over. Let each of them succeed.
	for _, p := range eu.Policies() {
		if slices.Contains([]string{"Web servers", "Customer database", "Home directories"}, p.Name) {
			ext := map[vbawstest.Workload]string{vbawstest.EC2: "PolicyBackup", vbawstest.RDS: "PolicyRdsBackup", vbawstest.EFS: "PolicyEfsBackup"}[p.Workload]
			eu.Finish(eu.session(p, ext), vbawstest.StatusSucceeded, time.Time{})
		}
	}

	after := truth(eu)
	ended := minus(after, before)
	for _, p := range []*prometheus{prom, old} {
		p.awaitQuery(`sum(vbaws_sessions_total{appliance="eu"})`, total(after))
		p.awaitQuery(`count(vbaws_up == 0)`, 1)
		p.awaitQuery(`sum(vbaws_sessions_running{type="Policy"})`, eu.running()+gone.running())
	}
	settled := time.Now()
	everything := map[string]string{
		"cluster": ".*", "job": ".+", "instance": ".+", "appliance": ".*", "policy": ".*", "type": "Policy",
		"__interval": step.String(), "__rate_interval": (step + time.Second).String(), "__range": "1d", "__range_s": "86400",
	}
	overview := &asker{board: loadBoard(t, "vbaws-overview"), p: prom, variables: everything, from: begin}
	failing := failingSince(eu)
	names := map[string]bool{}
	for key := range failing {
		name, _ := cutLast(key)
		names[name] = true
	}
	apptest.Await(t, "the problems", func() (bool, any) {
		overview.at = time.Now()
		n := []float64{overview.number("Failing"), overview.number("Overdue"), overview.number("Stuck")}
		return slices.Equal(n, []float64{float64(len(names)), 1, 1}), n
	})
	// scraped returns a time since all was counted, at which no scrape is lost. It is also
	// the last point of the graphs.
	scraped := func() time.Time {
		var at time.Time
		apptest.Await(t, "a time with scrapes", func() (bool, any) {
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
	overview.at = scraped()

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

	overview.askAll()
	expect(t, "failing policies", overview.number("Failing"), float64(len(names)))
	expect(t, "overdue policies", overview.number("Overdue"), 1.0)
	expect(t, "stuck policies", overview.number("Stuck"), 1.0)
	expect(t, "silent policies", overview.number("Silent"), 0.0)
	expect(t, "appliances that can't be polled", overview.number("Not polled"), 1.0)
	problems := map[string]time.Time{"overdue Late backup": due, "stuck Slow backup": stuck}
	for key, since := range failing {
		problems["failing "+key] = since
	}
	ages, since := map[string]float64{}, map[string]float64{}
	for key, at := range problems {
		ages[key], since[key] = math.Round(overview.at.Sub(at).Seconds()), float64(at.UnixMilli())
	}
	of := []model.LabelName{"problem", "policy", "kind"}
	near := cmpopts.EquateApprox(0, 2)
	if diff := cmp.Diff(ages, overview.rows("Problems", "A", of...), near); diff != "" {
		t.Errorf("ages of problems differ from the truth: %s", diff)
	}
	if diff := cmp.Diff(since, overview.rows("Problems", "B", of...), cmpopts.EquateApprox(0, 1000)); diff != "" {
		t.Errorf("begins of problems differ from the truth: %s", diff)
	}
	timeline := map[string]float64{}
	for _, s := range overview.course(overview.query("Problems over time", "A")) {
		timeline[joined(s.Metric, []model.LabelName{"problem", "policy"})] = float64(s.Values[len(s.Values)-1].Value)
	}
	shown := map[string]float64{}
	for key := range problems {
		problem, _ := cutLast(key)
		shown[problem] = 1
	}
	maps.DeleteFunc(timeline, func(_ string, now float64) bool { return now == 0 }) // the problem is over
	expect(t, "the timeline's end", timeline, shown)

	schedules := func(ref string) map[string]float64 { return overview.rows("Schedules", ref, "policy", "kind") }
	expect(t, "missed runs", schedules("A"), map[string]float64{"Late backup": 1})
	expect(t, "when the overdue policy is next due", schedules("B")["Late backup"], float64(due.Add(24*time.Hour).UnixMilli()))
	if got, want := schedules("C")["Late backup"], overview.at.Sub(begin.Add(-19*time.Hour)).Seconds(); math.Abs(got-want) > 5 {
		t.Errorf("its last success was %g seconds ago, want %g", got, want)
	}
	expect(t, "its longest gap", schedules("D")["Late backup"], 86400.0)
	onTime := schedules("E")
	expect(t, "its time without overdue", onTime["Late backup"], 0.0)
	expect(t, "that of one on time", onTime["Home directories backup"], 1.0)
	if sla := overview.number("On time (SLA)"); math.Abs(sla-total(onTime)/float64(len(onTime)+1)) > 0.001 {
		t.Errorf("the SLA is %g, of %v", sla, onTime)
	}

	expect(t, "what failed", overview.rows("Failed sessions", "A", "policy", "extended_type"), failed)
	inARow := map[string]float64{}
	for _, site := range []*site{eu, gone} {
		for key, n := range consecutiveFailures(site) {
			if n > 0 {
				inARow[key] = n
			}
		}
	}
	expect(t, "what failed without a success since", overview.rows("Failed sessions", "C", "policy", "extended_type"), inARow)
	byStatus := grouped(ended, func(typ, _, _, status string) string {
		if typ != "Policy" {
			return ""
		}
		return status
	})
	expect(t, "bars", overview.sums("Sessions finished, by status", "status"), byStatus)
	runs := overview.rows("Running sessions", "A", "policy")
	expect(t, "running", float64(len(runs)), eu.running()+gone.running())
	if age := overview.at.Sub(stuck).Seconds(); math.Abs(runs["Slow"]-age) > 2 {
		t.Errorf("the stuck session runs for %g seconds, want %g", runs["Slow"], age)
	}
	expect(t, "what it typically takes", overview.rows("Running sessions", "B", "policy"), map[string]float64{"Slow": 60})
	if times := overview.rows("Running sessions", "C", "policy")["Slow"]; math.Abs(times-runs["Slow"]/60) > 0.1 {
		t.Errorf("it runs for %g times of that", times)
	}
	expect(t, "unprotected instances", overview.rows("Appliances", "F", "appliance"), map[string]float64{"eu": 16})
	overview.checkManaged()
	// The variable policy leaves out the others.
	narrowed := *overview
	narrowed.variables = maps.Clone(everything)
	narrowed.variables["policy"] = "Customer database|Late"
	expect(t, "failing of two", narrowed.number("Failing"), 0.0)
	expect(t, "overdue of two", narrowed.number("Overdue"), 1.0)
	expect(t, "bars of two", total(narrowed.sums("Sessions finished, by status", "status")),
		total(ofPolicies("", func(_, policy string) string {
			if policy == "Customer database" || policy == "Late" {
				return "it"
			}
			return ""
		})))

	const name = "Web servers"
	for _, p := range []*prometheus{prom, old} {
		vars := maps.Clone(everything)
		vars["appliance"], vars["policy"] = "eu", name
		policy := &asker{board: loadBoard(t, "vbaws-policy"), p: p, variables: vars, from: begin, at: overview.at}
		of := grouped(ended, func(typ, ext, policy, status string) string {
			if typ != "Policy" || policy != name {
				return ""
			}
			return ext + " " + status
		})
		expect(t, "the policy's sessions", policy.rows("By extended type and status", "A", "extended_type", "status"), of)
		statuses := grouped(ended, func(typ, _, policy, status string) string {
			if typ != "Policy" || policy != name {
				return ""
			}
			return status
		})
		expect(t, "the policy's bars", policy.sums("Sessions finished, by status", "status"), statuses)
		// The first session of a status makes the histogram, so increase() misses it. It
		// extrapolates by up to one scrape of each bar.
		want := total(statuses)
		for key := range ended {
			if strings.HasPrefix(key, "Policy ") && strings.Contains(key, " "+name+" ") && before[key] == 0 {
				want--
			}
		}
		cells := policy.cells("How long they took", map[bool]string{true: "A", false: "B"}[p == prom])
		if want == 0 || math.Abs(cells-want) > 0.05*want {
			t.Errorf("the heat map has %g sessions, want %g", cells, want)
		}
		if p != prom {
			continue
		}
		policy.askAll()
		expect(t, "its problems", policy.number("Problems now"), 0.0)
		row := consecutiveFailures(eu)
		expect(t, "its failures in a row", policy.number("Failed in a row"), max(row[name+" PolicySnapshot"], row[name+" PolicyBackup"]))
		newestOfAll := map[string]float64{}
		for key, status := range newest {
			if of, ext := cutLast(key); of == name {
				newestOfAll[ext+" "+status] = 1
			}
		}
		expect(t, "its newest sessions", policy.rows("By extended type and status", "C", "extended_type", "status"), newestOfAll)
		if rows := len(policy.course(policy.query("Failed in a row, by session", "A"))); rows != 2 {
			t.Errorf("the timeline has %d rows, want one for snapshots and one for backups", rows)
		}
		policy.checkExemplars(eu)
		// The board also shows the problem of the overdue policy.
		chosen := maps.Clone(vars)
		chosen["policy"] = "Late"
		one := &asker{board: policy.board, p: p, variables: chosen, from: begin, at: overview.at}
		expect(t, "the overdue policy's problems", one.number("Problems now"), 1.0)
		expect(t, "its time without overdue", one.number("On time (SLA)"), 0.0)
		if next := due.Add(24 * time.Hour).Sub(overview.at).Seconds(); math.Abs(one.number("Next due")-next) > 1 {
			t.Errorf("it is due in %g seconds, want %g", one.number("Next due"), next)
		}
	}

	vars := maps.Clone(everything)
	exp := &asker{board: loadBoard(t, "vbaws-exporter"), p: prom, variables: vars, from: begin, at: scraped()}
	exp.askAll()
	expect(t, "appliances that can't be polled", exp.number("Not polled"), 1.0)
	expect(t, "exporters that are down", exp.number("Exporters down"), 0.0)
	expect(t, "the configuration", exp.number("Configuration"), 1.0)
	expect(t, "what isn't counted", exp.number("Not counted, 24 h"), 0.0)
	wrong := float64(exp.ask(`sum(vbaws_exporter_polls_total{result!="success"})`)[0].Value)
	expect(t, "failed polls", exp.number("Failed polls, 24 h"), wrong)
	if bars := exp.sums("Polls by result", "result"); bars["unreachable"] != wrong || bars["success"] == 0 {
		t.Errorf("bars of polls are %v, %g failed", bars, wrong)
	}
	if n := exp.rows("Missing rights", "A", "appliance", "endpoint"); len(n) < 2 {
		t.Errorf("forbidden are %v", n)
	}
	unanswered := map[string]float64{}
	for _, s := range exp.ask(`sum by (appliance, endpoint) (vbaws_exporter_api_requests_total{code="error"})`) {
		unanswered[joined(s.Metric, []model.LabelName{"appliance", "endpoint"})+" error"] = float64(s.Value)
	}
	if unanswered["gone /api/v1/sessions error"] == 0 || unanswered["gone /api/v1/virtualMachines/policies error"] == 0 {
		t.Errorf("calls without an answer are %v", unanswered)
	}
	calls := exp.rows("Failed requests", "B", "appliance", "endpoint", "code")
	maps.DeleteFunc(calls, func(key string, _ float64) bool { return !strings.HasSuffix(key, " error") })
	expect(t, "calls without an answer", calls, unanswered)
}

// checkManaged compares the alerts for Grafana's own alerting with those of Prometheus. It
// waits, since the two evaluate at different times. It leaves out expressions with an
// offset, since this Prometheus has no older samples.
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
	apptest.Await(a.p.t, "the same alerts", func() (bool, any) {
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
				if found[r.Title] == 0 && len(known) > 0 && !strings.Contains(r.Data[0].Model.Expr, " offset ") {
					differ = append(differ, fmt.Sprintf("Prometheus alerts by %s on %v, Grafana doesn't", r.Title, slices.Collect(maps.Keys(known))))
				}
			}
		}
		for _, name := range []string{"VbawsWatchdog", "VbawsApplianceUnreachable"} {
			if found[name] == 0 {
				differ = append(differ, "Grafana has no "+name)
			}
		}
		return len(differ) == 0, differ
	})
}

// consecutiveFailures returns the number of failed sessions since the last success, for
// each policy and extended type.
func consecutiveFailures(s *site) map[string]float64 {
	type session struct {
		status string
		stop   time.Time
	}
	all := map[string][]session{}
	for _, h := range s.History() {
		if last := h.States[len(h.States)-1]; last.Type == "Policy" && last.Status != vbawstest.StatusRunning {
			key := last.Name + " " + last.ExtendedType
			all[key] = append(all[key], session{last.Status, last.Stop})
		}
	}
	row := map[string]float64{}
	for key, sessions := range all {
		slices.SortFunc(sessions, func(a, b session) int { return a.stop.Compare(b.stop) })
		row[key] = 0
		for _, s := range sessions {
			switch s.status {
			case vbawstest.StatusFailed:
				row[key]++
			case vbawstest.StatusSucceeded, vbawstest.StatusWarning:
				row[key] = 0
			}
		}
	}
	return row
}

// cutLast cuts off the last word of a text.
func cutLast(text string) (before, last string) {
	i := strings.LastIndex(text, " ")
	return text[:i], text[i+1:]
}

// cells returns the number of sessions in a heat map of native or classic buckets.
func (a *asker) cells(title, ref string) (sum float64) {
	a.p.t.Helper()
	for _, s := range a.course(a.query(title, ref)) {
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

// checkExemplars checks that the exemplars of the heat map have the ids of sessions, and
// their durations.
func (a *asker) checkExemplars(s *site) {
	a.p.t.Helper()
	resp, err := http.PostForm(a.p.URL+"/api/v1/query_exemplars", url.Values{
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

// TestComposePrometheus checks the configuration of Prometheus for compose.yml.
func TestComposePrometheus(t *testing.T) {
	t.Parallel()
	promtool(t, tools.promtool, "check", "config", "--syntax-only", "../deploy/compose/prometheus.yml")
}
