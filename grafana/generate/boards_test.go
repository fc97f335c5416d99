package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"vbaws_exporter/collector"
)

// committed returns the committed boards, decoded strictly by Grafana's schema.
func committed(t *testing.T) map[string]dashboard.Dashboard {
	t.Helper()
	plugins.RegisterDefaultPlugins()
	paths, err := filepath.Glob("../*.json")
	if err != nil || len(paths) != len(boards) {
		t.Fatal(paths, err)
	}
	found := map[string]dashboard.Dashboard{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard.Dashboard
		strictly(t, path, data, &d)
		// The strict decoder ignores the panels.
		var raw struct{ Panels []json.RawMessage }
		if err := errors.Join(json.Unmarshal(data, &raw), json.Unmarshal(data, &d)); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for i, p := range d.Panels {
			if p.Panel != nil {
				strictly(t, path, raw.Panels[i], new(dashboard.Panel))
			}
		}
		found[filepath.Base(path)] = d
	}
	return found
}

// strictly decodes JSON into a type of the SDK, and validates it.
func strictly(t *testing.T, path string, data []byte, into interface {
	UnmarshalJSONStrict([]byte) error
	Validate() error
}) {
	t.Helper()
	// Without a mistake it returns an error with an empty text.
	if err := into.UnmarshalJSONStrict(data); err != nil && err.Error() != "" {
		t.Fatalf("%s: %v", path, err)
	}
	if err := into.Validate(); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

// panels returns a board's panels, without its rows.
func panels(d dashboard.Dashboard) []*dashboard.Panel {
	var found []*dashboard.Panel
	for _, item := range d.Panels {
		if item.Panel != nil && item.Panel.Type != "row" {
			found = append(found, item.Panel)
		}
	}
	return found
}

// Limits: each query can be reviewed, and the overview fits into a ConfigMap with others.
const (
	longestQuery    = 400
	overviewSize    = 80_000
	samplesOfPolicy = 40_000
)

// signs are the colours that the boards are allowed to use.
var signs = []string{blue, sky, green, yellow, orange, vermilion, purple, grey, "text", "transparent"}

// TestBoards checks what dashboard-linter does not.
func TestBoards(t *testing.T) {
	colors := regexp.MustCompile(`"(?:color|fixedColor)": "([^"]+)"`)
	variable := regexp.MustCompile(`\$\{?([a-z_]\w*)`) // $1 is a group of label_replace
	for name, d := range committed(t) {
		t.Run(name, func(t *testing.T) {
			if *d.Uid+".json" != name {
				t.Errorf("its uid is %s", *d.Uid)
			}
			known := []string{"__interval", "__rate_interval", "__range", "__range_s"}
			used := map[string]bool{"datasource": true}
			for _, v := range d.Templating.List {
				known = append(known, v.Name)
				if v.Label == nil || *v.Label == "" || v.Description == nil || *v.Description == "" {
					t.Errorf("variable %s has no label or description", v.Name)
				}
			}
			if want := []string{"datasource", "cluster", "job"}; !slices.Equal(known[4:7], want) {
				t.Errorf("the first variables are %v, want %v", known[4:7], want)
			}
			if all := d.Templating.List[1].AllValue; all == nil || *all != ".*" {
				t.Error("All of the variable cluster leaves out series without the label")
			}
			if !slices.Contains(d.Tags, tag) || len(d.Links) != 1 || !d.Links[0].IncludeVars || !d.Links[0].KeepTime {
				t.Errorf("it is not linked to the other boards: %v, %v", d.Tags, d.Links)
			}

			ids, titles := map[uint32]bool{}, map[string]bool{}
			var taken [200][24]bool
			for _, p := range panels(d) {
				if ids[*p.Id] || titles[*p.Title] {
					t.Errorf("panel %d, %q: another has its id or title", *p.Id, *p.Title)
				}
				ids[*p.Id], titles[*p.Title] = true, true
				if p.FieldConfig.Defaults.NoValue == nil || *p.FieldConfig.Defaults.NoValue == "" {
					t.Errorf("panel %q has no text for no data", *p.Title)
				}
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
						if x >= 24 || taken[y][x] {
							t.Fatalf("panel %q is too wide, or covers another", *p.Title)
						}
						taken[y][x] = true
					}
				}
				for _, target := range p.Targets {
					q := target.(*prometheus.Dataquery)
					if len(q.Expr) > longestQuery {
						t.Errorf("panel %q has a query of %d characters, more than %d: %s", *p.Title, len(q.Expr), longestQuery, q.Expr)
					}
					for _, m := range variable.FindAllStringSubmatch(q.Expr, -1) {
						if !slices.Contains(known, m[1]) {
							t.Errorf("panel %q has the unknown variable %s: %s", *p.Title, m[1], q.Expr)
						}
						used[m[1]] = true
					}
				}
			}
			for _, v := range known[4:] {
				if !used[v] {
					t.Errorf("no panel depends on %s", v)
				}
			}

			text, err := os.ReadFile(filepath.Join("..", name))
			if err != nil {
				t.Fatal(err)
			}
			if name == overviewUID+".json" && len(text) > overviewSize {
				t.Errorf("it has %d bytes, more than %d", len(text), overviewSize)
			}
			// Only the first threshold has no value.
			if m := regexp.MustCompile(`.*: null`).FindString(strings.ReplaceAll(string(text), `"value": null`, "")); m != "" {
				t.Errorf("Grafana fails on %s", m)
			}
			for _, m := range colors.FindAllStringSubmatch(string(text), -1) {
				if !slices.Contains(signs, m[1]) {
					t.Errorf("%s is not in the palette", m[1])
				}
			}
			// Links to another board keep what was chosen here.
			for _, url := range regexp.MustCompile(`"url": "(/d/[^"]*)"`).FindAllStringSubmatch(string(text), -1) {
				for _, want := range []string{"${datasource:queryparam}", "${cluster:queryparam}", "${job:queryparam}", "var-appliance=", "${__url_time_range}"} {
					if !strings.Contains(url[1], want) {
						t.Errorf("the link %s lacks %s", url[1], want)
					}
				}
			}
		})
	}
}

