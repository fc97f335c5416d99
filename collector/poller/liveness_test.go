package poller_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// changed is an API that changes requests to the appliance and its answers. A function that
// is nil changes nothing.
type changed struct {
	poller.API
	query    func(q *vbaws.SessionsQuery) error
	page     func(page *vbaws.SessionsPage)
	session  func(id string) error
	policies func(limit int) error
}

func (c *changed) Sessions(ctx context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	if c.query != nil {
		if err := c.query(&q); err != nil {
			return nil, err
		}
	}
	page, err := c.API.Sessions(ctx, q)
	if err == nil && c.page != nil {
		c.page(page)
	}
	return page, err
}

func (c *changed) Session(ctx context.Context, id string) (vbaws.Row, time.Time, error) {
	if c.session != nil {
		if err := c.session(id); err != nil {
			return vbaws.Row{}, time.Time{}, err
		}
	}
	return c.API.Session(ctx, id)
}

func (c *changed) Policies(ctx context.Context, w vbaws.Workload, offset, limit int) (*vbaws.PoliciesPage, error) {
	if c.policies != nil {
		if err := c.policies(limit); err != nil {
			return nil, err
		}
	}
	return c.API.Policies(ctx, w, offset, limit)
}

func status(code int, word string) error {
	return &vbaws.Error{Kind: vbaws.KindHTTP, Op: "GET", Err: &vbaws.APIError{StatusCode: code, Code: word}}
}

// through has the exporter, another process of it, read the appliance through c.
func (w *world) through(c *changed) *changed {
	w.Helper()
	c.API = w.client(w.clock.Now)
	w.watch(c, w.clock.Now)
	return c
}

// waits adds a session that has not begun. After the initial sync no list shows it:
// a newer one must have been there.
func (w *world) waits() vbawstest.Session {
	return w.Put(vbawstest.Session{
		Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1), Status: "NeverExecuted", Start: w.Now().Add(-3 * time.Hour),
	})
}

var bothModes = []poller.Watermark{poller.WatermarkUSN, poller.WatermarkFromUTC}

const runningSeries = `extended_type="PolicyBackup" policy="Nightly" type="Policy"`

// If a request for a removed session gets another answer than the documented 404, the other
// sessions are counted, and after a day it is gone.
func testByIDSessionThatFails(t *testing.T) {
	for name, f := range map[string]vbawstest.Fault{
		"404, another code": {Status: 404, ErrorCode: "SessionNotFound"},
		"404, a page":       {Status: 404, HTML: true},
		"400":               {Status: 400, ErrorCode: "InvalidParameter"},
		"405":               {Status: 405},
		"410":               {Status: 410},
		"500":               {Status: 500},
		"a page":            {Kind: vbawstest.FaultStartPage},
	} {
		for _, mode := range bothModes {
			t.Run(fmt.Sprintf("%s by %s", name, mode), func(t *testing.T) {
				w := newWorld(t, vbawstest.Config{AccessLifetime: 1000 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 1000 * time.Hour})
				s := w.begin()
				w.poll()
				w.Delete(s.ID)
				f.Route, f.Count = "/api/v1/sessions/{id}", -1
				w.Inject(f)
				failed := 0
				for range 23 {
					w.clock.Advance(time.Hour)
					w.end("Failed")
					w.poll()
					failed++
					if last := w.p.Published().View.LastResync; !last.Equal(w.Now().Truncate(time.Second)) {
						t.Fatalf("the last complete resync was at %v, and it is %v", last, w.Now())
					}
				}
				w.counted(map[string]int{"Nightly/Policy/Failed": failed})
				w.is("vbaws_up", "", 1)
				w.is("vbaws_sessions_running", runningSeries, 1)
				w.skipped(map[string]uint64{})
				if got := w.p.Published().EndpointErrors; got["/api/v1/sessions/{id}"] == "" {
					t.Errorf("it does not show: %v", got)
				}
				w.is("vbaws_exporter_endpoint_errors", "", 1)
				for range 4 {
					w.later(time.Hour)
				}
				w.is("vbaws_sessions_running", runningSeries, 0)
				w.skipped(map[string]uint64{"gone": 1})
				w.later(time.Hour)
				if got := w.p.Published().EndpointErrors; len(got) > 0 {
					t.Errorf("it still shows: %v", got)
				}
				w.is("vbaws_exporter_endpoint_errors", "", 0)
				if got := w.log.with("endpoint failed"); len(got) != 1 {
					t.Errorf("log lines: %q", got)
				}
			})
		}
	}
}

