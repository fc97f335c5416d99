package vbawstest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/vbaws/vbawstest"
)

func TestHandler(t *testing.T) {
	t.Run("rejected requests", testHandlerRejectedRequests)
	t.Run("roles", testHandlerRoles)
	t.Run("violations", testHandlerViolations)
	t.Run("log of requests", testHandlerLogOfRequests)
	t.Run("hook between pages", testHandlerHookBetweenPages)
	t.Run("clock", testHandlerClock)
	t.Run("vendor's sample", testHandlerVendorsSample)
	t.Run("single objects", testHandlerSingleObjects)
	t.Run("logs and items", testHandlerLogsAndItems)
	t.Run("impossible state", testHandlerImpossibleState)
}

func testHandlerRejectedRequests(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	put(a, 1)
	pol := a.PutPolicy(vbawstest.Policy{Name: "Nightly"})
	s := loggedIn(t, a, "1.8-rev0")
	bearer := []string{"Authorization", "Bearer " + s.token}
	const sessions = "/api/v1/sessions"

	tests := []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		code, page                 string
	}{
		{"no revision", "GET", sessions, "", append(bearer, "x-api-version", ""), 400, "ApiVersionUnspecified", "apiVersionUnspecified"},
		{"revision too new", "GET", sessions, "", append(bearer, "x-api-version", "1.10-rev0"), 400, "UnsupportedApiVersion", "unsupportedApiVersion"},
		{"revision too old", "GET", sessions, "", append(bearer, "x-api-version", "1.0-rev0"), 400, "UnsupportedApiVersion", "unsupportedApiVersion"},
		{"revision malformed", "GET", sessions, "", append(bearer, "x-api-version", "latest"), 400, "InvalidApiVersion", "invalidApiVersion"},
		{"revision checked before the token", "GET", sessions, "", []string{"x-api-version", ""}, 400, "ApiVersionUnspecified", "apiVersionUnspecified"},
		{"no token", "GET", sessions, "", nil, 401, "InvalidToken", "noAccessToken"},
		{"unknown token", "GET", sessions, "", []string{"Authorization", "Bearer x"}, 401, "InvalidToken", "invalidAccessToken"},
		{"other scheme", "GET", sessions, "", []string{"Authorization", "Basic " + s.token}, 401, "InvalidToken", "invalidAccessToken"},
		{"unknown route", "GET", "/api/v1/nothing", "", bearer, 404, "NotFound", "resourceNotFound"},
		{"trailing slash", "GET", sessions + "/", "", bearer, 404, "NotFound", "resourceNotFound"},
		{"route of another revision", "GET", "/api/v1/policies", "", bearer, 404, "NotFound", "resourceNotFound"},
		{"unknown session", "GET", sessions + "/" + vbawstest.ID(9), "", bearer, 404, "NotFound", "resourceNotFound"},
		{"invalid session id", "GET", sessions + "/9", "", bearer, 404, "NotFound", "resourceNotFound"},
		{"log of an unknown session", "GET", sessions + "/" + vbawstest.ID(9) + "/log", "", bearer, 404, "NotFound", "resourceNotFound"},
		{"unknown policy", "GET", "/api/v1/virtualMachines/policies/" + vbawstest.ID(9), "", bearer, 404, "NotFound", "resourceNotFound"},
		{"policy of another workload", "GET", "/api/v1/rds/policies/" + pol.ID, "", bearer, 404, "NotFound", "resourceNotFound"},
		{"no VPC policy", "GET", "/api/v1/vpc/policy", "", bearer, 404, "NotFound", "resourceNotFound"},
		{"post to sessions", "POST", sessions, "{}", bearer, 405, "MethodNotAllowed", "unknownError"},
		{"delete of a session", "DELETE", sessions + "/" + vbawstest.ID(0), "", bearer, 405, "MethodNotAllowed", "unknownError"},
		{"get of the token", "GET", "/api/v1/token", "", bearer, 405, "MethodNotAllowed", "unknownError"},

		{"negative offset", "GET", sessions + "?Offset=-1", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"offset beyond int32", "GET", sessions + "?Offset=2147483648", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"offset not a number", "GET", sessions + "?Offset=1.0", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"limit below -1", "GET", sessions + "?Limit=-2", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"limit empty", "GET", sessions + "?Limit=", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"limit twice", "GET", sessions + "?Limit=1&Limit=2", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"unknown sort", "GET", sessions + "?Sort=usn", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"sort of another list", "GET", sessions + "?Sort=nameAsc", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"lists are repeated, not joined", "GET", sessions + "?Status=Failed,Warning", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"unknown status", "GET", sessions + "?Status=Success", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"status in lower case", "GET", sessions + "?Status=failed", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"a name of another case given too", "GET", sessions + "?Limit=1&limit=1", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"unknown type", "GET", sessions + "?Types=Backup", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"type of an older revision", "GET", sessions + "?Types=SelfBackupActivity", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"policy id not a UUID", "GET", sessions + "?PolicyId=7", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"policy id in braces", "GET", sessions + "?PolicyId={" + pol.ID + "}", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"bad date", "GET", sessions + "?FromUtc=2026-02-30T00:00:00Z", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"date without a time", "GET", sessions + "?FromUtc=2026-02-03", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"plus of a zone not escaped", "GET", sessions + "?FromUtc=2026-02-03T00:00:00+01:00", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"usn not a number", "GET", sessions + "?Usn=x", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"query that can't be parsed", "GET", sessions + "?Limit=%zz", "", bearer, 400, "InvalidURI", "validationError"},
		{"bad query of policies", "GET", "/api/v1/virtualMachines/policies?Sort=nameUp", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"bad query of repositories", "GET", "/api/v1/repositories?Limit=x", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"restore points of no UUID", "GET", "/api/v1/virtualMachines/restorePoints?VirtualMachineId=7", "", bearer, 400, "UnexpectedContent", "validationError"},
		{"restore points, the latest or not", "GET", "/api/v1/virtualMachines/restorePoints?OnlyLatest=yes", "", bearer, 400, "UnexpectedContent", "validationError"},

		{"login as JSON", "POST", "/api/v1/token", "{}", []string{"Content-Type", "application/json"}, 415, "UnexpectedContent", "validationError"},
		{"login without a content type", "POST", "/api/v1/token", "", nil, 415, "UnexpectedContent", "validationError"},
		{"login without a grant", "POST", "/api/v1/token", "username=x", []string{"Content-Type", formType}, 400, "UnexpectedContent", "validationError"},
		{"login with an unknown grant", "POST", "/api/v1/token", "grant_type=magic", []string{"Content-Type", formType}, 400, "UnexpectedContent", "validationError"},
		{"login without a password", "POST", "/api/v1/token", "grant_type=password&username=x", []string{"Content-Type", formType}, 400, "UnexpectedContent", "validationError"},
		{"login with a broken form", "POST", "/api/v1/token", "grant_type=%zz", []string{"Content-Type", formType}, 400, "UnexpectedContent", "validationError"},
		{"wrong password", "POST", "/api/v1/token", password(vbawstest.DefaultUsername, "x").Encode(), []string{"Content-Type", formType}, 401, "AccessDenied", "accessDenied"},
		{"unknown user", "POST", "/api/v1/token", password("x", vbawstest.DefaultPassword).Encode(), []string{"Content-Type", formType}, 401, "AccessDenied", "accessDenied"},
		{"unknown refresh token", "POST", "/api/v1/token", "grant_type=refresh_token&refresh_token=x", []string{"Content-Type", formType}, 401, "InvalidToken", "invalidAccessToken"},
		{"unknown MFA token", "POST", "/api/v1/token", "grant_type=mfa&mfa_token=x&mfa_code=1", []string{"Content-Type", formType}, 401, "InvalidToken", "invalidAccessToken"},
		{"authorization code", "POST", "/api/v1/token", "grant_type=authorization_code&code=x", []string{"Content-Type", formType}, 401, "AccessDenied", "accessDenied"},
		{"login without a revision", "POST", "/api/v1/token", "", []string{"Content-Type", formType, "x-api-version", ""}, 400, "ApiVersionUnspecified", "apiVersionUnspecified"},
		{"logout without a token", "DELETE", "/api/v1/token", "", nil, 401, "InvalidToken", "noAccessToken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := call(a, tt.method, tt.target, tt.body, tt.headers...)
			checkProblem(t, w, tt.status, tt.code, tt.page)
		})
	}
}

func checkProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code, page string) {
	t.Helper()
	var p struct {
		Type, Title string
		Status      int
		ErrorCode   string
	}
	decode(t, w.Body.Bytes(), &p)
	if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "application/problem+json") {
		t.Errorf("content type %q", got)
	}
	if w.Code != status || p.Status != status || p.ErrorCode != code || !strings.HasSuffix(p.Type, "/api/v1/problems/"+page) || p.Title == "" {
		t.Errorf("got %d %s, want %d %s %s", w.Code, w.Body, status, code, page)
	}
}

func testHandlerRoles(t *testing.T) {
	const adminOnly, operator, anyone = 1, 2, 3
	routes := map[string]int{
		"/api/v1/system/version":    adminOnly,
		"/api/v1/settings/dateTime": adminOnly,
		"/api/v1/licensing/license": adminOnly,
		"/api/v1/repositories":      operator,
		"/api/v1/virtualMachines":   operator,

		"/api/v1/licensing/licensedWorkloads":   adminOnly,
		"/api/v1/virtualMachines/restorePoints": anyone,

		"/api/v1/sessions":                 anyone,
		"/api/v1/statistics/summary":       anyone,
		"/api/v1/system/time":              anyone,
		"/api/v1/virtualMachines/policies": anyone,
	}
	users := []vbawstest.User{
		{Name: "admin", Password: "p", Role: vbawstest.RoleAdministrator},
		{Name: "operator", Password: "p", Role: vbawstest.RoleOperator},
		{Name: "viewer", Password: "p", Role: "Restore Operator"},
	}
	a, _ := setup(vbawstest.Config{Users: users})
	for rank, u := range users {
		l, _ := grant(a, "1.8-rev0", password(u.Name, "p"))
		s := subject{a, "1.8-rev0", l.Access}
		for path, need := range routes {
			w := s.get(path)
			if rank < need {
				if w.Code != http.StatusOK {
					t.Errorf("%s as %s: %d", path, u.Name, w.Code)
				}
				continue
			}
			checkProblem(t, w, 403, "AccessDenied", "accessDenied")
		}
	}
}

