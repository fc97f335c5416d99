package vbawstest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// versions are the published API versions, oldest first. Sources: the vendor's REST
// references and changelogs of 1.0-rev0 to 1.8-rev0; for 1.9-rev0 a public script
// that runs against Veeam Plug-in for AWS 11.
var versions = []string{
	"1.0-rev0", "1.1-rev0", "1.1-rev1", "1.2-rev0", "1.3-rev0", "1.4-rev0", "1.5-rev0", "1.5-rev1",
	"1.6-rev0", "1.7-rev0", "1.7-rev1", "1.8-rev0", "1.9-rev0",
}

// windows holds, by major version of the product, the oldest and the newest API
// version that it accepts. The vendor documents the windows of 7 and 8 and the
// newest version of each product. The other lower ends are not documented: three
// minor versions, as with 7 and 8.
var windows = map[int][2]string{
	2:  {"1.0-rev0", "1.0-rev0"},
	3:  {"1.0-rev0", "1.1-rev1"},
	4:  {"1.0-rev0", "1.2-rev0"},
	5:  {"1.1-rev0", "1.3-rev0"},
	6:  {"1.2-rev0", "1.4-rev0"},
	7:  {"1.3-rev0", "1.5-rev1"},
	8:  {"1.4-rev0", "1.6-rev0"},
	9:  {"1.5-rev0", "1.7-rev1"},
	10: {"1.6-rev0", "1.8-rev0"},
	11: {"1.7-rev0", "1.9-rev0"},
}

const (
	oldestProduct = 2
	newestProduct = 11
	// defaultProduct is the newest that is Veeam Backup for AWS. 11 is Veeam Plug-in
	// for AWS.
	defaultProduct = 10
)

// VersionRefusal is a form of the answer to an API version that is not accepted.
// Which of them the product sends is not documented.
type VersionRefusal int

const (
	// RefuseByErrorCode is 400 with the vendor's problem document and its
	// errorCode: the REST reference, "Versioning".
	RefuseByErrorCode VersionRefusal = iota
	// RefuseByCode is the answer of dotnet/aspnet-api-versioning on .NET 7 and
	// newer (ProblemDetailsDefaults and EndpointProblem): 400 with code, a type
	// below https://docs.api-versioning.org/problems and the header
	// api-supported-versions, which accepted requests have too.
	RefuseByCode
	// RefuseByNotFound is the answer of the same library on .NET 6: 404 without a
	// body. A missing version is answered as by RefuseByErrorCode.
	RefuseByNotFound
)

// revision is the form of every API version, accepted or not.
var revision = regexp.MustCompile(`^(\d{1,2})\.(\d{1,2})-rev\d{1,2}$`)

// minorOf returns the minor number of an API version 1.x.
func minorOf(rev string) (int, bool) {
	m := revision.FindStringSubmatch(rev)
	if m == nil || m[1] != "1" {
		return 0, false
	}
	n, err := strconv.Atoi(m[2])
	return n, err == nil
}

// revisions returns the API versions accepted, oldest first.
func (c *Config) revisions() []string {
	if len(c.Revisions) > 0 {
		return c.Revisions
	}
	window := windows[c.product()]
	return versions[slices.Index(versions, window[0]) : slices.Index(versions, window[1])+1]
}

// negotiate reads the API version of a request. It returns an answer if that is not accepted.
func (a *Appliance) negotiate(q *request) *answer {
	var asked []string
	for _, v := range q.http.Header.Values("x-api-version") {
		if v != "" && !slices.Contains(asked, v) {
			asked = append(asked, v)
		}
	}
	switch len(asked) {
	case 0:
		return q.refuseVersion(noVersion, "", nil)
	case 1:
	default:
		return q.refuseVersion(ambiguousVersion, strings.Join(asked, ", "), nil)
	}
	q.version = asked[0]
	accepted := q.cfg.revisions()
	if slices.Contains(accepted, q.version) {
		q.minor, _ = minorOf(q.version)
		return nil
	}
	if !revision.MatchString(q.version) {
		return q.refuseVersion(invalidVersion, fmt.Sprintf("%q", q.version), nil)
	}
	return q.refuseVersion(wrongVersion, fmt.Sprintf("%q is not one of %s", q.version, strings.Join(accepted, ", ")), accepted)
}

// refuseVersion answers in the configured form. accepted are the API versions that
// the header api-supported-versions lists.
func (q *request) refuseVersion(p problem, details string, accepted []string) *answer {
	switch {
	case q.cfg.Refusal == RefuseByCode:
		return q.frameworkRefusal(p, accepted)
	case q.cfg.Refusal == RefuseByNotFound && p == wrongVersion:
		return emptyNotFound()
	}
	if q.cfg.VersionCodeInTypeOnly {
		p.code = "UnexpectedContent"
	}
	return p.answer(q.base, details)
}

// refuseRoute answers a request for a route that the API version lacks. The forms of the
// framework refuse the version, and list those of the route (EndpointProblem). The vendor's
// answer is not documented: see RouteRefusesVersion.
func (q *request) refuseRoute(op route) *answer {
	accepted := op.versions(q.cfg)
	switch {
	case q.cfg.Refusal != RefuseByErrorCode && len(accepted) == 0:
		return emptyNotFound()
	case q.cfg.Refusal != RefuseByErrorCode || q.cfg.RouteRefusesVersion:
		return q.refuseVersion(wrongVersion, "", accepted)
	}
	return notFound.answer(q.base, "")
}

// versions returns the API versions of a route among the accepted ones.
func (op route) versions(c *Config) []string {
	return slices.DeleteFunc(slices.Clone(c.revisions()), func(v string) bool {
		minor, ok := minorOf(v)
		return !ok || minor < op.from || minor > op.to
	})
}

// frameworkProblems are the types and titles of dotnet/aspnet-api-versioning
// (ProblemDetailsDefaults), by code.
var frameworkProblems = map[string][2]string{
	"ApiVersionUnspecified": {"unspecified", "Unspecified API version"},
	"UnsupportedApiVersion": {"unsupported", "Unsupported API version"},
	"InvalidApiVersion":     {"invalid", "Invalid API version"},
	"AmbiguousApiVersion":   {"ambiguous", "Ambiguous API version"},
}

func (q *request) frameworkRefusal(p problem, accepted []string) *answer {
	words := frameworkProblems[p.code]
	detail := p.title
	if p.code == "UnsupportedApiVersion" || p.code == "InvalidApiVersion" {
		detail = fmt.Sprintf("The HTTP resource that matches the request URI '%s' does not support the API version '%s'.",
			q.base+q.path, q.version)
	}
	ans := &answer{
		status: p.status,
		header: http.Header{"Content-Type": {"application/problem+json"}},
		body: mustMarshal(struct {
			Type   string `json:"type"`
			Title  string `json:"title"`
			Status int    `json:"status"`
			Detail string `json:"detail"`
			Code   string `json:"code"`
		}{"https://docs.api-versioning.org/problems#" + words[0], words[1], p.status, detail, p.code}),
	}
	if len(accepted) > 0 {
		ans.header.Set("api-supported-versions", strings.Join(accepted, ", "))
	}
	return ans
}

// emptyNotFound is ASP.NET Core's answer if no endpoint matches.
func emptyNotFound() *answer {
	return &answer{status: http.StatusNotFound, header: http.Header{}}
}
