package vbaws

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// known are the API versions that this package was written for, newest first. An
// appliance accepts about three minor versions: product 7 accepts
// 1.3-rev0 to 1.5-rev1, product 8 accepts 1.4-rev0 to 1.6-rev0 (vendor's REST
// references of these products).
var known = []string{
	"1.9-rev0", // product 11, the Veeam Plug-in for AWS: VBR 13.1 guide; a public client sends it
	"1.8-rev0", // product 10: REST reference 10
	"1.7-rev1", // product 9.1: REST reference 9.1
	"1.7-rev0", // product 9: REST reference 9
	"1.6-rev0", // product 8: REST reference and changelog of 1.6-rev0
	"1.5-rev1", // product 7: REST reference and changelog of 1.5-rev1
	"1.5-rev0", // product 7: REST reference of 1.5
	"1.4-rev0", // product 6a: REST reference and changelog of 1.4-rev0
	"1.3-rev0", // product 5: REST reference and changelog of 1.3-rev0
	"1.2-rev0", // product 4: REST reference and changelog of 1.2-rev0
	"1.1-rev1", // product 3.x: REST reference and changelog of 1.1
	"1.1-rev0", // product 3.x: REST reference and changelog of 1.1
	"1.0-rev0", // product 2 and 3: the vendor's description of 1.0-rev0
}

const (
	// newerMinors is how many minor versions after the newest known one are tried.
	newerMinors = 5
	// newerEvery is the minimum time between two rounds through them.
	newerEvery = time.Hour
	// maxListed is how many of the versions that an appliance lists are used.
	maxListed = 32
)

// KnownAPIVersions returns the API versions that the client was written for, newest
// first.
func KnownAPIVersions() []string { return slices.Clone(known) }

// NamesSessions reports whether sessions carry a name in that API version: from 1.2
// on. It is false for a malformed version.
func NamesSessions(apiVersion string) bool { return since(apiVersion, 1, 2) }

// TypesSessions reports whether sessions carry an extendedSessionType in that API
// version: from 1.1 on. It is false for a malformed version.
func TypesSessions(apiVersion string) bool { return since(apiVersion, 1, 1) }

var versionSyntax = regexp.MustCompile(`^([0-9]{1,4})\.([0-9]{1,4})-rev([0-9]{1,4})$`)

// numbers returns major, minor and revision of an API version, or nil if it is
// malformed. They compare as numbers: 1.10 is newer than 1.9.
func numbers(version string) []int {
	m := versionSyntax.FindStringSubmatch(version)
	if m == nil {
		return nil
	}
	n := make([]int, 3)
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1])
	}
	return n
}

// since reports whether the version is major.minor or newer.
func since(version string, major, minor int) bool {
	return slices.Compare(numbers(version), []int{major, minor}) >= 0
}

// newer returns the minor versions after the newest known one, in ascending order: the
// answers of the first differ least from the known ones.
func newer() []string {
	n := numbers(known[0])
	list := make([]string, newerMinors)
	for i := range list {
		list[i] = fmt.Sprintf("%d.%d-rev0", n[0], n[1]+1+i)
	}
	return list
}

// listed returns the versions in a header such as api-supported-versions, newest first. It
// omits malformed ones.
func listed(header string) []string {
	var list []string
	for s := range strings.SplitSeq(header, ",") {
		s = strings.TrimSpace(s)
		if numbers(s) != nil && !slices.Contains(list, s) && len(list) < maxListed {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b string) int { return slices.Compare(numbers(b), numbers(a)) })
	return list
}

// namesVersion reports whether err is an answer with the error that the API version is not
// supported.
func namesVersion(err error) bool {
	e := answerOf(err)
	return e.StatusCode/100 == 4 && (e.says("UnsupportedApiVersion") || e.says("InvalidApiVersion"))
}

// refusesVersion reports whether err, an answer of that path, refuses the API version. If
// .NET 6 has no endpoint for a version, it answers 404 with an empty body. It answers the
// same for an unknown path, so this form counts only for the two paths that every version
// has.
func refusesVersion(path string, err error) bool {
	return namesVersion(err) || answerOf(err).isEmpty404() && (path == RouteSessions || path == RouteToken)
}

func (e *APIError) isEmpty404() bool { return e.StatusCode == http.StatusNotFound && e.Empty }

// frameworkProblems is the type of the problems of ASP.NET Core's versioning library
// (dotnet/aspnet-api-versioning, ProblemDetailsDefaults), without the scheme.
const frameworkProblems = "docs.api-versioning.org/problems#"

// says reports whether the problem has that name: in its code, as the last segment of its
// type, or as a problem of the versioning library. The vendor writes a code as
// UnsupportedApiVersion and a type as …/problems/unsupportedApiVersion. The library writes
// the type as …/problems#unsupported, and omits the code in some configurations.
func (e *APIError) says(name string) bool {
	t := strings.ToLower(strings.TrimRight(e.Type, "/"))
	if _, fragment, ok := strings.Cut(t, frameworkProblems); ok {
		t = fragment + "ApiVersion"
	}
	t = t[strings.LastIndexByte(t, '/')+1:]
	return strings.EqualFold(e.Code, name) || strings.EqualFold(t, name)
}

// missesVersion reports whether err is an answer with the error that the request had no API
// version, or several: something on the way changed the request.
func missesVersion(err error) bool {
	e := answerOf(err)
	return e.says("ApiVersionUnspecified") || e.says("UnspecifiedApiVersion") || e.says("AmbiguousApiVersion")
}

