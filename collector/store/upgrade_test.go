package store

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/verdict"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// openRelease opens a copy of a state file that an earlier release wrote.
//
// state-0.1.0.db.gz was written by the code of 0.1.0 (its packages ledger and store,
// without an appliance): the appliance "synced" after its initial sync and two polls,
// and "syncing" after the first part of its initial sync.
func openRelease(t *testing.T, version string) *Store {
	t.Helper()
	in, err := os.Open(filepath.Join("testdata", "state-"+version+".db.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	state, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, FileName), state, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func TestStateOf010(t *testing.T) {
	t.Run("counters", testStateOf010Counters)
	t.Run("history", testStateOf010History)
	t.Run("instances", testStateOf010Instances)
}

// State of 0.1.0 is read, and what it knows of sessions holds: none is counted again,
// none is missed.
func testStateOf010Counters(t *testing.T) {
	epoch := time.Date(2026, time.March, 1, 22, 0, 0, 0, time.UTC)
	bounds := []float64{60, 600, 3600}
	s := openRelease(t, "0.1.0")
	session := func(n int, status string, start, stop time.Duration) vbaws.Session {
		return vbaws.Session{
			ID: vbawstest.ID(n), Type: vbaws.TypePolicy, ExtendedType: "PolicyBackup", Status: status, USN: int64(n),
			Start: epoch.Add(start), Stop: epoch.Add(stop),
		}
	}
	later := func(s vbaws.Session) vbaws.Session { s.USN += 100; return s }
	load := func(b state) *ledger.Ledger {
		t.Helper()
		state, err := b.Load()
		if err != nil {
			t.Fatal(err)
		}
		return ledger.New(state, b, ledger.Options{Bounds: bounds}, epoch)
	}
	counts := func(v *ledger.View) map[string]uint64 {
		m := map[string]uint64{}
		for _, s := range v.Series {
			for _, c := range s.Counters {
				if c.Count > 0 {
					m[s.Key.Policy+"/"+c.Status] = c.Count
				}
			}
		}
		return m
	}

	b := openAppliance(t, s, "synced")
	l := load(b)
	meta := l.View().Meta
	want := ledger.Meta{
		SyncedAt: epoch, Cutoff: epoch.Add(-48 * time.Hour),
		Watermark:  &ledger.Watermark{USN: 5, ID: ledger.ParseID(vbawstest.ID(5))},
		LastResync: epoch, LastDailyResync: epoch, ResyncedAt: epoch, ResyncInterval: 5 * time.Minute,
		Resets: 1, Skipped: map[string]uint64{ledger.SkipBeforeCutoff: 1, ledger.SkipUndecodable: 1},
		Zone: "Central European Standard Time", Bounds: bounds,
	}
	if diff := cmp.Diff(want, meta); diff != "" {
		t.Errorf("meta (-want +got):\n%s", diff)
	}
	v := l.View()
	if len(v.Series) != 1 || v.Series[0].Running != 3 || len(v.Policies) != 1 || !v.Policies[0].LookedUp || v.Policies[0].Schedule.Weekly == nil {
		t.Fatalf("series %+v, policies %+v", v.Series, v.Policies)
	}
	if diff := cmp.Diff(map[string]uint64{"Nightly/Failed": 1, "Nightly/Warning": 1}, counts(v)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	p := l.Begin(epoch.Add(time.Hour))
	for _, s := range []vbaws.Session{
		session(2, "Succeeded", -30*time.Hour, -29*time.Hour),
		session(5, "Warning", -time.Minute, -30*time.Second),
	} {
		if e, err := p.Entry(&s); err != nil || !e.Unchanged() {
			t.Errorf("session %s of the state file changed, %v; want it unchanged", s.ID, err)
		}
	}
	if err := p.MarkMissing(ledger.ParseID(vbawstest.ID(4))); err != nil {
		t.Fatal(err)
	}
	if err := p.SkipRow(&vbaws.Row{Session: vbaws.Session{ID: vbawstest.ID(6)}, Err: fmt.Errorf("no status")}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []vbaws.Session{
		later(session(1, "Failed", -time.Hour, -30*time.Minute)), // it was counted and ran again
		later(session(2, "Failed", -30*time.Hour, -28*time.Hour)),
		session(3, "Canceled", -2*time.Hour, -time.Minute), // it ran during the initial sync
		later(session(4, "Failed", -60*time.Hour, -time.Minute)),
		session(7, "Failed", -47*time.Hour, -46*time.Hour),
	} {
		e, err := p.Entry(&s)
		if err != nil {
			t.Fatal(err)
		}
		e.Fold("Nightly", ledger.Incremental)
	}
	if err := b.Save(p.Changes()); err != nil {
		t.Fatal(err)
	}
	v = p.Commit(epoch.Add(time.Hour))
	if diff := cmp.Diff(map[string]uint64{"Nightly/Failed": 2, "Nightly/Warning": 1, "Nightly/Canceled": 1}, counts(v)); diff != "" {
		t.Errorf("counts after another poll (-want +got):\n%s", diff)
	}
	if v.Skipped[ledger.SkipUndecodable] != 1 || v.Skipped[ledger.SkipGone] != 0 {
		t.Errorf("skipped %v", v.Skipped)
	}
	if diff := cmp.Diff(counts(v), counts(load(b).View())); diff != "" {
		t.Errorf("counts after a restart (-want +got):\n%s", diff)
	}

	// An initial sync that was cut off goes on with the same backfill window.
	b = openAppliance(t, s, "syncing")
	l = load(b)
	p = l.Begin(epoch.Add(time.Hour))
	if p.Synced() {
		t.Error("the initial sync is complete, want it under way")
	}
	if since := p.BeginInitialSync(epoch); !since.Equal(epoch.Add(-24 * time.Hour)) {
		t.Errorf("backfill from %v, want it from a day before %v", since, epoch)
	}
	for _, s := range []vbaws.Session{session(1, "Failed", -time.Hour, -50*time.Minute), session(2, "Failed", -2*time.Hour, -time.Hour)} {
		e, err := p.Entry(&s)
		if err != nil {
			t.Fatal(err)
		}
		e.Fold("Nightly", ledger.Backfill)
	}
	p.EndInitialSync()
	if diff := cmp.Diff(map[string]uint64{"Nightly/Failed": 2}, counts(p.Commit(epoch.Add(time.Hour)))); diff != "" {
		t.Errorf("counts after the initial sync (-want +got):\n%s", diff)
	}
}

// testStateOf010History: 0.1.0 stored no history of sessions; the newest session and the
// newest success are known of its counters.
func testStateOf010History(t *testing.T) {
	epoch := time.Date(2026, time.March, 1, 22, 0, 0, 0, time.UTC)
	b := openAppliance(t, openRelease(t, "0.1.0"), "synced")
	state, err := b.Load()
	if err != nil {
		t.Fatal(err)
	}
	v := ledger.New(state, b, ledger.Options{Bounds: []float64{60, 600, 3600}}, epoch).View()
	want := verdict.History{
		Recent:  []verdict.Session{{Start: epoch.Add(-time.Minute), End: epoch.Add(-30 * time.Second), Status: "Warning"}},
		Success: epoch.Add(-30 * time.Second),
	}
	if diff := cmp.Diff(want, v.Series[0].History, cmpopts.IgnoreFields(verdict.Session{}, "ID")); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}

// State of 0.1.0 has no bucket of instances: it is read, checked and exported without, and
// gets one.
func testStateOf010Instances(t *testing.T) {
	s := openRelease(t, "0.1.0")
	if _, err := s.Summaries(); err != nil {
		t.Fatal(err)
	}
	b := openAppliance(t, s, "synced")
	at := time.Date(2026, time.March, 1, 22, 0, 0, 0, time.UTC)
	want := map[ledger.ID]*ledger.InstanceBackup{{1}: {At: at, LookedUp: at}, {2}: {LookedUp: at}}
	if err := b.Save(&ledger.Changes{Instances: want}); err != nil {
		t.Fatal(err)
	}
	state, err := b.Load()
	if diff := cmp.Diff(want, state.Instances); err != nil || diff != "" {
		t.Errorf("%v, -saved +loaded:\n%s", err, diff)
	}
	if err := b.Save(&ledger.Changes{Instances: map[ledger.ID]*ledger.InstanceBackup{{1}: nil}}); err != nil {
		t.Fatal(err)
	}
	if state, err = b.Load(); err != nil || len(state.Instances) != 1 {
		t.Errorf("%v, %v", state.Instances, err)
	}

	// The other appliance of the file is exported as it is.
	var file bytes.Buffer
	if _, err := s.Export("syncing", "test", &file); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, t.TempDir()).Import(&file, false); err != nil {
		t.Fatal(err)
	}
}
