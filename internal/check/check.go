// Package check tries what the configuration says and explains what it finds.
//
// It knows what may stand between the exporter and an appliance (names, ports,
// certificates, proxies, accounts, rights, API versions, clocks), what of the API
// is not documented and has to be found out, and which key of the configuration
// sets right what is wrong. It doesn't know how sessions are counted.
//
// It only reads: it sends GET, and POST and DELETE to /api/v1/token. The password
// goes over no connection that the exporter itself would not use, and to nothing
// that doesn't look like the API.
package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"vbaws_exporter/internal/config"
	"vbaws_exporter/vbaws"
)

// Level is how bad a finding is.
type Level string

// The levels. An appliance with nothing worse than Warn can be monitored.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// What a finding is about.
const (
	Configuration = "configuration"
	Connection    = "connection"
	Certificate   = "certificate"
	Login         = "login"
	APIVersion    = "api version"
	Clock         = "clock"
	Rights        = "rights"
	Schedules     = "schedules"
	Sessions      = "sessions"
	USN           = "usn"
	Paging        = "paging"
	Times         = "times"
)

// Finding is one thing that was found out.
type Finding struct {
	// Appliance is its name, empty if the finding is of the configuration file.
	Appliance string `json:"appliance"`
	// Check is one of the constants.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Message says what was found.
	Message string `json:"message"`
	// Remedy says what to do about it; empty if nothing is to be done.
	Remedy string `json:"remedy,omitempty"`
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: OK, Message: fmt.Sprintf(format, args...)}
}

func warn(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Level: Warn, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

func fail(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Level: Fail, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// Failed returns the names of the appliances that can't be monitored, in the order
// of the findings. Those of one appliance must stand together.
func Failed(findings []Finding) []string {
	var names []string
	for _, f := range findings {
		if f.Level == Fail && (len(names) == 0 || names[len(names)-1] != f.Appliance) {
			names = append(names, f.Appliance)
		}
	}
	return names
}

// File validates the configuration file at path. It touches no network and none
// of the files that it names. The Config is nil if the file is wrong.
func File(path string) (*config.Config, []Finding) {
	cfg, err := config.Load(path)
	if err == nil {
		n := len(cfg.Appliances)
		return cfg, []Finding{ok(Configuration, "%s is valid: %d %s", path, n, plural(n, "appliance", "appliances"))}
	}
	mistakes, isList := errors.AsType[config.Errors](err)
	if !isList {
		return nil, []Finding{fail(Configuration, "name the file by --config.file", "%v", err)}
	}
	var findings []Finding
	for _, m := range mistakes {
		findings = append(findings, fail(Configuration, "", "%v", m))
	}
	return nil, findings
}

// LocalFiles looks at the files that the configuration names, and at certificates
// and keys that are in it. It touches no network. The findings are failures, in the
// order of the configuration.
func LocalFiles(cfg *config.Config) []Finding {
	var findings []Finding
	for i := range cfg.Appliances {
		a := &cfg.Appliances[i]
		for _, look := range []func(*config.Appliance) *Finding{tlsFiles, passwordFile} {
			if f := look(a); f != nil {
				f.Appliance = a.Name
				findings = append(findings, *f)
			}
		}
	}
	return findings
}

func tlsFiles(a *config.Appliance) *Finding {
	if err := a.CheckTLS(); err != nil {
		return new(fail(Certificate, "correct the file, or its name under tls_config", "%v", err))
	}
	return nil
}

func passwordFile(a *config.Appliance) *Finding {
	if _, err := a.Password(); err != nil {
		return new(fail(Login, "correct the file, or its name under password_file", "no password to log in with: %v", err))
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Options are what Appliances may be told.
type Options struct {
	// Now is the clock that the appliances' and their certificates are compared
	// with. Nil: time.Now.
	Now func() time.Time
	// UserAgent is sent with every request.
	UserAgent string
}

// Appliances tries all appliances at once. The findings are in the order of the
// configuration. An end of ctx is an error.
func Appliances(ctx context.Context, cfg *config.Config, o Options) ([]Finding, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	found := make([][]Finding, len(cfg.Appliances))
	var wg sync.WaitGroup
	for i := range cfg.Appliances {
		a := &cfg.Appliances[i]
		wg.Go(func() {
			found[i] = appliance(ctx, a, &o)
			for j := range found[i] {
				found[i][j].Appliance = a.Name
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("check the appliances: %w", err)
	}
	var all []Finding
	for _, f := range found {
		all = append(all, f...)
	}
	return all, nil
}

// prober tries one appliance, one request after the other.
type prober struct {
	a      *config.Appliance
	o      *Options
	wire   *wire
	client *vbaws.Client
}

// logoutTimeout is how long an appliance may take to take its token back.
const logoutTimeout = 5 * time.Second

// appliance tries an appliance as far as it gets.
func appliance(ctx context.Context, a *config.Appliance, o *Options) []Finding {
	if f := tlsFiles(a); f != nil {
		return []Finding{*f} // no request would go anywhere
	}
	transport := a.Transport()
	defer (&http.Client{Transport: transport}).CloseIdleConnections()
	p := &prober{a: a, o: o, wire: &wire{next: transport}}
	var err error
	p.client, err = vbaws.New(vbaws.Config{
		URL: a.URL, Username: a.Username, Password: a.Password, APIVersion: a.APIVersion,
		Transport: p.wire, Now: o.Now, UserAgent: o.UserAgent,
	})
	if err != nil {
		return []Finding{fail(Configuration, "correct the entry of this appliance", "%v", err)}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
		defer cancel()
		// A token that can't be given back expires by itself.
		_ = p.client.Logout(ctx)
	}()

	var findings []Finding
	for _, probe := range []func(context.Context) []Finding{p.connection, p.login, p.rights, p.list} {
		found := probe(ctx)
		findings = append(findings, found...)
		if len(Failed(found)) > 0 {
			break
		}
	}
	return findings
}

// limit bounds one call as a poll of the exporter would.
func (p *prober) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, p.a.PollTimeout)
}

// sessions asks for a page of sessions.
func (p *prober) sessions(ctx context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	ctx, cancel := p.limit(ctx)
	defer cancel()
	return p.client.Sessions(ctx, q)
}

// address is where the URL leads, port included.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
		return u.Host
	case u.Scheme == "http":
		return u.Host + ":80"
	}
	return u.Host + ":443"
}