// A session whose request hangs is not requested before all others each time.
func testByIDSessionThatHangs(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: poller.WatermarkFromUTC})
	var ids []string
	for range 5 {
		ids = append(ids, w.waits().ID)
	}
	slices.Sort(ids) // in which order they are asked for first
	w.through(&changed{session: func(id string) error {
		if id == ids[0] {
			return failure(vbaws.KindTimeout, context.DeadlineExceeded)
		}
		return nil
	}})
	w.ends(1, "Succeeded")
	w.poll()
	for _, id := range ids {
		w.Finish(id, "Failed", time.Time{})
	}
	w.ends(1, "Warning")
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 1, "Nightly/Policy/Warning": 1})
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 1, "Nightly/Policy/Warning": 1, "Nightly/Policy/Failed": 4})
	w.skipped(map[string]uint64{})
}

// A removed session that hangs when it is asked for is gone once that has lasted, as with
// any other answer.
func testByIDSessionThatHangsForLong(t *testing.T) {
	w := newWorld(t, vbawstest.Config{AccessLifetime: 1000 * time.Hour}, poller.Config{InventoryInterval: 1000 * time.Hour})
	s := w.begin()
	w.poll()
	w.Delete(s.ID)
	w.through(&changed{session: func(string) error { return failure(vbaws.KindTimeout, context.DeadlineExceeded) }})
	for range 23 {
		w.clock.Advance(time.Hour)
		w.end("Failed")
		w.poll()
	}
	w.is("vbaws_sessions_running", runningSeries, 1)
	for range 4 {
		w.later(time.Hour)
	}
	w.is("vbaws_sessions_running", runningSeries, 0)
	w.skipped(map[string]uint64{"gone": 1})
	if got := w.log.with("endpoint failed"); len(got) != 1 {
		t.Errorf("log lines: %q", got)
	}
}

func TestEndless(t *testing.T) {
	t.Run("unfinished sessions that no list has", testEndlessUnfinishedSessionsThatNoListHas)
	t.Run("list that grows with every page", testEndlessListThatGrowsWithEveryPage)
	t.Run("limit rejected", testEndlessLimitRejected)
	t.Run("query rejected", testEndlessQueryRejected)
	t.Run("offset ignored", testEndlessOffsetIgnored)
	t.Run("list without an end", testEndlessListWithoutAnEnd)
	t.Run("unique names", testEndlessUniqueNames)
}

