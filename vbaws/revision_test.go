package vbaws

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// refusalForm is how an appliance refuses an API version.
type refusalForm struct {
	name string
	// lists reports that the answer has the versions that are accepted.
	lists bool
	write func(w http.ResponseWriter, accepted []string)
}

func refusalBody(status int, body string, header ...string) func(http.ResponseWriter, []string) {
	return func(w http.ResponseWriter, accepted []string) {
		for _, name := range header {
			if len(accepted) > 0 {
				w.Header().Set(name, strings.Join(accepted, ", "))
			}
		}
		if body != "" {
			w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

// refusalForms are the vendor's (its description of 1.0-rev0) and those of the
// versioning library of ASP.NET Core: since .NET 7, before that with an error object,
// and with .NET 6 (dotnet/aspnet-api-versioning).
var refusalForms = []refusalForm{
	{"vendor", false, refusalBody(400, `{"type":"/api/v1/problems/x","title":"t","status":400,"errorCode":"UnsupportedApiVersion"}`)},
	{"vendor, by type", false, refusalBody(400, `{"type":"https://h/api/v1/problems/unsupportedApiVersion/","title":"t","status":400,"errorCode":"UnexpectedContent"}`)},
	{"vendor, invalid", false, refusalBody(400, `{"type":"/api/v1/problems/invalidApiVersion","title":"t","status":400,"errorCode":"UnknownError"}`)},
	{"framework", true, refusalBody(400, `{"type":"https://docs.api-versioning.org/problems#unsupported","title":"Unsupported API version","status":400,"code":"UnsupportedApiVersion"}`, "api-supported-versions")},
	{"framework, by type, deprecated", true, refusalBody(400, `{"type":"https://docs.api-versioning.org/problems#unsupported","title":"Unsupported API version","status":400}`, "api-deprecated-versions")},
	{"framework, no list", false, refusalBody(400, `{"type":"https://docs.api-versioning.org/problems#unsupported","title":"Unsupported API version","status":400}`)},
	{"framework, error object", false, refusalBody(400, `{"error":{"code":"UnsupportedApiVersion","message":"m","innerError":null}}`)},
	{".NET 6", false, refusalBody(404, ``)},
}

func (a *appliance) versions() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var v []string
	for _, r := range a.requests {
		v = append(v, r.Header.Get("x-api-version"))
	}
	return v
}

func TestNegotiation(t *testing.T) {
	t.Run("accepted versions", testNegotiationAcceptedVersions)
	t.Run("any", testNegotiationAny)
	t.Run("list of versions", testNegotiationListOfVersions)
	t.Run("listed", testNegotiationListed)
	t.Run("wrong list", testNegotiationWrongList)
	t.Run("changed appliance", testNegotiationChangedAppliance)
	t.Run("newer minors", testNegotiationNewerMinors)
	t.Run("interrupted", testNegotiationInterrupted)
	t.Run("wrong port or path", testNegotiationWrongPortOrPath)
	t.Run("empty 404 of one route", testNegotiationEmpty404OfOneRoute)
	t.Run("probe without a result", testNegotiationProbeWithoutAResult)
}

// Appliances accept one version or three, and have any form of refusal. The test checks the
// version and the number of requests, and that the password is sent once.
func testNegotiationAcceptedVersions(t *testing.T) {
	for _, test := range []struct {
		accepts  []string
		want     string
		probes   int // without a list
		byListed int
	}{
		{[]string{"1.9-rev0"}, "1.9-rev0", 1, 1},
		{[]string{"1.11-rev0"}, "1.11-rev0", 15, 2},
		{[]string{"1.0-rev0"}, "1.0-rev0", 13, 2},
		{[]string{"1.7-rev1"}, "1.7-rev1", 3, 2},
		{[]string{"1.3-rev0", "1.4-rev0", "1.5-rev0", "1.5-rev1"}, "1.5-rev1", 6, 2}, // product 7
		{[]string{"1.4-rev0", "1.5-rev0", "1.5-rev1", "1.6-rev0"}, "1.6-rev0", 5, 2}, // product 8
		{[]string{"1.5-rev0", "1.6-rev0", "1.7-rev0"}, "1.7-rev0", 4, 2},
		{[]string{"1.7-rev0", "1.8-rev0", "1.9-rev0"}, "1.9-rev0", 1, 1},
		{[]string{"1.8-rev0", "1.9-rev0", "1.10-rev0"}, "1.9-rev0", 1, 1},
		{[]string{"1.10-rev0", "1.11-rev0", "1.12-rev0"}, "1.10-rev0", 14, 2},
		{[]string{"1.14-rev0", "1.15-rev0", "1.16-rev0"}, "1.14-rev0", 18, 2},
	} {
		for _, form := range refusalForms {
			for _, wrong := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/wrong=%t", strings.Join(test.accepts, ","), form.name, wrong), func(t *testing.T) {
					a := newAppliance()
					a.revisions, a.refusal = test.accepts, form.write
					if wrong {
						a.password = "another"
					}
					c := client(t, start(t, a))
					err := get(t.Context(), c)
					probes, want := test.probes, test.want
					if form.lists {
						probes = test.byListed
						if probes == 2 {
							want = slices.MaxFunc(test.accepts, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) })
						}
					}
					if n := a.count("PROBE"); n != probes {
						t.Errorf("%d probes, want %d: %v", n, probes, a.versions())
					}
					if n := a.count("POST password"); n != 1 {
						t.Errorf("the password was sent %d times", n)
					}
					if wrong {
						if KindOf(err) != KindAuth || a.count("") != probes+1 {
							t.Errorf("%d requests: %v", a.count(""), err)
						}
						// The next call doesn't negotiate again.
						a.forget()
						if err := get(t.Context(), c); KindOf(err) != KindAuth || a.count("") != 2 || a.versions()[0] != want {
							t.Errorf("the next call: %v in %v: %v", a.got, a.versions(), err)
						}
						return
					}
					if err != nil || c.APIVersion() != want || a.count("") != probes+2 {
						t.Errorf("%q after %d requests, want %q: %v", c.APIVersion(), a.count(""), want, err)
					}
					// Unknown versions have the routes and names of known ones.
					if named := since(want, 1, 2); NamesSessions(c.APIVersion()) != named || len(c.Workloads()) > 1 != named || !TypesSessions("1.11-rev0") {
						t.Errorf("%s: %v, %v", want, NamesSessions(c.APIVersion()), c.Workloads())
					}
					a.forget()
					if err := get(t.Context(), c); err != nil || a.count("") != 1 {
						t.Errorf("the next call: %v: %v", a.got, err)
					}
				})
			}
		}
	}
}

