package check

import (
	"bytes"
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

	"vbaws_exporter/vbaws"
)

const (
	// connectTimeout is enough for an appliance that is well. A firewall that drops
	// what it forbids shall not take the whole poll_timeout.
	connectTimeout = 30 * time.Second
	// expirySoon is how long before its end a certificate is worth a warning.
	expirySoon = 30 * 24 * time.Hour
	// usualPort is where the appliance's REST API listens as it is delivered.
	usualPort = "11005"
	// maxPage is how much of an answer is looked at to tell what answers.
	maxPage = 4 << 10
)

// connection asks without an account, so that a wrong place or a wrong
// certificate is told before a password goes anywhere. The transport is the
// exporter's own, proxy and trust included, so this is its very judgement.
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
		return []Finding{fail(Connection, "correct url", "%v", bare(err))}
	}
	version := p.a.APIVersion
	if version == "" {
		version = vbaws.KnownAPIVersions()[0]
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", p.o.UserAgent)
	req.Header.Set("X-Api-Version", version)
	// Not by the wire, which would take the version for one that was refused.
	client := &http.Client{
		Transport:     p.wire.next,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		err = bare(err)
		if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return []Finding{
				speaksTLS(p.a.URL),
				distrusted(p.a.URL, e, p.o.Now()),
			}
		}
		return []Finding{unconnected(p.a.URL, err, connected.Load())}
	}
	defer resp.Body.Close()
	// What can't be read of it is no worse than what isn't there.
	page, _ := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	return []Finding{answered(p.a.URL, resp, page), trusted(p.a.URL, resp.TLS, p.o.Now())}
}

func speaksTLS(u *url.URL) Finding { return ok(Connection, "%s speaks TLS", address(u)) }

// bare takes off the *url.Error, which repeats the address.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// answered judges what answers by how it refuses a request without a token.
func answered(u *url.URL, resp *http.Response, page []byte) Finding {
	where := address(u)
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	status := fmt.Sprintf("HTTP status %d", resp.StatusCode)
	switch {
	case u.Scheme == "http" && resp.StatusCode == http.StatusBadRequest && bytes.Contains(page, []byte("HTTPS")):
		return fail(Connection, "write https:// in url", "%s speaks TLS and was asked without", where)
	case resp.StatusCode/100 == 3:
		to := ""
		if l, err := resp.Location(); err == nil {
			to = " to " + l.Host
		}
		return fail(Connection, portAdvice(u), "%s redirects%s (%s), as a portal does, not the REST API", where, to, status)
	case resp.StatusCode >= 500:
		return fail(Connection, "look at the appliance's services, and at what is between it and here", "%s answers with %s", where, status)
	case kind == "text/html" || kind == "application/xhtml+xml":
		return fail(Connection, portAdvice(u), "%s answers with a web page (%s), as the web UI does, not the REST API", where, status)
	case resp.StatusCode == http.StatusNotFound && len(bytes.TrimSpace(page)) == 0:
		// With .NET 6, what refuses an API version answers so. Login tries the others.
		return ok(Connection, "%s answers with %s and an empty body: a refused API version, a wrong port or a wrong path", where, status)
	case kind != "application/json" && kind != "application/problem+json":
		return fail(Connection, portAdvice(u), "%s answers with %s and no document of the REST API", where, status)
	}
	return ok(Connection, "%s answers as the REST API does", where)
}

