package vbaws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const tokenPath = "/api/v1/token"

// ErrMFA is wrapped in the error of a login as a user with multi-factor
// authentication.
var ErrMFA = errors.New("the account uses multi-factor authentication, so nothing unattended can log in with it: use one without")

// token is what a login gave. It doesn't change once it was given.
type token struct {
	access, refresh string
	expires         time.Time // zero: not known
}

// early is how long before its end a token is replaced, so that no request has
// it expire on the way: a minute, less for tokens that live for minutes.
func early(life time.Duration) time.Duration { return min(time.Minute, life/5) }

// flight is a login under way, by one caller for all.
type flight struct {
	done  chan struct{} // closed when the rest is set
	token *token
	err   error
	// abandoned says that the caller went away, which is no answer for the others.
	abandoned bool
}

// tokens keeps the token, and sees to it that only one login is under way.
type tokens struct {
	current *token // nil: none
	flight  *flight
	// refused is the dead token whose replacement the appliance refused, with the
	// refusal: whoever else used it needn't ask again. Accounts lock.
	refused *token
	refusal error
}

// token returns a token to use instead of dead, which may be nil. It logs in
// where there is no other.
func (c *Client) token(ctx context.Context, dead *token) (*token, error) {
	for {
		t, f, mine, err := c.board(dead)
		switch {
		case t != nil || err != nil:
			return t, err
		case mine:
			c.fly(ctx, f, dead)
			return f.token, f.err
		}
		select {
		case <-f.done:
			if !f.abandoned {
				return f.token, f.err
			}
		case <-ctx.Done():
			return nil, failed(ctx, c.loginOp(), ctx.Err())
		}
	}
}

// board returns the token that there is, or else the login under way, and
// whether it is the caller who must do it.
func (c *Client) board(dead *token) (t *token, f *flight, mine bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t = c.tokens.current; t != nil && t != dead && (t.expires.IsZero() || c.cfg.Now().Before(t.expires)) {
		return t, nil, false, nil
	}
	if c.tokens.flight != nil {
		return nil, c.tokens.flight, false, nil
	}
	if dead != nil && dead == c.tokens.refused {
		return nil, nil, false, c.tokens.refusal
	}
	c.tokens.flight = &flight{done: make(chan struct{})}
	return nil, c.tokens.flight, true, nil
}

// fly logs in and tells those who wait.
func (c *Client) fly(ctx context.Context, f *flight, dead *token) {
	c.mu.Lock()
	refresh := ""
	if t := c.tokens.current; t != nil && t != dead {
		refresh = t.refresh // Expired, where a dead one was taken back.
	}
	c.mu.Unlock()

	f.abandoned = true
	defer func() { // Deferred, so that nobody waits for ever where Config.Password panics.
		c.mu.Lock()
		switch {
		case f.abandoned:
		case f.err == nil:
			c.tokens.current = f.token
		case c.tokens.current == dead || KindOf(f.err) == KindAuth:
			c.tokens.current = nil
		}
		c.tokens.refused, c.tokens.refusal = nil, nil
		if !f.abandoned && f.err != nil && dead != nil {
			c.tokens.refused, c.tokens.refusal = dead, f.err
		}
		c.tokens.flight = nil
		c.mu.Unlock()
		close(f.done)
	}()
	f.token, f.err = c.authenticate(ctx, refresh)
	f.abandoned = ctx.Err() != nil && errors.Is(f.err, ctx.Err())
}

func (c *Client) loginOp() string { return fmt.Sprintf("login as %q", c.cfg.Username) }

// authenticate gets a token by the refresh token, unless it is empty or refused,
// and else by the password.
func (c *Client) authenticate(ctx context.Context, refresh string) (*token, error) {
	if refresh != "" {
		t, err := c.grant(ctx, fmt.Sprintf("refresh of the token of %q", c.cfg.Username), url.Values{
			"grant_type":    {"refresh_token"},
			"refresh_token": {refresh},
		})
		if err == nil || !refusesToken(err) {
			return t, err
		}
	}
	password, err := c.cfg.Password()
	if err != nil {
		return nil, &Error{KindConfig, c.loginOp(), fmt.Errorf("reading the password: %w", err)}
	}
	if password == "" {
		return nil, &Error{KindConfig, c.loginOp(), errors.New("the password is empty")}
	}
	t, err := c.grant(ctx, c.loginOp(), url.Values{
		"grant_type": {"password"},
		"username":   {c.cfg.Username},
		"password":   {password},
	})
	return t, refusedLogin(err)
}

