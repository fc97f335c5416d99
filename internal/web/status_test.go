package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/internal/docstest"
	"vbaws_exporter/vbaws"
)

// series returns the series of a policy. Its newest session ended an hour before noon.
func series(policy, extendedType, status string, running int) ledger.SeriesView {
	s := ledger.SeriesView{
		Series: &ledger.Series{
			Key:      ledger.Key{Type: vbaws.TypePolicy, ExtendedType: extendedType, Policy: policy},
			Counters: []*ledger.Counter{{Status: status, Count: 1, End: noon.Add(-time.Hour)}},
			Last:     ledger.Last{Status: status, End: noon.Add(-time.Hour), Duration: 90 * time.Second},
		},
		Running: running,
	}
	if running > 0 {
		s.Starts = []time.Time{noon.Add(-10 * time.Minute)}
	}
	return s
}

func row(name string, kinds ...verdict.Kind) poller.PolicyRow {
	return poller.PolicyRow{
		Name: name, Workload: "ec2", Enabled: true, Verdict: verdict.Verdict{State: verdict.Pending, Kinds: kinds},
	}
}

// kind returns the verdict on one kind.
func kind(kind schedule.Kind, state verdict.State, edit ...func(*verdict.Kind)) verdict.Kind {
	k := verdict.Kind{Kind: kind, State: state, NextDue: noon.Add(5 * time.Hour)}
	for _, e := range edit {
		e(&k)
	}
	return k
}

var berlin = time.FixedZone("Europe/Berlin", 60*60)

func at(t time.Time) verdict.Problem { return verdict.Problem{Judged: true, Since: t} }

// ended adds finished sessions that ended an hour apart, the last one an hour before noon.
func ended(statuses ...string) func(*verdict.Kind) {
	return func(k *verdict.Kind) {
		for i, status := range statuses {
			end := noon.Add(time.Duration(i-len(statuses)) * time.Hour)
			k.Recent = append(k.Recent, verdict.Session{Start: end.Add(-90 * time.Second), End: end, Status: status})
		}
	}
}

// published returns an appliance with a policy in each state.
func published() poller.Published {
	early, late := noon.Add(-2*time.Hour), noon.Add(-30*time.Minute)
	done := noon.Add(-time.Hour)
	off := row("off", kind(schedule.Backup, verdict.Disabled))
	off.Enabled, off.Disabled = false, at(early)
	silent := row("silent", kind(schedule.Backup, verdict.Silent, func(k *verdict.Kind) { k.NextDue = time.Time{} }))
	silent.Silent = at(noon.Add(-8 * 24 * time.Hour))
	fine := row("fine", kind(schedule.Backup, verdict.OK), kind(schedule.Snapshot, verdict.OK))
	fine.Kinds[1].Success = done
	unlisted := row("unlisted", kind(schedule.Snapshot, verdict.OK))
	unlisted.Unlisted, unlisted.Workload = true, ""
	job := series("fine", "PolicyBackup", "Failed", 5)
	job.Series.Key.Type = "Job"
	overdue := func(k *verdict.Kind) { k.Overdue, k.OverdueRuns = at(late), 1 }
	scheduled := kind(schedule.Backup, verdict.Failing, overdue, func(k *verdict.Kind) { k.Failing = at(done) }, ended("Succeeded", "Warning", "Failed", "Canceled", "Failed"))
	scheduled.Schedule = "daily at 18:00 Europe/Berlin"
	scheduled.NextDue = scheduled.NextDue.In(berlin)
	estimated := kind(schedule.Backup, verdict.Overdue, overdue, func(k *verdict.Kind) { k.Estimate, k.NextDue = true, time.Time{} })
	estimated.Schedule = "every 2 h"
	return poller.Published{
		View: &ledger.View{Series: []ledger.SeriesView{
			series("failed", "PolicyBackup", "Failed", 0),
			series("fine", "PolicyBackup", "Succeeded", 0),
			job,
			series("busy", "PolicyBackup", "Succeeded", 1),
			series("late", "PolicyBackup", "Succeeded", 0),
			series("warned", "PolicySnapshot", "Warning", 0),
			series("unlisted", "PolicySnapshot", "Succeeded", 0),
			series("off", "PolicyBackup", "Failed", 0),
			series("hangs", "PolicyBackup", "Succeeded", 1),
		}},
		Policies: &poller.PolicySet{Rows: []poller.PolicyRow{
			row("failed", scheduled),
			fine,
			row("busy", kind(schedule.Backup, verdict.OK)),
			row("late", estimated),
			row("new"),
			row("warned", kind(schedule.Snapshot, verdict.Warning)),
			row("not yet", kind(schedule.Backup, verdict.Pending)),
			row("hangs", kind(schedule.Backup, verdict.Stuck, func(k *verdict.Kind) { k.Stuck = at(early) })),
			off, silent, unlisted,
		}},
		Status: poller.Status{
			Polls: 1, Up: true, Result: poller.ResultSuccess, LastPoll: noon, LastSuccess: noon,
			Recent: []poller.Ended{{
				Session: vbaws.Session{ID: "1", Type: "Policy", ExtendedType: "PolicyBackup", Status: "Failed", Start: early, Stop: done},
				Policy:  "failed", Duration: time.Hour, Errors: []string{"Access denied", "and more"},
			}},
			Failures: map[ledger.Key]poller.Failure{
				{Type: "Policy", ExtendedType: "PolicyBackup", Policy: "failed"}: {End: done, Errors: []string{"Access denied", "and more"}},
				{Type: "Policy", ExtendedType: "PolicyBackup", Policy: "late"}:   {End: done, Errors: []string{"of before"}},
			},
		},
	}
}

