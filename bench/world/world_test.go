package world

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"vbaws_exporter/bench/child"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

func TestMain(m *testing.M) {
	child.Main(child.Parts{Part: Service()})
	os.Exit(m.Run())
}

var now = time.Date(2026, time.March, 3, 3, 20, 0, 0, time.UTC)

func start(t *testing.T, spec Spec) (*World, *vbaws.Client) {
	t.Helper()
	spec.Now = now
	w, err := Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(w.URLs[0])
	if err != nil {
		t.Fatal(err)
	}
	c, err := vbaws.New(vbaws.Config{
		URL: u, Username: vbawstest.DefaultUsername, Transport: &http.Transport{},
		Password: func() (string, error) { return vbawstest.DefaultPassword, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, c
}

func sessions(t *testing.T, c *vbaws.Client) []vbaws.Row {
	t.Helper()
	page, err := c.Sessions(t.Context(), vbaws.SessionsQuery{Limit: -1, Sort: vbaws.SortUSNDesc})
	if err != nil {
		t.Fatal(err)
	}
	return page.Rows
}

// TestHistoryHasTheSameSeries shows that a longer history differs in numbers alone.
func TestHistoryHasTheSameSeries(t *testing.T) {
	const policies = 20
	series := func(n int) map[Key]bool {
		w, c := start(t, Spec{Policies: policies})
		if err := w.History(n); err != nil {
			t.Fatal(err)
		}
		found := map[Key]bool{}
		rows := sessions(t, c)
		if len(rows) != n {
			t.Fatalf("%d sessions of %d", len(rows), n)
		}
		for _, r := range rows {
			if r.Err != nil || r.Stop.IsZero() || r.Start.Before(now.Add(-HistorySpan)) || r.Stop.After(now) {
				t.Fatalf("not a session that ended in time: %+v", r)
			}
			found[KeyOf(r.Type, r.Name, r.Status)] = true
		}
		return found
	}
	short, long := series(10*policies), series(200*policies)
	for key := range long {
		if !short[key] {
			t.Errorf("%v is in the long history alone", key)
		}
	}
	if want := policies*2*3 + 3; len(short) != want { // Policy and Job of each, and Task
		t.Errorf("%d series of %d", len(short), want)
	}
}

func TestChange(t *testing.T) {
	w, c := start(t, Spec{Policies: 3})
	for i, want := range []int{0, 5, 5} {
		before := sessions(t, c)
		ended, err := w.Change(10)
		if err != nil || ended != want {
			t.Fatalf("change %d: %d ended, %v", i, ended, err)
		}
		running := 0
		after := sessions(t, c)
		for _, r := range after {
			if r.Status == vbaws.StatusRunning {
				running++
			}
		}
		if running != 5 || len(after)-len(before) != 5 {
			t.Errorf("change %d: %d run, %d are new", i, running, len(after)-len(before))
		}
	}
}

func TestTruth(t *testing.T) {
	w, c := start(t, Spec{Policies: 4, Hourly: 1, Past: 2 * time.Hour, Stragglers: 2, Remembers: true})
	known := map[string]bool{}
	for _, r := range sessions(t, c) {
		known[r.ID] = r.Status != vbaws.StatusRunning
	}
	until := now.Add(2 * time.Hour)
	if err := w.Advance(until); err != nil {
		t.Fatal(err)
	}
	want, stragglers := map[Key]int{}, 0
	for _, r := range sessions(t, c) {
		if known[r.ID] || r.Status == vbaws.StatusRunning {
			continue
		}
		want[KeyOf(r.Type, r.Name, r.Status)]++
		if r.Stop.Sub(r.Start) > 30*time.Hour {
			stragglers++
		}
	}
	got, err := w.Truth(now, until)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 || len(got) != len(want) {
		t.Errorf("%d keys of %d", len(got), len(want))
	}
	for key, n := range want {
		if got[key] != n {
			t.Errorf("%v: %d of %d", key, got[key], n)
		}
	}
	if stragglers != 2 {
		t.Errorf("%d stragglers ended of 2", stragglers)
	}
	traffic, err := w.Traffic()
	if err != nil || traffic.Requests < 2 || traffic.Bytes == 0 {
		t.Errorf("traffic: %+v, %v", traffic, err)
	}
}

func TestGate(t *testing.T) {
	w, c := start(t, Spec{Policies: 1})
	if err := w.Gate(false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Sessions(ctx, vbaws.SessionsQuery{Limit: 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a closed gate let a request through: %v", err)
	}
	if err := w.Gate(true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Sessions(t.Context(), vbaws.SessionsQuery{Limit: 1}); err != nil {
		t.Error(err)
	}
}
