package schedule

import "strings"

// Kind is a kind of restore point, and a value of the label "kind".
type Kind string

const (
	// Whole stands for all kinds together: a schedule as a whole, or a session that
	// doesn't say what it makes.
	Whole    Kind = ""
	Snapshot Kind = "snapshot"
	Replica  Kind = "replica"
	Backup   Kind = "backup"
	Archive  Kind = "archive"
)

// kindWords are parts of extendedSessionType, the first that is found counts.
var kindWords = []struct {
	word string
	kind Kind
}{
	// These read or remove what others made, or are no policy's.
	{"restore", Whole}, {"retrieval", Whole}, {"retention", Whole}, {"removal", Whole}, {"delete", Whole},
	{"configuration", Whole}, {"selfbackup", Whole},
	{"archiv", Archive},
	{"remotesnapshot", Replica}, {"replica", Replica}, {"copy", Replica},
	{"snapshot", Snapshot},
	{"backup", Backup},
}

// KindOf returns what a session of that extendedSessionType makes, and Whole where
// that can't be told. The words are an open set. Observed are PolicySnapshot and
// PolicyRdsSnapshot (snapshot), PolicyRemoteSnapshot and PolicyEfsBackupCopy
// (replica), PolicyBackup, PolicyEfsBackup and VpcBackup (backup); of the others,
// whatever their case, the parts that they are made of are taken to mean the same.
func KindOf(extendedType string) Kind {
	s := strings.ToLower(extendedType)
	for _, w := range kindWords {
		if strings.Contains(s, w.word) {
			return w.kind
		}
	}
	return Whole
}

// Satisfies reports whether a success of kind by stands for a run of kind due.
//
// Any stands for the whole. A backup stands for a snapshot, since it is made of
// one, and some workloads call "backup" what their schedule calls "snapshot"; a
// snapshot never stands for a backup. An archive stands for a backup, since a
// schedule doesn't tell which of its starts go to the archive.
func Satisfies(due, by Kind) bool {
	switch due {
	case by, Whole:
		return true
	case Snapshot:
		return by == Backup
	case Backup:
		return by == Archive
	}
	return false
}
