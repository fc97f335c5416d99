package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	jsonconfig "github.com/prometheus-community/json_exporter/config"
	jsonexporter "github.com/prometheus-community/json_exporter/exporter"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	pconfig "github.com/prometheus/common/config"

	"vbaws_exporter/bench/world"
	"vbaws_exporter/collector"
	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/poller"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// alternative is how a way to read an appliance did in the fleet's hours.
type alternative struct {
	Reader string `json:"reader"`
	// Requests, KiB and CPU, in milliseconds, are by the minute; KiB are those of
	// bodies.
	Requests float64 `json:"requests"`
	KiB      float64 `json:"kib"`
	CPU      float64 `json:"cpu_ms"`
	// Series is how many were shown at most.
	Series int `json:"series"`
	// Ended is how many sessions did; of these, by what was shown, so many were
	// Missed, and so many counted Twice.
	Ended  int `json:"ended"`
	Missed int `json:"missed"`
	Twice  int `json:"twice"`
}

// counts are numbers of sessions that have ended.
type counts map[world.Key]int

// reader is a way to read an appliance.
type reader interface {
	// scrape reads what it wants to read, and shows all that it would show
	// Prometheus. It returns how many series these were.
	scrape(ctx context.Context) (series int, err error)
	// shown is what the last scrape has shown of sessions that have ended, and
	// whether that is a counter, which begins anew with the process, or a level.
	shown() (of counts, counter bool)
	// restart ends the process and begins it anew.
	restart() error
	close() error
}

// estate is what the readers read.
type estate struct {
	b     *bench
	world *world.World
	now   time.Time
}

func (e *estate) clock() time.Time { return e.now }

// compareReaders lets all readers look at the same fleet for hours, once a minute.
// There are more than 50 sessions in the first minutes of every hour, sessions
// that run for longer than a day, a night's retention, and ten minutes in which
// the readers are down.
func compareReaders(ctx context.Context, b *bench) (_ []result, err error) {
	start := time.Date(2026, time.March, 3, 3, 20, 0, 0, time.UTC) // before the retention at 4:00
	e := &estate{b: b, now: start}
	e.world, err = world.Start(world.Spec{
		Policies: b.scale(40, 30), Hourly: 1, Now: start, Past: 32 * time.Hour, Stragglers: 5, Retention: 30 * time.Hour, Remembers: true,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.world.Close()) }()
	minutes := b.scale(4*60, 60)
	down := func(minute int) bool { return minute >= 38 && minute < 48 } // 3:58 to 4:08

	readers := []struct {
		name string
		make func(*estate) (reader, error)
	}{
		{"this exporter", newOurs},
		{"json_exporter: the whole list, a series each", newWhole},
		{"scripts: the last 50 sessions, counted by status", newLast(false)},
		{"the last 50 sessions, a series each", newLast(true)},
		{"all of the last 24 hours, new ids counted", newWindow},
	}
	tallies := make([]*tally, len(readers))
	for i, r := range readers {
		at, err := r.make(e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		tallies[i] = &tally{reader: at, risen: counts{}}
		defer func() { err = errors.Join(err, tallies[i].reader.close()) }()
		if err := tallies[i].look(ctx, e); err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		tallies[i].begin()
	}
	for minute := 1; minute <= minutes; minute++ {
		e.now = start.Add(time.Duration(minute) * time.Minute)
		if err := e.world.Advance(e.now); err != nil {
			return nil, err
		}
		if down(minute) {
			continue
		}
		for i, t := range tallies {
			if down(minute - 1) {
				if err := t.reader.restart(); err != nil {
					return nil, fmt.Errorf("%s: %w", readers[i].name, err)
				}
			}
			if err := t.look(ctx, e); err != nil {
				return nil, fmt.Errorf("%s: %w", readers[i].name, err)
			}
		}
	}
	truth, err := e.world.Truth(start, e.now)
	if err != nil {
		return nil, err
	}
	for i, t := range tallies {
		a := t.judge(truth)
		a.Reader = readers[i].name
		b.alternatives = append(b.alternatives, a)
	}
	if ours := b.alternatives[0]; ours.Ended == 0 || ours.Missed+ours.Twice > 0 {
		return nil, fmt.Errorf("of %d sessions this exporter missed %d and counted %d twice", ours.Ended, ours.Missed, ours.Twice)
	}
	return nil, nil
}

// tally follows one reader, as Prometheus would.
type tally struct {
	reader reader
	looks  int
	last   counts
	risen  counts // what increase() would give: how far each number rose
	cost   alternative
}

// begin starts the count.
func (t *tally) begin() {
	t.looks, t.risen, t.cost = 0, counts{}, alternative{}
}

func (t *tally) look(ctx context.Context, e *estate) error {
	before, err := e.world.Traffic()
	if err != nil {
		return err
	}
	var series int
	spent, err := cpuOf(func() (err error) {
		series, err = t.reader.scrape(ctx)
		return err
	})
	if err != nil {
		return err
	}
	after, err := e.world.Traffic()
	if err != nil {
		return err
	}
	t.looks++
	t.cost.Requests += float64(after.Requests - before.Requests)
	t.cost.KiB += float64(after.Bytes-before.Bytes) / 1024
	t.cost.CPU += float64(spent) / float64(time.Millisecond)
	t.cost.Series = max(t.cost.Series, series)

	t.follow(t.reader.shown())
	return nil
}

// follow takes in what a scrape has shown.
func (t *tally) follow(now counts, counter bool) {
	for key, n := range now {
		switch was := t.last[key]; {
		case n >= was:
			t.risen[key] += n - was
		case counter:
			t.risen[key] += n // it began anew
		}
		// A level that falls says nothing of sessions that ended.
	}
	t.last = maps.Clone(now)
}

// judge compares what was shown with what was.
func (t *tally) judge(truth counts) alternative {
	a := t.cost
	a.Requests /= float64(t.looks)
	a.KiB /= float64(t.looks)
	a.CPU /= float64(t.looks)
	for key, n := range truth {
		a.Ended += n
		a.Missed += max(0, n-t.risen[key])
	}
	for key, n := range t.risen {
		a.Twice += max(0, n-truth[key])
	}
	return a
}

// show gathers and encodes what a scrape of reg answers with, and returns how many
// series that has.
func show(reg *prometheus.Registry) (int, error) {
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{EnableOpenMetrics: true}).ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		return 0, fmt.Errorf("scrape: status %d: %s", w.Code, w.Body)
	}
	series := 0
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			series++
		}
	}
	return series, nil
}

