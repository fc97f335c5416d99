package killtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"vbaws_exporter/internal/polltest"
)

// protobuf is the one format that carries both kinds of buckets and created
// times.
const protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"

// page is one scrape.
type page struct {
	// values are all values, the parts of histograms included, by name and
	// labels; those of label "appliance" are left out.
	values map[string]float64
	// growing are the keys of values that must not fall or disappear as long as
	// the state exists.
	growing map[string]bool
	// created are created times, by family and labels.
	created map[string]time.Time
}

// get scrapes an exporter of one appliance.
func get(ctx context.Context, client *http.Client, url string) (*page, error) {
	families, err := scrape(ctx, client, url)
	if err != nil {
		return nil, err
	}
	return newPage(families), nil
}

// getEach scrapes an exporter, and returns a page an appliance.
func getEach(ctx context.Context, client *http.Client, url string) (map[string]*page, error) {
	families, err := scrape(ctx, client, url)
	if err != nil {
		return nil, err
	}
	each := make(map[string][]*dto.MetricFamily)
	for _, f := range families {
		metrics := make(map[string][]*dto.Metric)
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "appliance" {
					metrics[l.GetValue()] = append(metrics[l.GetValue()], m)
				}
			}
		}
		for appliance, m := range metrics {
			each[appliance] = append(each[appliance], &dto.MetricFamily{Name: f.Name, Type: f.Type, Metric: m})
		}
	}
	pages := make(map[string]*page)
	for appliance, families := range each {
		pages[appliance] = newPage(families)
	}
	return pages, nil
}

func scrape(ctx context.Context, client *http.Client, url string) ([]*dto.MetricFamily, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", protobuf)
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	dec := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header))
	var families []*dto.MetricFamily
	for {
		f := new(dto.MetricFamily)
		switch err := dec.Decode(f); {
		case errors.Is(err, io.EOF):
			return families, nil
		case err != nil:
			return nil, fmt.Errorf("GET %s: %w", url, err)
		}
		families = append(families, f)
	}
}

// ofTheProcess reports whether a counter counts what the process does, and so
// begins at 0 with it.
func ofTheProcess(family string) bool {
	return strings.HasPrefix(family, "vbaws_exporter_polls_") || strings.HasPrefix(family, "vbaws_exporter_poll_") ||
		strings.HasPrefix(family, "vbaws_exporter_api_")
}

func newPage(families []*dto.MetricFamily) *page {
	p := &page{values: make(map[string]float64), growing: make(map[string]bool), created: make(map[string]time.Time)}
	for _, f := range families {
		name := f.GetName()
		grows := func(k string, v float64) {
			p.values[k] = v
			if !ofTheProcess(name) {
				p.growing[k] = true
			}
		}
		for _, m := range f.Metric {
			labels := polltest.Labels(m)
			switch {
			case m.Counter != nil:
				grows(name+" "+labels, m.Counter.GetValue())
				if t := m.Counter.CreatedTimestamp; t != nil && !ofTheProcess(name) {
					p.created[name+" "+labels] = t.AsTime()
				}
			case m.Gauge != nil:
				p.values[name+" "+labels] = m.Gauge.GetValue()
			case m.Histogram != nil:
				h := m.Histogram
				grows(name+"_count "+labels, float64(h.GetSampleCount()))
				grows(name+"_sum "+labels, h.GetSampleSum())
				for _, b := range h.Bucket {
					grows(fmt.Sprintf("%s_bucket %s le=%g", name, labels, b.GetUpperBound()), float64(b.GetCumulativeCount()))
				}
				grows(name+"_zero "+labels, float64(h.GetZeroCount()))
				for i, n := range native(h) {
					grows(fmt.Sprintf("%s_native %s i=%d", name, labels, i), float64(n))
				}
				if t := h.CreatedTimestamp; t != nil && !ofTheProcess(name) {
					p.created[name+" "+labels] = t.AsTime()
				}
			}
		}
	}
	return p
}

// native returns the positive native buckets that hold something.
func native(h *dto.Histogram) map[int32]int64 {
	buckets := make(map[int32]int64)
	var index int32
	var count int64
	deltas := h.PositiveDelta
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			count += deltas[0]
			deltas = deltas[1:]
			if count != 0 {
				buckets[index] = count
			}
			index++
		}
	}
	return buckets
}

// after returns what Prometheus would mistake in p, scraped after before: what fell, what
// vanished, and created times that changed.
func (p *page) after(before *page) (wrong []string) {
	for _, k := range slices.Sorted(maps.Keys(before.growing)) {
		was := before.values[k]
		switch now, there := p.values[k]; {
		case !there && !strings.Contains(k, "_native "):
			wrong = append(wrong, fmt.Sprintf("%s vanished at %v", k, was))
		case now < was:
			wrong = append(wrong, fmt.Sprintf("%s fell from %v to %v", k, was, now))
		}
	}
	for k, was := range before.created {
		if now, there := p.created[k]; there && !now.Equal(was) {
			wrong = append(wrong, fmt.Sprintf("created time of %s went from %s to %s", k, was, now))
		}
	}
	return wrong
}

// sessions is what the page has of sessions, zeros left out.
func (p *page) sessions() map[string]float64 {
	m := make(map[string]float64)
	for k, v := range p.values {
		name, _, _ := strings.Cut(k, " ")
		switch name {
		case "vbaws_sessions_total", "vbaws_session_duration_seconds_count", "vbaws_session_duration_seconds_sum",
			"vbaws_sessions_running", "vbaws_sessions_running_oldest_start_timestamp_seconds",
			"vbaws_session_last_end_timestamp_seconds", "vbaws_session_last_status", "vbaws_session_last_duration_seconds":
			m[k] = v
		}
	}
	return nonzero(m)
}

// reckon compares the counters of a page with the truth.
func reckon(truth, page map[string]float64) (lost, doubled int) {
	for k := range merged(truth, page) {
		if !strings.HasPrefix(k, "vbaws_sessions_total ") {
			continue
		}
		switch d := int(truth[k] - page[k]); {
		case d > 0:
			lost += d
		case d < 0:
			doubled -= d
		}
	}
	return lost, doubled
}

func merged(a, b map[string]float64) map[string]float64 {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}
