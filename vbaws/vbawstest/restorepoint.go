package vbawstest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// jobTypes are the words of jobType by the extended type of the session that made
// the restore point: the enumeration JobTypes of the API description of 1.0.
var jobTypes = map[string]string{"PolicyBackup": "Backup", "PolicySnapshot": "Snapshot", "PolicyRemoteSnapshot": "Replica"}

// restorePoint is a restore point of one instance, made by a session of an EC2 policy: the
// schema VmRestorePoint of the API description of 1.0.
type restorePoint struct {
	id, backupID, instanceID, jobType string
	at                                time.Time
}

// restorePoints returns the restore points of the existing sessions, newest first: of one
// instance, or of all if instance is empty.
func (a *Appliance) restorePoints(instance string) []restorePoint {
	var found []restorePoint
	for id, items := range a.items {
		e := a.table.entries[id]
		if e == nil || e.visible == nil || jobTypes[e.visible.ExtendedType] == "" {
			continue
		}
		for _, i := range items {
			if i.Status == StatusFailed || instance != "" && i.ID != instance {
				continue
			}
			s := e.visible.Session
			found = append(found, restorePoint{
				id:         uuid.NewSHA1(uuid.NameSpaceOID, []byte(s.ID+i.ID)).String(),
				backupID:   uuid.NewSHA1(uuid.NameSpaceOID, []byte(s.PolicyID+i.ID)).String(),
				instanceID: i.ID, jobType: jobTypes[s.ExtendedType], at: s.Start,
			})
		}
	}
	slices.SortFunc(found, func(x, y restorePoint) int {
		return cmp.Or(y.at.Compare(x.at), strings.Compare(x.id, y.id))
	})
	return found
}

// listRestorePoints answers /vmRestorePoints and /virtualMachines/restorePoints. Of the
// documented parameters, it implements the filters and the orders of pointInTime. Orders
// are documented for 1.0 only. OnlyLatest is observed with the latter route; here it selects
// the newest of each backup.
func (a *Appliance) listRestorePoints(q *request) *answer {
	win := q.params.window(q.cfg)
	instance, _ := q.params.uuid("VirtualMachineId")
	var order []string
	latest := false
	if q.minor >= 2 {
		if v, given := q.params.one("OnlyLatest"); given {
			var err error
			if latest, err = strconv.ParseBool(v); err != nil {
				q.params.fail("OnlyLatest: %q is not a boolean", v)
			}
		}
	}
	if q.minor < 2 {
		order = q.params.list("Sort", []string{"pointInTimeAsc", "pointInTimeDesc"})
	}
	if bad := q.invalid(); bad != nil {
		return bad
	}
	seen := make(map[string]bool)
	found := slices.DeleteFunc(a.restorePoints(instance), func(r restorePoint) bool {
		older := seen[r.backupID]
		seen[r.backupID] = true
		return latest && older
	})
	// Without Sort the order is not documented.
	if len(order) == 0 || order[0] == "pointInTimeAsc" {
		slices.Reverse(found)
	}
	from, to := win.bounds(len(found))
	results := []object{}
	for _, r := range found[from:to] {
		results = append(results, object{
			"id": r.id, "backupId": r.backupID, "jobType": r.jobType, "backupSizeBytes": 1 << 30, "volumes": []object{},
			"pointInTime": q.cfg.times(q.minor).format(r.at), "regionId": a.regionID,
			"_links": []link{{"GET", "self", q.base + q.path + "/" + r.id}},
		})
	}
	return ok(mustMarshal(object{"totalCount": len(found), "results": results, "_links": q.self()}))
}
