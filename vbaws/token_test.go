package vbaws

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func get(ctx context.Context, c *Client) error {
	_, err := c.Sessions(ctx, SessionsQuery{})
	return err
}

func mustGet(t fatal, c *Client) {
	t.Helper()
	if err := get(context.Background(), c); err != nil {
		t.Fatal(err)
	}
}

// together calls f n times at once and returns its errors.
func together(n int, f func(int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errs
}

func TestToken(t *testing.T) {
	t.Run("refresh before expiry", testTokenRefreshBeforeExpiry)
	t.Run("no expiry", testTokenNoExpiry)
	t.Run("rejected refresh", testTokenRejectedRefresh)
	t.Run("forty requests with an expired token", testTokenFortyRequestsWithAnExpiredToken)
	t.Run("crowds", testTokenCrowds)
	t.Run("callers that go away", testTokenCallersThatGoAway)
	t.Run("late 401", testTokenLate401)
	t.Run("late 401 after a rejection", testTokenLate401AfterARejection)
	t.Run("403", testToken403)
	t.Run("two 401 in a row", testTokenTwo401InARow)
	t.Run("concurrent use", testTokenConcurrentUse)
}

func testTokenRefreshBeforeExpiry(t *testing.T) {
	for life, early := range map[int]time.Duration{3600: time.Minute, 100: 20 * time.Second} {
		a := newAppliance()
		a.expiresIn = life
		now := time.Unix(1e9, 0)
		cfg := start(t, a)
		cfg.Now = func() time.Time { return now }
		c := client(t, cfg)
		mustGet(t, c)
		end := now.Add(time.Duration(life)*time.Second - early)
		now = end.Add(-1)
		mustGet(t, c)
		if n := a.count("POST"); n != 1 {
			t.Errorf("%d s: %d logins before the end", life, n)
		}
		now = end
		first := a.access
		mustGet(t, c)
		if a.count("POST refresh_token") != 1 || a.count("POST") != 2 || a.access == first {
			t.Errorf("%d s: %v", life, a.got)
		}
	}
}

// A token without a lifetime is used until it is rejected.
func testTokenNoExpiry(t *testing.T) {
	for _, expires := range []string{``, `,"expires_in":null`, `,"expires_in":0`, `,"expires_in":-5`, `,"expires_in":"soon"`} {
		a := newAppliance()
		a.access = "x"
		a.token = answer(200, "", `{"access_token":"x"`+expires+`}`)
		now := time.Unix(1e9, 0)
		cfg := start(t, a)
		cfg.Now = func() time.Time { return now }
		c := client(t, cfg)
		mustGet(t, c)
		now = now.AddDate(1, 0, 0)
		mustGet(t, c)
		if n := a.count("POST"); n != 1 {
			t.Errorf("%q: %d logins", expires, n)
		}
	}
}

func testTokenRejectedRefresh(t *testing.T) {
	for status, password := range map[int]int{400: 1, 401: 1, 403: 1, 404: 1, 500: 1, 429: 0, 502: 0, 503: 0} {
		a := newAppliance()
		now := time.Unix(1e9, 0)
		cfg := start(t, a)
		cfg.Now = func() time.Time { return now }
		c := client(t, cfg)
		mustGet(t, c)
		a.forget()
		now = now.Add(2 * time.Hour)
		a.token = func(w http.ResponseWriter, r *http.Request) {
			if r.PostForm.Get("grant_type") == "refresh_token" {
				problem(w, status, "X")
				return
			}
			a.login(w, r)
		}
		err := get(t.Context(), c)
		if (err == nil) != (password == 1) || a.count("POST refresh_token") != 1 || a.count("POST password") != password {
			t.Errorf("%d: %v, %v", status, err, a.got)
		}
	}
}

// whenAllAreRefused makes the next login wait until n requests were answered with 401.
func whenAllAreRefused(a *appliance, c *Client, n int) {
	refused := make(chan struct{}, n)
	c.cfg.Observe = func(r Request) {
		if r.Code == 401 && r.Endpoint != RouteToken {
			refused <- struct{}{}
		}
	}
	var once sync.Once
	a.token = func(w http.ResponseWriter, r *http.Request) {
		once.Do(func() {
			for range n {
				<-refused
			}
		})
		a.login(w, r)
	}
}

func testTokenFortyRequestsWithAnExpiredToken(t *testing.T) {
	a := newAppliance()
	c := client(t, start(t, a))
	mustGet(t, c)
	a.revoke()
	a.forget()
	whenAllAreRefused(a, c, 40)
	for _, err := range together(40, func(int) error { return get(t.Context(), c) }) {
		if err != nil {
			t.Error(err)
		}
	}
	if n := a.count("POST"); n != 1 {
		t.Errorf("%d logins", n)
	}
}

func TestLogin(t *testing.T) {
	t.Run("rejected", testLoginRejected)
	t.Run("rejected once for forty requests", testLoginRejectedOnceForFortyRequests)
	t.Run("MFA", testLoginMFA)
	t.Run("not a login", testLoginNotALogin)
	t.Run("short password and error code", testLoginShortPasswordAndErrorCode)
	t.Run("password is read each time", testLoginPasswordIsReadEachTime)
	t.Run("secrets stay secret", testLoginSecretsStaySecret)
	t.Run("logout", testLoginLogout)
}

// Accounts lock, so one rejected login is the answer for all callers.
func testLoginRejectedOnceForFortyRequests(t *testing.T) {
	a := newAppliance()
	c := client(t, start(t, a))
	mustGet(t, c)
	a.revoke()
	a.forget()
	a.password = "another"
	whenAllAreRefused(a, c, 40)
	for _, err := range together(40, func(int) error { return get(t.Context(), c) }) {
		if err == nil || KindOf(err) != KindAuth {
			t.Error(err)
		}
	}
	if n := a.count("POST"); n != 1 {
		t.Errorf("%d logins", n)
	}
	a.forget()
	a.password = testPassword
	mustGet(t, c)
	if n := a.count("POST"); n != 1 {
		t.Errorf("the next call logs in %d times", n)
	}
}

// In any order of expiry, revocation and concurrent calls, no call fails, and concurrent calls
// log in at most once.
func testTokenCrowds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newAppliance()
		var mu sync.Mutex
		now := time.Unix(1e9, 0)
		cfg := config("https://appliance")
		cfg.Transport = direct{a}
		cfg.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		c := client(t, cfg)
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "revoke") {
				a.revoke()
			}
			mu.Lock()
			now = now.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "minutes")) * time.Minute)
			mu.Unlock()
			a.forget()
			for _, err := range together(rapid.IntRange(1, 12).Draw(t, "crowd"), func(int) error { return get(context.Background(), c) }) {
				if err != nil {
					t.Fatal(err)
				}
			}
			if n := a.count("POST password"); n > 1 {
				t.Fatalf("%d logins: %v", n, a.got)
			}
			if n := a.count("POST refresh_token"); n > 1 {
				t.Fatalf("%d refreshes: %v", n, a.got)
			}
		}
	})
}

