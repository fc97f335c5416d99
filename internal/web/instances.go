package web

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"vbaws_exporter/collector/poller"
)

// This file has the EC2 instances of an appliance on the page and as JSON.

// maxInstanceRows is how many instances each list has.
const maxInstanceRows = 100

// instancesStatus are the EC2 instances of an appliance.
type instancesStatus struct {
	// Count is how many there are, and Protected how many of those that are shown a policy
	// protects.
	Count     int `json:"count"`
	Protected int `json:"protected"`
	// OldestBackups are protected ones, those without a backup first, then the one whose
	// newest backup is the oldest. Unprotected are in order of their names. Each has at most
	// maxInstanceRows.
	OldestBackups []instanceStatus `json:"oldest_backups"`
	Unprotected   []instanceStatus `json:"unprotected"`

	moreProtected, moreUnprotected int
}

// instanceStatus is one EC2 instance.
type instanceStatus struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Region string `json:"region,omitempty"`
	// LastBackup is left out if there is none, which NoBackup says, and if it isn't known.
	LastBackup time.Time `json:"last_backup,omitzero"`
	NoBackup   bool      `json:"no_backup,omitempty"`
}

func newInstances(all *poller.Instances) *instancesStatus {
	if all == nil {
		return nil
	}
	s := &instancesStatus{Count: len(all.Shown) + all.Over, OldestBackups: []instanceStatus{}, Unprotected: []instanceStatus{}}
	for _, i := range all.Shown {
		one := instanceStatus{Name: i.Name, ID: i.ID, Region: i.Region}
		if !i.Protected {
			s.Unprotected = append(s.Unprotected, one)
			continue
		}
		if one.NoBackup = i.BackupKnown && i.LastBackup.IsZero(); !one.NoBackup && i.BackupKnown {
			one.LastBackup = utc(i.LastBackup)
		}
		s.OldestBackups = append(s.OldestBackups, one)
	}
	s.Protected = len(s.OldestBackups)
	byName := func(a, b instanceStatus) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	}
	slices.SortFunc(s.OldestBackups, func(a, b instanceStatus) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), a.LastBackup.Compare(b.LastBackup), byName(a, b))
	})
	slices.SortFunc(s.Unprotected, byName)
	s.OldestBackups, s.moreProtected = first(s.OldestBackups)
	s.Unprotected, s.moreUnprotected = first(s.Unprotected)
	return s
}

// rank orders instances: without a backup, with one, not known.
func (i *instanceStatus) rank() int {
	switch {
	case i.NoBackup:
		return 0
	case !i.LastBackup.IsZero():
		return 1
	}
	return 2
}

// first returns the first rows, and how many more there are.
func first(rows []instanceStatus) ([]instanceStatus, int) {
	n := min(maxInstanceRows, len(rows))
	return rows[:n:n], len(rows) - n
}

// Summary says how many there are.
func (s *instancesStatus) Summary() string {
	return fmt.Sprintf("%s, %d protected", plural(s.Count, "EC2 instance", "EC2 instances"), s.Protected)
}

// MoreProtected and MoreUnprotected are how many rows are left out.
func (s *instancesStatus) MoreProtected() int   { return s.moreProtected }
func (s *instancesStatus) MoreUnprotected() int { return s.moreUnprotected }

// BackupText says what there is to say without a time.
func (i instanceStatus) BackupText() string {
	if i.NoBackup {
		return "no backup"
	}
	return "not known yet"
}
