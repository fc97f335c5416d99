package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/internal/paired"
	"vbaws_exporter/internal/polltest"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// sessions is the history of the appliance.
var sessions = flag.Int("sessions", 50_000, "sessions of the appliance in TakeIn, Idle and Memory")

// policies is how many policies that appliance has.
const policies = 1000

// epoch is the time of simulated appliances whose clock stands still.
var epoch = time.Date(2026, time.March, 2, 10, 20, 0, 0, time.UTC)

func newClient(b *testing.B, address string, transport http.RoundTripper, now time.Time) *vbaws.Client {
	b.Helper()
	c, err := polltest.NewClient(polltest.Options{
		URL: address, Transport: transport, Poller: poller.Config{Now: func() time.Time { return now }},
	})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func newPoller(b *testing.B, address string, transport http.RoundTripper, storage poller.Storage, now time.Time) *poller.Poller {
	b.Helper()
	return polltest.Start(b, polltest.Options{
		URL: address, Transport: transport, Storage: storage,
		Poller: poller.Config{
			Timeout: 2 * time.Minute, Backfill: span, Now: func() time.Time { return now },
			Ledger: ledger.Options{
				Bounds: []float64{60, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400},
				Hold:   2 * time.Minute,
			},
		},
	}).Poller
}

func poll(b *testing.B, p *poller.Poller) {
	b.Helper()
	if err := p.Poll(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// counted returns how many sessions a poller has published.
func counted(p *poller.Poller) (n int) {
	if view := p.Published().View; view != nil {
		for _, s := range view.Series {
			for _, c := range s.Counters {
				n += int(c.Count)
			}
		}
	}
	return n
}

// BenchmarkTakeIn takes in all sessions of an appliance, from the socket to the ledger,
// which is kept in memory. The baseline decodes the same pages from memory with
// encoding/json.
func BenchmarkTakeIn(b *testing.B) {
	n := *sessions
	full := start(b, spec{Appliances: 1, Policies: policies, Sessions: n, Now: epoch})
	empty := start(b, spec{Appliances: 1, Policies: policies, Now: epoch.Add(-span)})
	pages := savePages(b, full.urls[0])
	for _, form := range []string{"initial", "catchup"} {
		b.Run(form, func(b *testing.B) {
			paired.Compare(b, func() time.Duration {
				storage := store.NewMemory()
				if form == "catchup" {
					poll(b, newPoller(b, empty.urls[0], &http.Transport{}, storage, epoch.Add(-span)))
				}
				p := newPoller(b, full.urls[0], &http.Transport{}, storage, epoch)
				spent := paired.Spent(func() { poll(b, p) })
				if got := counted(p); got != n {
					b.Fatalf("%d sessions were counted of %d", got, n)
				}
				return spent / time.Duration(n)
			}, func() time.Duration { return decode(b, pages, n) / time.Duration(n) })
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "sessions/s")
		})
	}
}

// jsonSession is vbaws.Session with the tags that encoding/json needs.
type jsonSession struct {
	ID           string        `json:"id"`
	Type         string        `json:"type"`
	ExtendedType string        `json:"extendedSessionType"`
	Status       string        `json:"status"`
	Result       string        `json:"result"`
	Reason       string        `json:"reason"`
	Name         string        `json:"name"`
	Start        time.Time     `json:"executionStartTime"`
	Stop         time.Time     `json:"executionStopTime"`
	Duration     time.Duration `json:"executionDuration"`
	USN          int64         `json:"usn"`
}

var _ = vbaws.Session(jsonSession{}) // the same struct

type jsonPage struct {
	Results []jsonSession `json:"results"`
}

// savePages reads the list of sessions and saves its pages in a file.
func savePages(b *testing.B, address string) *os.File {
	b.Helper()
	f, err := os.CreateTemp(b.TempDir(), "pages")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	client := newClient(b, address, recorder{&http.Transport{}, f}, epoch)
	for offset := 0; ; {
		page, err := client.Sessions(b.Context(), vbaws.SessionsQuery{Sort: vbaws.SortUSNDesc, Offset: offset, Limit: 500})
		if err != nil {
			b.Fatal(err)
		}
		if len(page.Rows) == 0 {
			return f
		}
		offset += len(page.Rows)
	}
}

// decode decodes all pages and returns the CPU time of the decoding, without that of reading
// the file.
func decode(b *testing.B, pages *os.File, want int) (spent time.Duration) {
	b.Helper()
	runtime.GC()
	all := json.NewDecoder(io.NewSectionReader(pages, 0, 1<<62))
	rows := 0
	for {
		var raw json.RawMessage
		if err := all.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			b.Fatal(err)
		}
		var page jsonPage
		before := paired.CPU()
		err := json.Unmarshal(raw, &page)
		spent += paired.CPU() - before
		if err != nil {
			b.Fatal(err)
		}
		rows += len(page.Results)
	}
	if rows != want {
		b.Fatalf("encoding/json found %d sessions of %d", rows, want)
	}
	return spent
}

// recorder copies the answers that list sessions.
type recorder struct {
	http.RoundTripper
	to io.Writer
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err == nil && strings.HasSuffix(req.URL.Path, "/sessions") {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(resp.Body, r.to), resp.Body}
	}
	return resp, err
}

