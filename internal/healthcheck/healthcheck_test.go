package healthcheck_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vbaws_exporter/internal/healthcheck"
	"vbaws_exporter/vbaws/vbawstest"
)

func answer(code int, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/-/healthy" {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
		io.WriteString(w, body)
	})
}

const good = "vbaws_exporter is healthy.\n"

func TestAsk(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		http.Handler
		clientAuth tls.ClientAuthType
		maxVersion uint16
		want, err  string
	}{
		{name: "healthy", Handler: answer(http.StatusOK, good), want: "is healthy"},
		{name: "account", Handler: answer(http.StatusUnauthorized, "Unauthorized\n"), want: "is running and requires authentication"},
		{name: "other program", Handler: answer(http.StatusOK, "<html>"), err: "the answer is not that of vbaws_exporter"},
		{name: "failure", Handler: answer(http.StatusInternalServerError, good), err: "answered with 500 Internal Server Error"},
		{name: "redirect", Handler: http.RedirectHandler("/elsewhere", http.StatusFound), err: "answered with 302 Found"},
		{name: "client certificate", Handler: answer(http.StatusOK, good), clientAuth: tls.RequireAnyClientCert, want: "is running and requires a client certificate"},
		{name: "client certificate in TLS 1.2", Handler: answer(http.StatusOK, good), clientAuth: tls.RequireAnyClientCert, maxVersion: tls.VersionTLS12, want: "is running and requires a client certificate"},
	} {
		for _, withTLS := range []bool{false, true} {
			if test.clientAuth != tls.NoClientCert && !withTLS {
				continue
			}
			t.Run(fmt.Sprintf("%s, TLS %v", test.name, withTLS), func(t *testing.T) {
				t.Parallel()
				server := httptest.NewUnstartedServer(test.Handler)
				var logged strings.Builder
				if test.clientAuth == tls.NoClientCert {
					server.Config.ErrorLog = log.New(&logged, "", 0)
				}
				server.TLS = &tls.Config{ClientAuth: test.clientAuth, MaxVersion: test.maxVersion}
				if withTLS {
					server.StartTLS()
				} else {
					server.Start()
				}
				defer server.Close()
				address := server.Listener.Addr().String()
				got, err := healthcheck.Ask(t.Context(), address)
				if test.err != "" {
					if err == nil || err.Error() != "query /-/healthy of "+address+": "+test.err {
						t.Errorf("got %q, %v", got, err)
					}
				} else if err != nil || !strings.HasPrefix(got, address+" "+test.want) {
					t.Errorf("got %q, %v", got, err)
				}
				server.Close()
				if logged.Len() > 0 {
					t.Errorf("each health check would be logged: %s", &logged)
				}
			})
		}
	}
}

// TestAskWithoutHost: an address without a host means this machine.
func TestAskWithoutHost(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(answer(http.StatusOK, good))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{":" + port, "0.0.0.0:" + port} {
		if got, err := healthcheck.Ask(t.Context(), address); err != nil || got != address+" is healthy" {
			t.Errorf("%s: %q, %v", address, got, err)
		}
	}
}

// TestAskWithoutCertificate: a server that can no longer read its certificate accepts
// connections, but cannot be scraped.
func TestAskWithoutCertificate(t *testing.T) {
	t.Parallel()
	for _, clientAuth := range []tls.ClientAuthType{tls.NoClientCert, tls.RequireAnyClientCert} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			server := httptest.NewUnstartedServer(answer(http.StatusOK, good))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			without := &tls.Config{ClientAuth: clientAuth, MaxVersion: version, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				return nil, errors.New("no such file")
			}}
			server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return without, nil }}
			server.StartTLS()
			defer server.Close()
			address := server.Listener.Addr().String()
			got, err := healthcheck.Ask(t.Context(), address)
			if err == nil || err.Error() != "query /-/healthy of "+address+": remote error: tls: internal error" {
				t.Errorf("%s, %s: %q, %v", clientAuth, tls.VersionName(version), got, err)
			}
		}
	}
}

func TestAskWithoutAnswer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// It listens and doesn't answer: Ask returns when its context ends.
	gaveUp := errors.New("gave up")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		if conn, err := listener.Accept(); err == nil {
			cancel(gaveUp)
			defer conn.Close()
			io.Copy(io.Discard, conn)
		}
	}()
	if got, err := healthcheck.Ask(ctx, listener.Addr().String()); !errors.Is(err, gaveUp) {
		t.Errorf("no answer: %q, %v", got, err)
	}
	address, release, err := vbawstest.Refusing()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if got, err := healthcheck.Ask(t.Context(), address); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("no listener: %q, %v", got, err)
	}
	for _, address := range []string{"vsock://:10105", "10105", ""} {
		if got, err := healthcheck.Ask(t.Context(), address); err == nil {
			t.Errorf("%s: %q", address, got)
		}
	}
}
