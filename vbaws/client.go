package vbaws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/sync/singleflight"
)

// Config has the address and the account of one appliance.
type Config struct {
	// URL has a scheme (https or http), a host, and optionally a path, which is the
	// prefix of the API's routes. It has no user.
	URL      *url.URL
	Username string
	// Password is called at each login, so a changed password needs no new client. Its
	// error must not quote the password.
	Password func() (string, error)
	// APIVersion is the API version to use, such as 1.7-rev0. Empty: the newest known
	// one that the appliance accepts.
	APIVersion string
	// Transport does TLS and proxies. Nil: http.DefaultTransport.
	Transport http.RoundTripper
	// Now is the clock by which tokens expire and API versions newer than the known
	// ones are tried once an hour. Nil: time.Now.
	Now func() time.Time
	// Observe, if set, is called once for each HTTP exchange, retries and refused API
	// versions included, after the answer was read. Several goroutines can call it at
	// once.
	Observe func(Request)
	// UserAgent is sent with every request. Empty: vbaws.
	UserAgent string
	// RetryInitial is the approximate wait before the first retry of a request. 0: half
	// a second.
	RetryInitial time.Duration
}

// Client is a client of one appliance. It can be used by several goroutines at once.
// A login runs in a goroutine of its own, which ends when the last call that needs it
// ends; Logout waits for it.
//
// Its errors are *Error. An answer with a status other than 2xx is also an
// *APIError; the end of a call's context is visible to errors.Is and, as a kind,
// KindTimeout.
//
// A GET is tried three times if the connection fails or the appliance is busy. Only
// the context bounds the duration of a call.
type Client struct {
	cfg      Config
	http     *http.Client
	expiry   atomic.Pointer[time.Time] // of the certificate that was presented last
	versions versions
	logins   singleflight.Group // of one key

	mu      sync.Mutex         // guards the following
	current *token             // in use; nil: none
	waiting int                // callers that wait for a login
	stop    context.CancelFunc // ends the login that began last
}

// CertificateExpiry returns the expiry of the certificate that the appliance presented
// last; zero if none was accepted yet, or without TLS.
func (c *Client) CertificateExpiry() time.Time {
	return *c.expiry.Load()
}

