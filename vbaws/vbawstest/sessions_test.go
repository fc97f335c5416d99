package vbawstest_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"vbaws_exporter/vbaws/vbawstest"
)

// query returns the ids in the answer of an appliance.
func query(t TB, cfg vbawstest.Config, fill func(*vbawstest.Appliance), q string) []string {
	t.Helper()
	a, _ := setup(cfg)
	fill(a)
	return loggedIn(t, a, "1.8-rev0").sessions(t, q).ids()
}

func ids(ns ...int) []string {
	out := []string{}
	for _, n := range ns {
		out = append(out, vbawstest.ID(n))
	}
	return out
}

func TestQuery(t *testing.T) {
	t.Run("readings of a filter", testQueryReadingsOfAFilter)
	t.Run("default order", testQueryDefaultOrder)
	t.Run("shuffled", testQueryShuffled)
	t.Run("sort rejected", testQuerySortRejected)
	t.Run("limit rejected", testQueryLimitRejected)
	t.Run("missing session", testQueryMissingSession)
	t.Run("totalCount", testQueryTotalCount)
	t.Run("pages", testQueryPages)
	t.Run("indexes", testQueryIndexes)
	t.Run("same seed", testQuerySameSeed)
	t.Run("concurrent", testQueryConcurrent)
}

