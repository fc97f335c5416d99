package check

import (
	"cmp"
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
	_, err := p.sessions(ctx, vbaws.SessionsQuery{Limit: 1})
	if bad := p.notLoggedIn(err); bad != nil {
		return []Finding{*bad}
	}
	findings := []Finding{ok(Login, "logged in as %q", p.a.Username)}
	if none, ok := errors.AsType[*vbaws.VersionError](err); ok {
		return append(findings, p.noVersion(none))
	}
	start := p.now()
	shown, err := ask(ctx, p, p.client.SystemTime)
	end := p.now()
	if bad := p.notLoggedIn(err); bad != nil {
		return []Finding{*bad}
	}
	date, _ := http.ParseTime(p.wire.header.Get("Date")) // zero without one
	return append(findings, p.revision(), clock(shown, date, start.Add(end.Sub(start)/2), err))
}

// notLoggedIn explains why there is no token. It returns nil if there is one.
func (p *prober) notLoggedIn(err error) *Finding {
	api, isAnswer := errors.AsType[*vbaws.APIError](err)
	none, isVersion := errors.AsType[*vbaws.VersionError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, vbaws.ErrMFA):
		return new(fail(Login, "create an account without multi-factor authentication for the exporter",
			"%q uses multi-factor authentication and cannot log in unattended", p.a.Username))
	case vbaws.KindOf(err) == vbaws.KindAuth && p.wire.loggedIn:
		return new(fail(Login, "check whether something else logs the account out, and the clock of the appliance", "logged in, but the appliance rejects the token: %v", err))
	case p.wire.loggedIn:
		return nil
	case isVersion:
		return new(p.noVersion(none))
	case vbaws.KindOf(err) == vbaws.KindAuth && isAnswer:
		return new(fail(Login, "correct username and password (or password_file); check whether the account is locked or disabled: each attempt can count against it",
			"the appliance rejects the login of %q with HTTP status %d%s", p.a.Username, api.StatusCode, in(api.Code)))
	case vbaws.KindOf(err) == vbaws.KindConfig:
		return new(noPassword(err))
	case isAnswer && api.StatusCode == http.StatusNotFound:
		return new(fail(Login, portAdvice(p.a.URL), "there is no login at this URL; it is another API: %v", err))
	case vbaws.KindOf(err) == vbaws.KindDecode:
		return new(fail(Login, portAdvice(p.a.URL), "cannot log in: %v", err))
	}
	return new(fail(Login, "", "cannot log in: %v", err))
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
	compare := func(source string, t time.Time) {
		if !t.IsZero() {
			d := t.Sub(now).Round(time.Second)
			off = off || d.Abs() >= skewed
			texts = append(texts, ahead(d)+" ("+source+")")
		}
	}
	compare("Date header", date)
	compare("/system/time", shown)
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
	// must means that a poll fails if the endpoint fails with another status than 403.
	must bool
	// wanted means that the configuration asks for the endpoint: an API version that lacks
	// it is reported, too.
	wanted bool
	// forbidden is what to do if the account is not allowed to read it, and remedy if it
	// can't be read for another reason.
	remedy, forbidden string
	// ask queries the endpoint. A string that it returns is shown with the endpoint.
	ask func(context.Context) (any, error)
}

// errNotAsked means that the endpoint is not queried, because there is nothing to query.
var errNotAsked = errors.New("not asked")

