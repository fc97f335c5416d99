package verdict

import (
	"slices"

	"vbaws_exporter/collector/schedule"
)

// what says what a session of an extended type makes.
type what struct {
	extendedType string
	// kind is schedule.Whole if it is unknown.
	kind   schedule.Kind
	backup bool // it makes restore points
}

// whatIs returns what a session makes. If sessions don't say (typed is false), each
// makes the whole.
func whatIs(extendedType string, typed bool) what {
	w := what{extendedType: extendedType, kind: schedule.Whole, backup: true}
	if !typed {
		return w
	}
	if k := schedule.KindOf(extendedType); k == schedule.None {
		w.backup = false
	} else {
		w.kind = k
	}
	return w
}

// meets reports whether a success meets the starts of a kind. If its own kind can't be
// told, it meets those of every kind.
func (w what) meets(k schedule.Kind) bool {
	return w.backup && (w.kind == schedule.Whole || schedule.Satisfies(k, w.kind))
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