// refusesToken reports whether err is an answer about the refresh token, not
// about the appliance. A token that nobody knows may well be a 500.
func refusesToken(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && !refusesRevision(err) &&
		(e.StatusCode/100 == 4 && e.StatusCode != http.StatusTooManyRequests || e.StatusCode == http.StatusInternalServerError)
}

// refusedLogin makes KindAuth of an answer that is about the account.
func refusedLogin(err error) error {
	e, ok := errors.AsType[*APIError](err)
	if !ok || refusesRevision(err) || e.says("ApiVersionUnspecified") || e.says("AmbiguousApiVersion") {
		return err
	}
	switch e.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		var in *Error
		errors.As(err, &in)
		return &Error{KindAuth, in.Op, fmt.Errorf("the appliance refused the account: check the user name, the password and that the account is not locked or disabled: %w", in.Err)}
	}
	return err
}

// grant asks for a token, in the revisions that are left to try.
func (c *Client) grant(ctx context.Context, op string, form url.Values) (*token, error) {
	for range maxRefusals {
		revision := c.revisions.current()
		t, err := c.postToken(ctx, op, revision, form)
		if !refusesRevision(err) {
			return t, err
		}
		if !c.revisions.refused(revision) {
			return nil, c.noRevision(op, revision, err)
		}
	}
	return nil, &Error{KindHTTP, op, errors.New("the appliance accepts and refuses API revisions by turns")}
}

// noRevision says that no revision is left to try after the refusal.
func (c *Client) noRevision(op, revision string, refusal error) error {
	if c.cfg.APIVersion != "" {
		return &Error{KindHTTP, op, &errRevision{fmt.Sprintf("the appliance does not speak API revision %s (api_version)", revision), cause(refusal)}}
	}
	return &Error{KindHTTP, op, &errRevision{fmt.Sprintf("the appliance speaks none of the API revisions from %s to %s",
		known[len(known)-1], known[0]), cause(refusal)}}
}

// postToken asks for a token. It tries again only where no answer came: an
// answered login may have counted against the account.
func (c *Client) postToken(ctx context.Context, op, revision string, form url.Values) (*token, error) {
	in := call{
		op: op, method: http.MethodPost, endpoint: tokenPath, path: tokenPath,
		form: form, revision: revision, limit: maxSmall, private: true,
		secrets: []string{form.Get("password"), form.Get("refresh_token")},
	}
	var t *token
	answered := false
	noAnswer := func(err error) bool { return !answered && KindOf(err) == KindUnreachable }
	err := c.retry(ctx, op, noAnswer, func() error {
		sent := c.cfg.Now()
		return c.exchange(ctx, in, func(_ http.Header, b *body) error {
			answered = true
			l, err := decodeLogin(b)
			if err != nil {
				return err
			}
			if t, err = l.token(sent); errors.Is(err, ErrMFA) {
				return &Error{KindAuth, op, err}
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	c.revisions.accepted(revision, true)
	return t, nil
}

// token makes a token of the answer to a request sent at that time.
func (l login) token(sent time.Time) (*token, error) {
	switch {
	case l.access == "" && l.mfa != "":
		return nil, ErrMFA
	case l.access == "":
		return nil, errShape("the answer has no access_token")
	}
	for _, r := range l.access {
		if r <= ' ' || r > '~' {
			return nil, errShape("the access_token can't be sent in a header")
		}
	}
	t := &token{access: l.access, refresh: l.refresh}
	if l.expiresIn > 0 {
		t.expires = sent.Add(l.expiresIn - early(l.expiresIn))
	}
	return t, nil
}

// Logout gives the token back to the appliance. Without one it does nothing, and
// a token that is dead already is no failure. It is for the end, when no other
// call is under way: a later one logs in again.
func (c *Client) Logout(ctx context.Context) error {
	c.mu.Lock()
	t := c.tokens.current
	c.tokens.current = nil
	c.mu.Unlock()
	if t == nil {
		return nil
	}
	op := "DELETE " + tokenPath
	err := c.exchange(ctx, call{
		op: op, method: http.MethodDelete, endpoint: tokenPath, path: tokenPath,
		revision: c.revisions.current(), bearer: t.access, secrets: []string{t.access, t.refresh},
		limit: maxSmall, private: true,
	}, func(http.Header, *body) error { return nil })
	if HasStatus(err, http.StatusUnauthorized) {
		return nil
	}
	return err
}