// portAdvice is what to do about a URL at which something else answers.
func portAdvice(u *url.URL) string {
	advice := fmt.Sprintf("correct host and port in url: the REST API listens on %s unless it was changed", usualPort)
	if u.Port() == "" {
		advice = fmt.Sprintf("put a port in url, which has none: the REST API listens on %s unless it was changed", usualPort)
	}
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
	if op, isOp := errors.AsType[*net.OpError](err); isOp && (op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")) {
		return bad("correct proxy_url, or start the proxy", "the proxy can't be reached")
	}
	if refusesTunnel(err) {
		return bad("let the proxy through to "+where+", or correct url or proxy_url", "the proxy refuses to connect to %s", where)
	}
	if e, isDNS := errors.AsType[*net.DNSError](err); isDNS {
		if e.IsNotFound {
			return bad("correct the host in url, or add it to DNS", "there is no host named %q", e.Name)
		}
		return bad("look at the DNS servers of this machine", "the name %q can't be looked up", e.Name)
	}
	if e, isOther := errors.AsType[tls.RecordHeaderError](err); isOther {
		if bytes.HasPrefix(e.RecordHeader[:], []byte("SSH-")) {
			return bad(portAdvice(u), "%s is an SSH server", where)
		}
		return bad(portAdvice(u)+"; if there is a proxy without TLS, write http:// in url", "%s doesn't speak TLS", where)
	}
	timeout := errors.Is(err, context.DeadlineExceeded)
	if e, isNet := errors.AsType[net.Error](err); isNet && e.Timeout() {
		timeout = true
	}
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		return bad(portAdvice(u)+"; if there is a proxy without TLS, write http:// in url", "%s speaks HTTP without TLS, as no appliance does", where)
	case errors.Is(err, syscall.ECONNREFUSED):
		return bad(portAdvice(u)+"; and look whether its service runs", "nothing listens on %s", where)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return bad("look at routes and firewalls from here to the appliance", "there is no way to %s", where)
	case timeout && connected:
		return bad(portAdvice(u)+"; and look whether its services are well", "%s takes the connection and then doesn't answer", where)
	case timeout:
		return bad("open the port from here in the appliance's security group, or correct host and port in url", "%s doesn't answer, as behind a firewall", where)
	case strings.Contains(err.Error(), "certificate required"), strings.Contains(err.Error(), "bad certificate"):
		return fail(Certificate, "set tls_config.cert_file and tls_config.key_file", "%s wants a client certificate that it trusts: %v", where, err)
	case strings.Contains(err.Error(), "protocol version"):
		return fail(Certificate, "set tls_config.min_version or max_version to what the appliance speaks", "%s and the exporter have no version of TLS in common: %v", where, err)
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "readLoopPeekFail"):
		// The latter where it spoke before it was asked; net/http says no more of it.
		return fail(Connection, portAdvice(u), "%s doesn't speak HTTP", where)
	}
	advice := portAdvice(u)
	if u.Scheme == "http" {
		advice += "; if it speaks TLS, write https:// in url"
	}
	return bad(advice, "the connection to %s breaks", where)
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
		return warn(Certificate, "write https:// in url", "there is none, since url begins with http: the password goes over the network in clear")
	}
	leaf := s.PeerCertificates[0]
	left := leaf.NotAfter.Sub(now)
	switch {
	case len(s.VerifiedChains) == 0:
		return warn(Certificate, "remove tls_config.insecure_skip_verify; "+caAdvice(u),
			"not checked, since tls_config.insecure_skip_verify is set: anyone may be answering, and gets the password; %s", describe(leaf))
	case left < 0:
		return warn(Certificate, "set the clock of this machine", "it has expired by the clock that was asked; %s", describe(leaf))
	case left < expirySoon:
		return warn(Certificate, "renew it on the appliance, and the file that tls_config.ca_file names with it",
			"it expires in %d days; %s", int(left.Hours()/24), describe(leaf))
	}
	return ok(Certificate, "trusted; %s", describe(leaf))
}

// distrusted explains a certificate that the exporter refuses. crypto/x509 stops at
// the first thing wrong, dates before names before authorities.
func distrusted(u *url.URL, e *tls.CertificateVerificationError, now time.Time) Finding {
	if len(e.UnverifiedCertificates) == 0 {
		return fail(Certificate, caAdvice(u), "%v", e.Err)
	}
	leaf := e.UnverifiedCertificates[0]
	own := selfSigned(leaf)
	var why, do []string
	switch {
	case now.After(leaf.NotAfter):
		why, do = append(why, "it expired on "+day(leaf.NotAfter)), append(do, "renew it on the appliance")
	case now.Before(leaf.NotBefore):
		why, do = append(why, "it is not valid before "+day(leaf.NotBefore)), append(do, "set the clock of this machine or the appliance's")
	}
	if h, is := errors.AsType[x509.HostnameError](e.Err); is {
		why = append(why, fmt.Sprintf("it is not made out to %q", h.Host))
		do = append(do, nameAdvice(leaf))
	}
	switch _, unknown := errors.AsType[x509.UnknownAuthorityError](e.Err); {
	case own && unknown:
		why, do = append(why, "it is self-signed, as an appliance's is at first, and not among those trusted"), append(do, caAdvice(u))
	case own:
		do = append(do, "as it is self-signed, have tls_config.ca_file name it")
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
	return fmt.Sprintf("save it by `openssl s_client -connect %s </dev/null | openssl x509 > appliance.pem`, "+
		"compare the fingerprint with what the appliance itself shows, and set tls_config.ca_file to that file", address(u))
}

func nameAdvice(leaf *x509.Certificate) string {
	names := certNames(leaf)
	if len(names) == 0 {
		return "give the appliance a certificate with its name as a DNS name: this one has none, only a common name, which is not looked at any more " +
			"(where that can't be, tls_config.insecure_skip_verify is the last resort, and anyone may then answer)"
	}
	return fmt.Sprintf("set tls_config.server_name to a name that it has, such as %q, or put such a name in url", names[0])
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
	names := strings.Join(certNames(c), ", ")
	if names == "" {
		names = "none"
	}
	return fmt.Sprintf("SHA-256 %s, subject %s, issuer %s, valid from %s to %s, names: %s",
		fingerprint(c), c.Subject, c.Issuer, day(c.NotBefore), day(c.NotAfter), names)
}

// fingerprint writes it as browsers and openssl do.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
