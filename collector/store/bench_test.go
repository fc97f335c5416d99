package store

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"vbaws_exporter/collector/ledger"
	"vbaws_exporter/collector/store/record/recordtest"
)

// history fills an appliance with n sessions of 400 days, day by day, perSave at a
// time, as passes would.
func history(b *testing.B, s *Store, n, perSave int) *bbolt.DB {
	b.Helper()
	a := openAppliance(b, s, "a")
	db := noSync(b, s) // filling is not measured
	defer func() { db.NoSync = false }()
	for i := 0; i < n; {
		c := &ledger.Changes{Seen: make(map[ledger.ID]ledger.SeenSession, perSave)}
		for range perSave {
			day := int32(20000 + i*400/n)
			c.Seen[recordtest.Session(i)] = ledger.SeenSession{Day: day, USN: int64(i), Fingerprint: uint32(i), At: time.Unix(int64(day)*86400, 0)}
			i++
		}
		save(b, a, c)
	}
	if err := db.Sync(); err != nil {
		b.Fatal(err)
	}
	return db
}

// noSync makes saves of s faster, and unsafe.
func noSync(t testing.TB, s *Store) (db *bbolt.DB) {
	t.Helper()
	if err := s.file.View(func(tx *bbolt.Tx) error { db = tx.DB(); return nil }); err != nil {
		t.Fatal(err)
	}
	db.NoSync = true
	return db
}

func openBench(b *testing.B, path string) *Store {
	b.Helper()
	s, err := Open(path, Options{})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// Bytes on disk a session, and what it takes to open and check the file.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, perSave := range []int{5, 1000} {
			if n/perSave > 20_000 && testing.Short() {
				continue
			}
			b.Run(fmt.Sprintf("sessions=%d/persave=%d", n, perSave), func(b *testing.B) {
				path := b.TempDir()
				s := openBench(b, path)
				history(b, s, n, perSave)
				used := int64(0)
				if err := s.file.View(func(tx *bbolt.Tx) error { used = tx.Size(); return nil }); err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				info, err := os.Stat(filepath.Join(path, FileName))
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					s := openBench(b, path)
					openAppliance(b, s, "a")
					if err := s.Close(); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(info.Size())/float64(n), "filebytes/session")
				b.ReportMetric(float64(used)/float64(n), "usedbytes/session")
			})
		}
	}
}

// Pages written for each changed record: 100 of 100 000.
func BenchmarkSave(b *testing.B) {
	for name, day := range map[string]func(i int) int32{
		"today":    func(int) int32 { return 20399 },
		"any":      func(i int) int32 { return 20000 + int32(i*7919%400) },
		"tomorrow": func(int) int32 { return 20400 },
	} {
		b.Run(name, func(b *testing.B) {
			s := openBench(b, b.TempDir())
			defer func() { _ = s.Close() }()
			db := history(b, s, 100_000, 100)
			a := openAppliance(b, s, "a")
			stats := db.Stats()
			before, i, records := stats.TxStats.GetPageCount(), 100_000, 0
			for b.Loop() {
				c := &ledger.Changes{Seen: make(map[ledger.ID]ledger.SeenSession, 100)}
				for range 100 {
					c.Seen[recordtest.Session(i)] = ledger.SeenSession{Day: day(i), At: time.Unix(20400*86400, 0)}
					i++
				}
				save(b, a, c)
				records += 100
			}
			stats = db.Stats()
			// The meta page is not counted by bbolt.
			b.ReportMetric(float64(stats.TxStats.GetPageCount()-before+int64(records/100))/float64(records), "pages/record")
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	s := openBench(b, b.TempDir())
	defer func() { _ = s.Close() }()
	history(b, s, 100_000, 100)
	a := openAppliance(b, s, "a")
	i := 0
	for b.Loop() {
		n := i * 7919 % 100_000
		if _, found, err := a.Lookup(recordtest.Session(n), []int32{int32(20000 + n*400/100_000)}); !found || err != nil {
			b.Fatal(found, err)
		}
		i++
	}
}
