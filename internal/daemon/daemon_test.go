package daemon

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"

	"vbaws_exporter/collector"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/config"
	"vbaws_exporter/vbaws/vbawstest"
)

// site is an entry of the configuration.
type site struct{ name, url, more string }

func newDaemon(t *testing.T, once bool, sites ...site) (*Daemon, error) {
	t.Helper()
	text := "appliances:\n"
	for _, s := range sites {
		text += fmt.Sprintf("- {name: %s, url: %q, username: %s, password: %q%s}\n", s.name, s.url, vbawstest.DefaultUsername, vbawstest.DefaultPassword, s.more)
	}
	cfg, err := config.Parse("config.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{
		Config:      cfg,
		Storage:     func(string) (poller.Storage, error) { return store.NewMemory(), nil },
		Once:        once,
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

// hanging returns the address of an appliance that takes requests and answers
// none until the test ends.
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

// testPollOneThatHangs also shows that Run ends with its context, and
// gives the tokens back.
func testPollOneThatHangs(t *testing.T) {
	good := appliance(t)
	d, err := newDaemon(t, false, site{"hangs", hanging(t), ""}, site{"good", good.URL, ""})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { d.Run(ctx); close(done) }()
	for end := time.Now().Add(30 * time.Second); d.Sources()[1].Published().Polls == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the good appliance isn't polled")
		}
	}
	if p := d.Sources()[0].Published(); p.Polls != 0 {
		t.Errorf("the appliance that hangs had a poll: %+v", p.Status)
	}
	cancel()
	<-done
	// A request that was broken off may arrive after it.
	if !slices.ContainsFunc(good.Requests(), func(r vbawstest.Request) bool { return r.Method == http.MethodDelete }) {
		t.Error("the token wasn't given back")
	}
}

func testPollFailures(t *testing.T) {
	gone := appliance(t)
	gone.Close()
	d, err := newDaemon(t, true, site{"gone", gone.URL, ""}, site{"good", appliance(t).URL, ""})
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