// The end of a caller's context, even of the one that started the login, doesn't affect the
// others.
func testTokenCallersThatGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAppliance()
		cfg := config("https://appliance")
		cfg.Transport = direct{a}
		c := client(t, cfg)
		ended := make(chan struct{}, 2)
		a.token = func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
				ended <- struct{}{}
			case <-time.After(time.Minute):
				a.login(w, r)
			}
		}
		all := make(map[string]error)
		var mu sync.Mutex
		soFar := func() map[string]error {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return maps.Clone(all)
		}
		call := func(name string, ctx context.Context) {
			err := get(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			all[name] = err
		}
		first, leave := context.WithCancel(t.Context())
		go call("first", first)
		synctest.Wait()
		waiting, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		go call("impatient", waiting)
		go call("patient", t.Context())
		go call("patient too", t.Context())
		if results := soFar(); len(results) != 0 {
			t.Fatal(results)
		}

		time.Sleep(10 * time.Second)
		results := soFar()
		if err := results["impatient"]; len(results) != 1 || !errors.Is(err, context.DeadlineExceeded) || KindOf(err) != KindTimeout {
			t.Errorf("after 10 s: %v", results)
		}
		leave()
		results = soFar()
		if err := results["first"]; len(results) != 2 || !errors.Is(err, context.Canceled) {
			t.Errorf("after the first left: %v", results)
		}
		time.Sleep(time.Minute)
		results = soFar()
		for _, name := range []string{"patient", "patient too"} {
			if err, ok := results[name]; !ok || err != nil {
				t.Errorf("%s: %v, %t", name, err, ok)
			}
		}
		if n := a.count("POST"); n != 1 {
			t.Errorf("%d logins", n)
		}

		// A login without waiters ends, and the next call starts another one.
		a.revoke()
		a.forget()
		last, leave := context.WithCancel(t.Context())
		go call("last", last)
		synctest.Wait()
		leave()
		if err := soFar()["last"]; !errors.Is(err, context.Canceled) || len(ended) != 1 {
			t.Errorf("after the last left: %v, %d logins ended", err, len(ended))
		}
		if err := c.Logout(t.Context()); err != nil {
			t.Error(err)
		}
		call("next", t.Context())
		if err := soFar()["next"]; err != nil || a.count("POST") != 2 {
			t.Errorf("%v, %v", err, a.got)
		}
	})
}

