package daemon

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector"
	"vbaws_exporter/vbaws/vbawstest"
)

// site is an entry of the configuration.
type site struct{ name, url, more string }

// newDaemon returns a daemon for Poll.
func newDaemon(t *testing.T, sites ...site) (*Daemon, error) {
	t.Helper()
	return New(Options{
		Config:      parse(t, "", sites...),
		Storage:     memoryStorage,
		Once:        true,
		Instruments: collector.NewInstruments(prometheus.NewRegistry()),
		Logger:      log.NewLogfmtLogger(t.Output()),
	})
}

func appliance(t *testing.T) *vbawstest.Server {
	t.Helper()
	s := vbawstest.NewHTTPServer(vbawstest.New(vbawstest.Config{}))
	t.Cleanup(s.Close)
	return s
}

// hanging returns the URL of an appliance that accepts requests and answers none until
// the test ends.
func hanging(t *testing.T) string {
	t.Helper()
	end := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-end:
		}
	}))
	t.Cleanup(func() { close(end); s.Close() })
	return s.URL
}

func TestPoll(t *testing.T) {
	t.Run("one that hangs", testPollOneThatHangs)
	t.Run("failures", testPollFailures)
}

// testPollOneThatHangs also tests that Run ends with its context, and logs out.
func testPollOneThatHangs(t *testing.T) {
	good := appliance(t)
	w := run(t, memoryStorage, "poll_timeout: 1h", site{"hangs", hanging(t), ""}, site{"good", good.URL, ""})
	w.awaitPoll("good")
	if p := w.source("hangs").Published(); p.Polls != 0 {
		t.Errorf("a poll of the appliance that hangs has ended: %+v", p.Status)
	}
	w.stop()
	// It need not be the last request: one that was cut off can arrive later.
	if !slices.ContainsFunc(good.Requests(), func(r vbawstest.Request) bool { return r.Method == http.MethodDelete }) {
		t.Error("it did not log out")
	}
}

func testPollFailures(t *testing.T) {
	gone, release, err := vbawstest.Refusing()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	d, err := newDaemon(t, site{"gone", "http://" + gone, ""}, site{"good", appliance(t).URL, ""})
	if err != nil {
		t.Fatal(err)
	}
	err = d.Poll(t.Context())
	if err == nil || !strings.Contains(err.Error(), `"gone"`) || strings.Contains(err.Error(), `"good"`) {
		t.Errorf("got %v", err)
	}
	for i, up := range []bool{false, true} {
		if p := d.Sources()[i].Published(); p.Polls != 1 || p.Up != up {
			t.Errorf("%s: %+v", d.Sources()[i].Name(), p.Status)
		}
	}
}