// The unchanged answer of .NET 7 and later leads to the newest version in its list.
func testNegotiationListOfVersions(t *testing.T) {
	document, err := os.ReadFile("testdata/unsupported-version-modern.http")
	if err != nil {
		t.Fatal(err)
	}
	a := newAppliance()
	var asked []string
	cfg := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := r.Header.Get("x-api-version")
		asked = append(asked, v)
		if v == "1.7-rev0" {
			a.ServeHTTP(w, r)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, err := conn.Write(document); err != nil {
			t.Error(err)
		}
	}))
	c := client(t, cfg)
	mustGet(t, c)
	if diff := cmp.Diff([]string{"1.9-rev0", "1.7-rev0", "1.7-rev0", "1.7-rev0"}, asked); diff != "" {
		t.Error(diff)
	}
	if a.count("POST password") != 1 {
		t.Error(a.got)
	}
	cfg.APIVersion = "1.8-rev0"
	err = get(t.Context(), client(t, cfg))
	if KindOf(err) != KindHTTP || !strings.Contains(err.Error(), "does not accept API version 1.8-rev0 (api_version); it lists 1.7-rev0, 1.6-rev0, 1.5-rev1, 1.5-rev0, 1.4-rev0: HTTP status 400 Bad Request, UnsupportedApiVersion") {
		t.Error(err)
	}
	t.Log(err)
}

func testNegotiationListed(t *testing.T) {
	for header, want := range map[string][]string{
		"":                              nil,
		"1.4-rev0, 1.10-rev0,1.9-rev1 ": {"1.10-rev0", "1.9-rev1", "1.4-rev0"},
		"2.0,v3,1.0-beta,-1.2-rev0,1.3-rev0,1.3-rev0,99999.0-rev0,1.2-rev0\x00": {"1.3-rev0"},
	} {
		if diff := cmp.Diff(want, listed(header)); diff != "" {
			t.Errorf("%q: %s", header, diff)
		}
	}
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("7.%d-rev0", i))
	}
	if n := len(listed(strings.Join(many, ","))); n != maxListed {
		t.Errorf("%d of 10,000 are used", n)
	}
}

