// Package healthcheck queries the health of an exporter on this machine, for
// supervisors that can only run a command, such as the health check of a container
// without shell and curl.
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

// timeout is the longest wait for an answer. A healthy exporter answers at once.
const timeout = 5 * time.Second

// healthy is the beginning of the answer, so that another program on the port isn't taken
// for the exporter.
const healthy = "vbaws_exporter is healthy"

// Ask requests /-/healthy at an address in the form of --web.listen-address, and
// returns the result in words. It returns an error unless the exporter is running.
//
// It detects TLS, and does not verify the certificate, which can be for any name:
// it sends no secret. An exporter that requires an account or a client certificate
// counts as running.
func Ask(ctx context.Context, address string) (string, error) {
	if strings.HasPrefix(address, "vsock:") {
		return "", fmt.Errorf("query %s: the health check supports only TCP", address)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no response within %v", timeout))
	defer cancel()
	// TLS first: a server with TLS logs requests without TLS; the reverse isn't logged.
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
	var asked atomic.Bool // the server sent its certificate and requested the client's
	client := &http.Client{
		Transport: &http.Transport{
			// No proxy, and to the address as it is: without a host it means this machine,
			// to the dialer and to the listener.
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
			err = named.Err // without the URL, whose host was not dialed
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