func TestLogin(t *testing.T) {
	t.Run("expiry", testLoginExpiry)
	t.Run("refresh token", testLoginRefreshToken)
	t.Run("logout", testLoginLogout)
	t.Run("MFA", testLoginMFA)
	t.Run("revoked", testLoginRevoked)
	t.Run("status of a rejection", testLoginStatusOfARejection)
	t.Run("changed password", testLoginChangedPassword)
}

func testLoginExpiry(t *testing.T) {
	a, clock := setup(vbawstest.Config{AccessLifetime: 15 * time.Minute, RefreshLifetime: time.Hour})
	l, w := grant(a, "1.8-rev0", password(vbawstest.DefaultUsername, vbawstest.DefaultPassword))
	if l.Expires != 900 {
		t.Fatalf("expires_in %d in %s", l.Expires, w.Body)
	}
	s := subject{a, "1.8-rev0", l.Access}
	clock.Advance(15*time.Minute - 1)
	if w := s.get("/api/v1/sessions"); w.Code != 200 {
		t.Fatalf("just before the end: %d", w.Code)
	}
	clock.Advance(1)
	checkProblem(t, s.get("/api/v1/sessions"), 401, "ExpiredToken", "expiredAccessToken")
	a.StepClock(-time.Second)
	if w := s.get("/api/v1/sessions"); w.Code != 200 {
		t.Fatalf("after a step back: %d", w.Code)
	}
	a.StepClock(time.Hour)
	if _, w := grant(a, "1.8-rev0", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {l.Refresh}}); w.Code != 401 {
		t.Fatalf("refresh after its end: %d", w.Code)
	}
}

