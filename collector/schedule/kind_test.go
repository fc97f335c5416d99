package schedule

import (
	"strings"
	"testing"
	_ "time/tzdata"
)

func TestKindOf(t *testing.T) {
	for word, want := range map[string]Kind{
		"PolicySnapshot": Snapshot, "PolicyRdsSnapshot": Snapshot, "PolicyRemoteSnapshot": Replica,
		"PolicyBackup": Backup, "PolicyEfsBackup": Backup, "VpcBackup": Backup, "PolicyEfsBackupCopy": Replica,
		// Not observed, in the manner of the others.
		"PolicyRdsRemoteSnapshot": Replica, "PolicyReplication": Replica, "PolicyDynamoDbBackupCopy": Replica,
		"PolicyArchive": Archive, "PolicyRdsArchiveBackup": Archive, "policybackup": Backup,
		"PolicyRdsBackup": Backup, "PolicyDynamoDbBackup": Backup, "PolicyFsxBackup": Backup, "VpcConfigurationBackup": Backup,
		"": Whole, "Something": Whole, "PolicySla": Whole,
		// What makes nothing.
		"PolicyHealthCheck": None, "BackupHealthCheck": None, "PolicyBackupVerification": None, "VerifySnapshot": None,
		"PolicyTestBackup": None, "RestoreFromBackup": None, "SnapshotRetention": None, "DeleteSnapshot": None,
		"ArchiveRetrieval": None, "ArchiveRetrievalProlongation": None,
	} {
		if got := KindOf(word); got != want {
			t.Errorf("%s is of kind %q, want %q", word, got, want)
		}
	}
}

func TestSatisfies(t *testing.T) {
	kinds := []Kind{Whole, Snapshot, Replica, Backup, Archive, None}
	stands := map[[2]Kind]bool{{Snapshot, Backup}: true, {Backup, Archive}: true}
	for _, due := range kinds {
		for _, by := range kinds {
			want := by != None && (due == by || due == Whole || by == Whole || stands[[2]Kind{due, by}])
			if got := Satisfies(due, by); got != want {
				t.Errorf("a success of kind %q stands for a run of kind %q: %t", by, due, got)
			}
		}
	}
}

func TestLocation(t *testing.T) {
	for name, want := range map[string]string{
		"Europe/Berlin": "Europe/Berlin", "UTC": "Etc/UTC", "Etc/UTC": "Etc/UTC",
		"W. Europe Standard Time": "Europe/Berlin", "India Standard Time": "Asia/Calcutta", "UTC-11": "Etc/GMT+11",
	} {
		got, err := Location(name)
		if err != nil || got.String() != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "Local", "local", "W. Europe", "../../etc/passwd", "(UTC+01:00) Amsterdam"} {
		if got, err := Location(name); err == nil {
			t.Errorf("%q is %s", name, got)
		}
	}
	n := 0
	for line := range strings.Lines(windowsZones) {
		n++
		name, iana, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if zone, err := Location(name); err != nil || zone.String() != iana {
			t.Errorf("%s is %s, %v, want %s", name, zone, err, iana)
		}
	}
	if n < 130 {
		t.Errorf("only %d zones of Windows", n)
	}
}
