package vbawstest

import (
	"net/url"
	"testing"
)

// The requests of every poll must not need a scan, or a test with a large table would measure
// the simulator.
func TestQueriesOfAPollNeedNoScan(t *testing.T) {
	a := New(Config{})
	a.Start(Session{Type: "Policy"})
	for query, want := range map[string]bool{
		"Sort=usnDesc&Limit=1":                            true,
		"Sort=usnDesc&Offset=7&Limit=500":                 true,
		"Sort=usnDesc&Status=Running":                     true,
		"Sort=usnDesc&Limit=1&PolicyId=" + ID(1):          true,
		"Sort=startTimeDesc&FromUtc=2026-01-01T00:00:00Z": true,
		"": true,
		"Sort=usnDesc&FromUtc=2026-01-01T00:00:00Z":     false,
		"Sort=startTimeDesc&Status=Running":             false,
		"Sort=usnDesc&Status=Running&Status=Failed":     false,
		"Sort=usnDesc&Status=Running&PolicyId=" + ID(1): false,
		"Sort=startTimeDesc&ToUtc=2026-01-01T00:00:00Z": false,
		"Sort=typeAsc": false,
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		p := newParams(values)
		q := parseSessions(&p, &a.cfg, 8)
		if _, got := a.table.indexed(q, q.same()); got != want {
			t.Errorf("%s: answered from an index: %v, want %v", query, got, want)
		}
	}
}
