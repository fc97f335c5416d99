package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/schedule"
	"vbaws_exporter/vbaws"
)

// login logs in and reads one session. Every API version has that route, so its answer
// decides the version. Then it reads the clock of the appliance.
func (p *prober) login(ctx context.Context) []Finding {
	ctx, cancel := p.limit(ctx)
	defer cancel()
	_, err := p.client.Sessions(ctx, vbaws.SessionsQuery{Limit: 1})
	if bad := p.notLoggedIn(err); bad != nil {
		return []Finding{*bad}
	}
	findings := []Finding{ok(Login, "logged in as %q", p.a.Username)}
	if none, ok := errors.AsType[*vbaws.VersionError](err); ok {
		return append(findings, p.noVersion(none))
	}
	start := p.o.Now()
	shown, err := p.client.SystemTime(ctx)
	end := p.o.Now()
	if bad := p.notLoggedIn(err); bad != nil {
		return []Finding{*bad}
	}
	date, dateErr := http.ParseTime(p.wire.header.Get("Date"))
	if dateErr != nil {
		date = time.Time{}
	}
	return append(findings, p.revision(), clock(shown, date, start.Add(end.Sub(start)/2), err))
}

// notLoggedIn explains why there is no token. It returns nil if there is one.
func (p *prober) notLoggedIn(err error) *Finding {
	var f Finding
	api, isAnswer := errors.AsType[*vbaws.APIError](err)
	none, isVersion := errors.AsType[*vbaws.VersionError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, vbaws.ErrMFA):
		f = fail(Login, "create an account without multi-factor authentication for the exporter",
			"%q uses multi-factor authentication and cannot log in unattended", p.a.Username)
	case vbaws.KindOf(err) == vbaws.KindAuth && p.wire.loggedIn:
		f = fail(Login, "check whether something else logs the account out, and the clock of the appliance", "logged in, but the appliance rejects the token: %v", err)
	case p.wire.loggedIn:
		return nil
	case isVersion:
		f = p.noVersion(none)
	case vbaws.KindOf(err) == vbaws.KindAuth && isAnswer:
		f = fail(Login, "correct username and password (or password_file); check whether the account is locked or disabled: each attempt can count against it",
			"the appliance rejects the login of %q with HTTP status %d%s", p.a.Username, api.StatusCode, in(api.Code))
	case vbaws.KindOf(err) == vbaws.KindConfig:
		f = fail(Login, "correct password_file or the file it names", "cannot read the password: %v", err)
	case isAnswer && api.StatusCode == http.StatusNotFound:
		f = fail(Login, portAdvice(p.a.URL), "there is no login at this URL; it is another API: %v", err)
	case vbaws.KindOf(err) == vbaws.KindDecode:
		f = fail(Login, portAdvice(p.a.URL), "cannot log in: %v", err)
	default:
		f = fail(Login, "", "cannot log in: %v", err)
	}
	return &f
}

func in(code string) string {
	if code == "" {
		return ""
	}
	return " (" + code + ")"
}

// noVersion explains why no API version could be negotiated.
func (p *prober) noVersion(e *vbaws.VersionError) Finding {
	where, tried := address(p.a.URL), strings.Join(e.Tried, ", ")
	do := "install a newer version of this exporter, or set api_version to a version that the appliance's documentation names"
	if e.Configured {
		do = "set api_version to auto, or to a version that the appliance accepts"
	}
	switch {
	case e.WebUI:
		return fail(Connection, portAdvice(p.a.URL),
			"%s is the appliance's web UI, not the REST API: it has /api/oauth2/token, and answers a login with each API version with HTTP status 404 and an empty body; tried: %s", where, tried)
	case e.Empty:
		return fail(Connection, portAdvice(p.a.URL)+". If they are correct: "+do,
			"wrong port or path, or no API version in common: %s answers each API version with HTTP status 404 and an empty body; tried: %s", where, tried)
	}
	lists := ""
	if len(e.Listed) > 0 {
		lists = "; the appliance lists " + strings.Join(e.Listed, ", ")
	}
	return fail(APIVersion, do, "no API version in common; tried: %s%s: %v", tried, lists, e.Err)
}

