// Package store keeps the state of all appliances in one file. What a poll has changed is
// in it as a whole or not at all, whatever crashes.
//
// It knows transactions, and how records are put into buckets. It doesn't know how records
// encode values, which package record does; how the file of an exported appliance looks,
// which package transfer does; what is counted, or why, which package ledger does; nor
// pages, locks and failing disks, which package boltfile does.
//
// # The file
//
// The file is bbolt's. Its top bucket "format" holds the version of the format, its top
// bucket "appliances" a bucket for each appliance, with the records and buckets that
// package record describes. A third top bucket, "importing", has an appliance that is being
// imported; what is left of one that failed is dropped.
package store