func testQueryReadingsOfAFilter(t *testing.T) {
	// Four sessions, started at 22:00, 22:01, 22:02 and 22:03, USN 1 to 4. The last one
	// is running.
	fill := func(a *vbawstest.Appliance) {
		put(a, 3)
		a.Start(vbawstest.Session{ID: vbawstest.ID(3), Type: "Policy", Start: epoch.Add(3 * time.Minute)})
	}
	at := func(m int, s string) string { return fmt.Sprintf("2026-03-01T22:%02d:%s", m, s) }
	const sort = "Sort=startTimeAsc&"
	tests := []struct {
		name string
		cfg  vbawstest.Config
		q    string
		want []string
	}{
		{"Usn by the letter", vbawstest.Config{}, "Usn=2", ids(1)},
		{"Usn as a watermark", vbawstest.Config{UsnFilter: vbawstest.UsnGreater}, "Usn=2", ids(2, 3)},
		{"Usn ignored", vbawstest.Config{UsnFilter: vbawstest.UsnIgnored}, "Usn=2", ids(0, 1, 2, 3)},
		{"FromUtc by start, inclusive", vbawstest.Config{}, "FromUtc=" + at(1, "00Z"), ids(1, 2, 3)},
		{"FromUtc without a zone is UTC", vbawstest.Config{}, "FromUtc=" + at(1, "00"), ids(1, 2, 3)},
		{"FromUtc in another zone", vbawstest.Config{}, "FromUtc=" + url.QueryEscape("2026-03-01T23:01:00+01:00"), ids(1, 2, 3)},
		{"FromUtc by start, exclusive", vbawstest.Config{FromUtc: vbawstest.FromAfterStart}, "FromUtc=" + at(1, "00Z"), ids(2, 3)},
		{"FromUtc by stop", vbawstest.Config{FromUtc: vbawstest.FromStop}, "FromUtc=" + at(1, "01Z"), ids(1, 2)},
		{"FromUtc ignored", vbawstest.Config{FromUtc: vbawstest.FromIgnored}, "FromUtc=" + at(9, "00Z"), ids(0, 1, 2, 3)},
		{"FromUtc taken for another zone's", vbawstest.Config{FromUtcShift: time.Minute}, "FromUtc=" + at(1, "00Z"), ids(2, 3)},
		{"ToUtc by start, inclusive", vbawstest.Config{}, "ToUtc=" + at(1, "00Z"), ids(0, 1)},
		{"ToUtc by start, exclusive", vbawstest.Config{FromUtc: vbawstest.FromAfterStart}, "ToUtc=" + at(1, "00Z"), ids(0)},
		{"ToUtc by stop", vbawstest.Config{FromUtc: vbawstest.FromStop}, "ToUtc=" + at(2, "00Z"), ids(0, 1)},
		{"Status repeated", vbawstest.Config{}, "Status=Running&Status=Failed", ids(3)},
		{"Types", vbawstest.Config{}, "Types=Job", ids()},
		{"Limit -1 is all", vbawstest.Config{DefaultPageSize: 2}, "Limit=-1", ids(0, 1, 2, 3)},
		{"Limit 0 is none", vbawstest.Config{}, "Limit=0", ids()},
		{"a default page", vbawstest.Config{DefaultPageSize: 2}, "", ids(0, 1)},
		{"a longest page", vbawstest.Config{MaxPageSize: 3}, "Limit=-1", ids(0, 1, 2)},
		{"a longest page by default", vbawstest.Config{MaxPageSize: 3}, "", ids(0, 1, 2)},
		{"a longest page that is asked for", vbawstest.Config{MaxPageSize: 3, RefuseLimit: true}, "Limit=3", ids(0, 1, 2)},
		{"Offset ignored", vbawstest.Config{IgnoreOffset: true}, "Offset=3&Limit=2", ids(0, 1)},
		{"Sort ignored", vbawstest.Config{IgnoreSort: true}, "", ids(3, 2, 1, 0)},
		{"Offset comes before Limit", vbawstest.Config{}, "Offset=1&Limit=2", ids(1, 2)},
		{"Offset beyond the end", vbawstest.Config{}, "Offset=4", ids()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := query(t, tt.cfg, fill, sort+tt.q); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func testQueryDefaultOrder(t *testing.T) {
	fill := func(a *vbawstest.Appliance) {
		for i, n := range []int{2, 0, 1} { // in order of USN
			a.Put(vbawstest.Session{ID: vbawstest.ID(n), Start: epoch.Add(-time.Duration(i) * time.Hour)})
		}
	}
	for order, want := range map[vbawstest.Order][]string{
		vbawstest.OrderStartDesc: ids(2, 0, 1),
		vbawstest.OrderStartAsc:  ids(1, 0, 2),
		vbawstest.OrderUsnAsc:    ids(2, 0, 1),
		vbawstest.OrderID:        ids(0, 1, 2),
	} {
		if got := query(t, vbawstest.Config{DefaultOrder: order}, fill, ""); !slices.Equal(got, want) {
			t.Errorf("order %d: %q, want %q", order, got, want)
		}
	}
}

// orders returns how many different orders twenty requests get.
func orders(t *testing.T, a *vbawstest.Appliance, q string) int {
	s := loggedIn(t, a, "1.8-rev0")
	seen := make(map[string]bool)
	for range 20 {
		seen[strings.Join(s.sessions(t, q).ids(), " ")] = true
	}
	return len(seen)
}

func testQueryShuffled(t *testing.T) {
	tied := func(cfg vbawstest.Config) *vbawstest.Appliance {
		a, _ := setup(cfg)
		for i := range 8 {
			a.Put(vbawstest.Session{ID: vbawstest.ID(i), Type: "Policy", Start: epoch})
		}
		return a
	}
	for _, tt := range []struct {
		cfg  vbawstest.Config
		q    string
		many bool
	}{
		{vbawstest.Config{}, "Sort=startTimeDesc", false},
		{vbawstest.Config{}, "Sort=typeAsc", false},
		{vbawstest.Config{ShuffleTies: true}, "Sort=startTimeDesc", true},
		{vbawstest.Config{ShuffleTies: true}, "Sort=startTimeDesc&Limit=2", true},
		{vbawstest.Config{ShuffleTies: true}, "Sort=typeAsc&Types=Policy", true},
		{vbawstest.Config{ShuffleTies: true}, "Sort=usnDesc", false},
		{vbawstest.Config{ShuffleTies: true}, "Sort=typeAsc&Sort=usnDesc", false},
		{vbawstest.Config{}, "", false},
		{vbawstest.Config{DefaultOrder: vbawstest.OrderShuffled}, "", true},
		{vbawstest.Config{DefaultOrder: vbawstest.OrderShuffled}, "Sort=usnAsc", false},
	} {
		if n := orders(t, tied(tt.cfg), tt.q); (n > 1) != tt.many {
			t.Errorf("%+v, %q: %d orders", tt.cfg, tt.q, n)
		}
	}
}

func testQuerySortRejected(t *testing.T) {
	a, _ := setup(vbawstest.Config{RefuseUsnDesc: true})
	s := loggedIn(t, a, "1.8-rev0")
	checkProblem(t, s.get("/api/v1/sessions?Sort=usnDesc"), 400, "UnexpectedContent", "validationError")
	if w := s.get("/api/v1/sessions?Sort=usnAsc"); w.Code != 200 {
		t.Errorf("usnAsc: %d", w.Code)
	}
	a.Reconfigure(func(c *vbawstest.Config) { c.RefuseSort = true })
	checkProblem(t, s.get("/api/v1/sessions?Sort=usnAsc"), 400, "UnexpectedContent", "validationError")
	if w := s.get("/api/v1/sessions"); w.Code != 200 {
		t.Errorf("without Sort: %d", w.Code)
	}
}

func testQueryLimitRejected(t *testing.T) {
	for refuse, want := range map[bool]int{false: 200, true: 400} {
		a, _ := setup(vbawstest.Config{MaxPageSize: 3, RefuseLimit: refuse})
		put(a, 5)
		s := loggedIn(t, a, "1.8-rev0")
		for _, path := range []string{"/api/v1/sessions", "/api/v1/virtualMachines/policies"} {
			if w := s.get(path + "?Limit=4"); w.Code != want {
				t.Errorf("refused %v, %s: %d %s", refuse, path, w.Code, w.Body)
			}
			if w := s.get(path + "?Limit=-1"); w.Code != 200 {
				t.Errorf("refused %v, %s, without a limit: %d %s", refuse, path, w.Code, w.Body)
			}
		}
	}
}

func testQueryMissingSession(t *testing.T) {
	for form, want := range map[vbawstest.MissingSession]struct {
		status     int
		code, page string
	}{
		vbawstest.MissingNotFound:  {404, "NotFound", "resourceNotFound"},
		vbawstest.MissingOtherCode: {404, "SessionNotFound", "sessionNotFound"},
		vbawstest.MissingNoCode:    {404, "", "resourceNotFound"},
		vbawstest.MissingInvalid:   {400, "UnexpectedContent", "validationError"},
		vbawstest.MissingError:     {500, "UnknownError", "unknownError"},
	} {
		a, _ := setup(vbawstest.Config{MissingSession: form})
		put(a, 1)
		s := loggedIn(t, a, "1.8-rev0")
		for _, below := range []string{"", "/log"} {
			checkProblem(t, s.get(sessionsPath+"/"+vbawstest.ID(9)+below), want.status, want.code, want.page)
			if w := s.get(sessionsPath + "/" + vbawstest.ID(0) + below); w.Code != 200 {
				t.Errorf("form %d: a session that is there: %d %s", form, w.Code, w.Body)
			}
		}
	}
	a, _ := setup(vbawstest.Config{MissingSession: vbawstest.MissingEmpty})
	if w := loggedIn(t, a, "1.8-rev0").get(sessionsPath + "/" + vbawstest.ID(9)); w.Code != 404 || w.Body.Len() != 0 || w.Header().Get("Content-Type") != "" {
		t.Errorf("empty: %d %s %s", w.Code, w.Header(), w.Body)
	}
}

func testQueryTotalCount(t *testing.T) {
	for whole, want := range map[bool]int{false: 0, true: 3} {
		a, _ := setup(vbawstest.Config{TotalIsWhole: whole})
		put(a, 3)
		if got := loggedIn(t, a, "1.8-rev0").sessions(t, "Status=Failed").TotalCount; got != want {
			t.Errorf("whole %v: totalCount %d, want %d", whole, got, want)
		}
	}
}

func TestForm(t *testing.T) {
	t.Run("times", testFormTimes)
	t.Run("missing stop", testFormMissingStop)
	t.Run("duration", testFormDuration)
	t.Run("raw row", testFormRawRow)
}

func testFormTimes(t *testing.T) {
	start := time.Date(2020, time.June, 19, 4, 0, 5, 901095_000, time.UTC)
	for _, tt := range []struct {
		format vbawstest.TimeFormat
		rev    string
		want   string
	}{
		{vbawstest.TimesByRevision, "1.0-rev0", "2020-06-19T04:00:05.901095"},
		{vbawstest.TimesByRevision, "1.4-rev0", "2020-06-19T04:00:05.901095Z"},
		{vbawstest.TimesNaive, "1.4-rev0", "2020-06-19T04:00:05.901095"},
		{vbawstest.TimesMicroZ, "1.0-rev0", "2020-06-19T04:00:05.901095Z"},
		{vbawstest.TimesMilliZ, "1.0-rev0", "2020-06-19T04:00:05.901Z"},
		{vbawstest.TimesTicksZ, "1.0-rev0", "2020-06-19T04:00:05.9010950Z"},
	} {
		a, _ := setup(vbawstest.Config{Revisions: published, Times: tt.format})
		a.Put(vbawstest.Session{Start: start.In(time.FixedZone("", 3600))})
		if got := loggedIn(t, a, tt.rev).sessions(t, "").Results[0].Start; got != tt.want {
			t.Errorf("format %d at %s: %q, want %q", tt.format, tt.rev, got, tt.want)
		}
	}
}

func testFormMissingStop(t *testing.T) {
	for form, want := range map[vbawstest.RunningStop]string{
		vbawstest.StopAbsent: "", vbawstest.StopNull: "null", vbawstest.StopZero: `"0001-01-01T00:00:00.000000Z"`,
	} {
		a, _ := setup(vbawstest.Config{RunningStop: form})
		a.Start(vbawstest.Session{Type: "Policy"})
		w := loggedIn(t, a, "1.8-rev0").get("/api/v1/sessions")
		var page struct{ Results []map[string]json.RawMessage }
		decode(t, w.Body.Bytes(), &page)
		if got := string(page.Results[0]["executionStopTime"]); got != want {
			t.Errorf("form %d: %s, want %s", form, got, want)
		}
	}
}

func testFormDuration(t *testing.T) {
	const short = 2550602 * time.Microsecond
	for _, tt := range []struct {
		form   vbawstest.DurationFormat
		length time.Duration
		want   string
	}{
		{vbawstest.DurationMillis, short, "2550"},
		{vbawstest.DurationComponent, short, "550"},
		{vbawstest.DurationZero, short, "0"},
		{vbawstest.DurationTimeSpan, short, `"00:00:02.5506020"`},
		{vbawstest.DurationTimeSpan, 26*time.Hour + 3*time.Minute + 4*time.Second, `"1.02:03:04"`},
		{vbawstest.DurationTimeSpan, 0, `"00:00:00"`},
		{vbawstest.DurationTimeSpan, -time.Hour, `"00:00:00"`},
	} {
		a, _ := setup(vbawstest.Config{Duration: tt.form})
		a.Put(vbawstest.Session{Status: vbawstest.StatusSucceeded, Start: epoch, Stop: epoch.Add(tt.length)})
		if got := string(loggedIn(t, a, "1.8-rev0").sessions(t, "").Results[0].Duration); got != tt.want {
			t.Errorf("form %d: %s, want %s", tt.form, got, tt.want)
		}
	}
}

func TestChange(t *testing.T) {
	t.Run("raises the USN", testChangeRaisesTheUSN)
	t.Run("USN starts over", testChangeUSNStartsOver)
	t.Run("late commit", testChangeLateCommit)
	t.Run("hidden change", testChangeHiddenChange)
	t.Run("deleted session", testChangeDeletedSession)
	t.Run("forgetful appliance", testChangeForgetfulAppliance)
}

func testChangeRaisesTheUSN(t *testing.T) {
	run := func(cfg vbawstest.Config) []int64 {
		a, _ := setup(cfg)
		one := a.Start(vbawstest.Session{Type: "Policy"})
		two := a.Start(vbawstest.Session{Type: "Policy"})
		finished, _ := a.Finish(one.ID, vbawstest.StatusFailed, time.Time{})
		reopened, _ := a.Reopen(one.ID)
		again, _ := a.Update(two.ID, func(s *vbawstest.Session) { s.Reason = "x" })
		return []int64{one.USN, two.USN, finished.USN, reopened.USN, again.USN}
	}
	for _, tt := range []struct {
		cfg  vbawstest.Config
		want []int64
	}{
		{vbawstest.Config{}, []int64{1, 2, 3, 4, 5}},
		{vbawstest.Config{FirstUSN: -2}, []int64{-2, -1, 0, 1, 2}},
		{vbawstest.Config{USNPerSession: true}, []int64{1, 1, 2, 3, 2}},
	} {
		if got := run(tt.cfg); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %d, want %d", tt.cfg, got, tt.want)
		}
	}
}

func testChangeUSNStartsOver(t *testing.T) {
	a, _ := setup(vbawstest.Config{FirstUSN: 100})
	put(a, 2)
	a.ResetUSN(0)
	if s := a.Start(vbawstest.Session{ID: vbawstest.ID(2)}); s.USN != 0 {
		t.Errorf("after a reset %d, want 0", s.USN)
	}
	if s, _ := a.Lookup(vbawstest.ID(1)); s.USN != 101 {
		t.Errorf("an old session %d, want 101", s.USN)
	}
	a.RenumberUSN(7)
	var got []int64
	for _, n := range []int{2, 0, 1} { // in their old order
		s, _ := a.Lookup(vbawstest.ID(n))
		got = append(got, s.USN)
	}
	if want := []int64{7, 8, 9}; !slices.Equal(got, want) {
		t.Errorf("renumbered %d, want %d", got, want)
	}
	if s := a.Start(vbawstest.Session{}); s.USN != 10 {
		t.Errorf("the next one %d, want 10", s.USN)
	}
	if s := a.Start(vbawstest.Session{}, vbawstest.WithUSN(3)); s.USN != 3 {
		t.Errorf("a chosen one %d, want 3", s.USN)
	}
}

func testChangeLateCommit(t *testing.T) {
	a, clock := setup(vbawstest.Config{})
	s := loggedIn(t, a, "1.8-rev0")
	a.Start(vbawstest.Session{ID: vbawstest.ID(0)}, vbawstest.VisibleAfter(time.Minute))
	a.Start(vbawstest.Session{ID: vbawstest.ID(1)})
	a.Start(vbawstest.Session{ID: vbawstest.ID(2)}, vbawstest.Hidden())
	if got := s.sessions(t, "Sort=usnDesc").ids(); !slices.Equal(got, ids(1)) {
		t.Errorf("at first %q", got)
	}
	clock.Advance(time.Minute)
	if got := s.sessions(t, "Sort=usnDesc").ids(); !slices.Equal(got, ids(1, 0)) {
		t.Errorf("a minute later %q", got)
	}
	a.Reveal()
	if got := s.sessions(t, "Sort=usnDesc").ids(); !slices.Equal(got, ids(2, 1, 0)) {
		t.Errorf("when revealed %q", got)
	}
	h, _ := a.HistoryOf(vbawstest.ID(0))
	if st := h.States[0]; !st.Committed.Equal(epoch) || !st.Visible.Equal(epoch.Add(time.Minute)) {
		t.Errorf("history %+v", st)
	}
}

func testChangeHiddenChange(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	s := a.Start(vbawstest.Session{})
	a.Update(s.ID, func(s *vbawstest.Session) { s.Reason = "hidden" }, vbawstest.Hidden())
	a.Finish(s.ID, vbawstest.StatusWarning, time.Time{})
	a.Reveal()
	got, _ := a.Lookup(s.ID)
	if got.Status != vbawstest.StatusWarning || got.Reason != "hidden" || got.USN != 3 {
		t.Errorf("got %+v", got)
	}
	h, _ := a.HistoryOf(s.ID)
	if !h.States[1].Visible.IsZero() || h.States[2].Visible.IsZero() {
		t.Errorf("history %+v", h)
	}
}

func testChangeDeletedSession(t *testing.T) {
	a, clock := setup(vbawstest.Config{})
	put(a, 4)
	a.Start(vbawstest.Session{ID: vbawstest.ID(9), Start: epoch})
	a.Finish(vbawstest.ID(0), vbawstest.StatusFailed, time.Time{}, vbawstest.Hidden())
	clock.Advance(time.Hour)
	s := loggedIn(t, a, "1.8-rev0")
	if !a.Delete(vbawstest.ID(0)) || a.Delete(vbawstest.ID(0)) {
		t.Error("the first deletion must succeed, the second not")
	}
	a.Reveal()
	if n := a.DeleteBefore(epoch.Add(2 * time.Minute)); n != 1 {
		t.Errorf("retention removed %d, want 1", n)
	}
	if got := s.sessions(t, "Sort=usnAsc").ids(); !slices.Equal(got, ids(2, 3, 9)) {
		t.Errorf("left are %q", got)
	}
	if w := s.get("/api/v1/sessions/" + vbawstest.ID(0)); w.Code != 404 {
		t.Errorf("by id: %d", w.Code)
	}
	if n := len(a.History()); n != 5 {
		t.Errorf("history of %d", n)
	}
	h, _ := a.HistoryOf(vbawstest.ID(0))
	if !h.Deleted.Equal(epoch.Add(time.Hour)) || len(h.States) != 2 || !h.Visible() {
		t.Errorf("history %+v", h)
	}
	if _, ok := a.Update(vbawstest.ID(0), func(*vbawstest.Session) {}); ok {
		t.Error("a deleted session was updated")
	}
}

func testChangeForgetfulAppliance(t *testing.T) {
	a, _ := setup(vbawstest.Config{Forgetful: true})
	for range 3 {
		put(a, 1500)
		a.DeleteBefore(epoch.AddDate(1, 0, 0))
	}
	put(a, 2)
	if h := a.History(); len(h) != 2 {
		t.Errorf("history of %d, want 2", len(h))
	}
	s := loggedIn(t, a, "1.8-rev0")
	for range 2500 {
		s.get("/api/v1/system/time")
	}
	if n := len(a.Requests()); n > 2000 {
		t.Errorf("%d requests are kept", n)
	}
}

func testFormRawRow(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	put(a, 2)
	a.PutRaw("no uuid", 50, epoch.Add(-time.Hour), []byte(`{"id": 7 }`))
	a.PutRaw("broken", 40, epoch.Add(-2*time.Hour), []byte(`{`))
	s := loggedIn(t, a, "1.8-rev0")
	body := s.get("/api/v1/sessions?Sort=usnDesc&Limit=1").Body.String()
	if !strings.HasPrefix(body, `{"totalCount":4,"results":[{"id": 7 }],"_links":`) {
		t.Errorf("got %s", body)
	}
	if got := s.get("/api/v1/sessions?Sort=startTimeAsc&Limit=1").Body.String(); !strings.Contains(got, `"results":[{],`) {
		t.Errorf("got %s", got)
	}
	if got := s.get("/api/v1/sessions/no%20uuid").Body.String(); got != `{"id": 7 }` {
		t.Errorf("by id: %s", got)
	}
	if got := s.sessions(t, "Status=Succeeded").TotalCount; got != 2 {
		t.Errorf("by status %d", got)
	}
}

// drawAppliance fills an appliance with sessions full of ties, and changes some.
func drawAppliance(t *rapid.T, cfg vbawstest.Config) *vbawstest.Appliance {
	a, _ := setup(cfg)
	types := []string{"Policy", "Job", "Task"}
	statuses := []string{vbawstest.StatusRunning, vbawstest.StatusSucceeded, vbawstest.StatusFailed}
	for i := range rapid.IntRange(0, 30).Draw(t, "sessions") {
		s := vbawstest.Session{
			ID:       vbawstest.ID(i),
			Type:     rapid.SampledFrom(types).Draw(t, "type"),
			Status:   rapid.SampledFrom(statuses).Draw(t, "status"),
			Start:    epoch.Add(time.Duration(rapid.IntRange(0, 5).Draw(t, "start")) * time.Minute),
			Reason:   rapid.SampledFrom([]string{"", "a"}).Draw(t, "reason"),
			PolicyID: vbawstest.ID(100 + rapid.IntRange(0, 1).Draw(t, "policy")),
		}
		if s.Status != vbawstest.StatusRunning {
			s.Stop = s.Start.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "length")) * time.Minute)
		}
		a.Put(s)
		switch other := vbawstest.ID(rapid.IntRange(0, i).Draw(t, "other")); rapid.IntRange(0, 5).Draw(t, "change") {
		case 0:
			a.Update(other, func(s *vbawstest.Session) { s.Status = vbawstest.StatusFailed })
		case 1:
			a.Delete(other)
		}
	}
	return a
}

