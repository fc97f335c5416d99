package vbawstest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// request is one request on its way through the appliance.
type request struct {
	http *http.Request
	cfg  *Config
	base string // the appliance's URL without a path
	path string
	id   string // the value of {id} in the route
	// version is the API version asked for, 1.minor.
	version string
	minor   int
	body    []byte
	params  params
	user    User
	token   token
	number  uint64
}

// invalid returns the answer to a request whose query is wrong, or nil.
func (q *request) invalid() *answer {
	if len(q.params.wrong) == 0 {
		return nil
	}
	return invalidContent.answer(q.base, strings.Join(q.params.wrong, "; "))
}

func (q *request) self() []link { return []link{{"GET", "self", q.base + q.path}} }

// route is an operation of the API.
type route struct {
	method, template string
	from, to         int // API versions 1.from to 1.to
	open             bool
	roles            []string // empty: any
	serve            func(a *Appliance, q *request) *answer
}

var routes = append([]route{
	{method: http.MethodPost, template: "/api/v1/token", to: newestMinor, open: true, serve: (*Appliance).postToken},
	{method: http.MethodDelete, template: "/api/v1/token", to: newestMinor, serve: (*Appliance).deleteToken},
	get("/api/v1/sessions", (*Appliance).listSessions),
	get("/api/v1/sessions/{id}", (*Appliance).oneSession),
	get("/api/v1/sessions/{id}/log", (*Appliance).sessionLog),
	get("/api/v1/statistics/summary", (*Appliance).statistics),
	get("/api/v1/system/time", (*Appliance).systemTime),
	get("/api/v1/system/version", (*Appliance).systemVersion, RoleAdministrator),
	get("/api/v1/settings/dateTime", (*Appliance).dateTime, RoleAdministrator),
	get("/api/v1/licensing/license", (*Appliance).license, RoleAdministrator),
	get("/api/v1/repositories", (*Appliance).listRepositories, RoleAdministrator, RoleOperator),
	get("/api/v1/licensing/licensedWorkloads", (*Appliance).listLicensedWorkloads, RoleAdministrator),
	get("/api/v1/virtualMachines", (*Appliance).listInstances, RoleAdministrator, RoleOperator),
	get("/api/v1/vmRestorePoints", (*Appliance).listRestorePoints).between(0, 1),
	get("/api/v1/virtualMachines/restorePoints", (*Appliance).listRestorePoints).between(2, newestMinor),
}, policyOperations()...)

// between returns the route for API versions 1.from to 1.to.
func (r route) between(from, to int) route {
	r.from, r.to = from, to
	return r
}

func get(template string, serve func(*Appliance, *request) *answer, roles ...string) route {
	return route{method: http.MethodGet, template: template, to: newestMinor, roles: roles, serve: serve}
}

func policyOperations() []route {
	var out []route
	for _, p := range policyRoutes {
		one := get(p.path, func(a *Appliance, q *request) *answer { return a.onePolicy(q, p.workload, q.id) }).between(p.from, p.to)
		if !p.single {
			out = append(out, get(p.path, func(a *Appliance, q *request) *answer { return a.listPolicies(q, p.workload) }).between(p.from, p.to))
			one.template += "/{id}"
		}
		out = append(out, one)
	}
	return out
}

// match returns the operations of a path and the value of {id}.
func match(path string) (found []route, id string) {
	for _, r := range routes {
		prefix, suffix, variable := strings.Cut(r.template, "{id}")
		if !variable {
			if path == r.template {
				found = append(found, r)
			}
			continue
		}
		rest, hasPrefix := strings.CutPrefix(path, prefix)
		middle, hasSuffix := strings.CutSuffix(rest, suffix)
		// The route accepts UUIDs, and any ids of raw rows.
		if hasPrefix && hasSuffix && middle != "" && !strings.Contains(middle, "/") {
			found, id = append(found, r), middle
		}
	}
	if isUUID(id) {
		id = strings.ToLower(id)
	}
	return found, id
}

// maxBody is the longest body of a request that is read.
const maxBody = 1 << 20

