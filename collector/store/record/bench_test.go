package record

import (
	"testing"
	"time"

	"vbaws_exporter/collector/ledger"
)

// busySeries is a series with all that it can have.
func busySeries() *ledger.Series {
	s := &ledger.Series{Key: ledger.Key{Type: "Policy", ExtendedType: "PolicyBackup", Policy: "daily"}, Last: ledger.Last{ID: ledger.ID{1}, Status: "Succeeded", End: time.Unix(2e9, 0), Duration: 7e10}}
	for _, st := range []string{"Succeeded", "Failed", "Warning"} {
		e := &ledger.Exemplar{SessionID: "0c1d2e3f-0000-0000-0000-000000000000", Duration: 7e10, End: time.Unix(2e9, 0)}
		h := &ledger.Histogram{Born: time.Unix(19e8, 0), Sum: 7e12, Buckets: make([]uint64, 12), Exemplars: make([]*ledger.Exemplar, 12)}
		h.Exemplars[3] = e
		for i := range int32(20) {
			h.Native = append(h.Native, ledger.NativeBucket{Index: i, Count: uint64(i)})
		}
		s.Counters = append(s.Counters, &ledger.Counter{Status: st, Born: time.Unix(19e8, 0), Count: 77, End: time.Unix(2e9, 0), Exemplar: e, Histogram: h})
	}
	return s
}

// What each save of a series costs.
func BenchmarkEncodeSeries(b *testing.B) {
	s := busySeries()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := encode(s); err != nil {
			b.Fatal(err)
		}
	}
}

// What each series costs when a file is opened.
func BenchmarkDecodeSeries(b *testing.B) {
	s := busySeries()
	payload, err := encode(s)
	if err != nil {
		b.Fatal(err)
	}
	key := seriesKey(s.Key)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeAs[*ledger.Series](SeriesBucket, key, payload); err != nil {
			b.Fatal(err)
		}
	}
}
