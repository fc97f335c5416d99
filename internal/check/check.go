// Package check tries the appliances of a configuration and explains the findings.
//
// It examines the way to an appliance (names, ports, certificates, proxies, accounts,
// rights, API versions, clocks) and the undocumented behaviour of the API. For each problem
// it names the configuration key that solves it. It doesn't depend on how sessions are
// counted.
//
// It only reads: it sends GET, and POST and DELETE to /api/v1/token. It sends the
// password only over connections that the exporter itself would use, and only to a
// server that looks like the API.
package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"vbaws_exporter/collector/listing"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/vbaws"
)

// Level is the severity of a finding.
type Level string

// The levels. An appliance with nothing worse than Warn can be monitored.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// The checks.
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

// Finding is the result of one check.
type Finding struct {
	// Appliance is its name, empty if the finding is of the configuration file.
	Appliance string `json:"appliance"`
	// Check is one of the constants.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// Message describes the finding.
	Message string `json:"message"`
	// Remedy is what to do about it; empty if there is nothing to do.
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

// File validates the configuration file at path. It uses no network and reads none of
// the files that the configuration names. The Config is nil if the file is invalid.
func File(path string) (*config.Config, []Finding) {
	cfg, err := config.Load(path)
	if err == nil {
		n := len(cfg.Appliances)
		return cfg, []Finding{ok(Configuration, "%s is valid: %d %s", path, n, plural(n, "appliance", "appliances"))}
	}
	mistakes, isList := errors.AsType[config.Errors](err)
	if !isList {
		return nil, []Finding{unreadable(err)}
	}
	var findings []Finding
	for _, m := range mistakes {
		findings = append(findings, fail(Configuration, "", "%v", m))
	}
	return nil, findings
}

func unreadable(err error) Finding {
	remedy := "name the file with --config.file"
	if errors.Is(err, fs.ErrPermission) {
		remedy = "allow the user that runs the exporter to read the file"
	}
	return fail(Configuration, remedy, "%v", err)
}

// LocalFiles validates the files that the configuration names, and the inline
// certificates and keys. It uses no network. The findings are failures, in the order of
// the configuration.
func LocalFiles(cfg *config.Config) []Finding {
	var findings []Finding
	for i := range cfg.Appliances {
		a := &cfg.Appliances[i]
		found := tlsFiles(a)
		if _, err := a.Password(); err != nil {
			found = append(found, noPassword(err))
		}
		findings = append(findings, of(a, found)...)
	}
	return findings
}

// of sets the appliance of findings.
func of(a *config.Appliance, findings []Finding) []Finding {
	for i := range findings {
		findings[i].Appliance = a.Name
	}
	return findings
}

func tlsFiles(a *config.Appliance) []Finding {
	if err := a.CheckTLS(); err != nil {
		return []Finding{fail(Certificate, "correct tls_config or the file it names", "%v", err)}
	}
	return nil
}

func noPassword(err error) Finding {
	return fail(Login, "correct password_file or the file it names", "cannot read the password: %v", err)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Appliances tries all appliances concurrently. The findings are in the order of the
// configuration. now is the clock that the appliances' and their certificates are
// compared with. It returns an error if ctx ends.
func Appliances(ctx context.Context, cfg *config.Config, now func() time.Time) ([]Finding, error) {
	found := make([][]Finding, len(cfg.Appliances))
	var wg sync.WaitGroup
	for i := range cfg.Appliances {
		a := &cfg.Appliances[i]
		wg.Go(func() { found[i] = of(a, appliance(ctx, a, now)) })
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("check the appliances: %w", err)
	}
	return slices.Concat(found...), nil
}

// prober tries one appliance, one request at a time.
type prober struct {
	a      *config.Appliance
	now    func() time.Time
	wire   *wire
	client *vbaws.Client
	pages  listing.PageSize
}

// logoutTimeout is the timeout of the logout.
const logoutTimeout = 5 * time.Second

// appliance tries an appliance up to the first failure.
func appliance(ctx context.Context, a *config.Appliance, now func() time.Time) []Finding {
	if findings := tlsFiles(a); findings != nil {
		return findings // every request would fail
	}
	transport := a.Transport()
	defer (&http.Client{Transport: transport}).CloseIdleConnections()
	p := &prober{a: a, now: now, wire: &wire{next: transport}}
	var err error
	p.client, err = a.Client(vbaws.Config{Transport: p.wire, Now: now})
	if err != nil {
		return []Finding{fail(Configuration, "correct the entry of this appliance", "%v", err)}
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
		defer cancel()
		// A token that can't be revoked expires by itself.
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

// ask makes one call, bounded by poll_timeout.
func ask[T any](ctx context.Context, p *prober, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, p.a.PollTimeout)
	defer cancel()
	return call(ctx)
}

// sessions reads a page of sessions.
func (p *prober) sessions(ctx context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	return ask(ctx, p, func(ctx context.Context) (page *vbaws.SessionsPage, err error) {
		err = p.pages.Ask(q.Limit, func(limit int) error {
			q.Limit = limit
			page, err = p.client.Sessions(ctx, q)
			return err
		})
		return page, err
	})
}

// address is the host and port of the URL.
func address(u *url.URL) string {
	if u.Port() != "" {
		return u.Host
	}
	return u.Host + map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
}
