package vbaws

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// ErrMFA is wrapped in the error of a login as a user with multi-factor
// authentication.
var ErrMFA = errors.New("the account uses multi-factor authentication and cannot log in unattended: use an account without it")

// token is the result of a login.
type token struct {
	access, refresh string
	expires         time.Time // zero: not known

	// accepted has the endpoints that accepted the token. A 403 of one of them is about
	// the token, since some servers reject tokens that way; any other 403 is about the
	// account's rights. The loss of a right costs one login: no endpoint has accepted
	// the next token yet.
	accepted sync.Map
	// refusal is the error of the login that should have replaced the token. Other calls
	// with the token return it and don't log in again, since accounts lock. Client.mu
	// guards it.
	refusal error
}

// early is how long before its end a token is replaced, so that it doesn't expire during a
// request: a minute, less for tokens that live for minutes.
func early(life time.Duration) time.Duration { return min(time.Minute, life/5) }

// token returns a token other than dead, which can be nil. If there is none, it logs in,
// once for all callers. A login ends early if the contexts of all callers have ended.
func (c *Client) token(ctx context.Context, dead *token) (*token, error) {
	if t, err := c.held(dead); t != nil || err != nil {
		return t, err
	}
	c.wait(1)
	defer c.wait(-1)
	for {
		select {
		case <-ctx.Done():
			return nil, failed(ctx, c.loginOp(), ctx.Err())
		case r := <-c.logins.DoChan("", func() (any, error) { return c.login(ctx, dead) }):
			left := errors.Is(r.Err, context.Canceled) && KindOf(r.Err) == KindTimeout // all earlier callers
			switch t, _ := r.Val.(*token); {
			case r.Err != nil && (!left || ctx.Err() != nil):
				return nil, r.Err
			case t != nil && t != dead:
				return t, nil
			}
		}
	}
}

// wait changes the number of callers that wait for a login by n. It cancels the login if
// none is left.
func (c *Client) wait(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting += n
	if c.waiting == 0 && c.stop != nil {
		c.stop()
	}
}

// held returns the token in use, the error of the login that should have replaced dead, or
// neither.
func (c *Client) held(dead *token) (*token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.current; t != nil && t != dead && (t.expires.IsZero() || c.cfg.Now().Before(t.expires)) {
		return t, nil
	}
	if dead != nil {
		return nil, dead.refusal
	}
	return nil, nil
}

// login replaces the token in use. It must not be called concurrently. It goes on after the
// end of ctx while a caller waits for it.
func (c *Client) login(ctx context.Context, dead *token) (*token, error) {
	if t, err := c.held(dead); t != nil || err != nil {
		return t, err // another login has ended just now
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	c.mu.Lock()
	if c.waiting == 0 {
		stop()
	}
	c.stop = stop
	refresh := ""
	if c.current != nil && c.current != dead {
		refresh = c.current.refresh // it has expired
	}
	c.mu.Unlock()
	t, err := c.authenticate(ctx, refresh)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.current = t
		return t, nil
	case c.current == dead, KindOf(err) == KindAuth:
		c.current = nil
	}
	if dead != nil && ctx.Err() == nil {
		dead.refusal = err
	}
	return nil, err
}

func (c *Client) loginOp() string { return fmt.Sprintf("login as %q", c.cfg.Username) }

// authenticate gets a token with the refresh token or, if that is empty or refused, with
// the password, in an API version that the appliance doesn't refuse.
func (c *Client) authenticate(ctx context.Context, refresh string) (*token, error) {
	if refresh != "" {
		op, version := fmt.Sprintf("refresh of the token of %q", c.cfg.Username), c.versions.current()
		t, err := c.postToken(ctx, op, version, url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {refresh},
		}, refresh)
		if err == nil || !refusesToken(err) {
			return t, err
		}
		if namesVersion(err) {
			if err := c.refused(ctx, op, version, err); err != nil {
				return nil, err
			}
		}
	}
	op := c.loginOp()
	password, err := c.cfg.Password()
	if err != nil {
		return nil, &Error{KindConfig, op, fmt.Errorf("reading the password: %w", err)}
	}
	if password == "" {
		return nil, &Error{KindConfig, op, errors.New("the password is empty")}
	}
	for range maxRefusals {
		version := c.versions.current()
		var t *token
		err := c.probe(ctx, op, version, password)
		if err == nil {
			t, err = c.postToken(ctx, op, version, url.Values{
				"grant_type": {"password"},
				"username":   {c.cfg.Username},
				"password":   {password},
			}, password)
		}
		if !refusesVersion(RouteToken, err) {
			if HasStatus(err, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden) && !missesVersion(err) {
				err = &Error{KindAuth, op, fmt.Errorf("the appliance rejected the account: check the user name, the password, and whether the account is locked or disabled: %w", cause(err))}
			}
			if err != nil && KindOf(err) == KindAuth {
				c.versions.accept(version, rejectedLogin)
			}
			return t, err
		}
		if err := c.refused(ctx, op, version, err); err != nil {
			return nil, err
		}
	}
	return nil, &Error{KindHTTP, op, errTurns}
}