// A list of ten thousand versions that are all refused takes only a few requests.
func testNegotiationWrongList(t *testing.T) {
	a := newAppliance()
	a.revisions = []string{}
	a.refusal = func(w http.ResponseWriter, _ []string) {
		var many []string
		for i := range 10_000 {
			many = append(many, fmt.Sprintf("7.%d-rev0", i))
		}
		refusalForms[3].write(w, many)
	}
	err := get(t.Context(), client(t, start(t, a)))
	if n := a.count(""); err == nil || n != len(known)+newerMinors || len(err.Error()) > 2000 {
		t.Errorf("%d requests: %v", n, err)
	}
	// Versions that are not listed are tried after the listed ones.
	a.forget()
	a.revisions = []string{"1.2-rev0"}
	c := client(t, start(t, a))
	if err := get(t.Context(), c); err != nil || c.APIVersion() != "1.2-rev0" {
		t.Error(c.APIVersion(), err)
	}
}

// An appliance accepts any versions, has any form of refusal, and some of its routes ignore
// the version; the accepted versions change. The client uses the newest version that it can
// find, or the error names all versions that were tried.
func testNegotiationAny(t *testing.T) {
	all := append(KnownAPIVersions(), "1.9-rev1", "1.10-rev0", "1.11-rev0", "1.12-rev0", "1.14-rev0", "1.15-rev0", "2.0-rev0")
	rapid.Check(t, func(t *rapid.T) {
		a := newAppliance()
		a.blind = rapid.SampledFrom([]string{"", "GET", "POST"}).Draw(t, "blind")
		form := rapid.SampledFrom(refusalForms).Draw(t, "form")
		a.refusal = form.write
		now := time.Unix(1e9, 0)
		cfg := config("https://appliance")
		cfg.Transport = direct{a}
		cfg.Now = func() time.Time { return now }
		c := client(t, cfg)
		before := "" // the version that was not refused last
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			now = now.Add(10 * time.Minute)
			if rapid.Bool().Draw(t, "later") {
				now = now.Add(2 * time.Hour) // the token expires, and newer minors are tried again
			}
			a.revisions = rapid.Permutation(all).Draw(t, "order")[:rapid.IntRange(0, len(all)).Draw(t, "accepted")]
			wrong := rapid.Bool().Draw(t, "wrong password")
			a.password = testPassword
			if wrong {
				a.password = "another"
			}
			if rapid.Bool().Draw(t, "restarted") {
				a.revoke()
			}
			round := c.versions.beyondAt
			a.forget()
			err := get(t.Context(), c)
			// Each version is refused in a probe, then in a request; then the web UI, and a 401.
			if n := a.count(""); n > 2*(len(known)+newerMinors)+4 {
				t.Fatalf("%d requests: %v", n, a.got)
			}
			passwords := a.count("POST password")
			refused := a.count("POST refresh_token")
			if passwords > 1 || refused > 1 {
				t.Fatalf("%d passwords, %d refreshes: %v in %v", passwords, refused, a.got, a.versions())
			}
			if KindOf(err) == KindAuth {
				if !wrong || a.got[len(a.got)-1] != "POST password" {
					t.Fatalf("%v: %v", a.got, err)
				}
				before = c.versions.current()
				continue
			}
			if !slices.ContainsFunc(a.requests, func(r *http.Request) bool { return r.Method != a.blind }) {
				continue // no route checked the version
			}
			found := candidate(a.revisions, form.lists, round.IsZero() || now.Sub(round) >= newerEvery)
			e, failed := err.(*Error)
			switch {
			case slices.Contains(a.revisions, before):
				if err != nil || c.APIVersion() != before {
					t.Fatalf("%s, which is accepted, became %s: %v", before, c.APIVersion(), err)
				}
			case found != "":
				if err != nil || c.APIVersion() != found {
					t.Fatalf("%q of %v, want %q: %v", c.APIVersion(), a.revisions, found, err)
				}
			case !failed || e.Kind != KindHTTP:
				t.Fatalf("of %v: %v", a.revisions, err)
			default:
				v, ok := e.Err.(*VersionError)
				if !ok || v.Empty != (form.name == ".NET 6") || c.APIVersion() != "" {
					t.Fatalf("%q: %v", c.APIVersion(), err)
				}
				for _, s := range append(a.versions(), known...) {
					if !slices.Contains(v.Tried, s) || !strings.Contains(err.Error(), s) {
						t.Fatalf("%s is not named: %v", s, err)
					}
				}
			}
			before = c.APIVersion()
		}
	})
}

