package vbaws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Policy is one backup policy.
type Policy struct {
	// ID is empty if the appliance gives the policy none, as for VPC, which has only one
	// policy.
	ID   string
	Name string
	// Enabled is also true if the answer lacks it.
	Enabled bool
	// USN is 0 if the answer lacks it.
	USN int64
	// Schedule is nil if the policy has none.
	Schedule *Schedule
}

// PoliciesPage is one answer of a policy listing. Its Items have names, and ids except for
// VPC. Its Err is not about schedules: see Schedule.Unreadable.
type PoliciesPage = Page[Policy]

// Workload is a kind of resource that policies protect, and the route that lists its
// policies.
type Workload struct {
	// Name is the value of the label "workload": ec2, rds, efs, vpc, ….
	Name string
	// Path is the route, such as /api/v1/rds/policies.
	Path string
	// Single means that the route answers with one policy and not with a page.
	Single bool
}

// VPCPolicyName is the name that the vendor's user interface and its sessions give
// the VPC policy, whose own document has none at 1.2.
const VPCPolicyName = "VPC Configuration Backup"

// ExtendedTypeVPC is the Session.ExtendedType of the VPC policy's sessions.
const ExtendedTypeVPC = "VpcBackup"

// routes are the routes that list policies, and the minors of API version 1 that
// have them: from the vendor's changelogs and references of 1.0 to 1.8. A last minor of 0
// is open: newer versions are assumed to have all routes of 1.8.
var routes = []struct {
	Workload
	first, last int
}{
	{Workload{Name: "ec2", Path: "/api/v1/policies"}, 0, 1},
	{Workload{Name: "ec2", Path: "/api/v1/virtualMachines/policies"}, 2, 0},
	{Workload{Name: "ec2_sla", Path: "/api/v1/policy/ec2SlaBasedPolicies"}, 8, 0},
	{Workload{Name: "rds", Path: "/api/v1/rds/policies"}, 2, 0},
	{Workload{Name: "efs", Path: "/api/v1/efs/policies"}, 2, 0},
	{Workload{Name: "fsx", Path: "/api/v1/fsx/policies"}, 6, 0},
	{Workload{Name: "dynamodb", Path: "/api/v1/dynamoDb/policies"}, 5, 0},
	{Workload{Name: "redshift", Path: "/api/v1/redshift/policies"}, 6, 0},
	{Workload{Name: "redshift_serverless", Path: "/api/v1/redshiftServerless/policies"}, 7, 0},
	{Workload{Name: "vpc", Path: "/api/v1/vpc/policy", Single: true}, 1, 0},
}

// Workloads returns the documented workloads of the API version in use. An appliance can
// lack one: see NotOffered. It returns nil before the first answer.
func (c *Client) Workloads() []Workload {
	var all []Workload
	for _, r := range routes {
		version := c.APIVersion()
		if since(version, 1, r.first) && (r.last == 0 || !since(version, 1, r.last+1)) {
			all = append(all, r.Workload)
		}
	}
	return all
}

// Policies returns a page of a workload's policies. Limit 0 leaves the page's size to the
// appliance. NotOffered is true of the error if the appliance has no such workload. The
// error has status 403 if the account is not allowed to list it.
//
// The policy of a Single workload is a page of one row at offset 0, or of none if
// there is no such policy.
func (c *Client) Policies(ctx context.Context, w Workload, offset, limit int) (*PoliciesPage, error) {
	q := paging(offset, limit)
	if w.Single {
		if offset > 0 {
			return &PoliciesPage{TotalCount: 1}, nil
		}
		q = nil
	}
	page, err := getPage(ctx, c, w.Path, q, limit, func(b *body) (*PoliciesPage, error) { return decodePolicies(b, w) })
	if w.Single && NotFound(err) {
		return &PoliciesPage{}, nil
	}
	return page, err
}