// Unfinished sessions that no list shows are asked for a few at a time, each in its
// turn and then ever more rarely, after what was read is published.
func testEndlessUnfinishedSessionsThatNoListHas(t *testing.T) {
	const many = 400
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{AccessLifetime: 1000 * time.Hour}, poller.Config{Watermark: mode, InventoryInterval: 1000 * time.Hour})
			var ids []string
			for range many {
				ids = append(ids, w.waits().ID)
			}
			asked := make(map[string]int)
			published := 0
			w.through(&changed{session: func(id string) error {
				asked[id]++
				if n, _ := w.sample("vbaws_sessions_total", failedSeries); int(n) < published {
					t.Errorf("%d of %d sessions are published when unfinished ones are asked for", int(n), published)
				}
				return nil
			}})
			w.ends(1, "Succeeded")
			w.poll()
			w.clock.Advance(5 * time.Minute) // to the next resync
			total := 0
			for n := range 60 {
				w.ResetRequests()
				w.end("Failed")
				published++
				w.later(time.Minute)
				now := w.requests("/api/v1/sessions/{id}")
				if total += now; now > 50 {
					t.Errorf("poll %d: %d requests", n, now)
				}
				if n == 8 && len(asked) != many {
					t.Errorf("%d of %d were asked for after 9 polls", len(asked), many)
				}
			}
			if total > 6*many {
				t.Errorf("%d requests in an hour", total)
			}
			clear(asked)
			for range 60 {
				w.later(time.Minute)
			}
			total = 0
			for _, n := range asked {
				total += n
			}
			if len(asked) != many || total > many*3/2 {
				t.Errorf("%d requests for %d sessions in the next hour", total, len(asked))
			}
			for _, id := range ids {
				w.Finish(id, "Canceled", time.Time{})
			}
			for range 70 {
				w.later(time.Minute)
			}
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 1, "Nightly/Policy/Failed": published, "Nightly/Policy/Canceled": many})
		})
	}
}

// readings counts how often each list of sessions was begun since ResetRequests.
func (w *world) readings() map[string]int {
	lists := make(map[string]int)
	for _, q := range w.queries() {
		if q.Get("Offset") == "" && q.Get("Limit") != "1" {
			lists[url.Values{"from": q["FromUtc"], "to": q["ToUtc"], "status": q["Status"], "sort": q["Sort"]}.Encode()]++
		}
	}
	return lists
}

// A list that gains a row with every page is read to its end: what came since the
// reading began is not missing from it.
func testEndlessListThatGrowsWithEveryPage(t *testing.T) {
	for _, mode := range []poller.Watermark{poller.WatermarkAuto, poller.WatermarkFromUTC} {
		for _, whole := range []bool{false, true} { // totalCount is that of the whole list
			t.Run(fmt.Sprintf("%s, totalCount of all %v", mode, whole), func(t *testing.T) {
				n, limit := 10_000, 2
				if whole { // then all is read again, and again, since totalCount is of no use
					n, limit = 1_500, 3
				}
				w := newWorld(t, vbawstest.Config{MaxPageSize: 30, TotalIsWhole: whole, AccessLifetime: 1000 * time.Hour},
					poller.Config{Watermark: mode, InventoryInterval: 1000 * time.Hour})
				if whole { // there are more than any list that is read has
					w.clock.Advance(-40 * 24 * time.Hour)
					w.ends(50, "Canceled")
					w.clock.Advance(40 * 24 * time.Hour)
				}
				w.clock.Advance(-backfill / 2)
				for range n {
					w.clock.Advance(backfill / 2 / time.Duration(n))
					w.end("Succeeded")
				}
				gained := 0
				gain := func(*http.Request) {
					gained++
					w.clock.Advance(700 * time.Millisecond)
					now := w.Now()
					w.Put(vbawstest.Session{
						Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", PolicyID: vbawstest.ID(1),
						Status: "Warning", Start: now.Add(-100 * time.Millisecond), Stop: now,
					})
				}
				check := func(what string) {
					t.Helper()
					w.AfterPage(gain)
					w.poll()
					w.AfterPage(nil)
					for list, n := range w.readings() {
						if n > limit {
							t.Errorf("%s: %d readings of %s", what, n, list)
						}
					}
				}
				check("initial sync")
				w.clock.Advance(time.Second)
				w.poll()
				w.counted(map[string]int{"Nightly/Policy/Succeeded": n, "Nightly/Policy/Warning": gained})

				w.clock.Advance(25 * time.Hour) // the daily one
				w.ResetRequests()
				began := w.Now().Truncate(time.Second)
				check("resync")
				if last := w.p.Published().View.LastResync; last.Before(began) {
					t.Errorf("the last complete resync was at %v, want %v or later", last, began)
				}
				w.clock.Advance(time.Second)
				w.later(time.Minute)
				w.counted(map[string]int{"Nightly/Policy/Succeeded": n, "Nightly/Policy/Warning": gained})
				w.skipped(map[string]uint64{})
				if lines := w.log.with("kept changing"); len(lines) > 0 {
					t.Errorf("log lines: %q", lines)
				}
			})
		}
	}
}

