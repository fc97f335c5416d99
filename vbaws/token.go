package vbaws

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"
)

// ErrMFA is wrapped in the error of a login as a user with multi-factor
// authentication.
var ErrMFA = errors.New("the account uses multi-factor authentication and cannot log in unattended: use an account without it")

// token is what a login gave. It doesn't change once it was given.
type token struct {
	access, refresh string
	expires         time.Time // zero: not known
}

// early is how long before its end a token is replaced, so that no request has
// it expire on the way: a minute, less for tokens that live for minutes.
func early(life time.Duration) time.Duration { return min(time.Minute, life/5) }

// tokens are the token in use and what is known of those before it.
type tokens struct {
	current *token // nil: none
	// refused is the rejected token for which the appliance refused another one, and
	// refusal that answer: who used the token too need not ask again, since accounts
	// lock.
	refused *token
	refusal error
	// granted are the tokens that endpoints answered with success last.
	granted map[string]*token
	// waiting is how many callers wait for a login, and stop ends the one under way.
	waiting int
	stop    context.CancelFunc
}

// token returns a token other than dead, which can be nil. If there is none, it logs
// in, once for all callers. A login goes on until the last of them has left.
func (c *Client) token(ctx context.Context, dead *token) (*token, error) {
	for {
		if t, err := c.held(dead); t != nil || err != nil {
			return t, err
		}
		t, err := c.join(ctx, dead)
		switch {
		case ctx.Err() == nil && errors.Is(err, context.Canceled) && KindOf(err) == KindTimeout:
			// All who waited for that login had left.
		case err != nil:
			return nil, err
		case t != nil && t != dead:
			return t, nil
		}
	}
}

// join waits for the login under way, and starts one if there is none.
func (c *Client) join(ctx context.Context, dead *token) (*token, error) {
	c.wait(1)
	defer c.wait(-1)
	login := c.logins.DoChan("", func() (any, error) {
		if t, err := c.held(dead); t != nil || err != nil {
			return t, err // another login has ended just now
		}
		ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		return c.login(ctx, stop, dead)
	})
	select {
	case r := <-login:
		t, _ := r.Val.(*token)
		return t, r.Err
	case <-ctx.Done():
		return nil, failed(ctx, c.loginOp(), ctx.Err())
	}
}

// wait counts a caller that waits for a login, or one less.
func (c *Client) wait(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens.waiting += n
	if c.tokens.waiting == 0 && c.tokens.stop != nil {
		c.tokens.stop()
	}
}

// held returns the token in use, the refusal of another one in place of dead, or
// neither.
func (c *Client) held(dead *token) (*token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tokens.current; t != nil && t != dead && (t.expires.IsZero() || c.cfg.Now().Before(t.expires)) {
		return t, nil
	}
	if dead != nil && dead == c.tokens.refused {
		return nil, c.tokens.refusal
	}
	return nil, nil
}

// login replaces the token in use. It is never called twice at once. stop ends ctx.
func (c *Client) login(ctx context.Context, stop context.CancelFunc, dead *token) (*token, error) {
	c.mu.Lock()
	if c.tokens.waiting == 0 {
		stop()
	}
	c.tokens.stop = stop
	refresh := ""
	if t := c.tokens.current; t != nil && t != dead {
		refresh = t.refresh // it has expired
	}
	c.mu.Unlock()
	t, err := c.authenticate(ctx, refresh)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens.stop, c.tokens.refused, c.tokens.refusal = nil, nil, nil
	if err == nil {
		c.tokens.current = t
		return t, nil
	}
	if c.tokens.current == dead || KindOf(err) == KindAuth {
		c.tokens.current = nil
	}
	if dead != nil && ctx.Err() == nil {
		c.tokens.refused, c.tokens.refusal = dead, err
	}
	return nil, err
}

// worked reports whether an endpoint accepted the token before. A 403 of it is then about
// the token, as some servers answer a rejected one so; else it is about the account's
// rights. A right that was taken away costs one login: no endpoint has accepted the next
// token yet.
func (c *Client) worked(endpoint string, t *token) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens.granted[endpoint] == t
}

func (c *Client) grant(endpoint string, t *token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens.granted[endpoint] = t
}

func (c *Client) loginOp() string { return fmt.Sprintf("login as %q", c.cfg.Username) }

// authenticate gets a token by the refresh token, unless it is empty or refused, and
// else by the password, in an API version that the appliance doesn't refuse.
func (c *Client) authenticate(ctx context.Context, refresh string) (*token, error) {
	if refresh != "" {
		op, version := fmt.Sprintf("refresh of the token of %q", c.cfg.Username), c.versions.current()
		t, err := c.postToken(ctx, op, version, url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {refresh},
		})
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
			})
		}
		if !refusesVersion(RouteToken, err) {
			if err = refusedLogin(err); err != nil && KindOf(err) == KindAuth {
				c.versions.answered(version)
			}
			return t, err
		}
		if err := c.refused(ctx, op, version, err); err != nil {
			return nil, err
		}
	}
	return nil, &Error{KindHTTP, op, errTurns}
}

