package check

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"vbaws_exporter/internal/config"
	"vbaws_exporter/vbaws"
)

const (
	// connectTimeout is enough for a working appliance. A firewall that drops
	// packets must not take the whole poll_timeout.
	connectTimeout = 30 * time.Second
	// expirySoon is how long before its expiry a certificate causes a warning.
	expirySoon = 30 * 24 * time.Hour
	// usualPort is the default port of the REST API.
	usualPort = "11005"
	// maxPage is how much of an answer is read to recognize the server.
	maxPage = 4 << 10
)

// connection connects without an account, so that a wrong address or certificate is
// reported before a password is sent. It uses the exporter's own transport, with its
// proxy and its trust.
func (p *prober) connection(ctx context.Context) []Finding {
	ctx, cancel := context.WithTimeout(ctx, min(connectTimeout, p.a.PollTimeout))
	defer cancel()
	var connected atomic.Bool // from other goroutines, perhaps after the end
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				connected.Store(true)
			}
		},
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.a.URL.JoinPath(vbaws.RouteTime).String(), nil)
	if err != nil {
		return []Finding{fail(Connection, "correct url", "%v", err)}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", config.UserAgent())
	req.Header.Set("X-Api-Version", cmp.Or(p.a.APIVersion, vbaws.KnownAPIVersions()[0]))
	// Not through the wire, which would count the version as refused.
	resp, err := p.wire.next.RoundTrip(req)
	if err != nil {
		if e, is := errors.AsType[*tls.CertificateVerificationError](err); is {
			return []Finding{ok(Connection, "%s speaks TLS", address(p.a.URL)), distrusted(p.a.URL, e, p.now())}
		}
		return []Finding{unconnected(p.a.URL, err, connected.Load())}
	}
	defer resp.Body.Close()
	// A read error is equivalent to a shorter page.
	page, _ := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	return []Finding{answered(p.a.URL, resp, page), trusted(p.a.URL, resp.TLS, p.now())}
}

// answered recognizes the server by its answer to a request without a token.
func answered(u *url.URL, resp *http.Response, page []byte) Finding {
	where := address(u)
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	status := fmt.Sprintf("HTTP status %d", resp.StatusCode)
	switch {
	case u.Scheme == "http" && resp.StatusCode == http.StatusBadRequest && bytes.Contains(page, []byte("HTTPS")):
		return fail(Connection, "write https:// in url", "%s expects TLS, and url has http://", where)
	case resp.StatusCode/100 == 3:
		to := ""
		if l, err := resp.Location(); err == nil {
			to = " to " + l.Host
		}
		return fail(Connection, portAdvice(u), "%s redirects%s (%s): this is not the REST API", where, to, status)
	case resp.StatusCode >= 500:
		return fail(Connection, "check the services of the appliance, and proxies on the way to it", "%s answers with %s", where, status)
	case kind == "text/html" || kind == "application/xhtml+xml":
		return fail(Connection, portAdvice(u), "%s answers with a web page (%s): this is not the REST API", where, status)
	case resp.StatusCode == http.StatusNotFound && len(bytes.TrimSpace(page)) == 0:
		// With .NET 6, an unsupported API version is answered so. Login tries the others.
		return ok(Connection, "%s answers with %s and an empty body: an API version that is not supported, a wrong port or a wrong path", where, status)
	case kind != "application/json" && kind != "application/problem+json":
		return fail(Connection, portAdvice(u), "%s answers with %s: this is not the REST API", where, status)
	}
	return ok(Connection, "%s is the REST API", where)
}

// portAdvice is the remedy for a URL of another server.
func portAdvice(u *url.URL) string {
	advice := "correct host and port in url"
	if u.Port() == "" {
		advice = "add a port to url"
	}
	advice += ": the default port of the REST API is " + usualPort
	if strings.HasSuffix(address(u), ":443") {
		advice += "; port 443 is the web UI"
	}
	return advice
}

