package verdict

import (
	"slices"
	"strings"

	"vbaws_exporter/collector/schedule"
)

// what is what a session of an extended type makes.
type what struct {
	extendedType string
	// kind is schedule.Whole if it is unknown.
	kind   schedule.Kind
	backup bool // it makes restore points
}

// kindWords are parts of extended types, the first that is found counts. Those of the
// kind Whole read, verify or remove what others made.
var kindWords = []struct {
	word string
	kind schedule.Kind
}{
	{"check", schedule.Whole}, {"verif", schedule.Whole}, {"test", schedule.Whole}, {"restore", schedule.Whole},
	{"retention", schedule.Whole}, {"delete", schedule.Whole}, {"retrieval", schedule.Whole}, {"removal", schedule.Whole},
	{"archiv", schedule.Archive},
	{"remotesnapshot", schedule.Replica}, {"replica", schedule.Replica}, {"copy", schedule.Replica},
	{"snapshot", schedule.Snapshot},
	{"backup", schedule.Backup},
}

// whatIs returns what a session makes. If sessions have no extended types (typed is
// false), each makes the whole. The words are an open set. Observed are PolicySnapshot and
// PolicyRdsSnapshot (snapshot), PolicyRemoteSnapshot and PolicyEfsBackupCopy
// (replica), PolicyBackup, PolicyEfsBackup and VpcBackup (backup); of the others,
// whatever their case, the parts that they are made of are taken to mean the same.
func whatIs(extendedType string, typed bool) what {
	lower := strings.ToLower(extendedType)
	for _, is := range kindWords {
		if typed && strings.Contains(lower, is.word) {
			return what{extendedType, is.kind, is.kind != schedule.Whole}
		}
	}
	return what{extendedType, schedule.Whole, true}
}

// KindOf returns the kind whose row has the sessions of an extended type: Whole if it is
// unknown, or if they make no restore points.
func KindOf(extendedType string) schedule.Kind { return whatIs(extendedType, true).kind }

// Meets reports whether a success of an extended type meets the starts of a kind.
func Meets(extendedType string, k schedule.Kind) bool { return whatIs(extendedType, true).meets(k) }

// meets reports whether a success meets the starts of a kind. If its own kind is
// unknown, it meets those of every kind. A backup also meets those of snapshots, since it is
// made of one, and some workloads call "backup" what their schedule calls "snapshot"; a
// snapshot never meets those of backups. An archive meets those of the backups of which
// it is made.
func (w what) meets(k schedule.Kind) bool {
	switch w.kind {
	case k, schedule.Whole:
		return w.backup
	case schedule.Backup:
		return k == schedule.Whole || k == schedule.Snapshot
	case schedule.Archive:
		return k == schedule.Whole || k == schedule.Backup
	}
	return k == schedule.Whole
}

// clears reports whether a success ends a row of failures of failed. An unknown type
// is ended by its like alone; one of API 1.0, which has no types, by any backup.
func (w what) clears(failed what) bool {
	if failed.kind == schedule.Whole && failed.extendedType != "" {
		return w.kind == schedule.Whole && w.backup == failed.backup
	}
	return w.kind == failed.kind || w.meets(failed.kind)
}

// documented are the workloads of the extended types that are known.
var documented = map[string][]string{
	"PolicyBackup":         {"ec2", "ec2_sla"},
	"PolicySnapshot":       {"ec2", "ec2_sla"},
	"PolicyRemoteSnapshot": {"ec2", "ec2_sla"},
	"PolicyRdsSnapshot":    {"rds"},
	"PolicyEfsBackup":      {"efs"},
	"PolicyEfsBackupCopy":  {"efs"},
	"VpcBackup":            {"vpc"},
}

// Concerns reports whether a session of an extended type can be of a policy of that
// workload. It is for policies of different workloads that share a name: sessions have
// no more than the name. An unknown extended type concerns each of them.
func Concerns(workload, extendedType string) bool {
	of, known := documented[extendedType]
	return !known || slices.Contains(of, workload)
}
