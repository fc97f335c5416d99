// Package poller reads an appliance: Poll reads what changed and folds it into
// the ledger as one transaction, or several where there is much; Run decides when.
//
// It knows the order of things (read, fold, save, publish) and how the list of
// sessions is read while it moves. It doesn't know how sessions are counted
// (ledger), how they are kept (store), or how they are shown.
package poller