// A 401 for a token whose replacement was already refused doesn't cause another login.
func testTokenLate401AfterARejection(t *testing.T) {
	a := newAppliance()
	c := client(t, start(t, a))
	mustGet(t, c)
	hold, held := make(chan struct{}), make(chan struct{})
	a.routes["/api/v1/sessions/slow"] = func(w http.ResponseWriter, _ *http.Request) {
		close(held)
		<-hold
		problem(w, 401, "ExpiredToken")
	}
	slow := make(chan error, 1)
	go func() {
		_, _, err := c.Session(t.Context(), "slow")
		slow <- err
	}()
	<-held
	a.revoke()
	a.mu.Lock()
	a.password = "another"
	a.mu.Unlock()
	a.forget()
	first := get(t.Context(), c)
	close(hold)
	if second := <-slow; KindOf(first) != KindAuth || second != first {
		t.Errorf("%v, then %v", first, second)
	}
	if n := a.count("POST"); n != 1 {
		t.Errorf("%d logins: %v", n, a.got)
	}
}

// A 401 for a token that was replaced meanwhile is not about the new one.
func testTokenLate401(t *testing.T) {
	a := newAppliance()
	c := client(t, start(t, a))
	mustGet(t, c)
	first := a.access
	hold, held := make(chan struct{}), make(chan struct{})
	a.routes["/api/v1/sessions/slow"] = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer "+first {
			close(held)
			<-hold
			problem(w, 401, "ExpiredToken")
			return
		}
		answer(200, "", `{"id":"slow","type":"T","status":"S","usn":5}`)(w, r)
	}
	slow := make(chan error, 1)
	go func() {
		_, _, err := c.Session(t.Context(), "slow")
		slow <- err
	}()
	<-held
	a.revoke()
	mustGet(t, c)
	close(hold)
	if err := <-slow; err != nil {
		t.Error(err)
	}
	if n := a.count("POST"); n != 2 {
		t.Errorf("%d logins: %v", n, a.got)
	}
}

