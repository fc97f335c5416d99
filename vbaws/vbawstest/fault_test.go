package vbawstest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"vbaws_exporter/vbaws/vbawstest"
)

// serve returns a TLS server, with sessions in it, and a token.
func serve(t *testing.T) (*vbawstest.Server, string) {
	a, _ := setup(vbawstest.Config{})
	put(a, 5)
	server := vbawstest.NewServer(a)
	t.Cleanup(server.Close)
	return server, loggedIn(t, a, "1.8-rev0").token
}

const sessionsPath = "/api/v1/sessions"

// checkWell checks that the appliance answers normally again.
func checkWell(t *testing.T, s *vbawstest.Server, token string) {
	t.Helper()
	resp, body, err := fetch(s, sessionsPath, token)
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"totalCount":5`)) {
		t.Errorf("after the fault: %v, %v, %s", err, resp, body)
	}
}

func TestFault(t *testing.T) {
	t.Run("status", testFaultStatus)
	t.Run("reset", testFaultReset)
	t.Run("truncated body", testFaultTruncatedBody)
	t.Run("slow body", testFaultSlowBody)
	t.Run("hang", testFaultHang)
	t.Run("selected requests", testFaultSelectedRequests)
	t.Run("list that grows", testFaultListThatGrows)
}

func testFaultStatus(t *testing.T) {
	s, token := serve(t)
	for _, tt := range []struct {
		fault       vbawstest.Fault
		contentType string
		contains    string
	}{
		{vbawstest.Fault{Status: 503, RetryAfter: "7"}, "application/problem+json", `"errorCode":"ServiceUnavailable"`},
		{vbawstest.Fault{Status: 500}, "application/problem+json", `"errorCode":"UnknownError"`},
		{vbawstest.Fault{Status: 501}, "application/problem+json", `"errorCode":"NotImplemented"`},
		{vbawstest.Fault{Status: 429, ErrorCode: "Slower", RetryAfter: "Sun, 01 Mar 2026 22:00:07 GMT"}, "application/problem+json", `"errorCode":"Slower"`},
		{vbawstest.Fault{Status: 502, HTML: true}, "text/html", "<h1>Bad Gateway</h1>"},
		{vbawstest.Fault{Kind: vbawstest.FaultStartPage}, "text/html", "<title>Veeam Backup for AWS</title>"},
		{vbawstest.Fault{Kind: vbawstest.FaultGarbage}, "application/json", `{"totalCount":3,"results":[{"id":`},
	} {
		in := s.Inject(tt.fault)
		resp, body, err := fetch(s, sessionsPath, token)
		if err != nil {
			t.Fatal(err)
		}
		want := tt.fault.Status
		if tt.fault.Kind != vbawstest.FaultStatus {
			want = 200
		}
		if resp.StatusCode != want || !strings.HasPrefix(resp.Header.Get("Content-Type"), tt.contentType) || !bytes.Contains(body, []byte(tt.contains)) {
			t.Errorf("%+v: %s %s %s", tt.fault, resp.Status, resp.Header, body)
		}
		if got := resp.Header.Get("Retry-After"); got != tt.fault.RetryAfter {
			t.Errorf("%+v: Retry-After %q", tt.fault, got)
		}
		if in.Hits() != 1 {
			t.Errorf("%+v: %d hits", tt.fault, in.Hits())
		}
		checkWell(t, s, token)
	}
}

func testFaultReset(t *testing.T) {
	s, token := serve(t)
	// The transport doesn't retry on a new connection.
	s.Inject(vbawstest.Fault{Kind: vbawstest.FaultReset, Count: -1})
	_, _, err := fetch(s, sessionsPath, token)
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	last := s.Requests()[len(s.Requests())-1]
	if last.Status != 0 || last.Bytes != 0 {
		t.Errorf("logged as %+v", last)
	}
}

func testFaultTruncatedBody(t *testing.T) {
	s, token := serve(t)
	s.Inject(vbawstest.Fault{Kind: vbawstest.FaultTruncate})
	resp, body, err := fetch(s, sessionsPath, token)
	if !errors.Is(err, io.ErrUnexpectedEOF) || resp.StatusCode != http.StatusOK || int64(len(body)) != resp.ContentLength/2 {
		t.Errorf("got %v, %d of %d bytes", err, len(body), resp.ContentLength)
	}
	checkWell(t, s, token)
}

func testFaultSlowBody(t *testing.T) {
	s, token := serve(t)
	in := s.Inject(vbawstest.Fault{Kind: vbawstest.FaultSlow, Chunk: 10})
	req, err := http.NewRequest(http.MethodGet, s.URL+sessionsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-api-version", "1.8-rev0")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got := make([]byte, 10)
	for range 2 {
		if !in.Step() {
			t.Fatal("no step")
		}
		if _, err := io.ReadFull(resp.Body, got); err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != `nt":5,"res` {
		t.Errorf("second piece %q", got)
	}
	in.Release()
	if in.Step() {
		t.Error("a step after the release")
	}
	rest, err := io.ReadAll(resp.Body)
	if err != nil || int64(len(rest)+20) != resp.ContentLength {
		t.Errorf("%v, %d of %d bytes", err, len(rest)+20, resp.ContentLength)
	}
}

func testFaultHang(t *testing.T) {
	s, token := serve(t)
	in := s.Inject(vbawstest.Fault{Kind: vbawstest.FaultHang, Count: 2})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+sessionsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Client().Do(req)
		done <- err
	}()
	<-in.Entered()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	go func() {
		_, _, err := fetch(s, sessionsPath, token)
		done <- err
	}()
	<-in.Entered()
	in.Remove()
	if err := <-done; err != nil {
		t.Errorf("after the release: %v", err)
	}
}

func testFaultSelectedRequests(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	s := loggedIn(t, a, "1.8-rev0")
	codes := func(n int, path string) (out []int) {
		for range n {
			out = append(out, s.get(path).Code)
		}
		return out
	}
	count := func(codes []int) (n int) {
		for _, c := range codes {
			if c == 503 {
				n++
			}
		}
		return n
	}
	in := a.Inject(vbawstest.Fault{Status: 503, Route: "/api/v1/sessions", Method: "GET", Skip: 1, Count: 2})
	if got := codes(2, "/api/v1/system/time"); count(got) != 0 {
		t.Errorf("another route: %d", got)
	}
	if got := codes(4, sessionsPath); count(got) != 2 || got[0] != 200 || got[3] != 200 {
		t.Errorf("the second and the third: %d", got)
	}
	if in.Hits() != 2 {
		t.Errorf("%d hits", in.Hits())
	}
	a.Inject(vbawstest.Fault{Status: 503, Route: "/api/v1/sessions/{id}"})
	if got := codes(2, sessionsPath+"/"+vbawstest.ID(1)); got[0] != 503 || got[1] != 404 {
		t.Errorf("by template: %d", got)
	}
	always := a.Inject(vbawstest.Fault{Status: 503, Count: -1})
	if got := codes(5, sessionsPath); count(got) != 5 {
		t.Errorf("always: %d", got)
	}
	always.Remove()
	if got := codes(1, sessionsPath); count(got) != 0 {
		t.Errorf("removed: %d", got)
	}
	now := a.Inject(vbawstest.Fault{Status: 503, Count: -1, Probability: 0.5, Seed: 1})
	if got := count(codes(200, sessionsPath)); got < 60 || got > 140 || got != now.Hits() {
		t.Errorf("with probability 1/2: %d of 200, %d hits", got, now.Hits())
	}
}

func testFaultListThatGrows(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	put(a, 2)
	s := loggedIn(t, a, "1.8-rev0")
	in := a.Inject(vbawstest.Fault{Kind: vbawstest.FaultGrow, Route: sessionsPath, Count: -1})
	for i, query := range []string{"Limit=1", "Offset=1", "Status=Failed", "Sort=usnDesc"} {
		if page := s.sessions(t, query); query != "Status=Failed" && page.TotalCount != 2+i {
			t.Errorf("request %d: %d sessions", i, page.TotalCount)
		}
	}
	in.Remove()
	if newest := s.sessions(t, "Sort=usnDesc&Limit=1"); newest.TotalCount != 6 || newest.Results[0].Type != "Policy" || len(a.History()) != 6 {
		t.Errorf("in the end %+v", newest)
	}
}

func TestServer(t *testing.T) {
	t.Run("certificate", testServerCertificate)
	t.Run("plain HTTP", testServerPlainHTTP)
	t.Run("address", testServerAddress)
	t.Run("pipes", testServerPipes)
}

func testServerCertificate(t *testing.T) {
	s, token := serve(t)
	checkWell(t, s, token)
	var unknown *tls.CertificateVerificationError
	if _, err := http.Get(s.URL); !errors.As(err, &unknown) {
		t.Errorf("without the certificate: %v", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.CertPool()}}}
	resp, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()
	if !x509.NewCertPool().AppendCertsFromPEM(s.CertPEM()) {
		t.Errorf("CertPEM is no certificate: %s", s.CertPEM())
	}
}

func testServerPlainHTTP(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	s := vbawstest.NewHTTPServer(a)
	defer s.Close()
	resp, body, err := fetch(s, sessionsPath, "")
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(s.URL, "http://") {
		t.Errorf("%s: %v, %v", s.URL, resp, err)
	}
	if !bytes.Contains(body, []byte(`"type":"`+s.URL+"/api/v1/problems/")) {
		t.Errorf("got %s", body)
	}
}

func testServerAddress(t *testing.T) {
	a, _ := setup(vbawstest.Config{})
	s, err := vbawstest.Listen(a, "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if u, _ := url.Parse(s.URL); u.Scheme != "http" || s.CertPEM() != nil {
		t.Errorf("URL %s", s.URL)
	}
	resp, _, err := fetch(s, sessionsPath, "")
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %v, %v", resp, err)
	}
	if _, err := vbawstest.Listen(a, strings.TrimPrefix(s.URL, "http://"), false); err == nil {
		t.Error("an address in use was taken")
	}
	s.BreakConnections()
	if resp, _, err := fetch(s, sessionsPath, ""); err != nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after a break: %v, %v", resp, err)
	}
}

func testServerPipes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := vbawstest.New(vbawstest.Config{})
		s := vbawstest.NewPipeServer(a)
		resp, _, err := fetch(s, sessionsPath, "")
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %v, %v", resp, err)
		}
		in := a.Inject(vbawstest.Fault{Kind: vbawstest.FaultHang, Count: -1})
		closed := make(chan struct{})
		go func() {
			<-in.Entered()
			s.Close()
			close(closed)
		}()
		if _, _, err := fetch(s, sessionsPath, ""); err == nil {
			t.Error("an answer from a closed server")
		}
		<-closed // the request fails before Close returns
		if _, err := s.DialContext(t.Context(), "tcp", ""); !errors.Is(err, net.ErrClosed) {
			t.Errorf("dial after the end: %v", err)
		}
	})
}