var sorts = []string{"", "Sort=startTimeAsc", "Sort=startTimeDesc", "Sort=stopTimeAsc", "Sort=stopTimeDesc", "Sort=durationAsc", "Sort=durationDesc",
	"Sort=typeAsc", "Sort=typeDesc", "Sort=reasonAsc", "Sort=reasonDesc", "Sort=usnAsc", "Sort=usnDesc", "Sort=typeDesc&Sort=startTimeAsc"}

var filters = []string{"", "&Status=Running", "&Status=Failed&Status=Running", "&Types=Job", "&PolicyId=" + vbawstest.ID(100),
	"&PolicyId=" + vbawstest.ID(100) + "&Status=Failed", "&FromUtc=2026-03-01T22:02:00Z", "&FromUtc=2026-03-01T22:02:00Z&ToUtc=2026-03-01T22:04:00Z",
	"&Usn=3", "&FromUtc=2026-03-01T22:02:00Z&Types=Policy"}

func testQueryPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := vbawstest.Config{
			MaxPageSize:   rapid.IntRange(0, 7).Draw(t, "most"),
			FromUtc:       vbawstest.FromUtc(rapid.IntRange(0, 3).Draw(t, "reading")),
			UsnFilter:     vbawstest.UsnFilter(rapid.IntRange(0, 2).Draw(t, "usn filter")),
			USNPerSession: rapid.Bool().Draw(t, "usn per session"),
		}
		a := drawAppliance(t, cfg)
		s := loggedIn(t, a, "1.8-rev0")
		q := rapid.SampledFrom(sorts).Draw(t, "sort") + rapid.SampledFrom(filters).Draw(t, "filter")
		size := rapid.IntRange(1, 8).Draw(t, "size")

		var got []string
		var total int
		for {
			page := s.sessions(t, fmt.Sprintf("%s&Offset=%d&Limit=%d", q, len(got), size))
			total = page.TotalCount
			if len(page.Results) == 0 {
				break
			}
			got = append(got, page.ids()...)
		}
		a.Reconfigure(func(c *vbawstest.Config) { c.MaxPageSize = 0 })
		whole := s.sessions(t, q+"&Limit=-1")
		if diff := gocmp.Diff(whole.ids(), append([]string{}, got...)); diff != "" {
			t.Fatalf("%s: %s", q, diff)
		}
		if total != len(got) || whole.TotalCount != total {
			t.Fatalf("%s: totalCount %d, then %d, of %d", q, total, whole.TotalCount, len(got))
		}
	})
}

