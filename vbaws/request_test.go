package vbaws

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"vbaws_exporter/vbaws/vbawstest"
)

// times runs the handlers in turn, the last one from then on.
func times(handlers ...http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		h := handlers[0]
		if len(handlers) > 1 {
			handlers = handlers[1:]
		}
		mu.Unlock()
		h(w, r)
	}
}

func hangUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func cutShort(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"totalCount":0,"results":[`)
}

// cutQuietly ends the answer in the middle without HTTP seeing it.
func cutQuietly(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	b := bufio.NewWriter(conn)
	fmt.Fprintf(b, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"+`{"results":[{"id":"a"`)
	b.Flush()
	conn.Close()
}

func TestRequest(t *testing.T) {
	t.Run("retries", testRequestRetries)
	t.Run("retried login", testRequestRetriedLogin)
	t.Run("Retry-After", testRequestRetryAfter)
	t.Run("context ends the wait", testRequestContextEndsTheWait)
	t.Run("context ends", testRequestContextEnds)
	t.Run("kinds of errors", testRequestKindsOfErrors)
	t.Run("large page", testRequestLargePage)
	t.Run("quoted answers", testRequestQuotedAnswers)
	t.Run("errors that quote the server", testRequestErrorsThatQuoteTheServer)
	t.Run("password that is a word of an error", testRequestPasswordThatIsAWordOfAnError)
}

func testRequestRetries(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { problem(w, code, "Code") }
	}
	good := answer(200, "", emptyPage)
	for name, test := range map[string]struct {
		h     http.HandlerFunc
		tries int
		want  Kind // "": it works
	}{
		"once":                {good, 1, ""},
		"429":                 {times(status(429), good), 2, ""},
		"500":                 {times(status(500), good), 2, ""},
		"502 and 503":         {times(status(502), status(503), good), 3, ""},
		"504 for ever":        {status(504), 3, KindHTTP},
		"hung up":             {times(hangUp, good), 2, ""},
		"hung up for ever":    {hangUp, 3, KindUnreachable},
		"truncated":           {times(cutShort, cutQuietly, good), 3, ""},
		"truncated for ever":  {cutShort, 3, KindUnreachable},
		"ends early for ever": {cutQuietly, 3, KindUnreachable},
		"400":                 {status(400), 1, KindHTTP},
		"403":                 {status(403), 1, KindHTTP},
		"404":                 {status(404), 1, KindHTTP},
		"501":                 {status(501), 1, KindHTTP},
		"no API":              {answer(200, "", "<html>"), 1, KindDecode},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAppliance()
			a.routes["/api/v1/sessions"] = test.h
			cfg := start(t, a)
			// net/http itself retries on a connection that was used before.
			cfg.Transport.(*http.Transport).DisableKeepAlives = true
			var seen int
			cfg.Observe = func(r Request) {
				if r.Endpoint == "/api/v1/sessions" {
					seen++
				}
			}
			err := get(t.Context(), client(t, cfg))
			if (err == nil) != (test.want == "") || err != nil && KindOf(err) != test.want {
				t.Errorf("%v, want kind %q", err, test.want)
			}
			if n := a.count("GET"); n != test.tries || seen != n {
				t.Errorf("%d tries, %d observed, want %d", n, seen, test.tries)
			}
			if n := a.count("POST"); n != 1 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

// A login is retried if the connection fails before an answer, and not if it fails within
// the answer: that login can have counted.
func testRequestRetriedLogin(t *testing.T) {
	a := newAppliance()
	a.token = times(hangUp, hangUp, a.login)
	mustGet(t, client(t, start(t, a)))
	if n := a.count("POST"); n != 3 {
		t.Errorf("%d logins", n)
	}
	a = newAppliance()
	a.token = times(cutShort, a.login)
	if err := get(t.Context(), client(t, start(t, a))); err == nil || KindOf(err) != KindUnreachable {
		t.Error(err)
	}
	if n := a.count("POST"); n != 1 {
		t.Errorf("%d logins", n)
	}
}

func testRequestRetryAfter(t *testing.T) {
	date := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for name, test := range map[string]struct {
		header, value string
		atLeast, less time.Duration
		gives         time.Duration // up, with this in the error
	}{
		"none":           {"X", "", 700 * time.Millisecond, 4 * time.Second, 0},
		"zero":           {"Retry-After", "0", 700 * time.Millisecond, 4 * time.Second, 0},
		"nonsense":       {"Retry-After", "soon", 700 * time.Millisecond, 4 * time.Second, 0},
		"seconds":        {"Retry-After", "30", time.Minute, time.Minute + 1, 0},
		"too long":       {"Retry-After", "31", 0, 1, 31 * time.Second},
		"date":           {"Retry-After", date.Add(7 * time.Second).Format(http.TimeFormat), 14 * time.Second, 14*time.Second + 1, 0},
		"date, too late": {"Retry-After", date.Add(time.Hour).Format(http.TimeFormat), 0, 1, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAppliance()
				a.routes["/api/v1/sessions"] = func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Date", date.Format(http.TimeFormat))
					w.Header().Set(test.header, test.value)
					problem(w, 503, "ServiceUnavailable")
				}
				cfg := config("https://appliance")
				cfg.Transport = direct{a}
				cfg.RetryInitial = 0
				c := client(t, cfg)
				start := time.Now()
				err := get(t.Context(), c)
				took := time.Since(start)
				var e *APIError
				if !errors.As(err, &e) || e.StatusCode != http.StatusServiceUnavailable {
					t.Fatal(err)
				}
				if took < test.atLeast || took >= test.less {
					t.Errorf("took %s", took)
				}
				tries := 3
				if test.gives > 0 {
					tries = 1
					if e.RetryAfter != test.gives {
						t.Errorf("the error says %s", e.RetryAfter)
					}
				}
				if n := a.count("GET"); n != tries {
					t.Errorf("%d tries", n)
				}
			})
		})
	}
}

func testRequestContextEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAppliance()
		a.routes["/api/v1/sessions"] = answer(503, "Retry-After: 20", "")
		cfg := config("https://appliance")
		cfg.Transport = direct{a}
		c := client(t, cfg)
		start := time.Now()
		ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, errors.New("no page for 5 s"))
		defer cancel()
		err := get(ctx, c)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("took %s", took)
		}
		if KindOf(err) != KindTimeout || !errors.Is(err, context.DeadlineExceeded) || !HasStatus(err, 503) {
			t.Error(err)
		}
	})
}

func testRequestKindsOfErrors(t *testing.T) {
	serve := func(t *testing.T, h http.HandlerFunc, f func(*tls.Config)) (Config, *http.Transport) {
		srv := httptest.NewUnstartedServer(h)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.TLS = &tls.Config{}
		f(srv.TLS)
		srv.StartTLS()
		t.Cleanup(srv.Close)
		cfg := config(srv.URL)
		tr := srv.Client().Transport.(*http.Transport).Clone()
		cfg.Transport = tr
		return cfg, tr
	}
	plain := func(*tls.Config) {}
	a := newAppliance()

	for name, test := range map[string]struct {
		want  Kind
		setup func(t *testing.T) Config
		tries int
	}{
		"unknown authority": {KindTLS, func(t *testing.T) Config {
			cfg, tr := serve(t, a.ServeHTTP, plain)
			tr.TLSClientConfig.RootCAs = x509.NewCertPool()
			return cfg
		}, 1},
		"another name": {KindTLS, func(t *testing.T) Config {
			cfg, tr := serve(t, a.ServeHTTP, plain)
			tr.TLSClientConfig.ServerName = "elsewhere.invalid"
			return cfg
		}, 1},
		"a client certificate is wanted": {KindTLS, func(t *testing.T) Config {
			cfg, _ := serve(t, a.ServeHTTP, func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
			return cfg
		}, 1},
		"no common version": {KindTLS, func(t *testing.T) Config {
			cfg, tr := serve(t, a.ServeHTTP, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 })
			tr.TLSClientConfig.MaxVersion = tls.VersionTLS12
			return cfg
		}, 1},
		"plain HTTP": {KindTLS, func(t *testing.T) Config {
			srv := httptest.NewServer(a)
			t.Cleanup(srv.Close)
			return config("https" + strings.TrimPrefix(srv.URL, "http"))
		}, 1},
		"something else": {KindTLS, func(t *testing.T) Config {
			return config("https://" + tcp(t, func(c net.Conn) {
				_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n")
			}))
		}, 1},
		"refused": {KindUnreachable, func(t *testing.T) Config {
			address, release, err := vbawstest.Refusing()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(release)
			return config("https://" + address)
		}, 3},
		"hangs up in the handshake": {KindUnreachable, func(t *testing.T) Config {
			return config("https://" + tcp(t, func(net.Conn) {}))
		}, 3},
		"slow, by the transport": {KindTimeout, func(t *testing.T) Config {
			cfg, tr := serve(t, func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice the end
				<-r.Context().Done()
			}, plain)
			tr.ResponseHeaderTimeout = 10 * time.Millisecond
			return cfg
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := test.setup(t)
			tries := 0
			cfg.Observe = func(r Request) {
				tries++
				if r.Code != 0 || r.Endpoint != "/api/v1/token" {
					t.Errorf("observed %+v", r)
				}
			}
			err := get(t.Context(), client(t, cfg))
			if err == nil || KindOf(err) != test.want {
				t.Errorf("%v, kind %s", err, KindOf(err))
			}
			if err != nil && strings.Contains(err.Error(), "https://") {
				t.Errorf("the address is repeated: %v", err)
			}
			if tries != test.tries {
				t.Errorf("%d tries", tries)
			}
		})
	}
}

// tcp serves one connection after the other, and ends with the test.
func tcp(t *testing.T, f func(net.Conn)) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			// Without reading the hello, closing would reset the connection.
			_, _ = conn.Read(make([]byte, 4096))
			f(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// The error wraps that of the context, whenever the context ends.
func testRequestContextEnds(t *testing.T) {
	block := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	half := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"results":[`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	for name, setup := range map[string]func(*appliance){
		"in the login":       func(a *appliance) { a.token = block },
		"in the request":     func(a *appliance) { a.routes["/api/v1/sessions"] = block },
		"within the answer":  func(a *appliance) { a.routes["/api/v1/sessions"] = half },
		"in the login's end": func(a *appliance) { a.token = half },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAppliance()
			setup(a)
			cfg := start(t, a)
			for _, want := range []error{context.Canceled, context.DeadlineExceeded} {
				ctx, cancel := context.WithCancel(t.Context())
				if want == context.DeadlineExceeded {
					ctx, cancel = context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("why"))
				} else {
					time.AfterFunc(20*time.Millisecond, cancel)
				}
				defer cancel()
				err := get(ctx, client(t, cfg))
				if !errors.Is(err, want) || KindOf(err) != KindTimeout {
					t.Errorf("%v, kind %s; want %v", err, KindOf(err), want)
				}
			}
		})
	}
}

// A large page is decoded.
func testRequestLargePage(t *testing.T) {
	document := benchmarkPage(2000)
	a := newAppliance()
	a.routes["/api/v1/sessions"] = answer(200, "Content-Type: application/json", string(document))
	page, err := client(t, start(t, a)).Sessions(t.Context(), SessionsQuery{Limit: -1})
	if err != nil {
		t.Fatal(err)
	}
	if page.TotalCount != 2000 || len(page.Rows) != 2000 {
		t.Errorf("%d, %d rows", page.TotalCount, len(page.Rows))
	}
	for _, r := range page.Rows {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
}

// A text is quoted or omitted as a whole: the error doesn't show which word is the secret.
func testRequestQuotedAnswers(t *testing.T) {
	for _, secret := range []string{testPassword, "timeout", `a"b\c<d`, "päss wörd"} {
		in := call{secrets: []string{secret, ""}}
		for _, written := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret), strings.Trim(strconv.Quote(secret), `"`),
		} {
			for _, text := range []string{written, "Request " + written + ".", strings.Repeat("x", 5000) + written} {
				if got := in.quote(text, 300); got != leftOut {
					t.Errorf("%q is in %q", secret, got)
				}
			}
		}
		if got := in.quote("Gateway Time-out\n\x00"+strings.Repeat("ü", 5<<20), 300); len(got) > 303 || !strings.HasPrefix(got, "Gateway Time-out  üü") || !utf8.ValidString(got) {
			t.Errorf("%q", got)
		}
	}
}