func testLoginRefreshToken(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	l, _ := grant(a, "1.8-rev0", password(vbawstest.DefaultUsername, vbawstest.DefaultPassword))
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {l.Refresh}}
	second, w := grant(a, "1.8-rev0", form)
	if w.Code != 200 || second.Access == l.Access || second.Refresh == l.Refresh {
		t.Fatalf("refresh: %d %s", w.Code, w.Body)
	}
	_, w = grant(a, "1.8-rev0", form)
	checkProblem(t, w, 401, "InvalidToken", "invalidAccessToken")
	if w := (subject{a, "1.8-rev0", second.Access}).get("/api/v1/sessions"); w.Code != 200 {
		t.Errorf("the refreshed token: %d", w.Code)
	}
}

func testLoginLogout(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	l, _ := grant(a, "1.8-rev0", password(vbawstest.DefaultUsername, vbawstest.DefaultPassword))
	other := loggedIn(t, a, "1.8-rev0")
	w := call(a, "DELETE", "/api/v1/token", "", "Authorization", "Bearer "+l.Access)
	if w.Code != 204 || w.Body.Len() != 0 {
		t.Fatalf("logout: %d %s", w.Code, w.Body)
	}
	checkProblem(t, (subject{a, "1.8-rev0", l.Access}).get("/api/v1/sessions"), 401, "InvalidToken", "invalidAccessToken")
	_, w = grant(a, "1.8-rev0", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {l.Refresh}})
	checkProblem(t, w, 401, "InvalidToken", "invalidAccessToken")
	if w := other.get("/api/v1/sessions"); w.Code != 200 {
		t.Errorf("another login: %d", w.Code)
	}
	if v := a.Violations(); len(v) > 0 {
		t.Errorf("violations: %q", v)
	}
}

func testLoginMFA(t *testing.T) {
	a, _ := setup(vbawstest.Config{Users: []vbawstest.User{{Name: "u", Password: "p", MFA: true, MFACode: "123456"}}})
	l, w := grant(a, "1.8-rev0", password("u", "p"))
	if w.Code != 200 || l.Access != "" || l.Refresh != "" || l.MFA == "" || !strings.Contains(w.Body.String(), `"mfa_enabled":true`) {
		t.Fatalf("login: %d %s", w.Code, w.Body)
	}
	form := url.Values{"grant_type": {"mfa"}, "mfa_token": {l.MFA}, "mfa_code": {"123456"}}
	if second, w := grant(a, "1.8-rev0", form); w.Code != 200 || second.Access == "" {
		t.Fatalf("code: %d %s", w.Code, w.Body)
	}
	l, _ = grant(a, "1.8-rev0", password("u", "p"))
	form = url.Values{"grant_type": {"mfa"}, "mfa_token": {l.MFA}, "mfa_code": {"0"}}
	if _, w := grant(a, "1.8-rev0", form); w.Code != 401 {
		t.Fatalf("wrong code: %d", w.Code)
	}
}

func testLoginRevoked(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	s := loggedIn(t, a, "1.8-rev0")
	a.RevokeTokens()
	checkProblem(t, s.get("/api/v1/sessions"), 401, "InvalidToken", "invalidAccessToken")
}

func testLoginStatusOfARejection(t *testing.T) {
	a, _ := setup(vbawstest.Config{LoginRefusedStatus: 400})
	_, w := grant(a, "1.8-rev0", password("x", "y"))
	checkProblem(t, w, 400, "AccessDenied", "accessDenied")
}

func testLoginChangedPassword(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	s := loggedIn(t, a, "1.8-rev0")
	a.Reconfigure(func(c *vbawstest.Config) {
		c.Users = []vbawstest.User{{Name: vbawstest.DefaultUsername, Password: "new", Role: vbawstest.RoleAdministrator}}
	})
	if w := s.get("/api/v1/sessions"); w.Code != 200 {
		t.Errorf("the token in use: %d", w.Code)
	}
	if _, w := grant(a, "1.8-rev0", password(vbawstest.DefaultUsername, vbawstest.DefaultPassword)); w.Code != 401 {
		t.Errorf("the old password: %d", w.Code)
	}
}