func TestStatus(t *testing.T) {
	t.Run("policies", testStatusPolicies)
	t.Run("policies of one name", testStatusPoliciesOfOneName)
	t.Run("kind without verdict", testStatusKindWithoutVerdict)
	t.Run("unreadable schedule", testStatusUnreadableSchedule)
	t.Run("problems", testStatusProblems)
	t.Run("problems of one name", testStatusProblemsOfOneName)
	t.Run("many problems", testStatusManyProblems)
	t.Run("big appliance", testStatusBigAppliance)
	t.Run("next start", testStatusNextStart)
	t.Run("hostile names", testStatusHostileNames)
	t.Run("many appliances", testStatusManyAppliances)
	t.Run("JSON", testStatusJSON)
	t.Run("documentation", testStatusDocumentation)
}

func testStatusPolicies(t *testing.T) {
	p := published()
	var got []string
	for _, r := range policies(&p) {
		var problems []string
		for _, p := range r.Problems {
			problems = append(problems, string(p.Problem)+" since "+p.Since.Format("02 15:04"))
		}
		got = append(got, fmt.Sprintf("%s %s/%s %s: %s; %s", r.State, r.Name, r.Workload, r.Kind, r.ResultText(), strings.Join(problems, ", ")))
	}
	want := []string{
		"stuck hangs/ec2 backup: Succeeded; stuck since 01 10:00",
		"failing failed/ec2 backup: Failed; failing since 01 11:00, overdue since 01 11:30",
		"overdue late/ec2 backup: Succeeded; overdue since 01 11:30",
		"silent silent/ec2 backup: no session yet; silent since 21 12:00",
		"warning warned/ec2 snapshot: Warning; ",
		"pending new/ec2 : no session yet; ",
		"pending not yet/ec2 backup: no session yet; ",
		"ok busy/ec2 backup: Succeeded; ",
		"ok fine/ec2 backup: Succeeded; ",
		"ok fine/ec2 snapshot: covered by another kind; ",
		"ok unlisted/ snapshot: Succeeded; ",
		"disabled off/ec2 backup: Failed; disabled since 01 10:00",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// testStatusKindWithoutVerdict: a policy without a schedule and without a session has no kind,
// and the state of the policy.
func testStatusKindWithoutVerdict(t *testing.T) {
	p := poller.Published{View: &ledger.View{}, Policies: &poller.PolicySet{Rows: []poller.PolicyRow{
		row("by hand"), row("fails", kind(schedule.Whole, verdict.Failing)),
	}}}
	got := policies(&p)
	if len(got) != 2 || got[0].Name != "fails" || got[1].State != "pending" {
		t.Errorf("%+v", got)
	}
}

// testStatusPoliciesOfOneName: if several words of the appliance are of one kind, the newest
// session is shown. Between workloads the words decide.
func testStatusPoliciesOfOneName(t *testing.T) {
	older, newer := series("p", "PolicySnapshot", "Failed", 1), series("p", "PolicyRdsSnapshot", "Succeeded", 2)
	older.Series.Last.End = noon.Add(-2 * time.Hour)
	older.Starts = []time.Time{noon.Add(-time.Hour)}
	ec2, rds := row("p", kind(schedule.Snapshot, verdict.OK)), row("p", kind(schedule.Snapshot, verdict.OK))
	rds.Workload = "rds"
	for _, order := range [][]ledger.SeriesView{{older, newer}, {newer, older}} {
		p := poller.Published{View: &ledger.View{Series: order}, Policies: &poller.PolicySet{Rows: []poller.PolicyRow{ec2}}}
		got := policies(&p)
		if len(got) != 1 || got[0].LastStatus != "Succeeded" || got[0].Running != 3 || !got[0].RunningSince.Equal(noon.Add(-time.Hour)) {
			t.Errorf("%+v", got)
		}
		p.Policies.Rows = []poller.PolicyRow{ec2, rds}
		if got := policies(&p); len(got) != 2 || got[0].LastStatus != "Failed" || got[1].LastStatus != "Succeeded" {
			t.Errorf("%+v", got)
		}
	}
}

// testStatusUnreadableSchedule: a part of a schedule that can't be understood is shown with its
// policy.
func testStatusUnreadableSchedule(t *testing.T) {
	const reason = `weeklySchedule: days: "<b>Moonday" is not one of Sunday to Saturday`
	p := published()
	unknown := func(k *verdict.Kind) { k.NextDue = time.Time{} }
	odd := row("fine", kind(schedule.Backup, verdict.Warning, unknown))
	odd.Unreadable = reason
	same := row("fine", kind(schedule.Backup, verdict.OK, unknown))
	same.Workload = "rds"
	p.Policies.Rows = []poller.PolicyRow{odd, same}
	p.Policies.Unreadable = 1
	check := series("fine", "PolicyHealthCheck", "Failed", 0) // of another row
	p.View.Series = []ledger.SeriesView{series("fine", "PolicyBackup", "Succeeded", 0), check}
	var got []string
	for _, r := range policies(&p) {
		got = append(got, fmt.Sprintf("%s %s/%s %s: %s", r.State, r.Name, r.Workload, r.Kind, r.ScheduleError))
	}
	if diff := cmp.Diff([]string{"warning fine/ec2 backup: " + reason, "ok fine/rds backup: "}, got); diff != "" {
		t.Error(diff)
	}
	h := handler(t, Options{Sources: sources(&source{"a", p})})
	text := body(t, get(h, "/"))
	for _, want := range []string{
		`<td data-label="Schedule" class="when">– <bdi class="message">not understood: weeklySchedule: days: &#34;&lt;b&gt;Moonday&#34; is not`,
		"<dt>Schedules not understood</dt><dd dir=\"auto\">of 1 policy",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	text = body(t, get(h, "/api/v1/status"))
	for _, want := range []string{`"schedules_unreadable":1`, `"schedule_error":"weeklySchedule`} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestPage(t *testing.T) {
	t.Run("policies", testPagePolicies)
	t.Run("limited", testPageLimited)
	t.Run("colors", testPageColors)
	t.Run("refresh", testPageRefresh)
	t.Run("appliances", testPageAppliances)
	t.Run("states", testPageStates)
	t.Run("distance", testPageDistance)
	t.Run("summary", testPageSummary)
}

func testPagePolicies(t *testing.T) {
	h := handler(t, Options{Sources: sources(&source{"a", published()})})
	text := body(t, get(h, "/"))
	for _, want := range []string{
		"4 policies have problems.",
		`<section class="stuck">`, // the appliance has the color of its worst policy
		// A problem, since when, and why.
		`<td data-label="Problem" class="brief"><span class="result failing">failing</span> <br><time datetime="2026-03-01T11:00:00Z" title="since 2026-03-01 11:00:00 UTC">for 1 h</time></td>`,
		`<bdi>The last 2 sessions failed. No success is known. 1 run is overdue for 30 min.</bdi><ul class="errors"><li><bdi class="message">Access denied</bdi></li><li><bdi class="message">and more</bdi></li></ul>`,
		`<bdi>A session has been running for 2 h.</bdi></td>`,
		`<bdi>1 run is overdue for 30 min (an estimate: the start times are not known).</bdi></td>`,
		`<bdi>No success for 8 days, and no schedule is known.</bdi></td>`,
		// The schedule in words, and the next start by its own clock.
		`<td data-label="Schedule" class="when">daily at 18:00 Europe/Berlin<br>next <time datetime="2026-03-01T17:00:00Z" title="2026-03-01 17:00:00 UTC, in 5 h">18:00</time></td>`,
		`<td data-label="Schedule" class="when">every 2 h <span class="quiet">(estimate)</span></td>`,
		// The strip of sessions.
		`<ol class="strip" aria-label="Last sessions, oldest first"><li class="ok" title="Succeeded, ended 2026-03-01 07:00:00 UTC, took 1m30s">✓</li>` +
			`<li class="warning" title="Warning, ended 2026-03-01 08:00:00 UTC, took 1m30s">!</li><li class="failing" title="Failed, ended 2026-03-01 09:00:00 UTC, took 1m30s">✗</li>` +
			`<li class="pending" title="Canceled, ended 2026-03-01 10:00:00 UTC, took 1m30s">–</li><li class="failing" title="Failed, ended`,
		// Recent sessions have a type.
		`<td data-label="Type" class="word"><bdi>Policy</bdi></td>`,
		`<td data-label="Took" class="brief">1h0m0s</td>`,
		`<span class="result ok">ok</span> <br>running <time datetime="2026-03-01T11:50:00Z" title="since 2026-03-01 11:50:00 UTC">for 10 min</time>`,
		"9 sessions counted, 7 running",
		`<td data-label="Kind" class="brief">any</td>`, // neither a schedule nor a session
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if strings.Contains(text, "of before") {
		t.Error("an error without a failure")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// testPageColors: an appliance has the color of the worst of polling and its policies.
func testPageColors(t *testing.T) {
	with := func(states ...verdict.State) poller.Published {
		p := poller.Published{View: &ledger.View{}, Policies: &poller.PolicySet{}, Status: poller.Status{Polls: 1, Up: true, Result: poller.ResultSuccess}}
		for i, state := range states {
			p.Policies.Rows = append(p.Policies.Rows, row(fmt.Sprint(i), kind(schedule.Backup, state)))
		}
		return p
	}
	down := with(verdict.Stuck)
	down.Result = poller.Result(vbaws.KindTLS)
	disabled := with()
	disabled.Policies.Rows = []poller.PolicyRow{row("off", kind(schedule.Backup, verdict.Disabled))}
	disabled.Policies.Rows[0].Enabled = false
	stored := with(verdict.Overdue) // before the first poll
	stored.Status = poller.Status{}
	for name, test := range map[string]struct {
		p    poller.Published
		want string
	}{
		"no policy": {with(), "ok"}, "ok": {with(verdict.OK, verdict.OK), "ok"}, "warning": {with(verdict.OK, verdict.Warning), "warning"},
		"pending": {with(verdict.OK, verdict.Pending), "pending"}, "failing": {with(verdict.OK, verdict.Failing, verdict.Warning), "failing"},
		"overdue": {with(verdict.Overdue, verdict.OK), "overdue"}, "stuck": {with(verdict.Failing, verdict.Stuck), "stuck"},
		"down": {down, "poll_failed"}, "disabled": {disabled, "ok"}, "new": {poller.Published{}, "pending"}, "stored": {stored, "overdue"},
	} {
		page := body(t, get(handler(t, Options{Sources: sources(&source{"a", test.p})}), "/"))
		if !strings.Contains(page, fmt.Sprintf("<section class=%q>\n<h2><bdi class=\"name\">a</bdi>", test.want)) {
			t.Errorf("%s is not %s:\n%s", name, test.want, page)
		}
	}
}

// testStatusProblems: the problems of all appliances are in one list, the worst first, and of
// equal ones the oldest first, on the page and in JSON.
func testStatusProblems(t *testing.T) {
	policy := func(name string, state verdict.State, hours int) poller.PolicyRow {
		return row(name, kind(schedule.Backup, state, func(k *verdict.Kind) {
			problem := at(noon.Add(time.Duration(-hours) * time.Hour))
			switch state {
			case verdict.Stuck:
				k.Stuck = problem
			case verdict.Failing:
				k.Failing = problem
			case verdict.Overdue:
				k.Overdue, k.OverdueRuns = problem, 3
			}
		}))
	}
	appliance := func(rows ...poller.PolicyRow) poller.Published {
		return poller.Published{View: &ledger.View{}, Policies: &poller.PolicySet{Rows: rows}, Status: poller.Status{Polls: 1, Up: true, Result: poller.ResultSuccess}}
	}
	silent := policy("s", verdict.Silent, 0)
	silent.Silent = at(noon.Add(-9 * 24 * time.Hour))
	off := policy("off", verdict.Disabled, 0)
	off.Enabled, off.Disabled = false, at(noon)
	down := appliance(policy("p", verdict.Overdue, 5))
	down.Up, down.Result, down.Err, down.FailedSince = false, poller.Result(vbaws.KindUnreachable), errors.New("connection refused"), noon.Add(-20*time.Minute)
	o := Options{
		Sources: sources(
			&source{"a", appliance(policy("p", verdict.Failing, 1), policy("q", verdict.Overdue, 4), silent, off, policy("fine", verdict.OK, 0))},
			&source{"b", appliance(policy("p", verdict.Failing, 30), policy("r", verdict.Stuck, 3))},
			&source{"c", down}),
		Rejected: func() *Rejection {
			return &Rejection{Since: noon.Add(-12 * time.Minute), Err: errors.New("config.yml:3:1: unknown key <b>\nconfig.yml:4:1: another")}
		},
	}
	h := handler(t, o)
	want := []string{
		"config_rejected / since 11:48: config.yml:3:1: unknown key <b>|config.yml:4:1: another",
		"poll_failed c/ since 11:40: connection refused",
		"stuck b/r since 09:00: ",
		"failing b/p since 06:00: ",
		"failing a/p since 11:00: ",
		"overdue c/p since 07:00: ",
		"overdue a/q since 08:00: ",
		"silent a/s since 12:00: ",
	}
	var back status
	text := body(t, get(h, "/api/v1/status"))
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range back.Problems {
		got = append(got, fmt.Sprintf("%s %s/%s since %s: %s", p.State, p.Appliance, p.Policy, p.Since.Format("15:04"), strings.Join(p.Errors, "|")))
	}
	if d := cmp.Diff(want, got); d != "" || back.ProblemCount != len(want) {
		t.Errorf("%d, JSON -want +got:\n%s", back.ProblemCount, d)
	}
	if want := "Polling fails for 1 of 3 appliances. 6 policies have problems. The configuration file was rejected."; back.Summary != want {
		t.Errorf("summary %q, want %q", back.Summary, want)
	}
	page := body(t, get(h, "/"))
	last := 0
	for _, want := range []string{
		`<div class="banner" role="status">`, "Rejected <time", "12 min ago", "config.yml:3:1: unknown key &lt;b&gt;", "config.yml:4:1: another", "check --offline",
		"<h2>Problems</h2>",
		`<bdi class="name">c</bdi> <span class="quiet">appliance</span></th>`, `>poll failed</span> <br><time datetime="2026-03-01T11:40:00Z"`, ">for 20 min<", "The appliance can&#39;t be reached.", "connection refused", "Check url",
		`<bdi class="name">r</bdi> <span class="quiet">ec2 backup</span> <a class="name" href="/?appliance=b"><bdi>b</bdi></a>`, "running for 3 h",
		`<bdi class="name">p</bdi> <span class="quiet">ec2 backup</span> <a class="name" href="/?appliance=b"><bdi>b</bdi></a>`, ">for 30 h<",
		`<bdi class="name">p</bdi> <span class="quiet">ec2 backup</span> <a class="name" href="/?appliance=a"><bdi>a</bdi></a>`, ">for 1 h<",
		`<bdi class="name">p</bdi> <span class="quiet">ec2 backup</span> <a class="name" href="/?appliance=c"><bdi>c</bdi></a>`, "3 runs are overdue, the first for 5 h",
		`<bdi class="name">q</bdi> `, `<bdi class="name">s</bdi> `,
		`<section class="poll_failed">`, `<section class="stuck">`, `<section class="failing">`,
	} {
		i := strings.Index(page[last:], want)
		if i < 0 {
			t.Fatalf("lacks, at its place, %s:\n%s", want, page)
		}
		last += i
	}
	// The page of one appliance has its own problems, and that of the exporter.
	one := body(t, get(h, "/?appliance=a"))
	if !strings.Contains(one, "was rejected") || strings.Contains(one, "connection refused") || !strings.Contains(one, `>s</bdi>`) {
		t.Errorf("the page of one appliance:\n%s", one)
	}
	// Without problems there is no place for them.
	o.Sources, o.Rejected = sources(&source{"a", appliance(policy("fine", verdict.OK, 0))}), nil
	h = handler(t, o)
	if page := body(t, get(h, "/")); strings.Contains(page, "Problems") || strings.Contains(page, "class=\"banner") {
		t.Errorf("problems without a cause:\n%s", page)
	}
	if text := body(t, get(h, "/api/v1/status")); !strings.Contains(text, `"problems":[],"problem_count":0`) {
		t.Errorf("problems without a cause: %s", text)
	}
}

// testStatusProblemsOfOneName: policies with one name and different workloads are two.
func testStatusProblemsOfOneName(t *testing.T) {
	failing := func(k *verdict.Kind) { k.Failing = at(noon.Add(-time.Hour)) }
	ec2, rds := row("p", kind(schedule.Snapshot, verdict.Failing, failing)), row("p", kind(schedule.Snapshot, verdict.Failing, failing))
	rds.Workload = "rds"
	p := poller.Published{
		View: &ledger.View{}, Policies: &poller.PolicySet{Rows: []poller.PolicyRow{ec2, rds}},
		Status: poller.Status{Polls: 1, Up: true, Result: poller.ResultSuccess},
	}
	page := body(t, get(handler(t, Options{Sources: sources(&source{"a", p})}), "/"))
	for _, want := range []string{"Polling OK. 2 policies have problems.", "2 policies, 2 with problems."} {
		if !strings.Contains(page, want) {
			t.Errorf("lacks %s:\n%s", want, page)
		}
	}
}

// testStatusManyProblems: the rejected configuration is shown separately, and not counted as
// one of the other problems.
func testStatusManyProblems(t *testing.T) {
	p := poller.Published{
		View: &ledger.View{}, Policies: &poller.PolicySet{},
		Status: poller.Status{Polls: 1, Up: true, Result: poller.ResultSuccess},
	}
	for i := range 150 {
		p.Policies.Rows = append(p.Policies.Rows, row(fmt.Sprint(i), kind(schedule.Backup, verdict.Failing, func(k *verdict.Kind) { k.Failing = at(noon) })))
	}
	page := body(t, get(handler(t, Options{
		Sources:  sources(&source{"a", p}),
		Rejected: func() *Rejection { return &Rejection{noon, errors.New("unknown key")} },
	}), "/"))
	for _, want := range []string{"The worst 100 of 150", "50 more problems are not shown"} {
		if !strings.Contains(page, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if n := strings.Count(page, `<td data-label="Problem"`); n != maxProblemRows {
		t.Errorf("%d rows", n)
	}
}

// testStatusBigAppliance: the lists of an appliance with thousands of failing policies are
// limited, and the omitted rows are counted.
func testStatusBigAppliance(t *testing.T) {
	const policies = 2000
	p := poller.Published{
		View: &ledger.View{}, Policies: &poller.PolicySet{},
		Status: poller.Status{Polls: 1, Up: true, Result: poller.ResultSuccess, Failures: make(map[ledger.Key]poller.Failure)},
	}
	statuses := slices.Repeat([]string{"Failed"}, verdict.Keep)
	text := strings.Repeat("because ", 60)
	for i := range policies {
		name := fmt.Sprintf("policy %04d", i)
		failing := func(k *verdict.Kind) { k.Failing = at(noon.Add(-time.Hour)) }
		p.Policies.Rows = append(p.Policies.Rows, row(name,
			kind(schedule.Backup, verdict.Failing, failing, ended(statuses...)), kind(schedule.Snapshot, verdict.Failing, failing, ended(statuses...))))
		s := series(name, "PolicyBackup", "Failed", 0)
		p.View.Series = append(p.View.Series, s)
		if i < 500 {
			p.Failures[s.Key] = poller.Failure{End: noon.Add(-time.Hour), Errors: []string{text, text, text}}
		}
	}
	h := handler(t, Options{Sources: sources(&source{"big", p})})
	page := body(t, get(h, "/"))
	if len(page) > 3<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	for _, want := range []string{"The worst 100 of 4000", `3900 more problems are not shown. <a href="/api/v1/status">The status as JSON</a> has up to 500.`, "3500 more are not shown", "2000 policies, 2000 with problems", "At least the last 20 sessions failed."} {
		if !strings.Contains(page, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if n := strings.Count(page, `<ol class="strip"`); n != maxProblemRows+maxPolicyRows {
		t.Errorf("%d strips", n)
	}
	text = body(t, get(h, "/api/v1/status"))
	var back status
	if err := json.Unmarshal([]byte(text), &back); err != nil {
		t.Fatal(err)
	}
	if len(text) > 9<<20 || len(back.Problems) != maxProblems || back.ProblemCount != 2*policies || len(back.Appliances[0].Policies) != 2*policies {
		t.Errorf("JSON: %d bytes, %d of %d problems", len(text), len(back.Problems), back.ProblemCount)
	}
	t.Logf("page %d kB, JSON %d kB", len(page)/1000, len(text)/1000)
}

func testStatusNextStart(t *testing.T) {
	p := &page{status: &status{Time: noon}}
	for next, want := range map[time.Time]string{
		{}:                                  "",
		noon.Add(time.Hour):                 "13:00",
		noon.Add(11 * time.Hour).In(berlin): "Mon 00:00", // tomorrow, there
		noon.Add(4 * 24 * time.Hour):        "Thu 12:00",
		noon.Add(9 * 24 * time.Hour):        "10 Mar 12:00",
		noon.AddDate(1, 0, 0):               "1 Mar 2027 12:00",
		noon.Add(-time.Minute):              "11:59",
	} {
		if got := p.NextText(policyStatus{nextLocal: next}); got != want {
			t.Errorf("%v: %q, want %q", next, got, want)
		}
	}
}

// testStatusHostileNames: any name is shown completely, as text.
func testStatusHostileNames(t *testing.T) {
	names := []string{
		`<script>alert(1)</script>`, `" onmouseover="alert(1)`, `'>"></td></table><b>`, "{{.Version}}", "javascript:alert(1)",
		strings.Repeat("10 kB of <i>text</i> ", 512), "\u202egnp.exe", "שלום עולם", "</style></title><!--", "a\x00b\xffc", "&lt;",
	}
	p := published()
	p.Policies.Rows = nil
	for _, name := range names {
		p.Policies.Rows = append(p.Policies.Rows, row(name, kind(schedule.Whole, verdict.OK)))
		p.View.Series = append(p.View.Series, series(name, name, name, 1))
		p.Recent = append(p.Recent, poller.Ended{Session: vbaws.Session{ID: name, Type: name, ExtendedType: name, Status: name}, Policy: name, Errors: []string{name}})
	}
	p.Failures = map[ledger.Key]poller.Failure{}
	for i := range p.Policies.Rows {
		r := &p.Policies.Rows[i]
		k := &r.Kinds[0]
		k.Schedule, k.Failing, r.Unreadable = r.Name, at(noon), r.Name
		k.Recent = []verdict.Session{{Start: noon, End: noon, Status: r.Name}}
		p.Failures[ledger.Key{Type: "Policy", ExtendedType: r.Name, Policy: r.Name}] = poller.Failure{End: noon, Errors: []string{r.Name}}
	}
	p.EndpointErrors = map[string]string{names[0]: names[1]}
	p.Forbidden = map[string]bool{names[2]: true}
	p.APIVersion, p.Version, p.Err = names[0], names[1], errors.New(names[2])
	var list []*source
	for _, name := range names {
		list = append(list, &source{name, p})
		p = poller.Published{} // one appliance with policies is enough
	}
	h := handler(t, Options{
		Sources: sources(list...), Version: names[0],
		Rejected: func() *Rejection { return &Rejection{noon, errors.New(strings.Join(names, "\n"))} },
	})
	page := body(t, get(h, "/"))
	// Only these elements are the template's, and none of them runs anything.
	known := regexp.MustCompile(`^</?(!DOCTYPE|html|head|meta|title|style|body|header|h1|h2|p|nav|ul|ol|li|a|div|strong|br|main|section|bdi|span|time|table|caption|thead|tbody|tr|th|td|details|summary|dl|dt|dd|footer)[ >]`)
	_, content, _ := strings.Cut(page, "</style>")
	tag := regexp.MustCompile(`<[^>]*>?`)
	for _, m := range tag.FindAllString(content, -1) {
		if !known.MatchString(m) || strings.Contains(m, "onmouseover=\"alert") || strings.Contains(m, `href="javascript`) {
			t.Errorf("not the template's: %.80s", m)
		}
	}
	shown := html.UnescapeString(tag.ReplaceAllString(content, ""))
	for _, name := range names {
		// HTML has no NUL, and bytes that aren't UTF-8 are shown as such.
		if want := strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", "\ufffd"), "\ufffd"); !strings.Contains(strings.ToValidUTF8(shown, "\ufffd"), want) {
			t.Errorf("not shown: %.80q", name)
		}
	}
	var back status
	if err := json.Unmarshal([]byte(body(t, get(h, "/api/v1/status"))), &back); err != nil {
		t.Error(err)
	}
}

// testStatusManyAppliances: with hundreds of appliances a phone can load the page, problems
// come first, and each appliance has its own page.
func testStatusManyAppliances(t *testing.T) {
	var list []*source
	for i := range 300 {
		p := published()
		for j := range 50 {
			state := []verdict.State{verdict.OK, verdict.Failing}[j%2]
			p.Policies.Rows = append(p.Policies.Rows, row(fmt.Sprint("policy ", j), kind(schedule.Backup, state, func(k *verdict.Kind) {
				if state == verdict.Failing {
					k.Failing = at(noon)
				}
			})))
		}
		if i == 217 {
			p.Result, p.Up, p.Err = poller.Result(vbaws.KindTLS), false, errors.New("expired")
		}
		list = append(list, &source{fmt.Sprintf("appliance %03d", i), p})
	}
	h := handler(t, Options{Sources: sources(list...)})
	page := body(t, get(h, "/"))
	if len(page) > 3<<20 {
		t.Errorf("%d bytes", len(page))
	}
	if bad, good := strings.Index(page, "appliance 217"), strings.Index(page, "appliance 000"); bad < 0 || good < bad {
		t.Errorf("the failing appliance is at %d, another at %d", bad, good)
	}
	if !strings.Contains(page, "The worst 100 of 8701") || !strings.Contains(page, `href="/?appliance=appliance%20000"`) {
		t.Error("the page lacks the number or the links of the omitted rows")
	}
	one := body(t, get(h, "/?appliance=appliance%20000"))
	if !strings.Contains(one, "policy 48") || strings.Contains(one, "appliance 217") || strings.Contains(page, "policy 48") {
		t.Error("the page of one appliance isn't its own")
	}
	if r := get(h, "/?appliance=other"); r.StatusCode != http.StatusNotFound {
		t.Errorf("an appliance that isn't there: %d", r.StatusCode)
	}
}

func testPageRefresh(t *testing.T) {
	h := handler(t, Options{})
	if got := get(h, "/").Header.Get("Refresh"); got != "30" {
		t.Errorf("refresh %q", got)
	}
	if got := get(h, "/?refresh=off").Header.Get("Refresh"); got != "" {
		t.Errorf("refresh %q though it is off", got)
	}
}

// testStatusDocumentation compares the documented fields with those of status.
func testStatusDocumentation(t *testing.T) {
	var got []string
	for _, row := range docstest.Rows(t, "commands.md", "field") {
		got = append(got, docstest.Code(t, row[0]))
	}
	want := fields("", reflect.TypeFor[status]())
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// fields returns the names of a struct's JSON fields, and those of nested structs.
func fields(prefix string, of reflect.Type) []string {
	var names []string
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" {
			continue
		}
		names = append(names, prefix+name)
		if f.Type.Kind() == reflect.Pointer && f.Type.Elem().Kind() == reflect.Struct {
			names = append(names, fields(prefix+name+".", f.Type.Elem())...)
		}
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			names = append(names, fields(prefix+name+"[].", f.Type.Elem())...)
		}
	}
	return names
}

func testStatusJSON(t *testing.T) {
	p := published()
	p.View.Watermark = &ledger.Watermark{USN: -7}
	h := handler(t, Options{Version: "1.2.3", Sources: sources(&source{"a", p}, &source{name: "b"})})
	r := get(h, "/api/v1/status")
	text := body(t, r)
	if r.StatusCode != http.StatusOK || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%d %s", r.StatusCode, r.Header.Get("Content-Type"))
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got["version"] != "1.2.3" || got["time"] != "2026-03-01T12:00:00Z" {
		t.Errorf("%v", got)
	}
	appliances := got["appliances"].([]any)
	ok, pending := appliances[0].(map[string]any), appliances[1].(map[string]any)
	if pending["state"] != "pending" || pending["last_poll"] != nil || ok["state"] != "ok" || ok["last_poll"] != "2026-03-01T12:00:00Z" || ok["watermark_usn"] != -7.0 {
		t.Errorf("got %v", appliances)
	}
	late := ok["policies"].([]any)[2].(map[string]any)
	since := late["problems"].([]any)[0].(map[string]any)["since"]
	if late["name"] != "late" || late["overdue"] != true || late["overdue_runs"] != 1.0 || since != "2026-03-01T11:30:00Z" || late["schedule"] != "every 2 h" || late["estimate"] != true || late["last_duration_seconds"] != 90.0 {
		t.Errorf("got %v", late)
	}
	failed := ok["policies"].([]any)[1].(map[string]any)
	sessions := failed["last_sessions"].([]any)
	if first := sessions[0].(map[string]any); len(sessions) != 5 || first["status"] != "Succeeded" || first["end"] != "2026-03-01T07:00:00Z" {
		t.Errorf("last sessions: %v", sessions)
	}
	if failed["next_due"] != "2026-03-01T17:00:00Z" || !reflect.DeepEqual(failed["errors"], []any{"Access denied", "and more"}) {
		t.Errorf("got %v", failed)
	}
	for _, p := range ok["policies"].([]any) {
		policy := p.(map[string]any)
		if unknown := policy["last_status"] == nil; unknown != (policy["last_duration_seconds"] == nil) {
			t.Errorf("a duration without a session, or the reverse: %v", policy)
		}
	}
	if ok["policy_state"] != "stuck" || pending["policy_state"] != nil {
		t.Errorf("states of policies: %v, %v", ok["policy_state"], pending["policy_state"])
	}
	if text := body(t, get(handler(t, Options{}), "/api/v1/status")); !strings.Contains(text, `"appliances":[]`) {
		t.Errorf("no appliances: %s", text)
	}
}

func TestEndpoint(t *testing.T) {
	t.Run("reload", testEndpointReload)
	t.Run("config", testEndpointConfig)
	t.Run("pprof", testEndpointPprof)
	t.Run("ready", testEndpointReady)
	t.Run("probes", testEndpointProbes)
	t.Run("paths", testEndpointPaths)
	t.Run("telemetry path", testEndpointTelemetryPath)
	t.Run("formats", testEndpointFormats)
	t.Run("scrape error", testEndpointScrapeError)
	t.Run("timeouts", testEndpointTimeouts)
}

func testEndpointReload(t *testing.T) {
	var fail error
	reloads := 0
	on := handler(t, Options{Reload: func() error { reloads++; return fail }})
	send := func(h http.Handler, method string, kv ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/-/reload", nil)
		for i := 0; i < len(kv); i += 2 {
			r.Header.Set(kv[i], kv[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		if w := send(on, method); w.Code != http.StatusOK {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
	fail = errors.New("config.yml:3:1: unknown key")
	if w := send(on, http.MethodPost); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), fail.Error()) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if reloads != 3 {
		t.Errorf("%d reloads, want 3", reloads)
	}
	for method, kv := range map[string][]string{
		http.MethodGet:  nil,
		http.MethodPost: {"Sec-Fetch-Site", "cross-site"}, // another site's page
	} {
		if w := send(on, method, kv...); w.Code/100 != 4 || reloads != 3 {
			t.Errorf("%s %v: %d, %d reloads", method, kv, w.Code, reloads)
		}
	}
	if w := send(handler(t, Options{}), http.MethodPost); w.Code != http.StatusForbidden {
		t.Errorf("it is off: %d", w.Code)
	}
}

func testEndpointConfig(t *testing.T) {
	var fail error
	h := handler(t, Options{Config: func() ([]byte, error) { return []byte("a: b\n"), fail }})
	if r := get(h, "/config"); r.StatusCode != http.StatusOK || body(t, r) != "a: b\n" {
		t.Errorf("%d", r.StatusCode)
	}
	fail = errors.New("no")
	if r := get(h, "/config"); r.StatusCode != http.StatusInternalServerError {
		t.Errorf("%d", r.StatusCode)
	}
}

func testEndpointPprof(t *testing.T) {
	for on, want := range map[bool]int{true: http.StatusOK, false: http.StatusNotFound} {
		h := handler(t, Options{Pprof: on})
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/symbol"} {
			if got := get(h, path).StatusCode; got != want {
				t.Errorf("%s, %v: %d", path, on, got)
			}
		}
	}
}

// testPageLimited holds the maximum number of concurrent requests.
func testPageLimited(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	h := handler(t, Options{Config: func() ([]byte, error) {
		entered <- struct{}{}
		<-release
		return nil, nil
	}})
	done := make(chan int)
	for range maxPages {
		go func() { done <- get(h, "/config").StatusCode }()
		<-entered
	}
	for _, path := range []string{"/", "/api/v1/status", "/config"} {
		if got := get(h, path).StatusCode; got != http.StatusServiceUnavailable {
			t.Errorf("%s: one too many: %d", path, got)
		}
	}
	if got := get(h, "/-/healthy").StatusCode; got != http.StatusOK {
		t.Errorf("health: %d", got)
	}
	close(release)
	for range maxPages {
		if got := <-done; got != http.StatusOK {
			t.Errorf("a request within the limit: %d", got)
		}
	}
	if got := get(h, "/").StatusCode; got != http.StatusOK {
		t.Errorf("afterwards: %d", got)
	}
}

// testEndpointReady: an appliance that a reload adds must not make the process unready.
func testEndpointReady(t *testing.T) {
	list := []*source{{"first", poller.Published{Status: poller.Status{Polls: 1}}}}
	h := handler(t, Options{Sources: sources(list...)})
	if got := get(h, "/-/ready").StatusCode; got != http.StatusOK {
		t.Fatal(got)
	}
	list[0].p.Polls = 0
	if got := get(h, "/-/ready").StatusCode; got != http.StatusOK {
		t.Errorf("%d, though it was ready", got)
	}
}
