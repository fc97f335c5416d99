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

func TestKindOf(t *testing.T) {
	const none = schedule.Kind("none") // it makes no restore points
	for word, want := range map[string]schedule.Kind{
		"PolicySnapshot": schedule.Snapshot, "PolicyRdsSnapshot": schedule.Snapshot, "PolicyRemoteSnapshot": schedule.Replica,
		"PolicyBackup": schedule.Backup, "PolicyEfsBackup": schedule.Backup, "VpcBackup": schedule.Backup, "PolicyEfsBackupCopy": schedule.Replica,
		// Not observed, in the manner of the others.
		"PolicyRdsRemoteSnapshot": schedule.Replica, "PolicyReplication": schedule.Replica, "PolicyDynamoDbBackupCopy": schedule.Replica,
		"PolicyArchive": schedule.Archive, "PolicyRdsArchiveBackup": schedule.Archive, "policybackup": schedule.Backup,
		"PolicyRdsBackup": schedule.Backup, "PolicyDynamoDbBackup": schedule.Backup, "PolicyFsxBackup": schedule.Backup, "VpcConfigurationBackup": schedule.Backup,
		"": schedule.Whole, "Something": schedule.Whole, "PolicySla": schedule.Whole,
		// What makes nothing.
		"PolicyHealthCheck": none, "BackupHealthCheck": none, "PolicyBackupVerification": none, "VerifySnapshot": none,
		"PolicyTestBackup": none, "RestoreFromBackup": none, "SnapshotRetention": none, "DeleteSnapshot": none,
		"ArchiveRetrieval": none, "ArchiveRetrievalProlongation": none,
	} {
		kind := want
		if kind == none {
			kind = schedule.Whole
		}
		if got := KindOf(word); got != kind {
			t.Errorf("%s is of kind %q, want %q", word, got, kind)
		}
		if got := Meets(word, schedule.Whole); got != (want != none) {
			t.Errorf("%s makes restore points: %t", word, got)
		}
	}
}

func TestMeets(t *testing.T) {
	kinds := []schedule.Kind{schedule.Whole, schedule.Snapshot, schedule.Replica, schedule.Backup, schedule.Archive}
	stands := map[[2]schedule.Kind]bool{{schedule.Snapshot, schedule.Backup}: true, {schedule.Backup, schedule.Archive}: true}
	for _, due := range kinds {
		for _, by := range kinds {
			want := due == by || due == schedule.Whole || by == schedule.Whole || stands[[2]schedule.Kind{due, by}]
			if got := (what{kind: by, backup: true}).meets(due); got != want {
				t.Errorf("a success of kind %q meets a start of kind %q: %t", by, due, got)
			}
		}
		if (what{}).meets(due) {
			t.Errorf("what makes nothing meets a start of kind %q", due)
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