// rights queries each endpoint that the exporter reads, the list of sessions first.
func (p *prober) rights(ctx context.Context) []Finding {
	page, err := p.sessions(ctx, vbaws.SessionsQuery{Limit: 1})
	switch {
	case vbaws.HasStatus(err, http.StatusForbidden):
		return []Finding{fail(Rights, "give the account a role that can read sessions",
			"%s is forbidden for %q: without sessions there is nothing to count", vbaws.RouteSessions, p.a.Username)}
	case err != nil:
		return []Finding{fail(Rights, "", "cannot read %s: %v", vbaws.RouteSessions, err)}
	}
	session := "" // the id of one
	if len(page.Rows) > 0 {
		session = page.Rows[0].ID
	}
	all := []right{
		{path: vbaws.RouteSession, without: "the end of a running session that is no longer listed (it stays in vbaws_sessions_running)", must: true, ask: func(ctx context.Context) (any, error) {
			if session == "" {
				return nil, errNotAsked
			}
			_, _, err := p.client.Session(ctx, session)
			if vbaws.NotFound(err) {
				session, err = "", nil
			}
			return nil, err
		}},
		{path: vbaws.RouteSessionLog, without: "the errors of failed sessions, in the log and on the status page", ask: func(ctx context.Context) (any, error) {
			if session == "" {
				return nil, errNotAsked
			}
			return p.client.SessionLog(ctx, session)
		}},
		{path: vbaws.RouteSummary, without: "the counts of instances, policies, repositories and alarms (vbaws_instances and others)",
			ask: func(ctx context.Context) (any, error) { return p.client.Summary(ctx) }},
		{path: vbaws.RouteLicense, without: "the license and its expiry (vbaws_license_…)",
			ask: func(ctx context.Context) (any, error) { return p.client.License(ctx) }},
		{path: vbaws.RouteRepositories, without: "the repositories (vbaws_repository_info)",
			ask: func(ctx context.Context) (any, error) { return p.client.Repositories(ctx, 0, 1) }},
		{path: vbaws.RouteVersion, without: "the product's version (a label of vbaws_appliance_info)",
			ask: func(ctx context.Context) (any, error) { return p.client.Version(ctx) }},
	}
	listed := policies{workloads: make(map[string][]string)}
	byPolicy := !vbaws.NamesSessions(p.client.APIVersion())
	for _, w := range p.client.Workloads() {
		without := "whether " + w.Name + " policies are enabled, when they are due and when they last succeeded (vbaws_policy_…)"
		if byPolicy {
			without += ", and the names of policies on all sessions"
		}
		all = append(all, right{path: w.Path, without: without, must: byPolicy && !w.Single,
			ask: func(context.Context) (any, error) { // each page has its own timeout, as in a poll
				return nil, listed.read(w, &p.pages, func(offset, limit int) (*vbaws.PoliciesPage, error) {
					return ask(ctx, p, func(ctx context.Context) (*vbaws.PoliciesPage, error) {
						return p.client.Policies(ctx, w, offset, limit)
					})
				})
			}})
	}
	var known instances
	if p.a.Instances {
		all = append(all, known.rights(p.client, &p.pages)...)
	}

	may := []string{vbaws.RouteSessions}
	var absent []string
	var findings []Finding
	for _, r := range all {
		answer, err := ask(ctx, p, r.ask)
		what, _ := answer.(string)
		switch {
		case errors.Is(err, errNotAsked):
		case err == nil && what != "":
			may = append(may, r.path+" ("+what+")")
		case err == nil:
			may = append(may, r.path)
		case vbaws.NotOffered(err) && !r.must && !r.wanted:
			absent = append(absent, r.path)
		default:
			findings = append(findings, p.lacking(&r, err))
		}
	}
	if known.list != nil {
		findings = append(findings, known.finding(p.a.MaxInstances))
	}
	findings = append(findings, p.timeZone(ctx))
	findings = append(findings, listed.findings()...)
	if len(absent) > 0 {
		findings = slices.Insert(findings, 0, ok(Rights, "not offered in API version %s: %s", p.client.APIVersion(), below(absent)))
	}
	return slices.Insert(findings, 0, ok(Rights, "can read %s", below(may)))
}

// below lists endpoints without their common prefix.
func below(endpoints []string) string {
	short := make([]string, len(endpoints))
	for i, e := range endpoints {
		short[i] = strings.TrimPrefix(e, "/api/v1/")
	}
	return strings.Join(short, ", ")
}

// lacking reports an endpoint that can't be read.
func (p *prober) lacking(r *right, err error) Finding {
	switch {
	case vbaws.HasStatus(err, http.StatusForbidden):
		return warn(Rights, cmp.Or(r.forbidden, "give the account a role with that right, or accept that this is missing"),
			"%s is forbidden for %q; missing: %s", r.path, p.a.Username, r.without)
	case r.must:
		return fail(Rights, "check what answers there, such as a proxy: API version "+p.client.APIVersion()+" has that route",
			"cannot read %s, and polls that need it fail: %v", r.path, err)
	}
	return warn(Rights, r.remedy, "cannot read %s; missing: %s: %v", r.path, r.without, err)
}

// timeZone reads the time zone of the schedules.
func (p *prober) timeZone(ctx context.Context) Finding {
	r := right{
		path: vbaws.RouteDateTime, without: "the due times of policies (vbaws_policy_next_due_timestamp_seconds and others)",
		remedy: "set timezone to that of the appliance", forbidden: "set timezone to that of the appliance, or give the account a role with that right",
	}
	zone, err := ask(ctx, p, p.client.TimeZone)
	switch {
	case err != nil && p.a.TimeZone != nil:
		return ok(Rights, "cannot read %s (%v); timezone is used instead: %s", r.path, err, p.a.TimeZone)
	case err != nil:
		return p.lacking(&r, err)
	}
	if _, err := schedule.Location(zone); err == nil {
		return ok(Rights, "the appliance's time zone is %s", zone)
	}
	if p.a.TimeZone != nil {
		return ok(Rights, "the appliance's time zone %q is unknown; timezone is used instead: %s", zone, p.a.TimeZone)
	}
	return warn(Rights, "set timezone to its IANA name", "the appliance's time zone %q is unknown; missing: %s", zone, r.without)
}