// ServeHTTP answers a request of the API.
func (a *Appliance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	a.mu.Lock()
	hook := a.onRequest
	a.mu.Unlock()
	if hook != nil {
		hook(r)
	}
	found, id := match(r.URL.Path)
	template := ""
	if len(found) > 0 {
		template = found[0].template
	}

	a.mu.Lock()
	a.served++
	q := &request{http: r, base: "http://" + r.Host, path: r.URL.Path, id: id, body: body, number: a.served}
	if r.TLS != nil {
		q.base = "https://" + r.Host
	}
	cfg := a.cfg
	q.cfg = &cfg
	a.table.settle(a.worldNow())
	fault := a.fault(r.Method, template)
	var ans *answer
	if fault != nil {
		ans = fault.answer(q.base)
	}
	if ans == nil {
		ans = a.answer(q, found)
	}
	if fault != nil && fault.Kind == FaultGrow {
		a.grow()
	}
	date := a.ownNow()
	done := Request{Method: r.Method, Route: template, Path: r.URL.Path, RawQuery: r.URL.RawQuery,
		Revision: r.Header.Get("x-api-version"), Status: ans.status, Bytes: len(ans.body)}
	if fault != nil && fault.Kind.silent() {
		done.Status, done.Bytes = 0, 0
	}
	a.requests = append(a.requests, done)
	a.violate(q, template)
	if cfg.Forgetful {
		a.requests, a.violations = newest(a.requests), newest(a.violations)
	}
	hook = a.afterPage
	a.mu.Unlock()

	if hook != nil && template == "/api/v1/sessions" && r.Method == http.MethodGet && ans.status == http.StatusOK {
		hook(r)
	}
	ans.header.Set("Date", date.UTC().Format(http.TimeFormat))
	if fault != nil {
		fault.write(w, r, ans)
		return
	}
	ans.write(w)
}

func (ans *answer) write(w http.ResponseWriter) {
	ans.announce(w)
	w.Write(ans.body) // an error means that the client is gone
}

// announce sends the header of an answer before the body.
func (ans *answer) announce(w http.ResponseWriter) {
	maps.Copy(w.Header(), ans.header)
	if ans.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.Itoa(len(ans.body)))
	}
	w.WriteHeader(ans.status)
}

// answer checks a request in the order of the appliance: path, method, API version, token,
// role, query.
func (a *Appliance) answer(q *request, found []route) *answer {
	r := q.http
	if strings.HasPrefix(r.URL.Path, "/api/v1/problems/") {
		return html(http.StatusOK, "<!DOCTYPE html><title>Problem</title><p>"+strings.TrimPrefix(r.URL.EscapedPath(), "/api/v1/problems/"))
	}
	if len(found) == 0 {
		return notFound.answer(q.base, "")
	}
	i := slices.IndexFunc(found, func(op route) bool { return op.method == r.Method })
	if i < 0 {
		ans := wrongMethod.answer(q.base, "")
		for _, op := range found {
			ans.header.Add("Allow", op.method)
		}
		return ans
	}
	op := found[i]
	if bad := a.negotiate(q); bad != nil {
		return bad
	}
	if q.minor < op.from || q.minor > op.to {
		return q.refuseRoute(op)
	}
	ans := a.serve(q, op)
	if q.cfg.Refusal == RefuseByCode {
		ans.header.Set("api-supported-versions", strings.Join(op.versions(q.cfg), ", "))
	}
	return ans
}

// serve answers a request in an accepted API version.
func (a *Appliance) serve(q *request, op route) *answer {
	r := q.http
	if !op.open {
		user, t, bad := a.authenticate(r)
		if bad != nil {
			ans := bad.answer(q.base, "")
			ans.header.Set("WWW-Authenticate", "Bearer")
			return ans
		}
		q.user, q.token = user, t
		if len(op.roles) > 0 && !slices.Contains(op.roles, user.Role) {
			return accessDenied.answer(q.base, "")
		}
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalidURI.answer(q.base, err.Error())
	}
	q.params = newParams(values)
	return op.serve(a, q)
}

// violate records what a monitor must not do.
func (a *Appliance) violate(q *request, template string) {
	r := q.http
	note := func(what string) {
		a.violations = append(a.violations, fmt.Sprintf("%s %s: %s", r.Method, r.URL.RequestURI(), what))
	}
	if r.Method != http.MethodGet && template != "/api/v1/token" {
		note("would change the appliance")
	}
	if q.params.Values != nil && template != "/api/v1/token" {
		for _, name := range q.params.unknown(r.URL.Query()) {
			note("unknown parameter " + name)
		}
	}
	if q.params.Has("password") || q.params.Has("access_token") {
		note("secret in the URL")
	}
}

