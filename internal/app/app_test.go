package app

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"vbaws_exporter/internal/apptest"
)

// TestMain lets the tests run the exporter as a process.
func TestMain(m *testing.M) { apptest.Main(m) }

// TestErrorsArePrintable: an error quotes names in an appliance's certificate.
func TestErrorsArePrintable(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"\x1b]0;owned\a"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	hostile := httptest.NewUnstartedServer(http.NotFoundHandler())
	hostile.Config.ErrorLog = log.New(io.Discard, "", 0)
	hostile.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}}
	hostile.StartTLS()
	defer hostile.Close()
	config := filepath.Join(t.TempDir(), "config.yml")
	url := strings.Replace(hostile.URL, "127.0.0.1", "localhost", 1)
	apptest.Write(t, config, fmt.Sprintf("appliances:\n  - {name: site, url: %q, username: u, password: p}\n", url))
	status, _, stderr := apptest.Once(t, "collect", "--config.file="+config)
	last := apptest.LastLine(stderr)
	if status != 1 || !strings.Contains(last, "owned") || strings.ContainsFunc(last, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("status %d, %q", status, last)
	}
}