// candidate returns the version that a negotiation ends with, "" for none.
func candidate(accepted []string, lists, beyond bool) string {
	for _, v := range known {
		if slices.Contains(accepted, v) {
			return v
		}
	}
	if lists && len(accepted) > 0 {
		return slices.MaxFunc(accepted, func(a, b string) int { return slices.Compare(numbers(a), numbers(b)) })
	}
	for _, v := range []string{"1.10-rev0", "1.11-rev0", "1.12-rev0", "1.13-rev0", "1.14-rev0"} {
		if beyond && slices.Contains(accepted, v) {
			return v
		}
	}
	return ""
}

// After an appliance was upgraded, or restored to an older product, the version is negotiated
// again, whether its tokens are still valid or not.
func testNegotiationChangedAppliance(t *testing.T) {
	for _, form := range refusalForms {
		for _, restarted := range []bool{false, true} {
			a := newAppliance()
			a.refusal = form.write
			a.revisions = []string{"1.6-rev0", "1.7-rev0", "1.7-rev1"}
			if !restarted {
				a.expiresIn = 1 << 30
			}
			now := time.Unix(1e9, 0)
			cfg := start(t, a)
			cfg.Now = func() time.Time { return now }
			c := client(t, cfg)
			mustGet(t, c)
			for _, accepts := range [][]string{
				{"1.7-rev0", "1.8-rev0"}, {"1.9-rev0", "1.10-rev0"}, {"1.12-rev0", "1.13-rev0"}, {"1.4-rev0", "1.5-rev0"}, {"1.11-rev0"},
			} {
				now = now.Add(time.Hour) // newer minors are tried again
				a.revisions = accepts
				logins := 0
				if restarted {
					a.revoke()
					logins = 1
				}
				a.forget()
				want := candidate(accepts, form.lists, true)
				if err := get(t.Context(), c); err != nil || c.APIVersion() != want {
					t.Fatalf("%s, restarted %t: %q, want %q: %v", form.name, restarted, c.APIVersion(), want, err)
				}
				if n := a.count("POST password"); n != logins {
					t.Errorf("%s, restarted %t: %v", form.name, restarted, a.got)
				}
			}
		}
	}
}

// Minor versions newer than the known ones are tried once an hour.
func testNegotiationNewerMinors(t *testing.T) {
	a := newAppliance()
	a.revisions = []string{}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cfg := start(t, a)
	cfg.Now = func() time.Time { return now }
	c := client(t, cfg)
	call := func(requests int, words ...string) {
		t.Helper()
		a.forget()
		err := get(t.Context(), c)
		if n := a.count("PROBE"); err == nil || n != requests || a.count("") != n {
			t.Errorf("%v: %d requests, want %d: %v", now, n, requests, err)
			return
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q is not in: %v", w, err)
			}
		}
		t.Log(err)
	}
	call(18, `login as "prometheus": the appliance accepts none of the API versions tried: 1.9-rev0, 1.8-rev0, 1.7-rev1, `,
		"1.0-rev0, 1.10-rev0, 1.11-rev0, 1.12-rev0, 1.13-rev0, 1.14-rev0: HTTP status 400 Bad Request, UnsupportedApiVersion")
	now = now.Add(time.Minute)
	call(13, "1.10-rev0 to 1.14-rev0 are tried again after 04:04 UTC")
	now = now.Add(58 * time.Minute)
	call(13)
	now = now.Add(time.Minute)
	call(18)
	now = now.Add(-24 * time.Hour) // the clock was wrong
	call(18)
	now = now.Add(time.Minute)
	a.revisions = []string{"1.12-rev0"}
	call(13)
	now = now.Add(time.Hour)
	if err := get(t.Context(), c); err != nil || c.APIVersion() != "1.12-rev0" || a.count("POST password") != 1 {
		t.Errorf("%q: %v", c.APIVersion(), err)
	}
}