// revision reports the API version in use.
func (p *prober) revision() Finding {
	v := p.client.APIVersion()
	text := v
	switch refused := p.wire.revisions[:len(p.wire.revisions)-1]; {
	case p.a.APIVersion != "":
		text += ", as api_version says"
	case len(refused) > 0:
		text += ", after the appliance refused " + strings.Join(refused, ", ")
	}
	if !vbaws.NamesSessions(v) {
		text += "; its sessions have no name, so the exporter lists the sessions of each policy"
	}
	if known := vbaws.KnownAPIVersions(); !slices.Contains(known, v) {
		return warn(APIVersion, "install a newer version of this exporter, if there is one",
			"%s; newer than the versions this exporter knows, up to %s, and treated like that one", text, known[0])
	}
	return ok(APIVersion, "%s", text)
}

// skewed is the clock offset that matters to alerts.
const skewed = time.Minute

// clock compares the appliance's clock, read from /system/time and the Date header,
// with now. Either can be zero; err is the reason for the first.
func clock(shown, date, now time.Time, err error) Finding {
	const do = "synchronize the clocks of the appliance and of this machine (NTP)"
	var texts []string
	off := false
	for _, source := range []struct {
		name string
		t    time.Time
	}{{"Date header", date}, {"/system/time", shown}} {
		if source.t.IsZero() {
			continue
		}
		d := source.t.Sub(now).Round(time.Second)
		off = off || d.Abs() >= skewed
		texts = append(texts, ahead(d)+" ("+source.name+")")
	}
	if err != nil {
		texts = append(texts, fmt.Sprintf("/system/time cannot be read: %v", err))
	}
	text := "the appliance's clock is " + strings.Join(texts, ", ")
	switch {
	case off:
		return warn(Clock, do, "%s: timestamps that alerts compare with time() are off by as much", text)
	case date.IsZero() && shown.IsZero():
		return warn(Clock, "", "the time of the appliance is not available: %v", err)
	}
	return ok(Clock, "%s", text)
}

func ahead(d time.Duration) string {
	switch {
	case d.Abs() <= time.Second: // Date is in whole seconds.
		return "in sync"
	case d > 0:
		return d.String() + " ahead"
	}
	return (-d).String() + " behind"
}

// right is an endpoint, and what is missing without it.
type right struct {
	path, without string
	// must says that a poll fails if the endpoint fails with anything but a 403.
	must bool
	ask  func(context.Context) (what string, err error)
}

// errNotAsked says that there is no session to query.
var errNotAsked = errors.New("not asked")

// rights queries each endpoint that the exporter reads, the list of sessions first.
func (p *prober) rights(ctx context.Context) []Finding {
	session := "" // the id of one
	all := []right{
		{vbaws.RouteSessions, "everything", true, func(ctx context.Context) (string, error) {
			page, err := p.client.Sessions(ctx, vbaws.SessionsQuery{Limit: 1})
			if err == nil && len(page.Rows) > 0 {
				session = page.Rows[0].ID
			}
			return "", err
		}},
		{vbaws.RouteSession, "the end of a running session that is no longer listed (it stays in vbaws_sessions_running)", true, func(ctx context.Context) (string, error) {
			if session == "" {
				return "", errNotAsked
			}
			_, _, err := p.client.Session(ctx, session)
			if vbaws.NotFound(err) {
				session, err = "", nil
			}
			return "", err
		}},
		{vbaws.RouteSessionLog, "the errors of failed sessions, in the log and on the status page", false, func(ctx context.Context) (string, error) {
			if session == "" {
				return "", errNotAsked
			}
			_, err := p.client.SessionLog(ctx, session)
			return "", err
		}},
		{vbaws.RouteSummary, "the counts of instances, policies, repositories and alarms (vbaws_instances and others)", false, func(ctx context.Context) (string, error) {
			_, err := p.client.Summary(ctx)
			return "", err
		}},
		{vbaws.RouteLicense, "the license and its expiry (vbaws_license_…)", false, func(ctx context.Context) (string, error) {
			_, err := p.client.License(ctx)
			return "", err
		}},
		{vbaws.RouteRepositories, "the repositories (vbaws_repository_info)", false, func(ctx context.Context) (string, error) {
			_, err := p.client.Repositories(ctx, 0, 1)
			return "", err
		}},
		{vbaws.RouteVersion, "the product's version (a label of vbaws_appliance_info)", false, p.client.Version},
	}
	policies := listing{workloads: make(map[string]map[string]string)}
	for _, w := range p.client.Workloads() {
		must := !vbaws.NamesSessions(p.client.APIVersion()) && !w.Single
		all = append(all, right{w.Path, p.withoutPolicies(w), must, func(ctx context.Context) (string, error) {
			return "", policies.read(ctx, p.client, w)
		}})
	}

	var may, absent []string
	var findings []Finding
	for i, r := range all {
		what, err := p.ask(ctx, r)
		switch {
		case err == nil:
			if what != "" {
				what = " (" + what + ")"
			}
			may = append(may, r.path+what)
			continue
		case errors.Is(err, errNotAsked):
			continue
		case i == 0 && vbaws.HasStatus(err, http.StatusForbidden):
			return append(findings, fail(Rights, "give the account a role that can read sessions",
				"%s is forbidden for %q: without sessions there is nothing to count", r.path, p.a.Username))
		case i == 0:
			return append(findings, fail(Rights, "", "cannot read %s: %v", r.path, err))
		case vbaws.NotOffered(err) && !r.must:
			absent = append(absent, r.path)
			continue
		}
		findings = append(findings, p.lacking(r, err))
	}
	instances, found := p.instances(ctx)
	may, findings = append(may, instances...), append(findings, found...)
	findings = append(findings, p.timeZone(ctx))
	findings = append(findings, policies.findings()...)
	if len(absent) > 0 {
		findings = append([]Finding{ok(Rights, "not offered in API version %s: %s", p.client.APIVersion(), below(absent))}, findings...)
	}
	return append([]Finding{ok(Rights, "can read %s", below(may))}, findings...)
}

