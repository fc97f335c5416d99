package check

import (
	"bytes"
	"io"
	"net/http"
	"slices"
)

// maxKept is how much of an answer is kept to look at.
const maxKept = 1 << 20

// wire is between the client and the transport. It asks what the client has no
// word for, and keeps of the answers what the client has no use for. It serves one
// request at a time.
type wire struct {
	next http.RoundTripper

	// usn, where not empty, goes as the parameter Usn with every GET.
	usn string

	// loggedIn: the client had a token to send.
	loggedIn bool
	// revisions are the API versions asked in, each once.
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
		// A read error is that of the next Read, too.
		w.body, _ = io.ReadAll(io.LimitReader(resp.Body, maxKept))
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(w.body), resp.Body), resp.Body}
	}
	return resp, nil
}
