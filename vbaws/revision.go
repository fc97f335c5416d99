package vbaws

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// known are the revisions that this package was written for, newest first. No
// appliance speaks all of them: product 8 refuses what is older than 1.4.
var known = []string{
	"1.8-rev0", "1.7-rev0", "1.6-rev0", "1.5-rev0", "1.4-rev0",
	"1.3-rev0", "1.2-rev0", "1.1-rev0", "1.0-rev0",
}

// KnownAPIVersions returns the API revisions that the client tries, newest
// first.
func KnownAPIVersions() []string { return slices.Clone(known) }

// NamesSessions reports whether sessions carry a name in that API revision:
// from 1.2 on. It is false for what is no revision.
func NamesSessions(apiVersion string) bool { return since(apiVersion, 1, 2) }

// TypesSessions reports whether sessions carry an extendedSessionType in that API
// revision: from 1.1 on. It is false for what is no revision.
func TypesSessions(apiVersion string) bool { return since(apiVersion, 1, 1) }

var revisionSyntax = regexp.MustCompile(`^([0-9]{1,4})\.([0-9]{1,4})-rev[0-9]{1,4}$`)

// since reports whether the revision is major.minor or newer.
func since(revision string, major, minor int) bool {
	m := revisionSyntax.FindStringSubmatch(revision)
	if m == nil {
		return false
	}
	a, _ := strconv.Atoi(m[1])
	b, _ := strconv.Atoi(m[2])
	return a > major || a == major && b >= minor
}

// refusesRevision reports whether err is the appliance's answer to a revision
// that it does not speak.
func refusesRevision(err error) bool {
	e, ok := errors.AsType[*APIError](err)
	return ok && e.StatusCode/100 == 4 &&
		(e.says("UnsupportedApiVersion") || e.says("InvalidApiVersion"))
}

// says reports whether the problem is of that name, by its code or by the last
// segment of its type. The vendor writes one as UnsupportedApiVersion and the
// other as …/problems/unsupportedApiVersion.
func (e *APIError) says(name string) bool {
	t := strings.TrimRight(e.Type, "/")
	t = t[strings.LastIndexByte(t, '/')+1:]
	return strings.EqualFold(e.Code, name) || strings.EqualFold(t, name)
}

// sessionsPath is the route that every revision has: what it says of a revision, it
// says for the appliance.
const sessionsPath = "/api/v1/sessions"

// revisions chooses the API revision, for all requests of a client. An answer
// settles on the one that it was asked in. A refusal moves on to the next older
// one, or, where one was settled on (the appliance was upgraded or replaced), to
// the newest.
type revisions struct {
	fixed string // never negotiated, where set

	mu      sync.Mutex
	settled string
	proven  bool   // settled was answered in by more than a login, which may not look at it
	next    int    // index in known of the candidate, while settled is empty
	skip    string // the one that was settled on and then refused
}

// current returns the revision to ask in.
func (r *revisions) current() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.locked()
}

func (r *revisions) locked() string {
	switch {
	case r.fixed != "":
		return r.fixed
	case r.settled != "":
		return r.settled
	}
	return known[r.next]
}

// inUse returns the revision that was answered in last, or "".
func (r *revisions) inUse() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settled
}

// accepted notes that the appliance answered in that revision, to a login or to
// more.
func (r *revisions) accepted(revision string, login bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locked() == revision {
		r.settled, r.skip = revision, ""
		r.proven = r.proven || !login
	}
}

// isSpoken reports whether the appliance is known to speak that revision, so that a
// route that refuses it is one that the revision lacks.
func (r *revisions) isSpoken(revision string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.proven && r.locked() == revision
}

// refused notes that the appliance does not speak that revision, and reports
// whether another one is left to try. Where none is, the next request begins
// anew.
func (r *revisions) refused(revision string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.fixed != "":
		return false
	case r.locked() != revision:
		return true // Another request learned it first.
	case r.settled != "":
		r.settled, r.proven, r.skip, r.next = "", false, revision, 0
	default:
		r.next++
	}
	if r.next < len(known) && known[r.next] == r.skip {
		r.next++
	}
	if r.next == len(known) {
		r.skip, r.next = "", 0
		return false
	}
	return true
}

// maxRefusals bounds the refusals that one call goes through: the settled
// revision, and then all others, twice.
var maxRefusals = 2 * len(known)
