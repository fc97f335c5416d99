package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/chromedp/chromedp"

	"vbaws_exporter/vbaws/vbawstest"
)

// agreed is a policy of TestAgreement, and the state that each view must show.
type agreed struct {
	name string
	// state is the state on the page and in the JSON, and problem the problem in the other
	// views, empty for none.
	state, problem string
	// alert is the alert that reaches a receiver, empty for none.
	alert, receiver string
}

var agreements = []agreed{
	{"ok", "ok", "", "", ""},
	{"warning only", "warning", "", "", ""},
	{"failing", "failing", "failing", "VbawsPolicyFailing", "ticket"},
	{"failing, a retry under way", "warning", "", "", ""},
	{"late, a run under way", "ok", "", "", ""},
	{"overdue", "overdue", "overdue", "VbawsPolicyOverdue", "ticket"},
	{"overdue, critical", "overdue", "overdue", "VbawsPolicyOverdueCritical", "pager"},
	{"stuck", "stuck", "stuck", "VbawsPolicyStuck", "pager"},
	{"silent", "silent", "silent", "VbawsPolicySilent", "ticket"},
	{"disabled", "disabled", "disabled", "VbawsPolicyDisabled", "ticket"},
}

// newAgreements makes the policies on an appliance in UTC, and returns the id of the one
// to disable. Time alone changes the state of none within half an hour.
func newAgreements(t *testing.T) (s *site, disable string) {
	s = newSite(t, "eu", vbawstest.Config{})
	now := s.Now().UTC()
	keep := vbawstest.Retention{Count: 7}
	daily := func(at time.Time) *vbawstest.ScheduleSettings {
		return &vbawstest.ScheduleSettings{WeeklyEnabled: true, Weekly: &vbawstest.WeeklySchedule{
			TimeLocal: vbawstest.At(at.Hour(), at.Minute()),
			Backup: vbawstest.Weekdays(keep, time.Sunday, time.Monday, time.Tuesday, time.Wednesday, time.Thursday,
				time.Friday, time.Saturday),
		}}
	}
	weekly := func(at time.Time) *vbawstest.ScheduleSettings {
		return &vbawstest.ScheduleSettings{WeeklyEnabled: true, Weekly: &vbawstest.WeeklySchedule{
			TimeLocal: vbawstest.At(at.Hour(), at.Minute()), Backup: vbawstest.Weekdays(keep, at.Weekday()),
		}}
	}
	put := func(name string, schedule *vbawstest.ScheduleSettings, sessions ...vbawstest.Session) string {
		p := s.PutPolicy(vbawstest.Policy{Name: name, Enabled: true, Schedule: schedule})
		for _, session := range sessions {
			session.Type, session.ExtendedType, session.Name, session.PolicyID = "Policy", "PolicyBackup", p.Name, p.ID
			s.Put(session)
		}
		return p.ID
	}
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	ended := func(d time.Duration, status string) vbawstest.Session {
		return vbawstest.Session{Start: ago(d + time.Minute), Stop: ago(d), Status: status}
	}
	running := func(d time.Duration) vbawstest.Session {
		return vbawstest.Session{Start: ago(d), Status: vbawstest.StatusRunning}
	}
	const day = 24 * time.Hour
	fine := daily(ago(12 * time.Hour)) // before each success but the old ones
	late := daily(ago(2 * time.Hour))
	put("ok", fine, ended(3*time.Hour, vbawstest.StatusSucceeded))
	put("warning only", fine, ended(3*time.Hour, vbawstest.StatusWarning))
	put("failing", fine, ended(3*time.Hour, vbawstest.StatusSucceeded), ended(time.Hour, vbawstest.StatusFailed))
	put("failing, a retry under way", fine,
		ended(3*time.Hour, vbawstest.StatusSucceeded), ended(2*time.Minute, vbawstest.StatusFailed), running(time.Minute))
	put("late, a run under way", late, ended(25*time.Hour, vbawstest.StatusSucceeded), running(90*time.Minute))
	put("overdue", late, ended(25*time.Hour, vbawstest.StatusSucceeded))
	put("overdue, critical", weekly(ago(3*day)), ended(9*day, vbawstest.StatusSucceeded))
	put("stuck", fine, running(30*time.Hour), ended(3*time.Hour, vbawstest.StatusSucceeded))
	put("silent", nil, ended(8*day, vbawstest.StatusSucceeded))
	return s, put("disabled", fine, ended(3*time.Hour, vbawstest.StatusSucceeded))
}

