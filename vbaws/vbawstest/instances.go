package vbawstest

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Instance is an EC2 instance that the appliance knows. The items of EC2 policies are
// instances, too, and need not be in Config.Instances.
type Instance struct {
	// ID is a UUID.
	ID, Name string
	// AWSID is the id of AWS; if it is empty, one is derived from ID.
	AWSID, Region string
	// Deleted means that the instance no longer exists in AWS.
	Deleted bool
}

// InstanceForm is the form of the protection in a row of /virtualMachines.
type InstanceForm int

const (
	// InstancesByVersion has protectionStatus at 1.0 and 1.1 (the schema VirtualMachine
	// of the API description of 1.0), nothing from 1.2 on (VeeamHub/grafana,
	// veeam_aws.sh, reads none), and policiesCount from 1.8 on
	// (lcp-llp/terraform-provider-veeambackup).
	InstancesByVersion InstanceForm = iota
	// InstancesCounted has policiesCount from 1.2 on. Not documented.
	InstancesCounted
)

func (p *Policy) isEC2() bool { return p.Workload == EC2 || p.Workload == EC2SLA || p.Workload == "" }

// instances returns all instances with the number of policies that protect them, in
// order of ids.
func (a *Appliance) instances(cfg *Config) (all []Instance, policies map[string]int) {
	policies = make(map[string]int)
	known := make(map[string]bool)
	add := func(i Instance) {
		if known[i.ID] {
			return
		}
		known[i.ID] = true
		i.AWSID = orElse(i.AWSID, awsID(i.ID))
		all = append(all, i)
	}
	for _, i := range cfg.Instances {
		add(i)
	}
	for _, p := range a.policies {
		if !p.isEC2() {
			continue
		}
		for _, i := range p.Items {
			policies[i.ID]++
			add(Instance{ID: i.ID, Name: i.Name, Region: i.Region})
		}
	}
	slices.SortFunc(all, func(x, y Instance) int { return strings.Compare(x.ID, y.ID) })
	return all, policies
}

// awsID returns an id in the form of AWS.
func awsID(id string) string {
	h := fnv.New64a()
	h.Write([]byte(id))
	return fmt.Sprintf("i-0%016x", h.Sum64())
}

// Instances returns all EC2 instances, in order of ids.
func (a *Appliance) Instances() []Instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	all, _ := a.instances(&a.cfg)
	return all
}

// Backups returns the times of the newest restore points by the ids of their workloads, by
// the appliance's own clock.
func (a *Appliance) Backups() map[string]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.table.settle(a.worldNow())
	newest := make(map[string]time.Time)
	for _, w := range a.backedUp() {
		newest[w.id] = w.at
	}
	return newest
}

// listInstances answers /virtualMachines: in the form of the API description of 1.0 at
// 1.0 and 1.1; from 1.2 on with region, and location as the availability zone, and the
// filter ProtectedByPolicy instead of ProtectionStatus (VeeamHub/grafana,
// lcp-llp/terraform-provider-veeambackup). Of the other documented parameters, it implements
// Offset and Limit.
func (a *Appliance) listInstances(q *request) *answer {
	win := q.params.window(q.cfg)
	filter := "ProtectionStatus"
	if q.minor >= 2 {
		filter = "ProtectedByPolicy"
	}
	wanted := q.params.list(filter, []string{"Protected", "Unprotected"})
	if bad := q.invalid(); bad != nil {
		return bad
	}
	all, policies := a.instances(q.cfg)
	word := func(i Instance) string {
		if policies[i.ID] > 0 {
			return "Protected"
		}
		return "Unprotected"
	}
	found := slices.DeleteFunc(all, func(i Instance) bool { return len(wanted) > 0 && !slices.Contains(wanted, word(i)) })
	from, to := win.bounds(len(found))
	results := make([]any, 0, to-from)
	for _, i := range found[from:to] {
		row := object{
			"id": i.ID, "name": i.Name, "awsResourceId": i.AWSID, "isDeleted": i.Deleted,
			"_links": []link{{"GET", "self", q.base + q.path + "/" + i.ID}},
		}
		if q.minor < 2 {
			row["protectionStatus"] = word(i)
			row["location"] = object{"id": a.regionID, "name": i.Region}
		} else {
			row["region"] = object{"id": a.regionID, "name": i.Region}
			row["location"] = object{"id": a.regionID, "name": i.Region + "a"}
			row["backupState"] = "Unprotected"
			row["instanceType"], row["instanceSizeGigabytes"] = "t3.medium", 40
		}
		if q.minor >= 8 || q.minor >= 2 && q.cfg.InstanceForm == InstancesCounted {
			row["policiesCount"] = policies[i.ID]
		}
		results = append(results, row)
	}
	return ok(mustMarshal(object{"totalCount": len(found), "results": results, "_links": q.self()}))
}

// backedUp is a workload that has restore points.
type backedUp struct {
	id, name string
	at       time.Time // of the newest
}

// backedUp returns the workloads of all kinds that have restore points of policies, in order
// of ids. The name is from the session of the newest one.
func (a *Appliance) backedUp() []backedUp {
	newest := make(map[string]backedUp)
	for id, items := range a.items {
		e := a.table.entries[id]
		if e == nil || e.visible == nil || e.visible.Type != "Policy" {
			continue
		}
		for _, i := range items {
			if at := e.visible.Start; i.Status != StatusFailed && at.After(newest[i.ID].at) {
				newest[i.ID] = backedUp{i.ID, i.Name, at}
			}
		}
	}
	all := make([]backedUp, 0, len(newest))
	for _, w := range newest {
		all = append(all, w)
	}
	slices.SortFunc(all, func(x, y backedUp) int { return cmp.Compare(x.id, y.id) })
	return all
}

// listLicensedWorkloads answers /licensing/licensedWorkloads with the schema
// LicensedWorkload of the API description of 1.0. A workload with a restore point takes a
// license. Of the documented parameters, it implements Offset and Limit.
func (a *Appliance) listLicensedWorkloads(q *request) *answer {
	win := q.params.window(q.cfg)
	if bad := q.invalid(); bad != nil {
		return bad
	}
	found := a.backedUp()
	from, to := win.bounds(len(found))
	results := make([]any, 0, to-from)
	for _, w := range found[from:to] {
		if q.cfg.LicenseIDs == LicenseIDsOther {
			w.id = uuid.NewSHA1(uuid.NameSpaceOID, []byte("license "+w.id)).String()
		}
		results = append(results, object{
			"id": w.id, "name": w.name, "lastBackupTime": q.cfg.times(q.minor).format(w.at),
			"_links": []link{{"GET", "self", q.base + q.path + "/" + w.id}},
		})
	}
	return ok(mustMarshal(object{"totalCount": len(found), "results": results, "_links": q.self()}))
}

// LicenseIDs is the meaning of id in a row of /licensing/licensedWorkloads. It is not
// documented.
type LicenseIDs int

const (
	// LicenseIDsOfWorkloads means the ids of the workloads in other lists.
	LicenseIDsOfWorkloads LicenseIDs = iota
	// LicenseIDsOther means different ids.
	LicenseIDsOther
)