// Violations returns what requests did that a monitor must not do: methods other than GET
// outside of /api/v1/token, unknown query parameters, which the appliance ignores, and
// secrets in the URL.
func (a *Appliance) Violations() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.violations)
}

// Request is one request that was answered.
type Request struct {
	Method string
	// Route is the template, with {id} for an id; empty if none matched.
	Route          string
	Path, RawQuery string
	// Revision is the header x-api-version.
	Revision string
	// Status is the HTTP status and Bytes the length of the whole body; both 0 if a fault
	// prevents the answer.
	Status, Bytes int
}

// newest removes the older half of a list that has become too long.
func newest[T any](list []T) []T {
	const enough = 1000
	if len(list) <= 2*enough {
		return list
	}
	return slices.Clone(list[len(list)-enough:])
}

// Query parses RawQuery. It returns nil if that is not a query.
func (r Request) Query() url.Values {
	v, err := url.ParseQuery(r.RawQuery)
	if err != nil {
		return nil
	}
	return v
}

// Requests returns all requests since the start or the last ResetRequests. A request
// is there before its answer is sent.
func (a *Appliance) Requests() []Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// ResetRequests forgets the requests so far.
func (a *Appliance) ResetRequests() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = nil
}

// OnRequest sets a function that is called before each request is handled; nil removes it.
// It can call the Appliance. Several requests can call it at once.
func (a *Appliance) OnRequest(f func(*http.Request)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.onRequest = f
}

// AfterPage sets a function that is called after a page of GET /api/v1/sessions was made and
// before it is sent; nil removes it. A change that it makes in the Appliance is therefore
// not in that page, and in the next one.
func (a *Appliance) AfterPage(f func(*http.Request)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.afterPage = f
}

func (a *Appliance) listSessions(q *request) *answer {
	sq := parseSessions(&q.params, q.cfg, q.minor)
	sq.processed = func(sessionID, vmID string) bool {
		return slices.ContainsFunc(a.items[sessionID], func(i Item) bool { return i.ID == vmID })
	}
	if bad := q.invalid(); bad != nil {
		return bad
	}
	if a.raw != nil {
		return ok(a.raw)
	}
	l := a.table.query(sq)
	total := l.len
	if q.cfg.TotalIsWhole {
		total = a.table.byUSN.Len()
	}
	var shuffle func(a, b *row) int
	if q.cfg.ShuffleTies || len(sq.order) == 0 {
		shuffle = shuffler(q.cfg.Seed ^ q.number*0x9e3779b97f4a7c15)
	}
	from, to := sq.bounds(l.len)
	page := l.page(from, to, shuffle)
	if a.breaks(sq, page) {
		return unknownError.answer(q.base, "")
	}
	// By hand: raw rows need not be JSON.
	body := fmt.Appendf(make([]byte, 0, 512+len(page)*1024), `{"totalCount":%d,"results":[`, total)
	for i, r := range page {
		if i > 0 {
			body = append(body, ',')
		}
		body = r.appendTo(body, q)
	}
	body = append(body, `],"_links":`...)
	body = append(body, mustMarshal(q.self())...)
	return ok(append(body, '}'))
}

// session returns the row that the request's path names.
func (a *Appliance) session(q *request) *row {
	if e := a.table.entries[q.id]; e != nil {
		return e.visible
	}
	return nil
}

// missingSession answers a request for a session that is not there.
func (q *request) missingSession() *answer {
	p := notFound
	switch q.cfg.MissingSession {
	case MissingOtherCode:
		p.code, p.page = "SessionNotFound", "sessionNotFound"
	case MissingNoCode:
		p.code = ""
	case MissingEmpty:
		return emptyNotFound()
	case MissingInvalid:
		p = invalidContent
	case MissingError:
		p = unknownError
	}
	return p.answer(q.base, "")
}

func (a *Appliance) oneSession(q *request) *answer {
	r := a.session(q)
	if r == nil {
		return q.missingSession()
	}
	if a.breaks(&sessionsQuery{}, []*row{r}) {
		return unknownError.answer(q.base, "")
	}
	return ok(r.appendTo(nil, q))
}

type logJSON struct {
	SessionID string        `json:"sessionId"`
	Log       []logItemJSON `json:"log"`
}

