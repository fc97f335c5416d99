package vbaws

import (
	"testing"
)

// testAnswersTextIsSaidOnce: title and details of an appliance's problem can be the same.
func testAnswersTextIsSaidOnce(t *testing.T) {
	for _, test := range []struct {
		err  APIError
		want string
	}{
		{APIError{StatusCode: 404, Code: "NotFound", Title: "no such resource", Details: "no such resource"}, "HTTP status 404 Not Found, NotFound: no such resource"},
		{APIError{StatusCode: 404, Title: "no such resource", Details: "session 5"}, "HTTP status 404 Not Found: no such resource: session 5"},
		{APIError{StatusCode: 503}, "HTTP status 503 Service Unavailable"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
