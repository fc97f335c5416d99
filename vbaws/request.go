package vbaws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	maxTries = 3
	// maxRetryAfter is the longest Retry-After that the client waits. A longer one is
	// left to the caller.
	maxRetryAfter = 30 * time.Second
)

// call is one request to the appliance.
type call struct {
	op       string // for errors
	method   string
	endpoint string // the route's template
	path     string // escaped
	query    url.Values
	form     url.Values
	version  string // of the API
	bearer   string
	// secrets are the words of the answer that an error must not contain.
	secrets []string
}

// exchange sends the call once, and passes a 2xx answer to read. Its errors are *Error; it
// returns an *Error of read unchanged.
func (c *Client) exchange(ctx context.Context, in call, read func(*body) error) error {
	u := c.cfg.URL.JoinPath(in.path)
	u.RawQuery = in.query.Encode()
	req, err := http.NewRequestWithContext(ctx, in.method, u.String(), strings.NewReader(in.form.Encode()))
	if err != nil {
		return &Error{KindHTTP, in.op, in.safe(err)}
	}
	if in.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("X-Api-Version", in.version)
	if in.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+in.bearer)
	}

	start, code := c.cfg.Now(), 0
	defer func() {
		if c.cfg.Observe != nil {
			c.cfg.Observe(Request{in.endpoint, code, max(c.cfg.Now().Sub(start), 0)})
		}
	}()
	resp, err := c.http.Do(req)
	if err != nil {
		return failed(ctx, in.op, in.safe(err))
	}
	defer resp.Body.Close()
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		c.expiry.Store(&resp.TLS.PeerCertificates[0].NotAfter)
	}
	code = resp.StatusCode
	if code/100 != 2 {
		return c.refusal(in, resp)
	}
	b := newBody(resp.Body)
	b.date, _ = http.ParseTime(resp.Header.Get("Date"))
	err = read(b)
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return err
	}
	switch {
	case b.err != nil:
		return failed(ctx, in.op, fmt.Errorf("reading the answer: %w", in.safe(b.err)))
	case errors.Is(err, io.ErrUnexpectedEOF), ctx.Err() != nil:
		// A server can end its answer correctly after the client has disconnected.
		return failed(ctx, in.op, fmt.Errorf("reading the answer: %w", in.safe(err)))
	}
	return &Error{KindDecode, in.op, in.instead(resp.Header, b, err)}
}

// refusal returns the error for an answer with a status other than 2xx.
func (c *Client) refusal(in call, resp *http.Response) error {
	// A read error is ignored: the status is enough.
	document, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	e := decodeProblem(document)
	e.Title, e.Details = in.quote(e.Title, 90), in.quote(e.Details, 150)
	e.Code, e.Type = in.quoteName(e.Code, 60), in.quoteName(e.Type, 100)
	e.StatusCode = resp.StatusCode
	e.Empty = err == nil && len(bytes.TrimSpace(document)) == 0
	supported := slices.Concat(resp.Header.Values("Api-Supported-Versions"), resp.Header.Values("Api-Deprecated-Versions"))
	e.Supported = in.quote(strings.Join(supported, ","), 4096)
	now, noDate := http.ParseTime(resp.Header.Get("Date"))
	if noDate != nil {
		now = c.cfg.Now()
	}
	e.RetryAfter = parseRetryAfter(resp.Header.Get("Retry-After"), now)
	if to, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
		return &Error{KindHTTP, in.op, fmt.Errorf("redirect to %s not followed: %w", in.quote(to.Host, 100), &e)}
	}
	if HasStatus(&e, http.StatusNotFound, http.StatusMethodNotAllowed) && in.isWebPage(resp.Header) {
		return &Error{KindHTTP, in.op, fmt.Errorf("a web page, not the REST API (%s): %w", ports, &e)}
	}
	return &Error{KindHTTP, in.op, &e}
}

// instead describes an answer that is not from the API.
func (in call) instead(h http.Header, b *body, cause error) error {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		kind = "an unknown type"
	}
	kind = in.quote(kind, 60)
	switch {
	case len(b.head) == 0:
		return errors.New("the answer is not from the REST API: it is empty")
	case in.isWebPage(h):
		return fmt.Errorf("the answer is a web page (%s), not from the REST API: %s", clip(kind, 60), ports)
	case in.form != nil: // no part of a token must be shown
		if shape, ok := errors.AsType[errShape](cause); ok {
			return fmt.Errorf("the answer is not from the REST API: %w", shape)
		}
		return fmt.Errorf("the answer is not from the REST API: it is %s", kind)
	}
	// The cause can quote the document.
	return fmt.Errorf("the answer is not from the REST API: it is %s and starts with %q: %s",
		kind, in.quote(string(b.head), 80), in.quote(cause.Error(), 120))
}

// isWebPage reports whether the answer to a login is a web page, as from the web UI of the
// appliance.
func (in call) isWebPage(h http.Header) bool {
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	return in.path == RouteToken && (kind == "text/html" || kind == "application/xhtml+xml")
}

// maxQuote is how many bytes of an error can be a server's.
const maxQuote = 300

// leftOut replaces a text that is not shown.
const leftOut = "(omitted: it contains a secret)"

