// The newest backups of EC2 instances.

package ledger

import "time"

// InstanceBackup is what the restore points of an EC2 instance showed when they were
// requested. It is immutable.
type InstanceBackup struct {
	// At is when the newest was made, by the appliance's clock; zero if there was none.
	At time.Time `json:"at,omitzero"`
	// LookedUp is when that was requested, by the exporter's clock.
	LookedUp time.Time `json:"looked_up,omitzero"`
}

// InstanceBackups returns what is known after the last committed transaction, by
// ParseID of the instance. It must not be changed.
func (l *Ledger) InstanceBackups() map[ID]*InstanceBackup { return l.state.Instances }

// LookedUpInstance records when the newest restore point of an instance was made; zero
// if it has none.
func (tx *Tx) LookedUpInstance(id ID, at time.Time) {
	tx.instances[id] = &InstanceBackup{At: at.UTC(), LookedUp: tx.now.Truncate(time.Second)}
}

// KeepInstances removes what is known of the instances that are not of interest any more.
func (tx *Tx) KeepInstances(of func(ID) bool) {
	for id := range tx.l.state.Instances {
		if !of(id) {
			tx.instances[id] = nil
		}
	}
}
