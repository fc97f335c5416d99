package vbawstest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Workload is a kind of resource that a policy protects.
type Workload string

// The workloads, each with policies of its own: see policyRoutes.
const (
	EC2                Workload = "ec2"
	RDS                Workload = "rds"
	EFS                Workload = "efs"
	VPC                Workload = "vpc"
	DynamoDB           Workload = "dynamodb"
	Redshift           Workload = "redshift"
	RedshiftServerless Workload = "redshiftserverless"
	FSx                Workload = "fsx"
	EC2SLA             Workload = "ec2sla"
)

// hasSnapshots reports whether the workload's restore points begin with snapshots.
// The others have backups of AWS: user guide of product 10.
func (w Workload) hasSnapshots() bool { return w == EC2 || w == RDS || w == EC2SLA }

// policyRoutes are the routes that list policies, by workload. Sources: the changelogs
// of 1.1-rev0, 1.2-rev0 (which ends /policies), 1.5-rev0 and 1.6-rev0, and the REST
// references of 1.7-rev0 and 1.8-rev0. Whether /vpc/policy is there after 1.2 is not
// documented.
var policyRoutes = []struct {
	path     string
	workload Workload
	from, to int // API versions 1.from to 1.to
	single   bool
}{
	{"/api/v1/policies", EC2, 0, 1, false},
	{"/api/v1/virtualMachines/policies", EC2, 2, newestMinor, false},
	{"/api/v1/rds/policies", RDS, 2, newestMinor, false},
	{"/api/v1/efs/policies", EFS, 2, newestMinor, false},
	{"/api/v1/vpc/policy", VPC, 1, newestMinor, true},
	{"/api/v1/dynamoDb/policies", DynamoDB, 5, newestMinor, false},
	{"/api/v1/fsx/policies", FSx, 6, newestMinor, false},
	{"/api/v1/redshift/policies", Redshift, 6, newestMinor, false},
	{"/api/v1/redshiftServerless/policies", RedshiftServerless, 7, newestMinor, false},
	{"/api/v1/policy/ec2SlaBasedPolicies", EC2SLA, 8, newestMinor, false},
}

// newestMinor is beyond every API version.
const newestMinor = 99

// Policy is a backup policy.
type Policy struct {
	// ID is a lower-case UUID, made up by the appliance if it is empty. The VPC
	// policy is served without ID and Name, and its sessions are called
	// VPCSessionName.
	ID, Name, Description string
	// Workload decides which route lists the policy; empty is EC2.
	Workload Workload
	Enabled  bool
	Priority int64
	// Schedule can be nil. It must not be changed after the policy was put. For an
	// SLA-based policy it is the schedule of its template, and not served.
	Schedule *ScheduleSettings
	// Every is the schedule of a VPC policy, and of no other.
	Every Interval
	// RetryTimes is how often failed workloads are tried again.
	RetryTimes int
	// LastStatus is a word of Session.Status; empty is NeverExecuted. The appliance
	// updates it when sessions of type Policy change.
	LastStatus string
	// Items are the workloads that the policy protects. They must not be changed after
	// the policy was put.
	Items []Item
	// USN is set by the appliance when the policy or one of its sessions changes, from a
	// sequence for policies.
	USN int64
}

// Interval is the schedule of a VPC policy, which has no times of day. Source:
// VeeamHub/grafana, veeam_aws.sh (1.2). How it is counted, from the last start or
// from its end, is not documented; here it is the start.
type Interval struct {
	// Type is Minutes, Hours or Days.
	Type string `json:"type"`
	// Count is at least 1.
	Count int `json:"count"`
}

func (i Interval) length() time.Duration {
	return time.Duration(i.Count) * map[string]time.Duration{
		"Minutes": time.Minute, "Hours": time.Hour, "Days": 24 * time.Hour,
	}[i.Type]
}

// VPCSessionName is the name of the VPC policy's sessions
// (jorgedlcruz/veeam-html-reporting, 1.7).
const VPCSessionName = "VPC Configuration Backup"

// sessionName is the name of the policy's sessions of type Policy.
func (p *Policy) sessionName() string {
	if p.Workload == VPC {
		return VPCSessionName
	}
	return p.Name
}

// check panics if the policy is invalid.
func (p *Policy) check() {
	if (p.Workload == VPC) != (p.Every != Interval{}) || p.Workload == VPC && (p.Schedule != nil || p.Every.length() <= 0) {
		panic(fmt.Sprintf("vbawstest: policy %q of workload %s: a VPC policy has an interval and no schedule, and no other has one", p.Name, p.Workload))
	}
	if s := p.Schedule; s != nil && !p.Workload.hasSnapshots() && (s.Daily != nil && s.Daily.Snapshot != nil ||
		s.Weekly != nil && s.Weekly.Snapshot != nil || s.Monthly != nil && s.Monthly.Snapshot != nil) {
		panic(fmt.Sprintf("vbawstest: policy %q: workload %s has backups and no snapshots", p.Name, p.Workload))
	}
	if p.Schedule != nil && p.Schedule.HealthCheck != nil && p.Workload != EC2 {
		panic(fmt.Sprintf("vbawstest: policy %q: workload %s has no health check", p.Name, p.Workload))
	}
}