// probe asks for a token without an account, so that the password is sent neither in
// an API version that is refused nor to a server that isn't the REST API, and once in a
// negotiation. It returns nil if a login can be tried in that version. Config.APIVersion
// leaves nothing to negotiate.
//
// An error doesn't quote the password, which the server can know from an earlier login.
func (c *Client) probe(ctx context.Context, op, version, password string) error {
	if c.cfg.APIVersion != "" {
		return nil
	}
	err := c.requestToken(ctx, op, version, url.Values{"grant_type": {"password"}}, []string{password}, func(login, time.Time) error { return nil })
	if e, ok := errors.AsType[*APIError](err); ok && !refusesVersion(RouteToken, err) {
		switch code := e.StatusCode; {
		case code == http.StatusNotFound, code == http.StatusMethodNotAllowed, code == http.StatusTooManyRequests, e.missesVersion():
			return err
		case code/100 == 4: // it wants an account
			return nil
		case code == http.StatusInternalServerError: // as of a form that it can't read
			return nil
		}
	}
	return err
}

// refusesToken reports whether err is an answer about the refresh token, or about the
// API version, so that the password is to be tried. An unknown token can be
// answered by 500.
func refusesToken(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && (e.StatusCode/100 == 4 && e.StatusCode != http.StatusTooManyRequests || e.StatusCode == http.StatusInternalServerError)
}

// refusedLogin makes KindAuth of an answer that is about the account.
func refusedLogin(err error) error {
	e, ok := errors.AsType[*APIError](err)
	if !ok || namesVersion(err) || e.missesVersion() {
		return err
	}
	switch e.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		var in *Error
		errors.As(err, &in)
		return &Error{KindAuth, in.Op, fmt.Errorf("the appliance rejected the account: check the user name, the password, and whether the account is locked or disabled: %w", in.Err)}
	}
	return err
}

// errTurns is the end of a call that is never accepted and never refused for good.
var errTurns = errors.New("API version negotiation did not converge")

// refused notes that the appliance refused that API version, and returns an error if
// no other one is left to try.
func (c *Client) refused(ctx context.Context, op, version string, refusal error) error {
	e := c.versions.refuse(version, refusal)
	if e == nil {
		return nil
	}
	e.WebUI = e.Empty && c.isWebUI(ctx, version)
	return &Error{KindHTTP, op, e}
}

// isWebUI reports whether the web UI's private API answers. It has its logins at
// /api/oauth2/token, and nothing at the REST API's paths.
func (c *Client) isWebUI(ctx context.Context, version string) bool {
	const path = "/api/oauth2/token"
	err := c.exchange(ctx, call{
		op: "GET " + path, method: http.MethodGet, endpoint: path, path: path,
		version: version,
	}, func(*body) error { return nil })
	e, ok := errors.AsType[*APIError](err)
	return ok && e.StatusCode/100 == 4 && e.StatusCode != http.StatusNotFound && e.StatusCode != http.StatusTooManyRequests
}

// postToken asks for a token, and notes that the appliance accepts the API version.
func (c *Client) postToken(ctx context.Context, op, version string, form url.Values) (*token, error) {
	var t *token
	secrets := []string{form.Get("password"), form.Get("refresh_token")}
	err := c.requestToken(ctx, op, version, form, secrets, func(l login, sent time.Time) (err error) {
		if t, err = l.token(sent); errors.Is(err, ErrMFA) {
			return &Error{KindAuth, op, err}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	c.versions.accept(version, true)
	return t, nil
}

// requestToken posts a form to the route of the tokens, and hands the answer and the
// time of the request to read. It tries again only if no answer came: an answered
// login can have counted against the account.
func (c *Client) requestToken(ctx context.Context, op, version string, form url.Values, secrets []string, read func(login, time.Time) error) error {
	in := call{
		op: op, method: http.MethodPost, endpoint: RouteToken, path: RouteToken,
		form: form, version: version, secrets: secrets,
	}
	answered := false
	noAnswer := func(err error) bool { return !answered && KindOf(err) == KindUnreachable }
	return c.retry(ctx, op, noAnswer, func() error {
		sent := c.cfg.Now()
		return c.exchange(ctx, in, func(b *body) error {
			answered = true
			var l login
			if err := decode(b, &l); err != nil {
				return err
			}
			return read(l, sent)
		})
	})
}

// token makes a token of the answer to a request sent at that time.
func (l *login) token(sent time.Time) (*token, error) {
	switch {
	case l.Access == "" && l.MFA != "":
		return nil, ErrMFA
	case l.Access == "":
		return nil, errShape("the answer has no access_token")
	}
	for _, r := range l.Access {
		if r <= ' ' || r > '~' {
			return nil, errShape("the access_token contains characters that are invalid in a header")
		}
	}
	t := &token{access: string(l.Access), refresh: string(l.Refresh)}
	if life := time.Duration(min(l.Seconds, int64(math.MaxInt64/time.Second))) * time.Second; life > 0 {
		t.expires = sent.Add(life - early(life))
	}
	return t, nil
}

// Logout gives the token back to the appliance. Without a token it does nothing, and a
// token that is dead already is no failure. It is for the end, when no other call is
// under way: a later one logs in again. It waits for the goroutine of a login that all
// callers have left.
func (c *Client) Logout(ctx context.Context) error {
	select {
	case <-c.logins.DoChan("", func() (any, error) { return nil, nil }):
	case <-ctx.Done():
	}
	c.mu.Lock()
	t := c.tokens.current
	c.tokens.current = nil
	c.mu.Unlock()
	if t == nil {
		return nil
	}
	op := "DELETE " + RouteToken
	err := c.exchange(ctx, call{
		op: op, method: http.MethodDelete, endpoint: RouteToken, path: RouteToken,
		version: c.versions.current(), bearer: t.access, secrets: []string{t.access, t.refresh},
	}, func(*body) error { return nil })
	if HasStatus(err, http.StatusUnauthorized) || HasStatus(err, http.StatusForbidden) {
		return nil
	}
	return err
}