// testQueryIndexes compares every query with all sessions, filtered and sorted by the test.
func testQueryIndexes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAppliance(t, vbawstest.Config{})
		s := loggedIn(t, a, "1.8-rev0")
		filter := rapid.SampledFrom(filters).Draw(t, "filter")
		sort := rapid.SampledFrom(sorts[1:]).Draw(t, "sort")
		params, _ := url.ParseQuery(sort + filter)

		var want []vbawstest.Session
		for _, h := range a.History() {
			last := h.States[len(h.States)-1].Session
			if h.Deleted.IsZero() && selects(params, last) {
				want = append(want, last)
			}
		}
		keys := func(x, y vbawstest.Session) int { return compareBy(params["Sort"], x, y) }
		slices.SortFunc(want, func(x, y vbawstest.Session) int { return cmp.Or(keys(x, y), strings.Compare(x.ID, y.ID)) })
		got := s.sessions(t, sort+filter)
		if len(got.Results) != len(want) || got.TotalCount != len(want) {
			t.Fatalf("got %d of %d, want %d", len(got.Results), got.TotalCount, len(want))
		}
		// Ties can be in either order of ids.
		byID := make(map[string]vbawstest.Session)
		for _, w := range want {
			byID[w.ID] = w
		}
		for i, r := range got.Results {
			w, found := byID[r.ID]
			if !found || w.USN != r.USN || keys(w, want[i]) != 0 {
				t.Fatalf("row %d is %+v, want one like %+v", i, r, want[i])
			}
			delete(byID, r.ID)
		}
	})
}

