package vbaws

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
)

const (
	maxTries = 3
	// maxRetryAfter is the longest Retry-After that is waited for here. A longer
	// one is the caller's to plan for.
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
	revision string
	bearer   string
	// secrets are the words that must not get from the answer into an error.
	secrets []string
	// limit is the most bytes of an answer to read.
	limit int64
	// private says that nothing of a 2xx answer may be shown.
	private bool
}

// exchange sends the call once, and hands a 2xx answer to read. Its errors are
// *Error; one that read makes itself stays as it is.
func (c *Client) exchange(ctx context.Context, in call, read func(http.Header, *body) error) error {
	u := strings.TrimRight(c.cfg.URL.String(), "/") + in.path
	if len(in.query) > 0 {
		u += "?" + in.query.Encode()
	}
	var form io.Reader
	if in.form != nil {
		form = strings.NewReader(in.form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, in.method, u, form)
	if err != nil {
		return &Error{KindHTTP, in.op, bare(err)}
	}
	if in.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("X-Api-Version", in.revision)
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
		return failed(ctx, in.op, bare(err))
	}
	defer resp.Body.Close()
	code = resp.StatusCode
	if code/100 != 2 {
		return c.refusal(in, resp)
	}
	b := newBody(resp.Body, in.limit)
	err = read(resp.Header, b)
	if _, ok := err.(*Error); ok || err == nil {
		return err
	}
	switch {
	case b.err != nil:
		return failed(ctx, in.op, fmt.Errorf("reading the answer: %w", b.err))
	case errors.Is(err, io.ErrUnexpectedEOF), ctx.Err() != nil:
		// A server that sees us go may still end its answer in good order.
		return failed(ctx, in.op, fmt.Errorf("reading the answer: %w", err))
	}
	return &Error{KindDecode, in.op, in.instead(resp.Header, b, err)}
}

// refusal makes an error of an answer that is no 2xx.
func (c *Client) refusal(in call, resp *http.Response) error {
	// What can't be read of it is left out: the status says enough.
	document, _ := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	e := decodeProblem(document)
	for _, s := range []*string{&e.Title, &e.Details} {
		*s = clip(redact(*s, in.secrets), 300)
	}
	for _, s := range []*string{&e.Code, &e.Type} {
		*s = clip(redactName(*s, in.secrets), 300)
	}
	e.StatusCode = resp.StatusCode
	if s := resp.Header.Get("Retry-After"); s != "" {
		now, err := http.ParseTime(resp.Header.Get("Date"))
		if err != nil {
			now = c.cfg.Now()
		}
		e.RetryAfter = parseRetryAfter(s, now)
	}
	if to, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
		return &Error{KindHTTP, in.op, fmt.Errorf("redirected to %s, which is not followed: %w", clip(to.Host, 100), &e)}
	}
	return &Error{KindHTTP, in.op, &e}
}

// instead says what came where an answer of the API was expected.
func (in call) instead(h http.Header, b *body, cause error) error {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		kind = "an unknown type"
	}
	head := b.beginning()
	switch {
	case len(head) == 0:
		return errors.New("the answer is not the API's: it is empty")
	case in.private:
		if shape, ok := cause.(errShape); ok {
			return fmt.Errorf("the answer is not the API's: %w", shape)
		}
		return fmt.Errorf("the answer is not the API's: it is %s", clip(kind, 60))
	}
	return fmt.Errorf("the answer is not the API's: it is %s and begins with %q: %w",
		clip(kind, 60), clip(redact(string(head), in.secrets), 80), cause)
}

// redact takes the secrets out of s, as they are and as a form, a path or a page
// would write them.
func redact(s string, secrets []string) string {
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		for _, written := range []string{
			secret, url.QueryEscape(secret), url.PathEscape(secret), html.EscapeString(secret),
		} {
			s = strings.ReplaceAll(s, written, "<secret>")
		}
	}
	return s
}

// nameSyntax is that of an error code, or of a problem's URI.
var nameSyntax = regexp.MustCompile(`^[A-Za-z0-9/:._-]+$`)

// redactName is redact for what programs understand: a short password that is by
// chance part of a name must not make another name of it.
func redactName(s string, secrets []string) string {
	const long = 16 // tokens are longer, names have no such parts by chance
	for _, secret := range secrets {
		if len(secret) >= long || secret == s || !nameSyntax.MatchString(s) {
			s = redact(s, []string{secret})
		}
	}
	return s
}

// bare takes off the *url.Error, which repeats the request's address.
func bare(err error) error {
	for {
		e, ok := err.(*url.Error)
		if !ok {
			return err
		}
		err = e.Err
	}
}

// failed makes an error of a failure of the transport. The end of ctx is visible
// in it as such, whatever cause it was given.
func failed(ctx context.Context, op string, err error) *Error {
	if end := ctx.Err(); end != nil {
		if !errors.Is(err, end) {
			err = fmt.Errorf("%w: %w", end, err)
		}
		return &Error{KindTimeout, op, err}
	}
	return &Error{transportKind(err), op, err}
}

// transportKind tells the kinds of failure below HTTP apart.
func transportKind(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind // the transport knows
	}
	if isTLS(err) {
		return KindTLS
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return KindTimeout
	}
	return KindUnreachable
}

func isTLS(err error) bool {
	if errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	// crypto/tls wraps the alerts of either side so, and exports no type of them.
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return true
	}
	// Its other errors have no type at all.
	for ; err != nil; err = errors.Unwrap(err) {
		if s := err.Error(); strings.HasPrefix(s, "tls: ") || strings.HasPrefix(s, "x509: ") {
			return true
		}
	}
	return false
}

// delays is how long to wait between the tries of a call.
type delays struct {
	backoff.ExponentialBackOff
	asked time.Duration // by the last answer; 0: not
}

func (d *delays) NextBackOff() time.Duration {
	if d.asked > 0 {
		return d.asked
	}
	return d.ExponentialBackOff.NextBackOff()
}

// retry tries the call up to three times, as long as again says that another
// time may help.
func (c *Client) retry(ctx context.Context, op string, again func(error) bool, try func() error) error {
	d := &delays{ExponentialBackOff: backoff.ExponentialBackOff{
		InitialInterval:     c.cfg.RetryInitial,
		RandomizationFactor: backoff.DefaultRandomizationFactor,
		Multiplier:          4,
		MaxInterval:         maxRetryAfter,
	}}
	var last error
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		last = try()
		if last != nil && !again(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		d.asked = retryAfter(last)
		return struct{}{}, last
	}, backoff.WithBackOff(d), backoff.WithMaxTries(maxTries), backoff.WithMaxElapsedTime(0))
	if err != nil && again(last) && ctx.Err() != nil {
		return &Error{KindTimeout, op, fmt.Errorf("%w while waiting to try again after: %w", ctx.Err(), cause(last))}
	}
	return last
}

// cause takes the op off, where another one is to be put on.
func cause(err error) error {
	if e, ok := err.(*Error); ok {
		return e.Err
	}
	return err
}

func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*APIError](err); ok {
		return e.RetryAfter
	}
	return 0
}

// mayPass reports whether a GET that failed so may succeed a moment later. A
// timeout is not among it: that moment has been waited for.
func mayPass(err error) bool {
	if e, ok := errors.AsType[*APIError](err); ok {
		switch e.StatusCode {
		case http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return e.RetryAfter <= maxRetryAfter
		}
		return false
	}
	return KindOf(err) == KindUnreachable
}
