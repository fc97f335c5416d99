package verdict

import (
	"testing"
	"time"

	"vbaws_exporter/collector/schedule"
)

// TestOwedIsBounded: however long ago the last start was decided, the starts that are judged
// are those within the horizon and two more.
func TestOwedIsBounded(t *testing.T) {
	since := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, zoned := range []bool{true, false} {
		var in *time.Location
		if zoned {
			in = zone("Europe/Berlin")
		}
		decided := since.Add(12 * time.Hour)
		p := &Policy{
			Members: []Member{{Enabled: true, Since: since, Plan: schedule.New(parsePlan(t, []string{"backup", "hourly"}), in)}},
			Decided: Decided{schedule.Backup: decided},
		}
		j := &judgement{Conditions: Conditions{Now: since.AddDate(50, 0, 0), Grace: time.Hour, Typed: true}, policy: p}
		owed, first := j.allOwed(&Kind{Kind: schedule.Backup}, decided)
		if n := len(owed); n < int(horizon/time.Hour) || n > int(horizon/time.Hour)+2 {
			t.Errorf("zoned %v: %d starts", zoned, n)
		}
		if len(owed) > 0 && !owed[0].At.Equal(decided) || first.After(since.Add(time.Hour)) {
			t.Errorf("zoned %v: first %v, from %v", zoned, first, owed[0].At)
		}
	}
}