// A token that is rejected by 403 is replaced, like one that is rejected by 401.
func testToken403(t *testing.T) {
	a := newAppliance()
	dead := ""
	rejecting := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer "+dead {
				problem(w, 403, "AccessDenied")
				return
			}
			next(w, r)
		}
	}
	a.routes["/api/v1/sessions"] = rejecting(answer(200, "", emptyPage))
	a.routes["/api/v1/system/version"] = rejecting(answer(200, "", `{"version":"9.1"}`))
	a.routes["/api/v1/licensing/license"] = func(w http.ResponseWriter, _ *http.Request) { problem(w, 403, "AccessDenied") }
	now := time.Unix(1e9, 0)
	cfg := start(t, a)
	cfg.Now = func() time.Time { return now }
	c := client(t, cfg)
	everything := func(logins int) {
		t.Helper()
		a.forget()
		for _, err := range together(12, func(i int) error {
			var err error
			switch i % 3 {
			case 0:
				err = get(t.Context(), c)
			case 1:
				_, err = c.Version(t.Context())
			default:
				if _, err = c.License(t.Context()); HasStatus(err, 403) && KindOf(err) == KindHTTP {
					err = nil
				}
			}
			return err
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		if n := a.count("POST"); n != logins {
			t.Errorf("%d logins, want %d: %v", n, logins, a.got)
		}
	}
	everything(1) // a right that the account never had causes no login
	mustGet(t, c)
	everything(0)
	for range 2 { // the appliance restarts twice within the life of a token
		dead = a.access
		everything(1)
		everything(0)
	}

	// The loss of a right causes one login, for any number of endpoints.
	now = now.Add(2 * time.Hour)
	everything(1) // the refresh
	for _, path := range []string{"/api/v1/sessions", "/api/v1/system/version"} {
		a.routes[path] = func(w http.ResponseWriter, _ *http.Request) { problem(w, 403, "AccessDenied") }
	}
	a.forget()
	for range 3 {
		_, err := c.Version(t.Context())
		if err2 := get(t.Context(), c); !HasStatus(err, 403) || !HasStatus(err2, 403) || KindOf(err) != KindHTTP {
			t.Errorf("%v, %v", err, err2)
		}
	}
	if a.count("POST password") != 1 || a.count("POST") != 1 || a.count("GET") != 7 {
		t.Error(a.got)
	}
	// If the password is refused, that is the error.
	a.routes["/api/v1/sessions"] = rejecting(answer(200, "", emptyPage))
	now = now.Add(2 * time.Hour)
	mustGet(t, c)
	dead, a.password, a.refresh = a.access, "another", ""
	a.forget()
	if err := get(t.Context(), c); KindOf(err) != KindAuth || a.count("POST password") != 1 {
		t.Errorf("%v: %v", a.got, err)
	}
	// A 403 to the logout is no error.
	a.password = testPassword
	mustGet(t, c)
	a.routes["/api/v1/token"] = nil
	c.cfg.URL, c.http.Transport = cfg.URL, roundTrip(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusForbidden, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	})
	if err := c.Logout(t.Context()); err != nil {
		t.Error(err)
	}
}

func testTokenTwo401InARow(t *testing.T) {
	a := newAppliance()
	a.routes["/api/v1/sessions"] = func(w http.ResponseWriter, _ *http.Request) { problem(w, 401, "InvalidToken") }
	c := client(t, start(t, a))
	err := get(t.Context(), c)
	if KindOf(err) != KindAuth || !HasStatus(err, 401) || !strings.Contains(err.Error(), "two tokens in a row") {
		t.Error(err)
	}
	if a.count("POST password") != 2 || a.count("GET") != 2 {
		t.Error(a.got)
	}
}

