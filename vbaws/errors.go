package vbaws

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind is a kind of failure. An operator reacts to each differently.
type Kind string

// The kinds of failure. They are values of the label "result" of
// vbaws_exporter_polls_total.
const (
	// KindAuth: the appliance refused the account, or two tokens in a row.
	KindAuth Kind = "auth"
	// KindTLS: a TLS connection was not possible, or is not trusted.
	KindTLS Kind = "tls"
	// KindTimeout: the answer was not received in time.
	KindTimeout Kind = "timeout"
	// KindUnreachable: the connection failed.
	KindUnreachable Kind = "unreachable"
	// KindHTTP: the appliance answered with an error.
	KindHTTP Kind = "http"
	// KindDecode: the appliance answered 200 with a document that is not of the API.
	KindDecode Kind = "decode"
	// KindConfig: a local file is missing or broken: the password file, or a
	// certificate or key. For the latter, Config.Transport returns an *Error of this
	// kind.
	KindConfig Kind = "config"
)

// Error is a failure whose kind is known.
type Error struct {
	Kind Kind
	// Op is the operation that failed: "GET /api/v1/sessions", "login as \"prometheus\"".
	Op  string
	Err error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain, and KindHTTP if there is
// none. err must not be nil.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindHTTP
}

// APIError is an answer with a status other than 2xx. Fields of the problem document are
// empty if the answer was not one.
type APIError struct {
	StatusCode int
	// Code is errorCode: AccessDenied, NotFound, UnsupportedApiVersion, …: an open
	// set. The web framework's own problems call it code.
	Code string
	// Type is the problem's URI, Title and Details its texts.
	Type, Title, Details string
	// RetryAfter is how long the appliance asked to wait; 0 if it didn't.
	RetryAfter time.Duration
	// Empty reports that the answer had no body.
	Empty bool
	// Supported is the content of the headers api-supported-versions and
	// api-deprecated-versions, at most 4,096 characters.
	Supported string
}

func (e *APIError) Error() string {
	s := fmt.Sprintf("HTTP status %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	if e.Code != "" {
		s += ", " + e.Code
	}
	if e.Title != "" {
		s += ": " + e.Title
	}
	if e.Details != "" && e.Details != e.Title {
		s += ": " + e.Details
	}
	return s
}

// answerOf returns the *APIError that err is, or wraps, and an empty one if there is none.
func answerOf(err error) *APIError {
	e, ok := errors.AsType[*APIError](err)
	if !ok {
		return &APIError{}
	}
	return e
}

// HasStatus reports whether err is, or wraps, an answer of the appliance with one of
// these HTTP statuses.
func HasStatus(err error, codes ...int) bool {
	return slices.Contains(codes, answerOf(err).StatusCode)
}

// NotFound reports whether the appliance itself answered that the requested object doesn't
// exist. A 404 of a proxy, or for a route that doesn't exist, doesn't count.
func NotFound(err error) bool {
	e := answerOf(err)
	return e.StatusCode == http.StatusNotFound && strings.EqualFold(e.Code, "NotFound")
}

// NotOffered reports whether err means that the API version in use has no such route:
// the status is 404, 405 or 501, or the answer refuses the version for this route. Such an
// answer to a login, and a *VersionError, don't count.
func NotOffered(err error) bool {
	e, ok := errors.AsType[*Error](err)
	_, all := errors.AsType[*VersionError](err)
	return ok && !all && strings.HasPrefix(e.Op, "GET ") &&
		(HasStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented) || namesVersion(err))
}