func (p *Policy) lastStatus() string { return cmp.Or(p.LastStatus, StatusNeverExecuted) }

// policy writes a policy. Sources: the schema Policy of the API description of 1.0
// and, for EC2, RDS and EFS later, the answers that VeeamHub/grafana (1.1, 1.2) and
// lcp-llp/terraform-provider-veeambackup (1.8) read.
func (f policyForm) policy(a *Appliance, p *Policy, href string) object {
	switch p.Workload {
	case VPC:
		return f.vpc(a, p)
	case EC2SLA:
		// As published for 1.8: no schedule, which is the template's, and no isEnabled.
		return object{"id": p.ID, "name": p.Name, "priority": p.Priority, "slaTemplateId": a.slaTemplateID}
	}
	o := object{
		"id":                      p.ID,
		"name":                    p.Name,
		"description":             p.Description,
		"regionIds":               []string{a.regionID},
		"priority":                p.Priority,
		"backupType":              "AllItems",
		"retrySettings":           object{"retryTimes": p.RetryTimes},
		"lastPolicySessionStatus": p.lastStatus(),
		"usn":                     p.USN,
		"_links":                  []link{{"GET", "self", href}},
	}
	if len(p.Items) > 0 {
		o["backupType"] = "SelectedItems"
	}
	if f.minor < 2 {
		o["amazonAccountId"] = a.accountID
	}
	if f.minor == 1 { // /policies lists two workloads; its words for them are not documented
		o["type"] = strings.ToUpper(string(p.Workload))
	}
	f.enabled(o, p)
	f.put(o, "scheduleSettings", p.Schedule != nil, func() any { return f.schedule(p.Schedule) })
	return o
}

func (f policyForm) enabled(o object, p *Policy) {
	switch {
	case !p.Enabled || f.cfg.IsEnabled == IsEnabledTrue:
		o["isEnabled"] = p.Enabled
	case f.cfg.IsEnabled == IsEnabledNull:
		o["isEnabled"] = nil
	}
}

// vpc writes the VPC policy, of which there is one: VeeamHub/grafana, veeam_aws.sh
// (1.2).
func (f policyForm) vpc(a *Appliance, p *Policy) object {
	o := object{
		"backupOptionsEnabled": p.Enabled,
		"sourceOptions": object{"selectedLocations": []object{
			{"regions": []object{{"id": a.regionID, "displayName": "EU (Frankfurt)"}}},
		}},
		"scheduleOptions": object{"dailySchedule": object{
			"retention": Retention{Type: "Days", Count: 30}.written(),
			"schedule":  p.Every,
		}},
	}
	if f.cfg.NamedVPC {
		o["id"], o["name"] = p.ID, p.Name
		f.enabled(o, p)
	}
	return o
}

var policySortings = sortings("priority", "name", "usn")

// lists reports whether the route of a workload's policies lists p: at 1.1,
// /policies has those of RDS too.
func (f policyForm) lists(p *Policy) bool {
	return p.Workload == f.workload || f.minor == 1 && f.workload == EC2 && p.Workload == RDS
}

// listPolicies answers a listing of one workload's policies. Of the documented parameters, it
// implements Offset, Limit and Sort.
func (a *Appliance) listPolicies(q *request, workload Workload) *answer {
	win := q.params.window(q.cfg)
	order := q.params.sorting(policySortings)
	if bad := q.invalid(); bad != nil {
		return bad
	}
	f := policyForm{q.cfg, q.minor, workload}
	found := slices.DeleteFunc(slices.Clone(a.policies), func(p *Policy) bool { return !f.lists(p) })
	slices.SortFunc(found, func(a, b *Policy) int {
		for _, k := range order {
			var c int
			switch k.column {
			case "priority":
				c = cmp.Compare(a.Priority, b.Priority)
			case "name":
				c = strings.Compare(a.Name, b.Name)
			case "usn":
				c = cmp.Compare(a.USN, b.USN)
			}
			if k.desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return strings.Compare(a.ID, b.ID)
	})
	from, to := win.bounds(len(found))
	results := []object{}
	for _, p := range found[from:to] {
		results = append(results, f.policy(a, p, q.base+q.path+"/"+p.ID))
	}
	page := object{"totalCount": len(found), "results": results}
	if workload == EC2SLA {
		page["offset"], page["limit"] = win.offset, win.limit
	} else {
		page["_links"] = q.self()
	}
	return ok(mustMarshal(page))
}

// onePolicy answers with the policy of that id or, if id is empty, with the
// workload's only one. What an appliance without a VPC policy answers is not
// documented.
func (a *Appliance) onePolicy(q *request, workload Workload, id string) *answer {
	f := policyForm{q.cfg, q.minor, workload}
	for _, p := range a.policies {
		if f.lists(p) && (id == "" || p.ID == id) {
			return ok(mustMarshal(f.policy(a, p, q.base+q.path)))
		}
	}
	return notFound.answer(q.base, "")
}
