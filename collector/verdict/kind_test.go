package verdict

import (
	"testing"

	"vbaws_exporter/collector/schedule"
)

func TestConcerns(t *testing.T) {
	for _, test := range []struct {
		workload, extendedType string
		want                   bool
	}{
		{"ec2", "PolicyBackup", true},
		{"ec2_sla", "PolicySnapshot", true},
		{"rds", "PolicyBackup", false},
		{"rds", "PolicyRdsSnapshot", true},
		{"ec2", "PolicyRdsSnapshot", false},
		{"efs", "PolicyEfsBackupCopy", true},
		{"vpc", "VpcBackup", true},
		{"ec2", "VpcBackup", false},
		// Not documented: of each.
		{"ec2", "PolicyRdsBackup", true},
		{"rds", "PolicyRdsBackup", true},
		{"ec2", "", true},
	} {
		if got := Concerns(test.workload, test.extendedType); got != test.want {
			t.Errorf("%s concerns %s: %t", test.extendedType, test.workload, got)
		}
	}
}

func TestMeetsAndClears(t *testing.T) {
	session := func(extendedType string) what { return whatIs(extendedType, true) }
	for _, test := range []struct {
		session string
		kind    schedule.Kind
		meets   bool
	}{
		{"PolicyBackup", schedule.Backup, true},
		{"PolicyBackup", schedule.Snapshot, true},
		{"PolicyBackup", schedule.Replica, false},
		{"PolicySnapshot", schedule.Backup, false},
		{"PolicyArchive", schedule.Backup, true},
		{"PolicyArchive", schedule.Snapshot, false},
		{"PolicyRemoteSnapshot", schedule.Snapshot, false},
		{"PolicySomething", schedule.Replica, true},
		{"", schedule.Backup, true},
		{"policybackuphealthcheck", schedule.Backup, false},
		{"PolicyBackupHealthCheck", schedule.Whole, false},
	} {
		if got := session(test.session).meets(test.kind); got != test.meets {
			t.Errorf("%s meets %q: %t", test.session, test.kind, got)
		}
	}
	for _, test := range []struct {
		success, failed string
		clears          bool
	}{
		{"PolicyBackup", "PolicyBackup", true},
		{"PolicyBackup", "PolicySnapshot", true},
		{"PolicySnapshot", "PolicyBackup", false},
		{"PolicySomething", "PolicyBackup", true},
		{"PolicyBackup", "PolicySomething", false},
		{"PolicySomethingElse", "PolicySomething", true},
		{"PolicyHealthCheck", "PolicySomething", false},
		{"PolicyHealthCheck", "PolicyHealthCheck", true},
		{"PolicySomething", "PolicyHealthCheck", false},
		{"PolicyHealthCheck", "PolicyBackup", false},
		{"PolicySnapshot", "", true},
	} {
		if got := session(test.success).clears(session(test.failed)); got != test.clears {
			t.Errorf("%s clears %s: %t", test.success, test.failed, got)
		}
	}
}