// The size of a page that the appliance refuses is not asked for all the time.
func testEndlessLimitRejected(t *testing.T) {
	for _, most := range []int{200, 100, 50, 15, 5} { // at 5 only no Limit will do
		for _, revision := range []string{"1.0-rev0", "1.8-rev0"} {
			for _, mode := range bothModes {
				t.Run(fmt.Sprintf("%d at %s by %s", most, revision, mode), func(t *testing.T) {
					w := newWorld(t, vbawstest.Config{Revisions: []string{revision}, DefaultPageSize: 25}, poller.Config{Watermark: mode})
					refusals := 0
					refuse := func(limit int) error {
						if limit > most {
							refusals++
							return status(400, "InvalidParameter")
						}
						return nil
					}
					w.through(&changed{policies: refuse, query: func(q *vbaws.SessionsQuery) error { return refuse(q.Limit) }})
					w.ends(300, "Succeeded")
					w.poll()
					w.ends(300, "Failed")
					w.endOf("Job", "Nightly", vbawstest.ID(1))
					w.later(time.Minute)
					want := map[string]int{"Nightly/Policy/Succeeded": 300, "Nightly/Policy/Failed": 300, "Nightly/Job/Succeeded": 1}
					w.counted(want)
					refusals = 0
					for range 5 {
						w.later(10 * time.Minute)
					}
					w.counted(want)
					if refusals > 0 {
						t.Errorf("refused %d times more", refusals)
					}
					if got := w.p.Published().EndpointErrors; len(got) > 0 {
						t.Errorf("endpoint errors %v", got)
					}
				})
			}
		}
	}
}

// A request that is refused whatever the size of the page fails the poll.
func testEndlessQueryRejected(t *testing.T) {
	w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: poller.WatermarkFromUTC})
	w.ends(3, "Failed")
	asked := 0
	c := w.through(&changed{})
	c.query = func(q *vbaws.SessionsQuery) error {
		if asked++; !q.FromUTC.IsZero() {
			return status(400, "InvalidParameter")
		}
		return nil
	}
	if err := w.fails(); !strings.Contains(err.Error(), "InvalidParameter") || asked > 12 {
		t.Errorf("after %d requests: %v", asked, err)
	}
	c.query = nil
	w.poll()
	w.counted(map[string]int{"Nightly/Policy/Failed": 3})
}

// An appliance that ignores Offset is read if all rows come on one page.
func testEndlessOffsetIgnored(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{Watermark: mode})
			w.through(&changed{query: func(q *vbaws.SessionsQuery) error { q.Offset = 0; return nil }})
			w.ends(5, "Succeeded")
			w.ResetRequests()
			w.poll()
			w.ends(40, "Failed")
			w.begin()
			w.later(time.Minute)
			w.later(time.Hour)
			w.counted(map[string]int{"Nightly/Policy/Succeeded": 5, "Nightly/Policy/Failed": 40})
			if n := len(w.queries()); n > 40 {
				t.Errorf("%d pages of sessions in three polls", n)
			}
		})
	}
}

// endlessAPI lists ever more sessions, each of them new.
type endlessAPI struct {
	fakeAPI
	total, rows int
	on          bool
}

