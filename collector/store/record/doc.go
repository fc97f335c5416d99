// Package record encodes what a store keeps of an appliance as records: a key and
// bytes in a bucket.
//
// It has the encoding of the ledger's values, by the tags of their types, and of the
// client's, and checks which values an exporter can have written. Files, transactions and
// bbolt are of package store, the file of an exported appliance is of package transfer.
//
// # Records
//
// The state of an appliance has its own records, and buckets of others:
//
//	meta        ledger.Meta
//	seen        when the appliance was last saved
//	move        how often it was exported, and whether it was imported since
//	policies    ledger.Policy by the hash of their key
//	series      ledger.Series by the hash of their key
//	skipped     times by id or hash
//	unfinished  ledger.Unfinished by id
//	ids         ledger.SeenSession by day and id
//	instances   ledger.InstanceBackup by id
//
// Each record begins with its version and a checksum that covers its place
// (appliance, bucket, key) as well as its content. Ids are binary, since there
// are many; all else is JSON.
package record

// FormatVersion is the version of what is described above.
const FormatVersion = "1"

// The buckets of an appliance. OwnBucket has what is stored of the appliance as a whole.
const (
	OwnBucket        = ""
	PoliciesBucket   = "policies"
	SeriesBucket     = "series"
	SkippedBucket    = "skipped"
	UnfinishedBucket = "unfinished"
	IDsBucket        = "ids"
	InstancesBucket  = "instances" // not in states of 0.1.0
)

// Buckets are all of them, in the order in which records are checked and exported.
var Buckets = []string{OwnBucket, PoliciesBucket, SeriesBucket, SkippedBucket, UnfinishedBucket, IDsBucket, InstancesBucket}

// Keys of OwnBucket.
const (
	MetaKey  = "meta"
	SavedKey = "seen"
	MoveKey  = "move"
)

// MaxName is the most bytes that the name of an appliance can have.
const MaxName = 32768
