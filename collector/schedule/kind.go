package schedule

import "strings"

// Kind is a kind of restore point, and a value of the label "kind".
type Kind string

// The kinds of restore points.
const (
	// Whole stands for all kinds together: a schedule as a whole, or a session that
	// doesn't say what it makes.
	Whole    Kind = ""
	Snapshot Kind = "snapshot"
	Replica  Kind = "replica"
	Backup   Kind = "backup"
	Archive  Kind = "archive"
	// None is a session that makes nothing, such as a health check. It is no value of
	// the label.
	None Kind = "none"
)

// kindWords are parts of extendedSessionType, the first that is found counts.
var kindWords = []struct {
	word string
	kind Kind
}{
	// These read, verify or remove what others made.
	{"check", None}, {"verif", None}, {"test", None}, {"restore", None}, {"retention", None}, {"delete", None},
	{"retrieval", None}, {"removal", None},
	{"archiv", Archive},
	{"remotesnapshot", Replica}, {"replica", Replica}, {"copy", Replica},
	{"snapshot", Snapshot},
	{"backup", Backup},
}

// KindOf returns what a session of that extendedSessionType makes: None if it makes
// no restore point, and Whole if that is unknown. The words are an open set. Observed are PolicySnapshot and
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
// Any but None stands for the whole, and a session that doesn't say what it makes
// for every kind. A backup stands for a snapshot, since it is made of one, and some
// workloads call "backup" what their schedule calls "snapshot"; a snapshot never
// stands for a backup. An archive stands for a backup, of which it is made.
func Satisfies(due, by Kind) bool {
	switch by {
	case None:
		return false
	case due, Whole:
		return true
	}
	switch due {
	case Whole:
		return true
	case Snapshot:
		return by == Backup
	case Backup:
		return by == Archive
	}
	return false
}