func (a *endlessAPI) Sessions(_ context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	page := &vbaws.SessionsPage{TotalCount: a.total, Date: epoch}
	if !a.on {
		page.TotalCount = 0
		return page, nil
	}
	for i := q.Offset; i < q.Offset+q.Limit; i++ {
		a.rows = max(a.rows, i)
		at := epoch.Add(-time.Duration(i) * time.Millisecond)
		page.Rows = append(page.Rows, vbaws.Row{HasUSN: true, Session: vbaws.Session{
			ID: vbawstest.ID(i), Type: "Policy", ExtendedType: "PolicyBackup", Name: "Nightly", Status: "Failed",
			Start: at, Stop: at, USN: int64(1<<40 - i),
		}})
	}
	return page, nil
}

// A list without an end ends the poll, and what was read of it is counted.
func testEndlessListWithoutAnEnd(t *testing.T) {
	for _, mode := range bothModes {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, vbawstest.Config{}, poller.Config{})
			w.cfg.Watermark = mode
			api := &endlessAPI{total: 1000}
			w.watch(api, w.clock.Now)
			w.poll()
			api.on = true
			w.clock.Advance(2 * time.Hour)
			if err := w.fails(); vbaws.KindOf(err) != vbaws.KindDecode || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("it ended with %v", err)
			}
			if api.rows < 100_000 || api.rows > 110_000 {
				t.Errorf("%d rows were read", api.rows)
			}
			if n, _ := w.sample("vbaws_sessions_total", failedSeries); n < 75_000 {
				t.Errorf("%v of %d were counted", n, api.rows)
			}
			w.is("vbaws_up", "", 0)
		})
	}
}

// Restores have names that no policy has: policies are not listed for each of them.
func testEndlessUniqueNames(t *testing.T) {
	w := newWorld(t, vbawstest.Config{AccessLifetime: 1000 * time.Hour}, poller.Config{})
	w.poll()
	w.ResetRequests()
	for i := range 60 {
		w.endOf("RestoreTask", fmt.Sprint("restored-", i), "")
		w.later(time.Minute - time.Second)
	}
	w.counted(map[string]int{"/RestoreTask/Succeeded": 60})
	listings := 0
	for _, r := range w.Requests() {
		if r.Route == vmPolicies && r.Query().Get("Offset") == "" {
			listings++
		}
	}
	if listings > 30 { // half of them are the inventory's
		t.Errorf("policies were listed %d times in an hour", listings)
	}
	// A policy that is new is still known at its first session, if its own shows its name.
	p := w.PutPolicy(vbawstest.Policy{Name: "Fresh", Enabled: true})
	w.endOf("RestoreTask", "restored", "")
	w.later(time.Second)
	w.endOf("Policy", "Fresh", p.ID)
	w.endOf("Job", "Fresh", p.ID)
	w.endOf("RestoreTask", "restored too", "")
	w.later(time.Second)
	w.counted(map[string]int{"/RestoreTask/Succeeded": 62, "Fresh/Policy/Succeeded": 1, "Fresh/Job/Succeeded": 1})
}

// A policy that can't be asked for its sessions fails no poll that needs nothing of it.
func testByIDPolicyThatFails(t *testing.T) {
	w := newWorld(t, vbawstest.Config{Revisions: []string{"1.0-rev0"}}, poller.Config{InventoryInterval: 1000 * time.Hour})
	hourly := w.PutPolicy(vbawstest.Policy{ID: vbawstest.ID(2), Name: "Hourly", Enabled: true})
	w.poll()
	w.poll()
	c := w.through(&changed{query: func(q *vbaws.SessionsQuery) error {
		if q.PolicyID == hourly.ID {
			return status(500, "UnknownError")
		}
		return nil
	}})
	w.endOf("Policy", "", vbawstest.ID(1))
	w.PutPolicy(hourly) // the one that changed last is asked first
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 1})
	// But what may be its own is not counted under no policy.
	w.endOf("Policy", "", vbawstest.ID(2))
	w.clock.Advance(time.Minute)
	w.fails()
	c.query = nil
	w.later(time.Minute)
	w.counted(map[string]int{"Nightly/Policy/Succeeded": 1, "Hourly/Policy/Succeeded": 1})
}
