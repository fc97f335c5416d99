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

// series is what is known of a policy's sessions, the newest of which ended an
// hour before noon.
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

func row(name string, kinds ...poller.PolicyKind) poller.PolicyRow {
	r := poller.PolicyRow{Name: name, Workload: "ec2", Enabled: true, Kinds: kinds}
	r.Verdict.State = verdict.Pending
	return r
}

// kind is what is said of one kind.
func kind(kind schedule.Kind, state verdict.State, edit ...func(*verdict.Kind)) poller.PolicyKind {
	k := poller.PolicyKind{Kind: kind, Verdict: verdict.Kind{Kind: kind, State: state, NextDue: noon.Add(5 * time.Hour)}}
	for _, e := range edit {
		e(&k.Verdict)
	}
	return k
}

func at(t time.Time) verdict.Problem { return verdict.Problem{Judged: true, Since: t} }

// published is an appliance with a policy in each state.
func published() poller.Published {
	early, late := noon.Add(-2*time.Hour), noon.Add(-30*time.Minute)
	done := noon.Add(-time.Hour)
	off := row("off", kind(schedule.Backup, verdict.Warning))
	off.Enabled, off.Verdict.Disabled = false, at(early)
	silent := row("silent", kind(schedule.Backup, verdict.OK, func(k *verdict.Kind) { k.NextDue = time.Time{} }))
	silent.Verdict.Silent = at(noon.Add(-8 * 24 * time.Hour))
	fine := row("fine", kind(schedule.Backup, verdict.OK), kind(schedule.Snapshot, verdict.OK))
	fine.Kinds[1].Success = done
	unlisted := row("unlisted", kind(schedule.Snapshot, verdict.OK))
	unlisted.Unlisted, unlisted.Workload = true, ""
	job := series("fine", "PolicyBackup", "Failed", 5)
	job.Series.Key.Type = "Job"
	overdue := func(k *verdict.Kind) { k.Overdue, k.OverdueRuns = at(late), 1 }
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
			row("failed", kind(schedule.Backup, verdict.Failing, overdue, func(k *verdict.Kind) { k.Failing = at(done) })),
			fine,
			row("busy", kind(schedule.Backup, verdict.OK)),
			row("late", kind(schedule.Backup, verdict.Overdue, overdue, func(k *verdict.Kind) { k.Estimate = true })),
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
		},
	}
}

