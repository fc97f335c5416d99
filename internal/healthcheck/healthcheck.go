// Package healthcheck asks an exporter on this machine whether it serves, for
// supervisors that can only run a command. Such a one is a container's health
// check, in an image that has neither shell nor curl.
package healthcheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// timeout is how long an answer may take. The exporter waits for nothing before
// it answers.
const timeout = 5 * time.Second

// healthy begins what /-/healthy says, so that another program on the port isn't
// taken for the exporter.
const healthy = "vbaws_exporter is healthy"

// Ask asks for /-/healthy at an address to listen on, as --web.listen-address has
// it, and returns what that tells, in words. It fails unless the exporter serves.
//
// Whether TLS is on shows when it asks. Its certificate isn't verified, since it
// may be made out to any name, and nothing secret is sent. An exporter that wants
// an account or a client certificate serves, though it doesn't answer.
func Ask(ctx context.Context, address string) (string, error) {
	if strings.HasPrefix(address, "vsock:") {
		return "", fmt.Errorf("query %s: the health check supports only TCP", address)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no response within %v", timeout))
	defer cancel()
	// TLS first: a server with TLS logs each request without, and not the reverse.
	answer, err := ask(ctx, "https", address)
	if errors.Is(err, http.ErrSchemeMismatch) {
		answer, err = ask(ctx, "http", address)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("query /-/healthy of %s: %w", address, err)
	}
	return address + " " + answer, nil
}

func ask(ctx context.Context, scheme, address string) (string, error) {
	var asked atomic.Bool // for a client certificate, after the server has shown its own
	client := &http.Client{
		Transport: &http.Transport{
			// No proxy, and to the address as it is: where it names no host, that means
			// this machine to the dialer, as it does to the listener.
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, address)
			},
			TLSClientConfig: &tls.Config{
				InsecureSkipVerify: true, MinVersion: tls.VersionTLS12,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					asked.Store(true)
					return &tls.Certificate{}, nil // none
				},
			},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/-/healthy", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		if alert := new(net.OpError); asked.Load() && errors.As(err, &alert) && alert.Op == "remote error" {
			return fmt.Sprintf("is running and requires a client certificate (%v)", alert.Err), nil
		}
		if named := new(url.Error); errors.As(err, &named) {
			err = named.Err // the URL isn't what was dialled
		}
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return "is running and requires authentication", nil
	case resp.StatusCode != http.StatusOK:
		return "", fmt.Errorf("answered with %s", resp.Status)
	case err != nil:
		return "", fmt.Errorf("read the answer: %w", err)
	case !strings.HasPrefix(string(body), healthy):
		return "", errors.New("the answer is not that of vbaws_exporter")
	}
	return "is healthy", nil
}