func selects(params url.Values, s vbawstest.Session) bool {
	at := func(name string) time.Time {
		v, _ := time.Parse(time.RFC3339, params.Get(name))
		return v
	}
	return (!params.Has("Status") || slices.Contains(params["Status"], s.Status)) &&
		(!params.Has("Types") || slices.Contains(params["Types"], s.Type)) &&
		(!params.Has("PolicyId") || params.Get("PolicyId") == s.PolicyID) &&
		(!params.Has("Usn") || params.Get("Usn") == fmt.Sprint(s.USN)) &&
		(!params.Has("FromUtc") || !s.Start.Before(at("FromUtc"))) &&
		(!params.Has("ToUtc") || !s.Start.After(at("ToUtc")))
}

func compareBy(keys []string, x, y vbawstest.Session) int {
	length := func(s vbawstest.Session) time.Duration {
		if s.Stop.IsZero() {
			return 0
		}
		return s.Stop.Sub(s.Start)
	}
	for _, k := range keys {
		column, desc := strings.CutSuffix(k, "Desc")
		c := 0
		switch strings.TrimSuffix(column, "Asc") {
		case "startTime":
			c = x.Start.Compare(y.Start)
		case "stopTime":
			c = x.Stop.Compare(y.Stop)
		case "duration":
			c = cmp.Compare(length(x), length(y))
		case "type":
			c = strings.Compare(x.Type, y.Type)
		case "reason":
			c = strings.Compare(x.Reason, y.Reason)
		case "usn":
			c = cmp.Compare(x.USN, y.USN)
		}
		if desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

func testQuerySameSeed(t *testing.T) {
	run := func(seed uint64) string {
		a, _ := setup(vbawstest.Config{Seed: seed, ShuffleTies: true, DefaultOrder: vbawstest.OrderShuffled})
		for range 20 {
			a.Start(vbawstest.Session{Type: "Policy"})
		}
		s := loggedIn(t, a, "1.8-rev0")
		return s.token + s.get("/api/v1/sessions").Body.String() + s.get("/api/v1/sessions?Sort=startTimeAsc").Body.String()
	}
	first, second := run(1), run(1)
	if first != second {
		t.Error("two runs with one seed differ")
	}
	if first == run(2) {
		t.Error("two seeds give the same")
	}
}

func testQueryConcurrent(t *testing.T) {
	a, clock := setup(vbawstest.Config{ShuffleTies: true})
	put(a, 50)
	s := loggedIn(t, a, "1.8-rev0")
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 25 {
				one := a.Start(vbawstest.Session{Type: "Policy"}, vbawstest.VisibleAfter(time.Duration(i)*time.Second))
				clock.Advance(time.Second)
				a.Finish(one.ID, vbawstest.StatusFailed, time.Time{})
				if i%5 == worker {
					a.Delete(one.ID)
				}
			}
		})
		wg.Go(func() {
			for range 25 {
				s.sessions(t, "Sort=usnDesc&Limit=10")
				s.sessions(t, "Status=Failed&Sort=typeAsc")
				a.History()
				a.Requests()
			}
		})
	}
	wg.Wait()
	a.Reveal()
	if got := a.Len(); got != 50+4*20 {
		t.Errorf("%d sessions are left, want %d", got, 50+4*20)
	}
}