// settle polls an appliance, with the state on disk, until polls are idle. The clocks stand
// still, so nothing is due by time.
func settle(b *testing.B, m *meter) (*simulator, *poller.Poller) {
	b.Helper()
	sim := start(b, spec{Appliances: 1, Policies: policies, Sessions: *sessions, Now: epoch})
	s, err := store.Open(b.TempDir(), store.Options{Now: func() time.Time { return epoch }})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	storage, err := s.Appliance(polltest.Appliance)
	if err != nil {
		b.Fatal(err)
	}
	p := newPoller(b, sim.urls[0], m.transport(), storage, epoch)
	for range 3 {
		poll(b, p)
	}
	return sim, p
}

// BenchmarkIdle polls an appliance on which nothing changed. The baseline is a script that
// reads the newest 50 sessions and decodes them with encoding/json.
func BenchmarkIdle(b *testing.B) {
	const at = 100 // polls in a round: one alone is too short to measure
	var m meter
	sim, p := settle(b, &m)
	script := newScript(b, sim.urls[0])
	requests, size := m.requests.Load(), m.bytes.Load()
	paired.Compare(b, func() time.Duration {
		return paired.Spent(func() {
			for range at {
				poll(b, p)
			}
		}) / at
	}, func() time.Duration {
		return paired.Spent(func() {
			for range at {
				script(b)
			}
		}) / at
	})
	b.ReportMetric(float64(m.requests.Load()-requests)/float64(b.N*at), "requests/poll")
	b.ReportMetric(float64(m.bytes.Load()-size)/float64(b.N*at), "wire-bytes/poll")
}

// BenchmarkBusy polls an appliance after 100 sessions changed: 50 started, 50 ended. The
// baseline is two runs of the script of BenchmarkIdle, which reads 50 sessions.
func BenchmarkBusy(b *testing.B) {
	const changed = 100
	var m meter
	sim, p := settle(b, &m)
	script := newScript(b, sim.urls[0])
	sim.change(changed) // so the next change ends some
	poll(b, p)
	var written int64
	paired.Compare(b, func() time.Duration {
		before := counted(p)
		ended := sim.change(changed)
		was, sent := wrote(b), m.sent.Load()
		spent := paired.Spent(func() { poll(b, p) })
		written += wrote(b) - was - (m.sent.Load() - sent)
		if got := counted(p) - before; got != ended {
			b.Fatalf("%d sessions were counted of %d that ended", got, ended)
		}
		return spent
	}, func() time.Duration {
		return paired.Spent(func() {
			script(b)
			script(b)
		})
	})
	b.ReportMetric(float64(written)/float64(b.N*changed), "written-bytes/session")
}

// newScript logs in and returns a function that reads the newest 50 sessions.
func newScript(b *testing.B, address string) func(*testing.B) {
	b.Helper()
	form := url.Values{"grant_type": {"password"}, "username": {vbawstest.DefaultUsername}, "password": {vbawstest.DefaultPassword}}
	client := &http.Client{Transport: &http.Transport{}}
	send := func(b *testing.B, method, path, token string, body io.Reader, to any) {
		b.Helper()
		req, err := http.NewRequestWithContext(b.Context(), method, address+path, body)
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("x-api-version", "1.8-rev0")
		if body != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := client.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		var text bytes.Buffer
		if _, err := text.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			b.Fatalf("%s %s: %s, %v: %s", method, path, resp.Status, err, text.Bytes())
		}
		if err := json.Unmarshal(text.Bytes(), to); err != nil {
			b.Fatalf("%s %s: %v", method, path, err)
		}
	}
	var login struct {
		Token string `json:"access_token"`
	}
	send(b, http.MethodPost, "/api/v1/token", "", strings.NewReader(form.Encode()), &login)
	return func(b *testing.B) {
		var page jsonPage
		send(b, http.MethodGet, "/api/v1/sessions?Sort=startTimeDesc&Limit=50", login.Token, nil, &page)
		if len(page.Results) != 50 {
			b.Fatalf("the script read %d sessions of 50", len(page.Results))
		}
	}
}

// meter counts requests, and bytes on connections, headers included.
type meter struct{ requests, bytes, sent atomic.Int64 }

func (m *meter) transport() http.RoundTripper {
	return metered{&http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		return meteredConn{c, m}, err
	}}, m}
}

type metered struct {
	http.RoundTripper
	m *meter
}

func (t metered) RoundTrip(r *http.Request) (*http.Response, error) {
	t.m.requests.Add(1)
	return t.RoundTripper.RoundTrip(r)
}

type meteredConn struct {
	net.Conn
	m *meter
}

func (c meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.bytes.Add(int64(n))
	return n, err
}

func (c meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.m.bytes.Add(int64(n))
	c.m.sent.Add(int64(n))
	return n, err
}