type logItemJSON struct {
	Time     string `json:"logTime"`
	Status   string `json:"status"`
	Message  string `json:"message"`
	Start    string `json:"executionStartTime,omitempty"`
	Duration int64  `json:"executionDuration"`
}

func (a *Appliance) sessionLog(q *request) *answer {
	r := a.session(q)
	if r == nil {
		return q.missingSession()
	}
	times := q.cfg.times(q.minor)
	out := logJSON{SessionID: r.ID, Log: []logItemJSON{}}
	for _, i := range a.log[r.ID] {
		item := logItemJSON{Time: times.format(i.Time), Status: i.Status, Message: i.Message, Duration: i.Duration.Milliseconds()}
		if !i.Start.IsZero() {
			item.Start = times.format(i.Start)
		}
		out.Log = append(out.Log, item)
	}
	return ok(mustMarshal(out))
}

// summaryNames are the counts of /statistics/summary.
var summaryNames = [5]string{"alarmsCount", "instancesCount", "protectedInstancesCount", "policiesCount", "repositoriesCount"}

func (a *Appliance) statistics(*request) *answer {
	out := make(map[string]any)
	for i, name := range summaryNames {
		now, before := a.summary.now[i], a.summary.before[i]
		trend := "NotChanged"
		if now > before {
			trend = "Increased"
		} else if now < before {
			trend = "Decreased"
		}
		out[name] = now
		out[name+"ChangesTrend"] = trend
	}
	return ok(mustMarshal(out))
}

func (a *Appliance) systemTime(q *request) *answer {
	return ok(mustMarshal(map[string]string{"utcDateTime": q.cfg.times(q.minor).format(a.ownNow())}))
}

func (a *Appliance) systemVersion(q *request) *answer {
	version := orElse(q.cfg.Version, fmt.Sprintf("%d.0.0.1", q.cfg.product()))
	return ok(mustMarshal(map[string]string{"about": "Veeam Backup for AWS", "version": version}))
}

func (a *Appliance) dateTime(q *request) *answer {
	name := orElse(q.cfg.ZoneName, q.cfg.zone().String())
	type zoneJSON struct {
		Name        string `json:"name"`
		DisplayName string `json:"displayName"`
	}
	return ok(mustMarshal(struct {
		Zone   zoneJSON `json:"timezone"`
		Custom bool     `json:"useCustomSettings"`
	}{zoneJSON{name, a.ownNow().In(q.cfg.zone()).Format("(UTC-07:00) ") + name}, q.cfg.Zone != nil}))
}

func (a *Appliance) license(q *request) *answer {
	l := License{Type: "Free", Instances: 10, Used: float64(min(q.cfg.Summary.ProtectedInstances, 10))}
	if q.cfg.License != nil {
		l = *q.cfg.License
	}
	out := struct {
		Type       string  `json:"licenseType"`
		Used       float64 `json:"instancesUses"`
		Instances  int     `json:"instances"`
		LicensedTo string  `json:"licensedTo"`
		Expires    string  `json:"licenseExpires,omitempty"`
		Links      []link  `json:"_links"`
	}{Type: l.Type, Used: l.Used, Instances: l.Instances, LicensedTo: l.LicensedTo, Links: q.self()}
	if !l.Expires.IsZero() {
		out.Expires = q.cfg.times(q.minor).format(l.Expires)
	}
	return ok(mustMarshal(out))
}

// listRepositories answers with the schema Repository of the API description of 1.0, in order
// of ids. Of the documented parameters, it implements Offset and Limit.
func (a *Appliance) listRepositories(q *request) *answer {
	win := q.params.window(q.cfg)
	if bad := q.invalid(); bad != nil {
		return bad
	}
	found := slices.SortedFunc(slices.Values(q.cfg.Repositories), func(x, y Repository) int { return strings.Compare(x.ID, y.ID) })
	from, to := win.bounds(len(found))
	results := []object{}
	for _, r := range found[from:to] {
		results = append(results, object{
			"id": r.ID, "name": r.Name, "description": r.Description, "amazonAccountId": a.accountID,
			"amazonStorageFolder": r.Folder, "enableEncryption": r.Encrypted,
			"_embedded": object{"bucket": r.Bucket, "region": r.Region},
			"_links":    []link{{"GET", "self", q.base + q.path + "/" + r.ID}},
		})
	}
	return ok(mustMarshal(object{"totalCount": len(found), "results": results, "_links": q.self()}))
}
