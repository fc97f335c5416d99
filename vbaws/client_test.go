package vbaws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const (
	testUser     = "prometheus"
	testPassword = "p&ss wörd/<1>"
	emptyPage    = `{"totalCount":0,"results":[]}`
)

// appliance is a minimal appliance. Its fields are read under mu; a test can set them between
// requests.
type appliance struct {
	mu        sync.Mutex
	password  string
	revisions []string                            // accepted; nil: all
	refusal   func(http.ResponseWriter, []string) // refuses a version, with the accepted ones; nil: as the vendor
	blind     string                              // the method whose x-api-version is ignored
	expiresIn int                                 // seconds
	logins    int                                 // so far
	access    string                              // the token that is valid; "": none
	refresh   string                              // likewise
	token     http.HandlerFunc                    // replaces POST /api/v1/token with an account
	routes    map[string]http.HandlerFunc         // GET, by path; other paths return an empty page
	got       []string                            // "PROBE", "POST password", "POST refresh_token", "GET /path", …
	requests  []*http.Request
}

func newAppliance() *appliance {
	return &appliance{password: testPassword, expiresIn: 3600, routes: map[string]http.HandlerFunc{}}
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"/api/v1/problems/x","title":"title of %[1]s","status":%[2]d,"errorCode":%[1]q}`, code, status)
}

func answer(status int, header, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if k, v, ok := strings.Cut(header, ": "); ok {
			w.Header().Set(k, v)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func (a *appliance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	a.mu.Lock()
	what := r.Method + " " + r.URL.Path
	if r.Method == http.MethodPost {
		what = "POST " + r.PostForm.Get("grant_type")
		if !r.PostForm.Has("username") && r.PostForm.Get("grant_type") == "password" {
			what = "PROBE"
		}
	}
	a.got = append(a.got, what)
	a.requests = append(a.requests, r)
	route := a.routes[r.URL.Path]
	if r.Method == http.MethodPost {
		route = a.token
	}
	refused := a.revisions != nil && r.Method != a.blind && !slices.Contains(a.revisions, r.Header.Get("x-api-version"))
	denied := r.Method != http.MethodPost && (a.access == "" || r.Header.Get("Authorization") != "Bearer "+a.access)
	a.mu.Unlock()

	switch {
	case refused && a.refusal != nil:
		a.refusal(w, a.revisions)
	case refused:
		problem(w, 400, "UnsupportedApiVersion")
	case denied:
		problem(w, 401, "InvalidToken")
	case what == "PROBE":
		problem(w, 400, "UnexpectedContent")
	case route != nil:
		route(w, r)
	case r.Method == http.MethodPost:
		a.login(w, r)
	case r.Method == http.MethodDelete:
		a.revoke()
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(emptyPage))
	}
}

func (a *appliance) login(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f := r.PostForm
	switch f.Get("grant_type") {
	case "password":
		if f.Get("username") != testUser || f.Get("password") != a.password {
			problem(w, 401, "AccessDenied")
			return
		}
	case "refresh_token":
		if a.refresh == "" || f.Get("refresh_token") != a.refresh {
			problem(w, 400, "InvalidToken")
			return
		}
	default:
		problem(w, 400, "UnexpectedContent")
		return
	}
	a.logins++
	a.access = fmt.Sprintf("access-%d", a.logins)
	a.refresh = fmt.Sprintf("refresh-%d", a.logins)
	fmt.Fprintf(w, `{"access_token":%q,"refresh_token":%q,"expires_in":%d,"mfa_enabled":false,"mfa_token":null,".issued":"?"}`,
		a.access, a.refresh, a.expiresIn)
}

// revoke makes all tokens invalid.
func (a *appliance) revoke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.access, a.refresh = "", ""
}

// count counts the requests so far that begin with prefix, and forgets them.
func (a *appliance) count(prefix string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, s := range a.got {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

func (a *appliance) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got, a.requests = nil, nil
}

func config(address string) Config {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return Config{
		URL: u, Username: testUser, Password: func() (string, error) { return testPassword, nil },
		UserAgent: "test/1", RetryInitial: time.Millisecond,
	}
}

// fatal is implemented by tests and properties.
type fatal interface {
	Helper()
	Fatal(...any)
}

func client(t fatal, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// start serves h over TLS and returns a configuration for it.
func start(t *testing.T, h http.Handler) Config {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	cfg := config(srv.URL)
	cfg.Transport = srv.Client().Transport
	return cfg
}

// direct is a transport without a network, for properties and bubbles.
type direct struct{ h http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	d.h.ServeHTTP(w, r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

func TestClient(t *testing.T) {
	t.Run("requests", testClientRequests)
	t.Run("configuration", testClientConfiguration)
	t.Run("not found", testClientNotFound)
	t.Run("not offered", testClientNotOffered)
	t.Run("not the API", testClientNotTheAPI)
	t.Run("redirect", testClientRedirect)
	t.Run("session", testClientSession)
	t.Run("policy listing", testClientPolicyListing)
	t.Run("names of sessions", testClientNamesOfSessions)
}

func testClientRequests(t *testing.T) {
	a := newAppliance()
	date := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	a.routes["/base/api/v1/sessions"] = answer(200, "Date: "+date.Format(http.TimeFormat), emptyPage)
	cfg := start(t, a)
	cfg.URL = cfg.URL.JoinPath("base/")
	var (
		mu   sync.Mutex
		seen []Request
	)
	cfg.Observe = func(r Request) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r)
	}
	c := client(t, cfg)
	if v := c.APIVersion(); v != "" {
		t.Errorf("revision %q before the first answer", v)
	}
	page, err := c.Sessions(t.Context(), SessionsQuery{
		Offset: 3, Limit: 7, Sort: SortUSNDesc, Types: []string{"Policy", "a&b"}, Status: []string{"Running", "Failed"},
		PolicyID: "p", FromUTC: time.Date(2024, 1, 2, 3, 4, 5, 999, time.FixedZone("", 3600)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if !page.Date.Equal(date) {
		t.Errorf("date %s", page.Date)
	}
	if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Session(t.Context(), "a/b?c"); KindOf(err) != KindDecode {
		t.Errorf("a page is accepted as a session: %v", err)
	}

	probe := a.requests[0]
	if diff := cmp.Diff(url.Values{"grant_type": {"password"}}, probe.PostForm); diff != "" {
		t.Error(diff)
	}
	a.requests = a.requests[1:]
	login := a.requests[0]
	if diff := cmp.Diff(url.Values{"grant_type": {"password"}, "username": {testUser}, "password": {testPassword}}, login.PostForm); diff != "" {
		t.Error(diff)
	}
	want := url.Values{
		"Offset": {"3"}, "Limit": {"7"}, "Sort": {"usnDesc"}, "Types": {"Policy", "a&b"}, "Status": {"Running", "Failed"},
		"PolicyId": {"p"}, "FromUtc": {"2024-01-02T02:04:05Z"},
	}
	if diff := cmp.Diff(want, a.requests[1].URL.Query()); diff != "" {
		t.Error(diff)
	}
	if q := a.requests[2].URL.RawQuery; q != "" {
		t.Errorf("the zero query is %q", q)
	}
	if p := a.requests[3].URL.EscapedPath(); p != "/base/api/v1/sessions/a%2Fb%3Fc" {
		t.Errorf("path %s", p)
	}
	for _, r := range a.requests {
		for name, want := range map[string]string{"x-api-version": "1.9-rev0", "Accept": "application/json", "User-Agent": "test/1"} {
			if got := r.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", r.Method, r.URL, name, got, want)
			}
		}
	}
	if p := login.URL.Path; p != "/base/api/v1/token" {
		t.Errorf("login at %s", p)
	}
	if diff := cmp.Diff([]Request{
		{Endpoint: "/api/v1/token", Code: 400},
		{Endpoint: "/api/v1/token", Code: 200},
		{Endpoint: "/api/v1/sessions", Code: 200},
		{Endpoint: "/api/v1/sessions", Code: 200},
		{Endpoint: "/api/v1/sessions/{id}", Code: 200},
	}, seen, cmpopts.IgnoreFields(Request{}, "Duration")); diff != "" {
		t.Error(diff)
	}
}

func testClientSession(t *testing.T) {
	a := newAppliance()
	a.routes["/api/v1/sessions/a"] = answer(200, "Date: Mon, 06 May 2024 07:08:09 GMT",
		`{"id":"a","type":"Policy","status":"Running","usn":5}`)
	a.routes["/api/v1/sessions/b"] = answer(200, "", `{"id":"b"}`)
	a.routes["/api/v1/sessions/c"] = func(w http.ResponseWriter, _ *http.Request) { problem(w, 404, "NotFound") }
	a.routes["/api/v1/sessions/a/log"] = answer(200, "", `{"log":[{"logTime":"2024-05-06T07:08:09","status":"Error","message":"m"}]}`)
	c := client(t, start(t, a))

	row, at, err := c.Session(t.Context(), "a")
	if err != nil || row.Err != nil || row.ID != "a" || at.Unix() != 1714979289 {
		t.Errorf("%+v, %s, %v", row, at, err)
	}
	if row, _, err := c.Session(t.Context(), "b"); err != nil || row.Err == nil || row.ID != "b" {
		t.Errorf("a session that can't be understood: %+v, %v", row, err)
	}
	if _, _, err := c.Session(t.Context(), "c"); !HasStatus(err, 404) || KindOf(err) != KindHTTP {
		t.Errorf("a session that is gone: %v", err)
	}
	a.forget()
	for _, id := range []string{"", ".", ".."} {
		if _, _, err := c.Session(t.Context(), id); err == nil {
			t.Errorf("id %q passes", id)
		}
		if _, err := c.SessionLog(t.Context(), id); err == nil {
			t.Errorf("id %q passes", id)
		}
	}
	if n := a.count(""); n != 0 {
		t.Errorf("%d requests for invalid ids", n)
	}
	log, err := c.SessionLog(t.Context(), "a")
	want := []LogItem{{Time: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC), Status: "Error", Message: "m"}}
	if diff := cmp.Diff(want, log); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func testClientPolicyListing(t *testing.T) {
	a := newAppliance()
	a.routes["/api/v1/rds/policies"] = answer(200, "", `{"totalCount":3,"results":[{"id":"1","name":"n","isEnabled":true},{}]}`)
	a.routes["/api/v1/vpc/policy"] = answer(200, "", `{"id":"2","name":"vpc","isEnabled":false,"usn":4}`)
	a.routes["/api/v1/fsx/policies"] = func(w http.ResponseWriter, _ *http.Request) { problem(w, 404, "InvalidURI") }
	c := client(t, start(t, a))
	if w := c.Workloads(); w != nil {
		t.Errorf("workloads before the first answer: %v", w)
	}
	page, err := c.Policies(t.Context(), Workload{Name: "rds", Path: "/api/v1/rds/policies"}, 10, 20)
	if err != nil || page.Err == nil {
		t.Fatal(err, page)
	}
	page.Err = nil
	if diff := cmp.Diff(&PoliciesPage{TotalCount: 3, Rows: 2, Items: []Policy{{ID: "1", Name: "n", Enabled: true}}}, page); diff != "" {
		t.Error(diff)
	}
	if q := a.requests[2].URL.RawQuery; q != "Limit=20&Offset=10" {
		t.Error(q)
	}
	single := map[string]bool{}
	for _, w := range c.Workloads() {
		single[w.Path] = w.Single
	}
	if s, ok := single["/api/v1/vpc/policy"]; !s || !ok || len(single) != 9 {
		t.Errorf("workloads: %v", single)
	}
	vpc := Workload{Name: "vpc", Path: "/api/v1/vpc/policy", Single: true}
	page, err = c.Policies(t.Context(), vpc, 0, 5)
	if diff := cmp.Diff(&PoliciesPage{TotalCount: 1, Rows: 1, Items: []Policy{{ID: "2", Name: "vpc", USN: 4}}}, page); err != nil || diff != "" {
		t.Error(err, diff)
	}
	a.forget()
	page, err = c.Policies(t.Context(), vpc, 1, 5)
	if diff := cmp.Diff(&PoliciesPage{TotalCount: 1}, page); err != nil || diff != "" || a.count("") != 0 {
		t.Error(err, diff, a.got)
	}
	if _, err := c.Policies(t.Context(), Workload{Path: "/api/v1/fsx/policies"}, 0, 0); !HasStatus(err, 404) {
		t.Error(err)
	}

	a.revisions = []string{"1.1-rev0"}
	if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Workload{{Name: "ec2", Path: "/api/v1/policies"}, vpc}, c.Workloads()); diff != "" {
		t.Error(diff)
	}
}

func testClientNamesOfSessions(t *testing.T) {
	for revision, want := range map[string]bool{
		"1.0-rev0": false, "1.1-rev0": false, "1.1-rev7": false, "1.2-rev0": true, "1.8-rev0": true, "1.10-rev0": true, "1.11-rev0": true, "2.0-rev0": true,
		"": false, "auto": false, "0.9-rev0": false,
	} {
		if got := NamesSessions(revision); got != want {
			t.Errorf("%q: %t", revision, got)
		}
	}
	all := KnownAPIVersions()
	all[0] = "changed"
	if KnownAPIVersions()[0] != "1.9-rev0" {
		t.Error("a caller can change what is known")
	}
}

func testClientConfiguration(t *testing.T) {
	if _, err := New(config("https://h:11005/")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		want string
		f    func(*Config)
	}{
		{"URL", func(c *Config) { c.URL = nil }},
		{"scheme", func(c *Config) { c.URL.Scheme = "ftp" }},
		{"a host", func(c *Config) { c.URL.Host = "" }},
		{"no user", func(c *Config) { c.URL.User = url.UserPassword("u", "hidden") }},
		{"query", func(c *Config) { c.URL.RawQuery = "a=b" }},
		{"fragment", func(c *Config) { c.URL.Fragment = "a" }},
		{"user name", func(c *Config) { c.Username = "" }},
		{"password", func(c *Config) { c.Password = nil }},
		{"version", func(c *Config) { c.APIVersion = "auto" }},
	} {
		cfg := config("https://h:11005/")
		test.f(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", test.want, err)
		}
	}
}

func TestRevision(t *testing.T) {
	t.Run("fixed", testRevisionFixed)
	t.Run("route of other revisions", testRevisionRouteOfOtherRevisions)
	t.Run("by any route", testRevisionByAnyRoute)
}

func testRevisionFixed(t *testing.T) {
	a := newAppliance()
	cfg := start(t, a)
	cfg.APIVersion = "1.5-rev0"
	c := client(t, cfg)
	if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil || c.APIVersion() != "1.5-rev0" {
		t.Fatal(c.APIVersion(), err)
	}
	a.revisions = []string{"1.6-rev0"}
	for _, revoked := range []bool{false, true} {
		if revoked {
			a.revoke()
			c = client(t, cfg)
		}
		a.forget()
		_, err := c.Sessions(t.Context(), SessionsQuery{})
		if KindOf(err) != KindHTTP || !strings.Contains(err.Error(), "1.5-rev0") || !strings.Contains(err.Error(), "api_version") {
			t.Error(err)
		}
		if n := a.count(""); n != 1 {
			t.Errorf("%d requests: %v", n, a.got)
		}
	}
}

// A route that the API version lacks can be refused like the API version.
func testRevisionRouteOfOtherRevisions(t *testing.T) {
	fsx := Workload{Name: "fsx", Path: "/api/v1/fsx/policies"}
	for _, fixed := range []string{"", "1.7-rev0"} {
		a := newAppliance()
		a.revisions = []string{"1.7-rev0", "1.6-rev0"}
		a.routes[fsx.Path] = func(w http.ResponseWriter, _ *http.Request) { problem(w, 400, "UnsupportedApiVersion") }
		cfg := start(t, a)
		cfg.APIVersion = fixed
		c := client(t, cfg)
		if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
			t.Fatal(err)
		}
		a.forget()
		_, err := c.Policies(t.Context(), fsx, 0, 0)
		if !NotOffered(err) || !HasStatus(err, 400) || strings.Contains(err.Error(), "speak") {
			t.Errorf("revision %q: %v", fixed, err)
		}
		if n := a.count(""); n != 1 || c.APIVersion() != "1.7-rev0" {
			t.Errorf("revision %q: %q after %d requests", fixed, c.APIVersion(), n)
		}
		// An upgraded appliance refuses the sessions too.
		a.revisions = []string{"1.6-rev0"}
		_, err = c.Sessions(t.Context(), SessionsQuery{})
		switch {
		case fixed != "":
			if err == nil || NotOffered(err) || !strings.Contains(err.Error(), "does not accept") {
				t.Errorf("after the upgrade: %v", err)
			}
		case err != nil || c.APIVersion() != "1.6-rev0":
			t.Errorf("after the upgrade: %q, %v", c.APIVersion(), err)
		}
	}
}

// A login that ignores the API version proves nothing about it.
func testRevisionByAnyRoute(t *testing.T) {
	a := newAppliance()
	a.revisions, a.blind = []string{"1.6-rev0"}, http.MethodPost
	c := client(t, start(t, a))
	if _, err := c.Policies(t.Context(), Workload{Name: "fsx", Path: "/api/v1/fsx/policies"}, 0, 0); err != nil || c.APIVersion() != "1.6-rev0" {
		t.Error(c.APIVersion(), err)
	}
}

// A proxy's 404 is about a path, not about a session.
func testClientNotFound(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&Error{Err: &APIError{StatusCode: 404, Code: "NotFound"}}, true},
		{fmt.Errorf("wrapped: %w", &APIError{StatusCode: 404, Code: "notFound"}), true},
		{&APIError{StatusCode: 404}, false},
		{&APIError{StatusCode: 404, Code: "InvalidURI"}, false},
		{&APIError{StatusCode: 410, Code: "NotFound"}, false},
		{errors.New("NotFound"), false},
		{nil, false},
	} {
		if got := NotFound(test.err); got != test.want {
			t.Errorf("%v: %v", test.err, got)
		}
	}
}

func testClientNotOffered(t *testing.T) {
	refusal := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { problem(w, status, code) }
	}
	for _, test := range []struct {
		status int
		code   string
		want   bool
	}{
		{404, "NotFound", true}, {405, "", true}, {501, "NotImplemented", true},
		{400, "UnsupportedApiVersion", true}, {400, "InvalidApiVersion", true}, {400, "UnexpectedContent", false},
		{403, "AccessDenied", false}, {500, "UnknownError", false},
	} {
		a := newAppliance()
		a.routes["/api/v1/statistics/summary"] = refusal(test.status, test.code)
		c := client(t, start(t, a))
		if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Summary(t.Context()); err == nil || NotOffered(fmt.Errorf("ask: %w", err)) != test.want {
			t.Errorf("%d %s: want %t: %v", test.status, test.code, test.want, err)
		}
		a.token = refusal(test.status, test.code)
		a.revoke()
		if _, err := c.Summary(t.Context()); err == nil || NotOffered(err) {
			t.Errorf("%d %s to the login: %v", test.status, test.code, err)
		}
	}
	if NotOffered(nil) || NotOffered(errors.New("404")) {
		t.Error("an error without an answer counts as one")
	}
}

func testClientNotTheAPI(t *testing.T) {
	for name, test := range map[string]struct {
		h    http.HandlerFunc
		want []string
	}{
		"start page":    {answer(200, "Content-Type: text/html; charset=utf-8", "<!DOCTYPE html>\n<title>Welcome</title>"), []string{"text/html", "<!DOCTYPE html> <title>Welcome"}},
		"empty":         {answer(200, "", ""), []string{"it is empty"}},
		"no content":    {answer(204, "", ""), []string{"it is empty"}},
		"another shape": {answer(200, "Content-Type: application/json", `{"items":[]}`), []string{"application/json", `no \"results\"`, "items"}},
		"an array":      {answer(200, "Content-Type: application/json", `[]`), []string{"not an object"}},
		"broken":        {answer(200, "Content-Type: application/json", `{"results":[}`), []string{"invalid character"}},
		"binary":        {answer(200, "Content-Type: ;", "\x00\x01<\xff"), []string{"unknown type"}},
		"long":          {answer(200, "Content-Type: text/plain", strings.Repeat("x", 5000)), []string{strings.Repeat("x", 80) + "…"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAppliance()
			a.routes["/api/v1/sessions"] = test.h
			c := client(t, start(t, a))
			_, err := c.Sessions(t.Context(), SessionsQuery{})
			if err == nil || KindOf(err) != KindDecode {
				t.Fatalf("%v, kind %s", err, KindOf(err))
			}
			for _, s := range test.want {
				if !strings.Contains(err.Error(), strings.ReplaceAll(s, `\"`, `"`)) {
					t.Errorf("%v\nlacks %s", err, s)
				}
			}
			if len(err.Error()) > 400 {
				t.Errorf("%d bytes: %v", len(err.Error()), err)
			}
			if n := a.count("GET"); n != 1 {
				t.Errorf("%d tries", n)
			}
		})
	}
}

