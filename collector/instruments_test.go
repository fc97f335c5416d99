package collector

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"vbaws_exporter/collector/poller"
	"vbaws_exporter/vbaws"
)

// text returns what g shows, in the text format, save build_info, which depends
// on the build.
func text(t *testing.T, g prometheus.Gatherer) []byte {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if f.GetName() == buildInfo.Name {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// instruments returns instruments that something has happened to.
func instruments(reg prometheus.Registerer) *Instruments {
	i := NewInstruments(reg)
	i.Reloaded(true, epoch)
	i.Add("prod-eu")
	i.Add("lab")
	i.Polled("prod-eu", poller.ResultSuccess, 250*time.Millisecond)
	i.Polled("prod-eu", poller.ResultStorage, time.Second)
	i.Requested("prod-eu", vbaws.Request{Endpoint: "/api/v1/sessions/{id}", Code: 200, Duration: 20 * time.Millisecond})
	i.Requested("prod-eu", vbaws.Request{Endpoint: "/api/v1/token", Code: 401, Duration: time.Second})
	i.Requested("lab", vbaws.Request{Endpoint: "/api/v1/token", Duration: 2 * time.Minute})
	i.Reloaded(false, epoch.Add(time.Hour))
	return i
}

func TestInstruments(t *testing.T) {
	t.Run("values", testInstrumentsValues)
	t.Run("any name", testInstrumentsAnyName)
	t.Run("long name", testInstrumentsLongName)
	t.Run("native histograms", testInstrumentsNativeHistograms)
}

func testInstrumentsValues(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	i := instruments(reg)
	golden(t, "instruments.prom", text(t, reg))

	i.Add("prod-eu")
	golden(t, "instruments.prom", text(t, reg)) // adding again changes nothing

	lint(t, reg)

	i.Remove("prod-eu")
	got := string(text(t, reg))
	if strings.Contains(got, "prod-eu") {
		t.Errorf("after Remove:\n%s", got)
	}
	if !strings.Contains(got, `vbaws_exporter_api_requests_total{appliance="lab",code="error",endpoint="/api/v1/token"} 1`) {
		t.Errorf("Remove took another appliance's:\n%s", got)
	}
}

func testInstrumentsAnyName(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	i := NewInstruments(reg)
	const name = "a\xff"
	i.Add(name)
	i.Polled(name, poller.ResultSuccess, time.Second)
	i.Requested(name, vbaws.Request{Endpoint: "/", Code: 200})
	if got := string(text(t, reg)); !strings.Contains(got, `vbaws_exporter_polls_total{appliance="a�",result="success"} 1`) {
		t.Errorf("got:\n%s", got)
	}
	i.Remove(name)
	if got := string(text(t, reg)); strings.Contains(got, `appliance="`) {
		t.Errorf("after Remove:\n%s", got)
	}
}

// testInstrumentsLongName: polls join with the other metrics of the appliance.
func testInstrumentsLongName(t *testing.T) {
	name := strings.Repeat("é", 200)
	reg := prometheus.NewPedanticRegistry()
	i := NewInstruments(reg)
	i.Add(name)
	i.Polled(name, poller.ResultSuccess, time.Second)
	i.Requested(name, vbaws.Request{Endpoint: "/", Code: 200})
	label := `appliance="` + labelValue(name) + `"`
	if got := string(text(t, reg)); strings.Count(got, label) != strings.Count(got, `appliance="`) {
		t.Errorf("want %s, got:\n%s", label, got)
	}
	i.Remove(name)
	if got := string(text(t, reg)); strings.Contains(got, `appliance="`) {
		t.Errorf("after Remove:\n%s", got)
	}
}

// The table of metrics is what is exposed, in every column.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	instruments(reg)
	reg.MustRegister(New(fixed(fleet()...)))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []MetricDoc
	for _, f := range families {
		doc := MetricDoc{Name: f.GetName(), Type: strings.ToLower(f.GetType().String()), Help: f.GetHelp()}
		for _, l := range f.Metric[0].Label {
			doc.Labels = append(doc.Labels, l.GetName())
		}
		got = append(got, doc)

		unit := ""
		if strings.HasSuffix(f.GetName(), "_seconds") {
			unit = "seconds"
		}
		if f.GetUnit() != unit {
			t.Errorf("unit of %s is %q, want %q", f.GetName(), f.GetUnit(), unit)
		}
	}
	diff := cmp.Diff(Metrics(), got,
		cmpopts.SortSlices(func(a, b MetricDoc) bool { return a.Name < b.Name }),
		cmpopts.SortSlices(func(a, b string) bool { return a < b }))
	if diff != "" {
		t.Errorf("-table +exposed:\n%s", diff)
	}
}

// Instruments have native buckets beside the classic ones.
func testInstrumentsNativeHistograms(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	instruments(reg)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	histograms := slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return f.GetType() != dto.MetricType_HISTOGRAM })
	if len(histograms) != 2 {
		t.Errorf("%d histograms, want 2", len(histograms))
	}
	for _, f := range histograms {
		if h := f.Metric[0].Histogram; h.Schema == nil || len(h.Bucket) == 0 {
			t.Errorf("%s: %v", f.GetName(), h)
		}
	}
}

func TestMetricsMayBeChanged(t *testing.T) {
	want := Metrics()
	changed := Metrics()
	for i := range changed {
		changed[i].Name = ""
		for j := range changed[i].Labels {
			changed[i].Labels[j] = ""
		}
	}
	if diff := cmp.Diff(want, Metrics()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