// After a timeout, a negotiation continues with the same version.
func testNegotiationInterrupted(t *testing.T) {
	a := newAppliance()
	a.revisions = []string{"1.5-rev0"}
	cfg := start(t, a)
	broken := true
	next := cfg.Transport
	cfg.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if broken && r.Header.Get("x-api-version") == "1.7-rev0" {
			return nil, os.ErrDeadlineExceeded
		}
		return next.RoundTrip(r)
	})
	c := client(t, cfg)
	if err := get(t.Context(), c); KindOf(err) != KindTimeout {
		t.Fatal(err)
	}
	broken = false
	a.forget()
	if err := get(t.Context(), c); err != nil || a.versions()[0] != "1.7-rev0" || c.APIVersion() != "1.5-rev0" {
		t.Errorf("%v: %v", a.versions(), err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The password is sent only to the REST API, and the error has its default port.
func testNegotiationWrongPortOrPath(t *testing.T) {
	empty := func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }
	for name, test := range map[string]struct {
		h        http.HandlerFunc
		fixed    string
		kind     Kind
		requests int
		words    []string
	}{
		"nothing there": {func(w http.ResponseWriter, _ *http.Request) { empty(w) }, "", KindHTTP, 19,
			[]string{"the URL has a wrong port or path (the default port of the REST API is 11005, port 443 is the web UI), or the appliance accepts none of the API versions tried: 1.9-rev0, ", "1.14-rev0: HTTP status 404"}},
		"web UI": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/oauth2/token" {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			empty(w)
		}, "", KindHTTP, 19, []string{"the URL is the web UI, not the REST API: the default port of the REST API is 11005", "1.9-rev0, ", "1.14-rev0"}},
		"pages": {answer(200, "Content-Type: text/html; charset=utf-8", "<html>Veeam Backup for AWS</html>"), "", KindDecode, 1,
			[]string{"the answer is a web page (text/html), not from the REST API: the default port of the REST API is 11005, port 443 is the web UI"}},
		"another API": {answer(200, "Content-Type: application/json", `{"status":"ok"}`), "", KindDecode, 1,
			[]string{"the answer is not from the REST API: the answer has no access_token"}},
		"page of 404": {answer(404, "Content-Type: text/html", "<html>nothing</html>"), "", KindHTTP, 1,
			[]string{"a web page, not the REST API (the default port of the REST API is 11005, port 443 is the web UI): HTTP status 404"}},
		"redirect": {answer(302, "Location: https://elsewhere/login", ""), "", KindHTTP, 1, []string{"redirect to elsewhere"}},
		"busy":     {answer(503, "", ""), "", KindHTTP, 1, []string{"503"}},
		"other":    {answer(404, "Content-Type: application/json", `{"errorCode":"NotFound"}`), "", KindHTTP, 1, []string{"404", "NotFound"}},
	} {
		t.Run(name, func(t *testing.T) {
			n, passwords := 0, 0
			cfg := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				n++
				if r.PostForm.Has("password") {
					passwords++
				}
				test.h(w, r)
			}))
			cfg.APIVersion = test.fixed
			err := get(t.Context(), client(t, cfg))
			if err == nil || KindOf(err) != test.kind || n != test.requests || passwords != 0 {
				t.Fatalf("%d requests, %d passwords: %v", n, passwords, err)
			}
			for _, w := range test.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
			if NotOffered(err) {
				t.Error("the error counts as a route that is not offered")
			}
			t.Log(err)
		})
	}
}

// An empty 404 of a route that not every version has is not about the version.
func testNegotiationEmpty404OfOneRoute(t *testing.T) {
	a := newAppliance()
	a.blind = http.MethodPost
	const path = "/api/v1/statistics/summary"
	a.routes[path] = answer(404, "", "")
	c := client(t, start(t, a))
	for range 2 { // before and after a request has proven the version
		a.forget()
		if _, err := c.Summary(t.Context()); !NotOffered(err) || a.count("GET") != 1 || c.APIVersion() != "1.9-rev0" {
			t.Errorf("%q, %v: %v", c.APIVersion(), a.got, err)
		}
		mustGet(t, c)
	}
}

// A login is sent even if the server fails for a form without an account, and a rejected
// password is not sent again.
func testNegotiationProbeWithoutAResult(t *testing.T) {
	for _, form := range refusalForms {
		for _, wrong := range []bool{false, true} {
			a := newAppliance()
			a.refusal = form.write
			if wrong {
				a.password = "another"
			}
			h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				if r.Method == http.MethodPost && !r.PostForm.Has("username") {
					http.Error(w, "", http.StatusInternalServerError)
					return
				}
				a.ServeHTTP(w, r)
			})
			a.revisions = []string{"1.6-rev0"}
			c := client(t, start(t, h))
			err := get(t.Context(), c)
			judged := 0
			for _, r := range a.requests {
				if r.PostForm.Has("password") && slices.Contains(a.revisions, r.Header.Get("x-api-version")) {
					judged++
				}
			}
			if (err != nil) != wrong || wrong && KindOf(err) != KindAuth || judged != 1 {
				t.Errorf("%s: %d logins in versions that are accepted: %v", form.name, judged, err)
			}
		}
	}
}
