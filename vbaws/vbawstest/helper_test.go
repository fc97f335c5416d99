package vbawstest_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"vbaws_exporter/vbaws/vbawstest"
)

var epoch = time.Date(2026, time.March, 1, 22, 0, 0, 0, time.UTC)

// TB has the methods of *testing.T and *rapid.T that the helpers need.
type TB interface {
	Helper()
	Errorf(string, ...any)
	Fatalf(string, ...any)
}

// setup returns an appliance with a clock that stands at epoch.
func setup(cfg vbawstest.Config) (*vbawstest.Appliance, *vbawstest.Clock) {
	clock := vbawstest.NewClock(epoch)
	cfg.Now = clock.Now
	return vbawstest.New(cfg), clock
}

// call sends a request straight to the handler. Headers are pairs of name and
// value; an empty value removes the header.
func call(a *vbawstest.Appliance, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, target, strings.NewReader(body))
	req.Header.Set("x-api-version", "1.8-rev0")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, req)
	return w
}

type login struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Expires int    `json:"expires_in"`
	MFA     string `json:"mfa_token"`
}

const formType = "application/x-www-form-urlencoded"

// grant posts a form to /api/v1/token.
func grant(a *vbawstest.Appliance, rev string, form url.Values) (login, *httptest.ResponseRecorder) {
	w := call(a, http.MethodPost, "/api/v1/token", form.Encode(), "Content-Type", formType, "x-api-version", rev)
	var l login
	json.Unmarshal(w.Body.Bytes(), &l)
	return l, w
}

func password(name, password string) url.Values {
	return url.Values{"grant_type": {"password"}, "username": {name}, "password": {password}}
}

// subject is a client that has logged in.
type subject struct {
	a     *vbawstest.Appliance
	rev   string
	token string
}

func loggedIn(t TB, a *vbawstest.Appliance, rev string) subject {
	t.Helper()
	l, w := grant(a, rev, password(vbawstest.DefaultUsername, vbawstest.DefaultPassword))
	if w.Code != http.StatusOK || l.Access == "" {
		t.Fatalf("login: %d %s", w.Code, w.Body)
	}
	return subject{a, rev, l.Access}
}

func (s subject) get(target string) *httptest.ResponseRecorder {
	return call(s.a, http.MethodGet, target, "", "x-api-version", s.rev, "Authorization", "Bearer "+s.token)
}

type sessionRow struct {
	ID           string          `json:"id"`
	Type         string          `json:"type"`
	ExtendedType *string         `json:"extendedSessionType"`
	Name         *string         `json:"name"`
	Status       string          `json:"status"`
	Result       string          `json:"result"`
	Start        string          `json:"executionStartTime"`
	Stop         json.RawMessage `json:"executionStopTime"`
	Duration     json.RawMessage `json:"executionDuration"`
	USN          int64           `json:"usn"`
}

type sessionsPage struct {
	TotalCount int          `json:"totalCount"`
	Results    []sessionRow `json:"results"`
}

func (p sessionsPage) ids() []string {
	ids := []string{}
	for _, r := range p.Results {
		ids = append(ids, r.ID)
	}
	return ids
}

// sessions gets a page of sessions. Any other answer is fatal.
func (s subject) sessions(t TB, query string) sessionsPage {
	t.Helper()
	w := s.get("/api/v1/sessions?" + query)
	var page sessionsPage
	if w.Code != http.StatusOK {
		t.Fatalf("GET sessions?%s: %d %s", query, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil {
		t.Fatalf("GET sessions?%s: %v in %s", query, err, w.Body)
	}
	return page
}

// fetch gets a URL over the network.
func fetch(s *vbawstest.Server, target, token string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(http.MethodGet, s.URL+target, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("x-api-version", "1.8-rev0")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.Client().Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// put adds n finished policy sessions, one a minute from epoch on, with ids ID(0),
// ID(1), ….
func put(a *vbawstest.Appliance, n int) {
	for i := range n {
		start := epoch.Add(time.Duration(i) * time.Minute)
		a.Put(vbawstest.Session{ID: vbawstest.ID(i), Type: "Policy", Status: vbawstest.StatusSucceeded,
			Start: start, Stop: start.Add(2550602 * time.Microsecond)})
	}
}

func decode(t *testing.T, body []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(body, into); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
}