// TestAgreement compares what the page, the JSON, the metric, the alerts and the
// dashboard show of ten policies in ten states. It logs the table.
func TestAgreement(t *testing.T) {
	t.Parallel()
	s, disable := newAgreements(t)
	exporter := startExporter(t, "new_series_hold: 0\nbackfill: 10d\ninventory_interval: 1m\n", s)
	// The alert on a disabled policy fires after 12 hours.
	c := startChainOver(t, exporter, edit{`12 \* 3600`, "12"})
	c.prometheus.awaitQuery(`vbaws_policy_enabled{policy="disabled"}`, 1)
	s.EnablePolicy(disable, false)
	c.prometheus.awaitQuery(`vbaws_policy_problem{policy="disabled", problem="disabled"}`, 1)
	for _, a := range agreements {
		if a.alert != "" {
			c.await(t, "firing", map[string]string{"alertname": a.alert, "policy": a.name})
		}
	}
	// No alert is pending, and none fires on another policy.
	c.prometheus.awaitQuery(`count(ALERTS{policy!="", alertstate="pending"}) or vector(0)`, 0)
	fires, ought := make(map[string]bool), make(map[string]bool)
	for _, s := range c.prometheus.query(`ALERTS{policy!="", alertstate="firing"}`) {
		fires[string(s.Metric["policy"])] = true
	}
	for _, a := range agreements {
		if a.alert != "" {
			ought[a.name] = true
		}
	}
	expect(t, "the policies of alerts that fire", fires, ought)

	views := []struct {
		name string
		of   map[string]string // by policy
	}{
		{"page", c.page(t)}, {"page, problems", c.pageProblems(t)},
		{"JSON, state", c.json(t, false)}, {"JSON, problems", c.json(t, true)},
		{"metric", c.metric()}, {"alert", c.alerts()}, {"dashboard", c.dashboard(t)},
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "policy")
	for _, v := range views {
		fmt.Fprint(w, "\t", v.name)
	}
	for _, a := range agreements {
		fmt.Fprint(w, "\n", a.name)
		for _, v := range views {
			want := a.problem
			switch v.name {
			case "page", "JSON, state":
				want = a.state
			case "page, problems": // a disabled policy is no problem there
				want = strings.TrimPrefix(want, "disabled")
			case "alert":
				if a.alert != "" {
					want = a.alert + " to " + a.receiver
				}
			}
			got := v.of[a.name]
			fmt.Fprint(w, "\t", got)
			if got != want {
				fmt.Fprintf(w, " (WANT %s)", want)
				t.Errorf("%s shows %q for the policy %q, want %q", v.name, got, a.name, want)
			}
			delete(v.of, a.name)
		}
	}
	w.Flush()
	t.Logf("\n%s", &table)
	for _, v := range views {
		if len(v.of) > 0 {
			t.Errorf("%s shows policies that do not exist: %v", v.name, v.of)
		}
	}
	c.prometheus.checkRules()
}

// collected has the words that a view shows, by policy.
type collected map[string][]string

func (c collected) add(policy, what string) {
	if !slices.Contains(c[policy], what) {
		c[policy] = append(c[policy], what)
	}
}

func (c collected) words() map[string]string {
	words := make(map[string]string)
	for policy, list := range c {
		slices.Sort(list)
		words[policy] = strings.Join(list, ", ")
	}
	return words
}

// pageRows returns the words of a column of all tables of the page, by policy.
func (c *chain) pageRows(t *testing.T, column string) map[string]string {
	browser := newBrowser(t)
	if err := chromedp.Do(browser, chromedp.Navigate(c.exporter.URL+"/?refresh=off")); err != nil {
		t.Fatal(err)
	}
	all := make(collected)
	for _, row := range js[[][2]string](t, browser, fmt.Sprintf(`[...document.querySelectorAll('td[data-label=%q]')].map(
		td => [td.closest("tr").querySelector("th .name").textContent, td.querySelector(".result").className.replace("result ", "")])`, column)) {
		all.add(row[0], row[1])
	}
	return all.words()
}

func (c *chain) page(t *testing.T) map[string]string { return c.pageRows(t, "State") }

func (c *chain) pageProblems(t *testing.T) map[string]string { return c.pageRows(t, "Problem") }

// json returns the states of the policies, or their problems, as the JSON shows them.
func (c *chain) json(t *testing.T, problems bool) map[string]string {
	_, body := c.exporter.Get("/api/v1/status")
	var status struct {
		Appliances []struct {
			Policies []struct {
				Name, State string
				Problems    []struct{ Problem string }
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &status); err != nil {
		t.Fatal(err)
	}
	all := make(collected)
	for _, p := range status.Appliances[0].Policies {
		if !problems {
			all.add(p.Name, p.State)
		}
		for _, problem := range p.Problems {
			if problems {
				all.add(p.Name, problem.Problem)
			}
		}
	}
	return all.words()
}

func (c *chain) metric() map[string]string {
	all := make(collected)
	for _, s := range c.prometheus.query(`vbaws_policy_problem == 1`) {
		all.add(string(s.Metric["policy"]), string(s.Metric["problem"]))
	}
	return all.words()
}

// alerts returns the alerts on policies that receivers got.
func (c *chain) alerts() map[string]string {
	all := make(collected)
	for _, e := range c.events(nil) {
		if e.labels["policy"] != "" {
			what := e.labels["alertname"] + " to " + e.receiver
			if e.status != "firing" {
				what += ", " + e.status
			}
			all.add(e.labels["policy"], what)
		}
	}
	return all.words()
}

// dashboard returns the problems in the overview's table, and checks the numbers and the
// timeline beside it.
func (c *chain) dashboard(t *testing.T) map[string]string {
	const window = 5 * time.Minute
	now := time.Now()
	a := &asker{board: loadBoard(t, "vbaws-overview"), p: c.prometheus, from: now.Add(-window), at: now, variables: map[string]string{
		"appliance": ".*", "policy": ".*", "cluster": ".*", "job": ".*", "__range": window.String(), "__interval": step.String(),
	}}
	all := make(collected)
	for _, s := range a.ask(a.query("Problems", "A")) {
		all.add(string(s.Metric["policy"]), string(s.Metric["problem"]))
	}
	count := make(map[string]float64)
	lasting := make(map[string]bool)
	for _, agreed := range agreements {
		count[agreed.problem]++
		if agreed.problem != "" && agreed.problem != "disabled" {
			lasting[agreed.name] = true
		}
	}
	for title, problem := range map[string]string{"Stuck": "stuck", "Overdue": "overdue", "Failing": "failing", "Silent": "silent"} {
		expect(t, "the number of "+title, a.number(title), count[problem])
	}
	shown := make(map[string]bool)
	for _, s := range a.course(a.query("Problems over time", "A")) {
		shown[string(s.Metric["policy"])] = true
	}
	expect(t, "the timeline", slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(lasting)))
	return all.words()
}