// ours is this exporter: a pass, then a scrape.
type ours struct {
	*estate
	store  *store.Store
	poller *poller.Poller
	reg    *prometheus.Registry
}

func newOurs(e *estate) (reader, error) {
	r := &ours{estate: e}
	return r, r.open()
}

func (r *ours) open() (err error) {
	if r.store, err = store.Open(filepath.Join(r.b.work, "alternatives"), store.Options{Now: r.clock}); err != nil {
		return err
	}
	book, err := r.store.Book("bench")
	if err != nil {
		return err
	}
	if r.poller, err = newPoller("bench", r.world.URLs[0], r.clock, &http.Transport{}, book, 24*time.Hour); err != nil {
		return err
	}
	r.reg = prometheus.NewRegistry()
	return r.reg.Register(collector.New(func() []collector.Source { return []collector.Source{r.poller} }))
}

func (r *ours) scrape(ctx context.Context) (int, error) {
	if err := r.poller.Poll(ctx); err != nil {
		return 0, err
	}
	return show(r.reg)
}

func (r *ours) shown() (counts, bool) {
	c := counts{}
	for _, s := range r.poller.Published().View.Series {
		for _, counter := range s.Counters {
			if !counter.Held {
				c[world.Key{Type: s.Key.Type, Policy: s.Key.Policy, Status: counter.Status}] += int(counter.Count)
			}
		}
	}
	return c, true
}

func (r *ours) restart() error { return errors.Join(r.close(), r.open()) }
func (r *ours) close() error   { return r.store.Close() }

// ids counts sessions by their ids, each once, whatever its further fate.
type ids struct {
	met   map[ledger.ID]bool
	total counts
}

func newIDs() ids { return ids{make(map[ledger.ID]bool), counts{}} }

func (c *ids) add(id, typ, name, status string) {
	if key := ledger.ParseID(id); status != vbaws.StatusRunning && !c.met[key] {
		c.met[key] = true
		c.total[world.KeyOf(typ, name, status)]++
	}
}

// whole is json_exporter, which makes a series of each session in the list. What
// ended is counted as a very patient query could: Prometheus knows all ids that it
// has ever scraped.
type whole struct {
	*estate
	module  jsonconfig.Module
	metrics []jsonexporter.JSONMetric
	log     *slog.Logger
	expires time.Time // of the token
	scraped ids
}

func newWhole(e *estate) (reader, error) {
	module := jsonconfig.Module{
		Headers: map[string]string{"x-api-version": "1.8-rev0"},
		Metrics: []jsonconfig.Metric{{
			Name: "veeam_session", Help: "Sessions.", Type: jsonconfig.ObjectScrape, ValueType: jsonconfig.ValueTypeGauge,
			Path:   "{.results[*]}",
			Labels: map[string]string{"id": "{.id}", "type": "{.type}", "name": "{.name}", "status": "{.status}"},
			Values: map[string]string{"usn": "{.usn}"},
		}},
	}
	metrics, err := jsonexporter.CreateMetricsList(module)
	return &whole{estate: e, module: module, metrics: metrics, log: slog.New(slog.DiscardHandler), scraped: newIDs()}, err
}