func testClientRedirect(t *testing.T) {
	a := newAppliance()
	a.routes["/api/v1/sessions"] = answer(302, "Location: https://user:hidden@elsewhere.example/login?x=y", "")
	c := client(t, start(t, a))
	_, err := c.Sessions(t.Context(), SessionsQuery{})
	if KindOf(err) != KindHTTP || !HasStatus(err, 302) || !strings.Contains(err.Error(), "redirect to elsewhere.example not followed") ||
		strings.Contains(err.Error(), "hidden") {
		t.Error(err)
	}
	if n := a.count("GET"); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func testLoginLogout(t *testing.T) {
	a := newAppliance()
	c := client(t, start(t, a))
	if err := c.Logout(t.Context()); err != nil || a.count("") != 0 {
		t.Fatal(err, a.got)
	}
	for range 2 {
		if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
			t.Fatal(err)
		}
		a.forget()
		if err := c.Logout(t.Context()); err != nil || a.access != "" || a.count("DELETE /api/v1/token") != 1 {
			t.Error(err, a.got)
		}
		if r := a.requests[0]; !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer access-") || r.Header.Get("x-api-version") == "" {
			t.Error(r.Header)
		}
	}
	if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
		t.Fatal(err)
	}
	a.revoke()
	if err := c.Logout(t.Context()); err != nil {
		t.Errorf("a dead token: %v", err)
	}
}

