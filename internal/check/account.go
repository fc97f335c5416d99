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

// login logs in by asking for one session. That route is in every API version, so its
// answer settles the version. Then it asks for the appliance's clock.
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

// notLoggedIn explains why there is no token, and is nil where there is one.
func (p *prober) notLoggedIn(err error) *Finding {
	var f Finding
	api, isAnswer := errors.AsType[*vbaws.APIError](err)
	none, isVersion := errors.AsType[*vbaws.VersionError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, vbaws.ErrMFA):
		f = fail(Login, "make an account without multi-factor authentication for the exporter",
			"%q uses multi-factor authentication, so nothing unattended can log in with it", p.a.Username)
	case vbaws.KindOf(err) == vbaws.KindAuth && p.wire.loggedIn:
		f = fail(Login, "look whether something else logs the account out, and at the appliance's clock", "logged in, but the tokens are refused: %v", err)
	case p.wire.loggedIn:
		return nil
	case isVersion:
		f = p.noVersion(none)
	case vbaws.KindOf(err) == vbaws.KindAuth && isAnswer:
		f = fail(Login, "correct username and password (or password_file), and look whether the account is locked or disabled: each try may count against it",
			"the appliance refuses %q with HTTP status %d%s", p.a.Username, api.StatusCode, in(api.Code))
	case vbaws.KindOf(err) == vbaws.KindConfig:
		f = fail(Login, "correct the file, or its name under password_file", "no password to log in with: %v", err)
	case isAnswer && api.StatusCode == http.StatusNotFound:
		f = fail(Login, portAdvice(p.a.URL), "nothing to log in to: what answers there is another API: %v", err)
	case vbaws.KindOf(err) == vbaws.KindDecode:
		f = fail(Login, portAdvice(p.a.URL), "can't log in: %v", err)
	default:
		f = fail(Login, "", "can't log in: %v", err)
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
			"%s is the appliance's web UI, not the REST API: its private /api/oauth2/token answers, and a login in each API version is answered by HTTP status 404 with an empty body; tried: %s", where, tried)
	case e.Empty:
		return fail(Connection, portAdvice(p.a.URL)+"; correct the path if url has one. If all of them are right: "+do,
			"wrong port or path, or no API version in common: %s answers each API version by HTTP status 404 with an empty body; tried: %s", where, tried)
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
		text += "; its sessions carry no name, so their policies are found by asking for each policy's sessions"
	}
	if known := vbaws.KnownAPIVersions(); !slices.Contains(known, v) {
		return warn(APIVersion, "install a newer version of this exporter, if there is one",
			"%s; this exporter was made for versions up to %s, and reads this one as it reads that", text, known[0])
	}
	return ok(APIVersion, "%s", text)
}

// skewed is what makes a difference to alerts.
const skewed = time.Minute

// clock compares the appliance's clock, as /system/time and the header Date tell
// it, with ours. Either may be zero; err is why the first is.
func clock(shown, date, now time.Time, err error) Finding {
	const do = "have the appliance and this machine synchronize their clocks (NTP)"
	var texts []string
	off := false
	for _, source := range []struct {
		name string
		t    time.Time
	}{{"the header Date", date}, {"/system/time", shown}} {
		if source.t.IsZero() {
			continue
		}
		d := source.t.Sub(now).Round(time.Second)
		off = off || d.Abs() >= skewed
		texts = append(texts, ahead(d)+" by "+source.name)
	}
	if err != nil {
		texts = append(texts, fmt.Sprintf("/system/time can't be asked: %v", err))
	}
	text := "the appliance's clock is " + strings.Join(texts, ", ")
	switch {
	case off:
		return warn(Clock, do, "%s: what alerts compare with time() is off by as much", text)
	case date.IsZero() && shown.IsZero():
		return warn(Clock, "", "the appliance doesn't tell its time: %v", err)
	}
	return ok(Clock, "%s", text)
}

func ahead(d time.Duration) string {
	switch {
	case d.Abs() <= time.Second: // Date is in whole seconds.
		return "right"
	case d > 0:
		return d.String() + " ahead"
	}
	return (-d).String() + " behind"
}

// right is an endpoint, and what the exporter lacks without it.
type right struct {
	path, without string
	// must: a poll that asks for it fails where it can't be had. Only a 403 is
	// done without.
	must bool
	ask  func(context.Context) (what string, err error)
}

// errNotAsked: there is nothing to ask by.
var errNotAsked = errors.New("not asked")

// rights asks each endpoint of which the exporter takes something, the list of
// sessions first.
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
		{vbaws.RouteSession, "the end of a session that is in no list any more, which stays running (vbaws_sessions_running)", true, func(ctx context.Context) (string, error) {
			if session == "" {
				return "", errNotAsked
			}
			_, _, err := p.client.Session(ctx, session)
			if vbaws.NotFound(err) {
				session, err = "", nil
			}
			return "", err
		}},
		{vbaws.RouteSessionLog, "the reasons of failures, in the log and on the status page", false, func(ctx context.Context) (string, error) {
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
			return append(findings, fail(Rights, "give the account a role that may see sessions",
				"%s is forbidden to %q: without it there is nothing to count", r.path, p.a.Username))
		case i == 0:
			return append(findings, fail(Rights, "", "%s can't be read: %v", r.path, err))
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
	return append([]Finding{ok(Rights, "may read %s", below(may))}, findings...)
}

// below lists endpoints by what they have of their own.
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

// lacking is a part that does without, if it can.
func (p *prober) lacking(r right, err error) Finding {
	switch {
	case vbaws.HasStatus(err, http.StatusForbidden):
		return warn(Rights, "give the account a role with that right, or do without",
			"%s is forbidden to %q: without %s", r.path, p.a.Username, r.without)
	case r.must:
		return fail(Rights, "look what answers there, such as a proxy: API version "+p.client.APIVersion()+" has that route",
			"%s can't be read, and a poll that needs it fails: %v", r.path, err)
	}
	return warn(Rights, "", "%s can't be read, so for now without %s: %v", r.path, r.without, err)
}

// timeZone asks for the zone that schedules are in.
func (p *prober) timeZone(ctx context.Context) Finding {
	const path = vbaws.RouteDateTime
	const without = "when policies are due (vbaws_policy_last_due_timestamp_seconds)"
	var zone vbaws.TimeZone
	_, err := p.ask(ctx, right{ask: func(ctx context.Context) (_ string, err error) {
		zone, err = p.client.TimeZone(ctx)
		return "", err
	}})
	if err != nil {
		switch {
		case p.a.TimeZone != nil:
			return ok(Rights, "%s can't be read (%v), and timezone stands in for it: %s", path, err, p.a.TimeZone)
		case vbaws.HasStatus(err, http.StatusForbidden):
			return warn(Rights, "set timezone to the appliance's, or give the account a role with that right",
				"%s is forbidden to %q: without %s", path, p.a.Username, without)
		}
		return warn(Rights, "set timezone to the appliance's", "%s can't be read, so without %s: %v", path, without, err)
	}
	if _, err := schedule.Location(zone.Name); err != nil {
		if p.a.TimeZone != nil {
			return ok(Rights, "the appliance's time zone %q is not known here, and timezone stands in for it: %s", zone.Name, p.a.TimeZone)
		}
		return warn(Rights, "set timezone to the name that the IANA has for it", "the appliance's time zone %q is not known here: without %s", zone.Name, without)
	}
	return ok(Rights, "the appliance's time zone is %s", zone.Name)
}