// FuzzSessionsQuery sends any query: the answer is a page or a problem, and a page
// is never longer than Limit.
func FuzzSessionsQuery(f *testing.F) {
	for _, q := range append(slices.Clone(sorts), filters...) {
		f.Add(strings.TrimPrefix(q, "&"))
	}
	f.Add("Offset=2147483647&Limit=2147483647")
	f.Add("Limit=0&Offset=3;")
	f.Add("Usn=-9223372036854775808&VmId=%00&ParentSessionId=" + vbawstest.ID(1))
	a, _ := setup(vbawstest.Config{ShuffleTies: true, MaxPageSize: 3})
	put(a, 5)
	s := loggedIn(f, a, "1.8-rev0")
	f.Fuzz(func(t *testing.T, q string) {
		w := s.get((&url.URL{Path: "/api/v1/sessions", RawQuery: escapeControls(q)}).String())
		a.ResetRequests()
		switch w.Code {
		case 200:
			var page sessionsPage
			decode(t, w.Body.Bytes(), &page)
			if len(page.Results) > 3 {
				t.Errorf("%d rows", len(page.Results))
			}
		case 400:
			var p struct{ ErrorCode string }
			decode(t, w.Body.Bytes(), &p)
			if p.ErrorCode != "UnexpectedContent" && p.ErrorCode != "InvalidURI" {
				t.Errorf("errorCode %q", p.ErrorCode)
			}
		default:
			t.Errorf("status %d", w.Code)
		}
	})
}

// escapeControls returns a query that http.NewRequest accepts.
func escapeControls(q string) string {
	var b strings.Builder
	for i := range len(q) {
		if c := q[i]; c <= ' ' || c >= 0x7f || c == '#' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func BenchmarkTopOfAMillion(b *testing.B) {
	a, _ := setup(vbawstest.Config{Forgetful: true})
	put(a, 1_000_000)
	l, _ := grant(a, "1.8-rev0", password(vbawstest.DefaultUsername, vbawstest.DefaultPassword))
	s := subject{a, "1.8-rev0", l.Access}
	for b.Loop() {
		if w := s.get("/api/v1/sessions?Sort=usnDesc&Limit=1"); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}

func BenchmarkDeepPageOfAMillion(b *testing.B) {
	a, _ := setup(vbawstest.Config{Forgetful: true})
	put(a, 1_000_000)
	l, _ := grant(a, "1.8-rev0", password(vbawstest.DefaultUsername, vbawstest.DefaultPassword))
	s := subject{a, "1.8-rev0", l.Access}
	for b.Loop() {
		if w := s.get("/api/v1/sessions?Sort=startTimeDesc&FromUtc=2026-03-01T22:00:00Z&Offset=700000&Limit=500"); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
