package check

import (
	"bytes"
	"io"
	"net/http"
	"slices"
)

// maxKept is how many bytes of an answer are kept.
const maxKept = 1 << 20

// wire is between the client and the transport. It sends a parameter that the client doesn't
// have, and keeps parts of the answers that the client doesn't return. It handles one
// request at a time.
type wire struct {
	next http.RoundTripper

	// usn, if not empty, is sent as the parameter Usn with every GET.
	usn string

	// loggedIn means that the client has sent a token.
	loggedIn bool
	// revisions are the API versions of the requests, each once.
	revisions []string
	// header and body are of the last answer; of the body, the first maxKept bytes.
	header http.Header
	body   []byte
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.usn != "" && r.Method == http.MethodGet {
		r = r.Clone(r.Context())
		q := r.URL.Query()
		q.Set("Usn", w.usn)
		r.URL.RawQuery = q.Encode()
	}
	if v := r.Header.Get("X-Api-Version"); !slices.Contains(w.revisions, v) {
		w.revisions = append(w.revisions, v)
	}
	w.loggedIn = w.loggedIn || r.Header.Get("Authorization") != ""
	w.header, w.body = nil, nil
	resp, err := w.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	w.header = resp.Header
	if r.Method == http.MethodGet { // and not the answer to a login
		// The next Read returns the same error.
		w.body, _ = io.ReadAll(io.LimitReader(resp.Body, maxKept))
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(w.body), resp.Body), resp.Body}
	}
	return resp, nil
}
