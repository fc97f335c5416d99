// Package ledger decides what is counted.
//
// A Ledger folds the sessions of one appliance into counters, histograms and
// gauges, each session once. It is pure: it does no I/O, reads no clock, starts no
// goroutine and has neither Prometheus nor HTTP. It looks up earlier sessions in a
// SeenIndex, returns what is to be saved as Changes, and what is exposed as a View.
//
// A poll of the appliance is one transaction:
//
//	tx := ledger.Begin(now)   // fold into tx
//	changes := tx.Changes()   // save them
//	view := tx.Commit(now)    // only then; an abandoned transaction leaves no trace
//	tx = tx.Next()            // a long poll is several transactions
//
// Of each session that a list shows, one look-up makes an Entry, which says what is known
// of the session and takes it in:
//
//	entry, err := tx.Entry(&session)
//	if !entry.Unchanged() {
//		entry.Fold(policy, origin)
//	}
//
// A Ledger and its transactions belong to one goroutine. Views are immutable.
package ledger