// raw serves each connection one answer, byte for byte.
func raw(t *testing.T, answer string) Config {
	return config("http://" + tcp(t, func(c net.Conn) {
		_, _ = io.WriteString(c, answer)
	}))
}

// Errors that quote the server are short, and without a secret.
func testRequestErrorsThatQuoteTheServer(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	echo := url.QueryEscape(testPassword)
	for name, answer := range map[string]string{
		"location":           "HTTP/1.1 302 Found\r\nLocation: http://%%zz%s\r\n\r\n",
		"good location":      "HTTP/1.1 302 Found\r\nLocation: http://%s/\r\n\r\n",
		"transfer encoding":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: %s\r\n\r\n",
		"header line":        "HTTP/1.1 200 OK\r\nno colon %s\r\n\r\n",
		"folded header line": "HTTP/1.1 200 OK\r\n %s\r\n\r\n",
		"content length":     "HTTP/1.1 200 OK\r\nContent-Length: %s\r\n\r\n",
		"content type":       "HTTP/1.1 200 OK\r\nContent-Type: text/%s\r\nContent-Length: 1\r\n\r\nx",
		"status":             "HTTP/1.1 %s\r\n\r\n",
		"reason":             "HTTP/1.1 500 %s\r\nContent-Length: 0\r\n\r\n",
		"not HTTP":           "%s\r\n",
		"title":              "HTTP/1.1 400 Bad Request\r\n\r\n{\"title\":\"%s\",\"details\":\"%[1]s\",\"errorCode\":\"%[1]s\",\"type\":\"%[1]s\"}",
		"page":               "HTTP/1.1 200 OK\r\n\r\n%s",
		"chunk":              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
		"trailer":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n%s\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, text := range []string{echo, testPassword, long, long + echo} {
				err := get(t.Context(), client(t, raw(t, fmt.Sprintf(answer, text))))
				if err == nil {
					t.Fatal("no error")
				}
				for e := err; e != nil; e = errors.Unwrap(e) {
					// The limit has room for the words of this package.
					if s := e.Error(); strings.Contains(s, echo) || strings.Contains(s, testPassword) || len(s) > 700 {
						t.Errorf("%d bytes: %.1000s", len(s), s)
					}
				}
			}
		})
	}
}

