// Package store keeps the ledgers of all appliances in one file, and what a
// pass has changed is in it as a whole or not at all, whatever crashes.
//
// It knows how State, Changes and the seen index look on disk. It doesn't know what is
// counted, or why: that is package ledger. Nor does it know pages, locks and failing
// disks: that is package boltfile.
//
// # The file
//
// The file is bbolt's. Its top bucket "format" holds the version of what is
// described here, its top bucket "appliances" a bucket an appliance:
//
//	meta        ledger.Meta
//	seen        when the appliance was last saved
//	move        how often it was exported, and whether it was imported since
//	series      ledger.Series by the hash of their key
//	unfinished  ledger.Unfinished by id
//	policies    ledger.Policy by the hash of their key
//	ids         ledger.SeenSession by day and id
//	skipped     times by id or hash
//
// Each record begins with its version and a checksum that covers its place
// (appliance, bucket, key) as well as its content. Ids are binary, since there
// are many; all else is JSON. A third top bucket, "importing", has an appliance
// that is being imported, and what such a one left is dropped.
//
// # The file of an exported appliance
//
// It begins with two lines of text: "vbaws_exporter state" with the version of
// this format, and a JSON object:
//
//	appliance  its name
//	move       the number of the export in the life of the state
//	exported   when that was
//	exporter   the version of the exporter
//	format     the version of the records
//	sessions   how many records are in ids
//	records    how many there are in all
//
// Then come the records, in the order of buckets (the appliance's own, policies,
// series, skipped, unfinished, ids; numbered from 1) and keys: the number of the
// bucket in a byte, then key and payload, each after its length as a varint. A
// byte 0 ends them. The SHA-256 of all before it ends the file.
package store
