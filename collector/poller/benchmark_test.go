package poller

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-kit/log"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store"
	"vbaws_exporter/vbaws"
	"vbaws_exporter/vbaws/vbawstest"
)

// listed is an appliance whose answers cost nothing.
type listed struct {
	API
	rows []vbaws.Row // the newest first
	now  time.Time
}

func (*listed) APIVersion() string { return "1.8-rev0" }

func (a *listed) Sessions(_ context.Context, q vbaws.SessionsQuery) (*vbaws.SessionsPage, error) {
	rows := a.rows
	switch {
	case len(q.Status) > 0:
		rows = nil
	case !q.ToUTC.IsZero(): // beside the window
		rows = nil
	}
	total := len(rows)
	rows = rows[min(q.Offset, len(rows)):]
	rows = rows[:min(q.Limit, len(rows))]
	return &vbaws.SessionsPage{Rows: rows, TotalCount: total, Date: a.now}, nil
}

// forgetful is storage that keeps no seen session: none comes twice.
type forgetful struct{ Storage }

func (b forgetful) Save(c *ledger.Changes) error {
	d := *c
	d.Seen = nil
	return b.Storage.Save(&d)
}

// BenchmarkInitialSync measures what becomes of sessions between the decoder and
// the storage.
func BenchmarkInitialSync(b *testing.B) {
	const n, policies = 100_000, 1000
	now := time.Date(2026, 6, 10, 12, 0, 0, 0, time.UTC)
	a := &listed{now: now}
	for i := range n {
		stop := now.Add(-time.Duration(i) * time.Minute)
		a.rows = append(a.rows, vbaws.Row{HasUSN: true, Session: vbaws.Session{
			ID: vbawstest.ID(i), Type: vbaws.TypePolicy, ExtendedType: "PolicyBackup", Name: fmt.Sprintf("policy %d", i%policies),
			Status: vbaws.FinalStatuses[i/policies%len(vbaws.FinalStatuses)], USN: int64(n - i),
			Start: stop.Add(-time.Duration(i%100) * time.Second), Stop: stop,
		}})
	}
	for b.Loop() {
		p, err := New(Config{
			Appliance: "test", Interval: time.Minute, Timeout: time.Minute, Backfill: 360 * 24 * time.Hour, Watermark: WatermarkAuto,
			Ledger: ledger.Options{Bounds: []float64{60, 300, 600, 1800, 3600, 7200, 14400}},
			Logger: log.NewNopLogger(), Now: func() time.Time { return now },
			InventoryInterval: time.Hour,
		}, a, forgetful{store.NewMemory()})
		if err != nil {
			b.Fatal(err)
		}
		p.known.inventoryAt = now
		if err := p.Poll(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/session")
}
