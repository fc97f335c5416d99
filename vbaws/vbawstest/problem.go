package vbawstest

import (
	"net/http"
)

// answer is a complete response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func ok(body []byte) *answer {
	return &answer{
		status: http.StatusOK,
		header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		body:   body,
	}
}

func html(status int, body string) *answer {
	return &answer{
		status: status,
		header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		body:   []byte(body),
	}
}

// problem is one of the API's errors. Its page is the last part of the
// problem's type, /api/v1/problems/….
type problem struct {
	status            int
	code, page, title string
}

var (
	noVersion        = problem{http.StatusBadRequest, "ApiVersionUnspecified", "apiVersionUnspecified", "An API version is required, but was not specified."}
	wrongVersion     = problem{http.StatusBadRequest, "UnsupportedApiVersion", "unsupportedApiVersion", "The requested API version is not supported."}
	invalidVersion   = problem{http.StatusBadRequest, "InvalidApiVersion", "invalidApiVersion", "The requested API version is malformed."}
	ambiguousVersion = problem{http.StatusBadRequest, "AmbiguousApiVersion", "ambiguousApiVersion", "More than one API version was requested."}
	invalidContent   = problem{http.StatusBadRequest, "UnexpectedContent", "validationError", "One or more validation errors occurred."}
	invalidURI       = problem{http.StatusBadRequest, "InvalidURI", "validationError", "The query can't be parsed."}
	wrongMediaType   = problem{http.StatusUnsupportedMediaType, "UnexpectedContent", "validationError", "The content type is not supported."}
	noToken          = problem{http.StatusUnauthorized, "InvalidToken", "noAccessToken", "No access token was sent."}
	invalidToken     = problem{http.StatusUnauthorized, "InvalidToken", "invalidAccessToken", "The token is invalid."}
	expiredToken     = problem{http.StatusUnauthorized, "ExpiredToken", "expiredAccessToken", "The token has expired."}
	loginRefused     = problem{http.StatusUnauthorized, "AccessDenied", "accessDenied", "The user name or password is incorrect."}
	accessDenied     = problem{http.StatusForbidden, "AccessDenied", "accessDenied", "The role of the user lacks the right."}
	notFound         = problem{http.StatusNotFound, "NotFound", "resourceNotFound", "The resource was not found."}
	unknownError     = problem{http.StatusInternalServerError, "UnknownError", "unknownError", "An unknown error occurred."}
	wrongMethod      = problem{http.StatusMethodNotAllowed, "MethodNotAllowed", "unknownError", "The method is not allowed."}
)

type problemJSON struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	ErrorCode string `json:"errorCode,omitempty"`
	Details   string `json:"details,omitempty"`
}

// answer renders the problem. base is the appliance's URL without a path.
func (p problem) answer(base, details string) *answer {
	return &answer{
		status: p.status,
		header: http.Header{"Content-Type": {"application/problem+json; charset=utf-8"}},
		body: mustMarshal(problemJSON{
			Type:      base + "/api/v1/problems/" + p.page,
			Title:     p.title,
			Status:    p.status,
			ErrorCode: p.code,
			Details:   details,
		}),
	}
}
