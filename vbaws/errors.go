package vbaws

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Kind is the kind of a failure, as an operator distinguishes them.
type Kind string

// The kinds of failure. They are values of the label "result" of
// vbaws_exporter_polls_total.
const (
	// KindAuth: the appliance refused the account, or two tokens in a row.
	KindAuth Kind = "auth"
	// KindTLS: no TLS connection that can be trusted.
	KindTLS Kind = "tls"
	// KindTimeout: nothing arrived in time.
	KindTimeout Kind = "timeout"
	// KindUnreachable: no connection, or it broke.
	KindUnreachable Kind = "unreachable"
	// KindHTTP: the appliance answered with an error.
	KindHTTP Kind = "http"
	// KindDecode: it answered 200 with something that is not the API.
	KindDecode Kind = "decode"
	// KindConfig: a local file is missing or broken: that of the password, or a
	// certificate or key. A Config.Transport says so by an *Error of this kind.
	KindConfig Kind = "config"
)

// Error is a failure whose kind is known.
type Error struct {
	Kind Kind
	// Op is what was tried: "GET /api/v1/sessions", "login as \"prometheus\"".
	Op  string
	Err error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain, and KindHTTP for
// an error that has none. It is only meant for a non-nil err.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindHTTP
}

// APIError is an answer with a status other than 2xx. Fields of the problem
// document are empty where the answer was none.
type APIError struct {
	StatusCode int
	// Code is errorCode: AccessDenied, NotFound, UnsupportedApiVersion, …: an open
	// set. The web framework's own problems call it code.
	Code string
	// Type is the problem's URI, Title and Details its texts.
	Type, Title, Details string
	// RetryAfter is how long the appliance asked to be left alone; 0 where it
	// didn't.
	RetryAfter time.Duration
	// Empty reports that the answer had no body.
	Empty bool
	// Supported are the API versions in the headers api-supported-versions and
	// api-deprecated-versions, as they came, at most 4,096 characters.
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

// NotFound reports whether the appliance itself says that it has no such thing, of a
// route that it has: a proxy's 404 says nothing.
func NotFound(err error) bool {
	e := answerOf(err)
	return e.StatusCode == http.StatusNotFound && strings.EqualFold(e.Code, "NotFound")
}

// NotOffered reports whether err says that the API version in use has no such route:
// by 404, 405 or 501, or as a route that only other versions have. Such an answer to a
// login says nothing of the route, nor does a *VersionError.
func NotOffered(err error) bool {
	e, ok := errors.AsType[*Error](err)
	_, all := errors.AsType[*VersionError](err)
	return ok && !all && strings.HasPrefix(e.Op, "GET ") &&
		(HasStatus(err, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented) || namesVersion(err))
}
