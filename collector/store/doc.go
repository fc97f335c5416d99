// Package store keeps the state of all appliances in one file. What a poll has changed is
// in it as a whole or not at all, whatever crashes.
//
// It has the transactions, and puts records into buckets. Package record encodes them,
// package transfer reads and writes the file of an exported appliance, package ledger
// counts, and package boltfile has pages, locks and failing disks.
//
// # The file
//
// The file is bbolt's. Its top bucket "format" holds the version of the format, its top
// bucket "appliances" a bucket for each appliance, with the records and buckets that
// package record describes. A third top bucket, "importing", has an appliance that is being
// imported; what is left of one that failed is dropped.
package store