// below lists endpoints without their common prefix.
func below(endpoints []string) string {
	short := make([]string, len(endpoints))
	for i, e := range endpoints {
		short[i] = strings.TrimPrefix(e, "/api/v1/")
	}
	return strings.Join(short, ", ")
}

func (p *prober) ask(ctx context.Context, r right) (string, error) {
	ctx, cancel := p.limit(ctx)
	defer cancel()
	return r.ask(ctx)
}

func (p *prober) withoutPolicies(w vbaws.Workload) string {
	s := "whether " + w.Name + " policies are enabled, when they are due and when they last succeeded (vbaws_policy_…)"
	if !vbaws.NamesSessions(p.client.APIVersion()) {
		s += ", and the names of policies on all sessions"
	}
	return s
}

// lacking reports an endpoint that can't be read.
func (p *prober) lacking(r right, err error) Finding {
	switch {
	case vbaws.HasStatus(err, http.StatusForbidden):
		return warn(Rights, "give the account a role with that right, or accept that this is missing",
			"%s is forbidden for %q; missing: %s", r.path, p.a.Username, r.without)
	case r.must:
		return fail(Rights, "check what answers there, such as a proxy: API version "+p.client.APIVersion()+" has that route",
			"cannot read %s, and polls that need it fail: %v", r.path, err)
	}
	return warn(Rights, "", "cannot read %s; missing: %s: %v", r.path, r.without, err)
}

// timeZone reads the time zone of the schedules.
func (p *prober) timeZone(ctx context.Context) Finding {
	const path = vbaws.RouteDateTime
	const without = "the due times of policies (vbaws_policy_next_due_timestamp_seconds and others)"
	var zone string
	_, err := p.ask(ctx, right{ask: func(ctx context.Context) (_ string, err error) {
		zone, err = p.client.TimeZone(ctx)
		return "", err
	}})
	if err != nil {
		switch {
		case p.a.TimeZone != nil:
			return ok(Rights, "cannot read %s (%v); timezone is used instead: %s", path, err, p.a.TimeZone)
		case vbaws.HasStatus(err, http.StatusForbidden):
			return warn(Rights, "set timezone to that of the appliance, or give the account a role with that right",
				"%s is forbidden for %q; missing: %s", path, p.a.Username, without)
		}
		return warn(Rights, "set timezone to that of the appliance", "cannot read %s; missing: %s: %v", path, without, err)
	}
	if _, err := schedule.Location(zone); err != nil {
		if p.a.TimeZone != nil {
			return ok(Rights, "the appliance's time zone %q is unknown; timezone is used instead: %s", zone, p.a.TimeZone)
		}
		return warn(Rights, "set timezone to its IANA name", "the appliance's time zone %q is unknown; missing: %s", zone, without)
	}
	return ok(Rights, "the appliance's time zone is %s", zone)
}