// An error of this package or of Go is shown, even if the password is a word in it.
func testRequestPasswordThatIsAWordOfAnError(t *testing.T) {
	for name, test := range map[string]struct {
		password string
		cfg      func(t *testing.T) Config
		want     string
	}{
		"timeout": {"deadline", func(t *testing.T) Config {
			cfg := config("http://" + tcp(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }))
			return cfg
		}, "context deadline exceeded"},
		"refused": {"refused", func(t *testing.T) Config {
			address, release, err := vbawstest.Refusing()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(release)
			return config("http://" + address)
		}, "connection refused"},
		"not HTTP":      {"malformed", func(t *testing.T) Config { return raw(t, "SSH-2.0-OpenSSH_9.6\r\n") }, `malformed HTTP response "SSH-2.0-OpenSSH_9.6"`},
		"hung up":       {"EOF", func(t *testing.T) Config { return raw(t, "") }, "EOF"},
		"in the middle": {"answer", func(t *testing.T) Config { return raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{") }, "reading the answer: unexpected EOF"},
		"encoding": {"encoding", func(t *testing.T) Config {
			return raw(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\n")
		}, `unsupported transfer encoding: "x"`},
		"our own":  {"account", func(t *testing.T) Config { return raw(t, "HTTP/1.1 401 Unauthorized\r\n\r\n{}") }, "the appliance rejected the account"},
		"a status": {"Unauthorized", func(t *testing.T) Config { return raw(t, "HTTP/1.1 401 Unauthorized\r\n\r\n{}") }, "401 Unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := test.cfg(t)
			cfg.Password = func() (string, error) { return test.password, nil }
			ctx := t.Context()
			if name == "timeout" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			err := get(ctx, client(t, cfg))
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), leftOut) {
				t.Errorf("%v\nlacks %s", err, test.want)
			}
		})
	}
}
