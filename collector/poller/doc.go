// Package poller reads an appliance: Poll reads what changed and folds it into
// the ledger as one transaction, or several if there is much; Run decides when.
//
// It knows the order of things (read, fold, save, publish) and which lists of sessions
// are read: by USN (the incremental read), by start time (the initial sync and the
// resync), by policy and by id. It doesn't know how a list that changes is read
// (listing), how sessions are counted (ledger), how they are kept (store), or how they
// are shown.
//
// From Run to what is seen: loop.go, poll.go, initial.go or incremental.go and
// resync.go, with sessions.go and ingest.go below them, policies.go, publish.go,
// events.go. inventory.go comes after the poll. What outlives a poll is in known.go.
package poller
