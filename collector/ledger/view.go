package ledger

import "time"

// View is what may be seen of a ledger: immutable, so that any number of
// goroutines may read it while passes go on.
type View struct {
	// Series are sorted by Key.
	Series []SeriesView
	// Policies are those that the appliance has, sorted by workload and id.
	Policies []*Policy
	// Zone and Bounds are those of Meta.
	Zone   string
	Bounds []float64
	// Watermark is nil where there is none.
	Watermark *Watermark
	// LastSweep is the time watermark, by the appliance's clock; zero for none.
	LastSweep time.Time
	Resets    uint64
	// Skipped has every reason.
	Skipped map[string]uint64
	// Over has, for each of Limits, how many names are beyond it: at most 10,000, of
	// those that were met since the process started.
	Over map[string]int
}

// SeriesView is a Series with the sessions of it that run.
type SeriesView struct {
	*Series
	// Running counts the sessions that have begun and not ended.
	Running int
	// OldestStart is the oldest start among them; zero where none runs, or none
	// has a start.
	OldestStart time.Time
}