// TestProblems: sorting by rank puts the worst problem first.
func TestProblems(t *testing.T) {
	var names, ranks []string
	for _, p := range problems {
		names, ranks = append(names, p.name), append(ranks, p.rank)
	}
	if diff := cmp.Diff(slices.Sorted(slices.Values(ranks)), ranks); diff != "" {
		t.Error(diff)
	}
	if want := []string{"stuck", "failing", "overdue", "silent", "disabled"}; !slices.Equal(names, want) {
		t.Errorf("%v, want the order of the status page, %v", names, want)
	}
	series := fleet{policies: 1, scrapes: 1}.series()
	d := committed(t)[overviewUID+".json"]
	rows := newViewer(t, stored(t, series), 0, nil).all(t, d)["Problems A"]
	for _, p := range problems {
		if want := fmt.Sprintf("problem=%q, rank=%q", p.name, p.rank); !strings.Contains(strings.Join(rows, "\n"), want) {
			t.Errorf("no row has %s: %s", want, rows)
		}
	}
	for _, m := range collector.Metrics() {
		if m.Name != "vbaws_policy_problem" {
			continue
		}
		for _, name := range names {
			if !strings.Contains(m.Help, name) {
				t.Errorf("%s doesn't document %s", m.Name, name)
			}
		}
	}
}

// fleet describes what one exporter exposes for policies with backups and snapshots: every metric with a label appliance,
// for a number of scrapes.
type fleet struct {
	instance, cluster string
	policies, scrapes int
	// well is whether each policy has one problem of one kind instead of all problems.
	well bool
	// counted is the value of the counters after the exporter's initial sync.
	counted int
}

// series returns the series of the fleet, in the notation of promqltest.
func (f fleet) series() []string {
	at := fmt.Sprintf("job=%q, instance=%q", "vbaws", f.instance)
	if f.cluster != "" {
		at += fmt.Sprintf(", cluster=%q", f.cluster)
	}
	var all []string
	for _, m := range collector.Metrics() {
		if !slices.Contains(m.Labels, "appliance") {
			continue
		}
		sets := []string{at}
		for _, label := range m.Labels {
			var next []string
			for _, value := range f.values(m.Name, label) {
				for _, set := range sets {
					next = append(next, fmt.Sprintf("%s, %s=%q", set, label, value))
				}
			}
			sets = next
		}
		for _, set := range sets {
			if f.well && m.Name == "vbaws_policy_problem_since_timestamp_seconds" && !strings.Contains(set, `kind="backup", problem="overdue"`) {
				continue
			}
			all = append(all, f.samples(m, set)...)
		}
	}
	return all
}

// unprotected is the instance that no policy protects.
const unprotected = "i-2"

func (f fleet) values(metric, label string) []string {
	switch label {
	case "policy":
		var names []string
		for i := range f.policies {
			names = append(names, fmt.Sprintf("policy %d", i))
		}
		return names
	case "kind":
		return []string{"backup", "snapshot"}
	case "problem":
		return []string{"stuck", "silent", "overdue", "failing", "disabled"}
	case "type":
		return []string{"Policy", "Job"}
	case "extended_type":
		return []string{"PolicyBackup", "PolicySnapshot"}
	case "status":
		return []string{"Succeeded", "Warning", "Failed"}
	case "instance_id":
		return []string{"i-1", unprotected}
	}
	return []string{"one"}
}

