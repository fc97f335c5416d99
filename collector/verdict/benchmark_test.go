package verdict

import (
	"fmt"
	"testing"
	"time"

	"vbaws_exporter/collector/schedule"
)

// BenchmarkJudge judges 1,000 policies with three kinds and full histories: when all is
// well, when none has run for a year, and when the first judgement after that, with
// nothing decided, finds starts every quarter of an hour.
func BenchmarkJudge(b *testing.B) {
	for _, bench := range []struct {
		name, plan string
		away       time.Duration
		stored     bool
	}{
		{"ok", "snapshot hourly, replica daily 01, backup daily 01", 0, true},
		{"overdue", "snapshot hourly, replica daily 01, backup daily 01", 365 * 24 * time.Hour, true},
		{"found overdue", "snapshot hourly 4, backup daily 01", 365 * 24 * time.Hour, false},
	} {
		b.Run(bench.name, func(b *testing.B) {
			policies := make([]Policy, 1000)
			now := time.Date(2026, 6, 17, 12, 30, 0, 0, time.UTC)
			c := Conditions{Now: now.Add(bench.away), Grace: time.Hour, Typed: true}
			plan := schedule.New(parsePlan(b, []string{bench.plan}), zone("Europe/Berlin"))
			for i := range policies {
				p := &policies[i]
				p.Members = []Member{{Enabled: true, Since: now.AddDate(0, -1, 0), Plan: plan}}
				for _, name := range []string{"PolicySnapshot", "PolicyRemoteSnapshot", "PolicyBackup"} {
					var h History
					for n := range Keep {
						end := now.Add(-time.Duration(Keep-n) * 20 * time.Minute)
						h = h.Insert(Session{end.Add(-10 * time.Minute), end, []string{"Succeeded", "Failed"}[n%2], 0})
					}
					p.Sessions = append(p.Sessions, Sessions{ExtendedType: name, Finished: h, Running: []time.Time{now.Add(-time.Minute)}})
				}
				v := Judge(p, c)
				if bench.stored {
					p.Decided = v.Decided
				}
				if bench.away > 0 && v.Kinds[0].State != Stuck {
					b.Fatal(fmt.Sprint(v))
				}
			}
			b.ResetTimer()
			for range b.N {
				for i := range policies {
					Judge(&policies[i], c)
				}
			}
		})
	}
}
