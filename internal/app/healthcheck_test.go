package app

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vbaws_exporter/internal/apptest"
)

// TestHealthcheck queries exporters with each kind of access, and one that is gone.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := apptest.KeyPair(t)
	apptest.Write(t, filepath.Join(dir, "web.pem"), string(cert))
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", Certificates: []tls.Certificate{own}}}}
	t.Cleanup(client.CloseIdleConnections)

	const tlsConfig = "tls_server_config: {cert_file: web.pem, key_file: web.key%s}\n"
	account := fmt.Sprintf("basic_auth_users: {%s: %q}\n", webUsername, webHash)
	for _, test := range []struct {
		webConfig string
		how       apptest.Access
		want      string
	}{
		{"", apptest.Access{}, " is healthy\n"},
		{fmt.Sprintf(tlsConfig, ""), apptest.Access{Client: client}, " is healthy\n"},
		{fmt.Sprintf(tlsConfig, "") + account, apptest.Access{Client: client, Username: webUsername, Password: webPassword}, " is running and requires authentication\n"},
		{fmt.Sprintf(tlsConfig, ", client_auth_type: RequireAnyClientCert"), apptest.Access{Client: client}, " is running and requires a client certificate (tls: certificate required)\n"},
	} {
		keyFile := filepath.Join(dir, "web.key")
		apptest.Write(t, keyFile, string(key))
		args := []string{"demo", "--log.level=debug"}
		if test.webConfig != "" {
			file := filepath.Join(dir, "web.yml")
			apptest.Write(t, file, test.webConfig)
			args = append(args, "--web.config.file="+file)
		}
		p := apptest.StartWith(t, test.how, args...)
		_, address, _ := strings.Cut(p.URL, "://")
		check := []string{"healthcheck", "--web.listen-address=" + address}
		if status, stdout, stderr := untilAnswered(t, check...); status != 0 || stdout != address+test.want || stderr != "" {
			t.Errorf("status %d, %q, %q, want %q", status, stdout, stderr, test.want)
		}
		// All addresses must be healthy.
		check = append(check, "--web.listen-address=127.0.0.1:1")
		if status, stdout, stderr := untilAnswered(t, check...); status != 1 || stdout != "" ||
			stderr != "vbaws_exporter: query /-/healthy of 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused\n" {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
		// An exporter that can't read its key cannot be scraped.
		if test.how.Client != nil {
			if err := os.Remove(keyFile); err != nil {
				t.Fatal(err)
			}
			if status, stdout, stderr := untilAnswered(t, check[:2]...); status != 1 || stdout != "" ||
				stderr != "vbaws_exporter: query /-/healthy of "+address+": remote error: tls: internal error\n" {
				t.Errorf("without its key: status %d, %q, %q", status, stdout, stderr)
			}
		}
		p.Stop(syscall.SIGTERM)
	}
}

// untilAnswered is apptest.Once. It runs the command again if the exporter doesn't answer the
// health check in time, because the machine is slow.
func untilAnswered(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	for range 20 {
		status, stdout, stderr = apptest.Once(t, args...)
		if !strings.Contains(stderr, "no response within") {
			break
		}
	}
	return status, stdout, stderr
}