// An error can quote an answer, but not the secrets in it.
func testLoginSecretsStaySecret(t *testing.T) {
	echo := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			all := fmt.Sprint(r.PostForm, r.PostForm.Encode(), r.Header)
			fmt.Fprintf(w, `{"errorCode":%q,"title":%[1]q,"details":%[1]q,"type":%[1]q,"access_token":[%[1]q]}`, all)
		}
	}
	secrets := []string{testPassword, url.QueryEscape(testPassword), "access-", "refresh-"}
	check := func(t *testing.T, err error) {
		t.Helper()
		if err == nil {
			t.Fatal("no error")
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			for _, s := range secrets {
				if text := fmt.Sprintf("%v %+v %q", e, e, e.Error()); strings.Contains(text, s) {
					t.Errorf("%q is in %s", s, text)
				}
			}
		}
	}
	for _, status := range []int{200, 204, 302, 400, 401, 403, 404, 418, 500, 503} {
		a := newAppliance()
		a.token = echo(status)
		c := client(t, start(t, a))
		_, err := c.Sessions(t.Context(), SessionsQuery{})
		check(t, err)

		a = newAppliance()
		a.routes["/api/v1/sessions"] = echo(status)
		c = client(t, start(t, a))
		_, err = c.Sessions(t.Context(), SessionsQuery{})
		check(t, err)

		// The same answer to a refresh, and then to the password.
		a = newAppliance()
		now := time.Unix(0, 0)
		cfg := start(t, a)
		cfg.Now = func() time.Time { return now }
		c = client(t, cfg)
		if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(2 * time.Hour)
		a.token = echo(status)
		_, err = c.Sessions(t.Context(), SessionsQuery{})
		check(t, err)
	}
	cfg := config("https://127.0.0.1:1")
	_, err := client(t, cfg).Sessions(t.Context(), SessionsQuery{PolicyID: "visible"})
	check(t, err)
	if strings.Contains(err.Error(), "https://") {
		t.Errorf("the address is repeated: %v", err)
	}
}

func testLoginPasswordIsReadEachTime(t *testing.T) {
	a := newAppliance()
	password, fail := testPassword, error(nil)
	cfg := start(t, a)
	cfg.Password = func() (string, error) { return password, fail }
	c := client(t, cfg)
	if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
		t.Fatal(err)
	}
	a.revoke()
	a.password, password = "new", "new"
	if _, err := c.Sessions(t.Context(), SessionsQuery{}); err != nil {
		t.Error(err)
	}
	a.revoke()
	fail = context.Canceled // or any other error
	if _, err := c.Sessions(t.Context(), SessionsQuery{}); KindOf(err) != KindConfig || !errors.Is(err, fail) {
		t.Error(err)
	}
	if _, err := client(t, cfg).Sessions(t.Context(), SessionsQuery{}); KindOf(err) != KindConfig || !errors.Is(err, fail) {
		t.Error(err)
	}
	fail, password = nil, ""
	if _, err := c.Sessions(t.Context(), SessionsQuery{}); KindOf(err) != KindConfig || !strings.Contains(err.Error(), "empty") {
		t.Error(err)
	}
}