func (f fleet) samples(m collector.MetricDoc, set string) []string {
	name := m.Name + "{" + set
	switch {
	case m.Type == "histogram":
		h := func(n, times int) string {
			return fmt.Sprintf("{{schema:0 sum:%d count:%d buckets:[%d]}}x%d", n, n, n, times)
		}
		half := f.scrapes / 2
		steps := fmt.Sprintf(" %dx%d %dx%d", f.counted, half, f.counted+2, f.scrapes-half-1)
		return []string{
			name + "} " + h(f.counted, half) + " " + h(f.counted+2, f.scrapes-half-1),
			m.Name + "_bucket{" + set + `, le="60"}` + steps, m.Name + "_bucket{" + set + `, le="+Inf"}` + steps,
			m.Name + "_count{" + set + "}" + steps, m.Name + "_sum{" + set + "}" + steps,
		}
	case m.Type == "counter":
		return []string{fmt.Sprintf("%s} %dx%d %dx%d", name, f.counted, f.scrapes/2, f.counted+3, f.scrapes-f.scrapes/2-1)}
	case m.Name == "vbaws_instance_protected" && strings.Contains(set, unprotected):
		return []string{fmt.Sprintf("%s} 0x%d", name, f.scrapes)}
	case strings.HasSuffix(m.Name, "_timestamp_seconds"):
		return []string{fmt.Sprintf("%s} 72000x%d", name, f.scrapes)}
	}
	return []string{fmt.Sprintf("%s} 1x%d", name, f.scrapes)}
}

// stored returns a storage with series that have a sample a minute.
func stored(t *testing.T, series []string) storage.Storage {
	t.Helper()
	wide := func(o *tsdb.Options) {
		o.MinBlockDuration = (60 * 24 * time.Hour).Milliseconds()
		o.MaxBlockDuration = o.MinBlockDuration
	}
	return promqltest.LoadedStorage(t, "load 1m\n\t"+strings.Join(series, "\n\t")+"\n", wide)
}

// viewer evaluates the queries of a board as Grafana does when it shows a day.
type viewer struct {
	engine  *promql.Engine
	storage storage.Storage
	at      time.Time
	choice  map[string]string // by variable; the default is All
	samples int64
}

func newViewer(t *testing.T, storage storage.Storage, at time.Duration, choice map[string]string) *viewer {
	t.Helper()
	return &viewer{engine: promqltest.NewTestEngine(t, false, 5*time.Minute, 50_000_000), storage: storage, at: time.Unix(0, 0).Add(at), choice: choice}
}

const shown = 24 * time.Hour

// expr replaces the variables by values.
func (v *viewer) expr(t *testing.T, d dashboard.Dashboard, text string, interval time.Duration) string {
	t.Helper()
	replace := []string{
		"$__rate_interval", fmt.Sprintf("%ds", int((interval + time.Minute).Seconds())), "$__interval", fmt.Sprintf("%ds", int(interval.Seconds())),
		"$__range_s", fmt.Sprint(int(shown.Seconds())), "$__range", fmt.Sprintf("%ds", int(shown.Seconds())),
	}
	for _, variable := range d.Templating.List {
		value, ok := v.choice[variable.Name]
		if !ok && variable.AllValue != nil {
			value = *variable.AllValue
		}
		replace = append(replace, "$"+variable.Name, value)
	}
	return strings.NewReplacer(replace...).Replace(text)
}

// ask returns the result of a query of a panel, sorted.
func (v *viewer) ask(t *testing.T, d dashboard.Dashboard, p *dashboard.Panel, q *prometheus.Dataquery) []string {
	t.Helper()
	interval := 5 * time.Minute // about 300 points
	if p.MaxDataPoints != nil {
		interval = (shown / time.Duration(*p.MaxDataPoints)).Round(5 * time.Minute)
	}
	expr := v.expr(t, d, q.Expr, interval)
	var query promql.Query
	var err error
	if q.Instant != nil && *q.Instant {
		query, err = v.engine.NewInstantQuery(t.Context(), v.storage, nil, expr, v.at)
	} else {
		query, err = v.engine.NewRangeQuery(t.Context(), v.storage, nil, expr, v.at.Add(-shown), v.at, interval)
	}
	if err != nil {
		t.Fatalf("panel %q: %v: %s", *p.Title, err, expr)
	}
	defer query.Close()
	r := query.Exec(t.Context())
	if r.Err != nil || len(r.Warnings) > 0 {
		t.Fatalf("panel %q: %v, %v: %s", *p.Title, r.Err, r.Warnings, expr)
	}
	v.samples += query.Stats().Samples.TotalSamples
	var found []string
	switch value := r.Value.(type) {
	case promql.Vector:
		for _, s := range value {
			found = append(found, s.String())
		}
	case promql.Matrix:
		for _, s := range value {
			found = append(found, s.String())
		}
	default:
		t.Fatalf("panel %q has a %s: %s", *p.Title, value.Type(), expr)
	}
	slices.Sort(found)
	return found
}

