// Package ledger decides what is counted, and keeps the books.
//
// A Ledger folds the sessions of one appliance into counters, histograms and
// gauges, each session once. It is pure: it does no I/O, reads no clock, starts
// no goroutine and knows neither Prometheus nor HTTP. What it must look up of
// the past it asks of a Memory, what it has to have written it hands out as
// Changes, and what may be seen of it is a View.
//
// A pass over the appliance is one transaction:
//
//	pass := ledger.Begin(now)  // fold into pass
//	changes := pass.Changes()  // save them
//	view := pass.Commit()      // only then; an abandoned pass leaves no trace
//	pass = pass.Next()         // a long pass goes on so with another
//
// A Ledger and its passes belong to one goroutine. Views are immutable.
package ledger