// decodePolicies reads a page of policies, or a single one. It omits a policy only if that
// has no id or no name: an omitted policy would seem to be deleted.
func decodePolicies(b *body, w Workload) (*PoliciesPage, error) {
	if w.Single {
		var v jsontext.Value
		if err := decode(b, &v); err != nil {
			return nil, err
		}
		p, err := decodePolicy(w, v)
		if p == nil {
			return &PoliciesPage{}, err
		}
		return &PoliciesPage{TotalCount: 1, Rows: 1, Items: []Policy{*p}, Err: err}, nil
	}
	var odd error
	page, err := decodePage(b, func(v jsontext.Value) (Policy, bool) {
		p, err := decodePolicy(w, v)
		odd = cmp.Or(odd, err)
		if p == nil {
			return Policy{}, false
		}
		b.held += len(p.ID) + len(p.Name)
		if p.Schedule != nil {
			b.held += 1 << 10 // more than one takes
		}
		return *p, true
	})
	if err == nil {
		page.Err = odd
	}
	return page, err
}

// decodePolicy returns the policy in v, nil if there is none, and the first member that
// could not be understood.
func decodePolicy(w Workload, v jsontext.Value) (*Policy, error) {
	if v.Kind() != jsontext.KindBeginObject {
		return nil, fmt.Errorf("%s is not an object", clip(string(v), 40))
	}
	var in struct {
		ID        jsontext.Value `json:"id"`
		Name      jsontext.Value `json:"name"`
		IsEnabled jsontext.Value `json:"isEnabled"`
		USN       jsontext.Value `json:"usn"`
		// ScheduleSettings has the schedule of all workloads but VPC.
		ScheduleSettings jsontext.Value `json:"scheduleSettings"`
		// The VPC policy has these instead, at 1.2.
		BackupOptionsEnabled jsontext.Value `json:"backupOptionsEnabled"`
		ScheduleOptions      jsontext.Value `json:"scheduleOptions"`
	}
	read(v, &in)
	id, err := text("id", in.ID)
	name, nameErr := text("name", in.Name)
	err = cmp.Or(err, nameErr)
	enabled := in.IsEnabled
	if w.Single {
		if isNull(enabled) {
			enabled = in.BackupOptionsEnabled
		}
		if id == "" && name == "" && isNull(enabled) && isNull(in.ScheduleOptions) && isNull(in.ScheduleSettings) {
			return nil, nil // nothing is configured
		}
		name = cmp.Or(name, VPCPolicyName)
	} else if id == "" || name == "" {
		return nil, cmp.Or(err, errors.New("a policy has no id or no name"))
	}
	// A disabled policy that is monitored is better than an enabled one that is not.
	p := &Policy{ID: id, Name: name, Enabled: enabled.Kind() != jsontext.KindFalse}
	if p.Enabled && !isNull(enabled) && enabled.Kind() != jsontext.KindTrue {
		err = cmp.Or(err, fmt.Errorf("isEnabled: %s is not true or false", shown(enabled)))
	}
	// Only the order of requests depends on the USN.
	p.USN, _ = strconv.ParseInt(string(in.USN), 10, 64)
	if w.Name != "ec2_sla" { // its schedule is in a template
		p.Schedule = decodeSchedule(in.ScheduleSettings)
	}
	if w.Single && p.Schedule == nil {
		p.Schedule = decodeInterval(in.ScheduleOptions)
	}
	if s := p.Schedule; s != nil && s.Daily != nil {
		s.Daily.RunsMakeBackups = slices.Contains([]string{"efs", "fsx", "dynamodb", "redshift", "redshift_serverless"}, w.Name)
	}
	if err != nil {
		err = fmt.Errorf("policy %q: %w", clip(p.Name, 100), err)
	}
	return p, err
}

// text returns the string in v, which is the member what; empty if v is null or missing.
func text(what string, v jsontext.Value) (string, error) {
	if !isNull(v) && v.Kind() != jsontext.KindString {
		return "", fmt.Errorf("%s: %s is not a string", what, shown(v))
	}
	return string(textOf(v)), nil
}