// all evaluates all queries of a board, and returns the results by panel and query.
func (v *viewer) all(t *testing.T, d dashboard.Dashboard) map[string][]string {
	t.Helper()
	answers := map[string][]string{}
	for _, p := range panels(d) {
		for _, target := range p.Targets {
			q := target.(*prometheus.Dataquery)
			answers[*p.Title+" "+*q.RefId] = v.ask(t, d, p, q)
		}
	}
	return answers
}

// TestTwoExporters: with two exporters of one appliance, which had their initial syncs at different times, the boards
// show the same as with one.
func TestTwoExporters(t *testing.T) {
	const scrapes = 26 * 60
	one := fleet{instance: "a", policies: 2, scrapes: scrapes, counted: 70}
	other := fleet{instance: "b", policies: 2, scrapes: scrapes, counted: 3}
	choice := map[string]string{"appliance": "one", "policy": "policy 1", "type": "Policy"}
	for name, d := range committed(t) {
		if name == exporterUID+".json" { // which shows the exporters
			continue
		}
		at := (scrapes - 1) * time.Minute
		want := newViewer(t, stored(t, one.series()), at, choice).all(t, d)
		got := newViewer(t, stored(t, slices.Concat(one.series(), other.series())), at, choice).all(t, d)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		for query, values := range want {
			// The second query is for a Prometheus without native histograms.
			if len(values) == 0 && query != "How long they took B" {
				t.Errorf("%s: %q has no data", name, query)
			}
		}
	}
}

// TestCluster: All includes series without the label cluster, and one cluster can be chosen.
func TestCluster(t *testing.T) {
	const scrapes = 26 * 60
	none := fleet{instance: "a", policies: 2, scrapes: scrapes}
	some := fleet{instance: "a", cluster: "west", policies: 3, scrapes: scrapes}
	store := stored(t, slices.Concat(none.series(), some.series()))
	d := committed(t)[overviewUID+".json"]
	for cluster, want := range map[string]string{"": "3", "west": "3", "east": ""} {
		choice := map[string]string{}
		if cluster != "" {
			choice["cluster"] = cluster
		}
		got := newViewer(t, store, (scrapes-1)*time.Minute, choice).all(t, d)["Overdue A"]
		if want == "" && len(got) != 0 || want != "" && (len(got) != 1 || !strings.Contains(got[0], "=> "+want+" @")) {
			t.Errorf("of cluster %q %v policies are overdue, want %s", cluster, got, want)
		}
	}
	got := newViewer(t, stored(t, none.series()), (scrapes-1)*time.Minute, nil).all(t, d)["Overdue A"]
	if len(got) != 1 || !strings.Contains(got[0], "=> 2 @") {
		t.Errorf("without the label %v policies are overdue, want 2", got)
	}
}

// TestProblemTimeline: the timeline has at most 50 rows, of the problems that lasted longest.
func TestProblemTimeline(t *testing.T) {
	const scrapes = 26 * 60
	series := []string{}
	for i := range 80 {
		at := fmt.Sprintf(`{job="vbaws", instance="a", appliance="eu", policy="p%02d", workload="ec2", kind="backup", problem="overdue"}`, i)
		// Each is overdue for some minutes more than the one before, and at another time; the first never.
		n, before := 5*i, scrapes-5*i-i
		series = append(series, fmt.Sprintf("vbaws_policy_problem%s 0x%d 1x%d 0x%d", at, before-1, max(n-1, 0), i+1))
		if n > 0 {
			series = append(series, fmt.Sprintf("vbaws_policy_problem_since_timestamp_seconds%s _x%d 60x%d _x%d", at, before, n-1, i+1))
		}
	}
	d := committed(t)[overviewUID+".json"]
	rows := newViewer(t, stored(t, series), (scrapes-1)*time.Minute, nil).all(t, d)["Problems over time A"]
	if len(rows) != 50 || !strings.Contains(rows[0], `policy="p30"`) || !strings.Contains(rows[49], `policy="p79"`) {
		t.Errorf("%d rows, the first is %.200s", len(rows), rows[0])
	}
}

// TestCost limits the samples that Prometheus reads to show a day of the overview, if each policy has a problem.
func TestCost(t *testing.T) {
	const n, scrapes = 4, 26 * 60
	f := fleet{instance: "a", policies: n, scrapes: scrapes, well: true}
	v := newViewer(t, stored(t, f.series()), (scrapes-1)*time.Minute, nil)
	v.all(t, committed(t)[overviewUID+".json"])
	t.Logf("%d samples a policy", v.samples/n)
	if v.samples/n > samplesOfPolicy {
		t.Errorf("%d samples a policy, more than %d", v.samples/n, samplesOfPolicy)
	}
}