// login does what json_exporter can't: it sends one token, and gets none.
func (r *whole) login(ctx context.Context) error {
	if r.now.Before(r.expires) {
		return nil
	}
	form := url.Values{"grant_type": {"password"}, "username": {vbawstest.DefaultUsername}, "password": {vbawstest.DefaultPassword}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.world.URLs[0]+"/api/v1/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("x-api-version", r.module.Headers["x-api-version"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Token   string `json:"access_token"`
		Expires int    `json:"expires_in"`
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil || answer.Token == "" {
		return fmt.Errorf("log in for json_exporter: %s: %w", resp.Status, cmp.Or(err, errors.New("no token came")))
	}
	r.expires = r.now.Add(time.Duration(answer.Expires)*time.Second - time.Minute)
	r.module.HTTPClientConfig.Authorization = &pconfig.Authorization{Type: "Bearer", Credentials: pconfig.Secret(answer.Token)}
	return nil
}

func (r *whole) scrape(ctx context.Context) (int, error) {
	if err := r.login(ctx); err != nil {
		return 0, err
	}
	data, err := jsonexporter.NewJSONFetcher(ctx, r.log, r.module, nil).FetchJSON(r.world.URLs[0] + "/api/v1/sessions?Limit=-1")
	if err != nil {
		return 0, err
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(jsonexporter.JSONMetricCollector{JSONMetrics: r.metrics, Data: data, Logger: r.log})
	series, err := show(reg)
	if err != nil {
		return 0, err
	}
	// What PromQL would make of it, which is none of its cost.
	var page struct{ Results []stockSession }
	if err := json.Unmarshal(data, &page); err != nil {
		return 0, err
	}
	for _, s := range page.Results {
		r.scraped.add(s.ID, s.Type, s.Name, s.Status)
	}
	if series != len(page.Results) {
		return 0, fmt.Errorf("json_exporter shows %d series of %d sessions", series, len(page.Results))
	}
	return series, nil
}

func (r *whole) shown() (counts, bool) { return r.scraped.total, true }
func (r *whole) restart() error        { return nil } // it keeps nothing
func (r *whole) close() error          { return nil }

// last reads the 50 sessions that started last. Scripts count them by type, policy
// and status; with a series for each, Prometheus knows their ids.
type last struct {
	client *vbaws.Client
	each   bool
	level  counts
	ids    ids
}

func newLast(each bool) func(*estate) (reader, error) {
	return func(e *estate) (reader, error) {
		client, err := newClient(e.world.URLs[0], e.clock, &http.Transport{})
		return &last{client: client, each: each, ids: newIDs()}, err
	}
}

func (r *last) scrape(ctx context.Context) (int, error) {
	page, err := r.client.Sessions(ctx, vbaws.SessionsQuery{Sort: vbaws.SortStartTimeDesc, Limit: 50})
	if err != nil {
		return 0, err
	}
	now := newIDs()
	for _, s := range page.Rows {
		now.add(s.ID, s.Type, s.Name, s.Status)
		r.ids.add(s.ID, s.Type, s.Name, s.Status)
	}
	r.level = now.total
	if r.each {
		return showSessions(page.Rows)
	}
	return showCounts(r.level)
}

func (r *last) shown() (counts, bool) {
	if r.each {
		return r.ids.total, true
	}
	return r.level, false
}

func (r *last) restart() error { return nil } // it keeps nothing: Prometheus does
func (r *last) close() error   { return nil }

// showSessions scrapes an exporter of a series each.
func showSessions(rows []vbaws.Row) (int, error) {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "veeam_session", Help: "Sessions."}, []string{"id", "type", "name", "status"})
	for _, s := range rows {
		vec.WithLabelValues(s.ID, s.Type, s.Name, s.Status).Set(float64(s.USN))
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(vec)
	return show(reg)
}

// showCounts scrapes an exporter of counts.
func showCounts(c counts) (int, error) {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "veeam_sessions", Help: "Sessions."}, []string{"type", "policy", "status"})
	for key, n := range c {
		vec.WithLabelValues(key.Type, key.Policy, key.Status).Set(float64(n))
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(vec)
	return show(reg)
}

// window reads all that started in the last 24 hours, each time, and counts the
// ids that it has not met. It remembers them as long as it lives.
type window struct {
	*estate
	client *vbaws.Client
	ids    ids
}

func newWindow(e *estate) (reader, error) {
	client, err := newClient(e.world.URLs[0], e.clock, &http.Transport{})
	r := &window{estate: e, client: client}
	return r, errors.Join(err, r.restart())
}

func (r *window) scrape(ctx context.Context) (int, error) {
	q := vbaws.SessionsQuery{Sort: vbaws.SortStartTimeDesc, FromUTC: r.now.Add(-24 * time.Hour), Limit: pageRows}
	for {
		page, err := r.client.Sessions(ctx, q)
		if err != nil {
			return 0, err
		}
		for _, s := range page.Rows {
			r.ids.add(s.ID, s.Type, s.Name, s.Status)
		}
		if q.Offset += len(page.Rows); len(page.Rows) == 0 || q.Offset >= page.TotalCount {
			return showCounts(r.ids.total)
		}
	}
}

func (r *window) shown() (counts, bool) { return r.ids.total, true }

func (r *window) restart() error {
	r.ids = newIDs()
	return nil
}

func (r *window) close() error { return nil }
