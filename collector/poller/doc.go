// Package poller reads an appliance: Poll reads what changed and folds it into
// the ledger as one transaction, or several if there is much; Run decides when.
//
// It decides the order of steps (read, fold, save, publish) and which lists of sessions
// are read: by USN (the incremental read), by start time (the initial sync and the
// resync), by policy and by id. Package listing reads a list that changes, ledger counts
// sessions, store keeps them, and collector exposes them.
//
// In the order of a poll: loop.go, poll.go, initial.go or incremental.go and
// resync.go, with sessions.go and ingest.go below them, policies.go, publish.go,
// events.go. inventory.go comes after the poll. What outlives a poll is in known.go.
package poller