func testLoginRejected(t *testing.T) {
	for status, want := range map[int]Kind{400: KindAuth, 401: KindAuth, 403: KindAuth, 404: KindHTTP, 429: KindHTTP, 500: KindHTTP, 503: KindHTTP} {
		a := newAppliance()
		a.token = func(w http.ResponseWriter, _ *http.Request) { problem(w, status, "SomeCode") }
		c := client(t, start(t, a))
		err := get(t.Context(), c)
		if KindOf(err) != want || !HasStatus(err, status) {
			t.Errorf("%d: %v, kind %s", status, err, KindOf(err))
		}
		for _, s := range []string{`login as "prometheus"`, "SomeCode"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%v lacks %s", err, s)
			}
		}
		if want == KindAuth && !strings.Contains(err.Error(), "check the user name") {
			t.Errorf("%v doesn't say what to do", err)
		}
		if n := a.count("POST"); n != 1 {
			t.Errorf("%d: an answered login was tried again: %v", status, a.got)
		}
	}
	for _, code := range []string{"ApiVersionUnspecified", "AmbiguousApiVersion"} {
		requests := 0
		c := client(t, start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests++
			problem(w, 400, code)
		})))
		if err := get(t.Context(), c); KindOf(err) != KindHTTP || requests != 1 {
			t.Errorf("a missing header counts as a wrong password: %d requests, %v", requests, err)
		}
		a := newAppliance()
		a.token = func(w http.ResponseWriter, _ *http.Request) { problem(w, 400, code) }
		if err := get(t.Context(), client(t, start(t, a))); KindOf(err) != KindHTTP {
			t.Errorf("a missing header counts as a wrong password: %v", err)
		}
	}
}

func testLoginMFA(t *testing.T) {
	a := newAppliance()
	a.token = answer(200, "", `{"access_token":null,"mfa_token":"hidden-mfa","mfa_enabled":true,"expires_in":60}`)
	err := get(t.Context(), client(t, start(t, a)))
	if KindOf(err) != KindAuth || !errors.Is(err, ErrMFA) || !strings.Contains(err.Error(), "unattended") || strings.Contains(err.Error(), "hidden-mfa") {
		t.Error(err)
	}
	if a.count("POST") != 1 {
		t.Error(a.got)
	}
}

func testLoginNotALogin(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"page":    answer(200, "Content-Type: text/html", "<html>shown</html>"),
		"empty":   answer(200, "", ""),
		"object":  answer(200, "Content-Type: application/json", `{"shown":1}`),
		"newline": answer(200, "Content-Type: application/json", `{"access_token":"shown\n"}`),
		"number":  answer(200, "Content-Type: application/json", `{"access_token":77777}`),
		"more":    answer(200, "Content-Type: application/json", `{"access_token":"x"}shown`),
	} {
		a := newAppliance()
		a.token = h
		err := get(t.Context(), client(t, start(t, a)))
		if err == nil || KindOf(err) != KindDecode || strings.Contains(err.Error(), "shown") || strings.Contains(err.Error(), "777") {
			t.Errorf("%s: %v", name, err)
		}
		if n := a.count("POST"); n != 1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

// Requests and logouts at once, for the race detector.
func testTokenConcurrentUse(t *testing.T) {
	a := newAppliance()
	cfg := config("https://appliance")
	cfg.Transport = direct{a}
	c := client(t, cfg)
	for _, err := range together(30, func(i int) error {
		switch i % 5 {
		case 0:
			return c.Logout(t.Context())
		case 1:
			_ = c.Workloads()
			_ = c.APIVersion()
			return nil
		}
		// Two logouts can revoke two tokens of one request.
		if err := get(t.Context(), c); err != nil && KindOf(err) != KindAuth {
			return fmt.Errorf("request %d: %w", i, err)
		}
		return nil
	}) {
		if err != nil {
			t.Error(err)
		}
	}
}

// A password can be part of an error code that the client needs.
func testLoginShortPasswordAndErrorCode(t *testing.T) {
	in := call{secrets: []string{"p", "", "token-0123456789abcdef"}}
	for name, want := range map[string]string{
		"UnsupportedApiVersion":                                "UnsupportedApiVersion",
		"/api/v1/problems/unsupportedApiVersion":               "/api/v1/problems/unsupportedApiVersion",
		"https://docs.api-versioning.org/problems#unsupported": "https://docs.api-versioning.org/problems#unsupported",
		"p":                                  leftOut,
		"the password is p":                  leftOut,
		"token-0123456789abcdef.is/not.kept": leftOut,
		"https://vba/problems?x=0123&p=%70 and more": leftOut,
	} {
		if got := in.quoteName(name, 100); got != want {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}