func testHandlerViolations(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	s := loggedIn(t, a, "1.8-rev0")
	s.get("/api/v1/sessions?Type=Policy&Limit=1")
	call(a, "POST", "/api/v1/sessions/"+vbawstest.ID(1)+"/stop", "")
	call(a, "PUT", "/api/v1/sessions", "")
	s.get("/api/v1/system/time?access_token=x")
	want := []string{
		"GET /api/v1/sessions?Type=Policy&Limit=1: unknown parameter Type",
		"POST /api/v1/sessions/" + vbawstest.ID(1) + "/stop: would change the appliance",
		"PUT /api/v1/sessions: would change the appliance",
		"GET /api/v1/system/time?access_token=x: unknown parameter access_token",
		"GET /api/v1/system/time?access_token=x: secret in the URL",
	}
	if diff := cmp.Diff(want, a.Violations()); diff != "" {
		t.Error(diff)
	}
}

func testHandlerLogOfRequests(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	put(a, 1)
	s := loggedIn(t, a, "1.8-rev0")
	a.ResetRequests()
	w := s.get("/api/v1/sessions/" + vbawstest.ID(0) + "/log?x=1")
	s.get("/nowhere")
	got := a.Requests()
	want := []vbawstest.Request{
		{Method: "GET", Route: "/api/v1/sessions/{id}/log", Path: "/api/v1/sessions/" + vbawstest.ID(0) + "/log",
			RawQuery: "x=1", Revision: "1.8-rev0", Status: 200, Bytes: w.Body.Len()},
		{Method: "GET", Path: "/nowhere", Revision: "1.8-rev0", Status: 404, Bytes: got[1].Bytes},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got[0].Query().Get("x") != "1" {
		t.Errorf("query %v", got[0].Query())
	}
}

func testHandlerHookBetweenPages(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	put(a, 4)
	s := loggedIn(t, a, "1.8-rev0")
	var seen []string
	a.OnRequest(func(r *http.Request) { seen = append(seen, r.URL.RawQuery) })
	a.AfterPage(func(*http.Request) {
		a.Update(vbawstest.ID(0), func(s *vbawstest.Session) { s.Status = vbawstest.StatusFailed })
	})
	first := s.sessions(t, "Sort=usnDesc&Limit=2").ids()
	a.AfterPage(nil)
	second := s.sessions(t, "Sort=usnDesc&Limit=2&Offset=2").ids()
	if want := []string{vbawstest.ID(3), vbawstest.ID(2)}; !slices.Equal(first, want) {
		t.Errorf("first page %q, want %q", first, want)
	}
	if want := []string{vbawstest.ID(2), vbawstest.ID(1)}; !slices.Equal(second, want) {
		t.Errorf("second page %q, want %q", second, want)
	}
	if want := []string{"Sort=usnDesc&Limit=2", "Sort=usnDesc&Limit=2&Offset=2"}; !slices.Equal(seen, want) {
		t.Errorf("seen %q, want %q", seen, want)
	}
}

func testHandlerClock(t *testing.T) {
	a, clock := setup(vbawstest.Config{Offset: 5 * time.Minute})
	a.StepClock(time.Hour)
	clock.Advance(time.Second)
	own := epoch.Add(65*time.Minute + time.Second)
	started := a.Start(vbawstest.Session{Type: "Policy"})
	finished, _ := a.Finish(started.ID, vbawstest.StatusSucceeded, time.Time{})
	if !started.Start.Equal(own) || !finished.Stop.Equal(own) || !a.Now().Equal(own) {
		t.Errorf("stamped %v and %v, want %v", started.Start, finished.Stop, own)
	}
	s := loggedIn(t, a, "1.8-rev0")
	w := s.get("/api/v1/system/time")
	if got, want := w.Body.String(), `{"utcDateTime":"`+own.Format("2006-01-02T15:04:05.000000Z")+`"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := w.Header().Get("Date"), own.Format(http.TimeFormat); got != want {
		t.Errorf("Date %q, want %q", got, want)
	}
}

func testHandlerVendorsSample(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	s := loggedIn(t, a, "1.8-rev0")
	const sample = "{\n \"totalCount\": 57 }\n"
	a.RawSessions([]byte(sample))
	if got := s.get("/api/v1/sessions").Body.String(); got != sample {
		t.Errorf("got %q", got)
	}
	if w := s.get("/api/v1/sessions?Limit=-2"); w.Code != 400 {
		t.Errorf("a bad query: %d", w.Code)
	}
	a.RawSessions(nil)
	if got := s.sessions(t, "").TotalCount; got != 0 {
		t.Errorf("afterwards %d sessions", got)
	}
}

func testHandlerSingleObjects(t *testing.T) {
	a, _ := setup(vbawstest.Config{
		Product: 9, Version: "9.1.2.3", ZoneName: "W. Europe Standard Time",
		License:      &vbawstest.License{Type: "Subscription", Instances: 5, Used: 2.5, LicensedTo: "x", Expires: epoch},
		Summary:      vbawstest.Summary{Alarms: 1, Instances: 4, ProtectedInstances: 3},
		Repositories: []vbawstest.Repository{{ID: vbawstest.ID(1), Name: "b"}, {ID: vbawstest.ID(2), Name: "a", Bucket: "bucket"}},
	})
	s := loggedIn(t, a, "1.7-rev0")
	a.Reconfigure(func(c *vbawstest.Config) { c.Summary.Instances = 2 })
	for path, want := range map[string]map[string]any{
		"/api/v1/system/version":     {"version": "9.1.2.3", "about": "Veeam Backup for AWS"},
		"/api/v1/settings/dateTime":  {"timezone": map[string]any{"name": "W. Europe Standard Time", "displayName": "(UTC+00:00) W. Europe Standard Time"}, "useCustomSettings": false},
		"/api/v1/licensing/license":  {"licenseType": "Subscription", "instancesUses": 2.5, "instances": 5.0, "licensedTo": "x", "licenseExpires": "2026-03-01T22:00:00.000000Z"},
		"/api/v1/statistics/summary": {"alarmsCount": 1.0, "alarmsCountChangesTrend": "NotChanged", "instancesCount": 2.0, "instancesCountChangesTrend": "Decreased", "protectedInstancesCount": 3.0, "repositoriesCount": 2.0, "policiesCount": 0.0},
	} {
		var got map[string]any
		decode(t, s.get(path).Body.Bytes(), &got)
		for k, v := range want {
			if diff := cmp.Diff(v, got[k]); diff != "" {
				t.Errorf("%s %s: %s", path, k, diff)
			}
		}
	}
	var page struct {
		TotalCount int
		Results    []struct {
			Name     string
			Embedded map[string]string `json:"_embedded"`
		}
	}
	decode(t, s.get("/api/v1/repositories?Offset=1&Limit=1").Body.Bytes(), &page)
	if page.TotalCount != 2 || len(page.Results) != 1 || page.Results[0].Name != "a" || page.Results[0].Embedded["bucket"] != "bucket" {
		t.Errorf("repositories: %+v", page)
	}
}

func testHandlerLogsAndItems(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	put(a, 2)
	a.SetLog(vbawstest.ID(0), vbawstest.LogItem{Time: epoch, Status: "Error", Message: "no \"room\""})
	a.SetItems(vbawstest.ID(0), vbawstest.Item{ID: vbawstest.ID(70), Name: "web", Status: "Failed", Region: "eu"}, vbawstest.Item{ID: vbawstest.ID(71), Name: "db", Status: "Succeeded"})
	s := loggedIn(t, a, "1.8-rev0")
	var log struct {
		SessionID string
		Log       []struct{ LogTime, Status, Message string }
	}
	decode(t, s.get("/api/v1/sessions/"+vbawstest.ID(0)+"/log").Body.Bytes(), &log)
	if len(log.Log) != 1 || log.Log[0].Status != "Error" || log.Log[0].Message != `no "room"` || log.SessionID != vbawstest.ID(0) {
		t.Errorf("log %+v", log)
	}
	decode(t, s.get("/api/v1/sessions/"+vbawstest.ID(1)+"/log").Body.Bytes(), &log)
	if log.Log == nil || len(log.Log) != 0 {
		t.Errorf("log of another session %+v", log)
	}
	if got := s.sessions(t, "VmId="+vbawstest.ID(71)).ids(); !slices.Equal(got, []string{vbawstest.ID(0)}) {
		t.Errorf("by VmId: %q", got)
	}
}

func testHandlerImpossibleState(t *testing.T) {
	a, clock := setup(vbawstest.Config{})
	begun := vbawstest.NewFleet(a, vbawstest.FleetConfig{})
	begun.Advance(clock.Now())
	for name, f := range map[string]func(){
		"a product too new":            func() { vbawstest.New(vbawstest.Config{Product: 12}) },
		"a product too old":            func() { vbawstest.New(vbawstest.Config{Product: 1}) },
		"a revision without rev":       func() { vbawstest.New(vbawstest.Config{Revisions: []string{"1.7"}}) },
		"a repository without a UUID":  func() { vbawstest.New(vbawstest.Config{Repositories: []vbawstest.Repository{{ID: "1"}}}) },
		"a session without a UUID":     func() { a.Put(vbawstest.Session{ID: "1"}) },
		"a session in upper case":      func() { a.Put(vbawstest.Session{ID: strings.ToUpper(vbawstest.ID(10))}) },
		"a policy without a UUID":      func() { a.PutPolicy(vbawstest.Policy{ID: "1"}) },
		"a VPC policy with a schedule": func() { a.PutPolicy(vbawstest.Policy{Workload: vbawstest.VPC, Schedule: hourly()}) },
		"an interval of no length": func() {
			a.PutPolicy(vbawstest.Policy{Workload: vbawstest.VPC, Every: vbawstest.Interval{Type: "Weeks", Count: 1}})
		},
		"an interval of EC2": func() { a.PutPolicy(vbawstest.Policy{Every: vbawstest.Interval{Type: "Days", Count: 1}}) },
		"snapshots of EFS":   func() { a.PutPolicy(vbawstest.Policy{Workload: vbawstest.EFS, Schedule: hourly()}) },
		"a health check of RDS": func() {
			a.PutPolicy(vbawstest.Policy{Workload: vbawstest.RDS, Schedule: &vbawstest.ScheduleSettings{HealthCheck: &vbawstest.HealthCheckSchedule{}}})
		},
		"a fleet that begins two times": func() { begun.Backfill(epoch) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is accepted", name)
				}
			}()
			f()
		}()
	}
	// The panics left no mutex locked.
	put(a, 1)
	begun.Advance(clock.Now())
	if _, ok := a.Lookup(vbawstest.ID(1)); ok || a.Len() != 1 {
		t.Errorf("%d sessions", a.Len())
	}
}

// FuzzAnyRequest sends any request: the answer is a success or a problem.
func FuzzAnyRequest(f *testing.F) {
	f.Add("GET", "/api/v1/sessions", "1.8-rev0", "Bearer x", "", "")
	f.Add("POST", "/api/v1/token", "1.8-rev0", "", formType, password(vbawstest.DefaultUsername, vbawstest.DefaultPassword).Encode())
	f.Add("POST", "/api/v1/token", "1.8-rev0", "", formType+"; charset=utf-8", "grant_type=mfa&mfa_token=%00&mfa_code=")
	f.Add("DELETE", "/api/v1/token", "01.8-rev0", "Bearer ", "", "")
	f.Add("GET", "/api/v1/sessions/"+vbawstest.ID(0)+"/log", "1.99-rev0", "bearer", "", "")
	f.Add("GET", "/api/v1/problems/notFound", "", "", "", "")
	a, _ := setup(vbawstest.Config{})
	put(a, 2)
	f.Fuzz(func(t *testing.T, method, path, rev, auth, contentType, body string) {
		req := &http.Request{
			Method: method,
			URL:    &url.URL{Path: path},
			Header: http.Header{"X-Api-Version": {rev}, "Authorization": {auth}, "Content-Type": {contentType}},
			Host:   "appliance",
			Body:   io.NopCloser(strings.NewReader(body)),
		}
		w := httptest.NewRecorder()
		a.ServeHTTP(w, req)
		a.ResetRequests()
		if w.Code < 300 {
			return
		}
		var p struct {
			Status    int
			ErrorCode string
		}
		decode(t, w.Body.Bytes(), &p)
		if p.Status != w.Code || p.ErrorCode == "" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
