package verdict

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vbaws_exporter/collector/schedule"
)

// TestRecent: each kind has its own sessions, of all extended types that make it and under
// the former name, by end, and no more than Keep.
func TestRecent(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	history := func(status string, minutes ...int) (h History) {
		for _, m := range minutes {
			end := now.Add(time.Duration(-m) * time.Minute)
			h = h.Insert(Session{Start: end.Add(-time.Second), End: end, Status: status})
		}
		return h
	}
	var many []int
	for i := range 2 * Keep {
		many = append(many, 100+i)
	}
	p := &Policy{Sessions: []Sessions{
		{ExtendedType: "PolicyBackup", Finished: history("Failed", 30, 10)},
		{ExtendedType: "PolicyRdsBackup", Finished: history("Warning", 20)},
		{ExtendedType: "PolicyBackup", Finished: history("Canceled", 50, 5), Before: now.Add(-40 * time.Minute)},
		{ExtendedType: "PolicyBackupHealthCheck", Finished: history("Succeeded", 1)},
		{ExtendedType: "PolicySnapshot", Finished: history("Succeeded", many...)},
		{ExtendedType: "PolicyRdsSnapshot", Finished: history("Failed", 99)},
	}}
	got := make(map[schedule.Kind][]string)
	for _, k := range Judge(p, Conditions{Now: now, Grace: time.Hour, Typed: true}).Kinds {
		if k.Kind == schedule.Snapshot {
			if n := len(k.Recent); n != Keep || k.Recent[n-1].Status != "Failed" {
				t.Errorf("%d snapshots: %v", n, k.Recent)
			}
			continue
		}
		for _, s := range k.Recent {
			got[k.Kind] = append(got[k.Kind], s.Status)
		}
	}
	want := map[schedule.Kind][]string{
		schedule.Backup: {"Canceled", "Failed", "Warning", "Failed"},
		schedule.Whole:  {"Succeeded"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
