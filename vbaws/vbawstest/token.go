package vbawstest

import (
	"cmp"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"time"
)

// tokens has the logins. A login is one successful grant with a password or an MFA code, and
// all tokens that were refreshed from it.
type tokens struct {
	access, refresh, mfa map[string]token
	logins               uint64
}

type token struct {
	user    string
	login   uint64
	expires time.Time // by the appliance's own clock
}

func (t *tokens) init() {
	t.access, t.refresh, t.mfa = make(map[string]token), make(map[string]token), make(map[string]token)
}

// RevokeTokens makes every token invalid, like a restart of the appliance's service.
func (a *Appliance) RevokeTokens() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens.init()
}

func (a *Appliance) secret() string {
	return fmt.Sprintf("%016x%016x", a.rng.Uint64(), a.rng.Uint64())
}

// authenticate returns the user of a request's access token, or a problem.
func (a *Appliance) authenticate(r *http.Request) (User, token, *problem) {
	const scheme = "Bearer "
	header := r.Header.Get("Authorization")
	if header == "" {
		return User{}, token{}, &noToken
	}
	if len(header) < len(scheme) || header[:len(scheme)] != scheme {
		return User{}, token{}, &invalidToken
	}
	t, found := a.tokens.access[header[len(scheme):]]
	if !found {
		return User{}, token{}, &invalidToken
	}
	if !a.ownNow().Before(t.expires) {
		return User{}, token{}, &expiredToken
	}
	user, found := a.cfg.user(t.user)
	if !found {
		return User{}, token{}, &invalidToken
	}
	return user, t, nil
}

type loginJSON struct {
	AccessToken  string `json:"access_token,omitempty"`
	TokenType    string `json:"token_type,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	ExpiresIn    int    `json:"expires_in,omitempty"`
	Issued       string `json:".issued,omitempty"`
	Expires      string `json:".expires,omitempty"`
	Username     string `json:"username,omitempty"`
	RoleName     string `json:"roleName,omitempty"`
	MFAEnabled   bool   `json:"mfa_enabled"`
	MFAToken     string `json:"mfa_token,omitempty"`
}

// postToken answers POST /api/v1/token.
func (a *Appliance) postToken(q *request) *answer {
	media, _, err := mime.ParseMediaType(q.http.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return wrongMediaType.answer(q.base, "")
	}
	values, err := url.ParseQuery(string(q.body))
	if err != nil {
		return invalidContent.answer(q.base, "the form can't be parsed")
	}
	form := params{Values: values}
	need := func(name string) string {
		v, given := form.one(name)
		if !given && len(form.wrong) == 0 {
			form.fail("%s is required", name)
		}
		return v
	}
	refused := loginRefused
	refused.status = cmp.Or(q.cfg.LoginRefusedStatus, refused.status)

	switch grant := need("grant_type"); grant {
	case "password":
		name, password := need("username"), need("password")
		if len(form.wrong) > 0 {
			break
		}
		user, found := q.cfg.user(name)
		if !found || user.Password != password {
			return refused.answer(q.base, "")
		}
		if user.MFA {
			t := a.secret()
			a.tokens.mfa[t] = token{user: name, expires: a.ownNow().Add(mfaLifetime)}
			return ok(mustMarshal(loginJSON{Username: name, RoleName: user.Role, MFAEnabled: true, MFAToken: t}))
		}
		a.tokens.logins++
		return a.grant(q, user, a.tokens.logins)
	case "refresh_token":
		secret := need("refresh_token")
		if len(form.wrong) > 0 {
			break
		}
		t, found := a.tokens.refresh[secret]
		if !found {
			return invalidToken.answer(q.base, "")
		}
		delete(a.tokens.refresh, secret)
		if !a.ownNow().Before(t.expires) {
			return expiredToken.answer(q.base, "")
		}
		user, found := q.cfg.user(t.user)
		if !found {
			return invalidToken.answer(q.base, "")
		}
		return a.grant(q, user, t.login)
	case "mfa":
		secret, code := need("mfa_token"), need("mfa_code")
		if len(form.wrong) > 0 {
			break
		}
		t, found := a.tokens.mfa[secret]
		if !found {
			return invalidToken.answer(q.base, "")
		}
		delete(a.tokens.mfa, secret)
		if !a.ownNow().Before(t.expires) {
			return expiredToken.answer(q.base, "")
		}
		user, found := q.cfg.user(t.user)
		if !found || user.MFACode == "" || user.MFACode != code {
			return refused.answer(q.base, "")
		}
		a.tokens.logins++
		return a.grant(q, user, a.tokens.logins)
	case "authorization_code":
		need("code")
		if len(form.wrong) == 0 {
			// Codes are for single sign-on, which is not simulated.
			return refused.answer(q.base, "")
		}
	default:
		if len(form.wrong) == 0 {
			form.fail("grant_type: %q is not one of password, refresh_token, authorization_code, mfa", grant)
		}
	}
	return invalidContent.answer(q.base, form.wrong[0])
}

const mfaLifetime = 5 * time.Minute

// grant issues a pair of tokens.
func (a *Appliance) grant(q *request, user User, login uint64) *answer {
	now := a.ownNow()
	access, refresh := a.secret(), a.secret()
	expires := now.Add(q.cfg.accessLifetime())
	a.tokens.access[access] = token{user.Name, login, expires}
	a.tokens.refresh[refresh] = token{user.Name, login, now.Add(q.cfg.refreshLifetime())}
	times := q.cfg.times(q.minor)
	return ok(mustMarshal(loginJSON{
		AccessToken:  access,
		TokenType:    "bearer",
		RefreshToken: refresh,
		ExpiresIn:    int(q.cfg.accessLifetime() / time.Second),
		Issued:       times.format(now),
		Expires:      times.format(expires),
		Username:     user.Name,
		RoleName:     user.Role,
		MFAEnabled:   user.MFA,
	}))
}

// deleteToken answers DELETE /api/v1/token: it ends the login.
func (a *Appliance) deleteToken(q *request) *answer {
	for _, m := range []map[string]token{a.tokens.access, a.tokens.refresh} {
		for secret, t := range m {
			if t.login == q.token.login {
				delete(m, secret)
			}
		}
	}
	return &answer{status: http.StatusNoContent, header: http.Header{}}
}