func TestPolicies(t *testing.T) {
	p := published()
	var got []string
	for _, r := range policies(&p) {
		var problems []string
		for _, p := range r.Problems {
			problems = append(problems, p.Problem+" since "+p.Since.Format("02 15:04"))
		}
		got = append(got, fmt.Sprintf("%s %s/%s %s: %s; %s", r.State, r.Name, r.Workload, r.KindText(), r.ResultText(), strings.Join(problems, ", ")))
	}
	want := []string{
		"stuck hangs/ec2 backup: Succeeded; stuck since 01 10:00",
		"failing failed/ec2 backup: Failed; failing since 01 11:00, overdue since 01 11:30",
		"overdue late/ec2 backup: Succeeded; overdue since 01 11:30",
		"silent silent/ec2 backup: no session yet; silent since 21 12:00",
		"warning warned/ec2 snapshot: Warning; ",
		"pending new/ec2 any: no session yet; ",
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

// TestPoliciesOfOneName: several words of the appliance may be of one kind, and
// the newest session is the one that is shown. Between workloads the words decide.
func TestPoliciesOfOneName(t *testing.T) {
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

// TestUnreadableSchedule: what of a schedule can't be understood is worth a look, and
// is said where its policy is.
func TestUnreadableSchedule(t *testing.T) {
	const reason = `weeklySchedule: days: "<b>Moonday" is not one of Sunday to Saturday`
	p := published()
	unknown := func(k *verdict.Kind) { k.NextDue = time.Time{} }
	odd := row("fine", kind(schedule.Backup, verdict.OK, unknown))
	odd.Unreadable = reason
	same := row("fine", kind(schedule.Backup, verdict.OK, unknown))
	same.Workload = "rds"
	p.Policies.Rows = []poller.PolicyRow{odd, same}
	p.Policies.Unreadable = 1
	check := series("fine", "PolicyHealthCheck", "Failed", 0) // of another row
	p.View.Series = []ledger.SeriesView{series("fine", "PolicyBackup", "Succeeded", 0), check}
	var got []string
	for _, r := range policies(&p) {
		got = append(got, fmt.Sprintf("%s %s/%s %s: %s", r.State, r.Name, r.Workload, r.KindText(), r.ScheduleError))
	}
	if diff := cmp.Diff([]string{"warning fine/ec2 backup: " + reason, "ok fine/rds backup: "}, got); diff != "" {
		t.Error(diff)
	}
	h := handler(t, Options{Sources: sources(&source{"a", p})})
	text := body(t, get(h, "/"))
	for _, want := range []string{
		`<td data-label="Schedule">– <bdi class="message">not understood: weeklySchedule: days: &#34;&lt;b&gt;Moonday&#34; is not`,
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

func TestPageShowsPolicies(t *testing.T) {
	h := handler(t, Options{Sources: sources(&source{"a", published()})})
	text := body(t, get(h, "/"))
	for _, want := range []string{
		"4 policies have problems.",
		`<td data-label="Schedule" class="overdue">overdue: 1 run, the first was due 30 min ago (an estimate: only`,
		`<td data-label="State"><span class="result failing">failing</span><br>failing since <time datetime="2026-03-01T11:00:00Z" title="2026-03-01 11:00:00 UTC">60 min ago</time><br>overdue since `,
		`<td data-label="Schedule">next in 5 h</td>`,
		`<li><bdi class="message">Access denied</bdi></li><li><bdi class="message">and more</bdi></li>`,
		`<td data-label="Took">1h0m0s</td>`,
		`title="2026-03-01 11:50:00 UTC">10 min ago</time>`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestHostileNames: whatever somebody typed is shown as text, all of it.
func TestHostileNames(t *testing.T) {
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
	p.EndpointErrors = map[string]string{names[0]: names[1]}
	p.Forbidden = map[string]bool{names[2]: true}
	p.APIVersion, p.Version, p.Err = names[0], names[1], errors.New(names[2])
	var list []*source
	for _, name := range names {
		list = append(list, &source{name, p})
		p = poller.Published{} // the names of policies once are enough
	}
	h := handler(t, Options{Sources: sources(list...), Version: names[0]})
	page := body(t, get(h, "/"))
	// Only these elements are the template's, and none of them runs anything.
	known := regexp.MustCompile(`^</?(!DOCTYPE|html|head|meta|title|style|body|header|h1|h2|p|nav|ul|li|a|main|section|bdi|span|time|table|caption|thead|tbody|tr|th|td|details|summary|dl|dt|dd|footer)[ >]`)
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

// TestManyAppliances: with hundreds of appliances the page stays one that a phone
// can load, what is bad comes first, and each has a page of its own.
func TestManyAppliances(t *testing.T) {
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
		t.Errorf("the one in trouble is at %d, another at %d", bad, good)
	}
	if !strings.Contains(page, "And 19 more.") || !strings.Contains(page, `href="/?appliance=appliance%20000"`) {
		t.Error("says nothing of what is left out")
	}
	one := body(t, get(h, "/?appliance=appliance%20000"))
	if !strings.Contains(one, "policy 48") || strings.Contains(one, "appliance 217") || strings.Contains(page, "policy 48") {
		t.Error("the page of one appliance isn't its own")
	}
	if r := get(h, "/?appliance=other"); r.StatusCode != http.StatusNotFound {
		t.Errorf("an appliance that isn't there: %d", r.StatusCode)
	}
}

func TestRefresh(t *testing.T) {
	h := handler(t, Options{})
	if got := get(h, "/").Header.Get("Refresh"); got != "30" {
		t.Errorf("refresh %q", got)
	}
	if got := get(h, "/?refresh=off").Header.Get("Refresh"); got != "" {
		t.Errorf("refresh %q though it is off", got)
	}
}

// TestDocsHaveEveryField compares the documented fields with those there are.
func TestDocsHaveEveryField(t *testing.T) {
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

// fields returns the names of a struct's JSON fields, and of those below.
func fields(prefix string, of reflect.Type) []string {
	var names []string
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, prefix+name)
		if f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct {
			names = append(names, fields(prefix+name+"[].", f.Type.Elem())...)
		}
	}
	return names
}

func TestJSON(t *testing.T) {
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
	pending, ok := appliances[0].(map[string]any), appliances[1].(map[string]any)
	if pending["state"] != "pending" || pending["last_poll"] != nil || ok["state"] != "ok" || ok["last_poll"] != "2026-03-01T12:00:00Z" || ok["watermark_usn"] != -7.0 {
		t.Errorf("got %v", appliances)
	}
	late := ok["policies"].([]any)[2].(map[string]any)
	since := late["problems"].([]any)[0].(map[string]any)["since"]
	if late["name"] != "late" || late["overdue"] != true || late["overdue_runs"] != 1.0 || since != "2026-03-01T11:30:00Z" || late["next_due"] != "2026-03-01T17:00:00Z" || late["last_duration_seconds"] != 90.0 {
		t.Errorf("got %v", late)
	}
	if text := body(t, get(handler(t, Options{}), "/api/v1/status")); !strings.Contains(text, `"appliances":[]`) {
		t.Errorf("no appliances: %s", text)
	}
}

func TestReload(t *testing.T) {
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

func TestConfig(t *testing.T) {
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

func TestPprof(t *testing.T) {
	for on, want := range map[bool]int{true: http.StatusOK, false: http.StatusNotFound} {
		h := handler(t, Options{Pprof: on})
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/symbol"} {
			if got := get(h, path).StatusCode; got != want {
				t.Errorf("%s, %v: %d", path, on, got)
			}
		}
	}
}

// TestPagesAreLimited holds as many requests as may be under way.
func TestPagesAreLimited(t *testing.T) {
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
			t.Errorf("one that had a place: %d", got)
		}
	}
	if got := get(h, "/").StatusCode; got != http.StatusOK {
		t.Errorf("afterwards: %d", got)
	}
}

// TestReadyStaysReady: an appliance that a reload adds must not take the process
// out of service.
func TestReadyStaysReady(t *testing.T) {
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