// VersionError is the error that the appliance accepts none of the API versions tried.
type VersionError struct {
	// Tried are the versions that were refused, in the order of the requests.
	Tried []string
	// Listed are the versions that the appliance lists as supported, newest first; nil
	// if it lists none.
	Listed []string
	// Configured means that Config.APIVersion was the only version to try.
	Configured bool
	// Empty means that each refusal was a 404 with an empty body. A wrong port or path
	// is then more likely than a version that is too old or too new.
	Empty bool
	// WebUI means that the private API of the web UI answered at that address.
	WebUI bool
	// NewerAfter is when versions newer than the known ones are tried again; zero if
	// they were tried now, or don't have to be tried.
	NewerAfter time.Time
	// Err is the last refusal.
	Err error
}

// ports is the hint for a URL of another server.
const ports = "the default port of the REST API is 11005, port 443 is the web UI"

func (e *VersionError) Error() string {
	tried := strings.Join(e.Tried, ", ")
	if e.Configured {
		tried += " (api_version)"
	}
	var s string
	switch {
	case e.WebUI:
		s = fmt.Sprintf("the URL is the web UI, not the REST API: %s; API versions tried: %s", ports, tried)
	case e.Empty:
		s = fmt.Sprintf("the URL has a wrong port or path (%s), or the appliance accepts none of the API versions tried: %s", ports, tried)
	case e.Configured:
		s = fmt.Sprintf("the appliance does not accept API version %s", tried)
	default:
		s = "the appliance accepts none of the API versions tried: " + tried
	}
	if len(e.Listed) > 0 {
		s += "; it lists " + strings.Join(e.Listed, ", ")
	}
	if !e.NewerAfter.IsZero() {
		all := newer()
		s += fmt.Sprintf("; %s to %s are tried again after %s",
			all[0], all[len(all)-1], e.NewerAfter.UTC().Format("15:04 UTC"))
	}
	return s + ": " + e.Err.Error()
}

func (e *VersionError) Unwrap() error { return e.Err }

// versions chooses the API version of all requests of a client. It tries candidates
// one after the other, newest first, until the appliance accepts one; when that one
// is refused later (the appliance was upgraded or restored), it starts again. The
// methods can be called concurrently.
type versions struct {
	fixed string // never negotiated; "": negotiate
	now   func() time.Time

	mu       sync.Mutex
	standing standing // of the version in use

	// What is known of this negotiation.
	first  string   // "": the newest known one
	tried  []string // and refused
	listed []string // what the appliance listed
	named  bool     // a refusal was not an empty 404
	beyond bool     // newer minors are tried, too

	beyondAt time.Time // start of the last round through the newer minors
}

// standing is what an appliance has accepted in an API version.
type standing int

const (
	nothing standing = iota
	// rejectedLogin: the appliance rejected a login for another reason than the version.
	rejectedLogin
	// acceptedLogin proves nothing about other requests: some appliances accept every
	// version for a login.
	acceptedLogin
	acceptedRequest
)

// inUse returns the version to send, and its standing.
func (v *versions) inUse() (string, standing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.next(), v.standing
}

// current returns the version to send.
func (v *versions) current() string {
	version, _ := v.inUse()
	return version
}

// accept records the standing of that version. It ends a negotiation. If the version is
// refused later, the newest is tried next.
func (v *versions) accept(version string, what standing) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.standing < what && v.next() == version {
		v.begin(version, what)
	}
}

// begin resets the negotiation. The caller holds mu.
func (v *versions) begin(first string, s standing) {
	v.first, v.standing = first, s
	v.tried, v.listed, v.named, v.beyond = nil, nil, false, false
}

// next returns the version that is in use or is tried next, "" if none is left. The
// caller holds mu.
func (v *versions) next() string {
	if v.fixed != "" {
		return v.fixed
	}
	all := slices.Concat([]string{cmp.Or(v.first, known[0])}, preferred(v.listed), known)
	if v.beyond {
		all = append(all, newer()...)
	}
	for _, s := range all {
		if !slices.Contains(v.tried, s) {
			return s
		}
	}
	return ""
}

// refuse records that the appliance refused that version; refusal wraps an *APIError. It
// returns nil if another version is left to try. If none is left, the next request starts
// with the newest again.
func (v *versions) refuse(version string, refusal error) *VersionError {
	answer := answerOf(refusal)
	list := listed(answer.Supported)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fixed != "" {
		return &VersionError{Tried: []string{version}, Listed: list, Configured: true, Empty: answer.isEmpty404(), Err: cause(refusal)}
	}
	if v.next() != version {
		return nil // another request has recorded it
	}
	v.standing = nothing
	v.tried = append(v.tried, version)
	v.named = v.named || !answer.isEmpty404()
	if v.listed == nil {
		v.listed = list
	}
	var after time.Time
	if v.next() == "" && v.listed == nil && !v.beyond {
		now := v.now()
		if age := now.Sub(v.beyondAt); v.beyondAt.IsZero() || age < 0 || age >= newerEvery {
			v.beyond, v.beyondAt = true, now
		} else {
			after = v.beyondAt.Add(newerEvery)
		}
	}
	if v.next() != "" {
		return nil
	}
	e := &VersionError{Tried: v.tried, Listed: v.listed, Empty: !v.named, NewerAfter: after, Err: cause(refusal)}
	v.begin("", nothing)
	return e
}

// preferred returns the versions of a list that are tried before others: the known ones,
// then at most newerMinors unknown ones. Versions that are not listed are tried, too, since
// the list can be that of one route.
func preferred(list []string) []string {
	var both, unknown []string
	for _, s := range list {
		switch {
		case slices.Contains(known, s):
			both = append(both, s)
		case len(unknown) < newerMinors:
			unknown = append(unknown, s)
		}
	}
	return append(both, unknown...)
}

// maxRefusals bounds the refusals of one call: two negotiations in which all versions are
// refused.
var maxRefusals = 2 * (len(known) + newerMinors)
