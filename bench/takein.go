package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/go-kit/log"

	"vbaws_exporter/bench/world"
	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// epoch is where the clocks of simulated worlds begin.
var epoch = time.Date(2026, time.March, 2, 10, 20, 0, 0, time.UTC)

// pageRows is how long pages are, those that the exporter asks for and those that
// it is compared by.
const pageRows = 500

func newClient(address string, now func() time.Time, transport http.RoundTripper) (*vbaws.Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return vbaws.New(vbaws.Config{
		URL: u, Username: vbawstest.DefaultUsername,
		Password:  func() (string, error) { return vbawstest.DefaultPassword, nil },
		Transport: transport, Now: now,
	})
}

// newPoller wires a poller as the daemon does.
func newPoller(name, address string, now func() time.Time, transport http.RoundTripper, book poller.Book, backfill time.Duration) (*poller.Poller, error) {
	client, err := newClient(address, now, transport)
	if err != nil {
		return nil, err
	}
	return poller.New(poller.Config{
		Appliance: name, Interval: time.Minute, Timeout: 2 * time.Minute, Backfill: backfill, Watermark: poller.WatermarkAuto,
		Ledger: ledger.Options{
			Bounds: []float64{60, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400},
			Hold:   2 * time.Minute,
		},
		Logger: log.NewNopLogger(), Now: now,
	}, client, book)
}

// takeIn is row 1: what a session costs on its way from the page to the ledger,
// compared with what encoding/json takes to decode the page and drop it.
func takeIn(ctx context.Context, b *bench) (_ []result, err error) {
	n, policies, repeats := b.scale(1_000_000, 50_000), 1000, b.scale(3, 5)
	w, err := world.Start(world.Spec{Policies: policies, Now: epoch})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	now := func() time.Time { return epoch }

	// The books of those that catch up, which have met the appliance while there
	// was nothing.
	behind := make([]poller.Book, repeats)
	for i := range behind {
		behind[i] = store.NewMemory()
		p, err := newPoller("bench", w.URLs[0], now, &http.Transport{}, behind[i], world.HistorySpan)
		if err != nil {
			return nil, err
		}
		if err := p.Poll(ctx); err != nil {
			return nil, err
		}
	}
	b.say("the simulated appliance makes %d sessions of %d policies", n, policies)
	if err := w.History(n); err != nil {
		return nil, err
	}
	pages, err := savePages(ctx, filepath.Join(b.work, "pages"), w.URLs[0])
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, pages.close()) }()
	if pages.rows != n {
		return nil, fmt.Errorf("the pages have %d sessions of %d", pages.rows, n)
	}

	stock := func() (float64, error) { return pages.decode(n) }
	// ours makes one pass, with a book that knows what books has, or nothing.
	ours := func(name string, books []poller.Book) func() (float64, error) {
		return func() (float64, error) {
			var book poller.Book = store.NewMemory()
			if books != nil {
				book, books = books[0], books[1:]
			}
			p, err := newPoller("bench", w.URLs[0], now, &http.Transport{}, book, world.HistorySpan)
			if err != nil {
				return 0, err
			}
			var spent time.Duration
			err = b.profiles.of(name, func() (err error) {
				spent, err = cpuOf(func() error { return p.Poll(ctx) })
				return err
			})
			if err != nil {
				return 0, err
			}
			if got := counted(p); got != n {
				return 0, fmt.Errorf("%d sessions were counted of %d", got, n)
			}
			b.say("row 1, %s: %.2f µs a session", name, micros(spent)/float64(n))
			return micros(spent) / float64(n), nil
		}
	}
	var results []result
	for _, kind := range []struct {
		name, what string
		books      []poller.Book
		known      float64 // 1.2 and 0.96 of a million, 1.6 and 1.1 of 50,000; 1.8 to 2.0 and 1.4 on an older Xeon
	}{
		{"row1-catchup", "take in sessions that came while the exporter was away", behind, 2.5},
		{"row1-contact", "take in sessions at first contact", nil, 1.8},
	} {
		r, err := compare(repeats, ours(kind.name, kind.books), stock)
		if err != nil {
			return results, err
		}
		results = append(results, result{
			Row: "1", What: fmt.Sprintf("%s: CPU ÷ encoding/json, %d sessions", kind.what, n),
			Value: r.value(), Noise: r.noise(), Limit: 0.6, Known: kind.known,
			Detail: fmt.Sprintf("%.2f µs ÷ %.2f µs a session of %d bytes", median(r.over), median(r.under), pages.bytes/int64(n)),
		})
	}
	return results, nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

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

// stockSession is vbaws.Session with the tags that encoding/json needs.
type stockSession struct {
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

var _ = vbaws.Session(stockSession{}) // the same struct

// pages are the bytes of a list of sessions, in a file.
type pages struct {
	file    *os.File
	lengths []int
	rows    int
	bytes   int64
}

// savePages reads an appliance's list of sessions from its top to its end.
func savePages(ctx context.Context, path, address string) (*pages, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	p := &pages{file: f}
	var body bytes.Buffer
	client, err := newClient(address, nil, recorder{&http.Transport{}, &body})
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	for {
		page, err := client.Sessions(ctx, vbaws.SessionsQuery{Sort: vbaws.SortUSNDesc, Offset: p.rows, Limit: pageRows})
		if err == nil {
			_, err = f.Write(body.Bytes())
		}
		if err != nil {
			return nil, errors.Join(err, p.close())
		}
		if len(page.Rows) == 0 {
			return p, nil
		}
		p.rows += len(page.Rows)
		p.lengths = append(p.lengths, body.Len())
		p.bytes += int64(body.Len())
	}
}

func (p *pages) close() error { return errors.Join(p.file.Close(), os.Remove(p.file.Name())) }

// decode lets encoding/json decode and drop every page, and returns the
// microseconds of CPU time that a session took. Reading the file is not
// counted.
func (p *pages) decode(want int) (float64, error) {
	var buf []byte
	var offset int64
	var spent time.Duration
	rows := 0
	runtime.GC()
	for _, n := range p.lengths {
		buf = slices.Grow(buf[:0], n)[:n]
		if _, err := p.file.ReadAt(buf, offset); err != nil {
			return 0, fmt.Errorf("read a page that was saved: %w", err)
		}
		offset += int64(n)
		var page struct {
			TotalCount int            `json:"totalCount"`
			Results    []stockSession `json:"results"`
		}
		before := cpuTime()
		err := json.Unmarshal(buf, &page)
		spent += cpuTime() - before
		if err != nil {
			return 0, fmt.Errorf("decode a page by encoding/json: %w", err)
		}
		rows += len(page.Results)
	}
	if rows != want {
		return 0, fmt.Errorf("encoding/json found %d sessions of %d", rows, want)
	}
	return micros(spent) / float64(rows), nil
}

// recorder keeps the body of the last answer.
type recorder struct {
	http.RoundTripper
	body *bytes.Buffer
}

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	r.body.Reset()
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(resp.Body, r.body), resp.Body}
	return resp, nil
}
