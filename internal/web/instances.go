package web

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/poller"
)

// This file has the EC2 instances of an appliance on the page and as JSON.

// maxInstanceRows is how many instances each list has.
const maxInstanceRows = 100

// instancesStatus has the EC2 instances of an appliance.
type instancesStatus struct {
	// Count is the number of all instances, and Protected is how many of the shown ones
	// are in a policy.
	Count     int `json:"count"`
	Protected int `json:"protected"`
	// OldestBackups has protected instances in order of their newest backups, those
	// without a backup first. Unprotected is in order of names. Each has at most
	// maxInstanceRows.
	OldestBackups []instanceStatus `json:"oldest_backups"`
	Unprotected   []instanceStatus `json:"unprotected"`

	// MoreProtected and MoreUnprotected are the numbers of omitted rows.
	MoreProtected   int `json:"-"`
	MoreUnprotected int `json:"-"`
}

// instanceStatus is one EC2 instance.
type instanceStatus struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Region string `json:"region,omitempty"`
	// LastBackup is omitted if it isn't known, and if there is no backup: then NoBackup is
	// true.
	LastBackup time.Time `json:"last_backup,omitzero"`
	NoBackup   bool      `json:"no_backup,omitempty"`
}

func newInstances(all *poller.Instances) *instancesStatus {
	if all == nil {
		return nil
	}
	known, unknown, unprotected := []instanceStatus{}, []instanceStatus{}, []instanceStatus{}
	for _, i := range all.Shown {
		one := instanceStatus{Name: i.Name, ID: i.ID, Region: i.Region}
		switch {
		case !i.Protected:
			unprotected = append(unprotected, one)
		case !i.BackupKnown:
			unknown = append(unknown, one)
		default:
			one.LastBackup, one.NoBackup = utc(i.LastBackup), i.LastBackup.IsZero()
			known = append(known, one)
		}
	}
	for _, rows := range [][]instanceStatus{known, unknown, unprotected} {
		slices.SortFunc(rows, func(a, b instanceStatus) int {
			return cmp.Or(a.LastBackup.Compare(b.LastBackup), strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
		})
	}
	s := &instancesStatus{Count: len(all.Shown) + all.Over, Protected: len(known) + len(unknown)}
	s.OldestBackups, s.MoreProtected = first(append(known, unknown...))
	s.Unprotected, s.MoreUnprotected = first(unprotected)
	return s
}

// first returns the first rows, and how many more there are.
func first(rows []instanceStatus) ([]instanceStatus, int) {
	n := min(maxInstanceRows, len(rows))
	return rows[:n:n], len(rows) - n
}