// New returns a client. It does not contact the appliance.
func New(cfg Config) (*Client, error) {
	switch u := cfg.URL; {
	case u == nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.User != nil, u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("the appliance's URL must have the scheme https or http and a host, and no user, query or fragment")
	case cfg.Username == "":
		return nil, errors.New("the user name is empty")
	case cfg.Password == nil:
		return nil, errors.New("the password is missing")
	case cfg.APIVersion != "" && numbers(cfg.APIVersion) == nil:
		return nil, fmt.Errorf("API version %q: want one such as %s", cfg.APIVersion, known[0])
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.UserAgent = cmp.Or(cfg.UserAgent, "vbaws")
	cfg.RetryInitial = cmp.Or(cfg.RetryInitial, 500*time.Millisecond)
	c := &Client{
		cfg: cfg,
		http: &http.Client{
			Transport:     cfg.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		versions: versions{fixed: cfg.APIVersion, now: cfg.Now},
	}
	c.expiry.Store(&time.Time{})
	return c, nil
}

// APIVersion returns the API version in use. It is empty before the first login, and
// while another version is negotiated.
func (c *Client) APIVersion() string {
	version, s := c.versions.inUse()
	if s < acceptedLogin {
		return ""
	}
	return version
}

// Sessions returns the page of sessions that the query selects.
func (c *Client) Sessions(ctx context.Context, q SessionsQuery) (*SessionsPage, error) {
	return getPage(ctx, c, RouteSessions, q.values(), q.Limit, decodeSessions)
}

const queryTime = "2006-01-02T15:04:05Z"

// values encodes the query as the vendor's API description names it.
func (q SessionsQuery) values() url.Values {
	v := paging(q.Offset, q.Limit)
	set(v, "Sort", q.Sort, q.Sort != "")
	set(v, "PolicyId", q.PolicyID, q.PolicyID != "")
	set(v, "FromUtc", q.FromUTC.UTC().Format(queryTime), !q.FromUTC.IsZero())
	set(v, "ToUtc", q.ToUTC.UTC().Format(queryTime), !q.ToUTC.IsZero())
	v["Types"], v["Status"] = q.Types, q.Status
	return v
}

func paging(offset, limit int) url.Values {
	v := url.Values{}
	set(v, "Offset", strconv.Itoa(offset), offset != 0)
	set(v, "Limit", strconv.Itoa(limit), limit != 0)
	return v
}

// set sets a parameter if it is given.
func set(v url.Values, name, text string, given bool) {
	if given {
		v.Set(name, text)
	}
}

// Session returns one session, and the appliance's clock as in SessionsPage. A
// session that could not be understood is a Row with an Err, as in a page. The error
// has status 404 if the appliance has no such session.
func (c *Client) Session(ctx context.Context, id string) (Row, time.Time, error) {
	var at time.Time
	row, err := getByID(ctx, c, id, RouteSession, func(b *body) (row Row, err error) {
		var v jsontext.Value
		if err = decode(b, &v); err != nil {
			return row, err
		}
		if row, at = b.row(v), b.date; row.ID == "" {
			err = errShape("the document is not a session: " + row.Err.Error())
		}
		return row, err
	})
	return row, at, err
}

// SessionLog returns the first errors and warnings of a session's log, at most 20 of
// each, in the appliance's order. It omits lines without a message. A time that could not
// be understood is zero.
func (c *Client) SessionLog(ctx context.Context, id string) ([]LogItem, error) {
	return getByID(ctx, c, id, RouteSessionLog, decodeLog)
}

// getByID gets a route with the id of a session in it.
func getByID[T any](ctx context.Context, c *Client, id, route string, read func(*body) (T, error)) (T, error) {
	if id == "" || id == "." || id == ".." {
		// The path would be another route's.
		return *new(T), &Error{KindHTTP, "GET " + route, fmt.Errorf("%q is not a valid session id", id)}
	}
	return fetch(ctx, c, route, strings.Replace(route, "{id}", url.PathEscape(id), 1), nil, read)
}

// fetch gets a path of an endpoint, and returns the result of read. It logs in if there is
// no token, and once more if the token is rejected: by 401, or by 403 unless that is about
// the account's rights. It tries another API version if one is refused.
func fetch[T any](ctx context.Context, c *Client, endpoint, path string, q url.Values, read func(*body) (T, error)) (got T, err error) {
	op := "GET " + endpoint
	var dead *token
	for range maxRefusals {
		t, err := c.token(ctx, dead)
		if err != nil {
			return got, err
		}
		in := call{
			op: op, method: http.MethodGet, endpoint: endpoint, path: path, query: q,
			version: c.versions.current(), bearer: t.access, secrets: []string{t.access, t.refresh},
		}
		err = c.retry(ctx, op, mayPass, func() error {
			return c.exchange(ctx, in, func(b *body) (err error) {
				got, err = read(b)
				return err
			})
		})
		switch {
		case err == nil:
			c.versions.accept(in.version, acceptedRequest)
			t.accepted.Store(endpoint, true)
			return got, nil
		case refusesVersion(path, err):
			if current, s := c.versions.inUse(); path != RouteSessions && current == in.version && s == acceptedRequest {
				return got, err // this version lacks the route
			}
			if err := c.refused(ctx, op, in.version, err); err != nil {
				return got, err
			}
		case dead == nil && rejects(err, endpoint, t):
			dead = t
		case HasStatus(err, http.StatusUnauthorized):
			return got, &Error{KindAuth, op, fmt.Errorf("the appliance rejected two tokens in a row: %w", cause(err))}
		default:
			return got, err
		}
	}
	return got, &Error{KindHTTP, op, errTurns}
}