// probe requests a token without an account, so that the password is sent only once in a
// negotiation, and not to a server that isn't the REST API. It returns nil if a login can
// be tried in that version. With Config.APIVersion there is nothing to negotiate.
//
// An error doesn't quote the password, which the server can know from an earlier login.
func (c *Client) probe(ctx context.Context, op, version, password string) error {
	if c.cfg.APIVersion != "" {
		return nil
	}
	_, err := c.postToken(ctx, op, version, url.Values{"grant_type": {"password"}}, password)
	if !refusesToken(err) || refusesVersion(RouteToken, err) || missesVersion(err) ||
		HasStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed) {
		return err
	}
	return nil // the account is missing, or a form without one can't be read
}

// rejects reports whether err, an answer of that endpoint, is about the token.
func rejects(err error, endpoint string, t *token) bool {
	_, accepted := t.accepted.Load(endpoint)
	return HasStatus(err, http.StatusUnauthorized) || HasStatus(err, http.StatusForbidden) && accepted
}

// refusesToken reports whether err is an answer about the refresh token or the API version,
// so that the password has to be tried. The answer to an unknown token can be 500.
func refusesToken(err error) bool {
	code := answerOf(err).StatusCode
	return code/100 == 4 && code != http.StatusTooManyRequests || code == http.StatusInternalServerError
}

// errTurns ends a call that is neither accepted nor finally refused.
var errTurns = errors.New("API version negotiation did not converge")

// refused records that the appliance refused that API version, and returns an error if no
// other one is left to try.
func (c *Client) refused(ctx context.Context, op, version string, refusal error) error {
	e := c.versions.refuse(version, refusal)
	if e == nil {
		return nil
	}
	e.WebUI = e.Empty && c.isWebUI(ctx, version)
	return &Error{KindHTTP, op, e}
}

// isWebUI reports whether the private API of the web UI answers. Its logins are at
// /api/oauth2/token, and it has none of the paths of the REST API.
func (c *Client) isWebUI(ctx context.Context, version string) bool {
	const path = "/api/oauth2/token"
	err := c.exchange(ctx, call{
		op: "GET " + path, method: http.MethodGet, endpoint: path, path: path,
		version: version,
	}, func(*body) error { return nil })
	code := answerOf(err).StatusCode
	return code/100 == 4 && code != http.StatusNotFound && code != http.StatusTooManyRequests
}

// postToken posts a form to the route of the tokens, and records that the appliance accepts
// the API version. It retries only if there was no answer: an answered login can have
// counted against the account.
func (c *Client) postToken(ctx context.Context, op, version string, form url.Values, secret string) (t *token, err error) {
	in := call{
		op: op, method: http.MethodPost, endpoint: RouteToken, path: RouteToken,
		form: form, version: version, secrets: []string{secret},
	}
	answered := false
	noAnswer := func(err error) bool { return !answered && KindOf(err) == KindUnreachable }
	err = c.retry(ctx, op, noAnswer, func() error {
		sent := c.cfg.Now()
		return c.exchange(ctx, in, func(b *body) (err error) {
			answered = true
			var l login
			if err = decode(b, &l); err == nil {
				t, err = l.token(op, sent)
			}
			return err
		})
	})
	if err == nil {
		c.versions.accept(version, acceptedLogin)
	}
	return t, err
}

// token returns the token of an answer to a request that was sent at that time.
func (l *login) token(op string, sent time.Time) (*token, error) {
	switch {
	case l.Access == "" && l.MFA != "":
		return nil, &Error{KindAuth, op, ErrMFA}
	case l.Access == "":
		return nil, errShape("the answer has no access_token")
	}
	if strings.ContainsFunc(string(l.Access), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errShape("the access_token contains characters that are invalid in a header")
	}
	t := &token{access: string(l.Access), refresh: string(l.Refresh)}
	if life := time.Duration(min(l.Seconds, int64(math.MaxInt64/time.Second))) * time.Second; life > 0 {
		t.expires = sent.Add(life - early(life))
	}
	return t, nil
}

// Logout revokes the token. Without a token it does nothing; an invalid token is not an
// error. It is for the end, when no other call is in progress: a later call logs in again.
// It waits for the goroutine of a login whose callers have all left.
func (c *Client) Logout(ctx context.Context) error {
	select {
	case <-c.logins.DoChan("", func() (any, error) { return nil, nil }):
	case <-ctx.Done():
	}
	c.mu.Lock()
	t := c.current
	c.current = nil
	c.mu.Unlock()
	if t == nil {
		return nil
	}
	op := "DELETE " + RouteToken
	err := c.exchange(ctx, call{
		op: op, method: http.MethodDelete, endpoint: RouteToken, path: RouteToken,
		version: c.versions.current(), bearer: t.access, secrets: []string{t.access, t.refresh},
	}, func(*body) error { return nil })
	if HasStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
		return nil
	}
	return err
}