// quote returns a server's text for an error: printable, and at most n bytes.
//
// A text with a secret is omitted as a whole. To mask the secret alone would reveal it if
// the rest can be guessed, as for a short password within a word of a well-known page. Only
// a server's texts must be passed: in the texts of this package and of Go, a password
// occurs only by chance.
func (in call) quote(s string, n int) string {
	if slices.ContainsFunc(in.secrets, func(secret string) bool { return secret != "" && repeats(s, secret) }) {
		return leftOut
	}
	return clip(s, n)
}

// repeats reports whether s contains the secret, unchanged or encoded for a form, a path, a
// page or a quotation.
func repeats(s, secret string) bool {
	quoted := strconv.Quote(secret)
	return slices.ContainsFunc([]string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret), quoted[1 : len(quoted)-1],
	}, func(written string) bool { return strings.Contains(s, written) })
}

// nameSyntax is that of an error code, or of a problem's URI.
var nameSyntax = regexp.MustCompile(`^[A-Za-z0-9/:._#-]+$`)

// quoteName is quote for codes and URIs: a short password must not hide a name that
// contains it by chance.
func (in call) quoteName(s string, n int) string {
	const long = 16 // tokens are longer, and no name contains one by chance
	if nameSyntax.MatchString(s) {
		in.secrets = slices.DeleteFunc(slices.Clone(in.secrets), func(secret string) bool {
			return len(secret) < long && secret != s
		})
	}
	return in.quote(s, n)
}

// safe returns an error of the transport that can be shown: a server's text in it is
// treated as in quote, and the whole is no longer than maxQuote.
func (in call) safe(err error) error {
	err = bare(err)
	text := err.Error()
	begin := len(text)
	if !own(err) {
		begin = len(beginnings.FindString(text))
	}
	shown := clip(text[:begin], maxQuote) + in.quote(text[begin:], maxQuote-min(begin, maxQuote))
	if shown == text {
		return err
	}
	return &safeError{shown, err}
}

// own reports whether err has no text of the server: it is of Go, of the system, of a
// certificate or of a local file.
func own(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	return isNet || KindOf(err) == KindConfig || isTLS(err) || errors.Is(err, context.Canceled) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// beginnings matches the beginning of net/http's errors about an answer that is not HTTP.
// They have no types. The rest can be the server's, of any length.
var beginnings = regexp.MustCompile(`^(net/http: HTTP/1\.x transport connection broken: ` +
	`|malformed (HTTP (response|status code|version) |MIME header( initial)? line: |MIME header: missing colon: )` +
	`|failed to parse Location header |unsupported transfer encoding: |too many transfer encodings: |bad Content-Length ` +
	`|http: server closed idle connection|net/http: server response headers exceeded ` +
	`|http2: server sent GOAWAY and closed the connection; )*`)

// safeError is an error with another text. It works with errors.Is and errors.As, but has no
// Unwrap, which would show the original text.
type safeError struct {
	text string
	err  error
}

func (e *safeError) Error() string        { return e.text }
func (e *safeError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *safeError) As(target any) bool   { return errors.As(e.err, target) }

// bare returns the error in a *url.Error, which would repeat the address of the request.
func bare(err error) error {
	for e := (*url.Error)(nil); errors.As(err, &e); {
		err = e.Err
	}
	return err
}

// failed returns the error for a failure of the transport. If ctx has ended, the error
// wraps ctx.Err(), whatever the cause of the end.
func failed(ctx context.Context, op string, err error) *Error {
	if end := ctx.Err(); end != nil {
		if !errors.Is(err, end) {
			err = fmt.Errorf("%w: %w", end, err)
		}
		return &Error{KindTimeout, op, err}
	}
	kind := KindUnreachable
	if e, ok := errors.AsType[*Error](err); ok {
		kind = e.Kind // of the transport
	} else if isTLS(err) {
		kind = KindTLS
	} else if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		kind = KindTimeout
	}
	return &Error{kind, op, err}
}

// isTLS reports whether err is of crypto/tls or crypto/x509. Few of their errors have a
// type, and alerts have none.
func isTLS(err error) bool {
	if errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if s := err.Error(); strings.HasPrefix(s, "tls: ") || strings.HasPrefix(s, "x509: ") {
			return true
		}
	}
	return false
}

// retry tries the call up to three times, as long as again reports that another try can
// help.
func (c *Client) retry(ctx context.Context, op string, again func(error) bool, try func() error) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.Multiplier, wait.MaxInterval = c.cfg.RetryInitial, 4, maxRetryAfter
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = try()
		if last != nil && !again(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		if after := answerOf(last).RetryAfter; after > 0 {
			return struct{}{}, &backoff.RetryAfterError{Duration: after}
		}
		return struct{}{}, last
	}, backoff.WithBackOff(wait), backoff.WithMaxTries(maxTries), backoff.WithMaxElapsedTime(0))
	if err != nil && again(last) && ctx.Err() != nil {
		return &Error{KindTimeout, op, fmt.Errorf("%w while waiting to retry after: %w", ctx.Err(), cause(last))}
	}
	return last
}

// cause returns err without its Op, for an error with another one.
func cause(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Err
	}
	return err
}

// mayPass reports whether a GET that failed with err can succeed a moment later. After a
// timeout it returns false: enough time has passed.
func mayPass(err error) bool {
	if HasStatus(err, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout) {
		return answerOf(err).RetryAfter <= maxRetryAfter
	}
	return KindOf(err) == KindUnreachable
}