// unconnected explains why there is no answer.
func unconnected(u *url.URL, err error, connected bool) Finding {
	where := address(u)
	bad := func(do, format string, args ...any) Finding {
		return fail(Connection, do, format+": %v", append(args, err)...)
	}
	op, isOp := errors.AsType[*net.OpError](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	other, isOther := errors.AsType[tls.RecordHeaderError](err)
	e, isNet := errors.AsType[net.Error](err)
	timeout := isNet && e.Timeout()
	const noTLS = "; if there is a proxy without TLS, write http:// in url"
	switch {
	case isOp && (op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")):
		return bad("correct proxy_url, or start the proxy", "cannot connect to the proxy")
	case refusesTunnel(err):
		return bad("allow "+where+" in the proxy, or correct url or proxy_url", "the proxy refuses to connect to %s", where)
	case isDNS && dns.IsNotFound:
		return bad("correct the host in url, or add it to DNS", "no such host: %q", dns.Name)
	case isDNS:
		return bad("check the DNS servers of this machine", "cannot resolve the host %q", dns.Name)
	case isOther && bytes.HasPrefix(other.RecordHeader[:], []byte("SSH-")):
		return bad(portAdvice(u), "%s is an SSH server", where)
	case isOther && bytes.HasPrefix(other.RecordHeader[:], []byte("HTTP/")):
		err = http.ErrSchemeMismatch
		return bad(portAdvice(u)+noTLS, "%s uses HTTP without TLS", where)
	case isOther:
		return bad(portAdvice(u)+noTLS, "%s does not use TLS", where)
	case errors.Is(err, syscall.ECONNREFUSED):
		return bad(portAdvice(u)+"; check that the service is running", "%s refuses the connection", where)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return bad("check routes and firewalls between this machine and the appliance", "no route to %s", where)
	case timeout && connected:
		return bad(portAdvice(u)+"; check that the services of the appliance are running", "%s accepts the connection and does not respond", where)
	case timeout:
		return bad("open the port for this machine in the security group of the appliance, or correct host and port in url", "no response from %s, probably because of a firewall", where)
	case strings.Contains(err.Error(), "certificate required"), strings.Contains(err.Error(), "bad certificate"):
		return fail(Certificate, "set tls_config.cert_file and tls_config.key_file", "%s requires a client certificate that it trusts: %v", where, err)
	case strings.Contains(err.Error(), "protocol version"):
		return fail(Certificate, "set tls_config.min_version or max_version to a version that the appliance supports", "%s and the exporter have no TLS version in common: %v", where, err)
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "readLoopPeekFail"):
		// The latter if the server sent data before the request; net/http has no better error.
		return fail(Connection, portAdvice(u), "%s does not use HTTP", where)
	}
	advice := portAdvice(u)
	if u.Scheme == "http" {
		advice += "; if it speaks TLS, write https:// in url"
	}
	return bad(advice, "the connection to %s fails", where)
}

// refusesTunnel reports whether err is the text of an HTTP status and nothing
// more, which is all that a refused CONNECT becomes.
func refusesTunnel(err error) bool {
	for code := 400; code < 600; code++ {
		if text := http.StatusText(code); text != "" && err.Error() == text {
			return true
		}
	}
	return false
}

// trusted describes a certificate that the exporter accepts.
func trusted(u *url.URL, s *tls.ConnectionState, now time.Time) Finding {
	if s == nil || len(s.PeerCertificates) == 0 {
		return warn(Certificate, "write https:// in url", "none, since url has http://: the password is sent in clear text")
	}
	leaf := s.PeerCertificates[0]
	left := leaf.NotAfter.Sub(now)
	switch {
	case len(s.VerifiedChains) == 0:
		return warn(Certificate, "remove tls_config.insecure_skip_verify; "+caAdvice(u),
			"not verified, since tls_config.insecure_skip_verify is set: any server could be answering, and gets the password; %s", describe(leaf))
	case left < 0:
		return warn(Certificate, "set the clock of this machine", "it has expired by the clock of this machine; %s", describe(leaf))
	case left < expirySoon:
		return warn(Certificate, "renew it in the appliance, and update the file of tls_config.ca_file",
			"it expires in %d days; %s", int(left.Hours()/24), describe(leaf))
	}
	return ok(Certificate, "trusted; %s", describe(leaf))
}

// distrusted explains a certificate that the exporter rejects. crypto/x509 stops at
// the first error: dates, then names, then authorities.
func distrusted(u *url.URL, e *tls.CertificateVerificationError, now time.Time) Finding {
	if len(e.UnverifiedCertificates) == 0 {
		return fail(Certificate, caAdvice(u), "%v", e.Err)
	}
	leaf := e.UnverifiedCertificates[0]
	own := selfSigned(leaf)
	var why, do []string
	switch {
	case now.After(leaf.NotAfter):
		why, do = append(why, "it expired on "+day(leaf.NotAfter)), append(do, "renew it in the appliance")
	case now.Before(leaf.NotBefore):
		why, do = append(why, "it is not valid before "+day(leaf.NotBefore)), append(do, "set the clock of this machine or the appliance's")
	}
	if h, is := errors.AsType[x509.HostnameError](e.Err); is {
		why = append(why, fmt.Sprintf("it is not valid for %q", h.Host))
		do = append(do, nameAdvice(leaf))
	}
	switch _, unknown := errors.AsType[x509.UnknownAuthorityError](e.Err); {
	case own && unknown:
		why, do = append(why, "it is self-signed (the default of an appliance), and tls_config does not trust it"), append(do, caAdvice(u))
	case own:
		do = append(do, "since it is self-signed, set tls_config.ca_file to it")
	case unknown:
		why = append(why, fmt.Sprintf("it is signed by %q, which is not trusted", leaf.Issuer))
		do = append(do, "set tls_config.ca_file to the certificate of that authority")
	}
	if len(why) == 0 {
		why = append(why, e.Err.Error())
	}
	return fail(Certificate, strings.Join(do, "; "), "not trusted: %s; %s", strings.Join(why, "; "), describe(leaf))
}

func caAdvice(u *url.URL) string {
	return fmt.Sprintf("save it with `openssl s_client -connect %s </dev/null | openssl x509 > appliance.pem`, "+
		"compare the fingerprint with the one that the appliance shows, and set tls_config.ca_file to that file", address(u))
}

func nameAdvice(leaf *x509.Certificate) string {
	names := certNames(leaf)
	if len(names) == 0 {
		return "give the appliance a certificate with its host name as a DNS name: this one has only a common name, which is no longer supported " +
			"(if that is impossible, tls_config.insecure_skip_verify is the last resort: it accepts any server)"
	}
	return fmt.Sprintf("set tls_config.server_name to a name of the certificate, such as %q, or use such a name in url", names[0])
}

func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func certNames(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func describe(c *x509.Certificate) string {
	names := cmp.Or(strings.Join(certNames(c), ", "), "none")
	return fmt.Sprintf("SHA-256 %s, subject %s, issuer %s, valid from %s to %s, names: %s",
		fingerprint(c), c.Subject, c.Issuer, day(c.NotBefore), day(c.NotAfter), names)
}

// fingerprint returns it in the format of browsers and openssl.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
